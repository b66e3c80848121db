use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::*;
use crate::format::Facts;
use crate::seal::Seal;
use crate::{
    Gatherer, Line, RequestHead, Target, ThinkingForm, Transcoder, TranslatedRequest, Undo, translate_request,
    translate_response,
};

#[derive(Debug, Default)]
struct Kept(Mutex<HashMap<String, Arc<Thoughts>>>);

impl Recall for Kept {
    fn keep(&self, call: &str, thoughts: Option<Thoughts>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(thoughts.map(|thoughts| (call.to_owned(), Arc::new(thoughts))));
    }

    fn recall(&self, call: &str) -> Option<Arc<Thoughts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(call).map(Arc::clone)
    }

    fn keep_item(&self, _: &str, _: &str) {}

    fn item(&self, _: &str) -> Option<Arc<str>> {
        None
    }
}

const MESSAGES: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"thinking","thinking":"h\"m","signature":"SIG"},{"type":"redacted_thinking","data":"RED"},{"type":"text","text":"I look."},{"type":"tool_use","id":"toolu_1","name":"f","input":{}},{"type":"tool_use","id":"toolu_2","name":"f","input":{"a":1}}],"stop_reason":"tool_use","usage":{"input_tokens":1,"output_tokens":2}}"#;
const GEMINI: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"hm","thought":true},{"text":"I look."},{"functionCall":{"id":"c1","name":"f","args":{}},"thoughtSignature":"U0lH"},{"functionCall":{"id":"c2","name":"f","args":{"a":1}}}]},"finishReason":"STOP","index":0}],"modelVersion":"m","responseId":"r"}"#;
const RESPONSES: &str = r#"{"id":"resp_1","object":"response","status":"completed","model":"m","output":[{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"SIG"},{"type":"function_call","id":"fc_1","call_id":"call_1","name":"f","arguments":"{}"}]}"#;
const CHAT: &str = r#"{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":null,"reasoning_content":"hm","tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#;

fn translated(client: Format, provider: Format, body: &Value, seal: &Seal) -> TranslatedRequest {
    let line = Line { model: Some("m".into()), stream: None };
    let head = RequestHead { api_version: None, betas: None, line, seal };
    let thinking = ThinkingForm::Budget;
    let facts = Facts { thinking, max_output: 64_000, compatible_extensions: true, ..Facts::default() };
    let target = Target { model: "m", facts: &facts, api_version: Some("2023-06-01") };
    translate_request(client, provider, body.to_string().as_bytes(), &head, &target).unwrap()
}

fn requested(client: Format, provider: Format, body: &Value, seal: &Seal) -> String {
    String::from_utf8(translated(client, provider, body, seal).outgoing.body).unwrap()
}

/// The `answer` to `body` as its client has it.
fn answered((client, provider): (Format, Format), body: &Value, answer: &str, seal: &Seal) -> Value {
    let reply = translated(client, provider, body, seal).reply;
    let given = translate_response(provider, client, answer.as_bytes(), &reply, &Undo::default()).unwrap();
    serde_json::from_slice(&given.body).unwrap()
}

/// A conversation of a client of Chat Completions.
fn chat(messages: &[Value]) -> Value {
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    json!({"model": "m", "reasoning_effort": "high", "messages": messages, "tools": [tool]})
}

fn question() -> Vec<Value> {
    vec![json!({"role": "user", "content": "q"})]
}

/// `messages` with an answer and the results of its calls.
fn after(messages: &[Value], answer: &Value) -> Vec<Value> {
    let results = answer["tool_calls"].as_array().unwrap().iter();
    let results = results.map(|call| json!({"role": "tool", "tool_call_id": call["id"], "content": "r"}));
    messages.iter().cloned().chain([answer.clone()]).chain(results).collect()
}

/// `answer` as a client keeps it that has no place for reasoning; with its words, if it has one for those.
fn kept(answer: &Value, words: bool) -> Value {
    let mut kept = answer.clone();
    kept.as_object_mut().unwrap().remove("reasoning_details");
    for call in kept["tool_calls"].as_array_mut().unwrap() {
        call.as_object_mut().unwrap().remove("extra_content");
    }
    if !words {
        kept.as_object_mut().unwrap().remove("reasoning_content");
    }
    kept
}

#[test]
fn what_a_chat_client_leaves_out_goes_back_as_if_it_had_brought_it() {
    use Format::{AnthropicMessages, GeminiGenerate, OpenaiChat, OpenaiResponses};
    for (provider, answer, state) in [
        (AnthropicMessages, MESSAGES, &["\"SIG\"", "\"RED\""][..]),
        (GeminiGenerate, GEMINI, &["\"U0lH\""]),
        (OpenaiResponses, RESPONSES, &["\"SIG\""]),
    ] {
        let plain = Seal::new([7; 32]);
        let seal = plain.with_recall(Arc::new(Kept::default()));
        let first = chat(&question());
        let whole = answered((OpenaiChat, provider), &first, answer, &seal)["choices"][0]["message"].clone();
        let expected = requested(OpenaiChat, provider, &chat(&after(&question(), &whole)), &plain);
        for state in state {
            assert!(expected.contains(state), "{expected}");
        }
        let bare = chat(&after(&question(), &kept(&whole, false)));
        for message in [&whole, &kept(&whole, true), &kept(&whole, false)] {
            let body = chat(&after(&question(), message));
            assert_eq!(requested(OpenaiChat, provider, &body, &seal), expected, "{message}");
        }
        assert_ne!(requested(OpenaiChat, provider, &bare, &plain), expected, "it was needed");
        let lost = |seal: &Seal| {
            let losses = translated(OpenaiChat, provider, &bare, seal).outgoing.losses;
            losses.iter().map(|loss| loss.field.label()).collect::<Vec<_>>()
        };
        let of_ours = lost(&plain);
        assert!(lost(&seal).iter().all(|loss| of_ours.contains(loss)), "nothing is lost that the client did not send");
        for other in Format::ALL.into_iter().filter(|other| ![provider, OpenaiChat].contains(other)) {
            let told = [&seal, &plain].map(|seal| requested(OpenaiChat, other, &bare, seal));
            assert_eq!(told[0], told[1], "no other provider is told");
        }
        // Another conversation, or what it was made into.
        let mut asked = question();
        asked[0]["content"] = json!("p");
        for other in [after(&asked, &kept(&whole, false)), after(&[], &kept(&whole, false))] {
            let told = [&seal, &plain].map(|seal| requested(OpenaiChat, provider, &chat(&other), seal));
            assert_eq!(told[0], told[1]);
        }
        let mut tools = bare.clone();
        tools["tools"][0]["function"]["description"] = json!("another");
        let told = [&seal, &plain].map(|seal| requested(OpenaiChat, provider, &tools, seal));
        assert_eq!(told[0] == told[1], provider == AnthropicMessages, "Claude's thoughts are bound to all before them");
    }
}

#[test]
fn what_follows_is_put_back_where_all_before_it_is() {
    use Format::{AnthropicMessages, OpenaiChat};
    let pair = (OpenaiChat, AnthropicMessages);
    let plain = Seal::new([7; 32]);
    let memory = Arc::new(Kept::default());
    let seal = plain.with_recall(Arc::clone(&memory) as Arc<dyn Recall>);
    let mut messages = question();
    for number in 0..3 {
        let answer = MESSAGES.replace("toolu_", &format!("toolu_{number}")).replace("SIG", &format!("SIG{number}"));
        let said = answered(pair, &chat(&messages), &answer, &seal)["choices"][0]["message"].clone();
        messages = after(&messages, &kept(&said, false));
    }
    let signed = |seal: &Seal| {
        let sent = requested(OpenaiChat, AnthropicMessages, &chat(&messages), seal);
        [0, 1, 2].map(|number| sent.contains(&format!("SIG{number}")))
    };
    assert_eq!(signed(&seal), [true; 3]);
    assert_eq!(signed(&plain), [false; 3]);
    memory.0.lock().unwrap().retain(|name, _| !name.ends_with("/toolu_11"));
    assert_eq!(signed(&seal), [true, false, false], "what followed was said behind other thoughts");
}

#[test]
fn a_server_that_signs_nothing_gets_its_words_back() {
    use Format::{GeminiGenerate, OpenaiChat};
    let plain = Seal::new([7; 32]);
    let seal = plain.with_recall(Arc::new(Kept::default()));
    let tools = json!([{"functionDeclarations": [{"name": "f"}]}]);
    let turn = json!({"role": "user", "parts": [{"text": "q"}]});
    let first = json!({"contents": [turn], "tools": tools});
    let answer = answered((GeminiGenerate, OpenaiChat), &first, CHAT, &seal);
    let mut content = answer["candidates"][0]["content"].clone();
    // As Gemini CLI does it.
    let parts = content["parts"].as_array_mut().unwrap();
    parts.retain(|part| part.get("functionCall").is_some());
    let result = json!({"functionResponse": {"id": parts[0]["functionCall"]["id"], "name": "f", "response": {}}});
    let body = json!({"contents": [turn, content, {"role": "user", "parts": [result]}], "tools": tools});
    let facts = "\"hm\"";
    assert!(!requested(GeminiGenerate, OpenaiChat, &body, &plain).contains(facts));
    let restored = requested(GeminiGenerate, OpenaiChat, &body, &seal);
    assert!(restored.contains(facts), "{restored}");
}

#[test]
fn streams_and_gathered_streams_are_heard_like_whole_answers() {
    use Format::{AnthropicMessages, OpenaiChat};
    let kept = |hear: &dyn Fn(&Seal)| {
        let recall = Arc::new(Kept::default());
        hear(&Seal::new([7; 32]).with_recall(Arc::clone(&recall) as Arc<dyn Recall>));
        let kept = recall.0.lock().unwrap();
        kept.iter().find(|(name, _)| name.ends_with("/toolu_1")).map(|(_, thoughts)| Arc::clone(thoughts))
    };
    let first = chat(&question());
    let pair = (OpenaiChat, AnthropicMessages);
    let reply = |seal: &Seal| translated(OpenaiChat, AnthropicMessages, &first, seal).reply;
    let whole = kept(&|seal| drop(answered(pair, &first, MESSAGES, seal)));
    assert!(whole.as_ref().is_some_and(|thoughts| thoughts.pieces.len() == 2 && thoughts.size() > 4 * PIECE));
    // The same answer as its provider streams it.
    let mut stream = Vec::new();
    let unkept = Arc::new(reply(&Seal::new([7; 32])));
    Transcoder::new(AnthropicMessages, AnthropicMessages, unkept, Undo::default())
        .whole(MESSAGES.as_bytes(), &mut stream);
    for broken in [false, true] {
        let streamed = kept(&|seal| {
            let reply = Arc::new(reply(seal));
            let mut transcoder = Transcoder::new(AnthropicMessages, OpenaiChat, reply, Undo::default());
            let sent = if broken { &stream[..stream.len() / 2] } else { &stream[..] };
            for byte in sent {
                transcoder.chunk(std::slice::from_ref(byte), &mut Vec::new());
            }
            transcoder.finish(&mut Vec::new());
        });
        assert_eq!(streamed, whole.as_ref().filter(|_| !broken).map(Arc::clone));
    }
    let gathered = kept(&|seal| {
        let mut gatherer = Gatherer::new(AnthropicMessages, Undo::default());
        gatherer.chunk(&stream).unwrap();
        gatherer.finish(OpenaiChat, &reply(seal)).unwrap();
    });
    assert_eq!(gathered, whole);
}

#[test]
fn neither_answers_without_calls_nor_endless_thoughts_are_kept() {
    let check = |words: usize, call: bool, expected: bool| {
        let recall = Arc::new(Kept::default());
        let seal = Seal::new([7; 32]).with_recall(Arc::clone(&recall) as Arc<dyn Recall>);
        let thought = json!({"type": "thinking", "thinking": "h".repeat(words), "signature": "SIG"});
        let call = call.then(|| json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}));
        let content: Vec<_> = [thought].into_iter().chain(call).collect();
        let answer = json!({"id": "m", "type": "message", "role": "assistant", "model": "m", "content": content,
            "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 2}});
        answered((Format::OpenaiChat, Format::AnthropicMessages), &chat(&question()), &answer.to_string(), &seal);
        assert_eq!(!recall.0.lock().unwrap().is_empty(), expected, "{words}");
    };
    check(10, true, true);
    check(10, false, false);
    check(MOST / 2, true, true);
    check(MOST, true, false);
}

#[test]
fn pieces_without_end_take_no_room() {
    let memory: Arc<dyn Recall> = Arc::new(Kept::default());
    let mut listener = Listener::new(&memory, Format::AnthropicMessages, 0);
    let empty = || Opaque { kind: OpaqueKind::ThinkingSignature, maker: Format::AnthropicMessages, data: Text::EMPTY };
    for block in 0..u32::try_from(2 * MOST / PIECE).unwrap() {
        listener.note(&Event::BlockStart { block, candidate: 0, head: Head::Redacted });
        listener.note(&Event::Opaque { block, opaque: empty() });
        assert!(listener.blocks.len().max(listener.thoughts.pieces.len()) <= MOST / PIECE, "{block}");
    }
    assert!(listener.blocks.is_empty() && listener.thoughts.pieces.is_empty());
    let mut listener = Listener::new(&memory, Format::AnthropicMessages, 0);
    listener.note(&Event::BlockStart { block: 0, candidate: 0, head: Head::Redacted });
    for _ in 0..2 * MOST / PIECE {
        listener.note(&Event::Opaque { block: 0, opaque: empty() });
    }
    assert!(listener.thoughts.pieces.is_empty());
}

/// A turn of thoughts, words and a call, of a provider that signs the call, and the call's id as its client has it.
fn gemini_turn(number: usize, words: &str) -> String {
    let said = if words.is_empty() { String::new() } else { format!(r#"{{"text":"{words}"}},"#) };
    GEMINI
        .replace(r#"{"text":"I look."},"#, &said)
        .replace("\"c1\"", &format!("\"c{number}1\""))
        .replace("\"c2\"", &format!("\"c{number}2\""))
        .replace("U0lH", &format!("U0lH{number}"))
}

/// The requests of a loop whose client `keeps` what it wants of each answer, as the provider gets them: `begins` makes a
/// request of the items so far.
fn looped(
    client: Format,
    begins: impl Fn(&[Value]) -> Value,
    keeps: impl Fn(&Value) -> Vec<Value>,
    seal: &Seal,
) -> String {
    let mut items = Vec::new();
    for (number, words) in ["", "Words.", "", "More words."].iter().enumerate() {
        let request = begins(&items);
        let answer = answered((client, Format::GeminiGenerate), &request, &gemini_turn(number, words), seal);
        items.extend(keeps(&answer));
    }
    requested(client, Format::GeminiGenerate, &begins(&items), seal)
}

fn signed(request: &str) -> [bool; 4] {
    [0, 1, 2, 3].map(|number| request.contains(&format!("U0lH{number}")))
}

#[test]
fn a_turn_of_responses_that_begins_with_words_is_known_too() {
    let tools = json!([{"type": "function", "name": "f", "parameters": {"type": "object"}}]);
    let begins = |items: &[Value]| {
        let question = json!({"type": "message", "role": "user", "content": "q"});
        let input: Vec<_> = [question].iter().chain(items).cloned().collect();
        json!({"model": "m", "input": input, "tools": tools, "reasoning": {"effort": "high"}})
    };
    for stateless in [false, true] {
        let keeps = |answer: &Value| {
            let mut items = answer["output"].as_array().unwrap().clone();
            items.retain(|item| stateless || item["type"] != "reasoning");
            for item in items.iter_mut().filter(|item| item["type"] == "reasoning") {
                item.as_object_mut().unwrap().remove("encrypted_content");
            }
            let calls = items.iter().filter(|item| item["type"] == "function_call");
            let results =
                calls.map(|call| json!({"type": "function_call_output", "call_id": call["call_id"], "output": "r"}));
            let results: Vec<_> = results.collect();
            items.into_iter().chain(results).collect()
        };
        let seal = Seal::new([7; 32]).with_recall(Arc::new(Kept::default()));
        assert_eq!(signed(&looped(Format::OpenaiResponses, begins, keeps, &seal)), [true; 4], "{stateless}");
    }
}

#[test]
fn a_mark_that_moves_on_is_no_other_conversation() {
    let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    let begins = |items: &[Value]| {
        let question = json!({"role": "user", "content": "q"});
        let mut messages: Vec<_> = [question].iter().chain(items).cloned().collect();
        // The latest words of the user's bear the mark; without one they are no list.
        let last = messages.last_mut().unwrap();
        let mark = json!({"type": "ephemeral"});
        if last["content"].is_string() {
            last["content"] = json!([{"type": "text", "text": last["content"], "cache_control": mark}]);
        } else {
            last["content"][0]["cache_control"] = mark;
        }
        json!({"model": "m", "max_tokens": 30_000, "messages": messages, "tools": tools,
            "thinking": {"type": "enabled", "budget_tokens": 2000}})
    };
    let keeps = |answer: &Value| {
        let mut content = answer["content"].as_array().unwrap().clone();
        content.retain(|block| block["type"] != "thinking" && block["type"] != "redacted_thinking");
        let calls = content.iter().filter(|block| block["type"] == "tool_use");
        let results = calls.map(|call| json!({"type": "tool_result", "tool_use_id": call["id"], "content": "r"}));
        let results: Vec<_> = results.collect();
        vec![json!({"role": "assistant", "content": content}), json!({"role": "user", "content": results})]
    };
    let seal = Seal::new([7; 32]).with_recall(Arc::new(Kept::default()));
    assert_eq!(signed(&looped(Format::AnthropicMessages, begins, keeps, &seal)), [true; 4]);
}

/// In a message of Chat Completions thoughts stand before all that was said. Where they stood is remembered.
#[test]
fn thoughts_that_the_client_brings_stand_where_they_were_thought() {
    let thinking =
        |words: &str, signature: &str| json!({"type": "thinking", "thinking": words, "signature": signature});
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let content = json!([thinking("one", "AAAA"), {"type": "text", "text": "I look."}, thinking("two", "BBBB"),
        call("toolu_1"), thinking("three", "CCCC"), call("toolu_2")]);
    let answer = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content,
        "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 2}});
    let way = (Format::OpenaiChat, Format::AnthropicMessages);
    let seal = Seal::new([7; 32]).with_recall(Arc::new(Kept::default()));
    let whole = answered(way, &chat(&question()), &answer.to_string(), &seal)["choices"][0]["message"].clone();
    assert_eq!(whole["reasoning_details"].as_array().map(Vec::len), Some(3));
    let sent = |message: &Value| -> Value {
        let body = chat(&after(&question(), message));
        serde_json::from_str(&requested(way.0, way.1, &body, &seal)).unwrap()
    };
    assert_eq!(sent(&whole)["messages"][1]["content"], content);
    // What the client changed is what it says.
    let mut fewer = whole.clone();
    fewer["reasoning_details"].as_array_mut().unwrap().remove(1);
    let fewer = sent(&fewer)["messages"][1]["content"].to_string();
    assert!(fewer.contains("AAAA") && !fewer.contains("BBBB"), "{fewer}");
}

#[test]
fn thoughts_that_the_client_brings_and_thoughts_that_are_put_back_are_one_conversation() {
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    for brings in 0..4 {
        let plain = Seal::new([7; 32]);
        let seal = plain.with_recall(Arc::new(Kept::default()));
        let begins = |items: &[Value]| {
            let messages: Vec<_> = question().iter().chain(items).cloned().collect();
            json!({"model": "m", "reasoning_effort": "high", "messages": messages, "tools": [tool]})
        };
        let turns = std::cell::Cell::new(0);
        let keeps = |answer: &Value| {
            let message = &answer["choices"][0]["message"];
            let turn = turns.replace(turns.get() + 1);
            after(&[], &if turn == brings { message.clone() } else { kept(message, false) })
        };
        assert_eq!(signed(&looped(Format::OpenaiChat, begins, keeps, &seal)), [true; 4], "{brings}");
    }
}

#[test]
fn a_providers_own_thoughts_are_no_loss_to_it() {
    let again = |answer: &str, seal: &Seal| {
        let whole = answered((Format::OpenaiChat, Format::GeminiGenerate), &chat(&question()), answer, seal);
        let messages = after(&question(), &whole["choices"][0]["message"]);
        let sent = translated(Format::OpenaiChat, Format::GeminiGenerate, &chat(&messages), seal).outgoing;
        let is_lost = |field: Field| matches!(field, Field::Thinking | Field::OpaqueState);
        (sent.losses.iter().any(|loss| is_lost(loss.field)), String::from_utf8(sent.body).unwrap())
    };
    let plain = Seal::new([7; 32]);
    let (lost, body) = again(GEMINI, &plain);
    assert!(!lost && body.contains(r#"{"thought":true,"text":"hm"}"#) && body.contains("U0lH"), "{body}");
    // Older models sign nothing: only who remembers them knows whose they are.
    let unsigned = GEMINI.replace(r#","thoughtSignature":"U0lH""#, "");
    assert_ne!(unsigned, GEMINI);
    assert!(again(&unsigned, &plain).0, "they could be anyone's");
    let (lost, body) = again(&unsigned, &plain.with_recall(Arc::new(Kept::default())));
    assert!(!lost && !body.contains("\"hm\""), "{body}");
}

#[test]
fn what_was_thought_for_one_is_not_told_to_another_who_begins_alike() {
    use Format::{AnthropicMessages, OpenaiChat};
    let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    let begins = |whom: &str, messages: &[Value]| {
        let messages: Vec<_> = question().iter().chain(messages).cloned().collect();
        json!({"model": "m", "max_tokens": 30_000, "system": format!("You serve {whom}."), "tools": tools,
            "messages": messages,
            "thinking": {"type": "enabled", "budget_tokens": 2000}})
    };
    // Some servers begin to count anew with each answer, and some use what not all take for an id.
    for id in ["call_0", "functions.f:0"] {
        let seal = Seal::new([7; 32]).with_recall(Arc::new(Kept::default()));
        let answer = CHAT.replace("call_1", id);
        let content =
            answered((AnthropicMessages, OpenaiChat), &begins("Alice", &[]), &answer, &seal)["content"].clone();
        let call = content.as_array().unwrap().iter().find(|block| block["type"] == "tool_use").unwrap();
        let result = json!({"type": "tool_result", "tool_use_id": call["id"], "content": "r"});
        let messages = [json!({"role": "assistant", "content": [call]}), json!({"role": "user", "content": [result]})];
        let told = |whom: &str| {
            requested(AnthropicMessages, OpenaiChat, &begins(whom, &messages), &seal)
                .contains(r#""reasoning_content":"hm""#)
        };
        assert_eq!((told("Alice"), told("Bob")), (true, false), "{id}");
    }
}

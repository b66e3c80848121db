//! What answers are in another format than their own, whole and streamed: rules that hold for every pair, or for one side
//! of all.

use std::sync::Arc;

use serde_json::{Value, json};

use super::answer_losses_are_listed;
use crate::format::{Reply, Undo};
use crate::frame::sse::{EVENT_LIMIT, FrameError, Framer};
use crate::hub::{Fault, FaultKind, Field};
use crate::seal::Seal;
use crate::{Format, Outcome, Transcoder, translate_response};

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

pub(super) fn reply() -> Reply {
    Reply {
        model: "m".to_owned(),
        include_usage: false,
        reasoning: crate::format::ReasoningWish::Unasked,
        framing: crate::Framing::default(),
        seal: Arc::new(Seal::new([7; 32])),
        created: 0,
        seed: String::new(),
        settings: crate::Settings::default(),
    }
}

/// A whole answer for a client of `to`, and the classes of what it lost.
pub(super) fn whole((from, to): (Format, Format), body: &Value) -> Result<(Value, Vec<Field>), Fault<'static>> {
    let done = translate_response(from, to, body.to_string().as_bytes(), &reply(), &Undo::default())?;
    answer_losses_are_listed(from, to, &done.losses);
    let lost = done.losses.iter().map(|loss| loss.field).collect();
    Ok((serde_json::from_slice(&done.body).unwrap(), lost))
}

/// The same of a stream: the data of its events, and what became of it.
pub(super) fn streamed((from, to): (Format, Format), stream: &str) -> (Vec<Value>, Outcome) {
    let mut out = Vec::new();
    let mut transcoder = Transcoder::new(from, to, Arc::new(reply()), Undo::default());
    transcoder.chunk(stream.as_bytes(), &mut out);
    transcoder.finish(&mut out);
    (frames(&out), transcoder.outcome().clone())
}

pub(super) fn frames(stream: &[u8]) -> Vec<Value> {
    let mut found = Vec::new();
    let read = Framer::new(EVENT_LIMIT).push::<FrameError>(stream, |frame| {
        assert!(!frame.data.contains('\n'), "data on several lines: {}", frame.data);
        if frame.data != "[DONE]" {
            found.push(serde_json::from_str(frame.data).unwrap());
        }
        Ok(())
    });
    read.unwrap();
    found
}

/// Events without names, as most formats have them.
pub(super) fn data(list: &[Value]) -> String {
    list.iter().flat_map(|data| ["data: ".to_owned(), data.to_string(), "\n\n".to_owned()]).collect()
}

/// Events named by their `type`.
pub(super) fn named(list: &[Value]) -> String {
    let event = |event: &Value| format!("event: {}\n", event["type"].as_str().unwrap());
    list.iter().flat_map(|one| [event(one), data(std::slice::from_ref(one))]).collect()
}

/// The words of a chat message, whole or in pieces, and each source with the words that it covers.
fn chat_sources(pieces: &[&Value]) -> (String, Vec<(String, String)>) {
    let text: String = pieces.iter().filter_map(|piece| piece["content"].as_str()).collect();
    let lists = pieces.iter().filter_map(|piece| piece["annotations"].as_array());
    let sources = lists.flatten().map(|source| covered(&text, &source["url_citation"])).collect();
    (text, sources)
}

/// The address of a source, and the words from its first to its last character.
fn covered(text: &str, source: &Value) -> (String, String) {
    let at = |key: &str| usize::try_from(source[key].as_u64().unwrap()).unwrap();
    let words = text.chars().skip(at("start_index")).take(at("end_index") - at("start_index")).collect();
    (source["url"].as_str().unwrap().to_owned(), words)
}

pub(super) fn deltas(events: &[Value]) -> Vec<&Value> {
    events.iter().map(|event| &event["choices"][0]["delta"]).collect()
}

/// The same of the words of a response's messages.
fn response_sources(response: &Value) -> Vec<(String, String)> {
    let items = response["output"].as_array().unwrap().iter().filter(|item| item["type"] == "message");
    let parts = items.flat_map(|item| item["content"].as_array().unwrap()).filter(|part| part["text"].is_string());
    let sources = |part: &Value| -> Vec<(String, String)> {
        let text = part["text"].as_str().unwrap();
        part["annotations"].as_array().unwrap().iter().map(|source| covered(text, source)).collect()
    };
    parts.flat_map(sources).collect()
}

/// The same of an answer of Gemini's, whose places are bytes.
fn gemini_sources(answer: &Value) -> Vec<(String, String)> {
    let candidate = &answer["candidates"][0];
    let parts = candidate["content"]["parts"].as_array().unwrap();
    let words = parts.iter().filter(|part| part["thought"] != true);
    let text: String = words.filter_map(|part| part["text"].as_str()).collect();
    let grounding = &candidate["groundingMetadata"];
    let supports = grounding["groundingSupports"].as_array().unwrap().iter();
    let source = |support: &Value| {
        let at = |key: &str| usize::try_from(support["segment"][key].as_u64().unwrap()).unwrap();
        let chunk = usize::try_from(support["groundingChunkIndices"][0].as_u64().unwrap()).unwrap();
        let url = grounding["groundingChunks"][chunk]["web"]["uri"].as_str().unwrap().to_owned();
        (url, text.get(at("startIndex")..at("endIndex")).unwrap().to_owned())
    };
    supports.map(source).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(url, words)| ((*url).to_owned(), (*words).to_owned())).collect()
}

/// Two texts of Messages, each with a source of its own, as a web search gives them.
fn searched() -> String {
    let mut events =
        vec![json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant",
        "model": "c", "content": [], "stop_reason": null, "usage": {"input_tokens": 1, "output_tokens": 1}}})];
    for index in 0..2 {
        let source = json!({"type": "web_search_result_location", "cited_text": "x", "url": format!("https://{index}"),
            "title": "T", "encrypted_index": "q"});
        let delta = |delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
        events.extend([
            json!({"type": "content_block_start", "index": index,
                "content_block": {"type": "text", "text": "", "citations": []}}),
            delta(json!({"type": "text_delta", "text": format!("Sun {index}. ")})),
            delta(json!({"type": "citations_delta", "citation": source})),
            json!({"type": "content_block_stop", "index": index}),
        ]);
    }
    events.extend([
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop"}),
    ]);
    named(&events)
}

/// Clients add lists up by their entries' `index`, which sources have none of: a second list breaks them.
#[test]
fn a_choice_of_a_chat_stream_names_its_sources_once() {
    let (events, _) = streamed((A, C), &searched());
    let all = deltas(&events);
    assert_eq!(all.iter().filter(|delta| delta["annotations"].is_array()).count(), 1, "{events:?}");
    assert_eq!(chat_sources(&all).1, pairs(&[("https://0", "Sun 0. "), ("https://1", "Sun 1. ")]));
    let last = events.last().unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "stop", "{last}");
    assert!(events[events.len() - 2]["choices"][0]["delta"]["annotations"].is_array(), "{events:?}");
}

fn grounding() -> Value {
    let support = |from: u8, to: u8, chunk: u8| json!({"segment": {"startIndex": from, "endIndex": to}, "groundingChunkIndices": [chunk]});
    json!({"groundingChunks": [{"web": {"uri": "u", "title": "T"}}, {"web": {"uri": "v", "title": "V"}}],
        "groundingSupports": [support(0, 3, 0), support(3, 6, 1)]})
}

/// An answer of Gemini's with something between its words, whole and as a stream.
fn interrupted(between: &Value) -> (Value, String) {
    let parts = [json!({"text": "one"}), between.clone(), json!({"text": "two"})];
    let piece = |part: &Value| json!({"candidates": [{"content": {"parts": [part]}}]});
    let end = json!({"finishReason": "STOP", "groundingMetadata": grounding()});
    let mut stream: Vec<Value> = parts.iter().map(piece).collect();
    stream.push(json!({"candidates": [end]}));
    let mut answer = end;
    answer["content"] = json!({"parts": parts});
    (json!({"candidates": [answer]}), data(&stream))
}

#[test]
fn a_source_covers_its_words_whatever_stands_between_them() {
    let expected = pairs(&[("u", "one"), ("v", "two")]);
    for between in [
        json!({"executableCode": {"language": "PYTHON", "code": "1"}}),
        json!({"functionCall": {"name": "f", "args": {}}}),
        json!({"thought": true, "text": "hm"}),
        json!({"inlineData": {"mimeType": "image/png", "data": "iVBORw0K"}}),
        json!({"text": ""}),
    ] {
        let (body, stream) = interrupted(&between);
        let (chat, _) = whole((G, C), &body).unwrap();
        let (text, sources) = chat_sources(&[&chat["choices"][0]["message"]]);
        assert_eq!((text.as_str(), &sources), ("onetwo", &expected), "{between}: {chat}");
        let (events, _) = streamed((G, C), &stream);
        assert_eq!(chat_sources(&deltas(&events)), (text, expected.clone()), "{between}");
        let (response, _) = whole((G, R), &body).unwrap();
        assert_eq!(response_sources(&response), expected, "{between}: {response}");
        // A part that is done cannot be added to.
        let (events, outcome) = streamed((G, R), &stream);
        let found = response_sources(&events.last().unwrap()["response"]);
        let expected = if found.len() == 2 { &expected[..] } else { &expected[1..] };
        assert_eq!(found, expected, "{between}");
        assert!(found.len() == 2 || outcome.dropped.contains(&Field::Citations), "{between}");
        let (own, _) = whole((G, G), &body).unwrap();
        assert_eq!(gemini_sources(&own), pairs(&[("u", "one"), ("v", "two")]), "{between}: {own}");
    }
}

/// A chat client gets one text: blocks of Messages that sources alone divide are one, and others are set off.
#[test]
fn texts_with_something_between_them_are_set_off_but_in_json() {
    let text = |words: &str| json!({"type": "text", "text": words});
    let call = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
    for (content, said) in [
        (json!([text("a"), text("b")]), "ab"),
        (json!([text("a"), call, text("b")]), "a\n\nb"),
        (json!([text("a"), {"type": "thinking", "thinking": "hm", "signature": "s"}, text("b"), text("c")]), "a\n\nbc"),
        (json!([text("a"), {"type": "brand_new"}, text("b")]), "a\n\nb"),
        (json!([call, text("a"), call]), "a"),
    ] {
        let body = json!({"id": "m", "type": "message", "role": "assistant", "model": "c", "content": content,
            "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}});
        let mut stream = vec![json!({"type": "message_start", "message": {"id": "m", "model": "c"}})];
        for (index, block) in content.as_array().unwrap().iter().enumerate() {
            stream.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
            stream.push(json!({"type": "content_block_stop", "index": index}));
        }
        stream.push(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}));
        stream.push(json!({"type": "message_stop"}));
        for json in [false, true] {
            let undo = Undo { json, ..Undo::default() };
            let said = if json { said.replace('\n', "") } else { said.to_owned() };
            let done = translate_response(A, C, body.to_string().as_bytes(), &reply(), &undo).unwrap();
            let chat: Value = serde_json::from_slice(&done.body).unwrap();
            assert_eq!(chat["choices"][0]["message"]["content"], said, "{content}");
            let mut out = Vec::new();
            let mut transcoder = Transcoder::new(A, C, Arc::new(reply()), undo.clone());
            transcoder.chunk(named(&stream).as_bytes(), &mut out);
            transcoder.finish(&mut out);
            assert_eq!(chat_sources(&deltas(&frames(&out))).0, said, "{content}");
            let mut gatherer = crate::Gatherer::new(A, undo);
            gatherer.chunk(named(&stream).as_bytes()).unwrap();
            let chat: Value = serde_json::from_slice(&gatherer.finish(C, &reply()).unwrap().body).unwrap();
            assert_eq!(chat["choices"][0]["message"]["content"], said, "{content}");
        }
    }
    let asked = |more: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "q, in JSON"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        super::crossings::translated((C, A), &body, &crate::format::Facts::default(), None).unwrap().outgoing.undo.json
    };
    assert!(asked(json!({"response_format": {"type": "json_object"}})) && !asked(json!({})));
}

#[test]
fn a_source_of_a_part_covers_words_of_that_part() {
    let part = |text: &str, url: &str| {
        json!({"type": "output_text", "text": text, "annotations":
            [{"type": "url_citation", "start_index": 0, "end_index": 3, "url": url, "title": "T"}]})
    };
    let message = |id: &str, parts: Value| json!({"type": "message", "id": id, "role": "assistant", "content": parts});
    let response = |output: Value| json!({"id": "r", "status": "completed", "model": "m", "output": output});
    let (one, two) = (part("one", "u"), part("two", "v"));
    for body in [
        response(json!([message("a", json!([one, two]))])),
        response(json!([message("a", json!([one])), message("b", json!([two]))])),
    ] {
        let expected = pairs(&[("u", "one"), ("v", "two")]);
        let (chat, _) = whole((R, C), &body).unwrap();
        assert_eq!(chat_sources(&[&chat["choices"][0]["message"]]).1, expected, "{chat}");
        let (gemini, _) = whole((R, G), &body).unwrap();
        assert_eq!(gemini_sources(&gemini), expected, "{gemini}");
        let stream = named(&[json!({"type": "response.completed", "response": body})]);
        let (events, _) = streamed((R, C), &stream);
        assert_eq!(chat_sources(&deltas(&events)).1, expected, "{events:?}");
        let (events, _) = streamed((R, G), &stream);
        let parts = events.iter().flat_map(|event| event["candidates"][0]["content"]["parts"].as_array().unwrap());
        let mut last = events.last().unwrap().clone();
        last["candidates"][0]["content"]["parts"] = parts.cloned().collect();
        assert_eq!(gemini_sources(&last), expected, "{events:?}");
    }
}

/// As the whole answer has them; what a stream has said already is a loss.
#[test]
fn sources_that_come_behind_a_call_are_those_of_the_words() {
    let chunk = |candidate: Value| json!({"candidates": [candidate]});
    let parts = |parts: Value| chunk(json!({"content": {"parts": parts}}));
    let words = parts(json!([{"text": "one two"}]));
    let call = parts(json!([{"functionCall": {"name": "f", "args": {}}}]));
    let end = chunk(json!({"finishReason": "STOP", "groundingMetadata": grounding()}));
    let gemini = data(&[words, call, end]);
    let chunk = |delta: Value, finish: Value| json!({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    let source = json!([{"type": "url_citation", "url_citation": {"url": "u", "title": "T", "start_index": 0, "end_index": 3}},
        {"type": "url_citation", "url_citation": {"url": "v", "title": "T", "start_index": 3, "end_index": 6}}]);
    let chat = |between: Value| {
        data(&[
            chunk(json!({"content": "one two"}), Value::Null),
            chunk(between, Value::Null),
            chunk(json!({"annotations": source}), Value::Null),
            chunk(json!({}), json!("stop")),
        ])
    };
    let call = json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]});
    for (from, stream) in [(G, gemini), (C, chat(call)), (C, chat(json!({"refusal": "no"})))] {
        let (events, outcome) = streamed((from, C), &stream);
        assert_eq!(chat_sources(&deltas(&events)).1, pairs(&[("u", "one"), ("v", " tw")]), "{events:?}");
        assert!(!outcome.dropped.contains(&Field::Citations));
        let (events, outcome) = streamed((from, R), &stream);
        let found = response_sources(&events.last().unwrap()["response"]);
        assert!(found.is_empty() && outcome.dropped.contains(&Field::Citations), "{found:?}");
        let (events, _) = streamed((from, G), &stream);
        let last = &events.last().unwrap()["candidates"][0]["groundingMetadata"];
        assert_eq!(last["groundingSupports"][1]["segment"]["text"], " tw", "{last}");
    }
}

#[test]
fn words_that_come_whole_are_told_behind_their_sources() {
    let annotation = json!({"type": "url_citation", "start_index": 0, "end_index": 1, "url": "u", "title": "T"});
    let part = json!({"type": "output_text", "text": "Hello", "annotations": [annotation]});
    let item = json!({"type": "message", "id": "msg_1", "role": "assistant", "content": [part]});
    let at = |kind: &str, more: Value| {
        let mut event = json!({"type": kind, "item_id": "msg_1", "output_index": 0, "content_index": 0});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let completed =
        json!({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [item]}});
    let source = at("response.output_text.annotation.added", json!({"annotation": annotation}));
    for done in [
        at("response.output_text.done", json!({"text": "Hello"})),
        at("response.content_part.done", json!({"part": part})),
        at("response.output_item.done", json!({"item": item})),
    ] {
        let stream = named(&[source.clone(), done, completed.clone()]);
        let (events, _) = streamed((R, C), &stream);
        assert_eq!(chat_sources(&deltas(&events)), ("Hello".to_owned(), pairs(&[("u", "H")])), "{events:?}");
        let (events, _) = streamed((R, A), &stream);
        assert!(events.iter().any(|event| event["delta"]["text"] == "Hello"), "{events:?}");
    }
}

#[test]
fn items_of_two_answers_have_ids_of_their_own() {
    let body = json!({"id": "chatcmpl-42", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}]});
    let ids = ["one", "two"].map(|seed| {
        let reply = Reply { seed: seed.to_owned(), ..reply() };
        let done = translate_response(C, R, body.to_string().as_bytes(), &reply, &Undo::default()).unwrap();
        let written: Value = serde_json::from_slice(&done.body).unwrap();
        written["output"][0]["id"].as_str().unwrap().to_owned()
    });
    assert_ne!(ids[0], ids[1], "some servers name their answers by few numbers");
}

#[test]
fn a_source_of_a_later_text_is_placed_in_it() {
    let delta = |delta: Value| json!({"id": "c", "choices": [{"index": 0, "delta": delta}]});
    let source = |from: u64| {
        let place = json!({"url": "https://u", "title": "t", "start_index": from, "end_index": from + 1});
        delta(json!({"annotations": [{"type": "url_citation", "url_citation": place}]}))
    };
    let texts = [json!({"content": "añc"}), json!({"reasoning_content": "r"}), json!({"content": "def"})].map(delta);
    for (from, place) in [(4, Some((1, 2))), (0, None)] {
        let end = json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
        let all = [&texts[..], &[source(from), end]].concat();
        let (events, outcome) = streamed((C, R), &format!("{}data: [DONE]\n\n", data(&all)));
        let told = events.iter().find(|event| event["type"] == "response.output_text.annotation.added");
        let told = told.map(|event| (&event["annotation"]["start_index"], &event["annotation"]["end_index"]));
        assert_eq!(
            told,
            place.map(|(from, to)| (json!(from), json!(to))).as_ref().map(|(from, to)| (from, to)),
            "{events:?}"
        );
        assert_eq!(outcome.dropped.contains(&Field::Citations), place.is_none());
    }
}

#[test]
fn an_answer_without_an_answer_is_an_error_in_words() {
    let usage = json!({"promptTokenCount": 4, "totalTokenCount": 4});
    let gemini = [json!({"candidates": [], "usageMetadata": usage}), json!({"usageMetadata": usage})];
    for to in Format::ALL {
        for body in &gemini {
            let fault = whole((G, to), body).unwrap_err();
            assert_eq!((fault.status, fault.code.as_deref()), (502, Some("upstream_malformed")), "{to:?}");
            assert!(fault.message.contains("`candidates`"), "{to:?}: {}", fault.message);
            assert!(crate::whole_fault(G, body.to_string().as_bytes()).is_some());
        }
        let nothing = json!({"id": "c", "choices": [{"message": {"content": null}, "finish_reason": null}]});
        let told = whole((C, to), &nothing).unwrap_err();
        assert!(to == C || told.message.contains("neither words nor a reason"), "{to:?}: {}", told.message);
        let usage = json!({"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3});
        let count = json!({"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": usage});
        for begin in [String::new(), data(&[count])] {
            let (events, outcome) = streamed((C, to), &format!("{begin}data: [DONE]\n\n"));
            let fault = outcome.fault.as_ref().map(|(kind, _)| *kind);
            assert_eq!((fault, outcome.complete), (Some(FaultKind::StreamIncomplete), false), "{to:?}: {events:?}");
        }
    }
}

#[test]
fn what_a_client_cannot_be_shown_is_named() {
    let message = |block: Value| {
        json!({"id": "m", "type": "message", "role": "assistant", "model": "c", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "a"}, block], "usage": {"input_tokens": 1, "output_tokens": 1}})
    };
    let gemini =
        |part: Value| json!({"candidates": [{"content": {"parts": [{"text": "a"}, part]}, "finishReason": "STOP"}]});
    let inline = |kind: &str| gemini(json!({"inlineData": {"mimeType": kind, "data": "UklGRg=="}}));
    for (from, body, field) in [
        (A, message(json!({"type": "container_upload", "file_id": "f"})), Field::Unknown),
        (G, inline("image/png"), Field::Image),
        (G, inline("audio/wav"), Field::Audio),
        (G, inline("application/pdf"), Field::Document),
        (G, gemini(json!({"fileData": {"mimeType": "image/png", "fileUri": "u"}})), Field::Image),
    ] {
        for to in Format::ALL.into_iter().filter(|to| *to != from) {
            let (answer, lost) = whole((from, to), &body).unwrap();
            assert!(!lost.is_empty() && lost.iter().all(|lost| *lost == field), "{to:?}: {lost:?} {answer}");
            assert!(answer["choices"][0]["message"]["audio"].is_null(), "{answer}");
        }
    }
}

#[test]
fn an_event_is_one_line_whatever_its_provider_wrote() {
    let spread = |value: Value| serde_json::to_string_pretty(&value).unwrap().replace('\n', "\ndata: ");
    let logprobs = json!([{"token": "A", "logprob": -1, "bytes": [65], "top_logprobs": []}]);
    let responses = format!(
        "data: {}\n\ndata: {}\n\n",
        spread(json!({"type": "response.output_text.delta", "output_index": 0, "item_id": "m", "content_index": 0,
            "delta": "A", "logprobs": logprobs})),
        spread(json!({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": []}})),
    );
    let chat = format!(
        "data: {}\n\n",
        spread(json!({"id": "c", "choices": [{"index": 0, "finish_reason": "stop", "logprobs": {"content": logprobs},
            "delta": {"content": "A", "reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "more": [1]}]}}]}))
    );
    let source = json!({"retrievedContext": {"title": "T", "text": "x"}});
    let gemini = format!(
        "data: {}\n\n",
        spread(json!({"candidates": [{"content": {"parts": [{"text": "a"}, {"executableCode": {"code": "1"}}]},
            "finishReason": "STOP", "groundingMetadata": {"groundingChunks": [source]}}]}))
    );
    let mut messages = searched();
    for value in ["{\"type\":\"citations_delta\"", "{\"type\":\"text\",\"text\":\"\"", "{\"cited_text\":"] {
        messages = messages.replace(value, &value.replace('{', "{\ndata: "));
    }
    let tool = json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}});
    let start = format!(
        "event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"index\":2,\"content_block\":{}}}\n\nevent: content_block_stop\ndata: {{\"type\":\"content_block_stop\",\"index\":2}}\n\nevent: message_delta\n",
        spread(tool)
    );
    let messages = messages.replacen("event: message_delta\n", &start, 1);
    for (from, stream) in [(R, responses), (C, chat), (G, gemini), (A, messages)] {
        for to in Format::ALL {
            let (events, outcome) = streamed((from, to), &stream);
            assert!(outcome.complete, "{from:?} {to:?}: {outcome:?} {events:?}");
        }
    }
}

#[test]
fn answers_that_a_server_numbers_alike_are_told_apart() {
    let choice =
        |index: u64, words: &str| json!({"index": index, "message": {"content": words}, "finish_reason": "stop"});
    let choices = [choice(0, "a"), choice(0, "b"), choice(1, "c"), choice(u64::MAX, "d")];
    let body = json!({"id": "c", "model": "m", "choices": choices});
    for to in [C, G] {
        let list = if to == C { "choices" } else { "candidates" };
        let (answer, _) = whole((C, to), &body).unwrap();
        let indices: Vec<_> = answer[list].as_array().unwrap().iter().map(|one| one["index"].clone()).collect();
        assert_eq!(indices, [json!(0), json!(1), json!(2), json!(3)], "{answer}");
    }
    let (events, outcome) = streamed((C, C), &body.to_string());
    assert!(outcome.complete, "{events:?}");
    let said = |index: u64| {
        let own = events.iter().map(|event| &event["choices"][0]).filter(|choice| choice["index"] == index);
        own.filter_map(|choice| choice["delta"]["content"].as_str()).collect::<String>()
    };
    assert_eq!([0, 1, 2, 3].map(said), ["a", "b", "c", "d"], "{events:?}");
}

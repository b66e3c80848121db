//! How answers end, whole and streamed, and what is told beside their words.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::answers::{data, deltas, frames, named, reply, streamed, whole};
use crate::format::wire;
use crate::hub::{FaultKind, Field};
use crate::{Format, Gatherer, Opening, Seen, Undo, Watch};

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

fn candidate(fields: Value) -> Value {
    json!({"candidates": [fields]})
}

fn words(text: &str) -> Value {
    json!({"parts": [{"text": text}]})
}

/// The word with which a stream for a client of `to` says why it ended.
fn end_of(to: Format, events: &[Value]) -> Value {
    let found = events.iter().rev().find_map(|event| match to {
        C => event["choices"][0]["finish_reason"].as_str(),
        A => event["delta"]["stop_reason"].as_str(),
        R => event["response"]["incomplete_details"]["reason"].as_str(),
        G => event["candidates"][0]["finishReason"].as_str(),
    });
    json!(found)
}

#[test]
fn an_answer_that_a_filter_breaks_off_is_filtered() {
    let blocked = json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}});
    for begin in [
        json!({"content": words("a")}),
        json!({"content": words("a"), "finishReason": "STOP"}),
        json!({"content": {"parts": [{"text": "a"}, {"functionCall": {"name": "f", "willContinue": true}}]}}),
    ] {
        let stream = data(&[candidate(begin.clone()), blocked.clone()]);
        for (to, word) in [(C, "content_filter"), (A, "refusal"), (R, "content_filter"), (G, "PROHIBITED_CONTENT")] {
            let (events, outcome) = streamed((G, to), &stream);
            assert!(outcome.complete, "{to:?} {begin}: {outcome:?}");
            assert_eq!(end_of(to, &events), word, "{begin}: {events:?}");
        }
    }
    let mut both = candidate(json!({"content": words("a"), "finishReason": "STOP"}));
    both["promptFeedback"] = blocked["promptFeedback"].clone();
    assert_eq!(whole((G, C), &both).unwrap().0["choices"][0]["finish_reason"], "content_filter");
}

#[test]
fn words_of_a_filter_outlast_its_bare_name() {
    let said = candidate(json!({"content": words("a"), "finishReason": "SAFETY", "finishMessage": "why words"}));
    let stream = data(&[said, candidate(json!({"finishReason": "SAFETY"}))]);
    for to in Format::ALL {
        let (events, _) = streamed((G, to), &stream);
        assert!(json!(events).to_string().contains("why words"), "{to:?}: {events:?}");
    }
}

/// What a provider says of its failure is part of what its clients are told, and no loss.
#[test]
fn words_on_a_failure_are_told_with_it() {
    let body = candidate(json!({"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "odd: call(1"}));
    let bare = candidate(json!({"finishReason": "MALFORMED_FUNCTION_CALL"}));
    let words = "MALFORMED_FUNCTION_CALL: odd: call(1";
    for to in [C, A, R] {
        assert!(whole((G, to), &body).unwrap_err().message.contains(words), "{to:?}");
        for stream in [data(std::slice::from_ref(&body)), data(&[body.clone(), bare.clone()])] {
            let (events, outcome) = streamed((G, to), &stream);
            assert!(outcome.fault.is_some_and(|(_, message)| message.contains(words)), "{to:?}: {events:?}");
            assert!(!outcome.dropped.contains(&Field::StopReason), "{to:?}");
        }
    }
    let own = whole((G, G), &body).unwrap().0["candidates"][0].clone();
    for candidate in [own, streamed((G, G), &data(&[body])).0.last().unwrap()["candidates"][0].clone()] {
        let said = (&candidate["finishReason"], &candidate["finishMessage"]);
        assert_eq!(said, (&json!("MALFORMED_FUNCTION_CALL"), &json!("odd: call(1")));
    }
}

/// A reason that nobody knows ends an answer in words; where there are none, it is why there is none.
#[test]
fn an_unknown_reason_ends_words_and_is_no_answer_by_itself() {
    let thought = json!({"text": "hm", "thought": true});
    let call = json!({"functionCall": {"name": "f", "args": {}}});
    for (parts, is_answer) in [
        (json!([thought]), false),
        (json!([]), false),
        (json!([thought, {"text": "a"}]), true),
        (json!([thought, call]), true),
    ] {
        let body = candidate(json!({"content": {"parts": parts}, "finishReason": "OTHER"}));
        for to in [A, C, R] {
            let answer = whole((G, to), &body);
            assert_eq!(answer.is_ok(), is_answer, "{to:?} {parts}");
            if let Err(fault) = answer {
                assert_eq!((fault.status, fault.code.as_deref()), (502, Some("upstream_failed")), "{to:?}");
                assert!(fault.message.contains("OTHER"), "{}", fault.message);
            }
            let stream = data(std::slice::from_ref(&body));
            let mut gatherer = Gatherer::new(G, Undo::default());
            gatherer.chunk(stream.as_bytes()).unwrap();
            assert_eq!(gatherer.finish(to, &reply()).is_ok(), is_answer, "{to:?} {parts}");
            let (events, outcome) = streamed((G, to), &stream);
            assert_eq!((outcome.complete, outcome.fault.is_none()), (is_answer, is_answer), "{to:?}: {events:?}");
        }
        // The provider's own clients know its words; a call is one by any of them.
        let word = if parts.to_string().contains("functionCall") { "STOP" } else { "OTHER" };
        assert_eq!(whole((G, G), &body).unwrap().0["candidates"][0]["finishReason"], word);
    }
    let steered = json!({"id": "r", "status": "incomplete", "incomplete_details": {"reason": "steered"}, "output": []});
    for to in Format::ALL {
        assert!(whole((R, to), &steered).is_ok(), "{to:?}");
    }
}

/// In a stream of Chat Completions: what is an error, whatever stands around it, and what is news of the server.
#[test]
fn an_error_in_the_place_of_a_piece_ends_the_stream() {
    let said = json!({"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Once"}}]});
    let stop = json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    for (frame, words) in [
        (json!({"id": "c", "choices": [], "x_groq": {"id": "r", "error": "over capacity"}}), Some("over capacity")),
        (json!({"choices": null, "base_resp": {"status_code": 1002, "status_msg": "too many"}}), Some("too many")),
        (json!({"error_code": 18, "error_msg": "too many"}), Some("too many")),
        (json!({"detail": "no room"}), Some("no room")),
        (json!({"code": "InvalidParameter", "message": "no such thing"}), Some("no such thing")),
        (json!([{"error": {"code": 500, "message": "it broke"}}]), Some("it broke")),
        (json!({"code": 0, "message": "success"}), None),
        (json!({"code": 200, "msg": "ok"}), None),
        (json!({"status": "queued", "message": "the model is loading"}), None),
        (json!({"choices": [], "base_resp": {"status_code": 0, "status_msg": "success"}}), None),
        (json!({"choices": null, "base_resp": {"status_code": 0, "status_msg": "success"}}), None),
    ] {
        let (events, outcome) = streamed((C, A), &data(&[said.clone(), frame.clone(), stop.clone()]));
        assert_eq!(outcome.fault.is_some(), words.is_some(), "{frame}: {events:?}");
        assert!(words.is_none_or(|words| json!(events).to_string().contains(words)), "{frame}: {events:?}");
    }
    let empty = json!({"choices": null, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}});
    let fault = whole((C, A), &empty).unwrap_err();
    assert_eq!(fault.message, "insufficient balance");
}

/// The words of several servers for the end of an answer, and calls under any of them.
#[test]
fn the_end_is_understood_in_the_words_of_every_server() {
    let call = json!({"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    for (word, calls, stop) in [
        ("model_context_window_exceeded", false, "model_context_window_exceeded"),
        ("eos_token", false, "end_turn"),
        ("eos_token", true, "tool_use"),
        ("tool_call", true, "tool_use"),
        ("brand_new", true, "tool_use"),
        ("brand_new", false, "end_turn"),
        ("length", true, "max_tokens"),
    ] {
        let delta = if calls { json!({"tool_calls": [call]}) } else { json!({"content": "a"}) };
        let piece = json!({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": word}]});
        let (events, _) = streamed((C, A), &data(&[piece]));
        let said = json!(events).to_string();
        assert!(said.contains(&format!("\"stop_reason\":\"{stop}\"")), "{word} {calls}: {said}");
    }
    for word in ["time_limit", "cancelled"] {
        let piece = json!({"id": "c", "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": word}]});
        assert!(streamed((C, A), &data(&[piece])).1.fault.is_some(), "{word}");
    }
}

#[test]
fn an_answer_that_does_not_say_why_it_ended_is_reported() {
    let message = |content: Value| {
        json!({"id": "m", "type": "message", "role": "assistant", "model": "c",
        "content": content, "stop_reason": null, "usage": {"input_tokens": 1, "output_tokens": 1}})
    };
    let chat = |content: Value| {
        json!({"id": "c", "choices": [{"index": 0, "finish_reason": null,
        "message": {"role": "assistant", "content": content}}]})
    };
    for (from, said, silent) in [
        (A, message(json!([{"type": "text", "text": "a"}])), Some(message(json!([])))),
        (G, candidate(json!({"content": words("a")})), Some(candidate(json!({"content": {"parts": []}})))),
        (C, chat(json!("a")), None),
    ] {
        for to in Format::ALL.into_iter().filter(|to| *to != from) {
            assert!(whole((from, to), &said).unwrap().1.contains(&Field::StopReason), "{from:?} {to:?}");
            if let Some(silent) = &silent {
                assert_eq!(whole((from, to), silent).unwrap_err().status, 502, "{from:?} {to:?}");
            }
        }
    }
}

#[test]
fn probabilities_of_a_response_have_the_vendors_shape() {
    let token = |bytes: Value| {
        let mut token = json!({"token": "A", "logprob": -1, "top_logprobs": [{"token": "B", "logprob": -2}]});
        if bytes != json!(0) {
            token["bytes"] = bytes.clone();
            token["top_logprobs"][0]["bytes"] = bytes;
        }
        token
    };
    let bare = json!([token(json!(0))]);
    for (told, kept) in [(json!([65]), json!([65])), (Value::Null, json!([])), (json!(0), json!([]))] {
        let logprobs = json!({"content": [token(told)], "refusal": null});
        let message = json!({"role": "assistant", "content": "A"});
        let body = json!({"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": logprobs}]});
        let part = whole((C, R), &body).unwrap().0["output"][0]["content"][0]["logprobs"].clone();
        assert_eq!(part, json!([token(kept.clone())]), "{body}");
        let chunk = json!({"id": "c", "choices": [{"index": 0, "delta": message, "finish_reason": "stop", "logprobs": logprobs}]});
        let (events, _) = streamed((C, R), &data(&[chunk]));
        let of = |kind: &str| events.iter().find(|event| event["type"] == kind).unwrap().clone();
        assert_eq!(of("response.output_text.delta")["logprobs"], bare);
        assert_eq!(of("response.output_text.done")["logprobs"], bare);
        assert_eq!(of("response.content_part.done")["part"]["logprobs"], json!([token(kept)]));
    }
    let refused = json!({"content": null, "refusal": [token(json!([65]))]});
    let message = json!({"role": "assistant", "content": null, "refusal": "A"});
    let body =
        json!({"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": refused}]});
    assert!(whole((C, R), &body).unwrap().1.contains(&Field::Logprobs));
    let chunk =
        json!({"id": "c", "choices": [{"index": 0, "delta": message, "finish_reason": "stop", "logprobs": refused}]});
    assert!(streamed((C, R), &data(&[chunk])).1.dropped.contains(&Field::Logprobs));
}

/// Some servers answer a request for a stream with one error, under the stream's name.
#[test]
fn an_error_in_place_of_a_stream_is_told() {
    let body = json!({"error": {"message": "quota words", "code": 429}});
    for from in Format::ALL {
        for text in [body.to_string(), format!("\n{}\n", serde_json::to_string_pretty(&body).unwrap())] {
            for to in Format::ALL {
                let (events, outcome) = streamed((from, to), &text);
                let (kind, words) = outcome.fault.unwrap();
                assert_eq!((kind, words.as_str()), (FaultKind::RateLimit, "quota words"), "{from:?} {to:?} {events:?}");
                assert!(json!(events).to_string().contains("quota words"), "{events:?}");
            }
            let mut opening = Opening::new(from, false);
            for byte in text.as_bytes() {
                assert_eq!(*opening.chunk(&[*byte]), Seen::Lifecycle);
            }
            let Seen::Failed(fault) = opening.finish() else { panic!("{from:?}") };
            assert_eq!((fault.kind, fault.message.as_ref()), (FaultKind::RateLimit, "quota words"), "{from:?}");
        }
    }
}

/// And some with the whole answer.
#[test]
fn an_answer_in_place_of_a_stream_is_told_as_one() {
    let logprobs = json!({"content": [{"token": "A", "logprob": -1, "bytes": [65], "top_logprobs": []}]});
    let message = json!({"role": "assistant", "content": "A"});
    let body = json!({"id": "c", "choices": [
        {"index": 0, "message": message, "finish_reason": "stop", "logprobs": logprobs}]});
    for text in [body.to_string(), format!("\u{feff}{body}"), format!("\n\n{body}\n\n")] {
        for to in [A, G, R] {
            let (events, outcome) = streamed((C, to), &text);
            assert!(outcome.complete && outcome.fault.is_none(), "{to:?}: {events:?}");
            assert_eq!(outcome.dropped.contains(&Field::Logprobs), to == A, "{to:?}: {events:?}");
        }
        // Also to a client of its own format, whom the lines of a document tell nothing.
        for text in [text.clone(), format!("{text}\n\n")] {
            let mut watch = Watch::new(C, Arc::new(reply()));
            let given: Vec<Bytes> = text.bytes().map(|byte| watch.chunk(Bytes::from(vec![byte]))).collect();
            let events = frames(&[given.concat(), watch.finish().to_vec()].concat());
            assert!(watch.outcome().complete && events.len() > 1, "{events:?}");
            assert!(json!(events).to_string().contains(r#""content":"A""#), "{events:?}");
        }
    }
}

/// What is told from the words alone where the stream is read is not told where it passes.
#[test]
fn an_end_without_a_reason_passes_as_it_is() {
    let event = |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap());
    let text = [
        json!({"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 1, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "A"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_stop"}),
    ];
    let text: String = text.into_iter().map(event).collect();
    let mut watch = Watch::new(A, Arc::new(reply()));
    let given = [watch.chunk(Bytes::from(text.clone())), watch.finish()].concat();
    assert_eq!((String::from_utf8(given).unwrap(), watch.outcome().complete), (text.clone(), true));
    let (_, outcome) = streamed((A, C), &text);
    assert!(outcome.complete && outcome.fault.is_none());
}

#[test]
fn errors_under_a_success_are_told_in_whichever_shape() {
    for (from, body, words) in [
        (G, json!([{"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}]), "busy"),
        (G, json!({"error": "boom"}), "boom"),
        (G, json!({"detail": "gone"}), "gone"),
        (A, json!({"error": "boom"}), "boom"),
        (A, json!({"detail": "gone"}), "gone"),
        (C, json!({"error": "boom"}), "boom"),
        (R, json!({"detail": "gone"}), "gone"),
    ] {
        assert!(wire(from).tells_error(body.to_string().as_bytes()), "{from:?} {body}");
        for to in Format::ALL {
            let fault = whole((from, to), &body).unwrap_err();
            assert!(fault.message.contains(words), "{from:?} {to:?} {body}: {}", fault.message);
        }
    }
}

#[test]
fn a_stream_that_ends_without_an_answer_or_a_reason_is_cut() {
    let start = json!({"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 1}}});
    let end = json!({"type": "message_stop"});
    for events in [&[start, end.clone()][..], &[end]] {
        for to in [C, R, G] {
            let (told, outcome) = streamed((A, to), &named(events));
            let kind = outcome.fault.map(|(kind, _)| kind);
            assert_eq!((outcome.complete, kind), (false, Some(FaultKind::StreamIncomplete)), "{to:?}: {told:?}");
            assert!(json!(told).to_string().contains("did not say why"), "{to:?}: {told:?}");
        }
    }
}

#[test]
fn counts_that_are_none_do_not_spoil_an_answer() {
    for odd in [json!(-1), json!("10"), json!(null), json!(1.5)] {
        let usage = json!({"input_tokens": odd, "output_tokens": 7});
        let body = json!({"id": "m", "type": "message", "role": "assistant", "model": "c",
            "content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn", "usage": usage});
        assert_eq!(whole((A, C), &body).unwrap().0["usage"]["completion_tokens"], 7, "{odd}");
        let start = json!({"type": "message_start", "message": {"id": "m", "model": "c", "usage": usage}});
        let end = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage});
        let (events, outcome) = streamed((A, C), &named(&[start, end, json!({"type": "message_stop"})]));
        assert!(outcome.complete && outcome.usage.unwrap().output() == 7, "{odd}: {events:?}");
    }
}

#[test]
fn a_search_result_that_names_an_address_is_a_source() {
    let source = |address: &str| {
        let citation = json!({"type": "search_result_location", "source": address, "title": "T", "cited_text": "x",
            "search_result_index": 0, "start_block_index": 0, "end_block_index": 1});
        let body = json!({"id": "m", "type": "message", "role": "assistant", "model": "c", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "a", "citations": [citation]}],
            "usage": {"input_tokens": 1, "output_tokens": 1}});
        whole((A, C), &body).unwrap()
    };
    let (answer, lost) = source("https://a.b/c");
    let found = &answer["choices"][0]["message"]["annotations"][0]["url_citation"]["url"];
    assert_eq!((found, lost.is_empty()), (&json!("https://a.b/c"), true), "{answer}");
    assert!(source("shelf 7").1.contains(&Field::Citations));
}

#[test]
fn bytes_that_are_no_text_are_the_providers_fault() {
    for from in Format::ALL {
        let mut out = Vec::new();
        let reply = Arc::new(reply());
        let mut transcoder = crate::Transcoder::new(from, C, reply, Undo::default());
        transcoder.chunk(b"data: {\"x\":\"\xff\"}\n\n", &mut out);
        let events = frames(&out);
        assert_eq!(events.last().unwrap()["error"]["code"], "stream_malformed", "{from:?}: {events:?}");
        assert_eq!(crate::hub::Fault::from(crate::frame::sse::FrameError::NotUtf8).status, 502);
        assert!(deltas(&events).iter().all(|delta| delta.is_null()));
    }
}

#[test]
fn a_call_in_a_namespace_goes_by_a_name_that_a_client_can_say() {
    let call =
        json!({"type": "function_call", "id": "fc", "call_id": "c", "namespace": "ns", "name": "f", "arguments": "{}"});
    let body = json!({"id": "r", "status": "completed", "output": [call]});
    for to in [A, C, G] {
        let (answer, _) = whole((R, to), &body).unwrap();
        assert!(answer.to_string().contains("\"ns__f\""), "{answer}");
        let (events, _) = streamed((R, to), &named(&[json!({"type": "response.completed", "response": body})]));
        assert!(json!(events).to_string().contains("\"ns__f\""), "{events:?}");
    }
}

#[test]
fn probabilities_have_all_that_clients_of_chat_read() {
    // As the events of a stream tell them.
    let probable = json!([{"token": "A", "logprob": -1, "top_logprobs": [{"token": "B", "logprob": -2}]}, {"token": "C", "logprob": -3}]);
    let expected = json!([
        {"token": "A", "logprob": -1, "bytes": null, "top_logprobs": [{"token": "B", "logprob": -2, "bytes": null}]},
        {"token": "C", "logprob": -3, "bytes": null, "top_logprobs": []},
    ]);
    let part = json!({"type": "output_text", "text": "AC", "logprobs": probable});
    let response = json!({"id": "r", "status": "completed", "output": [{"type": "message", "content": [part]}]});
    let (answer, _) = whole((R, C), &response).unwrap();
    assert_eq!(answer["choices"][0]["logprobs"]["content"], expected);
    let stream = named(&[
        json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "AC", "logprobs": probable}),
        json!({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": []}}),
    ]);
    let (events, _) = streamed((R, C), &stream);
    let told = |event: &Value| event.pointer("/choices/0/logprobs/content").cloned();
    assert_eq!(events.iter().find_map(told), Some(expected), "{events:?}");
}

#[test]
fn a_refusal_that_is_said_otherwise_is_told_of_a_stream_as_of_a_whole_answer() {
    let chat = json!({"id": "c", "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": null, "refusal": "No."}, "finish_reason": "stop"},
    ]});
    let choice =
        |delta: Value, end: Value| json!({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": end}]});
    let pieces = data(&[choice(json!({"refusal": "No."}), Value::Null), choice(json!({}), json!("stop"))]);
    let item =
        json!({"type": "message", "id": "i", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]});
    let response = json!({"id": "r", "status": "completed", "output": [item]});
    let done = named(&[json!({"type": "response.completed", "response": response})]);
    for (from, body, stream) in [(C, &chat, [pieces.as_str(), "data: [DONE]\n\n"].concat()), (R, &response, done)] {
        for to in [A, G] {
            let (_, losses) = whole((from, to), body).unwrap();
            let (events, outcome) = streamed((from, to), &stream);
            assert!(
                losses.contains(&Field::Refusal) && outcome.dropped.contains(&Field::Refusal),
                "{to:?}: {events:?}"
            );
        }
    }
}

#[test]
fn a_tier_is_told_in_words_that_the_client_knows() {
    for (from, to, tier, told, lost) in [
        (R, C, "default", json!("default"), false),
        (R, C, "priority", json!("priority"), false),
        (R, C, "ultrafast", Value::Null, true),
        (R, C, "auto", json!("auto"), false),
        (R, G, "default", Value::Null, false),
        (R, G, "priority", Value::Null, true),
        (R, A, "auto", Value::Null, false),
        (C, R, "flex", json!("flex"), false),
        (C, R, "on_demand", Value::Null, false),
        (C, R, "ultrafast", Value::Null, true),
        (G, R, "STANDARD", Value::Null, false),
        (G, R, "PRIORITY_LANE", Value::Null, true),
        (A, R, "standard", json!("default"), false),
        (A, R, "batch", Value::Null, true),
    ] {
        let (stream, body) = served(from, tier);
        let (answer, losses) = whole((from, to), &body).unwrap();
        let (events, outcome) = streamed((from, to), &stream);
        let (in_whole, in_stream) = tier_in(to, &answer, &events);
        assert_eq!((&in_whole, losses.contains(&Field::Tier)), (&told, lost), "{from:?} {to:?} {tier}");
        assert_eq!((&in_stream, outcome.dropped.contains(&Field::Tier)), (&told, lost), "{from:?} {to:?} {tier}");
    }
}

/// A stream of a provider of `from` that is served by `tier`, and the same answer whole.
fn served(from: Format, tier: &str) -> (String, Value) {
    match from {
        C => {
            let piece = |delta: Value, finish: Value| {
                json!({"id": "c", "model": "m", "service_tier": tier,
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
            };
            let stream = data(&[piece(json!({"content": "a"}), Value::Null), piece(json!({}), json!("stop"))]);
            let message = json!({"role": "assistant", "content": "a"});
            let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
            (stream, json!({"id": "c", "model": "m", "service_tier": tier, "choices": [choice]}))
        }
        R => {
            let message = json!({"type": "message", "id": "m", "content": [{"type": "output_text", "text": "a"}]});
            let response = |status: &str, tier: &str, output: Value| {
                json!({"id": "r", "model": "m", "status": status,
                "service_tier": tier, "output": output})
            };
            let whole = response("completed", tier, json!([message]));
            let created = json!({"type": "response.created", "response": response("in_progress", "auto", json!([]))});
            (named(&[created, json!({"type": "response.completed", "response": whole})]), whole)
        }
        A => {
            let usage = json!({"input_tokens": 1, "output_tokens": 1, "service_tier": tier});
            let block = json!({"type": "text", "text": "a"});
            let stream = named(&[
                json!({"type": "message_start", "message": {"id": "m", "model": "m", "usage": usage}}),
                json!({"type": "content_block_start", "index": 0, "content_block": block}),
                json!({"type": "content_block_stop", "index": 0}),
                json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}),
                json!({"type": "message_stop"}),
            ]);
            (
                stream,
                json!({"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [block],
                "stop_reason": "end_turn", "usage": usage}),
            )
        }
        G => {
            let whole = json!({"candidates": [{"content": words("a"), "finishReason": "STOP"}],
                "usageMetadata": {"promptTokenCount": 1, "serviceTier": tier}});
            (data(std::slice::from_ref(&whole)), whole)
        }
    }
}

/// Where a client of `to` is told the tier: in a whole answer, and at the end of a stream.
fn tier_in(to: Format, answer: &Value, events: &[Value]) -> (Value, Value) {
    let last = |at: &str| events.iter().rev().find_map(|event| event.pointer(at)).cloned().unwrap_or_default();
    match to {
        C => (answer["service_tier"].clone(), last("/service_tier")),
        R => (answer["service_tier"].clone(), last("/response/service_tier")),
        A => (answer["usage"]["service_tier"].clone(), last("/usage/service_tier")),
        G => (Value::Null, Value::Null),
    }
}

#[test]
fn a_stream_tells_the_tier_as_a_whole_answer_does() {
    for from in Format::ALL {
        for (tier, by_chat, by_messages) in [
            ("priority", json!("priority"), json!("priority")),
            ("flex", json!("flex"), Value::Null),
            ("standard", json!("default"), json!("standard")),
        ] {
            let (stream, body) = served(from, tier);
            for to in [C, R, A] {
                let told = if to == A { &by_messages } else { &by_chat };
                let (answer, lost) = whole((from, to), &body).unwrap();
                let (events, outcome) = streamed((from, to), &stream);
                assert_eq!(tier_in(to, &answer, &events), (told.clone(), told.clone()), "{from:?} {to:?}: {events:?}");
                let is_lost = lost.contains(&Field::Tier);
                assert_eq!(outcome.dropped.contains(&Field::Tier), is_lost, "{from:?} {to:?}: {events:?}");
                // The other way round: a stream in place of a whole answer.
                let mut gatherer = Gatherer::new(from, Undo::default());
                gatherer.chunk(stream.as_bytes()).unwrap();
                let gathered = gatherer.finish(to, &reply()).unwrap();
                let gathered: Value = serde_json::from_slice(&gathered.body).unwrap();
                assert_eq!(tier_in(to, &gathered, &[]).0, *told, "{from:?} {to:?}");
            }
        }
    }
    // Chunks say it from the first on; a message begins with it.
    let (stream, _) = served(A, "priority");
    let (events, _) = streamed((A, C), &stream);
    assert!(events.iter().all(|chunk| chunk["service_tier"] == "priority"), "{events:?}");
    let (events, _) = streamed((C, A), &served(C, "priority").0);
    assert_eq!(events[0]["message"]["usage"]["service_tier"], "priority", "{events:?}");
    // News of a tier that the client's format has no word for is a loss.
    assert!(streamed((R, C), &served(R, "ultrafast").0).1.dropped.contains(&Field::Tier));
}

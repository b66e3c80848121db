//! JSON that is the text of a string in another format is said in characters, whatever its client's library writes.

use serde_json::{Value, json};

use super::answers::{streamed, whole};
use super::crossings::translated;
use crate::Format;
use crate::format::Facts;

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

/// As Python's `json.dumps` and many others write it: in ASCII alone.
fn ascii(body: &Value) -> String {
    let mut out = String::new();
    for unit in body.to_string().encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\u{unit:04x}")),
        }
    }
    out
}

/// Requests with a call and its result. The arguments of a Chat client are a string already, which stays as it is.
fn asked(said: &Value) -> [(Format, Value); 2] {
    [
        (
            G,
            json!({"contents": [{"role": "user", "parts": [{"text": "q"}]},
                {"role": "model", "parts": [{"functionCall": {"id": "a", "name": "f", "args": said}}]},
                {"role": "user", "parts": [{"functionResponse": {"id": "a", "name": "f", "response": said}}]}]}),
        ),
        (
            A,
            json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": said}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": said.to_string()}]}]}),
        ),
    ]
}

#[test]
fn what_a_model_reads_is_the_same_by_every_library() {
    let said = json!({"北京": "20\u{b0}C “schön” 😀 \u{200d}", "q\"": "\\u5317\n\u{2028}\u{7f}", "n": 1.5});
    for (from, body) in asked(&said) {
        for to in Format::ALL.into_iter().filter(|to| *to != from) {
            let [plain, escaped] = [body.to_string(), ascii(&body)].map(|body| {
                let sent = translated((from, to), &body, &Facts::default(), None).unwrap().outgoing.body;
                serde_json::from_slice::<Value>(&sent).unwrap().to_string()
            });
            // Of these the place of a line's end is no character to see, and stays as it was said.
            let escaped = escaped.replace("\\\\u2028", "\u{2028}");
            assert_eq!(escaped, plain, "{from:?} {to:?}");
            assert!(plain.contains("北京") && plain.contains("😀"), "{from:?} {to:?}: {plain}");
        }
    }
}

#[test]
fn arguments_of_an_answer_are_said_in_characters() {
    let input = json!({"北": "😀"});
    let answer = json!({"id": "r", "candidates": [{"index": 0, "finishReason": "STOP",
        "content": {"role": "model", "parts": [{"functionCall": {"name": "f", "args": input}}]}}]});
    let escaped = ascii(&answer);
    for to in [C, R] {
        let done =
            crate::translate_response(G, to, escaped.as_bytes(), &super::answers::reply(), &crate::Undo::default());
        let body: Value = serde_json::from_slice(&done.unwrap().body).unwrap();
        assert!(body.to_string().contains(r#""{\"北\":\"😀\"}""#), "{to:?}: {body}");
        assert_eq!(body["output"], whole((G, to), &answer).unwrap().0["output"], "{to:?}");
        let (frames, _) = streamed((G, to), &format!("data: {escaped}\n\n"));
        assert!(json!(frames).to_string().contains(r#""{\"北\":\"😀\"}""#), "{to:?}: {frames:?}");
    }
}

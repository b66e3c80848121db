//! Errors in streams, in forms that no vendor has written down.

use super::streams::{shape, words};
use super::{CHAT, MESSAGES, chunks, finish, stream};

#[test]
fn an_error_in_any_form_is_no_end() {
    let data = |data: &str| format!("data: {data}\n\n");
    for (error, told) in [
        // llama.cpp's server.
        ("error: {\"code\":500,\"message\":\"no slot\",\"type\":\"server_error\"}\n\n".to_owned(), "no slot"),
        ("{\"error\":{\"message\":\"bare\"}}\n\n".to_owned(), "bare"),
        (
            data(r#"{"type":"urn:x:problem","title":"Internal Server Error","status":500,"detail":"of RFC 9457"}"#),
            "RFC 9457",
        ),
        (data(r#"{"detail":[{"type":"missing","loc":["body","messages"],"msg":"field required"}]}"#), "field required"),
        (data(r#"{"fault":{"faultstring":"of nobody known"}}"#), "before the answer was complete"),
    ] {
        let written = stream(CHAT, MESSAGES, &(data(&words("a")) + &error + "data: [DONE]\n\n"));
        assert_eq!(shape(&written), ["message_start", "+0:text", "0", "error"], "{error}");
        assert!(written.contains(told), "{written}");
        let ended = data(&words("a")) + &data(&finish("stop")) + &data(r#"{"type":"news"}"#) + "data: [DONE]\n\n";
        assert_eq!(shape(&stream(CHAT, MESSAGES, &ended)).last().unwrap(), "message_stop", "a reason is an end");
    }
    for nothing in [r#""""#, "{}", "[]", "false", "null"] {
        let chunk = words("a").replacen('{', &format!(r#"{{"error":{nothing},"#), 1);
        let written = stream(CHAT, MESSAGES, &chunks(&[&chunk, &chunk, &finish("stop"), "[DONE]"]));
        assert_eq!(shape(&written).last().unwrap(), "message_stop", "{nothing}");
    }
}

//! What went wrong, read from whoever says it and told to whoever asks.

use serde_json::{Value, json};

use crate::Format;
use crate::format::wire;
use crate::frame::sse::Frame;
use crate::hub::{Event, Fault, FaultKind};

use FaultKind::{
    Api, Authentication, Billing, Conflict, ContentFilter, InvalidRequest, NotFound, Overloaded, Permission, RateLimit,
    StreamIncomplete, Timeout, TooLarge,
};
use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

const KINDS: [FaultKind; 14] = [
    InvalidRequest,
    Authentication,
    Billing,
    Permission,
    NotFound,
    Conflict,
    TooLarge,
    FaultKind::Unprocessable,
    RateLimit,
    ContentFilter,
    Api,
    Timeout,
    Overloaded,
    StreamIncomplete,
];

#[test]
fn no_two_kinds_of_faults_go_by_one_label() {
    let labels: std::collections::BTreeSet<_> = KINDS.iter().map(|kind| kind.label()).collect();
    assert_eq!(labels.len(), KINDS.len());
    assert!(labels.iter().all(|label| label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
}

/// The error in a stream's event, where no status goes with it.
fn in_stream(format: Format, data: &Value) -> Fault<'static> {
    let mut fault = None;
    let mut reader = wire(format).stream_reader();
    let data = data.to_string();
    let read = reader.frame(&Frame { event: None, data: &data }, &mut |event| {
        if let Event::Fault(told) = event {
            fault = Some(told.into_owned());
        }
    });
    read.err().or(fault).unwrap_or_else(|| panic!("{data} is no error"))
}

#[test]
fn without_a_status_a_word_tells_what_went_wrong() {
    for (kind, words) in [
        (ContentFilter, &["content_filter", "content_policy_violation"][..]),
        (Overloaded, &["overloaded", "overloaded_error", "engine_overloaded", "server_is_overloaded", "slow_down"]),
        (Billing, &["billing_error", "payment_required", "insufficient_quota", "billing_hard_limit_reached"]),
        (RateLimit, &["rate_limit_error", "rate_limit_exceeded", "requests", "tokens"]),
        (Authentication, &["invalid_api_key", "authentication_error"]),
        (Permission, &["permission_error"]),
        (NotFound, &["not_found_error", "model_not_found"]),
        (TooLarge, &["request_too_large"]),
        (Timeout, &["timeout", "timeout_error", "vector_store_timeout"]),
        (InvalidRequest, &["invalid_request_error", "context_length_exceeded", "invalid_prompt", "invalid_image"]),
        (Api, &["api_error", "server_error", "some_new_error"]),
    ] {
        for word in words {
            for said in [json!({"message": "m", "type": word}), json!({"message": "m", "code": word})] {
                let fault = in_stream(C, &json!({"error": said}));
                assert_eq!((fault.kind, fault.message.as_ref()), (kind, "m"), "{said}");
            }
        }
    }
    // A word that is no kind of its own says nothing against one that is.
    let fault = in_stream(C, &json!({"error": {"message": "m", "type": "api_error", "code": "model_not_found"}}));
    assert_eq!(fault.kind, NotFound);
    let fault = in_stream(C, &json!({"error": {"message": "m", "type": "server_error", "code": 429}}));
    assert_eq!((fault.kind, fault.status), (RateLimit, 429));
}

#[test]
fn a_success_that_says_it_failed_is_told_by_its_number() {
    for (kind, codes) in [
        (Timeout, &[1001][..]),
        (RateLimit, &[1002, 1039, 1041, 2045, 2056]),
        (Authentication, &[1004, 2049]),
        (Billing, &[1008]),
        (ContentFilter, &[1026, 1027]),
        (InvalidRequest, &[1042, 2013]),
        (Api, &[1000, 9999]),
    ] {
        for code in codes {
            let body = json!({"base_resp": {"status_code": code, "status_msg": "m"}}).to_string();
            let fault = wire(C).read_error(200, body.as_bytes());
            assert_eq!((fault.kind, fault.message.as_ref()), (kind, "m"), "{body}");
            assert!(fault.status >= 400, "{body}: {}", fault.status);
        }
    }
    assert!(!wire(C).tells_error(br#"{"base_resp":{"status_code":0,"status_msg":"success"}}"#));
}

/// Reads each of `errors`, which say what they are in their last words, and each of them cut short.
fn read_around(errors: &[(Format, u16, Value, FaultKind, &str)]) {
    for (format, status, body, kind, words) in errors {
        let (wire, text) = (wire(*format), body.to_string());
        let fault = wire.read_error(*status, text.as_bytes());
        assert_eq!((fault.kind, fault.status), (*kind, if *kind == ContentFilter { 400 } else { *status }), "{body}");
        assert!(fault.message.ends_with(words), "{body}: {}", fault.message);
        let cut = text.get(..text.len() - 1).unwrap();
        let fault = wire.read_error(*status, cut.as_bytes());
        assert!(fault.message.contains(&status.to_string()), "{format:?} {cut}: {}", fault.message);
    }
}

/// A field of the wrong kind does not hide what another one says.
#[test]
fn an_error_of_a_compatible_server_is_read_around_what_nobody_expects() {
    read_around(&[
        (C, 400, json!({"error": {"message": "m", "loc": "x"}}), InvalidRequest, "m"),
        (C, 400, json!({"error": {"message": "m", "loc": {"x": 1}}}), InvalidRequest, "m"),
        (C, 400, json!({"error": {"message": "m"}, "base_resp": [1]}), InvalidRequest, "m"),
        (C, 400, json!({"error": {"message": "m"}, "base_resp": "x"}), InvalidRequest, "m"),
        (C, 400, json!({"error": {"message": "m", "metadata": "x"}}), InvalidRequest, "m"),
        (C, 400, json!({"error": {"message": "m", "type": 7, "status": null}}), InvalidRequest, "m"),
        (C, 400, json!({"status": true, "message": "m"}), InvalidRequest, "m"),
        (C, 400, json!({"error": {"message": "m", "code": {"x": 1}}}), InvalidRequest, "m"),
        (
            C,
            400,
            json!({"error": {"message": "m", "inner_error": {"code": "ResponsibleAIPolicyViolation"}}}),
            ContentFilter,
            "m",
        ),
        (C, 400, json!({"error": {"message": "m", "innererror": {"code": "x"}}}), InvalidRequest, "m"),
        (
            C,
            400,
            json!({"error": {"message": "m", "innererror": {"code": "ResponsibleAIPolicyViolation"}, "code": "x"}}),
            ContentFilter,
            "m",
        ),
        (
            C,
            400,
            json!({"error": {"message": "m", "code": "ResponsibleAIPolicyViolation", "inner_error": {}}}),
            ContentFilter,
            "m",
        ),
    ]);
}

#[test]
fn an_error_of_another_vendor_is_read_around_what_nobody_expects() {
    read_around(&[
        (G, 400, json!({"error": {"code": 400, "message": "m", "details": {"x": 1}}}), InvalidRequest, "m"),
        (
            G,
            400,
            json!({"error": {"code": 400, "message": "m", "details": [{"violations": {"x": 1}}]}}),
            InvalidRequest,
            "m",
        ),
        (
            G,
            400,
            json!({"error": {"code": 400, "message": "m", "details": [{"fieldViolations": 1}, 2]}}),
            InvalidRequest,
            "m",
        ),
        (G, 400, json!({"message": 7, "error": {"code": 400, "message": "m"}}), InvalidRequest, "m"),
        (G, 403, json!({"error": {"message": "m", "status": "NOT_FOUND"}}), NotFound, "m"),
        (G, 500, json!({"x": 1}), Api, "status 500: {\"x\":1}"),
        (A, 400, json!({"error": {"type": 7, "message": "m"}}), InvalidRequest, "m"),
        (A, 400, json!({"error": {"type": "x", "message": "m", "code": "c", "param": 7}}), InvalidRequest, "m"),
        (A, 400, json!({"message": 7, "detail": "m"}), InvalidRequest, "m"),
        (A, 400, json!({"detail": "m", "message": "n"}), InvalidRequest, "m"),
        (A, 500, json!({"x": 1}), Api, "status 500: {\"x\":1}"),
        (A, 400, json!({"error": {"message": "m", "code": 429}}), InvalidRequest, "m"),
    ]);
}

#[test]
fn an_error_keeps_its_code_and_the_field_at_fault() {
    let violations = json!([{"description": "d"}, {"field": "contents[0]"}, {"field": "tools"}]);
    for (format, body, code, param) in [
        (C, json!({"error": {"message": "m", "code": "c", "param": "p", "type": "t"}}), Some("c"), Some("p")),
        (C, json!({"error": {"message": "m", "param": null, "type": "t"}}), Some("t"), None),
        (R, json!({"error": {"message": "m", "code": "c", "param": "p"}}), Some("c"), Some("p")),
        (
            A,
            json!({"error": {"message": "m", "type": "invalid_request_error", "code": "c", "param": "p"}}),
            Some("c"),
            Some("p"),
        ),
        (G, json!({"error": {"message": "m", "status": "INVALID_ARGUMENT"}}), Some("INVALID_ARGUMENT"), None),
        (
            G,
            json!({"error": {"message": "m", "details": [{"reason": "REASON"}, {"fieldViolations": violations}]}}),
            Some("REASON"),
            Some("contents[0]"),
        ),
    ] {
        let text = body.to_string();
        let fault = wire(format).read_error(400, text.as_bytes());
        assert_eq!((fault.code.as_deref(), fault.param.as_deref()), (code, param), "{format:?} {body}");
    }
}

#[test]
fn only_the_formats_own_envelope_is_one() {
    for format in Format::ALL {
        let (_, body) = wire(format).write_error(&Fault::new(RateLimit, "m"), Some("req_1"));
        let is_error = |body: &[u8]| wire(format).is_error(body);
        assert!(is_error(&body), "{format:?}");
        assert!(!is_error(body.get(..body.len() - 1).unwrap()), "{format:?}: one that is cut");
        for other in [
            json!({"detail": {"message": "m", "code": 429}}),
            json!({"error": {"message": 7, "code": 429}}),
            json!({"error": {"type": "t", "code": "c"}}),
            json!({"error": {"type": "t", "code": 429}}),
            json!({"error": "m"}),
            json!({"message": "m", "code": 429}),
        ] {
            assert!(!is_error(other.to_string().as_bytes()), "{format:?}: {other}");
        }
    }
    assert!(!wire(G).is_error(br#"{"error":{"message":"m","code":"429"}}"#));
    assert!(!wire(G).is_error(br#"{"error":{"message":"m"}}"#));
}

#[test]
fn a_status_is_one_that_the_clients_of_the_format_know() {
    let told = |kind, status| Fault { status, ..Fault::new(kind, "m") };
    for format in [C, R, G] {
        for (fault, status) in [
            (told(Overloaded, 529), 503),
            (told(Billing, 402), 429),
            (told(Billing, 403), 429),
            (told(ContentFilter, 402), 429),
            (told(InvalidRequest, 418), 418),
            (told(InvalidRequest, 599), 599),
            (told(InvalidRequest, 200), 400),
            (told(Api, 600), 500),
            (told(NotFound, 0), 404),
        ] {
            assert_eq!(wire(format).write_error(&fault, None).0, status, "{format:?}: {fault:?}");
        }
    }
}

#[test]
fn gemini_tells_details_where_there_are_any() {
    let written = |fault: &Fault<'_>, id: Option<&str>| -> Value {
        serde_json::from_slice(&wire(G).write_error(fault, id).1).unwrap()
    };
    let types = |body: &Value| -> Vec<String> {
        let details = body["error"]["details"].as_array().cloned().unwrap_or_default();
        details.iter().map(|one| one["@type"].as_str().unwrap().rsplit_once('.').unwrap().1.to_owned()).collect()
    };
    let limit = Fault::new(RateLimit, "m");
    for (fault, id, expected) in [
        (limit.clone(), None, &[][..]),
        (limit.clone(), Some("req_1"), &["ErrorInfo"]),
        (limit.clone().with_code("c"), None, &["ErrorInfo"]),
        (limit.clone().with_code("UNAVAILABLE"), None, &[]),
        (limit.clone().with_param("contents"), None, &["BadRequest"]),
        (Fault { retry_after_s: Some(7), ..limit.clone() }, None, &["RetryInfo"]),
        (Fault::new(Billing, "m"), None, &["QuotaFailure"]),
        (
            Fault { retry_after_s: Some(7), ..limit.with_param("p") },
            Some("r"),
            &["ErrorInfo", "BadRequest", "RetryInfo"],
        ),
    ] {
        let body = written(&fault, id);
        assert_eq!(types(&body), expected, "{fault:?}");
        assert_eq!(body["error"].get("details").is_some(), !expected.is_empty(), "{fault:?}");
    }
    for (kind, code, word) in [
        (RateLimit, "UNAVAILABLE", "RESOURCE_EXHAUSTED"),
        (Timeout, "CANCELLED", "CANCELLED"),
        (Timeout, "c", "DEADLINE_EXCEEDED"),
        (Conflict, "ABORTED", "ABORTED"),
        (InvalidRequest, "c", "INVALID_ARGUMENT"),
        (Api, "DATA_LOSS", "DATA_LOSS"),
        (Api, "INVALID_ARGUMENT", "INTERNAL"),
    ] {
        let body = written(&Fault::new(kind, "m").with_code(code), None);
        assert_eq!(body["error"]["status"], word, "{kind:?} {code}");
    }
}

//! What requests and answers are in another format than their own: rules that hold for every pair, or for one side of all.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::format::tests::request_losses_are_listed;
use crate::format::{Facts, FieldSet, RequestHead, Target, wire};
use crate::hub::Fault;
use crate::seal::Seal;
use crate::{Format, Line, TranslatedRequest, translate_request};

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

const OTHERS: [Format; 3] = [C, R, G];

fn translated(
    (from, to): (Format, Format),
    body: &Value,
    facts: &Facts,
    betas: Option<&str>,
) -> Result<TranslatedRequest, Fault<'static>> {
    let seal = Seal::new([7; 32]);
    let line = Line { model: Some("m".into()), stream: None };
    let head = RequestHead { api_version: None, betas, line, seal: &seal };
    let target = Target { model: "t", facts, api_version: None };
    let request = translate_request(from, to, body.to_string().as_bytes(), &head, &target)?;
    request_losses_are_listed(from, to, &request.outgoing.losses);
    Ok(request)
}

/// The body that is sent, and what it loses as `action:pointer` items.
fn sent(way: (Format, Format), body: &Value, facts: &Facts) -> Result<(Value, String), Fault<'static>> {
    let request = translated(way, body, facts, None)?;
    Ok((serde_json::from_slice(&request.outgoing.body).unwrap(), request.outgoing.losses.header(4096)))
}

/// A request of Messages with `more` in it.
fn messages(more: &Value) -> Value {
    let mut body = json!({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "q"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn a_thread_is_only_for_who_keeps_it() {
    let core = Facts { fields: FieldSet::Core, ..Facts::default() };
    let stripped = Facts { strip: Arc::new(["thread".to_owned()]), ..Facts::default() };
    for thread in [json!({"type": "create"}), json!({"type": "continue", "previous_message_id": "msg_1"})] {
        let body = messages(&json!({"thread": thread}));
        let refused =
            OTHERS.map(|to| (to, Facts::default())).into_iter().chain([(A, core.clone()), (A, stripped.clone())]);
        for (to, facts) in refused {
            let fault = sent((A, to), &body, &facts).unwrap_err();
            let (status, error) = wire(A).write_error(&fault, None);
            let error: Value = serde_json::from_slice(&error).unwrap();
            assert_eq!((status, &error["error"]["type"]), (400, &json!("invalid_request_error")), "{to:?}");
            let details = json!({"error_code": "thread_unsupported_request", "unsupported": ["model"]});
            assert_eq!(error["error"]["details"], details, "{to:?}");
            assert!(to != A || wire(A).must_be_rewritten(body.to_string().as_bytes(), &facts));
        }
        let (kept, lost) = sent((A, A), &body, &Facts::default()).unwrap();
        assert_eq!((&kept["thread"], lost.as_str()), (&thread, ""));
        assert!(!wire(A).must_be_rewritten(body.to_string().as_bytes(), &Facts::default()));
    }
    for to in OTHERS {
        let (_, lost) = sent((A, to), &messages(&json!({"thread": null})), &Facts::default()).unwrap();
        assert_eq!(lost, "", "{to:?}");
    }
}

//! What requests and answers are in another format than their own: rules that hold for every pair, or for one side of all.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::format::tests::request_losses_are_listed;
use crate::format::{Facts, FieldSet, RequestHead, Target, wire};
use crate::hub::{Fault, in_namespace};
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

/// The body that goes to a chat server that does not know custom tools, or does.
fn chat_facts(custom_tools: bool) -> Facts {
    Facts { custom_tools, ..Facts::default() }
}

#[test]
fn a_custom_tool_goes_by_a_name_that_the_provider_takes() {
    let long = "x".repeat(130);
    let tools = json!([
        {"type": "namespace", "name": "functions", "description": "", "tools": [{"type": "custom", "name": "exec"}]},
        {"type": "custom", "name": long},
    ]);
    let choice = |of: Value| json!({"type": "allowed_tools", "mode": "required", "tools": of});
    let one = json!({"type": "custom", "namespace": "functions", "name": "exec"});
    for (to, custom) in [(C, true), (C, false), (A, true), (G, true)] {
        for choice in [one.clone(), choice(json!([one, {"type": "custom", "name": long}]))] {
            let body = json!({"model": "m", "tools": tools, "tool_choice": choice, "input": [
                {"role": "user", "content": "q"},
                {"type": "custom_tool_call", "call_id": "c1", "namespace": "functions", "name": "exec", "input": "ls"},
                {"type": "custom_tool_call_output", "call_id": "c1", "output": "a"}]});
            let request = translated((R, to), &body, &chat_facts(custom), None).unwrap();
            let sent = String::from_utf8(request.outgoing.body).unwrap();
            let names = &request.outgoing.undo.renamed_tools;
            assert_eq!(names.len(), 2, "{to:?}: {names:?}");
            for (stand_in, own) in names {
                let longest = if to == G { 128 } else { 64 };
                assert!(
                    stand_in.len() <= longest
                        && stand_in.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
                );
                assert!([in_namespace("functions", "exec"), long.clone()].contains(own), "{own}");
                assert!(sent.contains(&format!("\"{stand_in}\"")), "{to:?}: {sent}");
                let wrapped = request.outgoing.undo.wrapped_tools.contains(stand_in);
                assert_eq!(wrapped, !(to == C && custom), "{to:?}");
            }
            for raw in ["\\u001f", "\u{1f}", "exec\"", &format!("\"{long}\"")] {
                assert!(!sent.contains(raw), "{to:?}: {raw:?} in {sent}");
            }
            if to == C {
                let kind = if custom { "custom" } else { "function" };
                let sent: Value = serde_json::from_str(&sent).unwrap();
                assert_eq!((&sent["tools"][0]["type"], &sent["tools"][1]["type"]), (&json!(kind), &json!(kind)));
                let chosen = &sent["tool_choice"];
                let chosen =
                    if chosen["type"] == "allowed_tools" { &chosen["allowed_tools"]["tools"][0] } else { chosen };
                assert_eq!(chosen[kind]["name"], sent["tools"][0][kind]["name"], "{sent}");
            }
        }
    }
    let namespaced = json!({"model": "m", "tools": [tools[0]], "tool_choice": one, "input": "q"});
    let own = translated((R, R), &namespaced, &chat_facts(false), None).unwrap();
    let sent: Value = serde_json::from_slice(&own.outgoing.body).unwrap();
    assert_eq!(
        (&sent["tools"][0]["tools"][0]["name"], &sent["tool_choice"]["type"]),
        (&json!("exec"), &json!("function"))
    );
    assert_eq!(own.outgoing.undo.wrapped_tools, [in_namespace("functions", "exec")], "as the answer calls it");
}

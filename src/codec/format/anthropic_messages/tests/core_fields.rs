//! Trap E4: what only the vendor takes is taken out for everyone else, whether a request is passed on or written.

use super::{AnthropicMessages, KEY, Way, read};
use crate::format::{Facts, FieldSet, WireFormat as _};
use crate::hub::{Losses, Tier};
use crate::seal::Seal;

fn core() -> Facts {
    Facts { fields: FieldSet::Core, ..Facts::default() }
}

/// What was lost, as `pointer field`, in the order of the alphabet.
fn told(mut losses: Losses, document: &str) -> Vec<String> {
    losses.resolve(document.as_bytes());
    let mut told: Vec<String> = losses
        .iter()
        .map(|loss| match &loss.place {
            crate::hub::Place::Pointer(pointer) => format!("{pointer} {}", loss.field.label()),
            crate::hub::Place::Offset(at) => panic!("{at} is left"),
        })
        .collect();
    told.sort();
    told
}

fn trimmed(body: &str) -> (Option<String>, Vec<String>) {
    let mut losses = Losses::default();
    let found = AnthropicMessages.trim(body.as_bytes(), &core(), &mut losses).unwrap();
    (found.map(|found| String::from_utf8(found).unwrap()), told(losses, body))
}

#[test]
fn trap_e4_just_the_refused_fields_are_cut_out() {
    for (body, expected, lost) in [
        (
            r#"{ "context_management":{"edits":[]}, "model":"m" ,"max_tokens":1.0 , "messages":[] }"#,
            r#"{ "model":"m" ,"max_tokens":1.0 , "messages":[] }"#,
            &["/context_management beta"][..],
        ),
        (
            r#"{"model":"m" , "speed":"fast", "mcp_servers":[{"a":","}] , "newer":1}"#,
            r#"{"model":"m"}"#,
            &["/mcp_servers server_tool", "/newer unknown", "/speed tier"],
        ),
        (r#"{"betas":["x"], "thread":"t" }"#, r"{ }", &["/betas beta", "/thread beta"]),
        (
            r#"{"thinking":{"type":"adaptive","block_binding":{"a":1},"display":"omitted"},"output_config":{"task_budget":{},"effort":"low"},"metadata":{"user_id":"u","x":1},"cache_control":{"type":"ephemeral"}}"#,
            r#"{"thinking":{"type":"adaptive","display":"omitted"},"output_config":{"effort":"low"},"metadata":{"user_id":"u"}}"#,
            &[
                "/cache_control cache",
                "/metadata/x metadata",
                "/output_config/task_budget beta",
                "/thinking/block_binding beta",
            ],
        ),
        (
            r#"{"messages":[{"role":"user","output_config":{"effort":"low"},"content":[{"type":"text","text":"a","cache_control":{"scope":"global","type":"ephemeral","ttl":"1h"}}]},{"content":"b","role":"user","clear_at":1}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"1h"}}]},{"content":"b","role":"user"}]}"#,
            &[
                "/messages/0/content/0/cache_control/scope cache_mark",
                "/messages/0/output_config beta",
                "/messages/1/clear_at beta",
            ],
        ),
        (
            r#"{"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral","scope":"x"}}],"tools":[{"name":"f","input_schema":{"scope":{}},"eager_input_streaming":true},{"type":"bash_20250124","name":"bash","newer":1,"cache_control":{"scope":"x"}}]}"#,
            r#"{"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"tools":[{"name":"f","input_schema":{"scope":{}}},{"type":"bash_20250124","name":"bash","newer":1,"cache_control":{}}]}"#,
            &[
                "/system/0/cache_control/scope cache_mark",
                "/tools/0/eager_input_streaming tool",
                "/tools/1/cache_control/scope cache_mark",
            ],
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"tool_use_id":"i","newer":1,"content":[{"type":"document","source":{"type":"content","content":[{"text":"a","newer":{},"type":"text"}]}}],"type":"tool_result"}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"tool_use_id":"i","content":[{"type":"document","source":{"type":"content","content":[{"text":"a","type":"text"}]}}],"type":"tool_result"}]}]}"#,
            &["/messages/0/content/0/content/0/source/content/0/newer unknown", "/messages/0/content/0/newer unknown"],
        ),
    ] {
        let (found, told) = trimmed(body);
        assert_eq!(found.as_deref(), Some(expected), "{body}");
        assert_eq!(told, lost, "{body}");
    }
}

#[test]
fn trap_e4_what_every_server_takes_stays() {
    for body in [
        r#"{ "model" : "m","anthropic_version":"vertex-2023-10-16","output_format":{"type":"json_schema"},"tool_choice":{"x":1}}"#,
        r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"i","name":"f","input":{"scope":1,"cache_control":{"scope":2},"content":[{"type":"text","x":1}]}}]}]}"#,
        r#"{"messages":[{"role":"assistant","content":[{"type":"newest_block","anything":{"scope":1}}]}],"system":"s"}"#,
        r#"{"messages":null,"tools":[1,"x"],"thinking":"no"}"#,
    ] {
        assert_eq!(trimmed(body), (None, vec![]), "{body}");
    }
    let body = r#"{"context_management":{}}"#.as_bytes();
    assert_eq!(AnthropicMessages.trim(body, &Facts::default(), &mut Losses::default()), Ok(None), "the vendor's own");
    for broken in ["", "[]", r#"{"a":1"#] {
        assert!(AnthropicMessages.trim(broken.as_bytes(), &core(), &mut Losses::default()).is_err(), "{broken}");
    }
}

/// A body with every kind of field that only the vendor takes.
const NEWEST: &str = r#"{"model":"m","max_tokens":9,"context_management":{"edits":[]},"container":"c","newer":[1],
    "cache_control":{"type":"ephemeral"},"service_tier":"auto","metadata":{"user_id":"u","team":"t"},
    "thinking":{"type":"adaptive","block_binding":{},"display":"summarized"},
    "output_config":{"effort":"high","task_budget":{}},
    "system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral","scope":"global"},"newer":1}],
    "tools":[{"name":"f","input_schema":{"type":"object"},"cache_control":{"type":"ephemeral","scope":"global"},"defer_loading":true},
        {"type":"bash_20250124","name":"bash","cache_control":{"type":"ephemeral","scope":"global"}}],
    "messages":[{"role":"user","content":[{"type":"text","text":"hi","newer":1},{"type":"search_result","source":"s","title":"t",
            "content":[{"type":"text","text":"a","newer":1}],"cache_control":{"type":"ephemeral","scope":"global"}}],"output_config":{}},
        {"role":"assistant","content":[{"type":"tool_use","id":"i","name":"f","input":{"newer":1},"caller":{"type":"code"}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"i","content":[{"type":"text","text":"r","newer":1}]}]}]}"#;

#[test]
fn trap_e4_a_written_request_holds_what_a_passed_one_does() {
    let seal = Seal::new(KEY);
    let (passed, lost) = trimmed(NEWEST);
    let passed = passed.unwrap();
    assert_eq!(trimmed(&passed), (None, vec![]));
    assert_eq!(lost.len(), 19, "{lost:?}");
    let way = Way { facts: core(), ..Way::own() };
    let out = way.write(&read(NEWEST, None, &seal).unwrap()).unwrap();
    assert_eq!(told(out.losses, NEWEST), lost);
    let written = String::from_utf8(out.body).unwrap();
    assert_eq!(trimmed(&written), (None, vec![]), "{written}");
    let again = way.write(&read(&passed, None, &seal).unwrap()).unwrap();
    assert_eq!(written, String::from_utf8(again.body).unwrap());
    assert!(told(again.losses, &passed).is_empty());
}

#[test]
fn trap_e4_requests_of_another_format_are_held_to_the_same_list() {
    let change = |request: &mut crate::hub::Request<'_>| {
        request.tier = Some(Tier::Priority);
        request.cache.auto = Some(crate::hub::CacheMark { ttl_s: None });
    };
    let (_, out) = Way { facts: core(), ..Way::default() }
        .go(r#"{"model":"x","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#, change)
        .unwrap();
    let written = String::from_utf8(out.body).unwrap();
    assert_eq!(trimmed(&written), (None, vec![]), "{written}");
    let mut losses: Vec<_> = out.losses.iter().map(|loss| loss.field.label()).collect();
    losses.sort_unstable();
    assert_eq!(losses, ["cache", "tier"]);
}

//! Cache marks that a provider does not take.

use serde_json::{Value, json};

use super::crossings::{messages, sent};
use crate::Format;
use crate::format::Facts;

use Format::{AnthropicMessages as A, OpenaiChat as C, OpenaiResponses as R};

/// A conversation that is marked at one of its ends, or nowhere.
fn conversation(marked: Option<usize>) -> Value {
    let mark = |place: usize, mut block: Value| {
        if marked == Some(place) {
            block["cache_control"] = json!({"type": "ephemeral", "scope": "global"});
        }
        block
    };
    let text = |place: usize, words: &str| mark(place, json!({"type": "text", "text": words}));
    let result = json!({"type": "tool_result", "tool_use_id": "a", "content": [text(2, "r")]});
    messages(&json!({"system": [text(0, "s")], "messages": [
        {"role": "user", "content": [text(1, "q")]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
        {"role": "user", "content": [mark(3, result)]},
        {"role": "assistant", "content": [text(4, "so")]},
        {"role": "user", "content": [text(5, "and")]},
    ]}))
}

#[test]
fn a_mark_that_stays_behind_does_not_show_in_the_form() {
    let facts = Facts { cache_breakpoints: false, ..Facts::default() };
    for to in [C, R] {
        let (plain, lost) = sent((A, to), &conversation(None), &facts).unwrap();
        assert_eq!(lost, "", "{to:?}");
        for place in 0..6 {
            let (marked, lost) = sent((A, to), &conversation(Some(place)), &facts).unwrap();
            assert_eq!(marked, plain, "{to:?} {place}");
            assert_eq!(lost.matches("cache_control/scope").count(), 1, "{to:?} {place}: {lost}");
            assert_eq!(lost.matches(':').count(), 2, "{to:?} {place}: {lost}");
        }
    }
}

/// The last block of an agent's last message is a result, and there its mark stands.
#[test]
fn a_mark_of_a_result_stands_on_its_last_part() {
    let facts = Facts { cache_breakpoints: true, ..Facts::default() };
    let result = |content: Value| {
        let mark = json!({"type": "ephemeral"});
        let result = json!({"type": "tool_result", "tool_use_id": "a", "content": content, "cache_control": mark});
        let call = json!({"type": "tool_use", "id": "a", "name": "f", "input": {}});
        let (body, lost) = sent(
            (A, R),
            &messages(&json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": [call]},
                {"role": "user", "content": [result]}]})),
            &facts,
        )
        .unwrap();
        (body["input"].as_array().unwrap().last().unwrap()["output"].clone(), lost)
    };
    let marked =
        |words: &str| json!({"type": "input_text", "text": words, "prompt_cache_breakpoint": {"mode": "explicit"}});
    let text = |words: &str| json!({"type": "text", "text": words});
    for (content, output, lost) in [
        (json!("r"), json!([marked("r")]), ""),
        (json!([text("r")]), json!([marked("r")]), ""),
        (json!([text("q"), text("r")]), json!([{"type": "input_text", "text": "q"}, marked("r")]), ""),
        (json!(""), json!(""), "converted:/messages/2/content/0"),
    ] {
        let (found, told) = result(content);
        assert_eq!((found, told.as_str()), (output, lost));
    }
}

#[test]
fn a_mark_that_is_one_too_many_does_not_show_in_the_form() {
    let facts = Facts { cache_breakpoints: true, ..Facts::default() };
    let user = |words: &str, marked: bool| {
        let mut part = json!({"type": "text", "text": words});
        if marked {
            part["cache_control"] = json!({"type": "ephemeral"});
        }
        json!({"role": "user", "content": [part]})
    };
    let asked = |marks: usize| {
        let turns = (0..6).flat_map(|at| [user("q", at >= 6 - marks), json!({"role": "assistant", "content": "a"})]);
        let turns: Vec<Value> = turns.chain([user("q", false)]).collect();
        sent((A, C), &messages(&json!({"messages": turns})), &facts).unwrap().0
    };
    assert_eq!(asked(6), asked(4));
    assert_ne!(asked(4), asked(3));
}

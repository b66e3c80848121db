//! How much a model is to think, at the bounds of what it takes.

use serde_json::{Value, json};

use super::carried::request;
use super::crossings::sent;
use crate::Format;
use crate::format::{Efforts, Facts, ThinkingForm};
use crate::hub::Effort;

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

/// `more` of a request of `from` says `expected` at `at` of what is sent to `to`, and loses what `lost` says.
#[track_caller]
fn check(way: (Format, Format), facts: &Facts, more: &Value, (at, expected): (&str, &Value), lost: &str) {
    let (body, told) = sent(way, &request(way.0, more), facts).unwrap();
    let found = body.pointer(at).unwrap_or(&Value::Null);
    assert_eq!((found, told.as_str()), (expected, lost), "{way:?} {more}\n{body}");
}

fn thinks(thinking: ThinkingForm) -> Facts {
    Facts { thinking, ..Facts::default() }
}

fn budget(tokens: u64) -> Value {
    json!({"thinking": {"type": "enabled", "budget_tokens": tokens}, "max_tokens": 64_000})
}

#[test]
fn a_budget_is_the_effort_that_it_comes_to() {
    let lost = "converted:/thinking";
    for (tokens, effort) in [
        (1, "low"),
        (1024, "low"),
        (1025, "medium"),
        (8192, "medium"),
        (8193, "high"),
        (24_576, "high"),
        (24_577, "xhigh"),
    ] {
        let at = ("/output_config/effort", &json!(effort));
        check((A, A), &thinks(ThinkingForm::Adaptive), &budget(tokens), at, lost);
    }
    for (tokens, level) in [
        (1, "MINIMAL"),
        (512, "MINIMAL"),
        (513, "LOW"),
        (1024, "LOW"),
        (1025, "MEDIUM"),
        (8192, "MEDIUM"),
        (8193, "HIGH"),
        (32_000, "HIGH"),
    ] {
        let at = ("/generationConfig/thinkingConfig/thinkingLevel", &json!(level));
        check((A, G), &thinks(ThinkingForm::Adaptive), &budget(tokens), at, lost);
    }
    // A model that knows other efforts is asked for the nearest, but never for none.
    let few =
        Facts { efforts: Efforts::of(&[Effort::None, Effort::Low, Effort::High]), ..thinks(ThinkingForm::Adaptive) };
    for (tokens, effort) in [(1024, "low"), (9000, "high"), (30_000, "high")] {
        check((A, A), &few, &budget(tokens), ("/output_config/effort", &json!(effort)), lost);
    }
}

#[test]
fn a_budget_has_room_below_the_limit_of_the_answer() {
    let budgets = thinks(ThinkingForm::Budget);
    let asked = |budget: u64, limit: u64| json!({"thinking": {"type": "enabled", "budget_tokens": budget}, "max_tokens": limit});
    for (budget, limit, sent, lost) in [
        (1024, 1025, json!(1024), ""),
        (1024, 1024, Value::Null, "dropped:/thinking"),
        (1023, 4000, Value::Null, "dropped:/thinking"),
        (2000, 2001, json!(2000), ""),
        (2000, 2000, json!(1999), "converted:/thinking"),
        (9000, 4000, json!(3999), "converted:/thinking"),
    ] {
        check((A, A), &budgets, &asked(budget, limit), ("/thinking/budget_tokens", &sent), lost);
    }
    for (form, show) in [("summarized", "summarized"), ("omitted", "omitted")] {
        let thinking =
            json!({"thinking": {"type": "enabled", "budget_tokens": 2000, "display": form}, "max_tokens": 4000});
        check((A, A), &budgets, &thinking, ("/thinking/display", &json!(show)), "");
    }
    let adaptive = json!({"thinking": {"type": "adaptive"}, "max_tokens": 20_000});
    check((A, A), &budgets, &adaptive, ("/thinking/budget_tokens", &json!(8192)), "converted:/thinking");
    for (effort, sent) in [("low", json!("low")), ("none", Value::Null)] {
        let disabled = json!({"thinking": {"type": "disabled"}, "output_config": {"effort": effort}});
        check((A, A), &budgets, &disabled, ("/output_config/effort", &sent), "");
        check((A, A), &budgets, &disabled, ("/thinking/type", &json!("disabled")), "");
    }
    let effort = json!({"output_config": {"effort": "high"}});
    check((A, A), &budgets, &effort, ("/thinking", &Value::Null), "");
    check((A, A), &budgets, &effort, ("/output_config/effort", &json!("high")), "");
}

#[test]
fn a_model_that_does_not_think_loses_the_wish_to() {
    let never = thinks(ThinkingForm::None);
    for (from, to, more, lost) in [
        (A, C, json!({"thinking": {"type": "adaptive"}}), "dropped:/thinking"),
        (A, A, json!({"thinking": {"type": "adaptive"}}), "dropped:/thinking"),
        (A, A, budget(2000), "dropped:/thinking"),
        (A, A, json!({"thinking": {"type": "disabled"}}), ""),
        (A, A, json!({}), ""),
        (C, A, json!({"max_tokens": 9, "reasoning_effort": "low"}), "dropped:/reasoning_effort"),
        (C, A, json!({"max_tokens": 9, "reasoning_effort": "none"}), ""),
        (C, A, json!({"max_tokens": 9, "thinking_budget": 99}), "dropped:/thinking_budget"),
        (C, A, json!({"max_tokens": 9, "thinking_budget": 0}), ""),
        (R, A, json!({"max_output_tokens": 99, "reasoning": {"summary": "auto"}}), "dropped:/reasoning"),
        (
            G,
            A,
            json!({"generationConfig": {"maxOutputTokens": 99, "thinkingConfig": {"thinkingBudget": -1}}}),
            "dropped:/generationConfig/thinkingConfig",
        ),
        (C, G, json!({"reasoning_effort": "low"}), "dropped:/reasoning_effort"),
        (C, G, json!({"reasoning_effort": "none"}), ""),
    ] {
        let facts = &never;
        let (body, told) = sent((from, to), &request(from, &more), facts).unwrap();
        assert_eq!(told, lost, "{from:?} to {to:?}: {more}\n{body}");
        assert!(body.get("thinking").is_none() && body.pointer("/generationConfig/thinkingConfig").is_none(), "{body}");
    }
}

#[test]
fn a_call_that_must_be_made_excludes_thinking() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let asked = |effort: Option<&str>, choice: &str| {
        let mut more = json!({"max_tokens": 9000, "tools": tools, "tool_choice": choice});
        if let Some(effort) = effort {
            more["reasoning_effort"] = json!(effort);
        }
        more
    };
    let facts = |thinking, thinks_unasked| Facts { thinking, thinks_unasked, ..Facts::default() };
    let adaptive = ThinkingForm::Adaptive;
    for (facts, effort, choice, thinking, sent_effort, lost) in [
        (facts(adaptive, false), Some("high"), "auto", json!("adaptive"), json!("high"), ""),
        (
            facts(adaptive, false),
            Some("high"),
            "required",
            json!("disabled"),
            json!("high"),
            "dropped:/reasoning_effort",
        ),
        (facts(adaptive, false), Some("low"), "required", json!("disabled"), json!("low"), "dropped:/reasoning_effort"),
        (
            facts(adaptive, false),
            Some("max"),
            "required",
            json!("disabled"),
            json!("high"),
            "dropped:/reasoning_effort, converted:/reasoning_effort",
        ),
        (facts(adaptive, false), Some("max"), "auto", json!("adaptive"), json!("max"), ""),
        (facts(adaptive, false), None, "required", Value::Null, Value::Null, ""),
        // What thinks unasked is told not to.
        (facts(adaptive, true), None, "required", json!("disabled"), Value::Null, ""),
        (facts(adaptive, true), None, "auto", Value::Null, Value::Null, ""),
        (
            facts(ThinkingForm::Always, false),
            Some("max"),
            "required",
            Value::Null,
            json!("max"),
            "dropped:/reasoning_effort",
        ),
        (facts(ThinkingForm::Budget, true), None, "required", Value::Null, Value::Null, ""),
    ] {
        let more = asked(effort, choice);
        check((C, A), &facts, &more, ("/thinking/type", &thinking), lost);
        check((C, A), &facts, &more, ("/output_config/effort", &sent_effort), lost);
    }
    // A client of the format itself is not told what its model does unasked.
    let own = json!({"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}], "tool_choice": {"type": "any"}});
    check((A, A), &facts(adaptive, true), &own, ("/thinking", &Value::Null), "");
}

#[test]
fn gemini_is_told_tokens_that_its_model_can_think_with() {
    let at = "/generationConfig/thinkingConfig/thinkingBudget";
    let facts = |least_budget, most_budget| Facts { least_budget, most_budget, ..thinks(ThinkingForm::Budget) };
    let (open, narrow) = (facts(0, 32_768), facts(128, 2000));
    let own = |thinking: Value| json!({"generationConfig": {"thinkingConfig": thinking}});
    for (way, facts, more, tokens, lost) in [
        ((A, G), &open, budget(5000), json!(5000), ""),
        ((A, G), &narrow, budget(2000), json!(2000), ""),
        ((A, G), &narrow, budget(2001), json!(2000), "converted:/thinking"),
        ((A, G), &narrow, budget(100), json!(128), ""),
        ((A, G), &open, json!({"thinking": {"type": "disabled"}}), json!(0), ""),
        ((A, G), &narrow, json!({"thinking": {"type": "disabled"}}), json!(128), "converted:/thinking"),
        ((A, G), &open, json!({"thinking": {"type": "adaptive"}}), json!(-1), ""),
        ((C, G), &open, json!({"reasoning_effort": "minimal"}), json!(512), "converted:/reasoning_effort"),
        ((C, G), &open, json!({"reasoning_effort": "low"}), json!(1024), "converted:/reasoning_effort"),
        ((C, G), &open, json!({"reasoning_effort": "medium"}), json!(8192), "converted:/reasoning_effort"),
        ((C, G), &open, json!({"reasoning_effort": "high"}), json!(24_576), "converted:/reasoning_effort"),
        ((C, G), &open, json!({"reasoning_effort": "max"}), json!(32_768), "converted:/reasoning_effort"),
        ((C, G), &open, json!({"reasoning_effort": "none"}), json!(0), ""),
        (
            (C, G),
            &open,
            json!({"reasoning_effort": "high", "max_tokens": 501}),
            json!(500),
            "converted:/reasoning_effort",
        ),
        (
            (C, G),
            &narrow,
            json!({"reasoning_effort": "high", "max_tokens": 101}),
            json!(128),
            "converted:/reasoning_effort",
        ),
        // Its own clients know what they ask for.
        ((G, G), &narrow, own(json!({"thinkingBudget": 9000})), json!(9000), ""),
        ((G, G), &open, own(json!({"thinkingBudget": -1})), json!(-1), ""),
        ((G, G), &thinks(ThinkingForm::Adaptive), own(json!({"thinkingBudget": 0})), json!(0), ""),
        ((G, G), &thinks(ThinkingForm::Adaptive), own(json!({"thinkingBudget": -1})), json!(-1), ""),
        ((G, G), &thinks(ThinkingForm::Adaptive), own(json!({"thinkingBudget": 77})), json!(77), ""),
    ] {
        check(way, facts, &more, (at, &tokens), lost);
    }
    let level = "/generationConfig/thinkingConfig/thinkingLevel";
    let adaptive = thinks(ThinkingForm::Adaptive);
    let known = Facts { efforts: Efforts::of(&[Effort::Low, Effort::Xhigh]), ..adaptive.clone() };
    check((G, G), &adaptive, &own(json!({"thinkingLevel": "xhigh"})), (level, &json!("XHIGH")), "");
    check(
        (C, G),
        &adaptive,
        &json!({"reasoning_effort": "xhigh"}),
        (level, &json!("HIGH")),
        "converted:/reasoning_effort",
    );
    check((C, G), &known, &json!({"reasoning_effort": "xhigh"}), (level, &json!("XHIGH")), "");
}

#[test]
fn with_thinking_words_are_chosen_nearly_freely() {
    let asked = |more: Value| {
        let mut all = json!({"thinking": {"type": "adaptive"}});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let facts = thinks(ThinkingForm::Adaptive);
    for (more, thought, unthought) in [
        (json!({"temperature": 1}), "", ""),
        (json!({"temperature": 1.0}), "", ""),
        (json!({"temperature": 0.5}), "dropped:/temperature", ""),
        (json!({"temperature": 0}), "dropped:/temperature", ""),
        (json!({"temperature": 1.5}), "dropped:/temperature", "converted:/temperature"),
        (json!({"top_p": 0.95}), "", ""),
        (json!({"top_p": 0.94}), "dropped:/top_p", ""),
        (json!({"top_p": 1}), "", ""),
        (json!({"top_k": 5}), "dropped:/top_k", ""),
        (json!({"temperature": 1, "top_p": 0.99}), "", ""),
    ] {
        let (key, value) = more.as_object().unwrap().iter().next().unwrap();
        for (all, lost) in [(asked(more.clone()), thought), (more.clone(), unthought)] {
            let sent_value = match lost.split_once(':') {
                None => value.clone(),
                Some(("converted", _)) => json!(1),
                Some(_) => Value::Null,
            };
            check((A, A), &facts, &all, (&format!("/{key}"), &sent_value), lost);
        }
    }
    // Of another format's client one of the two goes, where both say something.
    let both = |top_p: Value| json!({"max_tokens": 9, "temperature": 0.5, "top_p": top_p});
    check((C, A), &facts, &both(json!(0.9)), ("/top_p", &Value::Null), "dropped:/top_p");
    check((C, A), &facts, &both(json!(1)), ("/top_p", &Value::Null), "");
    check((C, A), &facts, &json!({"max_tokens": 9, "top_p": 1}), ("/top_p", &json!(1)), "");
    check((A, A), &facts, &json!({"temperature": 0.5, "top_p": 0.9}), ("/top_p", &json!(0.9)), "");
}

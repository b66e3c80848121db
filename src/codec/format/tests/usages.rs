//! What an answer cost, whoever counted it.

use serde_json::{Value, json};

use crate::Format;
use crate::format::wire;
use crate::hub::Usage;

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

fn body(format: Format, usage: &Value) -> String {
    let key = if format == G { "usageMetadata" } else { "usage" };
    json!({"id": "x", "content": "the \"usage\" of words", key: usage}).to_string()
}

/// `counts` of an answer of `format` are `expected`.
#[track_caller]
fn check(format: Format, counts: &Value, expected: &Usage) {
    let found = wire(format).find_usage(body(format, counts).as_bytes()).unwrap();
    assert_eq!(found, *expected, "{format:?} {counts}");
}

/// Ten tokens in and five out, with `change`.
fn of(change: impl FnOnce(&mut Usage)) -> Usage {
    let mut usage = Usage { input_uncached: 10, output_visible: 5, ..Usage::default() };
    change(&mut usage);
    usage
}

fn with(base: &Value, more: &Value) -> Value {
    let mut counts = base.clone();
    counts.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    counts
}

#[test]
fn what_is_no_object_counts_nothing() {
    for format in Format::ALL {
        for counts in [json!("x"), json!(7), json!([7]), Value::Null] {
            assert_eq!(wire(format).find_usage(body(format, &counts).as_bytes()), None, "{format:?} {counts}");
        }
    }
}

#[test]
fn what_compatible_servers_count_is_counted() {
    let base = json!({"prompt_tokens": 10, "completion_tokens": 5});
    let cached = of(|usage| (usage.input_uncached, usage.cache_read, usage.cache_known) = (6, 4, true));
    for key in ["prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens", "cache_read_input_tokens"] {
        check(C, &with(&base, &json!({key: 4})), &cached);
        // What stands in its own place counts.
        let both = json!({key: 9, "prompt_tokens_details": {"cached_tokens": 4}});
        check(C, &with(&base, &both), &cached);
    }
    let searched = |count| of(|usage| usage.server_tool_requests = count);
    for (more, expected) in [
        (json!({}), of(|_| ())),
        (
            json!({"cache_creation_input_tokens": 3}),
            of(|usage| (usage.input_uncached, usage.cache_write_short) = (7, 3)),
        ),
        (
            json!({"prompt_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 5}}),
            of(|usage| {
                (usage.input_uncached, usage.cache_read, usage.cache_write_short) = (0, 8, 2);
                usage.cache_known = true;
            }),
        ),
        (json!({"num_search_queries": 2}), searched(2)),
        (json!({"server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1}}), searched(3)),
        (json!({"server_tool_use_details": {"web_search_requests": 2}}), searched(2)),
        (json!({"server_tool_use": 7}), of(|_| ())),
        (json!({"prompt_tokens_details": {"audio_tokens": 4}}), of(|usage| usage.audio_input = 4)),
        (json!({"completion_tokens_details": {"audio_tokens": 4}}), of(|usage| usage.audio_output = 4)),
        (
            json!({"reasoning_tokens": 2}),
            of(|usage| (usage.output_visible, usage.output_reasoning, usage.reasoning_known) = (3, 2, true)),
        ),
    ] {
        check(C, &with(&base, &more), &expected);
    }
    check(C, &json!({"prompt_tokens": 10}), &of(|usage| usage.output_visible = 0));
    check(C, &json!({"completion_tokens": 5}), &of(|usage| usage.input_uncached = 0));
    check(R, &json!({"input_tokens": 10}), &of(|usage| usage.output_visible = 0));
    check(R, &json!({"output_tokens": 5}), &of(|usage| usage.input_uncached = 0));
}

/// Some servers leave reasoning out of the output; the total gives them away, or there is more of it than of output.
#[test]
fn reasoning_is_told_from_the_answer_once() {
    for (reasoning, total, visible) in
        [(0, 15, 5), (2, 15, 3), (2, 17, 5), (5, 15, 0), (5, 20, 5), (6, 15, 5), (6, 21, 5), (4, 0, 1)]
    {
        let expected = of(|usage| {
            (usage.output_visible, usage.output_reasoning, usage.reasoning_known) = (visible, reasoning, true);
        });
        let details = json!({"reasoning_tokens": reasoning});
        let chat = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": total, "completion_tokens_details": details});
        check(C, &chat, &expected);
        let responses =
            json!({"input_tokens": 10, "output_tokens": 5, "total_tokens": total, "output_tokens_details": details});
        check(R, &responses, &expected);
    }
    // Gemini counts thoughts beside the candidates; where the total says that they are among them, they are.
    for (thoughts, total, visible) in [(0, 15, 5), (2, 17, 5), (2, 15, 3), (5, 15, 0), (6, 15, 5), (5, 20, 5)] {
        let expected = of(|usage| {
            (usage.output_visible, usage.output_reasoning, usage.reasoning_known) = (visible, thoughts, true);
        });
        let counts = json!({"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": thoughts, "totalTokenCount": total});
        check(G, &counts, &expected);
    }
}

#[test]
fn caches_and_sound_are_a_part_of_the_whole() {
    let base = json!({"input_tokens": 10, "output_tokens": 5});
    for (details, expected) in [
        (json!({}), of(|_| ())),
        (
            json!({"cached_tokens": 4}),
            of(|usage| (usage.input_uncached, usage.cache_read, usage.cache_known) = (6, 4, true)),
        ),
        (
            json!({"cached_tokens": 8, "cache_write_tokens": 5}),
            of(|usage| {
                (usage.input_uncached, usage.cache_read, usage.cache_write_short) = (0, 8, 2);
                usage.cache_known = true;
            }),
        ),
        (
            json!({"cache_write_tokens": 5, "cache_write_tokens_details": {"ttl_12h_tokens": 2}}),
            of(|usage| (usage.input_uncached, usage.cache_write_short, usage.cache_write_long) = (5, 3, 2)),
        ),
        (
            json!({"cache_write_tokens": 5, "cache_write_tokens_details": "x"}),
            of(|usage| (usage.input_uncached, usage.cache_write_short) = (5, 5)),
        ),
    ] {
        check(R, &with(&base, &json!({"input_tokens_details": details})), &expected);
    }
    for (more, expected) in [
        (
            json!({"cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 2}}),
            of(|usage| (usage.cache_write_short, usage.cache_write_long) = (3, 2)),
        ),
        (json!({"cache_creation_input_tokens": 4}), of(|usage| usage.cache_write_short = 4)),
        (
            json!({"server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1}}),
            of(|usage| usage.server_tool_requests = 3),
        ),
    ] {
        check(A, &with(&base, &more), &expected);
    }
    let base = json!({"promptTokenCount": 10, "candidatesTokenCount": 5});
    let sound = |tokens| json!([{"modality": "TEXT", "tokenCount": 1}, {"modality": "AUDIO", "tokenCount": tokens}]);
    check(G, &with(&base, &json!({"promptTokensDetails": sound(4)})), &of(|usage| usage.audio_input = 4));
    check(G, &with(&base, &json!({"candidatesTokensDetails": sound(4)})), &of(|usage| usage.audio_output = 4));
    check(G, &with(&base, &json!({"candidatesTokensDetails": sound(9)})), &of(|usage| usage.audio_output = 5));
}

#[test]
fn an_answer_without_counts_costs_nothing_that_is_known() {
    for format in Format::ALL {
        for none in [json!(null), json!("x"), json!([1])].into_iter().filter(|none| format != A || none.is_null()) {
            assert_eq!(wire(format).find_usage(body(format, &none).as_bytes()), None, "{format:?} {none}");
        }
        assert_eq!(wire(format).find_usage(b"{\"id\":\"x\"}"), None, "{format:?}");
        assert_eq!(wire(format).find_usage(b"no JSON"), None, "{format:?}");
    }
    // Counts that stand before words that look like them.
    let early = json!({"choices": "x", "a_usage": 1, "usage": {"prompt_tokens": 10, "completion_tokens": 5}, "words": "\"usage\""});
    assert_eq!(wire(C).find_usage(early.to_string().as_bytes()), Some(of(|_| ())));
}

/// Clients take a count that is there for one that was told: of what nobody knows nothing is said, but where they demand it.
#[test]
fn counts_are_told_as_they_are_known() {
    let messages = |usage: Value| {
        json!({"id": "m", "type": "message", "role": "assistant", "model": "c", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "A"}], "usage": usage})
    };
    let told = |to: Format, usage: Value| super::answers::whole((A, to), &messages(usage)).unwrap().0;
    let plain = json!({"input_tokens": 10, "output_tokens": 5});
    let counts = told(G, plain.clone())["usageMetadata"].clone();
    assert_eq!(counts, json!({"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}));
    let known = with(&plain, &json!({"cache_read_input_tokens": 0, "output_tokens_details": {"thinking_tokens": 0}}));
    let counts = told(G, known)["usageMetadata"].clone();
    assert_eq!((&counts["cachedContentTokenCount"], &counts["thoughtsTokenCount"]), (&json!(0), &json!(0)));
    let split = |long: u64| {
        let written = json!({"cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": long}});
        told(R, with(&plain, &written))["usage"]["input_tokens_details"].clone()
    };
    assert_eq!(split(0), json!({"cached_tokens": 0, "cache_write_tokens": 3}));
    let long = json!({"ttl_30m_tokens": 3, "ttl_12h_tokens": 2});
    assert_eq!(split(2), json!({"cached_tokens": 0, "cache_write_tokens": 5, "cache_write_tokens_details": long}));
}

//! Fields of a request that its server refuses by name: what is told of them.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::format::{Facts, RequestHead, wire};
use crate::hub::{Block, BlockKind, Losses, Origin, Request, Role, Source, Turn};
use crate::json::Text;
use crate::seal::Seal;
use crate::{Format, Line};

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

/// What the fields of a format's own requests are about.
const CLASSES: &[(Format, &str, &[&str])] = &[
    (A, "model", &["model"]),
    (A, "instructions", &["system"]),
    (A, "turn", &["messages"]),
    (A, "tool", &["tools"]),
    (A, "tool_choice", &["tool_choice"]),
    (A, "cache", &["cache_control"]),
    (A, "max_output", &["max_tokens"]),
    (A, "stop", &["stop_sequences"]),
    (A, "temperature", &["temperature"]),
    (A, "top_p", &["top_p"]),
    (A, "top_k", &["top_k"]),
    (A, "reasoning", &["thinking"]),
    (A, "tier", &["service_tier"]),
    (A, "metadata", &["metadata"]),
    (A, "stream_options", &["stream"]),
    (A, "unknown", &["output_mode"]),
    (C, "model", &["model", "models", "provider", "route", "transforms"]),
    (C, "instructions", &["messages"]),
    (C, "tool", &["tools", "functions"]),
    (C, "tool_choice", &["tool_choice", "function_call"]),
    (C, "parallel_tools", &["parallel_tool_calls"]),
    (C, "cache", &["prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "cache_control"]),
    (C, "max_output", &["max_completion_tokens", "max_tokens"]),
    (C, "stop", &["stop", "stop_token_ids", "include_stop_str_in_output"]),
    (C, "temperature", &["temperature"]),
    (C, "top_p", &["top_p"]),
    (C, "top_k", &["top_k"]),
    (C, "seed", &["seed", "random_seed"]),
    (C, "presence_penalty", &["presence_penalty"]),
    (C, "frequency_penalty", &["frequency_penalty"]),
    (C, "logit_bias", &["logit_bias"]),
    (C, "n", &["n", "best_of"]),
    (C, "logprobs", &["logprobs", "top_logprobs", "prompt_logprobs"]),
    (C, "prediction", &["prediction"]),
    (C, "output", &["response_format", "guided_json", "guided_regex", "guided_choice", "guided_grammar", "ebnf"]),
    (C, "verbosity", &["verbosity"]),
    (C, "reasoning", &["reasoning_effort", "reasoning", "thinking", "include_reasoning", "chat_template_kwargs"]),
    (C, "tier", &["service_tier"]),
    (C, "identity", &["safety_identifier", "user"]),
    (C, "metadata", &["metadata"]),
    (C, "store", &["store"]),
    (C, "stream_options", &["stream_options"]),
    (C, "modalities", &["modalities", "audio"]),
    (C, "safety", &["moderation", "safety_settings", "safe_prompt"]),
    (C, "server_tool", &["web_search_options", "enable_search", "search_parameters", "plugins"]),
    (C, "sampling", &["min_p", "repetition_penalty", "min_tokens", "sampling_seed", "use_beam_search"]),
    (C, "document", &["documents"]),
    (C, "unknown", &["vendor_x"]),
    (G, "instructions", &["systemInstruction"]),
    (G, "turn", &["contents"]),
    (G, "tool", &["tools"]),
    (G, "cache", &["cachedContent"]),
    (G, "tier", &["serviceTier"]),
    (G, "metadata", &["labels"]),
    (G, "store", &["store"]),
    (G, "safety", &["safetySettings"]),
    (R, "model", &["model"]),
    (R, "instructions", &["instructions"]),
    (R, "turn", &["input"]),
    (R, "tool", &["tools"]),
    (R, "tool_choice", &["tool_choice"]),
    (R, "parallel_tools", &["parallel_tool_calls"]),
    (R, "cache", &["prompt_cache_key"]),
    (R, "max_output", &["max_output_tokens"]),
    (R, "temperature", &["temperature"]),
    (R, "top_p", &["top_p"]),
    (R, "logprobs", &["top_logprobs"]),
    (R, "output", &["text"]),
    (R, "reasoning", &["reasoning"]),
    (R, "tier", &["service_tier"]),
    (R, "identity", &["safety_identifier", "user"]),
    (R, "metadata", &["metadata"]),
    (R, "store", &["store"]),
    (R, "stream_options", &["stream_options"]),
    (R, "safety", &["moderation"]),
];

#[test]
fn a_refused_field_goes_and_is_counted_as_what_it_says() {
    for (format, class, keys) in CLASSES {
        for key in *keys {
            let facts = Facts { strip: Arc::new([(*key).to_owned()]), ..Facts::default() };
            let mut body = Map::from_iter([("kept".to_owned(), json!(1.5))]);
            body.insert((*key).to_owned(), json!(7));
            let body = Value::Object(body).to_string();
            let mut losses = Losses::default();
            let trimmed = wire(*format).trim(body.as_bytes(), &facts, &mut losses).unwrap();
            losses.resolve(body.as_bytes());
            let told: Vec<_> = losses.iter().map(|loss| (loss.field.label(), loss.reason.clone())).collect();
            assert_eq!(trimmed.as_deref(), Some(br#"{"kept":1.5}"#.as_slice()), "{format:?} {key}");
            assert_eq!(told, [(*class, format!("the server refuses `{key}`").into())], "{format:?} {key}");
            assert_eq!(losses.header(99), format!("dropped:/{key}"), "{format:?}");
        }
    }
}

#[test]
fn either_spelling_of_a_refused_field_is_the_field() {
    for name in ["systemInstruction", "system_instruction"] {
        for key in ["systemInstruction", "system_instruction"] {
            let facts = Facts { strip: Arc::new([name.to_owned()]), ..Facts::default() };
            let body = json!({"contents": [], key: {"parts": []}}).to_string();
            let mut losses = Losses::default();
            let trimmed = wire(G).trim(body.as_bytes(), &facts, &mut losses).unwrap();
            losses.resolve(body.as_bytes());
            assert_eq!(trimmed.as_deref(), Some(br#"{"contents":[]}"#.as_slice()), "{name} {key}");
            let told: Vec<_> = losses.iter().map(|loss| loss.field.label()).collect();
            assert_eq!(told, ["instructions"], "{name} {key}");
            assert_eq!(losses.header(99), format!("dropped:/{key}"), "{name}");
        }
    }
}

#[test]
fn a_field_that_goes_by_another_name_keeps_its_value() {
    for format in Format::ALL {
        let facts = Facts { rename: Arc::new([("own".to_owned(), "other".to_owned())]), ..Facts::default() };
        let trimmed = |body: &str, facts: &Facts| {
            let mut losses = Losses::default();
            let trimmed = wire(format).trim(body.as_bytes(), facts, &mut losses).unwrap();
            assert!(losses.is_empty(), "{format:?}");
            trimmed.map(|body| String::from_utf8(body).unwrap())
        };
        assert_eq!(trimmed(r#"{"own" : 1.0}"#, &facts).as_deref(), Some(r#"{"other" : 1.0}"#), "{format:?}");
        assert_eq!(trimmed(r#"{"own":1}"#, &Facts::default()), None, "{format:?}");
    }
}

fn read<'a>(body: &'a [u8], seal: &'a Seal) -> Request<'a> {
    let head = RequestHead { api_version: None, betas: None, line: Line::default(), seal };
    wire(C).read_request(body, &head).unwrap()
}

/// What a writer gives by itself, such as a limit that its format demands, is nothing that the client loses.
#[test]
fn a_request_says_what_its_client_wrote_and_nothing_else() {
    let seal = Seal::new([7; 32]);
    let plain = json!({"messages": [{"role": "user", "content": "q"}]});
    for (key, value) in [
        ("max_tokens", json!(9)),
        ("stop", json!("x")),
        ("temperature", json!(1)),
        ("top_p", json!(1)),
        ("top_k", json!(1)),
        ("seed", json!(1)),
        ("presence_penalty", json!(1)),
        ("frequency_penalty", json!(1)),
        ("logit_bias", json!({"7": 1})),
        ("n", json!(1)),
        ("logprobs", json!(true)),
        ("top_logprobs", json!(3)),
        ("prediction", json!({"type": "content", "content": "x"})),
        ("tool_choice", json!("auto")),
        ("parallel_tool_calls", json!(true)),
        ("response_format", json!({"type": "json_object"})),
        ("verbosity", json!("low")),
        ("reasoning_effort", json!("low")),
        ("service_tier", json!("flex")),
        ("user", json!("u")),
        ("safety_identifier", json!("u")),
        ("metadata", json!({"k": "v"})),
        ("store", json!(false)),
    ] {
        let field = wire(C).class(key);
        let silent = plain.to_string();
        assert!(!read(silent.as_bytes(), &seal).says(field), "{key}");
        let mut said = plain.clone();
        said[key] = value;
        let said = said.to_string();
        let request = read(said.as_bytes(), &seal);
        let all: Vec<_> = CLASSES.iter().filter(|(format, ..)| *format == C).map(|(_, _, keys)| keys[0]).collect();
        let others = all.into_iter().map(|key| wire(C).class(key)).filter(|other| *other != field);
        assert!(request.says(field), "{key}");
        for other in others.filter(|other| !read(silent.as_bytes(), &seal).says(*other)) {
            assert!(!request.says(other), "{key} says nothing of {other:?}");
        }
    }
}

#[test]
fn options_of_a_stream_are_said_where_they_are_not_the_usual_ones() {
    let seal = Seal::new([7; 32]);
    for (more, says) in [
        (json!({"stream": true, "stream_options": {"include_usage": true}}), true),
        (json!({"stream": true, "stream_options": {"include_obfuscation": false}}), true),
        (json!({"stream": true, "stream_options": {}}), false),
        (json!({"stream": true}), false),
        (json!({"stream_options": {"include_usage": true}}), false),
    ] {
        let mut body = json!({"messages": [{"role": "user", "content": "q"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let body = body.to_string();
        assert_eq!(read(body.as_bytes(), &seal).says(crate::hub::Field::StreamOptions), says, "{body}");
    }
}

/// What is stripped of a request that another format's client made is told in that client's words, if it said it.
#[test]
fn of_what_was_written_only_the_clients_own_is_told() {
    let strip = |keys: &[&str]| {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        Facts { strip: keys.into(), ..Facts::default() }
    };
    let turns = json!([{"role": "user", "content": "q"}]);
    for (way, more, keys, told) in [
        ((C, A), json!({}), &["max_tokens"][..], "defaulted:/max_completion_tokens"),
        ((C, A), json!({"max_completion_tokens": 9}), &["max_tokens"], "dropped:/max_completion_tokens"),
        (
            (C, A),
            json!({"temperature": 0.5}),
            &["temperature", "stop_sequences"],
            "dropped:/temperature, defaulted:/max_completion_tokens",
        ),
        ((C, A), json!({"stream": true, "stream_options": {"include_usage": true}, "max_tokens": 9}), &["stream"], ""),
        (
            (C, C),
            json!({"stream": true, "stream_options": {"include_usage": true}}),
            &["stream_options"],
            "dropped:/stream_options",
        ),
        ((A, C), json!({"max_tokens": 9, "stream": true}), &["stream_options"], ""),
        ((A, C), json!({"max_tokens": 9}), &["max_completion_tokens"], "dropped:/max_tokens"),
        ((A, C), json!({"max_tokens": 9, "stop_sequences": ["x"]}), &["stop"], "dropped:/stop_sequences"),
    ] {
        let mut body = json!({"model": "m", "messages": turns});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (sent, lost) = super::crossings::sent(way, &body, &strip(keys)).unwrap();
        assert_eq!(lost, told, "{way:?} {more} without {keys:?}");
        assert!(keys.iter().all(|key| sent.get(key).is_none()), "{way:?}: {sent}");
    }
}

/// Models that see no images are passed over where a request has one anywhere.
#[test]
fn a_part_is_found_wherever_it_stands() {
    let image = || Block::new(BlockKind::Image { source: Source::FileId(Text::from_plain("f")), detail: None }, 0);
    let text = || Block::text(Text::from_plain("t"), 0);
    let result = |content| BlockKind::ToolResult { id: "c".into(), content, is_error: None };
    let turn = |blocks| vec![Turn::new(Role::User, vec![text(), text()], 0), Turn::new(Role::User, blocks, 0)];
    for (instructions, turns, found) in [
        (vec![], vec![], false),
        (vec![text()], turn(vec![text()]), false),
        (vec![text(), image()], vec![], true),
        (vec![], turn(vec![text(), image()]), true),
        (vec![], turn(vec![Block::new(result(vec![text(), image()]), 0)]), true),
        (vec![], turn(vec![Block::new(result(vec![text()]), 0)]), false),
    ] {
        let mut request = Request::new(Origin { format: C, api_version: None, betas: Vec::new() });
        (request.instructions, request.turns) = (instructions, turns);
        assert_eq!(request.has_block(|kind| matches!(kind, BlockKind::Image { .. })), found, "{request:?}");
    }
    let request = Request::new(Origin { format: C, api_version: None, betas: Vec::new() });
    assert!(!request.has_block(|_| true), "a request of nothing has no part");
}

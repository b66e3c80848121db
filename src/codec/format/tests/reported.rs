//! What a request loses on its way to a provider of another format: under which class, and where it stood.

use serde_json::{Value, json};

use super::carried::request;
use super::crossings::translated;
use crate::Format;
use crate::format::Facts;
use crate::hub::Place;

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

/// `more` of a request loses exactly `expected`, each as `action:class:pointer`.
#[track_caller]
fn check((from, to): (Format, Format), more: &Value, expected: &[&str]) {
    let body = request(from, more);
    let sent = translated((from, to), &body, &Facts::default(), None).unwrap();
    let told: Vec<String> = sent
        .outgoing
        .losses
        .iter()
        .map(|loss| {
            let Place::Pointer(pointer) = &loss.place else { panic!("{loss:?}") };
            format!("{}:{}:{pointer}", loss.action.label(), loss.field.label())
        })
        .collect();
    assert_eq!(told, expected, "{from:?} to {to:?}: {more}\n{}", String::from_utf8_lossy(&sent.outgoing.body));
}

#[test]
fn fields_of_the_vendors_own_are_told_by_their_class() {
    for (way, more, class) in [
        ((R, C), json!({"max_tool_calls": 3}), "server_tool"),
        ((R, C), json!({"access_programs": ["x"]}), "safety"),
        ((R, C), json!({"truncation": "auto"}), "turn"),
        ((R, C), json!({"context_management": [{"type": "compaction"}]}), "turn"),
        ((R, C), json!({"image": {"detail": "low"}}), "image_detail"),
        ((R, C), json!({"vendor_x": 1}), "unknown"),
        ((R, C), json!({"service_tier": "ultrafast"}), "tier"),
        ((A, C), json!({"inference_geo": "eu"}), "beta"),
        ((A, C), json!({"context_management": {"edits": []}}), "beta"),
        ((A, C), json!({"vendor_x": 1}), "unknown"),
        ((A, C), json!({"container": {"expires": 1}}), "server_tool"),
        ((G, C), json!({"safetySettings": [{"category": "x"}]}), "safety"),
        ((G, C), json!({"vendorX": 1}), "unknown"),
        ((G, C), json!({"serviceTier": "batch"}), "tier"),
        ((C, A), json!({"max_tokens": 9, "service_tier": "on_demand"}), "tier"),
        ((C, A), json!({"max_tokens": 9, "min_p": 0.5}), "sampling"),
        ((C, A), json!({"max_tokens": 9, "modalities": ["text", "audio"]}), "modalities"),
        ((C, A), json!({"max_tokens": 9, "safe_prompt": true}), "safety"),
        ((C, A), json!({"max_tokens": 9, "prompt_logprobs": 1}), "logprobs"),
        ((C, A), json!({"max_tokens": 9, "models": ["x"]}), "model"),
        ((C, A), json!({"max_tokens": 9, "documents": ["x"]}), "document"),
        ((C, A), json!({"max_tokens": 9, "random_seed": 7}), "seed"),
        ((C, A), json!({"max_tokens": 9, "random_seed": "7"}), "seed"),
        ((C, A), json!({"max_tokens": 9, "seed": 7}), "seed"),
        ((C, A), json!({"max_tokens": 9, "reasoning_format": "parsed"}), "reasoning"),
        ((C, A), json!({"max_tokens": 9, "thinking": "deep"}), "reasoning"),
        ((C, A), json!({"max_tokens": 9, "include_reasoning": 1}), "reasoning"),
        ((C, A), json!({"max_tokens": 9, "chat_template_kwargs": [1]}), "reasoning"),
        ((C, A), json!({"max_tokens": 9, "cache_control": "ephemeral"}), "cache"),
    ] {
        let key = more.as_object().unwrap().keys().find(|key| *key != "max_tokens").unwrap();
        check(way, &more, &[&format!("dropped:{class}:/{key}")]);
    }
}

#[test]
fn members_of_fields_of_openai_are_told_by_the_class_of_their_field() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let function = json!([{"type": "function", "name": "f"}]);
    for (way, more, expected) in [
        (
            (C, A),
            json!({"max_tokens": 9, "reasoning_effort": "low", "reasoning": {"vendor_x": 1}}),
            "dropped:reasoning:/reasoning/vendor_x",
        ),
        (
            (C, R),
            json!({"stream": true, "stream_options": {"vendor_x": 1}}),
            "dropped:stream_options:/stream_options/vendor_x",
        ),
        (
            (C, R),
            json!({"response_format": {"type": "text", "vendor_x": 1}}),
            "dropped:output:/response_format/vendor_x",
        ),
        (
            (C, R),
            json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "f", "vendor_x": 1}}}),
            "dropped:tool_choice:/tool_choice/function/vendor_x",
        ),
        (
            (C, R),
            json!({"tools": [{"type": "custom", "custom": {"name": "f", "vendor_x": 1}}]}),
            "dropped:tool:/tools/0/custom/vendor_x",
        ),
        (
            (C, R),
            json!({"tools": [{"type": "custom", "custom": {"name": "f"}, "vendor_x": 1}]}),
            "dropped:tool:/tools/0/vendor_x",
        ),
        (
            (R, C),
            json!({"stream": true, "stream_options": {"vendor_x": 1}}),
            "dropped:stream_options:/stream_options/vendor_x",
        ),
        ((R, C), json!({"text": {"vendor_x": 1}}), "dropped:output:/text/vendor_x"),
        ((R, C), json!({"text": {"format": {"type": "text", "vendor_x": 1}}}), "dropped:output:/text/format/vendor_x"),
        ((R, C), json!({"reasoning": {"vendor_x": 1}}), "dropped:reasoning:/reasoning/vendor_x"),
        ((R, C), json!({"include": ["file_search_call.results"]}), "dropped:server_tool:/include/0"),
        ((R, C), json!({"include": ["message.input_image.image_url"]}), "dropped:unknown:/include/0"),
        (
            (R, C),
            json!({"tools": function, "tool_choice": {"type": "function", "name": "f", "vendor_x": 1}}),
            "dropped:tool_choice:/tool_choice/vendor_x",
        ),
    ] {
        check(way, &more, &[expected]);
    }
}

#[test]
fn members_of_fields_of_other_vendors_are_told_by_the_class_of_their_field() {
    for (way, more, expected) in [
        ((A, C), json!({"metadata": {"vendor_x": 1}}), "dropped:metadata:/metadata/vendor_x"),
        ((A, C), json!({"output_config": {"vendor_x": 1}}), "dropped:beta:/output_config/vendor_x"),
        ((A, C), json!({"output_config": {"effort": "huge"}}), "dropped:reasoning:/output_config/effort"),
        ((A, C), json!({"thinking": {"type": "new"}}), "dropped:reasoning:/thinking"),
        ((A, C), json!({"speed": "slow"}), "dropped:tier:/speed"),
        ((A, C), json!({"service_tier": "batch"}), "dropped:tier:/service_tier"),
        ((A, C), json!({"service_tier": "standard_only", "speed": "fast"}), "dropped:tier:/service_tier"),
        ((A, C), json!({"speed": "fast", "service_tier": "standard_only"}), "dropped:tier:/service_tier"),
        (
            (G, C),
            json!({"generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"}}),
            "dropped:image_detail:/generationConfig/mediaResolution",
        ),
        (
            (G, C),
            json!({"generationConfig": {"audioTimestamp": true}}),
            "dropped:audio:/generationConfig/audioTimestamp",
        ),
        (
            (G, C),
            json!({"generationConfig": {"enableEnhancedCivicAnswers": true}}),
            "dropped:safety:/generationConfig/enableEnhancedCivicAnswers",
        ),
        (
            (G, C),
            json!({"generationConfig": {"responseModalities": ["AUDIO"]}}),
            "dropped:modalities:/generationConfig/responseModalities",
        ),
        ((G, C), json!({"generationConfig": {"vendorX": 1}}), "dropped:unknown:/generationConfig/vendorX"),
        (
            (G, C),
            json!({"generationConfig": {"thinkingConfig": {"thinkingLevel": "HUGE"}}}),
            "dropped:reasoning:/generationConfig/thinkingConfig/thinkingLevel",
        ),
        (
            (G, C),
            json!({"generationConfig": {"thinkingConfig": {"vendorX": 1}}}),
            "dropped:reasoning:/generationConfig/thinkingConfig/vendorX",
        ),
        (
            (G, C),
            json!({"systemInstruction": {"parts": [{"text": "s"}], "vendorX": 1}}),
            "dropped:instructions:/systemInstruction/vendorX",
        ),
    ] {
        check(way, &more, &[expected]);
    }
}

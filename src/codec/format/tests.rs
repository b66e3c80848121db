//! What every format does alike.

use serde_json::Value;

use super::wire;
use crate::Format;
use crate::frame::sse::Frame;
use crate::hub::{Fault, FaultKind, Field, Losses};

mod answers;
mod asked;
mod calls;
mod carried;
mod characters;
mod counts;
mod crossings;
#[allow(clippy::needless_pass_by_value, reason = "tests take values as `json!` makes them")]
mod ends;
mod faults;
mod lookups;
mod marks;
mod own;
mod passed;
#[path = "../../../tests/codec/support/recorded.rs"]
#[allow(clippy::disallowed_methods, reason = "tests ask the environment whether recorded traffic must be there")]
pub(crate) mod recorded;
mod reported;
mod schemas;
mod sealed;
mod siblings;
mod spelling;
mod stripped;
mod taken;
mod thinking;
mod unforgotten;
mod usages;
mod wishes;

pub(crate) use crossings::blocks_of;

/// What a writer of `to` reports of another format's request is on the page that `docs/formats.md` is made of. Whatever
/// else a test of a request holds, it holds this.
pub(crate) fn request_losses_are_listed(from: Format, to: Format, losses: &Losses) {
    listed((from, to), losses, wire(to).spec().request_losses);
}

/// The same of an answer, for a client of `to`.
pub(crate) fn answer_losses_are_listed(from: Format, to: Format, losses: &Losses) {
    listed((from, to), losses, wire(to).spec().response_losses);
}

fn listed((from, to): (Format, Format), losses: &Losses, list: &[(Field, &str)]) {
    for loss in losses.iter().filter(|_| from != to) {
        let known = list.iter().any(|(field, _)| *field == loss.field);
        assert!(known, "{} is not listed for {to:?}: {} ({})", loss.field.label(), loss.reason, loss.action.label());
    }
}

#[test]
fn every_format_reads_the_errors_that_it_writes() {
    for format in Format::ALL {
        let wire = wire(format);
        for kind in [
            FaultKind::InvalidRequest,
            FaultKind::Authentication,
            FaultKind::Permission,
            FaultKind::NotFound,
            FaultKind::RateLimit,
            FaultKind::Api,
        ] {
            let fault = Fault::new(kind, "these words");
            let (status, body) = wire.write_error(&fault, Some("req_1"));
            let text = String::from_utf8(body.clone()).unwrap();
            assert_eq!(status, fault.status, "{format:?} {kind:?}");
            assert!(wire.is_error(&body) && wire.tells_error(&body), "{format:?}: {text}");
            let read = wire.read_error(status, &body);
            assert_eq!((read.kind, read.message.as_ref()), (kind, "these words"), "{format:?}: {text}");
        }
        for other in ["{}", r#"{"id":"x","model":"m"}"#, "", "[]"] {
            assert!(!wire.is_error(other.as_bytes()) && !wire.tells_error(other.as_bytes()), "{format:?}: {other}");
        }
    }
}

#[test]
fn every_format_lists_models() {
    for format in Format::ALL {
        let (mut list, mut one) = (Vec::new(), Vec::new());
        wire(format).write_models(&["model-a", "model-b"], &mut list);
        wire(format).write_model("model-a", &mut one);
        let (list, one): (Value, Value) =
            (serde_json::from_slice(&list).unwrap(), serde_json::from_slice(&one).unwrap());
        let [key] = ["data", "models"].map(|key| list[key].as_array()).into_iter().flatten().collect::<Vec<_>>()[..]
        else {
            panic!("{format:?}: {list}")
        };
        assert_eq!((key.len(), &key[0]), (2, &one), "{format:?}: {list}");
        assert!(one.to_string().contains("model-a") && key[1].to_string().contains("model-b"), "{format:?}: {list}");
    }
}

/// What is wrongly no telling frame is not read, and its truth is lost.
#[test]
fn a_frame_tells_where_it_can_hold_a_count_a_reason_or_an_error() {
    for (format, event, data, telling) in [
        (
            Format::OpenaiChat,
            None,
            r#"{"choices":[{"delta":{"content":"a"},"finish_reason":null}],"usage":null}"#,
            false,
        ),
        (Format::OpenaiChat, None, r#"{"choices":[{"delta":{"content":"\"usage\": 1"}}]}"#, false),
        (Format::OpenaiChat, None, r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#, true),
        (Format::OpenaiChat, None, r#"{"choices":[{"delta":{},"finish_reason" : "stop"}]}"#, true),
        (Format::OpenaiChat, None, r#"{"choices":[],"usage":{"prompt_tokens":1}}"#, true),
        (Format::OpenaiChat, None, r#"{"error":{"message":"no"}}"#, true),
        (Format::OpenaiChat, None, "[DONE]", true),
        (Format::OpenaiChat, Some("error"), "{}", true),
        (Format::AnthropicMessages, Some("content_block_delta"), r#"{"type":"content_block_delta"}"#, false),
        (Format::AnthropicMessages, Some("message_start"), "{}", true),
        (Format::AnthropicMessages, Some("message_delta"), "{}", true),
        (Format::AnthropicMessages, Some("message_stop"), "{}", true),
        (Format::AnthropicMessages, Some("error"), "{}", true),
        (Format::AnthropicMessages, None, r#"{"type":"message_delta","usage":{}}"#, true),
        (Format::GeminiGenerate, None, r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#, false),
        (Format::GeminiGenerate, None, r#"{"candidates":[{"finishReason":"STOP"}]}"#, true),
        (Format::GeminiGenerate, None, r#"{"candidates":[{"finish_reason":"STOP"}]}"#, true),
        (Format::GeminiGenerate, None, r#"{"usageMetadata":{"promptTokenCount":1}}"#, true),
        (Format::GeminiGenerate, None, r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#, true),
        (Format::GeminiGenerate, None, r#"{"error":{"code":500}}"#, true),
        (
            Format::GeminiGenerate,
            None,
            r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]}}]}"#,
            true,
        ),
    ] {
        assert_eq!(wire(format).is_telling(&Frame { event, data }), telling, "{format:?} {event:?} {data}");
    }
}

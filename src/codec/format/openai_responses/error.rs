//! Error bodies, and how a response that failed says why.

use crate::format::openai_error::{code, message, or_null};
pub(super) use crate::format::openai_error::{is_envelope, read, read_in_stream, write};
use crate::hub::{Fault, FaultKind};
use crate::json::Writer;

/// Writes the fields of an `error` event behind its type.
pub(super) fn write_event(fault: &Fault<'_>, w: &mut Writer<'_>) {
    w.key("code").plain(code(fault).unwrap_or("server_error")).key("message").plain(&message(fault)).key("param");
    or_null(fault.param.as_deref(), w);
}

/// Writes the `error` of a response that failed, as the next value.
pub(super) fn write_failure(fault: &Fault<'_>, w: &mut Writer<'_>) {
    let own = code(fault);
    let known = own.and_then(|own| FAILURES.iter().find(|known| **known == own));
    w.open_object().key("code").plain(known.unwrap_or(&failure_of(fault.kind)));
    match own.filter(|_| known.is_none()) {
        Some(own) if !fault.message.contains(own) => w.key("message").plain(&format!("{own}: {}", fault.message)),
        Some(_) | None => w.key("message").plain(&message(fault)),
    };
    w.close_object();
}

/// Codes of a response that failed: a closed list in the vendor's SDKs, and two more that it sends and that clients act
/// upon.
const FAILURES: [&str; 23] = [
    "server_error",
    "rate_limit_exceeded",
    "invalid_prompt",
    "data_residency_mismatch",
    "bio_policy",
    "misalignment_policy_violation",
    "vector_store_timeout",
    "invalid_image",
    "invalid_image_format",
    "invalid_base64_image",
    "invalid_image_url",
    "image_too_large",
    "image_too_small",
    "image_parse_error",
    "image_content_policy_violation",
    "invalid_image_mode",
    "image_file_too_large",
    "unsupported_image_media_type",
    "empty_image_file",
    "failed_to_download_image",
    "image_file_not_found",
    "context_length_exceeded",
    "insufficient_quota",
];

/// The code of the list that is nearest to a kind of fault.
fn failure_of(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::InvalidRequest
        | FaultKind::Conflict
        | FaultKind::TooLarge
        | FaultKind::Unprocessable
        | FaultKind::ContentFilter => "invalid_prompt",
        FaultKind::RateLimit => "rate_limit_exceeded",
        FaultKind::Billing => "insufficient_quota",
        FaultKind::Authentication
        | FaultKind::Permission
        | FaultKind::NotFound
        | FaultKind::Api
        | FaultKind::Timeout
        | FaultKind::Overloaded
        | FaultKind::StreamIncomplete => "server_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_fails_with_a_code_of_the_list() {
        for kind in FaultKind::ALL {
            for own in [None, Some("overloaded_error"), Some("invalid_image"), Some("rate_limit_exceeded")] {
                let mut fault = Fault::new(kind, "these words");
                fault.code = own.map(Into::into);
                let mut out = Vec::new();
                write_failure(&fault, &mut Writer::new(&mut out));
                let said: serde_json::Value = serde_json::from_slice(&out).unwrap();
                let (said, message) = (said["code"].as_str().unwrap(), said["message"].as_str().unwrap());
                assert!(
                    FAILURES.contains(&said) && message.ends_with("these words"),
                    "{kind:?} {own:?}: {said} {message}"
                );
                if let Some(own) = own.filter(|_| !matches!(kind, FaultKind::StreamIncomplete | FaultKind::Billing)) {
                    assert!(said == own || message.starts_with(own), "{kind:?} {own}: {said} {message}");
                }
            }
        }
    }
}

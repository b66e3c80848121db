//! Errors, read and written.

use std::borrow::Cow;

use crate::format::loose::loose_count;
use crate::hub::{Fault, FaultKind, THREAD_UNSUPPORTED};
use crate::json::{Cursor, JsonError, Kind, Writer};

/// The vendor's types of errors.
const TYPES: [(&str, FaultKind); 10] = [
    ("invalid_request_error", FaultKind::InvalidRequest),
    ("authentication_error", FaultKind::Authentication),
    ("billing_error", FaultKind::Billing),
    ("permission_error", FaultKind::Permission),
    ("not_found_error", FaultKind::NotFound),
    ("request_too_large", FaultKind::TooLarge),
    ("rate_limit_error", FaultKind::RateLimit),
    ("api_error", FaultKind::Api),
    ("timeout_error", FaultKind::Timeout),
    ("overloaded_error", FaultKind::Overloaded),
];

/// The status with which this vendor says that it is overloaded.
const OVERLOADED: u16 = 529;

/// Longest part of a body without an envelope that is shown, in bytes.
const EXCERPT: usize = 300;

/// Reads an error body, whatever it is.
pub(super) fn read(status: u16, body: &[u8]) -> Fault<'_> {
    let mut said = Said::default();
    let is_json = Cursor::over_bytes(body).and_then(|mut cursor| said.read(&mut cursor)).is_ok();
    if is_json && said.message.is_some() {
        return said.into_fault(Some(status));
    }
    let message = match excerpt(body) {
        Some(text) => format!("the provider answered with status {status}: {text}"),
        None => format!("the provider answered with status {status} and no readable error"),
    };
    let mut fault = Fault::new(FaultKind::from_status(status), message);
    fault.status = status;
    fault
}

/// Reads the `error` object of an event of a stream, where no status goes with it.
pub(super) fn read_event<'a>(cursor: &mut Cursor<'a>) -> Result<Fault<'a>, JsonError> {
    let mut said = Said::default();
    said.read(cursor)?;
    Ok(said.into_fault(None))
}

/// What an error body says: `{"type":"error","error":{"type":…,"message":…}}`, or what proxies in front of the
/// vendor and servers that imitate it make of that.
#[derive(Default)]
struct Said<'a> {
    kind: Option<Cow<'a, str>>,
    message: Option<Cow<'a, str>>,
    code: Option<Cow<'a, str>>,
    param: Option<Cow<'a, str>>,
    /// A code that is a status.
    status: Option<u16>,
}

impl<'a> Said<'a> {
    fn read(&mut self, cursor: &mut Cursor<'a>) -> Result<(), JsonError> {
        if cursor.peek()? == Kind::String {
            self.message = Some(cursor.string()?);
            return Ok(());
        }
        cursor.object(|key, value| {
            let is_text = value.peek()? == Kind::String;
            match key.as_ref() {
                "error" => self.read(value)?,
                "type" if is_text => {
                    let kind = value.string()?;
                    if kind != "error" {
                        self.kind = Some(kind);
                    }
                }
                "message" | "detail" if is_text && self.message.is_none() => self.message = Some(value.string()?),
                "code" if is_text => self.code = Some(value.string()?),
                "code" => {
                    let code = loose_count(value)?.and_then(|code| u16::try_from(code).ok());
                    self.status = code.filter(|code| (400..600).contains(code)).or(self.status);
                }
                "param" if is_text => self.param = Some(value.string()?),
                _ => value.skip()?,
            }
            Ok(())
        })
    }

    /// True where nothing of the request is wrong: the account has nothing left to pay with, or may spend no more.
    fn is_of_account(&self) -> bool {
        const WORDS: [&str; 2] = ["Your credit balance is too low", "You have reached your specified API usage limits"];
        self.message.as_deref().is_some_and(|message| WORDS.iter().any(|words| message.starts_with(words)))
    }

    fn into_fault(self, status: Option<u16>) -> Fault<'a> {
        let status = status.filter(|status| *status >= 400).or(self.status);
        let by_type = self.kind.as_deref().and_then(|kind| TYPES.iter().find(|(name, _)| *name == kind));
        let kind = match (by_type, status) {
            (Some((_, FaultKind::InvalidRequest)), _) if self.is_of_account() => FaultKind::Billing,
            // The type says nothing that the status does not say better.
            (Some((_, FaultKind::InvalidRequest | FaultKind::Api)) | None, Some(status)) => {
                FaultKind::from_status(status)
            }
            (Some((_, kind)), _) => *kind,
            (None, None) => FaultKind::Api,
        };
        let own_status = if kind == FaultKind::Overloaded { OVERLOADED } else { kind.status() };
        let message = self.message.unwrap_or(Cow::Borrowed("the provider reported an error without a message"));
        Fault {
            kind,
            status: status.unwrap_or(own_status),
            message,
            code: self.code.or(self.kind),
            param: self.param,
            retry_after_s: None,
        }
    }
}

/// True for a body that says what went wrong, in whichever shape.
pub(super) fn tells(body: &[u8]) -> bool {
    let mut said = Said::default();
    let read = Cursor::over_bytes(body).and_then(|mut cursor| said.read(&mut cursor));
    read.is_ok() && said.message.is_some_and(|words| !words.is_empty())
}

/// The beginning of a body that is neither JSON nor a page.
fn excerpt(body: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(body) {
        Ok(text) => text.trim(),
        Err(_) => return None,
    };
    if text.is_empty() || text.starts_with('<') {
        return None;
    }
    let end = (0..=EXCERPT.min(text.len())).rev().find(|&at| text.is_char_boundary(at))?;
    text.get(..end)
}

/// Writes an error body; returns it with its status.
pub(super) fn write(fault: &Fault<'_>, request_id: Option<&str>) -> (u16, Vec<u8>) {
    let status = match fault.status {
        _ if fault.is_context_length() => 400,
        // Under another it would be tried again, or be taken for a fault of the request.
        _ if fault.kind == FaultKind::Billing => fault.kind.status(),
        status @ 400..=599 => status,
        _ => fault.kind.status(),
    };
    let mut body = Vec::with_capacity(fault.message.len() + 128);
    write_object(fault, request_id, &mut body);
    (status, body)
}

/// Appends `{"type":"error",…}`.
pub(super) fn write_object(fault: &Fault<'_>, request_id: Option<&str>, out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.open_object().key("type").plain("error");
    json.key("error").open_object().key("type").plain(type_of(fault));
    json.key("message").plain(&fault.message_behind(TOO_LONG, TOO_LONG));
    if fault.code.as_deref() == Some(THREAD_UNSUPPORTED) {
        json.key("details").open_object().key("error_code").plain(THREAD_UNSUPPORTED);
        json.key("unsupported").open_array().plain("model").close_array().close_object();
    }
    json.close_object();
    if let Some(id) = request_id {
        json.key("request_id").plain(id);
    }
    json.close_object();
}

/// How the vendor tells that a prompt is too long; its clients shorten the conversation then.
const TOO_LONG: &str = "prompt is too long";

fn type_of(fault: &Fault<'_>) -> &'static str {
    match fault.kind {
        _ if fault.is_context_length() => "invalid_request_error",
        FaultKind::InvalidRequest | FaultKind::Conflict | FaultKind::Unprocessable | FaultKind::ContentFilter => {
            "invalid_request_error"
        }
        FaultKind::Authentication => "authentication_error",
        FaultKind::Billing => "billing_error",
        FaultKind::Permission => "permission_error",
        FaultKind::NotFound => "not_found_error",
        FaultKind::TooLarge => "request_too_large",
        FaultKind::RateLimit => "rate_limit_error",
        FaultKind::Api | FaultKind::StreamIncomplete => "api_error",
        FaultKind::Timeout => "timeout_error",
        FaultKind::Overloaded => "overloaded_error",
    }
}

/// True when `body` is an object whose `error` is an object with a `message`.
pub(super) fn is_envelope(body: &[u8]) -> bool {
    let mut found = false;
    let read = Cursor::over_bytes(body).and_then(|mut cursor| {
        cursor.object::<JsonError>(|key, value| {
            if key == "error" && value.peek()? == Kind::Object {
                value.object::<JsonError>(|key, value| {
                    found |= key == "message" && value.peek()? == Kind::String;
                    Ok(())
                })?;
            }
            Ok(())
        })
    });
    read.is_ok() && found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_a12_an_overload_stays_one() {
        let body =
            br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}"#;
        let fault = read(529, body);
        assert_eq!((fault.kind, fault.status), (FaultKind::Overloaded, 529));
        let (status, written) = write(&fault, Some("req_1"));
        assert_eq!((status, written.as_slice()), (529, &body[..]));
    }

    #[test]
    fn reads_whatever_comes() {
        for (status, body, kind, message) in [
            (400, r#"{"error":{"message":"m","type":"invalid_request_error"}}"#, FaultKind::InvalidRequest, "m"),
            (404, r#"{"type":"error","error":{"type":"not_found_error","message":"m"}}"#, FaultKind::NotFound, "m"),
            (429, r#"{"message":"slow down"}"#, FaultKind::RateLimit, "slow down"),
            (500, r#"{"error":"boom"}"#, FaultKind::Api, "boom"),
            (402, r#"{"type":"error","error":{"type":"billing_error","message":"m"}}"#, FaultKind::Billing, "m"),
            (502, "", FaultKind::Api, "the provider answered with status 502 and no readable error"),
            (
                503,
                "<html>down</html>",
                FaultKind::Overloaded,
                "the provider answered with status 503 and no readable error",
            ),
            (500, "upstream gone", FaultKind::Api, "the provider answered with status 500: upstream gone"),
        ] {
            let fault = read(status, body.as_bytes());
            assert_eq!((fault.kind, fault.status, fault.message.as_ref()), (kind, status, message), "{body}");
        }
    }

    #[test]
    fn every_kind_comes_back() {
        for kind in FaultKind::ALL {
            let (status, body) = write(&Fault::new(kind, "m"), None);
            let back = read(status, &body);
            assert_eq!(back.status, kind.status());
            if !matches!(kind, FaultKind::ContentFilter | FaultKind::StreamIncomplete) {
                assert_eq!(back.kind, kind);
            }
        }
    }
}

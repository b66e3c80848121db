//! Errors, read and written: `{"error":{"code":429,"message":…,"status":"RESOURCE_EXHAUSTED","details":[…]}}`.

use std::borrow::Cow;

use super::wire::{count, fields, loose_text};
use crate::hub::{Fault, FaultKind};
use crate::json::{Cursor, JsonError, Kind, Text, Writer};

/// The vendor's words for what went wrong. For each kind the first is written.
const STATUSES: [(&str, FaultKind); 16] = [
    ("INVALID_ARGUMENT", FaultKind::InvalidRequest),
    ("FAILED_PRECONDITION", FaultKind::InvalidRequest),
    ("OUT_OF_RANGE", FaultKind::InvalidRequest),
    ("UNAUTHENTICATED", FaultKind::Authentication),
    ("PERMISSION_DENIED", FaultKind::Permission),
    ("NOT_FOUND", FaultKind::NotFound),
    ("ALREADY_EXISTS", FaultKind::Conflict),
    ("ABORTED", FaultKind::Conflict),
    ("RESOURCE_EXHAUSTED", FaultKind::RateLimit),
    ("INTERNAL", FaultKind::Api),
    ("UNKNOWN", FaultKind::Api),
    ("DATA_LOSS", FaultKind::Api),
    ("UNIMPLEMENTED", FaultKind::Api),
    ("CANCELLED", FaultKind::Timeout),
    ("UNAVAILABLE", FaultKind::Overloaded),
    ("DEADLINE_EXCEEDED", FaultKind::Timeout),
];

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const QUOTA_FAILURE: &str = "type.googleapis.com/google.rpc.QuotaFailure";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

/// The reason of an error about the key.
const BAD_KEY: &str = "API_KEY_INVALID";

/// What the id of a quota holds that is used up for long; others are rates, under the same status and words.
const LASTING: &str = "PerDay";

/// The id of a quota that is written of an account with nothing left.
const SPENT: &str = "AccountQuotaPerDay";

/// Longest part of a body without an envelope that is shown, in bytes.
const EXCERPT: usize = 300;

/// Reads an error body, whatever it is.
pub(super) fn read(status: u16, body: &[u8]) -> Fault<'_> {
    let mut said = Said::default();
    let is_json = Cursor::over_bytes(body).and_then(|mut cursor| said.read_body(&mut cursor)).is_ok();
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

/// True for a body that says what went wrong, in whichever shape.
pub(super) fn tells(body: &[u8]) -> bool {
    let mut said = Said::default();
    let read = Cursor::over_bytes(body).and_then(|mut cursor| said.read_body(&mut cursor));
    read.is_ok() && said.message.is_some_and(|words| !words.is_empty())
}

/// Reads the `error` of an event of a stream, which tells its status itself.
pub(super) fn read_event<'a>(cursor: &mut Cursor<'a>) -> Result<Fault<'a>, JsonError> {
    let mut said = Said::default();
    said.read_error(cursor)?;
    Ok(said.into_fault(None))
}

/// What an error says.
#[derive(Default)]
struct Said<'a> {
    code: Option<u64>,
    message: Option<Cow<'a, str>>,
    status: Option<Cow<'a, str>>,
    reason: Option<Cow<'a, str>>,
    field: Option<Cow<'a, str>>,
    retry_after_s: Option<u64>,
    /// A quota is used up that waiting does not give back.
    spent: bool,
}

impl<'a> Said<'a> {
    /// An object with `error`; some endpoints put it into an array.
    fn read_body(&mut self, cursor: &mut Cursor<'a>) -> Result<(), JsonError> {
        match cursor.peek()? {
            Kind::Array => cursor.array(|_, element| self.read_body(element)),
            Kind::Object => cursor.object(|key, value| match key.as_ref() {
                "error" => self.read_error(value),
                "message" | "detail" if value.peek()? == Kind::String => {
                    self.message = self.message.take().or(Some(value.string()?));
                    Ok(())
                }
                _ => value.skip(),
            }),
            _ => cursor.skip(),
        }
    }

    fn read_error(&mut self, cursor: &mut Cursor<'a>) -> Result<(), JsonError> {
        match cursor.peek()? {
            Kind::String => self.message = Some(cursor.string()?),
            Kind::Object => fields::<JsonError>(cursor, |name, _, value| {
                match name {
                    "code" => self.code = count(value)?,
                    "message" => self.message = loose_text(value)?.map(Text::into_plain).or(self.message.take()),
                    "status" => self.status = loose_text(value)?.map(Text::into_plain),
                    "details" if value.peek()? == Kind::Array => {
                        value.array::<JsonError>(|_, detail| self.read_detail(detail))?;
                    }
                    _ => value.skip()?,
                }
                Ok(())
            })?,
            _ => cursor.skip()?,
        }
        Ok(())
    }

    fn read_detail(&mut self, cursor: &mut Cursor<'a>) -> Result<(), JsonError> {
        if cursor.peek()? != Kind::Object {
            return cursor.skip();
        }
        fields(cursor, |name, _, value| {
            match name {
                "retryDelay" => self.retry_after_s = seconds(value)?,
                "violations" if value.peek()? == Kind::Array => {
                    value.array::<JsonError>(|_, violation| self.read_violation(violation))?;
                }
                "reason" => self.reason = loose_text(value)?.map(Text::into_plain),
                "fieldViolations" if value.peek()? == Kind::Array => value.array(|_, violation| {
                    fields::<JsonError>(violation, |name, _, value| {
                        if name == "field" && self.field.is_none() {
                            self.field = loose_text(value)?.map(Text::into_plain);
                        }
                        Ok(())
                    })
                })?,
                _ => value.skip()?,
            }
            Ok(())
        })
    }

    fn read_violation(&mut self, cursor: &mut Cursor<'a>) -> Result<(), JsonError> {
        if cursor.peek()? != Kind::Object {
            return cursor.skip();
        }
        fields(cursor, |name, _, value| {
            match name {
                "quotaId" => self.spent |= loose_text(value)?.is_some_and(|quota| quota.escaped().contains(LASTING)),
                _ => value.skip()?,
            }
            Ok(())
        })
    }

    fn into_fault(self, status: Option<u16>) -> Fault<'a> {
        let told = self.code.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
        let status = status.filter(|status| *status >= 400).or(told);
        let by_word = self.status.as_deref().and_then(|word| STATUSES.iter().find(|(name, _)| *name == word));
        let kind = match (by_word, status) {
            // A key that does not hold is an `INVALID_ARGUMENT` here.
            _ if self.reason.as_deref() == Some(BAD_KEY) => FaultKind::Authentication,
            (Some((_, FaultKind::RateLimit)), _) | (None, Some(429)) if self.spent => FaultKind::Billing,
            (Some((_, FaultKind::InvalidRequest | FaultKind::Api)) | None, Some(status)) => {
                FaultKind::from_status(status)
            }
            (Some((_, kind)), _) => *kind,
            (None, None) => FaultKind::Api,
        };
        Fault {
            kind,
            status: status.unwrap_or(if self.spent { 429 } else { kind.status() }),
            message: self.message.unwrap_or(Cow::Borrowed("the provider reported an error without a message")),
            code: self.reason.or(self.status),
            param: self.field,
            retry_after_s: self.retry_after_s,
        }
    }
}

/// `"3.5s"`, or `{"seconds":3}`, in whole seconds, rounded up.
fn seconds(value: &mut Cursor<'_>) -> Result<Option<u64>, JsonError> {
    if value.peek()? == Kind::Object {
        let mut found = None;
        value.object::<JsonError>(|key, value| {
            if key == "seconds" {
                found = count(value)?;
            }
            Ok(())
        })?;
        return Ok(found);
    }
    let Some(text) = loose_text(value)? else { return Ok(None) };
    let plain = text.plain();
    let Some(number) = plain.strip_suffix('s') else { return Ok(None) };
    let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
    let more = u64::from(rest.bytes().any(|digit| digit != b'0'));
    Ok(whole.parse::<u64>().ok().map(|whole| whole.saturating_add(more)))
}

/// The beginning of a body that is neither JSON nor a page.
fn excerpt(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?.trim();
    if text.is_empty() || text.starts_with('<') {
        return None;
    }
    let end = (0..=EXCERPT.min(text.len())).rev().find(|&at| text.is_char_boundary(at))?;
    text.get(..end)
}

/// Writes an error body; returns it with its status.
pub(super) fn write(fault: &Fault<'_>, request_id: Option<&str>) -> (u16, Vec<u8>) {
    let status = status_of(fault);
    let mut body = Vec::with_capacity(fault.message.len() + 256);
    write_object(fault, request_id, &mut body);
    (status, body)
}

/// The status that the vendor's clients know.
fn status_of(fault: &Fault<'_>) -> u16 {
    match fault.status {
        _ if fault.is_context_length() => 400,
        _ if fault.kind == FaultKind::Billing => 429,
        529 => 503,
        402 => 429,
        status @ 400..=599 => status,
        _ => fault.kind.status(),
    }
}

/// How the vendor tells that a prompt is too long, but for its numbers.
const TOO_LONG: &str = "The input token count exceeds the maximum number of tokens allowed";

/// Appends `{"error":{…}}`. SDKs look at the first bytes and compare the code as a number.
pub(super) fn write_object(fault: &Fault<'_>, request_id: Option<&str>, out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.open_object().key("error").open_object();
    json.key("code").number(u64::from(status_of(fault)));
    json.key("message")
        .plain(&fault.message_behind("The input token count", TOO_LONG))
        .key("status")
        .plain(word_of(fault));
    write_details(fault, request_id, &mut json);
    json.close_object().close_object();
}

/// Writes `details`, if there are any.
fn write_details(fault: &Fault<'_>, request_id: Option<&str>, json: &mut Writer<'_>) {
    let own = |code: &str| STATUSES.iter().any(|(word, _)| *word == code);
    let reason = fault.code.as_deref().filter(|code| !own(code));
    let (says, is_spent) = (reason.is_some() || request_id.is_some(), fault.kind == FaultKind::Billing);
    if !says && !is_spent && fault.param.is_none() && fault.retry_after_s.is_none() {
        return;
    }
    json.key("details").open_array();
    if says {
        json.open_object().key("@type").plain(ERROR_INFO).key("reason").plain(reason.unwrap_or("ERROR"));
        json.key("domain").plain("tidegate");
        if let Some(id) = request_id {
            json.key("metadata").open_object().key("request_id").plain(id).close_object();
        }
        json.close_object();
    }
    if is_spent {
        // By the id alone do clients tell this from a rate; for what an account has left there is none of its own.
        json.open_object().key("@type").plain(QUOTA_FAILURE).key("violations").open_array();
        json.open_object().key("description").plain(&fault.message).key("quotaId").plain(SPENT).close_object();
        json.close_array().close_object();
    }
    if let Some(param) = &fault.param {
        json.open_object().key("@type").plain(BAD_REQUEST).key("fieldViolations").open_array();
        json.open_object().key("field").plain(param).key("description").plain(&fault.message).close_object();
        json.close_array().close_object();
    }
    if let Some(seconds) = fault.retry_after_s {
        json.open_object().key("@type").plain(RETRY_INFO).key("retryDelay").plain(&format!("{seconds}s"));
        json.close_object();
    }
    json.close_array();
}

/// The vendor's word: the fault's own if it is one and means the same.
fn word_of(fault: &Fault<'_>) -> &'static str {
    let by_code = fault.code.as_deref().and_then(|code| STATUSES.iter().find(|(word, _)| *word == code));
    match (by_code, fault.kind) {
        (Some((word, kind)), own) if *kind == own => word,
        _ if fault.status == 499 => "CANCELLED",
        (_, FaultKind::TooLarge | FaultKind::Unprocessable | FaultKind::ContentFilter) => "INVALID_ARGUMENT",
        (_, FaultKind::Billing) => "RESOURCE_EXHAUSTED",
        (_, FaultKind::StreamIncomplete) => "UNAVAILABLE",
        (_, FaultKind::Timeout) => "DEADLINE_EXCEEDED",
        (_, kind) => STATUSES.iter().find(|(_, known)| *known == kind).map_or("UNKNOWN", |(word, _)| word),
    }
}

/// True when `body` is an object whose `error` is an object with a `message` and a number as its `code`.
pub(super) fn is_envelope(body: &[u8]) -> bool {
    let (mut message, mut code) = (false, false);
    let read = Cursor::over_bytes(body).and_then(|mut cursor| {
        cursor.object::<JsonError>(|key, value| {
            if key == "error" && value.peek()? == Kind::Object {
                value.object::<JsonError>(|key, value| {
                    message |= key == "message" && value.peek()? == Kind::String;
                    code |= key == "code" && value.peek()? == Kind::Number;
                    Ok(())
                })?;
            }
            Ok(())
        })
    });
    read.is_ok() && message && code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_whatever_comes() {
        for (status, body, kind, message) in [
            (
                400,
                r#"{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}"#,
                FaultKind::InvalidRequest,
                "m",
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}]"#,
                FaultKind::InvalidRequest,
                "m",
            ),
            (429, r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}"#, FaultKind::RateLimit, "m"),
            (503, r#"{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}"#, FaultKind::Overloaded, "m"),
            (
                400,
                r#"{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#,
                FaultKind::Authentication,
                "m",
            ),
            (500, r#"{"error":"boom"}"#, FaultKind::Api, "boom"),
            (502, "", FaultKind::Api, "the provider answered with status 502 and no readable error"),
            (500, "upstream gone", FaultKind::Api, "the provider answered with status 500: upstream gone"),
        ] {
            let fault = read(status, body.as_bytes());
            assert_eq!((fault.kind, fault.status, fault.message.as_ref()), (kind, status, message), "{body}");
        }
    }

    #[test]
    fn a_wait_comes_and_goes_as_a_detail() {
        for (delay, seconds) in [("\"27s\"", 27), ("\"3.5s\"", 4), ("{\"seconds\":9}", 9)] {
            let body = format!(
                r#"{{"error":{{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[{{"@type":"{RETRY_INFO}","retryDelay":{delay}}}]}}}}"#
            );
            let fault = read(429, body.as_bytes());
            assert_eq!(fault.retry_after_s, Some(seconds));
            let (_, written) = write(&fault, None);
            assert_eq!(read(429, &written).retry_after_s, Some(seconds));
        }
    }

    #[test]
    fn a_request_that_its_client_left_was_cancelled() {
        let mut fault = Fault::new(FaultKind::InvalidRequest, "gone");
        fault.status = 499;
        let (status, body) = write(&fault, None);
        assert_eq!(status, 499);
        assert!(String::from_utf8(body).unwrap().contains(r#""status":"CANCELLED""#));
    }

    #[test]
    fn trap_a19_an_error_begins_with_error_and_has_a_number_for_its_code() {
        let mut fault = Fault::new(FaultKind::Overloaded, "busy").with_code("overloaded_error");
        fault.status = 529;
        let (status, body) = write(&fault, None);
        assert_eq!(status, 503);
        let body = String::from_utf8(body).unwrap();
        assert!(body.starts_with(r#"{"error":{"code":503,"message":"busy","status":"UNAVAILABLE""#), "{body}");
    }

    #[test]
    fn every_kind_comes_back() {
        for kind in FaultKind::ALL {
            let fault = Fault::new(kind, "m").with_code("x_code").with_param("contents[0]");
            let (status, body) = write(&fault, Some("req_1"));
            assert!(is_envelope(&body));
            let back = read(status, &body);
            assert_eq!((back.code.as_deref(), back.param.as_deref()), (Some("x_code"), Some("contents[0]")));
            if !matches!(kind, FaultKind::ContentFilter | FaultKind::StreamIncomplete) {
                assert_eq!(back.kind, kind);
            }
        }
    }
}

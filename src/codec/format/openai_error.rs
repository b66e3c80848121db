//! Errors as both formats of OpenAI say them, and whoever is compatible.

use std::borrow::Cow;

use super::loose::{loose_count, loose_text};
use crate::hub::{Fault, FaultKind};
use crate::json::{Cursor, JsonError, Kind, Text, Writer};

/// Longest piece of a foreign body that is shown, in characters.
const SHOWN: usize = 500;

/// What an error body says, whatever its shape.
#[derive(Default)]
struct Said<'a> {
    message: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    code: Option<Cow<'a, str>>,
    param: Option<Cow<'a, str>>,
    /// The field at fault as `FastAPI` says it, in dots.
    place: Option<String>,
    /// What the provider behind an aggregator said.
    raw: Option<Cow<'a, str>>,
    filtered: bool,
}

/// Reads an error body with HTTP status `status`.
///
/// Known shapes: `{"error":{…}}`, `{"error":"…"}` (xAI, with its `code` beside it), the fields at the top (vLLM, Mistral),
/// `{"detail":…}` (`FastAPI`), `{"base_resp":{…}}` (`MiniMax`), `{"error_code":…,"error_msg":…}` (Baidu), each
/// also as the only element of an array (Gemini's compatible surface). Anything else
/// gives the status in words.
pub(super) fn read(status: u16, body: &[u8]) -> Fault<'_> {
    let said = Cursor::over_bytes(body).ok().and_then(|mut cursor| outer(&mut cursor).ok()).unwrap_or_default();
    let mut fault = fault_of(Some(status), said);
    if fault.message.is_empty() {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        let shown = || text.chars().take(SHOWN);
        fault.message = Cow::Owned(match text.chars().next() {
            None | Some('<') => format!("The provider answered {status} without a readable error"),
            Some('{' | '[') => format!("The provider answered {status}: {}", shown().collect::<String>()),
            Some(_) => shown().collect(),
        });
    }
    fault
}

/// What the error at `value` says in words; `None` where it says nothing.
pub(super) fn words_of<'a>(value: &mut Cursor<'a>) -> Result<Option<Text<'a>>, JsonError> {
    let mut said = Said::default();
    inner(value, &mut said)?;
    let words = said.message.or(said.code).filter(|words| !words.is_empty());
    Ok(words.map(|words| Text::from_plain(&words).into_owned()))
}

/// True for a member `error` that says anything: servers that write every member write an empty one where nothing is wrong.
pub(super) fn is_said(value: &Cursor<'_>) -> bool {
    let said = |value: &str| !matches!(value, "null" | "false" | "\"\"" | "{}" | "[]");
    value.clone().json().is_ok_and(|value| said(value.as_str()))
}

/// True for a body that says what went wrong, in whichever shape.
pub(super) fn tells(body: &[u8]) -> bool {
    let said = Cursor::over_bytes(body).ok().and_then(|mut cursor| outer(&mut cursor).ok()).unwrap_or_default();
    let code = said.code.as_deref().and_then(|code| code.parse::<u16>().ok());
    said.message.is_some_and(|words| !words.is_empty()) || code.is_some_and(|code| code >= 400)
}

/// The same of what stands in a stream in the place of a piece of the answer. What names a code or a state that is no
/// error's is news of the server: `{"code":0,"message":"success"}`, `{"status":"queued","message":"loading"}`.
pub(super) fn tells_in_stream(body: &[u8]) -> bool {
    let said = Cursor::over_bytes(body).ok().and_then(|mut cursor| outer(&mut cursor).ok()).unwrap_or_default();
    let fine = match (said.code.as_deref(), said.kind.as_deref()) {
        (Some(code), _) => code.parse::<u16>().is_ok_and(|code| matches!(code, 0 | 200..300)),
        // What is wrong with a field is wrong, whatever its name is.
        (None, Some(kind)) => kind_of_word(kind).is_none() && said.param.is_none(),
        (None, None) => false,
    };
    !fine && tells(body)
}

/// How OpenAI says that a key is none; xAI says so with a 400 and no code of its own.
const BAD_KEY: &str = "Incorrect API key provided";

/// How xAI says, with a 403 and the code of a key without rights, that its filter took the prompt.
const FILTERED: &str = "Content violates usage guidelines";

/// Reads an error in a stream (an event, the `error` of one, or of a response that failed), whose status is told by its
/// contents alone.
pub(super) fn read_in_stream(value: &mut Cursor<'_>) -> Fault<'static> {
    let mut said = Said::default();
    let _ = inner(value, &mut said);
    let mut fault = fault_of(None, said);
    if fault.message.is_empty() {
        fault.message = Cow::Borrowed("The provider reported an error without saying which");
    }
    fault.into_owned()
}

fn outer<'a>(cursor: &mut Cursor<'a>) -> Result<Said<'a>, JsonError> {
    let mut said = Said::default();
    inner(cursor, &mut said)?;
    Ok(said)
}

fn inner<'a>(value: &mut Cursor<'a>, said: &mut Said<'a>) -> Result<(), JsonError> {
    match value.peek()? {
        Kind::String => said.message = Some(value.string()?),
        Kind::Object => {
            value.object::<JsonError>(|key, value| field(&key, value, said))?;
            said.tell_place();
        }
        Kind::Array => value.array::<JsonError>(|index, value| if index == 0 { inner(value, said) } else { Ok(()) })?,
        Kind::Number | Kind::Bool | Kind::Null => value.skip()?,
    }
    Ok(())
}

impl Said<'_> {
    /// Puts the field at fault before what is wrong with it, which says nothing by itself: `field required`.
    fn tell_place(&mut self) {
        let Some(place) = self.place.take() else { return };
        self.message = self.message.take().map(|words| Cow::Owned(format!("{place}: {words}")));
        self.param = self.param.take().or(Some(Cow::Owned(place)));
    }
}

/// `["body", "messages", 0, "content"]` as `messages.0.content`.
fn place(value: &mut Cursor<'_>) -> Result<Option<String>, JsonError> {
    let mut parts: Vec<String> = Vec::new();
    value.array::<JsonError>(|index, part| {
        match part.peek()? {
            Kind::String => parts.push(part.string()?.into_owned()),
            Kind::Number => parts.push(part.number()?.as_str().to_owned()),
            Kind::Object | Kind::Array | Kind::Bool | Kind::Null => part.skip()?,
        }
        if index == 0 && parts == ["body"] {
            parts.clear();
        }
        Ok(())
    })?;
    Ok((!parts.is_empty()).then(|| parts.join(".")))
}

/// What stands within and is said only where nothing better is.
fn beside<'a>(value: &mut Cursor<'a>, said: &mut Said<'a>) -> Result<(), JsonError> {
    let mut other = Said::default();
    inner(value, &mut other)?;
    said.message = said.message.take().or(other.message);
    said.kind = said.kind.take().or(other.kind);
    said.code = said.code.take().or(other.code);
    said.param = said.param.take().or(other.param);
    Ok(())
}

fn field<'a>(key: &str, value: &mut Cursor<'a>, said: &mut Said<'a>) -> Result<(), JsonError> {
    let plain = |value: &mut Cursor<'a>| loose_text(value).map(|text| text.map(Text::into_plain));
    match key {
        "error" if value.peek()? == Kind::Object => inner(value, said)?,
        "error" | "errors" | "detail" | "details" => beside(value, said)?,
        "message" | "msg" | "Message" | "errorMessage" | "error_msg" | "error_message" => match value.peek()? {
            Kind::Object | Kind::Array => beside(value, said)?,
            _ => said.message = plain(value)?.filter(|words| !words.is_empty()).or(said.message.take()),
        },
        // The type of an event is not that of its error.
        "type" | "status" if value.peek()? == Kind::String => {
            let kind = plain(value)?.filter(|kind| kind != "error");
            said.kind = said.kind.take().or(kind);
        }
        "param" => said.param = plain(value)?.or(said.param.take()),
        "loc" if value.peek()? == Kind::Array => said.place = place(value)?,
        "base_resp" if value.peek()? == Kind::Object => minimax(value, said)?,
        // Of RFC 9457.
        "status" if value.peek()? == Kind::Number => {
            let status = Cow::Owned(value.number()?.as_str().to_owned());
            said.code = said.code.take().or(Some(status));
        }
        "code" | "error_code" if value.peek()? == Kind::Number => {
            said.code = Some(Cow::Owned(value.number()?.as_str().to_owned()));
        }
        "code" => {
            let code = plain(value)?.filter(|code| !code.is_empty());
            said.filtered |= code.as_deref() == Some("ResponsibleAIPolicyViolation");
            said.code = said.code.take().or(code);
        }
        "innererror" | "inner_error" => {
            said.filtered |= value.json()?.as_str().contains("ResponsibleAIPolicyViolation");
        }
        "metadata" if value.peek()? == Kind::Object => value.object::<JsonError>(|key, value| {
            match (key.as_ref(), value.peek()?) {
                ("raw", Kind::Object | Kind::Array) => said.raw = Some(Cow::Owned(value.json()?.as_str().to_owned())),
                ("raw", _) => said.raw = loose_text(value)?.map(Text::into_plain),
                // OpenRouter's moderation. <https://openrouter.ai/docs/api-reference/errors>
                ("flagged_input", _) => {
                    said.filtered = true;
                    value.skip()?;
                }
                _ => value.skip()?,
            }
            Ok(())
        })?,
        _ => {}
    }
    Ok(())
}

/// The outcome that `MiniMax` puts into every answer; `status_code` 0 is a success.
/// <https://platform.minimax.io/docs/api-reference/errorcode>
fn minimax<'a>(value: &mut Cursor<'a>, said: &mut Said<'a>) -> Result<(), JsonError> {
    let (mut code, mut words) = (0, None);
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "status_code" => code = loose_count(value)?.unwrap_or(0),
            "status_msg" => words = loose_text(value)?.map(Text::into_plain),
            _ => {}
        }
        Ok(())
    })?;
    if code == 0 {
        return Ok(());
    }
    let kind = match code {
        1001 => "timeout",
        1002 | 1039 | 1041 | 2045 | 2056 => "rate_limit_error",
        1004 | 2049 => "authentication_error",
        1008 => "billing_error",
        1026 | 1027 => "content_filter",
        1042 | 2013 => "invalid_request_error",
        _ => "api_error",
    };
    said.kind = said.kind.take().or(Some(Cow::Borrowed(kind)));
    let words = words.filter(|words| !words.is_empty()).unwrap_or_else(|| Cow::Owned(format!("status_code {code}")));
    said.message = said.message.take().or(Some(words));
    Ok(())
}

fn fault_of(status: Option<u16>, said: Said<'_>) -> Fault<'_> {
    let told = said.code.as_deref().and_then(|code| code.parse::<u16>().ok()).filter(|code| (400..600).contains(code));
    let word_kind = [said.code.as_deref(), said.kind.as_deref()].into_iter().flatten().find_map(kind_of_word);
    let is_quota =
        [said.code.as_deref(), said.kind.as_deref()].into_iter().flatten().any(|word| NO_QUOTA.contains(&word));
    let status = match status {
        Some(status) if status >= 400 => Some(status),
        _ => told.or(is_quota.then_some(429)),
    };
    let kind = if said.filtered || said.message.as_deref().is_some_and(|words| words.starts_with(FILTERED)) {
        FaultKind::ContentFilter
    } else if said.message.as_deref().is_some_and(|words| words.starts_with(BAD_KEY)) {
        FaultKind::Authentication
    } else {
        // A precise word beats the status, the status beats a vague word.
        match (word_kind, status) {
            (Some((kind, true)), _) | (Some((kind, _)), None) => kind,
            (_, Some(status)) => FaultKind::from_status(status),
            (None, None) => FaultKind::Api,
        }
    };
    let mut message = said.message.unwrap_or_default();
    if let Some(raw) = said.raw.filter(|raw| !raw.is_empty()) {
        let raw: String = raw.chars().take(SHOWN).collect();
        message = Cow::Owned(format!("{message}: {raw}"));
    }
    // A number as code only repeats the status.
    let code = said.code.filter(|code| code.parse::<u64>().is_err()).or(said.kind);
    // A filter that says 403 speaks of the prompt, as others do with 400; a client without rights is something else.
    let status = status.filter(|status| kind != FaultKind::ContentFilter || *status != 403);
    Fault {
        kind,
        status: status.unwrap_or_else(|| kind.status()),
        message,
        code,
        param: said.param,
        retry_after_s: None,
    }
}

/// What is said, with a 429, of an account that has nothing left to pay with.
const NO_QUOTA: [&str; 3] = ["insufficient_quota", "billing_hard_limit_reached", "exceeded_current_quota_error"];

/// The kind that a vendor's word means, and whether it is more precise than a status.
fn kind_of_word(word: &str) -> Option<(FaultKind, bool)> {
    Some(match word {
        "content_filter" | "content_policy_violation" => (FaultKind::ContentFilter, true),
        "overloaded" | "overloaded_error" | "engine_overloaded" | "server_is_overloaded" | "slow_down" => {
            (FaultKind::Overloaded, true)
        }
        "billing_error" | "payment_required" => (FaultKind::Billing, true),
        word if NO_QUOTA.contains(&word) => (FaultKind::Billing, true),
        "rate_limit_error" | "rate_limit_exceeded" | "requests" | "tokens" => (FaultKind::RateLimit, false),
        "invalid_api_key" => (FaultKind::Authentication, true),
        "authentication_error" => (FaultKind::Authentication, false),
        "permission_error" => (FaultKind::Permission, false),
        "not_found_error" | "model_not_found" => (FaultKind::NotFound, false),
        "request_too_large" => (FaultKind::TooLarge, false),
        "timeout" | "timeout_error" | "vector_store_timeout" => (FaultKind::Timeout, false),
        "invalid_request_error" | "context_length_exceeded" | "invalid_prompt" | "invalid_image" => {
            (FaultKind::InvalidRequest, false)
        }
        "api_error" | "server_error" => (FaultKind::Api, false),
        _ => return None,
    })
}

/// Writes an error body; returns it with its status.
pub(super) fn write(fault: &Fault<'_>) -> (u16, Vec<u8>) {
    let mut out = Vec::with_capacity(160);
    write_object(fault, &mut out);
    (status(fault), out)
}

/// Writes the object whose `error` is `fault`.
pub(super) fn write_object(fault: &Fault<'_>, out: &mut Vec<u8>) {
    let mut w = Writer::new(out);
    w.open_object().key("error").open_object();
    w.key("message").plain(&message(fault)).key("type").plain(words(fault.kind).0).key("param");
    or_null(fault.param.as_deref(), &mut w);
    w.key("code");
    or_null(code(fault), &mut w);
    w.close_object().close_object();
}

/// How the vendor tells that a prompt is too long, but for its numbers: libraries look for words, not for the code.
/// <https://github.com/BerriAI/litellm/blob/main/litellm/litellm_core_utils/exception_mapping_utils.py>
const TOO_LONG: &str = "This model's maximum context length is";

/// What `fault` says to a person.
pub(super) fn message<'f>(fault: &'f Fault<'_>) -> Cow<'f, str> {
    fault.message_behind(TOO_LONG, "This model's maximum context length is exceeded")
}

/// Writes a string, or `null`.
pub(super) fn or_null(text: Option<&str>, w: &mut Writer<'_>) {
    match text {
        Some(text) => w.plain(text),
        None => w.null(),
    };
}

/// The `code` of `fault`.
pub(super) fn code<'f>(fault: &'f Fault<'_>) -> Option<&'f str> {
    if fault.is_context_length() {
        return Some("context_length_exceeded");
    }
    // Whoever looks for a cut stream, or asks whether waiting helps, looks for one code.
    let is_one = matches!(fault.kind, FaultKind::StreamIncomplete | FaultKind::Billing);
    let own = if is_one { None } else { fault.code.as_deref() };
    own.or(words(fault.kind).1)
}

/// `type` and the `code` that is given where there is no better one.
fn words(kind: FaultKind) -> (&'static str, Option<&'static str>) {
    match kind {
        FaultKind::InvalidRequest | FaultKind::Unprocessable | FaultKind::Conflict => ("invalid_request_error", None),
        FaultKind::Authentication => ("authentication_error", Some("invalid_api_key")),
        FaultKind::Billing => ("insufficient_quota", Some("insufficient_quota")),
        FaultKind::Permission => ("permission_error", None),
        FaultKind::NotFound => ("not_found_error", None),
        FaultKind::TooLarge => ("invalid_request_error", Some("request_too_large")),
        FaultKind::RateLimit => ("rate_limit_error", Some("rate_limit_exceeded")),
        FaultKind::ContentFilter => ("invalid_request_error", Some("content_filter")),
        FaultKind::Api => ("server_error", None),
        FaultKind::Timeout => ("server_error", Some("timeout")),
        FaultKind::Overloaded => ("server_error", Some("overloaded")),
        FaultKind::StreamIncomplete => ("server_error", Some("stream_incomplete")),
    }
}

/// The fault's status if clients of this format know it.
fn status(fault: &Fault<'_>) -> u16 {
    match fault.status {
        _ if fault.is_context_length() => 400,
        // It has no class of its own in the SDKs.
        _ if fault.kind == FaultKind::Billing => 429,
        // Anthropic's.
        529 => 503,
        402 => 429,
        status @ 400..=599 => status,
        _ => fault.kind.status(),
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

    fn check(status: u16, body: &str, kind: FaultKind, code: Option<&str>, words: &str) {
        let fault = read(status, body.as_bytes());
        let status = if kind == FaultKind::ContentFilter { 400 } else { status };
        assert_eq!((fault.kind, fault.status, fault.code.as_deref()), (kind, status, code), "{body}");
        assert!(fault.message.contains(words), "{body}: {}", fault.message);
    }

    #[test]
    fn a_refused_key_is_one_whatever_its_status() {
        let (of_key, code) = (FaultKind::Authentication, Some("invalid_api_key"));
        let xai = r#"{"code":"Client specified","error":"Incorrect API key provided: ab***yz."}"#;
        check(400, xai, of_key, Some("Client specified"), "Incorrect API key");
        for status in [400, 401] {
            check(status, r#"{"error":{"message":"m","code":"invalid_api_key"}}"#, of_key, code, "m");
        }
    }

    #[test]
    fn reads_every_shape() {
        use FaultKind::{Api, Authentication, ContentFilter, InvalidRequest, NotFound, RateLimit};
        let openai = r#"{"error":{"message":"no","type":"invalid_request_error","param":"model","code":"context_length_exceeded"}}"#;
        check(400, openai, InvalidRequest, Some("context_length_exceeded"), "no");
        check(401, r#"{"error":{"code":"401","message":"Access denied"}}"#, Authentication, None, "Access denied");
        check(404, r#"{"error":{"message":"m","code":"model_not_found"}}"#, NotFound, Some("model_not_found"), "m");
        let azure = r#"{"error":{"code":"content_filter","message":"filtered","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#;
        check(400, azure, ContentFilter, Some("content_filter"), "filtered");
        let moderated = r#"{"error":{"code":403,"message":"flagged","metadata":{"reasons":["x"],"flagged_input":"y","provider_name":"z"}}}"#;
        check(403, moderated, ContentFilter, None, "flagged");
        let xai = r#"{"code":"permission-denied","error":"Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}"#;
        check(403, xai, ContentFilter, Some("permission-denied"), "Failed check");
        let router = r#"{"error":{"code":429,"message":"Provider returned error","metadata":{"raw":"slow down"}}}"#;
        check(429, router, RateLimit, None, "Provider returned error: slow down");
        check(
            400,
            r#"[{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}]"#,
            InvalidRequest,
            Some("INVALID_ARGUMENT"),
            "bad",
        );
        check(
            400,
            r#"{"object":"error","message":"too long","type":"BadRequestError","code":400}"#,
            InvalidRequest,
            Some("BadRequestError"),
            "too long",
        );
        check(
            422,
            r#"{"detail":[{"loc":["body"],"msg":"field required","type":"missing"}]}"#,
            FaultKind::Unprocessable,
            Some("missing"),
            "field required",
        );
        check(
            400,
            r#"{"code":"Client specified","error":"Incorrect key"}"#,
            InvalidRequest,
            Some("Client specified"),
            "key",
        );
        check(
            429,
            r#"{"error":{"message":"q","code":"insufficient_quota"}}"#,
            FaultKind::Billing,
            Some("insufficient_quota"),
            "q",
        );
        check(500, r#"{"error":"boom"}"#, Api, None, "boom");
        check(502, "<html><body>Bad Gateway</body></html>", Api, None, "answered 502");
        check(503, "", FaultKind::Overloaded, None, "answered 503");
        check(500, "upstream connect error", Api, None, "upstream connect error");
    }

    #[test]
    fn words_are_found_wherever_they_stand() {
        for (body, words) in [
            (
                r#"{"object":"error","message":{"detail":[{"type":"missing","msg":"Field required"}]}}"#,
                "Field required",
            ),
            (r#"{"detail":{"error":{"message":"too long"}}}"#, "too long"),
            (r#"{"detail":{"message":"too long"}}"#, "too long"),
            (r#"{"success":false,"errors":[{"code":7000,"message":"No route"}],"messages":[]}"#, "No route"),
            (r#"{"error":{"message":["a","b"]}}"#, "a"),
            (r#"{"error":["not found"]}"#, "not found"),
            (r#"{"errorMessage":"bad"}"#, "bad"),
            (r#"{"error_msg":"bad","error_code":17}"#, "bad"),
            (r#"{"Message":"no access"}"#, "no access"),
            (r#"{"title":"Bad","detail":"model is bad"}"#, "model is bad"),
            (r#"{"error":{"error":{"message":"nested"}}}"#, "nested"),
            (r#"{"error":{"message":"m","metadata":{"raw":{"message":"inner"}}}}"#, "m: {\"message\":\"inner\"}"),
            (r#"{"error":{"message":"","type":"x"}}"#, "answered 400: {\"error\""),
            (r#"{"error":{"message":"cut"#, "answered 400: {\"error\":{\"message\":\"cut"),
        ] {
            let fault = read(400, body.as_bytes());
            assert!(fault.message.contains(words), "{body}: {}", fault.message);
            assert_eq!(tells(body.as_bytes()), !fault.message.contains("answered"), "{body}");
        }
    }

    #[test]
    fn the_field_at_fault_is_told_where_only_its_place_is() {
        let check = |body: &str, param: Option<&str>, message: &str| {
            let fault = read(422, body.as_bytes());
            assert_eq!((fault.param.as_deref(), fault.message.as_ref()), (param, message), "{body}");
        };
        let required = |loc: &str| format!(r#"{{"detail":[{{"loc":{loc},"msg":"field required"}}]}}"#);
        check(&required(r#"["body","messages"]"#), Some("messages"), "messages: field required");
        check(
            &required(r#"["body","messages",0,"content"]"#),
            Some("messages.0.content"),
            "messages.0.content: field required",
        );
        check(&required(r#"["query","body"]"#), Some("query.body"), "query.body: field required");
        check(&required(r#"["body"]"#), None, "field required");
        check(&required(r#""body""#), None, "field required");
        let mistral = r#"{"object":"error","message":{"detail":[{"type":"missing","msg":"Field required","loc":["body","tools",1]}]}}"#;
        check(mistral, Some("tools.1"), "tools.1: Field required");
        check(
            r#"{"detail":[{"loc":["body","a"]}]}"#,
            Some("a"),
            &format!("The provider answered 422: {}", r#"{"detail":[{"loc":["body","a"]}]}"#),
        );
    }

    #[test]
    fn trap_a13_529_is_503_for_these_clients() {
        let mut fault = Fault::new(FaultKind::Overloaded, "busy");
        fault.status = 529;
        let (status, body) = write(&fault);
        assert_eq!(status, 503);
        assert!(is_envelope(&body));
        let body = String::from_utf8(body).unwrap();
        assert_eq!(body, r#"{"error":{"message":"busy","type":"server_error","param":null,"code":"overloaded"}}"#);
    }

    #[test]
    fn trap_a7_an_error_in_a_stream_tells_its_status() {
        for (json, status) in [
            (r#"{"message":"quota","code":429}"#, 429),
            (r#"{"message":"quota","type":"rate_limit_error"}"#, 429),
            (r#"{"message":"Tool choice is required","type":"invalid_request_error","code":"tool_use_failed"}"#, 400),
            (r#""boom""#, 500),
        ] {
            assert_eq!(read_in_stream(&mut Cursor::over(json)).status, status, "{json}");
        }
    }

    #[test]
    fn trap_a10_an_event_tells_what_status_it_would_have_been() {
        for (json, status, code) in [
            (
                r#"{"type":"error","code":"rate_limit_exceeded","message":"slow","param":null}"#,
                429,
                "rate_limit_exceeded",
            ),
            (
                r#"{"type":"error","error":{"type":"insufficient_quota","code":"insufficient_quota","message":"m"}}"#,
                429,
                "insufficient_quota",
            ),
            (r#"{"code":"server_error","message":"boom"}"#, 500, "server_error"),
            (r#"{"code":"invalid_prompt","message":"no"}"#, 400, "invalid_prompt"),
        ] {
            let fault = read_in_stream(&mut Cursor::over(json));
            assert_eq!((fault.status, fault.code.as_deref()), (status, Some(code)), "{json}");
        }
    }
}

//! What can go wrong, in words that every format can say.

use std::borrow::Cow;

use crate::json::JsonError;

/// An error answer: to a client, or from a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault<'a> {
    /// What went wrong.
    pub kind: FaultKind,
    /// HTTP status; inside a stream, the one that it would have been.
    pub status: u16,
    /// For a person.
    pub message: Cow<'a, str>,
    /// The vendor's code, such as `context_length_exceeded`.
    pub code: Option<Cow<'a, str>>,
    /// The field at fault, as the client spells it.
    pub param: Option<Cow<'a, str>>,
    /// Seconds after which another try may succeed, for formats that say so in the body.
    pub retry_after_s: Option<u64>,
}

impl<'a> Fault<'a> {
    /// A fault with its kind's own status.
    #[must_use]
    pub fn new(kind: FaultKind, message: impl Into<Cow<'a, str>>) -> Self {
        Self { kind, status: kind.status(), message: message.into(), code: None, param: None, retry_after_s: None }
    }

    /// The same with a code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'a, str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The same with the field at fault.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<Cow<'a, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// A copy that owns its words.
    #[must_use]
    pub fn into_owned(self) -> Fault<'static> {
        Fault {
            kind: self.kind,
            status: self.status,
            message: Cow::Owned(self.message.into_owned()),
            code: self.code.map(|code| Cow::Owned(code.into_owned())),
            param: self.param.map(|param| Cow::Owned(param.into_owned())),
            retry_after_s: self.retry_after_s,
        }
    }
}

/// The code of a fault of the key that the provider was sent, which is not the client's.
pub const KEY_REFUSED: &str = "upstream_credentials";

impl Fault<'static> {
    /// The provider refused the key that it was sent; `status` where that alone says so. What the provider said of it may
    /// quote the key, and is for nobody.
    #[must_use]
    pub fn key_refused(status: Option<u16>) -> Self {
        let status = status.map(|status| format!(" (status {status})")).unwrap_or_default();
        let message = format!("The provider refused this server's credentials{status}. The operator must mend them.");
        Self { status: 502, ..Fault::new(FaultKind::Api, message).with_code(KEY_REFUSED) }
    }
}

impl Fault<'_> {
    /// True when a provider says that the prompt is longer than its model takes. Some have a code for it, the others
    /// words: these are what the vendors and the usual servers of open models say.
    #[must_use]
    pub fn is_context_length(&self) -> bool {
        const WORDS: [&str; 11] = [
            "context length",
            "context window",
            "context limit",
            "context size",
            "prompt is too long",
            "input is too long",
            "input token count",
            "maximum prompt length",
            "maximum model length",
            "`max_new_tokens` must be <=",
            "total number of tokens in the prompt",
        ];
        if !matches!(self.kind, FaultKind::InvalidRequest | FaultKind::TooLarge | FaultKind::Unprocessable) {
            return false;
        }
        let message = self.message.to_ascii_lowercase();
        let by_code = matches!(self.code.as_deref(), Some("context_length_exceeded" | "context_length"));
        by_code || WORDS.iter().any(|words| message.contains(words))
    }

    /// The message; where the prompt is too long and it does not say so as a vendor's own does, `own`, behind `words`:
    /// clients know by them that they can mend it.
    #[must_use]
    pub fn message_behind(&self, own: &str, words: &str) -> Cow<'_, str> {
        if !self.is_context_length() || self.message.contains(own) {
            return Cow::Borrowed(self.message.as_ref());
        }
        Cow::Owned(format!("{words}: {}", self.message))
    }
}

/// Kinds of errors; `MAPPING` table type ↔ status. Anthropic has a type for each, `OpenAI` a status and a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The request is wrong.
    InvalidRequest,
    /// No key, or a wrong one.
    Authentication,
    /// Nothing left to pay with.
    Billing,
    /// The key may not do this.
    Permission,
    /// No such model or path.
    NotFound,
    /// The state of something forbids it.
    Conflict,
    /// The body is too large.
    TooLarge,
    /// Well-formed, but not to be processed.
    Unprocessable,
    /// Too many requests or tokens.
    RateLimit,
    /// A content filter refused the prompt.
    ContentFilter,
    /// The server failed.
    Api,
    /// The server took too long.
    Timeout,
    /// The server has too much to do.
    Overloaded,
    /// The stream broke off before it was complete.
    StreamIncomplete,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::InvalidRequest,
        Self::Authentication,
        Self::Billing,
        Self::Permission,
        Self::NotFound,
        Self::Conflict,
        Self::TooLarge,
        Self::Unprocessable,
        Self::RateLimit,
        Self::ContentFilter,
        Self::Api,
        Self::Timeout,
        Self::Overloaded,
        Self::StreamIncomplete,
    ];

    /// The HTTP status that says it, where nothing better is known.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidRequest | Self::ContentFilter => 400,
            Self::Authentication => 401,
            Self::Billing => 402,
            Self::Permission => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Unprocessable => 422,
            Self::RateLimit => 429,
            Self::Api => 500,
            Self::StreamIncomplete => 502,
            Self::Overloaded => 503,
            Self::Timeout => 504,
        }
    }

    /// The kind that `status` means, where nothing better is known.
    #[must_use]
    pub fn from_status(status: u16) -> Self {
        match status {
            401 => Self::Authentication,
            402 => Self::Billing,
            403 => Self::Permission,
            404 => Self::NotFound,
            409 => Self::Conflict,
            413 => Self::TooLarge,
            422 => Self::Unprocessable,
            429 => Self::RateLimit,
            408 | 504 => Self::Timeout,
            503 | 529 => Self::Overloaded,
            400..=499 => Self::InvalidRequest,
            _ => Self::Api,
        }
    }

    /// A bounded label for metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Authentication => "authentication",
            Self::Billing => "billing",
            Self::Permission => "permission",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::Unprocessable => "unprocessable",
            Self::RateLimit => "rate_limit",
            Self::ContentFilter => "content_filter",
            Self::Api => "api",
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
            Self::StreamIncomplete => "stream_incomplete",
        }
    }
}

/// A request that is not translated: it is wrong, or the target cannot do what it asks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What is wrong and how to mend it.
    pub message: String,
    /// The client's field at fault, in dots and brackets as `OpenAI` writes it: `messages[3].content`.
    pub param: Option<String>,
    /// A code, such as `unsupported_parameter`.
    pub code: Option<&'static str>,
    /// Byte offset of what is at fault in the body; turned into `param` where that is `None`.
    pub at: Option<usize>,
}

impl Refusal {
    /// A refusal of the value at byte `at`.
    #[must_use]
    pub fn at(at: usize, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: None, code: None, at: Some(at) }
    }

    /// A refusal of the field `param`.
    #[must_use]
    pub fn of(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: Some(param.into()), code: None, at: None }
    }

    /// The same with a code.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// The fault that the client is told, `body` being the body that was refused.
    #[must_use]
    pub fn into_fault(self, body: &[u8]) -> Fault<'static> {
        let param = self.param.or_else(|| self.at.map(|at| dotted(&crate::json::pointer_at(body, at))));
        let message = match &param {
            Some(param) if !param.is_empty() && !self.message.contains(param.as_str()) => {
                format!("{param}: {}", self.message)
            }
            _ => self.message,
        };
        let mut fault = Fault::new(FaultKind::InvalidRequest, message);
        fault.param = param.filter(|param| !param.is_empty()).map(Cow::Owned);
        fault.code = self.code.map(Cow::Borrowed);
        fault
    }
}

impl From<JsonError> for Refusal {
    fn from(error: JsonError) -> Self {
        Self::at(error.offset, error.problem.to_string())
    }
}

/// `/messages/3/content` as `messages[3].content`.
#[must_use]
pub fn dotted(pointer: &str) -> String {
    let mut out = String::with_capacity(pointer.len());
    for part in pointer.split('/').skip(1) {
        if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
            out.push('[');
            out.push_str(part);
            out.push(']');
        } else {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(&part.replace("~1", "/").replace("~0", "~"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_field_at_fault() {
        let body = br#"{"messages":[{"content":7}]}"#;
        let at = memchr::memchr(b'7', body).unwrap();
        let fault = Refusal::at(at, "expected a string").into_fault(body);
        assert_eq!(fault.message, "messages[0].content: expected a string");
        assert_eq!(fault.param.as_deref(), Some("messages[0].content"));
    }

    #[test]
    fn a_prompt_that_is_too_long_is_known_by_code_or_words() {
        let check = |kind: FaultKind, message: &str, expected: bool| {
            assert_eq!(Fault::new(kind, message.to_owned()).is_context_length(), expected, "{message}");
        };
        for message in [
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
            "prompt is too long: 210000 tokens > 200000 maximum",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).",
            "Your input exceeds the context window of this model.",
        ] {
            check(FaultKind::InvalidRequest, message, true);
            check(FaultKind::RateLimit, message, false);
        }
        check(FaultKind::InvalidRequest, "max_tokens must be positive", false);
        assert!(Fault::new(FaultKind::InvalidRequest, "no").with_code("context_length_exceeded").is_context_length());
    }

    #[test]
    fn every_status_has_a_kind_and_back() {
        for kind in FaultKind::ALL {
            if !matches!(kind, FaultKind::ContentFilter | FaultKind::StreamIncomplete) {
                assert_eq!(FaultKind::from_status(kind.status()), kind);
            }
        }
    }
}

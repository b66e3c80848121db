//! What an answer says that it is.

use http::{HeaderMap, header};

/// What a `content-type` says of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    /// An event stream.
    Events,
    /// JSON.
    Json,
    /// Nothing that tells: it is missing or general.
    Unsaid,
    /// Another thing, such as the page of a login or of a proxy on the way.
    Other,
}

impl MediaType {
    /// What these headers say.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = value.split(';').next().unwrap_or_default().trim();
        let is = |name: &str| kind.eq_ignore_ascii_case(name);
        let ends = |end: &str| kind.len().checked_sub(end.len()).and_then(|at| kind.get(at..));
        if is("application/json") || ends("+json").is_some_and(|end| end.eq_ignore_ascii_case("+json")) {
            Self::Json
        } else if is("text/event-stream") {
            Self::Events
        } else if ["", "text/plain", "application/octet-stream"].into_iter().any(is) {
            Self::Unsaid
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_case_and_suffixes_are_known() {
        let check = |value: Option<&'static str>, expected: MediaType| {
            let value = value.map(|value| (header::CONTENT_TYPE, header::HeaderValue::from_static(value)));
            assert_eq!(MediaType::of(&value.clone().into_iter().collect()), expected, "{value:?}");
        };
        check(None, MediaType::Unsaid);
        check(Some(" ; charset=utf-8"), MediaType::Unsaid);
        check(Some("Text/Plain"), MediaType::Unsaid);
        check(Some("TEXT/event-stream; charset=utf-8"), MediaType::Events);
        check(Some("application/JSON"), MediaType::Json);
        check(Some("application/problem+Json;x=y"), MediaType::Json);
        check(Some("application/jsonl"), MediaType::Other);
        check(Some("text/html"), MediaType::Other);
    }
}

//! The first look at a request body: is it sound, and which model does it name?

use std::borrow::Cow;

use super::cursor::Problem;
use super::{Cursor, JsonError, Span};

/// What routing needs to know of a request body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// The top-level `model`, decoded; `None` where there is none.
    pub model: Option<String>,
    /// Where the value of `model` stands, quotes included.
    pub model_span: Span,
    /// The top-level `stream`; `false` where there is none.
    pub stream: bool,
}

/// Checks a whole request body and picks out what routing needs; keeps nothing else.
///
/// Sound means: UTF-8, JSON by the grammar, one object, nested at most 128 deep, no top-level key twice. A key that
/// stands twice would let two readers of the same body see two different requests.
///
/// # Errors
///
/// The first thing that is unsound, with its offset.
pub fn guard(body: &[u8]) -> Result<Envelope, JsonError> {
    let mut cursor = Cursor::over_bytes(body)?;
    let mut envelope = Envelope::default();
    let mut keys: Vec<Cow<'_, str>> = Vec::with_capacity(16);
    cursor.object::<JsonError>(|key, value| {
        let start = value.offset();
        if keys.contains(&key) {
            return Err(JsonError { offset: start, problem: Problem::DuplicateKey });
        }
        match key.as_ref() {
            "model" => {
                envelope.model = value.nullable(Cursor::string)?.map(Cow::into_owned);
                // White space before the value was stepped over by `offset`, and none is read behind it.
                envelope.model_span = start..value.position();
            }
            "stream" => envelope.stream = value.nullable(Cursor::bool)?.unwrap_or(false),
            _ => value.skip()?,
        }
        keys.push(key);
        Ok(())
    })?;
    cursor.finish()?;
    Ok(envelope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_model_and_stream() {
        let body = br#"{ "messages" : [{"model":"not me"}], "model" : "m\u0031" , "stream":true }"#;
        let envelope = guard(body).unwrap();
        assert_eq!(envelope.model.as_deref(), Some("m1"));
        assert!(envelope.stream);
        assert_eq!(&body[envelope.model_span], br#""m\u0031""#);
    }

    #[test]
    fn refuses_what_two_readers_would_read_differently() {
        for (body, words) in [
            (&br#"{"model":"a","model":"b"}"#[..], "stands twice"),
            (br#"{"model":"a","mod\u0065l":"b"}"#, "stands twice"),
            (br#"{"model":1}"#, "expected a string, found a number"),
            (br#"{"stream":"yes"}"#, "expected true or false"),
            (br"[]", "expected an object"),
            (br"{} {}", "expected the end"),
            (b"{\"a\":\"\xff\"}", "not UTF-8"),
            (b"", "ends too early"),
        ] {
            let error = guard(body).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}

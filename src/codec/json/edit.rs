//! Edits of a document that leave every other byte as it was.

use std::borrow::Cow;

use super::{Cursor, JsonError, Span};

/// A member of an object, and where it stands in its document.
#[derive(Debug, Clone)]
pub struct Member<'a> {
    /// Its key, decoded.
    pub key: Cow<'a, str>,
    /// The key with its quotes.
    pub key_span: Span,
    /// The value.
    pub value: Span,
}

/// The members of the object at `cursor`, which reads `document`, in order.
///
/// # Errors
///
/// There is no object, or it is malformed.
pub fn members<'a>(document: &[u8], cursor: &mut Cursor<'a>) -> Result<Vec<Member<'a>>, JsonError> {
    let mut found = Vec::new();
    cursor.object::<JsonError>(|key, value| {
        let start = value.offset();
        value.skip()?;
        let key_span = key_before(document, start).unwrap_or(start..start);
        found.push(Member { key, key_span, value: start..value.position() });
        Ok(())
    })?;
    Ok(found)
}

/// The key that stands before the value at byte `at`.
fn key_before(document: &[u8], at: usize) -> Option<Span> {
    let last = |end: usize| document.get(..end)?.iter().rposition(|byte| !byte.is_ascii_whitespace());
    let close = last(last(at)?)?;
    let mut open = close;
    loop {
        open = document.get(..open)?.iter().rposition(|byte| *byte == b'"')?;
        let escapes = document.get(..open)?.iter().rev().take_while(|byte| **byte == b'\\').count();
        if escapes % 2 == 0 {
            return Some(open..close + 1);
        }
    }
}

/// Edits of one document, gathered in any order.
#[derive(Debug, Default)]
pub struct Edits {
    list: Vec<(Span, Cow<'static, [u8]>)>,
}

impl Edits {
    /// Puts `bytes` in the place of a span.
    pub fn replace(&mut self, span: Span, bytes: impl Into<Cow<'static, [u8]>>) {
        self.list.push((span, bytes.into()));
    }

    /// Takes those out of `members`, which are all of an object's, that `goes` says; each with one comma.
    pub fn cut(&mut self, members: &[Member<'_>], mut goes: impl FnMut(&Member<'_>) -> bool) {
        let mut any_stays = false;
        let mut before = 0;
        for (index, member) in members.iter().enumerate() {
            let next = members.get(index + 1).map(|next| next.key_span.start);
            let end = member.value.end;
            if !goes(member) {
                any_stays = true;
            } else if any_stays {
                self.replace(before..end, Cow::Borrowed(&[][..]));
            } else {
                self.replace(member.key_span.start..next.unwrap_or(end), Cow::Borrowed(&[][..]));
            }
            before = end;
        }
    }

    /// The document with all edits; `None` if there are none. An edit inside of a span that goes counts for nothing.
    #[must_use]
    pub fn apply(mut self, document: &[u8]) -> Option<Vec<u8>> {
        if self.list.is_empty() {
            return None;
        }
        self.list.sort_by_key(|(span, _)| (span.start, std::cmp::Reverse(span.end)));
        let mut out = Vec::with_capacity(document.len());
        let mut from = 0;
        for (span, bytes) in &self.list {
            if span.start < from {
                continue;
            }
            out.extend_from_slice(document.get(from..span.start).unwrap_or_default());
            out.extend_from_slice(bytes);
            from = span.end;
        }
        out.extend_from_slice(document.get(from..).unwrap_or_default());
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(document: &str, gone: &[&str], renamed: &[(&str, &str)]) -> String {
        let bytes = document.as_bytes();
        let found = members(bytes, &mut Cursor::over(document)).unwrap();
        let mut edits = Edits::default();
        edits.cut(&found, |member| gone.contains(&member.key.as_ref()));
        for member in &found {
            if let Some((_, name)) = renamed.iter().find(|(key, _)| *key == member.key) {
                edits.replace(member.key_span.clone(), format!("\"{name}\"").into_bytes());
            }
        }
        String::from_utf8(edits.apply(bytes).unwrap_or_else(|| bytes.to_vec())).unwrap()
    }

    #[test]
    fn members_go_with_one_comma_and_nothing_else_moves() {
        let check = |document: &str, gone: &[&str], expect: &str| assert_eq!(edited(document, gone, &[]), expect);
        check(r#"{ "a" : 1.0 ,"b":[2, 3] , "c":"," }"#, &[], r#"{ "a" : 1.0 ,"b":[2, 3] , "c":"," }"#);
        check(r#"{ "a" : 1.0 ,"b":[2, 3] , "c":"," }"#, &["a"], r#"{ "b":[2, 3] , "c":"," }"#);
        check(r#"{ "a" : 1.0 ,"b":[2, 3] , "c":"," }"#, &["b"], r#"{ "a" : 1.0 , "c":"," }"#);
        check(r#"{ "a" : 1.0 ,"b":[2, 3] , "c":"," }"#, &["c"], r#"{ "a" : 1.0 ,"b":[2, 3] }"#);
        check(r#"{ "a" : 1.0 ,"b":[2, 3] , "c":"," }"#, &["a", "c"], r#"{ "b":[2, 3] }"#);
        check(r#"{ "a" : 1.0 ,"b":[2, 3] , "c":"," }"#, &["a", "b", "c"], "{  }");
    }

    #[test]
    fn keys_are_found_however_they_are_written() {
        let check = |document: &str, expect: &str| assert_eq!(edited(document, &["x"], &[("a\"b\\", "n")]), expect);
        check(r#"{"a\"b\\" : 1}"#, r#"{"n" : 1}"#);
        check(r#"{"y":"\"","a\u0022b\\":{"x":1}}"#, r#"{"y":"\"","n":{"x":1}}"#);
        check(r#"{"x":"a","a\"b\\":1}"#, r#"{"n":1}"#);
    }
}

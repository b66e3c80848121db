//! Replacing a span of bytes.

use std::ops::Range;

/// Where a value stands in its document, in bytes.
pub type Span = Range<usize>;

/// `document` with the bytes at `span` replaced; every other byte as it was.
///
/// A span outside of the document changes nothing.
#[must_use]
pub fn splice(document: &[u8], span: &Span, replacement: &[u8]) -> Vec<u8> {
    let (Some(before), Some(after)) = (document.get(..span.start), document.get(span.end..)) else {
        return document.to_vec();
    };
    let mut out = Vec::with_capacity(before.len() + replacement.len() + after.len());
    out.extend_from_slice(before);
    out.extend_from_slice(replacement);
    out.extend_from_slice(after);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_only_the_span() {
        assert_eq!(splice(b"abcdef", &(2..4), b"--new--"), b"ab--new--ef");
        assert_eq!(splice(b"abc", &(0..0), b"x"), b"xabc");
        assert_eq!(splice(b"abc", &(5..9), b"x"), b"abc");
    }
}

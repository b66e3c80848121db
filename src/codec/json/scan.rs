//! The contents of JSON strings, as bytes.

/// Length of the contents of a JSON string, up to the quote that ends it; `None` if they are malformed or do not end.
///
/// Looks at bytes: whether they are UTF-8 is the caller's to know.
pub(crate) fn contents_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += plain_run(bytes.get(at..)?);
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += escape_width(bytes.get(at..)?)?,
            _ => return None,
        }
    }
}

/// Bytes of the escape that `bytes` begins with; `None` if it is none, or not whole.
#[inline]
pub(super) fn escape_width(bytes: &[u8]) -> Option<usize> {
    let second = *bytes.get(1)?;
    // Looked up in bits, which is foretold better than a jump by letter.
    if second < 128 && SHORT_ESCAPES >> second & 1 == 1 {
        return Some(2);
    }
    (second == b'u' && bytes.get(2..6)?.iter().all(u8::is_ascii_hexdigit)).then_some(6)
}

/// Which bytes are an escape behind a backslash, a bit for each.
const SHORT_ESCAPES: u128 =
    1 << b'"' | 1 << b'\\' | 1 << b'/' | 1 << b'b' | 1 << b'f' | 1 << b'n' | 1 << b'r' | 1 << b't';

/// Strings up to this length are scanned in general registers; beyond it the wide scans pay for their start.
const SHORT_RUN: usize = 64;

/// How many bytes stand before the first quote, backslash or control character; all of them if there is none.
#[inline]
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    // Most strings end within their first word or two.
    if let Some((word, rest)) = bytes.split_first_chunk::<8>() {
        let found = special_in(u64::from_le_bytes(*word));
        if found != 0 {
            return found.trailing_zeros() as usize / 8;
        }
        return 8 + longer_run(rest);
    }
    longer_run(bytes)
}

fn longer_run(bytes: &[u8]) -> usize {
    let (words, _) = bytes.get(..bytes.len().min(SHORT_RUN)).unwrap_or_default().as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let found = special_in(u64::from_le_bytes(*word));
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let from = words.len() * 8;
    let rest = bytes.get(from..).unwrap_or_default();
    let quoted = if rest.len() < 8 {
        rest.iter().position(|&b| b == b'"' || b == b'\\')
    } else {
        memchr::memchr2(b'"', b'\\', rest)
    };
    let run = rest.get(..quoted.unwrap_or(rest.len())).unwrap_or_default();
    from + control_character(run).unwrap_or(run.len())
}

/// The high bit of each byte of `word` that is a quote, a backslash or a control character; higher bytes than the
/// first of them may be marked wrongly.
fn special_in(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES * 0x80;
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, 0x20) | is(b'"') | is(b'\\')) & HIGHS
}

#[allow(clippy::needless_bitwise_bool, reason = "`||` would bring back the early exit")]
fn control_character(run: &[u8]) -> Option<usize> {
    // The fold has no early exit, so that it compiles to wide instructions.
    let any = run.iter().fold(false, |any, &b| any | (b < 0x20));
    if any { run.iter().position(|&b| b < 0x20) } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_run_of_plain_bytes_ends_where_a_plain_search_ends_it(
            bytes in proptest::collection::vec(prop_oneof![8 => 0x20_u8..=0xFF, 1 => 0_u8..0x23, 1 => Just(b'\\')], 0..200),
            clear in 0_usize..200,
        ) {
            let mut bytes = bytes;
            for byte in bytes.iter_mut().take(clear) {
                *byte = if matches!(*byte, b'"' | b'\\' | 0..0x20) { 0x80 } else { *byte };
            }
            let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
            prop_assert_eq!(plain_run(&bytes), bytes.iter().position(special).unwrap_or(bytes.len()));
        }
    }

    #[test]
    fn contents_end_at_their_quote() {
        for (bytes, len) in [
            (&br#"abc" and on"#[..], Some(3)),
            (br#"" "#, Some(0)),
            (br#"a\"b\u00e9\\" "#, Some(12)),
            (br#"a\x" "#, None),
            (br#"a\u00g0" "#, None),
            (br"a\", None),
            (b"a\nb\"", None),
            (b"no end", None),
            (b"", None),
        ] {
            assert_eq!(contents_len(bytes), len, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}

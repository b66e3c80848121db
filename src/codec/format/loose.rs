//! Values as servers write them: where something of another kind stands there is none.

use crate::json::{Cursor, JsonError, Kind, Text};

/// Reads a string, or nothing where something else stands.
pub(super) fn loose_text<'a>(value: &mut Cursor<'a>) -> Result<Option<Text<'a>>, JsonError> {
    if value.peek()? == Kind::String {
        return value.text().map(Some);
    }
    value.skip()?;
    Ok(None)
}

/// Reads a count, or nothing where something else stands; servers write `5`, `5.0`, `5e0`, `null`.
pub(super) fn loose_count(value: &mut Cursor<'_>) -> Result<Option<u64>, JsonError> {
    if value.peek()? != Kind::Number {
        value.skip()?;
        return Ok(None);
    }
    let number = value.number()?;
    let number = number.as_str();
    Ok(number.parse().ok().or_else(|| fraction(number)))
}

/// The whole part of a number that is not written as a whole one; nothing for one below zero, or too big for a count.
#[cold]
fn fraction(number: &str) -> Option<u64> {
    let number = number.parse::<f64>().ok()?.trunc();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "in bounds"
    )]
    (0.0..u64::MAX as f64).contains(&number).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_as_servers_write_them() {
        for (text, count) in [
            ("5", Some(5)),
            ("5.0", Some(5)),
            ("5.9", Some(5)),
            ("5e2", Some(500)),
            ("1.5E1", Some(15)),
            ("50e-1", Some(5)),
            ("0", Some(0)),
            ("-0", Some(0)),
            ("-1", None),
            ("1e300", None),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("null", None),
            ("\"5\"", None),
            ("[5]", None),
        ] {
            let mut cursor = Cursor::over(text);
            assert_eq!(loose_count(&mut cursor).unwrap(), count, "{text}");
            assert!(cursor.finish().is_ok(), "{text}");
        }
    }
}

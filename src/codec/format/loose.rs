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

/// Reads a count, or nothing where something else stands; servers write `5`, `5.0`, `null`.
pub(super) fn loose_count(value: &mut Cursor<'_>) -> Result<Option<u64>, JsonError> {
    if value.peek()? != Kind::Number {
        value.skip()?;
        return Ok(None);
    }
    let number = value.number()?;
    let whole = number.as_str().split(['.', 'e', 'E']).next().unwrap_or_default();
    Ok(whole.parse().ok())
}

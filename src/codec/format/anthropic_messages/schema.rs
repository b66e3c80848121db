//! JSON schemas for answers and for arguments that are held to them, as the format wants them: closed objects, and no
//! bounds of values.

use super::schema_bounds::bounds_of;
use crate::json::{Cursor, Json, JsonError, Kind, Text};

/// Why a schema is not sent with its bounds.
pub(super) const TOLD: &str = "bounds of values are told in descriptions; nothing enforces them";

/// A schema that the format takes.
#[derive(Debug)]
pub(super) struct Fitted {
    /// The schema.
    pub schema: Json<'static>,
    /// Objects were closed to other properties.
    pub closed: bool,
    /// Among them are such as say that they are open.
    pub was_open: bool,
    /// Bounds that the format refuses are told in descriptions.
    pub told: bool,
}

/// The schema with `"additionalProperties":false` in every object schema that says nothing or anything else, and with each bound that
/// the format refuses told in the description beside it; `None` if there was nothing to do. Every other byte but white
/// space is as it was. Names of properties are names, whatever they read.
pub(super) fn fitted(schema: &Json<'_>) -> Option<Fitted> {
    let mut pen =
        Pen { out: String::with_capacity(schema.as_str().len() + 64), closed: false, was_open: false, told: false };
    pen.schema(&mut schema.cursor()).ok()?;
    let Pen { out, closed, was_open, told } = pen;
    (closed || told || was_open).then(|| Fitted { schema: Json::from_valid(out), closed, was_open, told })
}

struct Pen {
    out: String,
    closed: bool,
    was_open: bool,
    told: bool,
}

impl Pen {
    fn schema(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        if cursor.peek()? != Kind::Object {
            return self.copy(cursor);
        }
        let bounds = bounds_of(cursor)?;
        self.told |= !bounds.keys.is_empty();
        let (mut is_object, mut is_closed, mut is_described, mut refers, mut first) =
            (false, false, false, false, true);
        self.out.push('{');
        cursor.object::<JsonError>(|key, value| {
            if bounds.keys.contains(key.as_ref()) {
                return value.skip();
            }
            self.key(&key, &mut first);
            refers |= key == "$ref";
            match key.as_ref() {
                "type" => {
                    is_object |= says_object(value)?;
                    self.copy(value)
                }
                "additionalProperties" => {
                    is_closed = true;
                    let is_open = value.json()?.as_str() != "false";
                    self.closed |= is_open;
                    self.was_open |= is_open;
                    self.out.push_str("false");
                    Ok(())
                }
                "description" if !bounds.words.is_empty() => {
                    is_described = true;
                    self.description(value, &bounds.words)
                }
                "properties" | "$defs" | "definitions" | "patternProperties" if value.peek()? == Kind::Object => {
                    is_object |= key == "properties";
                    self.named(value)
                }
                "anyOf" | "oneOf" | "allOf" | "prefixItems" if value.peek()? == Kind::Array => self.list(value),
                "items" | "not" | "contains" => self.schema(value),
                _ => self.copy(value),
            }
        })?;
        if !is_described && !bounds.words.is_empty() {
            self.key("description", &mut first);
            self.out.extend(["\"", &bounds.words, "\""]);
        }
        if is_object && !is_closed && refers {
            // What it refers to has properties that would be shut out.
            self.was_open = true;
        } else if is_object && !is_closed {
            self.closed = true;
            self.key("additionalProperties", &mut first);
            self.out.push_str("false");
        }
        self.out.push('}');
        Ok(())
    }

    /// A description that tells the bounds as well.
    fn description(&mut self, cursor: &mut Cursor<'_>, words: &str) -> Result<(), JsonError> {
        let said = if cursor.peek()? == Kind::String { cursor.text()? } else { Text::EMPTY };
        let between = if said.is_empty() { "" } else { "\\n\\n" };
        self.out.extend(["\"", said.escaped(), between, words, "\""]);
        Ok(())
    }

    fn named(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        let mut first = true;
        self.out.push('{');
        cursor.object::<JsonError>(|key, value| {
            self.key(&key, &mut first);
            self.schema(value)
        })?;
        self.out.push('}');
        Ok(())
    }

    fn list(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        self.out.push('[');
        cursor.array::<JsonError>(|index, element| {
            if index > 0 {
                self.out.push(',');
            }
            self.schema(element)
        })?;
        self.out.push(']');
        Ok(())
    }

    fn key(&mut self, key: &str, first: &mut bool) {
        if !std::mem::replace(first, false) {
            self.out.push(',');
        }
        self.out.extend(["\"", Text::from_plain(key).escaped(), "\":"]);
    }

    fn copy(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        self.out.push_str(cursor.json()?.as_str());
        Ok(())
    }
}

/// True for `"object"` and for a list of types that has it.
fn says_object(value: &Cursor<'_>) -> Result<bool, JsonError> {
    let mut value = value.clone();
    match value.peek()? {
        Kind::String => Ok(value.string()? == "object"),
        Kind::Array => {
            let mut found = false;
            value.array::<JsonError>(|_, element| {
                found |= element.peek()? == Kind::String && element.string()? == "object";
                Ok(())
            })?;
            Ok(found)
        }
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is expected of a schema that is fit as it is.
    fn check(schema: &str, expected: &str) {
        let found = fitted(&Json::from_valid(schema));
        assert_eq!(found.as_ref().map_or("", |fitted| fitted.schema.as_str()), expected, "{schema}");
    }

    #[test]
    fn closes_objects_and_nothing_else() {
        for (schema, expected) in [
            (
                r#"{"type":"object","properties":{}}"#,
                r#"{"type":"object","properties":{},"additionalProperties":false}"#,
            ),
            (r#"{"type":"object","additionalProperties":false}"#, ""),
            (r#"{"type":"string"}"#, ""),
            (r#"{"type":["object","null"]}"#, r#"{"type":["object","null"],"additionalProperties":false}"#),
            (
                r#"{"properties":{"properties":{"type":"array","items":{"type":"object"}}},"additionalProperties":false}"#,
                r#"{"properties":{"properties":{"type":"array","items":{"type":"object","additionalProperties":false}}},"additionalProperties":false}"#,
            ),
            (
                r#"{"$defs":{"type":{"type":"object"}},"anyOf":[{"$ref":"x"}],"enum":[{"type":"object"}]}"#,
                r#"{"$defs":{"type":{"type":"object","additionalProperties":false}},"anyOf":[{"$ref":"x"}],"enum":[{"type":"object"}]}"#,
            ),
        ] {
            check(schema, expected);
        }
    }

    #[test]
    fn bounds_are_told_where_they_stood() {
        for (schema, expected) in [
            (
                r#"{"type":"integer","description":"Age.","minimum":0,"maximum":1.50e2}"#,
                r#"{"type":"integer","description":"Age.\n\nMust be at least 0, at most 1.50e2."}"#,
            ),
            (
                r#"{"maxLength":3,"description":"","type":"string","pattern":"^\\d\"$"}"#,
                r#"{"description":"Must be at most 3 characters long, matched by the regular expression ^\\d\"$.","type":"string"}"#,
            ),
            (
                r##"{"anyOf":[{"type":"number","exclusiveMinimum":1},{"$ref":"#/$defs/a"}],"$defs":{"a":{"items":{"multipleOf":2},"minItems":2}}}"##,
                r##"{"anyOf":[{"type":"number","description":"Must be greater than 1."},{"$ref":"#/$defs/a"}],"$defs":{"a":{"items":{"description":"Must be a multiple of 2."},"description":"Must be at least 2 items long."}}}"##,
            ),
            (
                r#"{"properties":{"minimum":{"format":"int32"}},"additionalProperties":false,"default":{"minimum":1}}"#,
                r#"{"properties":{"minimum":{"description":"Must be of the format int32."}},"additionalProperties":false,"default":{"minimum":1}}"#,
            ),
            (
                r#"{"description":null,"uniqueItems":true,"enum":[{"minimum":1}]}"#,
                r#"{"description":"Must be without equal items.","enum":[{"minimum":1}]}"#,
            ),
            (r#"{"type":"string","format":"date-time"}"#, ""),
            (r#"{"type":"array","minItems":1,"uniqueItems":false}"#, r#"{"type":"array","minItems":1}"#),
        ] {
            check(schema, expected);
        }
    }

    #[test]
    fn trap_c23_a_property_named_like_a_bound_is_a_property() {
        let names = ["minimum", "pattern", "format", "description", "maxItems", "additionalProperties"];
        for name in names {
            let schema = format!(
                r#"{{"type":"object","properties":{{"{name}":{{"type":"string"}}}},"required":["{name}"],"additionalProperties":false}}"#
            );
            check(&schema, "");
        }
    }
}

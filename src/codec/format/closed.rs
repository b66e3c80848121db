//! Schemas that two formats of one vendor can hold a model to (`strict`).

use std::collections::BTreeSet;

use crate::json::{Cursor, Json, JsonError, Kind};

/// Keywords that the vendor refuses in a schema that is held to.
const REFUSED: [&str; 13] = [
    "allOf",
    "contains",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "not",
    "oneOf",
    "patternProperties",
    "prefixItems",
    "propertyNames",
    "then",
    "unevaluatedProperties",
];

/// True for the schema of an object that is closed, and so are all in it: each says `"additionalProperties":false` and
/// requires every property that it has, and no other.
pub(super) fn is_closed(schema: &Json<'_>) -> bool {
    let read = One::read(&mut schema.cursor());
    read.is_ok_and(|one| one.fits() && one.is_object && !one.has_choice)
}

/// What a schema says that bears on it.
#[derive(Default)]
struct One {
    is_object: bool,
    is_array: bool,
    is_closed: bool,
    has_items: bool,
    /// `anyOf`, which the outermost schema must not have.
    has_choice: bool,
    properties: BTreeSet<String>,
    required: BTreeSet<String>,
    /// Something in it does not fit.
    unfit: bool,
}

impl One {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, JsonError> {
        let mut one = Self::default();
        if cursor.peek()? != Kind::Object {
            cursor.skip()?;
            return Ok(Self { unfit: true, ..one });
        }
        cursor.object::<JsonError>(|key, value| one.keyword(&key, value))?;
        Ok(one)
    }

    fn fits(&self) -> bool {
        // A name without a property is refused as well.
        let open = (self.is_object && !self.is_closed) || self.properties != self.required;
        !self.unfit && !open && (self.has_items || !self.is_array)
    }

    fn keyword(&mut self, key: &str, value: &mut Cursor<'_>) -> Result<(), JsonError> {
        match (key, value.peek()?) {
            ("type", Kind::String) => self.kind(&value.string()?),
            ("type", Kind::Array) => value.array::<JsonError>(|_, value| {
                if value.peek()? == Kind::String {
                    self.kind(&value.string()?);
                }
                Ok(())
            })?,
            ("properties", Kind::Object) => {
                self.is_object = true;
                value.object::<JsonError>(|name, value| {
                    self.properties.insert(name.into_owned());
                    self.inner(value)
                })?;
            }
            ("$defs" | "definitions", Kind::Object) => value.object::<JsonError>(|_, value| self.inner(value))?,
            ("required", Kind::Array) => value.array::<JsonError>(|_, value| {
                if value.peek()? == Kind::String {
                    self.required.insert(value.string()?.into_owned());
                }
                Ok(())
            })?,
            ("additionalProperties", Kind::Bool) => self.is_closed = !value.bool()?,
            ("items", _) => {
                self.has_items = true;
                self.inner(value)?;
            }
            ("anyOf", Kind::Array) => {
                self.has_choice = true;
                value.array::<JsonError>(|_, value| self.inner(value))?;
            }
            (key, _) => self.unfit |= REFUSED.contains(&key),
        }
        Ok(())
    }

    fn kind(&mut self, word: &str) {
        self.is_object |= word == "object";
        self.is_array |= word == "array";
    }

    fn inner(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        self.unfit |= !Self::read(cursor)?.fits();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_is_closed_and_requires_all_that_it_has() {
        let within = |inner: &str| {
            format!(r#"{{"type":"object","properties":{{"a":{inner}}},"required":["a"],"additionalProperties":false}}"#)
        };
        let closed = [
            r#"{"type":"object","properties":{},"additionalProperties":false}"#.to_owned(),
            within(r#"{"type":["string","null"]}"#),
            within(r##"{"anyOf":[{"$ref":"#/$defs/b"},{"type":"null"}]}"##),
            within(r#"{"type":"array","items":{"type":"string"}}"#),
            within(&within("{}")),
            r#"{"type":"object","properties":{"properties":{"type":"string"},"not":{"type":"string"}},"required":["not","properties"],"additionalProperties":false}"#.to_owned(),
            r#"{"type":"object","properties":{"a":{"enum":["\"properties\""]}},"required":["a"],"additionalProperties":false}"#.to_owned(),
        ];
        let open = [
            "{}".to_owned(),
            "null".to_owned(),
            r#"{"type":"object"}"#.to_owned(),
            r#"{"type":"object","properties":{"a":{},"b":{}},"required":["a"],"additionalProperties":false}"#
                .to_owned(),
            r#"{"type":"object","properties":{"a":{}},"required":["a","z"],"additionalProperties":false}"#.to_owned(),
            within(r#"{"type":"string","required":["z"]}"#),
            r#"{"type":"object","properties":{"a":{}},"required":["a"],"additionalProperties":{"type":"string"}}"#
                .to_owned(),
            r#"{"type":"object","properties":{"additionalProperties":{},"required":{}}}"#.to_owned(),
            within(r#"{"type":"array","items":{"type":"object","additionalProperties":{"type":"string"}}}"#),
            within(r#"{"type":"array"}"#),
            within("true"),
            within(r#"{"oneOf":[{"type":"string"}]}"#),
            within(r#"{"anyOf":[{"type":"object","properties":{"b":{}},"additionalProperties":false}]}"#),
            r#"{"anyOf":[{"type":"string"}]}"#.to_owned(),
            r#"{"type":"object","properties":{},"additionalProperties":false,"$defs":{"b":{"type":"object"}}}"#
                .to_owned(),
        ];
        for (schemas, expected) in [(&closed[..], true), (&open[..], false)] {
            for schema in schemas {
                assert_eq!(is_closed(&Json::from_valid(schema.as_str())), expected, "{schema}");
            }
        }
    }
}

//! Schemas that two formats of one vendor can hold a model to (`strict`).

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::wire;
use crate::Format;
use crate::hub::{Action, Field, Losses, Place, Strict};
use crate::json::{Cursor, Json, JsonError, Kind};

/// Keywords that the vendor takes in a schema that is held to, whatever they say, beside those that are looked into. It
/// refuses most others; of some not everybody is told the same, and they are not here.
const TAKEN: [&str; 10] = [
    "$schema",
    "description",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "maxItems",
    "maximum",
    "minItems",
    "minimum",
    "multipleOf",
    "title",
];

/// What regular expressions look ahead or back with, which the vendor's have not.
const LOOKING_AROUND: [&str; 4] = ["(?!", "(?<!", "(?<=", "(?="];

/// Formats of a text that the vendor knows; it refuses others.
const TEXTS: [&str; 9] = ["date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uuid"];

/// True for the schema of an object that is closed, and so are all in it: each says `"additionalProperties":false` and
/// requires every property that it has, and no other. Of a client of another vendor's format it also has nothing but what
/// the vendor is known to take; one of its own formats knows that by itself.
pub(super) fn is_closed(schema: &Json<'_>, origin: Format) -> bool {
    let read = One::read(&mut schema.cursor());
    let knows = wire(origin).spec().object_answers;
    read.is_ok_and(|one| one.fits() && one.is_object && !one.has_choice && (knows || !one.is_strange()))
}

/// What a request of `origin` tells a server of `strict` for an answer by `schema`. Where the client's format always holds
/// an answer to its schema and the vendor's servers cannot, that is lost. Of other makers' servers (`compatible`) some hold
/// to a schema anyway and some refuse the word for most of their models: they are told nothing that no client said.
pub(super) fn of_answer(
    strict: Strict,
    schema: Option<&Json<'_>>,
    (origin, compatible): (Format, bool),
    losses: &mut Losses,
) -> Option<bool> {
    match strict {
        Strict::Unsaid => None,
        Strict::Always if compatible => None,
        Strict::Said(said) => Some(said),
        Strict::Always if schema.is_some_and(|schema| is_closed(schema, origin)) => Some(true),
        Strict::Always => {
            let place = Place::Pointer(Cow::Borrowed(wire(origin).pointer(Field::Output)));
            let reason = "the schema is not such as the vendor's strict mode wants: the answer may not fit it";
            losses.add(Field::Strict, Action::Converted, place, reason);
            None
        }
    }
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
    /// Keywords that it has.
    keywords: usize,
    /// It names another schema, beside which it must say nothing.
    refers: bool,
    /// It says of what type values are.
    has_type: bool,
    /// Something in it does not fit.
    unfit: bool,
    /// Something in it is not known to be taken.
    strange: bool,
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
        let says_more = self.refers && self.keywords > 1;
        !self.unfit && !open && !says_more && (self.has_items || !self.is_array)
    }

    /// True where it is not known to be taken: it says something else, or not even of what type values are.
    fn is_strange(&self) -> bool {
        self.strange || !(self.has_type || self.refers || self.has_choice)
    }

    fn keyword(&mut self, key: &str, value: &mut Cursor<'_>) -> Result<(), JsonError> {
        self.keywords += 1;
        self.has_type |= key == "type";
        match (key, value.peek()?) {
            ("$ref", Kind::String) => {
                self.refers = true;
                self.strange |= !value.string()?.starts_with('#');
            }
            ("pattern", Kind::String) => {
                let pattern = value.string()?;
                self.strange |= LOOKING_AROUND.iter().any(|group| pattern.contains(group));
            }
            ("const", kind) => self.scalar(kind),
            ("enum", Kind::Array) => value.array::<JsonError>(|_, value| {
                self.scalar(value.peek()?);
                Ok(())
            })?,
            ("format", Kind::String) => self.unfit |= !TEXTS.contains(&value.string()?.as_ref()),
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
            (key, _) => self.strange |= !TAKEN.contains(&key),
        }
        Ok(())
    }

    /// Values that are said one by one are no objects and no lists.
    fn scalar(&mut self, kind: Kind) {
        self.strange |= matches!(kind, Kind::Object | Kind::Array);
    }

    fn kind(&mut self, word: &str) {
        self.is_object |= word == "object";
        self.is_array |= word == "array";
    }

    fn inner(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        let inner = Self::read(cursor)?;
        self.unfit |= !inner.fits();
        self.strange |= inner.is_strange();
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
            within(&within(r#"{"type":"null"}"#)),
            within(r#"{"type":"string","pattern":"^a(?:b|c)$","title":"t","description":"d"}"#),
            within(r#"{"type":"integer","const":1}"#),
            within(r#"{"type":"string","format":"date-time"}"#),
            within(&within(r##"{"$ref":"#"}"##)),
            within(r#"{"type":"array","items":{"type":"number","multipleOf":2,"exclusiveMinimum":0},"minItems":1,"maxItems":3}"#),
            r#"{"type":"object","properties":{"properties":{"type":"string"},"not":{"type":"string"}},"required":["not","properties"],"additionalProperties":false}"#.to_owned(),
            r#"{"type":"object","properties":{"a":{"type":["string","null"],"enum":["\"properties\"",null]}},"required":["a"],"additionalProperties":false}"#.to_owned(),
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
            within(r#"{"type":"string","format":"uri"}"#),
            within(r##"{"$ref":"#/$defs/b","description":"d"}"##),
            within(r#"{"oneOf":[{"type":"string"}]}"#),
            within(r#"{"anyOf":[{"type":"object","properties":{"b":{}},"additionalProperties":false}]}"#),
            r#"{"anyOf":[{"type":"string"}]}"#.to_owned(),
            r#"{"type":"object","properties":{},"additionalProperties":false,"$defs":{"b":{"type":"object"}}}"#
                .to_owned(),
        ];
        for (schemas, expected) in [(&closed[..], true), (&open[..], false)] {
            for schema in schemas {
                assert_eq!(
                    is_closed(&Json::from_valid(schema.as_str()), Format::AnthropicMessages),
                    expected,
                    "{schema}"
                );
            }
        }
    }

    /// Each was answered with a 400, or is on no list of what is taken.
    #[test]
    fn what_is_not_known_to_be_taken_is_only_the_vendors_own_clients_to_say() {
        for inner in [
            "{}",
            r#"{"description":"anything"}"#,
            r#"{"enum":["a","b"]}"#,
            r#"{"const":"a"}"#,
            r#"{"type":"string","pattern":"^(?!x).*$"}"#,
            r#"{"type":"string","pattern":"(?<=a)b"}"#,
            r#"{"type":"array","items":{"type":"string"},"uniqueItems":true}"#,
            r#"{"type":["string","object"],"enum":["a",{"x":1}],"additionalProperties":false}"#,
            r#"{"type":"string","contentEncoding":"base64"}"#,
            r#"{"type":"string","default":"a"}"#,
            r#"{"type":"string","examples":["a"]}"#,
            r#"{"type":"string","minLength":1}"#,
            r#"{"type":"string","format":null}"#,
            r#"{"type":"string","oneOf":[{"type":"string"}]}"#,
            r#"{"anyOf":[{"type":"string"},{}]}"#,
            r#"{"$ref":"https://example.com/a"}"#,
        ] {
            let schema = format!(
                r#"{{"type":"object","properties":{{"a":{inner}}},"required":["a"],"additionalProperties":false}}"#
            );
            let schema = Json::from_valid(schema);
            for (origin, expected) in [
                (Format::AnthropicMessages, false),
                (Format::GeminiGenerate, false),
                (Format::OpenaiChat, true),
                (Format::OpenaiResponses, true),
            ] {
                assert_eq!(is_closed(&schema, origin), expected, "{origin:?} {inner}");
            }
        }
    }
}

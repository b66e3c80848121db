//! Makes a value that fits a JSON schema: the arguments of a simulated tool call, a simulated structured answer.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::content::{escape_into, quoted};

/// JSON text that fits the schema as far as the simulator understands it: types, properties, items, enums, constants.
///
/// Every string holds a quote, a backslash and characters of several bytes, because those are what a translation
/// breaks first. A schema that cannot be read gives `{}`.
pub(super) fn sample(schema: Option<&RawValue>) -> String {
    let mut out = String::new();
    match schema.and_then(|raw| serde_json::from_str::<Schema>(raw.get()).ok()) {
        Some(schema) => write(&mut out, &schema, "value", MAX_DEPTH),
        None => out.push_str("{}"),
    }
    out
}

/// How deep a sample goes before a value becomes `null`.
const MAX_DEPTH: usize = 16;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Schema {
    #[serde(rename = "type")]
    kind: Type,
    properties: Properties,
    items: Option<Box<Schema>>,
    #[serde(rename = "enum")]
    one_of: Option<Vec<Box<RawValue>>>,
    #[serde(rename = "const")]
    constant: Option<Box<RawValue>>,
    #[serde(rename = "anyOf")]
    any_of: Option<Vec<Schema>>,
}

/// `"type"`: its one name, or the first of a list.
#[derive(Default)]
struct Type(String);

impl<'de> Deserialize<'de> for Type {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TypeVisitor;
        impl<'de> Visitor<'de> for TypeVisitor {
            type Value = Type;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a type name or a list of them")
            }

            fn visit_str<E>(self, name: &str) -> Result<Type, E> {
                Ok(Type(name.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Type, A::Error> {
                let first: Option<String> = seq.next_element()?;
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Type(first.unwrap_or_default()))
            }
        }
        from.deserialize_any(TypeVisitor)
    }
}

/// Properties in the order in which they are written.
#[derive(Default)]
struct Properties(Vec<(String, Schema)>);

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct PropertiesVisitor;
        impl<'de> Visitor<'de> for PropertiesVisitor {
            type Value = Properties;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of schemas")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
                let mut properties = Vec::new();
                while let Some(property) = map.next_entry()? {
                    properties.push(property);
                }
                Ok(Properties(properties))
            }
        }
        from.deserialize_map(PropertiesVisitor)
    }
}

fn write(out: &mut String, schema: &Schema, name: &str, depth: usize) {
    if depth == 0 {
        return out.push_str("null");
    }
    let fixed = schema.constant.as_ref().or_else(|| schema.one_of.as_ref()?.first());
    if let Some(fixed) = fixed {
        return out.push_str(fixed.get());
    }
    if let Some(first) = schema.any_of.as_ref().and_then(|any| any.first()) {
        return write(out, first, name, depth - 1);
    }
    match schema.kind.0.as_str() {
        "integer" => out.push('3'),
        "number" => out.push_str("21.5"),
        "boolean" => out.push_str("true"),
        "null" => out.push_str("null"),
        "array" => {
            out.push('[');
            if let Some(items) = &schema.items {
                write(out, items, name, depth - 1);
            }
            out.push(']');
        }
        "object" | "" => {
            out.push('{');
            for (i, (key, property)) in schema.properties.0.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                out.push_str(&quoted(key));
                out.push(':');
                write(out, property, key, depth - 1);
            }
            out.push('}');
        }
        _ => {
            out.push('"');
            escape_into(out, name);
            escape_into(out, ": \"Zürich\" \\ 東京 🌊");
            out.push('"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &str, expect: &str) {
        let raw = RawValue::from_string(schema.to_owned()).unwrap();
        let got = sample(Some(&raw));
        assert_eq!(got, expect);
        serde_json::from_str::<IgnoredAny>(&got).unwrap();
    }

    #[test]
    fn samples_fit_their_schema() {
        check(
            r#"{"type":"object","properties":{"z":{"type":["integer","null"]},"a":{"enum":["x","y"]}}}"#,
            r#"{"z":3,"a":"x"}"#,
        );
        check(r#"{"type":"array","items":{"type":"boolean"}}"#, "[true]");
        check(
            r#"{"properties":{"c":{"const":7},"d":{"anyOf":[{"type":"number"},{"type":"null"}]}}}"#,
            r#"{"c":7,"d":21.5}"#,
        );
        check(r#"{"type":"string"}"#, r#""value: \"Zürich\" \\ 東京 🌊""#);
        check(r#"{"properties":5}"#, "{}");
        assert_eq!(sample(None), "{}");
    }
}

//! The vendor's own dialect of schemas (a subset of `OpenAPI` 3.0), read as JSON Schema.
//!
//! ```text
//! {"type":"STRING","nullable":true,"format":"enum","enum":["a"]}  ─▶  {"type":["string","null"],"enum":["a",null]}
//! ```

use std::collections::BTreeMap;

use super::wire::{camel, word};
use crate::json::{Cursor, Json, JsonError, Kind, Text};

/// `schema` as JSON Schema, and a keyword whose value makes none; one that cannot be read stays as it is.
pub(super) fn json_schema<'a>(schema: &Json<'a>) -> (Json<'a>, Option<&'static str>) {
    translated(schema, true)
}

/// The schema of a function's arguments, as [`json_schema`]: they are an object, never nothing.
pub(super) fn of_arguments<'a>(schema: &Json<'a>) -> (Json<'a>, Option<&'static str>) {
    translated(schema, false)
}

fn translated<'a>(schema: &Json<'a>, nullable: bool) -> (Json<'a>, Option<&'static str>) {
    let mut out = Out { text: String::with_capacity(schema.as_str().len() + 32), lost: None };
    match write_one(&mut schema.cursor(), nullable, &mut out) {
        Ok(()) => (Json::from_valid(out.text), out.lost),
        Err(_) => (schema.clone(), None),
    }
}

/// What is written.
#[derive(Debug, Default)]
struct Out {
    text: String,
    /// A keyword that was left out.
    lost: Option<&'static str>,
}

impl Out {
    fn push(&mut self, letter: char) {
        self.text.push(letter);
    }

    fn push_str(&mut self, text: &str) {
        self.text.push_str(text);
    }
}

fn write_schema(cursor: &mut Cursor<'_>, out: &mut Out) -> Result<(), JsonError> {
    write_one(cursor, true, out)
}

/// `nullable` is false where "or nothing" cannot be said.
fn write_one(cursor: &mut Cursor<'_>, nullable: bool, out: &mut Out) -> Result<(), JsonError> {
    if cursor.peek()? != Kind::Object {
        out.push_str(cursor.json()?.as_str());
        return Ok(());
    }
    let mut traits = Traits::read(cursor.clone())?;
    traits.nullable &= nullable;
    // With neither a type nor a choice to say it in, "or nothing" is a choice of its own.
    let wrapped = traits.nullable && traits.kind.is_empty() && !traits.has_choice;
    if wrapped {
        out.push_str("{\"anyOf\":[");
    }
    let mut first = true;
    out.push('{');
    cursor.object::<JsonError>(|key, value| traits.write_field(&camel(&key), value, &mut first, out))?;
    out.push('}');
    if wrapped {
        out.push_str(",{\"type\":\"null\"}]}");
    }
    Ok(())
}

/// The words of `type`, each at its number.
const TYPES: [&str; 8] = ["TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"];

/// Keywords of whole numbers, which are 64-bit ones: strings in the vendor's JSON.
const COUNTS: [&str; 6] = ["minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"];

/// What one field of a schema says about others.
#[derive(Debug, Default)]
struct Traits {
    nullable: bool,
    /// The type in small letters; empty where there is none.
    kind: String,
    /// There is `anyOf` or `oneOf`.
    has_choice: bool,
    /// `propertyOrdering`, the place of each name: here the order is that of the object itself.
    order: BTreeMap<String, usize>,
}

impl Traits {
    fn read(mut cursor: Cursor<'_>) -> Result<Self, JsonError> {
        let mut traits = Self::default();
        cursor.object::<JsonError>(|key, value| {
            match (camel(&key).as_ref(), value.peek()?) {
                ("nullable", Kind::Bool) => traits.nullable = value.bool()?,
                ("type", Kind::String | Kind::Number) => traits.kind = word(value, &TYPES)?.to_ascii_lowercase(),
                ("anyOf" | "oneOf", Kind::Array) => traits.has_choice = true,
                ("propertyOrdering", Kind::Array) => value.array::<JsonError>(|_, name| {
                    if name.peek()? == Kind::String {
                        let place = traits.order.len();
                        traits.order.entry(name.string()?.into_owned()).or_insert(place);
                    }
                    Ok(())
                })?,
                _ => {}
            }
            Ok(())
        })?;
        if traits.kind == "type_unspecified" {
            traits.kind.clear();
        }
        Ok(traits)
    }

    fn write_field(
        &self,
        name: &str,
        value: &mut Cursor<'_>,
        first: &mut bool,
        out: &mut Out,
    ) -> Result<(), JsonError> {
        let kind = value.peek()?;
        let is_word = matches!(kind, Kind::String | Kind::Number);
        let name = match name {
            "defs" => "$defs",
            "ref" => "$ref",
            name => name,
        };
        match name {
            // What is not set; but nothing can be what is meant where nothing else is said.
            name if kind == Kind::Null && name != "default" => return value.skip(),
            "nullable" | "propertyOrdering" => return value.skip(),
            "type" if is_word && self.kind.is_empty() => return value.skip(),
            "example" => return example(value, first, out),
            name if kind == Kind::String && COUNTS.contains(&name) => return write_count(name, value, first, out),
            "format" if kind == Kind::String && value.clone().string()? == "enum" => return value.skip(),
            _ => write_key(name, first, out),
        }
        match name {
            "type" if is_word => {
                value.skip()?;
                self.write_type(out);
            }
            "enum" if kind == Kind::Array => self.write_enum(value, out)?,
            "properties" if kind == Kind::Object => self.write_properties(value, out)?,
            "$ref" if kind == Kind::String => write_reference(value, out)?,
            "$defs" if kind == Kind::Object => write_named(value, out)?,
            "items" | "additionalProperties" => write_schema(value, out)?,
            "anyOf" | "oneOf" if kind == Kind::Array => write_list(value, self.nullable, out)?,
            "allOf" | "prefixItems" if kind == Kind::Array => write_list(value, false, out)?,
            _ => out.push_str(value.json()?.as_str()),
        }
        Ok(())
    }

    /// Types are in capitals; clients write them either way.
    fn write_type(&self, out: &mut Out) {
        let word = Text::from_plain(&self.kind);
        if self.nullable && self.kind != "null" {
            out.push_str(&format!("[\"{}\",\"null\"]", word.escaped()));
        } else {
            out.push_str(&format!("\"{}\"", word.escaped()));
        }
    }

    /// The vendor's values are strings, whatever the type.
    fn write_enum(&self, value: &mut Cursor<'_>, out: &mut Out) -> Result<(), JsonError> {
        let (mut any, mut any_null) = (false, false);
        out.push('[');
        value.array::<JsonError>(|_, value| {
            let json = value.json()?;
            if std::mem::replace(&mut any, true) {
                out.push(',');
            }
            any_null |= json.kind() == Kind::Null;
            out.push_str(self.of_type(&json).unwrap_or(json.as_str()));
            Ok(())
        })?;
        if self.nullable && any && !any_null {
            out.push_str(",null");
        }
        out.push(']');
        Ok(())
    }

    /// What the string `json` says as a value of the type, where that is no string.
    fn of_type<'j>(&self, json: &'j Json<'_>) -> Option<&'j str> {
        let (inside, kind) = inside(json)?;
        let fits = match self.kind.as_str() {
            "integer" | "number" => kind == Kind::Number,
            "boolean" => kind == Kind::Bool,
            _ => false,
        };
        fits.then_some(inside)
    }

    /// Properties, those with a place in the order by it.
    fn write_properties(&self, cursor: &mut Cursor<'_>, out: &mut Out) -> Result<(), JsonError> {
        if self.order.is_empty() {
            return write_named(cursor, out);
        }
        let mut written: Vec<(usize, Out)> = Vec::new();
        cursor.object::<JsonError>(|key, value| {
            let place = self.order.get(key.as_ref()).copied().unwrap_or(usize::MAX);
            let mut one = Out::default();
            write_key(&key, &mut true, &mut one);
            write_schema(value, &mut one)?;
            written.push((place, one));
            Ok(())
        })?;
        written.sort_by_key(|(place, _)| *place);
        out.push('{');
        for (index, (_, one)) in written.iter().enumerate() {
            out.push_str(if index > 0 { "," } else { "" });
            out.push_str(&one.text);
            out.lost = out.lost.or(one.lost);
        }
        out.push('}');
        Ok(())
    }
}

/// The JSON that the string `json` holds, and its kind.
fn inside<'j>(json: &'j Json<'_>) -> Option<(&'j str, Kind)> {
    let inside = json.as_str().strip_prefix('"')?.strip_suffix('"')?;
    let kind = Cursor::over(inside).json().ok().filter(|json| json.as_str() == inside)?.kind();
    Some((inside, kind))
}

/// A number in a string; any other string would be no JSON without its quotes, and no count with them.
fn write_count(name: &str, value: &mut Cursor<'_>, first: &mut bool, out: &mut Out) -> Result<(), JsonError> {
    let json = value.json()?;
    match inside(&json) {
        Some((number, Kind::Number)) => {
            write_key(name, first, out);
            out.push_str(number);
        }
        _ => out.lost = out.lost.or(COUNTS.into_iter().find(|count| *count == name)),
    }
    Ok(())
}

/// `#/defs/name`, as the dialect has it, is `#/$defs/name`.
fn write_reference(value: &mut Cursor<'_>, out: &mut Out) -> Result<(), JsonError> {
    let said = value.text()?;
    let (begin, name) = said.escaped().strip_prefix("#/defs/").map_or(("", said.escaped()), |name| ("#/$defs/", name));
    for part in ["\"", begin, name, "\""] {
        out.push_str(part);
    }
    Ok(())
}

fn example(value: &mut Cursor<'_>, first: &mut bool, out: &mut Out) -> Result<(), JsonError> {
    write_key("examples", first, out);
    out.push('[');
    out.push_str(value.json()?.as_str());
    out.push(']');
    Ok(())
}

/// Names of properties are names, whatever they read.
fn write_named(cursor: &mut Cursor<'_>, out: &mut Out) -> Result<(), JsonError> {
    let mut first = true;
    out.push('{');
    cursor.object::<JsonError>(|key, value| {
        write_key(&key, &mut first, out);
        write_schema(value, out)
    })?;
    out.push('}');
    Ok(())
}

fn write_list(cursor: &mut Cursor<'_>, or_null: bool, out: &mut Out) -> Result<(), JsonError> {
    let mut any = false;
    out.push('[');
    cursor.array::<JsonError>(|_, element| {
        if std::mem::replace(&mut any, true) {
            out.push(',');
        }
        write_schema(element, out)
    })?;
    if or_null && any {
        out.push_str(",{\"type\":\"null\"}");
    }
    out.push(']');
    Ok(())
}

fn write_key(key: &str, first: &mut bool, out: &mut Out) {
    if !std::mem::replace(first, false) {
        out.push(',');
    }
    out.push('"');
    out.push_str(Text::from_plain(key).escaped());
    out.push_str("\":");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_dialect() {
        for (own, standard) in [
            (r#"{"type":"STRING"}"#, r#"{"type":"string"}"#),
            (r#"{"type":"string","nullable":true}"#, r#"{"type":["string","null"]}"#),
            (
                r#"{"type":"STRING","format":"enum","enum":["a"],"nullable":true}"#,
                r#"{"type":["string","null"],"enum":["a",null]}"#,
            ),
            (
                r#"{"type":"OBJECT","properties":{"nullable":{"type":"ARRAY","items":{"type":"INTEGER"},"min_items":"2"}},"propertyOrdering":["nullable"],"required":["nullable"]}"#,
                r#"{"type":"object","properties":{"nullable":{"type":"array","items":{"type":"integer"},"minItems":2}},"required":["nullable"]}"#,
            ),
            (
                r#"{"type":"INTEGER","format":"enum","enum":["1","2","x"],"nullable":true}"#,
                r#"{"type":["integer","null"],"enum":[1,2,"x",null]}"#,
            ),
            (r#"{"type":"STRING","enum":["1"]}"#, r#"{"type":"string","enum":["1"]}"#),
            (
                r#"{"anyOf":[{"type":"STRING"},{"type":"TYPE_UNSPECIFIED"}],"nullable":true}"#,
                r#"{"anyOf":[{"type":"string"},{},{"type":"null"}]}"#,
            ),
            (r##"{"$ref":"#/$defs/A","nullable":true}"##, r##"{"anyOf":[{"$ref":"#/$defs/A"},{"type":"null"}]}"##),
            (
                r#"{"type":"OBJECT","properties":{"c":{},"b":{},"a":{}},"propertyOrdering":["a","b"]}"#,
                r#"{"type":"object","properties":{"a":{},"b":{},"c":{}}}"#,
            ),
            (
                r#"{"properties":{"c":{},"b":{},"a":{}},"propertyOrdering":["b","a","b","c"]}"#,
                r#"{"properties":{"b":{},"a":{},"c":{}}}"#,
            ),
            (r#"{"minItems":"-1.5e3","maxItems":2}"#, r#"{"minItems":-1.5e3,"maxItems":2}"#),
            (
                r#"{"minItems":"abc","maxItems":"01","minLength":"","maxLength":"1 ","type":"STRING"}"#,
                r#"{"type":"string"}"#,
            ),
            (r#"{"any_of":[{"type":"NUMBER","example":1.0}]}"#, r#"{"anyOf":[{"type":"number","examples":[1.0]}]}"#),
        ] {
            assert_eq!(json_schema(&Json::from_valid(own)).0.as_str(), standard);
        }
    }

    /// Work grows with the names, not with their square: this would take minutes.
    #[test]
    fn orders_thousands_of_properties() {
        let list = |one: &dyn Fn(usize) -> String| (0..200_000).map(one).collect::<Vec<_>>().join(",");
        let names = list(&|n| format!("\"p{n}\""));
        let (up, down) = (list(&|n| format!("\"p{n}\":{{}}")), list(&|n| format!("\"p{}\":{{}}", 199_999 - n)));
        let own = Json::from_valid(format!("{{\"properties\":{{{down}}},\"propertyOrdering\":[{names}]}}"));
        assert_eq!(json_schema(&own).0.as_str(), format!("{{\"properties\":{{{up}}}}}"));
    }
}

//! The vendor's own dialect of schemas (a subset of `OpenAPI` 3.0), read as JSON Schema.
//!
//! ```text
//! {"type":"STRING","nullable":true,"format":"enum","enum":["a"]}  ─▶  {"type":["string","null"],"enum":["a",null]}
//! ```

use super::wire::camel;
use crate::json::{Cursor, Json, JsonError, Kind, Text};

/// `schema` as JSON Schema; one that cannot be read stays as it is.
pub(super) fn json_schema<'a>(schema: &Json<'a>) -> Json<'a> {
    let mut out = String::with_capacity(schema.as_str().len() + 32);
    match write_schema(&mut schema.cursor(), &mut out) {
        Ok(()) => Json::from_valid(out),
        Err(_) => schema.clone(),
    }
}

fn write_schema(cursor: &mut Cursor<'_>, out: &mut String) -> Result<(), JsonError> {
    if cursor.peek()? != Kind::Object {
        out.push_str(cursor.json()?.as_str());
        return Ok(());
    }
    let nullable = is_nullable(cursor.clone())?;
    let mut first = true;
    out.push('{');
    cursor.object::<JsonError>(|key, value| {
        let name = camel(&key);
        match name.as_ref() {
            // The order of properties is that of the object itself here; `nullable` is in the type.
            "nullable" | "propertyOrdering" => return value.skip(),
            "example" => return example(value, &mut first, out),
            "format" if value.peek()? == Kind::String && value.clone().string()? == "enum" => return value.skip(),
            _ => {}
        }
        write_key(&name, &mut first, out);
        match name.as_ref() {
            "type" => write_type(value, nullable, out),
            "enum" => write_enum(value, nullable, out),
            "properties" | "defs" | "$defs" if value.peek()? == Kind::Object => write_named(value, out),
            "items" | "additionalProperties" => write_schema(value, out),
            "anyOf" | "oneOf" | "allOf" | "prefixItems" if value.peek()? == Kind::Array => write_list(value, out),
            // 64-bit numbers are strings in the vendor's JSON.
            "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => {
                let json = value.json()?;
                out.push_str(json.as_str().trim_matches('"'));
                Ok(())
            }
            _ => {
                out.push_str(value.json()?.as_str());
                Ok(())
            }
        }
    })?;
    out.push('}');
    Ok(())
}

fn is_nullable(mut cursor: Cursor<'_>) -> Result<bool, JsonError> {
    let mut nullable = false;
    cursor.object::<JsonError>(|key, value| {
        if key == "nullable" && value.peek()? == Kind::Bool {
            nullable = value.bool()?;
        }
        Ok(())
    })?;
    Ok(nullable)
}

fn example(value: &mut Cursor<'_>, first: &mut bool, out: &mut String) -> Result<(), JsonError> {
    write_key("examples", first, out);
    out.push('[');
    out.push_str(value.json()?.as_str());
    out.push(']');
    Ok(())
}

/// Types are in capitals; clients write them either way.
fn write_type(value: &mut Cursor<'_>, nullable: bool, out: &mut String) -> Result<(), JsonError> {
    if value.peek()? != Kind::String {
        out.push_str(value.json()?.as_str());
        return Ok(());
    }
    let word = Text::from_plain(&value.string()?.to_ascii_lowercase()).escaped().to_owned();
    if nullable && word != "null" {
        out.push_str(&format!("[\"{word}\",\"null\"]"));
    } else {
        out.push_str(&format!("\"{word}\""));
    }
    Ok(())
}

fn write_enum(value: &mut Cursor<'_>, nullable: bool, out: &mut String) -> Result<(), JsonError> {
    let json = value.json()?;
    let list = json.as_str().trim();
    match list.strip_suffix(']') {
        Some(open) if nullable && !list.contains("null") && !json.is_empty() => {
            out.push_str(open);
            out.push_str(",null]");
        }
        _ => out.push_str(list),
    }
    Ok(())
}

/// Names of properties are names, whatever they read.
fn write_named(cursor: &mut Cursor<'_>, out: &mut String) -> Result<(), JsonError> {
    let mut first = true;
    out.push('{');
    cursor.object::<JsonError>(|key, value| {
        write_key(&key, &mut first, out);
        write_schema(value, out)
    })?;
    out.push('}');
    Ok(())
}

fn write_list(cursor: &mut Cursor<'_>, out: &mut String) -> Result<(), JsonError> {
    out.push('[');
    cursor.array::<JsonError>(|index, element| {
        if index > 0 {
            out.push(',');
        }
        write_schema(element, out)
    })?;
    out.push(']');
    Ok(())
}

fn write_key(key: &str, first: &mut bool, out: &mut String) {
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
            (r#"{"any_of":[{"type":"NUMBER","example":1.0}]}"#, r#"{"anyOf":[{"type":"number","examples":[1.0]}]}"#),
        ] {
            assert_eq!(json_schema(&Json::from_valid(own)).as_str(), standard);
        }
    }
}

//! JSON schemas for answers, as the format wants them: closed objects.

use crate::json::{Cursor, Json, JsonError, Kind, Text};

/// The schema with `"additionalProperties":false` in every object schema that does not say; `None` if nothing lacked
/// it. Names of properties are names, whatever they read.
pub(super) fn closed(schema: &Json<'_>) -> Option<Json<'static>> {
    let mut out = String::with_capacity(schema.as_str().len() + 64);
    let mut changed = false;
    write_schema(&mut schema.cursor(), &mut out, &mut changed).ok()?;
    changed.then(|| Json::from_valid(out))
}

fn write_schema(cursor: &mut Cursor<'_>, out: &mut String, changed: &mut bool) -> Result<(), JsonError> {
    if cursor.peek()? != Kind::Object {
        return copy(cursor, out);
    }
    let (mut is_object, mut is_closed, mut first) = (false, false, true);
    out.push('{');
    cursor.object::<JsonError>(|key, value| {
        write_key(&key, &mut first, out);
        match key.as_ref() {
            "type" => {
                is_object |= value.peek()? == Kind::String && value.clone().string()? == "object";
                copy(value, out)
            }
            "additionalProperties" => {
                is_closed = true;
                write_schema(value, out, changed)
            }
            "properties" | "$defs" | "definitions" | "patternProperties" if value.peek()? == Kind::Object => {
                is_object |= key == "properties";
                write_named(value, out, changed)
            }
            "anyOf" | "oneOf" | "allOf" | "prefixItems" if value.peek()? == Kind::Array => {
                write_list(value, out, changed)
            }
            "items" | "not" | "contains" => write_schema(value, out, changed),
            _ => copy(value, out),
        }
    })?;
    if is_object && !is_closed {
        *changed = true;
        write_key("additionalProperties", &mut first, out);
        out.push_str("false");
    }
    out.push('}');
    Ok(())
}

fn write_named(cursor: &mut Cursor<'_>, out: &mut String, changed: &mut bool) -> Result<(), JsonError> {
    let mut first = true;
    out.push('{');
    cursor.object::<JsonError>(|key, value| {
        write_key(&key, &mut first, out);
        write_schema(value, out, changed)
    })?;
    out.push('}');
    Ok(())
}

fn write_list(cursor: &mut Cursor<'_>, out: &mut String, changed: &mut bool) -> Result<(), JsonError> {
    out.push('[');
    cursor.array::<JsonError>(|index, element| {
        if index > 0 {
            out.push(',');
        }
        write_schema(element, out, changed)
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

fn copy(cursor: &mut Cursor<'_>, out: &mut String) -> Result<(), JsonError> {
    out.push_str(cursor.json()?.as_str());
    Ok(())
}

/// The schema of a tool's arguments: always an object's.
pub(super) fn of_arguments<'a>(schema: Option<&'a Json<'a>>) -> Json<'a> {
    const NOTHING: &str = r#"{"type":"object","properties":{}}"#;
    let Some(schema) = schema.filter(|schema| !schema.is_empty() && schema.kind() == Kind::Object) else {
        return Json::from_valid(NOTHING);
    };
    let has_type = super::wire::type_is_there(&schema.cursor());
    match schema.as_str().trim_start().strip_prefix('{') {
        Some(rest) if !has_type => Json::from_valid(format!(r#"{{"type":"object",{rest}"#)),
        _ => schema.by_ref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_objects_and_nothing_else() {
        for (schema, expected) in [
            (
                r#"{"type":"object","properties":{}}"#,
                r#"{"type":"object","properties":{},"additionalProperties":false}"#,
            ),
            (r#"{"type":"object","additionalProperties":false}"#, ""),
            (r#"{"type":"string"}"#, ""),
            (
                r#"{"properties":{"properties":{"type":"array","items":{"type":"object"}}},"additionalProperties":false}"#,
                r#"{"properties":{"properties":{"type":"array","items":{"type":"object","additionalProperties":false}}},"additionalProperties":false}"#,
            ),
            (
                r#"{"$defs":{"type":{"type":"object"}},"anyOf":[{"$ref":"x"}],"enum":[{"type":"object"}]}"#,
                r#"{"$defs":{"type":{"type":"object","additionalProperties":false}},"anyOf":[{"$ref":"x"}],"enum":[{"type":"object"}]}"#,
            ),
        ] {
            let found = closed(&Json::from_valid(schema));
            assert_eq!(found.as_ref().map_or("", Json::as_str), expected, "{schema}");
        }
    }

    #[test]
    fn trap_c20_arguments_are_an_object() {
        for (schema, expected) in [
            (None, r#"{"type":"object","properties":{}}"#),
            (Some("{}"), r#"{"type":"object","properties":{}}"#),
            (Some("null"), r#"{"type":"object","properties":{}}"#),
            (Some(r#"{"properties":{"type":{}}}"#), r#"{"type":"object","properties":{"type":{}}}"#),
            (Some(r#"{"type":"object","x":1.0}"#), r#"{"type":"object","x":1.0}"#),
        ] {
            let schema = schema.map(Json::from_valid);
            assert_eq!(of_arguments(schema.as_ref()).as_str(), expected);
        }
    }
}

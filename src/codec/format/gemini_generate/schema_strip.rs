//! JSON Schema for fields that take it: as it came, without what only names the document.

use crate::json::{Json, JsonError, Kind, Text};

/// Keys of a schema document that say nothing of values, and that the provider refuses.
const UNKNOWN: [&str; 4] = ["$schema", "$id", "$comment", "$vocabulary"];

/// `schema` without those keys at its top; other schemas below are left as they are, as are names of properties.
pub(super) fn stripped<'a>(schema: &'a Json<'_>) -> Json<'a> {
    if schema.kind() != Kind::Object || !UNKNOWN.iter().any(|key| schema.as_str().contains(key)) {
        return schema.by_ref();
    }
    let mut out = String::with_capacity(schema.as_str().len());
    let read = schema.cursor().object::<JsonError>(|key, value| {
        if !UNKNOWN.contains(&key.as_ref()) {
            out.push(if out.is_empty() { '{' } else { ',' });
            out.push('"');
            out.push_str(Text::from_plain(&key).escaped());
            out.push_str("\":");
            out.push_str(value.json()?.as_str());
        }
        Ok(())
    });
    if out.is_empty() {
        out.push('{');
    }
    out.push('}');
    if read.is_ok() { Json::from_valid(out) } else { schema.by_ref() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_all_but_the_documents_name() {
        for (schema, expected) in [
            (
                r#"{"$schema":"s","type":"object","properties":{"$id":{"type":"string"}}}"#,
                r#"{"type":"object","properties":{"$id":{"type":"string"}}}"#,
            ),
            (r#"{"$id":"x"}"#, "{}"),
            (
                r#"{"type" : "object","additionalProperties":false}"#,
                r#"{"type" : "object","additionalProperties":false}"#,
            ),
            ("true", "true"),
        ] {
            assert_eq!(stripped(&Json::from_valid(schema)).as_str(), expected);
        }
    }
}

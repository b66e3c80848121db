//! JSON Schema in the vendor's own dialect, for models and clouds that take nothing else.
//!
//! What the dialect has no word for is told in the description, so that the model still sees it.

use std::fmt::Write as _;

use crate::json::{Cursor, Json, JsonError, Kind, Text};

/// Deepest chain of references that is followed; a schema that refers to itself ends in an open object.
const DEEPEST: usize = 8;
/// Longest schema that references are written out to, in bytes.
const LONGEST: usize = 1 << 20;

/// A schema in the dialect.
#[derive(Debug)]
pub(super) struct Written {
    /// The schema.
    pub schema: Json<'static>,
    /// Keywords that the dialect has no word for, each once.
    pub lost: Vec<String>,
}

/// Writes `schema` in the dialect.
pub(super) fn own_dialect(schema: &Json<'_>) -> Written {
    let mut scribe = Scribe { root: schema, lost: Vec::new(), out: String::new(), depth: 0 };
    let done = scribe.schema(&mut schema.cursor());
    let Scribe { lost, out, .. } = scribe;
    let schema = if done.is_ok() { out } else { "{\"type\":\"OBJECT\"}".to_owned() };
    Written { schema: Json::from_valid(schema), lost }
}

/// Writes schemas.
struct Scribe<'r> {
    root: &'r Json<'r>,
    lost: Vec<String>,
    out: String,
    depth: usize,
}

/// What a schema says, as far as it is not written as it stands.
#[derive(Default)]
struct Said {
    kind: Option<String>,
    nullable: bool,
    description: Option<String>,
    /// Told in words.
    notes: Vec<String>,
    values: Option<String>,
    minimum: Option<String>,
    maximum: Option<String>,
}

impl Scribe<'_> {
    fn schema(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        if cursor.peek()? != Kind::Object {
            // `true` and `false`: anything, or nothing.
            cursor.skip()?;
            self.out.push_str("{\"type\":\"OBJECT\"}");
            return Ok(());
        }
        if let Some(reference) = reference_of(cursor.clone())? {
            return self.reference(cursor, &reference);
        }
        let mut said = Said::default();
        let mut first = true;
        self.out.push('{');
        cursor.object::<JsonError>(|key, value| self.keyword(&key, value, &mut said, &mut first))?;
        self.said(said, &mut first);
        self.out.push('}');
        Ok(())
    }

    fn keyword(
        &mut self,
        key: &str,
        value: &mut Cursor<'_>,
        said: &mut Said,
        first: &mut bool,
    ) -> Result<(), JsonError> {
        match key {
            "type" => read_type(value, said),
            "description" if value.peek()? == Kind::String => {
                said.description = Some(value.text()?.escaped().to_owned());
                Ok(())
            }
            "nullable" if value.peek()? == Kind::Bool => {
                said.nullable |= value.bool()?;
                Ok(())
            }
            "enum" => read_values(value, said),
            "const" => {
                let json = value.json()?;
                read_values(&mut Json::from_valid(format!("[{}]", json.as_str())).cursor(), said)
            }
            "minimum" => keep_number(value, &mut said.minimum),
            "maximum" => keep_number(value, &mut said.maximum),
            "exclusiveMinimum" | "exclusiveMaximum" if value.peek()? == Kind::Number => {
                self.exclusive(key, value, said)
            }
            "properties" if value.peek()? == Kind::Object => {
                self.key("properties", first);
                self.named(value)
            }
            "items" if value.peek()? == Kind::Object => {
                self.key("items", first);
                self.schema(value)
            }
            "anyOf" | "oneOf" if value.peek()? == Kind::Array => self.any_of(value, said, first),
            "allOf" if value.peek()? == Kind::Array => self.all_of(value, said, first),
            "title" | "format" | "pattern" | "required" | "minItems" | "maxItems" | "minLength" | "maxLength"
            | "minProperties" | "maxProperties" | "propertyOrdering" | "example" => {
                self.key(key, first);
                self.out.push_str(value.json()?.as_str());
                Ok(())
            }
            "$schema" | "$id" | "$comment" | "$defs" | "definitions" => value.skip(),
            // What an object may hold besides says little to a model.
            "additionalProperties" => {
                self.lose(key);
                value.skip()
            }
            _ => {
                self.lose(key);
                said.notes.push(format!("{key}: {}", value.json()?.as_str()));
                Ok(())
            }
        }
    }

    fn said(&mut self, said: Said, first: &mut bool) {
        let Said { kind, nullable, description, notes, values, minimum, maximum } = said;
        if let Some(kind) = &kind {
            self.key("type", first);
            let _ = write!(self.out, "\"{}\"", kind.to_ascii_uppercase());
        }
        if nullable {
            self.key("nullable", first);
            self.out.push_str("true");
        }
        for (key, value) in [("enum", &values), ("minimum", &minimum), ("maximum", &maximum)] {
            if let Some(value) = value {
                self.key(key, first);
                self.out.push_str(value);
            }
        }
        if description.is_some() || !notes.is_empty() {
            self.key("description", first);
            let notes: Vec<String> = notes.iter().map(|note| Text::from_plain(note).escaped().to_owned()).collect();
            let parts: Vec<String> = description.into_iter().chain(notes).collect();
            let _ = write!(self.out, "\"{}\"", parts.join("\\n"));
        }
    }

    /// An exclusive bound of whole numbers is the next one; of others it is told as an inclusive one.
    fn exclusive(&mut self, key: &str, value: &mut Cursor<'_>, said: &mut Said) -> Result<(), JsonError> {
        let number = value.number()?;
        let lower = key == "exclusiveMinimum";
        let next = number.as_str().parse::<i64>().ok().and_then(|whole| whole.checked_add(if lower { 1 } else { -1 }));
        let bound = match next {
            // The type may come later, but a bound that is whole is one of whole numbers nearly always; a fraction
            // between is told in words.
            Some(next) => {
                said.notes.push(format!("{key}: {}", number.as_str()));
                next.to_string()
            }
            None => {
                self.lose(key);
                said.notes.push(format!("{key}: {}", number.as_str()));
                number.as_str().to_owned()
            }
        };
        if lower {
            said.minimum = Some(bound);
        } else {
            said.maximum = Some(bound);
        }
        Ok(())
    }

    /// One of several schemas. `null` among them makes the whole nullable.
    fn any_of(&mut self, value: &mut Cursor<'_>, said: &mut Said, first: &mut bool) -> Result<(), JsonError> {
        let mut list: Vec<Json<'_>> = Vec::new();
        value.array::<JsonError>(|_, element| {
            let json = element.json()?;
            if is_null_type(&json) {
                said.nullable = true;
            } else {
                list.push(json);
            }
            Ok(())
        })?;
        self.key("anyOf", first);
        self.out.push('[');
        for (at, json) in list.iter().enumerate() {
            if at > 0 {
                self.out.push(',');
            }
            self.schema(&mut json.cursor())?;
        }
        self.out.push(']');
        Ok(())
    }

    /// All of one schema is that schema; of several the first is taken, and the others are told in words.
    fn all_of(&mut self, value: &mut Cursor<'_>, said: &mut Said, first: &mut bool) -> Result<(), JsonError> {
        let mut seen = Vec::new();
        value.array::<JsonError>(|index, element| {
            let json = element.json()?;
            let resolved = self.resolved(&json);
            let mut cursor = resolved.cursor();
            if cursor.peek()? != Kind::Object {
                return Ok(());
            }
            if index > 0 {
                self.lose("allOf");
            }
            cursor.object::<JsonError>(|key, value| {
                if seen.contains(&key.to_string()) {
                    said.notes.push(format!("and {key}: {}", value.json()?.as_str()));
                    return Ok(());
                }
                seen.push(key.to_string());
                self.keyword(&key, value, said, first)
            })
        })
    }

    fn named(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        let mut first = true;
        self.out.push('{');
        cursor.object::<JsonError>(|key, value| {
            self.key(Text::from_plain(&key).escaped(), &mut first);
            self.schema(value)
        })?;
        self.out.push('}');
        Ok(())
    }

    fn reference(&mut self, cursor: &mut Cursor<'_>, reference: &str) -> Result<(), JsonError> {
        cursor.skip()?;
        let target = self.find(reference);
        if self.depth >= DEEPEST || self.out.len() > LONGEST || target.is_none() {
            self.lose("$ref");
            self.out.push_str("{\"type\":\"OBJECT\"}");
            return Ok(());
        }
        self.depth += 1;
        let done = match target {
            Some(target) => self.schema(&mut target.cursor()),
            None => Ok(()),
        };
        self.depth -= 1;
        done
    }

    fn resolved(&self, json: &Json<'_>) -> Json<'static> {
        let reference = reference_of(json.cursor()).ok().flatten();
        let target = reference.and_then(|reference| self.find(&reference));
        target.unwrap_or_else(|| json.clone().into_owned())
    }

    /// The schema that `#/$defs/name` stands for.
    fn find(&self, reference: &str) -> Option<Json<'static>> {
        let mut found = self.root.by_ref().into_owned();
        for step in reference.strip_prefix('#')?.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            let mut next = None;
            found
                .cursor()
                .object::<JsonError>(|key, value| {
                    if key == step.as_str() {
                        next = Some(value.json()?.into_owned());
                    }
                    Ok(())
                })
                .ok()?;
            found = next?;
        }
        Some(found)
    }

    fn lose(&mut self, keyword: &str) {
        if !self.lost.iter().any(|known| known == keyword) && self.lost.len() < 32 {
            self.lost.push(keyword.to_owned());
        }
    }

    fn key(&mut self, key: &str, first: &mut bool) {
        if !std::mem::replace(first, false) {
            self.out.push(',');
        }
        let _ = write!(self.out, "\"{key}\":");
    }
}

fn reference_of(mut cursor: Cursor<'_>) -> Result<Option<String>, JsonError> {
    let mut found = None;
    if cursor.peek()? == Kind::Object {
        cursor.object::<JsonError>(|key, value| {
            if key == "$ref" && value.peek()? == Kind::String {
                found = Some(value.string()?.into_owned());
            }
            Ok(())
        })?;
    }
    Ok(found)
}

fn is_null_type(json: &Json<'_>) -> bool {
    let mut is_null = false;
    let read = json.cursor().object::<JsonError>(|key, value| {
        is_null |= key == "type" && value.json()?.as_str() == "\"null\"";
        Ok(())
    });
    read.is_ok() && is_null
}

/// `"string"`, or a list whose `null` makes it nullable; of several others the first counts.
fn read_type(value: &mut Cursor<'_>, said: &mut Said) -> Result<(), JsonError> {
    let mut one = |word: &str| match word {
        "null" => said.nullable = true,
        word if said.kind.is_none() => said.kind = Some(Text::from_plain(word).escaped().to_owned()),
        word => said.notes.push(format!("or of type {word}")),
    };
    match value.peek()? {
        Kind::String => one(&value.string()?),
        Kind::Array => value.array::<JsonError>(|_, element| {
            if element.peek()? == Kind::String {
                one(&element.string()?);
            }
            Ok(())
        })?,
        _ => value.skip()?,
    }
    Ok(())
}

/// The dialect has lists of texts only: other values are told in words.
fn read_values(value: &mut Cursor<'_>, said: &mut Said) -> Result<(), JsonError> {
    if value.peek()? != Kind::Array {
        return value.skip();
    }
    let all = value.clone().json()?;
    let (mut texts, mut others) = (Vec::new(), false);
    value.array::<JsonError>(|_, element| {
        match element.peek()? {
            Kind::String => texts.push(element.json()?.as_str().to_owned()),
            Kind::Null => {
                said.nullable = true;
                element.skip()?;
            }
            _ => {
                others = true;
                element.skip()?;
            }
        }
        Ok(())
    })?;
    if others {
        said.notes.push(format!("one of {}", all.as_str()));
    } else if !texts.is_empty() {
        said.kind.get_or_insert_with(|| "string".to_owned());
        said.values = Some(format!("[{}]", texts.join(",")));
    }
    Ok(())
}

fn keep_number(value: &mut Cursor<'_>, into: &mut Option<String>) -> Result<(), JsonError> {
    if value.peek()? == Kind::Number {
        into.get_or_insert(value.number()?.as_str().to_owned());
        return Ok(());
    }
    value.skip()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &str, expected: &str, lost: &[&str]) {
        let written = own_dialect(&Json::from_valid(schema));
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(written.schema.as_str()), read(expected), "{schema}");
        assert_eq!(written.lost, lost, "{schema}");
    }

    #[test]
    fn trap_c22_every_keyword_is_said_or_told() {
        check(r#"{"type":"string"}"#, r#"{"type":"STRING"}"#, &[]);
        check(
            r#"{"type":["string","null"],"description":"d"}"#,
            r#"{"type":"STRING","nullable":true,"description":"d"}"#,
            &[],
        );
        check(
            r#"{"type":"integer","exclusiveMinimum":0}"#,
            r#"{"type":"INTEGER","minimum":1,"description":"exclusiveMinimum: 0"}"#,
            &[],
        );
        check(r#"{"const":"a"}"#, r#"{"type":"STRING","enum":["a"]}"#, &[]);
        check(r#"{"type":"integer","enum":[1,2]}"#, r#"{"type":"INTEGER","description":"one of [1,2]"}"#, &[]);
        check(
            r#"{"oneOf":[{"type":"string"},{"type":"null"}]}"#,
            r#"{"anyOf":[{"type":"STRING"}],"nullable":true}"#,
            &[],
        );
        check(
            r#"{"anyOf":[{"type":"string"},{"type":"null"},{"type":"integer"},{"type":"boolean"}]}"#,
            r#"{"anyOf":[{"type":"STRING"},{"type":"INTEGER"},{"type":"BOOLEAN"}],"nullable":true}"#,
            &[],
        );
        check(
            r#"{"type":"object","properties":{"a":{"type":"array","items":{"type":"number"},"uniqueItems":true}},"required":["a"],"additionalProperties":false}"#,
            r#"{"type":"OBJECT","properties":{"a":{"type":"ARRAY","items":{"type":"NUMBER"},"description":"uniqueItems: true"}},"required":["a"]}"#,
            &["uniqueItems", "additionalProperties"],
        );
        check(
            r##"{"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"x":{"type":"string"}}}}}"##,
            r#"{"type":"OBJECT","properties":{"x":{"type":"STRING"}}}"#,
            &[],
        );
        check(
            r#"{"allOf":[{"type":"object"},{"required":["a"]}]}"#,
            r#"{"type":"OBJECT","required":["a"]}"#,
            &["allOf"],
        );
    }

    #[test]
    fn a_schema_of_itself_ends() {
        let schema =
            r##"{"$defs":{"n":{"type":"object","properties":{"next":{"$ref":"#/$defs/n"}}}},"$ref":"#/$defs/n"}"##;
        let written = own_dialect(&Json::from_valid(schema));
        assert_eq!(written.lost, ["$ref"]);
        assert!(serde_json::from_str::<serde_json::Value>(written.schema.as_str()).is_ok());
    }

    #[test]
    fn trap_c23_properties_keep_their_names() {
        check(
            r#"{"type":"object","properties":{"default":{"type":"string"},"title":{"type":"string"},"$ref":{"type":"string"}}}"#,
            r#"{"type":"OBJECT","properties":{"default":{"type":"STRING"},"title":{"type":"STRING"},"$ref":{"type":"STRING"}}}"#,
            &[],
        );
    }
}

//! JSON Schema in the vendor's own dialect, for models and clouds that take nothing else.
//!
//! What the dialect has no word for is told in the description, so that the model still sees it.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::json::{Cursor, Json, JsonError, Kind, Text};

/// Deepest chain of references that is followed; a schema that refers to itself ends in an open object.
const DEEPEST: usize = 8;
/// Longest schema that references are written out to, in bytes.
const LONGEST: usize = 1 << 20;
/// Most schemas that are put into one; some refer to themselves.
const MOST_GATHERED: usize = 64;

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
        let gathered =
            if has_all_of(cursor.clone())? { Some(self.gathered(&cursor.json()?, &mut said)?) } else { None };
        self.out.push('{');
        let mut keyword = |key: Cow<'_, str>, value: &mut Cursor<'_>| self.keyword(&key, value, &mut said, &mut first);
        match &gathered {
            Some(schema) => schema.cursor().object::<JsonError>(&mut keyword)?,
            None => cursor.object::<JsonError>(&mut keyword)?,
        }
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

    /// `schema` with all that its `allOf` says put into it; what contradicts is told in words.
    fn gathered(&mut self, schema: &Json<'_>, said: &mut Said) -> Result<Json<'static>, JsonError> {
        let mut all = Gathered::default();
        self.gather(schema, &mut all)?;
        if !all.notes.is_empty() {
            self.lose("allOf");
            said.notes.append(&mut all.notes);
        }
        Ok(object_of(&all.members))
    }

    fn gather(&mut self, schema: &Json<'_>, all: &mut Gathered) -> Result<(), JsonError> {
        all.schemas += 1;
        if all.schemas > MOST_GATHERED {
            self.lose("allOf");
            return Ok(());
        }
        let mut inner = Vec::new();
        schema.cursor().object::<JsonError>(|key, value| {
            let json = value.json()?;
            if key == "allOf" && json.kind() == Kind::Array {
                return json.cursor().array::<JsonError>(|_, element| {
                    inner.push(self.resolved(&element.json()?));
                    Ok(())
                });
            }
            all.add(&key, json)
        })?;
        inner.iter().filter(|schema| schema.kind() == Kind::Object).try_for_each(|schema| self.gather(schema, all))
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

/// Several schemas that hold at once, as one.
#[derive(Default)]
struct Gathered {
    members: Members,
    /// What contradicts.
    notes: Vec<String>,
    schemas: usize,
}

/// Members of an object, the key unescaped.
type Members = Vec<(String, Json<'static>)>;

impl Gathered {
    fn add(&mut self, key: &str, value: Json<'_>) -> Result<(), JsonError> {
        let Some((_, known)) = self.members.iter_mut().find(|(known, _)| known == key) else {
            self.members.push((key.to_owned(), value.into_owned()));
            return Ok(());
        };
        match (key, known.kind(), value.kind()) {
            _ if known.as_str() == value.as_str() => {}
            ("properties", Kind::Object, Kind::Object) => {
                let mut all = members_of(known)?;
                for (name, schema) in members_of(&value)? {
                    match all.iter().find(|(known, _)| *known == name) {
                        Some((_, known)) if known.as_str() == schema.as_str() => {}
                        Some(_) => self.notes.push(format!("and {name}: {}", schema.as_str())),
                        None => all.push((name, schema)),
                    }
                }
                *known = object_of(&all);
            }
            ("required", Kind::Array, Kind::Array) => {
                let mut all: Vec<Json<'static>> = Vec::new();
                for list in [&*known, &value] {
                    list.cursor().array::<JsonError>(|_, name| {
                        let name = name.json()?;
                        if !all.iter().any(|known| known.as_str() == name.as_str()) {
                            all.push(name.into_owned());
                        }
                        Ok(())
                    })?;
                }
                let names: Vec<&str> = all.iter().map(Json::as_str).collect();
                *known = Json::from_valid(format!("[{}]", names.join(",")));
            }
            _ => self.notes.push(format!("and {key}: {}", value.as_str())),
        }
        Ok(())
    }
}

fn members_of(object: &Json<'_>) -> Result<Members, JsonError> {
    let mut members = Vec::new();
    object.cursor().object::<JsonError>(|key, value| {
        members.push((key.into_owned(), value.json()?.into_owned()));
        Ok(())
    })?;
    Ok(members)
}

fn object_of(members: &Members) -> Json<'static> {
    let mut out = String::from("{");
    for (at, (key, value)) in members.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let _ = write!(out, "{comma}\"{}\":{}", Text::from_plain(key).escaped(), value.as_str());
    }
    out.push('}');
    Json::from_valid(out)
}

fn has_all_of(mut cursor: Cursor<'_>) -> Result<bool, JsonError> {
    let mut found = false;
    cursor.object::<JsonError>(|key, value| {
        found |= key == "allOf" && value.peek()? == Kind::Array;
        value.skip()
    })?;
    Ok(found)
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
        check(r#"{"allOf":[{"type":"object"},{"required":["a"]}]}"#, r#"{"type":"OBJECT","required":["a"]}"#, &[]);
        check(
            r##"{"type":"object","properties":{"c":{"type":"string"}},"allOf":[{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]},{"$ref":"#/$defs/b"}],"$defs":{"b":{"type":"object","properties":{"b":{"type":"number"}},"required":["a","b"]}}}"##,
            r#"{"type":"OBJECT","properties":{"c":{"type":"STRING"},"a":{"type":"STRING"},"b":{"type":"NUMBER"}},"required":["a","b"]}"#,
            &[],
        );
        check(
            r#"{"allOf":[{"properties":{"a":{"type":"string"}}},{"properties":{"a":{"type":"number"}}}]}"#,
            r#"{"properties":{"a":{"type":"STRING"}},"description":"and a: {\"type\":\"number\"}"}"#,
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
    fn all_of_itself_ends() {
        let schema =
            r##"{"$defs":{"n":{"type":"object","allOf":[{"$ref":"#/$defs/n"}]}},"allOf":[{"$ref":"#/$defs/n"}]}"##;
        let written = own_dialect(&Json::from_valid(schema));
        assert_eq!((written.schema.as_str(), written.lost), (r#"{"type":"OBJECT"}"#, vec!["allOf".to_owned()]));
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

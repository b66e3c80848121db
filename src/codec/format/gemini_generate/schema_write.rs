//! JSON Schema in the vendor's own dialect, for models and clouds that take nothing else.
//!
//! What the dialect has no word for is told in the description, so that the model still sees it.

use std::fmt::Write as _;

use super::schema_gather::Gathered;
use super::schema_range::End;
use super::schema_refs::{Definitions, Room};
use crate::json::{Cursor, Json, JsonError, Kind, Text};

/// Deepest chain of references that is followed; a schema that refers to itself ends in an open object.
const DEEPEST: usize = 8;
/// How often a schema is written out on the way to itself.
const WITHIN_ITSELF: usize = 2;
/// Most schemas that are put into one; some refer to themselves.
const MOST_GATHERED: usize = 128;

/// A schema in the dialect.
#[derive(Debug)]
pub(super) struct Written {
    /// The schema.
    pub schema: Json<'static>,
    /// Keywords that the dialect has no word for, each once.
    pub lost: Vec<String>,
}

/// Writes `schema` in the dialect, with what it refers to as far as there is room.
pub(super) fn own_dialect(schema: &Json<'_>, room: &mut Room) -> Written {
    let share = room.share();
    let given = share.left();
    let definitions = Definitions::of(schema);
    let mut scribe =
        Scribe { definitions, room: share, lost: Vec::new(), out: String::new(), depth: 0, path: Vec::new() };
    let done = scribe.schema(&mut schema.cursor());
    room.settle(given, &scribe.room);
    let Scribe { lost, out, .. } = scribe;
    let schema = if done.is_ok() { out } else { OPEN.to_owned() };
    Written { schema: Json::from_valid(schema), lost }
}

/// Stands for what a list holds, where that is not said.
const ANY_ITEM: &str = "{\"type\":\"STRING\"}";
/// Stands for anything.
const OPEN: &str = "{\"type\":\"OBJECT\"}";

/// Writes schemas.
struct Scribe<'r> {
    definitions: Definitions<'r>,
    room: Room,
    lost: Vec<String>,
    out: String,
    /// How many references lead here.
    depth: usize,
    /// Which.
    path: Vec<String>,
}

/// What stands in a schema beside what it says itself.
#[derive(Default)]
struct Look {
    reference: Option<String>,
    /// Something stands beside the reference.
    beside: bool,
    all_of: bool,
}

impl Look {
    fn at(mut cursor: Cursor<'_>) -> Result<Self, JsonError> {
        let mut look = Self::default();
        cursor.object::<JsonError>(|key, value| {
            match (key.as_ref(), value.peek()?) {
                ("$ref", Kind::String) => look.reference = Some(value.string()?.into_owned()),
                ("allOf", Kind::Array) => look.all_of = true,
                ("$defs" | "definitions" | "$schema" | "$id" | "$comment", _) => {}
                _ => look.beside = true,
            }
            Ok(())
        })?;
        Ok(look)
    }
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
    least: End,
    greatest: End,
    has_items: bool,
}

impl<'r> Scribe<'r> {
    fn schema(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        if cursor.peek()? != Kind::Object {
            // `true` and `false`: anything, or nothing.
            cursor.skip()?;
            self.out.push_str(OPEN);
            return Ok(());
        }
        let look = Look::at(cursor.clone())?;
        match look.reference {
            Some(reference) if !look.beside && !look.all_of => {
                cursor.skip()?;
                self.reference(&reference)
            }
            None if !look.all_of => self.single(cursor, Said::default()),
            _ => self.several(&cursor.json()?),
        }
    }

    /// A schema without references and others that hold as well.
    fn single(&mut self, cursor: &mut Cursor<'_>, mut said: Said) -> Result<(), JsonError> {
        let mut first = true;
        self.out.push('{');
        cursor.object::<JsonError>(|key, value| self.keyword(&key, value, &mut said, &mut first))?;
        self.said(said, &mut first);
        self.out.push('}');
        Ok(())
    }

    /// A schema with all that holds besides put into it; what contradicts is told in words.
    fn several(&mut self, schema: &Json<'_>) -> Result<(), JsonError> {
        let mut all = Gathered::default();
        self.gather(schema, &mut all, false)?;
        let mut said = Said::default();
        if !all.notes.is_empty() {
            self.lose("allOf");
            said.notes.append(&mut all.notes);
        }
        let (above, deeper) = (self.path.len(), usize::from(!all.through.is_empty()));
        self.path.append(&mut all.through);
        self.depth += deeper;
        let done = self.single(&mut all.json().cursor(), said);
        self.depth -= deeper;
        self.path.truncate(above);
        done
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
            "enum" => self.values(value, said),
            "const" => {
                let json = value.json()?;
                self.values(&mut Json::from_valid(format!("[{}]", json.as_str())).cursor(), said)
            }
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" if value.peek()? == Kind::Null => {
                value.skip()
            }
            "minimum" if value.peek()? == Kind::Number => keep_number(value, &mut said.least.inclusive),
            "maximum" if value.peek()? == Kind::Number => keep_number(value, &mut said.greatest.inclusive),
            "exclusiveMinimum" if value.peek()? == Kind::Number => keep_number(value, &mut said.least.exclusive),
            "exclusiveMaximum" if value.peek()? == Kind::Number => keep_number(value, &mut said.greatest.exclusive),
            "properties" if value.peek()? == Kind::Object => self.properties(value, first),
            "items" if value.peek()? == Kind::Object => {
                said.has_items = true;
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
        let Said { kind, nullable, description, mut notes, values, least, greatest, has_items } = said;
        if kind.as_deref() == Some("array") && !has_items {
            // A list must say what it is of.
            self.lose("items");
            self.key("items", first);
            self.out.push_str(ANY_ITEM);
        }
        let kind = kind.or_else(|| values.as_ref().map(|_| "string".to_owned()));
        if let Some(kind) = &kind {
            self.key("type", first);
            let _ = write!(self.out, "\"{}\"", kind.to_ascii_uppercase());
        }
        let minimum = self.end(least, kind.as_deref(), ("exclusiveMinimum", 1), &mut notes);
        let maximum = self.end(greatest, kind.as_deref(), ("exclusiveMaximum", -1), &mut notes);
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

    /// The number to write for one end of the range; an exclusive bound is told in words beside it.
    fn end(&mut self, end: End, kind: Option<&str>, words: (&str, i64), notes: &mut Vec<String>) -> Option<String> {
        let (exclusive, step) = words;
        let stated = end.stated(step, kind == Some("integer"))?;
        if let Some(number) = stated.instead_of {
            if !stated.is_exact {
                self.lose(exclusive);
            }
            notes.push(format!("{exclusive}: {number}"));
        }
        Some(stated.number)
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

    fn gather(&mut self, schema: &Json<'_>, all: &mut Gathered, is_referred: bool) -> Result<(), JsonError> {
        all.schemas += 1;
        if all.schemas > MOST_GATHERED {
            self.lose("allOf");
            return Ok(());
        }
        let (mut inner, mut reference) = (Vec::new(), None);
        schema.cursor().object::<JsonError>(|key, value| {
            match (key.as_ref(), value.peek()?) {
                ("allOf", Kind::Array) => value.array::<JsonError>(|_, element| {
                    inner.push(element.json()?);
                    Ok(())
                })?,
                ("$ref", Kind::String) => reference = Some(value.string()?),
                (key, _) => all.add(key, &value.json()?, is_referred)?,
            }
            Ok(())
        })?;
        if let Some(reference) = reference {
            match self.open(&reference) {
                Ok(mut target) => {
                    all.through.push(reference.into_owned());
                    let target = target.json()?;
                    if target.kind() == Kind::Object {
                        self.gather(&target, all, true)?;
                    }
                }
                Err(kind) => all.add_kind(kind),
            }
        }
        inner
            .iter()
            .filter(|schema| schema.kind() == Kind::Object)
            .try_for_each(|schema| self.gather(schema, all, is_referred))
    }

    /// Properties; an object that says it has none is refused.
    fn properties(&mut self, cursor: &mut Cursor<'_>, first: &mut bool) -> Result<(), JsonError> {
        let mut none = true;
        cursor.object::<JsonError>(|name, value| {
            if none {
                self.key("properties", first);
                self.out.push('{');
            }
            self.key(Text::from_plain(&name).escaped(), &mut none);
            self.schema(value)
        })?;
        if !none {
            self.out.push('}');
        }
        Ok(())
    }

    fn reference(&mut self, reference: &str) -> Result<(), JsonError> {
        let mut target = match self.open(reference) {
            Ok(target) => target,
            Err(kind) => {
                let kind = Said { kind: Some(kind.to_owned()), ..Said::default() };
                return self.single(&mut Json::EMPTY_OBJECT.cursor(), kind);
            }
        };
        self.depth += 1;
        self.path.push(reference.to_owned());
        let done = self.schema(&mut target);
        self.path.pop();
        self.depth -= 1;
        done
    }

    /// What `reference` stands for; where that is not written out, the type that is said in its place.
    fn open(&mut self, reference: &str) -> Result<Cursor<'r>, &'static str> {
        let found = self.definitions.find(reference, &mut self.room);
        let within = self.path.iter().filter(|above| *above == reference).count();
        let follows = self.depth < DEEPEST && within < WITHIN_ITSELF;
        match found {
            Some(found) if follows && self.room.take(found.length) => Ok(found.cursor),
            found => {
                self.lose("$ref");
                Err(found.and_then(|found| found.kind).unwrap_or("object"))
            }
        }
    }

    /// The dialect has lists of texts only, and of such as are not empty: other values are told in words.
    fn values(&mut self, value: &mut Cursor<'_>, said: &mut Said) -> Result<(), JsonError> {
        if value.peek()? != Kind::Array {
            return value.skip();
        }
        let all = value.clone().json()?;
        let (mut texts, mut others) = (Vec::new(), false);
        value.array::<JsonError>(|_, element| {
            let kind = element.peek()?;
            let word = element.json()?;
            said.nullable |= kind == Kind::Null;
            match kind {
                Kind::String if word.is_empty() => {
                    others = true;
                    self.lose("enum");
                }
                Kind::String => texts.push(word.as_str().to_owned()),
                Kind::Null => {}
                _ => others = true,
            }
            Ok(())
        })?;
        if others {
            said.notes.push(format!("one of {}", all.as_str()));
        } else if !texts.is_empty() {
            said.values = Some(format!("[{}]", texts.join(",")));
        }
        Ok(())
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

fn keep_number(value: &mut Cursor<'_>, into: &mut Option<String>) -> Result<(), JsonError> {
    into.get_or_insert(value.number()?.as_str().to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &str, expected: &str, lost: &[&str]) {
        let written = own_dialect(&Json::from_valid(schema), &mut Room::default());
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
    fn the_sharper_bound_stands() {
        let told = |bound: &str| format!(r#","description":"{bound}""#);
        for (schema, written, words, lost) in [
            (r#""type":"integer","minimum":5,"exclusiveMinimum":0"#, r#""minimum":5"#, "", false),
            (r#""exclusiveMinimum":5,"minimum":5,"type":"integer""#, r#""minimum":6"#, "exclusiveMinimum: 5", false),
            (r#""type":"integer","maximum":3,"exclusiveMaximum":9"#, r#""maximum":3"#, "", false),
            (r#""type":"integer","maximum":9,"exclusiveMaximum":9"#, r#""maximum":8"#, "exclusiveMaximum: 9", false),
            (r#""type":"number","minimum":0,"exclusiveMinimum":0"#, r#""minimum":0"#, "exclusiveMinimum: 0", true),
            (r#""type":"number","maximum":0.5,"exclusiveMaximum":1"#, r#""maximum":0.5"#, "", false),
            (
                r#""type":"number","minimum":-1,"exclusiveMinimum":0.5"#,
                r#""minimum":0.5"#,
                "exclusiveMinimum: 0.5",
                true,
            ),
            (
                r#""type":"integer","exclusiveMinimum":9223372036854775807"#,
                r#""minimum":9223372036854775807"#,
                "exclusiveMinimum: 9223372036854775807",
                true,
            ),
        ] {
            let kind = if schema.contains("number") { "NUMBER" } else { "INTEGER" };
            let words = if words.is_empty() { String::new() } else { told(words) };
            let key = if schema.contains("Minimum") { "exclusiveMinimum" } else { "exclusiveMaximum" };
            let lost: &[&str] = if lost { &[key] } else { &[] };
            check(&format!("{{{schema}}}"), &format!(r#"{{"type":"{kind}",{written}{words}}}"#), lost);
        }
        check(r#"{"type":"integer","minimum":null,"exclusiveMaximum":null}"#, r#"{"type":"INTEGER"}"#, &[]);
        check(
            r#"{"type":"integer","minimum":"1"}"#,
            r#"{"type":"INTEGER","description":"minimum: \"1\""}"#,
            &["minimum"],
        );
    }

    #[test]
    fn nothing_stands_where_properties_are_gathered() {
        check(
            r#"{"properties":null,"required":null,"allOf":[{"properties":{"a":{}},"required":["a"]}]}"#,
            r#"{"properties":{"a":{}},"required":["a"],"description":"and properties: null\nand required: null"}"#,
            &["allOf"],
        );
    }

    #[test]
    fn a_schema_of_itself_ends() {
        let schema =
            r##"{"$defs":{"n":{"type":"object","properties":{"next":{"$ref":"#/$defs/n"}}}},"$ref":"#/$defs/n"}"##;
        let written = own_dialect(&Json::from_valid(schema), &mut Room::default());
        assert_eq!(written.lost, ["$ref"]);
        assert!(serde_json::from_str::<serde_json::Value>(written.schema.as_str()).is_ok());
    }

    #[test]
    fn all_of_itself_ends() {
        let schema =
            r##"{"$defs":{"n":{"type":"object","allOf":[{"$ref":"#/$defs/n"}]}},"allOf":[{"$ref":"#/$defs/n"}]}"##;
        let written = own_dialect(&Json::from_valid(schema), &mut Room::default());
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

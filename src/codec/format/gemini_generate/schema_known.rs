//! JSON Schema for an answer: of its keywords the provider reads some, and passes over the others in silence.
//!
//! Those are said in one that it reads, or told in the description, so that the model still sees them.

use crate::json::{Cursor, Json, JsonError, Kind, Text};

/// Keywords that the provider's reference lists for the field, and `definitions`, which references lead to.
const READ: [&str; 22] = [
    "$anchor",
    "$defs",
    "$id",
    "$ref",
    "additionalProperties",
    "anyOf",
    "definitions",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maximum",
    "minItems",
    "minimum",
    "oneOf",
    "prefixItems",
    "properties",
    "propertyOrdering",
    "required",
    "title",
    "type",
];

/// Keywords that tell a model nothing. Which property tells one schema of a choice from another, those schemas say.
const SILENT: [&str; 4] = ["$comment", "$schema", "$vocabulary", "discriminator"];

/// Most keywords that are reported of one schema.
const MOST_LOST: usize = 32;

/// A schema of keywords that the provider reads.
#[derive(Debug)]
pub(super) struct Known {
    /// The schema.
    pub schema: Json<'static>,
    /// Keywords that are told in words, each once.
    pub lost: Vec<String>,
}

/// `schema` in keywords that the provider reads; `None` where it has no others.
pub(super) fn known(schema: &Json<'_>) -> Option<Known> {
    let mut pen = Pen::default();
    pen.schema(&mut schema.cursor()).ok()?;
    let Pen { out, lost, changed } = pen;
    changed.then(|| Known { schema: Json::from_valid(out), lost })
}

/// What becomes of a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    LeftOut,
    Told,
    /// One value: a list of one.
    Listed,
    /// The value `null`: the type of that name.
    Null,
    /// One schema that holds besides: a choice of one.
    Chosen,
}

/// What bears on the fate of the keywords of one schema.
#[derive(Default)]
struct Look {
    has_type: bool,
    has_values: bool,
    has_choice: bool,
}

impl Look {
    fn at(cursor: &Cursor<'_>) -> Result<Self, JsonError> {
        let mut look = Self::default();
        cursor.clone().object::<JsonError>(|key, _| {
            look.has_type |= key == "type";
            look.has_values |= key == "enum";
            look.has_choice |= key == "anyOf" || key == "oneOf";
            Ok(())
        })?;
        Ok(look)
    }

    fn fate(&self, key: &str, value: &Cursor<'_>) -> Result<Fate, JsonError> {
        let mut value = value.clone();
        Ok(match (key, value.peek()?) {
            ("const", Kind::String | Kind::Number) if !self.has_values => Fate::Listed,
            ("const", Kind::Null) if !self.has_type && !self.has_values => Fate::Null,
            ("allOf", Kind::Array) if !self.has_choice && is_one(&mut value)? => Fate::Chosen,
            _ if SILENT.contains(&key) => Fate::LeftOut,
            _ if READ.contains(&key) => Fate::Kept,
            _ => Fate::Told,
        })
    }
}

fn is_one(list: &mut Cursor<'_>) -> Result<bool, JsonError> {
    let mut length = 0_usize;
    list.array::<JsonError>(|_, _| {
        length += 1;
        Ok(())
    })?;
    Ok(length == 1)
}

#[derive(Default)]
struct Pen {
    out: String,
    lost: Vec<String>,
    changed: bool,
}

impl Pen {
    fn schema(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        if cursor.peek()? != Kind::Object {
            return self.copy(cursor);
        }
        let look = Look::at(cursor)?;
        let notes = self.notes(cursor, &look)?;
        let (mut first, mut is_described) = (true, false);
        self.out.push('{');
        cursor.object::<JsonError>(|key, value| {
            if key == "description" && !notes.is_empty() {
                is_described = true;
                let said = if value.peek()? == Kind::String { value.text()? } else { Text::EMPTY };
                self.description(&said, &notes, &mut first);
                return Ok(());
            }
            let fate = look.fate(&key, value)?;
            self.changed |= fate != Fate::Kept;
            self.member((&key, fate), value, &look, &mut first)
        })?;
        if !is_described && !notes.is_empty() {
            self.description(&Text::EMPTY, &notes, &mut first);
        }
        self.out.push('}');
        Ok(())
    }

    /// What is told of the schema at `cursor`, escaped.
    fn notes(&mut self, cursor: &Cursor<'_>, look: &Look) -> Result<String, JsonError> {
        let mut notes: Vec<String> = Vec::new();
        cursor.clone().object::<JsonError>(|key, value| {
            if look.fate(&key, value)? == Fate::Told {
                notes.push(format!("{key}: {}", value.json()?.as_str()));
                if self.lost.len() < MOST_LOST && !self.lost.iter().any(|known| *known == key) {
                    self.lost.push(key.into_owned());
                }
            }
            Ok(())
        })?;
        Ok(Text::from_plain(&notes.join("\n")).escaped().to_owned())
    }

    fn description(&mut self, said: &Text<'_>, notes: &str, first: &mut bool) {
        let between = if said.is_empty() { "" } else { "\\n" };
        self.key("description", first);
        self.out.extend(["\"", said.escaped(), between, notes, "\""]);
    }

    fn member(
        &mut self,
        (key, fate): (&str, Fate),
        value: &mut Cursor<'_>,
        look: &Look,
        first: &mut bool,
    ) -> Result<(), JsonError> {
        match fate {
            Fate::LeftOut | Fate::Told => value.skip(),
            Fate::Null => {
                self.key("type", first);
                self.out.push_str("\"null\"");
                value.skip()
            }
            Fate::Listed => {
                if !look.has_type {
                    self.key("type", first);
                    self.out.push_str(if value.peek()? == Kind::String { "\"string\"" } else { "\"number\"" });
                }
                self.key("enum", first);
                self.out.extend(["[", value.json()?.as_str(), "]"]);
                Ok(())
            }
            Fate::Chosen => {
                self.key("anyOf", first);
                self.list(value)
            }
            Fate::Kept => {
                self.key(key, first);
                self.kept(key, value)
            }
        }
    }

    fn kept(&mut self, key: &str, value: &mut Cursor<'_>) -> Result<(), JsonError> {
        match (key, value.peek()?) {
            ("properties" | "$defs" | "definitions", Kind::Object) => self.named(value),
            ("anyOf" | "oneOf" | "prefixItems", Kind::Array) => self.list(value),
            ("items" | "additionalProperties", Kind::Object) => self.schema(value),
            _ => self.copy(value),
        }
    }

    fn named(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        let mut first = true;
        self.out.push('{');
        cursor.object::<JsonError>(|key, value| {
            self.key(&key, &mut first);
            self.schema(value)
        })?;
        self.out.push('}');
        Ok(())
    }

    fn list(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        self.out.push('[');
        cursor.array::<JsonError>(|index, element| {
            self.out.push_str(if index > 0 { "," } else { "" });
            self.schema(element)
        })?;
        self.out.push(']');
        Ok(())
    }

    fn key(&mut self, key: &str, first: &mut bool) {
        if !std::mem::replace(first, false) {
            self.out.push(',');
        }
        self.out.extend(["\"", Text::from_plain(key).escaped(), "\":"]);
    }

    fn copy(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        self.out.push_str(cursor.json()?.as_str());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_keyword_is_one_that_is_read_or_is_told() {
        for (schema, expected, lost) in [
            (
                r#"{"type":"object","properties":{"k":{"const":"a"}}}"#,
                r#"{"type":"object","properties":{"k":{"type":"string","enum":["a"]}}}"#,
                "",
            ),
            (
                r#"{"anyOf":[{"type":"integer","const":1},{"const":null}]}"#,
                r#"{"anyOf":[{"type":"integer","enum":[1]},{"type":"null"}]}"#,
                "",
            ),
            (r#"{"type":"boolean","const":true}"#, r#"{"type":"boolean","description":"const: true"}"#, "const"),
            (r#"{"enum":["a","b"],"const":"a"}"#, r#"{"enum":["a","b"],"description":"const: \"a\""}"#, "const"),
            (
                r#"{"pattern":"^\\d$","description":"D","items":{"minLength":1,"pattern":"x"}}"#,
                r#"{"description":"D\npattern: \"^\\\\d$\"","items":{"description":"minLength: 1\npattern: \"x\""}}"#,
                "pattern,minLength",
            ),
            (
                r##"{"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"exclusiveMinimum":0}}}"##,
                r##"{"anyOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"description":"exclusiveMinimum: 0"}}}"##,
                "exclusiveMinimum",
            ),
            (
                r#"{"allOf":[{"const":1}],"anyOf":[]}"#,
                r#"{"anyOf":[],"description":"allOf: [{\"const\":1}]"}"#,
                "allOf",
            ),
            (
                r#"{"oneOf":[{"not":{}}],"discriminator":{"propertyName":"k"},"$comment":"c"}"#,
                r#"{"oneOf":[{"description":"not: {}"}]}"#,
                "not",
            ),
            (
                r#"{"additionalProperties":{"uniqueItems":true},"prefixItems":[{"$comment":"c"}]}"#,
                r#"{"additionalProperties":{"description":"uniqueItems: true"},"prefixItems":[{}]}"#,
                "uniqueItems",
            ),
        ] {
            let found = known(&Json::from_valid(schema)).unwrap_or_else(|| panic!("{schema}"));
            assert_eq!((found.schema.as_str(), found.lost.join(",").as_str()), (expected, lost), "{schema}");
        }
    }

    #[test]
    fn a_schema_that_is_read_stays_as_it_is() {
        for schema in [
            r#"{"type" : "object","properties":{"const":{"type":"string"},"pattern":{"enum":[{"const":1}]}},"required":["const"],"additionalProperties":false}"#,
            r##"{"$ref":"#/$defs/a","$defs":{"a":{"items":true,"minItems":1,"format":"uri","title":"t","minimum":0}}}"##,
            "true",
        ] {
            assert!(known(&Json::from_valid(schema)).is_none(), "{schema}");
        }
    }
}

//! What the format refuses in a JSON schema, in words: bounds of values, and keywords that it does not know.

use std::collections::BTreeSet;

use crate::json::{Cursor, Json, JsonError, Kind, Text};

/// The formats of strings that the provider holds an answer to; it refuses a schema with another.
const FORMATS: [&str; 10] =
    ["date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"];

/// What each refused keyword says of a value; its own value stands at `{}`.
const WORDS: [(&str, Kind, &str); 13] = [
    ("exclusiveMaximum", Kind::Number, "less than {}"),
    ("exclusiveMinimum", Kind::Number, "greater than {}"),
    ("format", Kind::String, "of the format {}"),
    ("maxItems", Kind::Number, "at most {} items long"),
    ("maxLength", Kind::Number, "at most {} characters long"),
    ("maxProperties", Kind::Number, "of at most {} properties"),
    ("maximum", Kind::Number, "at most {}"),
    ("minItems", Kind::Number, "at least {} items long"),
    ("minLength", Kind::Number, "at least {} characters long"),
    ("minProperties", Kind::Number, "of at least {} properties"),
    ("minimum", Kind::Number, "at least {}"),
    ("multipleOf", Kind::Number, "a multiple of {}"),
    ("pattern", Kind::String, "matched by the regular expression {}"),
];

/// Keywords of one truth, with what they say when it holds; `exclusive…` are numbers since the draft of 2016.
const FLAGS: [(&str, &str); 3] = [
    ("exclusiveMaximum", "not the maximum itself"),
    ("exclusiveMinimum", "not the minimum itself"),
    ("uniqueItems", "without equal items"),
];

/// Keywords that the format takes, whatever they say or as far as [`WORDS`] leaves them.
const TAKEN: [&str; 17] = [
    "$anchor",
    "$defs",
    "$id",
    "$ref",
    "$schema",
    "additionalProperties",
    "allOf",
    "anyOf",
    "default",
    "definitions",
    "description",
    "format",
    "minItems",
    "properties",
    "required",
    "title",
    "type",
];

/// Keywords that tell a model nothing: notes of the author, the order that stands in the schema anyway, and which
/// property tells one schema of a choice from another, as those schemas do themselves.
const SILENT: [&str; 3] = ["$comment", "discriminator", "propertyOrdering"];

/// Keywords by which an object may have properties that are not named beside them.
const NAMING: [&str; 3] = ["allOf", "dependentSchemas", "oneOf"];

/// What the format refuses in one schema, schemas inside of it left aside.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    /// The keywords that it refuses.
    pub keys: BTreeSet<String>,
    /// Sentences that say the same, escaped; empty where the keywords say nothing.
    pub words: String,
    /// The keyword that is sent as `anyOf`.
    pub choice: Option<&'static str>,
    /// An object may have other properties by what is told in words, where it does not say that it is closed.
    pub names_more: bool,
    /// An object may have other properties by their look, also one that is closed.
    pub has_patterns: bool,
    /// It has a choice among schemas that is not sent as it is.
    pub is_respelled: bool,
    /// Members that are told as they are.
    told: Vec<String>,
}

/// What the format refuses of the schema at `cursor`, an object.
pub(super) fn bounds_of(cursor: &Cursor<'_>) -> Result<Bounds, JsonError> {
    let mut bounds = Bounds::default();
    let choice = choice_of(cursor)?;
    cursor.clone().object::<JsonError>(|key, value| {
        let kind = value.peek()?;
        if SILENT.contains(&key.as_ref()) {
            bounds.is_respelled |= key == "discriminator";
            bounds.keys.insert(key.into_owned());
        } else if let Some((_, words)) = FLAGS.iter().find(|(known, _)| kind == Kind::Bool && *known == key) {
            bounds.keys.insert(key.into_owned());
            if value.bool()? {
                bounds.say(words);
            }
        } else if let Some((_, _, words)) = WORDS.iter().find(|(known, takes, _)| *known == key && *takes == kind) {
            // What is in a string is escaped already; a number needs no escape.
            let said = if kind == Kind::String {
                value.text()?
            } else {
                Text::from_escaped(value.number()?.as_str().to_owned())
            };
            if !is_taken(&key, said.escaped()) {
                bounds.keys.insert(key.into_owned());
                bounds.say(&words.replace("{}", said.escaped()));
            }
        } else if choice.is_some_and(|choice| choice == key) {
            bounds.choice = choice;
            bounds.is_respelled |= key == "oneOf";
        } else if !is_known(&key, &mut value.clone())? {
            bounds.tell(&key, &value.json()?);
        }
        Ok(())
    })?;
    bounds.end();
    Ok(bounds)
}

/// The keyword that stands for the one choice of the schema at `cursor`, where it is not `anyOf`: `oneOf`, or an `allOf` of
/// one reference, which the format refuses there.
fn choice_of(cursor: &Cursor<'_>) -> Result<Option<&'static str>, JsonError> {
    let (mut choices, mut found) = (0_usize, None);
    cursor.clone().object::<JsonError>(|key, value| {
        let keyword = match key.as_ref() {
            "anyOf" => Some("anyOf"),
            "oneOf" if value.peek()? == Kind::Array => Some("oneOf"),
            "allOf" if value.peek()? == Kind::Array && is_one_reference(&mut value.clone())? => Some("allOf"),
            _ => None,
        };
        choices += usize::from(keyword.is_some());
        found = keyword.or(found);
        Ok(())
    })?;
    Ok(found.filter(|keyword| choices == 1 && *keyword != "anyOf"))
}

fn is_one_reference(list: &mut Cursor<'_>) -> Result<bool, JsonError> {
    let (mut length, mut refer) = (0_usize, true);
    list.array::<JsonError>(|_, element| {
        length += 1;
        refer &= element.peek()? == Kind::Object && refers(element);
        Ok(())
    })?;
    Ok(length == 1 && refer)
}

/// True for a keyword that the format takes as it stands at `value`.
fn is_known(key: &str, value: &mut Cursor<'_>) -> Result<bool, JsonError> {
    let kind = value.peek()?;
    match key {
        "const" => Ok(!matches!(kind, Kind::Object | Kind::Array)),
        "enum" if kind == Kind::Array => holds_none(value, |kind, _| matches!(kind, Kind::Object | Kind::Array)),
        "allOf" if kind == Kind::Array => holds_none(value, |kind, one| kind == Kind::Object && refers(one)),
        "items" => Ok(kind == Kind::Object),
        _ => Ok(TAKEN.contains(&key)),
    }
}

fn holds_none(list: &mut Cursor<'_>, is_one: impl Fn(Kind, &Cursor<'_>) -> bool) -> Result<bool, JsonError> {
    let mut none = true;
    list.array::<JsonError>(|_, element| {
        none &= !is_one(element.peek()?, element);
        Ok(())
    })?;
    Ok(none)
}

/// True for a schema that is a reference.
fn refers(schema: &Cursor<'_>) -> bool {
    let mut found = false;
    let read = schema.clone().object::<JsonError>(|key, _| {
        found |= key == "$ref";
        Ok(())
    });
    read.is_ok() && found
}

/// True where the format takes a keyword of that value.
fn is_taken(key: &str, value: &str) -> bool {
    match key {
        "format" => FORMATS.contains(&value),
        "minItems" => matches!(value, "0" | "1"),
        _ => false,
    }
}

impl Bounds {
    /// True where there is a keyword that bounds values and is not sent.
    pub(super) fn tells(&self) -> bool {
        self.keys.iter().any(|key| !SILENT.contains(&key.as_str()))
    }

    fn say(&mut self, words: &str) {
        self.words.push_str(if self.words.is_empty() { "Must be " } else { ", " });
        self.words.push_str(words);
    }

    fn tell(&mut self, key: &str, value: &Json<'_>) {
        self.names_more |= NAMING.contains(&key);
        self.has_patterns |= key == "patternProperties";
        self.told.push(format!("\"{}\":{}", Text::from_plain(key).escaped(), value.as_str()));
        self.keys.insert(key.to_owned());
    }

    fn end(&mut self) {
        if !self.words.is_empty() {
            self.words.push('.');
        }
        if !self.told.is_empty() {
            let told = format!("Must be valid by {{{}}}.", std::mem::take(&mut self.told).join(","));
            self.words.push_str(if self.words.is_empty() { "" } else { " " });
            self.words.push_str(Text::from_json(&told).escaped());
        }
    }
}

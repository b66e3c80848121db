//! Bounds of values in a JSON schema that the format refuses, in words.

use std::collections::BTreeSet;

use crate::json::{Cursor, JsonError, Kind, Text};

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

/// The bounds in one schema, those of schemas inside of it left aside.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    /// The keywords that the format refuses.
    pub keys: BTreeSet<&'static str>,
    /// A sentence that says the same, escaped; empty where the keywords say nothing.
    pub words: String,
}

/// What the schema at `cursor`, an object, bounds in a way that the format refuses.
pub(super) fn bounds_of(cursor: &Cursor<'_>) -> Result<Bounds, JsonError> {
    let mut bounds = Bounds::default();
    cursor.clone().object::<JsonError>(|key, value| {
        let kind = value.peek()?;
        if kind == Kind::Bool {
            if let Some((key, words)) = FLAGS.iter().find(|(known, _)| *known == key) {
                bounds.keys.insert(key);
                if value.bool()? {
                    bounds.say(words);
                }
            }
        } else if let Some((key, _, words)) = WORDS.iter().find(|(known, takes, _)| *known == key && *takes == kind) {
            // What is in a string is escaped already; a number needs no escape.
            let said = if kind == Kind::String {
                value.text()?
            } else {
                Text::from_escaped(value.number()?.as_str().to_owned())
            };
            if !is_taken(key, said.escaped()) {
                bounds.keys.insert(key);
                bounds.say(&words.replace("{}", said.escaped()));
            }
        }
        Ok(())
    })?;
    if !bounds.words.is_empty() {
        bounds.words.push('.');
    }
    Ok(bounds)
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
    fn say(&mut self, words: &str) {
        self.words.push_str(if self.words.is_empty() { "Must be " } else { ", " });
        self.words.push_str(words);
    }
}

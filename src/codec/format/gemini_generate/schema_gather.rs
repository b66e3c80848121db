//! Several schemas that hold at once, put into one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::json::{Json, JsonError, Kind, Text};

/// Several schemas that hold at once, as one.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    members: Named,
    /// Of the member `properties`, which holds a place for them.
    properties: Named,
    /// Of the member `required`, likewise.
    required: Vec<Json<'static>>,
    required_names: BTreeSet<String>,
    /// Members that the schema says itself, and not one that it refers to.
    own: BTreeSet<String>,
    /// What contradicts.
    pub notes: Vec<String>,
    /// The same, to find one.
    noted: BTreeSet<String>,
    /// How many schemas were put in.
    pub schemas: usize,
    /// References that were followed.
    pub through: Vec<String>,
}

/// Members of an object in their order, the keys unescaped.
#[derive(Debug, Default)]
struct Named {
    list: Vec<(String, Json<'static>)>,
    places: BTreeMap<String, usize>,
}

impl Named {
    fn get(&self, key: &str) -> Option<&Json<'static>> {
        self.places.get(key).and_then(|at| self.list.get(*at)).map(|(_, value)| value)
    }

    /// Adds a member; `false` where the key is there with another value.
    fn add(&mut self, key: &str, value: &Json<'_>) -> bool {
        if let Some(known) = self.get(key) {
            return known.as_str() == value.as_str();
        }
        self.places.insert(key.to_owned(), self.list.len());
        self.list.push((key.to_owned(), value.by_ref().into_owned()));
        true
    }

    fn json(&self) -> Json<'static> {
        let mut out = String::from("{");
        for (at, (key, value)) in self.list.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let _ = write!(out, "{comma}\"{}\":{}", Text::from_plain(key).escaped(), value.as_str());
        }
        out.push('}');
        Json::from_valid(out)
    }
}

impl Gathered {
    /// Adds a member of one of the schemas. A schema that refers to another says what the other is for in this place, so
    /// that its own words stand.
    pub(super) fn add(&mut self, key: &str, value: &Json<'_>, is_referred: bool) -> Result<(), JsonError> {
        if !is_referred {
            self.own.insert(key.to_owned());
        }
        match (key, value.kind()) {
            ("description" | "title" | "default", _) if is_referred && self.own.contains(key) => {}
            // They hold nothing of a value, and stay where they are found.
            ("$ref" | "$defs" | "definitions" | "$schema" | "$id" | "$comment", _) => {}
            ("properties", Kind::Object) => {
                self.members.add(key, &Json::EMPTY_OBJECT);
                value.cursor().object::<JsonError>(|name, schema| {
                    let schema = schema.json()?;
                    if !self.properties.add(&name, &schema) {
                        self.note(&format!("and {name}: {}", schema.as_str()));
                    }
                    Ok(())
                })?;
            }
            ("required", Kind::Array) => {
                self.members.add(key, &Json::EMPTY_OBJECT);
                value.cursor().array::<JsonError>(|_, name| {
                    let name = name.json()?;
                    if self.required_names.insert(name.as_str().to_owned()) {
                        self.required.push(name.into_owned());
                    }
                    Ok(())
                })?;
            }
            // Their place is for what other schemas say.
            ("properties" | "required", _) => self.note(&format!("and {key}: {}", value.as_str())),
            _ if !self.members.add(key, value) => self.note(&format!("and {key}: {}", value.as_str())),
            _ => {}
        }
        Ok(())
    }

    /// Adds the type of what is referred to, where nothing of the kind is known.
    pub(super) fn add_kind(&mut self, kind: &str) {
        if self.members.get("type").is_none() {
            self.members.add("type", &Json::from_valid(format!("\"{}\"", Text::from_plain(kind).escaped())));
        }
    }

    /// The schema that says it all.
    pub(super) fn json(mut self) -> Json<'static> {
        let required: Vec<&str> = self.required.iter().map(Json::as_str).collect();
        let required = Json::from_valid(format!("[{}]", required.join(",")));
        for (key, whole) in [("properties", self.properties.json()), ("required", required)] {
            let place = self.members.places.get(key).and_then(|at| self.members.list.get_mut(*at));
            if let Some((_, value)) = place {
                *value = whole;
            }
        }
        self.members.json()
    }

    fn note(&mut self, words: &str) {
        if self.noted.insert(words.to_owned()) {
            self.notes.push(words.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work grows with what contradicts, not with its square: this would take minutes.
    #[test]
    fn thousands_of_properties_contradict() {
        let properties = |schema: &str| {
            let list: Vec<String> = (0..200_000).map(|n| format!("\"p{n}\":{schema}")).collect();
            Json::from_valid(format!("{{{}}}", list.join(",")))
        };
        let mut all = Gathered::default();
        for schema in ["{}", "true", "true"] {
            all.add("properties", &properties(schema), false).unwrap();
        }
        assert_eq!((all.notes.len(), all.notes[0].as_str()), (200_000, "and p0: true"));
        assert_eq!(all.notes[199_999], "and p199999: true");
    }
}

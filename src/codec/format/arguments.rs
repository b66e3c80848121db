//! The schema of a function's arguments as providers want it: an object's, whose properties stand at the top.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::json::{Json, JsonError, Kind, Text};

/// What a function without arguments takes.
const NOTHING: &str = r#"{"type":"object","properties":{}}"#;
/// Most schemas that are told of one property.
const MOST_MEANINGS: usize = 16;

/// The schema of a function's arguments, with `"type":"object"` and without choices among schemas at its top; and what
/// changed by that, for a report.
pub(super) fn of_object<'a>(schema: Option<&'a Json<'a>>) -> (Json<'a>, Option<&'static str>) {
    let Some(schema) = schema.filter(|schema| !schema.is_empty() && schema.kind() == Kind::Object) else {
        return (Json::from_valid(NOTHING), None);
    };
    let Ok(top) = Top::read(schema) else { return (schema.by_ref(), None) };
    if !top.choices.is_empty() {
        let reason = "arguments are one object: a choice among schemas is told in words";
        return top.flat().map_or_else(|_| (schema.by_ref(), None), |flat| (flat, Some(reason)));
    }
    if top.kind.as_ref().is_some_and(|kind| kind.as_str() == "\"object\"") {
        return (schema.by_ref(), None);
    }
    // Providers look at the word, so nothing else may stand there: not even a list with the word in it.
    let mut out = String::from(r#"{"type":"object""#);
    top.members.iter().for_each(|(key, value)| member(key, value.as_str(), &mut out));
    out.push('}');
    (Json::from_valid(out), top.kind.map(|_| "the arguments of a tool are an object"))
}

fn member(key: &str, value: &str, out: &mut String) {
    let _ = write!(out, ",\"{}\":{value}", Text::from_plain(key).escaped());
}

/// The top of a schema.
#[derive(Default)]
struct Top<'a> {
    kind: Option<Json<'a>>,
    /// `allOf`, `anyOf` and `oneOf`.
    choices: Vec<(String, Json<'a>)>,
    /// All members but those.
    members: Vec<(String, Json<'a>)>,
}

impl<'a> Top<'a> {
    fn read(schema: &'a Json<'a>) -> Result<Self, JsonError> {
        let mut top = Self::default();
        schema.cursor().object::<JsonError>(|key, value| {
            let json = value.json()?;
            match (key.as_ref(), json.kind()) {
                ("type", _) => top.kind = Some(json),
                ("allOf" | "anyOf" | "oneOf", Kind::Array) => top.choices.push((key.into_owned(), json)),
                _ => top.members.push((key.into_owned(), json)),
            }
            Ok(())
        })?;
        Ok(top)
    }

    /// One object with the properties of all schemas that hold or may hold; the choice is told in the description.
    fn flat(&self) -> Result<Json<'static>, JsonError> {
        let mut all = Properties::default();
        let mut definitions = BTreeMap::new();
        for (key, value) in &self.members {
            match (key.as_str(), value.kind()) {
                ("properties" | "required", _) => all.add(key, value, true)?,
                ("$defs" | "definitions", Kind::Object) => value.cursor().object::<JsonError>(|name, value| {
                    definitions.insert(format!("\"#/{key}/{name}\""), value.json()?.into_owned());
                    Ok(())
                })?,
                _ => {}
            }
        }
        for (key, list) in &self.choices {
            all.choice(list, key == "allOf", &definitions)?;
        }
        let mut out = String::from(r#"{"type":"object""#);
        member("properties", &all.json(), &mut out);
        if !all.required.is_empty() {
            let names: Vec<&str> = all.required.iter().map(String::as_str).collect();
            member("required", &format!("[{}]", names.join(",")), &mut out);
        }
        member("description", &self.description(), &mut out);
        let told = ["properties", "required", "description"];
        for (key, value) in self.members.iter().filter(|(key, _)| !told.contains(&key.as_str())) {
            member(key, value.as_str(), &mut out);
        }
        out.push('}');
        Ok(Json::from_valid(out))
    }

    /// The description with the choice in it.
    fn description(&self) -> String {
        let said = self.members.iter().find(|(key, value)| key == "description" && value.kind() == Kind::String);
        let said = said.map_or("", |(_, value)| value.as_str().trim_matches('"'));
        let between = if said.is_empty() { "" } else { "\\n\\n" };
        let choices = self.choices.iter().map(|(key, list)| format!("\"{key}\":{}", list.as_str()));
        let choices = format!("Must be valid by {{{}}}", choices.collect::<Vec<_>>().join(","));
        format!("\"{said}{between}{}\"", Text::from_plain(&choices).escaped())
    }
}

/// Properties of several schemas.
#[derive(Default)]
struct Properties {
    /// By the key as it is written: all that is said of each.
    list: Vec<(String, Vec<Json<'static>>)>,
    places: BTreeMap<String, usize>,
    /// As they are written.
    required: BTreeSet<String>,
    /// Of the schema that is read.
    requires: BTreeSet<String>,
}

impl Properties {
    fn add(&mut self, key: &str, value: &Json<'_>, is_always: bool) -> Result<(), JsonError> {
        match (key, value.kind()) {
            ("properties", Kind::Object) => value.cursor().object::<JsonError>(|name, value| {
                let value = value.json()?;
                let place = *self.places.entry(name.clone().into_owned()).or_insert(self.list.len());
                if place == self.list.len() {
                    self.list.push((name.into_owned(), Vec::new()));
                }
                if let Some((_, meanings)) = self.list.get_mut(place)
                    && meanings.len() <= MOST_MEANINGS
                    && !meanings.iter().any(|known| known.as_str() == value.as_str())
                {
                    meanings.push(value.into_owned());
                }
                Ok(())
            }),
            ("required", Kind::Array) => value.cursor().array::<JsonError>(|_, name| {
                let name = name.json()?;
                let names = if is_always { &mut self.required } else { &mut self.requires };
                names.insert(name.as_str().to_owned());
                Ok(())
            }),
            _ => Ok(()),
        }
    }

    /// Adds the schemas of `list`; what each of them requires, or any where `all` of them hold, is required.
    fn choice(
        &mut self,
        list: &Json<'_>,
        all: bool,
        definitions: &BTreeMap<String, Json<'static>>,
    ) -> Result<(), JsonError> {
        let mut common: Option<BTreeSet<String>> = None;
        list.cursor().array::<JsonError>(|_, schema| {
            let schema = schema.json()?;
            self.requires.clear();
            self.schema(&schema, definitions)?;
            let requires = std::mem::take(&mut self.requires);
            common = Some(match common.take() {
                None => requires,
                Some(known) if all => known.union(&requires).cloned().collect(),
                Some(known) => known.intersection(&requires).cloned().collect(),
            });
            Ok(())
        })?;
        self.required.extend(common.unwrap_or_default());
        Ok(())
    }

    fn schema(&mut self, schema: &Json<'_>, definitions: &BTreeMap<String, Json<'static>>) -> Result<(), JsonError> {
        if schema.kind() != Kind::Object {
            return Ok(());
        }
        let mut referred = None;
        schema.cursor().object::<JsonError>(|key, value| {
            let value = value.json()?;
            if key == "$ref" {
                referred = definitions.get(value.as_str());
            }
            self.add(&key, &value, false)
        })?;
        let Some(referred) = referred.filter(|schema| schema.kind() == Kind::Object) else { return Ok(()) };
        referred.cursor().object::<JsonError>(|key, value| self.add(&key, &value.json()?, false))
    }

    fn json(&self) -> String {
        let one = |(name, meanings): &(String, Vec<Json<'_>>)| {
            let said = match meanings.as_slice() {
                [one] => one.as_str().to_owned(),
                several if several.len() <= MOST_MEANINGS => {
                    format!("{{\"anyOf\":[{}]}}", several.iter().map(Json::as_str).collect::<Vec<_>>().join(","))
                }
                _ => "{}".to_owned(),
            };
            format!("\"{}\":{said}", Text::from_plain(name).escaped())
        };
        format!("{{{}}}", self.list.iter().map(one).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: Option<&str>, expected: &str, changed: bool) {
        let read = schema.map(Json::from_valid);
        let (written, change) = of_object(read.as_ref());
        assert_eq!((written.as_str(), change.is_some()), (expected, changed), "{schema:?}");
    }

    #[test]
    fn trap_c20_arguments_are_an_object() {
        for (schema, expected, changed) in [
            (None, r#"{"type":"object","properties":{}}"#, false),
            (Some("{}"), r#"{"type":"object","properties":{}}"#, false),
            (Some("null"), r#"{"type":"object","properties":{}}"#, false),
            (Some(r#"{"properties":{"type":{}}}"#), r#"{"type":"object","properties":{"type":{}}}"#, false),
            (Some(r#"{"type":"object","x":1.0}"#), r#"{"type":"object","x":1.0}"#, false),
            (Some(r#"{"x":1.0,"type":["object","null"]}"#), r#"{"type":"object","x":1.0}"#, true),
            (Some(r#"{"type":"string"}"#), r#"{"type":"object"}"#, true),
        ] {
            check(schema, expected, changed);
        }
    }

    #[test]
    fn a_choice_among_schemas_is_told_in_words() {
        for (schema, expected) in [
            (
                r#"{"anyOf":[{"type":"object","properties":{"a":{"type":"string"}}}]}"#,
                r#"{"type":"object","properties":{"a":{"type":"string"}},"description":"Must be valid by {\"anyOf\":[{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"}}}]}"}"#,
            ),
            (
                r##"{"description":"d","oneOf":[{"$ref":"#/$defs/x"},{"properties":{"a":{},"c":{}},"required":["c","a"]}],"$defs":{"x":{"properties":{"a":{"type":"string"}},"required":["a"]}}}"##,
                r##"{"type":"object","properties":{"a":{"anyOf":[{"type":"string"},{}]},"c":{}},"required":["a"],"description":"d\n\nMust be valid by {\"oneOf\":[{\"$ref\":\"#/$defs/x\"},{\"properties\":{\"a\":{},\"c\":{}},\"required\":[\"c\",\"a\"]}]}","$defs":{"x":{"properties":{"a":{"type":"string"}},"required":["a"]}}}"##,
            ),
            (
                r#"{"type":"object","properties":{"z":{}},"required":["z"],"allOf":[{"properties":{"a":{}},"required":["a"]},{"required":["b"]},true],"additionalProperties":false}"#,
                r#"{"type":"object","properties":{"z":{},"a":{}},"required":["a","b","z"],"description":"Must be valid by {\"allOf\":[{\"properties\":{\"a\":{}},\"required\":[\"a\"]},{\"required\":[\"b\"]},true]}","additionalProperties":false}"#,
            ),
        ] {
            check(Some(schema), expected, true);
        }
        check(
            Some(r#"{"type":"object","properties":{"anyOf":{"anyOf":[{}]}}}"#),
            r#"{"type":"object","properties":{"anyOf":{"anyOf":[{}]}}}"#,
            false,
        );
    }
}

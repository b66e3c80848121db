//! The schema of a function's arguments as providers want it: an object's, whose properties stand at the top.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::json::{Json, JsonError, Kind, Text};

/// What a function without arguments takes.
const NOTHING: &str = r#"{"type":"object","properties":{}}"#;
/// Most schemas that are told of one property.
const MOST_MEANINGS: usize = 16;
/// Deepest choice within a choice, or reference to a reference, that is read.
const DEEPEST: usize = 32;
/// How often definitions that were read are named again, and names that they require then.
const MOST_AGAIN: usize = 1 << 16;
/// Most schemas that are looked at to learn whether an answer is an object.
const MOST_OFFERED: usize = 64;
/// Keywords that hold schemas for others to refer to.
const DEFINING: [&str; 2] = ["$defs", "definitions"];
/// Keywords by which a schema says more of properties than is gathered.
const UNGATHERED: [&str; 8] =
    ["$dynamicRef", "$recursiveRef", "dependencies", "dependentSchemas", "else", "if", "patternProperties", "then"];
/// Keywords that shut out properties beside those that are known.
const CLOSING: [&str; 2] = ["additionalProperties", "unevaluatedProperties"];
/// Why a choice among schemas is sent as one.
const TOLD: &str = "arguments are one object: a choice among schemas is told in words";
/// Why it is sent open.
const OPENED: &str = "arguments are one object: a choice among schemas is told in words, and not all of its properties \
    could be gathered, so that others are let in";

/// The schema of a function's arguments, with `"type":"object"` and without choices among schemas at its top; and what
/// changed by that, for a report.
pub(super) fn of_object<'a>(schema: Option<&'a Json<'a>>) -> (Json<'a>, Option<&'static str>) {
    let Some(schema) = schema.filter(|schema| !schema.is_empty() && schema.kind() == Kind::Object) else {
        return (Json::from_valid(NOTHING), None);
    };
    let Ok(top) = Top::read(schema) else { return (schema.by_ref(), None) };
    if !top.choices.is_empty() {
        return top.flat().map_or_else(|_| (schema.by_ref(), None), |(flat, reason)| (flat, Some(reason)));
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

/// The schema of an answer with `"type":"object"` at its top; and what changed by that, for a report. `None` where an
/// answer by it may be no object, or the top does not say that it is one.
pub(crate) fn of_answer<'a>(schema: &'a Json<'a>) -> Option<(Json<'a>, Option<&'static str>)> {
    let top = Top::read(schema).ok()?;
    let has = |name: &str| top.members.iter().any(|(key, _)| key == name);
    let is_object = match &top.kind {
        Some(kind) if kind.as_str() == "\"object\"" => return Some((schema.by_ref(), None)),
        Some(kind) => is_object_or_null(kind),
        None => has("properties"),
    };
    if !is_object || !top.choices.is_empty() || has("$ref") {
        return None;
    }
    let (schema, change) = of_object(Some(schema));
    Some((schema, change.map(|_| "the answer is an object, and never nothing")))
}

/// True where an answer by `schema` is an object, or may be nothing beside: its top says so, or every schema does that the
/// top offers to choose from.
pub(super) fn is_of_object(schema: &Json<'_>) -> bool {
    let Ok(top) = Top::read(schema) else { return false };
    let mut known = Properties::default();
    let is_definition = |key: &str, value: &Json<'_>| DEFINING.contains(&key) && value.kind() == Kind::Object;
    for (key, value) in top.members.iter().filter(|(key, value)| is_definition(key, value)) {
        if known.define(key, value).is_err() {
            return false;
        }
    }
    let mut left = MOST_OFFERED;
    known.are_objects(schema, &mut left)
}

/// True for a list of types with these two words.
fn is_object_or_null(kind: &Json<'_>) -> bool {
    let mut words = BTreeSet::new();
    let read = kind.cursor().array::<JsonError>(|_, word| {
        words.insert(word.string()?.into_owned());
        Ok(())
    });
    read.is_ok() && words.contains("object") && words.iter().all(|word| word == "object" || word == "null")
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

    /// One object with the properties of all schemas that hold or may hold, and why; the choice is told in the
    /// description. Where properties stay ungathered no other is shut out.
    fn flat(&self) -> Result<(Json<'static>, &'static str), JsonError> {
        let (all, required) = self.gathered()?;
        let mut out = String::from(r#"{"type":"object""#);
        member("properties", &all.json(), &mut out);
        if !required.is_empty() {
            let names: Vec<&str> = required.iter().map(String::as_str).collect();
            member("required", &format!("[{}]", names.join(",")), &mut out);
        }
        member("description", &self.description(), &mut out);
        let is_closing = |key: &str| CLOSING.contains(&key);
        let is_opened = all.is_partial || (all.is_open && !self.members.iter().any(|(key, _)| is_closing(key)));
        let told = ["properties", "required", "description", "$ref"];
        let is_left = |key: &str| told.contains(&key) || (is_opened && is_closing(key));
        for (key, value) in self.members.iter().filter(|(key, _)| !is_left(key)) {
            member(key, value.as_str(), &mut out);
        }
        if is_opened {
            member("additionalProperties", "true", &mut out);
        }
        out.push('}');
        Ok((Json::from_valid(out), if all.is_partial { OPENED } else { TOLD }))
    }

    /// The properties of all the schemas, and what is required.
    fn gathered(&self) -> Result<(Properties<'_>, BTreeSet<String>), JsonError> {
        let (mut all, mut required) = (Properties::default(), BTreeSet::new());
        for (key, value) in
            self.members.iter().filter(|(key, value)| DEFINING.contains(&key.as_str()) && value.kind() == Kind::Object)
        {
            all.define(key, value)?;
        }
        for (key, value) in &self.members {
            if matches!(key.as_str(), "properties" | "required" | "$ref") {
                required.extend(all.keyword(key, value, DEEPEST)?);
            }
        }
        for (key, list) in &self.choices {
            required.extend(all.keyword(key, list, DEEPEST)?);
        }
        Ok((all, required))
    }

    /// The description with the choice in it.
    fn description(&self) -> String {
        let said = self.members.iter().find(|(key, value)| key == "description" && value.kind() == Kind::String);
        let said = said.and_then(|(_, value)| value.cursor().text().ok()).unwrap_or(Text::EMPTY);
        let between = if said.is_empty() { "" } else { "\\n\\n" };
        let referred = self.members.iter().filter(|(key, _)| key == "$ref");
        let choices = referred.chain(&self.choices).map(|(key, value)| format!("\"{key}\":{}", value.as_str()));
        let choices = format!("Must be valid by {{{}}}", choices.collect::<Vec<_>>().join(","));
        format!("\"{}{between}{}\"", said.escaped(), Text::from_json(&choices).escaped())
    }
}

/// Properties of several schemas.
#[derive(Default)]
struct Properties<'s> {
    /// By the key, unescaped: all that is said of each.
    list: Vec<(String, Vec<Json<'static>>)>,
    places: BTreeMap<String, usize>,
    /// By the reference to each.
    definitions: BTreeMap<String, Json<'s>>,
    /// What each definition that was read requires.
    known: BTreeMap<String, BTreeSet<String>>,
    /// What was taken of [`MOST_AGAIN`].
    again: usize,
    /// There is something that was not gathered.
    is_partial: bool,
    /// One of the schemas says that other properties may be.
    is_open: bool,
}

impl<'s> Properties<'s> {
    fn define(&mut self, key: &str, definitions: &'s Json<'_>) -> Result<(), JsonError> {
        definitions.cursor().object::<JsonError>(|name, value| {
            let name = name.replace('~', "~0").replace('/', "~1");
            self.definitions.insert(format!("#/{key}/{name}"), value.json()?);
            Ok(())
        })
    }

    /// True where all values by `schema` are objects, or nothing; `left` is how many more schemas are looked at.
    fn are_objects(&self, schema: &Json<'_>, left: &mut usize) -> bool {
        let Some(rest) = left.checked_sub(1) else { return false };
        *left = rest;
        let Ok(top) = Top::read(schema) else { return false };
        let said = |name: &str| top.members.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        if let Some(kind) = &top.kind {
            return kind.as_str() == "\"object\"" || is_object_or_null(kind);
        }
        if let Some(reference) = said("$ref") {
            let found = reference.cursor().string().ok().and_then(|name| self.definitions.get(name.as_ref()));
            return found.is_some_and(|found| self.are_objects(found, left));
        }
        let mut are = said("properties").is_some();
        for (key, list) in &top.choices {
            let mut offered = Vec::new();
            let read = list.cursor().array::<JsonError>(|_, one| {
                offered.push(one.json()?);
                Ok(())
            });
            are |= read.is_ok()
                && if key == "allOf" {
                    offered.iter().any(|one| self.are_objects(one, left))
                } else {
                    !offered.is_empty() && offered.iter().all(|one| self.are_objects(one, left))
                };
        }
        are
    }

    /// Adds the properties of `schema`, which is `depth` steps above the deepest that is read; returns what it requires,
    /// as it is written.
    fn schema(&mut self, schema: &Json<'_>, depth: usize) -> Result<BTreeSet<String>, JsonError> {
        let mut required = BTreeSet::new();
        if schema.kind() != Kind::Object {
            return Ok(required);
        }
        if depth == 0 {
            self.is_partial = true;
            return Ok(required);
        }
        schema.cursor().object::<JsonError>(|key, value| {
            required.extend(self.keyword(&key, &value.json()?, depth - 1)?);
            Ok(())
        })?;
        Ok(required)
    }

    /// Adds what a keyword says of properties; returns what it requires.
    fn keyword(&mut self, key: &str, value: &Json<'_>, depth: usize) -> Result<BTreeSet<String>, JsonError> {
        match (key, value.kind()) {
            ("properties", Kind::Object) => self.properties(value)?,
            ("required", Kind::Array) => return names(value),
            ("allOf" | "anyOf" | "oneOf", Kind::Array) => return self.choice(value, key == "allOf", depth),
            ("$ref", Kind::String) => return self.referred(&value.cursor().string()?, depth),
            ("additionalProperties", _) => self.is_open |= value.as_str() != "false",
            (key, _) => self.is_partial |= UNGATHERED.contains(&key),
        }
        Ok(BTreeSet::new())
    }

    fn properties(&mut self, properties: &Json<'_>) -> Result<(), JsonError> {
        properties.cursor().object::<JsonError>(|name, value| {
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
        })
    }

    /// Adds the schemas of `list`; what each of them requires, or any where `all` of them hold, is required.
    fn choice(&mut self, list: &Json<'_>, all: bool, depth: usize) -> Result<BTreeSet<String>, JsonError> {
        let mut common: Option<BTreeSet<String>> = None;
        list.cursor().array::<JsonError>(|_, schema| {
            let mut requires = self.schema(&schema.json()?, depth)?;
            match &mut common {
                None => common = Some(requires),
                Some(known) if all => known.extend(requires),
                Some(known) => {
                    requires.retain(|name| known.contains(name));
                    *known = requires;
                }
            }
            Ok(())
        })?;
        Ok(common.unwrap_or_default())
    }

    /// Adds the definition that `reference` names; the properties of one that was read are there.
    fn referred(&mut self, reference: &str, depth: usize) -> Result<BTreeSet<String>, JsonError> {
        if let Some(known) = self.known.get(reference) {
            let again = self.again + known.len() + 1;
            if again > MOST_AGAIN {
                self.is_partial = true;
                return Ok(BTreeSet::new());
            }
            self.again = again;
            return Ok(known.clone());
        }
        let Some(schema) = self.definitions.get(reference).cloned() else {
            self.is_partial = true;
            return Ok(BTreeSet::new());
        };
        // One that refers to itself requires nothing by that.
        self.known.insert(reference.to_owned(), BTreeSet::new());
        let required = self.schema(&schema, depth)?;
        self.known.insert(reference.to_owned(), required.clone());
        Ok(required)
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

/// The names of `required`, as they are written.
fn names(required: &Json<'_>) -> Result<BTreeSet<String>, JsonError> {
    let mut names = BTreeSet::new();
    required.cursor().array::<JsonError>(|_, name| {
        names.insert(name.json()?.as_str().to_owned());
        Ok(())
    })?;
    Ok(names)
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
    fn answers_that_are_objects_are_told_from_others() {
        let wide = format!(
            r#"{{"anyOf":[{}],"$defs":{{"a":{{"type":"object"}}}}}}"#,
            vec![r##"{"$ref":"#/$defs/a"}"##; 1000].join(",")
        );
        for (schema, expected) in [
            (r#"{"type":"object"}"#, true),
            (r#"{"type":["null","object"]}"#, true),
            (r#"{"properties":{}}"#, true),
            (
                r##"{"$ref":"#/$defs/a","$defs":{"a":{"anyOf":[{"properties":{}},{"$ref":"#/$defs/b"}]},"b":{"type":"object"}}}"##,
                true,
            ),
            (r#"{"allOf":[{"description":"d"},{"type":"object"}]}"#, true),
            (r#"{"type":"array","items":{"type":"object"}}"#, false),
            (r#"{"oneOf":[{"type":"object"},{"type":"array"}]}"#, false),
            (r##"{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a"}}}"##, false),
            (r##"{"$ref":"#/$defs/none"}"##, false),
            (r#"{"enum":["a"]}"#, false),
            (r#"{"anyOf":[]}"#, false),
            ("{}", false),
            (wide.as_str(), false),
        ] {
            assert_eq!(is_of_object(&Json::from_valid(schema)), expected, "{schema}");
        }
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

    /// The properties and the required names that are written of `schema`, and what it says of other properties.
    fn gathered(schema: &str) -> [String; 3] {
        let read = Json::from_valid(schema);
        let (written, change) = of_object(Some(&read));
        assert!(change.is_some(), "{schema}");
        let written: serde_json::Value = serde_json::from_str(written.as_str()).unwrap();
        ["properties", "required", "additionalProperties"].map(|key| written[key].to_string())
    }

    #[test]
    fn choices_in_choices_and_references_to_references_are_gathered() {
        for (schema, expected) in [
            (
                r##"{"anyOf":[{"allOf":[{"$ref":"#/$defs/B"},{"properties":{"a":{}},"required":["a"]}]},{"$ref":"#/$defs/C"}],"$defs":{"B":{"properties":{"b":{}},"required":["b"]},"C":{"$ref":"#/$defs/B"}},"additionalProperties":false}"##,
                [r#"{"a":{},"b":{}}"#, r#"["b"]"#, "false"],
            ),
            (
                r#"{"allOf":[{"oneOf":[{"properties":{"a":{}},"required":["a"]},{"properties":{"b":{}},"required":["a","b"]}]},{"required":["c"]}]}"#,
                [r#"{"a":{},"b":{}}"#, r#"["a","c"]"#, "null"],
            ),
            (
                r##"{"$ref":"#/definitions/x~1y","anyOf":[{"required":["a"]},{"allOf":[{"required":["a"]}]}],"definitions":{"x/y":{"properties":{"a":{}}}},"additionalProperties":false}"##,
                [r#"{"a":{}}"#, r#"["a"]"#, "false"],
            ),
            // It says nothing of itself.
            (
                r##"{"allOf":[{"$ref":"#/$defs/n"}],"$defs":{"n":{"allOf":[{"$ref":"#/$defs/n"},{"properties":{"a":{}},"required":["a"]}]}},"additionalProperties":false}"##,
                [r#"{"a":{}}"#, r#"["a"]"#, "false"],
            ),
        ] {
            assert_eq!(gathered(schema), expected, "{schema}");
        }
    }

    #[test]
    fn arguments_that_were_not_gathered_are_not_shut_out() {
        let deep = format!("{}{{}}{}", r#"{"allOf":["#.repeat(40), "]}".repeat(40));
        for branch in [
            r##"{"$ref":"#/$defs/none"}"##,
            r##"{"$ref":"#/properties/a"}"##,
            r#"{"if":{"required":["a"]},"then":{"properties":{"b":{}}}}"#,
            r#"{"patternProperties":{"^x":{}}}"#,
            deep.as_str(),
        ] {
            for closed in [r#","additionalProperties":false"#, r#","unevaluatedProperties":false"#, ""] {
                let schema = format!(r#"{{"properties":{{"a":{{}}}},"anyOf":[{branch}]{closed}}}"#);
                assert_eq!(gathered(&schema), [r#"{"a":{}}"#, "null", "true"], "{schema}");
            }
        }
        let open = r#"{"anyOf":[{"properties":{"a":{}},"additionalProperties":{"type":"string"}}]}"#;
        assert_eq!(gathered(open)[2], "true");
    }

    /// Work grows with the text, not with its square: this would take minutes.
    #[test]
    fn a_definition_is_read_once_however_often_it_is_named() {
        let list = |one: &dyn Fn(usize) -> String| (0..20_000).map(one).collect::<Vec<_>>().join(",");
        let references = list(&|_| r##"{"$ref":"#/$defs/x"}"##.to_owned());
        let (properties, names) = (list(&|n| format!("\"p{n}\":{{}}")), list(&|n| format!("\"p{n}\"")));
        for key in ["allOf", "anyOf", "oneOf"] {
            for (required, expected) in [("", ["p0", "null"]), (names.as_str(), ["p0", "true"])] {
                let schema = format!(
                    r#"{{"{key}":[{references}],"$defs":{{"x":{{"properties":{{{properties}}},"required":[{required}]}}}}}}"#
                );
                let [written, _, open] = gathered(&schema);
                assert_eq!(written.matches("{}").count(), 20_000, "{key}");
                assert_eq!((written.contains(expected[0]), open.as_str()), (true, expected[1]), "{key}");
            }
        }
    }

    #[test]
    fn a_description_keeps_its_quotes() {
        check(
            Some(r#"{"description":"say \"hi\"","anyOf":[]}"#),
            r#"{"type":"object","properties":{},"description":"say \"hi\"\n\nMust be valid by {\"anyOf\":[]}"}"#,
            true,
        );
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

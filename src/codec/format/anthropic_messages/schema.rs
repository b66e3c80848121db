//! JSON schemas for answers and for arguments that are held to them, as the format wants them: closed objects, no bounds of
//! values, and no keywords but those that it knows.

use super::schema_bounds::{Bounds, bounds_of};
use crate::json::{Cursor, Json, JsonError, Kind, Text};

/// Why a schema is not sent with all its keywords.
pub(super) const TOLD: &str =
    "bounds of values and keywords that are refused are told in descriptions; nothing enforces them";

/// Why a schema is not sent with its choice as it is.
pub(super) const RESPELLED: &str = "a choice among schemas is sent as `anyOf`, without what tells them apart";

/// A schema that the format takes.
#[derive(Debug)]
pub(super) struct Fitted {
    /// The schema.
    pub schema: Json<'static>,
    /// Objects were closed to other properties.
    pub closed: bool,
    /// Among them are such as are open for more than they name: what is valid is other than what the schema says.
    pub was_open: bool,
    /// Bounds and other keywords that the format refuses are told in descriptions.
    pub told: bool,
    /// A choice among schemas is sent as `anyOf`.
    pub respelled: bool,
}

/// The schema with `"additionalProperties":false` in every object schema that says nothing or anything else, and with each
/// keyword that the format refuses told in the description beside it; `None` if there was nothing to do. Every other byte
/// but white space is as it was. Names of properties are names, whatever they read.
pub(super) fn fitted(schema: &Json<'_>) -> Option<Fitted> {
    let mut pen = Pen { out: String::with_capacity(schema.as_str().len() + 64), ..Pen::default() };
    pen.schema(&mut schema.cursor()).ok()?;
    let Pen { out, closed, was_open, told, respelled, changed, .. } = pen;
    (closed || told || was_open || respelled || changed).then(|| Fitted {
        schema: Json::from_valid(out),
        closed,
        was_open,
        told,
        respelled,
    })
}

#[derive(Default)]
struct Pen {
    out: String,
    closed: bool,
    was_open: bool,
    told: bool,
    respelled: bool,
    /// Keywords are left out or sent as others.
    changed: bool,
    /// Objects so far.
    objects: usize,
}

/// What was seen of one schema.
struct Seen {
    is_object: bool,
    is_closed: bool,
    /// It names properties.
    names: bool,
    /// Several objects in `allOf`: each holds some of the properties.
    spread: bool,
    /// Objects in a list of schemas: those properties are not its own.
    chooses: bool,
    is_described: bool,
    refers: bool,
    /// No member is written yet.
    first: bool,
}

impl Seen {
    fn new() -> Self {
        Self {
            is_object: false,
            is_closed: false,
            names: false,
            spread: false,
            chooses: false,
            is_described: false,
            refers: false,
            first: true,
        }
    }
}

impl Pen {
    fn schema(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        if cursor.peek()? != Kind::Object {
            return self.copy(cursor);
        }
        let bounds = bounds_of(cursor)?;
        self.told |= bounds.tells();
        self.changed |= !bounds.keys.is_empty() || bounds.choice.is_some();
        self.respelled |= bounds.is_respelled;
        let mut seen = Seen::new();
        self.out.push('{');
        cursor.object::<JsonError>(|key, value| self.member(&key, value, &bounds, &mut seen))?;
        if !seen.is_described && !bounds.words.is_empty() {
            self.key("description", &mut seen.first);
            self.out.extend(["\"", &bounds.words, "\""]);
        }
        self.was_open |= seen.spread || (seen.chooses && seen.is_object);
        if seen.is_object {
            self.close(&bounds, &mut seen);
        }
        self.out.push('}');
        Ok(())
    }

    fn member(&mut self, key: &str, value: &mut Cursor<'_>, bounds: &Bounds, seen: &mut Seen) -> Result<(), JsonError> {
        if bounds.keys.contains(key) {
            return value.skip();
        }
        let is_choice = bounds.choice == Some(key);
        self.key(if is_choice { "anyOf" } else { key }, &mut seen.first);
        seen.refers |= key == "$ref";
        match key {
            "type" => {
                seen.is_object |= says_object(value)?;
                self.copy(value)
            }
            "additionalProperties" => {
                seen.is_closed = true;
                let is_open = value.json()?.as_str() != "false";
                self.closed |= is_open;
                self.was_open |= is_open;
                self.out.push_str("false");
                Ok(())
            }
            "description" if !bounds.words.is_empty() => {
                seen.is_described = true;
                self.description(value, &bounds.words)
            }
            "properties" | "$defs" | "definitions" if value.peek()? == Kind::Object => {
                seen.is_object |= key == "properties";
                let length = self.out.len();
                self.named(value)?;
                seen.names |= key == "properties" && self.out.len() > length + "{}".len();
                Ok(())
            }
            "anyOf" | "oneOf" | "allOf" if value.peek()? == Kind::Array => {
                let objects = self.objects;
                let branches = self.list(value)?;
                seen.chooses |= self.objects > objects;
                seen.spread |= self.objects > objects && key == "allOf" && branches > 1;
                Ok(())
            }
            "items" => self.schema(value),
            _ => self.copy(value),
        }
    }

    /// Closes an object to properties that it does not name.
    fn close(&mut self, bounds: &Bounds, seen: &mut Seen) {
        self.objects += 1;
        // What it refers to, and what is told in words, has properties that are shut out; and who names none means any.
        let any = !seen.names && !seen.chooses && !seen.spread;
        self.was_open |= bounds.has_patterns || (!seen.is_closed && (seen.refers || bounds.names_more || any));
        if !seen.is_closed && !seen.refers {
            self.closed = true;
            self.key("additionalProperties", &mut seen.first);
            self.out.push_str("false");
        }
    }

    /// A description that tells the bounds as well.
    fn description(&mut self, cursor: &mut Cursor<'_>, words: &str) -> Result<(), JsonError> {
        let said = if cursor.peek()? == Kind::String { cursor.text()? } else { Text::EMPTY };
        let between = if said.is_empty() { "" } else { "\\n\\n" };
        self.out.extend(["\"", said.escaped(), between, words, "\""]);
        Ok(())
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

    /// Writes a list of schemas; how many there are.
    fn list(&mut self, cursor: &mut Cursor<'_>) -> Result<usize, JsonError> {
        let mut count = 0;
        self.out.push('[');
        cursor.array::<JsonError>(|index, element| {
            if index > 0 {
                self.out.push(',');
            }
            count = index + 1;
            self.schema(element)
        })?;
        self.out.push(']');
        Ok(count)
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

/// True for `"object"` and for a list of types that has it.
fn says_object(value: &Cursor<'_>) -> Result<bool, JsonError> {
    let mut value = value.clone();
    match value.peek()? {
        Kind::String => Ok(value.string()? == "object"),
        Kind::Array => {
            let mut found = false;
            value.array::<JsonError>(|_, element| {
                found |= element.peek()? == Kind::String && element.string()? == "object";
                Ok(())
            })?;
            Ok(found)
        }
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is expected of a schema that is fit as it is.
    fn check(schema: &str, expected: &str) {
        let found = fitted(&Json::from_valid(schema));
        assert_eq!(found.as_ref().map_or("", |fitted| fitted.schema.as_str()), expected, "{schema}");
    }

    #[test]
    fn closes_objects_and_nothing_else() {
        for (schema, expected) in [
            (
                r#"{"type":"object","properties":{}}"#,
                r#"{"type":"object","properties":{},"additionalProperties":false}"#,
            ),
            (r#"{"type":"object","additionalProperties":false}"#, ""),
            (r#"{"type":"string"}"#, ""),
            (r#"{"type":["object","null"]}"#, r#"{"type":["object","null"],"additionalProperties":false}"#),
            (
                r#"{"properties":{"properties":{"type":"array","items":{"type":"object"}}},"additionalProperties":false}"#,
                r#"{"properties":{"properties":{"type":"array","items":{"type":"object","additionalProperties":false}}},"additionalProperties":false}"#,
            ),
            (
                r#"{"$defs":{"type":{"type":"object"}},"anyOf":[{"$ref":"x"}],"default":{"type":"object"}}"#,
                r#"{"$defs":{"type":{"type":"object","additionalProperties":false}},"anyOf":[{"$ref":"x"}],"default":{"type":"object"}}"#,
            ),
        ] {
            check(schema, expected);
        }
    }

    #[test]
    fn bounds_are_told_where_they_stood() {
        for (schema, expected) in [
            (
                r#"{"type":"integer","description":"Age.","minimum":0,"maximum":1.50e2}"#,
                r#"{"type":"integer","description":"Age.\n\nMust be at least 0, at most 1.50e2."}"#,
            ),
            (
                r#"{"maxLength":3,"description":"","type":"string","pattern":"^\\d\"$"}"#,
                r#"{"description":"Must be at most 3 characters long, matched by the regular expression ^\\d\"$.","type":"string"}"#,
            ),
            (
                r##"{"anyOf":[{"type":"number","exclusiveMinimum":1},{"$ref":"#/$defs/a"}],"$defs":{"a":{"items":{"multipleOf":2},"minItems":2}}}"##,
                r##"{"anyOf":[{"type":"number","description":"Must be greater than 1."},{"$ref":"#/$defs/a"}],"$defs":{"a":{"items":{"description":"Must be a multiple of 2."},"description":"Must be at least 2 items long."}}}"##,
            ),
            (
                r#"{"properties":{"minimum":{"format":"int32"}},"additionalProperties":false,"default":{"minimum":1}}"#,
                r#"{"properties":{"minimum":{"description":"Must be of the format int32."}},"additionalProperties":false,"default":{"minimum":1}}"#,
            ),
            (
                r#"{"description":null,"uniqueItems":true,"default":{"minimum":1}}"#,
                r#"{"description":"Must be without equal items.","default":{"minimum":1}}"#,
            ),
            (r#"{"type":"string","format":"date-time"}"#, ""),
            (r#"{"type":"array","minItems":1,"uniqueItems":false}"#, r#"{"type":"array","minItems":1}"#),
        ] {
            check(schema, expected);
        }
    }

    #[test]
    fn keywords_that_are_refused_are_sent_as_others_or_told() {
        for (schema, expected) in [
            (
                r##"{"oneOf":[{"$ref":"#/$defs/a"},{"type":"null"}],"discriminator":{"propertyName":"k"},"$comment":"c"}"##,
                r##"{"anyOf":[{"$ref":"#/$defs/a"},{"type":"null"}]}"##,
            ),
            (
                r#"{"allOf":[{"type":"string"}],"oneOf":[{"minimum":1}]}"#,
                r#"{"allOf":[{"type":"string"}],"anyOf":[{"description":"Must be at least 1."}]}"#,
            ),
            (
                r##"{"allOf":[{"$ref":"#/$defs/a"}],"description":"d"}"##,
                r##"{"anyOf":[{"$ref":"#/$defs/a"}],"description":"d"}"##,
            ),
            (
                r#"{"anyOf":[{"type":"string"}],"oneOf":[{"type":"null"}]}"#,
                r#"{"anyOf":[{"type":"string"}],"description":"Must be valid by {\"oneOf\":[{\"type\":\"null\"}]}."}"#,
            ),
            (
                r##"{"allOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/b"}]}"##,
                r##"{"description":"Must be valid by {\"allOf\":[{\"$ref\":\"#/$defs/a\"},{\"$ref\":\"#/$defs/b\"}]}."}"##,
            ),
            (
                r#"{"type":"array","prefixItems":[{"minimum":1}],"items":false,"description":"d","minItems":2}"#,
                r#"{"type":"array","description":"d\n\nMust be at least 2 items long. Must be valid by {\"prefixItems\":[{\"minimum\":1}],\"items\":false}."}"#,
            ),
            (
                r#"{"not":{"type":"null"},"if":{},"then":true}"#,
                r#"{"description":"Must be valid by {\"not\":{\"type\":\"null\"},\"if\":{},\"then\":true}."}"#,
            ),
            (r#"{"enum":["a",1,null,true]}"#, ""),
            (
                r#"{"type":"string","enum":["a",{"x":1}]}"#,
                r#"{"type":"string","description":"Must be valid by {\"enum\":[\"a\",{\"x\":1}]}."}"#,
            ),
            (r#"{"const":[1]}"#, r#"{"description":"Must be valid by {\"const\":[1]}."}"#),
            (r#"{"const":1,"default":1,"title":"t","$schema":"s"}"#, ""),
            (r#"{"properties":{"oneOf":{},"not":{},"discriminator":{}},"additionalProperties":false}"#, ""),
        ] {
            check(schema, expected);
        }
    }

    #[test]
    fn an_object_that_is_told_to_have_more_properties_is_shut_and_told_so() {
        for (schema, shut) in [
            (r#"{"type":"object","patternProperties":{"^x":{}},"additionalProperties":false}"#, true),
            (r##"{"type":"object","allOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/b"}]}"##, true),
            (
                r##"{"type":"object","allOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/b"}],"additionalProperties":false}"##,
                false,
            ),
            (r#"{"type":"object","properties":{"a":{}},"not":{"required":["a"]}}"#, false),
            (r#"{"type":"object","not":{"required":["a"]}}"#, true),
        ] {
            let fitted = fitted(&Json::from_valid(schema)).unwrap();
            assert_eq!((fitted.was_open, fitted.told), (shut, true), "{schema}");
            assert!(fitted.schema.as_str().contains(r#""additionalProperties":false"#), "{schema}");
        }
    }

    #[test]
    fn an_object_that_means_more_than_it_names_is_told_from_one_that_does_not() {
        let one = r#"{"type":"object","properties":{"a":{}}}"#;
        for (schema, open) in [
            (r#"{"type":"object"}"#.to_owned(), true),
            (r#"{"type":"object","properties":{}}"#.to_owned(), true),
            (r#"{"type":"array","items":{"type":"object"}}"#.to_owned(), true),
            (one.to_owned(), false),
            (format!(r#"{{"allOf":[{one},{one}]}}"#), true),
            (format!(r#"{{"properties":{{"b":{{}}}},"allOf":[{one}]}}"#), true),
            (format!(r#"{{"allOf":[{one}]}}"#), false),
            (r#"{"properties":{"b":{}},"anyOf":[{"required":["a"]},{"required":["b"]}]}"#.to_owned(), false),
            (format!(r#"{{"properties":{{"b":{{}}}},"anyOf":[{one}]}}"#), true),
            (format!(r#"{{"type":"object","anyOf":[{one}]}}"#), true),
            (format!(r#"{{"anyOf":[{one},{{"type":"null"}}]}}"#), false),
            (format!(r#"{{"properties":{{"b":{{"anyOf":[{one},{one}]}}}}}}"#), false),
        ] {
            let found = fitted(&Json::from_valid(schema.clone()));
            assert_eq!(found.is_some_and(|fitted| fitted.was_open), open, "{schema}");
        }
    }

    #[test]
    fn trap_c23_a_property_named_like_a_bound_is_a_property() {
        let names = ["minimum", "pattern", "format", "description", "maxItems", "additionalProperties"];
        for name in names {
            let schema = format!(
                r#"{{"type":"object","properties":{{"{name}":{{"type":"string"}}}},"required":["{name}"],"additionalProperties":false}}"#
            );
            check(&schema, "");
        }
    }
}

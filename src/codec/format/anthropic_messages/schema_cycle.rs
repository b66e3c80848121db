//! Schemas that refer to themselves: the format takes none for an answer, nor for arguments that are held to it.

use std::collections::BTreeMap;

use crate::hub::media::percent_decode;
use crate::json::{Cursor, Json, JsonError, Kind};

/// Keywords whose value names another schema.
const REFERENCES: [&str; 3] = ["$dynamicRef", "$recursiveRef", "$ref"];
/// Keywords that hold schemas by names of the author's own.
const BY_NAME: [&str; 5] = ["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"];
/// Keywords that hold values, which are no schemas whatever is in them.
const VALUES: [&str; 5] = ["const", "default", "enum", "example", "examples"];

/// True where a schema leads back to itself, also by way of others. What no other schema names counts as well.
pub(super) fn is_recursive(schema: &Json<'_>) -> bool {
    let mut graph = Graph::default();
    graph.read(&mut schema.cursor(), None, false).is_ok() && graph.leads_back()
}

/// What lies within what, and what refers to what. Each object and list is a node; the document is the first.
#[derive(Default)]
struct Graph {
    /// The nodes that lie in each, and those that it refers to.
    below: Vec<Vec<usize>>,
    /// By the node above and the key or index in it.
    places: BTreeMap<(usize, String), usize>,
    /// By `$id`, or by `#` and the anchor.
    names: BTreeMap<String, usize>,
    references: Vec<(usize, String)>,
}

impl Graph {
    /// Reads a value that stands at `place`; with `named` the keys of it are the author's own.
    fn read(&mut self, cursor: &mut Cursor<'_>, place: Option<(usize, &str)>, named: bool) -> Result<(), JsonError> {
        match cursor.peek()? {
            Kind::Object => {
                let node = self.add(place);
                cursor.object::<JsonError>(|key, value| match value.peek()? {
                    Kind::String if !named => {
                        self.word(node, &key, &value.string()?);
                        Ok(())
                    }
                    _ if !named && VALUES.contains(&key.as_ref()) => value.skip(),
                    _ => self.read(value, Some((node, &key)), !named && BY_NAME.contains(&key.as_ref())),
                })
            }
            Kind::Array => {
                let node = self.add(place);
                cursor.array::<JsonError>(|index, value| self.read(value, Some((node, &index.to_string())), false))
            }
            _ => cursor.skip(),
        }
    }

    fn add(&mut self, place: Option<(usize, &str)>) -> usize {
        let node = self.below.len();
        self.below.push(Vec::new());
        if let Some((above, key)) = place {
            self.places.insert((above, key.to_owned()), node);
            self.connect(above, node);
        }
        node
    }

    fn connect(&mut self, from: usize, to: usize) {
        if let Some(below) = self.below.get_mut(from) {
            below.push(to);
        }
    }

    fn word(&mut self, node: usize, key: &str, word: &str) {
        match key {
            "$id" => {
                self.names.insert(word.to_owned(), node);
            }
            "$anchor" | "$dynamicAnchor" => {
                self.names.insert(format!("#{word}"), node);
            }
            key if REFERENCES.contains(&key) => self.references.push((node, word.to_owned())),
            _ => {}
        }
    }

    fn leads_back(mut self) -> bool {
        for (node, reference) in std::mem::take(&mut self.references) {
            if let Some(found) = self.find(&reference) {
                self.connect(node, found);
            }
        }
        let mut above = vec![0_usize; self.below.len()];
        for node in self.below.iter().flatten() {
            above.get_mut(*node).into_iter().for_each(|count| *count += 1);
        }
        // A node with nothing above it is in no circle, and without it neither may be those below.
        let mut free: Vec<usize> = (0..above.len()).filter(|node| above.get(*node) == Some(&0)).collect();
        let mut freed = 0;
        while let Some(node) = free.pop() {
            freed += 1;
            for next in self.below.get(node).into_iter().flatten() {
                let Some(count) = above.get_mut(*next) else { continue };
                *count -= 1;
                if *count == 0 {
                    free.push(*next);
                }
            }
        }
        freed < above.len()
    }

    /// The node that `reference` names, or leads to from the document.
    fn find(&self, reference: &str) -> Option<usize> {
        if let Some(node) = self.names.get(reference) {
            return Some(*node);
        }
        let steps = reference.strip_prefix('#')?;
        if steps.is_empty() {
            return Some(0);
        }
        steps.strip_prefix('/')?.split('/').try_fold(0, |node, step| {
            let decoded = String::from_utf8(percent_decode(step)).ok()?;
            self.places.get(&(node, decoded.replace("~1", "/").replace("~0", "~"))).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_that_lead_back_are_told_from_those_that_end() {
        for (schema, expected) in [
            (r##"{"properties":{"kids":{"type":"array","items":{"$ref":"#"}}}}"##, true),
            (
                r##"{"$ref":"#/$defs/a","$defs":{"a":{"anyOf":[{"$ref":"#/$defs/b"}]},"b":{"not":{"$ref":"#/$defs/a"}}}}"##,
                true,
            ),
            (r##"{"$defs":{"a":{"items":{"$ref":"#/$defs/a"}}}}"##, true),
            (r##"{"properties":{"a":{"properties":{"b":{"$ref":"#/properties/a"}}}}}"##, true),
            (r##"{"anyOf":[{"type":"null"},{"items":{"$ref":"#/anyOf/1"}}]}"##, true),
            (r##"{"definitions":{"T<a/b>":{"items":{"$ref":"#/definitions/T%3Ca~1b%3E"}}}}"##, true),
            (r#"{"$id":"T0","properties":{"next":{"$ref":"T0"}}}"#, true),
            (r##"{"$defs":{"a":{"$anchor":"n","items":{"$ref":"#n"}}}}"##, true),
            (r##"{"items":{"$recursiveRef":"#"}}"##, true),
            (r##"{"properties":{"default":{"items":{"$ref":"#"}}}}"##, true),
            (
                r##"{"properties":{"a":{"$ref":"#/$defs/x"},"b":{"$ref":"#/$defs/x"}},"$defs":{"x":{"$ref":"#/$defs/y"},"y":{}}}"##,
                false,
            ),
            (r##"{"properties":{"a":{"$ref":"#/properties/b"},"b":{"$ref":"#/$defs/none"}}}"##, false),
            (r##"{"properties":{"$ref":{"type":"string"}},"default":{"$ref":"#"},"enum":[{"$ref":"#"}]}"##, false),
            (r##"{"description":"#","title":"$ref","items":{"$ref":"https://example.com/#"}}"##, false),
            ("true", false),
        ] {
            assert_eq!(is_recursive(&Json::from_valid(schema)), expected, "{schema}");
        }
    }

    /// Work grows with the text, not with its square, and a long chain needs no deep stack: this would take minutes.
    #[test]
    fn a_chain_of_many_references_is_followed() {
        for (last, expected) in [("{}", false), (r##"{"$ref":"#/$defs/d0"}"##, true)] {
            let many = 50_000;
            let mut all: Vec<String> =
                (0..many).map(|n| format!(r##""d{n}":{{"$ref":"#/$defs/d{}"}}"##, n + 1)).collect();
            all.push(format!(r#""d{many}":{last}"#));
            let schema = format!(r#"{{"$defs":{{{}}}}}"#, all.join(","));
            assert_eq!(is_recursive(&Json::from_valid(schema)), expected);
        }
    }
}

//! What references within a schema stand for, and how much room there is to write it out.

use std::collections::BTreeMap;

use crate::json::{Cursor, Json, JsonError, Kind};

/// Bytes of schemas that one request writes out in place of references.
const ROOM: usize = 256 << 10;
/// Steps of a reference that is no name of a definition.
const MOST_STEPS: usize = 8;
/// The words of `type`.
const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];
/// So much text is looked through for the price of one byte that is written.
const LOOKED_THROUGH: usize = 64;

/// Room for what the schemas of one request refer to, in bytes.
///
/// What is referred to can refer to more, so that without a bound a few lines stand for a schema of any size.
#[derive(Debug)]
pub(super) struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        Self(ROOM)
    }
}

impl Room {
    /// The share of the next schema: half of what is left, so that none takes it all from those behind it.
    pub(super) fn share(&self) -> Self {
        Self(self.0 / 2)
    }

    /// Takes what was used of a share.
    pub(super) fn settle(&mut self, given: usize, left: &Self) {
        self.0 = self.0.saturating_sub(given.saturating_sub(left.0));
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.0
    }

    /// True where there was room for `bytes`, which is taken then.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// What a reference stands for.
#[derive(Debug, Clone)]
pub(super) struct Referred<'r> {
    /// At the schema.
    pub cursor: Cursor<'r>,
    /// Bytes of the schema.
    pub length: usize,
    /// Its type, where it says one. Any other text could be long, and it is written wherever there is no room.
    pub kind: Option<&'static str>,
}

/// What the references of one document stand for; each is looked up once.
#[derive(Debug)]
pub(super) struct Definitions<'r> {
    root: &'r Json<'r>,
    known: Option<Known<'r>>,
}

#[derive(Debug)]
struct Known<'r> {
    /// The document itself.
    root: Option<Referred<'r>>,
    /// By the reference.
    found: BTreeMap<String, Option<Referred<'r>>>,
}

impl<'r> Definitions<'r> {
    /// Those of `root`.
    pub(super) fn of(root: &'r Json<'r>) -> Self {
        Self { root, known: None }
    }

    /// What `reference` stands for: `#/$defs/name`, or a pointer to anywhere in the document.
    pub(super) fn find(&mut self, reference: &str, room: &mut Room) -> Option<Referred<'r>> {
        let root = self.root;
        let known = self.known.get_or_insert_with(|| Known {
            root: referred(&mut root.cursor()).ok(),
            found: named(root).unwrap_or_default(),
        });
        if let Some(found) = known.found.get(reference) {
            return found.clone();
        }
        let found = known.root.clone().and_then(|root| walk(root, reference, room));
        known.found.insert(reference.to_owned(), found.clone());
        found
    }
}

/// Every definition of the document by the reference to it.
fn named<'r>(root: &'r Json<'r>) -> Result<BTreeMap<String, Option<Referred<'r>>>, JsonError> {
    let mut all = BTreeMap::new();
    root.cursor().object::<JsonError>(|place, value| {
        if !matches!(place.as_ref(), "$defs" | "definitions") || value.peek()? != Kind::Object {
            return value.skip();
        }
        value.object::<JsonError>(|name, value| {
            let name = name.replace('~', "~0").replace('/', "~1");
            all.insert(format!("#/{place}/{name}"), Some(referred(value)?));
            Ok(())
        })
    })?;
    Ok(all)
}

/// What `reference` leads to from the document `found`; each step takes room before it looks.
fn walk<'r>(mut found: Referred<'r>, reference: &str, room: &mut Room) -> Option<Referred<'r>> {
    let steps = reference.strip_prefix('#')?;
    if !steps.is_empty() && !steps.starts_with('/') {
        return None;
    }
    for (at, step) in steps.split('/').skip(1).enumerate() {
        if at >= MOST_STEPS || !room.take(found.length / LOOKED_THROUGH + 1) {
            return None;
        }
        let step = step.replace("~1", "/").replace("~0", "~");
        found = below(found.cursor, &step).ok()??;
    }
    Some(found)
}

/// The member or element `step` of what is at `cursor`.
fn below<'r>(mut cursor: Cursor<'r>, step: &str) -> Result<Option<Referred<'r>>, JsonError> {
    let mut found = None;
    match cursor.peek()? {
        Kind::Object => cursor.object::<JsonError>(|key, value| {
            if key == step {
                found = Some(referred(value)?);
            }
            Ok(())
        })?,
        Kind::Array => cursor.array::<JsonError>(|index, value| {
            if step.parse() == Ok(index) {
                found = Some(referred(value)?);
            }
            Ok(())
        })?,
        _ => {}
    }
    Ok(found)
}

/// Reads the schema at `value`.
fn referred<'r>(value: &mut Cursor<'r>) -> Result<Referred<'r>, JsonError> {
    let cursor = value.clone();
    let text = value.json()?;
    let mut kind = None;
    if text.kind() == Kind::Object {
        text.cursor().object::<JsonError>(|key, value| {
            if key == "type" && value.peek()? == Kind::String {
                let said = value.string()?;
                kind = TYPES.into_iter().find(|word| *word == said);
            }
            Ok(())
        })?;
    }
    Ok(Referred { cursor, length: text.as_str().len(), kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is looked through has a price, whatever comes of it: this would take minutes.
    #[test]
    fn thousands_of_references_to_nothing_share_one_room() {
        let root = Json::from_valid(format!(r#"{{"x":"{}"}}"#, "a".repeat(1 << 20)));
        let (mut definitions, mut room) = (Definitions::of(&root), Room::default());
        for n in 0..100_000 {
            assert!(definitions.find(&format!("#/q/{n}"), &mut room).is_none());
            assert!(definitions.find(&format!("q{n}"), &mut room).is_none());
        }
        assert!(room.left() < root.as_str().len() / LOOKED_THROUGH + 1, "{room:?}");
    }

    #[test]
    fn references_are_the_document_or_lead_into_it() {
        let root = Json::from_valid(r#"{"type":"object","a":[{"b/~":{"type":"array"}}]}"#);
        let (mut definitions, mut room) = (Definitions::of(&root), Room::default());
        for (reference, length) in
            [("#", Some(48)), ("#/a/0/b~1~0", Some(16)), ("#a", None), ("", None), ("#/a/1", None)]
        {
            let found = definitions.find(reference, &mut room);
            assert_eq!(found.map(|found| found.length), length, "{reference}");
        }
    }
}

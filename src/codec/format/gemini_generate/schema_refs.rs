//! What references within a schema stand for, and how much room there is to write it out.

use std::collections::BTreeMap;

use crate::json::{Cursor, Json, JsonError, Kind};

/// Bytes of schemas that one request writes out in place of references.
const ROOM: usize = 256 << 10;
/// Steps of a reference that is no name of a definition.
const MOST_STEPS: usize = 8;
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
    /// Its type, where it says one.
    pub kind: Option<String>,
}

/// What the references of one document stand for; each is looked up once.
#[derive(Debug)]
pub(super) struct Definitions<'r> {
    root: &'r Json<'r>,
    known: Option<BTreeMap<String, Option<Referred<'r>>>>,
}

impl<'r> Definitions<'r> {
    /// Those of `root`.
    pub(super) fn of(root: &'r Json<'r>) -> Self {
        Self { root, known: None }
    }

    /// What `reference` stands for: `#/$defs/name`, or a pointer to anywhere in the document.
    pub(super) fn find(&mut self, reference: &str, room: &mut Room) -> Option<Referred<'r>> {
        let root = self.root;
        let known = self.known.get_or_insert_with(|| named(root).unwrap_or_default());
        if let Some(found) = known.get(reference) {
            return found.clone();
        }
        let found = walk(root, reference, room);
        known.insert(reference.to_owned(), found.clone());
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

fn walk<'r>(root: &'r Json<'r>, reference: &str, room: &mut Room) -> Option<Referred<'r>> {
    let mut found = referred(&mut root.cursor()).ok()?;
    for (at, step) in reference.strip_prefix('#')?.split('/').skip(1).enumerate() {
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
                kind = Some(value.string()?.into_owned());
            }
            Ok(())
        })?;
    }
    Ok(Referred { cursor, length: text.as_str().len(), kind })
}

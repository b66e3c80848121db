//! What a client calls the fields of its request: a report names them as they stand in the body.
//!
//! Writers know each field by one name of its format. A client may use another, where the format has two, or another
//! spelling of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::WireFormat;
use crate::hub::{Losses, Place};
use crate::json::{Cursor, JsonError, Kind};

/// Names the fields in `losses` as `body`, a request of `format` whose conversation takes the bytes `span`, does. A field
/// that it does not say keeps its name.
pub(crate) fn respell(format: &dyn WireFormat, body: &[u8], span: &Range<usize>, losses: &mut Losses) {
    let known: BTreeSet<String> = losses.iter().filter_map(|loss| named(&loss.place)).map(str::to_owned).collect();
    if known.is_empty() {
        return;
    }
    let others = format.spec().other_names;
    let wanted = known.iter().flat_map(|known| others_of(others, known).chain([known.as_str()])).collect();
    let mut found = Found { format, span, wanted, said: BTreeMap::new() };
    // A body that cannot be read to its end was refused before.
    let _ = Cursor::over_bytes(body).and_then(|mut cursor| found.walk(&mut cursor, "", ""));
    for known in &known {
        let mut names = std::iter::once(known.as_str()).chain(others_of(others, known));
        if let Some(said) = names.find_map(|name| found.said.get(name)) {
            losses.respell(known, said);
        }
    }
}

/// The other names of the field that reports call `known`.
fn others_of<'n>(others: &'n [(&'n str, &'n str)], known: &'n str) -> impl Iterator<Item = &'n str> {
    others.iter().filter(move |(name, _)| *name == known).map(|(_, other)| *other)
}

fn named(place: &Place) -> Option<&str> {
    match place {
        Place::Pointer(pointer) if pointer.starts_with('/') => Some(pointer),
        Place::Pointer(_) | Place::Offset(_) => None,
    }
}

/// The fields that were looked for, by the names of their format.
struct Found<'f> {
    format: &'f dyn WireFormat,
    /// Of the conversation.
    span: &'f Range<usize>,
    wanted: BTreeSet<&'f str>,
    said: BTreeMap<String, String>,
}

impl Found<'_> {
    /// Looks among the members of the object at `cursor`, which is at `known` and is called `said`.
    fn walk(&mut self, cursor: &mut Cursor<'_>, known: &str, said: &str) -> Result<(), JsonError> {
        cursor.object::<JsonError>(|key, value| {
            let at = format!("{known}/{}", self.format.spelled(&key));
            let is_it = self.wanted.contains(at.as_str());
            let leads =
                self.wanted.iter().any(|wanted| wanted.strip_prefix(&at).is_some_and(|rest| rest.starts_with('/')));
            if !(is_it || leads) {
                return value.pass(self.span);
            }
            let said = format!("{said}/{key}");
            if leads && value.peek()? == Kind::Object {
                self.walk(&mut value.clone(), &at, &said)?;
            }
            if is_it && value.peek()? != Kind::Null {
                self.said.entry(at).or_insert(said);
            }
            value.skip()
        })
    }
}

//! A request cut to what its server takes: fields that it refuses go, fields that it calls otherwise are renamed.
//!
//! One pass over the fields of the request itself. What lies deeper is not touched here: a request that needs more is
//! read and written, see [`WireFormat::must_be_rewritten`](super::WireFormat::must_be_rewritten).

use std::borrow::Cow;

use super::{Facts, WireFormat};
use crate::hub::{Action, Field, Losses, Place, Request};
use crate::json::{Cursor, Edits, Json, JsonError, Member, members};

/// What becomes of a field that a format knows to be trouble.
pub(super) enum Change {
    /// It goes.
    Gone(&'static str),
    /// It goes by another name and means the same.
    Renamed(&'static str),
    /// Another field says the same.
    Instead {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: &'static str,
    },
    /// It gets another value.
    Said {
        /// The new value.
        value: Cow<'static, str>,
        /// What that does to its meaning.
        action: Action,
        /// Why.
        reason: &'static str,
    },
}

/// Tells what becomes of a field, by its key and value; the keys of all fields are there to be asked.
pub(super) type Special<'s> = &'s dyn Fn(&str, &Json<'_>, &[Member<'_>]) -> Option<Change>;

/// `body`, a request of `format`, without what a server with `facts` refuses; `None` where nothing has to change.
pub(super) fn trim(
    format: &(impl WireFormat + ?Sized),
    body: &[u8],
    facts: &Facts,
    special: Special<'_>,
    losses: &mut Losses,
) -> Result<Option<Vec<u8>>, JsonError> {
    let mut cursor = Cursor::over_bytes(body)?;
    let found = members(body, &mut cursor)?;
    let mut edits = Edits::default();
    let mut gone: Vec<usize> = Vec::new();
    for member in &found {
        // Either spelling of a key is the field.
        let key = format.spelled(&member.key);
        let field = format.class(&key);
        if facts.strips(&member.key) || facts.strip.iter().any(|name| format.spelled(name) == key) {
            losses.dropped(field, member.value.start, refused(&member.key));
            gone.push(member.value.start);
            continue;
        }
        if let Some(name) = facts.new_name(&member.key).or_else(|| facts.new_name(&key)) {
            rename(member, name, &found, &mut edits, &mut gone);
            continue;
        }
        let raw = body.get(member.value.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
        match special(&member.key, &Json::from_valid(raw), &found) {
            None => {}
            Some(Change::Gone(reason)) => {
                losses.dropped(field, member.value.start, reason);
                gone.push(member.value.start);
            }
            Some(Change::Renamed(name)) => rename(member, name, &found, &mut edits, &mut gone),
            Some(Change::Instead { name, value }) => {
                rename(member, name, &found, &mut edits, &mut gone);
                edits.replace(member.value.clone(), value.as_bytes().to_vec());
            }
            Some(Change::Said { value, action, reason }) => {
                losses.add(field, action, Place::Offset(member.value.start), reason);
                edits.replace(member.value.clone(), value.into_owned().into_bytes());
            }
        }
    }
    edits.cut(&found, |member| gone.contains(&member.value.start));
    Ok(edits.apply(body))
}

/// As [`trim`], of the fields that `facts` name alone.
pub(super) fn named(
    format: &(impl WireFormat + ?Sized),
    body: &[u8],
    facts: &Facts,
    losses: &mut Losses,
) -> Result<Option<Vec<u8>>, JsonError> {
    if facts.strip.is_empty() && facts.rename.is_empty() {
        return Ok(None);
    }
    trim(format, body, facts, &|_, _, _| None, losses)
}

/// Names a member otherwise. One that has the name already is the same thing said twice: the server's own word counts.
fn rename(member: &Member<'_>, name: &str, all: &[Member<'_>], edits: &mut Edits, gone: &mut Vec<usize>) {
    if all.iter().any(|other| other.key == name) {
        gone.push(member.value.start);
    } else {
        edits.replace(member.key_span.clone(), format!("\"{name}\"").into_bytes());
    }
}

/// As [`trim`], of a body that a writer made of `request`: what goes is told in the words of the client, and only if the
/// client said it.
pub(crate) fn written(
    (origin, target): (&dyn WireFormat, &dyn WireFormat),
    request: &Request<'_>,
    body: &[u8],
    facts: &Facts,
    losses: &mut Losses,
) -> Option<Vec<u8>> {
    let mut told = Losses::default();
    let trimmed = named(target, body, facts, &mut told).ok().flatten();
    // Each format asks for the end of a stream in its own way.
    let same = origin.spec().format == target.spec().format;
    for loss in told.iter().filter(|loss| request.says(loss.field) && (same || loss.field != Field::StreamOptions)) {
        let pointer = origin.pointer(loss.field);
        losses.add(loss.field, loss.action, Place::Pointer(Cow::Borrowed(pointer)), loss.reason.clone());
    }
    trimmed
}

/// Why a field goes.
fn refused(key: &str) -> String {
    format!("the server refuses `{key}`")
}

/// The class of the top-level field `key` of a format, by its pointers.
pub(super) fn class_by_pointer(format: &(impl WireFormat + ?Sized), key: &str) -> Field {
    let is_it = |field: &Field| format.pointer(*field).strip_prefix('/') == Some(key);
    Field::ALL.iter().copied().find(is_it).unwrap_or(Field::Unknown)
}

/// True if `body` holds one of the `marks` of a thing, such as `"image_url"`. Words of a conversation may hold them
/// too: this only says that it is worth reading.
pub(super) fn holds(body: &[u8], marks: &[&str]) -> bool {
    marks.iter().any(|mark| memchr::memmem::find(body, mark.as_bytes()).is_some())
}

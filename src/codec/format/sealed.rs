//! Names state that is lost by the member of the body that held it.

use super::WireFormat;
use crate::hub::{Action, Field, Losses};
use crate::json::{Cursor, JsonError, Kind};

/// How deep in a block its state may stand: a call of Chat Completions has it in `extra_content.google`.
const DEEPEST: usize = 2;

/// Names state of `body` that is dropped by the member that holds it: the call, the part or the item around it may well be
/// sent.
pub(crate) fn name(format: &dyn WireFormat, body: &[u8], losses: &mut Losses) {
    let is_state = |field: Field, action: Action| field == Field::OpaqueState && action == Action::Dropped;
    if !losses.iter().any(|loss| is_state(loss.field, loss.action)) {
        return;
    }
    let Ok(body) = std::str::from_utf8(body) else { return };
    losses.relocate(|loss, at| {
        let block = body.get(at..).filter(|_| is_state(loss.field, loss.action))?;
        holder(Cursor::over(block), format, DEEPEST).map(|within| at + within)
    });
}

/// Where the state of the object at `cursor` stands, its own before that of what is in it.
fn holder(mut cursor: Cursor<'_>, format: &dyn WireFormat, depth: usize) -> Option<usize> {
    let state = &format.spec().state;
    let (mut own, mut inner) = (None, None);
    if cursor.peek().ok()? != Kind::Object {
        return None;
    }
    // What is behind a fault is not looked at; the body was read before, so that there is none.
    let _ = cursor.object::<JsonError>(|key, value| {
        let key = key.as_ref();
        if state.bearing.contains(&key) && value.peek()? != Kind::Null {
            own = own.or(Some(value.offset()));
        } else if depth > 0 && inner.is_none() && !state.foreign.contains(&key) {
            inner = holder(value.clone(), format, depth - 1);
        }
        value.skip()
    });
    own.or(inner)
}

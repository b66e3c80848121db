//! The list of models, in the shape that the asking client expects.

use tidegate_codec::{Format, wire};

use super::admit::unknown_model;
use super::refuse::Rejection;
use crate::config::{Caller, Snapshot};

/// The body of `GET /v1/models`, or of `GET /v1/models/{id}`.
///
/// # Errors
///
/// There is no such model for this caller.
pub(super) fn answer(
    snapshot: &Snapshot,
    caller: &Caller,
    format: Format,
    id: Option<&str>,
) -> Result<Vec<u8>, Rejection> {
    let mut body = Vec::new();
    match id {
        Some(id) => {
            let known = caller.may_use(id) && snapshot.settings.models.resolve(id).is_some();
            if !known {
                return Err(unknown_model(id));
            }
            wire(format).write_model(id, &mut body);
        }
        None => {
            let models = &snapshot.settings.models;
            let all = models.list().map(|route| route.name.as_ref());
            let mut names: Vec<&str> = all.filter(|name| caller.may_use(name)).collect();
            // A pattern names none; what the caller's own list names, and a pattern serves, is one.
            for name in caller.models().filter(|name| !name.contains('*')) {
                if !names.contains(&name) && models.resolve(name).is_some() {
                    names.push(name);
                }
            }
            wire(format).write_models(&names, &mut body);
        }
    }
    Ok(body)
}

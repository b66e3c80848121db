//! What `OpenAI`'s two formats say alike, and no other does.

use super::Facts;
use crate::Format;

/// True where a provider of `to` takes as they came what clients of `origin` say in fields that both formats have. Some
/// models are asked by the one format for clients of the other; servers of other makers seldom know such a field.
pub(super) fn are_alike(origin: Format, to: Format, facts: &Facts) -> bool {
    let vendors = |format: Format| matches!(format, Format::OpenaiChat | Format::OpenaiResponses);
    origin == to || (vendors(origin) && vendors(to) && !facts.compatible_extensions)
}

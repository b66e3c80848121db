//! Anthropic Messages, as its provider speaks it.

mod answer;
mod request;
mod strict;

pub(super) use answer::{count, error_body, error_event, stream, whole};
pub(super) use request::{Manner, read};

use super::content::hash;

/// The version whose requests may no longer set sampling.
pub(super) const VERSION_2026: &str = "2026-10-21";

/// The version that most clients of 2023 to 2026 send.
pub(super) const VERSION_2023: &str = "2023-06-01";

/// The signature of a thinking block: what the provider checks when the block comes back.
fn signature(thinking: &str) -> String {
    format!("SIMULATED{:016x}==", hash(0, thinking.as_bytes()))
}

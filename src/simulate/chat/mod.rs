//! OpenAI Chat Completions, as its provider speaks it.

mod answer;
mod request;
mod strict;

pub(super) use answer::{error_body, error_event, stream, whole};
pub(super) use request::read;

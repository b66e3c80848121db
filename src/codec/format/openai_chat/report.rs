//! Reports of what a request loses, in the words of the format that it came in.

use std::borrow::Cow;

use super::read_request::{OF_INSTRUCTIONS, OF_TOOLS};
use crate::Format;
use crate::format::wire;
use crate::hub::error::dotted;
use crate::hub::{Action, Extra, Field, Losses, Place, Refusal};

/// Takes reports.
#[derive(Debug)]
pub(super) struct Report<'l> {
    /// Format of the request.
    pub origin: Format,
    /// All reports.
    pub losses: &'l mut Losses,
}

impl Report<'_> {
    /// True when the request came in this format: its raw pieces can go on as they are.
    pub(super) fn is_own(&self) -> bool {
        self.origin == Format::OpenaiChat
    }

    /// A field of the request itself.
    pub(super) fn field(&mut self, field: Field, action: Action, reason: &'static str) {
        let pointer = wire(self.origin).pointer(field);
        self.losses.add(field, action, Place::Pointer(Cow::Borrowed(pointer)), reason);
    }

    /// A field of the request that is gone.
    pub(super) fn gone(&mut self, field: Field, is_set: bool, reason: &'static str) {
        if is_set {
            self.field(field, Action::Dropped, reason);
        }
    }

    /// Something gone at byte `at`.
    pub(super) fn dropped(&mut self, field: Field, at: usize, reason: &'static str) {
        self.losses.dropped(field, at, reason);
    }

    /// Something said in another way, at byte `at`.
    pub(super) fn converted(&mut self, field: Field, at: usize, reason: &'static str) {
        self.losses.converted(field, at, reason);
    }

    /// Something that was absent at byte `at` and is needed.
    pub(super) fn defaulted(&mut self, field: Field, at: usize, reason: &'static str) {
        self.losses.add(field, Action::Defaulted, Place::Offset(at), reason);
    }

    /// Fields without a place in the hub: gone unless they are this format's own.
    pub(super) fn extras(&mut self, extras: &[Extra<'_>]) {
        for extra in extras.iter().filter(|extra| extra.tells()) {
            let aside = [OF_INSTRUCTIONS, OF_TOOLS].iter().any(|field| extra.key.starts_with(field));
            if !self.is_own() || aside || matches!(extra.field, Field::OpaqueState | Field::CacheMark | Field::ToolCall)
            {
                self.unsaid(std::slice::from_ref(extra));
            }
        }
    }

    /// Fields without a place in what is written, whosever they are.
    pub(super) fn unsaid(&mut self, extras: &[Extra<'_>]) {
        for extra in extras.iter().filter(|extra| extra.tells()) {
            let reason = format!("Chat Completions has no place for `{}`", extra.key);
            self.losses.dropped(extra.field, extra.at, reason);
        }
    }

    /// A refusal of a field of the request.
    pub(super) fn refuse(&self, field: Field, message: impl Into<String>) -> Refusal {
        Refusal::of(dotted(wire(self.origin).pointer(field)), message).with_code("unsupported_parameter")
    }
}

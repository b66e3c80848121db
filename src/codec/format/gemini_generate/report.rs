//! Reports of what a request loses, in the words of the format that it came in.

use std::borrow::Cow;

use super::wire::{OWN, SCHEMA};
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
        self.origin == OWN
    }

    /// A field of the request itself.
    pub(super) fn field(&mut self, field: Field, action: Action, reason: impl Into<Cow<'static, str>>) {
        self.losses.add(field, action, Place::Pointer(Cow::Borrowed(wire(self.origin).pointer(field))), reason);
    }

    /// A field of the request that is gone.
    pub(super) fn gone(&mut self, field: Field, is_set: bool, reason: &'static str) {
        if is_set {
            self.field(field, Action::Dropped, reason);
        }
    }

    /// A field that has a class in common with another one; `pointer` is how every format that has it spells it.
    pub(super) fn at(&mut self, field: Field, action: Action, pointer: &'static str, reason: &'static str) {
        self.losses.add(field, action, Place::Pointer(Cow::Borrowed(pointer)), reason);
    }

    /// Something gone at byte `at`.
    pub(super) fn dropped(&mut self, field: Field, at: usize, reason: &'static str) {
        self.losses.dropped(field, at, reason);
    }

    /// Something said in another way, at byte `at`.
    pub(super) fn converted(&mut self, field: Field, at: usize, reason: &'static str) {
        self.losses.converted(field, at, reason);
    }

    /// Fields without a place in the hub: gone unless they are this format's own.
    pub(super) fn extras(&mut self, extras: &[Extra<'_>]) {
        let gone =
            |extra: &&Extra<'_>| !self.is_own() || extra.field == Field::OpaqueState || extra.key.starts_with(SCHEMA);
        let gone: Vec<_> = extras.iter().filter(gone).collect();
        self.lost(gone);
    }

    /// Fields without a place in the hub, of something that is not written as it was.
    pub(super) fn unwritten(&mut self, extras: &[Extra<'_>]) {
        self.lost(extras);
    }

    fn lost<'e, 'x: 'e>(&mut self, extras: impl IntoIterator<Item = &'e Extra<'x>>) {
        for extra in extras.into_iter().filter(|extra| extra.tells()) {
            self.losses.dropped(extra.field, extra.at, format!("Gemini has no place for `{}`", extra.key));
        }
    }

    /// A refusal of a field of the request.
    pub(super) fn refuse(&self, field: Field, message: impl Into<String>) -> Refusal {
        Refusal::of(dotted(wire(self.origin).pointer(field)), message).with_code("unsupported_parameter")
    }
}

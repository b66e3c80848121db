//! Reports of what a request loses, in the words of the format that it came in.

use std::borrow::Cow;

use super::core_fields;
use super::wire::OWN;
use crate::Format;
use crate::format::{FieldSet, wire};
use crate::hub::error::dotted;
use crate::hub::{Action, Extra, Field, Losses, Place, Refusal};

/// Takes reports.
#[derive(Debug)]
pub(super) struct Report<'l> {
    /// Format of the request.
    pub origin: Format,
    /// Which fields the target takes.
    pub fields: FieldSet,
    /// All reports.
    pub losses: &'l mut Losses,
}

impl Report<'_> {
    /// True when the request came in this format: its raw pieces can go on as they are.
    pub(super) fn is_own(&self) -> bool {
        self.origin == OWN
    }

    /// True when fields that the hub has no place for can go on as well.
    pub(super) fn keeps(&self) -> bool {
        self.is_own() && self.fields == FieldSet::All
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

    /// Fields of tools, messages and blocks without a place in the hub: gone unless they are this format's own.
    pub(super) fn extras(&mut self, extras: &[Extra<'_>]) {
        let keeps = self.keeps();
        let gone = |extra: &&Extra<'_>| extra.tells() && (!keeps || extra.field == Field::OpaqueState);
        for extra in extras.iter().filter(gone) {
            self.extra(extra);
        }
    }

    /// As [`extras`](Self::extras), of the request itself; returns those that go on.
    pub(super) fn request_extras<'x>(&mut self, extras: &[Extra<'x>]) -> Vec<Extra<'x>> {
        let stays = |extra: &&Extra<'_>| self.keeps() || self.is_own() && core_fields::takes(extra);
        let (kept, gone): (Vec<_>, Vec<_>) = extras.iter().partition(stays);
        for extra in gone.into_iter().filter(|extra| extra.tells()) {
            self.extra(extra);
        }
        kept.into_iter().cloned().collect()
    }

    fn extra(&mut self, extra: &Extra<'_>) {
        let reason = if self.is_own() && extra.field != Field::OpaqueState {
            core_fields::reason(&extra.key)
        } else {
            format!("Anthropic Messages has no place for `{}`", extra.key)
        };
        self.losses.dropped(extra.field, extra.at, reason);
    }

    /// A refusal of a field of the request.
    pub(super) fn refuse(&self, field: Field, message: impl Into<String>) -> Refusal {
        Refusal::of(dotted(wire(self.origin).pointer(field)), message).with_code("unsupported_parameter")
    }
}

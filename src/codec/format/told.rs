//! Reports each class of what a stream's reader leaves out once: events that bring the same again and again need not be
//! told apart.

use std::borrow::Cow;

use super::wire;
use crate::Format;
use crate::hub::{Action, Event, Extra, Field, Losses, Origin, Place};
use crate::json::{Cursor, JsonError, Kind, Text};

/// Classes that were told.
#[derive(Debug, Default)]
pub(super) struct Told(Vec<Field>);

impl Told {
    /// Tells that something of class `field` is left out, unless that was told before.
    pub(super) fn tell(&mut self, field: Field, sink: &mut dyn FnMut(Event<'_>)) {
        if !self.0.contains(&field) {
            self.0.push(field);
            sink(Event::Dropped { field });
        }
    }

    /// Tells the same of each of `fields`.
    pub(super) fn all(&mut self, fields: impl IntoIterator<Item = Field>, sink: &mut dyn FnMut(Event<'_>)) {
        fields.into_iter().for_each(|field| self.tell(field, sink));
    }
}

/// The tier that was told.
#[derive(Debug, Default)]
pub(super) struct Served(Text<'static>);

impl Served {
    /// Tells the tier that a provider of `format` names, where it is not the one that was told before.
    pub(super) fn tell(&mut self, format: Format, tier: Option<Text<'_>>, sink: &mut dyn FnMut(Event<'_>)) {
        if let Some(word) = tier.filter(|tier| !tier.is_empty() && tier.escaped() != self.0.escaped()) {
            self.0 = word.by_ref().into_owned();
            sink(Event::Tier { format, word });
        }
    }
}

/// Notes in `unread` that the value at `cursor`, of class `field`, is left out; what is empty says nothing.
pub(super) fn unread(unread: &mut Vec<Field>, field: Field, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
    let value = cursor.json()?;
    if !value.is_empty() && !unread.contains(&field) {
        unread.push(field);
    }
    Ok(())
}

/// True for a tier that an answer names although nothing was asked: it tells nothing.
pub(super) fn is_usual_tier(tier: &str) -> bool {
    matches!(tier, "" | "auto" | "default" | "standard" | "on_demand" | "STANDARD")
}

/// Reports the unfinished features that a client asked for by a header, of a request that goes on in another format.
pub(super) fn betas_elsewhere(origin: &Origin<'_>, losses: &mut Losses) {
    let header = wire(origin.format).spec().beta_header.unwrap_or_default();
    for beta in &origin.betas {
        let reason = format!("the beta `{beta}` is the vendor's own");
        losses.add(Field::Beta, Action::Dropped, Place::Pointer(Cow::Borrowed(header)), reason);
    }
}

/// Keeps in `extras` what a cache mark at `cursor` says beside its time; `null` says nothing.
pub(super) fn beside_mark<'a>(cursor: &Cursor<'a>, extras: &mut Vec<Extra<'a>>) -> Result<(), JsonError> {
    let mut cursor = cursor.clone();
    if cursor.peek()? != Kind::Object {
        return Ok(());
    }
    cursor.object(|key, value| {
        let at = value.offset();
        let value = value.json()?;
        if !matches!(key.as_ref(), "type" | "mode" | "ttl") && value.kind() != Kind::Null {
            extras.push(Extra { field: Field::CacheMark, key, value, at });
        }
        Ok(())
    })
}

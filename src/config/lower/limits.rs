//! What may run at once, and who may wait for it.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::limits::{Adapt, Rule};

use super::super::fields::Fields;
use super::super::schema;

/// What a limit may be.
pub(super) const COUNTS: RangeInclusive<u32> = 1..=1_000_000;

/// What `max_concurrent` and `queue` say. A queue is a line before a limit: where there is no limit, as `limited` tells of
/// one that stands elsewhere, nobody would ever wait in it.
pub(super) fn rule(fields: &Fields<'_>, limited: bool) -> Rule {
    let queue = fields.section_or_empty("queue", &schema::QUEUE);
    let patience = queue.duration("wait", &(Duration::ZERO..=Duration::from_secs(600)));
    if let (false, None, Some(entry)) = (limited, fields.entry("max_concurrent"), fields.entry("queue")) {
        let message = "`queue` does nothing without a limit to wait for";
        fields.problems().add(&entry.place, message, "write `max_concurrent` beside it, or remove it");
    }
    Rule {
        most: fields.count("max_concurrent", &COUNTS),
        waiting: queue.count("size", &(0..=10_000)).unwrap_or_default(),
        patience,
        adapt: None,
    }
}

/// What `adaptive` says.
pub(super) fn adapt(fields: &Fields<'_>) -> Option<Adapt> {
    let fields = fields.section("adaptive", &schema::ADAPTIVE)?;
    let min = fields.count("min", &COUNTS).unwrap_or(1);
    let max = fields.count("max", &COUNTS).unwrap_or(1);
    if min > max {
        let at = fields.entry("min").or_else(|| fields.entry("max"));
        let place = at.map_or(fields.owner(), |entry| &entry.node.place);
        fields.problems().add(place, "`min` is above `max`", "it moves between the two");
    }
    let tolerance = fields.parse("tolerance", "a number that fits here", |text| {
        let number = text.parse::<f64>().ok().filter(|number| (1.0..=10.0).contains(number));
        number.ok_or_else(|| "write a number from 1 to 10".to_owned())
    });
    Some(Adapt { min, max, tolerance: tolerance.unwrap_or(2.0) })
}

//! The ends of a range of numbers, in a dialect that has inclusive bounds only.

use std::cmp::Ordering;

/// What a schema says of one end.
#[derive(Debug, Default)]
pub(super) struct End {
    pub inclusive: Option<String>,
    pub exclusive: Option<String>,
}

/// One end as an inclusive bound.
#[derive(Debug)]
pub(super) struct Stated {
    /// The bound.
    pub number: String,
    /// The exclusive bound in whose place it stands.
    pub instead_of: Option<String>,
    /// It lets in nothing that the schema does not.
    pub is_exact: bool,
}

impl End {
    /// The sharper of both bounds. `step` leads from the end into the range: 1 or -1. An exclusive bound of whole numbers
    /// is the next one; of others it is told as an inclusive one.
    pub(super) fn stated(self, step: i64, is_whole: bool) -> Option<Stated> {
        let Self { inclusive, exclusive } = self;
        let own = |number| Stated { number, instead_of: None, is_exact: true };
        let Some(exclusive) = exclusive else { return inclusive.map(own) };
        let next = exclusive.parse::<i64>().ok().filter(|_| is_whole).and_then(|whole| whole.checked_add(step));
        let number = next.map_or_else(|| exclusive.clone(), |next| next.to_string());
        let suffices = |inclusive: &String| match compared(inclusive, &number) {
            Some(Ordering::Equal) => next.is_some(),
            Some(order) => order.is_gt() == (step > 0),
            None => false,
        };
        Some(match inclusive.filter(suffices) {
            Some(inclusive) => own(inclusive),
            None => Stated { number, instead_of: Some(exclusive), is_exact: next.is_some() },
        })
    }
}

fn compared(one: &str, other: &str) -> Option<Ordering> {
    match (one.parse::<i64>(), other.parse::<i64>()) {
        (Ok(one), Ok(other)) => Some(one.cmp(&other)),
        _ => one.parse::<f64>().ok()?.partial_cmp(&other.parse::<f64>().ok()?),
    }
}

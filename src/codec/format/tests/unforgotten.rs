//! No field of the hub is forgotten: what a request or an answer says is written, or it is in the loss report, whoever
//! wrote it and whoever shall read it.
//!
//! The lists come of the types: one more field, or one more kind, does not compile here until it has a value that says
//! something. What may stay unsaid stands in a list, with its reason.

use std::borrow::Cow;

use crate::Format;
use crate::hub::{Extra, Field};
use crate::json::{Json, Text};

/// Values that differ from `$base` in one field each, with the field's name. Every field of the type stands here.
macro_rules! each {
    ($type:ident, $base:expr; $($field:ident = $value:expr),* $(,)?) => {{
        let base = $base;
        let $type { $($field: _),* } = &base;
        vec![$((concat!(stringify!($type), ".", stringify!($field)), {
            #[allow(clippy::needless_update, reason = "a type of one field has no others to take over")]
            let more = $type { $field: $value, ..base.clone() };
            more
        })),*]
    }};
}

/// Pairs of a kind's values that differ in one field each, with the field's name. Every field of the kind stands here.
macro_rules! kind {
    ($type:ident :: $variant:ident; $($field:ident = $first:expr => $second:expr),* $(,)?) => {{
        let before = $type::$variant { $($field: $first),* };
        vec![$((concat!(stringify!($type), ".", stringify!($variant), ".", stringify!($field)), before.clone(), {
            let mut after = before.clone();
            if let $type::$variant { $field, .. } = &mut after {
                *$field = $second;
            }
            after
        })),*]
    }};
}

mod answer;
mod blocks;
mod request;

/// Where what is tested stands in its document: a loss that names this place tells of it.
const HERE: usize = 7316;

fn say(words: &'static str) -> Text<'static> {
    Text::from_escaped(words)
}

fn json(value: &'static str) -> Json<'static> {
    Json::from_valid(value)
}

fn extra(field: Field, key: &'static str) -> Extra<'static> {
    Extra { field, key: Cow::Borrowed(key), value: json("\"Mark7316\""), at: HERE }
}

/// Pairs of different formats.
fn crossings() -> impl Iterator<Item = (Format, Format)> {
    let pairs = Format::ALL.into_iter().flat_map(|from| Format::ALL.into_iter().map(move |to| (from, to)));
    pairs.filter(|(from, to)| from != to)
}

/// Fails with everything that was forgotten and does not stand in `unsaid`, and with what stands there and was not.
fn hold(forgotten: &[(&'static str, Format, Format)], unsaid: &[(&str, &[Format], &str)]) {
    let excused =
        |name: &str, to: Format| unsaid.iter().any(|(field, formats, _)| *field == name && formats.contains(&to));
    let complaints: Vec<_> = forgotten
        .iter()
        .filter(|(name, _, to)| !excused(name, *to))
        .map(|(name, from, to)| format!("{name}: {from:?} to {to:?} neither writes nor reports it"))
        .collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
    for (name, formats, _) in unsaid {
        for to in *formats {
            let found = forgotten.iter().any(|(field, _, format)| field == name && format == to);
            assert!(found, "{name} is said to {to:?} or reported: it needs no excuse");
        }
    }
}

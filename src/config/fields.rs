//! Typed reading of one section: known keys, defaults from the schema, and every fault noted.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::problem::{Place, Problems, suggest};
use super::schema::{self, Absent, Section};
use super::tree::{Entry, Node, Scalar, Value};
use super::units;

/// A section as written.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    section: &'static Section,
    entries: &'a [Entry],
    /// Where a missing key is reported.
    owner: &'a Place,
    /// Whether it is no map or holds an unknown key: then what is missing may be there, misspelled.
    unclear: bool,
    problems: &'a Problems,
}

impl<'a> Fields<'a> {
    /// Opens `node` as the section; `owner` is the key it belongs to. What is no map is noted and read as empty.
    pub(super) fn open(section: &'static Section, node: &'a Node, owner: &'a Place, problems: &'a Problems) -> Self {
        let mut unclear = false;
        let entries: &[Entry] = match &node.value {
            Value::Map(entries) => entries,
            Value::Scalar(scalar) if scalar.is_null() => &[],
            Value::List(_) | Value::Scalar(_) => {
                let known: Vec<_> = section.fields.iter().map(|field| field.name).collect();
                let hint = format!("write a map of: {}", known.join(", "));
                problems.add(&node.place, format!("a map is wanted here, not {}", node.describe()), hint);
                unclear = true;
                &[]
            }
        };
        for entry in entries {
            if section.field(&entry.key).is_none() {
                let hint = elsewhere(&entry.key)
                    .unwrap_or_else(|| suggest(&entry.key, section.fields.iter().map(|field| field.name)));
                problems.add(&entry.place, format!("unknown key `{}`", entry.key), hint);
                unclear = true;
            }
        }
        Self { section, entries, owner, unclear, problems }
    }

    /// The sink for problems.
    pub(super) fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// Where the section stands.
    pub(super) fn owner(&self) -> &'a Place {
        self.owner
    }

    /// Notes that something is missing, unless it may be there in a way that is noted already.
    pub(super) fn missing(&self, message: &str, hint: &str) {
        if !self.unclear {
            self.problems.add(self.owner, message, hint);
        }
    }

    /// The entry of a key that holds a value.
    pub(super) fn entry(&self, name: &str) -> Option<&'a Entry> {
        debug_assert!(self.section.field(name).is_some(), "{name} is not in the schema of {}", self.section.path);
        self.entries.iter().find(|entry| entry.key == name && !entry.node.is_null())
    }

    /// As [`Self::entry`]; an absent one is noted.
    pub(super) fn required(&self, name: &str) -> Option<&'a Entry> {
        let entry = self.entry(name);
        if entry.is_none() {
            let form = self.section.field(name).map_or("", |field| field.form);
            self.missing(&format!("`{name}` is missing"), &format!("write `{name}:` ({form})"));
        }
        entry
    }

    /// A scalar's text.
    pub(super) fn scalar(&self, name: &str) -> Option<(&'a Scalar, &'a Place)> {
        let node = &self.entry(name)?.node;
        scalar_of(node, self.problems).map(|scalar| (scalar, &node.place))
    }

    /// A text that is not empty.
    pub(super) fn text(&self, name: &str) -> Option<Text<'a>> {
        let (scalar, place) = self.scalar(name)?;
        if scalar.text.is_empty() {
            let from = if scalar.written.is_some() { ": the placeholder stands for nothing" } else { "" };
            self.problems.add(place, format!("`{name}` is empty{from}"), "");
            return None;
        }
        Some(Text { value: &scalar.text, place, scalar })
    }

    /// As [`Self::text`]; an absent one is noted.
    pub(super) fn required_text(&self, name: &str) -> Option<Text<'a>> {
        self.required(name)?;
        self.text(name)
    }

    /// What `read` makes of the text, or of the schema's default; `None` where there is neither or it is faulty.
    pub(super) fn parse<T>(&self, name: &str, what: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let default = || match self.section.field(name)?.absent {
            Absent::Default(text) => read(text).ok(),
            Absent::Required | Absent::Otherwise(_) => None,
        };
        if self.entry(name).is_none() {
            return default();
        }
        let (scalar, place) = self.scalar(name)?;
        match read(&scalar.text) {
            Ok(value) => Some(value),
            Err(hint) => {
                self.problems.add(place, format!("{} is not {what}", scalar.shown()), hint);
                default()
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.choice(name, &[("true", true), ("false", false)])
    }

    /// One of a few words.
    pub(super) fn choice<T: Clone>(&self, name: &str, words: &[(&str, T)]) -> Option<T> {
        self.parse(name, &format!("a value of `{name}`"), |text| word(text, words))
    }

    /// A whole number within bounds.
    pub(super) fn count(&self, name: &str, bounds: &RangeInclusive<u32>) -> Option<u32> {
        self.parse(name, "a number that fits here", |text| {
            let number = text.parse::<u32>().ok().filter(|number| bounds.contains(number));
            number.ok_or_else(|| between("a whole number", bounds.start(), bounds.end()))
        })
    }

    /// A duration within bounds.
    pub(super) fn duration(&self, name: &str, bounds: &RangeInclusive<Duration>) -> Duration {
        let read = |text: &str| {
            let duration = units::duration(text)?;
            let [low, high] = [bounds.start(), bounds.end()].map(|bound| units::duration_text(*bound));
            if bounds.contains(&duration) { Ok(duration) } else { Err(between("a duration", &low, &high)) }
        };
        self.parse(name, "a duration that fits here", read).unwrap_or_default()
    }

    /// Notes a duration that is longer than what is to be the longest. Each may be a default, and the one that is written is
    /// shown.
    pub(super) fn in_order(&self, (first, length): (&str, Duration), (longest, most): (&str, Duration)) {
        if length <= most {
            return;
        }
        let [length, most] = [length, most].map(units::duration_text);
        let place =
            [longest, first].into_iter().find_map(|name| self.entry(name)).map_or(self.owner, |e| &e.node.place);
        let message = format!("`{first}` ({length}) is longer than `{longest}` ({most})");
        self.problems.add(place, message, format!("write `{longest}: {length}` or more, or a shorter `{first}`"));
    }

    /// A size in bytes within bounds.
    pub(super) fn size(&self, name: &str, bounds: &RangeInclusive<usize>) -> usize {
        let read = |text: &str| {
            let size = units::size(text)?;
            let [low, high] = [bounds.start(), bounds.end()].map(|bound| units::size_text(*bound));
            if bounds.contains(&size) { Ok(size) } else { Err(between("a size", &low, &high)) }
        };
        self.parse(name, "a size that fits here", read).unwrap_or_default()
    }

    /// The items of a list; what is no list is noted.
    pub(super) fn list(&self, name: &str) -> Option<&'a [Node]> {
        let node = &self.entry(name)?.node;
        match &node.value {
            Value::List(items) => Some(items),
            Value::Scalar(_) | Value::Map(_) => {
                let message = format!("a list is wanted here, not {}", node.describe());
                self.problems.add(&node.place, message, format!("write `{name}: [ … ]`"));
                None
            }
        }
    }

    /// The entries of a map with names of the operator's choice; what is no map is noted.
    pub(super) fn map(&self, name: &str) -> Option<&'a [Entry]> {
        let node = &self.entry(name)?.node;
        match &node.value {
            Value::Map(entries) => Some(entries),
            Value::Scalar(_) | Value::List(_) => {
                let message = format!("a map is wanted here, not {}", node.describe());
                self.problems.add(&node.place, message, format!("write `{name}:` and the names below it, indented"));
                None
            }
        }
    }

    /// A section below this one.
    pub(super) fn section(&self, name: &str, section: &'static Section) -> Option<Fields<'a>> {
        let entry = self.entry(name)?;
        Some(Fields::open(section, &entry.node, &entry.place, self.problems))
    }

    /// As [`Self::section`], empty where it is absent.
    pub(super) fn section_or_empty(&self, name: &str, section: &'static Section) -> Fields<'a> {
        let empty = Fields { section, entries: &[], owner: self.owner, unclear: false, problems: self.problems };
        self.section(name, section).unwrap_or(empty)
    }
}

/// Where a key belongs that is known at other places than it was written; `None` where it is known in too many to say.
fn elsewhere(key: &str) -> Option<String> {
    let homes = schema::ALL.iter().filter(|section| section.field(key).is_some());
    let homes: Vec<_> = homes.map(|home| home.place()).collect();
    (1..=3).contains(&homes.len()).then(|| format!("it belongs {}", homes.join(", or ")))
}

/// A text that is not empty, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) value: &'a str,
    pub(super) place: &'a Place,
    scalar: &'a Scalar,
}

impl<'a> Text<'a> {
    /// The text of a scalar node.
    pub(super) fn of(node: &'a Node, problems: &Problems) -> Option<Self> {
        let scalar = scalar_of(node, problems)?;
        Some(Self { value: &scalar.text, place: &node.place, scalar })
    }

    /// A part of the text for a report, see [`Scalar::quote`].
    pub(super) fn quote(&self, part: &str) -> String {
        self.scalar.quote(part)
    }

    /// The text for a report.
    pub(super) fn shown(&self) -> String {
        self.scalar.shown()
    }
}

/// The scalar that a node holds; what is none is noted, and what is noted already is passed over.
pub(super) fn scalar_of<'a>(node: &'a Node, problems: &Problems) -> Option<&'a Scalar> {
    match &node.value {
        Value::Scalar(scalar) => (!scalar.failed).then_some(scalar),
        Value::List(_) | Value::Map(_) => {
            problems.add(&node.place, format!("a single value is wanted here, not {}", node.describe()), "");
            None
        }
    }
}

/// The meaning of one of a few words.
pub(super) fn word<T: Clone>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| value.clone()).ok_or_else(|| suggest(text, words.iter().map(|(name, _)| *name)))
}

fn between(what: &str, low: &(impl Display + ?Sized), high: &(impl Display + ?Sized)) -> String {
    format!("write {what} from {low} to {high}")
}

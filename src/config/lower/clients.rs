//! Clients and their keys.

use std::collections::HashSet;

use crate::routing::Glob;

use super::super::clients::{Caller, Clients, KeyHash, hash};
use super::super::fields::{Fields, Text, scalar_of};
use super::super::problem::Place;
use super::super::schema;
use super::super::tree::Node;

/// Characters of a key below which it can be guessed.
const MIN_KEY: usize = 8;
/// Characters of a client's name.
const MAX_NAME: usize = 64;

pub(super) fn clients(root: &Fields<'_>) -> Clients {
    let problems = root.problems();
    let keys = root.choice("auth", &[("keys", true), ("off", false)]).unwrap_or(true);
    let listed = root.list("clients");
    let items = listed.unwrap_or_default();
    // What is written but faulty is noted already.
    let unread = listed.is_none() && root.entry("clients").is_some();
    let unclear = root.scalar("auth").is_some_and(|(scalar, _)| !matches!(scalar.text.as_str(), "keys" | "off"));
    if !keys {
        if let (false, Some(entry)) = (items.is_empty(), root.entry("auth")) {
            let hint = "remove `auth: off` so that they need their keys, or remove `clients`";
            problems.add(&entry.place, "`auth: off` lets everyone in, but `clients` are written", hint);
        }
    } else if items.is_empty() && !unread && !unclear {
        let message = "nobody may call: there are no `clients`";
        let hint =
            "write `clients: [{name: …, key: \"${NAME}\"}]`, or `auth: off` to serve everyone who reaches the port";
        match root.entry("clients").or_else(|| root.entry("auth")) {
            Some(entry) => problems.add(&entry.place, message, hint),
            None => root.missing(message, hint),
        }
    }
    let mut reader = Reader::default();
    let read: Vec<_> = items.iter().filter_map(|item| reader.client(item, root)).collect();
    if keys { Clients::with_keys(read) } else { Clients::open() }
}

/// What was seen so far: a name or key stands once.
#[derive(Default)]
struct Reader {
    names: HashSet<String>,
    keys: HashSet<KeyHash>,
}

impl Reader {
    fn client(&mut self, item: &Node, root: &Fields<'_>) -> Option<(KeyHash, Caller)> {
        let problems = root.problems();
        let fields = Fields::open(&schema::CLIENT, item, &item.place, problems);
        let key = key_of(&fields);
        let models = models(&fields);
        let text = fields.required_text("name")?;
        let (name, place) = (text.value, text.place);
        if name.chars().count() > MAX_NAME || name.contains(char::is_control) {
            problems.add(place, "this cannot be a client's name", format!("write 1 to {MAX_NAME} characters"));
        }
        if !self.names.insert(name.to_owned()) {
            problems.add(
                place,
                format!("another client is named {}", text.shown()),
                "a name stands for one client in logs and metrics",
            );
        }
        let (key, place) = key?;
        if !self.keys.insert(key) {
            problems.add(place, "another client has the same key", "give each client its own");
        }
        Some((key, Caller::new(name, models)))
    }
}

fn key_of<'a>(fields: &Fields<'a>) -> Option<(KeyHash, &'a Place)> {
    let problems = fields.problems();
    match (fields.entry("key"), fields.entry("key_hash")) {
        (Some(_), Some(both)) => {
            problems.add(&both.place, "`key` and `key_hash` cannot both be written", "keep one of them");
            None
        }
        (None, None) => {
            fields.missing("this client has no key", "write `key: \"${NAME}\"`, or `key_hash: \"sha256:…\"`");
            None
        }
        (Some(_), None) => {
            let Text { value: key, place, .. } = fields.text("key")?;
            if key.chars().count() < MIN_KEY {
                let hint = format!("{MIN_KEY} characters or more; `openssl rand -hex 24` makes a good one");
                problems.add(place, "the key is so short that it can be guessed", hint);
            }
            if key.contains(|c: char| !c.is_ascii_graphic()) {
                let hint = "use letters, digits and signs without spaces or line breaks";
                problems.add(place, "no client could send this key in a header", hint);
            }
            Some((hash(key), place))
        }
        (None, Some(_)) => {
            let Text { value: text, place, .. } = fields.text("key_hash")?;
            let hash = read_hash(text);
            if hash.is_none() {
                let hint = "write `sha256:` and 64 hex digits: `printf %s \"$KEY\" | sha256sum`";
                problems.add(place, "this is no hash of a key", hint);
            }
            Some((hash?, place))
        }
    }
}

fn read_hash(text: &str) -> Option<KeyHash> {
    let digits = text.strip_prefix("sha256:")?;
    if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(hash)
}

fn models(fields: &Fields<'_>) -> Vec<Glob> {
    let Some(entry) = fields.entry("models") else { return vec![Glob::new("*")] };
    let problems = fields.problems();
    let items = fields.list("models").unwrap_or_default();
    if items.is_empty() {
        problems.add(&entry.place, "this client may ask for nothing", "write `[\"*\"]` for all, or remove the client");
    }
    items.iter().filter_map(|item| Some(Glob::new(&scalar_of(item, problems)?.text))).collect()
}

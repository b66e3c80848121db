//! Clients and their keys.

use std::collections::HashSet;
use std::sync::Arc;

use crate::limits::Class;
use crate::routing::{Glob, OnLoss};

use super::super::clients::{Caller, Clients, Grant, KeyHash, hash};
use super::super::fields::{Fields, Text, scalar_of};
use super::super::problem::{Place, Problems, suggest};
use super::super::schema;
use super::super::tree::Node;
use super::limits;
use super::providers::Providers;

/// Characters of a key below which it can be guessed.
const MIN_KEY: usize = 8;
/// Characters of a client's name.
const MAX_NAME: usize = 64;

pub(super) fn clients(root: &Fields<'_>, providers: &Providers) -> Clients {
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
    let mut reader = Reader { providers, names: HashSet::new(), keys: HashSet::new() };
    let read: Vec<_> = items.iter().filter_map(|item| reader.client(item, root)).collect();
    if keys { Clients::with_keys(read) } else { Clients::open() }
}

/// What was seen so far: a name or key stands once.
struct Reader<'a> {
    providers: &'a Providers,
    names: HashSet<String>,
    keys: HashSet<KeyHash>,
}

impl Reader<'_> {
    fn client(&mut self, item: &Node, root: &Fields<'_>) -> Option<(KeyHash, Caller)> {
        let problems = root.problems();
        let fields = Fields::open(&schema::CLIENT, item, &item.place, problems);
        let key = key_of(&fields);
        let models = models(&fields);
        let providers = self.granted(&fields, "providers").or_else(|| {
            // A batch may hold requests for any model, so it takes a client that may ask for every one.
            (!models.iter().any(|glob| glob.as_str() == "*")).then(Vec::new)
        });
        let raw = self.granted(&fields, "raw").unwrap_or_default();
        let on_loss = fields.choice("on_loss", &OnLoss::NAMED);
        let limit = limits::rule(&fields, false);
        let class = fields.choice("priority", &Class::NAMED).unwrap_or_default();
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
        Some((key, Caller::new(Grant { name: Arc::from(name), models, providers, raw, on_loss, limit, class })))
    }

    /// The providers listed under `name`; `None` where there is no list.
    fn granted(&self, fields: &Fields<'_>, name: &str) -> Option<Vec<Arc<str>>> {
        let problems = fields.problems();
        let granted = fields.list(name)?.iter().filter_map(|item| {
            let text = Text::of(item, problems)?;
            provider_named(&text, self.providers, problems)
        });
        Some(granted.collect())
    }
}

/// The name of a provider that was written.
pub(super) fn provider_named(text: &Text<'_>, providers: &Providers, problems: &Problems) -> Option<Arc<str>> {
    let mut named = providers.named.iter().map(String::as_str);
    if !named.any(|name| name == text.value) {
        let hint = suggest(text.value, providers.named.iter().map(String::as_str));
        problems.add(text.place, format!("no provider is named {}", text.shown()), hint);
        return None;
    }
    Some(Arc::from(text.value))
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

//! `TIDEGATE__SERVER__BODY_LIMIT=…`: any key set by the environment.
//!
//! Prefix and path are read without regard to case, the path's segments are split at `__`; what a variable's name cannot hold
//! (`-`, `.`, `/` and the like) is written `_`. A number picks an item of a list, the one after the last adds one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::problem::{Place, Problems};
use super::schema::PREFIX;
use super::tree::{self, Entry, Node, Value};

/// Applies every override in `env` to the tree, in the order of their paths.
pub(super) fn apply(root: &mut Node, env: &BTreeMap<String, String>, problems: &Problems) {
    let mut seen = BTreeMap::new();
    let ours = env.iter().filter_map(|(variable, value)| {
        let (start, path) = variable.split_at_checked(PREFIX.len())?;
        start.eq_ignore_ascii_case(PREFIX).then_some((variable, value, path))
    });
    let mut ours: Vec<_> = ours.collect();
    ours.sort_by_cached_key(|(_, _, path)| in_order(path));
    for (variable, value, path) in ours {
        let place = Place::Variable(Arc::from(variable.as_str()));
        let segments: Vec<&str> = path.split("__").collect();
        if segments.iter().any(|segment| segment.is_empty()) {
            let hint = format!("write the path of a key, such as `{PREFIX}SERVER__BODY_LIMIT`");
            problems.add(&place, "a part of the path is empty", hint);
            continue;
        }
        if let Some(other) = seen.insert(path.to_ascii_lowercase(), variable) {
            problems.add(&place, format!("`{other}` sets the same key"), "unset one of them");
        }
        if let Some(node) = value_node(value, &place, problems)
            && let Err((message, hint)) = set(root, &segments, node, &place)
        {
            problems.add(&place, message, hint);
        }
    }
}

/// A path with its numbers as such: item 10 of a list comes behind item 9.
fn in_order(path: &str) -> Vec<(Option<usize>, String)> {
    path.split("__").map(|segment| (segment.parse().ok(), segment.to_ascii_lowercase())).collect()
}

/// The value: a list, map or quoted text as YAML; anything else as it stands, so that a key with odd characters passes.
fn value_node(value: &str, place: &Place, problems: &Problems) -> Option<Node> {
    let text = value.trim();
    if !text.starts_with(['[', '{', '"', '\'']) {
        let mut node = Node::scalar(place.clone(), text.to_owned());
        relocate(&mut node, place);
        return Some(node);
    }
    let inner = Problems::default();
    match tree::parse(text, &inner) {
        Some(mut tree) if inner.is_empty() => {
            relocate(&mut tree.root, place);
            Some(tree.root)
        }
        _ => {
            problems.add(place, "its value is not YAML", "quote a text that begins with a bracket or a quote: '\"…\"'");
            None
        }
    }
}

/// Everything in the value was written by the variable, and none of it may be shown.
fn relocate(node: &mut Node, place: &Place) {
    node.place = place.clone();
    match &mut node.value {
        Value::Scalar(scalar) => scalar.secret = true,
        Value::List(items) => items.iter_mut().for_each(|item| relocate(item, place)),
        Value::Map(entries) => {
            for entry in entries {
                entry.place = place.clone();
                relocate(&mut entry.node, place);
            }
        }
    }
}

fn set(node: &mut Node, path: &[&str], value: Node, place: &Place) -> Result<(), (String, String)> {
    let Some((segment, rest)) = path.split_first() else {
        *node = value;
        return Ok(());
    };
    if node.is_null() {
        let empty = match segment.parse::<usize>() {
            Ok(0) => Value::List(Vec::new()),
            Ok(_) => return Err(no_item(segment, 0)),
            Err(_) => Value::Map(Vec::new()),
        };
        *node = Node { place: place.clone(), value: empty };
    }
    match &mut node.value {
        Value::Map(entries) => set(entry_of(entries, segment, place)?, rest, value, place),
        Value::List(items) => set(item_of(items, segment, place)?, rest, value, place),
        Value::Scalar(_) => {
            let message = format!("nothing can stand at `{segment}`: what is above holds a single value");
            Err((message, "set the whole value, or write it as a map in the file".to_owned()))
        }
    }
}

fn no_item(segment: &str, count: usize) -> (String, String) {
    let hint = format!("the list has {count} items, numbered from 0; {count} adds one");
    (format!("`{segment}` is no item of the list"), hint)
}

fn item_of<'a>(items: &'a mut Vec<Node>, segment: &str, place: &Place) -> Result<&'a mut Node, (String, String)> {
    let count = items.len();
    let fault = || no_item(segment, count);
    let index: usize = segment.parse().map_err(|_| fault())?;
    if index == count {
        items.push(Node::scalar(place.clone(), String::new()));
    }
    items.get_mut(index).ok_or_else(fault)
}

fn entry_of<'a>(entries: &'a mut Vec<Entry>, segment: &str, place: &Place) -> Result<&'a mut Node, (String, String)> {
    let wanted = plain(segment);
    let same: Vec<usize> =
        (0..).zip(&*entries).filter(|(_, entry)| plain(&entry.key) == wanted).map(|(at, _)| at).collect();
    let index = match same.as_slice() {
        [] => {
            let key = segment.to_lowercase();
            entries.push(Entry { key, place: place.clone(), node: Node::scalar(place.clone(), String::new()) });
            entries.len() - 1
        }
        [index] => *index,
        several => {
            let names: Vec<_> =
                several.iter().filter_map(|at| entries.get(*at)).map(|entry| entry.key.as_str()).collect();
            let message = format!("`{segment}` could be any of: {}", names.join(", "));
            return Err((message, "rename one of them, or set the value in the file".to_owned()));
        }
    };
    let entry = entries.get_mut(index).map(|entry| &mut entry.node);
    entry.ok_or_else(|| (format!("`{segment}` cannot be set"), String::new()))
}

/// A name as a variable can spell it.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

//! Arguments of a call that come piece by piece, each with the place in them where it belongs.
//!
//! ```text
//! {"functionCall":{"name":"f","willContinue":true}}
//! {"functionCall":{"partialArgs":[{"jsonPath":"$.a","stringValue":"Bos","willContinue":true}],"willContinue":true}}
//! {"functionCall":{"partialArgs":[{"jsonPath":"$.a","stringValue":"ton"},{"jsonPath":"$.b[0]","numberValue":1}]}}
//! ```
//!
//! A piece may belong anywhere, so no beginning of the arguments is known before the end: they are gathered.

use std::borrow::Cow;

use super::wire::{fields, loose_text};
use crate::json::{Cursor, JsonError, Kind, Text, Writer};

/// Most bytes of one call's arguments.
const LIMIT: usize = 4 << 20;
/// Deepest place.
const DEEPEST: usize = 64;
/// What a value counts beside its text, in bytes.
const NODE: usize = 64;

/// Arguments so far.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    root: Node,
    bytes: usize,
}

/// A value; what is nothing yet is `null`.
#[derive(Debug, Default)]
enum Node {
    #[default]
    Null,
    /// Contents of a string, escaped.
    Text(String),
    /// Any other value without parts.
    Raw(String),
    /// Keys, escaped.
    Object(Vec<(String, Node)>),
    Array(Vec<Node>),
}

/// A step down.
#[derive(Debug, PartialEq, Eq)]
enum Step<'p> {
    Key(Cow<'p, str>),
    Index(usize),
}

impl Arguments {
    /// Takes the pieces of a `partialArgs`; `false` where one has no place or the bound is met.
    pub(super) fn take(&mut self, pieces: &mut Cursor<'_>) -> Result<bool, JsonError> {
        let mut placed = true;
        if pieces.peek()? != Kind::Array {
            pieces.skip()?;
            return Ok(true);
        }
        pieces.array::<JsonError>(|_, piece| {
            if piece.peek()? != Kind::Object {
                return piece.skip();
            }
            let (mut path, mut value) = (None, Node::Null);
            fields::<JsonError>(piece, |name, _, cursor| {
                match name {
                    "jsonPath" => path = loose_text(cursor)?,
                    "stringValue" if cursor.peek()? == Kind::String => {
                        value = Node::Text(cursor.text()?.escaped().to_owned());
                    }
                    "numberValue" | "boolValue" => value = Node::Raw(cursor.json()?.as_str().to_owned()),
                    _ => cursor.skip()?,
                }
                Ok(())
            })?;
            if let Some(path) = path {
                placed = placed && self.put(&path.plain(), value);
            }
            Ok(())
        })?;
        Ok(placed)
    }

    fn put(&mut self, path: &str, value: Node) -> bool {
        let Some(steps) = steps(path) else { return false };
        self.bytes = self.bytes.saturating_add(path.len()).saturating_add(value.len() + steps.len() * NODE);
        if self.bytes > LIMIT {
            return false;
        }
        let mut node = &mut self.root;
        for step in steps {
            let Some(below) = node.down(step) else { return false };
            node = below;
        }
        match (node, value) {
            // A string grows.
            (Node::Text(words), Node::Text(more)) => words.push_str(&more),
            (node, value) => *node = value,
        }
        true
    }

    /// The arguments as JSON; without their last brace where the call was cut, so that nobody runs it.
    pub(super) fn finish(self, whole: bool) -> String {
        let root = match self.root {
            root @ Node::Object(_) => root,
            _ => Node::Object(Vec::new()),
        };
        let mut out = Vec::with_capacity(256);
        root.write(&mut Writer::new(&mut out));
        if !whole {
            out.pop();
        }
        String::from_utf8(out).unwrap_or_default()
    }
}

impl Node {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) | Self::Raw(text) => text.len(),
            Self::Null | Self::Object(_) | Self::Array(_) => 0,
        }
    }

    /// What stands below; made if there is nothing.
    fn down(&mut self, step: Step<'_>) -> Option<&mut Self> {
        match step {
            Step::Key(key) => {
                if !matches!(self, Self::Object(_)) {
                    *self = Self::Object(Vec::new());
                }
                let Self::Object(members) = self else { return None };
                let key = Text::from_plain(&key);
                let at = members.iter().position(|(known, _)| known == key.escaped()).unwrap_or(members.len());
                if at == members.len() {
                    members.push((key.escaped().to_owned(), Self::Null));
                }
                members.get_mut(at).map(|(_, value)| value)
            }
            Step::Index(at) => {
                if !matches!(self, Self::Array(_)) {
                    *self = Self::Array(Vec::new());
                }
                let Self::Array(elements) = self else { return None };
                // Elements come in order.
                if at == elements.len() {
                    elements.push(Self::Null);
                }
                elements.get_mut(at)
            }
        }
    }

    fn write(&self, json: &mut Writer<'_>) {
        match self {
            Self::Null => {
                json.null();
            }
            Self::Text(text) => {
                json.text(&Text::from_escaped(text.as_str()));
            }
            Self::Raw(raw) => {
                json.verbatim(raw);
            }
            Self::Object(members) => {
                json.open_object();
                for (key, value) in members {
                    value.write(json.key(key));
                }
                json.close_object();
            }
            Self::Array(elements) => {
                json.open_array();
                for element in elements {
                    element.write(json);
                }
                json.close_array();
            }
        }
    }
}

/// The steps of a path (RFC 9535): `$.a[0].b`, `$['a b']`. The first is a key, since arguments are an object.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (step, behind) = match rest.strip_prefix('.') {
            Some(name) => {
                let (name, behind) = name.split_at_checked(name.find(['.', '[']).unwrap_or(name.len()))?;
                (Step::Key(Cow::Borrowed(name)), behind)
            }
            None => bracket(rest.strip_prefix('[')?)?,
        };
        if steps.len() == DEEPEST || matches!(&step, Step::Key(name) if name.is_empty()) {
            return None;
        }
        steps.push(step);
        rest = behind;
    }
    matches!(steps.first(), Some(Step::Key(_))).then_some(steps)
}

/// `0]`, `'a']` or `"a"]`, and what stands behind.
fn bracket(rest: &str) -> Option<(Step<'_>, &str)> {
    let Some(quote) = rest.chars().next().filter(|first| matches!(first, '\'' | '"')) else {
        let (digits, behind) = rest.split_once(']')?;
        return Some((Step::Index(digits.parse().ok()?), behind));
    };
    let (mut name, mut escaped) = (String::new(), false);
    let quoted = rest.get(1..)?;
    for (at, c) in quoted.char_indices() {
        match c {
            c if std::mem::take(&mut escaped) => name.push(c),
            '\\' => escaped = true,
            c if c == quote => {
                let behind = quoted.get(at + 1..)?.strip_prefix(']')?;
                return Some((Step::Key(Cow::Owned(name)), behind));
            }
            c => name.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assembled(pieces: &[&str]) -> Option<String> {
        let mut arguments = Arguments::default();
        for piece in pieces {
            if !arguments.take(&mut Cursor::over(piece)).unwrap() {
                return None;
            }
        }
        Some(arguments.finish(true))
    }

    #[test]
    fn pieces_find_their_place() {
        for (pieces, expected) in [
            (&[][..], "{}"),
            (
                &[
                    r#"[{"jsonPath":"$.a","stringValue":"Bos","willContinue":true}]"#,
                    r#"[{"json_path":"$.a","string_value":"t\"on"}]"#,
                ],
                r#"{"a":"Bost\"on"}"#,
            ),
            (
                &[
                    r#"[{"jsonPath":"$.n","numberValue":12345678901234567890.0},{"jsonPath":"$.b","boolValue":true},{"jsonPath":"$.z","nullValue":"NULL_VALUE"}]"#,
                ],
                r#"{"n":12345678901234567890.0,"b":true,"z":null}"#,
            ),
            (
                &[
                    r#"[{"jsonPath":"$.l[0].x","numberValue":1}]"#,
                    r#"[{"jsonPath":"$.l[1].x","numberValue":2},{"jsonPath":"$.l[0].y","stringValue":""}]"#,
                ],
                r#"{"l":[{"x":1,"y":""},{"x":2}]}"#,
            ),
            (&[r#"[{"jsonPath":"$['a b'][\"c\\\"d\"]","stringValue":"北"}]"#], r#"{"a b":{"c\"d":"北"}}"#),
            (&["null", r#"[7,{"stringValue":"no place"}]"#], "{}"),
        ] {
            assert_eq!(assembled(pieces).as_deref(), Some(expected), "{pieces:?}");
        }
    }

    #[test]
    fn places_that_are_none_are_refused() {
        for path in ["", "a", "$", "$[0]", "$.a[", "$.a[x]", "$.a[-1]", "$.", "$..a", "$['a", "$['a'", "$.a[1]"] {
            assert_eq!(assembled(&[&format!(r#"[{{"jsonPath":"{path}","numberValue":1}}]"#)]), None, "{path}");
        }
        let deep = format!("$.a{}", "[0]".repeat(DEEPEST));
        assert_eq!(assembled(&[&format!(r#"[{{"jsonPath":"{deep}","numberValue":1}}]"#)]), None);
    }

    #[test]
    fn what_is_gathered_is_bounded() {
        let piece = format!(r#"[{{"jsonPath":"$.a","stringValue":"{}"}}]"#, "x".repeat(LIMIT / 4));
        let mut arguments = Arguments::default();
        let taken = (0..9).filter(|_| arguments.take(&mut Cursor::over(&piece)).unwrap()).count();
        assert_eq!(taken, 3, "a little is counted for its place");
    }

    #[test]
    fn a_cut_call_is_no_json() {
        let mut arguments = Arguments::default();
        arguments.take(&mut Cursor::over(r#"[{"jsonPath":"$.a","stringValue":"Bos","willContinue":true}]"#)).unwrap();
        assert_eq!(arguments.finish(false), r#"{"a":"Bos""#);
    }
}

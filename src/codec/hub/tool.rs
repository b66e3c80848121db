//! Tools, and how free the model is to use them.

use std::borrow::Cow;

use super::block::{CacheMark, Extra};
use super::error::Refusal;
use crate::Format;
use crate::json::{Json, JsonError, Kind, Problem, Text};

/// Something that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub enum Tool<'a> {
    /// A function of the client with a JSON schema.
    Function {
        /// Its name.
        name: Cow<'a, str>,
        /// What it is for.
        description: Option<Text<'a>>,
        /// JSON schema of its arguments; `None` for a function without any.
        schema: Option<Json<'a>>,
        /// Arguments must follow the schema to the letter.
        strict: Option<bool>,
        /// A prompt-cache breakpoint behind this tool.
        cache: Option<CacheMark>,
        /// Fields that the hub has no place for.
        extras: Vec<Extra<'a>>,
        /// Byte offset in the body.
        at: usize,
    },
    /// A tool of the client that takes free text.
    Custom {
        /// Its name.
        name: Cow<'a, str>,
        /// What it is for.
        description: Option<Text<'a>>,
        /// The format of its input (`{"type":"text"}` or a grammar), raw.
        format: Option<Json<'a>>,
        /// Byte offset in the body.
        at: usize,
    },
    /// A tool that one vendor defines: its models know what it takes, and no schema tells others.
    Server {
        /// Format that knows it.
        format: Format,
        /// The whole tool's JSON.
        raw: Json<'a>,
        /// The client runs it; else the provider does.
        by_client: bool,
        /// Byte offset in the body.
        at: usize,
    },
}

impl Tool<'_> {
    /// The name that calls use; `None` for a server tool.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Function { name, .. } | Self::Custom { name, .. } => Some(name),
            Self::Server { .. } => None,
        }
    }

    /// The refusal of a tool of another vendor's.
    #[must_use]
    pub fn refuse_elsewhere(&self) -> Refusal {
        let message = match self {
            Self::Server { by_client: true, .. } => {
                "only models of its vendor know what this tool takes: declare it as a function with a schema, or choose such \
                 a model"
            }
            Self::Server { .. } | Self::Function { .. } | Self::Custom { .. } => {
                "this tool is run by providers of another format only; remove it or choose such a model"
            }
        };
        Refusal::at(self.at(), message).with_code("unsupported_tool")
    }

    /// Byte offset in the body.
    #[must_use]
    pub fn at(&self) -> usize {
        match self {
            Self::Function { at, .. } | Self::Custom { at, .. } | Self::Server { at, .. } => *at,
        }
    }
}

/// Stands between a namespace and a tool's name in the hub; no format allows it in either.
const NAMESPACE_END: char = '\u{1f}';

/// The hub's name of tool `name` in `namespace`: one name, so that a format without namespaces renames it as it does
/// any name that it does not allow, and the way back restores both parts.
#[must_use]
pub fn in_namespace(namespace: &str, name: &str) -> String {
    format!("{namespace}{NAMESPACE_END}{name}")
}

/// The namespace of a hub name, if it has one, and the name in it.
#[must_use]
pub fn split_namespace(name: &str) -> (Option<&str>, &str) {
    match name.split_once(NAMESPACE_END) {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, name),
    }
}

/// A hub name as a format without namespaces says it, where nothing else stands in for it.
#[must_use]
pub fn flat_name(name: &str) -> Cow<'_, str> {
    if name.contains(NAMESPACE_END) { Cow::Owned(name.replace(NAMESPACE_END, "__")) } else { Cow::Borrowed(name) }
}

/// The format of a custom tool's input, if it restricts it: any text is none.
#[must_use]
pub fn restricts<'j, 'a>(format: Option<&'j Json<'a>>) -> Option<&'j Json<'a>> {
    format.filter(|format| {
        let mut kind = String::new();
        let read = format.cursor().object::<JsonError>(|key, value| {
            if key == "type" && value.peek()? == Kind::String {
                kind = value.string()?.into_owned();
            }
            Ok(())
        });
        read.is_ok() && !matches!(kind.as_str(), "" | "text")
    })
}

/// Function or free text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Flavor {
    /// Arguments are a JSON object.
    #[default]
    Function,
    /// The input is free text.
    Custom,
}

/// How free the model is to use its tools.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ToolPolicy<'a> {
    /// Whether it may, must, or must not.
    pub mode: Option<ToolMode<'a>>,
    /// Only these may be called; `None` for all.
    pub allowed: Option<Vec<Cow<'a, str>>>,
    /// Several calls in one answer are welcome.
    pub parallel: Option<bool>,
}

/// Whether the model may, must, or must not call a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolMode<'a> {
    /// It decides.
    Auto,
    /// It must not.
    None,
    /// It must call at least one.
    Any,
    /// It must call this one.
    Named {
        /// The tool.
        name: Cow<'a, str>,
        /// Function or custom tool.
        flavor: Flavor,
    },
}

/// Arguments of a function, given as the contents of a JSON string: the object that they say; none say an empty one,
/// as `null` does, and what is no object (it was cut) stays the text that it is, as a JSON string.
#[must_use]
pub fn arguments(text: Text<'_>) -> Json<'_> {
    if text.is_blank() || text.escaped().trim() == "null" {
        return Json::EMPTY_OBJECT;
    }
    let escaped = format!("\"{}\"", text.escaped());
    match Json::parse(text.into_plain()) {
        Ok(json) if json.kind() == Kind::Object => json,
        _ => Json::from_valid(escaped),
    }
}

/// Why `arguments`, as [`arguments`] gave them, are no object, in words for who sent them.
#[must_use]
pub fn why_no_object(arguments: &Json<'_>) -> &'static str {
    let text = arguments.cursor().string().unwrap_or_default();
    match Json::parse(text) {
        Err(JsonError { problem: Problem::TooDeep, .. }) => {
            "the arguments of this tool call are nested too deep: 128 levels at most"
        }
        Ok(_) | Err(_) => "the arguments of this tool call must be a JSON object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_say_nothing_are_an_empty_object() {
        for (text, said) in
            [("", "{}"), (" ", "{}"), ("null", "{}"), (r#"{\"a\":1}"#, r#"{"a":1}"#), ("[1]", r#""[1]""#)]
        {
            assert_eq!(arguments(Text::from_escaped(text)).as_str(), said, "{text}");
        }
    }

    #[test]
    fn keeps_arguments_whole() {
        for (escaped, json) in [
            ("", "{}"),
            (" ", "{}"),
            (r#"{\"n\":12345678901234567890,\"a\":1.0}"#, r#"{"n":12345678901234567890,"a":1.0}"#),
            (r#"{\"n\":"#, r#""{\"n\":""#),
            ("[1]", "\"[1]\""),
            (r#"\"x\""#, r#""\"x\"""#),
        ] {
            assert_eq!(arguments(Text::from_escaped(escaped)).as_str(), json);
        }
    }

    #[test]
    fn a_namespace_is_told_from_a_name() {
        assert_eq!(split_namespace(&in_namespace("ns", "f")), (Some("ns"), "f"));
        assert_eq!(split_namespace("ns__f"), (None, "ns__f"));
    }
}

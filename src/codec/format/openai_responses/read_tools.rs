//! Tools and the choice among them, read. Their shape is flat: no object around name and parameters.

use std::borrow::Cow;

use super::wire::{OWN, keep, placed};
use crate::hub::{Extra, Field, Flavor, Refusal, Request, Tool, ToolMode, ToolPolicy, in_namespace};
use crate::json::{Cursor, Json, JsonError, Kind, Text, Writer};

/// Key of a request's extra that keeps what is said of a namespace; its name follows.
pub(super) const NAMESPACE: &str = "tools.namespace.";

/// Key of a request's extra that keeps a `tool_search` tool of the provider's.
pub(super) const TOOL_SEARCH: &str = "tools.tool_search";

/// Beginning of the key of a request's extra that says more of a custom tool than the hub can.
pub(super) const CUSTOM: &str = "tools.custom.";

/// Unknown members of `tool_choice`.
pub(super) const CHOICE: &str = "tool_choice.";

/// The fields of one tool.
#[derive(Default)]
struct Fields<'a> {
    kind: Cow<'a, str>,
    name: Option<Cow<'a, str>>,
    description: Option<Text<'a>>,
    description_at: usize,
    schema: Option<Json<'a>>,
    strict: Option<bool>,
    format: Option<Json<'a>>,
    tools: Option<Cursor<'a>>,
    extras: Vec<Extra<'a>>,
}

impl<'a> Fields<'a> {
    fn read(value: &mut Cursor<'a>) -> Result<Self, JsonError> {
        let mut fields = Self::default();
        value.object::<JsonError>(|key, value| fields.field(key, value))?;
        Ok(fields)
    }

    fn field(&mut self, key: Cow<'a, str>, value: &mut Cursor<'a>) -> Result<(), JsonError> {
        match key.as_ref() {
            "type" => self.kind = value.nullable(Cursor::string)?.unwrap_or_default(),
            "name" => self.name = value.nullable(Cursor::string)?,
            "description" => {
                self.description_at = value.offset();
                self.description = value.nullable(Cursor::text)?;
            }
            "parameters" => self.schema = value.nullable(Cursor::json)?,
            "strict" => self.strict = value.nullable(Cursor::bool)?,
            "format" => self.format = value.nullable(Cursor::json)?,
            "tools" => self.tools = placed(value, Kind::Array)?,
            _ => keep(&mut self.extras, Field::Tool, key, value)?,
        }
        Ok(())
    }
}

/// Reads `tools` into `request`.
pub(super) fn tools<'a>(value: &mut Cursor<'a>, request: &mut Request<'a>) -> Result<(), Refusal> {
    value.nullable::<(), Refusal>(|value| value.array(|_, value| tool(value, None, request)))?;
    Ok(())
}

fn tool<'a>(value: &mut Cursor<'a>, namespace: Option<&str>, request: &mut Request<'a>) -> Result<(), Refusal> {
    let (at, start) = (value.offset(), value.clone());
    let fields = Fields::read(value)?;
    let name = |name: Option<Cow<'a, str>>| {
        let name = name.ok_or_else(|| Refusal::at(at, "the tool needs `name`"))?;
        Ok::<_, Refusal>(match namespace {
            Some(namespace) => Cow::Owned(in_namespace(namespace, &name)),
            None => name,
        })
    };
    let Fields { kind, description, schema, strict, format, extras, .. } = fields;
    // Custom tools and namespaces have no other fields in the hub; what says more of them is there to be reported.
    let named = |extra: Extra<'a>| Extra { key: Cow::Owned(format!("{CUSTOM}{}", extra.key)), ..extra };
    match kind.as_ref() {
        "function" => {
            let name = name(fields.name)?;
            request.tools.push(Tool::Function { name, description, schema, strict, cache: None, extras, at });
        }
        "custom" => {
            request.extras.extend(extras.into_iter().map(named));
            let format = format.map(nested);
            request.tools.push(Tool::Custom { name: name(fields.name)?, description, format, at });
        }
        "namespace" if namespace.is_none() => {
            let name = fields.name.ok_or_else(|| Refusal::at(at, "the namespace needs `name`"))?;
            request.extras.extend(extras.into_iter().map(named));
            if let Some(words) = &description {
                let value = Json::from_valid(format!("\"{}\"", words.escaped()));
                let key = Cow::Owned(format!("{NAMESPACE}{name}"));
                request.extras.push(Extra { field: Field::Tool, key, value, at: fields.description_at });
            }
            if let Some(mut list) = fields.tools {
                list.array::<Refusal>(|_, value| tool(value, Some(&name), request))?;
            }
        }
        // Tools are found when they are wanted; where there is no such thing, all are offered from the start.
        "tool_search" => {
            let key = Cow::Borrowed(TOOL_SEARCH);
            request.extras.push(Extra { field: Field::Tool, key, value: start.clone().json()?, at });
        }
        "" => return Err(Refusal::at(at, "the tool needs `type`")),
        kind => {
            let raw = start.clone().json()?;
            let by_client = is_of_client(kind, &raw);
            request.tools.push(Tool::Server { format: OWN, raw, by_client, at });
        }
    }
    Ok(())
}

/// True for a tool that the vendor defines and the client runs; a shell may be on either side.
fn is_of_client(kind: &str, raw: &Json<'_>) -> bool {
    match kind {
        "local_shell" | "apply_patch" | "computer" | "computer_use_preview" => true,
        "shell" => !raw.as_str().contains("\"container"),
        _ => false,
    }
}

/// A grammar stands in an object of its own in the hub, as in Chat Completions; here its fields are flat.
fn nested(format: Json<'_>) -> Json<'_> {
    let mut inner = Vec::new();
    let mut w = Writer::new(&mut inner);
    let mut is_grammar = false;
    w.open_object();
    let read = format.cursor().object::<JsonError>(|key, value| {
        let value = value.json()?;
        if key == "type" {
            is_grammar = value.as_str() == "\"grammar\"";
        } else {
            is_grammar &= key != "grammar";
            w.key(Text::from_plain(&key).escaped()).json(&value);
        }
        Ok(())
    });
    w.close_object();
    match String::from_utf8(inner) {
        Ok(inner) if read.is_ok() && is_grammar => {
            Json::from_valid(format!("{{\"type\":\"grammar\",\"grammar\":{inner}}}"))
        }
        _ => format,
    }
}

/// Reads `tool_choice`. A choice of a tool that the provider runs is kept as it is.
pub(super) fn choice<'a>(key: Cow<'a, str>, value: &mut Cursor<'a>, request: &mut Request<'a>) -> Result<(), Refusal> {
    let (at, start) = (value.offset(), value.clone());
    match value.peek()? {
        Kind::Null => value.skip()?,
        Kind::String => request.tool_policy.mode = Some(mode(&value.string()?, at)?),
        _ => {
            let mut choice = Choice::default();
            value.object::<JsonError>(|key, value| choice.field(&key, value))?;
            let unread = std::mem::take(&mut choice.unread);
            if choice.into_policy(&mut request.tool_policy, at)? {
                let named = |extra: Extra<'a>| Extra { key: Cow::Owned(format!("{CHOICE}{}", extra.key)), ..extra };
                request.extras.extend(unread.into_iter().map(named));
            } else {
                keep(&mut request.extras, Field::ToolChoice, key, &mut start.clone())?;
            }
        }
    }
    Ok(())
}

fn mode<'a>(word: &str, at: usize) -> Result<ToolMode<'a>, Refusal> {
    match word {
        "auto" => Ok(ToolMode::Auto),
        "none" => Ok(ToolMode::None),
        "required" | "any" => Ok(ToolMode::Any),
        _ => Err(Refusal::at(at, format!("`{word}` is no tool choice: none, auto, required, or a tool"))),
    }
}

#[derive(Default)]
struct Choice<'a> {
    kind: Cow<'a, str>,
    name: Option<Cow<'a, str>>,
    namespace: Option<Cow<'a, str>>,
    mode: Option<Cow<'a, str>>,
    tools: Vec<Cow<'a, str>>,
    /// One of `tools` is none of the client's.
    foreign: bool,
    unread: Vec<Extra<'a>>,
}

impl<'a> Choice<'a> {
    fn field(&mut self, key: &str, value: &mut Cursor<'a>) -> Result<(), JsonError> {
        match key {
            "type" => self.kind = value.nullable(Cursor::string)?.unwrap_or_default(),
            "name" => self.name = value.nullable(Cursor::string)?,
            "namespace" => self.namespace = value.nullable(Cursor::string)?,
            "mode" => self.mode = value.nullable(Cursor::string)?,
            // Chat's shape of the same.
            "function" | "custom" if value.peek()? == Kind::Object => {
                self.kind = Cow::Owned(key.to_owned());
                value.object::<JsonError>(|key, value| self.field(&key, value))?;
            }
            "tools" if value.peek()? == Kind::Array => value.array::<JsonError>(|_, value| {
                let mut inner = Self::default();
                value.object::<JsonError>(|key, value| inner.field(&key, value))?;
                self.unread.append(&mut inner.unread);
                match inner.full_name() {
                    Some(name) => self.tools.push(name),
                    None => self.foreign = true,
                }
                Ok(())
            })?,
            _ => keep(&mut self.unread, Field::ToolChoice, Cow::Owned(key.to_owned()), value)?,
        }
        Ok(())
    }

    /// The name of a tool of the client.
    fn full_name(&mut self) -> Option<Cow<'a, str>> {
        let name = self.name.take().filter(|_| matches!(self.kind.as_ref(), "function" | "custom"))?;
        Some(match self.namespace.take() {
            Some(namespace) => Cow::Owned(in_namespace(&namespace, &name)),
            None => name,
        })
    }

    /// Says what is chosen; `false` for something that only this format knows.
    fn into_policy(mut self, policy: &mut ToolPolicy<'a>, at: usize) -> Result<bool, Refusal> {
        match self.kind.as_ref() {
            "function" | "custom" => {
                let flavor = if self.kind == "custom" { Flavor::Custom } else { Flavor::Function };
                let name = self.full_name().ok_or_else(|| Refusal::at(at, "the tool choice names no tool"))?;
                policy.mode = Some(ToolMode::Named { name, flavor });
            }
            "allowed_tools" if !self.foreign => {
                policy.mode = Some(mode(self.mode.as_deref().unwrap_or("auto"), at)?);
                policy.allowed = Some(self.tools);
            }
            "" => return Err(Refusal::at(at, "the tool choice needs `type`")),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

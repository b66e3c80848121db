//! Tools and the choice among them, read.

use std::borrow::Cow;

use super::read_request::OF_TOOLS;
use super::wire::{keep, read_cache_mark};
use crate::Format;
use crate::format::told::beside_mark;
use crate::hub::{CacheMark, Extra, Field, Flavor, Refusal, Tool, ToolMode, ToolPolicy};
use crate::json::{Cursor, JsonError, Kind};

/// Reads `tools`.
pub(super) fn tools<'a>(
    value: &mut Cursor<'a>,
    tools: &mut Vec<Tool<'a>>,
    unplaced: &mut Vec<Extra<'a>>,
) -> Result<(), Refusal> {
    value.nullable::<(), Refusal>(|value| {
        value.array(|_, value| {
            tools.push(tool(value, unplaced)?);
            Ok(())
        })
    })?;
    Ok(())
}

/// Reads `functions`, deprecated.
pub(super) fn functions<'a>(value: &mut Cursor<'a>, tools: &mut Vec<Tool<'a>>) -> Result<(), Refusal> {
    value.nullable::<(), Refusal>(|value| {
        value.array(|_, value| {
            tools.push(function(value, None, Vec::new())?);
            Ok(())
        })
    })?;
    Ok(())
}

fn tool<'a>(value: &mut Cursor<'a>, unplaced: &mut Vec<Extra<'a>>) -> Result<Tool<'a>, Refusal> {
    let (at, start) = (value.offset(), value.clone());
    let (mut kind, mut inner, mut cache, mut extras) = (Cow::Borrowed(""), None, None, Vec::new());
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "type" => kind = value.string()?,
            "function" | "custom" => {
                inner = Some(value.clone());
                value.skip()?;
            }
            "cache_control" => {
                beside_mark(value, &mut extras)?;
                cache = read_cache_mark(value)?;
            }
            _ => keep(&mut extras, Field::Tool, key, value)?,
        }
        Ok(())
    })?;
    match (kind.as_ref(), inner) {
        ("function" | "", Some(mut inner)) => function(&mut inner, cache, extras),
        ("custom", Some(mut inner)) => {
            let tool = custom(&mut inner, at, &mut extras)?;
            unplaced.extend(extras.into_iter().map(aside));
            Ok(tool)
        }
        ("function" | "custom", None) => Err(Refusal::at(at, format!("the tool lacks `{kind}`"))),
        _ => Ok(Tool::Server { format: Format::OpenaiChat, raw: start.clone().json()?, by_client: false, at }),
    }
}

fn function<'a>(
    value: &mut Cursor<'a>,
    cache: Option<CacheMark>,
    mut extras: Vec<Extra<'a>>,
) -> Result<Tool<'a>, Refusal> {
    let at = value.offset();
    let (mut name, mut description, mut schema, mut strict) = (None, None, None, None);
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "name" => name = Some(value.string()?),
            "description" => description = value.nullable(Cursor::text)?,
            "parameters" => schema = value.nullable(Cursor::json)?,
            "strict" => strict = value.nullable(Cursor::bool)?,
            _ => keep(&mut extras, Field::Tool, key, value)?,
        }
        Ok(())
    })?;
    let name = name.ok_or_else(|| Refusal::at(at, "the function lacks `name`"))?;
    Ok(Tool::Function { name, description, schema, strict, cache, extras, at })
}

/// A field of something that has no other fields in the hub: it is there to be reported.
fn aside(extra: Extra<'_>) -> Extra<'_> {
    Extra { key: Cow::Owned(format!("{OF_TOOLS}{}", extra.key)), ..extra }
}

fn custom<'a>(value: &mut Cursor<'a>, at: usize, extras: &mut Vec<Extra<'a>>) -> Result<Tool<'a>, Refusal> {
    let (mut name, mut description, mut format) = (None, None, None);
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "name" => name = Some(value.string()?),
            "description" => description = value.nullable(Cursor::text)?,
            "format" => format = value.nullable(Cursor::json)?,
            _ => keep(extras, Field::Tool, key, value)?,
        }
        Ok(())
    })?;
    let name = name.ok_or_else(|| Refusal::at(at, "the custom tool lacks `name`"))?;
    Ok(Tool::Custom { name, description, format, at })
}

/// Reads `tool_choice`, or `function_call`, its deprecated form.
pub(super) fn choice<'a>(
    value: &mut Cursor<'a>,
    policy: &mut ToolPolicy<'a>,
    unplaced: &mut Vec<Extra<'a>>,
) -> Result<(), Refusal> {
    let at = value.offset();
    match value.peek()? {
        Kind::Null => value.skip()?,
        Kind::String => policy.mode = Some(mode(&value.string()?, at)?),
        _ => {
            let mut extras = Vec::new();
            named(value, policy, at, &mut extras)?;
            unplaced.extend(extras.into_iter().map(aside));
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

fn named<'a>(
    value: &mut Cursor<'a>,
    policy: &mut ToolPolicy<'a>,
    at: usize,
    extras: &mut Vec<Extra<'a>>,
) -> Result<(), Refusal> {
    let (mut kind, mut name, mut allowed) = (Cow::Borrowed("function"), None, None);
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "type" => kind = value.string()?,
            "name" => name = Some(value.string()?),
            "function" | "custom" => name = name_in(value, extras)?,
            "allowed_tools" => {
                allowed = Some(value.clone());
                value.skip()?;
            }
            _ => keep(extras, Field::ToolChoice, key, value)?,
        }
        Ok(())
    })?;
    if let Some(mut allowed) = allowed {
        return allowed_tools(&mut allowed, policy, at, extras);
    }
    let flavor = if kind == "custom" { Flavor::Custom } else { Flavor::Function };
    let name = name.ok_or_else(|| Refusal::at(at, "the tool choice names no tool"))?;
    policy.mode = Some(ToolMode::Named { name, flavor });
    Ok(())
}

fn name_in<'a>(value: &mut Cursor<'a>, extras: &mut Vec<Extra<'a>>) -> Result<Option<Cow<'a, str>>, JsonError> {
    let mut name = None;
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "name" => name = Some(value.string()?),
            _ => keep(extras, Field::ToolChoice, key, value)?,
        }
        Ok(())
    })?;
    Ok(name)
}

fn allowed_tools<'a>(
    value: &mut Cursor<'a>,
    policy: &mut ToolPolicy<'a>,
    at: usize,
    extras: &mut Vec<Extra<'a>>,
) -> Result<(), Refusal> {
    let mut names = Vec::new();
    let mut word = Cow::Borrowed("auto");
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "mode" => word = value.string()?,
            "tools" => value.array::<JsonError>(|_, value| {
                value.object::<JsonError>(|key, value| {
                    match key.as_ref() {
                        "name" => names.push(value.string()?),
                        "function" | "custom" => names.extend(name_in(value, extras)?),
                        "type" => value.skip()?,
                        _ => keep(extras, Field::ToolChoice, key, value)?,
                    }
                    Ok(())
                })
            })?,
            _ => keep(extras, Field::ToolChoice, key, value)?,
        }
        Ok(())
    })?;
    policy.mode = Some(mode(&word, at)?);
    policy.allowed = Some(names);
    Ok(())
}

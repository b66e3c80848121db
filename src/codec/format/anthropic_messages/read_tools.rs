//! Tools and the freedom to use them, read.

use super::wire::{OWN, kept, read_cache, type_of};
use crate::hub::{Extra, Field, Flavor, Tool, ToolMode, ToolPolicy};
use crate::json::{Cursor, JsonError, Problem};

/// Reads `tools`.
pub(super) fn read_tools<'a>(cursor: &mut Cursor<'a>) -> Result<Vec<Tool<'a>>, JsonError> {
    let mut tools = Vec::new();
    cursor.array::<JsonError>(|_, element| {
        tools.push(read_tool(element)?);
        Ok(())
    })?;
    Ok(tools)
}

/// How types of tools begin that the vendor defines and the client runs.
const OF_CLIENT: [&str; 5] = ["bash_", "browser_", "computer_", "memory_", "text_editor_"];

fn read_tool<'a>(cursor: &mut Cursor<'a>) -> Result<Tool<'a>, JsonError> {
    let at = cursor.offset();
    let kind = type_of(cursor)?;
    if !matches!(kind.as_ref(), "" | "custom") {
        let by_client = OF_CLIENT.iter().any(|begin| kind.starts_with(begin));
        return Ok(Tool::Server { format: OWN, raw: cursor.json()?, by_client, at });
    }
    let (mut name, mut description, mut schema, mut strict, mut cache) = (None, None, None, None, None);
    let mut extras = Vec::new();
    cursor.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "type" => value.skip()?,
            "name" => name = value.nullable(Cursor::string)?,
            "description" => description = value.nullable(Cursor::text)?,
            "input_schema" => schema = value.nullable(Cursor::json)?,
            "strict" => strict = value.nullable(Cursor::bool)?,
            "cache_control" => cache = read_cache(value, &mut extras)?,
            known => {
                let field = class_of(known);
                extras.extend(kept(field, key, value)?);
            }
        }
        Ok(())
    })?;
    let name = name.ok_or(JsonError { offset: at, problem: Problem::Syntax("a tool with `name`") })?;
    Ok(Tool::Function { name, description, schema, strict, cache, extras, at })
}

pub(super) fn class_of(key: &str) -> Field {
    match key {
        "allowed_callers" | "defer_loading" | "eager_input_streaming" | "input_examples" => Field::Tool,
        _ => Field::Unknown,
    }
}

/// Reads `tool_choice`; unknown keys are kept as `tool_choice.<key>`.
pub(super) fn read_tool_choice<'a>(
    cursor: &mut Cursor<'a>,
    extras: &mut Vec<Extra<'a>>,
) -> Result<ToolPolicy<'a>, JsonError> {
    let at = cursor.offset();
    let kind = type_of(cursor)?;
    let (mut name, mut disable) = (None, None);
    cursor.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "name" => name = value.nullable(Cursor::string)?,
            "disable_parallel_tool_use" => disable = value.nullable(Cursor::bool)?,
            "type" => value.skip()?,
            _ => extras.extend(kept(Field::ToolChoice, format!("tool_choice.{key}").into(), value)?),
        }
        Ok(())
    })?;
    let mode = match (kind.as_ref(), name) {
        ("auto", _) => ToolMode::Auto,
        ("any", _) => ToolMode::Any,
        ("none", _) => ToolMode::None,
        ("tool", Some(name)) => ToolMode::Named { name, flavor: Flavor::Function },
        _ => {
            let problem = Problem::Syntax("`auto`, `any`, `none`, or `tool` with `name`");
            return Err(JsonError { offset: at, problem });
        }
    };
    Ok(ToolPolicy { mode: Some(mode), allowed: None, parallel: disable.map(|disable: bool| !disable) })
}

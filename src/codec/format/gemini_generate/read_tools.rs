//! Tools and the freedom to use them, read.

use std::borrow::Cow;

use super::schema_read::of_arguments;
use super::wire::{OWN, fields, keep, keep_unwritable, word};
use crate::hub::{Extra, Field, Flavor, Tool, ToolMode, ToolPolicy};
use crate::json::{Cursor, Json, JsonError, Kind, Problem, Text};

/// Reads `tools`: each element may declare functions and name several of the provider's own tools.
pub(super) fn read_tools<'a>(cursor: &mut Cursor<'a>) -> Result<Vec<Tool<'a>>, JsonError> {
    let mut tools = Vec::new();
    let mut one = |cursor: &mut Cursor<'a>| {
        fields::<JsonError>(cursor, |name, key, value| {
            if name == "functionDeclarations" {
                value.nullable(|value| read_functions(value, &mut tools))?;
                return Ok(());
            }
            let (at, json) = (value.offset(), value.json()?);
            if json.kind() != Kind::Null {
                let raw = format!("{{\"{}\":{}}}", Text::from_plain(&key).escaped(), json.as_str());
                let by_client = name == "computerUse";
                tools.push(Tool::Server { format: OWN, raw: Json::from_valid(raw), by_client, at });
            }
            Ok(())
        })
    };
    match cursor.peek()? {
        Kind::Object => one(cursor)?,
        _ => cursor.array::<JsonError>(|_, element| one(element))?,
    }
    Ok(tools)
}

fn read_functions<'a>(cursor: &mut Cursor<'a>, tools: &mut Vec<Tool<'a>>) -> Result<(), JsonError> {
    if cursor.peek()? == Kind::Object {
        tools.push(read_function(cursor)?);
        return Ok(());
    }
    cursor.array(|_, element| {
        tools.push(read_function(element)?);
        Ok(())
    })
}

fn read_function<'a>(cursor: &mut Cursor<'a>) -> Result<Tool<'a>, JsonError> {
    let at = cursor.offset();
    let (mut name, mut description, mut own, mut standard) = (None, None, None, None);
    let (mut own_at, mut extras) = (at, Vec::new());
    fields::<JsonError>(cursor, |field, key, value| {
        match field {
            "name" => name = value.nullable(Cursor::string)?,
            "description" => description = value.nullable(Cursor::text)?,
            "parameters" => {
                own_at = value.offset();
                own = value.nullable(Cursor::json)?;
            }
            "parametersJsonSchema" => standard = value.nullable(Cursor::json)?,
            "response" | "responseJsonSchema" | "behavior" => keep(&mut extras, Field::Tool, key, value)?,
            _ => keep(&mut extras, Field::Unknown, key, value)?,
        }
        Ok(())
    })?;
    let name = name.ok_or(JsonError { offset: at, problem: Problem::Syntax("a function declaration with `name`") })?;
    let schema = standard.or_else(|| {
        let (schema, unwritable) = of_arguments(&own?);
        keep_unwritable(&mut extras, Field::Tool, unwritable, own_at);
        Some(schema)
    });
    Ok(Tool::Function { name, description, schema, strict: None, cache: None, extras, at })
}

/// Reads `toolConfig`; what the hub has no place for goes to `extras`.
pub(super) fn read_tool_config<'a>(
    cursor: &mut Cursor<'a>,
    extras: &mut Vec<Extra<'a>>,
) -> Result<ToolPolicy<'a>, JsonError> {
    let mut policy = ToolPolicy::default();
    fields::<JsonError>(cursor, |name, key, value| {
        if name == "functionCallingConfig" {
            if let Some(read) = value.nullable(|value| read_calling(value, extras))? {
                policy = read;
            }
            return Ok(());
        }
        let field = if name == "retrievalConfig" { Field::ServerTool } else { Field::ToolChoice };
        keep(extras, field, Cow::Owned(format!("toolConfig.{key}")), value)
    })?;
    Ok(policy)
}

/// The words of `mode`, each at its number.
const MODES: [&str; 5] = ["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"];

fn read_calling<'a>(cursor: &mut Cursor<'a>, extras: &mut Vec<Extra<'a>>) -> Result<ToolPolicy<'a>, JsonError> {
    let (mut mode, mut allowed) = (None, Vec::new());
    fields::<JsonError>(cursor, |name, key, value| {
        match name {
            "mode" => {
                let start = value.clone();
                mode = match word(value, &MODES)?.to_ascii_uppercase().as_str() {
                    "AUTO" => Some(ToolMode::Auto),
                    "ANY" => Some(ToolMode::Any),
                    "NONE" => Some(ToolMode::None),
                    "VALIDATED" => {
                        // As AUTO, but calls follow their schemas to the letter.
                        keep(extras, Field::Strict, Cow::Borrowed("functionCallingConfig.mode"), &mut start.clone())?;
                        Some(ToolMode::Auto)
                    }
                    "" | "MODE_UNSPECIFIED" => None,
                    _ => {
                        let key = Cow::Borrowed("functionCallingConfig.mode");
                        keep(extras, Field::ToolChoice, key, &mut start.clone())?;
                        None
                    }
                };
            }
            "allowedFunctionNames" => {
                value.nullable(|value| {
                    value.array::<JsonError>(|_, element| {
                        allowed.push(element.string()?);
                        Ok(())
                    })
                })?;
            }
            _ => keep(extras, Field::ToolChoice, Cow::Owned(format!("functionCallingConfig.{key}")), value)?,
        }
        Ok(())
    })?;
    if let (Some(ToolMode::Any), [_]) = (&mode, allowed.as_slice()) {
        let name = allowed.remove(0);
        return Ok(ToolPolicy {
            mode: Some(ToolMode::Named { name, flavor: Flavor::Function }),
            ..ToolPolicy::default()
        });
    }
    let allowed = (!allowed.is_empty()).then_some(allowed);
    // Who names functions and no mode leaves the model free to call one of them, or none: `AUTO` is the default.
    let mode = mode.or_else(|| allowed.as_ref().map(|_| ToolMode::Auto));
    Ok(ToolPolicy { mode, allowed, parallel: None })
}

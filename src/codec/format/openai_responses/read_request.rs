//! A client's request, read.

use std::borrow::Cow;

use super::wire::{OWN, keep};
use super::{read_input, read_tools};
use crate::format::RequestHead;
use crate::hub::{
    Block, Effort, Extra, Field, Origin, OutputSpec, Refusal, Request, StreamSpec, Strict, Tier, Verbosity,
};
use crate::json::{Cursor, JsonError, Kind};

/// Reads a request body.
pub(super) fn read<'a>(body: &'a [u8], head: &RequestHead<'a>) -> Result<Request<'a>, Refusal> {
    let mut request = Request::new(Origin { format: OWN, api_version: None, betas: Vec::new() });
    let mut has_input = false;
    let mut added = 0..0;
    let mut options = StreamSpec { include_usage: true, obfuscation: None };
    let mut stream = false;
    let mut cursor = Cursor::over_bytes(body)?;
    cursor.object::<Refusal>(|key, value| {
        match key.as_ref() {
            "input" if value.peek()? != Kind::Null => {
                has_input = true;
                let (start, tools) = (value.offset(), request.tools.len());
                read_input::read(value, head.seal, &mut request)?;
                request.span = start..value.position();
                added = tools..request.tools.len();
            }
            "input" => {}
            "instructions" => instructions(value, &mut request)?,
            "stream" => stream = value.nullable(Cursor::bool)?.unwrap_or(false),
            "stream_options" => stream_options(value, &mut options, &mut request.extras)?,
            "tools" => read_tools::tools(value, &mut request)?,
            "tool_choice" => read_tools::choice(key, value, &mut request)?,
            "parallel_tool_calls" => request.tool_policy.parallel = value.nullable(Cursor::bool)?,
            "text" => text(value, &mut request)?,
            "reasoning" => reasoning(value, &mut request)?,
            "include" => include(value, &mut request)?,
            _ => scalar(key, value, &mut request)?,
        }
        Ok(())
    })?;
    cursor.finish()?;
    request.stream = stream.then_some(options);
    if !has_input && request.state.kept.is_empty() {
        return Err(Refusal::of("input", "the conversation is missing"));
    }
    // Tools that the conversation adds stand behind the request's own, wherever the client says these.
    let added: Vec<_> = request.tools.drain(added).collect();
    request.tools.extend(added);
    Ok(request)
}

/// `instructions` stand before what the conversation begins with. A list is what an answer echoes of a prompt.
fn instructions<'a>(value: &mut Cursor<'a>, request: &mut Request<'a>) -> Result<(), JsonError> {
    let at = value.offset();
    if let Some(text) = value.nullable(Cursor::text)?.filter(|text| !text.is_empty()) {
        request.instructions.insert(0, Block::text(text, at));
    }
    Ok(())
}

fn stream_options<'a>(
    value: &mut Cursor<'a>,
    options: &mut StreamSpec,
    extras: &mut Vec<Extra<'a>>,
) -> Result<(), JsonError> {
    value.nullable(|value| {
        value.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "include_obfuscation" => options.obfuscation = value.nullable(Cursor::bool)?,
                // Usage always comes.
                "include_usage" => value.skip()?,
                _ => keep(extras, Field::StreamOptions, Cow::Owned(format!("stream_options.{key}")), value)?,
            }
            Ok(())
        })
    })?;
    Ok(())
}

/// Fields of one value.
fn scalar<'a>(key: Cow<'a, str>, value: &mut Cursor<'a>, request: &mut Request<'a>) -> Result<(), Refusal> {
    match key.as_ref() {
        "model" => request.model = value.nullable(Cursor::string)?.unwrap_or_default(),
        "max_output_tokens" => request.limits.max_output = value.nullable(Cursor::u64)?,
        "temperature" => request.sampling.temperature = value.nullable(Cursor::number)?,
        "top_p" => request.sampling.top_p = value.nullable(Cursor::number)?,
        "top_logprobs" => request.sampling.top_logprobs = value.nullable(Cursor::u64)?,
        "user" => request.identity.user = value.nullable(Cursor::text)?,
        "safety_identifier" => request.identity.safety_id = value.nullable(Cursor::text)?,
        "metadata" => request.identity.metadata = value.nullable(Cursor::json)?.filter(|json| !json.is_empty()),
        "store" => request.state.store = value.nullable(Cursor::bool)?,
        "prompt_cache_key" => request.cache.key = value.nullable(Cursor::text)?,
        "moderation" => keep(&mut request.moderation, Field::Safety, key, value)?,
        "prompt_cache_options" | "prompt_cache_retention" => {
            keep(&mut request.cache.options, Field::Cache, key, value)?;
        }
        "previous_response_id" | "conversation" | "prompt" => {
            keep(&mut request.state.kept, Field::Store, key, value)?;
        }
        "background" => {
            if value.clone().json()?.as_str() == "true" {
                keep(&mut request.state.kept, Field::Store, key, value)?;
            }
        }
        "service_tier" => tier(key, value, request)?,
        // What every other format does anyway.
        "truncation" if value.clone().json()?.as_str() == "\"disabled\"" => value.skip()?,
        _ => keep(&mut request.extras, class_of(&key), key, value)?,
    }
    Ok(())
}

fn tier<'a>(key: Cow<'a, str>, value: &mut Cursor<'a>, request: &mut Request<'a>) -> Result<(), JsonError> {
    let unread = value.clone();
    let Some(word) = value.nullable(Cursor::string)? else { return Ok(()) };
    request.tier = match word.as_ref() {
        "auto" => Some(Tier::Auto),
        "default" => Some(Tier::Standard),
        "flex" => Some(Tier::Flex),
        "scale" => Some(Tier::Scale),
        "priority" => Some(Tier::Priority),
        "fast" => Some(Tier::Fast),
        // `ultrafast`, and what servers have beside the vendor's.
        _ => return keep(&mut request.extras, Field::Tier, key, &mut unread.clone()),
    };
    Ok(())
}

/// Fields that have a class, but no place in the hub.
fn class_of(key: &str) -> Field {
    match key {
        "max_tool_calls" => Field::ServerTool,
        "access_programs" => Field::Safety,
        "truncation" | "context_management" => Field::Turn,
        "image" => Field::ImageDetail,
        _ => Field::Unknown,
    }
}

/// What an answer shall hold beside itself. The two that every translation gives anyway are understood, the rest is
/// about tools of the provider's.
fn include<'a>(value: &mut Cursor<'a>, request: &mut Request<'a>) -> Result<(), JsonError> {
    if value.null()? {
        return Ok(());
    }
    value.array(|_, value| {
        let mut unread = value.clone();
        match value.string()?.as_ref() {
            "reasoning.encrypted_content" => {}
            "message.output_text.logprobs" => request.sampling.logprobs = Some(true),
            word => {
                let field = if word.starts_with("message.") { Field::Unknown } else { Field::ServerTool };
                keep(&mut request.extras, field, Cow::Borrowed("include"), &mut unread)?;
            }
        }
        Ok(())
    })
}

fn reasoning<'a>(value: &mut Cursor<'a>, request: &mut Request<'a>) -> Result<(), Refusal> {
    value.nullable::<(), Refusal>(|value| {
        value.object(|key, value| {
            let at = value.offset();
            match key.as_ref() {
                "effort" => {
                    if let Some(word) = value.nullable(Cursor::string)? {
                        request.reasoning.effort = Some(named(at, &word, Effort::from_word(&word))?);
                    }
                }
                "summary" | "generate_summary" => {
                    let unread = value.clone();
                    if let Some(word) = value.nullable(Cursor::string)? {
                        request.reasoning.show = Some(word != "none");
                        if !matches!(word.as_ref(), "auto" | "none") {
                            let key = Cow::Borrowed("reasoning.summary");
                            keep(&mut request.extras, Field::Reasoning, key, &mut unread.clone())?;
                        }
                    }
                }
                _ => keep(&mut request.extras, Field::Reasoning, Cow::Owned(format!("reasoning.{key}")), value)?,
            }
            Ok(())
        })
    })?;
    Ok(())
}

fn named<T>(at: usize, word: &str, found: Option<T>) -> Result<T, Refusal> {
    found.ok_or_else(|| Refusal::at(at, format!("`{word}` is not known here")))
}

fn text<'a>(value: &mut Cursor<'a>, request: &mut Request<'a>) -> Result<(), Refusal> {
    value.nullable::<(), Refusal>(|value| {
        value.object(|key, value| {
            let at = value.offset();
            match key.as_ref() {
                "format" => format(value, request)?,
                "verbosity" => {
                    if let Some(word) = value.nullable(Cursor::string)? {
                        let verbosity = match word.as_ref() {
                            "low" => Some(Verbosity::Low),
                            "medium" => Some(Verbosity::Medium),
                            "high" => Some(Verbosity::High),
                            _ => None,
                        };
                        request.verbosity = Some(named(at, &word, verbosity)?);
                    }
                }
                _ => keep(&mut request.extras, Field::Output, Cow::Owned(format!("text.{key}")), value)?,
            }
            Ok(())
        })
    })?;
    Ok(())
}

fn format<'a>(value: &mut Cursor<'a>, request: &mut Request<'a>) -> Result<(), Refusal> {
    if value.null()? {
        return Ok(());
    }
    let at = value.offset();
    let mut kind = Cow::Borrowed("");
    let (mut name, mut schema, mut strict, mut description) = (None, None, Strict::Unsaid, None);
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "type" => kind = value.string()?,
            "name" => name = value.nullable(Cursor::text)?,
            "schema" => schema = value.nullable(Cursor::json)?,
            "strict" => strict = value.nullable(Cursor::bool)?.into(),
            "description" => description = value.nullable(Cursor::text)?,
            _ => keep(&mut request.extras, Field::Output, Cow::Owned(format!("text.format.{key}")), value)?,
        }
        Ok(())
    })?;
    request.output = match kind.as_ref() {
        "text" => OutputSpec::Text,
        "json_object" => OutputSpec::JsonObject,
        "json_schema" => OutputSpec::JsonSchema { name, schema, strict, description },
        _ => return Err(Refusal::at(at, format!("`{kind}` is no format: text, json_object, json_schema"))),
    };
    Ok(())
}

//! A client's request, read.

use std::borrow::Cow;

use super::read_block::read_content;
use super::read_tools::{read_tool_choice, read_tools};
use super::wire::{OWN, is_strict, kept, read_cache};
use crate::format::RequestHead;
use crate::hub::{
    Asked, Block, BlockKind, Effort, Extra, Field, Origin, OutputSpec, ReasoningForm, Refusal, Request, Role,
    StreamSpec, Strict, Tier, Turn,
};
use crate::json::{Cursor, Json, JsonError, Kind, Problem};
use crate::seal::Seal;

/// Reads a request body.
pub(super) fn read<'a>(body: &'a [u8], head: &RequestHead<'a>) -> Result<Request<'a>, Refusal> {
    let betas = head.betas.unwrap_or_default().split(',').map(str::trim).filter(|beta| !beta.is_empty());
    let mut request = Request::new(Origin {
        format: OWN,
        api_version: head.api_version.map(Cow::Borrowed),
        betas: betas.map(Cow::Borrowed).collect(),
    });
    let mut has_messages = false;
    let mut tier_at = 0;
    let mut cursor = Cursor::over_bytes(body)?;
    cursor.object::<Refusal>(|key, value| {
        has_messages |= key == "messages";
        match key.as_ref() {
            "messages" => {
                let start = value.offset();
                value.array::<Refusal>(|_, element| {
                    request.turns.push(read_turn(element, head.seal)?);
                    Ok(())
                })?;
                request.span = start..value.position();
            }
            "system" => request.instructions = read_content(value, Some(head.seal))?,
            "tools" => request.tools = value.nullable(read_tools)?.unwrap_or_default(),
            "tool_choice" => {
                request.tool_policy =
                    value.nullable(|value| read_tool_choice(value, &mut request.extras))?.unwrap_or_default();
            }
            "thinking" => read_thinking(value, &mut request)?,
            "output_config" => read_output_config(value, &mut request)?,
            "output_format" => read_format(value, &mut request)?,
            "metadata" => read_metadata(value, &mut request)?,
            "service_tier" | "speed" => read_tier(key, value, &mut request, &mut tier_at)?,
            _ => read_scalar(key, value, &mut request)?,
        }
        Ok(())
    })?;
    cursor.finish()?;
    if !has_messages {
        return Err(Refusal::of("messages", "Field required"));
    }
    if is_strict(head.api_version) {
        hold_to_strict_version(&request)?;
    }
    Ok(request)
}

/// Fields of one value.
fn read_scalar<'a>(key: Cow<'a, str>, value: &mut Cursor<'a>, request: &mut Request<'a>) -> Result<(), JsonError> {
    match key.as_ref() {
        "model" => request.model = value.nullable(Cursor::string)?.unwrap_or_default(),
        "max_tokens" => request.limits.max_output = value.nullable(Cursor::u64)?,
        "stop_sequences" => {
            value.nullable(|value| {
                value.array::<JsonError>(|_, element| {
                    request.limits.stop.push(element.text()?);
                    Ok(())
                })
            })?;
        }
        "temperature" => request.sampling.temperature = value.nullable(Cursor::number)?,
        "top_p" => request.sampling.top_p = value.nullable(Cursor::number)?,
        "top_k" => request.sampling.top_k = value.nullable(Cursor::number)?,
        "stream" => {
            let stream = value.nullable(Cursor::bool)?.unwrap_or(false);
            request.stream = stream.then_some(StreamSpec { include_usage: true, obfuscation: None });
        }
        "thread" => {
            let field = class_of(&key);
            request.state.thread = kept(field, key, value)?;
        }
        "cache_control" => request.cache.auto = read_cache(value, &mut request.extras)?,
        name => {
            let field = class_of(name);
            if let Some(extra) = kept(field, key, value)? {
                request.state.asked.extend(asked(&extra)?);
                request.extras.push(extra);
            }
        }
    }
    Ok(())
}

/// What a field asks for that no other vendor does: servers of tools, a container with something in it.
fn asked<'a>(extra: &Extra<'a>) -> Result<Option<Asked<'a>>, JsonError> {
    let code = match extra.key.as_ref() {
        "mcp_servers" if !extra.value.is_empty() => "unsupported_tool",
        "container" if holds_something(&extra.value)? => "unsupported_parameter",
        _ => return Ok(None),
    };
    Ok(Some(Asked { key: extra.key.clone(), code, at: extra.at }))
}

/// True for a container that has an id or skills, or is one's id.
fn holds_something(container: &Json<'_>) -> Result<bool, JsonError> {
    let mut cursor = container.cursor();
    if cursor.peek()? != Kind::Object {
        return Ok(!container.is_empty());
    }
    let mut found = false;
    cursor.object::<JsonError>(|key, value| {
        let value = value.json()?;
        found |= matches!(key.as_ref(), "id" | "skills") && !value.is_empty();
        Ok(())
    })?;
    Ok(found)
}

/// What a field of a message that the hub has no place for counts as.
pub(super) fn class_in_turn(key: &str) -> Field {
    if matches!(key, "clear_at" | "output_config") { Field::Beta } else { Field::Unknown }
}

/// What a field that the hub has no place for counts as.
pub(super) fn class_of(key: &str) -> Field {
    match key {
        "container" | "mcp_servers" => Field::ServerTool,
        "betas"
        | "billing_policy"
        | "context_management"
        | "diagnostics"
        | "fallback_credit_token"
        | "fallbacks"
        | "inference_geo"
        | "thread" => Field::Beta,
        _ => Field::Unknown,
    }
}

fn read_turn<'a>(cursor: &mut Cursor<'a>, seal: &Seal) -> Result<Turn<'a>, Refusal> {
    let mut turn = Turn::new(Role::User, Vec::new(), cursor.offset());
    let (mut role, mut content) = (None, None);
    cursor.object::<Refusal>(|key, value| {
        match key.as_ref() {
            "role" => {
                let at = value.offset();
                let word = value.string()?;
                let found = role_of(&word).ok_or_else(|| {
                    Refusal::at(at, format!("`{word}` is no role; use `user`, `assistant` or `system`"))
                })?;
                role = Some(found);
            }
            "content" => content = Some(read_content(value, Some(seal))?),
            name => {
                let field = class_in_turn(name);
                turn.extras.extend(kept(field, key, value)?);
            }
        }
        Ok(())
    })?;
    turn.role = role.ok_or_else(|| Refusal::at(turn.at, "a message needs `role`"))?;
    // The operator may say no more than how much is to be thought from here on.
    let sets = turn.role == Role::System && turn.extras.iter().any(|extra| extra.key == "output_config");
    turn.blocks = match content {
        None if sets => Vec::new(),
        content => content.ok_or_else(|| Refusal::at(turn.at, "a message needs `content`"))?,
    };
    Ok(turn)
}

fn role_of(word: &str) -> Option<Role> {
    match word {
        "user" => Some(Role::User),
        "assistant" => Some(Role::Assistant),
        "system" => Some(Role::System),
        _ => None,
    }
}

/// `thinking`; its unknown keys are kept as `thinking.<key>`, an unknown form as a whole.
fn read_thinking<'a>(value: &mut Cursor<'a>, request: &mut Request<'a>) -> Result<(), JsonError> {
    if value.null()? {
        return Ok(());
    }
    let whole = value.clone();
    let kind = super::wire::type_of(value)?;
    request.reasoning.form = match kind.as_ref() {
        "enabled" => Some(ReasoningForm::Budget),
        "adaptive" => Some(ReasoningForm::Adaptive),
        "disabled" => Some(ReasoningForm::Disabled),
        _ => None,
    };
    if request.reasoning.form.is_none() {
        request.extras.extend(kept(Field::Reasoning, Cow::Borrowed("thinking"), value)?);
        return Ok(());
    }
    value.object(|key, value| {
        match key.as_ref() {
            "type" => value.skip()?,
            "budget_tokens" => request.reasoning.budget = value.nullable(Cursor::u64)?,
            "display" => {
                let word = value.clone().nullable(Cursor::string)?;
                request.reasoning.show = word.as_deref().and_then(shown);
                if word.is_some() && request.reasoning.show.is_none() {
                    request.extras.extend(kept(Field::Reasoning, Cow::Borrowed("thinking.display"), value)?);
                }
            }
            _ => request.extras.extend(kept(Field::Beta, format!("thinking.{key}").into(), value)?),
        }
        Ok::<(), JsonError>(())
    })?;
    if request.reasoning.form == Some(ReasoningForm::Budget) && request.reasoning.budget.is_none() {
        let offset = whole.clone().offset();
        return Err(JsonError { offset, problem: Problem::Syntax("`budget_tokens` with `enabled`") });
    }
    Ok(())
}

fn shown(word: &str) -> Option<bool> {
    match word {
        "summarized" => Some(true),
        "omitted" => Some(false),
        _ => None,
    }
}

/// `output_config`; its unknown keys are kept as `output_config.<key>`.
fn read_output_config<'a>(value: &mut Cursor<'a>, request: &mut Request<'a>) -> Result<(), JsonError> {
    if value.null()? {
        return Ok(());
    }
    value.object(|key, value| {
        match key.as_ref() {
            "format" => read_format(value, request)?,
            "effort" => {
                let word = value.clone().nullable(Cursor::string)?;
                request.reasoning.effort = word.as_deref().and_then(Effort::from_word);
                if word.is_some() && request.reasoning.effort.is_none() {
                    request.extras.extend(kept(Field::Reasoning, Cow::Borrowed("output_config.effort"), value)?);
                }
            }
            _ => request.extras.extend(kept(Field::Beta, format!("output_config.{key}").into(), value)?),
        }
        Ok(())
    })
}

/// `{"type":"json_schema","schema":…}`, in `output_config.format` or, formerly, in `output_format`.
fn read_format<'a>(value: &mut Cursor<'a>, request: &mut Request<'a>) -> Result<(), JsonError> {
    if value.null()? {
        return Ok(());
    }
    let whole = value.clone();
    let (mut schema, mut name) = (None, None);
    let kind = super::wire::type_of(value)?;
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "schema" => schema = value.nullable(Cursor::json)?,
            "name" => name = value.nullable(Cursor::text)?,
            "type" => value.skip()?,
            _ => request.extras.extend(kept(Field::Output, format!("output_format.{key}").into(), value)?),
        }
        Ok(())
    })?;
    match (kind.as_ref(), schema) {
        ("json_schema", Some(schema)) => {
            request.output =
                OutputSpec::JsonSchema { name, schema: Some(schema), strict: Strict::Always, description: None };
        }
        ("json_schema", None) => {
            let offset = whole.clone().offset();
            return Err(JsonError { offset, problem: Problem::Syntax("`schema` with `json_schema`") });
        }
        ("text", _) => {}
        _ => request.extras.extend(kept(Field::Output, Cow::Borrowed("output_config.format"), &mut whole.clone())?),
    }
    Ok(())
}

/// `metadata`; keys beside `user_id` are kept as `metadata.<key>`.
fn read_metadata<'a>(value: &mut Cursor<'a>, request: &mut Request<'a>) -> Result<(), JsonError> {
    if value.null()? {
        return Ok(());
    }
    value.object(|key, value| {
        match key.as_ref() {
            "user_id" => request.identity.safety_id = value.nullable(Cursor::text)?,
            _ => request.extras.extend(kept(Field::Metadata, format!("metadata.{key}").into(), value)?),
        }
        Ok(())
    })
}

/// `service_tier` and `speed`: one thing in the hub, where speed wins; what it hides is an extra. `tier_at` is where the one
/// that the request has stands.
fn read_tier<'a>(
    key: Cow<'a, str>,
    value: &mut Cursor<'a>,
    request: &mut Request<'a>,
    tier_at: &mut usize,
) -> Result<(), JsonError> {
    if value.peek()? == Kind::Null {
        return value.skip();
    }
    let (at, word) = (value.offset(), value.text()?);
    let tier = match (key.as_ref(), word.escaped()) {
        ("service_tier", "auto") => Some(Tier::Auto),
        ("service_tier", "standard_only") => Some(Tier::Standard),
        ("speed", "fast") => Some(Tier::Fast),
        // The default: says nothing.
        ("speed", "standard") => return Ok(()),
        _ => None,
    };
    let hidden = match (tier, request.tier) {
        (Some(Tier::Fast), Some(Tier::Standard)) => {
            Some((Cow::Borrowed("service_tier"), r#""standard_only""#.into(), *tier_at))
        }
        (Some(Tier::Standard), Some(Tier::Fast)) | (None, _) => Some((key, format!("\"{}\"", word.escaped()), at)),
        _ => None,
    };
    if let Some((key, value, at)) = hidden {
        request.extras.push(Extra { field: Field::Tier, key, value: Json::from_valid(value), at });
    }
    if tier == Some(Tier::Fast) || request.tier.is_none() {
        request.tier = tier;
        *tier_at = at;
    }
    Ok(())
}

/// What version 2026-10-21 refuses, whatever the target would take: the client has chosen this dialect.
fn hold_to_strict_version(request: &Request<'_>) -> Result<(), Refusal> {
    for turn in &request.turns {
        for block in &turn.blocks {
            match (&block.kind, turn.role) {
                (BlockKind::Document { .. }, Role::Assistant) => {
                    return Err(Refusal::at(
                        block.at,
                        "a document in an assistant message is refused since anthropic-version 2026-10-21; move it to a \
                         user message",
                    ));
                }
                (_, Role::User) => hold_user_block(block)?,
                _ => {}
            }
        }
    }
    Ok(())
}

fn hold_user_block(block: &Block<'_>) -> Result<(), Refusal> {
    let cites = match &block.kind {
        BlockKind::Text { citations, .. } => !citations.is_empty(),
        BlockKind::SearchResult { raw } => search_result_cites(raw),
        BlockKind::ToolResult { content, .. } => return content.iter().try_for_each(hold_user_block),
        _ => false,
    };
    if cites {
        return Err(Refusal::at(
            block.at,
            "citations on text of the user are refused since anthropic-version 2026-10-21; leave them out",
        ));
    }
    Ok(())
}

/// True when a text block inside of a search result has citations.
fn search_result_cites(raw: &Json<'_>) -> bool {
    let mut cites = false;
    let read = raw.cursor().object::<JsonError>(|key, value| {
        if key == "content" && value.peek()? == Kind::Array {
            let blocks = read_content(value, None)?;
            cites = blocks
                .iter()
                .any(|block| matches!(&block.kind, BlockKind::Text { citations, .. } if !citations.is_empty()));
        }
        Ok(())
    });
    read.is_ok() && cites
}

//! What the provider of Messages refuses, beyond what cannot be read at all.

use super::super::content::{Content, unknown_key};
use super::super::refusal::Refusal;
use super::request::{Block, Manner, Message, Request, blocks};
use super::{VERSION_2023, VERSION_2026, signature};

/// Every top-level field that the provider documents, betas included.
const FIELDS: &[&str] = &[
    "billing_policy",
    "cache_control",
    "compaction",
    "container",
    "context_management",
    "diagnostics",
    "fallback_credit_token",
    "fallbacks",
    "inference_geo",
    "max_tokens",
    "mcp_servers",
    "messages",
    "metadata",
    "model",
    "output_config",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "thread",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

/// The most cache marks of one request.
const MAX_CACHE_MARKS: usize = 4;

/// The first thing that the provider would refuse.
pub(super) fn check(body: &[u8], request: &Request, manner: &Manner<'_>) -> Result<(), Refusal> {
    if let Some(key) = unknown_key(body, FIELDS) {
        return bad(format!("{key}: Extra inputs are not permitted"));
    }
    check_version(request, manner.version)?;
    check_controls(request)?;
    let messages = request.messages.as_deref().unwrap_or_default();
    for (i, message) in messages.iter().enumerate() {
        check_message(i, message)?;
    }
    check_order(messages)?;
    check_tool_pairs(messages)
}

fn bad(message: impl Into<String>) -> Result<(), Refusal> {
    Err(Refusal::bad(message))
}

fn check_version(request: &Request, version: Option<&str>) -> Result<(), Refusal> {
    match version {
        None => return bad("anthropic-version: header is required"),
        Some(VERSION_2023) => return Ok(()),
        Some(VERSION_2026) => {}
        Some(other) => return bad(format!("anthropic-version: \"{other}\" is not a valid version")),
    }
    let set = [("temperature", &request.temperature), ("top_p", &request.top_p), ("top_k", &request.top_k)];
    match set.iter().find(|(_, value)| value.is_some()) {
        Some((name, _)) => bad(format!("{name}: not supported under anthropic-version {VERSION_2026}")),
        None => Ok(()),
    }
}

fn check_controls(request: &Request) -> Result<(), Refusal> {
    let thinking = request.thinking.as_ref();
    match thinking.map(|thinking| (thinking.kind.as_str(), thinking.budget_tokens)) {
        Some(("enabled", None)) => return bad("thinking.enabled.budget_tokens: Field required"),
        Some(("enabled", Some(..1024))) => return bad("thinking.enabled.budget_tokens: must be at least 1024"),
        Some(("enabled", Some(budget))) if request.max_tokens.is_some_and(|max| budget >= max) => {
            return bad("max_tokens: must be greater than thinking.budget_tokens");
        }
        Some(("enabled" | "adaptive" | "disabled" | "between_tools", _)) | None => {}
        Some((kind, _)) => return bad(format!("thinking: '{kind}' is no type of thinking")),
    }
    let tools = request.tools.as_deref().unwrap_or_default();
    for (i, tool) in tools.iter().enumerate() {
        let ours = tool.kind.as_deref().is_none_or(|kind| kind == "custom");
        if !is_name(&tool.name, 128) {
            return bad(format!("tools.{i}.name: must be 1 to 128 letters, digits, '_' and '-'"));
        }
        if ours && tool.input_schema.is_none() {
            return bad(format!("tools.{i}.custom.input_schema: Field required"));
        }
    }
    match &request.tool_choice {
        Some(choice) if !["auto", "any", "tool", "none"].contains(&choice.kind.as_str()) => {
            return bad(format!("tool_choice: '{}' is no type of choice", choice.kind));
        }
        Some(choice) if choice.kind == "tool" && !tools.iter().any(|tool| Some(&tool.name) == choice.name.as_ref()) => {
            return bad("tool_choice.name: no tool has this name");
        }
        _ => {}
    }
    check_cache_marks(request)
}

fn check_cache_marks(request: &Request) -> Result<(), Refusal> {
    let messages = request.messages.iter().flatten().flat_map(|message| blocks(&message.content));
    let marked = messages.chain(blocks(&request.system)).filter(|block| block.cache_control.is_some()).count()
        + request.tools.iter().flatten().filter(|tool| tool.cache_control.is_some()).count();
    if marked > MAX_CACHE_MARKS {
        return bad(format!("cache_control: at most {MAX_CACHE_MARKS} blocks may have it, found {marked}"));
    }
    Ok(())
}

fn check_message(i: usize, message: &Message) -> Result<(), Refusal> {
    if !["user", "assistant", "system"].contains(&message.role.as_str()) {
        return bad(format!("messages.{i}.role: '{}' is not one of user, assistant, system", message.role));
    }
    match &message.content {
        Content::Absent => return bad(format!("messages.{i}.content: Field required")),
        Content::Text(text) if text.is_empty() => {
            return bad(format!("messages.{i}: text content must be non-empty"));
        }
        _ => {}
    }
    blocks(&message.content).iter().enumerate().try_for_each(|(k, block)| {
        check_block(&message.role, block).or_else(|what| bad(format!("messages.{i}.content.{k}.{what}")))
    })
}

fn check_block(role: &str, block: &Block) -> Result<(), String> {
    let user_only = ["image", "tool_result", "search_result", "container_upload"].contains(&block.kind.as_str());
    let assistant_only =
        ["thinking", "redacted_thinking", "tool_use", "server_tool_use"].contains(&block.kind.as_str());
    if user_only && role != "user" || assistant_only && role != "assistant" {
        return Err(format!("type: a '{role}' message cannot have a '{}' block", block.kind));
    }
    match block.kind.as_str() {
        "" => Err("type: Field required".to_owned()),
        "text" if block.text.as_deref().unwrap_or_default().is_empty() => {
            Err("text: text content blocks must be non-empty".to_owned())
        }
        "thinking" => match (&block.thinking, &block.signature) {
            (Some(text), Some(sent)) if *sent == signature(text) => Ok(()),
            (Some(_), Some(_)) => Err("signature: Invalid `signature` in `thinking` block".to_owned()),
            (None, _) => Err("thinking: Field required".to_owned()),
            (_, None) => Err("signature: Field required".to_owned()),
        },
        "tool_use" if !block.id.as_deref().is_some_and(|id| is_name(id, 256)) => {
            Err("id: must be letters, digits, '_' and '-'".to_owned())
        }
        "tool_use" if !block.input.as_ref().is_some_and(|input| input.get().starts_with('{')) => {
            Err("input: must be an object".to_owned())
        }
        "tool_result" if block.tool_use_id.is_none() => Err("tool_use_id: Field required".to_owned()),
        _ => Ok(()),
    }
}

/// The first turn is a user's; an assistant's last turn does not end in white space.
fn check_order(messages: &[Message]) -> Result<(), Refusal> {
    if messages.first().is_some_and(|first| first.role != "user") {
        return bad("messages: first message must use the \"user\" role");
    }
    let Some(last) = messages.last().filter(|last| last.role == "assistant") else { return Ok(()) };
    let text = match &last.content {
        Content::Text(text) => Some(text.as_str()),
        content => blocks(content).last().and_then(|block| block.text.as_deref()),
    };
    match text {
        Some(text) if text.ends_with(char::is_whitespace) => {
            bad("messages: final assistant content cannot end with trailing whitespace")
        }
        _ => Ok(()),
    }
}

/// Every `tool_use` is answered in the next turn, and every `tool_result` answers one of the turn before. Messages of
/// the same role in a row are one turn.
fn check_tool_pairs(messages: &[Message]) -> Result<(), Refusal> {
    let mut open: Vec<&str> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for turn in messages.chunk_by(|a, b| a.role == b.role) {
        let all = turn.iter().flat_map(|message| blocks(&message.content));
        let mut calls = Vec::new();
        for block in all {
            if let ("tool_use", Some(id)) = (block.kind.as_str(), block.id.as_deref()) {
                if seen.contains(&id) {
                    return bad(format!("messages: `tool_use` ids must be unique, found `{id}` twice"));
                }
                seen.push(id);
                calls.push(id);
            }
            if let ("tool_result", Some(id)) = (block.kind.as_str(), block.tool_use_id.as_deref()) {
                match open.iter().position(|call| *call == id) {
                    Some(found) => open.swap_remove(found),
                    None => return bad(format!("messages: no `tool_use` in the previous message has the id `{id}`")),
                };
            }
        }
        if let Some(id) = open.first() {
            return bad(format!("messages: the `tool_use` `{id}` has no `tool_result` in the next message"));
        }
        open = calls;
    }
    match open.first() {
        Some(id) => bad(format!("messages: the `tool_use` `{id}` has no `tool_result` in the next message")),
        None => Ok(()),
    }
}

fn is_name(name: &str, longest: usize) -> bool {
    (1..=longest).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

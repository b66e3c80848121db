//! What the provider of Chat Completions refuses, beyond what cannot be read at all.

use super::super::content::{Content, unknown_key};
use super::super::refusal::Refusal;
use super::request::{Choice, Message, Request};

/// Every top-level field that the provider documents.
const FIELDS: &[&str] = &[
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

const ROLES: &[&str] = &["assistant", "developer", "function", "system", "tool", "user"];

const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// The first thing that the provider would refuse.
pub(super) fn check(body: &[u8], request: &Request) -> Result<(), Refusal> {
    if let Some(key) = unknown_key(body, FIELDS) {
        return Err(Refusal::bad(format!("Unknown parameter: '{key}'.")).at(key).code("unknown_parameter"));
    }
    check_controls(request)?;
    check_tools(request)?;
    let messages = request.messages.as_deref().unwrap_or_default();
    for (i, message) in messages.iter().enumerate() {
        check_message(i, message)?;
    }
    check_calls_are_answered(messages)
}

fn check_controls(request: &Request) -> Result<(), Refusal> {
    if request.stream_options.is_some() && request.stream != Some(true) {
        return Err(invalid("'stream_options' is only allowed together with 'stream: true'.", "stream_options"));
    }
    if request.max_tokens.is_some() && request.max_completion_tokens.is_some() {
        let message = "'max_tokens' and 'max_completion_tokens' cannot both be set.";
        return Err(invalid(message, "max_tokens"));
    }
    if request.max_completion_tokens.or(request.max_tokens) == Some(0) {
        return Err(invalid("The limit on tokens must be at least 1.", "max_completion_tokens"));
    }
    if request.n == Some(0) {
        return Err(invalid("'n' must be at least 1.", "n"));
    }
    match request.reasoning_effort.as_deref() {
        Some(effort) if !EFFORTS.contains(&effort) => {
            Err(invalid(format!("'{effort}' is no reasoning effort."), "reasoning_effort"))
        }
        _ => Ok(()),
    }
}

fn check_tools(request: &Request) -> Result<(), Refusal> {
    let tools = request.tools.as_deref().unwrap_or_default();
    for (i, tool) in tools.iter().enumerate() {
        let at = format!("tools[{i}]");
        match (tool.kind.as_str(), &tool.function) {
            ("custom", _) => {}
            ("function", Some(function)) if is_tool_name(&function.name) => {}
            ("function", Some(_)) => {
                let message = "A tool's name is 1 to 64 letters, digits, '_' and '-'.";
                return Err(invalid(message, format!("{at}.function.name")));
            }
            ("function", None) => return Err(missing(format!("{at}.function"))),
            (kind, _) => return Err(invalid(format!("'{kind}' is no type of tool."), format!("{at}.type"))),
        }
    }
    match &request.tool_choice {
        Some(_) if tools.is_empty() => Err(invalid("'tool_choice' needs 'tools'.", "tool_choice")),
        Some(Choice::Word(word)) if !["auto", "none", "required"].contains(&word.as_str()) => {
            Err(invalid(format!("'{word}' is no tool choice."), "tool_choice"))
        }
        _ => Ok(()),
    }
}

fn check_message(i: usize, message: &Message) -> Result<(), Refusal> {
    let at = format!("messages[{i}]");
    let role = message.role.as_str();
    if !ROLES.contains(&role) {
        let message = format!("Invalid value: '{role}'. The roles are {}.", ROLES.join(", "));
        return Err(invalid(message, format!("{at}.role")));
    }
    if matches!(message.content, Content::Absent) && role != "assistant" {
        return Err(invalid(format!("A message of the role '{role}' needs content."), format!("{at}.content")));
    }
    if role == "tool" && message.tool_call_id.is_none() {
        return Err(missing(format!("{at}.tool_call_id")));
    }
    let Content::Parts(parts) = &message.content else { return Ok(()) };
    for (k, part) in parts.iter().enumerate() {
        let allowed = match role {
            "user" => ["text", "image_url", "input_audio", "file"].contains(&part.kind.as_str()),
            "assistant" => ["text", "refusal"].contains(&part.kind.as_str()),
            _ => part.kind == "text",
        };
        if !allowed {
            let message = format!("A '{role}' message cannot have content of the type '{}'.", part.kind);
            return Err(invalid(message, format!("{at}.content[{k}].type")));
        }
    }
    Ok(())
}

/// Tool messages answer the calls of the assistant message before them, each and no other.
fn check_calls_are_answered(messages: &[Message]) -> Result<(), Refusal> {
    let mut open: Vec<&str> = Vec::new();
    for (i, message) in messages.iter().enumerate() {
        if message.role == "tool" {
            let id = message.tool_call_id.as_deref().unwrap_or_default();
            match open.iter().position(|call| *call == id) {
                Some(found) => open.swap_remove(found),
                None => {
                    let message = format!("No open tool call before this 'tool' message has the id '{id}'.");
                    return Err(invalid(message, format!("messages[{i}].tool_call_id")));
                }
            };
            continue;
        }
        unanswered(&open)?;
        open = message.tool_calls.iter().flatten().map(|call| call.id.as_str()).collect();
    }
    unanswered(&open)
}

fn unanswered(open: &[&str]) -> Result<(), Refusal> {
    if open.is_empty() {
        return Ok(());
    }
    let ids = open.join(", ");
    Err(invalid(format!("'tool' messages must follow that answer these tool calls: {ids}."), "messages"))
}

fn is_tool_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn invalid(message: impl Into<String>, at: impl Into<String>) -> Refusal {
    Refusal::bad(message).at(at).code("invalid_value")
}

fn missing(at: String) -> Refusal {
    Refusal::bad(format!("Missing required parameter: '{at}'.")).at(at).code("missing_required_parameter")
}

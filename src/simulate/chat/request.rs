//! Reads a Chat Completions request.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::ask::{Ask, JsonOutput, Thinking, Tool, ToolChoice};
use super::super::content::Content;
use super::super::refusal::Refusal;
use super::strict;

/// A request, as far as the simulator looks at it.
#[derive(Deserialize)]
pub(super) struct Request {
    pub(super) model: Option<String>,
    pub(super) messages: Option<Vec<Message>>,
    pub(super) tools: Option<Vec<WrittenTool>>,
    pub(super) tool_choice: Option<Choice>,
    pub(super) parallel_tool_calls: Option<bool>,
    pub(super) stream: Option<bool>,
    pub(super) stream_options: Option<StreamOptions>,
    pub(super) max_tokens: Option<usize>,
    pub(super) max_completion_tokens: Option<usize>,
    pub(super) reasoning_effort: Option<String>,
    pub(super) response_format: Option<ResponseFormat>,
    pub(super) n: Option<u32>,
}

#[derive(Deserialize)]
pub(super) struct StreamOptions {
    pub(super) include_usage: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct Message {
    #[serde(default)]
    pub(super) role: String,
    #[serde(default)]
    pub(super) content: Content<Part>,
    pub(super) tool_calls: Option<Vec<Call>>,
    pub(super) tool_call_id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Part {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    pub(super) text: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Call {
    #[serde(default)]
    pub(super) id: String,
    pub(super) function: Option<CalledFunction>,
}

#[derive(Deserialize)]
pub(super) struct CalledFunction {
    #[serde(default)]
    pub(super) arguments: String,
}

#[derive(Deserialize)]
pub(super) struct WrittenTool {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    pub(super) function: Option<Function>,
}

#[derive(Deserialize)]
pub(super) struct Function {
    #[serde(default)]
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) parameters: Option<Box<RawValue>>,
}

/// `tool_choice`: a word, or an object that names a tool.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Choice {
    Word(String),
    Named { function: Option<ChosenFunction> },
}

#[derive(Deserialize)]
pub(super) struct ChosenFunction {
    pub(super) name: String,
}

#[derive(Deserialize)]
pub(super) struct ResponseFormat {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    pub(super) json_schema: Option<NamedSchema>,
}

#[derive(Deserialize)]
pub(super) struct NamedSchema {
    pub(super) schema: Option<Box<RawValue>>,
}

/// Reads the request; `strictly` refuses all that the provider would.
pub(in super::super) fn read(body: &[u8], strictly: bool) -> Result<Ask, Refusal> {
    let request: Request = serde_json::from_slice(body)
        .map_err(|e| Refusal::bad(format!("The body is not a chat completion request: {e}")))?;
    if request.model.as_deref().unwrap_or_default().is_empty() {
        return Err(Refusal::bad("The request names no model.").at("model").code("missing_required_parameter"));
    }
    if request.messages.as_ref().is_none_or(Vec::is_empty) {
        return Err(Refusal::bad("The request has no messages.").at("messages").code("missing_required_parameter"));
    }
    if strictly {
        strict::check(body, &request)?;
    }
    Ok(understand(request))
}

fn understand(request: Request) -> Ask {
    let messages = request.messages.unwrap_or_default();
    let last = messages.last();
    let mut ask = Ask {
        model: request.model.unwrap_or_default(),
        stream: request.stream.unwrap_or(false),
        include_usage: request.stream_options.is_some_and(|options| options.include_usage.unwrap_or(false)),
        choices: request.n.unwrap_or(1).clamp(1, MAX_CHOICES),
        tool_choice: request.tool_choice.map_or(ToolChoice::Auto, choice),
        parallel: request.parallel_tool_calls.unwrap_or(true),
        last_text: last.filter(|m| m.role == "user").map(|m| text(&m.content)).unwrap_or_default(),
        after_tool: last.is_some_and(|m| m.role == "tool" || m.role == "function"),
        thinking: match request.reasoning_effort.as_deref() {
            None | Some("none") => Thinking::Off,
            Some(_) => Thinking::Counted,
        },
        json: request.response_format.and_then(json_output),
        max_tokens: request.max_completion_tokens.or(request.max_tokens),
        input_bytes: messages.iter().map(bytes_of).sum(),
        turns: messages.len(),
        tools: Vec::new(),
    };
    for function in request.tools.into_iter().flatten().filter_map(|tool| tool.function) {
        let described = function.description.map_or(0, |text| text.len());
        let schema = function.parameters.as_ref().map_or(0, |schema| schema.get().len());
        ask.input_bytes += function.name.len() + described + schema;
        ask.tools.push(Tool { name: function.name, schema: function.parameters });
    }
    ask
}

/// The most choices of one answer; the provider allows more, which no gateway is tested with.
const MAX_CHOICES: u32 = 8;

fn choice(written: Choice) -> ToolChoice {
    match written {
        Choice::Word(word) if word == "none" => ToolChoice::None,
        Choice::Word(word) if word == "required" => ToolChoice::Any,
        Choice::Named { function: Some(function) } => ToolChoice::Named(function.name),
        Choice::Word(_) | Choice::Named { function: None } => ToolChoice::Auto,
    }
}

fn json_output(format: ResponseFormat) -> Option<JsonOutput> {
    match format.kind.as_str() {
        "json_schema" => Some(JsonOutput { schema: format.json_schema.and_then(|named| named.schema) }),
        "json_object" => Some(JsonOutput { schema: None }),
        _ => None,
    }
}

fn text(content: &Content<Part>) -> String {
    match content {
        Content::Absent => String::new(),
        Content::Text(text) => text.clone(),
        Content::Parts(parts) => parts.iter().filter_map(|part| part.text.as_deref()).collect::<Vec<_>>().join("\n"),
    }
}

/// Bytes that a part without text counts as: an image of low detail is some 85 tokens.
const MEDIA_BYTES: usize = 340;

fn bytes_of(message: &Message) -> usize {
    let content = match &message.content {
        Content::Absent => 0,
        Content::Text(text) => text.len(),
        Content::Parts(parts) => parts.iter().map(|part| part.text.as_ref().map_or(MEDIA_BYTES, String::len)).sum(),
    };
    let calls = message.tool_calls.iter().flatten().filter_map(|call| call.function.as_ref());
    // 12 stands for the role and the marks around a message.
    12 + content + calls.map(|function| function.arguments.len()).sum::<usize>()
}

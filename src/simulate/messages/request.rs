//! Reads a Messages request.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::super::ask::{Ask, JsonOutput, Thinking, Tool, ToolChoice};
use super::super::content::Content;
use super::super::refusal::Refusal;
use super::strict;

/// A request, as far as the simulator looks at it.
#[derive(Deserialize)]
pub(super) struct Request {
    pub(super) model: Option<String>,
    pub(super) max_tokens: Option<usize>,
    pub(super) messages: Option<Vec<Message>>,
    #[serde(default)]
    pub(super) system: Content<Block>,
    pub(super) tools: Option<Vec<WrittenTool>>,
    pub(super) tool_choice: Option<Choice>,
    pub(super) stream: Option<bool>,
    pub(super) thinking: Option<WrittenThinking>,
    pub(super) output_config: Option<OutputConfig>,
    pub(super) temperature: Option<IgnoredAny>,
    pub(super) top_p: Option<IgnoredAny>,
    pub(super) top_k: Option<IgnoredAny>,
}

#[derive(Deserialize)]
pub(super) struct Message {
    #[serde(default)]
    pub(super) role: String,
    #[serde(default)]
    pub(super) content: Content<Block>,
}

#[derive(Deserialize)]
pub(super) struct Block {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    pub(super) text: Option<String>,
    pub(super) thinking: Option<String>,
    pub(super) signature: Option<String>,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) input: Option<Box<RawValue>>,
    pub(super) tool_use_id: Option<String>,
    #[serde(default)]
    pub(super) content: Nested,
    pub(super) cache_control: Option<IgnoredAny>,
}

/// The content inside a block, as JSON text: what it may be depends on the block's type.
pub(super) type Nested = Option<Box<RawValue>>;

#[derive(Deserialize)]
pub(super) struct WrittenTool {
    #[serde(default)]
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) description: Option<String>,
    pub(super) input_schema: Option<Box<RawValue>>,
    pub(super) cache_control: Option<IgnoredAny>,
}

#[derive(Deserialize)]
pub(super) struct Choice {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    pub(super) name: Option<String>,
    pub(super) disable_parallel_tool_use: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct WrittenThinking {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    pub(super) budget_tokens: Option<usize>,
    pub(super) display: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct OutputConfig {
    pub(super) format: Option<OutputFormat>,
}

#[derive(Deserialize)]
pub(super) struct OutputFormat {
    pub(super) schema: Option<Box<RawValue>>,
}

/// How a request came, beside its body.
pub(in super::super) struct Manner<'a> {
    /// `anthropic-version`.
    pub(in super::super) version: Option<&'a str>,
    /// Whether all is refused that the provider would refuse.
    pub(in super::super) strictly: bool,
    /// Whether only tokens are counted, which needs no limit.
    pub(in super::super) counting: bool,
}

/// Reads the request.
pub(in super::super) fn read(body: &[u8], manner: &Manner<'_>) -> Result<Ask, Refusal> {
    let request: Request =
        serde_json::from_slice(body).map_err(|e| Refusal::bad(format!("The body is not a messages request: {e}")))?;
    if request.model.as_deref().unwrap_or_default().is_empty() {
        return Err(Refusal::bad("model: Field required"));
    }
    if request.messages.as_ref().is_none_or(Vec::is_empty) {
        return Err(Refusal::bad("messages: at least one message is required"));
    }
    if request.max_tokens.is_none() && !manner.counting {
        return Err(Refusal::bad("max_tokens: Field required"));
    }
    if manner.strictly {
        strict::check(body, &request, manner)?;
    }
    Ok(understand(request))
}

fn understand(request: Request) -> Ask {
    let messages = request.messages.unwrap_or_default();
    let mut ask = Ask {
        model: request.model.unwrap_or_default(),
        stream: request.stream.unwrap_or(false),
        choices: 1,
        parallel: !request.tool_choice.as_ref().is_some_and(|c| c.disable_parallel_tool_use.unwrap_or(false)),
        tool_choice: request.tool_choice.map_or(ToolChoice::Auto, choice),
        thinking: request.thinking.as_ref().map_or(Thinking::Off, thinking),
        json: request.output_config.and_then(|c| c.format).map(|f| JsonOutput { schema: f.schema }),
        max_tokens: request.max_tokens,
        input_bytes: bytes_of(&request.system) + messages.iter().map(|m| 12 + bytes_of(&m.content)).sum::<usize>(),
        turns: messages.len(),
        ..Ask::default()
    };
    if let Some(last) = messages.last().filter(|message| message.role == "user") {
        ask.last_text = text(&last.content);
        ask.after_tool = blocks(&last.content).iter().any(|block| block.kind == "tool_result");
    }
    for tool in request.tools.into_iter().flatten() {
        let described = tool.description.map_or(0, |text| text.len());
        let schema = tool.input_schema.as_ref().map_or(0, |schema| schema.get().len());
        ask.input_bytes += tool.name.len() + described + schema;
        // A tool of a versioned type runs at the provider, so it is never called.
        if tool.kind.as_deref().is_none_or(|kind| kind == "custom") {
            ask.tools.push(Tool { name: tool.name, schema: tool.input_schema });
        }
    }
    ask
}

fn choice(written: Choice) -> ToolChoice {
    match (written.kind.as_str(), written.name) {
        ("any", _) => ToolChoice::Any,
        ("none", _) => ToolChoice::None,
        ("tool", Some(name)) => ToolChoice::Named(name),
        _ => ToolChoice::Auto,
    }
}

fn thinking(written: &WrittenThinking) -> Thinking {
    match (written.kind.as_str(), written.display.as_deref()) {
        ("enabled" | "adaptive", Some("omitted")) => Thinking::Hidden,
        ("enabled" | "adaptive", _) => Thinking::Shown,
        _ => Thinking::Off,
    }
}

/// The blocks of a content; none for a string.
pub(super) fn blocks(content: &Content<Block>) -> &[Block] {
    match content {
        Content::Parts(blocks) => blocks,
        Content::Absent | Content::Text(_) => &[],
    }
}

fn text(content: &Content<Block>) -> String {
    match content {
        Content::Text(text) => text.clone(),
        _ => blocks(content).iter().filter_map(|block| block.text.as_deref()).collect::<Vec<_>>().join("\n"),
    }
}

/// Bytes that an image or a document counts as.
const MEDIA_BYTES: usize = 340;

fn bytes_of(content: &Content<Block>) -> usize {
    match content {
        Content::Text(text) => text.len(),
        _ => blocks(content).iter().map(block_bytes).sum(),
    }
}

fn block_bytes(block: &Block) -> usize {
    let raw = |raw: &Nested| raw.as_ref().map_or(0, |raw| raw.get().len());
    let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    match block.kind.as_str() {
        "text" => len(&block.text),
        "thinking" => len(&block.thinking),
        "tool_use" => raw(&block.input) + len(&block.name),
        "tool_result" => raw(&block.content),
        _ => MEDIA_BYTES,
    }
}

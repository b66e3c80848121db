//! A client's request, read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::answer::{self, Said};
use super::details;
use super::read_extensions::{Wishes, asks_for_tools, class_of, placed};
use super::read_parts::{content, words};
use super::read_response::{self, call};
use super::read_tools;
use super::wire::keep;
use crate::Format;
use crate::format::RequestHead;
use crate::hub::{
    Asked, Block, BlockKind, Extra, Field, Opaque, OpaqueKind, Origin, OutputSpec, Refusal, Request, Role, StreamSpec,
    Strict, Tier, Turn, Verbosity,
};
use crate::json::{Cursor, Json, JsonError, Kind, Text};
use crate::seal::{Opened, Seal};

/// Beginning of the key of a request's extra that stood in a message that is part of the instructions.
pub(super) const OF_INSTRUCTIONS: &str = "messages.instructions.";
/// The same of one that stood in a tool, or a choice of tools, without a place for it in the hub.
pub(super) const OF_TOOLS: &str = "tools.aside.";
/// What the keys of unknown members of `stream_options` begin with.
pub(super) const OF_STREAM: &str = "stream_options.";
/// The same of `response_format`.
pub(super) const OF_OUTPUT: &str = "response_format.";
/// And of the `json_schema` in it.
pub(super) const OF_SCHEMA: &str = "response_format.json_schema.";

/// Reads a request body.
pub(super) fn read<'a>(body: &'a [u8], head: &RequestHead<'a>) -> Result<Request<'a>, Refusal> {
    let mut request = Request::new(Origin { format: Format::OpenaiChat, api_version: None, betas: Vec::new() });
    let mut has_messages = false;
    let mut options = StreamSpec::default();
    let mut stream = false;
    let mut wishes = Wishes::default();
    let mut cursor = Cursor::over_bytes(body)?;
    cursor.object::<Refusal>(|key, value| {
        match key.as_ref() {
            "messages" => {
                has_messages = true;
                read_history(value, head.seal, &mut request)?;
            }
            "stream" => stream = value.nullable(Cursor::bool)?.unwrap_or(false),
            "stream_options" => stream_options(value, &mut options, &mut request.extras)?,
            "tools" => read_tools::tools(value, &mut request.tools, &mut request.extras)?,
            "functions" => read_tools::functions(value, &mut request.tools)?,
            "tool_choice" | "function_call" => {
                read_tools::choice(value, &mut request.tool_policy, &mut request.extras)?;
            }
            "parallel_tool_calls" => request.tool_policy.parallel = value.nullable(Cursor::bool)?,
            "response_format" => response_format(value, &mut request)?,
            _ if wishes.field(&key, value, &mut request.extras)? => {}
            _ => scalar(key, value, &mut request)?,
        }
        Ok(())
    })?;
    cursor.finish()?;
    request.stream = stream.then_some(options);
    wishes.settle(&mut request);
    if !has_messages {
        return Err(Refusal::of("messages", "the conversation is missing"));
    }
    Ok(request)
}

fn read_history<'a>(messages: &mut Cursor<'a>, seal: &Seal, request: &mut Request<'a>) -> Result<(), Refusal> {
    let start = messages.offset();
    let mut history = History { seal, request, leading: true, turn: 0, named: Named::default() };
    messages.array::<Refusal>(|_, value| history.message(value))?;
    history.order_results();
    request.span = start..messages.position();
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
                "include_usage" => options.include_usage = value.nullable(Cursor::bool)?.unwrap_or(false),
                "include_obfuscation" => options.obfuscation = value.nullable(Cursor::bool)?,
                _ => keep(extras, Field::StreamOptions, within(OF_STREAM, &key), value)?,
            }
            Ok(())
        })
    })?;
    Ok(())
}

/// Fields of one value.
fn scalar<'a>(key: Cow<'a, str>, value: &mut Cursor<'a>, request: &mut Request<'a>) -> Result<(), Refusal> {
    if placed(&key, value, request)? {
        return Ok(());
    }
    let sampling = &mut request.sampling;
    match key.as_ref() {
        "model" => request.model = value.nullable(Cursor::string)?.unwrap_or_default(),
        "max_completion_tokens" => {
            request.limits.max_output = value.nullable(Cursor::u64)?.or(request.limits.max_output);
        }
        "max_tokens" => {
            let limit = value.nullable(Cursor::u64)?;
            request.limits.max_output = request.limits.max_output.or(limit);
        }
        "stop" => stop(value, request)?,
        "temperature" => sampling.temperature = value.nullable(Cursor::number)?,
        "top_p" => sampling.top_p = value.nullable(Cursor::number)?,
        "top_k" => sampling.top_k = value.nullable(Cursor::number)?,
        "seed" => {
            if let Some(seed) = value.nullable(Cursor::number)? {
                sampling.seed = Some(seed);
                // The format's own field counts; the other way to say it goes on as what it is.
                let other = request.native.iter().position(|native| native.field == Field::Seed);
                request.extras.extend(other.map(|at| request.native.remove(at)));
            }
        }
        "presence_penalty" => sampling.presence_penalty = value.nullable(Cursor::number)?,
        "frequency_penalty" => sampling.frequency_penalty = value.nullable(Cursor::number)?,
        "logit_bias" => sampling.logit_bias = value.nullable(Cursor::json)?,
        "n" => sampling.n = value.nullable(Cursor::u64)?,
        "logprobs" => sampling.logprobs = value.nullable(Cursor::bool)?,
        "top_logprobs" => sampling.top_logprobs = value.nullable(Cursor::u64)?,
        "prediction" => sampling.prediction = value.nullable(Cursor::json)?,
        _ => rest(key, value, request)?,
    }
    Ok(())
}

fn rest<'a>(key: Cow<'a, str>, value: &mut Cursor<'a>, request: &mut Request<'a>) -> Result<(), Refusal> {
    match key.as_ref() {
        "verbosity" => {
            let at = value.offset();
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
        "service_tier" => {
            let unread = value.clone();
            if let Some(word) = value.nullable(Cursor::string)? {
                let tier = match word.as_ref() {
                    "auto" => Some(Tier::Auto),
                    "default" => Some(Tier::Standard),
                    "flex" => Some(Tier::Flex),
                    "scale" => Some(Tier::Scale),
                    "priority" => Some(Tier::Priority),
                    "fast" => Some(Tier::Fast),
                    _ => None,
                };
                request.tier = tier;
                if tier.is_none() {
                    // A server's own word, such as Groq's `on_demand`.
                    keep(&mut request.extras, Field::Tier, key, &mut unread.clone())?;
                }
            }
        }
        "user" => request.identity.user = value.nullable(Cursor::text)?,
        "safety_identifier" => request.identity.safety_id = value.nullable(Cursor::text)?,
        "metadata" => request.identity.metadata = value.nullable(Cursor::json)?.filter(|json| !json.is_empty()),
        "store" => request.state.store = value.nullable(Cursor::bool)?,
        "prompt_cache_key" => request.cache.key = value.nullable(Cursor::text)?,
        "moderation" => keep(&mut request.moderation, Field::Safety, key, value)?,
        "prompt_cache_options" | "prompt_cache_retention" => {
            keep(&mut request.cache.options, Field::Cache, key, value)?;
        }
        _ => {
            let (at, said) = (value.offset(), value.clone().json()?);
            if asks_for_tools(&key, &said) {
                request.state.asked.push(Asked { key: key.clone(), code: "unsupported_tool", at });
            }
            keep(&mut request.extras, class_of(&key), key, value)?;
        }
    }
    Ok(())
}

fn named<T>(at: usize, word: &str, found: Option<T>) -> Result<T, Refusal> {
    found.ok_or_else(|| Refusal::at(at, format!("`{word}` is not known here")))
}

fn stop<'a>(value: &mut Cursor<'a>, request: &mut Request<'a>) -> Result<(), JsonError> {
    match value.peek()? {
        Kind::Array => value.array(|_, value| {
            request.limits.stop.push(value.text()?);
            Ok(())
        }),
        _ => {
            request.limits.stop.extend(value.nullable(Cursor::text)?);
            Ok(())
        }
    }
}

/// The key of a member that stands within a field.
fn within<'a>(field: &str, key: &str) -> Cow<'a, str> {
    Cow::Owned([field, key].concat())
}

fn response_format<'a>(value: &mut Cursor<'a>, request: &mut Request<'a>) -> Result<(), Refusal> {
    if value.null()? {
        return Ok(());
    }
    let at = value.offset();
    let (mut kind, mut schema) = (Cow::Borrowed(""), None);
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "type" => kind = value.string()?,
            "json_schema" => {
                schema = Some(value.clone());
                value.skip()?;
            }
            _ => keep(&mut request.extras, Field::Output, within(OF_OUTPUT, &key), value)?,
        }
        Ok(())
    })?;
    request.output = match (kind.as_ref(), schema) {
        ("text", _) => OutputSpec::Text,
        ("json_object", _) => OutputSpec::JsonObject,
        ("json_schema", Some(mut schema)) => json_schema(&mut schema, &mut request.extras)?,
        ("json_schema", None) => return Err(Refusal::at(at, "`json_schema` is missing")),
        _ => return Err(Refusal::at(at, format!("`{kind}` is no response format: text, json_object, json_schema"))),
    };
    Ok(())
}

fn json_schema<'a>(value: &mut Cursor<'a>, extras: &mut Vec<Extra<'a>>) -> Result<OutputSpec<'a>, JsonError> {
    let (mut name, mut schema, mut strict, mut description) = (None, None, Strict::Unsaid, None);
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "name" => name = value.nullable(Cursor::text)?,
            "schema" => schema = value.nullable(Cursor::json)?,
            "strict" => strict = value.nullable(Cursor::bool)?.into(),
            "description" => description = value.nullable(Cursor::text)?,
            _ => keep(extras, Field::Output, within(OF_SCHEMA, &key), value)?,
        }
        Ok(())
    })?;
    Ok(OutputSpec::JsonSchema { name, schema, strict, description })
}

/// The conversation, message by message.
struct History<'r, 'a> {
    seal: &'r Seal,
    request: &'r mut Request<'a>,
    /// Only operator's messages came so far: they are instructions.
    leading: bool,
    /// Number of the message, for ids that must be invented.
    turn: usize,
    named: Named<'a>,
}

/// The last calls of each name; the deprecated form has no ids, and few clients need them.
#[derive(Default)]
struct Named<'a> {
    ids: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// So many turns are in `ids`.
    turns: usize,
}

/// A message before its role is known to matter.
#[derive(Default)]
struct Message<'a> {
    role: Cow<'a, str>,
    name: Option<Text<'a>>,
    name_at: usize,
    call_id: Option<Cow<'a, str>>,
    said: Said<'a>,
}

impl<'a> History<'_, 'a> {
    fn message(&mut self, value: &mut Cursor<'a>) -> Result<(), Refusal> {
        let at = value.offset();
        let mut message = Message::default();
        value.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "role" => message.role = value.string()?,
                "name" => {
                    message.name_at = value.offset();
                    message.name = value.nullable(Cursor::text)?;
                }
                "tool_call_id" => message.call_id = value.nullable(Cursor::string)?,
                _ => message.said.field(key, value, true)?,
            }
            Ok(())
        })?;
        self.turn += 1;
        match message.role.as_ref() {
            "system" | "developer" => self.operator(message, at),
            "user" => self.user(message, at),
            "assistant" => self.assistant(message, at),
            "tool" | "function" => self.result(message, at),
            other => Err(Refusal::at(at, format!("`{other}` is no role: system, developer, user, assistant, tool"))),
        }
    }

    fn operator(&mut self, message: Message<'a>, at: usize) -> Result<(), Refusal> {
        let blocks = content(&message.said, at)?;
        if self.leading {
            self.request.instructions.extend(blocks);
            // They are no fields of the request; under a key that no body has they are there to be reported.
            let named =
                |extra: Extra<'a>| Extra { key: Cow::Owned(format!("{OF_INSTRUCTIONS}{}", extra.key)), ..extra };
            self.request.extras.extend(message.said.extras.into_iter().map(named));
            if message.name.is_some() {
                let (key, value) = (Cow::Owned([OF_INSTRUCTIONS, "name"].concat()), Json::NULL);
                self.request.extras.push(Extra { field: Field::TurnName, key, value, at: message.name_at });
            }
            return Ok(());
        }
        let role = if message.role == "developer" { Role::Developer } else { Role::System };
        self.push(role, blocks, message, at);
        Ok(())
    }

    fn user(&mut self, message: Message<'a>, at: usize) -> Result<(), Refusal> {
        let blocks = content(&message.said, at)?;
        self.push(Role::User, blocks, message, at);
        Ok(())
    }

    fn push(&mut self, role: Role, blocks: Vec<Block<'a>>, message: Message<'a>, at: usize) {
        self.leading = false;
        let Message { name, said, .. } = message;
        self.request.turns.push(Turn { role, blocks, name, extras: said.extras, at });
    }

    fn assistant(&mut self, mut message: Message<'a>, at: usize) -> Result<(), Refusal> {
        let said = std::mem::take(&mut message.said);
        let (seal, mut forged, mut unplaced) = (self.seal, Vec::new(), Vec::new());
        let mut blocks = Vec::new();
        let mut state = |detail: &details::Detail<'a>| open(detail, seal, &mut forged);
        read_response::thinking(said.reasoning.clone(), said.details.clone(), at, &mut state, &mut blocks)?;
        let spoken = blocks.len();
        blocks.extend(words(&said, at)?);
        if let Some(mut list) = said.annotations {
            read_response::cite(&mut list, blocks.get_mut(spoken..).unwrap_or_default(), &mut unplaced)?;
        }
        if let Some(text) = said.refusal {
            blocks.push(Block::new(BlockKind::Refusal { text }, said.content_at));
        }
        if let Some(mut audio) = said.audio {
            let at = audio.offset();
            blocks.push(Block::new(BlockKind::Reference { raw: audio.json()? }, at));
        }
        let (seed, mut count) = (format!("history/{}", self.turn), 0);
        if let Some(mut list) = said.calls {
            answer::calls::<JsonError>(&mut list, |piece| {
                let mut call = call(piece, &seed, count);
                open_signature(&mut call, seal, &mut forged);
                blocks.push(call);
                count += 1;
                Ok(())
            })?;
            once(&mut blocks);
        }
        if let Some(mut legacy) = said.legacy_call {
            blocks.push(call(answer::legacy_call(&mut legacy)?, &seed, count));
        }
        message.said.extras = said.extras;
        message.said.extras.extend(forged);
        message.said.extras.extend(unplaced);
        self.push(Role::Assistant, blocks, message, at);
        Ok(())
    }

    /// A tool's result: a block of the user turn behind the calls.
    fn result(&mut self, message: Message<'a>, at: usize) -> Result<(), Refusal> {
        self.leading = false;
        let id = match (message.call_id, message.role.as_ref(), &message.name) {
            (Some(id), _, _) => id,
            (None, "function", Some(name)) => self.call_named(&name.plain()),
            _ => return Err(Refusal::at(at, "a tool message needs `tool_call_id`: the id of the call it answers")),
        };
        let content = content(&message.said, at)?;
        let mut block = Block::new(BlockKind::ToolResult { id, content, is_error: None }, at);
        block.extras = message.said.extras;
        let open = self.request.turns.last_mut().filter(|turn| {
            // A user's own words hold no results, so the first block tells for all.
            let first = turn.blocks.first();
            turn.role == Role::User && first.is_none_or(|block| matches!(block.kind, BlockKind::ToolResult { .. }))
        });
        match open {
            Some(turn) => turn.blocks.push(block),
            None => self.request.turns.push(Turn::new(Role::User, vec![block], at)),
        }
        Ok(())
    }

    /// Id of the last call of the function `name`.
    fn call_named(&mut self, name: &str) -> Cow<'a, str> {
        let Named { ids, turns } = &mut self.named;
        for block in self.request.turns.iter().skip(*turns).flat_map(|turn| &turn.blocks) {
            if let BlockKind::ToolCall { id, name, .. } = &block.kind {
                ids.insert(name.clone(), id.clone());
            }
        }
        *turns = self.request.turns.len();
        ids.get(name).cloned().unwrap_or_else(|| Cow::Owned(crate::hub::ids::derived("call_", name)))
    }

    /// Results stand in the order of the calls, whatever the order in which they came.
    fn order_results(&mut self) {
        let mut called: BTreeMap<Cow<'a, str>, usize> = BTreeMap::new();
        for turn in &mut self.request.turns {
            if turn.role == Role::Assistant {
                called.clear();
                for (place, id) in turn.blocks.iter().filter_map(call_id).enumerate() {
                    called.entry(id).or_insert(place);
                }
                continue;
            }
            let place = |block: &Block<'a>| match &block.kind {
                BlockKind::ToolResult { id, .. } => called.get(id).copied().unwrap_or(usize::MAX),
                _ => usize::MAX,
            };
            turn.blocks.sort_by_key(place);
        }
    }
}

fn call_id<'a>(block: &Block<'a>) -> Option<Cow<'a, str>> {
    match &block.kind {
        BlockKind::ToolCall { id, .. } => Some(id.clone()),
        _ => None,
    }
}

/// The signature of a call that a client brings back: that of another format's provider comes out of its envelope.
fn open_signature<'a>(call: &mut Block<'a>, seal: &Seal, forged: &mut Vec<Extra<'a>>) {
    let Some(opaque) = call.opaque.pop() else { return };
    match seal.open(&opaque.data.plain()) {
        Opened::Bare => call.opaque.push(opaque),
        Opened::Ours(opaque) if opaque.kind == OpaqueKind::Unsigned => {}
        Opened::Ours(opaque) => call.opaque.push(opaque),
        Opened::Forged => {
            let key = Cow::Borrowed("extra_content");
            forged.push(Extra { field: Field::OpaqueState, key, value: Json::NULL, at: call.at });
        }
    }
}

/// Takes out of the reasoning the signatures that stand at calls as well, where it is known whose they are.
fn once(blocks: &mut Vec<Block<'_>>) {
    let calls = blocks.iter().filter(|block| matches!(block.kind, BlockKind::ToolCall { .. }));
    let at_calls: Vec<Opaque<'_>> = calls.flat_map(|call| &call.opaque).cloned().collect();
    if at_calls.is_empty() {
        return;
    }
    blocks.retain_mut(|block| {
        let wordless = match &block.kind {
            BlockKind::Redacted => true,
            BlockKind::Thinking { text, .. } => text.is_empty(),
            _ => return true,
        };
        let all = block.opaque.len();
        block.opaque.retain(|opaque| !at_calls.contains(opaque));
        !wordless || block.opaque.len() == all || !block.opaque.is_empty()
    });
}

/// The state in an entry of `reasoning_details` that a client brings back: an envelope of ours, or its server's own.
fn open<'a>(detail: &details::Detail<'a>, seal: &Seal, forged: &mut Vec<Extra<'a>>) -> Option<Opaque<'a>> {
    let secret = detail.secret.as_ref()?;
    match seal.open(&secret.plain()) {
        Opened::Bare => detail.native(),
        Opened::Ours(opaque) if opaque.kind == OpaqueKind::Unsigned => None,
        Opened::Ours(opaque) => Some(opaque),
        Opened::Forged => {
            let key = Cow::Borrowed("reasoning_details");
            forged.push(Extra { field: Field::OpaqueState, key, value: detail.raw.clone(), at: detail.at });
            None
        }
    }
}

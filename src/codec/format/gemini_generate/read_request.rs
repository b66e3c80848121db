//! A client's request, read.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::read_config::read_config;
use super::read_part::{Part, read_parts};
use super::read_tools::{read_tool_config, read_tools};
use super::thoughts::{is_wordless, put_back, settle};
use super::wire::{OWN, fields, keep, loose_text};
use crate::format::RequestHead;
use crate::hub::ids::derived;
use crate::hub::waiting::Waiting;
use crate::hub::{Block, BlockKind, Extra, Field, Opaque, Origin, Refusal, Request, Role, StreamSpec, Tier, Turn};
use crate::json::{Cursor, JsonError, Kind};
use crate::seal::Seal;

/// Reads a request body; the model and the stream stand in the path.
pub(super) fn read<'a>(body: &'a [u8], head: &RequestHead<'a>) -> Result<Request<'a>, Refusal> {
    let mut request = Request::new(Origin { format: OWN, api_version: None, betas: Vec::new() });
    request.model = head.line.model.clone().unwrap_or_default();
    request.stream = head.line.stream.map(|_| StreamSpec { include_usage: true, obfuscation: None });
    let mut cursor = Cursor::over_bytes(body)?;
    let mut has_contents = false;
    let mut places = Places::default();
    fields::<Refusal>(&mut cursor, |name, key, value| {
        has_contents |= name == "contents";
        field(&mut request, name, key, value, (head.seal, &mut places))
    })?;
    cursor.finish()?;
    if !has_contents || request.turns.is_empty() {
        return Err(Refusal::of("contents", "a request needs at least one content"));
    }
    give_words(&mut request.turns, &mut places);
    request.turns = joined(request.turns, &places);
    link(&mut request.turns);
    Ok(request)
}

fn field<'a>(
    request: &mut Request<'a>,
    name: &str,
    key: Cow<'a, str>,
    value: &mut Cursor<'a>,
    (seal, places): (&Seal, &mut Places),
) -> Result<(), Refusal> {
    match name {
        // The path names the model; some clients say it twice.
        "model" => value.skip()?,
        "contents" => {
            let start = value.offset();
            read_contents(request, value, seal, places)?;
            request.span = start..value.position();
        }
        "systemInstruction" => read_instruction(request, value, seal)?,
        "tools" => {
            if let Some(tools) = value.nullable(read_tools)? {
                request.tools = tools;
            }
        }
        "toolConfig" => {
            if let Some(policy) = value.nullable(|value| read_tool_config(value, &mut request.extras))? {
                request.tool_policy = policy;
            }
        }
        "generationConfig" => {
            value.nullable(|value| read_config(request, value))?;
        }
        "labels" => request.identity.metadata = value.nullable(Cursor::json)?,
        "store" => request.state.store = value.nullable(Cursor::bool)?,
        "serviceTier" => {
            let start = value.clone();
            match loose_text(value)?.unwrap_or_default().plain().to_ascii_lowercase().as_str() {
                "standard" => request.tier = Some(Tier::Standard),
                "flex" => request.tier = Some(Tier::Flex),
                "priority" => request.tier = Some(Tier::Priority),
                "" | "unspecified" | "service_tier_unspecified" => {}
                _ => keep(&mut request.extras, Field::Tier, key, &mut start.clone())?,
            }
        }
        // What they name holds a part of the conversation: an answer without it would be an answer to something else.
        "cachedContent" | "continuationToken" => keep(&mut request.state.kept, Field::Cache, key, value)?,
        name => keep(&mut request.extras, class_of(name), key, value)?,
    }
    Ok(())
}

/// What a field of a request counts as when it cannot be carried.
fn class_of(name: &str) -> Field {
    match name {
        "safetySettings" | "modelArmorConfig" => Field::Safety,
        _ => Field::Unknown,
    }
}

fn read_contents<'a>(
    request: &mut Request<'a>,
    value: &mut Cursor<'a>,
    seal: &Seal,
    places: &mut Places,
) -> Result<(), JsonError> {
    match value.peek()? {
        Kind::Null => value.skip(),
        Kind::Array => value.array(|_, element| {
            request.turns.push(read_turn(element, seal, places)?);
            Ok(())
        }),
        Kind::Object | Kind::String => {
            request.turns.push(read_turn(value, seal, places)?);
            Ok(())
        }
        Kind::Number | Kind::Bool => Err(value.wrong("an array of contents")),
    }
}

/// One content. Results without an id keep the tool's name as their id until [`link`] finds their calls.
fn read_turn<'a>(value: &mut Cursor<'a>, seal: &Seal, places: &mut Places) -> Result<Turn<'a>, JsonError> {
    let mut turn = Turn::new(Role::User, Vec::new(), value.offset());
    if value.peek()? == Kind::String {
        turn.blocks.push(Block::text(value.text()?, turn.at));
        return Ok(turn);
    }
    let Turn { role, blocks, extras, .. } = &mut turn;
    fields::<JsonError>(value, |name, key, value| {
        match name {
            "role" => {
                *role = match loose_text(value)?.unwrap_or_default().escaped() {
                    "model" | "assistant" => Role::Assistant,
                    "system" => Role::System,
                    _ => Role::User,
                }
            }
            "parts" => read_parts(value, Some(seal), &mut |part| {
                places.behind.extend(part.behind.and_then(|behind| Some((place_key(&part.block)?, behind))));
                blocks.push(named(part));
            })?,
            _ => keep(extras, Field::Unknown, key, value)?,
        }
        Ok(())
    })?;
    Ok(turn)
}

/// Stands before the name of a tool whose result has no id: no provider makes such ids.
const BY_NAME: &str = "\0";

fn named(part: Part<'_>) -> Block<'_> {
    let Part { mut block, tool, .. } = part;
    if let BlockKind::ToolResult { id, .. } = &mut block.kind
        && id.is_empty()
    {
        *id = Cow::Owned(format!("{BY_NAME}{}", tool.unwrap_or_default()));
    }
    block
}

fn read_instruction<'a>(request: &mut Request<'a>, value: &mut Cursor<'a>, seal: &Seal) -> Result<(), JsonError> {
    if value.peek()? == Kind::Null {
        return value.skip();
    }
    let Turn { blocks, extras, .. } = if value.peek()? == Kind::Array {
        let mut turn = Turn::new(Role::System, Vec::new(), value.offset());
        read_parts(value, Some(seal), &mut |part| turn.blocks.push(part.block))?;
        turn
    } else {
        read_turn(value, seal, &mut Places::default())?
    };
    request.instructions.extend(blocks);
    request.extras.extend(extras.into_iter().map(|extra| Extra { field: Field::Instructions, ..extra }));
    Ok(())
}

/// Where reasoning stood that came with words or a call.
#[derive(Default)]
struct Places {
    /// Characters of text between it and the call.
    behind: BTreeMap<(usize, String), u64>,
    /// State that had no words, as a call says.
    silent: BTreeSet<String>,
}

fn place_key(block: &Block<'_>) -> Option<(usize, String)> {
    block.opaque.first().map(|opaque| (block.at, opaque.data.escaped().to_owned()))
}

/// Gives reasoning that came with words, without words of its own, those that a call has with the same state: a client
/// that moves a thought's signature to the part behind it may keep no words. Each goes to one place: many parts may bear
/// one state. Notes what had none there either.
fn give_words(turns: &mut [Turn<'_>], places: &mut Places) {
    let is_call = |block: &&Block<'_>| matches!(block.kind, BlockKind::ToolCall { .. });
    let calls: BTreeSet<usize> =
        turns.iter().flat_map(|turn| &turn.blocks).filter(is_call).map(|block| block.at).collect();
    let came = |block: &Block<'_>| place_key(block).filter(|key| places.behind.contains_key(key));
    let mut at_calls = BTreeMap::new();
    for block in turns.iter().flat_map(|turn| &turn.blocks).filter(|block| calls.contains(&block.at)) {
        if let (BlockKind::Thinking { text, .. }, Some((_, data))) = (&block.kind, came(block)) {
            at_calls.insert(data, text.clone().into_owned());
        }
    }
    let wordless = |block: &&mut Block<'_>| is_wordless(block) && !calls.contains(&block.at);
    for block in turns.iter_mut().flat_map(|turn| &mut turn.blocks).filter(wordless) {
        let Some((_, data)) = came(block) else { continue };
        let has_words = at_calls.get(&data).is_some_and(|words| !words.is_empty());
        if let (BlockKind::Thinking { text, .. }, true) = (&mut block.kind, has_words) {
            *text = at_calls.remove(&data).unwrap_or_default();
        }
    }
    at_calls.retain(|_, words| words.is_empty());
    places.silent = at_calls.into_keys().collect();
}

/// Joins what the model said in one go: clients keep the pieces of a stream as parts or contents of their own.
fn joined<'a>(turns: Vec<Turn<'a>>, places: &Places) -> Vec<Turn<'a>> {
    let mut merged: Vec<Turn<'_>> = Vec::with_capacity(turns.len());
    let mut seen = Seen::new();
    for mut turn in turns {
        let is_model = turn.role == Role::Assistant && turn.extras.is_empty();
        let goes_on = merged.last().is_some_and(|last| last.role == Role::Assistant);
        if !goes_on {
            seen.clear();
        }
        if is_model {
            once(&mut turn.blocks, &mut seen);
        }
        match merged.last_mut() {
            Some(last) if is_model && goes_on => {
                append(&mut last.blocks, turn.blocks, places);
            }
            _ if is_model => {
                let mut whole = Turn::new(turn.role, Vec::with_capacity(turn.blocks.len()), turn.at);
                append(&mut whole.blocks, turn.blocks, places);
                merged.push(whole);
            }
            _ => merged.push(turn),
        }
    }
    merged
}

/// Appends `more`, and puts the reasoning that came with its calls where it stood.
fn append<'a>(blocks: &mut Vec<Block<'a>>, more: Vec<Block<'a>>, places: &Places) {
    let mut passengers = Vec::new();
    for block in more {
        let key = if places.behind.is_empty() { None } else { place_key(&block) };
        let place = key.and_then(|key| places.behind.get(&key));
        match place {
            Some(behind) => passengers.push((block, *behind)),
            None if matches!(block.kind, BlockKind::ToolCall { .. }) => {
                put_back(blocks, std::mem::take(&mut passengers));
                blocks.push(block);
            }
            None => {
                for (thought, _) in passengers.drain(..) {
                    match place_key(&thought) {
                        Some((_, state)) if places.silent.contains(&state) => blocks.push(thought),
                        Some(_) | None => {
                            settle(blocks, blocks.len(), thought);
                        }
                    }
                }
                join(blocks, block);
            }
        }
    }
}

/// How often state of other providers came since the last call.
type Seen = BTreeMap<(u8, String), usize>;

/// Leaves out of `blocks` the state at calls that came back where it stood before them as well.
fn once(blocks: &mut Vec<Block<'_>>, seen: &mut Seen) {
    let is_call = |block: &Block<'_>| matches!(block.kind, BlockKind::ToolCall { .. });
    let calls: BTreeSet<usize> = blocks.iter().filter(|block| is_call(block)).map(|block| block.at).collect();
    blocks.retain_mut(|block| {
        // What a call carries is of its own part; what came with it finds its place later.
        let at_call = calls.contains(&block.at);
        if at_call && !is_call(block) {
            return true;
        }
        let any = !block.opaque.is_empty();
        block.opaque.retain(|opaque| opaque.maker == OWN || is_new(opaque, at_call, seen));
        if is_call(block) {
            seen.clear();
        }
        let has_words = match &block.kind {
            BlockKind::Thinking { text, .. } => !text.is_empty(),
            BlockKind::Redacted => false,
            _ => true,
        };
        has_words || !any || !block.opaque.is_empty()
    });
}

fn is_new(opaque: &Opaque<'_>, at_call: bool, seen: &mut Seen) -> bool {
    let times = seen.entry((opaque.kind.tag(), opaque.data.escaped().to_owned())).or_default();
    if at_call && *times > 0 {
        *times -= 1;
        return false;
    }
    *times += usize::from(!at_call);
    true
}

/// Appends `block`, to the last one if both are words of a kind; a signature ends its words.
fn join<'a>(blocks: &mut Vec<Block<'a>>, mut block: Block<'a>) {
    let last = blocks.last_mut().filter(|last| last.opaque.is_empty() && last.extras.is_empty());
    match (last, &mut block) {
        (
            Some(Block { kind: BlockKind::Text { text: before, .. }, .. }),
            Block { kind: BlockKind::Text { text, .. }, opaque, extras, .. },
        ) if opaque.is_empty() && extras.is_empty() => before.push(text),
        (
            Some(Block {
                kind: BlockKind::Thinking { text: before, .. }, opaque: signatures, at: state, words_at, ..
            }),
            Block { kind: BlockKind::Thinking { text, .. }, opaque, extras, at, .. },
        ) if extras.is_empty() => {
            before.push(text);
            if !opaque.is_empty() {
                words_at.get_or_insert(*state);
                *state = *at;
            }
            signatures.append(opaque);
        }
        _ => blocks.push(block),
    }
}

/// The ids of calls without a result yet, which may ask for one by its call's name or by its id.
#[derive(Default)]
struct Open {
    /// Ids, in the order of the calls; `None` where the result is found.
    ids: Vec<Option<String>>,
    /// Places in `ids`.
    by_name: Waiting<String, usize>,
    by_id: Waiting<String, usize>,
}

impl Open {
    fn add(&mut self, name: &str, id: &str) {
        self.by_name.add(name.to_owned(), self.ids.len());
        self.by_id.add(id.to_owned(), self.ids.len());
        self.ids.push(Some(id.to_owned()));
    }

    fn take_named(&mut self, name: &str) -> Option<String> {
        let mut places = std::iter::from_fn(|| self.by_name.take(name));
        places.find_map(|place| self.ids.get_mut(place)?.take())
    }

    fn take(&mut self, id: &str) -> Option<String> {
        let mut places = std::iter::from_fn(|| self.by_id.take(id));
        places.find_map(|place| self.ids.get_mut(place)?.take())
    }
}

/// Gives calls without an id one that derives from their place, and their results the same: by the tool's name, in
/// order, as the vendor pairs them. A longer history keeps the ids of the shorter one.
fn link(turns: &mut [Turn<'_>]) {
    let mut open = Open::default();
    for (at, turn) in turns.iter_mut().enumerate() {
        if turn.role == Role::Assistant {
            open = Open::default();
        }
        let mut calls = 0;
        for block in &mut turn.blocks {
            match &mut block.kind {
                BlockKind::ToolCall { id, name, .. } => {
                    if id.is_empty() {
                        *id = Cow::Owned(derived("call_", &format!("{at}:{calls}:{name}")));
                    }
                    calls += 1;
                    open.add(name, id);
                }
                BlockKind::ToolResult { id, .. } => {
                    let found = match id.strip_prefix(BY_NAME) {
                        Some(tool) => open.take_named(tool),
                        None => open.take(id),
                    };
                    if let Some(found) = found {
                        *id = Cow::Owned(found);
                    } else if let Some(tool) = id.strip_prefix(BY_NAME) {
                        *id = Cow::Owned(tool.to_owned());
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;
    use crate::hub::{Flavor, Opaque, OpaqueKind, ThinkingKind};
    use crate::json::{Json, Text};

    #[test]
    fn words_are_given_once_however_many_parts_bear_one_state() {
        let thought = |words: &'static str, at: usize| {
            let kind = BlockKind::Thinking { text: Text::from_plain(words), kind: ThinkingKind::Summary };
            let state = Opaque {
                kind: OpaqueKind::ThinkingSignature,
                maker: Format::AnthropicMessages,
                data: Text::from_plain("EqQB"),
            };
            Block { opaque: vec![state], ..Block::new(kind, at) }
        };
        let call = |at: usize| {
            let arguments = Json::from_valid("{}".to_owned());
            let (id, name) = (Cow::Borrowed("c"), Cow::Borrowed("f"));
            Block::new(BlockKind::ToolCall { id, name, arguments, flavor: Flavor::Function }, at)
        };
        let mut blocks: Vec<_> = (0..9).map(|at| thought("", at)).collect();
        blocks.extend([thought("many words", 9), call(9)]);
        let mut turns = [Turn::new(Role::Assistant, blocks, 0)];
        let behind = (0..10).map(|at| ((at, "EqQB".to_owned()), 0)).collect();
        let mut places = Places { behind, ..Places::default() };
        give_words(&mut turns, &mut places);
        let worded = turns[0].blocks.iter().filter(|block| !is_wordless(block)).count();
        assert_eq!((worded, places.silent.len()), (3, 0), "one beside the call's own and the call");
    }
}

//! The conversation of a request, item by item.
//!
//! What the assistant said and did in a row is one turn. Results go to the turn behind the calls that they answer,
//! in the order of the calls, wherever they came.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::item::Item;
use super::read_parts::content;
use super::read_tools;
use crate::hub::{Asked, Block, BlockKind, Extra, Field, OpaqueKind, Refusal, Request, Role, Turn};
use crate::json::{Cursor, Json, Kind};
use crate::seal::{Opened, Seal};

/// Reads `input` into `request`.
pub(super) fn read<'a>(input: &mut Cursor<'a>, seal: &Seal, request: &mut Request<'a>) -> Result<(), Refusal> {
    let at = input.offset();
    if input.peek()? == Kind::String {
        let text = input.text()?;
        request.turns.push(Turn::new(Role::User, vec![Block::text(text, at)], at));
        return Ok(());
    }
    let (calls, hosted) = (BTreeMap::new(), BTreeSet::new());
    let mut history = History { seal, request, drafts: Vec::new(), calls, hosted, leading: true };
    input.array::<Refusal>(|_, value| history.item(value))?;
    history.finish();
    Ok(())
}

/// Beginning of the key of a request's extra that stood in a message that is part of the instructions.
pub(super) const OF_INSTRUCTIONS: &str = "input.instructions.";

/// A turn, and the results of its calls.
struct Draft<'a> {
    turn: Turn<'a>,
    results: Vec<Block<'a>>,
}

struct History<'r, 'a> {
    seal: &'r Seal,
    request: &'r mut Request<'a>,
    drafts: Vec<Draft<'a>>,
    /// The draft that holds a call, by the call's id.
    calls: BTreeMap<String, usize>,
    /// Calls of tools that are not the client's own kind, by their id.
    hosted: BTreeSet<Cow<'a, str>>,
    /// Only operator's messages came so far: they are instructions.
    leading: bool,
}

impl<'a> History<'_, 'a> {
    fn item(&mut self, value: &mut Cursor<'a>) -> Result<(), Refusal> {
        let at = value.offset();
        if value.peek()? == Kind::String {
            let text = value.text()?;
            self.add(Role::User, Block::text(text, at), at);
            return Ok(());
        }
        let mut item = Item::read(value)?;
        item.extras.extend(item.broke_off.take());
        match item.kind.as_ref() {
            "message" | "" if item.role.is_some() => self.message(item),
            "function_call" | "custom_tool_call" => self.call(item),
            "function_call_output" | "custom_tool_call_output" => self.result(item),
            "reasoning" => self.reasoning(item),
            "item_reference" | "" => self.reference(&item),
            "additional_tools" => {
                if let Some(mut tools) = item.tools {
                    read_tools::tools(&mut tools, self.request)?;
                }
                Ok(())
            }
            kind => {
                // What it stands for, or asks for, is the conversation itself.
                if kind == "tool_search_output" {
                    self.found(item.tools.clone());
                }
                if matches!(kind, "compaction" | "compaction_trigger") {
                    let asked = Asked { key: item.kind.clone(), code: "unsupported_parameter", at };
                    self.request.state.asked.push(asked);
                }
                let block = item.kept();
                self.hosted.extend(item.call_id);
                self.add(Role::Assistant, block, at);
                Ok(())
            }
        }
    }

    /// Tools that a search found. What cannot be read stays in the item alone.
    fn found(&mut self, tools: Option<Cursor<'a>>) {
        let mut read = Request::new(self.request.origin.clone());
        if tools.is_some_and(|mut tools| read_tools::tools(&mut tools, &mut read).is_ok()) {
            self.request.found_tools.append(&mut read.tools);
        }
    }

    fn message(&mut self, item: Item<'a>) -> Result<(), Refusal> {
        let at = item.at;
        let blocks = content(item.content.clone(), at)?;
        let role = match item.role.as_deref().unwrap_or_default() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            "developer" => Role::Developer,
            "tool" | "function" => {
                let message = "results are items of type `function_call_output` with `call_id` and `output`";
                return Err(Refusal::at(at, message));
            }
            other => {
                return Err(Refusal::at(at, format!("`{other}` is no role: user, assistant, system, developer")));
            }
        };
        if role == Role::Assistant {
            self.assistant(item, blocks);
            return Ok(());
        }
        if self.leading && role != Role::User {
            self.request.instructions.extend(blocks);
            // They are no fields of the request; under a key that no body has they are there to be reported.
            let named =
                |extra: Extra<'a>| Extra { key: Cow::Owned(format!("{OF_INSTRUCTIONS}{}", extra.key)), ..extra };
            self.request.extras.extend(item.extras.into_iter().map(named));
            return Ok(());
        }
        self.leading = false;
        let mut turn = Turn::new(role, blocks, at);
        turn.extras = item.extras;
        self.drafts.push(Draft { turn, results: Vec::new() });
        Ok(())
    }

    fn assistant(&mut self, item: Item<'a>, mut blocks: Vec<Block<'a>>) {
        if let Some(first) = blocks.first_mut() {
            first.extras.extend(item.extras);
        }
        // Two messages in a row are two turns: as one, their words would run together.
        let words = |block: &Block<'_>| matches!(block.kind, BlockKind::Text { .. } | BlockKind::Refusal { .. });
        if self.drafts.last().is_some_and(|last| last.turn.blocks.last().is_some_and(words)) {
            self.drafts.push(Draft { turn: Turn::new(Role::Assistant, Vec::new(), item.at), results: Vec::new() });
        }
        for mut block in blocks {
            if let BlockKind::Unknown { raw, .. } = &mut block.kind {
                // What is kept of an assistant's turn are items, so a part is kept within a message of its own.
                let item = format!(r#"{{"type":"message","role":"assistant","content":[{}]}}"#, raw.as_str());
                *raw = Json::from_valid(item);
            }
            self.add(Role::Assistant, block, item.at);
        }
    }

    /// Adds a block of the item at `at` to the assistant's turn that goes on, or to a new turn.
    fn add(&mut self, role: Role, block: Block<'a>, at: usize) {
        self.leading = false;
        match self.drafts.last_mut() {
            Some(last) if role == Role::Assistant && last.turn.role == role && last.results.is_empty() => {
                last.turn.blocks.push(block);
            }
            _ => {
                self.drafts.push(Draft { turn: Turn::new(role, vec![block], at), results: Vec::new() });
            }
        }
    }

    fn call(&mut self, item: Item<'a>) -> Result<(), Refusal> {
        if item.name.is_none() {
            return Err(Refusal::at(item.at, "a tool call needs `name`"));
        }
        let at = item.at;
        let seed = format!("history/{at}");
        let block = item.call(&seed);
        let id = match &block.kind {
            BlockKind::ToolCall { id, .. } => id.clone().into_owned(),
            _ => String::new(),
        };
        self.add(Role::Assistant, block, at);
        self.calls.insert(id, self.drafts.len().saturating_sub(1));
        Ok(())
    }

    fn result(&mut self, item: Item<'a>) -> Result<(), Refusal> {
        let at = item.at;
        let id = item
            .call_id
            .clone()
            .ok_or_else(|| Refusal::at(at, "a result needs `call_id`: the id of the call it answers"))?;
        if self.hosted.contains(&id) {
            // It goes where its call goes, and is nothing without it.
            let block = Block::new(BlockKind::ServerTool { raw: item.raw(), result: true }, at);
            self.add(Role::Assistant, block, at);
            return Ok(());
        }
        let content = content(item.output, at)?;
        let home = self.calls.get(id.as_ref()).copied();
        let mut block = Block::new(BlockKind::ToolResult { id, content, is_error: None }, at);
        block.extras = item.extras;
        self.leading = false;
        if self.drafts.is_empty() {
            self.drafts.push(Draft { turn: Turn::new(Role::Assistant, Vec::new(), at), results: Vec::new() });
        }
        let home = home.unwrap_or(self.drafts.len().saturating_sub(1));
        if let Some(draft) = self.drafts.get_mut(home) {
            draft.results.push(block);
        }
        Ok(())
    }

    /// Reasoning: of this format's provider, or in an envelope of ours.
    fn reasoning(&mut self, mut item: Item<'a>) -> Result<(), Refusal> {
        let at = item.at;
        let opened = item.encrypted.as_ref().map(|data| self.seal.open(&data.plain()));
        let state = match opened {
            None => None,
            Some(Opened::Bare) => item.native_state(),
            Some(Opened::Ours(opaque)) if opaque.kind == OpaqueKind::Unsigned => None,
            Some(Opened::Ours(opaque)) => Some(opaque),
            Some(Opened::Forged) => {
                let (key, value) = (Cow::Borrowed("encrypted_content"), Json::NULL);
                item.extras.push(Extra { field: Field::OpaqueState, key, value, at });
                None
            }
        };
        let blocks = item.thoughts(state)?;
        for block in blocks {
            self.add(Role::Assistant, block, at);
        }
        Ok(())
    }

    fn reference(&mut self, item: &Item<'a>) -> Result<(), Refusal> {
        if item.id.is_none() {
            let message = "an item needs `type`, a message `role` and `content`";
            return Err(Refusal::at(item.at, message));
        }
        let raw = item.raw();
        let key = Cow::Borrowed("item_reference");
        self.request.state.kept.push(Extra { field: Field::Store, key, value: raw.clone(), at: item.at });
        let block = Block::new(BlockKind::Reference { raw }, item.at);
        self.add(Role::Assistant, block, item.at);
        Ok(())
    }

    /// Puts turns and results in their order.
    fn finish(self) {
        for Draft { turn, mut results } in self.drafts {
            let called: BTreeMap<String, usize> = turn.blocks.iter().enumerate().filter_map(place_of_call).collect();
            let is_something = !turn.blocks.is_empty() || !turn.extras.is_empty() || turn.role != Role::Assistant;
            if is_something {
                self.request.turns.push(turn);
            }
            if let Some(at) = results.first().map(|first| first.at) {
                results.sort_by_key(|block| match &block.kind {
                    BlockKind::ToolResult { id, .. } => called.get(id.as_ref()).copied().unwrap_or(usize::MAX),
                    _ => usize::MAX,
                });
                self.request.turns.push(Turn::new(Role::User, results, at));
            }
        }
    }
}

fn place_of_call((at, block): (usize, &Block<'_>)) -> Option<(String, usize)> {
    match &block.kind {
        BlockKind::ToolCall { id, .. } => Some((id.clone().into_owned(), at)),
        _ => None,
    }
}

//! The conversation, written: every message, call, result and piece of reasoning an item of its own.

use std::collections::BTreeMap;

use super::report::Report;
use super::wire::OWN;
use super::write_parts::{CACHES_ITSELF, content, has_place, unmarked, without_place, words_alone};
use super::write_tools::{sent_name, write_call_name};
use crate::format::Facts;
use crate::hub::ids::{Distinct, derived};
use crate::hub::waiting::Waiting;
use crate::hub::{Block, BlockKind, CacheMark, Field, Flavor, OpaqueKind, Refusal, Request, Role, ThinkingKind, Turn};
use crate::json::{Json, Kind, Text, Writer};

/// Writes every item; `instructions` are those that did not go elsewhere.
pub(super) fn write(
    request: &Request<'_>,
    instructions: &[&Block<'_>],
    facts: &Facts,
    report: &mut Report<'_>,
    w: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let mut pen =
        Pen { facts, report, w, flavors: BTreeMap::new(), ids: Distinct::default(), open: Waiting::default() };
    if !instructions.is_empty() {
        pen.message(pen.operator(), instructions, &[])?;
    }
    request.turns.iter().try_for_each(|turn| pen.turn(turn))?;
    if let Some(last) = request.turns.last().filter(|last| is_begun(last) && !pen.report.is_own()) {
        let reason = "an answer that was begun is not continued: the model replies to it";
        pen.report.dropped(Field::Turn, last.at, reason);
    }
    Ok(())
}

/// True for an answer that the client began and the model is to continue.
fn is_begun(turn: &Turn<'_>) -> bool {
    let last = turn.blocks.last().map(|block| &block.kind);
    turn.role == Role::Assistant && matches!(last, Some(BlockKind::Text { text, .. }) if !text.is_empty())
}

struct Pen<'p, 'o, 'l, 'r> {
    facts: &'p Facts,
    report: &'p mut Report<'l>,
    w: &'p mut Writer<'o>,
    /// Whether a call took free text, by its native id.
    flavors: BTreeMap<&'r str, Flavor>,
    ids: Distinct,
    /// The ids sent of calls without a result yet, by the native ones.
    open: Waiting<&'r str, String>,
}

impl<'r> Pen<'_, '_, '_, 'r> {
    fn operator(&self) -> &'static str {
        if self.facts.developer_role { "developer" } else { "system" }
    }

    fn turn(&mut self, turn: &'r Turn<'r>) -> Result<(), Refusal> {
        if turn.name.is_some() {
            self.report.dropped(Field::TurnName, turn.at, "a message of this API names no speaker");
        }
        if turn.role == Role::Assistant {
            self.report.extras(&turn.extras);
            return self.assistant(turn);
        }
        let role = match turn.role {
            Role::User | Role::Assistant => "user",
            Role::System => "system",
            Role::Developer => self.operator(),
        };
        for block in turn.blocks.iter().filter(|block| matches!(block.kind, BlockKind::ToolResult { .. })) {
            self.result(block)?;
        }
        let is_said = |block: &&Block<'_>| match &block.kind {
            BlockKind::ToolResult { .. } => false,
            BlockKind::Text { text, .. } => !text.is_empty(),
            _ => true,
        };
        let said = self.placed(turn.blocks.iter().filter(is_said));
        let answers = turn.blocks.iter().any(|block| matches!(block.kind, BlockKind::ToolResult { .. }));
        if said.is_empty() && (role != "user" || answers) {
            self.report.extras(&turn.extras);
            return Ok(());
        }
        if said.is_empty() {
            // A message without content is refused, and one left out would be another conversation.
            self.report.converted(Field::Turn, turn.at, "an empty message says so");
            let empty = Block::text(Text::from_escaped("(empty)"), turn.at);
            return self.message(role, &[&empty], &turn.extras);
        }
        self.message(role, &said, &turn.extras)
    }

    /// Those that can be parts; the rest is reported.
    fn placed<'b>(&mut self, blocks: impl Iterator<Item = &'b Block<'b>>) -> Vec<&'b Block<'b>> {
        let (placed, rest): (Vec<_>, Vec<_>) = blocks.partition(|block| has_place(&block.kind));
        for block in rest {
            without_place(block, self.report);
        }
        placed
    }

    fn message(&mut self, role: &str, blocks: &[&Block<'_>], extras: &[crate::hub::Extra<'_>]) -> Result<(), Refusal> {
        self.w.open_object().key("type").plain("message").key("role").plain(role).key("content");
        content(blocks, self.facts, self.report, self.w)?;
        if self.report.is_own() {
            for extra in extras.iter().filter(|extra| extra.field != Field::OpaqueState) {
                self.w.key(Text::from_plain(&extra.key).escaped()).json(&extra.value);
            }
        }
        self.report.extras(extras);
        self.w.close_object();
        Ok(())
    }

    fn assistant(&mut self, turn: &'r Turn<'r>) -> Result<(), Refusal> {
        let mut rest = turn.blocks.as_slice();
        while let Some(block) = rest.first() {
            let run = |like: fn(&BlockKind<'_>) -> bool| rest.iter().take_while(|block| like(&block.kind)).count();
            let taken = match &block.kind {
                BlockKind::Text { .. } | BlockKind::Refusal { .. } => {
                    let count = run(|kind| matches!(kind, BlockKind::Text { .. } | BlockKind::Refusal { .. }));
                    self.words(rest.get(..count).unwrap_or_default());
                    count
                }
                BlockKind::Thinking { .. } | BlockKind::Redacted => {
                    let count = run(|kind| matches!(kind, BlockKind::Thinking { .. } | BlockKind::Redacted));
                    self.thoughts(rest.get(..count).unwrap_or_default());
                    count
                }
                _ => {
                    self.item(block)?;
                    1
                }
            };
            rest = rest.get(taken.max(1)..).unwrap_or_default();
        }
        Ok(())
    }

    fn item(&mut self, block: &'r Block<'r>) -> Result<(), Refusal> {
        match &block.kind {
            BlockKind::ToolCall { .. } => self.call(block),
            BlockKind::ToolResult { .. } => self.result(block)?,
            BlockKind::ServerTool { raw, .. } | BlockKind::Reference { raw } if self.report.is_own() => {
                self.w.json(raw);
            }
            BlockKind::Unknown { format, raw } if *format == OWN => {
                self.w.json(raw);
            }
            BlockKind::ServerTool { .. } => {
                let reason = "what another provider's own tool did cannot be told";
                self.report.dropped(Field::ServerTool, block.at, reason);
            }
            kind => {
                self.report.dropped(kind.class(), block.at, "an assistant's message has no place for this block");
            }
        }
        Ok(())
    }

    /// Words of one message. From another format they are one string, which asks for no id of an item.
    fn words(&mut self, blocks: &[Block<'_>]) {
        let mut texts: Vec<&Text<'_>> = Vec::new();
        let mut refused = self.report.is_own();
        for block in blocks {
            match &block.kind {
                BlockKind::Text { text, citations } => {
                    if !citations.is_empty() && !self.report.is_own() {
                        let reason = "a message of the history carries no sources";
                        self.report.dropped(Field::Citations, block.at, reason);
                    }
                    texts.extend(Some(text).filter(|text| !text.is_empty()));
                }
                BlockKind::Refusal { text } => {
                    refused = true;
                    texts.push(text);
                }
                _ => {}
            }
            if block.cache.is_some() {
                self.report.converted(Field::CacheMark, block.at, CACHES_ITSELF);
            }
            let (phase, other): (Vec<_>, Vec<_>) = block.extras.iter().cloned().partition(|extra| extra.key == "phase");
            self.report.extras(&phase);
            self.report.unwritten(&other);
            self.foreign_state(block);
        }
        if texts.is_empty() {
            return;
        }
        self.w.open_object().key("type").plain("message").key("role").plain("assistant");
        if refused {
            let seed: String = texts.iter().map(|text| text.escaped()).collect();
            self.w.key("id").plain(&derived("msg_", &seed)).key("status").plain("completed");
            self.w.key("content").open_array();
            for block in blocks {
                self.spoken(block);
            }
            self.w.close_array();
        } else {
            self.w.key("content").texts(&texts);
        }
        if let (true, Some(first)) = (self.report.is_own(), blocks.first()) {
            for extra in first.extras.iter().filter(|extra| extra.key == "phase") {
                self.w.key("phase").json(&extra.value);
            }
        }
        self.w.close_object();
    }

    /// A part of an answer that was given before.
    fn spoken(&mut self, block: &Block<'_>) {
        match &block.kind {
            BlockKind::Text { text, citations } if !text.is_empty() => {
                self.w.open_object().key("type").plain("output_text").key("text").text(text);
                self.w.key("annotations").open_array();
                for citation in citations.iter().filter(|citation| citation.format == OWN) {
                    self.w.json(&citation.raw);
                }
                self.w.close_array().close_object();
            }
            BlockKind::Refusal { text } => {
                self.w.open_object().key("type").plain("refusal").key("refusal").text(text).close_object();
            }
            _ => {}
        }
    }

    /// Reasoning in a row: what stands before a state of this provider's belongs to it, the rest nobody can use.
    fn thoughts(&mut self, blocks: &[Block<'_>]) {
        let mut before: Vec<&Block<'_>> = Vec::new();
        for block in blocks {
            self.report.unwritten(&block.extras);
            before.push(block);
            let own =
                |opaque: &&crate::hub::Opaque<'_>| opaque.maker == OWN && opaque.kind == OpaqueKind::EncryptedReasoning;
            self.foreign_state(block);
            if let Some(opaque) = block.opaque.iter().find(own) {
                self.reasoning(&std::mem::take(&mut before), &opaque.data);
            }
        }
        for block in before {
            if matches!(&block.kind, BlockKind::Thinking { text, .. } if !text.is_empty()) {
                let reason = "reasoning without the state that its provider gave with it cannot be sent back";
                self.report.dropped(Field::Thinking, block.words_at.unwrap_or(block.at), reason);
            }
        }
    }

    /// State of another maker is left out.
    fn foreign_state(&mut self, block: &Block<'_>) {
        let foreign = |opaque: &crate::hub::Opaque<'_>| {
            opaque.kind != OpaqueKind::Unsigned
                && (opaque.maker != OWN || opaque.kind != OpaqueKind::EncryptedReasoning)
        };
        if block.opaque.iter().any(foreign) {
            self.report.dropped(Field::OpaqueState, block.at, "only its maker can read this state");
        }
    }

    fn reasoning(&mut self, blocks: &[&Block<'_>], state: &Text<'_>) {
        // What this provider shows beside its state is a summary; other formats do not always say so, and it refuses
        // `content` that it did not give.
        let own = self.report.is_own();
        let of = |wanted: ThinkingKind| {
            blocks.iter().filter_map(move |block| match &block.kind {
                BlockKind::Thinking { text, kind } if !text.is_empty() => {
                    let kind = if own { *kind } else { ThinkingKind::Summary };
                    (kind == wanted).then_some(text)
                }
                _ => None,
            })
        };
        self.w.open_object().key("type").plain("reasoning").key("summary").open_array();
        for text in of(ThinkingKind::Summary) {
            self.w.open_object().key("type").plain("summary_text").key("text").text(text).close_object();
        }
        self.w.close_array();
        if of(ThinkingKind::Raw).next().is_some() {
            self.w.key("content").open_array();
            for text in of(ThinkingKind::Raw) {
                self.w.open_object().key("type").plain("reasoning_text").key("text").text(text).close_object();
            }
            self.w.close_array();
        }
        self.w.key("encrypted_content").text(state).close_object();
    }

    fn call(&mut self, block: &'r Block<'r>) {
        let BlockKind::ToolCall { id, name, arguments, flavor } = &block.kind else { return };
        let sent = self.ids.next(id);
        self.open.add(id, sent.clone());
        self.flavors.insert(id, *flavor);
        self.foreign_state(block);
        if block.cache.is_some() {
            self.report.converted(Field::CacheMark, block.at, CACHES_ITSELF);
        }
        let custom = *flavor == Flavor::Custom && self.facts.custom_tools;
        self.w.open_object().key("type").plain(if custom { "custom_tool_call" } else { "function_call" });
        self.w.key("call_id").plain(&sent);
        if self.report.is_own() {
            write_call_name(name, self.w);
        } else {
            self.w.key("name").plain(&sent_name(name));
        }
        match (flavor, custom) {
            (_, true) => self.w.key("input").json(&text_of(arguments)),
            (Flavor::Custom, false) => {
                let wrapped = Json::from_valid(format!("{{\"input\":{}}}", text_of(arguments).as_str()));
                self.w.key("arguments").json_as_string(&wrapped)
            }
            (Flavor::Function, _) if arguments.kind() == Kind::String => self.w.key("arguments").json(arguments),
            (Flavor::Function, _) => self.w.key("arguments").json_as_string(arguments),
        };
        if self.report.is_own() {
            for extra in &block.extras {
                self.w.key(Text::from_plain(&extra.key).escaped()).json(&extra.value);
            }
        }
        self.report.extras(&block.extras);
        self.w.close_object();
    }

    fn result(&mut self, block: &Block<'_>) -> Result<(), Refusal> {
        let BlockKind::ToolResult { id, content: blocks, is_error } = &block.kind else { return Ok(()) };
        let flavor = self.flavors.get(id.as_ref()).copied().unwrap_or_default();
        let sent = self.open.take(id).unwrap_or_else(|| crate::hub::ids::portable(id).into_owned());
        let custom = flavor == Flavor::Custom && self.facts.custom_tools;
        let kind = if custom { "custom_tool_call_output" } else { "function_call_output" };
        self.w.open_object().key("type").plain(kind).key("call_id").plain(&sent).key("output");
        let prefix = Block::text(Text::from_escaped("Error: "), block.at);
        let marked = block.cache.filter(|_| self.facts.cache_breakpoints);
        let marked = marked.and_then(|mark| marked_at_end(blocks, mark));
        if block.cache.is_some() && marked.is_none() {
            self.report.converted(Field::CacheMark, block.at, CACHES_ITSELF);
        }
        let said = self.placed(marked.as_deref().unwrap_or(blocks).iter());
        self.output(&said, *is_error == Some(true), &prefix)?;
        if self.report.is_own() {
            for extra in &block.extras {
                self.w.key(Text::from_plain(&extra.key).escaped()).json(&extra.value);
            }
        }
        self.report.extras(&block.extras);
        self.w.close_object();
        Ok(())
    }

    /// `output`: a string where it is words alone, else parts. That a tool failed is said in words.
    fn output(&mut self, said: &[&Block<'_>], failed: bool, prefix: &Block<'_>) -> Result<(), Refusal> {
        let is_said = said.first().is_some_and(|first| match &first.kind {
            BlockKind::Text { text, .. } => text.escaped().to_ascii_lowercase().starts_with("error"),
            _ => false,
        });
        let mut blocks = said.to_vec();
        if failed && !is_said {
            blocks.insert(0, prefix);
            self.report.converted(Field::ToolError, prefix.at, "the result's text says that the tool failed");
        }
        let words: Option<Vec<&Text<'_>>> =
            blocks.iter().map(|block| words_alone(block, self.facts, self.report)).collect();
        match words {
            Some(words) if words.len() <= 1 || (failed && words.len() == 2) => {
                for block in &blocks {
                    unmarked(block, self.report);
                }
                self.w.texts(&words);
                Ok(())
            }
            _ => content(&blocks, self.facts, self.report, self.w),
        }
    }
}

/// A result's parts with the `mark` of the whole on the last of them; `None` where there is none to bear it.
fn marked_at_end<'b>(blocks: &[Block<'b>], mark: CacheMark) -> Option<Vec<Block<'b>>> {
    let bears = |block: &Block<'_>| match &block.kind {
        BlockKind::Text { text, .. } => !text.is_empty(),
        kind => has_place(kind),
    };
    let mut marked = blocks.to_vec();
    marked.iter_mut().rfind(|block| bears(block))?.cache.get_or_insert(mark);
    Some(marked)
}

/// Free text as a JSON string, whatever it came as.
fn text_of<'j>(arguments: &'j Json<'j>) -> Json<'j> {
    if arguments.kind() == Kind::String {
        return arguments.by_ref();
    }
    Json::from_valid(format!("\"{}\"", Text::from_json(arguments.as_str()).escaped()))
}

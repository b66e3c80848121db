//! The conversation, written.

use super::details;
use super::marks::{Marks, by_itself, is_empty, mark_of_result};
use super::report::Report;
use super::wire::{OWN, is_call_signature, write_call_signature};
use super::write_parts::{self, Parts};
use super::write_tools::sent_name;
use crate::format::{Facts, ReasoningField, ThinkingForm};
use crate::hub::ids::Distinct;
use crate::hub::{Block, BlockKind, CacheMark, Extra, Field, Flavor, Opaque, OpaqueKind, Refusal, Request, Role, Turn};
use crate::json::{Json, Kind, Text, Writer};

/// What stands in for reasoning that nobody has, for models that refuse none and an empty one.
const NO_THOUGHTS: &str = "(not recorded)";

/// Writes every message, the instructions first.
pub(super) fn write(
    request: &Request<'_>,
    facts: &Facts,
    report: &mut Report<'_>,
    w: &mut Writer<'_>,
) -> Result<(), Refusal> {
    let role = if facts.developer_role { "developer" } else { "system" };
    let marks = Marks::plan(request, facts, report);
    let mut pen = Pen { facts, marks, report, w };
    let mut instructions = pen.operators(&request.instructions);
    let marked;
    if let (Some(mark), Some(last)) = (pen.marks.from_tools, instructions.last_mut()) {
        let cache = Some(last.cache.map_or(mark, |own| own.longer(mark)));
        marked = Block { cache, ..last.clone() };
        *last = &marked;
    }
    if !instructions.is_empty() {
        pen.w.open_object().key("role").plain(role);
        pen.content(&instructions)?;
        pen.w.close_object();
    }
    let mut rest = request.turns.as_slice();
    while let Some(turn) = rest.first() {
        let run = rest.iter().take_while(|next| next.role == Role::User && turn.role == Role::User).count().max(1);
        let (run, behind) = rest.split_at_checked(run).unwrap_or((rest, &[]));
        pen.run(run)?;
        rest = behind;
    }
    Ok(())
}

struct Pen<'p, 'o, 'l> {
    facts: &'p Facts,
    marks: Marks,
    report: &'p mut Report<'l>,
    w: &'p mut Writer<'o>,
}

impl Pen<'_, '_, '_> {
    /// One turn, or several of the user's: tool messages must follow the calls without another message between.
    fn run(&mut self, run: &[Turn<'_>]) -> Result<(), Refusal> {
        let mut attached = Parts::default();
        if run.iter().all(|turn| turn.role == Role::User) {
            let mut ids = Distinct::default();
            for turn in run {
                self.results(turn, &mut ids, &mut attached)?;
            }
        }
        run.iter().try_for_each(|turn| self.turn(turn, &mut attached))
    }

    fn turn(&mut self, turn: &Turn<'_>, attached: &mut Parts) -> Result<(), Refusal> {
        match turn.role {
            Role::User => self.user(turn, attached),
            Role::Assistant => {
                self.assistant(turn);
                Ok(())
            }
            Role::System => self.operator("system", turn),
            Role::Developer if self.facts.developer_role => self.operator("developer", turn),
            Role::Developer => {
                self.report.converted(Field::Turn, turn.at, "the server knows no role `developer`: `system` stands in");
                self.operator("system", turn)
            }
        }
    }

    fn operator(&mut self, role: &str, turn: &Turn<'_>) -> Result<(), Refusal> {
        let blocks = self.operators(&turn.blocks);
        if blocks.is_empty() {
            // The vendor refuses a message without content, and this one says nothing.
            self.report.extras(&turn.extras);
            return Ok(());
        }
        self.open(role, turn);
        self.content(&blocks)?;
        self.close(turn);
        Ok(())
    }

    /// What of an operator's message can be parts of it; the rest is reported.
    fn operators<'t>(&mut self, blocks: &'t [Block<'t>]) -> Vec<&'t Block<'t>> {
        let own = self.report.is_own();
        let said = blocks.iter().filter(|block| !is_empty(block));
        let (placed, rest): (Vec<_>, Vec<_>) = said.partition(|block| write_parts::operator_says(block, own));
        for block in rest {
            if write_parts::has_place(&block.kind, own) {
                self.report.dropped(Field::Instructions, block.at, "instructions are words only");
            } else {
                write_parts::without_place(block, self.report);
            }
            if block.cache.is_some() {
                self.report.dropped(Field::CacheMark, block.at, "its block is left out");
            }
        }
        placed
    }

    /// What of a user's turn can be parts of a message, beside results; the rest is reported.
    fn placed<'t>(&mut self, turn: &'t Turn<'t>) -> Vec<&'t Block<'t>> {
        let is_result = |block: &&Block<'_>| matches!(block.kind, BlockKind::ToolResult { .. });
        let said = turn.blocks.iter().filter(|block| !(is_empty(block) || is_result(block)));
        let own = self.report.is_own();
        let (placed, rest): (Vec<_>, Vec<_>) = said.partition(|block| write_parts::has_place(&block.kind, own));
        for block in rest {
            write_parts::without_place(block, self.report);
        }
        placed
    }

    fn open(&mut self, role: &str, turn: &Turn<'_>) {
        self.w.open_object().key("role").plain(role);
        if let Some(name) = &turn.name {
            self.w.key("name").text(name);
        }
    }

    fn close(&mut self, turn: &Turn<'_>) {
        self.own_fields(&turn.extras);
        self.report.extras(&turn.extras);
        self.w.close_object();
    }

    /// Fields of a message that only this format knows.
    fn own_fields(&mut self, extras: &[Extra<'_>]) {
        if self.report.is_own() {
            for extra in extras.iter().filter(|extra| !matches!(extra.field, Field::OpaqueState | Field::CacheMark)) {
                self.w.key(Text::from_plain(&extra.key).escaped()).json(&extra.value);
            }
        }
    }

    /// `content` of a user's or operator's message.
    fn content(&mut self, blocks: &[&Block<'_>]) -> Result<(), Refusal> {
        self.w.key("content");
        write_parts::content(blocks, &mut self.marks, self.report, self.w)
    }

    /// Results, each a message of its own.
    fn results(&mut self, turn: &Turn<'_>, ids: &mut Distinct, attached: &mut Parts) -> Result<(), Refusal> {
        for block in &turn.blocks {
            if let BlockKind::ToolResult { id, .. } = &block.kind {
                self.result(block, &ids.next(id), attached)?;
            }
        }
        Ok(())
    }

    /// What a turn says beside results, behind the media that results brought.
    fn user(&mut self, turn: &Turn<'_>, attached: &mut Parts) -> Result<(), Refusal> {
        let is_result = |block: &&Block<'_>| matches!(block.kind, BlockKind::ToolResult { .. });
        let rest = self.placed(turn);
        let attached = std::mem::take(attached);
        if rest.is_empty() && attached.is_empty() {
            if turn.blocks.iter().any(|block| is_result(&block)) {
                self.report.extras(&turn.extras);
                return Ok(());
            }
            self.open("user", turn);
            self.w.key("content").plain("(empty)");
            self.report.converted(Field::Turn, turn.at, "an empty message says so");
            self.close(turn);
            return Ok(());
        }
        self.open("user", turn);
        if attached.is_empty() {
            self.content(&rest)?;
        } else {
            self.w.key("content").open_array();
            attached.write(self.w);
            write_parts::parts(&rest, &mut self.marks, self.report, self.w)?;
            self.w.close_array();
        }
        self.close(turn);
        Ok(())
    }

    /// One tool message: text only. Media go to the next user message, each behind a line that names the result.
    fn result(&mut self, block: &Block<'_>, id: &str, attached: &mut Parts) -> Result<(), Refusal> {
        let BlockKind::ToolResult { content, is_error, .. } = &block.kind else { return Ok(()) };
        let mut words: Vec<Text<'_>> = Vec::new();
        for inner in content {
            if write_parts::is_spoken(inner) {
                if !words.is_empty() && !self.report.is_own() {
                    words.push(Text::from_escaped("\\n"));
                }
                words.extend(write_parts::spoken(inner, self.report));
                // What a tool said is one string: its parts have no fields of their own.
                self.report.unsaid(&inner.extras);
            } else if write_parts::has_place(&inner.kind, self.report.is_own()) {
                let reason = "a tool message holds text only: it follows in a user message";
                self.report.converted(Field::ToolResult, inner.at, reason);
                attached.add(id, inner, &mut self.marks, self.report)?;
            } else {
                write_parts::without_place(inner, self.report);
            }
        }
        if *is_error == Some(true)
            && !words.first().is_some_and(|text| text.escaped().to_ascii_lowercase().starts_with("error"))
        {
            words.insert(0, Text::from_escaped("Error: "));
            self.report.converted(Field::ToolError, block.at, "the result's text says that the tool failed");
        }
        let mut mark = self.marks.next(mark_of_result(block), block.at, self.report);
        if mark.is_some() && words.iter().all(Text::is_empty) {
            self.report.dropped(Field::CacheMark, block.at, "a result without words carries no cache mark");
            mark = None;
        }
        self.report.extras(&block.extras);
        self.w.open_object().key("role").plain("tool").key("tool_call_id").plain(id).key("content");
        self.words(&words.iter().collect::<Vec<_>>(), mark.map(|mark| (mark, block.at)));
        self.own_fields(&block.extras);
        self.w.close_object();
        Ok(())
    }

    /// Words as the next value: a string, or a part where a mark must stand behind them.
    fn words(&mut self, words: &[&Text<'_>], mark: Option<Stands>) {
        let Some((mark, at)) = mark else {
            self.w.texts(words);
            return;
        };
        self.w.open_array();
        self.marked_part(words, Some((mark, at)));
        self.w.close_array();
    }

    fn marked_part(&mut self, words: &[&Text<'_>], mark: Option<Stands>) {
        self.w.open_object().key("type").plain("text").key("text").texts(words);
        if let Some((mark, at)) = mark {
            self.marks.write(mark, at, self.report, self.w);
        }
        self.w.close_object();
    }

    fn assistant(&mut self, turn: &Turn<'_>) {
        let said = Said::sort(turn, self.facts, &mut self.marks, self.report);
        if said.is_empty() && turn.extras.is_empty() {
            self.thoughts(&said.thoughts, false);
            return;
        }
        self.open("assistant", turn);
        self.w.key("content");
        if said.words.is_empty() && !(said.calls.is_empty() && said.refusal.is_empty()) {
            self.w.null();
        } else {
            self.spoken(&said.words);
        }
        if !said.refusal.is_empty() {
            self.w.key("refusal").texts(&said.refusal.iter().collect::<Vec<_>>());
        }
        self.thoughts(&said.thoughts, true);
        self.stand_in(&said);
        if let Some(raw) = said.audio {
            self.w.key("audio").json(raw);
        }
        if !said.calls.is_empty() {
            let mut ids = Distinct::default();
            self.w.key("tool_calls").open_array();
            for (block, signature) in &said.calls {
                self.call(block, *signature, &mut ids);
            }
            self.w.close_array();
        }
        self.close(turn);
    }

    /// `content` of an assistant's message: one string, unless a mark stands in or behind it.
    fn spoken(&mut self, words: &[Spoken<'_>]) {
        if words.iter().all(|(_, mark)| mark.is_none()) {
            self.w.texts(&words.iter().map(|(text, _)| text).collect::<Vec<_>>());
            return;
        }
        self.w.open_array();
        for run in words.split_inclusive(|(_, mark)| mark.is_some()) {
            let mark = run.last().and_then(|(_, mark)| *mark);
            self.marked_part(&run.iter().map(|(text, _)| text).collect::<Vec<_>>(), mark);
        }
        self.w.close_array();
    }

    /// The field that takes reasoning of earlier turns, if the server and the model know one.
    fn thoughts_field(&self) -> Option<&'static str> {
        let field = match self.facts.reasoning_field {
            None if self.facts.compatible_extensions => Some("reasoning_content"),
            None | Some(ReasoningField::None) => None,
            Some(ReasoningField::ReasoningContent) => Some("reasoning_content"),
            Some(ReasoningField::Reasoning) => Some("reasoning"),
        };
        field.filter(|_| self.facts.thinking != ThinkingForm::None)
    }

    /// A word in the place of the reasoning that led to calls, where there is none and the model refuses calls without.
    fn stand_in(&mut self, said: &Said<'_>) {
        let thought = |block: &&Block<'_>| matches!(&block.kind, BlockKind::Thinking { text, .. } if !text.is_empty());
        if self.facts.wants_thoughts
            && let Some((call, _)) = said.calls.first()
            && !said.thoughts.iter().any(thought)
            && let Some(field) = self.thoughts_field()
        {
            self.report.defaulted(Field::Thinking, call.at, "the model refuses calls without the thoughts before them");
            self.w.key(field).plain(NO_THOUGHTS);
        }
    }

    /// Reasoning of earlier turns: servers with the extension want it back, the vendor has no place for it.
    ///
    /// `open` if a message is being written that can hold it.
    fn thoughts(&mut self, thoughts: &[&Block<'_>], open: bool) {
        let field = self.thoughts_field().filter(|_| open);
        let takes = field.is_some();
        let words: Vec<&Text<'_>> = thoughts
            .iter()
            .filter_map(|block| match &block.kind {
                BlockKind::Thinking { text, .. } if !text.is_empty() => Some(text),
                _ => None,
            })
            .collect();
        if let Some(field) = field.filter(|_| !words.is_empty()) {
            self.w.key(field).texts(&words);
        }
        let mut own = Vec::new();
        for block in thoughts {
            let text = match &block.kind {
                BlockKind::Thinking { text, .. } => Some(text),
                _ => None,
            };
            if text.is_some_and(|text| !text.is_empty()) && !takes {
                let at = block.words_at.unwrap_or(block.at);
                self.report.dropped(Field::Thinking, at, "the provider takes no reasoning of earlier turns");
            }
            // A call's own signature goes with the call.
            let marked = |opaque: &&Opaque<'_>| opaque.kind != OpaqueKind::Unsigned && !is_call_signature(opaque);
            for opaque in block.opaque.iter().filter(marked) {
                if opaque.maker == OWN && takes {
                    own.push((opaque, text));
                } else {
                    self.report.dropped(Field::OpaqueState, block.at, "only its maker can read this state");
                }
            }
        }
        if !own.is_empty() {
            self.w.key("reasoning_details").open_array();
            for (index, (opaque, text)) in own.into_iter().enumerate() {
                details::write(opaque, details::Words::of(text), index as u64, None, self.w);
            }
            self.w.close_array();
        }
    }

    fn call(&mut self, block: &Block<'_>, signature: Option<&Opaque<'_>>, ids: &mut Distinct) {
        let BlockKind::ToolCall { id, name, arguments, flavor } = &block.kind else { return };
        if block.cache.is_some() {
            by_itself(block.at, self.report);
        }
        self.report.extras(&block.extras);
        self.w.open_object().key("id").plain(&ids.next(id));
        let name = sent_name(name);
        match flavor {
            Flavor::Custom if self.facts.custom_tools => {
                self.w.key("type").plain("custom").key("custom").open_object().key("name").plain(&name);
                self.w.key("input").json(arguments).close_object();
            }
            Flavor::Custom => {
                let wrapped = Json::from_valid(format!("{{\"input\":{}}}", arguments.as_str()));
                self.function(&name, &wrapped);
            }
            Flavor::Function => self.function(&name, arguments),
        }
        let native = block.opaque.iter().find(|opaque| is_call_signature(opaque)).or(signature);
        match native.filter(|_| self.facts.compatible_extensions || self.report.is_own()) {
            Some(opaque) => write_call_signature(opaque, None, self.w),
            None if native.is_some() || !block.opaque.is_empty() => {
                self.report.dropped(Field::OpaqueState, block.at, "only its maker can read this state");
            }
            None => {}
        }
        self.w.close_object();
    }

    fn function(&mut self, name: &str, arguments: &Json<'_>) {
        self.w.key("type").plain("function").key("function").open_object().key("name").plain(name).key("arguments");
        if arguments.kind() == Kind::String {
            self.w.json(arguments);
        } else {
            self.w.json_as_string(arguments);
        }
        self.w.close_object();
    }
}

/// A cache mark that may stand, and the byte offset of the block that it is behind.
type Stands = (CacheMark, usize);

/// Words of an assistant, and the mark behind them.
type Spoken<'r> = (Text<'r>, Option<Stands>);

/// What an assistant's turn is made of, sorted.
#[derive(Default)]
struct Said<'r> {
    /// Words, and the mark that stands behind them.
    words: Vec<Spoken<'r>>,
    refusal: Vec<Text<'r>>,
    thoughts: Vec<&'r Block<'r>>,
    /// Calls, each with the signature that stood in front of it.
    calls: Vec<(&'r Block<'r>, Option<&'r Opaque<'r>>)>,
    /// A signature for the next call.
    signature: Option<&'r Opaque<'r>>,
    audio: Option<&'r Json<'r>>,
}

impl<'r> Said<'r> {
    fn is_empty(&self) -> bool {
        self.words.is_empty() && self.refusal.is_empty() && self.calls.is_empty() && self.audio.is_none()
    }

    fn sort(turn: &'r Turn<'r>, facts: &Facts, marks: &mut Marks, report: &mut Report<'_>) -> Self {
        let mut said = Self::default();
        let mut apart = false;
        for block in &turn.blocks {
            if let BlockKind::Text { text, citations } = &block.kind {
                if !text.is_empty() {
                    said.gap(std::mem::take(&mut apart));
                    let mark = marks.next(block.cache, block.at, report);
                    said.words.push((text.by_ref(), mark.map(|mark| (mark, block.at))));
                }
                if !citations.is_empty() {
                    report.dropped(Field::Citations, block.at, "a message of the history carries no sources");
                }
                if block.opaque.iter().any(|opaque| opaque.kind != OpaqueKind::Unsigned) {
                    report.dropped(Field::OpaqueState, block.at, "only its maker can read this state");
                }
                report.extras(&block.extras);
                continue;
            }
            apart = true;
            match &block.kind {
                // Only the vendor knows the field.
                BlockKind::Refusal { text } if facts.compatible_extensions && !report.is_own() => {
                    report.converted(Field::Refusal, block.at, "the server knows no words of refusal: they are said");
                    report.extras(&block.extras);
                    said.gap(true);
                    said.words.push((text.by_ref(), None));
                }
                _ => said.other(block, report),
            }
        }
        said
    }

    /// Sets the words that follow off from those before, where they are another text.
    fn gap(&mut self, apart: bool) {
        if apart && !self.words.is_empty() {
            self.words.push((Text::from_escaped("\\n\\n"), None));
        }
    }

    fn other(&mut self, block: &'r Block<'r>, report: &mut Report<'_>) {
        match &block.kind {
            BlockKind::Refusal { text } => {
                self.refusal.push(text.by_ref());
                report.extras(&block.extras);
            }
            BlockKind::Thinking { .. } | BlockKind::Redacted => {
                report.extras(&block.extras);
                self.signature = block.opaque.iter().find(|opaque| is_call_signature(opaque)).or(self.signature);
                self.thoughts.push(block);
            }
            BlockKind::ToolCall { .. } => self.calls.push((block, self.signature.take())),
            BlockKind::Reference { raw } if report.is_own() => self.audio = Some(raw),
            BlockKind::ServerTool { .. } => {
                report.dropped(Field::ServerTool, block.at, "what another provider's own tool did cannot be told");
            }
            BlockKind::Image { .. } => report.dropped(Field::Image, block.at, "an assistant's message holds no image"),
            BlockKind::Document { .. } => {
                report.dropped(Field::Document, block.at, "an assistant's message holds no document");
            }
            _ => report.dropped(Field::Unknown, block.at, "an assistant's message has no place for this block"),
        }
    }
}

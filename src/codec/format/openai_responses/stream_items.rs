//! The items of a stream, as far as they came.

use std::borrow::Cow;

use super::item::{Item, Part as Contents};
use super::wire::{OWN, is_server_item, read_annotation};
use crate::hub::{Citation, Event, Fault, FaultKind, Field, Flavor, Head, Opaque, ThinkingKind, ids};
use crate::json::{Cursor, JsonError, Kind as JsonKind, Text};

/// Most items, and most parts of one, in one stream.
const MOST: usize = 4096;

/// Where events go.
pub(super) type Sink<'s> = &'s mut dyn FnMut(Event<'_>);

/// A step that may find the stream broken.
pub(super) type Step = Result<(), Fault<'static>>;

/// A fault for what breaks the format's order.
pub(super) fn broken(what: &str) -> Fault<'static> {
    let mut fault = Fault::new(FaultKind::Api, format!("The provider's stream is broken: {what}"));
    fault.status = 502;
    fault.with_code("stream_malformed")
}

/// What a part says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    /// `output_text`
    Text,
    /// `refusal`
    Refusal,
    /// A part of a summary of reasoning.
    Summary,
    /// `reasoning_text`
    Raw,
}

/// All items, in the order in which they appeared.
#[derive(Debug, Default)]
pub(super) struct Items {
    /// The provider's id of the answer, from which missing ids of calls derive.
    id: String,
    /// Number of the next hub block.
    next: u32,
    items: Vec<State>,
    called: bool,
}

#[derive(Debug)]
struct State {
    index: u64,
    id: String,
    parts: Vec<Part>,
    call: Option<Call>,
    done: bool,
}

/// A part of a message or of reasoning, which has a block of its own.
#[derive(Debug)]
struct Part {
    speech: Speech,
    index: u64,
    block: u32,
    open: bool,
    cited: bool,
}

#[derive(Debug)]
struct Call {
    block: u32,
    open: bool,
    said: bool,
}

impl Items {
    /// Takes the provider's id of the answer.
    pub(super) fn name(&mut self, id: &Text<'_>) {
        id.escaped().clone_into(&mut self.id);
    }

    /// True when a tool of the client was called.
    pub(super) fn called(&self) -> bool {
        self.called
    }

    /// An item begins.
    pub(super) fn added(&mut self, index: u64, mut item: Cursor<'_>, sink: Sink<'_>) -> Result<Step, JsonError> {
        let item = Item::read(&mut item)?;
        Ok(self.state(index).and_then(|at| {
            if let Some(state) = self.items.get_mut(at) {
                item.id.as_ref().map(Text::escaped).unwrap_or_default().clone_into(&mut state.id);
            }
            if is_call(&item.kind) && item.name.is_some() {
                self.begin_call(at, item, sink);
            }
            Ok(())
        }))
    }

    /// The place of the item at `index`; it is new if nothing told of it.
    fn state(&mut self, index: u64) -> Result<usize, Fault<'static>> {
        if let Some(at) = self.items.iter().rposition(|item| item.index == index) {
            return Ok(at);
        }
        if self.items.len() >= MOST {
            return Err(broken("too many items"));
        }
        self.items.push(State { index, id: String::new(), parts: Vec::new(), call: None, done: false });
        Ok(self.items.len() - 1)
    }

    fn begin_call(&mut self, at: usize, mut item: Item<'_>, sink: Sink<'_>) {
        let (flavor, block) = (item.flavor(), self.next);
        let Some(state) = self.items.get_mut(at).filter(|state| state.call.is_none()) else { return };
        let id = item.call_id.take().or_else(|| item.id.take().map(Text::into_plain));
        let id = id.unwrap_or_else(|| Cow::Owned(ids::derived("call_", &format!("{}/{}", self.id, state.index))));
        state.call = Some(Call { block, open: true, said: false });
        self.next = self.next.saturating_add(1);
        self.called = true;
        let name = item.full_name();
        sink(Event::BlockStart { block, candidate: 0, head: Head::ToolCall { id, name, flavor } });
        report(&item, sink);
    }

    /// Words of a part grow.
    pub(super) fn words(&mut self, speech: Speech, index: u64, part: u64, text: Text<'_>, sink: Sink<'_>) -> Step {
        let block = self.part(speech, index, part, sink)?;
        sink(Event::TextDelta { block, text });
        Ok(())
    }

    /// The open block of a part; begun, with the one before it closed, if there is none.
    fn part(&mut self, speech: Speech, index: u64, part: u64, sink: Sink<'_>) -> Result<u32, Fault<'static>> {
        let at = self.state(index)?;
        let Self { next, items, .. } = self;
        let Some(state) = items.get_mut(at) else { return Err(broken("an item that is not there")) };
        let same = |known: &&mut Part| known.speech == speech && known.index == part;
        if let Some(known) = state.parts.iter_mut().rev().find(same).filter(|known| known.open) {
            return Ok(known.block);
        }
        if state.parts.len() >= MOST {
            return Err(broken("too many parts of one item"));
        }
        for open in state.parts.iter_mut().filter(|open| open.open) {
            open.open = false;
            sink(Event::BlockStop { block: open.block });
        }
        let block = *next;
        *next = next.saturating_add(1);
        state.parts.push(Part { speech, index: part, block, open: true, cited: false });
        let head = match speech {
            Speech::Text => Head::Text,
            Speech::Refusal => Head::Refusal,
            Speech::Summary => Head::Thinking(ThinkingKind::Summary),
            Speech::Raw => Head::Thinking(ThinkingKind::Raw),
        };
        sink(Event::BlockStart { block, candidate: 0, head });
        Ok(block)
    }

    /// The whole of a part: said only if no delta brought it.
    pub(super) fn whole(
        &mut self,
        speech: Speech,
        index: u64,
        part: u64,
        text: Option<Text<'_>>,
        sink: Sink<'_>,
    ) -> Step {
        match text.filter(|text| !text.is_empty()) {
            Some(text) if !self.was_said(speech, index, part) => self.words(speech, index, part, text, sink),
            _ => Ok(()),
        }
    }

    fn was_said(&self, speech: Speech, index: u64, part: u64) -> bool {
        let item = self.items.iter().rev().find(|item| item.index == index);
        item.is_some_and(|item| item.parts.iter().any(|known| known.speech == speech && known.index == part))
    }

    /// Arguments grow. Those of a call that was not announced wait for the whole item, which names it.
    pub(super) fn input(&mut self, index: u64, fragment: Option<Text<'_>>, sink: Sink<'_>) -> Step {
        let Some(fragment) = fragment.filter(|fragment| !fragment.is_empty()) else { return Ok(()) };
        let item = self.items.iter_mut().rev().find(|item| item.index == index);
        let Some(call) = item.and_then(|item| item.call.as_mut()) else { return Ok(()) };
        if !call.open {
            return Err(broken("arguments of a call that was complete"));
        }
        call.said = true;
        sink(Event::ArgumentsDelta { block: call.block, fragment });
        Ok(())
    }

    /// The whole arguments: said only if no delta brought them.
    pub(super) fn whole_input(&mut self, index: u64, input: Option<Text<'_>>, sink: Sink<'_>) -> Step {
        let item = self.items.iter().rev().find(|item| item.index == index);
        match item.and_then(|item| item.call.as_ref()) {
            Some(call) if !call.said && call.open => self.input(index, input, sink),
            _ => Ok(()),
        }
    }

    /// A source of a part.
    pub(super) fn annotation(
        &mut self,
        index: u64,
        part: u64,
        annotation: &mut Cursor<'_>,
        sink: Sink<'_>,
    ) -> Result<Step, JsonError> {
        Ok(match read_annotation(annotation)? {
            Some(citation) => self.cite(index, part, citation, sink),
            None => Ok(()),
        })
    }

    fn cite(&mut self, index: u64, part: u64, citation: Citation<'_>, sink: Sink<'_>) -> Step {
        let block = self.part(Speech::Text, index, part, sink)?;
        for known in self.items.iter_mut().flat_map(|item| &mut item.parts).filter(|known| known.block == block) {
            known.cited = true;
        }
        sink(Event::Citation { block, citation });
        Ok(())
    }

    /// A part is complete: what did not come before stands in it whole.
    pub(super) fn part_done(
        &mut self,
        index: u64,
        part: u64,
        mut contents: Cursor<'_>,
        sink: Sink<'_>,
    ) -> Result<Step, JsonError> {
        let contents = Contents::read(&mut contents)?;
        Ok(self.contents(index, part, contents, sink))
    }

    fn contents(&mut self, index: u64, part: u64, contents: Contents<'_>, sink: Sink<'_>) -> Step {
        let speech = match contents.kind.as_ref() {
            "refusal" => Speech::Refusal,
            "reasoning_text" => Speech::Raw,
            _ if contents.is_words() => Speech::Text,
            _ => {
                sink(Event::Dropped { field: Field::Unknown });
                return Ok(());
            }
        };
        self.whole(speech, index, part, contents.text, sink)?;
        if speech != Speech::Text {
            return Ok(());
        }
        let item = self.items.iter().find(|item| item.index == index);
        let known = item.and_then(|item| item.parts.iter().find(|known| known.speech == speech && known.index == part));
        if known.is_some_and(|known| known.open && !known.cited) {
            for citation in contents.citations {
                self.cite(index, part, citation, sink)?;
            }
        }
        self.close_part(index, part, sink);
        Ok(())
    }

    fn close_part(&mut self, index: u64, part: u64, sink: Sink<'_>) {
        let item = self.items.iter_mut().find(|item| item.index == index);
        for known in item.into_iter().flat_map(|item| &mut item.parts) {
            if known.open && known.speech == Speech::Text && known.index == part {
                known.open = false;
                sink(Event::BlockStop { block: known.block });
            }
        }
    }

    /// An item is complete: what did not come before stands in it whole.
    pub(super) fn done(&mut self, index: u64, mut item: Cursor<'_>, sink: Sink<'_>) -> Result<Step, JsonError> {
        let item = Item::read(&mut item)?;
        let at = match self.state(index) {
            Ok(at) => at,
            Err(fault) => return Ok(Err(fault)),
        };
        if self.items.get(at).is_some_and(|state| state.done) {
            return Ok(Ok(()));
        }
        let step = match item.kind.as_ref() {
            "message" => self.message_done(index, item, sink)?,
            "reasoning" => self.reasoning_done(index, item, sink)?,
            kind if is_call(kind) => self.call_done(at, item, sink),
            kind if is_server_item(kind) => {
                self.server_tool(&item, sink);
                Ok(())
            }
            _ => {
                sink(Event::Dropped { field: Field::Unknown });
                Ok(())
            }
        };
        if let Some(state) = self.items.get_mut(at) {
            state.done = true;
            close(state, sink);
        }
        Ok(step)
    }

    fn message_done(&mut self, index: u64, item: Item<'_>, sink: Sink<'_>) -> Result<Step, JsonError> {
        report(&item, sink);
        let Some(mut list) = item.content else { return Ok(Ok(())) };
        if list.peek()? == JsonKind::String {
            let text = list.text()?;
            return Ok(self.whole(Speech::Text, index, 0, Some(text), sink));
        }
        let mut step = Ok(());
        let mut part = 0;
        list.array::<JsonError>(|_, value| {
            let contents = Contents::read(value)?;
            if step.is_ok() {
                step = self.contents(index, part, contents, sink);
            }
            part += 1;
            Ok(())
        })?;
        Ok(step)
    }

    fn reasoning_done(&mut self, index: u64, mut item: Item<'_>, sink: Sink<'_>) -> Result<Step, JsonError> {
        report(&item, sink);
        let state = item.native_state();
        for (list, speech) in [(item.summary.take(), Speech::Summary), (item.content.take(), Speech::Raw)] {
            let Some(mut list) = list else { continue };
            let mut step = Ok(());
            let mut part = 0;
            if list.peek()? == JsonKind::Array {
                list.array::<JsonError>(|_, value| {
                    let contents = Contents::read(value)?;
                    if step.is_ok() {
                        step = self.whole(speech, index, part, contents.text, sink);
                    }
                    part += 1;
                    Ok(())
                })?;
            }
            if step.is_err() {
                return Ok(step);
            }
        }
        if let Some(opaque) = state {
            self.seal(index, opaque, sink);
        }
        Ok(Ok(()))
    }

    /// State belongs to the last block of its item; where there are no words, to a block without any.
    fn seal(&mut self, index: u64, opaque: Opaque<'_>, sink: Sink<'_>) {
        let item = self.items.iter().find(|item| item.index == index);
        let open = item.and_then(|item| item.parts.iter().rev().find(|part| part.open)).map(|part| part.block);
        let block = open.unwrap_or_else(|| {
            let block = self.next;
            self.next = self.next.saturating_add(1);
            sink(Event::BlockStart { block, candidate: 0, head: Head::Redacted });
            block
        });
        sink(Event::Opaque { block, opaque });
        if open.is_none() {
            sink(Event::BlockStop { block });
        }
    }

    fn call_done(&mut self, at: usize, mut item: Item<'_>, sink: Sink<'_>) -> Step {
        let input = item.input.take();
        if item.flavor() == Flavor::Function && item.name.is_none() {
            let known = self.items.get(at).is_some_and(|state| state.call.is_some());
            if !known {
                return Err(broken("a tool call without a name"));
            }
        }
        self.begin_call(at, item, sink);
        match self.items.get(at).map(|state| state.index) {
            Some(index) => self.whole_input(index, input, sink),
            None => Ok(()),
        }
    }

    fn server_tool(&mut self, item: &Item<'_>, sink: Sink<'_>) {
        let block = self.next;
        self.next = self.next.saturating_add(1);
        sink(Event::BlockStart { block, candidate: 0, head: Head::ServerTool { format: OWN, raw: item.raw() } });
        sink(Event::BlockStop { block });
    }

    /// The items of a complete answer that no event told of.
    pub(super) fn rest(&mut self, output: &mut Cursor<'_>, sink: Sink<'_>) -> Result<Step, JsonError> {
        let mut step = Ok(());
        let mut index = 0;
        output.array::<JsonError>(|_, value| {
            let at = index;
            index += 1;
            if step.is_err() || value.peek()? != JsonKind::Object {
                return value.skip();
            }
            let start = value.clone();
            let id = super::wire::word_of(value, "id")?;
            let known = self.items.iter().any(|item| item.index == at || (!id.is_empty() && item.id == id));
            value.skip()?;
            if !known {
                step = self.done(at, start, sink)?;
            }
            Ok(())
        })?;
        Ok(step)
    }

    /// Closes what is open.
    pub(super) fn close(&mut self, sink: Sink<'_>) -> Step {
        for state in &mut self.items {
            close(state, sink);
        }
        Ok(())
    }
}

fn is_call(kind: &str) -> bool {
    matches!(kind, "function_call" | "custom_tool_call")
}

/// Tells of fields of an item that the hub has no place for.
fn report(item: &Item<'_>, sink: Sink<'_>) {
    for extra in &item.extras {
        sink(Event::Dropped { field: extra.field });
    }
}

fn close(state: &mut State, sink: Sink<'_>) {
    for part in state.parts.iter_mut().filter(|part| part.open) {
        part.open = false;
        sink(Event::BlockStop { block: part.block });
    }
    if let Some(call) = state.call.as_mut().filter(|call| call.open) {
        call.open = false;
        sink(Event::BlockStop { block: call.block });
    }
}

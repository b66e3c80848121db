//! The items of a stream, as far as they came.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher as _};

use super::item::Item;
use super::wire::read_annotation;
use crate::hub::{Citation, Event, Fault, FaultKind, Head, ThinkingKind, ids};
use crate::json::{Cursor, JsonError, Text};

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

/// A part: what it says, the number of its item, and its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// What it says.
    pub speech: Speech,
    /// Its item.
    pub item: u64,
    /// Itself.
    pub part: u64,
}

/// All items, in the order in which they appeared.
#[derive(Debug, Default)]
pub(super) struct Items {
    /// The provider's id of the answer, from which missing ids of calls derive.
    id: String,
    /// Number of the next hub block.
    pub next: u32,
    pub list: Vec<State>,
    called: bool,
    crowded: bool,
    /// The item whose arguments the event at hand let grow.
    pub grown: Option<u64>,
    /// The message whose words came last.
    spoke: Option<u64>,
}

#[derive(Debug)]
pub(super) struct State {
    /// Its number here: how many items were known before it.
    pub index: u64,
    /// Its `output_index`, which is that of every item with some servers.
    pub output: u64,
    pub id: String,
    pub parts: Vec<Part>,
    pub call: Option<Call>,
    pub done: bool,
    /// It began with an event that told no place.
    pub adrift: bool,
    /// The complete answer has it.
    pub found: bool,
}

/// A part of a message or of reasoning, which has a block of its own.
#[derive(Debug)]
pub(super) struct Part {
    speech: Speech,
    index: u64,
    pub block: u32,
    pub open: bool,
    pub cited: bool,
    /// Words of it came.
    said: bool,
}

impl Part {
    /// True for a part of reasoning.
    pub(super) fn is_thought(&self) -> bool {
        matches!(self.speech, Speech::Summary | Speech::Raw)
    }

    fn is_at(&self, place: Place) -> bool {
        self.speech == place.speech && self.index == place.part
    }
}

#[derive(Debug)]
pub(super) struct Call {
    block: u32,
    open: bool,
    said: SaidInput,
}

/// What deltas brought of a call's arguments, so that what a whole holds beyond them is known.
#[derive(Debug, Default)]
struct SaidInput {
    /// In bytes, unescaped.
    len: usize,
    hash: DefaultHasher,
}

impl SaidInput {
    fn note(&mut self, fragment: &Text<'_>) {
        let plain = fragment.plain();
        self.len += plain.len();
        self.hash.write(plain.as_bytes());
    }

    /// What `whole` goes on with behind what was said; nothing where it does not begin with that.
    fn rest_of<'w>(&self, whole: &'w str) -> &'w str {
        let Some((begin, rest)) = whole.split_at_checked(self.len) else { return "" };
        let mut hash = DefaultHasher::new();
        hash.write(begin.as_bytes());
        if hash.finish() == self.hash.finish() { rest } else { "" }
    }
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
    pub(super) fn added(
        &mut self,
        output: Option<u64>,
        mut item: Cursor<'_>,
        sink: Sink<'_>,
    ) -> Result<Step, JsonError> {
        let item = Item::read(&mut item)?;
        Ok(self.of(output, &item, false).map(|at| {
            if is_call(&item.kind) && item.name.is_some() {
                self.begin_call(at, item, sink);
            }
        }))
    }

    /// The number of the item that an event is about; the item is new if nothing told of it. It is known by its id, and by
    /// its place where the event names no id that is known.
    pub(super) fn about(&mut self, output: Option<u64>, id: &Text<'_>) -> Result<u64, Fault<'static>> {
        if let Some(known) = self.with_id(id.escaped()) {
            return Ok(known.index);
        }
        let place = output.or(self.list.last().map(|last| last.output)).unwrap_or_default();
        if let Some(known) = self.list.iter().rev().find(|item| item.output == place) {
            return Ok(known.index);
        }
        let index = self.push(place)?;
        if let Some(begun) = self.list.last_mut() {
            id.escaped().clone_into(&mut begun.id);
            begun.adrift = output.is_none();
        }
        Ok(index)
    }

    /// The place of an item that begins, or that is here as a `whole`.
    pub(super) fn of(&mut self, output: Option<u64>, item: &Item<'_>, whole: bool) -> Result<usize, Fault<'static>> {
        let id = item.id.as_ref().map(Text::escaped).unwrap_or_default();
        let differs = |known: &State| !known.id.is_empty() && !id.is_empty() && known.id != id;
        let index = if let Some(known) = self.with_id(id) {
            known.index
        } else {
            let at = |known: &&State| output.map_or(whole, |output| known.output == output);
            match self.list.iter().rev().find(at) {
                // Some servers give each item the same place; others an item another id once it is whole.
                Some(known) if known.done && (differs(known) || !whole) => self.push(known.output)?,
                Some(known) if differs(known) && !whole => self.push(known.output)?,
                Some(known) => known.index,
                None => self.push(output.unwrap_or(self.list.len() as u64))?,
            }
        };
        let at = self.state(index)?;
        if let Some(state) = self.list.get_mut(at).filter(|state| state.id.is_empty()) {
            id.clone_into(&mut state.id);
        }
        Ok(at)
    }

    /// True if two items have one place, so that places say nothing.
    pub(super) fn is_crowded(&self) -> bool {
        self.crowded
    }

    pub(super) fn with_id(&self, id: &str) -> Option<&State> {
        self.list.iter().rev().find(|item| !id.is_empty() && item.id == id)
    }

    pub(super) fn push(&mut self, output: u64) -> Result<u64, Fault<'static>> {
        if self.list.len() >= MOST {
            return Err(broken("too many items"));
        }
        self.crowded |= self.list.iter().any(|item| item.output == output);
        let index = self.list.len() as u64;
        let (id, parts) = (String::new(), Vec::new());
        self.list.push(State { index, output, id, parts, call: None, done: false, adrift: false, found: false });
        Ok(index)
    }

    /// The place of the item with this number.
    pub(super) fn state(&mut self, index: u64) -> Result<usize, Fault<'static>> {
        let found = self.list.iter().rposition(|item| item.index == index);
        found.ok_or_else(|| broken("an item that is not there"))
    }

    pub(super) fn begin_call(&mut self, at: usize, mut item: Item<'_>, sink: Sink<'_>) {
        let (flavor, block) = (item.flavor(), self.next);
        let Some(state) = self.list.get_mut(at).filter(|state| state.call.is_none()) else { return };
        let id = item.call_id.take().or_else(|| item.id.take().map(Text::into_plain));
        let id = id.unwrap_or_else(|| Cow::Owned(ids::derived("call_", &format!("{}/{}", self.id, state.output))));
        state.call = Some(Call { block, open: true, said: SaidInput::default() });
        self.next = self.next.saturating_add(1);
        self.called = true;
        let name = item.full_name();
        sink(Event::BlockStart { block, candidate: 0, head: Head::ToolCall { id, name, flavor } });
        report(&item, sink);
    }

    /// Words of a part grow.
    pub(super) fn words(&mut self, place: Place, text: Text<'_>, sink: Sink<'_>) -> Step {
        let block = self.part(place, true, sink)?;
        sink(Event::TextDelta { block, text });
        Ok(())
    }

    /// The open block of a part; begun, with the one before it closed, if there is none. `said` where words of it come.
    fn part(&mut self, place: Place, said: bool, sink: Sink<'_>) -> Result<u32, Fault<'static>> {
        let at = self.state(place.item)?;
        let Self { next, list, spoke, .. } = self;
        let Some(state) = list.get_mut(at) else { return Err(broken("an item that is not there")) };
        let same = |known: &&mut Part| known.is_at(place);
        if let Some(known) = state.parts.iter_mut().rev().find(same).filter(|known| known.open) {
            known.said |= said;
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
        state.parts.push(Part { speech: place.speech, index: place.part, block, open: true, cited: false, said });
        let head = match place.speech {
            Speech::Text => Head::Text,
            Speech::Refusal => Head::Refusal,
            Speech::Summary => Head::Thinking(ThinkingKind::Summary),
            Speech::Raw => Head::Thinking(ThinkingKind::Raw),
        };
        if head == Head::Text && spoke.replace(place.item).is_some_and(|other| other != place.item) {
            sink(Event::Apart { candidate: 0 });
        }
        sink(Event::BlockStart { block, candidate: 0, head });
        Ok(block)
    }

    /// The whole of a part: said only if no delta brought it.
    pub(super) fn whole(&mut self, place: Place, text: Option<Text<'_>>, sink: Sink<'_>) -> Step {
        match text.filter(|text| !text.is_empty()) {
            Some(text) if self.known(place).is_none_or(|known| !known.said) => self.words(place, text, sink),
            _ => Ok(()),
        }
    }

    pub(super) fn known(&self, place: Place) -> Option<&Part> {
        let item = self.list.iter().rev().find(|item| item.index == place.item)?;
        item.parts.iter().rev().find(|known| known.is_at(place))
    }

    /// Arguments grow. Those of a call that was not announced wait for the whole item, which names it.
    pub(super) fn input(&mut self, index: u64, fragment: Option<Text<'_>>, sink: Sink<'_>) -> Step {
        let Some(fragment) = fragment.filter(|fragment| !fragment.is_empty()) else { return Ok(()) };
        let item = self.list.iter_mut().rev().find(|item| item.index == index);
        let Some(call) = item.and_then(|item| item.call.as_mut()) else { return Ok(()) };
        if !call.open {
            return Err(broken("arguments of a call that was complete"));
        }
        call.said.note(&fragment);
        self.grown = Some(index);
        sink(Event::ArgumentsDelta { block: call.block, fragment });
        Ok(())
    }

    /// The last event came again with other words.
    pub(super) fn again(&mut self, words: &Text<'_>) {
        let grown = self.grown;
        let item = self.list.iter_mut().rev().find(|item| Some(item.index) == grown);
        if let Some(call) = item.and_then(|item| item.call.as_mut()) {
            call.said.note(words);
        }
    }

    /// The whole arguments: said as far as no delta brought them.
    pub(super) fn whole_input(&mut self, index: u64, input: Option<Text<'_>>, sink: Sink<'_>) -> Step {
        let item = self.list.iter().rev().find(|item| item.index == index);
        let call = item.and_then(|item| item.call.as_ref()).filter(|call| call.open);
        let (Some(call), Some(input)) = (call, input) else { return Ok(()) };
        if call.said.len == 0 {
            return self.input(index, Some(input), sink);
        }
        let whole = input.plain();
        let rest = call.said.rest_of(&whole);
        self.input(index, Some(Text::from_plain(rest)), sink)
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

    pub(super) fn cite(&mut self, index: u64, part: u64, citation: Citation<'_>, sink: Sink<'_>) -> Step {
        let place = Place { speech: Speech::Text, item: index, part };
        let block = match self.known(place) {
            Some(known) => known.block,
            None => self.part(place, false, sink)?,
        };
        for known in self.list.iter_mut().flat_map(|item| &mut item.parts).filter(|known| known.block == block) {
            known.cited = true;
        }
        sink(Event::Citation { block, citation });
        Ok(())
    }

    pub(super) fn close_part(&mut self, index: u64, part: u64, sink: Sink<'_>) {
        let item = self.list.iter_mut().find(|item| item.index == index);
        for known in item.into_iter().flat_map(|item| &mut item.parts) {
            if known.open && known.speech == Speech::Text && known.index == part {
                known.open = false;
                sink(Event::BlockStop { block: known.block });
            }
        }
    }

    /// Closes what is open.
    pub(super) fn close(&mut self, sink: Sink<'_>) {
        for state in &mut self.list {
            close(state, sink);
        }
    }
}

pub(super) fn is_call(kind: &str) -> bool {
    matches!(kind, "function_call" | "custom_tool_call")
}

/// Tells of fields of an item that the hub has no place for.
pub(super) fn report(item: &Item<'_>, sink: Sink<'_>) {
    for extra in &item.extras {
        sink(Event::Dropped { field: extra.field });
    }
}

pub(super) fn close(state: &mut State, sink: Sink<'_>) {
    for part in state.parts.iter_mut().filter(|part| part.open) {
        part.open = false;
        sink(Event::BlockStop { block: part.block });
    }
    if let Some(call) = state.call.as_mut().filter(|call| call.open) {
        call.open = false;
        sink(Event::BlockStop { block: call.block });
    }
}

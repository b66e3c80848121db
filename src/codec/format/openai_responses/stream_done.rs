//! The ends of a stream's items: what no delta brought is taken from where it stands whole.

use super::item::{Content, Item, Part as Contents};
use super::stream_items::{Items, Part, Place, Sink, Speech, State, Step, broken, close, is_call, report};
use super::wire::{OWN, is_server_item, word_of};
use crate::hub::{Event, Field, Flavor, Head, Opaque};
use crate::json::{Cursor, JsonError, Kind as JsonKind};

impl Items {
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
        tell(&contents, sink);
        let place = Place { speech, item: index, part };
        self.whole(place, contents.text, sink)?;
        if speech != Speech::Text {
            return Ok(());
        }
        if self.known(place).is_some_and(|known| !known.cited) {
            for citation in contents.citations {
                self.cite(index, part, citation, sink)?;
            }
        }
        self.close_part(index, part, sink);
        Ok(())
    }

    /// An item is complete: what did not come before stands in it whole.
    pub(super) fn done(
        &mut self,
        output: Option<u64>,
        mut item: Cursor<'_>,
        sink: Sink<'_>,
    ) -> Result<Step, JsonError> {
        let item = Item::read(&mut item)?;
        let at = match self.of(output, &item, true) {
            Ok(at) => at,
            Err(fault) => return Ok(Err(fault)),
        };
        self.complete(at, item, sink)
    }

    /// Takes the item at `at` as it is whole, unless it was whole before.
    fn complete(&mut self, at: usize, item: Item<'_>, sink: Sink<'_>) -> Result<Step, JsonError> {
        let Some(index) = self.list.get(at).filter(|state| !state.done).map(|state| state.index) else {
            return Ok(Ok(()));
        };
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
        if let Some(state) = self.list.get_mut(at) {
            state.done = true;
            close(state, sink);
        }
        Ok(step)
    }

    fn message_done(&mut self, index: u64, item: Item<'_>, sink: Sink<'_>) -> Result<Step, JsonError> {
        report(&item, sink);
        let mut list = match item.content {
            Some(Content::Parts(list)) => list,
            Some(Content::Words(text)) => {
                return Ok(self.whole(Place { speech: Speech::Text, item: index, part: 0 }, Some(text), sink));
            }
            None => return Ok(Ok(())),
        };
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
        let content = item.content.take().and_then(Content::into_parts);
        for (list, speech) in [(item.summary.take(), Speech::Summary), (content, Speech::Raw)] {
            let Some(mut list) = list else { continue };
            let mut step = Ok(());
            let mut part = 0;
            list.array::<JsonError>(|_, value| {
                let contents = Contents::read(value)?;
                tell(&contents, sink);
                if step.is_ok() {
                    step = self.whole(Place { speech, item: index, part }, contents.text, sink);
                }
                part += 1;
                Ok(())
            })?;
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
        let item = self.list.iter().find(|item| item.index == index);
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
            let known = self.list.get(at).is_some_and(|state| state.call.is_some());
            if !known {
                return Err(broken("a tool call without a name"));
            }
        }
        if self.list.get(at).is_some_and(|state| state.call.is_some()) {
            report(&item, sink);
        }
        self.begin_call(at, item, sink);
        match self.list.get(at).map(|state| state.index) {
            Some(index) => self.whole_input(index, input, sink),
            None => Ok(()),
        }
    }

    fn server_tool(&mut self, item: &Item<'_>, sink: Sink<'_>) {
        if item.id.is_none() {
            // Nobody could refer to it, and the vendor's SDKs want one.
            return sink(Event::Dropped { field: Field::ServerTool });
        }
        let block = self.next;
        self.next = self.next.saturating_add(1);
        sink(Event::BlockStart { block, candidate: 0, head: Head::ServerTool { format: OWN, raw: item.raw() } });
        sink(Event::BlockStop { block });
    }

    /// The items of a complete answer, as far as no event told of them.
    pub(super) fn rest(&mut self, output: &mut Cursor<'_>, sink: Sink<'_>) -> Result<Step, JsonError> {
        let mut step = Ok(());
        let mut place = 0;
        let crowded = self.is_crowded();
        let all = output.clone();
        output.array::<JsonError>(|_, value| {
            let output = place;
            place += 1;
            if step.is_err() || value.peek()? != JsonKind::Object {
                return value.skip();
            }
            let mut start = value.clone();
            let (id, kind) = (word_of(value, "id")?, word_of(value, "type")?);
            value.skip()?;
            let at = match self.announced(output, (&id, &kind), crowded, &all)? {
                Some(at) if !self.list.get(at).is_some_and(|known| known.lacks(&kind)) => return Ok(()),
                Some(at) => at,
                None => match self.push(output) {
                    Ok(index) => usize::try_from(index).unwrap_or(usize::MAX),
                    Err(fault) => {
                        step = Err(fault);
                        return Ok(());
                    }
                },
            };
            if let Some(item) = self.list.get_mut(at) {
                item.found = true;
            }
            step = self.complete(at, Item::read(&mut start)?, sink)?;
            Ok(())
        })?;
        Ok(step)
    }

    /// Where the item of this kind is that stands at `output` in a complete answer: by its id, else by its place, else among
    /// those that came without a place, else among those of its kind that the answer has nowhere: some servers give other ids
    /// at the end, and leave items out. `all` stands at the answer's items.
    fn announced(
        &mut self,
        output: u64,
        (id, kind): (&str, &str),
        crowded: bool,
        all: &Cursor<'_>,
    ) -> Result<Option<usize>, JsonError> {
        let known = self.list.iter().rposition(|item| !id.is_empty() && item.id == id);
        let placed = || {
            if crowded {
                // Places say nothing: all that is known is how many items came.
                usize::try_from(output).ok().filter(|at| *at < self.list.len())
            } else {
                self.list.iter().rposition(|item| item.output == output && item.may_be(kind))
            }
        };
        let adrift = || self.list.iter().position(|item| item.adrift && item.may_be(kind));
        let at = match known.or_else(placed).or_else(adrift) {
            Some(at) => Some(at),
            None => self.renamed(kind, all)?,
        };
        if let Some(found) = at.and_then(|at| self.list.get_mut(at)) {
            (found.adrift, found.found) = (false, true);
        }
        Ok(at)
    }

    /// An item of this kind of which something was told, and whose id none of `all` has.
    fn renamed(&self, kind: &str, all: &Cursor<'_>) -> Result<Option<usize>, JsonError> {
        let told = |item: &State| !item.found && (item.call.is_some() || !item.parts.is_empty()) && item.may_be(kind);
        if !self.list.iter().any(told) {
            return Ok(None);
        }
        let mut ids = Vec::new();
        all.clone().array::<JsonError>(|_, value| {
            ids.push(word_of(value, "id")?.into_owned());
            Ok(())
        })?;
        Ok(self.list.iter().position(|item| told(item) && (item.id.is_empty() || !ids.contains(&item.id))))
    }
}

impl State {
    /// True where what came of it can be of an item of this kind.
    fn may_be(&self, kind: &str) -> bool {
        match (&self.call, self.parts.first().map(Part::is_thought)) {
            (Some(_), _) => is_call(kind),
            (None, Some(thought)) => kind == if thought { "reasoning" } else { "message" },
            (None, None) => true,
        }
    }

    /// True where the whole item of this kind has more: nothing came of it yet, or it is a call, whose arguments may have broken
    /// off.
    fn lacks(&self, kind: &str) -> bool {
        !self.done && (self.parts.is_empty() || is_call(kind))
    }
}

/// Tells of fields of a part that the hub has no place for.
fn tell(contents: &Contents<'_>, sink: Sink<'_>) {
    for extra in &contents.extras {
        sink(Event::Dropped { field: extra.field });
    }
}

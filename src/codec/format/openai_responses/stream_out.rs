//! The items of a stream for a client: begun, growing, done, and kept until the end repeats them.

use std::sync::Arc;

use super::envelope::{self, State};
use super::output::{self, Body, Identity, Item, Logprobs, Part, words_of};
use crate::format::Reply;
use crate::format::kept::keep;
use crate::hub::{Flavor, ThinkingKind};
use crate::json::{Text, Writer as JsonWriter, write};
use crate::recall::Recall;

/// Most bytes of an answer that are kept to be repeated; no model gives as much.
const KEPT_LIMIT: usize = 16 << 20;

/// The `output_index` of an item, and the number of a part in it.
pub(super) type Place = (usize, usize);

/// The items so far.
#[derive(Debug)]
pub(super) struct Out {
    /// Of the answer.
    pub identity: Identity,
    /// Number of the next event.
    sequence: u64,
    slots: Vec<Slot>,
    kept: usize,
    /// Who keeps the items, for a client that refers to them.
    recall: Option<Arc<dyn Recall>>,
}

/// An item; its place is its `output_index`.
#[derive(Debug)]
struct Slot {
    item: Item,
    /// The whole item's JSON, once it is done; what it is made of is let go then.
    done: Option<String>,
    /// Parts that are open.
    open: usize,
}

impl Out {
    /// No items, of an answer that becomes `reply`.
    pub(super) fn new(identity: Identity, reply: &Reply) -> Self {
        Self { identity, sequence: 0, slots: Vec::new(), kept: 0, recall: reply.keeper().map(Arc::clone) }
    }

    /// The next event stands behind `events` others.
    pub(super) fn resume(&mut self, events: u64) {
        self.sequence = events;
    }

    /// True while no item began.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// True when more was said than can be kept.
    pub(super) fn is_full(&self) -> bool {
        self.kept > KEPT_LIMIT
    }

    /// Writes one event: its type, what `fields` says, and its number.
    pub(super) fn event(&mut self, name: &str, out: &mut Vec<u8>, fields: impl FnOnce(&mut JsonWriter<'_>)) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        let mut w = JsonWriter::new(out);
        w.open_object().key("type").plain(name);
        fields(&mut w);
        w.key("sequence_number").number(self.sequence).close_object();
        self.sequence = self.sequence.saturating_add(1);
        out.extend_from_slice(b"\n\n");
    }

    /// Writes an event that holds the response object.
    pub(super) fn response(&mut self, name: &str, reply: &Reply, state: State<'_>, out: &mut Vec<u8>) {
        let items = self.items();
        let identity = self.identity.clone();
        self.event(name, out, |w| {
            w.key("response").open_object();
            envelope::write(&identity, reply, state, &items, w);
            w.close_object();
        });
    }

    /// All items between commas; those that are not done as far as they came.
    fn items(&self) -> String {
        let mut all = Vec::new();
        let mut w = JsonWriter::new(&mut all);
        for slot in &self.slots {
            match &slot.done {
                Some(done) => {
                    w.verbatim(done);
                }
                None => slot.item.write("incomplete", &mut w),
            }
        }
        String::from_utf8(all).unwrap_or_default()
    }

    /// Begins an item and returns its place.
    pub(super) fn begin(&mut self, prefix: &str, body: Body, out: &mut Vec<u8>) -> usize {
        let at = self.slots.len();
        let item = Item { id: self.identity.item_id(prefix, at), body };
        self.event("response.output_item.added", out, |w| {
            w.key("output_index").number(at as u64).key("item");
            item.write_begun(w);
        });
        self.kept = self.kept.saturating_add(size_of::<Slot>());
        self.slots.push(Slot { item, done: None, open: 0 });
        at
    }

    /// True when the message at `at` can take another part.
    pub(super) fn is_idle(&self, at: usize) -> bool {
        self.slots.get(at).is_some_and(|slot| slot.open == 0 && slot.done.is_none())
    }

    /// Writes an event of the item at `at`.
    fn of_item(&mut self, name: &str, at: usize, out: &mut Vec<u8>, fields: impl FnOnce(&mut JsonWriter<'_>)) {
        let id = self.slots.get(at).map(|slot| slot.item.id.clone()).unwrap_or_default();
        self.event(name, out, |w| {
            w.key("item_id").plain(&id).key("output_index").number(at as u64);
            fields(w);
        });
    }

    /// What every delta of an item begins with, up to its words; `part` is the key and number of its part.
    pub(super) fn prefix(&self, name: &str, at: usize, part: Option<(&str, usize)>) -> Vec<u8> {
        let mut prefix = Vec::with_capacity(192);
        for piece in ["event: ", name, "\ndata: {\"type\":\"", name, "\",\"item_id\":\""] {
            prefix.extend_from_slice(piece.as_bytes());
        }
        prefix.extend_from_slice(self.slots.get(at).map(|slot| slot.item.id.as_bytes()).unwrap_or_default());
        prefix.extend_from_slice(b"\",\"output_index\":");
        write::push_number(at as u64, &mut prefix);
        if let Some((key, part)) = part {
            for piece in [",\"", key, "\":"] {
                prefix.extend_from_slice(piece.as_bytes());
            }
            write::push_number(part as u64, &mut prefix);
        }
        prefix.extend_from_slice(b",\"delta\":\"");
        prefix
    }

    /// Writes a delta and keeps its words.
    pub(super) fn delta(&mut self, prefix: &[u8], place: Place, text: &Text<'_>, out: &mut Vec<u8>) {
        self.delta_with(prefix, place, (text, &Logprobs::default()), out);
    }

    /// As [`delta`](Self::delta), with the log probabilities of its words, between commas.
    pub(super) fn delta_with(
        &mut self,
        prefix: &[u8],
        (at, part): Place,
        (text, logprobs): (&Text<'_>, &Logprobs),
        out: &mut Vec<u8>,
    ) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        let mut is_words = false;
        match &mut slot.item.body {
            Body::Message(parts) => {
                if let Some(part) = parts.get_mut(part) {
                    keep(&mut part.text, text.escaped());
                    is_words = !part.refusal;
                    part.logprobs.push(logprobs);
                }
            }
            Body::Reasoning { text: all, .. } | Body::Call { input: all, .. } => keep(all, text.escaped()),
            Body::Raw(_) => {}
        }
        self.kept = self.kept.saturating_add(text.escaped().len());
        out.extend_from_slice(prefix);
        write::push_escaped(text.escaped(), out);
        out.push(b'"');
        if is_words {
            out.extend_from_slice(b",\"logprobs\":[");
            out.extend_from_slice(logprobs.event.as_bytes());
            out.push(b']');
        }
        out.extend_from_slice(b",\"sequence_number\":");
        write::push_number(self.sequence, out);
        out.extend_from_slice(b"}\n\n");
        self.sequence = self.sequence.saturating_add(1);
    }

    /// Begins a part of the message at `at` and returns its place.
    pub(super) fn begin_part(&mut self, at: usize, refusal: bool, out: &mut Vec<u8>) -> Place {
        let Some(Slot { item: Item { body: Body::Message(parts), .. }, open, .. }) = self.slots.get_mut(at) else {
            return (at, 0);
        };
        let number = parts.len();
        *open += 1;
        parts.push(Part { refusal, ..Part::default() });
        let empty = Part { refusal, ..Part::default() };
        self.of_item("response.content_part.added", at, out, |w| {
            w.key("content_index").number(number as u64).key("part");
            empty.write(w);
        });
        (at, number)
    }

    /// A part of a message, to add to what is kept of it.
    pub(super) fn part(&mut self, (at, part): Place) -> Option<&mut Part> {
        match &mut self.slots.get_mut(at)?.item.body {
            Body::Message(parts) => parts.get_mut(part),
            _ => None,
        }
    }

    /// Accounts for bytes that are kept beside deltas.
    pub(super) fn keep(&mut self, bytes: usize) {
        self.kept = self.kept.saturating_add(bytes);
    }

    /// Tells of a source that is in the part already, as number `number` of its annotations.
    pub(super) fn annotation(&mut self, (at, part): Place, number: u64, json: &str, out: &mut Vec<u8>) {
        self.of_item("response.output_text.annotation.added", at, out, |w| {
            w.key("content_index").number(part as u64).key("annotation_index").number(number);
            w.key("annotation").verbatim(json);
        });
    }

    /// Ends a part of a message: its words, then the part, whole.
    pub(super) fn end_part(&mut self, (at, number): Place, out: &mut Vec<u8>) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        slot.open = slot.open.saturating_sub(1);
        let Body::Message(parts) = &mut slot.item.body else { return };
        let Some(part) = parts.get_mut(number).map(std::mem::take) else { return };
        let name = if part.refusal { "response.refusal.done" } else { "response.output_text.done" };
        self.of_item(name, at, out, |w| {
            w.key("content_index").number(number as u64);
            let text = Text::from_escaped(part.text.as_str());
            if part.refusal {
                w.key("refusal").text(&text);
            } else {
                w.key("text").text(&text);
                output::list("logprobs", &part.logprobs.event, w);
            }
        });
        self.of_item("response.content_part.done", at, out, |w| {
            w.key("content_index").number(number as u64).key("part");
            part.write(w);
        });
        if let Some(kept) = self.part((at, number)) {
            *kept = part;
        }
    }

    /// Begins the words of the reasoning at `at`.
    pub(super) fn begin_thought(&mut self, at: usize, kind: ThinkingKind, out: &mut Vec<u8>) {
        match kind {
            ThinkingKind::Summary => self.of_item("response.reasoning_summary_part.added", at, out, |w| {
                w.key("summary_index").number(0).key("part").verbatim(r#"{"type":"summary_text","text":""}"#);
            }),
            ThinkingKind::Raw => self.of_item("response.content_part.added", at, out, |w| {
                w.key("content_index").number(0).key("part").verbatim(r#"{"type":"reasoning_text","text":""}"#);
            }),
        }
    }

    /// Ends the words of the reasoning at `at`.
    pub(super) fn end_thought(&mut self, at: usize, kind: ThinkingKind, out: &mut Vec<u8>) {
        let Some(Slot { item: Item { body: Body::Reasoning { text, .. }, .. }, .. }) = self.slots.get_mut(at) else {
            return;
        };
        let kept = std::mem::take(text);
        let text = Text::from_escaped(kept.as_str());
        let (words, part, key, part_type) = match kind {
            ThinkingKind::Summary => {
                let part = "response.reasoning_summary_part.done";
                ("response.reasoning_summary_text.done", part, "summary_index", "summary_text")
            }
            ThinkingKind::Raw => {
                ("response.reasoning_text.done", "response.content_part.done", "content_index", "reasoning_text")
            }
        };
        self.of_item(words, at, out, |w| {
            w.key(key).number(0).key("text").text(&text);
        });
        self.of_item(part, at, out, |w| {
            w.key(key).number(0).key("part").open_object().key("type").plain(part_type);
            w.key("text").text(&text).close_object();
        });
        if let Some(Slot { item: Item { body: Body::Reasoning { text, .. }, .. }, .. }) = self.slots.get_mut(at) {
            *text = kept;
        }
    }

    /// Gives the reasoning at `at` its state.
    pub(super) fn seal(&mut self, at: usize, value: String) {
        self.kept = self.kept.saturating_add(value.len());
        if let Some(Slot { item: Item { body: Body::Reasoning { encrypted, .. }, .. }, .. }) = self.slots.get_mut(at) {
            *encrypted = Some(value);
        }
    }

    /// Ends the call at `at`: its arguments whole, then the item.
    pub(super) fn end_call(&mut self, at: usize, out: &mut Vec<u8>) {
        let Some(Slot { item: Item { body: Body::Call { flavor, input, name, .. }, .. }, .. }) = self.slots.get_mut(at)
        else {
            return;
        };
        let (flavor, kept, name) = (*flavor, std::mem::take(input), name.clone());
        let status = output::call_status(flavor, &kept);
        let (_, key) = words_of(flavor);
        let event = match flavor {
            Flavor::Function => "response.function_call_arguments.done",
            Flavor::Custom => "response.custom_tool_call_input.done",
        };
        self.of_item(event, at, out, |w| {
            if flavor == Flavor::Function {
                w.key("name").plain(crate::hub::split_namespace(&name).1);
            }
            w.key(key).text(&Text::from_escaped(kept.as_str()));
        });
        if let Some(Slot { item: Item { body: Body::Call { input, .. }, .. }, .. }) = self.slots.get_mut(at) {
            *input = kept;
        }
        self.end(at, status, out);
    }

    /// Ends the item at `at`, whole, unless it ended.
    pub(super) fn end(&mut self, at: usize, status: &str, out: &mut Vec<u8>) {
        let Some(slot) = self.slots.get_mut(at).filter(|slot| slot.done.is_none()) else { return };
        let mut json = Vec::new();
        slot.item.write(status, &mut JsonWriter::new(&mut json));
        slot.item.body = Body::Raw(String::new());
        let json = String::from_utf8(json).unwrap_or_default();
        if let Some(recall) = &self.recall {
            recall.keep_item(&slot.item.id, &json);
        }
        self.event("response.output_item.done", out, |w| {
            w.key("output_index").number(at as u64).key("item").verbatim(&json);
        });
        if let Some(slot) = self.slots.get_mut(at) {
            slot.done = Some(json);
        }
    }
}

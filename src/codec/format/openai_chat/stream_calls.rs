//! Tool calls of a stream: which call does a piece belong to?
//!
//! By the format, `index` says it, and `id` and `name` come once. Servers differ: `index` missing, a new `id` with
//! every piece, the name in every piece, one `index` for several calls, with or without ids.

use super::answer::CallPiece;
use crate::Format;
use crate::format::depth::Depth;
use crate::hub::{Event, Field, Flavor, Head, Opaque, OpaqueKind, ThinkingKind, ids};
use crate::json::Text;

/// Most calls in one answer.
const MOST: usize = 1024;

/// The calls of one answer.
#[derive(Debug, Default)]
pub(super) struct Calls {
    list: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    index: Option<u64>,
    /// Empty until known.
    id: String,
    /// The id is the server's.
    identified: bool,
    /// Empty until known.
    name: String,
    /// How far its arguments are, where nothing else tells it from the next call.
    depth: Depth,
    /// Number of the block, once the name is known.
    block: Option<u32>,
    /// Arguments that came before the name, escaped.
    held: String,
    /// A signature that came before the name, escaped.
    signature: Option<String>,
    flavor: Flavor,
}

impl Calls {
    /// True when there is a call.
    pub(super) fn any(&self) -> bool {
        !self.list.is_empty()
    }

    /// True when each piece must be looked at for where a call's arguments end.
    pub(super) fn any_followed(&self) -> bool {
        self.list.iter().any(Call::is_followed)
    }

    /// True when a call has no name to the end.
    pub(super) fn any_nameless(&self) -> bool {
        self.list.iter().any(|call| call.block.is_none())
    }

    /// Takes a piece of answer `candidate`.
    #[allow(clippy::too_many_arguments, reason = "the stream's own counters, which a struct would only hide")]
    pub(super) fn piece(
        &mut self,
        mut piece: CallPiece<'_>,
        response: &str,
        candidate: u32,
        next: &mut u32,
        sink: &mut (dyn FnMut(Event<'_>) + '_),
    ) {
        let Some(at) = self.find(&piece).or_else(|| self.add(&piece)) else {
            return sink(Event::Dropped { field: Field::ToolCall });
        };
        let Some(call) = self.list.get_mut(at) else { return };
        if call.id.is_empty()
            && let Some(id) = &piece.id
        {
            id.as_ref().clone_into(&mut call.id);
            call.identified = true;
        }
        if call.block.is_none()
            && let Some(name) = piece.name
        {
            if call.id.is_empty() {
                call.id = ids::derived("call_", &format!("{response}/{candidate}/{at}"));
            }
            if let Some(data) = piece.signature.take().or(call.signature.take().map(Text::from_escaped)) {
                signed(data, candidate, next, sink);
            }
            let block = *next;
            *next = next.saturating_add(1);
            call.block = Some(block);
            name.as_ref().clone_into(&mut call.name);
            let head = Head::ToolCall { id: call.id.as_str().into(), name, flavor: call.flavor };
            sink(Event::BlockStart { block, candidate, head });
            if !call.held.is_empty() {
                let fragment = Text::from_escaped(std::mem::take(&mut call.held));
                sink(Event::ArgumentsDelta { block, fragment });
            }
        }
        if let (Some(input), true) = (&piece.input, call.is_followed()) {
            call.depth.feed(input.escaped());
        }
        match (call.block, piece.input) {
            (Some(block), Some(fragment)) if !fragment.is_empty() => sink(Event::ArgumentsDelta { block, fragment }),
            (None, Some(fragment)) => call.held.push_str(fragment.escaped()),
            _ => {}
        }
        match (call.block, piece.signature) {
            (Some(block), Some(data)) => sink(Event::Opaque { block, opaque: signature(data) }),
            (None, Some(data)) => call.signature = Some(data.escaped().to_owned()),
            (_, None) => {}
        }
    }

    /// Closes every call.
    pub(super) fn close(&self, sink: &mut (dyn FnMut(Event<'_>) + '_)) {
        for block in self.list.iter().filter_map(|call| call.block) {
            sink(Event::BlockStop { block });
        }
    }

    fn find(&self, piece: &CallPiece<'_>) -> Option<usize> {
        let at = match (piece.index, piece.id.as_deref()) {
            (Some(index), _) => self.list.iter().rposition(|call| call.index == Some(index))?,
            (None, Some(id)) => self.list.iter().rposition(|call| call.id == id)?,
            (None, None) => self.list.len().checked_sub(1)?,
        };
        let call = self.list.get(at)?;
        let other_id = piece.id.as_deref().is_some_and(|id| !call.id.is_empty() && call.id != id);
        // A new id with a name is a new call, whatever the index says; without a name it is noise.
        let another = other_id && piece.name.is_some() && call.block.is_some();
        (!another && !call.is_left(piece)).then_some(at)
    }

    fn add(&mut self, piece: &CallPiece<'_>) -> Option<usize> {
        if self.list.len() >= MOST {
            return None;
        }
        self.list.push(Call {
            index: piece.index,
            id: String::new(),
            identified: false,
            name: String::new(),
            depth: Depth::default(),
            block: None,
            held: String::new(),
            signature: None,
            flavor: piece.flavor,
        });
        Some(self.list.len() - 1)
    }
}

impl Call {
    /// True where nothing but the end of its arguments tells it from the next call.
    fn is_followed(&self) -> bool {
        !self.identified || self.index.is_none()
    }

    /// True for a piece without an id that begins another call: with a name, and either behind all of this one's arguments, or
    /// with arguments that cannot be this one's.
    fn is_left(&self, piece: &CallPiece<'_>) -> bool {
        let (Some(_), Some(name), None) = (self.block, piece.name.as_deref(), &piece.id) else { return false };
        let renamed = name != self.name;
        let brings = piece.input.as_ref().is_some_and(|input| !input.is_blank());
        if self.flavor == Flavor::Function && self.depth.is_complete() {
            return renamed || brings;
        }
        // Without an index: the next call, unless it is the same one with its name once more.
        let goes_on = !renamed && (self.identified || self.depth.is_open());
        piece.index.is_none() && piece.input.is_some() && !goes_on
    }
}

fn signature(data: Text<'_>) -> Opaque<'_> {
    Opaque { kind: OpaqueKind::ThoughtSignature, maker: Format::OpenaiChat, data }
}

/// The signature of a call that is about to begin, in a block of its own: other formats have no slot at calls.
fn signed(data: Text<'_>, candidate: u32, next: &mut u32, sink: &mut (dyn FnMut(Event<'_>) + '_)) {
    let block = *next;
    *next = next.saturating_add(1);
    sink(Event::BlockStart { block, candidate, head: Head::Thinking(ThinkingKind::Raw) });
    sink(Event::Opaque { block, opaque: signature(data) });
    sink(Event::BlockStop { block });
}

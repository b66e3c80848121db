//! A provider's stream, read.
//!
//! ```text
//! message_start  ( content_block_start  content_block_delta*  content_block_stop | ping )*  message_delta+  message_stop
//! ```
//! or `error` at any place. Read tolerantly: servers that imitate the format leave out starts, stops and the end.

use std::borrow::Cow;

use super::error;
use super::read_response::{call_id, class_of};
use super::stop::Ending;
use super::stream_event::{BlockBegin, Delta, Event as Wire, Parts};
use super::usage::Counts;
use super::wire::OWN;
use crate::format::told::{Served, Told, unread};
use crate::format::{StreamReader, openai_error};
use crate::frame::sse::Frame;
use crate::hub::{Event, Fault, FaultKind, Field, Head, Opaque, OpaqueKind, Stop, ThinkingKind, Usage};
use crate::json::{Cursor, Json, JsonError, Text};

/// Most blocks that may be open at a time; the format's grammar says one.
const MOST_OPEN: usize = 256;

/// Where events go.
type Sink<'s> = &'s mut dyn FnMut(Event<'_>);

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    started: bool,
    /// The provider's id, from which missing ids of calls derive.
    id: String,
    ended: bool,
    open: Vec<Open>,
    /// Next hub block.
    next: u32,
    /// The provider's blocks below this index have begun.
    seen: u64,
    /// There is an answer of which not all was handed over.
    unread: bool,
    counts: Counts,
    told: Told,
    served: Served,
    /// Words have begun.
    spoke: bool,
    /// Something else stood behind the last words.
    apart: bool,
    /// A tool of the client was called.
    called: bool,
    stop: Option<Stop<'static>>,
}

/// A block that has begun.
#[derive(Debug)]
struct Open {
    index: u64,
    block: u32,
    kind: Kind,
    /// Arguments that came with the start, in case that no delta brings any.
    early: Option<Json<'static>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Redacted,
    ToolCall,
    ServerTool,
    /// A block that the hub cannot carry: not even begun there.
    Hidden,
}

impl StreamReader for Reader {
    fn frame(&mut self, frame: &Frame<'_>, sink: Sink<'_>) -> Result<(), Fault<'static>> {
        let data = frame.data.trim_start();
        if self.ended || data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            // Of the other format, but its meaning is plain.
            if self.stop.is_some() {
                self.finish(sink);
            }
            return Ok(());
        }
        let done = self
            .json(data, frame.event == Some("error"), sink)
            .map_err(|error| broken(&format!("an event that cannot be read: {error}")));
        let done = done.and_then(|step| step);
        self.ended |= done.is_err();
        done
    }

    fn pass(&mut self) {
        self.unread = true;
    }

    fn end(&mut self, sink: Sink<'_>) {
        if self.ended {
            return;
        }
        if self.stop.is_some() {
            self.finish(sink);
            return;
        }
        self.ended = true;
        sink(Event::Fault(incomplete("the provider closed the stream before the answer was complete")));
    }
}

/// A step that may find the stream broken.
type Step = Result<(), Fault<'static>>;

impl Reader {
    fn json(&mut self, data: &str, is_error: bool, sink: Sink<'_>) -> Result<Step, JsonError> {
        let mut cursor = Cursor::over(data);
        let parts = Parts::read(&mut cursor)?;
        if let Some(mut error) = parts.error {
            self.ended = true;
            sink(Event::Fault(error::read_event(&mut error)?));
            return Ok(Ok(()));
        }
        if is_error || (parts.event == Wire::Unknown && openai_error::tells_in_stream(data.as_bytes())) {
            // In the words of another server than the vendor's.
            self.ended = true;
            sink(Event::Fault(openai_error::read_in_stream(&mut Cursor::over(data))));
            return Ok(Ok(()));
        }
        let index = parts.index.unwrap_or(0);
        // What is wholly unknown is told as that.
        if parts.event != Wire::Unknown {
            self.told.all(parts.unread.iter().copied(), sink);
        }
        Ok(match parts.event {
            Wire::Delta => self.delta(index, parts.delta, sink),
            Wire::MessageStart => {
                self.message_start(&parts, sink)?;
                Ok(())
            }
            Wire::BlockStart => match parts.content_block {
                Some(begin) => self.block_start(index, begin, sink),
                None => Err(broken("a content_block_start without its block")),
            },
            Wire::BlockStop => {
                self.block_stop(index, sink);
                Ok(())
            }
            Wire::MessageDelta => {
                self.message_delta(parts, sink)?;
                Ok(())
            }
            Wire::MessageStop => {
                self.message_stop(sink);
                Ok(())
            }
            Wire::Ping => {
                sink(Event::Ping);
                Ok(())
            }
            Wire::Unknown => {
                sink(Event::Dropped { field: Field::Unknown });
                Ok(())
            }
        })
    }

    fn message_start(&mut self, parts: &Parts<'_>, sink: Sink<'_>) -> Result<(), JsonError> {
        if self.started {
            sink(Event::Dropped { field: Field::Unknown });
            return Ok(());
        }
        let (mut id, mut model, mut usage, mut unread_fields) = (Text::EMPTY, Text::EMPTY, None, Vec::new());
        if let Some(message) = &parts.message {
            message.clone().object::<JsonError>(|key, value| {
                match key.as_ref() {
                    "id" => id = value.nullable(Cursor::text)?.unwrap_or_default(),
                    "model" => model = value.nullable(Cursor::text)?.unwrap_or_default(),
                    "usage" => usage = value.nullable(|value| self.counts.merge(value))?,
                    "type" | "role" | "content" | "stop_reason" | "stop_sequence" | "stop_details" => value.skip()?,
                    name => unread(&mut unread_fields, class_of(name), value)?,
                }
                Ok(())
            })?;
        }
        self.started = true;
        id.escaped().clone_into(&mut self.id);
        sink(Event::Start { id, model, created: None });
        self.told.all(unread_fields, sink);
        if let Some(tier) = usage {
            self.served.tell(OWN, tier, sink);
            sink(Event::Usage(self.usage()));
        }
        Ok(())
    }

    fn usage(&self) -> Usage {
        self.counts.usage()
    }

    /// Servers that begin without `message_start` are taken at their word.
    fn ensure_started(&mut self, sink: Sink<'_>) {
        if !std::mem::replace(&mut self.started, true) {
            sink(Event::Start { id: Text::EMPTY, model: Text::EMPTY, created: None });
        }
    }

    fn block_start(&mut self, index: u64, mut begin: BlockBegin<'_>, sink: Sink<'_>) -> Step {
        if index < self.seen || self.open.len() >= MOST_OPEN {
            return Err(broken(&format!("a second start of block {index}, or too many open blocks")));
        }
        if matches!(begin.kind.as_ref(), "text" | "thinking" | "redacted_thinking" | "tool_use") {
            self.told.all(std::mem::take(&mut begin.unread), sink);
        }
        let (kind, head) = match begin.kind.as_ref() {
            "text" => (Kind::Text, Head::Text),
            "thinking" => (Kind::Thinking, Head::Thinking(ThinkingKind::Summary)),
            "redacted_thinking" => (Kind::Redacted, Head::Redacted),
            "tool_use" => {
                self.called = true;
                let id = begin.id.take().filter(|id| !id.is_empty());
                let id = id.unwrap_or_else(|| call_id(&self.id, index).into());
                let name = begin.name.take().unwrap_or_default();
                (Kind::ToolCall, Head::ToolCall { id, name, flavor: crate::hub::Flavor::Function })
            }
            kind if kind.ends_with("_tool_use") || kind.ends_with("_tool_result") => {
                (Kind::ServerTool, Head::ServerTool { format: OWN, raw: begin.raw.clone() })
            }
            _ => {
                sink(Event::Dropped { field: Field::Unknown });
                self.seen = index.saturating_add(1);
                self.open.push(Open { index, block: 0, kind: Kind::Hidden, early: None });
                self.apart = self.spoke;
                return Ok(());
            }
        };
        let block = self.open_block(index, kind, head, sink);
        self.early_contents(block, kind, begin, sink);
        Ok(())
    }

    fn open_block(&mut self, index: u64, kind: Kind, head: Head<'_>, sink: Sink<'_>) -> u32 {
        self.ensure_started(sink);
        let block = self.next;
        self.next += 1;
        self.seen = self.seen.max(index.saturating_add(1));
        self.open.push(Open { index, block, kind, early: None });
        if kind != Kind::Text {
            self.apart = self.spoke;
        } else if std::mem::take(&mut self.apart) {
            sink(Event::Apart { candidate: 0 });
        }
        self.spoke |= kind == Kind::Text;
        sink(Event::BlockStart { block, candidate: 0, head });
        block
    }

    /// What a start brings beside the kind: nothing at the vendor's, except the data of a redacted block.
    fn early_contents(&mut self, block: u32, kind: Kind, begin: BlockBegin<'_>, sink: Sink<'_>) {
        if let Some(text) = begin.text.filter(|text| !text.is_empty() && matches!(kind, Kind::Text | Kind::Thinking)) {
            sink(Event::TextDelta { block, text });
        }
        if let Some(data) = begin.opaque.filter(|data| !data.is_empty()) {
            match kind {
                Kind::Thinking => opaque(block, OpaqueKind::ThinkingSignature, data, sink),
                Kind::Redacted => opaque(block, OpaqueKind::RedactedData, data, sink),
                Kind::Text | Kind::ToolCall | Kind::ServerTool | Kind::Hidden => {}
            }
        }
        let input = begin.input.filter(|input| !input.is_empty() && kind == Kind::ToolCall);
        if let (Some(input), Some(open)) = (input, self.open.last_mut()) {
            open.early = Some(input.into_owned());
        }
    }

    fn delta(&mut self, index: u64, delta: Delta<'_>, sink: Sink<'_>) -> Step {
        let Some(open) = self.open.iter_mut().rev().find(|open| open.index == index) else {
            return self.delta_without_start(index, delta, sink);
        };
        let block = open.block;
        match (delta, open.kind) {
            (Delta::Text(text), Kind::Text) | (Delta::Thinking(text), Kind::Thinking) => {
                if !text.is_empty() {
                    sink(Event::TextDelta { block, text });
                }
            }
            (Delta::Json(fragment), Kind::ToolCall) => {
                if !fragment.is_empty() {
                    open.early = None;
                    sink(Event::ArgumentsDelta { block, fragment });
                }
            }
            (Delta::Signature(data), Kind::Thinking) => {
                if !data.is_empty() {
                    opaque(block, OpaqueKind::ThinkingSignature, data, sink);
                }
            }
            (Delta::Citation(citation), Kind::Text) => sink(Event::Citation { block, citation }),
            (Delta::Json(_), Kind::ServerTool) => sink(Event::Dropped { field: Field::ServerTool }),
            (_, Kind::Hidden) => {}
            (Delta::Unknown, _) => sink(Event::Dropped { field: Field::Unknown }),
            (_, kind) => return Err(broken(&format!("a delta that does not fit block {index} ({kind:?})"))),
        }
        Ok(())
    }

    /// Some servers never announce a block of words; for all others a delta here is one behind a stop.
    fn delta_without_start(&mut self, index: u64, delta: Delta<'_>, sink: Sink<'_>) -> Step {
        let (kind, head) = match (&delta, index >= self.seen) {
            (Delta::Text(_), true) => (Kind::Text, Head::Text),
            (Delta::Thinking(_), true) => (Kind::Thinking, Head::Thinking(ThinkingKind::Summary)),
            _ => return Err(broken(&format!("a delta for block {index}, which is not open"))),
        };
        self.open_block(index, kind, head, sink);
        self.delta(index, delta, sink)
    }

    fn block_stop(&mut self, index: u64, sink: Sink<'_>) {
        if let Some(at) = self.open.iter().position(|open| open.index == index) {
            close(self.open.remove(at), sink);
        }
    }

    fn message_delta(&mut self, parts: Parts<'_>, sink: Sink<'_>) -> Result<(), JsonError> {
        self.ensure_started(sink);
        if let Delta::Ending(ending) = parts.delta
            && ending.reason.is_some()
        {
            self.stop = Some(ending.into_stop(self.called).into_owned());
        }
        if let Some(mut usage) = parts.usage {
            let tier = self.counts.merge(&mut usage)?;
            self.served.tell(OWN, tier, sink);
            sink(Event::Usage(self.usage()));
        }
        Ok(())
    }

    /// A server may leave out why it ended, but not that and all the rest: an answer of nothing for no reason is none.
    fn message_stop(&mut self, sink: Sink<'_>) {
        if self.stop.is_some() || (self.open.is_empty() && (self.seen > 0 || self.unread)) {
            self.finish(sink);
        } else {
            self.ended = true;
            sink(Event::Fault(incomplete("the provider ended the stream without an answer, and did not say why")));
        }
    }

    fn finish(&mut self, sink: Sink<'_>) {
        self.ensure_started(sink);
        for open in std::mem::take(&mut self.open) {
            close(open, sink);
        }
        let called = self.called;
        let stop = self.stop.take().unwrap_or_else(|| Ending::default().into_stop(called));
        sink(Event::Stop { candidate: 0, stop });
        self.ended = true;
        sink(Event::End);
    }
}

fn close(open: Open, sink: Sink<'_>) {
    if open.kind == Kind::Hidden {
        return;
    }
    if let Some(early) = open.early {
        let fragment = match early.kind() {
            // Text that is no object, as it came.
            crate::json::Kind::String => early.cursor().text().unwrap_or_default(),
            _ => Text::from_json(early.as_str()),
        };
        sink(Event::ArgumentsDelta { block: open.block, fragment });
    }
    sink(Event::BlockStop { block: open.block });
}

fn opaque(block: u32, kind: OpaqueKind, data: Text<'_>, sink: Sink<'_>) {
    sink(Event::Opaque { block, opaque: Opaque { kind, maker: OWN, data } });
}

fn incomplete(message: &'static str) -> Fault<'static> {
    Fault::new(FaultKind::StreamIncomplete, message)
}

fn broken(what: &str) -> Fault<'static> {
    let mut fault = Fault::new(FaultKind::Api, Cow::Owned(format!("the provider's stream is broken: {what}")));
    fault.status = 502;
    fault.with_code("upstream_malformed")
}

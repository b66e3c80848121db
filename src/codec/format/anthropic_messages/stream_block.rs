//! One block of a stream, written.

use super::wire::OWN;
use crate::format::depth::Depth;
use crate::hub::ids::Distinct;
use crate::hub::{Flavor, Head, Opaque, OpaqueKind, flat_name};
use crate::json::write::{escape_into, one_line, push_escaped, push_json, push_number};
use crate::json::{Json, Text, Writer};
use crate::seal::Seal;

/// A block on its way to the client.
#[derive(Debug)]
pub(super) struct Block {
    /// The hub's number.
    pub number: u32,
    /// What it is.
    pub shape: Shape,
    /// The `content_block` that announces it.
    head: String,
    /// The index that it got when it was announced.
    index: Option<u64>,
    /// A delta's bytes up to its text.
    prefix: Vec<u8>,
    depth: Depth,
    signature: Option<Text<'static>>,
}

/// What a block is to the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Thinking,
    Redacted,
    ToolCall,
    /// A call of a tool that takes free text: the text is wrapped into `{"input": …}`.
    FreeCall,
    /// A block of the provider's own tools, whole at its start.
    ServerTool,
}

impl Shape {
    /// True for blocks of words, which may be split in two.
    pub(super) fn is_words(self) -> bool {
        matches!(self, Self::Text | Self::Thinking)
    }
}

impl Block {
    /// The block that `head` begins; `None` for one that the format has no word for.
    pub(super) fn new(number: u32, head: &Head<'_>, ids: &mut Distinct) -> Option<Self> {
        let (shape, head) = match head {
            Head::Text | Head::Refusal => (Shape::Text, r#"{"type":"text","text":""}"#.to_owned()),
            Head::Thinking(_) => (Shape::Thinking, r#"{"type":"thinking","thinking":"","signature":""}"#.to_owned()),
            Head::Redacted => (Shape::Redacted, String::new()),
            Head::ToolCall { id, name, flavor } => {
                let shape = if *flavor == Flavor::Custom { Shape::FreeCall } else { Shape::ToolCall };
                (shape, tool_use(&ids.next(id), name))
            }
            Head::ServerTool { format, raw } if *format == OWN => (Shape::ServerTool, one_line(raw.as_str())),
            Head::ServerTool { .. } => return None,
        };
        Some(Self { number, shape, head, index: None, prefix: Vec::new(), depth: Depth::default(), signature: None })
    }

    /// True when the block may end before the hub ends it.
    pub(super) fn may_close(&self) -> bool {
        match self.shape {
            Shape::Text | Shape::Thinking | Shape::ServerTool => true,
            Shape::ToolCall => self.depth.is_complete(),
            Shape::FreeCall => false,
            Shape::Redacted => self.index.is_some(),
        }
    }

    /// Its turn has come. Blocks of words say nothing before there are words: an empty block could not be sent back.
    pub(super) fn announce(&mut self, next: &mut u64, out: &mut Vec<u8>) {
        match self.shape {
            Shape::ToolCall | Shape::ServerTool => self.ensure_started(next, out),
            Shape::FreeCall => {
                self.ensure_started(next, out);
                self.delta(r#"{\"input\": \""#, out);
            }
            Shape::Text | Shape::Thinking | Shape::Redacted => {}
        }
    }

    /// Takes note of a piece that [`grow`](Self::grow) is to write; false where arguments with it are no object: the format
    /// has no other.
    pub(super) fn takes(&mut self, piece: &Text<'_>) -> bool {
        if self.shape != Shape::ToolCall {
            return true;
        }
        let begins = piece.plain().trim_start().chars().next();
        if self.depth.is_outside() && begins.is_some_and(|first| first != '{') {
            return false;
        }
        self.depth.feed(piece.escaped());
        !self.depth.is_faulty()
    }

    /// True for a call whose arguments have begun and are not complete.
    pub(super) fn is_cut(&self) -> bool {
        self.shape == Shape::ToolCall && self.depth.is_open()
    }

    /// Writes a piece of its text or arguments.
    pub(super) fn grow(&mut self, piece: &Text<'_>, next: &mut u64, out: &mut Vec<u8>) {
        self.ensure_started(next, out);
        match self.shape {
            Shape::Text | Shape::Thinking | Shape::ToolCall => self.delta(piece.escaped(), out),
            Shape::FreeCall => {
                out.extend_from_slice(&self.prefix);
                // The piece is a JSON string's contents; inside of JSON text inside of a JSON string it is escaped again.
                escape_into(piece.escaped(), out);
                out.extend_from_slice(DELTA_END);
            }
            Shape::Redacted | Shape::ServerTool => {}
        }
    }

    /// Takes state that only its maker can read; false where the block has no slot for it, or none that is free.
    pub(super) fn opaque(&mut self, value: Text<'_>, next: &mut u64, out: &mut Vec<u8>) -> bool {
        match self.shape {
            Shape::Thinking if self.signature.is_none() => self.signature = Some(value.into_owned()),
            Shape::Redacted if self.index.is_none() => {
                self.head.clear();
                self.head.push_str(r#"{"type":"redacted_thinking","data":""#);
                self.head.push_str(value.escaped());
                self.head.push_str("\"}");
                self.ensure_started(next, out);
            }
            Shape::Thinking | Shape::Redacted | Shape::Text | Shape::ToolCall | Shape::FreeCall | Shape::ServerTool => {
                return false;
            }
        }
        true
    }

    /// True for redacted thinking whose data did not come: it is left out.
    pub(super) fn lacks_its_data(&self) -> bool {
        self.shape == Shape::Redacted && self.index.is_none()
    }

    /// Writes a citation of this format; false where the block has no words.
    pub(super) fn citation(&mut self, raw: &Json<'_>, next: &mut u64, out: &mut Vec<u8>) -> bool {
        if self.shape != Shape::Text {
            return false;
        }
        self.ensure_started(next, out);
        let Some(index) = self.index else { return false };
        begin_event("content_block_delta", index, out);
        out.extend_from_slice(br#","delta":{"type":"citations_delta","citation":"#);
        push_json(raw.as_str(), out);
        out.extend_from_slice(b"}}\n\n");
        true
    }

    /// Writes what is left, and the end.
    pub(super) fn close(mut self, seal: &Seal, next: &mut u64, out: &mut Vec<u8>) {
        if self.shape == Shape::Thinking {
            if self.signature.is_some() {
                self.ensure_started(next, out);
            }
            if let Some(index) = self.index {
                begin_event("content_block_delta", index, out);
                out.extend_from_slice(br#","delta":{"type":"signature_delta","signature":""#);
                match &self.signature {
                    Some(signature) => push_escaped(signature.escaped(), out),
                    None => out.extend_from_slice(unsigned(seal).as_bytes()),
                }
                out.extend_from_slice(DELTA_END);
            }
        }
        let Some(index) = self.index else { return };
        if self.shape == Shape::FreeCall {
            self.delta(r#"\"}"#, out);
        }
        begin_event("content_block_stop", index, out);
        out.extend_from_slice(b"}\n\n");
    }

    fn ensure_started(&mut self, next: &mut u64, out: &mut Vec<u8>) {
        if self.index.is_some() || self.head.is_empty() {
            return;
        }
        let index = *next;
        *next += 1;
        self.index = Some(index);
        begin_event("content_block_start", index, out);
        out.extend_from_slice(br#","content_block":"#);
        push_escaped(&self.head, out);
        out.extend_from_slice(b"}\n\n");
        let (kind, key) = match self.shape {
            Shape::Text => ("text_delta", "text"),
            Shape::Thinking => ("thinking_delta", "thinking"),
            Shape::Redacted | Shape::ToolCall | Shape::FreeCall | Shape::ServerTool => {
                ("input_json_delta", "partial_json")
            }
        };
        begin_event("content_block_delta", index, &mut self.prefix);
        for piece in [r#","delta":{"type":""#, kind, r#"",""#, key, r#"":""#] {
            self.prefix.extend_from_slice(piece.as_bytes());
        }
    }

    fn delta(&self, escaped: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        push_escaped(escaped, out);
        out.extend_from_slice(DELTA_END);
    }
}

/// Closes the string, the delta and the event.
const DELTA_END: &[u8] = b"\"}}\n\n";

/// The signature of thinking that nobody signed: marks it as foreign when it comes back.
pub(super) fn unsigned(seal: &Seal) -> String {
    seal.wrap(&Opaque { kind: OpaqueKind::Unsigned, maker: OWN, data: Text::EMPTY })
}

fn begin_event(name: &str, index: u64, out: &mut Vec<u8>) {
    for piece in ["event: ", name, "\ndata: {\"type\":\"", name, "\",\"index\":"] {
        out.extend_from_slice(piece.as_bytes());
    }
    push_number(index, out);
}

fn tool_use(id: &str, name: &str) -> String {
    let mut out = Vec::with_capacity(64);
    let mut json = Writer::new(&mut out);
    json.open_object().key("type").plain("tool_use").key("id").plain(id).key("name").plain(&flat_name(name));
    json.key("input").verbatim("{}").close_object();
    String::from_utf8(out).unwrap_or_default()
}

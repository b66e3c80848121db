//! An answer folded to what it means, whatever its format and however it came.

use tidegate_codec::frame::sse::{EVENT_LIMIT, Framer};
use tidegate_codec::hub::grammar::Grammar;
use tidegate_codec::hub::{Block, BlockKind, Event, Fault, Head, Response, Usage};
use tidegate_codec::{Format, wire};

/// What an answer says.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Folded {
    pub(crate) text: String,
    pub(crate) thinking: String,
    pub(crate) refusal: String,
    /// Id, name, arguments (JSON, normalised).
    pub(crate) calls: Vec<(String, String, String)>,
    pub(crate) stop: Option<&'static str>,
    pub(crate) usage: Option<Usage>,
    pub(crate) fault: Option<String>,
    pub(crate) ended: bool,
}

/// Folds a stream of `format`; checks the hub's grammar on the way.
pub(crate) fn stream(format: Format, bytes: &[u8]) -> Folded {
    let mut reader = wire(format).stream_reader();
    let mut framer = Framer::new(EVENT_LIMIT);
    let mut fold = Fold::default();
    let read = framer.push::<Fault<'static>>(bytes, |frame| reader.frame(&frame, &mut |event| fold.event(&event)));
    if let Err(fault) = read {
        fold.event(&Event::Fault(fault));
    } else if !fold.grammar.is_ended() {
        reader.end(&mut |event| fold.event(&event));
    }
    fold.finish()
}

/// Folds the events of a stream.
pub(crate) fn events(events: &[Event<'_>]) -> Folded {
    let mut fold = Fold::default();
    for event in events {
        fold.event(event);
    }
    fold.finish()
}

/// Folds a whole answer of `format`.
pub(crate) fn whole(format: Format, bytes: &[u8]) -> Folded {
    response(&wire(format).read_response(bytes).unwrap())
}

fn response(response: &Response<'_>) -> Folded {
    let mut folded = Folded { usage: response.usage.clone(), ended: true, ..Folded::default() };
    let Some(candidate) = response.candidates.first() else { return folded };
    folded.stop = Some(candidate.stop.label());
    for block in &candidate.blocks {
        add(block, &mut folded);
    }
    folded
}

fn add(block: &Block<'_>, folded: &mut Folded) {
    match &block.kind {
        BlockKind::Text { text, .. } => folded.text.push_str(&text.plain()),
        BlockKind::Refusal { text } => folded.refusal.push_str(&text.plain()),
        BlockKind::Thinking { text, .. } => folded.thinking.push_str(&text.plain()),
        BlockKind::ToolCall { id, name, arguments, .. } => {
            folded.calls.push((id.to_string(), name.to_string(), normal(arguments.as_str())));
        }
        _ => {}
    }
}

/// JSON with its spaces and number spellings as `serde_json` writes them; anything else as it is.
pub(crate) fn normal(json: &str) -> String {
    let text = if json.trim().is_empty() { "{}" } else { json };
    serde_json::from_str::<serde_json::Value>(text).map_or_else(|_| json.to_owned(), |value| value.to_string())
}

#[derive(Default)]
struct Fold {
    grammar: Grammar,
    heads: Vec<Kind>,
    folded: Folded,
    arguments: Vec<(u32, String)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Refusal,
    Thinking,
    Other,
}

impl Fold {
    fn event(&mut self, event: &Event<'_>) {
        self.grammar.next(event).unwrap_or_else(|why| panic!("the reader breaks the hub's grammar: {why}"));
        match event {
            Event::BlockStart { block, head, candidate } => {
                let kind = match head {
                    _ if *candidate != 0 => Kind::Other,
                    Head::Text => Kind::Text,
                    Head::Refusal => Kind::Refusal,
                    Head::Thinking(_) => Kind::Thinking,
                    Head::ToolCall { id, name, .. } => {
                        self.folded.calls.push((id.to_string(), name.to_string(), String::new()));
                        self.arguments.push((*block, String::new()));
                        Kind::Other
                    }
                    Head::Redacted | Head::ServerTool { .. } => Kind::Other,
                };
                self.heads.push(kind);
            }
            Event::TextDelta { block, text } => {
                let into = match self.heads[*block as usize] {
                    Kind::Text => &mut self.folded.text,
                    Kind::Refusal => &mut self.folded.refusal,
                    Kind::Thinking => &mut self.folded.thinking,
                    Kind::Other => return,
                };
                into.push_str(text.escaped());
            }
            Event::ArgumentsDelta { block, fragment } => {
                let entry = self.arguments.iter_mut().find(|(at, _)| at == block).unwrap();
                entry.1.push_str(fragment.escaped());
            }
            Event::Stop { candidate: 0, stop } => self.folded.stop = Some(stop.label()),
            Event::Usage(usage) => self.folded.usage = Some(usage.clone()),
            Event::Fault(fault) => self.folded.fault = Some(fault.message.to_string()),
            Event::End => self.folded.ended = true,
            _ => {}
        }
    }

    fn finish(mut self) -> Folded {
        let plain = |escaped: &str| tidegate_codec::json::Text::from_escaped(escaped).plain().into_owned();
        for text in [&mut self.folded.text, &mut self.folded.thinking, &mut self.folded.refusal] {
            *text = plain(text);
        }
        for (call, (_, arguments)) in self.folded.calls.iter_mut().zip(&self.arguments) {
            call.2 = normal(&plain(arguments));
        }
        self.folded
    }
}

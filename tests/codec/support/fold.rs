//! An answer folded to what it means, whatever its format and however it came.

use tidegate_codec::frame::sse::{EVENT_LIMIT, Framer};
use tidegate_codec::hub::grammar::Grammar;
use tidegate_codec::hub::{Block, BlockKind, Event, Fault, Head, Response, Stop, Usage};
use tidegate_codec::{Format, wire};

/// What an answer says.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Folded {
    pub(crate) text: String,
    /// The text as a format says it that has one text for all: with an empty line where something else stood between.
    pub(crate) joined: String,
    pub(crate) thinking: String,
    /// The same with an empty line between blocks of it.
    pub(crate) mused: String,
    pub(crate) refusal: String,
    /// Text and words of refusal, in order, as a format says them that knows no words of refusal.
    pub(crate) said: String,
    /// Why the vendor says that the model declined.
    pub(crate) explanation: String,
    /// The vendor's word for the filter that cut the answer.
    pub(crate) filter: String,
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
    (folded.explanation, folded.filter) = reasons(&candidate.stop);
    for block in &candidate.blocks {
        add(block, &mut folded);
    }
    folded
}

/// Why the model declined, and what cut it.
fn reasons(stop: &Stop<'_>) -> (String, String) {
    match stop {
        Stop::Refusal { explanation: Some(words), .. } => (words.plain().into_owned(), String::new()),
        Stop::Filtered(word) | Stop::PromptFiltered(word) => (String::new(), word.plain().into_owned()),
        _ => (String::new(), String::new()),
    }
}

fn add(block: &Block<'_>, folded: &mut Folded) {
    match &block.kind {
        BlockKind::Text { text, .. } => {
            if block.apart && !folded.joined.is_empty() {
                folded.joined.push_str("\n\n");
            }
            for into in [&mut folded.text, &mut folded.joined, &mut folded.said] {
                into.push_str(&text.plain());
            }
        }
        BlockKind::Refusal { text } => {
            folded.refusal.push_str(&text.plain());
            folded.said.push_str(&text.plain());
        }
        BlockKind::Thinking { text, .. } => {
            if !folded.mused.is_empty() && !text.is_empty() {
                folded.mused.push_str("\n\n");
            }
            for into in [&mut folded.thinking, &mut folded.mused] {
                into.push_str(&text.plain());
            }
        }
        BlockKind::ToolCall { id, name, arguments, .. } => {
            // Free text, or arguments that were cut: what the string holds.
            let said = arguments.cursor().string().unwrap_or_else(|_| arguments.as_str().into());
            folded.calls.push((id.to_string(), name.to_string(), normal(&said)));
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
    /// The next text is another one than the last.
    apart: bool,
    /// The block of thinking that grew last.
    mused: Option<u32>,
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
                if *candidate == 0
                    && matches!(head, Head::Text)
                    && std::mem::take(&mut self.apart)
                    && !self.folded.joined.is_empty()
                {
                    self.folded.joined.push_str("\\n\\n");
                }
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
                let folded = &mut self.folded;
                let into = match self.heads[*block as usize] {
                    Kind::Text => vec![&mut folded.text, &mut folded.joined, &mut folded.said],
                    Kind::Refusal => vec![&mut folded.refusal, &mut folded.said],
                    Kind::Thinking => {
                        let before = self.mused.replace(*block);
                        if before.is_some_and(|before| before != *block) {
                            folded.mused.push_str("\\n\\n");
                        }
                        vec![&mut folded.thinking, &mut folded.mused]
                    }
                    Kind::Other => return,
                };
                for into in into {
                    into.push_str(text.escaped());
                }
            }
            Event::Apart { candidate: 0 } => self.apart = true,
            Event::ArgumentsDelta { block, fragment } => {
                // Calls of other answers than the first are not folded.
                if let Some((_, arguments)) = self.arguments.iter_mut().find(|(at, _)| at == block) {
                    arguments.push_str(fragment.escaped());
                }
            }
            Event::Stop { candidate: 0, stop } => {
                self.folded.stop = Some(stop.label());
                (self.folded.explanation, self.folded.filter) = reasons(stop);
            }
            Event::Usage(usage) => self.folded.usage = Some(usage.clone()),
            Event::Fault(fault) => self.folded.fault = Some(fault.message.to_string()),
            Event::End => self.folded.ended = true,
            _ => {}
        }
    }

    fn finish(mut self) -> Folded {
        let plain = |escaped: &str| tidegate_codec::json::Text::from_escaped(escaped).plain().into_owned();
        let Folded { text, joined, thinking, mused, refusal, said, .. } = &mut self.folded;
        for text in [text, joined, thinking, mused, refusal, said] {
            *text = plain(text);
        }
        for (call, (_, arguments)) in self.folded.calls.iter_mut().zip(&self.arguments) {
            call.2 = normal(&plain(arguments));
        }
        self.folded
    }
}

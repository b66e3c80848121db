//! The beginning of a stream: whether the provider has said anything yet.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::Format;
use crate::document::Document;
use crate::format::{ERROR_WORD, StreamReader, wire};
use crate::frame::sse::{EVENT_LIMIT, Framer};
use crate::hub::{Event, Fault, FaultKind, Head, Saying, Stop};
use crate::json::Cursor;
use crate::sayings::Sayings;
use crate::translate::read_whole;

/// Reads the beginning of a provider's stream until its first content.
///
/// Frames of the stream's life (that it began, that a block opened, a ping) are no content; words, thinking, arguments,
/// sources, state and a reason to stop are: an answer that is complete and empty is one. A reason that says that the provider
/// failed is a failure, and so is one that nobody knows, unless it is the client's own format. While there is no content, a
/// failed stream has told its client nothing, and another can take its place unseen.
pub struct Opening {
    provider: Format,
    /// The client knows the provider's own words.
    own: bool,
    framer: Framer,
    document: Document,
    reader: Box<dyn StreamReader>,
    seen: Seen,
    /// An event came that says anything.
    spoke: bool,
    /// What its answers say so far.
    sayings: Sayings,
}

/// What says that a stream is over and nothing else: as its first word it is the end of no answer.
const LAST: &str = "[DONE]";

/// Finds [`ERROR_WORD`].
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(ERROR_WORD));

/// Find the words that a whole answer has, by its format; making a finder costs more than one search.
static WORDS: LazyLock<[(Format, Vec<Finder<'static>>); Format::ALL.len()]> = LazyLock::new(|| {
    Format::ALL.map(|format| (format, wire(format).spec().answer_words.iter().map(Finder::new).collect()))
});

/// What is wrong with `body`, which a provider of `provider`'s format answered as a whole although a stream was asked for;
/// `None` for an answer that can be written as one.
#[must_use]
pub fn whole_fault(provider: Format, body: &[u8]) -> Option<Fault<'static>> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    read_whole(wire(provider), body, &mut |_, _, _| {}).err()
}

/// What is wrong with `body`, a success of a provider of the client's own format that would pass as it is; `None` for what
/// is an answer, or may be one that only the client understands.
///
/// Most answers are told by a look at their ends and for the words that each of them has; only what lacks them is read, and
/// what may be cut, as nothing but the end of a connection is its end (`unframed`).
#[must_use]
pub fn passing_fault(provider: Format, body: &[u8], unframed: bool) -> Option<Fault<'static>> {
    let trimmed = body.trim_ascii();
    let has = |word: &Finder<'_>| word.find(trimmed).is_some();
    let (_, finders) = WORDS.iter().find(|(format, _)| *format == provider)?;
    let plausible = trimmed.first() == Some(&b'{')
        && trimmed.last() == Some(&b'}')
        && finders.iter().all(has)
        && (wire(provider).spec().answer_words.contains(&ERROR_WORD) || !may_say_error(trimmed))
        && (!unframed || is_one_value(trimmed));
    if plausible { None } else { whole_fault(provider, body) }
}

/// True for one JSON value from its beginning to its end.
fn is_one_value(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let mut cursor = Cursor::over(text);
    cursor.skip().and_then(|()| cursor.finish()).is_ok()
}

/// Whether anything in `body` is called an error and is not null: some servers put one beside the empty shape of an answer.
fn may_say_error(body: &[u8]) -> bool {
    ERROR.find_iter(body).any(|at| {
        let value = body.get(at + ERROR_WORD.len()..).unwrap_or_default().trim_ascii_start();
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii_start();
        !value.starts_with(b"null")
    })
}

/// What the beginning of a stream is.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// Nothing that a client could miss.
    Lifecycle,
    /// The answer has begun.
    Content,
    /// The provider failed.
    Failed(Fault<'static>),
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl Opening {
    /// The beginning of a stream of `provider`; `own` where the client speaks that format too.
    #[must_use]
    pub fn new(provider: Format, own: bool) -> Self {
        Self {
            provider,
            own,
            framer: Framer::new(EVENT_LIMIT),
            document: Document::default(),
            reader: wire(provider).stream_reader(),
            seen: Seen::Lifecycle,
            spoke: false,
            sayings: Sayings::default(),
        }
    }

    /// Takes the stream's next bytes, cut anywhere, and says what is known with them.
    pub fn chunk(&mut self, chunk: &[u8]) -> &Seen {
        let Self { own, framer, document, reader, seen, spoke, sayings, .. } = self;
        if !*spoke {
            document.push(chunk);
        }
        let read = framer.push::<Fault<'static>>(chunk, |frame| {
            if !*spoke && frame.data.trim() == LAST {
                return Err(empty());
            }
            *spoke |= !frame.data.trim().is_empty();
            if *seen == Seen::Lifecycle {
                reader.frame(&frame, &mut |event| note(seen, &event, *own, sayings))?;
            }
            Ok(())
        });
        if let (Err(fault), Seen::Lifecycle) = (read, &*seen) {
            *seen = Seen::Failed(fault);
        }
        seen
    }

    /// The provider closed the stream: what its beginning is, now that it is all. Never [`Seen::Lifecycle`].
    pub fn finish(mut self) -> Seen {
        // Some servers answer with one document under a stream's name: an error, or the whole answer.
        if let Some(document) = self.document.take().filter(|_| !self.spoke) {
            return whole_fault(self.provider, &document).map_or(Seen::Content, Seen::Failed);
        }
        // A last event whose closing empty line is missing is whole if it reads as such.
        self.chunk(b"\n\n");
        let Self { own, reader, seen, sayings, .. } = &mut self;
        reader.end(&mut |event| note(seen, &event, *own, sayings));
        if self.seen == Seen::Lifecycle {
            return Seen::Failed(empty());
        }
        self.seen
    }
}

fn empty() -> Fault<'static> {
    Fault::new(FaultKind::StreamIncomplete, "The provider's stream ended before its first word")
        .with_code("stream_empty")
}

fn note(seen: &mut Seen, event: &Event<'_>, own: bool, sayings: &mut Sayings) {
    if *seen != Seen::Lifecycle {
        return;
    }
    sayings.note(event);
    match event {
        Event::TextDelta { text: words, .. } | Event::ArgumentsDelta { fragment: words, .. } if words.is_empty() => {}
        Event::Stop { stop: Stop::Failed(word), .. } => *seen = Seen::Failed(Stop::gave_up(word)),
        Event::Stop { candidate, stop: stop @ Stop::Other(word) } if !own => {
            // Of words none has come, or they were seen.
            let saying = match sayings.saying(*candidate) {
                Saying::Words => Saying::Nothing,
                saying => saying,
            };
            *seen = match stop.clone().settled(saying) {
                Stop::Failed(_) => Seen::Failed(Stop::gave_up(word)),
                _ => Seen::Content,
            };
        }
        Event::TextDelta { .. }
        | Event::ArgumentsDelta { .. }
        | Event::Opaque { .. }
        | Event::Citation { .. }
        | Event::Logprobs { .. }
        | Event::Stop { .. }
        | Event::BlockStart { head: Head::ServerTool { .. }, .. } => *seen = Seen::Content,
        Event::Fault(fault) => *seen = Seen::Failed(fault.clone().into_owned()),
        Event::Start { .. }
        | Event::BlockStart { .. }
        | Event::BlockStop { .. }
        | Event::Usage(_)
        | Event::Tier { .. }
        | Event::Apart { .. }
        | Event::Ping
        | Event::Dropped { .. }
        | Event::End => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n";

    /// What is known after each cut of `stream` at `|`, by its first letter, and at its end.
    fn check(format: Format, stream: &str, expected: &str) {
        let letter = |seen: &Seen| match seen {
            Seen::Lifecycle => 'l',
            Seen::Content => 'c',
            Seen::Failed(_) => 'f',
        };
        let mut opening = Opening::new(format, false);
        let mut seen: String = stream.split('|').map(|part| letter(opening.chunk(part.as_bytes()))).collect();
        seen.push(letter(&opening.finish()));
        assert_eq!(seen, expected, "{format:?}: {stream}");
    }

    #[test]
    fn content_is_told_from_lifecycle_in_every_format() {
        let open = r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
        let delta = r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}"#;
        let thinking =
            r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#;
        let thought =
            r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#;
        let stop = r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}"#;
        let error = r#"data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
        let format = Format::AnthropicMessages;
        check(format, &format!("{MESSAGES}|{open}\n\n|{delta}\n\n"), "llcc");
        check(format, &format!("{MESSAGES}|{thinking}\n\n|{thought}\n\n"), "llcc");
        check(format, &format!("{MESSAGES}|{stop}\n\n|data: {{\"type\":\"message_stop\"}}\n\n"), "llcc");
        check(format, &format!("{MESSAGES}|{open}\n\n|{error}\n\n"), "llff");
        check(format, &format!("{MESSAGES}|{open}\n\n"), "llf");
        check(format, MESSAGES, "lf");
        let role = r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
        let word = role.replace(r#""content":"""#, r#""content":"a""#);
        let format = Format::OpenaiChat;
        check(format, &format!("{role}\n\n|{word}\n\n"), "lcc");
        check(format, &format!(": a comment\n\n|{role}\n\n"), "llf");
        // By the format's own end the answer is whole, and an empty one.
        check(format, &format!("{role}\n\n|data: [DONE]\n\n"), "lcc");
        // But that alone is the end of no answer.
        check(format, "data: [DONE]\n\n", "ff");
        check(format, ": a comment\n\n|data: [DONE]\n\n", "lff");
        check(format, &format!("{role}\n\n|data: {{\"error\":{{\"message\":\"no\",\"code\":502}}}}\n\n"), "lff");
        check(format, "data: {nonsense\n\n", "ff");
        // One document under a stream's name.
        let answer = r#"{"id":"c","choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}"#;
        check(format, &format!("\u{feff}{answer}"), "lc");
        check(format, r#"{"error":{"message":"no","code":502}}"#, "lf");
        let created = r#"data: {"type":"response.created","sequence_number":0,"response":{"id":"r","model":"m","status":"in_progress","output":[]}}"#;
        let failed = r#"data: {"type":"response.failed","sequence_number":1,"response":{"id":"r","status":"failed","error":{"code":"server_error","message":"no"},"output":[]}}"#;
        check(Format::OpenaiResponses, &format!("{created}\n\n|{failed}\n\n"), "lff");
        let piece = r#"data: {"candidates":[{"content":{"role":"model","parts":[{"text":"hi"}]},"index":0}]}"#;
        check(Format::GeminiGenerate, &format!("{piece}\n\n"), "cc");
        check(Format::GeminiGenerate, "", "lf");
        let gave_up = r#"data: {"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL","index":0}]}"#;
        check(Format::GeminiGenerate, &format!("{gave_up}\n\n"), "lf");
        let unknown = gave_up.replace("MALFORMED_FUNCTION_CALL", "OTHER");
        check(Format::GeminiGenerate, &format!("{unknown}\n\n"), "lf");
        check(Format::GeminiGenerate, &format!("{piece}\n\n|{unknown}\n\n"), "ccc");
        let unknown = role.replace("\"finish_reason\":null", "\"finish_reason\":\"brand_new\"");
        check(Format::OpenaiChat, &format!("{unknown}\n\n|data: [DONE]\n\n"), "lff");
        let mut own = Opening::new(Format::OpenaiChat, true);
        assert_eq!(own.chunk(format!("{unknown}\n\ndata: [DONE]\n\n").as_bytes()), &Seen::Content);
        check(Format::GeminiGenerate, &format!("{piece}\n\n|{gave_up}\n\n"), "ccc");
        let ended = gave_up.replace("MALFORMED_FUNCTION_CALL", "STOP");
        check(Format::GeminiGenerate, &format!("{ended}\n\n"), "lc");
    }

    #[test]
    fn a_last_event_without_its_empty_line_counts() {
        let word =
            r#"data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"}}]}"#;
        check(Format::OpenaiChat, word, "lc");
    }

    #[test]
    fn what_passes_is_an_answer_or_may_be_one() {
        use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};
        for (format, body, fault) in [
            (
                C,
                r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}"#,
                None,
            ),
            (C, "\n {\"choices\":[{\"message\":{\"content\":null}}]}\r\n", None),
            (C, r#"{"id":"x","choices":[]}"#, Some(502)),
            (C, r#"{"error":{"message":"quota","code":429}}"#, Some(429)),
            (C, r#"{"choices":[{"message":{"content":"half"#, Some(502)),
            (C, r#"{"id":"x","choices":[],"message":"","error":{"message":"quota","code":429}}"#, Some(429)),
            (
                C,
                r#"{"choices":[{"message":{"content":"an \"error\": x"},"finish_reason":"stop"}],"error" : null}"#,
                None,
            ),
            (
                A,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"busy","param":"content"}}"#,
                Some(529),
            ),
            (
                A,
                r#"{"content":[{"type":"tool_use","id":"t","name":"f","input":{"error":1}}],"stop_reason":"tool_use"}"#,
                None,
            ),
            (R, r#"{"error":{"message":"no","type":"server_error","param":"output"}}"#, Some(500)),
            (C, "<html></html>", Some(502)),
            (C, "null", Some(502)),
            (C, "", Some(502)),
            (A, r#"{"type":"message","role":"assistant","content":[],"stop_reason":"end_turn","usage":{}}"#, None),
            (A, r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#, Some(529)),
            (R, r#"{"object":"response","status":"queued","output":[],"error":null}"#, None),
            (
                R,
                r#"{"object":"response","status":"failed","output":[],"error":{"code":"server_error","message":"m"}}"#,
                None,
            ),
            (R, r#"{"error":{"message":"no","type":"server_error"}}"#, Some(500)),
            (G, r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}"#, None),
            (G, r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#, None),
            (G, r#"{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}"#, Some(503)),
            (G, r#"{"usageMetadata":{"promptTokenCount":1}}"#, Some(502)),
        ] {
            assert_eq!(
                passing_fault(format, body.as_bytes(), false).map(|fault| fault.status),
                fault,
                "{format:?} {body}"
            );
        }
    }
}

//! The order in which a stream's events may come on the wire; what every writer of the format must keep.

use crate::frame::sse::Frame;
use crate::json::{Cursor, JsonError, Kind};

/// Checks a stream of the format, event by event.
#[derive(Debug, Default)]
pub struct Grammar {
    state: State,
    /// Index that comes next.
    next: u64,
    /// The open block.
    open: Option<Open>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Before,
    Blocks,
    Ending,
    Ended,
}

#[derive(Debug)]
struct Open {
    index: u64,
    kind: String,
    /// The pieces of a tool call's input.
    input: String,
    signed: bool,
}

/// What an event says of itself.
#[derive(Default)]
struct Said {
    kind: String,
    index: Option<u64>,
    inner: String,
    fragment: String,
    has_stop_reason: bool,
    has_usage: bool,
    input_is_empty: bool,
}

impl Grammar {
    /// Takes the next event.
    ///
    /// # Errors
    ///
    /// The event may not come here; says why.
    pub fn next(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        let said = Said::read(frame.data).map_err(|error| format!("{error} in {}", frame.data))?;
        if frame.event != Some(said.kind.as_str()) {
            return Err(format!("event line {:?} with type {:?}", frame.event, said.kind));
        }
        if self.state == State::Ended {
            return Err(format!("{} behind the end", said.kind));
        }
        match (said.kind.as_str(), self.state) {
            ("ping", _) => {}
            ("error", _) | ("message_stop", State::Ending) => self.state = State::Ended,
            ("message_start", State::Before) => self.state = State::Blocks,
            ("content_block_start", State::Blocks) => self.start(&said)?,
            ("content_block_delta", State::Blocks) => self.delta(&said)?,
            ("content_block_stop", State::Blocks) => self.stop(&said)?,
            ("message_delta", State::Blocks) if self.open.is_none() && said.has_stop_reason && said.has_usage => {
                self.state = State::Ending;
            }
            (kind, state) => return Err(format!("{kind} in {state:?}")),
        }
        Ok(())
    }

    /// True once nothing more may come.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    fn start(&mut self, said: &Said) -> Result<(), String> {
        if let Some(open) = &self.open {
            return Err(format!("a start while block {} is open", open.index));
        }
        if said.index != Some(self.next) {
            return Err(format!("block {:?} begins, but {} is next", said.index, self.next));
        }
        if said.inner == "tool_use" && !said.input_is_empty {
            return Err("a tool_use begins with input".to_owned());
        }
        self.open = Some(Open { index: self.next, kind: said.inner.clone(), input: String::new(), signed: false });
        self.next += 1;
        Ok(())
    }

    fn delta(&mut self, said: &Said) -> Result<(), String> {
        let Some(open) = self.open.as_mut().filter(|open| Some(open.index) == said.index) else {
            return Err(format!("a delta for block {:?}, which is not open", said.index));
        };
        if open.signed {
            return Err("a delta behind the signature".to_owned());
        }
        match (open.kind.as_str(), said.inner.as_str()) {
            ("text", "text_delta" | "citations_delta") | ("thinking", "thinking_delta") => {}
            ("thinking", "signature_delta") => open.signed = true,
            ("tool_use", "input_json_delta") => open.input.push_str(&said.fragment),
            (kind, inner) => return Err(format!("a {inner} in a block of {kind}")),
        }
        Ok(())
    }

    fn stop(&mut self, said: &Said) -> Result<(), String> {
        let Some(open) = self.open.take().filter(|open| Some(open.index) == said.index) else {
            return Err(format!("block {:?} stops, but is not open", said.index));
        };
        if open.kind == "thinking" && !open.signed {
            return Err("thinking without a signature".to_owned());
        }
        Ok(())
    }
}

impl Said {
    fn read(data: &str) -> Result<Self, JsonError> {
        let mut said = Self::default();
        let mut cursor = Cursor::over(data);
        cursor.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "type" => said.kind = value.string()?.into_owned(),
                "index" => said.index = Some(value.u64()?),
                "delta" | "content_block" => said.read_inner(value)?,
                "usage" => said.has_usage = value.peek()? == Kind::Object,
                _ => value.skip()?,
            }
            Ok(())
        })?;
        cursor.finish()?;
        Ok(said)
    }

    fn read_inner(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        cursor.object(|key, value| {
            match key.as_ref() {
                "type" => self.inner = value.string()?.into_owned(),
                "partial_json" => self.fragment = value.string()?.into_owned(),
                "input" => self.input_is_empty = value.json()?.is_empty(),
                "stop_reason" => self.has_stop_reason = value.peek()? == Kind::String,
                _ => value.skip()?,
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `events` (their data); says whether the last one is refused.
    fn refuses_last(events: &[&str]) -> bool {
        let mut grammar = Grammar::default();
        let (last, before) = events.split_last().unwrap();
        let mut next = |data: &str| {
            let kind = Said::read(data).unwrap().kind;
            grammar.next(&Frame { event: Some(&kind), data })
        };
        for data in before {
            next(data).unwrap();
        }
        next(last).is_err()
    }

    #[test]
    fn refuses_what_breaks_the_order() {
        let begin = r#"{"type":"message_start"}"#;
        let text = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text"}}"#;
        let words = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#;
        let close = r#"{"type":"content_block_stop","index":0}"#;
        let thinking = r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking"}}"#;
        let ending = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{}}"#;
        let end = r#"{"type":"message_stop"}"#;
        let error = r#"{"type":"error","error":{}}"#;
        for (events, refused) in [
            (&[begin, text, words, close, ending, end][..], false),
            (&[begin, text, words, error], false),
            (&[text], true),
            (&[begin, begin], true),
            (&[begin, words], true),
            (&[begin, text, text], true),
            (&[begin, text, close, words], true),
            (&[begin, text, close, text], true),
            (&[begin, text, ending], true),
            (&[begin, thinking, words], true),
            (&[begin, thinking, close], true),
            (&[begin, end], true),
            (&[begin, r#"{"type":"message_delta","delta":{},"usage":{}}"#], true),
            (&[begin, ending, ending], true),
            (&[begin, ending, end, end], true),
            (&[begin, error, end], true),
            (&[begin, r#"{"type":"content_block_start","index":1,"content_block":{"type":"text"}}"#], true),
        ] {
            assert_eq!(refuses_last(events), refused, "{events:?}");
        }
        let mut grammar = Grammar::default();
        assert!(grammar.next(&Frame { event: None, data: begin }).is_err());
    }
}

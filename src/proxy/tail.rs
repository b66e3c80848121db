//! The end of an answer that is passed through, in which its usage stands, and whether it was all.
//!
//! Such an answer may be of any size: an hour of audio, a thousand vectors. Where it reports usage, it does so behind
//! everything else, whether it is one JSON object or the last of many events, so its last bytes are all that is kept.

use memchr::memmem;
use tidegate_codec::hub::{FaultKind, Usage};
use tidegate_codec::{Format, Outcome, wire};

/// Bytes of the end that are looked at; up to twice as many are held.
const KEPT: usize = 8 * 1024;

/// The member that says why the model stopped.
const FINISH: &[u8] = b"\"finish_reason\"";

/// The last bytes of an answer.
#[derive(Debug)]
pub struct Tail {
    /// How its usage is written; `None` where it has none.
    format: Option<Format>,
    /// What the last event says, of a stream that has one.
    last: Option<&'static str>,
    /// How far one that is JSON has come, where its transport does not say that it was all.
    open: Option<Open>,
    bytes: Vec<u8>,
}

/// What of a JSON text is open.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Objects and lists.
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl Open {
    fn push(&mut self, piece: &[u8]) {
        for byte in piece {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.quoted => self.escaped = true,
                b'"' => self.quoted = !self.quoted,
                _ if self.quoted => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.depth == 0 && !self.quoted
    }
}

impl Tail {
    /// The end of an answer whose usage is written as in `format`, and whose stream ends with the event `last`.
    pub(super) fn new(format: Option<Format>, last: Option<&'static str>) -> Self {
        Self { format, last, open: None, bytes: Vec::new() }
    }

    /// The same, of JSON whose end its transport does not tell.
    pub(super) fn unframed(self) -> Self {
        Self { open: Some(Open::default()), ..self }
    }

    /// True if it was cut in a way that its client cannot see unless the transport says so.
    pub(super) fn is_cut(&self) -> bool {
        self.open.as_ref().is_some_and(|open| !open.is_closed())
    }

    /// Takes the next piece of the answer.
    pub(super) fn push(&mut self, piece: &[u8]) {
        if let Some(open) = &mut self.open {
            open.push(piece);
        }
        let last = piece.get(piece.len().saturating_sub(KEPT)..).unwrap_or_default();
        if self.bytes.len() + last.len() > 2 * KEPT {
            let surplus = self.bytes.len().saturating_sub(KEPT.saturating_sub(last.len()));
            self.bytes.drain(..surplus);
        }
        self.bytes.extend_from_slice(last);
    }

    /// What became of the answer, whose transport ended as it should.
    pub(super) fn outcome(&self) -> Outcome {
        let complete = !self.is_cut() && self.last.is_none_or(|last| self.ends_with(last));
        let fault = || (FaultKind::StreamIncomplete, "The provider's stream ended before the answer did".to_owned());
        Outcome { complete, usage: self.usage(), fault: (!complete).then(fault), ..Outcome::default() }
    }

    /// True if a line of the end is the event `last`. Some servers leave it out: then it is enough that the model stopped.
    fn ends_with(&self, last: &str) -> bool {
        let events = self.bytes.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:"));
        events.rev().any(|event| event.trim_ascii() == last.as_bytes())
            || memmem::find_iter(&self.bytes, FINISH).any(|at| {
                let value = self.bytes.get(at + FINISH.len()..).unwrap_or_default().trim_ascii_start();
                value.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"\""))
            })
    }

    /// The usage that the answer ends with.
    fn usage(&self) -> Option<Usage> {
        const KEY: &[u8] = b"\"usage\"";
        let wire = wire(self.format?);
        // Inside of a string its quotes would be escaped: what is found is a key, or a whole string.
        memmem::rfind_iter(&self.bytes, KEY).find_map(|at| {
            let object = object(self.bytes.get(at + KEY.len()..)?)?;
            wire.find_usage(&[b"{\"usage\":", object, b"}"].concat())
        })
    }
}

/// The object that follows a key.
fn object(rest: &[u8]) -> Option<&[u8]> {
    let rest = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let mut open = Open::default();
    let end = rest.iter().position(|byte| {
        open.push(&[*byte]);
        open.is_closed()
    });
    rest.get(..=end?).filter(|object| object.starts_with(b"{"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, expected: Option<(u64, u64)>) {
        for format in [Format::OpenaiChat, Format::OpenaiResponses] {
            let answer = match format {
                Format::OpenaiResponses => {
                    answer.replace("prompt_tokens", "input_tokens").replace("completion", "output")
                }
                _ => answer.to_owned(),
            };
            for size in [1, 7, answer.len().max(1)] {
                let mut tail = Tail::new(Some(format), None);
                answer.as_bytes().chunks(size).for_each(|piece| tail.push(piece));
                assert!(tail.bytes.len() <= 2 * KEPT);
                let found = tail.usage().map(|usage| (usage.input_uncached, usage.output_visible));
                assert_eq!(found, expected, "{format:?} by {size}: {answer:.80}");
            }
        }
    }

    #[test]
    fn a_stream_that_lacks_its_end_is_no_whole_one() {
        let complete = |stream: &str| {
            let mut tail = Tail::new(Some(Format::OpenaiChat), Some("[DONE]"));
            stream.as_bytes().chunks(5).for_each(|piece| tail.push(piece));
            tail.outcome().complete
        };
        let word = "data: {\"choices\":[{\"text\":\"data: [DONE] \\\"finish_reason\\\":\\\"stop\\\"\",\"finish_reason\":null}]}\n\n";
        for (end, expected) in [
            ("", false),
            ("data: [DONE]\n\n", true),
            ("data:[DONE]\r\n\r\n: bye\n", true),
            ("data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\n", true),
            ("data: {\"error\":{\"message\":\"down\"}}\n\n", false),
            ("data: [DO", false),
        ] {
            assert_eq!(complete(&[&word.repeat(3), end].concat()), expected, "{end:?}");
        }
    }

    #[test]
    fn usage_is_found_in_the_end() {
        let vectors = "0.1,".repeat(20_000);
        let usage = r#""usage": {"prompt_tokens":8,"total_tokens":8}"#;
        check(&format!(r#"{{"data":[{vectors}0],"model":"m",{usage}}}"#), Some((8, 0)));
        check(&format!(r#"{{{usage},"x":"\"usage\":{{"}}"#), Some((8, 0)));
        let usage = r#""usage":{"prompt_tokens":8,"completion_tokens":3,"total_tokens":11}"#;
        check(
            &format!("data: {{\"text\":\"a\"}}\n\ndata: {{\"text\":\"\",{usage}}}\n\ndata: [DONE]\n\n"),
            Some((8, 3)),
        );
        check(r#"{"usage":null,"a":1}"#, None);
        check(r#"{"a":"usage"}"#, None);
        check(r#"{"usage":{"a":"#, None);
        check("", None);
    }

    #[test]
    fn json_without_a_frame_is_cut_where_something_is_open() {
        let whole = r#"{"data": [{"a": "}]\"{"}, {}], "usage": null}"#;
        for at in 0..=whole.len() {
            let mut tail = Tail::new(None, None).unframed();
            let (one, two) = whole.as_bytes()[..at].split_at(at / 2);
            tail.push(one);
            tail.push(two);
            let cut = (1..whole.len()).contains(&at);
            assert_eq!((tail.is_cut(), tail.outcome().complete), (cut, !cut), "{at}");
        }
        let mut framed = Tail::new(None, None);
        framed.push(b"{");
        assert!(!framed.is_cut());
    }
}

//! The end of an answer that is passed through, in which its usage stands, and whether it was all.
//!
//! Such an answer may be of any size: an hour of audio, a thousand vectors. Where it reports usage, it does so behind
//! everything else, whether it is one JSON object or the last of many events, so its last bytes are all that is kept.

use memchr::memmem;
use tidegate_codec::hub::{FaultKind, Usage};
use tidegate_codec::{Format, Outcome, wire};

use super::open::Open;

/// Bytes of the end that are looked at; up to twice as many are held.
const KEPT: usize = 8 * 1024;

/// The member that says why the model stopped.
const FINISH: &[u8] = b"\"finish_reason\"";

/// The last bytes of an answer.
#[derive(Debug)]
pub struct Tail {
    format: Format,
    /// What the last event says, of a stream that has one.
    last: Option<&'static str>,
    bytes: Vec<u8>,
}

impl Tail {
    /// The end of an answer whose usage is written as in `format`, and whose stream ends with the event `last`.
    pub(super) fn new(format: Format, last: Option<&'static str>) -> Self {
        Self { format, last, bytes: Vec::new() }
    }

    /// Takes the next piece of the answer.
    pub(super) fn push(&mut self, piece: &[u8]) {
        let last = piece.get(piece.len().saturating_sub(KEPT)..).unwrap_or_default();
        if self.bytes.len() + last.len() > 2 * KEPT {
            let surplus = self.bytes.len().saturating_sub(KEPT.saturating_sub(last.len()));
            self.bytes.drain(..surplus);
        }
        self.bytes.extend_from_slice(last);
    }

    /// What became of the answer, whose transport ended as it should.
    pub(super) fn outcome(&self) -> Outcome {
        let complete = self.last.is_none_or(|last| self.ends_with(last));
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
        // Inside of a string its quotes would be escaped: what is found is a key, or a whole string.
        memmem::rfind_iter(&self.bytes, KEY).find_map(|at| {
            let object = object(self.bytes.get(at + KEY.len()..)?)?;
            wire(self.format).find_usage(&[b"{\"usage\":", object, b"}"].concat())
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
                let mut tail = Tail::new(format, None);
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
            let mut tail = Tail::new(Format::OpenaiChat, Some("[DONE]"));
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
}

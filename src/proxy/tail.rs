//! The end of an answer that is passed through, in which its usage stands.
//!
//! Such an answer may be of any size: an hour of audio, a thousand vectors. Where it reports usage, it does so behind
//! everything else, whether it is one JSON object or the last of many events, so its last bytes are all that is kept.

use memchr::memmem;
use tidegate_codec::hub::Usage;
use tidegate_codec::{Format, wire};

/// Bytes of the end that are looked at; up to twice as many are held.
const KEPT: usize = 8 * 1024;

/// The last bytes of an answer.
#[derive(Debug)]
pub struct Tail {
    format: Format,
    bytes: Vec<u8>,
}

impl Tail {
    /// The end of an answer whose usage is written as in `format`.
    pub(super) fn new(format: Format) -> Self {
        Self { format, bytes: Vec::new() }
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

    /// The usage that the answer ends with.
    pub(super) fn usage(&self) -> Option<Usage> {
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
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' => depth += 1,
            b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return rest.get(..=at).filter(|object| object.starts_with(b"{"));
        }
    }
    None
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
                let mut tail = Tail::new(format);
                answer.as_bytes().chunks(size).for_each(|piece| tail.push(piece));
                assert!(tail.bytes.len() <= 2 * KEPT);
                let found = tail.usage().map(|usage| (usage.input_uncached, usage.output_visible));
                assert_eq!(found, expected, "{format:?} by {size}: {answer:.80}");
            }
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

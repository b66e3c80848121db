//! The order in which a stream's chunks may come on the wire; what every writer of the format must keep.

use std::collections::BTreeMap;

use crate::frame::sse::Frame;
use crate::json::{Cursor, JsonError, Kind};

/// Checks a stream of the format, chunk by chunk.
#[derive(Debug, Default)]
pub struct Grammar {
    choices: BTreeMap<u64, Choice>,
    counted: bool,
    ended: bool,
}

/// What was seen of one answer.
#[derive(Debug, Default)]
struct Choice {
    has_role: bool,
    /// Tool calls begun; the next one has this index.
    calls: u64,
    finished: bool,
}

/// What a chunk says of itself.
#[derive(Default)]
struct Said {
    is_error: bool,
    has_usage: bool,
    has_choices: bool,
    pieces: Vec<Piece>,
}

#[derive(Default)]
struct Piece {
    index: Option<u64>,
    has_role: bool,
    says_more: bool,
    finishes: bool,
    calls: Vec<Call>,
}

#[derive(Default)]
struct Call {
    index: Option<u64>,
    has_id: bool,
    has_kind: bool,
    has_name: bool,
}

impl Grammar {
    /// Takes the next event.
    ///
    /// # Errors
    ///
    /// The event may not come here; says why.
    pub fn next(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        if self.ended {
            return Err(format!("{} behind the end", frame.data));
        }
        if frame.event.is_some() {
            return Err(format!("an event line {:?}: official clients know none", frame.event));
        }
        if frame.data == "[DONE]" {
            self.ended = true;
            return self.all_finished("[DONE]");
        }
        let said = Said::read(frame.data).map_err(|error| format!("{error} in {}", frame.data))?;
        if said.is_error {
            self.ended = true;
            return Ok(());
        }
        if self.counted {
            return Err("a chunk behind the usage".to_owned());
        }
        if !said.has_choices {
            return Err("neither choices nor an error".to_owned());
        }
        if said.pieces.is_empty() {
            return self.count(&said);
        }
        if said.has_usage {
            return Err("usage in a chunk with choices".to_owned());
        }
        said.pieces.iter().try_for_each(|piece| self.piece(piece))
    }

    /// True once nothing more may come.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    fn count(&mut self, said: &Said) -> Result<(), String> {
        if !said.has_usage {
            return Err("a chunk that says nothing".to_owned());
        }
        self.counted = true;
        self.all_finished("the usage")
    }

    fn all_finished(&self, what: &str) -> Result<(), String> {
        if self.choices.is_empty() {
            return Err(format!("{what} without any answer"));
        }
        match self.choices.iter().find(|(_, choice)| !choice.finished) {
            Some((index, _)) => Err(format!("{what}, but answer {index} did not finish")),
            None => Ok(()),
        }
    }

    fn piece(&mut self, piece: &Piece) -> Result<(), String> {
        let index = piece.index.ok_or("a choice without index")?;
        let choice = self.choices.entry(index).or_default();
        if choice.finished {
            return Err(format!("more of answer {index}, which has finished"));
        }
        if piece.has_role == choice.has_role {
            return Err(format!("answer {index}: the role stands in the first delta, and only there"));
        }
        choice.has_role = true;
        choice.finished = piece.finishes;
        if piece.finishes && piece.says_more {
            return Err(format!("answer {index} finishes in a chunk that says more"));
        }
        piece.calls.iter().try_for_each(|call| choice.call(call)).map_err(|why| format!("answer {index}: {why}"))
    }
}

impl Choice {
    fn call(&mut self, call: &Call) -> Result<(), String> {
        let index = call.index.ok_or("a tool call without index")?;
        let marks = [call.has_id, call.has_kind, call.has_name];
        if index == self.calls {
            self.calls += 1;
            return if marks == [true; 3] {
                Ok(())
            } else {
                Err(format!("call {index} begins without id, type or name"))
            };
        }
        if index > self.calls {
            return Err(format!("call {index} begins, but {} is next", self.calls));
        }
        if marks == [false; 3] { Ok(()) } else { Err(format!("call {index} has its id, type or name twice")) }
    }
}

impl Said {
    fn read(data: &str) -> Result<Self, JsonError> {
        let mut said = Self::default();
        let mut cursor = Cursor::over(data);
        cursor.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "error" => said.is_error = value.peek()? == Kind::Object,
                "usage" => said.has_usage = value.peek()? == Kind::Object,
                "choices" => {
                    said.has_choices = true;
                    value.array::<JsonError>(|_, choice| {
                        said.pieces.push(Piece::read(choice)?);
                        Ok(())
                    })?;
                }
                _ => {}
            }
            Ok(())
        })?;
        cursor.finish()?;
        Ok(said)
    }
}

impl Piece {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, JsonError> {
        let mut piece = Self::default();
        cursor.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "index" => piece.index = Some(value.u64()?),
                "finish_reason" => piece.finishes = value.peek()? == Kind::String,
                "delta" => piece.read_delta(value)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(piece)
    }

    fn read_delta(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        cursor.object(|key, value| {
            self.says_more = true;
            match key.as_ref() {
                "role" => self.has_role = value.string()? == "assistant",
                "tool_calls" => value.array::<JsonError>(|_, call| {
                    self.calls.push(Call::read(call)?);
                    Ok(())
                })?,
                _ => {}
            }
            Ok(())
        })
    }
}

impl Call {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, JsonError> {
        let mut call = Self::default();
        cursor.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "index" => call.index = Some(value.u64()?),
                "id" => call.has_id = !value.string()?.is_empty(),
                "type" => call.has_kind = !value.string()?.is_empty(),
                // The name may be empty in what a broken model calls, but the key may not come twice.
                "function" | "custom" => value.object::<JsonError>(|key, _| {
                    call.has_name |= key == "name";
                    Ok(())
                })?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
    const WORD: &str = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
    const CALL: &str = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]}}]}"#;
    const MORE: &str = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}"#;
    const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    const USAGE: &str = r#"{"choices":[],"usage":{"total_tokens":1}}"#;
    const ERROR: &str = r#"{"error":{"message":"m"}}"#;
    const DONE: &str = "[DONE]";

    /// Feeds `chunks`; says whether the last one is refused.
    fn refuses_last(chunks: &[&str]) -> bool {
        let mut grammar = Grammar::default();
        let (last, before) = chunks.split_last().unwrap();
        for data in before {
            grammar.next(&Frame { event: None, data }).unwrap();
        }
        grammar.next(&Frame { event: None, data: last }).is_err()
    }

    #[test]
    fn takes_what_may_come() {
        for chunks in [
            &[ROLE, WORD, CALL, MORE, STOP, USAGE, DONE][..],
            &[ROLE, STOP, DONE],
            &[ROLE, WORD, ERROR],
            &[ROLE, STOP, USAGE, ERROR],
            &[ERROR],
        ] {
            assert!(!refuses_last(chunks), "{chunks:?}");
        }
    }

    #[test]
    fn refuses_what_may_not() {
        for chunks in [
            &[WORD][..],
            &[ROLE, ROLE],
            &[ROLE, MORE],
            &[ROLE, CALL, CALL],
            &[ROLE, STOP, WORD],
            &[ROLE, STOP, STOP],
            &[ROLE, USAGE],
            &[ROLE, STOP, USAGE, USAGE],
            &[ROLE, DONE],
            &[DONE],
            &[ROLE, STOP, DONE, DONE],
            &[ERROR, DONE],
            &["{}"],
            &["not JSON"],
        ] {
            assert!(refuses_last(chunks), "{chunks:?}");
        }
    }
}

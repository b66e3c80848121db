//! The order in which a stream's pieces may come on the wire; what every writer of the format must keep.

use crate::frame::sse::Frame;
use crate::json::{Cursor, JsonError, Kind};

/// Checks a stream of the format, piece by piece.
#[derive(Debug, Default)]
pub struct Grammar {
    ended: bool,
    id: Option<String>,
    /// Answers that have begun, and whether they ended.
    answers: Vec<(u64, bool)>,
}

/// What a piece says of itself.
#[derive(Default)]
struct Said {
    first_key: String,
    id: Option<String>,
    answers: Vec<Answer>,
    usage: bool,
    error: bool,
    refused: bool,
}

#[derive(Default)]
struct Answer {
    index: u64,
    finish: bool,
    role: String,
    parts: u32,
}

impl Grammar {
    /// Takes the next piece.
    ///
    /// # Errors
    ///
    /// The piece may not come here; says why.
    pub fn next(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        if frame.event.is_some() {
            return Err("an event with a name, which the vendor's SDK takes for JSON".to_owned());
        }
        let said = Said::read(frame.data).map_err(|error| format!("{error} in {}", frame.data))?;
        if self.ended {
            return Err("a piece behind the end".to_owned());
        }
        if said.error {
            self.ended = true;
            // SDKs look at the first bytes.
            return if said.first_key == "error" { Ok(()) } else { Err("an error that begins otherwise".to_owned()) };
        }
        if said.refused && said.answers.is_empty() && self.answers.is_empty() {
            // There is no answer to a prompt that was refused.
            self.ended = true;
            return Ok(());
        }
        if said.answers.is_empty() {
            return Err("a piece without answers".to_owned());
        }
        if *self.id.get_or_insert_with(|| said.id.clone().unwrap_or_default()) != said.id.unwrap_or_default() {
            return Err("the answer's id changes".to_owned());
        }
        for answer in &said.answers {
            self.answer(answer)?;
        }
        let finishes = said.answers.iter().any(|answer| answer.finish);
        if said.usage && !finishes {
            return Err("usage before the last piece".to_owned());
        }
        self.ended = finishes && self.answers.iter().all(|(_, ended)| *ended);
        if finishes && !self.ended {
            return Err("an answer has no reason in the last piece".to_owned());
        }
        Ok(())
    }

    /// True once nothing more may come.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    fn answer(&mut self, answer: &Answer) -> Result<(), String> {
        if answer.role != "model" || answer.parts != 1 {
            return Err(format!("{} parts of {:?}", answer.parts, answer.role));
        }
        match self.answers.iter_mut().find(|(index, _)| *index == answer.index) {
            Some((index, true)) => return Err(format!("answer {index} goes on behind its reason")),
            Some((_, ended)) => *ended = answer.finish,
            None => self.answers.push((answer.index, answer.finish)),
        }
        Ok(())
    }
}

impl Said {
    fn read(data: &str) -> Result<Self, JsonError> {
        let mut said = Self::default();
        let mut cursor = Cursor::over(data);
        cursor.object::<JsonError>(|key, value| {
            if said.first_key.is_empty() {
                said.first_key = key.clone().into_owned();
            }
            match key.as_ref() {
                "responseId" => said.id = Some(value.string()?.into_owned()),
                "usageMetadata" => said.usage = value.peek()? == Kind::Object,
                "error" => said.error = true,
                "promptFeedback" => said.refused = value.json()?.as_str().contains("\"blockReason\""),
                "candidates" => value.array::<JsonError>(|_, element| {
                    said.answers.push(Answer::read(element)?);
                    Ok(())
                })?,
                _ => value.skip()?,
            }
            Ok(())
        })?;
        cursor.finish()?;
        Ok(said)
    }
}

impl Answer {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, JsonError> {
        let mut answer = Self::default();
        cursor.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "index" => answer.index = value.u64()?,
                "finishReason" => answer.finish = value.peek()? == Kind::String,
                "content" => value.object::<JsonError>(|key, value| {
                    match key.as_ref() {
                        "role" => answer.role = value.string()?.into_owned(),
                        "parts" => value.array::<JsonError>(|_, part| {
                            answer.parts += u32::from(part.peek()? == Kind::Object);
                            Ok(())
                        })?,
                        _ => value.skip()?,
                    }
                    Ok(())
                })?,
                _ => value.skip()?,
            }
            Ok(())
        })?;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds pieces; says whether the last one is refused.
    fn refuses_last(pieces: &[&str]) -> bool {
        let mut grammar = Grammar::default();
        let (last, before) = pieces.split_last().unwrap();
        for data in before {
            grammar.next(&Frame { event: None, data }).unwrap();
        }
        grammar.next(&Frame { event: None, data: last }).is_err()
    }

    #[test]
    fn refuses_what_breaks_the_order() {
        let words =
            r#"{"candidates":[{"content":{"parts":[{"text":"a"}],"role":"model"},"index":0}],"responseId":"r"}"#;
        let other =
            r#"{"candidates":[{"content":{"parts":[{"text":"a"}],"role":"model"},"index":0}],"responseId":"s"}"#;
        let end = r#"{"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"STOP","index":0}],"responseId":"r","usageMetadata":{}}"#;
        let early = r#"{"candidates":[{"content":{"parts":[{"text":"a"}],"role":"model"},"index":0}],"responseId":"r","usageMetadata":{}}"#;
        let error = r#"{"error":{"code":500}}"#;
        for (pieces, refused) in [
            (&[words, words, end][..], false),
            (&[words, error], false),
            (&[end], false),
            (&[words, other], true),
            (&[early], true),
            (&[end, words], true),
            (&[error, words], true),
            (&[r#"{"candidates":[]}"#], true),
            (&[r#"{"code":1,"error":{}}"#], true),
            (&[r#"{"candidates":[{"content":{"parts":[],"role":"model"}}]}"#], true),
        ] {
            assert_eq!(refuses_last(pieces), refused, "{pieces:?}");
        }
        assert!(Grammar::default().next(&Frame { event: Some("x"), data: words }).is_err());
    }
}

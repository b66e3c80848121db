//! The name of the model in an answer that is otherwise passed on as it came.

use bytes::Bytes;

use crate::Format;
use crate::format::wire;
use crate::json::{Cursor, Edits, JsonError, Kind, Span, Writer};

/// Puts the name that a client asked for in the place of the one that its provider answers with.
///
/// Some clients take an answer of another name for the answer of another model. Claude Code leaves the signed thinking
/// of such a turn out of its history, with which a tool loop goes on without reasoning or fails.
#[derive(Debug)]
pub struct Naming {
    places: &'static [&'static [&'static str]],
    /// The name as JSON, in quotes.
    name: Vec<u8>,
}

impl Naming {
    /// For answers of `format` to a client that asked for `name`.
    #[must_use]
    pub fn new(format: Format, name: &str) -> Self {
        let mut quoted = Vec::with_capacity(name.len() + 2);
        Writer::new(&mut quoted).plain(name);
        Self { places: wire(format).spec().answer_model, name: quoted }
    }

    /// A whole answer under the name, every other byte as it was; `None` where it names no model.
    #[must_use]
    pub fn whole(&self, document: &[u8]) -> Option<Vec<u8>> {
        let mut edits = Edits::default();
        self.edit(std::str::from_utf8(document).ok()?, 0, &mut edits);
        edits.apply(document)
    }

    /// Whole lines of an event stream under the name, every other byte as it was.
    #[must_use]
    pub fn lines(&self, lines: Bytes) -> Bytes {
        let Ok(text) = std::str::from_utf8(&lines) else { return lines };
        let mut edits = Edits::default();
        let mut at = 0;
        for line in text.split_inclusive(['\n', '\r']) {
            let field = line.strip_prefix('\u{feff}').unwrap_or(line);
            if let Some(data) = field.strip_prefix("data:") {
                self.edit(data, at + line.len() - data.len(), &mut edits);
            }
            at += line.len();
        }
        edits.apply(&lines).map_or(lines, Bytes::from)
    }

    /// Notes the edit of a document that stands at byte `at`.
    fn edit(&self, document: &str, at: usize, edits: &mut Edits) {
        let found = self.places.iter().find_map(|path| {
            let mut found = None;
            // What is malformed behind the name is the client's to find out, as ever.
            let _ = find(&mut Cursor::over(document), path, &mut found);
            found
        });
        if let Some(span) = found {
            edits.replace(at + span.start..at + span.end, self.name.clone());
        }
    }
}

/// It was found, or there is nothing to be found.
struct Ended;

impl From<JsonError> for Ended {
    fn from(_: JsonError) -> Self {
        Self
    }
}

/// Where the string at `path` stands, its quotes included, unless it is empty: a frame without a model has an empty one.
fn find(cursor: &mut Cursor<'_>, path: &[&str], found: &mut Option<Span>) -> Result<(), Ended> {
    let Some((key, rest)) = path.split_first() else {
        let start = cursor.offset();
        if !cursor.text()?.is_empty() {
            *found = Some(start..cursor.position());
        }
        return Err(Ended);
    };
    if cursor.peek()? != Kind::Object {
        return Err(Ended);
    }
    cursor.object(|name, value| if name == *key { find(value, rest, found) } else { Ok(value.skip()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_model_of_a_whole_answer_is_another() {
        let check = |format, document: &str, expect: Option<&str>| {
            let named = Naming::new(format, "our \"own\"").whole(document.as_bytes());
            assert_eq!(named.map(|bytes| String::from_utf8(bytes).unwrap()).as_deref(), expect, "{document}");
        };
        check(
            Format::OpenaiChat,
            "{ \"choices\":[{\"model\":\"x\"}],\"mod\\u0065l\" : \"gpt-5\\u002d1\" , \"usage\":1}\n",
            Some("{ \"choices\":[{\"model\":\"x\"}],\"mod\\u0065l\" : \"our \\\"own\\\"\" , \"usage\":1}\n"),
        );
        check(
            Format::AnthropicMessages,
            r#"{"content":[{"input":{"model":"x"}}],"model":"c"}"#,
            Some(r#"{"content":[{"input":{"model":"x"}}],"model":"our \"own\""}"#),
        );
        check(Format::OpenaiResponses, r#"{"model":"r"}"#, Some(r#"{"model":"our \"own\""}"#));
        check(
            Format::GeminiGenerate,
            r#"{"model":"m","modelVersion":"g"}"#,
            Some(r#"{"model":"m","modelVersion":"our \"own\""}"#),
        );
        for none in [
            r#"{"model":""}"#,
            r#"{"model":null}"#,
            r#"{"model":7}"#,
            r#"{"x":{"model":"m"}}"#,
            "[]",
            "",
            "{",
            "<html>",
        ] {
            check(Format::OpenaiChat, none, None);
        }
    }

    #[test]
    fn every_event_of_a_stream_is_under_the_name() {
        let check = |format, lines: &str, expect: &str| {
            let named = Naming::new(format, "own").lines(Bytes::copy_from_slice(lines.as_bytes()));
            assert_eq!(named, expect.as_bytes(), "{lines}");
        };
        check(
            Format::OpenaiChat,
            "\u{feff}data: {\"model\":\"\"}\r\n\r\ndata:{\"id\":1,\"model\":\"m\",\"x\":\"model\"}\r\n\r\n: model\r\rdata: {\"model\":\"m\"}\n\ndata: [DONE]\n\n",
            "\u{feff}data: {\"model\":\"\"}\r\n\r\ndata:{\"id\":1,\"model\":\"own\",\"x\":\"model\"}\r\n\r\n: model\r\rdata: {\"model\":\"own\"}\n\ndata: [DONE]\n\n",
        );
        check(
            Format::AnthropicMessages,
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"a\",\"model\":\"claude\",\"content\":[]}}\n\nevent: content_block_delta\ndata: {\"delta\":{\"model\":\"x\"}}\n\n",
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"a\",\"model\":\"own\",\"content\":[]}}\n\nevent: content_block_delta\ndata: {\"delta\":{\"model\":\"x\"}}\n\n",
        );
        check(
            Format::OpenaiResponses,
            "event: response.created\ndata: {\"response\":{\"model\":\"r\",\"output\":[]}}\n\n",
            "event: response.created\ndata: {\"response\":{\"model\":\"own\",\"output\":[]}}\n\n",
        );
        check(Format::GeminiGenerate, "data: {\"modelVersion\":\"g\"}\n\n", "data: {\"modelVersion\":\"own\"}\n\n");
    }
}

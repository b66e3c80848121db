//! State in a request that only the provider, or the account, that made it can read.
//!
//! Much of it lies at its maker, and the request only names it: an earlier answer, a file, a container. Some of it is in
//! the request, sealed by its maker: signatures of thoughts, encrypted reasoning. What is in an envelope of ours is none:
//! the edge hands that to its maker's format or leaves it out.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::Spec;
use crate::json::{Cursor, JsonError, Kind};

/// A member that holds state.
#[derive(Debug)]
pub struct Holder {
    /// Its name.
    pub key: &'static str,
    /// What its value contains; empty for anything.
    pub mark: &'static str,
    /// What it is called.
    pub name: &'static str,
}

impl Holder {
    /// A member whose value is state, whatever it is.
    #[must_use]
    pub const fn any(key: &'static str) -> Self {
        Self { key, mark: "", name: key }
    }
}

/// Where a format's requests hold state.
#[derive(Debug)]
pub struct StateFields {
    /// Members that name what lies at its maker: without it the request makes no sense.
    pub named: &'static [Holder],
    /// Members that hold what its maker sealed: without it the answer may be the worse.
    pub sealed: &'static [Holder],
    /// Members with data of clients, in which any name may stand.
    pub foreign: &'static [&'static str],
    /// Answers are kept, and later requests name them by their ids.
    pub answers: bool,
}

/// State that was found in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// What holds it: one of a few words.
    pub name: &'static str,
    /// It lies at its maker, who alone can serve the request.
    pub needed: bool,
    /// Equal for equal state, in every process of one build.
    pub number: u64,
}

impl State {
    /// The number of state that is known by `id`.
    #[must_use]
    pub fn number_of(id: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        hasher.finish()
    }
}

/// Bytes of an answer in which its id is looked for.
const BEGINNING: usize = 1024;
/// How envelopes of ours begin, as text and as bytes in base64.
const ENVELOPES: [&str; 2] = ["tg1.", "dGcxL"];
/// What stands for a signature where nobody signed.
const UNSIGNED: [&str; 2] = ["skip_thought_signature_validator", "context_engineering_is_the_way_to_go"];

impl Spec {
    /// The state in the request `body`, what lies at its maker before what is sealed; of a body that cannot be read, as
    /// far as it can.
    #[must_use]
    pub fn state(&self, body: &[u8]) -> Option<State> {
        let fields = &self.state;
        let holds = |holder: &Holder| {
            let key = ["\"", holder.key, "\""].concat();
            memchr::memmem::find(body, if holder.mark.is_empty() { key.as_bytes() } else { holder.mark.as_bytes() })
        };
        // Most requests hold none, and are not read for that.
        fields.named.iter().chain(fields.sealed).find_map(holds)?;
        let mut found = None;
        let mut cursor = Cursor::over_bytes(body).ok()?;
        let _ = fields.walk(&mut cursor, &mut found);
        found
    }
}

impl Spec {
    /// The id of the answer, or of the stream, that begins with `piece`, where later requests may name it; an id that does
    /// not stand among the first few bytes is not found.
    #[must_use]
    pub fn answer_id<'p>(&self, piece: &'p [u8]) -> Option<&'p str> {
        let begin = piece.get(..piece.len().min(BEGINNING)).filter(|_| self.state.answers)?;
        text_named(begin, "id")
    }
}

/// The first text that a member called `name` has in `piece`, the beginning of some JSON; `None` where it is empty or
/// not whole. Of ids, which hold nothing that would be escaped.
#[must_use]
pub fn text_named<'p>(piece: &'p [u8], name: &str) -> Option<&'p str> {
    let key = ["\"", name, "\""].concat();
    let mut found = memchr::memmem::find_iter(piece, &key);
    found.find_map(|at| text_of(piece.get(at + key.len()..)?))
}

/// The text behind a key.
fn text_of(behind: &[u8]) -> Option<&str> {
    let value = behind.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    let end = memchr::memchr(b'"', value)?;
    std::str::from_utf8(value.get(..end)?).ok().filter(|id| !id.is_empty())
}

impl StateFields {
    fn walk(&self, at: &mut Cursor<'_>, found: &mut Option<State>) -> Result<(), JsonError> {
        match at.peek()? {
            Kind::Object => at.object(|key, value| {
                if found.is_some_and(|state| state.needed) || self.foreign.contains(&key.as_ref()) {
                    return value.skip();
                }
                let mut inside = value.clone();
                self.walk(value, found)?;
                self.member(&key, &mut inside, found)
            }),
            Kind::Array => at.array(|_, value| self.walk(value, found)),
            _ => at.skip(),
        }
    }

    fn member(&self, key: &str, value: &mut Cursor<'_>, found: &mut Option<State>) -> Result<(), JsonError> {
        for (needed, holders) in [(true, self.named), (false, self.sealed)] {
            for holder in holders.iter().filter(|holder| holder.key == key) {
                let replaces = found.is_none_or(|state| needed && !state.needed);
                if let (true, Some(id)) = (replaces, id_in(&mut value.clone())?)
                    && id.contains(holder.mark)
                {
                    *found = Some(State { name: holder.name, needed, number: State::number_of(&id) });
                }
            }
        }
        Ok(())
    }
}

/// The text that names or is the state: a string, the `id` of an object, or the first of a list.
fn id_in(value: &mut Cursor<'_>) -> Result<Option<String>, JsonError> {
    let mut id = None;
    match value.peek()? {
        Kind::String => id = Some(value.string()?.into_owned()),
        Kind::Object => value.object(|key, value| {
            if key == "id" && value.peek()? == Kind::String {
                id = Some(value.string()?.into_owned());
            }
            Ok::<_, JsonError>(())
        })?,
        Kind::Array => value.array(|_, value| {
            if id.is_none() && value.peek()? == Kind::String {
                id = Some(value.string()?.into_owned());
            }
            Ok::<_, JsonError>(())
        })?,
        _ => {}
    }
    let none = |id: &String| id.is_empty() || UNSIGNED.contains(&id.as_str());
    let ours = |id: &String| ENVELOPES.iter().any(|begin| id.starts_with(begin));
    Ok(id.filter(|id| !none(id) && !ours(id)))
}

#[cfg(test)]
mod tests {
    use super::State;
    use crate::{Format, wire};

    fn found(format: Format, body: &str) -> Option<(&'static str, bool)> {
        wire(format).spec().state(body.as_bytes()).map(|state| (state.name, state.needed))
    }

    #[test]
    fn state_is_found_where_each_format_holds_it() {
        use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};
        for (format, body, expected) in [
            (R, r#"{"input":"q","previous_response_id":"resp_1"}"#, Some(("previous_response_id", true))),
            (R, r#"{"input":"q","previous_response_id":null}"#, None),
            (R, r#"{"conversation":{"id":"conv_1"}}"#, Some(("conversation", true))),
            (R, r#"{"conversation":"conv_1"}"#, Some(("conversation", true))),
            (R, r#"{"input":[{"type":"item_reference","id":"msg_1"}]}"#, Some(("item_reference", true))),
            (R, r#"{"input":[{"type":"reasoning","encrypted_content":"gAAA"}]}"#, Some(("encrypted_content", false))),
            (R, r#"{"input":[{"type":"reasoning","encrypted_content":"tg1.abc"}]}"#, None),
            (R, r#"{"input":[{"encrypted_content":"g"},{"content":[{"file_id":"file-1"}]}]}"#, Some(("file_id", true))),
            (R, r#"{"tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]}"#, Some(("vector_store_ids", true))),
            (R, r#"{"tools":[{"type":"code_interpreter","container":{"type":"auto"}}]}"#, None),
            (
                R,
                r#"{"tools":[{"type":"function","parameters":{"file_id":"x"}}],"metadata":{"conversation":"x"}}"#,
                None,
            ),
            (A, r#"{"container":"container_1"}"#, Some(("container", true))),
            (A, r#"{"container":{"id":"container_1","skills":[]}}"#, Some(("container", true))),
            (
                A,
                r#"{"messages":[{"content":[{"type":"document","source":{"file_id":"f"}}]}]}"#,
                Some(("file_id", true)),
            ),
            (A, r#"{"messages":[{"content":[{"type":"thinking","signature":"Eq"}]}]}"#, Some(("signature", false))),
            (A, r#"{"messages":[{"content":[{"type":"thinking","signature":""}]}]}"#, None),
            (A, r#"{"messages":[{"content":[{"type":"tool_use","input":{"file_id":"f","signature":"s"}}]}]}"#, None),
            (G, r#"{"cachedContent":"cachedContents/1"}"#, Some(("cachedContent", true))),
            (G, r#"{"contents":[{"parts":[{"thoughtSignature":"Cs"}]}]}"#, Some(("thoughtSignature", false))),
            (G, r#"{"contents":[{"parts":[{"thoughtSignature":"skip_thought_signature_validator"}]}]}"#, None),
            (
                G,
                r#"{"contents":[{"parts":[{"fileData":{"fileUri":"https://g.example/v1beta/files/a"}}]}]}"#,
                Some(("fileUri", true)),
            ),
            (G, r#"{"contents":[{"parts":[{"fileData":{"fileUri":"gs://bucket/a"}}]}]}"#, None),
            (C, r#"{"messages":[{"content":[{"type":"file","file":{"file_id":"f"}}]}]}"#, Some(("file_id", true))),
            (
                C,
                r#"{"audio":{"voice":"alloy"},"messages":[{"role":"assistant","audio":{"id":"audio_1"}}]}"#,
                Some(("audio", true)),
            ),
            (C, r#"{"audio":{"voice":"alloy"},"messages":[{"content":"\"file_id\""}]}"#, None),
            (C, r#"{"file_id""#, None),
        ] {
            assert_eq!(found(format, body), expected, "{body}");
        }
    }

    #[test]
    fn an_answer_is_known_by_its_id_where_it_is_kept() {
        let spec = wire(Format::OpenaiResponses).spec();
        let event =
            "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\"}}\n\n";
        assert_eq!(spec.answer_id(event.as_bytes()), Some("resp_1"));
        assert_eq!(spec.answer_id(b"{\n  \"id\" : \"resp_2\", \"previous_response_id\": \"resp_1\"}"), Some("resp_2"));
        for none in ["", "{\"id\":", "{\"id\":\"resp", "{\"id\":\"\"}", "{\"id\":7}"] {
            assert_eq!(spec.answer_id(none.as_bytes()), None, "{none}");
        }
        assert_eq!(wire(Format::OpenaiChat).spec().answer_id(b"{\"id\":\"chatcmpl\"}"), None);
    }

    #[test]
    fn equal_state_has_equal_numbers() {
        let number = |body: &str| wire(Format::OpenaiResponses).spec().state(body.as_bytes()).map(|state| state.number);
        let one = number(r#"{"previous_response_id":"resp_1"}"#);
        assert_eq!(one, number(r#"{"input":"more", "previous_response_id" : "resp_1"}"#));
        assert_eq!(one, Some(State::number_of("resp_1")));
        assert_ne!(one, number(r#"{"previous_response_id":"resp_2"}"#));
    }
}

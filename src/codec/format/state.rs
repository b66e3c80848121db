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
    /// Members that hold state beside what is sent without it, so that its loss is named by them. What is nothing but state,
    /// as encrypted reasoning, is lost as a whole, with all that it says besides.
    pub bearing: &'static [&'static str],
    /// Members with data of clients, in which any name may stand.
    pub foreign: &'static [&'static str],
    /// Answers are kept, and later requests name them by their ids.
    pub answers: bool,
    /// Something is kept of what is asked on [`Spec::same_format_paths`], and its answer names that.
    pub made: bool,
    /// Members of answers that name what is kept, the answer's own first.
    pub ids: &'static [&'static str],
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

/// The ids that the members `names` hold of what `begin` is the beginning of: an object, or the first event of a stream, in
/// which the answer stands as `response`, or a file that was uploaded as `file`. What is deeper within speaks of other
/// things, and what is not whole is no id.
#[must_use]
pub fn ids_shown(begin: &[u8], names: &[&str]) -> Vec<String> {
    let whole = begin.utf8_chunks().next().map(|chunk| chunk.valid()).unwrap_or_default();
    let mut found = Vec::new();
    if let Some(object) = whole.find('{').and_then(|at| whole.get(at..)) {
        // It ends where what is here ends.
        let _ = ids_in(&mut Cursor::over(object), names, &mut found);
    }
    found
}

fn ids_in(at: &mut Cursor<'_>, names: &[&str], found: &mut Vec<String>) -> Result<(), JsonError> {
    at.object(|key, value| match (value.peek()?, key.as_ref()) {
        (Kind::Object, "response" | "file") => ids_in(value, names, found),
        (Kind::String, key) if names.contains(&key) => {
            found.extend(Some(value.string()?.into_owned()).filter(|id| !id.is_empty()));
            Ok(())
        }
        _ => value.skip(),
    })
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

/// The text that names or is the state: a string, the id in an object, or the first of a list.
fn id_in(value: &mut Cursor<'_>) -> Result<Option<String>, JsonError> {
    let mut id = None;
    match value.peek()? {
        Kind::String => id = Some(value.string()?.into_owned()),
        Kind::Object => value.object(|key, value| {
            if matches!(key.as_ref(), "id" | "previous_message_id") && value.peek()? == Kind::String {
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
    use super::{State, ids_shown};
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
            (R, r#"{"input":[{"type":"compaction_trigger"}]}"#, Some(("compaction_trigger", true))),
            (R, r#"{"context_management":[{"type":"compaction"}]}"#, None),
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
            (A, r#"{"thread":{"type":"continue","previous_message_id":"msg_1"}}"#, Some(("thread", true))),
            (A, r#"{"thread":{"type":"create"},"diagnostics":{"previous_message_id":"msg_1"}}"#, None),
            (G, r#"{"cachedContent":"cachedContents/1"}"#, Some(("cachedContent", true))),
            (G, r#"{"contents":[{"parts":[{"thoughtSignature":"Cs"}]}]}"#, Some(("thoughtSignature", false))),
            (G, r#"{"contents":[{"parts":[{"thoughtSignature":"skip_thought_signature_validator"}]}]}"#, None),
            (
                G,
                r#"{"contents":[{"parts":[{"fileData":{"fileUri":"https://g.example/v1beta/files/a"}}]}]}"#,
                Some(("fileUri", true)),
            ),
            (G, r#"{"contents":[{"parts":[{"fileData":{"fileUri":"gs://bucket/a"}}]}]}"#, None),
            (G, r#"{"batch":{"inputConfig":{"fileName":"files/a"}}}"#, Some(("fileName", true))),
            (
                G,
                r#"{"tools":[{"fileSearch":{"fileSearchStoreNames":["fileSearchStores/a"]}}]}"#,
                Some(("fileSearchStoreNames", true)),
            ),
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
    fn ids_are_those_of_the_answer_itself() {
        let batch = r#"{"metadata":{"id":"other","x":"{\"id\":\"no\"}"},"errors":[{"id":"no"}],"id":"batch_1","output_file_id":"file-2","error_file_id":null,"n":1.5,"é":"é"}"#;
        let stream = "event: response.created\ndata: {\"type\":\"x\",\"response\":{\"error\":{\"id\":\"no\"},\"id\":\"resp_1\"}}\n\ndata: {\"id\":\"no\"}";
        for (text, expected) in [(batch, &["batch_1", "file-2"][..]), (stream, &["resp_1"])] {
            let names = ["id", "output_file_id", "error_file_id"];
            assert_eq!(ids_shown(text.as_bytes(), &names), expected);
            for cut in 0..text.len() {
                let whole = |id: &&&str| text.find(*id).is_some_and(|at| at + id.len() < cut);
                let here: Vec<_> = expected.iter().filter(whole).collect();
                let found = ids_shown(&text.as_bytes()[..cut], &names);
                assert!(found.iter().eq(here), "{cut}: {found:?}");
            }
        }
        let file =
            br#"{"file":{"name":"files/f","state":"ACTIVE","uri":"https://g/v1beta/files/f","x":{"name":"no"}}}"#;
        assert_eq!(ids_shown(file, &["name", "uri"]), ["files/f", "https://g/v1beta/files/f"]);
        for none in ["", "[]", "\"id\"", "{\"id\":1}", "{\"id\":\"\"}", "\u{0}", "data: ", "{{\"id\":\"a\"}"] {
            assert_eq!(ids_shown(none.as_bytes(), &["id"]), Vec::<String>::new(), "{none}");
        }
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

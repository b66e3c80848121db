//! Request lines: what a path and its query say, read and written.
//!
//! Most formats say everything in the body, and their paths are constants. One has the model and the stream in the
//! path (`…/models/{model}:streamGenerateContent?alt=sse`). Both kinds are data of a [`Spec`], and this is the one place
//! that reads and writes them.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::Spec;
use crate::hub::media::percent_decode;
use crate::json::{respell, strings_at};

/// Stands for the model's name in a path.
const MODEL: &str = "{model}";
/// The same behind its first brace.
const MODEL_TAIL: &str = "model}";

/// What a client asks for, by path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// An answer of a model: translated where formats differ.
    Generate,
    /// The number of tokens of such a request, see [`Counting`](super::Counting): translated where formats differ.
    Count,
    /// A path of the client's format that only a provider of the same format can serve; its position in
    /// [`Spec::same_format_paths`].
    SameFormat(usize),
}

/// What a path and its query say, in formats that have it there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line<'a> {
    /// The model's name, decoded.
    pub model: Option<Cow<'a, str>>,
    /// A stream is wanted, and in which form.
    pub stream: Option<Framing>,
}

/// What separates the pieces of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Framing {
    /// Server-sent events.
    #[default]
    Events,
    /// The elements of one JSON array.
    JsonArray,
}

impl Framing {
    /// The media type of such a stream.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream",
            Self::JsonArray => "application/json",
        }
    }
}

/// How the paths of a format name the model and the stream.
#[derive(Debug)]
pub struct Addressing {
    /// Path of requests for a stream, as [`Spec::path`] is for a whole answer.
    pub stream_path: &'static str,
    /// The query that asks for a stream of events; without it a stream is a JSON array.
    pub events_query: &'static str,
    /// First segments of paths that mean the same, with their slashes; the paths of the [`Spec`] begin with the first.
    pub versions: &'static [&'static str],
    /// Headers that only clients of the format send.
    pub client_headers: &'static [&'static str],
    /// Members of bodies that name the model again, each as keys from the outermost object inward, with or without
    /// [`Addressing::FOLDER`] before it.
    pub model_members: &'static [&'static [&'static str]],
    /// The query parameter that may hold the client's key.
    pub key_parameter: &'static str,
}

impl Spec {
    /// What `path` (with `query`) asks for; `None` where it is no path of this format.
    #[must_use]
    pub fn find<'p>(&self, path: &'p str, query: Option<&str>) -> Option<(Operation, Line<'p>)> {
        let Some(addressing) = self.addressing else {
            let found = self.paths().find(|(_, known)| *known == path);
            return found.map(|(operation, _)| (operation, Line::default()));
        };
        let line = |model: Cow<'p, str>, stream| Line { model: Some(model), stream };
        let find = |template: &str| addressing.model_in(template, path);
        if let Some(model) = find(addressing.stream_path) {
            let events = query.unwrap_or_default().split('&').any(|pair| pair == addressing.events_query);
            let framing = if events { Framing::Events } else { Framing::JsonArray };
            return Some((Operation::Generate, line(model, Some(framing))));
        }
        self.paths().find_map(|(operation, known)| Some((operation, line(find(known)?, None))))
    }

    /// The path of `operation`; `None` where the format has no such operation.
    #[must_use]
    pub fn path_of(&self, operation: Operation) -> Option<&'static str> {
        match operation {
            Operation::Generate => Some(self.path),
            Operation::Count => self.counting.map(|counting| counting.path),
            Operation::SameFormat(at) => self.same_format_paths.get(at).copied(),
        }
    }

    /// What can be asked for, and by which path.
    fn paths(&self) -> impl Iterator<Item = (Operation, &'static str)> {
        let same = (0..self.same_format_paths.len()).map(Operation::SameFormat);
        let all = [Operation::Generate, Operation::Count].into_iter().chain(same);
        all.filter_map(|operation| Some((operation, self.path_of(operation)?)))
    }

    /// The path and query to ask a provider for, behind its base path; `stream` is how a stream of an answer is wanted.
    #[must_use]
    pub fn request_line(&self, operation: Operation, model: &str, stream: Option<Framing>) -> Cow<'static, str> {
        let path = self.path_of(operation).unwrap_or(self.path);
        let Some(addressing) = self.addressing else { return Cow::Borrowed(path) };
        let stream = stream.filter(|_| operation == Operation::Generate);
        let path = if stream.is_some() { addressing.stream_path } else { path };
        let name = model.strip_prefix(Addressing::FOLDER).unwrap_or(model);
        let mut line = path.replace(MODEL, &as_segment(name));
        if stream == Some(Framing::Events) {
            line.push('?');
            line.push_str(addressing.events_query);
        }
        Cow::Owned(line)
    }
}

impl Spec {
    /// `model` without what may stand before its name where a body of this format names it.
    #[must_use]
    pub fn bare<'m>(&self, model: &'m str) -> &'m str {
        let folder = self.addressing.map_or("", |_| Addressing::FOLDER);
        model.strip_prefix(folder).unwrap_or(model)
    }
}

impl Addressing {
    /// What may stand before a model's name.
    pub const FOLDER: &'static str = "models/";

    /// `body` with the model `from` named `to` wherever it is named again; `None` where it is not.
    #[must_use]
    pub fn rename_in(&self, body: &[u8], from: &str, to: &str) -> Option<Vec<u8>> {
        let name = |name: &'_ str| name.strip_prefix(Self::FOLDER).unwrap_or(name).to_owned();
        let (from, to) = (name(from), name(to));
        let with = |written: &str| {
            (name(written) == from).then(|| if written == from { to.clone() } else { format!("{}{to}", Self::FOLDER) })
        };
        self.model_members.iter().fold(None, |body_now: Option<Vec<u8>>, path| {
            respell(body_now.as_deref().unwrap_or(body), path, with).or(body_now)
        })
    }

    /// The models that `body` names again, without what may stand before a name.
    #[must_use]
    pub fn named_in(&self, body: &[u8]) -> Vec<String> {
        let mut names = Vec::new();
        for path in self.model_members {
            strings_at(body, path, |name| names.push(name.strip_prefix(Self::FOLDER).unwrap_or(name).to_owned()));
        }
        names
    }

    /// The model that `path` names where `template` stands for it; any version will do.
    fn model_in<'p>(&self, template: &str, path: &'p str) -> Option<Cow<'p, str>> {
        // Every path is asked, and nearly all are of other formats.
        let end = template.as_bytes().last_chunk::<4>()?;
        if !template.ends_with('}') && path.as_bytes().last_chunk::<4>() != Some(end) {
            return None;
        }
        // A character is found at once, a word only by a searcher that is made first.
        let (before, after) = template.split_once('{')?;
        let before = self.versions.first().and_then(|own| before.strip_prefix(own)).unwrap_or(before);
        let rest = self.versions.iter().find_map(|version| path.strip_prefix(version)?.strip_prefix(before))?;
        let name = rest.strip_suffix(after.strip_prefix(MODEL_TAIL)?).filter(|name| !name.is_empty())?;
        if !name.contains('%') {
            return Some(Cow::Borrowed(name));
        }
        Some(Cow::Owned(String::from_utf8_lossy(&percent_decode(name)).into_owned()))
    }

    /// The value of the parameter of `query` that may hold the client's key, decoded.
    #[must_use]
    pub fn key_in<'q>(&self, query: &'q str) -> Option<Cow<'q, str>> {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(name, value)| *name == self.key_parameter && !value.is_empty())?;
        if !value.contains('%') {
            return Some(Cow::Borrowed(value));
        }
        Some(Cow::Owned(String::from_utf8(percent_decode(value)).ok()?))
    }
}

/// `name` as one segment of a path.
#[must_use]
pub fn as_segment(name: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte);
    if name.bytes().all(plain) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 8);
    for byte in name.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::super::{Counting, PromptFields, StateFields};
    use super::*;
    use crate::Format;

    const ADDRESSING: Addressing = Addressing {
        stream_path: "/v1beta/models/{model}:streamGenerateContent",
        events_query: "alt=sse",
        versions: &["/v1beta", "/v1"],
        client_headers: &[],
        model_members: &[&["model"], &["requests", "model"]],
        key_parameter: "key",
    };

    const SPEC: Spec = Spec {
        format: Format::OpenaiChat,
        title: "",
        path: "/v1beta/models/{model}:generateContent",
        counting: Some(&Counting {
            path: "/v1beta/models/{model}:countTokens",
            fields: &[],
            whole: None,
            total: "",
            kind: None,
        }),
        same_format_paths: &["/v1beta/models/{model}:embedContent"],
        addressing: Some(&ADDRESSING),
        repeated: &[],
        prompt: PromptFields { before: &[], turns: "" },
        state: StateFields {
            named: &[],
            sealed: &[],
            bearing: &[],
            foreign: &[],
            answers: false,
            made: false,
            ids: &[],
        },
        other_names: &[],
        version_header: None,
        beta_header: None,
        request_id_header: None,
        answer_model: &[],
        answer_words: &[],
        object_answers: false,
        json_by_name: false,
        bad_key_is_bad_request: false,
        source: "",
        request_losses: &[],
        response_losses: &[],
    };

    #[test]
    fn paths_name_the_model_and_the_stream() {
        let check = |target: &'static str, expected: Option<(Operation, &'static str, Option<Framing>)>| {
            let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
            let expected = expected.map(|(op, model, stream)| (op, Line { model: Some(model.into()), stream }));
            assert_eq!(SPEC.find(path, query), expected, "{target}");
        };
        let generate = Operation::Generate;
        check("/v1beta/models/g-2.5:generateContent", Some((generate, "g-2.5", None)));
        check("/v1/models/g:generateContent?key=k", Some((generate, "g", None)));
        check("/v1beta/models/g:streamGenerateContent", Some((generate, "g", Some(Framing::JsonArray))));
        check("/v1/models/g:streamGenerateContent?key=k&alt=sse", Some((generate, "g", Some(Framing::Events))));
        check("/v1beta/models/a%2Fb:8b:generateContent", Some((generate, "a/b:8b", None)));
        check("/v1beta/models/g:countTokens", Some((Operation::Count, "g", None)));
        check("/v1/models/g:embedContent", Some((Operation::SameFormat(0), "g", None)));
        for nowhere in ["/v1beta/models/:generateContent", "/v1beta/models/g", "/v2/models/g:generateContent", "/"] {
            check(nowhere, None);
        }
    }

    #[test]
    fn request_lines_lead_to_the_model() {
        let check = |operation, model, stream, expected: &str| {
            assert_eq!(SPEC.request_line(operation, model, stream), expected);
        };
        let generate = Operation::Generate;
        check(generate, "g-2.5", None, "/v1beta/models/g-2.5:generateContent");
        check(generate, "models/g", Some(Framing::Events), "/v1beta/models/g:streamGenerateContent?alt=sse");
        check(generate, "a/b", Some(Framing::JsonArray), "/v1beta/models/a%2Fb:streamGenerateContent");
        check(Operation::SameFormat(0), "g?x#y", None, "/v1beta/models/g%3Fx%23y:embedContent");
        check(Operation::Count, "g", Some(Framing::Events), "/v1beta/models/g:countTokens");
    }

    #[test]
    fn a_model_that_is_named_again_is_renamed() {
        let check = |body: &str, expected: Option<&str>| {
            let renamed = ADDRESSING.rename_in(body.as_bytes(), "a", "models/b/c");
            assert_eq!(renamed.map(|body| String::from_utf8(body).unwrap()).as_deref(), expected, "{body}");
        };
        check(
            r#"{"requests":[{"model":"models/a","content":{"model":"a"}},{"model":"models/x"}]}"#,
            Some(r#"{"requests":[{"model":"models/b/c","content":{"model":"a"}},{"model":"models/x"}]}"#),
        );
        check(r#"{"model":"a","requests":[{"model":"a"}]}"#, Some(r#"{"model":"b/c","requests":[{"model":"b/c"}]}"#));
        check(r#"{"content":{"parts":[]}}"#, None);
    }

    #[test]
    fn a_batch_names_its_model_in_every_request() {
        let body = |name: &str| {
            let request = format!(r#"{{"request":{{"model":"models/{name}","contents":[{{"model":"a"}}]}}}}"#);
            let requests = format!(r#"{{"requests":{{"requests":[{request}, {request}]}}}}"#);
            [
                r#"{"batch":{"model":"models/"#,
                name,
                r#"","inputConfig":"#,
                &requests,
                r#","input_config":"#,
                &requests,
                "}}",
            ]
            .concat()
        };
        let wire = crate::wire(Format::GeminiGenerate).spec();
        let renamed = wire.addressing.and_then(|addressing| addressing.rename_in(body("a").as_bytes(), "a", "b-1"));
        assert_eq!(renamed.map(|body| String::from_utf8(body).unwrap()), Some(body("b-1")));
        assert_eq!((wire.bare("models/a"), wire.bare("a")), ("a", "a"));
        assert_eq!(crate::wire(Format::OpenaiChat).spec().bare("models/a"), "models/a");
    }

    #[test]
    fn constant_paths_stay_what_they_are() {
        for format in Format::ALL {
            let spec = crate::wire(format).spec();
            if spec.addressing.is_none() {
                assert_eq!(spec.find(spec.path, None), Some((Operation::Generate, Line::default())));
                assert_eq!(spec.request_line(Operation::Generate, "m", Some(Framing::Events)), spec.path);
                for (operation, path) in spec.paths() {
                    assert_eq!(spec.find(path, Some("a=b")).map(|found| found.0), Some(operation));
                    assert_eq!(spec.request_line(operation, "m", None), path);
                }
            }
        }
    }

    #[test]
    fn keys_are_found_in_queries() {
        for (query, key) in [("key=k", Some("k")), ("alt=sse&key=a%2Bb", Some("a+b")), ("key=", None), ("xkey=k", None)]
        {
            assert_eq!(ADDRESSING.key_in(query).as_deref(), key, "{query}");
        }
    }
}

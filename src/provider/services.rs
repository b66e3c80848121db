//! What providers serve beside answers of models: embeddings, images, audio, files, batches. One table.
//!
//! Such an operation is passed through byte for byte, so a row says only what routing needs: which methods and paths,
//! whether the body names a model, and which formats' providers serve it. A new one is a row here and one in
//! `observe::Endpoint`, under the same name.

use tidegate_codec::Format;

use super::Provider;

/// An operation that is passed through.
#[derive(Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name in the config's `operations`, in metrics and in the log.
    pub name: &'static str,
    /// Methods, separated by `, `, and the path that they are served at. `{id}` in it stands for one segment; `{name}`
    /// for one without a colon, behind which a verb may stand: such things are called by all of the path behind the
    /// version, and `v1beta` before them stands for `v1` too.
    pub lines: &'static [(&'static str, &'static str)],
    /// Where the model is named.
    pub model: ModelAt,
    /// Providers of these formats serve it; clients are answered in the first.
    pub formats: &'static [Format],
    /// The format whose `usage` its answers carry, where they carry one.
    pub usage: Option<Format>,
    /// What the last event of its streams is; `None` where they end in several ways or with their connection.
    pub last: Option<&'static str>,
}

/// Where a request names the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelAt {
    /// In the body: the key `model` of a JSON object, or the field `model` of a form with files.
    Body,
    /// In the JSON body of a `POST`, which makes something; nothing names it where that is asked for again.
    Made,
    /// Nowhere: the provider is named by the config or by a header.
    Nowhere,
}

/// Headers of clients that belong to these operations and say nothing secret; lower case.
pub const HEADERS: &[&str] = &["openai-beta"];

/// Stands in a path for one segment without a colon.
const NAME: &str = "{name}";
/// How the paths of named things begin.
const VERSION: &str = "/v1beta/";

const OPENAI: &[Format] = &[Format::OpenaiChat, Format::OpenaiResponses];
const RESPONSES: &[Format] = &[Format::OpenaiResponses];
const ANTHROPIC: &[Format] = &[Format::AnthropicMessages];
const GEMINI: &[Format] = &[Format::GeminiGenerate];

/// Every operation.
///
/// Sources: OpenAI's API reference (openai-python 2), Anthropic's (anthropic-sdk-python 0.7x), Cohere's and Jina's for
/// reranking, Google's (ai.google.dev/api, v1beta; google-genai 3.4).
pub const ALL: &[Service] = &[
    named("embeddings", &[("POST", "/v1/embeddings")], Some(Format::OpenaiChat)),
    Service { last: Some("[DONE]"), ..named("completions", &[("POST", "/v1/completions")], Some(Format::OpenaiChat)) },
    named("images_generations", &[("POST", "/v1/images/generations")], Some(Format::OpenaiResponses)),
    named("images_edits", &[("POST", "/v1/images/edits")], Some(Format::OpenaiResponses)),
    named("images_variations", &[("POST", "/v1/images/variations")], None),
    named("audio_speech", &[("POST", "/v1/audio/speech")], Some(Format::OpenaiResponses)),
    named("audio_transcriptions", &[("POST", "/v1/audio/transcriptions")], Some(Format::OpenaiResponses)),
    named("audio_translations", &[("POST", "/v1/audio/translations")], None),
    named("moderations", &[("POST", "/v1/moderations")], None),
    named("rerank", &[("POST", "/v1/rerank"), ("POST", "/v2/rerank")], None),
    Service {
        name: "stored_responses",
        lines: &[
            ("GET, DELETE", "/v1/responses/{id}"),
            ("POST", "/v1/responses/{id}/cancel"),
            ("GET", "/v1/responses/{id}/input_items"),
        ],
        model: ModelAt::Nowhere,
        formats: RESPONSES,
        usage: None,
        last: None,
    },
    unnamed("conversations", CONVERSATIONS, RESPONSES),
    unnamed("containers", CONTAINERS, RESPONSES),
    unnamed("files", FILES, OPENAI),
    unnamed(
        "batches",
        &[("GET, POST", "/v1/batches"), ("GET", "/v1/batches/{id}"), ("POST", "/v1/batches/{id}/cancel")],
        OPENAI,
    ),
    unnamed("anthropic_files", FILES, ANTHROPIC),
    unnamed(
        "message_batches",
        &[
            ("GET, POST", "/v1/messages/batches"),
            ("GET, DELETE", "/v1/messages/batches/{id}"),
            ("POST", "/v1/messages/batches/{id}/cancel"),
            ("GET", "/v1/messages/batches/{id}/results"),
        ],
        ANTHROPIC,
    ),
    unnamed("gemini_files", GEMINI_FILES, GEMINI),
    Service { model: ModelAt::Made, ..unnamed("cached_contents", CACHED_CONTENTS, GEMINI) },
    unnamed("gemini_batches", GEMINI_BATCHES, GEMINI),
    unnamed("model_operations", MODEL_OPERATIONS, GEMINI),
    unnamed("file_search_stores", FILE_SEARCH_STORES, GEMINI),
];

const FILES: &[(&str, &str)] =
    &[("GET, POST", "/v1/files"), ("GET, DELETE", "/v1/files/{id}"), ("GET", "/v1/files/{id}/content")];

const CONVERSATIONS: &[(&str, &str)] = &[
    ("POST", "/v1/conversations"),
    ("GET, POST, DELETE", "/v1/conversations/{id}"),
    ("GET, POST", "/v1/conversations/{id}/items"),
    ("GET, DELETE", "/v1/conversations/{id}/items/{id}"),
];

const CONTAINERS: &[(&str, &str)] = &[
    ("GET, POST", "/v1/containers"),
    ("GET, DELETE", "/v1/containers/{id}"),
    ("GET, POST", "/v1/containers/{id}/files"),
    ("GET, DELETE", "/v1/containers/{id}/files/{id}"),
    ("GET", "/v1/containers/{id}/files/{id}/content"),
];

const GEMINI_FILES: &[(&str, &str)] = &[
    ("POST", "/upload/v1beta/files"),
    ("GET, POST", "/v1beta/files"),
    ("POST", "/v1beta/files:register"),
    ("GET, DELETE", "/v1beta/files/{name}"),
    ("GET", "/v1beta/files/{name}:download"),
];

const CACHED_CONTENTS: &[(&str, &str)] =
    &[("GET, POST", "/v1beta/cachedContents"), ("GET, PATCH, DELETE", "/v1beta/cachedContents/{name}")];

const GEMINI_BATCHES: &[(&str, &str)] = &[
    ("GET", "/v1beta/batches"),
    ("GET, DELETE", "/v1beta/batches/{name}"),
    ("POST", "/v1beta/batches/{name}:cancel"),
    ("PATCH", "/v1beta/batches/{name}:updateGenerateContentBatch"),
    ("PATCH", "/v1beta/batches/{name}:updateEmbedContentBatch"),
];

/// What a model works on for long, such as a video. The model is called as its provider calls it.
const MODEL_OPERATIONS: &[(&str, &str)] =
    &[("GET", "/v1beta/models/{name}/operations"), ("GET", "/v1beta/models/{name}/operations/{name}")];

const FILE_SEARCH_STORES: &[(&str, &str)] = &[
    ("POST", "/upload/v1beta/fileSearchStores/{name}:uploadToFileSearchStore"),
    ("GET, POST", "/v1beta/fileSearchStores"),
    ("GET, DELETE", "/v1beta/fileSearchStores/{name}"),
    ("POST", "/v1beta/fileSearchStores/{name}:importFile"),
    ("GET", "/v1beta/fileSearchStores/{name}/documents"),
    ("GET, DELETE", "/v1beta/fileSearchStores/{name}/documents/{name}"),
    ("GET", "/v1beta/fileSearchStores/{name}/operations/{name}"),
    ("GET", "/v1beta/fileSearchStores/{name}/upload/operations/{name}"),
];

/// An operation of OpenAI's family whose body names a model.
const fn named(name: &'static str, lines: &'static [(&'static str, &'static str)], usage: Option<Format>) -> Service {
    Service { usage, model: ModelAt::Body, ..unnamed(name, lines, OPENAI) }
}

const fn unnamed(
    name: &'static str,
    lines: &'static [(&'static str, &'static str)],
    formats: &'static [Format],
) -> Service {
    Service { name, lines, model: ModelAt::Nowhere, formats, usage: None, last: None }
}

/// The operation of that name.
#[must_use]
pub fn named_as(name: &str) -> Option<&'static Service> {
    ALL.iter().find(|service| service.name == name)
}

/// The operation that is served at `path`, with its methods. Where two families share a path, it is the one of the
/// format that the client `speaks`.
#[must_use]
pub fn find(path: &str, speaks: Format) -> Option<(&'static Service, &'static str)> {
    let found = || ALL.iter().filter_map(|service| Some((service, service.methods_at(path)?)));
    found().find(|(service, _)| service.formats.contains(&speaks)).or_else(|| found().next())
}

/// The name of the thing that the thing called `id` is in; `None` where it is in none.
#[must_use]
pub fn outermost(id: &str) -> Option<&str> {
    let (at, _) = id.match_indices('/').nth(1)?;
    id.get(..at)
}

impl Service {
    fn methods_at(&self, path: &str) -> Option<&'static str> {
        self.line_at(path).map(|(methods, _)| methods)
    }

    fn line_at(&self, path: &str) -> Option<(&'static str, &'static str)> {
        self.lines.iter().find(|(_, template)| leads_to(template, path)).copied()
    }

    /// The id of the stored thing that `path` is about: the first in it, or all of the name behind the version.
    #[must_use]
    pub fn id_in<'p>(&self, path: &'p str) -> Option<&'p str> {
        let (_, template) = self.line_at(path)?;
        if let Some((before, _)) = template.split_once(NAME) {
            let (_, name) = path.split_at_checked(before.find(VERSION)?)?;
            let (_, name) = name.strip_prefix('/')?.split_once('/')?;
            return name.split(':').next();
        }
        let (_, id) = template.split('/').zip(path.split('/')).find(|(wanted, _)| *wanted == "{id}")?;
        Some(id)
    }

    /// Whether an answer to `method` at `path` is one stored thing, with its id, and not a list or a content.
    #[must_use]
    pub fn shows_one(&self, method: &str, path: &str) -> bool {
        let ends = |template: &str| template.ends_with("{id}") || template.ends_with(NAME);
        self.keeps() && self.line_at(path).is_some_and(|(_, template)| method == "POST" || ends(template))
    }

    /// Whether 403 says of the thing at `path` that it is not there, or another account's: Google's servers do not tell
    /// which. (<https://github.com/googleapis/python-genai/issues/1218>)
    #[must_use]
    pub fn may_be_denied(&self, path: &str) -> bool {
        self.line_at(path).is_some_and(|(_, template)| template.contains(NAME))
    }

    /// Whether the body of a request by `method` names a model.
    #[must_use]
    pub fn names_model(&self, method: &str) -> bool {
        match self.model {
            ModelAt::Body => true,
            ModelAt::Made => method == "POST",
            ModelAt::Nowhere => false,
        }
    }

    /// Whether it is about something that its provider keeps.
    fn keeps(&self) -> bool {
        self.model != ModelAt::Body
    }

    /// Whether `provider` serves it.
    #[must_use]
    pub fn is_served_by(&self, provider: &Provider) -> bool {
        self.formats.contains(&provider.format) && !(self.keeps() && provider.quirks.keeps_nothing)
    }

    /// The format that clients are answered in.
    #[must_use]
    pub fn format(&self) -> Format {
        self.formats.first().copied().unwrap_or(Format::DEFAULT)
    }
}

/// Whether one of `methods` is `method`. Who may `GET` may ask for the head alone.
#[must_use]
pub fn allows(methods: &str, method: &str) -> bool {
    let wanted = if method == "HEAD" { "GET" } else { method };
    methods.split(", ").any(|known| known == wanted)
}

fn leads_to(template: &str, path: &str) -> bool {
    let (mut wanted, mut found) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some("{id}"), Some(segment)) if is_id(segment) => {}
            (Some("v1beta"), Some("v1")) => {}
            (Some(one), Some(other)) if one == other || is_named(one, other) => {}
            _ => return false,
        }
    }
}

/// Whether `segment` is a name with the verb that `wanted` has behind it, if any.
fn is_named(wanted: &str, segment: &str) -> bool {
    let Some(verb) = wanted.strip_prefix(NAME) else { return false };
    segment.strip_suffix(verb).is_some_and(|name| !name.contains(':') && is_id(name))
}

/// Whether a segment is an id. What is not could lead elsewhere once a server decodes or shortens the path.
fn is_id(segment: &str) -> bool {
    let plain = segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~:@=+".contains(&byte));
    plain && (1..=512).contains(&segment.len()) && !segment.bytes().all(|byte| byte == b'.')
}

/// Whether a path stays below the place that it is put behind, however often a server decodes it.
#[must_use]
pub fn stays_below(path: &str) -> bool {
    let mut text = path.as_bytes().to_vec();
    for _ in 0..4 {
        let climbs = text.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| {
            // Some servers take what is behind a `;` for a parameter.
            let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
            matches!(name, b"." | b"..")
        });
        if climbs || text.contains(&0) {
            return false;
        }
        let decoded = decoded(&text);
        if decoded == text {
            return true;
        }
        text = decoded;
    }
    false
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|_| first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_operations() {
        let check = |path: &str, speaks: Format, expected: Option<(&str, &str)>| {
            let found = find(path, speaks).map(|(service, methods)| (service.name, methods));
            assert_eq!(found, expected, "{path}");
        };
        let openai = Format::OpenaiChat;
        check("/v1/embeddings", openai, Some(("embeddings", "POST")));
        check("/v2/rerank", openai, Some(("rerank", "POST")));
        check("/v1/files/file-a.1", openai, Some(("files", "GET, DELETE")));
        check("/v1/files/f/content", Format::AnthropicMessages, Some(("anthropic_files", "GET")));
        check("/v1/messages/batches/b/results", openai, Some(("message_batches", "GET")));
        check("/v1/responses/resp_1/cancel", openai, Some(("stored_responses", "POST")));
        check("/v1/conversations/c/items/i", openai, Some(("conversations", "GET, DELETE")));
        check("/v1/containers/c/files/f/content", openai, Some(("containers", "GET")));
        let gemini = Format::GeminiGenerate;
        for (path, expected) in [
            ("/upload/v1beta/files", ("gemini_files", "POST")),
            ("/upload/v1/files", ("gemini_files", "POST")),
            ("/v1/files", ("gemini_files", "GET, POST")),
            ("/v1beta/files/a-1:download", ("gemini_files", "GET")),
            ("/v1/files/a-1", ("gemini_files", "GET, DELETE")),
            ("/v1beta/files:register", ("gemini_files", "POST")),
            ("/v1beta/cachedContents/c", ("cached_contents", "GET, PATCH, DELETE")),
            ("/v1/batches/b:cancel", ("gemini_batches", "POST")),
            ("/v1beta/models/veo-3.1/operations/o", ("model_operations", "GET")),
            ("/v1beta/fileSearchStores/s/upload/operations/o", ("file_search_stores", "GET")),
        ] {
            check(path, gemini, Some(expected));
        }
        for nowhere in [
            "/v1beta/files/a:other",
            "/v1beta/files/a:b:download",
            "/v1beta/files/:download",
            "/v1beta/files/..:download",
            "/v1beta/files/..",
            "/v2/files",
            "/v1beta/files:other",
            "/upload/v1beta/../files",
            "/v1beta/models/a%2Fb/operations/o",
        ] {
            check(nowhere, gemini, None);
        }
        for nowhere in [
            "/v1/embeddings/",
            "/v1/files/",
            "/v1/files/..",
            "/v1/files/.",
            "/v1/files/%2e%2e",
            "/v1/files/a%2Fb",
            "/v1/files/a;b",
            "/v1/files/a/content/b",
            "/v1/file",
            "",
        ] {
            check(nowhere, openai, None);
        }
    }

    #[test]
    fn ids_stand_in_paths_and_in_answers_of_one_thing() {
        let check = |method: &str, path: &str, id: Option<&str>, shows: bool| {
            let speaks = if path.contains("beta") { Format::GeminiGenerate } else { Format::OpenaiChat };
            let (service, _) = find(path, speaks).unwrap();
            assert_eq!((service.id_in(path), service.shows_one(method, path)), (id, shows), "{method} {path}");
            assert_eq!(service.may_be_denied(path), id.is_some() && path.contains("beta"), "{path}");
        };
        check("GET", "/v1/files", None, false);
        check("POST", "/v1/files", None, true);
        check("GET", "/v1/files/f", Some("f"), true);
        check("GET", "/v1/files/f/content", Some("f"), false);
        check("POST", "/v1/batches/b/cancel", Some("b"), true);
        check("GET", "/v1/containers/c/files/f", Some("c"), true);
        check("POST", "/v1/embeddings", None, false);
        check("POST", "/upload/v1beta/files", None, true);
        check("GET", "/v1beta/files", None, false);
        check("GET", "/v1beta/files/f", Some("files/f"), true);
        check("GET", "/v1beta/files/f:download", Some("files/f"), false);
        check("POST", "/v1beta/batches/b:cancel", Some("batches/b"), true);
        check("POST", "/v1beta/cachedContents", None, true);
        check("PATCH", "/v1beta/cachedContents/c", Some("cachedContents/c"), true);
        check("GET", "/v1beta/models/m/operations/o", Some("models/m/operations/o"), true);
        check("POST", "/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore", Some("fileSearchStores/s"), true);
        let (service, _) = find("/v1/batches/b:cancel", Format::GeminiGenerate).unwrap();
        assert_eq!(service.id_in("/v1/batches/b:cancel"), Some("batches/b"));
    }

    #[test]
    fn names_are_unique_and_methods_known() {
        for service in ALL {
            assert_eq!(named_as(service.name), Some(service), "{}", service.name);
            assert!(!service.formats.is_empty() && !service.lines.is_empty());
            for (methods, path) in service.lines {
                assert!(
                    methods.split(", ").all(|method| ["GET", "POST", "PATCH", "DELETE"].contains(&method)),
                    "{methods}"
                );
                assert!(path.starts_with('/') && !path.ends_with('/'));
            }
        }
        assert!(allows("GET, DELETE", "HEAD") && allows("GET, DELETE", "DELETE") && !allows("POST", "HEAD"));
        assert!(!allows("GET, POST", "GET, POST"));
    }

    #[test]
    fn raw_paths_stay_below_their_base() {
        for fine in ["/v1/x", "/", "/v1/models%2Fa", "/a..b/...", "/v1/x%20y", "/100%"] {
            assert!(stays_below(fine), "{fine}");
        }
        for climbing in
            ["/..", "/v1/../x", "/a/./b", "/%2e%2e/x", "/%252e%252e/x", "/a%2f..%2fb", "/a\\..\\b", "/..;a/b", "/a%00"]
        {
            assert!(!stays_below(climbing), "{climbing}");
        }
    }
}

//! The items of an answer, written: whole in an answer, begun and whole in a stream.

use super::wire::OWN;
use crate::format::{ReasoningWish, Reply};
use crate::hub::{Citation, Flavor, Opaque, OpaqueKind, ThinkingKind, placed, split_namespace};
use crate::json::write::join_lines;
use crate::json::{Cursor, Json, JsonError, Kind, Text, Writer};
use crate::seal::Seal;

/// One item and everything that it says.
#[derive(Debug)]
pub(super) struct Item {
    /// Its id; needs no escape.
    pub id: String,
    /// What it is.
    pub body: Body,
}

/// What an item is. All text is escaped.
#[derive(Debug)]
pub(super) enum Body {
    /// Words.
    Message(Vec<Part>),
    /// Reasoning.
    Reasoning { kind: ThinkingKind, text: String, encrypted: Option<String> },
    /// A call of a tool of the client.
    Call {
        call_id: String,
        /// The hub's name, with its namespace.
        name: String,
        flavor: Flavor,
        input: String,
    },
    /// An item of this format's own provider, as it came.
    Raw(String),
}

/// A part of a message.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Words of refusal.
    pub refusal: bool,
    /// The words.
    pub text: String,
    /// Annotations, as JSON values between commas.
    pub annotations: String,
    /// Log probabilities of the words.
    pub logprobs: Logprobs,
}

/// Log probabilities, as JSON values between commas.
#[derive(Debug, Default)]
pub(super) struct Logprobs {
    /// As a part has them: every token with its bytes, none where they are not known.
    pub part: String,
    /// As events have them: without bytes.
    pub event: String,
}

impl Logprobs {
    /// Adds `more`.
    pub(super) fn push(&mut self, more: &Self) {
        push(&mut self.part, &more.part);
        push(&mut self.event, &more.event);
    }
}

impl Part {
    /// Writes the part as the next value.
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        let text = Text::from_escaped(self.text.as_str());
        w.open_object();
        if self.refusal {
            w.key("type").plain("refusal").key("refusal").text(&text);
        } else {
            w.key("type").plain("output_text").key("text").text(&text);
            list("annotations", &self.annotations, w);
            list("logprobs", &self.logprobs.part, w);
        }
        w.close_object();
    }

    /// Adds a source that covers `span` unless it says another; false if the format cannot say it.
    pub(super) fn cite(&mut self, citation: &Citation<'_>, span: (u64, u64)) -> bool {
        let Some(json) = annotation(citation, span) else { return false };
        push(&mut self.annotations, &json);
        true
    }

    /// The characters of the words.
    pub(super) fn span(&self) -> (u64, u64) {
        (0, Text::from_escaped(self.text.as_str()).code_points())
    }
}

/// Writes a list of values that are JSON already.
pub(super) fn list(key: &str, values: &str, w: &mut Writer<'_>) {
    w.key(key).open_array();
    if !values.is_empty() {
        w.verbatim(values);
    }
    w.close_array();
}

pub(super) fn push(values: &mut String, value: &str) {
    if !values.is_empty() && !value.is_empty() {
        values.push(',');
    }
    values.push_str(value);
}

/// The annotation that says `citation`; this format's own as it was, another with a URL as `url_citation`.
pub(super) fn annotation(citation: &Citation<'_>, span: (u64, u64)) -> Option<String> {
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out);
    if citation.format == OWN {
        w.json(&citation.raw);
    } else {
        let url = citation.url.as_ref()?;
        let (start, end) = placed(citation.span, span);
        w.open_object().key("type").plain("url_citation").key("start_index").number(start);
        w.key("end_index").number(end).key("url").text(url);
        w.key("title").text(citation.title.as_ref().unwrap_or(&Text::EMPTY)).close_object();
    }
    join_lines(&mut out);
    String::from_utf8(out).ok()
}

/// True for an item of a provider's that has an id: nobody could refer to one without, and the vendor's SDKs want one.
pub(super) fn has_id(raw: &Json<'_>) -> bool {
    let mut found = false;
    let read = raw.cursor().object::<JsonError>(|key, value| {
        if key == "id" && value.peek()? == Kind::String {
            found |= !value.clone().text()?.is_empty();
        }
        value.skip()
    });
    read.is_ok() && found
}

/// Log probabilities in this format's shape, and whether they tell of words of refusal too, which have no place for them.
pub(super) fn logprobs(raw: &Json<'_>) -> (Option<Logprobs>, bool) {
    let (mut found, mut refusal) = (Logprobs::default(), false);
    if raw.kind() != Kind::Object {
        return (None, false);
    }
    let read = raw.cursor().object::<JsonError>(|key, value| {
        match key.as_ref() {
            "content" if value.peek()? == Kind::Array => {
                let mut list = value.clone();
                found.part = entries(&mut list, Some("[]"), true)?;
                found.event = entries(&mut value.clone(), None, true)?;
            }
            "refusal" => refusal = !value.clone().json()?.is_empty(),
            _ => {}
        }
        value.skip()
    });
    (Some(found).filter(|found| read.is_ok() && !found.part.is_empty()), refusal)
}

/// The entries of a list, between commas; with their bytes if `bytes`, which are that where they are not said, and with
/// what else was likely if `outer`.
pub(super) fn entries(tokens: &mut Cursor<'_>, bytes: Option<&'static str>, outer: bool) -> Result<String, JsonError> {
    let mut all = Vec::new();
    let mut w = Writer::new(&mut all);
    tokens.array::<JsonError>(|_, value| {
        if value.peek()? != Kind::Object {
            w.json(&value.json()?);
            return Ok(());
        }
        let (mut own_bytes, mut rivals) = (None, None);
        w.open_object();
        value.object::<JsonError>(|key, value| {
            match key.as_ref() {
                "bytes" => own_bytes = Some(value.json()?).filter(|bytes| bytes.kind() == Kind::Array),
                "top_logprobs" if outer && value.peek()? == Kind::Array => rivals = Some(entries(value, bytes, false)?),
                "top_logprobs" => value.skip()?,
                _ => {
                    w.key(Text::from_plain(&key).escaped()).json(&value.json()?);
                }
            }
            Ok(())
        })?;
        if let Some(none) = bytes {
            w.key("bytes").json(&own_bytes.unwrap_or(Json::from_valid(none)));
        }
        if let Some(rivals) = rivals.or((outer && bytes.is_some()).then(String::new)) {
            list("top_logprobs", &rivals, &mut w);
        }
        w.close_object();
        Ok(())
    })?;
    join_lines(&mut all);
    Ok(String::from_utf8(all).unwrap_or_default())
}

impl Item {
    /// Writes the whole item as the next value.
    pub(super) fn write(&self, status: &str, w: &mut Writer<'_>) {
        match &self.body {
            Body::Message(parts) => {
                self.open("message", w);
                w.key("status").plain(status).key("role").plain("assistant").key("content").open_array();
                for part in parts {
                    part.write(w);
                }
                w.close_array().close_object();
            }
            Body::Reasoning { kind, text, encrypted } => {
                self.open("reasoning", w);
                thought(*kind, text, w);
                if let Some(encrypted) = encrypted {
                    w.key("encrypted_content").text(&Text::from_escaped(encrypted.as_str()));
                }
                w.close_object();
            }
            Body::Call { input, .. } => self.call(input, status, w),
            Body::Raw(raw) => {
                w.verbatim(raw);
            }
        }
    }

    /// Writes the item as it begins: nothing said, nothing sealed.
    pub(super) fn write_begun(&self, w: &mut Writer<'_>) {
        match &self.body {
            Body::Message(_) => {
                self.open("message", w);
                w.key("status").plain("in_progress").key("role").plain("assistant").key("content").open_array();
                w.close_array().close_object();
            }
            Body::Reasoning { kind, .. } => {
                self.open("reasoning", w);
                thought(*kind, "", w);
                w.close_object();
            }
            Body::Call { .. } => self.call("", "in_progress", w),
            Body::Raw(raw) => {
                w.verbatim(raw);
            }
        }
    }

    fn open(&self, kind: &str, w: &mut Writer<'_>) {
        w.open_object().key("type").plain(kind).key("id").plain(&self.id);
    }

    fn call(&self, input: &str, status: &str, w: &mut Writer<'_>) {
        let Body::Call { call_id, name, flavor, .. } = &self.body else { return };
        let (namespace, name) = split_namespace(name);
        let (kind, key) = words_of(*flavor);
        self.open(kind, w);
        w.key("call_id").plain(call_id).key("name").plain(name);
        if let Some(namespace) = namespace {
            w.key("namespace").plain(namespace);
        }
        w.key(key).text(&Text::from_escaped(input)).key("status").plain(status).close_object();
    }
}

/// Writes what reasoning says.
fn thought(kind: ThinkingKind, text: &str, w: &mut Writer<'_>) {
    let text = Text::from_escaped(text);
    let is_said = |wanted: ThinkingKind| kind == wanted && !text.is_empty();
    w.key("summary").open_array();
    if is_said(ThinkingKind::Summary) {
        w.open_object().key("type").plain("summary_text").key("text").text(&text).close_object();
    }
    w.close_array();
    if is_said(ThinkingKind::Raw) {
        w.key("content").open_array();
        w.open_object().key("type").plain("reasoning_text").key("text").text(&text).close_object();
        w.close_array();
    }
}

/// `type` of a call, and the key of what it is called with.
pub(super) fn words_of(flavor: Flavor) -> (&'static str, &'static str) {
    match flavor {
        Flavor::Function => ("function_call", "arguments"),
        Flavor::Custom => ("custom_tool_call", "input"),
    }
}

/// The status of a call with these arguments: one whose JSON was cut must not look ready to run.
pub(super) fn call_status(flavor: Flavor, input: &str) -> &'static str {
    let plain = Text::from_escaped(input).into_plain();
    let whole = || {
        let mut cursor = Cursor::over(&plain);
        cursor.skip().and_then(|()| cursor.finish()).is_ok()
    };
    if flavor == Flavor::Custom || whole() { "completed" } else { "incomplete" }
}

/// Where reasoning stands. Clients made for this format's own vendor, which gives out nothing but summaries, look for
/// nothing else: who asked to see reasoning gets all of it there.
pub(super) fn shown(kind: ThinkingKind, reply: &Reply) -> ThinkingKind {
    if reply.reasoning == ReasoningWish::Shown { ThinkingKind::Summary } else { kind }
}

/// What stands in `encrypted_content`, escaped: this format's own as it was, another's in an envelope.
pub(super) fn sealed(opaque: &Opaque<'_>, seal: &Seal) -> String {
    if opaque.maker == OWN && opaque.kind == OpaqueKind::EncryptedReasoning {
        opaque.data.escaped().to_owned()
    } else {
        seal.wrap(opaque)
    }
}

/// Marks reasoning that nobody signed, so that it is shown to no provider as its own.
pub(super) fn unsigned(seal: &Seal) -> String {
    seal.wrap(&Opaque { kind: OpaqueKind::Unsigned, maker: OWN, data: Text::EMPTY })
}

/// What an answer is called and who gave it.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// The id, escaped.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// What no other answer has: some servers name theirs by few numbers, and clients know items by their ids.
    seed: String,
}

impl Identity {
    /// Of an answer with the provider's id `id`.
    pub(super) fn new(id: &Text<'_>, created: Option<u64>, reply: &Reply) -> Self {
        let id = reply.id(id, "resp_").escaped().to_owned();
        Self { id, created: created.unwrap_or(reply.created), seed: reply.seed.clone() }
    }

    /// The id of the item at `at`, which begins with `prefix`.
    pub(super) fn item_id(&self, prefix: &str, at: usize) -> String {
        crate::hub::ids::derived(prefix, &format!("{}/{at}{}", self.id, self.seed))
    }
}

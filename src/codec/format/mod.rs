//! The formats, one folder each, and the contract that each fulfils.
//!
//! `anthropic_messages`, `gemini_generate`, `openai_chat` and `openai_responses` are the formats. What stands beside them
//! serves several:
//!
//! | file | what it is for |
//! |---|---|
//! | `line` | request lines: what a path and its query say |
//! | `beginning` | what tells one conversation, or one family of prompts, from another |
//! | `facts` | what a model and its server accept, as data |
//! | `trim` | takes out of a request what its server refuses, and renames what it calls otherwise |
//! | `count` | requests for the number of tokens of a prompt, and their answers |
//! | `settings` | what an answer repeats of its request |
//! | `state` | state in a request that only its maker can read |
//! | `sealed` | names state that is lost by the member that held it |
//! | `spelling` | what a client calls the fields of its request, for reports |
//! | `told` | tells what a stream's reader has no place for, once a class |
//! | `effort` | how much a model is to think, where a word says it |
//! | `arguments` | schemas of arguments and of answers as providers want them: an object's |
//! | `closed` | schemas that both formats of OpenAI can hold a model to (`strict`) |
//! | `kept` | words of a stream that are kept to its end |
//! | `depth` | when the JSON of a call is complete |
//! | `thought` | a thought whose words and signature come apart |
//! | `loose` | values of the wrong kind, which are read as none |
//! | `sibling`, `openai_error`, `openai_models` | what both formats of OpenAI say alike |

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::Format;
use crate::frame::sse::Frame;
use crate::hub::ids;
use crate::hub::{Event, Fault, Field, Losses, Place, Refusal, Request, Response, Stop, Usage};
use crate::json::{JsonError, Text};
use crate::recall::Recall;
use crate::seal::Seal;

pub mod anthropic_messages;
mod arguments;
mod beginning;
mod closed;
mod count;
mod depth;
pub(crate) mod effort;
mod facts;
pub mod gemini_generate;
mod kept;
mod line;
mod loose;
pub mod openai_chat;
mod openai_error;
mod openai_models;
pub mod openai_responses;
pub(crate) mod sealed;
mod settings;
mod sibling;
pub(crate) mod spelling;
mod state;
#[cfg(test)]
mod tests;
mod thought;
mod told;
pub(crate) mod trim;

pub(crate) use arguments::of_answer;
pub use beginning::{Beginning, PromptFields};
pub(crate) use count::counts;
pub use count::{Counting, Whole};
pub(crate) use depth::Depth;
pub use facts::{
    AnswerForms, Efforts, Facts, FieldSet, ReasoningField, ThinkingForm, ThinkingOff, ToolChoices, ToolIds,
};
pub use line::{Addressing, Framing, Line, Operation, as_segment};
pub use settings::Settings;
pub use state::{Holder, State, StateFields, ids_shown};

/// One wire format, read and written. Readers take everything that real clients and providers send; writers emit only
/// what the format's own grammar allows.
pub trait WireFormat: Sync {
    /// What the format is.
    fn spec(&self) -> &'static Spec;

    /// JSON pointer of the top-level request field that says `field`; empty where the format has none.
    ///
    /// For reports about fields that keep no offset in the hub: the client is told its own spelling.
    fn pointer(&self, field: Field) -> &'static str;

    /// Reads a client's request. Fields that the hub has no place for go to `extras`.
    ///
    /// # Errors
    ///
    /// The request is wrong in a way that no provider would accept.
    fn read_request<'a>(&self, body: &'a [u8], head: &RequestHead<'a>) -> Result<Request<'a>, Refusal>;

    /// Writes a request for a provider into `out`, and what it could not carry into `out.losses`.
    ///
    /// # Errors
    ///
    /// The target cannot do what the request asks, and doing something else would be wrong.
    fn write_request(&self, request: &Request<'_>, target: &Target<'_>, out: &mut Outgoing) -> Result<(), Refusal>;

    /// A request on one of [`Spec::same_format_paths`], without state that is in an envelope of another maker and with
    /// our own out of it; every other byte as it was. A format whose requests there hold none has nothing to do.
    ///
    /// # Errors
    ///
    /// The body is no JSON object.
    fn strip_foreign_state(&self, body: &[u8], seal: &Seal, losses: &mut Losses) -> Result<Vec<u8>, JsonError> {
        let _ = (seal, losses);
        Ok(body.to_vec())
    }

    /// Whether a request may refer to parts of earlier answers instead of holding them.
    fn may_refer(&self, body: &[u8]) -> bool {
        let _ = body;
        false
    }

    /// A request with what it only refers to and `recall` knows; `None` where that is nothing, or would come to more than
    /// `most` bytes.
    fn resolve(&self, body: &[u8], recall: &dyn Recall, most: usize) -> Option<Vec<u8>> {
        let _ = (body, recall, most);
        None
    }

    /// What the top-level request field `key` counts as in a loss report.
    fn class(&self, key: &str) -> Field {
        trim::class_by_pointer(self, key)
    }

    /// The format's own spelling of `key`, where its servers read another one, too.
    fn spelled<'k>(&self, key: &'k str) -> Cow<'k, str> {
        Cow::Borrowed(key)
    }

    /// A request of the format without the fields that a server with these `facts` refuses, each reported in `losses`,
    /// and with those that it calls otherwise renamed; every other byte as it was. `None` where nothing has to change.
    ///
    /// # Errors
    ///
    /// The body is no JSON object.
    fn trim(&self, body: &[u8], facts: &Facts, losses: &mut Losses) -> Result<Option<Vec<u8>>, JsonError> {
        trim::named(self, body, facts, losses)
    }

    /// True if a request of the format holds something, deeper than its fields, that a server with these `facts`
    /// refuses: it is read and written then, as if the server spoke another format. May be true for one that holds
    /// nothing of the kind, never the other way round.
    fn must_be_rewritten(&self, body: &[u8], facts: &Facts) -> bool {
        let _ = (body, facts);
        false
    }

    /// Reads a provider's whole answer.
    ///
    /// # Errors
    ///
    /// The body is not an answer of this format.
    fn read_response<'a>(&self, body: &'a [u8]) -> Result<Response<'a>, JsonError>;

    /// JSON pointer of what says that the answer at place `candidate` of a whole response ended by `stop`.
    fn stop_pointer(&self, stop: &Stop<'_>, candidate: usize) -> Cow<'static, str>;

    /// Writes a whole answer for a client.
    ///
    /// # Errors
    ///
    /// The answer is one that this format says as an error, such as a malformed tool call.
    fn write_response(
        &self,
        response: &Response<'_>,
        reply: &Reply,
        losses: &mut Losses,
    ) -> Result<Vec<u8>, Fault<'static>>;

    /// Reads a provider's error body, whatever it is: an empty or an HTML body gives a fault too.
    fn read_error<'a>(&self, status: u16, body: &'a [u8]) -> Fault<'a>;

    /// True when `body` is an error in the format's own envelope, as its SDKs expect it.
    fn is_error(&self, body: &[u8]) -> bool;

    /// True when `body`, which is no answer, says what went wrong, in any of the shapes that servers of the format use.
    fn tells_error(&self, body: &[u8]) -> bool {
        self.is_error(body)
    }

    /// Writes an error body for a client; returns it with the HTTP status that goes with it.
    fn write_error(&self, fault: &Fault<'_>, request_id: Option<&str>) -> (u16, Vec<u8>);

    /// Writes the list of models that a client may ask for.
    fn write_models(&self, names: &[&str], out: &mut Vec<u8>);

    /// Writes what is known of one model.
    fn write_model(&self, name: &str, out: &mut Vec<u8>);

    /// Reads a provider's stream.
    fn stream_reader(&self) -> Box<dyn StreamReader>;

    /// Writes a stream for a client.
    fn stream_writer(&self, reply: Arc<Reply>) -> Box<dyn StreamWriter>;

    /// True when a frame of a stream of this format can hold usage, a stop reason, an error or the end.
    ///
    /// A stream that is passed on untouched is only watched: frames that tell nothing are not parsed. A frame for
    /// which this is wrongly `true` costs time; one for which it is wrongly `false` costs the truth.
    fn is_telling(&self, frame: &Frame<'_>) -> bool;

    /// Keys of the strings that a stream of this format grows by, each as `"key":"`: events that differ only in such a
    /// string tell equally little.
    fn words(&self) -> &'static [&'static str] {
        &[]
    }

    /// Picks the usage out of a whole answer that is passed on untouched.
    fn find_usage(&self, body: &[u8]) -> Option<Usage>;
}

/// One format's stream, read.
pub trait StreamReader: Send + Sync {
    /// Consumes one frame and hands on the events that it completes, in the order of [`crate::hub::grammar`].
    ///
    /// # Errors
    ///
    /// The frame breaks the format's grammar; the stream cannot go on.
    fn frame(&mut self, frame: &Frame<'_>, sink: &mut dyn FnMut(Event<'_>)) -> Result<(), Fault<'static>>;

    /// The provider closed the stream: hands on [`Event::End`] if it was complete (with what was still open closed),
    /// [`Event::Fault`] with [`FaultKind::StreamIncomplete`](crate::hub::FaultKind::StreamIncomplete) if not, nothing if an
    /// end or fault was handed on before.
    fn end(&mut self, sink: &mut dyn FnMut(Event<'_>));

    /// A frame was not handed over, which tells nothing but that there is an answer.
    fn pass(&mut self) {}

    /// What a next frame can be told by that is the last one but for its words and its counts.
    ///
    /// Asked only where the last frame handed on nothing but one delta, and usage.
    fn repeat(&self) -> Repeat {
        Repeat::Words
    }

    /// The last frame came again, with `words` in its delta, which is handed on already. `counts` is the object at the
    /// place that [`repeat`](Self::repeat) named, if one of its numbers is another now; hands on what it says.
    fn again(&mut self, words: &Text<'_>, counts: Option<&str>, sink: &mut dyn FnMut(Event<'_>)) {
        let _ = (words, counts, sink);
    }
}

/// How a reader can be told of a frame that looks like the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repeat {
    /// Not at all: the last frame left more behind than its delta.
    No,
    /// By its words.
    Words,
    /// By its words, and the numbers of the object at this place of the frame's data.
    WordsAndCounts(Range<usize>),
}

/// One format's stream, written.
pub trait StreamWriter: Send + Sync {
    /// Appends what tells a client of `event`; nothing where the format has no word for it or the time has not come.
    ///
    /// Events come in the order of [`crate::hub::grammar`]. `lost` is told the class of what the format cannot carry; the
    /// same class may be told again.
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>, lost: &mut dyn FnMut(Field));

    /// The fault with which the writer itself ended the stream, if it did: what came could not be said in its format.
    fn gave_up(&self) -> Option<&Fault<'static>>;

    /// The client has had `events` events of the stream already, which were not written here, and `start` among them: where
    /// a format numbers its events, or names the answer in the last one, it goes on behind them.
    fn resume(&mut self, events: u64, start: Option<&Event<'_>>) {
        let _ = (events, start);
    }
}

/// Where the answer at place `candidate` of `response` says why it ended, for reports.
fn stop_place(response: &Response<'_>, candidate: usize) -> Place {
    let stop = response.candidates.get(candidate).map_or(&Stop::EndTurn, |answer| &answer.stop);
    Place::Pointer(wire(response.format).stop_pointer(stop, candidate))
}

/// The name that all formats give to what went wrong.
pub const ERROR_WORD: &str = "\"error\"";

/// What a format is, as data.
#[derive(Debug)]
pub struct Spec {
    /// Which.
    pub format: Format,
    /// Its vendor's name for it.
    pub title: &'static str,
    /// Path of its requests, behind the base path; `{model}` in it stands for the model's name.
    pub path: &'static str,
    /// How it counts the tokens of a request; `None` where it has no such operation.
    pub counting: Option<&'static Counting>,
    /// Other paths of the format, which only a provider of the same format can serve: passed on byte for byte.
    pub same_format_paths: &'static [&'static str],
    /// How paths name the model and the stream; `None` where the body does. [`Spec::find`] and [`Spec::request_line`]
    /// read and write paths.
    pub addressing: Option<&'static Addressing>,
    /// Top-level fields of a request that an answer repeats.
    pub repeated: &'static [&'static str],
    /// What its prompts begin with.
    pub prompt: PromptFields,
    /// Where its requests hold state that only its maker can read.
    pub state: StateFields,
    /// Fields that go by another name as well, as pointers: the one that reports know them by, and the other.
    pub other_names: &'static [(&'static str, &'static str)],
    /// Header that names the version of the format; its presence tells a client of this format from others.
    pub version_header: Option<&'static str>,
    /// Header that asks for unfinished features.
    pub beta_header: Option<&'static str>,
    /// Header in which the vendor's SDKs look for the id of a request, beside `x-request-id`.
    pub request_id_header: Option<&'static str>,
    /// Paths to the model's name in an answer, or in an event of one.
    pub answer_model: &'static [&'static [&'static str]],
    /// Words that a whole answer of a model has, whatever else is in it; [`ERROR_WORD`] where it names its error, or none.
    pub answer_words: &'static [&'static str],
    /// The schema of an answer must be an object's.
    pub object_answers: bool,
    /// JSON without a schema is given only where the request's words speak of JSON; instructions may not count.
    pub json_by_name: bool,
    /// A key that is refused may be called a bad request (400), which only the body tells.
    pub bad_key_is_bad_request: bool,
    /// The vendor's documents and SDKs that it was written by, with their versions.
    pub source: &'static str,
    /// What of the hub this format cannot carry in a request, class and reason; makes `docs/formats.md`.
    pub request_losses: &'static [(Field, &'static str)],
    /// What of the hub this format cannot carry in an answer.
    pub response_losses: &'static [(Field, &'static str)],
}

/// What belongs to a client's request beside its body.
#[derive(Debug, Clone)]
pub struct RequestHead<'a> {
    /// `anthropic-version`, if sent.
    pub api_version: Option<&'a str>,
    /// `anthropic-beta`, if sent: items separated by commas.
    pub betas: Option<&'a str>,
    /// What the path says, in formats that have the model and the stream there.
    pub line: Line<'a>,
    /// Opens envelopes that the client brings back.
    pub seal: &'a Seal,
}

/// Where a request goes.
#[derive(Debug, Clone)]
pub struct Target<'t> {
    /// The provider's name of the model.
    pub model: &'t str,
    /// What the model and its server accept.
    pub facts: &'t Facts,
    /// `anthropic-version` of the provider, where its format has one.
    pub api_version: Option<&'t str>,
}

/// A request on its way to a provider.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// The body.
    pub body: Vec<u8>,
    /// Headers that the body needs, such as `anthropic-beta`; lower-case names.
    pub headers: Vec<(&'static str, String)>,
    /// What the way back must undo.
    pub undo: Undo,
    /// What could not be carried.
    pub losses: Losses,
}

/// What was done to a request that its answer must not show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undo {
    /// Tools that go by another name: as sent, as the client knows it.
    pub renamed_tools: Vec<(String, String)>,
    /// Custom tools that were sent as functions with one string argument `input`, by the name as sent.
    pub wrapped_tools: Vec<String>,
    /// The function that stands for a JSON answer: its arguments are the answer's text.
    pub json_tool: Option<String>,
    /// The answer is JSON: nothing may stand between its pieces.
    pub json: bool,
}

/// What a client wants to see of the model's reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasoningWish {
    /// The model shall not reason.
    Declined,
    /// The words of reasoning shall be left out.
    Hidden,
    /// It asked for reasoning, so that its words may be shown where the format's standard has no place for them.
    Shown,
    /// It said nothing: what comes first in its answer should be the answer.
    Unasked,
}

/// What an answer must look like for the client that asked.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The model's name, as the client wrote it.
    pub model: String,
    /// The client wants usage in a stream (chat: a chunk of its own).
    pub include_usage: bool,
    /// What the client wants to see of the model's reasoning.
    pub reasoning: ReasoningWish,
    /// What separates the pieces of a stream.
    pub framing: Framing,
    /// Seals foreign state.
    pub seal: Arc<Seal>,
    /// When the request came, in Unix seconds: the answer's date where the provider names none.
    pub created: u64,
    /// What no other answer has: its id comes of it where the provider names none.
    pub seed: String,
    /// What the answer repeats of its request.
    pub settings: Settings,
}

impl Reply {
    /// Where parts of the answer are kept for a client that does not bring them back; `None` for one that wants nothing
    /// stored.
    pub(crate) fn keeper(&self) -> Option<&Arc<dyn Recall>> {
        self.seal.recall().filter(|_| self.settings.get("store") != Some("false"))
    }

    /// The provider's id of an answer as it came, or one that begins with `prefix` and is this answer's alone.
    #[must_use]
    pub fn id<'i>(&self, native: &'i Text<'_>, prefix: &str) -> Text<'i> {
        if native.is_empty() { Text::from_escaped(ids::derived(prefix, &self.seed)) } else { native.by_ref() }
    }

    /// The same for clients that know two answers of one id for one: what came is kept only where it begins with `prefix`,
    /// since servers that are not the format's own may give an id again (Ollama has 999 of them).
    #[must_use]
    pub fn own_id<'i>(&self, native: &'i Text<'_>, prefix: &str) -> Text<'i> {
        if native.escaped().starts_with(prefix) {
            return native.by_ref();
        }
        Text::from_escaped(ids::derived(prefix, &format!("{}/{}", native.escaped(), self.seed)))
    }
}

/// The format's own code: the one place where a name becomes behaviour.
#[must_use]
pub fn wire(format: Format) -> &'static dyn WireFormat {
    match format {
        Format::AnthropicMessages => &anthropic_messages::AnthropicMessages,
        Format::GeminiGenerate => &gemini_generate::GeminiGenerate,
        Format::OpenaiChat => &openai_chat::OpenaiChat,
        Format::OpenaiResponses => &openai_responses::OpenaiResponses,
    }
}

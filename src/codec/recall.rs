//! What a client does not bring back: reasoning, and items that it only refers to.
//!
//! Providers want the reasoning that led to a tool call back with the call's result. Most clients of Chat Completions have
//! no place for it: they keep the words at best, and never the signature. What an answer that calls tools thought is kept
//! by the id of its first call, and put back where a later request holds that call and nothing that was signed.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use crate::Format;
use crate::format::wire;
use crate::hub::{
    Block, BlockKind, Event, Field, Head, Losses, Opaque, OpaqueKind, Place as Spot, Request, Role, ThinkingKind, Turn,
};
use crate::json::{Span, Text};

/// Bytes of one answer's reasoning that are kept; of a longer one nothing is.
const MOST: usize = 1 << 20;

/// What one piece of reasoning takes beside its bytes.
const PIECE: usize = 128;

/// Where parts of answers are kept. Whoever implements it decides for whom, how much and how long.
pub trait Recall: Send + Sync + fmt::Debug {
    /// Keeps the `thoughts` of an answer by its name, which tells of the conversation and of its first call. It is told
    /// where there are none, too: some servers give an id again and again, and what was thought before another call must not
    /// come back with this one.
    fn keep(&self, answer: &str, thoughts: Option<Thoughts>);

    /// What was kept of the answer of this name.
    fn recall(&self, answer: &str) -> Option<Arc<Thoughts>>;

    /// Keeps an item of an answer, as JSON, which the client may refer to by its id.
    fn keep_item(&self, id: &str, item: &str);

    /// The item of this id, if it was kept.
    fn item(&self, id: &str) -> Option<Arc<str>>;
}

/// The reasoning of one answer that calls tools.
#[derive(Debug, PartialEq, Eq)]
pub struct Thoughts {
    provider: Format,
    pieces: Vec<Piece>,
}

#[derive(Debug, PartialEq, Eq)]
struct Piece {
    place: Place,
    /// `None` for what only its maker can read.
    kind: Option<ThinkingKind>,
    words: String,
    opaque: Vec<Opaque<'static>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before anything was said.
    First,
    /// Behind words, before the call of this number.
    Before(usize),
}

impl Thoughts {
    /// Those of an answer of `provider`, of which nothing is known yet.
    #[must_use]
    pub fn new(provider: Format) -> Self {
        Self { provider, pieces: Vec::new() }
    }

    /// Bytes that they take in memory.
    #[must_use]
    pub fn size(&self) -> usize {
        self.pieces.iter().map(Piece::size).sum()
    }

    fn is_signed(&self) -> bool {
        self.pieces.iter().any(|piece| is_signed(&piece.opaque))
    }
}

impl Piece {
    fn size(&self) -> usize {
        PIECE + self.words.len() + self.opaque.iter().map(|opaque| PIECE + opaque.data.escaped().len()).sum::<usize>()
    }

    fn block(&self, at: usize) -> Block<'static> {
        let kind = match self.kind {
            Some(kind) => BlockKind::Thinking { text: Text::from_escaped(self.words.clone()), kind },
            None => BlockKind::Redacted,
        };
        Block { opaque: self.opaque.clone(), ..Block::new(kind, at) }
    }
}

/// The name of the answer with this first call, behind a conversation of this `mark`: some models refuse thoughts behind
/// another.
fn name_of(mark: u64, call: &str) -> String {
    format!("{mark:x}/{call}")
}

/// True for what only its maker could have made.
fn is_signed(opaque: &[Opaque<'_>]) -> bool {
    opaque.iter().any(|opaque| opaque.kind != OpaqueKind::Unsigned)
}

/// Hears an answer and keeps what it thought.
pub(crate) struct Listener {
    recall: Arc<dyn Recall>,
    mark: u64,
    thoughts: Thoughts,
    /// Blocks that hold reasoning, and which piece each is.
    blocks: Vec<(u32, usize)>,
    first_call: Option<String>,
    calls: usize,
    said: bool,
    size: usize,
}

impl Listener {
    /// For an answer of `provider`.
    pub(crate) fn new(recall: &Arc<dyn Recall>, provider: Format, mark: u64) -> Self {
        Self {
            recall: Arc::clone(recall),
            mark,
            thoughts: Thoughts::new(provider),
            blocks: Vec::new(),
            first_call: None,
            calls: 0,
            said: false,
            size: 0,
        }
    }

    /// Notes `event`, of an answer as its client is told it. Of several answers the first one is heard.
    pub(crate) fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::BlockStart { block, candidate: 0, head } => self.begins(*block, head),
            Event::TextDelta { block, text } => {
                self.grow(*block, text.escaped().len(), |piece| piece.words.push_str(text.escaped()));
            }
            Event::Opaque { block, opaque } => {
                self.grow(*block, PIECE + opaque.data.escaped().len(), |piece| {
                    piece.opaque.push(opaque.clone().into_owned());
                });
            }
            Event::End => self.ends(),
            _ => {}
        }
    }

    fn begins(&mut self, block: u32, head: &Head<'_>) {
        let kind = match head {
            Head::Thinking(kind) => Some(*kind),
            Head::Redacted => None,
            Head::ToolCall { id, .. } => {
                self.first_call.get_or_insert_with(|| id.as_ref().to_owned());
                self.calls += 1;
                self.said = true;
                return;
            }
            Head::Text | Head::Refusal => {
                self.said = true;
                return;
            }
            Head::ServerTool { .. } => return,
        };
        let place = if self.said { Place::Before(self.calls) } else { Place::First };
        if self.has_room(PIECE) {
            self.blocks.push((block, self.thoughts.pieces.len()));
            self.thoughts.pieces.push(Piece { place, kind, words: String::new(), opaque: Vec::new() });
        }
    }

    /// Takes so many bytes; false once there are more than are kept: then nothing is.
    fn has_room(&mut self, bytes: usize) -> bool {
        self.size = self.size.saturating_add(bytes);
        if self.size > MOST {
            (self.blocks, self.thoughts.pieces) = (Vec::new(), Vec::new());
        }
        self.size <= MOST
    }

    fn grow(&mut self, block: u32, bytes: usize, add: impl FnOnce(&mut Piece)) {
        let Some((_, piece)) = self.blocks.iter().rfind(|(number, _)| *number == block).copied() else { return };
        if self.has_room(bytes)
            && let Some(piece) = self.thoughts.pieces.get_mut(piece)
        {
            add(piece);
        }
    }

    fn ends(&mut self) {
        let rest = Thoughts::new(self.thoughts.provider);
        let mut thoughts = std::mem::replace(&mut self.thoughts, rest);
        if let Some(call) = self.first_call.take().filter(|call| !call.is_empty()) {
            thoughts.pieces.iter_mut().for_each(|piece| piece.words.shrink_to_fit());
            let thoughts = Some(thoughts).filter(|thoughts| !thoughts.pieces.is_empty());
            self.recall.keep(&name_of(self.mark, &call), thoughts);
        }
    }
}

/// A conversation as it goes on.
struct Before<'b> {
    body: &'b [u8],
    turns: Span,
    hasher: DefaultHasher,
}

impl<'b> Before<'b> {
    fn of(from: Format, body: &'b [u8]) -> Option<Self> {
        let (beginning, turns) = wire(from).spec().turns(body)?;
        let mut hasher = DefaultHasher::new();
        beginning.prefix.hash(&mut hasher);
        Some(Self { body, turns, hasher })
    }

    /// Goes on to what stands at `at` in the body; a mark of all before that.
    fn until(&mut self, at: usize) -> u64 {
        let next = self.body.get(self.turns.start..at.min(self.turns.end)).unwrap_or_default();
        // Of the next turn, if there is one, its comma.
        let length = next.iter().rposition(|byte| !matches!(byte, b',' | b' ' | b'\t' | b'\r' | b'\n'));
        let next = next.get(..length.map_or(0, |last| last + 1)).unwrap_or_default();
        next.hash(&mut self.hasher);
        self.turns.start += next.len();
        self.hasher.clone().finish()
    }

    /// What was known of the answer with this call stands in its turn.
    fn restored(&mut self, call: &str) {
        call.hash(&mut self.hasher);
    }
}

/// Puts back what the turns of `request` that call tools had thought, as far as it is known, and the request, which goes
/// to a provider of the format `to`, does not hold it itself. The conversation before must be what it was then, with all
/// that was put back into it.
pub(crate) fn restore(
    request: &mut Request<'_>,
    (from, body): (Format, &[u8]),
    to: Format,
    recall: &dyn Recall,
) -> Restored {
    let mut restored = Restored::default();
    let Some(mut before) = Before::of(from, body) else { return restored };
    for turn in request.turns.iter_mut().filter(|turn| turn.role == Role::Assistant) {
        let mark = before.until(turn.at);
        let call = turn.blocks.iter().find_map(|block| match &block.kind {
            BlockKind::ToolCall { id, .. } => Some(id.as_ref().to_owned()),
            _ => None,
        });
        if let Some(call) = call
            && !turn.blocks.iter().any(|block| is_signed(&block.opaque))
            && let Some(thoughts) = recall.recall(&name_of(mark, &call))
            && thoughts.provider == to
        {
            put_back(turn, &thoughts);
            before.restored(&call);
            restored.turns.push(turn.at);
        }
    }
    restored.mark = Some(before.until(usize::MAX));
    restored
}

/// What was put back into a request.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// Of the conversation as of now, for what is kept of its answer; `None` where it has none.
    pub(crate) mark: Option<u64>,
    /// Where the turns stand that hold again what was thought.
    turns: Vec<usize>,
}

impl Restored {
    /// Leaves out of `losses` what the client did not send: that the target does not take it is no loss to it.
    pub(crate) fn forgive(&self, losses: &mut Losses) {
        if !self.turns.is_empty() {
            losses.retain(|loss| {
                let thought = matches!(loss.field, Field::Thinking | Field::OpaqueState);
                !thought || !self.turns.iter().any(|at| loss.place == Spot::Offset(*at))
            });
        }
    }
}

fn put_back(turn: &mut Turn<'_>, thoughts: &Thoughts) {
    let is_thought = |block: &Block<'_>| matches!(block.kind, BlockKind::Thinking { .. } | BlockKind::Redacted);
    if !thoughts.is_signed() && turn.blocks.iter().any(is_thought) {
        return;
    }
    // Words that the client did keep are those of what was signed.
    turn.blocks.retain(|block| !is_thought(block));
    let at = turn.at;
    let here =
        |place: Place| thoughts.pieces.iter().filter(move |piece| piece.place == place).map(move |p| p.block(at));
    let mut blocks: Vec<_> = here(Place::First).collect();
    let mut calls = 0;
    for block in turn.blocks.drain(..) {
        if matches!(block.kind, BlockKind::ToolCall { .. }) {
            blocks.extend(here(Place::Before(calls)));
            calls += 1;
        }
        blocks.push(block);
    }
    turn.blocks = blocks;
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::{Mutex, PoisonError};

    use serde_json::{Value, json};

    use super::*;
    use crate::format::Facts;
    use crate::seal::Seal;
    use crate::{
        Gatherer, Line, RequestHead, Target, ThinkingForm, Transcoder, TranslatedRequest, Undo, translate_request,
        translate_response,
    };

    #[derive(Debug, Default)]
    struct Kept(Mutex<HashMap<String, Arc<Thoughts>>>);

    impl Recall for Kept {
        fn keep(&self, call: &str, thoughts: Option<Thoughts>) {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(thoughts.map(|thoughts| (call.to_owned(), Arc::new(thoughts))));
        }

        fn recall(&self, call: &str) -> Option<Arc<Thoughts>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get(call).map(Arc::clone)
        }

        fn keep_item(&self, _: &str, _: &str) {}

        fn item(&self, _: &str) -> Option<Arc<str>> {
            None
        }
    }

    const MESSAGES: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"thinking","thinking":"h\"m","signature":"SIG"},{"type":"redacted_thinking","data":"RED"},{"type":"text","text":"I look."},{"type":"tool_use","id":"toolu_1","name":"f","input":{}},{"type":"tool_use","id":"toolu_2","name":"f","input":{"a":1}}],"stop_reason":"tool_use","usage":{"input_tokens":1,"output_tokens":2}}"#;
    const GEMINI: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"hm","thought":true},{"text":"I look."},{"functionCall":{"id":"c1","name":"f","args":{}},"thoughtSignature":"U0lH"},{"functionCall":{"id":"c2","name":"f","args":{"a":1}}}]},"finishReason":"STOP","index":0}],"modelVersion":"m","responseId":"r"}"#;
    const RESPONSES: &str = r#"{"id":"resp_1","object":"response","status":"completed","model":"m","output":[{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"SIG"},{"type":"function_call","id":"fc_1","call_id":"call_1","name":"f","arguments":"{}"}]}"#;
    const CHAT: &str = r#"{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":null,"reasoning_content":"hm","tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#;

    fn translated(client: Format, provider: Format, body: &Value, seal: &Seal) -> TranslatedRequest {
        let line = Line { model: Some("m".into()), stream: None };
        let head = RequestHead { api_version: None, betas: None, line, seal };
        let thinking = ThinkingForm::Budget;
        let facts = Facts { thinking, max_output: 64_000, compatible_extensions: true, ..Facts::default() };
        let target = Target { model: "m", facts: &facts, api_version: Some("2023-06-01") };
        translate_request(client, provider, body.to_string().as_bytes(), &head, &target).unwrap()
    }

    fn requested(client: Format, provider: Format, body: &Value, seal: &Seal) -> String {
        String::from_utf8(translated(client, provider, body, seal).outgoing.body).unwrap()
    }

    /// The `answer` to `body` as its client has it.
    fn answered((client, provider): (Format, Format), body: &Value, answer: &str, seal: &Seal) -> Value {
        let reply = translated(client, provider, body, seal).reply;
        let given = translate_response(provider, client, answer.as_bytes(), &reply, &Undo::default()).unwrap();
        serde_json::from_slice(&given.body).unwrap()
    }

    /// A conversation of a client of Chat Completions.
    fn chat(messages: &[Value]) -> Value {
        let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
        json!({"model": "m", "reasoning_effort": "high", "messages": messages, "tools": [tool]})
    }

    fn question() -> Vec<Value> {
        vec![json!({"role": "user", "content": "q"})]
    }

    /// `messages` with an answer and the results of its calls.
    fn after(messages: &[Value], answer: &Value) -> Vec<Value> {
        let results = answer["tool_calls"].as_array().unwrap().iter();
        let results = results.map(|call| json!({"role": "tool", "tool_call_id": call["id"], "content": "r"}));
        messages.iter().cloned().chain([answer.clone()]).chain(results).collect()
    }

    /// `answer` as a client keeps it that has no place for reasoning; with its words, if it has one for those.
    fn kept(answer: &Value, words: bool) -> Value {
        let mut kept = answer.clone();
        kept.as_object_mut().unwrap().remove("reasoning_details");
        for call in kept["tool_calls"].as_array_mut().unwrap() {
            call.as_object_mut().unwrap().remove("extra_content");
        }
        if !words {
            kept.as_object_mut().unwrap().remove("reasoning_content");
        }
        kept
    }

    #[test]
    fn what_a_chat_client_leaves_out_goes_back_as_if_it_had_brought_it() {
        use Format::{AnthropicMessages, GeminiGenerate, OpenaiChat, OpenaiResponses};
        for (provider, answer, state) in [
            (AnthropicMessages, MESSAGES, &["\"SIG\"", "\"RED\""][..]),
            (GeminiGenerate, GEMINI, &["\"U0lH\""]),
            (OpenaiResponses, RESPONSES, &["\"SIG\""]),
        ] {
            let plain = Seal::new([7; 32]);
            let seal = plain.with_recall(Arc::new(Kept::default()));
            let first = chat(&question());
            let whole = answered((OpenaiChat, provider), &first, answer, &seal)["choices"][0]["message"].clone();
            let expected = requested(OpenaiChat, provider, &chat(&after(&question(), &whole)), &plain);
            for state in state {
                assert!(expected.contains(state), "{expected}");
            }
            let bare = chat(&after(&question(), &kept(&whole, false)));
            for message in [&whole, &kept(&whole, true), &kept(&whole, false)] {
                let body = chat(&after(&question(), message));
                assert_eq!(requested(OpenaiChat, provider, &body, &seal), expected, "{message}");
            }
            assert_ne!(requested(OpenaiChat, provider, &bare, &plain), expected, "it was needed");
            let lost = |seal: &Seal| {
                let losses = translated(OpenaiChat, provider, &bare, seal).outgoing.losses;
                losses.iter().map(|loss| loss.field.label()).collect::<Vec<_>>()
            };
            let of_ours = lost(&plain);
            assert!(
                lost(&seal).iter().all(|loss| of_ours.contains(loss)),
                "nothing is lost that the client did not send"
            );
            for other in Format::ALL.into_iter().filter(|other| ![provider, OpenaiChat].contains(other)) {
                let told = [&seal, &plain].map(|seal| requested(OpenaiChat, other, &bare, seal));
                assert_eq!(told[0], told[1], "no other provider is told");
            }
            // Another conversation, or what it was made into.
            let mut asked = question();
            asked[0]["content"] = json!("p");
            for other in [after(&asked, &kept(&whole, false)), after(&[], &kept(&whole, false))] {
                let told = [&seal, &plain].map(|seal| requested(OpenaiChat, provider, &chat(&other), seal));
                assert_eq!(told[0], told[1]);
            }
            let mut tools = bare.clone();
            tools["tools"][0]["function"]["description"] = json!("another");
            let told = [&seal, &plain].map(|seal| requested(OpenaiChat, provider, &tools, seal));
            assert_eq!(told[0], told[1]);
        }
    }

    #[test]
    fn what_follows_is_put_back_where_all_before_it_is() {
        use Format::{AnthropicMessages, OpenaiChat};
        let pair = (OpenaiChat, AnthropicMessages);
        let plain = Seal::new([7; 32]);
        let memory = Arc::new(Kept::default());
        let seal = plain.with_recall(Arc::clone(&memory) as Arc<dyn Recall>);
        let mut messages = question();
        for number in 0..3 {
            let answer = MESSAGES.replace("toolu_", &format!("toolu_{number}")).replace("SIG", &format!("SIG{number}"));
            let said = answered(pair, &chat(&messages), &answer, &seal)["choices"][0]["message"].clone();
            messages = after(&messages, &kept(&said, false));
        }
        let signed = |seal: &Seal| {
            let sent = requested(OpenaiChat, AnthropicMessages, &chat(&messages), seal);
            [0, 1, 2].map(|number| sent.contains(&format!("SIG{number}")))
        };
        assert_eq!(signed(&seal), [true; 3]);
        assert_eq!(signed(&plain), [false; 3]);
        memory.0.lock().unwrap().retain(|name, _| !name.ends_with("/toolu_11"));
        assert_eq!(signed(&seal), [true, false, false], "what followed was said behind other thoughts");
    }

    #[test]
    fn a_server_that_signs_nothing_gets_its_words_back() {
        use Format::{GeminiGenerate, OpenaiChat};
        let plain = Seal::new([7; 32]);
        let seal = plain.with_recall(Arc::new(Kept::default()));
        let tools = json!([{"functionDeclarations": [{"name": "f"}]}]);
        let turn = json!({"role": "user", "parts": [{"text": "q"}]});
        let first = json!({"contents": [turn], "tools": tools});
        let answer = answered((GeminiGenerate, OpenaiChat), &first, CHAT, &seal);
        let mut content = answer["candidates"][0]["content"].clone();
        // As Gemini CLI does it.
        let parts = content["parts"].as_array_mut().unwrap();
        parts.retain(|part| part.get("functionCall").is_some());
        let result = json!({"functionResponse": {"id": parts[0]["functionCall"]["id"], "name": "f", "response": {}}});
        let body = json!({"contents": [turn, content, {"role": "user", "parts": [result]}], "tools": tools});
        let facts = "\"hm\"";
        assert!(!requested(GeminiGenerate, OpenaiChat, &body, &plain).contains(facts));
        let restored = requested(GeminiGenerate, OpenaiChat, &body, &seal);
        assert!(restored.contains(facts), "{restored}");
    }

    #[test]
    fn streams_and_gathered_streams_are_heard_like_whole_answers() {
        use Format::{AnthropicMessages, OpenaiChat};
        let kept = |hear: &dyn Fn(&Seal)| {
            let recall = Arc::new(Kept::default());
            hear(&Seal::new([7; 32]).with_recall(Arc::clone(&recall) as Arc<dyn Recall>));
            let kept = recall.0.lock().unwrap();
            kept.iter().find(|(name, _)| name.ends_with("/toolu_1")).map(|(_, thoughts)| Arc::clone(thoughts))
        };
        let first = chat(&question());
        let pair = (OpenaiChat, AnthropicMessages);
        let reply = |seal: &Seal| translated(OpenaiChat, AnthropicMessages, &first, seal).reply;
        let whole = kept(&|seal| drop(answered(pair, &first, MESSAGES, seal)));
        assert!(whole.as_ref().is_some_and(|thoughts| thoughts.pieces.len() == 2 && thoughts.size() > 4 * PIECE));
        // The same answer as its provider streams it.
        let mut stream = Vec::new();
        let unkept = Arc::new(reply(&Seal::new([7; 32])));
        Transcoder::new(AnthropicMessages, AnthropicMessages, unkept, Undo::default())
            .whole(MESSAGES.as_bytes(), &mut stream);
        for broken in [false, true] {
            let streamed = kept(&|seal| {
                let reply = Arc::new(reply(seal));
                let mut transcoder = Transcoder::new(AnthropicMessages, OpenaiChat, reply, Undo::default());
                let sent = if broken { &stream[..stream.len() / 2] } else { &stream[..] };
                for byte in sent {
                    transcoder.chunk(std::slice::from_ref(byte), &mut Vec::new());
                }
                transcoder.finish(&mut Vec::new());
            });
            assert_eq!(streamed, whole.as_ref().filter(|_| !broken).map(Arc::clone));
        }
        let gathered = kept(&|seal| {
            let mut gatherer = Gatherer::new(AnthropicMessages, Undo::default());
            gatherer.chunk(&stream).unwrap();
            gatherer.finish(OpenaiChat, &reply(seal)).unwrap();
        });
        assert_eq!(gathered, whole);
    }

    #[test]
    fn neither_answers_without_calls_nor_endless_thoughts_are_kept() {
        let check = |words: usize, call: bool, expected: bool| {
            let recall = Arc::new(Kept::default());
            let seal = Seal::new([7; 32]).with_recall(Arc::clone(&recall) as Arc<dyn Recall>);
            let thought = json!({"type": "thinking", "thinking": "h".repeat(words), "signature": "SIG"});
            let call = call.then(|| json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}));
            let content: Vec<_> = [thought].into_iter().chain(call).collect();
            let answer = json!({"id": "m", "type": "message", "role": "assistant", "model": "m", "content": content,
                "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 2}});
            answered((Format::OpenaiChat, Format::AnthropicMessages), &chat(&question()), &answer.to_string(), &seal);
            assert_eq!(!recall.0.lock().unwrap().is_empty(), expected, "{words}");
        };
        check(10, true, true);
        check(10, false, false);
        check(MOST / 2, true, true);
        check(MOST, true, false);
    }

    #[test]
    fn pieces_without_end_take_no_room() {
        let memory: Arc<dyn Recall> = Arc::new(Kept::default());
        let mut listener = Listener::new(&memory, Format::AnthropicMessages, 0);
        let empty =
            || Opaque { kind: OpaqueKind::ThinkingSignature, maker: Format::AnthropicMessages, data: Text::EMPTY };
        for block in 0..u32::try_from(2 * MOST / PIECE).unwrap() {
            listener.note(&Event::BlockStart { block, candidate: 0, head: Head::Redacted });
            listener.note(&Event::Opaque { block, opaque: empty() });
            assert!(listener.blocks.len().max(listener.thoughts.pieces.len()) <= MOST / PIECE, "{block}");
        }
        assert!(listener.blocks.is_empty() && listener.thoughts.pieces.is_empty());
        let mut listener = Listener::new(&memory, Format::AnthropicMessages, 0);
        listener.note(&Event::BlockStart { block: 0, candidate: 0, head: Head::Redacted });
        for _ in 0..2 * MOST / PIECE {
            listener.note(&Event::Opaque { block: 0, opaque: empty() });
        }
        assert!(listener.thoughts.pieces.is_empty());
    }
}

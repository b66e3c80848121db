//! What a client does not bring back: reasoning, and items that it only refers to.
//!
//! Providers want the reasoning that led to a tool call back with the call's result. Most clients of Chat Completions have
//! no place for it: they keep the words at best, and never the signature. What an answer that calls tools thought is kept
//! by the id of its first call, and put back where a later request holds that call and nothing that was signed.

use std::fmt;
use std::sync::Arc;

use crate::Format;
use crate::hub::{Block, BlockKind, Event, Head, Opaque, OpaqueKind, Request, Role, ThinkingKind, Turn};
use crate::json::Text;

/// Bytes of one answer's reasoning that are kept; of a longer one nothing is.
const MOST: usize = 1 << 20;

/// What one piece of reasoning takes beside its bytes.
const PIECE: usize = 128;

/// Where parts of answers are kept. Whoever implements it decides for whom, how much and how long.
pub trait Recall: Send + Sync + fmt::Debug {
    /// Keeps the `thoughts` of the answer whose first call has the id `call`. It is told where there are none, too: some
    /// servers give an id again and again, and what was thought before another call must not come back with this one.
    fn keep(&self, call: &str, thoughts: Option<Thoughts>);

    /// What was kept of the answer whose first call has the id `call`.
    fn recall(&self, call: &str) -> Option<Arc<Thoughts>>;

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

/// True for what only its maker could have made.
fn is_signed(opaque: &[Opaque<'_>]) -> bool {
    opaque.iter().any(|opaque| opaque.kind != OpaqueKind::Unsigned)
}

/// Hears an answer and keeps what it thought.
pub(crate) struct Listener {
    recall: Arc<dyn Recall>,
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
    pub(crate) fn new(recall: &Arc<dyn Recall>, provider: Format) -> Self {
        Self {
            recall: Arc::clone(recall),
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
                self.grow(*block, opaque.data.escaped().len(), |piece| piece.opaque.push(opaque.clone().into_owned()));
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
        self.blocks.push((block, self.thoughts.pieces.len()));
        self.size += PIECE;
        self.thoughts.pieces.push(Piece { place, kind, words: String::new(), opaque: Vec::new() });
    }

    fn grow(&mut self, block: u32, bytes: usize, add: impl FnOnce(&mut Piece)) {
        let Some((_, piece)) = self.blocks.iter().rfind(|(number, _)| *number == block) else { return };
        self.size = self.size.saturating_add(bytes);
        if self.size <= MOST
            && let Some(piece) = self.thoughts.pieces.get_mut(*piece)
        {
            add(piece);
        }
    }

    fn ends(&mut self) {
        let rest = Thoughts::new(self.thoughts.provider);
        let thoughts = std::mem::replace(&mut self.thoughts, rest);
        if let Some(call) = self.first_call.take().filter(|call| !call.is_empty())
            && self.size <= MOST
        {
            self.recall.keep(&call, Some(thoughts).filter(|thoughts| !thoughts.pieces.is_empty()));
        }
    }
}

/// Puts back what the turns of `request` that call tools had thought, as far as it is known and the request, which goes to
/// a provider of the format `to`, does not hold it itself.
pub(crate) fn restore(request: &mut Request<'_>, to: Format, recall: &dyn Recall) {
    for turn in request.turns.iter_mut().filter(|turn| turn.role == Role::Assistant) {
        let call = turn.blocks.iter().find_map(|block| match &block.kind {
            BlockKind::ToolCall { id, .. } => Some(id.as_ref()),
            _ => None,
        });
        if let Some(call) = call
            && !turn.blocks.iter().any(|block| is_signed(&block.opaque))
            && let Some(thoughts) = recall.recall(call)
            && thoughts.provider == to
        {
            put_back(turn, &thoughts);
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
        Framing, Gatherer, Line, ReasoningWish, Reply, RequestHead, Settings, Target, ThinkingForm, Transcoder, Undo,
        translate_request, translate_response,
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

    fn reply(seal: &Seal) -> Reply {
        Reply {
            model: "m".to_owned(),
            include_usage: false,
            reasoning: ReasoningWish::Shown,
            framing: Framing::Events,
            seal: Arc::new(seal.clone()),
            created: 1,
            seed: "s".to_owned(),
            settings: Settings::default(),
        }
    }

    /// The answer as its client has it.
    fn answered(provider: Format, client: Format, answer: &str, seal: &Seal) -> Value {
        let given = translate_response(provider, client, answer.as_bytes(), &reply(seal), &Undo::default()).unwrap();
        serde_json::from_slice(&given.body).unwrap()
    }

    /// The conversation of a client of Chat Completions, which goes on with the result of a call of `message`.
    fn chat(message: &Value) -> Value {
        let results = message["tool_calls"].as_array().unwrap().iter();
        let results = results.map(|call| json!({"role": "tool", "tool_call_id": call["id"], "content": "r"}));
        let messages = [json!({"role": "user", "content": "q"}), message.clone()].into_iter().chain(results);
        let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
        json!({"model": "m", "reasoning_effort": "high", "messages": messages.collect::<Vec<_>>(), "tools": [tool]})
    }

    fn requested(client: Format, provider: Format, body: &Value, seal: &Seal) -> String {
        let line = Line { model: Some("m".into()), stream: None };
        let head = RequestHead { api_version: None, betas: None, line, seal };
        let thinking = ThinkingForm::Budget;
        let facts = Facts { thinking, max_output: 64_000, compatible_extensions: true, ..Facts::default() };
        let target = Target { model: "m", facts: &facts, api_version: Some("2023-06-01") };
        let body = body.to_string();
        let made = translate_request(client, provider, body.as_bytes(), &head, &target).unwrap();
        String::from_utf8(made.outgoing.body).unwrap()
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
            let whole = answered(provider, OpenaiChat, answer, &seal)["choices"][0]["message"].clone();
            let expected = requested(OpenaiChat, provider, &chat(&whole), &plain);
            for state in state {
                assert!(expected.contains(state), "{expected}");
            }
            let mut worded = whole.clone();
            worded.as_object_mut().unwrap().remove("reasoning_details");
            for call in worded["tool_calls"].as_array_mut().unwrap() {
                call.as_object_mut().unwrap().remove("extra_content");
            }
            let mut bare = worded.clone();
            bare.as_object_mut().unwrap().remove("reasoning_content");
            for message in [&whole, &worded, &bare] {
                assert_eq!(requested(OpenaiChat, provider, &chat(message), &seal), expected, "{message}");
            }
            assert_ne!(requested(OpenaiChat, provider, &chat(&bare), &plain), expected, "it was needed");
            let other = Format::ALL.into_iter().find(|other| ![provider, OpenaiChat].contains(other)).unwrap();
            assert_eq!(
                requested(OpenaiChat, other, &chat(&bare), &seal),
                requested(OpenaiChat, other, &chat(&bare), &plain),
                "no other provider is told"
            );
        }
    }

    #[test]
    fn a_server_that_signs_nothing_gets_its_words_back() {
        use Format::{GeminiGenerate, OpenaiChat};
        let plain = Seal::new([7; 32]);
        let seal = plain.with_recall(Arc::new(Kept::default()));
        let mut content = answered(OpenaiChat, GeminiGenerate, CHAT, &seal)["candidates"][0]["content"].clone();
        // As Gemini CLI does it.
        let parts = content["parts"].as_array_mut().unwrap();
        parts.retain(|part| part.get("functionCall").is_some());
        let result = json!({"functionResponse": {"id": parts[0]["functionCall"]["id"], "name": "f", "response": {}}});
        let body = json!({"contents": [
            {"role": "user", "parts": [{"text": "q"}]}, content, {"role": "user", "parts": [result]}
        ]});
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
            recall.recall("toolu_1")
        };
        let whole = kept(&|seal| drop(answered(AnthropicMessages, OpenaiChat, MESSAGES, seal)));
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
            answered(Format::AnthropicMessages, Format::OpenaiChat, &answer.to_string(), &seal);
            assert_eq!(!recall.0.lock().unwrap().is_empty(), expected, "{words}");
        };
        check(10, true, true);
        check(10, false, false);
        check(MOST / 2, true, true);
        check(MOST, true, false);
    }
}

//! The two wire formats as their documents give them: requests, answers, streams, errors, and a strict reader of each
//! stream that folds it into the whole answer's shape.
//!
//! Sources: the API references of OpenAI Chat Completions and Anthropic Messages (2023-06-01 and 2026-10-21).

use serde_json::{Value, json};

use super::client::{Ask, Response};
use super::script::Reply;
use super::sse::Event;

/// A wire format, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// OpenAI Chat Completions.
    Chat,
    /// Anthropic Messages.
    Messages,
}

/// Client format and provider format, all four.
pub const PAIRS: [(Wire, Wire); 4] = [
    (Wire::Chat, Wire::Chat),
    (Wire::Chat, Wire::Messages),
    (Wire::Messages, Wire::Chat),
    (Wire::Messages, Wire::Messages),
];

impl Wire {
    /// Where its requests go.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Messages => "/v1/messages",
        }
    }

    /// The provider kind that speaks it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Chat => "openai",
            Self::Messages => "anthropic",
        }
    }

    /// A request of a few words, with the headers that a client sends.
    pub fn ask(self, model: &str, stream: bool) -> Ask {
        self.ask_with(json!({
            "model": model, "max_tokens": 64, "stream": stream, "messages": [{"role": "user", "content": "Say hello."}]
        }))
    }

    /// Any request.
    pub fn ask_with(self, body: Value) -> Ask {
        self.ask_bytes(body.to_string())
    }

    /// Any bytes as a request.
    pub fn ask_bytes(self, body: impl Into<Vec<u8>>) -> Ask {
        let ask = Ask::post(self.path(), body);
        match self {
            Self::Chat => ask,
            Self::Messages => ask.header("anthropic-version", "2023-06-01"),
        }
    }

    /// A provider's answer to [`Wire::ask`].
    pub fn answer(self) -> &'static str {
        match self {
            Self::Chat => CHAT_ANSWER,
            Self::Messages => MESSAGES_ANSWER,
        }
    }

    /// The same answer as a stream.
    pub fn stream(self) -> &'static str {
        match self {
            Self::Chat => CHAT_STREAM,
            Self::Messages => MESSAGES_STREAM,
        }
    }

    /// The provider's reply, whole or streamed.
    pub fn reply(self, stream: bool) -> Reply {
        if stream { Reply::sse(self.stream()) } else { Reply::json(200, self.answer()) }
    }

    /// What a provider says when it fails.
    pub fn error_body(self, kind: &str, message: &str) -> String {
        let body = match self {
            Self::Chat => json!({"error": {"message": message, "type": kind, "param": null, "code": null}}),
            Self::Messages => {
                json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_up"})
            }
        };
        body.to_string()
    }

    /// The text of a whole answer or of a folded stream.
    pub fn text(self, answer: &Value) -> String {
        match self {
            Self::Chat => answer.pointer("/choices/0/message/content").and_then(Value::as_str).unwrap_or("").to_owned(),
            Self::Messages => {
                let blocks = answer["content"].as_array().cloned().unwrap_or_default();
                blocks.iter().filter_map(|block| block["text"].as_str()).collect()
            }
        }
    }

    /// Why the answer ended.
    pub fn stop(self, answer: &Value) -> Value {
        match self {
            Self::Chat => answer.pointer("/choices/0/finish_reason").cloned().unwrap_or_default(),
            Self::Messages => answer["stop_reason"].clone(),
        }
    }

    /// The whole answer, from a body or a stream.
    pub fn read(self, response: &Response, stream: bool) -> Value {
        assert_eq!(response.status, 200, "{}", super::show(&response.body));
        if !stream {
            return response.json();
        }
        match self.fold(&response.events()) {
            Fold::Whole(answer) => answer,
            other => panic!("the stream is not whole: {other:?}\n{}", super::show(&response.body)),
        }
    }

    /// Reads a stream strictly: a stream outside the grammar fails the test.
    pub fn fold(self, events: &[Event]) -> Fold {
        match self {
            Self::Chat => fold_chat(events),
            Self::Messages => fold_messages(events),
        }
    }

    /// The error of a response, in this format's envelope; anything else fails the test.
    pub fn error(self, response: &Response) -> Value {
        let kind = response.header("content-type").unwrap_or_default().to_owned();
        assert!(kind.starts_with("application/json"), "an error is JSON, not {kind:?}: {}", response.text());
        assert_eq!(response.header("content-encoding"), None, "an error in clear");
        let body = response.json();
        self.check_error(&body);
        body["error"].clone()
    }

    /// The envelope of an error, in a body or in a stream.
    pub fn check_error(self, body: &Value) {
        let error = &body["error"];
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "an error has a message: {body}");
        assert!(error["type"].is_string(), "an error has a type: {body}");
        match self {
            Self::Chat => {
                let has = |key: &str| error.get(key).is_some();
                assert!(has("param") && has("code"), "an OpenAI error has `param` and `code`: {body}");
            }
            Self::Messages => {
                assert_eq!(body["type"], "error", "{body}");
                let known = [
                    "invalid_request_error",
                    "authentication_error",
                    "billing_error",
                    "permission_error",
                    "not_found_error",
                    "request_too_large",
                    "rate_limit_error",
                    "timeout_error",
                    "api_error",
                    "overloaded_error",
                ];
                assert!(known.contains(&error["type"].as_str().unwrap_or_default()), "{body}");
            }
        }
    }
}

/// What a stream amounts to.
#[derive(Clone, Debug, PartialEq)]
pub enum Fold {
    /// It ended as its format says; the whole answer.
    Whole(Value),
    /// It ended in its format's own error.
    Failed {
        /// The error's body.
        error: Value,
        /// What was said before.
        so_far: Value,
    },
    /// It just stops.
    Open(Value),
}

fn fold_chat(events: &[Event]) -> Fold {
    let mut fold = ChatFold::default();
    for event in events {
        assert_eq!(event.name, None, "chat streams name no events");
        assert!(!fold.done, "nothing follows [DONE]: {event:?}");
        assert_eq!(fold.error, None, "nothing follows an error: {event:?}");
        if event.data == "[DONE]" {
            fold.done = true;
        } else {
            fold.chunk(&event.json());
        }
    }
    fold.finish()
}

#[derive(Default)]
struct ChatFold {
    same: Option<[Value; 3]>,
    role: bool,
    content: Option<String>,
    refusal: Option<String>,
    reasoning: Option<String>,
    details: Vec<Value>,
    calls: Vec<Value>,
    finish: Option<Value>,
    usage: Option<Value>,
    error: Option<Value>,
    done: bool,
}

impl ChatFold {
    fn chunk(&mut self, chunk: &Value) {
        if chunk["error"].is_object() {
            Wire::Chat.check_error(chunk);
            self.error = Some(chunk.clone());
            return;
        }
        assert_eq!(chunk["object"], "chat.completion.chunk", "{chunk}");
        let same = [chunk["id"].clone(), chunk["created"].clone(), chunk["model"].clone()];
        assert!(
            same[0].as_str().is_some_and(|id| !id.is_empty()) && same[1].is_u64() && same[2].is_string(),
            "{chunk}"
        );
        assert_eq!(*self.same.get_or_insert_with(|| same.clone()), same, "id, created and model stay");
        let choices = chunk["choices"].as_array().expect("chunks have choices");
        if choices.is_empty() {
            assert!(self.finish.is_some() && self.usage.is_none(), "one usage chunk, after the finish: {chunk}");
            self.usage = Some(chunk["usage"].clone());
        }
        for choice in choices {
            assert_eq!(choice["index"], 0, "{chunk}");
            assert!(self.finish.is_none(), "nothing follows the finish: {chunk}");
            self.delta(&choice["delta"]);
            if !choice["finish_reason"].is_null() {
                self.finish = Some(choice["finish_reason"].clone());
            }
        }
    }

    fn delta(&mut self, delta: &Value) {
        assert!(delta.is_object(), "each choice has a delta");
        if let Some(role) = delta.get("role") {
            assert!(role == "assistant" && !self.role, "the role comes once");
            self.role = true;
        }
        assert!(self.role || delta == &json!({}), "the first delta has the role: {delta}");
        append(&mut self.content, &delta["content"]);
        append(&mut self.refusal, &delta["refusal"]);
        append(&mut self.reasoning, &delta["reasoning_content"]);
        self.details.extend(delta["reasoning_details"].as_array().cloned().unwrap_or_default());
        for call in delta["tool_calls"].as_array().cloned().unwrap_or_default() {
            let index = usize::try_from(call["index"].as_u64().expect("a call has an index")).expect("small");
            if index == self.calls.len() {
                assert!(call["id"].is_string() && call["type"] == "function" && call["function"]["name"].is_string());
                self.calls.push(json!({"id": call["id"], "type": "function", "function": call["function"]}));
                continue;
            }
            assert!(call.get("id").is_none() && call["function"].get("name").is_none(), "id and name once: {call}");
            let whole = &mut self.calls.get_mut(index).expect("indexes are contiguous")["function"]["arguments"];
            let more = call["function"]["arguments"].as_str().unwrap_or_default();
            *whole = Value::from(format!("{}{more}", whole.as_str().unwrap_or_default()));
        }
    }

    fn finish(self) -> Fold {
        let message = json!({
            "role": "assistant", "content": self.content, "refusal": self.refusal, "reasoning_content": self.reasoning,
            "reasoning_details": self.details, "tool_calls": self.calls,
        });
        let [id, created, model] = self.same.unwrap_or_default();
        let answer = json!({
            "id": id, "created": created, "model": model, "usage": self.usage,
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish}],
        });
        match (self.error, self.done) {
            (Some(error), false) => {
                assert!(self.finish.is_none(), "an error does not follow a finish");
                Fold::Failed { error, so_far: answer }
            }
            (None, true) => {
                assert!(self.finish.is_some(), "[DONE] follows a finish");
                Fold::Whole(answer)
            }
            _ => Fold::Open(answer),
        }
    }
}

fn append(to: &mut Option<String>, more: &Value) {
    if let Some(text) = more.as_str() {
        to.get_or_insert_default().push_str(text);
    }
}

fn fold_messages(events: &[Event]) -> Fold {
    let mut fold = MessagesFold::default();
    for event in events {
        let data = event.json();
        assert_eq!(event.name.as_deref(), data["type"].as_str(), "the event's name is its type");
        if data["type"] == "error" {
            Wire::Messages.check_error(&data);
            assert_eq!(events.last(), Some(event), "an error is the last event");
            return Fold::Failed { error: data, so_far: fold.answer };
        }
        fold.event(&data);
    }
    if fold.stopped { Fold::Whole(fold.answer) } else { Fold::Open(fold.answer) }
}

#[derive(Default)]
struct MessagesFold {
    answer: Value,
    open: Option<u64>,
    input: String,
    ended: bool,
    stopped: bool,
}

impl MessagesFold {
    fn event(&mut self, data: &Value) {
        assert!(!self.stopped, "nothing follows message_stop: {data}");
        let kind = data["type"].as_str().expect("events have a type");
        assert!(
            self.answer.is_null() == (kind == "message_start") || kind == "ping",
            "message_start comes first: {data}"
        );
        match kind {
            "ping" => {}
            "message_start" => self.start(data),
            "content_block_start" => self.block_start(data),
            "content_block_delta" => {
                assert!(
                    data["index"].is_u64() && data["index"].as_u64() == self.open,
                    "a delta is for the open block: {data}"
                );
                let block = self.answer["content"].as_array_mut().and_then(|all| all.last_mut()).expect("open");
                apply(block, &data["delta"], &mut self.input);
            }
            "content_block_stop" => self.block_stop(data),
            "message_delta" => self.end(data),
            "message_stop" => {
                assert!(self.ended && self.answer["stop_reason"].is_string(), "a stop reason comes first");
                self.stopped = true;
            }
            other => panic!("an event outside the grammar: {other}"),
        }
    }

    fn start(&mut self, data: &Value) {
        let message = &data["message"];
        assert!(message["type"] == "message" && message["role"] == "assistant" && message["id"].is_string(), "{data}");
        assert!(message["content"] == json!([]) && message["stop_reason"].is_null(), "{data}");
        assert!(message["usage"]["input_tokens"].is_u64() && message["usage"]["output_tokens"].is_u64(), "{data}");
        self.answer = message.clone();
    }

    fn block_start(&mut self, data: &Value) {
        let content = self.answer["content"].as_array_mut().expect("started");
        let in_order = self.open.is_none() && !self.ended && data["index"] == content.len();
        assert!(in_order, "one open block, in order: {data}");
        content.push(data["content_block"].clone());
        self.open = data["index"].as_u64();
        self.input.clear();
    }

    fn block_stop(&mut self, data: &Value) {
        assert!(data["index"].is_u64() && data["index"].as_u64() == self.open.take(), "{data}");
        let block = self.answer["content"].as_array_mut().and_then(|all| all.last_mut()).expect("open");
        if block["type"] == "tool_use" && !self.input.is_empty() {
            block["input"] = serde_json::from_str(&self.input).expect("a tool's input is JSON in the end");
        }
    }

    fn end(&mut self, data: &Value) {
        assert!(self.open.is_none(), "blocks are closed before the end");
        assert!(data["usage"]["output_tokens"].is_u64(), "message_delta has the usage: {data}");
        self.ended = true;
        self.answer["stop_reason"] = data["delta"]["stop_reason"].clone();
        self.answer["stop_sequence"] = data["delta"]["stop_sequence"].clone();
        for (key, value) in data["usage"].as_object().expect("just seen").iter().filter(|(_, v)| !v.is_null()) {
            self.answer["usage"][key] = value.clone();
        }
    }
}

fn apply(block: &mut Value, delta: &Value, input: &mut String) {
    let (key, of, from) = match delta["type"].as_str() {
        Some("text_delta") => ("text", "text", "text"),
        Some("thinking_delta") => ("thinking", "thinking", "thinking"),
        Some("signature_delta") => ("signature", "thinking", "signature"),
        Some("input_json_delta") => {
            assert_eq!(block["type"], "tool_use");
            input.push_str(delta["partial_json"].as_str().expect("a fragment is text"));
            return;
        }
        Some("citations_delta") => return,
        _ => panic!("a delta outside the grammar: {delta}"),
    };
    assert_eq!(block["type"], of, "the delta fits its block: {delta}");
    let so_far = block[key].as_str().unwrap_or_default();
    block[key] = Value::from(format!("{so_far}{}", delta[from].as_str().expect("a delta is text")));
}

/// 20 in (8 of them from the cache), 5 out.
const CHAT_ANSWER: &str = r#"{
  "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
  "object": "chat.completion",
  "created": 1741570283,
  "model": "gpt-5-2026-08-07",
  "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello, \u5317\ud83d\ude42!", "refusal": null,
    "annotations": []}, "logprobs": null, "finish_reason": "stop"}],
  "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25,
    "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0,
      "rejected_prediction_tokens": 0}},
  "service_tier": "default",
  "x_new_vendor_field": {"n": 12345678901234567890, "f": 1.0e-2}
}
"#;

const CHAT_STREAM: &str = concat!(
    r#"data: {"id":"chatcmpl-B9","object":"chat.completion.chunk","created":1741570283,"model":"gpt-5-2026-08-07","service_tier":"default","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"a1"}"#,
    "\n\n",
    r#"data: {"id":"chatcmpl-B9","object":"chat.completion.chunk","created":1741570283,"model":"gpt-5-2026-08-07","service_tier":"default","choices":[{"index":0,"delta":{"content":"Hello, "},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"b2"}"#,
    "\n\n",
    r#"data: {"id":"chatcmpl-B9","object":"chat.completion.chunk","created":1741570283,"model":"gpt-5-2026-08-07","service_tier":"default","choices":[{"index":0,"delta":{"content":"北\ud83d\ude42!"},"logprobs":null,"finish_reason":null}],"usage":null}"#,
    "\n\n",
    r#"data: {"id":"chatcmpl-B9","object":"chat.completion.chunk","created":1741570283,"model":"gpt-5-2026-08-07","service_tier":"default","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}"#,
    "\n\n",
    r#"data: {"id":"chatcmpl-B9","object":"chat.completion.chunk","created":1741570283,"model":"gpt-5-2026-08-07","service_tier":"default","choices":[],"usage":{"prompt_tokens":20,"completion_tokens":5,"total_tokens":25,"prompt_tokens_details":{"cached_tokens":8,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}"#,
    "\n\n",
    "data: [DONE]\n\n",
);

/// 12 in, 8 more from the cache, 5 out.
const MESSAGES_ANSWER: &str = r#"{"id":"msg_01XFDUDYJgAACzvnptvVoYEL", "type":"message","role":"assistant",
 "model":"claude-sonnet-4-5-20250929", "content":[{"type":"text","text":"Hello, 北\ud83d\ude42!"}],
 "stop_reason":"end_turn","stop_sequence":null, "usage":{"input_tokens":12,"cache_creation_input_tokens":0,
 "cache_read_input_tokens":8,"output_tokens":5,"service_tier":"standard"}, "x_new_vendor_field":[1.0,12345678901234567890]}"#;

const MESSAGES_STREAM: &str = concat!(
    "event: message_start\n",
    r#"data: {"type":"message_start","message":{"id":"msg_01XF","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":12,"cache_creation_input_tokens":0,"cache_read_input_tokens":8,"output_tokens":1,"service_tier":"standard"}}}"#,
    "\n\n",
    "event: content_block_start\n",
    r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}           }"#,
    "\n\n",
    "event: ping\ndata: {\"type\": \"ping\"}\n\n",
    "event: content_block_delta\n",
    r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello, "}     }"#,
    "\n\n",
    "event: content_block_delta\n",
    r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"北\ud83d\ude42!"}}"#,
    "\n\n",
    "event: content_block_stop\n",
    r#"data: {"type":"content_block_stop","index":0       }"#,
    "\n\n",
    "event: message_delta\n",
    r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"input_tokens":12,"cache_creation_input_tokens":0,"cache_read_input_tokens":8,"output_tokens":5}  }"#,
    "\n\n",
    "event: message_stop\n",
    r#"data: {"type":"message_stop"   }"#,
    "\n\n",
);

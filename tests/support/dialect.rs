//! The four formats of clients: what each asks, and what its answers and streams amount to.

use serde_json::{Value, json};

use super::client::{Ask, Response};
use super::formats::{Fold, Wire};

/// What [`Wire::answer`] and [`Wire::stream`] say.
pub const WORDS: &str = "Hello, 北🙂!";

/// A client's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// One that scripted providers speak too.
    Known(Wire),
    /// OpenAI Responses.
    Responses,
    /// Gemini generateContent.
    Gemini,
}

/// All of them.
pub const DIALECTS: [Dialect; 4] =
    [Dialect::Known(Wire::Chat), Dialect::Known(Wire::Messages), Dialect::Responses, Dialect::Gemini];

/// What an answer amounts to; each with the words that were said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It ended as its format says.
    Whole(String),
    /// It ended in its format's own error.
    Failed(String),
    /// It just stops.
    Open(String),
}

impl Dialect {
    /// A request for a stream.
    pub fn ask(self, model: &str) -> Ask {
        self.ask_for(model, true)
    }

    /// A request for a stream or a whole answer.
    pub fn ask_for(self, model: &str, stream: bool) -> Ask {
        match self {
            Self::Known(wire) => wire.ask(model, stream),
            Self::Responses => Ask::post(
                "/v1/responses",
                json!({"model": model, "stream": stream, "max_output_tokens": 64, "input": "Say hello."}).to_string(),
            ),
            Self::Gemini => {
                let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
                Ask::post(
                    &format!("/v1beta/models/{model}:{method}"),
                    json!({"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]}).to_string(),
                )
            }
        }
    }

    /// What fills a silence.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Known(Wire::Messages) => "event: ping",
            Self::Known(Wire::Chat) | Self::Responses => ": keepalive\n\n",
            Self::Gemini => "\n\n\n\n",
        }
    }

    /// The words of one clean, whole stream; anything else fails the test.
    pub fn words(self, what: &str, response: &Response) -> String {
        match self.hear(what, response, true) {
            Heard::Whole(words) => words,
            other => panic!("{what}: {other:?}\n{}", response.text()),
        }
    }

    /// Reads a success; what is outside the format's grammar fails the test.
    pub fn hear(self, what: &str, response: &Response, stream: bool) -> Heard {
        assert_eq!(response.status, 200, "{what}: {}", response.text());
        let kind = response.header("content-type").unwrap_or_default();
        let expected = if stream { "text/event-stream" } else { "application/json" };
        assert!(kind.starts_with(expected), "{what}: {kind}");
        if !stream {
            return Heard::Whole(self.words_of(&response.json()));
        }
        match self {
            Self::Known(wire) => match wire.fold(&response.events()) {
                Fold::Whole(whole) => Heard::Whole(wire.text(&whole)),
                Fold::Failed { so_far, .. } => Heard::Failed(wire.text(&so_far)),
                Fold::Open(so_far) => Heard::Open(wire.text(&so_far)),
            },
            Self::Responses => hear_responses(what, response),
            Self::Gemini => hear_gemini(what, response),
        }
    }

    /// The words of a whole answer.
    fn words_of(self, answer: &Value) -> String {
        let texts = |parts: &Value| -> String {
            parts.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str()).collect()
        };
        match self {
            Self::Known(wire) => wire.text(answer),
            Self::Responses => {
                answer["output"].as_array().into_iter().flatten().map(|item| texts(&item["content"])).collect()
            }
            Self::Gemini => texts(&answer["candidates"][0]["content"]["parts"]),
        }
    }

    /// The message of an error in this format's envelope; anything else fails the test.
    pub fn error(self, what: &str, response: &Response) -> String {
        let error = match self {
            Self::Known(wire) => wire.error(response),
            Self::Responses => Wire::Chat.error(response),
            Self::Gemini => {
                let error = response.json()["error"].clone();
                assert_eq!(error["code"], response.status, "{what}: {error}");
                assert!(error["status"].is_string(), "{what}: {error}");
                error
            }
        };
        error["message"].as_str().unwrap_or_default().to_owned()
    }
}

fn values(response: &Response) -> Vec<Value> {
    let events = response.events();
    events.iter().map(|event| serde_json::from_str(&event.data).unwrap_or_default()).collect()
}

fn hear_responses(what: &str, response: &Response) -> Heard {
    let all = values(response);
    let begun = all.iter().filter(|event| event["type"] == "response.created").count();
    assert_eq!(begun, 1, "{what}: {}", response.text());
    for (number, event) in all.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{what}: {}", response.text());
    }
    let deltas = all.iter().filter(|event| event["type"] == "response.output_text.delta");
    let words = deltas.filter_map(|event| event["delta"].as_str()).collect();
    let ends = |event: &&Value| {
        let kind = event["type"].as_str().unwrap_or_default();
        matches!(kind, "response.completed" | "response.failed" | "response.incomplete" | "error")
    };
    assert!(
        all.iter().rev().skip(1).all(|event| !ends(&event)),
        "{what}: nothing follows the end: {}",
        response.text()
    );
    match all.last().filter(ends).and_then(|event| event["type"].as_str()) {
        Some("response.completed") => Heard::Whole(words),
        Some(_) => Heard::Failed(words),
        None => Heard::Open(words),
    }
}

fn hear_gemini(what: &str, response: &Response) -> Heard {
    let all = values(response);
    let finished = all.iter().filter(|piece| piece["candidates"][0]["finishReason"].is_string()).count();
    let failed = all.iter().filter(|piece| piece["error"].is_object()).count();
    assert!(finished + failed <= 1, "{what}: two ends: {}", response.text());
    let parts = all.iter().filter_map(|piece| piece["candidates"][0]["content"]["parts"].as_array());
    let words = parts.flatten().filter_map(|part| part["text"].as_str()).collect();
    match (finished, failed) {
        (1, _) => Heard::Whole(words),
        (_, 1) => Heard::Failed(words),
        _ => Heard::Open(words),
    }
}

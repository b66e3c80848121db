//! Requests for a number of tokens: each format's clients at providers of every other, what follows a target that counts
//! none, and what is told where none does.
//!
//! Sources: the API references of Anthropic's `count_tokens`, Gemini's `countTokens` (of the Developer API and of Vertex AI)
//! and OpenAI's `responses/input_tokens`.

use serde_json::{Value, json};

use crate::support::client::{Ask, Response};
use crate::support::edge::{Conf, Edge};
use crate::support::provider::Provider;
use crate::support::script::Reply;

/// Who can ask for a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Messages,
    Gemini,
    Responses,
}

const ALL: [Asks; 3] = [Asks::Messages, Asks::Gemini, Asks::Responses];

impl Asks {
    fn ask(self, model: &str) -> Ask {
        self.ask_with(model, json!({}))
    }

    fn ask_with(self, model: &str, more: Value) -> Ask {
        let (path, mut body) = match self {
            Self::Messages => (
                "/v1/messages/count_tokens".to_owned(),
                json!({"model": model, "system": "Be brief.", "messages": [{"role": "user", "content": "How many?"}],
                       "tools": [{"name": "weather", "input_schema": {"type": "object"}}]}),
            ),
            Self::Gemini => (
                format!("/v1beta/models/{model}:countTokens"),
                json!({"generateContentRequest": {"model": format!("models/{model}"),
                       "systemInstruction": {"parts": [{"text": "Be brief."}]},
                       "contents": [{"role": "user", "parts": [{"text": "How many?"}]}],
                       "tools": [{"functionDeclarations": [{"name": "weather"}]}]}}),
            ),
            Self::Responses => (
                "/v1/responses/input_tokens".to_owned(),
                json!({"model": model, "instructions": "Be brief.", "input": "How many?",
                       "tools": [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": false}]}),
            ),
        };
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        let ask = Ask::post(&path, body.to_string());
        if self == Self::Messages { ask.header("anthropic-version", "2023-06-01") } else { ask }
    }

    /// The answer that tells `total`.
    fn answer(self, total: u64) -> Value {
        match self {
            Self::Messages => json!({"input_tokens": total}),
            Self::Gemini => json!({"totalTokens": total}),
            Self::Responses => json!({"object": "response.input_tokens", "input_tokens": total}),
        }
    }

    /// The message of an error in the format's own envelope; anything else fails the test.
    fn error(self, response: &Response) -> String {
        let body = response.json();
        let well = match self {
            Self::Messages => body["type"] == "error" && body["error"]["type"].is_string(),
            Self::Gemini => body["error"]["code"] == response.status && body["error"]["status"].is_string(),
            Self::Responses => body["error"]["type"].is_string() && body["error"].get("param").is_some(),
        };
        assert!(well, "{self:?}: {body}");
        body["error"]["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// A kind of provider, in whose format it counts, and what it is asked for: the path, and the fields at the top of the body.
struct Counts {
    kind: &'static str,
    by: Asks,
    path: &'static str,
    fields: &'static [&'static str],
}

const RESPONSES: &[&str] = &["input", "instructions", "model", "tools"];
const MESSAGES: &[&str] = &["messages", "model", "system", "tools"];

#[rustfmt::skip]
const KINDS: [Counts; 7] = [
    Counts { kind: "anthropic", by: Asks::Messages, path: "/v1/messages/count_tokens", fields: MESSAGES },
    Counts { kind: "anthropic-compatible", by: Asks::Messages, path: "/v1/messages/count_tokens", fields: MESSAGES },
    Counts { kind: "openai-responses", by: Asks::Responses, path: "/v1/responses/input_tokens", fields: RESPONSES },
    Counts { kind: "gemini", by: Asks::Gemini, path: "/v1beta/models/up-1:countTokens", fields: &["generateContentRequest"] },
    Counts { kind: "vertex", by: Asks::Gemini, path: "/v1beta/models/up-1:countTokens", fields: &["contents", "systemInstruction", "tools"] },
    // Their own format has no such path.
    Counts { kind: "openai", by: Asks::Responses, path: "/v1/responses/input_tokens", fields: RESPONSES },
    Counts { kind: "vllm", by: Asks::Messages, path: "/v1/messages/count_tokens", fields: MESSAGES },
];

fn keys(body: &Value) -> Vec<String> {
    let mut keys: Vec<String> = body.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn every_client_has_its_tokens_counted_by_every_provider() {
    let mut conf = Conf::open();
    let mut providers = Vec::new();
    for (number, counts) in KINDS.iter().enumerate() {
        let provider = Provider::always(Reply::json(200, counts.by.answer(2095).to_string())).await;
        conf = conf
            .provider(&format!("p{number}"), counts.kind, &provider)
            .model(&format!("m{number}"), &format!("{{targets: [p{number}/up-1], on_loss: refuse}}"));
        providers.push(provider);
    }
    let edge = Edge::start(&conf).await;
    for (number, (counts, provider)) in KINDS.iter().zip(&providers).enumerate() {
        for client in ALL {
            let what = format!("{client:?} at {}", counts.kind);
            let response = client.ask(&format!("m{number}")).send(edge.addr).await;
            assert_eq!((response.status, response.json()), (200, client.answer(2095)), "{what}: {}", response.text());
            assert_eq!(response.header("x-tidegate-loss"), None, "{what}");
            assert_eq!(response.header("content-type"), Some("application/json"), "{what}");
            let sent = provider.last();
            assert_eq!(sent.target, counts.path, "{what}");
            let text = String::from_utf8_lossy(&sent.body).into_owned();
            for part in ["Be brief.", "How many?", "weather"] {
                assert!(text.contains(part), "{what}: {part} in {text}");
            }
            assert!(!text.contains(&format!("m{number}")), "{what}: {text}");
            if client != counts.by {
                assert_eq!(keys(&sent.json()), counts.fields, "{what}: {text}");
            }
            if counts.fields == ["generateContentRequest"] {
                assert_eq!(sent.json()["generateContentRequest"]["model"], "models/up-1", "{what}");
            }
        }
    }
    edge.metric_reaches("gateway_requests_total", &["endpoint=\"count_tokens\""], KINDS.len() as f64).await;
    edge.metric_reaches("gateway_requests_total", &["endpoint=\"gemini_count_tokens\""], KINDS.len() as f64).await;
    edge.metric_reaches("gateway_requests_total", &["endpoint=\"responses_input_tokens\""], KINDS.len() as f64).await;
}

/// Also where the provider's own format is another, and where it is asked to count by a path of the client's.
#[tokio::test]
async fn within_a_format_every_byte_passes() {
    for counts in &KINDS {
        let odd = format!("{} ", counts.by.answer(7));
        let provider = Provider::always(Reply::json(200, odd.clone())).await;
        let conf = Conf::open().provider("up", counts.kind, &provider).model("m", "up/up-1");
        let edge = Edge::start(&conf).await;
        let mut ask = counts.by.ask("m");
        // Servers that only speak a vendor's format are sent what every one of them knows.
        let vendor = !["anthropic-compatible", "vllm"].contains(&counts.kind);
        let odd_field = if vendor { "{ \"x_new\" : 1.0," } else { "{ " };
        let body = String::from_utf8_lossy(&ask.body).replacen('{', odd_field, 1);
        ask.body = body.clone().into_bytes();
        let response = ask.send(edge.addr).await;
        assert_eq!((response.status, response.text()), (200, odd), "{}", counts.kind);
        let sent = provider.last().json();
        if counts.kind == "vertex" {
            // A server that counts no request as a whole is sent its fields.
            assert_eq!(sent["contents"][0]["parts"][0]["text"], "How many?", "{sent}");
            assert_eq!(sent.get("generateContentRequest"), None);
            continue;
        }
        let renamed = body.replace("\"m\"", "\"up-1\"").replace("models/m", "models/up-1");
        assert_eq!(String::from_utf8_lossy(&provider.last().body), renamed, "{}", counts.kind);
    }
}

#[tokio::test]
async fn a_target_that_counts_nothing_is_passed_over() {
    let chat = Provider::always(Reply::json(200, "{}")).await;
    for counts in &KINDS {
        let provider = Provider::always(Reply::json(200, counts.by.answer(7).to_string())).await;
        let conf = Conf::open()
            .provider("chat", "openai-compatible", &chat)
            .provider_at("never", "anthropic", &chat.url(), "quirks: {counts: none}")
            .provider("up", counts.kind, &provider)
            .model("m", "{targets: [chat/a, never/b, up/c]}")
            .model("shared", "{strategy: weighted, targets: [{to: chat/a, weight: 1000}, up/c]}");
        let edge = Edge::start(&conf).await;
        for client in ALL {
            for model in ["m", "shared"] {
                let response = client.ask(model).send(edge.addr).await;
                assert_eq!((response.status, response.json()), (200, client.answer(7)), "{client:?} {}", counts.kind);
            }
        }
        for query in ["model=m&count=true", "model=m"] {
            let said = Ask::get(&format!("/explain?{query}")).send(edge.admin).await.json();
            let skipped: Vec<bool> =
                said["targets"].as_array().into_iter().flatten().map(|at| at["skipped"].is_string()).collect();
            // Those that it may not go to come last.
            let wanted = if query.contains("count") { [false, true, true] } else { [false; 3] };
            assert_eq!(skipped, wanted, "{query}: {said}");
        }
    }
    assert!(chat.requests().is_empty());
}

#[tokio::test]
async fn where_nothing_counts_the_client_is_told() {
    let provider = Provider::always(Reply::json(200, "{}")).await;
    let conf = Conf::open()
        .provider("chat", "openai-compatible", &provider)
        .provider("cloud", "azure", &provider)
        .provider_at("never", "openai-responses", &provider.url(), "quirks: {counts: none}")
        .model("m", "{targets: [chat/a, cloud/b, never/c]}");
    let edge = Edge::start(&conf).await;
    for client in ALL {
        let response = client.ask("m").send(edge.addr).await;
        assert_eq!(response.status, 400, "{client:?}: {}", response.text());
        let message = client.error(&response);
        for word in ["`m`", "counts tokens", "Anthropic Messages", "quirks.counts"] {
            assert!(message.contains(word), "{client:?}: {word}: {message}");
        }
    }
    edge.metric_reaches("gateway_errors_total", &["error_type=\"invalid_request\""], 3.0).await;
    assert!(provider.requests().is_empty());
}

#[tokio::test]
async fn a_providers_error_is_told_in_the_clients_words() {
    for counts in &KINDS {
        let (status, error) = match counts.by {
            Asks::Messages => {
                (429, json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}))
            }
            Asks::Gemini => {
                (429, json!({"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}))
            }
            Asks::Responses => {
                (429, json!({"error": {"message": "slow down", "type": "requests", "param": null, "code": null}}))
            }
        };
        let provider = Provider::always(Reply::json(status, error.to_string()).header("retry-after", "7")).await;
        // Who counts nothing is no further target: what the one that does says is the answer.
        let conf = Conf::open()
            .provider("up", counts.kind, &provider)
            .provider("chat", "openai-compatible", &provider)
            .model("m", "{targets: [up/a, chat/b], retries: {rounds: 0}}");
        let edge = Edge::start(&conf).await;
        for client in ALL {
            let response = client.ask("m").send(edge.addr).await;
            assert_eq!(response.status, 429, "{client:?} {}: {}", counts.kind, response.text());
            assert_eq!(client.error(&response), "slow down", "{client:?} {}", counts.kind);
            assert_eq!(response.header("retry-after"), Some("7"), "{client:?} {}", counts.kind);
        }
    }
}

#[tokio::test]
async fn an_answer_that_tells_no_number_is_none() {
    for reply in [
        Reply::json(200, "{}"),
        Reply::json(200, "nonsense"),
        Reply::sse("data: {\"input_tokens\":7}\n\n"),
        Reply::typed(200, "text/html", "<html>"),
        Reply::bare(204),
    ] {
        let shown = format!("{reply:?}");
        let provider = Provider::always(reply).await;
        let conf =
            Conf::open().provider("up", "anthropic", &provider).model("m", "{targets: [up/a], retries: {rounds: 0}}");
        let edge = Edge::start(&conf).await;
        for client in [Asks::Gemini, Asks::Responses] {
            let response = client.ask("m").send(edge.addr).await;
            assert_eq!(response.status, 502, "{client:?} {shown}: {}", response.text());
            client.error(&response);
        }
    }
}

/// A word about streams changes nothing: a number is no stream.
#[tokio::test]
async fn a_count_is_never_a_stream() {
    let provider = Provider::always(Reply::json(200, Asks::Gemini.answer(7).to_string())).await;
    let conf = Conf::open()
        .provider("up", "gemini", &provider)
        .provider("other", "gemini", &provider)
        .model("m", "{targets: [up/up-1, other/up-1], hedge: {}}");
    let edge = Edge::start(&conf).await;
    for client in [Asks::Messages, Asks::Responses] {
        let response = client.ask_with("m", json!({"stream": true})).send(edge.addr).await;
        assert_eq!((response.status, response.json()), (200, client.answer(7)), "{client:?}: {}", response.text());
        assert_eq!(provider.last().target, "/v1beta/models/up-1:countTokens");
    }
}

/// What is not counted is told, and refused where the model refuses losses.
#[tokio::test]
async fn losses_are_told_as_of_any_request() {
    let provider = Provider::always(Reply::json(200, Asks::Responses.answer(7).to_string())).await;
    let conf = Conf::open()
        .provider("up", "openai-responses", &provider)
        .model("warn", "up/a")
        .model("strict", "{targets: [up/a], on_loss: refuse}");
    let edge = Edge::start(&conf).await;
    let lost = json!({"generateContentRequest": {"contents": [{"parts": [{"text": "q", "brandNew": 1}]}],
                      "generationConfig": {"temperature": 0.5, "topK": 3, "seed": 1}}});
    let ask = async |model| Asks::Gemini.ask_with(model, lost.clone()).send(edge.addr).await;
    let response = ask("warn").await;
    assert_eq!(response.status, 200, "{}", response.text());
    let place = "dropped:/generateContentRequest/contents/0/parts/0/brandNew";
    assert_eq!(response.header("x-tidegate-loss"), Some(place));
    let asked = provider.requests().len();
    let response = ask("strict").await;
    assert_eq!(response.status, 400, "{}", response.text());
    assert!(Asks::Gemini.error(&response).contains(place), "{}", response.text());
    assert_eq!(provider.requests().len(), asked);
}

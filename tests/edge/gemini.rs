//! Gemini's paths, keys and streams: its clients at providers of other formats and of its own, others' clients at it.

use serde_json::{Value, json};

use crate::support::client::{Ask, Response};
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::provider::Provider;
use crate::support::script::{End, Reply};

const KEY: &str = "AIza-client-0123456789abcdef";

const ANSWER: &str = r#"{"candidates":[{"content":{"parts":[{"text":"Hello, 北🙂!"}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":20,"candidatesTokenCount":5,"totalTokenCount":25},"modelVersion":"gemini-3-pro","responseId":"resp_1"}"#;

fn stream() -> String {
    let piece = |text: &str| {
        format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}],\"role\":\"model\"}},\"index\":0}}],\"responseId\":\"resp_1\"}}\r\n\r\n"
        )
    };
    let last = ANSWER.replace("Hello, 北🙂!", "!");
    format!("{}{}data: {last}\r\n\r\n", piece("Hello, "), piece("北🙂"))
}

fn body() -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}], "generationConfig": {"maxOutputTokens": 64}})
}

fn ask(target: &str) -> Ask {
    Ask::post(target, body().to_string())
}

/// All words of an answer, or of the pieces of a stream.
fn words(pieces: &[Value]) -> String {
    let parts = pieces.iter().flat_map(|piece| piece["candidates"][0]["content"]["parts"].as_array().cloned());
    parts.flatten().filter_map(|part| part["text"].as_str().map(str::to_owned)).collect()
}

fn pieces(response: &Response) -> Vec<Value> {
    assert_eq!(response.status, 200, "{}", response.text());
    let events = response.events();
    events.iter().map(|event| serde_json::from_str(&event.data).unwrap_or_default()).collect()
}

async fn house(kind: &str, replies: Vec<Reply>) -> (Provider, Edge) {
    let provider = Provider::sequence(replies).await;
    let name = match kind {
        "openai" => "gpt-4.1",
        "anthropic" => "claude-sonnet-4-5",
        _ => "gemini-3-pro",
    };
    let clients = format!("- {{name: web, key: {KEY}, models: [\"*\"]}}");
    let conf = Conf::with_clients(&clients).provider("up", kind, &provider).model("m", &format!("up/{name}"));
    let edge = Edge::start(&conf).await;
    (provider, edge)
}

#[tokio::test]
async fn its_clients_reach_every_other_format_whole_and_streamed() {
    for wire in [Wire::Chat, Wire::Messages] {
        let replies = vec![wire.reply(false), wire.reply(true), wire.reply(true)];
        let (provider, edge) = house(wire.kind(), replies).await;
        let whole = ask("/v1beta/models/m:generateContent").header("x-goog-api-key", KEY).send(edge.addr).await;
        assert_eq!(whole.status, 200, "{}", whole.text());
        let answer = whole.json();
        assert_eq!(words(std::slice::from_ref(&answer)), "Hello, 北🙂!");
        assert_eq!((&answer["candidates"][0]["finishReason"], &answer["modelVersion"]), (&json!("STOP"), &json!("m")));
        assert_eq!(answer["usageMetadata"]["totalTokenCount"], 25, "{answer}");
        let sent = provider.last();
        assert_eq!(sent.target, wire.path());
        assert!(sent.json()["stream"].is_null() || sent.json()["stream"] == false);

        let events = ask("/v1beta/models/m:streamGenerateContent?alt=sse").header("x-goog-api-key", KEY);
        let events = events.send(edge.addr).await;
        assert!(events.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")));
        let seen = pieces(&events);
        assert_eq!(words(&seen), "Hello, 北🙂!");
        let last = seen.last().expect("pieces");
        assert_eq!(
            (&last["candidates"][0]["finishReason"], &last["usageMetadata"]["totalTokenCount"]),
            (&json!("STOP"), &json!(25))
        );
        assert_eq!(provider.last().json()["stream"], true);

        let array = ask("/v1/models/m:streamGenerateContent").header("x-goog-api-key", KEY).send(edge.addr).await;
        assert!(array.header("content-type").is_some_and(|kind| kind.starts_with("application/json")));
        let seen = array.json().as_array().cloned().expect("an array");
        assert_eq!(words(&seen), "Hello, 北🙂!");
    }
}

#[tokio::test]
async fn trap_a4_a_stream_that_breaks_ends_in_its_error() {
    for (target, wire) in [
        ("/v1beta/models/m:streamGenerateContent?alt=sse", Wire::Chat),
        ("/v1beta/models/m:streamGenerateContent", Wire::Messages),
    ] {
        let cut = wire.stream().find("Hello, ").expect("it has words") + 200;
        let (_, edge) = house(wire.kind(), vec![Reply::sse(wire.stream()).stop_at(cut, End::Fin)]).await;
        let response = ask(target).header("x-goog-api-key", KEY).send(edge.addr).await;
        let last = if target.ends_with("sse") {
            pieces(&response).pop()
        } else {
            response.json().as_array().and_then(|list| list.last().cloned())
        };
        let error = &last.expect("pieces")["error"];
        assert!(error["code"].is_u64() && error["message"].is_string(), "{}", response.text());
    }
}

#[tokio::test]
async fn a_chat_client_reaches_it_whole_and_streamed() {
    let (provider, edge) = house("gemini", vec![Reply::json(200, ANSWER), Reply::sse(stream())]).await;
    let bearer = format!("Bearer {KEY}");
    for streamed in [false, true] {
        let response = Wire::Chat.ask("m", streamed).header("authorization", &bearer).send(edge.addr).await;
        let answer = Wire::Chat.read(&response, streamed);
        assert_eq!((Wire::Chat.text(&answer).as_str(), Wire::Chat.stop(&answer)), ("Hello, 北🙂!", json!("stop")));
        let sent = provider.last();
        let verb = if streamed { "streamGenerateContent?alt=sse" } else { "generateContent" };
        assert_eq!(sent.target, format!("/v1beta/models/gemini-3-pro:{verb}"));
        assert_eq!(sent.header("x-goog-api-key"), Some("sk-upstream-up"));
        assert_eq!(sent.header("authorization"), None);
        assert_eq!(sent.json()["contents"][0]["parts"][0]["text"], "Say hello.");
        assert!(sent.json()["model"].is_null() && sent.json()["stream"].is_null());
    }
}

#[tokio::test]
async fn within_the_format_every_byte_passes() {
    let array = format!("[{ANSWER}\n,\n{ANSWER}]");
    let replies = vec![
        Reply::json(200, ANSWER),
        Reply::sse(stream()),
        Reply::json(200, array.clone()),
        Reply::json(200, "{\"totalTokens\": 7}"),
    ];
    let (provider, edge) = house("gemini", replies).await;
    let odd = r#"{ "contents" : [{"parts":[{"text":"q"}]}], "brandNew": {"a":1.0} }"#;
    for (target, upstream, answer) in [
        (":generateContent", ":generateContent", ANSWER.to_owned()),
        (":streamGenerateContent?alt=sse", ":streamGenerateContent?alt=sse", stream()),
        (":streamGenerateContent", ":streamGenerateContent", array),
        (":countTokens", ":countTokens", "{\"totalTokens\": 7}".to_owned()),
    ] {
        let ask = Ask::post(&format!("/v1beta/models/m{target}"), odd).header("x-goog-api-key", KEY);
        let response = ask.send(edge.addr).await;
        assert_eq!((response.status, response.text()), (200, answer), "{target}");
        let sent = provider.last();
        assert_eq!(sent.target, format!("/v1beta/models/gemini-3-pro{upstream}"));
        assert_eq!(String::from_utf8_lossy(&sent.body), odd);
    }
}

#[tokio::test]
async fn a_key_in_the_query_lets_in_and_goes_nowhere() {
    let (provider, edge) = house("gemini", vec![Reply::json(200, ANSWER), Reply::sse(stream())]).await;
    for query in [format!("?key={KEY}"), format!("?alt=sse&key={KEY}")] {
        let verb = if query.contains("sse") { "streamGenerateContent" } else { "generateContent" };
        let response = ask(&format!("/v1beta/models/m:{verb}{query}")).send(edge.addr).await;
        assert_eq!(response.status, 200, "{}", response.text());
        let sent = provider.last();
        assert!(
            !sent.target.contains("key") && !String::from_utf8_lossy(&sent.raw_head).contains(KEY),
            "{}",
            sent.target
        );
    }
    let refused = ask("/v1beta/models/m:generateContent?key=wrong").send(edge.addr).await;
    assert_eq!((refused.status, &refused.json()["error"]["status"]), (401, &json!("UNAUTHENTICATED")));
    let refused = ask("/v1beta/models/nobody:generateContent").header("x-goog-api-key", KEY).send(edge.addr).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (404, &json!(404)));
    assert!(!edge.log().contains(KEY), "the key stands in the log");
}

#[tokio::test]
async fn errors_have_its_envelope_and_tell_when_to_come_back() {
    let busy =
        Reply::json(429, r#"{"error":{"message":"slow down","type":"rate_limit_error"}}"#).header("retry-after", "7");
    let (_, edge) = house("openai", vec![busy]).await;
    let response = ask("/v1beta/models/m:generateContent").header("x-goog-api-key", KEY).send(edge.addr).await;
    let error = response.json()["error"].clone();
    assert_eq!((response.status, &error["code"], &error["status"]), (429, &json!(429), &json!("RESOURCE_EXHAUSTED")));
    assert_eq!(response.header("retry-after"), Some("7"));
    let details = error["details"].as_array().cloned().unwrap_or_default();
    assert!(details.iter().any(|detail| detail["retryDelay"] == "7s"), "{error}");
}

#[tokio::test]
async fn the_list_of_models_has_its_shape() {
    let (_, edge) = house("gemini", vec![Reply::json(200, ANSWER)]).await;
    for target in ["/v1beta/models", "/v1beta/models?pageSize=50", "/v1/models"] {
        let list = Ask::get(target).header("x-goog-api-key", KEY).send(edge.addr).await.json();
        assert_eq!(list["models"][0]["name"], "models/m", "{target}: {list}");
    }
    let one = Ask::get("/v1beta/models/m").header("x-goog-api-key", KEY).send(edge.addr).await.json();
    assert_eq!(one["name"], "models/m", "{one}");
}

#[tokio::test]
async fn embeddings_pass_with_the_model_renamed_wherever_it_stands() {
    let (provider, edge) = house("gemini", vec![Reply::json(200, r#"{"embedding":{"values":[0.5]}}"#)]).await;
    for (version, verb, body) in [
        ("v1beta", "embedContent", r#"{"model": "models/@","content":{"parts":[{"text":"m"}]}}"#),
        ("v1", "embedContent", r#"{"content":{"parts":[]}}"#),
        ("v1beta", "batchEmbedContents", r#"{"requests":[{"model":"models/@"}, {"model" : "models/@","x":[1e400]}]}"#),
        ("v1beta", "countTokens", r#"{"generateContentRequest":{"model":"models/@","contents":[]}}"#),
    ] {
        let ask = Ask::post(&format!("/{version}/models/m:{verb}"), body.replace('@', "m"));
        let response = ask.header("x-goog-api-key", KEY).send(edge.addr).await;
        assert_eq!((response.status, response.text().as_str()), (200, r#"{"embedding":{"values":[0.5]}}"#));
        let sent = provider.last();
        assert_eq!(sent.target, format!("/v1beta/models/gemini-3-pro:{verb}"));
        assert_eq!(String::from_utf8_lossy(&sent.body), body.replace('@', "gemini-3-pro"));
    }
    edge.metric_reaches("gateway_requests_total", &["endpoint=\"embed_content\""], 2.0).await;
    edge.metric_reaches("gateway_requests_total", &["endpoint=\"batch_embed_contents\""], 1.0).await;
}

#[tokio::test]
async fn how_long_to_wait_is_told_to_every_client() {
    let body = json!({"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}]}});
    let stream = format!("data: {body}\r\n\r\n");
    for reply in [Reply::json(429, body.to_string()), Reply::sse(&stream)] {
        let provider = Provider::always(reply).await;
        let conf = Conf::open()
            .provider("up", "gemini", &provider)
            .model("m", "{targets: [up/gemini-3-pro], retries: {rounds: 0}}");
        let edge = Edge::start(
            &conf
                .provider("other", "gemini", &provider)
                .model("n", "{targets: [other/gemini-3-pro], retries: {rounds: 0}}"),
        )
        .await;
        for (number, asked) in [
            Wire::Chat.ask("m", true),
            Wire::Messages.ask("m", true),
            ask("/v1beta/models/n:streamGenerateContent?alt=sse"),
        ]
        .into_iter()
        .enumerate()
        {
            let response = asked.send(edge.addr).await;
            assert_eq!(
                (response.status, response.header("retry-after")),
                (429, Some("7")),
                "{number}: {}",
                response.text()
            );
        }
    }
}

#[tokio::test]
async fn a_key_of_ours_that_is_refused_is_not_the_clients() {
    const REFUSED: &str = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#;
    let own = |stream: bool| match stream {
        true => ask("/v1beta/models/m:streamGenerateContent?alt=sse"),
        false => ask("/v1beta/models/m:generateContent"),
    };
    let (provider, edge) = house("gemini", vec![Reply::json(400, REFUSED)]).await;
    let asks = [false, true]
        .into_iter()
        .flat_map(|stream| [own(stream), Wire::Chat.ask("m", stream), Wire::Messages.ask("m", stream)]);
    for ask in asks.chain([ask("/v1beta/models/m:streamGenerateContent")]) {
        let refused = ask.header("x-api-key", KEY).send(edge.addr).await;
        assert_eq!(refused.status, 502, "{}", refused.text());
        assert!(refused.text().contains("refused this server's credentials"), "{}", refused.text());
        assert!(!refused.text().contains("valid API key"), "{}", refused.text());
    }
    assert_eq!(provider.requests().len(), 7);
    // Any other bad request is the client's, and told as it is.
    let (_provider, edge) = house("gemini", vec![Reply::json(400, REFUSED.replace("API_KEY_INVALID", "OTHER"))]).await;
    let told = own(false).header("x-api-key", KEY).send(edge.addr).await;
    assert_eq!((told.status, told.json()["error"]["details"][0]["reason"].as_str()), (400, Some("OTHER")));
}

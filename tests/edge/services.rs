//! Operations that are passed through: routed, authenticated and counted as answers are, and byte for byte.

use serde_json::{Value, json};

use crate::support::client::{Ask, Client, Response};
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::http1::Ended;
use crate::support::provider::{Provider, Request, refused};
use crate::support::script::{End, Framed, Reply};

/// One provider of each family, and keys with different rights.
struct House {
    oa: Provider,
    an: Provider,
    edge: Edge,
}

const KEYS: &str = "- {name: all, key: key-of-all, raw: [oa, an]}\n\
    - {name: some, key: key-of-some, models: [\"emb*\", \"both\"]}\n\
    - {name: granted, key: key-of-granted, models: [\"emb\"], providers: [oa]}";

impl House {
    async fn new(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(script, |conf| conf).await
    }

    async fn with(script: impl Fn(&Request) -> Reply + Send + Sync + 'static, more: impl FnOnce(Conf) -> Conf) -> Self {
        let oa = Provider::start(script).await;
        let an = Provider::always(Reply::json(200, "{\"from\":\"an\"}")).await;
        let conf = Conf::with_clients(KEYS)
            .provider("oa", "openai", &oa)
            .provider("an", "anthropic", &an)
            .model("emb", "oa/emb-3-large")
            .model("same", "oa/same")
            .model("claude", "an/claude")
            .model("both", "{targets: [an/claude, oa/emb-3-large]}");
        let edge = Edge::start(&more(conf)).await;
        Self { oa, an, edge }
    }

    async fn ask(&self, ask: Ask) -> Response {
        ask.header("authorization", "Bearer key-of-all").send(self.edge.addr).await
    }
}

fn method(method: &str, path: &str) -> Ask {
    Ask { method: method.to_owned(), ..Ask::get(path) }
}

fn anthropic(ask: Ask) -> Ask {
    ask.header("anthropic-version", "2023-06-01")
}

fn code(response: &Response) -> String {
    Wire::Chat.error(response);
    response.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_json_body_changes_at_the_models_name_alone() {
    let house = House::new(|_| Reply::json(200, "{\"ok\" : 1}")).await;
    let paths = [
        "/v1/embeddings",
        "/v1/completions",
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/audio/speech",
        "/v1/moderations",
        "/v1/rerank",
        "/v2/rerank",
    ];
    for path in paths {
        for (asked, sent) in [("emb", "emb-3-large"), ("same", "same"), (r"s\u0061me", r"s\u0061me")] {
            let body = format!(
                "{{ \"input\":[\"caf\\u00e9\",1e400],\"x_new\":{{\"model\":\"emb\"}},\r\n\"model\" :\"{asked}\" }}"
            );
            let response = house.ask(Ask::post(path, body.clone())).await;
            assert_eq!((response.status, response.text().as_str()), (200, "{\"ok\" : 1}"), "{path}");
            let request = house.oa.last();
            assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", path));
            let expected = body.replace(&format!("\"{asked}\" }}"), &format!("\"{sent}\" }}"));
            assert_eq!(String::from_utf8_lossy(&request.body), expected, "{path}");
        }
    }
    assert!(house.an.requests().is_empty());
}

#[tokio::test]
async fn what_goes_on_is_the_clients_but_for_its_credentials() {
    let house = House::new(|_| Reply::json(200, "{}").header("etag", "kept").header("set-cookie", "spy=1")).await;
    let ask = Ask::post("/v1/embeddings?a=b&key=key-of-all&c=%20d", r#"{"model":"same"}"#)
        .header("authorization", "Bearer key-of-nobody")
        .header("x-api-key", "key-of-nobody")
        .header("cookie", "a=b")
        .header("openai-organization", "org-1")
        .header("x-tidegate-provider", "oa")
        .header("connection", "keep-alive, x-hop")
        .header("x-hop", "1")
        .header("accept", "*/*")
        .header("openai-beta", "assistants=v2")
        .header("idempotency-key", "once")
        .header("range", "bytes=0-9")
        .header("if-none-match", "\"e\"");
    let response = ask.send(house.edge.addr).await;
    assert_eq!((response.status, response.header("etag")), (200, Some("kept")), "{}", response.text());
    assert_eq!(response.header("set-cookie"), None);
    let sent = house.oa.last();
    assert_eq!(sent.target, "/v1/embeddings?a=b&c=%20d", "the query without the key");
    assert_eq!(sent.header("authorization"), Some("Bearer sk-upstream-oa"));
    for (name, value) in [
        ("accept", "*/*"),
        ("openai-beta", "assistants=v2"),
        ("idempotency-key", "once"),
        ("range", "bytes=0-9"),
        ("if-none-match", "\"e\""),
        ("content-type", "application/json"),
    ] {
        assert_eq!(sent.header(name), Some(value), "{name}");
    }
    for name in ["x-api-key", "cookie", "openai-organization", "x-tidegate-provider", "x-hop", "keep-alive"] {
        assert_eq!(sent.header(name), None, "{name}");
    }
    assert!(!String::from_utf8_lossy(&sent.raw_head).contains("key-of"), "no key of a client goes on");
}

#[tokio::test]
async fn targets_of_another_family_are_skipped() {
    let house = House::new(|_| Reply::json(200, "{}")).await;
    let ask = |model: &str| Ask::post("/v1/embeddings", json!({"model": model}).to_string());
    assert_eq!(house.ask(ask("both")).await.status, 200);
    assert_eq!(house.oa.last().json()["model"], "emb-3-large");
    let refused = house.ask(ask("claude")).await;
    assert_eq!((refused.status, code(&refused).as_str()), (400, "unsupported_operation"));
    assert!(refused.text().contains("Chat Completions"), "it says who serves it: {}", refused.text());
    let elsewhere = house.ask(ask("emb").header("x-tidegate-provider", "an")).await;
    assert_eq!((elsewhere.status, code(&elsewhere).as_str()), (400, "unsupported_operation"));
    let unknown = house.ask(ask("nope")).await;
    assert_eq!((unknown.status, code(&unknown).as_str()), (404, "model_not_found"));
    let forbidden = ask("same").header("x-api-key", "key-of-some").send(house.edge.addr).await;
    assert_eq!((forbidden.status, code(&forbidden).as_str()), (403, "model_not_allowed"));
    let nobody = ask("same").header("x-api-key", "key-of-nobody").send(house.edge.addr).await;
    assert_eq!(nobody.status, 401);
    assert_eq!(house.oa.requests().len(), 1);
    assert!(house.an.requests().is_empty());
}

#[tokio::test]
async fn another_target_is_tried_before_the_first_byte() {
    let second = Provider::always(Reply::json(200, "{\"second\":true}")).await;
    let house = House::with(
        |_| Reply::json(503, "{\"error\":{}}"),
        |conf| {
            conf.provider_at("two", "openai", &second.url(), "")
                .provider_at("gone", "openai", &format!("http://{}", refused()), "")
                .model("chain", "{targets: [gone/a, oa/b, an/x, two/c]}")
        },
    )
    .await;
    let response = house.ask(Ask::post("/v1/embeddings", r#"{"model":"chain","input":"x"}"#)).await;
    assert_eq!((response.status, response.text().as_str()), (200, "{\"second\":true}"));
    assert_eq!(house.oa.last().body, br#"{"model":"b","input":"x"}"#);
    assert_eq!(second.last().body, br#"{"model":"c","input":"x"}"#);
    assert!(house.an.requests().is_empty());
}

#[tokio::test]
async fn what_names_no_model_goes_to_the_provider_that_is_named() {
    let two = Provider::always(Reply::json(200, "{\"from\":\"two\"}")).await;
    let script = |_: &Request| Reply::json(200, "{\"from\":\"oa\"}");
    let ask = || Ask::get("/v1/files?limit=2");
    let only = House::new(script).await;
    assert_eq!(only.ask(ask()).await.json()["from"], "oa", "the only one of the family");
    assert_eq!(only.oa.last().target, "/v1/files?limit=2");
    let house = House::with(script, |conf| conf.provider("two", "vllm", &two)).await;
    let unclear = house.ask(ask()).await;
    assert_eq!((unclear.status, code(&unclear).as_str()), (400, "ambiguous_provider"));
    let told = unclear.text();
    assert!(told.contains("x-tidegate-provider") && told.contains("`oa`, `two`"), "it says how to name one: {told}");
    assert_eq!(house.ask(ask().header("x-tidegate-provider", "two")).await.json()["from"], "two");
    for wrong in ["an", "nope", ""] {
        let refused = house.ask(ask().header("x-tidegate-provider", wrong)).await;
        assert_eq!((refused.status, code(&refused).as_str()), (400, "unknown_provider"), "{wrong}");
    }
    let house = House::with(script, |conf| conf.provider("two", "vllm", &two).top("operations: {files: two}")).await;
    assert_eq!(house.ask(ask()).await.json()["from"], "two");
    assert_eq!(house.ask(ask().header("x-tidegate-provider", "oa")).await.json()["from"], "oa", "the header first");
    let nameless = house.ask(Ask::post("/v1/images/generations", "{}").header("x-tidegate-provider", "oa")).await;
    assert_eq!(nameless.json()["from"], "oa", "a body without a model is routed the same way");
}

#[tokio::test]
async fn a_key_of_some_models_calls_no_provider_without_one_unless_it_may() {
    let house = House::new(|_| Reply::json(200, "{}")).await;
    let ask = |key: &str, ask: Ask| ask.header("x-api-key", key).send(house.edge.addr);
    for path in ["/v1/files", "/v1/batches/b_1"] {
        let refused = ask("key-of-some", Ask::get(path)).await;
        assert_eq!((refused.status, code(&refused).as_str()), (403, "provider_not_allowed"));
        assert_eq!(ask("key-of-granted", Ask::get(path)).await.status, 200);
    }
    let other = ask("key-of-granted", anthropic(Ask::get("/v1/files"))).await;
    assert_eq!(other.status, 403, "granted is one provider, not all");
    Wire::Messages.error(&other);
    let named = ask("key-of-some", Ask::get("/v1/files").header("x-tidegate-provider", "oa")).await;
    assert_eq!(named.status, 403, "naming it is no right to it");
    assert_eq!(ask("", Ask::get("/v1/files")).await.status, 401);
    assert!(house.an.requests().is_empty());
}

#[tokio::test]
async fn every_path_leads_where_its_family_is() {
    let house = House::with(
        |request| match request.method.as_str() {
            "DELETE" => Reply::bare(204),
            _ => Reply::json(200, "{\"from\":\"oa\"}"),
        },
        |conf| conf,
    )
    .await;
    for (verb, path) in [
        ("POST", "/v1/files"),
        ("GET", "/v1/files/file-1"),
        ("DELETE", "/v1/files/file-1"),
        ("GET", "/v1/files/file-1/content"),
        ("POST", "/v1/batches"),
        ("GET", "/v1/batches?after=b"),
        ("POST", "/v1/batches/batch_1/cancel"),
    ] {
        let response = house.ask(method(verb, path)).await;
        let expected = if verb == "DELETE" { 204 } else { 200 };
        assert_eq!((response.status, &response.ended), (expected, &Ended::Complete), "{verb} {path}");
        assert_eq!((house.oa.last().method.as_str(), house.oa.last().target.as_str()), (verb, path));
    }
    for (verb, path) in [
        ("GET", "/v1/files"),
        ("POST", "/v1/messages/batches"),
        ("DELETE", "/v1/messages/batches/b"),
        ("GET", "/v1/messages/batches/b/results"),
        ("POST", "/v1/messages/batches/b/cancel"),
    ] {
        let ask = anthropic(method(verb, path)).header("anthropic-beta", "files-api-2025-04-14");
        assert_eq!(house.ask(ask).await.json()["from"], "an", "{verb} {path}");
        let sent = house.an.last();
        assert_eq!((sent.method.as_str(), sent.target.as_str()), (verb, path));
        assert_eq!(sent.header("x-api-key"), Some("sk-upstream-an"));
        assert_eq!(sent.header("anthropic-version"), Some("2023-06-01"));
        assert_eq!(sent.header("anthropic-beta"), Some("files-api-2025-04-14"));
    }
    let unserved = house.ask(Ask::get("/v1/responses/resp_1")).await;
    assert_eq!((unserved.status, code(&unserved).as_str()), (404, "unsupported_operation"));
}

#[tokio::test]
async fn stored_responses_are_where_responses_is_spoken() {
    let responses = Provider::always(Reply::json(200, "{\"id\":\"resp_1\"}")).await;
    let house =
        House::with(|_| Reply::json(500, "{}"), |conf| conf.provider("re", "openai-responses", &responses)).await;
    for (verb, path) in [
        ("GET", "/v1/responses/resp_1?include=a"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/responses/resp_1/input_items?limit=1"),
    ] {
        let response = house.ask(method(verb, path)).await;
        assert_eq!((response.status, response.text().as_str()), (200, "{\"id\":\"resp_1\"}"));
        assert_eq!((responses.last().method.as_str(), responses.last().target.as_str()), (verb, path));
    }
    assert!(house.oa.requests().is_empty());
}

#[tokio::test]
async fn methods_and_paths_that_are_not_served_are_refused() {
    let house = House::new(|_| Reply::json(200, "{}")).await;
    for (verb, path, allow) in [
        ("GET", "/v1/embeddings", "POST"),
        ("PUT", "/v1/files/f", "GET, DELETE"),
        ("POST", "/v1/files/f/content", "GET"),
    ] {
        let response = house.ask(method(verb, path)).await;
        assert_eq!((response.status, response.header("allow")), (405, Some(allow)), "{verb} {path}");
        Wire::Chat.error(&response);
    }
    for path in ["/v1/files/..", "/v1/files/%2e%2e/x", "/v1/files/a%2fb", "/v1/fine_tuning/jobs", "/v1/files/"] {
        assert_eq!(house.ask(Ask::get(path)).await.status, 404, "{path}");
    }
    assert!(house.oa.requests().is_empty());
}

#[tokio::test]
async fn requests_without_a_body_stay_without_one() {
    let house = House::new(|request| match request.method.as_str() {
        "HEAD" => Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 99\r\netag: n\r\n\r\n", End::Hang),
        _ => Reply::json(200, "{}"),
    })
    .await;
    for verb in ["GET", "DELETE", "HEAD"] {
        let mut client = Client::connect(house.edge.addr).await;
        let head = format!("{verb} /v1/files/f HTTP/1.1\r\nhost: e\r\nauthorization: Bearer key-of-all\r\n\r\n");
        client.raw(head.as_bytes()).await.expect("it is taken");
        let (response, _) = client.head().await;
        assert_eq!(response.status, 200, "{verb}");
        if verb == "HEAD" {
            assert_eq!((response.header("content-length"), response.header("etag")), (Some("99"), Some("n")));
        }
        let sent = house.oa.last();
        assert_eq!(sent.method, verb);
        for name in ["content-length", "transfer-encoding", "content-type"] {
            assert_eq!(sent.header(name), None, "{verb}: {name}");
        }
    }
}

#[tokio::test]
async fn answers_of_any_kind_pass_untouched() {
    let noise: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let audio = noise.clone();
    let house = House::new(move |request| match request.target.as_str() {
        "/v1/audio/speech" => Reply::typed(200, "audio/mpeg", audio.clone()).cut_every(70_000).framed(Framed::Chunked),
        "/v1/files/f/content" => {
            Reply::typed(206, "application/jsonl", "{\"a\":1}\n").header("content-range", "bytes 0-7/99")
        }
        "/v1/completions" => Reply::sse("data: {\"choices\":[{\"text\":\"a\"}]}\n\n: note\n\ndata: [DONE]\n\n"),
        "/v1/files/same" => Reply::bare(304).header("etag", "\"e\""),
        "/v1/files/gone" => Reply::typed(404, "text/plain", "no such file"),
        "/v1/files/busy" => Reply::json(429, "{\"error\":{\"x\":1}}").header("retry-after", "7"),
        "/v1/files/moved" => Reply::bare(302).header("location", "http://10.0.0.1/secret"),
        "/v1/files/denied" => Reply::json(401, "{\"error\":{\"message\":\"sk-upstream-oa is wrong\"}}"),
        _ => Reply::bare(404),
    })
    .await;
    let speech = house.ask(Ask::post("/v1/audio/speech", r#"{"model":"same"}"#)).await;
    assert_eq!((speech.status, speech.header("content-type")), (200, Some("audio/mpeg")));
    assert!(speech.body == noise && speech.ended == Ended::Complete);
    let part = house.ask(Ask::get("/v1/files/f/content").header("range", "bytes=0-7")).await;
    assert_eq!((part.status, part.header("content-range"), part.body.len()), (206, Some("bytes 0-7/99"), 8));
    let stream = house.ask(Ask::post("/v1/completions", r#"{"model":"same","stream":true}"#)).await;
    assert!(stream.text().ends_with(": note\n\ndata: [DONE]\n\n"), "{}", stream.text());
    let unchanged = house.ask(Ask::get("/v1/files/same")).await;
    assert_eq!((unchanged.status, unchanged.header("etag")), (304, Some("\"e\"")));
    let gone = house.ask(Ask::get("/v1/files/gone")).await;
    assert_eq!((gone.status, gone.text().as_str()), (404, "no such file"), "errors are the provider's words");
    let busy = house.ask(Ask::get("/v1/files/busy")).await;
    assert_eq!(
        (busy.status, busy.header("retry-after"), busy.text().as_str()),
        (429, Some("7"), "{\"error\":{\"x\":1}}")
    );
    assert_eq!(house.ask(Ask::get("/v1/files/nothing")).await.status, 404, "without a body too");
    for path in ["/v1/files/moved", "/v1/files/denied"] {
        let ours = house.ask(Ask::get(path)).await;
        assert_eq!((ours.status, ours.header("location")), (502, None), "{path}: {}", ours.text());
        Wire::Chat.error(&ours);
        assert!(!ours.text().contains("sk-upstream") && !ours.text().contains("10.0.0.1"));
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_whole() {
    let body = "x".repeat(100_000);
    for framed in [Framed::Chunked, Framed::Length] {
        for end in [End::Fin, End::Reset] {
            let reply =
                Reply::typed(200, "audio/mpeg", body.clone()).framed(framed).cut_every(1000).stop_at(50_000, end);
            let reply = if framed == Framed::Length { reply.framed(Framed::Lie(100_000)) } else { reply };
            let house = House::new(move |_| reply.clone()).await;
            let response = house.ask(Ask::post("/v1/audio/speech", r#"{"model":"same"}"#)).await;
            assert!(response.status != 200 || response.ended != Ended::Complete, "{framed:?} {end:?} {response:?}");
        }
    }
}

#[tokio::test]
async fn operations_are_counted_and_logged() {
    let usage = r#"{"data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}"#;
    let house = House::new(move |request| match request.target.as_str() {
        "/v1/embeddings" => Reply::json(200, usage),
        "/v1/images/generations" => {
            Reply::json(200, r#"{"data":[{"b64_json":"AA"}],"usage":{"input_tokens":50,"output_tokens":70,"total_tokens":120}}"#)
        }
        "/v1/completions" => Reply::sse("data: {\"choices\":[{\"text\":\"a\"}],\"usage\":null}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}\n\ndata: [DONE]\n\n"),
        _ => Reply::json(400, "{}"),
    })
    .await;
    let line = async |ask: Ask, id: &str| -> Value {
        house.ask(ask.header("x-request-id", id)).await;
        let line = house.edge.log_line(id, |line| line.contains(&format!("\"{id}\""))).await;
        serde_json::from_str(&line).expect("a line of JSON")
    };
    for (path, label, model, tokens) in [
        ("/v1/embeddings", "embeddings", "emb", (8, 0)),
        ("/v1/images/generations", "images_generations", "emb", (50, 70)),
        ("/v1/completions", "completions", "emb", (3, 4)),
    ] {
        let line = line(Ask::post(path, json!({"model": model}).to_string()), label).await;
        assert_eq!((&line["endpoint"], &line["status"]), (&json!(label), &json!(200)), "{line}");
        assert_eq!(
            (&line["prompt_tokens"], &line["completion_tokens"]),
            (&json!(tokens.0), &json!(tokens.1)),
            "{line}"
        );
        assert_eq!((&line["model"], &line["upstream_model"]), (&json!("emb"), &json!("emb-3-large")));
        assert_eq!((&line["key"], &line["provider"]), (&json!("all"), &json!("oa")));
        assert_eq!(line["client_format"], "openai_chat");
    }
    let files = line(Ask::get("/v1/files/f"), "one-file").await;
    assert_eq!((&files["endpoint"], &files["status"], &files["level"]), (&json!("files"), &json!(400), &json!("WARN")));
    assert_eq!(files["error_type"], "invalid_request", "{files}");
    assert!(files["model"].is_null() && files["upstream_model"].is_null(), "{files}");
    for (labels, least) in [
        (["endpoint=\"embeddings\"", "model=\"emb\"", "status=\"200\""], 1.0),
        (["endpoint=\"files\"", "method=\"GET\"", "status=\"400\""], 1.0),
    ] {
        house.edge.metric_reaches("gateway_requests_total", &labels, least).await;
    }
    house.edge.metric_reaches("gateway_tokens_total", &["type=\"input\"", "model=\"emb\""], 61.0).await;
    Ask::get("/health").header("x-request-id", "a-probe").send(house.edge.addr).await;
    line(Ask::get("/v1/files/f"), "after-the-probe").await;
    assert!(!house.edge.log().contains("\"a-probe\""), "a probe that finds all well is no news");
}

#[tokio::test]
async fn a_raw_path_takes_a_right_of_its_own() {
    let house = House::new(|request| Reply::json(200, json!({"method": request.method}).to_string())).await;
    for (verb, path) in [
        ("GET", "/v1/fine_tuning/jobs?limit=1"),
        ("PATCH", "/v2/anything/at%20all"),
        ("OPTIONS", "/"),
        ("POST", "/v1/chat/completions"),
    ] {
        let body = if verb == "GET" { "" } else { "{\"any\":1}" };
        let ask = Ask { body: body.into(), ..method(verb, &format!("/raw/oa{path}")) };
        let ask = ask.header("content-type", "text/x-any").header("cookie", "a=b");
        let response = house.ask(ask).await;
        assert_eq!((response.status, &response.json()["method"]), (200, &json!(verb)), "{path}");
        let sent = house.oa.last();
        assert_eq!((sent.target.as_str(), sent.body.as_slice()), (path, body.as_bytes()));
        assert_eq!(sent.header("authorization"), Some("Bearer sk-upstream-oa"));
        assert_eq!((sent.header("content-type"), sent.header("cookie")), (Some("text/x-any"), None));
    }
    house.ask(anthropic(Ask::get("/raw/an/v1/organizations"))).await;
    assert_eq!(house.an.last().header("x-api-key"), Some("sk-upstream-an"));
    let before = house.oa.requests().len();
    for key in ["key-of-some", "key-of-granted"] {
        for provider in ["oa", "nope"] {
            let refused =
                Ask::get(&format!("/raw/{provider}/v1/x")).header("x-api-key", key).send(house.edge.addr).await;
            assert_eq!((refused.status, code(&refused).as_str()), (403, "raw_not_allowed"), "{key} {provider}");
        }
    }
    assert_eq!(Ask::get("/raw/oa/v1/x").send(house.edge.addr).await.status, 401);
    for climbing in ["/v1/../x", "/%2e%2e/x", "/a/%2E/b", "/..%2fx", "/a%5c..%5cb"] {
        let refused = house.ask(Ask::get(&format!("/raw/oa{climbing}"))).await;
        assert_eq!((refused.status, code(&refused).as_str()), (400, "bad_path"), "{climbing}");
    }
    assert_eq!(house.oa.requests().len(), before);
    let provider = Provider::always(Reply::json(200, "{}")).await;
    let open = Edge::start(&Conf::open().provider("oa", "openai", &provider).model("m", "oa/m")).await;
    assert_eq!(Ask::get("/raw/oa/v1/x").send(open.addr).await.status, 403, "where everyone is let in, nobody may");
}

#[tokio::test]
async fn a_legacy_stream_that_lacks_its_end_counts_as_broken_and_passes_as_it_is() {
    const WORD: &str = "data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":null}]}\n\n";
    let house = House::new(|request| {
        let end = if request.json()["user"] == "whole" { "data: [DONE]\n\n" } else { "" };
        Reply::sse(format!("{WORD}{end}"))
    })
    .await;
    for (user, end) in [("whole", "data: [DONE]\n\n"), ("short", "")] {
        let body = json!({"model": "same", "stream": true, "user": user}).to_string();
        let response = house.ask(Ask::post("/v1/completions", body).header("x-request-id", user)).await;
        let text = response.text();
        assert_eq!((response.status, text, response.ended), (200, format!("{WORD}{end}"), Ended::Complete), "{user}");
        let id = format!("\"request_id\":\"{user}\"");
        let line = house.edge.log_line(user, |line| line.contains(&id) && line.contains("latency_ms")).await;
        let line: Value = serde_json::from_str(&line).expect("JSON");
        let broken = user == "short";
        assert_eq!(line["aborted_by"] == "upstream", broken, "{line}");
        assert_eq!(line["error_type"] == "stream_incomplete", broken, "{line}");
    }
    let labels = ["side=\"upstream\"", "reason=\"stream_incomplete\""];
    house.edge.metric_reaches("gateway_stream_aborts_total", &labels, 1.0).await;
}

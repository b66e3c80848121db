//! Gemini's operations beside answers: files, cached contents, batches, what takes long. Its uploads are in `resumable`.

use serde_json::{Value, json};

use crate::support::client::{Ask, Response};
use crate::support::edge::{Conf, Edge};
use crate::support::provider::{Provider, Request};
use crate::support::script::Reply;

const KEYS: &str = "- {name: web, key: key-of-web, raw: [one]}\n\
    - {name: other, key: key-of-other}\n\
    - {name: some, key: key-of-some, models: [m]}\n\
    - {name: granted, key: key-of-granted, models: [m], providers: [one]}";

/// One account, at an address as the catalogue has it.
async fn house(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> (Provider, Edge) {
    let one = Provider::start(script).await;
    let edge = Edge::start(&conf(&one)).await;
    (one, edge)
}

fn conf(one: &Provider) -> Conf {
    Conf::with_clients(KEYS)
        .provider_at("one", "gemini", &format!("{}/v1beta", one.url()), "")
        .provider_at("vertex", "vertex", &format!("{}/v1/projects/p/locations/l/publishers/google", one.url()), "")
        .model("m", "one/gemini-3-pro")
        .model("only-vertex", "vertex/gemini-3-pro")
}

fn method(method: &str, path: &str) -> Ask {
    let ask = if matches!(method, "POST" | "PATCH") { Ask::post(path, "{ \"ttl\" : \"9s\" }") } else { Ask::get(path) };
    Ask { method: method.to_owned(), ..ask }
}

fn web(ask: Ask) -> Ask {
    ask.header("x-goog-api-key", "key-of-web")
}

/// The status and word of an error in Gemini's envelope.
pub(crate) fn refusal(response: &Response) -> (u16, String) {
    let error = &response.json()["error"];
    assert_eq!(error["code"], response.status, "{}", response.text());
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{}", response.text());
    (response.status, error["status"].as_str().unwrap_or_default().to_owned())
}

const ROWS: &[(&str, &str, &str)] = &[
    ("POST", "files", "gemini_files"),
    ("GET", "files?pageSize=2&pageToken=a%2Fb", "gemini_files"),
    ("GET", "files/a-1", "gemini_files"),
    ("DELETE", "files/a-1", "gemini_files"),
    ("GET", "files/a-1:download?alt=media", "gemini_files"),
    ("POST", "files:register", "gemini_files"),
    ("GET", "cachedContents?pageSize=1", "cached_contents"),
    ("GET", "cachedContents/c1", "cached_contents"),
    ("PATCH", "cachedContents/c1?updateMask=ttl", "cached_contents"),
    ("DELETE", "cachedContents/c1", "cached_contents"),
    ("GET", "batches?pageSize=3", "gemini_batches"),
    ("GET", "batches/b_1", "gemini_batches"),
    ("POST", "batches/b_1:cancel", "gemini_batches"),
    ("DELETE", "batches/b_1", "gemini_batches"),
    ("PATCH", "batches/b_1:updateGenerateContentBatch", "gemini_batches"),
    ("GET", "models/veo-3.1/operations/o1", "model_operations"),
    ("GET", "models/veo-3.1/operations", "model_operations"),
    ("POST", "fileSearchStores", "file_search_stores"),
    ("DELETE", "fileSearchStores/s-1?force=true", "file_search_stores"),
    ("POST", "fileSearchStores/s-1:importFile", "file_search_stores"),
    ("GET", "fileSearchStores/s-1/documents", "file_search_stores"),
    ("DELETE", "fileSearchStores/s-1/documents/d-1", "file_search_stores"),
    ("GET", "fileSearchStores/s-1/upload/operations/o-1", "file_search_stores"),
];

#[tokio::test]
async fn every_operation_goes_to_the_provider_byte_for_byte() {
    let answer = "{ \"name\" :\"files/a-1\", \"new\": 1e400 }";
    let (one, edge) = house(move |_| Reply::json(200, answer).header("x-goog-upload-url", "http://spy/upload/x")).await;
    for (verb, path, endpoint) in ROWS {
        for version in ["v1beta", "v1"] {
            let ask = method(verb, &format!("/{version}/{path}"));
            let body = ask.body.clone();
            let joined = if path.contains('?') { '&' } else { '?' };
            let keyed = Ask { path: format!("{}{joined}key=key-of-web", ask.path), ..ask.clone() };
            for ask in [web(ask).header("authorization", "Bearer ya29.mine").header("cookie", "a=b"), keyed] {
                let response = ask.send(edge.addr).await;
                assert_eq!((response.status, response.text().as_str()), (200, answer), "{verb} {version}/{path}");
                assert_eq!(response.header("x-goog-upload-url"), None, "no upload");
                let sent = one.last();
                // The address names the version.
                assert_eq!((sent.method.as_str(), sent.target.as_str()), (*verb, &*format!("/v1beta/{path}")));
                assert_eq!(sent.header("x-goog-api-key"), Some("sk-upstream-one"));
                assert_eq!(sent.body, body);
                let head = String::from_utf8_lossy(&sent.raw_head).into_owned();
                assert!(!head.contains("key-of") && !head.contains("ya29") && !head.contains("cookie"), "{head}");
            }
        }
        edge.metric_reaches("gateway_requests_total", &[&format!("endpoint=\"{endpoint}\"")], 4.0).await;
    }
    assert!(!edge.log().contains("key-of-web"));
}

#[tokio::test]
async fn credentials_in_a_query_go_nowhere() {
    let (one, edge) = house(|_| Reply::json(200, "{}")).await;
    let query = "pageSize=2&key=key-of-web&%6Bey=mine&$key=mine&access_token=mine&oauth_token=mine&a;key=mine&alt=json";
    let response = Ask::get(&format!("/v1beta/files?{query}")).send(edge.addr).await;
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(one.last().target, "/v1beta/files?pageSize=2&alt=json");
    let hidden = Ask::get("/v1beta/files?%6Bey=key-of-web").send(edge.addr).await;
    assert_eq!(refusal(&hidden), (401, "UNAUTHENTICATED".to_owned()));
}

#[tokio::test]
async fn what_is_not_served_is_refused_in_its_own_shape() {
    let (one, edge) = house(|_| Reply::json(200, "{}")).await;
    for (verb, path, allow) in [
        ("PUT", "files/a", "GET, DELETE"),
        ("GET", "files:register", "POST"),
        ("DELETE", "files/a:download", "GET"),
        ("POST", "cachedContents/c", "GET, PATCH, DELETE"),
        ("GET", "batches/b:cancel", "POST"),
    ] {
        let response = web(method(verb, &format!("/v1beta/{path}"))).send(edge.addr).await;
        assert_eq!((response.status, response.header("allow")), (405, Some(allow)), "{verb} {path}");
        refusal(&response);
    }
    for path in [
        "/v1beta/files/..",
        "/v1beta/files/%2e%2e",
        "/v1beta/files/a%2Fb",
        "/v1beta/files/a/b",
        "/v1beta/files/a:delete",
        "/v1beta/files/..:download",
        "/v1beta/cachedContents/a;b",
        "/v1beta/tunedModels",
        "/upload/v1beta/batches",
        "/upload/v1beta/files/",
        "/upload/v1beta/%2e%2e/files",
        "/upload/v2/files",
    ] {
        let response = web(method("POST", path)).send(edge.addr).await;
        assert_eq!(refusal(&response), (404, "NOT_FOUND".to_owned()), "{path}");
    }
    assert!(one.requests().is_empty());
}

#[tokio::test]
async fn a_client_goes_where_it_may_and_nobody_where_nothing_is_kept() {
    let (one, edge) = house(|_| Reply::json(200, "{}")).await;
    let ask = |key: &str, path: &str| Ask::get(path).header("x-goog-api-key", key);
    for path in ["/v1beta/files", "/v1beta/cachedContents/c", "/v1/batches", "/v1beta/models/m/operations/o"] {
        assert_eq!(ask("key-of-granted", path).send(edge.addr).await.status, 200, "{path}");
        let refused = ask("key-of-some", path).send(edge.addr).await;
        assert_eq!(refusal(&refused), (403, "PERMISSION_DENIED".to_owned()), "{path}");
        let nobody = ask("key-of-nobody", path).send(edge.addr).await;
        assert_eq!(refusal(&nobody), (401, "UNAUTHENTICATED".to_owned()), "{path}");
        let vertex = ask("key-of-web", path).header("x-tidegate-provider", "vertex").send(edge.addr).await;
        assert_eq!(refusal(&vertex).0, 400, "it keeps nothing: {}", vertex.text());
    }
    let body = r#"{"model":"models/only-vertex"}"#;
    let made = web(Ask::post("/v1beta/cachedContents", body)).send(edge.addr).await;
    assert_eq!(refusal(&made).0, 400, "{}", made.text());
    assert!(one.requests().iter().all(|sent| sent.target.starts_with("/v1beta/")));
    let chat = Provider::always(Reply::json(200, "{}")).await;
    let url = format!("{}/v1/projects/p/locations/l/publishers/google", chat.url());
    let without = Conf::open().provider("oa", "openai", &chat).provider_at("vertex", "vertex", &url, "");
    let edge = Edge::start(&without.model("m", "oa/x")).await;
    let nobody = Ask::get("/v1beta/files").send(edge.addr).await;
    assert_eq!(refusal(&nobody), (404, "NOT_FOUND".to_owned()));
    assert!(nobody.text().contains("gemini_files"), "{}", nobody.text());
    assert!(chat.requests().is_empty());
}

/// Google's servers say 403 of what is not there, and of a key that is blocked, which they then show.
#[tokio::test]
async fn what_is_denied_is_the_clients_and_our_key_is_not_shown() {
    let denied = json!({"error": {"code": 403, "status": "PERMISSION_DENIED",
        "message": "Permission denied: Consumer 'api_key:sk-upstream-one' has been suspended."}});
    let (one, edge) = house(move |_| Reply::json(403, denied.to_string())).await;
    for (verb, path, status) in [
        ("GET", "files/gone", 403),
        ("DELETE", "cachedContents/gone", 403),
        ("POST", "batches/gone:cancel", 403),
        ("GET", "files", 502),
        ("POST", "files", 502),
    ] {
        for _ in 0..8 {
            let refused = web(method(verb, &format!("/v1beta/{path}"))).send(edge.addr).await;
            assert_eq!(refusal(&refused).0, status, "{path}");
            assert!(!refused.text().contains("sk-upstream"), "{path}: {}", refused.text());
        }
    }
    assert_eq!(one.requests().len(), 40, "each was asked once, and nobody was left alone for it");
}

#[tokio::test]
async fn a_model_in_a_body_or_a_path_goes_by_its_name_here() {
    let (one, edge) = house(|_| Reply::json(200, r#"{"name":"x/1"}"#)).await;
    let nested = r#"{"batch":{"model":"models/@", "inputConfig":{"requests":{"requests":[{"request":{"model":"models/@","contents":[{"parts":[{"text":"models/m"}]}]}}]}}}}"#;
    for (path, sent, body) in [
        ("cachedContents", "cachedContents", r#"{ "model" : "models/@","contents":[],"new":1e400 }"#),
        ("cachedContents", "cachedContents", r#"{"contents":[{"parts":[{"text":"m"}]}],"model":"@"}"#),
        ("models/m:batchGenerateContent", "models/gemini-3-pro:batchGenerateContent", nested),
        ("models/m:asyncBatchEmbedContent", "models/gemini-3-pro:asyncBatchEmbedContent", nested),
        ("models/m:predict", "models/gemini-3-pro:predict", r#"{"instances":[{"prompt":"m"}]}"#),
        ("models/m:predictLongRunning", "models/gemini-3-pro:predictLongRunning", r#"{"instances":[]}"#),
    ] {
        for version in ["v1beta", "v1"] {
            let ask = web(Ask::post(&format!("/{version}/{path}"), body.replace('@', "m")));
            let response = ask.send(edge.addr).await;
            assert_eq!((response.status, response.text().as_str()), (200, r#"{"name":"x/1"}"#), "{path}");
            assert_eq!(one.last().target, format!("/v1beta/{sent}"));
            assert_eq!(String::from_utf8_lossy(&one.last().body), body.replace('@', "gemini-3-pro"));
        }
    }
    let asked = one.requests().len();
    for (key, model, expected) in [
        ("key-of-web", "models/nobody", (404, "NOT_FOUND")),
        ("key-of-web", "models/../x", (404, "NOT_FOUND")),
        ("key-of-some", "models/only-vertex", (403, "PERMISSION_DENIED")),
        ("key-of-some", "", (403, "PERMISSION_DENIED")),
    ] {
        let body = json!({"model": model}).to_string();
        let refused = Ask::post("/v1beta/cachedContents", body).header("x-goog-api-key", key).send(edge.addr).await;
        let (status, word) = refusal(&refused);
        assert_eq!((status, word.as_str()), expected, "{model}");
    }
    // The path's model does not speak for those of the requests in a batch.
    for (verb, status) in [("batchGenerateContent", 403), ("countTokens", 200), ("batchEmbedContents", 403)] {
        let requests = json!([{"request": {"model": "models/only-vertex"}}]);
        let body = match verb {
            "batchGenerateContent" => json!({"batch": {"inputConfig": {"requests": {"requests": requests}}}}),
            "countTokens" => json!({"generateContentRequest": {"model": "models/m", "contents": []}}),
            _ => json!({"requests": [{"model": "models/m"}, {"model": "only-vertex"}]}),
        };
        let ask = Ask::post(&format!("/v1beta/models/m:{verb}"), body.to_string());
        assert_eq!(ask.header("x-goog-api-key", "key-of-some").send(edge.addr).await.status, status, "{verb}");
    }
    assert_eq!(one.requests().len(), asked + 1);
    let some = Ask::post("/v1beta/cachedContents", r#"{"model":"models/m"}"#).header("x-goog-api-key", "key-of-some");
    assert_eq!(some.send(edge.addr).await.status, 200, "a model that it may use");
    edge.metric_reaches("gateway_requests_total", &["endpoint=\"cached_contents\"", "model=\"m\""], 5.0).await;
    edge.metric_reaches("gateway_requests_total", &["endpoint=\"predict_long_running\""], 2.0).await;
}

/// An account that says who it is and calls what it makes by that.
async fn account(name: &'static str) -> Provider {
    Provider::start(move |request| {
        let path = request.target.split('?').next().unwrap_or_default().trim_start_matches("/v1beta/");
        let made = |kind: &str| format!("{kind}/{name}{}", request.number);
        let id = match (request.method.as_str(), path) {
            ("POST", "/upload/v1beta/files") => {
                let id = made("files");
                let file =
                    json!({"file": {"mimeType": "text/plain", "name": id, "uri": format!("https://g/v1beta/{id}")}});
                return Reply::json(200, file.to_string());
            }
            ("POST", kind @ ("cachedContents" | "fileSearchStores")) => made(kind),
            ("POST", path) if path.ends_with(":batchGenerateContent") => made("batches"),
            ("POST", path) if path.ends_with(":predictLongRunning") => made("models/veo/operations"),
            _ => path.split(':').next().unwrap_or_default().to_owned(),
        };
        let output = id.starts_with("batches/").then(|| json!({"responsesFile": format!("files/out-of-{name}")}));
        let answer = json!({"name": id, "by": name, "metadata": {"name": "other/1"}, "response": output,
            "candidates": [{"content": {"role": "model", "parts": [{"text": name}]}, "finishReason": "STOP"}]});
        Reply::json(200, answer.to_string())
    })
    .await
}

/// Two accounts; `m` is of both.
async fn accounts(more: impl FnOnce(Conf) -> Conf) -> ([(&'static str, Provider); 2], Edge) {
    let accounts = [("one", account("one").await), ("two", account("two").await)];
    let conf = accounts.iter().fold(Conf::with_clients(KEYS), |conf, (name, provider)| {
        conf.provider_at(name, "gemini", &format!("{}/v1beta", provider.url()), "").model(name, &format!("{name}/x"))
    });
    let edge = Edge::start(&more(conf.model("m", "{strategy: round_robin, targets: [one/x, two/x]}"))).await;
    (accounts, edge)
}

fn words(answer: &Value) -> &str {
    answer.pointer("/candidates/0/content/parts/0/text").and_then(Value::as_str).unwrap_or_default()
}

#[tokio::test]
async fn what_is_kept_is_asked_of_who_has_it() {
    let (accounts, edge) = accounts(|conf| conf).await;
    let ask = async |ask: Ask| {
        let response = web(ask).send(edge.addr).await;
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()
    };
    for (name, _) in &accounts {
        let at = |ask: Ask| ask.header("x-tidegate-provider", name);
        let post = |path: &str, body: Value| Ask::post(path, body.to_string());
        let upload = at(Ask::post("/upload/v1beta/files?uploadType=media", "words"));
        let file = ask(upload).await["file"].clone();
        let (id, uri) = (file["name"].as_str().expect("a name"), file["uri"].as_str().expect("an address"));
        let of_file = json!({"contents": [{"role": "user", "parts": [{"fileData": {"fileUri": uri}}]}]});
        let made =
            [
                id.to_owned(),
                // Made of the file, so where that is, whichever turn it is.
                ask(post("/v1beta/cachedContents", json!({"model": "models/m", "contents": of_file["contents"]})))
                    .await["name"]
                    .as_str()
                    .expect("a name")
                    .to_owned(),
                ask(post("/v1beta/models/m:batchGenerateContent", json!({"batch": {"inputConfig": {"fileName": id}}})))
                    .await["name"]
                    .as_str()
                    .expect("a name")
                    .to_owned(),
                ask(post(&format!("/v1beta/models/{name}:predictLongRunning"), json!({"instances": []}))).await["name"]
                    .as_str()
                    .expect("a name")
                    .to_owned(),
            ];
        // What is in a store is where the store is.
        let store =
            ask(at(post("/v1beta/fileSearchStores", json!({})))).await["name"].as_str().expect("a name").to_owned();
        for path in ["/documents", "/documents/d-1"] {
            assert_eq!(ask(Ask::get(&format!("/v1beta/{store}{path}"))).await["by"], *name, "{store}{path}");
        }
        for id in &made {
            assert!(id.contains(name), "{id} is of {name}");
            assert_eq!(ask(Ask::get(&format!("/v1beta/{id}"))).await["by"], *name, "{id}");
            assert_eq!(ask(Ask::get(&format!("/v1/{id}"))).await["by"], *name, "{id}");
            let other = Ask::get(&format!("/v1beta/{id}")).header("x-goog-api-key", "key-of-other");
            let other = other.send(edge.addr).await;
            assert_eq!(refusal(&other).0, 400, "nobody is led by what another made: {}", other.text());
        }
        assert_eq!(ask(Ask::get(&format!("/v1beta/files/out-of-{name}:download?alt=media"))).await["by"], *name);
        assert_eq!(ask(method("POST", &format!("/v1beta/{}:cancel", made[2]))).await["by"], *name);
        for body in [of_file, json!({"contents": [], "cachedContent": made[1]})] {
            for _ in 0..3 {
                let answer = ask(post("/v1beta/models/m:generateContent", body.clone())).await;
                assert_eq!(words(&answer), *name, "{body}");
            }
        }
    }
}

#[tokio::test]
async fn the_config_says_where_the_rest_goes() {
    let (_, edge) =
        accounts(|conf| conf.top("operations: {gemini_files: two, cached_contents: two, gemini_batches: one}")).await;
    for (path, expected) in [("files/x", "two"), ("cachedContents/x", "two"), ("batches/x", "one")] {
        let response = web(Ask::get(&format!("/v1beta/{path}"))).send(edge.addr).await;
        assert_eq!(response.json()["by"], expected, "{path}");
    }
    let unclear = web(Ask::get("/v1beta/models/veo/operations/x")).send(edge.addr).await;
    assert_eq!(refusal(&unclear), (400, "INVALID_ARGUMENT".to_owned()));
    assert!(unclear.text().contains("x-tidegate-provider"), "{}", unclear.text());
    let body = json!({"contents": [{"parts": [{"fileData": {"fileUri": "https://g/v1beta/files/y"}}]}]});
    for _ in 0..3 {
        let ask = web(Ask::post("/v1beta/models/m:generateContent", body.to_string()));
        assert_eq!(words(&ask.send(edge.addr).await.json()), "two", "where files are, as the config says");
    }
}

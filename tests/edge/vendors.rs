//! Vendors as data: their paths, and what their servers deviate in.

use serde_json::json;

use super::responses;
use crate::support::client::Ask;

use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::provider::Provider;
use crate::support::script::Reply;

/// Paths come from the entry of the kind and from the config; the key goes where the vendor wants it.
#[tokio::test]
async fn each_vendor_is_asked_at_its_own_paths() {
    let chat = Provider::always(Wire::Chat.reply(false)).await;
    let messages = Provider::always(Wire::Messages.reply(false)).await;
    let conf = Conf::open()
        .provider("azure", "azure", &chat)
        .provider_at("classic", "azure-deployments", &chat.url(), "api_version: preview")
        .provider("perplexity", "perplexity", &chat)
        .provider_at("own", "openai-compatible", &chat.url(), "paths: {\"*\": \"/deep/{path}\"}")
        .provider_at("claude", "anthropic-compatible", &format!("{}/anthropic", messages.url()), "")
        .model("*", "azure/*")
        .model("classic", "classic/my gpt")
        .model("perplexity", "perplexity/sonar")
        .model("own", "own/m")
        .model("claude", "claude/m");
    let edge = Edge::start(&conf).await;
    for (model, provider, target, key) in [
        ("gpt-5", &chat, "/openai/v1/chat/completions", "api-key: sk-upstream-azure"),
        (
            "classic",
            &chat,
            "/openai/deployments/my%20gpt/chat/completions?api-version=preview",
            "api-key: sk-upstream-classic",
        ),
        ("perplexity", &chat, "/chat/completions", "authorization: Bearer sk-upstream-perplexity"),
        ("own", &chat, "/deep/chat/completions", "authorization: Bearer sk-upstream-own"),
        ("claude", &messages, "/anthropic/v1/messages", "x-api-key: sk-upstream-claude"),
    ] {
        for client in [Wire::Chat, Wire::Messages] {
            let body =
                json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "Say hello."}]});
            let response = client.ask_with(body).send(edge.addr).await;
            assert_eq!(response.status, 200, "{client:?} {model}: {}", response.text());
            let request = provider.last();
            assert_eq!(request.target, target, "{client:?} {model}");
            let (header, value) = key.split_once(": ").unwrap_or_default();
            assert_eq!(request.header(header), Some(value), "{client:?} {model}");
        }
    }
}

/// A field that the server refuses is taken out, and nothing else of the body moves.
#[tokio::test]
async fn a_field_that_is_stripped_is_told_and_every_other_byte_stays() {
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let quirks = "quirks: {strip_fields: [logit_bias], rename_fields: {seed: random_seed}}";
    let conf = Conf::open()
        .provider_at("own", "openai", &provider.url(), quirks)
        .model("m", "own/m")
        .model("strict", "{targets: [own/m], on_loss: refuse}");
    let edge = Edge::start(&conf).await;
    let body = r#"{ "logit_bias" : {"1":2}, "model":"@M" ,"seed":1.0, "x_new":{"logit_bias":[ ]},"messages":[{"role":"developer","content":"hi"}] }"#;
    let sent = r#"{ "model":"m" ,"random_seed":1.0, "x_new":{"logit_bias":[ ]},"messages":[{"role":"developer","content":"hi"}] }"#;
    let response = Wire::Chat.ask_bytes(body.replace("@M", "m")).send(edge.addr).await;
    assert_eq!((response.status, response.header("x-tidegate-loss")), (200, Some("dropped:/logit_bias")));
    assert_eq!(String::from_utf8_lossy(&provider.last().body), sent);
    let count = provider.requests().len();
    let response = Wire::Chat.ask_bytes(body.replace("@M", "strict")).send(edge.addr).await;
    assert_eq!((response.status, provider.requests().len()), (400, count), "{}", response.text());
    // From a client of another format, what is stripped is told in that client's words.
    let body =
        json!({"model": "m", "max_tokens": 9, "stop_sequences": ["x"], "messages": [{"role": "user", "content": "q"}]});
    let response = Wire::Messages.ask_with(body).send(edge.addr).await;
    let loss = response.header("x-tidegate-loss").unwrap_or_default();
    assert_eq!((response.status, loss.contains("logit_bias")), (200, false), "{loss}");
    edge.metric_reaches("gateway_translation_dropped_fields_total", &["logit_bias"], 1.0).await;
}

/// What lies deeper than the fields of a request is fitted too, for clients of the provider's own format and of another.
#[tokio::test]
async fn a_server_is_never_sent_what_its_quirks_say_it_refuses() {
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let quirks = "quirks: {no_images: true, no_names: true, reasoning: reasoning, tool_choice: unnamed, \
                  structured: json_object, no_parallel_tools: true}";
    let conf = Conf::open()
        .provider_at("own", "openai-compatible", &provider.url(), quirks)
        .model("m", "own/m")
        .model("strict", "{targets: [own/m], on_loss: refuse}");
    let edge = Edge::start(&conf).await;
    let image = json!({"type": "image_url", "image_url": {"url": "https://h/x.png"}});
    let tools =
        json!([{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}]);
    let body = |model: &str| {
        json!({"model": model, "max_completion_tokens": 9, "parallel_tool_calls": false, "tools": tools,
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        "messages": [{"role": "developer", "content": "s"}, {"role": "user", "name": "ann", "content": [image]},
            {"role": "assistant", "content": "a", "reasoning_content": "hm"}, {"role": "user", "content": "b"}]})
    };
    let response = Wire::Chat.ask_with(body("m")).send(edge.addr).await;
    assert_eq!(response.status, 200, "{}", response.text());
    let sent = provider.last().json();
    assert_eq!(sent["messages"][0]["role"], "system", "{sent}");
    assert!(!sent.to_string().contains("image_url") && sent["messages"][1].get("name").is_none(), "{sent}");
    assert_eq!(sent["messages"][2]["reasoning"], "hm", "{sent}");
    assert_eq!((&sent["tool_choice"], &sent["max_tokens"]), (&json!("required"), &json!(9)), "{sent}");
    assert_eq!(sent["response_format"], json!({"type": "json_object"}), "{sent}");
    assert!(sent.get("parallel_tool_calls").is_none() && sent.get("max_completion_tokens").is_none(), "{sent}");
    let loss = response.header("x-tidegate-loss").unwrap_or_default();
    for pointer in ["/messages/1/content/0", "/messages/1", "/tool_choice", "/parallel_tool_calls"] {
        assert!(loss.split(", ").any(|item| item == format!("dropped:{pointer}")), "{pointer}: {loss}");
    }
    assert!(loss.contains("converted:/response_format"), "{loss}");
    let response = Wire::Chat.ask_with(body("strict")).send(edge.addr).await;
    assert_eq!(response.status, 400, "{}", response.text());
    let plain = r#"{"model":"m", "max_tokens":5 ,"messages":[{"role":"user","content":"q"}], "x":1.0}"#;
    let response = Wire::Chat.ask_bytes(plain).send(edge.addr).await;
    assert_eq!((response.status, response.header("x-tidegate-loss")), (200, None));
    assert_eq!(String::from_utf8_lossy(&provider.last().body), plain, "what fits passes as it came");
}

/// A server that is not the vendor gets of a client's betas only those that it is said to take.
#[tokio::test]
async fn unfinished_features_go_only_to_servers_that_take_them() {
    let provider = Provider::always(Wire::Messages.reply(false)).await;
    let conf = Conf::open()
        .provider("vendor", "anthropic", &provider)
        .provider("other", "anthropic-compatible", &provider)
        .provider_at("some", "anthropic-compatible", &provider.url(), "quirks: {betas: [b-2]}")
        .model("vendor", "vendor/m")
        .model("other", "other/m")
        .model("some", "some/m")
        .model("strict", "{targets: [some/m], on_loss: refuse}");
    let edge = Edge::start(&conf).await;
    for (model, sent, lost) in [
        ("vendor", Some("b-1, b-2"), None),
        ("other", None, Some("dropped:anthropic-beta, dropped:anthropic-beta")),
        ("some", Some("b-2"), Some("dropped:anthropic-beta")),
    ] {
        let response = Wire::Messages.ask(model, false).header("anthropic-beta", "b-1, b-2").send(edge.addr).await;
        assert_eq!((response.status, response.header("x-tidegate-loss")), (200, lost), "{model}");
        assert_eq!(provider.last().header("anthropic-beta"), sent, "{model}");
    }
    let response = Wire::Messages.ask("strict", false).header("anthropic-beta", "b-1").send(edge.addr).await;
    assert_eq!(response.status, 400, "{}", response.text());
}

/// A vendor that answers each request at the path that it came by.
async fn vendor() -> Provider {
    Provider::start(|request| {
        let stream = request.json()["stream"] == true;
        match (request.target.as_str(), stream) {
            ("/v1/responses", true) => Reply::sse(responses::stream()),
            ("/v1/responses", false) => Reply::json(200, responses::ANSWER),
            _ => Wire::Chat.reply(stream),
        }
    })
    .await
}

fn chat_body(model: &str, stream: bool, more: &str) -> String {
    format!(
        r#"{{ "model":"{model}", "stream":{stream} ,{more} "seed":1.0,"messages":[{{"role":"user","content":"Say hello."}}]}}"#
    )
}

const TOOLS: &str = r#""tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"#;

/// Models that refuse tools with reasoning in one format of their vendor are asked in the other, and nobody notices.
#[tokio::test]
async fn a_model_that_wants_the_vendors_other_format_is_asked_in_it() {
    let provider = vendor().await;
    let facts = "facts: {\"always-*\": {responses: always}, gpt-5.6-plain: {responses: never}}";
    let edge = Edge::start(&Conf::open().provider_at("oa", "openai", &provider.url(), facts).model("*", "oa/*")).await;
    let (both, off) =
        (format!("{TOOLS}\"reasoning_effort\":\"low\","), format!("{TOOLS}\"reasoning_effort\":\"none\","));
    let (chat, other) = ("/v1/chat/completions", "/v1/responses");
    for (model, more, path) in [
        ("gpt-5.4", both.as_str(), other),
        ("gpt-5.4", TOOLS, chat),
        ("gpt-5.4", "\"reasoning_effort\":\"low\",", chat),
        ("gpt-5.4", &off, chat),
        ("gpt-5.6", TOOLS, other),
        ("gpt-5.6", &off, chat),
        ("gpt-5.6", "", chat),
        ("gpt-5.6-plain", &both, chat),
        ("gpt-4.1", &both, chat),
        ("always-x", "", other),
    ] {
        for stream in [false, true] {
            let body = chat_body(model, stream, more);
            let response = Wire::Chat.ask_bytes(body.clone()).send(edge.addr).await;
            let answer = Wire::Chat.read(&response, stream);
            let sent = provider.last();
            assert_eq!(sent.target, path, "{model} {more}");
            assert_eq!(sent.header("authorization"), Some("Bearer sk-upstream-oa"));
            let loss = response.header("x-tidegate-loss");
            if path == chat {
                assert_eq!((String::from_utf8_lossy(&sent.body).as_ref(), loss), (body.as_str(), None), "{model}");
                assert_eq!(Wire::Chat.text(&answer), "Hello, 北🙂!");
                continue;
            }
            assert_eq!(Wire::Chat.text(&answer), "Hello!", "{answer}");
            assert_eq!((&answer["model"], Wire::Chat.stop(&answer)), (&json!(model), json!("stop")), "{answer}");
            let request = sent.json();
            assert!(request["input"].to_string().contains("Say hello."), "{request}");
            assert_eq!(request["tools"][0]["name"].as_str(), (!more.is_empty()).then_some("f"), "{request}");
            let effort = more.contains("low").then_some("low");
            assert_eq!(request["reasoning"]["effort"].as_str(), effort, "{request}");
            let told = loss.is_some_and(|loss| loss.starts_with("dropped:/seed"));
            assert!(told, "what the other format cannot say is told: {loss:?}");
        }
    }
}

/// Clients of every format are led the same way; one of the other format passes byte for byte.
#[tokio::test]
async fn clients_of_every_format_take_the_detour() {
    let provider = vendor().await;
    let edge = Edge::start(&Conf::open().provider("oa", "openai", &provider).model("*", "oa/*")).await;
    let body = json!({"model": "gpt-5.4", "max_tokens": 2048, "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "messages": [{"role": "user", "content": "Say hello."}]});
    let response = Wire::Messages.ask_with(body.clone()).send(edge.addr).await;
    assert_eq!((response.status, provider.last().target.as_str()), (200, "/v1/responses"), "{}", response.text());
    assert_eq!(Wire::Messages.text(&response.json()), "Hello!");
    let mut plain = body;
    plain["thinking"] = json!({"type": "disabled"});
    assert_eq!(Wire::Messages.ask_with(plain).send(edge.addr).await.status, 200);
    assert_eq!(provider.last().target, "/v1/chat/completions");
    let own = r#"{ "input":"q", "model":"gpt-5.4","reasoning":{"effort":"low"} ,"tools":[{"type":"function","name":"f"}],"x":1.0}"#;
    let response = Ask::post("/v1/responses", own).send(edge.addr).await;
    assert_eq!((response.status, response.text().as_str()), (200, responses::ANSWER));
    assert_eq!((provider.last().target.as_str(), show_body(&provider)), ("/v1/responses", own.to_owned()));
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}],
        "generationConfig": {"thinkingConfig": {"thinkingBudget": 1024}},
        "tools": [{"functionDeclarations": [{"name": "f"}]}]});
    let response = Ask::post("/v1beta/models/gpt-5.4:generateContent", gemini.to_string()).send(edge.addr).await;
    assert_eq!((response.status, provider.last().target.as_str()), (200, "/v1/responses"), "{}", response.text());
    assert!(response.json()["candidates"][0]["content"].to_string().contains("Hello!"), "{}", response.text());
}

fn show_body(provider: &Provider) -> String {
    String::from_utf8_lossy(&provider.last().body).into_owned()
}

/// What the vendor's other format says when it fails reaches the client in the client's own.
#[tokio::test]
async fn a_failure_of_the_other_format_is_told_in_the_clients() {
    let error = r#"{"error":{"message":"no","type":"invalid_request_error","param":"input","code":"bad"}}"#;
    let provider = Provider::always(Reply::json(400, error)).await;
    let edge = Edge::start(&Conf::open().provider("oa", "openai", &provider).model("*", "oa/*")).await;
    let body = chat_body("gpt-5.6", false, TOOLS);
    let response = Wire::Chat.ask_bytes(body).send(edge.addr).await;
    assert_eq!(response.status, 400);
    assert_eq!(Wire::Chat.error(&response)["message"], "no");
}

/// Facts of models come from the config and from a file beside it, and change with them.
#[tokio::test]
async fn facts_are_taken_on_while_the_edge_runs() {
    let provider = Provider::always(Wire::Messages.reply(false)).await;
    let dir = tempfile::TempDir::new().expect("a directory");
    let file = dir.path().join("facts.yaml");
    std::fs::write(&file, "\"new-*\": {max_output: 11}\n").expect("it takes files");
    let conf = Conf::open()
        .provider_at("an", "anthropic", &provider.url(), "facts: {new-2: {max_output: 22}}")
        .model("*", "an/*")
        .top("facts_file: facts.yaml");
    let edge = Edge::start_in(&conf, dir).await;
    let asked = async |model: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "q"}]});
        assert_eq!(Wire::Chat.ask_with(body).send(edge.addr).await.status, 200);
        provider.last().json()["max_tokens"].clone()
    };
    assert_eq!((asked("new-1").await, asked("new-2").await), (json!(11), json!(22)));
    std::fs::write(&file, "\"new-*\": {max_output: 33}\n").expect("it takes files");
    let reloaded = edge.admin("POST", "/reload").await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    assert_eq!((asked("new-1").await, asked("new-2").await), (json!(33), json!(22)));
    std::fs::write(&file, "\"new-*\": {max_outptu: 44}\n").expect("it takes files");
    let refused = edge.admin("POST", "/reload").await;
    assert!(refused.status >= 400 && refused.text().contains("max_outptu"), "{}", refused.text());
    assert_eq!(asked("new-1").await, json!(33), "a faulty file changes nothing");
}

#[tokio::test]
async fn no_name_of_a_model_leads_out_of_the_providers_path() {
    let chat = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::open()
        .provider_at("classic", "azure-deployments", &chat.url(), "api_version: preview")
        .model("*", "classic/*");
    let edge = Edge::start(&conf).await;
    for name in ["..", ".", "../../keys", "a/../b", "%2e%2e", "..%2fb", "..;x", ".;x", "a/.;x/b"] {
        for ask in [
            Wire::Chat.ask(name, false),
            Wire::Messages.ask(name, false),
            Ask::post("/v1/embeddings", json!({"model": name}).to_string()),
            Ask::post(&format!("/v1beta/models/{}:generateContent", name.replace('/', "%2F")), "{}"),
        ] {
            let response = ask.clone().send(edge.addr).await;
            assert_eq!(response.status, 404, "{name:?} {ask:?}: {}", response.text());
        }
    }
    assert!(chat.requests().is_empty());
    assert_eq!(Wire::Chat.ask("a..b/c", false).send(edge.addr).await.status, 200);
    assert_eq!(chat.last().target, "/openai/deployments/a..b%2Fc/chat/completions?api-version=preview");
}

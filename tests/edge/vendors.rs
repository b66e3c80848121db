//! Vendors as data: their paths, and what their servers deviate in.

use serde_json::json;

use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::provider::Provider;

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
    assert_eq!((response.status, response.header("x-tidegate-loss")), (200, None));
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

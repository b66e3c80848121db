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

//! Who may call, with which key, and for which model; and that no client's credential goes upstream.

use crate::support::client::{Ask, Response};
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::provider::Provider;
use crate::support::script::Reply;

const WEB: &str = "sk-web-0123456789abcdef";
const BATCH: &str = "sk-batch-fedcba9876543210";
/// SHA-256 of [`BATCH`], as `sha256sum` prints it.
const BATCH_HASH: &str = "b1af01f83b78a85d97a8314b789c7c479a322e799b0ec63a9bfd3b65297a62e5";

async fn house() -> (Provider, Provider, Edge) {
    let chat = Provider::always(Wire::Chat.reply(false)).await;
    let messages = Provider::always(Reply::json(200, Wire::Messages.answer())).await;
    let clients = format!(
        "- {{name: web, key: {WEB}, models: [\"*\"]}}\n- {{name: batch, key_hash: \"sha256:{BATCH_HASH}\", models: [\"open-*\"]}}"
    );
    let conf = Conf::with_clients(&clients)
        .provider("oa", "openai", &chat)
        .provider("an", "anthropic", &messages)
        .model("open-1", "oa/gpt")
        .model("closed-1", "an/claude");
    let edge = Edge::start(&conf).await;
    (chat, messages, edge)
}

async fn ask(edge: &Edge, wire: Wire, model: &str, header: Option<(&str, &str)>) -> Response {
    let ask = wire.ask(model, false);
    let ask = match header {
        Some((name, value)) => ask.header(name, value),
        None => ask,
    };
    ask.send(edge.addr).await
}

#[tokio::test]
async fn a_key_is_taken_from_three_headers() {
    let (chat, messages, edge) = house().await;
    let bearer = format!("Bearer {WEB}");
    for wire in [Wire::Chat, Wire::Messages] {
        for header in [
            ("authorization", bearer.as_str()),
            ("x-api-key", WEB),
            ("api-key", WEB),
            ("Authorization", &format!("bearer {WEB}")),
        ] {
            for model in ["open-1", "closed-1"] {
                let response = ask(&edge, wire, model, Some(header)).await;
                assert_eq!(response.status, 200, "{header:?}: {}", response.text());
            }
        }
    }
    for request in chat.requests().into_iter().chain(messages.requests()) {
        let head = String::from_utf8_lossy(&request.raw_head).into_owned();
        assert!(!head.contains(WEB), "a client's key went upstream:\n{head}");
        assert!(head.contains("sk-upstream-"), "the provider's own key goes:\n{head}");
        let credentials = ["authorization", "x-api-key", "api-key"];
        assert_eq!(
            credentials.iter().filter(|name| request.header(name).is_some()).count(),
            1,
            "one credential:\n{head}"
        );
    }
    assert_eq!(chat.last().header("authorization"), Some("Bearer sk-upstream-oa"));
    assert_eq!(messages.last().header("x-api-key"), Some("sk-upstream-an"));
}

/// SDKs send two keys where the environment holds two, and proxies on the way add their own.
#[tokio::test]
async fn one_good_key_among_several_is_enough() {
    let (_, _, edge) = house().await;
    let bearer = format!("Bearer {WEB}");
    let pairs = [
        ([("authorization", "Bearer of-another"), ("x-api-key", WEB)], 200),
        ([("authorization", bearer.as_str()), ("x-api-key", "sk-of-another")], 200),
        ([("x-api-key", ""), ("api-key", WEB)], 200),
        ([("x-api-key", "sk-of-another"), ("api-key", WEB)], 200),
        ([("authorization", "Bearer of-another"), ("x-api-key", "sk-of-another")], 401),
    ];
    for (headers, status) in pairs {
        let ask = headers.iter().fold(Wire::Chat.ask("open-1", false), |ask, (name, value)| ask.header(name, value));
        assert_eq!(ask.send(edge.addr).await.status, status, "{headers:?}");
    }
}

#[tokio::test]
async fn a_wrong_or_missing_key_is_401() {
    let (chat, messages, edge) = house().await;
    let longer = format!("Bearer {WEB}x");
    let headers = [
        None,
        Some(("authorization", "Bearer wrong")),
        Some(("authorization", "Bearer ")),
        Some(("authorization", "Basic c2st")),
        Some(("authorization", WEB)),
        Some(("x-api-key", "")),
        Some(("x-api-key", "sk-upstream-oa")),
        Some(("authorization", longer.as_str())),
        Some(("api-key", BATCH_HASH)),
    ];
    for wire in [Wire::Chat, Wire::Messages] {
        for header in headers {
            let response = ask(&edge, wire, "open-1", header).await;
            assert_eq!(response.status, 401, "{header:?}: {}", response.text());
            let error = wire.error(&response);
            if wire == Wire::Messages {
                assert_eq!(error["type"], "authentication_error");
            }
        }
    }
    assert_eq!(Ask::get("/v1/models").send(edge.addr).await.status, 401);
    assert_eq!(Ask::get("/health").send(edge.addr).await.status, 200, "health asks for no key");
    assert!(chat.requests().is_empty() && messages.requests().is_empty());
}

#[tokio::test]
async fn a_key_opens_its_own_models_alone() {
    let (_, messages, edge) = house().await;
    for wire in [Wire::Chat, Wire::Messages] {
        assert_eq!(ask(&edge, wire, "open-1", Some(("x-api-key", BATCH))).await.status, 200);
        for model in ["closed-1", "nowhere-1"] {
            let response = ask(&edge, wire, model, Some(("x-api-key", BATCH))).await;
            assert!(matches!(response.status, 403 | 404), "{model}: {} {}", response.status, response.text());
            wire.error(&response);
        }
        let response = ask(&edge, wire, "nowhere-1", Some(("x-api-key", WEB))).await;
        assert_eq!(response.status, 404, "{}", response.text());
        assert!(response.text().contains("nowhere-1"), "it names the model: {}", response.text());
        wire.error(&response);
    }
    assert!(messages.requests().is_empty());
    let list = Ask::get("/v1/models").header("authorization", &format!("Bearer {BATCH}")).send(edge.addr).await;
    assert!(list.text().contains("open-1") && !list.text().contains("closed-1"), "{}", list.text());
}

#[tokio::test]
async fn a_destination_comes_from_the_config_alone() {
    let (chat, messages, edge) = house().await;
    let trap = Provider::always(Wire::Chat.reply(false)).await;
    let host = trap.addr.to_string();
    for (name, value) in [
        ("host", host.as_str()),
        ("x-forwarded-host", &host),
        ("x-base-url", &trap.url()),
        ("x-upstream", &trap.url()),
        ("openai-base-url", &trap.url()),
    ] {
        let response =
            Wire::Chat.ask("open-1", false).header("x-api-key", WEB).header(name, value).send(edge.addr).await;
        assert!(matches!(response.status, 200 | 400), "{name}: {}", response.text());
    }
    for model in [trap.url().as_str(), "oa/gpt", "../../secret", "an/claude", "open-1/../closed-1"] {
        let response = ask(&edge, Wire::Chat, model, Some(("x-api-key", WEB))).await;
        assert_eq!(response.status, 404, "{model}: {}", response.text());
    }
    let smuggled = Ask::post(&format!("{}/v1/chat/completions", trap.url()), "{\"model\":\"open-1\",\"messages\":[]}");
    let _ = smuggled.header("x-api-key", WEB).send(edge.addr).await;
    assert!(trap.requests().is_empty());
    assert!(messages.requests().is_empty());
    assert!(chat.requests().iter().all(|request| request.target == "/v1/chat/completions"));
}

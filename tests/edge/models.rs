//! The list of models in the shape that the asking client expects, and health on the public port.

use serde_json::Value;

use crate::support::client::{Ask, Response};
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::provider::Provider;

async fn house() -> (Provider, Edge) {
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::open()
        .provider("oa", "openai", &provider)
        .model("fast", "oa/gpt-5-mini")
        .model("smart", "{targets: [oa/gpt-5]}")
        .model("team/odd name", "oa/gpt-5");
    let edge = Edge::start(&conf).await;
    (provider, edge)
}

fn ids(list: &Value) -> Vec<&str> {
    list["data"].as_array().into_iter().flatten().filter_map(|model| model["id"].as_str()).collect()
}

fn anthropic(ask: Ask) -> Ask {
    ask.header("anthropic-version", "2023-06-01")
}

#[tokio::test]
async fn the_list_has_the_askers_shape() {
    let (provider, edge) = house().await;
    let list: Response = Ask::get("/v1/models").send(edge.addr).await;
    let chat = list.json();
    assert_eq!((list.status, &chat["object"]), (200, &Value::from("list")), "{chat}");
    for name in ["fast", "smart", "team/odd name"] {
        assert!(ids(&chat).contains(&name), "{chat}");
    }
    for model in chat["data"].as_array().expect("a list") {
        assert!(model["object"] == "model" && model["created"].is_u64() && model["owned_by"].is_string(), "{model}");
    }
    let messages = anthropic(Ask::get("/v1/models")).send(edge.addr).await.json();
    assert!(
        messages["has_more"] == false && messages["first_id"].is_string() && messages["last_id"].is_string(),
        "{messages}"
    );
    assert!(ids(&messages).contains(&"smart"));
    for model in messages["data"].as_array().expect("a list") {
        assert!(
            model["type"] == "model" && model["display_name"].is_string() && model["created_at"].is_string(),
            "{model}"
        );
    }
    assert!(provider.requests().is_empty(), "the list comes from the config");
}

#[tokio::test]
async fn what_a_pattern_serves_is_listed_where_the_clients_own_list_names_it() {
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let clients = "- {name: a, key: client-key-1234, models: [gpt-5, fast, nothing, gpt-5, x-*]}";
    let conf = Conf::with_clients(clients).provider("oa", "openai", &provider);
    let edge = Edge::start(&conf.model("gpt-*", "oa/gpt-*").model("fast", "oa/y").model("slow", "oa/z")).await;
    let ask = Ask::get("/v1/models").header("authorization", "Bearer client-key-1234");
    assert_eq!(ids(&ask.send(edge.addr).await.json()), ["fast", "gpt-5"]);
}

#[tokio::test]
async fn one_model_can_be_asked_for() {
    let (_, edge) = house().await;
    let chat = Ask::get("/v1/models/smart").send(edge.addr).await;
    assert_eq!((chat.status, chat.json()["id"].as_str()), (200, Some("smart")));
    let messages = anthropic(Ask::get("/v1/models/smart")).send(edge.addr).await.json();
    assert_eq!((messages["id"].as_str(), messages["type"].as_str()), (Some("smart"), Some("model")));
    for path in ["/v1/models/team%2Fodd%20name", "/v1/models/team/odd%20name"] {
        let odd = Ask::get(path).send(edge.addr).await;
        assert_eq!((odd.status, odd.json()["id"].as_str()), (200, Some("team/odd name")), "{path}: {}", odd.text());
    }
    let missing = Ask::get("/v1/models/none").send(edge.addr).await;
    assert_eq!(missing.status, 404);
    Wire::Chat.error(&missing);
    let missing = anthropic(Ask::get("/v1/models/none")).send(edge.addr).await;
    assert_eq!(Wire::Messages.error(&missing)["type"], "not_found_error");
}

#[tokio::test]
async fn health_answers_on_both_ports() {
    let (_, edge) = house().await;
    assert_eq!(Ask::get("/health").send(edge.addr).await.status, 200);
    for path in ["/health", "/health/live", "/health/ready", "/ready"] {
        assert_eq!(edge.admin("GET", path).await.status, 200, "{path}");
    }
}

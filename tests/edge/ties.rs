//! State that only its maker can read leads a request to its maker, whatever the strategy.

use serde_json::{Value, json};

use crate::support::client::Ask;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::provider::Provider;
use crate::support::script::Reply;

/// A Responses provider whose answers are numbered under its name; streamed where that is asked for.
async fn keeper(name: &'static str) -> Provider {
    Provider::start(move |request| {
        let id = format!("resp_{name}{}", request.number);
        let part = json!({"type": "output_text", "text": "hi", "annotations": []});
        let item =
            json!({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [part]});
        let answer = json!({"id": id, "object": "response", "created_at": 1, "status": "completed", "model": "x",
            "output": [item], "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}});
        if request.json()["stream"] != true {
            return Reply::json(200, serde_json::to_string_pretty(&answer).expect("JSON"));
        }
        let mut begun = answer.clone();
        begun["status"] = json!("in_progress");
        let events = [("response.created", begun), ("response.completed", answer)];
        let write = |(number, (kind, response)): (usize, &(&str, Value))| {
            format!(
                "event: {kind}\ndata: {}\n\n",
                json!({"response": response, "sequence_number": number, "type": kind})
            )
        };
        let stream: String = events.iter().enumerate().map(write).collect();
        // The id comes before any other in what OpenAI sends.
        Reply::sse(stream)
    })
    .await
}

fn next_turn(model: &str, previous: Option<&str>, stream: bool) -> Ask {
    let body = json!({"model": model, "stream": stream, "input": "go on", "previous_response_id": previous});
    Ask::post("/v1/responses", body.to_string())
}

/// The id of an answer, whole or streamed.
fn id_of(text: &str) -> String {
    let at = text.find("resp_").expect("an answer has an id");
    text[at..].split('"').next().expect("it ends").to_owned()
}

#[tokio::test]
async fn an_answer_that_is_gone_on_from_is_asked_of_its_maker() {
    let (one, two) = (keeper("one").await, keeper("two").await);
    let chat = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::open()
        .provider("chat", "openai", &chat)
        .provider("one", "openai-responses", &one)
        .provider("two", "openai-responses", &two)
        .model("m", "{strategy: round_robin, targets: [one/x, two/y]}")
        .model("mixed", "{strategy: round_robin, targets: [chat/x, one/x, two/y]}");
    let edge = Edge::start(&conf).await;
    for stream in [false, true] {
        let mut makers = std::collections::HashSet::new();
        for _ in 0..4 {
            let mut id = id_of(&next_turn("m", None, stream).send(edge.addr).await.text());
            let maker = &id.clone()[..8];
            makers.insert(maker.to_owned());
            for _ in 0..3 {
                let response = next_turn("mixed", Some(&id), stream).send(edge.addr).await;
                assert_eq!(response.status, 200, "{}", response.text());
                id = id_of(&response.text());
                assert!(id.starts_with(maker), "{id} goes on from {maker}");
            }
        }
        assert_eq!(makers.len(), 2, "without state the strategy decides");
    }
    // Nobody knows it, but no chat provider could.
    for _ in 0..3 {
        assert_eq!(next_turn("mixed", Some("resp_of_yesterday"), false).send(edge.addr).await.status, 200);
    }
    assert_eq!(chat.requests().len(), 0);
}

/// A turn of a conversation in Messages, with thoughts that their maker signed if it is not the first.
fn signed_turn(first: &str, turn: usize) -> Ask {
    let mut messages = vec![json!({"role": "user", "content": first})];
    for number in 0..turn {
        let thought = json!({"type": "thinking", "thinking": "hm", "signature": format!("EqQB{number}")});
        messages.push(json!({"role": "assistant", "content": [thought, {"type": "text", "text": "so"}]}));
        messages.push(json!({"role": "user", "content": "go on"}));
    }
    Wire::Messages.ask_with(json!({"model": "m", "max_tokens": 2048, "messages": messages}))
}

#[tokio::test]
async fn signed_thoughts_go_back_to_the_account_that_signed_them() {
    let makers =
        [Provider::always(Wire::Messages.reply(false)).await, Provider::always(Wire::Messages.reply(false)).await];
    let chat = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::open()
        .provider("a", "anthropic", &makers[0])
        .provider("b", "anthropic", &makers[1])
        .provider("chat", "openai", &chat)
        .model("m", "{strategy: round_robin, targets: [a/x, b/y, chat/z]}");
    let edge = Edge::start(&conf).await;
    let counts = || [makers[0].requests().len(), makers[1].requests().len(), chat.requests().len()];
    let mut homes = [0; 3];
    for talk in 0..6 {
        let first = format!("talk {talk}");
        let before = counts();
        assert_eq!(signed_turn(&first, 0).send(edge.addr).await.status, 200);
        let began = counts().iter().zip(before).position(|(now, before)| *now > before).expect("somebody was asked");
        homes[began] += 1;
        let before = counts();
        for turn in 1..4 {
            let response = signed_turn(&first, turn).send(edge.addr).await;
            assert_eq!(response.status, 200, "{}", response.text());
        }
        let grown: Vec<usize> = counts().iter().zip(before).map(|(now, before)| now - before).collect();
        // What began with the chat provider has no signature of a maker's; one of both makers is asked all the same.
        assert!(began == 2 || grown[began] == 3, "talk {talk} began at {began}: {grown:?}");
        assert_eq!(grown[2], 0, "talk {talk}: {grown:?}");
    }
    assert!(homes.iter().all(|count| *count > 0), "the strategy spreads what is not tied: {homes:?}");
}

#[tokio::test]
async fn what_lies_at_its_maker_is_asked_of_nobody_else_and_sealed_state_moves_on() {
    let maker = Provider::always(Reply::json(503, Wire::Messages.error_body("api_error", "down"))).await;
    let chat = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::open()
        .provider_at("maker", "anthropic", &maker.url(), "breaker: {failures: 1000}")
        .provider("chat", "openai", &chat)
        .model("m", "{targets: [chat/z, maker/x], retries: {rounds: 0}}");
    let edge = Edge::start(&conf).await;
    let body = json!({"model": "m", "max_tokens": 9, "container": "container_1", "messages": [{"role": "user", "content": "q"}]});
    let response = Wire::Messages.ask_with(body).send(edge.addr).await;
    assert_eq!((response.status, maker.requests().len(), chat.requests().len()), (503, 1, 0), "{}", response.text());
    let response = signed_turn("q", 1).send(edge.addr).await;
    assert_eq!((response.status, maker.requests().len(), chat.requests().len()), (200, 2, 1), "{}", response.text());
}

/// A provider of stored things: each is called by its provider's name, and an answer about it says so.
async fn store(name: &'static str) -> Provider {
    Provider::start(move |request| {
        let id = request.target.split('?').next().and_then(|path| path.split('/').nth(3)).map(str::to_owned);
        let id = id.unwrap_or_else(|| format!("{name}_{}", request.number));
        let done = request.target.starts_with("/v1/batches/").then(|| format!("output_of_{name}"));
        Reply::json(
            200,
            json!({"about": {"id": "another"}, "id": id, "object": "thing", "output_file_id": done, "by": name, "output": []})
                .to_string(),
        )
    })
    .await
}

#[tokio::test]
async fn what_is_stored_is_asked_of_who_has_it() {
    let providers = [("one", store("one").await), ("two", store("two").await)];
    let keys = "- {name: web, key: key-of-web}\n- {name: other, key: key-of-other}";
    let conf = providers.iter().fold(Conf::with_clients(keys), |conf, (name, provider)| {
        conf.provider(name, "openai-responses", provider).model(name, &format!("{name}/x"))
    });
    let edge = Edge::start(&conf.top("operations: {files: one}")).await;
    let ask = async |ask: Ask| {
        let response = ask.header("x-api-key", "key-of-web").send(edge.addr).await;
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()
    };
    for (name, _) in &providers {
        let at = |ask: Ask| ask.header("x-tidegate-provider", name);
        let made = [
            ("responses", ask(next_turn(name, None, false)).await),
            ("conversations", ask(at(Ask::post("/v1/conversations", "{}"))).await),
            ("containers", ask(at(Ask::post("/v1/containers", "{}"))).await),
            ("batches", ask(at(Ask::post("/v1/batches", "{}"))).await),
            // Where it was seen goes before what the config says.
            ("files", ask(at(Ask::post("/v1/files", "{}"))).await),
        ];
        for (kind, made) in made {
            let id = made["id"].as_str().expect("it has an id");
            let path = format!("/v1/{kind}/{id}");
            assert_eq!(ask(Ask::get(&path)).await["by"], *name, "{path}");
            let mut delete = Ask::get(&path);
            delete.method = if kind == "batches" { "GET" } else { "DELETE" }.to_owned();
            assert_eq!(ask(delete).await["by"], *name, "{path}");
            let other = Ask::get(&path).header("x-api-key", "key-of-other").send(edge.addr).await;
            let expected = if kind == "files" { 200 } else { 400 };
            assert_eq!(other.status, expected, "nobody is led by what another made: {}", other.text());
        }
        let output = ask(Ask::get(&format!("/v1/files/output_of_{name}/content"))).await;
        assert_eq!(output["by"], *name, "the batch told of it");
        let wish = Ask::get(&format!("/v1/files/output_of_{name}")).header("x-tidegate-provider", "one");
        assert_eq!(ask(wish).await["by"], "one", "a client's own word goes before all");
    }
}

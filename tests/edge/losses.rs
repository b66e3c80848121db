//! What a translation cannot carry is said aloud, or refused where the model says so.

use serde_json::json;

use crate::support::client::Ask;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::provider::Provider;
use crate::support::script::Reply;

async fn house() -> (Provider, Provider, Edge) {
    let chat = Provider::always(Wire::Chat.reply(false)).await;
    let messages = Provider::always(Wire::Messages.reply(false)).await;
    let conf = Conf::open()
        .provider("oa", "openai", &chat)
        .provider("an", "anthropic", &messages)
        .model("same", "oa/x")
        .model("warn", "an/claude-sonnet-4-5")
        .model("warn-chat", "oa/gpt-4.1")
        .model("allow", "{targets: [an/claude-sonnet-4-5], on_loss: allow}")
        .model("refuse", "{targets: [an/claude-sonnet-4-5], on_loss: refuse}")
        .model("refuse-chat", "{targets: [oa/gpt-4.1], on_loss: refuse}");
    let edge = Edge::start(&conf).await;
    (chat, messages, edge)
}

fn lossy(client: Wire, model: &str) -> serde_json::Value {
    match client {
        Wire::Chat => json!({"model": model, "seed": 7, "logit_bias": {"50256": -100}, "max_tokens": 9,
            "messages": [{"role": "user", "content": "hi"}]}),
        Wire::Messages => json!({"model": model, "max_tokens": 9, "top_k": 5,
            "messages": [{"role": "user", "content": "hi"}]}),
    }
}

#[tokio::test]
async fn a_loss_is_in_the_header_the_metric_and_the_log() {
    let (_, _, edge) = house().await;
    for (client, model, pointers) in
        [(Wire::Chat, "warn", vec!["/seed", "/logit_bias"]), (Wire::Messages, "warn-chat", vec!["/top_k"])]
    {
        let response = client.ask_with(lossy(client, model)).send(edge.addr).await;
        assert_eq!(response.status, 200, "{}", response.text());
        let header = response.header("x-tidegate-loss").unwrap_or_default().to_owned();
        for pointer in pointers {
            assert!(header.contains(pointer), "{model}: {pointer} is not in {header:?}");
        }
    }
    edge.metric_reaches("gateway_translation_dropped_fields_total", &[], 3.0).await;
}

#[tokio::test]
async fn what_a_whole_answer_loses_is_in_its_head_however_the_answer_comes() {
    let mut answer: serde_json::Value = serde_json::from_str(Wire::Messages.answer()).expect("an answer");
    let known = answer["content"].as_array().expect("blocks").clone();
    let foreign = json!({"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "n", "server_name": "s", "input": {}});
    answer["content"] = known.into_iter().chain([foreign]).collect();
    for every in [usize::MAX, 7] {
        let reply = Reply::json(200, answer.to_string()).cut_every(every);
        let provider = Provider::always(reply).await;
        let models = |conf: Conf| {
            conf.model("warn", "an/claude-sonnet-4-5")
                .model("allow", "{targets: [an/claude-sonnet-4-5], on_loss: allow}")
        };
        let edge = Edge::start(&models(Conf::open().provider("an", "anthropic", &provider))).await;
        let response = Wire::Chat.ask_with(lossy(Wire::Chat, "warn")).send(edge.addr).await;
        let header = response.header("x-tidegate-loss").unwrap_or_default().to_owned();
        assert_eq!(response.status, 200, "{}", response.text());
        assert!(header.contains("/seed") && header.contains("answer.dropped:/content/1"), "{header}");
        assert_eq!(response.header("content-length"), Some(response.body.len().to_string().as_str()));
        let response = Wire::Chat.ask_with(lossy(Wire::Chat, "allow")).send(edge.addr).await;
        assert_eq!((response.status, response.header("x-tidegate-loss")), (200, None));
    }
}

#[tokio::test]
async fn a_tool_that_a_later_target_can_run_is_left_out_before_unless_losses_are_refused() {
    let chat = Provider::always(Wire::Chat.reply(false)).await;
    let messages = Provider::always(Wire::Messages.reply(false)).await;
    let conf = Conf::open()
        .provider("oa", "openai", &chat)
        .provider("an", "anthropic", &messages)
        .model("lax", "{targets: [oa/gpt-4.1, an/claude-sonnet-4-5]}")
        .model("strict", "{targets: [oa/gpt-4.1, an/claude-sonnet-4-5], on_loss: refuse}");
    let edge = Edge::start(&conf).await;
    let own = json!({"name": "f", "input_schema": {"type": "object", "properties": {}}});
    let hosted = json!({"type": "web_search_20250305", "name": "web_search"});
    for (model, tools, asked) in [
        ("lax", json!([own, hosted]), [1, 0]),
        ("strict", json!([own, hosted]), [0, 1]),
        // Without it there is nothing that the first could do for the client.
        ("lax", json!([hosted]), [0, 1]),
    ] {
        let before = [chat.requests().len(), messages.requests().len()];
        let body =
            json!({"model": model, "max_tokens": 9, "tools": tools, "messages": [{"role": "user", "content": "hi"}]});
        let response = Wire::Messages.ask_with(body).send(edge.addr).await;
        assert_eq!(response.status, 200, "{model}: {}", response.text());
        let after = [chat.requests().len(), messages.requests().len()];
        assert_eq!([after[0] - before[0], after[1] - before[1]], asked, "{model}: {tools}");
    }
}

#[tokio::test]
async fn nothing_lost_is_nothing_said() {
    let (_, _, edge) = house().await;
    // The recorded answers have a field that nobody knows.
    let news = Some("answer.dropped:/x_new_vendor_field");
    for (client, model, told) in [
        (Wire::Chat, "same", None),
        (Wire::Chat, "warn", news),
        (Wire::Messages, "warn-chat", news),
        (Wire::Chat, "refuse", news),
    ] {
        let response = client.ask(model, false).send(edge.addr).await;
        assert_eq!(
            (response.status, response.header("x-tidegate-loss")),
            (200, told),
            "{client:?} {model}: {}",
            response.text()
        );
    }
    let same = Wire::Chat.ask_with(lossy(Wire::Chat, "same")).send(edge.addr).await;
    assert_eq!((same.status, same.header("x-tidegate-loss")), (200, None));
}

#[tokio::test]
async fn a_model_may_refuse_to_lose() {
    let (chat, messages, edge) = house().await;
    for (client, model, field) in [(Wire::Chat, "refuse", "seed"), (Wire::Messages, "refuse-chat", "top_k")] {
        let response = client.ask_with(lossy(client, model)).send(edge.addr).await;
        assert_eq!(response.status, 400, "{}", response.text());
        let error = client.error(&response);
        assert!(error["message"].as_str().unwrap_or_default().contains(field), "it names the field: {error}");
    }
    assert!(chat.requests().is_empty() && messages.requests().is_empty());
    let allowed = Wire::Chat.ask_with(lossy(Wire::Chat, "allow")).send(edge.addr).await;
    assert_eq!((allowed.status, allowed.header("x-tidegate-loss")), (200, None));
}

#[tokio::test]
async fn what_cannot_be_done_at_all_is_400() {
    let (_, messages, edge) = house().await;
    let user = json!([{"role": "user", "content": "hi"}]);
    for (name, body) in [
        ("n", json!({"model": "warn", "n": 2, "messages": user})),
        (
            "a tool without a call",
            json!({"model": "warn", "messages": [{"role": "user", "content": "hi"},
            {"role": "tool", "tool_call_id": "call_1", "content": "x"}]}),
        ),
        (
            "a call without a result",
            json!({"model": "warn", "messages": [{"role": "user", "content": "hi"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "user", "content": "and?"}]}),
        ),
        (
            "arguments that are no JSON",
            json!({"model": "warn", "messages": [{"role": "user", "content": "hi"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{oops"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "x"}]}),
        ),
        ("a role of nobody", json!({"model": "warn", "messages": [{"role": "narrator", "content": "hi"}]})),
    ] {
        let response = Wire::Chat.ask_with(body).send(edge.addr).await;
        assert_eq!(response.status, 400, "{name}: {}", response.text());
        Wire::Chat.error(&response);
    }
    assert!(messages.requests().is_empty());
}

/// A conversation that another format's provider began holds what only that provider can read; the models' own provider
/// is never shown it, whatever is asked, and a model that refuses losses says so.
#[tokio::test]
async fn foreign_thinking_never_reaches_a_provider_of_the_clients_own_format() {
    let answer = Wire::Chat.answer().replace(r#""content":"#, r#""reasoning_content":"Hm.","content":"#);
    let (chat, messages) =
        (Provider::always(Reply::json(200, answer)).await, Provider::always(Wire::Messages.reply(false)).await);
    let conf = Conf::open()
        .provider("chat", "openai", &chat)
        .provider("messages", "anthropic", &messages)
        .model("other", "chat/gpt-4.1")
        .model("own", "messages/claude-sonnet-4-5")
        .model("strict", "{targets: [messages/claude-sonnet-4-5], on_loss: refuse}");
    let edge = Edge::start(&conf).await;
    let ask = json!({"model": "other", "max_tokens": 2048, "thinking": {"type": "enabled", "budget_tokens": 1024},
        "messages": [{"role": "user", "content": "Say hello."}]});
    let first = Wire::Messages.ask_with(ask).send(edge.addr).await.json();
    let content = &first["content"];
    assert!(content[0]["signature"].as_str().is_some_and(|signature| signature.starts_with("tg1.")), "{first}");
    for (path, model) in [
        ("/v1/messages", "own"),
        ("/v1/messages/count_tokens", "own"),
        ("/v1/messages", "strict"),
        ("/v1/messages/count_tokens", "strict"),
    ] {
        let said = json!([{"role": "user", "content": "Say hello."}, {"role": "assistant", "content": content},
            {"role": "user", "content": "And 1.0?"}]);
        let mut body = json!({"model": model, "messages": said});
        if path == "/v1/messages" {
            body["max_tokens"] = json!(64);
        }
        let before = messages.requests().len();
        let ask = Ask::post(path, body.to_string()).header("anthropic-version", "2023-06-01");
        let response = ask.send(edge.addr).await;
        if model == "strict" {
            assert_eq!(response.status, 400, "{path}: {}", response.text());
            assert_eq!(messages.requests().len(), before, "{path}");
            continue;
        }
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        let loss = response.header("x-tidegate-loss").unwrap_or_default();
        assert!(loss.contains("/messages/1/content/0"), "{path}: {loss:?}");
        let request = messages.last();
        assert_eq!(request.target, path);
        let sent = request.json();
        assert!(!sent.to_string().contains("tg1."), "{path}: {sent}");
        assert_eq!((&sent["model"], sent["messages"].as_array().map(Vec::len)), (&json!("claude-sonnet-4-5"), Some(3)));
        assert_eq!(sent["messages"][1]["content"][0]["text"], "Hello, 北🙂!", "{path}: {sent}");
        assert_eq!(sent.get("max_tokens").is_some(), path == "/v1/messages", "{path}: {sent}");
    }
}

/// A client may be stricter or laxer than the model that it asks for.
#[tokio::test]
async fn a_client_has_its_own_rule_for_losses() {
    let messages = Provider::always(Wire::Messages.reply(false)).await;
    let clients = "- {name: strict, key: key-of-strict, on_loss: refuse}\n- {name: lax, key: key-of-lax, on_loss: allow}\n\
                   - {name: plain, key: key-of-plain}";
    let conf = Conf::with_clients(clients)
        .provider("an", "anthropic", &messages)
        .model("warn", "an/claude-sonnet-4-5")
        .model("refuse", "{targets: [an/claude-sonnet-4-5], on_loss: refuse}");
    let edge = Edge::start(&conf).await;
    for (client, model, status, told) in [
        ("strict", "warn", 400, false),
        ("strict", "refuse", 400, false),
        ("lax", "warn", 200, false),
        ("lax", "refuse", 200, false),
        ("plain", "warn", 200, true),
        ("plain", "refuse", 400, false),
    ] {
        let ask =
            Wire::Chat.ask_with(lossy(Wire::Chat, model)).header("authorization", &format!("Bearer key-of-{client}"));
        let response = ask.send(edge.addr).await;
        assert_eq!(response.status, status, "{client} {model}: {}", response.text());
        assert_eq!(response.header("x-tidegate-loss").is_some(), told, "{client} {model}");
    }
}

/// However much is lost, the header is short and counts the rest; the log tells each class once.
#[tokio::test]
async fn the_report_is_bounded() {
    let (_, _, edge) = house().await;
    let parts: Vec<_> = (0..200).map(|n| json!({"type": "text", "text": "t", "vendor_invented": n})).collect();
    let body = json!({"model": "warn", "messages": [{"role": "user", "content": parts}]});
    let response = Wire::Chat.ask_with(body).header("x-request-id", "r-many").send(edge.addr).await;
    assert_eq!(response.status, 200, "{}", response.text());
    let header = response.header("x-tidegate-loss").unwrap_or_default();
    let header = header.split(", answer.").next().unwrap_or_default();
    assert!(
        header.starts_with("dropped:/messages/0/content/0/vendor_invented")
            || header.contains("dropped:/messages/0/content/0/"),
        "{header}"
    );
    let rest = header.rsplit(", +").next().and_then(|count| count.parse::<usize>().ok());
    assert!(header.len() <= 1024 && rest.is_some_and(|rest| rest > 100), "{header}");
    let line = edge.log_line("the request", |line| line.contains("r-many") && line.contains("\"losses\"")).await;
    assert!(line.contains("\"field\":\"unknown\",\"action\":\"dropped\",\"count\":20") && line.len() < 4000, "{line}");
}

/// What a stream loses is too late for the header: the metric and the log have it, as they have what a whole answer loses.
#[tokio::test]
async fn what_an_answer_loses_is_in_the_metric_and_the_log() {
    let citation = json!({"type": "char_location", "cited_text": "x", "document_index": 0, "document_title": "t",
        "start_char_index": 0, "end_char_index": 1});
    let mut answer: serde_json::Value = serde_json::from_str(Wire::Messages.answer()).expect("JSON");
    answer["content"][0]["citations"] = json!([citation]);
    let delta =
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": citation}});
    let stop = "event: content_block_stop\n";
    let stream = Wire::Messages.stream();
    let at = stream.find(stop).expect("the block ends");
    let stream = format!("{}event: content_block_delta\ndata: {delta}\n\n{}", &stream[..at], &stream[at..]);
    for (streamed, reply) in [(false, Reply::json(200, answer.to_string())), (true, Reply::sse(stream))] {
        let provider = Provider::always(reply).await;
        let conf = Conf::open().provider("an", "anthropic", &provider).model("m", "an/claude-sonnet-4-5");
        let edge = Edge::start(&conf).await;
        let response = Wire::Chat.ask("m", streamed).header("x-request-id", "r-late").send(edge.addr).await;
        let told = response.header("x-tidegate-loss").is_some_and(|loss| loss.contains("answer.dropped:/content/0"));
        assert_eq!((response.status, told), (200, !streamed), "{}", response.text());
        let labels = ["field=\"citations\"", "from=\"openai_chat\"", "to=\"anthropic_messages\""];
        edge.metric_reaches("gateway_translation_dropped_fields_total", &labels, 1.0).await;
        let line = edge.log_line("the request", |line| line.contains("r-late")).await;
        assert!(line.contains("\"losses\":[{\"field\":\"citations\""), "{line}");
    }
}

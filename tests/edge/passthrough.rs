//! Same format, same bytes: the body goes through untouched but for the span of an aliased model's name.

use crate::support::client::{Ask, Client, Response};
use crate::support::dialect::Dialect;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::gate::Gate;
use crate::support::http1::{self, Ended};
use crate::support::provider::Provider;
use crate::support::script::{End, Framed, Piece, Reply};
use crate::support::show;

/// An edge with one provider for each format; `chat` and `messages` are names that stand for other ones.
struct House {
    chat: Provider,
    messages: Provider,
    edge: Edge,
}

impl House {
    async fn with(chat: Reply, messages: Reply) -> Self {
        let (chat, messages) = (Provider::always(chat).await, Provider::always(messages).await);
        let conf = Conf::open()
            .provider("oa", "openai", &chat)
            .provider("an", "anthropic", &messages)
            .model("gpt-5", "oa/gpt-5")
            .model("alias", "oa/gpt-5-long-name-2026")
            .model("claude-*", "an/claude-*")
            .model("a", "an/claude-opus-4-5");
        let edge = Edge::start(&conf).await;
        Self { chat, messages, edge }
    }

    fn provider(&self, wire: Wire) -> &Provider {
        match wire {
            Wire::Chat => &self.chat,
            Wire::Messages => &self.messages,
        }
    }

    async fn ask(&self, wire: Wire, body: &str) -> Response {
        wire.ask_bytes(body).send(self.edge.addr).await
    }
}

#[tokio::test]
async fn a_request_changes_at_the_models_name_alone() {
    let house = House::with(Wire::Chat.reply(false), Wire::Messages.reply(false)).await;
    let chat = r#" {"messages" : [ {"content":"caf\u00e9 \ud83d\ude42 北","role" : "user"} ],
        "x_future":{"model":"alias","n":12345678901234567890,"f":1.0e-2,"z":-0.0}, "model" :"@M"  , "max_tokens":9 } "#;
    let messages = "{\"max_tokens\":5,\r\n\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\\\"model\\\":\\\"a\\\"\",\
        \"cache_control\":{\"type\":\"ephemeral\",\"scope\":\"new\"}}]}],\"beta_thing\":[null,1e400],\"model\":\"@M\"}";
    for (wire, body, asked, sent) in [
        (Wire::Chat, chat, "gpt-5", "gpt-5"),
        (Wire::Chat, chat, "alias", "gpt-5-long-name-2026"),
        (Wire::Chat, chat, r"al\u0069as", "gpt-5-long-name-2026"),
        (Wire::Messages, messages, "claude-new-9", "claude-new-9"),
        (Wire::Messages, messages, "a", "claude-opus-4-5"),
    ] {
        let response = house.ask(wire, &body.replace("@M", asked)).await;
        assert_eq!(response.status, 200, "{asked}: {}", response.text());
        let request = house.provider(wire).last();
        assert_eq!(show(&request.body), body.replace("@M", sent), "{asked}");
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", wire.path()));
    }
}

#[tokio::test]
async fn an_answer_is_not_touched_whole_or_streamed() {
    let long = format!(
        "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\ndata: [DONE]\n\n",
        "x".repeat(1 << 20)
    );
    let odd = [
        Wire::Chat.stream().to_owned(),
        Wire::Chat.stream().replace('\n', "\r\n"),
        format!(": hello\n\n{}", Wire::Chat.stream()),
        long,
    ];
    for stream in odd {
        let replies =
            [Reply::sse(&stream), Reply::sse(&stream).cut_every(7), Reply::sse(&stream).framed(Framed::Close)];
        for reply in replies {
            let house = House::with(reply, Wire::Messages.reply(false)).await;
            let response = Wire::Chat.ask("gpt-5", true).send(house.edge.addr).await;
            assert_eq!((response.status, &response.ended), (200, &Ended::Complete));
            assert!(
                response.body == stream.as_bytes(),
                "{}\nbut was sent\n{}",
                response.text(),
                show(stream.as_bytes())
            );
            assert_eq!(response.header("content-type"), Some("text/event-stream; charset=utf-8"));
        }
    }
    for stream in [false, true] {
        let house = House::with(Wire::Chat.reply(stream), Wire::Messages.reply(stream)).await;
        for (wire, model) in [(Wire::Chat, "gpt-5"), (Wire::Messages, "claude-x"), (Wire::Messages, "a")] {
            let response = wire.ask(model, stream).send(house.edge.addr).await;
            let sent = if stream { wire.stream() } else { wire.answer() };
            assert_eq!((response.status, response.text().as_str()), (200, sent), "{model}");
        }
    }
}

#[tokio::test]
async fn single_bytes_arrive_as_one_answer() {
    let house = House::with(Wire::Chat.reply(true).bytewise(), Wire::Messages.reply(false).bytewise()).await;
    let response = Wire::Chat.ask("gpt-5", true).send(house.edge.addr).await;
    assert_eq!(response.text(), Wire::Chat.stream());
    let response = Wire::Messages.ask("a", false).send(house.edge.addr).await;
    assert_eq!(response.text(), Wire::Messages.answer());
}

#[tokio::test]
async fn count_tokens_passes_within_its_format() {
    let house = House::with(Wire::Chat.reply(false), Reply::json(200, "{\"input_tokens\": 2095 }")).await;
    let path = "/v1/messages/count_tokens";
    let body = r#"{"model":"a",  "messages":[{"role":"user","content":"How many?"}]}"#;
    let response = Ask::post(path, body).header("anthropic-version", "2023-06-01").send(house.edge.addr).await;
    assert_eq!((response.status, response.text().as_str()), (200, "{\"input_tokens\": 2095 }"));
    let request = house.messages.last();
    assert_eq!(request.target, path);
    assert_eq!(show(&request.body), body.replace("\"a\"", "\"claude-opus-4-5\""));
}

#[tokio::test]
async fn trap_e4_fields_that_only_the_vendor_takes_are_cut_out_for_others() {
    let provider = Provider::always(Wire::Messages.reply(false)).await;
    let conf = Conf::open()
        .provider("an", "anthropic", &provider)
        .provider_at("cloud", "anthropic", &provider.url(), "quirks: {compatible: true}")
        .model("vendor", "an/m")
        .model("cloud", "cloud/m")
        .model("strict", "{targets: [cloud/m], on_loss: refuse}");
    let edge = Edge::start(&conf).await;
    let body = r#"{"max_tokens":5, "context_management":{"edits":[]},"model":"@M" ,"messages":[{"role":"user","content":"hi"}]}"#;
    let cut = r#"{"max_tokens":5,"model":"m" ,"messages":[{"role":"user","content":"hi"}]}"#;
    let ask = async |model: &str| Wire::Messages.ask_bytes(body.replace("@M", model)).send(edge.addr).await;
    let response = ask("vendor").await;
    assert_eq!((response.status, response.header("x-tidegate-loss")), (200, None));
    assert_eq!(String::from_utf8_lossy(&provider.last().body), body.replace("@M", "m"));
    let response = ask("cloud").await;
    assert_eq!((response.status, response.header("x-tidegate-loss")), (200, Some("dropped:/context_management")));
    assert_eq!(String::from_utf8_lossy(&provider.last().body), cut);
    let asked = provider.requests().len();
    let response = ask("strict").await;
    assert_eq!(response.status, 400, "{}", response.text());
    assert!(response.text().contains("/context_management"));
    assert_eq!(provider.requests().len(), asked);
}

/// What a provider of each format says, `@M` being the model's name: whole and as a stream.
const NAMED: [(Dialect, &str, &str, &str); 4] = [
    (
        Dialect::Known(Wire::Chat),
        "openai",
        r#"{"id":"c","object":"chat.completion","created":1,"model" : "@M","choices":[{"index":0,"message":{"role":"assistant","content":"model"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}"#,
        concat!(
            r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"@M","choices":[{"index":0,"delta":{"role":"assistant","content":"model"},"finish_reason":null}]}"#,
            "\n\n",
            r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"@M","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}"#,
            "\n\ndata: [DONE]\n\n"
        ),
    ),
    (
        Dialect::Known(Wire::Messages),
        "anthropic",
        r#"{"id":"m","type":"message","role":"assistant","model":"@M","content":[{"type":"text","text":"model"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":7,"output_tokens":2}}"#,
        concat!(
            "event: message_start\n",
            r#"data: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"@M","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":7,"output_tokens":1}}}"#,
            "\n\nevent: content_block_start\n",
            r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
            "\n\nevent: content_block_delta\n",
            r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"model"}}"#,
            "\n\nevent: content_block_stop\n",
            r#"data: {"type":"content_block_stop","index":0}"#,
            "\n\nevent: message_delta\n",
            r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":2}}"#,
            "\n\nevent: message_stop\n",
            r#"data: {"type":"message_stop"}"#,
            "\n\n"
        ),
    ),
    (
        Dialect::Responses,
        "openai-responses",
        r#"{"id":"r","object":"response","status":"completed","model":"@M","output":[],"usage":{"input_tokens":7,"output_tokens":2,"total_tokens":9}}"#,
        concat!(
            "event: response.created\n",
            r#"data: {"type":"response.created","sequence_number":0,"response":{"id":"r","object":"response","status":"in_progress","model":"@M","output":[]}}"#,
            "\n\nevent: response.completed\n",
            r#"data: {"type":"response.completed","sequence_number":1,"response":{"id":"r","object":"response","status":"completed","model":"@M","output":[],"usage":{"input_tokens":7,"output_tokens":2,"total_tokens":9}}}"#,
            "\n\n"
        ),
    ),
    (
        Dialect::Gemini,
        "gemini",
        r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"model"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":2,"totalTokenCount":9},"modelVersion":"@M"}"#,
        concat!(
            r#"data: {"candidates":[{"content":{"role":"model","parts":[{"text":"model"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":2,"totalTokenCount":9},"modelVersion":"@M"}"#,
            "\n\n"
        ),
    ),
];

#[tokio::test]
async fn an_answer_shows_the_name_that_was_asked_for_where_the_config_says_so() {
    for (dialect, kind, whole, events) in NAMED {
        for (stream, said) in [(false, whole), (true, events)] {
            let sent = said.replace("@M", "a-name-of-the-provider's");
            let replies = if stream {
                vec![Reply::sse(&sent), Reply::sse(&sent).bytewise()]
            } else {
                vec![Reply::json(200, sent.clone()), Reply::json(200, sent.clone()).framed(Framed::Close).bytewise()]
            };
            for reply in replies {
                let provider = Provider::always(reply).await;
                let conf = Conf::open()
                    .provider("p", kind, &provider)
                    .model("plain", "p/m")
                    .model("own", "{targets: [p/m], answer_model: asked}");
                let edge = Edge::start(&conf).await;
                for (model, shown) in [("plain", sent.clone()), ("own", said.replace("@M", "own"))] {
                    let response = dialect.ask_for(model, stream).send(edge.addr).await;
                    let what = format!("{dialect:?} {stream} {model}");
                    assert_eq!((response.status, response.text()), (200, shown), "{what}");
                    let tokens =
                        edge.log_line("the request", |line| line.contains(&format!("\"model\":\"{model}\""))).await;
                    assert!(tokens.contains("\"prompt_tokens\":7"), "{what}: {tokens}");
                }
            }
        }
    }
}

/// Some providers send white space while they think, so that nobody between takes the connection for dead.
#[tokio::test]
async fn signs_of_life_pass_before_an_answer_under_a_name() {
    let (_, _, whole, _) = NAMED[0];
    for paused in [false, true] {
        let gate = Gate::new();
        let said = [b" \n".to_vec(), b"\n".to_vec(), whole.replace("@M", "theirs").into_bytes()].map(Piece::Data);
        let mut reply = Reply { pieces: said.to_vec(), ..Reply::json(200, "") }.framed(Framed::Chunked);
        if paused {
            reply = reply.wait_before(2, &gate);
        }
        let provider = Provider::always(reply).await;
        let conf =
            Conf::open().provider("p", "openai", &provider).model("own", "{targets: [p/m], answer_model: asked}");
        let edge = Edge::start(&conf).await;
        let mut client = Client::connect(edge.addr).await;
        client.write(&Wire::Chat.ask("own", false)).await.expect("it is taken");
        let (head, mut framing) = client.head().await;
        let mut body = Vec::new();
        if paused {
            while body != b" \n\n" {
                match client.piece(&mut framing).await {
                    http1::Piece::Data(data) => body.extend(data),
                    http1::Piece::End(ended) => panic!("{ended:?}: {body:?}"),
                }
            }
            gate.open();
        }
        while let http1::Piece::Data(data) = client.piece(&mut framing).await {
            body.extend(data);
        }
        assert_eq!((head.status, show(&body)), (200, format!(" \n\n{}", whole.replace("@M", "own"))), "{paused}");
    }
}

#[tokio::test]
async fn errors_under_a_name_pass_as_they_came() {
    let error = r#"{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null},"model":"x"}"#;
    let provider = Provider::always(Reply::json(400, error)).await;
    let conf = Conf::open().provider("p", "openai", &provider).model("own", "{targets: [p/m], answer_model: asked}");
    let edge = Edge::start(&conf).await;
    let response = Wire::Chat.ask("own", false).send(edge.addr).await;
    assert_eq!((response.status, response.text().as_str()), (400, error));
}

/// Without a length and chunks the end of a connection is all that ends an answer, and may be anywhere.
#[tokio::test]
async fn an_answer_without_a_frame_is_whole_only_where_its_json_is() {
    let vectors = r#"{"object": "list", "data": [{"embedding": [1, 2]}], "usage": {"prompt_tokens": 1}}"#;
    for (wire, path, whole) in [
        (Wire::Chat, "/v1/chat/completions", Wire::Chat.answer()),
        (Wire::Messages, "/v1/messages", Wire::Messages.answer()),
        (Wire::Chat, "/v1/embeddings", vectors),
        (Wire::Chat, "/v1/moderations", vectors),
    ] {
        let whole = whole.trim_end();
        let cuts: Vec<usize> =
            (0..whole.len()).filter(|at| whole.as_bytes()[..*at].ends_with(b"}") || at % 40 == 7).collect();
        let ends = cuts.clone();
        let provider = Provider::start(move |request| {
            let reply = Reply::json(200, whole).framed(Framed::Close);
            ends.get(request.number).map_or(reply.clone(), |at| reply.stop_at(*at, End::Fin))
        })
        .await;
        let model = "{targets: [up/m], retries: {rounds: 0}}";
        let line =
            format!("up: {{kind: {}, url: \"{}\", key: k, breaker: {{failures: 1000}}}}", wire.kind(), provider.url());
        let edge = Edge::start(&Conf::open().provider_yaml(&line).model("m", model)).await;
        let ask = || {
            let ask = wire.ask("m", false);
            Ask { path: path.to_owned(), ..ask }
        };
        for at in &cuts {
            let response = ask().send(edge.addr).await;
            let whole = response.status == 200 && response.ended == Ended::Complete;
            assert!(!whole, "{path} cut at {at}: {}", response.text());
        }
        let response = ask().send(edge.addr).await;
        assert_eq!((response.status, &response.ended), (200, &Ended::Complete), "{path}");
        assert_eq!(response.text(), whole, "{path}");
    }
}

/// What is too long to be held, and what begins with a sign of life, passes as it comes.
#[tokio::test]
async fn an_answer_without_a_frame_that_is_not_held_breaks_where_it_is_cut() {
    let long = Wire::Chat.answer().trim_end().replace("Hello, ", &"many words ".repeat(500_000));
    let alive = format!("\n{}", Wire::Chat.answer().trim_end());
    for (what, whole) in [("long", long), ("alive", alive)] {
        for name in ["m", "other"] {
            for (cut, ended) in [(0, true), (30, false)] {
                let reply = Reply::json(200, whole.clone()).framed(Framed::Close);
                let reply = reply.cut_every(60_000).paced(std::time::Duration::from_millis(1));
                let provider = Provider::always(reply.stop_at(whole.len() - cut, End::Fin)).await;
                let conf = Conf::open()
                    .provider("up", "openai", &provider)
                    .model(name, "{targets: [up/m], retries: {rounds: 0}}");
                let edge = Edge::start(&conf).await;
                let response = Wire::Chat.ask(name, false).send(edge.addr).await;
                let complete = response.status == 200 && response.ended == Ended::Complete;
                assert_eq!(complete, ended, "{what} {name} {cut}: {} {:?}", response.status, response.ended);
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_has_no_body_is_whole_without_one() {
    for (status, whole) in [("204 No Content", true), ("304 Not Modified", true), ("200 OK", false)] {
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n\r\n");
        let provider = Provider::always(Reply::raw(head, End::Fin)).await;
        let conf = Conf::open().provider("up", "openai", &provider);
        let edge = Edge::start(&conf.model("m", "{targets: [up/m], retries: {rounds: 0}}")).await;
        let response = Ask::post("/v1/embeddings", r#"{"model":"m","input":"a"}"#).send(edge.addr).await;
        let complete = response.ended == Ended::Complete && status.starts_with(&response.status.to_string());
        assert_eq!(complete, whole, "{status}: {} {:?}", response.status, response.ended);
    }
}

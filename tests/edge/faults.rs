//! Faults of a provider in detail: what is said of them, and every place where a stream may be cut. The table of all
//! kinds in all formats is in `matrix`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::edge::translate::{chat_stream, messages_stream};
use crate::support::client::Response;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::{Fold, PAIRS, Wire};
use crate::support::gate::Gate;
use crate::support::http1::{Ended, Piece};
use crate::support::provider::Provider;
use crate::support::script::{End, Framed, Reply};
use crate::support::{PATIENCE, within};

/// One fault, between a client and a provider.
pub(super) struct Case {
    pub(super) what: String,
    pub(super) client: Wire,
    upstream: Wire,
    pub(super) stream: bool,
    reply: Reply,
}

impl Case {
    pub(super) fn new(name: &str, client: Wire, upstream: Wire, stream: bool, reply: Reply) -> Self {
        let what = format!("{client:?} from {upstream:?}, stream={stream}, {name}");
        Self { what, client, upstream, stream, reply }
    }
}

/// Asks for each case through one edge, all at once; each case has a provider of its own.
pub(super) async fn ask_all(cases: Vec<Case>) -> Vec<(Case, Response)> {
    let mut conf = Conf::open().server("max_attempts: 1");
    let mut providers = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let provider = Provider::always(case.reply.clone()).await;
        conf = conf
            .provider_at(
                &format!("p{number}"),
                case.upstream.kind(),
                &provider.url(),
                "timeouts: {connect: 5s, read: 1500ms}",
            )
            .model(&format!("m{number}"), &format!("p{number}/model-1"));
        providers.push(provider);
    }
    let edge = Edge::start(&conf).await;
    let asked = cases
        .iter()
        .enumerate()
        .map(|(number, case)| tokio::spawn(case.client.ask(&format!("m{number}"), case.stream).send(edge.addr)));
    let asked: Vec<_> = asked.collect();
    let mut answered = Vec::new();
    for (case, task) in cases.into_iter().zip(asked) {
        let response = task.await.unwrap_or_else(|_| panic!("{}: no answer", case.what));
        answered.push((case, response));
    }
    answered
}

pub(super) async fn ask(client: Wire, upstream: Wire, stream: bool, reply: Reply) -> Response {
    ask_all(vec![Case::new("", client, upstream, stream, reply)]).await.remove(0).1
}

/// A proper HTTP error in the client's envelope.
pub(super) fn check_refused(what: &str, client: Wire, response: &Response, statuses: &[u16]) -> Value {
    assert!(
        statuses.contains(&response.status),
        "{what}: {} is none of {statuses:?}: {}",
        response.status,
        response.text()
    );
    assert_eq!(response.ended, Ended::Complete, "{what}");
    client.error(response)
}

/// The words came, and then the format's own error; nothing that looks like an end.
pub(super) fn check_cut(what: &str, client: Wire, response: &Response) {
    assert_eq!(response.status, 200, "{what}: {}", response.text());
    assert_eq!(response.ended, Ended::Complete, "{what}: the HTTP message itself ends in order");
    match client.fold(&response.events()) {
        Fold::Failed { error, so_far } => {
            assert!(client.text(&so_far).starts_with("Hello, "), "{what}: what came before stays: {so_far}");
            // Silence is told as what it is.
            if client == Wire::Chat && !what.ends_with("silence") {
                assert_eq!(error["error"]["code"], "stream_incomplete", "{what}: {error}");
            }
        }
        other => panic!("{what}: a cut stream must end in an error: {other:?}\n{}", response.text()),
    }
}

/// Bytes of a stream up to and with its first words.
fn words_end(upstream: Wire) -> usize {
    let stream = upstream.stream();
    let at = stream.find("Hello, ").expect("the words are there");
    at + stream[at..].find("\n\n").expect("the event ends") + 2
}

#[tokio::test]
async fn a_cut_stream_ends_in_the_clients_own_error() {
    let mut cases = Vec::new();
    for (client, upstream) in PAIRS {
        let (words, all) = (words_end(upstream), upstream.stream().len());
        let finish = upstream.stream().find("\"stop\"").or(upstream.stream().find("end_turn")).expect("it has an end");
        let cut = |at: usize, end: End| Reply::sse(upstream.stream()).stop_at(at, end);
        for (name, reply) in [
            ("closed between events", cut(words, End::Fin)),
            ("reset between events", cut(words, End::Reset)),
            ("closed within an event", cut(words + 30, End::Fin)),
            ("closed within the finish", cut(finish, End::Fin)),
            ("chunked in order, but no end", cut(words, End::Clean)),
            ("half an event, chunked in order", cut(words + 30, End::Clean)),
            ("a chunk cut", cut(words, End::TruncatedChunk)),
            ("no framing at all", cut(words, End::Fin).framed(Framed::Close)),
            ("a longer length", cut(words, End::Fin).framed(Framed::Lie(all as u64))),
            ("silence", cut(words, End::Hang)),
        ] {
            cases.push(Case::new(name, client, upstream, true, reply));
        }
    }
    for (case, response) in ask_all(cases).await {
        check_cut(&case.what, case.client, &response);
    }
}

#[tokio::test]
async fn a_whole_answer_that_passes_and_breaks_off_is_an_error_or_another_ones_answer() {
    let body = Wire::Chat.answer();
    for (at, end) in [(9, End::Fin), (9, End::Reset), (9, End::Hang), (0, End::Fin)] {
        let reply = || Reply::json(200, body).stop_at(at, end).framed(Framed::Lie(body.len() as u64));
        let (broken, sound) = (Provider::always(reply()).await, Provider::always(Wire::Chat.reply(false)).await);
        let conf = Conf::open()
            .provider_at("p", "openai", &broken.url(), "timeouts: {read: 500ms}")
            .provider_at("q", "openai", &sound.url(), "")
            .model("alone", "p/model-1");
        let edge = Edge::start(&conf.model("two", "{targets: [p/model-1, q/model-1]}")).await;
        let response = Wire::Chat.ask("alone", false).send(edge.addr).await;
        let status = if end == End::Hang { 504 } else { 502 };
        assert_eq!((response.status, &response.ended), (status, &Ended::Complete), "{at} {end:?}: {}", response.text());
        Wire::Chat.error(&response);
        // A provider that is silent may be at work on it, and asking another one costs as much again.
        let answer = Wire::Chat.ask("two", false).send(edge.addr).await;
        if end == End::Hang {
            assert_eq!(answer.status, 504, "{at} {end:?}: {}", answer.text());
            continue;
        }
        assert_eq!(Wire::Chat.text(&Wire::Chat.read(&answer, false)), "Hello, 北🙂!", "{at} {end:?}");
    }
}

#[tokio::test]
async fn signs_of_life_before_a_whole_answer_go_on_at_once() {
    let body = format!("\n{}", Wire::Chat.answer());
    let gate = Gate::new();
    let reply = Reply::json(200, body.as_str()).framed(Framed::Chunked).cut_every(1).wait_before(1, &gate);
    let provider = Provider::always(reply).await;
    let edge = Edge::start(&Conf::open().provider("p", "openai", &provider).model("m", "p/model-1")).await;
    let mut client = Wire::Chat.ask("m", false).open(edge.addr).await;
    let (head, mut framing) = client.head().await;
    assert_eq!(head.status, 200);
    let (mut whole, mut ended) = (Vec::new(), None);
    while ended.is_none() {
        match within(PATIENCE, "a piece", client.piece(&mut framing)).await {
            Piece::Data(piece) => whole.extend(piece),
            Piece::End(end) => ended = Some(end),
        }
        // The provider says no more until the client has heard this.
        gate.open();
    }
    assert_eq!((String::from_utf8_lossy(&whole).as_ref(), ended), (body.as_str(), Some(Ended::Complete)));
}

/// Its client has all of it, and would wait for the end of a connection until the deadline between two pieces.
#[tokio::test]
async fn a_stream_that_has_said_its_last_word_is_over_although_its_connection_is_not() {
    for (client, upstream) in PAIRS {
        let reply = upstream.reply(true).framed(Framed::Chunked);
        let length = reply.body().len();
        let provider = Provider::always(reply.stop_at(length, End::Hang)).await;
        let conf = Conf::open().provider("p", upstream.kind(), &provider).model("m", "p/model-1");
        let edge = Edge::start(&conf).await;
        let response = client.ask("m", true).send(edge.addr).await;
        assert_eq!((response.status, &response.ended), (200, &Ended::Complete), "{client:?} {upstream:?}");
        assert_eq!(client.text(&client.read(&response, true)), "Hello, 北🙂!", "{client:?} {upstream:?}");
        provider.left(0).await;
        let line = edge.log_line("the request", |line| line.contains("\"status\":200")).await;
        assert!(line.contains("request completed"), "{line}");
    }
}

#[tokio::test]
async fn a_long_answer_that_passes_goes_on_as_it_comes_and_is_never_whole_when_it_was_cut() {
    let body = Wire::Chat.answer().replace("Hello, ", &"Hello, ".repeat(1 << 20));
    for (at, end) in [(6 << 20, End::Fin), (6 << 20, End::Reset), (6 << 20, End::Hang)] {
        let reply = Reply::json(200, body.as_str()).stop_at(at, end).framed(Framed::Lie(body.len() as u64));
        // The head first, and alone.
        let gate = Gate::new();
        let provider = Provider::always(reply.wait_before(0, &gate)).await;
        let conf = Conf::open().provider_at("p", "openai", &provider.url(), "timeouts: {read: 500ms}");
        let edge = Edge::start(&conf.model("m", "p/model-1")).await;
        let mut client = Wire::Chat.ask("m", false).open(edge.addr).await;
        provider.request(0).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        gate.open();
        let response = within(PATIENCE, "the answer", client.response()).await;
        // A reset takes with it what the system still held.
        if end == End::Reset && response.status == 502 {
            continue;
        }
        assert_eq!(response.status, 200, "{at} {end:?}: {}", response.text());
        assert!(body.as_bytes().starts_with(&response.body), "{at} {end:?}");
        assert!(response.body.len() == at || end == End::Reset, "{at} {end:?}: {}", response.body.len());
        assert!(response.ended != Ended::Complete, "{at} {end:?}");
    }
}

#[tokio::test]
async fn a_stream_without_its_last_word_but_with_a_finish_is_whole() {
    let mut cases = Vec::new();
    for (client, upstream) in PAIRS {
        let last = ["data: [DONE]\n\n", "event: message_stop\ndata: {\"type\":\"message_stop\"   }\n\n"];
        let stream = last.iter().find_map(|last| upstream.stream().strip_suffix(last)).expect("the fixture ends so");
        for (name, end, framing) in
            [("chunked", End::Clean, Framed::Chunked), ("to the close", End::Fin, Framed::Close)]
        {
            cases.push(Case::new(name, client, upstream, true, Reply::sse(stream).end(end).framed(framing)));
        }
    }
    for (case, response) in ask_all(cases).await {
        match (case.client == case.upstream, case.client.fold(&response.events())) {
            (_, Fold::Whole(answer)) => assert_eq!(case.client.text(&answer), "Hello, 北🙂!"),
            (true, Fold::Open(answer)) => assert!(!case.client.stop(&answer).is_null(), "the same bytes: {answer}"),
            (_, other) => panic!("{}: {other:?}", case.what),
        }
    }
}

#[tokio::test]
async fn an_unusable_answer_is_a_gateway_error() {
    let mut cases = Vec::new();
    for (client, upstream) in [(Wire::Chat, Wire::Messages), (Wire::Messages, Wire::Chat)] {
        let short = &upstream.answer()[..upstream.answer().len() / 2];
        for (name, reply) in [
            ("cut JSON", Reply::json(200, short)),
            ("no JSON", Reply::json(200, "ok")),
            ("nothing", Reply::json(200, "")),
            ("HTML", Reply::typed(200, "text/html", "<html>Welcome</html>")),
            ("another thing", Reply::json(200, "[]")),
            ("204", Reply::bare(204)),
        ] {
            cases.push(Case::new(name, client, upstream, false, reply));
        }
    }
    for (case, response) in ask_all(cases).await {
        check_refused(&case.what, case.client, &response, &[502]);
    }
}

#[tokio::test]
async fn a_redirect_is_told_and_never_followed() {
    for (client, upstream) in PAIRS {
        for (what, reply) in [
            ("empty", Reply::bare(302)),
            ("a page", Reply::typed(307, "text/html", "<html>Moved</html>")),
            ("JSON", Reply::json(308, "{}")),
        ] {
            let response = ask(client, upstream, false, reply.header("location", "http://127.0.0.1:1/elsewhere")).await;
            check_refused(what, client, &response, &[502]);
            let text = response.text();
            assert!(text.contains("redirects") && !text.contains("elsewhere"), "{what}: {text}");
        }
    }
    // It leads nowhere.
    let unchanged = ask(Wire::Chat, Wire::Messages, false, Reply::bare(304)).await;
    check_refused("304", Wire::Chat, &unchanged, &[502]);
    assert!(unchanged.text().contains("no body"), "{}", unchanged.text());
}

/// The status line may have gone out before the cut: then only a broken connection can tell.
#[tokio::test]
async fn a_cut_answer_never_looks_whole() {
    for (client, upstream) in PAIRS {
        let short = &upstream.answer()[..upstream.answer().len() / 2];
        for end in [End::Fin, End::Reset] {
            let reply = Reply::json(200, short).framed(Framed::Lie(4096)).end(end);
            let response = ask(client, upstream, false, reply).await;
            assert!(response.status != 200 || response.ended != Ended::Complete, "{client:?} from {upstream:?}");
        }
    }
}

#[tokio::test]
async fn a_providers_error_is_told_in_the_clients_format() {
    // Provider's status and type; the client's status, and its type where the client is Messages (MAPPING 2.14).
    let table: [(u16, &str, u16, u16, &str); 8] = [
        (400, "invalid_request_error", 400, 400, "invalid_request_error"),
        (404, "not_found_error", 404, 404, "not_found_error"),
        (413, "request_too_large", 413, 413, "request_too_large"),
        (429, "rate_limit_error", 429, 429, "rate_limit_error"),
        (500, "api_error", 500, 500, "api_error"),
        (529, "overloaded_error", 503, 529, "overloaded_error"),
        (401, "authentication_error", 502, 502, "api_error"),
        (403, "permission_error", 502, 502, "api_error"),
    ];
    let mut cases = Vec::new();
    for (client, upstream) in PAIRS {
        for (status, kind, ..) in table {
            let reply = Reply::json(status, upstream.error_body(kind, "the provider's words"))
                .header("retry-after", "7")
                .header("x-request-id", "req_upstream_1")
                .header("request-id", "req_upstream_1");
            cases.push(Case::new(kind, client, upstream, false, reply));
        }
    }
    let expected = table.iter().cycle();
    for ((case, response), (status, _, chat, messages, messages_kind)) in ask_all(cases).await.into_iter().zip(expected)
    {
        let (what, client) = (format!("{} {status}", case.what), case.client);
        // Between like formats a status stays as it is, but for what concerns our own credential.
        let same = client == case.upstream && !matches!(status, 401 | 403);
        let seen = if same {
            status
        } else if client == Wire::Chat {
            chat
        } else {
            messages
        };
        let error = check_refused(&what, client, &response, &[*seen]);
        // A credential of ours that the provider refuses is not the client's business.
        let ours = matches!(status, 401 | 403);
        let message = error["message"].as_str().unwrap_or_default();
        assert!(ours || message.contains("the provider's words"), "{what}: {error}");
        if client == Wire::Messages {
            assert_eq!(&error["type"], messages_kind, "{what}");
        }
        if matches!(status, 429 | 529) {
            assert_eq!(response.header("retry-after"), Some("7"), "{what}");
        }
    }
}

#[tokio::test]
async fn an_error_that_is_no_json_gets_an_envelope() {
    let replies = [
        (502, Reply::typed(502, "text/html", "<html><h1>502 Bad Gateway</h1></html>")),
        (503, Reply::bare(503)),
        (500, Reply::typed(500, "text/plain", "oops")),
        (400, Reply::json(400, r#"{"error":"model is required"}"#)),
        (422, Reply::json(422, r#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#)),
    ];
    let mut cases = Vec::new();
    for (client, upstream) in PAIRS {
        for stream in [false, true] {
            for (status, reply) in &replies {
                cases.push(Case::new(&status.to_string(), client, upstream, stream, reply.clone()));
            }
        }
    }
    for ((case, response), (status, _)) in ask_all(cases).await.into_iter().zip(replies.iter().cycle()) {
        check_refused(&case.what, case.client, &response, &[*status]);
    }
}

#[tokio::test]
async fn an_error_within_a_stream_is_an_error() {
    let chat_error =
        "data: {\"error\":{\"message\":\"quota is gone\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n";
    let messages_error =
        messages_stream(&[json!({"type": "error", "error": {"type": "overloaded_error", "message": "quota is gone"}})]);
    for (client, upstream) in PAIRS {
        let error = if upstream == Wire::Chat { chat_error } else { &messages_error };
        let early = ask(client, upstream, true, Reply::sse(error)).await;
        if early.status == 200 {
            assert!(
                matches!(client.fold(&early.events()), Fold::Failed { .. }),
                "{client:?} from {upstream:?}: {}",
                early.text()
            );
        } else {
            check_refused("early", client, &early, &[500, 502, 503, 529]);
        }
        let late = format!("{}{error}", &upstream.stream()[..words_end(upstream)]);
        let response = ask(client, upstream, true, Reply::sse(late)).await;
        match client.fold(&response.events()) {
            Fold::Failed { error, so_far } => {
                assert!(error["error"]["message"].as_str().unwrap_or_default().contains("quota is gone"), "{error}");
                assert!(client.text(&so_far).starts_with("Hello, "));
            }
            other => panic!("{client:?} from {upstream:?}: {other:?}\n{}", response.text()),
        }
    }
}

#[tokio::test]
async fn a_huge_event_passes_and_a_monstrous_one_is_an_error() {
    let long = |size: usize| {
        let text = "y".repeat(size);
        chat_stream(&[(json!({"role": "assistant", "content": text}), Value::Null), (json!({}), json!("stop"))])
    };
    let response = ask(Wire::Messages, Wire::Chat, true, Reply::sse(long(1 << 20)).cut_every(50_000)).await;
    assert_eq!(Wire::Messages.text(&Wire::Messages.read(&response, true)).len(), 1 << 20);
    let response = ask(Wire::Messages, Wire::Chat, true, Reply::sse(long(40 << 20)).cut_every(1 << 20)).await;
    let failed = matches!(Wire::Messages.fold(&response.events()), Fold::Failed { .. });
    assert!(failed || response.status >= 500, "a bound on one event: {}", crate::support::show(&response.body));
}

#[tokio::test]
async fn a_broken_event_is_an_error_and_not_an_end() {
    for (client, upstream) in [(Wire::Chat, Wire::Messages), (Wire::Messages, Wire::Chat)] {
        let stream = upstream.stream();
        let broken = format!(
            "{}{}",
            &stream[..words_end(upstream)],
            "event: content_block_delta\ndata: {\"type\":\"content\n\n"
        );
        let rest = &stream[words_end(upstream)..];
        let response = ask(client, upstream, true, Reply::sse(format!("{broken}{rest}"))).await;
        assert!(matches!(client.fold(&response.events()), Fold::Failed { .. }), "{client:?}: {}", response.text());
    }
}

/// A process that was paused, or moved to another host, finds all deadlines passed, and in its sockets what was in time.
#[tokio::test]
async fn what_came_while_the_edge_stood_still_is_not_late() {
    const DEADLINE: Duration = Duration::from_secs(3);
    let gate = Gate::new();
    let words = Wire::Messages.stream().split_inclusive("\n\n").position(|event| event.contains("Hello, "));
    let reply = Wire::Messages.reply(true).wait_before(words.expect("there") + 1, &gate);
    let provider = Provider::always(reply).await;
    let timeouts = format!("timeouts: {{first_byte: {DEADLINE:?}, between: {DEADLINE:?}}}");
    let conf = Conf::open().provider_at("p", "anthropic", &provider.url(), &timeouts);
    let edge = Edge::start(&conf.model("m", "p/model-1")).await;
    let mut clients = Vec::new();
    for _ in 0..16 {
        let mut client = Wire::Chat.ask("m", true).open(edge.addr).await;
        let (head, framing) = client.head().await;
        clients.push((client, head, framing));
    }
    edge.signal("STOP");
    gate.open();
    tokio::time::sleep(DEADLINE + Duration::from_millis(1500)).await;
    edge.signal("CONT");
    for (at, (mut client, head, mut framing)) in clients.into_iter().enumerate() {
        let mut body = Vec::new();
        within(PATIENCE, "the end", client.until_events(&mut framing, &mut body, usize::MAX)).await;
        let response = Response { body, ..head };
        assert_eq!(Wire::Chat.text(&Wire::Chat.read(&response, true)), "Hello, 北🙂!", "{at}");
    }
}

//! A head of the edge's own for a stream whose provider takes long to begin, and whatever the provider says then.

use crate::support::PATIENCE;
use crate::support::client::Response;
use crate::support::dialect::{DIALECTS, Dialect, Heard, WORDS};
use crate::support::edge::{Conf, Edge};
use crate::support::formats::{PAIRS, Wire};
use crate::support::gate::Gate;
use crate::support::http1::Piece as Got;
use crate::support::provider::{Provider, Speaks};
use crate::support::script::{End, Reply};
use crate::support::{show, within};

const MORE: &str = "streams: {early_head: 200ms, heartbeat: 50ms}";

/// Asks for a stream, and opens `gate` once its head and three signs of life are there.
pub(super) async fn ask(edge: &Edge, client: Dialect, model: &str, gate: &Gate) -> Response {
    let mut open = client.ask(model).open(edge.addr).await;
    let what = format!("the head of {model} for {client:?}");
    let (mut response, mut framing) = within(PATIENCE, &what, open.head()).await;
    loop {
        match within(PATIENCE, &what, open.piece(&mut framing)).await {
            Got::Data(data) => response.body.extend_from_slice(&data),
            Got::End(ended) => {
                response.ended = ended;
                return response;
            }
        }
        if show(&response.body).matches(client.sign()).count() >= 3 {
            gate.open();
        }
    }
}

/// What the client makes of what comes behind the head: all words, or an error with these.
type Makes = Result<(), &'static str>;

/// What comes behind the head.
fn cases(upstream: Wire) -> Vec<(&'static str, Reply, Makes)> {
    let error = |status, kind| Reply::json(status, upstream.error_body(kind, "provider's words"));
    vec![
        ("a stream", upstream.reply(true), Ok(())),
        ("a hint and a stream", upstream.reply(true).interim(103), Ok(())),
        ("a packed stream", upstream.reply(true).gzip(), Ok(())),
        ("a whole answer", upstream.reply(false), Ok(())),
        ("a failure", error(500, "server_error"), Err("provider's words")),
        ("a limit", error(429, "rate_limit_error"), Err("provider's words")),
        ("a key that is refused", error(401, "authentication_error"), Err("this server's credentials")),
        ("a redirect", Reply::bare(302).header("location", "/x"), Err("redirects")),
        ("a page", Reply::typed(200, "text/html", "<html>log in</html>"), Err("")),
        ("no body", Reply::typed(200, "application/json", ""), Err("")),
        ("a broken stream", upstream.reply(true).stop_at(30, End::Fin), Err("broke in the middle")),
        ("a broken error", error(500, "server_error").stop_at(9, End::Fin), Err("")),
        ("a reset", Reply::no_answer(End::Reset), Err("broke in the middle")),
    ]
}

fn check_one(what: &str, client: Dialect, response: &Response, makes: Makes) {
    let text = response.text();
    let Err(words) = makes else { return assert_eq!(client.words(what, response), WORDS, "{what}") };
    assert!(text.contains(words), "{what}: {text}");
    let failed = match client {
        // Its error may come before anything was created.
        Dialect::Responses => text.contains("\"type\":\"error\"") || text.contains("response.failed"),
        client => matches!(client.hear(what, response, true), Heard::Failed(_)),
    };
    assert!(failed, "{what}: {text}");
}

async fn check(speaks: Speaks, http: &str) {
    let (mut conf, mut asked) = (Conf::open().server("max_attempts: 1"), Vec::new());
    for upstream in [Wire::Chat, Wire::Messages] {
        for (number, (name, reply, makes)) in cases(upstream).into_iter().enumerate() {
            for client in DIALECTS {
                let gate = Gate::new();
                let reply = reply.clone().hold(&gate);
                let provider = Provider::speaking(speaks.clone(), move |_| reply.clone()).await;
                let id = format!("{upstream:?}-{number}-{}", asked.len()).to_lowercase();
                conf = conf
                    .provider_at(&id, upstream.kind(), &provider.url(), &format!("{MORE}{http}"))
                    .model(&id, &format!("{id}/m"));
                asked.push((format!("{name} of {upstream:?} for {client:?}"), client, id, gate, makes));
            }
        }
    }
    let edge = Edge::start(&conf).await;
    for (what, client, id, gate, makes) in asked {
        let response = ask(&edge, client, &id, &gate).await;
        check_one(&what, client, &response, makes);
    }
    edge.metric_reaches("gateway_errors_total", &["error_type=\"upstream_credentials\""], 8.0).await;
    edge.metric_reaches("gateway_upstream_requests_total", &["status=\"429\""], 8.0).await;
}

#[tokio::test]
async fn what_comes_behind_a_head_of_ours_reaches_every_format() {
    check(Speaks::Http1, "").await;
}

#[tokio::test]
async fn what_comes_behind_a_head_of_ours_over_http2_does_too() {
    check(Speaks::H2c, ", http: h2").await;
}

#[tokio::test]
async fn deadlines_hold_behind_a_head_of_ours_and_nobody_else_is_asked() {
    let well = Provider::always(Wire::Chat.reply(true)).await;
    for (client, upstream) in PAIRS {
        let silent = Provider::always(Reply::no_answer(End::Hang)).await;
        let more = format!("timeouts: {{first_byte: 1s}}, {MORE}");
        let conf = Conf::open()
            .provider_at("p", upstream.kind(), &silent.url(), &more)
            .provider("well", "openai", &well)
            .model("m", "{targets: [p/m, well/m], fallback_on: [timeout]}");
        let edge = Edge::start(&conf).await;
        let response = within(PATIENCE, "the end", client.ask("m", true).send(edge.addr)).await;
        assert!(response.text().contains("in time"), "{}", response.text());
        assert!(matches!(Dialect::Known(client).hear("silent", &response, true), Heard::Failed(_)));
        silent.left(0).await;
        // A client that leaves is noticed there too.
        let open = client.ask("m", true).open(edge.addr).await;
        silent.request(1).await;
        drop(open);
        silent.left(1).await;
    }
    assert!(well.requests().is_empty());
}

#[tokio::test]
async fn what_fails_before_that_moves_on_and_whole_answers_wait() {
    let gate = Gate::new();
    let failing = Provider::always(Reply::json(500, "{}")).await;
    let slow = Provider::always(Wire::Messages.reply(false).hold(&gate)).await;
    let well = Provider::always(Wire::Messages.reply(true)).await;
    let conf = Conf::open()
        .provider_at("failing", "openai", &failing.url(), MORE)
        .provider_at("slow", "anthropic", &slow.url(), MORE)
        .provider("well", "anthropic", &well)
        .model("m", "{targets: [failing/m, well/m]}")
        .model("slow", "slow/m");
    let edge = Edge::start(&conf).await;
    let client = Dialect::Known(Wire::Chat);
    assert_eq!(client.words("moved on", &client.ask("m").send(edge.addr).await), WORDS);
    let mut open = client.ask_for("slow", false).open(edge.addr).await;
    slow.request(0).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    gate.open();
    let response = within(PATIENCE, "the answer", open.response()).await;
    assert_eq!(client.hear("whole", &response, false), Heard::Whole(WORDS.to_owned()));
}

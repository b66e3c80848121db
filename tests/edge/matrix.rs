//! The faults of providers, in one table: each kind, for every format of clients, streamed and whole, from a provider of
//! the same format and of another, has its defined result in the client's own format. None hangs, none looks complete.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::edge::translate::messages_stream;
use crate::support::client::Response;
use crate::support::dialect::{DIALECTS, Dialect, Heard, WORDS};
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::gate::Gate;
use crate::support::http1::Ended;
use crate::support::provider::{Provider, Speaks, refused};
use crate::support::script::{End, Framed, Reply};
use crate::support::{PATIENCE, within};

/// The longest silence that the edge bears, in each case's provider.
const SILENCE: Duration = Duration::from_secs(3);

/// What a client must see.
#[derive(Clone, Copy, Debug)]
enum Sees {
    /// The whole answer.
    Words,
    /// A whole answer, whatever it says.
    Whole,
    /// An error of one of these statuses.
    Refused(&'static [u16]),
    /// The first words, and then its format's own error.
    Cut,
    /// An error, or an answer whose framing is visibly broken; never one that looks complete.
    NotWhole,
    /// From its own format the provider's bytes as they are; from another its format's own error at some place.
    OwnOrCut,
    /// From its own format the provider's bytes as they are; from another the whole answer.
    OwnOrWords,
}

/// What a provider does.
enum Does {
    /// It takes no connections.
    Refuses,
    /// It answers so.
    Answers(Reply),
}

/// A kind of fault: its name, and for a stream and a whole answer what is done and what is seen; `None` where there is
/// no such thing.
type Kind = (&'static str, fn(Wire, bool) -> Option<(Does, Sees)>);

#[rustfmt::skip]
const KINDS: [Kind; 34] = [
    ("refused", |_, _| Some((Does::Refuses, Sees::Refused(&[502])))),
    ("a black hole", |_, _| answers(Reply::no_answer(End::Hang), Sees::Refused(&[504]))),
    ("closed before the head", |_, _| answers(Reply::no_answer(End::Fin), Sees::Refused(&[502]))),
    ("reset before the head", |_, _| answers(Reply::no_answer(End::Reset), Sees::Refused(&[502]))),
    ("reset behind the head", |wire, stream| {
        let reply = Reply { pieces: Vec::new(), ..wire.reply(stream) }.framed(Framed::Lie(4096)).end(End::Reset);
        answers(reply, if stream { Sees::Refused(&[502]) } else { Sees::NotWhole })
    }),
    ("half a head", |_, _| answers(Reply::raw("HTTP/1.1 200 OK\r\ncontent-ty", End::Fin), Sees::Refused(&[502]))),
    ("a stall in an event", |wire, stream| cut(wire, stream, End::Hang, Framed::Lie(9999))),
    ("half an event", |wire, stream| cut(wire, stream, End::Fin, Framed::Close)),
    ("a chunk cut", |wire, stream| cut(wire, stream, End::TruncatedChunk, Framed::Chunked)),
    ("a longer length", |wire, stream| cut(wire, stream, End::Fin, Framed::Lie(9999))),
    ("a reset", |wire, stream| cut(wire, stream, End::Reset, Framed::Lie(9999))),
    ("bytes one by one", |wire, stream| answers(wire.reply(stream).framed(Framed::Chunked).bytewise(), Sees::Words)),
    ("a line of a MB", |wire, stream| {
        let reply = if stream { Reply::sse(long(wire)) } else { Reply::json(200, wire.answer().replacen("Hello, ", &"y".repeat(1 << 20), 1)) };
        answers(reply.cut_every(50_000), Sees::Whole)
    }),
    ("a byte order mark", |wire, stream| {
        let reply = if stream { Reply::sse(format!("\u{feff}{}", wire.stream())) } else { Reply::json(200, format!("\u{feff}{}", wire.answer())) };
        answers(reply, if stream { Sees::Words } else { Sees::OwnOrWords })
    }),
    ("CRLF", |wire, stream| stream.then(|| sent(Reply::sse(wire.stream().replace('\n', "\r\n")), Sees::Words))),
    ("CR", |wire, stream| stream.then(|| sent(Reply::sse(wire.stream().replace('\n', "\r")), Sees::Words))),
    ("gzip", |wire, stream| answers(wire.reply(stream).gzip(), Sees::Words)),
    ("429", |wire, _| answers(Reply::json(429, wire.error_body("rate_limit_error", "slow")).header("retry-after", "7"), Sees::Refused(&[429]))),
    ("999", |wire, _| answers(Reply::json(999, wire.error_body("api_error", "odd")), Sees::Refused(&[502]))),
    ("529", |wire, _| answers(Reply::json(529, wire.error_body("overloaded_error", "busy")), Sees::Refused(&[503, 529]))),
    ("a page of a proxy", |_, _| answers(Reply::typed(502, "text/html", "<html><h1>502 Bad Gateway</h1></html>"), Sees::Refused(&[502]))),
    ("another protocol", |_, _| answers(Reply::raw("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", End::Hang), Sees::Refused(&[502]))),
    ("an early hint", |wire, stream| answers(wire.reply(stream).interim(103), Sees::Words)),
    ("no content", |_, _| answers(Reply::bare(204), Sees::Refused(&[502]))),
    ("trailers", |wire, stream| answers(wire.reply(stream).framed(Framed::Chunked).trailer("x-sum", "1"), Sees::Words)),
    ("invalid JSON", |wire, stream| {
        let broken = if stream { Reply::sse(wire.stream().replacen("!\"}", "!\"}}}}", 1)) } else { Reply::json(200, "{\"id\": nonsense") };
        answers(broken, if stream { Sees::OwnOrCut } else { Sees::Refused(&[502]) })
    }),
    ("an error within a stream", |wire, stream| {
        let error = match wire {
            Wire::Chat => "data: {\"error\":{\"message\":\"gone\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n".to_owned(),
            Wire::Messages => messages_stream(&[json!({"type": "error", "error": {"type": "overloaded_error", "message": "gone"}})]),
        };
        stream.then(|| sent(Reply::sse(format!("{}{error}", &wire.stream()[..words_end(wire)])), Sees::Cut))
    }),
    ("a late last word", |wire, stream| {
        let gate = Gate::new();
        let opened = gate.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            opened.open();
        });
        let reply = wire.reply(true);
        let last = reply.pieces.len() - 1;
        stream.then(|| sent(reply.wait_before(last, &gate), Sees::Words))
    }),
    ("no last word", |wire, stream| {
        let last = ["data: [DONE]\n\n", "event: message_stop\ndata: {\"type\":\"message_stop\"   }\n\n"];
        let short = last.iter().find_map(|last| wire.stream().strip_suffix(last)).expect("the fixture ends so");
        stream.then(|| sent(Reply::sse(short), Sees::OwnOrWords))
    }),
    ("ids that are given twice", |wire, stream| {
        let reply = if stream { Reply::sse(wire.stream().replace("data: ", "id: 1\ndata: ")) } else { Reply::json(200, twice(wire)) };
        answers(reply, Sees::Whole)
    }),
    ("a head of a MB", |wire, stream| answers(big_head(wire.reply(stream), 1, 1_000_000), Sees::Words)),
    ("a head above a MiB", |wire, stream| answers(big_head(wire.reply(stream), 20, 100_000), Sees::Refused(&[502]))),
    ("10,000 header lines", |wire, stream| answers(big_head(wire.reply(stream), 10_000, 20), Sees::Refused(&[502]))),
    ("a folded header line", |wire, stream| answers(wire.reply(stream).header("x-request-id", "one\r\n two"), Sees::Words)),
];

fn sent(reply: Reply, sees: Sees) -> (Does, Sees) {
    (Does::Answers(reply), sees)
}

fn answers(reply: Reply, sees: Sees) -> Option<(Does, Sees)> {
    Some(sent(reply, sees))
}

/// An answer that stops in its middle: of a stream, in the event behind the first words.
fn cut(wire: Wire, stream: bool, end: End, framing: Framed) -> Option<(Does, Sees)> {
    let at = if stream { words_end(wire) + 30 } else { wire.answer().len() / 2 };
    let sees = match (stream, framing) {
        (true, _) => Sees::Cut,
        // Nothing but its own grammar says that such an answer is cut.
        (false, Framed::Close) => Sees::Refused(&[502]),
        (false, _) => Sees::NotWhole,
    };
    answers(wire.reply(stream).framed(framing).stop_at(at, end), sees)
}

/// Bytes of a stream up to and with its first words.
fn words_end(wire: Wire) -> usize {
    let stream = wire.stream();
    let at = stream.find("Hello, ").expect("the words are there");
    at + stream[at..].find("\n\n").expect("the event ends") + 2
}

fn long(wire: Wire) -> String {
    wire.stream().replacen("Hello, ", &"y".repeat(1 << 20), 1)
}

/// An answer with two calls of one id.
fn twice(wire: Wire) -> String {
    let mut answer: Value = serde_json::from_str(wire.answer()).expect("JSON");
    match wire {
        Wire::Chat => {
            let call = json!({"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
            answer["choices"][0]["message"]["tool_calls"] = json!([call, call]);
        }
        Wire::Messages => {
            let call = json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}});
            answer["content"] = json!([call, call]);
        }
    }
    answer.to_string()
}

fn big_head(mut reply: Reply, lines: usize, bytes: usize) -> Reply {
    for line in 0..lines {
        reply = reply.header(&format!("x-{line}"), &"v".repeat(bytes));
    }
    reply
}

struct Case {
    what: String,
    client: Dialect,
    same: bool,
    stream: bool,
    sees: Sees,
    /// What the provider sent.
    body: Vec<u8>,
    /// It listens until the test is over.
    at: (SocketAddr, Option<Provider>),
}

impl Case {
    async fn new(name: &str, (client, wire, stream): (Dialect, Wire, bool), (does, sees): (Does, Sees)) -> Self {
        let what = format!("{name}: {client:?} from {wire:?}, stream={stream}");
        let (body, at) = match does {
            Does::Refuses => (Vec::new(), (refused(), None)),
            Does::Answers(reply) => {
                let provider = Provider::always(reply.clone()).await;
                (reply.body(), (provider.addr, Some(provider)))
            }
        };
        Self { what, client, same: client == Dialect::Known(wire), stream, sees, body, at }
    }

    fn check(&self, response: &Response) {
        let (what, shown) = (&self.what, crate::support::show(response.text().as_bytes()));
        let own = self.same && (response.status / 100, &response.body) == (2, &self.body);
        match self.sees {
            Sees::Refused(statuses) => self.check_refused(response, statuses),
            Sees::NotWhole if response.ended != Ended::Complete => {}
            Sees::NotWhole if response.status != 200 => {
                assert!(!self.client.error(what, response).is_empty(), "{what}");
            }
            Sees::OwnOrCut if own => {}
            Sees::NotWhole | Sees::OwnOrCut | Sees::Cut => self.check_cut(response),
            Sees::OwnOrWords if self.same => assert!(own, "{what}: {} {shown}", response.status),
            Sees::Words | Sees::OwnOrWords | Sees::Whole => {
                assert_eq!(response.ended, Ended::Complete, "{what}");
                let any = matches!(self.sees, Sees::Whole);
                let heard = self.client.hear(what, response, self.stream);
                let well = matches!(&heard, Heard::Whole(words) if any || words == WORDS);
                assert!(well, "{what}: {heard:?}: {shown}");
            }
        }
    }

    fn check_refused(&self, response: &Response, statuses: &[u16]) {
        let what = &self.what;
        assert!(statuses.contains(&response.status), "{what}: {} {}", response.status, response.text());
        assert_eq!(response.ended, Ended::Complete, "{what}");
        assert!(!self.client.error(what, response).is_empty(), "{what}");
        if what.starts_with("429") {
            assert_eq!(response.header("retry-after"), Some("7"), "{what}");
        }
    }

    /// A stream that ends in an error of its format, and in order as an HTTP message.
    fn check_cut(&self, response: &Response) {
        let what = &self.what;
        assert_eq!(response.ended, Ended::Complete, "{what}");
        let heard = self.client.hear(what, response, self.stream);
        let any = matches!(self.sees, Sees::NotWhole);
        let well = matches!(&heard, Heard::Failed(words) if any || words.starts_with("Hello, "));
        assert!(well, "{what}: {heard:?}: {}", response.text());
    }
}

/// All cases of one kind and more, through one edge, all at once.
async fn cases(kinds: &[Kind]) -> (Edge, Vec<Case>) {
    let limits = format!("timeouts: {{connect: 2s, read: {}s}}", SILENCE.as_secs());
    let mut conf = Conf::open().server("max_attempts: 1");
    let mut cases = Vec::new();
    for (name, kind) in kinds {
        for client in DIALECTS {
            for (wire, stream) in
                [(Wire::Chat, true), (Wire::Chat, false), (Wire::Messages, true), (Wire::Messages, false)]
            {
                let Some(fault) = kind(wire, stream) else { continue };
                let case = Case::new(name, (client, wire, stream), fault).await;
                let number = cases.len();
                conf = conf
                    .provider_at(&format!("p{number}"), wire.kind(), &format!("http://{}", case.at.0), &limits)
                    .model(&format!("m{number}"), &format!("p{number}/model-1"));
                cases.push(case);
            }
        }
    }
    (Edge::start(&conf).await, cases)
}

#[tokio::test]
async fn each_kind_of_fault_has_its_result_in_every_format() {
    let mut wrong = Vec::new();
    // In parts, so that a busy machine keeps within the deadlines of the others.
    for kinds in KINDS.chunks(17) {
        let (edge, cases) = cases(kinds).await;
        let ask = |(number, case): (usize, &Case)| {
            let ask = case.client.ask_for(&format!("m{number}"), case.stream);
            let addr = edge.addr;
            tokio::spawn(async move {
                let began = Instant::now();
                (ask.send(addr).await, began.elapsed())
            })
        };
        let asked: Vec<_> = cases.iter().enumerate().map(ask).collect();
        for (case, task) in cases.iter().zip(asked) {
            let well = task.await.is_ok_and(|(response, took)| {
                let right = catch_unwind(AssertUnwindSafe(|| case.check(&response))).is_ok();
                right && took < SILENCE * 3
            });
            if !well {
                wrong.push(case.what.clone());
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What a client has heard when it leaves.
const MOMENTS: [&str; 4] = ["nothing", "held", "words", "whole"];

#[tokio::test]
async fn a_client_that_leaves_ends_its_request_upstream_at_once() {
    let mut conf = Conf::open();
    let mut cases = Vec::new();
    for client in DIALECTS {
        for wire in [Wire::Chat, Wire::Messages] {
            for moment in MOMENTS {
                let begun = wire.stream()[..words_end(wire)]
                    .rfind("\n\n")
                    .map_or(0, |end| wire.stream()[..end].rfind("\n\n").unwrap_or(0) + 2);
                let reply = match moment {
                    "nothing" => Reply::no_answer(End::Hang),
                    "held" => Reply::sse(&wire.stream()[..begun]).end(End::Hang),
                    "words" => Reply::sse(&wire.stream()[..words_end(wire)]).end(End::Hang),
                    _ => wire.reply(false).framed(Framed::Lie(9999)).end(End::Hang),
                };
                let provider = Provider::always(reply).await;
                let number = cases.len();
                conf = conf
                    .provider(&format!("p{number}"), wire.kind(), &provider)
                    .model(&format!("m{number}"), &format!("p{number}/model-1"));
                cases.push((format!("{client:?} from {wire:?}, {moment}"), client, moment, provider));
            }
        }
    }
    let edge = Edge::start(&conf).await;
    let mut slowest = Vec::new();
    for (number, (what, client, moment, provider)) in cases.iter().enumerate() {
        let mut asking = client.ask_for(&format!("m{number}"), *moment != "whole").open(edge.addr).await;
        provider.request(0).await;
        if *moment == "words" {
            let (_, mut framing) = asking.head().await;
            assert!(asking.until_events(&mut framing, &mut Vec::new(), 1).await, "{what}");
        }
        let left = Instant::now();
        drop(asking);
        let seen = within(PATIENCE, what, provider.left(0)).await;
        slowest.push(seen.saturating_duration_since(left));
    }
    // Most are seen within a few milliseconds; one may meet a machine that is busy with something else.
    slowest.sort();
    let usual = slowest[slowest.len() / 2];
    assert!(usual < Duration::from_millis(100), "{usual:?} of {slowest:?}");
}

/// What cannot be said over HTTP/1.1, or is said otherwise.
#[tokio::test]
async fn heads_over_http2_have_their_results_too() {
    for (name, reply, status) in [
        ("another protocol", (|_| Reply::bare(101)) as fn(bool) -> Reply, 502),
        ("a head of a MB", |stream| big_head(Wire::Chat.reply(stream), 10, 100_000), 200),
        ("10,000 header lines", |stream| big_head(Wire::Chat.reply(stream), 10_000, 20), 200),
        ("17 MB of header lines", |stream| big_head(Wire::Chat.reply(stream), 17, 1_000_000), 502),
    ] {
        let provider = Provider::speaking(Speaks::H2c, move |request| reply(request.json()["stream"] == true)).await;
        let conf = Conf::open().provider_at("p", "openai", &provider.url(), "http: h2").model("m", "p/model-1");
        let edge = Edge::start(&conf).await;
        for stream in [true, false] {
            let response = Dialect::Gemini.ask_for("m", stream).send(edge.addr).await;
            let what = format!("{name}, stream={stream}");
            assert_eq!(
                (response.status, response.ended.clone()),
                (status, Ended::Complete),
                "{what}: {}",
                response.text()
            );
        }
    }
}

//! The end of a process, and another one in its place: what is under way goes on, and nothing new is refused.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::client::{Ask, Client, Response};
use crate::support::client_h2::H2Client;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::{Fold, Wire};
use crate::support::gate::Gate;
use crate::support::http1::{Ended, Framing, Piece};
use crate::support::provider::Provider;
use crate::support::script::{End, Reply};
use crate::support::{PATIENCE, sse, within};

/// Streams wait before their last events until the gate opens; whole answers come at once.
async fn house(lines: &[&str]) -> (Provider, Gate, Edge) {
    let gate = Gate::new();
    let held = gate.clone();
    let provider = Provider::start(move |request| {
        if String::from_utf8_lossy(&request.body).contains("\"stream\":true") {
            let events = sse::count(Wire::Chat.stream().as_bytes());
            Reply::sse(Wire::Chat.stream()).wait_before(events - 2, &held)
        } else {
            Wire::Chat.reply(false)
        }
    })
    .await;
    let conf = Conf::open().server("upgrade_socket: \"@DIR/upgrade.sock\"").provider("p", "openai", &provider);
    let conf = lines.iter().fold(conf.model("m", "p/model-1"), |conf, line| conf.server(line));
    let edge = Edge::start(&conf).await;
    (provider, gate, edge)
}

/// A stream of which the first event has come.
struct Open {
    client: Client<TcpStream>,
    framing: Framing,
    response: Response,
}

impl Open {
    async fn new(edge: &Edge, wire: Wire) -> Self {
        let mut client = wire.ask("m", true).open(edge.addr).await;
        let (mut response, mut framing) = client.head().await;
        assert_eq!(response.status, 200);
        assert!(client.until_events(&mut framing, &mut response.body, 1).await);
        Self { client, framing, response }
    }

    /// Reads it to its end, which must be that of a whole stream.
    async fn finish(self, wire: Wire) {
        let (folded, text) = self.folded(wire).await;
        assert!(matches!(folded, Fold::Whole(_)), "{text}");
    }

    /// Reads it to its end, and what it amounts to.
    async fn folded(mut self, wire: Wire) -> (Fold, String) {
        let ended = loop {
            match self.client.piece(&mut self.framing).await {
                Piece::Data(data) => self.response.body.extend_from_slice(&data),
                Piece::End(ended) => break ended,
            }
        };
        assert_eq!(ended, Ended::Complete);
        (wire.fold(&sse::events(&self.response.body)), self.response.text())
    }
}

#[tokio::test]
async fn balancers_may_learn_of_the_end_before_it_begins() {
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let conf = Conf::open().provider("p", "openai", &provider).model("m", "p/gpt").server("drain_delay: 5m");
    for signal in ["TERM", "INT"] {
        let mut edge = Edge::start(&conf).await;
        edge.signal("TERM");
        edge.metric_becomes("gateway_draining", &[], 1.0).await;
        assert_eq!(Ask::get("/health/ready").send(edge.admin).await.status, 503);
        for _ in 0..2 {
            let answer = Wire::Chat.ask("m", false).send(edge.addr).await;
            assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        }
        edge.signal(signal);
        assert!(edge.ended_within(PATIENCE).await, "{signal}");
    }
}

#[tokio::test]
async fn sigterm_waits_for_open_streams_and_no_longer() {
    let (_, gate, mut edge) = house(&[]).await;
    let streams = [Open::new(&edge, Wire::Chat).await, Open::new(&edge, Wire::Messages).await];
    let mut idle = Client::connect(edge.addr).await;
    assert_eq!(idle.ask(&Ask::get("/health")).await.status, 200);
    edge.signal("TERM");
    // What the idle connection asked for may still be counted.
    let counted = |line: &str| ["draining: 2 ", "draining: 3 "].iter().any(|count| line.contains(count));
    edge.log_line("the drain", counted).await;
    let ready = edge.admin("GET", "/health/ready").await;
    assert_eq!(ready.status, 503, "readiness is false at once, and told: {}", ready.text());
    let last = idle.ask(&Wire::Chat.ask("m", false)).await;
    assert_eq!((last.status, last.header("connection")), (200, Some("close")), "a kept connection serves once more");
    assert!(TcpStream::connect(edge.addr).await.is_err(), "no new connection is taken");
    assert!(!edge.ended_within(Duration::from_millis(1200)).await, "it waits for its streams");
    gate.open();
    let [one, two] = streams;
    one.finish(Wire::Chat).await;
    two.finish(Wire::Messages).await;
    assert!(edge.ended_within(Duration::from_secs(1)).await, "and ends with the last");
}

#[tokio::test]
async fn an_idle_process_ends_at_once_and_a_deadline_ends_the_others() {
    let (_, _gate, mut edge) = house(&["drain_deadline: 1s"]).await;
    edge.signal("TERM");
    assert!(edge.ended_within(Duration::from_secs(3)).await, "nothing is under way");

    let (_, _gate, mut edge) = house(&["drain_deadline: 1s"]).await;
    let _open = Open::new(&edge, Wire::Chat).await;
    edge.signal("TERM");
    assert!(edge.ended_within(Duration::from_secs(8)).await, "the deadline is kept, but for the time to say so");
}

#[tokio::test]
async fn streams_that_the_drain_does_not_wait_for_are_told_and_logged() {
    // Silent in the middle of its words.
    let words = Wire::Chat.stream().find("Hello, ").expect("words") + 150;
    let provider = Provider::always(Reply::sse(Wire::Chat.stream()).stop_at(words, End::Hang)).await;
    let silent = Provider::always(Reply::no_answer(End::Hang)).await;
    let conf = Conf::open().server("drain_deadline: 12s").provider("p", "openai", &provider);
    let conf = conf.provider("s", "openai", &silent).model("silent", "{targets: [s/model-1, p/model-1]}");
    let mut edge = Edge::start(&conf.model("m", "p/model-1")).await;
    let unanswered = Wire::Chat.ask("silent", true).open(edge.addr).await;
    silent.request(0).await;
    let streams =
        [(Wire::Chat, Open::new(&edge, Wire::Chat).await), (Wire::Messages, Open::new(&edge, Wire::Messages).await)];
    edge.signal("TERM");
    for (wire, stream) in streams {
        let (folded, text) = within(PATIENCE, "the end", stream.folded(wire)).await;
        assert!(matches!(folded, Fold::Failed { .. }) && text.contains("about to end"), "{text}");
    }
    let mut unanswered = unanswered;
    let refused = within(PATIENCE, "an answer", unanswered.response()).await;
    assert!(refused.status == 503 && refused.text().contains("about to end"), "{}", refused.text());
    assert!(edge.ended_within(Duration::from_secs(3)).await, "nothing is left to wait for");
    assert_eq!(provider.requests().len(), 2, "and nothing was begun anew");
    let log = edge.log();
    let told = log.lines().filter(|line| line.contains("\"aborted_by\":\"edge\"") && line.contains("\"draining\""));
    assert_eq!(told.count(), 2, "{log}");
}

#[tokio::test]
async fn streams_whose_clients_take_nothing_are_in_the_log_too() {
    let words = chatty().body().repeat(250);
    let provider = Provider::always(Reply::typed(200, "text/event-stream", words)).await;
    let conf = Conf::open().server("drain_deadline: 0s").provider("p", "openai", &provider);
    let mut edge = Edge::start(&conf.model("m", "p/model-1")).await;
    let ask = Wire::Chat.ask("m", true);
    // Each stops to read behind the head.
    let client = H2Client::connect(edge.addr).await;
    let _held = client.head(&ask).await;
    let mut plain = ask.open(edge.addr).await;
    let _ = within(PATIENCE, "the head", plain.head()).await;
    // And one sends nothing more of its request.
    let mut stalled = Client::connect(edge.addr).await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: edge\r\ncontent-length: 1000\r\n\r\n{";
    stalled.raw(head.as_bytes()).await.expect("sent");
    edge.metric_reaches("gateway_requests_in_flight", &[], 3.0).await;
    edge.signal("TERM");
    let refused = within(PATIENCE, "an answer", stalled.response()).await;
    assert!(refused.status == 503 && refused.text().contains("about to end"), "{}", refused.text());
    assert!(edge.ended_within(Duration::from_secs(8)).await, "the deadline is kept, but for the time to say so");
    let log = edge.log();
    let told = log.lines().filter(|line| line.contains("\"aborted_by\":\"edge\"") && line.contains("\"draining\""));
    assert_eq!(told.count(), 2, "{log}");
    assert!(log.lines().any(|line| line.contains("\"status\":503") && line.contains("\"draining\"")), "{log}");
}

/// A stream that says a word every few milliseconds for a long time.
fn chatty() -> Reply {
    let word = |delta: &str| {
        let head = "\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"x\"";
        format!("data: {{{head},\"choices\":[{{\"index\":0,\"delta\":{{{delta}\"content\":\"a\"}}}}]}}\n\n")
    };
    Reply::sse(word("\"role\":\"assistant\",") + &word("").repeat(500)).paced(Duration::from_millis(20))
}

#[tokio::test]
async fn a_short_drain_tells_streams_too_and_an_interrupt_those_that_are_not_silent() {
    let words = Wire::Chat.stream().find("Hello, ").expect("words") + 150;
    let silent = || Reply::sse(Wire::Chat.stream()).stop_at(words, End::Hang);
    for (signal, deadline, reply) in
        [("TERM", "0s", chatty()), ("TERM", "100ms", silent()), ("TERM", "1s", silent()), ("INT", "1h", chatty())]
    {
        let case = format!("{signal} {deadline}");
        let provider = Provider::always(reply).await;
        let conf = Conf::open().server(&format!("drain_deadline: {deadline}")).provider("p", "openai", &provider);
        let mut edge = Edge::start(&conf.model("m", "p/model-1")).await;
        let streams = [
            (Wire::Chat, Open::new(&edge, Wire::Chat).await),
            (Wire::Messages, Open::new(&edge, Wire::Messages).await),
        ];
        edge.signal(signal);
        for (wire, stream) in streams {
            let (folded, text) = within(PATIENCE, "the end", stream.folded(wire)).await;
            assert!(matches!(folded, Fold::Failed { .. }) && text.contains("about to end"), "{case}: {text}");
        }
        assert!(edge.ended_within(Duration::from_secs(2)).await, "{case}: nothing is left to wait for");
        let log = edge.log();
        let told = log.lines().filter(|line| line.contains("\"aborted_by\":\"edge\"") && line.contains("\"draining\""));
        assert_eq!(told.count(), 2, "{case}: {log}");
    }
}

#[tokio::test]
async fn an_upload_that_the_drain_does_not_wait_for_is_told_and_logged() {
    let provider = Provider::always(Reply::json(200, "{}")).await;
    let conf = Conf::open().server("drain_deadline: 500ms").provider("p", "openai", &provider);
    let mut edge = Edge::start(&conf.model("m", "p/model-1").top("operations: {files: p}")).await;
    let stream = TcpStream::connect(edge.addr).await.expect("the edge listens");
    let (mut reader, mut writer) = stream.into_split();
    let head =
        "POST /v1/files HTTP/1.1\r\nhost: edge\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n";
    writer.write_all(head.as_bytes()).await.expect("sent");
    let dripping = tokio::spawn(async move {
        let piece = [format!("{:x}\r\n", 9000).as_bytes(), &vec![b'x'; 9000], b"\r\n"].concat();
        while writer.write_all(&piece).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    edge.metric_reaches("gateway_requests_in_flight", &["endpoint=\"files\""], 1.0).await;
    while provider.connections() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    edge.signal("TERM");
    let mut answer = Vec::new();
    let _ = within(PATIENCE, "the end", reader.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("about to end"), "{answer}");
    assert!(edge.ended_within(Duration::from_secs(3)).await, "nothing is left to wait for");
    edge.log_line("the upload", |line| line.contains("\"endpoint\":\"files\"") && line.contains("draining")).await;
    dripping.abort();
}

#[tokio::test]
async fn a_drain_goes_by_the_deadline_that_the_config_has_by_then() {
    for (first, then, waits) in [("1h", "1s", false), ("0s", "1h", true)] {
        let (_provider, gate, mut edge) = house(&[&format!("drain_deadline: {first}")]).await;
        let sound = std::fs::read_to_string(&edge.file).expect("the config");
        edge.rewrite_text(&sound.replace(&format!("drain_deadline: {first}"), &format!("drain_deadline: {then}")));
        assert_eq!(edge.admin("POST", "/reload").await.status, 200);
        let open = Open::new(&edge, Wire::Chat).await;
        edge.signal("TERM");
        assert_eq!(edge.ended_within(Duration::from_secs(8)).await, !waits, "{first}, then {then}");
        if waits {
            gate.open();
            open.finish(Wire::Chat).await;
            assert!(edge.ended_within(Duration::from_secs(1)).await);
        }
    }
}

#[tokio::test]
async fn http2_clients_are_told_to_go() {
    let (_, gate, mut edge) = house(&[]).await;
    let client = H2Client::connect(edge.addr).await;
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.ask(&Wire::Chat.ask("m", true)).await }
    });
    edge.metric_reaches("gateway_requests_in_flight", &["chat"], 1.0).await;
    edge.signal("TERM");
    edge.log_line("the drain", |line| line.contains("draining: 1 request")).await;
    let refused = async {
        while client.ask(&Ask::get("/health")).await.status == 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(PATIENCE, "a GOAWAY", refused).await;
    gate.open();
    let answer = asking.await.expect("asked");
    assert_eq!((answer.status, &answer.ended), (200, &Ended::Complete), "{answer:?}");
    assert!(edge.ended_within(Duration::from_secs(2)).await);
}

/// Asks without a pause until told to stop; how many answers came, and what was wrong.
async fn load(addr: std::net::SocketAddr, keep: bool, stop: Arc<AtomicBool>, count: Arc<AtomicUsize>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut client = Client::connect(addr).await;
    while !stop.load(Ordering::Relaxed) {
        let answer = client.ask(&Wire::Chat.ask("m", false)).await;
        if answer.status != 200 || answer.ended != Ended::Complete {
            faults.push(format!("{answer:?}"));
        }
        count.fetch_add(1, Ordering::Relaxed);
        if !keep || answer.header("connection") == Some("close") || answer.status != 200 {
            client = Client::connect(addr).await;
        }
    }
    faults
}

#[tokio::test]
async fn upgrades_cut_no_stream_and_fail_no_request() {
    let (_, gate, mut edge) = house(&[]).await;
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let loads: Vec<_> = [true, true, false, false]
        .map(|keep| tokio::spawn(load(edge.addr, keep, Arc::clone(&stop), Arc::clone(&count))))
        .into();
    let mut streams = Vec::new();
    for number in 0..3 {
        streams.push(Open::new(&edge, Wire::Chat).await);
        streams.push(Open::new(&edge, Wire::Messages).await);
        let (done, said) = edge.upgrade(&[]).await;
        assert!(done && said.contains("serving: process "), "{number}: {said}");
        let before = count.load(Ordering::Relaxed);
        let some = async {
            while count.load(Ordering::Relaxed) < before + 50 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(PATIENCE, "the new process to serve", some).await;
    }
    // The first process still holds two streams; the admin listener is the newest process's.
    assert_eq!(edge.metric("gateway_draining", &[]).await, 0.0);
    assert!(!edge.ended_within(Duration::from_millis(100)).await, "the first process waits for its streams");
    gate.open();
    for (number, stream) in streams.into_iter().enumerate() {
        stream.finish(if number % 2 == 0 { Wire::Chat } else { Wire::Messages }).await;
    }
    assert!(edge.ended_within(Duration::from_secs(2)).await, "and ends with the last");
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        let faults = load.await.expect("it asked");
        assert!(faults.is_empty(), "{} of {}: {:?}", faults.len(), count.load(Ordering::Relaxed), faults.first());
    }
    edge.log_line("the newest process's own line", |line| line.contains("\"status\":200")).await;
}

#[tokio::test]
async fn an_upgrade_that_fails_changes_nothing() {
    let (_, gate, mut edge) = house(&[]).await;
    let stream = Open::new(&edge, Wire::Chat).await;
    let sound = std::fs::read_to_string(&edge.file).expect("the config");

    // A config with a fault: nothing is started.
    edge.rewrite_text(&sound.replace("auth: off", "auth: maybe"));
    let (done, said) = edge.upgrade(&[]).await;
    assert!(!done && said.contains("auth") && said.contains("goes on as before"), "{said}");

    // A port that is taken: the new process has the sockets already and must give up.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let public = format!("address: \"{}\"", edge.addr);
    edge.rewrite_text(&sound.replace(&public, &format!("{public}}}, {{address: \"127.0.0.1:{port}\"")));
    let (done, said) = edge.upgrade(&[]).await;
    assert!(!done && said.contains("not upgraded"), "{said}");

    // No upgrade socket where the config says.
    edge.rewrite_text(&sound.replace("upgrade.sock", "other.sock"));
    let (done, said) = edge.upgrade(&[]).await;
    assert!(!done && said.contains("nobody hands over"), "{said}");

    // Who is asked says nothing: the new process is given up, and does not stay.
    let mute = std::os::unix::net::UnixListener::bind(edge.file.with_file_name("mute.sock")).expect("a socket");
    edge.rewrite_text(&sound.replace("upgrade.sock", "mute.sock"));
    let (done, said) = edge.upgrade(&["--wait", "1"]).await;
    assert!(!done && said.contains("did not serve within 1 s and was ended"), "{said}");
    let (mut asking, _) = mute.accept().expect("it asked");
    asking.set_read_timeout(Some(Duration::from_secs(2))).expect("a deadline");
    assert_eq!(asking.read_to_end(&mut Vec::new()).ok(), Some("TAKE 1\n".len()), "it is gone");

    edge.rewrite_text(&sound);
    // Whoever waited for the new process has given up.
    assert_eq!(edge.take_over_unasked().await, Some(1));

    assert_eq!(Wire::Chat.ask("m", false).send(edge.addr).await.status, 200, "the old process serves");
    gate.open();
    stream.finish(Wire::Chat).await;
    assert!(!edge.ended_within(Duration::from_millis(50)).await);
    let (done, said) = edge.upgrade(&[]).await;
    assert!(done, "and can still be upgraded: {said}");
    assert_eq!(Wire::Chat.ask("m", false).send(edge.addr).await.status, 200);
    let began = Instant::now();
    assert!(edge.ended_within(Duration::from_secs(3)).await, "{:?}", began.elapsed());
}

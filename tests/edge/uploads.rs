//! Bodies that stream through: forms with files, uploads of any size, and what breaks on the way.

use std::time::Duration;

use serde_json::json;

use crate::support::client::{Ask, Client, Response, Sent};
use crate::support::client_h2::H2Client;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::gate::Gate;
use crate::support::http1::Ended;
use crate::support::provider::{Provider, Speaks, refused};
use crate::support::script::{End, Reply};
use crate::support::{PATIENCE, within};

const KEYS: &str =
    "- {name: all, key: key-of-all, raw: [oa]}\n- {name: some, key: key-of-some, models: [whisper, same]}";

async fn house(provider: &Provider, more: impl FnOnce(Conf) -> Conf) -> Edge {
    let conf = Conf::with_clients(KEYS)
        .provider("oa", "openai", provider)
        .model("whisper", "oa/gpt-4o-transcribe")
        .model("same", "oa/same")
        .model("other", "oa/other");
    Edge::start(&more(conf)).await
}

fn noise(size: usize) -> Vec<u8> {
    (0..size as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

enum Order {
    ModelFirst,
    FileFirst,
}

/// A form with a file of `size` bytes, which names `model` if it is not empty.
fn form(model: &str, size: usize, order: Order) -> Vec<u8> {
    let field = format!("--XyZ\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n");
    let field = if model.is_empty() { Vec::new() } else { field.into_bytes() };
    let head = b"--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\n";
    let file = [head, noise(size).as_slice(), b"\r\n"].concat();
    let parts = match order {
        Order::ModelFirst => [field, file],
        Order::FileFirst => [file, field],
    };
    [parts.concat(), b"--XyZ--\r\n".to_vec()].concat()
}

fn ask(body: Vec<u8>) -> Ask {
    let headers = vec![("content-type".to_owned(), "multipart/form-data; boundary=XyZ".to_owned())];
    Ask { headers, ..Ask::post("/v1/audio/transcriptions", body) }.header("authorization", "Bearer key-of-all")
}

fn raw(body: Vec<u8>) -> Ask {
    Ask::post("/raw/oa/v1/x", body).header("authorization", "Bearer key-of-all")
}

/// `form` as the provider should see it.
fn renamed(form: &[u8], from: &str, to: &str) -> Vec<u8> {
    let (from, to) = (format!("\r\n\r\n{from}\r\n--XyZ").into_bytes(), format!("\r\n\r\n{to}\r\n--XyZ").into_bytes());
    let at = form.windows(from.len()).position(|window| window == from).expect("the field is there");
    [&form[..at], &to, &form[at + from.len()..]].concat()
}

fn code(response: &Response) -> String {
    Wire::Chat.error(response);
    response.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
}

const WAYS: [Sent; 3] = [Sent::Length, Sent::Chunked(7_000), Sent::Chunked(200_000)];

#[tokio::test]
async fn a_form_streams_through_with_its_model_exchanged() {
    let provider = Provider::always(Reply::json(200, "{\"text\":\"hi\"}")).await;
    let edge = house(&provider, |conf| conf).await;
    let h2 = H2Client::connect(edge.addr).await;
    for size in [0, 1_000, 40_000, 65_300, 70_000, 400_000] {
        for (asked, sent_as) in [("whisper", "gpt-4o-transcribe"), ("same", "same")] {
            let body = form(asked, size, Order::ModelFirst);
            let expected = renamed(&body, asked, sent_as);
            for sent in WAYS {
                for way in ["h1", "expect", "h2"] {
                    let ask = ask(body.clone()).sent(sent);
                    let response = match way {
                        "h1" => ask.send(edge.addr).await,
                        "expect" => ask.expecting().send(edge.addr).await,
                        _ => h2.ask(&ask).await,
                    };
                    let what = format!("{asked}, {size} bytes, {sent:?}, {way}");
                    assert_eq!((response.status, response.text().as_str()), (200, "{\"text\":\"hi\"}"), "{what}");
                    let request = provider.last();
                    assert!(request.body == expected && request.ended == Ended::Complete, "{what}");
                    assert_eq!(request.header("content-type"), Some("multipart/form-data; boundary=XyZ"));
                    let length = expected.len().to_string();
                    let announced = if sent == Sent::Length { Some(length.as_str()) } else { None };
                    assert_eq!(request.header("content-length"), announced, "{what}");
                    assert_eq!(request.header("expect"), None);
                }
            }
        }
    }
    let mut client = Client::connect(edge.addr).await;
    for size in [10, 300_000, 10] {
        let response = client.ask(&ask(form("same", size, Order::ModelFirst))).await;
        assert_eq!(response.status, 200);
        assert_ne!(response.header("connection"), Some("close"), "the connection stays");
    }
    edge.metric_reaches("gateway_requests_total", &["endpoint=\"audio_transcriptions\"", "model=\"whisper\""], 54.0)
        .await;
}

#[tokio::test]
async fn a_model_behind_its_file_is_served_where_that_can_be() {
    let provider = Provider::always(Reply::json(200, "{}")).await;
    let edge = house(&provider, |conf| conf).await;
    for size in [1_000, 40_000] {
        for sent in WAYS {
            let body = form("whisper", size, Order::FileFirst);
            assert_eq!(ask(body.clone()).sent(sent).send(edge.addr).await.status, 200, "{size} {sent:?}");
            assert!(provider.last().body == renamed(&body, "whisper", "gpt-4o-transcribe"), "within what is looked at");
        }
    }
    for size in [60_000, 64_000, 65_400, 70_000, 300_000] {
        for sent in WAYS {
            let body = form("same", size, Order::FileFirst);
            let response = ask(body.clone()).sent(sent).header("x-request-id", "late-one").send(edge.addr).await;
            assert_eq!(response.status, 200, "{size} {sent:?} {}", response.text());
            assert!(provider.last().body == body, "{size} {sent:?}");
        }
        let body = form("whisper", size, Order::FileFirst);
        let chunked = ask(body.clone()).sent(Sent::Chunked(9_000)).send(edge.addr).await;
        assert_eq!(chunked.status, 200, "{}", chunked.text());
        assert!(provider.last().body == renamed(&body, "whisper", "gpt-4o-transcribe"), "{size}");
    }
    let line = edge.log_line("the late one", |line| line.contains("\"late-one\"")).await;
    assert!(line.contains("\"requested_model\":\"same\""), "{line}");
    let two = Provider::always(Reply::json(200, "{}")).await;
    let edge = house(&provider, |conf| conf.provider("two", "vllm", &two).model("two", "two/two")).await;
    let named = ask(form("two", 300_000, Order::FileFirst)).header("x-tidegate-provider", "two");
    assert_eq!(named.send(edge.addr).await.status, 200);
    let wrong = ask(form("same", 300_000, Order::FileFirst)).header("x-tidegate-provider", "two");
    assert_eq!(code(&wrong.send(edge.addr).await), "unsupported_operation", "the model is not of that provider");
}

/// `openai` for Node sends what its caller wrote first, and its own examples write the file first.
#[tokio::test]
async fn a_model_behind_a_long_file_is_waited_for_within_the_limit_of_a_body() {
    let dies = Provider::always(Reply::no_answer(End::Reset)).await;
    let two = Provider::always(Reply::json(200, "{\"two\":true}")).await;
    let provider = Provider::always(Reply::json(200, "{}")).await;
    let edge = house(&provider, |conf| {
        conf.provider("two", "vllm", &two)
            .provider("dies", "openai", &dies)
            .model("two", "two/the-second")
            .model("chain", "{targets: [dies/a, two/ccc], fallback_on: [reset]}")
            .server("body_limit: 400KiB")
    })
    .await;
    let h2 = H2Client::connect(edge.addr).await;
    for size in [60_000, 64_900, 66_000, 120_000, 390_000] {
        for (model, asked, sent_as) in [("two", &two, "the-second"), ("whisper", &provider, "gpt-4o-transcribe")] {
            let body = form(model, size, Order::FileFirst);
            for sent in WAYS {
                for way in ["h1", "expect", "h2"] {
                    let ask = ask(body.clone()).sent(sent);
                    let response = match way {
                        "h1" => ask.send(edge.addr).await,
                        "expect" => ask.expecting().send(edge.addr).await,
                        _ => h2.ask(&ask).await,
                    };
                    if way == "h2" && sent != Sent::Length && body.len() > 65_536 {
                        assert_eq!(response.status, 411, "it says how to mend it: {}", response.text());
                        continue;
                    }
                    let what = format!("{model}, {size} bytes, {sent:?}, {way}: {}", response.text());
                    assert_eq!(response.status, 200, "{what}");
                    assert!(asked.last().body == renamed(&body, model, sent_as), "{what}");
                }
            }
        }
    }
    let body = form("chain", 300_000, Order::FileFirst);
    assert_eq!(ask(body.clone()).send(edge.addr).await.json()["two"], true, "what is held can be sent again");
    assert!(dies.last().body == renamed(&body, "chain", "a") && two.last().body == renamed(&body, "chain", "ccc"));
    let mut client = Client::connect(edge.addr).await;
    for size in [10, 300_000, 10] {
        let response = client.ask(&ask(form("two", size, Order::FileFirst))).await;
        assert!(response.status == 200 && response.header("connection") != Some("close"), "the connection stays");
    }
    let asked = [provider.requests().len(), two.requests().len()];
    for sent in WAYS {
        let long = ask(form("two", 500_000, Order::FileFirst)).sent(sent).send(edge.addr).await;
        assert_eq!((long.status, code(&long).as_str()), (400, "model_not_first"), "{sent:?}");
        assert!(long.text().contains("first"), "it says how to mend it: {}", long.text());
    }
    assert_eq!([provider.requests().len(), two.requests().len()], asked);
    edge.metric_becomes("gateway_buffered_request_bytes", &[], 0.0).await;
}

#[tokio::test]
async fn an_upload_has_a_rate_that_it_must_keep() {
    let provider = Provider::always(Reply::json(200, "{}")).await;
    let edge = house(&provider, |conf| {
        conf.server("timeouts: {body: 300ms}").server("limits: {body_rate: 10KiB}").model("slow", "oa/same")
    })
    .await;
    let head = "POST /raw/oa/v1/x HTTP/1.1\r\nhost: e\r\nauthorization: Bearer key-of-all\r\n";
    for framing in ["content-length: 90000\r\n\r\n", "transfer-encoding: chunked\r\n\r\n"] {
        let mut client = Client::connect(edge.addr).await;
        client.raw(format!("{head}{framing}").as_bytes()).await.expect("sent");
        let dripping = async {
            // Each pause is shorter than the deadline: only a sum can find this out.
            let piece: &[u8] = if framing.starts_with("content") { b"a" } else { b"1\r\na\r\n" };
            while client.raw(piece).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if edge.metric("gateway_errors_total", &["error_type=\"body_timeout\""]).await > 0.5 {
                    break;
                }
            }
        };
        within(PATIENCE, "the edge to have had enough", dripping).await;
        let answer = within(PATIENCE, "the connection's end", client.rest()).await;
        assert!(answer.starts_with(b"HTTP/1.1 408 "), "{framing}: {}", String::from_utf8_lossy(&answer));
    }
    // One that falls silent is told the same.
    let mut client = Client::connect(edge.addr).await;
    client.raw(format!("{head}content-length: 90000\r\n\r\nabc").as_bytes()).await.expect("sent");
    let answer = within(PATIENCE, "the connection's end", client.rest()).await;
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
    assert!(provider.requests().iter().all(|request| request.ended != Ended::Complete));
    // One that pays for its time may take it.
    let mut client = Client::connect(edge.addr).await;
    client.raw(format!("{head}content-length: 100000\r\n\r\n").as_bytes()).await.expect("sent");
    for part in noise(100_000).chunks(5_000) {
        tokio::time::sleep(Duration::from_millis(80)).await;
        client.raw(part).await.expect("sent");
    }
    assert_eq!(within(PATIENCE, "the answer", client.response()).await.status, 200);
}

/// How long a provider may be silent is counted from the end of what it is to answer.
#[tokio::test]
async fn an_upload_may_take_longer_than_its_provider_may_be_silent() {
    for (speaks, more) in [(Speaks::Http1, ""), (Speaks::H2c, "http: h2, ")] {
        let provider = Provider::speaking(speaks, |_| Reply::json(200, "{}")).await;
        let conf = Conf::with_clients(KEYS)
            .provider_at("oa", "openai", &provider.url(), &format!("{more}timeouts: {{read: 400ms}}"))
            .model("same", "oa/same");
        let edge = Edge::start(&conf).await;
        let h2 = H2Client::connect(edge.addr).await;
        let pause = Duration::from_millis(100);
        for body in [noise(150_000), noise(1_500)] {
            let ask = raw(body.clone());
            let part = body.len() / 15;
            let slow = h2.ask_slowly(&ask, part, pause).await;
            assert_eq!(slow.status, 200, "{more}: {}", slow.text());
            assert!(provider.last().body == body);
            let mut client = Client::connect(edge.addr).await;
            let head = format!(
                "POST /raw/oa/v1/x HTTP/1.1\r\nhost: e\r\nauthorization: Bearer key-of-all\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            client.raw(head.as_bytes()).await.expect("sent");
            for part in body.chunks(part) {
                tokio::time::sleep(pause).await;
                client.raw(part).await.expect("sent");
            }
            let slow = client.response().await;
            assert_eq!(slow.status, 200, "{more}: {}", slow.text());
            assert!(provider.last().body == body);
        }
    }
}

/// There is nothing of theirs that could have come too late.
#[tokio::test]
async fn who_sends_no_body_is_not_to_blame_for_silence() {
    let never = Gate::new();
    for (speaks, http) in [(Speaks::Http1, "h1"), (Speaks::H2c, "h2")] {
        let held = never.clone();
        let provider = Provider::speaking(speaks, move |_| Reply::json(200, "{}").hold(&held)).await;
        let more = format!("http: {http}, timeouts: {{read: 300ms}}, breaker: {{failures: 100}}");
        let conf = Conf::with_clients(KEYS).provider_at("oa", "openai", &provider.url(), &more).model("same", "oa/m");
        let edge = Edge::start(&conf).await;
        let h2 = H2Client::connect(edge.addr).await;
        let mut failed = 0.0;
        for (method, path) in
            [("GET", "/v1/files"), ("GET", "/raw/oa/v1/x"), ("DELETE", "/raw/oa/v1/x"), ("POST", "/raw/oa/v1/x")]
        {
            let ask = Ask { method: method.to_owned(), ..Ask::get(path) }.header("x-api-key", "key-of-all");
            for response in [ask.clone().send(edge.addr).await, h2.ask(&ask).await] {
                assert_eq!(
                    (response.status, code(&response).as_str()),
                    (504, "upstream_timeout"),
                    "{http} {method} {path}"
                );
                failed += 1.0;
            }
            assert!(edge.metric("gateway_upstream_errors_total", &[]).await >= failed, "{http} {method} {path}");
        }
    }
}

/// A client could else shut out all others of a provider by bodies of its own making.
#[tokio::test]
async fn nobody_pays_for_a_body_that_a_client_spoils() {
    let provider = Provider::always(Reply::json(200, "{}")).await;
    let conf = Conf::with_clients(KEYS)
        .provider_at("oa", "openai", &provider.url(), "timeouts: {read: 400ms}, breaker: {failures: 2, open: 30s}")
        .model("same", "oa/same")
        .model("other", "oa/other")
        .server("upload_limit: 200KiB");
    let edge = Edge::start(&conf).await;
    let h2 = H2Client::connect(edge.addr).await;
    for _ in 0..3 {
        let bad = ask(form("nope", 150_000, Order::FileFirst)).sent(Sent::Chunked(9_000)).send(edge.addr).await;
        assert_eq!(code(&bad), "model_not_found");
        let long = ask(form("same", 300_000, Order::ModelFirst)).sent(Sent::Chunked(9_000)).send(edge.addr).await;
        assert_eq!(long.status, 413);
    }
    // Over HTTP/2 nobody but the provider's own deadline sees that nothing comes.
    for _ in 0..3 {
        let silent = h2.fall_silent(&raw(noise(1_000)).sent(Sent::Chunked(500))).await;
        assert_eq!(silent.status, 408, "{}", silent.text());
    }
    for _ in 0..2 {
        let fine = ask(form("same", 1_000, Order::ModelFirst)).send(edge.addr).await;
        assert_eq!(fine.status, 200, "{}", fine.text());
    }
    let upstreams = edge.admin("GET", "/upstreams").await.text();
    assert!(!upstreams.contains("\"open\""), "no breaker opened: {upstreams}");
}

#[tokio::test]
async fn trap_no_model_is_smuggled_behind_a_file() {
    let provider = Provider::always(Reply::json(200, "{}")).await;
    let edge = house(&provider, |conf| conf).await;
    let some = |body: Vec<u8>, sent: Sent| {
        let mut ask = ask(body).sent(sent);
        ask.headers.retain(|(name, _)| name != "authorization");
        ask.header("x-api-key", "key-of-some")
    };
    let twice = [
        form("same", 300_000, Order::ModelFirst).strip_suffix(b"--XyZ--\r\n").expect("so it ends"),
        &form("other", 10, Order::ModelFirst),
    ]
    .concat();
    for sent in WAYS {
        for (body, expected) in [
            (form("other", 300_000, Order::FileFirst), "model_not_allowed"),
            (form("other", 300_000, Order::ModelFirst), "model_not_allowed"),
            (form("", 300_000, Order::FileFirst), "provider_not_allowed"),
            (form("", 1_000, Order::FileFirst), "provider_not_allowed"),
            (form("nope", 300_000, Order::FileFirst), "model_not_found"),
            (twice.clone(), "invalid_form"),
        ] {
            let refused = some(body, sent).send(edge.addr).await;
            assert_eq!(code(&refused), expected, "{sent:?}");
        }
        assert_eq!(some(form("same", 300_000, Order::FileFirst), sent).send(edge.addr).await.status, 200);
    }
    // A request that was refused on its way may have begun, but is never whole.
    for request in provider.requests() {
        let whole = request.ended == Ended::Complete;
        assert_eq!(whole, renamed(&form("same", 300_000, Order::FileFirst), "same", "same") == request.body);
    }
    let nameless = ask(form("", 1_000, Order::FileFirst)).send(edge.addr).await;
    assert_eq!(nameless.status, 200, "who may ask for every model may leave it to the provider");
    let bad = Ask { headers: Vec::new(), ..ask(form("same", 9, Order::ModelFirst)) };
    let bad = bad.header("content-type", "multipart/form-data").header("x-api-key", "key-of-all").send(edge.addr).await;
    assert_eq!((bad.status, code(&bad).as_str()), (400, "invalid_form"));
}

#[tokio::test]
async fn a_hundred_megabytes_pass_without_being_held() {
    const MEGABYTE: usize = 1 << 20;
    let provider = Provider::always(Reply::json(200, "{}")).await;
    let edge = house(&provider, |conf| conf).await;
    let start = form("whisper", 100 * MEGABYTE, Order::ModelFirst);
    let before = edge.resident();
    let mut client = Client::connect(edge.addr).await;
    let head = format!(
        "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: e\r\nauthorization: Bearer key-of-all\r\n\
         content-type: multipart/form-data; boundary=XyZ\r\ncontent-length: {}\r\n\r\n",
        start.len()
    );
    client.raw(head.as_bytes()).await.expect("it is taken");
    let (mut most, mut resident) = (0.0_f64, before);
    for (number, part) in start.chunks(MEGABYTE).enumerate() {
        client.raw(part).await.expect("it is taken");
        if number % 10 == 5 {
            most = most.max(edge.metric("gateway_buffered_request_bytes", &[]).await);
            resident = resident.max(edge.resident());
        }
    }
    assert_eq!(client.response().await.status, 200);
    assert!(provider.last().body == renamed(&start, "whisper", "gpt-4o-transcribe"));
    assert!(most <= 128.0 * 1024.0, "{most} bytes were held");
    let grown = resident.saturating_sub(before) / MEGABYTE as u64;
    assert!(grown < 40, "the edge grew by {grown} MiB");
    edge.metric_becomes("gateway_buffered_request_bytes", &[], 0.0).await;
}

#[tokio::test]
async fn a_client_that_leaves_takes_the_upload_with_it() {
    let provider = Provider::always(Reply::json(200, "{}")).await;
    let edge = house(&provider, |conf| conf).await;
    for whole in [ask(form("same", 500_000, Order::ModelFirst)), raw(noise(500_000))] {
        for reset in [false, true] {
            let before = provider.requests().len();
            let mut client = Client::connect(edge.addr).await;
            let mut head =
                format!("POST {} HTTP/1.1\r\nhost: e\r\ncontent-length: {}\r\n", whole.path, whole.body.len());
            whole.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
            client.raw(format!("{head}\r\n").as_bytes()).await.expect("it is taken");
            client.raw(&whole.body[..300_000]).await.expect("it is taken");
            edge.metric_reaches("gateway_requests_in_flight", &[], 1.0).await;
            if reset {
                client.reset()
            } else {
                drop(client)
            }
            let request = provider.request(before).await;
            assert!(request.ended != Ended::Complete, "the provider sees that it is not whole");
        }
    }
    edge.log_line("a client that left", |line| line.contains("\"aborted_by\":\"client\"")).await;
}

#[tokio::test]
async fn an_answer_before_the_end_of_an_upload_reaches_the_client() {
    let early = Provider::early(Reply::json(413, "{\"error\":{\"message\":\"too long\"}}")).await;
    let conf =
        Conf::with_clients(KEYS).provider_at("oa", "openai", &format!("http://{early}"), "").model("same", "oa/same");
    let edge = Edge::start(&conf).await;
    for sent in [Sent::Length, Sent::Chunked(20_000)] {
        for ask in [ask(form("same", 3_000_000, Order::ModelFirst)), raw(noise(3_000_000))] {
            let response = ask.sent(sent).send(edge.addr).await;
            assert_eq!(
                (response.status, response.json()),
                (413, json!({"error": {"message": "too long"}})),
                "{sent:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_was_sent_on_is_not_sent_again() {
    let dies = Provider::always(Reply::no_answer(End::Reset)).await;
    let second = Provider::always(Reply::json(200, "{\"second\":true}")).await;
    let edge = house(&dies, |conf| {
        conf.provider("two", "openai", &second)
            .provider_at("gone", "openai", &format!("http://{}", refused()), "")
            .model("chain", "{targets: [gone/a, oa/bb, two/ccc], fallback_on: [connect, reset]}")
    })
    .await;
    // Little enough to be kept: another target gets it whole.
    for size in [100, 50_000] {
        let body = form("chain", size, Order::ModelFirst);
        assert_eq!(ask(body.clone()).send(edge.addr).await.json()["second"], true, "{size}");
        assert!(second.last().body == renamed(&body, "chain", "ccc"), "{size}");
    }
    let asked = second.requests().len();
    let body = form("chain", 300_000, Order::ModelFirst);
    let broken = ask(body.clone()).send(edge.addr).await;
    assert_eq!(broken.status, 502, "{}", broken.text());
    assert!(dies.last().body == renamed(&body, "chain", "bb"), "a refused connection cost nothing of it");
    assert_eq!(second.requests().len(), asked, "what was spent cannot be sent again");
}

#[tokio::test]
async fn uploads_are_bounded() {
    let provider = Provider::always(Reply::json(200, "{}")).await;
    let edge = house(&provider, |conf| conf.server("upload_limit: 200KiB")).await;
    for ask in [raw(noise(190_000)), ask(form("same", 190_000, Order::ModelFirst))] {
        assert_eq!(ask.sent(Sent::Chunked(5_000)).send(edge.addr).await.status, 200);
    }
    let whole = provider.requests().len();
    for ask in [raw(noise(210_000)), ask(form("same", 210_000, Order::ModelFirst))] {
        for sent in [Sent::Length, Sent::Chunked(5_000)] {
            let refused = ask.clone().sent(sent).send(edge.addr).await;
            assert_eq!(refused.status, 413, "{sent:?}");
            Wire::Chat.error(&refused);
        }
    }
    let encoded = raw(noise(10)).header("content-encoding", "gzip").send(edge.addr).await;
    assert_eq!(encoded.status, 415);
    assert!(provider.requests().iter().skip(whole).all(|request| request.ended != Ended::Complete));
}

#[tokio::test]
async fn a_slow_upload_is_passed_on_as_it_comes() {
    let gate = Gate::new();
    let provider = Provider::always(Reply::json(200, "{}").hold(&gate)).await;
    let edge = house(&provider, |conf| conf).await;
    let mut client = Client::connect(edge.addr).await;
    let body = noise(1_000);
    client
        .raw(b"POST /v1/files HTTP/1.1\r\nhost: e\r\nx-api-key: key-of-all\r\ncontent-type: multipart/form-data; boundary=B\r\ncontent-length: 1000\r\n\r\n")
        .await
        .expect("it is taken");
    for part in body.chunks(100) {
        client.raw(part).await.expect("it is taken");
        tokio::task::yield_now().await;
    }
    assert!(provider.request(0).await.body == body);
    gate.open();
    let answer = within(PATIENCE, "the answer", client.response()).await;
    assert_eq!(answer.status, 200);
}

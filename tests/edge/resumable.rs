//! Uploads that take several requests: every one of them comes back to the edge, and goes on for its client alone.

use std::net::SocketAddr;

use serde_json::json;

use super::stored_gemini::refusal;
use crate::support::client::{Ask, Client, Response, Sent};
use crate::support::client_h2::H2Client;
use crate::support::edge::{Conf, Edge, free_ports};
use crate::support::http1::Ended;
use crate::support::provider::{Provider, Request};
use crate::support::script::{End, Reply};
use crate::support::tls::Authority;

const KEYS: &str = "- {name: web, key: key-of-web}\n\
    - {name: other, key: key-of-other}\n\
    - {name: some, key: key-of-some, models: [m]}";

const FILE: &str =
    r#"{"file": {"name": "files/a-1", "uri": "https://google.example/v1beta/files/a-1", "state": "ACTIVE"}}"#;

/// Keeps uploads as the vendor does: named by a parameter, and by no key. Its own address has one, as where it was asked
/// with a key in the query.
fn keeper(host: &str) -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
    let host = host.to_owned();
    move |request| {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let told = |reply: Reply, status: &str| reply.header("X-Goog-Upload-Status", status);
        match request.header("x-goog-upload-command").unwrap_or_default() {
            "start" => {
                let address = format!(
                    "{host}{path}?key=sk-upstream-one&upload_id=U-{}&upload_protocol=resumable",
                    request.number
                );
                told(Reply::typed(200, "text/plain", ""), "active")
                    .header("X-Goog-Upload-URL", &address)
                    .header("X-Goog-Upload-Control-URL", &address)
                    .header("X-Goog-Upload-Chunk-Granularity", "262144")
                    .header("X-GUploader-UploadID", "spy")
            }
            _ if !query.contains("upload_id=U-") => Reply::json(200, FILE),
            "query" => told(Reply::bare(200), "active").header("X-Goog-Upload-Size-Received", "262144"),
            "cancel" => told(Reply::bare(200), "cancelled"),
            command if command.contains("finalize") => told(Reply::json(200, FILE), "final"),
            _ => told(Reply::bare(200), "active"),
        }
    }
}

/// One account, at an address as the catalogue has it.
async fn house(
    script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    more: impl FnOnce(Conf) -> Conf,
) -> (Provider, Edge) {
    let one = Provider::start(script).await;
    let edge = Edge::start(&more(conf(&one))).await;
    (one, edge)
}

fn conf(one: &Provider) -> Conf {
    Conf::with_clients(KEYS)
        .provider_at("one", "gemini", &format!("{}/v1beta", one.url()), "")
        .model("m", "one/gemini-3-pro")
}

/// What the SDKs begin an upload with.
fn start(path: &str) -> Ask {
    Ask::post(path, r#"{"file":{"displayName":"a"}}"#)
        .header("x-goog-upload-protocol", "resumable")
        .header("x-goog-upload-command", "start")
        .header("x-goog-upload-header-content-length", "300000")
        .header("x-goog-upload-header-content-type", "video/mp4")
        .header("x-goog-upload-file-name", "a.mp4")
}

/// What they go on with: no key.
fn more(target: &str, command: &str, offset: usize, body: impl Into<Vec<u8>>) -> Ask {
    let ask = Ask { headers: Vec::new(), ..Ask::post(target, body) };
    ask.header("x-goog-upload-command", command).header("x-goog-upload-offset", &offset.to_string())
}

fn web(ask: Ask) -> Ask {
    ask.header("x-goog-api-key", "key-of-web")
}

fn address(response: &Response) -> String {
    assert_eq!(response.status, 200, "{}", response.text());
    response.header("x-goog-upload-url").expect("where to go on").to_owned()
}

/// Begins an upload and gives what the rest of its address is, behind the host.
async fn begin(edge: &Edge) -> String {
    let address = address(&web(start("/upload/v1beta/files")).send(edge.addr).await);
    address.strip_prefix("http://edge").expect("our own address").to_owned()
}

fn noise(size: usize) -> Vec<u8> {
    (0..size as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[tokio::test]
async fn an_upload_comes_back_with_every_piece() {
    let (one, edge) = house(keeper("https://generativelanguage.googleapis.com"), |conf| conf).await;
    for path in
        ["/upload/v1beta/files", "/upload/v1/files", "/upload/v1beta/fileSearchStores/s-1:uploadToFileSearchStore"]
    {
        let began = web(start(path)).send(edge.addr).await;
        let address = address(&began);
        assert!(address.starts_with(&format!("http://edge{path}?upload_id=U-")), "{address}");
        assert!(!address.contains("key") && !address.contains("sk-"), "no key: {address}");
        for (name, value) in [("status", Some("active")), ("chunk-granularity", Some("262144")), ("control-url", None)]
        {
            assert_eq!(began.header(&format!("x-goog-upload-{name}")), value, "{name}");
        }
        assert_eq!(began.header("x-guploader-uploadid"), None);
        let sent = one.last();
        let upstream = path.replace("/v1/", "/v1beta/");
        assert_eq!(sent.target, upstream, "the version is the address's");
        assert_eq!(sent.header("x-goog-api-key"), Some("sk-upstream-one"));
        for (name, value) in [
            ("x-goog-upload-protocol", "resumable"),
            ("x-goog-upload-command", "start"),
            ("x-goog-upload-header-content-length", "300000"),
            ("x-goog-upload-header-content-type", "video/mp4"),
            ("x-goog-upload-file-name", "a.mp4"),
        ] {
            assert_eq!(sent.header(name), Some(value));
        }
        let id = format!("upload_id=U-{}&upload_protocol=resumable", sent.number);
        let target = address.strip_prefix("http://edge").expect("our own");
        let body = noise(300_000);
        let (first, rest) = body.split_at(262_144);
        for (command, offset, body, status) in [
            ("upload", 0, first, "active"),
            ("query", 0, &[][..], "active"),
            ("upload, finalize", 262_144, rest, "final"),
            ("cancel", 0, &[][..], "cancelled"),
        ] {
            let response = more(target, command, offset, body).send(edge.addr).await;
            assert_eq!((response.status, response.header("x-goog-upload-status")), (200, Some(status)), "{command}");
            let size = (command == "query").then_some("262144");
            assert_eq!(response.header("x-goog-upload-size-received"), size);
            assert_eq!(response.header("x-goog-upload-url"), None);
            let sent = one.last();
            assert_eq!(sent.target, format!("{upstream}?{id}"), "{command}");
            assert!(sent.body == body && sent.ended == Ended::Complete, "{command}");
            assert_eq!(sent.header("x-goog-upload-command"), Some(command));
            assert_eq!(sent.header("x-goog-upload-offset"), Some(&*offset.to_string()));
            assert_eq!(sent.header("x-goog-api-key"), Some("sk-upstream-one"));
            assert!(!String::from_utf8_lossy(&sent.raw_head).contains("ticket"));
        }
    }
    edge.log_line("whose it is", |line| {
        line.contains("\"endpoint\":\"gemini_files\"") && line.contains("\"key\":\"web\"")
    })
    .await;
    assert!(!edge.log().contains("tidegate_ticket"), "a ticket stands in the log");
    edge.metric_reaches("gateway_requests_total", &["endpoint=\"gemini_files\""], 10.0).await;
}

#[tokio::test]
async fn forty_megabytes_pass_in_pieces_without_being_held() {
    const MEGABYTE: usize = 1 << 20;
    let small = |conf: Conf| conf.server("body_limit: 64KiB").server("body_buffer_total: 256KiB");
    let (one, edge) = house(keeper("https://google.example"), small).await;
    let target = begin(&edge).await;
    let body = noise(16 * MEGABYTE);
    let (before, mut most) = (edge.resident(), 0.0_f64);
    let mut offset = 0;
    for (size, command) in [(16, "upload"), (16, "upload"), (8, "upload, finalize")] {
        let piece = &body[..size * MEGABYTE];
        let ask = more(&target, command, offset, Vec::new());
        let mut client = Client::connect(edge.addr).await;
        let mut head = format!("POST {target} HTTP/1.1\r\nhost: edge\r\ncontent-length: {}\r\n", piece.len());
        ask.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        client.raw(format!("{head}\r\n").as_bytes()).await.expect("it is taken");
        for (number, part) in piece.chunks(MEGABYTE).enumerate() {
            client.raw(part).await.expect("it is taken");
            if number % 4 == 2 {
                most = most.max(edge.metric("gateway_buffered_request_bytes", &[]).await);
            }
        }
        assert_eq!(client.response().await.status, 200);
        assert!(one.last().body == piece, "{command}");
        offset += piece.len();
    }
    assert!(most <= 128.0 * 1024.0, "{most} bytes were held");
    let grown = edge.resident().saturating_sub(before) / MEGABYTE as u64;
    // Less than one piece: pages of the program that were not needed before count as well.
    assert!(grown < 15, "the edge grew by {grown} MiB");
    edge.metric_becomes("gateway_buffered_request_bytes", &[], 0.0).await;
}

#[tokio::test]
async fn an_upload_in_one_request_passes_as_it_is() {
    let (one, edge) = house(keeper("https://google.example"), |conf| conf).await;
    let h2 = H2Client::connect(edge.addr).await;
    for (query, kind) in [
        ("?uploadType=multipart", "multipart/related; boundary=B"),
        ("?uploadType=media", "text/plain"),
        ("", "image/png"),
    ] {
        let body = noise(200_000);
        let ask = Ask { headers: Vec::new(), ..Ask::post(&format!("/upload/v1beta/files{query}"), body.clone()) };
        let ask = web(ask.header("content-type", kind).header("x-goog-upload-protocol", "raw"));
        for response in [
            ask.clone().send(edge.addr).await,
            ask.clone().sent(Sent::Chunked(9_000)).send(edge.addr).await,
            h2.ask(&ask).await,
        ] {
            assert_eq!((response.status, response.text().as_str()), (200, FILE), "{query}");
            let sent = one.last();
            assert_eq!(sent.target, format!("/upload/v1beta/files{query}"));
            assert!(sent.body == body && sent.header("content-type") == Some(kind), "{query}");
            assert_eq!(sent.header("x-goog-upload-protocol"), Some("raw"));
        }
    }
    let asked = one.requests().len();
    let older = web(Ask::post("/upload/v1beta/files?uploadType=resumable", "{}")).send(edge.addr).await;
    assert_eq!(refusal(&older), (400, "INVALID_ARGUMENT".to_owned()));
    assert_eq!(one.requests().len(), asked);
}

#[tokio::test]
async fn trap_nobody_goes_on_with_an_upload_of_another() {
    let (one, edge) = house(keeper("https://google.example"), |conf| conf).await;
    let (mine, second) = (begin(&edge).await, begin(&edge).await);
    let asked = one.requests().len();
    let ticket = |target: &str| target.split("tidegate_ticket=").nth(1).expect("a ticket").to_owned();
    let query = |target: &str| target.split('?').nth(1).expect("a query").to_owned();
    let without = mine.split("&tidegate").next().expect("a target").to_owned();
    let altered = format!("{without}&tidegate_ticket=A{}", &ticket(&mine)[1..]);
    let elsewhere = "/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore";
    for target in [
        without.clone(),
        altered,
        format!("{without}&tidegate_ticket="),
        format!("{without}&tidegate_ticket={}", ticket(&second)),
        mine.replace("upload_id=U-", "upload_id=V-"),
        mine.replace("upload_id", "upload%5Fid"),
        format!("{mine}&upload_id=V-1"),
        format!("{mine}&upload%5fid=V-1"),
        format!("{mine}&a=b;upload_id=V-1"),
        mine.replace("U-0", "U-0%20"),
        mine.replace("U-0", "U-0+a"),
        mine.replace("U-0", "U-0;a"),
        mine.replace("U-0", "U-0%0d%0ax:%20y"),
        format!("{elsewhere}?{}", query(&mine)),
        format!("/upload/v1/files?{}", query(&mine)),
    ] {
        for key in ["", "key-of-web", "key-of-other", "key-of-nobody"] {
            let ask = more(&target, "upload, finalize", 0, "x");
            let ask = if key.is_empty() { ask } else { ask.header("x-goog-api-key", key) };
            let refused = ask.send(edge.addr).await;
            assert_eq!(refusal(&refused), (403, "PERMISSION_DENIED".to_owned()), "{target}");
        }
    }
    edge.metric_reaches("gateway_auth_requests_total", &["result=\"denied\""], 60.0).await;
    for (key, expected) in [("key-of-other", 403), ("key-of-nobody", 401)] {
        let refused = more(&mine, "upload", 0, "x").header("x-goog-api-key", key).send(edge.addr).await;
        assert_eq!(refusal(&refused).0, expected, "a ticket in another's hand");
    }
    assert_eq!(one.requests().len(), asked, "none of it reached the provider");
    for ask in [
        more(&mine, "upload", 0, "x"),
        more(&mine, "upload", 0, "x").header("x-api-key", "key-of-web"),
        more(&mine, "query", 0, "").header("x-tidegate-provider", "nobody"),
    ] {
        assert_eq!(ask.send(edge.addr).await.status, 200, "its own client goes on");
    }
    // Who is no longer a client goes on with nothing, nor who may no longer go there.
    // Nor does a ticket outlive the key that its client had.
    for (from, to) in [
        ("- {name: web,", "- {name: gone,"),
        ("key: key-of-web", "key: key-of-web, models: [m]"),
        ("key: key-of-web", "key: another-key-of-web"),
    ] {
        let text = std::fs::read_to_string(&edge.file).expect("it is there");
        edge.rewrite_text(&text.replace(from, to));
        assert_eq!(edge.admin("POST", "/reload").await.status, 200);
        let refused = more(&mine, "upload", 0, "x").send(edge.addr).await;
        assert!(matches!(refusal(&refused).0, 401 | 403), "{}", refused.text());
        edge.rewrite_text(&text);
        assert_eq!(edge.admin("POST", "/reload").await.status, 200);
    }
    assert_eq!(more(&mine, "upload", 0, "x").send(edge.addr).await.status, 200, "a ticket outlives a reload");
    let some = start("/upload/v1beta/files").header("x-goog-api-key", "key-of-some").send(edge.addr).await;
    assert_eq!(refusal(&some), (403, "PERMISSION_DENIED".to_owned()));
}

#[tokio::test]
async fn trap_a_provider_leads_nobody_past_the_edge() {
    let second = Provider::always(Reply::json(200, "{}")).await;
    let foreign = second.url();
    let (one, edge) = house(keeper(&foreign), |conf| conf).await;
    let target = begin(&edge).await;
    assert_eq!(more(&target, "upload, finalize", 0, "x").send(edge.addr).await.status, 200);
    assert_eq!(one.requests().len(), 2, "the pieces go where the config says");
    assert!(second.requests().is_empty());
    for address in [
        "https://evil.example/",
        "https://evil.example/upload/v1beta/files",
        "https://evil.example/elsewhere?upload_id=U-1",
        "https://evil.example/upload/v1beta/files?upload_id=a&upload_id=b",
        "https://evil.example/upload/v1beta/files?upload_id=a\"b",
        "https://evil.example/upload/v1beta/files?upload_id=a b",
        "https://evil.example/upload/v1beta/files?upload_id=a#b",
        "javascript:alert(1)",
        "upload_id=a",
        "",
    ] {
        let told = Reply::json(200, "{}").header("x-goog-upload-status", "active").header("x-goog-upload-url", address);
        let twice = keeper("https://google.example");
        let (_, edge) = house(
            move |request| if request.number == 0 { told.clone() } else { twice(request) },
            |conf| conf.server("max_attempts: 1"),
        )
        .await;
        let refused = web(start("/upload/v1beta/files")).send(edge.addr).await;
        assert_eq!(refusal(&refused).0, 502, "{address}: {}", refused.text());
        assert_eq!(refused.header("x-goog-upload-url"), None, "{address}");
        edge.log_line("why", |line| line.contains("\"error_type\":\"upstream_upload\"")).await;
    }
    let two = Reply::json(200, "{}")
        .header("x-goog-upload-url", "/upload/v1beta/files?upload_id=a")
        .header("x-goog-upload-url", "/upload/v1beta/files?upload_id=b");
    for reply in [two, broken("a\rX-Evil: 1"), broken("a\r\n X-Evil: 1"), broken("a\0b")] {
        let (_, edge) = house(move |_| reply.clone(), |conf| conf.server("max_attempts: 1")).await;
        let refused = web(start("/upload/v1beta/files")).send(edge.addr).await;
        assert_eq!(refusal(&refused).0, 502, "{}", refused.text());
        assert_eq!((refused.header("x-goog-upload-url"), refused.header("x-evil")), (None, None));
    }
    // A line of its own is a header of its own, and none that clients see.
    let (_, edge) = house(|_| broken("a\r\nX-Evil: 1"), |conf| conf).await;
    let led = web(start("/upload/v1beta/files")).send(edge.addr).await;
    assert!(address(&led).contains("upload_id=a&tidegate_ticket="));
    assert_eq!(led.header("x-evil"), None);
}

/// An answer whose upload is called something that no header can hold.
fn broken(upload: &str) -> Reply {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-goog-upload-url: https://google.example/upload/v1beta/files?upload_id=";
    Reply::raw(format!("{head}{upload}\r\n\r\n{{}}"), End::Hang)
}

/// Sends a request by hand, to see how it is answered.
async fn by_hand(addr: SocketAddr, host: &str, headers: &str) -> Response {
    let mut client = Client::connect(addr).await;
    let head = format!(
        "POST /upload/v1beta/files HTTP/1.1\r\n{host}x-goog-api-key: key-of-web\r\nx-goog-upload-command: start\r\n{headers}content-length: 2\r\n\r\n{{}}"
    );
    client.raw(head.as_bytes()).await.expect("it is taken");
    client.response().await
}

#[tokio::test]
async fn a_client_is_led_back_as_it_came() {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost"]);
    for (trusted, forwarded) in [(true, "https://front.example"), (false, "http://edge.example:81")] {
        let dir = tempfile::TempDir::new().expect("a directory");
        std::fs::write(dir.path().join("tls.crt"), &identity.cert_pem).expect("written");
        std::fs::write(dir.path().join("tls.key"), &identity.key_pem).expect("written");
        let (secure, _) = free_ports();
        let listen = format!(
            "listen: [{{address: \"@PUBLIC\"}}, {{address: \"{secure}\", tls: {{cert: \"@DIR/tls.crt\", key: \"@DIR/tls.key\"}}}}]"
        );
        let one = Provider::start(keeper("https://google.example")).await;
        let conf = conf(&one).server(&listen);
        let conf = if trusted { conf.server("trusted_proxies: [127.0.0.0/8]") } else { conf };
        let edge = Edge::start_in(&conf, dir).await;
        let host = "host: edge.example:81\r\n";
        for (headers, expected) in [
            ("", "http://edge.example:81"),
            ("x-forwarded-proto: https\r\nx-forwarded-host: front.example, inner\r\n", forwarded),
            ("forwarded: proto=https\r\n", "http://edge.example:81"),
        ] {
            let address = address(&by_hand(edge.addr, host, headers).await);
            assert!(address.starts_with(&format!("{expected}/upload/v1beta/files?upload_id=")), "{trusted}: {address}");
        }
        let odd = by_hand(edge.addr, host, "x-forwarded-host: a@evil.example/\r\n").await;
        assert_eq!(odd.status, if trusted { 400 } else { 200 }, "{}", odd.text());
        let h2 = H2Client::connect(edge.addr).await;
        for ask in [web(start("/upload/v1beta/files")), start("/upload/v1beta/files?key=key-of-web")] {
            assert!(address(&h2.ask(&ask).await).starts_with("http://edge.test/upload/"));
        }
        let h2 = H2Client::connect_tls(secure, authority.client(&[b"h2"])).await;
        let target = address(&h2.ask(&web(start("/upload/v1beta/files"))).await);
        let target = target.strip_prefix("https://edge.test").expect("what is secure stays so");
        let last = h2.ask(&more(target, "upload, finalize", 0, "x")).await;
        assert_eq!(
            (last.status, last.json()),
            (
                200,
                json!({"file": {"name": "files/a-1", "uri": "https://google.example/v1beta/files/a-1", "state": "ACTIVE"}})
            )
        );
    }
}

#[tokio::test]
async fn a_provider_behind_a_path_of_its_own_is_asked_there() {
    for (base, expected) in [("", ""), ("/google", "/google"), ("/google/v1beta", "/google")] {
        let one = Provider::start(keeper("https://google.example")).await;
        let conf = Conf::with_clients(KEYS)
            .provider_at("one", "gemini", &format!("{}{base}", one.url()), "")
            .model("m", "one/x");
        let edge = Edge::start(&conf).await;
        let target = begin(&edge).await;
        assert_eq!(one.last().target, format!("{expected}/upload/v1beta/files"));
        assert!(target.starts_with("/upload/v1beta/files?upload_id=U-0&"), "{target}");
        assert_eq!(more(&target, "upload", 0, "x").send(edge.addr).await.status, 200);
        assert_eq!(
            one.last().target,
            format!("{expected}/upload/v1beta/files?upload_id=U-0&upload_protocol=resumable")
        );
    }
}

#[tokio::test]
async fn of_two_accounts_the_one_that_has_the_upload_gets_its_pieces() {
    let two = Provider::start(keeper("https://google.example")).await;
    let (one, edge) = house(keeper("https://google.example"), |conf| conf.provider("two", "gemini", &two)).await;
    let unclear = web(start("/upload/v1beta/files")).send(edge.addr).await;
    assert_eq!(refusal(&unclear), (400, "INVALID_ARGUMENT".to_owned()));
    let address =
        address(&web(start("/upload/v1beta/files")).header("x-tidegate-provider", "two").send(edge.addr).await);
    let target = address.strip_prefix("http://edge").expect("our own");
    assert_eq!(more(target, "upload, finalize", 0, "x").send(edge.addr).await.status, 200);
    let file = web(Ask::get("/v1beta/files/a-1")).send(edge.addr).await;
    assert_eq!((file.status, two.requests().len(), one.requests().len()), (200, 3, 0), "{}", file.text());
    let failed = Provider::always(
        Reply::json(503, r#"{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}"#)
            .header("x-goog-upload-status", "active"),
    )
    .await;
    let edge = Edge::start(&conf(&failed)).await;
    let response = web(start("/upload/v1beta/files")).send(edge.addr).await;
    assert_eq!(refusal(&response), (503, "UNAVAILABLE".to_owned()));
}

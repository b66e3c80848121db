//! The app over a real connection on loopback.

use std::sync::Mutex;
use std::time::Duration;

use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;
use crate::observe::MetricsOptions;

/// A process as a test wants it.
struct Scripted {
    reasons: Vec<String>,
    reload: Result<String, String>,
    reloads: Mutex<u32>,
}

#[async_trait]
impl State for Scripted {
    fn ready(&self) -> Readiness {
        Readiness { reasons: self.reasons.clone() }
    }

    fn health(&self) -> Health {
        Health { status: "healthy", version: "1.2.3", uptime: Duration::from_millis(4_999) }
    }

    async fn reload(&self) -> Result<String, String> {
        *self.reloads.lock().unwrap() += 1;
        self.reload.clone()
    }

    fn config_view(&self) -> String {
        r#"{"providers":{}}"#.to_owned()
    }

    fn explain(&self, query: &str) -> Result<String, String> {
        if query == "model=m" { Ok("{}".to_owned()) } else { Err("say which model\n".to_owned()) }
    }

    fn upstreams_view(&self) -> String {
        "[]".to_owned()
    }
}

fn good() -> Scripted {
    Scripted { reasons: Vec::new(), reload: Ok("2 providers\n".to_owned()), reloads: Mutex::default() }
}

/// Everything that comes back for `request`, until the connection closes.
fn exchange(state: Scripted, request: &[u8]) -> (String, u32) {
    exchange_after(state, None, request)
}

/// The same, on a connection that has served a first request, the end of whose answer is known.
fn exchange_after(state: Scripted, first: Option<(&[u8], &[u8])>, request: &[u8]) -> (String, u32) {
    let state = Arc::new(state);
    let asked: Arc<dyn State> = Arc::clone(&state) as _;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Arc::new(Metrics::new(MetricsOptions::default()).unwrap());
        let app = Arc::new(App::new(asked, metrics));
        let serve = tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let stream: Stream = Box::new(L4Stream::from(socket));
            let (_running, shutdown) = watch::channel(false);
            app.process_new(stream, &shutdown).await;
        });
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut answer = Vec::new();
        if let Some((request, end)) = first {
            client.write_all(request).await.unwrap();
            while !answer.ends_with(end) {
                assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0, "closed after the first answer");
            }
        }
        client.write_all(request).await.unwrap();
        let read = tokio::time::timeout(Duration::from_secs(20), client.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "no end of the answer: {}", String::from_utf8_lossy(&answer));
        serve.await.unwrap();
        String::from_utf8(answer).unwrap()
    });
    let reloads = *state.reloads.lock().unwrap();
    (answer, reloads)
}

fn check(state: Scripted, line: &str, expected: &[&str]) {
    let request = format!("{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let (answer, _) = exchange(state, request.as_bytes());
    let answer = answer.to_lowercase();
    for part in expected {
        assert!(answer.contains(&part.to_lowercase()), "{line}: no `{part}` in\n{answer}");
    }
}

#[test]
fn probes() {
    check(good(), "GET /health", &["200 OK", r#"{"status":"healthy","version":"1.2.3","uptime_seconds":4}"#]);
    check(good(), "GET /health/live", &["200 OK", r#"{"status":"alive"}"#]);
    for path in ["/health/ready", "/ready"] {
        check(good(), &format!("GET {path}"), &["200 OK", r#"{"ready":true,"reasons":[]}"#]);
        let busy = Scripted { reasons: vec!["draining \"now\"".to_owned()], ..good() };
        let refused = ["503 Service Unavailable", r#"{"ready":false,"reasons":["draining \"now\""]}"#];
        check(busy, &format!("GET {path}?verbose"), &refused);
    }
}

#[test]
fn state_and_metrics() {
    let metrics = ["200 OK", "text/plain; version=0.0.4", "# TYPE gateway_build_info gauge", "cache-control: no-store"];
    check(good(), "GET /metrics", &metrics);
    check(good(), "GET /config", &["200 OK", "application/json", r#"{"providers":{}}"#]);
    check(good(), "GET /upstreams", &["200 OK", "application/json", "\r\n\r\n[]"]);
}

#[test]
fn a_reload_answers_with_its_report() {
    check(good(), "POST /reload", &["200 OK", "text/plain", "2 providers"]);
    let bad = Scripted { reload: Err("tidegate.yaml:3:1: no such key\n".to_owned()), ..good() };
    check(bad, "POST /reload", &["422 Unprocessable Entity", "text/plain", "tidegate.yaml:3:1: no such key\n"]);
}

#[test]
fn wrong_methods_and_paths_are_refused() {
    check(good(), "GET /reload", &["405 Method Not Allowed", "allow: POST\r\n"]);
    check(good(), "POST /metrics", &["405 Method Not Allowed", "allow: GET, HEAD\r\n"]);
    check(good(), "DELETE /config", &["405 Method Not Allowed", "allow: GET, HEAD\r\n"]);
    check(good(), "GET /", &["404 Not Found", "application/json", "/health/ready"]);
    check(good(), "GET /v1/models", &["404 Not Found"]);
}

#[test]
fn a_head_has_the_length_and_no_body() {
    let (answer, _) = exchange(good(), b"HEAD /upstreams HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(answer.to_lowercase().contains("content-length: 2\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn a_web_page_cannot_reload() {
    let request = b"POST /reload HTTP/1.1\r\nhost: a\r\norigin: http://evil\r\nconnection: close\r\n\r\n";
    let (answer, reloads) = exchange(good(), request);
    assert!(answer.contains("403 Forbidden"), "{answer}");
    assert_eq!(reloads, 0);
}

#[test]
fn a_body_is_ignored_and_the_connection_kept() {
    let first = b"POST /reload HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";
    let second = b"GET /ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let (answer, reloads) = exchange_after(good(), Some((first, b"2 providers\n")), second);
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert_eq!(reloads, 1);
}

#[test]
fn a_body_beyond_the_limit_is_refused_and_the_connection_closed() {
    let mut request = format!("POST /reload HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", BODY_LIMIT * 100);
    request.push_str(&"x".repeat(BODY_LIMIT + 1));
    let (answer, reloads) = exchange(good(), request.as_bytes());
    assert!(answer.contains("413 Payload Too Large"), "{answer}");
    assert_eq!(reloads, 0);
}

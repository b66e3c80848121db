//! The scripted provider over HTTP/1.1: records each request exactly, answers as its script says, and knows when the
//! other side left.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::http1::{self, Ended, Framing, Head, Wire};
use super::script::{End, Framed, Piece, Reply};
use super::{PATIENCE, provider_h2, within};

/// What came in, and when.
#[derive(Clone, Debug)]
pub struct Request {
    /// Counts from 0 over all connections.
    pub number: usize,
    /// Counts from 0; two requests with one number came over one connection.
    pub connection: usize,
    /// `POST`.
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// `HTTP/1.1` or `HTTP/2`.
    pub version: String,
    /// The head's bytes (HTTP/1.1 only).
    pub raw_head: Vec<u8>,
    /// In order, names as sent.
    pub headers: Vec<(String, String)>,
    /// The body, unframed.
    pub body: Vec<u8>,
    /// Whether the body came whole.
    pub ended: Ended,
    /// When its last byte was read.
    pub at: Instant,
}

impl Request {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        http1::find(&self.headers, name)
    }

    /// The body as JSON; a body that is none fails the test.
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("upstream got no JSON ({error}): {}", super::show(&self.body)),
        }
    }
}

type Script = dyn Fn(&Request) -> Reply + Send + Sync;

/// What all connections of one provider share.
pub struct Shared {
    script: Box<Script>,
    requests: watch::Sender<Vec<Request>>,
    gone: watch::Sender<Vec<(usize, Instant)>>,
    connections: Mutex<usize>,
}

impl Shared {
    /// Numbers and keeps a request, and asks the script.
    pub fn take(&self, mut request: Request) -> (usize, Reply) {
        let number = self.requests.borrow().len();
        request.number = number;
        let reply = (self.script)(&request);
        self.requests.send_modify(|all| all.push(request));
        (number, reply)
    }

    /// The other side left before this request's answer was finished.
    pub fn left(&self, number: usize) {
        self.gone.send_modify(|all| all.push((number, Instant::now())));
    }

    fn connected(&self) -> usize {
        let mut count = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        *count - 1
    }
}

/// What a provider's listener speaks.
#[derive(Clone)]
pub enum Speaks {
    /// HTTP/1.1 in clear.
    Http1,
    /// HTTP/2 in clear, by prior knowledge.
    H2c,
    /// TLS; by ALPN HTTP/2 or HTTP/1.1.
    Tls(Arc<tokio_rustls::rustls::ServerConfig>),
}

/// A listening provider. Its tasks end with the test's runtime.
pub struct Provider {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What all its connections share.
    pub shared: Arc<Shared>,
    tls: bool,
}

impl Provider {
    /// Answers by a function of the request.
    pub async fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::speaking(Speaks::Http1, script).await
    }

    /// Answers the first request with the first reply and so on; the last one goes on for ever.
    pub async fn sequence(replies: Vec<Reply>) -> Self {
        Self::start(move |request| match replies.get(request.number).or(replies.last()) {
            Some(reply) => reply.clone(),
            None => Reply::json(500, "{}"),
        })
        .await
    }

    /// Always the same answer.
    pub async fn always(reply: Reply) -> Self {
        Self::start(move |_| reply.clone()).await
    }

    /// One that answers each connection's first head at once, and then reads what still comes.
    pub async fn early(reply: Reply) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let answer = [head(&reply.clone().header("connection", "close")), reply.body()].concat();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut wire = Wire::new(stream);
                    if wire.head().await.is_ok_and(|head| head.is_some()) {
                        let _ = wire.stream.write_all(&answer).await;
                        while let Ok(1..) = wire.fill().await {
                            wire.buffer.clear();
                        }
                    }
                });
            }
        });
        addr
    }

    /// One that reads each connection's first head, answers or not, and reads nothing more although it stays.
    pub async fn deaf(reply: Option<Reply>) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let answer = reply.map(|reply| [head(&reply.clone().header("connection", "close")), reply.body()].concat());
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                let mut wire = Wire::new(stream);
                if wire.head().await.is_ok_and(|head| head.is_some()) {
                    let _ = wire.stream.write_all(answer.as_deref().unwrap_or_default()).await;
                }
                kept.push(wire);
            }
        });
        addr
    }

    /// Another protocol.
    pub async fn speaking(speaks: Speaks, script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            requests: watch::Sender::new(Vec::new()),
            gone: watch::Sender::new(Vec::new()),
            connections: Mutex::new(0),
        });
        let tls = matches!(speaks, Speaks::Tls(_));
        tokio::spawn(accept(listener, speaks, Arc::clone(&shared)));
        Self { addr, shared, tls }
    }

    /// The base URL for the edge's config.
    pub fn url(&self) -> String {
        match self.tls {
            true => format!("https://localhost:{}", self.addr.port()),
            false => format!("http://{}", self.addr),
        }
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.borrow().clone()
    }

    /// The request with this number, waited for.
    pub async fn request(&self, number: usize) -> Request {
        let mut seen = self.shared.requests.subscribe();
        let what = format!("upstream request {number}");
        let found = within(PATIENCE, &what, seen.wait_for(|all| all.len() > number));
        let all = found.await.expect("the provider outlives its test");
        all.get(number).expect("just waited for it").clone()
    }

    /// The last request so far.
    pub fn last(&self) -> Request {
        self.requests().pop().expect("the provider was asked")
    }

    /// When the other side left in the middle of the answer to a request, waited for.
    pub async fn left(&self, number: usize) -> Instant {
        let mut seen = self.shared.gone.subscribe();
        let what = format!("the edge to leave upstream request {number}");
        let found = within(PATIENCE, &what, seen.wait_for(|all| all.iter().any(|(n, _)| *n == number)));
        let all = found.await.expect("the provider outlives its test");
        all.iter().find(|(n, _)| *n == number).expect("just waited for it").1
    }

    /// How many connections came in.
    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An address that refuses connections, and that no other test will listen at.
pub fn refused() -> SocketAddr {
    super::edge::free_ports().0
}

async fn accept(listener: TcpListener, speaks: Speaks, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        tokio::spawn(connection(stream, speaks.clone(), Arc::clone(&shared)));
    }
}

async fn connection(stream: TcpStream, speaks: Speaks, shared: Arc<Shared>) {
    let number = shared.connected();
    match speaks {
        Speaks::Http1 => serve(Conn::Plain(stream), number, &shared).await,
        Speaks::H2c => provider_h2::serve(stream, number, shared).await,
        Speaks::Tls(config) => {
            let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
            match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => provider_h2::serve(Conn::Tls(Box::new(stream)), number, shared).await,
                _ => serve(Conn::Tls(Box::new(stream)), number, &shared).await,
            }
        }
    }
}

async fn serve(conn: Conn, connection: usize, shared: &Shared) {
    let mut wire = Wire::new(conn);
    while let Ok(Some(head)) = wire.head().await {
        let expects = head.header("expect").is_some();
        if expects && wire.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_err() {
            return;
        }
        let (body, ended) = wire.body(request_framing(&head)).await;
        let (number, reply) = shared.take(request(connection, head, body, ended));
        match play(wire, reply).await {
            Played::Again(next) => wire = next,
            Played::Closed => return,
            Played::PeerLeft => return shared.left(number),
        }
    }
}

fn request_framing(head: &Head) -> Framing {
    if head.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Framing::Chunked;
    }
    let length = head.header("content-length").and_then(|value| value.parse().ok());
    length.map_or(Framing::Empty, Framing::Length)
}

fn request(connection: usize, head: Head, body: Vec<u8>, ended: Ended) -> Request {
    let mut words = head.start.split(' ').map(str::to_owned);
    let mut word = || words.next().unwrap_or_default();
    Request {
        number: 0,
        connection,
        method: word(),
        target: word(),
        version: word(),
        raw_head: head.raw,
        headers: head.headers,
        body,
        ended,
        at: Instant::now(),
    }
}

enum Played {
    Again(Wire<Conn>),
    Closed,
    PeerLeft,
}

/// Plays the script while it listens for the peer's leaving.
async fn play(wire: Wire<Conn>, reply: Reply) -> Played {
    let Wire { stream, mut buffer } = wire;
    let (mut reading, mut writing) = tokio::io::split(stream);
    let done = tokio::select! {
        written = write_reply(&mut writing, &reply) => written.is_ok(),
        () = until_gone(&mut reading, &mut buffer) => false,
    };
    let mut stream = reading.unsplit(writing);
    if !done {
        return Played::PeerLeft;
    }
    match (reply.end, reply.framing) {
        (End::Clean, Framed::Length | Framed::Lie(_) | Framed::Chunked) => Played::Again(Wire { stream, buffer }),
        (End::Reset, _) => {
            stream.reset_on_drop();
            Played::Closed
        }
        _ => {
            let _ = stream.shutdown().await;
            // Reading to the end keeps unread bytes from turning the orderly close into a reset.
            let mut sink = Vec::new();
            let _ = stream.read_to_end(&mut sink).await;
            Played::Closed
        }
    }
}

async fn until_gone(reading: &mut ReadHalf<Conn>, buffer: &mut Vec<u8>) {
    let mut part = [0; 4096];
    while let Ok(count @ 1..) = reading.read(&mut part).await {
        buffer.extend_from_slice(part.get(..count).unwrap_or_default());
    }
}

async fn write_bytewise(out: &mut WriteHalf<Conn>, framing: Framed, data: &[u8]) -> io::Result<()> {
    for byte in data {
        write_piece(out, framing, &[*byte]).await?;
        // Gives the reader a chance to see this byte alone.
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn write_reply(out: &mut WriteHalf<Conn>, reply: &Reply) -> io::Result<()> {
    if let Some(gate) = &reply.hold {
        gate.wait().await;
    }
    for status in &reply.interim {
        out.write_all(format!("HTTP/1.1 {status} Interim\r\n\r\n").as_bytes()).await?;
    }
    if reply.framing != Framed::Raw {
        out.write_all(&head(reply)).await?;
    }
    for piece in &reply.pieces {
        match piece {
            Piece::Data(data) => write_piece(out, reply.framing, data).await?,
            Piece::Wait(gate) => gate.wait().await,
            Piece::Pause(pause) => tokio::time::sleep(*pause).await,
            Piece::Bytewise(data) => write_bytewise(out, reply.framing, data).await?,
        }
    }
    write_end(out, reply).await
}

async fn write_end(out: &mut WriteHalf<Conn>, reply: &Reply) -> io::Result<()> {
    match (reply.end, reply.framing) {
        (End::Hang, _) => std::future::pending().await,
        (End::TruncatedChunk, _) => out.write_all(b"ffff\r\ndata: {\"id\"").await,
        (End::Clean, Framed::Chunked) => {
            let trailers: String = reply.trailers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
            out.write_all(format!("0\r\n{trailers}\r\n").as_bytes()).await
        }
        _ => Ok(()),
    }?;
    out.flush().await
}

async fn write_piece(out: &mut WriteHalf<Conn>, framing: Framed, data: &[u8]) -> io::Result<()> {
    match framing {
        Framed::Chunked if data.is_empty() => Ok(()),
        Framed::Chunked => {
            let framed = [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat();
            out.write_all(&framed).await
        }
        _ => out.write_all(data).await,
    }?;
    out.flush().await
}

fn head(reply: &Reply) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {} Scripted\r\n", reply.status);
    for (name, value) in &reply.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    match reply.framing {
        Framed::Length if matches!(reply.status, 204 | 304) => {}
        Framed::Length => text.push_str(&format!("content-length: {}\r\n", reply.body().len())),
        Framed::Lie(length) => text.push_str(&format!("content-length: {length}\r\n")),
        Framed::Chunked => text.push_str("transfer-encoding: chunked\r\n"),
        Framed::Close | Framed::Raw => text.push_str("connection: close\r\n"),
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// A connection with or without TLS, which can also be reset.
enum Conn {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Conn {
    fn reset_on_drop(&self) {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        let _ = stream.set_zero_linger();
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.get_ref().0.as_fd(),
        }
    }
}

impl AsyncRead for Conn {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Conn {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

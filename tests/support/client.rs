//! A client that sends bytes as a test says, over HTTP/1.1.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http1::{self, Ended, Framing, Piece, Wire};
use super::sse::{self, Event};
use super::{PATIENCE, within};

/// An answer with the way that it ended.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// In order, names as sent.
    pub headers: Vec<(String, String)>,
    /// The body, unframed.
    pub body: Vec<u8>,
    /// Whether it came whole.
    pub ended: Ended,
}

impl Response {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        http1::find(&self.headers, name)
    }

    /// The body as JSON; anything else fails the test.
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("status {}: the body is no JSON ({error}): {}", self.status, super::show(&self.body)),
        }
    }

    /// The body as events.
    pub fn events(&self) -> Vec<Event> {
        sse::events(&self.body)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// How a request's body is framed and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// `content-length`, one write.
    Length,
    /// Chunks of at most so many bytes.
    Chunked(usize),
    /// `content-length`, byte by byte.
    Bytewise,
}

/// One request, to be written by hand.
#[derive(Clone, Debug)]
pub struct Ask {
    /// `POST`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Without host and framing.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Its framing.
    pub sent: Sent,
    /// Whether to wait for `100 Continue` before the body.
    pub expect: bool,
}

impl Ask {
    /// A JSON body for a path.
    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let (method, path) = ("POST".to_owned(), path.to_owned());
        Self { method, path, headers, body: body.into(), sent: Sent::Length, expect: false }
    }

    /// No body.
    pub fn get(path: &str) -> Self {
        Self { method: "GET".to_owned(), headers: Vec::new(), ..Self::post(path, Vec::new()) }
    }

    /// One more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another framing.
    pub fn sent(self, sent: Sent) -> Self {
        Self { sent, ..self }
    }

    /// Waits for `100 Continue`.
    pub fn expecting(self) -> Self {
        Self { expect: true, ..self }
    }

    /// Over a fresh connection, to the answer's end.
    pub async fn send(self, addr: SocketAddr) -> Response {
        let mut client = Client::connect(addr).await;
        client.ask(&self).await
    }

    /// Over a fresh connection; only sent, nothing read yet.
    pub async fn open(self, addr: SocketAddr) -> Client<TcpStream> {
        let mut client = Client::connect(addr).await;
        // A server may answer and close before it has read all; the answer counts.
        let _ = client.write(&self).await;
        client
    }
}

/// A connection to the edge.
pub struct Client<S> {
    wire: Wire<S>,
}

impl Client<TcpStream> {
    /// Connects in clear.
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = within(PATIENCE, "a connection", TcpStream::connect(addr)).await.expect("the edge listens");
        stream.set_nodelay(true).expect("a socket takes this option");
        Self::over(stream)
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        let _ = self.wire.stream.set_zero_linger();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Over a stream that is there already.
    pub fn over(stream: S) -> Self {
        Self { wire: Wire::new(stream) }
    }

    /// Sends a request and reads the whole answer.
    pub async fn ask(&mut self, ask: &Ask) -> Response {
        let write = self.write(ask).await;
        if let Err(error) = write {
            // A server may answer and close before it has read all; the answer counts.
            return within(PATIENCE, &format!("an answer after {error}"), self.response()).await;
        }
        within(PATIENCE, &format!("the answer to {} {}", ask.method, ask.path), self.response()).await
    }

    /// Bytes as they are.
    pub async fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.stream.write_all(bytes).await?;
        self.wire.stream.flush().await
    }

    /// Writes a request; with `expect`, the body follows the interim response.
    pub async fn write(&mut self, ask: &Ask) -> io::Result<()> {
        self.raw(&request_head(ask)).await?;
        if ask.expect {
            let head = within(PATIENCE, "100 Continue", self.wire.head()).await?;
            let head = head.ok_or_else(|| io::Error::other("closed instead of 100 Continue"))?;
            if !head.start.contains(" 100 ") {
                // A final answer instead: it is read again by `response`.
                let after = std::mem::take(&mut self.wire.buffer);
                self.wire.buffer = [head.raw, after].concat();
                return Ok(());
            }
        }
        self.write_body(ask).await
    }

    async fn write_body(&mut self, ask: &Ask) -> io::Result<()> {
        match ask.sent {
            Sent::Length => self.raw(&ask.body).await,
            Sent::Bytewise => {
                for byte in &ask.body {
                    self.raw(&[*byte]).await?;
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
            Sent::Chunked(size) => {
                for part in ask.body.chunks(size.max(1)) {
                    let framed = [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
                    self.raw(&framed).await?;
                }
                self.raw(b"0\r\n\r\n").await
            }
        }
    }

    /// Reads a whole answer.
    pub async fn response(&mut self) -> Response {
        let (mut response, framing) = self.head().await;
        if response.status == 0 {
            return response;
        }
        (response.body, response.ended) = self.wire.body(framing).await;
        response
    }

    /// All that comes until the connection ends, however it ends.
    pub async fn rest(&mut self) -> Vec<u8> {
        while let Ok(1..) = self.wire.fill().await {}
        std::mem::take(&mut self.wire.buffer)
    }

    /// The first line that comes, whatever it is of.
    pub async fn first_line(&mut self) -> String {
        match self.wire.head().await {
            Ok(Some(head)) => head.start,
            other => format!("{other:?}"),
        }
    }

    /// Reads an answer's head; interim ones are skipped. A connection that ends first gives status 0.
    pub async fn head(&mut self) -> (Response, Framing) {
        loop {
            let head = match within(PATIENCE, "a response's head", self.wire.head()).await {
                Ok(Some(head)) => head,
                Ok(None) => return (closed("closed before the head".to_owned()), Framing::Empty),
                Err(error) => return (closed(error.to_string()), Framing::Empty),
            };
            let status = head.start.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
            if !(100..200).contains(&status) {
                let framing = response_framing(status, &head.headers);
                let (body, ended) = (Vec::new(), Ended::Complete);
                return (Response { status, headers: head.headers, body, ended }, framing);
            }
        }
    }

    /// The next piece of the body.
    pub async fn piece(&mut self, framing: &mut Framing) -> Piece {
        within(PATIENCE, "a piece of the body", self.wire.piece(framing)).await
    }

    /// Reads on until so many events are there in all; `body` grows. `false` when the body ended first.
    pub async fn until_events(&mut self, framing: &mut Framing, body: &mut Vec<u8>, events: usize) -> bool {
        while sse::count(body) < events {
            match self.piece(framing).await {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::End(_) => return false,
            }
        }
        true
    }
}

fn closed(why: String) -> Response {
    Response { status: 0, headers: Vec::new(), body: Vec::new(), ended: Ended::Cut(why) }
}

fn request_head(ask: &Ask) -> Vec<u8> {
    let mut text = format!("{} {} HTTP/1.1\r\nhost: edge\r\n", ask.method, ask.path);
    for (name, value) in &ask.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    match ask.sent {
        Sent::Chunked(_) => text.push_str("transfer-encoding: chunked\r\n"),
        _ if ask.method == "GET" => {}
        _ => text.push_str(&format!("content-length: {}\r\n", ask.body.len())),
    }
    if ask.expect {
        text.push_str("expect: 100-continue\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

fn response_framing(status: u16, headers: &[(String, String)]) -> Framing {
    if matches!(status, 204 | 304) {
        return Framing::Empty;
    }
    if http1::find(headers, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Framing::Chunked;
    }
    let length = http1::find(headers, "content-length").and_then(|value| value.parse().ok());
    length.map_or(Framing::UntilClose, Framing::Length)
}

//! A client over HTTP/2, in clear or over TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::client::{Ask, Response, Sent};
use super::http1::Ended;
use super::provider_h2::pairs;
use super::{PATIENCE, within};

/// A connection to the edge that can carry many requests.
#[derive(Clone)]
pub struct H2Client {
    send: SendRequest<Bytes>,
}

impl H2Client {
    /// In clear, by prior knowledge.
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.expect("the edge listens");
        Self::over(stream).await
    }

    /// Over TLS; fails the test unless `h2` is agreed on.
    pub async fn connect_tls(addr: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let stream = TcpStream::connect(addr).await.expect("the edge listens");
        let name = ServerName::try_from("localhost").expect("a valid name");
        let stream = TlsConnector::from(config).connect(name, stream).await.expect("the handshake succeeds");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "ALPN");
        Self::over(stream).await
    }

    async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> Self {
        let (send, connection) = h2::client::handshake(stream).await.expect("the edge speaks HTTP/2");
        tokio::spawn(connection);
        Self { send }
    }

    /// Sends a request and reads the whole answer. With [`Sent::Chunked`] no length is announced.
    pub async fn ask(&self, ask: &Ask) -> Response {
        let what = format!("the answer to {} {} over HTTP/2", ask.method, ask.path);
        match within(PATIENCE, &what, self.exchange(ask)).await {
            Ok(response) => response,
            Err(error) => {
                let ended = Ended::Cut(error.to_string());
                Response { status: 0, headers: Vec::new(), body: Vec::new(), ended }
            }
        }
    }

    /// Sends a request whose body stops without an end, and reads the whole answer.
    pub async fn fall_silent(&self, ask: &Ask) -> Response {
        let mut send = self.send.clone().ready().await.expect("the connection takes streams");
        let (response, mut out) = send.send_request(request(ask), false).expect("it takes the request");
        out.send_data(Bytes::from(ask.body.clone()), false).expect("it takes a piece");
        let head = within(PATIENCE, "the answer to a body that stops", response).await.expect("an answer");
        read(head).await.expect("it is whole")
    }

    /// Sends a request and reads the head of its answer; the rest comes only as far as nobody has to read.
    pub async fn head(&self, ask: &Ask) -> http::Response<h2::RecvStream> {
        let mut send = self.send.clone().ready().await.expect("the connection takes streams");
        let (response, mut out) = send.send_request(request(ask), false).expect("it takes the request");
        out.send_data(Bytes::from(ask.body.clone()), true).expect("it takes the body");
        within(PATIENCE, "the head of an answer", response).await.expect("an answer")
    }

    /// Sends the beginning of a request and takes it back.
    pub async fn leave(&self, ask: &Ask) {
        let mut send = self.send.clone().ready().await.expect("the connection takes streams");
        let (_, mut out) = send.send_request(request(ask), false).expect("it takes the request");
        out.send_data(Bytes::from(ask.body.clone()), false).expect("it takes a piece");
        tokio::time::sleep(Duration::from_millis(50)).await;
        out.send_reset(h2::Reason::CANCEL);
    }

    /// Sends a request whose body ends with trailers, and reads the whole answer.
    pub async fn ask_trailed(&self, ask: &Ask) -> Response {
        let mut send = self.send.clone().ready().await.expect("the connection takes streams");
        let (response, mut out) = send.send_request(request(ask), false).expect("it takes the request");
        out.send_data(Bytes::from(ask.body.clone()), false).expect("it takes the body");
        let trailers = http::HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))]);
        out.send_trailers(trailers).expect("it takes the trailers");
        let head = within(PATIENCE, "the answer to a body with trailers", response).await.expect("an answer");
        read(head).await.expect("it is whole")
    }

    /// Sends a request whose body comes in parts of `size` bytes with a pause before each, and reads the whole answer.
    pub async fn ask_slowly(&self, ask: &Ask, size: usize, pause: Duration) -> Response {
        let mut send = self.send.clone().ready().await.expect("the connection takes streams");
        let (response, mut out) = send.send_request(request(ask), false).expect("it takes the request");
        for part in ask.body.chunks(size) {
            tokio::time::sleep(pause).await;
            out.send_data(Bytes::copy_from_slice(part), false).expect("it takes a part");
        }
        out.send_data(Bytes::new(), true).expect("it takes the end");
        let head = within(PATIENCE, "the answer to a slow body", response).await.expect("an answer");
        read(head).await.expect("it is whole")
    }

    async fn exchange(&self, ask: &Ask) -> io::Result<Response> {
        let mut send = self.send.clone().ready().await.map_err(io::Error::other)?;
        let bodiless = ask.body.is_empty();
        let (response, mut out) = send.send_request(request(ask), bodiless).map_err(io::Error::other)?;
        let sending = async {
            if !bodiless {
                send_body(&mut out, ask).await?;
            }
            Ok::<(), io::Error>(())
        };
        // An answer may come before the body is through; then the rest does not matter.
        let head = async { response.await.map_err(io::Error::other) };
        tokio::pin!(head);
        let head = tokio::select! {
            head = &mut head => head?,
            sent = sending => {
                let _ = sent;
                head.await?
            }
        };
        read(head).await
    }
}

async fn read(response: http::Response<h2::RecvStream>) -> io::Result<Response> {
    let (head, mut incoming) = response.into_parts();
    let (mut body, mut ended) = (Vec::new(), Ended::Complete);
    while let Some(data) = incoming.data().await {
        match data {
            Ok(data) => {
                body.extend_from_slice(&data);
                incoming.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
            }
            Err(error) => {
                ended = Ended::Cut(error.to_string());
                break;
            }
        }
    }
    Ok(Response { status: head.status.as_u16(), headers: pairs(&head.headers), body, ended })
}

async fn send_body(out: &mut h2::SendStream<Bytes>, ask: &Ask) -> io::Result<()> {
    let most = match ask.sent {
        Sent::Length => usize::MAX,
        Sent::Chunked(size) => size.max(1),
        Sent::Bytewise => 1,
    };
    let mut rest = Bytes::from(ask.body.clone());
    while !rest.is_empty() {
        out.reserve_capacity(rest.len().min(most));
        let granted = std::future::poll_fn(|cx| out.poll_capacity(cx)).await;
        let size = match granted {
            Some(Ok(size)) => size.min(rest.len()).min(most),
            Some(Err(error)) => return Err(io::Error::other(error)),
            None => return Err(io::Error::other("the stream ended")),
        };
        let part = rest.split_to(size);
        out.send_data(part, rest.is_empty()).map_err(io::Error::other)?;
    }
    Ok(())
}

fn request(ask: &Ask) -> http::Request<()> {
    let mut builder = http::Request::builder()
        .method(ask.method.as_str())
        .uri(format!("http://edge.test{}", ask.path))
        .version(http::Version::HTTP_2);
    for (name, value) in &ask.headers {
        builder = builder.header(name, value);
    }
    if !matches!(ask.sent, Sent::Chunked(_)) && !ask.body.is_empty() {
        builder = builder.header("content-length", ask.body.len());
    }
    if ask.expect {
        builder = builder.header("expect", "100-continue");
    }
    builder.body(()).expect("a test's request is valid")
}

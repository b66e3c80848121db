//! The reading side of a client's HTTP/1 connection: what Pingora is handed ends where a message ends, and is of one way
//! to read.
//!
//! [`Guard`] stands between the socket and Pingora's session. A request's head is collected and checked before Pingora
//! sees a byte of it, and handed over as it lies; its body is followed byte by byte; what comes behind it stays here until
//! its turn.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout};

use super::body::Body;
use super::head::{self, Bounds, Fault, Framing, Scan};
use super::leave::{Leave, Whom};
use crate::clock;

/// Room for what a client sends, at first.
const ROOM: usize = 2048;

/// Bytes that are taken from a client before their turn: enough to see it go.
const AHEAD: usize = 64 * 1024;

/// How long the last answer of a connection may take to be written.
const LAST_WORD: Duration = Duration::from_secs(1);

/// How long, and how much, is read on behind an answer that closes the connection, and for how long it may be silent:
/// closing it over unread bytes would reset it, and the client might never see the answer. Many write all of a body before
/// they read.
const LINGER: Duration = Duration::from_secs(30);
const LINGER_SILENCE: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 << 20;
/// Connections that may linger so at a time; others do for less.
const LINGERERS: usize = 1024;
const LINGER_BRIEFLY: Duration = Duration::from_secs(1);
static LINGERING: AtomicUsize = AtomicUsize::new(0);

/// How long a client is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For the first byte of a request.
    pub idle: Duration,
    /// For its whole head.
    pub head: Duration,
}

/// What came.
#[derive(Debug)]
pub(super) enum Next {
    /// A request: its head, and what is here of its body. Pingora may read on.
    Request(BytesMut),
    /// What is none, or may not be one here.
    Faulty(Fault),
    /// The end.
    Closed,
}

/// A client's connection, see the module.
pub(super) struct Guard {
    /// `None` once it was given away to be closed in the background.
    io: Option<Stream>,
    /// Read from the client and not yet handed on.
    ahead: BytesMut,
    /// The body of the request under way.
    body: Body,
    /// What was wrong with it.
    fault: Option<Fault>,
    /// When the head that is coming began, where that was seen before it was known to be one.
    begun: Option<Instant>,
    /// The client sends no more.
    ended: bool,
    /// Where it takes nothing.
    leave: Leave,
    /// Where it sends nothing.
    silent: Leave,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("ahead", &self.ahead.len()).field("body", &self.body).finish_non_exhaustive()
    }
}

impl Guard {
    pub(super) fn new(io: Stream) -> Self {
        let body = Body::new(Framing::Length(0));
        Self {
            io: Some(io),
            ahead: BytesMut::new(),
            body,
            fault: None,
            begun: None,
            ended: false,
            leave: Leave::default(),
            silent: Leave::default(),
        }
    }

    /// Waits until what came is `text` or begins otherwise; true if it is `text`.
    pub(super) async fn begins_with(&mut self, text: &[u8], patience: Patience) -> bool {
        let differs = |ahead: &[u8]| ahead.iter().zip(text).any(|(came, wanted)| came != wanted);
        if !self.stirs(patience.idle).await {
            return false;
        }
        self.begun = Some(clock::timer());
        let rest = async {
            while self.ahead.len() < text.len() && !differs(&self.ahead) {
                if !matches!(self.fill().await, Ok(1..)) {
                    return false;
                }
            }
            !differs(&self.ahead)
        };
        clock::within(patience.head, pin!(rest)).await.unwrap_or(false)
    }

    /// True if nothing came that was not handed on.
    pub(super) fn is_silent(&self) -> bool {
        self.ahead.is_empty()
    }

    /// The connection, and what was read from it.
    pub(super) fn into_parts(mut self) -> Option<(Stream, BytesMut)> {
        let ahead = std::mem::take(&mut self.ahead);
        self.io.take().map(|io| (io, ahead))
    }

    /// True if the request under way was read to its end, so that another one may follow.
    pub(super) fn is_over(&self) -> bool {
        self.body.is_over() && self.fault.is_none() && !self.ended
    }

    /// The head of the next request, whole and checked.
    pub(super) async fn next(&mut self, bounds: Bounds, patience: Patience) -> Next {
        if !self.stirs(patience.idle).await {
            return Next::Closed;
        }
        let mut scan = Scan::default();
        let begun = self.begun.take().map_or(Duration::ZERO, |begun| clock::timer().duration_since(begun));
        let next = clock::within(patience.head.saturating_sub(begun), pin!(self.head(&mut scan, bounds))).await;
        match next {
            Some(next) => next,
            None if self.ahead.is_empty() => Next::Closed,
            None => {
                let message = "The request's head did not come in time.";
                Next::Faulty(Fault { status: 408, label: "head_timeout", message })
            }
        }
    }

    async fn head(&mut self, scan: &mut Scan, bounds: Bounds) -> Next {
        let mut begun = false;
        loop {
            // Old clients write an empty line behind a body.
            while !begun && self.ahead.starts_with(b"\r\n") {
                self.ahead.advance(2);
            }
            begun = begun || !matches!(self.ahead.first(), None | Some(b'\r'));
            if begun || self.ahead.len() > 1 {
                match scan.look(&self.ahead, bounds) {
                    Ok(Some(length)) => return self.admit(length),
                    Ok(None) => {}
                    Err(fault) => return Next::Faulty(fault),
                }
            }
            if !matches!(self.fill().await, Ok(1..)) {
                return Next::Closed;
            }
        }
    }

    /// Lets the head of `length` bytes pass, with what is here of its body.
    fn admit(&mut self, length: usize) -> Next {
        let (head, behind) = self.ahead.split_at_checked(length).unwrap_or((&self.ahead, &[]));
        let read = head::read(head).and_then(|framing| {
            let mut body = Body::new(framing);
            let used = body.advance(behind)?;
            Ok((body, used))
        });
        match read {
            Ok((body, used)) => {
                self.body = body;
                head::level(&mut self.ahead);
                Next::Request(self.take(length + used))
            }
            Err(fault) => Next::Faulty(fault),
        }
    }

    /// What has come of the head that is faulty.
    pub(super) fn seen(&self) -> &[u8] {
        &self.ahead
    }

    /// Writes the last answer of the connection.
    pub(super) async fn close_with(mut self, answer: &[u8]) {
        self.ahead.clear();
        let Some(mut io) = self.io.take() else { return };
        let written = async {
            io.write_all(answer).await?;
            io.flush().await
        };
        if matches!(timeout(LAST_WORD, written).await, Ok(Ok(()))) {
            // What was no request has been waited for long enough.
            let _ = timeout(LAST_WORD, linger(io)).await;
        }
    }

    /// True once something of a request is here; false if nothing comes for so long as `idle`, or clients that are idle
    /// are left.
    async fn stirs(&mut self, idle: Duration) -> bool {
        if !self.ahead.is_empty() {
            return true;
        }
        let first = poll_fn(|cx| {
            let read = self.poll_fill(cx);
            self.silent.unless(cx, Whom::Idle, read)
        });
        matches!(clock::within(idle, pin!(first)).await, Some(Ok(1..)))
    }

    async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(0)) };
        if self.ahead.capacity() == self.ahead.len() {
            self.ahead.reserve(ROOM);
        }
        let read = ready!(pin!(io.read_buf(&mut self.ahead)).poll(cx))?;
        self.ended |= read == 0;
        Poll::Ready(Ok(read))
    }

    /// The first `count` bytes of what is here. Where that is all, as with most requests, its room goes with it.
    fn take(&mut self, count: usize) -> BytesMut {
        if count < self.ahead.len() { self.ahead.split_to(count) } else { std::mem::take(&mut self.ahead) }
    }

    /// Reads on in the body, and keeps what is behind it.
    fn poll_body(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(())) };
        let before = buffer.filled().len();
        let most = self.body.left().and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX);
        if most < buffer.remaining() {
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
            ready!(Pin::new(io).poll_read(cx, &mut part))?;
            let read = part.filled().len();
            buffer.advance(read);
        } else {
            ready!(Pin::new(io).poll_read(cx, buffer))?;
        }
        let came = buffer.filled().get(before..).unwrap_or_default();
        if came.is_empty() {
            self.ended = true;
            return Poll::Ready(Ok(()));
        }
        match self.body.advance(came) {
            Ok(used) => {
                self.ahead.extend_from_slice(came.get(used..).unwrap_or_default());
                buffer.set_filled(before + used);
                Poll::Ready(Ok(()))
            }
            Err(fault) => {
                self.fault = Some(fault);
                buffer.set_filled(before);
                Poll::Ready(Err(broken(&fault)))
            }
        }
    }

    /// The request is read: nothing more is due, but a client that goes away is noticed.
    fn poll_quiet(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(())) };
        while self.ahead.len() < AHEAD {
            let mut bytes = [0; 1024];
            let mut part = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut *io).poll_read(cx, &mut part))?;
            if part.filled().is_empty() {
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
            self.ahead.extend_from_slice(part.filled());
        }
        Poll::Pending
    }
}

fn broken(fault: &Fault) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault.message)
}

/// Closes a connection that its client may still be writing to.
async fn linger(mut io: Stream) {
    let (_place, longest) = Lingerer::new();
    let closing = async {
        AsyncWriteExt::shutdown(&mut io).await?;
        let (mut bytes, mut left) = (vec![0; 16 * 1024], LINGER_BYTES);
        while left > 0 {
            let read = timeout(LINGER_SILENCE, io.read(&mut bytes)).await??;
            if read == 0 {
                break;
            }
            left = left.saturating_sub(read);
        }
        io::Result::Ok(())
    };
    // Whatever comes of it, the connection is over.
    let _ = timeout(longest, closing).await;
}

/// A connection that lingers.
struct Lingerer;

impl Lingerer {
    /// One more, and how long it may linger.
    fn new() -> (Self, Duration) {
        let others = LINGERING.fetch_add(1, Ordering::Relaxed);
        (Self, if others < LINGERERS { LINGER } else { LINGER_BRIEFLY })
    }
}

impl Drop for Lingerer {
    fn drop(&mut self) {
        LINGERING.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let unread = !self.ended && (!self.body.is_over() || !self.ahead.is_empty());
        if let (true, Some(io), Ok(runtime)) = (unread, self.io.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(linger(io));
        }
    }
}

impl AsyncRead for Guard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if let Some(fault) = &self.fault {
            return Poll::Ready(Err(broken(fault)));
        }
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        let read = if self.body.is_over() { self.poll_quiet(cx) } else { self.poll_body(cx, buffer) };
        self.silent.unless(cx, Whom::All, read)
    }
}

impl Guard {
    /// Writes by `write`, for as long as clients that take nothing are waited for.
    fn wait_for_client<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Some(io) = self.io.as_mut() else { return gone() };
        let written = write(Pin::new(io), cx);
        self.leave.unless(cx, Whom::All, written)
    }
}

/// The connection is given away only when the guard is dropped.
fn gone<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

impl AsyncWrite for Guard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wait_for_client(cx, |io, cx| io.poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wait_for_client(cx, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().map_or_else(gone, |io| Pin::new(io).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wait_for_client(cx, |io, cx| io.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }
}

#[async_trait]
impl Shutdown for Guard {
    async fn shutdown(&mut self) {
        if let Some(io) = &mut self.io {
            Shutdown::shutdown(io.as_mut()).await;
        }
    }
}

impl UniqueID for Guard {
    fn id(&self) -> UniqueIDType {
        self.io.as_ref().map_or(0, |io| io.id())
    }
}

impl Ssl for Guard {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.io.as_ref().and_then(|io| io.get_ssl_digest())
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.io.as_ref().and_then(|io| io.selected_alpn_proto())
    }
}

impl GetTimingDigest for Guard {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Guard {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Guard {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.io.as_ref().and_then(|io| io.get_socket_digest())
    }
}

#[async_trait]
impl Peek for Guard {}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::super::leave::Exit;
    use super::*;
    use crate::server::socket::Socket;

    const BOUNDS: Bounds = Bounds { size: 4096, count: 16 };
    const PATIENCE: Patience = Patience { idle: Duration::from_secs(60), head: Duration::from_secs(60) };
    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";

    /// A client's connection of a process that ends by `exit`.
    async fn connected(exit: &'static Exit) -> (TcpStream, Guard) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (stream, peer) = accepted.unwrap();
        let mut guard = Guard::new(Box::new(Socket::new(stream, peer)));
        guard.silent = Leave::by(exit);
        (client.unwrap(), guard)
    }

    #[tokio::test]
    async fn a_client_is_left_only_where_nothing_of_a_request_has_come() {
        for (sent, later) in [(&b""[..], None), (&HEAD[..9], Some(&HEAD[9..])), (HEAD, None)] {
            let exit: &'static Exit = Box::leak(Box::new(Exit::new()));
            let (mut client, mut guard) = connected(exit).await;
            client.write_all(sent).await.unwrap();
            if later.is_some() {
                // The rest comes when the process is known to end.
                assert!(guard.stirs(PATIENCE.idle).await);
            }
            let (next, ()) = tokio::join!(guard.next(BOUNDS, PATIENCE), async {
                exit.leave(Whom::Idle);
                client.write_all(later.unwrap_or_default()).await.unwrap();
            });
            match next {
                Next::Request(head) => assert_eq!(head.len(), HEAD.len()),
                other => assert!(sent.is_empty() && matches!(other, Next::Closed), "{sent:?}: {other:?}"),
            }
            drop(guard);
            // It hears of it in order, not by a reset.
            assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        }
    }
}

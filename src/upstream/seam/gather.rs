//! A request's head and body in one write.
//!
//! Pingora's session sends the head at once, and then the body: two packets, two records of TLS and two wake-ups of the
//! provider, on a small request nearly a tenth of what it costs us. Where all of the body is here, the head waits for it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use pingora_core::listeners::ALPN;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::http::v1::client::HttpSession as Http1Session;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::{SslDigest, TlsRef};
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use pingora_core::upstreams::peer::HttpPeer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So many bytes go out together at most: what one record of TLS holds.
const ROOM: usize = 16 * 1024;

/// A connection to a provider. What is written while it [waits](Self::wait) goes out with what follows.
#[derive(Debug)]
struct Gather {
    inner: Stream,
    waits: AtomicBool,
    held: Vec<u8>,
    /// So much of what is held went out.
    sent: usize,
}

/// The same session, whose connection can wait.
pub(super) fn gathering(session: Http1Session, peer: &HttpPeer) -> Http1Session {
    let inner = session.into_inner();
    let gather = Gather { inner, waits: AtomicBool::new(false), held: Vec::new(), sent: 0 };
    Http1Session::new_with_options(Box::new(gather), peer)
}

/// Whether what is written from now on waits for what follows. Streams of HTTP/2 share their connection, and their frames
/// are joined above it.
pub(super) fn wait(session: &HttpSession, waits: bool) {
    let HttpSession::H1(session) = session else { return };
    if let Some(gather) = (**session.stream()).as_any().downcast_ref::<Gather>() {
        gather.waits.store(waits, Ordering::Relaxed);
    }
}

impl Gather {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(left) = self.held.get(self.sent..).filter(|left| !left.is_empty()) {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        // An open stream that sends nothing more keeps no room for it.
        (self.held, self.sent) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Gather {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Gather {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.held.is_empty() || self.waits.load(Ordering::Relaxed) {
            let room = ROOM.saturating_sub(self.held.len());
            let joins = bytes.get(..room).unwrap_or(bytes);
            if !joins.is_empty() {
                self.held.extend_from_slice(joins);
                return Poll::Ready(Ok(joins.len()));
            }
            ready!(self.poll_send(cx))?;
        }
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waits.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Gather {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl UniqueID for Gather {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Gather {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for Gather {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl GetProxyDigest for Gather {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for Gather {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

#[async_trait]
impl Peek for Gather {
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        self.inner.try_peek(buffer).await
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    async fn written(parts: &[(&[u8], bool)]) -> Vec<Vec<u8>> {
        // A pipe this wide takes each write whole.
        let (inner, mut other) = duplex(4 * ROOM);
        let mut gather = Gather { inner: Box::new(inner), waits: AtomicBool::new(false), held: Vec::new(), sent: 0 };
        let mut seen = Vec::new();
        for (part, waits) in parts {
            gather.waits.store(*waits, Ordering::Relaxed);
            gather.write_all(part).await.expect("the pipe is open");
            gather.flush().await.expect("the pipe is open");
            let mut buffer = vec![0; 4 * ROOM];
            let mut read = std::pin::pin!(other.read(&mut buffer));
            let count = match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(count) => count.expect("the pipe is open"),
                Poll::Pending => 0,
            };
            seen.push(buffer.get(..count).unwrap_or_default().to_vec());
        }
        assert_eq!((gather.held.capacity(), gather.sent), (0, 0), "nothing is kept");
        seen
    }

    #[tokio::test]
    async fn what_waits_goes_out_with_what_follows_and_in_order() {
        let big = vec![b'x'; 3 * ROOM];
        for (parts, sizes) in [
            (vec![(&b"head"[..], true), (b"body", false), (b"more", false)], vec![0, 8, 4]),
            (vec![(b"head", true), (b"", false)], vec![0, 4]),
            (vec![(b"head", false), (b"body", false)], vec![4, 4]),
            (vec![(b"head", true), (&big, false)], vec![0, 4 + big.len()]),
            (vec![(&big[..ROOM], true), (b"body", false)], vec![0, ROOM + 4]),
        ] {
            let seen = written(&parts).await;
            assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
            assert_eq!(seen.concat(), parts.iter().map(|(part, _)| *part).collect::<Vec<_>>().concat());
        }
    }

    #[tokio::test]
    async fn a_narrow_pipe_takes_it_bit_by_bit() {
        let (inner, mut other) = duplex(7);
        let mut gather = Gather { inner: Box::new(inner), waits: AtomicBool::new(true), held: Vec::new(), sent: 0 };
        let body: Vec<u8> = (0..=255).cycle().take(ROOM + 999).collect();
        let write = async {
            gather.write_all(b"head").await?;
            gather.waits.store(false, Ordering::Relaxed);
            gather.write_all(&body).await?;
            gather.flush().await?;
            drop(gather);
            io::Result::Ok(())
        };
        let mut seen = Vec::new();
        let (written, read) = tokio::join!(write, other.read_to_end(&mut seen));
        assert!(written.is_ok() && read.is_ok());
        assert!(seen == [b"head", &body[..]].concat());
    }
}

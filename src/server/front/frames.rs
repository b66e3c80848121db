//! The reading side of a client's HTTP/2 connection: frames that cost work and carry nothing are counted.
//!
//! The HTTP/2 library bounds each kind of flood that it knows (resets, continuations, header lists); what it answers or
//! skips for ever, such as pings, settings and empty frames, is bounded here, by what the connection earns: every piece
//! of an answer pays for some frames of the client.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::leave::{Leave, Whom};

/// What every HTTP/2 connection begins with (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frames without content that a connection may send before it has been sent anything.
const CREDIT: u32 = 4000;

/// Frames that one frame of an answer pays for.
const EARNED: u32 = 8;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;

/// Where frames begin in a stream of bytes (RFC 9113 section 4.1).
#[derive(Debug, Default)]
struct Headers {
    /// Bytes to pass before the next frame: the preface, or a payload.
    skip: usize,
    header: [u8; 9],
    filled: usize,
}

/// What a frame's header says.
struct Frame {
    kind: u8,
    flags: u8,
    length: usize,
}

impl Headers {
    /// Calls `each` for every frame whose header is complete after `bytes`.
    fn pass(&mut self, mut bytes: &[u8], mut each: impl FnMut(&Frame)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let Some((first, rest)) = bytes.split_first() else { return };
            bytes = rest;
            if let Some(place) = self.header.get_mut(self.filled) {
                *place = *first;
            }
            self.filled += 1;
            if self.filled == self.header.len() {
                self.filled = 0;
                let [a, b, c, kind, flags, ..] = self.header;
                let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.skip = length;
                each(&Frame { kind, flags, length });
            }
        }
    }
}

/// Who owes whom.
#[derive(Debug)]
struct Ledger {
    received: Headers,
    sent: Headers,
    credit: u32,
}

impl Ledger {
    fn new() -> Self {
        let received = Headers { skip: PREFACE.len(), ..Headers::default() };
        Self { received, sent: Headers::default(), credit: CREDIT }
    }

    /// Notes what the client sent; false once it has sent too much for nothing.
    fn receive(&mut self, bytes: &[u8]) -> bool {
        let credit = &mut self.credit;
        let mut flooded = false;
        self.received.pass(bytes, |frame| {
            if frame.kind == DATA && (frame.length > 0 || frame.flags & END_STREAM != 0) {
                return;
            }
            flooded |= *credit == 0;
            *credit = credit.saturating_sub(1);
        });
        !flooded
    }

    /// Notes what the client is sent.
    fn send(&mut self, bytes: &[u8]) {
        let credit = &mut self.credit;
        self.sent.pass(bytes, |frame| {
            if matches!(frame.kind, DATA | HEADERS) {
                *credit = (*credit + EARNED).min(CREDIT);
            }
        });
    }
}

/// A client's connection, see the module.
pub(super) struct Frames {
    io: Stream,
    /// Read from the client and not yet handed on.
    ahead: BytesMut,
    ledger: Ledger,
    /// Told when the client floods.
    flooded: Box<dyn Fn() + Send + Sync>,
    /// A client that takes nothing grants no more either.
    leave: Leave,
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

impl Frames {
    /// A connection of which `ahead` was read already; `flooded` is called if it sends too many frames for nothing.
    pub(super) fn new(io: Stream, ahead: BytesMut, flooded: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { io, ahead, ledger: Ledger::new(), flooded, leave: Leave::default() }
    }
}

impl AsyncRead for Frames {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if this.ahead.is_empty() {
            let read = Pin::new(&mut this.io).poll_read(cx, buffer);
            ready!(this.leave.unless(cx, Whom::All, read))?;
        } else {
            let count = this.ahead.len().min(buffer.remaining());
            buffer.put_slice(this.ahead.get(..count).unwrap_or_default());
            this.ahead.advance(count);
            if this.ahead.is_empty() {
                this.ahead = BytesMut::new();
            }
        }
        if this.ledger.receive(buffer.filled().get(before..).unwrap_or_default()) {
            return Poll::Ready(Ok(()));
        }
        (this.flooded)();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "too many HTTP/2 frames without content")))
    }
}

impl AsyncWrite for Frames {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.ledger.send(bytes.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, parts))?;
        let mut left = written;
        for part in parts {
            let part = part.get(..left.min(part.len())).unwrap_or_default();
            self.ledger.send(part);
            left -= part.len();
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Frames {
    async fn shutdown(&mut self) {
        Shutdown::shutdown(self.io.as_mut()).await;
    }
}

impl UniqueID for Frames {
    fn id(&self) -> UniqueIDType {
        self.io.id()
    }
}

impl Ssl for Frames {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.io.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.io.selected_alpn_proto()
    }
}

impl GetTimingDigest for Frames {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Frames {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Frames {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.io.get_socket_digest()
    }
}

#[async_trait]
impl Peek for Frames {
    /// Pingora asks so whether the connection begins with the preface; it was read to find that out.
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        match self.ahead.get(..buffer.len()) {
            Some(begin) => {
                buffer.copy_from_slice(begin);
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        bytes.resize(9 + payload, 0xAA);
        bytes
    }

    /// How many of `count` frames are let through, however they are cut.
    fn passed(one: &[u8], count: usize, earn: &[u8]) -> usize {
        let mut ledger = Ledger::new();
        assert!(ledger.receive(PREFACE));
        for number in 0..count {
            let (front, back) = one.split_at(one.len() / 2);
            if !(ledger.receive(front) && ledger.receive(back)) {
                return number;
            }
            ledger.send(earn);
        }
        count
    }

    #[test]
    fn frames_without_content_use_up_their_credit() {
        for (kind, flags, payload) in [(DATA, 0, 0), (6, 0, 8), (4, 0, 6), (3, 0, 4), (2, 0, 5), (8, 0, 4), (200, 0, 3)]
        {
            assert_eq!(passed(&frame(kind, flags, payload), 10_000, &[]), CREDIT as usize, "kind {kind}");
        }
    }

    #[test]
    fn content_is_free_and_answers_pay() {
        assert_eq!(passed(&frame(DATA, 0, 100), 10_000, &[]), 10_000);
        assert_eq!(passed(&frame(DATA, END_STREAM, 0), 10_000, &[]), 10_000);
        assert_eq!(passed(&frame(8, 0, 4), 10_000, &frame(DATA, 0, 30)), 10_000);
        assert_eq!(passed(&frame(6, 0, 8), 10_000, &frame(6, 1, 8)), CREDIT as usize, "an echo pays for nothing");
    }
}

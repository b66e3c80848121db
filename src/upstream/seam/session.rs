//! One request and its answer on the seam.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Uri, Version, header};
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::http::custom::{BodyWrite, CustomMessageWrite, client};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::{Digest, UniqueID, UniqueIDType};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tidegate_codec::Format;
use tokio::sync::mpsc;

use super::connector::Roads;
use super::early::Early;
use super::gather;
use super::hold::Kind;
use super::reading::{Read, What, hear};
use super::unheard::Unheard;
use super::writer::{NoMessages, Part, Writer, way};
use super::{Course, Cut, HEARTBEAT, LINGER, LOOKS, STREAM_TOO_LONG, heed};
use crate::clock::{self, Instant};
use crate::upstream::Packed;

/// Most bytes of a request that are written at once.
const PIECE: usize = 256 << 10;
/// The longest wait for a connection to be ended in order.
const GOODBYE: Duration = Duration::from_millis(100);

/// A request's body that is to be written.
enum Parts {
    /// All of it; `None` once only its end is left.
    Held(Option<Bytes>),
    /// As it comes from Pingora's loop.
    Coming(mpsc::Receiver<Part>),
}

/// A session of the seam around one of Pingora's.
pub struct SeamSession {
    pub(super) inner: HttpSession,
    /// The hash of the peer that its connection leads to.
    pub(super) key: u64,
    /// How often the connections to that peer had been left when this one was taken.
    pub(super) times: u64,
    roads: Arc<Roads>,
    /// The peer, where it is another than the one that was asked for.
    pub(super) moved: Option<Box<HttpPeer>>,
    tls: bool,
    pub(super) course: Course,
    /// The request's body, until all of it was written.
    parts: Option<Parts>,
    writer: Option<Writer>,
    /// All of the request was written.
    sent: bool,
    /// When that was, or when the last piece of it was written.
    pub(super) since: Instant,
    /// The provider does not take the request.
    pub(super) stuck: bool,
    pub(super) kind: Kind,
    /// The answer came packed.
    pub(super) packed: Option<Box<Packed>>,
    /// A head of ours stands in for the provider's.
    pub(super) early: Option<Box<Early>>,
    /// The provider's head with what only its body said.
    pub(super) told: Option<Box<ResponseHeader>>,
    /// Pieces that were read while the head was held.
    pub(super) ahead: VecDeque<Bytes>,
    /// How long the provider has been silent while it was listened to.
    silence: Duration,
    /// How much of that was before the last heartbeat.
    heard: Duration,
    /// How the stream was cut, which is still to be said.
    pub(super) cut: Option<Cut>,
    /// The inner body is over.
    pub(super) over: bool,
    /// Something went wrong; the connection is not used again.
    pub(super) failed: bool,
    /// The provider speaks HTTP/2 only to say that it does not.
    pub(super) downgraded: bool,
    /// What it answered by HTTP/1.1 was none.
    pub(super) garbled: bool,
    pub(super) unheard: Unheard,
    /// Where what is left of a request goes whose answer comes from another peer.
    void: Option<mpsc::Receiver<Part>>,
}

impl SeamSession {
    pub(super) fn new(inner: HttpSession, peer: &HttpPeer, (key, times): (u64, u64), roads: &Arc<Roads>) -> Box<Self> {
        let forever = peer.options.read_timeout.unwrap_or(Duration::from_secs(300));
        let course = Course::patient(Format::DEFAULT, forever);
        Box::new(Self {
            unheard: Unheard::new(&inner, roads.ears()),
            inner,
            key,
            times,
            roads: Arc::clone(roads),
            moved: None,
            tls: peer.is_tls(),
            course,
            parts: None,
            writer: None,
            sent: false,
            since: clock::now(),
            stuck: false,
            kind: Kind::default(),
            packed: None,
            early: None,
            told: None,
            ahead: VecDeque::new(),
            silence: Duration::ZERO,
            heard: Duration::ZERO,
            cut: None,
            over: false,
            failed: false,
            downgraded: false,
            garbled: false,
            void: None,
        })
    }

    /// The head of the answer, once it is there.
    pub(super) fn head(&self) -> Option<&ResponseHeader> {
        let early = self.early.as_ref().map(|early| early.head());
        let packed = || self.packed.as_ref().map(|packed| packed.head());
        early.or(self.told.as_deref()).or_else(packed).or_else(|| self.inner.response_header())
    }

    /// The connections that it is one of.
    pub(super) fn roads(&self) -> &Arc<Roads> {
        &self.roads
    }

    /// Sends a whole request.
    ///
    /// # Errors
    ///
    /// It cannot be written, and nothing was said.
    pub(super) async fn send(&mut self, head: Box<RequestHeader>, body: Bytes) -> Result<()> {
        self.write_head(head).await?;
        self.course.body = None;
        // If it cannot be written, reading says why.
        let mut body = Some(body);
        self.parts = Some(Parts::Held(None));
        while self.parts.is_some() && self.write(Some(next_part(&mut body))).await.is_ok() {}
        self.parts = None;
        Ok(())
    }

    async fn write_head(&mut self, mut head: Box<RequestHeader>) -> Result<()> {
        if let Some(course) = head.extensions_mut().remove::<Course>() {
            self.course = course;
        }
        self.suit(&mut head)?;
        self.inner.set_read_timeout(None);
        let body_is_here = self.course.body.is_some();
        if body_is_here {
            gather::wait(&self.inner, true);
        }
        let written = self.inner.write_request_header(head).await;
        if body_is_here {
            gather::wait(&self.inner, false);
        }
        written?;
        self.since = clock::now();
        Ok(())
    }

    /// Becomes another, and gives the session that it was.
    pub(super) fn become_other(&mut self, mut was: Box<Self>) -> Box<Self> {
        std::mem::swap(self, &mut was);
        self.writer = was.writer.take();
        self.void = match was.parts.take() {
            Some(Parts::Coming(parts)) => Some(parts),
            _ => None,
        };
        was
    }

    /// Reads the answer's head, and as much more as has to be known before anybody hears of it; returns the status.
    ///
    /// # Errors
    ///
    /// There is no answer, or it is none that may be shown: see [`Course`].
    pub(super) async fn open(&mut self) -> Result<u16> {
        if let Err(error) = self.read_head().await {
            self.note(&error);
            return Err(match error.etype() {
                // What Pingora says of it quotes all of it, and errors are logged.
                ErrorType::InvalidHTTPHeader => {
                    Error::explain(ErrorType::InvalidHTTPHeader, "the head of the answer is not valid HTTP").into_up()
                }
                _ => error,
            });
        }
        if self.early.is_some() {
            return Ok(200);
        }
        // What ends with its head has no beginning to wait for.
        let status = self.head().map_or(0, |head| head.status.as_u16());
        // Nor has what goes on in another protocol.
        if self.inner.response_done() || status == 101 {
            return Ok(status);
        }
        if self.kind.stream && !self.course.hold.is_zero() {
            self.hold().await?;
        } else if (self.kind.refusal && (self.course.context_length || self.course.keys))
            || (self.kind.for_now && self.course.answers)
        {
            self.hear_refusal(status).await?;
        } else if self.course.entire && !(self.kind.events && self.course.streamed) {
            self.hold_entire(status).await?;
        }
        Ok(status)
    }

    /// Nobody wants the answer: the connection is not used again.
    pub(super) fn fail(&mut self) {
        self.failed = true;
    }

    /// True if the provider has to be asked by HTTP/1.1.
    pub(super) fn is_downgraded(&self) -> bool {
        self.downgraded
    }

    /// The inner session, if its connection may be used again; any other is closed.
    pub(super) async fn into_reusable(mut self: Box<Self>) -> Option<HttpSession> {
        let done = self.sent && !self.failed && self.inner.response_header().is_some();
        // Of an HTTP/2 connection only the stream ends with it: what is dropped unfinished is reset.
        if matches!(self.inner, HttpSession::H2(_)) || (done && self.inner.response_done()) {
            return Some(self.inner);
        }
        if !self.failed {
            Box::pin(self.say_goodbye()).await;
        }
        None
    }

    /// Ends the connection in order, as far as the provider takes it: one that reads nothing more must not hold up what
    /// comes next.
    async fn say_goodbye(&mut self) {
        let _ = tokio::time::timeout(GOODBYE, self.inner.shutdown()).await;
    }

    /// Nothing more will come of the answer, and all that came can be said.
    pub(super) fn is_done(&mut self) -> bool {
        self.packed.is_none() && self.inner.response_done()
    }

    /// Reads the next piece, for at most `wait` and within the deadlines, and writes what is there of the request's body
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// The connection broke, or a deadline passed.
    pub(super) async fn read(&mut self, wait: Duration) -> Result<Read> {
        let piece = self.read_within(wait).await;
        if let Err(error) = &piece {
            self.note(error);
        }
        piece
    }

    async fn read_within(&mut self, wait: Duration) -> Result<Read> {
        let began = clock::now();
        let left = self.course.whole.saturating_sub(began.duration_since(self.since));
        heed()?;
        if left.is_zero() {
            // Said here too: of a stream that never pauses, or whose client is slow, no wait is ever over.
            return Err(too_long());
        }
        if let Some(more) = self.packed.as_mut().and_then(|packed| packed.more().transpose()) {
            return Ok(Read::Piece(more?));
        }
        if let Some(piece) = self.read_at_once().await {
            return self.heard_from(piece?);
        }
        let patience = self.course.between.saturating_sub(self.silence);
        // The first silence after a piece may be for ever, if that piece was the last.
        let looks = if self.silence.is_zero() { LINGER } else { LOOKS };
        let Some(piece) = self.with_body(wait.min(left).min(patience).min(looks), What::Piece).await? else {
            self.silence += clock::now().duration_since(began);
            if self.course.is_over() {
                (self.over, self.failed) = (true, true);
                return Ok(Read::End);
            }
            if self.silence >= self.course.between {
                return Err(Error::explain(ErrorType::ReadTimedout, "the deadline between two pieces"));
            }
            if clock::now().duration_since(self.since) >= self.course.whole {
                return Err(too_long());
            }
            return Ok(Read::Nothing);
        };
        self.heard_from(piece)
    }

    /// What is there already; most pieces of a fast stream are, and then no timer is made.
    pub(super) async fn read_at_once(&mut self) -> Option<Result<Option<Bytes>>> {
        if self.parts.is_some() {
            return None;
        }
        let mut piece = pin!(self.inner.read_response_body());
        poll_fn(|context| match piece.as_mut().poll(context) {
            Poll::Ready(piece) => Poll::Ready(Some(piece)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    /// The provider is not silent.
    pub(super) fn heard_from(&mut self, piece: Option<Bytes>) -> Result<Read> {
        (self.silence, self.heard) = (Duration::ZERO, Duration::ZERO);
        self.unheard.heard();
        self.over |= piece.is_none();
        let piece = match &mut self.packed {
            Some(packed) => packed.take(piece)?,
            None => piece,
        };
        Ok(piece.map_or(Read::End, Read::Piece))
    }

    /// Reads for at most `wait`, and before and beside that writes what comes of the request's body; `None` when the time
    /// is over. Pingora's own reading bears to be dropped and begun again: its loop does the same.
    pub(super) async fn with_body(&mut self, wait: Duration, what: What) -> Result<Option<Option<Bytes>>> {
        let mut wait = wait;
        loop {
            let part = match &mut self.parts {
                Some(Parts::Held(body)) => Some(next_part(body)),
                Some(Parts::Coming(parts)) => tokio::select! {
                    biased;
                    part = parts.recv() => part,
                    done = hear(&mut self.inner, what, wait) => return done,
                },
                None => return hear(&mut self.inner, what, wait).await,
            };
            if self.write(part).await.is_err_and(|error| *error.etype() == ErrorType::WriteTimedout) {
                // It has had its time: only what it has said by now counts.
                (self.stuck, wait) = (true, Duration::ZERO);
            }
        }
    }

    /// Writes a part of the request.
    ///
    /// # Errors
    ///
    /// It cannot be written, and no more will be. It may have answered early, such as with a 413: what it said is read,
    /// and if it said nothing, reading fails too.
    async fn write(&mut self, part: Option<Part>) -> Result<()> {
        let written = match part {
            Some(Part::Data(data)) => {
                let written = self.inner.write_request_body(data, false).await;
                self.since = clock::now();
                written
            }
            Some(Part::End) => {
                self.parts = None;
                let ended = self.inner.finish_request_body().await;
                self.sent = ended.is_ok();
                self.since = clock::now();
                ended
            }
            None => {
                self.parts = None;
                Ok(())
            }
        };
        if written.is_err() {
            self.parts = None;
        }
        written
    }

    /// What Pingora's loop does to a head for HTTP/1.1 and for HTTP/2, and not for other protocols.
    fn suit(&self, head: &mut RequestHeader) -> Result<()> {
        for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::TE] {
            head.remove_header(&name);
        }
        if !matches!(self.inner, HttpSession::H2(_)) {
            head.set_version(Version::HTTP_11);
            return Ok(());
        }
        head.set_version(Version::HTTP_2);
        let host = head.remove_header(&header::HOST);
        let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        let host = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
        let scheme = if self.tls { "https" } else { "http" };
        let uri = Uri::try_from(format!("{scheme}://{host}{path}"));
        head.set_uri(uri.map_err(|error| Error::because(ErrorType::InvalidHTTPHeader, "no URI for HTTP/2", error))?);
        Ok(())
    }
}

/// What is written next of a body that is here: its deadline is that of a piece, not of the whole.
fn next_part(body: &mut Option<Bytes>) -> Part {
    match body {
        Some(rest) if rest.len() > PIECE => Part::Data(rest.split_to(PIECE)),
        _ => body.take().map_or(Part::End, Part::Data),
    }
}

fn too_long() -> Box<Error> {
    Error::explain(ErrorType::Custom(STREAM_TOO_LONG), "the deadline of the whole stream")
}

// Boxed: Pingora keeps the session by value in the future of its loop, in three places.
#[async_trait]
impl client::Session for Box<SeamSession> {
    async fn write_request_header(&mut self, head: Box<RequestHeader>, end: bool) -> Result<()> {
        self.write_head(head).await?;
        let held = self.course.body.take();
        if end {
            self.writer = Some(Writer::Idle);
            // If it cannot be written, reading says why.
            let _ = self.write(Some(Part::End)).await;
        } else if held.is_some() {
            self.writer = Some(Writer::Idle);
            self.parts = Some(Parts::Held(held));
        } else {
            let (writer, parts) = way();
            self.writer = Some(writer);
            self.parts = Some(Parts::Coming(parts));
        }
        Ok(())
    }

    async fn write_request_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.write(Some(Part::Data(data))).await?;
        if end { self.write(Some(Part::End)).await } else { Ok(()) }
    }

    async fn finish_request_body(&mut self) -> Result<()> {
        self.write(Some(Part::End)).await
    }

    fn set_read_timeout(&mut self, _: Option<Duration>) {
        // The course has a deadline for each wait.
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.set_write_timeout(timeout);
    }

    async fn read_response_header(&mut self) -> Result<()> {
        match self.course.hedge.take() {
            // A head of ours, where neither has spoken in time, settles it for the first.
            Some(hedge) => Box::pin(self.race(hedge)).await,
            None => self.open().await.map(|_| ()),
        }
    }

    async fn read_response_body(&mut self) -> Result<Option<Bytes>> {
        if let Some(piece) = self.ahead.pop_front() {
            return Ok(Some(self.with_what_is_there(piece).await));
        }
        if let Some(cut) = self.cut.take() {
            self.over = true;
            return Ok(Some(cut.piece()));
        }
        if self.over {
            return Ok(None);
        }
        if self.early.is_some()
            && let Some(piece) = self.before_the_stream().await
        {
            return Ok(Some(piece));
        }
        let beats = self.kind.stream && !self.course.heartbeat.is_zero();
        loop {
            let unheard = self.silence.saturating_sub(self.heard);
            let wait = if beats { self.course.heartbeat.saturating_sub(unheard) } else { self.course.between };
            let read = match self.read(wait).await {
                Err(error) if self.kind.stream => {
                    self.over = true;
                    return Ok(Some(Cut::of(&error).piece()));
                }
                read => read?,
            };
            match read {
                Read::Piece(piece) => return Ok(Some(self.with_what_is_there(piece).await)),
                // An empty piece carries the end, which `check_response_end_or_error` tells.
                Read::End => return Ok(Some(Bytes::new())),
                Read::Nothing if beats && self.silence.saturating_sub(self.heard) >= self.course.heartbeat => {
                    self.heard = self.silence;
                    return Ok(Some(Bytes::from_static(&HEARTBEAT)));
                }
                Read::Nothing => {}
            }
        }
    }

    fn response_finished(&self) -> bool {
        self.over && self.ahead.is_empty()
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        self.failed = true;
        self.say_goodbye().await;
    }

    fn response_header(&self) -> Option<&ResponseHeader> {
        self.head()
    }

    fn was_upgraded(&self) -> bool {
        false
    }

    fn digest(&self) -> Option<&Digest> {
        self.inner.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.inner.digest_mut()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.inner.server_addr()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.inner.client_addr()
    }

    async fn read_trailers(&mut self) -> Result<Option<HeaderMap>> {
        // The body has ended for the client by then, and no format says anything behind it.
        Ok(None)
    }

    fn fd(&self) -> UniqueIDType {
        match &self.inner {
            HttpSession::H1(session) => session.id(),
            HttpSession::H2(session) => session.fd(),
            HttpSession::Custom(()) => 0,
        }
    }

    async fn check_response_end_or_error(&mut self, _head: bool) -> Result<bool> {
        if !self.ahead.is_empty() || self.early.is_some() || self.cut.is_some() {
            return Ok(false);
        }
        if self.over {
            return Ok(true);
        }
        if self.packed.as_ref().is_some_and(|packed| packed.has_more()) {
            return Ok(false);
        }
        let mut ended = match &mut self.inner {
            HttpSession::H1(session) => Ok(session.is_body_done()),
            HttpSession::H2(session) => session.check_response_end_or_error(),
            HttpSession::Custom(()) => Ok(true),
        };
        if let (Ok(true), Some(packed)) = (&ended, &mut self.packed) {
            ended = packed.take(None).map(|_| true);
        }
        self.failed |= ended.is_err();
        self.over = matches!(ended, Ok(true));
        match ended {
            // What was just read is still to be heard.
            Err(error) if self.kind.stream => {
                self.cut = Some(Cut::of(&error));
                Ok(false)
            }
            ended => ended,
        }
    }

    fn take_request_body_writer(&mut self) -> Option<Box<dyn BodyWrite>> {
        self.writer.take().map(|writer| Box::new(writer) as Box<dyn BodyWrite>)
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn futures_core::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        Some(Box::new(NoMessages))
    }

    async fn drain_custom_messages(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        Some(Box::new(NoMessages))
    }
}

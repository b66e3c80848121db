//! The seam below Pingora's proxy loop: what a stream needs and the loop's filters cannot do.
//!
//! The filters see an answer only when something comes, and let its head go before its first piece. So deadlines of a
//! stream, signs of life while a provider is silent, and the hold of a head until there is content live below them, in
//! a session of our own that wraps Pingora's client session, HTTP/1.1 or HTTP/2, with TLS or without:
//!
//! ```text
//! filters ── Pingora's loop ── SeamSession ── pingora_core's HttpSession ── provider
//!                                  │ Course: deadlines, hold, heartbeat (in the request head's extensions)
//! ```
//!
//! A peer takes the seam when [`take`] has marked it; every filter runs as on the plain way. Pingora knows the mark as a
//! protocol of ours (`ALPN::Custom`), which is never offered to a provider: the connector connects with the versions that
//! were configured. The seam's connections are pooled apart from those of the plain way.

mod connector;
mod early;
mod gather;
mod hold;
mod idle;
mod join;
mod race;
mod reading;
mod session;
mod unheard;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pingora_core::protocols::ALPN;
use pingora_core::protocols::tls::CustomALPN;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use tidegate_codec::Format;
use tidegate_codec::hub::Fault;

use super::framing;
use super::packed::BADLY_PACKED;

pub use connector::Seam;
pub use early::Late;
pub use hold::{ENTIRE_MOST, ERROR_MOST, holds};
pub use race::{Backup, Fate, Hedge, Second};

/// Keeps the seam's connections apart from those that the plain way would take and bypass the seam with.
const GROUP: u64 = 0x7365_616d;

/// The error of a stream that failed before its first content; its cause is a [`Told`].
pub const STREAM_FAILED: &str = "stream_failed";
/// The error of an answer that says that the prompt is too long; its cause is a [`Told`].
pub const CONTEXT_LENGTH: &str = "context_length";
/// The error of an answer that says that the key which went with the request is refused; its cause is a [`Told`].
pub const KEY_REFUSED: &str = tidegate_codec::hub::KEY_REFUSED;
/// The error of a stream that went on for longer than it may.
pub const STREAM_TOO_LONG: &str = "stream_too_long";

/// The error of an answer that the process does not wait for any longer before it ends.
pub const DRAINED: &str = "draining";

/// Set when the process waits no longer.
static LAST_CALL: AtomicBool = AtomicBool::new(false);

/// Ends all answers: each says so in its client's format, within [`LOOKS`].
pub fn last_call() {
    LAST_CALL.store(true, Ordering::Relaxed);
}

/// Says that the process ends, once it does.
///
/// # Errors
///
/// [`DRAINED`]: it waits no longer.
pub fn heed() -> Result<()> {
    if LAST_CALL.load(Ordering::Relaxed) {
        return Err(Error::explain(ErrorType::Custom(DRAINED), "the process ends"));
    }
    Ok(())
}

/// How often a silent answer looks whether it still has time.
pub const LOOKS: Duration = Duration::from_secs(5);

/// How long the connection of a stream that has said its last word may take to say that it is over as well.
const LINGER: Duration = Duration::from_millis(500);

/// The error of a whole answer that is longer than what may be translated.
pub const TOO_LONG: &str = "upstream_too_long";

/// What one attempt asks of the seam: travels in the extensions of the request's head.
#[derive(Debug, Clone)]
pub struct Course {
    /// The format of the provider's answer.
    pub format: Format,
    /// From the last piece of the request to the answer's head.
    pub first_byte: Duration,
    /// Between two pieces of the answer.
    pub between: Duration,
    /// From the last byte of the request to the answer's end.
    pub whole: Duration,
    /// For how long the head of a stream is held until there is content; zero for not at all.
    pub hold: Duration,
    /// The silence after which a [heartbeat](is_heartbeat) stands in for a piece of a stream; zero for never.
    pub heartbeat: Duration,
    /// The head of an answer that is no stream is held until all of its body is there: one that breaks off is an error,
    /// so that another target can be tried, and what is made of the body can still be told in the head.
    pub entire: bool,
    /// It goes on as it comes once it is longer than what is held of it: nothing is made of it.
    pub passes: bool,
    /// A stream of events was asked for: a success that is none, and no answer either, has failed.
    pub streamed: bool,
    /// A model's answer was asked for: a success that is none has failed, also where nothing is made of it.
    pub answers: bool,
    /// A refusal because of the prompt's length is an error, so that another target can be tried.
    pub context_length: bool,
    /// The provider may call a refused key a bad request, which is then an error.
    pub keys: bool,
    /// The client of a stream is given a head where the provider's takes longer; `None` for never.
    pub early: Option<Early>,
    /// Set once the stream has said its last word; `None` where nobody listens for it.
    pub last_word: Option<Arc<AtomicBool>>,
    /// Asks elsewhere as well where a stream is slow to begin.
    pub hedge: Option<Hedge>,
    /// The request's body, where all of it is here: it need not come through Pingora's loop.
    pub body: Option<Bytes>,
}

/// When a head of ours stands in for the provider's.
#[derive(Debug, Clone)]
pub struct Early {
    /// How long the provider may take.
    pub after: Duration,
    /// Where to look for what it says then.
    pub late: Arc<Late>,
}

impl Course {
    /// True if the stream has said its last word: its client waits only for the end of a connection.
    fn is_over(&self) -> bool {
        self.last_word.as_ref().is_some_and(|said| said.load(Ordering::Relaxed))
    }

    /// The course of an answer in `format` that passes as it comes, however long it takes: only a silence of `patience` ends
    /// it. A provider whose request is still coming is not silent.
    #[must_use]
    pub fn patient(format: Format, patience: Duration) -> Self {
        Self {
            format,
            first_byte: patience,
            between: patience,
            whole: Duration::MAX,
            hold: Duration::ZERO,
            heartbeat: Duration::ZERO,
            entire: false,
            passes: false,
            streamed: false,
            answers: false,
            context_length: false,
            keys: false,
            early: None,
            last_word: None,
            hedge: None,
            body: None,
        }
    }
}

/// What a provider said when it failed: the cause of [`STREAM_FAILED`], [`CONTEXT_LENGTH`] and [`KEY_REFUSED`].
#[derive(Debug)]
pub struct Told(pub Arc<Fault<'static>>);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Errors are logged, and what a provider says may quote the prompt, or a key.
        f.write_str(self.0.kind.label())
    }
}

impl std::error::Error for Told {}

/// What a refusal's body says, in the extensions of its head: whoever makes another head of it need not wait for the body.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// What it says.
    pub fault: Arc<Fault<'static>>,
    /// It says so as its format says it.
    pub in_format: bool,
}

/// What stands for a heartbeat among the pieces of an answer; told from them by where it lies, so never mistaken.
static HEARTBEAT: [u8; 12] = *b": heartbeat\n";

/// True for a piece that no provider sent: the provider is silent, and the client should hear from us.
#[must_use]
pub fn is_heartbeat(piece: &Bytes) -> bool {
    std::ptr::eq(piece.as_ptr(), HEARTBEAT.as_ptr()) && piece.len() == HEARTBEAT.len()
}

/// What stands for an answer that is no stream, behind a head of ours; told by where it lies, as a heartbeat is.
static LATE: [u8; 7] = *b": late\n";

/// True for a piece that no provider sent: what it did send is no stream, and is in [`Late`].
#[must_use]
pub fn is_late(piece: &Bytes) -> bool {
    std::ptr::eq(piece.as_ptr(), LATE.as_ptr()) && piece.len() == LATE.len()
}

/// How a stream that had begun came to its end before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The connection broke.
    Broken,
    /// What came was no HTTP.
    Garbled,
    /// It is not packed as its head says.
    BadlyPacked,
    /// The provider was silent for too long.
    Silent,
    /// It went on for longer than it may.
    TooLong,
    /// The process ends.
    Drained,
}

/// What stands for the end of a stream that was cut; told by where it lies, as a heartbeat is.
static CUTS: [(Cut, [u8; 8]); 6] = [
    (Cut::Broken, *b": broken"),
    (Cut::Garbled, *b": garble"),
    (Cut::BadlyPacked, *b": packed"),
    (Cut::Silent, *b": silent"),
    (Cut::TooLong, *b": toolon"),
    (Cut::Drained, *b": drains"),
];

impl Cut {
    fn of(error: &Error) -> Self {
        match error.etype() {
            ErrorType::Custom(STREAM_TOO_LONG) => Self::TooLong,
            ErrorType::Custom(DRAINED) => Self::Drained,
            ErrorType::Custom(BADLY_PACKED) => Self::BadlyPacked,
            ErrorType::ReadTimedout => Self::Silent,
            _ if framing::is_garbage(error) => Self::Garbled,
            _ => Self::Broken,
        }
    }

    /// The piece that stands for it.
    fn piece(self) -> Bytes {
        CUTS.iter().find(|(cut, _)| *cut == self).map(|(_, mark)| Bytes::from_static(mark)).unwrap_or_default()
    }

    /// The error that it was.
    #[must_use]
    pub fn error(self) -> Box<Error> {
        let (kind, words) = match self {
            Self::Broken => (ErrorType::ConnectionClosed, "the stream broke off"),
            Self::Garbled => (ErrorType::InvalidHTTPHeader, "the stream is not valid HTTP"),
            Self::BadlyPacked => (ErrorType::Custom(BADLY_PACKED), "the stream is not packed as its head says"),
            Self::Silent => (ErrorType::ReadTimedout, "the deadline between two pieces"),
            Self::TooLong => (ErrorType::Custom(STREAM_TOO_LONG), "the deadline of the whole stream"),
            Self::Drained => (ErrorType::Custom(DRAINED), "the process ends"),
        };
        Error::explain(kind, words).into_up()
    }
}

/// How the stream was cut, if `piece` is what stands for that: the last piece of a stream that has begun. To Pingora's
/// loop an error would be the end of the client's connection as well, which nobody has told the client of.
#[must_use]
pub fn cut(piece: &Bytes) -> Option<Cut> {
    CUTS.iter().find(|(_, mark)| std::ptr::eq(piece.as_ptr(), mark.as_ptr())).map(|(cut, _)| *cut)
}

/// Lets `peer` take the seam.
pub fn take(peer: &mut HttpPeer) {
    let versions = (peer.options.alpn.get_max_http_version(), peer.options.alpn.get_min_http_version());
    let name: &[u8] = match versions {
        (2, 2) => b"tidegate/2",
        (2, _) => b"tidegate/2,1",
        _ => b"tidegate/1",
    };
    peer.options.alpn = ALPN::Custom(CustomALPN::new(name.to_vec()));
    peer.group_key ^= GROUP;
}

/// The newest and the oldest version of HTTP that `peer` may be asked by.
fn versions(peer: &HttpPeer) -> (u8, u8) {
    match &peer.options.alpn {
        ALPN::Custom(name) => match name.protocol() {
            b"tidegate/2" => (2, 2),
            b"tidegate/2,1" => (2, 1),
            _ => (1, 1),
        },
        alpn => (alpn.get_max_http_version(), alpn.get_min_http_version()),
    }
}

/// The peer as it was before [`take`], but for the pool that its connections belong to.
fn plain(peer: &HttpPeer) -> HttpPeer {
    let (most, least) = versions(peer);
    let mut peer = peer.clone();
    peer.options.set_http_version(most, least);
    peer
}

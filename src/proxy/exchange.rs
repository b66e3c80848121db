//! One request with its answer, phase by phase.
//!
//! ```text
//! Arrived ──admit──▶ Admitted ──plan──▶ Sending ──receive──▶ Receiving ──▶ (settled)
//!    │                  │                 ▲   │                  │
//!    └──────refuse──────┴─────────────────┼───┴── next attempt ──┘
//! ```
//! Each phase owns the one before it, so a stage cannot meet an exchange that lacks what it needs.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use tidegate_codec::frame::multipart::Multipart;
use tidegate_codec::hub::Fault;
use tidegate_codec::json::Envelope;
use tidegate_codec::{Format, Framing, Gatherer, Naming, Operation, Outcome, Reply, Transcoder, Undo, Watch};

use super::begun::Shown;
use super::body::Reservation;
use super::hedge::Backup;
use super::open::Open;
use super::overload::Places;
use super::plan::Plan;
use super::stopwatch::Stopwatch;
use super::tail::Tail;
use super::upload::Upload;
use crate::clock;
use crate::config::{Caller, Snapshot, Tie};
use crate::observe::{self, Abort, Attempt as Record, InFlight, Lost};
use crate::provider::Provider;
use crate::provider::services::Service;
use crate::routing::{AnswerModel, OnLoss, Route};
use crate::upstream::seam::{Course, Late};
use crate::upstream::{Busy, ConnectionId, Lease, Packed, RetryBudget, Ticket};

/// One request with its answer: Pingora's per-request context.
#[derive(Debug)]
pub struct Exchange {
    /// What the log and the metrics will want to know.
    pub trail: Trail,
    /// How far it has come.
    pub phase: Phase,
    /// What bounds requests that run at once counts it by these.
    pub(super) places: Places,
    _underway: Underway,
}

/// Counts an exchange as under way until it is dropped: what a stopping process waits for.
#[derive(Debug)]
struct Underway(Arc<AtomicUsize>);

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How far an exchange has come.
#[derive(Debug, Default)]
pub enum Phase {
    /// Nothing is known yet, or the edge answered by itself.
    #[default]
    Arrived,
    /// The caller, the body and the route are known.
    Admitted(Box<Admitted>),
    /// An attempt is under way.
    Sending(Box<Sending>),
    /// An attempt is being answered.
    Receiving(Box<Receiving>),
}

/// A request that may go on.
#[derive(Debug)]
pub struct Admitted {
    /// The config that serves it to its end.
    pub snapshot: Arc<Snapshot>,
    /// The format that the client speaks.
    pub format: Format,
    /// What is asked for.
    pub task: Task,
    /// How a stream is wanted; `None` for a whole answer.
    pub stream: Option<Framing>,
    /// Who asks.
    pub caller: Caller,
    /// The body, as it came.
    pub body: Bytes,
    /// Its share of the memory for bodies.
    pub room: Reservation,
    /// What routing needs of the body, and of the path where that names the model.
    pub envelope: Envelope,
    /// Where it may go.
    pub route: Arc<Route>,
    /// Equal for requests that should meet the same target and endpoint.
    pub affinity: u64,
    /// What ties it to a provider.
    pub tie: Tie,
    /// Version of the format, if sent.
    pub api_version: Option<String>,
    /// Unfinished features asked for, if sent.
    pub betas: Option<String>,
}

impl Admitted {
    /// What happens where something cannot be carried: as the caller's key says, or the model.
    pub fn on_loss(&self) -> OnLoss {
        self.caller.on_loss().unwrap_or(self.route.on_loss)
    }

    /// What puts the name that the client asked for into answers that pass within its format; `None` where they show
    /// their own.
    pub fn naming(&self) -> Option<Naming> {
        let asked = self.envelope.model.as_deref().filter(|_| self.route.answer_model == AnswerModel::Asked)?;
        Some(Naming::new(self.format, asked))
    }
}

/// What is asked for.
#[derive(Debug)]
pub enum Task {
    /// Something of the client's format: translated, or passed on to a provider of the same format.
    Format(Operation),
    /// Something beside it, which is passed through.
    Service(Box<Call>),
}

/// An operation that is passed through.
#[derive(Debug)]
pub struct Call {
    /// Which one; `None` for whatever a client asks of a provider by its raw path.
    pub service: Option<&'static Service>,
    /// The client's method.
    pub method: Method,
    /// Path and query, behind the provider's base path.
    pub target: String,
    /// The body as it streams through; `None` where it is held in [`Admitted::body`].
    pub upload: Option<Upload>,
    /// The form that such a held body is, as it begins.
    pub(super) form: Option<Box<Multipart>>,
    /// Scheme and host by which the client reaches us, where it may be led back with more of an upload.
    pub origin: Option<String>,
}

impl Call {
    /// The path of what is asked for.
    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// A request with an attempt under way.
#[derive(Debug)]
pub struct Sending {
    /// The request.
    pub admitted: Admitted,
    /// What was tried and what is left.
    pub plan: Plan,
    /// The attempt; `None` before the first and between two.
    pub attempt: Option<Attempt>,
    /// The provider's `retry-after` of the last failed attempt.
    pub retry_after: Option<String>,
    /// How long the provider of the last failed attempt asks to wait, in whichever header it says so.
    pub asked: Option<Duration>,
    /// It failed because nothing is left in the account there.
    pub no_credit: bool,
    /// Its body is known to have said that a filter took the prompt.
    pub filtered: bool,
    /// It was the trial of what had been left alone.
    pub trial: bool,
    /// The shortest time after which a target of this round takes requests again that was asked too much.
    pub limited: Option<Duration>,
    /// The further attempts that the requests for this model may cause.
    pub budget: Option<Arc<RetryBudget>>,
    /// How long to wait before the next attempt.
    pub wait: Duration,
    /// Another attempt was decided on, and paid for.
    pub follows: bool,
    /// What paid for the attempt, if it is a further one, until something is known of it.
    pub paid: Option<Ticket>,
    /// The attempt that was decided on waits for what becomes of other requests': what the client is told of the failure if
    /// there is none after all.
    pub owed: Option<Box<(Fault<'static>, &'static str)>>,
    /// A pooled connection had died: what follows takes none that was made before that showed, and so meets no second one.
    pub fresh: bool,
    /// Status of the last failed attempt; `None` if it had none.
    pub failed_status: Option<u16>,
    /// Why a target was passed over that cannot be told the request: the first of them.
    pub refused: Option<Fault<'static>>,
    /// What is wrong with the attempt's answer or with the request's body, where that was found before anything of an
    /// answer went out; with a bounded word for it.
    pub verdict: Option<Box<(Fault<'static>, &'static str)>>,
    /// A part of the body is gone for good: no other attempt can send it.
    pub spent: bool,
    /// The second attempt beside one that is slow to begin.
    pub hedge: Option<Arc<Backup>>,
}

/// One attempt at one target.
#[derive(Debug)]
pub struct Attempt {
    /// The provider.
    pub provider: Arc<Provider>,
    /// The endpoint; counts as busy until this is dropped.
    pub lease: Lease,
    /// The format in which it is asked.
    pub format: Format,
    /// The target; counts as busy until this is dropped.
    pub busy: Option<Busy>,
    /// The provider's name of the model.
    pub model: String,
    /// What its endpoints know it by, where that is not the model.
    pub subject: Option<Box<str>>,
    /// The body for it.
    pub body: Bytes,
    /// The body was read and written, not passed on.
    pub translated: bool,
    /// Headers that the body needs.
    pub headers: Vec<(&'static str, String)>,
    /// What the answer must look like.
    pub reply: Arc<Reply>,
    /// What the way back must undo.
    pub undo: Undo,
    /// The value of `x-tidegate-loss`; `None` when nothing was lost or nobody wants to know.
    pub loss_header: Option<String>,
    /// When it began.
    pub started: Instant,
    /// The connection was a pooled one.
    pub reused: bool,
    /// Which one that is, as far as it is known.
    pub connection: Option<ConnectionId>,
    /// Interim answers that came.
    pub(super) interims: u32,
    /// What it asks of the seam; `None` on the plain way, which uploads take.
    pub course: Option<Course>,
    /// Told when the stream has said its last word.
    pub last_word: Option<Arc<AtomicBool>>,
    /// What comes behind a head of ours; `None` where none may stand in.
    pub late: Option<Arc<Late>>,
}

impl Attempt {
    /// What its endpoint is told of under this name: the model, or an operation of it that has limits of its own.
    pub fn subject(&self) -> &str {
        self.subject.as_deref().unwrap_or(&self.model)
    }
}

/// A request whose answer is coming.
#[derive(Debug)]
pub struct Receiving {
    /// The request and the attempt that is answered.
    pub sending: Sending,
    /// What is done with the answer.
    pub mode: Mode,
    /// Bytes that the provider announced and that have not come; `None` where nothing was announced.
    pub left: Option<usize>,
    /// It comes packed, past the seam, which would have unpacked it.
    pub packed: Option<Box<Packed>>,
    /// Looks for ids of what the answer shows; `None` where it shows nothing that is stored, or all was looked at.
    pub(super) shown: Option<Shown>,
    /// What of its JSON is open, where nothing but the end of the connection says that it was all.
    pub(super) open: Option<Open>,
    /// The end of the last piece of an error, which may be the beginning of a key.
    pub held: Vec<u8>,
    /// Since when pieces come of which nothing goes on to the client: reasoning that it does not see.
    pub quiet: Option<Instant>,
}

/// What is done with an answer.
#[derive(Debug)]
pub enum Mode {
    /// Passed on untouched; its usage is looked up at the end.
    PassWhole {
        /// The body so far, shared with what was passed on; at most [`PASS_KEPT`] bytes.
        kept: Vec<Bytes>,
        /// It grew past what is kept.
        overflow: bool,
    },
    /// Passed on byte for byte and watched.
    PassStream(Box<Watch>),
    /// Translated event by event.
    Stream(Box<Transcoder>),
    /// Collected and translated.
    Whole(Collected),
    /// Collected and passed on under another name of the model.
    Named {
        /// Puts it there.
        naming: Naming,
        /// The body.
        body: Collected,
        /// White space went on before it: its length is not that of the body any more.
        waited: bool,
    },
    /// A whole answer where a stream was asked for: collected and written as one.
    Streamed {
        /// Writes it.
        transcoder: Box<Transcoder>,
        /// The body.
        body: Collected,
    },
    /// A stream where a whole answer was asked for: gathered to one.
    Gathered(Option<Box<Gatherer>>),
    /// Collected and, unless it is an error in the client's own format already, translated as one.
    Error {
        /// The provider's status.
        status: u16,
        /// Provider and client speak the same format.
        same: bool,
        /// The body.
        body: Collected,
    },
    /// Passed on untouched; its usage is looked up in its end.
    PassTail(Tail),
    /// Passed on untouched and not looked at.
    PassBlind,
}

/// Most of a passed-on answer that is kept to look up its usage, in bytes.
pub(super) const PASS_KEPT: usize = 16 << 20;

/// A body that is collected to be translated as a whole.
#[derive(Debug, Default)]
pub struct Collected {
    /// The bytes so far.
    pub bytes: Vec<u8>,
    /// It was translated and handed on.
    pub done: bool,
}

/// What the log and the metrics will want to know.
#[derive(Debug)]
pub struct Trail {
    /// When the request came.
    pub started: Instant,
    /// Who sent it.
    pub client: Option<IpAddr>,
    /// Its id, the client's or ours.
    pub request_id: String,
    /// `traceparent`, if sent; it goes on as it is.
    pub traceparent: Option<String>,
    /// The client's format, once known.
    pub format: Option<Format>,
    /// What was asked for: a bounded label.
    pub endpoint: observe::Endpoint,
    /// Who asked.
    pub caller: Option<Arc<str>>,
    /// The configured name that the model's name met.
    pub route: Option<Arc<str>>,
    /// The model's name as the client wrote it.
    pub model: Option<String>,
    /// A stream was asked for.
    pub stream: bool,
    /// Bytes of the request's body.
    pub bytes_in: usize,
    /// The provider's name of the model, of the last attempt.
    pub upstream_model: Option<String>,
    /// All attempts.
    pub attempts: Vec<Record>,
    /// The targets of the first and the last attempt, if they differ.
    pub fallback: Option<(String, String)>,
    /// Counts while the edge makes the request ready; stands while others have their turn.
    pub stopwatch: Stopwatch,
    /// What it had counted when the last attempt was ready to go.
    pub overhead: Duration,
    /// Whose lines it waited in, and for how long.
    pub waits: Vec<(&'static str, Duration)>,
    /// What became of a second attempt beside a slow one: a bounded word.
    pub hedge: Option<&'static str>,
    /// Whose limit it was refused for, and why: bounded words.
    pub shed: Option<(&'static str, &'static str)>,
    /// From the arrival to the first byte of the answer's body.
    pub first_byte: Option<Duration>,
    /// Signs of life that the client was sent while the provider was silent.
    pub heartbeats: u64,
    /// What was lost of the request.
    pub losses: Vec<Lost>,
    /// What a whole answer lost; of a stream its outcome knows.
    pub answer_losses: Vec<Lost>,
    /// What a whole answer lost, for the header, if anybody wants to know.
    pub answer_loss: Option<String>,
    /// The seconds to wait that a failed answer tells of in its body.
    pub answer_retry_after: Option<u64>,
    /// What became of the answer.
    pub outcome: Option<Outcome>,
    /// A bounded word for what went wrong.
    pub error: Option<&'static str>,
    /// Format pair of a translation.
    pub translated: Option<(Format, Format)>,
    /// Who broke it off, and why.
    pub aborted: Option<Abort>,
    /// Counts as in flight until this is dropped.
    pub in_flight: Option<InFlight>,
}

impl Trail {
    /// It was in a line for so long; who goes on in the same line has waited once.
    pub(super) fn waited(&mut self, scope: &'static str, time: Duration) {
        match self.waits.last_mut() {
            Some((last, all)) if *last == scope => *all += time,
            _ => self.waits.push((scope, time)),
        }
    }
}

impl Sending {
    /// Lets go of the request's body: a stream may last half an hour, and no other attempt can follow it.
    pub(super) fn release_body(&mut self) {
        self.plan.exhaust();
        self.admitted.body = Bytes::new();
        self.admitted.room.release();
        if let Some(attempt) = &mut self.attempt {
            attempt.body = Bytes::new();
        }
    }
}

impl Exchange {
    /// An exchange that begins now and is counted in `underway`.
    pub fn new(underway: &Arc<AtomicUsize>) -> Self {
        underway.fetch_add(1, Ordering::Relaxed);
        let started = clock::now();
        Self {
            places: Places::default(),
            _underway: Underway(Arc::clone(underway)),
            trail: Trail {
                started,
                client: None,
                request_id: String::new(),
                traceparent: None,
                format: None,
                endpoint: observe::Endpoint::Other,
                caller: None,
                route: None,
                model: None,
                stream: false,
                bytes_in: 0,
                upstream_model: None,
                // Most requests need one; growing from none would make room for four.
                attempts: Vec::with_capacity(1),
                fallback: None,
                stopwatch: Stopwatch::started(started),
                overhead: Duration::ZERO,
                waits: Vec::new(),
                shed: None,
                hedge: None,
                first_byte: None,
                heartbeats: 0,
                losses: Vec::new(),
                answer_losses: Vec::new(),
                answer_loss: None,
                answer_retry_after: None,
                outcome: None,
                error: None,
                translated: None,
                aborted: None,
                in_flight: None,
            },
            phase: Phase::Arrived,
        }
    }

    /// Gives back what bounds requests that run at once. It is done before the last of an answer goes out: who has all of
    /// it may ask again, and must not meet a limit that it alone has reached.
    pub(super) fn give_back(&mut self) {
        self.places = Places::default();
        if let Some(attempt) = self.sending().and_then(|sending| sending.attempt.as_mut()) {
            attempt.lease.give_back();
        }
    }

    /// The body of the request under way, where it streams through.
    pub fn upload(&mut self) -> Option<&mut Upload> {
        match &mut self.sending()?.admitted.task {
            Task::Service(call) => call.upload.as_mut(),
            Task::Format(_) => None,
        }
    }

    /// The phase with the request under way, whether or not an answer is coming.
    pub fn sending(&mut self) -> Option<&mut Sending> {
        match &mut self.phase {
            Phase::Sending(sending) => Some(sending),
            Phase::Receiving(receiving) => Some(&mut receiving.sending),
            Phase::Arrived | Phase::Admitted(_) => None,
        }
    }

    /// Goes back from an answer that is not wanted to sending.
    pub fn forget_answer(&mut self) {
        // What was wrong with it stands with its attempt.
        (self.trail.error, self.trail.aborted) = (None, None);
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Receiving(receiving) => Phase::Sending(Box::new(receiving.sending)),
            other @ (Phase::Arrived | Phase::Admitted(_) | Phase::Sending(_)) => other,
        };
    }
}

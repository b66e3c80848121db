//! Clients are left when the process ends: first those that are between two requests, so that they learn it before they
//! send the next; at last those that take nothing, so that what they were given is in the log.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Who is left. The later leave the earlier, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Whom {
    /// Clients of whose next request nothing has come.
    Idle = 1,
    /// Every client that is waited for.
    All = 2,
}

/// How far a process has come in leaving its clients.
#[derive(Debug)]
pub(super) struct Exit {
    /// A [`Whom`], or 0.
    stage: AtomicU8,
    changed: Notify,
}

static EXIT: Exit = Exit::new();

/// Lets the waits for a next request fail, now and from now on.
pub(in crate::server) fn leave_idle() {
    EXIT.leave(Whom::Idle);
}

/// Lets every wait for a client fail, now and from now on.
pub(in crate::server) fn leave_all() {
    EXIT.leave(Whom::All);
}

impl Exit {
    pub(super) const fn new() -> Self {
        Self { stage: AtomicU8::new(0), changed: Notify::const_new() }
    }

    pub(super) fn leave(&self, whom: Whom) {
        self.stage.fetch_max(whom as u8, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    fn stage(&self) -> u8 {
        self.stage.load(Ordering::SeqCst)
    }
}

/// A wait for a client.
#[derive(Debug)]
pub(super) struct Leave {
    exit: &'static Exit,
    waiting: Option<Waiting>,
}

/// Whoever is to be woken, as of a stage: what has woken once does not a second time.
#[derive(Debug)]
struct Waiting {
    _changed: Pin<Box<Notified<'static>>>,
    waker: Waker,
    stage: u8,
}

impl Default for Leave {
    fn default() -> Self {
        Self::by(&EXIT)
    }
}

impl Leave {
    pub(super) fn by(exit: &'static Exit) -> Self {
        Self { exit, waiting: None }
    }

    /// What is still to come of `waited`, a wait for one of `whom`; an error once these are left.
    pub(super) fn unless<T>(
        &mut self,
        cx: &mut Context<'_>,
        whom: Whom,
        waited: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if waited.is_ready() {
            return waited;
        }
        let stage = self.exit.stage();
        // All connections share what is waited for, and its lock: one waits there once, not for each of its pieces.
        let known = |waiting: &Waiting| waiting.stage == stage && waiting.waker.will_wake(cx.waker());
        if !self.waiting.as_ref().is_some_and(known) {
            let mut changed = Box::pin(self.exit.changed.notified());
            let _ = changed.as_mut().poll(cx);
            self.waiting = Some(Waiting { _changed: changed, waker: cx.waker().clone(), stage });
        }
        // Looked at behind that, so that no call is missed between the two.
        if self.exit.stage() >= whom as u8 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the process ends")));
        }
        Poll::Pending
    }
}

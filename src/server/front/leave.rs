//! Clients that take nothing are left when the process ends, so that what they were given is in the log.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

static LEFT: AtomicBool = AtomicBool::new(false);
static LEAVING: LazyLock<Notify> = LazyLock::new(Notify::new);

/// Lets every wait for a client fail, now and from now on.
pub(in crate::server) fn leave_all() {
    LEFT.store(true, Ordering::SeqCst);
    LEAVING.notify_waiters();
}

/// A wait for a client.
#[derive(Debug, Default)]
pub(super) struct Leave(Option<(Pin<Box<Notified<'static>>>, Waker)>);

impl Leave {
    /// What is still to come of `waited`; an error once clients are [left](leave_all).
    pub(super) fn unless<T>(&mut self, cx: &mut Context<'_>, waited: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if waited.is_ready() {
            return waited;
        }
        // All connections share what is waited for, and its lock: one waits there once, not for each of its pieces.
        let known = self.0.as_ref().is_some_and(|(_, waker)| waker.will_wake(cx.waker()));
        if !known {
            let mut leaving = Box::pin(LEAVING.notified());
            let _ = leaving.as_mut().poll(cx);
            self.0 = Some((leaving, cx.waker().clone()));
        }
        // Looked at behind that, so that no call is missed between the two.
        if LEFT.load(Ordering::SeqCst) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the process ends")));
        }
        Poll::Pending
    }
}

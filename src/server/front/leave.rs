//! Clients that take nothing are left when the process ends, so that what they were given is in the log.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

static LEFT: AtomicBool = AtomicBool::new(false);
static LEAVING: LazyLock<Notify> = LazyLock::new(Notify::new);

/// Lets every wait for a client fail, now and from now on.
pub(in crate::server) fn leave_all() {
    LEFT.store(true, Ordering::Relaxed);
    LEAVING.notify_waiters();
}

/// A wait for a client.
#[derive(Debug, Default)]
pub(super) struct Leave(Option<Pin<Box<Notified<'static>>>>);

impl Leave {
    /// What is still to come of `waited`; an error once clients are [left](leave_all).
    pub(super) fn unless<T>(&mut self, cx: &mut Context<'_>, waited: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if waited.is_ready() {
            return waited;
        }
        // It hears of a call from when it is made, so that none is missed between the two looks.
        let leaving = self.0.get_or_insert_with(|| Box::pin(LEAVING.notified()));
        if leaving.as_mut().poll(cx).is_ready() || LEFT.load(Ordering::Relaxed) {
            self.0 = None;
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the process ends")));
        }
        Poll::Pending
    }
}

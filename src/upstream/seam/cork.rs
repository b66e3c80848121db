//! A request's head and body in one packet.
//!
//! Pingora's session sends the head at once, and then the body: two packets, two wake-ups of the provider, and on a small
//! request nearly a tenth of what it costs us. Where all of the body is here, the socket keeps what does not fill a packet
//! until the body's end (`TCP_CORK`, tcp(7)); it lets go by itself after 200 ms, so that nothing can be kept for good.

use std::os::fd::{BorrowedFd, RawFd};

use pingora_core::protocols::UniqueID;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::http::v1::client::HttpSession as H1Session;
use socket2::SockRef;

/// Begins to keep what does not fill a packet; `false` where the connection has no such thing.
pub(super) fn put(session: &HttpSession) -> bool {
    set(session, true)
}

/// Sends what was kept.
pub(super) fn pull(session: &HttpSession) {
    set(session, false);
}

fn set(session: &HttpSession, keep: bool) -> bool {
    // Streams of HTTP/2 share their connection, and their frames are joined above it.
    let HttpSession::H1(session) = session else { return false };
    descriptor(session).is_some_and(|descriptor| SockRef::from(&descriptor).set_tcp_cork(keep).is_ok())
}

#[allow(
    unsafe_code,
    reason = "the session owns the connection and with it the open descriptor, and is borrowed for as long as that is: it \
              is not -1, which is what a session without a socket says"
)]
fn descriptor(session: &H1Session) -> Option<BorrowedFd<'_>> {
    let number: RawFd = session.id();
    (number >= 0).then(|| unsafe { BorrowedFd::borrow_raw(number) })
}

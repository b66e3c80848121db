//! What is read of an answer, and for how long at most.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use pingora_core::Result;
use pingora_core::protocols::http::client::HttpSession;

use crate::clock;

/// What is read.
#[derive(Clone, Copy)]
pub(super) enum What {
    Head,
    Piece,
}

/// What reading came to.
pub(super) enum Read {
    /// Bytes; none where an empty frame came.
    Piece(Bytes),
    /// The body is over.
    End,
    /// Nothing came in time.
    Nothing,
}

/// Reads for at most `wait`; `None` when the time is over.
pub(super) async fn hear(inner: &mut HttpSession, what: What, wait: Duration) -> Result<Option<Option<Bytes>>> {
    let read = pin!(async {
        match what {
            What::Piece => inner.read_response_body().await,
            What::Head => inner.read_response_header().await.map(|()| None),
        }
    });
    clock::within(wait, read).await.transpose()
}

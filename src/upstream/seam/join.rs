//! Pieces of a stream that came together go on together.
//!
//! A provider writes faster than its model speaks when it has caught up, or when its network does: many events come with
//! one read. Each is a chunk of HTTP/1.1 or a frame of HTTP/2, which Pingora's session gives one by one, and each of them
//! would be a turn of its loop and a packet of its own to the client. Nothing is waited for: what is joined is there.

use bytes::{Bytes, BytesMut};

use super::Cut;
use super::reading::Read;
use super::session::SeamSession;

/// Most bytes that are made one piece: about what one read brings, and what a slow client may make us keep of it.
const JOINED_MOST: usize = 16 << 10;

impl SeamSession {
    /// The piece, and what is there behind it.
    pub(super) async fn with_what_is_there(&mut self, first: Bytes) -> Bytes {
        if !self.kind.stream || self.packed.is_some() || self.early.is_some() || first.len() >= JOINED_MOST {
            return first;
        }
        let Some(second) = self.next_that_is_there().await else { return first };
        let mut joined = BytesMut::with_capacity(2 * (first.len() + second.len()));
        joined.extend_from_slice(&first);
        joined.extend_from_slice(&second);
        while joined.len() < JOINED_MOST
            && let Some(piece) = self.next_that_is_there().await
        {
            joined.extend_from_slice(&piece);
        }
        joined.freeze()
    }

    /// The next piece if it is there; what else there is, such as the end, is left to be found by the next reading.
    async fn next_that_is_there(&mut self) -> Option<Bytes> {
        if let Some(piece) = self.ahead.pop_front() {
            return Some(piece);
        }
        if self.over || self.cut.is_some() || self.is_done() {
            return None;
        }
        match self.read_at_once().await?.and_then(|piece| self.heard_from(piece)) {
            Ok(Read::Piece(piece)) => Some(piece),
            Ok(Read::End | Read::Nothing) => None,
            Err(error) => {
                self.note(&error);
                self.cut = Some(Cut::of(&error));
                None
            }
        }
    }
}

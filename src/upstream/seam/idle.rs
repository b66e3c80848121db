//! Connections that carry nothing now, kept to be used again.
//!
//! Pingora's own pool has a task watch each connection that it keeps: one is begun and woken for every request, on
//! whichever thread is free. Here what is kept is looked at when it is taken, and once in a while beside that.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use ahash::AHashMap;
use pingora_core::protocols::Stream;
use tokio::io::AsyncReadExt;

use crate::clock::{self, Instant};

/// How often what is kept is looked at: for so long a connection that its provider has closed may hold its descriptor.
const SWEEP: Duration = Duration::from_secs(1);

/// Connections of HTTP/1.1 by the hash of the peer that they lead to.
pub(super) struct Idle {
    /// So many are kept in all.
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The last of each is the one that was used last: what is used little goes cold below it, and is closed.
    by_peer: AHashMap<u64, Vec<Connection>>,
    count: usize,
    /// Somebody looks at what is kept.
    swept: bool,
}

struct Connection {
    stream: Stream,
    since: Instant,
    /// How long it may be idle; `None` for as long as its provider likes.
    limit: Option<Duration>,
}

impl Connection {
    fn is_usable(&mut self, now: Instant) -> bool {
        let expired = self.limit.is_some_and(|limit| now.saturating_duration_since(self.since) >= limit);
        !expired && is_quiet(&mut self.stream)
    }
}

/// Nothing came on a connection on which nothing may come, and it is not closed.
fn is_quiet(stream: &mut Stream) -> bool {
    let mut byte = [0];
    let read = pin!(tokio::task::unconstrained(stream.read(&mut byte)));
    read.poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

impl Idle {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, kept: Mutex::default() })
    }

    /// The connection to this peer that was used last.
    pub(super) fn take(&self, peer: u64) -> Option<Stream> {
        let now = clock::now();
        loop {
            let mut connection = self.lock().pop(peer)?;
            if connection.is_usable(now) {
                return Some(connection.stream);
            }
        }
    }

    /// Keeps a connection to this peer, for at most `limit`.
    pub(super) fn keep(self: &Arc<Self>, peer: u64, mut stream: Stream, limit: Option<Duration>) {
        if !is_quiet(&mut stream) {
            return;
        }
        let mut kept = self.lock();
        let coldest = if kept.count >= self.most { kept.take_coldest() } else { None };
        kept.push(peer, Connection { stream, since: clock::now(), limit });
        let unswept = !std::mem::replace(&mut kept.swept, true);
        drop(kept);
        // Closing takes its time, and is nobody's turn.
        drop(coldest);
        if unswept {
            tokio::spawn(sweep(Arc::clone(self)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, peer: u64, connection: Connection) {
        self.by_peer.entry(peer).or_default().push(connection);
        self.count += 1;
    }

    fn pop(&mut self, peer: u64) -> Option<Connection> {
        let connection = self.by_peer.get_mut(&peer)?.pop()?;
        self.count -= 1;
        Some(connection)
    }

    fn take_coldest(&mut self) -> Option<Connection> {
        let oldest = |all: &&mut Vec<Connection>| all.first().map(|first| first.since);
        let all = self.by_peer.values_mut().filter(|all| !all.is_empty()).min_by_key(oldest)?;
        self.count -= 1;
        Some(all.remove(0))
    }

    /// Takes out what cannot be used again.
    fn take_spent(&mut self, now: Instant) -> Vec<Connection> {
        let mut spent = Vec::new();
        self.by_peer.retain(|_, all| {
            spent.extend(all.extract_if(.., |connection| !connection.is_usable(now)));
            !all.is_empty()
        });
        self.count -= spent.len();
        spent
    }
}

/// Closes what was idle for too long or was closed by its provider, until nothing is left.
async fn sweep(idle: Arc<Idle>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let mut kept = idle.lock();
        let spent = kept.take_spent(clock::now());
        kept.swept = kept.count > 0;
        let goes_on = kept.swept;
        drop(kept);
        drop(spent);
        if !goes_on {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use pingora_core::protocols::l4::stream::Stream as Plain;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        (Box::new(Plain::from(ours.expect("it listens"))), theirs.expect("it connects").0)
    }

    fn count(idle: &Idle) -> usize {
        let kept = idle.lock();
        assert_eq!(kept.count, kept.by_peer.values().map(Vec::len).sum::<usize>());
        kept.count
    }

    async fn becomes(idle: &Idle, wanted: usize) {
        let reached = async {
            while count(idle) != wanted {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reached).await.expect("it is swept");
    }

    #[tokio::test]
    async fn the_one_used_last_is_used_first_and_of_too_many_the_coldest_goes() {
        let idle = Idle::new(2);
        let (mut ids, mut theirs) = (Vec::new(), Vec::new());
        for peer in [1, 2, 2] {
            let (ours, other) = pair().await;
            ids.push(ours.id());
            theirs.push(other);
            idle.keep(peer, ours, None);
        }
        assert_eq!(count(&idle), 2);
        assert!(idle.take(1).is_none(), "it was the coldest");
        assert_eq!(idle.take(2).map(|stream| stream.id()), Some(ids[2]));
        assert_eq!(idle.take(2).map(|stream| stream.id()), Some(ids[1]));
        assert!(idle.take(2).is_none());
    }

    #[tokio::test]
    async fn what_spoke_was_closed_or_waited_too_long_is_not_used() {
        let idle = Idle::new(9);
        let (ours, mut speaks) = pair().await;
        let (closes, closed) = pair().await;
        let (late, _open) = pair().await;
        let (well, _stays) = pair().await;
        idle.keep(1, ours, None);
        idle.keep(2, closes, None);
        idle.keep(3, late, Some(Duration::from_millis(1)));
        idle.keep(4, well, Some(Duration::from_secs(60)));
        speaks.write_all(b"x").await.expect("it is open");
        drop(closed);
        becomes(&idle, 1).await;
        assert!(idle.take(4).is_some(), "and what is well stays");
        becomes(&idle, 0).await;
        let (again, _stays) = pair().await;
        idle.keep(1, again, Some(Duration::ZERO));
        assert!(idle.take(1).is_none(), "nor between two looks");
    }
}

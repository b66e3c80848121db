//! Descriptors: a process that has none left can neither accept a connection nor answer a health check.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::StartError;

/// What is kept for all but clients' streams: listeners, logs, the admin listener's connections, checks, reloads.
const KEPT: u64 = 96;

/// Most connections to providers that are kept open, idle.
const IDLE: u64 = 1024;
/// Their share of the descriptors, one in so many: what is idle must not keep a request from its connection.
const IDLE_SHARE: u64 = 8;

/// What descriptors there are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Connections of clients: each may carry a stream, which takes one more toward its provider.
    pub(super) clients: usize,
    /// Connections to providers that are idle.
    pub(super) idle: usize,
}

/// Has the process open as many descriptors as it may, and returns what they are enough for.
///
/// # Errors
///
/// They are not enough to serve at all.
pub(super) fn room() -> Result<Room, StartError> {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(fits(u64::MAX)) };
    // What cannot be raised is what there is.
    let most = if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    match fits(most) {
        Room { clients: 0, .. } => Err(StartError::Descriptors { most }),
        room => Ok(room),
    }
}

/// Says so where the config lets more clients connect than there are descriptors for.
pub(super) fn warn(room: usize, connections: usize) {
    if connections > room {
        log::warn!(
            "descriptors are enough for {room} connections of clients, and server.limits.connections is {connections}: \
             no more than {room} are let in; raise the limit of open files (ulimit -n, LimitNOFILE)"
        );
    }
}

fn fits(most: u64) -> Room {
    let idle = IDLE.min(most / IDLE_SHARE);
    let clients = most.saturating_sub(KEPT + idle) / 2;
    Room { clients: usize::try_from(clients).unwrap_or(usize::MAX), idle: usize::try_from(idle).unwrap_or(usize::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_takes_two_and_some_are_kept() {
        let rooms = [0, 111, 112, 1_024, 1_048_576].map(fits).map(|room| (room.clients, room.idle));
        assert_eq!(rooms, [(0, 0), (1, 13), (1, 14), (400, 128), (523_728, 1_024)]);
        assert!(room().is_ok_and(|room| room.clients > 0));
    }
}

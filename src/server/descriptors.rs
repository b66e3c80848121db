//! Descriptors: a process that has none left can neither accept a connection nor answer a health check.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::StartError;

/// What is kept for all but clients' streams: listeners, logs, the admin listener's connections, checks, reloads.
const KEPT: u64 = 96;

/// Has the process open as many descriptors as it may, and returns how many clients' connections they are enough for:
/// each may carry a stream, which takes one more toward its provider.
///
/// # Errors
///
/// They are not enough to serve at all.
pub(super) fn connections() -> Result<usize, StartError> {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(usize::MAX) };
    // What cannot be raised is what there is.
    let most = if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    match fits(most) {
        0 => Err(StartError::Descriptors { most }),
        connections => Ok(connections),
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

fn fits(most: u64) -> usize {
    usize::try_from(most.saturating_sub(KEPT) / 2).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_takes_two_and_some_are_kept() {
        assert_eq!([0, 97, 98, 1_024, 1_048_576].map(fits), [0, 0, 1, 464, 524_240]);
        assert!(connections().is_ok_and(|room| room > 0));
    }
}

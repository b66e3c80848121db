//! How a client's connection is treated, beyond what Pingora does by itself.

use std::time::Duration;

use http::Version;
use pingora_proxy::Session;

/// Longest wait for a client to take one piece of an answer. A client may read as slowly as it likes, but one that takes
/// nothing at all would hold its stream, and the provider's, for ever.
const CLIENT_SILENCE: Duration = Duration::from_secs(300);

/// Prepares the connection for the request that has come.
pub(super) fn prepare(session: &mut Session) {
    // Otherwise whatever comes behind a body, be it the next request or an empty line that old clients send, is taken
    // for the end of the connection, and the request that is under way for nobody's.
    session.set_pipelining_enabled(true);
    // Many clients take the first status line for the answer.
    session.set_ignore_info_resp(true);
    session.set_write_timeout(Some(CLIENT_SILENCE));
    if session.req_header().version == Version::HTTP_10 {
        // It knows no chunks: the end of the connection is the answer's, see `length`.
        session.set_keepalive(None);
    }
}

//! The end of an upload from above: its client has left, or its body may not go on.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pingora_core::protocols::SocketDigest;
use pingora_core::{Error, ErrorType};
use tokio::sync::Notify;

/// The error of an upload whose client has left.
pub const CLIENT_GONE: &str = "client_gone";

/// How often it is looked whether the client of an upload that its provider does not take is still there.
const LOOKS: Duration = Duration::from_secs(1);

/// The states of a TCP connection, as Linux counts them, in which the other side has not left: open, and not known.
const STAYS: [u8; 2] = [0, 1];

/// Ends an upload. Pingora's loop takes what goes wrong with a body for the end of it, and waits for the answer; nor does it
/// see its client while the provider takes nothing.
pub struct Stop {
    why: OnceLock<&'static str>,
    told: Notify,
    client: Option<Arc<SocketDigest>>,
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("why", &self.why).finish_non_exhaustive()
    }
}

impl Stop {
    /// For an upload of this client's; where it is not known its leaving is not seen.
    pub fn new(client: Option<Arc<SocketDigest>>) -> Self {
        Self { why: OnceLock::new(), told: Notify::new(), client }
    }

    /// Ends it with the custom error `why`.
    pub fn say(&self, why: &'static str) {
        let _ = self.why.set(why);
        self.told.notify_one();
    }

    /// Waits for the end.
    pub(super) async fn said(&self) -> Box<Error> {
        loop {
            if let Some(why) = self.why.get() {
                return Error::explain(ErrorType::Custom(why), "the upload is stopped");
            }
            if tokio::time::timeout(LOOKS, self.told.notified()).await.is_err() && self.is_client_gone() {
                return Error::explain(ErrorType::Custom(CLIENT_GONE), "the upload's client has left");
            }
        }
    }

    fn is_client_gone(&self) -> bool {
        let client = self.client.as_ref().and_then(|client| client.tcp_info());
        client.is_some_and(|client| !STAYS.contains(&client.tcpi_state))
    }
}

//! A scripted provider, a raw client and a guard around the real binary: what black-box tests of the edge stand on.
//!
//! Nothing here uses the project's own code, and no HTTP framework stands between a test and the bytes: what a test
//! says is what goes over the wire, and what came over the wire is what it sees.

#![allow(dead_code, reason = "each test binary uses its own part of the shared support")]

pub mod client;
pub mod client_h2;
pub mod dialect;
pub mod edge;
pub mod formats;
pub mod gate;
pub mod http1;
pub mod provider;
pub mod provider_h2;
pub mod script;
pub mod sse;
pub mod tls;

use std::future::Future;
use std::time::Duration;

/// The longest that any single wait of a test may take, unless it says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Awaits `what`, and fails the test with a sentence when it does not come in time.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {limit:?} for {what}, and it did not happen"),
    }
}

/// Shows bytes in a failure message: text where it is text, shortened where it is long.
pub fn show(bytes: &[u8]) -> String {
    const MOST: usize = 1200;
    let text = String::from_utf8_lossy(bytes);
    if text.len() <= MOST {
        return text.into_owned();
    }
    let head: String = text.chars().take(MOST / 2).collect();
    let tail: String = text.chars().rev().take(MOST / 2).collect::<Vec<_>>().into_iter().rev().collect();
    format!("{head} …[{} bytes]… {tail}", bytes.len())
}

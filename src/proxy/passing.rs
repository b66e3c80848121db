//! Which of a provider's headers a client of its format sees.

use http::StatusCode;
use http::header::{self, HeaderName};
use pingora::http::ResponseHeader;

use super::names;
use crate::config::Server;

/// Headers of a provider that pass within its format whatever the config says: what the answer is, and when to ask again.
const PASSED: [HeaderName; 16] = [
    header::ACCEPT_RANGES,
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::DATE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::RETRY_AFTER,
    header::TRANSFER_ENCODING,
    names::PLAIN_REQUEST_ID,
    names::RETRY_AFTER_MS,
    names::SHOULD_RETRY,
];

/// Headers of one connection (RFC 9110 section 7.6.1): those of the provider's end with it, whatever the config says.
const OF_A_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
];

/// What a provider may not say to a client: what is about its own connection, and what only the edge says.
fn never_passes(name: &HeaderName) -> bool {
    OF_A_CONNECTION.contains(name) || matches!(name.as_str(), "keep-alive" | "proxy-connection") || names::is_own(name)
}

/// Takes out what `quotes` the provider's key.
pub(super) fn hide_key(head: &mut ResponseHeader, quotes: impl Fn(&[u8]) -> bool) {
    let quoting = head.headers.iter().filter(|(_, value)| quotes(value.as_bytes()));
    let quoting: Vec<_> = quoting.map(|(name, _)| name.clone()).collect();
    for name in &quoting {
        head.remove_header(name);
    }
}

/// Takes out what is not known to be for clients, such as what speaks of the provider's own connection or host.
pub(super) fn strip(head: &mut ResponseHeader, server: &Server) {
    let strange =
        |name: &&HeaderName| !PASSED.contains(name) && (!server.passes_header(name.as_str()) || never_passes(name));
    let strange: Vec<_> = head.headers.keys().filter(strange).cloned().collect();
    for name in &strange {
        head.remove_header(name);
    }
    if head.status == StatusCode::NO_CONTENT {
        // RFC 9110 section 8.6: it has none, and whoever heeds one waits for bytes that never come.
        head.remove_header(&header::CONTENT_LENGTH);
    }
}

//! Which of a provider's headers a client of its format sees.

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

/// Takes out what is not known to be for clients, such as what speaks of the provider's own connection or host.
pub(super) fn strip(head: &mut ResponseHeader, server: &Server) {
    let strange = |name: &&HeaderName| !PASSED.contains(name) && !server.passes_header(name.as_str());
    let strange: Vec<_> = head.headers.keys().filter(strange).cloned().collect();
    for name in &strange {
        head.remove_header(name);
    }
}

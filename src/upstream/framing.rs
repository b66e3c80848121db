//! Whether a provider's answer says one thing about where it ends.
//!
//! Two readers that disagree on the end of an answer read the bytes behind it as two different answers: what one user's
//! provider wrote would be another user's. So an answer whose framing can be read in two ways is none (RFC 9112 section
//! 6.3), though its status be a success.

use http::{Version, header};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;

/// Interim answers (1xx) that may come before the final one.
pub const MOST_INTERIMS: u32 = 100;

/// Checks that the head of an answer frames it in one way.
///
/// # Errors
///
/// `InvalidHTTPHeader`: a transfer coding other than `chunked` alone, which is all that is asked for, or lengths that are no
/// number or more than one. Of both, Pingora has taken out the length before, as a proxy must. HTTP/2 frames answers by
/// itself, and has no transfer codings.
pub fn check(head: &ResponseHeader) -> Result<()> {
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    let (coding, length) = (codings.next(), lengths.next());
    let chunked = |value: &[u8]| value.trim_ascii().eq_ignore_ascii_case(b"chunked");
    let number = |value: &[u8]| !value.is_empty() && value.len() <= 19 && value.iter().all(u8::is_ascii_digit);
    let wrong = if codings.next().is_some() || coding.is_some_and(|coding| !chunked(coding.as_bytes())) {
        "its transfer-encoding is not `chunked`"
    } else if lengths.next().is_some() || length.is_some_and(|length| !number(length.as_bytes())) {
        "its content-length is not one number"
    } else {
        return Ok(());
    };
    Err(Error::explain(ErrorType::InvalidHTTPHeader, wrong).into_up())
}

/// An answer's status; one of no class is to be taken for a failure of its server (RFC 9110 section 15).
#[must_use]
pub fn of_a_class(status: u16) -> u16 {
    if status >= 600 { 502 } else { status }
}

/// True for a success that a body comes with: all that are read as 200 is (RFC 9110 section 15).
#[must_use]
pub fn is_full(status: u16) -> bool {
    matches!(status, 200..=299) && !matches!(status, 204..=206)
}

/// True if nothing but the end of its connection is the end of an answer with a body: whether it was cut does not show.
#[must_use]
pub fn is_unframed(head: &ResponseHeader) -> bool {
    let framed = [header::TRANSFER_ENCODING, header::CONTENT_LENGTH].iter().any(|name| head.headers.contains_key(name));
    head.version < Version::HTTP_2 && !framed
}

/// True if what a provider sent was no HTTP, rather than that it ended the answer or its connection.
#[must_use]
pub fn is_garbage(error: &Error) -> bool {
    match error.etype() {
        ErrorType::InvalidHTTPHeader | ErrorType::H1Error | ErrorType::InvalidH2 => true,
        // Only what our own side of HTTP/2 found wrong; a reset or GOAWAY of the provider's, or a broken connection, is
        // its end.
        ErrorType::H2Error => error.root_cause().downcast_ref::<h2::Error>().is_some_and(h2::Error::is_library),
        _ => false,
    }
}

/// True if a connection of HTTP/2 has ended, with all of its requests, rather than one of them.
#[must_use]
pub fn ends_connection(error: &Error) -> bool {
    let error = error.root_cause().downcast_ref::<h2::Error>();
    error.is_some_and(|error| error.is_io() || error.is_go_away())
}

/// True if a request could not be written because its connection, which is its alone, had ended.
#[must_use]
pub fn is_unwritten(error: &Error) -> bool {
    *error.etype() == ErrorType::WriteError && error.root_cause().is::<std::io::Error>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_of_one_of_several_requests_is_no_end_of_their_connection() {
        let reset = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let check = |kind, cause: Box<dyn std::error::Error + Send + Sync>, expected| {
            let error = Error::because(kind, "writing", cause);
            assert_eq!(is_unwritten(&error), expected, "{error}");
        };
        check(ErrorType::WriteError, Box::new(reset()), true);
        check(ErrorType::WriteError, Box::new(h2::Error::from(h2::Reason::CANCEL)), false);
        check(ErrorType::ReadError, Box::new(reset()), false);
        check(ErrorType::WriteTimedout, Box::new(reset()), false);
    }

    #[test]
    fn an_answer_ends_in_one_way() {
        let check = |headers: &[(&'static str, &'static str)], expected: bool| {
            let mut head = ResponseHeader::build(200, None).unwrap();
            for (name, value) in headers {
                head.append_header(*name, *value).unwrap();
            }
            assert_eq!(check(&head).is_ok(), expected, "{headers:?}");
        };
        let (te, cl) = ("transfer-encoding", "content-length");
        check(&[], true);
        check(&[(te, "chunked")], true);
        check(&[(te, " Chunked")], true);
        check(&[(cl, "0")], true);
        check(&[(cl, "254")], true);
        for coding in ["gzip, chunked", "chunked, chunked", "chunked, identity", "identity", "xchunked", "", "chunked,"]
        {
            check(&[(te, coding)], false);
        }
        for length in ["254, 254", "+1", "-1", "0x10", "1 0", "", "99999999999999999999", "1.0"] {
            check(&[(cl, length)], false);
        }
        check(&[(te, "chunked"), (te, "chunked")], false);
        check(&[(cl, "1"), (cl, "1")], false);
    }
}

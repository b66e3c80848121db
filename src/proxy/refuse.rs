//! Answers that are ours: every refusal and failure, in the client's own format, from one table.

use std::borrow::Cow;

use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorSource, ErrorType};
use pingora_proxy::Session;
use tidegate_codec::hub::{Fault, FaultKind};
use tidegate_codec::{Format, wire};

use super::body::BodyError;
use super::exchange::Exchange;
use super::upload::REFUSED;
use crate::config::AuthFailure;
use crate::upstream::seam::{self, CONTEXT_LENGTH, DRAINED, KEY_REFUSED, STREAM_FAILED, STREAM_TOO_LONG, TOO_LONG};
use crate::upstream::{BADLY_PACKED, framing};

/// The error of an answer without the body that it must have.
pub(super) const EMPTY_ANSWER: &str = "upstream_empty";
/// The error of a success that is no answer of a model, such as the page of a login.
pub(super) const NO_ANSWER: &str = "upstream_no_answer";

/// The error of an upload whose provider leads elsewhere.
pub(super) const UPLOAD_ASTRAY: &str = "upstream_upload";

/// The error of an answer that leads elsewhere.
const REDIRECTED: &str = "upstream_redirect";

/// What is said to whoever the process does not wait for.
const ENDS: &str = "This server is about to end: send the request again.";

/// An answer that is ours.
#[derive(Debug)]
pub(super) struct Rejection {
    /// What the client is told.
    pub fault: Box<Fault<'static>>,
    /// A bounded word for metrics and the log.
    pub label: &'static str,
    /// `retry-after`.
    pub retry_after: Option<String>,
    /// `allow`, with a 405.
    pub allow: Option<&'static str>,
    /// The connection may carry another request.
    pub keep_connection: bool,
}

impl Rejection {
    /// A rejection whose label is the fault's kind.
    pub(super) fn new(fault: Fault<'static>) -> Self {
        Self {
            label: fault.kind.label(),
            fault: Box::new(fault),
            retry_after: None,
            allow: None,
            keep_connection: true,
        }
    }

    /// The same under another label.
    pub(super) fn labelled(mut self, label: &'static str) -> Self {
        self.label = label;
        self
    }

    /// The same, with the connection closed behind it: the request's body was not read.
    pub(super) fn closing(mut self) -> Self {
        self.keep_connection = false;
        self
    }

    /// The same with `retry-after`.
    pub(super) fn retry_after(mut self, value: Option<String>) -> Self {
        self.retry_after = value;
        self
    }
}

impl From<AuthFailure> for Rejection {
    fn from(failure: AuthFailure) -> Self {
        let message = match failure {
            AuthFailure::Missing => {
                "No API key. Send it as `Authorization: Bearer KEY`, `x-api-key: KEY`, `api-key: KEY` or `x-goog-api-key: KEY`."
            }
            AuthFailure::Unknown => "The API key is not known here.",
        };
        Self::new(Fault::new(FaultKind::Authentication, message).with_code("invalid_api_key")).closing()
    }
}

/// Word for a body for which there is no room beside others'.
const NO_ROOM: &str = "body_memory";

impl From<BodyError> for Rejection {
    fn from(error: BodyError) -> Self {
        let (kind, status, message, label) = match error {
            BodyError::TooLarge { limit } => (
                FaultKind::TooLarge,
                413,
                format!("The request body is longer than {limit} bytes, the most that this server reads."),
                "body_too_large",
            ),
            BodyError::NoRoom => (
                FaultKind::Overloaded,
                503,
                "The server holds too many request bodies at once. Try again in a moment.".to_owned(),
                NO_ROOM,
            ),
            BodyError::LengthRequired => (
                FaultKind::InvalidRequest,
                411,
                "An HTTP/2 request body above 65536 bytes needs a content-length header.".to_owned(),
                "length_required",
            ),
            BodyError::BadLength => {
                (FaultKind::InvalidRequest, 400, "content-length is not a number.".to_owned(), "bad_length")
            }
            BodyError::Encoded(encoding) => (
                FaultKind::InvalidRequest,
                415,
                format!("content-encoding {encoding} is not read here: send the body as it is."),
                "body_encoded",
            ),
            BodyError::TooSlow => {
                (FaultKind::Timeout, 408, "The request body did not come in time.".to_owned(), "body_timeout")
            }
            BodyError::BadFraming => {
                let message = "The chunks or trailers of the request's body are not valid HTTP.".to_owned();
                (FaultKind::InvalidRequest, 400, message, "bad_framing")
            }
            BodyError::Broken(_) if seam::heed().is_err() => (FaultKind::Overloaded, 503, ENDS.to_owned(), DRAINED),
            BodyError::Broken(_) => {
                (FaultKind::InvalidRequest, 400, "The request body broke off.".to_owned(), "body_broken")
            }
        };
        let mut fault = Fault::new(kind, message);
        fault.status = status;
        let retry_after = (status == 503).then(|| "1".to_owned());
        Self::new(fault).labelled(label).closing().retry_after(retry_after)
    }
}

/// Writes `rejection` as the whole answer, in `format`.
///
/// # Errors
///
/// The client is gone.
pub(super) async fn answer(
    session: &mut Session,
    exchange: &mut Exchange,
    format: Format,
    rejection: Rejection,
) -> pingora::Result<()> {
    let trail = &mut exchange.trail;
    trail.error = Some(rejection.label);
    if rejection.label == NO_ROOM {
        trail.shed.get_or_insert(("memory", "bodies"));
    }
    let mut rejection = rejection;
    match &rejection.retry_after {
        Some(after) => rejection.fault.retry_after_s = after.trim().parse().ok(),
        None => rejection.retry_after = rejection.fault.retry_after_s.map(|after| after.to_string()),
    }
    let (status, body) = wire(format).write_error(&rejection.fault, Some(&trail.request_id));
    let mut header = ResponseHeader::build_no_case(status, Some(6))?;
    header.insert_header("content-type", "application/json")?;
    header.insert_header("content-length", body.len().to_string())?;
    write_request_id(&mut header, format, &trail.request_id)?;
    if let Some(after) = rejection.retry_after {
        header.insert_header("retry-after", after)?;
    }
    if let Some(allow) = rejection.allow {
        header.insert_header("allow", allow)?;
    }
    if !rejection.keep_connection {
        session.set_keepalive(None);
    }
    exchange.give_back();
    write(session, header, body).await
}

/// The request's id, in the header that everybody knows and in the one where the format's SDKs look.
fn write_request_id(header: &mut ResponseHeader, format: Format, id: &str) -> pingora::Result<()> {
    header.insert_header("x-request-id", id)?;
    if let Some(name) = wire(format).spec().request_id_header {
        header.insert_header(name, id)?;
    }
    Ok(())
}

/// Writes a whole answer of ours.
///
/// # Errors
///
/// The client is gone: it is nobody else's, whatever was to be written.
async fn write(session: &mut Session, head: ResponseHeader, body: Vec<u8>) -> pingora::Result<()> {
    session.write_response_header(Box::new(head), false).await.map_err(Error::into_down)?;
    session.write_response_body(Some(Bytes::from(body)), true).await.map_err(Error::into_down)
}

/// Writes `body` as a whole JSON answer with status 200.
///
/// # Errors
///
/// The client is gone.
pub(super) async fn answer_json(session: &mut Session, exchange: &mut Exchange, body: Vec<u8>) -> pingora::Result<()> {
    let mut header = ResponseHeader::build_no_case(200, Some(4))?;
    header.insert_header("content-type", "application/json")?;
    header.insert_header("content-length", body.len().to_string())?;
    let format = exchange.trail.format.unwrap_or(Format::DEFAULT);
    write_request_id(&mut header, format, &exchange.trail.request_id)?;
    exchange.give_back();
    write(session, header, body).await
}

/// What the client is told of a failure between us and a provider; `None` when it is the client that failed.
pub(super) fn fault_of(error: &Error, failed_status: Option<u16>) -> Option<(Fault<'static>, &'static str)> {
    if *error.esource() == ErrorSource::Downstream {
        return None;
    }
    if let (Some(status), ErrorType::HTTPStatus(_)) = (failed_status, error.etype()) {
        return Some(told_status(status));
    }
    if framing::is_garbage(error) {
        return Some(coded(FaultKind::Api, 502, "The provider's answer is not valid HTTP.", "upstream_protocol"));
    }
    let (kind, status, message, code) = match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => {
            (FaultKind::Timeout, 504, "The provider did not accept a connection in time.", "upstream_connect_timeout")
        }
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => {
            (FaultKind::Timeout, 504, "The provider did not answer in time.", "upstream_timeout")
        }
        ErrorType::ConnectRefused
        | ErrorType::ConnectNoRoute
        | ErrorType::ConnectError
        | ErrorType::ConnectProxyFailure
        | ErrorType::SocketError
        | ErrorType::BindError => (FaultKind::Api, 502, "The provider cannot be reached.", "upstream_unreachable"),
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError => {
            (FaultKind::Api, 502, "No secure connection to the provider could be made.", "upstream_tls")
        }
        ErrorType::Custom(BADLY_PACKED) => {
            (FaultKind::Api, 502, "The provider's answer is not compressed as its content-encoding says.", BADLY_PACKED)
        }
        ErrorType::HTTPStatus(status) => return Some(told_status(*status)),
        ErrorType::Custom(KEY_REFUSED) => return Some((Fault::key_refused(None), KEY_REFUSED)),
        ErrorType::Custom(STREAM_FAILED) => {
            (FaultKind::Api, 502, "The provider's stream failed before its first word.", STREAM_FAILED)
        }
        ErrorType::Custom(STREAM_TOO_LONG) => {
            (FaultKind::Timeout, 504, "The answer took longer than it may here.", STREAM_TOO_LONG)
        }
        ErrorType::Custom(DRAINED) => (FaultKind::Overloaded, 503, ENDS, DRAINED),
        ErrorType::Custom(CONTEXT_LENGTH) => {
            (FaultKind::InvalidRequest, 400, "The prompt is longer than the model takes.", CONTEXT_LENGTH)
        }
        ErrorType::Custom(REFUSED) => {
            (FaultKind::InvalidRequest, 400, "The request's body may not go to the provider.", REFUSED)
        }
        ErrorType::Custom(TOO_LONG) => {
            (FaultKind::Api, 502, "The provider's answer is too long to translate.", TOO_LONG)
        }
        ErrorType::Custom(NO_ANSWER) => {
            (FaultKind::Api, 502, "The provider answered with a success that is no answer of a model.", NO_ANSWER)
        }
        ErrorType::Custom(UPLOAD_ASTRAY) => {
            (FaultKind::Api, 502, "The provider led the upload to another path than its own.", UPLOAD_ASTRAY)
        }
        ErrorType::Custom(EMPTY_ANSWER) => {
            (FaultKind::Api, 502, "The provider answered with a success that has no body.", EMPTY_ANSWER)
        }
        _ => (FaultKind::Api, 502, "The connection to the provider broke.", "upstream_broken"),
    };
    Some(coded(kind, status, message, code))
}

fn coded(
    kind: FaultKind,
    status: u16,
    message: impl Into<Cow<'static, str>>,
    code: &'static str,
) -> (Fault<'static>, &'static str) {
    let retry_after_s = (code == DRAINED).then_some(1);
    (Fault { status, retry_after_s, ..Fault::new(kind, message).with_code(code) }, code)
}

/// What the client is told when all that is known of a failure is the provider's status.
pub(super) fn told_status(status: u16) -> (Fault<'static>, &'static str) {
    if let Some(told) = operators(status, None) {
        return told;
    }
    let kind = FaultKind::from_status(status);
    let mut fault = Fault::new(kind, format!("The provider answered with status {status}."));
    fault.status = status;
    (fault, kind.label())
}

/// What the client is told of a status that only the operator can do something about, where its body is known to have
/// `said` so; `None` for any other.
pub(super) fn operators(status: u16, said: Option<FaultKind>) -> Option<(Fault<'static>, &'static str)> {
    match status {
        300..=399 => Some((redirect_fault(status), REDIRECTED)),
        _ if is_our_key(status, said) => Some((Fault::key_refused(Some(status)), KEY_REFUSED)),
        _ => None,
    }
}

/// True for a status with which a provider refuses *our* key: the client's own is not at fault and must not be told so. A
/// 403 that is known to have `said` that a filter took the prompt is the client's (OpenRouter, xAI).
pub(super) fn is_our_key(status: u16, said: Option<FaultKind>) -> bool {
    status == 401 || (status == 403 && said != Some(FaultKind::ContentFilter))
}

/// A provider whose `url` is not its own last word: a redirect would take the credentials along to wherever it leads.
fn redirect_fault(status: u16) -> Fault<'static> {
    let message = format!(
        "The provider redirects (status {status}), which is not followed. Its `url` in the config must lead there."
    );
    coded(FaultKind::Api, 502, message, REDIRECTED).0
}

//! The head of an answer on its way to the client: what the answer is, and what is done with its pieces.

use std::sync::Arc;

use http::header::{self, HeaderName, HeaderValue};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType};
use tidegate_codec::hub::{Fault, FaultKind};
use tidegate_codec::{Format, Framing, Gatherer, Operation, Transcoder, Undo, Watch, wire};

use super::begun::Shown;
use super::exchange::{Admitted, Attempt, Collected, Exchange, Mode, Phase, Receiving, Sending, Task};
use super::open::Open;
use super::passing::{hide_key, strip};
use super::refuse::{self, is_our_key};
use super::{begun, comeback, hedge, late, names, retry, services};
use crate::clock;
use crate::config::Server;
use crate::routing::Failure;
use crate::upstream::seam::Refusal;
use crate::upstream::{MediaType, Packed, framing};

/// Headers of a provider that mean the same behind a translation.
const KEPT: [HeaderName; 4] = [header::RETRY_AFTER, names::RETRY_AFTER_MS, names::SHOULD_RETRY, header::DATE];

/// Decides what becomes of an answer by its head, and writes the head that the client sees.
///
/// # Errors
///
/// The answer is not wanted and another attempt may follow, or it is none that a client can be given.
pub(super) fn head(exchange: &mut Exchange, head: &mut ResponseHeader) -> pingora::Result<()> {
    let status = of_a_class(head)?;
    if status == 101 {
        // Nobody asked for another protocol; passing this on would make a tunnel.
        return Err(Error::explain(ErrorType::InvalidHTTPHeader, "the provider switches protocols").into_up());
    }
    if status < 200 {
        return interim(exchange);
    }
    framing::check(head)?;
    hedge::settle(exchange);
    let Some(sending) = exchange.sending() else { return Ok(()) };
    hear(sending, head, status);
    if !late::stands_in(sending) {
        begun::status(exchange, status);
    }
    let Some(sending) = exchange.sending() else { return Ok(()) };
    if status >= 400 && retry::follows(sending, Failure::Status(status), || Some(refuse::told_status(status))) {
        (sending.failed_status, sending.follows) = (Some(status), true);
        return Err(Error::explain(ErrorType::HTTPStatus(status), "the provider's status asks for another").into_up());
    }
    services::check_denied(sending, status)?;
    let Sending { admitted, attempt: Some(attempt), .. } = sending else { return Ok(()) };
    let mode = match &admitted.task {
        Task::Format(operation) => answer_mode(head, admitted, *operation, attempt),
        Task::Service(call) => Some(services::answer_mode(head, call)),
    };
    let Some(mode) = mode else {
        return Err(empty_answer(status));
    };
    let packed = if services::asks_for_head(admitted) { None } else { Packed::of(head).map(Box::new) };
    if let Some(packed) = &packed {
        head.clone_from(packed.head());
    }
    if matches!(mode, Mode::Error { status: ..300, .. }) {
        return Err(Error::explain(ErrorType::Custom(refuse::NO_ANSWER), "no answer of a model").into_up());
    }
    let open = (may_be_cut(head, &mode) && !services::asks_for_head(admitted)).then(Open::default);
    let left = text(head, header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    if status >= 400 && matches!(mode, Mode::PassBlind) {
        exchange.trail.error = Some(FaultKind::from_status(status).label());
    }
    let Some(sending) = exchange.sending() else { return Ok(()) };
    let told = comeback::told(head, sending)?;
    let Sending { admitted, attempt: Some(attempt), .. } = sending else { return Ok(()) };
    let shown = (status < 300).then(|| Shown::of(admitted, attempt)).flatten();
    if status < 300 {
        begun::tie(admitted, attempt);
    }
    let client = (admitted.format, admitted.stream.unwrap_or_default());
    let snapshot = Arc::clone(&admitted.snapshot);
    if let (400.., Some(auth)) = (status, &attempt.provider.auth) {
        hide_key(head, |words| auth.key.is_in(words));
    }
    let loss = attempt.loss_header.take();
    let request_id = exchange.trail.request_id.clone();
    write_head(head, &mode, client, &snapshot.settings.server)?;
    add_ours(head, &request_id, loss, told)?;
    go_on(exchange, |sending| Receiving { sending, mode, left, packed, shown, open, held: Vec::new(), quiet: None });
    Ok(())
}

/// What the head says of a failure, and of when to ask again.
fn hear(sending: &mut Sending, head: &ResponseHeader, status: u16) {
    let words = head.extensions.get::<Refusal>().map(|said| said.fault.kind);
    sending.no_credit = words == Some(FaultKind::Billing);
    sending.filtered = words == Some(FaultKind::ContentFilter);
    sending.retry_after = text(head, header::RETRY_AFTER);
    sending.asked = if status < 300 { None } else { retry::asked(&head.headers, clock::unix_now()) };
}

/// True for JSON that passes as it comes, and may end where its connection did.
fn may_be_cut(head: &ResponseHeader, mode: &Mode) -> bool {
    let passes = matches!(mode, Mode::PassWhole { .. } | Mode::Named { .. } | Mode::PassTail(_) | Mode::PassBlind);
    let plain = !head.headers.contains_key(header::CONTENT_ENCODING);
    let has_body = !matches!(head.status.as_u16(), 204 | 205 | 304);
    passes && plain && has_body && framing::is_unframed(head) && MediaType::of(&head.headers) == MediaType::Json
}

/// Adds what the edge says itself, and what it says in the provider's place.
fn add_ours(
    head: &mut ResponseHeader,
    request_id: &str,
    loss: Option<String>,
    told: Vec<(&'static str, HeaderValue)>,
) -> pingora::Result<()> {
    head.insert_header(names::REQUEST_ID_TEXT, request_id)?;
    if let Some(loss) = loss {
        head.insert_header(names::LOSS, loss)?;
    }
    told.into_iter().try_for_each(|(name, value)| head.insert_header(name, value))
}

/// From sending to receiving.
fn go_on(exchange: &mut Exchange, receiving: impl FnOnce(Sending) -> Receiving) {
    exchange.phase = match std::mem::take(&mut exchange.phase) {
        Phase::Sending(sending) => Phase::Receiving(Box::new(receiving(*sending))),
        other @ (Phase::Arrived | Phase::Admitted(_) | Phase::Receiving(_)) => other,
    };
}

/// The status, of a class.
fn of_a_class(head: &mut ResponseHeader) -> pingora::Result<u16> {
    let (came, status) = (head.status.as_u16(), framing::of_a_class(head.status.as_u16()));
    if came != status {
        head.set_status(status)?;
    }
    Ok(status)
}

/// One more interim answer. Each makes the provider's deadline begin anew, so they cannot go on for ever.
fn interim(exchange: &mut Exchange) -> pingora::Result<()> {
    let Some(attempt) = exchange.sending().and_then(|sending| sending.attempt.as_mut()) else { return Ok(()) };
    attempt.interims += 1;
    if attempt.interims <= framing::MOST_INTERIMS {
        return Ok(());
    }
    Err(Error::explain(ErrorType::InvalidHTTPHeader, "the provider sends one interim answer after the other").into_up())
}

/// What is done with an answer of the client's or another format; `None` for one that cannot be given.
fn answer_mode(
    head: &ResponseHeader,
    admitted: &Admitted,
    operation: Operation,
    attempt: &mut Attempt,
) -> Option<Mode> {
    // A stream that is one array reads as an answer that is whole: it is passed on as it is, or asked for as events.
    let array = admitted.stream == Some(Framing::JsonArray);
    let passes_array = array && attempt.format == admitted.format && !attempt.translated;
    let reframed = array && !passes_array;
    let shape = Shape {
        status: head.status.as_u16(),
        kind: MediaType::of(&head.headers),
        wanted: (operation == Operation::Generate && !passes_array).then_some(admitted.envelope.stream),
    };
    // What was done to a request within one format must be undone in its answer too, but for a number.
    let as_it_is = attempt.undo == Undo::default() || operation == Operation::Count;
    let passes = attempt.format == admitted.format && as_it_is && !reframed;
    match reshape_mode(&shape, admitted.format, attempt) {
        Some(mode) => Some(mode),
        None if passes => pass_mode(&shape, admitted, attempt),
        None if operation == Operation::Count => count_mode(&shape),
        None => translate_mode(&shape, admitted.format, attempt),
    }
}

/// An answer without a body has no piece in which to say something: the edge answers by itself, with the provider's
/// status where that is an error or leads elsewhere.
pub(super) fn empty_answer(status: u16) -> Box<Error> {
    let kind = match status {
        // It was not asked whether something had changed.
        ..300 | 304 => ErrorType::Custom(refuse::EMPTY_ANSWER),
        _ => ErrorType::HTTPStatus(status),
    };
    Error::explain(kind, "the provider's answer has no body").into_up()
}

/// True if a body belongs to the answer that is coming; without one it is none.
pub(super) fn wants_body(exchange: &Exchange) -> bool {
    let Phase::Receiving(receiving) = &exchange.phase else { return false };
    !matches!(receiving.mode, Mode::PassBlind | Mode::PassTail(_))
        && !services::asks_for_head(&receiving.sending.admitted)
}

/// What an answer's head says of it.
struct Shape {
    status: u16,
    /// What its `content-type` says.
    kind: MediaType,
    /// Whether a stream was asked for; `None` for what never is one.
    wanted: Option<bool>,
}

/// The provider answers in the other shape than it was asked for; `None` if not.
fn reshape_mode(shape: &Shape, client: Format, attempt: &mut Attempt) -> Option<Mode> {
    let wanted_stream = shape.wanted.filter(|_| shape.status < 300 && !matches!(shape.status, 204 | 205))?;
    if wanted_stream && matches!(shape.kind, MediaType::Json | MediaType::Unsaid) {
        return Some(Mode::Streamed { transcoder: transcoder(client, attempt), body: Collected::default() });
    }
    if !wanted_stream && shape.kind == MediaType::Events {
        let undo = std::mem::take(&mut attempt.undo);
        return Some(Mode::Gathered(Some(Box::new(Gatherer::new(attempt.format, undo)))));
    }
    None
}

pub(super) fn transcoder(client: Format, attempt: &mut Attempt) -> Box<Transcoder> {
    let undo = std::mem::take(&mut attempt.undo);
    Box::new(Transcoder::new(attempt.format, client, Arc::clone(&attempt.reply), undo))
}

/// The provider speaks the client's format; `None` for a success without a body where an answer was asked for.
fn pass_mode(shape: &Shape, admitted: &Admitted, attempt: &Attempt) -> Option<Mode> {
    let naming = admitted.naming().filter(|_| shape.wanted.is_some());
    Some(match shape.status {
        204 | 205 | 304 if shape.wanted.is_some() => return None,
        204 | 205 | 304 => Mode::PassBlind,
        300.. => Mode::Error { status: shape.status, same: true, body: Collected::default() },
        _ if shape.wanted.is_some() && shape.kind == MediaType::Other => no_answer(shape.status),
        _ if shape.kind == MediaType::Events => {
            let watch = Watch::new(attempt.format, Arc::clone(&attempt.reply));
            Mode::PassStream(Box::new(match naming {
                Some(naming) => watch.named(naming),
                None => watch,
            }))
        }
        _ => match naming {
            Some(naming) => Mode::Named { naming, body: Collected::default(), waited: false },
            None => Mode::PassWhole { kept: Vec::new(), overflow: false },
        },
    })
}

/// The provider speaks another format than the client.
fn translate_mode(shape: &Shape, client: Format, attempt: &mut Attempt) -> Option<Mode> {
    match shape.status {
        204 | 205 | 304 => None,
        300.. => Some(Mode::Error { status: shape.status, same: false, body: Collected::default() }),
        _ if shape.kind == MediaType::Events => Some(Mode::Stream(transcoder(client, attempt))),
        _ if shape.wanted == Some(false) && shape.kind != MediaType::Other => Some(Mode::Whole(Collected::default())),
        // Neither a stream nor JSON where a stream was asked for: a success that the client could not read.
        _ => Some(no_answer(shape.status)),
    }
}

/// The provider tells a number of tokens in another format than the client's.
fn count_mode(shape: &Shape) -> Option<Mode> {
    match (shape.status, &shape.kind) {
        (204 | 205 | 304, _) => None,
        (..300, MediaType::Json | MediaType::Unsaid) => Some(Mode::Whole(Collected::default())),
        _ => Some(no_answer(shape.status)),
    }
}

/// What is no answer of a model, whatever its status says.
pub(super) fn no_answer(status: u16) -> Mode {
    Mode::Error { status, same: false, body: Collected::default() }
}

/// Makes the provider's head the client's.
fn write_head(
    head: &mut ResponseHeader,
    mode: &Mode,
    (client, framing): (Format, Framing),
    server: &Server,
) -> pingora::Result<()> {
    let upstream_id = text(head, names::REQUEST_ID).or_else(|| text(head, names::PLAIN_REQUEST_ID));
    match mode {
        Mode::PassWhole { .. } | Mode::PassBlind | Mode::PassTail(_) | Mode::PassStream(_) | Mode::Named { .. } => {
            strip(head, server);
            if matches!(mode, Mode::PassStream(_) | Mode::Named { .. }) {
                head.remove_header(&header::CONTENT_LENGTH);
            }
        }
        Mode::Stream(_) | Mode::Streamed { .. } | Mode::Whole(_) | Mode::Gathered(_) | Mode::Error { .. } => {
            let own = head.status.as_u16();
            let words = head.extensions.get::<Refusal>().map(|said| said.fault.kind);
            let (status, same) = if let Mode::Error { status, same, .. } = mode {
                let said = head.extensions.get::<Refusal>();
                // What is not in the format is said anew in it, status and all.
                let same = *same && said.is_none_or(|said| said.in_format);
                (client_status(*status, client, same, said), same)
            } else {
                (own, false)
            };
            if same && own >= 400 && !is_our_key(own, words) && MediaType::of(&head.headers) == MediaType::Json {
                // The body will most likely pass as it is, and its headers mean the same.
                strip(head, server);
                return kept_head(head, upstream_id);
            }
            *head = translated_head(head, status, mode, framing)?;
            if let (Some(name), Some(id)) = (wire(client).spec().request_id_header, &upstream_id) {
                head.insert_header(name, id)?;
            }
        }
    }
    tell_upstream_id(head, upstream_id)
}

fn tell_upstream_id(head: &mut ResponseHeader, upstream_id: Option<String>) -> pingora::Result<()> {
    if let Some(id) = upstream_id {
        head.insert_header(names::UPSTREAM_REQUEST_ID, id)?;
    }
    Ok(())
}

/// A head that stays, around a body that may change its length.
fn kept_head(head: &mut ResponseHeader, upstream_id: Option<String>) -> pingora::Result<()> {
    head.remove_header(&header::CONTENT_LENGTH);
    tell_upstream_id(head, upstream_id)
}

fn translated_head(
    old: &ResponseHeader,
    status: u16,
    mode: &Mode,
    framing: Framing,
) -> pingora::Result<ResponseHeader> {
    let mut head = ResponseHeader::build_no_case(status, Some(12))?;
    head.set_version(old.version);
    for name in KEPT {
        if let Some(value) = old.headers.get(&name) {
            head.insert_header(name, value.clone())?;
        }
    }
    let (kind, cache) = match mode {
        Mode::Stream(_) | Mode::Streamed { .. } => match framing {
            Framing::Events => ("text/event-stream; charset=utf-8", Some("no-cache")),
            Framing::JsonArray => ("application/json", Some("no-cache")),
        },
        Mode::Whole(_)
        | Mode::Gathered(_)
        | Mode::Error { .. }
        | Mode::PassWhole { .. }
        | Mode::Named { .. }
        | Mode::PassStream(_)
        | Mode::PassTail(_)
        | Mode::PassBlind => ("application/json", None),
    };
    head.insert_header(header::CONTENT_TYPE, HeaderValue::from_static(kind))?;
    if let Some(cache) = cache {
        head.insert_header(header::CACHE_CONTROL, HeaderValue::from_static(cache))?;
        head.insert_header(names::X_ACCEL_BUFFERING, HeaderValue::from_static("no"))?;
    }
    Ok(head)
}

/// The status that a client of `client` is shown for a provider's `status`, whose body is known to have `said` so.
fn client_status(status: u16, client: Format, same: bool, said: Option<&Refusal>) -> u16 {
    let words = said.map(|said| said.fault.kind);
    if same && status >= 400 && !is_our_key(status, words) {
        return status;
    }
    let said = said.filter(|_| refuse::operators(status, words).is_none());
    match said {
        Some(said) => wire(client).write_error(&said.fault, None).0,
        None => wire(client).write_error(&fault_for(client, status, b"").0, None).0,
    }
}

/// What a failed answer says, whatever its body is, and its label.
pub(super) fn fault_for(provider: Format, status: u16, body: &[u8]) -> (Fault<'static>, &'static str) {
    let said = || wire(provider).read_error(status, body);
    refuse::operators(status, (status == 403).then(|| said().kind)).unwrap_or_else(|| {
        let fault = said().into_owned();
        let label = fault.kind.label();
        (fault, label)
    })
}

fn text(head: &ResponseHeader, name: HeaderName) -> Option<String> {
    head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

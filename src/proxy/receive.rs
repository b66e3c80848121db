//! An answer on its way to the client: what it is, and what is done with each piece.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType};
use tidegate_codec::hub::{Fault, FaultKind};
use tidegate_codec::{
    Format, Framing, Gatherer, Operation, Outcome, Transcoder, TranslatedResponse, Undo, Watch, translate_response,
    wire,
};

use super::exchange::{
    Admitted, Attempt, Collected, Exchange, Mode, PASS_KEPT, Phase, Receiving, Sending, Task, Trail,
};
use super::passing::strip;
use super::refuse::{self, credential_fault};
use super::{begun, names, retry, services, silence};
use crate::clock;
use crate::config::Server;
use crate::observe::{Abort, Side};
use crate::routing::{Failure, OnLoss};
use crate::upstream::seam::is_heartbeat;

/// Longest answer that is collected to be translated as a whole, in bytes.
const WHOLE_LIMIT: usize = 64 << 20;
/// Longest error answer that is read, in bytes.
const ERROR_LIMIT: usize = 1 << 20;

/// Headers of a provider that mean the same behind a translation.
const KEPT: [HeaderName; 4] = [header::RETRY_AFTER, names::RETRY_AFTER_MS, names::SHOULD_RETRY, header::DATE];

/// Decides what becomes of an answer by its head, and writes the head that the client sees.
///
/// # Errors
///
/// The answer is not wanted and another attempt may follow, or it is none that a client can be given.
pub(super) fn head(exchange: &mut Exchange, head: &mut ResponseHeader) -> pingora::Result<()> {
    let status = head.status.as_u16();
    if status == 101 {
        // Nobody asked for another protocol; passing this on would make a tunnel.
        return Err(Error::explain(ErrorType::InvalidHTTPHeader, "the provider switches protocols").into_up());
    }
    if status < 200 {
        return Ok(());
    }
    begun::status(exchange, status);
    let Some(sending) = exchange.sending() else { return Ok(()) };
    sending.retry_after = text(head, header::RETRY_AFTER);
    sending.asked = retry::asked(&head.headers, clock::unix_now());
    if let Some(attempt) = &sending.attempt {
        attempt.lease.answered(&attempt.model, status, sending.asked);
    }
    if status >= 400 && retry::follows(sending, Failure::Status(status)) {
        (sending.failed_status, sending.follows) = (Some(status), true);
        return Err(Error::explain(ErrorType::HTTPStatus(status), "the provider's status asks for another").into_up());
    }
    let Sending { admitted, attempt: Some(attempt), .. } = sending else { return Ok(()) };
    let mode = match &admitted.task {
        Task::Format(operation) => answer_mode(head, admitted, *operation, attempt),
        Task::Service(call) => Some(services::answer_mode(status, call)),
    };
    let Some(mut mode) = mode else {
        return Err(empty_answer(status));
    };
    if let Mode::Whole(Collected { announced: left, .. })
    | Mode::Streamed { body: Collected { announced: left, .. }, .. }
    | Mode::Error { body: Collected { announced: left, .. }, .. }
    | Mode::PassWhole { left, .. } = &mut mode
    {
        *left = text(head, header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    }
    if status >= 400 && matches!(mode, Mode::PassBlind) {
        exchange.trail.error = Some(FaultKind::from_status(status).label());
    }
    let Some(Sending { admitted, attempt: Some(attempt), .. }) = exchange.sending() else { return Ok(()) };
    if status < 300 {
        begun::tie(admitted, attempt);
    }
    let (format, framing) = (admitted.format, admitted.stream.unwrap_or_default());
    let snapshot = Arc::clone(&admitted.snapshot);
    let loss = attempt.loss_header.take();
    let request_id = exchange.trail.request_id.clone();
    write_head(head, &mode, (format, framing), &snapshot.settings.server)?;
    head.insert_header(names::REQUEST_ID_TEXT, &request_id)?;
    if let Some(loss) = loss {
        head.insert_header(names::LOSS, loss)?;
    }
    exchange.phase = match std::mem::take(&mut exchange.phase) {
        Phase::Sending(sending) => Phase::Receiving(Box::new(Receiving { sending: *sending, mode })),
        other => other,
    };
    Ok(())
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
        kind: kind_of(head),
        wanted: (operation == Operation::Generate && !passes_array).then_some(admitted.envelope.stream),
    };
    // What was done to a request within one format must be undone in its answer too.
    let passes = attempt.format == admitted.format && attempt.undo == Undo::default() && !reframed;
    match reshape_mode(&shape, admitted.format, attempt) {
        Some(mode) => Some(mode),
        None if passes => Some(pass_mode(&shape, attempt)),
        None => translate_mode(&shape, admitted.format, attempt),
    }
}

/// An answer without a body has no piece in which to say something: the edge answers by itself, with the provider's
/// status where that is an error.
pub(super) fn empty_answer(status: u16) -> Box<Error> {
    let kind = if status >= 400 { ErrorType::HTTPStatus(status) } else { ErrorType::Custom(refuse::EMPTY_ANSWER) };
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
    kind: Kind,
    /// Whether a stream was asked for; `None` for what never is one.
    wanted: Option<bool>,
}

/// What a `content-type` says of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An event stream.
    Stream,
    /// JSON.
    Json,
    /// Nothing that tells: it is missing or general.
    Unsaid,
    /// Another thing, such as the page of a login or of a proxy on the way.
    Other,
}

/// The provider answers in the other shape than it was asked for; `None` if not.
fn reshape_mode(shape: &Shape, client: Format, attempt: &mut Attempt) -> Option<Mode> {
    let wanted_stream = shape.wanted.filter(|_| shape.status < 300 && !matches!(shape.status, 204 | 205))?;
    if wanted_stream && matches!(shape.kind, Kind::Json | Kind::Unsaid) {
        return Some(Mode::Streamed { transcoder: transcoder(client, attempt), body: Collected::default() });
    }
    if !wanted_stream && shape.kind == Kind::Stream {
        let undo = std::mem::take(&mut attempt.undo);
        return Some(Mode::Gathered(Some(Box::new(Gatherer::new(attempt.format, undo)))));
    }
    None
}

fn transcoder(client: Format, attempt: &mut Attempt) -> Box<Transcoder> {
    let undo = std::mem::take(&mut attempt.undo);
    Box::new(Transcoder::new(attempt.format, client, Arc::clone(&attempt.reply), undo))
}

/// The provider speaks the client's format.
fn pass_mode(shape: &Shape, attempt: &Attempt) -> Mode {
    match shape.status {
        204 | 205 | 304 => Mode::PassBlind,
        300.. => Mode::Error { status: shape.status, same: true, body: Collected::default() },
        _ if shape.wanted.is_some() && shape.kind == Kind::Other => no_answer(shape.status),
        _ if shape.kind == Kind::Stream => {
            Mode::PassStream(Box::new(Watch::new(attempt.format, Arc::clone(&attempt.reply))))
        }
        _ => Mode::PassWhole { kept: Vec::new(), overflow: false, left: None },
    }
}

/// The provider speaks another format than the client.
fn translate_mode(shape: &Shape, client: Format, attempt: &mut Attempt) -> Option<Mode> {
    match shape.status {
        204 | 205 | 304 => None,
        300.. => Some(Mode::Error { status: shape.status, same: false, body: Collected::default() }),
        _ if shape.kind == Kind::Stream => Some(Mode::Stream(transcoder(client, attempt))),
        _ if shape.wanted == Some(false) && shape.kind != Kind::Other => Some(Mode::Whole(Collected::default())),
        // Neither a stream nor JSON where a stream was asked for: a success that the client could not read.
        _ => Some(no_answer(shape.status)),
    }
}

/// A success that the client could not read.
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
        Mode::PassWhole { .. } | Mode::PassBlind | Mode::PassTail(_) | Mode::PassStream(_) => {
            strip(head, server);
            if matches!(mode, Mode::PassStream(_)) {
                head.remove_header(&header::CONTENT_LENGTH);
            }
        }
        Mode::Stream(_) | Mode::Streamed { .. } | Mode::Whole(_) | Mode::Gathered(_) | Mode::Error { .. } => {
            let (status, same) = match mode {
                Mode::Error { status, same, .. } => (client_status(*status, client, *same), *same),
                _ => (head.status.as_u16(), false),
            };
            if same && head.status.as_u16() >= 400 && kind_of(head) == Kind::Json && !credentials(head.status.as_u16())
            {
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
        _ => ("application/json", None),
    };
    head.insert_header(header::CONTENT_TYPE, HeaderValue::from_static(kind))?;
    if let Some(cache) = cache {
        head.insert_header(header::CACHE_CONTROL, HeaderValue::from_static(cache))?;
        head.insert_header(names::X_ACCEL_BUFFERING, HeaderValue::from_static("no"))?;
    }
    Ok(head)
}

/// The status that a client of `client` is shown for a provider's `status`.
fn client_status(status: u16, client: Format, same: bool) -> u16 {
    if same && status >= 400 && !credentials(status) {
        return status;
    }
    wire(client).write_error(&fault_for(client, status, b""), None).0
}

/// Statuses that are about our credentials.
fn credentials(status: u16) -> bool {
    matches!(status, 401 | 403)
}

/// What a failed answer says, whatever its body is.
fn fault_for(provider: Format, status: u16, body: &[u8]) -> Fault<'static> {
    match status {
        _ if credentials(status) => credential_fault(status),
        0..=299 => {
            let message =
                format!("The provider answered with status {status} and something that is no answer of a model.");
            let mut fault = Fault::new(FaultKind::Api, message);
            fault.status = 502;
            fault.with_code("upstream_no_answer")
        }
        300..=399 => {
            let mut fault =
                Fault::new(FaultKind::Api, format!("The provider redirects (status {status}), which is not followed."));
            fault.status = 502;
            fault.with_code("upstream_redirect")
        }
        _ => wire(provider).read_error(status, body).into_owned(),
    }
}

/// Does to a piece of the answer's body what the mode says; returns the length of a body that was made whole here.
///
/// # Errors
///
/// The answer cannot be given; the connection must break, so that nobody takes it for complete.
pub(super) fn body(exchange: &mut Exchange, body: &mut Option<Bytes>, end: bool) -> pingora::Result<Option<usize>> {
    let Exchange { trail, phase: Phase::Receiving(receiving), .. } = exchange else { return Ok(None) };
    let Receiving { sending, mode } = receiving.as_mut();
    if body.as_ref().is_some_and(is_heartbeat) {
        *body = silence::sign(mode);
        trail.heartbeats += u64::from(body.is_some());
        return Ok(None);
    }
    if trail.first_byte.is_none() && body.as_ref().is_some_and(|bytes| !bytes.is_empty()) {
        trail.first_byte = Some(clock::now().duration_since(trail.started));
        if !matches!(mode, Mode::Error { .. }) {
            begun::note(sending, body.as_deref().unwrap_or_default());
        }
        if matches!(mode, Mode::Stream(_) | Mode::PassStream(_) | Mode::PassTail(_) | Mode::PassBlind) {
            sending.release_body();
        }
    }
    match mode {
        Mode::PassBlind => {}
        Mode::PassTail(tail) => {
            tail.push(body.as_deref().unwrap_or_default());
            if end {
                let usage = tail.usage();
                trail.outcome = Some(Outcome { complete: true, usage, ..Outcome::default() });
            }
        }
        Mode::PassWhole { kept, overflow, left } => {
            keep(kept, overflow, body.as_ref());
            *left = left.map(|left| left.saturating_sub(body.as_ref().map_or(0, Bytes::len)));
            if end {
                trail.outcome = Some(pass_outcome(sending, kept, *overflow));
            }
        }
        Mode::PassStream(watch) => pass_stream(watch, body, end),
        Mode::Stream(transcoder) => translate_stream(transcoder, body, end),
        Mode::Streamed { .. } => stream_whole(mode, body, end),
        Mode::Gathered(gatherer) => {
            let piece = body.take().unwrap_or_default();
            if let Some(whole) = gather(trail, sending, gatherer, (&piece, end))? {
                return Ok(made(body, whole));
            }
        }
        Mode::Whole(collected) => {
            collect(collected, body, WHOLE_LIMIT)?;
            if collected.complete(end) {
                return Ok(made(body, whole(trail, sending, collected)?));
            }
        }
        Mode::Error { status, same, body: collected } => {
            let full = collect_some(collected, body);
            if collected.complete(end || full) {
                return Ok(made(body, failed(trail, sending, (*status, *same), collected)));
            }
        }
    }
    Ok(None)
}

/// True if the answer says that it is whole, whether or not its connection has ended: a client may ask again by then.
pub(super) fn is_over(exchange: &Exchange) -> bool {
    let Phase::Receiving(receiving) = &exchange.phase else { return false };
    match &receiving.mode {
        Mode::PassStream(watch) => watch.outcome().is_over(),
        Mode::Stream(transcoder) => transcoder.outcome().is_over(),
        Mode::Whole(body) | Mode::Error { body, .. } => body.done,
        Mode::PassWhole { left, .. } => *left == Some(0),
        _ => false,
    }
}

fn made(body: &mut Option<Bytes>, whole: Bytes) -> Option<usize> {
    body.insert(whole).len().into()
}

impl Collected {
    /// True once, when all that was announced or all that comes is here.
    fn complete(&mut self, end: bool) -> bool {
        let all = end || self.announced.is_some_and(|announced| self.bytes.len() >= announced);
        all && !std::mem::replace(&mut self.done, all)
    }
}

fn keep(kept: &mut Vec<Bytes>, overflow: &mut bool, piece: Option<&Bytes>) {
    let Some(piece) = piece.filter(|piece| !piece.is_empty()) else { return };
    let held: usize = kept.iter().map(Bytes::len).sum();
    if *overflow || held + piece.len() > PASS_KEPT {
        *overflow = true;
        kept.clear();
    } else {
        kept.push(piece.clone());
    }
}

fn pass_outcome(sending: &Sending, kept: &mut Vec<Bytes>, overflow: bool) -> Outcome {
    let mut outcome = Outcome { complete: true, ..Outcome::default() };
    if let (false, Some(attempt)) = (overflow, &sending.attempt) {
        let wire = wire(attempt.format);
        outcome.usage = match kept.as_slice() {
            [one] => wire.find_usage(one),
            several => wire.find_usage(&several.concat()),
        };
    }
    kept.clear();
    outcome
}

fn pass_stream(watch: &mut Watch, body: &mut Option<Bytes>, end: bool) {
    let now = body.take().map(|bytes| watch.chunk(bytes)).unwrap_or_default();
    if !end {
        *body = (!now.is_empty()).then_some(now);
        return;
    }
    let last = watch.finish();
    *body = Some(if last.is_empty() { now } else { [now, last].concat().into() });
}

fn translate_stream(transcoder: &mut Transcoder, body: &mut Option<Bytes>, end: bool) {
    let chunk = body.take().unwrap_or_default();
    let mut out = Vec::with_capacity(chunk.len() + 256);
    transcoder.chunk(&chunk, &mut out);
    if end {
        transcoder.finish(&mut out);
    }
    *body = (end || !out.is_empty()).then(|| Bytes::from(out));
}

fn collect(collected: &mut Collected, body: &mut Option<Bytes>, limit: usize) -> pingora::Result<()> {
    if let Some(piece) = body.take() {
        if collected.bytes.len() + piece.len() > limit {
            return Err(
                Error::explain(ErrorType::InternalError, "the provider's answer is too long to translate").into_up()
            );
        }
        collected.bytes.extend_from_slice(&piece);
    }
    // `None` in the middle means that there is nothing to send yet.
    *body = None;
    Ok(())
}

/// Collects the beginning of an error, which may hold the whole request, and drops the rest; true if it is enough.
fn collect_some(collected: &mut Collected, body: &mut Option<Bytes>) -> bool {
    let piece = body.take().unwrap_or_default();
    let room = if collected.done { 0 } else { ERROR_LIMIT.saturating_sub(collected.bytes.len()) };
    collected.bytes.extend(piece.iter().take(room));
    piece.len() > room
}

fn whole(trail: &mut Trail, sending: &mut Sending, collected: &mut Collected) -> pingora::Result<Bytes> {
    let bytes = std::mem::take(&mut collected.bytes);
    let Some(attempt) = &sending.attempt else { return Ok(Bytes::new()) };
    let client = sending.admitted.format;
    let translated = translate_response(attempt.format, client, &bytes, &attempt.reply, &attempt.undo);
    give(trail, sending, translated)
}

fn give(
    trail: &mut Trail,
    sending: &mut Sending,
    translated: Result<TranslatedResponse, Fault<'static>>,
) -> pingora::Result<Bytes> {
    match translated {
        Ok(translated) => {
            let losses = translated.losses;
            let told = !losses.is_empty() && sending.admitted.on_loss() != OnLoss::Allow;
            trail.answer_loss = told.then(|| losses.answer_header(names::LOSS_MOST));
            trail.outcome = Some(translated.outcome);
            Ok(Bytes::from(translated.body))
        }
        Err(fault) => {
            // If the status line has gone out as a success, only a broken connection can tell the client now.
            if let Some(attempt) = &sending.attempt {
                log::warn!("{}: {}", attempt.lease.label(), fault.message);
            }
            sending.verdict = Some(Box::new((fault, "translation")));
            trail.error = Some("translation");
            trail.aborted = Some(Abort { side: Side::Edge, reason: "translation" });
            Err(Error::explain(ErrorType::InternalError, "the provider's answer cannot be translated").into_up())
        }
    }
}

/// Collects a whole answer and writes it as a stream. What turns out to be a stream under a wrong name is one.
fn stream_whole(mode: &mut Mode, body: &mut Option<Bytes>, end: bool) {
    let Mode::Streamed { transcoder, body: collected } = mode else { return };
    let piece = body.take().unwrap_or_default();
    let first = collected.bytes.iter().chain(piece.iter()).find(|byte| !byte.is_ascii_whitespace());
    let mut out = Vec::new();
    if first.is_some_and(|byte| !matches!(byte, b'{' | b'[')) {
        let mut sent = std::mem::take(&mut collected.bytes);
        sent.extend_from_slice(&piece);
        *body = Some(Bytes::from(sent));
        translate_stream(transcoder, body, end);
        let reply = std::mem::replace(mode, Mode::PassBlind);
        if let Mode::Streamed { transcoder, .. } = reply {
            *mode = Mode::Stream(transcoder);
        }
        return;
    }
    if collected.bytes.len() + piece.len() > WHOLE_LIMIT {
        let message =
            format!("The provider's answer is longer than {WHOLE_LIMIT} bytes, which is too long to translate.");
        transcoder.fail(Fault::new(FaultKind::Api, message), &mut out);
        collected.bytes = Vec::new();
        collected.done = true;
    } else if !collected.done {
        collected.bytes.extend_from_slice(&piece);
    }
    if collected.complete(end) {
        transcoder.whole(&std::mem::take(&mut collected.bytes), &mut out);
    }
    *body = (end || !out.is_empty()).then(|| Bytes::from(out));
}

/// Gathers a stream to a whole answer; gives it at the end.
fn gather(
    trail: &mut Trail,
    sending: &mut Sending,
    gatherer: &mut Option<Box<Gatherer>>,
    (piece, end): (&[u8], bool),
) -> pingora::Result<Option<Bytes>> {
    let (Some(attempt), Some(gathering)) = (&sending.attempt, gatherer.as_mut()) else { return Ok(None) };
    let taken = gathering.chunk(piece);
    if !end && taken.is_ok() {
        return Ok(None);
    }
    let Some(gatherer) = gatherer.take() else { return Ok(None) };
    let translated = taken.and_then(|()| gatherer.finish(sending.admitted.format, &attempt.reply));
    give(trail, sending, translated).map(Some)
}

fn failed(trail: &mut Trail, sending: &Sending, (status, same): (u16, bool), collected: &mut Collected) -> Bytes {
    let bytes = std::mem::take(&mut collected.bytes);
    let Some(attempt) = &sending.attempt else { return Bytes::new() };
    let mut fault = fault_for(attempt.format, status, &bytes);
    let header = sending.retry_after.as_deref().and_then(|after| after.trim().parse().ok());
    fault.retry_after_s = header.or(fault.retry_after_s);
    if same && status >= 400 && !credentials(status) && wire(attempt.format).is_error(&bytes) {
        trail.error = Some(fault.kind.label());
        return Bytes::from(bytes);
    }
    trail.error = Some(if credentials(status) { "upstream_credentials" } else { fault.kind.label() });
    let (_, body) = wire(sending.admitted.format).write_error(&fault, Some(&trail.request_id));
    Bytes::from(body)
}

/// The provider ended its body with trailers: what the end of the body would have brought.
pub(super) fn trailers(exchange: &mut Exchange) -> Option<Bytes> {
    let mut last = None;
    match body(exchange, &mut last, true) {
        Ok(_) => last.filter(|bytes| !bytes.is_empty()),
        Err(_) => None,
    }
}

/// The answer broke off: what tells the client so, if its format has a way.
pub(super) fn broken(exchange: &mut Exchange, fault: Fault<'_>) -> Option<Bytes> {
    let Phase::Receiving(receiving) = &mut exchange.phase else { return None };
    match &mut receiving.mode {
        Mode::PassStream(watch) => Some(watch.fail(fault)),
        Mode::Stream(transcoder) | Mode::Streamed { transcoder, .. } => {
            let mut out = Vec::new();
            transcoder.fail(fault, &mut out);
            Some(Bytes::from(out))
        }
        Mode::PassWhole { .. }
        | Mode::Whole(_)
        | Mode::Gathered(_)
        | Mode::Error { .. }
        | Mode::PassTail(_)
        | Mode::PassBlind => None,
    }
}

fn text(head: &ResponseHeader, name: HeaderName) -> Option<String> {
    head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn kind_of(head: &ResponseHeader) -> Kind {
    let value = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "text/event-stream" => Kind::Stream,
        "application/json" => Kind::Json,
        kind if kind.ends_with("+json") => Kind::Json,
        "" | "text/plain" | "application/octet-stream" => Kind::Unsaid,
        _ => Kind::Other,
    }
}

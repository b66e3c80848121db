//! The pieces of an answer, one by one: passed on and looked at, translated, or collected until they are a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType};
use pingora_proxy::Session;
use tidegate_codec::hub::{Fault, FaultKind};
use tidegate_codec::{
    Gatherer, Operation, Outcome, Transcoder, TranslatedResponse, Watch, begins_events, translate_counted,
    translate_response, wire,
};

use super::exchange::{Collected, Exchange, Mode, PASS_KEPT, Phase, Receiving, Sending, Task, Trail};
use super::open::Open;
use super::receive::fault_for;
use super::refuse::{is_our_key, operators};
use super::settle::lost;
use super::tail::Tail;
use super::{begun, fail, late, names, refuse, silence};
use crate::clock;
use crate::observe::{Abort, Side};
use crate::routing::OnLoss;
use crate::upstream::seam::{self, Course, ENTIRE_MOST, ERROR_MOST, KEY_REFUSED, TOO_LONG, is_heartbeat};

/// Most bytes that one piece may unpack to: what comes past the seam cannot be unpacked bit by bit.
const UNPACKED_LIMIT: usize = 16 << 20;

/// Unpacks a piece of an answer that came packed.
///
/// # Errors
///
/// It cannot be unpacked, or it is far too long.
pub(super) fn unpack(exchange: &mut Exchange, body: &mut Option<Bytes>, end: bool) -> pingora::Result<()> {
    let Phase::Receiving(receiving) = &mut exchange.phase else { return Ok(()) };
    let Some(packed) = &mut receiving.packed else { return Ok(()) };
    if let Some(piece) = body.take() {
        *body = Some(packed.all(piece, UNPACKED_LIMIT).map_err(Error::into_up)?);
    }
    if end {
        packed.take(None).map_err(Error::into_up)?;
    }
    Ok(())
}

/// Does to a piece of the answer's body what the mode says; returns the length of a body that was made whole here.
///
/// # Errors
///
/// The answer cannot be given; the connection must break, so that nobody takes it for complete.
pub(super) fn body(exchange: &mut Exchange, body: &mut Option<Bytes>, end: bool) -> pingora::Result<Option<usize>> {
    if word_from_below(exchange, body)? {
        return Ok(None);
    }
    let Exchange { trail, phase: Phase::Receiving(receiving), .. } = exchange else { return Ok(None) };
    let Receiving { sending, mode, left, shown, open, held, .. } = receiving.as_mut();
    look_if_cut(open, body.as_ref(), end)?;
    let came = body.as_ref().map_or(0, Bytes::len);
    *left = left.map(|left| left.saturating_sub(came));
    let all = end || *left == Some(0);
    if shown.as_mut().is_some_and(|shown| !shown.look(sending, body.as_deref().unwrap_or_default())) {
        *shown = None;
    }
    if trail.first_byte.is_none() && body.as_ref().is_some_and(|bytes| !bytes.is_empty()) {
        first(trail, sending, mode);
    }
    match mode {
        // An error, if there is one to tell.
        Mode::PassBlind if trail.error.is_some() => hide_key_in_pieces(sending, held, body, all),
        Mode::PassBlind => {}
        Mode::PassTail(tail) => pass_tail(trail, tail, body.as_deref().unwrap_or_default(), end),
        Mode::PassWhole { kept, overflow } => {
            keep(kept, overflow, body.as_ref());
            if end {
                trail.outcome = Some(pass_outcome(sending, kept, *overflow));
            }
        }
        Mode::PassStream(watch) => pass_stream(watch, body, end),
        Mode::Stream(transcoder) => translate_stream(transcoder, body, end),
        Mode::Streamed { .. } => stream_whole(mode, body, (all, end)),
        Mode::Gathered(gatherer) => {
            let piece = body.take().unwrap_or_default();
            if let Some(whole) = gather(trail, sending, gatherer, (&piece, end))? {
                return Ok(made(body, whole));
            }
        }
        Mode::Whole(collected) => {
            collect(collected, body, ENTIRE_MOST)?;
            if collected.complete(all) {
                return Ok(made(body, whole(trail, sending, collected)?));
            }
        }
        Mode::Named { .. } => {
            return Ok(name_whole((trail, sending), mode, body, all));
        }
        Mode::Error { status, same, body: collected } => {
            let full = collect_some(collected, body);
            if collected.complete(all || full) {
                return Ok(made(body, failed(trail, sending, (*status, *same), collected)));
            }
        }
    }
    if has_failed(mode) {
        hide_key(sending, body);
    }
    last_word(sending, mode);
    Ok(None)
}

/// True if the provider has told of a failure in its stream.
fn has_failed(mode: &Mode) -> bool {
    match mode {
        Mode::PassStream(watch) => watch.outcome().fault.is_some(),
        Mode::Stream(transcoder) | Mode::Streamed { transcoder, .. } => transcoder.outcome().fault.is_some(),
        Mode::PassWhole { .. }
        | Mode::Whole(_)
        | Mode::Named { .. }
        | Mode::Gathered(_)
        | Mode::Error { .. }
        | Mode::PassTail(_)
        | Mode::PassBlind => false,
    }
}

/// Looks whether JSON without a frame is whole where it ends.
///
/// # Errors
///
/// It is not: the connection must break for the client, too.
fn look_if_cut(open: &mut Option<Open>, piece: Option<&Bytes>, end: bool) -> pingora::Result<()> {
    let Some(open) = open else { return Ok(()) };
    open.push(piece.map(Bytes::as_ref).unwrap_or_default());
    if end && !open.is_closed() {
        return Err(Error::explain(ErrorType::ConnectionClosed, "the answer broke off").into_up());
    }
    Ok(())
}

/// Makes the provider's key unreadable in an error that passes as it comes, also where two pieces hold it.
fn hide_key_in_pieces(sending: &Sending, held: &mut Vec<u8>, body: &mut Option<Bytes>, all: bool) {
    let Some(auth) = sending.attempt.as_ref().and_then(|attempt| attempt.provider.auth.as_ref()) else { return };
    let piece = body.take().unwrap_or_default();
    let mut words = std::mem::take(held);
    words.extend_from_slice(&piece);
    auth.key.hide_in(&mut words);
    if !all {
        *held = words.split_off(words.len() - auth.key.begun_in(&words));
    }
    *body = (!words.is_empty()).then(|| Bytes::from(words));
}

/// Makes the provider's key unreadable where its error quotes it.
fn hide_key(sending: &Sending, body: &mut Option<Bytes>) {
    let auth = sending.attempt.as_ref().and_then(|attempt| attempt.provider.auth.as_ref());
    if let (Some(auth), Some(body)) = (auth, body) {
        auth.key.hide_in_bytes(body);
    }
}

/// The head that the client has of its answer; an interim one, which asks for the request's body, is none.
pub(super) fn answered(session: &Session) -> Option<&ResponseHeader> {
    session.response_written().filter(|head| !head.status.is_informational())
}

/// The first byte of a body has come.
fn first(trail: &mut Trail, sending: &mut Sending, mode: &Mode) {
    trail.first_byte = Some(clock::now().duration_since(trail.started));
    if !matches!(mode, Mode::Error { .. }) {
        begun::note(sending);
    }
    if matches!(mode, Mode::Stream(_) | Mode::PassStream(_) | Mode::PassTail(_) | Mode::PassBlind) {
        sending.release_body();
    }
}

/// Lets the seam hear of a stream's last word, see [`last_word`].
pub(super) fn tell_last_word(course: &mut Course, said: &mut Option<Arc<AtomicBool>>) {
    if course.streamed {
        course.last_word = Some(Arc::clone(said.insert(Arc::default())));
    }
}

/// Tells the seam when the stream is over: some providers keep its connection open.
fn last_word(sending: &Sending, mode: &Mode) {
    let over = match mode {
        Mode::PassStream(watch) => watch.outcome().is_over(),
        Mode::Stream(transcoder) => transcoder.outcome().is_over(),
        Mode::PassWhole { .. }
        | Mode::Whole(_)
        | Mode::Named { .. }
        | Mode::Streamed { .. }
        | Mode::Gathered(_)
        | Mode::Error { .. }
        | Mode::PassTail(_)
        | Mode::PassBlind => false,
    };
    if over && let Some(said) = sending.attempt.as_ref().and_then(|attempt| attempt.last_word.as_ref()) {
        said.store(true, Ordering::Relaxed);
    }
}

/// Says to the client in its format what a piece means that no provider sent; `false` for any other.
///
/// # Errors
///
/// The answer was cut, and its format has no way to say so.
fn word_from_below(exchange: &mut Exchange, body: &mut Option<Bytes>) -> pingora::Result<bool> {
    late::note(exchange);
    let Some(piece) = body.as_ref() else { return Ok(false) };
    if seam::is_late(piece) {
        *body = late::answer(exchange);
        return Ok(true);
    }
    if let Some(cut) = seam::cut(piece) {
        let error = cut.error();
        *body = Some(fail::cut(exchange, &error).ok_or(error)?);
        return Ok(true);
    }
    let beats = is_heartbeat(piece);
    if let (true, Phase::Receiving(receiving)) = (beats, &mut exchange.phase) {
        *body = silence::sign(&mut receiving.mode);
        exchange.trail.heartbeats += u64::from(body.is_some());
    }
    Ok(beats)
}

/// True if the answer says that it is whole, whether or not its connection has ended: a client may ask again by then.
pub(super) fn is_over(exchange: &Exchange) -> bool {
    let Phase::Receiving(receiving) = &exchange.phase else { return false };
    match &receiving.mode {
        Mode::PassStream(watch) => watch.outcome().is_over(),
        Mode::Stream(transcoder) => transcoder.outcome().is_over(),
        Mode::Whole(body) | Mode::Named { body, .. } | Mode::Error { body, .. } | Mode::Streamed { body, .. } => {
            body.done
        }
        Mode::PassWhole { .. } | Mode::PassTail(_) | Mode::PassBlind => receiving.left == Some(0),
        Mode::Gathered(gatherer) => gatherer.is_none(),
    }
}

fn made(body: &mut Option<Bytes>, whole: Bytes) -> Option<usize> {
    body.insert(whole).len().into()
}

impl Collected {
    /// True once, when `all` of it is here.
    fn complete(&mut self, all: bool) -> bool {
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

/// Collects an answer and gives it under its name; one that is too long for that passes under the provider's. Returns the
/// length of a body that was made whole here.
fn name_whole(
    (trail, sending): (&mut Trail, &Sending),
    mode: &mut Mode,
    body: &mut Option<Bytes>,
    all: bool,
) -> Option<usize> {
    let Mode::Named { naming, body: collected, waited } = mode else { return None };
    let is_sign_of_life = body.as_ref().is_some_and(|piece| piece.trim_ascii().is_empty());
    if !all && collected.bytes.is_empty() && is_sign_of_life {
        *waited = true;
        return None;
    }
    if !gathers(collected, body, ENTIRE_MOST) {
        trail.outcome = all.then(|| pass_outcome(sending, &mut Vec::new(), true));
        *mode = Mode::PassWhole { kept: Vec::new(), overflow: true };
        return None;
    }
    if !collected.complete(all) {
        return None;
    }
    let came = std::mem::take(&mut collected.bytes);
    let named = naming.whole(&came);
    let came = Bytes::from(came);
    trail.outcome = Some(pass_outcome(sending, &mut vec![came.clone()], false));
    made(body, named.map_or(came, Bytes::from)).filter(|_| !*waited)
}

fn pass_tail(trail: &mut Trail, tail: &mut Tail, piece: &[u8], end: bool) {
    tail.push(piece);
    if end {
        trail.outcome = Some(tail.outcome());
    }
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

/// Collects a piece of an answer that may also pass as it is; false once it is too long to be collected: then all of it
/// so far passes.
fn gathers(collected: &mut Collected, body: &mut Option<Bytes>, limit: usize) -> bool {
    collected.bytes.extend_from_slice(&body.take().unwrap_or_default());
    let fits = collected.bytes.len() <= limit;
    if !fits {
        *body = Some(Bytes::from(std::mem::take(&mut collected.bytes)));
    }
    fits
}

fn collect(collected: &mut Collected, body: &mut Option<Bytes>, limit: usize) -> pingora::Result<()> {
    if let Some(piece) = body.take() {
        if collected.bytes.len() + piece.len() > limit {
            let words = "the provider's answer is too long to translate";
            return Err(Error::explain(ErrorType::Custom(TOO_LONG), words).into_up());
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
    let room = if collected.done { 0 } else { ERROR_MOST.saturating_sub(collected.bytes.len()) };
    collected.bytes.extend(piece.iter().take(room));
    piece.len() > room
}

fn whole(trail: &mut Trail, sending: &mut Sending, collected: &mut Collected) -> pingora::Result<Bytes> {
    let bytes = std::mem::take(&mut collected.bytes);
    let Some(attempt) = &sending.attempt else { return Ok(Bytes::new()) };
    let client = sending.admitted.format;
    let translated = match sending.admitted.task {
        Task::Format(Operation::Count) => translate_counted(attempt.format, client, &bytes),
        Task::Format(_) | Task::Service(_) => {
            translate_response(attempt.format, client, &bytes, &attempt.reply, &attempt.undo)
        }
    };
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
            trail.answer_losses = lost(&losses);
            trail.outcome = Some(translated.outcome);
            Ok(Bytes::from(translated.body))
        }
        Err(fault) => {
            // If the status line has gone out as a success, only a broken connection can tell the client now.
            let label = if fault.code.as_deref() == Some(KEY_REFUSED) { KEY_REFUSED } else { "translation" };
            if let Some(attempt) = &sending.attempt {
                // What it says may quote the answer.
                log::warn!("{}: {label}: an answer that tells of {}", attempt.lease.label(), fault.kind.label());
            }
            sending.verdict = Some(Box::new((fault, label)));
            trail.error = Some(label);
            trail.aborted = Some(Abort { side: Side::Edge, reason: label });
            Err(Error::explain(ErrorType::Custom(refuse::NO_ANSWER), "the provider's answer cannot be translated")
                .into_up())
        }
    }
}

/// Collects a whole answer and writes it as a stream. What turns out to be a stream under a wrong name is one.
fn stream_whole(mode: &mut Mode, body: &mut Option<Bytes>, (all, end): (bool, bool)) {
    let Mode::Streamed { transcoder, body: collected } = mode else { return };
    let piece = body.take().unwrap_or_default();
    let first = collected.bytes.iter().chain(piece.iter()).find(|byte| !byte.is_ascii_whitespace());
    let mut out = Vec::new();
    if first.is_some_and(|byte| begins_events(*byte)) {
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
    if collected.bytes.len() + piece.len() > ENTIRE_MOST {
        let message =
            format!("The provider's answer is longer than {ENTIRE_MOST} bytes, which is too long to translate.");
        transcoder.fail(Fault::new(FaultKind::Api, message).with_code(TOO_LONG), &mut out);
        collected.bytes = Vec::new();
        collected.done = true;
    } else if !collected.done {
        collected.bytes.extend_from_slice(&piece);
    }
    if collected.complete(all) {
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
    let mut bytes = std::mem::take(&mut collected.bytes);
    let Some(attempt) = &sending.attempt else { return Bytes::new() };
    if let Some(auth) = &attempt.provider.auth {
        auth.key.hide_in(&mut bytes);
    }
    // By what the head has said already, so that both agree.
    let words = sending.filtered.then_some(FaultKind::ContentFilter);
    let ours = is_our_key(status, words);
    let told = operators(status, words);
    let (mut fault, label) = told.unwrap_or_else(|| fault_for(attempt.format, status, &bytes));
    let header = sending.retry_after.as_deref().and_then(|after| after.trim().parse().ok());
    fault.retry_after_s = header.or(fault.retry_after_s);
    trail.answer_retry_after = fault.retry_after_s;
    trail.error = Some(label);
    if same && status >= 400 && !ours && wire(attempt.format).is_error(&bytes) {
        return Bytes::from(bytes);
    }
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
        | Mode::Named { .. }
        | Mode::Gathered(_)
        | Mode::Error { .. }
        | Mode::PassTail(_)
        | Mode::PassBlind => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_to_translate_is_told_as_below_in_the_seam() {
        let mut collected = Collected::default();
        let collect = |collected: &mut Collected, piece| collect(collected, &mut Some(Bytes::from_static(piece)), 4);
        assert!(collect(&mut collected, b"abcd").is_ok());
        let error = collect(&mut collected, b"e").unwrap_err();
        assert_eq!(refuse::fault_of(&error, None).map(|(_, label)| label), Some(TOO_LONG));
        assert_eq!(collected.bytes, b"abcd");
    }
}

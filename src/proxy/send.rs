//! One attempt: its target, its body, its headers.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use pingora_proxy::Session;
use tidegate_codec::hub::{Action, Fault, FaultKind, Field, Losses, Place};
use tidegate_codec::json::{Envelope, Text, guard, splice};
use tidegate_codec::seal::Seal;
use tidegate_codec::{
    Facts, Format, Framing, Line, Operation, Reply, RequestHead, Target, TranslatedRequest, Undo, translate_count,
    translate_request, wants, wire,
};

use super::admit::unserved;
use super::exchange::{Admitted, Attempt, Exchange, Phase, Sending, Task, Trail};
use super::hedge;
use super::late;
use super::names;
use super::overload;
use super::pieces::tell_last_word;
use super::plan::{Plan, Step, Wanted};
use super::refuse::Rejection;
use super::settle::lost;
use super::{form, head, retry};
use crate::clock;
use crate::observe::{Attempt as Record, Lost};
use crate::provider::Provider;
use crate::provider::facts::Model;
use crate::routing::{Failure, OnLoss};
use crate::upstream::await_upload;
use crate::upstream::seam::{self, Course};

/// Begins with the first attempt or goes on to the next, and gives its peer.
///
/// # Errors
///
/// Nothing is left to try, or no target can be told the request; the answer is noted in `rejection`.
pub(super) async fn next_attempt(
    session: &mut Session,
    exchange: &mut Exchange,
    rejection: &mut Option<Rejection>,
) -> pingora::Result<Box<HttpPeer>> {
    begin(exchange);
    if let Err(refused) = retry::wait(session, exchange).await? {
        let status = refused.fault.status;
        *rejection = Some(refused);
        return Err(Error::explain(ErrorType::HTTPStatus(status), "no further attempt is made"));
    }
    let Exchange { trail, phase: Phase::Sending(sending), .. } = exchange else {
        return Err(Error::explain(ErrorType::InternalError, "no request to send"));
    };
    trail.stopwatch.go_on();
    loop {
        let step = match next_step(session, trail, sending).await? {
            Ok(step) => step,
            Err(refused) => {
                let status = refused.fault.status;
                *rejection = Some(refused);
                return Err(Error::explain(ErrorType::HTTPStatus(status), "nothing is left to try"));
            }
        };
        let attempt = match prepare(&sending.admitted, step, &trail.request_id) {
            Ok(attempt) => attempt,
            // Another target may be told what this one cannot; what nobody can read is told no one.
            Err(refused) => {
                sending.refused.get_or_insert(refused);
                if can_be_read(&sending.admitted) {
                    sending.plan.pass_over(!trail.attempts.is_empty());
                } else {
                    sending.plan.exhaust();
                }
                continue;
            }
        };
        sending.verdict = None;
        trail.attempts.push(record(&attempt.attempt));
        trail.upstream_model = Some(attempt.attempt.model.clone()).filter(|model| !model.is_empty());
        trail.fallback = sending.plan.fallback();
        trail.losses = attempt.losses;
        trail.translated = attempt.translated;
        match trail.stopwatch.without(attempt.attempt.lease.peer()).await {
            Ok(mut peer) => {
                set_out((session, trail), sending, attempt.attempt, &mut peer);
                return Ok(peer);
            }
            Err(error) => {
                attempt.attempt.lease.connect_failed("resolve");
                log::warn!("{}: {error}", attempt.attempt.lease.label());
                if let Some(record) = trail.attempts.last_mut() {
                    record.error = Some("resolve");
                }
            }
        }
    }
}

/// Makes everything ready for an attempt whose endpoint is known.
fn set_out((session, trail): (&Session, &mut Trail), sending: &mut Sending, mut attempt: Attempt, peer: &mut HttpPeer) {
    let model = attempt.model.clone();
    attempt.course = course(&sending.admitted, &attempt);
    if let Some(course) = &mut attempt.course {
        tell_last_word(course, &mut attempt.last_word);
        late::allow(trail, &mut attempt);
        seam::take(peer);
    }
    hedge::arm((session, trail), sending, &mut attempt, peer);
    sending.attempt = Some(attempt);
    if let Task::Service(call) = &mut sending.admitted.task
        && let Some(upload) = &mut call.upload
    {
        upload.begin(&model);
        if upload.is_coming() {
            await_upload(peer, upload.longest(&sending.admitted.snapshot.settings.server));
        }
    }
    trail.overhead = trail.stopwatch.stop();
}

pub(super) fn record(attempt: &Attempt) -> Record {
    Record {
        provider: Arc::clone(&attempt.provider.name),
        upstream: Arc::clone(attempt.lease.label()),
        status: None,
        error: None,
        ttfb: None,
        duration: Duration::ZERO,
    }
}

/// What is tried next, at once or after a wait for a place.
async fn next_step(
    session: &mut Session,
    trail: &mut Trail,
    sending: &mut Sending,
) -> pingora::Result<Result<Step, Rejection>> {
    if let Some(step) = sending.plan.next(&sending.admitted.snapshot) {
        return Ok(Ok(step));
    }
    let step = overload::step(session, trail, sending).await?;
    Ok(step.and_then(|step| step.ok_or_else(|| retry::nothing_left(sending, trail.attempts.is_empty()))))
}

fn begin(exchange: &mut Exchange) {
    exchange.forget_answer();
    exchange.phase = match std::mem::take(&mut exchange.phase) {
        Phase::Admitted(admitted) => {
            let attempts = admitted.snapshot.settings.server.max_attempts;
            let (route, key) = (&admitted.route, admitted.affinity);
            let stream = admitted.stream.is_some();
            let order = admitted.snapshot.order(route, key, (admitted.body.len(), stream));
            let order = admitted.snapshot.tied(route, admitted.caller.name(), admitted.tie, order);
            let counts = matches!(admitted.task, Task::Format(Operation::Count));
            let plan = Plan::new(Arc::clone(route), order, attempts, Wanted { key, stream, counts });
            let budget = admitted.snapshot.budgets.get(&admitted.route.name).map(Arc::clone);
            if let Some(budget) = &budget {
                budget.pay_in();
            }
            if stream && let Some(budget) = admitted.snapshot.hedges.get(&admitted.route.name) {
                budget.pay_in();
            }
            Phase::Sending(Box::new(Sending {
                admitted: *admitted,
                plan,
                attempt: None,
                retry_after: None,
                asked: None,
                no_credit: false,
                filtered: false,
                trial: false,
                limited: None,
                budget,
                wait: Duration::ZERO,
                follows: false,
                paid: None,
                owed: None,
                fresh: false,
                failed_status: None,
                refused: None,
                verdict: None,
                spent: false,
                hedge: None,
            }))
        }
        other @ (Phase::Arrived | Phase::Sending(_) | Phase::Receiving(_)) => other,
    };
}

/// What the attempt asks of the seam; `None` for what takes the plain way.
pub(super) fn course(admitted: &Admitted, attempt: &Attempt) -> Option<Course> {
    let (timeouts, streams) = (&attempt.provider.timeouts, &attempt.provider.streams);
    let patient = Course::patient(attempt.format, timeouts.read);
    let operation = match &admitted.task {
        Task::Format(operation) => *operation,
        // An upload may still be coming, as fast as its client and its provider let it.
        Task::Service(call) if call.upload.is_some() => return None,
        Task::Service(_) => return Some(Course { body: Some(attempt.body.clone()), ..patient }),
    };
    let whole = Course {
        entire: true,
        passes: attempt.format == admitted.format,
        answers: operation == Operation::Generate,
        context_length: admitted.route.retries.wants(Failure::ContextLength),
        keys: wire(attempt.format).spec().bad_key_is_bad_request,
        whole: timeouts.stream,
        body: Some(attempt.body.clone()),
        ..patient
    };
    if admitted.stream.is_some() && operation == Operation::Generate {
        // An array that passes as it is is the stream.
        let events = !whole.passes || admitted.stream == Some(Framing::Events);
        return Some(Course {
            entire: events,
            streamed: events,
            first_byte: timeouts.first_byte,
            between: timeouts.between,
            hold: streams.hold,
            heartbeat: streams.heartbeat,
            ..whole
        });
    }
    Some(whole)
}

/// An attempt that is ready to be made.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The attempt.
    pub attempt: Attempt,
    /// What its request lost.
    pub losses: Vec<Lost>,
    /// The formats, where they differ.
    pub translated: Option<(Format, Format)>,
}

/// Makes an attempt of a step.
///
/// # Errors
///
/// The request cannot be said in the target's format.
pub(super) fn prepare(admitted: &Admitted, step: Step, request_id: &str) -> Result<Prepared, Fault<'static>> {
    let known = admitted.snapshot.known(&step.provider, &step.model);
    let format = format_for(admitted, &step, &known)?;
    let target = Aim { format, facts: known.facts.clone() };
    let same = target.format == admitted.format;
    let sealed = Seal::may_be_in(&admitted.body);
    let counted_flat = || {
        let counts = matches!(admitted.task, Task::Format(Operation::Count)) && target.facts.flat_counts;
        counts && wire(admitted.format).spec().counts_whole(&admitted.body)
    };
    let rewritten =
        || sealed || counted_flat() || wire(admitted.format).must_be_rewritten(&admitted.body, &target.facts);
    match admitted.task {
        Task::Service(_) => {
            let own = step.provider.format;
            let mut prepared = same_format(admitted, step);
            prepared.attempt.format = own;
            Ok(prepared)
        }
        Task::Format(Operation::SameFormat(_)) => passed(admitted, step, &target.facts, sealed),
        Task::Format(_) if same && !rewritten() => passed(admitted, step, &target.facts, false),
        Task::Format(operation) => translated(admitted, operation, (step, target), request_id),
    }
}

/// In which format a provider is asked, and what its model takes.
struct Aim {
    format: Format,
    facts: Facts,
}

/// The provider's own format, or the vendor's other one where the model wants that, or where the operation is there alone.
///
/// # Errors
///
/// The provider has no such operation.
fn format_for(admitted: &Admitted, step: &Step, known: &Model) -> Result<Format, Fault<'static>> {
    let operation = match admitted.task {
        Task::Service(_) => return Ok(step.provider.format),
        Task::Format(operation) => operation,
    };
    let model = admitted.envelope.model.as_deref().unwrap_or_default();
    let own = step.provider.serves(operation, admitted.format);
    let own = own.ok_or_else(|| unserved(operation, admitted.format, model))?;
    if operation != Operation::Generate {
        return Ok(own);
    }
    let wants = || {
        let wants = wants(admitted.format, &admitted.body, &head_of(admitted));
        // A body that cannot be read is refused, in whichever format.
        wants.map_or((false, None), |wants| (wants.tools, wants.reasoning))
    };
    Ok(known.responses.detour(own, wants).unwrap_or(own))
}

fn can_be_read(admitted: &Admitted) -> bool {
    let format = wire(admitted.format);
    let request = match admitted.task {
        Task::Format(operation) => format.spec().request_in(operation, &admitted.body),
        Task::Service(_) => &admitted.body,
    };
    format.read_request(request, &head_of(admitted)).is_ok()
}

/// What belongs to the client's request beside its body.
fn head_of(admitted: &Admitted) -> RequestHead<'_> {
    RequestHead {
        api_version: admitted.api_version.as_deref(),
        betas: admitted.betas.as_deref(),
        line: Line { model: admitted.envelope.model.as_deref().map(Cow::Borrowed), stream: admitted.stream },
        seal: &admitted.snapshot.seal,
    }
}

/// A request within a format: as it came, but for fields that the provider refuses.
///
/// A conversation that began with a provider of another format holds that provider's state in envelopes. No provider
/// takes those, so a body that is `sealed` cannot pass as it is: a request for an answer, or for its number of tokens, is
/// read and written, and each envelope opened or left out; of any other request only the envelopes are.
fn passed(admitted: &Admitted, step: Step, facts: &Facts, sealed: bool) -> Result<Prepared, Fault<'static>> {
    let mut losses = Losses::default();
    let format = wire(admitted.format);
    // A body that cannot be read passes as it is: its provider says what is wrong with it.
    let mut edited = format.trim(&admitted.body, facts, &mut losses).ok().flatten();
    losses.resolve(&admitted.body);
    if sealed {
        let mut stripped = Losses::default();
        let body = edited.as_deref().unwrap_or(&admitted.body);
        let written = format.strip_foreign_state(body, &admitted.snapshot.seal, &mut stripped);
        // Fields that are gone move no block, so pointers into what was stripped are pointers into the client's body.
        stripped.resolve(body);
        losses.append(stripped);
        edited = written.ok().or(edited);
    }
    let mut prepared = same_format(admitted, step);
    if let Some(body) = edited
        && let Ok(envelope) = guard(&body)
    {
        prepared.attempt.body = renamed(admitted, &Bytes::from(body), &envelope, &prepared.attempt.model);
    }
    refused_betas(admitted, facts, &mut losses);
    account(admitted, &losses, &mut prepared)?;
    Ok(prepared)
}

/// Notes the unfinished features that a client of the provider's own format asks for and the provider does not take.
fn refused_betas(admitted: &Admitted, facts: &Facts, losses: &mut Losses) {
    let spec = wire(admitted.format).spec();
    let (Some(name), Some(betas)) = (spec.beta_header, &admitted.betas) else { return };
    for beta in items(betas).filter(|beta| !facts.takes_beta(beta)) {
        let reason = format!("the provider does not take `{beta}`");
        losses.add(Field::Beta, Action::Dropped, Place::Pointer(Cow::Borrowed(name)), reason);
    }
}

/// The items of a header's value.
pub(super) fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Notes what was lost, or refuses it where the route says so.
fn account(admitted: &Admitted, losses: &Losses, prepared: &mut Prepared) -> Result<(), Fault<'static>> {
    let on_loss = admitted.on_loss();
    if on_loss == OnLoss::Refuse && losses.any_dropped() {
        return Err(refused_loss(&losses.header(names::LOSS_MOST)));
    }
    let warn = on_loss != OnLoss::Allow && !losses.is_empty();
    prepared.losses = lost(losses);
    prepared.attempt.loss_header = warn.then(|| losses.header(names::LOSS_MOST));
    Ok(())
}

/// `body` for a provider that calls the model `model`.
fn renamed(admitted: &Admitted, body: &Bytes, envelope: &Envelope, model: &str) -> Bytes {
    if let Task::Service(call) = &admitted.task
        && let Some(form) = &call.form
    {
        return form::renamed(form, body, envelope.model.as_deref(), model);
    }
    if let Some(addressing) = wire(admitted.format).spec().addressing {
        let again = !matches!(admitted.task, Task::Format(Operation::Generate));
        let named = admitted.envelope.model.as_deref().filter(|named| again && *named != model);
        let renamed = named.and_then(|named| addressing.rename_in(body, named, model));
        return renamed.map_or_else(|| body.clone(), Bytes::from);
    }
    if envelope.model.as_deref().is_none_or(|named| named == model) {
        return body.clone();
    }
    let name = ["\"", Text::from_plain(model).escaped(), "\""].concat();
    Bytes::from(splice(body, &envelope.model_span, name.as_bytes()))
}

/// The body as it came; only the value of `model` is replaced, if it stands there and the target knows it by another
/// name.
fn same_format(admitted: &Admitted, step: Step) -> Prepared {
    let body = renamed(admitted, &admitted.body, &admitted.envelope, &step.model);
    let reply = Reply {
        model: admitted.envelope.model.clone().unwrap_or_default(),
        include_usage: true,
        reasoning: tidegate_codec::ReasoningWish::Shown,
        framing: admitted.stream.unwrap_or_default(),
        seal: Arc::clone(&admitted.snapshot.seal),
        created: clock::unix_now().as_secs(),
        // The provider's own ids pass.
        seed: String::new(),
        settings: tidegate_codec::Settings::default(),
    };
    Prepared { attempt: attempt(step, admitted.format, body, reply), losses: Vec::new(), translated: None }
}

/// Translates a request of the first format into the second.
type Translate = fn(Format, Format, &[u8], &RequestHead<'_>, &Target<'_>) -> Result<TranslatedRequest, Fault<'static>>;

fn translated(
    admitted: &Admitted,
    operation: Operation,
    (step, aim): (Step, Aim),
    request_id: &str,
) -> Result<Prepared, Fault<'static>> {
    let Aim { format, mut facts } = aim;
    let provider = Arc::clone(&step.provider);
    if let Some(max_output) = admitted.route.max_output {
        facts.max_output = u64::from(max_output);
    }
    let same = format == admitted.format;
    // Within a format the client's version goes on to the provider, see `head::own_headers`.
    let own_version = if same { admitted.api_version.as_deref() } else { None };
    let api_version = own_version.or_else(|| version_of(&provider));
    let target = Target { model: &step.model, facts: &facts, api_version };
    let translate: Translate = match operation {
        Operation::Count => translate_count,
        Operation::Generate | Operation::SameFormat(_) => translate_request,
    };
    // Of its own provider's answers nothing is kept: who made them has it.
    let seal = if same {
        Cow::Borrowed(&*admitted.snapshot.seal)
    } else {
        admitted.snapshot.seal_of(admitted.caller.name(), (&step.provider.name, &step.model))
    };
    let head = RequestHead { seal: &seal, ..head_of(admitted) };
    let mut result = translate(admitted.format, format, &admitted.body, &head, &target)?;
    let now = clock::unix_now();
    result.reply.created = now.as_secs();
    // Clients name requests, and some name all of theirs alike.
    result.reply.seed = format!("{request_id}/{}", now.as_nanos());
    let mut outgoing = result.outgoing;
    if same {
        refused_betas(admitted, &facts, &mut outgoing.losses);
    }
    let mut attempt = attempt(step, format, Bytes::from(outgoing.body), result.reply);
    attempt.translated = true;
    attempt.headers = outgoing.headers;
    attempt.undo = outgoing.undo;
    let translated = (!same).then_some((admitted.format, format));
    let mut prepared = Prepared { attempt, losses: Vec::new(), translated };
    account(admitted, &outgoing.losses, &mut prepared)?;
    Ok(prepared)
}

/// The version of its format that a provider is spoken to in.
fn version_of(provider: &Provider) -> Option<&str> {
    let name = wire(provider.format).spec().version_header?;
    provider.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
}

fn refused_loss(report: &str) -> Fault<'static> {
    let message =
        format!("The model's provider cannot be given all of this request, and its route refuses losses: {report}");
    Fault::new(FaultKind::InvalidRequest, message).with_code("translation_loss")
}

fn attempt(step: Step, format: Format, body: Bytes, reply: Reply) -> Attempt {
    Attempt {
        provider: step.provider,
        lease: step.lease,
        format,
        busy: step.busy,
        model: step.model,
        subject: step.subject,
        body,
        translated: false,
        headers: Vec::new(),
        reply: Arc::new(reply),
        undo: Undo::default(),
        loss_header: None,
        started: clock::exact(),
        reused: false,
        connection: None,
        interims: 0,
        course: None,
        last_word: None,
        late: None,
    }
}

/// Writes the request's head for the provider: path, host, credentials, and of the client's headers only those that
/// say nothing secret and mean the same there.
///
/// # Errors
///
/// A value cannot stand in a header.
pub(super) fn write_head(session: &Session, exchange: &mut Exchange, head: &mut RequestHeader) -> pingora::Result<()> {
    let request_id = exchange.trail.request_id.clone();
    let traceparent = exchange.trail.traceparent.clone();
    let Some(sending) = exchange.sending() else { return Ok(()) };
    let Sending { admitted, attempt: Some(attempt), .. } = sending else { return Ok(()) };
    let (client, ids) = (session.req_header(), (request_id.as_str(), traceparent.as_deref()));
    *head = match &admitted.task {
        Task::Format(operation) => {
            head::of_format((admitted, *operation, attempt), (&client.headers, head.version), ids)?
        }
        Task::Service(call) => head::of_service((admitted, call, attempt), (client, head.version), ids)?,
    };
    if let Some(course) = attempt.course.take() {
        head.extensions_mut().insert(course);
    }
    Ok(())
}

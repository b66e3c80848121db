//! From a connection's bytes to a request that may go on: path, key, body, model.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::header::AsHeaderName;
use pingora_proxy::Session;
use tidegate_codec::format::Addressing;
use tidegate_codec::hub::media::percent_decode;
use tidegate_codec::hub::{Fault, FaultKind, Refusal};
use tidegate_codec::{Format, Framing, Line, Operation, json, wire};

use super::Edge;
use super::body::{self, Reservation};
use super::connection;
use super::exchange::{Admitted, Exchange, Task};
use super::models;
use super::names;
use super::overload;
use super::refuse::{self, Rejection};
use super::services;
use crate::config::{self, Caller, Lead, Snapshot};
use crate::observe::{self, Endpoint};
use crate::provider::services::stays_below;
use crate::routing::{Ask, Route};

/// Longest request id that is taken over from a client.
const MAX_REQUEST_ID: usize = 128;

/// What admission came to.
pub(super) enum Admission {
    /// The request goes on.
    Go(Box<Admitted>),
    /// It was answered here.
    Answered,
}

/// Where a path leads.
enum Place {
    /// A request of a format, and what its path says of it.
    Api(Format, Operation, Line<'static>),
    /// An operation that is passed through.
    Service(services::Asked),
    /// The list of models, or one of them.
    Models(Option<String>),
    /// Whether the edge is alive.
    Health,
    /// Nowhere.
    Unknown,
}

/// Takes a request in, or answers it.
///
/// # Errors
///
/// The client is gone.
pub(super) async fn admit(edge: &Edge, session: &mut Session, exchange: &mut Exchange) -> pingora::Result<Admission> {
    note_arrival(edge, session, exchange);
    let refusal = connection::refusal(session, &edge.live.load().settings.server, exchange.trail.client);
    let (keys, keyed) = take_keys(session)?;
    let place = place_of(session, keyed);
    let format = match &place {
        Place::Api(format, ..) => *format,
        Place::Service(services::Asked::Service(service, _)) => service.format(),
        Place::Service(services::Asked::Raw { .. }) | Place::Models(_) | Place::Health | Place::Unknown => {
            asking_format(session, keyed)
        }
    };
    exchange.trail.format = Some(format);
    exchange.trail.endpoint = endpoint_of(&place);
    let method = observe::Method::from_name(session.req_header().method.as_str());
    exchange.trail.in_flight = Some(edge.observer.started(exchange.trail.endpoint, method));
    let counts = matches!(place, Place::Api(..) | Place::Service(_));
    let refusal = refusal.or_else(|| counts.then(|| overload::door(edge, exchange).err()).flatten());
    if let Some(rejection) = refusal {
        refuse::answer(session, exchange, format, rejection).await?;
        return Ok(Admission::Answered);
    }
    let admitted = match place {
        Place::Health => {
            refuse::answer_json(session, exchange, br#"{"status":"ok"}"#.to_vec()).await?;
            return Ok(Admission::Answered);
        }
        Place::Unknown => Err(no_such_path(session)),
        Place::Models(id) => match list_models(edge, session, exchange, (format, id.as_deref(), &keys)) {
            Ok(body) => {
                refuse::answer_json(session, exchange, body).await?;
                return Ok(Admission::Answered);
            }
            Err(rejection) => Err(rejection),
        },
        // Boxed: an upload needs 11 KB that every request would have in its future.
        Place::Service(asked) => Box::pin(services::take_in(edge, session, exchange, (asked, &keys))).await,
        Place::Api(_, operation, line) => {
            let asked = Asked { format, operation, line, keys };
            take_in(edge, session, exchange, asked).await
        }
    };
    let admitted = match admitted {
        Ok(mut admitted) => overload::enter(session, exchange, &mut admitted).await?.map(|()| admitted),
        refused => refused,
    };
    match admitted {
        Ok(admitted) => Ok(Admission::Go(Box::new(admitted))),
        Err(rejection) => {
            refuse::answer(session, exchange, format, rejection).await?;
            Ok(Admission::Answered)
        }
    }
}

fn note_arrival(edge: &Edge, session: &Session, exchange: &mut Exchange) {
    let trail = &mut exchange.trail;
    trail.client = connection::client(session, &edge.live.load().settings.server);
    trail.request_id = match header(session, names::REQUEST_ID) {
        Some(id) if !id.is_empty() && id.len() <= MAX_REQUEST_ID && id.bytes().all(|b| b.is_ascii_graphic()) => {
            id.to_owned()
        }
        _ => edge.ids.next(),
    };
    trail.traceparent =
        header(session, names::TRACEPARENT).filter(|value| value.len() <= MAX_REQUEST_ID).map(str::to_owned);
}

/// Where the request leads; `keyed` is the format whose parameter held a key.
fn place_of(session: &Session, keyed: Option<Format>) -> Place {
    let (path, query) = (session.req_header().uri.path(), session.req_header().uri.query());
    for format in Format::ALL {
        if let Some((operation, line)) = wire(format).spec().find(path, query) {
            let model = line.model.map(|model| Cow::Owned(model.into_owned()));
            return Place::Api(format, operation, Line { model, stream: line.stream });
        }
    }
    if let Some(asked) = services::find(path, || asking_format(session, keyed)) {
        return Place::Service(asked);
    }
    match path {
        "/health" | "/healthz" => Place::Health,
        "/v1/models" | "/v1beta/models" => Place::Models(None),
        _ => match path.strip_prefix("/v1/models/").or_else(|| path.strip_prefix("/v1beta/models/")) {
            Some(id) if !id.is_empty() => {
                Place::Models(Some(String::from_utf8_lossy(&percent_decode(id)).into_owned()))
            }
            _ => Place::Unknown,
        },
    }
}

/// The label of what is asked for: a path of ours, never the client's own words.
fn endpoint_of(place: &Place) -> Endpoint {
    match place {
        Place::Models(_) => Endpoint::Models,
        Place::Health => Endpoint::Health,
        Place::Unknown => Endpoint::Other,
        Place::Service(services::Asked::Raw { .. }) => Endpoint::Raw,
        Place::Service(services::Asked::Service(service, _)) => {
            Endpoint::ALL.into_iter().find(|known| known.label() == service.name).unwrap_or_default()
        }
        Place::Api(format, operation, _) => {
            let spec = wire(*format).spec();
            let path = spec.path_of(*operation);
            Endpoint::ALL.into_iter().find(|known| Some(known.path()) == path).unwrap_or_default()
        }
    }
}

/// The format of a client that asks for something that all formats share: told by a header that only it sends, or by
/// where it has its key.
fn asking_format(session: &Session, keyed: Option<Format>) -> Format {
    let path = session.req_header().uri.path();
    let told = |format: &Format| {
        let spec = wire(*format).spec();
        let sent = |name: &str| session.get_header(name).is_some();
        let addressing = spec.addressing;
        // Of the versions of a path only the first is the format's alone.
        let own_version = addressing.and_then(|addressing| addressing.versions.first());
        spec.version_header.is_some_and(sent)
            || addressing.is_some_and(|addressing| addressing.client_headers.iter().any(|name| sent(name)))
            || own_version.is_some_and(|version| path.strip_prefix(version).is_some_and(|rest| rest.starts_with('/')))
    };
    Format::ALL.into_iter().find(told).or(keyed).unwrap_or(Format::DEFAULT)
}

fn no_such_path(session: &Session) -> Rejection {
    let request = session.req_header();
    let message = format!(
        "Nothing is served at {} {}. Served are {}, /v1/models, and operations such as /v1/embeddings and /v1/files.",
        request.method,
        shorten(request.uri.path()),
        Format::ALL.map(|format| wire(format).spec().path).join(", "),
    );
    Rejection::new(Fault::new(FaultKind::NotFound, message).with_code("unknown_path")).closing()
}

fn list_models(
    edge: &Edge,
    session: &Session,
    exchange: &mut Exchange,
    (format, id, keys): (Format, Option<&str>, &[String]),
) -> Result<Vec<u8>, Rejection> {
    if !matches!(session.req_header().method, Method::GET | Method::HEAD) {
        return Err(wrong_method("GET"));
    }
    let snapshot = edge.live.load_full();
    let caller = authenticate(edge, keys, exchange, &snapshot)?;
    models::answer(&snapshot, &caller, format, id)
}

pub(super) fn wrong_method(allow: &'static str) -> Rejection {
    let mut fault = Fault::new(FaultKind::InvalidRequest, format!("Only {allow} is served at this path."));
    fault.status = 405;
    let mut rejection = Rejection::new(fault).labelled("method_not_allowed").closing();
    rejection.allow = Some(allow);
    rejection
}

pub(super) fn authenticate(
    edge: &Edge,
    keys: &[String],
    exchange: &mut Exchange,
    snapshot: &Snapshot,
) -> Result<Caller, Rejection> {
    // SDKs send two keys where the environment holds two, and a proxy on the way may add one of its own.
    let clients = &snapshot.settings.clients;
    let mut checked = clients.authenticate(None);
    for key in keys {
        checked = clients.authenticate(Some(key));
        if checked.is_ok() {
            break;
        }
    }
    edge.observer.auth(checked.is_ok(), checked.as_ref().map_or_else(|failure| failure.label(), |_| "ok"));
    let caller = checked?;
    exchange.trail.caller = Some(Arc::clone(caller.name()));
    Ok(caller)
}

/// The keys that the client sent, in whichever headers its SDK uses, or in the query of a format that has it there, with
/// that format. The query loses it here: it has no place in a log, and goes to no provider.
fn take_keys(session: &mut Session) -> pingora::Result<(Vec<String>, Option<Format>)> {
    let bearer = header(session, http::header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let plain =
        [names::X_API_KEY, names::API_KEY, names::X_GOOG_API_KEY].map(|name| header(session, name).map(str::trim));
    let known = [bearer].into_iter().chain(plain).flatten().filter(|key| !key.is_empty());
    let mut keys: Vec<String> = known.map(str::to_owned).collect();
    let request = session.req_header();
    let Some(query) = request.uri.query() else { return Ok((keys, None)) };
    let addressing = || Format::ALL.into_iter().filter_map(|format| Some((format, wire(format).spec().addressing?)));
    let in_query = |(format, addressing): (Format, &Addressing)| Some((format, addressing.key_in(query)?.into_owned()));
    let Some((format, key)) = addressing().find_map(in_query) else { return Ok((keys, None)) };
    let names: Vec<&str> = addressing().map(|(_, addressing)| addressing.key_parameter).collect();
    let without = without_key(request.uri.path(), query, &names);
    retarget(session, &without)?;
    keys.push(key);
    Ok((keys, Some(format)))
}

/// Makes `target` the path and query that the request asks for. Over HTTP/2 the host stands beside them, and stays as a
/// header.
///
/// # Errors
///
/// It cannot stand in a request.
pub(super) fn retarget(session: &mut Session, target: &str) -> pingora::Result<()> {
    let request = session.req_header_mut();
    if let Some(host) = request.uri.authority().map(ToString::to_string)
        && !request.headers.contains_key(http::header::HOST)
    {
        request.insert_header(http::header::HOST, host)?;
    }
    request.set_raw_path(target.as_bytes())
}

/// `path` and `query` without the parameters that hold keys.
fn without_key(path: &str, query: &str, names: &[&str]) -> String {
    let is_key = |pair: &&str| pair.split('=').next().is_some_and(|name| names.contains(&name));
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_key(pair)).collect();
    if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
}

/// What a client asks of a model.
struct Asked {
    format: Format,
    operation: Operation,
    line: Line<'static>,
    keys: Vec<String>,
}

async fn take_in(
    edge: &Edge,
    session: &mut Session,
    exchange: &mut Exchange,
    Asked { format, operation, line, keys }: Asked,
) -> Result<Admitted, Rejection> {
    if session.req_header().method != Method::POST {
        return Err(wrong_method("POST"));
    }
    let snapshot = edge.live.load_full();
    let caller = authenticate(edge, &keys, exchange, &snapshot)?;
    overload::caller(&snapshot, &caller, exchange)?;
    let server = &snapshot.settings.server;
    let mut room = Reservation::new(Arc::clone(&edge.budget), server.body_buffer_total);
    let mut body = exchange.trail.stopwatch.without(body::read(session, server, &mut room)).await?;
    exchange.trail.bytes_in = body.len();
    let guarded = |body: &[u8]| json::guard(body).map_err(|error| invalid(Refusal::from(error), body));
    let mut envelope = guarded(&body)?;
    let whole = resolved((&snapshot, &caller), format, &body).filter(|whole| room.grow_to(whole.len()));
    if let Some(whole) = whole {
        (envelope, body) = (guarded(&whole)?, whole);
    }
    if wire(format).spec().addressing.is_some() {
        envelope.model = line.model.map(Cow::into_owned);
        envelope.stream = line.stream.is_some();
    }
    exchange.trail.stream = envelope.stream;
    exchange.trail.model.clone_from(&envelope.model);
    let Some(model) = envelope.model.as_deref().filter(|model| !model.is_empty()) else {
        return Err(invalid(Refusal::of("model", "the name of a model is missing"), &body));
    };
    let spec = wire(format).spec();
    let request = spec.request_in(operation, &body);
    let own = |name: Option<&'static str>| name.and_then(|name| header(session, name));
    let needs = || config::needs(format, request, (own(spec.version_header), own(spec.beta_header)));
    let ask = Ask {
        model,
        client: caller.name(),
        header: &|name| header(session, name),
        bytes: body.len(),
        stream: envelope.stream,
        needs: &needs,
    };
    let route = route_of(exchange, (&snapshot, &caller), (format, operation), &ask)?;
    check_named_again(&caller, (format, operation), &body)?;
    let beginning = || Some(spec.beginning(request));
    let affinity = route.affinity.key((caller.name(), model), |name| header(session, name), beginning);
    let tie = snapshot.tie(&route, caller.name(), (format, request));
    let stream = line.stream.or(envelope.stream.then_some(Framing::Events));
    Ok(Admitted {
        affinity,
        tie,
        api_version: own_header(session, wire(format).spec().version_header),
        betas: own_header(session, wire(format).spec().beta_header),
        format,
        task: Task::Format(operation),
        stream: stream.filter(|_| operation == Operation::Generate),
        caller,
        room,
        envelope,
        route,
        body,
        snapshot,
    })
}

/// The body with what it only refers to, of answers that were translated for this client: nobody else has that.
fn resolved((snapshot, caller): (&Snapshot, &Caller), format: Format, body: &[u8]) -> Option<Bytes> {
    let recall = wire(format).may_refer(body).then(|| snapshot.recall_of(caller.name()))??;
    wire(format).resolve(body, &*recall, snapshot.settings.server.body_limit).map(Bytes::from)
}

/// The configured model that serves what is asked for, with those of its targets that have the operation.
fn route_of(
    exchange: &mut Exchange,
    (snapshot, caller): (&Snapshot, &Caller),
    (format, operation): (Format, Operation),
    ask: &Ask<'_>,
) -> Result<Arc<Route>, Rejection> {
    let lead = Some(ask.model).filter(|model| is_name(model)).and_then(|_| snapshot.settings.lead(ask));
    let Lead { rule: _, route } = lead.ok_or_else(|| unknown_model(ask.model))?;
    if !caller.may_use(ask.model) {
        return Err(forbidden_model(ask.model));
    }
    exchange.trail.route = Some(Arc::clone(&route.name));
    let route = snapshot.settings.serving(route, (operation, format));
    route.ok_or_else(|| Rejection::new(unserved(operation, format, ask.model)))
}

/// A model that the body names beside the path's, as each request of a batch may, has to be one that the client may use.
fn check_named_again(caller: &Caller, (format, operation): (Format, Operation), body: &[u8]) -> Result<(), Rejection> {
    let addressing = wire(format).spec().addressing.filter(|_| operation != Operation::Generate);
    let named = addressing.map(|addressing| addressing.named_in(body)).unwrap_or_default();
    named.iter().find(|model| !caller.may_use(model)).map_or(Ok(()), |model| Err(forbidden_model(model)))
}

/// What is said of `operation` where no target of `model` has it.
pub(super) fn unserved(operation: Operation, format: Format, model: &str) -> Fault<'static> {
    let title = |format: Format| wire(format).spec().title;
    let (what, who) = match operation {
        Operation::Generate => ("answers", title(format).to_owned()),
        Operation::Count => {
            let counting = Format::ALL.into_iter().filter(|format| wire(*format).spec().counting.is_some());
            let titles = counting.map(title).collect::<Vec<_>>().join(", ");
            ("counts tokens", format!("{titles}, or one whose `quirks.counts` names one of these"))
        }
        Operation::SameFormat(_) => ("serves this", title(format).to_owned()),
    };
    let message = format!("No target of the model `{}` {what}: it takes a provider that speaks {who}.", shorten(model));
    Fault::new(FaultKind::InvalidRequest, message).with_code("unsupported_operation").with_param("model")
}

pub(super) fn invalid(refusal: Refusal, body: &[u8]) -> Rejection {
    Rejection::new(refusal.into_fault(body))
}

/// Whether a model can be called so. Where a pattern lets any name through and the provider has it in its path, `..` would
/// lead out of there, in whichever way it is written.
pub(super) fn is_name(model: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':' | b'.');
    (model.bytes().all(plain) && !model.starts_with('.')) || stays_below(model)
}

/// The answer for a model that no entry of the config names.
pub(super) fn unknown_model(model: &str) -> Rejection {
    let message = format!("The model `{}` does not exist here. GET /v1/models lists those that do.", shorten(model));
    Rejection::new(Fault::new(FaultKind::NotFound, message).with_code("model_not_found").with_param("model"))
}

pub(super) fn forbidden_model(model: &str) -> Rejection {
    let message = format!("This API key may not use the model `{}`.", shorten(model));
    Rejection::new(Fault::new(FaultKind::Permission, message).with_code("model_not_allowed").with_param("model"))
}

pub(super) fn own_header(session: &Session, name: Option<&str>) -> Option<String> {
    name.and_then(|name| header(session, name)).map(str::to_owned)
}

pub(super) fn shorten(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

/// The value of header `name`, if it is text.
pub(super) fn header(session: &Session, name: impl AsHeaderName) -> Option<&str> {
    session.get_header(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_out_of_queries() {
        for (query, left) in [("key=k", "/p"), ("alt=sse&key=k", "/p?alt=sse"), ("a=b&key=k&key=l&c", "/p?a=b&c")] {
            assert_eq!(without_key("/p", query, &["key"]), left);
        }
    }

    #[test]
    fn no_model_is_called_by_a_way_out() {
        for name in ["gpt-4.1", "org/model", "a..b", "...", "100%", "models/a.b"] {
            assert!(is_name(name), "{name}");
        }
        for name in [".", "..", "a/../b", "..%2fb", "a\\..", "%2e%2e", "%252e%252e/x", "a/./b", "a\0"] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn every_operation_has_a_label() {
        for service in crate::provider::services::ALL {
            let place = Place::Service(services::Asked::Service(service, ""));
            assert_eq!(endpoint_of(&place).label(), service.name);
        }
    }

    #[test]
    fn every_path_of_a_format_has_a_label() {
        for format in Format::ALL {
            let spec = wire(format).spec();
            let same = (0..spec.same_format_paths.len()).map(Operation::SameFormat);
            for operation in [Operation::Generate, Operation::Count].into_iter().chain(same) {
                let Some(path) = spec.path_of(operation) else { continue };
                let endpoint = endpoint_of(&Place::Api(format, operation, Line::default()));
                assert_eq!(endpoint.path(), path, "`observe::Endpoint` has no row for it");
            }
        }
    }

    #[test]
    fn decodes_model_names_in_paths() {
        for (path, name) in [("a", "a"), ("a%2Fb", "a/b"), ("%", "%"), ("%zz", "%zz"), ("a%20b%", "a b%")] {
            assert_eq!(percent_decode(path), name.as_bytes());
        }
    }
}

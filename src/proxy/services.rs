//! Operations that are passed through: embeddings, images, audio, files, batches, and whatever a raw path names.
//!
//! What they are is a table of `provider::services`; here is the one way of them all. A request that names a model is
//! routed by it, any other goes to the provider that a header or the config names.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType};
use pingora_proxy::Session;
use tidegate_codec::hub::{Fault, FaultKind, Refusal};
use tidegate_codec::json::{self, Envelope};
use tidegate_codec::{Format, Framing, wire};

use super::admit::{self, forbidden_model, header, invalid, is_name, own_header, shorten, unknown_model, wrong_method};
use super::body::{self, Reservation};
use super::exchange::{Admitted, Call, Collected, Exchange, Mode, Sending, Task};
use super::receive::no_answer;
use super::refuse::{self, Rejection};
use super::tail::Tail;
use super::upload::{REFUSED, Upload};
use super::{Edge, comeback, form, names, overload};
use crate::config::{Caller, Lead, Snapshot, Tie};
use crate::provider::Provider;
use crate::provider::services::{self, ModelAt, Service};
use crate::provider::uploads;
use crate::routing::{Ask, Needs, On, OnLoss, Retries, Route, Target, hash_key};
use crate::upstream::{MediaType, framing};

/// What a client asks for, by its path.
pub(super) enum Asked {
    /// An operation, and the methods that its path knows.
    Service(&'static Service, &'static str),
    /// Anything of a provider.
    Raw {
        /// Its name, as the client wrote it.
        provider: String,
        /// What is asked of it.
        path: String,
    },
}

/// What is asked for at `path`; `speaks` tells the client's format.
pub(super) fn find(path: &str, speaks: impl FnOnce() -> Format) -> Option<Asked> {
    if let Some(rest) = path.strip_prefix("/raw/") {
        let (provider, path) = rest.split_once('/').unwrap_or((rest, ""));
        return Some(Asked::Raw { provider: provider.to_owned(), path: format!("/{path}") });
    }
    services::find(path, speaks()).map(|(service, methods)| Asked::Service(service, methods))
}

/// What is known of a request before its body.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) caller: Caller,
    pub(super) snapshot: Arc<Snapshot>,
    /// The provider that the client names.
    pub(super) wish: Option<String>,
    /// The headers that rules look at.
    pub(super) headers: Vec<(String, String)>,
}

/// Takes a request in.
///
/// # Errors
///
/// It is refused.
pub(super) async fn take_in(
    edge: &Edge,
    session: &mut Session,
    exchange: &mut Exchange,
    (asked, keys): (Asked, &[String]),
) -> Result<Admitted, Rejection> {
    let method = session.req_header().method.clone();
    if let Asked::Service(_, methods) = &asked
        && !services::allows(methods, method.as_str())
    {
        return Err(wrong_method(methods));
    }
    let snapshot = edge.live.load_full();
    let ticket = comeback::ticket(edge, session, &snapshot)?;
    let caller = match &ticket {
        Some(ticket) => ticket.caller(edge, keys, exchange, &snapshot)?,
        None => admit::authenticate(edge, keys, exchange, &snapshot)?,
    };
    overload::caller(&snapshot, &caller, exchange)?;
    let wished = || own_header(session, Some(names::PROVIDER)).map(|name| name.trim().to_owned());
    let wish = ticket.map(|ticket| ticket.provider).or_else(wished);
    let looked_at = snapshot.settings.rules.iter().flat_map(|rule| &rule.when.headers);
    let headers = looked_at.filter_map(|(name, _)| Some((name.clone(), header(session, name.as_str())?.to_owned())));
    let headers = headers.collect();
    let head = Head { caller, snapshot, wish, headers };
    match asked {
        Asked::Raw { provider, path } => raw(edge, session, exchange, head, (&provider, &path)).await,
        Asked::Service(service, _) => {
            let origin = comeback::origin(session, &head.snapshot.settings.server)?;
            let call = Call { origin, ..call(Some(service), method, own_target(session, service)) };
            if !service.names_model(call.method.as_str()) {
                let route = head.unnamed(service, &call)?;
                stream(edge, session, head, (service.format(), route, call)).await
            } else if service.model == ModelAt::Body && form::is_form(session) {
                form::take_in(edge, session, exchange, (head, service, call)).await
            } else {
                held(edge, session, exchange, (head, service, call)).await
            }
        }
    }
}

fn call(service: Option<&'static Service>, method: Method, target: String) -> Call {
    Call { service, method, target, upload: None, form: None, origin: None }
}

/// A JSON body: held, so that it can be sent again.
async fn held(
    edge: &Edge,
    session: &mut Session,
    exchange: &mut Exchange,
    (head, service, call): (Head, &'static Service, Call),
) -> Result<Admitted, Rejection> {
    let server = &head.snapshot.settings.server;
    let mut room = Reservation::new(Arc::clone(&edge.budget), server.body_buffer_total);
    let body = exchange.trail.stopwatch.without(body::read(session, server, &mut room)).await?;
    exchange.trail.bytes_in = body.len();
    let envelope = json::guard(&body).map_err(|error| invalid(Refusal::from(error), &body))?;
    exchange.trail.stream = envelope.stream;
    let format = service.format();
    let model = envelope.model.as_deref().map(|model| wire(format).spec().bare(model));
    exchange.trail.model = model.map(str::to_owned);
    let route = match model.filter(|model| !model.is_empty()) {
        Some(model) => {
            let (name, route) = head.named(service, model)?;
            exchange.trail.route = Some(name);
            route
        }
        None => head.unnamed(service, &call)?,
    };
    // What is made of something stored is made where that lies.
    let made = service.model == ModelAt::Made;
    let tie = if made { head.snapshot.tie(&route, head.caller.name(), (format, &body)) } else { Tie::default() };
    let stream = envelope.stream.then_some(Framing::Events);
    Ok(Admitted { stream, body, room, envelope, tie, ..admitted(session, head, (format, route, call)) })
}

/// Any other body: it streams through unseen.
async fn stream(
    edge: &Edge,
    session: &mut Session,
    head: Head,
    (format, route, mut call): (Format, Arc<Route>, Call),
) -> Result<Admitted, Rejection> {
    let server = &head.snapshot.settings.server;
    call.upload = Some(Upload::open(session, server, false).await?);
    let room = Reservation::new(Arc::clone(&edge.budget), server.body_buffer_total);
    Ok(Admitted { room, ..admitted(session, head, (format, route, call)) })
}

async fn raw(
    edge: &Edge,
    session: &mut Session,
    exchange: &mut Exchange,
    head: Head,
    (name, path): (&str, &str),
) -> Result<Admitted, Rejection> {
    // Whoever may not ask is not told whether there is such a provider.
    let provider = head.snapshot.settings.providers.get(name).filter(|_| head.caller.may_ask_raw(name));
    let provider = Arc::clone(provider.ok_or_else(|| {
        let message = format!("This API key may not ask `{}` by its raw path.", shorten(name));
        Rejection::new(Fault::new(FaultKind::Permission, message).with_code("raw_not_allowed")).closing()
    })?);
    if !services::stays_below(path) {
        let message = "The path leads out of the provider's address: it must not hold `.` or `..` as a segment.";
        return Err(Rejection::new(Fault::new(FaultKind::InvalidRequest, message).with_code("bad_path")).closing());
    }
    exchange.trail.format = Some(provider.format);
    let method = session.req_header().method.clone();
    let call = call(None, method, target(session, path));
    let route = route_to("raw", &provider, &call.method);
    stream(edge, session, head, (provider.format, route, call)).await
}

/// Path and query of an operation, without what no provider gets where its format may have keys there.
fn own_target(session: &Session, service: &Service) -> String {
    let uri = &session.req_header().uri;
    match uri.query().filter(|_| wire(service.format()).spec().addressing.is_some()).map(uploads::passed) {
        Some(query) if query.is_empty() => uri.path().to_owned(),
        Some(query) => format!("{}?{query}", uri.path()),
        None => target(session, uri.path()),
    }
}

/// `path` with the query that came.
fn target(session: &Session, path: &str) -> String {
    match session.req_header().uri.query() {
        Some(query) if !query.is_empty() => format!("{path}?{query}"),
        _ => path.to_owned(),
    }
}

pub(super) fn admitted(session: &Session, head: Head, (format, route, call): (Format, Arc<Route>, Call)) -> Admitted {
    let spec = wire(format).spec();
    let affinity = hash_key(&[head.caller.name(), &route.name]);
    Admitted {
        api_version: own_header(session, spec.version_header),
        betas: own_header(session, spec.beta_header),
        format,
        task: Task::Service(Box::new(call)),
        stream: None,
        caller: head.caller,
        body: Bytes::new(),
        room: Reservation::default(),
        envelope: Envelope::default(),
        affinity,
        tie: Tie::default(),
        route,
        snapshot: head.snapshot,
    }
}

impl Head {
    /// Where a request for `model` goes, with the configured name that it met: those of the model's targets that serve
    /// the operation and, if the client names a provider, are of it.
    pub(super) fn named(&self, service: &Service, model: &str) -> Result<(Arc<str>, Arc<Route>), Rejection> {
        let settings = &self.snapshot.settings;
        let ask = Ask {
            model,
            client: self.caller.name(),
            header: &|name| self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()),
            bytes: 0,
            stream: false,
            needs: &Needs::default,
        };
        let wanted = |provider: &Provider| {
            service.is_served_by(provider) && self.wish.as_ref().is_none_or(|wish| **wish == *provider.name)
        };
        let lead = Some(model).filter(|model| is_name(model)).and_then(|_| settings.lead_to(&ask, wanted));
        let Lead { rule: _, route } = lead.ok_or_else(|| unknown_model(model))?;
        if !self.caller.may_use(model) {
            return Err(forbidden_model(model));
        }
        let name = Arc::clone(&route.name);
        let narrowed = settings.narrowed(route, wanted);
        Ok((name, narrowed.ok_or_else(|| no_target(service, model, self.wish.as_deref()))?))
    }

    /// Where a request goes that names no model.
    pub(super) fn unnamed(&self, service: &Service, call: &Call) -> Result<Arc<Route>, Rejection> {
        self.provider_for(service, call, |name| self.caller.may_call(name))
    }

    /// The way to the provider that is named, or to the only one that there is, of those that the client `may` call.
    pub(super) fn provider_for(
        &self,
        service: &Service,
        call: &Call,
        may: impl Fn(&str) -> bool,
    ) -> Result<Arc<Route>, Rejection> {
        let provider = self.provider((service, call), may)?;
        // Some providers have the model in the path.
        let path = |model: &str| provider.layout.path("", &call.target, model);
        if path("a") != path("b") {
            let message = format!("The provider `{}` wants to be told the model: name one.", provider.name);
            let fault = Fault::new(FaultKind::InvalidRequest, message);
            return Err(Rejection::new(fault.with_code("model_missing").with_param("model")).closing());
        }
        Ok(route_to(service.name, provider, &call.method))
    }

    fn provider(
        &self,
        (service, call): (&Service, &Call),
        may: impl Fn(&str) -> bool,
    ) -> Result<&Arc<Provider>, Rejection> {
        let settings = &self.snapshot.settings;
        let maker = |id| self.snapshot.maker_of(self.caller.name(), id);
        // What is in a thing that is kept is where that is: `stores/s/documents/d` in `stores/s`.
        let made = service.id_in(call.path()).and_then(|id| maker(id).or_else(|| maker(services::outermost(id)?)));
        let made =
            made.filter(|name| settings.providers.get(name).is_some_and(|provider| service.is_served_by(provider)));
        let named = match (&self.wish, &made) {
            (Some(wish), _) => Some(wish.as_str()),
            (None, Some(maker)) => Some(&**maker),
            (None, None) => settings.operations.get(service.name).map(|name| &**name),
        };
        if let Some(name) = named {
            if !may(name) {
                return Err(forbidden_provider(service, Some(name)));
            }
            let provider = settings.providers.get(name).filter(|provider| service.is_served_by(provider));
            return provider.ok_or_else(|| no_provider(service, name));
        }
        let mut serving = settings.providers.values().filter(|provider| service.is_served_by(provider)).peekable();
        if serving.peek().is_none() {
            return Err(unserved(service));
        }
        let callable: Vec<_> = serving.filter(|provider| may(&provider.name)).collect();
        match callable.as_slice() {
            [] => Err(forbidden_provider(service, None)),
            [one] => Ok(one),
            several => Err(ambiguous(service, several)),
        }
    }
}

/// The way to one provider, where no model is named. What makes something is asked for again only where nobody can have
/// begun to make it: a batch that is made twice is paid twice.
fn route_to(name: &str, provider: &Provider, method: &Method) -> Arc<Route> {
    let retries = if method.is_idempotent() {
        Retries::default()
    } else {
        Retries { on: vec![On::Connect, On::RateLimit], ..Retries::default() }
    };
    let target =
        Target { provider: Arc::clone(&provider.name), model: String::new(), weight: 1, price: None, place: 0 };
    Arc::new(Route { on_loss: OnLoss::Allow, retries: Arc::new(retries), ..Route::to(Arc::from(name), target) })
}

fn formats(service: &Service) -> String {
    service.formats.iter().map(|format| wire(*format).spec().title).collect::<Vec<_>>().join(" or ")
}

fn no_target(service: &Service, model: &str, wish: Option<&str>) -> Rejection {
    let at = wish.map(|wish| format!(" at the provider `{}`", shorten(wish))).unwrap_or_default();
    let message = format!(
        "The model `{}` has no target{at} that serves `{}`: it takes a provider that speaks {}.",
        shorten(model),
        service.name,
        formats(service)
    );
    let fault = Fault::new(FaultKind::InvalidRequest, message);
    Rejection::new(fault.with_code("unsupported_operation").with_param("model"))
}

fn unserved(service: &Service) -> Rejection {
    let message = format!("No provider here serves `{}`: it takes one that speaks {}.", service.name, formats(service));
    Rejection::new(Fault::new(FaultKind::NotFound, message).with_code("unsupported_operation")).closing()
}

fn no_provider(service: &Service, name: &str) -> Rejection {
    let message = format!(
        "No provider is named `{}` that serves `{}`: it takes one that speaks {}.",
        shorten(name),
        service.name,
        formats(service)
    );
    Rejection::new(Fault::new(FaultKind::InvalidRequest, message).with_code("unknown_provider")).closing()
}

pub(super) fn forbidden_provider(service: &Service, name: Option<&str>) -> Rejection {
    let which = name.map_or_else(|| "a provider".to_owned(), |name| format!("the provider `{}`", shorten(name)));
    let message = format!("This API key may not call {which} for `{}` without naming a model.", service.name);
    Rejection::new(Fault::new(FaultKind::Permission, message).with_code("provider_not_allowed")).closing()
}

fn ambiguous(service: &Service, providers: &[&Arc<Provider>]) -> Rejection {
    let names = providers.iter().map(|provider| format!("`{}`", provider.name)).collect::<Vec<_>>().join(", ");
    let message =
        format!("Several providers serve `{}`: name one in the header `{}`: {names}.", service.name, names::PROVIDER);
    Rejection::new(Fault::new(FaultKind::InvalidRequest, message).with_code("ambiguous_provider")).closing()
}

/// Refuses what a provider denies where that says nothing of our key; its own words might.
///
/// # Errors
///
/// It is denied: what the client is told stands as the verdict, and nobody is to blame.
pub(super) fn check_denied(sending: &mut Sending, status: u16) -> pingora::Result<()> {
    let Task::Service(call) = &sending.admitted.task else { return Ok(()) };
    if status != 403 || !call.service.is_some_and(|service| service.may_be_denied(call.path())) {
        return Ok(());
    }
    let message = "The provider has no such thing, or does not let this account at it.";
    let fault = Fault::new(FaultKind::Permission, message);
    let label = fault.kind.label();
    sending.verdict = Some(Box::new((fault, label)));
    Err(Error::explain(ErrorType::Custom(REFUSED), "the provider denies what is asked for").into_up())
}

/// What is done with the answer: its errors are the provider's own words, but for those that are about our key.
pub(super) fn answer_mode(head: &ResponseHeader, call: &Call) -> Mode {
    let status = head.status.as_u16();
    match status {
        _ if refuse::is_our_key(status, None) => Mode::Error { status, same: true, body: Collected::default() },
        304 => Mode::PassBlind,
        300..=399 => no_answer(status),
        _ if framing::is_full(status) => {
            let usage = call.service.and_then(|service| service.usage);
            let streams = MediaType::of(&head.headers) == MediaType::Events;
            let last = call.service.and_then(|service| service.last).filter(|_| streams);
            usage.map_or(Mode::PassBlind, |format| Mode::PassTail(Tail::new(format, last)))
        }
        _ => Mode::PassBlind,
    }
}

/// Whether the request is for an answer's head alone.
pub(super) fn asks_for_head(admitted: &Admitted) -> bool {
    matches!(&admitted.task, Task::Service(call) if call.method == Method::HEAD)
}

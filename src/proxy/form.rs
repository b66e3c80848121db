//! Forms with files that name a model: looked at up to the field `model`, then streamed through.
//!
//! Some SDKs put the fields first, others the files, as their caller wrote them. A form whose model is not in its
//! beginning is held like any other body as long as it is no longer than one may be, see `server.body_limit`. One that is
//! longer, or whose length is open, goes where a request goes that names no model; the model is checked when it comes, and
//! if it never comes or may not be used, the form's end is never sent.

use std::sync::Arc;

use bytes::Bytes;
use http::header;
use pingora_proxy::Session;
use tidegate_codec::frame::multipart::{Multipart, MultipartError};
use tidegate_codec::hub::{Fault, FaultKind};
use tidegate_codec::json::Envelope;

use super::Edge;
use super::admit;
use super::body::{BodyError, Reservation};
use super::exchange::{Admitted, Call, Exchange};
use super::names;
use super::refuse::Rejection;
use super::services::{self, Head};
use super::upload::{Refused, Upload};
use crate::provider::services::Service;
use crate::routing::Route;

/// The field that names the model.
const FIELD: &str = "model";

/// Bytes of a held form that are looked at in one go.
const PIECE: usize = 64 * 1024;

/// Whether the request's body is a form with files.
pub(super) fn is_form(session: &Session) -> bool {
    let kind = admit::header(session, header::CONTENT_TYPE).unwrap_or_default();
    kind.trim_start().get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"))
}

/// A form on its way through.
#[derive(Debug)]
pub(super) struct Form {
    /// As the form begins.
    untouched: Multipart,
    scan: Multipart,
    model: Model,
    /// What the target calls the model.
    target: String,
    /// Told once.
    found: Option<(String, Arc<str>)>,
}

/// What is known of the model.
#[derive(Debug)]
enum Model {
    /// It was in the form's beginning; its target calls it [`Form::target`].
    Known(String),
    /// It is still to come, if at all.
    Late(Late),
}

/// What a model is judged by that comes behind the form's beginning.
#[derive(Debug)]
struct Late {
    head: Head,
    service: &'static Service,
    /// The request may go to its provider without a model too.
    granted: bool,
    /// The form's length is announced: no name can be exchanged for one of another length.
    announced: bool,
}

/// Takes in a request whose body is a form.
///
/// # Errors
///
/// It is refused.
pub(super) async fn take_in(
    edge: &Edge,
    session: &mut Session,
    exchange: &mut Exchange,
    (head, service, mut call): (Head, &'static Service, Call),
) -> Result<Admitted, Rejection> {
    let kind = admit::header(session, header::CONTENT_TYPE).unwrap_or_default().to_owned();
    let untouched = Multipart::new(&kind, FIELD)?;
    let server = &head.snapshot.settings.server;
    let mut room = Reservation::new(Arc::clone(&edge.budget), server.body_buffer_total);
    let mut upload = Upload::open(session, server, true).await?;
    let (mut scan, mut seen, mut named) = (untouched.clone(), Vec::new(), None);
    let look = |piece: &[u8]| -> Result<bool, Rejection> {
        seen.clear();
        scan.chunk::<MultipartError>(piece, &mut seen, &mut |value| {
            named = Some(value.to_owned());
            Ok(None)
        })?;
        Ok(named.is_some())
    };
    let whole = upload.look_ahead(session, server, &mut room, look).await?;
    let (model, route) = match named {
        Some(model) => {
            let (name, route) = head.named(service, &model)?;
            (exchange.trail.model, exchange.trail.route) = (Some(model.clone()), Some(name));
            (Model::Known(model), route)
        }
        None => {
            let passing = if whole { Ok((head.unnamed(service, &call)?, true)) } else { late(&head, service, &call) };
            let announced = !whole && upload.announced();
            if (passing.is_err() || announced) && upload.fits(server.body_limit) {
                return hold(session, exchange, (untouched, upload, room), (head, service, call)).await;
            }
            let (route, granted) = passing?;
            let provider = route.targets.first().map(|target| target.provider.to_string());
            let head = Head { wish: provider, ..head.clone() };
            (Model::Late(Late { head, service, granted, announced: upload.announced() }), route)
        }
    };
    upload.watch(Form { scan: untouched.clone(), untouched, model, target: String::new(), found: None });
    call.upload = Some(upload);
    let admitted = services::admitted(session, head, (service.format(), route, call));
    Ok(Admitted { room, ..admitted })
}

/// Takes in a form that must be known before it goes anywhere: all of it is read.
async fn hold(
    session: &mut Session,
    exchange: &mut Exchange,
    (untouched, upload, mut room): (Multipart, Upload, Reservation),
    (head, service, mut call): (Head, &'static Service, Call),
) -> Result<Admitted, Rejection> {
    let body = upload.hold(session, &head.snapshot.settings.server, &mut room).await.map_err(|error| match error {
        BodyError::TooLarge { limit } => {
            not_first(format!("The form's field `{FIELD}` comes behind more than {limit} bytes: put it first."))
        }
        other => other.into(),
    })?;
    exchange.trail.bytes_in = body.len();
    let model = model_in(&untouched, &body)?;
    let route = match &model {
        Some(model) => {
            let (name, route) = head.named(service, model)?;
            (exchange.trail.model, exchange.trail.route) = (Some(model.clone()), Some(name));
            route
        }
        None => head.unnamed(service, &call)?,
    };
    call.form = Some(Box::new(untouched));
    let envelope = Envelope { model, ..Envelope::default() };
    Ok(Admitted { body, room, envelope, ..services::admitted(session, head, (service.format(), route, call)) })
}

/// The model that a whole form names.
fn model_in(untouched: &Multipart, body: &[u8]) -> Result<Option<String>, MultipartError> {
    let (mut scan, mut seen, mut named) = (untouched.clone(), Vec::new(), None);
    for piece in body.chunks(PIECE) {
        seen.clear();
        scan.chunk::<MultipartError>(piece, &mut seen, &mut |value| {
            named = Some(value.to_owned());
            Ok(None)
        })?;
    }
    scan.finish(&mut seen)?;
    Ok(named)
}

/// A whole form, read before, for a target that calls the model `target` where the client wrote `named`.
pub(super) fn renamed(untouched: &Multipart, body: &Bytes, named: Option<&str>, target: &str) -> Bytes {
    if named.is_none_or(|named| named == target) {
        return body.clone();
    }
    let (mut scan, mut out) = (untouched.clone(), Vec::with_capacity(body.len() + target.len()));
    for piece in body.chunks(PIECE) {
        // It was read once, so nothing is refused now.
        let _ = scan.chunk::<MultipartError>(piece, &mut out, &mut |_| Ok(Some(target.to_owned())));
    }
    let _ = scan.finish(&mut out);
    out.into()
}

/// The model comes too late to be seen in time.
fn not_first(message: String) -> Rejection {
    let fault = Fault::new(FaultKind::InvalidRequest, message);
    Rejection::new(fault.with_code("model_not_first").with_param(FIELD)).closing()
}

/// Where a form goes whose model is still to come, and whether it may go there without one.
fn late(head: &Head, service: &Service, call: &Call) -> Result<(Arc<Route>, bool), Rejection> {
    let route = head.provider_for(service, call, |_| true).map_err(|rejection| {
        not_first(format!(
            "The form's field `{FIELD}` comes behind its files. Put it first, or name the provider in the header `{}`. {}",
            names::PROVIDER,
            rejection.fault.message
        ))
    })?;
    let granted = route.targets.iter().all(|target| head.caller.may_call(&target.provider));
    Ok((route, granted))
}

impl Form {
    /// Another attempt begins, at a target that calls the model `target`.
    pub(super) fn begin(&mut self, target: &str) {
        self.scan = self.untouched.clone();
        target.clone_into(&mut self.target);
    }

    /// The form's length, of `length` bytes as it came.
    pub(super) fn length(&self, length: usize) -> usize {
        match &self.model {
            Model::Known(named) => (length + self.target.len()).saturating_sub(named.len()),
            Model::Late(_) => length,
        }
    }

    /// The model that came late, with the configured name that it met; once.
    pub(super) fn found(&mut self) -> Option<(String, Arc<str>)> {
        self.found.take()
    }

    /// What goes on of a piece.
    pub(super) fn piece(&mut self, piece: &[u8], end: bool) -> Result<Option<Bytes>, Refused> {
        let Self { scan, model, target, found, .. } = self;
        let mut out = Vec::with_capacity(piece.len() + 128);
        scan.chunk::<Rejection>(piece, &mut out, &mut |named| match model {
            Model::Known(_) => Ok(Some(target.clone())),
            Model::Late(late) => late.judge(named, found),
        })?;
        if end {
            scan.finish(&mut out).map_err(Rejection::from)?;
            if let (false, Model::Late(Late { head, service, granted: false, .. })) = (scan.seen(), &*model) {
                return Err(services::forbidden_provider(service, head.wish.as_deref()).into());
            }
        }
        Ok(if end && out.is_empty() { None } else { Some(Bytes::from(out)) })
    }
}

impl Late {
    /// The name to send in place of `named`.
    fn judge(&self, named: &str, found: &mut Option<(String, Arc<str>)>) -> Result<Option<String>, Rejection> {
        let (name, route) = self.head.named(self.service, named)?;
        let Some(target) = route.targets.first() else { return Ok(None) };
        if self.announced && target.model.len() != named.len() {
            return Err(not_first(format!(
                "The form's field `{FIELD}` comes behind its files, where its name can no longer be exchanged for the \
                 provider's: put it first."
            )));
        }
        *found = Some((named.to_owned(), name));
        Ok(Some(target.model.clone()))
    }
}

impl From<MultipartError> for Rejection {
    fn from(error: MultipartError) -> Self {
        let fault = Fault::new(FaultKind::InvalidRequest, error.to_string()).with_code("invalid_form");
        Self::new(fault).labelled("invalid_form").closing()
    }
}

//! The length of an answer that was made anew, and what it lost, told where they are known in time.
//!
//! A translated answer's length is known only when its body is, and by then the filters have let its head pass. But
//! Pingora filters all that it has of an answer before it writes any of it, and runs modules last: where head and body
//! came in one piece, as short answers do, the head is still here. It then goes out with `content-length`, in one write
//! with the body, instead of as chunks in three.

use std::any::Any;

use async_trait::async_trait;
use http::{Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::{HttpModule, HttpModuleBuilder, HttpModules, Module};
use pingora_proxy::Session;

use super::exchange::Trail;
use super::names;
use super::receive::empty_answer;

/// Tells the length of an answer in its head.
#[derive(Debug, Default)]
struct Length {
    /// Bytes of the whole body, once it is made.
    body: Option<usize>,
    /// What was lost when it was made.
    loss: Option<String>,
    /// The seconds to wait that it tells of, where its head did not.
    retry_after: Option<u64>,
    /// The provider's status, where its answer must have a body.
    demanded: Option<u16>,
    /// The client speaks HTTP/1.0, which has no chunks.
    old: bool,
}

#[async_trait]
impl HttpModule for Length {
    async fn request_header_filter(&mut self, head: &mut RequestHeader) -> pingora::Result<()> {
        self.old = head.version == Version::HTTP_10;
        Ok(())
    }

    async fn response_header_filter(&mut self, head: &mut ResponseHeader, end: bool) -> pingora::Result<()> {
        if let Some(status) = self.demanded.take_if(|_| end) {
            return Err(empty_answer(status));
        }
        if let Some(length) = self.body.filter(|_| !head.status.is_informational()) {
            head.remove_header(&header::TRANSFER_ENCODING);
            head.insert_header(header::CONTENT_LENGTH, length)?;
        }
        if let Some(loss) = self.loss.take_if(|_| !head.status.is_informational()) {
            let before = head.headers.get(names::LOSS).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let value = if before.is_empty() { loss } else { format!("{before}, {loss}") };
            head.insert_header(names::LOSS, value)?;
        }
        if let Some(after) = self.retry_after.take_if(|_| !head.status.is_informational())
            && !head.headers.contains_key(header::RETRY_AFTER)
        {
            head.insert_header(header::RETRY_AFTER, after)?;
        }
        if self.old {
            head.remove_header(&header::TRANSFER_ENCODING);
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

struct Builder;

impl HttpModuleBuilder for Builder {
    fn init(&self) -> Module {
        Box::<Length>::default()
    }
}

/// Adds the module to those of every request.
pub(super) fn install(modules: &mut HttpModules) {
    modules.add_module(Box::new(Builder));
}

/// The answer with `status` that is coming must have a body: an answer that ends with its head meets no other filter, and
/// would look whole.
pub(super) fn demand(session: &mut Session, status: Option<u16>) {
    if let Some(length) = session.downstream_modules_ctx.get_mut::<Length>() {
        length.demanded = status;
    }
}

/// The answer's body is whole, `bytes` long: its head says so, and what else is known only now, if it was not sent.
pub(super) fn known(session: &mut Session, bytes: usize, trail: &mut Trail) {
    if let Some(length) = session.downstream_modules_ctx.get_mut::<Length>() {
        length.body = Some(bytes);
        (length.loss, length.retry_after) = (trail.answer_loss.take(), trail.answer_retry_after.take());
    }
}

//! The request's body on its way from Pingora's loop to the session that writes it.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::protocols::http::custom::{BodyWrite, CustomMessageWrite};
use pingora_core::{Error, ErrorType, Result};
use tokio::sync::mpsc;

/// Pieces on the way at a time.
const QUEUE: usize = 2;

/// A part of a body.
#[derive(Debug)]
pub(super) enum Part {
    Data(Bytes),
    End,
}

/// The loop's end of the way, which the loop keeps for as long as the answer lasts.
pub(super) enum Writer {
    /// Parts go to the session.
    Open(mpsc::Sender<Part>),
    /// The session has the body already: what the loop sends of it leads nowhere.
    Idle,
    /// The body is over.
    Ended,
}

pub(super) fn way() -> (Writer, mpsc::Receiver<Part>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Writer::Open(sender), receiver)
}

impl Writer {
    async fn send(&mut self, part: Part) -> Result<()> {
        let Self::Open(sender) = self else { return Ok(()) };
        sender.send(part).await.map_err(|_| Error::explain(ErrorType::WriteError, "the upstream session is gone"))
    }
}

#[async_trait]
impl BodyWrite for Writer {
    async fn write_all_buf(&mut self, data: &mut Bytes) -> Result<()> {
        let data = data.split_to(data.len());
        self.send(Part::Data(data)).await
    }

    /// A body ends once. Pingora's loop takes the end of an HTTP/2 body that has trailers for an empty piece of it, and
    /// would ask for more, and be told of the end, for ever without a pause: an error makes it ask no more.
    async fn finish(&mut self) -> Result<()> {
        if matches!(self, Self::Ended) {
            return Err(Error::explain(ErrorType::WriteError, "the request has trailers, which are not passed on"));
        }
        self.send(Part::End).await?;
        *self = Self::Ended;
        Ok(())
    }

    async fn cleanup(&mut self) -> Result<()> {
        Ok(())
    }

    fn upgrade_body_writer(&mut self) {}
}

/// The messages beside requests that other protocols have, and HTTP has not.
pub(super) struct NoMessages;

impl futures_core::Stream for NoMessages {
    type Item = Result<Bytes>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(None)
    }
}

#[async_trait]
impl CustomMessageWrite for NoMessages {
    fn set_write_timeout(&mut self, _: Option<Duration>) {}

    async fn write_custom_message(&mut self, _: Bytes) -> Result<()> {
        Ok(())
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }
}

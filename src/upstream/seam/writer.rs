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

/// The loop's end of the way. `None` where nothing more is to be sent: the loop keeps it for as long as the answer lasts.
pub(super) struct Writer(Option<mpsc::Sender<Part>>);

pub(super) fn way() -> (Writer, mpsc::Receiver<Part>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Writer(Some(sender)), receiver)
}

impl Writer {
    /// For a body that the session has already: what the loop sends of it leads nowhere.
    pub(super) fn idle() -> Self {
        Self(None)
    }

    async fn send(&mut self, part: Part) -> Result<()> {
        let Some(sender) = &self.0 else { return Ok(()) };
        sender.send(part).await.map_err(|_| Error::explain(ErrorType::WriteError, "the upstream session is gone"))
    }
}

#[async_trait]
impl BodyWrite for Writer {
    async fn write_all_buf(&mut self, data: &mut Bytes) -> Result<()> {
        let data = data.split_to(data.len());
        self.send(Part::Data(data)).await
    }

    async fn finish(&mut self) -> Result<()> {
        self.send(Part::End).await?;
        self.0 = None;
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

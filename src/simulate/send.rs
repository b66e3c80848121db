//! Writes a script to its reader: at its pace, and with its faults.

use std::time::Duration;

use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora_core::Result;
use pingora_core::protocols::http::ServerSession;
use tokio::time::Instant;

use super::content::portion;
use super::fault::{Cut, Fault};
use super::knobs::Knobs;
use super::script::Script;
use crate::clock;

/// How writing an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Written to its end; the connection can go on.
    Complete,
    /// Cut by a knob: the connection must close without the end of the body.
    Cut,
    /// The reader left.
    Gone,
}

/// Writes the answer.
///
/// # Errors
/// What the connection failed with while the header was written; a body that cannot be written is [`Ending::Gone`].
pub(super) async fn send(session: &mut ServerSession, script: &Script, knobs: &Knobs, fault: Fault) -> Result<Ending> {
    let mut writer = Writer { session, knobs, fault, half_closed: false, start: now() };
    let ending = match &script.events {
        Some(_) => writer.stream(script).await?,
        None => writer.whole(script).await?,
    };
    Ok(ending)
}

/// Ways of an answer that end it at once.
enum Leave {
    Cut,
    Gone,
}

struct Writer<'a> {
    session: &'a mut ServerSession,
    knobs: &'a Knobs,
    fault: Fault,
    /// The reader sends no more, but may still read.
    half_closed: bool,
    start: Instant,
}

impl Writer<'_> {
    async fn whole(&mut self, script: &Script) -> Result<Ending> {
        if script.status == 200 && self.wait_until(self.due(script.tokens)).await.is_err() {
            return Ok(Ending::Gone);
        }
        self.header(script, false).await?;
        let body = script.body.clone();
        Ok(ending(&self.body(body, script).await))
    }

    async fn body(&mut self, body: Bytes, script: &Script) -> Result<(), Leave> {
        let keep = self.cut_at(script.body.len());
        self.write(body.slice(..keep.unwrap_or(body.len()).min(body.len()))).await?;
        match keep {
            Some(_) => self.leave().await,
            None => self.finish().await,
        }
    }

    async fn stream(&mut self, script: &Script) -> Result<Ending> {
        self.header(script, true).await?;
        Ok(ending(&self.events(script).await))
    }

    async fn events(&mut self, script: &Script) -> Result<(), Leave> {
        let events = script.events.as_deref().unwrap_or_default();
        let last = self.cut_at(events.len());
        let each = self.knobs.flush_each || self.knobs.tokens_per_second > 0.0;
        let (mut sent, mut tokens) = (0, 0_u32);
        for (i, event) in events.iter().enumerate() {
            if last == Some(i) {
                // Half of the event goes out, so that its reader holds a frame that never ends.
                let start = i.checked_sub(1).and_then(|before| events.get(before)).map_or(0, |before| before.end);
                self.write(script.body.slice(sent..start + (event.end - start) / 2)).await?;
                return self.leave().await;
            }
            // What waits for its time must not hold back what was due before it.
            let due = self.due(tokens);
            if event.token && due > now() {
                let start = i.checked_sub(1).and_then(|before| events.get(before)).map_or(0, |before| before.end);
                self.write(script.body.slice(sent..start)).await?;
                sent = start;
                self.wait_until(due).await?;
            }
            tokens += u32::from(event.token);
            if each {
                self.write(script.body.slice(sent..event.end)).await?;
                sent = event.end;
            }
        }
        self.write(script.body.slice(sent..)).await?;
        self.finish().await
    }

    async fn header(&mut self, script: &Script, stream: bool) -> Result<()> {
        let mut header = ResponseHeader::build(script.status, Some(6))?;
        header.insert_header(
            "content-type",
            if stream { "text/event-stream; charset=utf-8" } else { "application/json" },
        )?;
        for (name, value) in &script.headers {
            header.insert_header(*name, value.as_str())?;
        }
        if script.gzip {
            header.insert_header("content-encoding", "gzip")?;
        }
        if !stream {
            header.insert_header("content-length", script.body.len())?;
        } else if !self.session.is_http2() {
            header.insert_header("transfer-encoding", "chunked")?;
        }
        self.session.write_response_header(Box::new(header)).await
    }

    /// When the `n`th token is due.
    fn due(&self, n: u32) -> Instant {
        let rate = self.knobs.tokens_per_second;
        let after = if rate > 0.0 { f64::from(n) / rate } else { 0.0 };
        self.start + Duration::from_millis(self.knobs.first_token_ms) + Duration::from_secs_f64(after.min(FAR))
    }

    /// After how many of `whole` the answer is cut; `None` if it is not.
    fn cut_at(&self, whole: usize) -> Option<usize> {
        match self.fault.cut {
            Some(Cut::Abort(share) | Cut::Stall(share)) => Some(portion(whole, share)),
            Some(Cut::ErrorEvent(_)) | None => None,
        }
    }

    async fn leave(&mut self) -> Result<(), Leave> {
        if matches!(self.fault.cut, Some(Cut::Stall(_))) {
            self.wait_until(now() + Duration::from_millis(self.knobs.stall_ms)).await?;
        }
        Err(Leave::Cut)
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Leave> {
        if !self.fault.drip {
            return self.put(bytes, false).await;
        }
        let (mut rest, mut size) = (bytes, 0);
        while !rest.is_empty() {
            size = size % 11 + 1;
            let piece = rest.split_to(size.min(rest.len()));
            self.put(piece, false).await?;
            match self.knobs.drip_ms {
                0 => tokio::task::yield_now().await,
                ms => self.wait_until(now() + Duration::from_millis(ms)).await?,
            }
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Leave> {
        self.put(Bytes::new(), true).await
    }

    async fn put(&mut self, bytes: Bytes, end: bool) -> Result<(), Leave> {
        self.session.write_response_body(bytes, end).await.map_err(|_| Leave::Gone)
    }

    /// Waits, unless the reader leaves first.
    async fn wait_until(&mut self, due: Instant) -> Result<(), Leave> {
        if due <= now() {
            return Ok(());
        }
        if !self.half_closed {
            tokio::select! {
                () = tokio::time::sleep_until(due) => return Ok(()),
                read = self.session.read_body_or_idle(true) => match read {
                    Err(_) => return Err(Leave::Gone),
                    Ok(_) => self.half_closed = true,
                },
            }
        }
        tokio::time::sleep_until(due).await;
        Ok(())
    }
}

fn now() -> Instant {
    Instant::from_std(clock::now())
}

/// The longest that pacing waits for one token, in seconds: a day.
const FAR: f64 = 86_400.0;

fn ending(result: &Result<(), Leave>) -> Ending {
    match result {
        Ok(()) => Ending::Complete,
        Err(Leave::Cut) => Ending::Cut,
        Err(Leave::Gone) => Ending::Gone,
    }
}

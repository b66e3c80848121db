//! The model simulator: a provider without a model, for the demo, for tests, and for load without a bill.
//!
//! It speaks OpenAI Chat Completions and Anthropic Messages, streamed and not, over HTTP/1.1 and h2c on one port:
//!
//! | | |
//! |---|---|
//! | `POST /v1/chat/completions` | OpenAI Chat Completions |
//! | `POST /v1/messages`, `/v1/messages/count_tokens` | Anthropic Messages |
//! | `GET /v1/models` | in the shape of the provider that the request is made for |
//! | `GET /health` | 200, or 503 when the knob `unhealthy` is set |
//! | `POST /__sim/set` | changes the knobs that the JSON object names ([`Knobs`]); answers all of them |
//! | `POST /__sim/reset` | the knobs as at the start, counters zero |
//! | `GET /__sim/stats` | counters |
//! | `GET /__sim/last` | the last request of each format with its headers; `/__sim/last/FORMAT` for the bare body |
//!
//! The same request gets the same answer, byte for byte, and faults fall on the same requests for the same seed. The
//! text is made to break naive translation: see `ask::STOCK`. It shows request headers to whoever asks, so it belongs
//! on loopback or in a closed test network.

mod ask;
mod chat;
mod content;
mod fault;
mod knobs;
mod messages;
mod refusal;
mod schema;
mod script;
mod send;
mod serve;
mod stats;

pub use knobs::{Kind, Knobs, Mix};
pub use serve::{App, service};

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderMap;

use ask::{Answer, Ask};
use fault::{Cut, Fault};
use refusal::Refusal;
use script::Script;
use stats::{Seen, Stats};

/// The simulated provider: its knobs and what it counted.
#[derive(Debug)]
pub struct Simulator {
    start: Knobs,
    knobs: ArcSwap<Knobs>,
    /// One change of the knobs at a time, so that none is lost.
    change: std::sync::Mutex<()>,
    ordinal: AtomicU64,
    stats: Stats,
}

/// What a request for an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Chat,
    Messages,
    CountTokens,
}

impl Operation {
    fn format(self) -> &'static str {
        match self {
            Self::Chat => "openai_chat",
            Self::Messages => "anthropic_messages",
            Self::CountTokens => "anthropic_count_tokens",
        }
    }
}

/// An answer and what happens to it on the way.
struct Reply {
    script: Script,
    knobs: Arc<Knobs>,
    fault: Fault,
}

impl Simulator {
    /// A simulator that begins with these knobs.
    #[must_use]
    pub fn new(knobs: Knobs) -> Arc<Self> {
        Arc::new(Self {
            knobs: ArcSwap::from_pointee(knobs.clone()),
            start: knobs,
            change: std::sync::Mutex::new(()),
            ordinal: AtomicU64::new(0),
            stats: Stats::default(),
        })
    }

    /// The knobs as they are now.
    #[must_use]
    pub fn knobs(&self) -> Arc<Knobs> {
        self.knobs.load_full()
    }

    /// Changes the knobs that the JSON object names; those of requests under way stay.
    ///
    /// # Errors
    /// What is wrong with the object; then nothing is changed.
    pub fn set(&self, json: &[u8]) -> Result<(), String> {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let knobs = self.knobs().patched(json)?;
        self.knobs.store(Arc::new(knobs));
        Ok(())
    }

    /// The knobs and counters of the start.
    pub fn reset(&self) {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        self.knobs.store(Arc::new(self.start.clone()));
        self.ordinal.store(0, Relaxed);
        self.stats.reset();
    }

    /// The answer to a request for one.
    fn reply(&self, operation: Operation, headers: &HeaderMap, body: Bytes) -> Reply {
        let knobs = self.knobs();
        let n = self.ordinal.fetch_add(1, Relaxed);
        Stats::count(&self.stats.requests);
        let fault = Fault::draw(&knobs, n);
        let request_id = format!("req_sim{n:016x}");
        let answered = answer(operation, headers, &body, &knobs);
        self.stats.keep(operation.format(), Seen { headers: headers.clone(), body });
        let (mut script, fault) = match (answered, fault.status) {
            (Err(refusal), _) => {
                Stats::count(&self.stats.invalid);
                (refused(operation, &refusal, &request_id), Fault::default())
            }
            (Ok(_), Some(status)) => {
                Stats::count(&self.stats.faults);
                let refusal = Refusal::new(status, format!("The simulator answers {status}, as its knobs say."));
                let mut script = refused(operation, &refusal, &request_id);
                if matches!(status, 429 | 503 | 529) {
                    script.headers.push(("retry-after", knobs.retry_after.to_string()));
                }
                (script, Fault::default())
            }
            (Ok(script), None) => (script, fault),
        };
        if script.events.is_some() {
            Stats::count(&self.stats.streams);
        }
        damage(&mut script, fault, operation, &request_id);
        let name = if operation == Operation::Chat { "x-request-id" } else { "request-id" };
        script.headers.push((name, request_id));
        Reply { script, knobs, fault }
    }
}

/// The answer, before any fault.
fn answer(operation: Operation, headers: &HeaderMap, body: &[u8], knobs: &Knobs) -> Result<Script, Refusal> {
    authenticate(headers, knobs)?;
    let manner = messages::Manner {
        version: headers.get("anthropic-version").and_then(|version| version.to_str().ok()),
        strictly: knobs.strict,
        counting: operation == Operation::CountTokens,
    };
    let ask = match operation {
        Operation::Chat => chat::read(body, knobs.strict)?,
        Operation::Messages | Operation::CountTokens => messages::read(body, &manner)?,
    };
    if knobs.strict && !knobs.models.is_empty() && !knobs.models.contains(&ask.model) {
        return Err(Refusal::new(404, format!("There is no model `{}`.", ask.model)).at("model"));
    }
    let answer = Answer::plan(&ask, knobs);
    Ok(written(operation, &ask, &answer))
}

fn written(operation: Operation, ask: &Ask, answer: &Answer) -> Script {
    match (operation, ask.stream) {
        (Operation::Chat, false) => chat::whole(ask, answer),
        (Operation::Chat, true) => chat::stream(ask, answer),
        (Operation::Messages, false) => messages::whole(ask, answer),
        (Operation::Messages, true) => messages::stream(ask, answer),
        (Operation::CountTokens, _) => messages::count(answer),
    }
}

fn refused(operation: Operation, refusal: &Refusal, request_id: &str) -> Script {
    let body = match operation {
        Operation::Chat => chat::error_body(refusal),
        Operation::Messages | Operation::CountTokens => messages::error_body(refusal, request_id),
    };
    Script::json(refusal.status, body)
}

/// Applies the faults that change the body itself.
fn damage(script: &mut Script, fault: Fault, operation: Operation, request_id: &str) {
    if let Some(Cut::ErrorEvent(share)) = fault.cut {
        let refusal = Refusal::new(529, "The simulator ends this stream with an error, as its knobs say.");
        let last = match operation {
            Operation::Chat => chat::error_event(&refusal),
            Operation::Messages | Operation::CountTokens => messages::error_event(&refusal, request_id),
        };
        script.end_early(share, &last);
    }
    if fault.gzip
        && let Err(e) = script.compress()
    {
        log::error!("simulator: an answer could not be compressed and goes out as it is: {e}");
    }
}

/// Checks the key, where one is asked for, in every place where a provider of either format looks for it.
fn authenticate(headers: &HeaderMap, knobs: &Knobs) -> Result<(), Refusal> {
    let Some(key) = knobs.key.as_deref() else { return Ok(()) };
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = value("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let sent = bearer.or_else(|| value("x-api-key")).or_else(|| value("api-key"));
    match sent {
        Some(sent) if sent == key => Ok(()),
        Some(_) => Err(Refusal::new(401, "The API key is not valid.")),
        None => Err(Refusal::new(401, "The request carries no API key.")),
    }
}

#[cfg(test)]
mod tests;

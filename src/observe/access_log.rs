//! The access log: one JSON line for each exchange, without a word of what was said.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use super::line::Line;
use super::queue::{LineQueue, LogPath};
use super::settled::{Attempt, Lost, Settled, Side, Usage};
use crate::clock;

/// Where the lines of finished exchanges go.
pub struct AccessLog {
    queue: LineQueue,
}

thread_local! {
    /// Reused, so that a line costs no allocation.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl AccessLog {
    /// Opens the target.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened for appending.
    pub fn open(target: LogPath) -> io::Result<Self> {
        Ok(Self { queue: LineQueue::open(target, "access-log")? })
    }

    /// Adds the line of one exchange; never waits.
    pub fn write(&self, settled: &Settled<'_>) {
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            format(buffer, settled, clock::unix_now());
            self.queue.push(buffer);
        });
    }

    /// Opens the target anew, after a rotation.
    pub fn reopen(&self) {
        self.queue.reopen();
    }

    /// Waits until all is written; `false` when that took longer than `patience`.
    pub fn flush(&self, patience: Duration) -> bool {
        self.queue.flush(patience)
    }

    /// Lines lost so far.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }
}

fn format(out: &mut Vec<u8>, settled: &Settled<'_>, at: Duration) {
    let mut line = Line::new(out);
    let (level, message) = verdict(settled);
    line.time("timestamp", at);
    line.plain("level", level);
    line.plain("message", message);
    line.plain("target", "tidegate::access");
    line.text("request_id", settled.request_id);
    line.text_if("trace_id", settled.trace_id);
    line.text_if("parent_span_id", settled.parent_span_id);
    if let Some(address) = settled.client_ip {
        line.display("client_ip", address);
    }
    line.plain("method", settled.method.label());
    line.plain("endpoint", settled.endpoint.label());
    line.number("status", settled.status.into());
    route(&mut line, settled);
    line.bool("stream", settled.stream);
    line.millis("latency_ms", settled.latency);
    line.number_if("overhead_us", settled.overhead.map(micros));
    line.millis_if("ttft_ms", settled.ttft);
    line.millis_if("queue_ms", settled.waits.iter().map(|(_, waited)| *waited).reduce(|sum, waited| sum + waited));
    tokens(&mut line, settled);
    attempts(&mut line, settled.attempts);
    outcome(&mut line, settled);
    line.end();
}

fn verdict(settled: &Settled<'_>) -> (&'static str, &'static str) {
    match settled.aborted.map(|abort| abort.side) {
        Some(Side::Client) => return ("INFO", "client left"),
        Some(Side::Upstream | Side::Edge) => return ("ERROR", "answer cut"),
        None => {}
    }
    match settled.status {
        500.. => ("ERROR", "request failed"),
        400.. => ("WARN", "request refused"),
        _ if settled.error_type.is_some() => ("ERROR", "request failed"),
        _ => ("INFO", "request completed"),
    }
}

fn route(line: &mut Line<'_>, settled: &Settled<'_>) {
    line.text_if("client_format", settled.client_format);
    line.text_if("provider", settled.provider);
    line.text_if("upstream", settled.upstream);
    line.text_if("model", settled.model);
    line.text_if("requested_model", settled.requested_model);
    line.text_if("upstream_model", settled.upstream_model);
    line.text_if("key", settled.key);
    if let Some(translation) = settled.translation {
        line.text("translated_to", translation.to);
    }
}

fn tokens(line: &mut Line<'_>, settled: &Settled<'_>) {
    let usage = &settled.usage;
    if *usage == Usage::default() {
        if settled.endpoint.generates() {
            line.plain("usage_source", settled.usage_source.label());
        }
        return;
    }
    line.number_if("prompt_tokens", usage.prompt());
    line.number_if("completion_tokens", usage.completion());
    line.object("tokens", |tokens| {
        tokens.number_if("input", usage.input_uncached);
        tokens.number_if("output", usage.output_visible);
        tokens.number_if("cache_read", usage.cache_read);
        tokens.number_if("cache_write", usage.cache_write);
        tokens.number_if("reasoning", usage.reasoning);
    });
    line.plain("usage_source", settled.usage_source.label());
}

/// Their number; each of them too when there was more to it than one good answer.
fn attempts(line: &mut Line<'_>, attempts: &[Attempt]) {
    line.number("attempts", attempts.len().try_into().unwrap_or(u64::MAX));
    if attempts.len() > 1 || attempts.iter().any(|attempt| attempt.fault().is_some()) {
        line.objects("tries", attempts, |line, attempt| {
            line.text("provider", &attempt.provider);
            line.text("upstream", &attempt.upstream);
            line.number_if("status", attempt.status.map(u64::from));
            line.text_if("error", attempt.fault());
            line.millis_if("ttfb_ms", attempt.ttfb);
            line.millis("duration_ms", attempt.duration);
        });
    }
}

fn outcome(line: &mut Line<'_>, settled: &Settled<'_>) {
    if !settled.losses.is_empty() {
        line.objects("losses", &each_once(settled.losses), |line, lost| {
            line.text("field", lost.field);
            line.text("action", lost.action);
            line.number_if("count", Some(lost.count).filter(|count| *count > 1));
        });
    }
    if let Some(fallback) = settled.fallback {
        line.object("fallback", |line| {
            line.text("from", fallback.from);
            line.text("to", fallback.to);
            line.text("reason", fallback.reason);
        });
    }
    line.text_if("error_type", settled.error_type);
    line.text_if("shed", settled.shed.map(|(_, reason)| reason));
    line.text_if("hedge", settled.hedge);
    line.number("bytes_in", settled.bytes_in);
    line.number("bytes_out", settled.bytes_out);
    if settled.stream {
        line.number("events", settled.events);
    }
    if let Some(abort) = settled.aborted {
        line.plain("aborted_by", abort.side.label());
        line.text("abort_reason", abort.reason);
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros().try_into().unwrap_or(u64::MAX)
}

/// Every loss once, and how often it came: however long a conversation is, the line is not.
fn each_once(losses: &[Lost]) -> Vec<Lost> {
    let mut counted: Vec<Lost> = Vec::new();
    for lost in losses {
        match counted.iter_mut().find(|known| (known.field, known.action) == (lost.field, lost.action)) {
            Some(known) => known.count += lost.count,
            None => counted.push(*lost),
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::settled::{Abort, Endpoint, Fallback, Method, Translation, UsageSource};

    fn logged(settled: &Settled<'_>) -> serde_json::Value {
        let mut out = Vec::new();
        format(&mut out, settled, Duration::from_millis(1_700_000_000_123));
        assert_eq!(String::from_utf8_lossy(&out).lines().count(), 1);
        serde_json::from_slice(&out).unwrap()
    }

    fn attempt(status: Option<u16>, error: Option<&'static str>) -> Attempt {
        Attempt {
            provider: "claude".into(),
            upstream: "claude/api.anthropic.com:443".into(),
            status,
            error,
            ttfb: status.map(|_| Duration::from_millis(3)),
            duration: Duration::from_millis(7),
        }
    }

    #[test]
    fn a_translated_stream_has_every_field() {
        let attempts = [attempt(None, Some("upstream_unreachable")), attempt(Some(200), None)];
        let line = logged(&Settled {
            request_id: "r-1",
            trace_id: Some("0af7651916cd43dd8448eb211c80319c"),
            parent_span_id: Some("b7ad6b7169203331"),
            client_ip: Some("::1".parse().unwrap()),
            method: Method::Post,
            endpoint: Endpoint::ChatCompletions,
            status: 200,
            client_format: Some("openai_chat"),
            provider: Some("claude"),
            upstream: Some("claude/api.anthropic.com:443"),
            model: Some("claude-*"),
            requested_model: Some("claude-x\n"),
            upstream_model: Some("claude-x"),
            key: Some("web"),
            stream: true,
            latency: Duration::from_micros(1_250_500),
            overhead: Some(Duration::from_micros(30)),
            ttft: Some(Duration::from_millis(90)),
            stream_duration: Some(Duration::from_secs(1)),
            token_span: Some(Duration::from_secs(1)),
            events: 12,
            heartbeats: 0,
            usage: Usage {
                input_uncached: Some(10),
                cache_read: Some(5),
                output_visible: Some(7),
                reasoning: Some(1),
                cache_write: None,
            },
            usage_source: UsageSource::Reported,
            waits: &[("client", Duration::from_millis(2)), ("provider", Duration::from_millis(3))],
            shed: Some(("provider", "wait")),
            hedge: Some("won"),
            attempts: &attempts,
            fallback: Some(Fallback { from: "a/b", to: "claude/*", reason: "upstream_unreachable" }),
            translation: Some(Translation { from: "openai_chat", to: "anthropic_messages", failed: false }),
            losses: &[("logit_bias", 1), ("image", 1), ("image", 1)].map(|(field, count)| Lost {
                field,
                action: "dropped",
                count,
            }),
            error_type: None,
            bytes_in: 100,
            bytes_out: 2000,
            aborted: None,
        });
        let expected = serde_json::json!({
            "timestamp": "2023-11-14T22:13:20.123Z", "level": "INFO", "message": "request completed",
            "target": "tidegate::access", "request_id": "r-1", "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "parent_span_id": "b7ad6b7169203331", "client_ip": "::1", "method": "POST", "endpoint": "chat_completions",
            "status": 200, "client_format": "openai_chat", "provider": "claude",
            "upstream": "claude/api.anthropic.com:443", "model": "claude-*", "requested_model": "claude-x\n",
            "upstream_model": "claude-x", "key": "web", "translated_to": "anthropic_messages", "stream": true,
            "latency_ms": 1250.5, "overhead_us": 30, "ttft_ms": 90.0, "queue_ms": 5.0, "shed": "wait", "hedge": "won", "prompt_tokens": 15, "completion_tokens": 8,
            "tokens": {"input": 10, "output": 7, "cache_read": 5, "reasoning": 1}, "usage_source": "reported",
            "attempts": 2, "tries": [
                {"provider": "claude", "upstream": "claude/api.anthropic.com:443", "error": "upstream_unreachable",
                 "duration_ms": 7.0},
                {"provider": "claude", "upstream": "claude/api.anthropic.com:443", "status": 200, "ttfb_ms": 3.0,
                 "duration_ms": 7.0}],
            "losses": [{"field": "logit_bias", "action": "dropped"}, {"field": "image", "action": "dropped", "count": 2}],
            "fallback": {"from": "a/b", "to": "claude/*", "reason": "upstream_unreachable"},
            "bytes_in": 100, "bytes_out": 2000, "events": 12,
        });
        assert_eq!(line, expected);
    }

    fn check_verdict(status: u16, error_type: Option<&'static str>, side: Option<Side>, level: &str) {
        let aborted = side.map(|side| Abort { side, reason: "closed" });
        let line = logged(&Settled { status, error_type, aborted, ..Settled::default() });
        assert_eq!(line["level"], level, "{line}");
        assert_eq!(line["aborted_by"], serde_json::json!(side.map(Side::label)), "{line}");
    }

    #[test]
    fn levels_follow_the_outcome() {
        check_verdict(200, None, None, "INFO");
        check_verdict(404, Some("not_found"), None, "WARN");
        check_verdict(503, Some("no_upstream"), None, "ERROR");
        check_verdict(200, Some("cut"), None, "ERROR");
        check_verdict(200, Some("cut"), Some(Side::Upstream), "ERROR");
        check_verdict(0, Some("client_gone"), Some(Side::Client), "INFO");
    }

    #[test]
    fn missing_usage_is_said_where_usage_is_expected() {
        let line = |endpoint| logged(&Settled { endpoint, status: 200, ..Settled::default() });
        assert_eq!(line(Endpoint::Messages)["usage_source"], "none");
        assert!(line(Endpoint::Models).get("usage_source").is_none());
    }
}

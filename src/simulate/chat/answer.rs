//! Writes Chat Completions answers, whole and streamed.

use std::fmt::Write;

use super::super::ask::{Answer, Ask, Block, Stop};
use super::super::content::{escape_into, quoted};
use super::super::refusal::Refusal;
use super::super::script::{Script, Tape};

/// The time of every answer: a constant, so that the same request gets the same bytes.
const CREATED: u64 = 1_780_000_000;

/// An answer in one body.
pub(in super::super) fn whole(ask: &Ask, answer: &Answer) -> Script {
    let mut out = String::with_capacity(1024);
    let _ = write!(out, r#"{{"id":"chatcmpl-sim{:016x}","object":"chat.completion","created":{CREATED},"#, answer.id);
    let _ = write!(out, r#""model":{},"choices":["#, quoted(&ask.model));
    for index in 0..ask.choices {
        let _ = write!(out, r#"{}{{"index":{index},"message":"#, if index == 0 { "" } else { "," });
        message(&mut out, answer);
        let _ = write!(out, r#","logprobs":null,"finish_reason":"{}"}}"#, finish(answer.stop));
    }
    out.push_str(r#"],"usage":"#);
    usage(&mut out, ask, answer);
    out.push_str(r#","service_tier":"default","system_fingerprint":"fp_simulated"}"#);
    Script { tokens: u32::try_from(answer.usage.output).unwrap_or(u32::MAX), ..Script::json(200, out) }
}

fn message(out: &mut String, answer: &Answer) {
    out.push_str(r#"{"role":"assistant","content":"#);
    let texts = answer.blocks.iter().filter_map(|block| if let Block::Text(text) = block { Some(text) } else { None });
    let mut content = String::new();
    texts.for_each(|text| text.append_to(&mut content));
    // The provider says null, not "", for an answer of calls alone.
    match (content.is_empty(), answer.stop) {
        (true, Stop::Tool) => out.push_str("null"),
        _ => {
            let _ = write!(out, "\"{content}\"");
        }
    }
    out.push_str(r#","refusal":null,"annotations":[]"#);
    let mut calls = 0;
    for block in &answer.blocks {
        match block {
            Block::Text(_) => {}
            Block::Thinking(text) => {
                out.push_str(r#","reasoning_content":""#);
                text.append_to(out);
                out.push('"');
            }
            Block::Tool { ordinal, name, arguments } => {
                out.push_str(if calls == 0 { r#","tool_calls":["# } else { "," });
                calls += 1;
                let id = call_id(answer, *ordinal);
                let _ = write!(out, r#"{{"id":"{id}","type":"function","function":{{"name":{},"#, quoted(name));
                out.push_str(r#""arguments":""#);
                arguments.append_to(out);
                out.push_str("\"}}");
            }
        }
    }
    out.push_str(if calls == 0 { "}" } else { "]}" });
}

/// An answer as a stream: the role once, deltas, the end of each choice, usage if asked for, `[DONE]`.
pub(in super::super) fn stream(ask: &Ask, answer: &Answer) -> Script {
    let mut writer = StreamWriter::new(ask, answer);
    for index in 0..ask.choices {
        writer.chunk(index, |out| out.push_str(r#"{"role":"assistant","content":"","refusal":null}"#), None);
        for block in &answer.blocks {
            writer.block(index, answer, block);
        }
        writer.chunk(index, |out| out.push_str("{}"), Some(finish(answer.stop)));
    }
    writer.end(ask, answer)
}

struct StreamWriter {
    tape: Tape,
    /// What stands before the choices of every chunk.
    head: String,
    /// What stands after them.
    tail: &'static str,
}

impl StreamWriter {
    fn new(ask: &Ask, answer: &Answer) -> Self {
        let mut head = String::with_capacity(256);
        let _ = write!(head, r#"data: {{"id":"chatcmpl-sim{:016x}","object":"chat.completion.chunk","#, answer.id);
        let _ = write!(head, r#""created":{CREATED},"model":{},"service_tier":"default","#, quoted(&ask.model));
        head.push_str(r#""system_fingerprint":"fp_simulated","choices":["#);
        let tail = if ask.include_usage { "],\"usage\":null}\n\n" } else { "]}\n\n" };
        let mut tape = Tape::default();
        let events = (answer.usage.output + 8) * ask.choices as usize;
        tape.text.reserve(events * (head.len() + 96));
        Self { tape, head, tail }
    }

    /// One chunk of one choice; without a finish reason it brings a token, unless it is the role's.
    fn chunk(&mut self, index: u32, delta: impl FnOnce(&mut String), finish: Option<&str>) {
        self.event(index, delta, finish, false);
    }

    fn event(&mut self, index: u32, delta: impl FnOnce(&mut String), finish: Option<&str>, token: bool) {
        let out = &mut self.tape.text;
        out.push_str(&self.head);
        let _ = write!(out, r#"{{"index":{index},"delta":"#);
        delta(out);
        out.push_str(r#","logprobs":null,"finish_reason":"#);
        match finish {
            Some(reason) => {
                let _ = write!(out, "\"{reason}\"}}");
            }
            None => out.push_str("null}"),
        }
        out.push_str(self.tail);
        self.tape.end(token);
    }

    fn block(&mut self, index: u32, answer: &Answer, block: &Block) {
        let (pieces, field) = match block {
            Block::Text(pieces) => (pieces, "content"),
            Block::Thinking(pieces) => (pieces, "reasoning_content"),
            Block::Tool { ordinal, name, arguments } => {
                let id = call_id(answer, *ordinal);
                let start = |out: &mut String| {
                    let _ = write!(out, r#"{{"tool_calls":[{{"index":{ordinal},"id":"{id}","type":"function","#);
                    let _ = write!(out, r#""function":{{"name":{},"arguments":""}}}}]}}"#, quoted(name));
                };
                self.chunk(index, start, None);
                let open = format!(r#"{{"tool_calls":[{{"index":{ordinal},"function":{{"arguments":""#);
                arguments.each(|piece| self.delta(index, &open, piece, "\"}}]}"));
                return;
            }
        };
        let open = format!(r#"{{"{field}":""#);
        pieces.each(|piece| self.delta(index, &open, piece, "\"}"));
    }

    fn delta(&mut self, index: u32, open: &str, piece: &str, close: &str) {
        let write = |out: &mut String| {
            out.push_str(open);
            out.push_str(piece);
            out.push_str(close);
        };
        self.event(index, write, None, true);
    }

    fn end(mut self, ask: &Ask, answer: &Answer) -> Script {
        if ask.include_usage {
            self.tape.text.push_str(&self.head);
            self.tape.text.push_str(r#"],"usage":"#);
            usage(&mut self.tape.text, ask, answer);
            self.tape.text.push_str("}\n\n");
            self.tape.end(false);
        }
        self.tape.text.push_str("data: [DONE]\n\n");
        self.tape.end(false);
        self.tape.finish()
    }
}

fn usage(out: &mut String, ask: &Ask, answer: &Answer) {
    let usage = answer.usage;
    let choices = ask.choices as usize;
    let (output, thinking) = (usage.output * choices, usage.thinking * choices);
    let _ = write!(out, r#"{{"prompt_tokens":{},"completion_tokens":{output},"#, usage.input);
    let _ = write!(out, r#""total_tokens":{},"prompt_tokens_details":{{"#, usage.input + output);
    let _ = write!(out, r#""cached_tokens":{},"audio_tokens":0}},"#, usage.cached);
    let _ = write!(out, r#""completion_tokens_details":{{"reasoning_tokens":{thinking},"audio_tokens":0,"#);
    out.push_str(r#""accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}"#);
}

fn call_id(answer: &Answer, ordinal: usize) -> String {
    format!("call_{:016x}{ordinal:08x}", answer.id)
}

fn finish(stop: Stop) -> &'static str {
    match stop {
        Stop::End => "stop",
        Stop::Length => "length",
        Stop::Tool => "tool_calls",
    }
}

/// A refusal in the provider's envelope.
pub(in super::super) fn error_body(refusal: &Refusal) -> String {
    let (kind, code) = match refusal.status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        403 => ("invalid_request_error", Some("unsupported_country_region_territory")),
        404 => ("invalid_request_error", Some("model_not_found")),
        429 => ("requests", Some("rate_limit_exceeded")),
        503 => ("server_error", Some("service_unavailable")),
        500.. => ("server_error", None),
        _ => ("invalid_request_error", None),
    };
    let nullable = |text: Option<&str>| text.map_or_else(|| "null".to_owned(), quoted);
    let mut out = String::from(r#"{"error":{"message":""#);
    escape_into(&mut out, &refusal.message);
    let param = nullable(refusal.param.as_deref());
    let code = nullable(refusal.code.or(code));
    let _ = write!(out, r#"","type":"{kind}","param":{param},"code":{code}}}}}"#);
    out
}

/// The event that ends a stream which failed in the middle.
pub(in super::super) fn error_event(refusal: &Refusal) -> String {
    format!("data: {}\n\n", error_body(refusal))
}

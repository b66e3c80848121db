//! Writes Messages answers, whole and streamed.

use std::fmt::Write;

use super::super::ask::{Answer, Ask, Block, Pieces, Stop, Usage};
use super::super::content::{escape_into, quoted};
use super::super::refusal::Refusal;
use super::super::script::{Script, Tape};
use super::signature;

/// An answer in one body.
pub(in super::super) fn whole(ask: &Ask, answer: &Answer) -> Script {
    let mut out = String::with_capacity(1024);
    let _ = write!(out, r#"{{"id":"msg_sim{:016x}","type":"message","role":"assistant","#, answer.id);
    let _ = write!(out, r#""model":{},"content":["#, quoted(&ask.model));
    for (i, block) in answer.blocks.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { "," });
        whole_block(&mut out, answer, block);
    }
    let _ = write!(out, r#"],"stop_reason":"{}","stop_sequence":null,"usage":"#, reason(answer.stop));
    usage(&mut out, &answer.usage);
    out.push('}');
    Script { tokens: u32::try_from(answer.usage.output).unwrap_or(u32::MAX), ..Script::json(200, out) }
}

fn whole_block(out: &mut String, answer: &Answer, block: &Block) {
    match block {
        Block::Text(pieces) => {
            out.push_str(r#"{"type":"text","text":""#);
            pieces.append_to(out);
            out.push_str("\"}");
        }
        Block::Thinking(pieces) => {
            out.push_str(r#"{"type":"thinking","thinking":""#);
            pieces.append_to(out);
            let _ = write!(out, r#"","signature":"{}"}}"#, signature(&plain(pieces)));
        }
        Block::Tool { ordinal, name, arguments } => {
            let id = tool_id(answer, *ordinal);
            let _ = write!(out, r#"{{"type":"tool_use","id":"{id}","name":{},"input":"#, quoted(name));
            out.push_str(&plain(arguments));
            out.push('}');
        }
    }
}

/// An answer as a stream of named events.
pub(in super::super) fn stream(ask: &Ask, answer: &Answer) -> Script {
    let mut tape = Tape::default();
    tape.text.reserve((answer.usage.output + 8) * 160);
    start(&mut tape, ask, answer);
    for (index, block) in answer.blocks.iter().enumerate() {
        stream_block(&mut tape, index, answer, block);
    }
    let out = &mut tape.text;
    out.push_str("event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":");
    let _ = write!(out, r#""{}","stop_sequence":null}},"usage":"#, reason(answer.stop));
    usage(out, &answer.usage);
    out.push_str("}\n\n");
    tape.end(false);
    tape.text.push_str("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    tape.end(false);
    tape.finish()
}

fn start(tape: &mut Tape, ask: &Ask, answer: &Answer) {
    let out = &mut tape.text;
    out.push_str("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{");
    let _ = write!(out, r#""id":"msg_sim{:016x}","type":"message","role":"assistant","#, answer.id);
    let _ = write!(out, r#""model":{},"content":[],"#, quoted(&ask.model));
    out.push_str(r#""stop_reason":null,"stop_sequence":null,"usage":"#);
    usage(out, &Usage { output: answer.usage.output.min(1), thinking: 0, ..answer.usage });
    out.push_str("}}\n\n");
    tape.end(false);
    tape.text.push_str("event: ping\ndata: {\"type\": \"ping\"}\n\n");
    tape.end(false);
}

fn stream_block(tape: &mut Tape, index: usize, answer: &Answer, block: &Block) {
    let (pieces, kind, field) = match block {
        Block::Text(pieces) => (pieces, "text_delta", "text"),
        Block::Thinking(pieces) => (pieces, "thinking_delta", "thinking"),
        Block::Tool { arguments, .. } => (arguments, "input_json_delta", "partial_json"),
    };
    let out = &mut tape.text;
    out.push_str("event: content_block_start\ndata: {\"type\":\"content_block_start\",");
    let _ = write!(out, r#""index":{index},"content_block":"#);
    match block {
        Block::Text(_) => out.push_str(r#"{"type":"text","text":""}"#),
        Block::Thinking(_) => out.push_str(r#"{"type":"thinking","thinking":"","signature":""}"#),
        Block::Tool { ordinal, name, .. } => {
            let id = tool_id(answer, *ordinal);
            let _ = write!(out, r#"{{"type":"tool_use","id":"{id}","name":{},"input":{{}}}}"#, quoted(name));
        }
    }
    out.push_str("}\n\n");
    tape.end(false);
    let open = delta_open(index, kind, field);
    pieces.each(|piece| delta(tape, &open, piece, true));
    if let Block::Thinking(pieces) = block {
        let open = delta_open(index, "signature_delta", "signature");
        delta(tape, &open, &signature(&plain(pieces)), false);
    }
    tape.text.push_str("event: content_block_stop\ndata: {\"type\":\"content_block_stop\",");
    let _ = write!(tape.text, "\"index\":{index}}}\n\n");
    tape.end(false);
}

fn delta_open(index: usize, kind: &str, field: &str) -> String {
    let data = format!(r#"{{"type":"content_block_delta","index":{index},"delta":{{"type":"{kind}","{field}":""#);
    format!("event: content_block_delta\ndata: {data}")
}

fn delta(tape: &mut Tape, open: &str, piece: &str, token: bool) {
    tape.text.push_str(open);
    tape.text.push_str(piece);
    tape.text.push_str("\"}}\n\n");
    tape.end(token);
}

/// The text itself, without escapes.
fn plain(pieces: &Pieces) -> String {
    let mut escaped = String::from("\"");
    pieces.append_to(&mut escaped);
    escaped.push('"');
    // The pieces are valid by construction; if they ever were not, the text would come out empty, not wrong.
    serde_json::from_str(&escaped).unwrap_or_default()
}

fn usage(out: &mut String, usage: &Usage) {
    // Unlike OpenAI's, this input does not include what was read from the cache.
    let uncached = usage.input.saturating_sub(usage.cached);
    let _ = write!(out, r#"{{"input_tokens":{uncached},"cache_creation_input_tokens":0,"#);
    let _ = write!(out, r#""cache_read_input_tokens":{},"#, usage.cached);
    out.push_str(r#""cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"#);
    let _ = write!(out, r#""output_tokens":{},"#, usage.output);
    let _ = write!(out, r#""output_tokens_details":{{"thinking_tokens":{}}},"#, usage.thinking);
    out.push_str(r#""service_tier":"standard"}"#);
}

fn tool_id(answer: &Answer, ordinal: usize) -> String {
    format!("toolu_sim{:016x}{ordinal:04x}", answer.id)
}

fn reason(stop: Stop) -> &'static str {
    match stop {
        Stop::End => "end_turn",
        Stop::Length => "max_tokens",
        Stop::Tool => "tool_use",
    }
}

/// The answer of `/v1/messages/count_tokens`.
pub(in super::super) fn count(answer: &Answer) -> Script {
    Script::json(200, format!(r#"{{"input_tokens":{}}}"#, answer.usage.input))
}

/// A refusal in the provider's envelope.
pub(in super::super) fn error_body(refusal: &Refusal, request_id: &str) -> String {
    let kind = match refusal.status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    let mut out = format!(r#"{{"type":"error","error":{{"type":"{kind}","message":""#);
    escape_into(&mut out, &refusal.message);
    let _ = write!(out, r#""}},"request_id":"{request_id}"}}"#);
    out
}

/// The event that ends a stream which failed in the middle.
pub(in super::super) fn error_event(refusal: &Refusal, request_id: &str) -> String {
    format!("event: error\ndata: {}\n\n", error_body(refusal, request_id))
}

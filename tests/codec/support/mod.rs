//! What the codec's tests share: the recorded traffic, and answers folded to what they mean.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod corpus;
pub(crate) mod fold;
pub(crate) mod recorded;

use std::sync::Arc;

use serde_json::Value;
use tidegate_codec::seal::Seal;
use tidegate_codec::{Format, Framing, Outcome, Reply, Transcoder, Undo};

/// How an answer is written for the tests' client.
pub(crate) fn reply() -> Reply {
    Reply {
        model: "client-model".to_owned(),
        include_usage: true,
        reasoning: tidegate_codec::ReasoningWish::Shown,
        framing: Framing::Events,
        seal: Arc::new(Seal::new([7; 32])),
        created: 0,
        seed: String::new(),
        settings: tidegate_codec::Settings::default(),
    }
}

/// A whole stream from `from` to `to`, given in the pieces that `cuts` makes of it.
pub(crate) fn transcode(from: Format, to: Format, stream: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut transcoder = Transcoder::new(from, to, Arc::new(reply()), Undo::default());
    let mut out = Vec::new();
    let mut start = 0;
    for &cut in cuts.iter().chain([&stream.len()]) {
        transcoder.chunk(&stream[start..cut], &mut out);
        start = cut;
    }
    transcoder.finish(&mut out);
    out
}

/// A stream of these events for a client of `to`, and what became of it.
pub(crate) fn streamed(from: Format, to: Format, events: &[Value]) -> (String, Outcome) {
    let text: Vec<String> = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    let done = if from == Format::OpenaiChat { "data: [DONE]\n\n" } else { "" };
    let mut transcoder = Transcoder::new(from, to, Arc::new(reply()), Undo::default());
    let mut out = Vec::new();
    transcoder.chunk(format!("{}{done}", text.concat()).as_bytes(), &mut out);
    transcoder.finish(&mut out);
    (String::from_utf8(out).unwrap(), transcoder.outcome().clone())
}

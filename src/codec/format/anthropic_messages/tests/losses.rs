//! What an answer loses: a stream tells the same as a whole answer's writer reports of the same content.

use std::sync::Arc;

use super::reply;
use crate::Format;
use crate::format::wire;
use crate::hub::{
    Block, BlockKind, Candidate, Citation, Event, Field, Flavor, Losses, Opaque, OpaqueKind, Response, Stop,
    ThinkingKind, Usage,
};
use crate::json::{Json, Text};
use crate::reshape::replay;

fn text(plain: &'static str) -> Text<'static> {
    Text::from_plain(plain)
}

fn words() -> BlockKind<'static> {
    BlockKind::Text { text: text("a"), citations: Vec::new() }
}

/// A block with so many pieces of another maker's state.
fn with(kind: BlockKind<'static>, states: usize) -> Block<'static> {
    let state = Opaque { kind: OpaqueKind::ThoughtSignature, maker: Format::OpenaiChat, data: text("x") };
    let mut block = Block::new(kind, 0);
    block.opaque = vec![state; states];
    block
}

/// Blocks, and what of them is lost.
fn pieces() -> Vec<(Block<'static>, Option<Field>)> {
    let raw = || Json::from_valid("{}");
    let source =
        Citation { url: None, title: None, cited_text: None, span: None, raw: raw(), format: Format::OpenaiChat };
    let thinking = || BlockKind::Thinking { text: text("t"), kind: ThinkingKind::Raw };
    let (id, name) = ("i".into(), "f".into());
    let call = BlockKind::ToolCall { id, name, arguments: Json::EMPTY_OBJECT, flavor: Flavor::Function };
    vec![
        (with(words(), 0), None),
        (with(words(), 1), Some(Field::OpaqueState)),
        (with(BlockKind::Text { text: text("a"), citations: vec![source] }, 0), Some(Field::Citations)),
        (with(BlockKind::Refusal { text: text("no") }, 0), Some(Field::Refusal)),
        (with(thinking(), 1), None),
        (with(thinking(), 2), Some(Field::OpaqueState)),
        (with(BlockKind::Redacted, 0), Some(Field::OpaqueState)),
        (with(BlockKind::Redacted, 1), None),
        (with(BlockKind::Redacted, 2), Some(Field::OpaqueState)),
        (with(call, 1), Some(Field::OpaqueState)),
        (with(BlockKind::ServerTool { raw: raw(), result: false }, 0), Some(Field::ServerTool)),
        (with(BlockKind::Reference { raw: raw() }, 0), Some(Field::Unknown)),
    ]
}

fn response(answers: Vec<Vec<Block<'static>>>) -> Response<'static> {
    let answer = |(index, blocks)| Candidate { index, blocks, stop: Stop::EndTurn, logprobs: None, extras: Vec::new() };
    Response {
        format: Format::OpenaiChat,
        id: text("id"),
        model: text("m"),
        created: None,
        candidates: (0..).zip(answers).map(answer).collect(),
        usage: None,
        tier: None,
        extras: Vec::new(),
    }
}

fn check(response: &Response<'_>, expected: Vec<Field>) {
    let sorted = |mut fields: Vec<Field>| {
        fields.sort_by_key(|field| field.label());
        fields.dedup();
        fields
    };
    let (mut told, reply) = (Vec::new(), Arc::new(reply()));
    let mut writer = wire(Format::AnthropicMessages).stream_writer(Arc::clone(&reply));
    replay(response, &mut |event| {
        if let Event::Dropped { field } = event {
            told.push(field);
        }
        writer.event(&event, &mut Vec::new(), &mut |field| told.push(field));
    });
    let mut losses = Losses::default();
    wire(Format::AnthropicMessages).write_response(response, &reply, &mut losses).unwrap();
    let reported = losses.iter().map(|loss| loss.field).collect();
    assert_eq!(sorted(told), sorted(expected.clone()), "stream: {response:?}");
    assert_eq!(sorted(reported), sorted(expected), "whole: {response:?}");
}

#[test]
fn a_stream_loses_of_blocks_what_a_whole_answer_loses() {
    for (one, lost) in &pieces() {
        for (other, more) in &pieces() {
            let both = response(vec![vec![one.clone(), other.clone()]]);
            let words = matches!(one.kind, BlockKind::Text { .. } | BlockKind::Refusal { .. });
            let behind = (words && other.kind == BlockKind::Redacted).then_some(Field::OpaqueState);
            check(&both, lost.iter().chain(more).copied().chain(behind).collect());
        }
    }
}

#[test]
fn a_stream_loses_around_blocks_what_a_whole_answer_loses() {
    check(&response(vec![vec![], vec![]]), vec![Field::N]);
    check(&response(vec![vec![], vec![with(words(), 1)]]), vec![Field::N]);
    let mut probable = response(vec![vec![]]);
    probable.candidates[0].logprobs = Some(Json::EMPTY_OBJECT);
    check(&probable, vec![Field::Logprobs]);
    let mut sounding = response(vec![vec![]]);
    sounding.usage = Some(Usage { audio_output: 3, output_visible: 3, ..Usage::default() });
    check(&sounding, vec![Field::UsageDetail]);
    for stop in [Stop::Filtered(text("x")), Stop::Other(text("x"))] {
        let mut stopped = response(vec![vec![]]);
        stopped.candidates[0].stop = stop;
        check(&stopped, vec![Field::StopReason]);
    }
}

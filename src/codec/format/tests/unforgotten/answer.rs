//! The fields of an answer, whole and as a stream.

use std::borrow::Cow;
use std::sync::Arc;

use super::{HERE, blocks, crossings, extra, hold, json, say};
use crate::Format;
use crate::format::tests::crossings::reply;
use crate::format::wire;
use crate::hub::{
    Block, BlockKind, Candidate, Citation, Event, Field, Flavor, Head, Losses, Opaque, OpaqueKind, Place, Response,
    Stop, ThinkingKind, Usage,
};

use Format::{AnthropicMessages as A, GeminiGenerate as G, OpenaiChat as C, OpenaiResponses as R};

const ALL: &[Format] = &Format::ALL;

/// A way of saying a field: its name, an answer that does not say it, and one that does.
type Said = (&'static str, Response<'static>, Response<'static>);

/// What may stay unsaid in a whole answer.
const UNSAID: &[(&str, &[Format], &str)] = &[
    ("Response.format", ALL, "tells readers of raw parts whose they are"),
    ("Response.model", ALL, "a client is answered by the name that it asked for"),
    ("Response.created", &[A, G], UNDATED),
    ("Candidate.index", &[A, R], "the only answer"),
    ("BlockKind.Thinking.kind", ALL, "thoughts are shown in one place, abridged or not"),
    ("Stop.StopSequence", &[C, R, G], ENDED),
    ("Usage.cache_known", &[A, C, R], ZERO),
    ("Usage.reasoning_known", &[C, R], ZERO),
];

/// What may stay unsaid in a stream.
const UNSAID_STREAMED: &[(&str, &[Format], &str)] = &[
    ("Event.Start.model", ALL, "a client is answered by the name that it asked for"),
    ("Event.Start.created", &[A, G], UNDATED),
    ("Stop.StopSequence", &[C, R, G], ENDED),
    ("Usage.cache_known", &[A, C, R], ZERO),
    ("Usage.reasoning_known", &[C, R], ZERO),
];

const UNDATED: &str = "an answer has no date there";
const ENDED: &str = "the same word as for an answer that is done; which text it was is reported";
const ZERO: &str = "a count is there in any case";

#[test]
fn no_field_of_an_answer_is_forgotten() {
    let mut forgotten = Vec::new();
    for (from, to) in crossings() {
        for (name, before, after) in said(from) {
            let said = written(&after, to);
            if said.is_some() && said == written(&before, to) {
                forgotten.push((name, from, to));
            }
        }
    }
    hold(&forgotten, UNSAID);
}

#[test]
fn no_field_of_a_stream_is_forgotten() {
    let mut forgotten = Vec::new();
    for (from, to) in crossings() {
        for (name, before, after) in streams(from) {
            let said = streamed(&after, to);
            if said.is_some() && said == streamed(&before, to) {
                forgotten.push((name, from, to));
            }
        }
    }
    hold(&forgotten, UNSAID_STREAMED);
}

/// What `response` becomes for a client of `to`; none where that is an error, or where a loss names what is tested.
fn written(response: &Response<'static>, to: Format) -> Option<String> {
    let mut losses = Losses::default();
    let body = wire(to).write_response(response, &reply(), &mut losses).ok()?;
    if losses.iter().any(|loss| loss.place == Place::Offset(HERE)) {
        return None;
    }
    Some(format!("{}\n{losses:?}", String::from_utf8(body).unwrap()))
}

/// What `events` become for a client of `to`; none where something is lost aloud.
fn streamed(events: &[Event<'static>], to: Format) -> Option<String> {
    let reply = crate::format::Reply { include_usage: true, ..reply() };
    let (mut writer, mut out, mut lost) = (wire(to).stream_writer(Arc::new(reply)), Vec::new(), false);
    for event in events {
        writer.event(event, &mut out, &mut |_| lost = true);
    }
    (!lost).then(|| String::from_utf8(out).unwrap())
}

fn base(format: Format) -> Response<'static> {
    Response {
        format,
        id: say("id_1"),
        model: say("m"),
        created: Some(1),
        candidates: vec![candidate()],
        usage: Some(Usage { input_uncached: 10, output_visible: 5, ..Usage::default() }),
        tier: None,
        extras: Vec::new(),
    }
}

fn candidate() -> Candidate<'static> {
    let blocks = vec![Block::text(say("t"), 1)];
    Candidate { index: 0, blocks, stop: Stop::EndTurn, logprobs: None, extras: Vec::new() }
}

fn said(from: Format) -> Vec<Said> {
    let plain = base(from);
    let fields = each!(Response, plain.clone();
        format = from,
        id = say("Mark7316"),
        model = say("Mark7316"),
        created = Some(7316),
        candidates = vec![candidate(), Candidate { index: 1, ..candidate() }],
        usage = None,
        tier = Some(say("flex")),
        extras = vec![extra(Field::Unknown, "mark_7316")],
    );
    let mut said: Vec<Said> = fields.into_iter().map(|(name, after)| (name, plain.clone(), after)).collect();
    let candidates = each!(Candidate, candidate();
        index = 1,
        blocks = vec![Block::text(say("Mark7316"), 1)],
        stop = Stop::MaxTokens,
        logprobs = Some(json(r#"{"content":[{"token":"Mark7316","logprob":-0.7316,"bytes":null,"top_logprobs":[]}]}"#)),
        extras = vec![extra(Field::Unknown, "mark_7316")],
    );
    let with = |candidate| Response { candidates: vec![candidate], ..plain.clone() };
    said.extend(candidates.into_iter().map(|(name, after)| (name, plain.clone(), with(after))));
    let ended = |stop| with(Candidate { stop, ..candidate() });
    said.extend(stops().into_iter().map(|(name, before, after)| (name, ended(before), ended(after))));
    let cost = |usage| Response { usage: Some(usage), ..plain.clone() };
    said.extend(usages().into_iter().map(|(name, before, after)| (name, cost(before), cost(after))));
    for (name, before, after) in blocks::answered(from) {
        let says = |block: Block<'static>| {
            let stop = match &block.kind {
                BlockKind::ToolCall { .. } => Stop::ToolUse,
                _ => Stop::EndTurn,
            };
            with(Candidate { blocks: vec![Block::text(say("t"), 1), block], stop, ..candidate() })
        };
        said.push((name, says(before), says(after)));
    }
    said
}

fn stops() -> Vec<(&'static str, Stop<'static>, Stop<'static>)> {
    // One more reason does not compile until it stands here and below.
    let _ = |stop: Stop<'_>| match stop {
        Stop::EndTurn
        | Stop::StopSequence(_)
        | Stop::MaxTokens
        | Stop::ContextWindow
        | Stop::ToolUse
        | Stop::Refusal { .. }
        | Stop::Filtered(_)
        | Stop::PromptFiltered(_)
        | Stop::Pause
        | Stop::Compaction
        | Stop::Failed(_)
        | Stop::Other(_) => (),
    };
    let mut pairs = kind!(Stop::Refusal;
        category = None => Some(say("cyber")),
        explanation = None => Some(say("Mark7316")),
    );
    let refusal = Stop::Refusal { category: None, explanation: None };
    pairs.extend(
        [
            ("Stop.StopSequence", Stop::StopSequence(None)),
            ("Stop.MaxTokens", Stop::MaxTokens),
            ("Stop.ContextWindow", Stop::ContextWindow),
            ("Stop.Refusal", refusal),
            ("Stop.Filtered", Stop::Filtered(say("SAFETY"))),
            ("Stop.PromptFiltered", Stop::PromptFiltered(say("SAFETY"))),
            ("Stop.Pause", Stop::Pause),
            ("Stop.Compaction", Stop::Compaction),
            ("Stop.Failed", Stop::Failed(say("Mark7316"))),
            ("Stop.Other", Stop::Other(say("Mark7316"))),
        ]
        .map(|(name, stop)| (name, Stop::EndTurn, stop)),
    );
    pairs.push(("Stop.StopSequence.0", Stop::StopSequence(None), Stop::StopSequence(Some(say("Mark7316")))));
    pairs
}

fn usages() -> Vec<(&'static str, Usage, Usage)> {
    let before = Usage { input_uncached: 100, output_visible: 50, ..Usage::default() };
    let values = each!(Usage, before.clone();
        input_uncached = 7316,
        cache_read = 73,
        cache_write_short = 73,
        cache_write_long = 73,
        output_visible = 7316,
        output_reasoning = 73,
        reasoning_known = true,
        cache_known = true,
        server_tool_requests = 3,
        audio_input = 16,
        audio_output = 16,
    );
    values.into_iter().map(|(name, after)| (name, before.clone(), after)).collect()
}

/// A stream that says `events`.
fn stream(events: Vec<Event<'static>>, stop: Stop<'static>, usage: Usage) -> Vec<Event<'static>> {
    let mut all = vec![Event::Start { id: say("id_1"), model: say("m"), created: Some(1) }];
    all.extend(events);
    all.extend([Event::Stop { candidate: 0, stop }, Event::Usage(usage), Event::End]);
    all
}

/// A block in a stream.
fn block(head: Head<'static>, events: Vec<Event<'static>>) -> Vec<Event<'static>> {
    let mut all = vec![Event::BlockStart { block: 0, candidate: 0, head }];
    all.extend(events);
    all.push(Event::BlockStop { block: 0 });
    all
}

fn words(text: &'static str) -> Event<'static> {
    Event::TextDelta { block: 0, text: say(text) }
}

type Streams = Vec<(&'static str, Vec<Event<'static>>, Vec<Event<'static>>)>;

fn streams(from: Format) -> Streams {
    // One more event does not compile until it stands here and below.
    let _ = |event: Event<'_>| match event {
        Event::Start { .. }
        | Event::BlockStart { .. }
        | Event::TextDelta { .. }
        | Event::ArgumentsDelta { .. }
        | Event::Opaque { .. }
        | Event::Citation { .. }
        | Event::Logprobs { .. }
        | Event::BlockStop { .. }
        | Event::Stop { .. }
        | Event::Usage(_)
        | Event::Tier { .. }
        | Event::Apart { .. }
        | Event::Ping
        | Event::Dropped { .. }
        | Event::Fault(_)
        | Event::End => (),
    };
    let usage = || Usage { input_uncached: 10, output_visible: 5, ..Usage::default() };
    let text = || block(Head::Text, vec![words("t")]);
    let of = |events| stream(events, Stop::EndTurn, usage());
    let mut said: Streams =
        heads(from).into_iter().map(|(name, before, after)| (name, of(before), of(after))).collect();
    for (name, before, after) in stops() {
        said.push((name, stream(text(), before, usage()), stream(text(), after, usage())));
    }
    for (name, before, after) in usages() {
        said.push((name, stream(text(), Stop::EndTurn, before), stream(text(), Stop::EndTurn, after)));
    }
    for (name, before, after) in kind!(Event::Start;
        id = say("id_1") => say("Mark7316"),
        model = say("m") => say("Mark7316"),
        created = Some(1) => Some(7316),
    ) {
        let begun = |start| {
            let mut events = of(text());
            events[0] = start;
            events
        };
        said.push((name, begun(before), begun(after)));
    }
    let raw = json(r#"{"content":[{"token":"Mark7316","logprob":-0.7316,"bytes":null,"top_logprobs":[]}]}"#);
    let mut likely = text();
    likely.insert(2, Event::Logprobs { candidate: 0, raw });
    said.push(("Event.Logprobs", of(text()), of(likely)));
    let mut served = of(text());
    served.insert(1, Event::Tier { format: from, word: say("flex") });
    said.push(("Event.Tier", of(text()), served));
    said
}

/// What blocks of a stream say.
fn heads(from: Format) -> Streams {
    let _ = |head: Head<'_>| match head {
        Head::Text
        | Head::Refusal
        | Head::Thinking(_)
        | Head::Redacted
        | Head::ToolCall { .. }
        | Head::ServerTool { .. } => (),
    };
    let thinking = || Head::Thinking(ThinkingKind::Raw);
    let call = || Head::ToolCall { id: Cow::Borrowed("c1"), name: Cow::Borrowed("f"), flavor: Flavor::Function };
    let arguments = |fragment| Event::ArgumentsDelta { block: 0, fragment: say(fragment) };
    let opaque = |kind, maker| Event::Opaque { block: 0, opaque: Opaque { kind, maker, data: say("TWFyazczMTY=") } };
    let mut said: Streams = vec![
        ("Head.Text", Vec::new(), block(Head::Text, vec![words("Mark7316")])),
        ("Head.Refusal", Vec::new(), block(Head::Refusal, vec![words("Mark7316")])),
        ("Head.Thinking", Vec::new(), block(thinking(), vec![words("Mark7316")])),
        (
            "Head.Redacted",
            Vec::new(),
            block(Head::Redacted, vec![opaque(OpaqueKind::RedactedData, Format::AnthropicMessages)]),
        ),
        (
            "Event.Opaque",
            block(thinking(), vec![words("t")]),
            block(thinking(), vec![words("t"), opaque(OpaqueKind::ThinkingSignature, Format::AnthropicMessages)]),
        ),
        (
            "Event.Opaque",
            block(call(), vec![arguments("{}")]),
            block(call(), vec![opaque(OpaqueKind::ThoughtSignature, Format::GeminiGenerate), arguments("{}")]),
        ),
        (
            "Event.ArgumentsDelta",
            block(call(), vec![arguments("{}")]),
            block(call(), vec![arguments("{\\\"a\\\":"), arguments("7316}")]),
        ),
        (
            "Event.Citation",
            block(Head::Text, vec![words("t")]),
            block(Head::Text, vec![words("t"), Event::Citation { block: 0, citation: citation(from) }]),
        ),
    ];
    for (name, before, after) in kind!(Head::ToolCall;
        id = Cow::Borrowed("c1") => Cow::Borrowed("cMark7316"),
        name = Cow::Borrowed("f") => Cow::Borrowed("Mark7316"),
        flavor = Flavor::Function => Flavor::Custom,
    ) {
        said.push((name, block(before, vec![arguments("{}")]), block(after, vec![arguments("{}")])));
    }
    for (name, before, after) in kind!(Head::ServerTool;
        format = from => from,
        raw = json(r#"{"type":"first"}"#) => json(r#"{"type":"Mark7316"}"#),
    ) {
        said.push((name, block(before, Vec::new()), block(after, Vec::new())));
    }
    said
}

fn citation(format: Format) -> Citation<'static> {
    let raw = json(r#"{"type":"web_search_result_location","url":"https://h/Mark7316","title":"T"}"#);
    Citation { url: Some(say("https://h/Mark7316")), title: Some(say("T")), cited_text: None, span: None, raw, format }
}

//! A whole answer for a client, written.

use super::details::{self, Words};
use super::usage;
use super::wire::{OWN, is_call_signature, is_carried_signature, is_inexact, write_call_signature, write_stop};
use crate::format::sibling::{moderation, tier_word};
use crate::format::told::is_usual_tier;
use crate::format::{ReasoningWish, Reply, stop_place};
use crate::hub::ids::Distinct;
use crate::hub::{
    Action, Block, BlockKind, Candidate, Citation, Fault, Field, Flavor, Losses, Opaque, Place, Response, Stop,
    flat_name, placed,
};
use crate::json::{Json, Kind, Text, Writer};
use crate::seal::Seal;

/// Writes `response`.
pub(super) fn write(response: &Response<'_>, reply: &Reply, losses: &mut Losses) -> Result<Vec<u8>, Fault<'static>> {
    if let Some(Candidate { stop: Stop::PromptFiltered(word), .. }) = response.candidates.first() {
        return Err(Stop::refused_prompt(word));
    }
    let mut out = Vec::with_capacity(1024);
    let mut w = Writer::new(&mut out);
    w.open_object().key("id").text(&reply.id(&response.id, "chatcmpl-"));
    w.key("object").plain("chat.completion").key("created").number(response.created.unwrap_or(reply.created));
    w.key("model").plain(&reply.model).key("choices").open_array();
    for (at, candidate) in response.candidates.iter().enumerate() {
        if is_inexact(&candidate.stop) {
            let reason = "the reason why it ended has no word of its own";
            losses.add(Field::StopReason, Action::Converted, stop_place(response, at), reason);
        }
        choice((candidate, response.format == OWN), reply, losses, &mut w)?;
    }
    w.close_array();
    if let Some(usage) = &response.usage {
        w.key("usage");
        usage::write(usage, &mut w);
        if usage.server_tool_requests > 0 {
            let at = Place::Pointer(std::borrow::Cow::Borrowed(""));
            losses.add(Field::UsageDetail, Action::Dropped, at, "requests of the provider's own tools are not told");
        }
    }
    tier(response, losses, &mut w);
    for extra in &response.extras {
        if response.format == OWN {
            w.key(Text::from_plain(&extra.key).escaped()).json(&extra.value);
        } else if let Some(told) = moderation(extra, response.format, OWN) {
            w.key("moderation").json(&told);
        } else {
            losses.dropped(extra.field, extra.at, format!("a chat completion has no place for `{}`", extra.key));
        }
    }
    w.close_object();
    Ok(out)
}

fn tier(response: &Response<'_>, losses: &mut Losses, w: &mut Writer<'_>) {
    let Some(tier) = &response.tier else { return };
    match tier_word(tier, response.format, OWN) {
        Some(word) => {
            w.key("service_tier").text(&word);
        }
        None if is_usual_tier(tier.escaped()) => {}
        None => {
            let place = Place::Pointer(std::borrow::Cow::Borrowed("/service_tier"));
            losses.add(Field::Tier, Action::Dropped, place, "the format has no word for this tier");
        }
    }
}

/// URL, title and span of a source.
type Annotation<'r> = (&'r Text<'r>, Option<&'r Text<'r>>, (u64, u64));

/// What a message is made of, sorted.
#[derive(Default)]
struct Message<'r> {
    /// Pieces of `content`, joined as they are.
    content: Vec<Text<'r>>,
    refusal: Vec<Text<'r>>,
    thoughts: Vec<&'r Block<'r>>,
    /// Calls, each with the signature that stood in front of it.
    calls: Vec<(&'r Block<'r>, Option<&'r Opaque<'r>>)>,
    /// The first pieces of `content`, and their code points: counted only when somebody asks.
    counted: (usize, u64),
    /// URL, title and span of every source.
    sources: Vec<Annotation<'r>>,
    audio: Option<&'r Json<'r>>,
}

impl Message<'_> {
    /// Code points of `content` so far.
    fn chars(&mut self) -> u64 {
        let (pieces, chars) = self.counted;
        let more = self.content.iter().skip(pieces).map(Text::code_points);
        self.counted = (self.content.len(), more.fold(chars, u64::saturating_add));
        self.counted.1
    }
}

fn choice(
    (candidate, own): (&Candidate<'_>, bool),
    reply: &Reply,
    losses: &mut Losses,
    w: &mut Writer<'_>,
) -> Result<(), Fault<'static>> {
    let message = sort(candidate, own, losses);
    let said = !message.content.is_empty() || !message.calls.is_empty() || !message.refusal.is_empty();
    let finish = write_stop(&candidate.stop, said)?;
    w.open_object().key("index").number(candidate.index).key("message").open_object();
    w.key("role").plain("assistant").key("content");
    joined_or_null(&message.content, w);
    w.key("refusal");
    joined_or_null(&message.refusal, w);
    reasoning(&message, reply, w);
    if !message.sources.is_empty() {
        w.key("annotations").open_array();
        for (url, title, span) in &message.sources {
            write_annotation(url, *title, *span, w);
        }
        w.close_array();
    }
    if let Some(raw) = message.audio {
        w.key("audio").json(raw);
    }
    if !message.calls.is_empty() {
        w.key("tool_calls").open_array();
        let mut ids = Distinct::default();
        for (block, signature) in &message.calls {
            call((block, *signature), &mut ids, &reply.seal, w);
        }
        w.close_array();
    }
    w.close_object().key("logprobs");
    match &candidate.logprobs {
        Some(raw) => w.json(raw),
        None => w.null(),
    };
    w.key("finish_reason").plain(finish).close_object();
    for extra in &candidate.extras {
        losses.dropped(extra.field, extra.at, format!("a chat completion has no place for `{}`", extra.key));
    }
    Ok(())
}

fn joined_or_null(pieces: &[Text<'_>], w: &mut Writer<'_>) {
    if pieces.is_empty() {
        w.null();
    } else {
        w.texts(&pieces.iter().collect::<Vec<_>>());
    }
}

/// Sorts an answer's blocks into the fields of a message; `own` where they are this format's.
fn sort<'r>(candidate: &'r Candidate<'r>, own: bool, losses: &mut Losses) -> Message<'r> {
    let mut message = Message::default();
    let mut signature = None;
    for block in &candidate.blocks {
        for extra in block.extras.iter().filter(|extra| extra.field != Field::Audio) {
            losses.dropped(extra.field, extra.at, format!("a chat completion has no place for `{}`", extra.key));
        }
        match &block.kind {
            BlockKind::Text { .. } if sound(block).is_some() => message.audio = sound(block),
            BlockKind::Text { text, citations } => {
                signature = None;
                if block.apart && !message.content.is_empty() {
                    message.content.push(Text::from_escaped("\\n\\n"));
                }
                text_block(text, citations, block.at, &mut message, losses);
            }
            BlockKind::Refusal { text } => message.refusal.push(text.by_ref()),
            BlockKind::Thinking { .. } if block.opaque.iter().any(is_call_signature) => {
                signature = block.opaque.first();
            }
            BlockKind::Thinking { .. } | BlockKind::Redacted => {
                signature = block.opaque.iter().rfind(|opaque| is_carried_signature(opaque));
                message.thoughts.push(block);
            }
            BlockKind::ToolCall { .. } => message.calls.push((block, signature.take())),
            BlockKind::Reference { raw } if own && message.audio.is_none() => message.audio = Some(raw),
            BlockKind::ServerTool { .. } => {
                losses.dropped(Field::ServerTool, block.at, "a tool that the provider ran itself is not shown");
            }
            kind => losses.dropped(kind.class(), block.at, "a chat completion has no place for this block"),
        }
    }
    if let Stop::Refusal { explanation: Some(words), .. } = &candidate.stop {
        message.refusal.push(words.by_ref());
    }
    message
}

/// The sound of a text that was spoken.
fn sound<'r>(block: &'r Block<'r>) -> Option<&'r Json<'r>> {
    block.extras.iter().find(|extra| extra.field == Field::Audio && extra.key == "audio").map(|extra| &extra.value)
}

fn text_block<'r>(
    text: &'r Text<'r>,
    citations: &'r [Citation<'r>],
    at: usize,
    message: &mut Message<'r>,
    losses: &mut Losses,
) {
    let cited = citations.iter().any(|citation| citation.url.is_some());
    let start = if cited { message.chars() } else { 0 };
    if !text.is_empty() {
        message.content.push(text.by_ref());
    }
    let end = if cited { message.chars() } else { 0 };
    for citation in citations {
        match &citation.url {
            Some(url) => {
                let span = placed(citation.span, (start, end));
                message.sources.push((url, citation.title.as_ref(), span));
            }
            None => losses.dropped(Field::Citations, at, "only sources with a URL can be annotations"),
        }
    }
}

/// Reasoning: its words where the client asked for them, and every entry that must come back.
fn reasoning(message: &Message<'_>, reply: &Reply, w: &mut Writer<'_>) {
    let gap = Text::from_escaped("\\n\\n");
    let mut words: Vec<&Text<'_>> = Vec::new();
    for text in message.thoughts.iter().copied().filter_map(thought).filter(|text| !text.is_empty()) {
        if !words.is_empty() {
            words.push(&gap);
        }
        words.push(text);
    }
    if reply.reasoning == ReasoningWish::Shown && !words.is_empty() {
        w.key("reasoning_content").texts(&words);
    }
    if message.thoughts.is_empty() && message.calls.iter().all(|(call, _)| call.opaque.iter().all(is_call_signature)) {
        return;
    }
    w.key("reasoning_details").open_array();
    for (index, block) in message.thoughts.iter().enumerate() {
        let index = index as u64;
        match (block.opaque.first(), thought(block)) {
            (Some(opaque), text) => {
                details::write(opaque, Words::of(text), index, Some(&reply.seal), w);
            }
            (None, Some(text)) => details::write_unsigned(Some(text), index, &reply.seal, w),
            (None, None) => {}
        }
    }
    for (call, _) in &message.calls {
        for opaque in call.opaque.iter().filter(|opaque| !is_call_signature(opaque)) {
            details::write(opaque, Words::None, 0, Some(&reply.seal), w);
        }
    }
    w.close_array();
}

fn thought<'r>(block: &'r Block<'r>) -> Option<&'r Text<'r>> {
    match &block.kind {
        BlockKind::Thinking { text, .. } => Some(text),
        _ => None,
    }
}

fn call((block, signature): (&Block<'_>, Option<&Opaque<'_>>), ids: &mut Distinct, seal: &Seal, w: &mut Writer<'_>) {
    let BlockKind::ToolCall { id, name, arguments, flavor } = &block.kind else { return };
    w.open_object().key("id").plain(&ids.next(id));
    match flavor {
        Flavor::Custom => {
            w.key("type").plain("custom").key("custom").open_object().key("name").plain(&flat_name(name));
            w.key("input").json(arguments).close_object();
        }
        Flavor::Function => {
            w.key("type")
                .plain("function")
                .key("function")
                .open_object()
                .key("name")
                .plain(&flat_name(name))
                .key("arguments");
            // Arguments that were cut are kept as the text that they are.
            if arguments.kind() == Kind::String {
                w.json(arguments);
            } else {
                w.json_as_string(arguments);
            }
            w.close_object();
        }
    }
    if let Some(opaque) = signature.or_else(|| block.opaque.iter().find(|opaque| is_call_signature(opaque))) {
        write_call_signature(opaque, Some(seal), w);
    }
    w.close_object();
}

/// Writes a `url_citation` as the next value.
pub(super) fn write_annotation(url: &Text<'_>, title: Option<&Text<'_>>, span: (u64, u64), w: &mut Writer<'_>) {
    w.open_object().key("type").plain("url_citation").key("url_citation").open_object();
    w.key("start_index").number(span.0).key("end_index").number(span.1);
    w.key("title").text(title.unwrap_or(&Text::EMPTY)).key("url").text(url);
    w.close_object().close_object();
}

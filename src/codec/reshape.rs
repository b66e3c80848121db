//! A whole answer as a stream's events, and a stream's events as a whole answer.
//!
//! For providers that answer in the other shape than they were asked for, in whatever format.

use crate::Format;
use crate::hub::{
    Block, BlockKind, Candidate, Citation, Event, Extra, Head, Opaque, Response, Stop, ThinkingKind, Usage,
};
use crate::hub::{Flavor, arguments};
use crate::json::{Json, JsonError, Kind, Text, Writer};

/// Tells an answer as if it had been streamed, in the order of [`crate::hub::grammar`].
pub fn replay(response: &Response<'_>, sink: &mut dyn FnMut(Event<'_>)) {
    sink(Event::Start { id: response.id.by_ref(), model: response.model.by_ref(), created: response.created });
    dropped(&response.extras, sink);
    if let Some(tier) = response.tier.as_ref().filter(|tier| !tier.is_empty()) {
        sink(Event::Tier { format: response.format, word: tier.by_ref() });
    }
    let mut next = 0;
    for candidate in &response.candidates {
        let index = u32::try_from(candidate.index).unwrap_or(u32::MAX);
        dropped(&candidate.extras, sink);
        // As streams have them: before the words that they are of.
        if let Some(raw) = &candidate.logprobs {
            sink(Event::Logprobs { candidate: index, raw: raw.by_ref() });
        }
        for block in &candidate.blocks {
            replay_block(block, (next, index), response.format, sink).then(|| next += 1);
        }
        sink(Event::Stop { candidate: index, stop: candidate.stop.clone() });
    }
    if let Some(usage) = &response.usage {
        sink(Event::Usage(usage.clone()));
    }
    sink(Event::End);
}

fn dropped(extras: &[Extra<'_>], sink: &mut dyn FnMut(Event<'_>)) {
    for extra in extras {
        sink(Event::Dropped { field: extra.field });
    }
}

/// Tells one block; false for one that no stream has.
fn replay_block(
    block: &Block<'_>,
    (number, candidate): (u32, u32),
    format: Format,
    sink: &mut dyn FnMut(Event<'_>),
) -> bool {
    dropped(&block.extras, sink);
    let head = match &block.kind {
        BlockKind::Text { .. } => Head::Text,
        BlockKind::Refusal { .. } => Head::Refusal,
        BlockKind::Thinking { kind, .. } => Head::Thinking(*kind),
        BlockKind::Redacted => Head::Redacted,
        BlockKind::ToolCall { id, name, flavor, .. } => {
            Head::ToolCall { id: id.as_ref().into(), name: name.as_ref().into(), flavor: *flavor }
        }
        BlockKind::ServerTool { raw, .. } => Head::ServerTool { format, raw: raw.by_ref() },
        kind => {
            sink(Event::Dropped { field: kind.class() });
            return false;
        }
    };
    if block.apart {
        sink(Event::Apart { candidate });
    }
    sink(Event::BlockStart { block: number, candidate, head });
    match &block.kind {
        BlockKind::Text { text, citations } => {
            words(number, text, sink);
            for citation in citations {
                sink(Event::Citation { block: number, citation: citation.clone() });
            }
        }
        BlockKind::Refusal { text } | BlockKind::Thinking { text, .. } => words(number, text, sink),
        BlockKind::ToolCall { arguments, .. } => {
            let fragment = said(arguments);
            if !fragment.is_empty() {
                sink(Event::ArgumentsDelta { block: number, fragment });
            }
        }
        _ => {}
    }
    for opaque in &block.opaque {
        sink(Event::Opaque { block: number, opaque: opaque.clone() });
    }
    sink(Event::BlockStop { block: number });
    true
}

fn words(block: u32, text: &Text<'_>, sink: &mut dyn FnMut(Event<'_>)) {
    if !text.is_empty() {
        sink(Event::TextDelta { block, text: text.by_ref() });
    }
}

/// Arguments as a stream says them: JSON text, or what a string holds (free text; arguments that were cut).
fn said<'a>(arguments: &'a Json<'_>) -> Text<'a> {
    match arguments.kind() {
        Kind::String => arguments.cursor().text().unwrap_or_default().into_owned(),
        _ => Text::from_json(arguments.as_str()),
    }
}

/// Puts a stream's events together to the whole answer.
#[derive(Debug, Default)]
pub struct Collector {
    id: Text<'static>,
    model: Text<'static>,
    created: Option<u64>,
    candidates: Vec<Answer>,
    blocks: Vec<Part>,
    /// The answer whose next block begins another message.
    apart: Option<u32>,
    usage: Option<Usage>,
    tier: Option<Text<'static>>,
}

/// One of the answers, so far.
#[derive(Debug)]
struct Answer {
    index: u32,
    stop: Stop<'static>,
    logprobs: Vec<Json<'static>>,
}

/// One block, so far.
#[derive(Debug)]
struct Part {
    candidate: u32,
    kind: PartKind,
    body: Text<'static>,
    citations: Vec<Citation<'static>>,
    opaque: Vec<Opaque<'static>>,
    apart: bool,
}

#[derive(Debug)]
enum PartKind {
    Text,
    Refusal,
    Thinking(ThinkingKind),
    Redacted,
    ToolCall { id: String, name: String, flavor: Flavor },
    ServerTool { raw: Json<'static> },
}

impl Collector {
    /// Takes the next event, which comes in the order of [`crate::hub::grammar`].
    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Start { id, model, created } => {
                self.id = id.clone().into_owned();
                self.model = model.clone().into_owned();
                self.created = *created;
            }
            Event::BlockStart { candidate, head, .. } => {
                self.answer(*candidate, |_| {});
                let apart = self.apart.take_if(|apart| apart == candidate).is_some();
                self.blocks.push(Part { apart, ..Part::new(*candidate, head) });
            }
            Event::Apart { candidate } => self.apart = Some(*candidate),
            Event::TextDelta { block, text } => self.part(*block, |part| part.body.push(text)),
            Event::ArgumentsDelta { block, fragment } => self.part(*block, |part| part.body.push(fragment)),
            Event::Opaque { block, opaque } => self.part(*block, |part| part.opaque.push(opaque.clone().into_owned())),
            Event::Citation { block, citation } => {
                self.part(*block, |part| part.citations.push(citation.clone().into_owned()));
            }
            Event::Logprobs { candidate, raw } => {
                self.answer(*candidate, |answer| answer.logprobs.push(raw.clone().into_owned()));
            }
            Event::Stop { candidate, stop } => {
                self.answer(*candidate, |answer| answer.stop = stop.clone().into_owned());
            }
            Event::Usage(usage) => self.usage = Some(usage.clone()),
            Event::Tier { word, .. } => self.tier = Some(word.clone().into_owned()),
            Event::BlockStop { .. } | Event::Ping | Event::Dropped { .. } | Event::Fault(_) | Event::End => {}
        }
    }

    /// The answer, of a provider of `format`.
    #[must_use]
    pub fn finish(self, format: Format) -> Response<'static> {
        let Self { id, model, created, candidates, blocks, usage, tier, .. } = self;
        let mut candidates: Vec<Candidate<'static>> = candidates
            .into_iter()
            .map(|answer| Candidate {
                index: answer.index.into(),
                blocks: Vec::new(),
                stop: answer.stop,
                logprobs: joined(&answer.logprobs),
                extras: Vec::new(),
            })
            .collect();
        candidates.sort_by_key(|candidate| candidate.index);
        for part in blocks {
            let index = u64::from(part.candidate);
            if let Some(candidate) = candidates.iter_mut().find(|candidate| candidate.index == index) {
                candidate.blocks.push(part.finish());
            }
        }
        Response { format, id, model, created, candidates, usage, tier, extras: Vec::new() }
    }

    /// Changes answer `index`, which begins here if it is new.
    fn answer(&mut self, index: u32, change: impl FnOnce(&mut Answer)) {
        match self.candidates.iter_mut().find(|answer| answer.index == index) {
            Some(answer) => change(answer),
            None => {
                let mut answer = Answer { index, stop: Stop::EndTurn, logprobs: Vec::new() };
                change(&mut answer);
                self.candidates.push(answer);
            }
        }
    }

    fn part(&mut self, block: u32, change: impl FnOnce(&mut Part)) {
        if let Some(part) = usize::try_from(block).ok().and_then(|at| self.blocks.get_mut(at)) {
            change(part);
        }
    }
}

impl Part {
    fn new(candidate: u32, head: &Head<'_>) -> Self {
        let kind = match head {
            Head::Text => PartKind::Text,
            Head::Refusal => PartKind::Refusal,
            Head::Thinking(kind) => PartKind::Thinking(*kind),
            Head::Redacted => PartKind::Redacted,
            Head::ToolCall { id, name, flavor } => {
                PartKind::ToolCall { id: id.to_string(), name: name.to_string(), flavor: *flavor }
            }
            Head::ServerTool { raw, .. } => PartKind::ServerTool { raw: raw.clone().into_owned() },
        };
        Self { candidate, kind, body: Text::EMPTY, citations: Vec::new(), opaque: Vec::new(), apart: false }
    }

    fn finish(self) -> Block<'static> {
        let text = self.body;
        let kind = match self.kind {
            PartKind::Text => BlockKind::Text { text, citations: self.citations },
            PartKind::Refusal => BlockKind::Refusal { text },
            PartKind::Thinking(kind) => BlockKind::Thinking { text, kind },
            PartKind::Redacted => BlockKind::Redacted,
            PartKind::ToolCall { id, name, flavor } => {
                let arguments = match flavor {
                    Flavor::Function => arguments(text),
                    Flavor::Custom => Json::from_valid(format!("\"{}\"", text.escaped())),
                };
                BlockKind::ToolCall { id: id.into(), name: name.into(), arguments, flavor }
            }
            PartKind::ServerTool { raw } => BlockKind::ServerTool { result: is_result(&raw), raw },
        };
        let mut block = Block::new(kind, 0);
        (block.opaque, block.apart) = (self.opaque, self.apart);
        block
    }
}

/// True for the answer of a provider's own tool, by the word for its type.
fn is_result(raw: &Json<'_>) -> bool {
    let mut result = false;
    // A block that cannot be read is no result.
    let _ = raw.cursor().object::<JsonError>(|key, value| {
        if key == "type" && value.peek()? == Kind::String {
            result = value.text()?.escaped().ends_with("_result");
        }
        Ok(())
    });
    result
}

/// Log probabilities that came in pieces: objects of lists, by name; the lists are joined.
fn joined(pieces: &[Json<'static>]) -> Option<Json<'static>> {
    let [first, rest @ ..] = pieces else { return None };
    if rest.is_empty() {
        return Some(first.clone());
    }
    let mut lists: Vec<(String, Option<Vec<Json<'_>>>)> = Vec::new();
    for piece in pieces {
        // A piece that is no object says nothing.
        let _ = piece.cursor().object::<JsonError>(|key, value| {
            let at = lists.iter().position(|(name, _)| *name == key).unwrap_or(lists.len());
            if at == lists.len() {
                lists.push((key.into_owned(), None));
            }
            if value.peek()? == Kind::Array
                && let Some((_, list)) = lists.get_mut(at)
            {
                let list = list.get_or_insert_default();
                value.array::<JsonError>(|_, entry| {
                    list.push(entry.json()?.into_owned());
                    Ok(())
                })?;
            }
            Ok(())
        });
    }
    let mut out = Vec::new();
    let mut json = Writer::new(&mut out);
    json.open_object();
    for (name, list) in &lists {
        json.key(name);
        let Some(list) = list else {
            json.null();
            continue;
        };
        json.open_array();
        for entry in list {
            json.json(entry);
        }
        json.close_array();
    }
    json.close_object();
    String::from_utf8(out).ok().map(Json::from_valid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Field;

    #[test]
    fn pieces_of_log_probabilities_are_joined() {
        let pieces = [r#"{"content":[1,2],"refusal":null}"#, r#"{"content":[ {"a":3} ],"refusal":null}"#];
        let joined = joined(&pieces.map(Json::from_valid)).unwrap();
        assert_eq!(joined.as_str(), r#"{"content":[1,2,{"a":3}],"refusal":null}"#);
    }

    #[test]
    fn what_a_stream_has_no_word_for_is_told() {
        let extra = |field| Extra { field, key: "x".into(), value: Json::from_valid("1"), at: 0 };
        let mut block = Block::text(Text::from_escaped("a"), 0);
        block.extras.push(extra(Field::Unknown));
        let reference = Block::new(BlockKind::Reference { raw: Json::from_valid("{}") }, 0);
        let response = Response {
            format: Format::OpenaiChat,
            id: Text::EMPTY,
            model: Text::EMPTY,
            created: None,
            candidates: vec![Candidate {
                index: 0,
                blocks: vec![block, reference],
                stop: Stop::EndTurn,
                logprobs: None,
                extras: vec![extra(Field::Safety)],
            }],
            usage: None,
            tier: None,
            extras: vec![extra(Field::Metadata)],
        };
        let mut fields = Vec::new();
        replay(&response, &mut |event| {
            if let Event::Dropped { field } = event {
                fields.push(field);
            }
        });
        assert_eq!(fields, [Field::Metadata, Field::Safety, Field::Unknown, Field::Unknown]);
    }
}

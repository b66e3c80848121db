//! A whole answer for a client, written.

use super::choice::write_finish;
use super::grounding::Sources;
use super::part;
use super::thoughts::{Carried, LIMIT, Pending, hides};
use super::wire::{OWN, is_own, signature, signatures, unsigned, write_extras};
use super::{logprobs, stop, usage};
use crate::format::told::is_usual_tier;
use crate::format::{Reply, stop_place};
use crate::hub::ids::Distinct;
use crate::hub::{
    Action, Block, BlockKind, Candidate, Citation, Extra, Fault, Field, Losses, Opaque, Place, Response, Source, Stop,
};
use crate::json::{Json, Text, Writer};
use crate::seal::Seal;

/// Writes `response`.
pub(super) fn write(response: &Response<'_>, reply: &Reply, losses: &mut Losses) -> Result<Vec<u8>, Fault<'static>> {
    for candidate in &response.candidates {
        if let Stop::Failed(word) = &candidate.stop
            && stop::word(&candidate.stop).is_none()
        {
            return Err(Stop::gave_up(word));
        }
    }
    let is_own = response.format == OWN;
    if !is_own {
        report_extras(&response.extras, losses);
        report_stops(response, losses);
        report_tier(response, losses);
    }
    let refused = response.candidates.iter().find_map(|candidate| match &candidate.stop {
        Stop::PromptFiltered(word) => Some(word),
        _ => None,
    });
    let mut out = Vec::with_capacity(1024);
    let mut json = Writer::new(&mut out);
    json.open_object();
    match refused {
        // There is no answer; this format's own feedback is among the extras.
        Some(_) if is_own => {}
        Some(word) => stop::write_blocked(word, &mut json),
        None => {
            json.key("candidates").open_array();
            for candidate in &response.candidates {
                Pen::new(reply, losses, is_own).candidate(candidate, &mut json);
            }
            json.close_array();
        }
    }
    if let Some(usage) = &response.usage {
        json.key("usageMetadata");
        usage::write(usage, &mut json);
        if usage.server_tool_requests > 0 {
            let reason = "requests of the provider's own tools are not told";
            losses.add(Field::UsageDetail, Action::Dropped, Place::Pointer("".into()), reason);
        }
    }
    json.key("modelVersion").plain(&reply.model);
    if !response.id.is_empty() {
        json.key("responseId").text(&response.id);
    }
    if is_own {
        write_extras(&response.extras, &mut json);
    }
    json.close_object();
    Ok(out)
}

fn report_tier(response: &Response<'_>, losses: &mut Losses) {
    if response.tier.as_ref().is_some_and(|tier| !is_usual_tier(tier.escaped())) {
        losses.add(Field::Tier, Action::Dropped, Place::Pointer("/service_tier".into()), "the answer names no tier");
    }
}

fn report_stops(response: &Response<'_>, losses: &mut Losses) {
    for (at, candidate) in response.candidates.iter().enumerate() {
        if stop::is_coarser(&candidate.stop) {
            let reason = "the format has no word for this reason";
            losses.add(Field::StopReason, Action::Converted, stop_place(response, at), reason);
        }
    }
}

fn report_extras(extras: &[Extra<'_>], losses: &mut Losses) {
    for extra in extras {
        losses.dropped(extra.field, extra.at, format!("an answer has no place for `{}`", extra.key));
    }
}

/// Writes one answer.
struct Pen<'p> {
    reply: &'p Reply,
    losses: &'p mut Losses,
    ids: Distinct,
    is_own: bool,
    /// The client gets no words of reasoning.
    hides: bool,
    /// Calls so far.
    calls: u32,
    malformed: bool,
    /// Other providers' state since the last call. It stands at the next call too, which every client brings back.
    pending: Pending,
    /// Characters of text so far.
    said: u64,
    /// Reasoning since the last words or call whose state did not come yet: it may stand at a later block.
    shown: Text<'static>,
    /// The next block is a call.
    call_follows: bool,
    sources: Sources,
}

impl<'p> Pen<'p> {
    fn new(reply: &'p Reply, losses: &'p mut Losses, is_own: bool) -> Self {
        Self {
            reply,
            losses,
            ids: Distinct::default(),
            is_own,
            hides: hides(reply.reasoning),
            calls: 0,
            malformed: false,
            pending: Pending::default(),
            said: 0,
            shown: Text::EMPTY,
            call_follows: false,
            sources: Sources::default(),
        }
    }

    fn candidate(mut self, candidate: &Candidate<'_>, json: &mut Writer<'_>) {
        json.open_object().key("content").open_object().key("parts").open_array();
        let mut text = String::new();
        let mut waiting: Option<Waiting<'_>> = None;
        for (at, block) in candidate.blocks.iter().enumerate() {
            let says_nothing = self.says_nothing(block);
            if let Some(left) = waiting.take_if(|waiting| !says_nothing && !waiting.fits(block)) {
                self.leave(&left, json);
            }
            let next = candidate.blocks.get(at + 1);
            self.call_follows = next.is_some_and(|next| matches!(next.kind, BlockKind::ToolCall { .. }));
            match self.alone(block) {
                Some((opaque, words)) => {
                    if let Some(left) = waiting.replace(Waiting { opaque, words, foreign: !is_own(opaque) }) {
                        self.leave(&left, json);
                    }
                    self.opaque_left(block, 1);
                    if !self.is_own {
                        report_extras(&block.extras, self.losses);
                    }
                }
                None if says_nothing => self.block(block, None, &mut text, json),
                None => self.block(block, waiting.take(), &mut text, json),
            }
        }
        if let Some(left) = waiting {
            left.write(&self.reply.seal, json);
        }
        json.close_array().key("role").plain("model").close_object();
        write_finish(&candidate.stop, self.malformed, json);
        json.key("index").number(candidate.index);
        self.sources.write(&text, json);
        if let Some(raw) = &candidate.logprobs
            && !logprobs::write(raw, json)
        {
            let place = Place::Pointer("".into());
            self.losses.add(Field::Logprobs, Action::Dropped, place, "log probabilities of an unknown shape");
        }
        if self.is_own {
            let sayable = candidate.extras.iter().filter(|extra| extra.value != Json::NULL).cloned();
            write_extras(&sayable.filter(|extra| extra.key != "finishMessage").collect::<Vec<_>>(), json);
        } else {
            report_extras(&candidate.extras, self.losses);
        }
        json.close_object();
    }

    /// True for words of reasoning that nobody signed and this client does not see.
    fn says_nothing(&self, block: &Block<'_>) -> bool {
        self.hides && block.opaque.is_empty() && matches!(block.kind, BlockKind::Thinking { .. })
    }

    /// The state of a block that shows nothing else, and the words that it is of.
    fn alone<'b>(&mut self, block: &'b Block<'_>) -> Option<(&'b Opaque<'b>, Text<'static>)> {
        let opaque = block.opaque.first()?;
        match &block.kind {
            BlockKind::Redacted => Some((opaque, Text::EMPTY)),
            BlockKind::Thinking { text, .. } if text.is_empty() && !is_own(opaque) => Some((opaque, Text::EMPTY)),
            BlockKind::Thinking { text, .. } if self.hides && !is_own(opaque) => {
                self.shown.push(text);
                let words = std::mem::take(&mut self.shown);
                Some((opaque, if words.escaped().len() <= LIMIT { words } else { Text::EMPTY }))
            }
            _ => None,
        }
    }

    /// Writes state that no part took.
    fn leave(&mut self, left: &Waiting<'_>, json: &mut Writer<'_>) {
        self.pending.note(left.opaque, &left.words, self.said);
        left.write(&self.reply.seal, json);
    }

    fn block(&mut self, block: &Block<'_>, waiting: Option<Waiting<'_>>, text: &mut String, json: &mut Writer<'_>) {
        let first = block.opaque.first();
        let seal = &self.reply.seal;
        if !matches!(block.kind, BlockKind::Thinking { .. }) {
            self.shown = Text::EMPTY;
        }
        let own = |opaque: &Opaque<'_>| signature(opaque, seal).into_owned();
        let mut carried = 0;
        match &block.kind {
            BlockKind::Text { text: words, citations } => {
                self.cited(words, citations, block.at, text);
                carried = 1;
                self.words(words, first, waiting, json);
            }
            BlockKind::Refusal { text: words } => {
                self.losses.converted(Field::Refusal, block.at, "words of refusal are a text part");
                text.push_str(&words.plain());
                self.words(words, None, waiting, json);
            }
            BlockKind::Thinking { text: words, .. } => {
                carried = 1;
                self.thought(words, first, json);
            }
            BlockKind::Redacted => {
                carried = 1;
                if let Some(opaque) = first {
                    part::words(&Text::EMPTY, true, Some(&own(opaque)), json);
                }
            }
            BlockKind::ToolCall { .. } => {
                let signature;
                (signature, carried) = self.state_of_call(block, waiting);
                self.calls += 1;
                self.call(block, signature.as_ref(), json);
            }
            BlockKind::ServerTool { raw, .. } | BlockKind::Unknown { raw, .. } if self.is_own => {
                json.json(raw);
            }
            BlockKind::Image { source: Source::Base64 { media_type, data }, .. } => {
                part::inline(media_type, data, json);
            }
            BlockKind::Audio { source: Source::Base64 { data, .. }, format } => {
                part::inline(&part::audio_type(format), data, json);
            }
            kind => self.losses.dropped(class_of(kind), block.at, "an answer has no place for this block"),
        }
        self.opaque_left(block, carried);
        if !self.is_own {
            report_extras(&block.extras, self.losses);
        }
    }

    /// Writes words with their own state, or what waited for them.
    fn words(
        &mut self,
        words: &Text<'_>,
        own: Option<&Opaque<'_>>,
        waiting: Option<Waiting<'_>>,
        json: &mut Writer<'_>,
    ) {
        let seal = &self.reply.seal;
        let own = own.map(|opaque| signature(opaque, seal).into_owned());
        let value = own.or_else(|| waiting.as_ref().map(|waiting| waiting.value(seal)));
        if !words.is_empty() || value.is_some() {
            part::words(words, false, value.as_ref(), json);
        }
        if let Some(waiting) = waiting {
            self.pending.note(waiting.opaque, &waiting.words, self.said);
        }
        self.said += words.code_points();
    }

    /// Puts words behind `text` and their sources beside it.
    fn cited(&mut self, words: &Text<'_>, citations: &[Citation<'_>], at: usize, text: &mut String) {
        let (begin, first_source) = (text.chars().count() as u64, self.sources.len());
        text.push_str(&words.plain());
        let unsayable = citations.iter().filter(|citation| !self.sources.take(citation, begin)).count();
        self.sources.place(first_source, (begin, text.chars().count() as u64));
        if unsayable > 0 {
            self.losses.dropped(Field::Citations, at, "a source without an address");
        }
    }

    fn thought(&mut self, words: &Text<'_>, state: Option<&Opaque<'_>>, json: &mut Writer<'_>) {
        self.shown.push(words);
        let noted = state.is_some_and(|opaque| {
            let shown = std::mem::take(&mut self.shown);
            self.pending.note(opaque, if words.is_empty() { &Text::EMPTY } else { &shown }, self.said)
        });
        // A call that follows at once is the better place.
        let here = state.filter(|_| !(noted && self.call_follows));
        let words = if self.hides { &Text::EMPTY } else { words };
        if !words.is_empty() || here.is_some() {
            let value = here.map(|opaque| signature(opaque, &self.reply.seal));
            part::words(words, true, value.as_ref(), json);
        }
    }

    /// What stands at a call, and how much of its block's own state that is.
    fn state_of_call(&mut self, block: &Block<'_>, waiting: Option<Waiting<'_>>) -> (Option<Text<'static>>, usize) {
        let mut states = self.pending.take(self.said);
        states.extend(waiting.map(|waiting| waiting.carried()));
        states.extend(block.opaque.iter().map(|opaque| Carried::new(opaque.clone().into_owned(), String::new())));
        let carried = if states.first().is_some_and(|first| is_own(&first.opaque)) { 1 } else { block.opaque.len() };
        let mark = || (!self.is_own && self.calls == 0).then(|| unsigned(&self.reply.seal));
        (signatures(&states, &self.reply.seal).or_else(mark), carried)
    }

    fn call(&mut self, block: &Block<'_>, signature: Option<&Text<'_>>, json: &mut Writer<'_>) {
        let BlockKind::ToolCall { id, name, arguments, flavor } = &block.kind else { return };
        let id = self.ids.next(id);
        match part::arguments(arguments, *flavor) {
            Some(arguments) => part::call((&id, name), &arguments, signature, json),
            None => {
                self.malformed = true;
                self.losses.dropped(Field::ToolCall, block.at, "the arguments of the call are no JSON object");
            }
        }
    }

    fn opaque_left(&mut self, block: &Block<'_>, carried: usize) {
        if block.opaque.len() > carried {
            self.losses.dropped(Field::OpaqueState, block.at, "the part has no slot for more state");
        }
    }
}

/// State that shows no words, on its way to the part that follows: clients drop parts that say nothing.
struct Waiting<'p> {
    opaque: &'p Opaque<'p>,
    /// The words that it is of, where the client does not see them.
    words: Text<'static>,
    /// Another provider's: it may stand at words too, and is reasoning where it stands alone.
    foreign: bool,
}

impl Waiting<'_> {
    fn fits(&self, block: &Block<'_>) -> bool {
        let takes = match &block.kind {
            BlockKind::Text { text, .. } | BlockKind::Refusal { text } => self.foreign && !text.is_empty(),
            kind => matches!(kind, BlockKind::ToolCall { .. }),
        };
        takes && block.opaque.is_empty()
    }

    fn write(&self, seal: &Seal, json: &mut Writer<'_>) {
        part::words(&Text::EMPTY, self.foreign, Some(&self.value(seal)), json);
    }

    fn value(&self, seal: &Seal) -> Text<'static> {
        signatures(&[self.carried()], seal).unwrap_or_default()
    }

    fn carried(&self) -> Carried {
        Carried::new(self.opaque.clone().into_owned(), self.words.plain().into_owned())
    }
}

/// What a block counts as when it cannot be carried.
pub(super) fn class_of(kind: &BlockKind<'_>) -> Field {
    match kind {
        BlockKind::Text { .. } => Field::Text,
        BlockKind::Refusal { .. } => Field::Refusal,
        BlockKind::Thinking { .. } => Field::Thinking,
        BlockKind::Redacted => Field::OpaqueState,
        BlockKind::Image { .. } => Field::Image,
        BlockKind::Document { .. } => Field::Document,
        BlockKind::Audio { .. } => Field::Audio,
        BlockKind::SearchResult { .. } => Field::SearchResult,
        BlockKind::ToolCall { .. } => Field::ToolCall,
        BlockKind::ToolResult { .. } => Field::ToolResult,
        BlockKind::ServerTool { .. } => Field::ServerTool,
        BlockKind::Reference { .. } | BlockKind::Unknown { .. } => Field::Unknown,
    }
}

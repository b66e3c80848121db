//! A whole answer for a client, written.

use std::borrow::Cow;

use super::envelope::{self, State};
use super::output::{self, Body, Identity, Item, Part};
use super::stop::{Said, is_coarser};
use super::usage;
use super::wire::OWN;
use crate::format::sibling::{moderation, tier_word};
use crate::format::told::is_usual_tier;
use crate::format::{Reply, stop_place};
use crate::hub::ids::Distinct;
use crate::hub::{
    Action, Block, BlockKind, Candidate, Extra, Fault, Field, Flavor, Losses, Place, Response, Stop, ThinkingKind,
};
use crate::json::{Json, Kind, Text, Writer};

/// Writes `response`.
pub(super) fn write(response: &Response<'_>, reply: &Reply, losses: &mut Losses) -> Result<Vec<u8>, Fault<'static>> {
    let nothing = Candidate { index: 0, blocks: Vec::new(), stop: Stop::EndTurn, logprobs: None, extras: Vec::new() };
    let answer = response.candidates.first().unwrap_or(&nothing);
    report(response, answer, losses);
    let identity = Identity::new(&response.id, response.created, reply);
    let own = response.format == OWN;
    let mut pen = Pen { own, reply, losses, identity: &identity, items: Vec::new(), ids: Distinct::default() };
    for block in &answer.blocks {
        pen.block(block);
    }
    if let Stop::Refusal { explanation: Some(words), .. } = &answer.stop {
        pen.part(Part { refusal: true, text: words.escaped().to_owned(), ..Part::default() });
    }
    pen.logprobs(answer.logprobs.as_ref());
    let items = pen.items;
    let said = Said::of(&answer.stop, !items.is_empty())?;
    let mut listed = Vec::new();
    let mut w = Writer::new(&mut listed);
    for (at, item) in items.iter().enumerate() {
        let last = at + 1 == items.len();
        let status = match &item.body {
            Body::Call { flavor, input, .. } => output::call_status(*flavor, input),
            _ if last => said.status(),
            _ => "completed",
        };
        let mut json = Vec::new();
        item.write(status, &mut Writer::new(&mut json));
        let json = String::from_utf8(json).unwrap_or_default();
        if let Some(recall) = reply.keeper() {
            recall.keep_item(&item.id, &json);
        }
        w.verbatim(&json);
    }
    let listed = String::from_utf8(listed).unwrap_or_default();
    let mut out = Vec::with_capacity(listed.len() + 1024);
    let mut w = Writer::new(&mut out);
    w.open_object();
    let tier = response.tier.as_ref();
    let word = tier.and_then(|tier| tier_word(tier, response.format, OWN));
    if let (Some(tier), None) = (tier, &word)
        && !is_usual_tier(tier.escaped())
    {
        let place = Place::Pointer(Cow::Borrowed("/service_tier"));
        losses.add(Field::Tier, Action::Dropped, place, "the format has no word for this tier");
    }
    envelope::write(&identity, reply, State::Ended(said, response.usage.as_ref(), word.as_ref()), &listed, &mut w);
    for extra in &response.extras {
        if response.format == OWN {
            w.key(Text::from_plain(&extra.key).escaped()).json(&extra.value);
        } else if let Some(told) = moderation(extra, response.format, OWN) {
            w.key("moderation").json(&told);
        }
    }
    w.close_object();
    Ok(out)
}

/// Reports what the format has no place for, outside of blocks.
fn report(response: &Response<'_>, answer: &Candidate<'_>, losses: &mut Losses) {
    let is_told = |extra: &&Extra<'_>| moderation(extra, response.format, OWN).is_some();
    let extras = response.extras.iter().filter(|extra| response.format != OWN && !is_told(extra)).chain(&answer.extras);
    for extra in extras {
        losses.dropped(extra.field, extra.at, format!("a response has no place for `{}`", extra.key));
    }
    let mut pointed = |field, action, place, reason| losses.add(field, action, place, reason);
    if response.candidates.len() > 1 {
        pointed(Field::N, Action::Dropped, Place::Pointer("".into()), "a response is one answer: the first");
    }
    if is_coarser(&answer.stop) {
        pointed(Field::StopReason, Action::Converted, stop_place(response, 0), "said in a word that tells less");
    }
    if response.usage.as_ref().is_some_and(usage::tells_more) {
        pointed(
            Field::UsageDetail,
            Action::Dropped,
            Place::Pointer("".into()),
            "tokens of sound and requests of the provider's tools are not told",
        );
    }
}

/// Makes items of blocks.
struct Pen<'p> {
    /// The answer is this format's own.
    own: bool,
    reply: &'p Reply,
    losses: &'p mut Losses,
    identity: &'p Identity,
    items: Vec<Item>,
    ids: Distinct,
}

impl Pen<'_> {
    fn block(&mut self, block: &Block<'_>) {
        for extra in &block.extras {
            self.losses.dropped(extra.field, extra.at, format!("a response has no place for `{}`", extra.key));
        }
        if matches!(block.kind, BlockKind::Text { .. } | BlockKind::ToolCall { .. }) {
            // A signature of what follows travels in a reasoning item of its own.
            for opaque in &block.opaque {
                let encrypted = Some(output::sealed(opaque, &self.reply.seal));
                self.reasoning(ThinkingKind::Summary, String::new(), encrypted);
            }
        }
        match &block.kind {
            BlockKind::Text { text, citations } => {
                let mut part = Part { text: text.escaped().to_owned(), ..Part::default() };
                let span = part.span();
                for citation in citations {
                    if !part.cite(citation, span) {
                        let reason = "only sources with a URL can be annotations";
                        self.losses.dropped(Field::Citations, block.at, reason);
                    }
                }
                if !text.is_empty() {
                    self.part(part);
                }
            }
            BlockKind::Refusal { text } => {
                self.part(Part { refusal: true, text: text.escaped().to_owned(), ..Part::default() });
            }
            BlockKind::Thinking { text, kind } => self.thought(*kind, text.escaped(), block),
            BlockKind::Redacted => self.thought(ThinkingKind::Summary, "", block),
            BlockKind::ToolCall { id, name, arguments, flavor } => {
                let call_id = self.ids.next(id);
                let input = input_of(arguments, *flavor);
                let body = Body::Call { call_id, name: name.clone().into_owned(), flavor: *flavor, input };
                self.push(if *flavor == Flavor::Custom { "ctc_" } else { "fc_" }, body);
            }
            BlockKind::ServerTool { raw, .. } | BlockKind::Unknown { raw, .. } if self.own => {
                self.push("it_", Body::Raw(raw.as_str().to_owned()));
            }
            kind => self.losses.dropped(kind.class(), block.at, "a response has no place for this block"),
        }
    }

    fn thought(&mut self, kind: ThinkingKind, text: &str, block: &Block<'_>) {
        let encrypted = match block.opaque.first() {
            Some(opaque) => Some(output::sealed(opaque, &self.reply.seal)),
            None if text.is_empty() => return,
            None => Some(output::unsigned(&self.reply.seal)),
        };
        if block.opaque.len() > 1 {
            self.losses.dropped(Field::OpaqueState, block.at, "the item has no slot for more state");
        }
        self.reasoning(output::shown(kind, self.reply), text.to_owned(), encrypted);
    }

    fn reasoning(&mut self, kind: ThinkingKind, text: String, encrypted: Option<String>) {
        self.push("rs_", Body::Reasoning { kind, text, encrypted });
    }

    /// Adds a part to the message that is last, or to a new one.
    fn part(&mut self, part: Part) {
        if let Some(Item { body: Body::Message(parts), .. }) = self.items.last_mut() {
            parts.push(part);
        } else {
            self.push("msg_", Body::Message(vec![part]));
        }
    }

    fn push(&mut self, prefix: &str, body: Body) {
        let id = self.identity.item_id(prefix, self.items.len());
        self.items.push(Item { id, body });
    }

    /// Probabilities belong to words; where there are none, they say nothing.
    fn logprobs(&mut self, raw: Option<&Json<'_>>) {
        let Some(raw) = raw else { return };
        let parts = self.items.iter_mut().find_map(|item| match &mut item.body {
            Body::Message(parts) => parts.iter_mut().find(|part| !part.refusal),
            _ => None,
        });
        let (found, refusal) = output::logprobs(raw);
        let unsaid = found.is_some() && parts.is_none();
        if let (Some(found), Some(part)) = (found, parts) {
            part.logprobs.push(&found);
        }
        if refusal || unsaid {
            let reason = "only probabilities of words have a place";
            self.losses.add(Field::Logprobs, Action::Dropped, Place::Pointer("".into()), reason);
        }
    }
}

/// Arguments as the contents of a string.
fn input_of(arguments: &Json<'_>, flavor: Flavor) -> String {
    let mut cursor = arguments.cursor();
    if arguments.kind() == Kind::String
        && let Ok(text) = cursor.text()
    {
        return text.escaped().to_owned();
    }
    if flavor == Flavor::Function && arguments.kind() != Kind::Object {
        return "{}".to_owned();
    }
    Text::from_json(arguments.as_str()).escaped().to_owned()
}

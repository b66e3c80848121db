//! A whole answer for a client, written.

use super::stream_block::unsigned;
use super::wire::{OWN, write_extras};
use super::{stop, tail, usage};
use crate::Format;
use crate::format::told::is_usual_tier;
use crate::format::{Reply, stop_place};
use crate::hub::ids::Distinct;
use crate::hub::{
    Action, Block, BlockKind, Candidate, Citation, Extra, Fault, FaultKind, Field, Flavor, Losses, Place, Response,
    Stop, flat_name,
};
use crate::json::{Json, Kind, Text, Writer};

/// Writes `response`.
pub(super) fn write(response: &Response<'_>, reply: &Reply, losses: &mut Losses) -> Result<Vec<u8>, Fault<'static>> {
    let nothing = Candidate { index: 0, blocks: Vec::new(), stop: Stop::EndTurn, logprobs: None, extras: Vec::new() };
    let answer = response.candidates.first().unwrap_or(&nothing);
    if let Stop::Failed(word) = &answer.stop {
        return Err(Stop::gave_up(word));
    }
    report(response, answer, losses);
    let mut out = Vec::with_capacity(1024);
    let mut json = Writer::new(&mut out);
    json.open_object()
        .key("id")
        .text(&reply.own_id(&response.id, "msg_"))
        .key("type")
        .plain("message")
        .key("role")
        .plain("assistant");
    json.key("model").plain(&reply.model).key("content").open_array();
    let mut pen = Pen { json, reply, losses, ids: Distinct::default(), format: response.format, stop: &answer.stop };
    let (written, left_out) = tail::arranged(&answer.blocks, reply.reasoning, response.format);
    for block in written {
        pen.block(block)?;
    }
    for block in left_out.into_iter().filter(|block| tail::has_state(block)) {
        let reason = "an answer is its words: state that no call follows is left out";
        pen.losses.dropped(Field::OpaqueState, block.at, reason);
    }
    let mut json = pen.json;
    json.close_array();
    stop::write(&answer.stop, &mut json);
    json.key("usage");
    usage::write(response.usage.as_ref(), response.tier.as_ref(), &mut json);
    if response.format == OWN {
        write_extras(&response.extras, &mut json);
    }
    json.close_object();
    Ok(out)
}

fn upstream(message: String) -> Fault<'static> {
    let mut fault = Fault::new(FaultKind::Api, message);
    fault.status = 502;
    fault.with_code("upstream_malformed")
}

/// Reports what the format has no place for, outside of blocks.
fn report(response: &Response<'_>, answer: &Candidate<'_>, losses: &mut Losses) {
    if response.format != OWN {
        report_extras(&response.extras, losses);
    }
    report_extras(&answer.extras, losses);
    let mut pointed = |field, action, pointer: &'static str, reason: &'static str| {
        losses.add(field, action, Place::Pointer(pointer.into()), reason);
    };
    if response.candidates.len() > 1 {
        pointed(Field::N, Action::Dropped, "", "a message is one answer; the others are left out");
    }
    if response.candidates.iter().any(|candidate| candidate.logprobs.is_some()) {
        pointed(Field::Logprobs, Action::Dropped, "", "a message has no log probabilities");
    }
    let untold = |tier: &Text<'_>| usage::tier_word(tier).is_none() && !is_usual_tier(tier.escaped());
    if response.tier.as_ref().is_some_and(untold) {
        pointed(Field::Tier, Action::Dropped, "/service_tier", "the format has no word for this tier");
    }
    if response.usage.as_ref().is_some_and(|usage| usage.audio_input > 0 || usage.audio_output > 0) {
        pointed(Field::UsageDetail, Action::Dropped, "/usage", "tokens of sound are not told apart");
    }
    let said = match &answer.stop {
        Stop::Filtered(_) | Stop::PromptFiltered(_) => "said as a refusal",
        Stop::Other(_) => "said as the end of the turn",
        _ => return,
    };
    losses.add(Field::StopReason, Action::Converted, stop_place(response, 0), said);
}

fn report_extras(extras: &[Extra<'_>], losses: &mut Losses) {
    for extra in extras {
        losses.dropped(extra.field, extra.at, format!("a message has no place for `{}`", extra.key));
    }
}

/// Writes blocks.
struct Pen<'p> {
    json: Writer<'p>,
    reply: &'p Reply,
    losses: &'p mut Losses,
    ids: Distinct,
    format: Format,
    stop: &'p Stop<'p>,
}

impl Pen<'_> {
    fn block(&mut self, block: &Block<'_>) -> Result<(), Fault<'static>> {
        let is_own = self.format == OWN;
        match &block.kind {
            BlockKind::Text { text, citations } => self.text(text, citations, block),
            BlockKind::Refusal { text } => {
                self.losses.converted(Field::Refusal, block.at, "words of refusal are a text block");
                self.text(text, &[], block);
            }
            BlockKind::Thinking { text, .. } => self.thinking(text, block),
            BlockKind::Redacted => self.redacted(block),
            BlockKind::ToolCall { id, name, arguments, flavor } => {
                let id = self.ids.next(id);
                self.json
                    .open_object()
                    .key("type")
                    .plain("tool_use")
                    .key("id")
                    .plain(&id)
                    .key("name")
                    .plain(&flat_name(name));
                self.json.key("input");
                self.input(arguments, *flavor, block.at)?;
                self.opaque_left(block, 0);
                self.close(block);
            }
            BlockKind::ServerTool { raw, .. } | BlockKind::Reference { raw } | BlockKind::SearchResult { raw }
                if is_own =>
            {
                self.json.json(raw);
            }
            BlockKind::Unknown { raw, format } if *format == OWN => {
                self.json.json(raw);
            }
            kind => self.losses.dropped(kind.class(), block.at, "a message has no place for this block"),
        }
        Ok(())
    }

    fn text(&mut self, text: &Text<'_>, citations: &[Citation<'_>], block: &Block<'_>) {
        if text.is_empty() {
            return;
        }
        self.json.open_object().key("type").plain("text").key("text").text(text);
        let (own, foreign): (Vec<_>, Vec<_>) = citations.iter().partition(|citation| citation.format == OWN);
        if !own.is_empty() {
            self.json.key("citations").open_array();
            for citation in own {
                self.json.json(&citation.raw);
            }
            self.json.close_array();
        }
        if !foreign.is_empty() {
            self.losses.dropped(Field::Citations, block.at, "the sources cannot be said as citations of a message");
        }
        self.opaque_left(block, 0);
        self.close(block);
    }

    /// A signature of another provider, or none at all, is an envelope: it comes back to its maker only.
    fn thinking(&mut self, text: &Text<'_>, block: &Block<'_>) {
        if text.is_empty() && block.opaque.is_empty() {
            return;
        }
        self.json.open_object().key("type").plain("thinking").key("thinking").text(text).key("signature");
        match block.opaque.first() {
            Some(opaque) if opaque.maker == OWN => self.json.text(&opaque.data),
            Some(opaque) => self.json.plain(&self.reply.seal.wrap(opaque)),
            None => self.json.plain(&unsigned(&self.reply.seal)),
        };
        self.opaque_left(block, 1);
        self.close(block);
    }

    fn redacted(&mut self, block: &Block<'_>) {
        let Some(opaque) = block.opaque.first() else {
            self.losses.dropped(Field::OpaqueState, block.at, "redacted thinking without its data");
            return;
        };
        self.json.open_object().key("type").plain("redacted_thinking").key("data");
        if opaque.maker == OWN {
            self.json.text(&opaque.data);
        } else {
            self.json.plain(&self.reply.seal.wrap(opaque));
        }
        self.opaque_left(block, 1);
        self.close(block);
    }

    fn opaque_left(&mut self, block: &Block<'_>, carried: usize) {
        if block.opaque.len() > carried {
            self.losses.dropped(Field::OpaqueState, block.at, "the block has no slot for this state");
        }
    }

    /// `input` must be an object. Arguments that were cut are only excusable in an answer that was cut.
    fn input(&mut self, arguments: &Json<'_>, flavor: Flavor, at: usize) -> Result<(), Fault<'static>> {
        match (flavor, arguments.kind()) {
            (Flavor::Custom, _) => {
                self.json.open_object().key("input").json(arguments).close_object();
            }
            (Flavor::Function, Kind::Object) => {
                self.json.json(arguments);
            }
            (Flavor::Function, _) if arguments.is_empty() => {
                self.json.verbatim("{}");
            }
            (Flavor::Function, _) if matches!(self.stop, Stop::EndTurn | Stop::ToolUse) => {
                return Err(upstream("the arguments of the model's tool call are not a JSON object".to_owned()));
            }
            (Flavor::Function, _) => {
                self.json.verbatim("{}");
                self.losses.dropped(Field::ToolCall, at, "the arguments were cut off and are no JSON object");
            }
        }
        Ok(())
    }

    fn close(&mut self, block: &Block<'_>) {
        if self.format == OWN {
            write_extras(&block.extras, &mut self.json);
        } else {
            report_extras(&block.extras, self.losses);
        }
        self.json.close_object();
    }
}

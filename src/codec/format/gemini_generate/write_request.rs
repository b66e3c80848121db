//! A request for a provider, written. The model and the stream go into the path.
//!
//! What changes from turn to turn stands last, so that the body of a longer conversation begins as that of the
//! shorter one did.

use super::arrange::{Allowed, arrange};
use super::report::Report;
use super::schema_refs::Room;
use super::wire::{OWN, write_extras};
use super::write_config::{Form, think};
use super::write_part::Pen;
use super::write_tools::choose;
use crate::format::told::betas_elsewhere;
use crate::format::{Facts, Outgoing, Target, ThinkingForm};
use crate::hub::{Action, Block, BlockKind, Field, Refusal, Request, Tier};
use crate::json::{Json, Writer};

/// Writes `request` for `target` into `out`.
pub(super) fn write(request: &Request<'_>, target: &Target<'_>, out: &mut Outgoing) -> Result<(), Refusal> {
    if request.origin.format != OWN {
        request.state.refuse_elsewhere()?;
    }
    let facts = target.facts;
    let Outgoing { body, undo, losses, .. } = out;
    let mut report = Report { origin: request.origin.format, losses };
    report_unsayable(request, &mut report);
    one_answer(request, facts, &report)?;
    let choice = choose(request, facts, &mut report)?;
    let mut room = Room::default();
    let form = Form::choose(request, facts, &mut room, &mut report)?;
    let thinking = think(request, facts, &mut report);
    let allowed = Allowed {
        rich_results: facts.rich_results,
        signed_calls: matches!(facts.thinking, ThinkingForm::Adaptive | ThinkingForm::Always),
    };
    let contents = arrange(&request.turns, allowed, &mut report)?;
    let mut pen = Pen { json: Writer::new(body), report, rich_results: facts.rich_results, room };
    pen.json.open_object();
    pen.config(request, facts, (&form, &thinking));
    pen.whole_request(request);
    pen.tool_config(request, choice.as_ref());
    pen.tools(request, facts, undo)?;
    pen.instructions(request);
    pen.json.key("contents").open_array();
    for content in &contents {
        pen.content(content)?;
    }
    pen.json.close_array().close_object();
    Ok(())
}

/// Reports what the format cannot say at all.
fn report_unsayable(request: &Request<'_>, report: &mut Report<'_>) {
    let none = "Gemini has no such field";
    let sampling = &request.sampling;
    report.gone(Field::LogitBias, sampling.logit_bias.as_ref().is_some_and(Json::tells), none);
    report.gone(Field::Prediction, sampling.prediction.is_some(), none);
    report.gone(Field::Verbosity, request.verbosity.is_some(), none);
    report.gone(Field::Identity, request.identity.safety_id.is_some(), none);
    if request.identity.user.is_some() {
        report.at(Field::Identity, Action::Dropped, "/user", none);
    }
    let metadata = request.identity.metadata.as_ref().is_some_and(|metadata| !metadata.is_empty());
    report.gone(Field::Metadata, metadata && !report.is_own(), "labels are for bills, and only of one cloud");
    report.gone(Field::Cache, request.cache.key.is_some(), "caches have no key");
    report.gone(Field::Cache, request.cache.auto.is_some(), "the provider caches by itself");
    for option in &request.cache.options {
        report.dropped(Field::Cache, option.at, "the provider caches by itself");
    }
    report.extras(&request.moderation);
    let obfuscation = request.stream.is_some_and(|stream| stream.obfuscation == Some(true));
    report.gone(Field::StreamOptions, obfuscation, none);
    report.extras(&request.extras);
    betas_elsewhere(&request.origin, report.losses);
}

/// Refuses what asks a model for several answers that gives one: a client that waits for more would take it for all.
fn one_answer(request: &Request<'_>, facts: &Facts, report: &Report<'_>) -> Result<(), Refusal> {
    let several = request.sampling.n.is_some_and(|n| n > 1);
    if several && !facts.candidates && !report.is_own() {
        return Err(report.refuse(Field::N, "this model gives one answer a request; ask for 1"));
    }
    Ok(())
}

impl Pen<'_, '_> {
    /// Fields of the request beside tools, words and the config.
    fn whole_request(&mut self, request: &Request<'_>) {
        let tier = match request.tier {
            None | Some(Tier::Auto) => None,
            Some(Tier::Standard) => Some("standard"),
            Some(Tier::Flex) => Some("flex"),
            Some(Tier::Priority) => Some("priority"),
            Some(Tier::Scale | Tier::Fast) => {
                self.report.field(Field::Tier, Action::Converted, "sent as the priority tier");
                Some("priority")
            }
        };
        if let Some(tier) = tier {
            self.json.key("serviceTier").plain(tier);
        }
        if let Some(store) = request.state.store {
            self.json.key("store").bool(store);
        }
        if !self.report.is_own() {
            return;
        }
        if let Some(labels) = &request.identity.metadata {
            self.json.key("labels").json(labels);
        }
        write_extras(&request.state.kept, &mut self.json);
        // Those of the instructions stand inside of them.
        let own: Vec<_> = request.extras.iter().filter(|extra| extra.field != Field::Instructions).cloned().collect();
        write_extras(&own, &mut self.json);
    }

    fn instructions(&mut self, request: &Request<'_>) {
        let said: Vec<&Block<'_>> = request.instructions.iter().filter(|block| self.is_said(block)).collect();
        let beside = request.extras.iter().filter(|extra| extra.field == Field::Instructions && self.report.is_own());
        let beside: Vec<_> = beside.cloned().collect();
        if said.is_empty() {
            self.report.unwritten(&beside);
            return;
        }
        self.json.key("systemInstruction").open_object().key("parts").open_array();
        for block in said {
            if let BlockKind::Text { text, citations } = &block.kind {
                self.json.open_object().key("text").text(text);
                self.uncited(citations, block.at);
                if self.report.is_own() {
                    write_extras(&block.extras, &mut self.json);
                }
                self.json.close_object();
                self.report.extras(&block.extras);
            }
        }
        self.json.close_array();
        write_extras(&beside, &mut self.json);
        self.json.close_object();
    }

    /// True for words; reports what else stands among instructions.
    fn is_said(&mut self, block: &Block<'_>) -> bool {
        if block.cache.is_some() {
            self.report.dropped(Field::CacheMark, block.at, "what is cached cannot be marked");
        }
        match &block.kind {
            BlockKind::Text { text, .. } if text.is_empty() => {
                self.report.unwritten(&block.extras);
                false
            }
            BlockKind::Text { .. } => true,
            _ => {
                self.report.dropped(Field::Instructions, block.at, "instructions are words only");
                false
            }
        }
    }
}

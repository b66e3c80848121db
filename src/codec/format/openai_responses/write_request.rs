//! A request for a provider, written.
//!
//! What changes from turn to turn stands last, so that the body of a longer conversation begins as that of the
//! shorter one did.

use super::read_input::OF_INSTRUCTIONS;
use super::read_tools::{CHOICE, CUSTOM, NAMESPACE, TOOL_SEARCH};
use super::report::Report;
use super::wire::OWN;
use super::write_parts::CACHES_ITSELF;
use super::{write_input, write_tools};
use crate::format::sibling::are_alike;
use crate::format::told::betas_elsewhere;
use crate::format::{Facts, Outgoing, Target, closed, effort};
use crate::hub::{
    Action, Block, BlockKind, Effort, Extra, Field, OutputSpec, ReasoningForm, Refusal, Request, Tier, Verbosity, ids,
};
use crate::json::{Json, Text, Writer};

/// Writes `request` for `target` into `out`.
pub(super) fn write(request: &Request<'_>, target: &Target<'_>, out: &mut Outgoing) -> Result<(), Refusal> {
    let mut body = Vec::with_capacity(1024);
    let mut report = Report { origin: request.origin.format, losses: &mut out.losses };
    if !report.is_own() {
        request.state.refuse_elsewhere()?;
    }
    unsayable(request, &mut report)?;
    let mut w = Writer::new(&mut body);
    w.open_object().key("model").plain(target.model);
    if let Some(stream) = &request.stream {
        w.key("stream").bool(true);
        if let Some(obfuscation) = stream.obfuscation {
            w.key("stream_options").open_object().key("include_obfuscation").bool(obfuscation).close_object();
        }
    }
    let plan = Plan::of(request, target.facts, &mut report);
    limits(request, &plan, &mut report, &mut w);
    output(request, target.facts, &mut report, &mut w)?;
    reasoning(request, &plan, &report, &mut w);
    include(request, &plan, &report, &mut w);
    circumstances(request, target.facts, &mut report, &mut w);
    own_fields(request, &mut report, &mut w);
    write_tools::write(request, target.facts, &mut out.undo, &mut report, &mut w)?;
    let marked = write_tools::marked(request, target.facts);
    let instructions = instructions(request, marked.as_ref(), target.facts, &mut report, &mut w);
    w.key("input").open_array();
    write_input::write(request, &instructions, target.facts, &mut report, &mut w)?;
    w.close_array().close_object();
    out.body = body;
    Ok(())
}

/// Reports what the format cannot say at all.
fn unsayable(request: &Request<'_>, report: &mut Report<'_>) -> Result<(), Refusal> {
    let sampling = &request.sampling;
    if sampling.n.is_some_and(|n| n > 1) {
        return Err(report.refuse(Field::N, "the Responses API gives one answer a request; ask for 1"));
    }
    let none = "the Responses API has no such field";
    report.gone(Field::Stop, !request.limits.stop.is_empty(), none);
    report.gone(Field::TopK, sampling.top_k.is_some(), none);
    report.gone(Field::Seed, sampling.seed.is_some(), none);
    report.gone(Field::PresencePenalty, sampling.presence_penalty.as_ref().is_some_and(Json::tells), none);
    report.gone(Field::FrequencyPenalty, sampling.frequency_penalty.as_ref().is_some_and(Json::tells), none);
    report.gone(Field::LogitBias, sampling.logit_bias.as_ref().is_some_and(Json::tells), none);
    report.gone(Field::Prediction, sampling.prediction.is_some(), none);
    betas_elsewhere(&request.origin, report.losses);
    Ok(())
}

/// What the model takes of what bears on its thinking and its choice of words.
struct Plan {
    /// False where it does not think, whatever is asked.
    thinks: bool,
    /// Effort in words.
    effort: Option<Effort>,
    /// It can be told how to choose its words.
    is_free: bool,
    /// Log probabilities are wanted.
    logprobs: bool,
}

impl Plan {
    fn of(request: &Request<'_>, facts: &Facts, report: &mut Report<'_>) -> Self {
        let (asked, own) = (&request.reasoning, report.is_own());
        let mut told = |action, reason| report.field(Field::Reasoning, action, reason);
        let effort = effort::in_words(asked, facts, own, &mut told);
        if effort.is_some() && asked.effort.is_some() && asked.budget.is_some() {
            report.field(Field::Reasoning, Action::Converted, "the effort is said, the budget in tokens is not");
        }
        let is_free = facts.takes_sampling(effort);
        let sampling = &request.sampling;
        let wanted = if own { sampling.logprobs } else { sampling.wants_logprobs() };
        let wanted = wanted == Some(true);
        report.gone(Field::Logprobs, wanted && !is_free, BY_ITSELF);
        Self { thinks: effort::thinks(facts, own), effort, is_free, logprobs: wanted && is_free }
    }
}

/// What a model is refused that chooses its words by itself.
const BY_ITSELF: &str = "the model chooses its words by itself";

/// Fewest tokens that an answer can be held to.
const LEAST: u64 = 16;

fn limits(request: &Request<'_>, plan: &Plan, report: &mut Report<'_>, w: &mut Writer<'_>) {
    if let Some(asked) = request.limits.max_output {
        let limit = if report.is_own() { asked } else { asked.max(LEAST) };
        if limit > asked {
            report.field(Field::MaxOutput, Action::Converted, "the Responses API takes no limit below 16 tokens");
        }
        w.key("max_output_tokens").number(limit);
    }
    let sampling = &request.sampling;
    let numbers: [(Field, &str, &Option<Json<'_>>); 2] =
        [(Field::Temperature, "temperature", &sampling.temperature), (Field::TopP, "top_p", &sampling.top_p)];
    for (field, key, value) in numbers {
        match value {
            Some(value) if plan.is_free => {
                w.key(key).json(value);
            }
            value => report.gone(field, value.is_some(), BY_ITSELF),
        }
    }
    if let Some(top) = sampling.top_logprobs.filter(|_| plan.is_free) {
        w.key("top_logprobs").number(top);
    }
}

/// How the keys of members of `text.format` begin.
const OF_FORMAT: &str = "text.format.";

fn output(request: &Request<'_>, facts: &Facts, report: &mut Report<'_>, w: &mut Writer<'_>) -> Result<(), Refusal> {
    let own = |prefix: &str, report: &Report<'_>| {
        report.is_own() && request.extras.iter().any(|extra| extra.key.starts_with(prefix))
    };
    let form = if report.is_own() { &request.output } else { request.output.elsewhere() };
    if *form == OutputSpec::Text && request.verbosity.is_none() && !own("text.", report) {
        return Ok(());
    }
    w.key("text").open_object();
    match form {
        OutputSpec::Text if !own(OF_FORMAT, report) => {}
        OutputSpec::Text | OutputSpec::JsonObject => {
            let kind = if *form == OutputSpec::Text { "text" } else { "json_object" };
            w.key("format").open_object().key("type").plain(kind);
            sub_extras(OF_FORMAT, request, report, w);
            w.close_object();
        }
        OutputSpec::JsonSchema { .. } if !facts.structured => {
            return Err(report.refuse(Field::Output, "the model takes no JSON schema for its answer"));
        }
        OutputSpec::JsonSchema { name, schema, strict, description } => {
            w.key("format").open_object().key("type").plain("json_schema");
            w.key("name").text(name.as_ref().unwrap_or(&Text::from_plain("response")));
            w.key("schema").json(schema.as_ref().unwrap_or(&Json::EMPTY_OBJECT));
            if let Some(strict) =
                closed::of_answer(*strict, schema.as_ref(), (report.origin, facts.compatible_extensions), report.losses)
            {
                w.key("strict").bool(strict);
            }
            if let Some(description) = description {
                w.key("description").text(description);
            }
            sub_extras(OF_FORMAT, request, report, w);
            w.close_object();
        }
    }
    if let Some(verbosity) = request.verbosity {
        w.key("verbosity").plain(match verbosity {
            Verbosity::Low => "low",
            Verbosity::Medium => "medium",
            Verbosity::High => "high",
        });
    }
    sub_extras("text.", request, report, w);
    w.close_object();
    Ok(())
}

/// Writes this format's own fields of an object below, those whose keys begin with `prefix` and go no deeper.
fn sub_extras(prefix: &str, request: &Request<'_>, report: &Report<'_>, w: &mut Writer<'_>) {
    for extra in request.extras.iter().filter(|_| report.is_own()) {
        if let Some(key) = extra.key.strip_prefix(prefix).filter(|key| !key.starts_with("format.")) {
            w.key(Text::from_plain(key).escaped()).json(&extra.value);
        }
    }
}

/// How much the model thinks, and whether that is shown.
fn reasoning(request: &Request<'_>, plan: &Plan, report: &Report<'_>, w: &mut Writer<'_>) {
    let (asked, effort) = (&request.reasoning, plan.effort);
    // Who asks for thinking in a form that shows it wants to see it; of an effort alone that cannot be told.
    let thinks = matches!(asked.form, Some(ReasoningForm::Adaptive | ReasoningForm::Budget));
    let show = plan.thinks && asked.show.unwrap_or(thinks && effort != Some(Effort::None));
    let own_summary = report.is_own() && request.extras.iter().any(|extra| extra.key == "reasoning.summary");
    let has_own = report.is_own() && request.extras.iter().any(|extra| extra.key.starts_with("reasoning."));
    if effort.is_none() && !show && !has_own {
        return;
    }
    w.key("reasoning").open_object();
    if let Some(effort) = effort {
        w.key("effort").plain(effort.word());
    }
    if show && !own_summary {
        w.key("summary").plain("auto");
    }
    sub_extras("reasoning.", request, report, w);
    w.close_object();
}

/// What must come with the answer: its reasoning, sealed, because nothing is stored; and probabilities.
fn include(request: &Request<'_>, plan: &Plan, report: &Report<'_>, w: &mut Writer<'_>) {
    let own: Vec<&Extra<'_>> =
        request.extras.iter().filter(|extra| report.is_own() && extra.key == "include").collect();
    // Models that do not reason refuse the word, so that it is said only where reasoning was asked for or came before.
    let asked = &request.reasoning;
    let asks = asked.effort.is_some_and(|effort| effort != Effort::None)
        || asked.budget.is_some_and(|budget| budget > 0)
        || asked.show == Some(true)
        || matches!(asked.form, Some(ReasoningForm::Adaptive | ReasoningForm::Budget))
        || has_own_state(request);
    let thinks = plan.thinks && asks;
    if !thinks && !plan.logprobs && own.is_empty() {
        return;
    }
    w.key("include").open_array();
    if thinks {
        w.plain("reasoning.encrypted_content");
    }
    if plan.logprobs {
        w.plain("message.output_text.logprobs");
    }
    for extra in own {
        w.json(&extra.value);
    }
    w.close_array();
}

fn has_own_state(request: &Request<'_>) -> bool {
    let blocks = request.turns.iter().flat_map(|turn| &turn.blocks);
    blocks.flat_map(|block| &block.opaque).any(|opaque| opaque.maker == OWN)
}

/// Tier, identity, storage, caching.
fn circumstances(request: &Request<'_>, facts: &Facts, report: &mut Report<'_>, w: &mut Writer<'_>) {
    if let Some(tier) = request.tier {
        w.key("service_tier").plain(match tier {
            Tier::Auto => "auto",
            Tier::Standard => "default",
            Tier::Flex => "flex",
            Tier::Scale => "scale",
            Tier::Priority => "priority",
            Tier::Fast => "fast",
        });
    }
    let identity = &request.identity;
    if let Some(user) = &identity.user {
        w.key("user").text(user);
    }
    if let Some(id) = &identity.safety_id {
        let (said, sent) = (id.plain(), ids::of_user(id.plain()));
        if said != sent {
            report.field(Field::Identity, Action::Converted, "an id has 128 characters at most: its hash is sent");
        }
        w.key("safety_identifier").plain(&sent);
    }
    if let Some(metadata) = &identity.metadata {
        w.key("metadata").json(metadata);
    }
    // The API stores by default, those of the other formats do not.
    match request.state.store {
        Some(store) => {
            w.key("store").bool(store);
        }
        None if report.is_own() => {}
        None => {
            w.key("store").bool(false);
        }
    }
    if let Some(key) = &request.cache.key {
        w.key("prompt_cache_key").text(key);
    }
    if request.cache.auto.is_some() {
        report.field(Field::Cache, Action::Converted, CACHES_ITSELF);
    }
    for alike in [&request.moderation, &request.cache.options] {
        if !are_alike(report.origin, OWN, facts) {
            report.extras(alike);
            continue;
        }
        for extra in alike {
            w.key(Text::from_plain(&extra.key).escaped()).json(&extra.value);
        }
    }
}

/// Fields that only this format has; toward it they go on, from another they are reported.
fn own_fields(request: &Request<'_>, report: &mut Report<'_>, w: &mut Writer<'_>) {
    report.extras(&request.extras);
    if !report.is_own() {
        return;
    }
    for extra in &request.extras {
        if extra.key.starts_with(CUSTOM) {
            report.dropped(
                extra.field,
                extra.at,
                "beside name, description and format nothing of a custom tool is kept, of a namespace only its tools",
            );
        } else if extra.key.starts_with(CHOICE) {
            report.dropped(extra.field, extra.at, "only tools and modes of a choice are kept");
        } else if extra.key.starts_with(OF_INSTRUCTIONS) {
            report.dropped(extra.field, extra.at, "instructions are words; no other field of their message is kept");
        } else if is_plain(extra) {
            w.key(Text::from_plain(&extra.key).escaped()).json(&extra.value);
        }
    }
    for extra in request.state.kept.iter().filter(|extra| extra.key != "item_reference") {
        w.key(Text::from_plain(&extra.key).escaped()).json(&extra.value);
    }
}

/// True for an extra that stands at the top of the body under its own key.
fn is_plain(extra: &Extra<'_>) -> bool {
    let nested = ["text.", "reasoning.", "stream_options.", NAMESPACE, TOOL_SEARCH, "tool_choice"];
    extra.key != "include"
        && extra.field != Field::OpaqueState
        && !nested.iter().any(|prefix| extra.key.starts_with(prefix))
}

/// Writes `instructions` where one plain text says them all; returns those that are to stand in the input.
/// `marked` stands for the last of them.
fn instructions<'r>(
    request: &'r Request<'r>,
    marked: Option<&'r Block<'r>>,
    facts: &Facts,
    report: &mut Report<'_>,
    w: &mut Writer<'_>,
) -> Vec<&'r Block<'r>> {
    let mut said: Vec<&Block<'_>> = write_tools::said(&request.instructions).collect();
    if let (Some(marked), Some(last)) = (marked, said.last_mut()) {
        *last = marked;
    }
    // An input of nothing is refused: where there is no conversation they are what there is. And the word that asks for
    // JSON is looked for in the input alone.
    let json = *request.output.elsewhere() == OutputSpec::JsonObject;
    let within = (request.turns.is_empty() || json) && !report.is_own();
    if let ([Block { kind: BlockKind::Text { text, citations }, cache, extras, at, .. }], false) =
        (said.as_slice(), within)
        && !(cache.is_some() && facts.cache_breakpoints)
    {
        w.key("instructions").text(text);
        report.unwritten(extras);
        if cache.is_some() {
            report.converted(Field::CacheMark, *at, CACHES_ITSELF);
        }
        if !citations.is_empty() {
            report.dropped(Field::Citations, *at, "instructions carry no sources");
        }
        return Vec::new();
    }
    said
}

//! A request for a provider, written.
//!
//! What changes from turn to turn stands last, so that the body of a longer conversation begins as that of the
//! shorter one did.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use super::arrange::{Allowed, Message, arrange, loop_lacks_thinking};
use super::marks::Marks;
use super::report::Report;
use super::schema::Fitted;
use super::schema_cycle::is_recursive;
use super::wire::{is_exact, is_strict, write_cache, write_extras, write_sub_extras};
use super::write_block::Pen;
use super::write_reasoning::{Around, Plan, plan, write_thinking};
use super::write_tools::choose;
use super::{schema, write_sampling};
use crate::format::{Facts, FieldSet, Outgoing, Target, Undo, arguments};
use crate::hub::{Action, Block, BlockKind, Extra, Field, Flavor, OutputSpec, Refusal, Request, Tier, ToolMode};
use crate::json::{Json, Text, Writer};

/// The function that stands for a JSON answer.
const JSON_TOOL: &str = "__json_output__";

/// Says in words what the format has no field for.
const JSON_INSTRUCTION: &str = "Answer with one JSON object and nothing else.";

/// Why a field of the hub is not said to every server of the format.
const VENDOR_ONLY: &str = "only the format's own vendor takes it";

/// Writes `request` for `target` into `out`.
pub(super) fn write(request: &Request<'_>, target: &Target<'_>, out: &mut Outgoing) -> Result<(), Refusal> {
    let Outgoing { body, headers, undo, losses } = out;
    let facts = target.facts;
    let mut report = Report { origin: request.origin.format, fields: facts.fields, losses };
    if !report.is_own() {
        request.state.refuse_elsewhere()?;
    } else if !keeps_threads(facts) {
        request.state.refuse_thread()?;
    }
    report_unsayable(request, &mut report)?;
    let own = report.request_extras(&request.extras);
    let strict = is_strict(target.api_version);
    let mut choice = choose(request, facts, &mut report)?;
    let output = Output::choose(request, facts, &mut report)?;
    if let Output::Tool(_) = output {
        choice.mode = Some(ToolMode::Named { name: JSON_TOOL.into(), flavor: Flavor::Function });
    }
    let allowed = Allowed { mid_system: facts.mid_system, prefill: facts.prefill, strict };
    let messages = arrange(&request.turns, allowed, &mut report)?;
    let around = Around { forced_tool: choice.is_forced(), lacks_thinking: loop_lacks_thinking(&messages) };
    let plan = plan(request, facts, around, &mut report);
    let betas: Vec<&str> =
        request.origin.betas.iter().map(AsRef::as_ref).filter(|beta| facts.takes_beta(beta)).collect();
    if report.is_own() && !betas.is_empty() {
        headers.push(("anthropic-beta", betas.join(",")));
    }
    let marks = Marks::count(request, &messages, facts.fields, report.is_own());
    let mut pen = Pen { json: Writer::new(body), report: &mut report, marks, strict };
    pen.json.open_object().key("model").plain(target.model).key("max_tokens").number(plan.max_tokens);
    if request.stream.is_some() {
        pen.json.key("stream").bool(true);
    }
    let sampling = write_sampling::Limits { strict, sampling: facts.sampling, thinking: plan.thinking };
    write_sampling::write(&mut pen, request, sampling);
    identity(&mut pen, request, &own);
    tier(&mut pen, request);
    write_thinking(&plan, &own, &mut pen.json);
    output_config(&mut pen, &own, &plan, &output);
    pen.tool_choice(&choice, &own);
    whole_request(&mut pen, request, &own);
    tools(&mut pen, request, &output, undo)?;
    instructions(&mut pen, request, &output);
    conversation(&mut pen, &messages)
}

fn conversation(pen: &mut Pen<'_, '_>, messages: &[Message<'_>]) -> Result<(), Refusal> {
    pen.json.key("messages").open_array();
    for message in messages {
        pen.message(message)?;
    }
    pen.json.close_array().close_object();
    Ok(())
}

/// Reports what the format cannot say at all.
fn report_unsayable(request: &Request<'_>, report: &mut Report<'_>) -> Result<(), Refusal> {
    let sampling = &request.sampling;
    if sampling.n.is_some_and(|n| n > 1) {
        return Err(report.refuse(Field::N, "this provider gives one answer a request; ask for 1"));
    }
    let none = "Anthropic Messages has no such field";
    report.gone(Field::Seed, sampling.seed.is_some(), none);
    report.gone(Field::PresencePenalty, sampling.presence_penalty.as_ref().is_some_and(Json::tells), none);
    report.gone(Field::FrequencyPenalty, sampling.frequency_penalty.as_ref().is_some_and(Json::tells), none);
    report.gone(Field::LogitBias, sampling.logit_bias.as_ref().is_some_and(Json::tells), none);
    report.gone(Field::Logprobs, sampling.logprobs == Some(true), none);
    if sampling.top_logprobs.is_some() {
        report.at(Field::Logprobs, Action::Dropped, "/top_logprobs", none);
    }
    report.gone(Field::Prediction, sampling.prediction.is_some(), none);
    report.gone(Field::Verbosity, request.verbosity.is_some(), none);
    report.gone(Field::Metadata, request.identity.metadata.as_ref().is_some_and(|it| !it.is_empty()), none);
    report.gone(Field::Store, request.state.store == Some(true), "the provider stores no answers");
    report.gone(Field::Cache, request.cache.key.is_some(), "caches have no key");
    report.extras(&request.moderation);
    let obfuscation = request.stream.is_some_and(|stream| stream.obfuscation == Some(true));
    report.gone(Field::StreamOptions, obfuscation, none);
    for option in &request.cache.options {
        report.dropped(Field::Cache, option.at, "caching is asked for by marks");
    }
    Ok(())
}

/// How the form of the answer is asked for.
enum Output<'r> {
    /// Not at all.
    Words,
    /// By a schema.
    Schema(Json<'r>),
    /// By a function that must be called.
    Tool(Json<'r>),
    /// In these words.
    Instruction(Cow<'static, str>),
}

impl<'r> Output<'r> {
    fn choose(request: &'r Request<'_>, facts: &Facts, report: &mut Report<'_>) -> Result<Self, Refusal> {
        let (schema, description, name) = match request.output.elsewhere() {
            OutputSpec::Text => return Ok(Self::Words),
            OutputSpec::JsonSchema { schema: Some(schema), description, name, .. } => (schema, description, name),
            OutputSpec::JsonObject | OutputSpec::JsonSchema { schema: None, .. } => {
                report.field(Field::Output, Action::Converted, "an instruction asks for JSON; nothing enforces it");
                return Ok(Self::Instruction(Cow::Borrowed(JSON_INSTRUCTION)));
            }
        };
        if description.is_some() {
            report.field(Field::Output, Action::Dropped, "the answer's description has no place");
        }
        let takes_tool = facts.forced_tool && request.tools.is_empty();
        if !facts.structured && !takes_tool {
            let message = "this model takes no schema for its answer beside tools; remove one of them";
            return Err(report.refuse(Field::Output, message));
        }
        let recurs = !report.is_own() && is_recursive(schema);
        if !facts.structured || recurs {
            return Ok(Self::unheld(schema, takes_tool, report));
        }
        let fitted = if report.is_own() { None } else { schema::fitted(schema) };
        if fitted.as_ref().is_some_and(|fitted| fitted.was_open) {
            // What the format would hold the model to is something else, and often nothing at all.
            return Ok(Self::unheld(schema, takes_tool, report));
        }
        tell_fitting(fitted.as_ref(), name.is_some(), report);
        Ok(Self::Schema(fitted.map_or_else(|| schema.by_ref(), |fitted| fitted.schema)))
    }

    /// How an answer is asked for that the model cannot be held to in the format's own way.
    fn unheld(schema: &'r Json<'_>, takes_tool: bool, report: &mut Report<'_>) -> Self {
        if takes_tool && arguments::is_of_object(schema) {
            report.field(Field::Output, Action::Converted, "the answer is the argument of a function");
            return Self::Tool(schema.by_ref());
        }
        report.field(
            Field::Output,
            Action::Converted,
            "an instruction asks for JSON by the schema; nothing enforces it",
        );
        let words = format!(
            "Answer with one JSON value and nothing else. It must be valid by this JSON Schema: {}",
            schema.as_str()
        );
        Self::Instruction(Cow::Owned(words))
    }
}

/// Reports what a schema lost to be one that the format takes.
fn tell_fitting(fitted: Option<&Fitted>, is_named: bool, report: &mut Report<'_>) {
    let is = |flag: fn(&Fitted) -> bool| fitted.is_some_and(flag);
    if is(|fitted| fitted.told) {
        report.field(Field::Output, Action::Converted, schema::TOLD);
    }
    if is(|fitted| fitted.respelled) {
        report.field(Field::Output, Action::Converted, schema::RESPELLED);
    }
    if is(|fitted| fitted.closed) {
        report.field(Field::Output, Action::Converted, "objects are closed to other properties; no name is sent");
    } else if is_named {
        report.field(Field::Output, Action::Converted, "the schema is sent without its name");
    }
}

fn output_config(pen: &mut Pen<'_, '_>, own: &[Extra<'_>], plan: &Plan, output: &Output<'_>) {
    let has_own = own.iter().any(|extra| extra.key.starts_with("output_config."));
    if plan.effort.is_none() && !matches!(output, Output::Schema(_)) && !has_own {
        return;
    }
    pen.json.key("output_config").open_object();
    if let Some(effort) = plan.effort {
        pen.json.key("effort").plain(effort.word());
    }
    if let Output::Schema(schema) = output {
        pen.json.key("format").open_object().key("type").plain("json_schema").key("schema").json(schema);
        write_sub_extras("output_format.", own, &mut pen.json);
        pen.json.close_object();
    }
    write_sub_extras("output_config.", own, &mut pen.json);
    pen.json.close_object();
}

/// `metadata`: whom the request is made for. A name in the clear stays with us.
fn identity(pen: &mut Pen<'_, '_>, request: &Request<'_>, own: &[Extra<'_>]) {
    let is_own = pen.report.is_own();
    let identity = &request.identity;
    let has_own = own.iter().any(|extra| extra.key.starts_with("metadata."));
    let user = match (&identity.safety_id, &identity.user) {
        (Some(id), _) if is_own || !id.escaped().contains('@') => Some(id.by_ref()),
        (Some(id), _) => {
            pen.report.field(Field::Identity, Action::Converted, "sent as a hash");
            Some(Text::from_escaped(hashed(&id.plain())))
        }
        (None, Some(id)) => {
            pen.report.at(Field::Identity, Action::Converted, "/user", "sent as a hash");
            Some(Text::from_escaped(hashed(&id.plain())))
        }
        (None, None) => None,
    };
    if identity.safety_id.is_some() && identity.user.is_some() {
        pen.report.at(Field::Identity, Action::Dropped, "/user", "the safety identifier stands for the user");
    }
    if user.is_none() && !has_own {
        return;
    }
    pen.json.key("metadata").open_object();
    if let Some(user) = &user {
        pen.json.key("user_id").text(user);
    }
    write_sub_extras("metadata.", own, &mut pen.json);
    pen.json.close_object();
}

/// 32 hexadecimal digits that depend on all of `id`.
fn hashed(id: &str) -> String {
    use std::fmt::Write as _;

    let mut out = String::from("user_");
    for byte in Sha256::digest(id.as_bytes()).iter().take(16) {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

fn tier(pen: &mut Pen<'_, '_>, request: &Request<'_>) {
    let is_own = pen.report.is_own();
    if pen.report.fields == FieldSet::Core {
        return pen.report.gone(Field::Tier, request.tier.is_some(), VENDOR_ONLY);
    }
    let word = match request.tier {
        None => None,
        Some(Tier::Auto) => Some("auto"),
        Some(Tier::Standard) => Some("standard_only"),
        Some(Tier::Fast) if is_own => {
            pen.json.key("speed").plain("fast");
            None
        }
        Some(Tier::Flex) => {
            pen.report.field(Field::Tier, Action::Dropped, "there is no slower and cheaper tier");
            None
        }
        Some(Tier::Scale | Tier::Priority | Tier::Fast) => {
            pen.report.field(Field::Tier, Action::Converted, "`auto` uses what priority the account has");
            Some("auto")
        }
    };
    if let Some(word) = word {
        pen.json.key("service_tier").plain(word);
    }
}

/// True for a server that keeps threads. What others make of a part of a conversation is no answer to all of it, so that
/// they are sent none.
pub(super) fn keeps_threads(facts: &Facts) -> bool {
    facts.fields == FieldSet::All && !facts.strips("thread")
}

/// Caching of the whole request, and this format's own fields.
fn whole_request(pen: &mut Pen<'_, '_>, request: &Request<'_>, own: &[Extra<'_>]) {
    let takes_cache = pen.report.fields == FieldSet::All;
    pen.report.gone(Field::Cache, request.cache.auto.is_some() && !takes_cache, VENDOR_ONLY);
    if let Some(mark) = request.cache.auto.filter(|_| takes_cache) {
        if !is_exact(mark) {
            pen.report.field(Field::Cache, Action::Converted, "a cache is kept for 5 minutes or an hour");
        }
        write_cache(mark, own, &mut pen.json);
    }
    write_extras(own, &mut pen.json);
    if let Some(thread) = &request.state.thread {
        pen.json.key("thread").json(&thread.value);
    }
}

fn tools(pen: &mut Pen<'_, '_>, request: &Request<'_>, output: &Output<'_>, undo: &mut Undo) -> Result<(), Refusal> {
    if let Output::Tool(schema) = output {
        undo.json_tool = Some(JSON_TOOL.to_owned());
        pen.json.key("tools").open_array().open_object().key("name").plain(JSON_TOOL);
        pen.json.key("description").plain("Gives the answer.");
        let (schema, change) = arguments::of_object(Some(schema));
        if change.is_some() {
            pen.report.field(Field::Output, Action::Converted, "the answer comes as arguments, which are an object");
        }
        pen.json.key("input_schema").json(&schema).close_object().close_array();
        return Ok(());
    }
    if request.tools.is_empty() {
        return Ok(());
    }
    pen.json.key("tools").open_array();
    pen.tools(request, undo)?;
    pen.json.close_array();
    Ok(())
}

fn instructions(pen: &mut Pen<'_, '_>, request: &Request<'_>, output: &Output<'_>) {
    let asks = if let Output::Instruction(words) = output { Some(words) } else { None };
    let said: Vec<&Block<'_>> = request.instructions.iter().filter(|block| is_said(block, pen)).collect();
    if said.is_empty() && asks.is_none() {
        return;
    }
    pen.json.key("system").open_array();
    for block in said {
        pen.instruction(block);
    }
    if let Some(words) = asks {
        pen.json.open_object().key("type").plain("text").key("text").plain(words).close_object();
    }
    pen.json.close_array();
}

/// True for words; reports what else stands among instructions.
fn is_said(block: &Block<'_>, pen: &mut Pen<'_, '_>) -> bool {
    let said = matches!(&block.kind, BlockKind::Text { text, .. } if !text.is_blank());
    if !matches!(block.kind, BlockKind::Text { .. }) {
        pen.report.dropped(Field::Instructions, block.at, "instructions are words only");
    }
    if !said && block.cache.is_some() {
        pen.report.dropped(Field::CacheMark, block.at, "its block is left out");
    }
    said
}

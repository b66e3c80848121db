//! A request for a provider, written.

use super::read_request::{OF_INSTRUCTIONS, OF_OUTPUT, OF_SCHEMA, OF_STREAM, OF_TOOLS};
use super::report::Report;
use super::wire::OWN;
use super::{write_messages, write_tools};
use crate::format::sibling::are_alike;
use crate::format::told::betas_elsewhere;
use crate::format::{Facts, Outgoing, Target, closed, effort};
use crate::hub::{Action, Effort, Extra, Field, OutputSpec, Refusal, Request, Tier, Verbosity, ids};
use crate::json::{Json, JsonError, Text, Writer};

/// Writes `request` for `target` into `out`.
pub(super) fn write(request: &Request<'_>, target: &Target<'_>, out: &mut Outgoing) -> Result<(), Refusal> {
    let mut body = Vec::with_capacity(1024);
    let mut report = Report { origin: request.origin.format, losses: &mut out.losses };
    if !report.is_own() {
        request.state.refuse_elsewhere()?;
    }
    let mut w = Writer::new(&mut body);
    w.open_object().key("model").plain(target.model);
    w.key("messages").open_array();
    write_messages::write(request, target.facts, &mut report, &mut w)?;
    w.close_array();
    write_tools::write(request, target.facts, &mut out.undo, &mut report, &mut w)?;
    limits(request, target.facts, &mut report, &mut w);
    let effort = effort(request, target.facts, &mut report);
    sampling(request, (target.facts, effort), &mut report, &mut w);
    output(request, target.facts, &mut report, &mut w)?;
    if !native(request, Field::Reasoning, &report, &mut w)
        && let Some(effort) = effort
    {
        match target.facts.off_switch().filter(|_| effort == Effort::None) {
            Some((key, off)) => w.key(key).json(&Json::from_valid(off)),
            None => w.key("reasoning_effort").plain(effort.word()),
        };
    }
    circumstances(request, target.facts, &mut report, &mut w);
    stream(request, target.facts, &mut w);
    if report.is_own() {
        extras(request, &mut w);
    }
    report.extras(&request.extras);
    betas_elsewhere(&request.origin, report.losses);
    w.close_object();
    out.body = body;
    Ok(())
}

/// Fields without a place in the hub; those inside of a native field went with it.
fn extras(request: &Request<'_>, w: &mut Writer<'_>) {
    let said = |key: &str| request.native.iter().any(|native| key.split('.').next() == Some(&native.key));
    let own = |extra: &&Extra<'_>| {
        !matches!(extra.field, Field::OpaqueState | Field::TurnName)
            && !said(&extra.key)
            && ![OF_INSTRUCTIONS, OF_TOOLS, OF_STREAM, OF_OUTPUT].iter().any(|field| extra.key.starts_with(field))
    };
    raw(request.extras.iter().filter(own), w);
}

/// Unknown members that stood within `field` stand there again, where the client speaks this format.
fn members(field: &str, request: &Request<'_>, w: &mut Writer<'_>) {
    for extra in request.extras.iter().filter(|_| request.origin.format == OWN) {
        if let Some(key) = extra.key.strip_prefix(field)
            && !(field == OF_OUTPUT && extra.key.starts_with(OF_SCHEMA))
        {
            w.key(Text::from_plain(key).escaped()).json(&extra.value);
        }
    }
}

fn raw<'e>(extras: impl Iterator<Item = &'e Extra<'e>>, w: &mut Writer<'_>) {
    for extra in extras {
        w.key(Text::from_plain(&extra.key).escaped()).json(&extra.value);
    }
}

/// Says `field` in the client's own words, if the client speaks this format and said it so.
fn native(request: &Request<'_>, field: Field, report: &Report<'_>, w: &mut Writer<'_>) -> bool {
    let said = || request.native.iter().filter(|native| native.field == field);
    let is_said = report.is_own() && said().next().is_some();
    if is_said {
        raw(said(), w);
    }
    is_said
}

/// Most stop texts of a request.
const MOST: usize = 4;

fn limits(request: &Request<'_>, facts: &Facts, report: &mut Report<'_>, w: &mut Writer<'_>) {
    if let Some(asked) = request.limits.max_output {
        // Another format asks so for the prompt to be cached and for no answer.
        let limit = if report.is_own() { asked } else { asked.max(1) };
        if limit > asked {
            report.field(Field::MaxOutput, Action::Converted, "an answer has a token at least");
        }
        w.key(if facts.legacy_max_tokens { "max_tokens" } else { "max_completion_tokens" }).number(limit);
    }
    let said = &request.limits.stop;
    let stop: Vec<_> = said.iter().filter(|text| report.is_own() || !text.is_empty()).collect();
    report.gone(Field::Stop, stop.len() < said.len(), "an empty stop text is refused");
    if stop.is_empty() {
        return;
    }
    if stop.len() > MOST {
        report.field(Field::Stop, Action::Converted, "Chat Completions takes four stop texts; the first four are kept");
    }
    w.key("stop").open_array();
    for text in stop.into_iter().take(MOST) {
        w.text(text);
    }
    w.close_array();
}

/// What a model is refused that chooses its words by itself.
const BY_ITSELF: &str = "the model chooses its words by itself";

fn sampling(
    request: &Request<'_>,
    (facts, effort): (&Facts, Option<Effort>),
    report: &mut Report<'_>,
    w: &mut Writer<'_>,
) {
    let sampling = &request.sampling;
    let is_free = facts.takes_sampling(effort);
    let numbers: [(Field, &str, &Option<Json<'_>>); 7] = [
        (Field::Temperature, "temperature", &sampling.temperature),
        (Field::TopP, "top_p", &sampling.top_p),
        (Field::Seed, "seed", &sampling.seed),
        (Field::PresencePenalty, "presence_penalty", &sampling.presence_penalty),
        (Field::FrequencyPenalty, "frequency_penalty", &sampling.frequency_penalty),
        (Field::LogitBias, "logit_bias", &sampling.logit_bias),
        (Field::Prediction, "prediction", &sampling.prediction),
    ];
    for (field, key, value) in numbers {
        let Some(value) = value else { continue };
        let tells = matches!(field, Field::Temperature | Field::TopP) || value.tells();
        match field {
            Field::Seed if native(request, field, report, w) => {}
            Field::Seed => {
                w.key(key).json(&value.whole());
            }
            _ if is_free => {
                w.key(key).json(value);
            }
            _ => report.gone(field, tells, BY_ITSELF),
        }
    }
    native(request, Field::TopK, report, w);
    match &sampling.top_k {
        Some(top_k) if facts.compatible_extensions => {
            w.key("top_k").json(&top_k.whole());
        }
        top_k => report.gone(Field::TopK, top_k.is_some(), "the vendor's models have no top_k"),
    }
    if let Some(n) = sampling.n {
        w.key("n").number(n);
    }
    let wanted = if report.is_own() { sampling.logprobs } else { sampling.wants_logprobs() };
    if !is_free {
        return report.gone(Field::Logprobs, wanted == Some(true), BY_ITSELF);
    }
    if let Some(wanted) = wanted {
        w.key("logprobs").bool(wanted);
    }
    // Without the other field it is refused.
    if let Some(top) = sampling.top_logprobs.filter(|_| report.is_own() || wanted == Some(true)) {
        w.key("top_logprobs").number(top);
    }
}

fn output(request: &Request<'_>, facts: &Facts, report: &mut Report<'_>, w: &mut Writer<'_>) -> Result<(), Refusal> {
    match if report.is_own() { &request.output } else { request.output.elsewhere() } {
        OutputSpec::Text => {
            let own = |extra: &Extra<'_>| report.is_own() && extra.key.starts_with(OF_OUTPUT);
            if request.extras.iter().any(own) {
                w.key("response_format").open_object().key("type").plain("text");
                members(OF_OUTPUT, request, w);
                w.close_object();
            }
        }
        OutputSpec::JsonObject => {
            w.key("response_format").open_object().key("type").plain("json_object");
            members(OF_OUTPUT, request, w);
            w.close_object();
        }
        OutputSpec::JsonSchema { .. } if !facts.structured => {
            return Err(report.refuse(Field::Output, "the model takes no JSON schema for its answer"));
        }
        OutputSpec::JsonSchema { name, schema, strict, description } => {
            w.key("response_format").open_object().key("type").plain("json_schema");
            w.key("json_schema").open_object().key("name").text(name.as_ref().unwrap_or(&Text::from_plain("response")));
            if let Some(schema) = schema {
                w.key("schema").json(schema);
            }
            if let Some(strict) =
                closed::of_answer(*strict, schema.as_ref(), (report.origin, facts.compatible_extensions), report.losses)
            {
                w.key("strict").bool(strict);
            }
            if let Some(description) = description {
                w.key("description").text(description);
            }
            members(OF_SCHEMA, request, w);
            w.close_object();
            members(OF_OUTPUT, request, w);
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
    Ok(())
}

/// Effort in words. What the client said in its server's own words is said in those.
fn effort(request: &Request<'_>, facts: &Facts, report: &mut Report<'_>) -> Option<Effort> {
    let (asked, own) = (&request.reasoning, report.is_own());
    if own && request.native.iter().any(|native| native.field == Field::Reasoning) {
        return asked.effort;
    }
    let mut told = |action, reason| report.field(Field::Reasoning, action, reason);
    let effort = effort::in_words(asked, facts, own, &mut told);
    if effort.is_some() && asked.effort.is_some() && asked.budget.is_some() {
        report.field(Field::Reasoning, Action::Converted, "the effort is said, the budget in tokens is not");
    }
    if asked.show == Some(false) {
        report.field(Field::Reasoning, Action::Converted, "whether thinking is shown cannot be asked for");
    }
    effort
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
    if let Some(store) = request.state.store {
        w.key("store").bool(store);
    }
    if let Some(key) = &request.cache.key {
        w.key("prompt_cache_key").text(key);
    }
    if request.cache.auto.is_some() && !native(request, Field::Cache, report, w) {
        if facts.compatible_extensions {
            report.field(Field::Cache, Action::Dropped, "the server has no cache marks");
        } else {
            report.field(Field::Cache, Action::Converted, "the provider caches prompts by itself");
        }
    }
    alike(request, facts, report, w);
}

/// What the formats of the vendor have alike.
fn alike(request: &Request<'_>, facts: &Facts, report: &mut Report<'_>, w: &mut Writer<'_>) {
    for alike in [&request.moderation, &request.cache.options] {
        if !are_alike(report.origin, OWN, facts) {
            report.extras(alike);
            continue;
        }
        for extra in alike {
            match extra.key.as_ref() {
                "prompt_cache_options" if !report.is_own() => cache_options(extra, report, w),
                _ => raw([extra].into_iter(), w),
            }
        }
    }
}

/// The options of a cache that the other format of the vendor has more of.
fn cache_options(options: &Extra<'_>, report: &mut Report<'_>, w: &mut Writer<'_>) {
    w.key("prompt_cache_options").open_object();
    // It was read once already, so it is sound.
    let _ = options.value.cursor().object::<JsonError>(|key, value| {
        let (at, said) = (options.at + value.offset(), value.json()?);
        match key.as_ref() {
            _ if matches!(said.as_str(), "null" | "false") => {}
            "mode" => {
                w.key("mode").json(&said);
            }
            "ttl" => {
                if said.as_str() != CACHE_TTL {
                    report.converted(Field::Cache, at, "Chat Completions knows one time of a cache");
                }
                w.key("ttl").json(&Json::from_valid(CACHE_TTL));
            }
            _ => report.dropped(Field::Cache, at, "Chat Completions has no such option of a cache"),
        }
        Ok(())
    });
    w.close_object();
}

/// The one time of a cache that can be asked for.
const CACHE_TTL: &str = r#""30m""#;

/// A stream tells its usage only when asked: the edge needs it, whoever the client is.
fn stream(request: &Request<'_>, facts: &Facts, w: &mut Writer<'_>) {
    let Some(stream) = &request.stream else { return };
    w.key("stream").bool(true);
    if facts.stream_options {
        w.key("stream_options").open_object().key("include_usage").bool(true);
        if let Some(obfuscation) = stream.obfuscation {
            w.key("include_obfuscation").bool(obfuscation);
        }
        members(OF_STREAM, request, w);
        w.close_object();
    }
}

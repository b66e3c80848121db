//! `generationConfig`, written.

use super::report::Report;
use super::schema_refs::Room;
use super::wire::write_sub_extras;
use super::write_part::Pen;
use super::{schema_known, schema_strip, schema_write};
use crate::format::{Efforts, Facts, ThinkingForm};
use crate::hub::{Action, Effort, Field, OutputSpec, ReasoningForm, Refusal, Request, Sampling};
use crate::json::{Json, Text, Writer};

/// Most stop texts that the format takes.
const MOST_STOPS: usize = 5;

/// How much the model shall think.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Thinking {
    level: Option<&'static str>,
    /// In tokens; -1 leaves it to the model.
    budget: Option<i64>,
    show: Option<bool>,
}

/// Plans thinking by what the model takes.
pub(super) fn think(request: &Request<'_>, facts: &Facts, report: &mut Report<'_>) -> Thinking {
    let asked = &request.reasoning;
    let wants = asked.effort.is_some_and(|effort| effort != Effort::None)
        || asked.budget.is_some()
        || matches!(asked.form, Some(ReasoningForm::Adaptive | ReasoningForm::Budget));
    let mut thinking = match facts.thinking {
        ThinkingForm::None => {
            report.gone(Field::Reasoning, wants, "this model does not think");
            return Thinking::default();
        }
        ThinkingForm::Budget => budgeted(request, facts, report),
        ThinkingForm::Adaptive | ThinkingForm::Always => levelled(request, facts, report),
    };
    // A client that asks for reasoning wants to see it, where its own format would show it.
    thinking.show = asked.show.or((wants && !report.is_own()).then_some(true));
    thinking
}

fn levelled(request: &Request<'_>, facts: &Facts, report: &mut Report<'_>) -> Thinking {
    let asked = &request.reasoning;
    if report.is_own() && asked.effort.is_none() {
        // Newer models take budgets still.
        let budget = match asked.form {
            Some(ReasoningForm::Disabled) => Some(0),
            Some(ReasoningForm::Adaptive) => Some(-1),
            _ => asked.budget.and_then(|budget| i64::try_from(budget).ok()),
        };
        return Thinking { budget, ..Thinking::default() };
    }
    let effort = match (asked.effort, asked.form, asked.budget) {
        (Some(effort), ..) => Some(effort),
        (None, Some(ReasoningForm::Disabled), _) => Some(Effort::None),
        (None, _, Some(budget)) => {
            report.field(Field::Reasoning, Action::Converted, "this model takes a level, not a number of tokens");
            Some(effort_of(budget))
        }
        (None, _, None) => None,
    };
    if effort == Some(Effort::None) {
        report.field(Field::Reasoning, Action::Converted, "thinking cannot be turned off; the least is asked for");
    }
    // What was asked for in a word was fitted to the model before.
    let fitted = effort.and_then(|effort| if report.is_own() { None } else { facts.efforts.nearest(effort) });
    let level = fitted.or(effort).map(|effort| match effort {
        Effort::None | Effort::Minimal => "MINIMAL",
        Effort::Low => "LOW",
        Effort::Medium => "MEDIUM",
        Effort::High => "HIGH",
        // Of a model of which nothing is known this is not known either.
        Effort::Xhigh if report.is_own() || facts.efforts != Efforts::ALL => "XHIGH",
        Effort::Xhigh | Effort::Max => {
            report.field(Field::Reasoning, Action::Converted, "the highest level that every model takes is asked for");
            "HIGH"
        }
    });
    Thinking { level, ..Thinking::default() }
}

fn budgeted(request: &Request<'_>, facts: &Facts, report: &mut Report<'_>) -> Thinking {
    let asked = &request.reasoning;
    let least = facts.least_budget;
    let tokens = match (asked.form, asked.budget, asked.effort) {
        (Some(ReasoningForm::Disabled), ..) | (_, None, Some(Effort::None)) => {
            if least > 0 {
                report.field(
                    Field::Reasoning,
                    Action::Converted,
                    "thinking cannot be turned off; the least is asked for",
                );
            }
            least
        }
        (_, Some(budget), _) if budget > facts.most_budget && !report.is_own() => {
            report.field(Field::Reasoning, Action::Converted, "the model thinks with fewer tokens than were asked for");
            facts.most_budget
        }
        (_, Some(budget), _) => budget.max(least),
        (_, None, Some(effort)) => {
            report.field(Field::Reasoning, Action::Converted, "this model takes a number of tokens, not a level");
            tokens_of(effort, facts.most_budget).max(least)
        }
        (Some(ReasoningForm::Adaptive), None, None) => return Thinking { budget: Some(-1), ..Thinking::default() },
        (_, None, None) => return Thinking::default(),
    };
    // The client's limit covers thinking too.
    let room = request.limits.max_output.map_or(u64::MAX, |limit| limit.saturating_sub(1));
    let tokens = if report.is_own() { tokens } else { tokens.min(room.max(least)) };
    Thinking { budget: i64::try_from(tokens).ok(), ..Thinking::default() }
}

fn tokens_of(effort: Effort, most: u64) -> u64 {
    match effort {
        Effort::None => 0,
        Effort::Minimal => 512,
        Effort::Low => 1024,
        Effort::Medium => 8192,
        Effort::High | Effort::Xhigh => most.min(24_576),
        Effort::Max => most,
    }
}

fn effort_of(budget: u64) -> Effort {
    match budget {
        0..=512 => Effort::Minimal,
        513..=1024 => Effort::Low,
        1025..=8192 => Effort::Medium,
        _ => Effort::High,
    }
}

/// The form of the answer.
#[derive(Debug)]
pub(super) enum Form<'r> {
    /// Words.
    Words,
    /// JSON without a schema.
    Json,
    /// JSON by a schema.
    Schema(Json<'r>),
    /// JSON by a schema in the vendor's own dialect.
    OwnSchema(Json<'static>),
}

impl<'r> Form<'r> {
    /// Chooses how the form of the answer is asked for.
    pub(super) fn choose(
        request: &'r Request<'_>,
        facts: &Facts,
        room: &mut Room,
        report: &mut Report<'_>,
    ) -> Result<Self, Refusal> {
        let schema = match request.output.elsewhere() {
            OutputSpec::Text => return Ok(Self::Words),
            OutputSpec::JsonObject => None,
            OutputSpec::JsonSchema { schema, name, description, .. } => {
                if description.is_some() {
                    report.field(Field::Output, Action::Dropped, "the answer's description has no place");
                } else if name.is_some() {
                    report.field(Field::Output, Action::Converted, "the schema is sent without its name");
                }
                schema.as_ref()
            }
        };
        let functions = request.tools.iter().any(|tool| tool.name().is_some());
        if functions && !facts.structured_with_tools {
            let message = "this model takes no JSON answer beside tools; remove one of them";
            return Err(report.refuse(Field::Output, message));
        }
        Ok(match schema {
            None => Self::Json,
            Some(schema) if facts.json_schema => {
                let stripped = schema_strip::stripped(schema);
                let known = if report.is_own() { None } else { schema_known::known(&stripped) };
                let Some(known) = known else { return Ok(Self::Schema(stripped)) };
                told(&known.lost, report);
                Self::Schema(known.schema)
            }
            Some(schema) => {
                let written = schema_write::own_dialect(schema, room);
                told(&written.lost, report);
                Self::OwnSchema(written.schema)
            }
        })
    }
}

/// Reports keywords of the answer's schema that are told in words.
fn told(lost: &[String], report: &mut Report<'_>) {
    for what in lost {
        let reason = format!("the schema's `{what}` is told in words, if at all");
        report.field(Field::Output, Action::Converted, reason);
    }
}

impl Pen<'_, '_> {
    /// Writes `generationConfig` where there is anything to say.
    pub(super) fn config(&mut self, request: &Request<'_>, facts: &Facts, (form, thinking): (&Form<'_>, &Thinking)) {
        let mut text = Vec::with_capacity(256);
        let mut json = Writer::new(&mut text);
        json.open_object();
        let mut config = Config { json: &mut json, report: &mut self.report };
        config.all(request, facts, (form, thinking));
        json.close_object();
        if text != b"{}" {
            let config = Json::from_valid(String::from_utf8(text).unwrap_or_default());
            self.json.key("generationConfig").json(&config);
        }
    }
}

/// Writes the fields of the config.
struct Config<'w, 'o, 'l> {
    json: &'w mut Writer<'o>,
    report: &'w mut Report<'l>,
}

impl Config<'_, '_, '_> {
    fn all(&mut self, request: &Request<'_>, facts: &Facts, (form, thinking): (&Form<'_>, &Thinking)) {
        if let Some(asked) = request.limits.max_output {
            // Another format asks so for the prompt to be cached and for no answer.
            let limit = if self.report.is_own() { asked } else { asked.max(1) };
            if limit > asked {
                self.report.field(Field::MaxOutput, Action::Converted, "an answer has a token at least");
            }
            self.json.key("maxOutputTokens").number(limit);
        }
        self.sampling(request, facts);
        self.stops(&request.limits.stop);
        match form {
            Form::Words => {}
            Form::Json => {
                self.json.key("responseMimeType").plain("application/json");
            }
            Form::Schema(schema) => {
                self.json.key("responseMimeType").plain("application/json").key("responseJsonSchema").json(schema);
            }
            Form::OwnSchema(schema) => {
                self.json.key("responseMimeType").plain("application/json").key("responseSchema").json(schema);
            }
        }
        self.thinking(thinking, request);
        if self.report.is_own() {
            let own: Vec<_> =
                request.extras.iter().filter(|extra| !extra.key.contains(".thinkingConfig")).cloned().collect();
            write_sub_extras("generationConfig.", &own, self.json);
        }
    }

    fn sampling(&mut self, request: &Request<'_>, facts: &Facts) {
        let sampling = &request.sampling;
        for (field, key, value) in [
            (Field::Temperature, "temperature", &sampling.temperature),
            (Field::TopP, "topP", &sampling.top_p),
            (Field::TopK, "topK", &sampling.top_k),
        ] {
            match value {
                Some(_) if !facts.sampling => {
                    self.report.field(field, Action::Dropped, "this model takes no sampling parameters");
                }
                Some(value) => {
                    self.json.key(key).json(value);
                }
                None => {}
            }
        }
        self.seed(sampling);
        self.penalties(sampling, facts);
        if let Some(n) = sampling.n {
            self.json.key("candidateCount").number(n);
        }
        self.probabilities(sampling, facts);
    }

    /// A seed is one of 32 bits. What counts is that the same one gives the same, so that a greater is folded.
    fn seed(&mut self, sampling: &Sampling<'_>) {
        let Some(seed) = &sampling.seed else { return };
        let folded = match seed.whole().as_str().trim().parse::<i64>() {
            Ok(number) if i32::try_from(number).is_err() && !self.report.is_own() => number.rem_euclid(1 << 31),
            Ok(_) | Err(_) => {
                self.json.key("seed").json(seed);
                return;
            }
        };
        self.report.field(Field::Seed, Action::Converted, "a seed has 32 bits: this one is folded into them");
        self.json.key("seed").verbatim(&folded.to_string());
    }

    fn penalties(&mut self, sampling: &Sampling<'_>, facts: &Facts) {
        for (field, key, value) in [
            (Field::PresencePenalty, "presencePenalty", &sampling.presence_penalty),
            (Field::FrequencyPenalty, "frequencyPenalty", &sampling.frequency_penalty),
        ] {
            let Some(value) = value else { continue };
            if facts.penalties || self.report.is_own() {
                self.json.key(key).json(value);
            } else {
                self.report.gone(field, value.tells(), "this model takes no penalties");
            }
        }
    }

    fn probabilities(&mut self, sampling: &Sampling<'_>, facts: &Facts) {
        let wanted = if self.report.is_own() { sampling.logprobs } else { sampling.wants_logprobs() };
        if !facts.logprobs && !self.report.is_own() {
            return self.report.gone(Field::Logprobs, wanted == Some(true), "this model tells no log probabilities");
        }
        if let Some(wanted) = wanted {
            self.json.key("responseLogprobs").bool(wanted);
        }
        // Without the other field it is refused.
        if let Some(count) = sampling.top_logprobs.filter(|_| self.report.is_own() || wanted == Some(true)) {
            self.json.key("logprobs").number(count);
        }
    }

    fn stops(&mut self, stops: &[Text<'_>]) {
        if stops.iter().any(Text::is_empty) {
            self.report.field(Field::Stop, Action::Dropped, "an empty stop text is refused");
        }
        let said: Vec<_> = stops.iter().filter(|stop| !stop.is_empty()).collect();
        if said.len() > MOST_STOPS {
            self.report.field(Field::Stop, Action::Dropped, "five stop texts at most; the first stay");
        }
        if said.is_empty() {
            return;
        }
        self.json.key("stopSequences").open_array();
        for stop in said.into_iter().take(MOST_STOPS) {
            self.json.text(stop);
        }
        self.json.close_array();
    }

    fn thinking(&mut self, thinking: &Thinking, request: &Request<'_>) {
        let own = request.extras.iter().filter(|extra| extra.key.contains(".thinkingConfig"));
        let own: Vec<_> = own.filter(|_| self.report.is_own()).collect();
        if *thinking == Thinking::default() && own.is_empty() {
            return;
        }
        self.json.key("thinkingConfig").open_object();
        if let Some(level) = thinking.level {
            self.json.key("thinkingLevel").plain(level);
        }
        if let Some(budget) = thinking.budget {
            self.json.key("thinkingBudget").verbatim(&budget.to_string());
        }
        if let Some(show) = thinking.show {
            self.json.key("includeThoughts").bool(show);
        }
        for extra in own {
            match extra.key.strip_prefix("generationConfig.thinkingConfig.") {
                Some(key) => self.json.key(Text::from_plain(key).escaped()).json(&extra.value),
                None => self.json.key("thinkingLevel").json(&extra.value),
            };
        }
        self.json.close_object();
    }
}

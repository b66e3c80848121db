//! What models and their servers accept: `models.yaml`, which is compiled in, what the operator says of models, and the
//! provider's quirks.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use tidegate_codec::hub::Effort;
use tidegate_codec::{Efforts, Facts, Format, ThinkingForm};

use super::Quirks;

const SOURCE: &str = include_str!("models.yaml");

/// What is known of a model at a provider.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Model {
    /// What it accepts.
    pub facts: Facts,
    /// When it must be asked in its vendor's other format.
    pub responses: Responses,
}

/// When a model of a provider that speaks Chat Completions is asked by Responses instead: newer models of the vendor
/// refuse function tools on the older path where they reason.
///
/// Sources: <https://github.com/openai/openai-openapi/issues/541>, <https://github.com/BerriAI/litellm/pull/34569>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Responses {
    /// Never.
    #[default]
    Never,
    /// Where tools meet reasoning that was asked for.
    ToolsWithReasoning,
    /// Where there are tools, unless reasoning is turned off: the model reasons without being asked.
    Tools,
    /// Always.
    Always,
}

impl Responses {
    /// Every value, by its word in the config.
    pub const NAMED: [(&'static str, Self); 4] = [
        ("never", Self::Never),
        ("tools_with_reasoning", Self::ToolsWithReasoning),
        ("tools", Self::Tools),
        ("always", Self::Always),
    ];

    /// The format in which a provider of `format` must be asked; `tools` tells whether the request has tools, and
    /// whether it asks for reasoning (`None` where it says neither yes nor no).
    #[must_use]
    pub fn detour(self, format: Format, tools: impl FnOnce() -> (bool, Option<bool>)) -> Option<Format> {
        if format != Format::OpenaiChat {
            return None;
        }
        let goes = match self {
            Self::Never => false,
            Self::ToolsWithReasoning => tools() == (true, Some(true)),
            Self::Tools => matches!(tools(), (true, None | Some(true))),
            Self::Always => true,
        };
        goes.then_some(Format::OpenaiResponses)
    }
}

/// What somebody says of a model; what is left out is as it was.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "each is the fact of its name, see `Facts`")]
pub struct Said {
    pub thinking: Option<Thinking>,
    pub efforts: Option<Vec<String>>,
    pub least_budget: Option<u64>,
    pub most_budget: Option<u64>,
    pub max_output: Option<u64>,
    pub most_output: Option<u64>,
    pub responses: Option<Responses>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub strip_fields: Vec<String>,
    pub cache_breakpoints: Option<bool>,
    pub candidates: Option<bool>,
    pub custom_tools: Option<bool>,
    pub developer_role: Option<bool>,
    pub documents: Option<bool>,
    pub forced_tool: Option<bool>,
    pub json_schema: Option<bool>,
    pub logprobs: Option<bool>,
    pub mid_system: Option<bool>,
    pub parallel_tools: Option<bool>,
    pub penalties: Option<bool>,
    pub prefill: Option<bool>,
    pub rich_results: Option<bool>,
    pub sampling: Option<bool>,
    pub sampling_with_effort: Option<bool>,
    pub structured: Option<bool>,
    pub structured_with_tools: Option<bool>,
    pub thinks_unasked: Option<bool>,
    pub vision: Option<bool>,
    pub wants_thoughts: Option<bool>,
}

/// How a model is asked to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "see `ThinkingForm`")]
pub enum Thinking {
    None,
    Budget,
    Adaptive,
    Always,
}

impl Thinking {
    /// Every value, by its word.
    pub const NAMED: [(&'static str, Self); 4] =
        [("none", Self::None), ("budget", Self::Budget), ("adaptive", Self::Adaptive), ("always", Self::Always)];

    fn form(self) -> ThinkingForm {
        match self {
            Self::None => ThinkingForm::None,
            Self::Budget => ThinkingForm::Budget,
            Self::Adaptive => ThinkingForm::Adaptive,
            Self::Always => ThinkingForm::Always,
        }
    }
}

/// A fact that is there or not: how it is said, and where it goes.
struct Flag {
    name: &'static str,
    said: fn(&mut Said) -> &mut Option<bool>,
    fact: fn(&mut Facts) -> &mut bool,
}

const FLAGS: [Flag; 20] = [
    flag("cache_breakpoints", |said| &mut said.cache_breakpoints, |facts| &mut facts.cache_breakpoints),
    flag("candidates", |said| &mut said.candidates, |facts| &mut facts.candidates),
    flag("custom_tools", |said| &mut said.custom_tools, |facts| &mut facts.custom_tools),
    flag("developer_role", |said| &mut said.developer_role, |facts| &mut facts.developer_role),
    flag("documents", |said| &mut said.documents, |facts| &mut facts.documents),
    flag("forced_tool", |said| &mut said.forced_tool, |facts| &mut facts.forced_tool),
    flag("json_schema", |said| &mut said.json_schema, |facts| &mut facts.json_schema),
    flag("logprobs", |said| &mut said.logprobs, |facts| &mut facts.logprobs),
    flag("mid_system", |said| &mut said.mid_system, |facts| &mut facts.mid_system),
    flag("parallel_tools", |said| &mut said.parallel_tools, |facts| &mut facts.parallel_tools),
    flag("penalties", |said| &mut said.penalties, |facts| &mut facts.penalties),
    flag("prefill", |said| &mut said.prefill, |facts| &mut facts.prefill),
    flag("rich_results", |said| &mut said.rich_results, |facts| &mut facts.rich_results),
    flag("sampling", |said| &mut said.sampling, |facts| &mut facts.sampling),
    flag("sampling_with_effort", |said| &mut said.sampling_with_effort, |facts| &mut facts.sampling_with_effort),
    flag("structured", |said| &mut said.structured, |facts| &mut facts.structured),
    flag("structured_with_tools", |said| &mut said.structured_with_tools, |facts| &mut facts.structured_with_tools),
    flag("thinks_unasked", |said| &mut said.thinks_unasked, |facts| &mut facts.thinks_unasked),
    flag("vision", |said| &mut said.vision, |facts| &mut facts.vision),
    flag("wants_thoughts", |said| &mut said.wants_thoughts, |facts| &mut facts.wants_thoughts),
];

const fn flag(name: &'static str, said: fn(&mut Said) -> &mut Option<bool>, fact: fn(&mut Facts) -> &mut bool) -> Flag {
    Flag { name, said, fact }
}

impl Said {
    /// The names of facts that are there or not.
    pub fn flags() -> impl Iterator<Item = &'static str> {
        FLAGS.iter().map(|flag| flag.name)
    }

    /// Says the fact of that name, one of [`flags`](Self::flags).
    pub fn set(&mut self, name: &str, on: bool) {
        if let Some(flag) = FLAGS.iter().find(|flag| flag.name == name) {
            *(flag.said)(self) = Some(on);
        }
    }

    /// What is said, into `model`.
    fn apply(&self, model: &mut Model) {
        let facts = &mut model.facts;
        let mut said = self.clone();
        for flag in &FLAGS {
            if let Some(on) = *(flag.said)(&mut said) {
                *(flag.fact)(facts) = on;
            }
        }
        facts.thinking = self.thinking.map_or(facts.thinking, Thinking::form);
        facts.least_budget = self.least_budget.unwrap_or(facts.least_budget);
        facts.most_budget = self.most_budget.unwrap_or(facts.most_budget);
        facts.max_output = self.max_output.unwrap_or(facts.max_output);
        facts.most_output = self.most_output.unwrap_or(facts.most_output);
        if let Some(words) = &self.efforts {
            let efforts: Vec<Effort> = words.iter().filter_map(|word| Effort::from_word(word)).collect();
            facts.efforts = Efforts::of(&efforts);
        }
        if !self.strip_fields.is_empty() {
            facts.strip = facts.strip.iter().chain(&self.strip_fields).cloned().collect();
        }
        model.responses = self.responses.unwrap_or(model.responses);
    }

    /// True if it says that a model takes less than its vendor's format has: requests are cut to it then, of that
    /// format's own clients too.
    fn narrows(&self) -> bool {
        let limits = self.most_output.is_some() || self.efforts.is_some();
        limits || [self.documents, self.parallel_tools, self.vision].contains(&Some(false))
    }
}

/// What `model` at a server of `kind` with `quirks` accepts. What the operator says of models of that name comes on top of
/// the table: `everywhere` before the quirks, `here` behind them, each with the least specific first.
#[must_use]
pub fn of<'s>(
    model: &str,
    kind: &str,
    quirks: &Quirks,
    everywhere: impl IntoIterator<Item = &'s Said>,
    here: impl IntoIterator<Item = &'s Said>,
) -> Model {
    let mut known = Model::default();
    let mut narrow = false;
    for said in find(None, model).into_iter().chain(find(Some(kind), model)) {
        said.apply(&mut known);
    }
    for said in everywhere {
        said.apply(&mut known);
        narrow |= said.narrows();
    }
    quirks.apply(&mut known.facts);
    for said in here {
        said.apply(&mut known);
        narrow |= said.narrows();
    }
    known.facts.exact &= !narrow;
    known
}

/// What the table says of `model` at any provider, or at one of `kind`.
fn find(kind: Option<&str>, model: &str) -> Option<&'static Said> {
    static ENTRIES: OnceLock<BTreeMap<String, Said>> = OnceLock::new();
    // The text is ours and a test reads it, so the fallback never runs.
    let entries = ENTRIES.get_or_init(|| serde_yaml::from_str(SOURCE).unwrap_or_default());
    // A part may say that it stands at a beginning: short names are in many others.
    let model = format!("/{model}");
    let dashed = model.replace('.', "-");
    let parts = entries.iter().filter_map(|(key, said)| {
        let (at, part) = key.split_once(AT).map_or((None, key.as_str()), |(at, part)| (Some(at), part));
        (at == kind).then_some((part, said))
    });
    let known = parts.filter(|(part, _)| model.contains(part) || dashed.contains(part));
    known.max_by_key(|(part, _)| part.len()).map(|(_, said)| said)
}

/// Between the name of a kind and the part of a name of models at its providers.
const AT: &str = "::";

/// The facts in which `model` differs from what any model of its format is taken for, as one would write them.
#[must_use]
pub fn lines(model: &Model) -> Vec<String> {
    let (mut facts, mut usual) = (model.facts.clone(), Facts::default());
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String, differs: bool| {
        if differs {
            lines.push(format!("{name}: {value}"));
        }
    };
    let word = Thinking::NAMED.into_iter().find(|(_, thinking)| thinking.form() == facts.thinking);
    line("thinking", word.map_or("", |(word, _)| word).to_owned(), facts.thinking != usual.thinking);
    let efforts: Vec<&str> = Effort::ALL.into_iter().filter(|e| facts.efforts.has(*e)).map(Effort::word).collect();
    line("efforts", format!("[{}]", efforts.join(", ")), facts.efforts != usual.efforts);
    line("least_budget", facts.least_budget.to_string(), facts.least_budget != usual.least_budget);
    line("most_budget", facts.most_budget.to_string(), facts.most_budget != usual.most_budget);
    line("max_output", facts.max_output.to_string(), facts.max_output != usual.max_output);
    line("most_output", facts.most_output.to_string(), facts.most_output != usual.most_output);
    let word = Responses::NAMED.into_iter().find(|(_, responses)| *responses == model.responses);
    line("responses", word.map_or("", |(word, _)| word).to_owned(), model.responses != Responses::Never);
    line("strip_fields", format!("[{}]", facts.strip.join(", ")), !facts.strip.is_empty());
    for flag in &FLAGS {
        let (is, was) = (*(flag.fact)(&mut facts), *(flag.fact)(&mut usual));
        line(flag.name, is.to_string(), is != was);
    }
    lines
}

#[cfg(test)]
mod tests {
    use tidegate_codec::FieldSet;

    use super::*;

    fn plain(model: &str) -> Model {
        of(model, "", &Quirks::default(), [], [])
    }

    #[test]
    fn the_table_is_sound() {
        let entries: BTreeMap<String, Said> = serde_yaml::from_str(SOURCE).unwrap();
        assert!(entries.len() > 10);
        for (name, said) in &entries {
            let words = said.efforts.iter().flatten();
            assert!(words.into_iter().all(|word| Effort::from_word(word).is_some()), "{name}: {:?}", said.efforts);
            assert!(said.strip_fields.iter().all(|field| Quirks::may_name(field)), "{name}");
        }
        for (kind, part) in entries.keys().filter_map(|name| name.split_once(AT)) {
            assert!(crate::provider::catalog::find(kind).is_some() && !part.is_empty(), "{kind}{AT}{part}");
        }
        assert!(Said::flags().collect::<Vec<_>>().is_sorted());
    }

    #[test]
    fn what_gemini_takes_of_sampling_is_by_model_and_by_cloud() {
        for (kind, model, penalties, logprobs, candidates) in [
            ("gemini", "gemini-2.0-flash", true, true, true),
            ("gemini", "gemini-2.5-flash", false, false, true),
            ("gemini", "gemini-2.5-pro", false, false, true),
            ("gemini", "gemini-3.1-pro-preview", false, false, false),
            ("gemini", "gemini-3.8-flash", false, false, false),
            ("gemini", "gemini-flash-latest", false, false, false),
            ("vertex", "gemini-2.5-flash", true, true, true),
            ("vertex", "gemini-3.1-pro-preview", true, false, true),
        ] {
            let facts = of(model, kind, &Quirks::default(), [], []).facts;
            let found = (facts.penalties, facts.logprobs, facts.candidates);
            assert_eq!(found, (penalties, logprobs, candidates), "{kind} {model}");
            assert!(facts.exact, "its own clients are left alone");
        }
        let said = Said { logprobs: Some(true), ..Said::default() };
        let facts = of("gemini-3.5-flash", "vertex", &Quirks::default(), [&said], []).facts;
        assert!(facts.logprobs && facts.penalties, "the operator's word counts more than the table's");
    }

    #[test]
    fn the_longest_part_of_a_name_counts() {
        assert_eq!(plain("claude-sonnet-4-5-20250929").facts.thinking, ThinkingForm::Budget);
        assert_eq!(plain("claude-opus-4-8").facts.thinking, ThinkingForm::Adaptive);
        assert!(!plain("anthropic/claude-opus-5-5").facts.forced_tool);
        assert_eq!(plain("nobody-knows-me"), Model::default());
        assert_eq!(plain("gpt-5.6-sol").responses, Responses::Tools);
        assert_eq!(plain("gpt-5.4").responses, Responses::ToolsWithReasoning);
        assert_eq!(plain("gpt-5").responses, Responses::Never);
    }

    #[test]
    fn models_of_anthropic_choose_their_words_by_themselves_from_opus_4_7_on() {
        for (model, sampling) in [
            ("claude-opus-4-6", true),
            ("claude-sonnet-4-6", true),
            ("claude-opus-4-7", false),
            ("us.anthropic.claude-opus-4-8-20260401-v1:0", false),
            ("claude-opus-5", false),
        ] {
            assert_eq!(plain(model).facts.sampling, sampling, "{model}");
        }
    }

    #[test]
    fn a_version_is_written_with_dots_or_dashes() {
        for (dotted, dashed) in [
            ("anthropic/claude-opus-4.6", "claude-opus-4-6"),
            ("claude-3.7-sonnet", "claude-3-7-sonnet"),
            ("claude-sonnet-5.5", "claude-sonnet-5-5"),
        ] {
            assert_eq!(plain(dotted), plain(dashed), "{dotted}");
        }
        assert_ne!(plain("gpt-5-1"), plain("gpt-5.1"), "a dot of a part stands for itself");
    }

    #[test]
    fn the_most_that_a_model_gives_is_known() {
        for (kind, model, most) in [
            ("", "claude-3-haiku-20240307", 4096),
            ("", "claude-opus-4-20250514", 32_000),
            ("", "claude-opus-4-1", 32_000),
            ("", "claude-sonnet-4-20250514", 64_000),
            ("", "claude-opus-4-5", 64_000),
            ("", "claude-opus-4-6", 128_000),
            ("openrouter", "anthropic/claude-opus-4.8", 128_000),
            ("", "claude-fable-5-2", 128_000),
            ("", "claude-mythos-preview", u64::MAX),
            ("", "gpt-4", u64::MAX),
            ("", "gpt-4-turbo", 4096),
            ("", "gpt-4o-mini", 16_384),
            ("", "gpt-4.1-nano", 32_768),
            ("", "gpt-5-mini", 128_000),
            ("", "o3-mini", 100_000),
            ("gemini", "gemini-2.5-flash", 65_536),
            ("vertex", "gemini-2.5-flash", 65_535),
            ("", "gemini-4-pro", u64::MAX),
        ] {
            let facts = of(model, kind, &Quirks::default(), [], []).facts;
            assert_eq!(facts.most_output, most, "{model}");
            assert!(facts.max_output <= most && facts.exact, "{model}");
        }
    }

    #[test]
    fn an_effort_is_one_that_the_vendors_models_know() {
        for (kind, model, asked, taken) in [
            ("mistral", "magistral-medium-latest", Effort::Max, Effort::High),
            ("mistral", "magistral-small-2509", Effort::Low, Effort::High),
            ("mistral", "mistral-medium-latest", Effort::Xhigh, Effort::High),
            ("mistral", "mistral-small-latest", Effort::None, Effort::None),
            ("vllm", "magistral-small-2509", Effort::Max, Effort::Max),
            ("perplexity", "sonar-deep-research", Effort::Max, Effort::High),
            ("perplexity", "sonar-reasoning-pro", Effort::None, Effort::Minimal),
            ("fireworks", "accounts/fireworks/models/kimi-k2p6", Effort::Xhigh, Effort::High),
            ("fireworks", "accounts/fireworks/models/glm-5p2", Effort::Xhigh, Effort::Max),
            ("fireworks", "accounts/fireworks/models/glm-5p2", Effort::Low, Effort::High),
            ("fireworks", "accounts/fireworks/models/minimax-m3", Effort::Max, Effort::High),
            ("fireworks", "accounts/fireworks/models/deepseek-v4-pro", Effort::Max, Effort::Max),
        ] {
            let facts = of(model, kind, &Quirks::default(), [], []).facts;
            assert_eq!(facts.efforts.nearest(asked), Some(taken), "{kind} {model} {asked:?}");
        }
    }

    #[test]
    fn an_effort_is_asked_of_models_of_xai_and_groq_that_take_one() {
        for (kind, model, asked, taken) in [
            ("xai", "grok-4", Effort::High, None),
            ("xai", "grok-4-fast-reasoning", Effort::Low, None),
            ("xai", "grok-4.20-0309-reasoning", Effort::High, None),
            ("xai", "grok-code-fast-1", Effort::None, None),
            ("xai", "grok-4.20-multi-agent", Effort::Max, Some(Effort::Xhigh)),
            ("xai", "grok-4.3-latest", Effort::None, Some(Effort::None)),
            ("xai", "grok-4.5", Effort::None, Some(Effort::Low)),
            ("xai", "grok-3-mini", Effort::Medium, Some(Effort::High)),
            ("groq", "qwen/qwen3-32b", Effort::High, None),
            ("groq", "qwen/qwen3.6-27b", Effort::None, Some(Effort::None)),
            ("groq", "openai/gpt-oss-120b", Effort::Xhigh, Some(Effort::High)),
            ("vllm", "qwen3-32b", Effort::Xhigh, Some(Effort::Xhigh)),
        ] {
            let facts = of(model, kind, &Quirks::default(), [], []).facts;
            assert_eq!(facts.efforts.nearest(asked), taken, "{kind} {model}");
            assert_ne!(facts.thinking, ThinkingForm::None, "{model}");
            assert_eq!(facts.strips("presence_penalty"), kind == "xai", "{model}");
        }
        assert_eq!(plain("grok-3-latest").facts.thinking, ThinkingForm::None);
        assert_eq!(plain("grok-4-1-fast-non-reasoning").facts.thinking, ThinkingForm::None);
    }

    #[test]
    fn models_that_do_not_reason_are_known() {
        for model in [
            "gpt-4o-mini",
            "openai/gpt-4.1",
            "chatgpt-4o-latest",
            "gpt-5-chat-latest",
            "llama-3.3-70b-versatile",
            "meta-llama/Llama-3.3-70B-Instruct-Turbo",
            "us.meta.llama3-3-70b-instruct-v1:0",
            "mistral-large-latest",
            "grok-4-fast-non-reasoning",
        ] {
            assert_eq!(plain(model).facts.thinking, ThinkingForm::None, "{model}");
        }
        for model in
            ["gpt-5", "o3", "gpt-oss-120b", "nvidia/llama-3.3-nemotron-super-49b", "DeepSeek-R1-Distill-Llama-70B"]
        {
            assert_ne!(plain(model).facts.thinking, ThinkingForm::None, "{model}");
        }
    }

    #[test]
    fn newer_models_of_openai_choose_their_words_by_themselves_where_they_think() {
        for (model, unasked, told_not_to, asked) in [
            ("gpt-4.1", true, true, true),
            ("gpt-5-mini", false, false, false),
            ("gpt-5.1", true, true, false),
            ("gpt-5.4-mini", true, true, false),
            ("gpt-5.5", false, true, false),
            ("gpt-5.6-sol", false, true, false),
            ("gpt-5.3-codex", false, false, false),
            ("gpt-5.2-chat-latest", false, false, false),
            ("gpt-6", false, false, false),
            ("gpt-6-luna", false, true, false),
        ] {
            let facts = plain(model).facts;
            let taken = [None, Some(Effort::None), Some(Effort::Low)].map(|effort| facts.takes_sampling(effort));
            assert_eq!(taken, [unasked, told_not_to, asked], "{model}");
        }
    }

    #[test]
    fn what_is_asked_by_responses_alone_is_so_at_its_vendor_only() {
        for (kind, model, responses) in [
            ("openai", "gpt-5.3-codex", Responses::Always),
            ("openai", "o1-pro", Responses::Always),
            ("openai", "o3-pro-2025-06-10", Responses::Always),
            ("openai", "o3-deep-research", Responses::Always),
            ("openai", "o4-mini-deep-research-2025-06-26", Responses::Always),
            ("openai", "gpt-5.4-pro", Responses::Always),
            ("openai", "o3", Responses::Never),
            ("openrouter", "openai/o3-pro", Responses::Never),
            ("azure", "gpt-5.1-codex-max", Responses::Always),
            ("openai", "gpt-5-pro-2025-10-06", Responses::Always),
            ("openai", "gpt-5.3", Responses::Never),
            ("openai-compatible", "gpt-5.3-codex", Responses::Never),
            ("openrouter", "openai/gpt-5-codex", Responses::Never),
        ] {
            assert_eq!(of(model, kind, &Quirks::default(), [], []).responses, responses, "{kind} {model}");
        }
    }

    #[test]
    fn models_of_openai_that_reason_take_no_stop_texts() {
        let low_to_high = Efforts::of(&[Effort::Low, Effort::Medium, Effort::High]);
        for model in ["o1", "o3-mini", "openai/o3", "o4-mini-2025-04-16"] {
            let facts = plain(model).facts;
            assert!(facts.strips("stop") && !facts.sampling && facts.efforts == low_to_high, "{model}");
        }
        for model in ["gpt-5", "gpt-5-mini", "gpt-5.1", "gpt-5.5", "gpt-5.6-sol", "gpt-6"] {
            assert!(plain(model).facts.strips("stop"), "{model}");
        }
        assert!(plain("gpt-5.2").facts.sampling && !plain("gpt-5-nano").facts.sampling);
        for model in ["gpt-4o", "gpt-5-chat-latest", "olmo3-7b", "yo1", "marco-o1"] {
            let facts = plain(model).facts;
            assert!(!facts.strips("stop") && facts.sampling, "{model}");
        }
        assert_eq!(
            (plain("gemini-2.5-pro").facts.most_budget, plain("gemini-2.5-flash").facts.most_budget),
            (32_768, 24_576)
        );
    }

    #[test]
    fn deepseek_is_told_not_to_think_by_a_field_of_its_own() {
        let quirks = crate::provider::catalog::find("deepseek").unwrap().quirks();
        for (model, switch) in [
            ("deepseek-v4-pro", Some("thinking")),
            ("deepseek-chat", Some("thinking")),
            // It always does.
            ("deepseek-reasoner", None),
        ] {
            let facts = of(model, "deepseek", &quirks, [], []).facts;
            assert_eq!(facts.off_switch().map(|(key, _)| key), switch, "{model}");
        }
        let always = of("deepseek-reasoner", "deepseek", &quirks, [], []).facts;
        assert_eq!(always.efforts.nearest(Effort::None), Some(Effort::Minimal));
    }

    #[test]
    fn quirks_go_before_the_table_and_the_operator_before_quirks() {
        let quirks = Quirks { legacy_max_tokens: true, no_stream_options: true, ..Quirks::default() };
        let facts = of("gpt-5", "", &quirks, [], []).facts;
        assert!(facts.legacy_max_tokens && !facts.stream_options && !facts.exact);
        assert_eq!(facts.fields, FieldSet::All);
        let compatible = Quirks { compatible: true, no_images: true, ..Quirks::default() };
        let facts = of("claude-opus-4-8", "", &compatible, [], []).facts;
        assert_eq!((facts.fields, facts.vision, facts.custom_tools), (FieldSet::Core, false, false));
        let said = Said { vision: Some(true), max_output: Some(7), ..Said::default() };
        assert!(
            !of("m", "", &compatible, [&said], []).facts.vision,
            "what is said everywhere is not said of this server"
        );
        let facts = of("m", "", &compatible, [], [&said]).facts;
        assert_eq!((facts.vision, facts.max_output), (true, 7));
        let again = Said { max_output: Some(8), ..Said::default() };
        assert_eq!(of("m", "", &compatible, [&said], [&said, &again]).facts.max_output, 8);
    }

    #[test]
    fn requests_are_cut_where_a_model_is_said_to_take_less() {
        assert!(plain("gpt-4").facts.exact, "the vendor's own clients are left alone");
        for said in [
            Said { vision: Some(false), ..Said::default() },
            Said { most_output: Some(9), ..Said::default() },
            Said { efforts: Some(vec!["low".to_owned()]), ..Said::default() },
        ] {
            assert!(!of("gpt-4", "", &Quirks::default(), [], [&said]).facts.exact, "{said:?}");
        }
        let said = Said { max_output: Some(9), vision: Some(true), ..Said::default() };
        assert!(of("gpt-4", "", &Quirks::default(), [&said], []).facts.exact);
    }

    #[test]
    fn facts_are_shown_as_they_are_written() {
        assert!(lines(&Model::default()).is_empty());
        let said = Said {
            thinking: Some(Thinking::Budget),
            efforts: Some(vec!["high".to_owned(), "low".to_owned()]),
            responses: Some(Responses::Always),
            vision: Some(false),
            strip_fields: vec!["seed".to_owned()],
            ..Said::default()
        };
        let shown = lines(&of("m", "", &Quirks::default(), [&said], []));
        let expected =
            ["thinking: budget", "efforts: [low, high]", "responses: always", "strip_fields: [seed]", "vision: false"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_detour_is_for_tools_and_reasoning() {
        let check = |responses: Responses, tools: bool, reasoning: Option<bool>, goes: bool| {
            let found = responses.detour(Format::OpenaiChat, || (tools, reasoning));
            assert_eq!(found, goes.then_some(Format::OpenaiResponses), "{responses:?} {tools} {reasoning:?}");
            assert_eq!(responses.detour(Format::AnthropicMessages, || (tools, reasoning)), None);
        };
        for (tools, reasoning) in
            [(false, None), (false, Some(true)), (true, None), (true, Some(true)), (true, Some(false))]
        {
            check(Responses::Never, tools, reasoning, false);
            check(Responses::Always, tools, reasoning, true);
            check(Responses::ToolsWithReasoning, tools, reasoning, tools && reasoning == Some(true));
            check(Responses::Tools, tools, reasoning, tools && reasoning != Some(false));
        }
    }
}

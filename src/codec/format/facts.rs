//! What a model and its server accept, as data.

use std::sync::Arc;

use crate::hub::Effort;

/// What a model and its server accept, as data. The default is the newest behaviour of the format's own vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "a table of independent facts")]
pub struct Facts {
    /// Tokens asked for where the format demands a limit and the client gave none.
    pub max_output: u64,
    /// How thinking is asked for (Anthropic, Gemini).
    pub thinking: ThinkingForm,
    /// Takes `temperature`, `top_p`, `top_k` (`OpenAI`: penalties and log probabilities, too).
    pub sampling: bool,
    /// Takes them where it is asked to think, too (`OpenAI`).
    pub sampling_with_effort: bool,
    /// Thinks where nothing is said of it, and not only where it is asked to.
    pub thinks_unasked: bool,
    /// Refuses earlier calls of tools without the reasoning that led to them (chat).
    pub wants_thoughts: bool,
    /// Can be made to call a tool (`any`, a named one).
    pub forced_tool: bool,
    /// Continues an assistant turn that the client began.
    pub prefill: bool,
    /// Takes `role: "system"` in the middle of the conversation (Anthropic).
    pub mid_system: bool,
    /// Takes a JSON schema for the answer.
    pub structured: bool,
    /// Knows the role `developer` (chat).
    pub developer_role: bool,
    /// Wants `max_tokens`, not `max_completion_tokens` (chat).
    pub legacy_max_tokens: bool,
    /// Takes `stream_options` (chat).
    pub stream_options: bool,
    /// Takes custom tools (chat).
    pub custom_tools: bool,
    /// Takes `prompt_cache_breakpoint` on parts (chat).
    pub cache_breakpoints: bool,
    /// Takes JSON Schema as it is; else only the vendor's own dialect of it (Gemini).
    pub json_schema: bool,
    /// Takes a schema for the answer beside tools (Gemini).
    pub structured_with_tools: bool,
    /// Takes images and documents in a tool's result (Gemini).
    pub rich_results: bool,
    /// Counts tokens of fields at the top of a request, and of no request as a whole (Gemini).
    pub flat_counts: bool,
    /// Takes penalties other than 0 (Gemini).
    pub penalties: bool,
    /// Tells log probabilities (Gemini).
    pub logprobs: bool,
    /// Gives several answers to one request (Gemini).
    pub candidates: bool,
    /// Fewest tokens that thinking can be held to; 0 where it can be turned off (Gemini).
    pub least_budget: u64,
    /// Most tokens that thinking can be held to (Gemini).
    pub most_budget: u64,
    /// Takes the extensions of `OpenAI`-compatible servers: `top_k`, `reasoning_content` of earlier turns (chat).
    pub compatible_extensions: bool,
    /// Which fields of its format it takes (Anthropic).
    pub fields: FieldSet,
    /// The items of the beta header that it takes; `None` for all (Anthropic).
    pub betas: Option<Arc<[String]>>,
    /// Requests of the server's own format pass as they came, but for [`strip`](Self::strip) and
    /// [`rename`](Self::rename): it is for the format's own vendor to say what is wrong with them.
    pub exact: bool,
    /// Sees images.
    pub vision: bool,
    /// Reads documents: files, not texts that are called so.
    pub documents: bool,
    /// Takes the wish for one call at a time (`parallel_tool_calls`).
    pub parallel_tools: bool,
    /// Takes names of speakers (chat).
    pub names: bool,
    /// How it can be told to use tools.
    pub tool_choice: ToolChoices,
    /// Forms of an answer that it can be asked for.
    pub answers: AnswerForms,
    /// Where reasoning of earlier turns goes; `None` where the format's own rule holds (chat).
    pub reasoning_field: Option<ReasoningField>,
    /// The field by which it is told not to think (chat).
    pub thinking_off: ThinkingOff,
    /// Ids of tool calls that it takes.
    pub tool_ids: ToolIds,
    /// Efforts that it knows.
    pub efforts: Efforts,
    /// Most tokens that it gives; a greater limit is lowered.
    pub most_output: u64,
    /// Top-level request fields that it refuses: they go, and are reported.
    pub strip: Arc<[String]>,
    /// Top-level request fields that it calls otherwise, by the format's name.
    pub rename: Arc<[(String, String)]>,
}

impl Facts {
    /// True if the request field `key` must go.
    #[must_use]
    pub fn strips(&self, key: &str) -> bool {
        self.strip.iter().any(|name| name == key)
    }

    /// What the server calls the request field `key`, if it is another name.
    #[must_use]
    pub fn new_name(&self, key: &str) -> Option<&str> {
        self.rename.iter().find(|(own, _)| own == key).map(|(_, name)| name.as_str())
    }

    /// The field that tells it not to think, and its JSON, where that is none of its efforts.
    #[must_use]
    pub fn off_switch(&self) -> Option<(&'static str, &'static str)> {
        if matches!(self.thinking, ThinkingForm::None | ThinkingForm::Always) {
            return None;
        }
        match self.thinking_off {
            ThinkingOff::Effort => None,
            ThinkingOff::Thinking => Some(("thinking", r#"{"type":"disabled"}"#)),
            ThinkingOff::EnableThinking => Some(("enable_thinking", "false")),
        }
    }

    /// True if it can be told how to choose its words where it is asked for `effort`.
    #[must_use]
    pub fn takes_sampling(&self, effort: Option<Effort>) -> bool {
        let thinks = effort.map_or(self.thinks_unasked, |effort| effort != Effort::None);
        self.sampling && (self.sampling_with_effort || !thinks)
    }

    /// True for an item of the beta header that the server takes.
    #[must_use]
    pub fn takes_beta(&self, item: &str) -> bool {
        self.betas.as_ref().is_none_or(|betas| betas.iter().any(|beta| beta == item))
    }
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            max_output: 8192,
            thinking: ThinkingForm::Adaptive,
            sampling: true,
            sampling_with_effort: true,
            thinks_unasked: false,
            wants_thoughts: false,
            forced_tool: true,
            prefill: true,
            mid_system: true,
            structured: true,
            developer_role: true,
            legacy_max_tokens: false,
            stream_options: true,
            custom_tools: true,
            cache_breakpoints: true,
            json_schema: true,
            structured_with_tools: true,
            rich_results: true,
            flat_counts: false,
            penalties: true,
            logprobs: true,
            candidates: true,
            least_budget: 0,
            most_budget: 24_576,
            compatible_extensions: false,
            fields: FieldSet::All,
            betas: None,
            exact: true,
            vision: true,
            documents: true,
            parallel_tools: true,
            names: true,
            tool_choice: ToolChoices::All,
            answers: AnswerForms::Schema,
            reasoning_field: None,
            thinking_off: ThinkingOff::Effort,
            tool_ids: ToolIds::Portable,
            efforts: Efforts::ALL,
            most_output: u64::MAX,
            strip: Arc::default(),
            rename: Arc::default(),
        }
    }
}

/// Which fields of a format a server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldSet {
    /// All of them, the unfinished too: the format's own vendor.
    All,
    /// Those that every server of the format knows; a request with another one is refused.
    Core,
}

/// How a model is asked to think (Anthropic; Gemini: a budget, or a level for the adaptive forms).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ThinkingForm {
    /// It does not think.
    None,
    /// `enabled` with `budget_tokens`.
    Budget,
    /// `adaptive` with `output_config.effort`; `disabled` turns it off.
    Adaptive,
    /// As `Adaptive`, but it cannot be turned off.
    Always,
}

/// How a server can be told to use tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ToolChoices {
    /// In every way of its format.
    #[default]
    All,
    /// Freely, not at all, or at least one; none by name.
    Unnamed,
    /// Freely or not at all.
    Auto,
}

/// Forms of an answer that a server can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AnswerForms {
    /// JSON by a schema, any JSON object, or words; whether a *model* takes a schema is [`Facts::structured`].
    #[default]
    Schema,
    /// Any JSON object, or words: a schema is asked for in words.
    Object,
    /// Words: JSON is asked for in words.
    Text,
}

/// Ids of tool calls that a server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ToolIds {
    /// Those that every vendor of a format takes, see [`crate::hub::ids`].
    #[default]
    Portable,
    /// Nine letters and digits, no more and no less (Mistral).
    Alnum9,
}

/// The message field that reasoning of earlier turns goes into (chat).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReasoningField {
    /// None: the server refuses it.
    None,
    /// `reasoning_content`
    ReasoningContent,
    /// `reasoning`
    Reasoning,
}

/// The field by which a server is told not to think (chat).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ThinkingOff {
    /// `reasoning_effort`, where a model knows the effort `none`.
    #[default]
    Effort,
    /// `thinking: {type: disabled}`
    Thinking,
    /// `enable_thinking: false`
    EnableThinking,
}

/// A set of efforts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Efforts(u8);

impl Efforts {
    /// Every effort: that of a model of which nothing else is known.
    pub const ALL: Self = Self(u8::MAX);

    /// The set of these.
    #[must_use]
    pub fn of(efforts: &[Effort]) -> Self {
        Self(efforts.iter().fold(0, |set, effort| set | bit(*effort)))
    }

    /// True if the effort is one of them.
    #[must_use]
    pub fn has(self, effort: Effort) -> bool {
        self.0 & bit(effort) != 0
    }

    /// The one nearest to `asked`, of two the greater; who asks for thinking is not given [`Effort::None`]. `None` where
    /// there is none at all.
    #[must_use]
    pub fn nearest(self, asked: Effort) -> Option<Effort> {
        let away = |effort: &Effort| (*effort as u8).abs_diff(asked as u8);
        let fits = |effort: &Effort| self.has(*effort) && (*effort != Effort::None || asked == Effort::None);
        Effort::ALL.into_iter().rev().filter(fits).min_by_key(away)
    }
}

fn bit(effort: Effort) -> u8 {
    1 << effort as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_effort_is_taken() {
        let levels = Efforts::of(&[Effort::Low, Effort::High, Effort::Max]);
        for (asked, taken) in [
            (Effort::None, Effort::Low),
            (Effort::Low, Effort::Low),
            (Effort::Medium, Effort::High),
            (Effort::Xhigh, Effort::Max),
            (Effort::Max, Effort::Max),
        ] {
            assert_eq!(levels.nearest(asked), Some(taken), "{asked:?}");
        }
        assert_eq!(Efforts::of(&[]).nearest(Effort::Low), None);
        let switch = Efforts::of(&[Effort::None]);
        assert_eq!((switch.nearest(Effort::None), switch.nearest(Effort::Minimal)), (Some(Effort::None), None));
        let few = Efforts::of(&[Effort::None, Effort::High]);
        assert_eq!(few.nearest(Effort::Minimal), Some(Effort::High), "thinking is not turned off unasked");
        assert!(Effort::ALL.into_iter().all(|effort| Efforts::ALL.nearest(effort) == Some(effort)));
    }
}

//! A request.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use super::block::{Block, BlockKind, CacheMark, Extra, Turn};
use super::error::Refusal;
use super::loss::Field;
use super::tool::{Tool, ToolMode, ToolPolicy};
use crate::Format;
use crate::json::{Json, Text};

/// What a client asks of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Request<'a> {
    /// Where it comes from.
    pub origin: Origin<'a>,
    /// The model's name, as the client wrote it.
    pub model: Cow<'a, str>,
    /// The operator's words before the conversation, one block a part.
    pub instructions: Vec<Block<'a>>,
    /// The conversation.
    pub turns: Vec<Turn<'a>>,
    /// What the model may call.
    pub tools: Vec<Tool<'a>>,
    /// What a search among tools found in the course of the conversation. It stands there for who knows such searches;
    /// others are offered it from the start.
    pub found_tools: Vec<Tool<'a>>,
    /// Whether it may, must or must not call them.
    pub tool_policy: ToolPolicy<'a>,
    /// Where it must stop.
    pub limits: Limits<'a>,
    /// How it chooses words.
    pub sampling: Sampling<'a>,
    /// The form of the answer.
    pub output: OutputSpec<'a>,
    /// `verbosity`.
    pub verbosity: Option<Verbosity>,
    /// How much it thinks.
    pub reasoning: Reasoning,
    /// Prompt caching of the whole request.
    pub cache: CacheSpec<'a>,
    /// Priority of processing.
    pub tier: Option<Tier>,
    /// What is to be moderated and how, raw: the formats of OpenAI say it alike.
    pub moderation: Vec<Extra<'a>>,
    /// On whose behalf.
    pub identity: Identity<'a>,
    /// What the provider shall remember.
    pub state: State<'a>,
    /// A stream is wanted; `None` for a whole answer.
    pub stream: Option<StreamSpec>,
    /// Fields that the hub has no place for.
    pub extras: Vec<Extra<'a>>,
    /// What the client said in words that only some servers of its format know (`random_seed`, `thinking`) and that
    /// the fields above hold already. A writer of the same format says it in these words again, in place of the
    /// fields; to others they are nothing.
    pub native: Vec<Extra<'a>>,
    /// Bytes of the body that the conversation takes, which is most of it: who looks for something else passes over them.
    /// Empty where that is not known.
    pub span: Range<usize>,
}

impl<'a> Request<'a> {
    /// An empty request of `origin`.
    #[must_use]
    pub fn new(origin: Origin<'a>) -> Self {
        Self {
            origin,
            model: Cow::Borrowed(""),
            instructions: Vec::new(),
            turns: Vec::new(),
            tools: Vec::new(),
            found_tools: Vec::new(),
            tool_policy: ToolPolicy::default(),
            limits: Limits::default(),
            sampling: Sampling::default(),
            output: OutputSpec::Text,
            verbosity: None,
            reasoning: Reasoning::default(),
            cache: CacheSpec::default(),
            tier: None,
            moderation: Vec::new(),
            identity: Identity::default(),
            state: State::default(),
            stream: None,
            extras: Vec::new(),
            native: Vec::new(),
            span: 0..0,
        }
    }

    /// True if the client said anything of that class in a field of the request; of classes that are no such fields
    /// it is always true.
    #[must_use]
    pub fn says(&self, field: Field) -> bool {
        let sampling = &self.sampling;
        match field {
            Field::MaxOutput => self.limits.max_output.is_some(),
            Field::Stop => !self.limits.stop.is_empty(),
            Field::Temperature => sampling.temperature.is_some(),
            Field::TopP => sampling.top_p.is_some(),
            Field::TopK => sampling.top_k.is_some(),
            Field::Seed => sampling.seed.is_some(),
            Field::PresencePenalty => sampling.presence_penalty.is_some(),
            Field::FrequencyPenalty => sampling.frequency_penalty.is_some(),
            Field::LogitBias => sampling.logit_bias.is_some(),
            Field::N => sampling.n.is_some(),
            Field::Logprobs => sampling.logprobs.is_some() || sampling.top_logprobs.is_some(),
            Field::Prediction => sampling.prediction.is_some(),
            Field::ToolChoice => self.tool_policy.mode.is_some(),
            Field::ParallelTools => self.tool_policy.parallel.is_some(),
            Field::Output => self.output != OutputSpec::Text,
            Field::Verbosity => self.verbosity.is_some(),
            Field::Reasoning => self.reasoning != Reasoning::default(),
            Field::Tier => self.tier.is_some(),
            Field::Identity => self.identity.user.is_some() || self.identity.safety_id.is_some(),
            Field::Metadata => self.identity.metadata.is_some(),
            Field::Store => self.state.store.is_some(),
            Field::StreamOptions => self.stream.is_some_and(|stream| stream != StreamSpec::default()),
            _ => true,
        }
    }
}

impl Request<'_> {
    /// Offers the tools that were found among the others, but for those that are among them already.
    pub fn offer_found_tools(&mut self) {
        let mut known: BTreeSet<String> = self.tools.iter().filter_map(Tool::name).map(str::to_owned).collect();
        let found = std::mem::take(&mut self.found_tools).into_iter();
        self.tools.extend(found.filter(|tool| tool.name().is_some_and(|name| known.insert(name.to_owned()))));
    }

    /// Leaves out tools that only providers of another format than `to` run, where the client has tools of its own beside
    /// them and asks for none of those by name or in a way that the hub has no word for: agents offer such tools with every
    /// request, and can do without. The place of each goes to `left_out`.
    pub fn leave_out_hosted(&mut self, to: Format, left_out: &mut dyn FnMut(usize)) {
        let asks_otherwise = self.extras.iter().any(|extra| extra.field == Field::ToolChoice);
        let goes_on = match &self.tool_policy.mode {
            Some(ToolMode::Named { name, .. }) => self.tools.iter().any(|tool| tool.name() == Some(name.as_ref())),
            _ => self.tools.iter().any(|tool| tool.name().is_some()),
        };
        if !goes_on || asks_otherwise {
            return;
        }
        self.tools.retain(|tool| match tool {
            Tool::Server { format, by_client: false, at, .. } if *format != to => {
                left_out(*at);
                false
            }
            _ => true,
        });
    }

    /// Whether `wanted` holds for a part of the request, in a tool's result too.
    #[must_use]
    pub fn has_block(&self, wanted: impl Fn(&BlockKind<'_>) -> bool) -> bool {
        let spoken = self.turns.iter().flat_map(|turn| &turn.blocks);
        self.instructions.iter().chain(spoken).any(|block| {
            wanted(&block.kind)
                || matches!(&block.kind, BlockKind::ToolResult { content, .. }
                    if content.iter().any(|block| wanted(&block.kind)))
        })
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The client's format.
    pub format: Format,
    /// `anthropic-version`, where the format has one.
    pub api_version: Option<Cow<'a, str>>,
    /// The items of `anthropic-beta`.
    pub betas: Vec<Cow<'a, str>>,
}

/// Where an answer must stop.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Limits<'a> {
    /// Tokens, thinking included.
    pub max_output: Option<u64>,
    /// Texts that end the answer.
    pub stop: Vec<Text<'a>>,
}

/// How words are chosen. Numbers keep their text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sampling<'a> {
    /// 0 to 2 (Anthropic: to 1).
    pub temperature: Option<Json<'a>>,
    /// 0 to 1.
    pub top_p: Option<Json<'a>>,
    /// A whole number.
    pub top_k: Option<Json<'a>>,
    /// A whole number.
    pub seed: Option<Json<'a>>,
    /// -2 to 2.
    pub presence_penalty: Option<Json<'a>>,
    /// -2 to 2.
    pub frequency_penalty: Option<Json<'a>>,
    /// Token id to bias, an object.
    pub logit_bias: Option<Json<'a>>,
    /// Answers wanted.
    pub n: Option<u64>,
    /// Log probabilities wanted.
    pub logprobs: Option<bool>,
    /// Alternatives per token, 0 to 20.
    pub top_logprobs: Option<u64>,
    /// A prediction of the answer, an object.
    pub prediction: Option<Json<'a>>,
}

impl Sampling<'_> {
    /// Whether log probabilities are wanted, for formats that take no number of alternatives without that.
    #[must_use]
    pub fn wants_logprobs(&self) -> Option<bool> {
        self.logprobs.or(self.top_logprobs.filter(|top| *top > 0).map(|_| true))
    }
}

/// The form of the answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum OutputSpec<'a> {
    /// Words.
    #[default]
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON by a schema.
    JsonSchema {
        /// Name of the schema; `^[A-Za-z0-9_-]{1,64}$`.
        name: Option<Text<'a>>,
        /// The schema.
        schema: Option<Json<'a>>,
        /// To the letter.
        strict: Strict,
        /// What the answer is for.
        description: Option<Text<'a>>,
    },
}

/// Whether an answer is held to its schema to the letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strict {
    /// Nothing is said of it.
    #[default]
    Unsaid,
    /// The client says so, or that it is not.
    Said(bool),
    /// It always is in the client's format, which has no word for it.
    Always,
}

impl From<Option<bool>> for Strict {
    fn from(said: Option<bool>) -> Self {
        said.map_or(Self::Unsaid, Self::Said)
    }
}

impl OutputSpec<'_> {
    /// This form in another format than the client's: JSON by a schema that is not there is some JSON object.
    #[must_use]
    pub fn elsewhere(&self) -> &Self {
        const SOME: &OutputSpec<'static> = &OutputSpec::JsonObject;
        if matches!(self, Self::JsonSchema { schema: None, .. }) { SOME } else { self }
    }
}

/// How long an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verbosity {
    /// `low`
    Low,
    /// `medium`
    Medium,
    /// `high`
    High,
}

/// How much the model thinks, and what is shown of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reasoning {
    /// In words.
    pub effort: Option<Effort>,
    /// In tokens.
    pub budget: Option<u64>,
    /// The form in which the client asked.
    pub form: Option<ReasoningForm>,
    /// The reasoning's text is wanted (`display: summarized`); `Some(false)` for `omitted`.
    pub show: Option<bool>,
}

/// Effort in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effort {
    /// `none`
    None,
    /// `minimal`
    Minimal,
    /// `low`
    Low,
    /// `medium`
    Medium,
    /// `high`
    High,
    /// `xhigh`
    Xhigh,
    /// `max`
    Max,
}

impl Effort {
    /// Every effort, least first.
    pub const ALL: [Self; 7] = [Self::None, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::Xhigh, Self::Max];

    /// The word that all formats use.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// The effort that `word` names.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effort| effort.word() == word)
    }
}

/// The form in which a client asked for thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReasoningForm {
    /// `thinking: {type: disabled}`
    Disabled,
    /// `thinking: {type: adaptive}`
    Adaptive,
    /// `thinking: {type: enabled, budget_tokens}`
    Budget,
}

/// Prompt caching of the whole request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CacheSpec<'a> {
    /// `prompt_cache_key`.
    pub key: Option<Text<'a>>,
    /// The last cacheable block is marked (top-level `cache_control`).
    pub auto: Option<CacheMark>,
    /// `prompt_cache_retention` or `prompt_cache_options`, raw, with its key.
    pub options: Vec<Extra<'a>>,
}

/// Priority of processing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// The account decides.
    Auto,
    /// Neither faster nor cheaper.
    Standard,
    /// Slower and cheaper.
    Flex,
    /// `scale`
    Scale,
    /// Faster and dearer.
    Priority,
    /// `fast`
    Fast,
}

/// On whose behalf a request is made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Identity<'a> {
    /// `user`, deprecated by its vendor.
    pub user: Option<Text<'a>>,
    /// `safety_identifier`, or `metadata.user_id` of Anthropic.
    pub safety_id: Option<Text<'a>>,
    /// `metadata`, an object of strings.
    pub metadata: Option<Json<'a>>,
}

/// What the provider shall remember, and what it is to remember of before.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State<'a> {
    /// `store`.
    pub store: Option<bool>,
    /// What the request leans on and only its own provider keeps: `previous_response_id`, `conversation`, a stored
    /// prompt, work in the background, items by reference. It goes on to a provider of the same format; without it
    /// the model would see another conversation, so that no other format may go on.
    pub kept: Vec<Extra<'a>>,
    /// A conversation that the provider keeps as it grows (`thread`): once begun, a request holds only what is new of
    /// it. As with what is [`kept`](Self::kept) no other format may go on, and its clients know how to go on without.
    pub thread: Option<Extra<'a>>,
    /// What the request asks for that only a provider of its own format can do. It goes on to such a one as what it is, a
    /// field or an item.
    pub asked: Vec<Asked<'a>>,
}

/// Something that only a provider of the client's own format can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The field or item that asks for it.
    pub key: Cow<'a, str>,
    /// The code of the refusal elsewhere.
    pub code: &'static str,
    /// Byte offset in the body.
    pub at: usize,
}

/// The code of a refusal of a thread: at this the vendor's SDKs send the whole conversation instead.
pub const THREAD_UNSUPPORTED: &str = "thread_unsupported_request";

impl State<'_> {
    /// Refuses the request where it leans on what another provider keeps; for every writer of another format.
    ///
    /// # Errors
    ///
    /// It does.
    pub fn refuse_elsewhere(&self) -> Result<(), Refusal> {
        self.refuse_thread()?;
        if let Some(asked) = self.asked.first() {
            let message = format!(
                "`{}` asks for what only providers of its own format do, and this model is another's: remove it, or choose \
                 such a model",
                asked.key
            );
            return Err(Refusal::at(asked.at, message).with_code(asked.code));
        }
        let Some(extra) = self.kept.first() else { return Ok(()) };
        // How libraries are told to do so.
        let how = if extra.key == "item_reference" { ", as libraries do with `store: false`" } else { "" };
        let message = format!(
            "`{}` stands for what only the provider that keeps it can look up, and this model is another provider's: send \
             the whole conversation in the request instead{how}",
            extra.key
        );
        Err(Refusal::at(extra.at, message).with_code("unsupported_parameter"))
    }

    /// Refuses a thread, for a provider that keeps none.
    ///
    /// # Errors
    ///
    /// There is one.
    pub fn refuse_thread(&self) -> Result<(), Refusal> {
        let Some(thread) = &self.thread else { return Ok(()) };
        let message = "this model's provider keeps no threads: send the whole conversation without `thread`";
        Err(Refusal::at(thread.at, message).with_code(THREAD_UNSUPPORTED))
    }
}

/// How a stream is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamSpec {
    /// Usage in a chunk of its own before the end.
    pub include_usage: bool,
    /// `include_obfuscation`.
    pub obfuscation: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_e17_what_another_provider_keeps_is_refused_by_name() {
        assert_eq!(State::default().refuse_elsewhere(), Ok(()));
        let key = Cow::Borrowed("previous_response_id");
        let extra = Extra { field: Field::Store, key, value: Json::from_valid("\"resp_1\""), at: 7 };
        let refusal = State { kept: vec![extra], ..State::default() }.refuse_elsewhere().unwrap_err();
        assert_eq!((refusal.at, refusal.code), (Some(7), Some("unsupported_parameter")));
        assert!(refusal.message.contains("previous_response_id"));
    }
}

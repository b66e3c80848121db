//! Fields that the vendor's API does not have, but servers that speak like it do.
//!
//! How much a model shall think is said in many ways. Where a request says it twice, the format's own field comes
//! first, then what stands nearest to it:
//!
//! 1. `reasoning_effort`
//! 2. `reasoning: {effort, max_tokens, enabled, exclude}`, `include_reasoning` (`OpenRouter`)
//! 3. `thinking: {type, budget_tokens}` (`DeepSeek`, GLM, Kimi, Doubao)
//! 4. `enable_thinking`, `thinking_budget`, `chat_template_kwargs`, `reasoning_format` (Qwen, vLLM, `SGLang`, Groq)
//!
//! Each attribute (effort, budget, form, display) is the first that is said; a wish that is opposed to an earlier one
//! (off, where that one says on) is left out. Either, and one that says another effort, budget or display, is reported. A
//! provider of the same format gets all of them as they came.

use std::borrow::Cow;

use super::wire::{keep, loose_count, loose_text, read_cache_mark};
use crate::format::told::beside_mark;
use crate::hub::{Effort, Extra, Field, Reasoning, ReasoningForm, Refusal, Request};
use crate::json::{Cursor, Json, JsonError, Kind};

const ABOUT_THINKING: [&str; 8] = [
    "reasoning_effort",
    "reasoning",
    "include_reasoning",
    "thinking",
    "enable_thinking",
    "thinking_budget",
    "chat_template_kwargs",
    "reasoning_format",
];

/// What the request says about thinking, wish by wish.
#[derive(Debug, Default)]
pub(super) struct Wishes<'a> {
    list: Vec<Wish<'a>>,
}

/// One of the spellings.
#[derive(Debug)]
struct Wish<'a> {
    /// Place in the order of precedence.
    rank: u8,
    asked: Reasoning,
    said: Extra<'a>,
}

impl Wish<'_> {
    /// On or off; `None` if it says neither.
    fn is_on(&self) -> Option<bool> {
        let Reasoning { effort, budget, form, .. } = &self.asked;
        match (effort, budget, form) {
            (Some(Effort::None), ..) | (_, Some(0), _) | (.., Some(ReasoningForm::Disabled)) => Some(false),
            (None, None, None) => None,
            _ => Some(true),
        }
    }
}

impl<'a> Wishes<'a> {
    /// Reads the field `key` if it is about thinking; `false` if it is not.
    pub(super) fn field(
        &mut self,
        key: &str,
        value: &mut Cursor<'a>,
        extras: &mut Vec<Extra<'a>>,
    ) -> Result<bool, Refusal> {
        if !ABOUT_THINKING.contains(&key) {
            return Ok(false);
        }
        let mut asked = Reasoning::default();
        let (at, json) = (value.offset(), value.clone().json()?);
        let rank = match key {
            "reasoning_effort" => {
                asked.effort = effort(value)?;
                1
            }
            "reasoning" if value.peek()? == Kind::Object => {
                reasoning(value, &mut asked, extras)?;
                2
            }
            "include_reasoning" if value.peek()? == Kind::Bool => {
                asked.show = Some(value.bool()?);
                2
            }
            "thinking" if value.peek()? == Kind::Object => {
                thinking(value, &mut asked, extras)?;
                3
            }
            "enable_thinking" | "thinking_budget" => {
                switch(key, value, &mut asked)?;
                4
            }
            "chat_template_kwargs" if value.peek()? == Kind::Object => {
                template(value, &mut asked, extras)?;
                4
            }
            "reasoning_format" if json.as_str() == "\"hidden\"" => {
                asked.show = Some(false);
                4
            }
            _ => return Ok(false),
        };
        if json.kind() != Kind::Null {
            let said = Extra { field: Field::Reasoning, key: Cow::Owned(key.to_owned()), value: json, at };
            self.list.push(Wish { rank, asked, said });
        }
        Ok(true)
    }

    /// Makes one wish of all.
    pub(super) fn settle(mut self, request: &mut Request<'a>) {
        self.list.sort_by_key(|wish| wish.rank);
        let mut on = None;
        for wish in self.list {
            let Wish { asked, said, .. } = &wish;
            let into = &mut request.reasoning;
            let opposed = on.is_some_and(|on| wish.is_on().is_some_and(|too| too != on));
            if opposed || contradicts(into, asked) {
                request.extras.push(said.clone());
            }
            into.show = into.show.or(asked.show);
            if !opposed {
                on = on.or(wish.is_on());
                into.effort = into.effort.or(asked.effort);
                into.budget = into.budget.or(asked.budget);
                into.form = into.form.or(asked.form);
            }
            request.native.push(wish.said);
        }
    }
}

/// True if a later wish says an effort, a budget or a display other than an earlier one.
fn contradicts(earlier: &Reasoning, later: &Reasoning) -> bool {
    fn differ<T: Copy + PartialEq>(one: Option<T>, other: Option<T>) -> bool {
        one.is_some() && other.is_some() && one != other
    }
    differ(earlier.effort, later.effort) || differ(earlier.budget, later.budget) || differ(earlier.show, later.show)
}

fn effort(value: &mut Cursor<'_>) -> Result<Option<Effort>, Refusal> {
    let at = value.offset();
    let Some(word) = value.nullable(Cursor::string)? else { return Ok(None) };
    match Effort::from_word(&word) {
        Some(effort) => Ok(Some(effort)),
        None => Err(Refusal::at(at, format!("`{word}` is not known here"))),
    }
}

/// A field inside of another that the hub has no place for: named by its path, for reports.
fn inner<'a>(
    outer: &str,
    key: &str,
    field: Field,
    value: &mut Cursor<'a>,
    extras: &mut Vec<Extra<'a>>,
) -> Result<(), JsonError> {
    keep(extras, field, Cow::Owned(format!("{outer}.{key}")), value)
}

fn reasoning<'a>(value: &mut Cursor<'a>, asked: &mut Reasoning, extras: &mut Vec<Extra<'a>>) -> Result<(), JsonError> {
    let mut enabled = None;
    value.object::<JsonError>(|key, value| {
        let word = |value: &mut Cursor<'a>| loose_text(value).map(Option::unwrap_or_default);
        match key.as_ref() {
            "effort" => {
                let unread = value.clone();
                asked.effort = Effort::from_word(word(value)?.escaped());
                if asked.effort.is_none() {
                    inner("reasoning", &key, Field::Reasoning, &mut unread.clone(), extras)?;
                }
            }
            "max_tokens" => asked.budget = loose_count(value)?,
            "enabled" => enabled = flag(value)?,
            "exclude" => asked.show = flag(value)?.filter(|exclude| *exclude).map(|_| false),
            _ => inner("reasoning", &key, Field::Reasoning, value, extras)?,
        }
        Ok(())
    })?;
    asked.form = match (enabled, asked.budget, asked.effort) {
        (Some(false), ..) => Some(ReasoningForm::Disabled),
        (_, Some(_), _) => Some(ReasoningForm::Budget),
        (Some(true), None, None) => Some(ReasoningForm::Adaptive),
        _ => None,
    };
    Ok(())
}

fn thinking<'a>(value: &mut Cursor<'a>, asked: &mut Reasoning, extras: &mut Vec<Extra<'a>>) -> Result<(), JsonError> {
    let mut kind = Cow::Borrowed("");
    value.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "type" => kind = loose_text(value)?.unwrap_or_default().into_plain(),
            "budget_tokens" => asked.budget = loose_count(value)?,
            _ => inner("thinking", &key, Field::Reasoning, value, extras)?,
        }
        Ok(())
    })?;
    asked.form = match (kind.as_ref(), asked.budget) {
        ("disabled", _) => Some(ReasoningForm::Disabled),
        (_, Some(_)) => Some(ReasoningForm::Budget),
        // How much is left to the model.
        ("enabled" | "auto" | "adaptive", None) => Some(ReasoningForm::Adaptive),
        _ => None,
    };
    Ok(())
}

fn template<'a>(value: &mut Cursor<'a>, asked: &mut Reasoning, extras: &mut Vec<Extra<'a>>) -> Result<(), JsonError> {
    value.object(|key, value| match key.as_ref() {
        "enable_thinking" | "thinking" | "thinking_budget" => switch(&key, value, asked),
        _ => inner("chat_template_kwargs", &key, Field::Unknown, value, extras),
    })
}

fn switch(key: &str, value: &mut Cursor<'_>, asked: &mut Reasoning) -> Result<(), JsonError> {
    if key == "thinking_budget" {
        asked.budget = loose_count(value)?;
        asked.form = asked.budget.map(|_| ReasoningForm::Budget);
    } else if let Some(on) = flag(value)? {
        let form = if on { ReasoningForm::Adaptive } else { ReasoningForm::Disabled };
        asked.form = Some(if on { asked.form.unwrap_or(form) } else { form });
    }
    Ok(())
}

fn flag(value: &mut Cursor<'_>) -> Result<Option<bool>, JsonError> {
    if value.peek()? == Kind::Bool {
        return value.bool().map(Some);
    }
    value.skip()?;
    Ok(None)
}

/// Reads an extension that the hub has a place for; `false` if it has none.
pub(super) fn placed<'a>(key: &str, value: &mut Cursor<'a>, request: &mut Request<'a>) -> Result<bool, Refusal> {
    if !matches!(key, "random_seed" | "cache_control" | "top_k") {
        return Ok(false);
    }
    let (at, json) = (value.offset(), value.clone().json()?);
    let field = match key {
        // Mistral's word for it.
        "random_seed" if json.kind() == Kind::Number && request.sampling.seed.is_none() => {
            request.sampling.seed = Some(json.clone());
            Field::Seed
        }
        "cache_control" if json.kind() == Kind::Object => {
            // It goes on whole where the server knows it.
            let mut inside = Vec::new();
            beside_mark(value, &mut inside)?;
            request.cache.auto = read_cache_mark(&mut value.clone())?;
            let named = |extra: Extra<'a>| Extra {
                field: Field::Cache,
                key: Cow::Owned(format!("cache_control.{}", extra.key)),
                ..extra
            };
            request.extras.extend(inside.into_iter().map(named));
            Field::Cache
        }
        // vLLM's way to say that all tokens may be chosen, which is the default.
        "top_k" if all_tokens(&json) => Field::TopK,
        _ => return Ok(false),
    };
    value.skip()?;
    request.native.push(Extra { field, key: Cow::Owned(key.to_owned()), value: json, at });
    Ok(true)
}

fn all_tokens(top_k: &Json<'_>) -> bool {
    top_k.as_str() == "0" || top_k.as_str().starts_with('-')
}

/// True for a field that has the provider search or run something; an empty `web_search_options` does.
pub(super) fn asks_for_tools(key: &str, said: &Json<'_>) -> bool {
    if class_of(key) != Field::ServerTool || matches!(said.as_str(), "null" | "false") {
        return false;
    }
    key == "web_search_options" || !(said.is_empty() || is_off(said))
}

/// `{"mode": "off"}`
fn is_off(said: &Json<'_>) -> bool {
    let mut off = false;
    let read = said.cursor().object::<JsonError>(|key, value| {
        off |= key == "mode" && value.json()?.as_str() == "\"off\"";
        Ok(())
    });
    read.is_ok() && off
}

/// What a field without a place in the hub counts as.
pub(super) fn class_of(key: &str) -> Field {
    match key {
        "audio" | "modalities" => Field::Modalities,
        "moderation" | "safety_settings" | "safe_prompt" => Field::Safety,
        "web_search_options" | "enable_search" | "search_options" | "search_parameters" | "plugins" => {
            Field::ServerTool
        }
        "min_p"
        | "top_a"
        | "typical_p"
        | "tfs"
        | "repetition_penalty"
        | "length_penalty"
        | "no_repeat_ngram_size"
        | "bad_words"
        | "allowed_token_ids"
        | "use_beam_search"
        | "mirostat"
        | "mirostat_eta"
        | "mirostat_tau"
        | "dry_multiplier"
        | "xtc_probability"
        | "sampling_seed"
        | "ignore_eos"
        | "min_tokens" => Field::Sampling,
        "stop_token_ids" | "include_stop_str_in_output" => Field::Stop,
        "random_seed" => Field::Seed,
        "best_of" => Field::N,
        "prompt_logprobs" => Field::Logprobs,
        "guided_json" | "guided_regex" | "guided_choice" | "guided_grammar" | "structured_outputs" | "regex"
        | "ebnf" => Field::Output,
        "reasoning"
        | "thinking"
        | "include_reasoning"
        | "reasoning_format"
        | "reasoning_split"
        | "prompt_mode"
        | "chat_template_kwargs" => Field::Reasoning,
        "models" | "provider" | "route" | "transforms" => Field::Model,
        "cache_control" => Field::Cache,
        "documents" => Field::Document,
        "top_k" => Field::TopK,
        _ => Field::Unknown,
    }
}

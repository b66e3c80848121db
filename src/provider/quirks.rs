//! What a server deviates from its format in, as data.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidegate_codec::{AnswerForms, Facts, FieldSet, Format, ReasoningField, ThinkingOff, ToolChoices, ToolIds, wire};

/// What a server deviates from its format in. The default is the format's own vendor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "a table of independent facts")]
pub struct Quirks {
    /// Is not the format's own vendor: it knows the older parts of the format and has extensions of its own.
    pub compatible: bool,
    /// Counts the tokens of fields at the top of a request, and of no request as a whole.
    pub flat_counts: bool,
    /// Keeps nothing: no files, no batches, nothing that is asked for again by its id.
    pub keeps_nothing: bool,
    /// Wants the limit as `max_tokens`, not `max_completion_tokens`.
    pub legacy_max_tokens: bool,
    /// Knows no role `developer`: it is sent as `system`.
    pub no_developer_role: bool,
    /// Reads no documents.
    pub no_documents: bool,
    /// Sees no images.
    pub no_images: bool,
    /// Refuses names of speakers.
    pub no_names: bool,
    /// Refuses `parallel_tool_calls`.
    pub no_parallel_tools: bool,
    /// Refuses `stream_options`.
    pub no_stream_options: bool,
    /// How it can be told to use tools; `None` for every way.
    pub tool_choice: Option<ToolChoices>,
    /// Forms of an answer that it can be asked for; `None` for every one.
    pub structured: Option<AnswerForms>,
    /// Where reasoning of earlier turns goes; `None` where the format's rule holds.
    pub reasoning: Option<ReasoningField>,
    /// The field by which it is told not to think; `None` for an effort.
    pub thinking_off: Option<ThinkingOff>,
    /// Ids of tool calls that it takes; `None` for what every vendor takes.
    pub tool_ids: Option<ToolIds>,
    /// Where it counts the tokens of a request; `None` for its format's own path, if that has one.
    pub counts: Option<Counts>,
    /// Request fields that it refuses.
    pub strip_fields: Vec<String>,
    /// Request fields that it calls otherwise, by the format's name.
    pub rename_fields: BTreeMap<String, String>,
    /// Items of the beta header that it takes; `None` for all, or for none of a server that is `compatible`.
    pub betas: Option<Vec<String>>,
}

/// Where a server counts the tokens of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counts {
    /// Nowhere.
    Never,
    /// By this format's path, whichever it answers in.
    By(Format),
}

/// Sets or clears one quirk.
pub type SetQuirk = fn(&mut Quirks, bool);

/// Fields without which there is no request.
const NEEDED: [&str; 5] = ["contents", "input", "messages", "model", "stream"];

impl Quirks {
    /// Every quirk that is there or not, by its name in the config, with the way to set it.
    pub const FLAGS: [(&'static str, SetQuirk); 10] = [
        ("compatible", |quirks, on| quirks.compatible = on),
        ("flat_counts", |quirks, on| quirks.flat_counts = on),
        ("keeps_nothing", |quirks, on| quirks.keeps_nothing = on),
        ("legacy_max_tokens", |quirks, on| quirks.legacy_max_tokens = on),
        ("no_developer_role", |quirks, on| quirks.no_developer_role = on),
        ("no_documents", |quirks, on| quirks.no_documents = on),
        ("no_images", |quirks, on| quirks.no_images = on),
        ("no_names", |quirks, on| quirks.no_names = on),
        ("no_parallel_tools", |quirks, on| quirks.no_parallel_tools = on),
        ("no_stream_options", |quirks, on| quirks.no_stream_options = on),
    ];

    /// The values of `tool_choice`.
    pub const TOOL_CHOICE: [(&'static str, ToolChoices); 3] =
        [("all", ToolChoices::All), ("unnamed", ToolChoices::Unnamed), ("auto", ToolChoices::Auto)];

    /// The values of `structured`.
    pub const STRUCTURED: [(&'static str, AnswerForms); 3] =
        [("json_schema", AnswerForms::Schema), ("json_object", AnswerForms::Object), ("none", AnswerForms::Text)];

    /// The values of `reasoning`.
    pub const REASONING: [(&'static str, ReasoningField); 3] = [
        ("reasoning_content", ReasoningField::ReasoningContent),
        ("reasoning", ReasoningField::Reasoning),
        ("none", ReasoningField::None),
    ];

    /// The values of `thinking_off`.
    pub const THINKING_OFF: [(&'static str, ThinkingOff); 3] = [
        ("reasoning_effort", ThinkingOff::Effort),
        ("thinking", ThinkingOff::Thinking),
        ("enable_thinking", ThinkingOff::EnableThinking),
    ];

    /// The values of `tool_ids`.
    pub const TOOL_IDS: [(&'static str, ToolIds); 2] = [("portable", ToolIds::Portable), ("alnum9", ToolIds::Alnum9)];

    /// The values of `counts`.
    pub const COUNTS: [(&'static str, Counts); 4] = [
        ("none", Counts::Never),
        ("anthropic_messages", Counts::By(Format::AnthropicMessages)),
        ("gemini_generate", Counts::By(Format::GeminiGenerate)),
        ("openai_responses", Counts::By(Format::OpenaiResponses)),
    ];

    /// True if `name` can be a field that a server refuses or renames.
    #[must_use]
    pub fn may_name(name: &str) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        (1..=64).contains(&name.len()) && name.chars().all(plain) && !NEEDED.contains(&name)
    }

    /// The format in which a server of `own` counts the tokens of a request; `None` where it counts none.
    #[must_use]
    pub fn counting(&self, own: Format) -> Option<Format> {
        let format = match self.counts {
            None => own,
            Some(Counts::By(format)) => format,
            Some(Counts::Never) => return None,
        };
        wire(format).spec().counting.map(|_| format)
    }

    /// Those that hold, as one would write them.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let flags = Self::FLAGS.into_iter().filter_map(|(name, set)| {
            let mut other = self.clone();
            set(&mut other, false);
            (other != *self).then(|| name.to_owned())
        });
        let words = [
            said("tool_choice", self.tool_choice, &Self::TOOL_CHOICE),
            said("structured", self.structured, &Self::STRUCTURED),
            said("reasoning", self.reasoning, &Self::REASONING),
            said("thinking_off", self.thinking_off, &Self::THINKING_OFF),
            said("tool_ids", self.tool_ids, &Self::TOOL_IDS),
            said("counts", self.counts, &Self::COUNTS),
            listed("strip_fields", &self.strip_fields),
            listed("rename_fields", self.rename_fields.iter().map(|(own, name)| format!("{own}: {name}"))),
            self.betas.as_ref().map(|betas| format!("betas: [{}]", betas.join(", "))),
        ];
        flags.chain(words.into_iter().flatten()).collect::<Vec<_>>().into_iter()
    }

    /// Puts them into the facts of a model: what the server cannot, no model of it can.
    pub(super) fn apply(&self, facts: &mut Facts) {
        // Fields that are named one by one are taken out of any request; the rest is read and cut only where the server
        // is known to deviate. What it keeps says nothing of its answers.
        let named = Self {
            // What counts says nothing of what answers.
            flat_counts: self.flat_counts,
            counts: self.counts,
            keeps_nothing: self.keeps_nothing,
            strip_fields: self.strip_fields.clone(),
            rename_fields: self.rename_fields.clone(),
            betas: self.betas.clone(),
            ..Self::default()
        };
        facts.exact = *self == named;
        facts.flat_counts = self.flat_counts;
        facts.legacy_max_tokens = self.legacy_max_tokens;
        facts.stream_options = !self.no_stream_options;
        facts.developer_role &= !self.no_developer_role;
        facts.documents &= !self.no_documents;
        facts.vision &= !self.no_images;
        facts.names &= !self.no_names;
        facts.parallel_tools &= !self.no_parallel_tools;
        facts.tool_choice = self.tool_choice.unwrap_or(facts.tool_choice);
        facts.answers = self.structured.unwrap_or(facts.answers);
        facts.reasoning_field = self.reasoning.or(facts.reasoning_field);
        facts.thinking_off = self.thinking_off.unwrap_or(facts.thinking_off);
        facts.tool_ids = self.tool_ids.unwrap_or(facts.tool_ids);
        facts.strip = facts.strip.iter().chain(&self.strip_fields).cloned().collect();
        facts.rename = self.rename_fields.iter().map(|(own, name)| (own.clone(), name.clone())).collect();
        facts.betas = self.betas.as_ref().map(|betas| betas.iter().cloned().collect());
        if self.compatible {
            // Servers that speak a vendor's format seldom know its newest parts, and have extensions of their own.
            facts.custom_tools = false;
            facts.cache_breakpoints = false;
            facts.compatible_extensions = true;
            facts.fields = FieldSet::Core;
            facts.betas.get_or_insert_with(|| [].into());
        }
    }
}

fn said<T: Copy + PartialEq>(name: &str, value: Option<T>, words: &[(&'static str, T)]) -> Option<String> {
    let value = value?;
    let (word, _) = words.iter().find(|(_, meaning)| *meaning == value)?;
    Some(format!("{name}: {word}"))
}

fn listed<T: AsRef<str>>(name: &str, items: impl IntoIterator<Item = T>) -> Option<String> {
    let items: Vec<String> = items.into_iter().map(|item| item.as_ref().to_owned()).collect();
    (!items.is_empty()).then(|| format!("{name}: {}", items.join(", ")))
}

/// Quirks as the catalogue writes them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Written {
    /// Names of flags that hold.
    flags: Vec<String>,
    tool_choice: Option<String>,
    structured: Option<String>,
    reasoning: Option<String>,
    thinking_off: Option<String>,
    tool_ids: Option<String>,
    counts: Option<String>,
    strip_fields: Vec<String>,
    rename_fields: BTreeMap<String, String>,
}

impl Written {
    /// What is written; what is not known, as a test holds against, is left out.
    pub(super) fn read(&self) -> Quirks {
        let mut quirks = Quirks {
            tool_choice: meaning(self.tool_choice.as_ref(), &Quirks::TOOL_CHOICE),
            structured: meaning(self.structured.as_ref(), &Quirks::STRUCTURED),
            reasoning: meaning(self.reasoning.as_ref(), &Quirks::REASONING),
            thinking_off: meaning(self.thinking_off.as_ref(), &Quirks::THINKING_OFF),
            tool_ids: meaning(self.tool_ids.as_ref(), &Quirks::TOOL_IDS),
            counts: meaning(self.counts.as_ref(), &Quirks::COUNTS),
            strip_fields: self.strip_fields.clone(),
            rename_fields: self.rename_fields.clone(),
            ..Quirks::default()
        };
        for name in &self.flags {
            if let Some((_, set)) = Quirks::FLAGS.iter().find(|(known, _)| known == name) {
                set(&mut quirks, true);
            }
        }
        quirks
    }

    /// True if all that is written is known.
    #[cfg(test)]
    pub(super) fn is_known(&self) -> bool {
        let read = self.read();
        self.flags.iter().all(|name| Quirks::FLAGS.iter().any(|(known, _)| known == name))
            && read.tool_choice.is_some() == self.tool_choice.is_some()
            && read.structured.is_some() == self.structured.is_some()
            && read.reasoning.is_some() == self.reasoning.is_some()
            && read.thinking_off.is_some() == self.thinking_off.is_some()
            && read.tool_ids.is_some() == self.tool_ids.is_some()
            && read.counts.is_some() == self.counts.is_some()
            && self.strip_fields.iter().chain(self.rename_fields.keys()).all(|name| Quirks::may_name(name))
    }
}

fn meaning<T: Copy>(word: Option<&String>, words: &[(&'static str, T)]) -> Option<T> {
    words.iter().find(|(name, _)| Some(*name) == word.map(String::as_str)).map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A format that counts tokens is one that a server may count them in.
    #[test]
    fn every_format_that_counts_can_be_named() {
        let named = Quirks::COUNTS.map(|(name, _)| name);
        for format in Format::ALL {
            let counts = wire(format).spec().counting.is_some();
            assert_eq!(named.contains(&format.name()), counts, "{}", format.name());
            assert_eq!(meaning(Some(&format.name().to_owned()), &Quirks::COUNTS), counts.then_some(Counts::By(format)));
        }
    }
}

//! What models and their servers accept: `models.yaml`, which is compiled in, and the provider's quirks.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;
use tidegate_codec::{Facts, ThinkingForm};

use super::Quirks;

const SOURCE: &str = include_str!("models.yaml");

/// What an entry says; what it leaves out is the default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    thinking: Option<Thinking>,
    max_output: Option<u64>,
    sampling: Option<bool>,
    forced_tool: Option<bool>,
    prefill: Option<bool>,
    mid_system: Option<bool>,
    structured: Option<bool>,
    developer_role: Option<bool>,
    custom_tools: Option<bool>,
    cache_breakpoints: Option<bool>,
    json_schema: Option<bool>,
    structured_with_tools: Option<bool>,
    rich_results: Option<bool>,
    least_budget: Option<u64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Thinking {
    None,
    Budget,
    Adaptive,
    Always,
}

impl From<Thinking> for ThinkingForm {
    fn from(thinking: Thinking) -> Self {
        match thinking {
            Thinking::None => Self::None,
            Thinking::Budget => Self::Budget,
            Thinking::Adaptive => Self::Adaptive,
            Thinking::Always => Self::Always,
        }
    }
}

/// What `model` at a server with `quirks` accepts.
#[must_use]
pub fn of(model: &str, quirks: &Quirks) -> Facts {
    let mut facts = Facts::default();
    if let Some(entry) = find(model) {
        apply(entry, &mut facts);
    }
    quirks.apply(&mut facts);
    facts
}

fn apply(entry: &Entry, facts: &mut Facts) {
    if let Some(thinking) = entry.thinking {
        facts.thinking = thinking.into();
    }
    if let Some(max_output) = entry.max_output {
        facts.max_output = max_output;
    }
    if let Some(least_budget) = entry.least_budget {
        facts.least_budget = least_budget;
    }
    for (said, fact) in [
        (entry.sampling, &mut facts.sampling),
        (entry.forced_tool, &mut facts.forced_tool),
        (entry.prefill, &mut facts.prefill),
        (entry.mid_system, &mut facts.mid_system),
        (entry.structured, &mut facts.structured),
        (entry.developer_role, &mut facts.developer_role),
        (entry.custom_tools, &mut facts.custom_tools),
        (entry.cache_breakpoints, &mut facts.cache_breakpoints),
        (entry.json_schema, &mut facts.json_schema),
        (entry.structured_with_tools, &mut facts.structured_with_tools),
        (entry.rich_results, &mut facts.rich_results),
    ] {
        if let Some(said) = said {
            *fact = said;
        }
    }
}

fn find(model: &str) -> Option<&'static Entry> {
    static ENTRIES: OnceLock<BTreeMap<String, Entry>> = OnceLock::new();
    // The text is ours and a test reads it, so the fallback never runs.
    let entries = ENTRIES.get_or_init(|| serde_yaml::from_str(SOURCE).unwrap_or_default());
    let known = entries.iter().filter(|(part, _)| model.contains(part.as_str()));
    known.max_by_key(|(part, _)| part.len()).map(|(_, entry)| entry)
}

#[cfg(test)]
mod tests {
    use tidegate_codec::FieldSet;

    use super::*;

    #[test]
    fn the_table_is_sound() {
        let entries: BTreeMap<String, Entry> = serde_yaml::from_str(SOURCE).unwrap();
        assert!(entries.len() > 10);
    }

    #[test]
    fn the_longest_part_of_a_name_counts() {
        let of = |model: &str| of(model, &Quirks::default());
        assert_eq!(of("claude-sonnet-4-5-20250929").thinking, ThinkingForm::Budget);
        assert_eq!(of("claude-opus-4-8").thinking, ThinkingForm::Adaptive);
        assert!(!of("anthropic/claude-opus-5-5").forced_tool);
        assert_eq!(of("nobody-knows-me"), Facts { ..Facts::default() });
    }

    #[test]
    fn quirks_have_the_last_word() {
        let quirks = Quirks { legacy_max_tokens: true, no_stream_options: true, ..Quirks::default() };
        let facts = of("gpt-5", &quirks);
        assert!(facts.legacy_max_tokens && !facts.stream_options);
        assert_eq!(facts.fields, FieldSet::All);
        let facts = of("claude-opus-4-8", &Quirks { compatible: true, ..Quirks::default() });
        assert_eq!(facts.fields, FieldSet::Core);
    }
}

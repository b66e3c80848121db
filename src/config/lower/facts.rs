//! What the operator says of models: of one provider's below it, of everyone's in a file of its own.

use std::sync::Arc;

use tidegate_codec::hub::Effort;

use crate::provider::facts::{Responses, Said, Thinking};
use crate::routing::Glob;

use super::super::fields::{Fields, Text};
use super::super::file;
use super::super::problem::{Place, Problems, suggest};
use super::super::schema;
use super::super::settings::{FactRule, FactRules};
use super::super::tree::{self, Entry, Node, Value};
use super::FileList;
use super::providers::field_name;

/// Bytes of a file of facts.
const MAX_FILE: u64 = 1 << 20;
/// Most tokens that anything of a model may be.
const MOST: u32 = 10_000_000;

/// All that is said.
pub(super) fn rules(root: &Fields<'_>, files: &mut FileList<'_>) -> FactRules {
    let mut rules = named(root, files);
    let Some(Value::Map(providers)) = root.entry("providers").map(|entry| &entry.node.value) else { return rules };
    for provider in providers {
        let Value::Map(entries) = &provider.node.value else { continue };
        let Some(facts) = entries.iter().find(|entry| entry.key == "facts" && !entry.node.is_null()) else { continue };
        rules.here.insert(Arc::from(provider.key.as_str()), patterns(&facts.node, root.problems()));
    }
    rules
}

/// Patterns and what is said of the models that they fit; less specific ones first, so that others overrule them.
fn patterns(node: &Node, problems: &Problems) -> Vec<FactRule> {
    let Value::Map(entries) = &node.value else {
        let message = format!("a map is wanted here, not {}", node.describe());
        problems.add(&node.place, message, "write names or patterns of models, and their facts below each");
        return Vec::new();
    };
    let mut rules: Vec<FactRule> = entries.iter().map(|entry| rule(entry, problems)).collect();
    rules.sort_by_key(|rule| {
        let text = rule.pattern.as_str();
        (!text.contains('*'), text.chars().filter(|c| *c != '*').count())
    });
    rules
}

fn rule(entry: &Entry, problems: &Problems) -> FactRule {
    if entry.key.is_empty() || entry.key.chars().any(char::is_control) {
        problems.add(&entry.place, "this is no pattern of models", "write a name; `*` stands for any text");
    }
    let fields = Fields::open(&schema::FACTS, &entry.node, &entry.place, problems);
    FactRule { pattern: Glob::new(entry.key.as_str()), said: said(&fields) }
}

fn said(fields: &Fields<'_>) -> Said {
    let count = |name| fields.count(name, &(1..=MOST)).map(u64::from);
    let mut said = Said {
        thinking: fields.choice("thinking", &Thinking::NAMED),
        efforts: fields.list("efforts").map(|items| items.iter().filter_map(|item| effort(item, fields)).collect()),
        least_budget: fields.count("least_budget", &(0..=MOST)).map(u64::from),
        most_budget: count("most_budget"),
        max_output: count("max_output"),
        most_output: count("most_output"),
        responses: fields.choice("responses", &Responses::NAMED),
        strip_fields: fields
            .list("strip_fields")
            .unwrap_or_default()
            .iter()
            .filter_map(|item| field_name(&Text::of(item, fields.problems())?, fields))
            .collect(),
        ..Said::default()
    };
    for name in Said::flags() {
        if let Some(on) = fields.flag(name) {
            said.set(name, on);
        }
    }
    said
}

fn effort(item: &Node, fields: &Fields<'_>) -> Option<String> {
    let text = Text::of(item, fields.problems())?;
    if Effort::from_word(text.value).is_none() {
        let hint = suggest(text.value, Effort::ALL.into_iter().map(Effort::word));
        fields.problems().add(text.place, format!("{} is no effort", text.shown()), hint);
    }
    Some(text.value.to_owned())
}

/// The file that `facts_file` names: the same patterns and facts, of models at any provider.
fn named(root: &Fields<'_>, files: &mut FileList<'_>) -> FactRules {
    let Some(text) = root.text("facts_file") else { return FactRules::default() };
    let problems = root.problems();
    let path = files.path(text.value);
    let source = match file::read_text(&path, MAX_FILE) {
        Ok(source) => source,
        Err(fault) => {
            let hint = "a YAML file of patterns and facts that the user that Tidegate runs as can read";
            problems.add(text.place, format!("cannot use {}: {fault}", text.shown()), hint);
            return FactRules::default();
        }
    };
    let found = Problems::default();
    let everywhere = tree::parse(&source, &found).map(|tree| patterns(&tree.root, &found)).unwrap_or_default();
    let rules = FactRules { file: Some(path), everywhere, ..FactRules::default() };
    let Some(report) = found.into_report(text.value, &source) else { return rules };
    for problem in report.problems() {
        let place = match &problem.place {
            Place::At { line, column, .. } => format!(":{line}:{column}"),
            Place::File | Place::Variable(_) => String::new(),
        };
        let message = format!("in {}{place}: {}", text.shown(), problem.message);
        problems.add(text.place, message, problem.hint.clone());
    }
    rules
}

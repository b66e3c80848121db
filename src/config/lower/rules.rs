//! Rules: which requests are served by another model than they ask for.

use std::collections::HashSet;
use std::sync::Arc;

use crate::routing::{Glob, Models, Rule, When};

use super::super::fields::{Fields, scalar_of};
use super::super::problem::{Problems, suggest};
use super::super::schema;
use super::super::tree::Node;

/// Bytes that a rule may draw a line at: as many as a body can have.
const MOST_BYTES: usize = 1 << 40;

pub(super) fn rules(root: &Fields<'_>, models: &Models) -> Vec<Rule> {
    let mut names = HashSet::new();
    let items = root.list("rules").unwrap_or_default();
    let rules = items.iter().filter_map(|item| rule(item, models, &mut names, root.problems()));
    rules.collect()
}

fn rule(item: &Node, models: &Models, names: &mut HashSet<String>, problems: &Problems) -> Option<Rule> {
    let fields = Fields::open(&schema::RULE, item, &item.place, problems);
    fields.required("when");
    let written = fields.section_or_empty("when", &schema::WHEN);
    let when = when(&written);
    can_hold(&written, &when);
    if let (true, Some(entry)) = (when == When::default(), fields.entry("when")) {
        problems.add(&entry.place, "this rule is for every request", "say which requests it is for");
    }
    let (name, model) = (fields.required_text("name"), fields.required_text("model"));
    let (name, model) = (name?, model?);
    if !names.insert(name.value.to_owned()) {
        problems.add(name.place, format!("another rule is named {}", name.shown()), "names tell rules apart");
    }
    match models.resolve(model.value) {
        None => {
            let known = models.list().map(|route| &*route.name);
            problems.add(model.place, format!("no model is named {}", model.shown()), suggest(model.value, known));
        }
        Some(route) if route.targets.iter().any(|target| target.model.contains('*')) => {
            let problem = format!("{} is a pattern, and no name that a provider knows", model.shown());
            problems.add(model.place, problem, "name a model that the pattern fits");
        }
        Some(_) => {}
    }
    Some(Rule { name: Arc::from(name.value), when, model: model.value.to_owned() })
}

fn when(fields: &Fields<'_>) -> When {
    let glob = |name: &str| fields.text(name).map(|text| Glob::new(text.value));
    let bytes = |name: &str| fields.entry(name).map(|_| fields.size(name, &(0..=MOST_BYTES)));
    When {
        model: glob("model"),
        client: glob("client"),
        headers: headers(fields),
        body_over: bytes("body_over"),
        body_under: bytes("body_under"),
        stream: fields.flag("stream"),
        tools: fields.flag("tools"),
        images: fields.flag("images"),
        documents: fields.flag("documents"),
    }
}

/// Notes what no request can be.
fn can_hold(fields: &Fields<'_>, when: &When) {
    if let (Some(over), Some(under), Some(entry)) = (when.body_over, when.body_under, fields.entry("body_under"))
        && over >= under
    {
        let message = "no body is larger than `body_over` and not larger than `body_under`";
        fields.problems().add(
            &entry.place,
            message,
            "write a `body_under` that is larger than `body_over`, or one of them",
        );
    }
}

fn headers(fields: &Fields<'_>) -> Vec<(String, Glob)> {
    let entries = fields.map("headers").unwrap_or_default();
    let header = |entry: &super::super::tree::Entry| {
        let value = scalar_of(&entry.node, fields.problems())?;
        let Ok(name) = http::HeaderName::try_from(entry.key.as_str()) else {
            let message = format!("`{}` is no header's name", entry.key);
            fields.problems().add(&entry.place, message, "such as `x-tier`");
            return None;
        };
        Some((name.as_str().to_owned(), Glob::new(value.text.as_str())))
    };
    entries.iter().filter_map(header).collect()
}

//! Where operations go that name no model.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::provider::services::{self, Service};

use super::super::fields::{Fields, Text};
use super::super::problem::suggest;
use super::clients::provider_named;
use super::providers::Providers;

pub(super) fn operations(root: &Fields<'_>, providers: &Providers) -> BTreeMap<&'static str, Arc<str>> {
    let problems = root.problems();
    let mut operations = BTreeMap::new();
    for entry in root.map("operations").unwrap_or_default() {
        let Some(service) = services::named_as(&entry.key) else {
            let hint = suggest(&entry.key, services::ALL.iter().map(|service| service.name));
            problems.add(&entry.place, format!("`{}` is no operation", entry.key), hint);
            continue;
        };
        let Some(text) = Text::of(&entry.node, problems) else { continue };
        let Some(name) = provider_named(&text, providers, problems) else { continue };
        match providers.built.get(&name) {
            Some(provider) if !service.is_served_by(provider) => {
                let (shown, speaks) = (text.shown(), provider.format.name());
                let message = if service.formats.contains(&provider.format) {
                    format!("{shown} keeps nothing, so it has no `{}`", entry.key)
                } else {
                    format!("{shown} speaks `{speaks}`, which has no `{}`", entry.key)
                };
                problems.add(text.place, message, format!("name a provider that speaks {}", formats(service)));
            }
            _ => drop(operations.insert(service.name, name)),
        }
    }
    operations
}

fn formats(service: &Service) -> String {
    service.formats.iter().map(|format| format!("`{}`", format.name())).collect::<Vec<_>>().join(" or ")
}

//! Names of models and their targets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::Rule;
use crate::routing::{Affinity, AnswerModel, Hedge, Models, On, OnLoss, Price, Retries, Route, Strategy, Target};

use super::super::fields::{Fields, Text, scalar_of, word};
use super::super::problem::{Place, Problems, suggest};
use super::super::schema;
use super::super::tree::{Entry, Node, Value};
use super::limits;
use super::providers::Providers;

/// Characters of a model's name, ours or a provider's.
const MAX_NAME: usize = 256;

/// The models, and the limits of those that have one.
pub(super) fn models(root: &Fields<'_>, providers: &Providers) -> (Models, BTreeMap<Arc<str>, Rule>) {
    let problems = root.problems();
    let entries = root.required("models").and_then(|_| root.map("models")).unwrap_or_default();
    if let (true, Some(entry)) = (entries.is_empty(), root.entry("models"))
        && matches!(entry.node.value, Value::Map(_))
    {
        problems.add(
            &entry.place,
            "no model",
            "write one, such as `gpt-5: openai/gpt-5`, or `\"*\": openai/*` for all of a provider's",
        );
    }
    let mut lowering = Lowering { providers, problems, limits: BTreeMap::new() };
    let models = Models::new(entries.iter().filter_map(|entry| lowering.route(entry)));
    (models, lowering.limits)
}

struct Lowering<'a> {
    providers: &'a Providers,
    problems: &'a Problems,
    limits: BTreeMap<Arc<str>, Rule>,
}

impl Lowering<'_> {
    fn route(&mut self, entry: &Entry) -> Option<Route> {
        let name = entry.key.as_str();
        if name.is_empty() || name.len() > MAX_NAME || name.contains(char::is_control) || name.trim() != name {
            let hint = format!("write 1 to {MAX_NAME} characters with no space around them");
            self.problems.add(&entry.place, "this cannot be a model's name", hint);
        }
        if name.matches('*').count() > 1 {
            self.problems.add(&entry.place, format!("`{name}` holds more than one `*`"), "keep one");
        }
        let pattern = name.contains('*');
        if let Value::Scalar(scalar) = &entry.node.value {
            if scalar.is_null() {
                self.problems.add(
                    &entry.place,
                    format!("`{name}` leads nowhere"),
                    "write its target: `provider/model`",
                );
                return None;
            }
            return Some(Route::to(Arc::from(name), self.target(&Text::of(&entry.node, self.problems)?, pattern)?));
        }
        let fields = Fields::open(&schema::MODEL, &entry.node, &entry.place, self.problems);
        let strategy = fields.choice("strategy", &Strategy::NAMED).unwrap_or_default();
        let affinity = self.affinity(&fields);
        let on_loss = fields.choice("on_loss", &OnLoss::NAMED).unwrap_or_default();
        let answer_model = fields.choice("answer_model", &AnswerModel::NAMED).unwrap_or_default();
        let max_output = fields.count("max_output", &(1..=10_000_000));
        self.limits.insert(Arc::from(name), limits::rule(&fields, false));
        fields.required("targets");
        let items = fields.list("targets")?;
        if items.is_empty() {
            self.problems.add(&entry.place, format!("`{name}` has no target"), "write `targets: [provider/model]`");
        }
        let targets = items.iter().filter_map(|item| self.item(item, pattern)).enumerate();
        let targets: Vec<Target> = targets.map(|(place, target)| Target { place, ..target }).collect();
        let retries = Arc::new(self.retries(&fields));
        let hedge = hedge(&fields);
        if let (Some(hedge), Some(entry)) = (&hedge, fields.entry("hedge")) {
            self.can_hedge(hedge, (strategy, &targets), &entry.place);
        }
        Some(Route {
            name: Arc::from(name),
            strategy,
            affinity,
            targets,
            on_loss,
            answer_model,
            max_output,
            retries,
            hedge,
        })
    }

    /// Notes a hedge for which there is no time, or nobody to ask.
    fn can_hedge(&self, hedge: &Hedge, (strategy, targets): (Strategy, &[Target]), place: &Place) {
        let provider = |target: &Target| self.providers.built.get(&*target.provider);
        // Of a faulty provider nothing is known.
        let holds = |target: &Target| provider(target).is_none_or(|provider| provider.streams.hold > hedge.least);
        let several = |target: &Target| provider(target).is_none_or(|provider| provider.endpoints.len() > 1);
        let goes_on = |at: usize| match strategy {
            Strategy::Priority => at + 1 < targets.len(),
            Strategy::Weighted
            | Strategy::RoundRobin
            | Strategy::LeastBusy
            | Strategy::Fastest
            | Strategy::Cheapest
            | Strategy::Sticky => targets.len() > 1,
        };
        let mut firsts = targets.iter().enumerate().filter(|(at, target)| goes_on(*at) || several(target)).peekable();
        if targets.is_empty() {
            return;
        }
        if targets.iter().all(|target| !holds(target)) {
            let message = "no provider of this model holds its streams, so that none is ever asked for twice";
            let hint = "write `streams: {hold: 10s}`, or another time that is longer than `least`, at a provider of it";
            self.problems.add(place, message, hint);
        } else if firsts.peek().is_none() {
            let message = "there is one target with one endpoint, so that nobody else can be asked";
            self.problems.add(place, message, "write another target, or leave `hedge` out");
        } else if firsts.all(|(_, target)| !holds(target)) {
            let message = "of those that another can be asked after, none holds its streams";
            let hint = "write `streams: {hold: 10s}`, or another time that is longer than `least`, at their providers";
            self.problems.add(place, message, hint);
        }
    }

    fn affinity(&self, fields: &Fields<'_>) -> Affinity {
        let Some(text) = fields.text("affinity") else { return Affinity::Client };
        if let Some(name) = text.value.strip_prefix("header:") {
            if let Ok(name) = http::HeaderName::try_from(name.trim()) {
                return Affinity::Header(name.as_str().to_owned());
            }
            self.problems.add(
                text.place,
                format!("{} is no header's name", text.quote(name)),
                "such as `x-session-id`",
            );
            return Affinity::Client;
        }
        let words = || Affinity::NAMED.into_iter().map(|(name, _)| name).chain(["header:NAME"]);
        let read = |text: &str| word(text, &Affinity::NAMED).map_err(|_| suggest(text, words()));
        fields.parse("affinity", "a value of `affinity`", read).unwrap_or_default()
    }

    fn retries(&self, fields: &Fields<'_>) -> Retries {
        let retries = fields.section_or_empty("retries", &schema::RETRIES);
        let (short, long) = (Duration::from_millis(1), Duration::from_secs(60));
        let [backoff, backoff_max] = ["backoff", "backoff_max"].map(|name| retries.duration(name, &(short..=long)));
        retries.in_order(("backoff", backoff), ("backoff_max", backoff_max));
        Retries {
            on: self.classes(fields),
            rounds: retries.count("rounds", &(0..=10)).unwrap_or_default(),
            backoff,
            backoff_max,
            retry_after_max: retries.duration("retry_after_max", &(Duration::ZERO..=long)),
            budget: retries.count("budget", &(0..=1000)).unwrap_or_default(),
            budget_floor: retries.count("budget_floor", &(0..=10_000)).unwrap_or_default(),
        }
    }

    /// The failures that move a request on.
    fn classes(&self, fields: &Fields<'_>) -> Vec<On> {
        let Some(items) = fields.list("fallback_on") else { return On::DEFAULT.to_vec() };
        let mut classes: Vec<On> = items.iter().filter_map(|item| self.class(item)).collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    fn class(&self, node: &Node) -> Option<On> {
        let scalar = scalar_of(node, self.problems)?;
        if let Some(status) = scalar.text.parse::<u16>().ok().filter(|status| (400..=599).contains(status)) {
            return Some(On::Status(status));
        }
        let found = word(&scalar.text, &On::NAMED);
        if let Err(hint) = &found {
            let hint = if scalar.text.starts_with(|c: char| c.is_ascii_digit()) {
                "`server_error` stands for 408 and all from 500 on; another status is a number from 400 to 599"
                    .to_owned()
            } else if hint.ends_with('?') {
                hint.clone()
            } else {
                format!("{hint}, or a status from 400 to 599")
            };
            self.problems.add(&node.place, format!("{} is no failure to move on from", scalar.shown()), hint);
        }
        found.ok()
    }

    fn item(&self, node: &Node, pattern: bool) -> Option<Target> {
        match &node.value {
            Value::Map(_) => {
                let fields = Fields::open(&schema::TARGET, node, &node.place, self.problems);
                let weight = fields.count("weight", &(1..=1000)).unwrap_or(1);
                let to = fields.required_text("to")?;
                let price = price(&fields);
                Some(Target { weight, price, ..self.target(&to, pattern)? })
            }
            Value::Scalar(_) | Value::List(_) => self.target(&Text::of(node, self.problems)?, pattern),
        }
    }

    /// Reads `provider/model`; the model's name may hold further slashes.
    fn target(&self, written: &Text<'_>, pattern: bool) -> Option<Target> {
        let Text { value: text, place, .. } = *written;
        let named = || self.providers.named.iter().map(String::as_str);
        let Some((provider, model)) =
            text.split_once('/').filter(|(provider, model)| !provider.is_empty() && !model.is_empty())
        else {
            let hint = match named().find(|name| *name == text) {
                Some(name) => format!("`{name}` is a provider: write `{name}/` and the model's name there"),
                None => "write `provider/model`".to_owned(),
            };
            self.problems.add(place, format!("{} is no target", written.shown()), hint);
            return None;
        };
        if !named().any(|name| name == provider) {
            self.problems.add(
                place,
                format!("no provider is named {}", written.quote(provider)),
                suggest(provider, named()),
            );
            return None;
        }
        match model.matches('*').count() {
            0 => {}
            1 if pattern => {}
            1 => {
                self.problems.add(
                    place,
                    "the `*` stands for nothing",
                    "only a name with a `*` fills one in its target",
                );
            }
            _ => self.problems.add(place, format!("{} holds more than one `*`", written.quote(model)), "keep one"),
        }
        if model.len() > MAX_NAME || model.contains(char::is_control) {
            self.problems.add(place, "this cannot be a model's name", format!("write 1 to {MAX_NAME} characters"));
        }
        Some(Target { provider: Arc::from(provider), model: model.to_owned(), weight: 1, price: None, place: 0 })
    }
}

/// What `hedge` says; what is not written there has a default, but without it there is none.
fn hedge(fields: &Fields<'_>) -> Option<Hedge> {
    let fields = fields.section("hedge", &schema::HEDGE)?;
    Some(Hedge {
        percentile: fields.count("percentile", &(50..=99)).unwrap_or(95),
        least: fields.duration("least", &(Duration::from_millis(1)..=Duration::from_secs(60))),
        budget: fields.count("budget", &(1..=100)).unwrap_or(5),
    })
}

fn price(fields: &Fields<'_>) -> Option<Price> {
    let fields = fields.section("price", &schema::PRICE)?;
    let dollars = |name: &str| {
        fields.required(name)?;
        fields.parse(name, "a price", |text| {
            let price = text.parse::<f64>().ok().filter(|price| price.is_finite() && (0.0..=1e6).contains(price));
            price.ok_or_else(|| "write US dollars for a million tokens, such as `2.5`".to_owned())
        })
    };
    let (input, output) = (dollars("input"), dollars("output"));
    Some(Price { input: input?, output: output? })
}

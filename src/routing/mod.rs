//! What a model's name leads to. Pure: facts in, a [`Route`] out.
//!
//! A configured name is exact (`gpt-5`) or holds one `*` (`claude-*`). An exact name goes before a pattern, and of two
//! patterns the one with more text before its `*` wins, then the one with more text after it. Two different patterns
//! can therefore never tie on a name that both match.

mod affinity;
mod pattern;
mod retry;
mod rule;
mod strategy;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;

use ahash::AHashMap;

pub use affinity::{Affinity, hash_key};
pub use pattern::{Glob, Pattern};
pub use retry::{Failure, Hedge, On, Retries};
pub use rule::{Ask, Needs, Rule, When, first};
pub use strategy::{Draw, Price, Sight, Strategy, order};

/// Where requests for a name go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The configured name, which may hold a `*`: from a bounded set, so it may label a metric.
    pub name: Arc<str>,
    /// How the targets are tried.
    pub strategy: Strategy,
    /// What leads requests to the same place.
    pub affinity: Affinity,
    /// Where it goes, in the order of preference; never empty.
    pub targets: Vec<Target>,
    /// What happens when a target's format cannot carry a part of the request.
    pub on_loss: OnLoss,
    /// Which name of the model is in answers that pass within their format.
    pub answer_model: AnswerModel,
    /// The limit of output tokens where the client sets none and the target's format wants one.
    pub max_output: Option<u32>,
    /// When a request is tried again.
    pub retries: Arc<Retries>,
    /// When a stream that is slow to begin is asked for elsewhere beside that; `None` for never.
    pub hedge: Option<Hedge>,
}

impl Route {
    /// The way to one target, with the defaults.
    #[must_use]
    pub fn to(name: Arc<str>, target: Target) -> Self {
        Self {
            name,
            strategy: Strategy::default(),
            affinity: Affinity::default(),
            targets: vec![target],
            on_loss: OnLoss::default(),
            answer_model: AnswerModel::default(),
            max_output: None,
            retries: Arc::default(),
            hedge: None,
        }
    }
}

/// A model of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The provider's name in the config.
    pub provider: Arc<str>,
    /// The model's name there.
    pub model: String,
    /// Its share, for strategies that share; at least 1.
    pub weight: u32,
    /// What it costs, where that was said.
    pub price: Option<Price>,
    /// Its place among the model's targets as they are written.
    pub place: usize,
}

impl Target {
    /// What its endpoints know requests by: a provider counts tokens within limits of their own, and may well do so while it
    /// makes none.
    #[must_use]
    pub fn subject(&self, counts: bool) -> Cow<'_, str> {
        if counts { Cow::Owned(format!("{} (tokens counted)", self.model)) } else { Cow::Borrowed(&self.model) }
    }
}

/// What happens to a request that a target's format cannot carry in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLoss {
    /// The rest is sent.
    Allow,
    /// The rest is sent, and the answer and the log say what was lost.
    #[default]
    Warn,
    /// It is refused.
    Refuse,
}

impl OnLoss {
    /// Every value, by its word in the config.
    pub const NAMED: [(&'static str, Self); 3] =
        [("allow", Self::Allow), ("warn", Self::Warn), ("refuse", Self::Refuse)];

    /// The word in the config.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMED.into_iter().find(|(_, on_loss)| *on_loss == self).map_or("warn", |(name, _)| name)
    }
}

/// Which name of the model a client is shown in an answer that passes within its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AnswerModel {
    /// The one that came.
    #[default]
    Provider,
    /// The one that it asked for.
    Asked,
}

impl AnswerModel {
    /// Every value, by its word in the config.
    pub const NAMED: [(&'static str, Self); 2] = [("provider", Self::Provider), ("asked", Self::Asked)];

    /// The word in the config.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMED.into_iter().find(|(_, named)| *named == self).map_or("provider", |(name, _)| name)
    }
}

/// Every configured name.
#[derive(Debug, Clone, Default)]
pub struct Models {
    exact: AHashMap<Arc<str>, Arc<Route>>,
    /// Most specific first.
    patterns: Vec<(Pattern, Arc<Route>)>,
    /// Exact names, sorted.
    listed: Vec<Arc<Route>>,
}

impl Models {
    /// Takes the routes, each under its own name. Of two routes with one name the later stays.
    #[must_use]
    pub fn new(routes: impl IntoIterator<Item = Route>) -> Self {
        let mut models = Self::default();
        for route in routes {
            let route = Arc::new(route);
            match Pattern::new(&route.name) {
                Some(pattern) => models.patterns.push((pattern, route)),
                None => {
                    models.exact.insert(Arc::clone(&route.name), route);
                }
            }
        }
        models.patterns.sort_by_key(|(pattern, _)| Reverse(pattern.rank()));
        models.listed = models.exact.values().map(Arc::clone).collect();
        models.listed.sort_by(|a, b| a.name.cmp(&b.name));
        models
    }

    /// Where `name` leads. An exact name costs one look-up and no allocation beyond a count.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Option<Arc<Route>> {
        if let Some(route) = self.exact.get(name) {
            return Some(Arc::clone(route));
        }
        let (pattern, captured, route) =
            self.patterns.iter().find_map(|(pattern, route)| Some((pattern, pattern.capture(name)?, route)))?;
        if route.targets.iter().all(|target| !target.model.contains('*')) {
            return Some(Arc::clone(route));
        }
        // A target that is `*` alone takes the name over: whole, or without the folder that the pattern names.
        let taken_over = if pattern.is_folder() { captured } else { name };
        let mut route = Route::clone(route);
        for target in &mut route.targets {
            target.model = match target.model.as_str() {
                "*" => taken_over.to_owned(),
                model => model.replacen('*', captured, 1),
            };
        }
        Some(Arc::new(route))
    }

    /// The exact names, sorted. Patterns are not listed: what they stand for is not known here.
    pub fn list(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.listed.iter()
    }

    /// The routes of patterns, in the order in which they are tried.
    pub fn patterns(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.patterns.iter().map(|(_, route)| route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(entries: &[(&str, &str)]) -> Models {
        Models::new(entries.iter().map(|(name, to)| {
            let (provider, model) = to.split_once('/').unwrap();
            let target =
                Target { provider: provider.into(), model: model.to_owned(), weight: 1, price: None, place: 0 };
            Route::to(Arc::from(*name), target)
        }))
    }

    #[test]
    fn names_resolve() {
        let models = models(&[
            ("gpt-5", "openai/gpt-5"),
            ("*", "other/*"),
            ("claude-*", "claude/claude-*"),
            ("claude-*-mini", "claude/small"),
            ("claude-opus-*", "opus/*"),
            ("eu/*", "paris/*"),
            ("fast-*", "other/quick-*"),
            ("meta/llama:70b", "local/llama"),
            ("meta/*", "local/meta/*"),
        ]);
        let check = |name: &str, expect: &str| {
            let found = models.resolve(name).map(|route| {
                let target = &route.targets[0];
                format!("{} -> {}/{}", route.name, target.provider, target.model)
            });
            assert_eq!(found.unwrap_or_default(), expect, "{name}");
        };
        check("gpt-5", "gpt-5 -> openai/gpt-5");
        check("gpt-5-pro", "* -> other/gpt-5-pro");
        check("claude-opus-4", "claude-opus-* -> opus/claude-opus-4");
        check("eu/mistral-large", "eu/* -> paris/mistral-large");
        check("fast-9", "fast-* -> other/quick-9");
        check("claude-sonnet", "claude-* -> claude/claude-sonnet");
        check("claude-x-mini", "claude-*-mini -> claude/small");
        check("claude-mini", "claude-* -> claude/claude-mini");
        check("meta/llama:70b", "meta/llama:70b -> local/llama");
        check("meta/llama:8b", "meta/* -> local/meta/llama:8b");
        check("a*b", "* -> other/a*b");
        check("*", "* -> other/*");
        check("", "");
    }

    #[test]
    fn an_exact_name_is_shared_not_copied() {
        let models = models(&[("a", "p/m"), ("b-*", "p/m")]);
        assert!(Arc::ptr_eq(&models.resolve("a").unwrap(), &models.resolve("a").unwrap()));
        assert!(Arc::ptr_eq(&models.resolve("b-1").unwrap(), &models.resolve("b-2").unwrap()));
        assert!(models.resolve("c").is_none());
        assert!(models.resolve("b-").is_none());
    }

    #[test]
    fn exact_names_are_listed() {
        let models = models(&[("b", "p/m"), ("x-*", "p/*"), ("a", "p/m")]);
        let names: Vec<_> = models.list().map(|route| route.name.to_string()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(models.patterns().count(), 1);
    }
}

//! The bulkheads of the process, by what they are for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::bulkhead::{Bulkhead, Rule};

/// What a bulkhead is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// All requests.
    Edge,
    /// Those of a client.
    Client,
    /// Those for a model.
    Model,
    /// Attempts at a provider.
    Provider,
}

impl Scope {
    /// A bounded word for metrics and the log.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Client => "client",
            Self::Model => "model",
            Self::Provider => "provider",
        }
    }
}

/// A bulkhead as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// What it is for.
    pub scope: Scope,
    /// The name of that in the config.
    pub name: Arc<str>,
    /// What may run at once; `None` for anything.
    pub limit: Option<usize>,
    /// What runs.
    pub used: usize,
    /// Who waits.
    pub waiting: usize,
    /// Who was refused since the process began to know it.
    pub refused: u64,
}

type Known = HashMap<(Scope, Arc<str>), Weak<Bulkhead>>;

/// Every bulkhead that a config has, or that something runs in.
#[derive(Debug, Default)]
pub struct Registry {
    known: Mutex<Known>,
}

impl Registry {
    /// The bulkhead of that scope and name, which is held to `rule` from now on. What runs in it already counts on.
    pub fn bulkhead(&self, scope: Scope, name: &Arc<str>, rule: Rule) -> Arc<Bulkhead> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bulkhead) = known.get(&(scope, Arc::clone(name))).and_then(Weak::upgrade) {
            bulkhead.adopt(rule);
            return bulkhead;
        }
        known.retain(|_, bulkhead| bulkhead.strong_count() > 0);
        let bulkhead = Bulkhead::new(rule);
        known.insert((scope, Arc::clone(name)), Arc::downgrade(&bulkhead));
        bulkhead
    }

    /// Those that have a limit or somebody waiting, by scope and name.
    pub fn view(&self) -> Vec<View> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let live = known.iter().filter_map(|((scope, name), bulkhead)| Some((*scope, name, bulkhead.upgrade()?)));
        let mut views: Vec<View> = live
            .map(|(scope, name, bulkhead)| View {
                scope,
                name: Arc::clone(name),
                limit: bulkhead.limit(),
                used: bulkhead.used(),
                waiting: bulkhead.waiting(),
                refused: bulkhead.refused(),
            })
            .filter(|view| view.limit.is_some() || view.waiting > 0)
            .collect();
        views.sort_by(|one, other| (one.scope, &one.name).cmp(&(other.scope, &other.name)));
        views
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_changes_limits_under_counts_that_go_on() {
        let registry = Registry::default();
        let name = Arc::from("web");
        let rule = |most| Rule { most, ..Rule::default() };
        let old = registry.bulkhead(Scope::Client, &name, rule(None));
        let permits: Vec<_> = (0..3).filter_map(|_| old.enter()).collect();
        assert_eq!(registry.view(), [], "without a limit there is nothing to see");
        let new = registry.bulkhead(Scope::Client, &name, rule(Some(4)));
        drop(old);
        let one = new.enter().unwrap();
        assert!(new.enter().is_none(), "what ran before the limit counts");
        let view = registry.view();
        assert_eq!((view[0].used, view[0].limit, view[0].scope.label()), (4, Some(4), "client"));
        drop(one);
        drop(permits);
        assert_eq!(new.used(), 0);
        let other = registry.bulkhead(Scope::Model, &name, rule(Some(1)));
        assert!(!Arc::ptr_eq(&new, &other));
        drop((new, other));
        assert_eq!(registry.view(), []);
    }
}

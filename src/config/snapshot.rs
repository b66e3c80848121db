//! What serves requests: the settings with the pools that were built from them.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use ahash::AHashMap;
use arc_swap::ArcSwap;
use http::{HeaderName, HeaderValue};
use tidegate_codec::Recall;
use tidegate_codec::seal::Seal;

use super::Settings;
use crate::limits::{Bulkhead, Rule, Scope};
use crate::provider::Provider;
use crate::provider::facts::Model;
use crate::upstream::{Budgets, Fleet, Lineups, Pools, RecallMemory, Whereabouts};

/// One generation of the config, ready to serve; a request keeps the one that it met to its end.
pub struct Snapshot {
    /// What is configured.
    pub settings: Arc<Settings>,
    /// The endpoints of every provider.
    pub pools: Pools,
    /// The further attempts that the requests of each configured model may cause.
    pub budgets: Budgets,
    /// The second attempts beside slow ones that the streams of each may cause.
    pub hedges: Budgets,
    /// What is known of the targets of each configured model.
    pub lineups: Lineups,
    /// Which provider made what.
    pub(super) whereabouts: Arc<Whereabouts>,
    /// What clients do not bring back.
    recall: Arc<RecallMemory>,
    /// What bounds the requests that run at once.
    pub bulkheads: Bulkheads,
    /// What every request to a provider carries: its own headers and its credentials, by its name.
    headers: AHashMap<Arc<str>, Headers>,
    /// What is known of the configured targets, by provider and model.
    facts: AHashMap<Arc<str>, AHashMap<String, Arc<Model>>>,
    /// Seals opaque state.
    pub seal: Arc<Seal>,
    /// Counts up with every reload, from 1.
    pub generation: u64,
}

/// What bounds the requests that run at once, besides the pools' own.
pub struct Bulkheads {
    /// All of them.
    pub edge: Arc<Bulkhead>,
    /// Those of each client, by its name.
    pub clients: AHashMap<Arc<str>, Arc<Bulkhead>>,
    /// Those for each configured model.
    pub models: AHashMap<Arc<str>, Arc<Bulkhead>>,
}

impl Bulkheads {
    fn new(settings: &Settings, fleet: &Fleet) -> Self {
        let edge = Rule { most: Some(settings.server.limits.requests), ..Rule::default() };
        let of = |scope, name: &Arc<str>, rule| (Arc::clone(name), fleet.limits.bulkhead(scope, name, rule));
        let routes = settings.models.list().chain(settings.models.patterns());
        Self {
            edge: fleet.limits.bulkhead(Scope::Edge, &Arc::from(""), edge),
            clients: settings
                .clients
                .callers()
                .iter()
                .map(|caller| of(Scope::Client, caller.name(), caller.limit()))
                .collect(),
            models: routes
                .map(|route| {
                    let rule = settings.model_limits.get(&route.name).copied();
                    of(Scope::Model, &route.name, rule.unwrap_or_default())
                })
                .collect(),
        }
    }
}

/// Headers, ready to be sent.
pub type Headers = Vec<Header>;

/// A header, ready to be sent.
#[derive(Clone)]
pub struct Header {
    /// Its name.
    pub name: HeaderName,
    /// Its value, which may be a credential.
    pub value: HeaderValue,
}

/// The generation that new requests meet.
pub type Live = ArcSwap<Snapshot>;

impl Snapshot {
    /// Generation `generation`: `settings` with pools over the endpoints that `fleet` knows or gets to know.
    #[must_use]
    pub fn new(settings: Settings, fleet: &Arc<Fleet>, generation: u64) -> Self {
        let providers: Vec<_> = settings.providers.values().map(Arc::clone).collect();
        Self {
            pools: fleet.pools(&providers),
            budgets: fleet.budgets(settings.models.list().chain(settings.models.patterns()).map(|route| {
                let retries = &route.retries;
                (&route.name, retries.budget, retries.budget_floor)
            })),
            hedges: fleet.hedges(
                settings
                    .models
                    .list()
                    .chain(settings.models.patterns())
                    .filter_map(|route| Some((&route.name, route.hedge.as_ref()?.budget))),
            ),
            lineups: fleet.lineups(settings.models.list().chain(settings.models.patterns()).map(|route| {
                let targets = route.targets.iter().map(|target| format!("{}/{}", target.provider, target.model));
                (&route.name, targets.collect())
            })),
            whereabouts: fleet.whereabouts(),
            recall: fleet.recall(settings.server.recall_memory),
            bulkheads: Bulkheads::new(&settings, fleet),
            headers: providers.iter().map(|provider| (Arc::clone(&provider.name), headers(provider))).collect(),
            seal: Arc::new(seal(&settings)),
            facts: facts(&settings),
            settings: Arc::new(settings),
            generation,
        }
    }

    /// What `client` does not bring back; `None` where nothing is kept.
    #[must_use]
    pub fn recall_of(&self, client: &Arc<str>) -> Option<Arc<dyn Recall>> {
        self.recall.of(client, ("", ""))
    }

    /// The seal for a request of `client` to a provider and its model, which also knows what that client does not bring
    /// back of their answers.
    #[must_use]
    pub fn seal_of(&self, client: &Arc<str>, target: (&str, &str)) -> Cow<'_, Seal> {
        match self.recall.of(client, target) {
            Some(own) => Cow::Owned(self.seal.with_recall(own)),
            None => Cow::Borrowed(&*self.seal),
        }
    }

    /// What is known of `model` at `provider`.
    #[must_use]
    pub fn known(&self, provider: &Provider, model: &str) -> Arc<Model> {
        // A name that a pattern let through is looked up in the tables themselves.
        let models = self.facts.get(&provider.name).filter(|_| self.has(provider));
        let known = models.and_then(|models| models.get(model)).cloned();
        known.unwrap_or_else(|| Arc::new(self.settings.facts.model(provider, model)))
    }

    /// What every request to `provider` carries: its own headers and its credentials.
    #[must_use]
    pub fn headers(&self, provider: &Provider) -> Cow<'_, [Header]> {
        match self.headers.get(&provider.name).filter(|_| self.has(provider)) {
            Some(ready) => Cow::Borrowed(ready),
            None => Cow::Owned(headers(provider)),
        }
    }

    /// False for a provider of a newer config, which may be another one of the same name: who waited for a place is given
    /// one there.
    fn has(&self, provider: &Provider) -> bool {
        self.settings.providers.get(&provider.name).is_some_and(|own| std::ptr::eq(Arc::as_ptr(own), provider))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The headers hold credentials.
        f.debug_struct("Snapshot").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// The table of models is searched by parts of their names, which takes longer than a request should wait.
fn facts(settings: &Settings) -> AHashMap<Arc<str>, AHashMap<String, Arc<Model>>> {
    let mut facts: AHashMap<_, AHashMap<_, _>> = AHashMap::new();
    for target in settings.models.list().chain(settings.models.patterns()).flat_map(|route| &route.targets) {
        if let Some(provider) = settings.providers.get(&target.provider) {
            let models = facts.entry(Arc::clone(&provider.name)).or_default();
            let known = || Arc::new(settings.facts.model(provider, &target.model));
            models.entry(target.model.clone()).or_insert_with(known);
        }
    }
    facts
}

fn seal(settings: &Settings) -> Seal {
    let former = settings.former_sealing_keys.iter().map(|key| *key.expose());
    Seal::new(*settings.sealing_key.expose()).with_former(former)
}

/// What cannot stand in a header was refused when the config was read, and is left out here.
fn headers(provider: &Provider) -> Headers {
    let own = provider.headers.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let auth =
        provider.auth.as_ref().map(|auth| (auth.header.as_str(), format!("{}{}", auth.prefix, auth.key.expose())));
    let ready = own.chain(auth).filter_map(|(name, value)| {
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some(Header { name: HeaderName::try_from(name).ok()?, value })
    });
    ready.collect()
}

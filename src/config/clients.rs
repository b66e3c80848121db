//! Who may call, and what they may ask for.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::limits::{Class, Rule};
use crate::routing::{Glob, OnLoss};

/// SHA-256 of a client's key.
pub(super) type KeyHash = [u8; 32];

/// A client as it may call.
#[derive(Debug, PartialEq)]
pub(super) struct Grant {
    /// The client's name.
    pub(super) name: Arc<str>,
    /// What it may ask for.
    pub(super) models: Vec<Glob>,
    /// Where its operations that name no model may go; `None` for everywhere.
    pub(super) providers: Option<Vec<Arc<str>>>,
    /// Providers that it may ask for anything.
    pub(super) raw: Vec<Arc<str>>,
    /// What happens to its requests where a part of them is lost; `None` where the model's own rule holds.
    pub(super) on_loss: Option<OnLoss>,
    /// What it may have running at once.
    pub(super) limit: Rule,
    /// Whom its requests go before where clients wait for the same.
    pub(super) class: Class,
}

/// An authenticated client. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller(Arc<Grant>);

impl Caller {
    pub(super) fn new(grant: Grant) -> Self {
        Self(Arc::new(grant))
    }

    /// What happens to its requests where a part of them is lost; `None` where the model's own rule holds.
    #[must_use]
    pub fn on_loss(&self) -> Option<OnLoss> {
        self.0.on_loss
    }

    /// What it may have running at once.
    #[must_use]
    pub fn limit(&self) -> Rule {
        self.0.limit
    }

    /// Whom its requests go before where clients wait for the same.
    #[must_use]
    pub fn class(&self) -> Class {
        self.0.class
    }

    /// Its name in the config, from a bounded set; `anonymous` where `auth: off`.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// Whether it may ask for the model of that name.
    #[must_use]
    pub fn may_use(&self, model: &str) -> bool {
        self.0.models.iter().any(|glob| glob.matches(model))
    }

    /// Whether its operations that name no model may go to the provider of that name.
    #[must_use]
    pub fn may_call(&self, provider: &str) -> bool {
        self.0.providers.as_ref().is_none_or(|granted| granted.iter().any(|name| **name == *provider))
    }

    /// Whether it may ask the provider of that name for anything.
    #[must_use]
    pub fn may_ask_raw(&self, provider: &str) -> bool {
        self.0.raw.iter().any(|name| **name == *provider)
    }

    /// The providers that its operations without a model may go to; `None` for all.
    #[must_use]
    pub fn providers(&self) -> Option<&[Arc<str>]> {
        self.0.providers.as_deref()
    }

    /// The providers that it may ask for anything.
    #[must_use]
    pub fn raw(&self) -> &[Arc<str>] {
        &self.0.raw
    }

    /// The patterns of the models that it may ask for.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.0.models.iter().map(Glob::as_str)
    }
}

/// Why a request has no caller. Neither says whether a key exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthFailure {
    /// No key was presented.
    Missing,
    /// The key is not known.
    Unknown,
}

impl AuthFailure {
    /// A bounded label for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }
}

/// Every client that may call.
#[derive(Clone)]
pub struct Clients(Arc<Access>);

enum Access {
    /// `auth: off`: everyone, under one name.
    Open(Caller),
    /// Those whose key has one of these hashes.
    Keys(HashMap<KeyHash, (KeyHash, Caller)>),
}

impl Clients {
    /// Everyone is served.
    pub(super) fn open() -> Self {
        let everything = vec![Glob::new("*")];
        let grant = Grant {
            name: Arc::from("anonymous"),
            models: everything,
            providers: None,
            raw: Vec::new(),
            on_loss: None,
            limit: Rule::default(),
            class: Class::default(),
        };
        Self(Arc::new(Access::Open(Caller::new(grant))))
    }

    /// Those that hold one of the keys.
    pub(super) fn with_keys(clients: impl IntoIterator<Item = (KeyHash, Caller)>) -> Self {
        Self(Arc::new(Access::Keys(clients.into_iter().map(|(hash, caller)| (hash, (hash, caller))).collect())))
    }

    /// Whether everyone is served.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(*self.0, Access::Open(_))
    }

    /// The client of that name; where everyone is served, the one that all are.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Caller> {
        match &*self.0 {
            Access::Open(caller) => Some(caller.clone()),
            Access::Keys(keys) => {
                keys.values().map(|(_, caller)| caller).find(|caller| **caller.name() == *name).cloned()
            }
        }
    }

    /// What comes of all keys of the client of that name, to prove that something was made for who held them; `None` where
    /// nobody needs a key, or nobody is called so.
    #[must_use]
    pub fn proof(&self, name: &str) -> Option<[u8; 32]> {
        let Access::Keys(keys) = &*self.0 else { return None };
        let mut hashes: Vec<_> =
            keys.values().filter(|(_, caller)| **caller.name() == *name).map(|(hash, _)| hash).collect();
        hashes.sort_unstable();
        let mut digest = Sha256::new();
        digest.update(b"keys of a client");
        for hash in &hashes {
            digest.update(hash);
        }
        (!hashes.is_empty()).then(|| digest.finalize().into())
    }

    /// The client that holds `presented`, the bare key without `Bearer `.
    ///
    /// The table is searched by the key's SHA-256, which no caller can steer byte by byte, and the hash found is
    /// compared in constant time: how long it takes tells nothing about the keys.
    ///
    /// # Errors
    /// Where a key is wanted and none, or an unknown one, was presented.
    pub fn authenticate(&self, presented: Option<&str>) -> Result<Caller, AuthFailure> {
        let keys = match &*self.0 {
            Access::Open(caller) => return Ok(caller.clone()),
            Access::Keys(keys) => keys,
        };
        let presented = presented.filter(|key| !key.is_empty()).ok_or(AuthFailure::Missing)?;
        let hash = hash(presented);
        let (known, caller) = keys.get(&hash).ok_or(AuthFailure::Unknown)?;
        if bool::from(known.as_slice().ct_eq(hash.as_slice())) { Ok(caller.clone()) } else { Err(AuthFailure::Unknown) }
    }

    /// The clients in the order of their names; the one for everyone where `auth: off`.
    #[must_use]
    pub fn callers(&self) -> Vec<Caller> {
        let mut callers = match &*self.0 {
            Access::Open(caller) => vec![caller.clone()],
            Access::Keys(keys) => keys.values().map(|(_, caller)| caller.clone()).collect(),
        };
        callers.sort_by(|a, b| a.name().cmp(b.name()));
        callers
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.is_open() { "Clients::Open" } else { "Clients::Keys" };
        f.debug_tuple(name).field(&self.callers()).finish()
    }
}

/// What is kept of a key.
pub(super) fn hash(key: &str) -> KeyHash {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_known_by_their_key() {
        let client = |name: &str, models: &[&str]| {
            let models = models.iter().map(|model| Glob::new(*model)).collect();
            Caller::new(Grant {
                name: Arc::from(name),
                models,
                providers: Some(vec!["p".into()]),
                raw: Vec::new(),
                on_loss: None,
                limit: Rule::default(),
                class: Class::default(),
            })
        };
        let web = client("web", &["gpt-*", "smart"]);
        let clients = Clients::with_keys([(hash("secret-1"), web), (hash("secret-2"), client("b", &[]))]);
        let name = |key| clients.authenticate(key).map(|caller| caller.name().to_string());
        assert_eq!(name(Some("secret-1")), Ok("web".to_owned()));
        assert_eq!(name(Some("secret-2")), Ok("b".to_owned()));
        assert_eq!(name(Some("secret-3")), Err(AuthFailure::Unknown));
        assert_eq!(name(Some("")), Err(AuthFailure::Missing));
        assert_eq!(name(None), Err(AuthFailure::Missing));
        assert!(clients.proof("web").is_some() && clients.proof("web") != clients.proof("b"));
        assert_eq!((clients.proof("c"), Clients::open().proof("anonymous")), (None, None));
        let web = clients.authenticate(Some("secret-1")).unwrap();
        assert!(web.may_use("gpt-5") && web.may_use("smart") && !web.may_use("claude"));
        assert!(web.may_call("p") && !web.may_call("q") && !web.may_ask_raw("p"));
        let shown = format!("{clients:?}");
        assert!(shown.contains("web") && !shown.contains("secret"), "{shown}");
    }

    #[test]
    fn open_means_everyone() {
        let open = Clients::open();
        for key in [None, Some("anything")] {
            let caller = open.authenticate(key).unwrap();
            assert_eq!(&**caller.name(), "anonymous");
            assert!(caller.may_use("a/b:c") && caller.may_call("p") && !caller.may_ask_raw("p"));
        }
    }
}

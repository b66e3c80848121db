//! Passive health of the models at one endpoint: a model that fails there is left alone there, and nowhere else.
//!
//! A provider may be well and one of its models overloaded; and a rate limit (429) belongs to a model, is over when the
//! provider says so, and says nothing against the endpoint. Models without trouble cost one atomic load a request.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ahash::AHashMap;

use super::hold::{Gate, Hold, Stage};

/// Models in trouble that are kept track of at one endpoint; clients may be free to invent names.
const MOST: usize = 1_024;

/// For how long the failure of one model speaks against the others at its endpoint, in milliseconds.
const SETTLES_MS: u64 = 10_000;

/// The models in trouble at one endpoint.
#[derive(Default)]
pub(super) struct Troubles {
    count: AtomicUsize,
    /// When one failed last; 0 for never.
    last: AtomicU64,
    models: RwLock<AHashMap<Box<str>, Arc<Trouble>>>,
}

/// One model in trouble.
#[derive(Default)]
pub(super) struct Trouble {
    /// Failures in a row.
    pub(super) hold: Hold,
    /// The end of its rate limit; 0 for none.
    cools_until: AtomicU64,
}

impl Trouble {
    fn gate(&self, now: u64, choosy: bool) -> Gate {
        if self.cools_until.load(Ordering::Acquire) > now {
            Gate::Held
        } else if choosy {
            self.hold.gate_of_choosy(|| now)
        } else {
            self.hold.gate(|| now)
        }
    }

    /// Until when it matters: the end of what it is held for, or its last failure.
    fn matters_until(&self) -> u64 {
        self.cools_until.load(Ordering::Acquire).max(self.hold.until()).max(self.hold.last_failed())
    }
}

/// A model in trouble as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelView {
    /// The provider's name of it.
    pub model: String,
    /// Where its circuit stands.
    pub stage: Stage,
    /// How long its rate limit lasts still, in milliseconds.
    pub cools_ms: u64,
}

impl Troubles {
    /// What may be done with `model` now.
    pub(super) fn gate(&self, model: &str, now: impl FnOnce() -> u64) -> Gate {
        self.find(model).map_or(Gate::Open, |trouble| trouble.gate(now(), false))
    }

    /// What may be done with `model` by who has somewhere else to go.
    pub(super) fn gate_of_choosy(&self, model: &str, now: impl FnOnce() -> u64) -> Gate {
        self.find(model).map_or(Gate::Open, |trouble| trouble.gate(now(), true))
    }

    /// Whether `model` fails again and again; that it is at its limit is no failure.
    pub(super) fn fails(&self, model: &str, now: impl FnOnce() -> u64) -> bool {
        self.find(model).is_some_and(|trouble| trouble.hold.gate_of_choosy(now) != Gate::Open)
    }

    /// Nothing failed with `model` since it last worked, and nothing with any other of late.
    pub(super) fn are_sound(&self, model: &str, now: impl FnOnce() -> u64) -> bool {
        let last = self.last.load(Ordering::Acquire);
        last == 0 || (now().saturating_sub(last) > SETTLES_MS && self.find(model).is_none())
    }

    /// The trouble of `model`, if it has any.
    pub(super) fn find(&self, model: &str) -> Option<Arc<Trouble>> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.models.read().unwrap_or_else(PoisonError::into_inner).get(model).map(Arc::clone)
    }

    /// The trouble of `model`, which failed now, made if it has none. Where there are too many it takes the place of the one
    /// that is over first: names that somebody invents are answered badly for ever, and would keep all others out.
    pub(super) fn of(&self, model: &str, now: u64) -> Arc<Trouble> {
        self.last.fetch_max(now.max(1), Ordering::AcqRel);
        if let Some(trouble) = self.find(model) {
            return trouble;
        }
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        if models.len() >= MOST && !models.contains_key(model) {
            let first = models.iter().min_by_key(|(_, trouble)| trouble.matters_until()).map(|(name, _)| name.clone());
            first.and_then(|name| models.remove(&name));
        }
        let trouble = Arc::clone(models.entry(model.into()).or_default());
        self.count.store(models.len(), Ordering::Release);
        trouble
    }

    /// The provider asks to leave `model` alone until then.
    pub(super) fn cool(&self, model: &str, until: u64, now: u64) {
        self.of(model, now).cools_until.fetch_max(until, Ordering::AcqRel);
    }

    /// What `began` then at `model` was answered: its troubles are over, but for a rate limit or a hold, which an answer on
    /// its way before knows nothing of. `true` when this ends a hold.
    pub(super) fn passed(&self, model: &str, began: u64, now: impl FnOnce() -> u64) -> bool {
        let Some(trouble) = self.find(model) else { return false };
        let back = trouble.hold.passed(began);
        if !trouble.hold.is_sound() || trouble.cools_until.load(Ordering::Acquire) > now() {
            return back;
        }
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        models.remove(model);
        self.count.store(models.len(), Ordering::Release);
        back
    }

    /// Those that are held or cool down, by name.
    pub(super) fn view(&self, now: u64) -> Vec<ModelView> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        let view = |model: &str, trouble: &Trouble| ModelView {
            model: model.to_owned(),
            stage: trouble.hold.stage(now),
            cools_ms: trouble.cools_until.load(Ordering::Acquire).saturating_sub(now),
        };
        let mut views: Vec<ModelView> = models.iter().map(|(model, trouble)| view(model, trouble)).collect();
        views.retain(|view| view.stage != Stage::Closed || view.cools_ms > 0);
        views.sort_by(|one, other| one.model.cmp(&other.model));
        views
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Breaker;

    #[test]
    fn a_cool_down_ends_by_itself_and_is_never_shortened() {
        let troubles = Troubles::default();
        troubles.cool("m", 500, 1);
        troubles.cool("m", 300, 2);
        assert_eq!(troubles.gate("m", || 499), Gate::Held);
        assert_eq!(troubles.gate("m", || 500), Gate::Open, "no trial: the provider said when");
        assert_eq!(troubles.gate("other", || 1), Gate::Open);
        let view = troubles.view(100);
        assert_eq!((view.len(), view[0].cools_ms, view[0].stage), (1, 400, Stage::Closed));
        assert!(troubles.view(500).is_empty());
    }

    #[test]
    fn an_answer_ends_all_but_a_rate_limit() {
        let troubles = Troubles::default();
        troubles.cool("m", 500, 1);
        troubles.passed("m", u64::MAX, || 499);
        assert_eq!(troubles.gate("m", || 499), Gate::Held);
        troubles.passed("m", u64::MAX, || 500);
        assert_eq!(troubles.count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_failure_of_one_speaks_against_all_for_a_while() {
        let troubles = Troubles::default();
        assert!(troubles.are_sound("m", || 0));
        let sound = |model, now| troubles.are_sound(model, || now);
        troubles.of("m", 0);
        assert!(!sound("m", 0) && !sound("other", SETTLES_MS));
        assert!(!sound("m", SETTLES_MS + 2) && sound("other", SETTLES_MS + 2));
        troubles.passed("m", u64::MAX, || 0);
        assert!(!sound("m", SETTLES_MS) && sound("m", SETTLES_MS + 2));
    }

    #[test]
    fn invented_names_have_a_bound() {
        let troubles = Troubles::default();
        for number in 0..2 * MOST {
            troubles.cool(&format!("m{number}"), 500, 1);
        }
        assert_eq!(troubles.count.load(Ordering::Relaxed), MOST);
    }

    #[test]
    fn names_whose_trouble_is_over_first_make_place_for_others() {
        let troubles = Troubles::default();
        troubles.cool("long", 60_000, 1);
        for number in 0..MOST {
            troubles.cool(&format!("m{number}"), 500 + number as u64, 1);
        }
        let held = |model: &str| troubles.gate(model, || 2) == Gate::Held;
        assert!(held("long") && !held("m0") && held("m1"));
        let breaker = Breaker { failures: 1, ..Breaker::default() };
        troubles.of("real", 600).hold.failed(600, &breaker, || true);
        assert!(held("real") && held("long") && !held("m1") && held("m2"));
    }
}

//! How many further attempts requests may cause together: those of one model, and those of all models.
//!
//! As linkerd does it: every request pays in a share of an attempt, every further attempt takes out a whole one, and a
//! few a second are allowed beside that, so that a quiet model can be retried at all. When everything fails, attempts are
//! bounded by the number of requests, and a provider in trouble is not buried under our own repetitions. Behind many
//! models may stand one provider, so that an attempt is paid for twice: by its model and by all models.
//!
//! An attempt that is answered gets its price back: repetitions that help are no storm. And one that goes to where nothing
//! has failed may be made on credit: when a provider drops a hundred streams at once, the next one takes them all, though
//! no requests have paid in for so many. Should that one fail as well, it is sound no longer, and the debt is paid first.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{self, Instant};

/// Hundredths of an attempt that are saved up at most: so many requests' shares outlive a quiet hour.
const SAVED_MOST: i64 = 100 * 100;

/// Hundredths of an attempt that are owed at most.
const OWED_MOST: i64 = 1_000 * 100;

/// What an attempt costs, in its hundredths.
const PRICE: i64 = 100;

/// The budget of further attempts of one model, for the life of the process.
#[derive(Debug)]
pub struct RetryBudget {
    /// What a request pays in, in hundredths of an attempt.
    percent: AtomicU32,
    own: Account,
    /// That of all models; `None` where each stands for itself.
    common: Option<Arc<Account>>,
    refused: AtomicU64,
}

/// What attempts are paid from.
#[derive(Debug)]
pub(super) struct Account {
    /// Attempts a second beside what is paid in.
    floor: AtomicU32,
    /// Hundredths of an attempt; below zero when some were made on credit.
    saved: AtomicI64,
    reserve: Mutex<Reserve>,
}

/// What is left of the attempts of this second.
#[derive(Debug)]
struct Reserve {
    left: f64,
    at: Instant,
}

impl RetryBudget {
    pub(super) fn new(percent: u32, floor: u32, common: Option<Arc<Account>>) -> Self {
        let own = Account::new(floor);
        Self { percent: AtomicU32::new(percent), own, common, refused: AtomicU64::new(0) }
    }

    /// Takes over what a new config says.
    pub(super) fn adopt(&self, percent: u32, floor: u32) {
        self.percent.store(percent, Ordering::Relaxed);
        self.own.adopt(floor);
    }

    /// A request came.
    pub fn pay_in(&self) {
        self.add(i64::from(self.percent.load(Ordering::Relaxed)));
    }

    /// Takes one further attempt out; `false` when none is left. `sound`: it goes to where nothing has failed of late.
    pub fn take(&self, sound: bool) -> bool {
        self.take_at(clock::now(), sound)
    }

    /// An attempt that was taken out was answered.
    pub fn give_back(&self) {
        self.add(PRICE);
    }

    /// Attempts that were wanted and not had.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn add(&self, hundredths: i64) {
        self.own.add(hundredths);
        if let Some(common) = &self.common {
            common.add(hundredths);
        }
    }

    fn take_at(&self, now: Instant, sound: bool) -> bool {
        let allowed = self.percent.load(Ordering::Relaxed) > 0 || self.own.floor.load(Ordering::Relaxed) > 0;
        let had = allowed && self.own.take(now, sound);
        let paid = had && self.common.as_ref().is_none_or(|common| common.take(now, sound));
        if had && !paid {
            self.own.add(PRICE);
        }
        if !paid {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        paid
    }
}

impl Account {
    pub(super) fn new(floor: u32) -> Self {
        let reserve = Reserve { left: f64::from(floor), at: clock::now() };
        Self { floor: AtomicU32::new(floor), saved: AtomicI64::new(0), reserve: Mutex::new(reserve) }
    }

    /// Takes over another floor. What is more of it is there at once.
    pub(super) fn adopt(&self, floor: u32) {
        let before = self.floor.swap(floor, Ordering::Relaxed);
        if floor != before {
            let mut reserve = self.reserve.lock().unwrap_or_else(PoisonError::into_inner);
            reserve.left = (reserve.left + f64::from(floor) - f64::from(before)).max(0.0);
        }
    }

    fn add(&self, hundredths: i64) {
        let add = |saved: i64| (saved < SAVED_MOST).then(|| saved.saturating_add(hundredths).min(SAVED_MOST));
        // A full account is left alone.
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    fn take(&self, now: Instant, sound: bool) -> bool {
        let least = if sound { PRICE - OWED_MOST } else { PRICE };
        let spend = |saved: i64| (saved >= least).then(|| saved - PRICE);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok() || self.take_reserve(now)
    }

    fn take_reserve(&self, now: Instant) -> bool {
        let floor = f64::from(self.floor.load(Ordering::Relaxed));
        let mut reserve = self.reserve.lock().unwrap_or_else(PoisonError::into_inner);
        let passed: Duration = now.saturating_duration_since(reserve.at);
        reserve.left = (reserve.left + passed.as_secs_f64() * floor).min(floor);
        reserve.at = now;
        let had = reserve.left >= 1.0;
        if had {
            reserve.left -= 1.0;
        }
        had
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(budget: &RetryBudget, at: Instant, wanted: u32) -> u32 {
        (0..wanted).map(|_| u32::from(budget.take_at(at, false))).sum()
    }

    #[test]
    fn what_nothing_failed_at_gives_credit_and_what_is_answered_is_free() {
        let budget = RetryBudget::new(20, 0, None);
        let now = clock::now();
        budget.pay_in();
        assert!((0..100).all(|_| budget.take_at(now, true)), "a sound one takes them all");
        assert!(!budget.take_at(now, false));
        (0..400).for_each(|_| budget.pay_in());
        assert!(!budget.take_at(now, false), "the debt is paid first");
        (0..100).for_each(|_| budget.give_back());
        assert_eq!(taken(&budget, now, 1_000), 80, "401 requests have paid for them");
        assert_eq!((0..5_000).filter(|_| budget.take_at(now, true)).count(), 1_000, "credit has its bound");
        let none = RetryBudget::new(0, 0, None);
        assert!(!none.take_at(now, true), "nothing is nothing");
    }

    #[test]
    fn a_fifth_of_the_requests_and_ten_a_second() {
        let budget = RetryBudget::new(20, 10, None);
        let start = clock::now();
        let mut attempts = 0;
        // 100 requests a second for ten seconds, each of which would be tried three times more.
        for second in 0..10 {
            for part in 0..10 {
                let now = start + Duration::from_millis(second * 1_000 + part * 100);
                for _ in 0..10 {
                    budget.pay_in();
                    attempts += 1 + taken(&budget, now, 3);
                }
            }
        }
        // 9.9 s pass, and the ten of the first second are there at once.
        assert!((1_300..=1_310).contains(&attempts), "1,000 requests, 200 of them again, and 10 a second: {attempts}");
        assert!(budget.refused() > 2_000);
    }

    #[test]
    fn many_models_that_fail_have_one_budget() {
        let common = Arc::new(Account::new(10));
        let models: Vec<RetryBudget> = (0..40).map(|_| RetryBudget::new(20, 10, Some(Arc::clone(&common)))).collect();
        let now = clock::now();
        let mut further = 0;
        for _ in 0..20 {
            for model in &models {
                model.pay_in();
                further += taken(model, now, 3);
            }
        }
        assert_eq!(further, 800 / 5 + 10);
        // A model that is not to be repeated is not, whatever others have left; and what is answered is everybody's.
        models[0].give_back();
        assert_eq!(taken(&RetryBudget::new(0, 0, Some(Arc::clone(&common))), now, 1), 0);
        assert_eq!((taken(&models[0], now, 2), taken(&models[1], now, 2)), (1, 0));
        // What a model may and all may not costs it nothing.
        (0..5).for_each(|_| models[2].pay_in());
        assert_eq!(taken(&models[2], now, 2), 1);
        assert!(models.iter().map(RetryBudget::refused).sum::<u64>() > 2_000);
    }

    #[test]
    fn what_is_saved_up_has_a_bound() {
        let budget = RetryBudget::new(20, 0, None);
        (0..100_000).for_each(|_| budget.pay_in());
        assert_eq!(taken(&budget, clock::now(), 1_000), 100);
    }

    #[test]
    fn a_budget_of_nothing_allows_nothing_and_a_new_config_counts_at_once() {
        let budget = RetryBudget::new(0, 0, None);
        budget.pay_in();
        let later = clock::now() + Duration::from_secs(60);
        assert_eq!(taken(&budget, later, 5), 0);
        budget.adopt(100, 2);
        budget.pay_in();
        assert_eq!(taken(&budget, later + Duration::from_secs(60), 5), 3);
    }
}

//! How many further attempts requests may cause together, those of one model and those of all.
//!
//! As linkerd does it: every request pays in a share of an attempt, every further attempt takes out a whole one, and a
//! few a second are allowed beside that, so that a quiet model can be retried at all. When everything fails, attempts are
//! bounded by the number of requests, and a provider in trouble is not buried under our own repetitions.
//!
//! What a further attempt takes out comes from two accounts: the model's own, so that one in trouble leaves the others
//! theirs, and one that all models of the process share. Without that a provider with many models would be repeated to
//! as many times a second as it has names.
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

/// The budget of further attempts of one model, for the life of the process.
#[derive(Debug)]
pub struct RetryBudget {
    /// What a request pays in, in hundredths of an attempt.
    percent: AtomicU32,
    own: Account,
    common: Arc<Account>,
    refused: AtomicU64,
}

/// Attempts that may be made.
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
    /// A budget that takes from `common` as well.
    pub(super) fn new(percent: u32, floor: u32, common: &Arc<Account>) -> Self {
        let (own, common) = (Account::new(floor), Arc::clone(common));
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
        self.add(100);
    }

    /// Attempts that were wanted and not had.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn add(&self, hundredths: i64) {
        self.own.add(hundredths);
        self.common.add(hundredths);
    }

    fn take_at(&self, now: Instant, sound: bool) -> bool {
        let none = self.percent.load(Ordering::Relaxed) == 0 && self.own.floor() == 0;
        let least = if sound && !none { 100 - OWED_MOST } else { 100 };
        if self.spend(least) || self.take_reserve(now) {
            return true;
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        false
    }

    fn spend(&self, least: i64) -> bool {
        let spent = self.own.spend(least);
        let both = spent && self.common.spend(least);
        if spent && !both {
            self.own.add(100);
        }
        both
    }

    fn take_reserve(&self, now: Instant) -> bool {
        let taken = self.own.take_reserve(now);
        let both = taken && self.common.take_reserve(now);
        if taken && !both {
            self.own.put_back();
        }
        both
    }
}

impl Account {
    /// An account with nothing on it, and `floor` attempts a second.
    pub(super) fn new(floor: u32) -> Self {
        Self {
            floor: AtomicU32::new(floor),
            saved: AtomicI64::new(0),
            reserve: Mutex::new(Reserve { left: f64::from(floor), at: clock::now() }),
        }
    }

    /// Takes over what a new config says.
    pub(super) fn adopt(&self, floor: u32) {
        self.floor.store(floor, Ordering::Relaxed);
    }

    fn floor(&self) -> u32 {
        self.floor.load(Ordering::Relaxed)
    }

    fn add(&self, hundredths: i64) {
        let add = |saved: i64| (saved < SAVED_MOST).then(|| saved.saturating_add(hundredths).min(SAVED_MOST));
        // A full account is left alone.
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Takes out an attempt, if at least `least` hundredths are there.
    fn spend(&self, least: i64) -> bool {
        let spend = |saved: i64| (saved >= least).then(|| saved - 100);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }

    fn put_back(&self) {
        self.reserve.lock().unwrap_or_else(PoisonError::into_inner).left += 1.0;
    }

    fn take_reserve(&self, now: Instant) -> bool {
        let floor = f64::from(self.floor());
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

    fn fresh(percent: u32, floor: u32) -> RetryBudget {
        RetryBudget::new(percent, floor, &Arc::new(Account::new(floor)))
    }

    fn taken(budget: &RetryBudget, at: Instant, wanted: u32) -> u32 {
        (0..wanted).map(|_| u32::from(budget.take_at(at, false))).sum()
    }

    #[test]
    fn what_nothing_failed_at_gives_credit_and_what_is_answered_is_free() {
        let budget = fresh(20, 0);
        let now = clock::now();
        budget.pay_in();
        assert!((0..100).all(|_| budget.take_at(now, true)), "a sound one takes them all");
        assert!(!budget.take_at(now, false));
        (0..400).for_each(|_| budget.pay_in());
        assert!(!budget.take_at(now, false), "the debt is paid first");
        (0..100).for_each(|_| budget.give_back());
        assert_eq!(taken(&budget, now, 1_000), 80, "401 requests have paid for them");
        assert_eq!((0..5_000).filter(|_| budget.take_at(now, true)).count(), 1_000, "credit has its bound");
        let none = fresh(0, 0);
        assert!(!none.take_at(now, true), "nothing is nothing");
    }

    #[test]
    fn a_fifth_of_the_requests_and_ten_a_second() {
        let budget = fresh(20, 10);
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
    fn many_models_have_no_more_than_one() {
        let common = Arc::new(Account::new(10));
        let budgets: Vec<_> = (0..40).map(|_| RetryBudget::new(20, 10, &common)).collect();
        let start = clock::now();
        let mut attempts = 0;
        for second in 0..10 {
            for budget in &budgets {
                for _ in 0..10 {
                    budget.pay_in();
                    attempts += 1 + taken(budget, start + Duration::from_secs(second), 3);
                }
            }
        }
        assert!((4_800..=4_900).contains(&attempts), "4,000 requests, 800 of them again, and 10 a second: {attempts}");
        let credit = budgets.iter().map(|budget| (0..1_000).filter(|_| budget.take_at(start, true)).count());
        assert_eq!(credit.sum::<usize>(), 1_000, "there is one credit for all");
        assert!(!budgets[0].take_at(start, true));
        (0..100).for_each(|_| budgets[1].pay_in());
        assert!(!budgets[1].take_at(start, false), "the debt of one is the debt of all");
    }

    #[test]
    fn one_model_in_trouble_leaves_the_others_their_share() {
        let common = Arc::new(Account::new(0));
        let (sick, well) = (RetryBudget::new(20, 0, &common), RetryBudget::new(20, 0, &common));
        for _ in 0..100 {
            sick.pay_in();
            well.pay_in();
        }
        let now = clock::now();
        assert_eq!((taken(&sick, now, 100), taken(&well, now, 100)), (20, 20));
    }

    #[test]
    fn what_is_saved_up_has_a_bound() {
        let budget = fresh(20, 0);
        (0..100_000).for_each(|_| budget.pay_in());
        assert_eq!(taken(&budget, clock::now(), 1_000), 100);
    }

    #[test]
    fn a_budget_of_nothing_allows_nothing_and_a_new_config_counts_at_once() {
        let budget = budget(0, 0);
        budget.pay_in();
        let later = clock::now() + Duration::from_secs(60);
        assert_eq!(taken(&budget, later, 5), 0);
        budget.adopt(100, 2);
        budget.common.adopt(2);
        budget.pay_in();
        assert_eq!(taken(&budget, later + Duration::from_secs(60), 5), 3);
    }
}

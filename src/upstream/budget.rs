//! How many further attempts requests may cause together: those of one model, and those of all models.
//!
//! As linkerd does it: every request pays in a share of an attempt, every further attempt takes out a whole one, and a
//! few a second are allowed beside that, so that a quiet model can be retried at all. When everything fails, attempts are
//! bounded by the number of requests, and a provider in trouble is not buried under our own repetitions. Behind many
//! models may stand one provider, so that an attempt is paid for twice: by its model and by all models.
//!
//! An attempt that is answered gets its price back: repetitions that help are no storm. So an attempt that goes to where
//! nothing has failed of late, and that the budget has no more of, need not be given up while others are out: it waits for
//! what becomes of them. When a provider drops a hundred streams at once, a few go to the next one first; each that is
//! answered there pays for itself and for one that waits, so that twice as many follow, and soon all. Where they fail as
//! well nothing was spent beyond the budget. For the same reason only half of what is left goes to one place before
//! something is known of it, or has not been for a while: an answer that comes whole may take a minute, and what fails mostly
//! fails at once.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::{self, Instant};

/// Hundredths of an attempt that are saved up at most: so many requests' shares outlive a quiet hour.
const SAVED_MOST: i64 = 100 * 100;

/// How long a request waits at most for what becomes of other requests' attempts. Most end by their own deadlines before.
const PATIENCE: Duration = Duration::from_secs(60);

/// After so long without news it takes what there is: all that is left, and what every second brings.
const NO_NEWS: Duration = Duration::from_secs(1);

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
    /// Attempts that were paid for and of which nothing is known yet.
    out: AtomicU32,
    /// Requests that wait for what becomes of those.
    waiting: AtomicU32,
    /// Something became known of one of those.
    known: Notify,
}

/// What attempts are paid from.
#[derive(Debug)]
pub(super) struct Account {
    /// Attempts a second beside what is paid in.
    floor: AtomicU32,
    /// Hundredths of an attempt.
    saved: AtomicI64,
    reserve: Mutex<Reserve>,
}

/// What is left of the attempts of this second.
#[derive(Debug)]
struct Reserve {
    left: f64,
    at: Instant,
}

/// Where a further attempt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Something has failed there of late.
    Failing,
    /// Nothing has.
    Sound,
    /// Nothing has, though others went there a while ago.
    Quiet,
}

/// What a budget says to one further attempt.
#[derive(Debug)]
pub enum Payment {
    /// It is paid for.
    Paid(Ticket),
    /// It may be, once more is known of those that are out.
    Later,
    /// There is none.
    Refused,
}

/// A further attempt that is paid for. Dropped, it has failed.
#[derive(Debug)]
pub struct Ticket(Arc<RetryBudget>);

impl Ticket {
    /// The attempt is answered: its price goes back, and pays for one that waits.
    pub fn answered(self) {
        let budget = &self.0;
        let waits = budget.waiting.load(Ordering::Relaxed) > 0;
        budget.add(if waits { 2 * PRICE } else { PRICE });
        // The second is woken when this is dropped.
        budget.known.notify_one();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let before = self.0.out.fetch_sub(1, Ordering::AcqRel);
        if before <= 1 {
            // Nothing is left to wait for.
            self.0.known.notify_waiters();
        } else {
            self.0.known.notify_one();
        }
    }
}

/// One that waits; dropped, it waits no more.
#[derive(Debug)]
struct Waiting<'b>(&'b RetryBudget);

impl<'b> Waiting<'b> {
    fn at(budget: &'b RetryBudget) -> Self {
        budget.waiting.fetch_add(1, Ordering::Relaxed);
        Self(budget)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl RetryBudget {
    pub(super) fn new(percent: u32, floor: u32, common: Option<Arc<Account>>) -> Self {
        Self {
            percent: AtomicU32::new(percent),
            own: Account::new(floor),
            common,
            refused: AtomicU64::new(0),
            out: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            known: Notify::new(),
        }
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

    /// Pays for one further attempt that goes to this place.
    pub fn take(self: &Arc<Self>, place: Place) -> Payment {
        self.take_at(clock::now(), place)
    }

    /// True where as many attempts are out as are left.
    pub fn is_scarce(&self) -> bool {
        let out = self.out.load(Ordering::Acquire);
        out > 0 && self.own.left(clock::now()) <= i64::from(out)
    }

    /// Tries `step` until it says something else than [`Payment::Later`], each time that more is known of the attempts that
    /// are out, for a minute at the longest. It is told whether there was no news for a while.
    pub async fn settle(&self, mut step: impl FnMut(bool) -> Payment) -> Option<Ticket> {
        let waiting = Waiting::at(self);
        let settled = async {
            let mut no_news = false;
            loop {
                let mut known = std::pin::pin!(self.known.notified());
                // From here on nothing is missed, whatever becomes known while this looks.
                known.as_mut().enable();
                match step(no_news) {
                    Payment::Paid(ticket) => return Some(ticket),
                    Payment::Later => no_news = tokio::time::timeout(NO_NEWS, known).await.is_err(),
                    Payment::Refused => return None,
                }
            }
        };
        let ticket = tokio::time::timeout(PATIENCE, settled).await.unwrap_or_default();
        drop(waiting);
        ticket
    }

    /// An attempt that was wanted was not had.
    pub fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
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

    fn take_at(self: &Arc<Self>, now: Instant, place: Place) -> Payment {
        if self.percent.load(Ordering::Relaxed) == 0 && self.own.floor.load(Ordering::Relaxed) == 0 {
            return Payment::Refused;
        }
        let out = self.out.load(Ordering::Acquire);
        let hopeful = place != Place::Failing && out > 0;
        if hopeful && place == Place::Sound && self.own.left(now) <= i64::from(out) {
            return Payment::Later;
        }
        let had = self.own.take(now);
        let paid = had && self.common.as_ref().is_none_or(|common| common.take(now));
        if had && !paid {
            self.own.add(PRICE);
        }
        if paid {
            self.out.fetch_add(1, Ordering::AcqRel);
            return Payment::Paid(Ticket(Arc::clone(self)));
        }
        if hopeful { Payment::Later } else { Payment::Refused }
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

    fn take(&self, now: Instant) -> bool {
        let spend = |saved: i64| (saved >= PRICE).then(|| saved - PRICE);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok() || self.take_reserve(now)
    }

    /// Whole attempts that are left.
    fn left(&self, now: Instant) -> i64 {
        let reserve = self.reserve_at(now).left;
        #[allow(clippy::cast_possible_truncation, reason = "no more than the floor, which is a u32")]
        let reserve = reserve as i64;
        self.saved.load(Ordering::Relaxed) / PRICE + reserve
    }

    fn take_reserve(&self, now: Instant) -> bool {
        let mut reserve = self.reserve_at(now);
        let had = reserve.left >= 1.0;
        if had {
            reserve.left -= 1.0;
        }
        had
    }

    /// The reserve, with what has come in until `now`.
    fn reserve_at(&self, now: Instant) -> MutexGuard<'_, Reserve> {
        let floor = f64::from(self.floor.load(Ordering::Relaxed));
        let mut reserve = self.reserve.lock().unwrap_or_else(PoisonError::into_inner);
        let passed: Duration = now.saturating_duration_since(reserve.at);
        reserve.left = (reserve.left + passed.as_secs_f64() * floor).min(floor);
        reserve.at = now;
        reserve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attempts that are had of those that are `wanted` where things have failed. All of them fail.
    fn taken(budget: &Arc<RetryBudget>, at: Instant, wanted: u32) -> u32 {
        (0..wanted).map(|_| u32::from(had(budget.take_at(at, Place::Failing)).is_some())).sum()
    }

    fn had(payment: Payment) -> Option<Ticket> {
        match payment {
            Payment::Paid(ticket) => Some(ticket),
            Payment::Later | Payment::Refused => None,
        }
    }

    fn of(percent: u32, floor: u32) -> Arc<RetryBudget> {
        Arc::new(RetryBudget::new(percent, floor, None))
    }

    #[test]
    fn one_that_goes_to_a_sound_place_waits_for_those_that_went_there_before() {
        let (budget, now) = (of(20, 0), clock::now());
        assert!(matches!(budget.take_at(now, Place::Sound), Payment::Refused), "there is nothing to wait for");
        (0..200).for_each(|_| budget.pay_in());
        let mut out: Vec<Ticket> = (0..200).filter_map(|_| had(budget.take_at(now, Place::Sound))).collect();
        assert_eq!(out.len(), 20, "half of what 200 requests have paid in");
        assert!(matches!(budget.take_at(now, Place::Sound), Payment::Later));
        // Where things fail anyway nobody waits, and all that is left may go.
        assert_eq!(taken(&budget, now, 200), 20);
        assert!(matches!(budget.take_at(now, Place::Failing), Payment::Refused));
        // One that is answered pays for itself, and nobody waits for more; those that fail cost what they cost.
        out.pop().unwrap().answered();
        drop(out);
        assert_eq!(taken(&budget, now, 200), 1);
    }

    /// Who all go on to.
    #[derive(Debug)]
    struct Next {
        /// The test's own clock, and the other one, when it began.
        began: (tokio::time::Instant, Instant),
        failed: AtomicU32,
        made: AtomicU32,
        answered: AtomicU32,
    }

    async fn go(budget: Arc<RetryBudget>, next: Arc<Next>, (takes, answers): (Duration, bool)) {
        // It is sound until something has failed there.
        let (began, real) = next.began;
        let step = |no_news| {
            let now = real + tokio::time::Instant::now().duration_since(began);
            let place = match next.failed.load(Ordering::Relaxed) {
                0 if no_news => Place::Quiet,
                0 => Place::Sound,
                _ => Place::Failing,
            };
            budget.take_at(now, place)
        };
        let Some(ticket) = budget.settle(step).await else { return };
        next.made.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(takes).await;
        if answers {
            ticket.answered();
            next.answered.fetch_add(1, Ordering::Relaxed);
        } else {
            next.failed.fetch_add(1, Ordering::Relaxed);
            drop(ticket);
        }
    }

    /// Requests that fail together and go on to the next place, which `answers` or fails as well; how many attempts were made
    /// there, and how many requests were answered.
    async fn storm(requests: u32, takes: Duration, answers: bool) -> (u32, u32) {
        let budget = of(20, 10);
        let began = (tokio::time::Instant::now(), clock::now());
        let count = AtomicU32::default;
        let next = Arc::new(Next { began, failed: count(), made: count(), answered: count() });
        (0..requests).for_each(|_| budget.pay_in());
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..requests {
            all.spawn(go(Arc::clone(&budget), Arc::clone(&next), (takes, answers)));
        }
        all.join_all().await;
        assert_eq!((budget.out.load(Ordering::Relaxed), budget.waiting.load(Ordering::Relaxed)), (0, 0));
        (next.made.load(Ordering::Relaxed), next.answered.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_that_fail_at_once_all_go_to_the_one_that_answers_and_few_to_one_that_fails() {
        let moment = Duration::from_millis(5);
        for requests in [1, 5, 64, 200, 1_000] {
            assert_eq!(storm(requests, moment, true).await, (requests, requests));
            let (made, done) = storm(requests, moment, false).await;
            assert_eq!(done, 0);
            assert!(made >= 1 && f64::from(made) <= 0.2 * f64::from(requests) + 10.0, "{made} of {requests}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_take_long_keep_nobody_waiting_for_all_of_them() {
        assert_eq!(storm(200, Duration::from_secs(30), true).await, (200, 200));
        // 200 that hang before they fail: what is saved, and what every second brings.
        let (made, _) = storm(200, Duration::from_secs(5), false).await;
        assert!(made <= 40 + 10 + 10 * 6, "{made}");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let budget = of(0, 1);
        let ticket = had(budget.take(Place::Sound)).unwrap();
        let begun = tokio::time::Instant::now();
        assert!(budget.settle(|_| Payment::Later).await.is_none());
        assert_eq!(begun.elapsed(), PATIENCE);
        assert_eq!(budget.waiting.load(Ordering::Relaxed), 0);
        drop(ticket);
    }

    #[test]
    fn a_fifth_of_the_requests_and_ten_a_second() {
        let budget = of(20, 10);
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
    }

    #[test]
    fn many_models_that_fail_have_one_budget() {
        let common = Arc::new(Account::new(10));
        let with = |percent| Arc::new(RetryBudget::new(percent, 10, Some(Arc::clone(&common))));
        let models: Vec<_> = (0..40).map(|_| with(20)).collect();
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
        models[0].add(PRICE);
        let none = Arc::new(RetryBudget::new(0, 0, Some(Arc::clone(&common))));
        assert_eq!(taken(&none, now, 1), 0);
        assert_eq!((taken(&models[0], now, 2), taken(&models[1], now, 2)), (1, 0));
        // What a model may and all may not costs it nothing.
        (0..5).for_each(|_| models[2].pay_in());
        assert_eq!(taken(&models[2], now, 2), 1);
    }

    #[test]
    fn what_is_saved_up_has_a_bound() {
        let budget = of(20, 0);
        (0..100_000).for_each(|_| budget.pay_in());
        assert_eq!(taken(&budget, clock::now(), 1_000), 100);
    }

    #[test]
    fn a_budget_of_nothing_allows_nothing_and_a_new_config_counts_at_once() {
        let budget = of(0, 0);
        budget.pay_in();
        let later = clock::now() + Duration::from_secs(60);
        assert_eq!(taken(&budget, later, 5), 0);
        budget.adopt(100, 2);
        budget.pay_in();
        assert_eq!(taken(&budget, later + Duration::from_secs(60), 5), 3);
    }
}

//! Waiting, with a clock that stands still until everybody waits.

use tokio::task::JoinHandle;

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

fn rule(most: u32, waiting: u32) -> Rule {
    Rule { most: Some(most), waiting, patience: PATIENCE, adapt: None }
}

fn waiter(client: &str) -> Waiter {
    Waiter { client: Arc::from(client), class: Class::Normal }
}

/// Joins the line, for sure.
async fn joined(bulkhead: &Arc<Bulkhead>, waiter: Waiter) -> JoinHandle<Result<Permit, Refused>> {
    let (waiting, until) = (bulkhead.waiting(), clock::timer() + bulkhead.patience());
    let same = Arc::clone(bulkhead);
    let handle = tokio::spawn(async move { same.wait(&waiter, until).await });
    while bulkhead.waiting() == waiting {
        tokio::task::yield_now().await;
    }
    handle
}

#[tokio::test(start_paused = true)]
async fn a_place_goes_to_who_waits_and_nobody_passes() {
    let bulkhead = Bulkhead::new(rule(1, 10));
    let first = bulkhead.enter().unwrap();
    let (a, b) = (joined(&bulkhead, waiter("a")).await, joined(&bulkhead, waiter("a")).await);
    assert_eq!((bulkhead.used(), bulkhead.waiting()), (1, 2));
    drop(first);
    let a = a.await.unwrap().unwrap();
    assert!(bulkhead.enter().is_none() && bulkhead.is_full());
    assert_eq!((bulkhead.used(), bulkhead.waiting()), (1, 1));
    drop(a);
    drop(b.await.unwrap().unwrap());
    assert_eq!((bulkhead.used(), bulkhead.waiting()), (0, 0));
    assert!(bulkhead.enter().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_full_line_refuses_at_once_and_patience_ends() {
    let bulkhead = Bulkhead::new(rule(1, 1));
    let place = bulkhead.enter().unwrap();
    let waiting = joined(&bulkhead, waiter("a")).await;
    assert!(bulkhead.is_overfull());
    let began = clock::timer();
    let refused = bulkhead.wait(&waiter("a"), began + PATIENCE).await;
    assert_eq!(refused.unwrap_err(), Refused::Full);
    assert_eq!((clock::timer() - began), Duration::ZERO, "at once");
    assert_eq!(waiting.await.unwrap().unwrap_err(), Refused::Late);
    assert_eq!((clock::timer() - began).as_secs(), PATIENCE.as_secs());
    assert_eq!((bulkhead.waiting(), bulkhead.used(), bulkhead.refused()), (0, 1, 2));
    drop(place);
    assert_eq!(bulkhead.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_too_late_or_has_left_gets_no_place() {
    let bulkhead = Bulkhead::new(rule(1, 10));
    let place = bulkhead.enter().unwrap();
    let same = Arc::clone(&bulkhead);
    let soon = clock::timer() + Duration::from_secs(1);
    // It is not polled any more when its time is over.
    let mut late = Box::pin(async move { same.wait(&waiter("a"), soon).await });
    assert!(futures_poll(&mut late).is_none());
    let gone = joined(&bulkhead, waiter("b")).await;
    let third = joined(&bulkhead, waiter("c")).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!(bulkhead.waiting(), 2, "who leaves is out at once");
    tokio::time::advance(Duration::from_secs(2)).await;
    drop(place);
    let third = third.await.unwrap().unwrap();
    assert_eq!(bulkhead.used(), 1);
    assert_eq!(late.await.unwrap_err(), Refused::Late);
    drop(third);
    assert_eq!((bulkhead.used(), bulkhead.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_place_that_was_given_and_not_fetched_goes_to_the_next() {
    let bulkhead = Bulkhead::new(rule(1, 10));
    let place = bulkhead.enter().unwrap();
    let same = Arc::clone(&bulkhead);
    let until = clock::timer() + PATIENCE;
    let mut first = Box::pin(async move { same.wait(&waiter("a"), until).await });
    assert!(futures_poll(&mut first).is_none());
    let second = joined(&bulkhead, waiter("b")).await;
    drop(place);
    assert_eq!(bulkhead.waiting(), 1, "it is on its way to the first");
    drop(first);
    assert!(second.await.unwrap().is_ok());
    assert_eq!(bulkhead.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_raised_limit_lets_those_who_wait_go_on() {
    let bulkhead = Bulkhead::new(rule(1, 10));
    let place = bulkhead.enter().unwrap();
    let (a, b) = (joined(&bulkhead, waiter("a")).await, joined(&bulkhead, waiter("b")).await);
    bulkhead.adopt(rule(2, 10));
    let a = a.await.unwrap().unwrap();
    assert_eq!((bulkhead.used(), bulkhead.waiting()), (2, 1));
    bulkhead.adopt(Rule::default());
    let b = b.await.unwrap().unwrap();
    bulkhead.adopt(rule(1, 10));
    assert_eq!(bulkhead.used(), 3, "what runs is not lost");
    drop((place, a));
    assert!(bulkhead.enter().is_none());
    drop(b);
    assert!(bulkhead.enter().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_displaced_waiter_is_told() {
    let bulkhead = Bulkhead::new(rule(1, 2));
    let _place = bulkhead.enter().unwrap();
    let (_one, two) = (joined(&bulkhead, waiter("a")).await, joined(&bulkhead, waiter("a")).await);
    let (same, until) = (Arc::clone(&bulkhead), clock::timer() + PATIENCE);
    let other = tokio::spawn(async move { same.wait(&waiter("b"), until).await });
    assert_eq!(two.await.unwrap().unwrap_err(), Refused::Displaced);
    assert_eq!(other.await.unwrap().unwrap_err(), Refused::Late, "nobody made room for it");
}

#[tokio::test(start_paused = true)]
async fn only_so_many_are_let_through_as_find_a_place_behind() {
    let bulkhead = Bulkhead::new(Rule { most: None, ..rule(0, 10) });
    bulkhead.set_room(0);
    assert!(bulkhead.enter().is_none());
    let (a, b) = (joined(&bulkhead, waiter("a")).await, joined(&bulkhead, waiter("b")).await);
    bulkhead.set_room(1);
    let mut a = a.await.unwrap().unwrap();
    assert_eq!(bulkhead.waiting(), 1, "the one place is spoken for");
    bulkhead.set_room(0);
    a.arrived();
    assert_eq!(bulkhead.waiting(), 1);
    drop(a);
    bulkhead.set_room(1);
    assert!(b.await.unwrap().is_ok());
    assert_eq!(bulkhead.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_learnt_is_a_limit_below_the_configured_one() {
    let adapt = Some(Adapt { min: 2, max: 500, tolerance: 1.5 });
    let bulkhead = Bulkhead::new(Rule { adapt, ..rule(100, 10) });
    assert_eq!(bulkhead.limit(), Some(20));
    bulkhead.overloaded();
    assert_eq!(bulkhead.limit(), Some(18));
    bulkhead.adopt(Rule { adapt, ..rule(10, 10) });
    assert_eq!(bulkhead.limit(), Some(10));
    bulkhead.adopt(rule(30, 10));
    bulkhead.overloaded();
    assert_eq!(bulkhead.limit(), Some(30), "no more");
}

#[test]
fn many_threads_never_pass_the_limit() {
    let bulkhead = Bulkhead::new(rule(3, 1_000));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let most = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        let tasks: Vec<_> = (0..64)
            .map(|number| {
                let (bulkhead, most) = (Arc::clone(&bulkhead), Arc::clone(&most));
                tokio::spawn(async move {
                    for _ in 0..50 {
                        let who = waiter(if number % 2 == 0 { "a" } else { "b" });
                        let until = clock::timer() + Duration::from_secs(60);
                        let permit = match bulkhead.enter() {
                            Some(permit) => permit,
                            None => bulkhead.wait(&who, until).await.unwrap(),
                        };
                        most.fetch_max(bulkhead.used(), Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        drop(permit);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!((most.load(Ordering::SeqCst), bulkhead.used(), bulkhead.waiting()), (3, 0, 0));
}

/// Polls once.
fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

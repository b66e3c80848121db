//! Work for all of the machine's cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Calls `work` with each of `items`, several at a time, and gives the results in their order. After each it calls `done`
/// with how many there are and the result.
///
/// # Errors
///
/// The first failure, after which no further work begins.
pub(crate) fn spread<I: Sync, O: Send>(
    items: &[I],
    work: impl Fn(&I) -> Result<O, String> + Sync,
    done: impl Fn(usize, &O) + Sync,
) -> Result<Vec<O>, String> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new((Vec::with_capacity(items.len()), None));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    let result = work(item);
                    let Ok(mut results) = results.lock() else { return };
                    match result {
                        Ok(result) => {
                            done(results.0.len() + 1, &result);
                            results.0.push((at, result));
                        }
                        Err(failure) => {
                            next.store(items.len(), Ordering::Relaxed);
                            results.1.get_or_insert(failure);
                        }
                    }
                }
            });
        }
    });
    let (mut results, failure) = results.into_inner().map_err(|_| "a worker panicked".to_owned())?;
    results.sort_unstable_by_key(|(at, _)| *at);
    failure.map_or_else(|| Ok(results.into_iter().map(|(_, result)| result).collect()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_a_failure_ends_it() {
        let items: Vec<usize> = (0..1000).collect();
        let count = AtomicUsize::new(0);
        let counted = |number: usize, _: &usize| count.store(number, Ordering::Relaxed);
        let doubled = spread(&items, |item| Ok(item * 2), counted).unwrap();
        assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert_eq!(count.into_inner(), 1000);
        let failed = spread(&items, |item| if *item == 7 { Err("seven".to_owned()) } else { Ok(*item) }, |_, _| {});
        assert_eq!(failed, Err("seven".to_owned()));
    }
}

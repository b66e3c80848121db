//! The process as Linux sees it; on another system only its start is known.

use std::fs;
use std::time::Duration;

use super::scrape::{Scrape, count};
use super::table::Metric;

/// Ticks in a second of the times in `/proc`: fixed at 100 for user space on every architecture of Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Where the kernel tells of this process.
const STATUS: &str = "/proc/self/status";
/// What stands there before its resident memory in KiB.
const RESIDENT: &str = "VmRSS:";

/// Bytes of memory that the process holds; `None` where the system does not tell.
pub fn resident() -> Option<u64> {
    Some(number_after(&fs::read_to_string(STATUS).ok()?, RESIDENT)? * 1024)
}

pub(super) fn add(scrape: &mut Scrape, started: Duration) {
    scrape.set(Metric::ProcessStart, &[], started.as_secs_f64());
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    if let Some(ticks) = cpu_ticks(&read("/proc/self/stat")) {
        scrape.set(Metric::ProcessCpu, &[], count(ticks) / TICKS_PER_SECOND);
    }
    let status = read(STATUS);
    for (metric, field, unit) in [
        (Metric::ProcessResident, RESIDENT, 1024),
        (Metric::ProcessVirtual, "VmSize:", 1024),
        (Metric::ProcessThreads, "Threads:", 1),
    ] {
        if let Some(value) = number_after(&status, field) {
            scrape.set(metric, &[], count(value * unit));
        }
    }
    if let Some(limit) = number_after(&read("/proc/self/limits"), "Max open files") {
        scrape.set(Metric::ProcessMaxFds, &[], count(limit));
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // The directory itself is open while it is read.
        let open = entries.count().saturating_sub(1);
        scrape.set(Metric::ProcessOpenFds, &[], count(open.try_into().unwrap_or(u64::MAX)));
    }
}

/// User and system time: the 14th and 15th field, counted behind the name, which may hold spaces and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn number_after(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        assert_eq!(cpu_ticks("7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0"), Some(42));
        assert_eq!(cpu_ticks("nonsense"), None);
    }

    #[test]
    fn what_this_process_holds_is_known() {
        assert!(resident().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn numbers_are_found_by_their_field() {
        assert_eq!(number_after("VmPeak:\t 9 kB\nVmRSS:\t  1234 kB\n", "VmRSS:"), Some(1234));
        assert_eq!(number_after("Max open files            1024   4096  files\n", "Max open files"), Some(1024));
        assert_eq!(number_after("Max open files   unlimited unlimited files\n", "Max open files"), None);
    }
}

//! How often one address does something.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use pingora_limits::estimator::Estimator;

use crate::clock::Instant;

/// Bits of an IPv6 address that one customer of a network has to themselves.
const CUSTOMER: u128 = u128::MAX << 64;

/// Rows and columns of the estimate: what others do counts for an address only where they meet in every row.
const HASHES: usize = 4;
const SLOTS: usize = 4096;

/// Counts what each address does in a second, in bounded memory, however many addresses there are.
///
/// It is an estimate, a guard against a flood and no quota: it counts too much where addresses meet in every row, and too
/// little only of what comes while a new second's counts are cleared. The crate's own `Rate` looks at whole intervals that
/// lie behind, and reads the clock by itself.
pub struct AddressRate {
    began: Instant,
    /// The second that is counted, from 1.
    second: AtomicU64,
    /// Of even and of odd seconds, so that none is cleared while it is counted; made when first wanted.
    counts: OnceLock<[Estimator; 2]>,
}

impl AddressRate {
    /// Counts from `began` on.
    #[must_use]
    pub fn new(began: Instant) -> Self {
        Self { began, second: AtomicU64::new(0), counts: OnceLock::new() }
    }

    /// Counts one more of `address` now; `false` where that is more than `most` in this second.
    pub fn admits(&self, address: IpAddr, most: u32, now: Instant) -> bool {
        let counts = self.counts.get_or_init(|| [(); 2].map(|()| Estimator::new(HASHES, SLOTS)));
        let second = now.saturating_duration_since(self.began).as_secs() + 1;
        let [even, odd] = counts;
        let count = if second.is_multiple_of(2) { even } else { odd };
        let last = self.second.load(Ordering::Acquire);
        if last < second && self.second.compare_exchange(last, second, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            count.reset();
        }
        let counted = count.incr(network_of(address), 1);
        usize::try_from(counted).is_ok_and(|counted| counted <= most as usize)
    }
}

impl std::fmt::Debug for AddressRate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AddressRate").finish_non_exhaustive()
    }
}

/// What stands for an address where addresses are counted: of IPv6 its /64, which one customer has to themselves.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & CUSTOMER)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[test]
    fn each_address_has_so_many_a_second() {
        let began = clock::now();
        let rate = AddressRate::new(began);
        let passed = |address: &str, millis: u64, tries: u32| {
            let address: IpAddr = address.parse().unwrap();
            (0..tries).filter(|_| rate.admits(address, 5, began + Duration::from_millis(millis))).count()
        };
        assert_eq!(passed("192.0.2.1", 0, 9), 5);
        assert_eq!(passed("192.0.2.2", 500, 9), 5, "another has its own");
        assert_eq!(passed("192.0.2.1", 999, 1), 0);
        assert_eq!(passed("192.0.2.1", 1000, 9), 5, "the next second begins anew");
        assert_eq!(passed("192.0.2.1", 3000, 3), 3, "and one after a pause, though it shares its place with another");
        assert_eq!(passed("2001:db8:1:2::1", 3000, 3) + passed("2001:db8:1:2:ffff::", 3000, 3), 5, "one /64");
        assert_eq!(passed("2001:db8:1:3::1", 3000, 9), 5);
        assert_eq!(passed("::ffff:192.0.2.9", 3000, 3) + passed("192.0.2.9", 3000, 3), 5, "one address");
    }

    #[test]
    fn many_addresses_leave_a_quiet_one_alone() {
        let began = clock::now();
        let rate = AddressRate::new(began);
        for number in 0..2000_u32 {
            let other = IpAddr::from((0x0a00_0000 + number).to_be_bytes());
            (0..5).for_each(|_| assert!(rate.admits(other, 200, began)));
        }
        assert!(rate.admits("192.0.2.1".parse().unwrap(), 50, began));
    }
}

//! Request ids.

use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::clock;

/// Makes request ids: different for every request of every process.
#[derive(Debug)]
pub(super) struct Ids {
    /// Hash of what tells this process from others.
    process: u64,
    count: AtomicU64,
}

impl Ids {
    /// A maker for this process.
    pub(super) fn new() -> Self {
        let mut hash = Sha256::new();
        hash.update(clock::unix_now().as_nanos().to_le_bytes());
        hash.update(std::process::id().to_le_bytes());
        let digest = hash.finalize();
        let process = digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        Self { process, count: AtomicU64::new(0) }
    }

    /// The next id: `req_` and 32 hexadecimal digits.
    pub(super) fn next(&self) -> String {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        // The second half mixes the count, so that ids of one process do not sort or guess easily.
        let mixed = (count ^ self.process).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) ^ self.process;
        let mut id = String::with_capacity(36);
        id.push_str("req_");
        push_hex([mixed, self.process.wrapping_add(count)], &mut id);
        id
    }
}

/// Appends `numbers` as 16 hexadecimal digits each; the formatter of the standard library costs ten times as much.
fn push_hex(numbers: [u64; 2], text: &mut String) {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' - 10 + value };
    let mut digits = [0; 32];
    let bytes = numbers.into_iter().flat_map(u64::to_be_bytes);
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 0xF)];
    }
    text.push_str(std::str::from_utf8(&digits).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_those_of_the_standard_library() {
        for number in [0, 1, 0xF0, u64::MAX, 0x0123_4567_89AB_CDEF] {
            let mut text = String::new();
            push_hex([number, !number], &mut text);
            assert_eq!(text, format!("{number:016x}{:016x}", !number));
        }
    }

    #[test]
    fn ids_differ() {
        let ids = Ids::new();
        let made: std::collections::BTreeSet<_> = (0..1000).map(|_| ids.next()).collect();
        assert_eq!(made.len(), 1000);
        assert!(made.iter().all(|id| id.len() == 36));
    }
}

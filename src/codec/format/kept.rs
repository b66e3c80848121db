//! Words of a stream that are kept until they are said once more, or until sources are placed in them.

/// Room for the first words, in bytes: most calls and short answers need no more.
const FIRST: usize = 1 << 10;
/// Room for what is no short answer, in bytes: a thousand tokens and more, and the largest block that allocators commonly
/// keep at hand for their thread.
const SECOND: usize = 32 << 10;
/// How many times as much room is taken then. What is not written to is address space, not memory.
const GROWTH: usize = 4;

/// Adds `more` to the words in `kept`.
///
/// Room is taken in few steps, so that a piece of a stream does not wait for the allocator: five times for a megabyte.
pub(super) fn keep(kept: &mut String, more: &str) {
    let needed = kept.len().saturating_add(more.len());
    if needed > kept.capacity() {
        let room = if needed <= FIRST {
            FIRST
        } else if needed <= SECOND {
            SECOND
        } else {
            kept.capacity().saturating_mul(GROWTH).max(needed)
        };
        kept.reserve_exact(room.saturating_sub(kept.len()));
    }
    kept.push_str(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_room_in_few_steps() {
        let (mut kept, mut steps) = (String::new(), Vec::new());
        for at in 0..100_000 {
            keep(&mut kept, if at % 2 == 0 { "0123456789" } else { "北" });
            if steps.last() != Some(&kept.capacity()) {
                steps.push(kept.capacity());
            }
        }
        assert_eq!(steps, [1 << 10, 32 << 10, 128 << 10, 512 << 10, 2 << 20]);
        assert_eq!(kept, "0123456789北".repeat(50_000));
    }

    #[test]
    fn takes_what_is_longer_than_any_step() {
        let long = "x".repeat(100_000);
        let mut kept = String::new();
        keep(&mut kept, &long);
        assert_eq!(kept, long);
        assert_eq!(kept.capacity(), long.len());
        keep(&mut kept, "");
        assert_eq!(kept.capacity(), long.len());
    }
}

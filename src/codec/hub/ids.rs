//! Ids of tool calls that every provider takes.
//!
//! An id is kept where all formats accept it: `^[A-Za-z0-9_-]{1,64}$` (Anthropic's pattern, `OpenAI`'s length).
//! Another is replaced by a hash of itself, so that a call and its result, this request and the next, and every
//! replica agree without remembering anything, and no two ids fall together by truncation.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

const LONGEST: usize = 64;
const PREFIX: &str = "tc_";

/// `native` if every format accepts it, else an id derived from it.
#[must_use]
pub fn portable(native: &str) -> Cow<'_, str> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=LONGEST).contains(&native.len()) && native.bytes().all(valid) {
        return Cow::Borrowed(native);
    }
    Cow::Owned(derived(PREFIX, native))
}

/// Bytes of a hash in an id, 32 characters: many servers refuse an id of a call that is longer than 40.
/// <https://github.com/Portkey-AI/gateway/issues/1062>
const HASHED: usize = 24;

/// `prefix` and 32 characters of `[A-Za-z0-9_-]` that depend on all of `seed`.
#[must_use]
pub fn derived(prefix: &str, seed: &str) -> String {
    let mut id = String::from(prefix);
    let hash = Sha256::digest(seed.as_bytes());
    URL_SAFE_NO_PAD.encode_string(hash.get(..HASHED).unwrap_or(&hash), &mut id);
    id
}

/// Tells apart calls of one assistant turn that share an id: the second gets `-2`, the third `-3`.
///
/// Some servers number every turn's calls from the same start. Given the same ids in the same order, calls and their
/// results get the same names.
#[derive(Debug, Clone, Default)]
pub struct Distinct {
    taken: BTreeSet<String>,
    /// The number that the next call of an id gets which came more than once: a turn may hold thousands of one id.
    numbers: BTreeMap<String, u32>,
}

impl Distinct {
    /// The portable id of the next call (or result) whose native id is `native`, unlike all before.
    pub fn next(&mut self, native: &str) -> String {
        let mut id = portable(native).into_owned();
        if self.taken.contains(&id) {
            let number = self.numbers.entry(native.to_owned()).or_insert(2);
            while self.taken.contains(&id) {
                let mut numbered = native.to_owned();
                let _ = write!(numbered, "-{number}");
                id = portable(&numbered).into_owned();
                *number = number.saturating_add(1);
            }
        }
        self.taken.insert(id.clone());
        id
    }
}

/// Longest id of a user that some formats take, in characters.
const LONGEST_USER: usize = 128;

/// The id of a user as formats with a longest one take it: its hash in place of one that is longer.
#[must_use]
pub fn of_user(id: Cow<'_, str>) -> Cow<'_, str> {
    if id.chars().count() <= LONGEST_USER { id } else { Cow::Owned(derived("", &id)) }
}

/// Length of the ids that [`Nines`] gives.
const NINE: usize = 9;

/// True for an id of nine letters and digits.
#[must_use]
pub fn is_nine(id: &str) -> bool {
    id.len() == NINE && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Ids of nine letters and digits for servers that take no others, of one request.
///
/// One that fits is kept, another is a hash of itself. Of two that would fall together the later one is hashed again:
/// what a longer history adds never changes what its beginning was sent as.
/// <https://github.com/mistralai/client-js/issues/69>
#[derive(Debug, Default)]
pub struct Nines {
    given: BTreeMap<String, String>,
    taken: BTreeSet<String>,
}

impl Nines {
    /// The id that `id` is sent as; the same each time it is asked for.
    pub fn of(&mut self, id: &str) -> String {
        if let Some(given) = self.given.get(id) {
            return given.clone();
        }
        let mut nine = if is_nine(id) { id.to_owned() } else { nine_of(id) };
        let mut number = 2_u32;
        while self.taken.contains(&nine) {
            nine = nine_of(&format!("{id}-{number}"));
            number = number.saturating_add(1);
        }
        self.taken.insert(nine.clone());
        self.given.insert(id.to_owned(), nine.clone());
        nine
    }
}

fn nine_of(seed: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let hash = Sha256::digest(seed.as_bytes());
    // Far more than 62 to the ninth, so that the remainders are as good as even.
    let mut number = hash.iter().take(16).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    let mut id = String::with_capacity(NINE);
    for _ in 0..NINE {
        let digit = usize::try_from(number % 62).ok().and_then(|at| DIGITS.get(at));
        id.push(char::from(*digit.unwrap_or(&b'0')));
        number /= 62;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_portable(id: &str) -> bool {
        matches!(portable(id), Cow::Borrowed(_))
    }

    #[test]
    fn keeps_what_all_accept() {
        for id in ["a", "call_abc-123", "toolu_01A09q90qw90lq917835lq9", &"x".repeat(64)] {
            assert_eq!(portable(id), id);
        }
    }

    #[test]
    fn derives_the_rest_without_collision() {
        let long = |tail: &str| format!("{}{tail}", "y".repeat(86));
        let natives = ["", "functions.Bash:0", "a.b", "a:b", "北", "a b", &long("1"), &long("2")];
        let ids: BTreeSet<_> = natives.iter().map(|native| portable(native).into_owned()).collect();
        assert_eq!(ids.len(), natives.len());
        for id in &ids {
            assert!(is_portable(id) && id.starts_with("tc_") && id.len() == 35, "{id}");
        }
        // Fixed for all time: histories hold these ids.
        assert_eq!(portable("functions.Bash:0"), "tc_qX0VBx91-yBD2oDTgFIgr8Wr-rWLHWxR");
    }

    #[test]
    fn what_is_derived_is_no_longer_than_any_server_takes() {
        for prefix in [PREFIX, "call_", "toolu_"] {
            let id = derived(prefix, "s");
            assert!(id.starts_with(prefix) && id.len() <= 40 && is_portable(&id), "{id}");
        }
    }

    #[test]
    fn trap_c7_ids_of_nine_are_stable_and_distinct() {
        let mut nines = Nines::default();
        let natives = ["call_abc123", "abc123XYZ", "abc12345-", "abc123XYZ0", "", "北"];
        let given = natives.map(|native| nines.of(native));
        assert!(given.iter().all(|id| is_nine(id)), "{given:?}");
        assert_eq!(given[1], "abc123XYZ");
        assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), natives.len());
        assert_eq!(natives.map(|native| nines.of(native)), given);
        // Alone, in another order, in another request.
        assert_eq!(Nines::default().of("北"), given[5]);
        // Fixed for all time: histories hold these ids.
        assert_eq!(given[0], "2ShkOoaMr");
        // One that fits is what another was given.
        let mut nines = Nines::default();
        let first = nines.of("call_abc123");
        let second = nines.of(&first);
        assert!(is_nine(&second) && second != first);
        assert_eq!((nines.of("call_abc123"), nines.of(&first)), (first.clone(), second));
    }

    #[test]
    fn tells_equal_ids_apart() {
        let mut distinct = Distinct::default();
        let ids = ["call_0", "call_0", "call_0-2", "call_0", "f:0", "f:0", ""].map(|native| distinct.next(native));
        assert_eq!(ids[..4], ["call_0", "call_0-2", "call_0-2-2", "call_0-3"]);
        assert!(ids.iter().all(|id| is_portable(id)));
        assert_ne!(ids[4], ids[5]);
        // Work grows with the calls, not with their square: this would take minutes.
        let mut many = Distinct::default();
        let all: BTreeSet<String> = (0..20_000).map(|_| many.next("c")).collect();
        assert!(all.len() == 20_000 && all.contains("c-20000"));
        let mut longest = Distinct::default();
        let id = "z".repeat(64);
        assert_eq!(longest.next(&id), id);
        assert!(is_portable(&longest.next(&id)));
    }
}

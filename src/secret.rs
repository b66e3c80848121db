//! Values that must never be seen: provider keys, client keys, the sealing key.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

/// Shortest secret that is one: servers of one's own are often given a word for a key, which their errors hold anyway.
const LEAST: usize = 12;

/// Text that no log, error or `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the secret.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the one place that must send or hash it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True if `words` quote the secret.
    #[must_use]
    pub fn is_in(&self, words: &[u8]) -> bool {
        self.0.len() >= LEAST && memchr::memmem::find(words, self.0.as_bytes()).is_some()
    }

    /// Makes the secret unreadable where `words` quote it; their length stays, which a head may have told.
    pub fn hide_in(&self, words: &mut [u8]) {
        if !self.is_in(words) {
            return;
        }
        let places: Vec<_> = memchr::memmem::find_iter(words, &self.0).collect();
        for at in places {
            if let Some(place) = words.get_mut(at..at + self.0.len()) {
                place.fill(b'*');
            }
        }
    }

    /// How many bytes at the end of `words` may be the beginning of the secret.
    #[must_use]
    pub fn begun_in(&self, words: &[u8]) -> usize {
        let most = words.len().min(self.0.len().saturating_sub(1));
        let begins = |length: &usize| self.0.as_bytes().get(..*length).is_some_and(|begin| words.ends_with(begin));
        if self.0.len() < LEAST { 0 } else { (1..=most).rev().find(begins).unwrap_or(0) }
    }

    /// As [`Self::hide_in`], for a text.
    pub fn hide_in_text(&self, words: &mut Cow<'_, str>) {
        if self.is_in(words.as_bytes()) {
            *words = Cow::Owned(words.replace(&self.0, &"*".repeat(self.0.len())));
        }
    }

    /// As [`Self::hide_in`], for bytes that may be shared: they are copied only if they quote it.
    pub fn hide_in_bytes(&self, words: &mut Bytes) {
        if self.is_in(words) {
            let mut own = words.to_vec();
            self.hide_in(&mut own);
            *words = Bytes::from(own);
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The key that seals opaque state; no log, error or `Debug` shows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SealingKey([u8; 32]);

impl SealingKey {
    /// Takes the key.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The key itself, for the one place that seals.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_an_error_is_made_unreadable() {
        let check = |key: &str, error: &str, expected: &str| {
            let mut bytes = error.as_bytes().to_vec();
            Secret::new(key).hide_in(&mut bytes);
            assert_eq!(String::from_utf8(bytes).unwrap(), expected);
            let mut text = Cow::Borrowed(error);
            Secret::new(key).hide_in_text(&mut text);
            assert_eq!(text, expected);
            let mut shared = Bytes::copy_from_slice(error.as_bytes());
            Secret::new(key).hide_in_bytes(&mut shared);
            assert_eq!(shared, expected);
        };
        check(
            "sk-123456789",
            "no sk-123456789 or sk-123456789sk-123456789.",
            "no ************ or ************************.",
        );
        check("sk-123456789", "sk-12345678", "sk-12345678");
        check("sk-123456789", "", "");
        check("ollama", "ollama is out of memory", "ollama is out of memory");
    }

    #[test]
    fn a_key_that_goes_on_in_the_next_piece_is_seen_coming() {
        let key = Secret::new("sk-sk-123456789");
        for (words, begun) in [("", 0), ("no", 0), ("no s", 1), ("no sk-", 3), ("no sk-sk-", 6), ("sk-sk-123456789", 0)]
        {
            assert_eq!(key.begun_in(words.as_bytes()), begun, "{words}");
        }
        assert_eq!(Secret::new("short").begun_in(b"shor"), 0);
    }
}

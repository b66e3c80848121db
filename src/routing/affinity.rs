//! What leads requests to the same place.

use std::fmt;

use tidegate_codec::Beginning;

/// What requests must share to meet the same target, or the same endpoint of one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Affinity {
    /// The client.
    #[default]
    Client,
    /// Instructions, tools, and the user's first turn.
    Conversation,
    /// Instructions and tools.
    Prefix,
    /// The value of this header, lower case; without it, the client.
    Header(String),
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Client | Self::Conversation | Self::Prefix => {
                f.write_str(Self::NAMED.into_iter().find(|(_, affinity)| affinity == self).map_or("", |(word, _)| word))
            }
        }
    }
}

impl Affinity {
    /// Every value that is a word alone in the config, by that.
    pub const NAMED: [(&'static str, Self); 3] =
        [("client", Self::Client), ("conversation", Self::Conversation), ("prefix", Self::Prefix)];

    /// The number that leads a request of `client` for `model` where others with the same one went. A header that it does
    /// not have, and a beginning that is not known, leave the client.
    #[must_use]
    pub fn key<'a>(
        &self,
        (client, model): (&str, &str),
        header: impl FnOnce(&str) -> Option<&'a str>,
        beginning: impl FnOnce() -> Option<Beginning>,
    ) -> u64 {
        let by_number = |number: u64| hash_key(&[model]) ^ number;
        let known = match self {
            Self::Client => None,
            Self::Conversation => beginning().map(|beginning| by_number(beginning.conversation)),
            Self::Prefix => beginning().map(|beginning| by_number(beginning.prefix)),
            Self::Header(name) => header(name).map(|value| hash_key(&[value, model])),
        };
        known.unwrap_or_else(|| hash_key(&[client, model]))
    }
}

/// A stable number for `parts`, for consistent hashing (FNV-1a).
#[must_use]
pub fn hash_key(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

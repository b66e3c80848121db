//! Envelopes for opaque state that travels through a client of another format.
//!
//! A thinking signature that Anthropic made stands, for an `OpenAI` client, in a slot of that client's format. The
//! envelope says whose it is, so that it is handed back to its maker only, and is signed, so that a client can
//! neither forge nor alter one. The same key on every replica makes envelopes good at all of them.
//!
//! `tg1.` + base64url( maker, kind, payload, 16 bytes of HMAC-SHA256 ); with a lower-case letter for the maker, words of
//! reasoning stand before the payload.

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use memchr::memmem::Finder;
use sha2::Sha256;

use crate::Format;
use crate::hub::{Opaque, OpaqueKind};
use crate::json::Text;
use crate::recall::Recall;

const PREFIX: &str = "tg1.";
const TAG: usize = 16;

/// Makes and opens envelopes, and knows where the state is kept that clients do not bring back in one.
#[derive(Clone)]
pub struct Seal {
    key: [u8; 32],
    /// Keys of before: what they sealed is opened, and nothing is sealed with them any more.
    former: Arc<[[u8; 32]]>,
    recall: Option<Arc<dyn Recall>>,
    /// What the conversation was until this request, for what is kept of the answer.
    mark: Option<u64>,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal(…)")
    }
}

/// Reasoning in the envelope of its state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Thought {
    /// Its words, plain.
    pub words: String,
    /// Characters of text between it and where its envelope stands.
    pub behind: u64,
}

/// What a value from a client turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// No envelope: the value is the client format's own.
    Bare,
    /// An envelope of ours.
    Ours(Opaque<'static>),
    /// Looks like an envelope, but was altered or sealed with another key.
    Forged,
}

impl Seal {
    /// A seal with `key`; the same on every replica.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self { key, former: Arc::default(), recall: None, mark: None }
    }

    /// The same seal, that opens besides what was sealed with one of `keys`.
    #[must_use]
    pub fn with_former(self, keys: impl IntoIterator<Item = [u8; 32]>) -> Self {
        Self { former: keys.into_iter().collect(), ..self }
    }

    /// The same seal, for a client whose state is kept at `recall` besides.
    #[must_use]
    pub fn with_recall(&self, recall: Arc<dyn Recall>) -> Self {
        Self { key: self.key, former: Arc::clone(&self.former), recall: Some(recall), mark: None }
    }

    /// The same seal, for the answer to a conversation of this `mark`.
    #[must_use]
    pub(crate) fn marked(self, mark: Option<u64>) -> Self {
        Self { mark, ..self }
    }

    /// The mark of the conversation that is answered.
    pub(crate) fn mark(&self) -> Option<u64> {
        self.mark
    }

    /// Where the state is kept that this client does not bring back.
    #[must_use]
    pub fn recall(&self) -> Option<&Arc<dyn Recall>> {
        self.recall.as_ref()
    }

    /// Puts `opaque` into an envelope; the result needs no JSON escape.
    #[must_use]
    pub fn wrap(&self, opaque: &Opaque<'_>) -> String {
        self.wrap_thought(opaque, &Thought::default())
    }

    /// Puts `opaque` into an envelope, and what is known of its reasoning beside it.
    #[must_use]
    pub fn wrap_thought(&self, opaque: &Opaque<'_>, thought: &Thought) -> String {
        let maker = maker_tag(opaque.maker);
        let mut bytes = vec![maker, opaque.kind.tag()];
        if *thought != Thought::default() {
            bytes = vec![maker.to_ascii_lowercase(), opaque.kind.tag()];
            bytes.extend_from_slice(format!("{} {} {}", thought.behind, thought.words.len(), thought.words).as_bytes());
        }
        bytes.extend_from_slice(opaque.data.plain().as_bytes());
        let tag = self.tag(&bytes);
        bytes.extend_from_slice(&tag);
        let mut out = String::from(PREFIX);
        URL_SAFE_NO_PAD.encode_string(&bytes, &mut out);
        out
    }

    /// True when a JSON body may hold envelopes: some string of it begins like one.
    #[must_use]
    pub fn may_be_in(body: &[u8]) -> bool {
        static BEGINNINGS: LazyLock<[Finder<'static>; 2]> =
            // A slot of bytes holds the envelope as base64.
            LazyLock::new(|| [Finder::new("\"tg1."), Finder::new("\"dGcxL")]);
        BEGINNINGS.iter().any(|beginning| beginning.find(body).is_some())
    }

    /// Opens `value` if it is an envelope.
    #[must_use]
    pub fn open(&self, value: &str) -> Opened {
        self.open_thought(value).0
    }

    /// Opens `value` if it is an envelope; what is known of the reasoning stands beside it.
    #[must_use]
    pub fn open_thought(&self, value: &str) -> (Opened, Thought) {
        let Some(encoded) = value.strip_prefix(PREFIX) else { return (Opened::Bare, Thought::default()) };
        match self.open_envelope(encoded) {
            Some((opaque, thought)) => (Opened::Ours(opaque), thought),
            None => (Opened::Forged, Thought::default()),
        }
    }

    /// A token of letters, digits, `-` and `_` that says `words` to us and belongs to `bound`, of which it says nothing.
    /// Anyone can read it, nobody can make or alter one.
    #[must_use]
    pub fn token(&self, words: &[&str], bound: &str) -> String {
        let mut said = said(words).into_bytes();
        let tag = self.tag(&of_token(&said, bound));
        said.extend_from_slice(&tag);
        URL_SAFE_NO_PAD.encode(said)
    }

    /// What `token` says, if it is one of ours that belongs to `bound`.
    #[must_use]
    pub fn read_token(&self, token: &str, bound: &str) -> Option<Vec<String>> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (said, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG)?)?;
        self.verify(&of_token(said, bound), tag)?;
        let (mut words, mut rest) = (Vec::new(), std::str::from_utf8(said).ok()?);
        while !rest.is_empty() {
            let (length, behind) = rest.split_once(':')?;
            let (word, behind) = behind.split_at_checked(length.parse().ok()?)?;
            words.push(word.to_owned());
            rest = behind;
        }
        Some(words)
    }

    fn open_envelope(&self, encoded: &str) -> Option<(Opaque<'static>, Thought)> {
        let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
        let (signed, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG)?)?;
        self.verify(signed, tag)?;
        let (head, payload) = signed.split_at_checked(2)?;
        let tag = head.first()?;
        let maker = Format::ALL.into_iter().find(|format| tag.to_ascii_uppercase() == maker_tag(*format))?;
        let kind = OpaqueKind::ALL.into_iter().find(|kind| head.get(1) == Some(&kind.tag()))?;
        let payload = std::str::from_utf8(payload).ok()?;
        let (thought, data) =
            if tag.is_ascii_lowercase() { thought_in(payload)? } else { (Thought::default(), payload) };
        Some((Opaque { kind, maker, data: Text::from_plain(data).into_owned() }, thought))
    }

    /// `Some` if `tag` is that of `signed` under the key or one of before.
    fn verify(&self, signed: &[u8], tag: &[u8]) -> Option<()> {
        let made = |key: &[u8; 32]| mac(key).chain_update(signed).verify_truncated_left(tag).is_ok();
        std::iter::once(&self.key).chain(self.former.iter()).any(made).then_some(())
    }

    fn tag(&self, bytes: &[u8]) -> [u8; TAG] {
        let mac = mac(&self.key).chain_update(bytes);
        let mut tag = [0; TAG];
        for (to, from) in tag.iter_mut().zip(mac.finalize().into_bytes()) {
            *to = from;
        }
        tag
    }
}

fn mac(key: &[u8; 32]) -> Hmac<Sha256> {
    // HMAC takes a key of any length, so the error cannot happen; a second key keeps this path free of panics.
    Hmac::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&hmac::digest::Key::<Hmac<Sha256>>::default()))
}

/// Words in a row, each behind its length.
fn said(words: &[&str]) -> String {
    words.iter().flat_map(|word| [word.len().to_string(), ":".to_owned(), (*word).to_owned()]).collect()
}

/// What is signed of a token. An envelope begins with the letter of its maker, so that neither passes for the other.
fn of_token(said: &[u8], bound: &str) -> Vec<u8> {
    [b"\0", bound.len().to_string().as_bytes(), b":", bound.as_bytes(), said].concat()
}

/// What stands before the state in an envelope with a lower-case letter: `behind`, the bytes of the words, the words.
fn thought_in(payload: &str) -> Option<(Thought, &str)> {
    let (behind, rest) = payload.split_once(' ')?;
    let (bytes, rest) = rest.split_once(' ')?;
    let (words, data) = rest.split_at_checked(bytes.parse().ok()?)?;
    Some((Thought { words: words.to_owned(), behind: behind.parse().ok()? }, data))
}

/// One capital letter a format; part of what is signed, so it may never change.
fn maker_tag(format: Format) -> u8 {
    match format {
        Format::AnthropicMessages => b'A',
        Format::OpenaiChat => b'C',
        Format::GeminiGenerate => b'G',
        Format::OpenaiResponses => b'R',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opaque(data: &'static str) -> Opaque<'static> {
        Opaque {
            kind: OpaqueKind::ThinkingSignature,
            maker: Format::AnthropicMessages,
            data: Text::from_plain(data).into_owned(),
        }
    }

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let seal = Seal::new([7; 32]);
        for data in ["", "Eo4BCkYIBRgCKkD+/=", "line\n\"quoted\" 北"] {
            let wrapped = seal.wrap(&opaque(data));
            assert!(wrapped.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
            assert_eq!(seal.open_thought(&wrapped), (Opened::Ours(opaque(data)), Thought::default()));
            for (words, behind) in [("", 1), ("7 words\n\"北\" ", 0), (" ", u64::MAX)] {
                let thought = Thought { words: words.to_owned(), behind };
                let wrapped = seal.wrap_thought(&opaque(data), &thought);
                assert_eq!(seal.open(&wrapped), Opened::Ours(opaque(data)));
                assert_eq!(seal.open_thought(&wrapped), (Opened::Ours(opaque(data)), thought));
            }
            assert_eq!(Seal::new([8; 32]).open(&wrapped), Opened::Forged);
        }
        assert_eq!(seal.open("EqQBCgIYAhIM"), Opened::Bare);
        for value in ["tg1.", "tg1.AAAA", "tg1.!!!"] {
            assert_eq!(seal.open(value), Opened::Forged);
        }
    }

    #[test]
    fn opens_what_keys_of_before_sealed_and_seals_with_the_present_one() {
        let (old, older) = (Seal::new([7; 32]), Seal::new([6; 32]));
        let seal = Seal::new([8; 32]).with_former([[7; 32], [6; 32]]);
        for before in [&old, &older] {
            assert_eq!(seal.open(&before.wrap(&opaque("EqQB"))), Opened::Ours(opaque("EqQB")));
            assert_eq!(seal.read_token(&before.token(&["web"], "u"), "u"), Some(vec!["web".to_owned()]));
        }
        assert_eq!(seal.open(&Seal::new([5; 32]).wrap(&opaque("EqQB"))), Opened::Forged);
        assert_eq!(old.open(&seal.wrap(&opaque("EqQB"))), Opened::Forged);
        assert_eq!(seal.wrap(&opaque("EqQB")), Seal::new([8; 32]).wrap(&opaque("EqQB")));
    }

    #[test]
    fn a_token_says_its_words_where_it_belongs_and_nowhere_else() {
        let seal = Seal::new([7; 32]);
        for words in [&[][..], &["web", "g"], &["", "a:b", "北 \"\n"], &["3:web", "1:g"]] {
            let token = seal.token(words, "upload u-1");
            assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{token}");
            let read = |seal: &Seal, bound| seal.read_token(&token, bound);
            assert_eq!(read(&seal, "upload u-1"), Some(words.iter().map(ToString::to_string).collect()));
            assert_eq!(read(&seal, "upload u-2"), None);
            assert_eq!(read(&Seal::new([8; 32]), "upload u-1"), None);
            for at in 0..token.len() {
                let mut altered = token.clone().into_bytes();
                altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
                let altered = String::from_utf8(altered).unwrap();
                assert_eq!(seal.read_token(&altered, "upload u-1"), None, "{at}");
            }
        }
        // What is bound cannot be moved into what is said.
        assert_ne!(seal.token(&["a"], "1:b"), seal.token(&["b", "a"], ""));
        let envelope = seal.wrap(&opaque("1:a"));
        assert_eq!(seal.read_token(envelope.trim_start_matches(PREFIX), ""), None);
        for none in ["", "AAAA", "!", &"A".repeat(22)] {
            assert_eq!(seal.read_token(none, ""), None, "{none}");
        }
    }

    #[test]
    fn notices_every_altered_character() {
        let seal = Seal::new([7; 32]);
        let wrapped = seal.wrap(&opaque("signature"));
        for at in PREFIX.len()..wrapped.len() {
            let mut altered = wrapped.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert_ne!(seal.open(&altered), Opened::Ours(opaque("signature")), "{at}");
        }
    }
}

//! How a request begins: what tells one conversation, or one family of prompts, from another.
//!
//! Providers and model servers keep what they made of a prompt's beginning. A request that begins like an earlier one is
//! cheaper where that one was answered, so routing wants to know it by a number.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::ControlFlow;

use super::Spec;
use crate::json::{Cursor, JsonError, Kind};

/// Where the parts of a request stand that its prompt begins with.
#[derive(Debug)]
pub struct PromptFields {
    /// Top-level fields that come before the turns in the prompt: instructions and tools.
    pub before: &'static [&'static str],
    /// The top-level field that holds the turns.
    pub turns: &'static str,
}

/// How a request begins. Equal beginnings have equal numbers, in every process of one build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beginning {
    /// Instructions and tools, and all turns before the user's first: what many conversations share.
    pub prefix: u64,
    /// The same with the user's first turn: what later requests of one conversation share.
    pub conversation: u64,
}

impl Spec {
    /// How the request `body` begins; of a body that cannot be read, as far as it can.
    #[must_use]
    pub fn beginning(&self, body: &[u8]) -> Beginning {
        let mut found = Found::default();
        if let Ok(mut cursor) = Cursor::over_bytes(body) {
            // What stands before the fault counts.
            let _ = cursor.object::<JsonError>(|key, value| {
                if let Some(at) = self.prompt.before.iter().position(|field| *field == key) {
                    let text = value.json()?;
                    found.before ^= hash(at as u64, text.as_str());
                } else if key == self.prompt.turns {
                    found.turns(value)?;
                }
                Ok(())
            });
        }
        let prefix = mix(found.before, found.early);
        Beginning { prefix, conversation: mix(prefix, found.first) }
    }
}

#[derive(Default)]
struct Found {
    /// Instructions and tools, in whatever order they stand.
    before: u64,
    /// Turns before the user's first.
    early: u64,
    /// The user's first turn.
    first: u64,
}

impl Found {
    fn turns(&mut self, value: &mut Cursor<'_>) -> Result<(), JsonError> {
        if value.peek()? != Kind::Array {
            self.first = hash(1, value.json()?.as_str());
            return Ok(());
        }
        let mut flow = ControlFlow::Continue(());
        value.array::<JsonError>(|_, turn| {
            if flow.is_break() {
                return turn.skip();
            }
            let mut inside = turn.clone();
            let text = turn.json()?;
            if is_user(&mut inside)? {
                self.first = hash(1, text.as_str());
                flow = ControlFlow::Break(());
            } else {
                self.early = hash(self.early, text.as_str());
            }
            Ok(())
        })
    }
}

/// Whether a turn is the user's; one without a role is.
fn is_user(turn: &mut Cursor<'_>) -> Result<bool, JsonError> {
    let (mut user, mut kind) = (None, false);
    if turn.peek()? != Kind::Object {
        return Ok(true);
    }
    turn.object::<JsonError>(|key, value| {
        match key.as_ref() {
            "role" if value.peek()? == Kind::String => user = Some(value.string()? == "user"),
            "type" => kind = true,
            _ => {}
        }
        Ok(())
    })?;
    Ok(user.unwrap_or(!kind))
}

fn hash(seed: u64, text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    hasher.write(text.as_bytes());
    hasher.finish()
}

fn mix(one: u64, other: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (one, other).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use crate::{Format, wire};

    /// A request by its instructions and its turns.
    fn request(format: Format, system: &str, turns: &[(&str, &str)]) -> String {
        let turn = |role: &str, text: &str| match format {
            Format::GeminiGenerate => format!(r#"{{"role":"{role}","parts":[{{"text":"{text}"}}]}}"#),
            _ => format!(r#"{{"content":"{text}","role":"{role}"}}"#),
        };
        let mut list: Vec<String> = turns.iter().map(|(role, text)| turn(role, text)).collect();
        let (before, field) = match format {
            Format::OpenaiChat => {
                list.insert(0, turn("system", system));
                (String::new(), "messages")
            }
            Format::AnthropicMessages => (format!(r#""system":"{system}","#), "messages"),
            Format::OpenaiResponses => (format!(r#""instructions":"{system}","#), "input"),
            Format::GeminiGenerate => {
                (format!(r#""systemInstruction":{{"parts":[{{"text":"{system}"}}]}},"#), "contents")
            }
        };
        format!(r#"{{"model":"m",{before}"{field}":[{}]}}"#, list.join(","))
    }

    #[test]
    fn a_conversation_keeps_its_number_and_shares_its_prefix() {
        for format in Format::ALL {
            let spec = wire(format).spec();
            let of = |system: &str, turns: &[(&str, &str)]| spec.beginning(request(format, system, turns).as_bytes());
            let young = of("be kind", &[("user", "one")]);
            let older = of("be kind", &[("user", "one"), ("assistant", "hm"), ("user", "two")]);
            assert_eq!(young, older, "{format:?}");
            let other = of("be kind", &[("user", "another")]);
            assert_eq!(young.prefix, other.prefix, "{format:?}");
            assert_ne!(young.conversation, other.conversation, "{format:?}");
            let stern = of("be stern", &[("user", "one")]);
            assert!(young.prefix != stern.prefix && young.conversation != stern.conversation, "{format:?}");
        }
    }

    #[test]
    fn tools_are_part_of_the_prefix_wherever_they_stand() {
        for format in Format::ALL {
            let spec = wire(format).spec();
            let plain = request(format, "s", &[("user", "one")]);
            let rest = plain.strip_prefix('{').unwrap();
            let early = format!(r#"{{"tools":[1],{rest}"#);
            let late = format!(r#"{},"tools":[1]}}"#, plain.strip_suffix('}').unwrap());
            assert_eq!(spec.beginning(early.as_bytes()), spec.beginning(late.as_bytes()), "{format:?}");
            assert_ne!(spec.beginning(plain.as_bytes()).prefix, spec.beginning(late.as_bytes()).prefix, "{format:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_has_a_number_too() {
        for format in Format::ALL {
            let spec = wire(format).spec();
            for body in ["", "[]", "{\"messages\":[", "\u{ff}", r#"{"input":"text"}"#, r#"{"messages":7}"#] {
                assert_eq!(spec.beginning(body.as_bytes()), spec.beginning(body.as_bytes()), "{body}");
            }
        }
        let responses = wire(Format::OpenaiResponses).spec();
        let of = |body: &str| responses.beginning(body.as_bytes()).conversation;
        assert_ne!(of(r#"{"input":"one"}"#), of(r#"{"input":"two"}"#));
    }
}

//! What ties a request to one provider: state that only its maker can read. A target of another format cannot be given
//! it at all; of several accounts in one format it is the one that made it.

use std::sync::Arc;

use tidegate_codec::{Format, State, wire};

use super::Snapshot;
use crate::routing::{Route, Target};

/// What of a request may tie it to a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tie {
    /// State that only its maker can read, and the format in which it is.
    pub state: Option<(Format, State)>,
    /// The number of the conversation; `None` where all that could read its state is one provider.
    pub conversation: Option<u64>,
}

/// The operation that a name of state is looked up by where the config says which provider serves it.
const OPERATIONS: [(&str, Format, &str); 11] = [
    ("file_id", Format::OpenaiResponses, "files"),
    ("file_id", Format::OpenaiChat, "files"),
    ("file_id", Format::AnthropicMessages, "anthropic_files"),
    ("fileUri", Format::GeminiGenerate, "gemini_files"),
    ("file_uri", Format::GeminiGenerate, "gemini_files"),
    ("fileName", Format::GeminiGenerate, "gemini_files"),
    ("file_name", Format::GeminiGenerate, "gemini_files"),
    ("cachedContent", Format::GeminiGenerate, "cached_contents"),
    ("cached_content", Format::GeminiGenerate, "cached_contents"),
    ("fileSearchStoreNames", Format::GeminiGenerate, "file_search_stores"),
    ("file_search_store_names", Format::GeminiGenerate, "file_search_stores"),
];

impl Snapshot {
    /// What ties `client`'s request in `format` to a provider, of those that `route` leads to. A body is read where it
    /// leads to several.
    #[must_use]
    pub fn tie(&self, route: &Route, client: &str, (format, body): (Format, &[u8])) -> Tie {
        let mut readers = route.targets.iter().filter(|target| self.reads(target, format));
        let Some(first) = readers.next().filter(|_| route.targets.len() > 1) else { return Tie::default() };
        let several = readers.any(|target| target.provider != first.provider);
        let spec = wire(format).spec();
        let conversation = || number(client, &[spec.beginning(body).conversation]);
        Tie { state: spec.state(body).map(|state| (format, state)), conversation: several.then(conversation) }
    }

    /// The order of the targets of `route` for a request that is tied so: `order`, with who made the state first, then
    /// who speaks its format. What lies at its maker is asked of nobody else. Where nobody could read it nothing changes:
    /// the translation says what is lost.
    #[must_use]
    pub fn tied(&self, route: &Route, client: &str, tie: Tie, order: Option<Box<[usize]>>) -> Option<Box<[usize]>> {
        let Some((format, state)) = tie.state else { return order };
        let written = order.clone().unwrap_or_else(|| (0..route.targets.len()).collect());
        let target = |at: &usize| route.targets.get(*at);
        let (mut readers, others): (Vec<usize>, Vec<usize>) =
            written.iter().partition(|at| target(at).is_some_and(|target| self.reads(target, format)));
        if readers.is_empty() {
            return order;
        }
        let maker = self.maker(client, (format, state));
        let home = maker.clone().or_else(|| self.whereabouts.find(tie.conversation?));
        let at_home = |at: &usize| home.is_some() && target(at).map(|target| &target.provider) == home.as_ref();
        readers.sort_by_key(|at| !at_home(at));
        if !state.needed {
            readers.extend(others);
        } else if maker.is_some() && readers.iter().any(at_home) {
            readers.retain(at_home);
        }
        Some(readers.into())
    }

    /// Notes that `provider` answers a request that is tied so.
    pub fn note_answer(&self, tie: Tie, provider: &Arc<str>) {
        if let Some(conversation) = tie.conversation {
            self.whereabouts.note(conversation, provider);
        }
    }

    /// Notes that `provider` made what `client` may ask for by `id`.
    pub fn note_made(&self, client: &str, id: &str, provider: &Arc<str>) {
        self.whereabouts.note(number(client, &[State::number_of(id)]), provider);
    }

    /// Who made what `client` asks for by `id`, if that was seen and is not forgotten.
    #[must_use]
    pub fn maker_of(&self, client: &str, id: &str) -> Option<Arc<str>> {
        self.whereabouts.find(number(client, &[State::number_of(id)]))
    }

    /// Whether several providers speak one of `formats`: then it must be remembered which of them made what.
    #[must_use]
    pub fn several(&self, formats: &[Format]) -> bool {
        self.settings.providers.values().filter(|provider| formats.contains(&provider.format)).nth(1).is_some()
    }

    /// Who made the state, as far as that was seen or is configured.
    fn maker(&self, client: &str, (format, state): (Format, State)) -> Option<Arc<str>> {
        if !state.needed {
            return None;
        }
        let seen = self.whereabouts.find(number(client, &[state.number]));
        seen.or_else(|| {
            let known = OPERATIONS.iter().find(|(name, of, _)| (*name, *of) == (state.name, format));
            known.and_then(|(_, _, operation)| self.settings.operations.get(operation)).map(Arc::clone)
        })
    }

    pub(super) fn reads(&self, target: &Target, format: Format) -> bool {
        self.settings.providers.get(&target.provider).is_some_and(|provider| provider.format == format)
    }
}

/// A number of a client's own: what one client made says nothing of another's.
fn number(client: &str, parts: &[u64]) -> u64 {
    let text: Vec<String> = parts.iter().map(ToString::to_string).collect();
    State::number_of(&[client, "/", &text.join("/")].concat())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Environment, parse};
    use super::*;

    const YAML: &str = "\
providers:
  one: {kind: anthropic, key: k}
  chat: {kind: openai, key: k}
  two: {kind: anthropic, key: k}
models:
  m: {targets: [chat/x, one/a, two/b]}
  only: {targets: [chat/x, one/a]}
  chats: {targets: [chat/x, chat/y]}
operations: {anthropic_files: two}
auth: off
";
    const SIGNED: &str =
        r#"{"messages":[{"role":"user","content":"q"},{"content":[{"type":"thinking","signature":"E"}]}]}"#;
    const FILE: &str = r#"{"messages":[{"role":"user","content":[{"source":{"type":"file","file_id":"f"}}]}]}"#;
    const BOX: &str = r#"{"container":"c","messages":[{"role":"user","content":"q"}]}"#;
    const THREAD: &str =
        r#"{"thread":{"type":"continue","previous_message_id":"msg_1"},"messages":[{"role":"user","content":"q"}]}"#;
    const PLAIN: &str = r#"{"messages":[{"role":"user","content":"q"}]}"#;

    fn snapshot() -> Snapshot {
        Snapshot::at_rest(parse(YAML, "test", Path::new(""), &Environment::new()).unwrap())
    }

    /// The providers in the order in which the request would be tried.
    fn order(snapshot: &Snapshot, (client, model): (&str, &str), body: &str) -> String {
        let route = snapshot.settings.models.resolve(model).unwrap();
        let tie = snapshot.tie(&route, client, (Format::AnthropicMessages, body.as_bytes()));
        let order = snapshot.tied(&route, client, tie, None).unwrap_or_else(|| (0..route.targets.len()).collect());
        order.iter().map(|at| &*route.targets[*at].provider).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn state_leads_to_who_can_read_it() {
        let snapshot = snapshot();
        let check = |model: &str, body: &str, expected: &str| {
            assert_eq!(order(&snapshot, ("web", model), body), expected, "{model}: {body}");
        };
        check("m", PLAIN, "chat one two");
        check("m", SIGNED, "one two chat");
        check("m", BOX, "one two");
        check("m", FILE, "two");
        check("m", THREAD, "one two");
        check("only", SIGNED, "one chat");
        check("only", BOX, "one");
        check("only", FILE, "one");
        check("chats", BOX, "chat chat");
    }

    #[test]
    fn a_conversation_stays_with_the_account_that_answered_it() {
        let snapshot = snapshot();
        let route = snapshot.settings.models.resolve("m").unwrap();
        let tie = snapshot.tie(&route, "web", (Format::AnthropicMessages, PLAIN.as_bytes()));
        snapshot.note_answer(tie, &Arc::from("two"));
        assert_eq!(order(&snapshot, ("web", "m"), SIGNED), "two one chat");
        assert_eq!(order(&snapshot, ("web", "m"), BOX), "two one", "likely, but not known");
        assert_eq!(order(&snapshot, ("web", "m"), PLAIN), "chat one two", "without state every target serves");
        assert_eq!(order(&snapshot, ("other", "m"), SIGNED), "one two chat");
        snapshot.note_made("web", "c", &Arc::from("one"));
        assert_eq!(order(&snapshot, ("web", "m"), BOX), "one", "known");
        assert_eq!(order(&snapshot, ("other", "m"), BOX), "one two");
    }
}

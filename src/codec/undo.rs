//! Takes back what a request's translation did, before the client sees the answer.
//!
//! Sits between reader and writer, so that no writer has to know: renamed tools get their names back, custom tools
//! that went out as functions become free text again, the function that stood for a JSON answer becomes text, and the
//! two halves of a character that a provider split over two deltas are joined.

use std::borrow::Cow;

use crate::format::Undo;
use crate::hub::{Block, BlockKind, Event, Flavor, Head, Response, Stop};
use crate::json::{Json, Kind, Text};

/// The stage for a stream.
#[derive(Debug, Default)]
pub struct UndoStage {
    undo: Undo,
    /// Blocks that need a hand, few.
    blocks: Vec<(u32, Treatment)>,
    /// Escapes of high surrogates that ended the last delta of their block; blocks may interleave.
    halves: Vec<Half>,
    /// Function calls whose arguments have not begun, each with what came that may yet be a `null`.
    silent: Vec<(u32, String)>,
    /// A JSON answer came as a tool call.
    json_answer: bool,
}

/// Half of a character that waits for the other.
#[derive(Debug)]
struct Half {
    block: u32,
    escape: String,
    /// It ended a piece of arguments, not of words.
    of_arguments: bool,
}

#[derive(Debug)]
enum Treatment {
    /// Arguments are the answer's text.
    AsText,
    /// Arguments wrap free text.
    Unwrap(Unwrapper),
}

impl UndoStage {
    /// A stage that takes back `undo`.
    #[must_use]
    pub fn new(undo: Undo) -> Self {
        Self { undo, ..Self::default() }
    }

    /// Hands on `event` as the client may see it.
    pub fn event(&mut self, event: Event<'_>, sink: &mut dyn FnMut(Event<'_>)) {
        match event {
            Event::BlockStart { block, candidate, head: Head::ToolCall { id, name, flavor } } => {
                let head = self.tool_call(block, id, name, flavor);
                sink(Event::BlockStart { block, candidate, head });
            }
            Event::TextDelta { block, text } => {
                if let Some(text) = self.join(block, text, false) {
                    sink(Event::TextDelta { block, text });
                }
            }
            Event::ArgumentsDelta { block, fragment } => {
                if let Some(fragment) = self.join(block, fragment, true) {
                    self.arguments(block, fragment, sink);
                }
            }
            Event::BlockStop { block } => self.stop_block(block, sink),
            Event::Stop { candidate, stop: Stop::ToolUse } if self.json_answer => {
                sink(Event::Stop { candidate, stop: Stop::EndTurn });
            }
            Event::Apart { .. } if self.undo.json => {}
            other => sink(other),
        }
    }

    fn tool_call<'a>(&mut self, block: u32, id: Cow<'a, str>, name: Cow<'a, str>, flavor: Flavor) -> Head<'a> {
        if self.undo.json_tool.as_deref() == Some(name.as_ref()) {
            self.blocks.push((block, Treatment::AsText));
            self.json_answer = true;
            return Head::Text;
        }
        let wrapped = self.undo.wrapped_tools.iter().any(|tool| *tool == name);
        let name = original_name(&self.undo, name);
        if wrapped {
            self.blocks.push((block, Treatment::Unwrap(Unwrapper::default())));
            return Head::ToolCall { id, name, flavor: Flavor::Custom };
        }
        if flavor == Flavor::Function {
            self.silent.push((block, String::new()));
        }
        Head::ToolCall { id, name, flavor }
    }

    fn arguments(&mut self, block: u32, fragment: Text<'_>, sink: &mut dyn FnMut(Event<'_>)) {
        match self.blocks.iter_mut().find(|(at, _)| *at == block) {
            None => {
                // White space before the arguments says nothing, and alone is no JSON; a bare `null` are no arguments.
                let mut fragment = fragment;
                if let Some(at) = self.silent.iter().position(|(silent, _)| *silent == block) {
                    let Some((_, held)) = self.silent.get_mut(at).filter(|_| !fragment.is_blank()) else { return };
                    let joined = [held.as_str(), fragment.escaped()].concat();
                    if "null".starts_with(joined.trim()) {
                        joined.trim().clone_into(held);
                        return;
                    }
                    if !held.is_empty() {
                        fragment = Text::from_escaped(joined);
                    }
                    self.silent.swap_remove(at);
                }
                sink(Event::ArgumentsDelta { block, fragment });
            }
            Some((_, Treatment::AsText)) => sink(Event::TextDelta { block, text: fragment }),
            Some((_, Treatment::Unwrap(unwrapper))) => {
                let text = unwrapper.feed(&fragment.plain());
                if !text.is_empty() {
                    sink(Event::ArgumentsDelta { block, fragment: Text::from_escaped(text) });
                }
            }
        }
    }

    fn stop_block(&mut self, block: u32, sink: &mut dyn FnMut(Event<'_>)) {
        if let Some(half) = self.take_half(block) {
            // Its other half never came: the character is lost, not the text around it.
            let text = Text::from_escaped("\\ufffd");
            if half.of_arguments {
                self.arguments(block, text, sink);
            } else {
                sink(Event::TextDelta { block, text });
            }
        }
        if let Some(at) = self.silent.iter().position(|(silent, _)| *silent == block) {
            let (_, held) = self.silent.swap_remove(at);
            if !matches!(held.as_str(), "" | "null") {
                sink(Event::ArgumentsDelta { block, fragment: Text::from_escaped(held) });
            }
        }
        if let Some(at) = self.blocks.iter().position(|(at, _)| *at == block)
            && let (_, Treatment::Unwrap(unwrapper)) = self.blocks.swap_remove(at)
        {
            let rest = unwrapper.finish();
            if !rest.is_empty() {
                sink(Event::ArgumentsDelta { block, fragment: Text::from_escaped(rest) });
            }
        }
        sink(Event::BlockStop { block });
    }

    /// `text` with a half character that was held before it, and without one at its end.
    fn join<'a>(&mut self, block: u32, text: Text<'a>, of_arguments: bool) -> Option<Text<'a>> {
        let mut text = text;
        if let Some(half) = self.take_half(block) {
            let mut joined = Text::from_escaped(half.escape);
            joined.push(&text);
            text = joined;
        }
        let Some(cut) = half_at_end(text.escaped()) else { return Some(text) };
        let (whole, half) = text.escaped().split_at_checked(cut)?;
        self.halves.push(Half { block, escape: half.to_owned(), of_arguments });
        if whole.is_empty() { None } else { Some(Text::from_escaped(whole.to_owned())) }
    }

    fn take_half(&mut self, block: u32) -> Option<Half> {
        let at = self.halves.iter().position(|half| half.block == block)?;
        Some(self.halves.swap_remove(at))
    }
}

/// Where the escape of a high surrogate begins that `escaped` ends with.
fn half_at_end(escaped: &str) -> Option<usize> {
    let cut = escaped.len().checked_sub(6)?;
    let bytes = escaped.as_bytes();
    let &[b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', _, _] = bytes.get(cut..)? else {
        return None;
    };
    // An even number of backslashes in front leaves this one to begin an escape.
    let before = bytes.get(..cut)?.iter().rev().take_while(|&&b| b == b'\\').count();
    (before % 2 == 0).then_some(cut)
}

fn original_name<'a>(undo: &Undo, name: Cow<'a, str>) -> Cow<'a, str> {
    match undo.renamed_tools.iter().find(|(sent, _)| *sent == name) {
        Some((_, original)) => Cow::Owned(original.clone()),
        None => name,
    }
}

/// Takes back `undo` in a whole answer.
pub fn undo_response(undo: &Undo, response: &mut Response<'_>) {
    for candidate in &mut response.candidates {
        let mut json_answer = false;
        for block in &mut candidate.blocks {
            block.apart &= !undo.json;
            json_answer |= undo_block(undo, block);
        }
        if json_answer && candidate.stop == Stop::ToolUse {
            candidate.stop = Stop::EndTurn;
        }
    }
}

/// Takes back `undo` in one block; true if it was the JSON answer.
fn undo_block(undo: &Undo, block: &mut Block<'_>) -> bool {
    let BlockKind::ToolCall { name, arguments, flavor, .. } = &mut block.kind else { return false };
    // Arguments that a limit cut are no JSON: a string holds what came of them.
    let cut = (arguments.kind() == Kind::String).then(|| arguments.cursor().string().map(Cow::into_owned));
    let said = cut.and_then(Result::ok).unwrap_or_else(|| arguments.as_str().to_owned());
    if undo.json_tool.as_deref() == Some(name.as_ref()) {
        let text = Text::from_plain(&said).into_owned();
        block.kind = BlockKind::Text { text, citations: Vec::new() };
        return true;
    }
    if undo.wrapped_tools.iter().any(|tool| *tool == *name) {
        let mut unwrapper = Unwrapper::default();
        let mut text = unwrapper.feed(&said);
        text.push_str(&unwrapper.finish());
        *arguments = Json::from_valid(format!("\"{text}\""));
        *flavor = Flavor::Custom;
    }
    *name = Cow::Owned(original_name(undo, std::mem::take(name)).into_owned());
    false
}

/// What the wrapping of free text begins with.
const OPENING: &str = r#"{"input":""#;
/// The places in it that white space may stand before.
const GAPS: [usize; 4] = [0, 1, 8, 9];
/// Most bytes of the beginning that are kept to be shown as they are; white space beyond it is forgotten.
const KEPT: usize = 256;

/// Reads `{"input":"…"}` piece by piece and gives the contents of the string, still escaped.
///
/// A model that does not keep to the wrapping is shown as it is from the first character that differs.
#[derive(Debug)]
struct Unwrapper {
    /// What came before the string began; then an escape that is not complete.
    held: String,
    place: Place,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// So many bytes of the opening are seen.
    Before(usize),
    Inside,
    Behind,
    /// There is no wrapping.
    Bare,
}

impl Default for Unwrapper {
    fn default() -> Self {
        Self { held: String::new(), place: Place::Before(0) }
    }
}

impl Unwrapper {
    fn feed(&mut self, piece: &str) -> String {
        let rest = match self.place {
            Place::Before(seen) => self.open(seen, piece),
            Place::Inside | Place::Behind | Place::Bare => piece,
        };
        match self.place {
            Place::Before(_) | Place::Behind => String::new(),
            Place::Inside => self.contents(rest),
            Place::Bare => {
                let mut text = std::mem::take(&mut self.held);
                text.push_str(rest);
                Text::from_plain(&text).escaped().to_owned()
            }
        }
    }

    /// Steps over the opening, of which `seen` bytes came before; gives what stands behind it, or what is not of it.
    fn open<'p>(&mut self, mut seen: usize, piece: &'p str) -> &'p str {
        let mut rest = piece.chars();
        loop {
            let left = rest.as_str();
            let Some(next) = rest.next() else {
                self.place = Place::Before(seen);
                return left;
            };
            if next.is_whitespace() && GAPS.contains(&seen) {
                if self.held.len() < KEPT {
                    self.held.push(next);
                }
            } else if OPENING.get(seen..).is_some_and(|opening| opening.starts_with(next)) {
                self.held.push(next);
                seen += 1;
            } else {
                self.place = Place::Bare;
                return left;
            }
            if seen == OPENING.len() {
                self.held.clear();
                self.place = Place::Inside;
                return rest.as_str();
            }
        }
    }

    fn contents(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        let (mut end, closed) = contents_end(&self.held);
        if !closed && let Some(cut) = self.held.get(..end).and_then(half_at_end) {
            // Half of a character: no reader of pieces could make anything of it.
            end = cut;
        }
        // A model wrote this, and no parser has read it.
        let text = Text::mended(self.held.get(..end).unwrap_or_default()).escaped().to_owned();
        self.held.drain(..end);
        if closed {
            self.held.clear();
            self.place = Place::Behind;
        }
        text
    }

    /// What is left when the call is over: one that ended before its wrapping was known is shown as it is.
    fn finish(self) -> String {
        match self.place {
            Place::Before(_) => Text::from_plain(&self.held).escaped().to_owned(),
            Place::Inside if half_at_end(&self.held) == Some(0) => "\\ufffd".to_owned(),
            Place::Inside | Place::Behind | Place::Bare => String::new(),
        }
    }
}

/// How far `text` holds whole characters of a string's contents, and whether the closing quote follows.
fn contents_end(text: &str) -> (usize, bool) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes.get(at) == Some(&b'"') {
            return (at, true);
        }
        let width = if bytes.get(at + 1) == Some(&b'u') { 6 } else { 2 };
        if at + width > bytes.len() {
            return (at, false);
        }
        at += width;
    }
    (bytes.len(), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(undo: Undo, deltas: &[&str], tool: Option<&str>) -> String {
        let mut stage = UndoStage::new(undo);
        let mut seen = String::new();
        let mut sink = |event: Event<'_>| match event {
            Event::BlockStart { head: Head::ToolCall { name, flavor, .. }, .. } => {
                seen.push_str(&format!("<{name} {flavor:?}>"));
            }
            Event::BlockStart { head, .. } => seen.push_str(&format!("<{head:?}>")),
            Event::TextDelta { text, .. } => seen.push_str(text.escaped()),
            Event::ArgumentsDelta { fragment, .. } => seen.push_str(fragment.escaped()),
            Event::BlockStop { .. } => seen.push_str("</>"),
            Event::Stop { stop, .. } => seen.push_str(stop.label()),
            _ => {}
        };
        let head = match tool {
            Some(name) => Head::ToolCall { id: "c".into(), name: name.to_owned().into(), flavor: Flavor::Function },
            None => Head::Text,
        };
        stage.event(Event::BlockStart { block: 0, candidate: 0, head }, &mut sink);
        for delta in deltas {
            let text = Text::from_escaped(*delta);
            let event = match tool {
                Some(_) => Event::ArgumentsDelta { block: 0, fragment: text },
                None => Event::TextDelta { block: 0, text },
            };
            stage.event(event, &mut sink);
        }
        stage.event(Event::BlockStop { block: 0 }, &mut sink);
        stage.event(Event::Stop { candidate: 0, stop: Stop::ToolUse }, &mut sink);
        seen
    }

    #[test]
    fn joins_split_surrogates() {
        assert_eq!(run(Undo::default(), &["a\\ud83d", "\\ude00b"], None), "<Text>a\\ud83d\\ude00b</>tool_use");
        assert_eq!(run(Undo::default(), &["\\ud83d", "\\ude00"], None), "<Text>\\ud83d\\ude00</>tool_use");
        assert_eq!(run(Undo::default(), &["a\\ud83d"], None), "<Text>a\\ufffd</>tool_use");
        assert_eq!(run(Undo::default(), &["a\\\\ud83d", "b"], None), "<Text>a\\\\ud83db</>tool_use");
    }

    #[test]
    fn halves_of_characters_wait_for_their_own_block() {
        let mut stage = UndoStage::default();
        let mut seen = String::new();
        let mut sink = |event: Event<'_>| match event {
            Event::TextDelta { block, text } => seen.push_str(&format!("{block}:{} ", text.escaped())),
            Event::ArgumentsDelta { block, fragment } => seen.push_str(&format!("{block}={} ", fragment.escaped())),
            _ => {}
        };
        let call = Head::ToolCall { id: "c".into(), name: "f".into(), flavor: Flavor::Function };
        for (block, head) in [(0, Head::Text), (1, Head::Text), (2, call)] {
            stage.event(Event::BlockStart { block, candidate: block, head }, &mut sink);
        }
        for (block, text) in [(0, "a\\ud83d"), (1, "\\ud83c"), (0, "\\ude00"), (1, "\\udf0d")] {
            stage.event(Event::TextDelta { block, text: Text::from_escaped(text) }, &mut sink);
        }
        // Arguments that were cut in the middle of a character stay arguments.
        stage.event(Event::ArgumentsDelta { block: 2, fragment: Text::from_escaped("{\\ud83d") }, &mut sink);
        stage.event(Event::BlockStop { block: 2 }, &mut sink);
        assert_eq!(seen, r"0:a 0:\ud83d\ude00 1:\ud83c\udf0d 2={ 2=\ufffd ");
    }

    #[test]
    fn arguments_that_say_nothing_are_none() {
        for (deltas, said) in [
            (&["", " ", "\\n"][..], ""),
            (&[" null "], ""),
            (&["nu", "", "ll", " "], ""),
            (&["n", "o"], "no"),
            (&["nu", "l"], "nul"),
            (&["null", "1"], "null1"),
            (&["  ", r#" {\"a\":"#, " ", "null}"], r#" {\"a\": null}"#),
            (&["[1]"], "[1]"),
        ] {
            assert_eq!(run(Undo::default(), deltas, Some("f")), format!("<f Function>{said}</>tool_use"), "{deltas:?}");
        }
    }

    #[test]
    fn gives_names_back() {
        let undo = Undo { renamed_tools: vec![("a_1".into(), "a.1".into())], ..Undo::default() };
        assert_eq!(run(undo.clone(), &["{}"], Some("a_1")), "<a.1 Function>{}</>tool_use");
        assert_eq!(run(undo, &["{}"], Some("other")), "<other Function>{}</>tool_use");
    }

    #[test]
    fn unwraps_free_text_however_it_is_cut() {
        let undo = Undo { wrapped_tools: vec!["patch".into()], ..Undo::default() };
        for (object, said) in [
            (r#" { "input" : "a\"b\\\nc\u00e9" } "#, r#"a\"b\\\nc\u00e9"#),
            ("\n{\t\"input\":\u{a0}\"\"", ""),
            (r#"{"x":1}"#, r#"{\"x\":1}"#),
            (r#" { "input" : 17, "a":"é\n" } "#, r#" { \"input\" : 17, \"a\":\"é\\n\" } "#),
            (r#"{"in put":"a"}"#, r#"{\"in put\":\"a\"}"#),
            (r#"free "{"input":"text"}"#, r#"free \"{\"input\":\"text\"}"#),
            (r#" { "inp"#, r#" { \"inp"#),
            ("  ", "  "),
            ("", ""),
        ] {
            let whole = format!("<patch Custom>{said}</>tool_use");
            for (cut, _) in object.char_indices() {
                let (head, tail) = object.split_at(cut);
                let pieces = [head, tail].map(|piece| Text::from_plain(piece).escaped().to_owned());
                let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
                assert_eq!(run(undo.clone(), &pieces, Some("patch")), whole, "{object} cut at {cut}");
            }
            let letters: Vec<_> = object.chars().map(|one| Text::from_plain(&one.to_string()).into_owned()).collect();
            let letters: Vec<&str> = letters.iter().map(Text::escaped).collect();
            assert_eq!(run(undo.clone(), &letters, Some("patch")), whole, "{object} letter by letter");
        }
    }

    /// The provider cuts the wrapping's JSON anywhere, so that an escape of two halves may lie in two pieces.
    #[test]
    fn both_halves_of_a_character_stand_in_one_piece_of_free_text() {
        let whole = r#"{"input":"a\ud83d\ude00b"}"#;
        for cut in 0..=whole.len() {
            let mut unwrapper = Unwrapper::default();
            let (head, tail) = whole.split_at(cut);
            let pieces = [unwrapper.feed(head), unwrapper.feed(tail), unwrapper.finish()];
            assert!(pieces.iter().all(|piece| half_at_end(piece).is_none()), "{pieces:?}");
            assert_eq!(pieces.concat(), r"a\ud83d\ude00b");
        }
        let mut unwrapper = Unwrapper::default();
        let pieces = [unwrapper.feed(r#"{"input":"a\ud83d"#), unwrapper.finish()];
        assert_eq!(pieces.concat(), r"a\ufffd", "the other half never came");
    }

    /// Nothing of a call without end is read twice, which would take minutes, and little of it is held.
    #[test]
    fn wrapping_that_does_not_come_costs_nothing() {
        let blank = " ".repeat(1000);
        let mut late = Unwrapper::default();
        for _ in 0..16_000 {
            assert_eq!(late.feed(&blank), "");
            assert!(late.held.len() <= KEPT);
        }
        assert_eq!(late.feed("{\"input\": \"a"), "a");
        let mut bare = Unwrapper::default();
        assert_eq!(bare.feed("{\"x\":"), "{\\\"x\\\":");
        for _ in 0..1000 {
            assert_eq!(bare.feed(&blank), blank);
            assert!(bare.held.is_empty());
        }
        assert_eq!(bare.finish(), "");
    }

    #[test]
    fn turns_the_json_tool_into_text() {
        let undo = Undo { json_tool: Some("json".into()), ..Undo::default() };
        assert_eq!(run(undo, &["{\\\"a\\\":1}"], Some("json")), "<Text>{\\\"a\\\":1}</>end_turn");
    }
}

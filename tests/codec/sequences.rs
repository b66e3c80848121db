//! Any order of events that the hub allows, through every writer: the wire's grammar holds, and what is read back says
//! the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::Arc;

use proptest::prelude::*;
use support::{fold, reply};
use tidegate_codec::frame::sse::{EVENT_LIMIT, FrameError, Framer};
use tidegate_codec::hub::grammar::Grammar;
use tidegate_codec::hub::{Event, Fault, FaultKind, Flavor, Head, Stop, ThinkingKind, Usage};
use tidegate_codec::json::Text;
use tidegate_codec::{Format, format, wire};

/// One step of a made-up answer; a step that may not come now is left out.
#[derive(Debug, Clone)]
enum Step {
    Say(String),
    Think(String),
    /// Begins a call with this value in its arguments; `None`: without arguments.
    Call(Option<String>),
    /// The open call at this place grows by this many characters.
    Grow(usize, usize),
    CloseCall(usize),
    CloseWords,
    Ping,
    Usage(u16, u16),
}

/// How it ends.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Complete,
    Fault,
}

fn step() -> impl Strategy<Value = Step> {
    let words = "[a-z \"\\\\/北\u{1F600}\u{2028}]{0,6}";
    prop_oneof![
        3 => words.prop_map(Step::Say),
        2 => words.prop_map(Step::Think),
        2 => proptest::option::of(words).prop_map(Step::Call),
        4 => (0_usize..4, 0_usize..9).prop_map(|(at, length)| Step::Grow(at, length)),
        1 => (0_usize..4).prop_map(Step::CloseCall),
        1 => Just(Step::CloseWords),
        1 => Just(Step::Ping),
        1 => (any::<u16>(), any::<u16>()).prop_map(|(input, output)| Step::Usage(input, output)),
    ]
}

/// A call that is open, and what of its arguments is still to come.
struct Open {
    block: u32,
    rest: String,
}

/// Makes events of steps, as a reader would.
#[derive(Default)]
struct Maker {
    events: Vec<Event<'static>>,
    next: u32,
    words: Option<(u32, bool)>,
    calls: Vec<Open>,
    called: bool,
}

impl Maker {
    fn make(steps: &[Step], ending: Ending) -> Vec<Event<'static>> {
        let text = |plain| Text::from_plain(plain).into_owned();
        let mut maker = Self::default();
        maker.events.push(Event::Start { id: text("id"), model: text("m"), created: Some(1) });
        for step in steps {
            maker.step(step);
        }
        match ending {
            Ending::Fault => maker.events.push(Event::Fault(Fault::new(FaultKind::Overloaded, "busy"))),
            Ending::Complete => {
                maker.close_words();
                while !maker.calls.is_empty() {
                    maker.close_call(0);
                }
                let stop = if maker.called { Stop::ToolUse } else { Stop::EndTurn };
                maker.events.extend([Event::Stop { candidate: 0, stop }, Event::End]);
            }
        }
        maker.events
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Say(words) => self.say(words, false),
            Step::Think(words) => self.say(words, true),
            Step::Call(value) => {
                self.close_words();
                let (id, name) = (format!("call_{}", self.next).into(), "f".into());
                let block = self.open(Head::ToolCall { id, name, flavor: Flavor::Function });
                let rest = value.as_ref().map(|value| serde_json::json!({"k": value, "n": [1, {}]}).to_string());
                self.calls.push(Open { block, rest: rest.unwrap_or_default() });
                self.called = true;
            }
            Step::Grow(at, length) => self.grow(*at, *length),
            Step::CloseCall(at) => self.close_call(*at),
            Step::CloseWords => self.close_words(),
            Step::Ping => self.events.push(Event::Ping),
            Step::Usage(input, output) => self.events.push(Event::Usage(Usage {
                input_uncached: u64::from(*input),
                output_visible: u64::from(*output),
                ..Usage::default()
            })),
        }
    }

    fn say(&mut self, words: &str, thinking: bool) {
        let block = match self.words {
            Some((block, same)) if same == thinking => block,
            _ => {
                self.close_words();
                self.open(if thinking { Head::Thinking(ThinkingKind::Raw) } else { Head::Text })
            }
        };
        self.words = Some((block, thinking));
        self.events.push(Event::TextDelta { block, text: Text::from_plain(words).into_owned() });
    }

    fn open(&mut self, head: Head<'static>) -> u32 {
        let block = self.next;
        self.next += 1;
        self.events.push(Event::BlockStart { block, candidate: 0, head });
        block
    }

    fn grow(&mut self, at: usize, length: usize) {
        let Some(Open { block, rest }) = self.calls.get_mut(at) else { return };
        let piece: String = rest.chars().take(length).collect();
        rest.drain(..piece.len());
        self.events.push(Event::ArgumentsDelta { block: *block, fragment: Text::from_plain(&piece).into_owned() });
    }

    fn close_call(&mut self, at: usize) {
        if at < self.calls.len() {
            self.grow(at, usize::MAX);
            let block = self.calls.remove(at).block;
            self.events.push(Event::BlockStop { block });
        }
    }

    fn close_words(&mut self) {
        if let Some((block, _)) = self.words.take() {
            self.events.push(Event::BlockStop { block });
        }
    }
}

/// Checks `written` against the grammar of `format`, to the end.
fn hold(format: Format, written: &[u8]) {
    let mut messages = format::anthropic_messages::grammar::Grammar::default();
    let mut chat = format::openai_chat::grammar::Grammar::default();
    let read = Framer::new(EVENT_LIMIT).push::<FrameError>(written, |frame| {
        let kept = match format {
            Format::AnthropicMessages => messages.next(&frame),
            Format::OpenaiChat => chat.next(&frame),
        };
        kept.unwrap_or_else(|why| panic!("{why} in\n{}", String::from_utf8_lossy(written)));
        Ok(())
    });
    assert_eq!(read, Ok(()));
    assert!(messages.is_ended() || chat.is_ended(), "no end in\n{}", String::from_utf8_lossy(written));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_order_of_events_is_written_by_the_grammar_and_read_back(
        steps in proptest::collection::vec(step(), 0..24),
        ending in prop_oneof![3 => Just(Ending::Complete), 1 => Just(Ending::Fault)],
    ) {
        let events = Maker::make(&steps, ending);
        let mut grammar = Grammar::default();
        for event in &events {
            grammar.next(event).unwrap();
        }
        let before = fold::events(&events);
        for to in Format::ALL {
            let mut writer = wire(to).stream_writer(Arc::new(reply()));
            let mut out = Vec::new();
            for event in &events {
                writer.event(event, &mut out, &mut |_| {});
            }
            hold(to, &out);
            let after = fold::stream(to, &out);
            prop_assert_eq!(before.fault.is_some(), after.fault.is_some());
            prop_assert_eq!(before.ended, after.ended);
            if let Ending::Complete = ending {
                // Two texts with something between them may be one text with an empty line.
                prop_assert_eq!(&before.text, &after.text.replace("\n\n", ""));
                prop_assert_eq!(&before.thinking, &after.thinking);
                prop_assert_eq!(&before.calls, &after.calls);
                prop_assert_eq!(before.stop, after.stop);
            }
        }
    }
}

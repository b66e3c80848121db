//! Any order of events that the hub allows, through every writer: the wire's grammar holds, and what is read back says
//! the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::Arc;

use proptest::prelude::*;
use support::{fold, reply};
use tidegate_codec::frame::sse::{EVENT_LIMIT, FrameError, Framer};
use tidegate_codec::hub::grammar::Grammar;
use tidegate_codec::hub::{
    Citation, Event, Fault, FaultKind, Field, Flavor, Head, Opaque, OpaqueKind, Stop, ThinkingKind, Usage,
};
use tidegate_codec::json::{Json, Text};
use tidegate_codec::seal::Opened;
use tidegate_codec::{Format, fuzzing, wire};

/// One step of a made-up answer; a step that may not come now is left out.
#[derive(Debug, Clone)]
enum Step {
    Say(Words, String),
    /// Begins a call with this value in its arguments; `None`: without arguments.
    Call(Option<String>),
    /// Begins a call of a tool that takes free text.
    Custom(String),
    /// The open call at this place grows by this many characters.
    Grow(usize, usize),
    CloseCall(usize),
    CloseWords,
    /// A signature of the thinking that is open.
    Sign,
    /// Thinking that only its maker can read.
    Redacted,
    /// A source of the text that is open.
    Cite,
    Logprobs,
    Ping,
    Usage(u16, u16),
}

/// What words are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    Text,
    Refusal,
    Thinking,
}

/// How it ends.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Complete,
    Fault,
}

/// A step, and which answer it belongs to.
fn step() -> impl Strategy<Value = (u32, Step)> {
    let words = "[a-z \"\\\\/北\u{1F600}\u{2028}]{0,6}";
    let kind = prop_oneof![3 => Just(Words::Text), 1 => Just(Words::Refusal), 2 => Just(Words::Thinking)];
    let step = prop_oneof![
        6 => (kind, words).prop_map(|(kind, words)| Step::Say(kind, words)),
        2 => proptest::option::of(words).prop_map(Step::Call),
        1 => words.prop_map(Step::Custom),
        4 => (0_usize..4, 0_usize..9).prop_map(|(at, length)| Step::Grow(at, length)),
        1 => (0_usize..4).prop_map(Step::CloseCall),
        1 => Just(Step::CloseWords),
        1 => Just(Step::Sign),
        1 => Just(Step::Redacted),
        1 => Just(Step::Cite),
        1 => Just(Step::Logprobs),
        1 => Just(Step::Ping),
        1 => (any::<u16>(), any::<u16>()).prop_map(|(input, output)| Step::Usage(input, output)),
    ];
    (prop_oneof![3 => Just(0_u32), 1 => Just(1_u32)], step)
}

/// A call that is open, and what of its arguments is still to come.
struct Open {
    block: u32,
    rest: String,
}

/// One of the answers.
#[derive(Default)]
struct Answer {
    begun: bool,
    words: Option<(u32, Words)>,
    calls: Vec<Open>,
    called: bool,
    signed: bool,
    /// Text of the block that is open, if a source was named for it.
    cited: Option<usize>,
    text: String,
}

/// Makes events of steps, as a reader would.
#[derive(Default)]
struct Maker {
    events: Vec<Event<'static>>,
    next: u32,
    answers: [Answer; 2],
    /// State that was handed out: the answer, and the data.
    secrets: Vec<(u32, String)>,
    /// Text that has sources, once for each: the answer, and the block's words.
    sources: Vec<(u32, String)>,
    /// Text and refusal of the first answer, in their order.
    said: String,
    /// Log probabilities of each answer.
    logprobs: [usize; 2],
}

fn text(plain: &str) -> Text<'static> {
    Text::from_plain(plain).into_owned()
}

impl Maker {
    fn make(steps: &[(u32, Step)], ending: Ending) -> Self {
        let mut maker = Self::default();
        maker.events.push(Event::Start { id: text("id"), model: text("m"), created: Some(1) });
        for (candidate, step) in steps {
            maker.step(*candidate, step);
        }
        if let Ending::Fault = ending {
            maker.events.push(Event::Fault(Fault::new(FaultKind::Overloaded, "busy")));
            return maker;
        }
        for candidate in 0..2 {
            maker.close_words(candidate);
            while !maker.answer(candidate).calls.is_empty() {
                maker.close_call(candidate, 0);
            }
            let Answer { begun, called, .. } = *maker.answer(candidate);
            if begun || candidate == 0 {
                let stop = if called { Stop::ToolUse } else { Stop::EndTurn };
                maker.events.push(Event::Stop { candidate, stop });
            }
        }
        maker.events.push(Event::End);
        maker
    }

    fn answer(&mut self, candidate: u32) -> &mut Answer {
        &mut self.answers[candidate as usize]
    }

    fn step(&mut self, candidate: u32, step: &Step) {
        match step {
            Step::Say(kind, words) => self.say(candidate, *kind, words),
            Step::Call(value) => {
                let rest = value.as_ref().map(|value| serde_json::json!({"k": value, "n": [1, {}]}).to_string());
                self.call(candidate, Flavor::Function, rest.unwrap_or_default());
            }
            Step::Custom(words) => self.call(candidate, Flavor::Custom, words.clone()),
            Step::Grow(at, length) => self.grow(candidate, *at, *length),
            Step::CloseCall(at) => self.close_call(candidate, *at),
            Step::CloseWords => self.close_words(candidate),
            Step::Sign => self.sign(candidate),
            Step::Redacted => {
                self.close_words(candidate);
                let block = self.open(candidate, Head::Redacted);
                self.secret(candidate, block, OpaqueKind::RedactedData);
                self.events.push(Event::BlockStop { block });
            }
            Step::Cite => self.cite(candidate),
            Step::Logprobs if self.answer(candidate).begun => {
                self.logprobs[candidate as usize] += 1;
                self.events.push(Event::Logprobs { candidate, raw: Json::from_valid("{\"content\":[]}") });
            }
            Step::Logprobs => {}
            Step::Ping => self.events.push(Event::Ping),
            Step::Usage(input, output) => self.events.push(Event::Usage(Usage {
                input_uncached: u64::from(*input),
                output_visible: u64::from(*output),
                ..Usage::default()
            })),
        }
    }

    fn say(&mut self, candidate: u32, kind: Words, words: &str) {
        let block = match self.answer(candidate).words {
            Some((block, same)) if same == kind => block,
            _ => {
                self.close_words(candidate);
                let head = match kind {
                    Words::Text => Head::Text,
                    Words::Refusal => Head::Refusal,
                    Words::Thinking => Head::Thinking(ThinkingKind::Raw),
                };
                self.open(candidate, head)
            }
        };
        let answer = self.answer(candidate);
        answer.words = Some((block, kind));
        answer.text.push_str(words);
        if candidate == 0 && kind != Words::Thinking {
            self.said.push_str(words);
        }
        self.events.push(Event::TextDelta { block, text: text(words) });
    }

    fn call(&mut self, candidate: u32, flavor: Flavor, rest: String) {
        self.close_words(candidate);
        let name = if flavor == Flavor::Custom { CUSTOM } else { "f" };
        let head = Head::ToolCall { id: format!("call_{}", self.next).into(), name: name.into(), flavor };
        let block = self.open(candidate, head);
        let answer = self.answer(candidate);
        answer.calls.push(Open { block, rest });
        answer.called = true;
    }

    fn sign(&mut self, candidate: u32) {
        let answer = self.answer(candidate);
        if let Some((block, Words::Thinking)) = answer.words
            && !std::mem::replace(&mut answer.signed, true)
        {
            self.secret(candidate, block, OpaqueKind::ThinkingSignature);
        }
    }

    fn secret(&mut self, candidate: u32, block: u32, kind: OpaqueKind) {
        let data = format!("secret{}", self.secrets.len());
        let opaque = Opaque { kind, maker: Format::AnthropicMessages, data: text(&data) };
        self.secrets.push((candidate, data));
        self.events.push(Event::Opaque { block, opaque });
    }

    fn cite(&mut self, candidate: u32) {
        let answer = self.answer(candidate);
        let Some((block, Words::Text)) = answer.words else { return };
        answer.cited = Some(answer.cited.unwrap_or(0) + 1);
        let citation = Citation {
            url: Some(text("https://h/\"x")),
            title: None,
            cited_text: None,
            span: None,
            raw: Json::NULL,
            format: Format::OpenaiChat,
        };
        self.events.push(Event::Citation { block, citation });
    }

    fn open(&mut self, candidate: u32, head: Head<'static>) -> u32 {
        let block = self.next;
        self.next += 1;
        let answer = self.answer(candidate);
        answer.begun = true;
        answer.signed = false;
        self.events.push(Event::BlockStart { block, candidate, head });
        block
    }

    fn grow(&mut self, candidate: u32, at: usize, length: usize) {
        let Some(Open { block, rest }) = self.answer(candidate).calls.get_mut(at) else { return };
        let piece: String = rest.chars().take(length).collect();
        rest.drain(..piece.len());
        let block = *block;
        self.events.push(Event::ArgumentsDelta { block, fragment: text(&piece) });
    }

    fn close_call(&mut self, candidate: u32, at: usize) {
        if at < self.answer(candidate).calls.len() {
            self.grow(candidate, at, usize::MAX);
            let block = self.answer(candidate).calls.remove(at).block;
            self.events.push(Event::BlockStop { block });
        }
    }

    fn close_words(&mut self, candidate: u32) {
        let answer = self.answer(candidate);
        let words = std::mem::take(&mut answer.text);
        let cited = answer.cited.take().unwrap_or(0);
        if let Some((block, _)) = answer.words.take() {
            self.sources.extend(std::iter::repeat_n((candidate, words), cited));
            self.events.push(Event::BlockStop { block });
        }
    }
}

/// Name of the tool that takes free text.
const CUSTOM: &str = "custom";

/// Calls in the order of their ids; free text as itself, where a format wraps it.
fn calls(folded: &fold::Folded, format: Format) -> Vec<(String, String, String)> {
    let mut calls = folded.calls.clone();
    calls.sort();
    for (_, name, arguments) in &mut calls {
        if name == CUSTOM && !matches!(format, Format::OpenaiChat | Format::OpenaiResponses) {
            let wrapped: serde_json::Value = serde_json::from_str(arguments).unwrap();
            *arguments = fold::normal(wrapped["input"].as_str().unwrap());
        }
    }
    calls
}

/// Data of every envelope in `written`, in order.
fn envelopes(written: &str) -> Vec<String> {
    let found = written.match_indices("tg1.").map(|(at, _)| {
        let rest = &written[at..];
        let envelope = &rest[..rest.find(['"', ' ']).unwrap()];
        match reply().seal.open(envelope) {
            Opened::Ours(opaque) => opaque.data.plain().into_owned(),
            other => panic!("{other:?}: {envelope}"),
        }
    });
    found.collect()
}

/// What only this format can say: every source with the words that it covers, log probabilities, envelopes.
fn holds_chat(maker: &Maker, written: &str) {
    let secrets: Vec<&String> = maker.secrets.iter().map(|(_, data)| data).collect();
    // Reasoning without a signature is marked as such, by an envelope of nothing.
    let mut found = envelopes(written);
    found.retain(|data| !data.is_empty());
    assert_eq!(found.iter().collect::<Vec<_>>(), secrets, "{written}");
    assert_eq!(written.matches("\"logprobs\":{").count(), maker.logprobs.iter().sum::<usize>(), "{written}");
    let mut texts = [String::new(), String::new()];
    let mut sources = Vec::new();
    Framer::new(EVENT_LIMIT)
        .push::<FrameError>(written.as_bytes(), |frame| {
            let data: serde_json::Value = serde_json::from_str(frame.data).unwrap_or_default();
            for choice in data["choices"].as_array().into_iter().flatten() {
                let candidate = choice["index"].as_u64().unwrap();
                let text = &mut texts[usize::try_from(candidate).unwrap()];
                text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
                for source in choice["delta"]["annotations"].as_array().into_iter().flatten() {
                    let at = |key: &str| usize::try_from(source["url_citation"][key].as_u64().unwrap()).unwrap();
                    let (start, end) = (at("start_index"), at("end_index"));
                    let words: String = text.chars().skip(start).take(end - start).collect();
                    sources.push((u32::try_from(candidate).unwrap(), words));
                }
            }
            Ok(())
        })
        .unwrap();
    // Those of one answer come together.
    let mut expected = maker.sources.clone();
    expected.sort();
    sources.sort();
    assert_eq!(sources, expected, "{written}");
}

/// What this format says in its own way, or reports.
fn holds_messages(maker: &Maker, written: &str, lost: &[Field]) {
    for (candidate, data) in &maker.secrets {
        assert_eq!(written.contains(&format!("\"{data}\"")), *candidate == 0, "{data} in {written}");
    }
    let cited = maker.sources.iter().any(|(candidate, _)| *candidate == 0);
    assert!(!cited || lost.contains(&Field::Citations));
    assert!(maker.logprobs == [0, 0] || lost.contains(&Field::Logprobs));
    assert!(!maker.answers[1].begun || lost.contains(&Field::N));
}

/// What only this format can say: sources with their places in bytes, envelopes in slots of bytes.
fn holds_gemini(maker: &Maker, written: &str, lost: &[Field]) {
    use base64::Engine as _;
    let (mut texts, mut sources, mut secrets) = ([String::new(), String::new()], Vec::new(), Vec::new());
    Framer::new(EVENT_LIMIT)
        .push::<FrameError>(written.as_bytes(), |frame| {
            let data: serde_json::Value = serde_json::from_str(frame.data).unwrap();
            for answer in data["candidates"].as_array().into_iter().flatten() {
                let candidate = usize::try_from(answer["index"].as_u64().unwrap()).unwrap();
                for part in answer["content"]["parts"].as_array().unwrap() {
                    if part["thought"] != true {
                        texts[candidate].push_str(part["text"].as_str().unwrap_or_default());
                    }
                    if let Some(value) = part["thoughtSignature"].as_str() {
                        let bytes = base64::engine::general_purpose::STANDARD.decode(value).unwrap();
                        secrets.extend(envelopes(&format!("{}\"", String::from_utf8(bytes).unwrap())));
                    }
                }
                for support in answer["groundingMetadata"]["groundingSupports"].as_array().into_iter().flatten() {
                    let at = |key: &str| usize::try_from(support["segment"][key].as_u64().unwrap()).unwrap();
                    let words = texts[candidate][at("startIndex")..at("endIndex")].to_owned();
                    assert_eq!(support["segment"]["text"], words.as_str());
                    sources.push((u32::try_from(candidate).unwrap(), words));
                }
            }
            Ok(())
        })
        .unwrap();
    let mut expected = maker.sources.clone();
    expected.sort();
    sources.sort();
    assert_eq!(sources, expected, "{written}");
    // A call that nobody signed is marked as such, by an envelope of nothing; state without words waits for what follows.
    // What stood before words stands at the next call too.
    secrets.retain(|data| !data.is_empty());
    secrets.sort();
    secrets.dedup();
    let mut sealed: Vec<String> = maker.secrets.iter().map(|(_, data)| data.clone()).collect();
    sealed.sort();
    assert_eq!(secrets, sealed, "{written}");
    assert!(maker.logprobs == [0, 0] || lost.contains(&Field::Logprobs));
}

/// What this format says in its own way, or reports. Every item stands in it twice: when it is done, and at the end.
fn holds_responses(maker: &Maker, written: &str, lost: &[Field]) {
    let first = |list: &[(u32, String)]| -> Vec<String> {
        list.iter().filter(|(candidate, _)| *candidate == 0).map(|(_, data)| data.clone()).collect()
    };
    let (items, end) = written.split_once("event: response.completed").unwrap();
    // Reasoning without a signature is marked as such, by an envelope of nothing.
    let sealed = |text: &str| -> Vec<String> { envelopes(text).into_iter().filter(|data| !data.is_empty()).collect() };
    assert_eq!(sealed(end), first(&maker.secrets), "{written}");
    let mut done = sealed(items);
    done.sort();
    let mut secrets = first(&maker.secrets);
    secrets.sort();
    assert_eq!(done, secrets, "{written}");
    let spans: Vec<usize> = end
        .match_indices("\"end_index\":")
        .map(|(at, key)| end[at + key.len()..].split(',').next().unwrap().parse().unwrap())
        .collect();
    let covered: Vec<usize> =
        first(&maker.sources).iter().map(|words| words.chars().count()).filter(|count| *count > 0).collect();
    assert_eq!(spans, covered, "{written}");
    assert!(covered.len() == first(&maker.sources).len() || lost.contains(&Field::Citations), "{written}");
    assert!(!maker.answers[1].begun || lost.contains(&Field::N));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_order_of_events_is_written_by_the_grammar_and_read_back(
        steps in proptest::collection::vec(step(), 0..24),
        ending in prop_oneof![3 => Just(Ending::Complete), 1 => Just(Ending::Fault)],
    ) {
        let maker = Maker::make(&steps, ending);
        let mut grammar = Grammar::default();
        for event in &maker.events {
            grammar.next(event).unwrap();
        }
        let before = fold::events(&maker.events);
        for to in Format::ALL {
            let mut writer = wire(to).stream_writer(Arc::new(reply()));
            let (mut out, mut lost) = (Vec::new(), Vec::new());
            for event in &maker.events {
                writer.event(event, &mut out, &mut |field| lost.push(field));
            }
            fuzzing::well_formed(to, &out);
            let after = fold::stream(to, &out);
            prop_assert_eq!(before.fault.is_some(), after.fault.is_some());
            prop_assert_eq!(before.ended, after.ended);
            if let Ending::Complete = ending {
                let written = String::from_utf8(out).unwrap();
                // Two texts with something between them may be one text with an empty line.
                let text = after.text.replace("\n\n", "");
                match to {
                    Format::OpenaiChat => {
                        prop_assert_eq!((&before.text, &before.refusal), (&text, &after.refusal));
                        holds_chat(&maker, &written);
                    }
                    Format::OpenaiResponses => {
                        prop_assert_eq!((&before.text, &before.refusal), (&after.text, &after.refusal));
                        holds_responses(&maker, &written, &lost);
                    }
                    // Words of refusal are words here.
                    Format::AnthropicMessages => {
                        prop_assert_eq!(&maker.said, &text);
                        holds_messages(&maker, &written, &lost);
                    }
                    Format::GeminiGenerate => {
                        prop_assert_eq!(&maker.said, &after.text);
                        holds_gemini(&maker, &written, &lost);
                    }
                }
                let thinking = if to == Format::OpenaiChat { after.thinking.replace("\n\n", "") } else { after.thinking.clone() };
                prop_assert_eq!(&before.thinking, &thinking);
                prop_assert_eq!(calls(&before, Format::OpenaiChat), calls(&after, to));
                prop_assert_eq!(before.stop, after.stop);
            }
        }
    }
}

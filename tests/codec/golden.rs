//! Recorded answers through every pair of formats: what they say stays, however the stream was cut.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    clippy::string_slice,
    clippy::too_many_lines,
    reason = "a test fails by panicking, and reads what it needs"
)]

mod support;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use support::corpus::{self, Case};
use support::fold::{self, Folded};
use support::{reply, transcode};
use tidegate_codec::frame::sse::{EVENT_LIMIT, FrameError, Framer};
use tidegate_codec::hub::{Fault, Field};
use tidegate_codec::{Format, Gatherer, Outcome, Transcoder, TranslatedResponse, Undo, Watch, translate_response};

/// Bytes between two cuts of one run of the comb: it meets every byte of a stream in this many runs, and streams up to
/// this length are cut in two, at one place a run.
const COMB: usize = 600;

/// True where there is no answer, and the format has an error for it.
fn is_refused_prompt(to: Format, fault: &Fault<'_>) -> bool {
    let has_error = matches!(to, Format::OpenaiChat | Format::OpenaiResponses);
    has_error && (fault.status, fault.code.as_deref()) == (400, Some("content_filter"))
}

/// The whole answer `json` in format `to`; `None` where that is an error, since the prompt was refused.
fn whole_answer(from: Format, to: Format, json: &[u8]) -> Option<TranslatedResponse> {
    match translate_response(from, to, json, &reply(), &Undo::default()) {
        Err(fault) if is_refused_prompt(to, &fault) => None,
        whole => Some(whole.unwrap()),
    }
}

/// What must be the same on both sides of a translation.
fn same(name: &str, to: Format, before: &Folded, after: &Folded) {
    let pair = format!("{name} -> {}", to.name());
    // One text for all of it, beside entries of which each has its own.
    let is_one = to == Format::OpenaiChat && before.mused == after.thinking;
    assert!(is_one || before.thinking == after.thinking, "{pair}: {:?} and {:?}", before.thinking, after.thinking);
    let (text, refusal) = match to {
        // One text for all of an answer; words of refusal, and why, have a field of their own.
        Format::OpenaiChat => (before.joined.clone(), format!("{}{}", before.refusal, before.explanation)),
        // The same, but texts stand apart.
        Format::OpenaiResponses => (before.text.clone(), format!("{}{}", before.refusal, before.explanation)),
        // Texts stand apart; words of refusal are text among them, and why is told with the reason of the stop, as is a filter.
        Format::AnthropicMessages | Format::GeminiGenerate => (before.said.clone(), String::new()),
    };
    assert_eq!(text, after.text, "{pair}: text");
    assert_eq!(refusal, after.refusal, "{pair}: refusal");
    if to == Format::AnthropicMessages {
        assert_eq!(format!("{}{}", before.explanation, before.filter), after.explanation, "{pair}: explanation");
    }
    let calls = |folded: &Folded| -> Vec<(String, String)> {
        // A namespace that no request named is told in the name.
        let name = |name: &str| name.replace('\u{1f}', "__");
        folded.calls.iter().map(|(_, called, arguments)| (name(called), unwrapped(arguments))).collect()
    };
    assert_eq!(calls(before), calls(after), "{pair}: tool calls");
    assert_eq!(before.fault.is_some(), after.fault.is_some(), "{pair}: {:?} and {:?}", before.fault, after.fault);
    assert_eq!(before.ended, after.ended, "{pair}: end");
    if let (Some(one), Some(other)) = (&before.usage, &after.usage) {
        assert_eq!(one.input(), other.input(), "{pair}: input tokens");
        assert_eq!(one.cache_read, other.cache_read, "{pair}: cached tokens");
        assert_eq!(one.output(), other.output(), "{pair}: output tokens");
    }
}

#[test]
fn recorded_streams_say_the_same_in_every_format() {
    for case in corpus::cases() {
        let Some(sse) = &case.sse else { continue };
        let before = fold::stream(case.format, sse);
        for to in Format::ALL {
            let written = transcode(case.format, to, sse, &[]);
            same(&case.name, to, &before, &fold::stream(to, &written));
        }
    }
}

/// Every stream, cut in two at every byte, is the same events.
///
/// It is the exact half of the proof that a translation does not depend on the cut. A transcoder sees chunks through its
/// framer alone: what stands behind it takes events, not bytes. So the same events are the same output, for every pair
/// of formats; the tests below see so. An event like the one before is taken without being read where it is whole in its
/// chunk; fed byte by byte, none is, and the output is the same.
#[test]
fn recorded_streams_are_the_same_events_cut_in_two_at_every_byte() {
    let cases = corpus::cases();
    let whole: Vec<Vec<(Option<String>, String)>> = cases.iter().map(|case| events(streamed(case))).collect();
    at_every_place(&cases, |at, sse, cut| {
        let mut expected = whole[at].iter();
        let mut framer = Framer::new(EVENT_LIMIT);
        for chunk in [&sse[..cut], &sse[cut..]] {
            let read = framer.push::<FrameError>(chunk, |frame| {
                let same =
                    expected.next().is_some_and(|(event, data)| event.as_deref() == frame.event && *data == frame.data);
                assert!(same, "{} cut at {cut}: {frame:?}", cases[at].name);
                Ok(())
            });
            assert_eq!(read, Ok(()), "{} cut at {cut}", cases[at].name);
        }
        assert_eq!(expected.next(), None, "{} cut at {cut}: events are missing or late", cases[at].name);
    });
}

/// Every stream through every pair of formats, with a cut at every byte: streams of up to [`COMB`] bytes are cut in two,
/// longer ones every [`COMB`] bytes, so that around a cut several events are whole. And byte by byte.
#[test]
fn recorded_streams_are_the_same_however_they_are_cut() {
    let cases = corpus::cases();
    let whole: Vec<_> =
        cases.iter().map(|case| Format::ALL.map(|to| transcode(case.format, to, streamed(case), &[]))).collect();
    with_a_comb(&cases, |at, sse, cuts| {
        for (to, whole) in Format::ALL.into_iter().zip(&whole[at]) {
            let cut = transcode(cases[at].format, to, sse, cuts);
            assert!(cut == *whole, "{} -> {} cut at {cuts:?}", cases[at].name, to.name());
        }
    });
}

/// A stream that is passed on is passed on byte for byte, however it is cut; and the end of one that broke is the same.
#[test]
fn watched_streams_are_the_same_however_they_are_cut() {
    let cases = corpus::cases();
    let whole: Vec<(Vec<u8>, Outcome)> = cases.iter().map(|case| watch(case.format, streamed(case), &[])).collect();
    for (case, (written, outcome)) in cases.iter().zip(&whole) {
        if outcome.complete {
            assert!(written == streamed(case), "{} is changed", case.name);
        }
    }
    let complete = whole.iter().filter(|(_, outcome)| outcome.complete).count();
    assert!(cases.is_empty() || complete > 100, "most recorded streams are complete");
    with_a_comb(&cases, |at, sse, cuts| {
        assert!(watch(cases[at].format, sse, cuts) == whole[at], "{} cut at {cuts:?}", cases[at].name);
    });
}

/// The stream of a case; empty where its answer is a whole one.
fn streamed(case: &Case) -> &[u8] {
    case.sse.as_deref().unwrap_or_default()
}

/// The events of a stream that came in one piece.
fn events(sse: &[u8]) -> Vec<(Option<String>, String)> {
    let mut events = Vec::new();
    let read = Framer::new(EVENT_LIMIT).push::<FrameError>(sse, |frame| {
        events.push((frame.event.map(str::to_owned), frame.data.to_owned()));
        Ok(())
    });
    assert_eq!(read, Ok(()));
    events
}

/// What a watched stream gives a client, and what is known of it then.
fn watch(format: Format, sse: &[u8], cuts: &[usize]) -> (Vec<u8>, Outcome) {
    let mut watch = Watch::new(format, Arc::new(reply()));
    let mut written = Vec::with_capacity(sse.len());
    let bytes = Bytes::copy_from_slice(sse);
    for chunk in chunks(&bytes, cuts) {
        written.extend_from_slice(&watch.chunk(bytes.slice_ref(chunk)));
    }
    written.extend_from_slice(&watch.finish());
    (written, watch.outcome().clone())
}

/// The pieces that `cuts` makes of a stream.
fn chunks<'s>(sse: &'s [u8], cuts: &[usize]) -> impl Iterator<Item = &'s [u8]> {
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    let ends: Vec<usize> = cuts.iter().copied().chain([sse.len()]).collect();
    starts.zip(ends).map(|(start, end)| &sse[start..end])
}

/// Calls `check` with the number of a case, its stream, and a place in it, for every place.
fn at_every_place(cases: &[Case], check: impl Fn(usize, &[u8], usize) + Sync) {
    spread(cases, |case| streamed(case).len(), |at, cut| check(at, streamed(&cases[at]), cut));
}

/// Calls `check` with the number of a case, its stream, and cuts of it [`COMB`] bytes apart, until every byte was cut;
/// and once with a cut at every byte.
fn with_a_comb(cases: &[Case], check: impl Fn(usize, &[u8], &[usize]) + Sync) {
    let run = |at: usize, first: usize| {
        let sse = streamed(&cases[at]);
        let step = if first == COMB { 1 } else { COMB };
        let cuts: Vec<usize> = (if first == COMB { 0 } else { first }..sse.len()).step_by(step).collect();
        check(at, sse, &cuts);
    };
    spread(cases, |case| if streamed(case).is_empty() { 0 } else { COMB + 1 }, run);
}

/// Calls `run` with the number of every case and each number below what `count` says of it, on all of the machine's cores.
fn spread(cases: &[Case], count: impl Fn(&Case) -> usize, run: impl Fn(usize, usize) + Sync) {
    let work: Vec<(usize, Range<usize>)> = cases
        .iter()
        .enumerate()
        .flat_map(|(at, case)| {
            let count = count(case);
            (0..count).step_by(500).map(move |start| (at, start..count.min(start + 500)))
        })
        .collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((at, range)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    range.clone().for_each(|number| run(*at, number));
                }
            });
        }
    });
}

#[test]
fn a_stream_that_ends_early_never_looks_complete() {
    for case in corpus::cases() {
        let Some(sse) = &case.sse else { continue };
        let complete = fold::stream(case.format, sse);
        if complete.fault.is_some() {
            continue;
        }
        let ends: Vec<usize> = memchr_ends(sse);
        for to in Format::ALL {
            for &end in &ends {
                let upstream = fold::stream(case.format, &sse[..end]);
                let client = fold::stream(to, &transcode(case.format, to, &sse[..end], &[]));
                assert_eq!(upstream.ended, client.ended, "{} -> {} cut behind byte {end}", case.name, to.name());
                assert_eq!(upstream.fault.is_some(), client.fault.is_some(), "{} -> {} at {end}", case.name, to.name());
            }
        }
    }
}

/// Where events end.
fn memchr_ends(sse: &[u8]) -> Vec<usize> {
    let mut ends: Vec<usize> = (0..sse.len()).filter(|&at| sse[at..].starts_with(b"\n\n")).map(|at| at + 2).collect();
    // Long streams: the first and last events are where the cases are.
    if ends.len() > 60 {
        ends.drain(30..ends.len() - 30);
    }
    ends
}

#[test]
fn recorded_answers_say_the_same_in_every_format() {
    for case in corpus::cases() {
        let Some(json) = case.json.as_ref().filter(|_| case.status == 200) else { continue };
        let before = fold::whole(case.format, json);
        for to in Format::ALL {
            match translate_response(case.format, to, json, &reply(), &Undo::default()) {
                Ok(translated) => same(&case.name, to, &before, &fold::whole(to, &translated.body)),
                Err(fault) if is_refused_prompt(to, &fault) => assert_eq!(before.text, "", "{}", case.name),
                Err(fault) => panic!("{} -> {}: {}", case.name, to.name(), fault.message),
            }
        }
    }
}

/// G4: an answer is the same whether it was written as a stream or whole, and whether it came as a stream or whole.
#[test]
fn trap_g4_a_stream_adds_up_to_the_whole_answer() {
    let (mut streams, mut wholes) = (0, 0);
    let cases = corpus::cases();
    let is_absent = cases.is_empty();
    for case in cases.into_iter().filter(|case| case.status == 200) {
        for to in Format::ALL {
            let pair = format!("{} -> {}", case.name, to.name());
            let streamed = Transcoder::new(case.format, to, Arc::new(reply()), Undo::default());
            if let Some(json) = &case.json {
                wholes += 1;
                let mut written = Vec::new();
                let mut streamed = streamed;
                streamed.whole(json, &mut written);
                let Some(whole) = whole_answer(case.format, to, json) else { continue };
                assert_eq!(unjoined(fold::stream(to, &written)), unjoined(fold::whole(to, &whole.body)), "{pair}");
                assert_eq!(streamed.outcome().usage, whole.outcome.usage, "{pair}");
                if to == Format::AnthropicMessages && case.format != to {
                    assert_eq!(lost(streamed.outcome()), lost(&whole.outcome), "{pair}: losses");
                }
            } else if let Some(sse) = &case.sse {
                let written = fold::stream(to, &transcode(case.format, to, sse, &[]));
                let mut gatherer = Gatherer::new(case.format, Undo::default());
                let gathered = sse
                    .chunks(777)
                    .try_for_each(|chunk| gatherer.chunk(chunk))
                    .and_then(|()| gatherer.finish(to, &reply()));
                match gathered {
                    Ok(gathered) => {
                        streams += 1;
                        assert_eq!(unjoined(fold::whole(to, &gathered.body)), unjoined(written), "{pair}");
                        assert_eq!(gathered.outcome.usage, fold::stream(case.format, sse).usage, "{pair}");
                    }
                    Err(fault) => {
                        // In Responses a code that is not of its list stands in front of the words.
                        let said = written.fault.unwrap_or_default();
                        assert!(said.ends_with(fault.message.as_ref()), "{pair}: {said}");
                    }
                }
            }
        }
    }
    assert!(is_absent || (streams > 200 && wholes > 200), "{streams} streams and {wholes} whole answers were compared");
}

/// Classes of what was lost; but for the tier, of which a stream never tells.
fn lost(outcome: &Outcome) -> Vec<Field> {
    let mut lost: Vec<Field> = outcome.dropped.iter().copied().filter(|field| *field != Field::Tier).collect();
    lost.sort_by_key(|field| field.label());
    lost
}

/// Without the texts as another format would say them, which knows how many blocks a text was.
fn unjoined(folded: Folded) -> Folded {
    // Where both a text of all thinking and entries of it are read, the gaps between entries are in one of them alone.
    let thinking = folded.thinking.replace("\n\n", "");
    Folded { joined: String::new(), mused: String::new(), thinking, ..folded }
}

/// Free text of a custom tool is, where there are none, the one argument `input` of a function.
fn unwrapped(arguments: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(arguments) {
        Ok(serde_json::Value::Object(map)) if map.len() == 1 => match map.get("input") {
            Some(serde_json::Value::String(input)) => fold::normal(input),
            _ => arguments.to_owned(),
        },
        _ => arguments.to_owned(),
    }
}

//! Recorded answers through every pair of formats: what they say stays, however the stream was cut.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    clippy::string_slice,
    clippy::too_many_lines,
    reason = "a test fails by panicking, and reads what it needs"
)]

mod support;

use support::fold::{self, Folded};
use support::{corpus, reply, transcode};
use tidegate_codec::{Format, Undo, translate_response};

/// Streams up to this length, in bytes, are cut at every byte; of longer ones the square of it is what is cut in all, so
/// that the places thin out with the length. Every stream is also fed byte by byte.
const CUTS: usize = 3000;

/// What must be the same on both sides of a translation.
fn same(name: &str, to: Format, before: &Folded, after: &Folded) {
    let pair = format!("{name} -> {}", to.name());
    assert_eq!(before.thinking, after.thinking, "{pair}: thinking");
    if before.refusal.is_empty() && before.stop != Some("refusal") {
        // Where something else stood between two texts, a format with one text has an empty line.
        let solid = |text: &str| text.replace("\n\n", "");
        assert_eq!(solid(&before.text), solid(&after.text), "{pair}: text");
        assert_eq!(before.refusal, after.refusal, "{pair}: refusal");
    } else {
        // One format has a field for words of refusal, the other says them as text, and an explanation as either.
        let said = |folded: &Folded| format!("{}{}", folded.refusal, folded.text);
        assert!(said(after).contains(&said(before)), "{pair}: refusal: {} and {}", said(before), said(after));
    }
    let calls = |folded: &Folded| -> Vec<(String, String)> {
        folded.calls.iter().map(|(_, name, arguments)| (name.clone(), unwrapped(arguments))).collect()
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

#[test]
fn recorded_streams_are_the_same_however_they_are_cut() {
    for case in corpus::cases() {
        let Some(sse) = &case.sse else { continue };
        for to in Format::ALL {
            let whole = transcode(case.format, to, sse, &[]);
            let every: Vec<usize> = (0..sse.len()).collect();
            assert_eq!(transcode(case.format, to, sse, &every), whole, "{} byte by byte", case.name);
            let step = sse.len().div_ceil(CUTS * CUTS / sse.len().max(1)).max(1);
            for cut in (0..sse.len()).step_by(step) {
                assert_eq!(transcode(case.format, to, sse, &[cut]), whole, "{} cut at {cut}", case.name);
            }
        }
    }
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
                Err(fault) => panic!("{} -> {}: {}", case.name, to.name(), fault.message),
            }
        }
    }
}

/// Free text of a custom tool is, where there are none, the one argument `input` of a function.
fn unwrapped(arguments: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(arguments) {
        Ok(serde_json::Value::Object(map)) if map.len() == 1 => {
            map.get("input").map_or_else(|| arguments.to_owned(), ToString::to_string)
        }
        _ => arguments.to_owned(),
    }
}

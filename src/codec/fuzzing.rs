//! What must hold for any bytes, as functions of bytes: each panics where the codec breaks its word.
//!
//! The fuzz targets call them one line each, and a test runs them on mutated seeds. Where an input is cut into chunks
//! derives from the input itself, so that a failure repeats.

use std::sync::Arc;

use serde::de::IgnoredAny;

use crate::format::{
    Facts, RequestHead, StreamReader, Target, anthropic_messages, gemini_generate, openai_chat, openai_responses, wire,
};
use crate::frame::sse::{EVENT_LIMIT, Frame, FrameError, Framer};
use crate::hub::grammar::Grammar;
use crate::hub::{Event, Fault};
use crate::json::{Cursor, MAX_DEPTH, Problem, guard, splice};
use crate::seal::Seal;
use crate::{
    Format, Framing, Line, Operation, ReasoningWish, Reply, Transcoder, Undo, Watch, translate_count,
    translate_counted, translate_request, translate_response,
};

/// Panics if its promise does not hold for the input.
pub type Check = fn(&[u8]);

/// Every function here, with its name.
pub const ALL: [(&str, Check); 7] = [
    ("sse_cuts", sse_cuts),
    ("json_cursor", json_cursor),
    ("request_guard", request_guard),
    ("transcode", transcode),
    ("watch", watch),
    ("request", request),
    ("response", response),
];

/// However a stream is cut, its events are the same, also where the bound is met.
pub fn sse_cuts(data: &[u8]) {
    for limit in [24, EVENT_LIMIT] {
        let frames = |pieces: &[&[u8]]| {
            let mut framer = Framer::new(limit);
            let mut seen = Vec::new();
            let read = pieces.iter().try_for_each(|piece| {
                framer.push::<FrameError>(piece, |frame| {
                    seen.push((frame.event.map(str::to_owned), frame.data.to_owned()));
                    Ok(())
                })
            });
            (seen, read)
        };
        let whole = frames(&[data]);
        assert_eq!(frames(&cuts(data)), whole, "cut, bound {limit}");
        assert_eq!(frames(&data.chunks(1).collect::<Vec<_>>()), whole, "byte by byte, bound {limit}");
    }
}

/// The cursor takes what `serde_json` takes, but for its bound on depth.
pub fn json_cursor(data: &[u8]) {
    let read = Cursor::over_bytes(data).and_then(|mut cursor| {
        cursor.skip()?;
        cursor.finish()
    });
    let depth = usize::try_from(MAX_DEPTH).unwrap_or(usize::MAX);
    match read {
        Err(error) if error.problem == Problem::TooDeep => {
            let open = data.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
            assert!(open > depth, "called too deep with {open} brackets");
        }
        read => assert_eq!(read.is_ok(), is_json(data), "{read:?}"),
    }
}

/// What the guard takes is JSON, and stays JSON with another model in it.
pub fn request_guard(data: &[u8]) {
    let Ok(envelope) = guard(data) else { return };
    assert!(is_json(data), "the guard took what is no JSON");
    if envelope.model.is_some() {
        let spliced = splice(data, &envelope.model_span, b"\"other\"");
        let again = guard(&spliced).map(|again| (again.model, again.stream));
        assert_eq!(again, Ok((Some("other".to_owned()), envelope.stream)));
    }
}

/// Every reader keeps the hub's grammar; every pair writes the same however the input is cut, and what it writes
/// keeps the grammar of its format to the end.
pub fn transcode(data: &[u8]) {
    for from in Format::ALL {
        read_stream(from, data);
        for to in Format::ALL {
            let whole = transcoded(from, to, &[data]);
            assert!(transcoded(from, to, &cuts(data)) == whole, "{from:?} -> {to:?}: the cuts show");
            well_formed(to, &whole);
            read_stream(to, &whole);
        }
    }
}

/// A watched stream passes byte for byte, however it is cut, up to the error that ends a broken one; a document in its
/// place becomes a stream.
pub fn watch(data: &[u8]) {
    for format in Format::ALL {
        let passed = |pieces: &[&[u8]]| {
            let mut watch = Watch::new(format, reply());
            let mut out: Vec<u8> = Vec::new();
            for piece in pieces {
                out.extend_from_slice(&watch.chunk(bytes::Bytes::copy_from_slice(piece)));
            }
            assert!(data.starts_with(&out), "{format:?}: other bytes than the provider's");
            out.extend_from_slice(&watch.finish());
            (out, watch.outcome().clone())
        };
        let (whole, outcome) = passed(&[data]);
        if is_json(data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data)) {
            well_formed(format, &whole);
        } else {
            assert!(!outcome.complete || whole == data, "{format:?}: a complete stream lost something");
        }
        assert!(passed(&cuts(data)) == (whole, outcome), "{format:?}: the cuts show");
    }
}

/// What a reader takes, every writer writes as JSON that its own reader takes, or refuses in words.
pub fn request(data: &[u8]) {
    let seal = Seal::new([7; 32]);
    let facts = Facts::default();
    for from in Format::ALL {
        for to in Format::ALL {
            let head = RequestHead { api_version: None, betas: None, line: line(), seal: &seal };
            let target = Target { model: "m", facts: &facts, api_version: None };
            match translate_request(from, to, data, &head, &target) {
                Ok(translated) => {
                    let body = translated.outgoing.body;
                    assert!(is_json(&body), "{from:?} -> {to:?}: {}", String::from_utf8_lossy(&body));
                    let again = wire(to).read_request(&body, &head).map(|request| request.model.into_owned());
                    assert_eq!(again.as_deref().ok(), Some("m"), "{from:?} -> {to:?}: {again:?}");
                }
                Err(fault) => told(from, &fault),
            }
            match translate_count(from, to, data, &head, &target) {
                Ok(translated) => counted(to, &translated.outgoing.body, &head),
                Err(fault) => told(from, &fault),
            }
        }
    }
}

/// A count is JSON, and holds a request that can be read.
fn counted(format: Format, body: &[u8], head: &RequestHead<'_>) {
    assert!(is_json(body), "{format:?}: {}", String::from_utf8_lossy(body));
    let request = wire(format).spec().request_in(Operation::Count, body);
    let read = wire(format).read_request(request, head).map(|request| request.model.into_owned());
    assert_eq!(read.as_deref().ok(), Some("m"), "{format:?}: {read:?}");
}

/// What a reader takes for an answer, every writer writes as JSON that its own reader takes; what is an error reaches
/// every client in its own envelope.
pub fn response(data: &[u8]) {
    for from in Format::ALL {
        let fault = wire(from).read_error(500, data);
        for to in Format::ALL {
            told(to, &fault);
            match translate_response(from, to, data, &reply(), &Undo::default()) {
                Ok(translated) => {
                    assert!(is_json(&translated.body), "{from:?} -> {to:?}: no JSON");
                    let again = wire(to).read_response(&translated.body).map(|_| ());
                    assert_eq!(again, Ok(()), "{from:?} -> {to:?}: {}", String::from_utf8_lossy(&translated.body));
                }
                Err(fault) => told(to, &fault),
            }
            match translate_counted(from, to, data) {
                Ok(translated) => assert!(is_json(&translated.body), "{from:?} -> {to:?}: no JSON"),
                Err(fault) => told(to, &fault),
            }
        }
        let _ = wire(from).find_usage(data);
    }
}

fn told(to: Format, fault: &Fault<'_>) {
    let (status, body) = wire(to).write_error(fault, Some("id"));
    assert!((400..600).contains(&status), "{to:?}: an error with status {status}");
    assert!(is_json(&body) && wire(to).is_error(&body), "{to:?}: {}", String::from_utf8_lossy(&body));
}

fn transcoded(from: Format, to: Format, pieces: &[&[u8]]) -> Vec<u8> {
    let mut transcoder = Transcoder::new(from, to, reply_to(pieces), Undo::default());
    let mut out = Vec::new();
    for piece in pieces {
        transcoder.chunk(piece, &mut out);
    }
    transcoder.finish(&mut out);
    assert!(transcoder.outcome().is_over(), "{from:?} -> {to:?}: no end");
    out
}

/// Reads a stream by the rules of the hub.
fn read_stream(format: Format, data: &[u8]) {
    let mut reader: Box<dyn StreamReader> = wire(format).stream_reader();
    let mut framer = Framer::new(EVENT_LIMIT);
    let mut grammar = Grammar::default();
    let mut check = |event: &Event<'_>| {
        let kept = grammar.next(event);
        assert!(kept.is_ok(), "{format:?}: {kept:?}");
    };
    let read = framer.push::<Fault<'static>>(data, |frame| reader.frame(&frame, &mut |event| check(&event)));
    if read.is_ok() {
        reader.end(&mut |event| check(&event));
        assert!(grammar.is_ended(), "{format:?}: neither end nor fault");
    }
}

/// Checks what a writer wrote against the grammar of its format, to the end.
///
/// # Panics
///
/// It does not keep to the grammar.
pub fn well_formed(format: Format, written: &[u8]) {
    let mut anthropic = anthropic_messages::grammar::Grammar::default();
    let mut chat = openai_chat::grammar::Grammar::default();
    let mut gemini = gemini_generate::grammar::Grammar::default();
    let mut responses = openai_responses::grammar::Grammar::default();
    let mut next = |frame: &Frame<'_>| {
        assert!(frame.data == "[DONE]" || is_json(frame.data.as_bytes()), "{format:?}: no JSON: {}", frame.data);
        match format {
            Format::AnthropicMessages => anthropic.next(frame),
            Format::GeminiGenerate => gemini.next(frame),
            Format::OpenaiChat => chat.next(frame),
            Format::OpenaiResponses => responses.next(frame),
        }
    };
    let read = Framer::new(EVENT_LIMIT).push::<FrameError>(written, |frame| {
        let kept = next(&frame);
        assert!(kept.is_ok(), "{format:?}: {kept:?} in\n{}", String::from_utf8_lossy(written));
        Ok(())
    });
    assert_eq!(read, Ok(()));
    assert!(written.ends_with(b"\n\n"), "{format:?}: an unfinished event");
    assert!(anthropic.is_ended() || chat.is_ended() || gemini.is_ended() || responses.is_ended(), "{format:?}: no end");
}

fn is_json(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// `data` in up to seven pieces; where it is cut derives from it.
fn cuts(data: &[u8]) -> Vec<&[u8]> {
    let mut state = data
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mut pieces = Vec::new();
    let mut rest = data;
    while pieces.len() < 6 && !rest.is_empty() {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let at = usize::try_from(state >> 33).unwrap_or_default() % (rest.len() + 1);
        let (piece, left) = rest.split_at(at);
        pieces.push(piece);
        rest = left;
    }
    pieces.push(rest);
    pieces
}

/// The model for formats whose bodies do not name it.
fn line() -> Line<'static> {
    Line { model: Some("m".into()), stream: None }
}

fn reply() -> Arc<Reply> {
    wishing(ReasoningWish::Shown)
}

/// Of a client whose wish derives from the length of an input, so that all are met.
fn reply_to(pieces: &[&[u8]]) -> Arc<Reply> {
    use ReasoningWish::{Declined, Hidden, Shown, Unasked};
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    wishing(match length % 4 {
        0 => Declined,
        1 => Hidden,
        2 => Unasked,
        _ => Shown,
    })
}

fn wishing(reasoning: ReasoningWish) -> Arc<Reply> {
    Arc::new(Reply {
        model: "client-model".to_owned(),
        include_usage: true,
        reasoning,
        framing: Framing::Events,
        seal: Arc::new(Seal::new([7; 32])),
        created: 0,
        seed: String::new(),
        settings: crate::format::Settings::default(),
    })
}

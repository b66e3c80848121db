//! What translation costs: events a second, bytes a second, and allocations per delta, pair by pair.
//!
//! `cargo bench -p tidegate-codec`
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use tidegate_codec::seal::Seal;
use tidegate_codec::{Facts, Format, Reply, RequestHead, Target, Transcoder, Undo, json, translate_request};

/// Counts what the code under measurement allocates.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[allow(unsafe_code, reason = "an allocator that counts can only be written so")]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Words of unlike lengths, with and without escapes, so that no delta is the one before it.
const TEXTS: [&str; 4] =
    [r#"some \"words\" 北 and\nmore"#, " the", r"\n\n", " a longer piece, as some providers send them"];

fn start(format: Format) -> String {
    match format {
        Format::OpenaiChat => r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}"#.to_owned() + "\n\n",
        Format::AnthropicMessages => concat!(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\n",
            "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
        ).to_owned(),
        Format::GeminiGenerate => String::new(),
        Format::OpenaiResponses => concat!(
            "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\"model\":\"m\",\"created_at\":1,\"status\":\"in_progress\",\"output\":[]}}\n\n",
            "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[]}}\n\n"
        ).to_owned(),
    }
}

/// Event number `at` of a stream; Gemini counts tokens in every one.
fn delta(format: Format, at: usize, text: &str) -> String {
    match format {
        Format::OpenaiChat => {
            format!(
                r#"data: {{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}],"usage":null}}"#
            ) + "\n\n"
        }
        Format::AnthropicMessages => format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n"
        ),
        Format::GeminiGenerate => {
            let (said, all) = (20 + at, 58 + at);
            format!(
                r#"data: {{"candidates": [{{"content": {{"parts": [{{"text": "{text}"}}],"role": "model"}},"index": 0}}],"usageMetadata": {{"promptTokenCount": 11,"candidatesTokenCount": {said},"totalTokenCount": {all},"promptTokensDetails": [{{"modality": "TEXT","tokenCount": 11}}],"thoughtsTokenCount": 27}},"modelVersion": "gemini-2.5-flash","responseId": "a4FfaoS0DsW8sOIPxon_iAc"}}"#
            ) + "\r\n\r\n"
        }
        Format::OpenaiResponses => format!(
            "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"sequence_number\":4,\"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0,\"delta\":\"{text}\",\"logprobs\":[]}}\n\n"
        ),
    }
}

fn reply() -> Arc<Reply> {
    Arc::new(Reply {
        model: "client-model".to_owned(),
        include_usage: true,
        reasoning: tidegate_codec::ReasoningWish::Shown,
        framing: tidegate_codec::Framing::Events,
        seal: Arc::new(Seal::new([0; 32])),
        created: 0,
        seed: String::new(),
        settings: tidegate_codec::Settings::default(),
    })
}

/// Deltas of an answer: a beginning takes as long as some twenty of them.
const LENGTH: usize = 10_000;

fn stream(c: &mut Criterion) {
    for from in Format::ALL {
        for to in Format::ALL {
            let mut out = Vec::with_capacity(1 << 16);
            let begun = || {
                let mut transcoder = Transcoder::new(from, to, reply(), Undo::default());
                transcoder.chunk(start(from).as_bytes(), &mut Vec::new());
                transcoder
            };
            let (mut transcoder, mut said) = (begun(), 0_usize);
            let mut number = 0..;
            let deltas = TEXTS.map(|text| delta(from, number.next().unwrap_or(0), text));
            let mut next = deltas.iter().cycle();
            let mut step = |out: &mut Vec<u8>| {
                out.clear();
                // No answer is endless, and what a writer keeps of one is bounded.
                said += 1;
                if said.is_multiple_of(LENGTH) {
                    transcoder = begun();
                }
                let delta = next.next().map_or(&[][..], |delta| delta.as_bytes());
                transcoder.chunk(black_box(delta), out);
                black_box(out.len())
            };
            for _ in 0..100 {
                step(&mut out);
            }
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            for _ in 0..1000 {
                step(&mut out);
            }
            let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
            let name = format!("{}->{}", from.name(), to.name());
            println!("{name}: {allocated} allocations in 1000 deltas");
            assert_eq!(allocated, 0, "{name} allocates in steady state");
            let mut group = c.benchmark_group("stream_delta");
            group.throughput(Throughput::Bytes(deltas.iter().map(|delta| delta.len() as u64).sum::<u64>() / 4));
            group.bench_function(&name, |b| b.iter(|| step(&mut out)));
            group.finish();
        }
    }
}

/// A chat history of about `size` bytes, in turns of 2 KB.
fn history(format: Format, size: usize) -> String {
    let turns = (size / 2048).max(1);
    let mut messages = Vec::new();
    for turn in 0..=turns * 2 {
        let role = if turn % 2 == 0 { "user" } else { "assistant" };
        let words = "All the words of this turn, \\\"quoted\\\" and\\nbroken. ".repeat((size / turns / 2 / 56).max(1));
        messages.push(format!(r#"{{"role":"{role}","content":"{words}"}}"#));
    }
    let limit = if format == Format::AnthropicMessages { r#""max_tokens":100,"# } else { "" };
    if format == Format::GeminiGenerate {
        let contents = messages.join(",").replace("assistant", "model");
        let contents = contents.replace("\"content\":\"", "\"parts\":[{\"text\":\"").replace("\"}", "\"}]}");
        return format!(r#"{{"generationConfig":{{"temperature":0.5}},"contents":[{contents}]}}"#);
    }
    let key = if format == Format::OpenaiResponses { "input" } else { "messages" };
    format!(r#"{{"model":"m",{limit}"temperature":0.5,"{key}":[{}]}}"#, messages.join(","))
}

fn request(c: &mut Criterion) {
    let seal = Seal::new([0; 32]);
    let facts = Facts::default();
    for size in [2 << 10, 32 << 10, 1 << 20] {
        for from in Format::ALL {
            let body = history(from, size);
            let mut group = c.benchmark_group(format!("request_{}KB", size >> 10));
            group.throughput(Throughput::Bytes(body.len() as u64));
            group.bench_function(format!("guard {}", from.name()), |b| {
                b.iter(|| json::guard(black_box(body.as_bytes())).is_ok());
            });
            for to in Format::ALL.into_iter().filter(|to| *to != from) {
                group.bench_function(format!("{}->{}", from.name(), to.name()), |b| {
                    let head = RequestHead {
                        api_version: None,
                        betas: None,
                        line: tidegate_codec::Line { model: Some("m".into()), stream: None },
                        seal: &seal,
                    };
                    let target = Target { model: "target", facts: &facts, api_version: Some("2023-06-01") };
                    b.iter(|| translate_request(from, to, black_box(body.as_bytes()), &head, &target).is_ok());
                });
            }
            match from {
                Format::GeminiGenerate => beside::<reference::Gemini<'_>>(&mut group, from, &body),
                Format::OpenaiChat | Format::AnthropicMessages | Format::OpenaiResponses => {
                    beside::<reference::Body<'_>>(&mut group, from, &body);
                }
            }
            if matches!(from, Format::OpenaiChat | Format::AnthropicMessages) {
                group.bench_function(format!("simd-json reference {}", from.name()), |b| {
                    b.iter(|| {
                        let mut copy = body.clone().into_bytes();
                        simd_json::from_slice::<reference::Body<'_>>(black_box(&mut copy)).is_ok()
                    });
                });
            }
            group.finish();
        }
    }
}

/// Measures a parse of the same body into `T`, to compare with.
fn beside<'b, T: serde::Deserialize<'b>>(group: &mut BenchmarkGroup<'_, WallTime>, from: Format, body: &'b str) {
    group.bench_function(format!("serde_json reference {}", from.name()), |b| {
        b.iter(|| serde_json::from_str::<T>(black_box(body)).is_ok());
    });
}

/// What is parsed to compare with: every word of a history, borrowed where it has no escapes.
mod reference {
    use std::borrow::Cow;

    use serde::Deserialize;

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "only parsed")]
    pub(crate) struct Body<'a> {
        #[serde(borrow)]
        model: Cow<'a, str>,
        temperature: f64,
        #[serde(borrow, alias = "input")]
        messages: Vec<Message<'a>>,
    }

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "only parsed")]
    pub(crate) struct Message<'a> {
        #[serde(borrow)]
        role: Cow<'a, str>,
        #[serde(borrow)]
        content: Cow<'a, str>,
    }

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "only parsed")]
    #[serde(rename_all = "camelCase")]
    pub(crate) struct Gemini<'a> {
        generation_config: Config,
        #[serde(borrow)]
        contents: Vec<Content<'a>>,
    }

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "only parsed")]
    pub(crate) struct Config {
        temperature: f64,
    }

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "only parsed")]
    pub(crate) struct Content<'a> {
        #[serde(borrow)]
        role: Cow<'a, str>,
        #[serde(borrow)]
        parts: Vec<Part<'a>>,
    }

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "only parsed")]
    pub(crate) struct Part<'a> {
        #[serde(borrow)]
        text: Cow<'a, str>,
    }
}

criterion_group!(benches, stream, request);
criterion_main!(benches);

//! The fuzz functions on mutated seeds, for a bounded time, on stable Rust.
//!
//! `TIDEGATE_FUZZ_SECONDS` sets the time (default 2); the mutations are the same in every run, only how many of them
//! fit into the time differs. A failure prints the input: keep it in [`FOUND`].
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and bounds its own time"
)]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use support::corpus;
use tidegate_codec::fuzzing;

/// Longest seed: a mutation of a long one says little for its time.
const LONGEST: usize = 6 << 10;

/// Seeds that exist without recorded traffic: what breaks framers, JSON readers and the formats.
const SEEDS: &[&str] = &[
    "\u{feff}event: a\r\ndata: 1\r\rdata:2\n\n: c\n\ndata: x\ndata: y\r\n\r\n",
    r#"{"a":[1,-0.5e+9,true,null,"\ud83d\ude00\u0000\"",{"":[]}],"model":"m","stream":false}"#,
    concat!(
        "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"a\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"t\\ud83d\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"x\",\"type\":\"function\",",
        "\"function\":{\"name\":\"f\",\"arguments\":\"{\"}},{\"index\":1,\"id\":\"x\",\"function\":{\"name\":\"g\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"}\"}}]},",
        "\"finish_reason\":\"tool_calls\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\ndata: [DONE]\n\n",
    ),
    concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",",
        "\"model\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",",
        "\"thinking\":\"\",\"signature\":\"\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",",
        "\"signature\":\"c2ln\"}}\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",",
        "\"id\":\"t\",\"name\":\"f\",\"input\":{}}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",",
        "\"partial_json\":\"{\\\"a\\\":1}\"}}\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":9}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    ),
    r#"{"model":"m","stream":true,"n":2,"stop":["a"],"messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"q"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]},{"role":"assistant","content":null,"tool_calls":[{"id":"c.1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},{"role":"tool","tool_call_id":"c.1","content":"r"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"tool_choice":"required","reasoning_effort":"low","response_format":{"type":"json_object"}}"#,
    r#"{"model":"m","max_tokens":4096,"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"thinking":{"type":"enabled","budget_tokens":2048},"messages":[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"c2ln"},{"type":"redacted_thinking","data":"x"},{"type":"tool_use","id":"t","name":"f","input":{"a":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","is_error":true,"content":[{"type":"text","text":"r"}]}]}],"tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"tool","name":"f"}}"#,
    r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"a","reasoning_content":"t","tool_calls":[{"id":"x","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":1}}}"#,
    r#"{"id":"m","type":"message","role":"assistant","model":"m","content":[{"type":"thinking","thinking":"t","signature":"c2ln"},{"type":"text","text":"a"},{"type":"tool_use","id":"t","name":"f","input":{}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}"#,
    r#"{"contents":[{"role":"user","parts":[{"text":"q"},{"inline_data":{"mime_type":"image/png","data":"iVBORw0K-_8="}}]},{"role":"model","parts":[{"text":"t","thought":true,"thoughtSignature":"c2ln"},{"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"c2ln"}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"r"}}}]}],"systemInstruction":"s","generationConfig":{"thinkingConfig":{"thinkingBudget":-1},"stopSequences":["a"],"responseMimeType":"application/json","responseSchema":{"type":"OBJECT","nullable":true}},"tools":[{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT","properties":{"a":{"type":"INTEGER"}}}}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]}}}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"t","thought":true},{"text":"北 a","thoughtSignature":"c2ln"},{"functionCall":{"name":"f","args":{"a":1}}}],"role":"model"},"finishReason":"STOP","index":0,"groundingMetadata":{"groundingChunks":[{"web":{"uri":"https://a"}}],"groundingSupports":[{"segment":{"startIndex":0,"endIndex":3},"groundingChunkIndices":[0]}]},"logprobsResult":{"chosenCandidates":[{"token":"a","logProbability":-1}]}}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2,"thoughtsTokenCount":1,"totalTokenCount":6},"responseId":"r","modelVersion":"m"}"#,
    concat!(
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"t\",\"thought\":true}],\"role\":\"model\"},\"index\":0}],\"responseId\":\"r\"}\r\n\r\n",
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\\ud83d\"}]},\"index\":0}]}\r\n\r\n",
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\",\"args\":{\"a\":1}},\"thoughtSignature\":\"c2ln\"}]},",
        "\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":3,\"totalTokenCount\":3}}\r\n\r\n",
    ),
    concat!(
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\",\"willContinue\":true}}]},\"index\":0}],\"responseId\":\"r\"}\n\n",
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"partialArgs\":[{\"jsonPath\":\"$.a[0]['b']\",\"stringValue\":\"x\",",
        "\"willContinue\":true},{\"jsonPath\":\"$.n\",\"numberValue\":1}],\"willContinue\":true}}]},\"index\":0}]}\n\n",
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{}}]},\"finishReason\":\"STOP\",\"index\":0}]}\n\n",
    ),
    "data: {\"promptFeedback\":{\"blockReason\":\"SAFETY\"},\"usageMetadata\":{\"promptTokenCount\":3}}\n\n",
    r#"[{"error":{"code":429,"message":"busy","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"3.5s"}]}}]"#,
    concat!(
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"model\":\"m\",\"status\":\"in_progress\",\"output\":[]}}\n\n",
        "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"type\":\"reasoning\",\"id\":\"rs\"}}\n\n",
        "data: {\"type\":\"response.reasoning_summary_text.delta\",\"output_index\":0,\"summary_index\":0,\"delta\":\"t\"}\n\n",
        "data: {\"type\":\"response.output_item.done\",\"output_index\":0,\"item\":{\"type\":\"reasoning\",\"id\":\"rs\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"t\"}],\"encrypted_content\":\"E\"}}\n\n",
        "data: {\"type\":\"response.output_text.delta\",\"output_index\":1,\"content_index\":0,\"delta\":\"a\",\"logprobs\":[{\"token\":\"a\",\"logprob\":-1}]}\n\n",
        "data: {\"type\":\"response.output_item.added\",\"output_index\":2,\"item\":{\"type\":\"function_call\",\"id\":\"fc\",\"call_id\":\"c\",\"name\":\"f\",\"arguments\":\"\"}}\n\n",
        "data: {\"type\":\"response.function_call_arguments.delta\",\"output_index\":2,\"delta\":\"{}\"}\n\n",
        "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"status\":\"completed\",\"output\":[],\"usage\":{\"input_tokens\":3,\"output_tokens\":2}}}\n\n",
    ),
    r#"{"model":"m","stream":true,"instructions":"i","max_output_tokens":9,"input":[{"role":"developer","content":"d"},{"role":"user","content":[{"type":"input_text","text":"q"},{"type":"input_image","image_url":"data:image/png;base64,AA=="}]},{"type":"reasoning","summary":[{"type":"summary_text","text":"s"}],"encrypted_content":"E"},{"type":"function_call","call_id":"c.1","namespace":"n","name":"f","arguments":"{\"a\":1}"},{"type":"custom_tool_call","call_id":"d","name":"p","input":"x"},{"type":"function_call_output","call_id":"c.1","output":[{"type":"input_text","text":"r"}]},{"type":"custom_tool_call_output","call_id":"d","output":"ok"}],"tools":[{"type":"function","name":"f","parameters":{"type":"object"}},{"type":"namespace","name":"n","tools":[{"type":"function","name":"f"}]},{"type":"custom","name":"p","format":{"type":"grammar","syntax":"lark","definition":"x"}}],"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"}]},"reasoning":{"effort":"low","summary":"auto"},"text":{"format":{"type":"json_object"},"verbosity":"low"}}"#,
    r#"{"id":"r","object":"response","created_at":1,"status":"completed","model":"m","output":[{"type":"reasoning","id":"rs","summary":[],"encrypted_content":"E"},{"type":"message","id":"msg","role":"assistant","status":"completed","content":[{"type":"output_text","text":"a","annotations":[{"type":"url_citation","start_index":0,"end_index":1,"url":"u","title":"t"}]},{"type":"refusal","refusal":"n"}]},{"type":"function_call","id":"fc","call_id":"c","name":"f","arguments":"{}","status":"completed"}],"usage":{"input_tokens":3,"input_tokens_details":{"cached_tokens":1},"output_tokens":2,"total_tokens":5}}"#,
    // Two answers whose characters come in halves, arguments that say nothing or are no object, fields of tomorrow.
    concat!(
        "data: {\"id\":\"c\",\"model\":\"m\",\"citations\":[\"u\"],\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\\ud83d\"}},",
        "{\"index\":1,\"delta\":{\"content\":\"b\\ud83c\"},\"content_filter_results\":{}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\ude00\",\"new\":1}},{\"index\":1,\"delta\":{\"content\":\"\\udf0d\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"x\",\"function\":{\"name\":\"f\",\"arguments\":\" \"}},",
        "{\"index\":1,\"id\":\"y\",\"function\":{\"name\":\"g\",\"arguments\":\"null\"}},{\"index\":2,\"id\":\"z\",\"function\":{\"name\":\"h\",\"arguments\":\"[1]\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"},{\"index\":1,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
    ),
    r#"{"contents":[{"role":"user","parts":[{"text":"q"}]}],"tools":[{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT","nullable":true,"properties":{"a":{"type":"INTEGER","enum":["1","x"],"nullable":true},"b":{"any_of":[{"type":"TYPE_UNSPECIFIED"}],"nullable":true}},"propertyOrdering":["b","a"]}}]}]}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"t","annotations":[{"type":"url_citation","url_citation":{"url":"u","start_index":0,"end_index":1}}],"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"null","new":1}}]},{"role":"tool","tool_call_id":"c","content":"r"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":["object","null"],"additionalProperties":true}}}]}"#,
    r#"{"error":{"message":"no","type":"invalid_request_error","param":null,"code":"context_length_exceeded"}}"#,
    r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"},"request_id":"r"}"#,
];

/// Inputs that once broke a promise.
const FOUND: &[&str] = &[
    // An event exactly as long as the bound was refused when its end came in pieces.
    "data: 01234567890123456 y\r\n\r\n",
    "data: 012345678901234567\r\n\r\n",
    // The same in a whole answer under a stream's name.
    "{\"id\":\"r\",\"object\":\"response\",\"status\":\"completed\",\"model\":\"m\",\"output\":[{\"call_id\":\"c\",\"output\":\"40 C\",\"type\":\"function_call_output\"}]}",
    // A server's own item that holds what reasoning has when it is done.
    "{\"id\":\"r\",\"object\":\"response\",\"status\":\"completed\",\"model\":\"m\",\"output\":[{\"id\":\"i\",\"encrypted_content\":\"Uw==\",\"type\":\"compaction\"}]}",
    // A server's own item without the id by which it is known.
    "data: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"model\":\"m\"}}\n\ndata: \
     {\"type\":\"response.output_item.done\",\"output_index\":0,\"item\":{\"type\":\"local_shell_call\",\"status\":\"completed\",\"action\":{}}}\n\n",
    // A member of a field was written beside the field.
    r#"{"model":"m","messages":[{"role":"user","content":"q"}],"stream":true,"stream_options":{"model":7},"response_format":
        {"type":"json_schema","model":8,"json_schema":{"name":"n","schema":{},"response_format":{"t":[]}}}}"#,
    // A part that nobody knows was written as an item.
    r#"{"model":"m","input":[{"role":"user","content":"q"},{"role":"assistant","content":[{"txpe":"output_text","text":"t"}]}]}"#,
    // Calls that do not say what they call.
    r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant",
        "tool_calls":[{"id":"call_1","type":"function","function":{"arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#,
    r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"tool_use","id":"toolu_1","name":"",
        "input":{}}],"stop_reason":"tool_use","usage":{"input_tokens":1,"output_tokens":1}}"#,
    r#"{"id":"resp_1","object":"response","created_at":1,"model":"m","status":"completed","output":[{"type":"function_call",
        "id":"fc_1","call_id":"call_1","arguments":"{}","status":"completed"}]}"#,
    // Two answers of one number, as a document where a stream was due.
    r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"},{"index":0,"message":{"role":"assistant","content":"b"},"finish_reason":"stop"}]}"#,
];

/// What mutations put in: the bytes that mean something to a framer or a reader.
const TOKENS: &[&str] = &[
    "\n",
    "\r",
    "\n\n",
    "\r\n\r\n",
    "\"",
    "\\",
    "\\ud83d",
    "\\u0000",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "0",
    "-1",
    "18446744073709551616",
    "1e999",
    "\"\"",
    "{}",
    "[]",
    "data: ",
    "event: error\n",
    "[DONE]",
    ": ping\n\n",
    "\"index\":1",
    "\"type\":\"text\"",
    "\"type\":\"tool_use\"",
    "\"error\":{}",
    "\u{2028}",
    "\u{feff}",
    "北",
];

#[test]
fn what_once_broke_holds() {
    for input in FOUND {
        for (name, function) in fuzzing::ALL {
            run(name, function, input.as_bytes());
        }
    }
}

#[test]
fn mutated_seeds_break_no_promise() {
    let seconds = std::env::var("TIDEGATE_FUZZ_SECONDS").map_or(2, |text| text.parse().expect("a number of seconds"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let seeds = seeds();
    for seed in &seeds {
        for (name, function) in fuzzing::ALL {
            run(name, function, seed);
        }
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut runs = 0_u64;
    while Instant::now() < end {
        let mut input = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut input, &seeds, &mut random);
        }
        let (name, function) = fuzzing::ALL[random.below(fuzzing::ALL.len())];
        run(name, function, &input);
        runs += 1;
    }
    eprintln!("fuzz smoke: {runs} inputs from {} seeds in {seconds} s", seeds.len());
}

fn run(name: &str, function: fn(&[u8]), input: &[u8]) {
    let held = catch_unwind(AssertUnwindSafe(|| function(input))).is_ok();
    assert!(held, "{name} fails on b\"{}\"", input.escape_ascii());
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = SEEDS.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    for case in corpus::cases() {
        seeds.extend([case.request, case.json, case.sse].into_iter().flatten().filter(|seed| seed.len() <= LONGEST));
    }
    seeds
}

/// Changes `input` in one of seven ways.
fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let until = (at + random.below(40)).min(input.len());
    match random.below(7) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 => input.truncate(at),
        2 => drop(input.drain(at..until)),
        3 => {
            let again = input[at..until].to_vec();
            let to = random.below(input.len() + 1);
            input.splice(to..to, again);
        }
        4 => {
            // The beginning of one, the end of another: formats and kinds meet.
            let other = &seeds[random.below(seeds.len())];
            input.truncate(at);
            input.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
        5 => drop(input.splice(at..until, TOKENS[random.below(TOKENS.len())].bytes())),
        _ => drop(input.splice(at..at, TOKENS[random.below(TOKENS.len())].bytes())),
    }
    input.truncate(2 * LONGEST);
}

/// Marsaglia's xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

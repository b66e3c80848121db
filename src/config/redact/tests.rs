//! The view against the table of all that may be written.

use super::super::schema::{ALL, Section};
use super::*;
use crate::config::{Environment, parse};

/// What a configuration does not show under its own key, and why.
const ELSEWHERE: [(&str, &str, &str); 5] = [
    ("providers.NAME", "url", "it is one of `endpoints`"),
    ("providers.NAME", "http", "it is said of each endpoint"),
    ("providers.NAME", "allow_plain", "it allows an address to be written, and an endpoint shows its scheme"),
    ("providers.NAME", "anthropic_version", "it is one of `headers`"),
    ("clients[]", "key_hash", "hashes are not shown either"),
];

/// Everything that can be written, once.
const FULL: &str = "\
server:
  listen: [{address: '0.0.0.0:1', tls: {cert: cert.pem, key: key.pem}}]
facts_file: facts.yaml
providers:
  p:
    kind: openai-compatible
    key: sk-canary-key
    endpoints: ['http://127.0.0.1:1', {url: 'http://127.0.0.1:2', max_concurrent: 7}]
    ca: ca.pem
    auth_header: x-key
    auth_prefix: 'Key '
    paths: {files: '/{path}?v={api_version}'}
    api_version: v9
    health: {path: /health}
    max_concurrent: 9
    queue: {size: 1}
    adaptive: {}
    quirks:
      compatible: true
      flat_counts: true
      keeps_nothing: true
      legacy_max_tokens: true
      no_developer_role: true
      no_documents: true
      no_images: true
      no_names: true
      no_parallel_tools: true
      no_stream_options: true
      tool_choice: auto
      structured: none
      reasoning: none
      thinking_off: thinking
      tool_ids: alnum9
      counts: none
      strip_fields: [user]
      rename_fields: {seed: random_seed}
      betas: [x]
    facts:
      'm*':
        thinking: budget
        efforts: [low]
        least_budget: 1
        most_budget: 2
        max_output: 3
        most_output: 4
        responses: never
        strip_fields: [user]
        cache_breakpoints: true
        custom_tools: true
        developer_role: true
        documents: true
        forced_tool: true
        json_schema: true
        mid_system: true
        parallel_tools: true
        prefill: true
        rich_results: true
        sampling: true
        sampling_with_effort: true
        structured: true
        structured_with_tools: true
        thinks_unasked: true
        candidates: true
        penalties: true
        logprobs: true
        wants_thoughts: true
        vision: true
models:
  m:
    targets: [{to: p/m, price: {input: 1, output: 2}}, p/n]
    hedge: {}
    max_concurrent: 5
    queue: {wait: 1s}
rules: [{name: r, when: {stream: true}, model: m}]
clients: [{name: web, key: sk-canary-client, on_loss: refuse}]
";

fn view() -> Value {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let (pem, key) = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
    for (name, text) in
        [("cert.pem", &*pem), ("key.pem", &*key), ("ca.pem", &*pem), ("facts.yaml", "x: {vision: false}")]
    {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let settings = parse(FULL, "t.yaml", folder.path(), &Environment::new());
    let shown = redacted(&settings.unwrap_or_else(|report| panic!("{report}")));
    assert!(!shown.contains("canary"), "{shown}");
    serde_json::from_str(&shown).unwrap()
}

/// The values of the view that stand where `section` does.
fn at<'v>(view: &'v Value, section: &Section) -> Vec<&'v Value> {
    // A line is shown wherever there is one.
    let path = if section.path == "queue" { "providers.NAME.queue" } else { section.path };
    let parts = path.split('.').filter(|part| !part.is_empty());
    parts.fold(vec![view], |values, part| {
        let (name, list) = part.strip_suffix("[]").map_or((part, false), |name| (name, true));
        let step = |value: &'v Value| -> Vec<&'v Value> {
            match (value, name) {
                (Value::Object(all), "NAME" | "PATTERN") => all.values().collect(),
                _ => value.get(name).into_iter().collect(),
            }
        };
        let found = values.into_iter().flat_map(step);
        if list { found.filter_map(Value::as_array).flatten().collect() } else { found.collect() }
    })
}

/// True if `value`, a map or its lines, says something of `key`.
fn says(value: &Value, key: &str) -> bool {
    let line = |line: &str| line.split(':').next() == Some(key);
    match value {
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).any(line),
        value => value.get(key).is_some(),
    }
}

#[test]
fn whatever_can_be_written_is_shown_in_its_place() {
    let view = view();
    for section in ALL {
        let values = at(&view, section);
        assert!(!values.is_empty(), "nothing of `{}` in {view:#}", section.path);
        for field in section.fields {
            let shown = values.iter().any(|value| says(value, field.name));
            let elsewhere = ELSEWHERE.iter().any(|(path, key, _)| (*path, *key) == (section.path, field.name));
            assert!(shown != elsewhere, "`{}` of `{}`: {values:#?}", field.name, section.path);
        }
    }
}

#[test]
fn what_is_shown_is_what_was_written() {
    let view = view();
    let check = |path: &str, expected: Value| assert_eq!(view.pointer(path), Some(&expected), "{path}");
    check("/server/limits/memory", "derived".into());
    check("/providers/p/auth_prefix", "Key ".into());
    check("/providers/p/facts/m*/efforts", vec!["low"].into());
    check("/providers/p/facts/m*/thinking", "budget".into());
    check("/clients/0/on_loss", "refuse".into());
    for (path, end) in
        [("/facts_file", "facts.yaml"), ("/providers/p/ca", "ca.pem"), ("/server/listen/0/tls/key", "key.pem")]
    {
        assert!(view.pointer(path).and_then(Value::as_str).is_some_and(|shown| shown.ends_with(end)), "{path}");
    }
}

//! Whole configurations and their reports, as text.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidegate_codec::Format;

use super::schema::{ALL, PREFIX};
use super::*;
use crate::limits::{Adapt, Rule as LimitRule};
use crate::observe::{Alias, LogPath};
use crate::provider::{Breaker, Streams, Timeouts};
use crate::routing::{Retries, Route};

/// The least that loads.
const LEAST: &str = "\
providers:
  p: {kind: openai, key: \"${KEY}\"}
models:
  m: p/m
auth: off
";

/// A canary: no report and no `Debug` may show it.
const CANARY: &str = "sk-canary-0123456789";

fn environment_of(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load_text(source: &str, env: &[(&str, &str)]) -> Result<Settings, Report> {
    let mut env = environment_of(env);
    env.insert("KEY".to_owned(), CANARY.to_owned());
    parse(source, "t.yaml", Path::new("/nowhere"), &env)
}

/// Loads `source` and compares the report, or `ok` where there is none.
#[track_caller]
fn check_with(source: &str, env: &[(&str, &str)], expect: &str) {
    let found = match load_text(source, env) {
        Ok(_) => "ok".to_owned(),
        Err(report) => report.to_string(),
    };
    assert!(!found.contains("canary"), "a secret is shown:\n{found}");
    assert_eq!(found, expect.trim_matches('\n'), "\n--- found ---\n{found}\n");
}

#[track_caller]
fn check(source: &str, expect: &str) {
    check_with(source, &[], expect);
}

#[track_caller]
fn good(source: &str, env: &[(&str, &str)]) -> Settings {
    match load_text(source, env) {
        Ok(settings) => settings,
        Err(report) => panic!("{report}"),
    }
}

#[test]
fn a_secret_that_was_written_as_a_key_is_not_shown() {
    for key in [
        format!("{{{CANARY}}}"),
        format!("{{{CANARY}: 1}}"),
        format!("{{{CANARY}: 1, {CANARY}: 2}}"),
        format!("{{a: {{{CANARY}: 1}}}}"),
        format!("{{[{CANARY}]: 1}}"),
        format!("[{{{CANARY}: 1}}]"),
        format!("!{CANARY} x"),
        format!("*{CANARY}"),
        format!("\n      {CANARY}: 1\n      {CANARY}: 2"),
    ] {
        let text = format!("providers:\n  p:\n    kind: openai\n    key: {key}\nmodels: {{m: p/m}}\nauth: off\n");
        let report = load_text(&text, &[]).map(|_| ()).unwrap_err().to_string();
        assert!(!report.contains("canary"), "a secret is shown:\n{report}");
    }
}

#[test]
fn the_least_gets_the_defaults() {
    let settings = good(LEAST, &[]);
    let server = &settings.server;
    assert_eq!(server.listen.len(), 1);
    assert_eq!(server.listen[0].address, "0.0.0.0:8080".parse::<SocketAddr>().unwrap());
    assert_eq!((server.body_limit, server.body_buffer_total), (32 << 20, 256 << 20));
    assert_eq!((server.threads, server.max_attempts), (None, 4));
    assert_eq!(settings.admin.listen, "127.0.0.1:9090".parse::<SocketAddr>().unwrap());
    assert_eq!(settings.access_log.path, LogPath::Stdout);
    let provider = &settings.providers["p"];
    assert_eq!((provider.format, provider.endpoints[0].host.as_str()), (Format::OpenaiChat, "api.openai.com"));
    assert_eq!(provider.auth.as_ref().unwrap().key.expose(), CANARY);
    assert!(settings.clients.is_open());
    assert!(!format!("{settings:?}").contains("canary"));
    assert!(!redacted(&settings).contains("canary"));
}

/// The defaults that are written into the table of keys are those of the types.
#[test]
fn what_nobody_wrote_is_the_same_however_little_was_written() {
    let settings = good(&LEAST.replace("m: p/m", "{short: p/m, long: {targets: [p/m]}}"), &[]);
    let provider = &settings.providers["p"];
    assert_eq!(provider.timeouts, Timeouts::default());
    assert_eq!(provider.streams, Streams::default());
    assert_eq!(provider.breaker, Breaker::default());
    let [short, long] = ["short", "long"].map(|name| settings.models.resolve(name).unwrap());
    assert_eq!(*short.retries, Retries::default());
    assert_eq!(Route { name: Arc::clone(&long.name), ..Route::clone(&short) }, *long);
}

const FAULTY: &str = r#"
server:
  listen: [{adress: ":8080"}, {address: ":8081"}]
  body_limit: 32 potatoes
providers:
  openai: {kind: opnai, key: "${OPENAI_API_KEY}"}
  claude: {kind: anthropic, key: sk-canary-0123456789, helth: {}}
  llama:
    kind: openai-compatible
    url: http://llm.example.com
models:
  gpt-5: openia/gpt-5
  smart: {targets: [claude], on_loss: maybe}
  gpt-5: claude/x
clients: []
"#;

const FAULTY_REPORT: &str = r#"
t.yaml:3:13: unknown key `adress`
  3 |   listen: [{adress: ":8080"}, {address: ":8081"}]
    |             ^^^^^^
  = did you mean `address`?

t.yaml:3:41: `:8081` is no address to listen on
  3 |   listen: [{adress: ":8080"}, {address: ":8081"}]
    |                                         ^^^^^^^
  = write `0.0.0.0:8081`

t.yaml:4:15: `32 potatoes` is not a size that fits here
  4 |   body_limit: 32 potatoes
    |               ^^^^^^^^^^^
  = write a size like `32MiB`, `10MB` or `65536`

t.yaml:6:18: `opnai` is no kind of provider
  6 |   openai: {kind: opnai, key: "${OPENAI_API_KEY}"}
    |                  ^^^^^
  = did you mean `openai`?

t.yaml:6:31: the environment variable `OPENAI_API_KEY` is not set
  6 |   openai: {kind: opnai, key: "${OPENAI_API_KEY}"}
    |                               ^^^^^^^^^^^^^^^^^
  = set it, or write a default: `${OPENAI_API_KEY:-…}`

t.yaml:7:56: unknown key `helth`
  7 |   claude: {kind: anthropic, key: ********************, helth: {}}
    |                                                        ^^^^^
  = did you mean `health`?

t.yaml:10:10: `http://` toward `llm.example.com` sends keys and prompts in the clear
  10 |     url: http://llm.example.com
     |          ^^^^^^^^^^^^^^^^^^^^^^
  = write `https://`, or `allow_plain: true` for this provider

t.yaml:12:10: no provider is named `openia`
  12 |   gpt-5: openia/gpt-5
     |          ^^^^^^^^^^^^
  = did you mean `openai`?

t.yaml:13:21: `claude` is no target
  13 |   smart: {targets: [claude], on_loss: maybe}
     |                     ^^^^^^
  = `claude` is a provider: write `claude/` and the model's name there

t.yaml:13:39: `maybe` is not a value of `on_loss`
  13 |   smart: {targets: [claude], on_loss: maybe}
     |                                       ^^^^^
  = known here: allow, warn, refuse

t.yaml:14:3: the key `gpt-5` stands here twice
  14 |   gpt-5: ********
     |   ^^^^^
  = remove one of them: the first is above, on line 12

t.yaml:15:1: nobody may call: there are no `clients`
  15 | clients: []
     | ^^^^^^^
  = write `clients: [{name: …, key: "${NAME}"}]`, or `auth: off` to serve everyone who reaches the port

12 problems in t.yaml"#;

#[test]
fn every_problem_is_in_one_report() {
    check(FAULTY, FAULTY_REPORT);
}

/// The messages of a configuration's problems, each with its line, `ok` where there is none.
fn messages(source: &str, env: &[(&str, &str)]) -> String {
    match load_text(source, env) {
        Ok(_) => "ok".to_owned(),
        Err(report) => {
            let text = |problem: &Problem| match &problem.place {
                Place::At { line, .. } => format!("{line}: {}", problem.message),
                Place::Variable(name) => format!("{name}: {}", problem.message),
                Place::File => format!("-: {}", problem.message),
            };
            report.problems().iter().map(text).collect::<Vec<_>>().join("\n")
        }
    }
}

/// The one hint of the report on `source`.
#[track_caller]
fn check_hint(source: &str, expect: &str) {
    let report = load_text(source, &[]).map(|_| ()).unwrap_err();
    let hints: Vec<_> = report.problems().iter().map(|problem| problem.hint.as_str()).collect();
    assert_eq!(hints, [expect], "{source}");
}

#[test]
fn a_key_that_belongs_elsewhere_is_told_where() {
    check_hint(&format!("{}body_limit: 1MiB\n", with_provider("{kind: ollama}")), "it belongs under `server`");
    check_hint(&with_provider("{kind: ollama, access_log: {}}"), "it belongs at the top of the file");
}

/// The least configuration with a provider written as `provider`.
fn with_provider(provider: &str) -> String {
    format!("auth: off\nmodels: {{m: p/m}}\nproviders:\n  p: {provider}\n")
}

#[test]
fn faults_of_a_provider_are_told() {
    let check =
        |provider: &str, expect: &str| assert_eq!(messages(&with_provider(provider), &[]), expect, "{provider}");
    check("{kind: openai, key: '${KEY}'}", "ok");
    check("{kind: ollama}", "ok");
    check("{kind: vllm, url: 'http://gpu:8000/v1'}", "ok");
    check("{kind: openai, auth_header: none}", "ok");
    check("{kind: openai, key: '${NONE:-}', auth_header: none}", "ok");
    check("{}", "4: `kind` is missing");
    check("x", "4: a map is wanted here, not `x`");
    check("{knid: openai}", "4: unknown key `knid`");
    check("", "4: `kind` is missing");
    check("{kind: [openai]}", "4: a single value is wanted here, not a list");
    check("{kind: openai}", "4: this kind of provider wants a `key`");
    check("{kind: openai, key: '${NONE:-}'}", "4: this kind of provider wants a `key`");
    check("{kind: openai, key: '${EMPTY}'}", "4: the environment variable `EMPTY` is not set");
    check("{kind: openai, key: \"a b\\n\"}", "4: the key cannot stand in a header");
    check("{kind: openai, key: Bearer abc}", "4: the key begins with `Bearer`");
    check("{kind: openai, key: \"'abc'\"}", "4: the key has quotes around it");
    check("{kind: openai-compatible}", "4: this kind of provider wants a `url`");
    check(
        "{kind: ollama, url: 'http://169.254.169.254'}",
        "4: `169.254.169.254` is never called: link-local, cloud metadata or no real host",
    );
    check(
        "{kind: ollama, url: 'https://[fe80::1]'}",
        "4: `fe80::1` is never called: link-local, cloud metadata or no real host",
    );
    check("{kind: ollama, url: 'http://8.8.8.8'}", "4: `http://` toward `8.8.8.8` sends keys and prompts in the clear");
    check("{kind: ollama, url: 'http://8.8.8.8', allow_plain: true}", "ok");
    check(
        "{kind: ollama, url: 'http://metadata', allow_plain: true}",
        "4: `metadata` is never called: link-local, cloud metadata or no real host",
    );
    check("{kind: ollama, url: 'http://u:canary@gpu'}", "4: this is no address of a provider");
    check(
        "{kind: ollama, url: 'http://a', endpoints: ['http://b']}",
        "4: `url` and `endpoints` cannot both be written",
    );
    check("{kind: ollama, endpoints: []}", "4: no endpoint");
    check("{kind: ollama, endpoints: http://a}", "4: a list is wanted here, not `http://a`");
    check("{kind: ollama, endpoints: ['http://a', {url: 'http://a/v1'}]}", "4: this endpoint stands here twice");
    check("{kind: ollama, endpoints: [{weight: 0}]}", "4: `url` is missing\n4: `0` is not a number that fits here");
    check("{kind: ollama, balance: fastest}", "4: `fastest` is not a value of `balance`");
    check("{kind: ollama, http: h3}", "4: `h3` is not a value of `http`");
    check(
        "{kind: ollama, health: {interval: 1ms, timeout: 2, path: health}}",
        "4: `1ms` is not a duration that fits here\n4: `2` is not a duration that fits here\n4: `health` is no path",
    );
    check("{kind: ollama, timeouts: {read: 0s}}", "4: `0s` is not a duration that fits here");
    check("{kind: ollama, quirks: {legacy_max_tokens: yes}}", "4: `yes` is not a value of `legacy_max_tokens`");
    check("{kind: ollama, headers: {'a b': x}}", "4: `a b` is no header's name");
    check("{kind: ollama, headers: {Host: x}}", "4: `host` is set by the edge alone");
    check("{kind: ollama, headers: {a: \"x\\ny\"}}", "4: this cannot stand in a header");
    check("{kind: ollama, key: abcdefgh, headers: {Authorization: x}}", "4: `authorization` carries the key already");
    check("{kind: openai, key: abcdefgh, auth_header: host}", "4: `host` cannot carry a key");
    check("{kind: ollama, anthropic_version: 2023-06-01}", "4: `anthropic_version` has no meaning for this provider");
    check("{kind: anthropic, key: abcdefgh, anthropic_version: latest}", "4: `latest` is no version");
    check("{kind: ollama, format: openai}", "4: `openai` is not a value of `format`");
    check("{kind: ollama, ca: none.pem}", "4: cannot use `none.pem`: No such file or directory (os error 2)");
}

#[test]
fn what_a_kind_sets_can_be_set_otherwise() {
    let provider = |text: &str| Arc::clone(&good(&with_provider(text), &[]).providers["p"]);
    let auth = |text: &str| {
        let provider = provider(text);
        let auth = provider.auth.as_ref().unwrap();
        format!("{}: {}", auth.header, auth.prefix)
    };
    assert_eq!(auth("{kind: anthropic, key: abcdefgh}"), "x-api-key: ");
    assert_eq!(auth("{kind: anthropic, key: abcdefgh, auth_header: Authorization}"), "authorization: Bearer ");
    assert_eq!(auth("{kind: openai, key: abcdefgh, auth_header: api-key}"), "api-key: ");
    assert_eq!(auth("{kind: openai, key: abcdefgh, auth_prefix: 'Token '}"), "authorization: Token ");
    assert!(provider("{kind: ollama}").auth.is_none());
    assert!(provider("{kind: openai, key: abcdefgh, auth_header: none}").auth.is_none());
    let headers = |text: &str| provider(text).headers.clone();
    let version = |date: &str| ("anthropic-version".to_owned(), date.to_owned());
    assert_eq!(headers("{kind: anthropic, key: abcdefgh}"), [version("2023-06-01")]);
    assert_eq!(headers("{kind: anthropic, key: abcdefgh, anthropic_version: 2026-10-21}"), [version("2026-10-21")]);
    assert_eq!(headers("{kind: vllm, format: anthropic_messages}"), [version("2023-06-01")]);
    assert!(headers("{kind: vllm}").is_empty());
    let written =
        headers("{kind: vllm, headers: {x-a: '${NONE:-}', x-b: '${NONE:-b}', x-c: '', x-d: ~, x-e: '-${NONE:-}'}}");
    let written: Vec<_> = written.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(written, [("x-b", "b"), ("x-c", ""), ("x-e", "-")], "what stands for nothing is not sent");
    let quirks = provider("{kind: vllm, quirks: {legacy_max_tokens: false, no_stream_options: true}}").quirks.clone();
    assert_eq!(
        quirks.lines().collect::<Vec<_>>(),
        ["compatible", "no_developer_role", "no_stream_options", "reasoning: reasoning", "counts: anthropic_messages"]
    );
    let fleet =
        provider("{kind: vllm, http: h2, endpoints: ['http://a:1', {url: 'http://b:2/x/v1', weight: 3, http: h1}]}");
    let shown: Vec<_> =
        fleet.endpoints.iter().map(|e| format!("{}{} {} {:?}", e.authority(), e.base_path, e.weight, e.http)).collect();
    assert_eq!(shown, ["a:1 1 H2", "b:2/x 3 H1"]);
}

#[test]
fn quirks_of_a_provider_are_set_and_their_faults_told() {
    let check = |quirks: &str, expect: &str| {
        assert_eq!(
            messages(&with_provider(&format!("{{kind: ollama, quirks: {{{quirks}}}}}")), &[]),
            expect,
            "{quirks}"
        );
    };
    check("tool_choice: none", "4: `none` is not a value of `tool_choice`");
    check("structured: xml", "4: `xml` is not a value of `structured`");
    check("reasoning: thoughts", "4: `thoughts` is not a value of `reasoning`");
    check("counts: openai_chat", "4: `openai_chat` is not a value of `counts`");
    check("strip_fields: seed", "4: a list is wanted here, not `seed`");
    check("strip_fields: [model, 'a b', seed]", "4: `model` is no field that can go\n4: `a b` is no field that can go");
    check("rename_fields: [a]", "4: a map is wanted here, not a list");
    check(
        "rename_fields: {messages: prompt, seed: stream}",
        "4: `messages` is no field that can be renamed\n4: `stream` is no field that can go",
    );
    check("betas: ['a,b']", "4: `a,b` is no item of the header");
    let quirks = "no_images: true, tool_choice: unnamed, structured: none, reasoning: none, thinking_off: enable_thinking, tool_ids: alnum9, counts: none, strip_fields: [seed, n], rename_fields: {user: id}, betas: [x]";
    let settings = good(&with_provider(&format!("{{kind: ollama, quirks: {{{quirks}}}}}")), &[]);
    let lines: Vec<String> = settings.providers["p"].quirks.lines().collect();
    assert_eq!(
        lines,
        [
            "compatible",
            "legacy_max_tokens",
            "no_developer_role",
            "no_images",
            "tool_choice: unnamed",
            "structured: none",
            "reasoning: none",
            "thinking_off: enable_thinking",
            "tool_ids: alnum9",
            "counts: none",
            "strip_fields: seed, n",
            "rename_fields: user: id",
            "betas: [x]"
        ]
    );
}

#[test]
fn facts_of_models_are_set_and_their_faults_told() {
    let check = |facts: &str, expect: &str| {
        let provider = format!("{{kind: openai, key: abcdefgh, facts: {facts}}}");
        assert_eq!(messages(&with_provider(&provider), &[]), expect, "{facts}");
    };
    check("{'gpt-9*': {vision: false, efforts: [low, high], responses: always, thinking: none}}", "ok");
    check("[gpt]", "4: a map is wanted here, not a list");
    check("{gpt: yes}", "4: a map is wanted here, not `yes`");
    check("{gpt: {vison: false}}", "4: unknown key `vison`");
    check("{gpt: {vision: maybe}}", "4: `maybe` is not a value of `vision`");
    check("{gpt: {efforts: [lots]}}", "4: `lots` is no effort");
    check(
        "{gpt: {responses: sometimes, thinking: hard}}",
        "4: `sometimes` is not a value of `responses`\n4: `hard` is not a value of `thinking`",
    );
    check("{gpt: {most_output: 0}}", "4: `0` is not a number that fits here");
    check("{gpt: {strip_fields: [model]}}", "4: `model` is no field that can go");
    check("{'': {}}", "4: this is no pattern of models");
    let source = with_provider(
        "{kind: openai, key: abcdefgh, facts: {'gpt-9-x': {max_output: 3}, '*': {max_output: 1, prefill: false}, 'gpt-9*': {max_output: 2}}}",
    );
    let settings = good(&source, &[]);
    let known = |model: &str| settings.facts.model(&settings.providers["p"], model).facts;
    assert_eq!(["m", "gpt-9", "gpt-9-x"].map(|model| known(model).max_output), [1, 2, 3]);
    assert!(!known("gpt-9-x").prefill, "what a more specific pattern leaves out is as the others say");
}

#[test]
fn a_file_of_facts_is_read_watched_and_its_faults_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("t.yaml"), format!("{LEAST}facts_file: facts.yaml\n").replace("${KEY}", "abcdefgh")).unwrap();
    let load = || load(&at("t.yaml"), &Environment::new());
    let report = load().unwrap_err();
    assert_eq!(report.files(), [at("t.yaml"), at("facts.yaml")], "a missing file is watched for");
    assert!(report.to_string().contains("cannot use `facts.yaml`: No such file"), "{report}");
    std::fs::write(at("facts.yaml"), "gpt-9:\n  vison: true\n'x*': {max_output: many}\n").unwrap();
    let report = load().unwrap_err().to_string();
    assert!(report.contains("in `facts.yaml`:2:3: unknown key `vison`"), "{report}");
    assert!(report.contains("in `facts.yaml`:3:20: `many` is not a number"), "{report}");
    std::fs::write(at("facts.yaml"), "'gpt-9*': {max_output: 77}\n").unwrap();
    let settings = load().unwrap();
    assert_eq!(settings.files, [at("t.yaml"), at("facts.yaml")]);
    assert_eq!(settings.facts.model(&settings.providers["p"], "gpt-9-mini").facts.max_output, 77);
}

#[test]
fn paths_of_a_provider_are_set_and_their_faults_told() {
    let check =
        |provider: &str, expect: &str| assert_eq!(messages(&with_provider(provider), &[]), expect, "{provider}");
    check("{kind: ollama, paths: {'*': '/{path}', chat/completions: '/d/{model}/{path}'}}", "ok");
    check(
        "{kind: ollama, paths: {chat: '/{path}', responses/x/cancel: '/{path}', 'models/g:generateContent': '/{path}'}}",
        "ok",
    );
    check(
        "{kind: ollama, paths: {v1/chat/completions: '/x'}}",
        "4: no path that a provider is asked for begins with `v1/chat/completions`",
    );
    check(
        "{kind: ollama, paths: {chat/completion: '/x', sk-ant: '/y'}}",
        "4: no path that a provider is asked for begins with `chat/completion`\n4: no path that a provider is asked for begins with `sk-ant`",
    );
    check("{kind: ollama, paths: {'*': '/{host}'}}", "4: `/{host}` is no template of a path");
    check(
        "{kind: ollama, paths: {'a*': '/x', '': '/y'}}",
        "4: `a*` is no beginning of a path\n4: `` is no beginning of a path",
    );
    check(
        "{kind: ollama, paths: {'*': '/{path}?v={api_version}'}}",
        "4: the paths name `{api_version}`, and none is written",
    );
    check("{kind: ollama, api_version: '1'}", "4: no path of this provider names `{api_version}`");
    check(
        "{kind: azure-deployments, url: 'https://r.openai.azure.com', key: abcdefgh, api_version: 'a&b'}",
        "4: `a&b` is no version of an API",
    );
    check("{kind: azure-deployments, key: abcdefgh}", "4: this kind of provider wants a `url`");
    let provider = |text: &str| Arc::clone(&good(&with_provider(text), &[]).providers["p"]);
    let path = |text: &str| provider(text).layout.path("", "/v1/chat/completions", "m");
    let azure = "kind: azure-deployments, url: 'https://r', key: abcdefgh";
    assert_eq!(path(&format!("{{{azure}}}")), "/openai/deployments/m/chat/completions?api-version=2024-10-21");
    assert_eq!(
        path(&format!("{{{azure}, api_version: preview, paths: {{chat: '/c/{{path}}?v={{api_version}}'}}}}")),
        "/c/chat/completions?v=preview"
    );
    assert_eq!(path("{kind: ollama, paths: {'*': '/{path}'}}"), "/chat/completions");
}

#[test]
fn faults_of_models_are_told() {
    let check = |models: &str, expect: &str| {
        let source = format!("auth: off\nproviders: {{p: {{kind: ollama}}}}\nmodels:\n  {models}\n");
        assert_eq!(messages(&source, &[]), expect, "{models}");
    };
    check("m: p/a/b:c", "ok");
    check("\"*\": p/*", "ok");
    check("m: {targets: [p/a, {to: p/b, weight: 3}], strategy: priority, on_loss: refuse, max_output: 10}", "ok");
    check("{}", "3: no model");
    check("[]", "4: a map is wanted here, not a list");
    check("m:", "4: `m` leads nowhere");
    check("m: p", "4: `p` is no target");
    check("m: p/", "4: `p/` is no target");
    check("m: /x", "4: `/x` is no target");
    check("m: q/x", "4: no provider is named `q`");
    check("m: p/*", "4: the `*` stands for nothing");
    check("a*b*: p/x", "4: `a*b*` holds more than one `*`");
    check("a*: p/*-*", "4: `*-*` holds more than one `*`");
    check("\" m\": p/x", "4: this cannot be a model's name");
    check("m: {targets: []}", "4: `m` has no target");
    check("m: {}", "4: `targets` is missing");
    check("m: {target: [p/x]}", "4: unknown key `target`");
    check("m: {targets: [p/x], strategy: weighted}", "ok");
    check("m: {targets: [p/x], strategy: fast}", "4: `fast` is not a value of `strategy`");
    check("m: {targets: [p/x], affinity: \"header:a b\"}", "4: `a b` is no header's name");
    check("m: {targets: [p/x], affinity: session}", "4: `session` is not a value of `affinity`");
    check("m: {targets: [{to: p/x, price: {input: 1, output: -1}}]}", "4: `-1` is not a price");
    check("m: {targets: [{to: p/x, price: {input: 1}}]}", "4: `output` is missing");
    check("m: {targets: [p/x], strategy: first}", "4: `first` is not a value of `strategy`");
    check("m: {targets: [p/x], max_output: 0}", "4: `0` is not a number that fits here");
    check("m: {targets: [{weight: 1}]}", "4: `to` is missing");
    check("m: {targets: [[p/x]]}", "4: a single value is wanted here, not a list");
}

#[test]
fn words_of_a_model_that_were_meant_are_told() {
    let status = "`server_error` stands for 408 and all from 500 on; another status is a number from 400 to 599";
    for (keys, hint) in [
        ("fallback_on: [5xx]", status),
        ("fallback_on: [302]", status),
        ("fallback_on: [time_out]", "did you mean `timeout`?"),
        (
            "fallback_on: [broken]",
            "known here: connect, reset, timeout, bad_answer, rate_limit, server_error, context_length, or a status from 400 to 599",
        ),
        ("affinity: 'Header:x'", "known here: client, conversation, prefix, header:NAME"),
        ("affinity: clint", "did you mean `client`?"),
    ] {
        let source =
            format!("auth: off\nproviders: {{p: {{kind: ollama}}}}\nmodels:\n  m: {{targets: [p/m], {keys}}}\n");
        check_hint(&source, hint);
    }
}

#[test]
fn faults_of_clients_are_told() {
    let check = |clients: &str, expect: &str| {
        let source = format!("providers: {{p: {{kind: ollama}}}}\nmodels: {{m: p/m}}\n{clients}\n");
        assert_eq!(messages(&source, &[]), expect, "{clients}");
    };
    let hash = format!("sha256:{}", "0a".repeat(32));
    check("", "-: nobody may call: there are no `clients`");
    check("clients:", "-: nobody may call: there are no `clients`");
    check("auth: keys", "3: nobody may call: there are no `clients`");
    check("auth: off", "ok");
    check("auth: of", "3: `of` is not a value of `auth`");
    check("auth: false", "3: `false` is not a value of `auth`");
    check(
        "auth: off\nclients: [{name: a, key: abcdefgh}]",
        "3: `auth: off` lets everyone in, but `clients` are written",
    );
    check("clients: {a: b}", "3: a list is wanted here, not a map");
    check("clients: [{name: a, key: '${KEY}'}]", "ok");
    check(&format!("clients: [{{name: a, key_hash: '{hash}'}}]"), "ok");
    check("clients: [{name: a}]", "3: this client has no key");
    check("clients: [{key: abcdefgh}]", "3: `name` is missing");
    check("clients: [{name: a, key: abcdefgh, on_loss: refuse}]", "ok");
    check("clients: [{name: a, key: abcdefgh, on_loss: panic}]", "3: `panic` is not a value of `on_loss`");
    check("clients: [{name: a, key: abcdefg}]", "3: the key is so short that it can be guessed");
    check("clients: [{name: a, key: 'abc defgh'}]", "3: no client could send this key in a header");
    check("clients: [{name: a, key_hash: abc}]", "3: this is no hash of a key");
    check(
        &format!("clients: [{{name: a, key: abcdefgh, key_hash: '{hash}'}}]"),
        "3: `key` and `key_hash` cannot both be written",
    );
    check("clients: [{name: a, key: abcdefgh}, {name: a, key: abcdefgi}]", "3: another client is named `a`");
    check("clients: [{name: a, key: abcdefgh}, {name: b, key: abcdefgh}]", "3: another client has the same key");
    check("clients: [{name: a, key: abcdefgh, models: []}]", "3: this client may ask for nothing");
}

#[test]
fn faults_of_rules_are_told() {
    let source = |auth: &str, rule: &str| {
        format!("providers: {{p: {{kind: ollama}}}}\nmodels: {{m: p/m}}\n{auth}\nrules:\n  - {rule}\n")
    };
    let check = |auth: &str, rule: &str, expect: &str| {
        assert_eq!(messages(&source(auth, rule), &[]), expect, "{auth} {rule}");
    };
    let off = "auth: off";
    check(off, "{name: r, when: {body_over: 9, body_under: 10}, model: m}", "ok");
    check(off, "{name: r, when: {}, model: m}", "5: this rule is for every request");
    check(off, "{name: r, when: {stream: true}, model: n}", "5: no model is named `n`");
    let patterns = |rule: &str| {
        let source = "auth: off\nproviders: {p: {kind: ollama}}\nmodels: {'g-*': p/*, 'h-*': p/m}\nrules:\n";
        messages(&format!("{source}  - {{name: r, when: {{stream: true}}, model: {rule}}}\n"), &[])
    };
    assert_eq!(patterns("g-mini"), "ok");
    assert_eq!(patterns("'h-*'"), "ok", "whatever was asked for, this is asked");
    assert_eq!(patterns("'g-*'"), "5: `g-*` is a pattern, and no name that a provider knows");
    let never = "5: no body is larger than `body_over` and not larger than `body_under`";
    for bytes in ["body_over: 10, body_under: 10", "body_over: 1kB, body_under: 10"] {
        check(off, &format!("{{name: r, when: {{{bytes}}}, model: m}}"), never);
    }
}

#[test]
fn a_beginning_of_a_path_that_was_meant_is_told() {
    for (path, hint) in [
        ("v1/chat/completions", "the version is left out here: write `chat/completions`"),
        ("/v1beta/files", "the version is left out here: write `files`"),
        ("chat/completion", "did you mean `chat/completions`?"),
        ("v1/chat/completion", "did you mean `chat/completions`?"),
        (
            "deployments",
            "write one such as `chat/completions`, `files` or `models`, without its version, or `*` for all others",
        ),
    ] {
        check_hint(&with_provider(&format!("{{kind: ollama, paths: {{{path}: '/x'}}}}")), hint);
    }
}

#[test]
fn faults_of_operations_and_rights_are_told() {
    let source = |more: &str| {
        format!(
            "providers: {{p: {{kind: ollama}}, a: {{kind: anthropic, key: '${{KEY}}'}}, g: {{kind: gemini, key: '${{KEY}}'}}, v: {{kind: vertex, url: 'https://h', key: '${{KEY}}'}}}}\nmodels: {{m: p/m}}\n{more}\n"
        )
    };
    let check = |more: &str, expect: &str| assert_eq!(messages(&source(more), &[]), expect, "{more}");
    check("auth: off\noperations: {files: p, message_batches: a, gemini_files: g, cached_contents: g}", "ok");
    check("auth: off\noperations: {cached_contents: v}", "4: `v` keeps nothing, so it has no `cached_contents`");
    check(
        "auth: off\noperations: {gemini_files: a}",
        "4: `a` speaks `anthropic_messages`, which has no `gemini_files`",
    );
    check("auth: off\noperations: {file: p}", "4: `file` is no operation");
    check("auth: off\noperations: {files: q}", "4: no provider is named `q`");
    check("auth: off\noperations: {files: a}", "4: `a` speaks `anthropic_messages`, which has no `files`");
    check("auth: off\noperations: [files]", "4: a map is wanted here, not a list");
    check("clients: [{name: a, key: abcdefgh, raw: [p], providers: [p, a]}]", "ok");
    check("clients: [{name: a, key: abcdefgh, raw: [q]}]", "3: no provider is named `q`");
    check("clients: [{name: a, key: abcdefgh, providers: p}]", "3: a list is wanted here, not `p`");
    check("auth: off\nserver: {upload_limit: 1}", "4: `1` is not a size that fits here");
    let settings = good(&source("clients: [{name: a, key: abcdefgh}, {name: b, key: abcdefgi, models: [m]}]"), &[]);
    let callers = settings.clients.callers();
    assert!(callers[0].may_call("p") && !callers[1].may_call("p"), "only who may ask for every model");
}

#[test]
fn faults_of_the_server_are_told() {
    let check = |server: &str, expect: &str| {
        let source = format!("auth: off\nproviders: {{p: {{kind: ollama}}}}\nmodels: {{m: p/m}}\n{server}\n");
        assert_eq!(messages(&source, &[]), expect, "{server}");
    };
    check("server: {listen: [{address: '127.0.0.1:0'}, {address: '127.0.0.1:0'}]}", "ok");
    check("server: {listen: []}", "4: no listener");
    check("server: {listen: [{}]}", "4: `address` is missing");
    check("server: {allow: []}", "4: nobody may call");
    check("server: {deny: [], trusted_proxies: []}", "ok");
    check(
        "server: {listen: [{address: '0.0.0.0:1'}, {address: '127.0.0.1:1'}]}",
        "4: this address is listened on twice",
    );
    check(
        "server: {listen: [{address: '0.0.0.0:9090'}]}",
        "-: the admin listener's address is a public listener's too",
    );
    check("admin: {listen: '0.0.0.0:8080'}", "4: the admin listener's address is a public listener's too");
    check("admin: {listen: 9090}", "4: `9090` is no address to listen on");
    check(
        "server: {listen: [{address: '0.0.0.0:1', tls: {cert: a.pem}}]}",
        "4: `key` is missing\n4: cannot use `a.pem`: No such file or directory (os error 2)",
    );
    check(
        "server: {body_limit: 1GiB, body_buffer_total: 1MiB}",
        "4: all requests together may hold less than one may send",
    );
    check(&format!("server: {{upgrade_socket: /{}}}", "x".repeat(100)), "4: the path is 6 bytes too long for a socket");
    check("server: {body_limit: 0}", "4: `0` is not a size that fits here");
    check(
        "server: {threads: 0, max_attempts: 100}",
        "4: `0` is not a number that fits here\n4: `100` is not a number that fits here",
    );
    check("server: {threads: two}", "4: `two` is not a number that fits here");
    check("server: {sealing_key: short}", "4: the sealing key is too short");
    check("server: {former_sealing_keys: [short]}", "4: the sealing key is too short");
    check("server: 8080", "4: a map is wanted here, not `8080`");
    check("serve: {}", "4: unknown key `serve`");
    check(
        "metrics: {aliases: [http, lllm], key_label: no}",
        "4: `lllm` is no family of names\n4: `no` is not a value of `key_label`",
    );
    check("access_log: {enabled: 1, path: ''}", "4: `1` is not a value of `enabled`\n4: `` is not a place for a log");
}

#[test]
fn a_file_that_is_no_map_or_no_yaml_is_told() {
    check(
        "- a\n- b\n",
        "t.yaml:1:1: a map is wanted here, not a list\n  1 | - a\n    | ^\n  = write a map of: server, admin, access_log, metrics, providers, facts_file, models, operations, rules, auth, clients\n\n1 problem in t.yaml",
    );
    let found = messages("providers:\n  p: {kind: openai, key: sk-canary-0123456789\nmodels: {}\n", &[]);
    assert!(found.contains("this is not YAML"), "{found}");
    let report =
        load_text("providers:\n  p: {kind: openai, key: sk-canary-0123456789 ]\n", &[]).unwrap_err().to_string();
    assert!(!report.contains("canary"), "{report}");
    assert!(messages("a: b: c\n", &[]).contains("this is not YAML"));
    assert!(messages("server:\n\tlisten: []\n", &[]).contains("not YAML"));
}

#[test]
fn the_environment_overrides_any_key() {
    let path = |name: &str| format!("{PREFIX}{name}");
    let set = |pairs: &[(&str, &str)]| {
        let pairs: Vec<(String, &str)> = pairs.iter().map(|(name, value)| (path(name), *value)).collect();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        good(LEAST, &pairs)
    };
    assert_eq!(set(&[("SERVER__BODY_LIMIT", "1MiB")]).server.body_limit, 1 << 20);
    assert_eq!(set(&[("server__body_limit", " 2MiB ")]).server.body_limit, 2 << 20);
    assert_eq!(set(&[("SERVER__LISTEN__0__ADDRESS", "127.0.0.1:1")]).server.listen[0].address.port(), 1);
    let two = set(&[("SERVER__LISTEN", "[{address: '127.0.0.1:1'}]"), ("SERVER__LISTEN__1__ADDRESS", "127.0.0.1:2")]);
    assert_eq!(two.server.listen.len(), 2);
    assert_eq!(set(&[("MODELS__NEW", "p/x")]).models.resolve("new").unwrap().targets[0].model, "x");
    assert_eq!(set(&[("MODELS__M", "p/x")]).models.resolve("m").unwrap().targets[0].model, "x");
    assert_eq!(set(&[("METRICS__ALIASES", "[llm, http]")]).metrics.aliases, [Alias::Http, Alias::Llm]);
    let every = Alias::ALL.map(Alias::name).join(", ");
    assert_eq!(set(&[("METRICS__ALIASES", &format!("[{every}]"))]).metrics.aliases, Alias::ALL);
    assert!(describe().contains(&every.replace(", ", "`, `")), "the reference names them all: {every}");
    let key = set(&[("PROVIDERS__P__KEY", "a: b # c")]).providers["p"].auth.clone().unwrap().key;
    assert_eq!(key.expose(), "a: b # c");
    let key = set(&[("PROVIDERS__P__KEY", "${KEY}")]).providers["p"].auth.clone().unwrap().key;
    assert_eq!(key.expose(), CANARY);
    let clients = set(&[("AUTH", "keys"), ("CLIENTS__0__NAME", "a"), ("CLIENTS__0__KEY", "abcdefgh")]).clients;
    assert!(clients.authenticate(Some("abcdefgh")).is_ok());
}

#[test]
fn the_prefix_of_an_override_is_read_in_any_case() {
    for name in ["tidegate__server__body_limit", "Tidegate__Server__Body_Limit"] {
        assert_eq!(good(LEAST, &[(name, "3MiB"), ("TIDEGATE", "x"), ("TIDEGATÉ__A", "x")]).server.body_limit, 3 << 20);
    }
    let twice = [("TIDEGATE__SERVER__BODY_LIMIT", "1MiB"), ("tidegate__server__body_limit", "2MiB")];
    let found = messages(LEAST, &twice);
    assert_eq!(found, "tidegate__server__body_limit: `TIDEGATE__SERVER__BODY_LIMIT` sets the same key");
}

#[test]
fn names_with_odd_characters_can_be_overridden() {
    let source = "auth: off\nproviders: {my-fleet.1: {kind: ollama}}\nmodels: {gpt-4.1: my-fleet.1/m}\n";
    let env = [("TIDEGATE__MODELS__GPT_4_1", "my-fleet.1/x"), ("TIDEGATE__PROVIDERS__MY_FLEET_1__URL", "http://gpu:1")];
    let settings = good(source, &env);
    assert_eq!(settings.models.resolve("gpt-4.1").unwrap().targets[0].model, "x");
    assert_eq!(settings.providers["my-fleet.1"].endpoints[0].host, "gpu");
    let source = "auth: off\nproviders: {a-b: {kind: ollama}, a.b: {kind: ollama}}\nmodels: {m: a-b/m}\n";
    let env = [("TIDEGATE__PROVIDERS__A_B__URL", "http://gpu")];
    assert_eq!(messages(source, &env), "TIDEGATE__PROVIDERS__A_B__URL: `A_B` could be any of: a-b, a.b");
}

#[test]
fn overrides_are_applied_in_the_order_of_their_numbers() {
    let names: Vec<_> =
        (0..12).map(|at| (format!("TIDEGATE__SERVER__RESPONSE_HEADERS__{at}"), format!("x-{at}"))).collect();
    let env: Vec<_> = names.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(good(LEAST, &env).server.response_headers.len(), 12);
}

#[test]
fn a_key_that_stands_as_a_placeholder_is_not_shown() {
    let report = load_text("providers: {p: {kind: openai, key: '${sk-canary-1234}'}}\nauth: off\n", &[]).unwrap_err();
    let report = report.to_string();
    assert!(report.contains("this is not the name of an environment variable"), "{report}");
    assert!(!report.contains("canary"), "{report}");
}

#[test]
fn a_faulty_override_is_told_by_its_name_and_never_shown() {
    let check = |name: &str, value: &str, expect: &str| {
        let name = format!("{PREFIX}{name}");
        assert_eq!(messages(LEAST, &[(&name, value)]), format!("{name}: {expect}"), "{name}={value}");
    };
    check("SERVER__BODY_LIMT", "1MiB", "unknown key `body_limt`");
    check("SERVER__BODY_LIMIT", "canary", "the value is not a size that fits here");
    check("SERVER__BODY_LIMIT__X", "1", "a single value is wanted here, not a map");
    check("PROVIDERS__P__KIND", "sk-canary", "the value is no kind of provider");
    check("PROVIDERS__P__KIND__X", "1", "nothing can stand at `X`: what is above holds a single value");
    check("MODELS__M", "canary/m", "no provider is named the value");
    check("SERVER__LISTEN__1__ADDRESS", "127.0.0.1:1", "`1` is no item of the list");
    check("SERVER__LISTEN__0__ADDRESS", "canary", "the value is no address to listen on");
    check("SERVER____BODY_LIMIT", "1", "a part of the path is empty");
    check("CLIENTS", "[{name: canary", "its value is not YAML");
    let found = messages(&LEAST.replace("auth: off", ""), &[("TIDEGATE__CLIENTS", "[{name: a, kye: canary-canary}]")]);
    assert_eq!(found, "TIDEGATE__CLIENTS: unknown key `kye`");
    check("SERVER__BODY_LIMIT", "${NONE}", "the environment variable `NONE` is not set");
}

#[test]
fn what_a_placeholder_stands_for_is_never_shown() {
    // The same secret at every place where a value can be wrong.
    for source in [
        "server: {listen: [{address: '${KEY}', tls: {cert: '${KEY}', key: '${KEY}'}}], body_limit: '${KEY}', threads: '${KEY}', drain_deadline: '${KEY}', max_attempts: '${KEY}', timeouts: {tls: '${KEY}'}, limits: {header_size: '${KEY}', connections: '${KEY}', memory: '${KEY}'}, allow: ['${KEY}'], deny: ['${KEY}/8'], trusted_proxies: ['${KEY}'], response_headers: ['a ${KEY}']}",
        "admin: {listen: '${KEY}'}",
        "access_log: {enabled: '${KEY}'}\nmetrics: {aliases: ['${KEY}'], key_label: '${KEY}'}",
        "auth: '${KEY}'",
        "providers: {p: {kind: '${KEY}'}, q: '${KEY}'}",
        "providers: {p: {kind: ollama, url: '${KEY}', format: '${KEY}', balance: '${KEY}', http: '${KEY}', anthropic_version: '${KEY}', paths: {'*': '${KEY}'}, api_version: '${KEY}', ca: '${KEY}', auth_header: 'a ${KEY}', allow_plain: '${KEY}'}}",
        "providers: {p: {kind: ollama, url: 'http://169.254.1.1/${KEY}'}, q: {kind: ollama, url: 'http://${KEY}.example.com'}}",
        "providers: {p: {kind: ollama, adaptive: {tolerance: '${KEY}'}, queue: {size: '${KEY}'}, health: {path: '${KEY}', interval: '${KEY}', healthy_after: '${KEY}'}, quirks: {legacy_max_tokens: '${KEY}', tool_choice: '${KEY}', structured: '${KEY}', reasoning: '${KEY}', thinking_off: '${KEY}', tool_ids: '${KEY}', counts: '${KEY}', strip_fields: ['a ${KEY}'], rename_fields: {user: 'a ${KEY}'}, betas: ['${KEY},']}, timeouts: '${KEY}'}}",
        "models: {m: '${KEY}', n: '${KEY}/x', o: {targets: ['${KEY}/y', {to: '${KEY}', weight: '${KEY}'}], strategy: '${KEY}', on_loss: '${KEY}'}}",
        "clients: [{name: '${KEY}', key: abcdefgh}, {name: '${KEY}', key_hash: '${KEY}'}, {name: b, key: 'a ${KEY}'}]",
        "clients: '${KEY}'",
    ] {
        let report = load_text(source, &[]).unwrap_err().to_string();
        assert!(!report.contains("canary"), "{report}");
        assert!(report.contains("${KEY}"), "{report}");
        let literal = source.replace("${KEY}", CANARY);
        let report = load_text(&literal, &[]).unwrap_err().to_string();
        assert!(!report.contains("canary"), "{report}");
    }
}

#[test]
fn limits_are_read_with_their_defaults_and_faults() {
    let written = with_provider(
        "{kind: ollama, max_concurrent: 9, adaptive: {max: 50}, endpoints: [{url: 'http://10.0.0.1', max_concurrent: 3}, 'http://10.0.0.2']}",
    );
    let settings = good(&written, &[]);
    let provider = &settings.providers["p"];
    let adapt = Some(Adapt { min: 4, max: 50, tolerance: 2.0 });
    let limit = LimitRule { most: Some(9), waiting: 100, patience: Duration::from_secs(5), adapt };
    assert_eq!(provider.limit, limit);
    assert_eq!(provider.endpoints.iter().map(|spec| spec.most).collect::<Vec<_>>(), [Some(3), None]);
    let server = &settings.server.limits;
    assert_eq!((server.requests, server.memory), (16_384, MemoryLimit::Derived));
    let of =
        |limits: &str| messages(&format!("{}server: {{limits: {{{limits}}}}}\n", with_provider("{kind: ollama}")), &[]);
    assert_eq!(of("memory: off"), "ok");
    assert_eq!(
        of("memory: 1MiB, requests: 0"),
        "5: `1MiB` is not a size that fits here\n5: `0` is not a number that fits here"
    );
    let check = |provider: &str, message: &str| assert_eq!(messages(&with_provider(provider), &[]), message);
    check("{kind: ollama, adaptive: {min: 9, max: 8}}", "4: `min` is above `max`");
    check("{kind: ollama, adaptive: {tolerance: 0.5}}", "4: `0.5` is not a number that fits here");
    check(
        "{kind: ollama, max_concurrent: 0, queue: {wait: 1h}}",
        "4: `0` is not a number that fits here\n4: `1h` is not a duration that fits here",
    );
    let lonely = "`queue` does nothing without a limit to wait for";
    check("{kind: ollama, queue: {size: 1}}", &format!("4: {lonely}"));
    check("{kind: ollama, endpoints: ['http://10.0.0.1'], queue: {size: 1}}", &format!("4: {lonely}"));
    check("{kind: ollama, adaptive: {max: 9}, queue: {size: 1}}", "ok");
    check("{kind: ollama, endpoints: [{url: 'http://10.0.0.1', max_concurrent: 3}], queue: {size: 1}}", "ok");
    let of_model = LEAST.replace("m: p/m", "m: {targets: [p/m], queue: {size: 1}}");
    let of_client = LEAST.replace("auth: off", "clients: [{name: a, key: abcdefgh, queue: {size: 1}}]");
    for (text, line) in [(of_model, 4), (of_client, 5)] {
        assert_eq!(messages(&text, &[]), format!("{line}: {lonely}"), "{text}");
    }
    let clients = "clients: [{name: a, key: abcdefgh, max_concurrent: 2, priority: low}, {name: b, key: abcdefgi, priority: last}]";
    let found = messages(&LEAST.replace("auth: off", clients), &[]);
    assert_eq!(found, "5: `last` is not a value of `priority`");
    let settings = good(&LEAST.replace("auth: off", &clients.replace("last", "high")), &[]);
    let callers = settings.clients.callers();
    assert_eq!(
        (callers[0].limit().most, callers[0].class().name(), callers[1].class().name()),
        (Some(2), "low", "high")
    );
    let models = LEAST.replace("m: p/m", "m: {targets: [p/m], max_concurrent: 7, queue: {size: 0, wait: 0s}}");
    let rule = good(&models, &[]).model_limits["m"];
    assert_eq!((rule.most, rule.waiting, rule.patience), (Some(7), 0, Duration::ZERO));
}

/// Where the variables that set a section's keys begin.
fn places() -> BTreeMap<&'static str, &'static str> {
    let places = BTreeMap::from([
        ("", ""),
        ("server", "SERVER__"),
        ("server.listen[]", "SERVER__LISTEN__0__"),
        ("server.listen[].tls", "SERVER__LISTEN__0__TLS__"),
        ("server.timeouts", "SERVER__TIMEOUTS__"),
        ("server.limits", "SERVER__LIMITS__"),
        ("admin", "ADMIN__"),
        ("access_log", "ACCESS_LOG__"),
        ("metrics", "METRICS__"),
        ("providers.NAME", "PROVIDERS__Q__"),
        ("providers.NAME.endpoints[]", "PROVIDERS__Q__ENDPOINTS__0__"),
        ("providers.NAME.health", "PROVIDERS__Q__HEALTH__"),
        ("providers.NAME.timeouts", "PROVIDERS__Q__TIMEOUTS__"),
        ("providers.NAME.streams", "PROVIDERS__Q__STREAMS__"),
        ("providers.NAME.breaker", "PROVIDERS__Q__BREAKER__"),
        ("providers.NAME.adaptive", "PROVIDERS__Q__ADAPTIVE__"),
        ("queue", "PROVIDERS__Q__QUEUE__"),
        ("providers.NAME.quirks", "PROVIDERS__Q__QUIRKS__"),
        ("providers.NAME.facts.PATTERN", "PROVIDERS__Q__FACTS__X__"),
        ("models.NAME", "MODELS__N__"),
        ("models.NAME.retries", "MODELS__N__RETRIES__"),
        ("models.NAME.hedge", "MODELS__N__HEDGE__"),
        ("models.NAME.targets[]", "MODELS__N__TARGETS__0__"),
        ("models.NAME.targets[].price", "MODELS__N__TARGETS__0__PRICE__"),
        ("rules[]", "RULES__0__"),
        ("rules[].when", "RULES__0__WHEN__"),
        ("clients[]", "CLIENTS__0__"),
    ]);
    assert_eq!(places.len(), ALL.len());
    places
}

#[test]
fn headers_that_clients_see_are_shown_by_name() {
    let seen: Vec<_> = good(LEAST, &[]).server.response_headers.iter().map(|name| format!("`{name}`")).collect();
    let shown = schema::SERVER.field("response_headers").unwrap().absent;
    assert!(matches!(shown, schema::Absent::Otherwise(words) if words == seen.join(", ")), "{seen:?}");
}

/// Sets each key of the schema to nonsense: whoever reads it must complain, and so nobody forgot it.
#[test]
fn every_key_is_read() {
    let places = places();
    for section in ALL {
        for field in section.fields {
            let name = format!("{PREFIX}{}{}", places[section.path], field.name.to_uppercase());
            let kind = format!("{PREFIX}PROVIDERS__Q__KIND");
            let found = messages(LEAST, &[(&kind, "ollama"), (&name, "[[]]")]);
            // A list of lists is no value of any key, and a fault below it is told by the variable's name too.
            assert!(found.contains(&format!("{name}: ")), "{name} is read by nobody: {found}");
            assert!(!found.contains("unknown key"), "{found}");
        }
    }
}

/// The bounds that the reference shows are those that hold, and what is beyond them is told with the same.
#[test]
fn bounds_are_as_they_are_shown() {
    let places = places();
    let mut count = 0;
    for section in ALL.iter().filter(|section| !section.path.contains("[]")) {
        for field in section.fields {
            let form = field.form.split_once(", ");
            let Some((kind, (low, high))) = form.and_then(|(kind, rest)| Some((kind, rest.split_once(" to ")?))) else {
                continue;
            };
            let beyond = match kind {
                "duration" => "366d".to_owned(),
                "size" => format!("{}b", units::size(high).unwrap() + 1),
                "count" | "percent" => (high.parse::<u32>().unwrap() + 1).to_string(),
                _ => continue,
            };
            let name = format!("{PREFIX}{}{}", places[section.path], field.name.to_uppercase());
            let provider = format!("{PREFIX}PROVIDERS__Q__KIND");
            let target = format!("{PREFIX}MODELS__N__TARGETS__0");
            let found = |value: &str| {
                let loaded = load_text(LEAST, &[(&provider, "ollama"), (&target, "p/m"), (&name, value)]);
                loaded.map_or_else(|report| report.to_string(), |_| String::new())
            };
            for good in [low, high] {
                assert!(!found(good).contains("fits here"), "{name}={good}: {}", found(good));
            }
            let report = found(&beyond);
            assert!(report.contains("fits here") && report.contains(" from "), "{name}={beyond}: {report}");
            if kind == "size" {
                assert!(report.contains(&format!("write a size from {low} to {high}")), "{name}={beyond}: {report}");
                if let Some(under) = units::size(low).unwrap().checked_sub(1) {
                    assert!(found(&under.to_string()).contains("fits here"), "{name}={under}");
                }
            }
            count += 1;
        }
    }
    assert!(count > 40, "{count} bounds were looked at");
    for size in ["body_limit", "body_buffer_total", "upload_limit"] {
        assert!(schema::SERVER.field(size).unwrap().form.starts_with("size, "), "{size}");
    }
}

#[test]
fn the_sealing_key_is_shared_by_replicas_and_kept_apart() {
    let key = |source: &str| good(source, &[]).sealing_key;
    let least = key(LEAST);
    assert_eq!(least, key(&LEAST.replace("m: p/m", "other: p/x")), "the same providers");
    assert_ne!(least, key(&LEAST.replace("${KEY}", "another-key")), "another key");
    let written = format!("{LEAST}server: {{sealing_key: 0123456789abcdef}}\n");
    assert_ne!(least, key(&written));
    assert_eq!(key(&written), key(&written.replace("${KEY}", "another-key")), "the written key alone counts");
    assert_eq!(format!("{least:?}"), "SealingKey(…)");
    let former = good(&written.replace("sealing_key: 0", "former_sealing_keys: [0").replace("f}", "f]}"), &[]);
    assert_eq!((former.sealing_key, former.former_sealing_keys), (least, vec![key(&written)]));
}

#[test]
fn files_are_read_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let path = at("t.yaml");
    std::fs::write(at("key"), "sk-canary-file\n").unwrap();
    std::fs::write(&path, LEAST.replace("${KEY}", "${file:key}")).unwrap();
    let settings = load(&path, &Environment::new()).unwrap();
    assert_eq!(settings.files, [path.clone(), at("key")]);
    assert_eq!(settings.providers["p"].auth.as_ref().unwrap().key.expose(), "sk-canary-file");
    std::fs::remove_file(at("key")).unwrap();
    let report = load(&path, &Environment::new()).unwrap_err();
    assert_eq!(report.files(), [path.clone(), at("key")], "a missing file is watched for");
    assert!(report.to_string().contains("cannot read `"), "{report}");

    std::fs::write(&path, b"a: 1\nb: \xff\n").unwrap();
    assert!(load(&path, &Environment::new()).unwrap_err().to_string().contains("line 2 is not UTF-8"));
    std::fs::write(&path, "x".repeat((1 << 20) + 1)).unwrap();
    assert!(load(&path, &Environment::new()).unwrap_err().to_string().contains("larger than 1024 KiB"));
    let report = load(&at("none.yaml"), &Environment::new()).unwrap_err().to_string();
    assert!(report.contains("none.yaml: cannot read the configuration: No such file"), "{report}");
}

#[test]
fn certificates_must_be_pem() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in
        [("cert", "-----BEGIN CERTIFICATE-----\n"), ("key", "-----BEGIN EC PRIVATE KEY-----\n"), ("text", "hello")]
    {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let load = |cert: &str, key: &str| {
        let source =
            format!("{LEAST}server: {{listen: [{{address: '0.0.0.0:1', tls: {{cert: {cert}, key: {key}}}}}]}}\n");
        parse(&source, "t", folder.path(), &environment_of(&[("KEY", CANARY)]))
    };
    let settings = load("cert", "key").unwrap();
    assert_eq!(settings.server.listen[0].tls.as_ref().unwrap().key, folder.path().join("key"));
    assert_eq!(settings.files.len(), 2);
    let report = load("key", "text").unwrap_err().to_string();
    assert!(
        report.contains("cannot use `key`: it holds no certificate")
            && report.contains("cannot use `text`: it holds no private key"),
        "{report}"
    );
}

#[test]
fn some_changes_wait_for_a_restart() {
    let before = good(LEAST, &[]);
    let check = |changed: &str, expect: &[&str]| {
        let after = good(&format!("{LEAST}{changed}\n"), &[]);
        assert_eq!(before.needs_restart(&after), expect, "{changed}");
        assert_eq!(after.needs_restart(&before), expect, "{changed}, changed back");
        assert!(after.needs_restart(&after).is_empty());
    };
    check(
        "server: {threads: 2, body_limit: 1MiB}\nadmin: {listen: '127.0.0.1:1'}",
        &["server.threads", "admin.listen"],
    );
    check("server: {timeouts: {keep_alive: 1m, header: 1s}}", &["server.timeouts.keep_alive over HTTP/2"]);
    check("server: {limits: {header_size: 8KiB, header_count: 9}}", &["server.limits.header_size over HTTP/2"]);
    check("server: {limits: {h2_streams: 9}}", &["server.limits.h2_streams"]);
    check("access_log: {enabled: false}", &["access_log.enabled"]);
    check("access_log: {path: stderr}", &["access_log.path"]);
    check("server: {drain_deadline: 1s, max_attempts: 1, limits: {connections: 1, memory: off}}", &[]);
}

#[test]
fn what_waits_for_a_restart_is_shown_as_it_runs() {
    let before = good(LEAST, &[]);
    let after = "\
server: {listen: [{address: '0.0.0.0:8080'}, {address: '0.0.0.0:8081'}], threads: 7, body_limit: 1MiB, timeouts: {keep_alive: 1m}, limits: {h2_streams: 9}}
admin: {listen: '127.0.0.1:9'}
access_log: {enabled: false, path: stderr}
metrics: {key_label: none}
";
    let after = good(&format!("{LEAST}{after}"), &[]);
    let shown: serde_json::Value = serde_json::from_str(&redacted_in_use(&before, &after)).unwrap();
    let written: serde_json::Value = serde_json::from_str(&redacted(&after)).unwrap();
    for (path, runs, waits) in [
        ("/server/threads", json!(null), json!(7)),
        ("/server/listen/1", json!(null), json!({"address": "0.0.0.0:8081", "tls": null})),
        ("/server/limits/h2_streams", json!(100), json!(9)),
        ("/server/timeouts/keep_alive", json!("1m"), json!("1m")),
        ("/server/body_limit", json!(1_048_576), json!(1_048_576)),
        ("/admin/listen", json!("127.0.0.1:9090"), json!("127.0.0.1:9")),
        ("/access_log/enabled", json!(true), json!(false)),
        ("/access_log/path", json!("stdout"), json!("stderr")),
        ("/metrics/key_label", json!("name"), json!("none")),
        ("/waits_for_restart", json!(before.needs_restart(&after)), json!(null)),
    ] {
        let at = |view: &serde_json::Value| view.pointer(path).cloned().unwrap_or_default();
        assert_eq!([at(&shown), at(&written)], [runs, waits], "{path}");
    }
    assert_eq!(shown["waits_for_restart"].as_array().map(Vec::len), Some(8));
}

#[test]
fn a_listener_that_stays_is_shown_with_the_certificate_that_it_has_now() {
    let folder = tempfile::tempdir().unwrap();
    let listener = |port: u16, cert: &str| Listener {
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        tls: Some(Tls { cert: folder.path().join(cert), key: folder.path().join("key") }),
    };
    let [mut before, mut after] = [good(LEAST, &[]), good(LEAST, &[])];
    before.server.listen = vec![listener(1, "old"), listener(2, "old")];
    after.server.listen = vec![listener(3, "new"), listener(2, "new")];
    let (used, keys) = before.in_use(&after);
    assert_eq!(used.server.listen, [listener(1, "old"), listener(2, "new")]);
    assert_eq!(keys, ["server.listen"]);
}

#[test]
fn the_view_for_the_admin_shows_everything_but_secrets() {
    let source = "\
providers: {p: {kind: anthropic, key: '${KEY}', headers: {x-a: sk-canary-header}}}
models: {m: p/m, 'c-*': p/*}
clients: [{name: web, key: sk-canary-client, models: [m]}]
";
    let view = redacted(&good(source, &[]));
    assert!(!view.contains("canary"), "{view}");
    for shown in [
        "\"body_limit\": 33554432",
        "\"anthropic-version\": \"2023-06-01\"",
        "\"x-a\": \"(hidden)\"",
        "\"c-*\"",
        "https://api.anthropic.com:443",
        "\"name\": \"web\"",
        "\"auth\": \"keys\"",
    ] {
        assert!(view.contains(shown), "{shown} in {view}");
    }
    let hash = clients::hash("sk-canary-client").iter().take(4).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
    assert!(!view.contains(&hash.concat()));
}

#[test]
fn anchors_and_merge_keys_work_in_a_configuration() {
    let source = "\
auth: off
providers:
  a: &base {kind: ollama, url: 'http://gpu:1', timeouts: &t {read: 7s}}
  b: {<<: *base, url: 'http://gpu:2'}
  c: {kind: vllm, timeouts: *t}
models: {m: a/m}
";
    let settings = good(source, &[]);
    assert_eq!(settings.providers["b"].endpoints[0].port, 2);
    assert_eq!(settings.providers["c"].timeouts.read, Duration::from_secs(7));
}

/// Odd characters at every place of the reference: a report or settings, never a panic, and never a secret.
#[test]
fn no_text_brings_the_reading_down() {
    let source = include_str!("../../conf/tidegate.yaml").replace("${OPENAI_API_KEY}", CANARY);
    let starts: Vec<usize> = source.char_indices().map(|(at, _)| at).collect();
    let odd = ["", ":", "{", "[", "\"", "*", "&a ", "\n", "\t", "${", "ü", "\u{0}", "<<: *a", "- "];
    for (turn, at) in starts.iter().enumerate().step_by(7) {
        let (before, after) = source.split_at(*at);
        let odd = odd[turn / 7 % odd.len()];
        for text in [format!("{before}{odd}{after}"), format!("{before}{odd}")] {
            if let Err(report) = load_text(&text, &[]) {
                let shown = report.to_string();
                let cut = before.len() < source.len() && !text.contains(CANARY);
                assert!(cut || !shown.contains("canary"), "{shown}");
            }
        }
    }
}

#[test]
fn what_cannot_be_together_is_said() {
    let check = |provider: &str, model: &str, expect: &str| {
        let text = format!(
            "providers:\n  p: {{kind: ollama, {provider}}}\nmodels:\n  m: {{targets: [p/m], {model}}}\nauth: off\n"
        );
        let found = load_text(&text, &[]).map_or_else(|report| report.to_string(), |_| "ok".to_owned());
        assert!(found.contains(expect), "{provider} {model}: {found}");
    };
    check("breaker: {open: 1m, open_max: 1m}", "", "ok");
    check("breaker: {open: 2m, open_max: 1m}", "", "`open` (2m) is longer than `open_max` (1m)");
    check("breaker: {open: 1h}", "", "2:37: `open` (1h) is longer than `open_max`");
    check("", "retries: {backoff: 2s, backoff_max: 1s}", "`backoff` (2s) is longer than `backoff_max` (1s)");
    check("", "retries: {backoff_max: 1ms}", "is longer than `backoff_max` (1ms)");
    let two = "url: null, endpoints: ['http://a:1', 'http://b:1']";
    check(two, "hedge: {}", "ok");
    check(&format!("{two}, streams: {{hold: 0s}}"), "hedge: {}", "no provider of this model holds its streams");
    check(
        &format!("{two}, streams: {{hold: 2s}}"),
        "hedge: {least: 2s}",
        "no provider of this model holds its streams",
    );
    check("", "hedge: {}", "4:23: there is one target with one endpoint");
}

#[test]
fn a_hedge_needs_a_hold_at_one_and_another_to_ask() {
    let check = |model: &str, expect: &str| {
        let text = format!(
            "providers:\n  held: {{kind: ollama}}\n  not: {{kind: ollama, streams: {{hold: 0s}}}}\n\
             models:\n  m: {{{model}, hedge: {{}}}}\nauth: off\n"
        );
        let found = load_text(&text, &[]).map_or_else(|report| report.to_string(), |_| "ok".to_owned());
        assert!(found.contains(expect), "{model}: {found}");
    };
    check("targets: [held/x, not/x]", "ok");
    check("targets: [held/x, held/y]", "ok");
    check("targets: [not/x, held/x, not/y]", "ok");
    check("targets: [not/x, held/x]", "none holds its streams");
    check("targets: [not/x, held/x], strategy: weighted", "ok");
    check("targets: [not/x, not/y]", "no provider of this model holds its streams");
    check("targets: [held/x]", "one target with one endpoint");
}

#[test]
fn a_log_has_a_folder_to_stand_in() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| {
        let path = folder.path().join(path);
        load_text(&format!("{LEAST}access_log: {{path: '{}'}}\n", path.display()), &[]).map(|_| ())
    };
    assert!(at("access.log").is_ok());
    assert!(at("none/access.log").unwrap_err().to_string().contains("make the folder"));
    assert!(at("").unwrap_err().to_string().contains("this is a folder"));
    assert!(std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
    let report = at("pipe").unwrap_err().to_string();
    assert!(report.contains("t.yaml:6:20: ") && report.contains("it is a pipe: write the path"), "{report}");
    for path in ["/dev/null", "/dev/stderr", "/proc/self/fd/2"] {
        assert!(at(path).is_ok(), "{path}");
    }
}

//! Whole configurations and their reports, as text.

use std::net::SocketAddr;

use tidegate_codec::Format;

use super::*;

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
    assert_eq!(provider.timeouts, crate::provider::Timeouts::default());
    assert!(settings.clients.is_open());
    assert!(!format!("{settings:?}").contains("canary"));
    assert!(!redacted(&settings).contains("canary"));
}

#[test]
fn every_problem_is_in_one_report() {
    check(
        r#"
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
"#,
        r#"
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
  14 |   gpt-5: claude/x
     |   ^^^^^
  = remove one of them: the first is above, on line 12

t.yaml:15:1: nobody may call: there are no `clients`
  15 | clients: []
     | ^^^^^^^
  = write `clients: [{name: …, key: "${NAME}"}]`, or `auth: off` to serve everyone who reaches the port

12 problems in t.yaml"#,
    );
}

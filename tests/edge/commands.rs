//! The commands beside `run`, as whoever types them meets them: what they print, and how they end.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::client::{Ask, Client};
use crate::support::formats::Wire;
use crate::support::tls::Authority;
use crate::support::{PATIENCE, within};

/// Its words, its input, its exit code, and what it says.
type Case<'a> = (&'a [&'a str], &'a str, i32, &'a [&'a str]);

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the command in `folder` with `input` on its standard input, which must not keep it.
async fn tidegate(folder: &Path, words: &[&str], input: &str) -> Ended {
    tidegate_with(folder, words, input, &[]).await
}

/// The same, in this environment.
async fn tidegate_with(folder: &Path, words: &[&str], input: &str, environment: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(words).current_dir(folder).env_clear().envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let (id, mut stdin, input) = (child.id(), child.stdin.take().expect("a pipe"), input.to_owned());
    let ends = tokio::task::spawn_blocking(move || {
        // A command that does not read may be gone already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output()
    });
    let Ok(output) = tokio::time::timeout(Duration::from_secs(20), ends).await else {
        let _ = Command::new("kill").arg(id.to_string()).status();
        panic!("{words:?} does not end");
    };
    let output = output.expect("it is waited for").expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

const CONFIG: &str = "\
auth: off
providers:
  an: {kind: anthropic, key: sk-very-secret}
  oa: {kind: openai, key: sk-very-secret}
models:
  m: {targets: [an/claude-sonnet-4-5, oa/gpt-4.1]}
";

const REQUEST: &str = r#"{"model": "m", "seed": 7, "messages": [{"role": "user", "content": "Hello there"}]}"#;

#[tokio::test]
async fn every_command_does_what_its_help_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    write("good.yaml", CONFIG);
    write("log.yaml", &format!("{CONFIG}access_log: {{path: access.log}}\n"));
    write("pipe.yaml", &format!("{CONFIG}access_log: {{path: pipe}}\n"));
    let made = Command::new("mkfifo").arg(folder.path().join("pipe")).status();
    assert!(made.is_ok_and(|status| status.success()), "a pipe");
    write("bad.yaml", &CONFIG.replace("auth: off", "auth: maybe"));
    write("request.json", REQUEST);
    let messages = Wire::Messages.answer();
    let stream = Wire::Messages.stream();
    let cases: &[Case<'_>] = &[
        (&["check", "good.yaml"], "", 0, &[]),
        (&["check", "log.yaml"], "", 0, &[]),
        (&["check", "--print", "good.yaml"], "", 0, &["claude-sonnet-4-5"]),
        (&["check", "bad.yaml"], "", 78, &["bad.yaml:1:7", "auth"]),
        (&["check", "none.yaml"], "", 66, &["none.yaml"]),
        (&["check", "pipe.yaml"], "", 78, &["pipe.yaml:7:20", "it is a pipe"]),
        (&["run", "--config", "pipe.yaml"], "", 78, &["pipe.yaml:7:20", "nothing was started"]),
        (&["run", "--config", "bad.yaml"], "", 78, &["bad.yaml:1:7"]),
        (&["run", "--config", "none.yaml"], "", 66, &["none.yaml", "nothing was started"]),
        (&["upgrade", "--config", "none.yaml"], "", 66, &["none.yaml", "goes on as before"]),
        (&["models", "--config", "none.yaml"], "", 66, &["none.yaml"]),
        (&["route", "--config", "none.yaml", "--from", "openai_chat", "-"], REQUEST, 66, &["none.yaml"]),
        (&["models", "--config", "good.yaml"], "", 0, &["m", "an/claude-sonnet-4-5"]),
        (&["completions", "bash"], "", 0, &["_tidegate"]),
        (&["health", "http://127.0.0.1:9/"], "", 1, &["127.0.0.1:9"]),
        (&["nonsense"], "", 2, &["nonsense"]),
        (&["--help"], "", 0, &["translate", "explain", "demo"]),
        (
            &["explain", "--from", "openai_chat", "--to", "anthropic_messages", "request.json"],
            "",
            0,
            &["Hello there", "/seed"],
        ),
        (
            &["explain", "--from", "openai_chat", "--to", "anthropic_messages", "-"],
            REQUEST,
            0,
            &["Hello there", "/seed"],
        ),
        (&["explain", "--from", "openai_chat", "--to", "anthropic_messages", "-"], "{", 65, &[]),
        (&["route", "--config", "good.yaml", "--from", "openai_chat", "-"], REQUEST, 0, &["an/claude-sonnet-4-5"]),
        (
            &["translate", "--from", "anthropic_messages", "--to", "openai_chat"],
            messages,
            0,
            &["chat.completion", "Hello, ", "lost: unknown"],
        ),
        (
            &["translate", "--from", "anthropic_messages", "--to", "gemini_generate", "--stream"],
            stream,
            0,
            &["\"candidates\"", "Hello, "],
        ),
        (&["translate", "--from", "anthropic_messages", "--to", "anthropic_messages"], messages, 0, &[messages]),
        (&["translate", "--from", "anthropic_messages", "--to", "openai_chat"], "[", 65, &[]),
        (
            &["translate", "--from", "anthropic_messages", "--to", "openai_chat", "--stream"],
            &stream[..stream.len() / 2],
            65,
            &["ends in an error"],
        ),
    ];
    for (words, input, code, said) in cases {
        let ended = tidegate(folder.path(), words, input).await;
        assert_eq!(ended.code, Some(*code), "{words:?}: {ended:?}");
        let all = format!("{}{}", ended.out, ended.err);
        for wanted in *said {
            assert!(all.contains(wanted), "{words:?}: no {wanted:?} in {all}");
        }
        assert!(!all.contains("very-secret"), "{words:?}: {all}");
        assert!(*code == 0 || ended.out.is_empty() || words[0] == "translate", "an error is no output: {words:?}");
        assert!(*code == 0 || !ended.err.is_empty(), "{words:?} says nothing");
    }
}

#[tokio::test]
async fn few_descriptors_let_few_in_and_too_few_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |most: u32, listen: std::net::SocketAddr, admin: std::net::SocketAddr| {
        let config = format!("server: {{listen: [{{address: '{listen}'}}]}}\nadmin: {{listen: '{admin}'}}\n{CONFIG}");
        std::fs::write(folder.path().join("run.yaml"), config).expect("a file");
        let line = format!("ulimit -n {most} && exec {} run --config run.yaml", env!("CARGO_BIN_EXE_tidegate"));
        let mut command = Command::new("sh");
        command.args(["-c", &line]).current_dir(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it starts")
    };
    let (listen, admin) = crate::support::edge::free_ports();
    let refused = run(64, listen, admin).wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("may open only 64 files"), "{said}");
    let (listen, admin) = crate::support::edge::free_ports();
    let mut edge = run(140, listen, admin);
    let health = |addr| async move {
        loop {
            if let Ok(stream) = tokio::net::TcpStream::connect(addr).await {
                drop(stream);
                return Client::connect(addr).await.ask(&Ask::get("/health")).await.status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert_eq!(within(PATIENCE, "the start", health(listen)).await, 200);
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(tokio::net::TcpStream::connect(listen).await);
    }
    assert_eq!(
        within(PATIENCE, "the admin listener", health(admin)).await,
        200,
        "operators are heard whoever connects"
    );
    drop(idle);
    edge.kill().expect("it runs");
    let said = edge.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    assert!(said.contains("enough for 13 connections"), "{said}");
}

#[tokio::test]
async fn a_certificate_and_a_key_that_do_not_belong_together_are_found_before_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new();
    let (one, other) = (authority.issue(&["localhost"]), authority.issue(&["localhost"]));
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    write("cert.pem", &one.cert_pem);
    for (key, code) in [(&one.key_pem, 0), (&other.key_pem, 78)] {
        write("key.pem", key);
        let listen = "server: {listen: [{address: '127.0.0.1:0', tls: {cert: cert.pem, key: key.pem}}]}";
        write("tls.yaml", &format!("{CONFIG}{listen}\n"));
        let ended = tidegate(folder.path(), &["check", "tls.yaml"], "").await;
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert_eq!(ended.err.contains("the certificate of the listener at 127.0.0.1:0"), code != 0, "{ended:?}");
    }
    let ended = tidegate(folder.path(), &["run", "--config", "tls.yaml"], "").await;
    assert_eq!(ended.code, Some(78), "{ended:?}");
}

/// A bundle of the system's that cannot be read is told in words.
#[tokio::test]
async fn authorities_that_cannot_be_read_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    write("c.yaml", CONFIG);
    write("none.pem", "-----BEGIN CERTIFICATE-----\nMIIBAAEC\n-----END CERTIFICATE-----\n");
    for (name, words) in [("missing.pem", "No such file"), ("none.pem", "certificate 1 of 1 is none")] {
        let ended = tidegate_with(folder.path(), &["run", "--config", "c.yaml"], "", &[("SSL_CERT_FILE", name)]).await;
        assert_eq!(ended.code, Some(1), "{name}: {}", ended.err);
        let told = ended.err.contains("SSL_CERT_FILE or SSL_CERT_DIR") && ended.err.contains(words);
        assert!(told && !ended.err.contains("panicked"), "{name}: {}", ended.err);
    }
}

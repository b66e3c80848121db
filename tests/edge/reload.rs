//! A new config takes over without cutting what runs; a bad one changes nothing and says so.

use std::time::{Duration, Instant};

use crate::support::client::Ask;
use crate::support::edge::{Conf, Edge};
use crate::support::formats::Wire;
use crate::support::gate::Gate;
use crate::support::provider::{Provider, Request};
use crate::support::script::Reply;
use crate::support::{PATIENCE, within};

/// How the edge is told.
#[derive(Clone, Copy, Debug)]
enum Told {
    Signal,
    Admin,
    FileAlone,
}

async fn tell(edge: &Edge, told: Told) {
    match told {
        Told::Signal => edge.signal("HUP"),
        Told::Admin => assert!(edge.admin("POST", "/reload").await.status < 300),
        Told::FileAlone => {}
    }
}

fn conf(provider: &Provider, model: &str) -> Conf {
    Conf::open().provider("up", "openai", provider).model(model, "up/model-1").model("stays", "up/model-1")
}

/// Waits until a model answers with this status.
async fn until(edge: &Edge, model: &str, status: u16) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let response = Wire::Chat.ask(model, false).send(edge.addr).await;
        if response.status == status {
            return;
        }
        assert!(Instant::now() < deadline, "{model} stays {}: {}", response.status, response.text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_running_stream_outlives_each_kind_of_reload() {
    for told in [Told::Signal, Told::Admin, Told::FileAlone] {
        for client in [Wire::Chat, Wire::Messages] {
            let gate = Gate::new();
            let held = gate.clone();
            let provider = Provider::start(move |request| match request.json()["stream"].as_bool() {
                Some(true) => Reply::sse(Wire::Chat.stream()).wait_before(2, &held),
                _ => Wire::Chat.reply(false),
            })
            .await;
            let edge = Edge::start(&conf(&provider, "old")).await;
            let mut running = client.ask("old", true).open(edge.addr).await;
            let (head, mut framing) = running.head().await;
            assert_eq!(head.status, 200);
            let mut body = Vec::new();
            assert!(running.until_events(&mut framing, &mut body, 1).await);
            edge.rewrite(&conf(&provider, "new"));
            tell(&edge, told).await;
            until(&edge, "new", 200).await;
            until(&edge, "old", 404).await;
            gate.open();
            let more = running.until_events(&mut framing, &mut body, usize::MAX).await;
            assert!(!more, "the body ends");
            let response = crate::support::client::Response { body, ..head };
            assert_eq!(client.text(&client.read(&response, true)), "Hello, 北🙂!", "{told:?}");
            edge.metric_reaches("gateway_config_reloads_total", &["success"], 1.0).await;
        }
    }
}

#[tokio::test]
async fn a_bad_config_changes_nothing_and_is_seen() {
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    for bad in [
        "providers: [",
        "models: {x: nowhere/y}\nauth: off\n",
        "",
        "providers: {up: {kind: opnai, url: \"http://127.0.0.1:1\"}}",
    ] {
        let edge = Edge::start(&conf(&provider, "old")).await;
        edge.rewrite_text(bad);
        let told = edge.admin("POST", "/reload").await;
        assert!((400..600).contains(&told.status), "{bad:?}: {} {}", told.status, told.text());
        assert!(!told.text().trim().is_empty(), "it says why");
        edge.signal("HUP");
        edge.metric_reaches("gateway_config_reloads_total", &["result=\"rejected\""], 2.0).await;
        assert_eq!(Wire::Chat.ask("old", false).send(edge.addr).await.status, 200, "{bad:?}");
        edge.rewrite(&conf(&provider, "new"));
        edge.admin("POST", "/reload").await;
        until(&edge, "new", 200).await;
    }
}

#[tokio::test]
async fn a_hangup_that_comes_as_soon_as_it_listens_reloads() {
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    for _ in 0..3 {
        let dir = tempfile::TempDir::new().expect("the system has a directory for temporary files");
        let edge = Edge::launch(&conf(&provider, "m"), dir);
        let listens = async {
            while tokio::net::TcpStream::connect(edge.admin).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        within(PATIENCE, "it listens", listens).await;
        edge.signal("HUP");
        edge.metric_reaches("gateway_config_reloads_total", &["result=\"success\""], 1.0).await;
    }
}

/// What rotates another server's logs, and the limit of a file's size.
#[tokio::test]
async fn signals_of_other_servers_end_nothing() {
    let gate = Gate::new();
    let reply = Wire::Chat.reply(true);
    let pieces = reply.until(1);
    let provider = Provider::always(reply.wait_before(pieces, &gate)).await;
    let dir = tempfile::TempDir::new().expect("the system has a directory for temporary files");
    let log = dir.path().join("access.log");
    let edge = Edge::start_in(&conf(&provider, "m").top("access_log: {path: \"@DIR/access.log\"}"), dir).await;
    let addr = edge.addr;
    let stream = tokio::spawn(async move { Wire::Chat.ask("m", true).send(addr).await });
    provider.request(0).await;
    std::fs::rename(&log, log.with_extension("old")).expect("there is a log");
    for signal in ["USR1", "USR2", "XFSZ"] {
        edge.signal(signal);
    }
    edge.log_line("the words", |line| line.contains("SIGUSR2 asks for nothing here")).await;
    within(PATIENCE, "a new log", async {
        while !log.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    gate.open();
    let response = stream.await.expect("it ends");
    assert!(response.text().contains("[DONE]"), "{}", response.text());
}

#[tokio::test]
async fn what_waits_for_a_restart_is_told_until_it_is_changed_back() {
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let started = conf(&provider, "m").server("threads: 1");
    let edge = Edge::start(&started).await;
    let pending = conf(&provider, "m").server("threads: 2");
    let more = conf(&provider, "m").server("threads: 2").server("timeouts: {keep_alive: 9s}");
    let more = more.top("access_log: {enabled: false}");
    let all = "server.threads, server.timeouts.keep_alive over HTTP/2, access_log.enabled";
    let steps = [
        (&pending, Some("server.threads")),
        (&pending.clone().server("max_attempts: 3"), Some("server.threads")),
        (&more, Some(all)),
        (&started, None),
    ];
    for (number, (conf, waits)) in steps.into_iter().enumerate() {
        edge.rewrite(conf);
        let told = edge.admin("POST", "/reload").await.text();
        assert_eq!(
            told.trim_end().split_once("waits for a restart: ").map(|(_, keys)| keys),
            waits,
            "{number}: {told}"
        );
        let shown = edge.admin("GET", "/config").await.json();
        let keys = shown["waits_for_restart"].as_array().unwrap().iter().filter_map(|key| key.as_str());
        assert_eq!(keys.collect::<Vec<_>>().join(", "), waits.unwrap_or_default(), "{number}");
        assert_eq!(shown["server"]["threads"], 1, "{number}");
    }
}

#[tokio::test]
async fn a_changed_file_that_is_told_of_is_read_once() {
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let edge = Edge::start(&conf(&provider, "old")).await;
    for (text, result) in [(None, "success"), (Some("auth: maybe\n"), "rejected")] {
        match text {
            Some(text) => edge.rewrite_text(text),
            None => edge.rewrite(&conf(&provider, "new")),
        }
        edge.admin("POST", "/reload").await;
        // The change is noticed in well under a second; that nothing comes of it can only be waited for.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let count = edge.metric("gateway_config_reloads_total", &[&format!("result=\"{result}\"")]).await;
        assert!((count - 1.0).abs() < 0.5, "{result}: {count}");
    }
    edge.rewrite(&conf(&provider, "newest"));
    until(&edge, "newest", 200).await;
}

#[tokio::test]
async fn a_mounted_config_swapped_by_symlink_is_noticed() {
    // Kubernetes mounts `tidegate.yaml -> ..data/tidegate.yaml` and swaps the link `..data` to a new folder.
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let edge = Edge::start(&conf(&provider, "old")).await;
    let dir = edge.file.parent().expect("a file has a folder").to_path_buf();
    let (first, second) = (dir.join("..v1"), dir.join("..v2"));
    let text = std::fs::read_to_string(&edge.file).expect("the config is there");
    for (folder, content) in [(&first, text.clone()), (&second, text.replace("\"old\"", "\"new\""))] {
        std::fs::create_dir(folder).expect("a folder");
        std::fs::write(folder.join("tidegate.yaml"), content).expect("a file");
    }
    let link = |target: &str| {
        let fresh = dir.join("..data_tmp");
        std::os::unix::fs::symlink(target, &fresh).expect("a link");
        std::fs::rename(&fresh, dir.join("..data")).expect("the link is swapped");
    };
    link("..v1");
    std::fs::remove_file(&edge.file).expect("it was there");
    std::os::unix::fs::symlink("..data/tidegate.yaml", &edge.file).expect("a link");
    edge.admin("POST", "/reload").await;
    until(&edge, "old", 200).await;
    link("..v2");
    until(&edge, "new", 200).await;
}

/// What is in line when an operator makes room is served at once, wherever the room is.
#[tokio::test]
async fn who_waits_goes_on_where_a_reload_makes_room() {
    for (case, of_first, of_second) in [("more of the same", 3, 0), ("another endpoint", 1, 2), ("in its place", 0, 3)]
    {
        let gate = Gate::new();
        let held = gate.clone();
        let first = Provider::start(move |request| match request.number {
            0 => Wire::Chat.reply(false).hold(&held),
            _ => Wire::Chat.reply(false),
        })
        .await;
        let second = Provider::start(|request| match request.target.as_str() {
            "/v1/messages" => Wire::Messages.reply(false),
            _ => Wire::Chat.reply(false),
        })
        .await;
        let conf = |kind: &str, key: &str, of_first: u32, of_second: u32| {
            let endpoint = |provider: &Provider, most: u32| match most {
                0 => String::new(),
                most => format!("{{url: \"{}\", max_concurrent: {most}}},", provider.url()),
            };
            let endpoints = endpoint(&first, of_first) + &endpoint(&second, of_second);
            Conf::open()
                .provider_yaml(&format!(
                    "up: {{kind: {kind}, key: {key}, endpoints: [{endpoints}], queue: {{size: 9, wait: 60s}}}}"
                ))
                .model("m", "up/gpt")
        };
        let edge = Edge::start(&conf("openai", "old-key", 1, 0)).await;
        let mut running = Wire::Chat.ask("m", false).open(edge.addr).await;
        first.request(0).await;
        let mut waiting = Vec::new();
        for count in 1..=2 {
            waiting.push(Wire::Chat.ask("m", false).open(edge.addr).await);
            edge.metric_becomes("gateway_queue_depth", &[], f64::from(count)).await;
        }
        // What takes its place speaks another format: the request is told in that.
        edge.rewrite(&conf(if of_first == 0 { "anthropic" } else { "openai" }, "new-key", of_first, of_second));
        assert!(edge.admin("POST", "/reload").await.status < 300);
        for client in &mut waiting {
            let answer = within(PATIENCE, case, client.response()).await;
            assert_eq!(answer.status, 200, "{case}: {}", answer.text());
        }
        gate.open();
        assert_eq!(within(PATIENCE, case, running.response()).await.status, 200, "{case}");
        // Nor is anybody told the key of another.
        let keys = |provider: &Provider| -> Vec<String> {
            let of = |request: &Request| {
                request.header("authorization").or_else(|| request.header("x-api-key")).map(str::to_owned)
            };
            provider.requests().iter().map(|request| of(request).unwrap_or_default()).collect()
        };
        assert_eq!(keys(&first).remove(0), "Bearer old-key", "{case}");
        assert!(keys(&first).iter().skip(1).chain(&keys(&second)).all(|key| key.ends_with("new-key")), "{case}");
    }
}

/// A config map may come before the secret that it names.
#[tokio::test]
async fn a_refused_config_is_read_again_when_the_file_that_it_lacks_comes() {
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let edge = Edge::start(&conf(&provider, "old")).await;
    let late = conf(&provider, "new").provider_yaml(&format!(
        "late: {{kind: openai, url: \"{}\", key: \"${{file:@DIR/late.txt}}\"}}",
        provider.url()
    ));
    edge.rewrite(&late);
    assert!(edge.admin("POST", "/reload").await.status >= 400);
    until(&edge, "new", 404).await;
    std::fs::write(edge.dir.path().join("late.txt"), "sk-late").expect("a file");
    until(&edge, "new", 200).await;
}

#[tokio::test]
async fn many_reloads_under_load_fail_no_request() {
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let edge = Edge::start(&conf(&provider, "a")).await;
    let addr = edge.addr;
    let load = tokio::spawn(async move {
        let mut failed = Vec::new();
        for number in 0..200 {
            let wire = if number % 2 == 0 { Wire::Chat } else { Wire::Messages };
            let response = wire.ask("stays", false).send(addr).await;
            if response.status != 200 {
                failed.push(response.text());
            }
        }
        failed
    });
    for number in 0..20 {
        edge.rewrite(&conf(&provider, if number % 2 == 0 { "b" } else { "a" }));
        assert!(edge.admin("POST", "/reload").await.status < 300);
    }
    let failed = load.await.expect("the load ends");
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test]
async fn overrides_and_secrets_come_from_their_places() {
    let provider = Provider::always(Wire::Chat.reply(false)).await;
    let dir = tempfile::TempDir::new().expect("a folder");
    std::fs::write(dir.path().join("key.txt"), "sk-from-a-file\n").expect("a file");
    let conf = Conf::open()
        .provider_yaml(&format!("one: {{kind: openai, url: \"{}\", key: \"${{file:@DIR/key.txt}}\"}}", provider.url()))
        .provider_yaml(&format!("two: {{kind: openai, url: \"{}\", key: \"${{TWO_KEY}}\"}}", provider.url()))
        .env("TWO_KEY", "sk-from-the-environment")
        .env("TIDEGATE__SERVER__BODY_LIMIT", "1KiB")
        .model("m1", "one/x")
        .model("m2", "two/x");
    let edge = Edge::start_in(&conf, dir).await;
    for (model, key) in [("m1", "Bearer sk-from-a-file"), ("m2", "Bearer sk-from-the-environment")] {
        let response = Wire::Chat.ask(model, false).send(edge.addr).await;
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(provider.last().header("authorization"), Some(key));
    }
    let big = Ask::post(Wire::Chat.path(), vec![b' '; 4096]).send(edge.addr).await;
    assert_eq!(big.status, 413, "{}", big.text());
}

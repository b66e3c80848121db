//! What headers go through, which are ours, and which end here.

use std::collections::BTreeSet;

use crate::support::client::{Ask, Client};
use crate::support::edge::{Conf, Edge};
use crate::support::formats::{PAIRS, Wire};
use crate::support::provider::Provider;

async fn house(client_stream: bool, upstream: Wire) -> (Provider, Edge) {
    let provider = Provider::always(
        upstream
            .reply(client_stream)
            .header("x-request-id", "req_from_upstream")
            .header("request-id", "req_from_upstream")
            .header("x-ratelimit-remaining-requests", "17")
            .header("x-upstream-note", "of no client's concern")
            .header("server", "gunicorn")
            .header("connection", "x-upstream-hop")
            .header("x-upstream-hop", "1")
            .header("set-cookie", "spy=1")
            .header("keep-alive", "timeout=5"),
    )
    .await;
    let edge = Edge::start(&Conf::open().provider("up", upstream.kind(), &provider).model("m", "up/model-1")).await;
    (provider, edge)
}

#[tokio::test]
async fn a_request_id_goes_in_and_out() {
    for (client, upstream) in PAIRS {
        let (provider, edge) = house(false, upstream).await;
        let given = client.ask("m", false).header("x-request-id", "mine-123").send(edge.addr).await;
        assert_eq!(given.header("x-request-id"), Some("mine-123"), "{client:?} from {upstream:?}");
        assert_eq!(provider.last().header("x-request-id"), Some("mine-123"));
        let made = client.ask("m", false).send(edge.addr).await;
        let again = client.ask("m", false).send(edge.addr).await;
        let ids = (made.header("x-request-id").unwrap_or_default(), again.header("x-request-id").unwrap_or_default());
        assert!(ids.0.len() >= 8 && ids.0 != ids.1, "{ids:?}");
        let hostile = client.ask("m", false).header("x-request-id", &"x".repeat(5000)).send(edge.addr).await;
        assert!(hostile.header("x-request-id").is_some_and(|id| id.len() <= 256), "an id is bounded");
        let refused = client.ask("unknown-model", false).header("x-request-id", "mine-404").send(edge.addr).await;
        assert_eq!(
            (refused.status, refused.header("x-request-id")),
            (404, Some("mine-404")),
            "errors of ours have it too"
        );
        if client == Wire::Messages {
            assert!(refused.header("request-id").is_some(), "Anthropic's SDKs read request-id");
        }
    }
}

#[tokio::test]
async fn a_trace_is_passed_on() {
    for (client, upstream) in PAIRS {
        let (provider, edge) = house(true, upstream).await;
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let ask = client.ask("m", true).header("traceparent", parent).header("tracestate", "vendor=1");
        assert_eq!(ask.send(edge.addr).await.status, 200);
        let sent = provider.last().header("traceparent").unwrap_or_default().to_owned();
        assert_eq!(sent, parent, "who records no spans changes nothing");
        assert_eq!(provider.last().header("tracestate"), Some("vendor=1"));
    }
}

#[tokio::test]
async fn what_belongs_to_one_hop_ends_here() {
    for (client, upstream) in PAIRS {
        let (provider, edge) = house(false, upstream).await;
        let ask = client
            .ask("m", false)
            .header("connection", "keep-alive, x-hop")
            .header("x-hop", "1")
            .header("keep-alive", "timeout=9")
            .header("te", "trailers")
            .header("proxy-authorization", "Basic c2VjcmV0")
            .header("cookie", "session=secret")
            .header("accept-encoding", "gzip, br, zstd");
        let response = ask.send(edge.addr).await;
        assert_eq!(response.status, 200, "{}", response.text());
        let sent = provider.last();
        for name in ["x-hop", "keep-alive", "proxy-authorization", "cookie", "expect", "upgrade"] {
            assert_eq!(sent.header(name), None, "{client:?} to {upstream:?}: {name}");
        }
        assert!(!sent.header("accept-encoding").unwrap_or_default().contains("gzip"), "encoding is ours to choose");
        assert_eq!(sent.header("host"), Some(provider.addr.to_string().as_str()), "the provider's own host");
        assert_eq!(response.header("keep-alive"), None);
        assert_eq!(response.header("set-cookie"), None, "a provider's cookie is not the client's");
        for name in ["x-upstream-note", "x-upstream-hop", "server"] {
            assert_eq!(response.header(name), None, "{client:?} from {upstream:?}: {name}");
        }
        let limit = response.header("x-ratelimit-remaining-requests");
        assert_eq!(limit, (client == upstream).then_some("17"), "{client:?} from {upstream:?}");
    }
}

#[tokio::test]
async fn each_provider_gets_the_headers_of_its_format() {
    for (client, upstream) in PAIRS {
        let (provider, edge) = house(false, upstream).await;
        let ask = client
            .ask("m", false)
            .header("anthropic-beta", "context-1m-2025-08-07")
            .header("openai-organization", "org-1");
        assert_eq!(ask.send(edge.addr).await.status, 200);
        let sent = provider.last();
        assert_eq!(sent.header("content-type"), Some("application/json"));
        match upstream {
            Wire::Chat => {
                assert!(sent.header("anthropic-version").is_none() && sent.header("anthropic-beta").is_none());
                assert_eq!(sent.header("authorization"), Some("Bearer sk-upstream-up"));
            }
            Wire::Messages => {
                assert_eq!(sent.header("anthropic-version"), Some("2023-06-01"));
                let beta = (client == Wire::Messages).then_some("context-1m-2025-08-07");
                assert_eq!(sent.header("anthropic-beta"), beta, "betas of a client of the same format");
                assert!(sent.header("openai-organization").is_none());
            }
        }
    }
}

#[tokio::test]
async fn the_clients_version_is_kept_toward_its_own_format() {
    let (provider, edge) = house(false, Wire::Messages).await;
    let ask = Ask::post("/v1/messages?beta=true", Wire::Messages.ask("m", false).body);
    assert_eq!(ask.header("anthropic-version", "2026-10-21").send(edge.addr).await.status, 200);
    assert_eq!(provider.last().header("anthropic-version"), Some("2026-10-21"));
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    for (client, upstream) in PAIRS {
        let (provider, edge) = house(true, upstream).await;
        let mut connection = Client::connect(edge.addr).await;
        for number in 0..4 {
            let response = connection.ask(&client.ask("m", true)).await;
            assert_eq!(client.text(&client.read(&response, true)), "Hello, 北🙂!", "request {number}");
            let wrong = connection.ask(&client.ask("unknown-model", false)).await;
            assert_eq!(wrong.status, 404, "a refusal leaves the connection usable");
        }
        // Counted by the requests: whoever connects without one, such as another test's probe, is none of ours.
        let used: BTreeSet<_> = provider.requests().iter().map(|request| request.connection).collect();
        assert!(used.len() <= 2, "{client:?} from {upstream:?}: upstream connections are kept: {used:?}");
    }
}

#[tokio::test]
async fn lengths_and_encodings_fit_what_is_sent() {
    for (client, upstream) in PAIRS {
        for stream in [false, true] {
            let (_, edge) = house(stream, upstream).await;
            let response = client.ask("m", stream).send(edge.addr).await;
            let kind = response.header("content-type").unwrap_or_default();
            let expected = if stream { "text/event-stream" } else { "application/json" };
            assert!(kind.starts_with(expected), "{kind}");
            if let Some(length) = response.header("content-length") {
                assert_eq!(length, response.body.len().to_string());
            }
            assert!(!(stream && response.header("content-length").is_some()), "a stream has no length");
        }
    }
}

#[tokio::test]
async fn the_config_says_which_headers_of_a_provider_pass() {
    let reply =
        Wire::Chat.reply(false).header("x-region", "eu").header("x-cost-cents", "3").header("x-ratelimit-a", "1");
    let provider = Provider::always(reply).await;
    let conf = Conf::open().server("response_headers: [X-Region, x-cost-*]").provider("p", "openai", &provider);
    let edge = Edge::start(&conf.model("m", "p/model-1")).await;
    let response = Wire::Chat.ask("m", false).send(edge.addr).await;
    assert_eq!(response.status, 200);
    assert_eq!((response.header("x-region"), response.header("x-cost-cents")), (Some("eu"), Some("3")));
    assert_eq!(response.header("x-ratelimit-a"), None, "what is written takes the default's place");
}

//! The crate `grantmint-client` against the real server.

use std::{collections::HashSet, mem, time::Duration};

use futures_util::StreamExt;
use grantmint::provider::twilio_live::DEMO_API_KEY_SECRET;
use grantmint_client::{
    BuildError, Builder, Client, Identities, Options, Target,
    proto::grant::{RefreshState, State},
};
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic::Code;

use crate::{
    support::{Configured, Serve, payload, reserved_port, soon, until, verified},
    tls::pki::{CALLER_ID, Pki, SERVER_ID, uris},
};

fn options() -> Options {
    Options::new()
}

fn client(serve: &Serve) -> Client {
    Client::builder(&serve.server).build().expect("a client")
}

#[tokio::test]
async fn token_carries_what_was_requested() {
    let serve = Serve::start(&["--sandbox"]).await;
    let client = client(&serve);
    serve.first_token().await;
    let token = soon(client.mint("alice", &options())).await.expect("a token");
    assert_eq!(verified(token.secret())["grants"]["identity"], "alice");
    assert!(!format!("{token:?}").contains(token.secret()), "a secret is printed");
    assert!(token.usable_for() > Duration::from_secs(5), "{token:?}");
    assert!(token.validity().generation() > 0, "{token:?}");

    let options = options().profile("room").resource("lobby").param("name", "Alice");
    let token = soon(client.mint("alice", &options)).await.expect("a token");
    let claims: Value = serde_json::from_str(&payload(token.secret())).expect("JSON");
    assert_eq!((&claims["name"], &claims["video"]["room"]), (&json!("Alice"), &json!("lobby")));
}

#[tokio::test]
async fn refused_request_names_its_fields_and_is_not_retried() {
    let serve = Serve::sandboxed(&[]).await;
    let client = client(&serve);
    serve.first_token().await;
    let error = soon(client.mint("", &options())).await.expect_err("refused");
    assert_eq!((error.code(), error.reason()), (Code::InvalidArgument, Some("IDENTITY_INVALID")));
    assert_eq!(error.field_violations()[0].field, "identity");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn mint_outlasts_a_missing_grant_and_a_server_that_restarts() {
    let port = reserved_port();
    let address = port.local_addr().expect("an address").to_string();
    let client = Client::builder(&address).deadline(Duration::from_secs(40)).build();
    let client = client.expect("a client is built before the server starts");
    let config = Configured::with_secret("", "", DEMO_API_KEY_SECRET);
    let options = options();
    let faulty = ["--listen", &address, "--fault", "status=503"];
    let serve = Serve::configured(&config, &faulty).await;
    let (minted, ()) = tokio::join!(client.mint("alice", &options), async {
        until("a call without a grant", async || {
            let (_, metrics) = serve.page("/metrics").await;
            !metrics.contains(r#"{method="MintToken",outcome="unserved"} 0"#)
        })
        .await;
        serve.clear_faults().await;
    });
    minted.expect("a token once the grant is fetched");
    serve.signal("KILL");
    serve.ended().await;
    let error = soon(client.mint("alice", &options)).await.expect_err("no server");
    assert!(error.is_retryable(), "{error:?}");
    let _serve = Serve::configured(&config, &["--listen", &address]).await;
    soon(client.mint("alice", &options)).await.expect("the client reconnects");
}

#[tokio::test]
async fn mint_obeys_the_pushback_and_the_deadline() {
    let serve = Serve::sandboxed(&["--fault", "status=429,retry-after=40"]).await;
    let client = client(&serve);
    let mut grants = soon(client.watch(Target::All).into_stream().boxed().into_future()).await;
    while !grants
        .0
        .expect("an update")
        .expect("good")
        .grants
        .iter()
        .any(|grant| grant.refresh_state() == RefreshState::Throttled)
    {
        grants = soon(grants.1.into_future()).await;
    }
    let started = Instant::now();
    let error = soon(client.mint("alice", &options())).await.expect_err("throttled");
    assert_eq!(error.reason(), Some("UPSTREAM_THROTTLED"));
    assert!(started.elapsed() < Duration::from_secs(5), "it waited for what cannot come");
}

#[tokio::test]
async fn cached_token_is_returned_for_the_same_request_only() {
    let serve = Serve::start(&["--sandbox"]).await;
    let client = client(&serve);
    let room = options().profile("room").resource("lobby");
    let id = async |identity: &str, options: &Options| {
        let token = soon(client.mint_cached(identity, options)).await.expect("a token");
        token.id().to_owned()
    };
    let first = id("alice", &room).await;
    assert_eq!(id("alice", &room).await, first);
    let others = [
        id("bob", &room).await,
        id("alice", &options().profile("room").resource("hall")).await,
        id("alice", &room.clone().param("name", "Alice")).await,
        soon(client.mint("alice", &room)).await.expect("a token").id().to_owned(),
    ];
    let all: HashSet<_> = others.iter().chain([&first]).collect();
    assert_eq!(all.len(), 5, "{others:?}");
}

#[tokio::test]
async fn bulk_resumes_after_a_drain_and_a_crash() {
    const COUNT: usize = 20_000;
    let port = reserved_port();
    let address = port.local_addr().expect("an address").to_string();
    let config =
        Configured::with_secret("[server]\ndrain_grace = \"10m\"", "", DEMO_API_KEY_SECRET);
    let start = async || Serve::configured(&config, &["--listen", &address]).await;
    let mut serve = start().await;
    serve.first_token().await;
    let client = Client::builder(&address).build().expect("a client");
    let mut bulk = client.bulk(Identities::series("viewer-", COUNT), &options());
    let (mut seen, mut next) = (HashSet::new(), 0);
    for signal in ["INT", "KILL", ""] {
        let most = if signal.is_empty() { COUNT } else { next + 1 };
        while next < most {
            let chunk = soon(bulk.next()).await.expect("it resumes").expect("a chunk");
            assert_eq!(chunk.first_index, next);
            next += chunk.tokens.len();
            seen.extend(chunk.tokens);
        }
        if signal.is_empty() {
            break;
        }
        serve.signal(signal);
        if signal == "KILL" {
            serve.ended().await;
        } else {
            // Reads what was sent before the drain ends the call.
            let end = serve.ended();
            tokio::pin!(end);
            loop {
                tokio::select! {
                    _ = &mut end => break,
                    chunk = bulk.next() => {
                        let chunk = chunk.expect("it resumes").expect("a chunk");
                        assert_eq!(chunk.first_index, next);
                        next += chunk.tokens.len();
                        seen.extend(chunk.tokens);
                    }
                }
            }
        }
        serve = start().await;
        serve.first_token().await;
    }
    assert!(soon(bulk.next()).await.expect("the end").is_none());
    assert_eq!(seen.len(), COUNT);
}

#[tokio::test]
async fn bulk_of_a_list_takes_several_calls_and_stops_at_a_bad_one() {
    let serve = Serve::start(&["--sandbox"]).await;
    let client = client(&serve);
    let room = options().profile("room").resource("lobby");
    let mut names: Vec<_> = (0..25_000).map(|number| format!("v{number}")).collect();
    let bulk = client.bulk(Identities::List(names.clone()), &room);
    let chunks = soon(bulk.into_stream().collect::<Vec<_>>()).await;
    let tokens: usize = chunks.iter().map(|it| it.as_ref().expect("a chunk").tokens.len()).sum();
    assert_eq!(tokens, names.len());
    let last = chunks.last().expect("a chunk").as_ref().expect("good").tokens.last();
    let claims: Value = serde_json::from_str(&payload(last.expect("a token"))).expect("JSON");
    assert_eq!(claims["sub"], "v24999");

    names[20_000].clear();
    let mut bulk = client.bulk(Identities::List(names), &room);
    let error = loop {
        match soon(bulk.next()).await {
            Ok(chunk) => assert!(chunk.is_some(), "it ended without an error"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some("IDENTITY_INVALID"));
    assert_eq!(error.field_violations()[0].field, "identity_list.identities[20000]");
    assert_eq!(bulk.next_index(), 20_000);
}

#[tokio::test]
async fn unread_bulks_do_not_block_other_calls() {
    let serve = Serve::sandboxed(&[]).await;
    let client = client(&serve);
    serve.first_token().await;
    let mut bulks =
        [(); 2].map(|()| client.bulk(Identities::series("viewer-", 100_000), &options()));
    for bulk in &mut bulks {
        soon(bulk.next()).await.expect("a bulk").expect("a chunk");
    }
    // Once the windows are full, nothing more is minted.
    let minted = async || {
        let (_, metrics) = serve.page("/metrics").await;
        let issued = r#"grantmint_tokens_total{method="MintTokens",outcome="minted"} "#;
        let line = metrics.lines().find_map(|line| line.strip_prefix(issued));
        line.expect("a counter").to_owned()
    };
    let mut before = String::new();
    until("stopped bulks", async || {
        let now = minted().await;
        mem::replace(&mut before, now.clone()) == now
    })
    .await;
    soon(client.mint("alice", &options())).await.expect("a token");
    assert_eq!(minted().await, before, "the bulks were not stopped");
}

#[tokio::test]
async fn watch_starts_a_new_snapshot_after_a_restart() {
    let port = reserved_port();
    let address = port.local_addr().expect("an address").to_string();
    let config = Configured::with_secret("", "", DEMO_API_KEY_SECRET);
    let start = async || Serve::configured(&config, &["--listen", &address]).await;
    let serve = start().await;
    let client = Client::builder(&address).build().expect("a client");
    let mut watch = client.watch(Target::All);
    let first = soon(watch.next()).await.expect("a snapshot");
    assert!(first.snapshot && !first.grants.is_empty(), "{first:?}");
    while !soon(watch.next()).await.expect("an update").grants[0].state().eq(&State::Live) {}
    serve.signal("KILL");
    serve.ended().await;
    let _serve = start().await;
    while !soon(watch.next()).await.expect("it resumes").snapshot {}

    let mut missing = client.watch(Target::Profile("nowhere".to_owned()));
    let error = soon(missing.next()).await.expect_err("no such profile");
    assert_eq!(error.reason(), Some("PROFILE_NOT_FOUND"));
}

#[tokio::test]
async fn refresh_returns_the_state_after_the_attempt() {
    let serve = Serve::sandboxed(&[]).await;
    let client = client(&serve);
    let name = serve.first_token().await.validity.expect("a validity").grant;
    serve.set_fault("status=500").await;
    let grant = soon(client.refresh(&name)).await.expect("a refresh");
    assert_eq!(grant.last_fault.expect("a fault").reason, "HTTP_STATUS_500");
    let error = soon(client.refresh("profiles/demo")).await.expect_err("no name of a grant");
    assert_eq!(error.reason(), Some("GRANT_NAME_INVALID"));
}

/// A client of a server with certificates.
fn over_tls(pki: &Pki, serve: &Serve) -> Builder {
    Client::builder(&serve.server).ca_file(pki.path("server-ca.pem")).server_name("localhost")
}

#[tokio::test]
async fn certificate_is_read_again_for_each_connection() {
    let pki = Pki::new();
    let serve = pki.serve("").await;
    let stranger = pki.prod.issue(uris(&["spiffe://elsewhere.example.org/a"]));
    let (cert, key) = pki.write_pair("client", &[&stranger]);
    let client = over_tls(&pki, &serve).certificate_files(&cert, &key).build();
    let client = client.expect("a client");
    let error = soon(client.mint("alice", &options())).await.expect_err("refused");
    assert!(error.reason().is_none(), "{error:?}");
    pki.write_pair("client", &[&pki.prod.issue(uris(&[CALLER_ID]))]);
    until("a token", async || client.mint("alice", &options()).await.is_ok()).await;
}

#[tokio::test]
async fn server_must_prove_the_expected_name() {
    let pki = Pki::new();
    let serve = pki.serve("").await;
    let pair = pki.write_pair("client", &[&pki.prod.issue(uris(&[CALLER_ID]))]);
    let mint_from = async |name: &str| {
        let client = over_tls(&pki, &serve).certificate_files(&pair.0, &pair.1).server_name(name);
        let client = client.deadline(Duration::from_secs(3)).build().expect("a client");
        soon(client.mint("alice", &options())).await
    };
    for name in ["other.example", "spiffe://prod.example.org/ns/media/sa/other"] {
        let error = mint_from(name).await.expect_err("another server");
        assert!(error.reason().is_none(), "{error:?}");
    }
    for name in ["localhost", "127.0.0.1", SERVER_ID] {
        mint_from(name).await.expect(name);
    }
    let no_bundle = Client::builder(&serve.server).server_name("spiffe://a.example/b").build();
    assert_eq!(no_bundle.err(), Some(BuildError::NoBundle));
}

#[tokio::test]
async fn plain_text_to_another_machine_needs_consent() {
    let refused = Client::builder("http://mint.example:50051").build();
    assert_eq!(refused.err(), Some(BuildError::Plaintext));
    assert!(Client::builder("http://mint.example:50051").allow_plaintext().build().is_ok());
}

#[tokio::test]
async fn settings_of_tls_need_tls() {
    let each = |server: &str| {
        [
            ("ca_file", Client::builder(server).ca_file("ca.pem")),
            ("certificate_files", Client::builder(server).certificate_files("crt", "key")),
            ("server_name", Client::builder(server).server_name("mint.example")),
        ]
    };
    for plain in ["http://127.0.0.1:50051", "127.0.0.1:50051", "http://mint.example"] {
        for (name, builder) in each(plain) {
            assert_eq!(builder.build().err(), Some(BuildError::NotTls(name)), "{plain}");
        }
    }
    for other in ["https://127.0.0.1:50051", "unix:/run/grantmint/api.sock"] {
        for (name, builder) in each(other) {
            assert!(builder.build().is_ok(), "{other} {name}");
        }
    }
}

#[tokio::test]
async fn unreachable_server_fails_at_the_deadline() {
    let port = reserved_port();
    let address = port.local_addr().expect("an address").to_string();
    let client = Client::builder(&address).deadline(Duration::from_secs(1)).build();
    let (client, options) = (client.expect("a client"), options());
    let error = soon(client.mint("alice", &options)).await.expect_err("no server");
    assert!(error.is_retryable() || error.code() == Code::DeadlineExceeded, "{error:?}");
}

//! Certificates, authorities and callers that change without a restart.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use grantmint::{
    provider::twilio_live::DEMO_API_KEY_SECRET,
    rpc::proto::token_service_client::TokenServiceClient,
};
use tonic::Code;

use super::{
    Client, channel, counted,
    pki::{CALLER_ID, Entity, Pki, ca, dns, uris},
};
use crate::support::{Configured, Serve, mint, reason, series, soon, until};

const CALLERS: &str = "[callers.api]\nmatch = [\"spiffe://prod.example.org/ns/media/*\"]\n\
                       allow = [{ profiles = [\"demo\"] }]\n";

/// A server and the files that it reloads.
struct Fixture {
    pki: Pki,
    configured: Configured,
    serve: Serve,
}

impl Fixture {
    async fn new(more: &str) -> Self {
        let pki = Pki::new();
        let configured = Configured::with_secret(&pki.section(more), "", DEMO_API_KEY_SECRET);
        let serve = Serve::configured(&configured, &[]).await;
        Self { pki, configured, serve }
    }

    /// A caller with this certificate of the authority of `prod.example.org`.
    async fn caller(&self) -> TokenServiceClient<tonic::transport::Channel> {
        let entity = self.pki.prod.issue(uris(&[CALLER_ID]));
        let pair = self.pki.write_pair("caller", &[&entity]);
        TokenServiceClient::new(channel(&self.pki, &self.serve, pair).await)
    }

    fn reload(&self) {
        self.serve.signal("HUP");
    }

    async fn reloads(&self, what: &str) -> u64 {
        let label = format!("what=\"{what}\",result=\"ok\"");
        counted(&self.serve, "grantmint_reloads_total", &label).await
    }

    async fn is_failing(&self, what: &str) -> bool {
        let label = format!("what=\"{what}\"");
        let page = self.serve.page("/metrics").await.1;
        page.contains(&format!("grantmint_reload_failing{{{label}}} 1"))
    }

    /// Changes the configuration file.
    fn rewrite(&self, change: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(&self.configured.file).expect("text");
        fs::write(&self.configured.file, change(text)).expect("written");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotating_20_certificates_fails_no_connection() {
    let fixture = Arc::new(Fixture::new("").await);
    soon(fixture.caller().await.mint_token(mint("v", None))).await.expect("a token");
    let done = Arc::new(AtomicBool::new(false));
    let minted = Arc::new(AtomicUsize::new(0));
    let load = tokio::spawn({
        let (fixture, done, minted) =
            (Arc::clone(&fixture), Arc::clone(&done), Arc::clone(&minted));
        async move {
            while !done.load(Ordering::Relaxed) {
                // Its own connection.
                let mut tokens = fixture.caller().await;
                soon(tokens.mint_token(mint("v", None))).await.expect("a token");
                minted.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    for swap in 1..=20 {
        // The two files are not written at the same instant.
        fixture.pki.renew_server(dns(&["localhost", &format!("mint-{swap}.svc")]));
        fixture.reload();
        until("the change is applied", async || fixture.reloads("certificate").await >= swap).await;
        let before = minted.load(Ordering::Relaxed);
        until("two more calls", async || minted.load(Ordering::Relaxed) > before + 1).await;
    }
    done.store(true, Ordering::Relaxed);
    soon(load).await.expect("no call fails");
    assert!(!fixture.is_failing("certificate").await);

    // A mismatch is reported, and the previous certificate is still served.
    let stranger = Entity::self_signed(dns(&["localhost"]));
    let key = fixture.pki.write_pair("stranger", &[&stranger]).1;
    fs::copy(key, fixture.pki.path("server.key")).expect("copied");
    until("it is reported", async || fixture.is_failing("certificate").await).await;
    soon(fixture.caller().await.mint_token(mint("v", None))).await.expect("a token");
}

#[tokio::test]
async fn untrusted_clients_are_disconnected_others_stay() {
    let fixture = Fixture::new("").await;
    let id = |entity: &Entity| Client::with(&fixture.pki, &[entity]);
    let (prod, dev) = (
        fixture.pki.prod.issue(uris(&[CALLER_ID])),
        fixture.pki.dev.issue(uris(&["spiffe://dev.example.org/a"])),
    );
    let mut of_prod = id(&prod).try_connect(&fixture.serve).await.expect("trusted");
    let mut tokens = fixture.caller().await;
    let bulk = soon(tokens.mint_tokens(series(0, 1_000_000))).await.expect("a bulk");
    let mut bulk = bulk.into_inner();
    soon(bulk.message()).await.expect("a chunk");
    let pair = fixture.pki.write_pair("dev", &[&dev]);
    let mut stays = TokenServiceClient::new(channel(&fixture.pki, &fixture.serve, pair).await);

    // Not a bundle: nothing changes.
    fs::write(fixture.pki.path("prod.pem"), "garbage").expect("written");
    fixture.reload();
    until("it is reported", async || fixture.is_failing("authorities").await).await;
    id(&prod).try_connect(&fixture.serve).await.expect("still trusted");

    let other = Entity::self_signed(ca("prod"));
    let bundle = super::pki::pem("CERTIFICATE", &other.certificate);
    fs::write(fixture.pki.path("prod.pem"), bundle).expect("written");
    fixture.reload();
    until("the change is applied", async || fixture.reloads("authorities").await == 1).await;
    assert_eq!(id(&prod).try_connect(&fixture.serve).await.err().as_deref(), Some("UnknownCA"));
    id(&other.issue(uris(&[CALLER_ID]))).try_connect(&fixture.serve).await.expect("the next one");
    // Its streams end with a resume index, then its connection closes.
    let ended = loop {
        match soon(bulk.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended with OK"),
            Err(status) => break status,
        }
    };
    assert_eq!((ended.code(), &*reason(&ended)), (Code::Unavailable, "STREAM_LIFETIME_REACHED"));
    let mut rest = Vec::new();
    let end = tokio::io::AsyncReadExt::read_to_end(&mut of_prod, &mut rest);
    let _ = soon(end).await;
    soon(stays.mint_token(mint("v", None))).await.expect("another domain's");
}

#[tokio::test]
async fn callers_follow_reloaded_rows_and_errors_stay_local() {
    let fixture = Fixture::new(CALLERS).await;
    let mut tokens = fixture.caller().await;
    soon(tokens.mint_token(mint("v", None))).await.expect("a token");
    let mut bulk =
        soon(tokens.mint_tokens(series(0, 1_000_000))).await.expect("a bulk").into_inner();
    soon(bulk.message()).await.expect("a chunk");

    // A row with a typo, and a valid certificate.
    fixture.rewrite(|text| text.replace("profiles = [\"demo\"]", "profile = [\"demo\"]"));
    fixture.pki.renew_server(dns(&["localhost", "next.svc"]));
    fixture.reload();
    until("it is reported", async || fixture.is_failing("callers").await).await;
    until("the certificate is reloaded", async || fixture.reloads("certificate").await == 1).await;
    soon(tokens.mint_token(mint("v", None))).await.expect("a token");

    let narrow = "profiles = [\"demo\"], identities = [\"v\"]";
    fixture.rewrite(|text| text.replace("profile = [\"demo\"]", narrow));
    fixture.reload();
    until("the change is applied", async || fixture.reloads("callers").await == 1).await;
    soon(tokens.mint_token(mint("v", None))).await.expect("a token");
    let refused = soon(tokens.mint_token(mint("w", None))).await.expect_err("not allowed");
    assert_eq!(reason(&refused), "IDENTITY_NOT_ALLOWED");
    // A running call is checked again.
    let ended = loop {
        match soon(bulk.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended with OK"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::PermissionDenied);
    assert_eq!(reason(&ended), "IDENTITY_NOT_ALLOWED");

    // Opening the server needs a restart.
    fixture.rewrite(|text| {
        text[..text.find("[callers").expect("callers")].to_owned()
            + "[profiles"
            + text.split_once("[profiles").expect("profiles").1
    });
    fixture.reload();
    until("it is reported", async || fixture.is_failing("callers").await).await;
    let refused = soon(tokens.mint_token(mint("w", None))).await.expect_err("not allowed");
    assert_eq!(reason(&refused), "IDENTITY_NOT_ALLOWED");
    fixture.serve.signal("TERM");
    let (_, log) = soon(fixture.serve.ended()).await;
    assert!(log.contains("\"what\":\"callers\""), "{log}");
}

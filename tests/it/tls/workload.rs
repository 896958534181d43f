//! A certificate and bundles from the SPIFFE Workload API.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use base64::{Engine, prelude::BASE64_STANDARD};
use grantmint::{
    provider::twilio_live::DEMO_API_KEY_SECRET,
    rpc::proto::token_service_client::TokenServiceClient,
};
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use tonic::{Code, transport::Channel};

use super::{
    Client,
    agent::{Agent, Content, Svid, SvidResponse, ders},
    channel, counted,
    pki::{CALLER_ID, DAY, Entity, Pki, SERVER_ID, ca, dns, uris, valid},
};
use crate::{
    frames::connect,
    support::{Configured, Serve, mint, reason, run, series, soon, until},
};

/// A partner's trust domain.
const PARTNER: &str = "partner.example.net";

/// A workload's certificate that ordinary clients can verify too.
fn workload(authority: &Entity, id: &str) -> Entity {
    let mut params = uris(&[id]);
    params.subject_alt_names.extend([
        SanType::DnsName("localhost".try_into().expect("ASCII")),
        SanType::IpAddress([127, 0, 0, 1].into()),
    ]);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    authority.issue(params)
}

/// A server that gets its certificate from an agent.
struct Fixture {
    pki: Pki,
    agent: Agent,
    configured: Configured,
    serve: Serve,
}

impl Fixture {
    /// `lines` belong to `[server.tls]`.
    async fn new(content: impl FnOnce(&Pki) -> Content, lines: &str) -> Self {
        let pki = Pki::new();
        // Callers verify the server with the authority of its trust domain.
        fs::copy(pki.path("prod.pem"), pki.path("server-ca.pem")).expect("copied");
        let agent = Agent::new(content(&pki));
        let socket = agent.socket();
        let top = format!("[server.tls]\nworkload_api = \"unix:{}\"\n{lines}\n", socket.display());
        let configured = Configured::with_secret(&top, "", DEMO_API_KEY_SECRET);
        let serve = Serve::configured(&configured, &[]).await;
        Self { pki, agent, configured, serve }
    }

    /// A server that has its first SVID.
    async fn ready(content: impl FnOnce(&Pki) -> Content, lines: &str) -> Self {
        let fixture = Self::new(content, lines).await;
        fixture.wait_for_messages(1).await;
        fixture
    }

    /// Waits until this many messages of the agent have been applied.
    async fn wait_for_messages(&self, messages: u64) {
        until("the change is applied", async || self.messages().await >= messages).await;
    }

    async fn messages(&self) -> u64 {
        let label = "what=\"workload_api\",result=\"ok\"";
        counted(&self.serve, "grantmint_reloads_total", label).await
    }

    async fn line(&self) -> String {
        let (_, page) = self.serve.page("/readyz").await;
        let line = page.lines().find(|line| line.starts_with("workload_api: "));
        line.unwrap_or_else(|| panic!("no line: {page}")).to_owned()
    }

    async fn line_has(&self, words: &str) {
        until(words, async || self.line().await.contains(words)).await;
    }

    async fn is_failing(&self) -> bool {
        let (_, page) = self.serve.page("/metrics").await;
        page.contains("grantmint_reload_failing{what=\"workload_api\"} 1")
    }

    fn pair(&self, authority: &Entity, id: &str) -> (PathBuf, PathBuf) {
        self.pki.write_pair("caller", &[&authority.issue(uris(&[id]))])
    }

    /// A new connection of a caller of the server's own trust domain.
    async fn caller(&self) -> TokenServiceClient<Channel> {
        let pair = self.pair(&self.pki.prod, CALLER_ID);
        TokenServiceClient::new(channel(&self.pki, &self.serve, pair).await)
    }

    /// The alert for a client of this authority, or none if it is accepted.
    async fn refuses(&self, authority: &Entity, id: &str) -> Option<String> {
        let entity = authority.issue(uris(&[id]));
        Client::trusting(&self.pki.prod, &[&entity]).try_connect(&self.serve).await.err()
    }
}

/// The server's SVID, and the bundle of its trust domain.
fn own(pki: &Pki) -> Svid {
    Svid::new(SERVER_ID, &workload(&pki.prod, SERVER_ID), &[&pki.prod])
}

fn sends_own(pki: &Pki) -> Content {
    Content::Svids(own(pki).into())
}

#[tokio::test]
async fn replica_is_ready_with_its_first_svid() {
    let fixture = Fixture::new(|_| Content::Nothing, "").await;
    fixture.line_has("waiting for the first SVID").await;
    // It does not wait for the grant.
    until("a grant", async || fixture.serve.page("/readyz").await.1.contains(": live, ")).await;
    assert_eq!(fixture.serve.page("/readyz").await.0, 503);
    let stream = connect(fixture.serve.address()).await;
    let entity = fixture.pki.prod.issue(uris(&[CALLER_ID]));
    let client = Client::trusting(&fixture.pki.prod, &[&entity]);
    client.shake_hands(stream).await.expect_err("there is nothing to show");
    let label = "result=\"no_certificate\"";
    assert_eq!(counted(&fixture.serve, "grantmint_handshakes_total", label).await, 1);

    let svid = own(&fixture.pki);
    let key = svid.key.clone();
    fixture.agent.send(Content::Svids(svid.into()));
    until("it is ready", async || fixture.serve.page("/readyz").await.0 == 200).await;
    assert!(fixture.line().await.starts_with(&format!("workload_api: ok, {SERVER_ID}, 8")));
    soon(fixture.caller().await.mint_token(mint("v", None))).await.expect("a token");
    let (_, page) = fixture.serve.page("/metrics").await;
    for what in ["server", "trust_domain/prod.example.org"] {
        let end = format!("grantmint_certificate_end_timestamp_seconds{{what=\"{what}\"}}");
        assert!(page.contains(&end), "{what}: {page}");
    }

    fixture.serve.signal("TERM");
    let (_, log) = soon(fixture.serve.ended()).await;
    assert!(log.contains("SVID received from the Workload API"), "{log}");
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |hex, it| hex + &format!("{it:02x}"));
    // The end of the key file has the secret and the public part.
    let secret = &key[key.len() / 4..key.len() / 2];
    let escaped = secret.escape_ascii().to_string().replace('\\', "\\\\");
    for shown in [hex(secret), BASE64_STANDARD.encode(&key), format!("{secret:?}"), escaped] {
        assert!(!log.contains(&shown), "the key is in the log");
    }
}

#[tokio::test]
async fn unregistered_workload_waits_for_registration() {
    let fixture = Fixture::new(|_| Content::NoEntry, "").await;
    fixture.line_has("not registered: no identity issued").await;
    assert!(fixture.is_failing().await);
    fixture.agent.send(sends_own(&fixture.pki));
    until("it is ready", async || fixture.serve.page("/readyz").await.0 == 200).await;
    assert!(!fixture.is_failing().await);
    soon(fixture.caller().await.mint_token(mint("v", None))).await.expect("a token");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotating_ten_svids_under_load_fails_no_call() {
    let fixture = Arc::new(Fixture::ready(sends_own, "").await);
    let done = Arc::new(AtomicBool::new(false));
    let minted = Arc::new(AtomicUsize::new(0));
    let load = tokio::spawn({
        let (fixture, done, minted) =
            (Arc::clone(&fixture), Arc::clone(&done), Arc::clone(&minted));
        async move {
            let mut stays = fixture.caller().await;
            while !done.load(Ordering::Relaxed) {
                soon(stays.mint_token(mint("v", None))).await.expect("a token");
                let mut comes = fixture.caller().await;
                soon(comes.mint_token(mint("v", None))).await.expect("a token");
                minted.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    for rotation in 1..=10 {
        fixture.agent.send(sends_own(&fixture.pki));
        fixture.wait_for_messages(rotation + 1).await;
        let before = minted.load(Ordering::Relaxed);
        until("two more calls", async || minted.load(Ordering::Relaxed) > before + 1).await;
    }
    done.store(true, Ordering::Relaxed);
    soon(load).await.expect("no call fails");
    assert!(!fixture.is_failing().await);
}

#[tokio::test]
async fn agent_restart_fails_no_call() {
    let mut fixture = Fixture::ready(sends_own, "").await;
    let mut stays = fixture.caller().await;
    soon(stays.mint_token(mint("v", None))).await.expect("a token");
    fixture.agent.stop();
    until("it is noticed", async || fixture.is_failing().await).await;
    let line = fixture.line().await;
    assert!(line.starts_with(&format!("workload_api: ok, {SERVER_ID}, ")), "{line}");
    assert_eq!(fixture.serve.page("/readyz").await.0, 200);
    soon(fixture.caller().await.mint_token(mint("v", None))).await.expect("a token");

    fixture.agent.start(sends_own(&fixture.pki));
    fixture.wait_for_messages(2).await;
    assert!(!fixture.is_failing().await);
    soon(stays.mint_token(mint("v", None))).await.expect("a token");
    soon(fixture.caller().await.mint_token(mint("v", None))).await.expect("a token");
}

#[tokio::test]
async fn svid_is_chosen_and_federation_must_be_configured() {
    let partner = Entity::self_signed(ca("partner"));
    let sent = |pki: &Pki| SvidResponse {
        svids: vec![Svid::new(CALLER_ID, &workload(&pki.prod, CALLER_ID), &[&pki.prod]), own(pki)],
        crl: vec![b"not used".to_vec()],
        federated_bundles: [
            (format!("spiffe://{PARTNER}"), ders(&[&partner])),
            ("spiffe://dev.example.org".to_owned(), ders(&[&pki.dev])),
        ]
        .into(),
    };
    let lines = format!(
        "spiffe_id = \"{SERVER_ID}\"\ntrust_domains = {{ \"{PARTNER}\" = \"workload-api\" }}"
    );
    let fixture = Fixture::ready(|pki| Content::Svids(sent(pki)), &lines).await;
    fixture.line_has(SERVER_ID).await;
    let of_partner = format!("spiffe://{PARTNER}/a");
    assert_eq!(fixture.refuses(&partner, &of_partner).await, None);
    assert_eq!(fixture.refuses(&fixture.pki.prod, CALLER_ID).await, None);
    let unknown = Some("UnknownCA".to_owned());
    // Its bundle is received, but the configuration does not name its domain.
    assert_eq!(fixture.refuses(&fixture.pki.dev, "spiffe://dev.example.org/a").await, unknown);
    // A bundle verifies only its own domain.
    assert_eq!(fixture.refuses(&partner, CALLER_ID).await, unknown);
    assert_eq!(fixture.refuses(&fixture.pki.prod, &of_partner).await, unknown);

    // The named domains are reloaded and applied to the bundles that the agent has sent.
    let text = fs::read_to_string(&fixture.configured.file).expect("text");
    let other = format!("\"dev.example.org\" = {:?}", fixture.pki.path("dev.pem"));
    let named = format!("\"{PARTNER}\" = \"workload-api\"");
    fs::write(&fixture.configured.file, text.replace(&named, &other)).expect("written");
    fixture.serve.signal("HUP");
    let label = "what=\"authorities\",result=\"ok\"";
    until("the change is applied", async || {
        counted(&fixture.serve, "grantmint_reloads_total", label).await == 1
    })
    .await;
    assert_eq!(fixture.refuses(&partner, &of_partner).await, unknown);
    assert_eq!(fixture.refuses(&fixture.pki.dev, "spiffe://dev.example.org/a").await, None);
    assert_eq!(fixture.refuses(&fixture.pki.prod, CALLER_ID).await, None);
}

#[tokio::test]
async fn bad_svid_keeps_the_previous_one() {
    let fixture = Fixture::ready(sends_own, "").await;
    let ended = valid(uris(&[SERVER_ID]), -2 * DAY, -DAY);
    let ended = Svid::new(SERVER_ID, &fixture.pki.prod.issue(ended), &[&fixture.pki.prod]);
    let (other, mut mixed) = (own(&fixture.pki), own(&fixture.pki));
    mixed.key.clone_from(&other.key);
    for (bad, expected) in [(ended, "has expired"), (mixed, "does not match the certificate")] {
        let before = fixture.messages().await;
        fixture.agent.send(Content::Svids(bad.into()));
        fixture.line_has(expected).await;
        assert!(fixture.is_failing().await);
        assert!(fixture.line().await.contains(&format!("ok, {SERVER_ID}, ")));
        soon(fixture.caller().await.mint_token(mint("v", None))).await.expect("a token");
        fixture.agent.send(sends_own(&fixture.pki));
        fixture.wait_for_messages(before + 1).await;
        assert!(!fixture.is_failing().await);
    }
}

#[tokio::test]
async fn clients_not_covered_by_the_next_bundle_are_closed() {
    let fixture = Fixture::ready(sends_own, "").await;
    let mut tokens = fixture.caller().await;
    let bulk = soon(tokens.mint_tokens(series(0, 1_000_000))).await.expect("a bulk");
    let mut bulk = bulk.into_inner();
    soon(bulk.message()).await.expect("a chunk");

    // Both authorities, as during a rotation: no connection is closed.
    let next = Entity::self_signed(ca("prod"));
    let mut both = own(&fixture.pki);
    both.bundle = ders(&[&fixture.pki.prod, &next]);
    fixture.agent.send(Content::Svids(both.into()));
    fixture.wait_for_messages(2).await;
    soon(tokens.mint_token(mint("v", None))).await.expect("a token");
    assert_eq!(fixture.refuses(&next, CALLER_ID).await, None);

    let mut last = own(&fixture.pki);
    last.bundle = ders(&[&next]);
    fixture.agent.send(Content::Svids(last.into()));
    fixture.wait_for_messages(3).await;
    assert_eq!(fixture.refuses(&fixture.pki.prod, CALLER_ID).await.as_deref(), Some("UnknownCA"));
    assert_eq!(fixture.refuses(&next, CALLER_ID).await, None);
    let ended = loop {
        match soon(bulk.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended with OK"),
            Err(status) => break status,
        }
    };
    assert_eq!((ended.code(), &*reason(&ended)), (Code::Unavailable, "STREAM_LIFETIME_REACHED"));
}

#[tokio::test]
async fn check_reports_what_it_cannot_verify() {
    let pki = Pki::new();
    let lines = format!(
        "[server.tls]\nworkload_api = \"unix:///nowhere/agent.sock\"\n\
                         spiffe_id = \"{SERVER_ID}\"\n\
                         trust_domains = {{ \"{PARTNER}\" = \"workload-api\" }}\n"
    );
    let configured = Configured::with_secret(&lines, "", DEMO_API_KEY_SECRET);
    let shown = run(&["check", configured.path(), "--verbose"]).await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    for reported in [
        "workload_api = \"unix:/nowhere/agent.sock\"\n",
        &format!("spiffe_id = \"{SERVER_ID}\"\n"),
        &format!("trust_domains = {{\"{PARTNER}\":\"workload-api\"}}\n"),
        "come from the Workload API, which check does not call\n",
    ] {
        assert!(shown.stdout.contains(reported), "{reported}: {}", shown.stdout);
    }
    let (cert, key) = pki.write_pair("other", &[&pki.prod.issue(dns(&["localhost"]))]);
    let both = format!("{lines}cert = {cert:?}\nkey = {key:?}\n");
    let both = Configured::with_secret(&both, "", DEMO_API_KEY_SECRET);
    let refused = run(&["check", both.path()]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("server.tls.cert: cannot be combined"), "{}", refused.stderr);
}

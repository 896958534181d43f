//! Accepted clients, and how long they stay connected.

use grantmint::rpc::proto::{
    MintOptions, WatchGrantsRequest, grant_service_client::GrantServiceClient,
    token_service_client::TokenServiceClient,
};
use rcgen::{PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256};
use rustls::{HandshakeKind, ProtocolVersion};
use tokio::{
    task::JoinSet,
    time::{Duration, Instant},
};
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

use super::{
    Client, channel, connected,
    pki::{CALLER_ID, DAY, Pki, ca, dns, uris, valid},
    version,
};
use crate::support::{found, mint, reason, soon, until};

#[tokio::test]
async fn every_valid_certificate_is_accepted() {
    let pki = Pki::new();
    let serve = pki.serve("").await;
    let between = pki.dns_ca.issue(ca("Intermediate"));
    let below = between.issue(dns(&["api.media.svc"]));
    let mut both = uris(&[CALLER_ID]);
    both.subject_alt_names.extend(dns(&["api.media.svc"]).subject_alt_names);
    let single = [
        ("a SPIFFE ID", pki.prod.issue(uris(&[CALLER_ID]))),
        ("another domain's", pki.dev.issue(uris(&["spiffe://dev.example.org/a"]))),
        ("a SPIFFE ID and a DNS name", pki.prod.issue(both)),
        ("a DNS name", pki.dns_ca.issue(dns(&["api.media.svc"]))),
        ("two DNS names", pki.dns_ca.issue(dns(&["a.media.svc", "b.media.svc"]))),
        ("a wildcard and a name", pki.dns_ca.issue(dns(&["*.media.svc", "a.media.svc"]))),
        ("an authority without a list", pki.listless_ca.issue(dns(&["api.media.svc"]))),
        ("RSA", pki.dns_ca.issue_for(dns(&["rsa.svc"]), &PKCS_RSA_SHA256)),
        ("P-384", pki.prod.issue_for(uris(&[CALLER_ID]), &PKCS_ECDSA_P384_SHA384)),
    ];
    for (what, entity) in &single {
        let met = Client::with(&pki, &[entity]).try_connect(&serve).await;
        assert!(met.is_ok(), "{what}: {met:?}");
    }
    let met = Client::with(&pki, &[&below, &between]).try_connect(&serve).await;
    assert!(met.is_ok(), "an intermediate: {met:?}");
}

#[tokio::test]
async fn no_session_is_resumed() {
    let pki = Pki::new();
    let serve = pki.serve("min_version = \"1.2\"").await;
    let good = pki.dns_ca.issue(dns(&["api.media.svc"]));
    for offered in [&rustls::version::TLS13, &rustls::version::TLS12] {
        // The client stores everything needed to resume, and offers it the next time.
        let client = Client::with_versions(&pki, &[&good], &[offered]);
        for _ in 0..3 {
            let stream = client.try_connect(&serve).await.expect("accepted");
            let kind = stream.get_ref().1.handshake_kind();
            assert!(
                matches!(
                    kind,
                    Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
                ),
                "{kind:?}"
            );
            assert_eq!(version(&stream), Some(offered.version));
        }
    }
    let newest = Client::with_versions(&pki, &[&good], rustls::ALL_VERSIONS);
    let stream = newest.try_connect(&serve).await.expect("accepted");
    assert_eq!(version(&stream), Some(ProtocolVersion::TLSv1_3));
}

#[tokio::test]
async fn client_without_certificate_connects_if_optional() {
    let pki = Pki::new();
    let serve = pki.serve("client_auth = \"optional\"").await;
    assert!(Client::with(&pki, &[]).try_connect(&serve).await.is_ok());
    let ended = pki.dns_ca.issue(valid(dns(&["a.svc"]), -2 * DAY, -DAY));
    assert!(
        Client::with(&pki, &[&ended]).try_connect(&serve).await.is_err(),
        "an invalid certificate counts as none"
    );
}

#[tokio::test]
async fn client_without_certificate_may_call_nothing() {
    let pki = Pki::new();
    let entry =
        format!("[callers.api]\nmatch = [{CALLER_ID:?}]\nallow = [{{ profiles = [\"demo\"] }}]\n");
    for server in ["", "[server]\nauthorize = \"observe\"\n"] {
        let serve = pki.serve(&format!("client_auth = \"optional\"\n{server}{entry}")).await;
        let channel = connected(&pki, &serve, None).await;
        let mut tokens = TokenServiceClient::new(channel.clone());
        let refused = soon(tokens.mint_token(mint("alice", None))).await.expect_err("nobody");
        assert_eq!(refused.code(), Code::Unauthenticated);
        let info = refused.get_details_error_info().expect("a reason");
        assert_eq!(info.reason, "CALLER_UNAUTHENTICATED");
        let mut health = HealthClient::new(channel);
        for (service, reported) in [("", true), ("profiles/demo", false)] {
            let request = HealthCheckRequest { service: service.to_owned() };
            assert_eq!(soon(health.check(request)).await.is_ok(), reported, "{server}{service}");
        }
    }
}

/// A token without waiting, or an error.
async fn mint_now(tokens: &mut TokenServiceClient<Channel>) -> Result<(), Status> {
    let max_wait = Some(prost_types::Duration::default());
    let options = MintOptions { max_wait, ..MintOptions::default() };
    soon(tokens.mint_token(mint("alice", Some(options)))).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entry_over_its_quota_leaves_others_theirs() {
    const HELD: usize = 100;
    const CONNECTIONS: usize = 10;

    let pki = Pki::new();
    let entry = |name: &str, caller: &str| {
        format!(
            "[callers.{name}]\nmatch = [{caller:?}]\ntokens = {{ rate = 1, burst = {HELD} }}\n\
             allow = [{{ profiles = [\"demo\"] }}]\n"
        )
    };
    let other = "spiffe://prod.example.org/ns/media/sa/web";
    let serve = pki.serve(&(entry("api", CALLER_ID) + &entry("web", other))).await;
    found("a grant", async || serve.page("/readyz").await.1.contains("live").then_some(())).await;
    let of = async |id: &str| {
        let leaf = pki.prod.issue(uris(&[id]));
        TokenServiceClient::new(channel(&pki, &serve, pki.write_pair("client", &[&leaf])).await)
    };
    let began = Instant::now();
    let mut greedy = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let mut api = of(CALLER_ID).await;
        greedy.spawn(async move {
            let mut minted = 0;
            for _ in 0..HELD {
                match mint_now(&mut api).await {
                    Ok(()) => minted += 1,
                    Err(status) => assert_eq!(reason(&status), "CALLER_QUOTA_EXCEEDED"),
                }
            }
            minted
        });
    }
    let mut web = of(other).await;
    for _ in 0..HELD {
        mint_now(&mut web).await.expect("within its own quota");
    }
    let minted = greedy.join_all().await.into_iter().sum::<usize>();
    let came = usize::try_from(began.elapsed().as_secs()).expect("in range") + 1;
    assert!((HELD..=HELD + came).contains(&minted), "{minted} of {HELD} and {came}");
}

#[tokio::test]
async fn a_connection_ends_with_its_certificate() {
    const LIFE: u64 = 3;

    let pki = Pki::new();
    let serve = pki.serve("").await;
    let began = Instant::now();
    // The earliest expiry in the chain counts.
    let between = pki.prod.issue(valid(ca("Intermediate"), -DAY, i64::try_from(LIFE).unwrap()));
    let lasting = between.issue(uris(&[CALLER_ID]));
    let channel = channel(&pki, &serve, pki.write_pair("chain", &[&lasting, &between])).await;
    let mut client = GrantServiceClient::new(channel);
    let watch = soon(client.watch_grants(WatchGrantsRequest::default())).await.expect("accepted");
    let mut watch = watch.into_inner();
    // The client keeps its connection open until the server closes it.
    while soon(watch.message()).await.is_ok_and(|message| message.is_some()) {}
    let lasted = began.elapsed();
    let (least, most) = (Duration::from_secs(LIFE - 1), Duration::from_secs(LIFE + 10));
    assert!((least..most).contains(&lasted), "{lasted:?}");

    serve.signal("INT");
    let log = serve.ended().await.1;
    assert_eq!(log.matches("closing connection: the client's certificate has expired").count(), 1);
}

#[tokio::test]
async fn certificate_expiry_is_exported_and_warned_about() {
    let pki = Pki::new();
    let serve = pki.serve("").await;
    let all = [
        "server",
        "client_ca",
        "crl",
        "trust_domain/prod.example.org",
        "trust_domain/dev.example.org",
    ];
    until("the metrics exist", async || {
        let (_, page) = serve.page("/metrics").await;
        all.iter().all(|what| {
            ["start", "end"].iter().all(|edge| {
                let line =
                    format!("grantmint_certificate_{edge}_timestamp_seconds{{what=\"{what}\"}} ");
                page.contains(&line)
            })
        })
    })
    .await;
    serve.signal("INT");
    let log = serve.ended().await.1;
    assert!(!log.contains("of its life left"), "a warning although half of its life is left");
    pki.renew_server(valid(dns(&["localhost"]), -900, 100));
    let serve = pki.serve("").await;
    until("it is reported", async || serve.page("/metrics").await.1.contains("what=\"server\""))
        .await;
    serve.signal("INT");
    let log = serve.ended().await.1;
    let line = log.lines().find(|it| it.contains("certificate has a tenth of its lifetime left"));
    assert!(line.is_some_and(|it| it.contains("\"what\":\"server\"") && it.contains("ERROR")));
}

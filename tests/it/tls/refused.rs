//! Certificates with one defect each.

use std::collections::BTreeMap;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType};
use serde_json::Value;

use super::{
    Client, counted,
    pki::{CALLER_ID, DAY, Entity, Pki, REVOKED, ca, dns, raw_names, unnamed, uris, valid},
};
use crate::support::until;

/// The defect, the chain, the cause, and the alert.
type Case = (&'static str, Vec<Entity>, &'static str, &'static str);

fn of_a_server(mut params: CertificateParams) -> CertificateParams {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn revoked(mut params: CertificateParams) -> CertificateParams {
    params.serial_number = Some(REVOKED.into());
    params
}

fn with(mut params: CertificateParams, name: SanType) -> CertificateParams {
    params.subject_alt_names.push(name);
    params
}

fn an_authority(mut params: CertificateParams) -> CertificateParams {
    params.is_ca = ca("leaf").is_ca;
    params
}

fn cases(pki: &Pki) -> Vec<Case> {
    let Pki { dns_ca, prod, dev, .. } = pki;
    let api = || dns(&["api.media.svc"]);
    let id = || uris(&[CALLER_ID]);
    let namesake = Entity::self_signed(ca("DNS CA"));
    let (between, over) =
        (dns_ca.issue(ca("Intermediate")), dns_ca.issue(valid(ca("Ended"), -2 * DAY, -DAY)));
    // Two DNS names, the second one not ASCII.
    let unreadable = b"\x30\x09\x82\x03api\x82\x02\xc3\xa4";
    vec![
        ("expired", vec![dns_ca.issue(valid(api(), -2 * DAY, -DAY))], "expired", "Expired"),
        ("of a SPIFFE ID, expired", vec![prod.issue(valid(id(), -9, -5))], "expired", "Expired"),
        ("below an expired authority", vec![over.issue(api()), over], "expired", "Expired"),
        ("of tomorrow", vec![dns_ca.issue(valid(api(), DAY, 2 * DAY))], "not_yet_valid", "Expired"),
        ("revoked", vec![dns_ca.issue(revoked(api()))], "revoked", "Revoked"),
        ("for servers", vec![dns_ca.issue(of_a_server(api()))], "wrong_usage", "Bad"),
        ("for servers, SPIFFE", vec![prod.issue(of_a_server(id()))], "wrong_usage", "Bad"),
        ("an authority's", vec![dns_ca.issue(an_authority(api()))], "wrong_usage", "Bad"),
        ("self-signed", vec![Entity::self_signed(api())], "unknown_ca", "UnknownCA"),
        ("of a namesake", vec![namesake.issue(api())], "unknown_ca", "UnknownCA"),
        ("of an unknown intermediate", vec![between.issue(api())], "unknown_ca", "UnknownCA"),
        ("of another domain's authority", vec![dev.issue(id())], "unknown_ca", "UnknownCA"),
        ("of the DNS names' authority", vec![dns_ca.issue(id())], "unknown_ca", "UnknownCA"),
        ("of a domain's authority", vec![prod.issue(api())], "unknown_ca", "UnknownCA"),
        (
            "of an unknown domain",
            vec![prod.issue(uris(&["spiffe://elsewhere.example.org/a"]))],
            "unknown_ca",
            "UnknownCA",
        ),
        ("with a common name alone", vec![dns_ca.issue(unnamed("api"))], "no_name", "Bad"),
        (
            "with no name in its names",
            vec![dns_ca.issue(raw_names(unnamed("a"), b"\x30\0"))],
            "no_name",
            "Bad",
        ),
        ("with a wildcard", vec![dns_ca.issue(dns(&["*.media.svc"]))], "no_name", "Bad"),
        (
            "with an address",
            vec![dns_ca.issue(with(unnamed("a"), SanType::IpAddress([127, 0, 0, 1].into())))],
            "no_name",
            "Bad",
        ),
        (
            "with a mailbox",
            vec![dns_ca.issue(with(
                unnamed("a"),
                SanType::Rfc822Name("a@b.example".try_into().expect("ASCII")),
            ))],
            "no_name",
            "Bad",
        ),
        (
            "with a web page",
            vec![prod.issue(uris(&["https://prod.example.org/a"]))],
            "no_name",
            "Bad",
        ),
        (
            "with a domain in capitals",
            vec![prod.issue(uris(&["spiffe://Prod.example.org/a"]))],
            "no_name",
            "Bad",
        ),
        ("with no path", vec![prod.issue(uris(&["spiffe://prod.example.org"]))], "no_name", "Bad"),
        (
            "with a path that contains ..",
            vec![prod.issue(uris(&["spiffe://prod.example.org/a/../b"]))],
            "no_name",
            "Bad",
        ),
        (
            "with two SPIFFE IDs",
            vec![prod.issue(uris(&[CALLER_ID, "spiffe://prod.example.org/b"]))],
            "several_names",
            "Bad",
        ),
        (
            "with a SPIFFE ID and a page",
            vec![prod.issue(uris(&[CALLER_ID, "https://a.example"]))],
            "several_names",
            "Bad",
        ),
        (
            "with a name that is not UTF-8",
            vec![dns_ca.issue(raw_names(unnamed("a"), unreadable))],
            "malformed",
            "Bad",
        ),
        (
            "with its names twice",
            vec![dns_ca.issue(raw_names(api(), b"\x30\x05\x82\x03api"))],
            "malformed",
            "Bad",
        ),
        ("of garbage", vec![dns_ca.issue(api()).garbled()], "malformed", "Bad"),
        ("none", vec![], "no_credential", "CertificateRequired"),
    ]
}

#[tokio::test]
async fn each_bad_certificate_is_refused_with_its_cause_and_its_alert() {
    let pki = Pki::new();
    let serve = pki.serve("").await;
    let mut causes: BTreeMap<&str, u64> = BTreeMap::new();
    for (what, chain, cause, alert) in cases(&pki) {
        let client = Client::with(&pki, &chain.iter().collect::<Vec<_>>());
        let reported = client.try_connect(&serve).await.err();
        let reported = reported.unwrap_or_else(|| panic!("a certificate {what} is accepted"));
        assert!(reported.contains(alert), "{what}: {reported}");
        *causes.entry(cause).or_default() += 1;
        let label = format!("cause=\"{cause}\"");
        until(what, async || {
            let metric = "grantmint_authentication_failures_total";
            counted(&serve, metric, &label).await == causes[cause]
        })
        .await;
    }
    let all = causes.values().sum::<u64>();
    assert!(all >= 20);
    until("all are counted", async || {
        counted(&serve, "grantmint_handshakes_total", "result=\"refused\"").await == all
    })
    .await;

    serve.signal("INT");
    let log = serve.ended().await.1;
    let lines: Vec<Value> =
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let warned = lines.iter().filter(|it| it["message"] == "client authentication failed");
    let warned: BTreeMap<_, _> =
        warned.map(|it| (it["cause"].as_str(), it["name"].as_str())).collect();
    for (cause, name) in [
        ("expired", "dns:api.media.svc"),
        ("unknown_ca", "dns:api.media.svc"),
        ("several_names", CALLER_ID),
        ("no_name", "CN=api"),
        ("no_credential", ""),
        ("malformed", "CN=a"),
    ] {
        assert_eq!(warned.get(&Some(cause)), Some(&Some(name)), "{cause}");
    }
    let is_warning = |it: &&Value| it["message"] == "client authentication failed";
    let count = lines.iter().filter(is_warning).count();
    assert_eq!(count, causes.len(), "expected one line a minute by address and cause");
}

#[tokio::test]
async fn what_is_not_http2_over_tls_1_3_is_refused() {
    let pki = Pki::new();
    let serve = pki.serve("").await;
    let good = pki.dns_ca.issue(dns(&["api.media.svc"]));

    let old = Client::with_versions(&pki, &[&good], &[&rustls::version::TLS12]);
    assert_eq!(old.try_connect(&serve).await.err().as_deref(), Some("ProtocolVersion"));
    let mut other = Client::with(&pki, &[&good]);
    other.config.alpn_protocols = vec![b"http/1.1".to_vec()];
    assert_eq!(other.try_connect(&serve).await.err().as_deref(), Some("NoApplicationProtocol"));
    let mut silent = Client::with(&pki, &[&good]);
    silent.config.alpn_protocols.clear();
    assert!(silent.try_connect(&serve).await.is_err());

    let results = ["failed", "no_http2", "ok"].map(|result| format!("result=\"{result}\""));
    for (label, expected) in results.iter().zip([2, 1, 0]) {
        until(label, async || {
            counted(&serve, "grantmint_handshakes_total", label).await == expected
        })
        .await;
    }
}

#[tokio::test]
async fn expired_crl_can_refuse_its_authority() {
    let pki = Pki::new();
    pki.write_expired_list();
    let good = || (pki.dns_ca.issue(dns(&["a.svc"])), pki.listless_ca.issue(dns(&["a.svc"])));
    let keeping = pki.serve("").await;
    let (listed, unlisted) = good();
    assert!(Client::with(&pki, &[&listed]).try_connect(&keeping).await.is_ok());
    let revoked = pki.dns_ca.issue(revoked(dns(&["a.svc"])));
    let reported = Client::with(&pki, &[&revoked]).try_connect(&keeping).await.err();
    assert_eq!(reported.as_deref(), Some("CertificateRevoked"));

    let refusing = pki.serve("client_crl_expired = \"refuse\"").await;
    let reported = Client::with(&pki, &[&listed]).try_connect(&refusing).await.err();
    assert_eq!(reported.as_deref(), Some("UnknownCA"));
    let label = "cause=\"revocation_unknown\"";
    until(label, async || {
        counted(&refusing, "grantmint_authentication_failures_total", label).await == 1
    })
    .await;
    assert!(Client::with(&pki, &[&unlisted]).try_connect(&refusing).await.is_ok());
    refusing.signal("INT");
    let log = refusing.ended().await.1;
    for line in ["revocation list is past its next update", "has no list from the authority"] {
        assert!(log.contains(line), "{line}");
    }
}

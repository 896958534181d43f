//! `grantmint doctor` with TLS: certificates, authorities and the Workload API.

use super::{
    agent::{Agent, Content, Svid},
    pki::{DAY, Entity, Pki, SERVER_ID, dns, uris, valid},
};
use crate::doctor::{FREE, Healthy, close, doctor};

async fn healthy(pki: &Pki) -> Healthy {
    close(&pki.path("server.key"));
    Healthy::with(&format!("{FREE}{}", pki.section(""))).await
}

#[tokio::test]
async fn certificates_have_names_chain_and_expiry() {
    let pki = Pki::new();
    pki.write_pair("server", &[&pki.server_ca.issue(valid(dns(&["mint.example"]), -DAY, 9 * DAY))]);
    let healthy = healthy(&pki).await;
    let report = doctor(healthy.path(), &[]).await;
    report.expect(("tls", "certificate"), "ok", "matches its key; for mint.example", "");
    report.expect(("tls", "chain"), "ok", "issued by CN=Server CA", "");
    report.expect(("tls", "server"), "ok", "expires in 8days 23h", "");
    report.expect(("tls", "crl"), "ok", "expires in", "");
    report.expect(("tls", "warning"), "warn", "client_crl has no list", "add the revocation list");

    let soon = pki.server_ca.issue(valid(dns(&["mint.example"]), -9 * DAY, DAY));
    pki.write_pair("server", &[&soon]);
    let report = doctor(healthy.path(), &[]).await;
    report.expect(("tls", "server"), "warn", "expires in 23h 59m", "renew it");

    pki.write_pair("server", &[&soon, &pki.dns_ca]);
    pki.write_expired_list();
    let report = doctor(healthy.path(), &[]).await;
    report.expect(("tls", "chain"), "warn", "certificate 1 was not issued", "certificate first");
    report.expect(("tls", "crl"), "warn", "past its next update", "fetch the current");
    assert_eq!(report.code, Some(0));
}

#[tokio::test]
async fn expired_or_mismatched_certificate_has_a_fix() {
    let pki = Pki::new();
    let healthy = healthy(&pki).await;
    let place = ("tls", "/grantmint.toml:");
    let (_, other_key) = pki.write_pair("other", &[&Entity::authority("other")]);
    std::fs::copy(other_key, pki.path("server.key")).expect("copied");
    let mismatched = doctor(healthy.path(), &[]).await;
    mismatched.expect(place, "fail", "does not match the certificate", "use the key");
    assert_eq!(mismatched.code, Some(1));
    pki.renew_server(valid(dns(&["localhost"]), -2 * DAY, -DAY));
    let expired = doctor(healthy.path(), &[]).await;
    expired.expect(place, "fail", "has expired", "renew the certificate");
    assert_eq!(expired.code, Some(1));
}

#[tokio::test]
async fn workload_api_must_send_an_svid() {
    let pki = Pki::new();
    let certificate = pki.prod.issue(uris(&[SERVER_ID]));
    let svid = Svid::new(SERVER_ID, &certificate, &[&pki.prod]);
    let agent = Agent::new(Content::Svids(svid.into()));
    let tables =
        format!("{FREE}[server.tls]\nworkload_api = \"unix:{}\"\n", agent.socket().display());
    let healthy = Healthy::with(&tables).await;
    let row = ("tls", "Workload API");
    doctor(healthy.path(), &[]).await.expect(row, "ok", SERVER_ID, "");
    agent.send(Content::NoEntry);
    let unregistered = doctor(healthy.path(), &[]).await;
    unregistered.expect(row, "fail", "not registered", "register this workload");
    assert_eq!(unregistered.code, Some(3));
}

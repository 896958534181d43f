//! `grantmint health`, which images without a shell use as their health check.

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    support::{CommandOutput, Configured, Serve, found, run, soon},
    tls::pki::{CALLER_ID, Pki, uris},
    unix::Socket,
};

const SECRET: &str = grantmint::provider::twilio_live::DEMO_API_KEY_SECRET;

async fn health(server: &str, more: &[&str]) -> CommandOutput {
    run(&[&["health", "--server", server], more].concat()).await
}

/// The exit code and what was printed.
fn outcome(ran: &CommandOutput) -> (Option<i32>, &str) {
    (ran.code, ran.stdout.trim_end())
}

async fn becomes_healthy(server: &str, more: &[&str]) {
    found("SERVING", async || {
        (outcome(&health(server, more).await) == (Some(0), "SERVING")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn health_follows_readiness_until_the_server_is_gone() {
    let config = Configured::with_secret("[server]\ndrain_delay = \"10m\"", "", SECRET);
    let serve = Serve::configured(&config, &["--fault", "hang"]).await;
    let early = health(&serve.server, &[]).await;
    assert_eq!(outcome(&early), (Some(3), "NOT_SERVING"), "{}", early.stderr);
    assert!(early.stderr.contains("/readyz"), "{}", early.stderr);

    serve.clear_faults().await;
    becomes_healthy(&serve.server, &[]).await;
    becomes_healthy(&serve.server, &["--service", "profiles/demo"]).await;
    let unknown = health(&serve.server, &["--service", "profiles/nobody"]).await;
    assert_eq!(outcome(&unknown), (Some(1), ""), "{}", unknown.stderr);
    let object = health(&serve.server, &["--json"]).await;
    let object: Value = serde_json::from_str(&object.stdout).expect("JSON");
    assert_eq!(object, json!({"service": "", "status": "SERVING"}));

    serve.signal("TERM");
    found("NOT_SERVING", async || {
        (outcome(&health(&serve.server, &[]).await) == (Some(3), "NOT_SERVING")).then_some(())
    })
    .await;
    let server = serve.server.clone();
    serve.signal("TERM");
    serve.ended().await;
    let gone = health(&server, &[]).await;
    assert_eq!(outcome(&gone), (Some(3), ""), "{}", gone.stderr);
}

#[tokio::test]
async fn health_speaks_tls_with_the_flags_of_the_other_commands() {
    let pki = Pki::new();
    let serve = pki.serve("").await;
    let (cert, key) = pki.write_pair("caller", &[&pki.prod.issue(uris(&[CALLER_ID]))]);
    let ca = pki.path("server-ca.pem");
    let text = |path: &std::path::Path| path.to_str().expect("text").to_owned();
    let (ca, cert, key) = (text(&ca), text(&cert), text(&key));
    let all = ["--ca", &ca, "--cert", &cert, "--key", &key, "--server-name", "localhost"];
    becomes_healthy(&serve.server, &all).await;

    let unproven = health(&serve.server, &all[..2]).await;
    assert_eq!(outcome(&unproven), (Some(1), ""), "{}", unproven.stderr);
    assert!(unproven.stderr.contains("certificate_required"), "{}", unproven.stderr);
}

#[tokio::test]
async fn health_by_a_unix_socket_needs_no_tls_and_no_entry() {
    let callers = "[callers.own]\nmatch = [\"uid:4242\"]\nallow = [{ profiles = [\"demo\"] }]\n";
    let socket = Socket::with("", callers);
    let _serve = socket.serve().await;
    becomes_healthy(&socket.url(), &[]).await;
}

#[tokio::test]
async fn health_gives_up_after_its_timeout() {
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = mute.local_addr().expect("an address").to_string();
    let ran = soon(health(&server, &["--timeout", "50ms"])).await;
    assert_eq!(outcome(&ran), (Some(3), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("no response within 50ms"), "{}", ran.stderr);
}

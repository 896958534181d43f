//! Each alert's expression fires and clears for a real cause. The delays (`for`) are removed and the
//! windows shortened, so that this takes seconds; `promtool test rules` covers the real times.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use grantmint::{
    provider::twilio_live::{DEMO_API_KEY_SECRET, DEMO_RESOURCE},
    rpc::proto::{MintOptions, RefreshGrantRequest},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet, time::interval};

use super::server::{Prometheus, tool};
use crate::{
    bearer::{call, cluster::Cluster, kubernetes, signer::Signers},
    binary::metrics::upstream_with_clock_skew,
    frames::{self, Conversation, connect},
    python::succeeds,
    support::{Configured, Serve, mint, reserved_port, series, soon, until},
    tls::{
        Client,
        pki::{DAY, Pki, dns, valid},
    },
};

const ALERTS: &str = include_str!("../../../deploy/prometheus/alerts.yaml");

/// Alerts that no cause within seconds makes fire: a replica that still responds while its refresh
/// is overdue, keys that are half an hour old, and a bug.
const ONLY_BY_PROMTOOL: [&str; 3] =
    ["GrantmintRefreshStuck", "GrantmintIssuerKeysStale", "GrantmintPanicked"];

/// The alert rules without `for`, and with windows of seconds.
pub(super) fn rules_without_delays() -> String {
    let lines = ALERTS.lines().filter(|line| !line.trim_start().starts_with("for: "));
    let rules = lines.collect::<Vec<_>>().join("\n");
    rules.replace("[10m]", "[20s]").replace("[5m]", "[10s]").replace("[2m]", "[10s]")
}

/// The names of the alerts that fire.
pub(super) async fn firing(prometheus: &Prometheus) -> Vec<String> {
    let data = prometheus.api("alerts", &[]).await;
    let alerts = data["alerts"].as_array().expect("a list").iter();
    let firing = alerts.filter(|alert| alert["state"] == "firing");
    let name = |alert: &Value| alert["labels"]["alertname"].as_str().expect("a name").to_owned();
    firing.map(name).collect::<BTreeSet<_>>().into_iter().collect()
}

/// A Prometheus that has scraped a server whose alerts are to fire.
struct Alerts(Prometheus);

impl Alerts {
    async fn of(serve: &Serve) -> Self {
        Self::at(&serve.admin).await
    }

    async fn at(admin: &str) -> Self {
        let prometheus = Prometheus::start(admin, &rules_without_delays()).await;
        // A counter increases only between two scrapes.
        prometheus.scraped(2).await;
        Self(prometheus)
    }

    async fn fires(&self, alert: &str) {
        until(&format!("{alert} fires"), async || self.is_firing(alert).await).await;
    }

    async fn clears(&self, alert: &str) {
        until(&format!("{alert} clears"), async || !self.is_firing(alert).await).await;
        // While a test restarts its server, a scrape may be refused.
        let is_refused = |line: &Value| line["err"].to_string().contains("connection refused");
        let mut warnings = self.0.warnings();
        warnings.retain(|line| !is_refused(line));
        assert_eq!(warnings, Vec::<Value>::new());
    }

    async fn is_firing(&self, alert: &str) -> bool {
        firing(&self.0).await.iter().any(|name| name == alert)
    }
}

/// Calls for tokens, five times a second, until dropped.
async fn calling(serve: &Serve) -> JoinSet<()> {
    let mut client = serve.tokens().await;
    let mut calls = JoinSet::new();
    calls.spawn(async move {
        let mut ticks = interval(Duration::from_millis(200));
        loop {
            ticks.tick().await;
            let at_once = Some(prost_types::Duration::default());
            let options = MintOptions { max_wait: at_once, ..<_>::default() };
            // Some fail, which is what is tested.
            let _ = client.mint_token(mint("caller", Some(options))).await;
        }
    });
    calls
}

#[test]
fn every_alert_fires_here_or_is_listed() {
    let source = include_str!("alerts.rs");
    let names = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    for name in names {
        let fires = ["fires", "clears"].map(|it| source.contains(&format!(".{it}(\"{name}\")")));
        assert_eq!(fires, [!ONLY_BY_PROMTOOL.contains(&name); 2], "{name}");
    }
}

#[tokio::test]
async fn promtool_tests_pass_for_the_real_times() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut promtool = tool("promtool");
    promtool.args(["test", "rules"]).arg(root.join("deploy/prometheus/alerts_test.yaml"));
    succeeds(&mut promtool).await;
    let tests = include_str!("../../../deploy/prometheus/alerts_test.yaml");
    for name in ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let evaluated = format!("alertname: {name}\n");
        let blocks = tests.split(&evaluated).skip(1);
        let fires = blocks.filter(|rest| rest.trim_start().starts_with("exp_alerts:"));
        assert!(fires.count() > 0, "{name} fires in no test");
    }
}

#[tokio::test]
async fn upstream_outage_fires_and_clears_the_grant_alerts() {
    let serve = Serve::sandboxed(&["--fault", "shorter-life=50s"]).await;
    serve.first_token().await;
    let alerts = Alerts::of(&serve).await;
    let calls = calling(&serve).await;
    serve.set_fault("status=503").await;
    alerts.fires("GrantmintGrantExpiring").await;
    alerts.fires("GrantmintGrantExpired").await;
    alerts.fires("GrantmintTokensUnserved").await;
    alerts.fires("GrantmintRefreshFailing").await;
    serve.clear_faults().await;
    alerts.clears("GrantmintGrantExpiring").await;
    alerts.clears("GrantmintGrantExpired").await;
    alerts.clears("GrantmintTokensUnserved").await;
    alerts.clears("GrantmintRefreshFailing").await;
    drop(calls);
}

/// A second resource of the demo's profile.
const OTHER: &str = "VJ00000000000000000000000000000001";

#[tokio::test]
async fn upstream_refusals_fire_and_clear_their_alerts() {
    let config = Configured::profile("");
    let text = fs::read_to_string(&config.file).expect("text");
    let one = format!("resources = [\"{DEMO_RESOURCE}\"]");
    let both = format!("resources = [\"{DEMO_RESOURCE}\", \"{OTHER}\"]");
    fs::write(&config.file, text.replace(&one, &both)).expect("written");
    let fault = format!("status=503,resource={OTHER}");
    let serve = Serve::configured(&config, &["--fault", &fault]).await;
    let alerts = Alerts::of(&serve).await;
    alerts.fires("GrantmintGrantMissing").await;
    serve.clear_faults().await;
    let calls = refreshing(&serve).await;
    alerts.clears("GrantmintGrantMissing").await;

    serve.set_fault("status=401").await;
    alerts.fires("GrantmintRefreshRejected").await;
    serve.clear_faults().await;
    alerts.clears("GrantmintRefreshRejected").await;

    serve.set_fault("status=429").await;
    alerts.fires("GrantmintThrottled").await;
    serve.clear_faults().await;
    alerts.clears("GrantmintThrottled").await;
    drop(calls);
}

/// Requests refreshes of both resources, twice a second, until dropped.
async fn refreshing(serve: &Serve) -> JoinSet<()> {
    let mut refreshes = JoinSet::new();
    for resource in [DEMO_RESOURCE, OTHER] {
        let mut client = serve.grants().await;
        let name = format!("profiles/demo/grants/{resource}");
        refreshes.spawn(async move {
            let mut ticks = interval(Duration::from_millis(500));
            loop {
                ticks.tick().await;
                // Refused in the first seconds after a success.
                let _ = client.refresh_grant(RefreshGrantRequest { name: name.clone() }).await;
            }
        });
    }
    refreshes
}

#[tokio::test]
async fn clock_skew_fires_and_clears_its_alert() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let upstream = format!("upstream = \"http://{}\"", listener.local_addr().expect("bound"));
    let ahead = Arc::new(AtomicU64::new(60));
    let upstreams = tokio::spawn(upstream_with_clock_skew(listener, Arc::clone(&ahead)));
    let config = Configured::profile(&upstream);
    let serve = Serve::start(&["--config", config.path()]).await;
    let alerts = Alerts::of(&serve).await;
    let calls = calling(&serve).await;
    alerts.fires("GrantmintClockSkew").await;
    ahead.store(0, Ordering::SeqCst);
    alerts.clears("GrantmintClockSkew").await;
    drop(calls);
    upstreams.abort();
}

const ENTRY: &str = "[callers.demo]\nmatch = [\"loopback\"]\n\
                     allow = [{ methods = [\"MintToken\"], profiles = [\"*\"] }]";

#[tokio::test]
async fn callers_fire_and_clear_their_alerts() {
    let config = Configured::with_secret(ENTRY, "", DEMO_API_KEY_SECRET);
    let serve = Serve::configured(&config, &[]).await;
    serve.first_token().await;
    let alerts = Alerts::of(&serve).await;
    let mut client = serve.tokens().await;
    let ttl = Some(prost_types::Duration { seconds: 4, nanos: 0 });
    let short = MintOptions { ttl, ..<_>::default() };
    soon(client.mint_token(mint("hasty", Some(short)))).await.expect("a token");
    for _ in 0..150 {
        assert!(soon(client.mint_tokens(series(0, 1))).await.is_err(), "not allowed");
    }
    alerts.fires("GrantmintValidityLow").await;
    alerts.fires("GrantmintCallerRefused").await;
    alerts.clears("GrantmintValidityLow").await;
    alerts.clears("GrantmintCallerRefused").await;
}

#[tokio::test]
async fn observe_mode_fires_its_alert_until_enforced() {
    let port = reserved_port();
    let admin = port.local_addr().expect("bound").to_string();
    let arguments = ["--admin-listen", &admin];
    let observed = format!("[server]\nauthorize = \"observe\"\n{ENTRY}");
    let config = Configured::with_secret(&observed, "", DEMO_API_KEY_SECRET);
    let serve = Serve::configured(&config, &arguments).await;
    let alerts = Alerts::of(&serve).await;
    alerts.fires("GrantmintPolicyNotEnforced").await;
    serve.signal("INT");
    serve.ended().await;
    let config = Configured::with_secret(ENTRY, "", DEMO_API_KEY_SECRET);
    let _enforcing = Serve::configured(&config, &arguments).await;
    until("it clears", async || !alerts.is_firing("GrantmintPolicyNotEnforced").await).await;
    alerts.0.scraped(3).await;
    alerts.clears("GrantmintPolicyNotEnforced").await;
}

#[tokio::test]
async fn certificates_and_files_fire_and_clear_their_alerts() {
    let hour = 3_600;
    let pki = Pki::new();
    pki.renew_server(valid(dns(&["localhost"]), -9 * hour, hour));
    let config = pki.configured("");
    let serve = Serve::configured(&config, &[]).await;
    let alerts = Alerts::of(&serve).await;
    alerts.fires("GrantmintCertificateExpiring").await;
    pki.renew_server(valid(dns(&["localhost"]), -hour, DAY));
    alerts.clears("GrantmintCertificateExpiring").await;

    let trusted = fs::read_to_string(pki.path("ca.pem")).expect("text");
    fs::write(pki.path("ca.pem"), "no certificate").expect("written");
    alerts.fires("GrantmintReloadFailing").await;
    fs::write(pki.path("ca.pem"), trusted).expect("written");
    alerts.clears("GrantmintReloadFailing").await;

    let stranger = Client::with(&pki, &[]);
    for _ in 0..15 {
        assert!(stranger.try_connect(&serve).await.is_err(), "it sent no certificate");
    }
    alerts.fires("GrantmintAuthenticationFailing").await;
    alerts.clears("GrantmintAuthenticationFailing").await;
}

#[tokio::test]
async fn full_disk_fires_and_clears_the_audit_alerts() {
    let dir = TempDir::new().expect("a directory");
    let file = dir.path().join("audit.jsonl");
    let audit = format!("[audit]\nfile = \"{}\"\nwhen_full = \"refuse\"", file.display());
    let config = Configured::with_secret(&audit, "", DEMO_API_KEY_SECRET);
    symlink("/dev/full", &file).expect("a link");
    let serve = Serve::configured(&config, &[]).await;
    let alerts = Alerts::of(&serve).await;
    let calls = calling(&serve).await;
    alerts.fires("GrantmintAuditFailing").await;
    alerts.fires("GrantmintAuditIncomplete").await;
    fs::remove_file(&file).expect("removed");
    alerts.clears("GrantmintAuditFailing").await;
    alerts.clears("GrantmintAuditIncomplete").await;
    drop(calls);
}

#[tokio::test]
async fn stalled_readers_fire_and_clear_their_alert() {
    let stall = Configured::with_secret("[limits]\nstall = \"1s\"", "", DEMO_API_KEY_SECRET);
    let serve = Serve::configured(&stall, &[]).await;
    serve.first_token().await;
    let alerts = Alerts::of(&serve).await;
    let mut reader = Conversation::over(connect(serve.address()).await, Some(0)).await;
    let bulk =
        |stream| frames::call(stream, "/grantmint.v1.TokenService/MintTokens", &series(0, 1_000));
    let calls: Vec<u8> = (0..20).flat_map(|number| bulk(2 * number + 1)).collect();
    assert!(reader.send(&calls).await);
    alerts.fires("GrantmintStreamsReset").await;
    alerts.clears("GrantmintStreamsReset").await;
}

#[tokio::test]
async fn issuer_without_keys_fires_and_clears_its_alert() {
    let signers = Signers::new("k");
    let cluster = Cluster::start(signers.jwks(), "own", 500).await;
    let (serve, _config) = kubernetes::serve(&cluster, "own", &[]).await;
    let alerts = Alerts::of(&serve).await;
    let channel = serve.channel().await;
    let refused = call(&channel, &signers.token(&json!({}))).await;
    assert!(refused.is_err(), "there are no keys");
    alerts.fires("GrantmintCallersUnverifiable").await;
    alerts.clears("GrantmintCallersUnverifiable").await;
}

//! `grantmint doctor`: healthy, and with one broken thing each.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use grantmint::{clock::Clock, provider::twilio_live::DEMO_API_KEY_SECRET, sandbox::Sandbox};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
};

use crate::{
    markers::Markers,
    support::{Configured, Serve, emulated, reserved_port, run},
    traces::collector::Collector,
};

/// Listen addresses that are always free.
pub(crate) const FREE: &str =
    "[admin]\nlisten = \"127.0.0.1:0\"\n[server]\nlisten = \"127.0.0.1:0\"\n";

/// The result of `doctor --json`.
pub(crate) struct Report {
    pub(crate) code: Option<i32>,
    rows: Vec<Value>,
    summary: Value,
}

impl Report {
    /// The row of this group and check.
    pub(crate) fn row(&self, group: &str, check: &str) -> &Value {
        let is_row = |row: &&Value| row["group"] == group && is_check(row, check);
        let found = self.rows.iter().find(is_row);
        found.unwrap_or_else(|| panic!("no {group}/{check}: {:#?}", self.rows))
    }

    /// Panics unless this row has this status, and contains these parts.
    pub(crate) fn expect(&self, row: (&str, &str), status: &str, detail: &str, fix: &str) {
        let row = self.row(row.0, row.1);
        let part = |name: &str| row[name].as_str().unwrap_or_default();
        let has = |name: &str, expected: &str| part(name).contains(expected);
        assert!(
            row["status"] == status && has("detail", detail) && has("fix", fix),
            "expected {status}, {detail}, {fix}: {row:#}"
        );
    }

    pub(crate) fn count(&self, status: &str) -> usize {
        self.rows.iter().filter(|row| row["status"] == status).count()
    }
}

fn is_check(row: &Value, check: &str) -> bool {
    row["check"].as_str().is_some_and(|it| it == check || it.contains(check) && check.contains('/'))
}

/// Runs `doctor` twice, as JSON and as a table, and verifies that both say the same.
pub(crate) async fn doctor(config: &Path, more: &[&str]) -> Report {
    let config = config.to_str().expect("UTF-8");
    let mut arguments = vec!["doctor", "--config", config];
    arguments.extend(more);
    let table = run(&arguments).await;
    arguments.push("--json");
    let output = run(&arguments).await;
    let mut secrets = Markers::of(&[DEMO_API_KEY_SECRET, SECRET, CREDENTIAL]);
    // A part of the secret in base64, as in a Basic credential.
    secrets.add("ZGVtby1zZWNyZXQtb2YtdGhlLXNhbmRib3gtb25seQ");
    for output in [&table, &output] {
        secrets.in_none_of("standard output", &output.stdout);
        secrets.in_none_of("standard error", &output.stderr);
    }
    let parse = |line: &str| serde_json::from_str::<Value>(line).expect(line);
    let rows: Vec<_> = output.stdout.lines().map(parse).collect();
    let last = output.stderr.lines().last().map(parse).expect("a summary");
    assert_eq!(table.code, output.code, "{}", table.stdout);
    for row in &rows {
        for part in ["group", "check", "status", "fix"] {
            let text = row[part].as_str().unwrap_or_default();
            assert!(table.stdout.contains(text), "{text}: {}", table.stdout);
        }
        let is_bad = matches!(row["status"].as_str(), Some("fail" | "warn"));
        assert_eq!(is_bad, row["fix"].is_string(), "{row}");
    }
    Report { code: output.code, rows, summary: last["summary"].clone() }
}

/// A healthy configuration of a sandbox's account.
pub(crate) struct Healthy {
    pub(crate) sandbox: Sandbox,
    pub(crate) configured: Configured,
}

impl Healthy {
    /// With these tables besides the profile.
    pub(crate) async fn with(tables: &str) -> Self {
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into();
        let sandbox = Sandbox::bind(any, emulated(), Clock::system()).await.expect("a sandbox");
        let upstream = sandbox.base_url().to_string();
        let upstream = format!("upstream = \"{}\"", upstream.trim_end_matches('/'));
        let configured = Configured::with_secret(tables, &upstream, DEMO_API_KEY_SECRET);
        close(&configured.dir.path().join("secret"));
        Self { sandbox, configured }
    }

    pub(crate) async fn new() -> Self {
        Self::with(FREE).await
    }

    pub(crate) fn path(&self) -> &Path {
        &self.configured.file
    }

    fn secret(&self) -> PathBuf {
        self.configured.dir.path().join("secret")
    }

    /// Replaces a part of the configuration.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path()).expect("text");
        assert!(text.contains(from), "{from}: {text}");
        fs::write(self.path(), text.replace(from, to)).expect("written");
    }
}

/// Only the owner can read the file.
pub(crate) fn close(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("changed");
}

const SECRET: &str = "planted-secret-19581e27de7ced00ff1ce50b2047e7a5";
const CREDENTIAL: &str = "planted-credential-4a44dc15364204a80fe80e9039455cc1";

/// An upstream that returns [`CREDENTIAL`], with a clock that is ahead by this many seconds.
async fn upstream(ahead: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).await;
            let now = u64::try_from(Clock::system().now().wall.unix_seconds()).expect("in range");
            let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now + ahead));
            let body = format!("{{\"token\":\"{CREDENTIAL}\",\"expires_in\":600}}");
            let answer = format!(
                "HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-length: {}\r\nconnection: close\r\n\
                 \r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

/// A forward profile of this upstream.
fn forwarding(dir: &TempDir, url: &str) -> PathBuf {
    let (secret, file) = (dir.path().join("key"), dir.path().join("grantmint.toml"));
    fs::write(&secret, SECRET).expect("written");
    close(&secret);
    let text = format!(
        "{FREE}[profiles.shared]\nkind = \"forward\"\nurl = \"{url}/token\"\n\
         headers = {{ authorization = \"Bearer {{secret}}\" }}\nsecret_file = \"{}\"\n\
         credential = \"/token\"\nlife = {{ seconds = \"/expires_in\" }}\nshareable = true\n",
        secret.display()
    );
    fs::write(&file, text).expect("written");
    file
}

fn grants(sandbox: &Sandbox) -> u64 {
    sandbox.counters().granted
}

#[tokio::test]
async fn healthy_configuration_has_no_warning() {
    let healthy = Healthy::new().await;
    let report = doctor(healthy.path(), &[]).await;
    assert_eq!((report.code, report.count("warn"), report.count("fail")), (Some(0), 0, 0));
    for (group, check, detail) in [
        ("configuration", "/grantmint.toml", "valid: one profile"),
        ("files", "/secret", "secret, not readable by others, mode 0600"),
        ("profile demo", "key", "strong enough for HS256"),
        ("profile demo", "route", "directly: plain http on this machine"),
        ("profile demo", "grant", "valid for 60s"),
        ("profile demo", "token", "signed and verified with HS256"),
        ("profile demo", "clock", "within 5 s"),
        ("listeners", "calls", "127.0.0.1:0 is free"),
        ("machine", "open files", "connections"),
    ] {
        report.expect((group, check), "ok", detail, "");
    }
    // One request of each of the two runs.
    assert_eq!((grants(&healthy.sandbox), &report.summary["grants_requested"]), (2, &1.into()));

    let offline = doctor(healthy.path(), &["--offline", "--profile", "demo"]).await;
    offline.expect(("profiles", "grants"), "skipped", "--offline", "");
    assert_eq!((offline.code, grants(&healthy.sandbox)), (Some(0), 2));
    let unknown = run(&["doctor", "--config", healthy.configured.path(), "--profile", "x"]).await;
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("unknown profile \"x\"; expected one of demo"));
}

#[tokio::test]
async fn collector_of_traces_is_tried() {
    let healthy = Healthy::new().await;
    let text = fs::read_to_string(healthy.path()).expect("text");
    let collector = Collector::start().await;
    let port = reserved_port();
    let nowhere = format!("http://{}", port.local_addr().expect("an address"));
    for (url, status, code) in [(&collector.url, "ok", Some(0)), (&nowhere, "fail", Some(3))] {
        let section = format!("[telemetry]\notlp_endpoint = \"{url}\"\n{text}");
        fs::write(healthy.path(), section).expect("written");
        let report = doctor(healthy.path(), &[]).await;
        report.expect(("traces", url), status, "spans", "");
        assert_eq!(report.code, code);
    }
    assert!(collector.spans().is_empty(), "doctor sends no span");
}

#[tokio::test]
async fn broken_secrets_and_files_have_fixes() {
    let healthy = Healthy::new().await;
    let problem = ("profile demo", "/grantmint.toml:");
    fs::write(healthy.secret(), "too-short").expect("written");
    let weak = doctor(healthy.path(), &[]).await;
    weak.expect(problem, "fail", "is shorter than 32 bytes", "openssl rand");
    weak.expect(("configuration", "other checks"), "skipped", "valid configuration", "");
    assert_eq!(weak.code, Some(1));

    fs::remove_file(healthy.secret()).expect("removed");
    let missing = doctor(healthy.path(), &[]).await;
    missing.expect(problem, "fail", "does not exist", "create the file");
    assert_eq!(missing.code, Some(1));

    fs::write(healthy.secret(), DEMO_API_KEY_SECRET).expect("written");
    fs::set_permissions(healthy.secret(), fs::Permissions::from_mode(0o644)).expect("changed");
    let readable = doctor(healthy.path(), &[]).await;
    readable.expect(problem, "warn", "readable by every user", "chmod o-r");
    assert_eq!((readable.code, readable.count("warn")), (Some(0), 1));

    fs::remove_file(healthy.path()).expect("removed");
    let nothing = doctor(healthy.path(), &[]).await;
    let whole = ("configuration", "/grantmint.toml");
    nothing.expect(whole, "fail", "No such file", "grantmint init KIND");
}

#[tokio::test]
async fn refused_key_and_unreachable_upstream_have_fixes() {
    let healthy = Healthy::new().await;
    let grant = ("profile demo", "grant");
    fs::write(healthy.secret(), SECRET).expect("written");
    let refused = doctor(healthy.path(), &[]).await;
    refused.expect(grant, "fail", "HTTP_STATUS_401 (credential)", "id and secret belong together");
    refused.expect(("profile demo", "token"), "skipped", "needs a grant", "");
    assert_eq!(refused.code, Some(1));

    let url = healthy.sandbox.base_url().to_string();
    let url = url.trim_end_matches('/');
    let closed = TcpSocket::new_v4().expect("a socket");
    closed.bind(([127, 0, 0, 1], 0).into()).expect("bound");
    let down = format!("http://{}", closed.local_addr().expect("bound"));
    healthy.edit(url, &down);
    let unreachable = doctor(healthy.path(), &[]).await;
    unreachable.expect(grant, "fail", "CONNECT_FAILED", "check the network");
    assert_eq!(unreachable.code, Some(3), "may be temporary");

    healthy.edit(&down, "https://media.grantmint.invalid");
    let nameless = doctor(healthy.path(), &[]).await;
    let name = ("profile demo", "name");
    nameless.expect(name, "fail", "media.grantmint.invalid has no address", "the resolver");
    nameless.expect(grant, "skipped", "no address", "");
    assert_eq!(nameless.code, Some(3));
}

#[tokio::test]
async fn clock_skew_is_a_warning() {
    let dir = TempDir::new().expect("a directory");
    let in_time = doctor(&forwarding(&dir, &upstream(0).await), &[]).await;
    in_time.expect(("profile shared", "clock"), "ok", "within 5 s", "");
    in_time.expect(("profile shared", "token"), "ok", "returned unchanged", "");
    assert_eq!(in_time.code, Some(0));
    let skewed = doctor(&forwarding(&dir, &upstream(3_600).await), &[]).await;
    skewed.expect(("profile shared", "clock"), "warn", "s ahead of this host's", "timedatectl");
    assert_eq!(skewed.code, Some(0));
}

#[tokio::test]
async fn unreachable_issuer_has_a_fix() {
    let url = upstream(0).await;
    let issuer = |url: &str| {
        format!(
            "{FREE}[issuers.okta]\nkind = \"jwt\"\nissuer = \"https://id.example.org\"\n\
             audience = \"grantmint\"\njwks_url = \"{url}/jwks\"\n"
        )
    };
    let healthy = Healthy::with(&issuer("http://127.0.0.1:9")).await;
    let keys = ("issuer okta", "keys");
    let closed = TcpSocket::new_v4().expect("a socket");
    closed.bind(([127, 0, 0, 1], 0).into()).expect("bound");
    let down = format!("http://{}", closed.local_addr().expect("bound"));
    healthy.edit("http://127.0.0.1:9", &down);
    let unreachable = doctor(healthy.path(), &[]).await;
    unreachable.expect(keys, "fail", "CONNECT_FAILED", "check the network");
    assert_eq!(unreachable.code, Some(3));

    healthy.edit(&down, &url);
    let other = doctor(healthy.path(), &[]).await;
    other.expect(keys, "fail", "the response", "the issuer's JWK set");
    assert_eq!(other.code, Some(1));
}

#[tokio::test]
async fn address_in_use_is_fine_only_for_a_grantmint() {
    let serve = Serve::sandboxed(&[]).await;
    let stranger = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let stranger = stranger.local_addr().map(|it| (stranger, it)).expect("bound");
    let of = |admin: &str, calls: &str| {
        format!("[admin]\nlisten = \"{admin}\"\n[server]\nlisten = \"{calls}\"\n")
    };
    let admin = serve.admin.trim_start_matches("http://").to_owned();
    let healthy = Healthy::with(&of(&admin, &serve.address().to_string())).await;
    let served = doctor(healthy.path(), &[]).await;
    served.expect(("listeners", "calls"), "ok", "served by a running grantmint", "");
    served.expect(("listeners", "admin"), "ok", "served by a running grantmint", "");
    assert_eq!(served.code, Some(0));

    healthy.edit(&serve.address().to_string(), &stranger.1.to_string());
    let taken = doctor(healthy.path(), &[]).await;
    taken.expect(("listeners", "calls"), "fail", "in use by another program", "ss -ltnp");
    assert_eq!(taken.code, Some(1));
}

#[tokio::test]
async fn audit_log_is_tried_without_creating_it() {
    let dir = TempDir::new().expect("a directory");
    let log = dir.path().join("audit.jsonl");
    let audit = format!("{FREE}[audit]\nfile = \"{}\"\n", log.display());
    let healthy = Healthy::with(&audit).await;
    let row = ("audit", "/audit.jsonl");
    doctor(healthy.path(), &[]).await.expect(row, "ok", "does not exist yet", "");
    assert!(!log.exists());
    fs::create_dir(&log).expect("created");
    let broken = doctor(healthy.path(), &[]).await;
    broken.expect(row, "fail", "cannot be written", "the server's user can write");
    assert_eq!(broken.code, Some(1));
}

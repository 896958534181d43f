//! The commands as a new user runs them.

use std::process::Stdio;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use grantmint::{
    clock::Clock,
    provider::twilio_live::{DEMO_API_KEY_SECRET, DEMO_RESOURCE},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::support::{BINARY, Configured, Serve, get, request, run, run_command, soon, until};

/// The name of the sandbox's only grant.
const GRANT: &str = "profiles/demo/grants/VJ0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn a_first_token_takes_an_identity_and_nothing_else() {
    let serve = Serve::sandboxed(&[]).await;
    let minted = serve.first_token().await;
    assert_eq!(minted.token.split('.').count(), 3, "a JWT");
    let validity = minted.validity.expect("a validity");
    assert_eq!(validity.grant, GRANT);
    let within = validity.use_within.expect("a duration");
    assert!((1..=58).contains(&within.seconds), "{within:?}");
    assert!(validity.expire_time.map(|at| at.seconds) > validity.issue_time.map(|at| at.seconds));
}

#[tokio::test]
async fn sandbox_grants_differ_between_instances() {
    let (one, other) = (Serve::sandboxed(&[]).await, Serve::sandboxed(&[]).await);
    let ids = [one.first_token().await, other.first_token().await].map(|minted| {
        let claims = decoded(&minted.token);
        let url = claims["grants"]["player"]["playbackUrl"].as_str().expect("a URL");
        let (_, token) = url.split_once("token=").expect("a token in it");
        decoded(token)["jti"].as_str().expect("an id").to_owned()
    });
    assert_ne!(ids[0], ids[1]);
}

/// A JWT's claims.
fn decoded(token: &str) -> Value {
    let claims = token.split('.').nth(1).expect("claims");
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).expect("base64url");
    serde_json::from_slice(&claims).expect("JSON")
}

#[tokio::test]
async fn mint_writes_the_token_to_stdout_and_words_to_stderr() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let ran = run(&["mint", "alice", "--server", &serve.server]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let token = ran.stdout.strip_suffix('\n').expect("one line");
    assert!(token.split('.').count() == 3 && !token.contains('\n'), "{token}");
    assert!(ran.stderr.starts_with("use within "), "{}", ran.stderr);
    assert!(!ran.stderr.contains(token));

    let ran = run(&["mint", "alice", "--json", "--server", &serve.server]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let json: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(json["grant"], GRANT);
    assert!(json["token"].is_string() && json["generation"].is_i64(), "{json}");
    assert!(json["expire_time"].as_str().is_some_and(|at| at.ends_with('Z')), "{json}");
}

#[tokio::test]
async fn mint_reports_the_failure_and_whether_to_retry() {
    let serve = Serve::sandboxed(&["--fault", "hang"]).await;
    let server = ["--server", &serve.server];
    let mint = async |more: &[&str]| run(&[&["mint"], more, &server].concat()).await;

    let ran = mint(&["alice", "--max-wait", "0s"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(3), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("GRANT_PENDING") && ran.stderr.contains("retry in"));

    let ran = mint(&[""]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    assert!(ran.stderr.contains("IDENTITY_INVALID"), "{}", ran.stderr);

    let ran = mint(&["alice", "--profile", "nobody"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("PROFILE_NOT_FOUND"), "{}", ran.stderr);
    assert!(ran.stderr.contains("grantmint check"), "no next step: {}", ran.stderr);

    let ran = mint(&["alice", "--ttl", "soon"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{}", ran.stderr);
}

#[tokio::test]
async fn a_command_without_a_server_says_how_to_start_one() {
    for command in [
        &["mint", "alice"][..],
        &["grants"],
        &["refresh", GRANT],
        &["grants", "--watch"],
        &["bulk", "--count", "3", "--patience", "0s"],
        &["bench"],
    ] {
        // Nothing listens on loopback's discard port.
        let ran = run(&[command, &["--server", "http://127.0.0.1:9"]].concat()).await;
        assert_eq!(ran.code, Some(3), "{command:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{command:?}");
        assert!(ran.stderr.contains("http://127.0.0.1:9"), "{command:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("grantmint serve --sandbox"), "{command:?}: {}", ran.stderr);
    }
    let ran = run(&["mint", "alice", "--server", "not a url"]).await;
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    let ran = run(&["mint", "alice", "--server", "127.0.0.1:9"]).await;
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
}

#[tokio::test]
async fn grants_shows_each_grant_for_people_and_for_machines() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let ran = run(&["grants", "--server", &serve.server]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ran.stdout);
    assert!(lines[0].starts_with("GRANT"), "{}", lines[0]);
    let cells: Vec<_> = lines[1].split_whitespace().collect();
    assert_eq!(cells[..2], [GRANT, "live"], "{}", lines[1]);
    assert!(lines[1].contains(" s ago ") && lines[1].contains(" in "), "{}", lines[1]);

    let ran = run(&["grants", "--json", "--server", &serve.server]).await;
    let json: Value = serde_json::from_str(&ran.stdout).expect("one line of JSON");
    assert_eq!(json["name"], GRANT);
    assert_eq!((&json["state"], &json["refresh_state"]), (&"live".into(), &"ok".into()));
    assert!(json["generation"].as_i64() > Some(0) && json["last_fault"].is_null(), "{json}");

    let ran = run(&["grants", "--profile", "nobody", "--server", &serve.server]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
}

#[tokio::test]
async fn refresh_shows_the_grant_after_an_attempt_and_fails_with_it() {
    let serve = Serve::sandboxed(&[]).await;
    let generation = serve.first_token().await.validity.expect("its times").generation;
    // The playback token's expiry has whole seconds: a response in the same second is not a newer
    // grant.
    until("the grant is a second old", async || {
        Clock::system().now().wall.unix_micros() > generation + 1_000_000
    })
    .await;
    let refresh = async |more: &[&str]| {
        run(&[&["refresh", GRANT, "--server", &serve.server], more].concat()).await
    };
    let ran = refresh(&[]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(ran.stdout.contains(GRANT) && ran.stdout.contains("live"), "{}", ran.stdout);
    let ran = refresh(&[]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(3), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("UPSTREAM_THROTTLED"), "{}", ran.stderr);

    let serve = Serve::sandboxed(&["--fault", "status=404"]).await;
    let ran = run(&["refresh", GRANT, "--json", "--server", &serve.server]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let json: Value = serde_json::from_str(&ran.stdout).expect("one line of JSON");
    assert_eq!((&json["refresh_state"], &json["state"]), (&"rejected".into(), &"pending".into()));
    assert!(ran.stderr.contains("HTTP_STATUS_404"), "{}", ran.stderr);
}

#[tokio::test]
async fn grants_watch_follows_every_refresh() {
    let config = Configured::profile("grant_ttl = \"12s\"");
    let serve = Serve::configured(&config, &[]).await;
    serve.first_token().await;
    let mut watch = Command::new(BINARY)
        .args(["grants", "--watch", "--json", "--server", &serve.server])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("piped")).lines();
    let mut generations = Vec::new();
    while generations.len() < 3 {
        let line = soon(lines.next_line()).await.expect("read").expect("a line");
        let json: Value = serde_json::from_str(&line).expect("JSON");
        generations.push(json["generation"].as_i64().expect("a number"));
        generations.dedup();
    }
    assert!(generations.is_sorted(), "{generations:?}");
}

#[tokio::test]
async fn bulk_writes_one_token_per_line_and_the_first_expiry() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let ran = run(&["bulk", "--count", "1000", "--server", &serve.server]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.stdout.lines().count(), 1000);
    assert!(ran.stdout.lines().all(|line| line.split('.').count() == 3));
    assert!(ran.stderr.contains("1000 of 1000 tokens in "), "{}", ran.stderr);
    assert!(ran.stderr.contains("use all tokens by "), "{}", ran.stderr);
}

#[tokio::test]
async fn bulk_reads_identities_and_writes_a_private_file() {
    use std::os::unix::fs::PermissionsExt;

    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let dir = tempfile::tempdir().expect("a directory");
    let (identities, tokens) = (dir.path().join("identities"), dir.path().join("tokens"));
    std::fs::write(&identities, "alice\nbob\nzoë\n").expect("written");
    let (from, to) = (identities.to_str().expect("text"), tokens.to_str().expect("text"));
    let bulk = ["bulk", "--identities", from, "-o", to, "--json", "--server", &serve.server];
    let ran = run(&bulk).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{}", ran.stderr);
    let mode = std::fs::metadata(&tokens).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let lines = std::fs::read_to_string(&tokens).expect("text");
    let lines: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let identities: Vec<_> = lines.iter().map(|line| line["identity"].as_str()).collect();
    assert_eq!(identities, [Some("alice"), Some("bob"), Some("zoë")]);
    let indices: Vec<_> = lines.iter().map(|line| line["index"].as_i64()).collect();
    assert_eq!(indices, [Some(0), Some(1), Some(2)]);

    let ran = run(&["bulk", "--identities", "/nowhere", "--server", &serve.server]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let ran = run(&["bulk", "--server", &serve.server]).await;
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
}

#[tokio::test]
async fn closed_pipe_does_not_break_a_command() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let mut bulk = Command::new(BINARY)
        .args(["bulk", "--count", "20000", "--server", &serve.server])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    drop(bulk.stdout.take());
    let output = soon(bulk.wait_with_output()).await.expect("an exit");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some() && !stderr.contains("panicked"), "{stderr}");
}

#[tokio::test]
async fn check_reports_what_a_valid_file_guarantees() {
    let config = Configured::profile("promise = \"20s\"");
    let ran = run(&["check", config.path()]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(
        ran.stdout.contains("shortest validity issued while the upstream is healthy: 22s"),
        "{}",
        ran.stdout
    );
    assert!(!ran.stdout.contains(DEMO_API_KEY_SECRET));
    let ran = run(&["check", "--json", "--config", config.path()]).await;
    let json: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(json["profiles"]["demo"]["resources"][0], DEMO_RESOURCE);
    assert!(!ran.stdout.contains(DEMO_API_KEY_SECRET));
    assert_eq!(run(&["check"]).await.code, Some(2));
}

#[tokio::test]
async fn standalone_sandbox_counts_grants_and_stops_on_a_signal() {
    let mut sandbox = Command::new(BINARY)
        .args(["sandbox", "--listen", "127.0.0.1:0", "--fault", "status=503,times=1"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(sandbox.stdout.take().expect("piped")).lines();
    let mut greeting = Vec::new();
    while !greeting.last().is_some_and(|line: &String| line.contains("/sandbox/counters")) {
        greeting.push(soon(lines.next_line()).await.expect("read").expect("another line"));
    }
    let base = greeting[0].rsplit(' ').next().expect("a URL").to_owned();
    // The printed configuration works with this sandbox.
    let config = Configured::profile(&format!("upstream = \"{base}\""));
    let serve = Serve::start(&["--config", config.path()]).await;
    serve.first_token().await;
    let (status, counters) = get(&format!("{base}/sandbox/counters")).await;
    let counters: Value = serde_json::from_str(&counters).expect("JSON");
    assert_eq!((status, &counters["refused"]["503"]), (200, &1.into()), "{counters}");
    let (status, error) = request("PUT", &format!("{base}/sandbox/fault"), "stauts=1").await;
    assert!(status == 400 && error.contains("stauts"), "{error}");

    let pid = sandbox.id().expect("a running process").to_string();
    let kill = Command::new("kill").args(["-TERM", &pid]).status().await;
    assert!(kill.expect("kill runs").success());
    assert_eq!(soon(sandbox.wait()).await.expect("an exit").code(), Some(0));
}

#[tokio::test]
async fn help_lists_exit_codes_and_commands() {
    let ran = run(&["--help"]).await;
    assert_eq!(ran.code, Some(0));
    let commands =
        ["serve", "sandbox", "check", "mint", "bulk", "grants", "refresh", "inspect", "selftest"];
    for reported in ["Exit codes"].into_iter().chain(commands) {
        assert!(ran.stdout.contains(reported), "{reported}: {}", ran.stdout);
    }
    assert_eq!(run(&["frobnicate"]).await.code, Some(2));
    let ran = run(&["--version"]).await;
    assert_eq!(ran.stdout, format!("grantmint {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn banner_commands_work_as_printed() {
    let mut serve = Command::new(BINARY)
        .args(["serve", "--sandbox", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(serve.stdout.take().expect("piped")).lines();
    let command = loop {
        let line = soon(lines.next_line()).await.expect("read").expect("another line");
        if let Some(command) = line.trim().strip_prefix("grantmint mint ") {
            break command.to_owned();
        }
    };
    let words: Vec<_> = ["mint"].into_iter().chain(command.split(' ')).collect();
    until("the banner's command minting", async || run(&words).await.code == Some(0)).await;
}

#[tokio::test]
async fn sandbox_serves_grants_keys_and_shared_credentials() {
    let serve = Serve::start(&["--sandbox"]).await;
    let reported =
        async |arguments: &[&str]| run(&[arguments, &["--server", &serve.server]].concat()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let (token, tokens) = (dir.path().join("token.txt"), dir.path().join("tokens.txt"));

    let room = ["--profile", "room", "--resource", "room-1"];
    let params = ["--param", "name=Alice", "--param", "can_publish=false"];
    let minted = reported(&[&["mint", "alice"], &room[..], &params].concat()).await;
    assert_eq!(minted.code, Some(0), "{}", minted.stderr);
    std::fs::write(&token, minted.stdout).expect("written");
    let mut inspect = Command::new(BINARY);
    inspect.args(["inspect", "-"]).stdin(std::fs::File::open(&token).expect("a file"));
    let read = run_command(inspect).await;
    for line in ["identity    alice\n", "the room room-1", "not canPublish"] {
        assert!(read.stdout.contains(line), "{line}: {}{}", read.stdout, read.stderr);
    }
    let to = ["--count", "100000", "-o", tokens.to_str().expect("text")];
    let bulk = reported(&[&["bulk"], &room[..], &to].concat()).await;
    assert!(bulk.stderr.contains("100000 of 100000 tokens in "), "{}", bulk.stderr);
    assert_eq!(std::fs::read_to_string(&tokens).expect("text").lines().count(), 100_000);
    until("a shared credential", async || {
        let minted = reported(&["mint", "web", "--profile", "speech"]).await;
        minted.code == Some(0) && minted.stdout.lines().count() == 1
    })
    .await;
}

//! Shared credentials on the real binary: one upstream request serves ten thousand calls, a command
//! emulates each upstream, and secrets appear only in the response that returns a token.

mod examples;

use std::{collections::BTreeSet, fmt::Write, fs, process::Stdio};

use grantmint::{
    provider::{self, Demo},
    rpc::proto::MintOptions,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Command,
    task::JoinSet,
};

use crate::{
    markers::Markers,
    support::{BINARY, PATIENCE, Serve, get, mint, request, run, run_command, soon, until},
};

const SECRET: &str = "planted-secret-5feceb66ffc86f38d952786c6d696c79";

/// Text from an upstream must not be repeated.
const UPSTREAM_TEXT: &str = "planted-text-of-the-upstream-6b86b273ff34fce1";

fn of(profile: &str) -> MintOptions {
    MintOptions { profile: profile.to_owned(), ..<_>::default() }
}

/// The demos of the presets.
pub(crate) fn presets() -> Vec<Demo> {
    let mut demos = provider::demos();
    demos.retain(|demo| demo.kind == "forward");
    demos
}

/// A file with one profile, `shared`, of a preset's demo with this secret.
pub(crate) fn configured(demo: &Demo, secret: &str, more: &str) -> (TempDir, String) {
    let dir = TempDir::new().expect("a directory");
    let kept = dir.path().join("secret");
    fs::write(&kept, secret).expect("written");
    let keys = demo.secret.as_ref().expect("a secret").keys;
    let lines = demo.lines().into_iter().filter(|line| !line.starts_with(keys.env));
    let lines: Vec<_> = lines.collect();
    let text = format!(
        "[profiles.shared]\n{}\n{} = \"{}\"\n{more}\n",
        lines.join("\n"),
        keys.file,
        kept.display()
    );
    let file = dir.path().join("grantmint.toml");
    fs::write(&file, text).expect("written");
    let path = file.to_str().expect("text").to_owned();
    (dir, path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_cause_one_upstream_request() {
    // The first refresh comes after at least 15 minutes.
    let (_dir, config) = configured(&presets().remove(0), SECRET, "grant_ttl = \"1h\"");
    let serve = Serve::start(&["--sandbox", "--config", &config, "--log", "warn"]).await;
    let client = serve.tokens().await;
    let mut calls = JoinSet::new();
    for worker in 0..20 {
        let mut client = client.clone();
        calls.spawn(async move {
            let mut tokens = BTreeSet::new();
            for call in 0..500 {
                let minted = client.mint_token(mint(&format!("viewer-{worker}-{call}"), None));
                // The first calls arrive before the credential and wait for it.
                let minted = soon(minted).await.expect("a token").into_inner();
                tokens.insert((minted.token, minted.token_id));
            }
            tokens
        });
    }
    let mut tokens = BTreeSet::new();
    while let Some(of_worker) = calls.join_next().await {
        tokens.extend(of_worker.expect("no panic"));
    }
    assert_eq!(tokens.len(), 1, "expected one credential for all calls");
    let (_, id) = tokens.first().expect("a token");
    assert!(id.starts_with("sha256:"), "{id}");
    let counters = serve.counters().await;
    assert_eq!((&counters["requests"], &counters["granted"]), (&json!(1), &json!(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn default_sandbox_has_a_profile_of_each_type() {
    let serve = Serve::start(&["--sandbox"]).await;
    let mut client = serve.tokens().await;
    for profile in ["demo", "speech"] {
        until(profile, async || {
            soon(client.mint_token(mint("a", Some(of(profile))))).await.is_ok()
        })
        .await;
    }
    let options = MintOptions { resource: "lobby".to_owned(), ..of("room") };
    let minted = soon(client.mint_token(mint("alice", Some(options)))).await;
    assert_eq!(minted.expect("a token").into_inner().token.split('.').count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_output_contains_a_shared_credential() {
    let deepgram = presets().remove(0);
    let (_dir, config) = configured(&deepgram, SECRET, "grant_ttl = \"12s\"");
    let checked = run(&["check", &config]).await;
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(checked.stdout.contains("the life covers connecting"), "{}", checked.stdout);
    let json = run(&["check", "--json", &config]).await;

    let serve = Serve::start(&["--sandbox", "--config", &config]).await;
    let mut client = serve.tokens().await;
    let mut token = String::new();
    until("a credential", async || {
        let minted = soon(client.mint_token(mint("viewer", None))).await;
        minted.map(|minted| token = minted.into_inner().token).is_ok()
    })
    .await;
    let mut reported = String::new();
    let body = format!("body-text={UPSTREAM_TEXT}");
    for fault in [
        format!("status=401,{body},times=1"),
        format!("status=429,{body},retry-after=1,times=1"),
        format!("{body},times=1"),
        "body=credential-missing,times=1".to_owned(),
        format!("status=403,{body}"),
    ] {
        let (status, refused) = request(
            "POST",
            &format!("{}sandbox/fault", serve.sandbox.as_deref().expect("a value")),
            &fault,
        )
        .await;
        assert_eq!(status, 204, "{refused}");
    }
    until("an upstream that refuses", async || {
        match soon(client.mint_token(mint("viewer", None))).await {
            Ok(_) => false,
            Err(status) => {
                write!(reported, "{status:?}").expect("text");
                true
            }
        }
    })
    .await;
    reported += &serve.page("/metrics").await.1;
    reported += &serve.page("/").await.1;
    let base = serve.sandbox.clone().expect("a value");
    // The sandbox itself lists the faults that were set.
    let requests = get(&format!("{base}sandbox/requests")).await.1;
    Markers::of(&[SECRET, &token]).in_none_of("the sandbox", &requests);
    serve.signal("INT");
    reported += &serve.ended().await.1;
    reported += &checked.stdout;
    reported += &json.stdout;
    let signature = token.rsplit('.').next().expect("a part");
    Markers::of(&[SECRET, UPSTREAM_TEXT, &token, signature]).in_none_of("it", &reported);
}

/// `grantmint sandbox` with these arguments, and its JSON output.
async fn sandbox(name: &str) -> (tokio::process::Child, Value) {
    let mut command = Command::new(BINARY);
    command
        .args(["sandbox", "--emulate", name, "--listen", "127.0.0.1:0", "--json"])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = command.spawn().expect("a process");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    soon(BufReader::new(stdout).read_line(&mut line)).await.expect("a line");
    (child, serde_json::from_str(&line).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_emulated_upstream_serves_the_profile_that_it_prints() {
    for demo in presets() {
        let (_sandbox, reported) = sandbox(demo.name).await;
        let secret = demo.secret.as_ref().expect("a secret");
        assert_eq!(reported[secret.keys.value], secret.value, "{}", demo.name);
        let upstream = reported["upstream"].as_str().expect("a URL");
        let more = format!("upstream = \"{upstream}\"");
        let (_dir, config) = configured(&demo, &secret.value, &more);
        let serve = Serve::start(&["--config", &config]).await;
        let mut client = serve.tokens().await;
        until(demo.name, async || soon(client.mint_token(mint("a", None))).await.is_ok()).await;
    }
}

#[tokio::test]
async fn emulated_kinds_print_a_profile_and_others_are_refused() {
    let mut command = Command::new(BINARY);
    command
        .args(["sandbox", "--emulate", "github-app", "--listen", "127.0.0.1:0"])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = command.spawn().expect("a process");
    let mut stdout = child.stdout.take().expect("piped");
    let mut text = String::new();
    let greeting = async {
        let mut buffer = [0; 4_096];
        while !text.contains("/counters") {
            let read = stdout.read(&mut buffer).await.expect("read");
            assert!(read > 0, "{text}");
            text += std::str::from_utf8(&buffer[..read]).expect("text");
        }
    };
    tokio::time::timeout(PATIENCE, greeting).await.expect("a greeting");
    for line in [
        "kind = \"forward\"",
        "preset = \"github-app\"",
        "app_id = \"1\"",
        "shareable = true",
        "private_key_env = \"GRANTMINT_SANDBOX_SECRET\"",
        "resources = [\"1\"]",
        "export GRANTMINT_SANDBOX_SECRET=",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let mut command = Command::new(BINARY);
    command.args(["sandbox", "--emulate", "assemblyai"]).env_clear();
    let refused = run_command(command).await;
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("github-app"), "{}", refused.stderr);
}

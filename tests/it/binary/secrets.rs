//! Secrets, grants and tokens appear only in the response that returns a token.

use std::{fmt::Write, io::ErrorKind, process::Stdio};

use base64::{Engine, prelude::BASE64_STANDARD};
use grantmint::{
    provider::twilio_live::DEMO_API_KEY_SID,
    rpc::proto::{MintOptions, MintTokensResponse},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::{
    markers::Markers,
    support::{self, BINARY, Configured, Serve, mint, run, series, soon, until},
    traces::Collector,
};

pub(super) const SECRET: &str = "planted-secret-9f86d081884c7d659a2feaa0c55ad015";

/// Text from an upstream must not be repeated.
const UPSTREAM_TEXT: &str = "planted-text-of-the-upstream-2c26b46b68ffc68f";

/// An identity belongs to a user; an invalid one may be anything, even a password.
const BAD_IDENTITY: &str = "planted-identity-fcde2b2edba56bf4\u{7}";

pub(super) fn planted() -> Markers {
    let basic = BASE64_STANDARD.encode(format!("{DEMO_API_KEY_SID}:{SECRET}"));
    // The part before the secret is public, up to its last complete base64 group.
    let of_secret = &basic[DEMO_API_KEY_SID.len() / 3 * 4 + 4..];
    Markers::of(&[SECRET, of_secret, UPSTREAM_TEXT, BAD_IDENTITY.trim_end()])
}

/// A token, and the grant in it.
pub(super) fn add_token(markers: &mut Markers, token: &str) {
    let claims: Value = serde_json::from_str(&support::payload(token)).expect("JSON");
    let url = claims["grants"]["player"]["playbackUrl"].as_str().expect("a playback URL");
    let (_, granted) = url.split_once("?token=").expect("a token in it");
    granted.split('.').skip(1).for_each(|part| markers.add(part));
    markers.add_token(token);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_output_contains_a_secret() {
    let collector = Collector::start().await;
    let top = format!("[telemetry]\notlp_endpoint = \"{}\"\nsample = 1\n", collector.url);
    let config = Configured::with_secret(&top, "grant_ttl = \"12s\"", SECRET);
    let serve = Serve::configured(&config, &[]).await;
    let mut markers = planted();
    let mut reported = String::new();
    let mut client = serve.tokens().await;

    let minted = serve.first_token().await;
    add_token(&mut markers, &minted.token);
    write!(reported, "{minted:?} {minted:#?}").expect("text");
    let mut chunks = soon(client.mint_tokens(series(0, 200))).await.expect("a bulk").into_inner();
    let mut chunk: Option<MintTokensResponse> = None;
    while let Some(next) = soon(chunks.message()).await.expect("no error") {
        next.tokens.iter().for_each(|token| add_token(&mut markers, token));
        write!(reported, "{next:?} {next:#?}").expect("text");
        chunk = Some(next);
    }
    assert!(chunk.is_some());

    // Every kind of failure, each with the upstream's own text in it.
    let refused = soon(client.mint_token(mint(BAD_IDENTITY, None))).await.expect_err("refused");
    write!(reported, "{refused:?} {refused}").expect("text");
    let options = MintOptions { profile: SECRET.to_owned(), ..<_>::default() };
    let refused = soon(client.mint_token(mint("viewer", Some(options)))).await;
    write!(reported, "{:?}", refused.expect_err("refused")).expect("text");
    let body = format!("body-text={UPSTREAM_TEXT}");
    for fault in [
        format!("status=401,{body},times=1"),
        format!("status=503,{body},times=1"),
        format!("status=429,{body},retry-after=1,times=1"),
        format!("status=302,{body},times=1"),
        format!("{body},times=1"),
        "body=truncated,times=1".to_owned(),
        "body=wrong-account,times=1".to_owned(),
        "reset,times=1".to_owned(),
        // The second refusal counts; then the grant expires.
        format!("status=401,{body}"),
    ] {
        let before = serve.counters().await["faults"].as_u64();
        serve.set_fault(&fault).await;
        let for_good = !fault.contains("times");
        until(&fault, async || {
            let options =
                MintOptions { max_wait: Some(prost_types::Duration::default()), ..<_>::default() };
            match soon(client.mint_token(mint("viewer", Some(options)))).await {
                Ok(minted) => add_token(&mut markers, &minted.into_inner().token),
                Err(status) => write!(reported, "{status:?}").expect("text"),
            }
            let met = serve.counters().await["faults"].as_u64() > before;
            let refused = reported.contains("UPSTREAM_REJECTED");
            if for_good { refused } else { met }
        })
        .await;
    }
    markers.in_none_of("an error or Debug output", &reported);

    for page in ["/metrics", "/readyz", "/livez", "/", "/status.json", "/metrics?token=x"] {
        let (_, body) = serve.page(page).await;
        markers.in_none_of(page, &body);
    }
    let grants = run(&["grants", "--json", "--server", &serve.server]).await;
    markers.in_none_of("grants", &grants.stdout);
    let check = run(&["check", config.path(), "--verbose"]).await;
    markers.in_none_of("check", &(check.stdout + &check.stderr));
    for of_process in ["cmdline", "environ"] {
        // Only root can read the environment of a process that cannot be dumped.
        let text = std::fs::read(format!("/proc/{}/{of_process}", serve.pid()));
        let text = text.unwrap_or_else(|error| {
            assert_eq!((of_process, error.kind()), ("environ", ErrorKind::PermissionDenied));
            Vec::new()
        });
        markers.in_none_of(of_process, &String::from_utf8_lossy(&text));
    }

    serve.signal("INT");
    let (status, log) = serve.ended().await;
    assert_eq!(status.code(), Some(0));
    for witness in ["first grant received", "\"level\":\"TRACE\"", "h2::"] {
        assert!(log.contains(witness), "the log is not at trace level: no {witness}");
    }
    markers.in_none_of("the log", &log);
    let traces = collector.text();
    for witness in ["refresh", "POST", "wait for grant", "MintToken", "MintTokens"] {
        assert!(
            traces.contains(&format!("name: \"{witness}\""))
                || traces.contains(&format!("/{witness}\"")),
            "no span {witness}"
        );
    }
    markers.in_none_of("a trace", &traces);
}

#[tokio::test]
async fn no_flag_takes_a_secret() {
    for command in ["serve", "sandbox", "check", "mint", "bulk", "grants", "bench", "inspect"] {
        let help = run(&[command, "--help"]).await;
        assert_eq!(help.code, Some(0), "{command}");
        assert!(!help.stdout.to_lowercase().contains("secret <"), "{command}: {}", help.stdout);
        planted().in_none_of(command, &help.stdout);
    }
}

#[tokio::test]
async fn inline_secret_is_refused_without_echo() {
    let config = Configured::profile(&format!("api_key_secret = \"{SECRET}\""));
    for command in ["check", "serve"] {
        let ran = run(&[command, "--config", config.path()]).await;
        assert_eq!(ran.code, Some(1));
        assert!(ran.stderr.contains("api_key_secret_file"), "{}", ran.stderr);
        planted().in_none_of(command, &(ran.stdout + &ran.stderr));
    }
}

#[tokio::test]
async fn core_dumps_are_disabled() {
    let server = format!(
        "ulimit -c unlimited; exec {BINARY} serve --sandbox --json --listen 127.0.0.1:0 \
         --admin-listen 127.0.0.1:0"
    );
    let mut serve = Command::new("sh")
        .args(["-c", &server])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("a shell");
    let mut lines = BufReader::new(serve.stdout.take().expect("piped")).lines();
    soon(lines.next_line()).await.expect("read").expect("it is bound");
    let limits = format!("/proc/{}/limits", serve.id().expect("a running process"));
    let limits = std::fs::read_to_string(limits).expect("readable");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line");
    let words: Vec<_> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(words, ["0", "0"], "{core}");
}

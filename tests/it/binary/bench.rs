//! `bench`: its results compared with the metrics of the server it measured.

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    time::Instant,
};

use super::{metrics::page, watch::Terminal};
use crate::{
    page::Page,
    support::{BINARY, CommandOutput, Serve, run, soon, until},
};

/// A short run without warm-up.
const SHORT: [&str; 6] = ["bench", "--json", "--duration", "300ms", "--warm-up", "0s"];

async fn bench(serve: &Serve, more: &[&str]) -> CommandOutput {
    run_command(&[&SHORT, &["--server", &serve.server][..], more].concat()).await
}

async fn run_command(arguments: &[&str]) -> CommandOutput {
    let ran = run(arguments).await;
    no_token_in(&ran.stdout);
    no_token_in(&ran.stderr);
    ran
}

/// Every token's header starts like this: `{"` in base64.
#[track_caller]
fn no_token_in(text: &str) {
    assert!(!text.contains("eyJ"), "{text}");
}

#[track_caller]
fn figures(ran: &CommandOutput) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"))
}

#[track_caller]
fn number(figures: &Value, name: &str) -> u64 {
    figures[name].as_u64().unwrap_or_else(|| panic!("no {name} in {figures}"))
}

/// The number of calls of this method that the server ended with this code.
fn handled(page: &Page, method: &str, code: &str) -> u64 {
    count(page, "grpc_server_handled_total", &[("grpc_method", method), ("grpc_code", code)])
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
fn count(page: &Page, name: &str, labels: &[(&str, &str)]) -> u64 {
    page.of(name, labels).iter().map(|sample| sample.value as u64).sum()
}

#[tokio::test]
async fn call_count_matches_the_server() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let before = handled(&page(&serve).await, "MintToken", "OK");
    let ran = bench(&serve, &["--connections", "2", "--in-flight", "3"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let figures = figures(&ran);
    let calls = number(&figures, "calls");
    let counted = handled(&page(&serve).await, "MintToken", "OK") - before;
    assert!(calls > 0 && calls == counted, "{counted}: {figures}");
    for (name, expected) in
        [("answered", calls), ("tokens", calls), ("in_flight", 6), ("failed", 0), ("cut_off", 0)]
    {
        assert_eq!(number(&figures, name), expected, "{name}: {figures}");
    }
    assert_eq!((&figures["loop"], &figures["method"]), (&"closed".into(), &"MintToken".into()));
    // Responses after the measured time are not counted: at most one for each call in flight.
    let rate = figures["calls_per_second"].as_f64().expect("a rate") * 0.3;
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let reported = calls as f64;
    assert!(rate > reported - 6.5 && rate < reported + 0.5, "{figures}");
    let times = ["p50", "p90", "p99", "p99.9", "max"]
        .map(|quantile| figures["latency_seconds"][quantile].as_f64().expect("a time"));
    assert!(times[0] > 0.0 && times.is_sorted(), "{figures}");
}

#[tokio::test]
async fn bulk_token_count_matches_the_server() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let minted = [("method", "MintTokens"), ("outcome", "minted")];
    let ran = bench(&serve, &["--bulk", "250"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let figures = figures(&ran);
    let tokens = count(&page(&serve).await, "grantmint_tokens_total", &minted);
    assert!(tokens > 0 && number(&figures, "tokens") == tokens, "{tokens}: {figures}");
    assert_eq!(number(&figures, "calls") * 250, tokens, "{figures}");
    assert_eq!((number(&figures, "in_flight"), &figures["method"]), (4, &"MintTokens".into()));
}

#[tokio::test]
async fn open_loop_follows_its_schedule() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let before = handled(&page(&serve).await, "MintToken", "OK");
    let began = Instant::now();
    let ran = bench(&serve, &["--rate", "200"]).await;
    assert!(began.elapsed() >= Duration::from_millis(295), "it ended before its last call was due");
    let figures = figures(&ran);
    assert_eq!(number(&figures, "calls") + number(&figures, "not_started"), 60, "{figures}");
    assert_eq!(number(&figures, "answered"), 60, "{figures}");
    assert_eq!(handled(&page(&serve).await, "MintToken", "OK") - before, 60);
    assert_eq!((&figures["loop"], &figures["rate"]), (&"open".into(), &200.into()));

    // Warm-up calls are made and not counted.
    let longer = ["--rate", "200", "--warm-up", "500ms", "--server", &serve.server];
    let ran = run_command(&[&SHORT[..4], &longer].concat()).await;
    let counted = handled(&page(&serve).await, "MintToken", "OK") - before - 60;
    assert_eq!(number(&self::figures(&ran), "answered"), 60, "{}", ran.stdout);
    assert!((61..=160).contains(&counted), "{counted}");
}

#[tokio::test]
async fn failures_are_counted_by_code_and_reason() {
    let serve = Serve::sandboxed(&["--fault", "hang"]).await;
    for (more, exit, method, code, reason) in [
        (&["--max-wait", "0s"][..], 3, "MintToken", "Unavailable", "GRANT_PENDING"),
        (&["--profile", "nobody"], 1, "MintToken", "NotFound", "PROFILE_NOT_FOUND"),
        (&["--prefix", "\u{7}"], 1, "MintToken", "InvalidArgument", "IDENTITY_INVALID"),
        (&["--bulk", "2000000"], 1, "MintTokens", "InvalidArgument", "BULK_TOO_LARGE"),
    ] {
        let before = handled(&page(&serve).await, method, code);
        let ran = bench(&serve, more).await;
        assert_eq!(ran.code, Some(exit), "{ran:?}");
        let figures = figures(&ran);
        let errors = figures["errors"].as_array().expect("a list");
        assert_eq!(errors.len(), 1, "{figures}");
        assert_eq!((&errors[0]["code"], &errors[0]["reason"]), (&code.into(), &reason.into()));
        let failed = number(&figures, "failed");
        assert!(failed > 0 && errors[0]["calls"] == failed, "{figures}");
        assert_eq!(handled(&page(&serve).await, method, code) - before, failed, "{figures}");
        assert_eq!(number(&figures, "answered"), 0);
        assert!(figures["latency_seconds"].is_null(), "refused calls have a latency: {figures}");
        // Why no call succeeded, as every command reports its failure.
        let error: Value = serde_json::from_str(&ran.stderr).expect("JSON");
        assert_eq!(error["error"]["reason"], reason);
    }
}

#[tokio::test]
async fn every_call_has_a_deadline() {
    // A server that accepts connections and never responds.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = format!("http://{}", silent.local_addr().expect("an address"));
    let ran = run(&[&SHORT[..], &["--timeout", "200ms", "--server", &server]].concat()).await;
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let figures = figures(&ran);
    let errors = figures["errors"].as_array().expect("a list");
    assert_eq!(errors.len(), 1, "{figures}");
    assert_eq!(errors[0]["code"], "DeadlineExceeded");
    assert_eq!(errors[0]["calls"], number(&figures, "calls"), "{figures}");
    // They count with their duration.
    assert!(figures["latency_seconds"]["p50"].as_f64() >= Some(0.2), "{figures}");
}

/// A bench without a time limit.
fn endless(serve: &Serve, more: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(["bench", "--warm-up", "0s", "--duration", "1day", "--server", &serve.server])
        .args(more)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn started(mut command: Command) -> Child {
    command.spawn().expect("the binary starts")
}

/// Sends Ctrl-C as the terminal does and waits for the process to end.
async fn interrupted(child: Child) -> CommandOutput {
    let pid = child.id().expect("a running process").to_string();
    let sent = std::process::Command::new("kill").args(["-INT", &pid]).status();
    assert!(sent.expect("kill runs").success());
    let output = soon(child.wait_with_output()).await.expect("a status");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let ran = CommandOutput {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    };
    no_token_in(&ran.stdout);
    no_token_in(&ran.stderr);
    ran
}

async fn calls_are_answered(serve: &Serve) {
    let before = handled(&page(serve).await, "MintToken", "OK");
    until("calls", async || handled(&page(serve).await, "MintToken", "OK") > before + 100).await;
}

#[tokio::test]
async fn ctrl_c_reports_the_results_so_far() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    for more in [&[][..], &["--rate", "500"]] {
        let bench = started(endless(&serve, &[&["--json"], more].concat()));
        calls_are_answered(&serve).await;
        let ran = interrupted(bench).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
        let figures = figures(&ran);
        assert_eq!(figures["interrupted"], true);
        // All calls except those whose response was sent and not yet read.
        assert!(number(&figures, "answered") > 100 - 64, "{figures}");
        let seconds = figures["seconds"].as_f64().expect("a time");
        assert!(seconds > 0.0 && seconds < 1_000.0, "{figures}");
        let rate = figures["calls_per_second"].as_f64();
        assert!(rate > Some(0.0), "{figures}");
    }
}

#[tokio::test]
async fn terminal_shows_progress_apart_from_results() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let terminal = Terminal::open(120, 20);
    let mut command = endless(&serve, &["--rate", "500"]);
    command.env("TERM", "xterm").stderr(terminal.stdio());
    let bench = started(command);
    // The progress line is redrawn with the rate since the last one.
    let looks = |text: &str| {
        let looks = text.split(" calls a second, p50 ").map(|before| before.rsplit(' ').next());
        let mut looks: Vec<_> = looks.map(|rate| rate.map(str::to_owned)).collect();
        looks.pop();
        looks.dedup();
        looks.len()
    };
    until("two rates", async || looks(&terminal.written()) >= 2).await;
    let ran = interrupted(bench).await;
    assert_eq!(ran.code, Some(0), "{}", terminal.written());
    assert!(ran.stdout.starts_with("MintToken in an open loop: "), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\x1b'), "{:?}", ran.stdout);
    let written = terminal.all_written().await;
    no_token_in(&written);
    assert!(written.ends_with("\x1b[2K"), "the progress bar is not erased: {written:?}");
}

#[tokio::test]
async fn text_report_names_the_loop_and_failures_of_a_lost_server() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let short = ["bench", "--duration", "200ms", "--warm-up", "0s", "--server", &serve.server];
    let ran = run(&short).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(ran.stdout.starts_with("MintToken in a closed loop: 64 in flight on 4 connections"));
    assert!(ran.stdout.ends_with("\nerrors   none\n"), "{}", ran.stdout);

    let terminal = Terminal::open(120, 20);
    let mut command = endless(&serve, &["--rate", "500"]);
    command.env("TERM", "xterm").stderr(terminal.stdio());
    let bench = started(command);
    calls_are_answered(&serve).await;
    serve.signal("KILL");
    serve.ended().await;
    until("failures", async || terminal.written().contains(" failed")).await;
    let ran = interrupted(bench).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("in an open loop: 500 a second"), "{}", ran.stdout);
    assert!(ran.stdout.contains(" no connection: "), "{}", ran.stdout);
    assert!(ran.stdout.contains(", ended early\n"), "{}", ran.stdout);
}

#[tokio::test]
async fn invalid_flags_are_refused_with_a_message() {
    for (flag, value, words) in [
        ("--rate", "0", "0 is not in 1..=1000000"),
        ("--rate", "fast", "invalid digit"),
        ("--connections", "0", "0 is not in 1..=1000"),
        ("--in-flight", "1001", "1001 is not in 1..=1000"),
        ("--bulk", "0", "0 is not in"),
        ("--duration", "0s", "must be greater than 0"),
        ("--timeout", "0s", "must be greater than 0"),
        ("--duration", "1000000y", "must be at most 30 days"),
        ("--warm-up", "soon", "expected number"),
    ] {
        let ran = run(&["bench", flag, value]).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{flag} {value}");
        assert!(ran.stderr.contains(words) && ran.stderr.contains(flag), "{}", ran.stderr);
    }
}

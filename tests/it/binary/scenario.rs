//! Scenarios on the real binary.

use std::{fs, process::Stdio};

use grantmint::provider::twilio_live::DEMO_RESOURCE;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::support::{BINARY, Configured, Serve, found, get, request, run, soon};

const BAD: &str = "[[fault]]\nstauts = 503\n[[fault]]\nstatus = 503\nuntil = 5\n";

fn file(text: &str) -> (TempDir, String) {
    let dir = TempDir::new().expect("a directory");
    let file = dir.path().join("scenario.toml");
    fs::write(&file, text).expect("written");
    let path = file.to_str().expect("a UTF-8 path").to_owned();
    (dir, path)
}

/// The faults and statuses of the first requests, once there are this many.
async fn first(requests: usize, sandbox: &str) -> Vec<(Option<String>, Option<u64>)> {
    found("the requests", async || {
        let (status, log) =
            get(&format!("{}/sandbox/requests", sandbox.trim_end_matches('/'))).await;
        assert_eq!(status, 200);
        let log: Vec<Value> = serde_json::from_str(&log).expect("a list");
        let first = log.get(..requests)?;
        // Only finished requests.
        first.iter().all(|line| line["held_ms"].is_u64()).then(|| {
            let fault = |line: &Value| line["fault"].as_str().map(str::to_owned);
            first.iter().map(|line| (fault(line), line["status"].as_u64())).collect()
        })
    })
    .await
}

#[tokio::test]
async fn serve_plays_a_scenario_after_the_given_faults() {
    let text = format!(
        "[[fault]]\nstatus = 500\nrequests = \"1-3\"\n\
         [[fault]]\nresource = \"{DEMO_RESOURCE}\"\nstatus = 429\nretry-after = \"soon\"\ntimes = 1\n"
    );
    let (_dir, path) = file(&text);
    let serve = Serve::sandboxed(&["--scenario", &path, "--fault", "reset,times=1"]).await;
    serve.first_token().await;
    let sandbox = serve.sandbox.clone().expect("a sandbox");
    let own = format!("status=429,retry-after=soon,resource={DEMO_RESOURCE},times=1");
    let expected = [
        (Some(own), Some(429)),
        (Some("reset,times=1".to_owned()), None),
        (Some("status=500,requests=1-3".to_owned()), Some(500)),
        (None, Some(201)),
    ];
    assert_eq!(first(4, &sandbox).await, expected);
}

#[tokio::test]
async fn standalone_sandbox_replaces_its_scenario_at_run_time() {
    let (_dir, path) = file("[[fault]]\nstatus = 503\nrequests = 1\n");
    let mut sandbox = Command::new(BINARY)
        .args(["sandbox", "--listen", "127.0.0.1:0", "--scenario", &path])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(sandbox.stdout.take().expect("piped")).lines();
    let mut controls = Vec::new();
    while !controls.last().is_some_and(|line: &String| line.ends_with("/sandbox/counters")) {
        let line = soon(lines.next_line()).await.expect("read").expect("another line");
        if let Some(command) = line.trim().strip_prefix("curl ") {
            controls.push(command.to_owned());
        }
    }
    let url = |of: &str| {
        let control = controls.iter().find(|control| control.ends_with(of));
        control.and_then(|control| control.rsplit(' ').next()).expect("a URL").to_owned()
    };
    let base = url("/sandbox/counters").replace("/sandbox/counters", "");
    let config = Configured::profile(&format!("upstream = \"{base}\""));
    let serve = Serve::start(&["--config", config.path()]).await;
    serve.first_token().await;
    let expected = [(Some("status=503,requests=1".to_owned()), Some(503)), (None, Some(201))];
    assert_eq!(first(2, &base).await, expected);

    let put = async |text| request("PUT", &url("/sandbox/scenario"), text).await;
    assert_eq!(put("[[fault]]\nhang = true\n").await.0, 204);
    let (status, error) = put(BAD).await;
    assert_eq!(status, 400);
    assert!(
        error.contains("scenario:2: fault[0].stauts") && error.contains("scenario:5:"),
        "{error}"
    );
}

#[tokio::test]
async fn every_scenario_problem_is_reported_with_its_line() {
    let (_dir, path) = file(BAD);
    for command in [&["serve", "--sandbox"][..], &["sandbox"]] {
        let ran = run(&[command, &["--scenario", &path]].concat()).await;
        let expected = format!(
            "error: 2 problems in the scenario\n  \
             {path}:2: fault[0].stauts: unknown key; did you mean status?\n  \
             {path}:5: fault[1].until: must be a duration, such as 20s or 1500ms\n  \
             see the sample scenario.toml or grantmint sandbox --help for every key\n"
        );
        assert_eq!((ran.code, ran.stderr), (Some(1), expected));
        let ran = run(&[command, &["--scenario", "/nowhere/s.toml"]].concat()).await;
        assert_eq!(ran.code, Some(1));
        assert!(ran.stderr.contains("/nowhere/s.toml: cannot be read"), "{}", ran.stderr);
    }
    let ran = run(&["serve", "--config", &path, "--scenario", &path]).await;
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("--sandbox"), "{}", ran.stderr);
}

//! The callers in `examples/` with servers that have no grant yet, drain, crash or are throttled.
//! `make example-tools` builds what they need.

use std::{
    collections::HashSet,
    ffi::OsStr,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};

use grantmint::{
    provider::twilio_live::DEMO_API_KEY_SECRET,
    rpc::proto::{ListGrantsRequest, grant::RefreshState},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
    task::JoinHandle,
};

use crate::{
    python::{python, succeeds},
    support::{Configured, Serve, found, payload, reserved_port, soon, until, verified},
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A path built by `make example-tools`.
pub(crate) fn made(what: &str) -> PathBuf {
    let path = root().join("target/examples").join(what);
    assert!(path.exists(), "{} is missing: run make example-tools", path.display());
    path
}

/// A program in its folder of `examples/`.
fn example(folder: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root().join("examples").join(folder));
    command
}

pub(crate) fn in_python() -> Command {
    let mut command = example("python", python());
    command.arg("main.py").env("PYTHONPATH", made("python")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

pub(crate) fn in_node() -> Command {
    let mut command = example("node", "node");
    command.arg("main.js").env("NODE_PATH", made("node/node_modules"));
    command
}

pub(crate) fn in_go() -> Command {
    let mut command = example("go", made("go/caller"));
    command.env("GRPC_GO_RETRY", "on");
    command
}

pub(crate) fn in_rust() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = example("rust", cargo);
    command.args(["run", "--quiet", "--locked", "--example", "rust"]);
    command
}

/// A running caller.
pub(crate) struct Caller {
    child: Child,
    /// Standard output: the caller writes only as fast as it is read, except for what its windows
    /// hold.
    stdout: Lines<BufReader<ChildStdout>>,
    read: Vec<String>,
    reported: Stderr,
    stderr: JoinHandle<()>,
}

/// Standard error so far.
#[derive(Clone, Default)]
struct Stderr(Arc<Mutex<String>>);

impl Stderr {
    async fn read_from(self, stderr: ChildStderr) {
        let mut lines = BufReader::new(stderr).lines();
        while let Some(line) = lines.next_line().await.expect("text") {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) += &(line + "\n");
        }
    }

    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The index at which it resumes after a call that ended for this reason.
    async fn resume_index_after(&self, reason: &str) -> usize {
        let after = format!(" after {reason}: ");
        found(&after, async || {
            let text = self.text();
            let line = text.lines().find(|line| line.contains(&after))?;
            line.strip_prefix("resuming at ")?.split(' ').next()?.parse().ok()
        })
        .await
    }
}

impl Caller {
    pub(crate) fn start(mut command: Command, server: &str, count: usize) -> Self {
        command.args([server.trim_start_matches("http://"), &count.to_string()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("a process");
        let stdout = BufReader::new(child.stdout.take().expect("piped")).lines();
        let reported = Stderr::default();
        let stderr = tokio::spawn(reported.clone().read_from(child.stderr.take().expect("piped")));
        Self { child, stdout, read: Vec::new(), reported, stderr }
    }

    /// Reads until there are this many lines or the output ends.
    pub(crate) async fn read_to(&mut self, count: usize) {
        while self.read.len() < count
            && let Some(line) = soon(self.stdout.next_line()).await.expect("text")
        {
            self.read.push(line);
        }
    }

    /// Its exit code, its lines, and its standard error.
    pub(crate) async fn ended(mut self) -> (Option<i32>, Vec<String>, String) {
        self.read_to(usize::MAX).await;
        let status = soon(self.child.wait()).await.expect("an exit status");
        soon(self.stderr).await.expect("read to its end");
        (status.code(), self.read, self.reported.text())
    }
}

const UNSERVED: &str = r#"grantmint_tokens_total{method="MintToken",outcome="unserved"}"#;

const STARTED: &str = r#"grpc_server_started_total{grpc_type="unary",grpc_service="grantmint.v1.TokenService",grpc_method="MintToken"}"#;

async fn metric(serve: &Serve, series: &str) -> u64 {
    let (_, metrics) = serve.page("/metrics").await;
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.expect("such a series").parse().expect("a count")
}

/// A first call before there is a grant, a server that drains in the middle of a bulk, and another
/// that crashes later in it: every token is received once and in order.
async fn every_token_is_received_once(command: Command) {
    const COUNT: usize = 20_000;
    let port = reserved_port();
    let address = port.local_addr().expect("an address").to_string();
    let top = "[server]\ndrain_grace = \"10m\"";
    let config = Configured::with_secret(top, "", DEMO_API_KEY_SECRET);
    let start = async |more: &[&str]| {
        Serve::configured(&config, &[&["--listen", &address], more].concat()).await
    };

    let serve = start(&["--fault", "status=503"]).await;
    let mut caller = Caller::start(command, &serve.server, COUNT);
    until("a refused call", async || metric(&serve, UNSERVED).await > 0).await;
    serve.clear_faults().await;
    caller.read_to(2).await;
    assert_eq!(caller.read.len(), 2, "{}", caller.reported.text());
    serve.signal("INT");
    // The output must be read, or the bulk cannot end and its caller cannot report it.
    let reported = caller.reported.clone();
    let drained = tokio::select! {
        drained = reported.resume_index_after("DRAINING") => drained,
        () = caller.read_to(COUNT) => panic!("the bulk was not drained"),
    };
    serve.ended().await;
    assert!(0 < drained && drained < COUNT, "{drained}");
    let serve = start(&[]).await;
    // Alice's token, all tokens of the first server, and one of this server.
    caller.read_to(1 + drained + 1).await;
    serve.signal("KILL");
    serve.ended().await;
    let _serve = start(&[]).await;

    let (code, lines, reported) = caller.ended().await;
    assert_eq!(code, Some(0), "{reported}");
    assert!(reported.lines().count() > 1, "the crash was not reported: {reported}");
    let [alice, viewers @ .., refused] = &lines[..] else { panic!("{reported}") };
    let identity = |token| verified(token)["grants"]["identity"].clone();
    assert_eq!(identity(alice.strip_prefix("alice ").expect("alice's token")), "alice");
    let mut seen = HashSet::new();
    for (index, line) in viewers.iter().enumerate() {
        let (name, token) = line.split_once(' ').expect("a name and a token");
        assert_eq!(name, format!("viewer-{index}"));
        assert_eq!(identity(token), name);
        assert!(seen.insert(token), "{name} has a token of another identity");
    }
    assert_eq!(seen.len(), COUNT, "{reported}");
    assert!(refused.starts_with("IDENTITY_INVALID: "), "{refused}");
    assert!(refused.contains("; identity: "), "{refused}");
}

/// The upstream's Retry-After exceeds the deadline: there is one attempt.
async fn permanent_errors_are_not_retried(command: Command) {
    let serve = Serve::sandboxed(&["--fault", "status=429,retry-after=40"]).await;
    let mut grants = serve.grants().await;
    until("a throttled grant", async || {
        let listed = soon(grants.list_grants(ListGrantsRequest::default())).await.expect("a list");
        listed.into_inner().grants[0].refresh_state() == RefreshState::Throttled
    })
    .await;
    let (code, lines, reported) = Caller::start(command, &serve.server, 1).ended().await;
    assert_eq!((code, lines.len()), (Some(1), 0), "{reported}");
    assert!(reported.starts_with("UPSTREAM_THROTTLED: "), "{reported}");
    assert!(reported.contains("; retry in "), "{reported}");
    assert_eq!(metric(&serve, STARTED).await, 1, "{reported}");
}

#[tokio::test]
async fn every_token_is_received_once_in_python() {
    every_token_is_received_once(in_python()).await;
}

#[tokio::test]
async fn every_token_is_received_once_in_node() {
    every_token_is_received_once(in_node()).await;
}

#[tokio::test]
async fn every_token_is_received_once_in_go() {
    every_token_is_received_once(in_go()).await;
}

#[tokio::test]
async fn every_token_is_received_once_in_rust() {
    every_token_is_received_once(in_rust()).await;
}

#[tokio::test]
async fn permanent_errors_are_not_retried_in_python() {
    permanent_errors_are_not_retried(in_python()).await;
}

#[tokio::test]
async fn permanent_errors_are_not_retried_in_node() {
    permanent_errors_are_not_retried(in_node()).await;
}

#[tokio::test]
async fn permanent_errors_are_not_retried_in_go() {
    permanent_errors_are_not_retried(in_go()).await;
}

#[tokio::test]
async fn permanent_errors_are_not_retried_in_rust() {
    permanent_errors_are_not_retried(in_rust()).await;
}

/// The third argument is a room; its token contains the values that the caller sets.
async fn room_token_has_the_set_values(mut command: Command) {
    let serve = Serve::start(&["--sandbox"]).await;
    command.args([serve.server.trim_start_matches("http://"), "1", "room-1"]);
    let lines = succeeds(&mut command).await;
    let last = lines.lines().next_back().expect("a line");
    let token = last.strip_prefix("alice ").expect("alice's token");
    let claims: Value = serde_json::from_str(&payload(token)).expect("JSON");
    assert_eq!((&claims["sub"], &claims["name"]), (&json!("alice"), &json!("Alice")));
    let video = json!({"roomJoin": true, "room": "room-1", "canPublish": false});
    assert_eq!(claims["video"], video, "{lines}");
}

#[tokio::test]
async fn room_token_has_the_set_values_in_python() {
    room_token_has_the_set_values(in_python()).await;
}

#[tokio::test]
async fn room_token_has_the_set_values_in_node() {
    room_token_has_the_set_values(in_node()).await;
}

#[tokio::test]
async fn room_token_has_the_set_values_in_go() {
    room_token_has_the_set_values(in_go()).await;
}

#[tokio::test]
async fn room_token_has_the_set_values_in_rust() {
    room_token_has_the_set_values(in_rust()).await;
}

/// These lines without their common indentation.
fn dedented(lines: &[&str]) -> String {
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let shared = lines.iter().filter(|line| !line.is_empty()).map(indent).min().unwrap_or(0);
    let lines: Vec<_> = lines.iter().map(|line| line.get(shared..).unwrap_or_default()).collect();
    lines.join("\n")
}

#[test]
fn doc_snippets_are_lines_of_the_examples() {
    let examples = root().join("examples");
    let read = |file: &str| std::fs::read_to_string(examples.join(file)).expect("text");
    let readme = read("README.md");
    let mut blocks = readme.split("\n```").skip(1).step_by(2).map(|block| {
        let (language, block) = block.split_once('\n').expect("a first line");
        (language, block.lines().collect::<Vec<_>>())
    });
    let files = [
        ("python", "python/main.py"),
        ("js", "node/main.js"),
        ("go", "go/main.go"),
        ("rust", "rust/main.rs"),
    ];
    for (language, file) in files {
        let (reported, block) = blocks.next().expect("a block for each language");
        assert_eq!(reported, language);
        let text = read(file);
        let lines: Vec<_> = text.lines().collect();
        let found = lines.windows(block.len()).any(|lines| dedented(lines) == dedented(&block));
        assert!(found, "{file} has not these lines:\n{}", block.join("\n"));
    }
    assert!(blocks.next().is_none(), "a block without an example");
    // The page of errors shows the service config.
    let page = std::fs::read_to_string(root().join("docs/errors.md")).expect("text");
    let block = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(block, Some(read("service_config.json").as_str()));
}

#[test]
fn the_lock_file_names_no_registry() {
    let lock = std::fs::read_to_string(root().join("examples/node/package-lock.json"));
    assert!(!lock.expect("text").contains("\"resolved\""), "npm's omit-lockfile-registry-resolved");
}

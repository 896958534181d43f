//! The callers below `examples/` with a token in a file.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tonic::transport::Channel;

use super::{call, now, serve_with, signer::Signers};
use crate::{
    examples::{Caller, in_go, in_node, in_python, in_rust},
    support::{Configured, Serve, found, until},
    tls::{connected, pki::Pki},
};

/// A server that takes tokens over TLS, where it asks for no certificate, and on a socket.
struct Server {
    pki: Pki,
    serve: Serve,
    config: Configured,
    /// It holds the socket and the file of the token.
    dir: TempDir,
    channel: Channel,
}

impl Server {
    async fn start(signers: &Signers) -> Self {
        let (pki, dir) = (Pki::new(), TempDir::new().expect("a directory"));
        let section = format!(
            "[server]\nunix = {{ path = \"{}\" }}\n{}\n[audit]\nfile = \"{}\"\n",
            dir.path().join("api.sock").display(),
            pki.section("client_auth = \"optional\""),
            dir.path().join("audit.jsonl").display()
        );
        let (serve, config) = serve_with(signers, &section, "").await;
        let channel = connected(&pki, &serve, None).await;
        found("a token", async || call(&channel, &signers.token(&json!({}))).await.ok()).await;
        Self { pki, serve, config, dir, channel }
    }

    fn token_file(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    /// Replaces the file of the token as kubelet does: no reader sees half of it.
    fn write_token(&self, token: &str) {
        let next = self.dir.path().join("token.next");
        fs::write(&next, format!("{token}\n")).expect("written");
        fs::rename(next, self.token_file()).expect("renamed");
    }

    /// From now on tokens are verified with the keys of both, of which this is one.
    async fn add_keys(&self, first: &Signers, second: &Signers, token: &str) {
        let keys = [first.keys(), second.keys()].concat();
        let keys = json!({"keys": keys});
        fs::write(self.config.dir.path().join("jwks.json"), keys.to_string()).expect("written");
        self.serve.signal("HUP");
        until("the keys are added", async || call(&self.channel, token).await.is_ok()).await;
    }

    /// The caller of the call that was refused for this reason, as it is recorded.
    async fn caller_refused(&self, reason: &str) -> String {
        let file = self.dir.path().join("audit.jsonl");
        let record = found("a record of the refusal", async || {
            let text = fs::read_to_string(&file).expect("text");
            let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            records.into_iter().find(|record| record["reason"] == reason)
        })
        .await;
        record["caller"].as_str().expect("a caller").to_owned()
    }

    /// A caller over TLS.
    fn caller(&self, mut command: Command, count: usize) -> Caller {
        let server = self.serve.server.trim_start_matches("https://");
        command
            .env("GRANTMINT_CA", self.pki.path("server-ca.pem"))
            .env("GRANTMINT_TOKEN_FILE", self.token_file());
        Caller::start(command, &server.replace("127.0.0.1", "localhost"), count)
    }
}

/// The four examples.
fn examples() -> [Command; 4] {
    [in_python(), in_node(), in_go(), in_rust()]
}

/// Between two calls of a process its token is replaced by that of another subject.
async fn a_token_that_is_replaced_is_read_again(command: Command) {
    /// More than fits into the pipe: the bulk is not over before it is read.
    const COUNT: usize = 2_000;

    let (first, second) = (Signers::new("first"), Signers::new("second"));
    let server = Server::start(&first).await;
    let other = second.token(&json!({"sub": "system:serviceaccount:media:other"}));
    server.add_keys(&first, &second, &other).await;
    server.write_token(&first.token(&json!({})));
    let mut caller = server.caller(command, COUNT);
    caller.read_to(2).await;
    server.write_token(&other);

    let (code, lines, told) = caller.ended().await;
    assert_eq!((code, lines.len()), (Some(0), 1 + COUNT + 1), "{told}");
    let last = lines.last().expect("a line");
    assert!(last.starts_with("IDENTITY_INVALID: "), "{last}");
    let caller = server.caller_refused("IDENTITY_INVALID").await;
    assert_eq!(caller, "okta:system:serviceaccount:media:other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_token_is_read_again_in_python() {
    a_token_that_is_replaced_is_read_again(in_python()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_token_is_read_again_in_node() {
    a_token_that_is_replaced_is_read_again(in_node()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_token_is_read_again_in_go() {
    a_token_that_is_replaced_is_read_again(in_go()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_token_is_read_again_in_rust() {
    a_token_that_is_replaced_is_read_again(in_rust()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_explain_a_bad_token() {
    let signers = Signers::new("k");
    let server = Server::start(&signers).await;
    let token = signers.token(&json!({"exp": now() - 60}));
    server.write_token(&token);
    for example in examples() {
        let what = format!("{example:?}");
        let (code, lines, told) = server.caller(example, 1).ended().await;
        assert_eq!((code, lines.len()), (Some(1), 0), "{what}: {told}");
        let expected = "CALLER_UNAUTHENTICATED: the caller's token has expired";
        assert!(told.lines().any(|line| line == expected), "{what}: {told}");
    }
    // What is no token is named nowhere either: it may be two, or one and a password.
    let token = signers.token(&json!({}));
    server.write_token(&format!("{token}\nsecond"));
    for example in examples() {
        let what = format!("{example:?}");
        let (code, lines, told) = server.caller(example, 1).ended().await;
        assert_eq!((code, lines.len()), (Some(1), 0), "{what}: {told}");
        assert!(!told.contains(&token) && !told.contains("second"), "{what}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn examples_send_plaintext_tokens_only_on_loopback() {
    const COUNT: usize = 10;

    let signers = Signers::new("k");
    let server = Server::start(&signers).await;
    let (plain, _config) = serve_with(&signers, "", "").await;
    let channel = plain.channel().await;
    let token = signers.token(&json!({}));
    found("a token", async || call(&channel, &token).await.ok()).await;
    server.write_token(&token);
    let socket = server.dir.path().join("api.sock").display().to_string();
    let loopback = plain.server.trim_start_matches("http://");
    for is_socket in [true, false] {
        for (index, mut example) in examples().into_iter().enumerate() {
            let what = format!("{example:?}");
            let to = match (is_socket, index) {
                (true, 2) => format!("unix://{socket}"),
                (true, _) => format!("unix:{socket}"),
                (false, _) => loopback.to_owned(),
            };
            example.env("GRANTMINT_TOKEN_FILE", server.token_file());
            let (code, lines, told) = Caller::start(example, &to, COUNT).ended().await;
            assert_eq!((code, lines.len()), (Some(0), COUNT + 2), "{what} {to}: {told}");
        }
    }
    // Python's library judges by the address that it has reached: nothing is there.
    for mut example in [in_node(), in_go(), in_rust()] {
        let what = format!("{example:?}");
        example.env("GRANTMINT_TOKEN_FILE", server.token_file());
        let (code, lines, told) = Caller::start(example, "mint.invalid:1", 1).ended().await;
        assert_eq!((code, lines.len()), (Some(1), 0), "{what}: {told}");
        let told_so = told.contains("in plain text") || told.contains("transport level security");
        assert!(told_so, "{what}: {told}");
    }
}

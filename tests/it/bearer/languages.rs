//! The callers in `examples/` with a token in a file.

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

/// A server that accepts tokens over TLS without client certificates, and on a socket.
struct Server {
    pki: Pki,
    serve: Serve,
    config: Configured,
    /// The directory of the socket and the token's file.
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

    /// Replaces the token's file as kubelet does: a reader sees the old or the new file, never part
    /// of one.
    fn write_token(&self, token: &str) {
        let next = self.dir.path().join("token.next");
        fs::write(&next, format!("{token}\n")).expect("written");
        fs::rename(next, self.token_file()).expect("renamed");
    }

    /// Adds the keys of both issuers and waits until `token` is accepted.
    async fn add_keys(&self, first: &Signers, second: &Signers, token: &str) {
        let keys = [first.keys(), second.keys()].concat();
        let keys = json!({"keys": keys});
        fs::write(self.config.dir.path().join("jwks.json"), keys.to_string()).expect("written");
        self.serve.signal("HUP");
        until("the keys are added", async || call(&self.channel, token).await.is_ok()).await;
    }

    /// The recorded caller of the call that was refused for this reason.
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

/// Replaces a process's token between two calls by one of another subject.
async fn replaced_token_is_read_again(command: Command) {
    /// More than fits into the pipe: the bulk cannot end before it is read.
    const COUNT: usize = 2_000;

    let (first, second) = (Signers::new("first"), Signers::new("second"));
    let server = Server::start(&first).await;
    let other = second.token(&json!({"sub": "system:serviceaccount:media:other"}));
    server.add_keys(&first, &second, &other).await;
    server.write_token(&first.token(&json!({})));
    let mut caller = server.caller(command, COUNT);
    caller.read_to(2).await;
    server.write_token(&other);

    let (code, lines, reported) = caller.ended().await;
    assert_eq!((code, lines.len()), (Some(0), 1 + COUNT + 1), "{reported}");
    let last = lines.last().expect("a line");
    assert!(last.starts_with("IDENTITY_INVALID: "), "{last}");
    let caller = server.caller_refused("IDENTITY_INVALID").await;
    assert_eq!(caller, "okta:system:serviceaccount:media:other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_token_is_read_again_in_python() {
    replaced_token_is_read_again(in_python()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_token_is_read_again_in_node() {
    replaced_token_is_read_again(in_node()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_token_is_read_again_in_go() {
    replaced_token_is_read_again(in_go()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_token_is_read_again_in_rust() {
    replaced_token_is_read_again(in_rust()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_explain_a_bad_token() {
    let signers = Signers::new("k");
    let server = Server::start(&signers).await;
    let token = signers.token(&json!({"exp": now() - 60}));
    server.write_token(&token);
    for example in examples() {
        let what = format!("{example:?}");
        let (code, lines, reported) = server.caller(example, 1).ended().await;
        assert_eq!((code, lines.len()), (Some(1), 0), "{what}: {reported}");
        let expected = "CALLER_UNAUTHENTICATED: the caller's token has expired";
        assert!(reported.lines().any(|line| line == expected), "{what}: {reported}");
    }
    // A file without exactly one token is not named either: it may hold two, or a password too.
    let token = signers.token(&json!({}));
    server.write_token(&format!("{token}\nsecond"));
    for example in examples() {
        let what = format!("{example:?}");
        let (code, lines, reported) = server.caller(example, 1).ended().await;
        assert_eq!((code, lines.len()), (Some(1), 0), "{what}: {reported}");
        assert!(!reported.contains(&token) && !reported.contains("second"), "{what}: {reported}");
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
            let (code, lines, reported) = Caller::start(example, &to, COUNT).ended().await;
            assert_eq!((code, lines.len()), (Some(0), COUNT + 2), "{what} {to}: {reported}");
        }
    }
    // Python's library decides by the address of its connection; nothing listens there.
    for mut example in [in_node(), in_go(), in_rust()] {
        let what = format!("{example:?}");
        example.env("GRANTMINT_TOKEN_FILE", server.token_file());
        let (code, lines, reported) = Caller::start(example, "mint.invalid:1", 1).ended().await;
        assert_eq!((code, lines.len()), (Some(1), 0), "{what}: {reported}");
        let is_reported =
            reported.contains("in plain text") || reported.contains("transport level security");
        assert!(is_reported, "{what}: {reported}");
    }
}

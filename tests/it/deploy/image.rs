//! The image: its Dockerfile, and the static binary where there is nothing else.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use rcgen::{CertificateParams, SanType};
use tempfile::TempDir;
use tokio::process::Command;
use tonic::transport::{Channel, Endpoint};

use super::{root, static_binary, tool};
use crate::{
    python::{python, succeeds},
    support::{Serve, found, mint, run_command, soon},
    tls::pki::Entity,
};
use grantmint::rpc::proto::token_service_client::TokenServiceClient;

#[tokio::test]
async fn dockerfile_has_no_lint() {
    succeeds(tool("hadolint").arg(root().join("Dockerfile"))).await;
}

/// A root directory with the static binary in it, as the image has it.
struct Root(TempDir);

impl Root {
    fn new() -> Self {
        let dir = TempDir::new_in(root().join("target")).expect("a directory");
        fs::hard_link(static_binary(), dir.path().join("grantmint")).expect("linked");
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, as the directory's own processes see it.
    fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.path().join(file);
        fs::create_dir_all(path.parent().expect("a directory")).expect("created");
        fs::write(&path, text).expect("written");
        path
    }

    /// Runs its binary.
    fn command(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--root"]).arg(self.path()).arg("/grantmint");
        command
    }
}

#[tokio::test]
async fn static_binary_serves_from_an_empty_root() {
    let root = Root::new();
    let serve = Serve::by(root.command(), Stdio::piped(), &["--sandbox"]).await;
    let token = serve.first_token().await.token;
    assert_eq!(token.matches('.').count(), 2, "{token}");

    found("the image's health check", async || {
        let mut health = root.command();
        health.args(["health", "--server", &serve.server]).env_clear();
        let ran = run_command(health).await;
        (ran.code == Some(0) && ran.stdout == "SERVING\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn static_binary_resolves_names_and_finds_the_image_s_roots() {
    let root = Root::new();
    let authority = Entity::authority("Upstream CA");
    let mut params = CertificateParams::new([]).expect("no names");
    params.subject_alt_names = vec![SanType::DnsName(UPSTREAM.try_into().expect("ASCII"))];
    let upstream = authority.issue(params);
    let dir = TempDir::new().expect("a directory");
    let pair = dir.path().join("upstream.pem");
    fs::write(&pair, upstream.pem() + &upstream.key_pem()).expect("written");

    root.write("etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1\n");
    root.write("etc/ssl/certs/ca-certificates.crt", &authority.pem());
    root.write(
        "etc/grantmint/grantmint.toml",
        &format!(
            "[server]\nunix = {{ path = \"/api.sock\" }}\n[profiles.shared]\nkind = \"forward\"\n\
             url = \"https://{UPSTREAM}/token\"\nmethod = \"GET\"\ncredential = \"/token\"\n\
             life = \"1h\"\nshareable = true\n",
        ),
    );
    // A network of its own, where the port of DNS is free.
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "--pid", "--fork", "--kill-child"]);
    // As a container has it; the socket's file is opened by way of it.
    let proc = root.path().join("proc");
    fs::create_dir(&proc).expect("created");
    command.arg(format!("--mount-proc={}", proc.display()));
    command.arg(python()).arg(super::root().join("tests/python/names.py"));
    command.args([UPSTREAM, pair.to_str().expect("text")]);
    command.args(["unshare", "--root"]).arg(root.path()).arg("/grantmint");
    let arguments = ["--config", "/etc/grantmint/grantmint.toml"];
    let serve = Serve::by(command, Stdio::piped(), &arguments).await;

    let mut tokens = TokenServiceClient::new(by_socket(&root.path().join("api.sock")).await);
    let minted = found("a grant", async || {
        let minted = soon(tokens.mint_token(mint("alice", None))).await;
        minted.ok().map(tonic::Response::into_inner)
    })
    .await;
    assert_eq!(minted.token, "known-by-name");
    drop(serve);
}

/// The upstream's name, which only the test's own DNS server knows.
const UPSTREAM: &str = "upstream.grantmint.test";

async fn by_socket(path: &Path) -> Channel {
    let endpoint = Endpoint::from_shared(format!("unix:{}", path.display())).expect("a URL");
    soon(endpoint.connect()).await.expect("a connection")
}

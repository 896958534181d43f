//! The image: its Dockerfile, whose last stage buildah builds here around the static debug binary.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use rcgen::{CertificateParams, SanType};
use serde_json::{Value, json};
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

/// An unpacked image.
struct Image {
    dir: TempDir,
    config: Value,
    /// The archive of its only layer.
    layer: PathBuf,
}

impl Image {
    async fn build() -> Self {
        let dir = TempDir::new_in(root().join("target")).expect("a directory");
        let mut build = Command::new(root().join("deploy/release/image"));
        build.arg(static_binary()).arg(dir.path()).args(["test", "f00d", "1700000000"]);
        succeeds(&mut build).await;

        unpack(&dir.path().join(ARCHIVE), dir.path()).await;
        let read = |name: &str| {
            let text = fs::read_to_string(dir.path().join(name)).expect("a file of the image");
            serde_json::from_str::<Value>(&text).expect("JSON")
        };
        let manifest = read("manifest.json");
        let [layer] = &manifest[0]["Layers"].as_array().expect("layers")[..] else {
            panic!("more than one layer: {manifest}")
        };
        let layer = dir.path().join(layer.as_str().expect("a name"));
        let config = read(manifest[0]["Config"].as_str().expect("a name"))["config"].take();
        let image = Self { dir, config, layer };
        unpack(&image.layer, &image.root()).await;
        image
    }

    fn archive(&self) -> PathBuf {
        self.dir.path().join(ARCHIVE)
    }

    /// Where its files are.
    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Writes a file, as the image's processes see it.
    fn write(&self, file: &str, text: &str) {
        let path = self.root().join(file);
        fs::create_dir_all(path.parent().expect("a directory")).expect("created");
        fs::write(&path, text).expect("written");
    }

    /// Runs the command at this pointer of its configuration, as its user.
    fn command(&self, pointer: &str) -> Command {
        let user = self.config["User"].as_str().expect("a user");
        let (user, group) = user.split_once(':').expect("a group");
        let mut command = Command::new("unshare");
        command.args([format!("--map-user={user}"), format!("--map-group={group}")]);
        command.arg("--root").arg(self.root());
        let words = self.config.pointer(pointer).and_then(Value::as_array).expect("a command");
        command.args(words.iter().filter_map(Value::as_str).filter(|it| *it != "CMD"));
        command
    }
}

/// The image's archive.
const ARCHIVE: &str = "grantmint-test-image.tar";

async fn unpack(archive: &Path, into: &Path) {
    fs::create_dir_all(into).expect("created");
    let mut tar = Command::new("tar");
    succeeds(tar.arg("xf").arg(archive).arg("-C").arg(into)).await;
}

#[tokio::test]
async fn image_is_reproducible_and_as_the_dockerfile_says() {
    let (image, again) = (Image::build().await, Image::build().await);
    let bytes = |image: &Image| fs::read(image.archive()).expect("an archive");
    assert!(bytes(&image) == bytes(&again), "the image differs from build to build");

    let mut list = Command::new("tar");
    let list = succeeds(list.arg("tvf").arg(&image.layer).env("TZ", "UTC")).await;
    let files = list.lines().map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        (words[0], words[1], words[3], words[5])
    });
    let (directory, day) = ("drwxr-xr-x", "2023-11-14");
    assert_eq!(
        files.collect::<Vec<_>>(),
        [
            (directory, "0/0", day, "etc/"),
            (directory, "0/0", day, "etc/ssl/"),
            (directory, "0/0", day, "etc/ssl/certs/"),
            ("-rw-r--r--", "0/0", day, "etc/ssl/certs/ca-certificates.crt"),
            ("-rwxr-xr-x", "0/0", day, "grantmint"),
        ]
    );

    let config = &image.config;
    let second = 1_000_000_000_u64;
    let expected = json!({
        "User": "65532:65532",
        "Entrypoint": ["/grantmint"],
        "Cmd": ["serve", "--config", "/etc/grantmint/grantmint.toml"],
        "ExposedPorts": {"50051/tcp": {}, "9464/tcp": {}},
        "StopSignal": "SIGTERM",
        "Healthcheck": {
            "Test": ["CMD", "/grantmint", "health"],
            "Interval": 10 * second,
            "Timeout": 5 * second,
            "StartPeriod": 60 * second,
        },
    });
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(config[key], *value, "{key}");
    }
    for (label, value) in [
        ("title", env!("CARGO_PKG_NAME")),
        ("licenses", env!("CARGO_PKG_LICENSE")),
        ("version", "test"),
        ("revision", "f00d"),
    ] {
        assert_eq!(config["Labels"][format!("org.opencontainers.image.{label}")], value);
    }

    // It can be loaded: the layer has the digest that the configuration states.
    let storage = image.dir.path().join("storage");
    let mut pull = Command::new("buildah");
    pull.arg("--root").arg(&storage).arg("--runroot").arg(image.dir.path().join("run"));
    pull.args(["--storage-driver=vfs", "pull"]);
    succeeds(pull.arg(format!("docker-archive:{}", image.archive().display()))).await;
}

#[tokio::test]
async fn image_serves_a_caller_outside_as_its_user() {
    let image = Image::build().await;
    let serve = Serve::by(image.command("/Entrypoint"), Stdio::piped(), &["--sandbox"]).await;
    let token = serve.first_token().await.token;
    assert_eq!(token.matches('.').count(), 2, "{token}");

    found("the image's health check", async || {
        let mut health = image.command("/Healthcheck/Test");
        health.env_clear().env("GRANTMINT_SERVER", &serve.server);
        let ran = run_command(health).await;
        (ran.code == Some(0) && ran.stdout == "SERVING\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn image_resolves_names_and_finds_its_roots() {
    let image = Image::build().await;
    let authority = Entity::authority("Upstream CA");
    let mut params = CertificateParams::new([]).expect("no names");
    params.subject_alt_names = vec![SanType::DnsName(UPSTREAM.try_into().expect("ASCII"))];
    let upstream = authority.issue(params);
    let dir = TempDir::new().expect("a directory");
    let pair = dir.path().join("upstream.pem");
    fs::write(&pair, upstream.pem() + &upstream.key_pem()).expect("written");

    image.write("etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1\n");
    image.write("etc/ssl/certs/ca-certificates.crt", &authority.pem());
    image.write(
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
    let proc = image.root().join("proc");
    fs::create_dir(&proc).expect("created");
    command.arg(format!("--mount-proc={}", proc.display()));
    command.arg(python()).arg(root().join("tests/python/names.py"));
    command.args([UPSTREAM, pair.to_str().expect("text")]);
    command.args(["unshare", "--root"]).arg(image.root()).arg("/grantmint");
    let arguments = ["--config", "/etc/grantmint/grantmint.toml"];
    let serve = Serve::by(command, Stdio::piped(), &arguments).await;

    let mut tokens = TokenServiceClient::new(by_socket(&image.root().join("api.sock")).await);
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

//! The real binary as a child of the test, and real clients of it.

use std::{
    process::{ExitStatus, Stdio},
    time::Duration,
};

use grantmint::rpc::proto::{
    grant_service_client::GrantServiceClient, token_service_client::TokenServiceClient,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    task::JoinHandle,
    time::timeout,
};
use tonic::transport::{Channel, Endpoint};

/// Nothing in a test takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_grantmint");

/// Fails where something hangs.
pub(crate) async fn soon<F: IntoFuture>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("it hangs")
}

/// A `grantmint serve` of its own, killed with its handle.
pub(crate) struct Serve {
    child: Child,
    /// Read as it is written: a full pipe would hold the server.
    log: JoinHandle<String>,
    _stdout: BufReader<ChildStdout>,
    pub(crate) server: String,
    pub(crate) admin: String,
    pub(crate) sandbox: Option<String>,
}

impl Serve {
    /// `serve --sandbox` and these arguments, on free ports.
    pub(crate) async fn sandboxed(arguments: &[&str]) -> Self {
        let mut all = vec!["--sandbox"];
        all.extend(arguments);
        Self::start(&all).await
    }

    /// `serve` with these arguments, on free ports.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        command
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--log-format", "json", "--log", "trace,h2=info,hyper=info"])
            .args(arguments)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("the binary starts");
        let mut stderr = child.stderr.take().expect("piped");
        let log = tokio::spawn(async move {
            let mut log = String::new();
            stderr.read_to_string(&mut log).await.expect("standard error is text");
            log
        });
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        soon(stdout.read_line(&mut line)).await.expect("a line of addresses");
        let Ok(told) = serde_json::from_str::<serde_json::Value>(&line) else {
            panic!("no addresses: {}", soon(log).await.expect("the log"));
        };
        let text = |key: &str| told[key].as_str().map(str::to_owned);
        Self {
            child,
            log,
            _stdout: stdout,
            server: text("server").expect("a server"),
            admin: text("admin").expect("an admin listener"),
            sandbox: text("sandbox"),
        }
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(self.server.clone()).expect("a URL");
        soon(endpoint.connect()).await.expect("a connection")
    }

    pub(crate) async fn tokens(&self) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.channel().await).max_decoding_message_size(16 << 20)
    }

    pub(crate) async fn grants(&self) -> GrantServiceClient<Channel> {
        GrantServiceClient::new(self.channel().await)
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits for its end; what it wrote to standard error comes along.
    pub(crate) async fn ended(mut self) -> (ExitStatus, String) {
        let status = soon(self.child.wait()).await.expect("an exit status");
        (status, soon(self.log).await.expect("the log"))
    }

    /// An admin page's status and body.
    pub(crate) async fn page(&self, path: &str) -> (u16, String) {
        get(&format!("{}{path}", self.admin)).await
    }
}

/// A GET's status and body.
pub(crate) async fn get(url: &str) -> (u16, String) {
    request("GET", url, "").await
}

/// A request's status and body.
pub(crate) async fn request(method: &str, url: &str, body: &str) -> (u16, String) {
    use tokio::io::AsyncWriteExt;

    let rest = url.strip_prefix("http://").expect("plain http");
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = soon(tokio::net::TcpStream::connect(authority)).await.expect("a connection");
    let length = body.len();
    let request = format!(
        "{method} /{path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    (status, body)
}

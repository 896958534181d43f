//! The real binary as a child process of the test, and real clients of it.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use grantmint::{
    provider::{
        self,
        twilio_live::{DEMO_ACCOUNT_SID, DEMO_API_KEY_SECRET, DEMO_API_KEY_SID, DEMO_RESOURCE},
    },
    rpc::proto::{
        IdentitySeries, MintOptions, MintTokenRequest, MintTokenResponse, MintTokensRequest,
        grant_service_client::GrantServiceClient, mint_tokens_request::Selection,
        token_service_client::TokenServiceClient,
    },
    sandbox,
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    process::{Child, ChildStdout, Command},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

/// A sandbox that emulates the demo's upstream.
pub(crate) fn emulated() -> sandbox::Config {
    let demo = provider::demo().expect("a demo");
    sandbox::Config::new(vec![demo.endpoint().expect("an upstream")])
}

/// The timeout of every wait in a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_grantmint");

/// Fails if the future does not finish within [`PATIENCE`].
pub(crate) async fn soon<F: IntoFuture>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("timed out")
}

/// Polls until the condition holds; fails if it never does.
pub(crate) async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    found(what, async || look().await.then_some(())).await;
}

/// Polls until there is a value; fails if there is none in time.
pub(crate) async fn found<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let requested = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, requested)
        .await
        .unwrap_or_else(|_| panic!("this did not happen in time: {what}"))
}

/// The outcome of a command.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command of the binary to its end.
pub(crate) async fn run(arguments: &[&str]) -> CommandOutput {
    let mut command = Command::new(BINARY);
    command.args(arguments).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    run_command(command).await
}

/// Runs a command to its end.
pub(crate) async fn run_command(mut command: Command) -> CommandOutput {
    let output = soon(command.output()).await.expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    CommandOutput {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// A configuration in its own directory, for the sandbox's account.
pub(crate) struct Configured {
    pub(crate) dir: TempDir,
    pub(crate) file: PathBuf,
}

impl Configured {
    /// One profile, `demo`, with these lines in it.
    pub(crate) fn profile(lines: &str) -> Self {
        Self::with_secret("", lines, DEMO_API_KEY_SECRET)
    }

    /// The same with `top` before the profile and with this API key secret.
    pub(crate) fn with_secret(top: &str, lines: &str, secret: &str) -> Self {
        let dir = TempDir::new().expect("a directory");
        let kept = dir.path().join("secret");
        fs::write(&kept, secret).expect("written");
        let file = dir.path().join("grantmint.toml");
        let text = format!(
            r#"{top}
[profiles.demo]
kind = "twilio-live"
account_sid = "{DEMO_ACCOUNT_SID}"
api_key_sid = "{DEMO_API_KEY_SID}"
api_key_secret_file = "{}"
resources = ["{DEMO_RESOURCE}"]
{lines}
"#,
            kept.display()
        );
        fs::write(&file, text).expect("written");
        Self { dir, file }
    }

    pub(crate) fn path(&self) -> &str {
        self.file.to_str().expect("a UTF-8 path")
    }
}

/// A `grantmint serve` process, killed when this value is dropped.
pub(crate) struct Serve {
    child: Child,
    /// Standard error of the process, unless the test takes it.
    log: Option<JoinHandle<String>>,
    _stdout: BufReader<ChildStdout>,
    pub(crate) server: String,
    pub(crate) admin: String,
    pub(crate) sandbox: Option<String>,
}

impl Serve {
    /// `serve --sandbox` with these arguments, on free ports. Without a configuration it serves
    /// only the demo's profile, so that all metrics are that profile's.
    pub(crate) async fn sandboxed(arguments: &[&str]) -> Self {
        let alone = (!arguments.contains(&"--config")).then(|| Configured::profile(""));
        let mut all = vec!["--sandbox"];
        all.extend(alone.iter().flat_map(|alone| ["--config", alone.path()]));
        all.extend(arguments);
        Self::start(&all).await
    }

    /// `serve --sandbox` with this configuration.
    pub(crate) async fn configured(config: &Configured, arguments: &[&str]) -> Self {
        let mut all = vec!["--config", config.path()];
        all.extend(arguments);
        Self::sandboxed(&all).await
    }

    /// `serve` with these arguments, on free ports.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        Self::by(Command::new(BINARY), Stdio::piped(), arguments).await
    }

    /// The same with this standard error.
    pub(crate) async fn logging_to(stderr: Stdio, arguments: &[&str]) -> Self {
        Self::by(Command::new(BINARY), stderr, arguments).await
    }

    /// The same after this shell command, such as `ulimit -n 96`.
    pub(crate) async fn under(setting: &str, arguments: &[&str]) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("{setting} && exec \"$0\" \"$@\""), BINARY]);
        Self::by(shell, Stdio::piped(), arguments).await
    }

    /// `serve --sandbox` with this configuration, which sets the listening addresses.
    pub(crate) async fn where_configured(config: &Configured) -> Self {
        let arguments = ["serve", "--sandbox", "--config", config.path()];
        Self::run_by(Command::new(BINARY), Stdio::piped(), &arguments).await
    }

    /// `serve --sandbox` with this configuration, which sets the log filter.
    pub(crate) async fn logging_as_configured(config: &Configured) -> Self {
        let address = "127.0.0.1:0";
        let arguments = ["serve", "--sandbox", "--listen", address, "--config", config.path()];
        Self::run_logging(Command::new(BINARY), Stdio::piped(), &arguments, &[]).await
    }

    /// `serve` with these arguments, by this command, on free ports.
    pub(crate) async fn by(command: Command, stderr: Stdio, arguments: &[&str]) -> Self {
        let mut all = vec!["serve"];
        if !arguments.contains(&"--listen") {
            all.extend(["--listen", "127.0.0.1:0"]);
        }
        all.extend(arguments);
        Self::run_by(command, stderr, &all).await
    }

    async fn run_by(command: Command, stderr: Stdio, arguments: &[&str]) -> Self {
        let is_set = arguments.contains(&"--log");
        let log: &[&str] = if is_set { &[] } else { &["--log", "trace"] };
        Self::run_logging(command, stderr, arguments, log).await
    }

    async fn run_logging(
        mut command: Command,
        stderr: Stdio,
        arguments: &[&str],
        log: &[&str],
    ) -> Self {
        command.args(arguments).args(log);
        if !arguments.contains(&"--admin-listen") {
            command.args(["--admin-listen", "127.0.0.1:0"]);
        }
        command
            .arg("--json")
            .args(["--log-format", "json"])
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true);
        let mut child = command.spawn().expect("the binary starts");
        let log = child.stderr.take().map(|mut stderr| {
            tokio::spawn(async move {
                let mut log = String::new();
                stderr.read_to_string(&mut log).await.expect("standard error is text");
                log
            })
        });
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        soon(stdout.read_line(&mut line)).await.expect("a line of addresses");
        let Ok(reported) = serde_json::from_str::<Value>(&line) else {
            panic!("no addresses: {}", read(log).await);
        };
        let text = |key: &str| reported[key].as_str().map(str::to_owned);
        Self {
            child,
            log,
            _stdout: stdout,
            server: text("server").expect("a server"),
            admin: text("admin").expect("an admin listener"),
            sandbox: text("sandbox"),
        }
    }

    /// The listening address.
    pub(crate) fn address(&self) -> SocketAddr {
        let (_, address) = self.server.split_once("://").expect("a URL");
        address.parse().expect("an address")
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

    pub(crate) async fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel().await)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("a running process")
    }

    /// A token, once there is one.
    pub(crate) async fn first_token(&self) -> MintTokenResponse {
        let mut tokens = self.tokens().await;
        found("a token", async || {
            let answer = soon(tokens.mint_token(mint("first", None))).await;
            answer.ok().map(tonic::Response::into_inner)
        })
        .await
    }

    /// Sets a fault of the sandbox.
    pub(crate) async fn set_fault(&self, fault: &str) {
        let (status, body) = request("PUT", &self.sandbox_url("fault"), fault).await;
        assert_eq!(status, 204, "{body}");
    }

    /// Clears the faults of the sandbox.
    pub(crate) async fn clear_faults(&self) {
        assert_eq!(request("DELETE", &self.sandbox_url("fault"), "").await.0, 204);
    }

    /// The sandbox's counters.
    pub(crate) async fn counters(&self) -> Value {
        let (_, body) = get(&self.sandbox_url("counters")).await;
        serde_json::from_str(&body).expect("JSON")
    }

    fn sandbox_url(&self, path: &str) -> String {
        let base = self.sandbox.as_deref().expect("it runs with a sandbox");
        format!("{}/sandbox/{path}", base.trim_end_matches('/'))
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Restricts the process to one core.
    pub(crate) fn hold_to_one_core(&self) {
        let mut one = CpuSet::new();
        let allowed = sched_getaffinity(None).expect("permission");
        let first = (0..CpuSet::MAX_CPU).find(|core| allowed.is_set(*core)).expect("a core");
        one.set(first);
        let threads =
            fs::read_dir(format!("/proc/{}/task", self.pid())).expect("a running process");
        for thread in threads {
            let name = thread.expect("a thread").file_name();
            let id = name.to_str().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
            sched_setaffinity(id, &one).expect("permission");
        }
    }

    /// Processor time used so far.
    pub(crate) fn cpu(&self) -> Duration {
        cpu(self.pid())
    }

    /// See [`idles`].
    pub(crate) async fn idles(&self) {
        idles(self.pid()).await;
    }

    /// Waits for the process to end; returns its exit status and its standard error.
    pub(crate) async fn ended(mut self) -> (ExitStatus, String) {
        let status = soon(self.child.wait()).await.expect("an exit status");
        (status, read(self.log).await)
    }

    /// An admin page's status and body; metrics in the `OpenMetrics` format.
    pub(crate) async fn page(&self, path: &str) -> (u16, String) {
        let url = format!("{}{path}", self.admin);
        let answer = answer("GET", &url, &["accept: application/openmetrics-text"], "").await;
        (answer.status, answer.body)
    }
}

/// Processor time used by all threads of a process in user and kernel mode: proc(5).
fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    // The command's name may contain anything and ends at the last parenthesis; utime and stime are
    // the 14th and 15th fields.
    let fields = stat.rsplit_once(") ").expect("a name").1.split(' ');
    let ticks = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number"));
    let ticks_a_second = rustix::param::clock_ticks_per_second();
    Duration::from_millis(ticks.sum::<u64>() * 1_000 / ticks_a_second)
}

/// Asserts that an unused process takes up to 5 % of a core over two seconds. This is the process's
/// own time, so a busy machine does not matter; a busy loop takes a whole core.
pub(crate) async fn idles(pid: u32) {
    let window = Duration::from_secs(2);
    let before = cpu(pid);
    sleep(window).await;
    let used = cpu(pid).saturating_sub(before);
    assert!(used <= window / 20, "{used:?} of processor time in {window:?}");
}

async fn read(log: Option<JoinHandle<String>>) -> String {
    match log {
        Some(log) => soon(log).await.expect("the log"),
        None => String::new(),
    }
}

/// A port that stays reserved while this value is held, for servers that follow one another.
pub(crate) fn reserved_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    socket
}

/// A GET's status and body.
pub(crate) async fn get(url: &str) -> (u16, String) {
    request("GET", url, "").await
}

/// A request's status and body.
pub(crate) async fn request(method: &str, url: &str, body: &str) -> (u16, String) {
    let answer = answer(method, url, &[], body).await;
    (answer.status, answer.body)
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The status line and the header lines.
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The value of this header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(its, _)| its.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Sends a request with these header lines.
pub(crate) async fn answer(method: &str, url: &str, headers: &[&str], body: &str) -> Answer {
    let rest = url.strip_prefix("http://").expect("plain http");
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = soon(TcpStream::connect(authority)).await.expect("a connection");
    let length = body.len();
    let headers: String = headers.iter().flat_map(|line| [line, "\r\n"]).collect();
    let request = format!(
        "{method} /{path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// A request for one token.
pub(crate) fn mint(identity: &str, options: Option<MintOptions>) -> MintTokenRequest {
    MintTokenRequest { options, identity: identity.to_owned() }
}

/// A request for the tokens of `viewer-START` to `viewer-{count - 1}`.
pub(crate) fn series(start_index: i64, count: i64) -> MintTokensRequest {
    let series = IdentitySeries { prefix: "viewer-".to_owned(), count };
    MintTokensRequest {
        options: None,
        selection: Some(Selection::IdentitySeries(series)),
        start_index,
        chunk_size: 0,
    }
}

/// A token's payload.
pub(crate) fn payload(token: &str) -> String {
    let payload = token.split('.').nth(1).expect("a JWT");
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).expect("base64");
    String::from_utf8(payload).expect("text")
}

/// A token's claims, verified with the demo's key as a third party does. Its times are not compared
/// with the clock but with those reported for it: a busy machine may verify it after its expiry.
pub(crate) fn verified(token: &str) -> Value {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.set_issuer(&[DEMO_API_KEY_SID]);
    let key = DecodingKey::from_secret(DEMO_API_KEY_SECRET.as_bytes());
    let token = jsonwebtoken::decode::<Value>(token, &key, &validation).expect("a good token");
    assert_eq!(token.header.cty.as_deref(), Some("twilio-fpa;v=1"));
    token.claims
}

/// The reason in a status's `ErrorInfo`.
pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().map_or_else(|| panic!("no reason: {status:?}"), |it| it.reason)
}

/// A value in a status's `ErrorInfo`.
pub(crate) fn error_metadata(status: &Status, key: &str) -> Option<String> {
    status.get_details_error_info()?.metadata.get(key).cloned()
}

/// The resume index of an interrupted bulk.
pub(crate) fn resume_index(status: &Status) -> i64 {
    let index = error_metadata(status, "resume_index");
    let index = index.unwrap_or_else(|| panic!("no resume index: {status:?}"));
    index.parse().expect("a number")
}

//! A running Prometheus and its API.

use std::{
    fs,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

use crate::support::{found, soon, until};

/// A program of Prometheus that `make test` installs, or the one in `GRANTMINT_NAME`.
pub(crate) fn tool(name: &str) -> Command {
    let made = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/prometheus").join(name);
    let chosen = std::env::var_os(format!("GRANTMINT_{}", name.to_uppercase()));
    let tool = chosen.map_or(made, PathBuf::from);
    assert!(tool.exists(), "{} is missing: run make test", tool.display());
    Command::new(tool)
}

/// The interval of scrapes and of rule evaluations.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);

/// A Prometheus process, killed when this value is dropped.
pub(super) struct Prometheus {
    _child: Child,
    log: Arc<Mutex<Vec<Value>>>,
    address: String,
    _dir: TempDir,
}

impl Prometheus {
    /// A server that scrapes the admin listener at this URL, and evaluates these rules.
    pub(super) async fn start(admin: &str, rules: &str) -> Self {
        let dir = TempDir::new().expect("a directory");
        let target = admin.trim_start_matches("http://").trim_end_matches('/');
        let interval = INTERVAL.as_millis();
        let config = format!(
            "global: {{ scrape_interval: {interval}ms, scrape_timeout: {interval}ms, \
             evaluation_interval: {interval}ms }}\nrule_files: [rules.yaml]\nscrape_configs:\n  \
             - job_name: grantmint\n    static_configs: [{{ targets: ['{target}'] }}]\n"
        );
        let file = dir.path().join("prometheus.yaml");
        fs::write(&file, config).expect("written");
        fs::write(dir.path().join("rules.yaml"), rules).expect("written");
        let mut command = tool("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--log.format=json", "--log.level=debug"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("Prometheus starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                written.lock().expect("no panic").push(line);
            }
        });
        let address = found("Prometheus's address", async || {
            let log = log.lock().expect("no panic");
            let listening = log.iter().find(|line| line["msg"] == "Listening on")?;
            listening["address"].as_str().map(str::to_owned)
        })
        .await;
        let prometheus = Self { _child: child, log, address, _dir: dir };
        until("Prometheus is ready", async || prometheus.get("/-/ready").await.0 == 200).await;
        prometheus
    }

    /// Waits for this many successful scrapes.
    pub(super) async fn scraped(&self, times: usize) {
        let query = format!("count_over_time((up == 1)[30s:{}ms])", INTERVAL.as_millis());
        until("some scrapes", async || {
            let series = self.query(&query).await;
            let count = series.first().and_then(|it| it["value"][1].as_str()?.parse().ok());
            count.unwrap_or(0) >= times
        })
        .await;
    }

    /// The series that an expression returns now; it must be valid and cause no warning.
    pub(super) async fn query(&self, expression: &str) -> Vec<Value> {
        let data = self.api("query", &[("query", expression)]).await;
        data["result"].as_array().unwrap_or_else(|| panic!("{expression}: {data}")).clone()
    }

    /// The data of a successful API request without warnings.
    pub(super) async fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let query =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let (status, body) = self.get(&format!("/api/v1/{path}?{query}")).await;
        let mut answer: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((status, &answer["warnings"]), (200, &Value::Null), "{parameters:?}: {body}");
        answer["data"].take()
    }

    /// What its log reports as a warning, or as a failed scrape.
    pub(super) fn warnings(&self) -> Vec<Value> {
        let log = self.log.lock().expect("no panic");
        let bad = |line: &&Value| {
            let message = line["msg"].as_str().unwrap_or_default();
            matches!(line["level"].as_str(), Some("warn" | "error") | None)
                || message.contains("failed")
                || message.contains("Error")
        };
        log.iter().filter(bad).cloned().collect()
    }

    /// A page, by HTTP/1.0, so that it is not sent in chunks.
    async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = soon(TcpStream::connect(&self.address)).await.expect("a connection");
        let request = format!("GET {path} HTTP/1.0\r\nhost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.expect("an answer");
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        (status.expect("a status"), body.to_owned())
    }
}

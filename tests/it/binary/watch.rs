//! `grants --watch` on a terminal, in a pipe, and across a server restart.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    process::Stdio,
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Termios, Winsize, tcgetattr, tcsetwinsize},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
};

use crate::support::{BINARY, Configured, Serve, reserved_port, soon, until};

/// A terminal that records everything written to it.
pub(super) struct Terminal {
    /// The program's side.
    device: File,
    written: Arc<Mutex<String>>,
}

impl Terminal {
    pub(super) fn open(columns: u16, rows: u16) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&ours).expect("granted");
        unlockpt(&ours).expect("unlocked");
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size).expect("resized");
        let name = ptsname(&ours, Vec::new()).expect("a name");
        let device = File::options().read(true).write(true).open(name.to_str().expect("text"));
        let written = Arc::new(Mutex::new(String::new()));
        record(ours, Arc::clone(&written));
        Self { device: device.expect("a device"), written }
    }

    pub(super) fn stdio(&self) -> Stdio {
        self.device.try_clone().expect("another handle").into()
    }

    pub(super) fn written(&self) -> String {
        self.written.lock().expect("no panic").clone()
    }

    /// All output of a process that has exited. What it wrote last may not have been read yet, so
    /// this waits for a mark written after it.
    pub(super) async fn all_written(&self) -> String {
        const MARK: &str = "<end>";
        (&self.device).write_all(MARK.as_bytes()).expect("written");
        until("all output is read", async || self.written().ends_with(MARK)).await;
        self.written().replace(MARK, "")
    }

    fn modes(&self) -> Termios {
        tcgetattr(self.device.as_fd()).expect("modes")
    }
}

/// Records the output until the other side is closed.
fn record(from: OwnedFd, to: Arc<Mutex<String>>) {
    thread::spawn(move || {
        let mut from = File::from(from);
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            to.lock().expect("no panic").push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    });
}

fn watch(server: &str, more: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(["grants", "--watch", "--server", server])
        .args(more)
        .env_clear()
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Sends Ctrl-C as the terminal does.
fn interrupt(child: &Child) {
    let pid = child.id().expect("a running process").to_string();
    let sent = std::process::Command::new("kill").args(["-INT", &pid]).status();
    assert!(sent.expect("kill runs").success());
}

#[tokio::test]
async fn watch_on_a_terminal_is_a_live_table_and_restores_it() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let terminal = Terminal::open(80, 20);
    let before = format!("{:?}", terminal.modes());
    let mut watch = watch(&serve.server, &[])
        .stdout(terminal.stdio())
        .stderr(terminal.stdio())
        .spawn()
        .expect("the binary starts");
    let ages = |text: &str| {
        let ages = text.split("live").skip(1).filter_map(|rest| rest.split(" s ago").next());
        let mut ages: Vec<_> = ages.map(|age| age.rsplit(' ').next().map(str::to_owned)).collect();
        ages.dedup();
        ages
    };
    until("three different ages of the grant", async || ages(&terminal.written()).len() >= 3).await;
    interrupt(&watch);
    let status = soon(watch.wait()).await.expect("an exit");
    let written = terminal.all_written().await;
    assert_eq!(status.code(), Some(0), "{written}");
    assert!(written.contains("\x1b[32mlive"), "colors: {written:?}");
    assert!(written.contains("\x1b[3A\r"), "not redrawn in place: {written:?}");
    assert_eq!(written.matches("GRANT  ").count(), written.matches("Ctrl-C").count());
    // No terminal mode is changed that would have to be restored.
    assert!(!written.contains("\x1b[?"), "{written:?}");
    assert_eq!(written.matches("\x1b[32m").count(), written.matches("\x1b[0m").count());
    assert!(written.ends_with("\x1b[J"), "the cursor is not below the table: {written:?}");
    assert_eq!(format!("{:?}", terminal.modes()), before);
}

#[tokio::test]
async fn colors_and_redrawing_can_be_disabled() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    for (variable, value, redrawn) in [("NO_COLOR", "1", true), ("TERM", "dumb", false)] {
        let terminal = Terminal::open(80, 20);
        let mut watch = watch(&serve.server, &[])
            .env(variable, value)
            .stdout(terminal.stdio())
            .spawn()
            .expect("the binary starts");
        until("a live grant", async || terminal.written().contains("live")).await;
        interrupt(&watch);
        assert_eq!(soon(watch.wait()).await.expect("an exit").code(), Some(0));
        let written = terminal.all_written().await;
        assert!(!written.contains("\x1b[3"), "{variable}: {written:?}");
        assert_eq!(written.contains("\x1b[J"), redrawn, "{variable}: {written:?}");
    }
}

/// A watch in a pipe.
struct Piped {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Piped {
    fn start(server: &str, more: &[&str]) -> Self {
        let mut child = watch(server, more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped")).lines();
        let stderr = BufReader::new(child.stderr.take().expect("piped")).lines();
        Self { child, stdout, stderr }
    }

    async fn line(&mut self) -> String {
        soon(self.stdout.next_line()).await.expect("read").expect("a line")
    }

    async fn note(&mut self) -> String {
        soon(self.stderr.next_line()).await.expect("read").expect("a note")
    }
}

#[tokio::test]
async fn watch_in_a_pipe_prints_one_line_per_change() {
    let config = Configured::profile("grant_ttl = \"12s\"");
    let serve = Serve::configured(&config, &["--fault", "status=503"]).await;
    let mut watch = Piped::start(&serve.server, &[]);
    assert!(watch.line().await.starts_with("TIME          GRANT  "));
    while !watch.line().await.contains("HTTP_STATUS_503") {}
    serve.clear_faults().await;
    let live = loop {
        let line = watch.line().await;
        if line.contains("  live  ") {
            break line;
        }
    };
    assert!(!live.contains('\x1b'), "{live:?}");
    let cells: Vec<_> = live.split_whitespace().collect();
    assert!(cells[0].len() == 12 && cells[1].starts_with("profiles/demo/grants/"), "{live}");

    // The next change finds no reader.
    drop(watch.stdout);
    assert_eq!(soon(watch.child.wait()).await.expect("an exit").code(), Some(0));
}

#[tokio::test]
async fn watch_reports_a_lost_server_and_resumes() {
    let port = reserved_port();
    let listen = port.local_addr().expect("an address").to_string();
    let (server, at) = (format!("http://{listen}"), ["--listen", listen.as_str()]);
    let first = Serve::sandboxed(&at).await;
    first.first_token().await;
    let (mut words, mut json) = (Piped::start(&server, &[]), Piped::start(&server, &["--json"]));
    assert!(words.line().await.contains("GRANT") && words.line().await.contains("live"));
    let grant: Value = serde_json::from_str(&json.line().await).expect("JSON");
    let generation = grant["generation"].as_i64();

    first.signal("KILL");
    let _ = first.ended().await;
    let lost = words.note().await;
    assert!(lost.starts_with("disconnected since ") && lost.contains("; retrying in "), "{lost}");
    let lost: Value = serde_json::from_str(&json.note().await).expect("JSON");
    assert!(
        lost["note"]["message"].as_str().is_some_and(|it| it.starts_with("disconnected since"))
    );

    let _second = Serve::sandboxed(&at).await;
    assert_eq!(words.note().await, "reconnected to the server");
    let back: Value = serde_json::from_str(&json.note().await).expect("JSON");
    assert_eq!(back["note"]["message"], "reconnected to the server");
    while !words.line().await.contains("  live  ") {}
    loop {
        let grant: Value = serde_json::from_str(&json.line().await).expect("JSON");
        if grant["generation"].as_i64() > generation {
            break;
        }
    }
    for watch in [&mut words, &mut json] {
        interrupt(&watch.child);
        assert_eq!(soon(watch.child.wait()).await.expect("an exit").code(), Some(0));
    }
}

#[tokio::test]
async fn watch_that_never_received_an_update_fails() {
    let serve = Serve::sandboxed(&[]).await;
    let mut unknown = Piped::start(&serve.server, &["--profile", "nobody"]);
    assert!(unknown.note().await.contains("PROFILE_NOT_FOUND"));
    assert_eq!(soon(unknown.child.wait()).await.expect("an exit").code(), Some(1));
    // A listener of another protocol.
    let mut wrong = Piped::start(&serve.admin, &[]);
    assert_eq!(soon(wrong.child.wait()).await.expect("an exit").code(), Some(3));
}

//! Peers of the socket and their permissions.

use std::fs;

use grantmint::provider::twilio_live::DEMO_API_KEY_SECRET;
use serde_json::Value;
use tonic::Code;

use super::{Socket, own_uid};
use crate::{
    support::{Configured, Serve, found, mint, reason, run, soon},
    tls::{
        connected,
        pki::{CALLER_ID, Pki, uris},
    },
};

/// An entry for this caller, which may mint.
fn entry(caller: &str) -> String {
    format!("[callers.own]\nmatch = [\"{caller}\"]\nallow = [{{ profiles = [\"demo\"] }}]\n")
}

/// A server with its first grant.
async fn live(socket: &Socket) -> Serve {
    let serve = socket.serve().await;
    found("a grant", async || serve.page("/readyz").await.1.contains("live").then_some(())).await;
    serve
}

#[tokio::test]
async fn peer_is_identified_by_its_user() {
    let own = format!("uid:{}", own_uid());
    let socket = Socket::with("", &entry(&own));
    let serve = live(&socket).await;
    soon(serve.tokens().await.mint_token(mint("alice", None))).await.expect("a token");

    for other in [&format!("uid:{}", own_uid() + 1), "loopback"] {
        let socket = Socket::with("", &entry(other));
        let serve = live(&socket).await;
        let refused = soon(serve.tokens().await.mint_token(mint("alice", None))).await;
        let refused = refused.expect_err("in no entry");
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
        assert_eq!(reason(&refused), "CALLER_UNKNOWN", "{other}");
    }
}

#[tokio::test]
async fn without_callers_the_socket_is_open_and_logged() {
    let socket = Socket::of(", mode = \"0666\"", "", "");
    let serve = socket.serve().await;
    serve.first_token().await;
    serve.signal("INT");
    let (_, log) = serve.ended().await;
    let lines: Vec<Value> = log.lines().filter_map(|it| serde_json::from_str(it).ok()).collect();
    let line = |message: &str| {
        let found = lines.iter().find(|line| line["message"] == message);
        found.unwrap_or_else(|| panic!("no {message}: {log}"))
    };
    let open = line("no [callers]: any user that can open the socket may call every method");
    assert_eq!(open["level"], "WARN");
    assert_eq!((&open["socket"], &open["mode"]), (&socket.url().into(), &"0666".into()));
    assert_eq!(line("listening")["socket"], socket.url());
    let warning = line("a setting has a warning")["warning"].as_str().expect("a warning");
    assert!(warning.contains("every user of this machine"), "{warning}");
}

#[tokio::test]
async fn a_socket_alone_opens_no_port_and_listen_adds_one() {
    let socket = Socket::with("", "");
    let alone = socket.serve().await;
    assert_eq!(alone.server, socket.url());
    // The admin listener's port and the sandbox's.
    assert_eq!(ports(&alone), 2);
    drop(alone);
    let both = Serve::configured(&socket.config, &[]).await;
    assert!(both.server.starts_with("http://127.0.0.1:"), "{}", both.server);
    assert_eq!(ports(&both), 3);
    both.first_token().await;
    let ran = run(&["mint", "alice", "--server", &socket.url()]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

/// How many TCP sockets a server listens on: proc(5).
fn ports(serve: &Serve) -> usize {
    let process = format!("/proc/{}", serve.pid());
    let own: Vec<_> = fs::read_dir(format!("{process}/fd"))
        .expect("a running process")
        .filter_map(|it| fs::read_link(it.ok()?.path()).ok()?.to_str().map(str::to_owned))
        .collect();
    let all = ["tcp", "tcp6"].map(|it| fs::read_to_string(format!("{process}/net/{it}")));
    let all: String = all.into_iter().filter_map(Result::ok).collect();
    // The fourth field is the state (0A is LISTEN); the tenth is the inode.
    let listening = all.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        (fields.get(3) == Some(&"0A")).then(|| format!("socket:[{}]", fields[9]))
    });
    listening.filter(|socket| own.contains(socket)).count()
}

#[tokio::test]
async fn tls_applies_to_tcp_and_not_to_the_socket() {
    let pki = Pki::new();
    let own = format!("uid:{}", own_uid());
    let tables = pki.section("") + &entry(&own) + &entry(CALLER_ID).replace("own", "other");
    let socket = Socket::with("listen = \"127.0.0.1:0\"", &tables);
    let serve = live(&socket).await;
    assert!(serve.server.starts_with("https://"), "{}", serve.server);
    let ran = run(&["mint", "alice", "--server", &socket.url()]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let pair = pki.write_pair("caller", &[&pki.prod.issue(uris(&[CALLER_ID]))]);
    let channel = connected(&pki, &serve, Some(pair)).await;
    let mut tokens = grantmint::rpc::proto::token_service_client::TokenServiceClient::new(channel);
    soon(tokens.mint_token(mint("alice", None))).await.expect("a token");
}

#[tokio::test]
async fn check_shows_the_socket_and_a_users_rights() {
    let socket = Socket::of(", group = 0", "", &entry("uid:1001"));
    let path = socket.config.path();
    let shown = run(&["check", "--verbose", path]).await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(shown.stdout.contains("\"mode\":\"0660\""), "{}", shown.stdout);
    assert!(!shown.stdout.contains("listen = \"127.0.0.1:50051\""), "{}", shown.stdout);
    let json = run(&["check", path, "--json"]).await;
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["server"]["unix"]["path"], socket.path.to_str().expect("text"));
    for (caller, code) in [("uid:1001", 0), ("uid:1002", 1), ("uid:65534", 2)] {
        let call = ["--as", caller, "--identity", "alice"];
        let ran = run(&[&["check", path][..], &call].concat()).await;
        assert_eq!(ran.code, Some(code), "{caller}: {}{}", ran.stdout, ran.stderr);
    }
}

#[tokio::test]
async fn socket_problems_are_reported_with_their_line() {
    for (keys, wrong) in [
        ("mode = \"0660\"", "server.unix.path: is missing"),
        ("path = \"/run/a.sock\", mode = 660", "server.unix.mode: "),
        ("path = \"/run/a.sock\", mode = \"0888\"", "server.unix.mode: must be three octal"),
        ("path = \"/run/a.sock\", mode = \"0444\"", "server.unix.mode: nobody could connect"),
        ("path = \"/run/a.sock\", group = \"no-such\"", "server.unix.group: is not a group on"),
        ("path = \"/run/a.sock\", owner = \"me\"", "server.unix.owner"),
    ] {
        let top = format!("[server]\nunix = {{ {keys} }}");
        let config = Configured::with_secret(&top, "", DEMO_API_KEY_SECRET);
        let ran = run(&["check", config.path()]).await;
        assert_eq!(ran.code, Some(1), "{keys}: {}", ran.stdout);
        assert!(ran.stderr.contains(wrong), "{keys}: {}", ran.stderr);
        assert!(ran.stderr.contains(".toml:2: "), "{keys}: {}", ran.stderr);
    }
}

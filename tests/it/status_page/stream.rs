//! The event stream, and the page's headers.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{Serve, answer, series, soon, until};

/// An open event stream.
struct Viewer {
    stream: TcpStream,
    read: String,
}

impl Viewer {
    /// Opens a stream; returns the status and the viewer.
    async fn open(serve: &Serve) -> (u16, Self) {
        let address: SocketAddr =
            serve.admin.strip_prefix("http://").and_then(|it| it.parse().ok()).expect("an address");
        let mut stream = soon(TcpStream::connect(address)).await.expect("a connection");
        let request = format!("GET /events HTTP/1.1\r\nhost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut viewer = Self { stream, read: String::new() };
        soon(viewer.read_past("\r\n\r\n")).await;
        let status = viewer.read.split(' ').nth(1).and_then(|it| it.parse().ok());
        (status.expect("a status"), viewer)
    }

    /// Reads until this text has been received.
    async fn read_past(&mut self, text: &str) {
        let mut buffer = vec![0; 16_384];
        while !self.read.contains(text) {
            let count = self.stream.read(&mut buffer).await.expect("readable");
            assert!(count > 0, "closed after {}", self.read);
            self.read.push_str(std::str::from_utf8(&buffer[..count]).expect("ASCII"));
        }
    }

    /// The next snapshot.
    async fn next(&mut self) -> Value {
        self.read.clear();
        soon(self.read_past("\n\n")).await;
        let (_, data) = self.read.split_once("data: ").expect("data");
        serde_json::from_str(data.split("\n\n").next().expect("an event")).expect("JSON")
    }
}

#[tokio::test]
async fn viewers_have_places_of_their_own() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let mut viewers = Vec::new();
    for _ in 0..32 {
        let (status, mut viewer) = Viewer::open(&serve).await;
        assert_eq!(status, 200);
        assert!(viewer.next().await["numbers"]["tokens"].as_u64() >= Some(1));
        viewers.push(viewer);
    }
    // More than the 16 connections of an address, and the probe is still served.
    assert_eq!(serve.page("/livez").await.0, 200);
    assert_eq!(Viewer::open(&serve).await.0, 503);
    let first = viewers[0].next().await["time"].as_f64();
    assert!(viewers[0].next().await["time"].as_f64() > first);
    viewers.truncate(31);
    until("the place of the viewer that left", async || Viewer::open(&serve).await.0 == 200).await;
}

#[tokio::test]
async fn event_stream_outlives_the_connection_limit() {
    let serve = Serve::sandboxed(&[]).await;
    let (_, mut viewer) = Viewer::open(&serve).await;
    let mut probes = Vec::new();
    let address = serve.admin.strip_prefix("http://").expect("a URL");
    for _ in 0..200 {
        probes.push(soon(TcpStream::connect(address)).await.expect("a connection"));
    }
    for _ in 0..2 {
        viewer.next().await;
    }
}

#[tokio::test]
async fn status_json_counts_tokens_and_selects_grants() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let mut client = serve.tokens().await;
    let bulk = soon(client.mint_tokens(series(0, 40))).await.expect("a stream");
    let chunk = soon(bulk.into_inner().message()).await.expect("a message").expect("a chunk");
    let minted = 1 + chunk.tokens.len() as u64;
    let status = async |query: &str| -> Value {
        let (code, json) = serve.page(&format!("/status.json{query}")).await;
        assert_eq!(code, 200);
        serde_json::from_str(&json).expect("JSON")
    };
    let all = status("").await;
    assert_eq!(all["profiles"][0]["tokens"].as_u64(), Some(minted));
    assert_eq!(all["numbers"]["tokens"].as_u64(), Some(minted));
    let validities = all["numbers"]["validity"].as_array().expect("a list");
    let counted: u64 = validities.iter().filter_map(|it| it[1].as_u64()).sum();
    assert_eq!(counted, minted);
    assert_eq!(all["accounts"][0]["burst"], 10);
    let grant = &all["grants"]["rows"][0];
    assert_eq!((&grant["health"], &grant["profile"]), (&"ok".into(), &"demo".into()));
    assert!(grant["attempts"]["ok"].as_array().is_some_and(|it| !it.is_empty()), "{grant}");
    for (query, matching, rows) in [
        ("?search=DEMO+ok", 1, 1),
        ("?search=demo%20expired", 0, 0),
        ("?search=%3Cscript%3E", 0, 0),
        ("?limit=0", 1, 0),
    ] {
        let grants = &status(query).await["grants"];
        let count = grants["rows"].as_array().map(Vec::len);
        assert_eq!((&grants["matching"], count), (&matching.into(), Some(rows)), "{query}");
    }
}

#[tokio::test]
async fn status_page_may_load_nothing_from_elsewhere() {
    let serve = Serve::sandboxed(&[]).await;
    let page = answer("GET", &format!("{}/", serve.admin), &[], "").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").expect("a policy");
    for part in ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for path in ["/", "/status.json", "/events"] {
        let head = answer("HEAD", &format!("{}{path}", serve.admin), &[], "").await;
        assert_eq!(head.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(head.header("cache-control"), Some("no-store"), "{path}");
        let host = timeout(Duration::from_secs(60), async {
            let url = format!("{}{path}", serve.admin);
            answer("POST", &url, &[], "").await.status
        });
        assert_eq!(host.await.expect("in time"), 405, "{path}");
    }
}

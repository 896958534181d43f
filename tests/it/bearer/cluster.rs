//! A cluster's API server, reduced to its keys. It requires a token, and its discovery document has
//! an unreachable address for the keys.

use std::sync::{Arc, Mutex, MutexGuard};

use rustls::ServerConfig;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::ISSUER;

/// A running cluster.
pub(crate) struct Cluster {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    keys: String,
    /// The token that it requires.
    token: String,
    /// The status of all its responses.
    status: u16,
    /// Its TLS configuration; plain HTTP without one.
    tls: Option<Arc<ServerConfig>>,
    /// The number of clients that did not trust it.
    distrusted: usize,
    /// The requested paths.
    paths: Vec<String>,
}

impl Cluster {
    pub(crate) async fn start(keys: String, token: &str, status: u16) -> Self {
        Self::with_tls(None, keys, token, status).await
    }

    /// A cluster that serves HTTPS.
    pub(super) async fn over_tls(tls: ServerConfig, keys: String, token: &str) -> Self {
        Self::with_tls(Some(Arc::new(tls)), keys, token, 200).await
    }

    async fn with_tls(
        tls: Option<Arc<ServerConfig>>,
        keys: String,
        token: &str,
        status: u16,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().expect("an address"));
        let (token, paths, distrusted) = (token.to_owned(), Vec::new(), 0);
        let state = State { keys, token, status, tls, distrusted, paths };
        let state = Arc::new(Mutex::new(state));
        let held = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&held);
                let tls = state.lock().expect("no panic").tls.clone();
                tokio::spawn(async move {
                    let Some(tls) = tls else { return answer(stream, state).await };
                    match TlsAcceptor::from(tls).accept(stream).await {
                        Ok(stream) => answer(stream, state).await,
                        Err(_) => state.lock().expect("no panic").distrusted += 1,
                    }
                });
            }
        });
        Self { url, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    pub(super) fn set_keys(&self, keys: String) {
        self.state().keys = keys;
    }

    pub(super) fn set_token(&self, token: &str) {
        token.clone_into(&mut self.state().token);
    }

    pub(super) fn set_status(&self, status: u16) {
        self.state().status = status;
    }

    pub(super) fn set_tls(&self, tls: ServerConfig) {
        self.state().tls = Some(Arc::new(tls));
    }

    /// The number of clients that did not trust it.
    pub(super) fn distrusted(&self) -> usize {
        self.state().distrusted
    }

    /// How often a path was requested.
    pub(super) fn requests_for(&self, path: &str) -> usize {
        self.state().paths.iter().filter(|it| *it == path).count()
    }
}

pub(super) const DISCOVERY: &str = "/.well-known/openid-configuration";
pub(super) const KEYS: &str = "/openid/v1/jwks";

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<Mutex<State>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).expect("text");
    let path = head.split(' ').nth(1).expect("a path").to_owned();
    let (status, body) = {
        let mut state = state.lock().expect("no panic");
        state.paths.push(path.clone());
        let expected = format!("authorization: bearer {}\r\n", state.token.to_lowercase());
        let is_known = head.to_lowercase().contains(&expected);
        match (state.status, path.as_str()) {
            (200, _) if !is_known => (401, "{}".to_owned()),
            (200, DISCOVERY) => {
                // Addresses for documentation are unreachable.
                let document = json!({"issuer": ISSUER, "jwks_uri": "https://192.0.2.1/keys"});
                (200, document.to_string())
            }
            (200, KEYS) => (200, state.keys.clone()),
            (200, _) => (404, "{}".to_owned()),
            (status, _) => (status, "{}".to_owned()),
        }
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} status\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

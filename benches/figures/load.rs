//! The load generator: plain h2, so that the client costs little compared with the server.
//! Responses are read to their end and their status is checked; messages are not decoded.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::try_join_all;
use grantmint::rpc::proto::{
    IdentityList, IdentitySeries, MintOptions, MintTokenRequest, MintTokensRequest,
    mint_tokens_request::Selection,
};
use h2::{
    Reason, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, HeaderValue, Request, Response, header::AUTHORIZATION};
use prost::Message;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::{Duration, Instant},
};
use tokio_rustls::TlsConnector;

use crate::secure::SERVER_NAME;

/// The number of concurrent calls.
#[derive(Clone, Copy)]
pub(crate) struct Callers {
    connections: usize,
    calls_a_connection: usize,
}

impl Callers {
    /// This many times as many calls, on more connections.
    pub(crate) const fn times(self, times: usize) -> Self {
        Self { connections: self.connections * times, ..self }
    }

    /// All concurrent calls.
    pub(crate) fn calls(self) -> f64 {
        (self.connections * self.calls_a_connection) as f64
    }
}

/// Enough to keep a core busy.
pub(crate) const MANY: Callers = Callers { connections: 4, calls_a_connection: 16 };

/// Few enough that no call waits for another.
pub(crate) const FEW: Callers = Callers { connections: 2, calls_a_connection: 1 };

/// The identity of `MintToken` calls.
pub(crate) const IDENTITY: &str = "viewer-4711";

/// The windows and frame size that `grantmint bulk` requests.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
const FRAME: u32 = 128 * 1024;

/// A server's address, and how to call it.
#[derive(Clone)]
pub(crate) struct Target {
    transport: Transport,
    /// Empty for the server's default.
    profile: &'static str,
    /// The calls' credential in addition to a certificate.
    authorization: Option<HeaderValue>,
}

#[derive(Clone)]
enum Transport {
    Tcp(SocketAddr),
    Tls(SocketAddr, Arc<ClientConfig>),
    Unix(Arc<Path>),
}

impl From<SocketAddr> for Target {
    fn from(addr: SocketAddr) -> Self {
        Self { transport: Transport::Tcp(addr), profile: "", authorization: None }
    }
}

impl Target {
    /// A TLS server.
    pub(crate) fn over_tls(addr: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        Self {
            transport: Transport::Tls(addr, Arc::clone(config)),
            profile: "",
            authorization: None,
        }
    }

    /// A server on this Unix socket.
    pub(crate) fn at_socket(path: &Path) -> Self {
        Self { transport: Transport::Unix(path.into()), profile: "", authorization: None }
    }

    /// A server, for tokens of this profile.
    pub(crate) fn of_profile(addr: SocketAddr, profile: &'static str) -> Self {
        Self { transport: Transport::Tcp(addr), profile, authorization: None }
    }

    /// The same, with calls that carry a bearer token.
    pub(crate) fn bearing(self, token: &str) -> Result<Self> {
        Ok(Self { authorization: Some(format!("Bearer {token}").parse()?), ..self })
    }
}

async fn connect(addr: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection to a server.
#[derive(Clone)]
pub(crate) struct Connection {
    send: SendRequest<Bytes>,
    profile: &'static str,
    authorization: Option<HeaderValue>,
}

impl Connection {
    pub(crate) async fn open(target: impl Into<Target>) -> Result<Self> {
        Self::open_with_window(target, STREAM_WINDOW).await
    }

    /// The same connection, with calls that carry another bearer token.
    pub(crate) fn bearing(&self, token: &str) -> Result<Self> {
        let authorization = Some(format!("Bearer {token}").parse()?);
        Ok(Self { authorization, ..self.clone() })
    }

    /// With this initial window for each stream.
    pub(crate) async fn open_with_window(target: impl Into<Target>, window: u32) -> Result<Self> {
        let Target { transport, profile, authorization } = target.into();
        let connected = match transport {
            Transport::Tcp(addr) => Self::over(connect(addr).await?, profile, window).await,
            Transport::Tls(addr, config) => {
                let name = ServerName::try_from(SERVER_NAME)?;
                let connecting = TlsConnector::from(config).connect(name, connect(addr).await?);
                Self::over(connecting.await?, profile, window).await
            }
            Transport::Unix(path) => {
                Self::over(UnixStream::connect(path).await?, profile, window).await
            }
        };
        Ok(Self { authorization, ..connected? })
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        profile: &'static str,
        window: u32,
    ) -> Result<Self> {
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(window)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .handshake(stream)
            .await?;
        tokio::spawn(connection);
        Ok(Self { send, profile, authorization: None })
    }

    /// Sends a call and returns the response body, unread.
    pub(crate) async fn call(&self, method: &str, message: Bytes) -> Result<h2::RecvStream> {
        let response = self.send(method, message).await?;
        check(response.headers())?;
        Ok(response.into_body())
    }

    async fn send(&self, method: &str, message: Bytes) -> Result<Response<h2::RecvStream>> {
        let StartedCall { response, mut body } = self.begin(method).await?;
        body.send_data(message, true)?;
        Ok(response.await?)
    }

    /// Starts a call without sending its message.
    pub(crate) async fn begin(&self, method: &str) -> Result<StartedCall> {
        let request = Request::post(format!("http://server/grantmint.v1.TokenService/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let request = match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        };
        let request = request.body(())?;
        let mut ready = self.send.clone().ready().await?;
        let (response, body) = ready.send_request(request, false)?;
        Ok(StartedCall { response, body })
    }

    /// Mints a token; returns false if the call was refused.
    async fn try_mint(&self, request: Bytes) -> Result<bool> {
        let response = self.send("MintToken", request).await?;
        if response.headers().contains_key("grpc-status") {
            return Ok(false);
        }
        drain(response.into_body(), drop).await.map(|()| true)
    }

    /// The response for one token of this server.
    pub(crate) async fn mint(&self) -> Result<Bytes> {
        let mut answer = BytesMut::new();
        drain(self.call("MintToken", mint_token(self.profile)).await?, |data| answer.put(data))
            .await?;
        Ok(answer.freeze())
    }
}

/// A started call.
pub(crate) struct StartedCall {
    response: ResponseFuture,
    body: SendStream<Bytes>,
}

impl StartedCall {
    /// Cancels the call.
    pub(crate) fn cancel(mut self) {
        self.body.send_reset(Reason::CANCEL);
    }
}

/// Reads a response to its end.
async fn drain(mut body: h2::RecvStream, mut take: impl FnMut(Bytes)) -> Result<()> {
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        take(data);
    }
    let trailers = body.trailers().await?.context("no trailers")?;
    check(&trailers)
}

fn check(headers: &HeaderMap) -> Result<()> {
    let status = headers.get("grpc-status");
    ensure!(status.is_none_or(|status| status == "0"), "a call failed: {headers:?}");
    Ok(())
}

fn message(message: &impl Message) -> Result<Bytes> {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length)?);
    message.encode(&mut bytes)?;
    Ok(bytes.freeze())
}

fn mint_token(profile: &str) -> Bytes {
    let request = MintTokenRequest { identity: IDENTITY.to_owned(), options: options(profile) };
    message(&request).unwrap_or_default()
}

/// The result of a unary load.
pub(crate) struct Unary {
    pub(crate) calls: f64,
    pub(crate) seconds: f64,
    /// The duration of each call in nanoseconds, ascending.
    pub(crate) latencies: Vec<u64>,
}

impl Unary {
    /// The given percentile of the durations, in microseconds.
    pub(crate) fn micros(&self, percent: usize) -> f64 {
        let nanos = self.latencies.get(self.latencies.len() * percent / 100);
        nanos.map_or(f64::NAN, |nanos| *nanos as f64 / 1e3)
    }
}

/// Calls `MintToken` without pause for this duration.
pub(crate) async fn unary(
    target: impl Into<Target>,
    callers: Callers,
    time: Duration,
) -> Result<Unary> {
    let target = target.into();
    let mut connections = Vec::new();
    for _ in 0..callers.connections {
        connections.push(Connection::open(target.clone()).await?);
    }
    let request = mint_token(target.profile);
    let start = Instant::now();
    let callers = connections.iter().flat_map(|connection| {
        (0..callers.calls_a_connection).map(|_| {
            let (connection, request) = (connection.clone(), request.clone());
            async move {
                let mut latencies = Vec::new();
                while start.elapsed() < time {
                    let begin = Instant::now();
                    drain(connection.call("MintToken", request.clone()).await?, drop).await?;
                    latencies.push(u64::try_from(begin.elapsed().as_nanos())?);
                }
                anyhow::Ok(latencies)
            }
        })
    });
    let tasks = callers.map(tokio::spawn);
    let mut latencies = Vec::new();
    for caller in try_join_all(tasks).await? {
        latencies.append(&mut caller?);
    }
    let seconds = start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    Ok(Unary { calls: latencies.len() as f64, seconds, latencies })
}

fn options(profile: &str) -> Option<MintOptions> {
    let profile = profile.to_owned();
    (!profile.is_empty()).then(|| MintOptions { profile, ..Default::default() })
}

/// The result for a caller that exceeds its quota.
#[derive(Default)]
pub(crate) struct Greedy {
    pub(crate) calls: f64,
    pub(crate) minted: f64,
}

/// Calls `MintToken` without pause, whatever the result.
pub(crate) async fn greedy(
    target: Target,
    (connections, calls_a_connection): (usize, usize),
    stop: impl Fn() -> bool,
) -> Result<Greedy> {
    let request = message(&MintTokenRequest {
        identity: IDENTITY.to_owned(),
        options: Some(MintOptions {
            max_wait: Some(prost_types::Duration::default()),
            ..Default::default()
        }),
    })?;
    let mut opened = Vec::new();
    for _ in 0..connections {
        opened.push(Connection::open(target.clone()).await?);
    }
    let stop = &stop;
    let callers = opened.iter().flat_map(|connection| {
        (0..calls_a_connection).map(|_| {
            let (connection, request) = (connection.clone(), request.clone());
            async move {
                let mut result = Greedy::default();
                while !stop() {
                    let minted = connection.try_mint(request.clone()).await?;
                    result.calls += 1.0;
                    result.minted += f64::from(u8::from(minted));
                }
                anyhow::Ok(result)
            }
        })
    });
    let all = try_join_all(callers).await?;
    Ok(all.iter().fold(Greedy::default(), |all, one| Greedy {
        calls: all.calls + one.calls,
        minted: all.minted + one.minted,
    }))
}

/// A `MintTokens` request for numbered identities.
pub(crate) fn series(profile: &str, count: u32) -> Result<Bytes> {
    let series = IdentitySeries { prefix: "viewer-".to_owned(), count: count.into() };
    let selection = Some(Selection::IdentitySeries(series));
    let options = options(profile);
    message(&MintTokensRequest { options, selection, ..Default::default() })
}

/// A `MintTokens` request for a list of this many identities.
fn list(profile: &str, count: u32) -> Result<Bytes> {
    let identities = (0..count).map(|number| format!("viewer-{number}")).collect();
    let selection = Some(Selection::IdentityList(IdentityList { identities }));
    let options = options(profile);
    message(&MintTokensRequest { options, selection, ..Default::default() })
}

/// The result of a bulk.
pub(crate) struct Bulk {
    pub(crate) seconds: f64,
    pub(crate) bytes: usize,
}

/// Reads one `MintTokens` call for this many tokens to its end.
pub(crate) async fn bulk(target: impl Into<Target>, count: u32) -> Result<Bulk> {
    let connection = Connection::open(target).await?;
    let start = Instant::now();
    let mut bytes = 0;
    let body = connection.call("MintTokens", series(connection.profile, count)?).await?;
    drain(body, |data| bytes += data.len()).await?;
    Ok(Bulk { seconds: start.elapsed().as_secs_f64(), bytes })
}

/// Identities in one list.
const LISTED: u32 = 10_000;

/// Reads `MintTokens` calls for lists, one after another, until at least this many tokens.
pub(crate) async fn lists(target: impl Into<Target>, count: u32) -> Result<Bulk> {
    let connection = Connection::open(target).await?;
    let request = list(connection.profile, LISTED)?;
    let start = Instant::now();
    let mut bytes = 0;
    for _ in 0..count.div_ceil(LISTED) {
        let body = connection.call("MintTokens", request.clone()).await?;
        drain(body, |data| bytes += data.len()).await?;
    }
    Ok(Bulk { seconds: start.elapsed().as_secs_f64(), bytes })
}

/// The first message of a bulk, without its five-byte prefix.
pub(crate) async fn first_chunk(addr: SocketAddr) -> Result<Bytes> {
    let connection = Connection::open(addr).await?;
    let mut answer = BytesMut::new();
    let body = connection.call("MintTokens", series(connection.profile, 1_000)?).await?;
    drain(body, |data| answer.put(data)).await?;
    let length = answer.get(1..5).context("no message")?.try_into().map(u32::from_be_bytes)?;
    let message = answer.get(5..5 + length as usize).context("a short message")?;
    Ok(Bytes::copy_from_slice(message))
}

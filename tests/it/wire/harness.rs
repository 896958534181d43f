//! A test server with its own sandbox, and checks of its errors.

use std::{collections::BTreeMap, fs, net::SocketAddr};

use bytes::Bytes;
use grantmint::{
    app::{self, App, Running, Stop},
    clock::Clock,
    config::Config,
    provider::twilio_live::{DEMO_ACCOUNT_SID, DEMO_API_KEY_SECRET, DEMO_API_KEY_SID},
    rpc::proto::{
        ListGrantsRequest, MintOptions, MintTokenResponse,
        grant_service_client::GrantServiceClient, token_service_client::TokenServiceClient,
    },
    sandbox::{self, Sandbox},
};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::mpsc};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use crate::{
    kinds::test_key,
    support::{emulated, mint, soon, until},
};

/// Part of every planted text; it must never be in a response.
pub(crate) const MARKER: &str = "zqmarkerqz";

/// Resources, sorted by name.
pub(crate) const VJ: [&str; 3] = [
    "VJ0123456789abcdef0123456789abcde1",
    "VJ0123456789abcdef0123456789abcde2",
    "VJ0123456789abcdef0123456789abcde3",
];

/// A profile of the demo's account with these resources and extra keys.
pub(crate) fn profile(name: &str, resources: &[&str], more: &str) -> String {
    format!(
        "[profiles.{name}]\nkind = \"twilio-live\"\naccount_sid = \"{DEMO_ACCOUNT_SID}\"\n\
         api_key_sid = \"{DEMO_API_KEY_SID}\"\napi_key_secret_env = \"SECRET\"\n\
         resources = {resources:?}\nupstream = \"UPSTREAM\"\n{more}\n"
    )
}

/// A running server; it stops when this is dropped.
pub(crate) struct TestServer {
    pub(crate) sandbox: Sandbox,
    pub(crate) addr: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) channel: Channel,
    pub(crate) raw: RawClient,
    _running: Option<Running>,
}

/// The configuration file of a server that reloads it.
pub(crate) struct ConfigFile {
    dir: TempDir,
    upstream: String,
    reload: mpsc::UnboundedSender<()>,
}

impl ConfigFile {
    /// Replaces the tables and reloads.
    pub(crate) fn write(&self, tables: &str) {
        fs::write(self.dir.path().join("grantmint.toml"), self.text(tables)).expect("written");
        self.reload.send(()).expect("a server");
    }

    fn text(&self, tables: &str) -> String {
        let secret = self.dir.path().join("secret");
        let secret = format!("api_key_secret_file = \"{}\"", secret.display());
        let tables = tables.replace("api_key_secret_env = \"SECRET\"", &secret);
        text(&tables, &self.upstream)
    }
}

/// A configuration with these tables.
fn text(tables: &str, upstream: &str) -> String {
    let server = if tables.contains("[server]") { "" } else { "[server]\n" };
    let text =
        format!("{tables}\n{server}listen = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n");
    text.replace("UPSTREAM", upstream)
}

async fn sandbox(faults: &[&str]) -> (Sandbox, String) {
    let faults = faults.iter().map(|fault| fault.parse().unwrap()).collect();
    let demo = sandbox::Config { faults, ..emulated() };
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let sandbox = Sandbox::bind(any.into(), demo, Clock::system()).await.unwrap();
    let upstream = sandbox.base_url().to_string().trim_end_matches('/').to_owned();
    (sandbox, upstream)
}

impl TestServer {
    /// One profile `live` with one resource.
    pub(crate) async fn simple() -> Self {
        Self::of(&profile("live", &VJ[..1], "")).await
    }

    /// A server with these tables, once its first grants are live.
    pub(crate) async fn of(tables: &str) -> Self {
        let server = Self::with_faults(tables, &[]).await;
        server.settled().await;
        server
    }

    /// A server with these tables and a sandbox with these faults.
    pub(crate) async fn with_faults(tables: &str, faults: &[&str]) -> Self {
        let (sandbox, upstream) = sandbox(faults).await;
        let text = text(tables, &upstream);
        let env = |name: &str| match name {
            "SECRET" => Some(DEMO_API_KEY_SECRET.to_owned()),
            pointer => test_key(pointer),
        };
        let config = Config::parse_with("test.toml", &text, &env).unwrap_or_else(|e| panic!("{e}"));
        let app = App::build(&config, Clock::system()).await.unwrap();
        let (addr, admin) = (app.addr().expect("TCP"), app.admin_addr());
        Self::at(sandbox, addr, admin, Some(app.spawn())).await
    }

    /// A server with these tables in a file that it reloads, once its first grants are live.
    pub(crate) async fn following(tables: &str) -> (Self, ConfigFile) {
        let (sandbox, upstream) = sandbox(&[]).await;
        let dir = TempDir::new().expect("a directory");
        fs::write(dir.path().join("secret"), DEMO_API_KEY_SECRET).expect("written");
        let (reload, mut requested) = mpsc::unbounded_channel();
        let file = ConfigFile { dir, upstream, reload };
        let path = file.dir.path().join("grantmint.toml");
        fs::write(&path, file.text(tables)).expect("written");
        let config = Config::load(&path).unwrap_or_else(|e| panic!("{e}"));
        let app = App::build(&config, Clock::system()).await.unwrap();
        let (addr, admin) = (app.addr().expect("TCP"), app.admin_addr());
        let running = app.spawn();
        tokio::spawn(running.until(async move || match requested.recv().await {
            Some(()) => app::Request::Reload,
            None => app::Request::Stop(Stop::Now),
        }));
        let server = Self::at(sandbox, addr, admin, None).await;
        server.settled().await;
        (server, file)
    }

    async fn at(
        sandbox: Sandbox,
        addr: SocketAddr,
        admin: SocketAddr,
        running: Option<Running>,
    ) -> Self {
        let (channel, raw) = (connect(addr).await, raw_client(addr).await);
        Self { sandbox, addr, admin, channel, raw, _running: running }
    }

    pub(crate) fn tokens(&self) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.channel.clone()).max_decoding_message_size(16 << 20)
    }

    pub(crate) fn grants(&self) -> GrantServiceClient<Channel> {
        GrantServiceClient::new(self.channel.clone())
    }

    /// Waits until every grant is live.
    async fn settled(&self) {
        until("every grant is live", async || {
            let all = ListGrantsRequest::default();
            let list = self.grants().list_grants(all).await;
            list.unwrap().into_inner().grants.iter().all(|grant| grant.generation > 0)
        })
        .await;
    }

    /// One token.
    pub(crate) async fn mint(
        &self,
        identity: &str,
        options: impl Into<Option<MintOptions>>,
    ) -> Result<MintTokenResponse, Status> {
        let request = mint(identity, options.into());
        Ok(soon(self.tokens().mint_token(request)).await?.into_inner())
    }

    /// Asserts that a valid call succeeds on the same connection and on a new one.
    pub(crate) async fn serves(&self, options: MintOptions) {
        for channel in [self.channel.clone(), connect(self.addr).await] {
            let request = mint("alice", Some(options.clone()));
            let answer = soon(TokenServiceClient::new(channel).mint_token(request)).await;
            assert!(answer.is_ok(), "the server no longer serves: {answer:?}");
        }
    }
}

pub(crate) async fn connect(addr: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
    soon(endpoint.connect()).await.expect("a connection")
}

/// The contents of an error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReportedError {
    pub(crate) code: Code,
    pub(crate) reason: String,
    pub(crate) fields: Vec<String>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// Decodes an error, which must have exactly one reason of ours and no planted text.
pub(crate) fn reported_error(status: &Status) -> ReportedError {
    assert_silent(status);
    let all = tonic_types::pb::Status::decode(status.details()).unwrap();
    assert_eq!(all.code, i32::from(status.code()), "{status:?}");
    assert_eq!(all.message, status.message());
    let of_type =
        |name: &str| all.details.iter().filter(|any| any.type_url.ends_with(name)).count();
    assert_eq!(of_type("/google.rpc.ErrorInfo"), 1, "{status:?}");
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.domain, "grantmint");

    let invalid = status.code() == Code::InvalidArgument;
    assert_eq!(of_type("/google.rpc.BadRequest"), usize::from(invalid), "{status:?}");
    let fields = details.bad_request().map_or(Vec::new(), |bad| {
        assert!(bad.field_violations.iter().all(|field| !field.description.is_empty()));
        bad.field_violations.iter().map(|violation| violation.field.clone()).collect()
    });
    let retries = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
    assert_eq!(of_type("/google.rpc.RetryInfo"), usize::from(retries), "{status:?}");
    assert_eq!(status.metadata().contains_key("grpc-retry-pushback-ms"), retries, "{status:?}");
    let metadata = info.metadata.clone().into_iter().collect();
    ReportedError { code: status.code(), reason: info.reason.clone(), fields, metadata }
}

/// Asserts that no part of an error contains planted text.
pub(crate) fn assert_silent(status: &Status) {
    let details = String::from_utf8_lossy(status.details()).into_owned();
    let metadata = format!("{:?}", status.metadata());
    for part in [status.message(), &details, &metadata] {
        assert!(!part.to_lowercase().contains(MARKER), "echoed: {status:?}");
    }
}

/// Asserts a refusal's code, reason and fields.
pub(crate) fn assert_refused(
    case: &str,
    status: &Status,
    code: Code,
    reason: &str,
    fields: &[&str],
) {
    let reported = reported_error(status);
    let seen = (
        reported.code,
        reported.reason.as_str(),
        reported.fields.iter().map(String::as_str).collect(),
    );
    assert_eq!(seen, (code, reason, fields.to_vec()), "{case}");
}

/// A response as received over HTTP/2.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) body: Bytes,
    status: Status,
}

impl Raw {
    pub(crate) fn status(&self) -> &Status {
        &self.status
    }

    /// Its only message.
    pub(crate) fn message<M: Message + Default>(&self) -> M {
        M::decode(self.body.slice(5..)).unwrap()
    }
}

/// A message with its five-byte length prefix.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat().into()
}

/// A client that adds nothing of its own: tonic's would apply a timeout itself.
pub(crate) type RawClient = http2::SendRequest<Full<Bytes>>;

pub(crate) async fn raw_client(addr: SocketAddr) -> RawClient {
    let stream = soon(TcpStream::connect(addr)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (client, connection) = soon(handshake).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Posts any bytes with any headers.
pub(crate) async fn post(
    client: &RawClient,
    path: &str,
    headers: &[(&'static str, &str)],
    body: Bytes,
) -> Raw {
    let mut request = Request::post(format!("http://grantmint{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body)).unwrap();
    let response = soon(client.clone().send_request(request)).await.unwrap();
    let (head, body) = response.into_parts();
    assert_eq!(head.status, 200);
    let body = soon(body.collect()).await.unwrap();
    let trailers = body.trailers().cloned();
    let of = |headers: &HeaderMap| Status::from_header_map(headers);
    let status = trailers.as_ref().and_then(of).or_else(|| of(&head.headers));
    Raw { body: body.to_bytes(), status: status.expect("a grpc-status") }
}

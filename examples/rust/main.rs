//! Mints a token, then many, prints the details of an invalid request, and sets token parameters.
//!
//! ```text
//! cargo run --example rust 127.0.0.1:50051 1000 room-1
//! ```
//!
//! The server may be a Unix socket, such as `unix:/run/grantmint/api.sock`.
//!
//! If `GRANTMINT_CA`, `GRANTMINT_CERT` and `GRANTMINT_KEY` name PEM files, it uses TLS with a client
//! certificate. If `GRANTMINT_TOKEN_FILE` is set, it sends the bearer token in that file.
//!
//! In your own package, replace `grantmint::rpc::proto` by a `build.rs` with
//! `tonic_prost_build::compile_protos` and `tonic::include_proto!("grantmint.v1")`, and
//! `grantmint::tls::client` by tonic's feature `tls-aws-lc`.

#![expect(clippy::print_stdout, reason = "tokens are its output")]

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs,
    net::IpAddr,
    path::PathBuf,
    pin::Pin,
    process::ExitCode,
    task::{Context, Poll},
    time::Duration,
};

use grantmint::{
    rpc::proto::{
        IdentitySeries, MintOptions, MintTokenRequest, MintTokensRequest,
        mint_tokens_request::Selection, token_service_client::TokenServiceClient,
    },
    tls::{
        begun::Begun,
        client::{self as tls, Expected, Files},
    },
};
use http::Uri;
use hyper_util::rt::TokioIo;
use prost_types::{Struct, Value, value::Kind};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};
use tokio_rustls::client::TlsStream;
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;
use tower_service::Service;

type Tokens = TokenServiceClient<InterceptedService<Channel, Bearer>>;

/// How long a bulk may wait for its next token.
const PATIENCE: Duration = Duration::from_secs(60);

/// Creates the only channel of the process. Its clones share the connection.
fn connect(server: &str) -> Result<Tokens, Box<dyn Error>> {
    let is_socket = server.starts_with("unix:");
    let bearer = Bearer(env::var_os("GRANTMINT_TOKEN_FILE").map(PathBuf::from));
    let files = if is_socket { None } else { tls_files() };
    let url = match files {
        _ if is_socket => server.to_owned(),
        Some(_) => format!("https://{server}"),
        None => format!("http://{server}"),
    };
    if bearer.0.is_some() && files.is_none() && !is_local(server) {
        let refused = "refusing to send a token to another machine in plain text: set GRANTMINT_CA";
        return Err(refused.into());
    }
    let endpoint = Endpoint::from_shared(url)?
        .connect_timeout(Duration::from_secs(2))
        // Without pings, only failing calls notice a silently lost connection.
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true);
    let channel = match files {
        None => endpoint.connect_lazy(),
        Some(files) => endpoint.connect_with_connector_lazy(Tls(files)),
    };
    Ok(TokenServiceClient::with_interceptor(channel, bearer))
}

/// Whether plain text stays on this machine.
fn is_local(server: &str) -> bool {
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || server.starts_with("unix:") || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Sends the token in a file, if set. Each call reads the file, since the token is replaced before
/// it expires.
#[derive(Clone)]
struct Bearer(Option<PathBuf>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let Some(file) = &self.0 else { return Ok(request) };
        let failed = |why: &str| Status::unauthenticated(format!("{}: {why}", file.display()));
        let token = fs::read_to_string(file).map_err(|error| failed(&error.to_string()))?;
        let header = MetadataValue::<Ascii>::try_from(format!("Bearer {}", token.trim()));
        let mut header = header.map_err(|_| failed("the file contains no token"))?;
        // Keeps it out of Debug output and of the connection's header table.
        header.set_sensitive(true);
        request.metadata_mut().insert("authorization", header);
        Ok(request)
    }
}

/// The files for TLS; none for plain text.
fn tls_files() -> Option<Files> {
    let file = |name| env::var_os(name).map(PathBuf::from);
    let pair = file("GRANTMINT_CERT").zip(file("GRANTMINT_KEY"));
    Some(Files { ca: Some(file("GRANTMINT_CA")?), pair })
}

/// Connects over TLS. The files are read for each connection, so that they may be replaced.
#[derive(Clone)]
struct Tls(Files);

impl Service<Uri> for Tls {
    type Response = TokioIo<Begun<TlsStream<TcpStream>>>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let files = self.0.clone();
        Box::pin(async move {
            let authority = server.authority().ok_or("no host")?;
            let stream = TcpStream::connect(authority.as_str()).await?;
            let expected = Expected::parse(authority.host())?;
            Ok(TokioIo::new(tls::connect(stream, &expected, &files).await?))
        })
    }
}

/// Mints a token, with retries of transient failures within one deadline.
async fn mint(tokens: &mut Tokens, identity: &str) -> Result<String, Status> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut attempt = 1;
    loop {
        let status = match mint_once(tokens, identity, deadline).await {
            Ok(token) => return Ok(token),
            Err(status) => status,
        };
        let Some(delay) = retry_in(&status, attempt) else { return Err(status) };
        sleep(delay).await;
        attempt += 1;
    }
}

async fn mint_once(
    tokens: &mut Tokens,
    identity: &str,
    deadline: Instant,
) -> Result<String, Status> {
    let request = MintTokenRequest { identity: identity.to_owned(), ..Default::default() };
    let mut request = Request::new(request);
    request.set_timeout(deadline.duration_since(Instant::now()));
    let response = tokens.mint_token(request).await?.into_inner();
    Ok(response.token)
}

/// Mints a token for a room, with parameters that the profile opens to calls.
async fn mint_for(tokens: &mut Tokens, identity: &str, room: &str) -> Result<String, Status> {
    let value = |kind| Value { kind: Some(kind) };
    let params = Struct {
        fields: BTreeMap::from([
            ("name".to_owned(), value(Kind::StringValue("Alice".to_owned()))),
            ("can_publish".to_owned(), value(Kind::BoolValue(false))),
        ]),
    };
    let options = MintOptions {
        profile: "room".to_owned(),
        resource: room.to_owned(),
        params: Some(params),
        ..Default::default()
    };
    let request = MintTokenRequest { options: Some(options), identity: identity.to_owned() };
    let mut request = Request::new(request);
    request.set_timeout(Duration::from_secs(10));
    Ok(tokens.mint_token(request).await?.into_inner().token)
}

/// The delay of a retry, if any: the retry policy of `service_config.json`, which tonic does not
/// read.
fn retry_in(status: &Status, attempt: u32) -> Option<Duration> {
    const ATTEMPTS: u32 = 4;
    // A connection that closed before the call was sent is CANCELLED in tonic, with a source.
    let is_transient = status.code() == Code::Unavailable || status.source().is_some();
    if !is_transient || attempt == ATTEMPTS {
        return None;
    }
    match status.metadata().get("grpc-retry-pushback-ms") {
        // A negative pushback, which does not parse as u64, forbids a retry.
        Some(pushback) => pushback.to_str().ok()?.parse().ok().map(Duration::from_millis),
        None => Some(Duration::from_millis(200 << (attempt - 1)).mul_f64(fastrand::f64())),
    }
}

/// Mints tokens for prefix0, prefix1 and so on, with as many calls as needed.
async fn mint_many(
    tokens: &mut Tokens,
    prefix: &str,
    count: i64,
    mut each: impl FnMut(i64, &str),
) -> Result<(), Status> {
    let (mut next, mut progress) = (0, Instant::now());
    loop {
        let series = IdentitySeries { prefix: prefix.to_owned(), count };
        let start = next;
        let called = mint_from(tokens, series, start, |token| {
            each(next, token);
            // Counted here, since an error's resume_index counts the tokens sent.
            next += 1;
        });
        let Err(status) = called.await else { return Ok(()) };
        if next > start {
            progress = Instant::now();
        }
        if !ended_early(&status) || progress.elapsed() > PATIENCE {
            return Err(status);
        }
        eprintln!("resuming at {next} after {}", explain(&status));
        sleep(retry_delay(&status).unwrap_or(Duration::from_secs(1))).await;
    }
}

/// Makes one call.
async fn mint_from(
    tokens: &mut Tokens,
    series: IdentitySeries,
    start_index: i64,
    mut each: impl FnMut(&str),
) -> Result<(), Status> {
    let selection = Some(Selection::IdentitySeries(series));
    let mut request =
        Request::new(MintTokensRequest { selection, start_index, ..Default::default() });
    request.set_timeout(Duration::from_secs(60));
    let mut chunks = tokens.mint_tokens(request).await?.into_inner();
    while let Some(chunk) = chunks.message().await? {
        chunk.tokens.iter().for_each(|token| each(token));
    }
    Ok(())
}

/// Whether to resume with another call. In tonic a broken connection may have any code, but has a
/// source.
fn ended_early(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) || status.source().is_some()
}

/// The retry delay that the server sets.
fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// An error's reason, message, invalid fields and retry delay.
fn explain(status: &Status) -> String {
    let details = status.get_error_details();
    let reason = details
        .error_info()
        .map_or_else(|| format!("{:?}", status.code()), |info| info.reason.clone());
    let mut lines = vec![format!("{reason}: {}", status.message())];
    for bad in details.bad_request().into_iter().flat_map(|bad| &bad.field_violations) {
        lines.push(format!("{}: {}", bad.field, bad.description));
    }
    if let Some(delay) = retry_delay(status) {
        lines.push(format!("retry in {:.1} s", delay.as_secs_f64()));
    }
    lines.join("; ")
}

async fn run(tokens: &mut Tokens, count: i64, room: Option<&str>) -> Result<(), Status> {
    println!("alice {}", mint(tokens, "alice").await?);
    let print = |index, token: &str| println!("viewer-{index} {token}");
    mint_many(tokens, "viewer-", count, print).await?;
    if let Err(status) = mint(tokens, "").await {
        println!("{}", explain(&status));
    }
    if let Some(room) = room {
        println!("alice {}", mint_for(tokens, "alice", room).await?);
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [server, count, room @ ..] = &arguments[..] else {
        return Err("usage: SERVER COUNT [ROOM]; ROOM requires a profile for rooms".into());
    };
    let room = room.first().map(String::as_str);
    if let Err(status) = run(&mut connect(server)?, count.parse()?, room).await {
        eprintln!("{}", explain(&status));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

//! Mints a token, then many, has a bad request explained, and sets what a token says.
//!
//! ```text
//! cargo run --example rust 127.0.0.1:50051 1000 room-1
//! ```
//!
//! The server may be a Unix socket, such as `unix:/run/grantmint/api.sock`.
//!
//! With `GRANTMINT_CA`, `GRANTMINT_CERT` and `GRANTMINT_KEY` in the environment, files in PEM form,
//! it speaks TLS and shows its certificate. With `GRANTMINT_TOKEN_FILE` it sends the bearer token
//! in that file.
//!
//! In a package of its own a `build.rs` with `tonic_prost_build::compile_protos` and
//! `tonic::include_proto!("grantmint.v1")` give what is `grantmint::rpc::proto` here, and tonic's
//! feature `tls-aws-lc` what is `grantmint::tls::client`.

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
        client::{self as tls, Expected, Files},
        prefixed::Prefixed,
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

/// How long a bulk may go without a token.
const PATIENCE: Duration = Duration::from_secs(60);

/// One channel for the life of the process: clones of it share the connection.
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
        return Err("a token is not sent to another machine in plain text: set GRANTMINT_CA".into());
    }
    let endpoint = Endpoint::from_shared(url)?
        .connect_timeout(Duration::from_secs(2))
        // Without pings only failing calls tell that a connection died silently.
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

/// Sends the token in a file, if there is one. Each call reads the file, since the token is
/// replaced before it expires.
#[derive(Clone)]
struct Bearer(Option<PathBuf>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let Some(file) = &self.0 else { return Ok(request) };
        let failed = |why: &str| Status::unauthenticated(format!("{}: {why}", file.display()));
        let token = fs::read_to_string(file).map_err(|error| failed(&error.to_string()))?;
        let header = MetadataValue::<Ascii>::try_from(format!("Bearer {}", token.trim()));
        let mut header = header.map_err(|_| failed("it holds no token"))?;
        // It stays out of Debug and of the connection's table of headers.
        header.set_sensitive(true);
        request.metadata_mut().insert("authorization", header);
        Ok(request)
    }
}

/// What TLS is spoken with; none for plain text.
fn tls_files() -> Option<Files> {
    let file = |name| env::var_os(name).map(PathBuf::from);
    let pair = file("GRANTMINT_CERT").zip(file("GRANTMINT_KEY"));
    Some(Files { ca: Some(file("GRANTMINT_CA")?), pair })
}

/// Connects over TLS; the files are read for each connection, so that they may be replaced.
#[derive(Clone)]
struct Tls(Files);

impl Service<Uri> for Tls {
    type Response = TokioIo<Prefixed<TlsStream<TcpStream>>>;
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

/// A token; what heals by itself is tried again, all within one deadline.
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

async fn mint_once(tokens: &mut Tokens, identity: &str, by: Instant) -> Result<String, Status> {
    let request = MintTokenRequest { identity: identity.to_owned(), ..Default::default() };
    let mut request = Request::new(request);
    request.set_timeout(by.duration_since(Instant::now()));
    let answer = tokens.mint_token(request).await?.into_inner();
    Ok(answer.token)
}

/// A token for a room, with values that the profile opens to calls.
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

/// When to try again, if at all: the retry policy of `service_config.json`, which tonic does
/// not read.
fn retry_in(status: &Status, attempt: u32) -> Option<Duration> {
    const ATTEMPTS: u32 = 4;
    // A connection that closed before the call was sent is CANCELLED in tonic, with a source.
    let heals = status.code() == Code::Unavailable || status.source().is_some();
    if !heals || attempt == ATTEMPTS {
        return None;
    }
    match status.metadata().get("grpc-retry-pushback-ms") {
        // A negative one, which is no u64, says not to.
        Some(pushback) => pushback.to_str().ok()?.parse().ok().map(Duration::from_millis),
        None => Some(Duration::from_millis(200 << (attempt - 1)).mul_f64(fastrand::f64())),
    }
}

/// Hands on the tokens of prefix0, prefix1 and so on, over as many calls as that takes.
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
            // Counted here, not taken from the error's resume_index: that is after what was sent.
            next += 1;
        });
        let Err(status) = called.await else { return Ok(()) };
        if next > start {
            progress = Instant::now();
        }
        if !ended_early(&status) || progress.elapsed() > PATIENCE {
            return Err(status);
        }
        eprintln!("going on at {next} after {}", explain(&status));
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

/// Whether the rest is worth another call. A connection that broke has any code in tonic, and
/// its cause.
fn ended_early(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) || status.source().is_some()
}

/// In how long the server expects to serve it.
fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// Its reason and message, every bad field, when to come again.
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
        lines.push(format!("try again in {:.1} s", delay.as_secs_f64()));
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
        return Err("it takes SERVER COUNT, and a ROOM where there is a profile of rooms".into());
    };
    let room = room.first().map(String::as_str);
    if let Err(status) = run(&mut connect(server)?, count.parse()?, room).await {
        eprintln!("{}", explain(&status));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

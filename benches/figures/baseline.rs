//! The baselines: stock tonic servers of the same API.
//!
//! `stock` responds to `MintToken` with a constant string and to `MintTokens` with constant bytes;
//! `jsonwebtoken` signs every token as a team with a cached grant would write it.

use std::{
    convert::Infallible,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Result;
use bytes::Bytes;
use futures_util::{Stream, stream};
use grantmint::{
    clock::Clock,
    provider::twilio_live::DEMO_API_KEY_SID,
    rpc::proto::{
        MintTokenRequest, MintTokenResponse, MintTokensRequest, MintTokensResponse, Validity,
        mint_tokens_request::Selection,
        token_service_server::{TokenService, TokenServiceServer},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc::unbounded_channel,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::BoxFuture,
    server::{NamedService, ServerStreamingService},
    transport::{
        Server,
        server::{Connected, TcpIncoming},
    },
};
use tonic_prost::ProstCodec;
use tower_service::Service;

use crate::{live::Live, mint::Encoder, secure::ServerCertificate};

/// The baseline and its response.
#[derive(Serialize, Deserialize)]
pub(crate) enum Baseline {
    /// An echo with a response of this size; in bulk, messages of this size that count as this many
    /// tokens.
    Stock { answer: usize, chunk: usize, tokens: usize },
    /// The same echo over stock tonic's TLS, with this certificate.
    StockOverTls { answer: usize, shown: ServerCertificate },
    /// Tokens with this grant, in chunks of this size.
    Jsonwebtoken { grant: Box<RawValue>, tokens: usize },
    /// Our own read side with this grant, replaced at this interval.
    Ours { grant: Box<RawValue>, swap_every: Option<Duration> },
}

impl Baseline {
    /// Serves until the process is killed.
    pub(crate) async fn serve(self) -> Result<()> {
        match self {
            Self::Stock { answer, chunk, tokens } => {
                let echo = TokenServiceServer::new(Echo::new(answer));
                serve(Stock { echo, constant: Constant::new(chunk, tokens) }).await
            }
            Self::StockOverTls { answer, shown } => {
                let echo = TokenServiceServer::new(Echo::new(answer));
                serve_over_tls(echo, shown.acceptor()?).await
            }
            Self::Jsonwebtoken { grant, tokens } => {
                serve(TokenServiceServer::new(Signing::new(grant, tokens))).await
            }
            Self::Ours { grant, swap_every } => {
                Live::new(1, &grant, Clock::system())?.serve(swap_every).await
            }
        }
    }
}

async fn serve<S>(service: S) -> Result<()>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S: NamedService + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", serde_json::json!({"server": format!("http://{}", listener.local_addr()?)}));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Ok(Server::builder().add_service(service).serve_with_incoming(incoming).await?)
}

/// The same over TLS as tonic's own TLS does it: each handshake in its own task, and tokio-rustls
/// streams under hyper.
async fn serve_over_tls<S>(service: S, acceptor: TlsAcceptor) -> Result<()>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S: NamedService + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", serde_json::json!({"server": format!("http://{}", listener.local_addr()?)}));
    let (opened, incoming) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, opened) = (acceptor.clone(), opened.clone());
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ = opened.send(io::Result::Ok(OverTls(stream)));
                }
            });
        }
    });
    let incoming = stream::unfold(incoming, async |mut incoming| {
        incoming.recv().await.map(|opened| (opened, incoming))
    });
    Ok(Server::builder().add_service(service).serve_with_incoming(incoming).await?)
}

struct OverTls(TlsStream<TcpStream>);

impl Connected for OverTls {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for OverTls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for OverTls {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

type Chunks = Pin<Box<dyn Stream<Item = Result<MintTokensResponse, Status>> + Send>>;

struct Echo(MintTokenResponse);

impl Echo {
    fn new(bytes: usize) -> Self {
        // Without the field's own tag and length.
        let token = "x".repeat(bytes.saturating_sub(3));
        Self(MintTokenResponse { token, ..Default::default() })
    }
}

#[tonic::async_trait]
impl TokenService for Echo {
    async fn mint_token(
        &self,
        _: Request<MintTokenRequest>,
    ) -> Result<Response<MintTokenResponse>, Status> {
        Ok(Response::new(self.0.clone()))
    }

    type MintTokensStream = Chunks;

    async fn mint_tokens(
        &self,
        _: Request<MintTokensRequest>,
    ) -> Result<Response<Self::MintTokensStream>, Status> {
        Err(Status::unimplemented("only one by one"))
    }
}

/// The number of tokens that a call requests.
fn count_of(request: &MintTokensRequest) -> usize {
    match &request.selection {
        Some(Selection::IdentitySeries(series)) => usize::try_from(series.count).unwrap_or(0),
        Some(Selection::IdentityList(list)) => list.identities.len(),
        None => 0,
    }
}

/// A message with one field of bytes, cloned without copying.
#[derive(Clone, PartialEq, prost::Message)]
struct Opaque {
    #[prost(bytes = "bytes", tag = "1")]
    bytes: Bytes,
}

#[derive(Clone)]
struct Constant {
    message: Opaque,
    tokens: usize,
}

impl Constant {
    fn new(bytes: usize, tokens: usize) -> Self {
        // Without the field's own tag and length.
        let bytes = Bytes::from(vec![b'x'; bytes.saturating_sub(4)]);
        Self { message: Opaque { bytes }, tokens }
    }
}

impl ServerStreamingService<MintTokensRequest> for Constant {
    type Response = Opaque;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Opaque, Status>> + Send>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<MintTokensRequest>) -> Self::Future {
        let messages = count_of(request.get_ref()).div_ceil(self.tokens);
        let message = self.message.clone();
        Box::pin(async move {
            let stream = stream::iter((0..messages).map(move |_| Ok(message.clone())));
            Ok(Response::new(Box::pin(stream) as Self::ResponseStream))
        })
    }
}

#[derive(Clone)]
struct Stock {
    echo: TokenServiceServer<Echo>,
    constant: Constant,
}

impl NamedService for Stock {
    const NAME: &'static str = "grantmint.v1.TokenService";
}

impl Service<http::Request<Body>> for Stock {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if !request.uri().path().ends_with("/MintTokens") {
            return self.echo.call(request);
        }
        let service = self.constant.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::default());
            Ok(grpc.server_streaming(service, request).await)
        })
    }
}

struct Signing(Arc<Signer>);

struct Signer {
    encoder: Encoder,
    tokens: usize,
    ids: AtomicU64,
    clock: Clock,
}

impl Signing {
    fn new(grant: Box<RawValue>, tokens: usize) -> Self {
        let (encoder, ids) = (Encoder::new(grant), AtomicU64::new(0));
        Self(Arc::new(Signer { encoder, tokens, ids, clock: Clock::system() }))
    }
}

impl Signer {
    fn sign(&self, identity: &str, issue: i64) -> Result<(String, String), Status> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let id = format!("{DEMO_API_KEY_SID}-{issue}-{id:016}");
        let token = self.encoder.encode(identity, &id, issue);
        Ok((token.map_err(|_| Status::internal("cannot sign"))?, id))
    }

    fn validity(issue: i64) -> Validity {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        Validity { issue_time: at(issue), expire_time: at(issue + 60), ..Default::default() }
    }
}

#[tonic::async_trait]
impl TokenService for Signing {
    async fn mint_token(
        &self,
        request: Request<MintTokenRequest>,
    ) -> Result<Response<MintTokenResponse>, Status> {
        let issue = self.0.clock.now().wall.unix_seconds();
        let (token, token_id) = self.0.sign(&request.get_ref().identity, issue)?;
        let validity = Some(Signer::validity(issue));
        Ok(Response::new(MintTokenResponse { token, token_id, validity }))
    }

    type MintTokensStream = Chunks;

    async fn mint_tokens(
        &self,
        request: Request<MintTokensRequest>,
    ) -> Result<Response<Self::MintTokensStream>, Status> {
        let count = count_of(request.get_ref());
        let Some(Selection::IdentitySeries(series)) = request.into_inner().selection else {
            return Err(Status::invalid_argument("no series"));
        };
        let signer = Arc::clone(&self.0);
        let chunk = move |first: usize| {
            let issue = signer.clock.now().wall.unix_seconds();
            let identities = first..count.min(first + signer.tokens);
            let tokens = identities.map(|index| {
                let identity = format!("{}{index}", series.prefix);
                Ok(signer.sign(&identity, issue)?.0)
            });
            let tokens = tokens.collect::<Result<_, Status>>()?;
            let first_index = i64::try_from(first).unwrap_or_default();
            Ok(MintTokensResponse { tokens, first_index, validity: Some(Signer::validity(issue)) })
        };
        let firsts = (0..count).step_by(self.0.tokens);
        Ok(Response::new(Box::pin(stream::iter(firsts.map(chunk)))))
    }
}

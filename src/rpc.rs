//! The gRPC API: mints tokens and reports the state of grants.

mod access;
mod caller;
mod convert;
mod grants;
mod health;
pub mod incoming;
pub mod layers;
mod lists;
mod methods;
mod params;
mod reflection;
pub mod request_body;
mod status;
mod streams;
mod tokens;
mod violation;

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Method, Request, StatusCode, header};
use tonic::{
    body::Body,
    codec::{CompressionEncoding, EnabledCompressionEncodings},
    codegen::BoxFuture,
};
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::pb::{
    v1::server_reflection_server::ServerReflectionServer as ReflectionServer,
    v1alpha::server_reflection_server::ServerReflectionServer as AlphaReflectionServer,
};
use tower_service::Service;

pub use self::health::{HealthReporter, report_health};
use self::{
    health::health,
    incoming::Incoming,
    methods::{HEALTH_SERVICE, REFLECTION_SERVICES},
    proto::grant_service_server::GrantServiceServer,
    reflection::Reflection,
    request_body::RequestBody,
    streams::Streams,
    tokens::Tokens,
};
use crate::{
    clock::Clock, drain::Drain, grant::table::Roster, mint::minter::Minter, telemetry::Metrics,
};

/// The messages and clients of `grantmint.v1`, which the client generates, and its servers.
pub mod proto {
    #![expect(
        unused_qualifications,
        clippy::pedantic,
        clippy::allow_attributes,
        reason = "generated"
    )]

    pub use grantmint_client::proto::*;

    tonic::include_proto!("grantmint.v1");

    /// All messages and services with their options, as an encoded descriptor set.
    pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/grantmint.v1.bin"));
}

/// Limits on the size of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of any request except `MintTokens`.
    pub request_bytes: usize,
    /// Bytes of a `MintTokens` request.
    pub bulk_request_bytes: usize,
    /// Open calls of `MintTokens` and `WatchGrants`, on all connections together.
    pub streaming_calls: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: 64 * 1024,
            bulk_request_bytes: 4 * 1024 * 1024,
            streaming_calls: 1_024,
        }
    }
}

/// The full name of `TokenService`.
pub const TOKEN_SERVICE: &str = "grantmint.v1.TokenService";
const GRANT_SERVICE: &str = "grantmint.v1.GrantService";

/// The whole API as one service, which calls the method in the path directly. Requests that are not
/// gRPC or name no known method are refused before they get here.
#[derive(Clone)]
pub struct Api {
    tokens: Arc<Tokens>,
    grants: GrantServiceServer<grants::Grants>,
    health: ErasedService,
    reflection: ErasedService,
    reflection_alpha: ErasedService,
}

/// A type-erased service, for methods off the hot path.
type ErasedService = Arc<dyn Fn(Call) -> CallFuture + Send + Sync>;
type Call = Request<RequestBody<Incoming>>;
type CallFuture = BoxFuture<http::Response<Body>, Infallible>;

fn erase<S>(service: S) -> ErasedService
where
    S: Service<Call, Future = CallFuture> + Clone + Send + Sync + 'static,
{
    Arc::new(move |request| service.clone().call(request))
}

/// What the API is built from.
#[derive(Debug)]
pub struct Parts {
    /// Mints tokens.
    pub minter: Arc<Minter>,
    /// The grants.
    pub roster: Roster,
    /// Reports shutdown.
    pub drain: Drain,
    /// The clock.
    pub clock: Clock,
    /// The metrics of calls.
    pub metrics: Metrics,
    /// Limits on requests.
    pub limits: Limits,
}

impl Api {
    /// Returns the API and the reporter of its health.
    ///
    /// # Errors
    ///
    /// The compiled-in descriptor set is invalid.
    pub fn new(parts: &Parts) -> Result<(Self, HealthReporter), prost::DecodeError> {
        // Accepts compressed requests up to a size. A macro, since no trait has these methods.
        macro_rules! limited {
            ($server:expr) => {
                $server
                    .max_decoding_message_size(parts.limits.request_bytes)
                    .accept_compressed(CompressionEncoding::Gzip)
                    .accept_compressed(CompressionEncoding::Deflate)
            };
        }
        let streams = Streams::new(parts.limits.streaming_calls);
        let tokens = Arc::new(Tokens::new(parts, streams.clone()));
        let (reporter, health) = health();
        // Our services, health, and the types used in error details.
        let reflection = Reflection::new(&[
            proto::DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_types::pb::FILE_DESCRIPTOR_SET,
        ])?;
        let api = Self {
            tokens,
            grants: limited!(GrantServiceServer::new(grants::Grants::new(parts, streams))),
            health: erase(limited!(HealthServer::new(health))),
            reflection: erase(limited!(ReflectionServer::new(reflection.clone()))),
            reflection_alpha: erase(limited!(AlphaReflectionServer::new(reflection))),
        };
        Ok((api, reporter))
    }
}

/// The compression that requests may use. Responses are not compressed: tokens are random to a
/// compressor, and data chosen by callers must not be compressed together with secrets.
fn encodings() -> EnabledCompressionEncodings {
    let mut encodings = EnabledCompressionEncodings::default();
    encodings.enable(CompressionEncoding::Gzip);
    encodings.enable(CompressionEncoding::Deflate);
    encodings
}

/// The response to a request that is not gRPC; none if it is.
fn not_grpc<B>(request: &Request<B>) -> Option<http::Response<Body>> {
    if request.method() != Method::POST {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        return Some(status::not_grpc(status, "gRPC calls are POST requests"));
    }
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let kind = content_type.and_then(|kind| kind.as_bytes().split(|byte| *byte == b';').next());
    match kind.map(<[u8]>::trim_ascii) {
        Some(kind)
            if kind.eq_ignore_ascii_case(b"application/grpc")
                || kind.eq_ignore_ascii_case(b"application/grpc+proto") =>
        {
            None
        }
        _ => {
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            Some(status::not_grpc(status, "the content type is not application/grpc"))
        }
    }
}

impl Service<Call> for Api {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = CallFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Call) -> Self::Future {
        let path = request.uri().path().strip_prefix('/').unwrap_or_default();
        match path.split_once('/') {
            Some((TOKEN_SERVICE, "MintToken")) => self.tokens.serve_mint_token(request),
            Some((TOKEN_SERVICE, "MintTokens")) => self.tokens.serve_mint_tokens(request),
            Some((GRANT_SERVICE, _)) => self.grants.call(request),
            Some((HEALTH_SERVICE, _)) => (self.health)(request),
            Some((service, _)) if service == REFLECTION_SERVICES[0] => (self.reflection)(request),
            Some((service, _)) if service == REFLECTION_SERVICES[1] => {
                (self.reflection_alpha)(request)
            }
            _ => Box::pin(async { Ok(status::unknown_method().into_http()) }),
        }
    }
}

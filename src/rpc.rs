//! The gRPC API over what is minted and what is known of the grants.

mod convert;
mod grants;
mod health;
pub mod layers;
pub mod request_body;
mod status;
mod streams;
mod tokens;

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use http::Request;
use hyper::body::Incoming;
use tonic::{body::Body, codegen::BoxFuture};
use tonic_health::server::{HealthReporter, HealthService};
use tower_service::Service;

pub use self::health::report_health;
use self::{
    proto::grant_service_server::GrantServiceServer, request_body::RequestBody, streams::Streams,
    tokens::Tokens,
};
use crate::{
    clock::Clock, drain::Drain, grant::table::Roster, mint::minter::Minter, telemetry::Metrics,
};

/// The generated messages, clients and servers of `grantmint.v1`.
pub mod proto {
    #![expect(
        missing_docs,
        unused_qualifications,
        clippy::pedantic,
        clippy::allow_attributes,
        reason = "generated"
    )]

    use std::fmt;

    tonic::include_proto!("grantmint.v1");

    /// All messages and services with their options, encoded.
    pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/grantmint.v1.bin"));

    impl fmt::Debug for MintTokenResponse {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("MintTokenResponse")
                .field("token_id", &self.token_id)
                .field("validity", &self.validity)
                .finish_non_exhaustive()
        }
    }

    impl fmt::Debug for MintTokensResponse {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("MintTokensResponse")
                .field("tokens", &self.tokens.len())
                .field("first_index", &self.first_index)
                .field("validity", &self.validity)
                .finish_non_exhaustive()
        }
    }
}

/// Limits on the size of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of any request but `MintTokens`'.
    pub request_bytes: usize,
    /// Bytes of a `MintTokens` request.
    pub bulk_request_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request_bytes: 64 * 1024, bulk_request_bytes: 4 * 1024 * 1024 }
    }
}

const TOKEN_SERVICE: &str = "grantmint.v1.TokenService";
const GRANT_SERVICE: &str = "grantmint.v1.GrantService";

/// The whole API as one service: what a path names is called directly.
#[derive(Clone)]
pub struct Api {
    tokens: Arc<Tokens>,
    grants: GrantServiceServer<grants::Grants>,
    health: Aside,
    reflection: Aside,
    reflection_alpha: Aside,
}

/// A service off the hot path, with its type erased.
type Aside = Arc<dyn Fn(Call) -> Answer + Send + Sync>;
type Call = Request<RequestBody<Incoming>>;
type Answer = BoxFuture<http::Response<Body>, Infallible>;

fn aside<S>(service: S) -> Aside
where
    S: Service<Call, Future = Answer> + Clone + Send + Sync + 'static,
{
    Arc::new(move |request| service.clone().call(request))
}

/// What the API is made of.
#[derive(Debug)]
pub struct Parts {
    /// Mints the tokens.
    pub minter: Arc<Minter>,
    /// Knows the grants.
    pub roster: Roster,
    /// The way out.
    pub drain: Drain,
    /// The time.
    pub clock: Clock,
    /// Where calls are counted.
    pub metrics: Metrics,
    /// Limits on requests.
    pub limits: Limits,
}

impl Api {
    /// The API, and the reporter that its health is told to.
    ///
    /// # Errors
    ///
    /// The descriptor set that was compiled in is broken.
    pub fn new(parts: &Parts) -> Result<(Self, HealthReporter), tonic_reflection::server::Error> {
        let streams = Streams::default();
        let tokens = Arc::new(Tokens::new(parts, streams.clone()));
        let grants = GrantServiceServer::new(grants::Grants::new(parts, streams))
            .max_decoding_message_size(parts.limits.request_bytes);
        let reporter = HealthReporter::new();
        let health = HealthService::from_health_reporter(reporter.clone());
        let health = tonic_health::pb::health_server::HealthServer::new(health)
            .max_decoding_message_size(parts.limits.request_bytes);
        let api = Self {
            tokens,
            grants,
            health: aside(health),
            reflection: aside(reflection().build_v1()?),
            reflection_alpha: aside(reflection().build_v1alpha()?),
        };
        Ok((api, reporter))
    }
}

/// Ours, health, and the types that error details travel in.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}

impl Service<Call> for Api {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Call) -> Self::Future {
        let path = request.uri().path().strip_prefix('/').unwrap_or_default();
        match path.split_once('/') {
            Some((TOKEN_SERVICE, "MintToken")) => self.tokens.answer_one(request),
            Some((TOKEN_SERVICE, "MintTokens")) => self.tokens.answer_many(request),
            Some((GRANT_SERVICE, _)) => self.grants.call(request),
            Some(("grpc.health.v1.Health", _)) => (self.health)(request),
            Some(("grpc.reflection.v1.ServerReflection", _)) => (self.reflection)(request),
            Some(("grpc.reflection.v1alpha.ServerReflection", _)) => {
                (self.reflection_alpha)(request)
            }
            _ => Box::pin(async { Ok(status::unknown_method().into_http()) }),
        }
    }
}

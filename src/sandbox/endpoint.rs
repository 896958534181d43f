//! The interface between an emulated upstream and the engine that serves it.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};

use super::answer::Answer;
use crate::clock::WallTime;

/// An emulated upstream with one credential.
///
/// The engine owns the connections, the log and the faults. It corrupts bodies, delays responses
/// and resets connections. An endpoint supplies only what is specific to its upstream: whether a
/// request is for it, and the response. An endpoint receives whole requests and never waits.
///
/// With several endpoints, the engine routes a request to the one that
/// [recognizes](Self::recognize) most of it; the first of equals wins. Endpoints of one kind are
/// therefore told apart by the credential. A request that no endpoint recognizes goes to the
/// first.
///
/// Its `Debug` must not show secrets.
pub trait Endpoint: fmt::Debug + Send + Sync {
    /// The values of a fault's `body` that are specific to this endpoint's grants. Words of lower
    /// case letters, digits and hyphens; none of the engine's [words](super::fault::BadBody).
    fn bodies(&self) -> &'static [&'static str] {
        &[]
    }

    /// Reports what it recognizes in a request.
    fn recognize(&self, request: &Request<Bytes>) -> Recognized;

    /// Responds as the upstream would: with [a grant](Answer::granting), which has the flaw in
    /// `context`, or with a refusal.
    fn answer(&self, request: &Request<Bytes>, context: &mut AnswerContext<'_>) -> Answer;

    /// The response that the upstream documents for a status from 200 to 599. The engine calls it
    /// for a status fault, with 429 at the limit on concurrent requests, and with 413 if the
    /// request's body is too long; `request` has no body then.
    fn refusal(&self, request: &Request<Bytes>, status: StatusCode) -> Answer {
        let _ = request;
        Answer::page(status)
    }

    /// Adds the headers common to all its responses.
    fn add_headers(&self, headers: &mut HeaderMap, context: &mut HeaderContext<'_>) {
        let _ = (headers, context);
    }
}

/// The bodies specific to these endpoints, without duplicates.
#[must_use]
pub fn bodies(endpoints: &[Arc<dyn Endpoint>]) -> Vec<&'static str> {
    let mut bodies = Vec::new();
    for body in endpoints.iter().flat_map(|endpoint| endpoint.bodies()) {
        if !bodies.contains(body) {
            bodies.push(*body);
        }
    }
    bodies
}

/// What an endpoint recognizes in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recognized {
    /// Whether the path is one of the endpoint's.
    pub path: bool,
    /// Whether the credential is the endpoint's.
    pub credential: Credential,
    /// The resource of the requested grant, well-formed or not; `None` if the request is for no
    /// grant. Faults apply only to requests for a grant.
    pub resource: Option<String>,
    /// Further members of the request's log line, by name, with the values as sent. The names must
    /// differ from the line's other members. Never a secret.
    pub notes: Vec<(&'static str, Option<String>)>,
}

/// How a request's credential relates to the endpoint's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Credential {
    /// A different credential, or none.
    #[default]
    Foreign,
    /// It names the endpoint's account, key or user without proof.
    Named,
    /// The endpoint's credential.
    Proven,
}

/// What a response depends on besides the request.
#[derive(Debug)]
pub struct AnswerContext<'a> {
    /// The current time.
    pub now: WallTime,
    /// The sandbox's base URL, without a trailing slash.
    pub base: &'a str,
    /// The source of random values; a sandbox repeats them for the same seed.
    pub random: &'a mut Random,
    /// The flaw that a grant must have.
    pub flaw: Flaw<'a>,
}

/// A flaw that the endpoint gives to a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw<'a> {
    /// No flaw.
    None,
    /// A life shorter by this, down to zero. The response states the shortened life.
    ShorterLife(Duration),
    /// One of the endpoint-specific [bodies](Endpoint::bodies).
    Body(&'a str),
}

/// What the common headers of a response may depend on.
#[derive(Debug)]
pub struct HeaderContext<'a> {
    /// When the response is sent.
    pub now: WallTime,
    /// Requests in flight when the request was received, including itself.
    pub in_flight: usize,
    /// How long the request was held.
    pub held: Duration,
    /// The source of random values.
    pub random: &'a mut Random,
}

/// Pseudo-random values without security properties.
#[derive(Clone, Debug)]
pub struct Random(fastrand::Rng);

impl Random {
    /// Equal seeds give equal values.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// 32 lower-case hexadecimal digits.
    pub fn hex(&mut self) -> String {
        format!("{:032x}", self.0.u128(..))
    }

    /// Fills `bytes` with random values.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// Responds 404 to every request, in a sandbox without endpoints.
#[derive(Debug)]
pub(super) struct NoEndpoint;

impl Endpoint for NoEndpoint {
    fn recognize(&self, _request: &Request<Bytes>) -> Recognized {
        Recognized::default()
    }

    fn answer(&self, _request: &Request<Bytes>, _context: &mut AnswerContext<'_>) -> Answer {
        Answer::page(StatusCode::NOT_FOUND)
    }
}

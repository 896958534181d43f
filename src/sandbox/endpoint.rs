//! What an emulated upstream is to the engine that serves it.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};

use super::answer::Answer;
use crate::clock::WallTime;

/// An upstream that is emulated, under one credential.
///
/// The engine owns the connections, the log and the faults, and asks an endpoint only what its
/// upstream alone knows: whose request it is, and what is answered to it. An endpoint never
/// waits and sees whole requests. The engine damages bodies, holds answers back and resets
/// connections by itself.
///
/// Of several endpoints, a request is for the one that [recognises](Self::recognise) most in
/// it, the first of equals; so those of one kind tell each other's requests by the credential.
/// What none of them recognises is for the first.
///
/// Its `Debug` shows no secret.
pub trait Endpoint: fmt::Debug + Send + Sync {
    /// The values of a fault's `body` that are its own: what only its grants can have wrong.
    /// Words of lower case letters, digits and hyphens; none of the engine's
    /// [words](super::fault::BadBody).
    fn bodies(&self) -> &'static [&'static str] {
        &[]
    }

    /// What it recognises in a request.
    fn recognise(&self, request: &Request<Bytes>) -> Recognised;

    /// Answers a request as the upstream would: [with a grant](Answer::granting), which has
    /// the flaw that `moment` asks for, or with a refusal.
    fn answer(&self, request: &Request<Bytes>, moment: &mut Moment<'_>) -> Answer;

    /// The answer that the upstream documents for a status, which may be any from 200 to 599.
    /// Asked for where a fault says so, with 429 where too many requests are at work, and with
    /// 413 where the request's body is too long: it is empty then.
    fn refusal(&self, request: &Request<Bytes>, status: StatusCode) -> Answer {
        let _ = request;
        Answer::page(status)
    }

    /// Adds the headers that all its answers have, whatever they are.
    fn add_headers(&self, headers: &mut HeaderMap, served: &mut Served<'_>) {
        let _ = (headers, served);
    }
}

/// The bodies that these endpoints have of their own, each once.
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

/// What an endpoint recognises in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recognised {
    /// Whether its path is one of the endpoint's.
    pub path: bool,
    /// Whether its credential is the endpoint's.
    pub credential: Credential,
    /// The resource that a grant is asked for, well-formed or not; none where none is asked
    /// for. Only requests with one meet faults.
    pub resource: Option<String>,
    /// What else the log of requests tells: names that are no members of its lines yet, each
    /// with what the request says of it, as written. Never a secret.
    pub notes: Vec<(&'static str, Option<String>)>,
}

/// How a request's credential relates to an endpoint's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Credential {
    /// It is another one, or there is none.
    #[default]
    Foreign,
    /// It names the endpoint's account, key or user, and does not prove it.
    Named,
    /// It is the endpoint's.
    Proven,
}

/// What an answer depends on beside the request.
#[derive(Debug)]
pub struct Moment<'a> {
    /// When it is.
    pub now: WallTime,
    /// The sandbox's base URL, without a slash at its end.
    pub base: &'a str,
    /// Where random values come from: a sandbox with a seed repeats them.
    pub random: &'a mut Random,
    /// What is to be wrong with a grant.
    pub flaw: Flaw<'a>,
}

/// What is to be wrong with a grant, as far as its endpoint makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw<'a> {
    /// Nothing.
    None,
    /// It lives that much shorter than it should, at least not at all; what the answer says of
    /// its life is true.
    ShorterLife(Duration),
    /// One of the endpoint's own [bodies](Endpoint::bodies).
    Body(&'a str),
}

/// How a request was served.
#[derive(Debug)]
pub struct Served<'a> {
    /// When it is answered.
    pub now: WallTime,
    /// Requests that were at work when it came in, itself too.
    pub at_work: usize,
    /// How long it was held.
    pub held: Duration,
    /// Where random values come from.
    pub random: &'a mut Random,
}

/// Random values, good for looks only.
#[derive(Clone, Debug)]
pub struct Random(fastrand::Rng);

impl Random {
    /// Starts from `seed`: equal seeds, equal values.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// 32 hexadecimal digits in lower case.
    pub fn hex(&mut self) -> String {
        format!("{:032x}", self.0.u128(..))
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// Emulates nothing: what answers where there is no endpoint.
#[derive(Debug)]
pub(super) struct Nothing;

impl Endpoint for Nothing {
    fn recognise(&self, _request: &Request<Bytes>) -> Recognised {
        Recognised::default()
    }

    fn answer(&self, _request: &Request<Bytes>, _moment: &mut Moment<'_>) -> Answer {
        Answer::page(StatusCode::NOT_FOUND)
    }
}

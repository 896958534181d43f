//! Authentication by bearer token (RFC 6750) from a configured issuer.
//!
//! A call with a bearer token is authenticated by the token alone, whatever certificate its
//! connection has. Most tokens have been verified before, so that finding the caller takes no lock
//! and no signature check. A call waits only if its token names an unknown key.

mod algorithm;
mod cache;
mod demand;
mod issuer;
mod json;
mod jwks;
mod token;

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

pub use self::{
    algorithm::{Algorithm, Algorithms},
    demand::DemandReceiver,
    issuer::{Fetches, Issuer, IssuerInfo, Terms},
    jwks::{KeySet, KeySetError},
};
use self::{
    cache::{TokenCache, TokenDigest},
    demand::{Demand, FetchRequest},
    issuer::Verification,
    token::Token,
};
use super::{
    cause::Cause,
    failures::Failures,
    name::{CallerName, IssuerName},
    peer::{Fingerprint, Peer},
    refusal::Denied,
};
use crate::{
    audit::Audit,
    clock::{Anchor, BootTime, Clock, WallTime},
    telemetry::Metrics,
};

/// How long a call waits for an unknown key.
const KEY_WAIT: Duration = Duration::from_secs(2);

/// The maximum number of calls that wait for keys at the same time, over all issuers.
const MAX_WAITING: usize = 256;

/// The retry delay when too many calls wait.
const OVERLOAD_RETRY: Duration = Duration::from_secs(1);

/// How often the clock is read while waiting for a token's expiry.
const CLOCK_POLL: Duration = Duration::from_millis(500);

/// The maximum number of characters of a claim in the log.
const MAX_LOGGED_CLAIM: usize = 256;

/// The caller named by a verified token.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    /// The caller's name.
    pub name: CallerName,
    /// When the token expires.
    pub expiry: Expiry,
    /// The certificate whose key the sender must hold.
    pub certificate: Option<Fingerprint>,
}

/// When a token expires, by both clocks. The one reached first counts, so that setting the wall
/// clock back extends no lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry {
    /// By the wall clock.
    pub wall: WallTime,
    /// By the boot clock, computed when the token was verified.
    pub boot: BootTime,
}

impl Expiry {
    fn new(wall: WallTime, now: Anchor) -> Self {
        Self { wall, boot: now.boot + wall.since(now.wall) }
    }

    /// The time remaining; zero after expiry.
    fn remaining(self, now: Anchor) -> Duration {
        self.wall.since(now.wall).min(self.boot.since(now.boot))
    }
}

/// The caller of a call, from its bearer token. The token can be checked again during the call.
#[derive(Clone)]
pub struct Session {
    verified: Arc<Verified>,
    /// The key set generation that the token was verified with.
    generation: u64,
    authorization: HeaderValue,
    bearers: Arc<Bearers>,
    peer: Arc<Peer>,
}

/// The server's bearer token authentication.
#[derive(Debug)]
pub struct Bearers {
    policy: Policy,
    failures: Failures,
    clock: Clock,
}

#[derive(Debug)]
enum Policy {
    /// Tokens are ignored: any client that can connect may call everything.
    Ignored,
    /// Tokens are verified.
    Checked(Checks),
}

#[derive(Debug)]
struct Checks {
    issuers: Vec<Arc<Issuer>>,
    cache: Arc<TokenCache>,
    waiting: Arc<Semaphore>,
}

/// Collects the issuers while a server is built.
#[derive(Debug, Default)]
pub struct Issuers {
    issuers: Vec<Arc<Issuer>>,
    cache: Arc<TokenCache>,
}

/// The result of checking a call's bearer token.
#[derive(Debug)]
pub enum Bearer {
    /// There is no token, or tokens are ignored.
    None,
    /// The token authenticates this caller.
    Verified(Session),
    /// The token is refused.
    Refused(Denied),
    /// The token's key is unknown; a fetch may provide it.
    Waiting(Waiting),
}

/// A token that waits for a key.
pub struct Waiting {
    bearers: Arc<Bearers>,
    authorization: HeaderValue,
    peer: Arc<Peer>,
}

/// Why a token is refused, and the name that it claims.
struct Refusal {
    cause: Cause,
    claim: String,
}

impl Refusal {
    fn anonymous(cause: Cause) -> Self {
        Self { cause, claim: String::new() }
    }
}

/// The result of one lookup of a token.
enum Lookup {
    /// The caller and the key set generation.
    Verified(Arc<Verified>, u64),
    Refused(Refusal),
    UnknownKey {
        issuer: Arc<Issuer>,
        kid: String,
        claim: String,
    },
    Unverifiable(BootTime),
}

impl Issuers {
    /// Adds an issuer whose keys are in a file.
    pub fn add(&mut self, name: IssuerName, known: IssuerInfo) -> Arc<Issuer> {
        self.added(Issuer::new(name, known, Arc::clone(&self.cache)))
    }

    /// Adds an issuer whose keys are fetched, for tokens with this audience. `issuer` is its `iss`
    /// claim, if that is configured.
    pub fn add_fetched(
        &mut self,
        name: IssuerName,
        issuer: Option<String>,
        audience: String,
        clock: &Clock,
    ) -> Arc<Issuer> {
        let cache = Arc::clone(&self.cache);
        self.added(Issuer::fetched(name, issuer, audience, clock.now().boot, cache))
    }

    fn added(&mut self, issuer: Issuer) -> Arc<Issuer> {
        let issuer = Arc::new(issuer);
        self.issuers.push(Arc::clone(&issuer));
        issuer
    }
}

impl Bearers {
    /// Creates the authentication for these issuers. Without issuers, every token is refused, or
    /// ignored if the server needs no caller names (`is_open`). Failures are recorded in `audit`.
    #[must_use]
    pub fn new(
        issuers: Issuers,
        is_open: bool,
        clock: Clock,
        metrics: &Metrics,
        audit: Option<Audit>,
    ) -> Self {
        let Issuers { issuers, cache } = issuers;
        let policy = if is_open && issuers.is_empty() {
            Policy::Ignored
        } else {
            let waiting = Arc::new(Semaphore::new(MAX_WAITING));
            Policy::Checked(Checks { issuers, cache, waiting })
        };
        let failures = Failures::new(metrics, &Cause::ALL.map(Cause::as_str), audit);
        Self { policy, failures, clock }
    }

    /// Authenticates a call by its headers.
    pub fn of(self: &Arc<Self>, headers: &HeaderMap, peer: &Arc<Peer>) -> Bearer {
        let Policy::Checked(checks) = &self.policy else { return Bearer::None };
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let Some(authorization) = all.next() else { return Bearer::None };
        if all.next().is_some() {
            return Bearer::Refused(self.refuse(peer, Refusal::anonymous(Cause::Malformed)));
        }
        match checks.lookup(authorization, peer, &self.clock) {
            Lookup::Verified(verified, generation) => {
                Bearer::Verified(self.session(verified, generation, authorization, peer))
            }
            Lookup::Refused(refusal) => Bearer::Refused(self.refuse(peer, refusal)),
            Lookup::Unverifiable(next) => Bearer::Refused(self.unverifiable(next)),
            Lookup::UnknownKey { .. } => Bearer::Waiting(Waiting {
                bearers: Arc::clone(self),
                authorization: authorization.clone(),
                peer: Arc::clone(peer),
            }),
        }
    }

    /// Records a call without any credential.
    pub fn record_no_credential(&self, peer: &Peer) {
        self.failures.record(peer.from, Cause::NoCredential.as_str(), "");
    }

    fn session(
        self: &Arc<Self>,
        verified: Arc<Verified>,
        generation: u64,
        authorization: &HeaderValue,
        peer: &Arc<Peer>,
    ) -> Session {
        let (bearers, peer) = (Arc::clone(self), Arc::clone(peer));
        Session { verified, generation, authorization: authorization.clone(), bearers, peer }
    }

    fn refuse(&self, peer: &Peer, Refusal { cause, claim }: Refusal) -> Denied {
        self.failures.record(peer.from, cause.as_str(), &claim);
        Denied::Unauthenticated(cause)
    }

    fn unverifiable(&self, next: BootTime) -> Denied {
        Denied::Unverifiable { retry_in: next.since(self.clock.now().boot) }
    }
}

impl Session {
    /// The caller's name.
    #[must_use]
    pub fn name(&self) -> &CallerName {
        &self.verified.name
    }

    /// The other end of the call's connection.
    #[must_use]
    pub const fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Checks that the token still authenticates the caller.
    ///
    /// # Errors
    ///
    /// The token has expired, or is refused after a change of its issuer's keys or terms.
    pub fn check(&self) -> Result<(), Denied> {
        let Self { verified, bearers, peer, .. } = self;
        let claim = || claim_of(&verified.name.to_string());
        let refuse = |cause| Err(bearers.refuse(peer, Refusal { cause, claim: claim() }));
        let Policy::Checked(checks) = &bearers.policy else { return Ok(()) };
        if verified.expiry.remaining(bearers.clock.now()).is_zero() {
            return refuse(Cause::Expired);
        }
        if checks.cache.generation() == self.generation {
            return Ok(());
        }
        match checks.lookup(&self.authorization, peer, &bearers.clock) {
            Lookup::Verified(now, _) if now.name == verified.name => Ok(()),
            Lookup::Verified(..) => refuse(Cause::UnknownIssuer),
            Lookup::Refused(refusal) => Err(bearers.refuse(peer, refusal)),
            Lookup::UnknownKey { .. } => refuse(Cause::UnknownKey),
            Lookup::Unverifiable(next) => Err(bearers.unverifiable(next)),
        }
    }

    /// Waits until the token no longer authenticates the caller; returns the reason.
    pub async fn ended(&self) -> Denied {
        loop {
            if let Err(denied) = self.check() {
                return denied;
            }
            let remaining = self.verified.expiry.remaining(self.bearers.clock.now());
            tokio::time::sleep(remaining.min(CLOCK_POLL)).await;
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("verified", &self.verified).finish_non_exhaustive()
    }
}

impl Checks {
    fn lookup(&self, authorization: &HeaderValue, peer: &Peer, clock: &Clock) -> Lookup {
        if self.issuers.is_empty() {
            return Lookup::Refused(Refusal::anonymous(Cause::UnknownIssuer));
        }
        let Some(text) = credential(authorization) else {
            return Lookup::Refused(Refusal::anonymous(Cause::Malformed));
        };
        let (now, digest) = (clock.now(), TokenDigest::of(text));
        let generation = self.cache.generation();
        if let Some(verified) = self.cache.find(digest, generation, now) {
            return bound(verified, generation, peer);
        }
        let Some(token) = Token::parse(text) else {
            return Lookup::Refused(Refusal::anonymous(Cause::Malformed));
        };
        let issuer = match self.issuer(&token, now.boot) {
            Ok(issuer) => issuer,
            Err(Some(next)) => return Lookup::Unverifiable(next),
            Err(None) => {
                let claim = claim_of(&token.issuer);
                return Lookup::Refused(Refusal { cause: Cause::UnknownIssuer, claim });
            }
        };
        let claim = || claim_of(&format!("{}:{}", issuer.name(), token.subject.as_str()));
        match issuer.verify(&token, now) {
            Verification::Verified(verified) => {
                let verified = Arc::new(verified);
                self.cache.insert(digest, generation, &verified, now);
                bound(verified, generation, peer)
            }
            Verification::Refused(cause) => Lookup::Refused(Refusal { cause, claim: claim() }),
            Verification::NoKeys => Lookup::Unverifiable(issuer.next_fetch(now.boot)),
            Verification::UnknownKey(kid) if issuer.demand().is_some() => {
                let claim = claim();
                Lookup::UnknownKey { issuer: Arc::clone(issuer), kid, claim }
            }
            Verification::UnknownKey(_) => {
                Lookup::Refused(Refusal { cause: Cause::UnknownKey, claim: claim() })
            }
        }
    }

    /// Finds the issuer that a token claims.
    ///
    /// # Errors
    ///
    /// No configured issuer matches; or some issuer's `iss` is not known yet, with the time of its
    /// next fetch.
    fn issuer(&self, token: &Token<'_>, now: BootTime) -> Result<&Arc<Issuer>, Option<BootTime>> {
        let matching = |it: &&Arc<Issuer>| it.has_iss(&token.issuer) == Some(true);
        let addressed = |it: &&Arc<Issuer>| it.is_addressed(token);
        let all = || self.issuers.iter().filter(matching);
        // Two entries may be the same issuer with different audiences.
        all().find(addressed).or_else(|| all().next()).ok_or_else(|| {
            let mut issuers = self.issuers.iter();
            let unknown = issuers.find(|it| it.has_iss(&token.issuer).is_none());
            unknown.map(|it| it.next_fetch(now))
        })
    }
}

impl Issuer {
    /// When to retry: after the running fetch or at the next planned one.
    fn next_fetch(&self, now: BootTime) -> BootTime {
        let Some(progress) = self.demand().map(Demand::progress) else { return now };
        if progress.begun > progress.ended { now + KEY_WAIT } else { progress.next }
    }
}

impl Waiting {
    /// Waits for a key, for up to 2 s and until `deadline`.
    ///
    /// # Errors
    ///
    /// The token is refused, or its key could not be fetched in time.
    pub async fn verified(self, deadline: Option<Instant>) -> Result<Session, Denied> {
        let Self { bearers, authorization, peer } = self;
        let Policy::Checked(checks) = &bearers.policy else {
            return Err(Denied::Unauthenticated(Cause::UnknownIssuer));
        };
        let Ok(_permit) = checks.waiting.try_acquire() else {
            return Err(Denied::Unverifiable { retry_in: OVERLOAD_RETRY });
        };
        let limit = Instant::now() + KEY_WAIT;
        let until = deadline.map_or(limit, |deadline| deadline.min(limit));
        let mut begun_before = None;
        loop {
            let (issuer, kid, claim) = match checks.lookup(&authorization, &peer, &bearers.clock) {
                Lookup::Verified(verified, generation) => {
                    return Ok(bearers.session(verified, generation, &authorization, &peer));
                }
                Lookup::Refused(refusal) => return Err(bearers.refuse(&peer, refusal)),
                Lookup::Unverifiable(next) => return Err(bearers.unverifiable(next)),
                Lookup::UnknownKey { issuer, kid, claim } => (issuer, kid, claim),
            };
            let Some(demand) = issuer.demand() else {
                let refusal = Refusal { cause: Cause::UnknownKey, claim };
                return Err(bearers.refuse(&peer, refusal));
            };
            let begun_before = *begun_before.get_or_insert_with(|| demand.progress().begun);
            // A key set that was fetched after the call arrived does not have the key.
            if demand.progress().succeeded > begun_before {
                let refusal = Refusal { cause: Cause::UnknownKey, claim };
                return Err(bearers.refuse(&peer, refusal));
            }
            match demand.request_fetch(&kid, bearers.clock.now().boot) {
                FetchRequest::Limited(next) => return Err(bearers.unverifiable(next)),
                FetchRequest::Wait(fetch) => {
                    if timeout_at(until, demand.ended(fetch)).await.is_err() {
                        let next = issuer.next_fetch(bearers.clock.now().boot);
                        return Err(bearers.unverifiable(next));
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiting")
    }
}

/// Checks that the peer has the certificate that the token is bound to.
fn bound(verified: Arc<Verified>, generation: u64, peer: &Peer) -> Lookup {
    match verified.certificate {
        Some(wanted) if peer.certificate != Some(wanted) => {
            let claim = claim_of(&verified.name.to_string());
            Lookup::Refused(Refusal { cause: Cause::NotBound, claim })
        }
        _ => Lookup::Verified(verified, generation),
    }
}

/// The credential after `Bearer`.
fn credential(authorization: &HeaderValue) -> Option<&str> {
    let (scheme, token) = authorization.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' '))
}

/// A claim, shortened and escaped for the log.
fn claim_of(text: &str) -> String {
    text.chars().take(MAX_LOGGED_CLAIM).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;

//! Callers that are known by a bearer token (RFC 6750): one that a configured issuer signed.
//!
//! A call that carries a bearer is judged by it alone, whatever certificate its connection has.
//! Nearly every call's token was verified before, so that to find its caller takes no lock and no
//! signature. Only a key that is not known makes a call wait.

mod algorithm;
mod cause;
mod demand;
mod issuer;
mod json;
mod jwks;
mod memory;
mod token;

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

pub use self::{
    algorithm::{Algorithm, Algorithms},
    cause::Cause,
    demand::{Demanded, Progress},
    issuer::{Fetches, Issuer, Known, Terms},
    jwks::{KeySet, KeySetError},
};
use self::{
    demand::{Asked, Demand},
    issuer::Judged,
    memory::{Memory, TokenDigest},
    token::Token,
};
use super::{
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

/// How long a call waits for a key.
const PATIENCE: Duration = Duration::from_secs(2);

/// Calls that wait for keys at the same time, of all issuers.
const MOST_WAITING: usize = 256;

/// When to try again where too many calls wait.
const CROWDED_FOR: Duration = Duration::from_secs(1);

/// How often the clock is read again while a token's end is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Characters of a claim that are logged.
const LONGEST_CLAIM: usize = 256;

/// A caller that a token names.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its name.
    pub name: CallerName,
    /// When the token expires.
    pub end: End,
    /// The certificate that its sender must have the key of.
    pub certificate: Option<Fingerprint>,
}

/// When a token expires by both clocks: the one that is reached first counts, so that a wall clock
/// that is set back lengthens no life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// By the wall clock.
    pub wall: WallTime,
    /// By the boot clock, as it was when the token was verified.
    pub boot: BootTime,
}

impl End {
    fn new(wall: WallTime, now: Anchor) -> Self {
        Self { wall, boot: now.boot + wall.since(now.wall) }
    }

    /// What is left; zero once it has passed.
    fn left(self, now: Anchor) -> Duration {
        self.wall.since(now.wall).min(self.boot.since(now.boot))
    }
}

/// The caller of one call, as its token names it. It can be asked again whether the token is still
/// good.
#[derive(Clone)]
pub struct Session {
    verified: Arc<Verified>,
    /// Of the key sets that the token was verified with.
    generation: u64,
    authorization: HeaderValue,
    bearers: Arc<Bearers>,
    peer: Arc<Peer>,
}

/// How a server treats bearer tokens.
#[derive(Debug)]
pub struct Bearers {
    policy: Policy,
    failures: Failures,
    clock: Clock,
}

#[derive(Debug)]
enum Policy {
    /// They are not looked at: whoever can connect may call everything.
    Ignored,
    /// They are verified.
    Checked(Checks),
}

#[derive(Debug)]
struct Checks {
    issuers: Vec<Arc<Issuer>>,
    memory: Arc<Memory>,
    waiting: Arc<Semaphore>,
}

/// What a server learns of its issuers while it is built.
#[derive(Debug, Default)]
pub struct Issuers {
    issuers: Vec<Arc<Issuer>>,
    memory: Arc<Memory>,
}

/// What a call's bearer is.
#[derive(Debug)]
pub enum Bearer {
    /// There is none, or it does not matter.
    None,
    /// It names this caller.
    Verified(Session),
    /// It names nobody.
    Refused(Denied),
    /// It may name somebody, if there is a key for it soon.
    Waiting(Waiting),
}

/// A bearer that waits for a key.
pub struct Waiting {
    bearers: Arc<Bearers>,
    authorization: HeaderValue,
    peer: Arc<Peer>,
}

/// Why a token names nobody, and whom it claims to name.
struct Refusal {
    cause: Cause,
    claim: String,
}

impl Refusal {
    fn anonymous(cause: Cause) -> Self {
        Self { cause, claim: String::new() }
    }
}

/// What came of one look at a token.
enum Look {
    /// With the generation of the key sets.
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
    /// Adds one whose keys are in a file.
    pub fn add(&mut self, name: IssuerName, known: Known) -> Arc<Issuer> {
        self.added(Issuer::new(name, known, Arc::clone(&self.memory)))
    }

    /// Adds one whose keys are fetched, for tokens of this audience. What it calls itself in its
    /// tokens may be known.
    pub fn add_fetched(
        &mut self,
        name: IssuerName,
        issuer: Option<String>,
        audience: String,
        clock: &Clock,
    ) -> Arc<Issuer> {
        let memory = Arc::clone(&self.memory);
        self.added(Issuer::fetched(name, issuer, audience, clock.now().boot, memory))
    }

    fn added(&mut self, issuer: Issuer) -> Arc<Issuer> {
        let issuer = Arc::new(issuer);
        self.issuers.push(Arc::clone(&issuer));
        issuer
    }
}

impl Bearers {
    /// Those of these issuers. Where there are none, any bearer is refused; but where nobody
    /// needs a name (`is_open`), it does not matter. What is refused is recorded in `audit`.
    #[must_use]
    pub fn new(
        issuers: Issuers,
        is_open: bool,
        clock: Clock,
        metrics: &Metrics,
        audit: Option<Audit>,
    ) -> Self {
        let Issuers { issuers, memory } = issuers;
        let policy = if is_open && issuers.is_empty() {
            Policy::Ignored
        } else {
            let waiting = Arc::new(Semaphore::new(MOST_WAITING));
            Policy::Checked(Checks { issuers, memory, waiting })
        };
        let failures = Failures::new(metrics, &Cause::ALL.map(Cause::as_str), audit);
        Self { policy, failures, clock }
    }

    /// Who a call's headers say that its caller is.
    pub fn of(self: &Arc<Self>, headers: &HeaderMap, peer: &Arc<Peer>) -> Bearer {
        let Policy::Checked(checks) = &self.policy else { return Bearer::None };
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let Some(authorization) = all.next() else { return Bearer::None };
        if all.next().is_some() {
            return Bearer::Refused(self.refuse(peer, Refusal::anonymous(Cause::Malformed)));
        }
        match checks.look(authorization, peer, &self.clock) {
            Look::Verified(verified, generation) => {
                Bearer::Verified(self.session(verified, generation, authorization, peer))
            }
            Look::Refused(refusal) => Bearer::Refused(self.refuse(peer, refusal)),
            Look::Unverifiable(next) => Bearer::Refused(self.unverifiable(next)),
            Look::UnknownKey { .. } => Bearer::Waiting(Waiting {
                bearers: Arc::clone(self),
                authorization: authorization.clone(),
                peer: Arc::clone(peer),
            }),
        }
    }

    /// Records that a call shows nothing that names its caller.
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

    /// Whether the token still names the caller.
    ///
    /// # Errors
    ///
    /// It has expired, or its issuer's keys or terms have changed so that it is refused.
    pub fn check(&self) -> Result<(), Denied> {
        let Self { verified, bearers, peer, .. } = self;
        let claim = || claim_of(&verified.name.to_string());
        let refuse = |cause| Err(bearers.refuse(peer, Refusal { cause, claim: claim() }));
        let Policy::Checked(checks) = &bearers.policy else { return Ok(()) };
        if verified.end.left(bearers.clock.now()).is_zero() {
            return refuse(Cause::Expired);
        }
        if checks.memory.generation() == self.generation {
            return Ok(());
        }
        match checks.look(&self.authorization, peer, &bearers.clock) {
            Look::Verified(now, _) if now.name == verified.name => Ok(()),
            Look::Verified(..) => refuse(Cause::UnknownIssuer),
            Look::Refused(refusal) => Err(bearers.refuse(peer, refusal)),
            Look::UnknownKey { .. } => refuse(Cause::UnknownKey),
            Look::Unverifiable(next) => Err(bearers.unverifiable(next)),
        }
    }

    /// Returns once the token no longer names the caller, with the reason.
    pub async fn ended(&self) -> Denied {
        loop {
            if let Err(denied) = self.check() {
                return denied;
            }
            let left = self.verified.end.left(self.bearers.clock.now());
            tokio::time::sleep(left.min(LOOK_AGAIN)).await;
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("verified", &self.verified).finish_non_exhaustive()
    }
}

impl Checks {
    fn look(&self, authorization: &HeaderValue, peer: &Peer, clock: &Clock) -> Look {
        if self.issuers.is_empty() {
            return Look::Refused(Refusal::anonymous(Cause::UnknownIssuer));
        }
        let Some(text) = credential(authorization) else {
            return Look::Refused(Refusal::anonymous(Cause::Malformed));
        };
        let (now, digest) = (clock.now(), TokenDigest::of(text));
        let generation = self.memory.generation();
        if let Some(verified) = self.memory.find(digest, generation, now) {
            return bound(verified, generation, peer);
        }
        let Some(token) = Token::parse(text) else {
            return Look::Refused(Refusal::anonymous(Cause::Malformed));
        };
        let issuer = match self.issuer(&token, now.boot) {
            Ok(issuer) => issuer,
            Err(Some(next)) => return Look::Unverifiable(next),
            Err(None) => {
                let claim = claim_of(&token.issuer);
                return Look::Refused(Refusal { cause: Cause::UnknownIssuer, claim });
            }
        };
        let claim = || claim_of(&format!("{}:{}", issuer.name(), token.subject.as_str()));
        match issuer.judge(&token, now) {
            Judged::Verified(verified) => {
                let verified = Arc::new(verified);
                self.memory.keep(digest, generation, &verified, now);
                bound(verified, generation, peer)
            }
            Judged::Refused(cause) => Look::Refused(Refusal { cause, claim: claim() }),
            Judged::NoKeys => Look::Unverifiable(issuer.next_fetch(now.boot)),
            Judged::UnknownKey(kid) if issuer.demand().is_some() => {
                let claim = claim();
                Look::UnknownKey { issuer: Arc::clone(issuer), kid, claim }
            }
            Judged::UnknownKey(_) => {
                Look::Refused(Refusal { cause: Cause::UnknownKey, claim: claim() })
            }
        }
    }

    /// The issuer of a token, by what it says.
    ///
    /// # Errors
    ///
    /// It is none of ours; or, with the time of the next fetch, that is not known yet.
    fn issuer(&self, token: &Token<'_>, now: BootTime) -> Result<&Arc<Issuer>, Option<BootTime>> {
        let ours = |it: &&Arc<Issuer>| it.calls_itself(&token.issuer) == Some(true);
        let addressed = |it: &&Arc<Issuer>| it.is_addressed(token);
        let all = || self.issuers.iter().filter(ours);
        // Two may be the same issuer, for two audiences.
        all().find(addressed).or_else(|| all().next()).ok_or_else(|| {
            let mut issuers = self.issuers.iter();
            let unknown = issuers.find(|it| it.calls_itself(&token.issuer).is_none());
            unknown.map(|it| it.next_fetch(now))
        })
    }
}

impl Issuer {
    /// When the next fetch has told more. One under way takes a moment.
    fn next_fetch(&self, now: BootTime) -> BootTime {
        let Some(progress) = self.demand().map(Demand::progress) else { return now };
        if progress.begun > progress.ended { now + PATIENCE } else { progress.next }
    }
}

impl Waiting {
    /// Waits for a key, 2 s at most, and until `deadline`.
    ///
    /// # Errors
    ///
    /// The token names nobody, or that cannot be found out now.
    pub async fn verified(self, deadline: Option<Instant>) -> Result<Session, Denied> {
        let Self { bearers, authorization, peer } = self;
        let Policy::Checked(checks) = &bearers.policy else {
            return Err(Denied::Unauthenticated(Cause::UnknownIssuer));
        };
        let Ok(_place) = checks.waiting.try_acquire() else {
            return Err(Denied::Unverifiable { retry_in: CROWDED_FOR });
        };
        let patience = Instant::now() + PATIENCE;
        let until = deadline.map_or(patience, |deadline| deadline.min(patience));
        let mut begun_before = None;
        loop {
            let (issuer, kid, claim) = match checks.look(&authorization, &peer, &bearers.clock) {
                Look::Verified(verified, generation) => {
                    return Ok(bearers.session(verified, generation, &authorization, &peer));
                }
                Look::Refused(refusal) => return Err(bearers.refuse(&peer, refusal)),
                Look::Unverifiable(next) => return Err(bearers.unverifiable(next)),
                Look::UnknownKey { issuer, kid, claim } => (issuer, kid, claim),
            };
            let Some(demand) = issuer.demand() else {
                let refusal = Refusal { cause: Cause::UnknownKey, claim };
                return Err(bearers.refuse(&peer, refusal));
            };
            let begun_before = *begun_before.get_or_insert_with(|| demand.progress().begun);
            // A set that was asked for after the call came does not have it.
            if demand.progress().succeeded > begun_before {
                let refusal = Refusal { cause: Cause::UnknownKey, claim };
                return Err(bearers.refuse(&peer, refusal));
            }
            match demand.ask(&kid, bearers.clock.now().boot) {
                Asked::Held(next) => return Err(bearers.unverifiable(next)),
                Asked::Wait(fetch) => {
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

/// A caller, where it proves what its token wants proved.
fn bound(verified: Arc<Verified>, generation: u64, peer: &Peer) -> Look {
    match verified.certificate {
        Some(wanted) if peer.certificate != Some(wanted) => {
            let claim = claim_of(&verified.name.to_string());
            Look::Refused(Refusal { cause: Cause::NotBound, claim })
        }
        _ => Look::Verified(verified, generation),
    }
}

/// What comes after `Bearer`.
fn credential(authorization: &HeaderValue) -> Option<&str> {
    let (scheme, token) = authorization.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' '))
}

/// A claim as it is logged.
fn claim_of(text: &str) -> String {
    text.chars().take(LONGEST_CLAIM).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;

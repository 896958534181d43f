//! The current state of an issuer: the requirements for its tokens, and its keys.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{
    Expiry, Verified,
    algorithm::Algorithms,
    cache::TokenCache,
    demand::{Demand, DemandReceiver},
    jwks::{KeySet, Verdict},
    token::{Binding, Token},
};
use crate::{
    auth::{
        cause::Cause,
        name::{CallerName, Issued, IssuerName, SpiffeId},
    },
    clock::{Anchor, BootTime, WallTime},
};

/// The tolerated skew of an issuer's clock.
const LEEWAY: Duration = Duration::from_secs(5);

/// The requirements for an issuer's tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The required audience.
    pub audience: String,
    /// The accepted algorithms.
    pub algorithms: Algorithms,
    /// The maximum lifetime.
    pub max_life: Duration,
    /// The trust domain, if subjects are SPIFFE IDs.
    pub trust_domain: Option<String>,
}

/// An issuer's requirements and current keys.
#[derive(Clone, Debug)]
pub struct IssuerInfo {
    /// The requirements for its tokens.
    pub terms: Terms,
    /// Its `iss` claim.
    pub issuer: String,
    /// Its keys.
    pub keys: Arc<KeySet>,
}

/// An issuer. The fetching task publishes its keys here.
#[derive(Debug)]
pub struct Issuer {
    name: IssuerName,
    state: ArcSwap<State>,
    /// `None` if the keys are in a file and never fetched.
    demand: Option<Demand>,
    cache: Arc<TokenCache>,
    changes: watch::Sender<()>,
    fetches: Mutex<Fetches>,
}

/// The results of the last key fetches.
#[derive(Clone, Debug, Default)]
pub struct Fetches {
    /// When the last successful fetch ended.
    pub succeeded: Option<BootTime>,
    /// Why the last fetch failed, if it did.
    pub failure: Option<String>,
}

#[derive(Debug)]
enum State {
    /// No keys have been fetched yet. The `iss` claim may be configured.
    Pending {
        issuer: Option<String>,
        audience: String,
    },
    Known(IssuerInfo),
    /// The keys were discarded after fetches failed for too long.
    Lapsed {
        issuer: String,
        audience: String,
    },
}

/// The result of verifying a token.
pub(super) enum Verification {
    Verified(Verified),
    Refused(Cause),
    /// The issuer has no key with this ID.
    UnknownKey(String),
    /// The issuer has no keys yet or any more.
    NoKeys,
}

impl Issuer {
    pub(super) fn new(name: IssuerName, info: IssuerInfo, cache: Arc<TokenCache>) -> Self {
        let state = ArcSwap::from_pointee(State::Known(info));
        let (changes, fetches) = (watch::Sender::new(()), Mutex::default());
        Self { name, state, demand: None, cache, changes, fetches }
    }

    /// Creates an issuer whose keys are fetched, first at `now`.
    pub(super) fn fetched(
        name: IssuerName,
        issuer: Option<String>,
        audience: String,
        now: BootTime,
        cache: Arc<TokenCache>,
    ) -> Self {
        let state = ArcSwap::from_pointee(State::Pending { issuer, audience });
        let (changes, fetches) = (watch::Sender::new(()), Mutex::default());
        Self { name, state, demand: Some(Demand::new(now)), cache, changes, fetches }
    }

    /// The name in the configuration.
    #[must_use]
    pub const fn name(&self) -> &IssuerName {
        &self.name
    }

    /// The receiver of fetch requests; `None` if the keys are in a file.
    #[must_use]
    pub fn demand_receiver(&self) -> Option<DemandReceiver> {
        self.demand.as_ref().map(Demand::receiver)
    }

    pub(super) const fn demand(&self) -> Option<&Demand> {
        self.demand.as_ref()
    }

    /// Applies new keys and requirements. If anything changed, cached tokens are verified again.
    pub fn publish(&self, info: IssuerInfo) {
        let is_same = match &**self.state.load() {
            State::Known(previous) => {
                previous.terms == info.terms
                    && previous.issuer == info.issuer
                    && previous.keys.is_same(&info.keys)
            }
            State::Pending { .. } | State::Lapsed { .. } => false,
        };
        if !is_same {
            self.state.store(Arc::new(State::Known(info)));
            self.cache.clear();
        }
        self.changes.send_replace(());
    }

    /// Notes that a fetch finished at this time, or failed with this message.
    pub fn note_fetch(&self, ended: Result<BootTime, String>) {
        let mut fetches = self.lock();
        match ended {
            Ok(now) => *fetches = Fetches { succeeded: Some(now), failure: None },
            Err(failure) => fetches.failure = Some(failure),
        }
    }

    /// The results of the last key fetches.
    #[must_use]
    pub fn fetches(&self) -> Fetches {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Fetches> {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A receiver that is notified of each change of the keys.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Discards the keys.
    pub fn lapse(&self) {
        let lapsed = match &**self.state.load() {
            State::Known(IssuerInfo { issuer, terms, .. }) => {
                State::Lapsed { issuer: issuer.clone(), audience: terms.audience.clone() }
            }
            State::Pending { .. } | State::Lapsed { .. } => return,
        };
        self.state.store(Arc::new(lapsed));
        self.cache.clear();
        self.changes.send_replace(());
    }

    /// Whether keys were ever published, even if they have been discarded since.
    #[must_use]
    pub fn was_known(&self) -> bool {
        !matches!(&**self.state.load(), State::Pending { .. })
    }

    /// The number of keys; `None` if there is no valid key set.
    #[must_use]
    pub fn keys(&self) -> Option<usize> {
        match &**self.state.load() {
            State::Known(known) => Some(known.keys.len()),
            State::Pending { .. } | State::Lapsed { .. } => None,
        }
    }

    /// Whether its `iss` claim is `issuer`; `None` if its claim is not known yet.
    pub(super) fn has_iss(&self, issuer: &str) -> Option<bool> {
        match &**self.state.load() {
            State::Pending { issuer: None, .. } => None,
            State::Pending { issuer: Some(own), .. } | State::Lapsed { issuer: own, .. } => {
                Some(own == issuer)
            }
            State::Known(info) => Some(info.issuer == issuer),
        }
    }

    /// Whether the token's audience is the one required from this issuer.
    pub(super) fn is_addressed(&self, token: &Token<'_>) -> bool {
        let state = self.state.load();
        token.audiences.contains(match &**state {
            State::Known(info) => &info.terms.audience,
            State::Pending { audience, .. } | State::Lapsed { audience, .. } => audience,
        })
    }

    /// Verifies a token whose `iss` claim is this issuer's.
    pub(super) fn verify(&self, token: &Token<'_>, now: Anchor) -> Verification {
        let state = self.state.load();
        let State::Known(info) = &**state else { return Verification::NoKeys };
        // The cheap checks come first. Nothing is trusted before the signature is verified.
        let checked = info.terms.check(token, now.wall);
        let checked = checked.and_then(|()| info.terms.name(&self.name, token));
        let name = match checked {
            Ok(name) => name,
            Err(cause) => return Verification::Refused(cause),
        };
        match (info.keys.verify(token), &token.kid) {
            (Verdict::Good, _) => {
                let certificate = match token.binding {
                    Binding::None => None,
                    Binding::Certificate(fingerprint) => Some(fingerprint),
                    Binding::Unsupported => return Verification::Refused(Cause::NotBound),
                };
                let expiry = Expiry::new(token.expires, now);
                Verification::Verified(Verified { name, expiry, certificate })
            }
            (Verdict::UnknownKey, Some(kid)) => Verification::UnknownKey(kid.clone()),
            (Verdict::Bad | Verdict::UnknownKey, _) => Verification::Refused(Cause::BadSignature),
        }
    }
}

impl Terms {
    fn check(&self, token: &Token<'_>, now: WallTime) -> Result<(), Cause> {
        if !self.algorithms.has(token.algorithm) {
            return Err(Cause::Malformed);
        }
        if !token.audiences.contains(&self.audience) {
            return Err(Cause::WrongAudience);
        }
        if token.expires + LEEWAY <= now {
            return Err(Cause::Expired);
        }
        if token.not_before.is_some_and(|start| start > now + LEEWAY) {
            return Err(Cause::NotYetValid);
        }
        // A future `iat` does not shorten the lifetime.
        let life = token.expires.since(token.issued_at.unwrap_or(now).min(now));
        if life > self.max_life {
            return Err(Cause::TooLongLived);
        }
        Ok(())
    }

    /// The name of the token's caller.
    fn name(&self, issuer: &IssuerName, token: &Token<'_>) -> Result<CallerName, Cause> {
        let Some(domain) = &self.trust_domain else {
            let (issuer, subject) = (issuer.clone(), token.subject.clone());
            return Ok(CallerName::Issued(Issued { issuer, subject }));
        };
        let id = SpiffeId::parse(token.subject.as_str()).map_err(|_| Cause::Malformed)?;
        if id.trust_domain() == domain { Ok(CallerName::Spiffe(id)) } else { Err(Cause::Malformed) }
    }
}

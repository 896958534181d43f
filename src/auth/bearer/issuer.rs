//! An issuer of bearer tokens as it is in force: what its tokens must say, and its keys.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{
    Cause, End, Verified,
    algorithm::Algorithms,
    demand::{Demand, Demanded},
    jwks::{KeySet, Verdict},
    memory::Memory,
    token::{Bound, Token},
};
use crate::{
    auth::name::{CallerName, Issued, IssuerName, SpiffeId},
    clock::{Anchor, BootTime, WallTime},
};

/// How far the clocks of issuers may be off ours.
const LEEWAY: Duration = Duration::from_secs(5);

/// What an issuer's tokens must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Whom they must be meant for.
    pub audience: String,
    /// What they may be signed with.
    pub algorithms: Algorithms,
    /// How long they may be valid.
    pub max_life: Duration,
    /// Where their subjects are SPIFFE IDs: of this trust domain.
    pub trust_domain: Option<String>,
}

/// What was learned of an issuer.
#[derive(Clone, Debug)]
pub struct Known {
    /// What its tokens must say.
    pub terms: Terms,
    /// What it calls itself in its tokens.
    pub issuer: String,
    /// Its keys.
    pub keys: Arc<KeySet>,
}

/// An issuer. The write side publishes what it learns of it.
#[derive(Debug)]
pub struct Issuer {
    name: IssuerName,
    state: ArcSwap<State>,
    /// None where its keys are in a file: nobody fetches them.
    demand: Option<Demand>,
    memory: Arc<Memory>,
    changes: watch::Sender<()>,
    fetches: Mutex<Fetches>,
}

/// How the last fetches of an issuer's keys ended.
#[derive(Clone, Debug, Default)]
pub struct Fetches {
    /// When the last good one ended.
    pub succeeded: Option<BootTime>,
    /// Why the last one failed, if it did.
    pub failure: Option<String>,
}

#[derive(Debug)]
enum State {
    /// Nothing could be learned yet. What it calls itself may be configured.
    Pending {
        issuer: Option<String>,
        audience: String,
    },
    Known(Known),
    /// Its keys could not be fetched for so long that they do not count any more.
    Lapsed {
        issuer: String,
        audience: String,
    },
}

/// What comes of a token.
pub(super) enum Judged {
    Verified(Verified),
    Refused(Cause),
    /// There is no key of this id.
    UnknownKey(String),
    /// There are no keys.
    NoKeys,
}

impl Issuer {
    pub(super) fn new(name: IssuerName, known: Known, memory: Arc<Memory>) -> Self {
        let state = ArcSwap::from_pointee(State::Known(known));
        let (changes, fetches) = (watch::Sender::new(()), Mutex::default());
        Self { name, state, demand: None, memory, changes, fetches }
    }

    /// One whose keys are fetched, the first time `now`.
    pub(super) fn fetched(
        name: IssuerName,
        issuer: Option<String>,
        audience: String,
        now: BootTime,
        memory: Arc<Memory>,
    ) -> Self {
        let state = ArcSwap::from_pointee(State::Pending { issuer, audience });
        let (changes, fetches) = (watch::Sender::new(()), Mutex::default());
        Self { name, state, demand: Some(Demand::new(now)), memory, changes, fetches }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &IssuerName {
        &self.name
    }

    /// The fetcher's end of what calls want of it; none where its keys are in a file.
    #[must_use]
    pub fn demanded(&self) -> Option<Demanded> {
        self.demand.as_ref().map(Demand::fetcher_end)
    }

    pub(super) const fn demand(&self) -> Option<&Demand> {
        self.demand.as_ref()
    }

    /// Puts what was learned in force. If that changes anything, all tokens are verified again.
    pub fn publish(&self, known: Known) {
        let is_same = match &**self.state.load() {
            State::Known(before) => {
                before.terms == known.terms
                    && before.issuer == known.issuer
                    && before.keys.is(&known.keys)
            }
            State::Pending { .. } | State::Lapsed { .. } => false,
        };
        if !is_same {
            self.state.store(Arc::new(State::Known(known)));
            self.memory.forget();
        }
        self.changes.send_replace(());
    }

    /// A fetch of its keys has ended: at this instant, or with this failure.
    pub fn note_fetch(&self, ended: Result<BootTime, String>) {
        let mut fetches = self.lock();
        match ended {
            Ok(now) => *fetches = Fetches { succeeded: Some(now), failure: None },
            Err(failure) => fetches.failure = Some(failure),
        }
    }

    /// How the last fetches of its keys ended.
    #[must_use]
    pub fn fetches(&self) -> Fetches {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Fetches> {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notified of each change of its keys from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Its keys do not count any more.
    pub fn lapse(&self) {
        let lapsed = match &**self.state.load() {
            State::Known(Known { issuer, terms, .. }) => {
                State::Lapsed { issuer: issuer.clone(), audience: terms.audience.clone() }
            }
            State::Pending { .. } | State::Lapsed { .. } => return,
        };
        self.state.store(Arc::new(lapsed));
        self.memory.forget();
        self.changes.send_replace(());
    }

    /// Whether its keys have been there once: they may have lapsed since.
    #[must_use]
    pub fn was_known(&self) -> bool {
        !matches!(&**self.state.load(), State::Pending { .. })
    }

    /// How many keys it has now; none where it has no keys that count.
    #[must_use]
    pub fn keys(&self) -> Option<usize> {
        match &**self.state.load() {
            State::Known(known) => Some(known.keys.len()),
            State::Pending { .. } | State::Lapsed { .. } => None,
        }
    }

    /// What it calls itself; none where that is not known yet.
    pub(super) fn calls_itself(&self, issuer: &str) -> Option<bool> {
        match &**self.state.load() {
            State::Pending { issuer: None, .. } => None,
            State::Pending { issuer: Some(own), .. } | State::Lapsed { issuer: own, .. } => {
                Some(own == issuer)
            }
            State::Known(known) => Some(known.issuer == issuer),
        }
    }

    /// Whether a token that it may have issued is meant for this server.
    pub(super) fn is_addressed(&self, token: &Token<'_>) -> bool {
        let state = self.state.load();
        token.audiences.contains(match &**state {
            State::Known(known) => &known.terms.audience,
            State::Pending { audience, .. } | State::Lapsed { audience, .. } => audience,
        })
    }

    /// Judges a token that calls it its issuer.
    pub(super) fn judge(&self, token: &Token<'_>, now: Anchor) -> Judged {
        let state = self.state.load();
        let State::Known(known) = &**state else { return Judged::NoKeys };
        // What costs least comes first; none of it may be believed before the last.
        let checked = known.terms.check(token, now.wall);
        let checked = checked.and_then(|()| known.terms.name(&self.name, token));
        let name = match checked {
            Ok(name) => name,
            Err(cause) => return Judged::Refused(cause),
        };
        match (known.keys.verify(token), &token.kid) {
            (Verdict::Good, _) => {
                let certificate = match token.bound {
                    Bound::No => None,
                    Bound::ToCertificate(fingerprint) => Some(fingerprint),
                    Bound::ToOther => return Judged::Refused(Cause::NotBound),
                };
                let end = End::new(token.expires, now);
                Judged::Verified(Verified { name, end, certificate })
            }
            (Verdict::UnknownKey, Some(kid)) => Judged::UnknownKey(kid.clone()),
            (Verdict::Bad | Verdict::UnknownKey, _) => Judged::Refused(Cause::BadSignature),
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
        // It is no shorter for having been issued in the future.
        let life = token.expires.since(token.issued_at.unwrap_or(now).min(now));
        if life > self.max_life {
            return Err(Cause::TooLongLived);
        }
        Ok(())
    }

    /// The name of a token's caller.
    fn name(&self, issuer: &IssuerName, token: &Token<'_>) -> Result<CallerName, Cause> {
        let Some(domain) = &self.trust_domain else {
            let (issuer, subject) = (issuer.clone(), token.subject.clone());
            return Ok(CallerName::Issued(Issued { issuer, subject }));
        };
        let id = SpiffeId::parse(token.subject.as_str()).map_err(|_| Cause::Malformed)?;
        if id.trust_domain() == domain { Ok(CallerName::Spiffe(id)) } else { Err(Cause::Malformed) }
    }
}

//! Plans a call, finds a grant that will do, and signs.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::Guard;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};

use super::{
    Grants, Limits,
    options::{Invalid, Options, Refusal, Violation},
    terms::{Ask, ExpiryPolicy, Lack, Terms, dependable_ttl, least_ttl},
};
use crate::{
    clock::{Anchor, Clock, WallTime},
    drain::{Drain, Phase},
    grant::{
        Generation, RefreshState,
        cell::{Published, Reader},
    },
    name::{GrantName, Identity, NameError, ProfileName, Resource},
    token::{
        Call, SignError, Signer, Stamped,
        id::{Serials, fingerprint},
    },
};

/// How long a call waits for a grant unless it says otherwise.
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(2);

/// How long a call waits for a grant at the most.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Kept free before a call's deadline to answer in.
pub const ANSWER_ALLOWANCE: Duration = Duration::from_millis(50);

/// How far in the future a generation may lie: replicas' clocks differ.
const GENERATION_TOLERANCE: Duration = Duration::from_secs(60);

/// What minting needs to know of a profile.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name.
    pub name: ProfileName,
    /// The resource of calls that name none.
    pub default_resource: Option<Resource>,
    /// The kind's rule for resources.
    pub parse_resource: fn(&str) -> Result<Resource, NameError>,
    /// Token life of calls that ask for none.
    pub token_ttl: Duration,
    /// The kind's longest token life.
    pub max_token_ttl: Duration,
    /// The life that grants are asked for.
    pub grant_ttl: Duration,
    /// Kept in hand of a grant's life.
    pub margin: Duration,
    /// Where a token would outlive its grant.
    pub policy: ExpiryPolicy,
    /// Whether calls may ask for tokens that outlive their grant.
    pub allow_independent: bool,
}

/// A resource of a profile, with its grant.
#[derive(Debug)]
struct Seat {
    profile: Arc<Profile>,
    reader: Reader<Box<dyn Signer>>,
    name: String,
}

#[derive(Debug)]
struct Seats {
    profile: Arc<Profile>,
    by_resource: HashMap<Resource, Arc<Seat>>,
    default: Option<Arc<Seat>>,
}

/// A call whose arguments are good.
#[derive(Clone, Debug)]
pub struct Plan {
    seat: Arc<Seat>,
    ask: Ask,
    max_wait: Duration,
}

impl Plan {
    /// The grant that it is served from: `profiles/{profile}/grants/{resource}`.
    #[must_use]
    pub fn grant_name(&self) -> &str {
        &self.seat.name
    }
}

/// One token.
pub struct Minted {
    /// The credential: a secret.
    pub token: String,
    /// Its unique id.
    pub token_id: String,
    /// How long it is good for.
    pub terms: Terms,
}

/// A grant that will do, and what a token of it would be good for.
pub(super) struct Offer {
    published: Arc<Published<Box<dyn Signer>>>,
    pub(super) terms: Terms,
}

impl Offer {
    /// What signs tokens of these terms.
    pub(super) fn stamped(&self) -> Result<Arc<dyn Stamped>, SignError> {
        self.published.ready.at(self.terms.times(), &Call::NONE)
    }
}

/// Why a call with good arguments gets no token, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The upstream says that the resource does not exist.
    ResourceNotFound,
    /// The upstream refuses; a person must act.
    UpstreamRejected,
    /// The upstream asks the account to wait.
    UpstreamThrottled,
    /// The grant's life is over and its successor is late; it ended then.
    GrantExpired(WallTime),
    /// There is no grant yet.
    GrantPending,
    /// No grant newer than asked yet.
    GrantNotNewer,
    /// The grant has not the life asked for.
    GrantTooShort,
    /// The server goes away.
    Draining,
    /// A signature could not be made.
    SigningFailed,
}

/// A call that gets no token, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unserved {
    /// Why.
    pub cause: Cause,
    /// When the next attempt to get a grant should end, from now.
    pub retry_in: Duration,
}

impl From<SignError> for Unserved {
    fn from(_: SignError) -> Self {
        Self { cause: Cause::SigningFailed, retry_in: Duration::ZERO }
    }
}

/// Mints tokens. Readers do no work that could be done at publish, and take no lock.
#[derive(Debug)]
pub struct Minter {
    profiles: HashMap<ProfileName, Seats>,
    default_profile: Option<ProfileName>,
    clock: Clock,
    drain: Drain,
    pub(super) serials: Serials,
    pub(super) limits: Limits,
    waiting: Semaphore,
}

impl Minter {
    /// A minter of these profiles over `grants`, in which every resource listed has its cell.
    #[must_use]
    pub fn new(
        profiles: Vec<(Profile, Vec<Resource>)>,
        default_profile: Option<ProfileName>,
        grants: &Grants,
        limits: Limits,
        serials: Serials,
        clock: Clock,
        drain: Drain,
    ) -> Self {
        let profiles = profiles.into_iter().map(|(profile, resources)| {
            (profile.name.clone(), Seats::new(profile, &resources, grants))
        });
        Self {
            profiles: profiles.collect(),
            default_profile,
            clock,
            drain,
            serials,
            waiting: Semaphore::new(limits.waiting_calls),
            limits,
        }
    }

    /// The limits on one call.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// How many calls wait for a grant now.
    #[must_use]
    pub fn waiting_calls(&self) -> usize {
        self.limits.waiting_calls.saturating_sub(self.waiting.available_permits())
    }

    /// Checks what a call asks for. `bad` are the fields already found bad; all bad fields
    /// come back together.
    pub fn plan(&self, options: &Options<'_>, mut bad: Vec<Violation>) -> Result<Plan, Refusal> {
        let Some(seats) = self.seats(options.profile)? else {
            let required = "name a profile, since there is no default";
            bad.insert(0, Violation::new("options.profile", Invalid::ProfileRequired, required));
            return Err(Refusal::Invalid(bad));
        };
        let seat = seats.seat(options.resource, &mut bad)?;
        let profile = &seats.profile;

        let policy = options.policy.unwrap_or(profile.policy);
        let ttl = options.ttl.unwrap_or(profile.token_ttl);
        let ask = Ask {
            ttl,
            min_remaining: options.min_remaining,
            policy,
            after: Generation::from_caller(options.after_generation),
        };
        profile.check(&ask, &mut bad);
        self.check_generation(options.after_generation, seat, &mut bad);

        match seat {
            Some(seat) if bad.is_empty() => Ok(Plan {
                seat: Arc::clone(seat),
                ask,
                max_wait: options.max_wait.unwrap_or(DEFAULT_MAX_WAIT),
            }),
            _ => Err(Refusal::Invalid(bad)),
        }
    }

    /// Mints one token, waiting for a grant as the plan allows.
    pub async fn mint(
        &self,
        plan: &Plan,
        identity: &Identity,
        deadline: Option<Instant>,
    ) -> Result<Minted, Unserved> {
        let offer = self.offer(plan, deadline).await?;
        let serial = self.serials.next();
        let stamped = offer.stamped()?;
        let token = String::from(stamped.sign(identity.as_str(), serial)?);
        let token_id = stamped.token_id(serial).unwrap_or_else(|| fingerprint(&token));
        Ok(Minted { token, token_id, terms: offer.terms })
    }

    /// A grant that will do, at once or after waiting for it.
    pub(super) async fn offer(
        &self,
        plan: &Plan,
        deadline: Option<Instant>,
    ) -> Result<Offer, Unserved> {
        match self.try_offer(plan) {
            Ok(offer) => Ok(offer),
            Err(_) => self.wait_for_offer(plan, deadline).await,
        }
    }

    /// One load of the grant, one reading of the clocks.
    fn try_offer(&self, plan: &Plan) -> Result<Offer, Lack> {
        let published = Guard::into_inner(plan.seat.reader.load()).ok_or(Lack::Pending)?;
        let life = published.grant.life();
        let terms = plan.ask.terms(life, plan.seat.profile.margin, self.clock.now())?;
        Ok(Offer { published, terms })
    }

    async fn wait_for_offer(
        &self,
        plan: &Plan,
        deadline: Option<Instant>,
    ) -> Result<Offer, Unserved> {
        // Before the look, so that no change is missed.
        let mut changes = plan.seat.reader.view().changes();
        let give_up = Self::give_up(plan, deadline);
        let place = self.waiting.try_acquire();
        loop {
            let lack = match self.try_offer(plan) {
                Ok(offer) => return Ok(offer),
                Err(lack) => lack,
            };
            // Each time: an attempt that failed has used up what was asked before it.
            plan.seat.reader.demand(plan.ask.after);
            if self.drain.reached(Phase::Draining) {
                return Err(Self::draining());
            }
            let unserved = Self::unserved(plan, lack, self.clock.now());
            if place.is_err() || Instant::now() + unserved.retry_in > give_up {
                return Err(unserved);
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = self.drain.wait(Phase::Draining) => {}
                () = sleep_until(give_up) => {
                    return self.try_offer(plan).map_err(|lack| Self::unserved(plan, lack, self.clock.now()));
                }
            }
        }
    }

    /// What a call gets when the server goes away: another one serves it at once.
    pub(super) const fn draining() -> Unserved {
        Unserved { cause: Cause::Draining, retry_in: Duration::ZERO }
    }

    /// The end of a call's patience.
    fn give_up(plan: &Plan, deadline: Option<Instant>) -> Instant {
        let now = Instant::now();
        let patience = now + plan.max_wait.min(LONGEST_WAIT);
        match deadline {
            Some(deadline) => patience.min(deadline.checked_sub(ANSWER_ALLOWANCE).unwrap_or(now)),
            None => patience,
        }
    }

    /// The first cause that applies, also beside a live grant that does not serve.
    fn unserved(plan: &Plan, lack: Lack, now: Anchor) -> Unserved {
        plan.seat.reader.view().with_status(|status| {
            let cause = match (status.refresh, lack) {
                (RefreshState::Rejected, _) if status.not_found() => Cause::ResourceNotFound,
                (RefreshState::Rejected, _) => Cause::UpstreamRejected,
                (RefreshState::Throttled, _) => Cause::UpstreamThrottled,
                (_, Lack::Expired(end)) => Cause::GrantExpired(end),
                (_, Lack::Pending) => Cause::GrantPending,
                (_, Lack::NotNewer) => Cause::GrantNotNewer,
                (_, Lack::TooShort) => Cause::GrantTooShort,
            };
            let told = status.next_if_demanded.unwrap_or(now.boot);
            let starts = if status.attempting { told } else { told.max(now.boot) };
            let retry_in = (starts + status.usual_latency).since(now.boot);
            Unserved { cause, retry_in }
        })
    }

    /// The profile of this name, or the default; none where there is no default.
    fn seats(&self, name: &str) -> Result<Option<&Seats>, Refusal> {
        if !name.is_empty() {
            return self.profiles.get(name).map(Some).ok_or(Refusal::ProfileNotFound);
        }
        let default = self.default_profile.as_ref();
        Ok(default.and_then(|name| self.profiles.get(name)))
    }

    fn check_generation(&self, after: i64, seat: Option<&Arc<Seat>>, bad: &mut Vec<Violation>) {
        if after == 0 {
            return;
        }
        let latest = self.clock.now().wall.unix_micros().max(seat.map_or(0, |seat| {
            let present = seat.reader.load();
            present.as_ref().map_or(0, |present| present.grant.life().generation.get())
        }));
        let tolerance = i64::try_from(GENERATION_TOLERANCE.as_micros()).unwrap_or(i64::MAX);
        if after < 0 || after > latest.saturating_add(tolerance) {
            let never = "is no generation that a grant can have had";
            bad.push(Violation::new("options.after_generation", Invalid::Generation, never));
        }
    }
}

impl Seats {
    fn new(profile: Profile, resources: &[Resource], grants: &Grants) -> Self {
        let profile = Arc::new(profile);
        let seats = resources.iter().filter_map(|resource| {
            let reader = grants.reader(profile.name.as_str(), resource.as_str())?.clone();
            let name = GrantName { profile: profile.name.clone(), resource: resource.clone() };
            let name = name.to_string();
            Some((resource.clone(), Arc::new(Seat { profile: Arc::clone(&profile), reader, name })))
        });
        let by_resource: HashMap<_, _> = seats.collect();
        let default = profile.default_resource.as_ref();
        let default = default.and_then(|named| by_resource.get(named)).cloned();
        Self { profile, by_resource, default }
    }

    /// The resource of this name, or the default; none where that is a bad field.
    fn seat(&self, name: &str, bad: &mut Vec<Violation>) -> Result<Option<&Arc<Seat>>, Refusal> {
        if name.is_empty() {
            if self.default.is_none() {
                let required = "name a resource, since the profile has no default";
                bad.insert(
                    0,
                    Violation::new("options.resource", Invalid::ResourceRequired, required),
                );
            }
            return Ok(self.default.as_ref());
        }
        if let Some(seat) = self.by_resource.get(name) {
            return Ok(Some(seat));
        }
        match (self.profile.parse_resource)(name) {
            // It may be written in another way than it is known by.
            Ok(resource) => {
                self.by_resource.get(&resource).map(Some).ok_or(Refusal::ResourceNotFound)
            }
            Err(error) => {
                let (field, form) = ("options.resource", error.as_str());
                bad.insert(0, Violation::new(field, Invalid::Resource, form));
                Ok(None)
            }
        }
    }
}

impl Profile {
    fn check(&self, ask: &Ask, bad: &mut Vec<Violation>) {
        let dependable = dependable_ttl(self.grant_ttl);
        let least = least_ttl(self.margin);
        if ask.ttl < least {
            let short = "is under the profile's margin and a second";
            bad.push(Violation::new("options.ttl", Invalid::TtlOutOfRange, short));
        } else if ask.ttl > self.max_token_ttl {
            let (field, long) = ("options.ttl", "is over the longest life that the kind allows");
            bad.push(Violation::above(field, Invalid::TtlOutOfRange, long, self.max_token_ttl));
        } else if ask.policy == ExpiryPolicy::RequireFullTtl && ask.ttl > dependable {
            let (field, long) = ("options.ttl", "is more than any grant of this profile holds");
            bad.push(Violation::above(field, Invalid::TtlOutOfRange, long, dependable));
        }

        if ask.policy == ExpiryPolicy::Independent && !self.allow_independent {
            let (field, not) = ("options.expiry_policy", "is not allowed by the profile");
            bad.push(Violation::new(field, Invalid::PolicyNotAllowed, not));
        }

        let attainable = ask.ttl.min(dependable).saturating_sub(self.margin);
        if ask.min_remaining > attainable {
            let (field, more) =
                ("options.min_remaining_validity", "is more than any token of this profile has");
            bad.push(Violation::above(field, Invalid::ValidityUnattainable, more, attainable));
        }
    }
}

//! One attempt with a profile's key: a grant from its upstream, and a token around it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use fastrand::Rng;

use crate::{
    clock::Clock,
    config::Profile,
    egress::Egress,
    grant::{Generation, Grant},
    name::Resource,
    source::{FetchError, FetchRequest, Fetched, GrantSource, Urgency, budget::Budget},
    token::{PrepareError, TokenFormat},
};

/// Mints a token around a grant, and verifies it.
pub(super) fn prepare(
    format: &dyn TokenFormat,
    fetched: Fetched,
    clock: &Clock,
) -> Result<(), PrepareError> {
    let (ttl, generation) = (fetched.granted.ttl(), Generation::NONE);
    let grant = Grant::new(fetched.content, fetched.anchor, ttl, generation);
    format.prepare(Some(&grant), clock.now()).map(drop)
}

/// The budgets of accounts, for trials.
#[derive(Debug)]
pub struct Budgets(HashMap<String, Arc<Budget>>);

impl Budgets {
    /// A full budget for each account of these profiles.
    #[must_use]
    pub fn new(profiles: &[Profile], clock: &Clock) -> Self {
        let of_profile = |profile: &Profile| {
            let (upstream, grants) = (profile.provider.upstream()?, profile.grants()?);
            // A trial never pauses, so that its jitter need not differ.
            let budget = Budget::new(grants.budget, clock.clone(), Rng::with_seed(0));
            Some((upstream.account(), Arc::new(budget)))
        };
        Self(profiles.iter().filter_map(of_profile).collect())
    }
}

/// A profile's upstream and token format, tried without a server.
pub struct Trial {
    source: Arc<dyn GrantSource>,
    budget: Arc<Budget>,
    format: Arc<dyn TokenFormat>,
    attempt: Duration,
    clock: Clock,
}

impl Trial {
    /// A trial of this profile over this egress; `None` if it has no upstream.
    #[must_use]
    pub fn new(
        profile: &Profile,
        egress: &Egress,
        budgets: &Budgets,
        clock: &Clock,
    ) -> Option<Self> {
        let (upstream, grants) = (profile.provider.upstream()?, profile.grants()?);
        let budget = budgets.0.get(&upstream.account())?;
        Some(Self {
            source: upstream.source(clock.clone(), egress, grants.policy.grant_ttl()),
            budget: Arc::clone(budget),
            format: profile.token_format(),
            attempt: upstream.attempt(),
            clock: clock.clone(),
        })
    }

    /// Requests one grant.
    ///
    /// # Errors
    ///
    /// Why no grant was received.
    pub async fn grant(&self, resource: &Resource) -> Result<Fetched, FetchError> {
        let (resource, urgency) = (resource.clone(), Urgency::Early);
        let give_up_at = self.clock.now().boot + self.attempt;
        let request = FetchRequest { resource, urgency, give_up_at };
        self.budget.try_out(&*self.source, request).await
    }

    /// Mints a token around the grant, and verifies it.
    ///
    /// # Errors
    ///
    /// Why the token cannot be minted, or differs from what is expected.
    pub fn token(&self, fetched: Fetched) -> Result<(), PrepareError> {
        prepare(&*self.format, fetched, &self.clock)
    }

    /// How many seconds the upstream's clock is ahead, after a response with its time.
    #[must_use]
    pub fn clock_skew(&self) -> Option<f64> {
        self.source.clock_skew()
    }
}

//! What is built from the configured profiles: the tasks that refresh their grants, and their
//! settings for minting.

use std::{collections::HashMap, sync::Arc, time::Duration};

use fastrand::Rng;
use tokio::sync::{Semaphore, watch};

use super::{
    StartError,
    keys::{self, Key},
};
use crate::{
    clock::Clock,
    config,
    egress::Egress,
    mint::{self, Grants, minter::Supply, profile::Signing},
    name::{GrantName, ProfileName},
    refresh::{
        keeper::{Events, Keeper},
        state::State,
    },
    source::{
        GrantSource,
        budget::{Budget, Budgeted},
        metered::Metered,
        replaceable::Replaceable,
    },
    telemetry::{Metrics, ProfileMetrics, trace::Tracer},
    token::{CurrentFormat, CurrentSigner, Preparer, Speed, id::NoRandomness},
};

/// The grants, and the tasks that refresh them.
pub(super) struct WriteSide {
    pub(super) grants: Grants,
    pub(super) keepers: Vec<Keeper<Preparer>>,
    /// The keys of the profiles with grants.
    pub(super) keys: Vec<(ProfileName, Key)>,
    /// The request budgets with the profiles that share them.
    pub(super) budgets: Vec<(Vec<ProfileName>, Arc<Budget>)>,
}

impl WriteSide {
    pub(super) fn build(
        profiles: &[config::Profile],
        jumps: &watch::Sender<()>,
        metrics: &Metrics,
        tracer: &Tracer,
        clock: &Clock,
    ) -> Result<Self, StartError> {
        let mut rng = seeded()?;
        let mut grants = Grants::default();
        let (mut keepers, mut keys) = (Vec::new(), Vec::new());
        let mut budgets: HashMap<_, (Vec<_>, Arc<Budget>)> = HashMap::new();
        for profile in profiles {
            let (Some(of_grants), Some(upstream)) = (profile.grants(), profile.provider.upstream())
            else {
                grants.add_without_grants(profile.name.clone());
                continue;
            };
            let egress = upstream.egress().map_err(|error| StartError::Upstream {
                profile: profile.name.to_string(),
                error,
            })?;
            log_egress(profile, &egress);
            let format = CurrentFormat::new(profile.token_format());
            let policy = of_grants.policy;
            let grant_ttl = policy.grant_ttl();
            let source = Replaceable::new(upstream.source(clock.clone(), &egress, grant_ttl));
            let of_metrics = source.clone();
            metrics.upstream_clock_skew(&profile.name, move || of_metrics.clock_skew());
            // All profiles of an account have the same limits, as the configuration checks.
            let (sharing, budget) = budgets.entry(upstream.account()).or_insert_with(|| {
                let budget = Budget::new(of_grants.budget, clock.clone(), rng.fork());
                (Vec::new(), Arc::new(budget))
            });
            sharing.push(profile.name.clone());
            let rekeyed = watch::Sender::new(Arc::new(Semaphore::new(0)));
            let key = keys::OfGrants {
                format: format.clone(),
                source: source.clone(),
                budget: Arc::clone(budget),
                grant_ttl,
                resource: of_grants.resources.first().cloned(),
                rekeyed: rekeyed.clone(),
            };
            keys.push((profile.name.clone(), Key::OfGrants(key)));
            let upstream_metrics = metrics.upstream(&profile.name);
            let source = Metered::new(Arc::new(source), upstream_metrics, clock.clone());
            let source = Budgeted::new(Arc::new(source), Arc::clone(budget), policy.attempt);
            let source: Arc<dyn GrantSource> = Arc::new(source);
            for resource in &of_grants.resources {
                let name = GrantName { profile: profile.name.clone(), resource: resource.clone() };
                let preparer = Preparer::new(format.clone(), clock.clone());
                let publisher = grants.add(name.clone(), profile.margin, preparer);
                let keeper = Keeper::new(
                    Arc::clone(&source),
                    publisher,
                    State::new(policy, rng.fork(), clock.now()),
                    clock.clone(),
                    Events { jumps: jumps.subscribe(), rekeyed: rekeyed.subscribe() },
                    metrics,
                );
                keepers.push(keeper.traced_by(tracer.clone()));
            }
        }
        let mut budgets: Vec<_> = budgets.into_values().collect();
        budgets.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(Self { grants, keepers, keys, budgets })
    }
}

/// Logs the route to a profile's upstream, and unused parts of the environment.
fn log_egress(profile: &config::Profile, egress: &Egress) {
    let (profile, route) = (&profile.name, &egress.route);
    let roots = egress.roots.as_ref().map(ToString::to_string);
    tracing::info!(%profile, %route, roots, "upstream route");
    for problem in &egress.warnings {
        tracing::warn!(%profile, problem, "part of the environment is not used");
    }
}

/// The share of a token's lifetime that a slow signature may take.
const SLOW_SIGNING_TIME: Duration = Duration::from_secs(1);

/// The settings of a configured profile for minting.
///
/// # Errors
///
/// The profile's key signs no tokens that verify.
pub fn of_mint(
    profile: &config::Profile,
    clock: &Clock,
) -> Result<mint::minter::Profile, StartError> {
    let format = profile.token_format();
    let signing = Signing::of(&*format, profile.tokens.reuse_for);
    let supply = match &profile.supply {
        config::Supply::Grants(grants, expiry) => Supply::Grants(mint::profile::Grants {
            resources: grants.resources.clone(),
            grant_ttl: grants.policy.grant_ttl(),
            policy: expiry.policy,
            allow_independent: expiry.allow_independent,
        }),
        config::Supply::Forwarded(grants) => Supply::Forwarded(mint::profile::Forwarded {
            resources: grants.resources.clone(),
            grant_ttl: grants.policy.grant_ttl(),
        }),
        config::Supply::Key(allowed) => {
            let signer = format.prepare(None, clock.now());
            let signer = signer
                .map_err(|error| StartError::Key { profile: profile.name.to_string(), error })?;
            Supply::Key(mint::profile::Key {
                signer: CurrentSigner::new(signer),
                resources: allowed.clone(),
                iat_backdate: profile.tokens.iat_backdate(),
                reuse_for: profile.tokens.reuse_for,
                signing_time: match signing.speed() {
                    Speed::Fast => Duration::ZERO,
                    Speed::Slow => SLOW_SIGNING_TIME,
                },
            })
        }
    };
    Ok(mint::minter::Profile {
        name: profile.name.clone(),
        default_resource: profile.default_resource.clone(),
        parse_resource: profile.rules.parse_resource,
        token_ttl: profile.token_ttl,
        min_token_ttl: profile.rules.min_token_ttl,
        max_token_ttl: profile.max_token_ttl,
        margin: profile.margin,
        identity_form: profile.rules.tokens.identity_form.filter(|_| profile.tokens.has_identity),
        parameters: profile.tokens.parameters(),
        units: match signing {
            Signing::Own(_) => format.units(),
            Signing::Shared(_) => 1,
        },
        signing,
        supply,
        metrics: ProfileMetrics::default(),
    })
}

/// The generator of all jitter, seeded by the system.
fn seeded() -> Result<Rng, NoRandomness> {
    let mut seed = [0; 8];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| NoRandomness)?;
    Ok(Rng::with_seed(u64::from_ne_bytes(seed)))
}

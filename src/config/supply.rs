//! What a profile's tokens are made with: grants, with their schedule and budget, or a key alone,
//! with the resources that calls may name.

use std::time::Duration;

use super::expiry::Expiry;
use crate::{
    mint::{profile::Allowed, terms::ExpiryPolicy},
    name::{Pattern, Resource},
    provider::{LifeRules, Rules},
    refresh::schedule::Policy,
    settings::{Section, shown},
    source::budget,
};

const GRANT_TTL: Duration = Duration::from_secs(60);

/// What a profile's tokens are made with.
#[derive(Clone, Debug)]
pub enum Supply {
    /// A grant for each resource.
    Grants(Grants),
    /// A key alone, for the resources that calls may name.
    Key(Allowed),
}

/// The grants of a profile.
#[derive(Clone, Debug)]
pub struct Grants {
    /// The pinned resources; at least one.
    pub resources: Vec<Resource>,
    /// When they are refreshed.
    pub policy: Policy,
    /// What happens to expiries at a grant's end, where a call does not say.
    pub expiry_policy: ExpiryPolicy,
    /// Whether calls may ask for tokens that outlive their grant.
    pub allow_independent: bool,
    /// The budget of the account.
    pub budget: budget::Limits,
}

/// The keys of all profiles that those of grants are held against.
pub(super) struct Beside {
    /// How long the kind's grants live.
    pub(super) life: LifeRules,
    /// The longest that an attempt to get one may take.
    pub(super) attempt: Duration,
    pub(super) margin: Option<Duration>,
    pub(super) token_ttl: Option<Duration>,
}

impl Supply {
    /// The resources that are named one by one.
    #[must_use]
    pub fn listed(&self) -> &[Resource] {
        match self {
            Self::Grants(grants) => &grants.resources,
            Self::Key(allowed) => &allowed.listed,
        }
    }

    /// Whether calls may name this resource.
    pub(super) fn has(&self, resource: &Resource) -> bool {
        match self {
            Self::Grants(grants) => grants.resources.contains(resource),
            Self::Key(allowed) => allowed.has(resource),
        }
    }

    /// The resource of calls that name none, where there is no other choice.
    pub(super) fn only(&self) -> Option<Resource> {
        let is_open = match self {
            Self::Grants(_) => false,
            Self::Key(allowed) => allowed.unscoped || !allowed.patterns.is_empty(),
        };
        match self.listed() {
            [only] if !is_open => Some(only.clone()),
            _ => None,
        }
    }
}

impl Grants {
    pub(super) fn read(section: &mut Section<'_>, rules: &Rules, beside: &Beside) -> Option<Self> {
        let resources = read_resources(section, rules);
        if resources.as_ref().is_some_and(Vec::is_empty) {
            section.problem("resources", "needs at least one resource, as [\"…\"]");
        }
        let policy = read_policy(section, beside);
        let lives = policy.as_ref().map(|it| it.grant_ttl).zip(beside.token_ttl);
        let expiry = Expiry::read(section, lives);
        let budget = read_budget(section.section("budget"));
        Some(Self {
            resources: resources?,
            policy: policy?,
            expiry_policy: expiry.policy,
            allow_independent: expiry.allow_independent,
            budget,
        })
    }

    /// Upstream requests a minute for all resources, in the mean.
    #[must_use]
    pub fn calls_a_minute(&self) -> f64 {
        self.resources.iter().map(|_| self.policy.calls_a_minute()).sum()
    }

    /// How many resources, at this pace, the account's budget keeps fresh.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and far below 2^53"
    )]
    pub fn capacity(&self) -> u64 {
        (60.0 * f64::from(self.budget.rate) / self.policy.calls_a_minute()) as u64
    }
}

/// The resources that calls may name, of a profile whose tokens are made with a key alone.
/// `unscoped`: whether they may also name none.
pub(super) fn read_allowed(
    section: &mut Section<'_>,
    rules: &Rules,
    unscoped: bool,
) -> Option<Allowed> {
    let listed = read_resources(section, rules);
    let patterns = section.list_or_empty("allow_resources", Pattern::parse);
    let (listed, patterns) = (listed?, patterns?);
    if listed.is_empty() && patterns.is_empty() && !unscoped {
        let needed = "needs at least one resource, as [\"…\"], or allow_resources with a pattern";
        section.problem("resources", needed);
    }
    Some(Allowed { listed, patterns, unscoped })
}

fn read_resources(section: &mut Section<'_>, rules: &Rules) -> Option<Vec<Resource>> {
    let mut seen = Vec::new();
    section.list_or_empty("resources", |text| {
        let resource = (rules.parse_resource)(text).map_err(|error| error.to_string())?;
        if seen.contains(&resource) {
            return Err("is there twice".to_owned());
        }
        seen.push(resource.clone());
        Ok(resource)
    })
}

fn read_policy(section: &mut Section<'_>, beside: &Beside) -> Option<Policy> {
    let grant_ttl = read_grant_ttl(section, beside);
    let refresh_after = section.duration("refresh_after");
    let promise = section.duration("promise");
    if refresh_after.is_some() && promise.is_some() {
        section.problem("promise", "excludes refresh_after: it sets the point of refresh itself");
    }

    let (margin, grant_ttl, token_ttl) = (beside.margin?, grant_ttl?, beside.token_ttl?);
    let policy = Policy::new(grant_ttl, margin, beside.attempt);
    let (earliest, latest) = (policy.earliest_point(), policy.latest_point(grant_ttl));
    let refresh_after = if let Some(point) = refresh_after {
        if point < earliest || point > latest {
            let (earliest, latest) = (shown(earliest), shown(latest));
            let lives = lives(grant_ttl, margin);
            let message = format!("must be from {earliest} to {latest}, {lives}");
            section.problem("refresh_after", message);
        }
        point
    } else if let Some(promise) = promise {
        let most = policy.longest_promise();
        if promise > most {
            let (most, lives) = (shown(most), lives(grant_ttl, margin));
            section.problem("promise", format!("cannot be kept: {most} is the most, {lives}"));
        } else if promise > token_ttl.saturating_sub(margin) {
            let most = shown(token_ttl.saturating_sub(margin));
            let message = format!("cannot be kept: {most} is the most, as tokens live no longer");
            section.problem("promise", message);
        }
        policy.point_for_promise(promise)
    } else {
        policy.refresh_after
    };
    Some(Policy { refresh_after, ..policy })
}

fn lives(grant_ttl: Duration, margin: Duration) -> String {
    format!("at a grant_ttl of {} and a margin of {}", shown(grant_ttl), shown(margin))
}

fn read_grant_ttl(section: &mut Section<'_>, beside: &Beside) -> Option<Duration> {
    let written = section.has("grant_ttl");
    let LifeRules::Asked { default, max } = beside.life else { return Some(GRANT_TTL) };
    let grant_ttl = section.duration_within("grant_ttl", default, Duration::ZERO..=max)?;
    if grant_ttl.subsec_nanos() != 0 {
        section.problem("grant_ttl", "must be whole seconds");
        return None;
    }
    let margin = beside.margin?;
    let least = Policy::least_grant_ttl(margin, beside.attempt);
    if grant_ttl >= least {
        return Some(grant_ttl);
    }
    let (least, margin) = (shown(least), shown(margin));
    if written {
        section.problem("grant_ttl", format!("must be at least {least} at a margin of {margin}"));
    } else {
        let grant_ttl = shown(grant_ttl);
        let message = format!("needs a grant_ttl of at least {least}; it is {grant_ttl}");
        section.problem("margin", message);
    }
    None
}

fn read_budget(mut section: Section<'_>) -> budget::Limits {
    let default = budget::Limits::default();
    let mut limit = |key, default| section.integer(key, 1..=10_000).unwrap_or(default);
    let limits = budget::Limits {
        rate: limit("rate", default.rate),
        burst: limit("burst", default.burst),
        concurrent: limit("concurrent", default.concurrent),
    };
    section.finish();
    limits
}

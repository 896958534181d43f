//! One profile: the keys that all kinds have, beside the kind's own.

use std::{sync::Arc, time::Duration};

use super::{Kinds, expiry::Expiry};
use crate::{
    mint::terms::{ExpiryPolicy, least_ttl},
    name::{ProfileName, Resource},
    provider::{Draft, Kind, Provider, Rules},
    refresh::schedule::Policy,
    settings::{Section, shown},
    source::{budget, http::DEFAULT_TIMEOUT},
};

const MARGIN: Duration = Duration::from_secs(2);
const MIN_MARGIN: Duration = Duration::from_secs(1);
const MAX_MARGIN: Duration = Duration::from_secs(60 * 60);

const GRANT_TTL: Duration = Duration::from_secs(60);
const TOKEN_TTL: Duration = Duration::from_secs(60 * 60);

/// A named configuration: account and keys, grant source, token format.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name.
    pub name: ProfileName,
    /// Its kind's name.
    pub kind: &'static str,
    /// Its kind, with the kind's own keys.
    pub provider: Arc<dyn Provider>,
    /// What its kind lays down.
    pub rules: Rules,
    /// The pinned resources; at least one.
    pub resources: Vec<Resource>,
    /// The resource of calls that name none: the one configured, or the only one there is.
    pub default_resource: Option<Resource>,
    /// When its grants are refreshed.
    pub policy: Policy,
    /// The life of tokens that no other is wanted for.
    pub token_ttl: Duration,
    /// What happens to expiries at a grant's end, where a call does not say.
    pub expiry_policy: ExpiryPolicy,
    /// Whether calls may ask for tokens that outlive their grant.
    pub allow_independent: bool,
    /// The budget of its account.
    pub budget: budget::Limits,
}

impl Profile {
    /// The least time that a token of the profile's own life may be used for, when a healthy
    /// profile hands it out.
    #[must_use]
    pub fn worst_hand_out(&self) -> Duration {
        self.policy.worst_hand_out().min(self.token_ttl.saturating_sub(self.policy.margin))
    }

    /// Upstream requests a minute for all its resources, in the mean.
    #[must_use]
    pub fn calls_a_minute(&self) -> f64 {
        self.resources.iter().map(|_| self.policy.calls_a_minute()).sum()
    }

    /// How many resources, at this profile's pace, its account's budget keeps fresh.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and far below 2^53"
    )]
    pub fn capacity(&self) -> u64 {
        (60.0 * f64::from(self.budget.rate) / self.policy.calls_a_minute()) as u64
    }

    pub(super) fn read(name: ProfileName, section: &mut Section<'_>, kinds: Kinds) -> Option<Self> {
        // Without a kind nobody knows which keys are right.
        let kind = section.required("kind", |text| parse_kind(text, kinds))?;
        let Draft { rules, provider } = kind.read(section);
        let resources = read_resources(section, &rules);
        let default_resource = section.parsed("default_resource", rules.parse_resource);
        if let (Some(default), Some(resources)) = (&default_resource, &resources)
            && !resources.contains(default)
        {
            section.problem("default_resource", "is not among the resources");
        }
        // Where the kind's own keys are wrong, the others are held against the usual time.
        let attempt = provider.as_ref().map_or(DEFAULT_TIMEOUT, |it| it.upstream().attempt());
        let lives = Lives::read(section, &rules, attempt);
        let expiry = Expiry::read(
            section,
            lives.as_ref().map(|lives| (lives.policy.grant_ttl, lives.token_ttl)),
        );
        let budget = read_budget(section.section("budget"));
        section.finish();

        let (resources, lives) = (resources?, lives?);
        let only = match resources.as_slice() {
            [resource] => Some(resource.clone()),
            _ => None,
        };
        Some(Self {
            name,
            kind: kind.name(),
            provider: provider?,
            rules,
            resources,
            default_resource: default_resource.or(only),
            policy: lives.policy,
            token_ttl: lives.token_ttl,
            expiry_policy: expiry.policy,
            allow_independent: expiry.allow_independent,
            budget,
        })
    }
}

fn parse_kind(text: &str, kinds: Kinds) -> Result<&'static dyn Kind, String> {
    kinds.iter().find(|kind| kind.name() == text).copied().ok_or_else(|| {
        let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
        format!("is not a kind that there is: {}", names.join(", "))
    })
}

fn read_resources(section: &mut Section<'_>, rules: &Rules) -> Option<Vec<Resource>> {
    let mut seen = Vec::new();
    let resources = section.list("resources", |text| {
        let resource = (rules.parse_resource)(text).map_err(|error| error.to_string())?;
        if seen.contains(&resource) {
            return Err("is there twice".to_owned());
        }
        seen.push(resource.clone());
        Ok(resource)
    });
    if !section.has("resources") || resources.as_ref().is_some_and(Vec::is_empty) {
        section.problem("resources", "needs at least one resource, as [\"…\"]");
    }
    resources
}

/// How long grants and tokens live.
struct Lives {
    policy: Policy,
    token_ttl: Duration,
}

impl Lives {
    /// Of a profile whose source takes at most `attempt` for one.
    fn read(section: &mut Section<'_>, rules: &Rules, attempt: Duration) -> Option<Self> {
        let margin = section.duration_within("margin", MARGIN, MIN_MARGIN..=MAX_MARGIN);
        let grant_ttl = read_grant_ttl(section, rules, margin, attempt);
        let refresh_after = section.duration("refresh_after");
        let promise = section.duration("promise");
        if refresh_after.is_some() && promise.is_some() {
            section
                .problem("promise", "excludes refresh_after: it sets the point of refresh itself");
        }
        let least = least_ttl(margin.unwrap_or(MARGIN));
        let token_ttl = section.duration_within(
            "token_ttl",
            TOKEN_TTL.min(rules.max_token_ttl),
            least..=rules.max_token_ttl,
        );

        let (margin, grant_ttl, token_ttl) = (margin?, grant_ttl?, token_ttl?);
        let policy = Policy::new(grant_ttl, margin, attempt);
        let (earliest, latest) = (policy.earliest_point(), policy.latest_point(grant_ttl));
        let refresh_after = if let Some(point) = refresh_after {
            if point < earliest || point > latest {
                let (earliest, latest) = (shown(earliest), shown(latest));
                let lives = lives(grant_ttl, margin);
                section.problem(
                    "refresh_after",
                    format!("must be from {earliest} to {latest}, {lives}"),
                );
            }
            point
        } else if let Some(promise) = promise {
            let most = policy.longest_promise();
            if promise > most {
                let (most, lives) = (shown(most), lives(grant_ttl, margin));
                section.problem("promise", format!("cannot be kept: {most} is the most, {lives}"));
            } else if promise > token_ttl.saturating_sub(margin) {
                let most = shown(token_ttl.saturating_sub(margin));
                section.problem(
                    "promise",
                    format!("cannot be kept: {most} is the most, as tokens live no longer"),
                );
            }
            policy.point_for_promise(promise)
        } else {
            policy.refresh_after
        };
        Some(Self { policy: Policy { refresh_after, ..policy }, token_ttl })
    }
}

fn lives(grant_ttl: Duration, margin: Duration) -> String {
    format!("at a grant_ttl of {} and a margin of {}", shown(grant_ttl), shown(margin))
}

fn read_grant_ttl(
    section: &mut Section<'_>,
    rules: &Rules,
    margin: Option<Duration>,
    attempt: Duration,
) -> Option<Duration> {
    let written = section.has("grant_ttl");
    let default = GRANT_TTL.min(rules.max_grant_ttl);
    let grant_ttl =
        section.duration_within("grant_ttl", default, Duration::ZERO..=rules.max_grant_ttl)?;
    if grant_ttl.subsec_nanos() != 0 {
        section.problem("grant_ttl", "must be whole seconds");
        return None;
    }
    let margin = margin?;
    let least = Policy::least_grant_ttl(margin, attempt);
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

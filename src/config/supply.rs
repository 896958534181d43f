//! What a profile's tokens are made with: grants, with their schedule and budget, which may be
//! the tokens themselves; or a key alone, with the resources that calls may name.

use std::{collections::HashSet, time::Duration};

use super::{expiry::Expiry, schedule::read_policy};
use crate::{
    mint::profile::Allowed,
    name::{Pattern, Resource},
    provider::{GrantRules, Rules},
    refresh::schedule::Policy,
    settings::Section,
    source::budget,
};

/// The resource of a forwarded credential where a profile names none.
const ONLY_RESOURCE: &str = "default";

/// What must be written by a person before a credential is shared.
const SHAREABLE: &str = "must be true: this kind hands its credential on as it is, so that all \
                         callers of a resource hold the same one; nobody can be told apart by \
                         it, and nobody can be cut off alone before it ends";

/// What a profile's tokens are made with.
#[derive(Clone, Debug)]
pub enum Supply {
    /// A grant for each resource, and how the tokens around it end.
    Grants(Grants, Expiry),
    /// The same, and the grant is the token.
    Forwarded(Grants),
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
    /// The budget of the account.
    pub budget: budget::Limits,
}

/// The keys of all profiles that those of grants are held against.
pub(super) struct Beside {
    /// What the kind prescribes for its grants.
    pub(super) rules: GrantRules,
    /// The longest that an attempt to get one may take.
    pub(super) attempt: Duration,
    pub(super) margin: Option<Duration>,
    /// The life of tokens; as long as that of their grants where they are the same.
    pub(super) token_ttl: Option<Duration>,
}

impl Supply {
    /// The resources that are named one by one.
    #[must_use]
    pub fn listed(&self) -> &[Resource] {
        match self {
            Self::Grants(grants, _) | Self::Forwarded(grants) => &grants.resources,
            Self::Key(allowed) => &allowed.listed,
        }
    }

    /// Whether calls may name this resource.
    pub(super) fn has(&self, resource: &Resource) -> bool {
        match self {
            Self::Grants(grants, _) | Self::Forwarded(grants) => {
                grants.resources.contains(resource)
            }
            Self::Key(allowed) => allowed.has(resource),
        }
    }

    /// The resource of calls that name none, where there is no other choice.
    pub(super) fn only(&self) -> Option<Resource> {
        let is_open = match self {
            Self::Grants(..) | Self::Forwarded(_) => false,
            Self::Key(allowed) => allowed.unscoped || !allowed.patterns.is_empty(),
        };
        match self.listed() {
            [only] if !is_open => Some(only.clone()),
            _ => None,
        }
    }
}

impl Supply {
    pub(super) fn grants(
        section: &mut Section<'_>,
        rules: &Rules,
        beside: &Beside,
    ) -> Option<Self> {
        let resources = read_resources(section, rules);
        let grants = Grants::read(section, resources, beside);
        let grant_ttl = grants.as_ref().and_then(|grants| grants.policy.grant_ttl());
        let expiry = Expiry::read(section, grant_ttl.zip(beside.token_ttl));
        Some(Self::Grants(grants?, expiry))
    }

    pub(super) fn forwarded(
        section: &mut Section<'_>,
        rules: &Rules,
        beside: &Beside,
    ) -> Option<Self> {
        let shareable = section.flag("shareable");
        let mistyped = shareable.is_none() && section.has("shareable");
        if shareable != Some(true) && !mistyped {
            section.problem("shareable", SHAREABLE);
        }
        let resources = if section.has("resources") {
            read_resources(section, rules)
        } else {
            (rules.parse_resource)(ONLY_RESOURCE).map_or(Some(Vec::new()), |it| Some(vec![it]))
        };
        Grants::read(section, resources, beside).map(Self::Forwarded)
    }
}

impl Grants {
    fn read(
        section: &mut Section<'_>,
        resources: Option<Vec<Resource>>,
        beside: &Beside,
    ) -> Option<Self> {
        if resources.as_ref().is_some_and(Vec::is_empty) {
            section.problem("resources", "needs at least one resource, as [\"…\"]");
        }
        let policy = read_policy(section, beside);
        let budget = read_budget(section.section("budget"));
        Some(Self { resources: resources?, policy: policy?, budget })
    }

    /// Upstream requests a minute for all resources, in the mean; none where that depends on the
    /// life that the upstream grants.
    #[must_use]
    pub fn calls_a_minute(&self) -> Option<f64> {
        self.resources.iter().map(|_| self.policy.requests_per_minute()).sum()
    }

    /// How many resources, at this pace, the account's budget keeps fresh; none where that
    /// depends on the life that the upstream grants.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and far below 2^53"
    )]
    pub fn capacity(&self) -> Option<u64> {
        Some((60.0 * f64::from(self.budget.rate) / self.policy.requests_per_minute()?) as u64)
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
    let mut seen = HashSet::new();
    section.list_or_empty("resources", |text| {
        let resource = (rules.parse_resource)(text).map_err(|error| error.to_string())?;
        if seen.insert(resource.clone()) { Ok(resource) } else { Err("is there twice".to_owned()) }
    })
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

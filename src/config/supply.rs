//! What a profile's tokens are made from: grants with their schedule and budget, forwarded or
//! wrapped in tokens; or a key alone, with the resources that calls may name.

use std::collections::HashSet;

use super::{
    expiry::Expiry,
    schedule::{Context, read_policy},
};
use crate::{
    mint::profile::Allowed,
    name::{Pattern, Resource},
    provider::Rules,
    refresh::schedule::Policy,
    settings::Section,
    source::budget,
};

/// The resource of a forwarded credential if a profile names none.
const ONLY_RESOURCE: &str = "default";

/// Requires an operator to confirm that a credential is shared.
const SHAREABLE: &str = "must be true: this kind forwards its credential unchanged, so that all \
                         callers of a resource share it; it cannot tell callers apart, and no \
                         single caller can be revoked before it expires";

/// What a profile's tokens are made from.
#[derive(Clone, Debug)]
pub enum Supply {
    /// A grant for each resource, and the expiry of tokens around it.
    Grants(Grants, Expiry),
    /// A grant for each resource, which is the token.
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

impl Supply {
    /// The resources that are listed by name.
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

    /// The resource of calls that name none, if only one is possible.
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
        context: &Context,
    ) -> Option<Self> {
        let resources = read_resources(section, rules);
        let grants = Grants::read(section, resources, context);
        let grant_ttl = grants.as_ref().and_then(|grants| grants.policy.grant_ttl());
        let expiry = Expiry::read(section, grant_ttl.zip(context.token_ttl));
        Some(Self::Grants(grants?, expiry))
    }

    pub(super) fn forwarded(
        section: &mut Section<'_>,
        rules: &Rules,
        context: &Context,
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
        Grants::read(section, resources, context).map(Self::Forwarded)
    }
}

impl Grants {
    fn read(
        section: &mut Section<'_>,
        resources: Option<Vec<Resource>>,
        context: &Context,
    ) -> Option<Self> {
        if resources.as_ref().is_some_and(Vec::is_empty) {
            section.problem("resources", "needs at least one resource, as [\"…\"]");
        }
        let policy = read_policy(section, context);
        let budget = read_budget(section.section("budget"));
        Some(Self { resources: resources?, policy: policy?, budget })
    }

    /// The mean upstream requests a minute for all resources; none if it depends on the lifetime
    /// that the upstream grants.
    #[must_use]
    pub fn requests_per_minute(&self) -> Option<f64> {
        self.resources.iter().map(|_| self.policy.requests_per_minute()).sum()
    }

    /// How many resources the account's budget can refresh on this schedule; none if it depends on
    /// the lifetime that the upstream grants.
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

/// Reads the resources that calls may name, for a profile that signs with a key alone. `unscoped`:
/// whether calls may name none.
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
        if seen.insert(resource.clone()) { Ok(resource) } else { Err("is a duplicate".to_owned()) }
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

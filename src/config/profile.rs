//! One profile: the keys that all kinds share, and those of its kind.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    Kinds,
    schedule::Context,
    supply::{Grants, Supply, read_allowed},
    tokens,
};
use crate::{
    mint::terms::min_ttl,
    name::{ProfileName, Resource},
    provider::{Draft, Kind, Provider, Rules, Scope, SupplyRules, TokenFormat, Tokens, Upstream},
    settings::{KeyFiles, Section},
    source::{base_url::BaseUrl, http::DEFAULT_TIMEOUT},
};

const MARGIN: Duration = Duration::from_secs(2);
const MIN_MARGIN: Duration = Duration::from_secs(1);
const MAX_MARGIN: Duration = Duration::from_secs(60 * 60);

/// A named configuration: account and keys, supply, token format.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name.
    pub name: ProfileName,
    /// Its kind's name.
    pub kind: &'static str,
    /// Its kind, with the kind's own keys.
    pub provider: Arc<dyn Provider>,
    /// The rules of its kind.
    pub rules: Rules,
    /// The default resource: the configured one, or the only one.
    pub default_resource: Option<Resource>,
    /// The default lifetime of tokens; unlimited for forwarded grants, which expire by themselves.
    pub token_ttl: Duration,
    /// The maximum lifetime that a call may request; unlimited if it may request none.
    pub max_token_ttl: Duration,
    /// The time reserved before a token's expiry.
    pub margin: Duration,
    /// What its tokens are made from.
    pub supply: Supply,
    /// The settings of its tokens' claims.
    pub tokens: Tokens,
    /// The files of its key.
    pub key_files: KeyFiles,
}

impl Profile {
    /// Its grants; none for a profile that signs with a key alone.
    #[must_use]
    pub const fn grants(&self) -> Option<&Grants> {
        match &self.supply {
            Supply::Grants(grants, _) | Supply::Forwarded(grants) => Some(grants),
            Supply::Key(_) => None,
        }
    }

    /// Whether its tokens contain no identity, so that any holder can use them.
    #[must_use]
    pub const fn is_anonymous(&self) -> bool {
        matches!(self.supply, Supply::Forwarded(_)) || !self.tokens.has_identity
    }

    /// The shortest validity of a token issued while the upstream is healthy, at the default
    /// lifetime; none if it depends on the lifetime that the upstream grants.
    #[must_use]
    pub fn shortest_validity(&self) -> Option<Duration> {
        let own = self.token_ttl.saturating_sub(self.margin);
        match &self.supply {
            Supply::Grants(grants, _) | Supply::Forwarded(grants) => {
                Some(own.min(grants.policy.shortest_validity()?))
            }
            Supply::Key(_) => Some(own.saturating_sub(self.tokens.spent())),
        }
    }

    /// Fetches its grants from `upstream` instead of its own.
    pub fn point_at(&mut self, upstream: &BaseUrl) {
        if let Some(replaced) = self.provider.upstream().map(|it| it.replaced_by(upstream)) {
            self.provider = replaced;
        }
    }

    pub(super) fn read(name: ProfileName, section: &mut Section<'_>, kinds: Kinds) -> Option<Self> {
        // The kind decides which keys are valid.
        let kind = section.required("kind", |text| parse_kind(text, kinds))?;
        let Draft { rules, provider } = kind.read(section);
        let margin = section.duration_within("margin", MARGIN, MIN_MARGIN..=MAX_MARGIN);
        let tokens = tokens::read(section, &rules.tokens, rules.supply != SupplyRules::Key);
        let spent = tokens.as_ref().map_or(Duration::ZERO, Tokens::spent);
        let least = min_ttl(margin.unwrap_or(MARGIN), spent).max(rules.min_token_ttl);
        let max_token_ttl = match rules.supply {
            SupplyRules::Grants(_) => Some(rules.max_token_ttl),
            SupplyRules::Forwarded(_) => Some(Duration::MAX),
            SupplyRules::Key => {
                let within = least..=rules.max_token_ttl;
                section.duration_within("max_ttl", rules.max_token_ttl, within)
            }
        };
        let token_ttl = match rules.supply {
            SupplyRules::Forwarded(_) => Some(Duration::MAX),
            SupplyRules::Grants(_) | SupplyRules::Key => {
                let most = max_token_ttl.unwrap_or(rules.max_token_ttl);
                section.duration_within("token_ttl", rules.token_ttl.min(most), least..=most)
            }
        };
        // If the kind's own keys are invalid, the others are checked against the default timeout.
        let upstream = provider.as_ref().and_then(|provider| provider.upstream());
        let attempt = upstream.map_or(DEFAULT_TIMEOUT, Upstream::attempt);
        let context = |rules| Context { rules, attempt, margin, token_ttl };
        let supply = match rules.supply {
            SupplyRules::Grants(grants) => Supply::grants(section, &rules, &context(grants)),
            SupplyRules::Forwarded(grants) => Supply::forwarded(section, &rules, &context(grants)),
            SupplyRules::Key => {
                let unscoped = rules.tokens.scope == Scope::None
                    || tokens.as_ref().is_some_and(|tokens| tokens.allow_unscoped);
                read_allowed(section, &rules, unscoped).map(Supply::Key)
            }
        };
        let default_resource = section.parsed("default_resource", rules.parse_resource);
        if let (Some(default), Some(supply)) = (&default_resource, &supply)
            && !supply.has(default)
        {
            section.problem("default_resource", "is not among the resources");
        }
        if default_resource.is_some() && tokens.as_ref().is_some_and(|it| it.allow_unscoped) {
            let excludes = "excludes allow_unscoped: a call without a resource would get this one";
            section.problem("default_resource", excludes);
        }
        let has_upstream = provider.as_ref().map(|provider| provider.upstream().is_some());
        if has_upstream.is_some_and(|has| has == matches!(rules.supply, SupplyRules::Key)) {
            section.problem(
                "kind",
                "has an upstream but needs none, or needs one but has none: a bug in the kind",
            );
        }
        section.finish();

        let supply = supply?;
        Some(Self {
            name,
            kind: kind.name(),
            provider: provider?,
            rules,
            default_resource: default_resource.or_else(|| supply.only()),
            token_ttl: token_ttl?,
            max_token_ttl: max_token_ttl?,
            margin: margin?,
            supply,
            tokens: tokens?,
            key_files: section.key_files().clone(),
        })
    }

    /// The keys of its tokens' claims, for display.
    #[must_use]
    pub fn shown_tokens(&self) -> Vec<(&'static str, Value)> {
        tokens::shown_keys(&self.tokens, &self.rules.tokens)
    }

    /// The format of its tokens.
    #[must_use]
    pub fn token_format(&self) -> Arc<dyn TokenFormat> {
        self.provider.token_format(&self.tokens)
    }
}

fn parse_kind(text: &str, kinds: Kinds) -> Result<&'static dyn Kind, String> {
    kinds.iter().find(|kind| kind.name() == text).copied().ok_or_else(|| {
        let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
        format!("unknown kind; expected one of {}", names.join(", "))
    })
}

//! One profile: the keys that all kinds have, beside the kind's own.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    Kinds,
    supply::{Beside, Grants, Supply, read_allowed},
    tokens,
};
use crate::{
    mint::terms::least_ttl,
    name::{ProfileName, Resource},
    provider::{Draft, Kind, Provider, Rules, Scope, SupplyRules, TokenFormat, Tokens, Upstream},
    settings::{KeyFiles, Section},
    source::{base_url::BaseUrl, http::DEFAULT_TIMEOUT},
};

const MARGIN: Duration = Duration::from_secs(2);
const MIN_MARGIN: Duration = Duration::from_secs(1);
const MAX_MARGIN: Duration = Duration::from_secs(60 * 60);

/// A named configuration: account and keys, what tokens are made with, token format.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name.
    pub name: ProfileName,
    /// Its kind's name.
    pub kind: &'static str,
    /// Its kind, with the kind's own keys.
    pub provider: Arc<dyn Provider>,
    /// What its kind prescribes.
    pub rules: Rules,
    /// The resource of calls that name none: the one configured, or the only one there is.
    pub default_resource: Option<Resource>,
    /// The life of tokens that no other is wanted for; without end where they are their grant,
    /// whose end is theirs.
    pub token_ttl: Duration,
    /// The longest life that a call may ask for; without end where it may ask for none.
    pub max_token_ttl: Duration,
    /// Kept in hand of a token's usable life.
    pub margin: Duration,
    /// What its tokens are made with.
    pub supply: Supply,
    /// What it says of its tokens' claims.
    pub tokens: Tokens,
    /// Where its key is.
    pub key_files: KeyFiles,
}

impl Profile {
    /// Its grants; none of a profile whose tokens are made with a key alone.
    #[must_use]
    pub const fn grants(&self) -> Option<&Grants> {
        match &self.supply {
            Supply::Grants(grants, _) | Supply::Forwarded(grants) => Some(grants),
            Supply::Key(_) => None,
        }
    }

    /// Whether its tokens hold no identity, and are good for whoever has them.
    #[must_use]
    pub const fn names_nobody(&self) -> bool {
        matches!(self.supply, Supply::Forwarded(_)) || !self.tokens.has_identity
    }

    /// The least time that a token of the profile's own life may be used for, when a healthy
    /// profile hands it out; none where that depends on the life that the upstream grants.
    #[must_use]
    pub fn shortest_validity(&self) -> Option<Duration> {
        let own = self.token_ttl.saturating_sub(self.margin);
        match &self.supply {
            Supply::Grants(grants, _) | Supply::Forwarded(grants) => {
                Some(own.min(grants.policy.worst_hand_out()?))
            }
            Supply::Key(_) => Some(own.saturating_sub(self.tokens.spent())),
        }
    }

    /// Gets its grants from `upstream` instead of its own.
    pub fn point_at(&mut self, upstream: &BaseUrl) {
        if let Some(replaced) = self.provider.upstream().map(|it| it.replaced_by(upstream)) {
            self.provider = replaced;
        }
    }

    pub(super) fn read(name: ProfileName, section: &mut Section<'_>, kinds: Kinds) -> Option<Self> {
        // Without a kind nobody knows which keys are right.
        let kind = section.required("kind", |text| parse_kind(text, kinds))?;
        let Draft { rules, provider } = kind.read(section);
        let margin = section.duration_within("margin", MARGIN, MIN_MARGIN..=MAX_MARGIN);
        let tokens = tokens::read(section, &rules.tokens, rules.supply != SupplyRules::Key);
        let spent = tokens.as_ref().map_or(Duration::ZERO, Tokens::spent);
        let least = least_ttl(margin.unwrap_or(MARGIN), spent).max(rules.min_token_ttl);
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
        // Where the kind's own keys are wrong, the others are held against the usual time.
        let upstream = provider.as_ref().and_then(|provider| provider.upstream());
        let attempt = upstream.map_or(DEFAULT_TIMEOUT, Upstream::attempt);
        let beside = |rules| Beside { rules, attempt, margin, token_ttl };
        let supply = match rules.supply {
            SupplyRules::Grants(grants) => Supply::grants(section, &rules, &beside(grants)),
            SupplyRules::Forwarded(grants) => Supply::forwarded(section, &rules, &beside(grants)),
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
            let excludes = "excludes allow_unscoped: a call that names none would never be for all";
            section.problem("default_resource", excludes);
        }
        let has_upstream = provider.as_ref().map(|provider| provider.upstream().is_some());
        if has_upstream.is_some_and(|has| has == matches!(rules.supply, SupplyRules::Key)) {
            section.problem("kind", "has an upstream though it needs none, or none though it needs one: a bug of the kind");
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

    /// The keys about its tokens' claims as they may be shown.
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
        format!("is not a kind that there is: {}", names.join(", "))
    })
}

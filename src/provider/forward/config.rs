//! The kind's own configuration keys: a preset or the profile's own recipe, and how the upstream is
//! reached.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    assertion::Assertion,
    custom,
    emulation::Emulation,
    life::LifeAt,
    parts::{Covers, DEFAULT_REFRESH_AT, Parts, parse_resource},
    presets::{self, Preset},
    recipe::Recipe,
    secret::Secret,
    template::Placeholder,
};
use crate::{
    egress::{ExtraRoots, ProxySetting},
    name::{NameError, Resource},
    provider::{GrantRules, LifeRules},
    settings::{MAX_DURATION, Section, shown, unknown_key},
    source::{base_url::BaseUrl, http::DEFAULT_TIMEOUT},
};

/// The default life that a profile's own recipe requests.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);

const MAX_TIMEOUT: Duration = Duration::from_secs(10);

/// The own keys of a `forward` profile.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) preset: Option<&'static Preset>,
    /// Its base is the upstream in use.
    pub(super) recipe: Recipe,
    pub(super) secret: Option<Secret>,
    pub(super) assertion: Option<Assertion>,
    account: String,
    shown: Vec<(&'static str, Value)>,
    pub(super) covers: Option<Covers>,
    pub(super) timeout: Duration,
    pub(super) proxy: ProxySetting,
    pub(super) ca: Option<ExtraRoots>,
}

/// The rules that follow from a profile's keys, known even if some keys are invalid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prescribed {
    pub(super) grants: GrantRules,
    pub(super) parse_resource: fn(&str) -> Result<Resource, NameError>,
}

impl Config {
    /// Reads the kind's keys.
    pub(super) fn read(section: &mut Section<'_>) -> (Prescribed, Option<Arc<Self>>) {
        let preset = if section.has("preset") {
            let Some(preset) = section.parsed("preset", find) else {
                // Without the preset, the valid keys are unknown.
                return (Prescribed::of(None, None), None);
            };
            Some(preset)
        } else {
            None
        };
        let parts = match preset {
            Some(preset) => (preset.read)(section),
            None => custom::read(section),
        };
        let prescribed = Prescribed::of(preset, parts.as_ref().map(|parts| &parts.recipe));
        (prescribed, Self::reached(section, preset, parts).map(Arc::new))
    }

    /// Reads how the upstream is reached.
    fn reached(
        section: &mut Section<'_>,
        preset: Option<&'static Preset>,
        parts: Option<Parts>,
    ) -> Option<Self> {
        let upstream: Option<BaseUrl> = section.parsed("upstream", str::parse);
        let proxy = section.parsed("proxy", ProxySetting::parse).unwrap_or_default();
        let least = Duration::from_secs(1);
        let timeout = section.duration_within("timeout", DEFAULT_TIMEOUT, least..=MAX_TIMEOUT);
        let ca = if section.has("ca_file") {
            Some(section.parsed("ca_file", ExtraRoots::load)?)
        } else {
            None
        };
        let Parts { mut recipe, secret, assertion, account, mut shown, covers } = parts?;
        if let Some(upstream) = upstream {
            recipe.base = upstream;
        } else if section.has("upstream") {
            return None;
        }
        if let Err(error) = proxy.check(recipe.base.uri()) {
            section.problem("proxy", error.to_string());
        }
        shown.push(("upstream", json!(recipe.base.to_string())));
        shown.push(("proxy", json!(proxy.to_string())));
        shown.extend(ca.as_ref().map(|ca| ("ca_file", json!(ca.file()))));
        let timeout = timeout?;
        Some(Self { preset, recipe, secret, assertion, account, shown, covers, timeout, proxy, ca })
    }

    /// The upstream and the owner of the credentials.
    pub(super) fn account(&self) -> String {
        format!("{} {}", self.recipe.base, self.account)
    }

    /// The keys for display. Secrets are replaced by their location.
    pub(super) fn keys(&self) -> Vec<(&'static str, Value)> {
        let mut keys: Vec<_> =
            self.preset.iter().map(|preset| ("preset", json!(preset.name))).collect();
        keys.extend(self.shown.iter().cloned());
        keys.push(("timeout", json!(shown(self.timeout))));
        keys
    }

    /// The life that the emulated upstream grants if the request specifies none.
    pub(super) fn default_life(&self, emulation: &Emulation) -> Duration {
        match (self.preset, &self.recipe.life.at) {
            (None, LifeAt::Fixed(life)) => *life,
            _ => emulation.life,
        }
    }

    /// Notes for the operator.
    pub(super) fn notes(&self) -> Vec<String> {
        let note = match self.covers {
            Some(Covers::Connect) => {
                "the life covers connecting: a connection opened in time outlives the credential"
            }
            Some(Covers::Session) => {
                "the life covers the whole session: callers must set min_remaining_validity to the \
                 length of their longest session"
            }
            None => "what the life covers is not configured: covers = \"connect\" or \"session\"",
        };
        vec![note.to_owned()]
    }
}

impl Prescribed {
    fn of(preset: Option<&'static Preset>, recipe: Option<&Recipe>) -> Self {
        if let Some(preset) = preset {
            let grants = GrantRules { life: preset.life, refresh_at: preset.refresh_at };
            return Self { grants, parse_resource: preset.parse_resource };
        }
        let requests_life =
            recipe.is_some_and(|recipe| recipe.places().contains(&Placeholder::GrantTtl));
        let requested = LifeRules::Requested { default: DEFAULT_LIFE, max: MAX_DURATION };
        let life = if requests_life { requested } else { LifeRules::Reported };
        let grants = GrantRules { life, refresh_at: DEFAULT_REFRESH_AT };
        let headers = recipe.map(|recipe| recipe.headers.as_slice()).unwrap_or_default();
        let mut places = headers.iter().flat_map(|(_, template)| template.places());
        let is_in_header = places.any(|place| place == Placeholder::Resource);
        Self { grants, parse_resource: if is_in_header { parse_header } else { parse_resource } }
    }
}

/// A resource that is sent in a header.
fn parse_header(text: &str) -> Result<Resource, NameError> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(NameError::NotOfItsKind("is not visible ASCII, which a header requires"));
    }
    parse_resource(text)
}

fn find(name: &str) -> Result<&'static Preset, String> {
    presets::ALL.iter().copied().find(|preset| preset.name == name).ok_or_else(|| {
        let names: Vec<_> = presets::ALL.iter().map(|preset| preset.name).collect();
        let hint = unknown_key(name, &names);
        format!("unknown preset; {}", hint.trim_start_matches("unknown key; "))
    })
}

//! The kind against upstreams over HTTP: the recorded responses, and the profiles' keys.

mod profiles;
mod upstream;
mod vectors;

use std::{sync::Arc, time::Duration};

use super::{Forward, presets::Preset};
use crate::{
    clock::Clock,
    name::Resource,
    provider::{GrantRules, Kind, LifeRules, Provider, SupplyRules},
    settings::{Document, Problems},
    source::{FetchError, FetchRequest, Fetched, Urgency},
};

/// The secret of every profile in these tests, unless a test sets another.
pub(super) const SECRET: &str = "zqmarkerqz-secret";

/// A profile with these lines; every environment variable holds this secret.
pub(super) fn read(lines: &str, secret: &str) -> Result<(Arc<dyn Provider>, GrantRules), Problems> {
    let env = |_: &str| Some(secret.to_owned());
    let document = Document::parse("test.toml", lines, &env)?;
    let mut section = document.root();
    let draft = Forward.read(&mut section);
    section.finish();
    let SupplyRules::Forwarded(grants) = draft.rules.supply else { panic!("{:?}", draft.rules) };
    document.conclude(draft.provider).map(|provider| (provider, grants))
}

/// The lines and the secret of a preset's demo.
pub(super) fn demo_of(preset: &Preset) -> (String, String) {
    let demo = (preset.demo)();
    let mut lines =
        vec![format!("preset = \"{}\"", preset.name), format!("{} = \"S\"", demo.secret.env)];
    lines.extend(demo.keys.iter().map(|(key, value)| format!("{key} = {value}")));
    (lines.join("\n"), demo.value)
}

/// The default life to request.
pub(super) fn default_life(grants: &GrantRules) -> Option<Duration> {
    match grants.life {
        LifeRules::Requested { default, .. } => Some(default),
        LifeRules::Reported => None,
    }
}

/// One attempt.
pub(super) async fn fetch(
    provider: &dyn Provider,
    resource: &str,
    grant_ttl: Option<Duration>,
) -> Result<Fetched, FetchError> {
    let upstream = provider.upstream().unwrap();
    let clock = Clock::system();
    let give_up_at = clock.now().boot + Duration::from_secs(10);
    let source = upstream.source(clock, &upstream.egress().unwrap(), grant_ttl);
    let resource = Resource::parse(resource).unwrap();
    source.fetch(FetchRequest { resource, urgency: Urgency::Early, give_up_at }).await
}

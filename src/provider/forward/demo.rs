//! The presets' demos: public keys, and endpoints that accept them.

use std::sync::Arc;

use serde_json::json;

use super::{
    Forward,
    presets::{self, DemoKeys, Preset},
};
use crate::{
    provider::{Demo, DemoSecret, Kind, Served},
    sandbox::Endpoint,
    settings::Document,
};

/// The preset that `serve --sandbox` has.
const BY_DEFAULT: &str = "deepgram";

/// A demo for each preset.
pub(super) fn demos() -> Vec<Demo> {
    presets::ALL.iter().map(|preset| demo(preset)).collect()
}

fn demo(preset: &Preset) -> Demo {
    let DemoKeys { keys, secret, value, resources } = (preset.demo)();
    let is_served = preset.name == BY_DEFAULT;
    let mut all = vec![("preset", json!(preset.name))];
    all.extend(keys);
    all.push(("shareable", json!(true)));
    let variable =
        if is_served { "GRANTMINT_SANDBOX_SPEECH_KEY" } else { "GRANTMINT_SANDBOX_SECRET" };
    Demo {
        kind: super::KIND,
        name: preset.name,
        profile: if is_served { "speech" } else { "demo" },
        served: if is_served { Served::Yes } else { Served::No },
        keys: all,
        secret: Some(DemoSecret { keys: secret, variable, value }),
        resources,
        build_endpoint: Some(endpoint),
    }
}

/// The endpoint of a profile with the demo's keys. They are read like any profile's keys, and are
/// always valid.
fn endpoint(demo: &Demo) -> Option<Arc<dyn Endpoint>> {
    let text = demo.kinds_own_lines().join("\n");
    let env = |name: &str| demo.variable(name);
    let document = Document::parse(demo.name, &text, &env).ok()?;
    let provider = Forward.read(&mut document.root()).provider?;
    Some(provider.upstream()?.endpoint())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_has_a_demo_with_an_endpoint() {
        let demos = demos();
        assert_eq!(demos.len(), presets::ALL.len());
        for demo in demos {
            assert!(demo.endpoint().is_some(), "{}", demo.name);
        }
    }
}

//! The demos of the presets: public keys, and endpoints that know them.

use serde_json::json;

use super::{
    Forward,
    presets::{self, DemoKeys, Preset},
};
use crate::{
    provider::{Demo, DemoSecret, Kind, Served},
    settings::Document,
};

/// An RSA key of 2048 bits that was made for test vectors. It is public, belongs to no account
/// and protects nothing.
pub(super) const RSA_KEY: &str = include_str!("demo/rsa.pem");

/// The preset that `serve --sandbox` has.
const SERVED: &str = "deepgram";

/// The demos; there always is one for each preset, since their values are well-formed.
pub(super) fn demos() -> Vec<Demo> {
    presets::ALL.iter().filter_map(|preset| demo(preset)).collect()
}

fn demo(preset: &Preset) -> Option<Demo> {
    let DemoKeys { keys, secret, value, resources } = (preset.demo)();
    let is_served = preset.name == SERVED;
    let mut all = vec![("preset", json!(preset.name))];
    all.extend(keys);
    all.push(("shareable", json!(true)));
    let variable =
        if is_served { "GRANTMINT_SANDBOX_SPEECH_KEY" } else { "GRANTMINT_SANDBOX_SECRET" };
    let mut demo = Demo {
        kind: super::KIND,
        name: preset.name,
        profile: if is_served { "speech" } else { "demo" },
        served: if is_served { Served::Yes } else { Served::No },
        keys: all,
        secret: Some(DemoSecret { keys: secret, variable, value }),
        resources,
        endpoint: None,
    };
    // Through the same door as any other profile: its endpoint knows what that knows.
    let text = demo.kinds_own_lines().join("\n");
    let env = |name: &str| demo.variable(name);
    let document = Document::parse(preset.name, &text, &env).ok()?;
    let provider = Forward.read(&mut document.root()).provider?;
    let endpoint = provider.upstream()?.endpoint();
    demo.endpoint = Some(endpoint);
    Some(demo)
}

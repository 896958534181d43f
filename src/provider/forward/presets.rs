//! Recipes for known providers, one file each. To add one, write its file and add a line to
//! [`ALL`].
//!
//! Credentials that are not for sharing have none: `AssemblyAI`'s temporary tokens are for one use,
//! and Amazon IVS Chat tokens belong to one user.

mod azure_speech;
mod cloudflare_turn;
mod deepgram;
mod github_app;
mod google;
mod oauth2;
mod twilio_nts;
mod wechat;

use std::fmt;

use serde_json::Value;

use super::{
    emulation::Emulation,
    parts::Parts,
    recipe::{Recipe, RecipeBuilder},
};
use crate::{
    name::{NameError, Resource},
    provider::LifeRules,
    settings::{SecretKeys, Section},
};

/// All presets.
pub(super) static ALL: [&Preset; 8] = [
    &deepgram::PRESET,
    &azure_speech::PRESET,
    &cloudflare_turn::PRESET,
    &twilio_nts::PRESET,
    &oauth2::PRESET,
    &google::PRESET,
    &github_app::PRESET,
    &wechat::PRESET,
];

/// A 2048-bit RSA key made for test vectors. It is public, belongs to no account and protects
/// nothing.
pub(super) const RSA_KEY: &str = include_str!("presets/rsa.pem");

/// A recipe for a known provider.
pub(super) struct Preset {
    /// The name, as used in `preset`.
    pub(super) name: &'static str,
    /// What determines the life of its credentials.
    pub(super) life: LifeRules,
    /// The default refresh point, as a share of a credential's life.
    pub(super) refresh_at: f64,
    /// Validates a resource.
    pub(super) parse_resource: fn(&str) -> Result<Resource, NameError>,
    /// Reads its keys.
    pub(super) read: fn(&mut Section<'_>) -> Option<Parts>,
    /// How the sandbox emulates its upstream.
    pub(super) emulation: Emulation,
    /// A profile with public keys.
    pub(super) demo: fn() -> DemoKeys,
}

/// The keys of a preset's demo. They are public and only for the sandbox.
pub(super) struct DemoKeys {
    pub(super) keys: Vec<(&'static str, Value)>,
    pub(super) secret: SecretKeys,
    pub(super) value: String,
    pub(super) resources: Vec<&'static str>,
}

impl fmt::Debug for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Preset").field(&self.name).finish()
    }
}

/// Finishes a preset's recipe. Problems are reported for `key`; the preset's own parts are always
/// valid.
fn build(section: &Section<'_>, key: &str, builder: RecipeBuilder) -> Option<Recipe> {
    builder.build().map_err(|error| section.problem(key, error)).ok()
}

/// A name that needs no escaping in a URL.
fn parse_name(text: &str) -> Result<String, &'static str> {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=128).contains(&text.len()) && text.bytes().all(of_name) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 128 letters, digits, hyphens and underscores")
    }
}

/// A single non-blank line, sent unchanged.
fn parse_text(text: &str) -> Result<String, &'static str> {
    let is_line =
        !text.trim().is_empty() && !text.contains(char::is_control) && text.len() <= 1_024;
    if is_line { Ok(text.to_owned()) } else { Err("must be a line of 1 to 1024 bytes") }
}

/// Escapes a string for a template.
fn escaped(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// The keys of a secret.
const fn secret_keys(file: &'static str, env: &'static str, value: &'static str) -> SecretKeys {
    SecretKeys { file, env, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preset_names_are_unique() {
        for (at, preset) in ALL.iter().enumerate() {
            assert!(ALL[..at].iter().all(|other| other.name != preset.name), "{preset:?}");
            assert!(preset.refresh_at > 0.0 && preset.refresh_at < 1.0, "{preset:?}");
        }
    }
}

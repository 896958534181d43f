//! The kind's own configuration keys.

use serde_json::{Value, json};

use crate::{
    provider::secret::{KeySecret, parse_key_name},
    settings::{NameKeys, SecretKeys, Section},
};

const NAME: NameKeys = NameKeys { value: "api_key", file: "api_key_file" };

pub(super) const SECRET: SecretKeys =
    SecretKeys { file: "api_secret_file", env: "api_secret_env", value: "api_secret" };

/// The own keys of a `livekit` profile.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) api_key: String,
    pub(super) api_secret: KeySecret,
}

impl Config {
    /// Reads the kind's keys.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let api_key = section.key_name(NAME, parse_key_name);
        let api_secret = KeySecret::read(section, SECRET);
        Some(Self { api_key: api_key?, api_secret: api_secret? })
    }

    /// The keys for display.
    pub(super) fn keys(&self) -> Vec<(&'static str, Value)> {
        [("api_key", json!(self.api_key))].into_iter().chain(self.api_secret.shown()).collect()
    }
}

//! The kind's own configuration keys.

use serde_json::{Value, json};

use crate::{
    provider::secret::{KeySecret, parse_key_name},
    settings::{NameKeys, SecretKeys, Section},
};

const NAME: NameKeys = NameKeys { value: "access_key", file: "access_key_file" };

const SECRET: SecretKeys =
    SecretKeys { file: "app_secret_file", env: "app_secret_env", value: "app_secret" };

/// The own keys of a `100ms` profile.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) access_key: String,
    /// The secret signs as a string, although it looks like base64.
    pub(super) app_secret: KeySecret,
}

impl Config {
    /// Reads the kind's keys.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let access_key = section.key_name(NAME, parse_key_name);
        let app_secret = KeySecret::read(section, SECRET);
        Some(Self { access_key: access_key?, app_secret: app_secret? })
    }

    /// The keys for display.
    pub(super) fn keys(&self) -> Vec<(&'static str, Value)> {
        [("access_key", json!(self.access_key))]
            .into_iter()
            .chain(self.app_secret.shown())
            .collect()
    }
}

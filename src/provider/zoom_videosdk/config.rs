//! The kind's own configuration keys.

use serde_json::{Value, json};

use crate::{
    provider::secret::{KeySecret, parse_key_name},
    settings::{NameKeys, SecretKeys, Section},
};

const NAME: NameKeys = NameKeys { value: "sdk_key", file: "sdk_key_file" };

const SECRET: SecretKeys =
    SecretKeys { file: "sdk_secret_file", env: "sdk_secret_env", value: "sdk_secret" };

/// The claims that can contain the identity: the current one and the sample's.
const IDENTITY_CLAIMS: [&str; 2] = ["user_key", "user_identity"];

/// The own keys of a `zoom-videosdk` profile.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) sdk_key: String,
    pub(super) sdk_secret: KeySecret,
    /// The claim that contains the identity.
    pub(super) identity_claim: &'static str,
}

impl Config {
    /// Reads the kind's keys.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let sdk_key = section.key_name(NAME, parse_key_name);
        let sdk_secret = KeySecret::read(section, SECRET);
        let identity_claim = section.parsed("identity_claim", parse_identity_claim);
        Some(Self {
            sdk_key: sdk_key?,
            sdk_secret: sdk_secret?,
            identity_claim: identity_claim.unwrap_or(IDENTITY_CLAIMS[0]),
        })
    }

    /// The keys for display.
    pub(super) fn keys(&self) -> Vec<(&'static str, Value)> {
        let mut keys = vec![("sdk_key", json!(self.sdk_key))];
        keys.extend(self.sdk_secret.shown());
        keys.push(("identity_claim", json!(self.identity_claim)));
        keys
    }
}

fn parse_identity_claim(text: &str) -> Result<&'static str, &'static str> {
    let known = IDENTITY_CLAIMS.into_iter().find(|claim| *claim == text);
    known.ok_or("must be \"user_key\", or \"user_identity\" for earlier versions of the SDK")
}

//! The kind's own configuration keys.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::{
    provider::{private_key::PrivateKey, secret::parse_key_name},
    settings::{NameKeys, Section},
};

const NAME: NameKeys = NameKeys { value: "key_id", file: "key_id_file" };

/// The own keys of a `cloudflare-stream` profile.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) key_id: String,
    pub(super) private_key: PrivateKey,
}

impl Config {
    /// Reads the kind's keys.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let key_id = section.key_name(NAME, parse_key_name);
        let private_key = PrivateKey::read(section, Algorithm::RS256);
        Some(Self { key_id: key_id?, private_key: private_key? })
    }

    /// The keys for display.
    pub(super) fn keys(&self) -> Vec<(&'static str, Value)> {
        vec![("key_id", json!(self.key_id)), self.private_key.shown()]
    }
}

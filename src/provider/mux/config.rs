//! The kind's own configuration keys.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::{
    provider::{private_key::PrivateKey, secret::parse_key_name},
    settings::{NameKeys, Section},
};

/// The signing algorithm of all Mux tokens.
pub(super) const ALGORITHM: Algorithm = Algorithm::RS256;

const NAME: NameKeys = NameKeys { value: "signing_key_id", file: "signing_key_id_file" };

/// The own keys of a `mux` profile.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) signing_key_id: String,
    pub(super) private_key: PrivateKey,
}

impl Config {
    /// Reads the kind's keys.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let signing_key_id = section.key_name(NAME, parse_key_name);
        let private_key = PrivateKey::read(section, ALGORITHM);
        Some(Self { signing_key_id: signing_key_id?, private_key: private_key? })
    }

    /// The keys for display.
    pub(super) fn keys(&self) -> Vec<(&'static str, Value)> {
        vec![(NAME.value, json!(self.signing_key_id)), self.private_key.shown()]
    }
}

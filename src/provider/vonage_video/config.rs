//! The kind's own configuration keys.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::{provider::private_key::PrivateKey, settings::Section};

/// The own keys of a `vonage-video` profile.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) application_id: String,
    pub(super) private_key: PrivateKey,
}

impl Config {
    /// Reads the kind's keys.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let application_id = section.required("application_id", parse_application_id);
        let private_key = PrivateKey::read(section, Algorithm::RS256);
        Some(Self { application_id: application_id?, private_key: private_key? })
    }

    /// The keys for display.
    pub(super) fn keys(&self) -> Vec<(&'static str, Value)> {
        vec![("application_id", json!(self.application_id)), self.private_key.shown()]
    }
}

fn parse_application_id(text: &str) -> Result<String, &'static str> {
    let is_uuid = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    let id = is_uuid.then(|| text.to_owned());
    id.ok_or("is not an application ID, a UUID; an OpenTok API key, a number, is not supported")
}

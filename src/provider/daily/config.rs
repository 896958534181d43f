//! The kind's own configuration keys.

use serde_json::{Value, json};

use crate::{
    provider::secret::KeySecret,
    settings::{SecretKeys, Section},
};

const SECRET: SecretKeys =
    SecretKeys { file: "api_key_file", env: "api_key_env", value: "api_key" };

/// The own keys of a `daily` profile.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) domain_id: String,
    /// The API key signs as a string, although it looks like hexadecimal digits.
    pub(super) api_key: KeySecret,
}

impl Config {
    /// Reads the kind's keys.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let domain_id = section.required("domain_id", parse_domain_id);
        let api_key = KeySecret::read(section, SECRET);
        Some(Self { domain_id: domain_id?, api_key: api_key? })
    }

    /// The keys for display.
    pub(super) fn keys(&self) -> Vec<(&'static str, Value)> {
        [("domain_id", json!(self.domain_id))].into_iter().chain(self.api_key.shown()).collect()
    }
}

fn parse_domain_id(text: &str) -> Result<String, &'static str> {
    if is_uuid(text) {
        Ok(text.to_owned())
    } else {
        Err(
            "is not a domain ID, a UUID; GET https://api.daily.co/v1/ returns it as domain_id, and \
             it differs from the domain's name",
        )
    }
}

/// Whether a string has the form of a UUID, as all domain IDs in Daily's guides do.
pub(super) fn is_uuid(text: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}

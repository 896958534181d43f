//! The kind's own part of a profile's configuration.

use serde_json::{Value, json};

use crate::settings::{SecretError, SecretKeys, SecretOrigin, Section, SigningSecret};

const SECRET: SecretKeys =
    SecretKeys { file: "api_secret_file", env: "api_secret_env", value: "api_secret" };

/// What a `livekit` profile says beside the keys that all kinds have.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) api_key: String,
    pub(super) api_secret: SigningSecret,
    api_secret_origin: SecretOrigin,
    allow_weak_secret: bool,
}

impl Config {
    /// Reads the kind's keys.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let api_key = section.required("api_key", parse_api_key);
        let allow_weak_secret = section.flag("allow_weak_secret").unwrap_or(false);
        let parse = |text: &str| match SigningSecret::parse(text) {
            Err(_) if allow_weak_secret => {
                SigningSecret::parse_weak(text).map_err(|error| error.to_string())
            }
            Err(error @ (SecretError::TooShort | SecretError::Repeated)) => {
                Err(format!("{error}; a development server's needs allow_weak_secret = true"))
            }
            parsed => parsed.map_err(|error| error.to_string()),
        };
        let secret = section.secret(SECRET, parse);
        let (api_secret, api_secret_origin) = secret?;
        Some(Self { api_key: api_key?, api_secret, api_secret_origin, allow_weak_secret })
    }

    /// The keys as they may be shown: never a secret, only where it is.
    pub(super) fn keys(&self) -> Vec<(&'static str, Value)> {
        let secret = format!("(set, {})", self.api_secret_origin);
        let mut keys = vec![("api_key", json!(self.api_key)), (SECRET.value, json!(secret))];
        if self.allow_weak_secret {
            keys.push(("allow_weak_secret", json!(true)));
        }
        keys
    }
}

fn parse_api_key(text: &str) -> Result<String, &'static str> {
    if (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("is not an API key: up to 256 ASCII characters without white space")
    }
}

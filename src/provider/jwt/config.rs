//! The kind's own configuration keys.

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value, json};

use crate::{
    provider::{
        claims::{Claims, TOKEN_SOURCES},
        header,
        private_key::{self, PrivateKey},
        secret::KeySecret,
    },
    settings::{SecretKeys, Section},
};

const SECRET: SecretKeys = SecretKeys { file: "key_file", env: "key_env", value: "key" };

const ALGORITHMS: [Algorithm; 10] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The key that signs its tokens.
#[derive(Clone, Debug)]
pub(super) enum Key {
    /// An HMAC secret.
    Secret(KeySecret),
    /// A private key, for all other algorithms.
    Private(PrivateKey),
}

impl Key {
    fn read(section: &mut Section<'_>, algorithm: Option<Algorithm>) -> Option<Self> {
        let Some(algorithm) = algorithm else {
            // Which of these keys are valid is unknown.
            for keys in [SECRET, private_key::KEYS] {
                for key in [keys.file, keys.env] {
                    section.has(key);
                }
            }
            return None;
        };
        match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                KeySecret::read(section, SECRET).map(Self::Secret)
            }
            _ => PrivateKey::read(section, algorithm).map(Self::Private),
        }
    }

    fn shown(&self) -> Vec<(&'static str, Value)> {
        match self {
            Self::Secret(secret) => secret.shown().collect(),
            Self::Private(key) => vec![key.shown()],
        }
    }
}

/// The own keys of a `jwt` profile.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) algorithm: Algorithm,
    pub(super) key: Key,
    header: Map<String, Value>,
    no_exp: bool,
    written: Map<String, Value>,
    pub(super) claims: Claims,
}

impl Config {
    /// Reads the kind's keys. The claims are returned even if other keys are invalid.
    pub(super) fn read(section: &mut Section<'_>) -> (Option<Claims>, Option<Self>) {
        let algorithm =
            section.required("alg", |text: &str| header::parse_algorithm(text, &ALGORITHMS));
        let key = Key::read(section, algorithm);
        let header = header::read(section);
        section.note_settings(["header.kid"]);
        let no_exp = section.flag("no_exp").unwrap_or(false);
        let read = read_claims(section, no_exp);
        let claims = read.as_ref().map(|(_, claims)| claims.clone());
        let config = || {
            let (written, claims) = read?;
            Some(Self {
                algorithm: algorithm?,
                key: key?,
                header: header?,
                no_exp,
                written,
                claims,
            })
        };
        (claims, config())
    }

    /// The header of its tokens.
    pub(super) fn header(&self) -> Map<String, Value> {
        header::of(self.algorithm, self.header.clone())
    }

    /// The keys for display. Secrets are replaced by their location.
    pub(super) fn keys(&self) -> Vec<(&'static str, Value)> {
        let mut keys = vec![("alg", json!(header::name(self.algorithm)))];
        keys.extend(self.key.shown());
        if self.no_exp {
            keys.push(("no_exp", json!(true)));
        }
        if !self.header.is_empty() {
            keys.push(("header", json!(self.header)));
        }
        keys.push(("claims", json!(self.written)));
        keys
    }
}

fn read_claims(section: &mut Section<'_>, no_exp: bool) -> Option<(Map<String, Value>, Claims)> {
    let (written, claims) = Claims::read(section, TOKEN_SOURCES)?;
    match (claims.has_end(), no_exp) {
        (false, false) => {
            let needed = "need exp = { from = \"exp\" }, or no_exp = true in the profile: a token \
                          without it is valid indefinitely";
            section.problem("claims", needed);
            None
        }
        (true, true) => {
            section.problem("no_exp", "must be false: the claims have an exp");
            None
        }
        _ => Some((written, claims)),
    }
}

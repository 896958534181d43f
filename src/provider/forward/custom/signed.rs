//! The table `assertion`: the JWT that authenticates the profile.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{Assertion, Secret, SecretKeys, reported};
use crate::{
    provider::{
        claims::{ASSERTION_SOURCES, Claims},
        forward::secret::shown as shown_origin,
        header,
    },
    settings::{Section, shown},
    token::key::JwtKey,
};

/// The private key's keys.
pub(super) const PRIVATE_KEY: SecretKeys =
    SecretKeys { file: "private_key_file", env: "private_key_env", value: "private_key" };

/// HS256 uses the profile's secret.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::HS256];

/// The default life of an assertion, which is used at once.
const DEFAULT_LIFE: Duration = Duration::from_secs(5 * 60);

const MAX_LIFE: Duration = Duration::from_secs(60 * 60);

/// Reads the algorithm, which determines where the key is.
pub(super) fn read_algorithm(signed: &mut Section<'_>) -> Option<Algorithm> {
    signed.required("alg", |text: &str| header::parse_algorithm(text, &ALGORITHMS))
}

/// Reads the rest of the table, and the key.
pub(super) fn read(
    section: &mut Section<'_>,
    mut signed: Section<'_>,
    algorithm: Algorithm,
    secret: Option<&Secret>,
    shown_keys: &mut Vec<(&'static str, Value)>,
) -> Option<Assertion> {
    let least = Duration::from_secs(10);
    let ttl = signed.duration_within("ttl", DEFAULT_LIFE, least..=MAX_LIFE);
    let header = header::read(&mut signed);
    let claims = Claims::read(&mut signed, ASSERTION_SOURCES);
    signed.finish();
    let key = if algorithm == Algorithm::HS256 {
        secret.map(|secret| JwtKey::hmac_of(algorithm, secret.expose().as_bytes()))
    } else {
        section.secret(PRIVATE_KEY, |text| JwtKey::parse_private(text, algorithm)).map(
            |(key, origin)| {
                shown_keys.push((PRIVATE_KEY.value, shown_origin(&origin)));
                key
            },
        )
    };
    let (header, (_, claims), ttl, key) = (header?, claims?, ttl?, key?);
    shown_keys.push(("assertion", json!(format!("{algorithm:?}, for {}", shown(ttl)))));
    let table = claims.table(header::of(algorithm, header));
    reported(section, "assertion", Assertion::new(table, key, ttl))
}

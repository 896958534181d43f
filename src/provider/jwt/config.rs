//! The kind's own part of a profile's configuration.

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value, json};

use super::claims::Claims;
use crate::{
    provider::secret::KeySecret,
    settings::{SecretKeys, Section},
};

const SECRET: SecretKeys = SecretKeys { file: "key_file", env: "key_env", value: "key" };

const ALGORITHMS: [(&str, Algorithm); 3] =
    [("HS256", Algorithm::HS256), ("HS384", Algorithm::HS384), ("HS512", Algorithm::HS512)];

/// What a `jwt` profile says beside the keys that all kinds have.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) algorithm: Algorithm,
    pub(super) key: KeySecret,
    header: Map<String, Value>,
    no_exp: bool,
    written: Map<String, Value>,
    pub(super) claims: Claims,
}

impl Config {
    /// Reads the kind's keys.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let algorithm = section.required("alg", parse_algorithm);
        let key = KeySecret::read(section, SECRET);
        let header = read_header(section);
        let no_exp = section.flag("no_exp").unwrap_or(false);
        let (written, claims) = read_claims(section, no_exp)?;
        Some(Self { algorithm: algorithm?, key: key?, header: header?, no_exp, written, claims })
    }

    /// The header of its tokens.
    pub(super) fn header(&self) -> Map<String, Value> {
        let mut header = self.header.clone();
        header.entry("typ").or_insert_with(|| "JWT".into());
        header.insert("alg".to_owned(), format!("{:?}", self.algorithm).into());
        header
    }

    /// The keys as they may be shown: never a secret, only where it is.
    pub(super) fn keys(&self) -> Vec<(&'static str, Value)> {
        let mut keys = vec![("alg", json!(format!("{:?}", self.algorithm)))];
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

fn parse_algorithm(text: &str) -> Result<Algorithm, String> {
    let known = ALGORITHMS.iter().find(|(name, _)| *name == text);
    known.map(|(_, algorithm)| *algorithm).ok_or_else(|| {
        let names = ALGORITHMS.map(|(name, _)| name).join(", ");
        format!("must be one of {names}")
    })
}

fn read_header(section: &mut Section<'_>) -> Option<Map<String, Value>> {
    if !section.has("header") {
        return Some(Map::new());
    }
    let header: Map<String, Value> = section.deserialized("header")?;
    for (name, why) in [
        ("alg", "is said by alg of the profile"),
        ("b64", "changes what is signed, and cannot be set"),
        ("crit", "names extensions that are not there, and cannot be set"),
    ] {
        if header.contains_key(name) {
            section.problem("header", format!("{name}: {why}"));
            return None;
        }
    }
    Some(header)
}

fn read_claims(section: &mut Section<'_>, no_exp: bool) -> Option<(Map<String, Value>, Claims)> {
    if !section.has("claims") {
        section.problem("claims", "is missing: write a table with what a token says");
        return None;
    }
    let written: Map<String, Value> = section.deserialized("claims")?;
    let claims = match Claims::read(&written) {
        Ok(claims) => claims,
        Err(problems) => {
            for (path, why) in problems {
                section.problem("claims", format!("{}: {why}", path.escape_debug()));
            }
            return None;
        }
    };
    match (claims.has_end(), no_exp) {
        (false, false) => {
            let needed = "need exp = { from = \"exp\" }, or no_exp = true in the profile: a token \
                          without it is good for ever";
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

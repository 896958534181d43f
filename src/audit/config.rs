//! The `[audit]` section.

use std::{fmt, path::PathBuf};

use super::identities::{Identities, IdentityKey};
use crate::settings::{KeyFiles, SecretKeys, SecretOrigin, Section, SigningSecret};

/// The keys that locate the key for hashing identities.
const KEY: SecretKeys =
    SecretKeys { file: "identity_key_file", env: "identity_key_env", value: "identity_key" };

/// The audit log's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where records go.
    pub target: Target,
    /// How identities are written.
    pub identities: Identities,
    /// What happens when records cannot be queued.
    pub when_full: WhenFull,
    /// Where the key came from, if there is one.
    pub key_origin: Option<SecretOrigin>,
    /// The files and settings that the key is read from.
    pub key_files: KeyFiles,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file or a pipe.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// What happens when records cannot be queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Records are dropped and counted.
    #[default]
    Drop,
    /// Nothing is minted.
    Refuse,
}

/// The values of `identities`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IdentityMode {
    None,
    Hashed,
    Clear,
}

const STDOUT: &str = "stdout";

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Stdout => f.write_str(STDOUT),
        }
    }
}

impl Target {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "" => Err(r#"is empty: name a file, or "stdout""#),
            STDOUT => Ok(Self::Stdout),
            path => Ok(Self::File(path.into())),
        }
    }
}

impl WhenFull {
    /// The value in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Refuse => "refuse",
        }
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let all = [Self::Drop, Self::Refuse];
        all.into_iter().find(|it| it.as_str() == text).ok_or(r#"must be "drop" or "refuse""#)
    }
}

impl IdentityMode {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "none" => Ok(Self::None),
            "hashed" => Ok(Self::Hashed),
            "clear" => Ok(Self::Clear),
            _ => Err(r#"must be "none", "hashed" or "clear""#),
        }
    }
}

impl Config {
    /// Reads the section.
    pub fn read(section: &mut Section<'_>) -> Option<Self> {
        let target = section.required("file", Target::parse);
        let mode = section.parsed("identities", IdentityMode::parse);
        let when_full = section.parsed("when_full", WhenFull::parse).unwrap_or_default();
        let has_key = section.has(KEY.file) || section.has(KEY.env);
        let key = if has_key { read_key(section) } else { refuse_key(section) };
        let identities = match (mode, key.as_ref().map(|(key, _)| key.clone())) {
            (None | Some(IdentityMode::Hashed), Some(key)) => Identities::hashed(key),
            (Some(IdentityMode::Hashed), None) => {
                if !has_key {
                    let missing = "needs identity_key_file: without a key, anyone with the log \
                                   could find an identity by hashing guesses";
                    section.problem("identities", missing);
                }
                return None;
            }
            (Some(IdentityMode::Clear), _) => Identities::Clear,
            (None | Some(IdentityMode::None), _) => Identities::None,
        };
        section.finish();
        let key_origin = key.map(|(_, origin)| origin);
        let key_files = section.key_files().clone();
        Some(Self { target: target?, identities, when_full, key_origin, key_files })
    }

    /// Reads only the key, if identities are hashed with one.
    pub fn read_any_key(section: &mut Section<'_>) -> Option<IdentityKey> {
        let mode = section.parsed("identities", IdentityMode::parse);
        let is_hashed = matches!(mode, None | Some(IdentityMode::Hashed));
        let has_key = section.has(KEY.file) || section.has(KEY.env);
        (has_key && is_hashed).then(|| Self::read_key(section))?
    }

    /// Reads only the key, which is required.
    pub fn read_key(section: &mut Section<'_>) -> Option<IdentityKey> {
        read_key(section).map(|(key, _)| key)
    }
}

fn read_key(section: &mut Section<'_>) -> Option<(IdentityKey, SecretOrigin)> {
    let (secret, origin) = section.secret(KEY, SigningSecret::parse)?;
    Some((IdentityKey::new(&secret), origin))
}

fn refuse_key<T>(section: &mut Section<'_>) -> Option<T> {
    section.refuse(
        KEY.value,
        "must not be in this file: set identity_key_file to the path of a file that holds it",
    );
    None
}

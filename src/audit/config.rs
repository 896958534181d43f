//! `[audit]`.

use std::{fmt, path::PathBuf};

use super::identities::{Identities, IdentityKey};
use crate::settings::{KeyFiles, SecretKeys, SecretOrigin, Section, SigningSecret};

/// Where the key is that identities are hashed with.
const KEY: SecretKeys =
    SecretKeys { file: "identity_key_file", env: "identity_key_env", value: "identity_key" };

/// The settings of the audit log.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where records go.
    pub target: Target,
    /// How identities are written.
    pub identities: Identities,
    /// What happens where records cannot be kept.
    pub when_full: WhenFull,
    /// Where the key came from, where there is one.
    pub key_origin: Option<SecretOrigin>,
    /// What the key is read from.
    pub key_files: KeyFiles,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To a file, or a pipe.
    File(PathBuf),
    /// To standard output.
    Stdout,
}

/// What happens where records cannot be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// They are dropped, and counted.
    #[default]
    Drop,
    /// Nothing is minted.
    Refuse,
}

/// The values of `identities`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
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
    /// As the configuration names it.
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

impl Written {
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
        let written = section.parsed("identities", Written::parse);
        let when_full = section.parsed("when_full", WhenFull::parse).unwrap_or_default();
        let has_key = section.has(KEY.file) || section.has(KEY.env);
        let key = if has_key { read_key(section) } else { refuse_key(section) };
        let identities = match (written, key.as_ref().map(|(key, _)| key.clone())) {
            (None | Some(Written::Hashed), Some(key)) => Identities::hashed(key),
            (Some(Written::Hashed), None) => {
                if !has_key {
                    let missing = "needs identity_key_file: whoever has the log could find an \
                                   identity by trying, if it were hashed without a key";
                    section.problem("identities", missing);
                }
                return None;
            }
            (Some(Written::Clear), _) => Identities::Clear,
            (None | Some(Written::None), _) => Identities::None,
        };
        section.finish();
        let key_origin = key.map(|(_, origin)| origin);
        let key_files = section.key_files().clone();
        Some(Self { target: target?, identities, when_full, key_origin, key_files })
    }

    /// Reads the key alone, where identities are hashed with one.
    pub fn read_any_key(section: &mut Section<'_>) -> Option<IdentityKey> {
        let written = section.parsed("identities", Written::parse);
        let is_hashed = matches!(written, None | Some(Written::Hashed));
        let has_key = section.has(KEY.file) || section.has(KEY.env);
        (has_key && is_hashed).then(|| Self::read_key(section))?
    }

    /// Reads the key alone, which must be there.
    pub fn read_key(section: &mut Section<'_>) -> Option<IdentityKey> {
        read_key(section).map(|(key, _)| key)
    }
}

fn read_key(section: &mut Section<'_>) -> Option<(IdentityKey, SecretOrigin)> {
    let (secret, origin) = section.secret(KEY, SigningSecret::parse)?;
    Some((IdentityKey::new(&secret), origin))
}

fn refuse_key<T>(section: &mut Section<'_>) -> Option<T> {
    section.refuse(KEY.value, "a secret is never a value in this file: name its file");
    None
}

//! A provider's secret as shown in its console. It is sent, never used for signing.

use secrecy::{ExposeSecret, SecretString};

use crate::settings::{SecretKeys, SecretOrigin, Section, text};

/// Why a string is not a secret. It never holds the string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SecretError {
    /// It is empty.
    #[error("is empty")]
    Empty,
    /// It is quoted.
    #[error("is in quotes, which would be part of it: write it without quotes")]
    Quoted,
    /// White space, control characters or invisible characters.
    #[error("contains white space or an invisible character: write it on one line, as issued")]
    Invisible,
}

/// A secret that is sent to the upstream. Its `Debug` hides it, and it is zeroed on drop.
#[derive(Clone, Debug)]
pub(super) struct Secret(SecretString);

impl Secret {
    /// Parses a secret and trims white space.
    ///
    /// # Errors
    ///
    /// It is empty, or does not look like a secret.
    pub(super) fn parse(text: &str) -> Result<Self, SecretError> {
        let text = text.trim_start_matches('\u{feff}').trim();
        let never = |it: char| it.is_control() || it.is_whitespace() || text::is_invisible(it);
        if text.is_empty() {
            Err(SecretError::Empty)
        } else if text::is_quoted(text) {
            Err(SecretError::Quoted)
        } else if text.contains(never) {
            Err(SecretError::Invisible)
        } else {
            Ok(Self(text.into()))
        }
    }

    /// Reads the secret under these keys, with its location.
    pub(super) fn read(
        section: &mut Section<'_>,
        keys: SecretKeys,
    ) -> Option<(Self, SecretOrigin)> {
        section.secret(keys, Self::parse)
    }

    /// The secret.
    pub(super) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A secret for display: its location.
pub(super) fn shown(origin: &SecretOrigin) -> serde_json::Value {
    format!("(set, {origin})").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_accepted_as_issued() {
        for good in ["k", "p@ss:w/rd+1~=\"x", "\u{feff} key \r\n"] {
            let secret = Secret::parse(good).unwrap();
            assert_eq!(secret.expose(), good.trim_matches(['\u{feff}', ' ', '\r', '\n']));
            assert!(!format!("{secret:?}").contains(secret.expose()), "{secret:?}");
        }
        for (bad, error) in [
            ("", SecretError::Empty),
            (" \n", SecretError::Empty),
            ("\"key\"", SecretError::Quoted),
            ("two words", SecretError::Invisible),
            ("a\nb", SecretError::Invisible),
            ("a\u{200b}b", SecretError::Invisible),
        ] {
            assert_eq!(Secret::parse(bad).err(), Some(error), "{bad:?}");
        }
    }
}

//! Signing secrets, and the texts refused as such.

use secrecy::{ExposeSecret, SecretString};

use super::text;

/// The minimum bytes of a signing secret: HS256 requires as many as its hash has (RFC 7518, 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// Why a secret is refused. Does not contain the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It is empty.
    #[error("is empty")]
    Empty,
    /// It is too short for HS256.
    #[error("is shorter than {MIN_SECRET_BYTES} bytes, the minimum for HS256")]
    TooShort,
    /// It is one repeated character.
    #[error("is one repeated character")]
    Repeated,
    /// It is in quotes.
    #[error("is in quotes, which would become part of it: remove them")]
    Quoted,
    /// It is a line of an env file.
    #[error("looks like NAME=value: write only the value")]
    Assignment,
    /// It contains white space, control characters or invisible characters.
    #[error("contains white space or an invisible character: write it on one line, as issued")]
    Invisible,
    /// It contains a character that keys do not have: a placeholder, JSON, or a trailing comma.
    #[error("contains a character that no signing secret has: write only the value, as issued")]
    Foreign,
}

/// Characters that no secret begins or ends with.
const QUOTES: [char; 7] = ['"', '\'', '`', '“', '”', '‘', '’'];

/// Whether a text is a line of an env file: inside a secret, `=` occurs only at the end.
fn is_assignment(text: &str) -> bool {
    let text = text.strip_prefix("export ").unwrap_or(text);
    text.trim_end_matches('=').split_once('=').is_some_and(|(name, _)| {
        let of_name = |it: char| it.is_ascii_alphanumeric() || it == '_';
        !name.is_empty() && name.trim_end().chars().all(of_name)
    })
}

/// Whether a character occurs in base64, base64url or hexadecimal, or is plain punctuation that
/// some keys contain.
const fn is_of_secret(character: char) -> bool {
    character.is_ascii_alphanumeric()
        || matches!(character, '+' | '/' | '=' | '_' | '.' | '~' | '-')
}

/// A signing secret as a provider's key page shows it. `Debug` prints nothing of it, and it is
/// zeroed on drop.
#[derive(Clone, Debug)]
pub struct SigningSecret(SecretString);

impl SigningSecret {
    /// Parses a secret suitable for signing, ignoring surrounding white space.
    ///
    /// # Errors
    ///
    /// It is too weak, or does not look like a secret.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let secret = Self::parse_weak(text)?;
        let mut characters = secret.expose().chars();
        let first = characters.next();
        if secret.expose().len() < MIN_SECRET_BYTES {
            return Err(SecretError::TooShort);
        }
        if characters.all(|character| Some(character) == first) {
            return Err(SecretError::Repeated);
        }
        Ok(secret)
    }

    /// Parses a secret that may be weak, as those of development servers are.
    ///
    /// # Errors
    ///
    /// It is empty, or does not look like a secret.
    pub fn parse_weak(text: &str) -> Result<Self, SecretError> {
        let text = text.trim_start_matches('\u{feff}').trim();
        if is_assignment(text) {
            return Err(SecretError::Assignment);
        }
        if text.starts_with(QUOTES) || text.ends_with(QUOTES) {
            return Err(SecretError::Quoted);
        }
        let never = |it: char| it.is_control() || it.is_whitespace() || text::is_invisible(it);
        if text.contains(never) {
            return Err(SecretError::Invisible);
        }
        if !text.chars().all(is_of_secret) || text.trim_end_matches('=').contains('=') {
            return Err(SecretError::Foreign);
        }
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        Ok(Self(text.into()))
    }

    /// The text whose bytes sign. It is never decoded, even if it looks encoded.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_or_malformed_secret_is_refused() {
        assert_eq!(SigningSecret::parse(" \n").unwrap_err(), SecretError::Empty);
        let good = "ab".repeat(16);
        for (text, error) in [
            (format!("\"{good}\""), SecretError::Quoted),
            (format!("\u{feff}'{good}'\r\n"), SecretError::Quoted),
            (format!("\"{good}"), SecretError::Quoted),
            (format!("“{good}”"), SecretError::Quoted),
            (format!("API_SECRET={good}"), SecretError::Assignment),
            (format!("export API_SECRET='{good}'"), SecretError::Assignment),
            (format!("SECRET={good}"), SecretError::Assignment),
            (format!("api_secret = {good}"), SecretError::Assignment),
            (format!("API_SECRET:{good}"), SecretError::Foreign),
            (format!("{{\"secret\":\"{good}\"}}"), SecretError::Foreign),
            (format!("${{API_SECRET_{good}}}"), SecretError::Foreign),
            (format!("<{good}>"), SecretError::Foreign),
            (format!("{good},"), SecretError::Foreign),
            (format!("{good}\\n"), SecretError::Foreign),
            (format!("{good}\n{good}"), SecretError::Invisible),
            (format!("{good}\u{e0021}"), SecretError::Foreign),
            (format!("{good}\u{200b}"), SecretError::Invisible),
            (format!("{good}\0"), SecretError::Invisible),
        ] {
            assert_eq!(SigningSecret::parse(&text).err(), Some(error), "{text:?}");
        }
        let marked = SigningSecret::parse(&format!("\u{feff}\u{feff}{good}==\r\n"));
        assert_eq!(marked.map(|it| it.expose().len()).ok(), Some(34));
        assert_eq!(SigningSecret::parse(&"ab".repeat(15)).unwrap_err(), SecretError::TooShort);
        assert!(SigningSecret::parse_weak("secret").is_ok(), "LiveKit's own for development");
        assert_eq!(SigningSecret::parse_weak("").unwrap_err(), SecretError::Empty);
        assert_eq!(SigningSecret::parse(&"a".repeat(32)).unwrap_err(), SecretError::Repeated);
        assert_eq!(
            SigningSecret::parse(&format!("{}\n", "ab".repeat(16))).unwrap().expose().len(),
            32
        );
    }

    #[test]
    fn debug_output_contains_no_secret() {
        let secret = SigningSecret::parse("q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxC").unwrap();
        assert!(!format!("{secret:?} {secret:#?}").contains("q1W2"));
    }
}

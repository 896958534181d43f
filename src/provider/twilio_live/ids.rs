//! Twilio's identifiers (SIDs) and the API key's secret, parsed at the door.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use crate::settings::text;

/// A text that is not a SID of the kind asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not {prefix} followed by 32 hexadecimal digits")]
pub struct SidError {
    prefix: &'static str,
}

/// `twilio_media_v1.json` takes either hex case, Twilio writes the lower one: that is kept, so
/// that one thing has one name.
fn parse_sid(text: &str, prefix: &'static str) -> Result<String, SidError> {
    let digits = text.strip_prefix(prefix).ok_or(SidError { prefix })?;
    if digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(format!("{prefix}{}", digits.to_ascii_lowercase()))
    } else {
        Err(SidError { prefix })
    }
}

macro_rules! sid {
    ($name:ident, $prefix:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// Takes a text of the right form, in either hex case.
            pub fn parse(text: &str) -> Result<Self, SidError> {
                parse_sid(text, $prefix).map(Self)
            }

            /// The SID as text, its digits in lower case.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether `text` names the same thing: hex case does not count.
            #[must_use]
            pub fn is(&self, text: &str) -> bool {
                self.0.eq_ignore_ascii_case(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

sid!(AccountSid, "AC", "An account's SID.");
sid!(ApiKeySid, "SK", "An API key's SID.");
sid!(PlayerStreamerSid, "VJ", "A `PlayerStreamer`'s SID.");

/// Least bytes of a signing secret: HS256 asks for as many as its hash has (RFC 7518, 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// A secret that nobody should sign with. It never holds the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nothing in it.
    #[error("is empty")]
    Empty,
    /// Too short for HS256.
    #[error("has under {MIN_SECRET_BYTES} bytes, too few to sign HS256 with")]
    TooShort,
    /// One character, repeated.
    #[error("is one repeated character")]
    Repeated,
    /// In quotes.
    #[error("is in quotes, which would be part of it: write it without")]
    Quoted,
    /// A line of an env file.
    #[error("looks like NAME=value: write the value alone")]
    Assignment,
    /// White space, control characters or characters that cannot be seen inside.
    #[error(
        "holds white space or a character that cannot be seen: write it on one line, as it was given"
    )]
    Invisible,
    /// Not as keys are made: a placeholder, JSON, or a mark behind it.
    #[error("holds a character that no key's secret has: write the value alone, as it was given")]
    Foreign,
}

/// What no secret begins or ends with.
const QUOTES: [char; 7] = ['"', '\'', '`', '“', '”', '‘', '’'];

/// Whether a text is a line of an env file: within a secret, `=` is only at the end.
fn is_assignment(text: &str) -> bool {
    let text = text.strip_prefix("export ").unwrap_or(text);
    text.trim_end_matches('=').split_once('=').is_some_and(|(name, _)| {
        let of_name = |it: char| it.is_ascii_alphanumeric() || it == '_';
        !name.is_empty() && name.trim_end().chars().all(of_name)
    })
}

/// Whether a character is one of base64, base64url or hexadecimal digits, or plain punctuation
/// that some keys hold.
const fn is_of_secret(character: char) -> bool {
    character.is_ascii_alphanumeric()
        || matches!(character, '+' | '/' | '=' | '_' | '.' | '~' | '-')
}

/// An API key's secret: it signs tokens and asks for grants. Its `Debug` is silent, and it is
/// zeroed on drop.
#[derive(Clone, Debug)]
pub struct ApiKeySecret(SecretString);

impl ApiKeySecret {
    /// Takes a secret fit to sign with, white space around it apart.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
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
        let mut characters = text.chars();
        let first = characters.next().ok_or(SecretError::Empty)?;
        if text.len() < MIN_SECRET_BYTES {
            return Err(SecretError::TooShort);
        }
        if characters.all(|character| character == first) {
            return Err(SecretError::Repeated);
        }
        Ok(Self(text.into()))
    }

    /// The raw bytes that sign: Twilio never decodes the text.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sid_is_its_prefix_and_32_hexadecimal_digits() {
        let digits = "0123456789abcdefABCDEF0123456789";
        let sid = AccountSid::parse(&format!("AC{digits}")).unwrap();
        assert_eq!(sid.as_str(), "AC0123456789abcdefabcdef0123456789", "it has one form");
        assert!(sid.is(&format!("AC{digits}")));
        let forms =
            [format!("SK{digits}"), format!("AC{digits}0"), format!("ac{digits}"), digits.into()];
        let spaced = [format!(" AC{digits}"), format!("AC{digits}\n"), format!("AC {digits}")];
        for bad in forms.iter().chain(&spaced).map(String::as_str).chain(["", "AC"]) {
            assert_eq!(AccountSid::parse(bad), Err(SidError { prefix: "AC" }), "{bad}");
        }
        assert!(AccountSid::parse(&format!("AC{}", "g".repeat(32))).is_err());
    }

    #[test]
    fn a_secret_too_weak_to_sign_with_is_refused() {
        assert_eq!(ApiKeySecret::parse(" \n").unwrap_err(), SecretError::Empty);
        let good = "ab".repeat(16);
        for (text, error) in [
            (format!("\"{good}\""), SecretError::Quoted),
            (format!("\u{feff}'{good}'\r\n"), SecretError::Quoted),
            (format!("\"{good}"), SecretError::Quoted),
            (format!("“{good}”"), SecretError::Quoted),
            (format!("TWILIO_SECRET={good}"), SecretError::Assignment),
            (format!("export TWILIO_SECRET='{good}'"), SecretError::Assignment),
            (format!("SECRET={good}"), SecretError::Assignment),
            (format!("twilio_secret = {good}"), SecretError::Assignment),
            (format!("TWILIO_SECRET:{good}"), SecretError::Foreign),
            (format!("{{\"secret\":\"{good}\"}}"), SecretError::Foreign),
            (format!("${{TWILIO_SECRET_{good}}}"), SecretError::Foreign),
            (format!("<{good}>"), SecretError::Foreign),
            (format!("{good},"), SecretError::Foreign),
            (format!("{good}\\n"), SecretError::Foreign),
            (format!("{good}\n{good}"), SecretError::Invisible),
            (format!("{good}\u{e0021}"), SecretError::Foreign),
            (format!("{good}\u{200b}"), SecretError::Invisible),
            (format!("{good}\0"), SecretError::Invisible),
        ] {
            assert_eq!(ApiKeySecret::parse(&text).err(), Some(error), "{text:?}");
        }
        let marked = ApiKeySecret::parse(&format!("\u{feff}\u{feff}{good}==\r\n"));
        assert_eq!(marked.map(|it| it.expose().len()).ok(), Some(34));
        assert_eq!(ApiKeySecret::parse(&"ab".repeat(15)).unwrap_err(), SecretError::TooShort);
        assert_eq!(ApiKeySecret::parse(&"a".repeat(32)).unwrap_err(), SecretError::Repeated);
        assert_eq!(
            ApiKeySecret::parse(&format!("{}\n", "ab".repeat(16))).unwrap().expose().len(),
            32
        );
    }

    #[test]
    fn a_secret_does_not_print() {
        let secret = ApiKeySecret::parse("q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxC").unwrap();
        assert!(!format!("{secret:?} {secret:#?}").contains("q1W2"));
    }
}

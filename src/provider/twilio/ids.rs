//! Twilio's identifiers (SIDs) and the API key's secret.

use std::fmt;

use crate::settings::SigningSecret;

/// A string that is not a SID of the expected type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not {prefix} followed by 32 hexadecimal digits")]
pub struct SidError {
    prefix: &'static str,
}

/// `twilio_media_v1.json` accepts either hex case, and Twilio writes lower case. The result is in
/// lower case, so that equal SIDs are equal strings.
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
            /// Parses a SID, in either hex case.
            pub fn parse(text: &str) -> Result<Self, SidError> {
                parse_sid(text, $prefix).map(Self)
            }

            /// The SID, with its digits in lower case.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether `text` is the same SID, ignoring hex case.
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

/// An API key's secret: it signs tokens and requests grants.
pub type ApiKeySecret = SigningSecret;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sid_is_its_prefix_and_32_hexadecimal_digits() {
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
}

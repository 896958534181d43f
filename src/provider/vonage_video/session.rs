//! Session IDs: a version, and base64url of fields separated by `~`.
//!
//! Source: how `opentok` for Node parses an ID.

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::name::{NameError, Resource};

/// The prefixes of IDs.
const VERSIONS: [&str; 2] = ["1_", "2_"];

/// Some known IDs end within a byte.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Parses a session ID.
pub(super) fn parse(text: &str) -> Result<Resource, NameError> {
    if !is_id(text) {
        return Err(NameError::NotOfItsKind(
            "is not a session ID: 1_ or 2_ followed by ASCII letters, digits, - and _, as returned \
             by Vonage's API",
        ));
    }
    Resource::parse(text)
}

/// Whether a string has the form of a session ID.
pub(super) fn is_id(text: &str) -> bool {
    rest(text).is_some_and(|rest| {
        rest.len() > 8
            && rest.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_'))
    })
}

/// The application ID or OpenTok API key in a session ID, if any.
pub(super) fn owner(id: &str) -> Option<String> {
    let fields = LENIENT.decode(rest(id)?).ok()?;
    let fields = str::from_utf8(&fields).ok()?;
    fields.split('~').nth(1).filter(|owner| !owner.is_empty()).map(str::to_owned)
}

fn rest(id: &str) -> Option<&str> {
    VERSIONS.iter().find_map(|version| id.strip_prefix(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_AN_APPLICATION: &str = "2_MX5hYmNkZWYwMS0yMzQ1LTY3ODktYWJjZC1lZjAxMjM0NTY3ODl-fjE3MDAwMDAwMDAwMDB-dGVzdHNlc3Npb25-fg";

    #[test]
    fn id_contains_the_sessions_owner() {
        let application = Some("abcdef01-2345-6789-abcd-ef0123456789");
        assert_eq!(owner(OF_AN_APPLICATION).as_deref(), application);
        let of_a_project = "1_MX40NTY3ODkwMX5-MTcwMDAwMDAwMDAwMH50ZXN0c2Vzc2lvbn5-";
        assert_eq!(owner(of_a_project).as_deref(), Some("45678901"));
        for other in ["", "1_", "3_MX40NQ", "1_~", "1_MX4"] {
            assert_eq!(owner(other), None, "{other}");
        }
    }

    #[test]
    fn other_forms_are_not_ids() {
        assert!(parse(OF_AN_APPLICATION).is_ok());
        for other in
            ["", "lobby", "2_", "2_short", "3_MX40NTY3ODkwMX5", "2_MX40NTY3OD kwMX5", "T1=="]
        {
            assert!(parse(other).is_err(), "{other}");
        }
    }
}

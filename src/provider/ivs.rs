//! The shared parts of the Amazon IVS kinds: ARNs, and the algorithm of keys.
//!
//! Source: the ARN patterns in the API references of Amazon IVS.

use jsonwebtoken::Algorithm;

use crate::reading::{Jwt, Reading};

/// The signing algorithm of all IVS tokens.
pub(super) const ALGORITHM: Algorithm = Algorithm::ES384;

/// The length of an account number.
const ACCOUNT_DIGITS: usize = 12;

/// An ARN of IVS: `arn:aws:ivs:REGION:ACCOUNT:TYPE/ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arn<'a> {
    pub(super) region: &'a str,
    pub(super) account: &'a str,
    /// The resource type, such as `channel`.
    pub(super) resource_type: &'a str,
}

impl<'a> Arn<'a> {
    /// Parses an ARN.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (region, account, resource_type) = parts(text)?;
        let arn = Self { region, account, resource_type };
        (is_region(region) && is_account(account)).then_some(arn)
    }
}

/// Whether it would be an ARN with region and account swapped, as in a sample of the guide.
pub(super) fn is_swapped(text: &str) -> bool {
    parts(text).is_some_and(|(account, region, _)| is_region(region) && is_account(account))
}

/// Warns of any other algorithm.
pub(super) fn note_algorithm(token: &Jwt, reading: &mut Reading) {
    if token.algorithm().is_some_and(|algorithm| algorithm != "ES384") {
        reading.warn("alg", "is not ES384, which IVS requires");
    }
}

fn parts(text: &str) -> Option<(&str, &str, &str)> {
    let (region, rest) = text.strip_prefix("arn:aws:ivs:")?.split_once(':')?;
    let (account, rest) = rest.split_once(':')?;
    let (resource_type, id) = rest.split_once('/')?;
    let of_id = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (!id.is_empty() && id.bytes().all(of_id)).then_some((region, account, resource_type))
}

/// Whether a string is a region's name, such as `us-west-2`.
pub(super) fn is_region(text: &str) -> bool {
    let of_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.len() <= 32
        && text.bytes().all(of_region)
}

/// Whether a string is an account number.
pub(super) fn is_account(text: &str) -> bool {
    text.len() == ACCOUNT_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arn_is_parsed_whole_or_not_at_all() {
        let good = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGhIjKl";
        let arn = Arn { region: "us-west-2", account: "123456789012", resource_type: "channel" };
        assert_eq!(Arn::parse(good), Some(arn));
        for bad in [
            "",
            "AbCdEfGhIjKl",
            "arn:aws:ivs:us-west-2:123456789012:channel/",
            "arn:aws:ivs:us-west-2:123456789012:channel/a/b",
            "arn:aws:ivs:us-west-2:123456789012:channel/a b",
            "arn:aws:ivs:us-west-2:123456789012:channel",
            "arn:aws:ivs:us-west-2:12345678901:channel/a",
            "arn:aws:ivs:us-west-2::channel/a",
            "arn:aws:ivs::123456789012:channel/a",
            "arn:aws:ivs:US-WEST-2:123456789012:channel/a",
            "arn:aws:s3:us-west-2:123456789012:channel/a",
            " arn:aws:ivs:us-west-2:123456789012:channel/a",
            "arn:aws:ivs:123456789012:us-west-2:channel/a",
        ] {
            assert_eq!(Arn::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn swapped_region_and_account_are_detected() {
        assert!(is_swapped("arn:aws:ivs:123456789012:us-west-2:public-key/a"));
        assert!(!is_swapped("arn:aws:ivs:us-west-2:123456789012:public-key/a"));
        assert!(!is_swapped("public-key/a"));
    }
}

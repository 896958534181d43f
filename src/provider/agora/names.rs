//! The valid names of channels and users, from the comments of `agora-token`.

use crate::name::{IdentityForm, NameError, Resource};

/// Names of channels, and of Signaling and Chat users, have fewer bytes than this.
const CHANNEL_BYTES: usize = 64;

/// The longest RTC user account in bytes.
const MAX_ACCOUNT: usize = 255;

/// The symbols allowed in names besides letters, digits and spaces.
const SYMBOLS: &str = "!#$%&()+-:;<=.>?@[]^_{}|~,";

/// Users identified by number. 0 would mean any user.
pub(super) const UID: IdentityForm = IdentityForm {
    wanted: "is not an Agora uid: a whole number from 1 to 4294967295 without leading zeros; 0 \
             would mean any user",
    fits: is_uid,
};

/// RTC users identified by name.
pub(super) const ACCOUNT: IdentityForm = IdentityForm {
    wanted: "is not an Agora user account: at most 255 ASCII letters, digits, spaces and symbols \
             except quotes, * / \\ and `, and not only zeros, which would mean any user",
    fits: |text| is_account(text, MAX_ACCOUNT),
};

/// Signaling and Chat users.
pub(super) const SHORT_ACCOUNT: IdentityForm = IdentityForm {
    wanted: "is not a user of Agora's Signaling and Chat: fewer than 64 ASCII letters, digits, \
             spaces and symbols except quotes, * / \\ and `, no leading space, and not only zeros",
    fits: |text| is_account(text, CHANNEL_BYTES - 1) && !text.starts_with(' '),
};

/// A channel's name, unchanged: Agora is case-sensitive.
pub(super) fn parse_channel(text: &str) -> Result<Resource, NameError> {
    if text.len() >= CHANNEL_BYTES || !text.chars().all(is_taken) {
        return Err(NameError::NotOfItsKind(
            "is not a channel name: fewer than 64 ASCII letters, digits, spaces and symbols except \
             quotes, * / \\ and `",
        ));
    }
    Resource::parse(text)
}

fn is_uid(text: &str) -> bool {
    text.bytes().all(|it| it.is_ascii_digit())
        && !text.starts_with('0')
        && text.parse::<u32>().is_ok()
}

fn is_account(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
        && text.chars().all(is_taken)
        && text.bytes().any(|it| it != b'0')
}

fn is_taken(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == ' ' || SYMBOLS.contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uid_is_a_positive_number() {
        for uid in ["1", "42", "2882341273", "4294967295"] {
            assert!((UID.fits)(uid), "{uid}");
        }
        for other in
            ["", "0", "00", "01", "+1", "-1", "1.0", "1e3", "4294967296", "alice", "\u{661}"]
        {
            assert!(!(UID.fits)(other), "{other}");
        }
    }

    #[test]
    fn names_have_agoras_characters_and_lengths() {
        let all = "Aa0 !#$%&()+-:;<=.>?@[]^_{}|~,";
        assert!((ACCOUNT.fits)(all) && (SHORT_ACCOUNT.fits)(all) && parse_channel(all).is_ok());
        for other in ["a/b", "a*", "*", "a\\b", "a\"b", "a'b", "a`b", "zo\u{eb}", "a\tb"] {
            assert!(!(ACCOUNT.fits)(other) && !(SHORT_ACCOUNT.fits)(other), "{other}");
            assert!(parse_channel(other).is_err(), "{other}");
        }
        for any_user in ["", "0", "000"] {
            assert!(!(ACCOUNT.fits)(any_user) && !(SHORT_ACCOUNT.fits)(any_user), "{any_user}");
        }
        assert!((ACCOUNT.fits)("007") && !(SHORT_ACCOUNT.fits)(" a"));
        assert!((ACCOUNT.fits)(&"a".repeat(255)) && !(ACCOUNT.fits)(&"a".repeat(256)));
        assert!((SHORT_ACCOUNT.fits)(&"a".repeat(63)) && !(SHORT_ACCOUNT.fits)(&"a".repeat(64)));
        assert!(parse_channel(&"a".repeat(63)).is_ok() && parse_channel(&"a".repeat(64)).is_err());
        assert!(parse_channel("").is_err());
    }
}

//! Names of callers that authenticate with bearer tokens.

use std::{fmt, sync::Arc};

use super::NameError;

/// Prefixes and names with another meaning.
const RESERVED: [&str; 5] = ["dns", "uid", "spiffe", "loopback", "plaintext"];

/// The maximum length of a subject in bytes.
const MAX_SUBJECT: usize = 256;

/// The name of an issuer of bearer tokens: `[a-z][a-z0-9-]{0,62}`, except reserved words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerName(Arc<str>);

impl IssuerName {
    /// Parses a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_valid = text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(of_name)
            && text.len() <= 63
            && !RESERVED.contains(&text);
        if is_valid { Ok(Self(text.into())) } else { Err(NameError::Issuer) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IssuerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The subject of a bearer token: 1 to 256 bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject(Arc<str>);

impl Subject {
    /// Parses a subject.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let is_valid = (1..=MAX_SUBJECT).contains(&text.len()) && !text.contains(char::is_control);
        if is_valid { Ok(Self(text.into())) } else { Err(NameError::Subject) }
    }

    /// The subject.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A subject authenticated by an issuer: `ISSUER:SUBJECT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Issued {
    /// The issuer's name in the configuration.
    pub issuer: IssuerName,
    /// The `sub` claim.
    pub subject: Subject,
}

impl Issued {
    /// Parses a name from a configuration or a command line.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (issuer, subject) = text.split_once(':').ok_or(NameError::Form)?;
        let issuer = IssuerName::parse(issuer).map_err(|_| NameError::Form)?;
        Ok(Self { issuer, subject: Subject::parse(subject)? })
    }
}

impl fmt::Display for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.issuer, self.subject.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::name::CallerName;

    #[test]
    fn reserved_and_malformed_issuer_names_are_refused() {
        for good in ["cluster", "a", "okta-2"] {
            assert_eq!(IssuerName::parse(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(64);
        for bad in [
            "dns",
            "uid",
            "spiffe",
            "loopback",
            "plaintext",
            "",
            "A",
            "1a",
            "-a",
            "a_b",
            "a:b",
            "a b",
            "ä",
            &long,
        ] {
            assert_eq!(IssuerName::parse(bad), Err(NameError::Issuer), "{bad}");
        }
    }

    #[test]
    fn subject_is_short_and_has_no_control_characters() {
        assert!(Subject::parse(&"a".repeat(256)).is_ok());
        for bad in ["", &"a".repeat(257), "a\nb", "a\u{7f}", "\u{85}"] {
            assert_eq!(Subject::parse(bad), Err(NameError::Subject), "{bad:?}");
        }
    }

    #[test]
    fn issued_names_are_distinct_from_other_kinds() {
        let text = "cluster:system:serviceaccount:media:api";
        let CallerName::Issued(name) = CallerName::parse(text).unwrap() else { panic!() };
        assert_eq!(name.issuer.as_str(), "cluster");
        assert_eq!(name.subject.as_str(), "system:serviceaccount:media:api");
        assert_eq!(name.to_string(), text);
        let url = CallerName::parse("okta:https://id.example.org/a").unwrap();
        assert!(matches!(url, CallerName::Issued(_)));
        assert!(matches!(CallerName::parse("dns:a.svc"), Ok(CallerName::Dns(_))));
        assert!(matches!(CallerName::parse("spiffe://d/a"), Ok(CallerName::Spiffe(_))));
        for other in ["uid:root", "cluster", "Cluster:a", "spiffe:a", ":a", ""] {
            assert!(CallerName::parse(other).is_err(), "{other}");
        }
        assert_eq!(CallerName::parse("cluster:"), Err(NameError::Subject));
    }
}

//! Caller names.

mod issued;

use std::{fmt, sync::Arc};

pub use self::issued::{Issued, IssuerName, Subject};
use crate::listen::unix::OVERFLOW_UID;

/// A caller's name. Its kind follows from how the caller was authenticated and is never parsed from
/// a string.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CallerName {
    /// The SPIFFE ID in its certificate.
    Spiffe(SpiffeId),
    /// A DNS name in its certificate.
    Dns(DnsName),
    /// The user ID of the peer process on a Unix socket.
    Uid(Uid),
    /// The subject of its bearer token.
    Issued(Issued),
    /// Any client of a plaintext listener on loopback.
    Loopback,
    /// Any client of a plaintext listener behind a mesh.
    Plaintext,
}

impl CallerName {
    /// Parses a name from a configuration or a command line. Never used for data from a peer.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text {
            "loopback" => Ok(Self::Loopback),
            "plaintext" => Ok(Self::Plaintext),
            _ if is_of_spiffe(text) => Ok(Self::Spiffe(SpiffeId::parse(text)?)),
            _ => match text.split_once(':') {
                Some(("dns", name)) => Ok(Self::Dns(DnsName::parse(name)?)),
                Some(("uid", id)) => Ok(Self::Uid(Uid::parse(id)?)),
                _ => Ok(Self::Issued(Issued::parse(text)?)),
            },
        }
    }
}

/// Whether a string starts like a SPIFFE ID, valid or not.
pub(super) fn is_of_spiffe(text: &str) -> bool {
    text.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME))
}

impl fmt::Display for CallerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spiffe(id) => f.write_str(id.as_str()),
            Self::Dns(name) => write!(f, "dns:{}", name.as_str()),
            Self::Uid(Uid(id)) => write!(f, "uid:{id}"),
            Self::Issued(name) => name.fmt(f),
            Self::Loopback => f.write_str("loopback"),
            Self::Plaintext => f.write_str("plaintext"),
        }
    }
}

/// Why a string is not a caller name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a valid SPIFFE ID.
    #[error("is not a SPIFFE ID: write spiffe://DOMAIN/PATH")]
    Spiffe,
    /// Not a valid DNS name, or a wildcard.
    #[error("is not a DNS name")]
    Dns,
    /// Not a user ID, or the ID that stands for all unknown users.
    #[error(
        "is not a user ID: write uid:1001; uid:{OVERFLOW_UID} stands for users that the kernel cannot \
         identify"
    )]
    Uid,
    /// An invalid issuer name, or a reserved one.
    #[error(
        "is not of the form [a-z][a-z0-9-]{{0,62}}, or is dns, uid, spiffe, loopback or plaintext"
    )]
    Issuer,
    /// An invalid bearer token subject.
    #[error("has a subject that is not 1 to 256 bytes without control characters")]
    Subject,
    /// Not in any of the supported forms.
    #[error(
        "is not a caller name: write spiffe://DOMAIN/PATH, dns:NAME, ISSUER:SUBJECT, uid:N, \
         loopback or plaintext"
    )]
    Form,
}

/// A SPIFFE ID with a path: `spiffe://DOMAIN/PATH`
/// (<https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md>).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    domain: std::ops::Range<usize>,
}

const SCHEME: &str = "spiffe://";

/// The maximum length of a SPIFFE ID in bytes.
const MAX_ID: usize = 2_048;

/// The maximum length of a trust domain in bytes.
const MAX_DOMAIN: usize = 255;

impl SpiffeId {
    /// Parses an ID. The scheme may be in any case.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (scheme, rest) = text.split_at_checked(SCHEME.len()).ok_or(NameError::Spiffe)?;
        let (domain, path) = rest.split_once('/').ok_or(NameError::Spiffe)?;
        let is_valid = text.len() <= MAX_ID
            && scheme.eq_ignore_ascii_case(SCHEME)
            && is_trust_domain(domain)
            && path.split('/').all(is_path_segment);
        if !is_valid {
            return Err(NameError::Spiffe);
        }
        let domain = SCHEME.len()..SCHEME.len() + domain.len();
        Ok(Self { text: format!("{SCHEME}{rest}").into(), domain })
    }

    /// The whole ID.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.text.get(self.domain.clone()).unwrap_or_default()
    }
}

/// Whether a string is a valid trust domain.
#[must_use]
pub fn is_trust_domain(text: &str) -> bool {
    let of_domain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
    };
    (1..=MAX_DOMAIN).contains(&text.len()) && text.bytes().all(of_domain)
}

fn is_path_segment(text: &str) -> bool {
    let of_segment = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !matches!(text, "" | "." | "..") && text.bytes().all(of_segment)
}

/// A DNS name in lower case, never a wildcard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsName(Arc<str>);

impl DnsName {
    /// Parses a name in any case.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let is_label = |label: &str| {
            let of_label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            (1..=63).contains(&label.len())
                && label.bytes().all(of_label)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() > 253 || !text.split('.').all(is_label) {
            return Err(NameError::Dns);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A user ID, as the kernel reports it for the peer of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Uid(u32);

impl Uid {
    /// Parses a decimal ID.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let is_canonical = text == "0" || !text.starts_with('0');
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let id = text.parse().ok().filter(|_| is_canonical && digits);
        id.and_then(|id| Self::of_peer(id, OVERFLOW_UID)).ok_or(NameError::Uid)
    }

    /// The ID of a peer; `None` for `overflow`, the ID that the kernel reports for users it cannot
    /// identify.
    #[must_use]
    pub fn of_peer(id: u32, overflow: u32) -> Option<Self> {
        // The largest value means "no user" to the system.
        (![overflow, OVERFLOW_UID, u32::MAX].contains(&id)).then_some(Self(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spiffe_id_follows_the_standard() {
        let id = SpiffeId::parse("SPIFFE://prod.example.org/ns/media/sa/Api").unwrap();
        assert_eq!(id.as_str(), "spiffe://prod.example.org/ns/media/sa/Api");
        assert_eq!(id.trust_domain(), "prod.example.org");
        for bad in [
            "",
            "spiffe://",
            "spiffe://prod.example.org",
            "spiffe://prod.example.org/",
            "spiffe:///path",
            "spiffe://Prod.example.org/a",
            "spiffe://prod.example.org/a//b",
            "spiffe://prod.example.org/a/",
            "spiffe://prod.example.org/./a",
            "spiffe://prod.example.org/a/..",
            "spiffe://prod.example.org:80/a",
            "spiffe://user@prod.example.org/a",
            "spiffe://prod.example.org/a?b",
            "spiffe://prod.example.org/a%20b",
            "spiffe://prod.example.org/a*",
            "https://prod.example.org/a",
            "spiffé://prod.example.org/a",
        ] {
            assert_eq!(SpiffeId::parse(bad), Err(NameError::Spiffe), "{bad}");
        }
        assert!(SpiffeId::parse(&format!("spiffe://d/{}", "a".repeat(2_037))).is_ok());
        assert!(SpiffeId::parse(&format!("spiffe://d/{}", "a".repeat(2_038))).is_err());
        assert!(SpiffeId::parse(&format!("spiffe://{}/a", "d".repeat(256))).is_err());
    }

    #[test]
    fn dns_name_is_case_insensitive_and_not_a_wildcard() {
        assert_eq!(DnsName::parse("Api.Media.SVC").unwrap().as_str(), "api.media.svc");
        for bad in ["", "*.media.svc", "a..b", ".a", "a.", "-a", "a-", "a b", "1.2.3.4/5", "ä"] {
            assert_eq!(DnsName::parse(bad), Err(NameError::Dns), "{bad}");
        }
        assert!(DnsName::parse(&format!("{}.a", "a".repeat(64))).is_err());
    }

    #[test]
    fn uid_must_identify_a_single_user() {
        let parsed = |text| CallerName::parse(text).map(|name| name.to_string());
        for good in ["uid:0", "uid:1001", "uid:4294967294"] {
            assert_eq!(parsed(good).as_deref(), Ok(good));
        }
        for bad in [
            "uid:",
            "uid:-1",
            "uid:+1",
            "uid:01",
            "uid: 1",
            "uid:root",
            "uid:0x10",
            "uid:65534",
            "uid:4294967295",
            "uid:4294967296",
        ] {
            assert_eq!(parsed(bad), Err(NameError::Uid), "{bad}");
        }
        assert_eq!(Uid::of_peer(1_001, 65_534), Some(Uid(1_001)));
        for (id, overflow) in [(65_534, 65_534), (65_534, 60_000), (60_000, 60_000)] {
            assert_eq!(Uid::of_peer(id, overflow), None, "{id} {overflow}");
        }
    }
}

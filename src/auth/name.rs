//! The name that a caller goes by.

mod issued;

use std::{fmt, sync::Arc};

pub use self::issued::{Issued, IssuerName, Subject};
use crate::listen::unix::OVERFLOW_UID;

/// A caller's one name. Its sort is stated by how it was authenticated and never read back out
/// of a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CallerName {
    /// The SPIFFE ID of its certificate.
    Spiffe(SpiffeId),
    /// A DNS name of its certificate.
    Dns(DnsName),
    /// The user of a process at the other end of a Unix socket.
    Uid(Uid),
    /// The subject of its bearer token.
    Issued(Issued),
    /// Whoever comes over a plaintext listener that is bound to loopback.
    Loopback,
    /// Whoever comes over a plaintext listener behind a mesh.
    Plaintext,
}

impl CallerName {
    /// Takes a name as a person writes it, in a configuration or on a command line. What a peer
    /// says of itself never comes this way.
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

/// Whether a text is meant as a SPIFFE ID, right or wrong.
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

/// A text that names no caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A SPIFFE ID that breaks a rule of the standard.
    #[error("is no SPIFFE ID: write spiffe://DOMAIN/PATH")]
    Spiffe,
    /// A DNS name that is none, or a wildcard.
    #[error("is no DNS name")]
    Dns,
    /// A number that is the id of no user, or the one that stands for all unknown ones.
    #[error(
        "is no user's id: write uid:1001; uid:{OVERFLOW_UID} stands for users that the kernel cannot \
         name"
    )]
    Uid,
    /// An issuer's name of another form, or one that stands for another sort of caller.
    #[error(
        "is not of the form [a-z][a-z0-9-]{{0,62}}, or is dns, uid, spiffe, loopback or plaintext"
    )]
    Issuer,
    /// A bearer's subject that is empty, long or not printable.
    #[error("has a subject that is not 1 to 256 bytes without control characters")]
    Subject,
    /// Of no sort that there is.
    #[error(
        "names no caller: write spiffe://DOMAIN/PATH, dns:NAME, ISSUER:SUBJECT, uid:N, \
         loopback or plaintext"
    )]
    Sort,
}

/// A SPIFFE ID with a path: `spiffe://DOMAIN/PATH`
/// (<https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md>).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    domain: std::ops::Range<usize>,
}

const SCHEME: &str = "spiffe://";

/// Bytes of a SPIFFE ID.
const LONGEST_ID: usize = 2_048;

/// Bytes of a trust domain.
const LONGEST_DOMAIN: usize = 255;

impl SpiffeId {
    /// Takes an ID as a certificate has it. The scheme may be written in any case.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (scheme, rest) = text.split_at_checked(SCHEME.len()).ok_or(NameError::Spiffe)?;
        let (domain, path) = rest.split_once('/').ok_or(NameError::Spiffe)?;
        let fine = text.len() <= LONGEST_ID
            && scheme.eq_ignore_ascii_case(SCHEME)
            && is_trust_domain(domain)
            && path.split('/').all(is_path_segment);
        if !fine {
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

    /// Its trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.text.get(self.domain.clone()).unwrap_or_default()
    }
}

/// Whether a text is the name of a trust domain.
#[must_use]
pub fn is_trust_domain(text: &str) -> bool {
    let of_domain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
    };
    (1..=LONGEST_DOMAIN).contains(&text.len()) && text.bytes().all(of_domain)
}

fn is_path_segment(text: &str) -> bool {
    let of_segment = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !matches!(text, "" | "." | "..") && text.bytes().all(of_segment)
}

/// A DNS name in lower case, never a wildcard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsName(Arc<str>);

impl DnsName {
    /// Takes a name in any case.
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

/// The id of a user, as the kernel says it of a Unix socket's peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Uid(u32);

impl Uid {
    /// Takes an id in decimal digits.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let is_canonical = text == "0" || !text.starts_with('0');
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let id = text.parse().ok().filter(|_| is_canonical && digits);
        id.and_then(|id| Self::of_peer(id, OVERFLOW_UID)).ok_or(NameError::Uid)
    }

    /// The id of a peer; none for the one that the kernel tells of every user that it cannot
    /// name, `overflow`.
    #[must_use]
    pub fn of_peer(id: u32, overflow: u32) -> Option<Self> {
        // The last number means "none" to the system.
        (![overflow, OVERFLOW_UID, u32::MAX].contains(&id)).then_some(Self(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_follows_the_standard() {
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
    fn a_dns_name_is_compared_without_regard_to_case_and_is_no_wildcard() {
        assert_eq!(DnsName::parse("Api.Media.SVC").unwrap().as_str(), "api.media.svc");
        for bad in ["", "*.media.svc", "a..b", ".a", "a.", "-a", "a-", "a b", "1.2.3.4/5", "ä"] {
            assert_eq!(DnsName::parse(bad), Err(NameError::Dns), "{bad}");
        }
        assert!(DnsName::parse(&format!("{}.a", "a".repeat(64))).is_err());
    }

    #[test]
    fn a_user_is_named_by_an_id_that_stands_for_one_user() {
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

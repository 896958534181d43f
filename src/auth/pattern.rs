//! Patterns of caller names, for `match`.

use std::fmt;

use super::name::{CallerName, DnsName, IssuerName, NameError, SpiffeId, is_of_spiffe};

/// A caller's name, or a pattern whose fixed part is long enough to avoid accidental matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CallerPattern {
    /// Exactly this name.
    Exact(CallerName),
    /// `spiffe://DOMAIN/SEGMENT…/*`: IDs with a longer path. Holds the part before the `*`.
    SpiffeBelow(String),
    /// `dns:*.REST`: names with one more label. Holds the rest with its leading dot.
    DnsLabel(String),
    /// `ISSUER:START:*` or `ISSUER:START/*`: longer subjects. `start` is the part of the subject
    /// before the `*`.
    IssuedBelow {
        /// The issuer.
        issuer: IssuerName,
        /// The start of the subject.
        start: String,
    },
}

/// Why a string is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not a valid name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A `*` in an unsupported position.
    #[error(
        "has a misplaced *: write spiffe://DOMAIN/PATH/*, dns:*.PARENT.DOMAIN, \
         ISSUER:START:* or ISSUER:START/*"
    )]
    Star,
    /// Would match all subjects of an issuer.
    #[error("would match all subjects of the issuer: add the start of the subject")]
    WholeIssuer,
    /// Would match a whole trust domain.
    #[error("would match a whole trust domain: add at least one path segment before the *")]
    WholeTrustDomain,
    /// Would match a whole top-level domain.
    #[error("would match a whole top-level domain: add at least two labels after the *")]
    WholeTopLevelDomain,
}

impl CallerPattern {
    /// Parses a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if let Some(rest) = text.strip_prefix("dns:*.") {
            let rest = DnsName::parse(rest)?;
            if !rest.as_str().contains('.') {
                return Err(PatternError::WholeTopLevelDomain);
            }
            return Ok(Self::DnsLabel(format!(".{}", rest.as_str())));
        }
        if let Some(below) = text.strip_suffix("/*").filter(|below| is_of_spiffe(below)) {
            if below.split_once("://").is_none_or(|(_, it)| !it.contains('/')) {
                return Err(PatternError::WholeTrustDomain);
            }
            let below = SpiffeId::parse(below).map_err(|_| PatternError::Star)?;
            return Ok(Self::SpiffeBelow(format!("{}/", below.as_str())));
        }
        if let Some((issuer, rest)) = text.split_once(':')
            && let Ok(issuer) = IssuerName::parse(issuer)
            && let Some(start) = rest.strip_suffix('*')
        {
            return match start {
                "" | ":" | "/" => Err(PatternError::WholeIssuer),
                _ if start.contains('*') || !start.ends_with([':', '/']) => Err(PatternError::Star),
                _ => Ok(Self::IssuedBelow { issuer, start: start.to_owned() }),
            };
        }
        if text.contains('*') {
            return Err(PatternError::Star);
        }
        Ok(Self::Exact(CallerName::parse(text)?))
    }

    /// Whether the pattern matches a name.
    #[must_use]
    pub fn matches(&self, name: &CallerName) -> bool {
        match (self, name) {
            (Self::Exact(exact), name) => exact == name,
            (Self::SpiffeBelow(below), CallerName::Spiffe(id)) => id.as_str().starts_with(below),
            (Self::DnsLabel(rest), CallerName::Dns(name)) => {
                let label = name.as_str().strip_suffix(rest.as_str());
                label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
            }
            (Self::IssuedBelow { issuer, start }, CallerName::Issued(name)) => {
                let rest = name.subject.as_str().strip_prefix(start.as_str());
                *issuer == name.issuer && rest.is_some_and(|rest| !rest.is_empty())
            }
            (Self::SpiffeBelow(_) | Self::DnsLabel(_) | Self::IssuedBelow { .. }, _) => false,
        }
    }

    /// The length of the fixed part in bytes. If several patterns match, the longest fixed part
    /// wins.
    #[must_use]
    pub fn fixed(&self) -> usize {
        match self {
            Self::Exact(_) => usize::MAX,
            Self::SpiffeBelow(fixed) | Self::DnsLabel(fixed) => fixed.len(),
            Self::IssuedBelow { issuer, start } => issuer.as_str().len() + 1 + start.len(),
        }
    }

    /// The issuer in the pattern, if any.
    #[must_use]
    pub const fn issuer(&self) -> Option<&IssuerName> {
        match self {
            Self::Exact(CallerName::Issued(name)) => Some(&name.issuer),
            Self::IssuedBelow { issuer, .. } => Some(issuer),
            _ => None,
        }
    }
}

impl fmt::Display for CallerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::SpiffeBelow(below) => write!(f, "{below}*"),
            Self::DnsLabel(rest) => write!(f, "dns:*{rest}"),
            Self::IssuedBelow { issuer, start } => write!(f, "{issuer}:{start}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        CallerPattern::parse(pattern).unwrap().matches(&CallerName::parse(name).unwrap())
    }

    #[test]
    fn pattern_matches_whole_segments_and_one_label() {
        for (pattern, name, expected) in [
            ("spiffe://a.org/ns/media/*", "spiffe://a.org/ns/media/sa/api", true),
            ("spiffe://a.org/ns/media/*", "spiffe://a.org/ns/media", false),
            ("spiffe://a.org/ns/media/*", "spiffe://a.org/ns/mediaplayer/sa/api", false),
            ("spiffe://a.org/ns/*", "spiffe://b.org/ns/media", false),
            ("spiffe://a.org/ns", "spiffe://a.org/ns", true),
            ("spiffe://a.org/ns", "spiffe://a.org/ns/media", false),
            ("dns:*.media.svc", "dns:API.media.svc", true),
            ("dns:*.Media.svc", "dns:a.b.media.svc", false),
            ("dns:*.media.svc", "dns:media.svc", false),
            ("dns:*.media.svc", "dns:xmedia.svc", false),
            (
                "cluster:system:serviceaccount:media:*",
                "cluster:system:serviceaccount:media:api",
                true,
            ),
            (
                "cluster:system:serviceaccount:media:*",
                "cluster:system:serviceaccount:media2:api",
                false,
            ),
            (
                "cluster:system:serviceaccount:media:*",
                "cluster:system:serviceaccount:media:",
                false,
            ),
            (
                "cluster:system:serviceaccount:media:*",
                "other:system:serviceaccount:media:api",
                false,
            ),
            ("okta:https://id.example.org/*", "okta:https://id.example.org/a/b", true),
            ("cluster:spiffe://a.org/ns/*", "spiffe://a.org/ns/media", false),
            ("dns:loopback.svc", "loopback", false),
            ("loopback", "loopback", true),
            ("loopback", "plaintext", false),
            ("uid:1001", "uid:1001", true),
            ("uid:100", "uid:1001", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn overly_broad_patterns_are_refused() {
        for (pattern, error) in [
            ("*", PatternError::Star),
            ("dns:*", PatternError::Star),
            ("spiffe://*", PatternError::Star),
            ("spiffe://a.org/ns/me*", PatternError::Star),
            ("spiffe://a.org/*/sa/api", PatternError::Star),
            ("spiffe://*.org/ns/*", PatternError::Star),
            ("dns:a*.media.svc", PatternError::Star),
            ("uid:*", PatternError::Star),
            ("uid:10*", PatternError::Star),
            ("spiffe://a.org/*", PatternError::WholeTrustDomain),
            ("SPIFFE://a.org/*", PatternError::WholeTrustDomain),
            ("dns:*.svc", PatternError::WholeTopLevelDomain),
            ("dns:*.", PatternError::Name(NameError::Dns)),
            ("uid:65534", PatternError::Name(NameError::Uid)),
            ("Gid:0", PatternError::Name(NameError::Form)),
            ("cluster:*", PatternError::WholeIssuer),
            ("cluster::*", PatternError::WholeIssuer),
            ("cluster:/*", PatternError::WholeIssuer),
            ("cluster:media*", PatternError::Star),
            ("cluster:*:media:*", PatternError::Star),
            ("", PatternError::Name(NameError::Form)),
        ] {
            assert_eq!(CallerPattern::parse(pattern), Err(error), "{pattern}");
        }
    }
}

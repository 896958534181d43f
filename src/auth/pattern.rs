//! The patterns of callers' names in `match`.

use std::fmt;

use super::name::{CallerName, DnsName, IssuerName, NameError, SpiffeId, is_of_spiffe};

/// A caller's name, or a pattern of names whose fixed part is long enough that it cannot mean
/// anybody by accident.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CallerPattern {
    /// This name.
    Exact(CallerName),
    /// `spiffe://DOMAIN/SEGMENT…/*`: the IDs whose path goes on after that. Holds the part
    /// before the `*`.
    SpiffeBelow(String),
    /// `dns:*.REST`: the names of one more label than the rest. Holds the rest with its dot.
    DnsLabel(String),
    /// `ISSUER:START:*` or `ISSUER:START/*`: the subjects that go on after that. `start` holds
    /// the part of the subject before the `*`.
    IssuedBelow {
        /// The issuer.
        issuer: IssuerName,
        /// How the subject begins.
        start: String,
    },
}

/// Why a text is no pattern of callers' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not of the form of a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A `*` in a place where it has no meaning.
    #[error(
        "has a * in a place where none may be: write spiffe://DOMAIN/PATH/*, dns:*.PARENT.DOMAIN, \
         ISSUER:START:* or ISSUER:START/*"
    )]
    Star,
    /// All subjects of an issuer.
    #[error("would match all that an issuer vouches for: name the start of the subject")]
    WholeIssuer,
    /// A whole trust domain.
    #[error("would match a whole trust domain: name one path segment at least before the *")]
    WholeTrustDomain,
    /// A whole top-level domain.
    #[error("would match a whole top-level domain: name two labels at least after the *")]
    WholeTopLevelDomain,
}

impl CallerPattern {
    /// Takes a pattern as a person writes it.
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

    /// Whether a name is of this pattern.
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

    /// How much of a name it fixes, in bytes: of two patterns that match, the one that fixes
    /// more decides.
    #[must_use]
    pub fn fixed(&self) -> usize {
        match self {
            Self::Exact(_) => usize::MAX,
            Self::SpiffeBelow(fixed) | Self::DnsLabel(fixed) => fixed.len(),
            Self::IssuedBelow { issuer, start } => issuer.as_str().len() + 1 + start.len(),
        }
    }

    /// The issuer that it names, if it names one.
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
    fn a_pattern_matches_whole_segments_and_one_label() {
        for (pattern, name, meant) in [
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
            assert_eq!(matches(pattern, name), meant, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_never_means_anybody_by_accident() {
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
            ("Gid:0", PatternError::Name(NameError::Sort)),
            ("cluster:*", PatternError::WholeIssuer),
            ("cluster::*", PatternError::WholeIssuer),
            ("cluster:/*", PatternError::WholeIssuer),
            ("cluster:media*", PatternError::Star),
            ("cluster:*:media:*", PatternError::Star),
            ("", PatternError::Name(NameError::Sort)),
        ] {
            assert_eq!(CallerPattern::parse(pattern), Err(error), "{pattern}");
        }
    }
}

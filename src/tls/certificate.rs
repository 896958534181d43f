//! Strict certificate parsing. rustls and webpki skip names that they cannot parse, and accept
//! wildcards. A caller's name must be unambiguous.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_cert::{
    Certificate,
    der::{Decode, asn1::Ia5String},
    ext::pkix::{BasicConstraints, SubjectAltName, name::GeneralName},
    time::Time,
};

use super::cause::Cause;
use crate::{
    auth::name::{CallerName, DnsName, SpiffeId},
    clock::WallTime,
};

/// The maximum number of characters of an unverified name in the log.
const MAX_LOGGED_CLAIM: usize = 256;

/// The maximum number of DNS names in a certificate, not counting wildcards: each is looked up for
/// each call.
pub(super) const MAX_NAMES: usize = 32;

/// The validity period of a certificate or a revocation list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The start.
    pub start: WallTime,
    /// The end; `None` for a revocation list without a next update.
    pub end: Option<WallTime>,
}

/// The names in a certificate that can identify its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// The only URI.
    Spiffe(SpiffeId),
    /// The DNS names: at least one, and no wildcards.
    Dns(DnsName, Vec<DnsName>),
}

impl Names {
    /// The first name and the others.
    pub(super) fn into_callers(self) -> (CallerName, Vec<CallerName>) {
        match self {
            Self::Spiffe(id) => (CallerName::Spiffe(id), Vec::new()),
            Self::Dns(first, others) => {
                (CallerName::Dns(first), others.into_iter().map(CallerName::Dns).collect())
            }
        }
    }
}

/// A certificate with well-formed DER.
pub(super) struct ParsedCertificate(Certificate);

impl ParsedCertificate {
    pub(super) fn new(der: &CertificateDer<'_>) -> Result<Self, Cause> {
        Certificate::from_der(der).map(Self).map_err(|_| Cause::Malformed)
    }

    pub(super) fn validity(&self) -> Validity {
        let validity = &self.0.tbs_certificate.validity;
        Validity { start: wall(validity.not_before), end: Some(wall(validity.not_after)) }
    }

    /// The subject, formatted for logs.
    pub(super) fn subject(&self) -> String {
        self.0.tbs_certificate.subject.to_string()
    }

    /// The issuer, formatted for display.
    pub(super) fn issuer(&self) -> String {
        self.0.tbs_certificate.issuer.to_string().escape_debug().to_string()
    }

    /// Whether it names the holder of another certificate as its issuer.
    pub(super) fn names_as_issuer(&self, issuer: &Self) -> bool {
        self.0.tbs_certificate.issuer == issuer.0.tbs_certificate.subject
    }

    /// Its DNS names, IP addresses and URIs, formatted for display.
    pub(super) fn shown_names(&self) -> Vec<String> {
        let shown = |name: &GeneralName| match name {
            GeneralName::DnsName(name) => Some(name.to_string()),
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
            GeneralName::IpAddress(bytes) => address(bytes.as_bytes()),
            _ => None,
        };
        let all = self.alternative_names().unwrap_or_default();
        all.iter().filter_map(shown).map(|name| name.escape_debug().to_string()).collect()
    }

    /// Whether it is a CA certificate by its own `basicConstraints`
    /// (<https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.9>).
    pub(super) fn is_authority(&self) -> bool {
        let constraints = self.0.tbs_certificate.get::<BasicConstraints>();
        constraints.is_ok_and(|found| found.is_some_and(|(_, it)| it.ca))
    }

    /// Whether it has a DNS name or IP address, by which ordinary clients verify a server.
    pub(super) fn names_a_host(&self) -> bool {
        let names = self.alternative_names().unwrap_or_default();
        names.iter().any(|it| matches!(it, GeneralName::DnsName(_) | GeneralName::IpAddress(_)))
    }

    /// The names of its holder: its SPIFFE ID if it has a URI, else its DNS names. The subject's
    /// common name is never used.
    pub(super) fn names(&self) -> Result<Names, Cause> {
        let all = self.alternative_names()?;
        let mut uris = all.iter().filter_map(|name| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri),
            _ => None,
        });
        if let Some(uri) = uris.next() {
            if uris.next().is_some() {
                return Err(Cause::SeveralNames);
            }
            return SpiffeId::parse(uri.as_str()).map(Names::Spiffe).map_err(|_| Cause::NoName);
        }
        let mut names = Vec::new();
        for name in &all {
            if let GeneralName::DnsName(name) = name
                && !is_wildcard(name)
            {
                if names.len() == MAX_NAMES {
                    return Err(Cause::Malformed);
                }
                names.push(DnsName::parse(name.as_str()).map_err(|_| Cause::Malformed)?);
            }
        }
        if names.is_empty() {
            return Err(Cause::NoName);
        }
        let first = names.remove(0);
        Ok(Names::Dns(first, names))
    }

    /// The claimed name for logs: an alternative name if there is one, else the subject.
    pub(super) fn claim(&self) -> String {
        let all = self.alternative_names().unwrap_or_default();
        let shown = |name: &GeneralName| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
            GeneralName::DnsName(name) => Some(format!("dns:{name}")),
            _ => None,
        };
        let uri = all.iter().find(|it| matches!(it, GeneralName::UniformResourceIdentifier(_)));
        let claim = uri.or_else(|| all.first()).and_then(shown).unwrap_or_else(|| self.subject());
        claim.escape_debug().take(MAX_LOGGED_CLAIM).collect()
    }

    fn alternative_names(&self) -> Result<Vec<GeneralName>, Cause> {
        // Fails if this extension occurs twice or an entry cannot be parsed.
        let found = self.0.tbs_certificate.get::<SubjectAltName>();
        let found = found.map_err(|_| Cause::Malformed)?;
        Ok(found.map_or_else(Vec::new, |(_, SubjectAltName(names))| names))
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|it| IpAddr::from(it).to_string());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|it| IpAddr::from(it).to_string())).ok()
}

fn is_wildcard(name: &Ia5String) -> bool {
    name.as_str().contains('*')
}

pub(super) fn wall(time: Time) -> WallTime {
    let seconds = time.to_unix_duration().as_secs();
    WallTime::from_unix_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}

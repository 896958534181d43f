//! A certificate as it is read here. rustls and webpki skip the names that they cannot read,
//! and answer for wildcards; a caller's name must be beyond doubt.

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

/// The most characters of a name that is logged before anybody vouches for it.
const LONGEST_CLAIM: usize = 256;

/// The most DNS names of one certificate, wildcards aside: each is looked up at each call.
pub(super) const MOST_NAMES: usize = 32;

/// When a certificate or a revocation list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From then.
    pub start: WallTime,
    /// Until then; none of a revocation list without a next one.
    pub end: Option<WallTime>,
}

/// The name or names that a certificate gives its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Its only URI.
    Spiffe(SpiffeId),
    /// Its DNS names; at least one, none a wildcard.
    Dns(DnsName, Vec<DnsName>),
}

impl Names {
    /// The first name, and the others.
    pub(super) fn into_callers(self) -> (CallerName, Vec<CallerName>) {
        match self {
            Self::Spiffe(id) => (CallerName::Spiffe(id), Vec::new()),
            Self::Dns(first, others) => {
                (CallerName::Dns(first), others.into_iter().map(CallerName::Dns).collect())
            }
        }
    }
}

/// A certificate whose DER is sound.
pub(super) struct Read(Certificate);

impl Read {
    pub(super) fn new(der: &CertificateDer<'_>) -> Result<Self, Cause> {
        Certificate::from_der(der).map(Self).map_err(|_| Cause::Malformed)
    }

    pub(super) fn validity(&self) -> Validity {
        let validity = &self.0.tbs_certificate.validity;
        Validity { start: wall(validity.not_before), end: Some(wall(validity.not_after)) }
    }

    /// Its subject, as logs show it.
    pub(super) fn subject(&self) -> String {
        self.0.tbs_certificate.subject.to_string()
    }

    /// Whether it may issue others: what it says of itself, as `basicConstraints`
    /// (<https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.9>).
    pub(super) fn is_authority(&self) -> bool {
        let constraints = self.0.tbs_certificate.get::<BasicConstraints>();
        constraints.is_ok_and(|found| found.is_some_and(|(_, it)| it.ca))
    }

    /// Whether ordinary clients can verify it as a server's: by DNS name or address.
    pub(super) fn names_a_host(&self) -> bool {
        let names = self.alternative_names().unwrap_or_default();
        names.iter().any(|it| matches!(it, GeneralName::DnsName(_) | GeneralName::IpAddress(_)))
    }

    /// What its holder is called: its SPIFFE ID where it has a URI, else its DNS names. The
    /// subject's common name never counts.
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
                if names.len() == MOST_NAMES {
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

    /// The name that it claims, for logs: what it is called where anything is, else its subject.
    pub(super) fn claim(&self) -> String {
        let all = self.alternative_names().unwrap_or_default();
        let told = |name: &GeneralName| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
            GeneralName::DnsName(name) => Some(format!("dns:{name}")),
            _ => None,
        };
        let uri = all.iter().find(|it| matches!(it, GeneralName::UniformResourceIdentifier(_)));
        let claim = uri.or_else(|| all.first()).and_then(told).unwrap_or_else(|| self.subject());
        claim.escape_debug().take(LONGEST_CLAIM).collect()
    }

    fn alternative_names(&self) -> Result<Vec<GeneralName>, Cause> {
        // Fails where there are two of this extension, or one entry cannot be read.
        let found = self.0.tbs_certificate.get::<SubjectAltName>();
        let found = found.map_err(|_| Cause::Malformed)?;
        Ok(found.map_or_else(Vec::new, |(_, SubjectAltName(names))| names))
    }
}

fn is_wildcard(name: &Ia5String) -> bool {
    name.as_str().contains('*')
}

pub(super) fn wall(time: Time) -> WallTime {
    let seconds = time.to_unix_duration().as_secs();
    WallTime::from_unix_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}

//! Whom the server trusts: authorities for DNS names, and one bundle for each trust domain.

use std::{collections::BTreeMap, ptr, sync::Arc};

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime, pem::PemObject};
use webpki::{
    EndEntityCert, KeyUsage, RevocationOptions, anchor_from_trusted_cert, spki_for_anchor,
};

use super::{
    cause::Cause,
    certificate::{Names, Read, Validity},
    provider,
    revocation::{Issuer, List, Revocation, WhenExpired},
};
use crate::{auth::name::CallerName, clock::WallTime};

/// What the files of this group hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// `client_ca`'s.
    pub client_ca: Option<Vec<u8>>,
    /// `client_crl`'s.
    pub client_crl: Option<Vec<u8>>,
    /// Each trust domain's bundle.
    pub trust_domains: BTreeMap<String, Vec<u8>>,
}

/// Why the authorities cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct TrustError {
    /// The key of the configuration.
    pub key: &'static str,
    /// Why, in words that follow it.
    pub why: String,
}

/// Whom the server trusts: built as a whole from files, and never changed.
#[derive(Debug)]
pub struct Trust {
    dns: Option<Authorities>,
    domains: BTreeMap<String, Authorities>,
    revocation: Revocation,
}

#[derive(Debug)]
struct Authorities {
    anchors: Vec<TrustAnchor<'static>>,
    certificates: Vec<(String, Validity)>,
}

/// A client that proved its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its name; of several DNS names the first.
    pub name: CallerName,
    /// Its other DNS names.
    pub also: Vec<CallerName>,
    /// When the first certificate of its chain ends.
    pub end: WallTime,
}

/// A client whose certificate is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub cause: Cause,
    /// The name that it claims, as far as it can be read.
    pub claim: String,
}

impl Trust {
    /// Reads the contents of the files.
    pub fn new(contents: &Contents, when_expired: WhenExpired) -> Result<Self, TrustError> {
        let of = |key| move |why| TrustError { key, why };
        let dns = contents.client_ca.as_deref().map(Authorities::read).transpose();
        let dns = dns.map_err(of("client_ca"))?;
        let revocation = match (&contents.client_crl, &dns) {
            (Some(pem), Some(dns)) => Revocation::new(pem, &dns.anchors, when_expired),
            _ => Ok(Revocation::none()),
        };
        let domains = contents.trust_domains.iter().map(|(domain, pem)| {
            let authorities = Authorities::read(pem);
            let authorities = authorities.map_err(|why| format!("{domain}: its file {why}"));
            Ok((domain.clone(), authorities.map_err(of("trust_domains"))?))
        });
        Ok(Self {
            dns,
            domains: domains.collect::<Result<_, _>>()?,
            revocation: revocation.map_err(of("client_crl"))?,
        })
    }

    /// Verifies the chain that a client sent, its own certificate first.
    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        now: WallTime,
    ) -> Result<Verified, Refused> {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err(Refused { cause: Cause::NoCredential, claim: String::new() });
        };
        let read = Read::new(leaf).map_err(|cause| Refused { cause, claim: String::new() })?;
        let verified = self.verify_read(&read, leaf, intermediates, now);
        verified.map_err(|cause| Refused { cause, claim: read.claim() })
    }

    fn verify_read(
        &self,
        read: &Read,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: WallTime,
    ) -> Result<Verified, Cause> {
        let names = read.names()?;
        let leaf = EndEntityCert::try_from(leaf)?;
        // Each name is vouched for by its own authorities alone: in a pool, any of them could
        // issue a certificate in another's domain.
        let end = match &names {
            Names::Spiffe(id) => {
                let bundle = self.domains.get(id.trust_domain()).ok_or(Cause::UnknownCa)?;
                bundle.verify(&leaf, intermediates, now, None)?.end
            }
            Names::Dns(..) => self.verify_unrevoked(&leaf, intermediates, now)?,
        };
        let end = read.validity().end.map_or(end, |own| own.min(end));
        let (name, also) = names.into_callers();
        Ok(Verified { name, also, end })
    }

    /// Verifies a certificate with DNS names, also by the revocation lists of its issuer and of
    /// theirs. Returns when the first of what it was verified with ends.
    fn verify_unrevoked(
        &self,
        leaf: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        now: WallTime,
    ) -> Result<WallTime, Cause> {
        let authorities = self.dns.as_ref().ok_or(Cause::UnknownCa)?;
        let Path { issuers, serials, end } = authorities.verify(leaf, intermediates, now, None)?;
        let lists_of = |issuers: &[Issuer]| -> Vec<&List> {
            issuers.iter().flat_map(|it| self.revocation.lists_of(it)).collect()
        };
        let own = lists_of(issuers.get(..1).unwrap_or_default());
        let own: Vec<_> = own.into_iter().map(|list| &list.crl).collect();
        let options = self.revocation.options(&own);
        if options.is_some() {
            authorities.verify(leaf, intermediates, now, options)?;
        }
        for (issuer, serial) in issuers.iter().skip(1).zip(&serials) {
            self.revocation.check_authority(issuer, serial, now)?;
        }
        let first = self.revocation.end_of(&lists_of(&issuers), now);
        Ok(first.map_or(end, |first| first.min(end)))
    }

    /// The certificates and lists of this group: for each `what`, how long the first of them to
    /// end holds.
    pub(super) fn validities(&self) -> Vec<(String, Validity)> {
        let first = |all: &mut dyn Iterator<Item = Validity>| {
            all.min_by_key(|validity| validity.end.unwrap_or(WallTime::from_unix_seconds(i64::MAX)))
        };
        let of = |authorities: &Authorities| {
            first(&mut authorities.certificates.iter().map(|(_, it)| *it))
        };
        let dns = self.dns.iter().filter_map(|it| Some(("client_ca".to_owned(), of(it)?)));
        let domains = self
            .domains
            .iter()
            .filter_map(|(domain, it)| Some((format!("trust_domain/{domain}"), of(it)?)));
        let lists = first(&mut self.revocation.validities()).map(|it| ("crl".to_owned(), it));
        dns.chain(domains).chain(lists).collect()
    }

    /// What an operator should know of the revocation lists.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.revocation.validities().next().is_none() {
            return warnings;
        }
        if let Some(authorities) = &self.dns {
            let each = authorities.anchors.iter().zip(&authorities.certificates);
            for (_, (subject, _)) in each.filter(|(anchor, _)| !self.revocation.covers(anchor)) {
                warnings.push(format!(
                    "client_crl has no list of the authority {}: what it revokes is not known",
                    subject.escape_debug()
                ));
            }
        }
        match self.revocation.of_others() {
            0 => {}
            others => warnings.push(format!(
                "client_crl has {others} list(s) of no authority in client_ca: they count for \
                 intermediate authorities of that name alone"
            )),
        }
        warnings
    }
}

/// How a certificate is verified.
struct Path {
    /// Its issuer, and in turn theirs, up to the trusted one.
    issuers: Vec<Issuer>,
    /// The serial numbers of their certificates, but for the trusted one's.
    serials: Vec<Vec<u8>>,
    /// When the first of their certificates ends.
    end: WallTime,
}

impl Authorities {
    /// Reads a file of certificates.
    fn read(pem: &[u8]) -> Result<Self, String> {
        let ders: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let ders = ders.map_err(|_| "has a part that is not PEM".to_owned())?;
        if ders.is_empty() {
            return Err("holds no certificate in PEM form".to_owned());
        }
        let (mut anchors, mut certificates) = (Vec::new(), Vec::new());
        for (index, der) in ders.iter().enumerate() {
            let unusable =
                || format!("has a certificate that cannot be used: number {}", index + 1);
            let read = Read::new(der).map_err(|_| unusable())?;
            if !read.is_authority() {
                return Err(format!(
                    "has a certificate that is no authority's: number {}",
                    index + 1
                ));
            }
            let anchor = anchor_from_trusted_cert(der).map_err(|_| unusable())?;
            anchors.push(anchor.to_owned());
            certificates.push((read.subject(), read.validity()));
        }
        Ok(Self { anchors, certificates })
    }

    fn verify(
        &self,
        leaf: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        now: WallTime,
        revocation: Option<RevocationOptions<'_>>,
    ) -> Result<Path, Cause> {
        let algorithms = provider().signature_verification_algorithms.all;
        let usage = KeyUsage::client_auth();
        let path = leaf.verify_for_usage(
            algorithms,
            &self.anchors,
            intermediates,
            unix(now),
            usage,
            revocation,
            Some(&|path| self.holds(path.anchor(), now)),
        )?;
        let anchor = path.anchor();
        let of_anchor = self.validity(anchor).and_then(|it| it.end);
        let mut end = of_anchor.unwrap_or(WallTime::from_unix_seconds(i64::MAX));
        let (mut issuers, mut serials) = (Vec::new(), Vec::new());
        for certificate in path.intermediate_certificates() {
            let validity = Read::new(&certificate.der())?.validity();
            end = validity.end.map_or(end, |its| its.min(end));
            serials.push(certificate.serial().to_vec());
            issuers.push(Issuer {
                name: certificate.subject().to_vec(),
                key: certificate.subject_public_key_info().to_vec(),
                is_anchor: false,
            });
        }
        issuers.push(Issuer {
            name: anchor.subject.to_vec(),
            key: spki_for_anchor(anchor).to_vec(),
            is_anchor: true,
        });
        Ok(Path { issuers, serials, end })
    }

    /// When the certificate of one of them holds.
    fn validity(&self, anchor: &TrustAnchor<'_>) -> Option<Validity> {
        let mut all = self.anchors.iter().zip(&self.certificates);
        all.find(|(it, _)| ptr::eq(*it, anchor)).map(|(_, (_, validity))| *validity)
    }

    /// Whether the certificate of an authority holds: webpki takes it for granted.
    fn holds(&self, anchor: &TrustAnchor<'_>, now: WallTime) -> Result<(), webpki::Error> {
        let Some(Validity { start, end }) = self.validity(anchor) else { return Ok(()) };
        let time = unix(now);
        match end {
            _ if now < start => {
                Err(webpki::Error::CertNotValidYet { time, not_before: unix(start) })
            }
            Some(end) if end < now => {
                Err(webpki::Error::CertExpired { time, not_after: unix(end) })
            }
            _ => Ok(()),
        }
    }
}

fn unix(at: WallTime) -> UnixTime {
    let since = at.since(WallTime::from_unix_seconds(0));
    UnixTime::since_unix_epoch(since)
}

/// The chain that a client sent, kept so that it can be verified again.
pub(super) type Chain = Arc<[CertificateDer<'static>]>;

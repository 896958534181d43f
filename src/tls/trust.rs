//! The authorities that the server trusts: those for DNS names, and one bundle per trust domain.
//!
//! Authorities come from files and from the Workload API. Each source is replaced separately.

use std::{collections::BTreeMap, sync::Arc};

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::{
    bundle::{Bundle, Path},
    cause::Cause,
    certificate::{Names, ParsedCertificate, Validity},
    revocation::{Issuer, List, Revocation, WhenExpired},
};
use crate::{auth::name::CallerName, clock::WallTime};

/// The contents of the authorities' files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The contents of `client_ca`.
    pub client_ca: Option<Vec<u8>>,
    /// The contents of `client_crl`.
    pub client_crl: Option<Vec<u8>>,
    /// The bundle of each trust domain.
    pub trust_domains: BTreeMap<String, DomainContents>,
}

/// The source of a trust domain's bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DomainContents {
    /// The contents of a file.
    File(Vec<u8>),
    /// Sent by the Workload API.
    WorkloadApi,
}

/// Why the authorities cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct TrustError {
    /// The key in the configuration.
    pub key: &'static str,
    /// The reason; continues the key's name.
    pub why: String,
}

/// The authorities that the server trusts. Immutable; replaced as a whole.
#[derive(Debug)]
pub struct Trust {
    files: Arc<FileTrust>,
    received: Arc<ReceivedBundles>,
}

/// The authorities from files.
#[derive(Debug)]
pub struct FileTrust {
    dns: Option<Bundle>,
    domains: BTreeMap<String, DomainBundle>,
    revocation: Revocation,
}

#[derive(Debug)]
enum DomainBundle {
    File(Bundle),
    WorkloadApi,
}

/// The bundles from the Workload API. The bundle of the server's own trust domain is trusted; other
/// bundles are trusted only if the configuration names their domains.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReceivedBundles {
    /// The trust domain of the server's SVID; empty before the first SVID.
    pub(super) own: String,
    /// The bundles by trust domain.
    pub(super) bundles: BTreeMap<String, Arc<Bundle>>,
}

/// An authenticated client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its name; the first of several DNS names.
    pub name: CallerName,
    /// The other DNS names.
    pub other_names: Vec<CallerName>,
    /// When the first certificate of its chain expires.
    pub expiry: WallTime,
}

/// A client whose certificate is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The reason.
    pub cause: Cause,
    /// The claimed name, if it can be parsed.
    pub claim: String,
}

impl FileTrust {
    /// Parses the contents of the files.
    pub fn new(contents: &Contents, when_expired: WhenExpired) -> Result<Self, TrustError> {
        let of = |key| move |why| TrustError { key, why };
        let dns = contents.client_ca.as_deref().map(Bundle::from_pem).transpose();
        let dns = dns.map_err(of("client_ca"))?;
        let revocation = match (&contents.client_crl, &dns) {
            (Some(pem), Some(dns)) => Revocation::new(pem, dns.anchors(), when_expired),
            _ => Ok(Revocation::none()),
        };
        let domains = contents.trust_domains.iter().map(|(domain, contents)| {
            let bundle = match contents {
                DomainContents::WorkloadApi => DomainBundle::WorkloadApi,
                DomainContents::File(pem) => {
                    let bundle = Bundle::from_pem(pem);
                    let bundle = bundle.map_err(|why| format!("{domain}: its file {why}"));
                    DomainBundle::File(bundle.map_err(of("trust_domains"))?)
                }
            };
            Ok((domain.clone(), bundle))
        });
        Ok(Self {
            dns,
            domains: domains.collect::<Result<_, _>>()?,
            revocation: revocation.map_err(of("client_crl"))?,
        })
    }

    /// Warnings about the revocation lists for the operator.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.revocation.validities().next().is_none() {
            return warnings;
        }
        if let Some(authorities) = &self.dns {
            let each = authorities.named();
            for (_, subject) in each.filter(|(anchor, _)| !self.revocation.covers(anchor)) {
                warnings.push(format!(
                    "client_crl has no list from the authority {}: its revocations are unknown",
                    subject.escape_debug()
                ));
            }
        }
        match self.revocation.unanchored() {
            0 => {}
            others => warnings.push(format!(
                "client_crl has {others} list(s) from authorities not in client_ca: they apply only to \
                 intermediate authorities with that name"
            )),
        }
        warnings
    }
}

impl Trust {
    pub(super) const fn new(files: Arc<FileTrust>, received: Arc<ReceivedBundles>) -> Self {
        Self { files, received }
    }

    /// Replaces the files' authorities.
    pub(super) fn with_files(&self, files: Arc<FileTrust>) -> Self {
        Self { files, received: Arc::clone(&self.received) }
    }

    /// Replaces the Workload API's bundles.
    pub(super) fn with_received(&self, received: Arc<ReceivedBundles>) -> Self {
        Self { files: Arc::clone(&self.files), received }
    }

    /// The Workload API's bundles.
    pub(super) fn received(&self) -> Arc<ReceivedBundles> {
        Arc::clone(&self.received)
    }

    /// The bundle for the names of this trust domain.
    fn bundle(&self, domain: &str) -> Option<&Bundle> {
        let received = || self.received.bundles.get(domain).map(|it| &**it);
        match self.files.domains.get(domain) {
            Some(DomainBundle::File(bundle)) => Some(bundle),
            Some(DomainBundle::WorkloadApi) => received(),
            None => (self.received.own == domain).then(received).flatten(),
        }
    }

    /// The trust domains that have a bundle.
    fn domains(&self) -> impl Iterator<Item = (&str, &Bundle)> {
        let received = self.received.bundles.keys();
        let received = received.filter(|domain| !self.files.domains.contains_key(*domain));
        let all = self.files.domains.keys().chain(received);
        all.filter_map(|domain| Some((domain.as_str(), self.bundle(domain)?)))
    }

    /// Verifies a client's chain, which starts with its own certificate.
    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        now: WallTime,
    ) -> Result<Verified, Refused> {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err(Refused { cause: Cause::NoCredential, claim: String::new() });
        };
        let parsed = ParsedCertificate::new(leaf)
            .map_err(|cause| Refused { cause, claim: String::new() })?;
        let verified = self.verify_parsed(&parsed, leaf, intermediates, now);
        verified.map_err(|cause| Refused { cause, claim: parsed.claim() })
    }

    fn verify_parsed(
        &self,
        parsed: &ParsedCertificate,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: WallTime,
    ) -> Result<Verified, Cause> {
        let names = parsed.names()?;
        let leaf = EndEntityCert::try_from(leaf)?;
        // Names are verified only by the authorities for their kind and domain. In a common pool,
        // any authority could issue certificates for another's domain.
        let expiry = match &names {
            Names::Spiffe(id) => {
                let bundle = self.bundle(id.trust_domain()).ok_or(Cause::UnknownCa)?;
                bundle.verify(&leaf, intermediates, now, None)?.expiry
            }
            Names::Dns(..) => self.verify_unrevoked(&leaf, intermediates, now)?,
        };
        let expiry = parsed.validity().end.map_or(expiry, |own| own.min(expiry));
        let (name, other_names) = names.into_callers();
        Ok(Verified { name, other_names, expiry })
    }

    /// Verifies a certificate with DNS names, including revocation by its issuers' lists. Returns
    /// when the first of the certificates and lists used expires.
    fn verify_unrevoked(
        &self,
        leaf: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        now: WallTime,
    ) -> Result<WallTime, Cause> {
        let authorities = self.files.dns.as_ref().ok_or(Cause::UnknownCa)?;
        let revocation = &self.files.revocation;
        let Path { issuers, serials, expiry } =
            authorities.verify(leaf, intermediates, now, None)?;
        let lists_of = |issuers: &[Issuer]| -> Vec<&List> {
            issuers.iter().flat_map(|it| revocation.lists_of(it)).collect()
        };
        let own = lists_of(issuers.get(..1).unwrap_or_default());
        let own: Vec<_> = own.into_iter().map(|list| &list.crl).collect();
        let options = revocation.options(&own);
        if options.is_some() {
            authorities.verify(leaf, intermediates, now, options)?;
        }
        for (issuer, serial) in issuers.iter().skip(1).zip(&serials) {
            revocation.check_authority(issuer, serial, now)?;
        }
        let first = revocation.expiry_of(&lists_of(&issuers), now);
        Ok(first.map_or(expiry, |first| first.min(expiry)))
    }

    /// The validity of the trusted certificates and lists: for each `what`, of the first to expire.
    pub(super) fn validities(&self) -> Vec<(String, Validity)> {
        let first = |all: &mut dyn Iterator<Item = Validity>| {
            all.min_by_key(|validity| validity.end.unwrap_or(WallTime::from_unix_seconds(i64::MAX)))
        };
        let of = |bundle: &Bundle| first(&mut bundle.validities());
        let dns = self.files.dns.iter().filter_map(|it| Some(("client_ca".to_owned(), of(it)?)));
        let domains = self
            .domains()
            .filter_map(|(domain, it)| Some((format!("trust_domain/{domain}"), of(it)?)));
        let lists = first(&mut self.files.revocation.validities());
        dns.chain(domains).chain(lists.map(|it| ("crl".to_owned(), it))).collect()
    }
}

/// A client's chain, kept to verify it again.
pub(super) type Chain = Arc<[CertificateDer<'static>]>;

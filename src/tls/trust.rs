//! Whom the server trusts: authorities for DNS names, and one bundle for each trust domain.
//!
//! There are two contributions: what the files hold, and what the Workload API sends. Each is
//! replaced by itself.

use std::{collections::BTreeMap, sync::Arc};

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::{
    bundle::{Bundle, Path},
    cause::Cause,
    certificate::{Names, Read, Validity},
    revocation::{Issuer, List, Revocation, WhenExpired},
};
use crate::{auth::name::CallerName, clock::WallTime};

/// What the files of the authorities hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// `client_ca`'s.
    pub client_ca: Option<Vec<u8>>,
    /// `client_crl`'s.
    pub client_crl: Option<Vec<u8>>,
    /// Each trust domain's bundle.
    pub trust_domains: BTreeMap<String, DomainContents>,
}

/// Where the bundle of a trust domain is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DomainContents {
    /// In a file, which holds this.
    File(Vec<u8>),
    /// The Workload API sends it.
    WorkloadApi,
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

/// Whom the server trusts. It is never changed, only replaced.
#[derive(Debug)]
pub struct Trust {
    files: Arc<FileTrust>,
    received: Arc<ReceivedBundles>,
}

/// Whom the files of the server say to trust.
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

/// The bundles that the Workload API has sent. That of the server's own trust domain is trusted;
/// any other one only where the configuration names its domain.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReceivedBundles {
    /// The trust domain of the server's SVID; empty before the first.
    pub(super) own: String,
    /// By trust domain.
    pub(super) bundles: BTreeMap<String, Arc<Bundle>>,
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

impl FileTrust {
    /// Reads the contents of the files.
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

    /// What an operator should know of the revocation lists.
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

impl Trust {
    pub(super) const fn new(files: Arc<FileTrust>, received: Arc<ReceivedBundles>) -> Self {
        Self { files, received }
    }

    /// The same with other files.
    pub(super) fn with_files(&self, files: Arc<FileTrust>) -> Self {
        Self { files, received: Arc::clone(&self.received) }
    }

    /// The same with other bundles of the Workload API.
    pub(super) fn with_received(&self, received: Arc<ReceivedBundles>) -> Self {
        Self { files: Arc::clone(&self.files), received }
    }

    /// The bundles of the Workload API.
    pub(super) fn received(&self) -> Arc<ReceivedBundles> {
        Arc::clone(&self.received)
    }

    /// The bundle that vouches for the names of this trust domain.
    fn bundle(&self, domain: &str) -> Option<&Bundle> {
        let received = || self.received.bundles.get(domain).map(|it| &**it);
        match self.files.domains.get(domain) {
            Some(DomainBundle::File(bundle)) => Some(bundle),
            Some(DomainBundle::WorkloadApi) => received(),
            None => (self.received.own == domain).then(received).flatten(),
        }
    }

    /// The trust domains whose names anybody vouches for.
    fn domains(&self) -> impl Iterator<Item = (&str, &Bundle)> {
        let received = self.received.bundles.keys();
        let received = received.filter(|domain| !self.files.domains.contains_key(*domain));
        let all = self.files.domains.keys().chain(received);
        all.filter_map(|domain| Some((domain.as_str(), self.bundle(domain)?)))
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
                let bundle = self.bundle(id.trust_domain()).ok_or(Cause::UnknownCa)?;
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
        let authorities = self.files.dns.as_ref().ok_or(Cause::UnknownCa)?;
        let revocation = &self.files.revocation;
        let Path { issuers, serials, end } = authorities.verify(leaf, intermediates, now, None)?;
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
        let first = revocation.end_of(&lists_of(&issuers), now);
        Ok(first.map_or(end, |first| first.min(end)))
    }

    /// The certificates and lists that are trusted: for each `what`, how long the first of them
    /// to end holds.
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

/// The chain that a client sent, kept so that it can be verified again.
pub(super) type Chain = Arc<[CertificateDer<'static>]>;

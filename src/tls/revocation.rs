//! Certificate revocation lists.

use rustls::pki_types::{CertificateRevocationListDer, TrustAnchor, pem::PemObject};
use webpki::{
    CertRevocationList, Error, ExpirationPolicy, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptions, RevocationOptionsBuilder, spki_for_anchor,
};
use x509_cert::{
    crl::CertificateList,
    der::{AnyRef, Decode, Encode, Reader, SliceReader},
    spki::SubjectPublicKeyInfoRef,
};

use super::{
    cause::Cause,
    certificate::{Validity, wall},
    provider,
};
use crate::clock::WallTime;

/// What happens when a revocation list is past its next update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenExpired {
    /// It still applies.
    Keep,
    /// The certificates that it covers are refused.
    Refuse,
}

impl WhenExpired {
    /// The value in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Refuse => "refuse",
        }
    }
}

/// The revocation lists of the authorities for DNS names.
#[derive(Debug)]
pub(super) struct Revocation {
    lists: Vec<List>,
    when_expired: WhenExpired,
}

/// The issuer of a certificate. Two authorities can have the same name.
pub(super) struct Issuer {
    /// The name, in webpki's form for comparisons.
    pub(super) name: Vec<u8>,
    /// The key, a `SubjectPublicKeyInfo`.
    pub(super) key: Vec<u8>,
    /// Whether it is a trust anchor.
    pub(super) is_anchor: bool,
}

/// A revocation list.
#[derive(Debug)]
pub(super) struct List {
    pub(super) crl: CertRevocationList<'static>,
    signer: Signer,
    validity: Validity,
}

/// The signer of a list.
#[derive(Debug)]
enum Signer {
    /// The authority in `client_ca` with this key.
    Anchor { key: Vec<u8> },
    /// Another authority, whose certificate clients send. The list is verified with that
    /// certificate.
    Other { der: Vec<u8> },
}

impl Revocation {
    pub(super) const fn none() -> Self {
        Self { lists: Vec::new(), when_expired: WhenExpired::Keep }
    }

    /// Parses the lists in `pem`. `anchors` are the authorities that may have signed them.
    pub(super) fn new(
        pem: &[u8],
        anchors: &[TrustAnchor<'_>],
        when_expired: WhenExpired,
    ) -> Result<Self, String> {
        let ders: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
        let ders = ders.map_err(|_| "has a part that is not PEM".to_owned())?;
        if ders.is_empty() {
            return Err("holds no revocation list in PEM form (BEGIN X509 CRL)".to_owned());
        }
        let lists = ders.iter().enumerate().map(|(index, der)| {
            List::read(der, anchors)
                .map_err(|why| format!("revocation list number {} {why}", index + 1))
        });
        Ok(Self { lists: lists.collect::<Result<_, _>>()?, when_expired })
    }

    /// The lists that apply to certificates of this issuer.
    pub(super) fn lists_of(&self, issuer: &Issuer) -> impl Iterator<Item = &List> {
        self.lists.iter().filter(|list| match &list.signer {
            Signer::Anchor { key } => *key == issuer.key,
            Signer::Other { .. } => !issuer.is_anchor && list.crl.issuer() == issuer.name,
        })
    }

    /// Checks an authority's certificate against the lists of its issuer, if there are any.
    ///
    /// # Errors
    ///
    /// It is revoked, or a list has expired and expired lists refuse.
    pub(super) fn check_authority(
        &self,
        issuer: &Issuer,
        serial: &[u8],
        now: WallTime,
    ) -> Result<(), Cause> {
        for list in self.lists_of(issuer).filter(|list| list.is_signed_by(issuer)) {
            if list.crl.find_serial(serial)?.is_some() {
                return Err(Cause::Revoked);
            }
            let has_expired = list.validity.end.is_some_and(|end| end <= now);
            if has_expired && self.when_expired == WhenExpired::Refuse {
                return Err(Cause::RevocationUnknown);
            }
        }
        Ok(())
    }

    /// The options for checking a client's own certificate against these lists; `None` without
    /// lists. By default, a certificate that they do not cover is refused.
    pub(super) fn options<'a>(
        &self,
        lists: &'a [&'a CertRevocationList<'static>],
    ) -> Option<RevocationOptions<'a>> {
        let expiration = match self.when_expired {
            WhenExpired::Keep => ExpirationPolicy::Ignore,
            WhenExpired::Refuse => ExpirationPolicy::Enforce,
        };
        let options = RevocationOptionsBuilder::new(lists).ok()?;
        let options = options.with_depth(RevocationCheckDepth::EndEntity);
        Some(options.with_expiration_policy(expiration).build())
    }

    /// When the first of these lists that is valid `now` stops to apply. Lists that had already
    /// expired were not used.
    pub(super) fn expiry_of(&self, lists: &[&List], now: WallTime) -> Option<WallTime> {
        match self.when_expired {
            WhenExpired::Keep => None,
            WhenExpired::Refuse => {
                let ends = lists.iter().filter_map(|list| list.validity.end);
                ends.filter(|end| *end > now).min()
            }
        }
    }

    /// The validity of each list.
    pub(super) fn validities(&self) -> impl Iterator<Item = Validity> {
        self.lists.iter().map(|list| list.validity)
    }

    /// Whether the authority with this key has a list.
    pub(super) fn covers(&self, anchor: &TrustAnchor<'_>) -> bool {
        let key = spki_for_anchor(anchor);
        let is_own =
            |signer: &Signer| matches!(signer, Signer::Anchor { key: own } if **own == *key);
        self.lists.iter().any(|list| is_own(&list.signer))
    }

    /// The number of lists signed by authorities that are not in `client_ca`.
    pub(super) fn unanchored(&self) -> usize {
        self.lists.iter().filter(|list| matches!(list.signer, Signer::Other { .. })).count()
    }
}

impl List {
    fn read(der: &[u8], anchors: &[TrustAnchor<'_>]) -> Result<Self, String> {
        let unreadable = || "cannot be read".to_owned();
        let list = CertificateList::from_der(der).map_err(|_| unreadable())?;
        let crl = OwnedCertRevocationList::from_der(der).map_err(|error| match error {
            Error::UnsupportedDeltaCrl => "is a delta list: use the complete list".to_owned(),
            Error::UnsupportedIndirectCrl => "is an indirect list, which is not supported".into(),
            _ => unreadable(),
        })?;
        let body = signed_part(der).ok_or_else(unreadable)?;
        let crl = CertRevocationList::from(crl);
        let same_name = anchors.iter().filter(|anchor| is_subject(anchor, crl.issuer()));
        let keys = same_name.map(|anchor| spki_for_anchor(anchor).to_vec());
        let signer = match keys.into_iter().find(|key| has_signed(key, &list, body)) {
            Some(key) => Signer::Anchor { key },
            None => Signer::Other { der: der.to_vec() },
        };
        let start = wall(list.tbs_cert_list.this_update);
        let end = list.tbs_cert_list.next_update.map(wall);
        Ok(Self { crl, signer, validity: Validity { start, end } })
    }

    /// Whether this issuer has signed the list.
    fn is_signed_by(&self, issuer: &Issuer) -> bool {
        match &self.signer {
            Signer::Anchor { key } => *key == issuer.key,
            Signer::Other { der } => CertificateList::from_der(der).is_ok_and(|list| {
                signed_part(der).is_some_and(|it| has_signed(&issuer.key, &list, it))
            }),
        }
    }
}

/// Whether the authority has this name. Both are in webpki's form for comparisons.
fn is_subject(anchor: &TrustAnchor<'_>, name: &[u8]) -> bool {
    *anchor.subject == *name
}

/// The bytes covered by a list's signature.
fn signed_part(der: &[u8]) -> Option<&[u8]> {
    let outer = AnyRef::from_der(der).ok()?;
    SliceReader::new(outer.value()).ok()?.tlv_bytes().ok()
}

/// Whether the key, a `SubjectPublicKeyInfo`, signed this list.
fn has_signed(key: &[u8], list: &CertificateList, signed: &[u8]) -> bool {
    let Ok(key) = SubjectPublicKeyInfoRef::from_der(key) else { return false };
    let (Ok(of_key), Ok(of_signature)) =
        (key.algorithm.to_der(), list.signature_algorithm.to_der())
    else {
        return false;
    };
    let algorithms = provider().signature_verification_algorithms.all;
    let mut matching = algorithms.iter().filter(|algorithm| {
        is_algorithm(&of_key, &algorithm.public_key_alg_id())
            && is_algorithm(&of_signature, &algorithm.signature_alg_id())
    });
    let (key, signature) = (key.subject_public_key.raw_bytes(), list.signature.raw_bytes());
    matching.any(|algorithm| algorithm.verify_signature(key, signed, signature).is_ok())
}

/// Whether a DER sequence has this content, which is given without its header.
fn is_algorithm(der: &[u8], content: &[u8]) -> bool {
    AnyRef::from_der(der).is_ok_and(|any| any.value() == content)
}

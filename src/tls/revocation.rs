//! What the authorities have revoked.

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

/// What becomes of a revocation list whose successor is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenExpired {
    /// It still says who is revoked.
    Keep,
    /// Those that it could name are refused.
    Refuse,
}

impl WhenExpired {
    /// As the file has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Refuse => "refuse",
        }
    }
}

/// The revocation lists of the authorities of DNS names.
#[derive(Debug)]
pub(super) struct Revocation {
    lists: Vec<List>,
    when_expired: WhenExpired,
}

/// Who issued a certificate. Two authorities may have one name.
pub(super) struct Issuer {
    /// Its name, in the form that webpki compares them in.
    pub(super) name: Vec<u8>,
    /// Its key, a `SubjectPublicKeyInfo`.
    pub(super) key: Vec<u8>,
    /// Whether it is trusted by itself.
    pub(super) is_anchor: bool,
}

/// One revocation list.
#[derive(Debug)]
pub(super) struct List {
    pub(super) crl: CertRevocationList<'static>,
    signer: Signer,
    validity: Validity,
}

/// Who signed a list.
#[derive(Debug)]
enum Signer {
    /// The authority in `client_ca` with this key.
    Anchor { key: Vec<u8> },
    /// Another, whose certificate clients send along; the list is verified with that.
    Other { der: Vec<u8> },
}

impl Revocation {
    pub(super) const fn none() -> Self {
        Self { lists: Vec::new(), when_expired: WhenExpired::Keep }
    }

    /// Reads the lists in `pem`, which authorities with these keys issued.
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
                .map_err(|why| format!("revocation list {} of it {why}", index + 1))
        });
        Ok(Self { lists: lists.collect::<Result<_, _>>()?, when_expired })
    }

    /// The lists that could name a certificate of this issuer.
    pub(super) fn lists_of(&self, issuer: &Issuer) -> impl Iterator<Item = &List> {
        self.lists.iter().filter(|list| match &list.signer {
            Signer::Anchor { key } => *key == issuer.key,
            Signer::Other { .. } => !issuer.is_anchor && list.crl.issuer() == issuer.name,
        })
    }

    /// Checks the certificate of an authority, by the lists of its issuer that there are.
    ///
    /// # Errors
    ///
    /// It is revoked, or such a list has ended where that is refused.
    pub(super) fn check_authority(
        &self,
        issuer: &Issuer,
        serial: &[u8],
        now: WallTime,
    ) -> Result<(), Cause> {
        for list in self.lists_of(issuer).filter(|list| list.is_by(issuer)) {
            if list.crl.find_serial(serial)?.is_some() {
                return Err(Cause::Revoked);
            }
            let has_ended = list.validity.end.is_some_and(|end| end <= now);
            if has_ended && self.when_expired == WhenExpired::Refuse {
                return Err(Cause::RevocationUnknown);
            }
        }
        Ok(())
    }

    /// How a client's own certificate is checked against these lists; none where there are
    /// none. It is refused where they do not cover it: that is the default.
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

    /// When the first of these lists no longer counts, after `now`: one that has ended already
    /// is not the one that was looked at.
    pub(super) fn end_of(&self, lists: &[&List], now: WallTime) -> Option<WallTime> {
        match self.when_expired {
            WhenExpired::Keep => None,
            WhenExpired::Refuse => {
                let ends = lists.iter().filter_map(|list| list.validity.end);
                ends.filter(|end| *end > now).min()
            }
        }
    }

    /// How long each list holds.
    pub(super) fn validities(&self) -> impl Iterator<Item = Validity> {
        self.lists.iter().map(|list| list.validity)
    }

    /// Whether the authority with this key has a list.
    pub(super) fn covers(&self, anchor: &TrustAnchor<'_>) -> bool {
        let key = spki_for_anchor(anchor);
        let is_its =
            |signer: &Signer| matches!(signer, Signer::Anchor { key: its } if **its == *key);
        self.lists.iter().any(|list| is_its(&list.signer))
    }

    /// How many lists are by no authority of `client_ca`.
    pub(super) fn of_others(&self) -> usize {
        self.lists.iter().filter(|list| matches!(list.signer, Signer::Other { .. })).count()
    }
}

impl List {
    fn read(der: &[u8], anchors: &[TrustAnchor<'_>]) -> Result<Self, String> {
        let unreadable = || "cannot be read".to_owned();
        let list = CertificateList::from_der(der).map_err(|_| unreadable())?;
        let crl = OwnedCertRevocationList::from_der(der).map_err(|error| match error {
            Error::UnsupportedDeltaCrl => "is a delta list: name the complete one".to_owned(),
            Error::UnsupportedIndirectCrl => "is an indirect list, which is not supported".into(),
            _ => unreadable(),
        })?;
        let signed = signed_part(der).ok_or_else(unreadable)?;
        let crl = CertRevocationList::from(crl);
        let same_name = anchors.iter().filter(|anchor| is_subject(anchor, crl.issuer()));
        let keys = same_name.map(|anchor| spki_for_anchor(anchor).to_vec());
        let by = match keys.into_iter().find(|key| has_signed(key, &list, signed)) {
            Some(key) => Signer::Anchor { key },
            None => Signer::Other { der: der.to_vec() },
        };
        let start = wall(list.tbs_cert_list.this_update);
        let end = list.tbs_cert_list.next_update.map(wall);
        Ok(Self { crl, signer: by, validity: Validity { start, end } })
    }

    /// Whether an authority of the list's name has signed it.
    fn is_by(&self, issuer: &Issuer) -> bool {
        match &self.signer {
            Signer::Anchor { key } => *key == issuer.key,
            Signer::Other { der } => CertificateList::from_der(der).is_ok_and(|list| {
                signed_part(der).is_some_and(|it| has_signed(&issuer.key, &list, it))
            }),
        }
    }
}

/// Whether an authority has this name, both in the form that webpki compares them in.
fn is_subject(anchor: &TrustAnchor<'_>, name: &[u8]) -> bool {
    *anchor.subject == *name
}

/// The bytes that the signature of a list covers.
fn signed_part(der: &[u8]) -> Option<&[u8]> {
    let outer = AnyRef::from_der(der).ok()?;
    SliceReader::new(outer.value()).ok()?.tlv_bytes().ok()
}

/// Whether the key, a `SubjectPublicKeyInfo`, has signed this list.
fn has_signed(key: &[u8], list: &CertificateList, signed: &[u8]) -> bool {
    let Ok(key) = SubjectPublicKeyInfoRef::from_der(key) else { return false };
    let (Ok(of_key), Ok(of_signature)) =
        (key.algorithm.to_der(), list.signature_algorithm.to_der())
    else {
        return false;
    };
    let algorithms = provider().signature_verification_algorithms.all;
    let mut fitting = algorithms.iter().filter(|algorithm| {
        is_algorithm(&of_key, &algorithm.public_key_alg_id())
            && is_algorithm(&of_signature, &algorithm.signature_alg_id())
    });
    let (key, signature) = (key.subject_public_key.raw_bytes(), list.signature.raw_bytes());
    fitting.any(|algorithm| algorithm.verify_signature(key, signed, signature).is_ok())
}

/// Whether a DER sequence holds what the other has without its header.
fn is_algorithm(der: &[u8], content: &[u8]) -> bool {
    AnyRef::from_der(der).is_ok_and(|any| any.value() == content)
}

//! A set of certificate authorities for the same names.

use std::ptr;

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime, pem::PemObject};
use webpki::{
    EndEntityCert, KeyUsage, RevocationOptions, anchor_from_trusted_cert, spki_for_anchor,
};

use super::{
    cause::Cause,
    certificate::{ParsedCertificate, Validity},
    provider,
    revocation::Issuer,
};
use crate::clock::WallTime;

/// Certificate authorities that are trusted for the same names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bundle {
    anchors: Vec<TrustAnchor<'static>>,
    certificates: Vec<(String, Validity)>,
}

/// The verified path of a certificate.
pub(super) struct Path {
    /// The issuers, from the certificate's own up to the trusted one.
    pub(super) issuers: Vec<Issuer>,
    /// The serial numbers of the issuers' certificates, except the trusted one's.
    pub(super) serials: Vec<Vec<u8>>,
    /// When the first of the issuers' certificates expires.
    pub(super) expiry: WallTime,
}

impl Bundle {
    /// Parses a file of PEM certificates. The error message continues the file's name.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let ders: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let ders = ders.map_err(|_| "has a part that is not PEM".to_owned())?;
        if ders.is_empty() {
            return Err("holds no certificate in PEM form".to_owned());
        }
        Self::new(&ders)
    }

    /// Creates a bundle from certificates. The error message continues the name of their source.
    pub(super) fn new(ders: &[CertificateDer<'_>]) -> Result<Self, String> {
        let (mut anchors, mut certificates) = (Vec::new(), Vec::new());
        for (index, der) in ders.iter().enumerate() {
            let unusable =
                || format!("has a certificate that cannot be used: number {}", index + 1);
            let read = ParsedCertificate::new(der).map_err(|_| unusable())?;
            if !read.is_authority() {
                return Err(format!(
                    "has a certificate that is not a CA certificate: number {}",
                    index + 1
                ));
            }
            let anchor = anchor_from_trusted_cert(der).map_err(|_| unusable())?;
            anchors.push(anchor.to_owned());
            certificates.push((read.subject(), read.validity()));
        }
        Ok(Self { anchors, certificates })
    }

    /// The authorities.
    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// The authorities with their names.
    pub(super) fn named(&self) -> impl Iterator<Item = (&TrustAnchor<'static>, &str)> {
        let names = self.certificates.iter().map(|(subject, _)| subject.as_str());
        self.anchors.iter().zip(names)
    }

    /// The validity of each authority's certificate.
    pub(super) fn validities(&self) -> impl Iterator<Item = Validity> {
        self.certificates.iter().map(|(_, validity)| *validity)
    }

    /// Verifies a client certificate, except its name.
    pub(super) fn verify(
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
            Some(&|path| self.check_validity(path.anchor(), now)),
        )?;
        let anchor = path.anchor();
        let anchor_expiry = self.validity(anchor).and_then(|it| it.end);
        let mut expiry = anchor_expiry.unwrap_or(WallTime::from_unix_seconds(i64::MAX));
        let (mut issuers, mut serials) = (Vec::new(), Vec::new());
        for certificate in path.intermediate_certificates() {
            let validity = ParsedCertificate::new(&certificate.der())?.validity();
            expiry = validity.end.map_or(expiry, |end| end.min(expiry));
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
        Ok(Path { issuers, serials, expiry })
    }

    /// The validity of an authority's certificate.
    fn validity(&self, anchor: &TrustAnchor<'_>) -> Option<Validity> {
        let mut all = self.anchors.iter().zip(&self.certificates);
        all.find(|(it, _)| ptr::eq(*it, anchor)).map(|(_, (_, validity))| *validity)
    }

    /// Checks the validity of an authority's certificate, which webpki does not.
    fn check_validity(&self, anchor: &TrustAnchor<'_>, now: WallTime) -> Result<(), webpki::Error> {
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

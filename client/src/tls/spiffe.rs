//! Verification of a server by its SPIFFE ID.

use std::fmt;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use webpki::{EndEntityCert, KeyUsage};
use x509_cert::{
    Certificate,
    der::Decode,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

/// The ID with this trust domain and path, by the rules of the SPIFFE ID standard.
pub(super) fn spiffe_id(rest: &str) -> Option<String> {
    let (domain, path) = rest.split_once('/')?;
    let in_domain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b".-_".contains(&it);
    let in_path = |it: u8| it.is_ascii_alphanumeric() || b".-_".contains(&it);
    let is_segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(in_path);
    let is_good = !domain.is_empty()
        && domain.bytes().all(in_domain)
        && path.split('/').all(is_segment)
        && rest.len() <= 2_048 - "spiffe://".len();
    is_good.then(|| format!("spiffe://{domain}/{path}"))
}

/// Verifies a server by its SPIFFE ID: the only URI among its certificate's names.
pub(super) struct SpiffeVerifier {
    id: String,
    /// The bundle of its trust domain.
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl SpiffeVerifier {
    pub(super) fn new(id: String, roots: RootCertStore, provider: &CryptoProvider) -> Self {
        Self { id, roots, algorithms: provider.signature_verification_algorithms }
    }
}

impl fmt::Debug for SpiffeVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpiffeVerifier").field("id", &self.id).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for SpiffeVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = EndEntityCert::try_from(leaf).map_err(|error| refused(&error))?;
        certificate
            .verify_for_usage(
                self.algorithms.all,
                &self.roots.roots,
                intermediates,
                now,
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map_err(|error| refused(&error))?;
        match &uris(leaf).ok_or(CertificateError::BadEncoding)?[..] {
            [name] if *name == self.id => Ok(ServerCertVerified::assertion()),
            [name] => Err(Error::General(format!("its name is {name}, not {}", self.id))),
            _ => Err(Error::General(format!("it has no single URI name; expected {}", self.id))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The URIs among a certificate's names. `None` if a name cannot be parsed: webpki skips such a
/// name, so that a second URI would go unnoticed.
fn uris(der: &CertificateDer<'_>) -> Option<Vec<String>> {
    let certificate = Certificate::from_der(der).ok()?;
    let names = certificate.tbs_certificate.get::<SubjectAltName>().ok()?;
    let names = names.map_or_else(Vec::new, |(_, SubjectAltName(names))| names);
    let uri = |name: &GeneralName| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        _ => None,
    };
    Some(names.iter().filter_map(uri).collect())
}

fn refused(error: &webpki::Error) -> Error {
    match error {
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer.into(),
        webpki::Error::CertExpired { .. } => CertificateError::Expired.into(),
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet.into(),
        error => Error::General(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa,
        Issuer, KeyPair, SanType,
    };
    use rustls::crypto::aws_lc_rs;

    use super::*;

    const ID: &str = "spiffe://prod.example.org/mint";

    /// A certificate that can issue others.
    struct Authority {
        der: CertificateDer<'static>,
        params: CertificateParams,
        key: KeyPair,
    }

    fn authority_params() -> CertificateParams {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    impl Authority {
        fn root() -> Self {
            let (params, key) = (authority_params(), KeyPair::generate().unwrap());
            Self { der: params.self_signed(&key).unwrap().der().clone(), params, key }
        }

        fn intermediate(&self, name: &str) -> Self {
            let (mut params, key) = (authority_params(), KeyPair::generate().unwrap());
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            Self { der: self.sign(&params, &key), params, key }
        }

        fn sign(&self, params: &CertificateParams, key: &KeyPair) -> CertificateDer<'static> {
            let issuer = Issuer::from_params(&self.params, &self.key);
            params.signed_by(key, &issuer).unwrap().der().clone()
        }

        /// A server's certificate.
        fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
            let mut params = CertificateParams::new([]).unwrap();
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            change(&mut params);
            self.sign(&params, &KeyPair::generate().unwrap())
        }

        fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<(), String> {
            let mut roots = RootCertStore::empty();
            roots.add(self.der.clone()).unwrap();
            let provider = aws_lc_rs::default_provider();
            let verifier = SpiffeVerifier::new(ID.to_owned(), roots, &provider);
            let name = ServerName::from(Ipv4Addr::UNSPECIFIED);
            verifier
                .verify_server_cert(&chain[0], &chain[1..], &name, &[], UnixTime::now())
                .map(|_| ())
                .map_err(|error| error.to_string())
        }
    }

    fn uris(uris: &[&str]) -> impl FnOnce(&mut CertificateParams) {
        let names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
        let names = names.collect();
        |params| params.subject_alt_names = names
    }

    #[test]
    fn server_is_verified_by_its_only_uri() {
        let root = Authority::root();
        assert_eq!(root.verify(&[root.issue(uris(&[ID]))]), Ok(()));
        let other = "spiffe://dev.example.org/mint";
        for (names, reported) in [
            (&[other][..], "its name is spiffe://dev.example.org/mint"),
            (&[ID, other], "it has no single URI name"),
            (&[ID, "https://mint.example"], "it has no single URI name"),
            (&[], "it has no single URI name"),
        ] {
            let refused = root.verify(&[root.issue(uris(names))]).unwrap_err();
            assert!(refused.contains(reported), "{names:?}: {refused}");
        }
    }

    #[test]
    fn name_that_cannot_be_parsed_is_refused() {
        let root = Authority::root();
        // The ID, then a URI that is not ASCII.
        let mut names = vec![0x86, u8::try_from(ID.len()).unwrap()];
        names.extend(ID.as_bytes());
        names.extend(b"\x86\x0aspiffe://\xff");
        let mut der = vec![0x30, u8::try_from(names.len()).unwrap()];
        der.append(&mut names);
        let leaf = root.issue(|params| {
            let extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], der);
            params.custom_extensions.push(extension);
        });
        assert!(root.verify(&[leaf]).unwrap_err().contains("BadEncoding"));
    }

    #[test]
    fn chain_leads_to_the_bundle_over_intermediates() {
        let (root, other) = (Authority::root(), Authority::root());
        let between = root.intermediate("between");
        let leaf = between.issue(uris(&[ID]));
        let chain = [leaf, between.der];
        assert_eq!(root.verify(&chain), Ok(()));
        assert!(root.verify(&chain[..1]).unwrap_err().contains("UnknownIssuer"));
        assert!(other.verify(&chain).is_err(), "of another domain's authority");
        let client = |params: &mut CertificateParams| {
            uris(&[ID])(params);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        };
        assert!(root.verify(&[root.issue(client)]).is_err(), "a client's certificate");
    }
}

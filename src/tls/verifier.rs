//! Verifies client certificates for rustls.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use super::{
    config::ClientAuth,
    provider,
    trust::{Chain, Refused, Trust, Verified},
};
use crate::clock::Clock;

/// Verifies the client of one handshake and keeps the result for the caller: rustls returns neither
/// the name nor the reason for a refusal.
pub(super) struct Verifier {
    trust: Arc<Trust>,
    auth: ClientAuth,
    clock: Clock,
    algorithms: WebPkiSupportedAlgorithms,
    result: OnceLock<Result<(Chain, Verified), Refused>>,
}

impl Verifier {
    pub(super) fn new(trust: Arc<Trust>, auth: ClientAuth, clock: Clock) -> Self {
        let algorithms = provider().signature_verification_algorithms;
        Self { trust, auth, clock, algorithms, result: OnceLock::new() }
    }

    /// The result; `None` if the client sent no certificate.
    pub(super) fn result(&self) -> Option<&Result<(Chain, Verified), Refused>> {
        self.result.get()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.auth == ClientAuth::Required
    }

    /// Empty, so that a client sends any certificate it has, and the log shows why it is refused.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain = std::iter::once(leaf).chain(intermediates);
        let chain: Chain = chain.map(|der| der.clone().into_owned()).collect();
        let result = self.trust.verify(&chain, self.clock.now().wall);
        let response = match &result {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(refused) => Err(refused.cause.alert().into()),
        };
        let _ = self.result.set(result.map(|verified| (chain, verified)));
        response
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

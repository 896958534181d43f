//! Certificates of a server and its callers, generated for one run, and TLS configurations for both
//! sides.

use std::{fs, sync::Arc};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

/// The callers' trust domain.
const DOMAIN: &str = "bench.example";

/// The caller's SPIFFE ID.
const CALLER: &str = "spiffe://bench.example/ns/media/sa/api";

/// The other caller's SPIFFE ID.
const OTHER: &str = "spiffe://bench.example/ns/web/sa/page";

/// The other caller's quota in tokens a second, if it has one.
pub(crate) const QUOTA: u32 = 20;

/// The server's name in its certificate.
pub(crate) const SERVER_NAME: &str = "localhost";

/// A server's certificate and key in PEM.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ServerCertificate {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl ServerCertificate {
    /// Accepts handshakes as a server does by default.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor> {
        let certificate = CertificateDer::from_pem_slice(self.cert.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())?;
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut config = builder.with_single_cert(vec![certificate], key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config).into())
    }
}

/// A CA and its certificates.
pub(crate) struct Secure {
    dir: TempDir,
    ca: CertificateDer<'static>,
    pub(crate) server: ServerCertificate,
    caller: CallerCertificate,
    other: CallerCertificate,
}

/// A caller's certificate and key.
type CallerCertificate = (CertificateDer<'static>, KeyPair);

impl Secure {
    pub(crate) fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let issue = |name: SanType, usage: ExtendedKeyUsagePurpose| {
            let mut params = CertificateParams::new(Vec::new())?;
            params.subject_alt_names = vec![name];
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate()?;
            anyhow::Ok((params.signed_by(&key, &ca)?, key))
        };
        let (cert, key) =
            issue(SanType::DnsName(SERVER_NAME.try_into()?), ExtendedKeyUsagePurpose::ServerAuth)?;
        let server = ServerCertificate { cert: cert.pem(), key: key.serialize_pem() };
        let shows = |name: &str| {
            let usage = ExtendedKeyUsagePurpose::ClientAuth;
            let (cert, key) = issue(SanType::URI(name.try_into()?), usage)?;
            anyhow::Ok((cert.der().clone(), key))
        };
        let (caller, other) = (shows(CALLER)?, shows(OTHER)?);
        let dir = TempDir::new()?;
        for (name, text) in
            [("tls.crt", &server.cert), ("tls.key", &server.key), ("ca.crt", &ca.pem())]
        {
            fs::write(dir.path().join(name), text)?;
        }
        Ok(Self { dir, ca: ca.der().clone(), server, caller, other })
    }

    /// The part of a configuration for TLS alone.
    pub(crate) fn tls(&self) -> String {
        self.pair() + "client_auth = \"optional\"\n"
    }

    fn pair(&self) -> String {
        let dir = self.dir.path().display();
        format!("[server.tls]\ncert = \"{dir}/tls.crt\"\nkey = \"{dir}/tls.key\"\n")
    }

    /// The same, and a caller that is known by its certificate, is allowed by a row, and has quotas
    /// that it does not reach.
    pub(crate) fn known_caller(&self, profile: &str) -> String {
        let dir = self.dir.path().display();
        self.pair()
            + &format!(
                "trust_domains = {{ \"{DOMAIN}\" = \"{dir}/ca.crt\" }}\n\
                 [limits]\nconnections_per_caller = 1024\n\
                 [callers.bench]\nmatch = [\"spiffe://{DOMAIN}/ns/media/*\"]\n\
                 tokens = {{ rate = 10000000, burst = 10000000 }}\n\
                 bulk_tokens = {{ rate = 10000000, burst = 10000000 }}\n\
                 allow = [{{ profiles = [\"{profile}\"], identities = [\"viewer-*\"], max_ttl = \"10m\" }}]\n"
            )
    }

    /// The same, and another caller with a small quota of single tokens.
    pub(crate) fn two_callers(&self, profile: &str) -> String {
        self.known_caller(profile)
            + &format!(
                "[callers.other]\nmatch = [\"{OTHER}\"]\nstreams = 1024\n\
                 tokens = {{ rate = {QUOTA}, burst = {QUOTA} }}\n\
                 allow = [{{ profiles = [\"{profile}\"] }}]\n"
            )
    }

    /// A client without a certificate.
    pub(crate) fn stranger(&self) -> Result<Arc<ClientConfig>> {
        let builder = self.verifying()?;
        Ok(Arc::new(finished(builder.with_no_client_auth())))
    }

    /// A client with the caller's certificate.
    pub(crate) fn caller(&self) -> Result<Arc<ClientConfig>> {
        self.showing(&self.caller)
    }

    /// A client with the other caller's certificate.
    pub(crate) fn other_caller(&self) -> Result<Arc<ClientConfig>> {
        self.showing(&self.other)
    }

    fn showing(&self, (cert, key): &CallerCertificate) -> Result<Arc<ClientConfig>> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = self.verifying()?.with_client_auth_cert(vec![cert.clone()], key);
        Ok(Arc::new(finished(config.context("the caller's certificate")?)))
    }

    fn verifying(
        &self,
    ) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone())?;
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        Ok(builder.with_safe_default_protocol_versions()?.with_root_certificates(roots))
    }
}

fn finished(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    config
}

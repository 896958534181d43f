//! Authorities, certificates and revocation lists as a platform team has them.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use grantmint::clock::Clock;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams,
    CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tempfile::TempDir;

use crate::support::{Configured, Serve};

/// In seconds.
pub(crate) const DAY: i64 = 24 * 60 * 60;

/// The revoked serial number.
pub(super) const REVOKED: u64 = 666;

/// A certificate with its key, which can issue others.
pub(crate) struct Entity {
    pub(super) certificate: CertificateDer<'static>,
    key: KeyPair,
    params: CertificateParams,
}

fn entity(
    params: CertificateParams,
    key: KeyPair,
    sign: impl FnOnce(&CertificateParams, &KeyPair) -> Certificate,
) -> Entity {
    let certificate = sign(&params, &key).der().clone();
    Entity { certificate, key, params }
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

impl Entity {
    pub(super) fn self_signed(params: CertificateParams) -> Self {
        entity(params, new_key(), |params, key| params.self_signed(key).expect("signed"))
    }

    /// An authority of this name.
    pub(crate) fn authority(name: &str) -> Self {
        Self::self_signed(ca(name))
    }

    /// The TLS configuration of a local server with a certificate of this authority.
    pub(crate) fn serves(&self) -> ServerConfig {
        let mut params = dns(&["localhost"]);
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server = self.issue(params);
        let key = server.key();
        ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![server.certificate], key)
            .expect("a pair")
    }

    /// Its certificate in PEM.
    pub(crate) fn pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    /// Its private key in PEM.
    pub(crate) fn key_pem(&self) -> String {
        pem("PRIVATE KEY", &self.key.serialize_der())
    }

    pub(crate) fn issue(&self, params: CertificateParams) -> Self {
        self.issue_to(params, new_key())
    }

    pub(super) fn issue_for(
        &self,
        params: CertificateParams,
        algorithm: &'static SignatureAlgorithm,
    ) -> Self {
        self.issue_to(params, KeyPair::generate_for(algorithm).expect("a key"))
    }

    fn issue_to(&self, params: CertificateParams, key: KeyPair) -> Self {
        let issuer = Issuer::from_params(&self.params, &self.key);
        entity(params, key, |params, key| params.signed_by(key, &issuer).expect("signed"))
    }

    /// Its certificate in DER.
    pub(crate) fn der(&self) -> &[u8] {
        &self.certificate
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).expect("a key")
    }

    /// The same key with a corrupt certificate.
    pub(super) fn garbled(mut self) -> Self {
        self.certificate = CertificateDer::from(b"\x30\x03\x02\x01\x01".to_vec());
        self
    }

    /// A list that revokes [`REVOKED`], with its next update in this many seconds.
    fn revokes(&self, next: i64) -> String {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(REVOKED),
            revocation_time: date_time_ymd(1970, 1, 1) + since_1970(-DAY),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(1970, 1, 1) + since_1970(-DAY),
            next_update: date_time_ymd(1970, 1, 1) + since_1970(next),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer = Issuer::from_params(&self.params, &self.key);
        pem("X509 CRL", list.signed_by(&issuer).expect("signed").der())
    }
}

/// The time since 1970 of an instant this many seconds from now.
fn since_1970(seconds: i64) -> Duration {
    let at = Clock::system().now().wall.unix_seconds() + seconds;
    Duration::from_secs(at.try_into().expect("after 1970"))
}

/// Valid between these seconds from now.
pub(crate) fn valid(mut params: CertificateParams, from: i64, to: i64) -> CertificateParams {
    params.not_before = date_time_ymd(1970, 1, 1) + since_1970(from);
    params.not_after = date_time_ymd(1970, 1, 1) + since_1970(to);
    params
}

/// A client certificate with this common name and no other name.
pub(super) fn unnamed(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([]).expect("no names");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    valid(params, -DAY, DAY)
}

/// A client certificate for these URIs.
pub(crate) fn uris(uris: &[&str]) -> CertificateParams {
    let mut params = unnamed("client");
    let names = uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("ASCII")));
    params.subject_alt_names = names.collect();
    params
}

/// A client certificate for these DNS names.
pub(crate) fn dns(names: &[&str]) -> CertificateParams {
    let mut params = unnamed("client");
    let names = names.iter().map(|name| SanType::DnsName((*name).try_into().expect("ASCII")));
    params.subject_alt_names = names.collect();
    params
}

/// A client certificate with these bytes as its subjectAltName.
pub(super) fn raw_names(mut params: CertificateParams, der: &[u8]) -> CertificateParams {
    let extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], der.to_vec());
    params.custom_extensions.push(extension);
    params
}

pub(super) fn ca(common_name: &str) -> CertificateParams {
    let mut params = unnamed(common_name);
    params.extended_key_usages.clear();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in BASE64_STANDARD.encode(der).as_bytes().chunks(64) {
        text += str::from_utf8(line).expect("ASCII");
        text += "\n";
    }
    text + &format!("-----END {label}-----\n")
}

/// A platform's authorities, and the server's files.
pub(crate) struct Pki {
    dir: TempDir,
    pub(super) server_ca: Entity,
    /// Issues DNS names, and revokes.
    pub(super) dns_ca: Entity,
    /// Issues DNS names too, without a revocation list.
    pub(super) listless_ca: Entity,
    /// Issues `prod.example.org`.
    pub(crate) prod: Entity,
    /// Issues `dev.example.org`.
    pub(super) dev: Entity,
}

/// The server's SPIFFE ID.
pub(crate) const SERVER_ID: &str = "spiffe://prod.example.org/ns/media/sa/mint";

/// A caller's SPIFFE ID.
pub(crate) const CALLER_ID: &str = "spiffe://prod.example.org/ns/media/sa/api";

impl Pki {
    pub(crate) fn new() -> Self {
        let root = Entity::authority;
        let pki = Self {
            dir: TempDir::new().expect("a directory"),
            server_ca: root("Server CA"),
            dns_ca: root("DNS CA"),
            listless_ca: root("DNS CA without a list"),
            prod: root("prod"),
            dev: root("dev"),
        };
        let mut server = dns(&["localhost"]);
        server.subject_alt_names.extend([
            SanType::IpAddress([127, 0, 0, 1].into()),
            SanType::URI(SERVER_ID.try_into().expect("ASCII")),
        ]);
        pki.renew_server(server);
        let certificates = |all: &[&Entity]| -> String {
            all.iter().map(|entity| pem("CERTIFICATE", &entity.certificate)).collect()
        };
        pki.write("server-ca.pem", &certificates(&[&pki.server_ca]));
        pki.write("ca.pem", &certificates(&[&pki.dns_ca, &pki.listless_ca]));
        pki.write("crl.pem", &pki.dns_ca.revokes(DAY));
        pki.write("prod.pem", &certificates(&[&pki.prod]));
        pki.write("dev.pem", &certificates(&[&pki.dev]));
        pki
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).expect("written");
    }

    /// Writes a chain and the key of its first certificate: `name.crt` and `name.key`.
    pub(crate) fn write_pair(&self, name: &str, chain: &[&Entity]) -> (PathBuf, PathBuf) {
        let (cert, key) = (format!("{name}.crt"), format!("{name}.key"));
        let chain_pem = chain.iter().map(|entity| pem("CERTIFICATE", &entity.certificate));
        self.write(&cert, &chain_pem.collect::<String>());
        self.write(&key, &chain[0].key_pem());
        (self.path(&cert), self.path(&key))
    }

    /// The server's next certificate.
    pub(crate) fn renew_server(&self, mut params: CertificateParams) {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.write_pair("server", &[&self.server_ca.issue(params)]);
    }

    /// Writes a list that is past its next update.
    pub(super) fn write_expired_list(&self) {
        self.write("crl.pem", &self.dns_ca.revokes(-60));
    }

    /// `[server.tls]` with all of these files, and these lines.
    pub(crate) fn section(&self, lines: &str) -> String {
        let dir = self.dir.path().display();
        format!(
            "[server.tls]\ncert = \"{dir}/server.crt\"\nkey = \"{dir}/server.key\"\n\
             client_ca = \"{dir}/ca.pem\"\nclient_crl = \"{dir}/crl.pem\"\n\
             trust_domains = {{ \"prod.example.org\" = \"{dir}/prod.pem\", \
             \"dev.example.org\" = \"{dir}/dev.pem\" }}\n{lines}\n"
        )
    }

    /// A configuration with these lines in `[server.tls]`.
    pub(crate) fn configured(&self, lines: &str) -> Configured {
        let secret = grantmint::provider::twilio_live::DEMO_API_KEY_SECRET;
        Configured::with_secret(&self.section(lines), "", secret)
    }

    /// A server with these lines in `[server.tls]`.
    pub(crate) async fn serve(&self, lines: &str) -> Serve {
        Serve::configured(&self.configured(lines), &[]).await
    }
}

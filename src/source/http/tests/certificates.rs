//! Certificates that are wrong in one way each, as private CAs and `openssl` make them.

use rcgen::{
    Certificate, CidrSubnet, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree,
    KeyUsagePurpose, NameConstraints,
};
use rustls::{
    pki_types::CertificateDer,
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};

use super::*;

const HOST: &str = "127.0.0.1";

/// A certificate with its key, and what it issues with.
struct Entity {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    params: CertificateParams,
}

/// Parameters of this common name, for [`HOST`].
fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([HOST.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn ca(name: &str, constraint: BasicConstraints) -> CertificateParams {
    let mut params = named(name);
    params.subject_alt_names.clear();
    params.is_ca = IsCa::Ca(constraint);
    params
}

fn entity(
    params: CertificateParams,
    sign: impl FnOnce(&CertificateParams, &KeyPair) -> Certificate,
) -> Entity {
    let key = KeyPair::generate().unwrap();
    let certificate = sign(&params, &key).der().clone();
    Entity { certificate, key, params }
}

fn self_signed(params: CertificateParams) -> Entity {
    entity(params, |params, key| params.self_signed(key).unwrap())
}

impl Entity {
    fn issue(&self, params: CertificateParams) -> Self {
        let issuer = Issuer::from_params(&self.params, &self.key);
        entity(params, |params, key| params.signed_by(key, &issuer).unwrap())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        roots
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }
}

/// What every client is shown, whether it is good or not.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// TLS with the key of the first, and all their certificates.
fn serving(chain: &[&Entity]) -> TlsAcceptor {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(chain[0].key()).unwrap();
    let chain = chain.iter().map(|entity| entity.certificate.clone()).collect();
    let config = ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shown(Arc::new(CertifiedKey::new(chain, key)))));
    TlsAcceptor::from(Arc::new(config))
}

/// What is said of this chain where `root` is trusted; nothing of the request is sent.
async fn said(chain: &[&Entity], root: &Entity) -> String {
    let upstream = over(serving(chain)).await;
    let (class, reason) = failure(upstream.port, &root.roots()).await;
    assert_eq!(class, FaultClass::Misconfigured, "{reason}");
    assert_eq!(upstream.heard.load(Ordering::SeqCst), 0, "{reason}: it was told something");
    reason
}

async fn is_taken(chain: &[&Entity], root: &Entity) {
    let upstream = over(serving(chain)).await;
    assert_eq!(ask(upstream.port, &root.roots()).await.unwrap(), "{}");
}

#[tokio::test]
async fn each_fault_of_a_certificate_has_its_reason() {
    let root = self_signed(ca("root", BasicConstraints::Unconstrained));
    let good = root.issue(named("server"));
    is_taken(&[&good], &root).await;

    let mut params = named("client");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let client = root.issue(params);
    assert_eq!(said(&[&client], &root).await, "TLS_CERTIFICATE_NOT_FOR_SERVERS");

    let mut params = named(HOST);
    params.subject_alt_names.clear();
    let nameless = root.issue(params);
    assert_eq!(said(&[&nameless], &root).await, "TLS_CERTIFICATE_WITHOUT_A_NAME");

    let mut params = named("odd");
    let mut odd = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
    odd.set_criticality(true);
    params.custom_extensions = vec![odd];
    let odd = root.issue(params);
    assert_eq!(said(&[&odd], &root).await, "TLS_CERTIFICATE_EXTENSION_UNKNOWN");

    let mut cut = root.issue(named("cut"));
    cut.certificate = CertificateDer::from(vec![0x30, 3, 2, 1, 1]);
    assert_eq!(said(&[&cut], &root).await, "TLS_CERTIFICATE_MALFORMED");
}

#[tokio::test]
async fn a_ca_that_is_no_servers_certificate_is_told_and_the_remedies_are_taken() {
    let root = self_signed(ca("root", BasicConstraints::Unconstrained));
    // As `openssl req -x509` makes it, and with the usages of a CA.
    let mut params = named("self-signed");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let as_root = self_signed(params.clone());
    assert_eq!(said(&[&as_root], &as_root).await, "TLS_CERTIFICATE_IS_A_CA");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let issued = root.issue(params.clone());
    assert_eq!(said(&[&issued], &root).await, "TLS_CERTIFICATE_IS_A_CA");
    // Trusting it would not be enough.
    assert_eq!(said(&[&as_root], &root).await, "TLS_CERTIFICATE_IS_A_CA");

    is_taken(&[&as_root.issue(named("server"))], &as_root).await;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages.clear();
    let own = self_signed(params);
    is_taken(&[&own], &own).await;
}

#[tokio::test]
async fn an_issuer_that_may_not_issue_is_told() {
    let root = self_signed(ca("root", BasicConstraints::Unconstrained));
    let between = root.issue(ca("between", BasicConstraints::Unconstrained));
    let below = between.issue(named("server"));
    is_taken(&[&below, &between], &root).await;
    assert_eq!(said(&[&below], &root).await, "TLS_CERTIFICATE_UNTRUSTED");

    let no_ca = root.issue(named("server"));
    let below = no_ca.issue(named("below"));
    assert_eq!(said(&[&below, &no_ca], &root).await, "TLS_CERTIFICATE_ISSUER_IS_NO_CA");

    // A root's own limit is not looked at.
    let short = root.issue(ca("short", BasicConstraints::Constrained(0)));
    let between = short.issue(ca("between", BasicConstraints::Unconstrained));
    let below = between.issue(named("server"));
    let chain = [&below, &between, &short];
    assert_eq!(said(&chain, &root).await, "TLS_CERTIFICATE_CHAIN_TOO_LONG");

    let mut narrow = ca("narrow", BasicConstraints::Unconstrained);
    let loopback = GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8));
    narrow.name_constraints =
        Some(NameConstraints { permitted_subtrees: Vec::new(), excluded_subtrees: vec![loopback] });
    let narrow = self_signed(narrow);
    let below = narrow.issue(named("server"));
    assert_eq!(said(&[&below], &narrow).await, "TLS_CERTIFICATE_NAME_NOT_PERMITTED");

    // The same name, and another key.
    let again = self_signed(ca("root", BasicConstraints::Unconstrained));
    let good = root.issue(named("server"));
    assert_eq!(said(&[&good], &again).await, "TLS_CERTIFICATE_SIGNATURE_WRONG");
}

#[tokio::test]
async fn an_upstream_that_wants_a_certificate_of_ours_says_so() {
    let root = self_signed(ca("root", BasicConstraints::Unconstrained));
    let server = root.issue(named("server"));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::new(root.roots()),
            Arc::clone(&provider),
        );
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![server.certificate.clone()], server.key());
        let upstream = over(TlsAcceptor::from(Arc::new(config.unwrap()))).await;
        for _ in 0..20 {
            let seen = failure(upstream.port, &root.roots()).await;
            let wanted = (FaultClass::Misconfigured, "TLS_CLIENT_CERTIFICATE_REQUIRED".to_owned());
            assert_eq!(seen, wanted, "{version:?}");
        }
    }
}

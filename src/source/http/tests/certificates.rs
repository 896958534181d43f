//! Certificates with one fault each, as private CAs and `openssl` create them.

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

/// A certificate with its key and parameters.
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

/// The certificate sent to every client, valid or not.
#[derive(Debug)]
struct Presented(Arc<CertifiedKey>);

impl ResolvesServerCert for Presented {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// TLS with the first entity's key and the certificates of all.
fn serving(chain: &[&Entity]) -> TlsAcceptor {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(chain[0].key()).unwrap();
    let chain = chain.iter().map(|entity| entity.certificate.clone()).collect();
    let config = ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Presented(Arc::new(CertifiedKey::new(chain, key)))));
    TlsAcceptor::from(Arc::new(config))
}

/// The fault's reason for this chain if `root` is trusted; nothing of the request is sent.
async fn reason_for(chain: &[&Entity], root: &Entity) -> String {
    let upstream = over(serving(chain)).await;
    let (class, reason) = failure(upstream.port, &root.roots()).await;
    assert_eq!(class, FaultClass::Misconfigured, "{reason}");
    assert_eq!(upstream.received.load(Ordering::SeqCst), 0, "{reason}: something was sent");
    reason
}

async fn is_accepted(chain: &[&Entity], root: &Entity) {
    let upstream = over(serving(chain)).await;
    assert_eq!(request(upstream.port, &root.roots()).await.unwrap(), "{}");
}

#[tokio::test]
async fn each_certificate_fault_has_its_reason() {
    let root = self_signed(ca("root", BasicConstraints::Unconstrained));
    let good = root.issue(named("server"));
    is_accepted(&[&good], &root).await;

    let mut params = named("client");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let client = root.issue(params);
    assert_eq!(reason_for(&[&client], &root).await, "TLS_CERTIFICATE_NOT_FOR_SERVERS");

    let mut params = named(HOST);
    params.subject_alt_names.clear();
    let nameless = root.issue(params);
    assert_eq!(reason_for(&[&nameless], &root).await, "TLS_CERTIFICATE_WITHOUT_A_NAME");

    let mut params = named("odd");
    let mut odd = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
    odd.set_criticality(true);
    params.custom_extensions = vec![odd];
    let odd = root.issue(params);
    assert_eq!(reason_for(&[&odd], &root).await, "TLS_CERTIFICATE_EXTENSION_UNKNOWN");

    let mut cut = root.issue(named("cut"));
    cut.certificate = CertificateDer::from(vec![0x30, 3, 2, 1, 1]);
    assert_eq!(reason_for(&[&cut], &root).await, "TLS_CERTIFICATE_MALFORMED");
}

#[tokio::test]
async fn ca_as_server_certificate_is_reported_and_fixable() {
    let root = self_signed(ca("root", BasicConstraints::Unconstrained));
    // As `openssl req -x509` creates it, and with the usages of a CA.
    let mut params = named("self-signed");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let as_root = self_signed(params.clone());
    assert_eq!(reason_for(&[&as_root], &as_root).await, "TLS_CERTIFICATE_IS_A_CA");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let issued = root.issue(params.clone());
    assert_eq!(reason_for(&[&issued], &root).await, "TLS_CERTIFICATE_IS_A_CA");
    // Trusting it would not be enough.
    assert_eq!(reason_for(&[&as_root], &root).await, "TLS_CERTIFICATE_IS_A_CA");

    is_accepted(&[&as_root.issue(named("server"))], &as_root).await;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages.clear();
    let own = self_signed(params);
    is_accepted(&[&own], &own).await;
}

#[tokio::test]
async fn issuer_without_authority_is_reported() {
    let root = self_signed(ca("root", BasicConstraints::Unconstrained));
    let between = root.issue(ca("between", BasicConstraints::Unconstrained));
    let below = between.issue(named("server"));
    is_accepted(&[&below, &between], &root).await;
    assert_eq!(reason_for(&[&below], &root).await, "TLS_CERTIFICATE_UNTRUSTED");

    let no_ca = root.issue(named("server"));
    let below = no_ca.issue(named("below"));
    assert_eq!(reason_for(&[&below, &no_ca], &root).await, "TLS_CERTIFICATE_ISSUER_IS_NO_CA");

    // A root's own limit is not checked.
    let short = root.issue(ca("short", BasicConstraints::Constrained(0)));
    let between = short.issue(ca("between", BasicConstraints::Unconstrained));
    let below = between.issue(named("server"));
    let chain = [&below, &between, &short];
    assert_eq!(reason_for(&chain, &root).await, "TLS_CERTIFICATE_CHAIN_TOO_LONG");

    let mut narrow = ca("narrow", BasicConstraints::Unconstrained);
    let loopback = GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8));
    narrow.name_constraints =
        Some(NameConstraints { permitted_subtrees: Vec::new(), excluded_subtrees: vec![loopback] });
    let narrow = self_signed(narrow);
    let below = narrow.issue(named("server"));
    assert_eq!(reason_for(&[&below], &narrow).await, "TLS_CERTIFICATE_NAME_NOT_PERMITTED");

    // The same name with a different key.
    let again = self_signed(ca("root", BasicConstraints::Unconstrained));
    let good = root.issue(named("server"));
    assert_eq!(reason_for(&[&good], &again).await, "TLS_CERTIFICATE_SIGNATURE_WRONG");
}

#[tokio::test]
async fn required_client_certificate_is_reported() {
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

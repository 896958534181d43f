//! Tests of verification, and of replacing the authorities.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use tokio::{io::duplex, time::Instant};
use tokio_rustls::TlsConnector;

use super::{
    server::Client,
    trust::{Contents, DomainContents, Trust, Verified},
    *,
};
use crate::{
    clock::{Clock, WallTime},
    settings::Followed,
    telemetry::Metrics,
};

struct Entity {
    der: CertificateDer<'static>,
    key: KeyPair,
    params: CertificateParams,
}

fn named(uris: &[&str], dns: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new([]).unwrap();
    let uris = uris.iter().map(|it| SanType::URI((*it).try_into().unwrap()));
    let dns = dns.iter().map(|it| SanType::DnsName((*it).try_into().unwrap()));
    params.subject_alt_names = uris.chain(dns).collect();
    params
}

fn of_authority() -> CertificateParams {
    let mut params = named(&[], &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn until(end: u64, mut params: CertificateParams) -> CertificateParams {
    params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(end);
    params
}

fn authority() -> Entity {
    self_signed(of_authority())
}

fn self_signed(params: CertificateParams) -> Entity {
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().clone();
    Entity { der, key, params }
}

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let text = BASE64_STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n").into_bytes()
}

impl Entity {
    fn issue(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let der = params.signed_by(&key, &issuer).unwrap().der().clone();
        Self { der, key, params }
    }

    fn pem(&self) -> Vec<u8> {
        pem("CERTIFICATE", &self.der)
    }

    /// The same key and name in a certificate with another expiry.
    fn renewed(&self, end: u64) -> Self {
        let key = KeyPair::try_from(self.key.serialize_der()).unwrap();
        let params = until(end, self.params.clone());
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { der, key, params }
    }

    fn revoking(&self, serial: u64) -> Vec<u8> {
        self.revoking_until(4_000 * 31_556_952, serial)
    }

    /// A list with its next update at `next`.
    fn revoking_until(&self, next: u64, serial: u64) -> Vec<u8> {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(1970, 1, 1) + Duration::from_secs(next),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: serial.into(),
                revocation_time: date_time_ymd(2020, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer = Issuer::from_params(&self.params, &self.key);
        pem("X509 CRL", list.signed_by(&issuer).unwrap().der())
    }
}

fn files(client_ca: Vec<u8>, domain: &Entity, client_crl: Option<Vec<u8>>) -> Arc<FileTrust> {
    let bundle = DomainContents::File(domain.pem());
    let trust_domains = BTreeMap::from([("prod.example.org".to_owned(), bundle)]);
    let contents = Contents { client_ca: Some(client_ca), client_crl, trust_domains };
    Arc::new(FileTrust::new(&contents, WhenExpired::Keep).unwrap())
}

fn trusting(client_ca: Vec<u8>, domain: &Entity, client_crl: Option<Vec<u8>>) -> Trust {
    Trust::new(files(client_ca, domain, client_crl), Arc::default())
}

fn names(verified: &Verified) -> Vec<String> {
    let others = verified.other_names.iter().map(ToString::to_string);
    std::iter::once(verified.name.to_string()).chain(others).collect()
}

const NOW: WallTime = WallTime::from_unix_seconds(1_800_000_000);

#[test]
fn certificate_proves_its_spiffe_id_or_else_its_dns_names() {
    let (ca, domain) = (authority(), authority());
    let trust = trusting(ca.pem(), &domain, None);
    let proved =
        |entity: &Entity| names(&trust.verify(std::slice::from_ref(&entity.der), NOW).unwrap());

    let dns = ca.issue(named(&[], &["B.media.svc", "*.media.svc", "a.media.svc"]));
    assert_eq!(proved(&dns), ["dns:b.media.svc", "dns:a.media.svc"]);
    let both = domain.issue(named(&["SPIFFE://prod.example.org/a"], &["b.media.svc"]));
    assert_eq!(proved(&both), ["spiffe://prod.example.org/a"]);
}

#[test]
fn chain_expires_with_its_first_certificate() {
    let (ca, domain) = (authority(), authority());
    let (first, later) = (1_900_000_000, 1_900_000_009);
    for (of_leaf, of_other, of_ca) in
        [(first, later, later), (later, first, later), (later, later, first)]
    {
        let ca = ca.renewed(of_ca);
        let trust = trusting(ca.pem(), &domain, None);
        let between = ca.issue(until(of_other, of_authority()));
        let leaf = between.issue(until(of_leaf, named(&[], &["a.svc"])));
        let verified = trust.verify(&[leaf.der, between.der], NOW).unwrap();
        assert_eq!(verified.expiry.unix_seconds(), 1_900_000_000);
    }
}

#[test]
fn expired_authority_is_not_trusted() {
    let (ca, domain) = (authority(), authority());
    let leaf = ca.issue(named(&[], &["a.svc"])).der;
    let verify = |client_ca: Vec<u8>| {
        let verified = trusting(client_ca, &domain, None).verify(std::slice::from_ref(&leaf), NOW);
        verified.map(|it| it.expiry.unix_seconds()).map_err(|refused| refused.cause)
    };
    let (ended, renewed) = (ca.renewed(1_799_999_999), ca.renewed(1_900_000_000));
    assert_eq!(verify(ended.pem()), Err(Cause::Expired));
    let both = [ended.pem(), renewed.pem()].concat();
    assert_eq!(verify(both), Ok(1_900_000_000), "renewed authority");
}

#[test]
fn number_of_names_in_a_certificate_is_limited() {
    let (ca, domain) = (authority(), authority());
    let trust = trusting(ca.pem(), &domain, None);
    for (count, is_valid) in [(32, true), (33, false)] {
        let names: Vec<_> = (0..count).map(|it| format!("n{it}.svc")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let verified = trust.verify(&[ca.issue(named(&[], &names)).der], NOW);
        assert_eq!(verified.map_err(|it| it.cause).err(), (!is_valid).then_some(Cause::Malformed));
    }
}

#[test]
fn list_applies_to_the_authority_that_signed_it_only() {
    // As after a key change: one name, two keys.
    let (old, new, domain) = (authority(), authority(), authority());
    assert_eq!(old.params.distinguished_name, new.params.distinguished_name);
    let both = [old.pem(), new.pem()].concat();
    let trusted = files(both, &domain, Some(old.revoking(7)));
    let trust = Trust::new(Arc::clone(&trusted), Arc::default());
    let with_serial = |ca: &Entity, serial: u64| {
        let mut params = named(&[], &["a.svc"]);
        params.serial_number = Some(serial.into());
        trust.verify(&[ca.issue(params).der], NOW).map_err(|refused| refused.cause)
    };
    assert_eq!(with_serial(&old, 7), Err(Cause::Revoked));
    for (ca, serial) in [(&old, 8), (&new, 7), (&new, 8)] {
        assert!(with_serial(ca, serial).is_ok());
    }
    assert_eq!(trusted.warnings().len(), 1, "the new authority has no list");
}

#[test]
fn revoked_authority_is_not_trusted() {
    let (ca, domain) = (authority(), authority());
    let trust = trusting(ca.pem(), &domain, Some(ca.revoking(7)));
    for (serial, expected) in [(7, Some(Cause::Revoked)), (8, None)] {
        let mut params = of_authority();
        params.serial_number = Some(serial.into());
        let between = ca.issue(params);
        // The intermediate authority has no list of its own.
        let leaf = between.issue(named(&[], &["a.svc"]));
        let verified = trust.verify(&[leaf.der, between.der], NOW);
        assert_eq!(verified.map_err(|refused| refused.cause).err(), expected);
    }
}

#[test]
fn with_refuse_certificates_expire_with_their_list() {
    let (ca, other) = (authority(), authority());
    let leaf = ca.issue(named(&[], &["a.svc"])).der;
    let end = |when_expired, next, now: i64| {
        let lists = [ca.revoking_until(next, 7), other.revoking_until(1_800_000_001, 7)].concat();
        let client_ca = Some([ca.pem(), other.pem()].concat());
        let contents = Contents { client_ca, client_crl: Some(lists), ..Contents::default() };
        let files = FileTrust::new(&contents, when_expired).unwrap();
        let trust = Trust::new(Arc::new(files), Arc::default());
        let now = WallTime::from_unix_seconds(now);
        let verified = trust.verify(std::slice::from_ref(&leaf), now);
        verified.map(|it| it.expiry.unix_seconds()).map_err(|refused| refused.cause)
    };
    let (now, next) = (1_800_000_000, 1_800_000_600);
    assert_eq!(end(WhenExpired::Refuse, next, now), Ok(1_800_000_600));
    assert_eq!(end(WhenExpired::Refuse, next, now + 601), Err(Cause::RevocationUnknown));
    assert!(end(WhenExpired::Keep, next, now + 601).unwrap() > 1_900_000_000);
}

#[test]
fn unusable_files_are_reported_with_the_reason() {
    let ca = authority();
    let other = authority();
    let key = |entity: &Entity| pem("PRIVATE KEY", entity.key.serialized_der());
    let leaf = ca.issue(named(&[], &["mint.svc"]));
    let refused = |cert: &[u8], key: &[u8], now: i64| {
        Identity::from_pem(cert, key, WallTime::from_unix_seconds(now)).unwrap_err().to_string()
    };
    let now = NOW.unix_seconds();
    assert!(Identity::from_pem(&leaf.pem(), &key(&leaf), NOW).is_ok());
    for (expected, error) in [
        ("cert: holds no certificate", refused(b"", &key(&leaf), now)),
        ("key: holds no private key", refused(&leaf.pem(), &leaf.pem(), now)),
        ("key: does not match the certificate", refused(&leaf.pem(), &key(&other), now)),
        ("not valid yet", refused(&leaf.pem(), &key(&leaf), 0)),
        ("has expired", refused(&leaf.pem(), &key(&leaf), 1 << 40)),
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let contents = |client_ca: &[u8], client_crl: &[u8]| Contents {
        client_ca: Some(client_ca.to_vec()),
        client_crl: Some(client_crl.to_vec()),
        ..Contents::default()
    };
    for (key, contents) in [
        ("client_ca", contents(b"", &ca.revoking(1))),
        ("client_ca", contents(&pem("CERTIFICATE", b"none"), &ca.revoking(1))),
        ("client_ca", contents(&leaf.pem(), &ca.revoking(1))),
        ("client_crl", contents(&ca.pem(), &ca.pem())),
        ("client_crl", contents(&ca.pem(), &pem("X509 CRL", b"none"))),
    ] {
        assert_eq!(FileTrust::new(&contents, WhenExpired::Keep).unwrap_err().key, key);
    }
}

/// The server's view of a client with this certificate after their handshake.
async fn known(tls: &Tls, root: &Entity, leaf: &Entity) -> Client {
    let mut roots = RootCertStore::empty();
    roots.add(root.der.clone()).unwrap();
    let key = PrivateKeyDer::try_from(leaf.key.serialize_der()).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![leaf.der.clone()], key)
        .unwrap();
    config.alpn_protocols = vec![HTTP2.to_vec()];
    let (ours, theirs) = duplex(64 * 1024);
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("mint.svc").unwrap();
    let (accepted, connected) =
        tokio::join!(tls.accept(ours, Ipv4Addr::LOCALHOST.into()), connector.connect(name, theirs));
    connected.unwrap();
    accepted.unwrap().1.unwrap()
}

#[tokio::test(start_paused = true)]
async fn only_clients_that_lose_trust_are_reported() {
    let (ca, domain, next) = (authority(), authority(), authority());
    let server = ca.issue(named(&[], &["mint.svc"]));
    let key = pem("PRIVATE KEY", server.key.serialized_der());
    let config = Config {
        certificate: Certificate::Files(Pair { cert: "".into(), key: "".into() }),
        authorities: Authorities {
            client_ca: None,
            client_crl: None,
            crl_expired: WhenExpired::Keep,
            trust_domains: BTreeMap::new(),
        },
        client_auth: ClientAuth::Required,
        min_version: MinVersion::Tls13,
    };
    let identity = Arc::new(Identity::from_pem(&server.pem(), &key, NOW).unwrap());
    let loaded = Loaded {
        config,
        identity: LoadedIdentity::Files(Arc::clone(&identity), Followed::default()),
        trust: files(ca.pem(), &domain, None),
        of_trust: Followed::default(),
        warnings: Vec::new(),
    };
    let tls = Tls::new(&loaded, Clock::system(), &Metrics::default(), None);
    let of_ca = known(&tls, &ca, &ca.issue(named(&[], &["a.svc"]))).await;
    let id = domain.issue(named(&["spiffe://prod.example.org/a"], &[]));
    let of_domain = known(&tls, &ca, &id).await;

    let began = Instant::now();
    let swaps = async {
        // Replaces the certificate, then the authorities, which still include those of both
        // clients.
        tls.set_identity(&identity);
        tokio::time::sleep(Duration::from_secs(60)).await;
        tls.set_file_trust(&files([ca.pem(), next.pem()].concat(), &domain, None));
        tokio::time::sleep(Duration::from_secs(60)).await;
        tls.set_file_trust(&files(next.pem(), &domain, None));
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(tls.until_untrusted(of_ca), swaps) } => {}
        () = tls.until_untrusted(of_domain) => panic!("its authority is still trusted"),
    }
    assert_eq!(began.elapsed(), Duration::from_secs(120), "at once");
}

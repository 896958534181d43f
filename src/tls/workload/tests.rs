//! Tests of the agent's messages, and of an unreachable agent.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use tempfile::TempDir;
use tokio::time::Instant;

use super::{
    messages::X509Svid,
    svid::{Choice, Context, SvidError},
    *,
};
use crate::{
    telemetry::{Metrics, MetricsFormat},
    tls::{
        Authorities, Certificate, ClientAuth, Loaded, LoadedIdentity, MinVersion, WhenExpired,
        agent::Address,
        trust::{Contents, FileTrust, ReceivedBundles},
    },
};

const ID: &str = "spiffe://prod.example.org/mint";

const NOW: WallTime = WallTime::from_unix_seconds(1_800_000_000);

struct Authority {
    key: KeyPair,
    params: CertificateParams,
    der: Vec<u8>,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Authority { key, params, der }
}

fn named(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new([]).unwrap();
    params.subject_alt_names =
        uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params
}

impl Authority {
    /// An SVID that claims this ID, whatever its certificate says.
    fn svid(&self, id: &str, params: &CertificateParams) -> X509Svid {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        X509Svid {
            spiffe_id: id.to_owned(),
            chain: params.signed_by(&key, &issuer).unwrap().der().to_vec(),
            key: key.serialize_der(),
            bundle: self.der.clone(),
        }
    }

    fn good(&self) -> X509Svid {
        self.svid(ID, &named(&[ID]))
    }
}

fn message(svids: impl IntoIterator<Item = X509Svid>) -> X509SvidResponse {
    X509SvidResponse { svids: svids.into_iter().collect(), ..X509SvidResponse::default() }
}

fn read(message: &X509SvidResponse, wanted: Option<&str>) -> Result<Context, SvidError> {
    let wanted = wanted.map(|id| SpiffeId::parse(id).unwrap());
    let choice = wanted.as_ref().map_or(Choice::First, Choice::Only);
    Context::read(message, choice, &ReceivedBundles::default(), NOW)
}

#[test]
fn first_or_configured_svid_is_used() {
    let authority = authority();
    let other = "spiffe://prod.example.org/other";
    let both = message([authority.svid(other, &named(&[other])), authority.good()]);
    assert_eq!(read(&both, None).unwrap().id.as_str(), other);
    assert_eq!(read(&both, Some(ID)).unwrap().id.as_str(), ID);
    let missing = read(&both, Some("spiffe://prod.example.org/none")).unwrap_err();
    assert_eq!(missing.to_string(), "none of its SVIDs is spiffe://prod.example.org/none");
}

#[test]
fn current_svid_is_kept_while_it_is_still_sent() {
    let authority = authority();
    let other = "spiffe://prod.example.org/other";
    let id = SpiffeId::parse(ID).unwrap();
    let taken = |svids: Vec<X509Svid>| {
        let message = message(svids);
        let choice = Choice::Prefer(&id);
        let read = Context::read(&message, choice, &ReceivedBundles::default(), NOW);
        read.unwrap().id.as_str().to_owned()
    };
    let of_other = || authority.svid(other, &named(&[other]));
    assert_eq!(taken(vec![of_other(), authority.good()]), ID);
    assert_eq!(taken(vec![of_other()]), other);
}

#[test]
fn unusable_svid_is_refused_with_the_reason() {
    let authority = authority();
    let with = |change: &dyn Fn(&mut X509Svid)| {
        let mut svid = authority.good();
        change(&mut svid);
        read(&message([svid]), None).map(drop)
    };
    let issued =
        |params: &CertificateParams| read(&message([authority.svid(ID, params)]), None).map(drop);
    let mut ended = named(&[ID]);
    ended.not_after = date_time_ymd(2020, 1, 1);
    let mut early = named(&[ID]);
    early.not_before = date_time_ymd(2030, 1, 1);
    let mut of_authority = named(&[ID]);
    of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let other_key = authority.good().key.clone();
    for (expected, read) in [
        ("it contains no SVID", read(&message([]), None).map(drop)),
        ("has no SPIFFE ID", with(&|svid| svid.spiffe_id = "prod".to_owned())),
        ("for another name", with(&|svid| svid.spiffe_id += "2")),
        ("several_names", issued(&named(&[ID, "https://example.org/"]))),
        ("no_name", issued(&named(&[]))),
        ("wrong_usage", issued(&of_authority)),
        ("has expired", issued(&ended)),
        ("not valid yet", issued(&early)),
        ("malformed", with(&|svid| svid.chain = vec![0x30, 0])),
        ("is not a sequence of certificates", with(&|svid| svid.chain.truncate(40))),
        ("is not a sequence of certificates", with(&|svid| svid.chain.push(0x30))),
        ("is not a sequence of certificates", with(&|svid| svid.chain.clear())),
        ("private key that cannot be used", with(&|svid| svid.key.truncate(40))),
        ("private key that cannot be used", with(&|svid| svid.key.clear())),
        ("does not match the certificate", with(&|svid| svid.key.clone_from(&other_key))),
        ("the bundle of prod.example.org is empty", with(&|svid| svid.bundle.clear())),
        ("that is not a CA certificate", with(&|svid| svid.bundle.clone_from(&svid.chain))),
    ] {
        let error = read.unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let shown = format!("{:?}", message([authority.good()]));
    assert_eq!(shown, "X509SvidResponse { svids: [X509Svid], federated_bundles: {} }");
}

#[test]
fn bad_federated_bundle_keeps_the_previous_one() {
    let authority = authority();
    let federated = |name: &str, ders: &[u8]| X509SvidResponse {
        svids: vec![authority.good()],
        federated_bundles: [(name.to_owned(), ders.to_vec())].into(),
    };
    let (name, domain) = ("spiffe://partner.example.net", "partner.example.net");
    let previous = read(&federated(name, &authority.der), None).unwrap().bundles;
    assert!(previous.bundles.contains_key(domain) && previous.own == "prod.example.org");
    let next = Context::read(&federated(name, b"none"), Choice::First, &previous, NOW).unwrap();
    assert_eq!(next.bundles, previous);
    assert_eq!(next.unusable.len(), 1);
    // A bundle that is empty or no longer sent is no longer trusted.
    for name in [name, "spiffe://Partner/path"] {
        let next = Context::read(&federated(name, b""), Choice::First, &previous, NOW).unwrap();
        assert_eq!(next.bundles.bundles.len(), 1);
    }
}

/// A server that waits for its first SVID.
fn waiting(address: Address, clock: &Clock, metrics: &Metrics) -> (Arc<Tls>, Arc<WorkloadApi>) {
    let agent = Agent { address, spiffe_id: None };
    let loaded = Loaded {
        config: crate::tls::Config {
            certificate: Certificate::WorkloadApi(agent.clone()),
            authorities: Authorities {
                client_ca: None,
                client_crl: None,
                crl_expired: WhenExpired::Keep,
                trust_domains: std::collections::BTreeMap::new(),
            },
            client_auth: ClientAuth::Required,
            min_version: MinVersion::Tls13,
        },
        identity: LoadedIdentity::Awaited,
        trust: Arc::new(FileTrust::new(&Contents::default(), WhenExpired::Keep).unwrap()),
        of_trust: crate::settings::Followed::default(),
        warnings: Vec::new(),
    };
    let tls = Arc::new(Tls::new(&loaded, clock.clone(), metrics, None));
    let of_reload = metrics.reload("workload_api");
    let api = WorkloadApi::new(agent, Arc::clone(&tls), clock.clone(), of_reload, None);
    (tls, Arc::new(api))
}

#[tokio::test(start_paused = true)]
async fn svid_outlives_an_hour_without_the_agent() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("agent.sock").display().to_string();
    let (clock, _) = Clock::simulated(NOW);
    let metrics = Metrics::default();
    let (tls, api) = waiting(Address::Unix(missing), &clock, &metrics);
    assert!(tls.validities().is_empty() && !api.has_svid());
    let mut params = named(&[ID]);
    params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(1_800_007_200);
    api.receive(&message([authority().svid(ID, &params)])).unwrap();

    let began = Instant::now();
    let hour = timeout(Duration::from_secs(3_600), Arc::clone(&api).run());
    hour.await.expect_err("still running");
    assert_eq!(began.elapsed(), Duration::from_secs(3_600));
    let page = metrics.render(MetricsFormat::OpenMetrics);
    let failed = "grantmint_reloads_total{what=\"workload_api\",result=\"failed\"} ";
    let failed = page.lines().find_map(|line| line.strip_prefix(failed)).unwrap();
    let failed: u32 = failed.parse().unwrap();
    // One attempt per 15 to 30 s, and a few more at the beginning.
    assert!((120..=245).contains(&failed), "{failed}");
    assert!(page.contains("grantmint_reload_failing{what=\"workload_api\"} 1"), "{page}");
    assert_eq!(tls.validities()[0].0, "server");
    let line = api.line(clock.now().wall);
    assert!(line.starts_with(&format!("workload_api: ok, {ID}, 3600 s left, ")), "{line}");
    let line = api.line(NOW + Duration::from_secs(7_200));
    assert!(line.starts_with(&format!("workload_api: expired, {ID}, ")), "{line}");
}

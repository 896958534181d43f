//! Tests of the keeper over days of simulated time.

use std::sync::Mutex;

use tokio::time::{Instant, advance};

use super::*;
use crate::{
    auth::{
        bearer::{Algorithms, Issuers, KeySet, Terms},
        name::IssuerName,
    },
    clock::WallTime,
    issuers::{Endpoint, Source},
    telemetry::Metrics,
};

const DOWN: FetchError = FetchError::Status { what: "the request for keys", status: 500 };

fn config() -> Config {
    let terms = Terms {
        audience: "mint".to_owned(),
        algorithms: Algorithms::DEFAULT,
        max_life: Duration::from_secs(3_600),
        trust_domain: None,
    };
    let server = "http://127.0.0.1:1".parse().unwrap();
    let endpoint = Endpoint { server, ca: None, token_file: None };
    Config {
        name: IssuerName::parse("cluster").unwrap(),
        terms,
        source: Source::Kubernetes(endpoint),
    }
}

fn info() -> IssuerInfo {
    let keys = br#"{"keys": [{"kty": "OKP", "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let keys = Arc::new(KeySet::parse(keys).unwrap());
    IssuerInfo { terms: config().terms, issuer: "https://cluster".to_owned(), keys }
}

/// An issuer whose server is up or down, and the times of the requests.
struct Fixture {
    issuer: Arc<Issuer>,
    up: watch::Sender<bool>,
    requests: Arc<Mutex<Vec<Instant>>>,
    _jumps: watch::Sender<()>,
}

impl Fixture {
    fn new() -> Self {
        let (clock, _) = Clock::simulated(WallTime::from_unix_seconds(1_700_000_000));
        let issuer = Issuers::default().add_fetched(config().name, None, "mint".to_owned(), &clock);
        let metrics = Metrics::default().issuer_keys("cluster");
        let mut keeper = Keeper::new(&issuer, config(), clock, metrics).unwrap();
        let (up, is_up) = watch::channel(false);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        keeper.fetch = Box::new(move |_, _| {
            log.lock().unwrap().push(Instant::now());
            let response = if *is_up.borrow() { Ok(info()) } else { Err(DOWN) };
            Box::pin(async { response })
        });
        let (jumps, jumped) = watch::channel(());
        tokio::spawn(keeper.run(jumped));
        Self { issuer, up, requests, _jumps: jumps }
    }

    /// Advances the time in steps, so that the keeper runs at each step.
    async fn pass(&self, time: Duration) {
        let step = Duration::from_millis(500);
        for _ in 0..time.as_millis() / step.as_millis() {
            advance(step).await;
            tokio::task::yield_now().await;
        }
    }

    fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

#[tokio::test(start_paused = true)]
async fn keys_stay_valid_for_a_day_without_a_successful_fetch() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let fixture = Fixture::new();
    fixture.pass(Duration::from_secs(20)).await;
    assert!(!fixture.issuer.was_known() && fixture.issuer.keys().is_none());
    assert!((4..=6).contains(&fixture.requests()), "after 1, 2, 4 and 8 s: {}", fixture.requests());
    fixture.up.send_replace(true);
    fixture.pass(Duration::from_secs(31)).await;
    assert_eq!(fixture.issuer.keys(), Some(1));
    let before = fixture.requests();
    fixture.pass(minutes(60)).await;
    assert!((12..=14).contains(&(fixture.requests() - before)), "every five minutes");

    fixture.up.send_replace(false);
    let before = fixture.requests();
    for _ in 0..60 {
        fixture.pass(minutes(1)).await;
        assert_eq!(fixture.issuer.keys(), Some(1));
    }
    assert!((100..=150).contains(&(fixture.requests() - before)), "every 30 s at most");
    fixture.pass(minutes(22 * 60)).await;
    assert_eq!(fixture.issuer.keys(), Some(1), "for 23 hours");
    fixture.pass(minutes(65)).await;
    assert_eq!(fixture.issuer.keys(), None);
    assert!(fixture.issuer.was_known());
    fixture.up.send_replace(true);
    fixture.pass(Duration::from_secs(31)).await;
    assert_eq!(fixture.issuer.keys(), Some(1));
}

//! Days of fetches, in paused time.

use std::sync::Mutex;

use tokio::time::{Instant, advance};

use super::*;
use crate::{
    auth::{
        bearer::{Algorithms, Issuers, KeySet, Terms},
        name::IssuerName,
    },
    clock::WallTime,
    issuers::{Source, Way},
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
    let way = Way { server, ca: None, token_file: None };
    Config { name: IssuerName::parse("cluster").unwrap(), terms, source: Source::Kubernetes(way) }
}

fn known() -> Known {
    let keys = br#"{"keys": [{"kty": "OKP", "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let keys = Arc::new(KeySet::parse(keys).unwrap());
    Known { terms: config().terms, issuer: "https://cluster".to_owned(), keys }
}

/// An issuer whose server is up or down, and when it was asked.
struct World {
    issuer: Arc<Issuer>,
    up: watch::Sender<bool>,
    asked: Arc<Mutex<Vec<Instant>>>,
    _jumps: watch::Sender<()>,
}

impl World {
    fn new() -> Self {
        let (clock, _) = Clock::simulated(WallTime::from_unix_seconds(1_700_000_000));
        let issuer = Issuers::default().add_fetched(config().name, None, "mint".to_owned(), &clock);
        let metrics = Metrics::default().issuer_keys("cluster");
        let mut keeper = Keeper::new(&issuer, config(), clock, metrics).unwrap();
        let (up, is_up) = watch::channel(false);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let asks = Arc::clone(&asked);
        keeper.fetch = Box::new(move |_, _| {
            asks.lock().unwrap().push(Instant::now());
            let answer = if *is_up.borrow() { Ok(known()) } else { Err(DOWN) };
            Box::pin(async { answer })
        });
        let (jumps, jumped) = watch::channel(());
        tokio::spawn(keeper.run(jumped));
        Self { issuer, up, asked, _jumps: jumps }
    }

    /// Lets time pass, in steps in which all goes on.
    async fn pass(&self, time: Duration) {
        let step = Duration::from_millis(500);
        for _ in 0..time.as_millis() / step.as_millis() {
            advance(step).await;
            tokio::task::yield_now().await;
        }
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

#[tokio::test(start_paused = true)]
async fn keys_outlive_a_server_that_is_down_for_an_hour_and_not_one_that_is_down_for_a_day() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let world = World::new();
    world.pass(Duration::from_secs(20)).await;
    assert!(!world.issuer.was_known() && world.issuer.keys().is_none());
    assert!((4..=6).contains(&world.asked()), "after 1, 2, 4 and 8 s: {}", world.asked());
    world.up.send_replace(true);
    world.pass(Duration::from_secs(31)).await;
    assert_eq!(world.issuer.keys(), Some(1));
    let before = world.asked();
    world.pass(minutes(60)).await;
    assert!((12..=14).contains(&(world.asked() - before)), "every five minutes");

    world.up.send_replace(false);
    let before = world.asked();
    for _ in 0..60 {
        world.pass(minutes(1)).await;
        assert_eq!(world.issuer.keys(), Some(1));
    }
    assert!((100..=150).contains(&(world.asked() - before)), "every 30 s at the most");
    world.pass(minutes(22 * 60)).await;
    assert_eq!(world.issuer.keys(), Some(1), "for 23 hours");
    world.pass(minutes(65)).await;
    assert_eq!(world.issuer.keys(), None);
    assert!(world.issuer.was_known());
    world.up.send_replace(true);
    world.pass(Duration::from_secs(31)).await;
    assert_eq!(world.issuer.keys(), Some(1));
}

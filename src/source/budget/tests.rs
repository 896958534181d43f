//! What an account records, and for which requests.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::{Instant, sleep};

use super::*;
use crate::{
    clock::WallTime,
    name::Resource,
    source::{Granted, Mark},
};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An upstream that returns these errors in turn, each after its delay, then grants.
struct Scripted {
    clock: Clock,
    sent: AtomicUsize,
    errors: Vec<(Duration, FetchError)>,
}

impl GrantSource for Scripted {
    fn fetch(&self, _: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        async {
            let anchor = self.clock.now();
            let number = self.sent.fetch_add(1, Ordering::SeqCst);
            if let Some((after, error)) = self.errors.get(number) {
                sleep(*after).await;
                return Err(error.clone());
            }
            let mark = Mark::of(&number.to_string(), None);
            Ok(Fetched { content: "{}".into(), anchor, granted: Granted::Assumed(secs(60)), mark })
        }
        .boxed()
    }
}

/// The longest duration of an attempt.
const ATTEMPT: Duration = secs(2);

struct Account {
    source: Budgeted,
    scripted: Arc<Scripted>,
    clock: Clock,
}

fn account(limits: Limits, errors: Vec<(u64, FetchError)>) -> Account {
    account_of(limits, errors, ATTEMPT)
}

/// An account of a source with this attempt duration.
fn account_of(limits: Limits, errors: Vec<(u64, FetchError)>, attempt: Duration) -> Account {
    let (clock, _) = Clock::simulated(WallTime::from_unix_seconds(1_700_000_000));
    let errors = errors.into_iter().map(|(after, error)| (secs(after), error)).collect();
    let scripted =
        Arc::new(Scripted { clock: clock.clone(), sent: AtomicUsize::default(), errors });
    let budget = Budget::new(limits, clock.clone(), Rng::with_seed(1));
    Account { source: Budgeted::new(scripted.clone(), Arc::new(budget), attempt), scripted, clock }
}

impl Account {
    async fn fetch(&self, urgency: Urgency) -> Result<Fetched, FetchError> {
        let resource = Resource::parse("a").unwrap();
        let give_up_at = self.clock.now().boot + ATTEMPT;
        self.source.fetch(FetchRequest { resource, urgency, give_up_at }).await
    }

    /// Why and for how long an attempt is held.
    async fn held(&self, urgency: Urgency) -> Option<(FaultClass, Duration)> {
        match self.fetch(urgency).await {
            Err(FetchError::Held { class, until }) => {
                Some((class, until.since(self.clock.now().boot)))
            }
            _ => None,
        }
    }

    fn sent(&self) -> usize {
        self.scripted.sent.load(Ordering::SeqCst)
    }
}

fn refused() -> FetchError {
    Fault::new(FaultClass::Credential, "HTTP_STATUS_401").into()
}

fn outage() -> FetchError {
    Fault::new(FaultClass::Transient, "HTTP_STATUS_500").into()
}

fn throttled(seconds: u64) -> FetchError {
    let fault = Fault::new(FaultClass::Throttled, "HTTP_STATUS_429");
    FetchError::Failed { fault, retry_after: Some(secs(seconds)) }
}

#[tokio::test(start_paused = true)]
async fn probe_during_an_outage_keeps_the_account_held() {
    let account = account(Limits::default(), vec![(0, refused()), (1, outage()), (0, refused())]);
    assert_eq!(account.fetch(Urgency::Lapsed).await.err(), Some(refused()));
    for _ in 0..2 {
        assert_eq!(account.held(Urgency::Lapsed).await, Some((FaultClass::Credential, secs(30))));
    }
    sleep(secs(30)).await;
    // The probe fails after a second: the next one starts 30 s after it was sent.
    assert_eq!(account.held(Urgency::Lapsed).await, Some((FaultClass::Credential, secs(29))));
    assert_eq!(account.sent(), 2);
    sleep(secs(29)).await;
    assert_eq!(account.fetch(Urgency::Lapsed).await.err(), Some(refused()));
    assert_eq!(account.sent(), 3);
}

#[tokio::test(start_paused = true)]
async fn others_wait_for_the_running_probe() {
    for attempt in [ATTEMPT, secs(10)] {
        let errors = vec![(0, refused()), (1, refused())];
        let account = Arc::new(account_of(Limits::default(), errors, attempt));
        assert!(account.fetch(Urgency::Lapsed).await.is_err());
        sleep(secs(30)).await;
        let probing = Arc::clone(&account);
        let probe = tokio::spawn(async move { probing.fetch(Urgency::Lapsed).await.err() });
        sleep(Duration::from_millis(500)).await;
        let others = account.held(Urgency::Lapsed).await;
        let remaining = attempt.saturating_sub(Duration::from_millis(500));
        assert_eq!(others, Some((FaultClass::Credential, remaining)));
        assert_eq!(probe.await.unwrap(), Some(refused()));
        assert_eq!(account.held(Urgency::Early).await, Some((FaultClass::Credential, secs(30))));
    }
}

#[tokio::test(start_paused = true)]
async fn throttled_probe_does_not_clear_the_refusal() {
    let account = account(Limits::default(), vec![(0, refused()), (0, throttled(45))]);
    assert!(account.fetch(Urgency::Lapsed).await.is_err());
    sleep(secs(30)).await;
    assert_eq!(account.fetch(Urgency::Lapsed).await.err(), Some(throttled(45)));
    assert_eq!(account.held(Urgency::Lapsed).await, Some((FaultClass::Credential, secs(45))));
    // After the Retry-After there is one probe, not several.
    sleep(secs(45)).await;
    assert!(account.fetch(Urgency::Lapsed).await.is_ok());
    assert!(account.fetch(Urgency::Lapsed).await.is_ok(), "the probe cleared the refusal");
}

#[tokio::test(start_paused = true)]
async fn first_refusal_counts_only_without_a_live_grant() {
    let account = account(Limits::default(), vec![(0, refused()), (0, outage()), (0, refused())]);
    assert!(account.fetch(Urgency::Early).await.is_err());
    assert_eq!(account.fetch(Urgency::Early).await.err(), Some(outage()), "not held");
    assert!(account.fetch(Urgency::Early).await.is_err());
    assert_eq!(account.held(Urgency::Early).await, Some((FaultClass::Credential, secs(30))));
}

#[tokio::test(start_paused = true)]
async fn success_does_not_lift_a_retry_after() {
    let account = account(Limits::default(), vec![(0, throttled(40))]);
    assert!(account.fetch(Urgency::Early).await.is_err());
    assert!(account.fetch(Urgency::LastTry).await.is_ok(), "a last try bypasses it");
    assert_eq!(account.held(Urgency::Lapsed).await, Some((FaultClass::Throttled, secs(40))));
}

#[tokio::test(start_paused = true)]
async fn shorter_retry_after_does_not_replace_a_longer_one() {
    let account = account(Limits::default(), vec![(0, throttled(40)), (0, throttled(1))]);
    assert!(account.fetch(Urgency::Early).await.is_err());
    assert!(account.fetch(Urgency::LastTry).await.is_err());
    assert_eq!(account.held(Urgency::Early).await, Some((FaultClass::Throttled, secs(40))));
}

#[tokio::test(start_paused = true)]
async fn turn_after_the_deadline_is_not_reserved() {
    let limits = Limits { rate: 1, burst: 2, concurrent: 8 };
    let account = account(limits, Vec::new());
    let from = Instant::now();
    for waited in [0, 0, 1] {
        account.fetch(Urgency::Early).await.unwrap();
        assert_eq!(from.elapsed(), secs(waited));
    }
    // Three attempts at once: the first turn is in 1 s, the next in 2 s, which is too late.
    let (first, second, third) = tokio::join!(
        account.fetch(Urgency::Early),
        account.held(Urgency::Early),
        account.held(Urgency::Early)
    );
    assert!(first.is_ok());
    assert_eq!(
        (second, third),
        (Some((FaultClass::Transient, secs(2))), Some((FaultClass::Transient, secs(2))))
    );
    assert_eq!(account.sent(), 4);
}

#[tokio::test(start_paused = true)]
async fn refused_trial_key_does_not_hold_the_account() {
    let refused = Fault::new(FaultClass::Credential, "CREDENTIAL_REFUSED");
    let throttled = FetchError::Failed {
        fault: Fault::new(FaultClass::Throttled, "THROTTLED"),
        retry_after: Some(secs(9)),
    };
    let account = account(Limits::default(), vec![]);
    let other = Scripted {
        clock: account.clock.clone(),
        sent: AtomicUsize::default(),
        errors: vec![(secs(0), refused.clone().into()); 3]
            .into_iter()
            .chain([(secs(0), throttled)])
            .collect(),
    };
    let try_out = async || {
        let give_up_at = account.clock.now().boot + ATTEMPT;
        let resource = Resource::parse("a").unwrap();
        let request = FetchRequest { resource, urgency: Urgency::Lapsed, give_up_at };
        account.source.budget.try_out(&other, request).await
    };
    for _ in 0..3 {
        assert_eq!(try_out().await.unwrap_err(), refused.clone().into());
        assert!(account.fetch(Urgency::Early).await.is_ok());
    }
    assert!(try_out().await.is_err());
    let held = |result: Result<Fetched, FetchError>| {
        matches!(result, Err(FetchError::Held { class: FaultClass::Throttled, .. }))
    };
    assert!(held(account.fetch(Urgency::Early).await), "the whole account waits");
    assert!(held(try_out().await), "the trial of the new key too");
    sleep(secs(10)).await;
    assert!(try_out().await.is_ok() && account.fetch(Urgency::Early).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn replaced_credential_clears_the_refusal() {
    let refused = || (0, Fault::new(FaultClass::Credential, "CREDENTIAL_REFUSED").into());
    let account = account(Limits::default(), vec![refused(), refused()]);
    assert!(account.fetch(Urgency::Lapsed).await.is_err());
    assert!(matches!(
        account.fetch(Urgency::Lapsed).await,
        Err(FetchError::Held { class: FaultClass::Credential, .. })
    ));
    account.source.budget.credential_replaced();
    assert!(account.fetch(Urgency::Lapsed).await.is_err(), "the upstream is called");
    account.source.budget.credential_replaced();
    assert!(account.fetch(Urgency::Lapsed).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn order_bypasses_refused_credential_not_retry_after() {
    let errors = vec![(0, refused()), (0, refused()), (0, throttled(40))];
    let account = account(Limits::default(), errors);
    assert!(account.fetch(Urgency::Lapsed).await.is_err());
    assert_eq!(account.held(Urgency::Lapsed).await, Some((FaultClass::Credential, secs(30))));
    assert_eq!(account.fetch(Urgency::Ordered).await.err(), Some(refused()));
    assert!(account.fetch(Urgency::Ordered).await.is_err());
    assert_eq!(account.held(Urgency::Ordered).await, Some((FaultClass::Throttled, secs(40))));
    assert_eq!(account.sent(), 3);
}

#[tokio::test(start_paused = true)]
async fn usage_reports_what_is_left_and_why_the_account_is_held() {
    let limits = Limits { rate: 1, burst: 4, concurrent: 8 };
    let account = account(limits, vec![(1, throttled(20))]);
    let usage = || account.source.budget.usage();
    assert_eq!(usage(), Usage { limits, in_flight: 0, available: 4, hold: None });
    let fetch = account.fetch(Urgency::Early);
    tokio::pin!(fetch);
    assert!(tokio::time::timeout(Duration::from_millis(500), &mut fetch).await.is_err());
    assert_eq!(usage(), Usage { limits, in_flight: 1, available: 3, hold: None });
    assert!(fetch.await.is_err());
    let hold = Some((FaultClass::Throttled, secs(20)));
    assert_eq!(usage(), Usage { limits, in_flight: 0, available: 4, hold });
}

//! What each fault costs: callers ask ten times a second through a grant, the fault that
//! begins under it and outlasts it, and an upstream that is well again. Which fault of a
//! socket is of which class and reason is seen over real TCP, in `wire::upstream`.

use std::{ops::RangeInclusive, time::Duration};

use grantmint::{
    clock::WallTime,
    grant::{Fault, FaultClass},
    mint::{Limits, minter::Cause},
    source::http::retry_after,
};
use http::HeaderValue;
use tokio::time::sleep;

use super::world::{Answer, NEVER, Request, World, grant, millis, secs, status, throttled};

/// The fault begins under the first grant, before any refresh, and ends long after that grant:
/// a second after the probes that follow from its last try at 55 s, so that the next is far.
const FAULT: RangeInclusive<Duration> = secs(1)..=secs(116);

/// From here on the first grant serves nobody.
const END_OF_LIFE: Duration = secs(58);

/// All chance is drawn from these in turn.
const SEEDS: RangeInclusive<u64> = 1..=3;

const START: WallTime = WallTime::from_unix_seconds(1_700_000_000);

/// What callers and the upstream saw of a fault, over all seeds.
#[derive(Debug)]
struct Account {
    /// Why calls had no token past the grant's end.
    causes: Vec<Cause>,
    /// The longest from the fault's end to the first token.
    well_after: Duration,
    /// Requests while it lasted, the fewest and the most.
    requests: (usize, usize),
}

impl Account {
    /// Of the upstream that answers so while the fault lasts.
    async fn of(answer: impl Fn(Request) -> Answer + Clone + Send + 'static) -> Self {
        let mut account =
            Self { causes: Vec::new(), well_after: Duration::ZERO, requests: (usize::MAX, 0) };
        for seed in SEEDS {
            let answer = answer.clone();
            let world = World::with(1, seed, Limits::default(), move |ask| {
                if FAULT.contains(&ask.at) { answer(ask) } else { grant() }
            });
            account.enter(&world).await;
        }
        account
    }

    async fn enter(&mut self, world: &World) {
        world.requested(1).await;
        assert_eq!(world.without_token_until(END_OF_LIFE).await, NEVER, "while the grant lives");
        while world.elapsed() < *FAULT.end() {
            let cause = world.cause().await.expect("no token past the grant's end");
            if !self.causes.contains(&cause) {
                self.causes.push(cause);
            }
            sleep(millis(100)).await;
        }
        let requests = world.requests_between(*FAULT.start(), *FAULT.end()).len();
        self.requests = (self.requests.0.min(requests), self.requests.1.max(requests));
        while world.mint().await.is_err() {
            sleep(millis(10)).await;
        }
        self.well_after = self.well_after.max(world.elapsed().saturating_sub(*FAULT.end()));
        assert_eq!(world.most_in_flight(), 1);
        assert_eq!(world.without_token_until(secs(180)).await, NEVER, "well again");
    }

    /// Every call past the grant's end was told this, callers were well so soon after the
    /// fault, and so many requests were made meanwhile.
    fn is(&self, cause: Cause, well_after: Duration, requests: RangeInclusive<usize>) {
        assert_eq!(self.causes, [cause], "{self:?}");
        assert!(self.well_after <= well_after, "{self:?}");
        let (fewest, most) = self.requests;
        assert!(requests.contains(&fewest) && requests.contains(&most), "{self:?}");
    }
}

/// The grant is over, which is told with its true end.
const EXPIRED: Cause = Cause::GrantExpired(WallTime::from_unix_seconds(1_700_000_060));

/// What a good answer takes here, and the steps in which callers ask for it.
const ANSWER: Duration = millis(110);

/// What a failed answer takes here.
const FAILS: Duration = millis(20);

/// Fails in all of these ways in turn.
fn faults(
    class: FaultClass,
    reasons: &'static [&'static str],
) -> impl Fn(Request) -> Answer + Clone {
    move |ask| Answer::Fault(Fault::new(class, reasons[ask.number % reasons.len()]), None)
}

/// Answers with these statuses in turn.
fn statuses(codes: &'static [u16]) -> impl Fn(Request) -> Answer + Clone {
    move |ask| status(codes[ask.number % codes.len()])
}

/// The pause is 2 s at the most, and the fault may end just after an attempt began.
async fn heals_in_two_seconds(answer: impl Fn(Request) -> Answer + Clone + Send + 'static) {
    Account::of(answer).await.is(EXPIRED, secs(2) + FAILS + ANSWER, 45..=80);
}

/// One probe in 30 s, beside the two that told and the last try before the grant's end.
async fn heals_at_the_next_probe(
    answer: impl Fn(Request) -> Answer + Clone + Send + 'static,
    cause: Cause,
) {
    Account::of(answer).await.is(cause, secs(30) + FAILS + ANSWER, 5..=6);
}

#[tokio::test(start_paused = true)]
async fn dns_and_connection_failures_recover_in_two_seconds() {
    let reasons = &["DNS_FAILED", "CONNECT_FAILED", "CONNECTION_LOST", "TLS_HANDSHAKE_FAILED"];
    heals_in_two_seconds(faults(FaultClass::Transient, reasons)).await;
}

#[tokio::test(start_paused = true)]
async fn hanging_upstream_recovers_in_two_seconds_and_an_attempt() {
    let account = Account::of(|_| Answer::Hang).await;
    account.is(EXPIRED, secs(4) + ANSWER, 20..=35);
}

#[tokio::test(start_paused = true)]
async fn misconfigured_upstream_recovers_at_the_next_probe() {
    let reasons = &[
        "TLS_CERTIFICATE_EXPIRED",
        "TLS_INCOMPATIBLE",
        "HTTP_STATUS_307",
        "GRANT_OF_ANOTHER_RESOURCE",
        "GRANT_OF_ANOTHER_ACCOUNT",
    ];
    let refuses = faults(FaultClass::Misconfigured, reasons);
    heals_at_the_next_probe(refuses, Cause::UpstreamRejected).await;
}

#[tokio::test(start_paused = true)]
async fn refused_request_recovers_at_the_next_probe() {
    heals_at_the_next_probe(statuses(&[400, 405, 415, 422]), Cause::UpstreamRejected).await;
}

#[tokio::test(start_paused = true)]
async fn missing_resource_is_reported_and_recovers_at_next_probe() {
    heals_at_the_next_probe(statuses(&[404, 410]), Cause::ResourceNotFound).await;
}

#[tokio::test(start_paused = true)]
async fn refused_credential_recovers_at_the_next_probe() {
    heals_at_the_next_probe(statuses(&[401, 403]), Cause::UpstreamRejected).await;
}

/// A 429 with this Retry-After, as the client of the upstream reads it.
fn throttled_by(text: &str, ask: Request) -> Answer {
    let Answer::Fault(fault, _) = status(429) else { unreachable!() };
    let value = HeaderValue::from_str(text).unwrap();
    Answer::Fault(fault, retry_after(&value, START + ask.at))
}

#[tokio::test(start_paused = true)]
async fn throttling_without_a_valid_time_retries_in_two_seconds() {
    let texts = ["", "0", "-5", "1.5", "soon", "Sun, 06 Nov 1994 08:49:37 GMT"];
    let account = Account::of(move |ask| throttled_by(texts[ask.number % texts.len()], ask)).await;
    // Those who are asked to wait until one instant spread over half a second.
    let wait = secs(2) + millis(500);
    account.is(Cause::UpstreamThrottled, wait + FAILS + ANSWER, 35..=60);
}

#[tokio::test(start_paused = true)]
async fn retry_after_in_seconds_or_as_a_date_is_obeyed() {
    let in_seconds = |ask| throttled_by("30", ask);
    let as_a_date = |ask: Request| {
        let at = Duration::from_secs(1_700_000_030) + ask.at;
        throttled_by(&httpdate::fmt_http_date(std::time::UNIX_EPOCH + at), ask)
    };
    let wait = secs(30) + millis(500) + FAILS + ANSWER;
    Account::of(in_seconds).await.is(Cause::UpstreamThrottled, wait, 4..=5);
    Account::of(as_a_date).await.is(Cause::UpstreamThrottled, wait, 4..=5);
}

#[tokio::test(start_paused = true)]
async fn huge_retry_after_is_limited_to_a_minute() {
    for text in ["86400", "99999999999999999999999"] {
        let account = Account::of(|ask| throttled_by(text, ask)).await;
        let wait = secs(60) + millis(500);
        account.is(Cause::UpstreamThrottled, wait + FAILS + ANSWER, 3..=3);
    }
}

#[tokio::test(start_paused = true)]
async fn server_errors_recover_in_two_seconds() {
    heals_in_two_seconds(statuses(&[500, 502, 503, 504])).await;
}

#[tokio::test(start_paused = true)]
async fn malformed_response_recovers_in_two_seconds() {
    let reasons = &["ANSWER_TOO_LARGE", "ENCODED_ANSWER", "MALFORMED_ANSWER"];
    heals_in_two_seconds(faults(FaultClass::Transient, reasons)).await;
}

#[tokio::test(start_paused = true)]
async fn too_short_grants_recover_in_two_seconds() {
    heals_in_two_seconds(|_| Answer::Grant(secs(2), FAILS)).await;
}

#[tokio::test(start_paused = true)]
async fn panicking_refresh_recovers_in_two_seconds() {
    heals_in_two_seconds(|_| Answer::Panic).await;
}

#[tokio::test(start_paused = true)]
async fn shorter_grants_cost_requests_and_fail_no_call() {
    for seed in SEEDS {
        let world =
            World::with(1, seed, Limits::default(), |_| Answer::Grant(secs(15), millis(100)));
        world.requested(1).await;
        assert_eq!(world.without_token_until(secs(300)).await, NEVER);
        // Every 6.5 s, up to a tenth sooner.
        let requests = world.requests().len();
        assert!((46..=52).contains(&requests), "{requests}");
    }
}

#[tokio::test(start_paused = true)]
async fn outage_of_five_seconds_fails_no_call() {
    let answers: [fn() -> Answer; 2] = [|| status(500), || Answer::Hang];
    for (seed, answer) in (1..=16).flat_map(|seed| answers.map(|answer| (seed, answer))) {
        // It begins at the refresh itself: before, less of it is left; behind, it is too late.
        let mut refresh = None;
        let world = World::with(1, seed, Limits::default(), move |ask| {
            if ask.number == 3 {
                refresh = Some(ask.at);
            }
            if refresh.is_some_and(|at| ask.at < at + secs(5)) { answer() } else { grant() }
        });
        let second = world.requested(2).await;
        world.until(second + secs(57)).await;
        assert_eq!(world.without_token_until(second + secs(65)).await, NEVER, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusal_fixed_before_the_last_attempt_fails_no_call() {
    let faults: [fn() -> Answer; 3] = [|| status(401), || status(404), || throttled(secs(60))];
    for fault in faults {
        let mut second = None;
        let world = World::new(move |ask| {
            if ask.number == 2 {
                second = Some(ask.at);
            }
            // The end of life is 58 s after the request, the last try 3 s before.
            let mended = second.is_none_or(|at| ask.at == at || ask.at > at + millis(54_900));
            if mended { grant() } else { fault() }
        });
        let second = world.requested(2).await;
        world.until(second + secs(40)).await;
        assert_eq!(world.without_token_until(second + secs(100)).await, NEVER);
    }
}

#[tokio::test(start_paused = true)]
async fn panic_without_a_grant_costs_under_a_second() {
    for seed in SEEDS {
        let world = World::with(1, seed, Limits::default(), |ask| {
            if ask.number == 1 { Answer::Panic } else { grant() }
        });
        let without = world.without_token_until(secs(10)).await;
        assert!(*without.last().unwrap() < secs(1), "{without:?}");
    }
}

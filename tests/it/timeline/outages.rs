//! The cost of each fault: ten calls a second through a grant, a fault that starts under the grant
//! and outlasts it, and the recovery. `wire::upstream` tests over real TCP which class and reason a
//! fault of a socket has.

use std::{ops::RangeInclusive, time::Duration};

use grantmint::{
    clock::WallTime,
    grant::{Fault, FaultClass},
    mint::{Limits, minter::Cause},
    source::http::retry_after,
};
use http::HeaderValue;
use tokio::time::sleep;

use super::fixture::{Fixture, NEVER, Request, Response, grant, millis, secs, status, throttled};

/// The fault starts under the first grant, before any refresh, and ends long after that grant: one
/// second after a probe in the series that follows from the last attempt at 55 s, so that the next
/// probe is far away.
const FAULT: RangeInclusive<Duration> = secs(1)..=secs(116);

/// From here on the first grant serves no call.
const END_OF_LIFE: Duration = secs(58);

/// All randomness is drawn from these seeds in turn.
const SEEDS: RangeInclusive<u64> = 1..=3;

const START: WallTime = WallTime::from_unix_seconds(1_700_000_000);

/// The outcome of a fault for callers and the upstream, over all seeds.
#[derive(Debug)]
struct Account {
    /// Why calls had no token after the expiry.
    causes: Vec<Cause>,
    /// The longest time from the end of the fault to the first token.
    well_after: Duration,
    /// The fewest and the most requests during the fault.
    requests: (usize, usize),
}

impl Account {
    /// The upstream answers in this way while the fault lasts.
    async fn of(answer: impl Fn(Request) -> Response + Clone + Send + 'static) -> Self {
        let mut account =
            Self { causes: Vec::new(), well_after: Duration::ZERO, requests: (usize::MAX, 0) };
        for seed in SEEDS {
            let answer = answer.clone();
            let fixture = Fixture::with(1, seed, Limits::default(), move |ask| {
                if FAULT.contains(&ask.at) { answer(ask) } else { grant() }
            });
            account.enter(&fixture).await;
        }
        account
    }

    async fn enter(&mut self, fixture: &Fixture) {
        fixture.requested(1).await;
        assert_eq!(
            fixture.without_token_until(END_OF_LIFE).await,
            NEVER,
            "calls failed while the grant was live"
        );
        while fixture.elapsed() < *FAULT.end() {
            let cause = fixture.cause().await.expect("a token after the grant's expiry");
            if !self.causes.contains(&cause) {
                self.causes.push(cause);
            }
            sleep(millis(100)).await;
        }
        let requests = fixture.requests_between(*FAULT.start(), *FAULT.end()).len();
        self.requests = (self.requests.0.min(requests), self.requests.1.max(requests));
        while fixture.mint().await.is_err() {
            sleep(millis(10)).await;
        }
        self.well_after = self.well_after.max(fixture.elapsed().saturating_sub(*FAULT.end()));
        assert_eq!(fixture.most_in_flight(), 1);
        assert_eq!(
            fixture.without_token_until(secs(180)).await,
            NEVER,
            "calls failed after the recovery"
        );
    }

    /// Asserts the cause after the expiry, the time to recovery, and the number of requests.
    fn is(&self, cause: Cause, well_after: Duration, requests: RangeInclusive<usize>) {
        assert_eq!(self.causes, [cause], "{self:?}");
        assert!(self.well_after <= well_after, "{self:?}");
        let (fewest, most) = self.requests;
        assert!(requests.contains(&fewest) && requests.contains(&most), "{self:?}");
    }
}

/// The grant has expired; the cause has its true expiry.
const EXPIRED: Cause = Cause::GrantExpired(WallTime::from_unix_seconds(1_700_000_060));

/// The duration of a good response, and the interval of the calls.
const ANSWER: Duration = millis(110);

/// The duration of a failed response.
const FAILS: Duration = millis(20);

/// Fails with these classes and reasons in turn.
fn faults(
    class: FaultClass,
    reasons: &'static [&'static str],
) -> impl Fn(Request) -> Response + Clone {
    move |ask| Response::Fault(Fault::new(class, reasons[ask.number % reasons.len()]), None)
}

/// Responds with these statuses in turn.
fn statuses(codes: &'static [u16]) -> impl Fn(Request) -> Response + Clone {
    move |ask| status(codes[ask.number % codes.len()])
}

/// The back-off is at most 2 s, and the fault may end just after an attempt started.
async fn recovers_in_two_seconds(answer: impl Fn(Request) -> Response + Clone + Send + 'static) {
    Account::of(answer).await.is(EXPIRED, secs(2) + FAILS + ANSWER, 45..=80);
}

/// One probe in 30 s, in addition to the two refusals and the last attempt before the expiry.
async fn recovers_at_the_next_probe(
    answer: impl Fn(Request) -> Response + Clone + Send + 'static,
    cause: Cause,
) {
    Account::of(answer).await.is(cause, secs(30) + FAILS + ANSWER, 5..=6);
}

#[tokio::test(start_paused = true)]
async fn dns_and_connection_failures_recover_in_two_seconds() {
    let reasons = &["DNS_FAILED", "CONNECT_FAILED", "CONNECTION_LOST", "TLS_HANDSHAKE_FAILED"];
    recovers_in_two_seconds(faults(FaultClass::Transient, reasons)).await;
}

#[tokio::test(start_paused = true)]
async fn hanging_upstream_recovers_in_two_seconds_and_an_attempt() {
    let account = Account::of(|_| Response::Hang).await;
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
    recovers_at_the_next_probe(refuses, Cause::UpstreamRejected).await;
}

#[tokio::test(start_paused = true)]
async fn refused_request_recovers_at_the_next_probe() {
    recovers_at_the_next_probe(statuses(&[400, 405, 415, 422]), Cause::UpstreamRejected).await;
}

#[tokio::test(start_paused = true)]
async fn missing_resource_is_reported_and_recovers_at_next_probe() {
    recovers_at_the_next_probe(statuses(&[404, 410]), Cause::ResourceNotFound).await;
}

#[tokio::test(start_paused = true)]
async fn refused_credential_recovers_at_the_next_probe() {
    recovers_at_the_next_probe(statuses(&[401, 403]), Cause::UpstreamRejected).await;
}

/// A 429 with this Retry-After, as the upstream client parses it.
fn throttled_by(text: &str, ask: Request) -> Response {
    let Response::Fault(fault, _) = status(429) else { unreachable!() };
    let value = HeaderValue::from_str(text).unwrap();
    Response::Fault(fault, retry_after(&value, START + ask.at))
}

#[tokio::test(start_paused = true)]
async fn throttling_without_a_valid_time_retries_in_two_seconds() {
    let texts = ["", "0", "-5", "1.5", "soon", "Sun, 06 Nov 1994 08:49:37 GMT"];
    let account = Account::of(move |ask| throttled_by(texts[ask.number % texts.len()], ask)).await;
    // Attempts delayed until the same instant are spread over half a second.
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
    recovers_in_two_seconds(statuses(&[500, 502, 503, 504])).await;
}

#[tokio::test(start_paused = true)]
async fn malformed_response_recovers_in_two_seconds() {
    let reasons = &["ANSWER_TOO_LARGE", "ENCODED_ANSWER", "MALFORMED_ANSWER"];
    recovers_in_two_seconds(faults(FaultClass::Transient, reasons)).await;
}

#[tokio::test(start_paused = true)]
async fn too_short_grants_recover_in_two_seconds() {
    recovers_in_two_seconds(|_| Response::Grant(secs(2), FAILS)).await;
}

#[tokio::test(start_paused = true)]
async fn panicking_refresh_recovers_in_two_seconds() {
    recovers_in_two_seconds(|_| Response::Panic).await;
}

#[tokio::test(start_paused = true)]
async fn shorter_grants_cost_requests_and_fail_no_call() {
    for seed in SEEDS {
        let fixture =
            Fixture::with(1, seed, Limits::default(), |_| Response::Grant(secs(15), millis(100)));
        fixture.requested(1).await;
        assert_eq!(fixture.without_token_until(secs(300)).await, NEVER);
        // Every 6.5 s, up to a tenth sooner.
        let requests = fixture.requests().len();
        assert!((46..=52).contains(&requests), "{requests}");
    }
}

#[tokio::test(start_paused = true)]
async fn outage_of_five_seconds_fails_no_call() {
    let answers: [fn() -> Response; 2] = [|| status(500), || Response::Hang];
    for (seed, answer) in (1..=16).flat_map(|seed| answers.map(|answer| (seed, answer))) {
        // The outage starts at the refresh itself: starting earlier, it leaves less of the outage;
        // starting later, it misses the refresh.
        let mut refresh = None;
        let fixture = Fixture::with(1, seed, Limits::default(), move |ask| {
            if ask.number == 3 {
                refresh = Some(ask.at);
            }
            if refresh.is_some_and(|at| ask.at < at + secs(5)) { answer() } else { grant() }
        });
        let second = fixture.requested(2).await;
        fixture.until(second + secs(57)).await;
        assert_eq!(fixture.without_token_until(second + secs(65)).await, NEVER, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusal_fixed_before_the_last_attempt_fails_no_call() {
    let faults: [fn() -> Response; 3] = [|| status(401), || status(404), || throttled(secs(60))];
    for fault in faults {
        let mut second = None;
        let fixture = Fixture::new(move |ask| {
            if ask.number == 2 {
                second = Some(ask.at);
            }
            // The expiry is 58 s after the request, the last attempt 3 s before.
            let fixed = second.is_none_or(|at| ask.at == at || ask.at > at + millis(54_900));
            if fixed { grant() } else { fault() }
        });
        let second = fixture.requested(2).await;
        fixture.until(second + secs(40)).await;
        assert_eq!(fixture.without_token_until(second + secs(100)).await, NEVER);
    }
}

#[tokio::test(start_paused = true)]
async fn panic_without_a_grant_costs_under_a_second() {
    for seed in SEEDS {
        let fixture = Fixture::with(1, seed, Limits::default(), |ask| {
            if ask.number == 1 { Response::Panic } else { grant() }
        });
        let without = fixture.without_token_until(secs(10)).await;
        assert!(*without.last().unwrap() < secs(1), "{without:?}");
    }
}

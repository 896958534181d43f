//! Grants, their keepers and their callers in paused time.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use fastrand::Rng;
use futures_util::{FutureExt, future::BoxFuture};
use grantmint::{
    clock::{Anchor, BootTime, Clock, Simulation, WallTime},
    drain::{Drainer, drain},
    egress::ProxySetting,
    grant::{Fault, FaultClass, GrantState, Status, table::Table},
    mint::{
        self, Limits,
        minter::{Cause, Minted, Minter, Parts, Plan, Profile, Supply, Unserved},
        options::Options,
        profile::Signing,
        quota::Unlimited,
        terms::{ExpiryPolicy, Terms},
    },
    name::{GrantName, Identity, ProfileName, Resource},
    provider::twilio_live::{self, access_tokens, ids},
    refresh::{
        jump::watch_for_jumps,
        keeper::{Events, Keeper},
        schedule::{GrantLife, Point, Policy},
        state::State,
    },
    settings::SecretOrigin,
    source::{
        FetchError, FetchRequest, Fetched, GrantSource, Granted, Mark,
        budget::{self, Budget, Budgeted},
    },
    telemetry::{Metrics, ProfileMetrics},
    token::{
        CurrentFormat, Preparer, Signer, Speed, hs256::Hs256, id::Serials, params::Parameters,
    },
};
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::payload;

/// No instants.
pub(super) const NEVER: [Duration; 0] = [];

pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The intervals between instants.
pub(super) fn gaps(instants: &[Duration]) -> Vec<Duration> {
    instants.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect()
}

/// The upstream's response to one request.
#[derive(Clone, Debug)]
pub(super) enum Response {
    /// A grant with this life, after this latency.
    Grant(Duration, Duration),
    /// The grant of an earlier request, by its number, as a cache returns it.
    Again(usize),
    /// A fault, at once.
    Fault(Fault, Option<Duration>),
    /// No response within the time of an exchange.
    Hang,
    /// A panic in our own code.
    Panic,
}

pub(super) fn grant() -> Response {
    Response::Grant(secs(60), millis(100))
}

pub(super) fn status(code: u16) -> Response {
    let class = match code {
        401 | 403 => FaultClass::Credential,
        429 => FaultClass::Throttled,
        400..=499 => FaultClass::Resource,
        _ => FaultClass::Transient,
    };
    let reason = format!("HTTP_STATUS_{code}").into();
    Response::Fault(Fault { class, reason, not_found: matches!(code, 404 | 410) }, None)
}

pub(super) fn throttled(retry_after: Duration) -> Response {
    let Response::Fault(fault, _) = status(429) else { unreachable!() };
    Response::Fault(fault, Some(retry_after))
}

/// A request as the upstream sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// Time since the start.
    pub(super) at: Duration,
    /// Its number, from 1.
    pub(super) number: usize,
    /// Its resource, from 0.
    pub(super) resource: usize,
}

type Script = dyn FnMut(Request) -> Response + Send;

#[derive(Default)]
struct Log {
    requests: Vec<Request>,
    /// The start of each grant by both clocks and its life, by request number.
    given: Vec<Option<(Anchor, Duration)>>,
    in_flight: usize,
    most_in_flight: usize,
}

/// An upstream that follows a script.
#[derive(Clone)]
pub(super) struct Upstream {
    clock: Clock,
    started: Instant,
    script: Arc<Mutex<Box<Script>>>,
    log: Arc<Mutex<Log>>,
    /// The number of requests so far.
    arrived: tokio::sync::watch::Sender<usize>,
}

/// Decrements the requests in flight when dropped.
struct InFlight(Arc<Mutex<Log>>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.lock().unwrap().in_flight -= 1;
    }
}

pub(super) fn resource(number: usize) -> String {
    format!("VJ{number:032x}")
}

impl GrantSource for Upstream {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        self.answer(request).boxed()
    }
}

impl Upstream {
    async fn answer(&self, request: FetchRequest) -> Result<Fetched, FetchError> {
        let anchor = self.clock.now();
        let sid = request.resource.as_str();
        let (request, _in_flight) = {
            let mut log = self.log.lock().unwrap();
            let resource = usize::from_str_radix(&sid[2..], 16).unwrap();
            let number = log.requests.len() + 1;
            let request = Request { at: self.started.elapsed(), number, resource };
            log.requests.push(request);
            log.given.push(None);
            log.in_flight += 1;
            log.most_in_flight = log.most_in_flight.max(log.in_flight);
            (request, InFlight(Arc::clone(&self.log)))
        };
        self.arrived.send_replace(request.number);
        let answer = (self.script.lock().unwrap())(request);
        match answer {
            Response::Grant(life, latency) => {
                sleep(latency).await;
                self.log.lock().unwrap().given[request.number - 1] = Some((anchor, life));
                Ok(given(request.number, sid, anchor, life))
            }
            Response::Again(number) => {
                sleep(millis(100)).await;
                Ok(given(number, sid, anchor, secs(60)))
            }
            Response::Fault(fault, retry_after) => {
                sleep(millis(20)).await;
                Err(FetchError::Failed { fault, retry_after })
            }
            Response::Hang => {
                sleep(ATTEMPT).await;
                Err(Fault::new(FaultClass::Transient, "TIMEOUT").into())
            }
            Response::Panic => std::panic::resume_unwind(Box::new("as the scenario says")),
        }
    }
}

/// The grant of the request with this number.
fn given(number: usize, sid: &str, anchor: Anchor, granted_ttl: Duration) -> Fetched {
    let url = format!("https://host/{number}");
    let mark = Mark::of(&url, None);
    let content = format!(
        r#"{{"playbackUrl":"{url}","playerStreamerSid":"{sid}","requestCredentials":null}}"#
    );
    Fetched { content: content.into(), anchor, granted: Granted::Assumed(granted_ttl), mark }
}

fn tokens() -> Hs256 {
    let config = twilio_live::Config {
        account_sid: ids::AccountSid::parse("AC0123456789abcdef0123456789abcdef").unwrap(),
        api_key_sid: ids::ApiKeySid::parse("SK0123456789abcdef0123456789abcdef").unwrap(),
        api_key_secret: ids::ApiKeySecret::parse("q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxC").unwrap(),
        api_key_secret_origin: SecretOrigin::Env("TWILIO_API_SECRET".into()),
        allow_origin: None,
        upstream: "http://127.0.0.1".parse().unwrap(),
        proxy: ProxySetting::default(),
        region: None,
        grants: twilio_live::ProductGrants::default(),
    };
    access_tokens(&config, None)
}

/// The margin in every test.
const MARGIN: Duration = secs(2);

/// The duration limit of an attempt in every test.
const ATTEMPT: Duration = secs(2);

/// Grants, their keepers and their callers.
pub(super) struct Fixture {
    pub(super) clock: Clock,
    pub(super) simulation: Arc<Simulation>,
    pub(super) minter: Arc<Minter>,
    pub(super) upstream: Upstream,
    pub(super) drainer: Drainer,
    grants: Table<Box<dyn Signer>>,
    token_ids: Mutex<HashSet<String>>,
}

/// 60 s grants, refreshed after 50 s.
pub(super) fn default_policy() -> Policy {
    let (life, point) = (GrantLife::Requested(secs(60)), Point::After(secs(50)));
    Policy { life, margin: MARGIN, attempt: ATTEMPT, point }
}

impl Fixture {
    /// One resource under the default policy, with an upstream that follows this script.
    pub(super) fn new(script: impl FnMut(Request) -> Response + Send + 'static) -> Self {
        Self::with(1, 7, Limits::default(), script)
    }

    /// This many resources of one account, with all randomness drawn from `seed`.
    pub(super) fn with(
        resources: usize,
        seed: u64,
        limits: Limits,
        script: impl FnMut(Request) -> Response + Send + 'static,
    ) -> Self {
        let policy = default_policy();
        let (clock, simulation) = Clock::simulated(WallTime::from_unix_seconds(1_700_000_000));
        let upstream = Upstream {
            clock: clock.clone(),
            started: Instant::now(),
            script: Arc::new(Mutex::new(Box::new(script))),
            log: Arc::default(),
            arrived: tokio::sync::watch::Sender::default(),
        };
        let budget = Budget::new(budget::Limits::default(), clock.clone(), Rng::with_seed(seed));
        let budget = Arc::new(budget);
        let jumps = tokio::sync::watch::Sender::new(());
        let rekeyed = tokio::sync::watch::Sender::new(Arc::new(tokio::sync::Semaphore::new(0)));
        let profile = ProfileName::parse("live").unwrap();
        let mut rng = Rng::with_seed(seed + 1);
        let mut grants = Table::default();
        let mut names = Vec::new();
        for number in 0..resources {
            let resource = Resource::parse(&resource(number)).unwrap();
            names.push(resource.clone());
            let name = GrantName { profile: profile.clone(), resource };
            let preparer = Preparer::new(CurrentFormat::new(Arc::new(tokens())), clock.clone());
            let publisher = grants.add(name.clone(), policy.margin, preparer);
            let source = Budgeted::new(Arc::new(upstream.clone()), Arc::clone(&budget), ATTEMPT);
            let keeper = Keeper::new(
                Arc::new(source),
                publisher,
                State::new(policy, rng.fork(), clock.now()),
                clock.clone(),
                Events { jumps: jumps.subscribe(), rekeyed: rekeyed.subscribe() },
                &Metrics::default(),
            );
            tokio::spawn(keeper.run());
        }
        tokio::spawn(watch_for_jumps(clock.clone(), jumps));

        let (drainer, drain) = drain();
        let profile = Profile {
            name: profile,
            default_resource: names.first().cloned(),
            parse_resource: |text| Resource::parse(text),
            token_ttl: secs(3_600),
            min_token_ttl: Duration::ZERO,
            max_token_ttl: secs(86_400),
            margin: policy.margin,
            identity_form: None,
            parameters: Parameters::default(),
            units: 1,
            signing: Signing::Own(Speed::Fast),
            metrics: ProfileMetrics::default(),
            supply: Supply::Grants(mint::profile::Grants {
                resources: names,
                grant_ttl: Some(secs(60)),
                policy: ExpiryPolicy::ClampToGrant,
                allow_independent: true,
            }),
        };
        let serials = Serials::draw().unwrap();
        let default = Some(profile.name.clone());
        let profiles = vec![profile];
        let parts = Parts { limits, serials, pool: None, clock: clock.clone(), drain };
        let minter = Minter::new(profiles, default, &grants, parts);
        let (minter, token_ids) = (Arc::new(minter), Mutex::default());
        Self { clock, simulation, minter, upstream, drainer, grants, token_ids }
    }

    /// Lets time pass until `at` after the start.
    pub(super) async fn until(&self, at: Duration) {
        sleep_until(self.upstream.started + at).await;
    }

    /// Time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.upstream.started.elapsed()
    }

    /// Waits until this many requests have reached the upstream, and 150 ms for the response.
    pub(super) async fn requested(&self, number: usize) -> Duration {
        let at = self.requested_at(number).await;
        sleep(millis(150)).await;
        at
    }

    /// Waits until this many requests have reached the upstream.
    pub(super) async fn requested_at(&self, number: usize) -> Duration {
        let mut arrived = self.upstream.arrived.subscribe();
        let came = arrived.wait_for(|arrived| *arrived >= number);
        let came = tokio::time::timeout(secs(3_600), came).await;
        assert!(came.is_ok(), "request {number} never came");
        self.log().requests[number - 1].at
    }

    /// Waits until no request is in flight and its outcome has been published.
    pub(super) async fn settled(&self) {
        while self.log().in_flight > 0 {
            sleep(millis(1)).await;
        }
        sleep(millis(1)).await;
    }

    pub(super) fn plan(&self, options: &Options<'_>) -> Plan {
        self.minter.draft(&self.minter.target(options), options).unwrap().plan(None).unwrap()
    }

    /// A token without waiting.
    pub(super) async fn mint(&self) -> Result<Minted, Unserved> {
        self.mint_waiting(Duration::ZERO).await
    }

    pub(super) async fn mint_waiting(&self, max_wait: Duration) -> Result<Minted, Unserved> {
        self.mint_with(&Options { max_wait: Some(max_wait), ..Options::default() }, None).await
    }

    pub(super) async fn mint_with(
        &self,
        options: &Options<'_>,
        deadline: Option<Instant>,
    ) -> Result<Minted, Unserved> {
        let plan = self.plan(options);
        let minted = self
            .minter
            .mint(&plan, &Identity::parse("alice").unwrap(), deadline, &Unlimited)
            .await?;
        self.check(&minted.token, &minted.terms);
        Ok(minted)
    }

    /// Why no token is available now.
    pub(super) async fn cause(&self) -> Option<Cause> {
        self.mint().await.err().map(|unserved| unserved.cause)
    }

    /// Checks a token against the upstream's log: its grant has not expired by either clock, it is
    /// valid as long as it states, and its id is unique. Returns the number of the request that
    /// returned its grant.
    pub(super) fn check(&self, token: &str, terms: &Terms) -> usize {
        let payload: Value = serde_json::from_str(&payload(token)).unwrap();
        let url = payload["grants"]["player"]["playbackUrl"].as_str().unwrap();
        let number: usize = url.strip_prefix("https://host/").unwrap().parse().unwrap();
        let (anchor, life) =
            self.log().given[number - 1].expect("a grant that the upstream returned");

        let now = self.clock.now();
        let true_left = (anchor.boot + life).since(now.boot);
        let wall_left = (anchor.wall + life + secs(2)).since(now.wall);
        assert!(true_left > MARGIN && wall_left > MARGIN, "carries an expired grant");
        assert!(terms.use_within > Duration::ZERO);
        assert!(terms.use_within + MARGIN <= true_left, "valid for less than it states");
        assert_eq!(terms.use_by, now.wall + terms.use_within);
        let expire = payload["exp"].as_i64().unwrap();
        assert_eq!(expire, terms.expire.unix_seconds());
        assert_eq!(payload["iat"].as_i64().unwrap(), now.wall.unix_seconds());
        assert!(terms.use_by < WallTime::from_unix_seconds(expire), "expires before its use-by");
        let id = payload["jti"].as_str().unwrap().to_owned();
        assert!(self.token_ids.lock().unwrap().insert(id), "a token id is repeated");
        number
    }

    /// The status of the first resource's grant.
    pub(super) fn status(&self) -> Status {
        self.status_of(0)
    }

    pub(super) fn status_of(&self, resource: usize) -> Status {
        self.grants.roster().views()[resource].status()
    }

    pub(super) fn is_live(&self) -> bool {
        self.status().state(self.clock.now(), MARGIN) == GrantState::Live
    }

    /// The time from the start to that instant, if no clock has been suspended.
    pub(super) fn at(&self, boot: BootTime) -> Duration {
        let now = self.clock.now().boot;
        (self.elapsed() + boot.since(now)).saturating_sub(now.since(boot))
    }

    /// The time from the start to the next attempt.
    pub(super) fn next_attempt(&self) -> Duration {
        self.at(self.status().next_attempt.unwrap())
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.upstream.log.lock().unwrap()
    }

    /// When each request reached the upstream.
    pub(super) fn requests(&self) -> Vec<Duration> {
        self.log().requests.iter().map(|request| request.at).collect()
    }

    /// When each request for this resource reached the upstream.
    pub(super) fn requests_for(&self, resource: usize) -> Vec<Duration> {
        let log = self.log();
        let of = log.requests.iter().filter(|request| request.resource == resource);
        of.map(|request| request.at).collect()
    }

    /// When requests reached the upstream between `from` and `to`.
    pub(super) fn requests_between(&self, from: Duration, to: Duration) -> Vec<Duration> {
        self.requests().into_iter().filter(|at| *at >= from && *at < to).collect()
    }

    pub(super) fn most_in_flight(&self) -> usize {
        self.log().most_in_flight
    }

    /// Mints every tenth of a second until `end` and returns the instants without a token.
    pub(super) async fn without_token_until(&self, end: Duration) -> Vec<Duration> {
        let mut without = Vec::new();
        while self.elapsed() < end {
            if self.mint().await.is_err() {
                without.push(self.elapsed());
            }
            sleep(millis(100)).await;
        }
        without
    }
}

//! One grant, its keeper and its callers, in paused time.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use fastrand::Rng;
use grantmint::{
    clock::{Anchor, Clock, Simulation, WallTime},
    drain::{Drainer, drain},
    grant::{Fault, FaultClass, Grant, Status, cell::Prepare, table::Table},
    mint::{
        Limits,
        minter::{Minted, Minter, Plan, Profile, Unserved},
        options::Options,
        terms::ExpiryPolicy,
    },
    name::{GrantName, Identity, ProfileName, Resource},
    provider::twilio_live::{self, AccessTokens, ids},
    refresh::{jump::watch_for_jumps, keeper::Keeper, schedule::Policy, state::State},
    settings::SecretOrigin,
    source::{
        FetchError, FetchRequest, Fetched, GrantSource,
        budget::{self, Budget, Budgeted},
    },
    telemetry::Metrics,
    token::{PrepareError, Signer, TokenFormat, id::Serials},
};
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, sleep_until};

pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) const RESOURCE: &str = "VJ0123456789abcdef0123456789abcdef";

/// What the upstream does with one request.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// A grant of this life, after that long.
    Grant(Duration, Duration),
    /// A fault, at once.
    Fault(Fault, Option<Duration>),
    /// Nothing for as long as an exchange may take.
    Hang,
    /// A bug of ours.
    Panic,
}

pub(super) fn grant() -> Answer {
    Answer::Grant(secs(60), millis(100))
}

pub(super) fn status(code: u16) -> Answer {
    let class = match code {
        401 | 403 => FaultClass::Credential,
        429 => FaultClass::Throttled,
        400..=499 => FaultClass::Resource,
        _ => FaultClass::Transient,
    };
    let reason = format!("HTTP_STATUS_{code}").into();
    Answer::Fault(Fault { class, reason, not_found: code == 404 }, None)
}

pub(super) fn throttled(retry_after: Duration) -> Answer {
    let Answer::Fault(fault, _) = status(429) else { unreachable!() };
    Answer::Fault(fault, Some(retry_after))
}

type Script = dyn FnMut(Duration, usize) -> Answer + Send;

/// An upstream that follows a script of (time since the start, number of the request).
#[derive(Clone)]
pub(super) struct Upstream {
    clock: Clock,
    started: Instant,
    script: Arc<Mutex<Box<Script>>>,
    requests: Arc<Mutex<Vec<Duration>>>,
    /// The true end of every grant that was given.
    given: Arc<Mutex<Vec<WallTime>>>,
}

impl GrantSource for Upstream {
    async fn fetch(&self, _: FetchRequest) -> Result<Fetched, FetchError> {
        let anchor = self.clock.now();
        let at = self.started.elapsed();
        let number = {
            let mut requests = self.requests.lock().unwrap();
            requests.push(at);
            requests.len()
        };
        let answer = (self.script.lock().unwrap())(at, number);
        match answer {
            Answer::Grant(life, latency) => {
                sleep(latency).await;
                self.given.lock().unwrap().push(anchor.wall + life);
                let raw = format!(
                    r#"{{"playbackUrl":"https://host/{number}","playerStreamerSid":"{RESOURCE}","requestCredentials":null}}"#
                );
                let raw = RawValue::from_string(raw).unwrap();
                Ok(Fetched { raw, anchor, granted_ttl: life })
            }
            Answer::Fault(fault, retry_after) => Err(FetchError::Failed { fault, retry_after }),
            Answer::Hang => {
                sleep(secs(2)).await;
                Err(Fault::new(FaultClass::Transient, "TIMEOUT").into())
            }
            Answer::Panic => panic!("as the scenario says"),
        }
    }
}

#[derive(Debug)]
struct Preparer {
    format: AccessTokens,
    clock: Clock,
}

impl Prepare for Preparer {
    type Ready = Box<dyn Signer>;
    type Error = PrepareError;

    fn prepare(&self, grant: &Grant) -> Result<Self::Ready, PrepareError> {
        self.format.prepare(grant, self.clock.now())
    }
}

fn tokens() -> AccessTokens {
    AccessTokens::new(&twilio_live::Config {
        account_sid: ids::AccountSid::parse("AC0123456789abcdef0123456789abcdef").unwrap(),
        api_key_sid: ids::ApiKeySid::parse("SK0123456789abcdef0123456789abcdef").unwrap(),
        api_key_secret: ids::ApiKeySecret::parse("q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxC").unwrap(),
        api_key_secret_origin: SecretOrigin::Env("API_SECRET".to_owned()),
        allow_origin: None,
        upstream: http::Uri::from_static("http://127.0.0.1"),
        region: None,
        nbf_backdate: None,
        grants: twilio_live::ExtraGrants::default(),
    })
}

/// One grant, its keeper and its callers.
pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) hand: Arc<Simulation>,
    pub(super) minter: Arc<Minter>,
    pub(super) upstream: Upstream,
    grants: Table<Box<dyn Signer>>,
    _drainer: Drainer,
}

impl World {
    /// A world of the default profile (60 s grants, refreshed after 50 s) whose upstream
    /// follows this script.
    pub(super) fn new(script: impl FnMut(Duration, usize) -> Answer + Send + 'static) -> Self {
        let policy = Policy { grant_ttl: secs(60), margin: secs(2), refresh_after: secs(50) };
        Self::with_policy(policy, script)
    }

    pub(super) fn with_policy(
        policy: Policy,
        script: impl FnMut(Duration, usize) -> Answer + Send + 'static,
    ) -> Self {
        let (clock, hand) = Clock::simulated(WallTime::from_unix_seconds(1_700_000_000));
        let upstream = Upstream {
            clock: clock.clone(),
            started: Instant::now(),
            script: Arc::new(Mutex::new(Box::new(script))),
            requests: Arc::default(),
            given: Arc::default(),
        };
        let profile = ProfileName::parse("live").unwrap();
        let resource = Resource::parse(RESOURCE).unwrap();
        let name = GrantName { profile: profile.clone(), resource: resource.clone() };

        let mut grants = Table::default();
        let preparer = Preparer { format: tokens(), clock: clock.clone() };
        let publisher = grants.add(name.clone(), policy.margin, preparer);
        let budget = Budget::new(budget::Limits::default(), clock.clone(), Rng::with_seed(7));
        let jumps = tokio::sync::watch::Sender::new(());
        let keeper = Keeper::new(
            Budgeted::new(upstream.clone(), Arc::new(budget)),
            publisher,
            State::new(policy, Rng::with_seed(7), clock.now()),
            clock.clone(),
            jumps.subscribe(),
            Metrics::default().grant(&name),
        );
        tokio::spawn(keeper.run());
        tokio::spawn(watch_for_jumps(clock.clone(), jumps));

        let (drainer, drain) = drain();
        let profile = Profile {
            name: profile,
            default_resource: None,
            parse_resource: |text| Resource::parse(text),
            token_ttl: secs(3_600),
            max_token_ttl: secs(86_400),
            grant_ttl: policy.grant_ttl,
            margin: policy.margin,
            policy: ExpiryPolicy::ClampToGrant,
            allow_independent: true,
        };
        let minter = Minter::new(
            vec![(profile, vec![resource])],
            None,
            &grants,
            Limits::default(),
            Serials::draw().unwrap(),
            clock.clone(),
            drain,
        );
        Self { clock, hand, minter: Arc::new(minter), upstream, grants, _drainer: drainer }
    }

    /// Lets time pass until `at` after the start.
    pub(super) async fn until(&self, at: Duration) {
        sleep_until(self.upstream.started + at).await;
    }

    pub(super) fn plan(&self, options: &Options<'_>) -> Plan {
        self.minter.plan(options, Vec::new()).unwrap()
    }

    /// A token now, without waiting.
    pub(super) async fn mint(&self) -> Result<Minted, Unserved> {
        self.mint_waiting(Duration::ZERO).await
    }

    pub(super) async fn mint_waiting(&self, max_wait: Duration) -> Result<Minted, Unserved> {
        let plan = self.plan(&Options { max_wait: Some(max_wait), ..Options::default() });
        let minted = self.minter.mint(&plan, &Identity::parse("alice").unwrap(), None).await?;
        self.check(&minted);
        Ok(minted)
    }

    /// The oracle: no token carries a grant that the upstream would not honour, and none is
    /// handed out with less than it says.
    fn check(&self, minted: &Minted) {
        let now = self.clock.now().wall;
        let latest = *self.upstream.given.lock().unwrap().iter().max().unwrap();
        assert!(minted.terms.use_by > now, "handed out past its use");
        assert!(minted.terms.use_by + secs(2) <= latest.max(now), "outlives every grant given");
    }

    /// How the grant fares.
    pub(super) fn status(&self) -> Status {
        self.grants.roster().views()[0].status()
    }

    pub(super) fn is_live(&self, now: Anchor) -> bool {
        self.status().life.is_some_and(|life| life.is_live(now, secs(2)))
    }

    /// When each request reached the upstream.
    pub(super) fn requests(&self) -> Vec<Duration> {
        self.upstream.requests.lock().unwrap().clone()
    }

    /// Requests that reached the upstream from `from` to `to`.
    pub(super) fn requests_between(&self, from: Duration, to: Duration) -> usize {
        self.requests().iter().filter(|at| **at >= from && **at < to).count()
    }

    /// Mints every tenth of a second until `end`, and tells the instants without a token.
    pub(super) async fn without_token_until(&self, end: Duration) -> Vec<Duration> {
        let mut without = Vec::new();
        while self.upstream.started.elapsed() < end {
            if self.mint().await.is_err() {
                without.push(self.upstream.started.elapsed());
            }
            sleep(millis(100)).await;
        }
        without
    }
}

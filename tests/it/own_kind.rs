//! A kind defined outside the crate with public traits only: configured, minted and inspected. It
//! returns the credentials of its own upstream.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use grantmint::{
    app::App,
    clock::{Clock, WallTime},
    config::{Config, Kinds, Supply},
    egress::{Egress, EgressError, ProxySetting},
    name::Resource,
    provider::{
        Draft, GrantRules, Kind, LifeRules, Provider, Rules, SupplyRules, TokenRules, Tokens,
        Upstream,
    },
    reading::{Jwt, Reading, View},
    rpc::proto::{
        ExpiryPolicy, GetGrantRequest, MintOptions, grant_service_client::GrantServiceClient,
        token_service_client::TokenServiceClient,
    },
    sandbox::{Answer, AnswerContext, Endpoint, Recognized},
    settings::{Problems, Section},
    source::{FetchError, FetchRequest, Fetched, GrantSource, Granted, Mark, base_url::BaseUrl},
    token::{TokenFormat, verbatim::Verbatim},
};
use http::{Request, StatusCode};
use prost_types::Duration as Proto;
use serde_json::{Value, json};
use tonic::{Code, transport::Channel};

use crate::support::{mint, reason, series, soon};

const LIFE: Duration = Duration::from_secs(3_600);

/// A kind whose requests ask for a life or do not.
#[derive(Debug)]
struct Forwarding(&'static str, LifeRules);

static KINDS: [&dyn Kind; 2] = [
    &Forwarding("told", LifeRules::Reported),
    &Forwarding("asked", LifeRules::Requested { default: LIFE, max: Duration::from_secs(86_400) }),
];

impl Kind for Forwarding {
    fn name(&self) -> &'static str {
        self.0
    }

    fn read(&self, section: &mut Section<'_>) -> Draft {
        let rules = Rules {
            token_ttl: Duration::ZERO,
            min_token_ttl: Duration::ZERO,
            max_token_ttl: Duration::ZERO,
            supply: SupplyRules::Forwarded(GrantRules { life: self.1, refresh_at: 0.5 }),
            tokens: TokenRules::default(),
            parse_resource: Resource::parse,
        };
        let account = section.required("account", |text| Ok::<_, String>(text.to_owned()));
        Draft::new(rules, account.map(|account| Own { account }))
    }

    fn read_token(&self, token: &Jwt, _: View<'_>) -> Option<Reading> {
        token.text("account")?;
        let mut reading = Reading::of(token);
        reading.add_claim("account", "account");
        Some(reading)
    }
}

#[derive(Clone, Debug)]
struct Own {
    account: String,
}

impl Provider for Own {
    fn shown(&self) -> Vec<(&'static str, Value)> {
        vec![("account", json!(self.account))]
    }

    fn token_format(&self, _: &Tokens) -> Arc<dyn TokenFormat> {
        Arc::new(Verbatim)
    }

    fn upstream(&self) -> Option<&dyn Upstream> {
        Some(self)
    }
}

impl Upstream for Own {
    fn account(&self) -> String {
        self.account.clone()
    }

    fn egress(&self) -> Result<Egress, EgressError> {
        Egress::of(&"http://127.0.0.1:1".parse().expect("a URI"), &ProxySetting::default())
    }

    fn source(
        &self,
        clock: Clock,
        _: &Egress,
        grant_ttl: Option<Duration>,
    ) -> Arc<dyn GrantSource> {
        let ttl = grant_ttl.unwrap_or(LIFE);
        Arc::new(Counting { clock, ttl, account: self.account.clone(), count: AtomicU64::new(0) })
    }

    fn replaced_by(&self, _: &BaseUrl) -> Arc<dyn Provider> {
        Arc::new(self.clone())
    }

    fn endpoint(&self) -> Arc<dyn Endpoint> {
        Arc::new(self.clone())
    }
}

impl Endpoint for Own {
    fn recognize(&self, _: &Request<Bytes>) -> Recognized {
        Recognized::default()
    }

    fn answer(&self, _: &Request<Bytes>, _: &mut AnswerContext<'_>) -> Answer {
        Answer::page(StatusCode::NOT_FOUND)
    }
}

/// Returns a new credential each time.
#[derive(Debug)]
struct Counting {
    clock: Clock,
    ttl: Duration,
    account: String,
    count: AtomicU64,
}

impl GrantSource for Counting {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let claims = json!({
            "account": self.account, "resource": request.resource.as_str(), "count": count,
        });
        let credential = format!("{}.{}.sig", part(json!({"alg": "HS256"})), part(claims));
        let (anchor, mark) = (self.clock.now(), Mark::of(&credential, None));
        let content = credential.into();
        let fetched = Fetched { content, anchor, granted: Granted::Stated(self.ttl), mark };
        std::future::ready(Ok(fetched)).boxed()
    }
}

fn parse(profile: &str) -> Result<Config, Problems> {
    let listen = "listen = \"127.0.0.1:0\"";
    let text = format!("[profiles.own]\n{profile}\n[server]\n{listen}\n[admin]\n{listen}\n");
    let kinds: Kinds = &KINDS;
    Config::parse_of("f.toml", &text, &|_| None, kinds)
}

#[track_caller]
fn refuses(lines: &str, reported: &str) {
    let problems = parse(lines).unwrap_err().to_string();
    assert!(problems.starts_with("f.toml:") && problems.contains(reported), "{lines}\n{problems}");
}

const TOLD: &str = "kind = \"told\"\naccount = \"a\"\nshareable = true\n";
const ASKED: &str = "kind = \"asked\"\naccount = \"a\"\nshareable = true\n";

#[test]
fn shared_credential_profile_has_its_own_keys() {
    let config = parse(TOLD).unwrap();
    let profile = &config.profiles[0];
    let Supply::Forwarded(grants) = &profile.supply else { panic!("{profile:?}") };
    assert_eq!(grants.resources[0].as_str(), "default");
    assert_eq!(profile.default_resource, Some(grants.resources[0].clone()));
    assert_eq!((grants.policy.grant_ttl(), profile.shortest_validity()), (None, None));
    assert_eq!((grants.requests_per_minute(), grants.capacity()), (None, None));
    assert_eq!(grants.policy.point(LIFE), LIFE / 2, "expected the kind's own refresh point");

    let config = parse(&format!("{ASKED}grant_ttl = \"10m\"\nresources = [\"b\", \"c\"]")).unwrap();
    let profile = &config.profiles[0];
    let grants = profile.grants().unwrap();
    assert_eq!(grants.resources.len(), 2);
    assert_eq!(grants.policy.usual_point(), Some(Duration::from_secs(300)));
    assert_eq!(profile.shortest_validity(), Some(Duration::from_secs(296)));

    for good in [
        "refresh_after = \"1h\"",
        "promise = \"10m\"",
        "margin = \"5s\"\n[profiles.own.budget]\nrate = 5",
    ] {
        assert!(parse(&format!("{TOLD}{good}")).is_ok(), "{good}");
    }
}

#[test]
fn inapplicable_keys_of_a_shared_credential_are_refused() {
    for unshared in ["", "shareable = false"] {
        let lines = format!("kind = \"told\"\naccount = \"a\"\n{unshared}");
        refuses(
            &lines,
            "profiles.own.shareable: must be true: this kind forwards its credential unchanged",
        );
    }
    let mistyped = parse(&TOLD.replace("true", "\"true\"")).unwrap_err().to_string();
    assert_eq!(mistyped.lines().count(), 1, "{mistyped}");
    for key in [
        "token_ttl = \"1h\"",
        "max_ttl = \"1h\"",
        "expiry_policy = \"clamp-to-grant\"",
        "allow_independent = true",
        "allow_resources = [\"*\"]",
        "caller_params = []",
        "params = {}",
        "grant_ttl = \"1h\"",
    ] {
        let name = key.split_once(' ').unwrap().0;
        refuses(&format!("{TOLD}{key}"), &format!("profiles.own.{name}: unknown key"));
    }
    refuses(&format!("{TOLD}resources = []"), "profiles.own.resources: needs at least one");
    refuses(&format!("{ASKED}grant_ttl = \"25h\""), "profiles.own.grant_ttl: must be from 0s to");
    refuses(&format!("{ASKED}refresh_after = \"1h\""), "profiles.own.refresh_after: must be from");
    refuses(&format!("{ASKED}promise = \"1h\""), "profiles.own.promise: must be at most");
    let both = "refresh_after = \"1h\"\npromise = \"1h\"";
    refuses(&format!("{TOLD}{both}"), "profiles.own.promise: excludes refresh_after");
}

#[tokio::test]
async fn custom_kind_is_minted_and_inspected() {
    let app = App::build(&parse(TOLD).unwrap(), Clock::system()).await.unwrap();
    let server = format!("http://{}", app.addr().expect("TCP"));
    let _running = app.spawn();
    let channel = Channel::from_shared(server).unwrap().connect().await.unwrap();
    let mut tokens = TokenServiceClient::new(channel.clone());
    let mut grants = GrantServiceClient::new(channel);

    let alice = soon(tokens.mint_token(mint("alice", None))).await.unwrap().into_inner();
    let bob = soon(tokens.mint_token(mint("bob", None))).await.unwrap().into_inner();
    assert_eq!((&alice.token, &alice.token_id), (&bob.token, &bob.token_id));
    assert!(alice.token_id.starts_with("sha256:"));
    let validity = alice.validity.unwrap();
    assert_eq!(validity.grant, "profiles/own/grants/default");

    let mut bulk = soon(tokens.mint_tokens(series(0, 1_000))).await.unwrap().into_inner();
    let mut minted = Vec::new();
    while let Some(chunk) = soon(bulk.next()).await {
        minted.extend(chunk.unwrap().tokens);
    }
    assert!(minted.len() == 1_000 && minted.iter().all(|token| *token == alice.token));

    let name = validity.grant.clone();
    let grant = soon(grants.get_grant(GetGrantRequest { name })).await.unwrap().into_inner();
    let grant = grant.grant.unwrap();
    assert_eq!(grant.generation, validity.generation);
    let end = grant.end_time.unwrap();
    assert_eq!(validity.expire_time.unwrap().seconds, end.seconds, "expected the grant's expiry");

    let day = Some(Proto { seconds: 86_400, nanos: 0 });
    let full = ExpiryPolicy::RequireFullTtl.into();
    for (options, expected) in [
        (MintOptions { ttl: day, ..MintOptions::default() }, "OPTION_INVALID"),
        (
            MintOptions { expiry_policy: full, ..MintOptions::default() },
            "EXPIRY_POLICY_NOT_ALLOWED",
        ),
        (
            MintOptions { min_remaining_validity: day, ..MintOptions::default() },
            "VALIDITY_UNATTAINABLE",
        ),
    ] {
        let refused = soon(tokens.mint_token(mint("alice", Some(options)))).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::InvalidArgument, expected));
    }

    let token = Jwt::decode(&alice.token).unwrap();
    let view = View { now: WallTime::from_unix_seconds(1), mask: Some("(hidden)") };
    let reading = KINDS[0].read_token(&token, view).unwrap().complete(&token, view.now);
    assert_eq!((reading.lines[0].label, &*reading.lines[0].text), ("account", "a"));
    assert_eq!(reading.claims["resource"], "default");
}

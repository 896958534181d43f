//! Minting in process against `jsonwebtoken::encode` of the same claims, in one run.
//!
//! Both make tokens of the same claims for the same identities, by turns, so that what else
//! the machine does hits both; the ratio of the medians is what counts.

use std::{
    error::Error,
    hint::black_box,
    io::{self, Write},
    time::{Duration, Instant},
};

use grantmint::{
    clock::Clock,
    grant::{Generation, Grant},
    provider::twilio_live::{
        AccessTokens, Config, ExtraGrants,
        ids::{AccountSid, ApiKeySecret, ApiKeySid},
    },
    settings::SecretOrigin,
    token::{Stamped, Times, TokenFormat, id::Serials},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

const ROUNDS: usize = 61;
const TOKENS_A_ROUND: u32 = 10_000;

/// Least ratio that the product promises.
const GOAL: f64 = 4.0;

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    iat: i64,
    exp: i64,
    grants: Grants<'a>,
    jti: String,
}

#[derive(Serialize)]
struct Grants<'a> {
    player: &'a RawValue,
    identity: &'a str,
}

fn main() -> Result<(), Box<dyn Error>> {
    let vectors: Value = serde_json::from_str(include_str!("../tests/vectors/access_tokens.json"))?;
    let basic = &vectors[0]["inputs"];
    let text = |name: &str| basic[name].as_str().ok_or("the first vector has no such input");
    let (account, key, secret) = (text("account_sid")?, text("signing_key_sid")?, text("secret")?);
    let grant = basic["grants"][0]["grant_json"].as_str().ok_or("no grant")?;
    let raw = RawValue::from_string(grant.to_owned())?;

    let config = Config {
        account_sid: AccountSid::parse(account)?,
        api_key_sid: ApiKeySid::parse(key)?,
        api_key_secret: ApiKeySecret::parse(secret)?,
        api_key_secret_origin: SecretOrigin::Env("API_SECRET".to_owned()),
        allow_origin: None,
        upstream: "https://media.twilio.com".parse()?,
        region: None,
        nbf_backdate: None,
        grants: ExtraGrants::default(),
    };
    let now = Clock::system().now();
    let issue = now.wall.unix_seconds();
    let times = Times { issue, expire: issue + 58 };
    let life = Duration::from_secs(60);
    let grant = Grant::new(raw.clone(), now, life, Generation::after(Generation::NONE, now.wall));
    let signer = AccessTokens::new(&config).prepare(&grant, now)?;
    let stamped = signer.at(times);
    let serials = Serials::draw()?;

    let header = Header { cty: Some("twilio-fpa;v=1".into()), ..Header::new(Algorithm::HS256) };
    let encoding_key = EncodingKey::from_secret(secret.as_bytes());
    let encode = |identity: &str, stamped: &dyn Stamped| {
        let claims = Claims {
            iss: key,
            sub: account,
            iat: times.issue,
            exp: times.expire,
            grants: Grants { player: &raw, identity },
            jti: stamped.token_id(serials.next()),
        };
        jsonwebtoken::encode(&header, &claims, &encoding_key)
    };

    for (kind, identity) in [("short", "alice"), ("uuid", "7c9e6679-7425-40de-944b-e07fc1f90ae7")] {
        let mut ways = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            ways[0].push(nanos_a_token(|| stamped.sign(identity, serials.next())));
            ways[1].push(nanos_a_token(|| signer.at(times).sign(identity, serials.next())));
            ways[2].push(nanos_a_token(|| encode(identity, &*stamped)));
        }
        let [mint, mint_at, encode] = ways.map(median);
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "{kind} identity: mint {mint:.0} ns, with its times looked up {mint_at:.0} ns, jsonwebtoken {encode:.0} ns"
        )?;
        let name =
            if kind == "short" { "mint_vs_jsonwebtoken" } else { "mint_vs_jsonwebtoken_uuid" };
        writeln!(out, "{name} {:.1} (goal >= {GOAL})", encode / mint)?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "measures the machine, not the product's time")]
fn nanos_a_token<T>(make: impl Fn() -> T) -> f64 {
    let start = Instant::now();
    for _ in 0..TOKENS_A_ROUND {
        black_box(make());
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(TOKENS_A_ROUND)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

//! In-process minting, and `jsonwebtoken::encode` of the same claims as a team would write it, with
//! a claims struct.

use std::{hint::black_box, time::Duration};

use anyhow::Result;
use grantmint::{
    clock::Clock,
    egress::ProxySetting,
    grant::{Generation, Grant},
    mint::bulk::CHUNK_BYTES,
    provider::twilio_live::{
        Config, DEMO_ACCOUNT_SID, DEMO_API_KEY_SECRET, DEMO_API_KEY_SID, ProductGrants,
        access_tokens,
        ids::{AccountSid, ApiKeySecret, ApiKeySid},
    },
    settings::SecretOrigin,
    token::{Call, CallSigner, Times, TokenFormat, hs256::Hs256, id::Serials},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::load::IDENTITY;

const TOKENS_A_ROUND: u32 = 20_000;

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    iat: i64,
    exp: i64,
    grants: Grants<'a>,
    jti: &'a str,
}

#[derive(Serialize)]
struct Grants<'a> {
    player: &'a RawValue,
    identity: &'a str,
}

/// Signs with `jsonwebtoken`.
pub(crate) struct Encoder {
    header: Header,
    key: EncodingKey,
    grant: Box<RawValue>,
}

impl Encoder {
    pub(crate) fn new(grant: Box<RawValue>) -> Self {
        Self {
            header: Header { cty: Some("twilio-fpa;v=1".into()), ..Header::new(Algorithm::HS256) },
            key: EncodingKey::from_secret(DEMO_API_KEY_SECRET.as_bytes()),
            grant,
        }
    }

    /// A token for this identity with this id, valid for a minute.
    pub(crate) fn encode(
        &self,
        identity: &str,
        id: &str,
        issue: i64,
    ) -> jsonwebtoken::errors::Result<String> {
        let claims = Claims {
            iss: DEMO_API_KEY_SID,
            sub: DEMO_ACCOUNT_SID,
            iat: issue,
            exp: issue + 60,
            grants: Grants { player: &self.grant, identity },
            jti: id,
        };
        jsonwebtoken::encode(&self.header, &claims, &self.key)
    }
}

/// The token format of the sandbox's account.
pub(crate) fn format() -> Result<Hs256> {
    let config = Config {
        account_sid: AccountSid::parse(DEMO_ACCOUNT_SID)?,
        api_key_sid: ApiKeySid::parse(DEMO_API_KEY_SID)?,
        api_key_secret: ApiKeySecret::parse(DEMO_API_KEY_SECRET)?,
        api_key_secret_origin: SecretOrigin::Env("API_SECRET".to_owned()),
        allow_origin: None,
        upstream: "https://media.twilio.com".parse()?,
        proxy: ProxySetting::default(),
        region: None,
        grants: ProductGrants::default(),
    };
    Ok(access_tokens(&config, None))
}

/// Both implementations.
pub(crate) struct Comparison {
    call_signer: std::sync::Arc<dyn CallSigner>,
    serials: Serials,
    encoder: Encoder,
    issue: i64,
}

impl Comparison {
    pub(crate) fn new(raw: &RawValue) -> Result<Self> {
        let now = Clock::system().now();
        let issue = now.wall.unix_seconds();
        let life = Duration::from_secs(60);
        let generation = Generation::after(Generation::NONE, now.wall);
        let grant = Grant::new(raw.get().into(), now, life, generation);
        let signer = format()?.prepare(Some(&grant), now)?;
        Ok(Self {
            call_signer: signer.at(Times { issue, expire: issue + 60 }, &Call::NONE)?,
            serials: Serials::draw()?,
            encoder: Encoder::new(raw.to_owned()),
            issue,
        })
    }

    /// Nanoseconds for one of our tokens, made in chunks as in a bulk: one after another into a
    /// buffer.
    pub(crate) fn mint(&self) -> f64 {
        let mut chunk = Vec::new();
        nanos_a_token(|| {
            if chunk.len() > CHUNK_BYTES {
                chunk.clear();
            }
            let token = self.call_signer.sign(IDENTITY, self.serials.next());
            token.map(|token| token.put_into(&mut chunk))
        })
    }

    /// Nanoseconds for a token of `jsonwebtoken`.
    pub(crate) fn encode(&self) -> f64 {
        nanos_a_token(|| {
            let id = self.call_signer.token_id(self.serials.next()).unwrap_or_default();
            self.encoder.encode(IDENTITY, &id, self.issue)
        })
    }
}

/// Nanoseconds per call of `make`.
pub(crate) fn nanos_a_token<T>(mut make: impl FnMut() -> T) -> f64 {
    let start = thread_nanos();
    for _ in 0..TOKENS_A_ROUND {
        black_box(make());
    }
    (thread_nanos() - start) / f64::from(TOKENS_A_ROUND)
}

/// This thread's processor time, independent of the machine's other load.
pub(crate) fn thread_nanos() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

//! A LiveKit token for a call, and `jsonwebtoken::encode` of the same claims.

use anyhow::{Context, Result, anyhow, ensure};
use grantmint::{
    clock::Clock,
    token::{
        Call, Signer, Times,
        id::{Serial, Serials},
        params::Values,
    },
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::Serialize;
use serde_json::Value;

use super::{API_KEY, LiveKit, Rooms, SECRET};
use crate::{load::IDENTITY, mint::nanos_a_token};

const LIFE: i64 = 60;

/// The claims as a team would write them.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    nbf: i64,
    exp: i64,
    jti: &'a str,
    name: &'a str,
    video: Video<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Video<'a> {
    room_join: bool,
    room: &'a str,
}

/// Both implementations.
pub(crate) struct Comparison {
    livekit: LiveKit,
    signer: Box<dyn Signer>,
    /// The parameters of the calls, as the kind represents them.
    params: Vec<Values>,
    serials: Serials,
    key: EncodingKey,
    header: Header,
    times: Times,
}

impl Comparison {
    /// With calls that each name a room matched by a pattern.
    pub(crate) fn new() -> Result<Self> {
        let clock = Clock::system();
        let now = clock.now();
        let issue = now.wall.unix_seconds();
        let livekit = LiveKit::new(Rooms::OF_A_PATTERN, clock)?;
        let parameters = livekit.profile.tokens.parameters();
        let params =
            livekit.requested.iter().map(|requested| parameters.for_call(&requested.params));
        let comparison = Self {
            params: params.collect::<Result<_, _>>().map_err(|_| anyhow!("a call is refused"))?,
            signer: livekit.profile.token_format().prepare(None, now)?,
            livekit,
            serials: Serials::draw()?,
            key: EncodingKey::from_secret(SECRET.as_bytes()),
            header: Header::new(Algorithm::HS256),
            times: Times { issue, expire: issue + LIFE },
        };
        let serial = comparison.serials.next();
        let [ours, theirs] = [comparison.token(1, serial), comparison.encoded(1, serial)].map(read);
        ensure!(ours? == theirs?, "the tokens do not say the same");
        Ok(comparison)
    }

    /// Nanoseconds for one of our tokens, as a response contains it.
    pub(crate) fn mint(&self) -> f64 {
        let mut number = 0;
        nanos_a_token(|| {
            number += 1;
            self.token(number, self.serials.next())
        })
    }

    /// Nanoseconds for a token of `jsonwebtoken`.
    pub(crate) fn encode(&self) -> f64 {
        let mut number = 0;
        nanos_a_token(|| {
            number += 1;
            self.encoded(number, self.serials.next())
        })
    }

    fn token(&self, number: usize, serial: Serial) -> Result<String> {
        let at = number % self.params.len();
        let call = Call { resource: &self.livekit.requested[at].room, params: &self.params[at] };
        let call_signer = self.signer.at(self.times, &call)?;
        Ok(String::from(call_signer.sign(IDENTITY, serial)?))
    }

    fn encoded(&self, number: usize, serial: Serial) -> Result<String> {
        let requested = &self.livekit.requested[number % self.params.len()];
        let ([(_, name)], id) = (&requested.params, serial.as_text());
        let claims = Claims {
            iss: API_KEY,
            sub: IDENTITY,
            nbf: self.times.issue,
            exp: self.times.expire,
            jti: str::from_utf8(&id)?,
            name: name.as_str().context("no name")?,
            video: Video { room_join: true, room: &requested.room },
        };
        Ok(jsonwebtoken::encode(&self.header, &claims, &self.key)?)
    }
}

/// A token's claims, after verifying its signature.
fn read(token: Result<String>) -> Result<Value> {
    let key = DecodingKey::from_secret(SECRET.as_bytes());
    Ok(jsonwebtoken::decode(token?, &key, &Validation::new(Algorithm::HS256))?.claims)
}

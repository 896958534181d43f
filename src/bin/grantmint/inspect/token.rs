//! A token's parts, read but not trusted.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use grantmint::provider::twilio_live::wire::PlaybackTimes;
use serde_json::{Map, Value};

/// A JWT.
#[derive(Debug, PartialEq)]
pub(super) struct Token {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
    /// What is signed: header and claims as they were sent.
    pub(super) signed: String,
    /// The signature as it was sent.
    pub(super) signature: String,
}

/// Something in a token that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) what: Mortal,
    /// Unix seconds.
    pub(super) at: i64,
}

/// What can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mortal {
    /// By its `exp`.
    Token,
    /// By the `exp` of the token in the playback URL.
    PlayersGrant,
}

impl Mortal {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::PlayersGrant => "player_grant",
        }
    }
}

impl Token {
    pub(super) fn decode(token: &str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        Some(Self {
            header: decode_part(header)?,
            claims: decode_part(claims)?,
            signed: signed.to_owned(),
            signature: signature.to_owned(),
        })
    }

    /// How many characters its signature lacks, by its algorithm. Sources: RFC 7518, section 3.1,
    /// and RFC 8037.
    pub(super) fn missing_of_signature(&self) -> usize {
        let whole = match self.text_of_header("alg") {
            Some("HS256") => 43,
            Some("HS384") => 64,
            Some("HS512" | "ES256" | "EdDSA") => 86,
            Some("ES384") => 128,
            _ => 0,
        };
        usize::saturating_sub(whole, self.signature.trim_end_matches('=').len())
    }

    pub(super) fn grants(&self) -> Option<&Map<String, Value>> {
        self.claims.get("grants")?.as_object()
    }

    /// The grant of this product.
    pub(super) fn grant(&self, product: &str) -> Option<&Value> {
        self.grants()?.get(product)
    }

    /// A claim that is a time, in Unix seconds.
    pub(super) fn time(&self, claim: &str) -> Option<i64> {
        let value = self.claims.get(claim)?;
        value.as_i64().or_else(|| value.as_f64().map(whole))
    }

    /// A header that is a text.
    pub(super) fn text_of_header(&self, name: &str) -> Option<&str> {
        self.header.get(name)?.as_str()
    }

    /// A claim that is a text.
    pub(super) fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim)?.as_str()
    }

    /// The seconds in a token id of the form that Twilio's libraries make: key, dash, seconds.
    pub(super) fn id_seconds(&self) -> Option<i64> {
        let (key, seconds) = self.text("jti")?.rsplit_once('-')?;
        if key == self.text("iss")? { seconds.parse().ok() } else { None }
    }

    /// When it was issued, as far as it tells; five of Twilio's libraries tell it in the id only.
    pub(super) fn issued(&self) -> Option<i64> {
        self.time("iat").or_else(|| self.id_seconds())
    }

    pub(super) fn playback_url(&self) -> Option<&str> {
        self.grant("player")?.get("playbackUrl")?.as_str()
    }

    /// What ends, the earliest first; the token before its grant where both end at once.
    pub(super) fn ends(&self) -> Vec<End> {
        let token = self.time("exp").map(|at| End { what: Mortal::Token, at });
        let playback = self.playback_url().and_then(PlaybackTimes::in_url);
        let playback = playback.and_then(|times| times.ends).map(whole);
        let playback = playback.map(|at| End { what: Mortal::PlayersGrant, at });
        let mut ends: Vec<_> = token.into_iter().chain(playback).collect();
        ends.sort_by_key(|end| end.at);
        ends
    }

    /// Leaves of the player's grant what is no secret: the playback URL without its token.
    pub(super) fn hide_grant(&mut self) {
        let player = self.claims.get_mut("grants").and_then(|grants| grants.get_mut("player"));
        match player {
            // Old libraries placed the whole grant as a text.
            Some(Value::String(grant)) => {
                "(hidden; show it with --show-grant)".clone_into(grant);
            }
            Some(Value::Object(grant)) => {
                if let Some(Value::String(url)) = grant.get_mut("playbackUrl")
                    && let Some((open, _)) = url.split_once('?')
                {
                    *url = format!("{open}?(hidden; show it with --show-grant)");
                }
            }
            _ => {}
        }
    }
}

/// A part that is a JSON object.
pub(super) fn decode_part(part: &str) -> Option<Map<String, Value>> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[expect(clippy::cast_possible_truncation, reason = "saturates")]
const fn whole(seconds: f64) -> i64 {
    seconds as i64
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const VECTORS: &str = include_str!("../../../../tests/vectors/access_tokens.json");

    /// The tokens that Twilio's helper libraries made, by the name of the case.
    pub(in super::super) fn vectors() -> Vec<(String, String)> {
        let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
        let named = vectors.iter().filter_map(|vector| {
            let text = |key: &str| Some(vector[key].as_str()?.to_owned());
            Some((text("id")?, text("jwt")?))
        });
        named.collect()
    }

    /// A token of these parts, signed by nobody.
    pub(in super::super) fn token(header: &Value, claims: &Value) -> Token {
        let part = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        Token::decode(&format!("{}.{}.x", part(header), part(claims))).unwrap()
    }

    #[test]
    fn what_ends_first_is_first() {
        let token = Token::decode(&vectors()[0].1).unwrap();
        assert_eq!(
            token.ends(),
            [
                End { what: Mortal::PlayersGrant, at: 1_700_000_060 },
                End { what: Mortal::Token, at: 1_700_003_600 }
            ]
        );
    }

    #[test]
    fn the_secret_of_a_grant_can_be_hidden_in_either_form() {
        let mut seen = 0;
        for (id, jwt) in vectors() {
            let mut token = Token::decode(&jwt).unwrap();
            token.hide_grant();
            let text = Value::Object(token.claims).to_string();
            assert!(!text.contains("token="), "{id}: {text}");
            seen += usize::from(text.contains("hidden"));
        }
        assert!(seen > 80);
    }

    #[test]
    fn garbage_is_no_token() {
        for garbage in ["", ".", "..", "a.b.c", "e30.e30", "e30.W10.x", "e30.e30.x.y", "é.é.é"] {
            assert_eq!(Token::decode(garbage), None, "{garbage}");
        }
    }
}

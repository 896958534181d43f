//! The parts of a JWT.

use std::{fmt, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// A decoded JWT that is not trusted.
#[derive(Clone, PartialEq)]
pub struct Jwt {
    /// Its header.
    pub header: Map<String, Value>,
    /// Its claims; may contain secrets.
    pub claims: Map<String, Value>,
    /// The signed text: header and claims as received.
    pub signed: String,
    /// The signature as received.
    pub signature: String,
}

impl Jwt {
    /// Decodes three parts separated by dots, of which the first two are JSON objects in base64url.
    #[must_use]
    pub fn decode(token: &str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        Some(Self {
            header: decode_part(header)?,
            claims: decode_part(claims)?,
            signed: signed.to_owned(),
            signature: signature.to_owned(),
        })
    }

    /// The algorithm in its header; none if that is not a string.
    #[must_use]
    pub fn algorithm(&self) -> Option<&str> {
        self.header_text("alg")
    }

    /// A header that is a string.
    #[must_use]
    pub fn header_text(&self, name: &str) -> Option<&str> {
        self.header.get(name)?.as_str()
    }

    /// A claim that is a string.
    #[must_use]
    pub fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim)?.as_str()
    }

    /// A claim that is a time, in Unix seconds.
    #[must_use]
    pub fn time(&self, claim: &str) -> Option<i64> {
        let value = self.claims.get(claim)?;
        value.as_i64().or_else(|| value.as_f64().map(whole_seconds))
    }

    /// The validity according to `iat`, `nbf` and `exp`.
    #[must_use]
    pub fn validity(&self) -> Validity {
        let [issued, starts, ends] = ["iat", "nbf", "exp"].map(|claim| self.time(claim));
        Validity { issued, starts, ends }
    }

    /// Whether it has an ECDSA signature in the form used outside JWTs: a DER sequence.
    #[must_use]
    pub fn has_der_signature(&self) -> bool {
        let bytes = match self.algorithm() {
            Some("ES256") => 64,
            Some("ES384") => 96,
            _ => return false,
        };
        let signature = BASE64_URL_SAFE_NO_PAD.decode(self.signature.trim_end_matches('=')).ok();
        signature.is_some_and(|it| it.len() > bytes && it.first() == Some(&0x30))
    }

    /// How many characters its signature lacks for its algorithm. Sources: RFC 7518, section 3.1,
    /// and RFC 8037.
    #[must_use]
    pub fn missing_of_signature(&self) -> usize {
        let whole = match self.algorithm() {
            Some("HS256") => 43,
            Some("HS384") => 64,
            Some("HS512" | "ES256" | "EdDSA") => 86,
            Some("ES384") => 128,
            _ => 0,
        };
        usize::saturating_sub(whole, self.signature.trim_end_matches('=').len())
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt").field("header", &self.header).finish_non_exhaustive()
    }
}

/// The validity of a token, in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// When it was issued.
    pub issued: Option<i64>,
    /// When it becomes valid.
    pub starts: Option<i64>,
    /// When it expires.
    pub ends: Option<i64>,
}

impl Validity {
    /// Whether it expires before it becomes valid.
    #[must_use]
    pub fn is_never(self) -> bool {
        let start = self.issued.max(self.starts);
        self.ends.zip(start).is_some_and(|(ends, start)| ends <= start)
    }

    /// Its lifetime in seconds, counted from now if it states no beginning; none if it has no
    /// expiry or was never valid.
    #[must_use]
    pub fn life(self, now: i64) -> Option<i64> {
        let ends = self.ends.filter(|_| !self.is_never())?;
        Some(ends.saturating_sub(self.issued.or(self.starts).unwrap_or(now)))
    }

    /// Its lifetime in seconds, if longer than `max`.
    #[must_use]
    pub fn life_over(self, max: Duration, now: i64) -> Option<u64> {
        let life = self.life(now).and_then(|life| u64::try_from(life).ok());
        life.filter(|life| *life > max.as_secs())
    }
}

/// Decodes a part of a JWT that is a JSON object.
#[must_use]
pub fn decode_part(part: &str) -> Option<Map<String, Value>> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// A time without its fraction of a second.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "saturates")]
pub const fn whole_seconds(seconds: f64) -> i64 {
    seconds as i64
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A token of these parts with a dummy signature.
    pub(crate) fn unsigned(header: &Value, claims: &Value) -> Jwt {
        let part = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        Jwt::decode(&format!("{}.{}.x", part(header), part(claims))).unwrap()
    }

    #[test]
    fn garbage_is_not_decoded() {
        for garbage in ["", ".", "..", "a.b.c", "e30.e30", "e30.W10.x", "e30.e30.x.y", "é.é.é"] {
            assert_eq!(Jwt::decode(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn any_number_is_a_time() {
        for (value, time) in [
            (json!(60), Some(60)),
            (json!(-1.5), Some(-1)),
            (json!(1e300), Some(i64::MAX)),
            (json!("60"), None),
            (json!(null), None),
        ] {
            assert_eq!(unsigned(&json!({}), &json!({"exp": value})).time("exp"), time, "{value}");
        }
    }

    #[test]
    fn missing_characters_depend_on_the_algorithm() {
        for (algorithm, missing) in [("HS256", 42), ("ES384", 127), ("RS256", 0)] {
            let token = unsigned(&json!({"alg": algorithm}), &json!({}));
            assert_eq!(token.missing_of_signature(), missing, "{algorithm}");
        }
    }

    #[test]
    fn lifetime_counts_from_issue_then_start_then_now() {
        let validity = |issued, starts| Validity { issued, starts, ends: Some(60) };
        assert_eq!(validity(Some(10), Some(20)).life(0), Some(50));
        assert_eq!(validity(None, Some(20)).life(0), Some(40));
        assert_eq!(validity(None, None).life(5), Some(55));
        assert!(validity(Some(10), Some(60)).is_never());
        assert_eq!(validity(Some(10), Some(60)).life(0), None);
        assert_eq!(Validity { issued: Some(0), starts: None, ends: None }.life(0), None);
        assert_eq!(validity(Some(i64::MIN), None).life(0), Some(i64::MAX));
    }
}

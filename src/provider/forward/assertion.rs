//! Assertions: JWTs that authenticate a profile to an upstream (RFC 7523), signed for each attempt.

use std::{fmt, sync::Arc, time::Duration};

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value as Json};
use zeroize::Zeroizing;

use crate::{
    clock::{Clock, WallTime},
    provider::header,
    token::{
        Call, PrepareError, SignError, Signer, Times, TokenFormat,
        claims::{Conflict, Table, Value},
        id::{NoRandomness, Serials},
        key::JwtKey,
        signed::Signed,
    },
};

/// Why a profile cannot make assertions. It contains nothing of the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AssertionError {
    /// Signing fails, or the signature does not verify.
    #[error("cannot make assertions: {0}")]
    Unfit(#[from] PrepareError),
    /// IDs cannot be generated.
    #[error("cannot make assertions: the system returned no random bytes")]
    NoRandomness,
}

/// Makes assertions. Its `Debug` shows no key, and the key is zeroed on drop.
#[derive(Clone)]
pub(super) struct Assertion {
    claims: Table,
    key: JwtKey,
    ttl: Duration,
    signer: Arc<dyn Signer>,
    serials: Arc<Serials>,
}

impl Assertion {
    /// Assertions with these claims and life, signed by `key`. Signs and verifies one first.
    ///
    /// # Errors
    ///
    /// The key does not sign, or its signature does not verify.
    pub(super) fn new(
        claims: Result<Table, Conflict>,
        key: JwtKey,
        ttl: Duration,
    ) -> Result<Self, AssertionError> {
        let claims = claims.map_err(PrepareError::from)?;
        let format = Signed::new(Ok(claims.clone()), key.clone());
        let signer = format.prepare(None, Clock::system().now())?.into();
        let serials = Serials::draw().map_err(|NoRandomness| AssertionError::NoRandomness)?;
        Ok(Self { claims, key, ttl, signer, serials: Arc::new(serials) })
    }

    /// Signs an assertion.
    ///
    /// # Errors
    ///
    /// The key does not sign.
    pub(super) fn sign(
        &self,
        now: WallTime,
        resource: &str,
    ) -> Result<Zeroizing<String>, SignError> {
        let times = Times { issue: now.unix_seconds(), expire: (now + self.ttl).unix_seconds() };
        let stamped = self.signer.at(times, &Call { resource, params: &[] })?;
        let token = stamped.sign("", self.serials.next())?;
        Ok(Zeroizing::new(token.into()))
    }

    /// The claims of an assertion signed by this key; its times are not checked.
    pub(super) fn verified(&self, assertion: &str) -> Option<Json> {
        self.key.read(assertion).map(|read| read.claims)
    }

    /// Its claims.
    pub(super) const fn claims(&self) -> &Table {
        &self.claims
    }
}

impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assertion").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A table with a header for this algorithm, and these claims.
///
/// # Errors
///
/// Two claims have the same name.
pub(super) fn table<const N: usize>(
    algorithm: Algorithm,
    own_header: Map<String, Json>,
    claims: [(&str, Value); N],
) -> Result<Table, Conflict> {
    let mut table = Table::new(header::of(algorithm, own_header));
    for (name, value) in claims {
        table.add(&[name], value)?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::token::claims::{Id, Time};

    #[test]
    fn each_attempt_signs_its_own_assertion() {
        let claims = [
            ("iss", Value::Constant("app".into())),
            ("sub", Value::Resource),
            ("iat", Value::Time(Time::Issue { back: 60 })),
            ("exp", Value::Time(Time::Expire)),
            ("jti", Value::Id(Id::Uuid)),
        ];
        let header = Map::from_iter([("kid".to_owned(), "1".into())]);
        let claims = table(Algorithm::HS256, header, claims);
        let key = JwtKey::hmac_of(Algorithm::HS256, b"p@ss");
        let assertion = Assertion::new(claims, key, Duration::from_secs(600)).unwrap();
        let signed = [1_000, 2_000].map(|now| {
            let now = WallTime::from_unix_seconds(now);
            assertion.verified(&assertion.sign(now, "a \"b\"").unwrap()).unwrap()
        });
        for (now, claims) in [1_000, 2_000].into_iter().zip(&signed) {
            let id = &claims["jti"];
            assert_eq!(id.as_str().unwrap().len(), 36);
            let expected = json!({"iss": "app", "sub": "a \"b\"", "iat": now - 60, "exp": now + 600,
                "jti": id});
            assert_eq!(*claims, expected);
        }
        assert_ne!(signed[0]["jti"], signed[1]["jti"]);
        assert!(!format!("{assertion:?}").contains("p@ss"));
    }

    #[test]
    fn unsignable_assertion_is_refused() {
        let twice = [("iss", Value::Resource), ("iss", Value::Resource)];
        let key = JwtKey::hmac_of(Algorithm::HS256, b"p@ss");
        let error = Assertion::new(
            table(Algorithm::HS256, Map::new(), twice),
            key.clone(),
            Duration::from_secs(600),
        );
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "cannot make assertions: two claims have conflicting paths: iss");
        let other = table(Algorithm::HS384, Map::new(), []);
        assert!(Assertion::new(other, key, Duration::from_secs(600)).is_err());
    }
}

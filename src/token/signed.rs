//! JWTs signed with any algorithm. Their layout is computed once; encoding and hashing happen for
//! each token.

use std::{fmt, sync::Arc};

use ::base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    Call, CallSigner, PrepareError, SignError, Signer, Tail, Times, Token, TokenFormat,
    claims::{Conflict, Id, Part, Table},
    id::Serial,
    json,
    key::{JwtKey, Speed},
};
use crate::{clock::Anchor, grant::Grant};

/// A token format: claims signed with a key of any algorithm.
pub struct Signed {
    table: Result<Table, Conflict>,
    key: JwtKey,
}

impl Signed {
    /// Tokens with these claims. A table with a conflict makes none.
    #[must_use]
    pub fn new(table: Result<Table, Conflict>, key: JwtKey) -> Self {
        Self { table, key }
    }
}

impl TokenFormat for Signed {
    fn prepare(&self, grant: Option<&Grant>, now: Anchor) -> Result<Box<dyn Signer>, PrepareError> {
        let table = self.table.as_ref().map_err(Conflict::clone)?;
        let grant = grant.map(|grant| grant.content().as_str());
        let layout = Layout {
            header: URL_SAFE_NO_PAD.encode(json::written(&table.header().clone().into())) + ".",
            parts: table.around(grant)?,
            signature_chars: self.key.sign(b"").map_err(|_| PrepareError::KeyUnusable)?.len(),
            key: self.key.clone(),
        };
        let ready = Ready(Arc::new(layout));
        self.key.verify(table, grant, now, |times, call| ready.at(times, call))?;
        Ok(Box::new(ready))
    }

    fn units(&self) -> u32 {
        self.key.units()
    }

    fn algorithm(&self) -> Option<&'static str> {
        Some(self.key.algorithm_name())
    }

    fn speed(&self) -> Speed {
        self.key.speed()
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signed")
    }
}

/// Signs one grant's tokens.
struct Ready(Arc<Layout>);

/// A token's encoded header, and its claims in order.
struct Layout {
    header: String,
    parts: Vec<Part>,
    key: JwtKey,
    /// The same for all signatures of one algorithm and key.
    signature_chars: usize,
}

impl Signer for Ready {
    fn at(&self, times: Times, call: &Call<'_>) -> Result<Arc<dyn CallSigner>, SignError> {
        let mut pieces = vec![Piece::Text(String::new())];
        for part in &self.0.parts {
            match (part, pieces.last_mut()) {
                (Part::Identity, _) => pieces.push(Piece::Identity),
                (Part::Id(id), _) => pieces.push(Piece::Id(id.clone())),
                (part, Some(Piece::Text(text))) => part.write(times, call, text),
                (part, _) => {
                    let mut text = String::new();
                    part.write(times, call, &mut text);
                    pieces.push(Piece::Text(text));
                }
            }
        }
        Ok(Arc::new(CallClaims { layout: Arc::clone(&self.0), issue: times.issue, pieces }))
    }
}

/// The claims of one call's tokens as JSON.
struct CallClaims {
    layout: Arc<Layout>,
    issue: i64,
    pieces: Vec<Piece>,
}

enum Piece {
    Text(String),
    Identity,
    Id(Id),
}

impl CallClaims {
    fn claims(&self, identity: &str, serial: Serial) -> String {
        let mut claims = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => claims.push_str(text),
                Piece::Identity => claims.push_str(&json::ascii(identity)),
                Piece::Id(id) => claims.push_str(&json::quoted(&id.text(self.issue, serial))),
            }
        }
        claims
    }
}

impl CallSigner for CallClaims {
    fn sign(&self, identity: &str, serial: Serial) -> Result<Token<'_>, SignError> {
        let Layout { header, key, .. } = &*self.layout;
        let mut token = header.clone();
        URL_SAFE_NO_PAD.encode_string(self.claims(identity, serial), &mut token);
        let signature = key.sign(token.as_bytes())?;
        token.push('.');
        token.push_str(&signature);
        let tail = Tail::of(token.as_bytes().get(header.len()..).unwrap_or_default());
        Ok(Token { shared: [header, "", ""], tail })
    }

    fn token_bytes(&self, identity: &str) -> usize {
        let claims = self.claims(identity, Serial::SELF_TEST).len();
        self.layout.header.len() + (claims * 4).div_ceil(3) + 1 + self.layout.signature_chars
    }

    fn token_id(&self, serial: Serial) -> Option<String> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::Id(id) => Some(id.text(self.issue, serial)),
            _ => None,
        })
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ready")
    }
}

impl fmt::Debug for CallClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallClaims")
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::Algorithm;
    use serde_json::{Map, Value as Json, json};

    use super::*;
    use crate::{
        clock::Clock,
        settings::SigningSecret,
        token::claims::{Time, Value},
    };

    const SECRET: &str = "ugVuYHkADn89s61poB22XUaASmhRGVlJjcLnfuGpRFku";

    fn key(algorithm: Algorithm) -> JwtKey {
        JwtKey::hmac(algorithm, &SigningSecret::parse(SECRET).unwrap())
    }

    fn table(algorithm: &str) -> Table {
        let mut table = Table::new(Map::from_iter([("alg".to_owned(), algorithm.into())]));
        for (path, value) in [
            (&["room"][..], Value::Resource),
            (&["context", "user"], Value::Identity),
            (&["context", "seat"], Value::Parameter(0)),
            (&["exp"], Value::Time(Time::Expire)),
            (&["jti"], Value::Id(Id::Uuid)),
        ] {
            table.add(path, value).unwrap();
        }
        table
    }

    #[test]
    fn tokens_of_every_hmac_algorithm_read_back() {
        for (algorithm, name) in
            [(Algorithm::HS256, "HS256"), (Algorithm::HS384, "HS384"), (Algorithm::HS512, "HS512")]
        {
            let format = Signed::new(Ok(table(name)), key(algorithm));
            let signer = format.prepare(None, Clock::system().now()).unwrap();
            let params = [Some("\"12\\u00e9\"".to_owned())];
            let call = Call { resource: "lobby>", params: &params };
            let call_signer = signer.at(Times { issue: 1, expire: 2 }, &call).unwrap();
            let serial = Serial::SELF_TEST.plus(9);
            let token = String::from(call_signer.sign("zoë \"z\"", serial).unwrap());
            assert_eq!(token.len(), call_signer.token_bytes("zoë \"z\""));

            let read = key(algorithm).read::<Json>(&token).unwrap();
            let expected = json!({"room": "lobby>", "exp": 2, "jti": call_signer.token_id(serial),
                "context": {"user": "zoë \"z\"", "seat": "12é"}});
            assert_eq!(read.claims, expected, "{name}");
            assert!(!format!("{format:?} {signer:?} {call_signer:?}").contains("ugVu"));
        }
    }

    #[test]
    fn format_that_does_not_verify_is_refused() {
        let prepared = |algorithm, name| {
            let format = Signed::new(Ok(table(name)), key(algorithm));
            format.prepare(None, Clock::system().now()).unwrap_err()
        };
        assert_eq!(prepared(Algorithm::RS256, "RS256"), PrepareError::KeyUnusable);
        let other = prepared(Algorithm::HS384, "HS512");
        assert!(matches!(other, PrepareError::Unverified(_)), "{other:?}");
    }
}

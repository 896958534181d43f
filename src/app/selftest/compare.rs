//! The comparison of a vendor library's token with ours.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

use super::Minted;
use crate::{
    provider::vectors::{Signed, Token},
    token::private::verifying_key,
};

/// A difference. It contains only values made with test keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What differs, such as `claim exp`.
    pub what: String,
    /// The library's value.
    pub theirs: String,
    /// Our value.
    pub ours: String,
}

impl Difference {
    pub(super) fn new(
        what: impl Into<String>,
        theirs: impl Into<String>,
        ours: impl Into<String>,
    ) -> Self {
        Self { what: what.into(), theirs: theirs.into(), ours: ours.into() }
    }
}

/// The differences; none if both tokens have the same content and are signed with the same key.
#[must_use]
pub fn compare(theirs: &Token, ours: &Minted, secret: &str) -> Vec<Difference> {
    let mut differences = Vec::new();
    if read(&theirs.text, theirs, secret).is_none() {
        differences.push(Difference::new("signature", "not of the test key", "not checked"));
    }
    let Some((header, mut claims)) = read(&ours.token, theirs, secret) else {
        differences.push(Difference::new("signature", "of the test key", "not of the test key"));
        return differences;
    };
    if let Some(id) = &ours.id
        && !theirs.random.iter().any(|name| claims.get(*name).is_some_and(|it| it == id))
    {
        let place = theirs.random.join(" or ");
        differences.push(Difference::new("token id", format!("in {place}"), id));
    }
    let mut meant = theirs.claims.clone();
    for name in theirs.random {
        meant.remove(*name);
        if claims.remove(*name).is_none() {
            differences.push(Difference::new(format!("claim {name}"), "a random value", NOTHING));
        }
    }
    (theirs.normalize)(&mut meant);
    (theirs.normalize)(&mut claims);
    members("header ", &theirs.header, &header, &mut differences);
    members("claim ", &meant, &claims, &mut differences);
    differences
}

const NOTHING: &str = "nothing";

/// The header and claims of a token; none if it is not signed with the library's key.
fn read(
    token: &str,
    theirs: &Token,
    secret: &str,
) -> Option<(Map<String, Value>, Map<String, Value>)> {
    let algorithm = || theirs.header.get("alg")?.as_str()?.parse().ok();
    let (key, algorithm): (_, Algorithm) = match &theirs.signed {
        Signed::Own(read) => return Some((Map::new(), read(token, secret)?)),
        Signed::Secret => (DecodingKey::from_secret(secret.as_bytes()), algorithm()?),
        Signed::Public(pem) => (verifying_key(pem, algorithm()?).ok()?, algorithm()?),
    };
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation).ok()?;
    // Decoded here: jsonwebtoken drops the header members that it does not know.
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
    Some((serde_json::from_slice(&header).ok()?, decoded.claims))
}

fn members(
    path: &str,
    theirs: &Map<String, Value>,
    ours: &Map<String, Value>,
    differences: &mut Vec<Difference>,
) {
    let names: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
    for name in names {
        let what = format!("{path}{name}");
        match (theirs.get(name), ours.get(name)) {
            (Some(Value::Object(theirs)), Some(Value::Object(ours))) => {
                members(&format!("{what}."), theirs, ours, differences);
            }
            (theirs, ours) if theirs == ours => {}
            (theirs, ours) => {
                let shown =
                    |it: Option<&Value>| it.map_or_else(|| NOTHING.to_owned(), Value::to_string);
                differences.push(Difference::new(what, shown(theirs), shown(ours)));
            }
        }
    }
}

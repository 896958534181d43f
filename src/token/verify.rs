//! Reads a token back with an implementation that is not ours, and holds it against what was
//! meant, before its template is used.

use std::collections::BTreeMap;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value as Json, value::RawValue};

use super::{
    Call, PrepareError, Times,
    claims::{Table, Value},
    hs256::Template,
    id::Serial,
};
use crate::clock::Anchor;

/// An identity that needs escapes of all kinds.
const IDENTITY: &str = "grantmint \"self-test\" \u{e9}";

/// Mints one token at `now` and reads it back.
///
/// # Errors
///
/// Its signature, its algorithm, its header or one of its claims is not what was meant.
pub(super) fn verify(
    template: &Template,
    table: &Table,
    grant: Option<&str>,
    secret: &[u8],
    now: Anchor,
) -> Result<(), PrepareError> {
    let issue = now.wall.unix_seconds();
    let times = Times { issue, expire: issue + 60 };
    let any_resource = table.claims().iter().any(|(_, value)| **value == Value::ResourceIfAny);
    for resource in ["grantmint/self-test", ""].into_iter().take(1 + usize::from(any_resource)) {
        let call = Call { resource, params: &[] };
        verify_call(template, table, grant, secret, times, &call)?;
    }
    Ok(())
}

fn verify_call(
    template: &Template,
    table: &Table,
    grant: Option<&str>,
    secret: &[u8],
    times: Times,
    call: &Call<'_>,
) -> Result<(), PrepareError> {
    let unverified = |what: &str| PrepareError::Unverified(what.to_owned());
    let stamped = template.once(times, call);
    let token = stamped.sign(IDENTITY, Serial::SELF_TEST).map_err(|_| unverified("signature"))?;
    let token = String::from(token);

    let key = DecodingKey::from_secret(secret);
    let read = jsonwebtoken::decode::<Box<RawValue>>(&token, &key, &validation())
        .map_err(|_| unverified("signature, algorithm or claims"))?;
    if serde_json::to_value(read.header).ok().as_ref() != Some(&Json::from(table.header().clone()))
    {
        return Err(unverified("header"));
    }

    let id = stamped.token_id(Serial::SELF_TEST);
    let claims = table.claims();
    let mut meant = Members::default();
    for (path, value) in &claims {
        let value = match value {
            Value::Constant(value) => Meant::Value((*value).clone()),
            Value::Grant => Meant::Raw(grant.unwrap_or_default().trim()),
            Value::Time(time) => Meant::Value(times.at(*time).into()),
            Value::Identity => Meant::Value(IDENTITY.into()),
            Value::Id(_) => Meant::Value(id.clone().into()),
            Value::Parameter(_) => continue,
            Value::ResourceIfAny if call.resource.is_empty() => continue,
            Value::Resource | Value::ResourceIfAny => Meant::Value(call.resource.into()),
        };
        meant.insert(path, value);
    }
    meant.compare(&read.claims, "").map_err(PrepareError::Unverified)
}

/// HS256 and a good signature; exp and nbf would be held against the system's clock, so they
/// are compared with what was meant instead.
fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    validation
}

/// What a claim should be.
enum Meant<'a> {
    /// This value, however it is written.
    Value(Json),
    /// This text.
    Raw(&'a str),
    /// An object.
    Members(Members<'a>),
}

/// What the members of an object should be.
#[derive(Default)]
struct Members<'a>(BTreeMap<&'a str, Meant<'a>>);

impl<'a> Members<'a> {
    fn insert(&mut self, path: &[&'a str], meant: Meant<'a>) {
        match path {
            [] => {}
            [name] => {
                self.0.insert(name, meant);
            }
            [name, rest @ ..] => {
                let object =
                    self.0.entry(name).or_insert_with(|| Meant::Members(Members::default()));
                if let Meant::Members(members) = object {
                    members.insert(rest, meant);
                }
            }
        }
    }

    /// Compares an object with them; names what differs.
    fn compare(&self, object: &RawValue, path: &str) -> Result<(), String> {
        let read: BTreeMap<String, &RawValue> =
            serde_json::from_str(object.get()).map_err(|_| path.to_owned())?;
        let below =
            |name: &str| if path.is_empty() { name.into() } else { format!("{path}.{name}") };
        if let Some(more) = read.keys().find(|name| !self.0.contains_key(name.as_str())) {
            return Err(below(more));
        }
        for (name, meant) in &self.0 {
            let found = read.get(*name).ok_or_else(|| below(name))?;
            let holds = match meant {
                Meant::Raw(text) => found.get() == *text,
                Meant::Value(value) => parsed(found.get()) == parsed(&value.to_string()),
                Meant::Members(members) => {
                    members.compare(found, &below(name))?;
                    true
                }
            };
            if !holds {
                return Err(below(name));
            }
        }
        Ok(())
    }
}

/// What a text reads as; a fraction may read as a neighbour of what was written.
fn parsed(text: &str) -> Option<Json> {
    serde_json::from_str(text).ok()
}

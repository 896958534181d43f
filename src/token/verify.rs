//! Reads a token back with an implementation that is not ours, and holds it against what was
//! meant, before its template is used.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value as Json, value::RawValue};

use super::{
    Call, PrepareError, SignError, Stamped, Times,
    claims::{Table, Value},
    id::Serial,
    key::JwtKey,
};
use crate::clock::Anchor;

/// An identity that needs escapes of all kinds.
const IDENTITY: &str = "grantmint \"self-test\" \u{e9}";

impl JwtKey {
    /// Mints tokens at `now` and reads them back; `stamped` gives what signs them.
    ///
    /// # Errors
    ///
    /// A signature, an algorithm, a header or a claim is not what was meant.
    pub(super) fn verify(
        &self,
        table: &Table,
        grant: Option<&str>,
        now: Anchor,
        stamped: impl Fn(Times, &Call<'_>) -> Result<Arc<dyn Stamped>, SignError>,
    ) -> Result<(), PrepareError> {
        let issue = now.wall.unix_seconds();
        let times = Times { issue, expire: issue + 60 };
        let any_resource = table.claims().iter().any(|(_, value)| **value == Value::ResourceIfAny);
        let resources = ["grantmint/self-test", ""].into_iter();
        for resource in resources.take(1 + usize::from(any_resource)) {
            let call = Call { resource, params: &[] };
            let stamped = stamped(times, &call).map_err(|_| unverified("signature"))?;
            self.verify_call(table, grant, times, &call, &*stamped)?;
        }
        Ok(())
    }

    fn verify_call(
        &self,
        table: &Table,
        grant: Option<&str>,
        times: Times,
        call: &Call<'_>,
        stamped: &dyn Stamped,
    ) -> Result<(), PrepareError> {
        let token = stamped.sign(IDENTITY, Serial::SELF_TEST);
        let token = String::from(token.map_err(|_| unverified("signature"))?);
        let read = self.read::<Box<RawValue>>(&token);
        let read = read.ok_or_else(|| unverified("signature, algorithm or claims"))?;
        if serde_json::to_value(read.header).ok().as_ref()
            != Some(&Json::from(table.header().clone()))
        {
            return Err(unverified("header"));
        }
        let id = stamped.token_id(Serial::SELF_TEST);
        let meant = Members::meant(table, grant, times, call, id.as_deref());
        meant.compare(&read.claims, "").map_err(PrepareError::Unverified)
    }
}

fn unverified(what: &str) -> PrepareError {
    PrepareError::Unverified(what.to_owned())
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
    /// What the claims of a token should be.
    fn meant(
        table: &'a Table,
        grant: Option<&'a str>,
        times: Times,
        call: &Call<'_>,
        id: Option<&str>,
    ) -> Self {
        let mut meant = Self::default();
        for (path, value) in table.claims() {
            let value = match value {
                Value::Constant(Json::Object(members)) if members.is_empty() => {
                    Meant::Members(Self::default())
                }
                Value::Constant(value) => Meant::Value((*value).clone()),
                Value::Grant => Meant::Raw(grant.unwrap_or_default().trim()),
                Value::Time(time) => Meant::Value(times.at(*time).into()),
                Value::Identity => Meant::Value(IDENTITY.into()),
                Value::Id(_) => Meant::Value(id.into()),
                Value::Parameter(_) => continue,
                Value::ResourceIfAny if call.resource.is_empty() => continue,
                Value::ResourceEnd => Meant::Value(call.resource.split('/').next_back().into()),
                Value::Resource | Value::ResourceIfAny => Meant::Value(call.resource.into()),
            };
            meant.insert(&path, value);
        }
        meant
    }

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

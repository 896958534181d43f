//! Reads a token back with an independent implementation and compares it with what is expected,
//! before its template is used.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value as Json, value::RawValue};

use super::{
    Call, CallSigner, PrepareError, SignError, Times,
    claims::{Table, Value},
    id::Serial,
    key::JwtKey,
};
use crate::clock::Anchor;

/// An identity that needs all kinds of escapes.
const IDENTITY: &str = "grantmint \"self-test\" \u{e9}";

impl JwtKey {
    /// Mints tokens at `now` with the signers from `call_signer`, and reads them back.
    ///
    /// # Errors
    ///
    /// A signature, an algorithm, a header or a claim differs from what is expected.
    pub(super) fn verify(
        &self,
        table: &Table,
        grant: Option<&str>,
        now: Anchor,
        call_signer: impl Fn(Times, &Call<'_>) -> Result<Arc<dyn CallSigner>, SignError>,
    ) -> Result<(), PrepareError> {
        let issue = now.wall.unix_seconds();
        let times = Times { issue, expire: issue + 60 };
        let any_resource = table.claims().iter().any(|(_, value)| **value == Value::ResourceIfAny);
        let resources = ["grantmint/self-test", ""].into_iter();
        for resource in resources.take(1 + usize::from(any_resource)) {
            let call = Call { resource, params: &[] };
            let call_signer = call_signer(times, &call).map_err(|_| unverified("signature"))?;
            self.verify_call(table, grant, times, &call, &*call_signer)?;
        }
        Ok(())
    }

    fn verify_call(
        &self,
        table: &Table,
        grant: Option<&str>,
        times: Times,
        call: &Call<'_>,
        call_signer: &dyn CallSigner,
    ) -> Result<(), PrepareError> {
        let token = call_signer.sign(IDENTITY, Serial::SELF_TEST);
        let token = String::from(token.map_err(|_| unverified("signature"))?);
        let read = self.read::<Box<RawValue>>(&token);
        let read = read.ok_or_else(|| unverified("signature, algorithm or claims"))?;
        if serde_json::to_value(read.header).ok().as_ref()
            != Some(&Json::from(table.header().clone()))
        {
            return Err(unverified("header"));
        }
        let id = call_signer.token_id(Serial::SELF_TEST);
        let expected = Members::expected(table, grant, times, call, id.as_deref());
        expected.compare(&read.claims, "").map_err(PrepareError::Unverified)
    }
}

fn unverified(what: &str) -> PrepareError {
    PrepareError::Unverified(what.to_owned())
}

/// The expected value of a claim.
enum Expected<'a> {
    /// This value, in any spelling.
    Value(Json),
    /// Exactly this text.
    Raw(&'a str),
    /// An object.
    Members(Members<'a>),
}

/// The expected members of an object.
#[derive(Default)]
struct Members<'a>(BTreeMap<&'a str, Expected<'a>>);

impl<'a> Members<'a> {
    /// The expected claims of a token.
    fn expected(
        table: &'a Table,
        grant: Option<&'a str>,
        times: Times,
        call: &Call<'_>,
        id: Option<&str>,
    ) -> Self {
        let mut expected = Self::default();
        for (path, value) in table.claims() {
            let value = match value {
                Value::Constant(Json::Object(members)) if members.is_empty() => {
                    Expected::Members(Self::default())
                }
                Value::Constant(value) => Expected::Value((*value).clone()),
                Value::Grant => Expected::Raw(grant.unwrap_or_default().trim()),
                Value::Time(time) => Expected::Value(times.at(*time).into()),
                Value::Identity => Expected::Value(IDENTITY.into()),
                Value::Id(_) => Expected::Value(id.into()),
                Value::Parameter(_) => continue,
                Value::ResourceIfAny if call.resource.is_empty() => continue,
                Value::ResourceEnd => Expected::Value(call.resource.split('/').next_back().into()),
                Value::Resource | Value::ResourceIfAny => Expected::Value(call.resource.into()),
            };
            expected.insert(&path, value);
        }
        expected
    }

    fn insert(&mut self, path: &[&'a str], expected: Expected<'a>) {
        match path {
            [] => {}
            [name] => {
                self.0.insert(name, expected);
            }
            [name, rest @ ..] => {
                let object =
                    self.0.entry(name).or_insert_with(|| Expected::Members(Members::default()));
                if let Expected::Members(members) = object {
                    members.insert(rest, expected);
                }
            }
        }
    }

    /// Compares an object with the expected members; an error names what differs.
    fn compare(&self, object: &RawValue, path: &str) -> Result<(), String> {
        let read: BTreeMap<String, &RawValue> =
            serde_json::from_str(object.get()).map_err(|_| path.to_owned())?;
        let below =
            |name: &str| if path.is_empty() { name.into() } else { format!("{path}.{name}") };
        if let Some(more) = read.keys().find(|name| !self.0.contains_key(name.as_str())) {
            return Err(below(more));
        }
        for (name, expected) in &self.0 {
            let found = read.get(*name).ok_or_else(|| below(name))?;
            let holds = match expected {
                Expected::Raw(text) => found.get() == *text,
                Expected::Value(value) => parsed(found.get()) == parsed(&value.to_string()),
                Expected::Members(members) => {
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

/// Parses a text; a fraction may parse to a neighboring double.
fn parsed(text: &str) -> Option<Json> {
    serde_json::from_str(text).ok()
}

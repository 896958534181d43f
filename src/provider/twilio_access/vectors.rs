//! The tokens made by `twilio-node` for products other than Live.

use serde_json::{Map, Value, json};

use super::KIND;
use crate::provider::vectors::{
    Inputs, Recorded, Setup, Signed, Vector, VectorError, in_toml, key, quoted, read,
};

const VECTORS: &str = include_str!("../../../tests/vectors/twilio-access.json");

pub(super) fn vectors() -> Result<Vec<Vector>, VectorError> {
    let (account, api_key) = (key("/twilio/account_sid")?, key("/twilio/api_key_sid")?);
    let secret = key("/twilio/api_key_secret")?;
    let own = format!(
        "[profiles.client]\nkind = \"{KIND}\"\naccount_sid = \"{account}\"\n\
         api_key_sid = \"{api_key}\"\napi_key_secret_env = \"SECRET\"\n"
    );
    let vectors = read(VECTORS)?.into_iter().map(|recorded: Recorded| {
        let setups = setups(&recorded.inputs, &own, &secret)?;
        let mut token = recorded.token(Signed::Secret)?;
        token.random = &["jti"];
        Ok(recorded.minted(setups, token))
    });
    vectors.collect()
}

/// Either calls or the profile set whether a client receives calls.
fn setups(inputs: &Inputs, own: &str, secret: &str) -> Result<Vec<Setup>, VectorError> {
    let (mut grants, takes_calls) = grants(inputs)?;
    let lines = lines(inputs, &grants);
    let setup = |grants: &Map<String, Value>, more: &str| {
        let grants = in_toml(&grants.clone().into());
        let profile = format!("{own}{lines}\ngrants = {grants}\n{more}\n");
        Setup { profile, secret: secret.to_owned(), request: inputs.request() }
    };
    if !grants.contains_key("voice") {
        return Ok(vec![setup(&grants, "")]);
    }
    let mut called = setup(&grants, "caller_params = [\"incoming\"]");
    called.request.params = vec![("incoming".to_owned(), takes_calls.into())];
    let constant = setup(&grants, &format!("params = {{ incoming = {takes_calls} }}"));
    let mut setups = vec![called, constant];
    if takes_calls && let Some(Value::Object(voice)) = grants.get_mut("voice") {
        voice.insert("incoming".to_owned(), json!({"allow": true}));
        setups.push(setup(&grants, ""));
    }
    Ok(setups)
}

/// The grants as written in a profile, and whether a client receives calls.
fn grants(inputs: &Inputs) -> Result<(Map<String, Value>, bool), VectorError> {
    let Some(Value::Object(mut grants)) = inputs.params.get("grants").cloned() else {
        return Err(VectorError::Missing("grants"));
    };
    if let Some(video) = grants.get_mut("video") {
        // The room is the call's resource.
        *video = json!({});
    }
    let mut takes_calls = false;
    if let Some(Value::Object(voice)) = grants.get_mut("voice") {
        takes_calls = voice.remove("incoming_allow") == Some(true.into());
        let mut outgoing = Map::new();
        for (from, to) in
            [("outgoing_application_sid", "application_sid"), ("outgoing_params", "params")]
        {
            outgoing.extend(voice.remove(from).map(|value| (to.to_owned(), value)));
        }
        if !outgoing.is_empty() {
            voice.insert("outgoing".to_owned(), outgoing.into());
        }
    }
    Ok((grants, takes_calls))
}

/// The other lines of a profile.
fn lines(inputs: &Inputs, grants: &Map<String, Value>) -> String {
    let mut lines = Vec::new();
    if grants.contains_key("video") {
        lines.push(match &inputs.resource {
            Some(room) => format!("resources = [{}]", quoted(Some(room))),
            None => "allow_unscoped = true".to_owned(),
        });
    }
    lines.extend(inputs.params.get("region").map(|region| format!("region = {region}")));
    let nbf = inputs.params.get("nbf").and_then(Value::as_i64);
    lines.extend(nbf.map(|nbf| format!("nbf_backdate = \"{}s\"", inputs.now - nbf)));
    lines.join("\n")
}

//! The tokens made by LiveKit's libraries for Node and Python.

use serde_json::{Map, Value, json};

use super::KIND;
use crate::provider::vectors::{
    Inputs, Setup, Signed, Vector, VectorError, in_snake_case, key, params_line, quoted, read,
};

const VECTORS: &str = include_str!("../../../tests/vectors/livekit.json");

pub(super) fn vectors() -> Result<Vec<Vector>, VectorError> {
    let (secret, api_key) = (key("/livekit/api_secret")?, key("/livekit/api_key")?);
    let vectors = read(VECTORS)?.into_iter().map(|recorded| {
        let params = match params(&recorded.inputs) {
            Ok(params) => params_line(params),
            Err(why) => return Ok(recorded.skipped(why)),
        };
        let scope = match &recorded.inputs.resource {
            Some(room) => format!("resources = [{}]", quoted(Some(room))),
            // A library that refuses a token for all rooms corresponds to a profile that does not
            // allow one.
            None if recorded.is_refused() && recorded.inputs.identity.is_some() => String::new(),
            None => "allow_unscoped = true".to_owned(),
        };
        let profile = format!(
            "[profiles.room]\nkind = \"{KIND}\"\napi_key = \"{api_key}\"\n\
             api_secret_env = \"SECRET\"\n{params}\n{scope}\n"
        );
        let setup = Setup { profile, secret: secret.clone(), request: recorded.inputs.request() };
        Ok(match recorded.name() {
            "join-without-identity" => recorded.refused(setup, "identity is empty", None),
            "py-join-without-room" => {
                recorded.refused(setup, "resources: needs at least one resource", None)
            }
            "sources-empty-list" => {
                let message = "must be a list of at least one of";
                recorded.refused(
                    setup,
                    message,
                    Some("an empty list of sources, which restricts nothing"),
                )
            }
            _ => {
                let mut token = recorded.token(Signed::Secret)?.with_typ();
                token.random = &["jti"];
                token.normalize = drop_defaults;
                recorded.minted(vec![setup], token)
            }
        })
    });
    vectors.collect()
}

/// The constants of a profile with these tokens, or why there is none.
fn params(inputs: &Inputs) -> Result<Map<String, Value>, &'static str> {
    let mut params = inputs.params.clone();
    let Some(Value::Object(video)) = params.remove("video") else {
        return Err("no right in a room: not for participants");
    };
    let joins = video.get("roomJoin").ok_or("no right to join: not for participants")?;
    let joins = *joins == Value::Bool(true);
    params.extend(video.into_iter().map(|(name, value)| (in_snake_case(&name), value)));
    if joins {
        params.remove("room_join");
    }
    Ok(params)
}

/// Python's library writes the defaults that are true.
fn drop_defaults(claims: &mut Map<String, Value>) {
    if let Some(Value::Object(video)) = claims.get_mut("video") {
        for right in ["canPublish", "canSubscribe", "canPublishData"] {
            video.retain(|name, value| name != right || *value != Value::Bool(true));
        }
    }
    if let Some(config) = claims.get_mut("roomConfig") {
        drop_proto_defaults(config);
    }
}

/// Node's library writes what proto JSON omits.
fn drop_proto_defaults(value: &mut Value) {
    let defaults = [json!(0), json!(false), json!(""), json!({}), json!("JRP_ON_FAILURE")];
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !defaults.contains(value));
            members.values_mut().for_each(drop_proto_defaults);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_proto_defaults),
        _ => {}
    }
}

//! The stage tokens signed as in the guide of Amazon IVS and a sample of AWS.

use serde_json::Value;

use super::KIND;
use crate::provider::vectors::{
    Inputs, Recorded, Setup, Signed, Vector, VectorError, in_toml, key, params_line, quoted, read,
};

const VECTORS: &str = include_str!("../../../tests/vectors/ivs-stage.json");

pub(super) fn vectors() -> Result<Vec<Vector>, VectorError> {
    let (arn, secret) =
        (key("/ivs-stage/public_key_arn")?, key("/ivs-stage/private_key_sec1_pem")?);
    let public = key("/ivs-stage/public_key_pem")?;
    let vectors = read(VECTORS)?.into_iter().map(|recorded: Recorded| {
        let lines = lines(&recorded.inputs);
        let profile = format!(
            "[profiles.stage]\nkind = \"{KIND}\"\npublic_key_arn = \"{arn}\"\n\
             private_key_env = \"KEY\"\n{lines}\n"
        );
        let setup = Setup { profile, secret: secret.clone(), request: recorded.inputs.request() };
        let mut token = recorded.token(Signed::Public(public.clone()))?;
        token.random = &["jti"];
        Ok(recorded.minted(vec![setup], token))
    });
    vectors.collect()
}

fn lines(inputs: &Inputs) -> String {
    let mut params = inputs.params.clone();
    let is_connection = params.remove("token_type").is_some();
    let mut lines = Vec::new();
    for key in ["events_url", "whip_url", "account_id", "region"] {
        let value = params.remove(key);
        lines.extend(value.map(|value: Value| format!("{key} = {}", in_toml(&value))));
    }
    if is_connection {
        lines.push("token_type = \"connection\"".to_owned());
        return lines.join("\n");
    }
    lines.push(format!("resources = [{}]", quoted(inputs.resource.as_deref())));
    if inputs.identity.is_none() {
        lines.push("identity = \"none\"".to_owned());
    }
    lines.push(params_line(params));
    lines.join("\n")
}

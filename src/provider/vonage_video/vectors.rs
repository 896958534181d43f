//! The tokens made by Vonage's libraries.

use serde_json::Value;

use super::KIND;
use crate::provider::vectors::{
    Inputs, Recorded, Setup, Signed, Vector, VectorError, key, params_line, quoted, read,
};

const VECTORS: &str = include_str!("../../../tests/vectors/vonage-video.json");

pub(super) fn vectors() -> Result<Vec<Vector>, VectorError> {
    let application = key("/vonage-video/application_id")?;
    let secret = key("/vonage-video/private_key_pkcs8_pem")?;
    let public = key("/vonage-video/public_key_pem")?;
    let vectors = read(VECTORS)?.into_iter().map(|mut recorded: Recorded| {
        if recorded.name().starts_with("legacy-") {
            return Ok(recorded.skipped("OpenTok's own tokens, which are not made here"));
        }
        let lines = lines(&mut recorded.inputs);
        let profile = format!(
            "[profiles.call]\nkind = \"{KIND}\"\napplication_id = \"{application}\"\n\
             private_key_env = \"KEY\"\n{lines}\n"
        );
        let setup = Setup { profile, secret: secret.clone(), request: recorded.inputs.request() };
        let mut token = recorded.token(Signed::Public(public.clone()))?;
        token.random = &["jti"];
        Ok(recorded.minted(vec![setup], token))
    });
    vectors.collect()
}

/// The lines of a profile. The identity is in `connection_data`.
fn lines(inputs: &mut Inputs) -> String {
    let mut params = inputs.params.clone();
    let data = params.remove("connection_data");
    inputs.identity = data.as_ref().and_then(Value::as_str).map(str::to_owned);
    if let Some(classes) = params.get_mut("initial_layout_class_list")
        && let Value::Array(each) = classes
    {
        let joined: Vec<_> = each.iter().filter_map(Value::as_str).collect();
        *classes = joined.join(" ").into();
    }
    let mut lines = vec![format!("resources = [{}]", quoted(inputs.resource.as_deref()))];
    // The library's default is a day.
    let ttl = inputs.ttl_seconds.unwrap_or(24 * 60 * 60);
    lines.push(format!("token_ttl = \"{ttl}s\""));
    lines.extend(data.is_none().then(|| "identity = \"none\"".to_owned()));
    lines.push(params_line(params));
    lines.join("\n")
}

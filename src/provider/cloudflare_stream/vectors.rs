//! The tokens made by Cloudflare's sample, which signs with Web Crypto.

use serde_json::{Map, Value};

use super::KIND;
use crate::provider::vectors::{
    Inputs, Recorded, Setup, Signed, Vector, VectorError, in_snake_case, key, params_line, quoted,
    read,
};

const VECTORS: &str = include_str!("../../../tests/vectors/cloudflare-stream.json");

pub(super) fn vectors() -> Result<Vec<Vector>, VectorError> {
    let id = key("/cloudflare-stream/key_id")?;
    // In both forms that Cloudflare's API returns.
    let secrets = [key("/cloudflare-stream/pem_base64")?, key("/cloudflare-stream/jwk_base64")?];
    let public = key("/cloudflare-stream/public_key_pem")?;
    let vectors = read(VECTORS)?.into_iter().map(|recorded: Recorded| {
        let lines = lines(&recorded.inputs);
        let profile = format!(
            "[profiles.video]\nkind = \"{KIND}\"\nkey_id = \"{id}\"\nunique = false\n\
             private_key_env = \"KEY\"\n{lines}\n"
        );
        let setups = secrets.iter().map(|secret| Setup {
            profile: profile.clone(),
            secret: secret.clone(),
            request: recorded.inputs.request(),
        });
        let (setups, token) = (setups.collect(), recorded.token(Signed::Public(public.clone()))?);
        Ok(recorded.minted(setups, token))
    });
    vectors.collect()
}

fn lines(inputs: &Inputs) -> String {
    let params = inputs.params.iter().map(|(name, value)| (in_snake_case(name), value.clone()));
    let mut params: Map<_, _> = params.collect();
    let nbf = params.remove("nbf").as_ref().and_then(Value::as_i64);
    let mut lines = vec![format!("resources = [{}]", quoted(inputs.resource.as_deref()))];
    lines.extend(inputs.ttl_seconds.map(|ttl| format!("token_ttl = \"{ttl}s\"")));
    lines.extend(nbf.map(|nbf| format!("nbf_backdate = \"{}s\"", inputs.now - nbf)));
    lines.push(params_line(params));
    lines.join("\n")
}

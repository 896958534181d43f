//! The tokens made by Mux's library.

use serde_json::{Map, Value};

use super::KIND;
use crate::provider::vectors::{
    Inputs, Recorded, Setup, Signed, Vector, VectorError, key, params_line, read,
};

const VECTORS: &str = include_str!("../../../tests/vectors/mux.json");

/// The library's default, which differs from ours.
const DEFAULT_TTL: i64 = 7 * 24 * 60 * 60;

pub(super) fn vectors() -> Result<Vec<Vector>, VectorError> {
    let (id, secret) = (key("/mux/key_id")?, key("/mux/private_key_base64")?);
    let public = key("/mux/public_key_pem")?;
    let vectors = read(VECTORS)?.into_iter().map(|recorded: Recorded| {
        let params = params_line(params(&recorded.inputs));
        let profile = format!(
            "[profiles.vod]\nkind = \"{KIND}\"\nunique = false\nsigning_key_id = \"{id}\"\n\
             private_key_env = \"KEY\"\nallow_resources = [\"*\"]\n{params}\n"
        );
        let mut setup =
            Setup { profile, secret: secret.clone(), request: recorded.inputs.request() };
        setup.request.ttl = setup.request.ttl.or(Some(DEFAULT_TTL));
        let mut token = recorded.token(Signed::Public(public.clone()))?;
        if write_numbers(&mut token.claims) {
            token.adjusted = Some("numbers as strings, where the guide has numbers");
        }
        Ok(recorded.minted(vec![setup], token))
    });
    vectors.collect()
}

fn params(inputs: &Inputs) -> Map<String, Value> {
    let mut params = match inputs.params.get("claims") {
        Some(Value::Object(claims)) => claims.clone(),
        _ => Map::new(),
    };
    write_numbers(&mut params);
    // The library's name for the token type, in ours.
    let token_type = match inputs.params.get("token_type").and_then(Value::as_str) {
        None | Some("") => return params,
        Some("drm_license") => "drm",
        Some("counts:asset") => "asset_stats",
        Some("counts:live_stream") => "live_stream_stats",
        Some(same) => same,
    };
    params.insert("token_type".to_owned(), token_type.into());
    params
}

/// The library's interface requires numbers as strings, but Mux's guide has numbers. Returns
/// whether there was one.
fn write_numbers(claims: &mut Map<String, Value>) -> bool {
    let mut any = false;
    for name in ["time", "width", "start", "end"] {
        if let Some(value) = claims.get_mut(name)
            && let Some(number) = value.as_str().and_then(|text| text.parse::<i64>().ok())
        {
            *value = number.into();
            any = true;
        }
    }
    any
}

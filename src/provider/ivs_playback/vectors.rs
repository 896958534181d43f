//! The playback tokens signed as in the guide of Amazon IVS.

use super::KIND;
use crate::provider::vectors::{
    Inputs, Recorded, Setup, Signed, Vector, VectorError, key, params_line, quoted, read,
};

const VECTORS: &str = include_str!("../../../tests/vectors/ivs-playback.json");

/// The claim of single-use tokens.
const SINGLE_USE: &str = "aws:single-use-uuid";

pub(super) fn vectors() -> Result<Vec<Vector>, VectorError> {
    let secret = key("/ivs-playback/private_key_sec1_pem")?;
    let public = key("/ivs-playback/public_key_pem")?;
    let vectors = read(VECTORS)?.into_iter().map(|recorded: Recorded| {
        let lines = lines(&recorded.inputs);
        let profile =
            format!("[profiles.private]\nkind = \"{KIND}\"\nprivate_key_env = \"KEY\"\n{lines}\n");
        let setup = Setup { profile, secret: secret.clone(), request: recorded.inputs.request() };
        let mut token = recorded.token(Signed::Public(public.clone()))?;
        if !token.claims.contains_key("iat") {
            token.claims.insert("iat".to_owned(), recorded.inputs.now.into());
            token.adjusted = Some("no iat, which ours always have");
        }
        if token.claims.contains_key(SINGLE_USE) {
            token.random = &[SINGLE_USE];
        }
        Ok(recorded.minted(vec![setup], token))
    });
    vectors.collect()
}

fn lines(inputs: &Inputs) -> String {
    let mut params = inputs.params.clone();
    let is_single = params.remove("single_use_uuid").is_some();
    if is_single {
        params.insert("single_use".to_owned(), true.into());
    }
    let identity = match &inputs.identity {
        Some(_) => "",
        None if is_single => "identity = \"none\"",
        None => "identity = \"none\"\nunique = false",
    };
    let channel = quoted(inputs.resource.as_deref());
    format!("resources = [{channel}]\n{identity}\n{}", params_line(params))
}

//! The tokens signed as in Daily's guide, with the library it names.

use super::KIND;
use crate::provider::vectors::{
    Inputs, Setup, Signed, Vector, VectorError, key, params_line, quoted, read,
};

const VECTORS: &str = include_str!("../../../tests/vectors/daily.json");

/// The default token life.
const DEFAULT_TTL: i64 = 3_600;

pub(super) fn vectors() -> Result<Vec<Vector>, VectorError> {
    let (secret, domain) = (key("/daily/api_key")?, key("/daily/domain_id")?);
    let vectors = read(VECTORS)?.into_iter().map(|recorded| {
        let lines = lines(&recorded.inputs);
        let profile = format!(
            "[profiles.call]\nkind = \"{KIND}\"\ndomain_id = \"{domain}\"\n\
             api_key_env = \"SECRET\"\n{lines}\n"
        );
        let setup = Setup { profile, secret: secret.clone(), request: recorded.inputs.request() };
        let mut token = recorded.token(Signed::Secret)?;
        if recorded.inputs.ttl_seconds.is_none() {
            token.claims.insert("exp".to_owned(), (recorded.inputs.now + DEFAULT_TTL).into());
            token.adjusted = Some("no expiry, so valid indefinitely, where ours expires");
        }
        Ok(recorded.minted(vec![setup], token))
    });
    vectors.collect()
}

fn lines(inputs: &Inputs) -> String {
    let mut params = inputs.params.clone();
    let mut lines = vec![match &inputs.resource {
        Some(room) => format!("resources = [{}]", quoted(Some(room))),
        None => "allow_unscoped = true".to_owned(),
    }];
    if params.remove("ud").is_none() {
        lines.push("identity = \"none\"\nunique = false".to_owned());
    }
    let nbf = params.remove("nbf").and_then(|nbf| nbf.as_i64());
    lines.extend(nbf.map(|nbf| format!("nbf_backdate = \"{}s\"", inputs.now - nbf)));
    lines.push(params_line(params));
    lines.join("\n")
}

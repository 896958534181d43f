//! The tokens made by 100ms' library.

use super::KIND;
use crate::provider::vectors::{
    Inputs, Setup, Signed, Vector, VectorError, key, params_line, quoted, read,
};

const VECTORS: &str = include_str!("../../../tests/vectors/100ms.json");

pub(super) fn vectors() -> Result<Vec<Vector>, VectorError> {
    let (secret, access_key) = (key("/100ms/app_secret")?, key("/100ms/access_key")?);
    let vectors = read(VECTORS)?.into_iter().map(|recorded| {
        let Some(lines) = lines(&recorded.inputs) else {
            return Ok(
                recorded.skipped("valid only from a later time: no profile can express that")
            );
        };
        let profile = format!(
            "[profiles.peer]\nkind = \"{KIND}\"\naccess_key = \"{access_key}\"\n\
             app_secret_env = \"SECRET\"\n{lines}\n"
        );
        let setup = Setup { profile, secret: secret.clone(), request: recorded.inputs.request() };
        let mut token = recorded.token(Signed::Secret)?;
        token.random = &["jti"];
        Ok(recorded.minted(vec![setup], token))
    });
    vectors.collect()
}

/// `None` if no profile can express it.
fn lines(inputs: &Inputs) -> Option<String> {
    let mut params = inputs.params.clone();
    if params.remove("not_valid_before").is_some() {
        return None;
    }
    let mut lines = vec![format!("resources = [{}]", quoted(inputs.resource.as_deref()))];
    if inputs.identity.is_none() {
        lines.push("identity = \"none\"".to_owned());
    }
    if params.remove("issued_at").is_some_and(|at| at == inputs.now) {
        lines.push("iat_backdate = \"0s\"\nnbf_backdate = \"0s\"".to_owned());
    }
    lines.push(params_line(params));
    Some(lines.join("\n"))
}

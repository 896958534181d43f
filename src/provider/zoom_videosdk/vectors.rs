//! The tokens made by Zoom's sample, and those signed as in its guide.

use super::KIND;
use crate::provider::vectors::{
    Inputs, Recorded, Setup, Signed, Vector, VectorError, key, params_line, quoted, read,
};

const VECTORS: &str = include_str!("../../../tests/vectors/zoom-videosdk.json");

pub(super) fn vectors() -> Result<Vec<Vector>, VectorError> {
    let (secret, sdk_key) = (key("/zoom-videosdk/sdk_secret")?, key("/zoom-videosdk/sdk_key")?);
    let setup = |inputs: &Inputs| {
        let lines = lines(inputs);
        let profile = format!(
            "[profiles.session]\nkind = \"{KIND}\"\nsdk_key = \"{sdk_key}\"\n\
             sdk_secret_env = \"SECRET\"\n{lines}\n"
        );
        Setup { profile, secret: secret.clone(), request: inputs.request() }
    };
    let vectors = read(VECTORS)?.into_iter().map(|recorded: Recorded| {
        let setup = setup(&recorded.inputs);
        Ok(match recorded.name() {
            "ttl-too-short" | "ttl-too-long" => {
                recorded.refused(setup, "token_ttl: must be from 30m to 2days", None)
            }
            "role-2" => {
                recorded.refused(setup, "role_type: must be a whole number from 0 to 1", None)
            }
            "identity-36" => recorded
                .skipped("36 characters: refused by the sample, accepted by the guide and here"),
            "geo-regions" => recorded.refused(
                setup,
                "geo_regions: must be a string of regions",
                Some("regions separated by commas and spaces, which the sample drops"),
            ),
            _ => {
                let token = recorded.token(Signed::Secret)?;
                recorded.minted(vec![setup], token)
            }
        })
    });
    vectors.collect()
}

fn lines(inputs: &Inputs) -> String {
    let mut params = inputs.params.clone();
    let back = params.remove("iat_backdate_seconds").unwrap_or_else(|| 0.into());
    let session = quoted(inputs.resource.as_deref());
    let mut lines = vec![format!("resources = [{session}]"), format!("iat_backdate = \"{back}s\"")];
    lines.extend(inputs.ttl_seconds.map(|ttl| format!("token_ttl = \"{ttl}s\"")));
    let claim = ["user_key", "user_identity"].into_iter().find(|it| params.remove(*it).is_some());
    lines.push(claim.map_or_else(
        || "identity = \"none\"\nunique = false".to_owned(),
        |claim| format!("identity_claim = \"{claim}\""),
    ));
    lines.push(params_line(params));
    lines.join("\n")
}

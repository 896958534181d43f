//! The tokens made by Agora's library.

use serde_json::{Map, Value, json};

use super::{KIND, parsed::Parsed, services::Product};
use crate::{
    provider::vectors::{
        Case, Inputs, Recorded, Setup, Signed, Vector, VectorError, key, params_line, quoted, read,
    },
    settings::SigningSecret,
};

const VECTORS: &str = include_str!("../../../tests/vectors/agora.json");

/// Members of the recorded tokens that follow from the other fields.
const BYTES: [&str; 2] = ["signature_hex", "signing_info_hex"];

pub(super) fn vectors() -> Result<Vec<Vector>, VectorError> {
    let (app_id, secret) = (key("/agora/app_id")?, key("/agora/app_certificate")?);
    let vectors = read(VECTORS)?.into_iter().map(|mut recorded: Recorded| {
        let lines = lines(&mut recorded.inputs);
        let profile = format!(
            "[profiles.call]\nkind = \"{KIND}\"\napp_id = \"{app_id}\"\n\
             app_certificate_env = \"CERTIFICATE\"\n{lines}\n"
        );
        let setup = Setup { profile, secret: secret.clone(), request: recorded.inputs.request() };
        let mut token = recorded.token(Signed::Own(fields))?;
        token.claims.retain(|name, _| !BYTES.contains(&&**name));
        token.random = &["salt"];
        Ok(recorded.minted(vec![setup], token))
    });
    vectors.collect()
}

/// A sample of the first vector.
pub(super) fn samples() -> Result<Vec<(&'static str, Setup)>, VectorError> {
    let first = vectors()?.into_iter().next().map(|vector| vector.case);
    let Some(Case::Minted { setups, .. }) = first else {
        return Err(VectorError::Missing("a token"));
    };
    Ok(setups.into_iter().map(|setup| (KIND, setup)).collect())
}

/// The content of a token, if the certificate signed it.
fn fields(token: &str, certificate: &str) -> Option<Map<String, Value>> {
    let parsed = Parsed::parse(token)?;
    let certificate = SigningSecret::parse(certificate).ok()?;
    if parsed.unknown.is_some() || !parsed.is_signed_by(&certificate) {
        return None;
    }
    let services = parsed.services.iter().map(|service| {
        let privileges = service.privileges.iter();
        let privileges: Map<_, _> =
            privileges.map(|(number, expire)| (number.to_string(), (*expire).into())).collect();
        let mut fields = Map::new();
        fields.insert("type".to_owned(), service.product.number().into());
        fields.insert("privileges".to_owned(), privileges.into());
        fields.extend(service.channel.as_deref().map(|it| ("channel".to_owned(), it.into())));
        let user = if service.product == Product::Rtc { "uid" } else { "user_id" };
        fields.insert(user.to_owned(), service.user.as_str().into());
        Value::from(fields)
    });
    let services: Vec<_> = services.collect();
    let fields = json!({"app_id": parsed.app_id, "issue_ts": parsed.issue, "expire": parsed.life,
        "salt": parsed.salt, "services": services});
    let Value::Object(fields) = fields else { return None };
    Some(fields)
}

/// The lines of a profile.
fn lines(inputs: &mut Inputs) -> String {
    let given = |name: &str| inputs.params.get(name);
    let mut lines = Vec::new();
    let service = given("service").and_then(Value::as_str).unwrap_or("rtc");
    let services = [Some(service), given("rtm").map(|_| "rtm")];
    let services: Vec<_> = services.into_iter().flatten().collect();
    lines.push(format!("services = {services:?}"));
    if inputs.resource.is_some() {
        lines.push(format!("resources = [{}]", quoted(inputs.resource.as_deref())));
        let mut params = Map::new();
        let role = given("role").cloned().unwrap_or_else(|| "publisher".into());
        params.insert("role".to_owned(), role);
        let more = ["privilege_expire", "privileges"].into_iter();
        params.extend(more.filter_map(|name| Some((name.to_owned(), given(name)?.clone()))));
        lines.push(params_line(params));
    }
    lines.extend(given("account").map(|_| "identity_type = \"account\"".to_owned()));
    lines.extend(inputs.ttl_seconds.map(|ttl| format!("token_ttl = \"{ttl}s\"")));
    // 0 means any user.
    if inputs.identity.as_deref() == Some("0") {
        inputs.identity = None;
        lines.push("identity = \"none\"\nunique = false".to_owned());
    }
    lines.join("\n")
}

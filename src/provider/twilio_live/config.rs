//! The kind's own configuration keys.

use http::Uri;
use serde_json::{Value, json};

use crate::{
    egress::ProxySetting,
    provider::twilio::{
        SECRET, SID,
        grants::{EMPTY_ROOM, ProductGrants},
        ids::{AccountSid, ApiKeySecret, ApiKeySid},
        parse_region,
    },
    settings::{SecretOrigin, Section},
    source::base_url::BaseUrl,
};

/// The kind's name.
pub const KIND: &str = "twilio-live";

/// Twilio's upstream.
const UPSTREAM: &str = "https://media.twilio.com";

/// The own keys of a `twilio-live` profile.
#[derive(Clone, Debug)]
pub struct Config {
    /// The account that grants and tokens belong to.
    pub account_sid: AccountSid,
    /// The API key that fetches grants and signs tokens; a Main or Standard key.
    pub api_key_sid: ApiKeySid,
    /// The API key's secret.
    pub api_key_secret: ApiKeySecret,
    /// Where the secret was found.
    pub api_key_secret_origin: SecretOrigin,
    /// The origin that may play; `None` means any.
    pub allow_origin: Option<String>,
    /// The upstream's base URL.
    pub upstream: BaseUrl,
    /// The profile's proxy setting.
    pub proxy: ProxySetting,
    /// The key's home region (`twr`); `None` for us1.
    pub region: Option<String>,
    /// Constant grants besides the player's.
    pub grants: ProductGrants,
}

impl Config {
    /// Reads the kind's keys.
    pub fn read(section: &mut Section<'_>) -> Option<Self> {
        let account_sid = section.required("account_sid", AccountSid::parse);
        let api_key_sid = section.key_name(SID, ApiKeySid::parse);
        let secret = section.secret(SECRET, ApiKeySecret::parse);
        let allow_origin = section.parsed("allow_origin", parse_origin);
        let upstream: Option<BaseUrl> = if section.has("upstream") {
            section.parsed("upstream", str::parse)
        } else {
            UPSTREAM.parse().ok()
        };
        let proxy = section.parsed("proxy", ProxySetting::parse).unwrap_or_default();
        if let Some(upstream) = &upstream
            && let Err(error) = proxy.check(upstream.uri())
        {
            section.problem("proxy", error.to_string());
        }
        let region = section.parsed("region", parse_region);
        let grants: Option<ProductGrants> = section.deserialized("grants");
        if grants.as_ref().is_some_and(ProductGrants::names_empty_room) {
            section.problem("grants", EMPTY_ROOM);
        }
        let (api_key_secret, api_key_secret_origin) = secret?;
        Some(Self {
            account_sid: account_sid?,
            api_key_sid: api_key_sid?,
            api_key_secret,
            api_key_secret_origin,
            allow_origin,
            upstream: upstream?,
            proxy,
            region,
            grants: grants.unwrap_or_default(),
        })
    }

    /// The keys for display. Secrets are replaced by their location.
    pub(super) fn keys(&self) -> Vec<(&'static str, Value)> {
        let secret = format!("(set, {})", self.api_key_secret_origin);
        let mut keys = vec![
            ("account_sid", json!(self.account_sid.as_str())),
            ("api_key_sid", json!(self.api_key_sid.as_str())),
            (SECRET.value, json!(secret)),
            ("upstream", json!(self.upstream.to_string())),
            ("proxy", json!(self.proxy.to_string())),
        ];
        let optional = [
            ("allow_origin", self.allow_origin.as_ref().map(|origin| json!(origin))),
            ("region", self.region.as_ref().map(|region| json!(region))),
            ("grants", Some(json!(self.grants)).filter(|grants| *grants != json!({}))),
        ];
        keys.extend(optional.into_iter().filter_map(|(key, value)| Some((key, value?))));
        keys
    }
}

fn parse_origin(text: &str) -> Result<String, &'static str> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let origin = text.parse::<Uri>().ok().filter(|uri| {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "https" | "http"));
        // A browser's origin has no path, so a longer URL would never match.
        scheme.is_some_and(|scheme| text == format!("{scheme}://{authority}"))
            && !authority.contains('@')
    });
    match origin {
        Some(_) => Ok(text.to_owned()),
        None => Err(r#"is not an origin like "https://www.example.com", nor "*""#),
    }
}

//! The shared parts of Twilio's kinds: identifiers, product grants, and the common claims and
//! reader of Access Tokens.
//!
//! Source: Twilio's page "Access Tokens".

pub(super) mod grants;
pub mod ids;
pub(super) mod playback;
pub(super) mod reading;

use std::time::Duration;

use serde_json::Map;

use self::ids::{AccountSid, ApiKeySid};
use crate::{
    settings::{NameKeys, SecretKeys},
    token::claims::{Conflict, Id, Table, Time, Value},
};

/// The keys of the API key's secret.
pub(super) const SECRET: SecretKeys =
    SecretKeys { file: "api_key_secret_file", env: "api_key_secret_env", value: "api_key_secret" };

/// The keys of the API key's SID.
pub(super) const SID: NameKeys = NameKeys { value: "api_key_sid", file: "api_key_sid_file" };

/// "Access Tokens": a life of up to 24 hours.
pub(super) const MAX_TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// The account and key that sign an Access Token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signatory<'a> {
    pub(super) account_sid: &'a AccountSid,
    pub(super) api_key_sid: &'a ApiKeySid,
    /// The key's home region (`twr`); `None` for us1.
    pub(super) region: Option<&'a str>,
}

impl Signatory<'_> {
    /// An Access Token's header, and all its claims except its product grants. `nbf` is how many
    /// seconds `nbf` is backdated; `None` means no `nbf`.
    ///
    /// "Access Tokens": `typ` and `cty` must have these values; `twr` names the key's region.
    pub(super) fn table(self, nbf: Option<u32>) -> Result<Table, Conflict> {
        let mut header = Map::from_iter([
            ("alg".to_owned(), "HS256".into()),
            ("typ".to_owned(), "JWT".into()),
            ("cty".to_owned(), "twilio-fpa;v=1".into()),
        ]);
        header.extend(self.region.map(|region| ("twr".to_owned(), region.into())));
        let mut table = Table::new(header);
        table.add(&["iss"], Value::Constant(self.api_key_sid.as_str().into()))?;
        table.add(&["sub"], Value::Constant(self.account_sid.as_str().into()))?;
        table.add(&["iat"], Value::Time(Time::Issue { back: 0 }))?;
        if let Some(back) = nbf {
            table.add(&["nbf"], Value::Time(Time::Issue { back }))?;
        }
        table.add(&["exp"], Value::Time(Time::Expire))?;
        table.add(&["grants", "identity"], Value::Identity)?;
        table.add(&["jti"], Value::Id(Id::Dated(self.api_key_sid.to_string())))?;
        Ok(table)
    }
}

/// Parses a region's name, such as `ie1`.
pub(super) fn parse_region(text: &str) -> Result<String, &'static str> {
    let is_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=32).contains(&text.len()) && text.bytes().all(is_region) {
        Ok(text.to_owned())
    } else {
        Err(r#"is not a region like "ie1""#)
    }
}

//! The kind's own configuration keys.

use http::Uri;
use serde_json::{Value, json};

use crate::{
    provider::{
        ivs::{ALGORITHM, Arn, is_account, is_region, is_swapped},
        private_key::PrivateKey,
    },
    settings::{NameKeys, Section},
};

const NAME: NameKeys = NameKeys { value: "public_key_arn", file: "public_key_arn_file" };

/// The type of a profile's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenType {
    /// For a participant of a stage.
    Participant,
    /// For a connection that an application shares between stages.
    Connection,
}

impl TokenType {
    /// Its name, as used in `token_type`.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Participant => "participant",
            Self::Connection => "connection",
        }
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let known = [Self::Participant, Self::Connection];
        known
            .into_iter()
            .find(|it| it.as_str() == text)
            .ok_or("must be \"participant\", for a stage, or \"connection\"")
    }
}

/// The claims specific to a type.
#[derive(Clone, Debug)]
pub(super) enum Own {
    /// The endpoint that receives a participant's media.
    Participant { whip_url: String },
    /// The location of all stages that the connection is for.
    Connection { account_id: String, region: String },
}

/// The own keys of an `ivs-stage` profile.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) public_key_arn: String,
    pub(super) private_key: PrivateKey,
    pub(super) events_url: String,
    pub(super) own: Own,
}

impl Config {
    /// Reads the kind's keys. The type is returned even if other keys are invalid.
    pub(super) fn read(section: &mut Section<'_>) -> (Option<TokenType>, Option<Self>) {
        let token_type = if section.has("token_type") {
            section.parsed("token_type", TokenType::parse)
        } else {
            Some(TokenType::Participant)
        };
        let public_key_arn = section.key_name(NAME, parse_key_arn);
        let private_key = PrivateKey::read(section, ALGORITHM);
        let events_url = section.required("events_url", |text| parse_url(text, "wss"));
        let own = token_type.and_then(|it| Own::read(section, it, public_key_arn.as_deref()));
        if token_type.is_none() {
            // Which of these keys are valid is unknown.
            let _ = ["whip_url", "account_id", "region"].map(|key| section.has(key));
        }
        let config = || {
            Some(Self {
                public_key_arn: public_key_arn?,
                private_key: private_key?,
                events_url: events_url?,
                own: own?,
            })
        };
        (token_type, config())
    }

    /// The keys for display.
    pub(super) fn keys(&self) -> Vec<(&'static str, Value)> {
        let mut keys = vec![
            (NAME.value, json!(self.public_key_arn)),
            self.private_key.shown(),
            ("events_url", json!(self.events_url)),
        ];
        match &self.own {
            Own::Participant { whip_url } => keys.push(("whip_url", json!(whip_url))),
            Own::Connection { account_id, region } => keys.extend([
                ("token_type", json!(TokenType::Connection.as_str())),
                ("account_id", json!(account_id)),
                ("region", json!(region)),
            ]),
        }
        keys
    }
}

impl Own {
    /// Reads the claims specific to a type. A connection defaults to its key's account and region.
    fn read(
        section: &mut Section<'_>,
        token_type: TokenType,
        key_arn: Option<&str>,
    ) -> Option<Self> {
        if token_type == TokenType::Participant {
            let whip_url = section.required("whip_url", |text| parse_url(text, "https"))?;
            return Some(Self::Participant { whip_url });
        }
        let has = ["account_id", "region"].map(|key| section.has(key));
        let account_id = section.parsed("account_id", parse_account);
        let region = section.parsed("region", parse_region);
        if has != [account_id.is_some(), region.is_some()] {
            return None;
        }
        let of_key = key_arn.and_then(Arn::parse)?;
        Some(Self::Connection {
            account_id: account_id.unwrap_or_else(|| of_key.account.to_owned()),
            region: region.unwrap_or_else(|| of_key.region.to_owned()),
        })
    }
}

fn parse_key_arn(text: &str) -> Result<String, &'static str> {
    if Arn::parse(text).is_some_and(|arn| arn.resource_type == "public-key") {
        Ok(text.to_owned())
    } else if is_swapped(text) {
        Err("has region and account swapped, as in a sample of the guide; the form is \
             arn:aws:ivs:REGION:ACCOUNT:public-key/ID")
    } else {
        Err("is not a public key's ARN, like arn:aws:ivs:us-west-2:123456789012:public-key/ID")
    }
}

fn parse_account(text: &str) -> Result<String, &'static str> {
    let wanted = "is not an account number, which has 12 digits";
    if is_account(text) { Ok(text.to_owned()) } else { Err(wanted) }
}

fn parse_region(text: &str) -> Result<String, &'static str> {
    if is_region(text) { Ok(text.to_owned()) } else { Err("is not a region, like us-west-2") }
}

/// A URL as `GetStage` returns it, copied unchanged to tokens.
fn parse_url(text: &str, scheme: &str) -> Result<String, String> {
    let uri = text.parse::<Uri>().ok().filter(|uri| {
        let authority = uri.authority().map(http::uri::Authority::as_str);
        uri.scheme_str() == Some(scheme) && authority.is_some_and(|it| !it.contains('@'))
    });
    uri.map(|_| text.to_owned()).ok_or_else(|| {
        format!("must have the form {scheme}://host, like the stage's endpoints in GetStage")
    })
}

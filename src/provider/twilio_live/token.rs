//! The Twilio Access Token around a `PlaybackGrant`.
//!
//! Source: Twilio's page "Access Tokens"; member names as its helper libraries emit them.

#[cfg(test)]
mod vectors;

use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use super::{config::Config, ids::ApiKeySecret};
use crate::{
    clock::Anchor,
    grant::Grant,
    token::{
        PrepareError, Signer, Stamped, Times, TokenFormat,
        id::Serial,
        template::{Layout, Template},
    },
};

/// Constant grants beside the player's, the same in every token of a profile.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraGrants {
    /// Video: the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoGrant>,
    /// Voice: incoming and outgoing calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice: Option<VoiceGrant>,
    /// Conversations, once Programmable Chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat: Option<ChatGrant>,
    /// Sync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_sync: Option<SyncGrant>,
    /// `TaskRouter`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_router: Option<TaskRouterGrant>,
}

/// A grant whose members are texts that may be left out.
macro_rules! text_grant {
    ($name:ident, $doc:literal, $($member:ident: $member_doc:literal),+) => {
        #[doc = $doc]
        #[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $(
                #[doc = $member_doc]
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $member: Option<String>,
            )+
        }
    };
}

text_grant!(VideoGrant, "May join video rooms.", room: "Only this room; left out: any.");
text_grant!(
    ChatGrant,
    "May use Conversations.",
    service_sid: "The service (`IS…`).",
    endpoint_id: "The endpoint.",
    deployment_role_sid: "The deployment role.",
    push_credential_sid: "The push credential."
);
text_grant!(
    SyncGrant,
    "May use Sync.",
    service_sid: "The service (`IS…`).",
    endpoint_id: "The endpoint."
);
text_grant!(
    TaskRouterGrant,
    "May use `TaskRouter`.",
    workspace_sid: "The workspace (`WS…`).",
    worker_sid: "The worker (`WK…`).",
    role: "The role."
);

/// May make or take calls.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct VoiceGrant {
    /// Calls to the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incoming: Option<Incoming>,
    /// Calls from the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outgoing: Option<Outgoing>,
    /// The push credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push_credential_sid: Option<String>,
    /// The endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_id: Option<String>,
}

/// Calls to the client.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Incoming {
    /// Whether it may take them.
    pub allow: bool,
}

/// Calls from the client.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Outgoing {
    /// The application (`AP…`) that they go to.
    pub application_sid: String,
    /// What the application is given.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
}

/// Twilio's token format under one account and key.
pub struct AccessTokens {
    account_sid: String,
    api_key_sid: String,
    secret: ApiKeySecret,
    header: String,
    extra_grants: Map<String, Value>,
    nbf_backdate: Option<u32>,
}

impl AccessTokens {
    /// Tokens of `config`'s account, signed with its key.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            account_sid: config.account_sid.to_string(),
            api_key_sid: config.api_key_sid.to_string(),
            secret: config.api_key_secret.clone(),
            header: header(config.region.as_deref()),
            extra_grants: as_map(&config.grants),
            nbf_backdate: config.nbf_backdate,
        }
    }

    fn layout(&self, grant: &RawValue) -> Layout {
        let Self { account_sid, api_key_sid, nbf_backdate, .. } = self;
        let mut extra = String::new();
        for (name, grant) in &self.extra_grants {
            extra.extend([&Value::from(name.as_str()).to_string(), ":", &grant.to_string(), ","]);
        }
        Layout {
            header: self.header.clone(),
            head: format!(r#"{{"iss":"{api_key_sid}","sub":"{account_sid}","#),
            nbf_backdate: *nbf_backdate,
            body: format!(r#""grants":{{"player":{grant},{extra}"identity":""#),
            before_id: r#""},"jti":""#.to_owned(),
            id_prefix: api_key_sid.clone(),
            end: r#""}"#.to_owned(),
        }
    }

    /// Mints one token and reads it back with an implementation that is not ours.
    fn verify(
        &self,
        template: &Template,
        grant: &RawValue,
        now: Anchor,
    ) -> Result<(), PrepareError> {
        const IDENTITY: &str = "grantmint \"self-test\" \u{e9}";
        let issue = now.wall.unix_seconds();
        let times = Times { issue, expire: issue + 60 };
        let stamped = template.once(times);
        let token = String::from(stamped.sign(IDENTITY, Serial::SELF_TEST));

        let key = DecodingKey::from_secret(self.secret.expose().as_bytes());
        let read = jsonwebtoken::decode::<Claims>(token, &key, &validation())
            .map_err(|_| PrepareError::Unverified("signature, algorithm or claims"))?;

        let claims = read.claims;
        let meant = [
            ("header", header_is(&read.header, &self.header)),
            ("iss", claims.iss == self.api_key_sid),
            ("sub", claims.sub == self.account_sid),
            ("iat", claims.iat == times.issue),
            ("exp", claims.exp == times.expire),
            ("nbf", claims.nbf == self.nbf_backdate.map(|by| times.issue - i64::from(by))),
            ("jti", claims.jti == stamped.token_id(Serial::SELF_TEST)),
            ("identity", claims.grants.identity == IDENTITY),
            ("player", claims.grants.player.get() == grant.get()),
            ("extra grants", claims.grants.extra == self.extra_grants),
        ];
        match meant.into_iter().find(|(_, holds)| !holds) {
            Some((member, _)) => Err(PrepareError::Unverified(member)),
            None => Ok(()),
        }
    }
}

impl TokenFormat for AccessTokens {
    fn prepare(&self, grant: &Grant, now: Anchor) -> Result<Box<dyn Signer>, PrepareError> {
        // What is no JSON could close the members around it and open others.
        let grant: &RawValue =
            serde_json::from_str(grant.content().as_str()).map_err(|_| PrepareError::GrantUnfit)?;
        let template = Template::new(self.layout(grant), self.secret.expose().as_bytes())?;
        self.verify(&template, grant, now)?;
        Ok(Box::new(template))
    }
}

impl fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessTokens")
            .field("api_key_sid", &self.api_key_sid)
            .finish_non_exhaustive()
    }
}

/// "Access Tokens": `typ` and `cty` must be these; `twr` names the key's region.
fn header(region: Option<&str>) -> String {
    let twr = region.map_or(String::new(), |region| format!(r#","twr":{}"#, Value::from(region)));
    format!(r#"{{"alg":"HS256","typ":"JWT","cty":"twilio-fpa;v=1"{twr}}}"#)
}

fn header_is(read: &jsonwebtoken::Header, meant: &str) -> bool {
    serde_json::to_value(read).ok() == serde_json::from_str(meant).ok()
}

fn as_map(grants: &ExtraGrants) -> Map<String, Value> {
    match serde_json::to_value(grants) {
        Ok(Value::Object(map)) => map,
        // Texts, flags and maps of them always become an object.
        _ => Map::new(),
    }
}

/// HS256 and a good signature; exp and nbf would be held against the system's clock, so they
/// are compared with what was meant instead.
fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    validation
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    iat: i64,
    exp: i64,
    nbf: Option<i64>,
    jti: String,
    grants: Grants,
}

struct Grants {
    identity: String,
    player: Box<RawValue>,
    extra: Map<String, Value>,
}

impl<'de> Deserialize<'de> for Grants {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;

        // Not `flatten`: it would read the player's grant before it is raw.
        let mut members: std::collections::BTreeMap<String, Box<RawValue>> =
            Deserialize::deserialize(deserializer)?;
        let mut take = |name| members.remove(name).ok_or_else(|| D::Error::missing_field(name));
        let player = take("player")?;
        let identity = serde_json::from_str(take("identity")?.get()).map_err(D::Error::custom)?;
        let extra = members
            .into_iter()
            .map(|(name, raw)| Ok((name, serde_json::from_str(raw.get())?)))
            .collect::<Result<_, serde_json::Error>>()
            .map_err(D::Error::custom)?;
        Ok(Self { identity, player, extra })
    }
}

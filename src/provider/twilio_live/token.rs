//! The Twilio Access Token around a `PlaybackGrant`.
//!
//! Source: Twilio's page "Access Tokens"; member names as its helper libraries emit them.

#[cfg(test)]
mod vectors;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::config::Config;
use crate::token::{
    claims::{Conflict, Id, Table, Time, Value},
    hs256::Hs256,
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
    pub params: Map<String, Json>,
}

/// Twilio's token format under one account and key; `nbf`: how many seconds before the issue a
/// token's `nbf` lies, none for no `nbf`.
#[must_use]
pub fn access_tokens(config: &Config, nbf: Option<u32>) -> Hs256 {
    Hs256::new(table(config, nbf), config.api_key_secret.clone())
}

/// "Access Tokens": `typ` and `cty` must be these; `twr` names the key's region.
fn table(config: &Config, nbf: Option<u32>) -> Result<Table, Conflict> {
    let mut header = Map::from_iter([
        ("alg".to_owned(), "HS256".into()),
        ("typ".to_owned(), "JWT".into()),
        ("cty".to_owned(), "twilio-fpa;v=1".into()),
    ]);
    header.extend(config.region.as_deref().map(|region| ("twr".to_owned(), region.into())));
    let mut table = Table::new(header);
    table.add(&["iss"], Value::Constant(config.api_key_sid.as_str().into()))?;
    table.add(&["sub"], Value::Constant(config.account_sid.as_str().into()))?;
    table.add(&["iat"], Value::Time(Time::Issue { back: 0 }))?;
    if let Some(back) = nbf {
        table.add(&["nbf"], Value::Time(Time::Issue { back }))?;
    }
    table.add(&["exp"], Value::Time(Time::Expire))?;
    table.add(&["grants", "player"], Value::Grant)?;
    for (product, grant) in as_map(&config.grants) {
        table.add(&["grants", &product], Value::Constant(grant))?;
    }
    table.add(&["grants", "identity"], Value::Identity)?;
    table.add(&["jti"], Value::Id(Id::Dated(config.api_key_sid.to_string())))?;
    Ok(table)
}

fn as_map(grants: &ExtraGrants) -> Map<String, Json> {
    match serde_json::to_value(grants) {
        Ok(Json::Object(map)) => map,
        // Texts, flags and maps of them always become an object.
        _ => Map::new(),
    }
}

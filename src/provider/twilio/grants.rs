//! The product grants in an Access Token.
//!
//! Source: Twilio's page "Access Tokens"; member names as its helper libraries emit them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

/// Constant product grants, the same in every token of a profile.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProductGrants {
    /// Video: the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoGrant>,
    /// Voice: incoming and outgoing calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice: Option<VoiceGrant>,
    /// Conversations, formerly Programmable Chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat: Option<ChatGrant>,
    /// Sync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_sync: Option<SyncGrant>,
    /// `TaskRouter`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_router: Option<TaskRouterGrant>,
}

/// Why an empty room is refused.
pub(in crate::provider) const EMPTY_ROOM: &str = "video.room: is empty; omit it to allow any room";

impl ProductGrants {
    /// Whether Video's room is an empty string, which cannot be intended.
    pub(in crate::provider) fn names_empty_room(&self) -> bool {
        self.video.as_ref().is_some_and(|video| video.room.as_deref() == Some(""))
    }
}

/// A grant with optional string members.
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

text_grant!(VideoGrant, "May join video rooms.", room: "Only this room; if omitted, any.");
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

/// May make or receive calls.
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
    /// Whether it may receive them.
    pub allow: bool,
}

/// Calls from the client.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Outgoing {
    /// The application (`AP…`) that handles them.
    pub application_sid: String,
    /// The parameters for the application.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Json>,
}

impl ProductGrants {
    /// Each product's grant, as written in a token.
    #[must_use]
    pub fn by_product(&self) -> Map<String, Json> {
        match serde_json::to_value(self) {
            Ok(Json::Object(map)) => map,
            // These types always serialize to an object.
            _ => Map::new(),
        }
    }
}

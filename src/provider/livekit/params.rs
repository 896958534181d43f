//! A LiveKit token's parameters for a participant, besides the room and the identity.
//!
//! Names and types: LiveKit's `protocol` repository, `auth/grants.go`, and the proto JSON of
//! `RoomConfiguration`.

use serde_json::Value;

use crate::token::params::{Parameter, Shape};

/// By default, LiveKit's server refuses larger metadata and attributes.
const MAX_TEXT: usize = 64_000;

/// The longest object in bytes; it is copied unchanged.
const MAX_OBJECT: usize = 8 * 1024;

/// The sources of a participant's media.
const SOURCES: [&str; 4] = ["camera", "microphone", "screen_share", "screen_share_audio"];

/// Rights over the whole server, which calls cannot set.
pub(super) const SERVER_RIGHTS: [(&str, &str); 6] = [
    ("room_create", "roomCreate"),
    ("room_list", "roomList"),
    ("room_record", "roomRecord"),
    ("ingress_admin", "ingressAdmin"),
    ("recorder", "recorder"),
    ("agent", "agent"),
];

/// The boolean rights.
pub(super) const RIGHTS: [(&str, &str); 8] = [
    ("can_publish", "canPublish"),
    ("can_subscribe", "canSubscribe"),
    ("can_publish_data", "canPublishData"),
    ("can_update_own_metadata", "canUpdateOwnMetadata"),
    ("can_subscribe_metrics", "canSubscribeMetrics"),
    ("can_manage_agent_session", "canManageAgentSession"),
    ("hidden", "hidden"),
    ("room_admin", "roomAdmin"),
];

/// All parameters.
pub(super) fn declared() -> Vec<Parameter> {
    let right = |claim: &str| format!("video.{claim}");
    let flag = |(name, claim): (&str, &str)| Parameter::new(name, &right(claim), Shape::Flag);
    let server =
        |(name, claim): (&str, &str)| Parameter::of_profile(name, &right(claim), Shape::Flag);
    let mut declared = vec![
        Parameter::new("name", "name", Shape::Text(256)),
        Parameter::new("metadata", "metadata", Shape::Text(MAX_TEXT)),
        Parameter::new("attributes", "attributes", Shape::Texts(MAX_TEXT)),
        // An empty list would restrict nothing; `can_publish = false` denies publishing.
        Parameter::new("can_publish_sources", "video.canPublishSources", Shape::Words(&SOURCES)),
        Parameter::new("agents", "roomConfig.agents", AGENTS),
        Parameter::of_profile("room_config", "roomConfig", ROOM_CONFIG),
        Parameter::of_profile("room_join", "video.roomJoin", Shape::Flag).or(true),
        Parameter::of_profile("room_preset", "roomPreset", Shape::Text(256)),
        Parameter::of_profile("destination_room", "video.destinationRoom", Shape::Text(256)),
        Parameter::of_profile("kind", "kind", Shape::Text(64)),
        Parameter::of_profile("kind_details", "kindDetails", TEXTS),
        Parameter::of_profile("sip", "sip", Shape::Object(MAX_OBJECT)),
        Parameter::of_profile("inference", "inference", Shape::Object(MAX_OBJECT)),
        Parameter::of_profile("observability", "observability", Shape::Object(MAX_OBJECT)),
        Parameter::of_profile("sha256", "sha256", Shape::Text(256)),
    ];
    declared.extend(RIGHTS.map(flag));
    declared.extend(SERVER_RIGHTS.map(server));
    declared
}

const TEXTS: Shape = Shape::Own {
    wanted: "must be a list of strings",
    fits: |value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
};

const AGENTS: Shape = Shape::Own {
    wanted: "must be a list of at most 16 objects, each with agent_name or agentName, and \
             metadata, both strings",
    fits: |value| {
        let is_agent = |agent: &Value| {
            agent.as_object().is_some_and(|members| {
                !members.is_empty()
                    && members.iter().all(|(name, value)| {
                        matches!(name.as_str(), "agentName" | "agent_name" | "metadata")
                            && value.is_string()
                    })
            })
        };
        value
            .as_array()
            .is_some_and(|list| (1..=16).contains(&list.len()) && list.iter().all(is_agent))
    },
};

/// Egress contains storage keys, which everyone with the token could read.
const ROOM_CONFIG: Shape = Shape::Own {
    wanted: "must be an object without egress, which has storage secrets that every bearer could \
             read",
    fits: |value| value.as_object().is_some_and(|config| !config.contains_key("egress")),
};

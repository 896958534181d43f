//! A token's parameters. Names and values: Zoom's page "Authorize" of the Video SDK, and its
//! sample.

use serde_json::Value;

use crate::token::params::{Parameter, Shape};

/// Whether a user is a host; every token states it.
pub(super) const ROLE_TYPE: &str = "role_type";

/// The longest session key in characters.
const MAX_SESSION_KEY: usize = 36;

/// The regions that can route a session's media.
const REGIONS: [&str; 12] =
    ["AU", "BR", "CA", "CN", "DE", "HK", "IN", "JP", "MX", "NL", "SG", "US"];

/// All parameters.
pub(super) fn declared() -> Vec<Parameter> {
    let number = |name: &str, most| Parameter::new(name, name, Shape::Integer(0, most));
    vec![
        // A host has rights over others, so it is never a default.
        number(ROLE_TYPE, 1).or(0),
        Parameter::new("session_key", "session_key", Shape::Text(MAX_SESSION_KEY)),
        Parameter::new("geo_regions", "geo_regions", GEO_REGIONS),
        number("cloud_recording_option", 1),
        number("cloud_recording_election", 1),
        number("cloud_recording_transcript_option", 2),
        Parameter::new("telemetry_tracking_id", "telemetry_tracking_id", Shape::Text(256)),
        number("video_webrtc_mode", 1),
        number("audio_webrtc_mode", 1),
    ]
}

const GEO_REGIONS: Shape = Shape::Own {
    wanted: "must be a string of regions separated by commas without spaces, of AU, BR, CA, CN, \
             DE, HK, IN, JP, MX, NL, SG, US",
    fits: |value| {
        value.as_str().is_some_and(|list| list.split(',').all(|it| REGIONS.contains(&it)))
    },
};

/// Whether a value in a token passes a verifier that requires numbers.
pub(super) fn is_number(value: &Value) -> bool {
    value.is_u64()
}

//! A token's parameters. For a signed playback ID, Mux reads image options and playback modifiers
//! only from the claims, not from the URL.
//!
//! Names and types: Mux's pages "Get images from a video" and "Modify playback behavior", and the
//! parameters of `@mux/mux-node`.

use serde_json::Value;

use crate::token::params::{MAX_EXACT, Parameter, Shape};

/// The token types, each with its audience.
pub(super) const TOKEN_TYPES: [(&str, &str); 9] = [
    ("video", "v"),
    ("thumbnail", "t"),
    ("gif", "g"),
    ("storyboard", "s"),
    ("drm", "d"),
    ("stats", "playback_id"),
    ("asset_stats", "asset_id"),
    ("live_stream_stats", "live_stream_id"),
    ("video_stats", "video_id"),
];

const FIT_MODES: [&str; 5] = ["preserve", "stretch", "crop", "smartcrop", "pad"];

const RESOLUTIONS: [&str; 8] = ["270p", "360p", "480p", "540p", "720p", "1080p", "1440p", "2160p"];

/// The longest side of an image in pixels, more than Mux supports.
const MAX_SIDE: i64 = 10_000;

/// The longest custom data in bytes.
const MAX_CUSTOM: usize = 1_024;

/// All parameters.
pub(super) fn declared() -> Vec<Parameter> {
    let of = |name: &str, shape| Parameter::new(name, name, shape);
    let mut declared = vec![
        Parameter::new("token_type", "aud", Shape::Named(&TOKEN_TYPES)).or("video"),
        of("width", Shape::Integer(1, MAX_SIDE)),
        of("height", Shape::Integer(1, MAX_SIDE)),
        of("rotate", ROTATION),
        of("fit_mode", Shape::Word(&FIT_MODES)),
        of("fps", Shape::Integer(1, 30)),
        of("max_resolution", Shape::Word(&RESOLUTIONS)),
        of("min_resolution", Shape::Word(&RESOLUTIONS)),
        of("rendition_order", Shape::Word(&["asc", "desc"])),
        of("default_subtitles_lang", Shape::Text(64)),
        of("custom", Shape::Object(MAX_CUSTOM)),
        // A call must not replace the restriction.
        Parameter::of_profile("playback_restriction_id", "playback_restriction_id", ID),
    ];
    let flags = ["flip_v", "flip_h", "latest"];
    let modifiers = ["redundant_streams", "roku_trick_play", "exclude_pdt"];
    declared.extend(flags.into_iter().chain(modifiers).map(|name| of(name, Shape::Flag)));
    let seconds = ["time", "start", "end", "asset_start_time", "asset_end_time"];
    declared.extend(seconds.map(|name| of(name, SECONDS)));
    let instants = ["program_time", "program_start_time", "program_end_time"];
    let latest = i64::try_from(MAX_EXACT).unwrap_or(i64::MAX);
    declared.extend(instants.map(|name| of(name, Shape::Integer(0, latest))));
    declared
}

const SECONDS: Shape = Shape::Own {
    wanted: "must be a number of seconds, 0 or more",
    fits: |value| value.as_f64().is_some_and(|seconds| seconds >= 0.0),
};

const ROTATION: Shape = Shape::Own {
    wanted: "must be 90, 180 or 270",
    // A call's numbers are doubles.
    fits: |value| [90.0, 180.0, 270.0].map(Some).contains(&value.as_f64()),
};

const ID: Shape = Shape::Own {
    wanted: "must be an ID, a string of 1 to 128 ASCII letters, digits, - and _",
    fits: |value| value.as_str().is_some_and(is_id),
};

/// Whether a string has the form of a Mux ID.
pub(super) fn is_id(text: &str) -> bool {
    let of_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=128).contains(&text.len()) && text.bytes().all(of_id)
}

/// The type and audience for an `aud`; `None` if it is unknown to Mux.
pub(super) fn token_type(audience: &Value) -> Option<(&'static str, &'static str)> {
    TOKEN_TYPES.into_iter().find(|(_, its)| audience == its)
}

//! A playback token's parameters. Names and limits: the page "Generate and Sign IVS Playback
//! Tokens".

use serde_json::Value;

use crate::token::params::{Parameter, Setter, Shape};

/// Whether each token is valid for one playback; the claim is then a unique ID.
pub(super) const SINGLE_USE: &str = "single_use";

/// Whether origins are checked for every request, not only the first.
pub(super) const STRICT_ORIGIN: &str = "strict_origin";

/// The highest resolution that a player may choose.
pub(super) const RESOLUTIONS: [&str; 3] = ["SD", "HD", "FULL_HD"];

/// The maximum number of origins with strict checking.
pub(super) const MAX_STRICT: usize = 5;

/// The longest origins in bytes: tokens are sent in a URL.
const MAX_ORIGINS: usize = 1_024;

/// All parameters. A profile with `strict_origin` must set origins, or let calls set them.
pub(super) fn declared(is_strict: bool) -> Vec<Parameter> {
    let shape = if is_strict { STRICT_ORIGINS } else { ORIGINS };
    let setter = if is_strict { Setter::RequiredCall } else { Setter::Call };
    vec![
        Parameter {
            setter,
            ..Parameter::new("allow_origin", "aws:access-control-allow-origin", shape)
        },
        Parameter::new(
            "viewer_session_version",
            "aws:viewer-session-version",
            Shape::Integer(0, i64::MAX),
        ),
        Parameter::new("maximum_resolution", "aws:maximum-resolution", Shape::Word(&RESOLUTIONS)),
        Parameter::of_profile(STRICT_ORIGIN, "aws:strict-origin-enforcement", Shape::Flag),
        Parameter::of_profile(SINGLE_USE, "aws:single-use-uuid", Shape::TrueOnly),
    ]
}

const ORIGINS: Shape = Shape::Own {
    wanted: "must be * or origins like https://www.example.com, whose host may start with *., in \
             one string separated by commas without spaces, at most 1024 bytes",
    fits: |value| value.as_str().is_some_and(are_origins),
};

const STRICT_ORIGINS: Shape = Shape::Own {
    wanted: "must be one to five origins where strict_origin is true, like \
             https://www.example.com, whose host may start with *., in one string separated by \
             commas without spaces, at most 1024 bytes",
    fits: |value| value.as_str().is_some_and(|text| are_origins(text) && is_strict(text)),
};

fn is_strict(text: &str) -> bool {
    text != "*" && text.split(',').count() <= MAX_STRICT
}

/// Whether IVS accepts a string as origins.
pub(super) fn are_origins(text: &str) -> bool {
    text == "*" || (text.len() <= MAX_ORIGINS && text.split(',').all(is_origin))
}

fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let host = host.strip_prefix("*.").unwrap_or(host);
    let of_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(of_label);
    matches!(scheme, "https" | "http")
        && host.split('.').all(is_label)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Whether IVS accepts a value as a resolution.
pub(super) fn is_resolution(value: &Value) -> bool {
    value.as_str().is_some_and(|text| RESOLUTIONS.contains(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_whole_and_without_paths_and_spaces() {
        for good in [
            "*",
            "https://www.example.com",
            "http://localhost:8080",
            "https://www.example.com,https://*.example.org",
        ] {
            assert!(are_origins(good), "{good}");
        }
        for bad in [
            "",
            ",",
            "www.example.com",
            "https://",
            "https://*",
            "https://a.*.example.com",
            "https://www.example.com/",
            "https://www.example.com/live",
            "https://www.example.com:",
            "https://www.example.com:0",
            "https://www.example.com:65536",
            "https://u@example.com",
            "ftp://example.com",
            "https://a.example, https://b.example",
            "*,https://a.example",
        ] {
            assert!(!are_origins(bad), "{bad}");
        }
        let many = ["https://a.example"; 6].join(",");
        assert!(are_origins(&many) && !is_strict(&many) && is_strict(&many[18..]));
    }
}

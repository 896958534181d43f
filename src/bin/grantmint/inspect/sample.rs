//! A token for the tests.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A token of a usual length.
pub(super) fn sample() -> String {
    let header = json!({"alg": "HS256", "typ": "JWT"});
    let claims = json!({
        "iss": "key-0123456789abcdef0123456789abcdef",
        "sub": "alice",
        "room": "the-room-of-0123456789abcdef0123456789abcdef",
        "iat": 1_700_000_000,
        "exp": 1_700_003_600,
    });
    let part = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}.{}", part(&header), part(&claims), "Sig-_".repeat(9).split_at(43).0)
}

//! The demo's key, which is public; no server accepts it.

use serde_json::json;

use super::{KIND, config::SECRET};
use crate::provider::{Demo, DemoSecret, Served};

/// The demo.
pub(super) fn demo() -> Demo {
    Demo {
        kind: KIND,
        name: KIND,
        profile: "room",
        served: Served::Yes,
        keys: vec![
            ("api_key", json!("APIsandbox")),
            ("allow_resources", json!(["*"])),
            ("caller_params", json!(["name", "metadata", "attributes", "can_publish"])),
        ],
        secret: Some(DemoSecret {
            keys: SECRET,
            variable: "GRANTMINT_SANDBOX_ROOM_SECRET",
            value: "public-demo-secret-of-the-sandbox-only".to_owned(),
        }),
        resources: Vec::new(),
        build_endpoint: None,
    }
}

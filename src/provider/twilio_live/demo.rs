//! The demo's account: public, and known only to the sandbox.

use std::sync::Arc;

use serde_json::json;

use super::{config::KIND, endpoint::PlaybackGrantEndpoint};
use crate::{
    provider::{
        Demo, DemoSecret, Served,
        twilio::{
            SECRET,
            ids::{AccountSid, ApiKeySecret, ApiKeySid},
        },
    },
    sandbox::Endpoint,
};

/// The demo's account.
pub const DEMO_ACCOUNT_SID: &str = "AC0123456789abcdef0123456789abcdef";

/// The demo's API key.
pub const DEMO_API_KEY_SID: &str = "SK0123456789abcdef0123456789abcdef";

/// The demo's secret: public, and only for the sandbox.
pub const DEMO_API_KEY_SECRET: &str = "public-demo-secret-of-the-sandbox-only";

/// The demo's resource.
pub const DEMO_RESOURCE: &str = "VJ0123456789abcdef0123456789abcdef";

/// The environment variable for the demo's secret.
const VARIABLE: &str = "GRANTMINT_SANDBOX_SECRET";

/// The demo.
pub(super) fn demo() -> Demo {
    let value = DEMO_API_KEY_SECRET.to_owned();
    let secret = DemoSecret { keys: SECRET, variable: VARIABLE, value };
    Demo {
        kind: KIND,
        name: KIND,
        profile: "demo",
        served: Served::Yes,
        keys: vec![
            ("account_sid", json!(DEMO_ACCOUNT_SID)),
            ("api_key_sid", json!(DEMO_API_KEY_SID)),
        ],
        secret: Some(secret),
        resources: vec![DEMO_RESOURCE],
        build_endpoint: Some(endpoint),
    }
}

/// The endpoint that accepts the demo's key; its values always parse.
fn endpoint(_: &Demo) -> Option<Arc<dyn Endpoint>> {
    Some(Arc::new(PlaybackGrantEndpoint {
        account: AccountSid::parse(DEMO_ACCOUNT_SID).ok()?,
        key: ApiKeySid::parse(DEMO_API_KEY_SID).ok()?,
        secret: ApiKeySecret::parse(DEMO_API_KEY_SECRET).ok()?,
    }))
}

//! The sandbox with the upstreams of real kinds: its page, its sample, and several upstreams in one
//! sandbox.

mod docs;
mod sample;
mod several;

use base64::{Engine, prelude::BASE64_STANDARD};
use grantmint::{
    provider::{
        self,
        twilio_live::{DEMO_API_KEY_SECRET, DEMO_API_KEY_SID, wire},
    },
    sandbox::Sandbox,
};

use crate::support::{Answer, answer};

/// The bodies specific to the emulated upstreams.
fn own() -> Vec<&'static str> {
    provider::bodies()
}

/// Requests a grant as the demo's client does.
async fn ask(sandbox: &Sandbox, resource: &str) -> Answer {
    ask_as(sandbox, DEMO_API_KEY_SID, DEMO_API_KEY_SECRET, resource).await
}

async fn ask_as(sandbox: &Sandbox, key: &str, secret: &str, resource: &str) -> Answer {
    let url = format!("http://{}{}", sandbox.addr(), wire::path(resource));
    let basic = BASE64_STANDARD.encode(format!("{key}:{secret}"));
    answer("POST", &url, &[&format!("authorization: Basic {basic}")], "Ttl=60").await
}

//! Twilio Live: the `PlaybackGrant` of a `PlayerStreamer`, shared by all its players, inside
//! a Twilio Access Token of each player's own.
//!
//! Sources: Twilio's API description `twilio_media_v1.json` and the page "Access Tokens".
//! The service itself ended on 2023-11-30; the formats are what its helper libraries emit.

mod config;
pub mod ids;
mod source;
mod token;
pub mod wire;

use std::time::Duration;

pub use self::{
    config::Config,
    source::PlaybackGrants,
    token::{AccessTokens, ExtraGrants},
};
use super::Rules;
use crate::name::{NameError, Resource};

/// The kind's name.
pub const KIND: &str = "twilio-live";

/// What the kind lays down.
pub(super) const RULES: Rules = Rules {
    // "Access Tokens": a lifetime of up to 24 hours.
    max_token_ttl: Duration::from_secs(24 * 60 * 60),
    // twilio_media_v1.json: Ttl's maximum.
    max_grant_ttl: Duration::from_secs(60),
    parse_resource,
};

fn parse_resource(text: &str) -> Result<Resource, NameError> {
    let text = Resource::parse(text)?;
    let sid = ids::PlayerStreamerSid::parse(text.as_str())
        .map_err(|_| NameError::NotOfItsKind("is not VJ followed by 32 hexadecimal digits"))?;
    Resource::parse(sid.as_str())
}

//! Warnings about an Access Token, for the mistakes of other issuers.
//!
//! Sources: Twilio's page "Access Tokens" and its error codes 20101 to 20160; the output of its
//! helper libraries; the published source of `@twilio/live-player-sdk` 1.0.2.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use super::{
    super::{
        MAX_TOKEN_TTL,
        ids::{AccountSid, ApiKeySid},
    },
    grant, grants, id_seconds,
};
use crate::reading::{End, Jwt, Reading, words::length_after};

/// The `cty` of an Access Token.
const CONTENT_TYPE: &str = "twilio-fpa;v=1";

/// The tolerance between the expiry of a token and of its grant: both are whole seconds.
const ROUNDING: i64 = 2;

/// Adds the warnings specific to Access Tokens, at this Unix second.
pub(super) fn add(token: &Jwt, players_grant: Option<End>, now: i64, reading: &mut Reading) {
    header(token, reading);
    parties(token, reading);
    id(token, now, reading);
    identity(&token.claims, reading);
    products(&token.claims, reading);
    life(players_grant, now, reading);
}

fn header(token: &Jwt, reading: &mut Reading) {
    match token.algorithm() {
        Some(alg) if alg != "HS256" && !alg.eq_ignore_ascii_case("none") => {
            reading.warn("alg", format!("is {}; Twilio accepts only HS256", alg.escape_debug()));
        }
        _ => {}
    }
    if token.header_text("typ") != Some("JWT") {
        reading.warn("typ", "is not JWT; Twilio refuses such a header (20102)");
    }
    match token.header.get("cty") {
        Some(cty) if cty == CONTENT_TYPE => {}
        Some(_) => {
            reading.warn("cty", format!("is another issuer's; Twilio requires {CONTENT_TYPE}"));
        }
        None => reading.warn("cty", format!("is missing; Twilio requires {CONTENT_TYPE} (20102)")),
    }
}

fn parties(token: &Jwt, reading: &mut Reading) {
    if token.text("iss").is_none_or(|iss| ApiKeySid::parse(iss).is_err()) {
        reading.warn("iss", "is not the SID of an API key (SK...); Twilio refuses it (20103)");
    }
    if token.text("sub").is_none_or(|sub| AccountSid::parse(sub).is_err()) {
        reading.warn("sub", "is not the SID of an account (AC...); Twilio refuses it (20103)");
    }
}

fn id(token: &Jwt, now: i64, reading: &mut Reading) {
    if token.text("jti").is_none_or(str::is_empty) {
        reading.warn("jti", "is missing; it must be unique to each token");
    }
    let Some(seconds) = id_seconds(token) else { return };
    reading.warn("jti", "consists of the key and a second; all tokens of that second share it");
    if seconds > now {
        reading.warn("jti", "its second is in the future; twilio-java steps by 128 s");
    }
}

fn identity(claims: &Map<String, Value>, reading: &mut Reading) {
    let identity = match grant(claims, "identity") {
        Some(Value::String(identity)) if !identity.is_empty() => identity,
        Some(Value::String(_)) => {
            return reading.warn("identity", "is empty; libraries disagree on its meaning");
        }
        Some(Value::Null) | None => {
            return reading.warn(
                "identity",
                "is missing; products other than the player refuse such a token",
            );
        }
        Some(_) => return reading.warn("identity", "is not a string; it should be"),
    };
    let word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    if grant(claims, "voice").is_some() && !identity.chars().all(word) {
        reading.warn("identity", "Voice accepts only letters, digits and underscores");
    }
    if grant(claims, "video").is_some() && identity.chars().count() > 128 {
        reading.warn("identity", "exceeds Video's limit of 128 characters");
    }
}

fn products(claims: &Map<String, Value>, reading: &mut Reading) {
    let Some(grants) = grants(claims) else {
        return reading.warn("grants", "are missing; the token grants nothing (20106)");
    };
    if grants.keys().all(|name| name == "identity") {
        reading.warn("grants", "have no product; the token grants nothing");
    }
    if grants.get("video").is_some_and(|video| !video.get("room").is_some_and(|it| it != "")) {
        reading.warn("video", "names no room: its bearer can join any room of the account");
    }
    match grants.get("player") {
        Some(Value::Object(members)) => player(members, reading),
        Some(Value::String(_)) => reading.warn(
            "player",
            "is a string; since its 1.0.0-preview.9 the player accepts only an object (20101)",
        ),
        Some(_) => reading.warn("player", "is not an object; the player refuses the token (20101)"),
        None => {}
    }
}

fn player(members: &Map<String, Value>, reading: &mut Reading) {
    for member in ["playbackUrl", "playerStreamerSid"] {
        if members.get(member).and_then(Value::as_str).is_none_or(str::is_empty) {
            reading
                .warn("player", format!("has no {member}; the player refuses the token (20101)"));
        }
    }
    if let Some(Value::String(mode)) = members.get("requestCredentials")
        && !["omit", "same-origin", "include"].contains(&mode.as_str())
    {
        reading.warn(
            "player",
            "requestCredentials is not omit, same-origin or include; the player refuses the token \
             (20101)",
        );
    }
}

/// Warns if a token lives longer than Twilio allows, or longer than its player's grant.
fn life(players_grant: Option<End>, now: i64, reading: &mut Reading) {
    if reading.validity.life_over(MAX_TOKEN_TTL, now).is_some() {
        reading.warn(
            "exp",
            "is over 24 h after its issue; products other than the player refuse it (20104, 20157)",
        );
    }
    if let Some((End { at, .. }, ends)) = players_grant.zip(reading.validity.ends)
        && ends.saturating_sub(at) > ROUNDING
    {
        let longer = length_after(at, ends);
        reading.warn(
            "exp",
            format!(
                "is {longer} after the player's grant expires; in between the token seems valid, \
                 but the player fails (56001)"
            ),
        );
    }
}

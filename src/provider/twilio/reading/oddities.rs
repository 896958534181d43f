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
pub(super) fn note(token: &Jwt, players_grant: Option<End>, now: i64, odd: &mut Reading) {
    header(token, odd);
    parties(token, odd);
    id(token, now, odd);
    identity(&token.claims, odd);
    products(&token.claims, odd);
    life(players_grant, now, odd);
}

fn header(token: &Jwt, odd: &mut Reading) {
    match token.algorithm() {
        Some(alg) if alg != "HS256" && !alg.eq_ignore_ascii_case("none") => {
            odd.note("alg", format!("is {}; Twilio accepts only HS256", alg.escape_debug()));
        }
        _ => {}
    }
    if token.header_text("typ") != Some("JWT") {
        odd.note("typ", "is not JWT; Twilio refuses such a header (20102)");
    }
    match token.header.get("cty") {
        Some(cty) if cty == CONTENT_TYPE => {}
        Some(_) => odd.note("cty", format!("is another issuer's; Twilio requires {CONTENT_TYPE}")),
        None => odd.note("cty", format!("is missing; Twilio requires {CONTENT_TYPE} (20102)")),
    }
}

fn parties(token: &Jwt, odd: &mut Reading) {
    if token.text("iss").is_none_or(|iss| ApiKeySid::parse(iss).is_err()) {
        odd.note("iss", "is not the SID of an API key (SK...); Twilio refuses it (20103)");
    }
    if token.text("sub").is_none_or(|sub| AccountSid::parse(sub).is_err()) {
        odd.note("sub", "is not the SID of an account (AC...); Twilio refuses it (20103)");
    }
}

fn id(token: &Jwt, now: i64, odd: &mut Reading) {
    if token.text("jti").is_none_or(str::is_empty) {
        odd.note("jti", "is missing; it must be unique to each token");
    }
    let Some(seconds) = id_seconds(token) else { return };
    odd.note("jti", "consists of the key and a second; all tokens of that second share it");
    if seconds > now {
        odd.note("jti", "its second is in the future; twilio-java steps by 128 s");
    }
}

fn identity(claims: &Map<String, Value>, odd: &mut Reading) {
    let identity = match grant(claims, "identity") {
        Some(Value::String(identity)) if !identity.is_empty() => identity,
        Some(Value::String(_)) => {
            return odd.note("identity", "is empty; libraries disagree on its meaning");
        }
        Some(Value::Null) | None => {
            return odd.note(
                "identity",
                "is missing; products other than the player refuse such a token",
            );
        }
        Some(_) => return odd.note("identity", "is not a string; it should be"),
    };
    let word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    if grant(claims, "voice").is_some() && !identity.chars().all(word) {
        odd.note("identity", "Voice accepts only letters, digits and underscores");
    }
    if grant(claims, "video").is_some() && identity.chars().count() > 128 {
        odd.note("identity", "exceeds Video's limit of 128 characters");
    }
}

fn products(claims: &Map<String, Value>, odd: &mut Reading) {
    let Some(grants) = grants(claims) else {
        return odd.note("grants", "are missing; the token grants nothing (20106)");
    };
    if grants.keys().all(|name| name == "identity") {
        odd.note("grants", "have no product; the token grants nothing");
    }
    if grants.get("video").is_some_and(|video| !video.get("room").is_some_and(|it| it != "")) {
        odd.note("video", "names no room: its bearer can join any room of the account");
    }
    match grants.get("player") {
        Some(Value::Object(members)) => player(members, odd),
        Some(Value::String(_)) => odd.note(
            "player",
            "is a string; since its 1.0.0-preview.9 the player accepts only an object (20101)",
        ),
        Some(_) => odd.note("player", "is not an object; the player refuses the token (20101)"),
        None => {}
    }
}

fn player(members: &Map<String, Value>, odd: &mut Reading) {
    for member in ["playbackUrl", "playerStreamerSid"] {
        if members.get(member).and_then(Value::as_str).is_none_or(str::is_empty) {
            odd.note("player", format!("has no {member}; the player refuses the token (20101)"));
        }
    }
    if let Some(Value::String(mode)) = members.get("requestCredentials")
        && !["omit", "same-origin", "include"].contains(&mode.as_str())
    {
        odd.note(
            "player",
            "requestCredentials is not omit, same-origin or include; the player refuses the token \
             (20101)",
        );
    }
}

/// Warns if a token lives longer than Twilio allows, or longer than its player's grant.
fn life(players_grant: Option<End>, now: i64, odd: &mut Reading) {
    if odd.validity.life_over(MAX_TOKEN_TTL, now).is_some() {
        odd.note(
            "exp",
            "is over 24 h after its issue; products other than the player refuse it (20104, 20157)",
        );
    }
    if let Some((End { at, .. }, ends)) = players_grant.zip(odd.validity.ends)
        && ends.saturating_sub(at) > ROUNDING
    {
        let longer = length_after(at, ends);
        odd.note(
            "exp",
            format!(
                "is {longer} after the player's grant expires; in between the token seems valid, \
                 but the player fails (56001)"
            ),
        );
    }
}

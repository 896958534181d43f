//! Describes Twilio Access Tokens, including those from other issuers.

mod products;
#[cfg(test)]
mod tests;
mod warnings;

use serde_json::{Map, Value};

use crate::{
    provider::twilio::playback::PlaybackTimes,
    reading::{End, Jwt, Reading, View, whole_seconds, words::plain},
};

/// Describes an Access Token; `None` for any other JWT.
pub(in crate::provider) fn read(token: &Jwt, view: View<'_>) -> Option<Reading> {
    let is_twilios = |cty: &str| cty.starts_with("twilio-");
    if grants(&token.claims).is_none() && !token.header_text("cty").is_some_and(is_twilios) {
        return None;
    }
    let mut reading = Reading::of(token);
    // Five of Twilio's libraries state it only in the ID.
    reading.validity.issued = reading.validity.issued.or_else(|| id_seconds(token));
    reading.early_error = Some("20105");
    let players_grant = players_grant_end(&token.claims);
    reading.ends.extend(players_grant);
    warnings::add(token, players_grant, view.now.unix_seconds(), &mut reading);
    if let Some(mask) = view.mask {
        hide_grant(&mut reading.claims, mask);
    }
    describe(token, &mut reading);
    Some(reading)
}

/// Whether it is for a Twilio Live player.
pub(in crate::provider) fn has_player(token: &Jwt) -> bool {
    grant(&token.claims, "player").is_some()
}

/// Adds the identity, the products, the account and the key.
fn describe(token: &Jwt, reading: &mut Reading) {
    let identity = grant(&reading.claims, "identity").map_or_else(|| "none".to_owned(), plain);
    reading.add_line("identity", identity);
    for thing in products::things(grants(&reading.claims)) {
        reading.add_line("for", thing);
    }
    if let Some(url) = playback_url(&reading.claims) {
        let url = url.escape_debug().to_string();
        reading.add_line("playback", url);
    }
    for (label, claim) in [("account", "sub"), ("key", "iss"), ("token id", "jti")] {
        reading.add_claim(label, claim);
    }
    if let Some(region) = token.header.get("twr").filter(|region| !region.is_null()) {
        reading.add_line("region", plain(region));
    }
}

fn grants(claims: &Map<String, Value>) -> Option<&Map<String, Value>> {
    claims.get("grants")?.as_object()
}

/// A product's grant, or the identity.
fn grant<'a>(claims: &'a Map<String, Value>, product: &str) -> Option<&'a Value> {
    grants(claims)?.get(product)
}

fn playback_url(claims: &Map<String, Value>) -> Option<&str> {
    grant(claims, "player")?.get("playbackUrl")?.as_str()
}

/// The seconds in a token ID as Twilio's libraries make it: key, dash, seconds.
fn id_seconds(token: &Jwt) -> Option<i64> {
    let (key, seconds) = token.text("jti")?.rsplit_once('-')?;
    if key == token.text("iss")? { seconds.parse().ok() } else { None }
}

/// When the token in the playback URL expires.
fn players_grant_end(claims: &Map<String, Value>) -> Option<End> {
    let ends = PlaybackTimes::in_url(playback_url(claims)?)?.ends?;
    Some(End {
        name: "player_grant",
        words: "the player's grant: after that, no player can connect",
        at: whole_seconds(ends),
    })
}

/// Masks the secret part of the player's grant: the token in the playback URL.
fn hide_grant(claims: &mut Map<String, Value>, mask: &str) {
    let player = claims.get_mut("grants").and_then(|grants| grants.get_mut("player"));
    match player {
        // Old libraries include the whole grant as a string.
        Some(Value::String(grant)) => mask.clone_into(grant),
        Some(Value::Object(grant)) => {
            if let Some(Value::String(url)) = grant.get_mut("playbackUrl")
                && let Some((open, _)) = url.split_once('?')
            {
                *url = format!("{open}?{mask}");
            }
        }
        _ => {}
    }
}

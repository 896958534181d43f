//! What is odd about a token: the traps that tokens of other makers fall into.
//!
//! Sources: Twilio's page "Access Tokens" and its error codes 20101 to 20160; what its helper
//! libraries emit; the published source of `@twilio/live-player-sdk` 1.0.2.

use grantmint::{
    clock::WallTime,
    provider::twilio_live::ids::{AccountSid, ApiKeySid},
};
use serde_json::Value;

use super::{
    token::{Mortal, Token},
    words::length,
};

/// The `cty` of an Access Token.
const CONTENT_TYPE: &str = "twilio-fpa;v=1";

/// The longest life that Twilio takes.
const MAX_LIFE: i64 = 24 * 60 * 60;

/// What a token may outlive its grant by: both times are whole seconds.
const ROUNDING: i64 = 2;

/// Something odd, and what comes of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Oddity {
    /// The header or claim.
    pub(super) about: &'static str,
    pub(super) message: String,
}

/// All that is odd.
pub(super) fn of(token: &Token, now: WallTime) -> Vec<Oddity> {
    let mut odd = Found(Vec::new());
    let now = now.unix_seconds();
    header(token, &mut odd);
    if token.grants().is_none() && token.header.get("cty").is_none() {
        odd.note("cty", "this is no Twilio Access Token; only what every JWT has was looked at");
    } else {
        content_type(token, &mut odd);
        parties(token, &mut odd);
        id(token, now, &mut odd);
        identity(token, &mut odd);
        grants(token, &mut odd);
    }
    times(token, now, &mut odd);
    outlived(token, &mut odd);
    odd.0
}

/// A signature that is shorter than its algorithm's: the end of the token is missing.
pub(super) fn of_cut_signature(token: &Token) -> Option<Oddity> {
    let message = match token.missing_of_signature() {
        0 => return None,
        _ if token.signature.is_empty() => "is missing".to_owned(),
        1 => "its last character is missing".to_owned(),
        missing => format!("its last {missing} characters are missing"),
    };
    Some(Oddity { about: "signature", message })
}

struct Found(Vec<Oddity>);

impl Found {
    fn note(&mut self, about: &'static str, message: impl Into<String>) {
        self.0.push(Oddity { about, message: message.into() });
    }
}

fn header(token: &Token, odd: &mut Found) {
    match token.header.get("alg").and_then(Value::as_str) {
        Some("HS256") => {}
        Some(alg) if !alg.eq_ignore_ascii_case("none") => {
            odd.note("alg", format!("is {}; Twilio takes HS256 only", alg.escape_debug()));
        }
        _ => odd.note("alg", "the token is not signed: nobody should take it"),
    }
    if token.header.get("typ") != Some(&Value::from("JWT")) {
        odd.note("typ", "is not JWT; Twilio refuses such a header (20102)");
    }
}

fn content_type(token: &Token, odd: &mut Found) {
    match token.header.get("cty") {
        Some(cty) if cty == CONTENT_TYPE => {}
        Some(_) => odd.note("cty", format!("is another maker's; Twilio wants {CONTENT_TYPE}")),
        None => odd.note("cty", format!("is missing; Twilio wants {CONTENT_TYPE} (20102)")),
    }
}

fn parties(token: &Token, odd: &mut Found) {
    if token.text("iss").is_none_or(|iss| ApiKeySid::parse(iss).is_err()) {
        odd.note("iss", "is not the SID of an API key (SK...); Twilio refuses it (20103)");
    }
    if token.text("sub").is_none_or(|sub| AccountSid::parse(sub).is_err()) {
        odd.note("sub", "is not the SID of an account (AC...); Twilio refuses it (20103)");
    }
}

fn id(token: &Token, now: i64, odd: &mut Found) {
    if token.text("jti").is_none_or(str::is_empty) {
        odd.note("jti", "is missing; it should be unique to each token");
    }
    let Some(seconds) = token.id_seconds() else { return };
    odd.note("jti", "is the key and a second; all tokens of that second share it");
    if seconds > now {
        odd.note("jti", "its second is yet to come; twilio-java steps by 128 s");
    }
}

fn identity(token: &Token, odd: &mut Found) {
    let identity = match token.grant("identity") {
        Some(Value::String(identity)) if !identity.is_empty() => identity,
        Some(Value::String(_)) => {
            return odd.note("identity", "is empty; libraries disagree on that");
        }
        Some(Value::Null) | None => {
            return odd.note("identity", "is missing; products other than the player refuse that");
        }
        Some(_) => return odd.note("identity", "is not a text; it should be one"),
    };
    let word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    if token.grant("voice").is_some() && !identity.chars().all(word) {
        odd.note("identity", "Voice takes letters, digits and underscores only");
    }
    if token.grant("video").is_some() && identity.chars().count() > 128 {
        odd.note("identity", "is longer than the 128 characters that Video takes");
    }
}

fn grants(token: &Token, odd: &mut Found) {
    let Some(grants) = token.grants() else {
        return odd.note("grants", "are missing; the token opens nothing (20106)");
    };
    if grants.keys().all(|name| name == "identity") {
        odd.note("grants", "hold no product's; the token opens nothing");
    }
    let Some(player) = grants.get("player") else { return };
    let Some(player) = player.as_object() else {
        let what = match player {
            Value::String(_) => {
                "is a text; since its 1.0.0-preview.9 the player takes an object only (20101)"
            }
            _ => "is no object; the player refuses the token (20101)",
        };
        return odd.note("player", what);
    };
    for member in ["playbackUrl", "playerStreamerSid"] {
        if player.get(member).and_then(Value::as_str).is_none_or(str::is_empty) {
            odd.note("player", format!("has no {member}; the player refuses the token (20101)"));
        }
    }
    if let Some(Value::String(mode)) = player.get("requestCredentials")
        && !["omit", "same-origin", "include"].contains(&mode.as_str())
    {
        odd.note(
            "player",
            "requestCredentials is none of omit, same-origin and include; the player refuses the \
             token (20101)",
        );
    }
}

fn times(token: &Token, now: i64, odd: &mut Found) {
    let (issued, starts) = (token.issued(), token.time("nbf"));
    let claimed = token.time("iat");
    match claimed {
        None => odd.note("iat", "is missing; when it was issued is not told"),
        Some(at) if at > now => {
            odd.note("iat", format!("is {} ahead; a clock is off, here or there", ahead(at, now)));
        }
        Some(_) => {}
    }
    match (starts, issued) {
        (Some(starts), _) if starts > now => odd.note(
            "nbf",
            format!("is {} ahead; until then it is refused (20105)", ahead(starts, now)),
        ),
        (Some(starts), Some(issued)) if starts >= issued => odd.note(
            "nbf",
            "is the second of its issue; who has a slower clock refuses it (20105): leave it out, \
             or set it back a minute",
        ),
        _ => {}
    }
    let Some(ends) = token.time("exp") else {
        return odd.note("exp", "is missing or no number; a token should end");
    };
    let begins = issued.max(starts).unwrap_or(i64::MIN);
    if ends <= begins {
        odd.note("exp", "is not after its start; it was never valid");
    } else if ends.saturating_sub(issued.or(starts).unwrap_or(now)) > MAX_LIFE {
        odd.note(
            "exp",
            "is over 24 h after its issue; products other than the player refuse it (20104, 20157)",
        );
    }
}

/// A token that lives on when its player's grant is dead.
fn outlived(token: &Token, odd: &mut Found) {
    if let [first, second] = token.ends()[..]
        && first.what == Mortal::PlayersGrant
        && second.at.saturating_sub(first.at) > ROUNDING
    {
        let longer = length(second.at.saturating_sub(first.at).unsigned_abs());
        odd.note(
            "exp",
            format!(
                "is {longer} after the end of the player's grant; in between the token looks good, \
                 and the player fails (56001)"
            ),
        );
    }
}

fn ahead(at: i64, now: i64) -> String {
    length(at.saturating_sub(now).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::token::tests::{token, vectors},
        *,
    };

    const NOW: i64 = 1_700_000_010;

    fn odd(token: &Token) -> Vec<(&'static str, String)> {
        let found = of(token, WallTime::from_unix_seconds(NOW));
        found.into_iter().map(|odd| (odd.about, odd.message)).collect()
    }

    fn good() -> (Value, Value) {
        let header = json!({"alg": "HS256", "typ": "JWT", "cty": CONTENT_TYPE, "twr": null});
        let claims = json!({
            "iss": "SK0123456789abcdef0123456789abcdef",
            "sub": "AC0123456789abcdef0123456789abcdef",
            "jti": "SK0123456789abcdef0123456789abcdef-1700000000-0123abcd",
            "iat": 1_700_000_000,
            "exp": 1_700_000_060,
            "grants": {
                "identity": "alice",
                "player": {
                    "playbackUrl": "https://x.live-video.net/v1?player_version=1",
                    "playerStreamerSid": "VJ0123456789abcdef0123456789abcdef",
                    "requestCredentials": null,
                },
            },
        });
        (header, claims)
    }

    /// What is odd where one member of a good token is another; none where it is left out.
    fn odd_with(pointer: &str, value: Option<Value>) -> Vec<(&'static str, String)> {
        let (header, claims) = good();
        let mut parts = json!({"header": header, "claims": claims});
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = parts.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Some(value) => parent.insert(name.to_owned(), value),
            None => parent.remove(name),
        };
        odd(&token(&parts["header"], &parts["claims"]))
    }

    #[test]
    fn nothing_is_odd_about_a_good_token() {
        let (header, claims) = good();
        assert_eq!(odd(&token(&header, &claims)), []);
    }

    #[test]
    fn each_trap_is_told_by_itself() {
        let player = "/claims/grants/player";
        for (pointer, value, about, told) in [
            ("/header/alg", Some(json!("none")), "alg", "not signed"),
            ("/header/alg", None, "alg", "not signed"),
            ("/header/alg", Some(json!("HS512")), "alg", "HS256 only"),
            ("/header/typ", None, "typ", "20102"),
            ("/header/cty", None, "cty", "missing"),
            ("/header/cty", Some(json!("stringee-api;v=1")), "cty", "another maker's"),
            ("/claims/iss", Some(json!("AC0123456789abcdef0123456789abcdef")), "iss", "20103"),
            ("/claims/sub", None, "sub", "20103"),
            ("/claims/jti", None, "jti", "missing"),
            (
                "/claims/jti",
                Some(json!("SK0123456789abcdef0123456789abcdef-1700000000")),
                "jti",
                "share it",
            ),
            ("/claims/grants/identity", None, "identity", "missing"),
            ("/claims/grants/identity", Some(json!("")), "identity", "empty"),
            ("/claims/grants/identity", Some(json!(12_345)), "identity", "not a text"),
            (player, Some(json!("{}")), "player", "is a text"),
            (player, Some(json!(null)), "player", "no object"),
            ("/claims/grants/player/playbackUrl", None, "player", "no playbackUrl"),
            (
                "/claims/grants/player/playerStreamerSid",
                Some(json!("")),
                "player",
                "no playerStreamerSid",
            ),
            (
                "/claims/grants/player/requestCredentials",
                Some(json!("")),
                "player",
                "requestCredentials",
            ),
            (player, None, "grants", "opens nothing"),
            ("/claims/iat", None, "iat", "missing"),
            ("/claims/iat", Some(json!(NOW + 30)), "iat", "30 s ahead"),
            ("/claims/nbf", Some(json!(NOW + 30)), "nbf", "30 s ahead"),
            ("/claims/nbf", Some(json!(1_700_000_000)), "nbf", "the second of its issue"),
            ("/claims/exp", None, "exp", "missing"),
            ("/claims/exp", Some(json!("soon")), "exp", "no number"),
            ("/claims/exp", Some(json!(1_700_000_000)), "exp", "never valid"),
            ("/claims/exp", Some(json!(1_700_086_401)), "exp", "over 24 h"),
        ] {
            let odd = odd_with(pointer, value);
            let [(one, message)] = &odd[..] else { panic!("{pointer}: {odd:?}") };
            assert!(*one == about && message.contains(told), "{pointer}: {odd:?}");
        }
        // A minute before the issue, and just a day, are as they should be.
        assert_eq!(odd_with("/claims/nbf", Some(json!(1_699_999_940))), []);
        assert_eq!(odd_with("/claims/exp", Some(json!(1_700_086_400))), []);
    }

    #[test]
    fn other_products_have_rules_of_their_own() {
        let with = |product: &str, identity: String| {
            let (header, mut claims) = good();
            claims["grants"] = json!({product: {}, "identity": identity});
            odd(&token(&header, &claims))
        };
        assert_eq!(with("voice", "alice_1".to_owned()), []);
        assert_eq!(with("voice", "alice@example.com".to_owned()).len(), 1);
        assert_eq!(with("video", "u".repeat(128)), []);
        assert_eq!(with("video", "u".repeat(129)).len(), 1);
    }

    #[test]
    fn a_token_of_no_twilio_maker_is_said_to_be_one() {
        let claims = json!({"iat": 1_700_000_000, "exp": 1_700_000_060});
        let odd = odd(&token(&json!({"alg": "HS256", "typ": "JWT"}), &claims));
        assert!(odd.len() == 1 && odd[0].1.contains("no Twilio Access Token"), "{odd:?}");
    }

    #[test]
    fn the_libraries_traps_are_found_in_their_tokens() {
        let vectors = vectors();
        let odd_in = |id: &str| {
            let (_, jwt) = vectors.iter().find(|(name, _)| name == id).unwrap();
            odd(&Token::decode(jwt).unwrap())
        };
        for (id, about, told) in [
            ("basic@twilio-python-9.13.0", "jti", "share it"),
            ("basic@twilio-python-9.13.0", "iat", "missing"),
            ("basic@twilio-python-9.13.0", "nbf", "the second of its issue"),
            ("basic@twilio-python-9.13.0", "exp", "59 min after the end of the player's grant"),
            ("ttl-86401@twilio-node-6.2.0", "exp", "over 24 h"),
            ("ttl-0@twilio-python-9.13.0", "exp", "never valid"),
            ("grant-string-legacy@twilio-node-6.2.0", "player", "is a text"),
            ("grant-null@twilio-python-7.16.5", "player", "no object"),
            ("grant-null@twilio-node-6.2.0", "player", "no playbackUrl"),
            ("no-grants@twilio-node-6.2.0", "grants", "opens nothing"),
            ("node-alg-HS384@twilio-node-6.2.0", "alg", "HS256 only"),
            ("id-none@twilio-python-9.13.0", "identity", "missing"),
            ("id-int@twilio-python-9.13.0", "identity", "not a text"),
            ("now-2038@twilio-node-6.2.0", "iat", "ahead"),
            ("now-2038@twilio-node-6.2.0", "jti", "yet to come"),
        ] {
            let odd = odd_in(id);
            let found = odd.iter().any(|(one, message)| *one == about && message.contains(told));
            assert!(found, "{id}: {about} {told}: {odd:?}");
        }
    }
}

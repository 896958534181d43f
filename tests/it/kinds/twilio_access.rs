//! Twilio's Access Tokens: ours against those that `twilio-node` made of the same inputs, and the
//! whole way through the real binary.

use grantmint::config::Profile;
use serde_json::{Map, Value, json};

use super::{Inputs, assert_refused, assert_signed, in_toml, minted, serve, vectors};

const VECTORS: &str = include_str!("../../vectors/twilio-access.json");

const SECRET: &str = "dE78NLMVLwChBeS8MKOdEf4Z9zjuZ88w";

const OWN: &str = "[profiles.client]\nkind = \"twilio-access\"\n\
                   account_sid = \"AC0123456789abcdef0123456789abcdef\"\n\
                   api_key_sid = \"SK89abcdef0123456789abcdef01234567\"\n";

/// A profile with these lines.
fn profile(lines: &str) -> Result<Profile, String> {
    super::profile(&format!("{OWN}api_key_secret_env = \"SECRET\"\n{lines}\n"), SECRET)
}

/// The grants as a profile writes them, and whether a client takes calls.
fn grants(inputs: &Inputs) -> (Map<String, Value>, bool) {
    let mut grants = inputs.params["grants"].as_object().unwrap().clone();
    if let Some(video) = grants.get_mut("video") {
        // The room is the call's resource.
        *video = json!({});
    }
    let mut takes_calls = false;
    if let Some(voice) = grants.get_mut("voice").and_then(Value::as_object_mut) {
        takes_calls = voice.remove("incoming_allow") == Some(true.into());
        let mut outgoing = Map::new();
        for (from, to) in
            [("outgoing_application_sid", "application_sid"), ("outgoing_params", "params")]
        {
            outgoing.extend(voice.remove(from).map(|value| (to.to_owned(), value)));
        }
        if !outgoing.is_empty() {
            voice.insert("outgoing".to_owned(), outgoing.into());
        }
    }
    (grants, takes_calls)
}

/// What else a profile says for tokens of these inputs.
fn other_lines(inputs: &Inputs, grants: &Map<String, Value>) -> String {
    let mut lines = Vec::new();
    if grants.contains_key("video") {
        lines.push(match inputs.resource.as_deref().map(Value::from) {
            Some(room) => format!("resources = [{room}]"),
            None => "allow_unscoped = true".to_owned(),
        });
    }
    lines.extend(inputs.params.get("region").map(|region| format!("region = {region}")));
    let nbf = inputs.params.get("nbf").and_then(Value::as_i64);
    lines.extend(nbf.map(|nbf| format!("nbf_backdate = \"{}s\"", inputs.now - nbf)));
    lines.join("\n")
}

#[test]
fn our_tokens_mean_what_the_librarys_tokens_mean() {
    let mut applied = 0;
    for vector in vectors(VECTORS) {
        let (mut grants, takes_calls) = grants(&vector.inputs);
        let lines = other_lines(&vector.inputs, &grants);
        let incoming = [("incoming".to_owned(), Value::from(takes_calls))];
        let with = |grants: &Map<String, Value>, more: &str, params: &[(String, Value)]| {
            let text = format!("{lines}\ngrants = {}\n{more}", in_toml(&grants.clone().into()));
            let ours = vector.inputs.mint(&profile(&text).unwrap(), params).unwrap();
            assert_signed(&ours.token, SECRET);
            assert_eq!(ours.claims["jti"], Value::from(ours.id.clone()), "{}", vector.id);
            vector.assert_same(&ours);
        };
        if grants.contains_key("voice") {
            // Calls say whether a client takes calls, or the profile does, in either way.
            with(&grants, "caller_params = [\"incoming\"]", &incoming);
            with(&grants, &format!("params = {{ incoming = {takes_calls} }}"), &[]);
            if takes_calls {
                grants["voice"]["incoming"] = json!({"allow": true});
                with(&grants, "", &[]);
            }
        } else {
            with(&grants, "", &[]);
        }
        applied += 1;
    }
    assert_eq!(applied, 16);
}

#[test]
fn a_constant_room_is_the_profiles_and_no_resource_of_a_call() {
    let [standup, ..] = &vectors(VECTORS)[..] else { panic!() };
    let profile = profile("grants = { video = { room = \"DailyStandup\" } }").unwrap();
    let inputs = Inputs { resource: None, params: Map::new(), ..standup.inputs.clone() };
    standup.assert_same(&inputs.mint(&profile, &[]).unwrap());
}

#[test]
fn a_profile_names_products_and_says_once_who_takes_calls() {
    let video = "grants = { video = {} }";
    let voice = "grants = { voice = { incoming = { allow = true } } }";
    for (lines, told) in [
        (String::new(), "client.grants: needs at least one product"),
        ("grants = {}".to_owned(), "client.grants: needs at least one product"),
        (video.to_owned(), "client.resources: needs at least one resource"),
        ("grants = { vidio = {} }".to_owned(), "unknown field `vidio`"),
        (format!("{video}\nresources = [\"a\"]\nmax_ttl = \"25h\""), "must be from 3s to 1day"),
        (
            format!("{video}\nresources = [\"a\"]\ncaller_params = [\"incoming\"]"),
            "client.caller_params: has no meaning here: the one parameter is incoming",
        ),
        (
            format!("{voice}\ncaller_params = [\"incoming\"]"),
            "client.caller_params: excludes grants.voice.incoming",
        ),
        (format!("{voice}\nparams = {{ incoming = true }}"), "params: excludes grants.voice.inc"),
        (format!("{voice}\niat_backdate = \"5s\""), "client.iat_backdate: unknown key"),
        (format!("{voice}\nallow_unscoped = true"), "client.allow_unscoped: unknown key"),
        (format!("{voice}\nunique = false"), "client.unique: must be true"),
    ] {
        let problem = profile(&lines).unwrap_err();
        assert!(problem.contains(told) && problem.lines().count() == 1, "{told}: {problem}");
    }
    let weak = |more: &str| {
        let text = format!("{OWN}api_key_secret_env = \"SECRET\"\n{voice}\n{more}\n");
        super::profile(&text, "too-short").map(|_| ())
    };
    assert!(weak("").unwrap_err().contains("allow_weak_secret = true"));
    assert_eq!(weak("allow_weak_secret = true"), Ok(()));
}

#[tokio::test]
async fn calls_name_a_room_and_say_who_takes_calls() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "{OWN}api_key_secret_file = \"SECRET_FILE\"\nallow_resources = [\"room-*\"]\n\
         caller_params = [\"incoming\"]\n\
         [profiles.client.grants.video]\n[profiles.client.grants.voice]\n"
    );
    let serve = serve(directory.path(), &text, SECRET).await;
    let room = ["agent_7", "--resource", "room-1"];
    let plain = minted(&serve, &room).await;
    let grants = json!({"identity": "agent_7", "video": {"room": "room-1"}, "voice": {}});
    assert_eq!(plain["grants"], grants);
    let takes_calls = minted(&serve, &[&room[..], &["--param", "incoming=true"]].concat()).await;
    assert_eq!(takes_calls["grants"]["voice"], json!({"incoming": {"allow": true}}));
    for (arguments, told) in [
        (&["agent_7"][..], &["RESOURCE_REQUIRED"][..]),
        (&["agent_7", "--resource", "cellar"], &["RESOURCE_NOT_FOUND"]),
        (&["agent-7", "--resource", "room-1"], &["IDENTITY_INVALID", "digits and underscores"]),
        (&[&"a".repeat(129), "--resource", "room-1"], &["IDENTITY_INVALID", "128"]),
        (
            &["a", "--resource", "room-1", "--param", "incoming=1"],
            &["PARAM_INVALID", "options.params.incoming: must be true or false"],
        ),
        (
            &["a", "--resource", "room-1", "--param", "video={}"],
            &["PARAM_INVALID", "options.params.video: is no parameter"],
        ),
        (&["a", "--resource", "room-1", "--ttl", "25h"], &["TTL_OUT_OF_RANGE", "at most 86400s"]),
    ] {
        assert_refused(&serve, arguments, told).await;
    }
}

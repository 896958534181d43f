//! Twilio's Access Tokens: ours compared with those that `twilio-node` made from the same inputs,
//! and the real binary from configuration to token.

use grantmint::{
    app::selftest::{self, Verdict},
    config::Profile,
    provider::vectors::Case,
};
use serde_json::json;

use super::{assert_refused, assert_vectors, minted, serve, vectors};

const SECRET: &str = "dE78NLMVLwChBeS8MKOdEf4Z9zjuZ88w";

const OWN: &str = "[profiles.client]\nkind = \"twilio-access\"\n\
                   account_sid = \"AC0123456789abcdef0123456789abcdef\"\n\
                   api_key_sid = \"SK89abcdef0123456789abcdef01234567\"\n";

/// A profile with these lines.
fn profile(lines: &str) -> Result<Profile, String> {
    super::profile(&format!("{OWN}api_key_secret_env = \"SECRET\"\n{lines}\n"), SECRET)
}

#[test]
fn our_tokens_equal_the_librarys_tokens() {
    assert_vectors("twilio-access", 16, &[]);
}

#[test]
fn constant_room_is_not_a_call_resource() {
    let mut standup = vectors("twilio-access").swap_remove(0);
    let Case::Minted { setups, .. } = &mut standup.case else { panic!("{standup:?}") };
    let lines = "grants = { video = { room = \"DailyStandup\" } }";
    setups[0].profile = format!("{OWN}api_key_secret_env = \"SECRET\"\n{lines}\n");
    setups[0].request.resource = None;
    assert_eq!(selftest::check(&standup), Verdict::Same { signatures: 1, but: None });
}

#[test]
fn profile_requires_products_and_one_incoming_setting() {
    let video = "grants = { video = {} }";
    let voice = "grants = { voice = { incoming = { allow = true } } }";
    for (lines, reported) in [
        (String::new(), "client.grants: needs at least one product"),
        ("grants = {}".to_owned(), "client.grants: needs at least one product"),
        (video.to_owned(), "client.resources: needs at least one resource"),
        ("grants = { vidio = {} }".to_owned(), "unknown field `vidio`"),
        (format!("{video}\nresources = [\"a\"]\nmax_ttl = \"25h\""), "must be from 3s to 1day"),
        (
            format!("{video}\nresources = [\"a\"]\ncaller_params = [\"incoming\"]"),
            "client.caller_params: has no effect here: the only parameter is incoming",
        ),
        (
            format!("{voice}\ncaller_params = [\"incoming\"]"),
            "client.caller_params: conflicts with grants.voice.incoming",
        ),
        (
            format!("{voice}\nparams = {{ incoming = true }}"),
            "params: conflicts with grants.voice.inc",
        ),
        (format!("{voice}\niat_backdate = \"5s\""), "client.iat_backdate: unknown key"),
        (format!("{voice}\nallow_unscoped = true"), "client.allow_unscoped: unknown key"),
        (format!("{voice}\nunique = false"), "client.unique: must be true"),
    ] {
        let problem = profile(&lines).unwrap_err();
        assert!(
            problem.contains(reported) && problem.lines().count() == 1,
            "{reported}: {problem}"
        );
    }
    let weak = |more: &str| {
        let text = format!("{OWN}api_key_secret_env = \"SECRET\"\n{voice}\n{more}\n");
        super::profile(&text, "too-short").map(|_| ())
    };
    assert!(weak("").unwrap_err().contains("allow_weak_secret = true"));
    assert_eq!(weak("allow_weak_secret = true"), Ok(()));
}

#[tokio::test]
async fn calls_set_the_room_and_incoming_setting() {
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
    for (arguments, reported) in [
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
            &["PARAM_INVALID", "options.params.video: is not a parameter"],
        ),
        (&["a", "--resource", "room-1", "--ttl", "25h"], &["TTL_OUT_OF_RANGE", "at most 86400s"]),
    ] {
        assert_refused(&serve, arguments, reported).await;
    }
}

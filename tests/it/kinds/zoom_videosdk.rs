//! Tokens of Zoom's Video SDK: ours compared with those that Zoom's sample made and those made as
//! its guide shows, and the real binary from configuration to token.

use grantmint::config::Profile;
use serde_json::{Value, json};

use super::{Inputs, assert_refused, assert_vectors, minted, serve};

const SECRET: &str = "L4FvUhDjrgrSCTdMIhn89TrIA3v2yCa5Q7l8";

const OWN: &str = "[profiles.session]\nkind = \"zoom-videosdk\"\n\
                   sdk_key = \"3mMGO2rr3Cn9QBLZPdk0T9\"\n";

/// A profile with these lines.
fn profile(lines: &str) -> Result<Profile, String> {
    super::profile(&format!("{OWN}sdk_secret_env = \"SECRET\"\n{lines}\n"), SECRET)
}

#[test]
fn our_tokens_equal_zooms_tokens() {
    let others = [
        ("refused", 3),
        ("36 characters: refused by the sample, accepted by the guide and here", 1),
        ("regions separated by commas and spaces, which the sample drops", 1),
    ];
    assert_vectors("zoom-videosdk", 7, &others);
}

#[test]
fn host_role_requires_an_explicit_setting() {
    let inputs = Inputs {
        now: 1_700_000_000,
        ttl_seconds: None,
        identity: Some("alice".to_owned()),
        resource: Some("standup".to_owned()),
    };
    let role = |lines: &str, params: &[(String, Value)]| {
        let profile = profile(&format!("resources = [\"standup\"]\n{lines}")).unwrap();
        inputs.mint(&profile, params).map(|read| read.claims["role_type"].clone())
    };
    let host = [("role_type".to_owned(), json!(1))];
    assert_eq!(role("", &[]), Ok(json!(0)));
    assert_eq!(role("", &host), Err("role_type cannot be set by calls".to_owned()));
    assert_eq!(role("params = { role_type = 1 }", &[]), Ok(json!(1)));
    let open = "caller_params = [\"role_type\"]";
    assert_eq!(role(open, &[]), Ok(json!(0)));
    assert_eq!(role(open, &host), Ok(json!(1)));
}

#[test]
fn profile_requires_sessions_zoom_accepts() {
    let good = "resources = [\"standup\"]";
    let long = "s".repeat(201);
    for (lines, reported) in [
        (String::new(), "session.resources: needs at least one resource"),
        ("resources = [\"a/b\"]".to_owned(), "is not a session name"),
        ("resources = [\"caf\u{e9}\"]".to_owned(), "is not a session name"),
        (format!("resources = [\"{long}\"]"), "is not a session name"),
        (format!("{good}\nidentity_claim = \"sub\""), "identity_claim: must be \"user_key\", or"),
        (format!("{good}\nmax_ttl = \"49h\""), "max_ttl: must be from 30m to 2days"),
        (format!("{good}\nunique = false"), "unique: requires identity = \"none\""),
        (format!("{good}\nidentity = \"none\""), "unique: must be false"),
        (format!("{good}\nnbf_backdate = \"1s\""), "nbf_backdate: unknown key"),
        (format!("{good}\nallow_unscoped = true"), "allow_unscoped: unknown key"),
    ] {
        let problem = profile(&lines).unwrap_err();
        assert!(
            problem.contains(reported) && problem.lines().count() == 1,
            "{reported}: {problem}"
        );
    }
    let symbols = r"resources = ['Aa0 !#$%&()+-:;<=.>?@[]^_{}|~,\']";
    assert!(profile(symbols).is_ok());
    assert!(
        super::profile(&format!("{OWN}sdk_secret_env = \"SECRET\"\n{good}\n"), "short")
            .unwrap_err()
            .contains("allow_weak_secret = true")
    );
}

#[tokio::test]
async fn calls_set_open_parameters_within_zooms_limits() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "{OWN}sdk_secret_file = \"SECRET_FILE\"\nallow_resources = [\"room*\"]\n\
         caller_params = [\"session_key\", \"geo_regions\", \"cloud_recording_option\"]\n"
    );
    let serve = serve(directory.path(), &text, SECRET).await;
    let room = ["alice", "--resource", "room 1"];
    let plain = minted(&serve, &room).await;
    assert_eq!((&plain["user_key"], &plain["role_type"]), (&json!("alice"), &json!(0)));
    assert_eq!((&plain["tpc"], &plain["version"]), (&json!("room 1"), &json!(1)));
    let life = plain["exp"].as_i64().unwrap() - plain["iat"].as_i64().unwrap();
    assert_eq!(life, 7_200);
    let set = ["--ttl", "30m", "--param", "session_key=k", "--param", "geo_regions=US,AU"];
    let set = minted(&serve, &[&room[..], &set].concat()).await;
    assert_eq!((&set["session_key"], &set["geo_regions"]), (&json!("k"), &json!("US,AU")));
    assert_eq!(set["exp"].as_i64().unwrap() - set["iat"].as_i64().unwrap(), 1_800);

    let key = format!("session_key={}", "k".repeat(37));
    for (more, reported) in [
        (&["--ttl", "1799s"][..], &["TTL_OUT_OF_RANGE", "at least 1800s"][..]),
        (&["--ttl", "49h"], &["TTL_OUT_OF_RANGE", "at most 172800s"]),
        (&["--param", "role_type=1"], &["PARAM_NOT_ALLOWED", "options.params.role_type"]),
        (&["--param", &key], &["PARAM_INVALID", "options.params.session_key: must be a string of"]),
        (&["--param", "geo_regions=FR"], &["PARAM_INVALID", "options.params.geo_regions"]),
        (
            &["--param", "cloud_recording_option=2"],
            &["PARAM_INVALID", "options.params.cloud_recording_option: must be a whole number"],
        ),
    ] {
        assert_refused(&serve, &[&room[..], more].concat(), reported).await;
    }
    let user = "u".repeat(37);
    assert_refused(&serve, &[&user, "--resource", "room 1"], &["IDENTITY_INVALID", "36"]).await;
    assert_refused(&serve, &["alice"], &["RESOURCE_REQUIRED"]).await;
}

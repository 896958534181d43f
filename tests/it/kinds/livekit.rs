//! LiveKit's tokens: ours compared with those that LiveKit's libraries made from the same inputs,
//! and the real binary from configuration to token.

use std::{fs, path::Path};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use grantmint::config::Profile;
use serde_json::{Map, Value, json};

use super::{assert_vectors, in_toml};
use crate::support::{CommandOutput, Serve, run};

const SECRET: &str = "ugVuYHkADn89s61poB22XUaASmhRGVlJjcLnfuGpRFku";

/// A profile with this scope and these constants.
fn profile(scope: &str, params: &Map<String, Value>) -> Result<Profile, String> {
    let params = in_toml(&params.clone().into());
    let text = format!(
        "[profiles.room]\nkind = \"livekit\"\napi_key = \"APItestShared\"\n\
         api_secret_env = \"SECRET\"\nparams = {params}\n{scope}\n"
    );
    super::profile(&text, SECRET)
}

#[test]
fn our_tokens_equal_the_libraries_tokens() {
    let others = [
        ("refused", 2),
        ("no typ in the header, which ours have", 14),
        ("an empty list of sources, which restricts nothing", 1),
        ("no right in a room: not for participants", 1),
        ("no right to join: not for participants", 2),
    ];
    assert_vectors("livekit", 2, &others);
}

#[test]
fn profile_requires_rooms_and_no_ineffective_grants() {
    let problem =
        |scope: &str, params: Value| profile(scope, params.as_object().unwrap()).unwrap_err();
    assert!(problem("", json!({})).contains("resources: needs at least one resource"));
    assert!(profile("allow_resources = [\"room-*\"]", &Map::new()).is_ok());
    let rooms = "resources = [\"lobby\"]";
    for (params, reported) in [
        (json!({"can_publish_sources": []}), "must be a list of at least one of camera"),
        (json!({"can_publish": "false"}), "can_publish: must be true or false"),
        (json!({"metadata": {"seat": 12}}), "metadata: must be a string"),
        (json!({"room_config": {"egress": {}}}), "room_config: must be an object without egress"),
        (json!({"can_publsh": true}), "did you mean can_publish?"),
    ] {
        let problem = problem(rooms, params);
        assert!(problem.starts_with("f.toml:5: profiles.room.params: "), "{problem}");
        assert!(problem.contains(reported), "{reported}: {problem}");
    }
    for (lines, reported) in [
        ("max_ttl = \"1s\"", "profiles.room.max_ttl: must be from 3s to"),
        ("margin = \"1h\"\nmax_ttl = \"30m\"", "profiles.room.max_ttl: must be from 1h 1s to"),
        ("allow_unscoped = true\ndefault_resource = \"lobby\"", "excludes allow_unscoped"),
        ("default_resource = \"cellar\"", "is not among the resources"),
    ] {
        let problem = problem(&format!("{rooms}\n{lines}"), json!({}));
        assert!(problem.contains(reported), "{reported}: {problem}");
    }
    for key in ["grant_ttl", "refresh_after", "budget", "upstream", "expiry_policy"] {
        let problem = problem(&format!("{rooms}\n{key} = \"60s\""), json!({}));
        assert!(problem.contains(&format!("profiles.room.{key}: unknown key")), "{problem}");
    }
}

/// A configuration file of a profile with rooms, and its secret.
fn configured(directory: &Path, lines: &str) -> [String; 2] {
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (secret, config) = (path("secret"), path("config"));
    fs::write(&secret, SECRET).unwrap();
    let text = format!(
        "[profiles.room]\nkind = \"livekit\"\napi_key = \"APItestShared\"\n\
         api_secret_file = \"{secret}\"\nallow_resources = [\"room-*\"]\ntoken_ttl = \"10m\"\n\
         {lines}\n"
    );
    fs::write(&config, text).unwrap();
    [config, secret]
}

#[tokio::test]
async fn calls_set_only_open_parameters() {
    let directory = tempfile::tempdir().unwrap();
    let [config, _] = configured(
        directory.path(),
        "params = { can_publish = false, metadata = \"seat\" }\n\
         caller_params = [\"name\", \"can_publish\", \"attributes\"]",
    );
    let serve = Serve::start(&["--config", &config]).await;
    let mint = async |params: &[&str]| {
        let room = ["mint", "alice", "--resource", "room-1", "--server", &serve.server];
        let params = params.iter().flat_map(|param| ["--param", param]);
        run(&room.into_iter().chain(params).collect::<Vec<_>>()).await
    };
    let claims = |ran: &CommandOutput| {
        let claims = ran
            .stdout
            .lines()
            .next()
            .unwrap_or_default()
            .split('.')
            .nth(1)
            .unwrap_or_else(|| panic!("{}", ran.stderr));
        serde_json::from_slice::<Value>(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
    };
    let plain = claims(&mint(&[]).await);
    assert_eq!((&plain["video"]["canPublish"], &plain["name"]), (&json!(false), &Value::Null));
    let attributes = r#"attributes={"team": "red>"}"#;
    let set = claims(&mint(&["name=Zoë", "can_publish=true", attributes]).await);
    assert_eq!((&set["video"]["canPublish"], &set["name"]), (&json!(true), &json!("Zoë")));
    assert_eq!(set["attributes"], json!({"team": "red>"}));
    assert_eq!((&set["metadata"], &set["video"]["room"]), (&json!("seat"), &json!("room-1")));

    for (param, reason, field) in [
        ("metadata=mine", "PARAM_NOT_ALLOWED", "options.params.metadata: cannot be set by calls"),
        ("hidden=true", "PARAM_NOT_ALLOWED", "options.params.hidden"),
        ("room=cellar", "PARAM_INVALID", "options.params.room: is not a parameter"),
        ("room_create=true", "PARAM_NOT_ALLOWED", "options.params.room_create"),
        ("room_config={}", "PARAM_NOT_ALLOWED", "options.params.room_config"),
        ("can_publish=maybe", "PARAM_INVALID", "options.params.can_publish: must be true or false"),
        ("A B=1", "PARAM_INVALID", "options.params: is not a parameter"),
    ] {
        let refused = mint(&["name=secret-name", param]).await;
        assert_eq!(refused.code, Some(1), "{param}");
        assert!(refused.stderr.contains(reason), "{param}: {}", refused.stderr);
        assert!(refused.stderr.contains(field), "{param}: {}", refused.stderr);
        assert!(!refused.stderr.contains("secret-name"), "{}", refused.stderr);
    }
    let bulk = ["bulk", "--count", "3", "--resource", "room-1", "--param", "name=all"];
    let ran = run(&[&bulk[..], &["--server", &serve.server]].concat()).await;
    let tokens: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(tokens.len(), 3, "{}", ran.stderr);
    assert_eq!(claims(&ran)["name"], "all");
}

#[tokio::test]
async fn binary_mints_checks_lists_and_inspects_room_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let [config, secret] = configured(directory.path(), "params = { can_publish = false }");
    let tokens = directory.path().join("tokens").to_str().unwrap().to_owned();
    let checked = run(&["check", &config]).await;
    assert!(checked.stdout.contains("signed with the key alone"), "{}", checked.stderr);

    let serve = Serve::start(&["--config", &config]).await;
    let reported =
        async |arguments: &[&str]| run(&[arguments, &["--server", &serve.server]].concat()).await;
    let minted = reported(&["mint", "alice", "--resource", "room-1"]).await;
    assert_eq!(minted.code, Some(0), "{}", minted.stderr);
    let read = run(&["inspect", "--key-file", &secret, minted.stdout.trim()]).await;
    for line in ["identity    alice", "the room room-1", "not canPublish", "HS256, valid"] {
        assert!(read.stdout.contains(line), "{line}: {}{}", read.stdout, read.stderr);
    }
    for (resource, expected) in [("cellar", "RESOURCE_NOT_FOUND"), ("", "RESOURCE_REQUIRED")] {
        let refused = reported(&["mint", "alice", "--resource", resource]).await;
        assert!(refused.code != Some(0) && refused.stderr.contains(expected), "{}", refused.stderr);
    }
    let bulk = ["bulk", "--count", "1000", "--resource", "room-2", "-o", &tokens];
    assert_eq!(reported(&bulk).await.code, Some(0));
    assert_eq!(fs::read_to_string(&tokens).unwrap().lines().count(), 1_000);
    let grants = reported(&["grants"]).await;
    assert_eq!(grants.code, Some(0), "{}", grants.stderr);
    let (status, ready) = serve.page("/readyz").await;
    assert!(status == 200 && ready.starts_with("ready"), "{ready}");
}

//! Vendor libraries read our tokens, and refuse them under a wrong secret.

use std::{collections::BTreeMap, path::PathBuf, process::Stdio};

use serde_json::{Map, Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use super::{
    each::{CALLS, PROFILES},
    serve,
};
use crate::{
    python::{python, succeeds},
    support::{run, soon},
};

const SECRET: &str = "ugVuYHkADn89s61poB22XUaASmhRGVlJjcLnfuGpRFku";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A token of each profile, by the profile's name.
async fn minted() -> BTreeMap<&'static str, String> {
    let directory = tempfile::tempdir().unwrap();
    let serve = serve(directory.path(), PROFILES, SECRET).await;
    let mut tokens = BTreeMap::new();
    for (profile, call) in CALLS {
        let ask = [&["mint", "--ttl=45m", "--profile", profile], call].concat();
        let ran = run(&[&ask[..], &["--server", &serve.server]].concat()).await;
        assert_eq!(ran.code, Some(0), "{profile}: {}", ran.stderr);
        tokens.insert(profile, ran.stdout.trim().to_owned());
    }
    tokens
}

/// What Python's libraries read from these tokens.
async fn in_python(cases: Value) -> Vec<Value> {
    let mut reader = Command::new(python());
    reader.arg(root().join("tests/python/tokens.py")).env("PYTHONDONTWRITEBYTECODE", "1");
    reader.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = reader.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(cases.to_string().as_bytes()).await.unwrap();
    drop(input);
    let output = soon(child.wait_with_output()).await.unwrap();
    let reported = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{reported}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The claims except those that differ for each token, after checking the ttl.
fn stable_claims(mut claims: Value) -> Value {
    let members = claims.as_object_mut().unwrap();
    let times = ["iat", "exp"].map(|name| members.remove(name).and_then(|at| at.as_i64()));
    if let [Some(issue), Some(end)] = times {
        assert_eq!(end - issue, 45 * 60, "{claims}");
    }
    members.retain(|name, _| !matches!(name.as_str(), "nbf" | "jti"));
    claims
}

#[tokio::test]
async fn vendor_libraries_read_the_requested_values() {
    let tokens = minted().await;
    let algorithm = |profile: &str| match profile {
        "jitsi" => "HS512",
        "hasura" => "HS384",
        _ => "HS256",
    };
    let cases = tokens.iter().map(|(profile, token)| {
        let audience = (*profile == "jitsi").then_some("jitsi");
        json!({"kind": profile, "token": token, "secret": SECRET, "key": "APItestShared",
            "algorithm": algorithm(profile), "audience": audience})
    });
    let read = in_python(cases.collect()).await;
    let read: Map<_, _> = tokens
        .keys()
        .map(|&profile| profile.to_owned())
        .zip(read.into_iter().map(stable_claims))
        .collect();
    let meant = json!({
        "livekit": {"identity": "zoë", "name": "Zoë", "room": "room-1", "room_join": true,
            "can_publish": false},
        "twilio-access": {"identity": "zoe_7", "grants": {
            "identity": "zoe_7",
            "video": {"room": "room-1"},
            "voice": {"incoming": {"allow": true},
                "outgoing": {"application_sid": "AP0123456789abcdef0123456789abcdef"}},
            "chat": {"service_sid": "IS0123456789abcdef0123456789abcdef"},
        }},
        "zoom-videosdk": {"app_key": "SDKtestShared", "version": 1, "tpc": "room 1",
            "role_type": 1, "session_key": "k\"1", "geo_regions": "US,AU", "user_key": "zoë"},
        "daily": {"d": "3c475c00-8fa1-4ba0-96f8-4f2ae955cc17", "r": "room-1", "ss": false,
            "u": "Zoë", "p": {"cs": "v,a", "hp": false}, "ud": "zoë"},
        "hundred-ms": {"access_key": "e883f095d75618043a557de9", "type": "app", "version": 2,
            "room_id": "room-1", "role": "viewer", "user_id": "zoë"},
        "jitsi": {"aud": "jitsi", "room": "lobby?",
            "context": {"user": {"id": "zoë", "name": "Zoë~"}}},
        "hasura": {"sub": "zoë", "plan": {"sub": "eve", "exp": 1},
            "https://hasura.io/jwt/claims": {
                "x-hasura-allowed-roles": ["viewer"], "x-hasura-seats": ["1a", 2, null]}},
    });
    assert_eq!(Value::from(read), meant);

    let modules = root().join("target/libraries/node/node_modules");
    assert!(modules.exists(), "{} is missing: run make library-tools", modules.display());
    let mut node = Command::new("node");
    node.arg(root().join("tests/node/tokens.js")).args(["APItestShared", &tokens["livekit"]]);
    let read = succeeds(node.env("NODE_PATH", modules).env("SECRET", SECRET)).await;
    let read: Value = serde_json::from_str(&read).unwrap();
    let video = json!({"roomJoin": true, "room": "room-1", "canPublish": false});
    assert_eq!(read, json!({"sub": "zoë", "name": "Zoë", "video": video}));
}

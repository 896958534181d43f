//! Our tokens in the hands of the libraries that others read them with, which also refuse them
//! under a wrong secret.

use std::{fs, path::PathBuf, process::Stdio};

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{
    python::{python, succeeds},
    support::{Serve, run, soon},
};

const SECRET: &str = "ugVuYHkADn89s61poB22XUaASmhRGVlJjcLnfuGpRFku";

const PROFILES: &str = r#"
[profiles.livekit]
kind = "livekit"
api_key = "APItestShared"
api_secret_env = "SECRET"
allow_resources = ["room-*"]
params = { can_publish = false, room_config = { maxParticipants = 4 } }
caller_params = ["name", "agents", "attributes"]

[profiles.jwt]
kind = "jwt"
alg = "HS512"
key_env = "SECRET"
allow_resources = ["*"]
[profiles.jwt.claims]
aud = "jitsi"
room = { from = "resource" }
exp = { from = "exp" }
nbf = { from = "now" }
"context.user.id" = { from = "identity" }
"context.user.name" = { from = "param" }
"#;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A token of each profile, by its kind.
async fn minted(params: &[(&str, &[&str])]) -> Vec<(String, String)> {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("secret"), SECRET).unwrap();
    let text = PROFILES.replace("_env = \"SECRET\"", &format!("_file = \"{}\"", path("secret")));
    fs::write(path("config"), text).unwrap();
    let serve = Serve::start(&["--config", &path("config")]).await;
    let mut tokens = Vec::new();
    for (profile, params) in params {
        let ask = ["mint", "zoë", "--profile", profile, "--server", &serve.server];
        let params = params.iter().copied();
        let ran = run(&ask.into_iter().chain(params).collect::<Vec<_>>()).await;
        assert_eq!(ran.code, Some(0), "{profile}: {}", ran.stderr);
        tokens.push(((*profile).to_owned(), ran.stdout.trim().to_owned()));
    }
    tokens
}

/// What Python's libraries read of these.
async fn in_python(cases: Value) -> Vec<Value> {
    let mut reader = Command::new(python());
    reader.arg(root().join("tests/python/tokens.py")).env("PYTHONDONTWRITEBYTECODE", "1");
    reader.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = reader.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(cases.to_string().as_bytes()).await.unwrap();
    drop(input);
    let output = soon(child.wait_with_output()).await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn libraries_of_the_vendors_read_our_tokens() {
    let room = ["--resource", "room-1"];
    let livekit = [&room[..], &["--param", "name=Zoë", "--param", r#"agents=[{"agentName":"a"}]"#]];
    let jwt = ["--resource", "lobby?", "--param", "name=Zoë~"];
    let tokens = minted(&[("livekit", &livekit.concat()), ("jwt", &jwt)]).await;
    let token = |kind: &str| &tokens.iter().find(|(it, _)| it == kind).unwrap().1;
    let read = in_python(json!([
        {"kind": "livekit", "token": token("livekit"), "secret": SECRET, "key": "APItestShared"},
        {"kind": "jwt", "token": token("jwt"), "secret": SECRET, "algorithm": "HS512",
            "audience": "jitsi"},
    ]))
    .await;
    let [livekit, jwt] = &read[..] else { panic!("{read:?}") };
    let meant = json!({"identity": "zoë", "name": "Zoë", "room": "room-1", "room_join": true,
        "can_publish": false});
    assert_eq!(*livekit, meant);
    let user = json!({"id": "zoë", "name": "Zoë~"});
    assert_eq!((&jwt["room"], &jwt["context"]["user"]), (&json!("lobby?"), &user));

    let modules = root().join("target/libraries/node/node_modules");
    assert!(modules.exists(), "{} is missing: run make library-tools", modules.display());
    let mut node = Command::new("node");
    node.arg(root().join("tests/node/tokens.js")).args(["APItestShared", token("livekit")]);
    let read = succeeds(node.env("NODE_PATH", modules).env("SECRET", SECRET)).await;
    let read: Value = serde_json::from_str(&read).unwrap();
    assert_eq!((&read["sub"], &read["name"]), (&json!("zoë"), &json!("Zoë")));
    let video = json!({"roomJoin": true, "room": "room-1", "canPublish": false});
    assert_eq!(read["video"], video);
}

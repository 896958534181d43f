//! `inspect` on our own tokens and those of others.

use std::{fs, process::Stdio};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use grantmint::provider::twilio_live::{DEMO_API_KEY_SECRET, DEMO_RESOURCE};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::support::{BINARY, CommandOutput, Serve, run, soon};

/// An expired token made by twilio-python.
fn third_party_token() -> String {
    let vectors = include_str!("../../vectors/access_tokens.json");
    let vectors: Vec<Value> = serde_json::from_str(vectors).expect("JSON");
    let jwt = |vector: &Value| vector["jwt"].as_str().map(str::to_owned);
    vectors.iter().find_map(jwt).expect("a token")
}

async fn inspect(arguments: &[&str]) -> CommandOutput {
    run(&[&["inspect"], arguments].concat()).await
}

#[tokio::test]
async fn own_token_is_explained_and_verified_without_warnings() {
    let serve = Serve::sandboxed(&[]).await;
    let token = serve.first_token().await.token;
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("key");
    // With the whitespace that an editor adds.
    fs::write(&key, format!("{DEMO_API_KEY_SECRET}\n")).expect("written");
    let ran = inspect(&[&token, "--key-file", key.to_str().expect("text")]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{}", ran.stdout);
    let line = |name: &str| ran.stdout.lines().find(|line| line.starts_with(name));
    assert_eq!(line("identity").and_then(|it| it.split_whitespace().nth(1)), Some("first"));
    assert!(line("for").is_some_and(|it| it.contains(DEMO_RESOURCE)), "{}", ran.stdout);
    assert!(line("valid until").is_some_and(|it| it.contains("(in ")), "{}", ran.stdout);
    assert!(line("signature").is_some_and(|it| it.contains("HS256, valid")), "{}", ran.stdout);
    assert_eq!(line("warning"), None, "{}", ran.stdout);
    assert!(!ran.stdout.contains(DEMO_API_KEY_SECRET));

    let shown = inspect(&[&token, "--show-grant"]).await.stdout;
    assert!(shown.contains("token=") && !ran.stdout.contains("token="), "{shown}");
}

#[tokio::test]
async fn wrong_signature_fails_but_contents_are_shown() {
    let token = third_party_token();
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("key");
    let path = key.to_str().expect("text");
    fs::write(&key, "this-is-not-the-secret-of-that-key-at-all").expect("written");
    let ran = inspect(&[&token, "--key-file", path]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert!(ran.stdout.contains("signature   HS256, INVALID"), "{}", ran.stdout);
    assert!(ran.stderr.contains("does not verify with this key"), "{}", ran.stderr);

    let ran = inspect(&[&token, "--json", "--key-file", path]).await;
    let [out, error] = [&ran.stdout, &ran.stderr].map(|text| {
        serde_json::from_str::<Value>(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    });
    assert_eq!((&out["signature"], &error["error"]["exit_code"]), (&"invalid".into(), &1.into()));

    for (secret, expected) in
        [(Some("two words"), "contains white space"), (None, "cannot be read")]
    {
        match secret {
            Some(secret) => fs::write(&key, secret).expect("written"),
            None => fs::remove_file(&key).expect("removed"),
        }
        let ran = inspect(&[&token, "--key-file", path]).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
        assert!(ran.stderr.contains(path) && ran.stderr.contains(expected), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn third_party_token_pitfalls_are_reported() {
    let token = third_party_token();
    let ran = inspect(&[&token]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    for reported in
        ["identity    alice", "warning     jti: ", "warning     nbf: ", "warning     exp: "]
    {
        assert!(ran.stdout.contains(reported), "{reported}: {}", ran.stdout);
    }
    let ran = inspect(&[&token, "--json"]).await;
    let json: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let what: Vec<_> = json["ends"].as_array().expect("a list").iter().collect();
    assert_eq!((&what[0]["what"], &what[1]["what"]), (&"player_grant".into(), &"token".into()));
    assert_eq!(json["signature"], "not_checked");
    let warnings = json["warnings"].as_array().expect("a list");
    assert!(
        warnings.iter().any(|warning| warning["about"] == "jti" && warning["message"].is_string()),
        "{json}"
    );
    assert!(!ran.stdout.contains("token="), "{json}");
}

#[tokio::test]
async fn unknown_kind_shows_the_common_jwt_fields() {
    let part = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
    let header = part(&json!({"alg": "HS256"}));
    let claims = part(&json!({"sub": "alice", "iss": "the-key", "nbf": 1, "iat": 1, "exp": 0}));
    let ran = inspect(&[&format!("{header}.{claims}.{}", "x".repeat(43))]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    for reported in [
        "subject     alice\n",
        "issuer      the-key\n",
        "expires     1970-01-01T00:00:00.000Z",
        "warning     token: has an unknown kind",
        "warning     nbf: is the second of its issue",
        "warning     exp: is not after its start",
    ] {
        assert!(ran.stdout.contains(reported), "{reported}: {}", ran.stdout);
    }
    assert!(!ran.stdout.to_lowercase().contains("twilio"), "{}", ran.stdout);
}

#[tokio::test]
async fn a_token_may_come_from_a_pipe() {
    let mut inspect = Command::new(BINARY)
        .args(["inspect", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let mut stdin = inspect.stdin.take().expect("piped");
    stdin.write_all(format!(" {}\n", third_party_token()).as_bytes()).await.expect("sent");
    drop(stdin);
    let output = soon(inspect.wait_with_output()).await.expect("an exit");
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("identity    alice"));
}

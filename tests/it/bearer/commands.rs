//! The commands with a token.

use std::fs;

use serde_json::{Value, json};

use super::{CALLER, call, now, serve_with, signer::Signers};
use crate::support::{found, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_sends_the_token_of_a_file() {
    let signers = Signers::new("k");
    let (serve, config) = serve_with(&signers, "", "").await;
    let channel = serve.channel().await;
    found("a token", async || call(&channel, &signers.token(&json!({}))).await.ok()).await;
    let file = config.dir.path().join("token");
    let path = file.to_str().expect("text");
    let mint =
        async || run(&["mint", "alice", "--server", &serve.server, "--token-file", path]).await;
    let ran = mint().await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("--token-file"), "{}", ran.stderr);
    for bad in ["", "two tokens", "t\u{f6}ken"] {
        fs::write(&file, bad).expect("written");
        let ran = mint().await;
        assert_eq!(ran.code, Some(1));
        assert!(ran.stderr.contains("the file holds no token"), "{bad}: {}", ran.stderr);
    }
    let token = signers.token(&json!({}));
    fs::write(&file, format!("{token}\n")).expect("written");
    let ran = mint().await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for command in [
        &["grants"][..],
        &["bulk", "--count", "3"],
        &["bench", "--duration", "1s", "--connections", "1"],
    ] {
        let all = [command, &["--server", &serve.server, "--token-file", path]].concat();
        let ran = run(&all).await;
        assert_eq!(ran.code, Some(0), "{command:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains(&token) && !ran.stdout.contains(&token));
    }
    fs::write(&file, signers.token(&json!({"exp": now() - 60}))).expect("written");
    let ran = mint().await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("CALLER_UNAUTHENTICATED"), "{}", ran.stderr);
    assert!(ran.stderr.contains("expired"), "{}", ran.stderr);
    let plain =
        ["mint", "a", "--server", "http://mint.invalid:1", "--plaintext", "--token-file", path];
    let ran = run(&plain).await;
    assert!(ran.stderr.contains("sent in plain text"), "{}", ran.stderr);
    let ran = run(&["mint", "a", "--server", "http://mint.invalid:1", "--token-file", path]).await;
    assert!(ran.stderr.contains("plain http is allowed only to this machine"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_shows_issuers_and_decides_about_their_callers() {
    let signers = Signers::new("k");
    let (serve, config) = serve_with(&signers, "", "").await;
    drop(serve);
    let ran = run(&["check", config.path(), "--verbose"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for reported in [
        "[issuers.okta]\nkind = \"jwt\"\nissuer = \"https://issuer.example.org\"\n",
        "algorithms = [\"RS256\",\"ES256\",\"EdDSA\"]\n",
        "max_life = \"1day\"\n",
        "\nissuer okta\n  keys in the file: 3\n",
    ] {
        assert!(ran.stdout.contains(reported), "{reported}\n{}", ran.stdout);
    }
    let ran = run(&["check", config.path(), "--json"]).await;
    let shown: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(shown["issuers"]["okta"]["audience"], "mint");
    let ask = async |caller: &str| {
        run(&["check", config.path(), "--as", caller, "--identity", "alice"]).await
    };
    assert_eq!(ask(&format!("okta:{CALLER}")).await.code, Some(0));
    assert_eq!(ask("okta:system:serviceaccount:other:api").await.code, Some(1));
    assert_eq!(ask("okta").await.code, Some(2));

    let text = fs::read_to_string(&config.file).expect("text");
    for (from, to, problem) in [
        ("[issuers.okta]", "[issuers.dns]", "is not of the form"),
        ("match = [\"okta:", "match = [\"other:", "[issuers.other] does not exist"),
        ("audience = \"mint\"\n", "", "audience: is missing"),
        ("kind = \"jwt\"", "kind = \"oidc\"", "must be \"jwt\" or \"kubernetes\""),
        ("audience =", "algorithms = [\"HS256\"]\naudience =", "is not a supported algorithm"),
        ("audience =", "jwks_url = \"https://a.example\"\naudience =", "excludes jwks_file"),
        ("audience =", "ca = \"x\"\naudience =", "applies to jwks_url"),
        ("jwks.json", "none.json", "cannot be read"),
        ("jwks.json", "secret", "is not a JSON object with an array of keys"),
        ("jwks_file", "jwks_url", "is not of the form https://"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        fs::write(&config.file, changed).expect("written");
        let ran = run(&["check", config.path()]).await;
        assert_eq!(ran.code, Some(1), "{to}");
        assert!(ran.stderr.contains(problem), "{to}: {}", ran.stderr);
    }
}

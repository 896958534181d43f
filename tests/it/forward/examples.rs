//! The profiles in `examples/providers`, and credentials that are JSON.

use std::{fs, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use grantmint::provider;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{configured, of, presets};
use crate::support::{Serve, found, mint, soon, until};

/// The secret of the example with this name: that of the preset's demo, or any.
fn secret(name: &str) -> String {
    let demo = provider::demos().into_iter().find(|demo| demo.name == name);
    let secret = demo.and_then(|demo| demo.secret).map(|secret| secret.value);
    secret.unwrap_or_else(|| "secret-of-a-recipe".to_owned())
}

/// All examples of the kind in one file, with each profile named after its file; and their names.
fn merged(dir: &Path) -> (String, Vec<String>) {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/providers");
    let (mut whole, mut names) = (String::new(), Vec::new());
    for entry in fs::read_dir(examples).expect("a folder") {
        let path = entry.expect("a file").path();
        let text = fs::read_to_string(&path).expect("text");
        if !text.contains("kind = \"forward\"") {
            continue;
        }
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let kept = dir.join(&name);
        fs::write(&kept, secret(&name)).expect("written");
        for line in text.lines() {
            let line = match line.split_once("_file = ") {
                Some((key, _)) => format!("{key}_file = \"{}\"", kept.display()),
                None if line.starts_with("[profiles.") => format!("[profiles.{name}]"),
                None => line.to_owned(),
            };
            whole += &(line + "\n");
        }
        names.push(name);
    }
    (whole, names)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_examples_together_serve_their_credentials() {
    let dir = TempDir::new().expect("a directory");
    let (text, names) = merged(dir.path());
    let unnamed = presets().into_iter().find(|demo| !names.iter().any(|name| name == demo.name));
    assert!(unnamed.is_none(), "{unnamed:?} has no example");
    let config = dir.path().join("grantmint.toml");
    fs::write(&config, text).expect("written");
    let config = config.to_str().expect("text");
    let serve = Serve::start(&["--sandbox", "--config", config]).await;
    let mut client = serve.tokens().await;
    for name in &names {
        let mut options = of(name);
        if name == "github-app" {
            options.resource = "12345678".to_owned();
        }
        let minted = found(name, async || {
            let minted = soon(client.mint_token(mint("a", Some(options.clone())))).await;
            minted.ok().map(tonic::Response::into_inner)
        })
        .await;
        assert!(!minted.token.is_empty() && minted.token_id.starts_with("sha256:"), "{name}");
    }
    // One request each, and one more for an installation.
    let all = json!(names.len() + 1);
    until("all credentials", async || serve.counters().await["granted"] == all).await;
    assert_eq!(serve.counters().await["requests"], all);
}

/// An upstream that sends this response to every request.
async fn answering(body: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         \r\n{body}"
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 4_096];
                while let Ok(1..) = stream.read(&mut request).await {
                    stream.write_all(answer.as_bytes()).await?;
                }
                Ok::<_, std::io::Error>(())
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_credential_is_returned_unchanged() {
    // Spaces, escapes, an order and members that none of our writers produces.
    let servers = "[\n  {\"urls\" : [\"stun:a:3478\"]} ,\t{\"username\":\"\\u00e9\\/\", \
                   \"credential\":\"é\",\"urls\":[\"turn:a\"], \"more\":1.50e0,\"a\":null}\n]";
    let upstream = answering(format!("{{\"x\": 1, \"iceServers\": {servers}, \"y\": []}}\n")).await;
    let demo = presets().into_iter().find(|demo| demo.name == "cloudflare-turn").expect("a value");
    let more = format!("upstream = \"{upstream}\"");
    let (_dir, config) = configured(&demo, &BASE64_STANDARD.encode("token"), &more);
    let serve = Serve::start(&["--config", &config]).await;
    assert_eq!(serve.first_token().await.token, servers);
}

//! The crate `grantmint-client` with a token that is replaced in its file.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use grantmint_client::{Client, Identities, Options};
use serde_json::json;

use super::{call, now, serve_with, signer::Signers};
use crate::support::{found, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_resumes_with_the_next_token_of_its_file() {
    let signers = Signers::new("k");
    let slow = "bulk_tokens = { rate = 2, burst = 16 }";
    let (serve, config) = serve_with(&signers, "", slow).await;
    let channel = serve.channel().await;
    found("a token", async || call(&channel, &signers.token(&json!({}))).await.ok()).await;

    let file = config.dir.path().join("token");
    fs::write(&file, signers.token(&json!({"exp": now() + 3}))).expect("written");
    let client = Client::builder(&serve.server).token_file(&file).build().expect("a client");
    // The second chunk waits for quota, for longer than the first token is valid.
    let options = Options::new().max_wait(Duration::from_secs(10));
    let ends = Arc::new(Mutex::new(Vec::new()));
    let reported = Arc::clone(&ends);
    let mut bulk = client.bulk(Identities::series("viewer-", 32), &options).on_resume(
        move |index, error, _| {
            reported.lock().expect("no panic").push((index, error.metadata().remove("cause")));
        },
    );
    let first = soon(bulk.next()).await.expect("a bulk").expect("a chunk");
    assert_eq!(first.tokens.len(), 16);
    fs::write(&file, signers.token(&json!({}))).expect("written");
    let second = soon(bulk.next()).await.expect("it resumes").expect("a chunk");
    assert_eq!((second.first_index, second.tokens.len()), (16, 16));
    assert!(soon(bulk.next()).await.expect("the end").is_none());
    assert_eq!(*ends.lock().expect("no panic"), [(16, Some("expired".to_owned()))]);
}

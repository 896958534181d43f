//! Secrets in a log that is large enough to contain rare lines too.

use std::{
    fs::{self, File},
    io::BufReader,
    process::Stdio,
};

use grantmint::rpc::proto::{
    IdentityList, MintOptions, MintTokensRequest, mint_tokens_request::Selection,
    token_service_client::TokenServiceClient,
};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::secrets::{SECRET, add_token, planted};
use crate::{
    support::{Configured, Serve, mint, series, soon},
    tls::{
        connected,
        pki::{CALLER_ID, Pki, uris},
    },
};

/// The size of the searched log in bytes.
const LOG_BYTES: u64 = 100_000_000;

const CALLERS: usize = 8;

/// Calls of every kind, successful and refused; returns one of the tokens.
async fn calls(tokens: &mut TokenServiceClient<Channel>) -> Option<String> {
    let _ = soon(tokens.mint_token(mint("forbidden", None))).await.expect_err("no row allows it");
    let options = MintOptions { profile: SECRET.to_owned(), ..MintOptions::default() };
    let _ = soon(tokens.mint_token(mint("viewer", Some(options)))).await.expect_err("no profile");
    let identities = (0..20).map(|number| format!("viewer-of-a-list-{number}")).collect();
    let selection = Some(Selection::IdentityList(IdentityList { identities }));
    for request in [series(0, 20), MintTokensRequest { selection, ..series(0, 0) }] {
        let mut bulk = soon(tokens.mint_tokens(request)).await.ok()?.into_inner();
        while soon(bulk.message()).await.ok()?.is_some() {}
    }
    let minted = soon(tokens.mint_token(mint("viewer", None))).await.ok()?;
    Some(minted.into_inner().token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace_log_of_100_mb_contains_no_secret() {
    let pki = Pki::new();
    let entry = format!(
        "[callers.api]\nmatch = [{CALLER_ID:?}]\n\
         allow = [{{ profiles = [\"demo\"], identities = [\"viewer*\"] }}]"
    );
    // Many grants start and expire meanwhile.
    let config = Configured::with_secret(&pki.section(&entry), "grant_ttl = \"12s\"", SECRET);
    let log = config.dir.path().join("log");
    let file = Stdio::from(File::create(&log).expect("a file"));
    let serve = Serve::logging_to(file, &["--sandbox", "--config", config.path()]).await;
    let pair = pki.write_pair("caller", &[&pki.prod.issue(uris(&[CALLER_ID]))]);

    let mut markers = planted();
    let key = fs::read_to_string(pki.path("server.key")).expect("a key");
    key.lines().filter(|line| line.len() >= 20 && !line.contains("KEY")).for_each(|line| {
        markers.add(line);
    });
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let mut tokens = TokenServiceClient::new(connected(&pki, &serve, Some(pair.clone())).await);
        let log = log.clone();
        callers.spawn(async move {
            let mut last = None;
            while fs::metadata(&log).expect("a file").len() < LOG_BYTES {
                last = calls(&mut tokens).await.or(last);
            }
            last.expect("a token")
        });
    }
    for token in callers.join_all().await {
        // Every token starts like this.
        markers.add(token.split('.').next().expect("a header"));
        add_token(&mut markers, &token);
    }
    serve.signal("INT");
    let (status, _) = serve.ended().await;
    assert_eq!(status.code(), Some(0));
    let file = BufReader::new(File::open(&log).expect("a file"));
    assert!(markers.in_no_line_of("the log", file) >= LOG_BYTES);
}

//! The audit log of the real binary: its records, and what happens when it cannot be written.

mod complete;
mod files;
mod full;
mod refusals;

use std::{
    fs,
    path::{Path, PathBuf},
};

use grantmint::{
    provider::twilio_live::DEMO_API_KEY_SECRET,
    rpc::proto::{
        IdentityList, MintTokensRequest, mint_tokens_request::Selection,
        token_service_client::TokenServiceClient,
    },
};
use serde_json::Value as Json;
use tonic::{Status, transport::Channel};

use crate::{
    page::Page,
    support::{Configured, Serve, found, mint, soon},
};

/// The key for hashing identities.
const KEY: &str = "planted-audit-key-6b86b273ff34fce19d6b804eff5a3f57";

/// A configuration with an audit log in its own directory.
struct Audited {
    config: Configured,
    file: PathBuf,
}

impl Audited {
    /// With these keys in `[audit]` and these tables before the profile.
    fn new(keys: &str, tables: &str) -> Self {
        let config = Configured::with_secret("", "", DEMO_API_KEY_SECRET);
        let file = config.dir.path().join("audit.jsonl");
        fs::write(config.dir.path().join("key"), KEY).expect("written");
        let keys = keys.replace("DIR", config.dir.path().to_str().expect("text"));
        let target = if keys.contains("file = \"stdout\"") {
            String::new()
        } else {
            format!("file = \"{}\"\n", file.display())
        };
        let profile = fs::read_to_string(&config.file).expect("text");
        let text = format!("{tables}\n[audit]\n{target}{keys}\n{profile}");
        fs::write(&config.file, text).expect("written");
        Self { config, file }
    }

    async fn serve(&self) -> Serve {
        let serve = Serve::configured(&self.config, &[]).await;
        serve.first_token().await;
        serve
    }

    fn in_dir(&self, name: &str) -> PathBuf {
        self.config.dir.path().join(name)
    }
}

/// The records of a file; each line must be complete.
fn records(file: &Path) -> Vec<Json> {
    let text = fs::read_to_string(file).expect("text");
    assert!(text.is_empty() || text.ends_with('\n'), "the last record is incomplete");
    text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
}

/// The complete records of a file that is being written.
pub(crate) fn complete_records(file: &Path) -> Vec<Json> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Waits for a record in which a member has this value.
async fn record(file: &Path, member: &str, value: &str) -> Json {
    found(&format!("a record whose {member} is {value}"), async || {
        complete_records(file).into_iter().find(|record| record[member] == value)
    })
    .await
}

/// The number of records with this outcome.
async fn outcome(serve: &Serve, outcome: &str) -> f64 {
    let page = Page::read(&serve.page("/metrics").await.1);
    page.figure("grantmint_audit_records_total", &[("outcome", outcome)])
}

/// Mints a token for this identity and returns its id.
async fn minted(
    tokens: &mut TokenServiceClient<Channel>,
    identity: &str,
) -> Result<String, Status> {
    soon(tokens.mint_token(mint(identity, None))).await.map(|answer| answer.into_inner().token_id)
}

/// A request for the tokens of these identities.
fn list(identities: Vec<String>) -> MintTokensRequest {
    MintTokensRequest {
        options: None,
        selection: Some(Selection::IdentityList(IdentityList { identities })),
        start_index: 0,
        chunk_size: 0,
    }
}

/// Reads a bulk to its end; returns its tokens and, unless it ended with OK, the status.
async fn bulk(
    tokens: &mut TokenServiceClient<Channel>,
    request: MintTokensRequest,
) -> (Vec<String>, Result<(), Status>) {
    let mut all = Vec::new();
    let mut chunks = match soon(tokens.mint_tokens(request)).await {
        Ok(chunks) => chunks.into_inner(),
        Err(status) => return (all, Err(status)),
    };
    loop {
        match soon(chunks.message()).await {
            Ok(Some(chunk)) => all.extend(chunk.tokens),
            Ok(None) => return (all, Ok(())),
            Err(status) => return (all, Err(status)),
        }
    }
}

/// A list with about 5 MB of records in plain text: a quotation mark takes two bytes there.
fn large() -> MintTokensRequest {
    list((0..10_000).map(|index| format!("{index:\"<250}")).collect())
}

/// A client of the server at this URL.
async fn client(server: &str) -> TokenServiceClient<Channel> {
    let server =
        if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    let endpoint = tonic::transport::Endpoint::from_shared(server).expect("a URL");
    let channel = soon(endpoint.connect()).await.expect("a connection");
    TokenServiceClient::new(channel).max_decoding_message_size(16 << 20)
}

//! Bearer tokens on the real binary: which are accepted, which are refused and refusal, and where the
//! keys come from.

mod bad;
mod client;
pub(crate) mod cluster;
mod commands;
pub(crate) mod kubernetes;
mod languages;
pub(crate) mod signer;
mod streams;

use grantmint::{
    clock::Clock,
    provider::twilio_live::DEMO_API_KEY_SECRET,
    rpc::proto::{MintTokenResponse, token_service_client::TokenServiceClient},
};
use tonic::{Request, Status, metadata::MetadataValue, transport::Channel};

use self::signer::Signers;
use crate::support::{Configured, Serve, error_metadata, mint, reason, soon};

/// The issuer's `iss`.
const ISSUER: &str = "https://issuer.example.org";

/// The `aud` of its tokens.
const AUDIENCE: &str = "mint";

/// Its caller that is in an entry.
const CALLER: &str = "system:serviceaccount:media:api";

/// Seconds since 1970.
fn now() -> i64 {
    Clock::system().now().wall.unix_seconds()
}

/// An entry for the issuer's caller.
fn entry(issuer: &str, keys: &str) -> String {
    format!(
        "[callers.api]\nmatch = [\"{issuer}:system:serviceaccount:media:*\"]\n{keys}\n\
         allow = [{{ profiles = [\"*\"], methods = [\"MintToken\", \"MintTokens\", \"GetGrant\", \
         \"ListGrants\", \"WatchGrants\", \"ServerReflectionInfo\"] }}]\n"
    )
}

/// A server whose issuer `okta` has these keys in a file, and the directory to keep with it.
async fn serve_with(signers: &Signers, section: &str, keys: &str) -> (Serve, Configured) {
    let dir = tempfile::TempDir::new().expect("a directory");
    let file = dir.path().join("jwks.json");
    std::fs::write(&file, signers.jwks()).expect("written");
    let top = format!(
        "{section}\n[issuers.okta]\nkind = \"jwt\"\nissuer = \"{ISSUER}\"\naudience = \
         \"{AUDIENCE}\"\njwks_file = \"{}\"\n{}",
        file.display(),
        entry("okta", keys)
    );
    let config = Configured::with_secret(&top, "", DEMO_API_KEY_SECRET);
    // The returned configuration keeps the directory.
    std::fs::copy(&file, config.dir.path().join("jwks.json")).expect("copied");
    let text = std::fs::read_to_string(&config.file).expect("text");
    let kept = config.dir.path().join("jwks.json");
    let text = text.replace(file.to_str().expect("text"), kept.to_str().expect("text"));
    std::fs::write(&config.file, text).expect("written");
    let serve = Serve::configured(&config, &[]).await;
    (serve, config)
}

/// A request that carries these `authorization` values.
fn carrying<T>(message: T, values: &[&str]) -> Request<T> {
    let mut request = Request::new(message);
    for value in values {
        let value = MetadataValue::try_from(*value).expect("a header");
        request.metadata_mut().append("authorization", value);
    }
    request
}

/// A request with a bearer token.
fn bearing<T>(message: T, token: &str) -> Request<T> {
    carrying(message, &[&format!("Bearer {token}")])
}

/// A call of `MintToken` with a bearer token.
pub(crate) async fn call(channel: &Channel, token: &str) -> Result<MintTokenResponse, Status> {
    let mut tokens = TokenServiceClient::new(channel.clone());
    let answer = soon(tokens.mint_token(bearing(mint("alice", None), token))).await;
    answer.map(tonic::Response::into_inner)
}

/// Reason and cause of a refusal.
fn refusal(status: &Status) -> (String, Option<String>) {
    (reason(status), error_metadata(status, "cause"))
}

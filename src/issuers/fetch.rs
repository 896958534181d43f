//! Fetching an issuer's keys.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::Full;
use serde::Deserialize;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::{Config, Source, Way};
use crate::{
    auth::bearer::{KeySet, KeySetError, Known},
    clock::Clock,
    egress::{Egress, EgressError, ExtraRoots, ProxySetting, USER_AGENT},
    grant::Fault,
    settings::{open_regular, read_opened_secret},
    source::http::{DEFAULT_TIMEOUT, HttpClient},
};

/// Where an API server tells about itself, and has its keys.
const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";

/// Why there are no keys. It holds nothing of an answer and nothing of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// A file cannot be used.
    #[error("{key}: {why}")]
    File {
        /// The key of the configuration that names it.
        key: &'static str,
        /// Why.
        why: String,
    },
    /// There is no way to the server.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// There is no answer.
    #[error("{0}")]
    Failed(Fault),
    /// The server refuses.
    #[error("{what} is answered with HTTP status {status}")]
    Status {
        /// What was asked for.
        what: &'static str,
        /// The status.
        status: u16,
    },
    /// The answer holds no keys.
    #[error("the answer {0}")]
    Keys(#[from] KeySetError),
    /// The answer does not say what the issuer calls itself.
    #[error("the discovery document names no issuer")]
    NoIssuer,
}

/// The part of a discovery document that is believed. Its `jwks_uri` is often an address that
/// cannot be reached or verified from here.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

/// Fetches all that is to be known of an issuer, once.
pub async fn fetch(config: &Config, clock: &Clock) -> Result<Known, FetchError> {
    fetch_of(config, None, clock).await
}

/// The same. Where what it calls itself is `known` it is not asked for.
pub(super) async fn fetch_of(
    config: &Config,
    known: Option<&str>,
    clock: &Clock,
) -> Result<Known, FetchError> {
    let (issuer, keys) = match &config.source {
        Source::File { issuer, keys, .. } => (issuer.clone(), Arc::clone(keys)),
        Source::Url { issuer, url, way } => {
            let exchange = Exchange::new(way, &ProxySetting::Environment, clock).await?;
            (issuer.clone(), Arc::new(exchange.keys(url.clone()).await?))
        }
        Source::Kubernetes(way) => {
            let exchange = Exchange::new(way, &ProxySetting::None, clock).await?;
            let issuer = match known {
                Some(known) => known.to_owned(),
                None => exchange.issuer().await?,
            };
            let url = exchange.client.uri(KEYS).map_err(FetchError::Failed)?;
            (issuer, Arc::new(exchange.keys(url).await?))
        }
    };
    Ok(Known { terms: config.terms.clone(), issuer, keys })
}

/// The requests of one fetch.
struct Exchange {
    client: HttpClient,
    authorization: Option<HeaderValue>,
}

impl Exchange {
    /// Reads the files.
    async fn new(way: &Way, proxy: &ProxySetting, clock: &Clock) -> Result<Self, FetchError> {
        let (way, proxy, clock) = (way.clone(), proxy.clone(), clock.clone());
        let made = spawn_blocking(move || {
            let server = way.server.uri();
            let egress = match &way.ca {
                Some(ca) => {
                    let of_ca = |why| FetchError::File { key: "ca", why };
                    let unreadable = |error: io::Error| of_ca(format!("cannot be read: {error}"));
                    let file = open_regular(ca).map_err(unreadable)?;
                    let roots = ExtraRoots::read(file, &ca.display().to_string());
                    let roots = roots.map_err(of_ca)?;
                    Egress::trusting_only(server, &proxy, &roots)?
                }
                None => Egress::of(server, &proxy)?,
            };
            let authorization = way.token_file.as_deref().map(authorization).transpose()?;
            let client = HttpClient::new(way.server, &egress, clock, DEFAULT_TIMEOUT);
            Ok(Self { client, authorization })
        });
        let of_task = |error: tokio::task::JoinError| FetchError::File {
            key: "ca",
            why: format!("cannot be read: {error}"),
        };
        made.await.map_err(of_task)?
    }

    async fn issuer(&self) -> Result<String, FetchError> {
        let url = self.client.uri(DISCOVERY).map_err(FetchError::Failed)?;
        let body = self.get(url, "the discovery document").await?;
        let discovery: Result<Discovery, _> = serde_json::from_slice(&body);
        let issuer = discovery.ok().map(|it| it.issuer).filter(|issuer| !issuer.is_empty());
        issuer.ok_or(FetchError::NoIssuer)
    }

    async fn keys(&self, url: Uri) -> Result<KeySet, FetchError> {
        Ok(KeySet::parse(&self.get(url, "the request for keys").await?)?)
    }

    async fn get(&self, url: Uri, what: &'static str) -> Result<Vec<u8>, FetchError> {
        let mut request = Request::get(url)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, "application/json, application/jwk-set+json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(Bytes::new())).map_err(|_| FetchError::NoIssuer)?;
        let answer = self.client.exchange(request).await.map_err(FetchError::Failed)?;
        if answer.status != http::StatusCode::OK {
            return Err(FetchError::Status { what, status: answer.status.as_u16() });
        }
        Ok(answer.body().map_err(FetchError::Failed)?.to_vec())
    }
}

/// The header that sends the token of a file.
fn authorization(path: &Path) -> Result<HeaderValue, FetchError> {
    let of_file = |why: String| FetchError::File { key: "token_file", why };
    let token = open_regular(path).and_then(read_opened_secret);
    let token = token.map_err(|error| of_file(format!("cannot be read: {error}")))?;
    let text = Zeroizing::new(format!("Bearer {}", token.trim()));
    let mut value =
        HeaderValue::from_str(&text).map_err(|_| of_file("holds what is no token".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

//! Fetches an issuer's keys.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::Full;
use serde::Deserialize;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::{Config, Endpoint, Source};
use crate::{
    auth::bearer::{IssuerInfo, KeySet, KeySetError},
    clock::Clock,
    egress::{Egress, EgressError, ExtraRoots, ProxySetting, USER_AGENT},
    grant::Fault,
    settings::{open_regular, read_opened_secret},
    source::http::{DEFAULT_TIMEOUT, HttpClient},
};

/// The paths of an API server's discovery document and keys.
const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";

/// Why keys could not be fetched. Contains nothing from responses or files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// A configured file cannot be used.
    #[error("{key}: {why}")]
    File {
        /// The key in the configuration.
        key: &'static str,
        /// The reason.
        why: String,
    },
    /// The proxy or the root certificates cannot be used.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// The request failed.
    #[error("{0}")]
    Failed(Fault),
    /// The server returned an error status.
    #[error("{what} failed with HTTP status {status}")]
    Status {
        /// What was requested.
        what: &'static str,
        /// The HTTP status.
        status: u16,
    },
    /// The response is not a key set.
    #[error("the response {0}")]
    Keys(#[from] KeySetError),
    /// The discovery document has no `iss` value.
    #[error("the discovery document names no issuer")]
    NoIssuer,
}

/// The part of a discovery document that is used. Its `jwks_uri` often cannot be reached or
/// verified from here.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

/// Fetches an issuer's `iss` claim and keys once.
pub async fn fetch(config: &Config, clock: &Clock) -> Result<IssuerInfo, FetchError> {
    fetch_of(config, None, clock).await
}

/// Like [`fetch`], but does not fetch the `iss` claim if it is `known`.
pub(super) async fn fetch_of(
    config: &Config,
    known: Option<&str>,
    clock: &Clock,
) -> Result<IssuerInfo, FetchError> {
    let (issuer, keys) = match &config.source {
        Source::File { issuer, keys, .. } => (issuer.clone(), Arc::clone(keys)),
        Source::Url { issuer, url, endpoint } => {
            let exchange = Exchange::new(endpoint, &ProxySetting::Environment, clock).await?;
            (issuer.clone(), Arc::new(exchange.keys(url.clone()).await?))
        }
        Source::Kubernetes(endpoint) => {
            let exchange = Exchange::new(endpoint, &ProxySetting::None, clock).await?;
            let issuer = match known {
                Some(known) => known.to_owned(),
                None => exchange.issuer().await?,
            };
            let url = exchange.client.uri(KEYS).map_err(FetchError::Failed)?;
            (issuer, Arc::new(exchange.keys(url).await?))
        }
    };
    Ok(IssuerInfo { terms: config.terms.clone(), issuer, keys })
}

/// The HTTP client and credential of one fetch.
struct Exchange {
    client: HttpClient,
    authorization: Option<HeaderValue>,
}

impl Exchange {
    /// Reads the files and creates the client.
    async fn new(
        endpoint: &Endpoint,
        proxy: &ProxySetting,
        clock: &Clock,
    ) -> Result<Self, FetchError> {
        let (endpoint, proxy, clock) = (endpoint.clone(), proxy.clone(), clock.clone());
        let created = spawn_blocking(move || {
            let server = endpoint.server.uri();
            let egress = match &endpoint.ca {
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
            let authorization = endpoint.token_file.as_deref().map(authorization).transpose()?;
            let client = HttpClient::new(endpoint.server, &egress, clock, DEFAULT_TIMEOUT);
            Ok(Self { client, authorization })
        });
        let of_task = |error: tokio::task::JoinError| FetchError::File {
            key: "ca",
            why: format!("cannot be read: {error}"),
        };
        created.await.map_err(of_task)?
    }

    async fn issuer(&self) -> Result<String, FetchError> {
        let url = self.client.uri(DISCOVERY).map_err(FetchError::Failed)?;
        let body = self.get(url, "the request for the discovery document").await?;
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
        let response = self.client.exchange(request).await.map_err(FetchError::Failed)?;
        if response.status != http::StatusCode::OK {
            return Err(FetchError::Status { what, status: response.status.as_u16() });
        }
        Ok(response.body().map_err(FetchError::Failed)?.to_vec())
    }
}

/// The `Authorization` header with the token from a file.
fn authorization(path: &Path) -> Result<HeaderValue, FetchError> {
    let of_file = |why: String| FetchError::File { key: "token_file", why };
    let token = open_regular(path).and_then(read_opened_secret);
    let token = token.map_err(|error| of_file(format!("cannot be read: {error}")))?;
    let text = Zeroizing::new(format!("Bearer {}", token.trim()));
    let mut value =
        HeaderValue::from_str(&text).map_err(|_| of_file("does not hold a token".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

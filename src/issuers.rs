//! Fetches and publishes the issuers' keys, the write side of bearer tokens.
//!
//! Calls read the keys in [`crate::auth::bearer`], and request fetches there.

mod fetch;
mod keeper;

use std::{path::PathBuf, sync::Arc};

use http::Uri;

pub use self::{
    fetch::{FetchError, fetch},
    keeper::Keeper,
};
use crate::{
    auth::{
        bearer::{IssuerInfo, KeySet, Terms},
        name::IssuerName,
    },
    settings::Followed,
    source::base_url::BaseUrl,
};

/// The API server's address inside a cluster.
pub const API_SERVER: &str = "https://kubernetes.default.svc";

/// Where a pod's service account files are mounted
/// (<https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>).
pub const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// An issuer: `[issuers.NAME]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name.
    pub name: IssuerName,
    /// The requirements for its tokens.
    pub terms: Terms,
    /// The source of its keys.
    pub source: Source,
}

/// The source of an issuer's keys and `iss` claim.
#[derive(Clone, Debug)]
pub enum Source {
    /// `jwks_file`.
    File {
        /// The `iss` claim.
        issuer: String,
        /// The file.
        path: PathBuf,
        /// The keys in the file.
        keys: Arc<KeySet>,
        /// The file's content, to detect changes.
        followed: Followed,
    },
    /// `jwks_url`.
    Url {
        /// The `iss` claim.
        issuer: String,
        /// The URL of the keys.
        url: Uri,
        /// How to connect to the server.
        endpoint: Endpoint,
    },
    /// The API server of a Kubernetes cluster, which also provides the `iss` claim.
    Kubernetes(Endpoint),
}

/// The server that keys are fetched from. The files are read for each fetch.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The server.
    pub server: BaseUrl,
    /// The only certificate authorities to trust; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The file with the bearer token to send.
    pub token_file: Option<PathBuf>,
}

impl Source {
    /// The kind in the configuration.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::File { .. } | Self::Url { .. } => "jwt",
            Self::Kubernetes(_) => "kubernetes",
        }
    }

    /// The configured `iss` claim, if any.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        match self {
            Self::File { issuer, .. } | Self::Url { issuer, .. } => Some(issuer),
            Self::Kubernetes(_) => None,
        }
    }
}

impl Config {
    /// The issuer's keys, if they need no fetch.
    #[must_use]
    pub fn info(&self) -> Option<IssuerInfo> {
        match &self.source {
            Source::File { issuer, keys, .. } => Some(IssuerInfo {
                terms: self.terms.clone(),
                issuer: issuer.clone(),
                keys: Arc::clone(keys),
            }),
            Source::Url { .. } | Source::Kubernetes(_) => None,
        }
    }
}

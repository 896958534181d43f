//! The write side of bearer tokens: the keys of each issuer are fetched in time and published.
//!
//! Calls find the keys in [`crate::auth::bearer`], and ask for a fetch there too.

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
        bearer::{KeySet, Known, Terms},
        name::IssuerName,
    },
    settings::Followed,
    source::base_url::BaseUrl,
};

/// The API server as pods reach it.
pub const API_SERVER: &str = "https://kubernetes.default.svc";

/// What a pod is given of its service account
/// (<https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>).
pub const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// One issuer: `[issuers.NAME]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name.
    pub name: IssuerName,
    /// What its tokens must say.
    pub terms: Terms,
    /// Where its keys are.
    pub source: Source,
}

/// Where an issuer's keys are, and what it calls itself.
#[derive(Clone, Debug)]
pub enum Source {
    /// `jwks_file`.
    File {
        /// What it calls itself.
        issuer: String,
        /// The file.
        path: PathBuf,
        /// The keys in it.
        keys: Arc<KeySet>,
        /// What the file held.
        followed: Followed,
    },
    /// `jwks_url`.
    Url {
        /// What it calls itself.
        issuer: String,
        /// Where they are.
        url: Uri,
        /// The way there.
        way: Way,
    },
    /// The API server of a Kubernetes cluster, which says what it calls itself.
    Kubernetes(Way),
}

/// How keys are fetched. The files are read anew for each fetch.
#[derive(Clone, Debug)]
pub struct Way {
    /// The server.
    pub server: BaseUrl,
    /// The authorities that it is verified with, and no others; none for the system's.
    pub ca: Option<PathBuf>,
    /// Holds the token that is sent.
    pub token_file: Option<PathBuf>,
}

impl Source {
    /// Its kind, as the configuration has it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::File { .. } | Self::Url { .. } => "jwt",
            Self::Kubernetes(_) => "kubernetes",
        }
    }

    /// What it calls itself, where the configuration says so.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        match self {
            Self::File { issuer, .. } | Self::Url { issuer, .. } => Some(issuer),
            Self::Kubernetes(_) => None,
        }
    }
}

impl Config {
    /// What is known of it without a fetch; none where its keys are fetched.
    #[must_use]
    pub fn known(&self) -> Option<Known> {
        match &self.source {
            Source::File { issuer, keys, .. } => Some(Known {
                terms: self.terms.clone(),
                issuer: issuer.clone(),
                keys: Arc::clone(keys),
            }),
            Source::Url { .. } | Source::Kubernetes(_) => None,
        }
    }
}

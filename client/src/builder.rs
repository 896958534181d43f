//! Building a client.

use std::{fmt, path::PathBuf, time::Duration};

use http::Uri;
use tonic::service::interceptor::InterceptedService;

use crate::{
    Client, Server, ServerError,
    bearer::Bearer,
    cache::Cache,
    connect::{Connection, Connector, endpoint},
    retry::PATIENCE,
    server::{Transport, bare_host},
    tls::{Expected, Files},
};

/// Builds a [`Client`].
#[derive(Clone)]
#[must_use]
pub struct Builder {
    server: String,
    files: Files,
    token_file: Option<PathBuf>,
    server_name: Option<String>,
    allow_plaintext: bool,
    deadline: Duration,
    connect_timeout: Duration,
    patience: Duration,
    cache_capacity: usize,
}

/// Why a client cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The server's address is wrong.
    #[error("the server's address {0}")]
    Server(#[from] ServerError),
    /// The server is reached in plain text, and is not on this machine.
    #[error(
        "calls in plain text are allowed only on this machine; use https://, or allow_plaintext \
         where a service mesh encrypts"
    )]
    Plaintext,
    /// A setting of TLS is given for a server that is reached without it.
    #[error("{0} has no effect without TLS; use https://")]
    NotTls(&'static str),
    /// The name that the server must prove is wrong.
    #[error("the server name {0}")]
    ServerName(&'static str),
    /// A SPIFFE ID is verified with the bundle of its trust domain, which is missing.
    #[error("a SPIFFE ID needs the bundle of its trust domain; name it by ca_file")]
    NoBundle,
    /// The token's file holds no token.
    #[error("the token file {0}")]
    Token(String),
}

/// Prints no setting: an address may hold a password.
impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").finish_non_exhaustive()
    }
}

impl Client {
    /// Builds a client of this server: `https://host:port`, `http://host:port`, `host:port` or
    /// `unix:/path/of/the.sock`.
    pub fn builder(server: impl Into<String>) -> Builder {
        Builder {
            server: server.into(),
            files: Files::default(),
            token_file: None,
            server_name: None,
            allow_plaintext: false,
            deadline: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(2),
            patience: PATIENCE,
            cache_capacity: 10_000,
        }
    }
}

impl Builder {
    /// The authorities that the server's certificate is verified with, in PEM form. Default: the
    /// system's. The file is read for each connection.
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.files.ca = Some(file.into());
        self
    }

    /// The client's certificate and private key, in PEM form. The files are read for each
    /// connection, so they may be replaced while the client runs.
    pub fn certificate_files(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.files.pair = Some((cert.into(), key.into()));
        self
    }

    /// A file with the bearer token that calls carry. It is read again when it has changed.
    pub fn token_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.token_file = Some(file.into());
        self
    }

    /// The DNS name or SPIFFE ID that the server's certificate must have. Default: the host of its
    /// address.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Allows plain text to another machine, where a service mesh encrypts.
    pub fn allow_plaintext(mut self) -> Self {
        self.allow_plaintext = true;
        self
    }

    /// The deadline of a call, its retries included. Default: 10 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long connecting may take. Default: 2 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a bulk waits for its next chunk, and a watch keeps trying after a failure, over all
    /// attempts. Default: 60 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How many tokens [`Client::mint_cached`] keeps. Default: 10,000.
    pub fn cache_capacity(mut self, tokens: usize) -> Self {
        self.cache_capacity = tokens;
        self
    }

    /// Builds the client. It connects with its first call, so that the server may start later.
    ///
    /// # Errors
    ///
    /// A setting is wrong, or the token file holds no token.
    pub fn build(self) -> Result<Client, BuildError> {
        let server: Server = self.server.parse()?;
        let bearer = match &self.token_file {
            None => Bearer::default(),
            Some(file) => Bearer::from_file(file, |_| {}).map_err(BuildError::Token)?,
        };
        let endpoint = endpoint(&server)?.connect_timeout(self.connect_timeout);
        let channel = match server.transport() {
            Transport::Unix(_) => endpoint.connect_lazy(),
            Transport::Plaintext(_) => {
                if let Some(setting) = self.tls_setting() {
                    return Err(BuildError::NotTls(setting));
                }
                if !server.is_local() && !self.allow_plaintext {
                    return Err(BuildError::Plaintext);
                }
                endpoint.connect_with_connector_lazy(Connector::plaintext())
            }
            Transport::Tls(uri) => {
                let tls = Connector::tls(self.expected(uri)?, self.files.clone());
                endpoint.connect_with_connector_lazy(tls)
            }
        };
        let connection: Connection = InterceptedService::new(channel, bearer);
        Ok(Client::new(connection, self.deadline, self.patience, Cache::new(self.cache_capacity)))
    }

    /// A setting that applies only to TLS. A Unix socket needs none.
    fn tls_setting(&self) -> Option<&'static str> {
        let settings = [
            ("ca_file", self.files.ca.is_some()),
            ("certificate_files", self.files.pair.is_some()),
            ("server_name", self.server_name.is_some()),
        ];
        settings.into_iter().find(|(_, is_set)| *is_set).map(|(name, _)| name)
    }

    fn expected(&self, uri: &Uri) -> Result<Expected, BuildError> {
        let name = self.server_name.as_deref().unwrap_or_else(|| bare_host(uri));
        let expected = Expected::parse(name).map_err(BuildError::ServerName)?;
        if matches!(expected, Expected::Spiffe(_)) && self.files.ca.is_none() {
            return Err(BuildError::NoBundle);
        }
        Ok(expected)
    }
}

//! Connections to a server: over TLS, or in plain text on loopback or a Unix socket.

mod socket;

use std::{
    borrow::Cow,
    error::Error,
    path::{Path, PathBuf},
    sync::{Arc, Once},
};

use clap::Args;
use grantmint::tls::files::readable_by_others;
use grantmint_client::{
    Server,
    connect::Connector,
    tls::{ConnectError, Expected, Files},
};
use tonic::{Code, Status};

use self::socket::SocketProblem;
use crate::output;

/// The warning if a token is sent in plain text.
const PLAINTEXT_TOKEN: &str = "the bearer token is sent in plain text: anyone who reads it on the \
                               network can use it until it expires";

/// The server's expected identity, and the command's own certificate.
#[derive(Clone, Debug, Args)]
pub(crate) struct TlsArgs {
    /// CA certificates that verify the server, PEM; default: the system's
    #[arg(long, value_name = "FILE", env = "GRANTMINT_CA")]
    ca: Option<PathBuf>,
    /// Client certificate, PEM
    #[arg(long, value_name = "FILE", env = "GRANTMINT_CERT", requires = "key")]
    cert: Option<PathBuf>,
    /// Private key of the client certificate, PEM
    #[arg(long, value_name = "FILE", env = "GRANTMINT_KEY", requires = "cert")]
    key: Option<PathBuf>,
    /// Expected identity of the server: a DNS name or a SPIFFE ID; default: the URL's host
    #[arg(long, value_name = "NAME", env = "GRANTMINT_SERVER_NAME", value_parser = Expected::parse)]
    server_name: Option<Expected>,
    /// Allow plain text to a server off loopback, for a mesh that encrypts
    #[arg(long, env = "GRANTMINT_PLAINTEXT")]
    plaintext: bool,
}

/// Why a command does not connect to its server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error("plain http is allowed only to this machine: others could read the traffic")]
    PlainHttp,
    #[error("{0} has no effect in plain http: nothing is encrypted or verified")]
    NotTls(&'static str),
    #[error("the URL's host is not a name that a certificate can hold")]
    Host,
    #[error("a SPIFFE ID is verified by the bundle of its trust domain, not by the system's CAs")]
    NoBundle,
    #[error("{0}")]
    TokenFile(String),
    #[error(transparent)]
    Tls(#[from] ConnectError),
    #[error(transparent)]
    Socket(SocketProblem),
}

impl Problem {
    /// Whether a retry may help: a handshake also fails if the server shuts down.
    pub(crate) const fn is_transient(&self) -> bool {
        match self {
            Self::Tls(error) => error.is_transient(),
            Self::Socket(problem) => problem.is_transient(),
            _ => false,
        }
    }

    /// What to do next.
    pub(crate) fn next(&self) -> Option<Cow<'static, str>> {
        let next = match self {
            Self::Socket(problem) => return Some(problem.next().into()),
            Self::PlainHttp => Some(
                "use https://host:port; or, if a mesh encrypts, add --plaintext (or set \
                 GRANTMINT_PLAINTEXT=1)",
            ),
            Self::NotTls(_) => Some(
                "use https://host:port; or, for a server without TLS, remove the flag or its \
                 environment variable",
            ),
            Self::Host => Some("set the server's expected identity with --server-name"),
            Self::NoBundle => Some("name the bundle of the server's trust domain with --ca"),
            Self::Tls(ConnectError::NoRoots) => Some("name the server's CA with --ca"),
            Self::Tls(ConnectError::Server(_)) => Some(
                "check that --ca is the CA that issued the server's certificate, and that \
                 --server-name (or the URL's host) is a name in it",
            ),
            Self::Tls(ConnectError::Alert(_)) => Some(
                "check that the server trusts the CA of --cert; its log has the reason, and \
                 certificate_required means that --cert and --key are needed",
            ),
            Self::Tls(ConnectError::Failed(_)) => Some(
                "check that the server uses TLS on this port; for one that does not, use \
                 http://host:port",
            ),
            Self::TokenFile(_) => Some("name a file that holds a token with --token-file"),
            Self::Tls(ConnectError::File { .. }) => None,
        };
        next.map(Cow::Borrowed)
    }
}

impl TlsArgs {
    /// A flag that applies only to TLS.
    fn flag(&self) -> Option<&'static str> {
        let flags = [
            ("--ca", self.ca.is_some()),
            ("--cert", self.cert.is_some()),
            ("--server-name", self.server_name.is_some()),
        ];
        flags.into_iter().find(|(_, is_set)| *is_set).map(|(flag, _)| flag)
    }

    /// The connector for this server, which is not a socket. Warns if a token would be sent in
    /// plain text to another machine.
    pub(crate) fn connector(
        &self,
        server: &Server,
        sends_token: bool,
    ) -> Result<Connector, Problem> {
        if !server.is_tls() {
            if let Some(flag) = self.flag() {
                return Err(Problem::NotTls(flag));
            }
            if !self.plaintext && !server.is_local() {
                return Err(Problem::PlainHttp);
            }
            if sends_token && !server.is_local() {
                static ONCE: Once = Once::new();
                ONCE.call_once(|| output::message(PLAINTEXT_TOKEN));
            }
            return Ok(Connector::plaintext());
        }
        let expected = match &self.server_name {
            Some(name) => name.clone(),
            None => Expected::parse(server.host()).map_err(|_| Problem::Host)?,
        };
        if matches!(expected, Expected::Spiffe(_)) && self.ca.is_none() {
            return Err(Problem::NoBundle);
        }
        let pair = self.cert.clone().zip(self.key.clone());
        if let Some((_, key)) = &pair {
            static ONCE: Once = Once::new();
            ONCE.call_once(|| {
                if let Some(warning) = readable_by_others(key) {
                    output::message(&warning);
                }
            });
        }
        let files = Files { ca: self.ca.clone(), pair };
        Ok(Connector::tls(expected, files))
    }
}

/// The TLS failure that caused an error.
pub(crate) fn tls_failure(error: &(dyn Error + 'static)) -> Option<Problem> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(failure) = error.downcast_ref::<ConnectError>() {
            return Some(Problem::Tls(failure.clone()));
        }
        next = error.source();
    }
    None
}

/// Why a connection to a socket failed.
pub(crate) fn socket_failure(path: &Path, error: &(dyn Error + 'static)) -> Option<Problem> {
    SocketProblem::of(path, error).map(Problem::Socket)
}

/// The status of a call to a server that is not connected to.
pub(crate) fn unusable(problem: Problem) -> Status {
    let code = if problem.is_transient() { Code::Unavailable } else { Code::FailedPrecondition };
    let mut status = Status::new(code, problem.to_string());
    status.set_source(Arc::new(problem));
    status
}

/// The connection problem in a status; none if the server was only unreachable.
pub(crate) fn problem(status: &Status) -> Option<&Problem> {
    status.source()?.downcast_ref()
}

//! How commands reach a server: over TLS, or in plain text on loopback or a Unix socket.

mod socket;

use std::{
    borrow::Cow,
    error::Error,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Once},
    task::{Context, Poll},
};

use clap::Args;
use grantmint::tls::{
    client::{ConnectError, Expected, Files, connect},
    files::readable_by_others,
    prefixed::Prefixed,
};
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::{Code, Status};
use tower_service::Service;

use self::socket::SocketProblem;
use crate::output;

/// What is said where a token is sent in plain text.
const PLAINTEXT_TOKEN: &str = "the bearer token is sent in plain text: whoever can read it on the \
                               way can use it until it expires";

/// Whom the server must prove to be, and what the command proves.
#[derive(Clone, Debug, Args)]
pub(crate) struct TlsArgs {
    /// The authorities that the server is verified with, PEM; left out: the system's
    #[arg(long, value_name = "FILE", env = "GRANTMINT_CA")]
    ca: Option<PathBuf>,
    /// The certificate that is shown to the server, PEM
    #[arg(long, value_name = "FILE", env = "GRANTMINT_CERT", requires = "key")]
    cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE", env = "GRANTMINT_KEY", requires = "cert")]
    key: Option<PathBuf>,
    /// Whom the server must prove to be: a DNS name or a SPIFFE ID; left out: the URL's host
    #[arg(long, value_name = "NAME", env = "GRANTMINT_SERVER_NAME", value_parser = Expected::parse)]
    server_name: Option<Expected>,
    /// Speak plain text to a server off loopback: where a mesh encrypts
    #[arg(long, env = "GRANTMINT_PLAINTEXT")]
    plaintext: bool,
}

/// Why a server is not talked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error("plain http is allowed only to this machine: what is sent could be read on the way")]
    PlainHttp,
    #[error("the URL's host is no name that a certificate can have")]
    Host,
    #[error(
        "a SPIFFE ID is vouched for by its trust domain alone, not by this system's authorities"
    )]
    NoBundle,
    #[error("{file}: {why}")]
    TokenFile { file: String, why: String },
    #[error(transparent)]
    Tls(#[from] ConnectError),
    #[error(transparent)]
    Socket(SocketProblem),
}

impl Problem {
    /// Whether trying again may help: a handshake breaks where a server goes away.
    pub(crate) const fn heals(&self) -> bool {
        match self {
            Self::Tls(ConnectError::Failed(_)) => true,
            Self::Socket(problem) => problem.heals(),
            _ => false,
        }
    }

    /// What to do next.
    pub(crate) fn next(&self) -> Option<Cow<'static, str>> {
        let next = match self {
            Self::Socket(problem) => return Some(problem.next().into()),
            Self::PlainHttp => Some(
                "write https://host:port; or, where a mesh encrypts, add --plaintext (or set \
                 GRANTMINT_PLAINTEXT=1)",
            ),
            Self::Host => Some("say whom the server must prove to be with --server-name"),
            Self::NoBundle => Some("name the bundle of the server's trust domain with --ca"),
            Self::Tls(ConnectError::NoRoots) => Some("name the server's authority with --ca"),
            Self::Tls(ConnectError::Server(_)) => Some(
                "is --ca the authority that issued the server's certificate, and --server-name \
                 (or the URL's host) a name in it?",
            ),
            Self::Tls(ConnectError::Alert(_)) => Some(
                "does the server know the authority of --cert? its log says why it refuses, and \
                 certificate_required means that it wants --cert and --key",
            ),
            Self::Tls(ConnectError::Failed(_)) => {
                Some("does the server speak TLS there? http://host:port is for one that does not")
            }
            Self::TokenFile { .. } => Some("name a file that holds a token with --token-file"),
            Self::Tls(ConnectError::File { .. }) => None,
        };
        next.map(Cow::Borrowed)
    }
}

impl TlsArgs {
    /// What connects to this server; none for plain text. Whoever sends a token in plain text off
    /// this machine is warned.
    pub(crate) fn dialer(
        &self,
        server: &Uri,
        sends_token: bool,
    ) -> Result<Option<Dialer>, Problem> {
        let host = server.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if server.scheme_str() != Some("https") {
            let is_allowed = self.plaintext || is_loopback(host);
            if is_allowed && sends_token && !is_loopback(host) {
                static ONCE: Once = Once::new();
                ONCE.call_once(|| output::say(PLAINTEXT_TOKEN));
            }
            return is_allowed.then_some(None).ok_or(Problem::PlainHttp);
        }
        let expected = match &self.server_name {
            Some(name) => name.clone(),
            None => Expected::parse(host).map_err(|_| Problem::Host)?,
        };
        if matches!(expected, Expected::Spiffe(_)) && self.ca.is_none() {
            return Err(Problem::NoBundle);
        }
        let pair = self.cert.clone().zip(self.key.clone());
        if let Some((_, key)) = &pair {
            static ONCE: Once = Once::new();
            ONCE.call_once(|| {
                if let Some(warning) = readable_by_others(key) {
                    output::say(&warning);
                }
            });
        }
        let files = Files { ca: self.ca.clone(), pair };
        Ok(Some(Dialer { expected, files }))
    }
}

fn is_loopback(host: &str) -> bool {
    let address: Result<std::net::IpAddr, _> = host.parse();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|it| it.is_loopback())
}

/// Connects to a server over TLS.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    expected: Expected,
    files: Files,
}

type Connected = TokioIo<Prefixed<TlsStream<TcpStream>>>;

impl Service<Uri> for Dialer {
    type Response = Connected;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Connected, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let Self { expected, files } = self.clone();
        Box::pin(async move {
            let host = server.host().ok_or(io::ErrorKind::InvalidInput).map_err(io::Error::from)?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let port = server.port_u16().unwrap_or(443);
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(connect(stream, &expected, &files).await?))
        })
    }
}

/// The TLS failure that an error comes from.
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

/// The status of a server that is not talked to.
pub(crate) fn unusable(problem: Problem) -> Status {
    let code = if problem.heals() { Code::Unavailable } else { Code::FailedPrecondition };
    let mut status = Status::new(code, problem.to_string());
    status.set_source(Arc::new(problem));
    status
}

/// What is wrong between this command and its server; none where only the
/// server's absence is.
pub(crate) fn problem(status: &Status) -> Option<&Problem> {
    status.source()?.downcast_ref()
}

//! Failures to connect to a server's Unix socket.

use std::{
    error::Error,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use grantmint::listen::unix::Group;
use grantmint_client::connect::is_transient_socket_error;

/// Why a connection to a socket failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SocketProblem {
    #[error("the socket {} does not exist", .0.display())]
    Missing(PathBuf),
    #[error("no server listens on the socket {}", .0.display())]
    Refused(PathBuf),
    #[error("this user may not open the socket {}", path.display())]
    Denied { path: PathBuf, owner: Option<Owner> },
    #[error("cannot connect to the socket {}: {why}", path.display())]
    Other { path: PathBuf, why: String, is_transient: bool },
}

/// The owner and mode of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    mode: u32,
    uid: u32,
    group: Group,
}

impl SocketProblem {
    /// The meaning of a connection error; none if no system error caused it.
    pub(super) fn of(path: &Path, error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return Some(Self::explain(path, error));
            }
            next = error.source();
        }
        None
    }

    fn explain(path: &Path, error: &io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing(path),
            io::ErrorKind::ConnectionRefused => Self::Refused(path),
            io::ErrorKind::PermissionDenied => {
                let owner = fs::metadata(&path).ok().map(|file| Owner {
                    mode: file.mode() & 0o7777,
                    uid: file.uid(),
                    group: Group::of_id(file.gid()),
                });
                Self::Denied { path, owner }
            }
            kind => Self::Other {
                path,
                why: error.to_string(),
                is_transient: is_transient_socket_error(kind),
            },
        }
    }

    /// Whether a retry may help: [`is_transient_socket_error`] decides.
    pub(crate) const fn is_transient(&self) -> bool {
        match self {
            Self::Missing(_) | Self::Refused(_) => true,
            Self::Denied { .. } => false,
            Self::Other { is_transient, .. } => *is_transient,
        }
    }

    /// What to do next.
    pub(crate) fn next(&self) -> String {
        match self {
            Self::Missing(_) => "check that the server is running, and that this is the path in \
                                 its [server] unix; to start one: grantmint serve --config FILE"
                .to_owned(),
            Self::Refused(_) => {
                "the server has stopped: restart it, it replaces the socket".to_owned()
            }
            Self::Denied { owner: Some(Owner { mode, uid, group }), .. } => format!(
                "it belongs to user {uid} and group {group} with mode {mode:04o}: run as a user \
                 in that group, or change [server] unix"
            ),
            Self::Denied { owner: None, .. } => {
                "this user may not enter its directory: run as a user with access".to_owned()
            }
            Self::Other { .. } => {
                "check that this is the path in the server's [server] unix".to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denied_socket_error_names_the_group_with_access() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let problem = SocketProblem::of(&path, &denied).unwrap();
        let path = path.display();
        assert_eq!(problem.to_string(), format!("this user may not open the socket {path}"));
        let path = dir.path().join("api.sock");
        let group = Group::of_id(fs::metadata(&path).unwrap().gid());
        assert!(problem.next().contains(&format!("and group {group} with mode 0")));
        assert!(!problem.is_transient());
        let hidden = SocketProblem::of(Path::new("/nowhere/api.sock"), &denied).unwrap();
        assert!(hidden.next().contains("its directory"));
    }

    #[test]
    fn socket_errors_are_transient_as_the_client_decides() {
        use io::ErrorKind::{
            ConnectionRefused, InvalidInput, NotADirectory, NotFound, PermissionDenied, TimedOut,
            WouldBlock,
        };

        for kind in [
            ConnectionRefused,
            InvalidInput,
            NotADirectory,
            NotFound,
            PermissionDenied,
            TimedOut,
            WouldBlock,
        ] {
            let problem = SocketProblem::explain(Path::new("/api.sock"), &io::Error::from(kind));
            assert_eq!(problem.is_transient(), is_transient_socket_error(kind), "{kind:?}");
        }
    }
}

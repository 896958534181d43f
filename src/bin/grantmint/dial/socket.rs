//! Why a server cannot be reached through its Unix socket.

use std::{
    error::Error,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use grantmint::listen::unix::Group;

/// Why a socket does not lead to a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SocketProblem {
    #[error("there is no socket {}", .0.display())]
    Missing(PathBuf),
    #[error("nobody listens on the socket {}", .0.display())]
    Refused(PathBuf),
    #[error("the socket {} may not be opened by this user", path.display())]
    Denied { path: PathBuf, owner: Option<Owner> },
    #[error("cannot connect to the socket {}: {why}", path.display())]
    Other { path: PathBuf, why: String },
}

/// Who may open a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    mode: u32,
    uid: u32,
    group: Group,
}

impl SocketProblem {
    /// What the error of a connection attempt means; none where it comes from nothing that the
    /// system said.
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
            _ => Self::Other { path, why: error.to_string() },
        }
    }

    /// Whether trying again may help: a server that starts again makes its socket anew.
    pub(crate) const fn heals(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Refused(_))
    }

    /// What to do next.
    pub(crate) fn next(&self) -> String {
        match self {
            Self::Missing(_) => "does the server run, and is this the path in its [server] unix? \
                                 start one with: grantmint serve --config FILE"
                .to_owned(),
            Self::Refused(_) => {
                "the server has ended: start it again, it replaces the socket".to_owned()
            }
            Self::Denied { owner: Some(Owner { mode, uid, group }), .. } => format!(
                "it belongs to user {uid} and group {group} with mode {mode:04o}: run as a user \
                 in that group, or change [server] unix"
            ),
            Self::Denied { owner: None, .. } => {
                "this user may not enter its directory: run as a user who may".to_owned()
            }
            Self::Other { .. } => "is this the path in the server's [server] unix?".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_not_open_a_socket_is_told_which_group_may() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let problem = SocketProblem::of(&path, &denied).unwrap();
        assert!(problem.to_string().ends_with("api.sock may not be opened by this user"));
        let group = Group::of_id(fs::metadata(&path).unwrap().gid());
        assert!(problem.next().contains(&format!("and group {group} with mode 0")));
        assert!(!problem.heals());
        let hidden = SocketProblem::of(Path::new("/nowhere/api.sock"), &denied).unwrap();
        assert!(hidden.next().contains("its directory"));
    }
}

//! Unix sockets: their configuration, and their files.

mod file;
mod group;

use std::{
    fmt, fs, io,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, net::UnixListener as StdListener},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, access},
    io::{Errno, FdFlags, fcntl_setfd},
    net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket},
};
use tokio::net::{UnixListener, UnixStream};

use self::file::{Lock, SocketFile};
pub use self::group::{Group, GroupError};

/// The maximum length of a socket path in bytes: `sun_path` has 108 bytes, including a terminating
/// zero (unix(7)).
const MAX_PATH: usize = 107;

/// The length of the accept queue, the same that tokio uses for TCP listeners.
const BACKLOG: i32 = 1_024;

/// The user ID that the kernel reports for users it cannot map, for example those of another user
/// namespace, unless configured otherwise (`overflowuid`, proc(5)).
pub const OVERFLOW_UID: u32 = 65_534;

/// A Unix socket to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unix {
    /// The path of the socket file.
    pub path: SocketPath,
    /// The permissions of the file.
    pub mode: SocketMode,
    /// The group of the file; `None`: the server's own.
    pub group: Option<Group>,
}

impl fmt::Display for Unix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", self.path.0.display())
    }
}

/// A socket path: absolute and not too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketPath(PathBuf);

/// Why a string is not a socket path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is relative.
    #[error("must be an absolute path, such as /run/grantmint/api.sock")]
    Relative,
    /// It ends with a slash.
    #[error("names a directory: add the socket's name, as in /run/grantmint/api.sock")]
    Directory,
    /// It is too long.
    #[error("is {0} bytes long; a socket path has at most {MAX_PATH}")]
    Long(usize),
    /// It contains a zero byte.
    #[error("must not contain a zero byte")]
    Zero,
}

impl SocketPath {
    /// Parses a path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        match text.len() {
            _ if !text.starts_with('/') => Err(PathError::Relative),
            _ if text.ends_with('/') => Err(PathError::Directory),
            _ if text.contains('\0') => Err(PathError::Zero),
            length if length > MAX_PATH => Err(PathError::Long(length)),
            _ => Ok(Self(text.into())),
        }
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

/// The permissions of a socket file. Connecting needs write permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketMode(u32);

/// Why a string is not a socket mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// It is not three octal digits.
    #[error("must be three octal digits after a 0, such as \"0660\"")]
    Form,
    /// It grants no write permission.
    #[error("nobody could connect: connecting needs write permission, as in \"0660\"")]
    Nobody,
}

impl SocketMode {
    /// Parses the octal digits of a mode.
    pub fn parse(text: &str) -> Result<Self, ModeError> {
        let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
        if digits.len() != 3 || !digits.bytes().all(|digit| matches!(digit, b'0'..=b'7')) {
            return Err(ModeError::Form);
        }
        let mode = u32::from_str_radix(digits, 8).map_err(|_| ModeError::Form)?;
        if mode & 0o222 == 0 { Err(ModeError::Nobody) } else { Ok(Self(mode)) }
    }

    /// Whether every user of the machine may connect.
    #[must_use]
    pub const fn is_open_to_all(self) -> bool {
        self.0 & 0o002 != 0
    }
}

impl Default for SocketMode {
    fn default() -> Self {
        Self(0o660)
    }
}

impl fmt::Display for SocketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// Why listening on a Unix socket fails.
#[derive(Debug, thiserror::Error)]
pub enum UnixError {
    /// Another server listens on it.
    #[error("another server is listening on it")]
    Taken,
    /// Another server replaced the file during the start.
    #[error("another server is starting on it at the same time")]
    Replaced,
    /// The path names a file that is not a socket.
    #[error("the path names a file that is not a socket; the file was kept")]
    NoSocket,
    /// The directory does not exist.
    #[error("the directory {} does not exist", .0.display())]
    NoDirectory(PathBuf),
    /// The directory is not writable.
    #[error("cannot create or remove files in {}: {error}", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// A socket exists, and connecting to it fails, so that it may be in use.
    #[error("the socket already exists, and connecting to it failed: {0}")]
    Unclear(io::Error),
    /// The group of the file cannot be changed.
    #[error("cannot change its group to {group}: {error}")]
    Group {
        /// The group.
        group: Group,
        /// The reason.
        error: io::Error,
    },
    /// Another I/O error.
    #[error(transparent)]
    Other(#[from] io::Error),
}

impl UnixError {
    /// The suggested fix.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::Taken | Self::Replaced => {
                "stop the other server, or give this one another path in [server] unix"
            }
            Self::NoSocket => "remove the file, or choose another path in [server] unix",
            Self::NoDirectory(_) => {
                "create the directory; systemd does so for RuntimeDirectory=grantmint"
            }
            Self::Directory { .. } => {
                "the server's user must own the directory or have permission to \
                 write to it"
            }
            Self::Group { .. } => "the server's user must be a member of the group",
            Self::Unclear(_) | Self::Other(_) => "see [server] unix in the configuration",
        }
    }
}

/// A bound socket with its file, group and mode, which does not accept connections yet.
#[derive(Debug)]
pub struct Bound {
    file: SocketFile,
    socket: OwnedFd,
    _lock: Lock,
}

impl Unix {
    /// Creates the socket and its file. An existing file is replaced only if it is a socket that no
    /// server listens on. No other server can replace the file until this one listens.
    pub fn bind(&self) -> Result<Bound, UnixError> {
        let path = self.path.as_path();
        let lock = Lock::take(path).map_err(|error| self.explain(error))?;
        file::remove_stale(path)?;
        let socket =
            socket(AddressFamily::UNIX, SocketType::STREAM, None).map_err(io::Error::from)?;
        fcntl_setfd(&socket, FdFlags::CLOEXEC).map_err(io::Error::from)?;
        let address = SocketAddrUnix::new(path.as_os_str().as_bytes()).map_err(io::Error::from)?;
        bind(&socket, &address).map_err(|error| self.explain(error))?;
        let file = SocketFile::open_at(path)?;
        if let Some(group) = &self.group {
            file.set_group(group)
                .map_err(|error| UnixError::Group { group: group.clone(), error })?;
        }
        file.set_mode(self.mode.0)?;
        Ok(Bound { file, socket, _lock: lock })
    }

    /// Whether [`Self::bind`] would succeed, without creating or removing a file.
    pub fn probe(&self) -> Result<(), UnixError> {
        let path = self.path.as_path();
        file::find_stale(path)?;
        let needed = Access::WRITE_OK | Access::EXEC_OK;
        access(file::directory_of(path), needed).map_err(|error| self.explain(error))
    }

    /// Explains why the socket file could not be created.
    fn explain(&self, error: Errno) -> UnixError {
        let directory = file::directory_of(&self.path.0);
        match error {
            Errno::ADDRINUSE | Errno::AGAIN => UnixError::Replaced,
            Errno::NOENT | Errno::NOTDIR => UnixError::NoDirectory(directory),
            Errno::ACCESS | Errno::PERM | Errno::ROFS => {
                UnixError::Directory { directory, error: error.into() }
            }
            other => UnixError::Other(other.into()),
        }
    }
}

impl Bound {
    /// Starts accepting connections.
    pub fn listen(self) -> Result<Listener, UnixError> {
        // On failure, the file is removed before the socket is closed, as in `Listener`.
        let Self { _lock, socket, file } = self;
        listen(&socket, BACKLOG).map_err(io::Error::from)?;
        // Any process with write access to the directory may have removed or replaced it.
        if !file.exists() {
            return Err(UnixError::Replaced);
        }
        let socket = StdListener::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Listener { _file: file, socket: UnixListener::from_std(socket)? })
    }
}

/// A listening Unix socket. Its file is removed on drop.
#[derive(Debug)]
pub struct Listener {
    /// Dropped before the socket: while the socket is open, no other file can reuse the inode.
    _file: SocketFile,
    socket: UnixListener,
}

impl Listener {
    /// Accepts a connection and returns the user ID of the peer process. Cancel safe.
    pub async fn accept(&self) -> io::Result<(UnixStream, u32)> {
        let (stream, _) = self.socket.accept().await?;
        let uid = stream.peer_cred()?.uid();
        Ok((stream, uid))
    }
}

/// The user ID that this kernel reports for users it cannot map.
#[must_use]
pub fn overflow_uid() -> u32 {
    let text = fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(OVERFLOW_UID)
}

#[cfg(test)]
mod tests;

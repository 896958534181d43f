//! A Unix socket to listen on: how it is written, and the file that stands for it.

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
    io::{Errno, FdFlags, fcntl_setfd},
    net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket},
};
use tokio::net::{UnixListener, UnixStream};

use self::file::{Lock, SocketFile};
pub use self::group::{Group, GroupError};

/// Bytes of the longest path of a socket, which ends with a zero byte in the 108 that there are
/// (`sun_path`, unix(7)).
const LONGEST_PATH: usize = 107;

/// Connections that wait to be accepted, as many as tokio allows a listener of TCP.
const BACKLOG: i32 = 1_024;

/// What the kernel says instead of a user id that has no meaning here, as of another user
/// namespace, unless configured otherwise (`overflowuid`, proc(5)).
pub const OVERFLOW_UID: u32 = 65_534;

/// A Unix socket to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unix {
    /// Where its file is.
    pub path: SocketPath,
    /// Who may open it.
    pub mode: SocketMode,
    /// The group that the file is given to; none: the server's own.
    pub group: Option<Group>,
}

impl fmt::Display for Unix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", self.path.0.display())
    }
}

/// The path of a socket: absolute, and no longer than the system allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketPath(PathBuf);

/// A text that is no path of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not from the root.
    #[error("must be an absolute path, such as /run/grantmint/api.sock")]
    Relative,
    /// Of a directory.
    #[error("names a directory: add the socket's name, as in /run/grantmint/api.sock")]
    Directory,
    /// Longer than the system allows.
    #[error("is {0} bytes long, and the path of a socket has at most {LONGEST_PATH}")]
    Long(usize),
    /// With a zero byte.
    #[error("must not contain a zero byte")]
    Zero,
}

impl SocketPath {
    /// Takes the path of a socket as a person writes it.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        match text.len() {
            _ if !text.starts_with('/') => Err(PathError::Relative),
            _ if text.ends_with('/') => Err(PathError::Directory),
            _ if text.contains('\0') => Err(PathError::Zero),
            length if length > LONGEST_PATH => Err(PathError::Long(length)),
            _ => Ok(Self(text.into())),
        }
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

/// The permissions of a socket's file. To connect is to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketMode(u32);

/// A text that is no mode of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// Not three octal digits.
    #[error("must be three octal digits after a 0, such as \"0660\"")]
    Form,
    /// Nobody may write.
    #[error("nobody could connect: connecting needs write permission, as in \"0660\"")]
    Nobody,
}

impl SocketMode {
    /// Takes the octal digits of a mode.
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

/// Why a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum UnixError {
    /// Another process listens on it.
    #[error("another server listens there")]
    Taken,
    /// Another process replaced the file while this one started.
    #[error("another server is started there at the same moment")]
    Replaced,
    /// Something else is at its path.
    #[error("there is a file which is no socket, and it is not deleted")]
    NoSocket,
    /// The directory does not exist.
    #[error("the directory {} does not exist", .0.display())]
    NoDirectory(PathBuf),
    /// The directory may not be written to.
    #[error("files cannot be made or removed in {}: {error}", directory.display())]
    Directory {
        /// Which.
        directory: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is a socket, and it cannot be told whether somebody listens.
    #[error("there is a socket already, and connecting to it fails: {0}")]
    Unclear(io::Error),
    /// It cannot be given to its group.
    #[error("it cannot be given to group {group}: {error}")]
    Group {
        /// Which.
        group: Group,
        /// Why.
        error: io::Error,
    },
    /// Anything else.
    #[error(transparent)]
    Other(#[from] io::Error),
}

impl UnixError {
    /// What to do next.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::Taken | Self::Replaced => {
                "stop the other server, or give this one another path in [server] unix"
            }
            Self::NoSocket => "remove the file, or choose another path in [server] unix",
            Self::NoDirectory(_) => {
                "make the directory; systemd does that for RuntimeDirectory=grantmint"
            }
            Self::Directory { .. } => {
                "the user that the server runs as must own the directory, or be allowed to write \
                 to it"
            }
            Self::Group { .. } => "the user that the server runs as must be in that group",
            Self::Unclear(_) | Self::Other(_) => "see [server] unix in the configuration",
        }
    }
}

/// A socket that has its file, group and mode, and that nobody can connect to yet.
#[derive(Debug)]
pub struct Bound {
    file: SocketFile,
    socket: OwnedFd,
    _lock: Lock,
}

impl Unix {
    /// Makes the socket and its file. What is at the path is replaced only where it is a socket
    /// that nobody listens on. Until this server listens too, no other one replaces the file.
    pub fn bind(&self) -> Result<Bound, UnixError> {
        let path = self.path.as_path();
        let lock = Lock::take(path).map_err(|error| self.explain(error))?;
        file::remove_stale(path)?;
        let socket =
            socket(AddressFamily::UNIX, SocketType::STREAM, None).map_err(io::Error::from)?;
        fcntl_setfd(&socket, FdFlags::CLOEXEC).map_err(io::Error::from)?;
        let address = SocketAddrUnix::new(path.as_os_str().as_bytes()).map_err(io::Error::from)?;
        bind(&socket, &address).map_err(|error| self.explain(error))?;
        let file = SocketFile::made_at(path)?;
        if let Some(group) = &self.group {
            file.give_to(group)
                .map_err(|error| UnixError::Group { group: group.clone(), error })?;
        }
        file.set_mode(self.mode.0)?;
        Ok(Bound { file, socket, _lock: lock })
    }

    /// Why the socket has no file.
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
    /// Lets peers connect.
    pub fn listen(self) -> Result<Listener, UnixError> {
        // Where this fails, the file is removed before the socket is closed, as in `Listener`.
        let Self { _lock, socket, file } = self;
        listen(&socket, BACKLOG).map_err(io::Error::from)?;
        // Whoever may write to the directory may have removed or replaced it.
        if !file.is_there() {
            return Err(UnixError::Replaced);
        }
        let socket = StdListener::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Listener { _file: file, socket: UnixListener::from_std(socket)? })
    }
}

/// A Unix socket that is listened on. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    /// Dropped before the socket: while that is open, no other file can have the same inode.
    _file: SocketFile,
    socket: UnixListener,
}

impl Listener {
    /// The next connection, and the user id of the process that made it. Dropping the future
    /// loses none.
    pub async fn accept(&self) -> io::Result<(UnixStream, u32)> {
        let (stream, _) = self.socket.accept().await?;
        let uid = stream.peer_cred()?.uid();
        Ok((stream, uid))
    }
}

/// What this kernel says instead of a user id that has no meaning here.
#[must_use]
pub fn overflow_uid() -> u32 {
    let text = fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(OVERFLOW_UID)
}

#[cfg(test)]
mod tests;

//! The file of a Unix socket: replaced where nobody listens on it any more, and removed only by
//! the server that made it.

use std::{
    fs::{self, File, Metadata},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            ffi::OsStrExt,
            fs::{FileTypeExt, MetadataExt},
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FlockOperation, Gid, Mode, OFlags, chmod, chownat, fcntl_setfl, flock, open},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket},
};

use super::{Group, UnixError};

/// The file of a socket of ours. It is removed when this is dropped, unless another is in its
/// place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: Identity,
    /// The file itself, whatever is at its path later.
    handle: File,
}

/// Which file it is, whatever its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// That of the socket at a path; none where there is something else or nothing.
    fn of_socket(path: &Path) -> io::Result<Option<Self>> {
        fs::symlink_metadata(path).map(|found| Self::if_socket(&found))
    }

    fn if_socket(found: &Metadata) -> Option<Self> {
        found.file_type().is_socket().then(|| Self::of(found))
    }

    fn of(found: &Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}

impl SocketFile {
    /// The file that was just made.
    pub(super) fn made_at(path: &Path) -> Result<Self, UnixError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = open(path, flags, Mode::empty()).map_err(io::Error::from)?;
        let handle = File::from(handle);
        let identity = Identity::if_socket(&handle.metadata()?).ok_or(UnixError::Replaced)?;
        Ok(Self { path: path.to_owned(), identity, handle })
    }

    /// Gives it to a group.
    pub(super) fn give_to(&self, group: &Group) -> io::Result<()> {
        let group = Gid::from_raw(group.id());
        Ok(chownat(&self.handle, c"", None, Some(group), AtFlags::EMPTY_PATH)?)
    }

    /// Sets its permissions, whatever the umask.
    pub(super) fn set_mode(&self, mode: u32) -> io::Result<()> {
        // fchmod(2) takes no handle that was opened with O_PATH; this name of it is not looked
        // up by its path, so that no link is followed (proc(5)).
        let name = format!("/proc/self/fd/{}", self.handle.as_raw_fd());
        Ok(chmod(name, Mode::from_raw_mode(mode))?)
    }

    /// Whether it is still at its path.
    pub(super) fn is_there(&self) -> bool {
        matches!(Identity::of_socket(&self.path), Ok(Some(found)) if found == self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The right to replace the file of a socket, which one server at a time has. It is a lock on a
/// file beside it, which is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes it for this socket; `AGAIN` while another server has it.
    pub(super) fn take(socket: &Path) -> Result<Self, Errno> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(open(&path, flags, Mode::RUSR | Mode::WUSR)?);
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        // Another server that held it may have removed this file before the lock was taken.
        let of_path = fs::symlink_metadata(&path).ok().map(|found| Identity::of(&found));
        let of_file = file.metadata().ok().map(|found| Identity::of(&found));
        if of_file.is_none() || of_path != of_file {
            return Err(Errno::AGAIN);
        }
        Ok(Self { path, _file: file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes a socket that nobody listens on, as a server leaves it that was killed.
pub(super) fn remove_stale(path: &Path) -> Result<(), UnixError> {
    let found = match Identity::of_socket(path) {
        Ok(Some(found)) => found,
        Ok(None) => return Err(UnixError::NoSocket),
        // Where the directory is missing too, making the socket will say so.
        Err(error) if is_missing(&error) => return Ok(()),
        Err(error) => return Err(UnixError::Unclear(error)),
    };
    match try_to_connect(path) {
        // Its queue is full: somebody is to accept.
        Ok(()) | Err(Errno::AGAIN) => Err(UnixError::Taken),
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::CONNREFUSED) => {
            // Another server may have replaced it since.
            if Identity::of_socket(path).ok().flatten() != Some(found) {
                return Err(UnixError::Replaced);
            }
            fs::remove_file(path)
                .map_err(|error| UnixError::Directory { directory: directory_of(path), error })
        }
        Err(error) => Err(UnixError::Unclear(error.into())),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The directory that the file of a socket is in.
pub(super) fn directory_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_owned()
}

/// Connects without waiting.
fn try_to_connect(path: &Path) -> Result<(), Errno> {
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    fcntl_setfl(&socket, OFlags::NONBLOCK)?;
    connect(&socket, &SocketAddrUnix::new(path.as_os_str().as_bytes())?)
}

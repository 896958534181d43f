//! The file of a Unix socket. A stale file is replaced, and a file is removed only by the server
//! that created it.

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

/// A socket file of this server. It is removed on drop, unless the path names another file by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: Identity,
    /// The file itself, independent of its path.
    handle: File,
}

/// Identifies a file independently of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// The identity of the socket at a path; `None` if the file is not a socket.
    fn of_socket(path: &Path) -> io::Result<Option<Self>> {
        fs::symlink_metadata(path).map(|metadata| Self::if_socket(&metadata))
    }

    fn if_socket(metadata: &Metadata) -> Option<Self> {
        metadata.file_type().is_socket().then(|| Self::of(metadata))
    }

    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl SocketFile {
    /// Opens the file that was just created.
    pub(super) fn open_at(path: &Path) -> Result<Self, UnixError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = open(path, flags, Mode::empty()).map_err(io::Error::from)?;
        let handle = File::from(handle);
        let identity = Identity::if_socket(&handle.metadata()?).ok_or(UnixError::Replaced)?;
        Ok(Self { path: path.to_owned(), identity, handle })
    }

    /// Changes the file's group.
    pub(super) fn set_group(&self, group: &Group) -> io::Result<()> {
        let group = Gid::from_raw(group.id());
        Ok(chownat(&self.handle, c"", None, Some(group), AtFlags::EMPTY_PATH)?)
    }

    /// Sets the permissions, independent of the umask.
    pub(super) fn set_mode(&self, mode: u32) -> io::Result<()> {
        // fchmod(2) does not accept O_PATH descriptors. This name refers to the open file and is
        // not resolved by path, so that no link is followed (proc(5)).
        let name = format!("/proc/self/fd/{}", self.handle.as_raw_fd());
        Ok(chmod(name, Mode::from_raw_mode(mode))?)
    }

    /// Whether the file is still at its path.
    pub(super) fn exists(&self) -> bool {
        matches!(Identity::of_socket(&self.path), Ok(Some(found)) if found == self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.exists() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The exclusive right to replace a socket file. It is a lock on a second file next to it, which is
/// removed on drop.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock for a socket; fails with `AGAIN` while another server holds it.
    pub(super) fn take(socket: &Path) -> Result<Self, Errno> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(open(&path, flags, Mode::RUSR | Mode::WUSR)?);
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        // The previous holder may have removed this file before the lock was taken.
        let of_path = fs::symlink_metadata(&path).ok().map(|metadata| Identity::of(&metadata));
        let of_file = file.metadata().ok().map(|metadata| Identity::of(&metadata));
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

/// Removes a stale socket, such as one left by a killed server.
pub(super) fn remove_stale(path: &Path) -> Result<(), UnixError> {
    let Some(found) = find_stale(path)? else { return Ok(()) };
    // Another server may have replaced it in the meantime.
    if Identity::of_socket(path).ok().flatten() != Some(found) {
        return Err(UnixError::Replaced);
    }
    fs::remove_file(path)
        .map_err(|error| UnixError::Directory { directory: directory_of(path), error })
}

/// Finds a stale socket. No other file may be at its path.
pub(super) fn find_stale(path: &Path) -> Result<Option<Identity>, UnixError> {
    let found = match Identity::of_socket(path) {
        Ok(Some(found)) => found,
        Ok(None) => return Err(UnixError::NoSocket),
        // If the directory is missing too, creating the socket reports it.
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(UnixError::Unclear(error)),
    };
    match try_to_connect(path) {
        // A full queue also means that a server listens.
        Ok(()) | Err(Errno::AGAIN) => Err(UnixError::Taken),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::CONNREFUSED) => Ok(Some(found)),
        Err(error) => Err(UnixError::Unclear(error.into())),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The directory of a socket file.
pub(super) fn directory_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_owned()
}

/// Connects without blocking.
fn try_to_connect(path: &Path) -> Result<(), Errno> {
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    fcntl_setfl(&socket, OFlags::NONBLOCK)?;
    connect(&socket, &SocketAddrUnix::new(path.as_os_str().as_bytes())?)
}

//! The file of a Unix socket: replaced where nobody listens on it any more, and removed only by
//! the server that made it.

use std::{
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{OFlags, fcntl_setfl},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket},
};

use super::UnixError;

/// The file of a socket of ours. It is removed when this is dropped, unless another is in its
/// place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: Identity,
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
        let found = fs::symlink_metadata(path)?;
        let identity = Self { device: found.dev(), inode: found.ino() };
        Ok(found.file_type().is_socket().then_some(identity))
    }
}

impl SocketFile {
    /// The file that was just made.
    pub(super) fn made_at(path: &Path) -> Result<Self, UnixError> {
        let identity = Identity::of_socket(path)?.ok_or(UnixError::Replaced)?;
        Ok(Self { path: path.to_owned(), identity })
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

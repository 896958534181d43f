//! The output of the audit log: a file that can be moved, removed or truncated or whose disk can
//! fill up, a pipe, or standard output.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{self, OFlags};

use super::Target;

/// Other users must not read which identities got tokens.
const MODE: u32 = 0o640;

/// An output of records.
#[derive(Debug)]
pub(super) enum Output {
    /// A file, by its path.
    File {
        path: PathBuf,
        /// `None` if it could not be opened.
        open: Option<Open>,
    },
    /// Standard output.
    Stdout(File),
}

/// An open file.
#[derive(Debug)]
pub(super) struct Open {
    file: File,
    id: FileId,
}

/// Identifies a file independently of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl Output {
    /// Opens the target.
    pub(super) fn open(target: &Target) -> io::Result<Self> {
        match target {
            Target::File(path) => {
                Ok(Self::File { path: path.clone(), open: Some(Open::at(path)?) })
            }
            // A descriptor of its own: std's handle buffers and holds a lock while it blocks.
            Target::Stdout => Ok(Self::Stdout(io::stdout().as_fd().try_clone_to_owned()?.into())),
        }
    }

    /// Reopens the path if it names another file than the open one. Returns whether it does.
    pub(super) fn follow(&mut self) -> io::Result<bool> {
        match self {
            Self::File { path, open: Some(open) }
                if path.metadata().is_ok_and(|it| FileId::of(&it) == open.id) =>
            {
                Ok(false)
            }
            Self::File { .. } | Self::Stdout(_) => self.reopen(),
        }
    }

    /// Reopens the path. Keeps the open file if it is the same one. Returns whether it is another.
    /// If the path cannot be opened, nothing is written until it can: records in a file without a
    /// path would be lost.
    pub(super) fn reopen(&mut self) -> io::Result<bool> {
        let Self::File { path, open } = self else { return Ok(false) };
        match Open::at(path) {
            Ok(new) if open.as_ref().is_some_and(|open| open.id == new.id) => Ok(false),
            Ok(new) => {
                *open = Some(new);
                Ok(true)
            }
            Err(error) => {
                *open = None;
                Err(error)
            }
        }
    }

    /// Whether there is an open file to write to.
    pub(super) const fn is_open(&self) -> bool {
        !matches!(self, Self::File { open: None, .. })
    }

    /// Writes some of `bytes` and returns how many.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self {
            Self::File { open: Some(open), .. } => open.file.write(bytes)?,
            Self::File { open: None, .. } => return Err(io::ErrorKind::NotFound.into()),
            Self::Stdout(stdout) => stdout.write(bytes)?,
        };
        if written == 0 && !bytes.is_empty() {
            Err(io::ErrorKind::WriteZero.into())
        } else {
            Ok(written)
        }
    }

    /// The file's length; 0 if the output has none.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::File { open: Some(open), .. } => open.file.metadata().map_or(0, |it| it.len()),
            Self::File { open: None, .. } | Self::Stdout(_) => 0,
        }
    }
}

/// Whether a target can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It exists and can be opened.
    Writable,
    /// It does not exist, and can be created.
    Missing,
}

impl Target {
    /// Tries to open the target as the audit log does, without creating it.
    ///
    /// # Errors
    ///
    /// It can be neither opened nor created.
    pub fn access(&self) -> io::Result<Access> {
        let Self::File(path) = self else { return Ok(Access::Writable) };
        match options().open(path) {
            Ok(_) => Ok(Access::Writable),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
                let needed = fs::Access::WRITE_OK | fs::Access::EXEC_OK;
                fs::access(directory.unwrap_or_else(|| Path::new(".")), needed)?;
                Ok(Access::Missing)
            }
            Err(error) => Err(error),
        }
    }
}

/// Opens an existing file. Opening a pipe without a reader fails at once, and so does writing to a
/// full one.
fn options() -> OpenOptions {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let mut options = OpenOptions::new();
    options.append(true).custom_flags(flags.cast_signed());
    options
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = options().create(true).mode(MODE).open(path)?;
        let id = FileId::of(&file.metadata()?);
        Ok(Self { file, id })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read, os::unix::fs::PermissionsExt};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn path_that_names_another_file_is_reopened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut output = Output::open(&Target::File(path.clone())).unwrap();
        output.write(b"one\n").unwrap();
        assert!(!output.follow().unwrap());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0, "{mode:o}: not readable by others");

        fs::rename(&path, dir.path().join("moved")).unwrap();
        assert!(output.follow().unwrap(), "moved");
        output.write(b"two\n").unwrap();
        fs::remove_file(&path).unwrap();
        assert!(output.follow().unwrap(), "removed");
        output.write(b"three\n").unwrap();
        assert_eq!(fs::read(dir.path().join("moved")).unwrap(), b"one\n");
        assert_eq!(fs::read(&path).unwrap(), b"three\n");

        fs::write(&path, "").unwrap();
        output.write(b"four\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"four\n", "emptied in place");
        fs::remove_dir_all(dir.path()).unwrap();
        assert!(output.follow().is_err() && output.write(b"five\n").is_err());
    }

    #[test]
    fn reopened_pipe_keeps_its_reader() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, &path, FileType::Fifo, mode, 0).unwrap();
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let mut reader = OpenOptions::new().read(true).custom_flags(flags).open(&path).unwrap();
        let mut output = Output::open(&Target::File(path)).unwrap();
        for _ in 0..2 {
            assert!(!output.reopen().unwrap());
            let waiting = reader.read(&mut [0; 8]).unwrap_err();
            assert_eq!(waiting.kind(), io::ErrorKind::WouldBlock, "no end of file");
        }
        output.write(b"one\n").unwrap();
        let mut read = [0; 8];
        assert_eq!(reader.read(&mut read).unwrap(), 4);
    }
}

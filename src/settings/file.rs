//! Opens files that may be replaced at any time.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::{OFlags, StatVfsMountFlags, statvfs};

/// Opens a regular file. Anything else, such as a pipe without a writer, could block the reader
/// forever.
///
/// # Errors
///
/// It cannot be opened, or is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // The lowest bits of the flags are those of C's int.
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

/// Whether users other than the file's owner and group can read it. Files of root on a read-only
/// mount are exempt: containers mount secrets that way and have no other users.
#[must_use]
pub fn is_readable_by_others(path: &Path) -> bool {
    const OTHERS_READ: u32 = 0o004;

    let Ok(metadata) = path.metadata() else { return false };
    let is_mounted = || statvfs(path).is_ok_and(|it| it.f_flag.contains(StatVfsMountFlags::RDONLY));
    metadata.mode() & OTHERS_READ != 0 && !(metadata.uid() == 0 && is_mounted())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        for path in [&*pipe, Path::new("/dev/zero"), dir.path()] {
            assert!(open_regular(path).is_err(), "{}", path.display());
        }
        let file = dir.path().join("file");
        std::fs::write(&file, "text").unwrap();
        assert_eq!(io::read_to_string(open_regular(&file).unwrap()).unwrap(), "text");
    }
}

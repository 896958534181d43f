//! The files that a configuration names, with digests of the content that was read.

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{MAX_BYTES, open_regular};

/// A digest of a file's content, to detect changes; none if the file cannot be read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Digest(Option<[u8; 32]>);

impl Digest {
    fn of(contents: &[u8]) -> Self {
        Self(Some(Sha256::digest(contents).into()))
    }

    fn of_file(path: &Path) -> Self {
        let read = || -> io::Result<_> {
            // Limited, since a file may grow all the time.
            let mut file = open_regular(path)?.take(MAX_BYTES);
            let (mut hash, mut buffer) = (Sha256::new(), Zeroizing::new([0; 8 * 1024]));
            loop {
                match file.read(&mut *buffer)? {
                    0 => return Ok(hash.finalize().into()),
                    read => hash.update(buffer.get(..read).unwrap_or_default()),
                }
            }
        };
        Self(read().ok())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

/// Files with digests of the content that was read. The content is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed(Vec<(PathBuf, Digest)>);

impl Followed {
    /// Adds a file with this content. Anything but a regular file, such as a pipe, cannot be read
    /// twice and is not followed.
    pub fn add(&mut self, path: &Path, contents: &[u8]) {
        if path.is_file() {
            self.put(path, Digest::of(contents));
        }
    }

    /// Adds a file that could not be read.
    pub fn add_unreadable(&mut self, path: &Path) {
        self.put(path, Digest(None));
    }

    /// Adds the files of `other`, which wins for files in both.
    pub fn extend(&mut self, other: Self) {
        for (path, digest) in other.0 {
            self.put(&path, digest);
        }
    }

    /// The paths of the files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(path, _)| path.as_path())
    }

    /// Whether the content of any file has changed. Each file is opened by its path, since a
    /// symlink in the path may point elsewhere than before.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.0.iter().any(|(path, digest)| Digest::of_file(path) != *digest)
    }

    fn put(&mut self, path: &Path, digest: Digest) {
        match self.0.iter_mut().find(|(known, _)| known == path) {
            Some((_, known)) => *known = digest,
            None => self.0.push((path.to_owned(), digest)),
        }
    }
}

/// Where keys are: what changes when a key does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFiles {
    /// The paths of the settings that name or locate a key, whether they are present or not.
    pub settings: BTreeSet<String>,
    /// The files that keys were read from.
    pub files: Followed,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn contents_are_compared_across_symlink_changes() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("1", "one"), ("2", "one"), ("3", "two")] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("key"), text).unwrap();
        }
        // Swaps the volume as Kubernetes does.
        let swap = |to: &str| {
            let (next, data) = (dir.path().join("..next"), dir.path().join("..data"));
            std::os::unix::fs::symlink(to, &next).unwrap();
            fs::rename(next, data).unwrap();
        };
        swap("1");
        let path = dir.path().join("..data").join("key");
        let mut followed = Followed::default();
        followed.add(&path, b"one");
        assert!(!followed.has_changed());
        swap("2");
        assert!(!followed.has_changed(), "another file with the same contents");
        swap("3");
        assert!(followed.has_changed());
        followed.add(&path, b"two");
        assert!(!followed.has_changed());
        fs::remove_file(dir.path().join("3").join("key")).unwrap();
        assert!(followed.has_changed());
        followed.add_unreadable(&path);
        assert!(!followed.has_changed());
        let mut followed = Followed::default();
        followed.add(Path::new("/dev/null"), b"once");
        assert!(!followed.has_changed(), "not a regular file");
    }
}

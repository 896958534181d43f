//! Reads a TOML file key by key. All problems are reported at once, each with its line. An unknown
//! key is refused with the nearest known one.
//!
//! Messages never contain a value from the file: it may be a secret in the wrong place.

mod file;
mod followed;
mod nested;
mod problems;
mod secret;
mod section;
mod signing;
pub mod text;
mod values;

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Read},
    path::Path,
};

use toml::{Spanned, de::DeTable};

use self::problems::ProblemAtOffset;
pub use self::{
    file::{is_readable_by_others, open_regular},
    followed::{Followed, KeyFiles},
    problems::{Problem, ProblemKind, Problems},
    secret::{NameKeys, SecretKeys, SecretOrigin, read_opened_secret, read_secret},
    section::{MAX_DURATION, Section, shown, unknown_key},
    signing::{SecretError, SigningSecret},
    values::Values,
};

/// More than any file read here needs: a million resources take less.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Looks up an environment variable.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads the file at `path` and parses its text; the path is its name in messages.
pub fn load<T>(
    path: &Path,
    parse: impl FnOnce(&str, &str) -> Result<T, Problems>,
) -> Result<T, Problems> {
    parse(&path.display().to_string(), &read(path)?)
}

/// The text of the file at `path`.
pub fn read(path: &Path) -> Result<String, Problems> {
    read_opened(path, File::open(path))
}

/// Reads it again; it must be a regular file.
pub fn read_again(path: &Path) -> Result<String, Problems> {
    read_opened(path, open_regular(path))
}

fn read_opened(path: &Path, opened: io::Result<File>) -> Result<String, Problems> {
    let file = path.display().to_string();
    let mut bytes = Vec::new();
    opened
        .and_then(|opened| opened.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| Problems::with_file(&file, format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Problems::with_file(&file, "is larger than 64 MiB".to_owned()));
    }
    let text = text::decode(&bytes).map_err(|error| Problems::with_file(&file, error))?;
    Ok(text.to_owned())
}

/// Which files may be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Files {
    /// Any file, including a pipe, which a starting server may wait for.
    Any,
    /// Regular files only: reading them must not block.
    Regular,
}

/// A well-formed TOML file, and the problems found in it so far.
pub struct Document<'a> {
    file: &'a str,
    text: &'a str,
    root: Spanned<DeTable<'a>>,
    env: Env<'a>,
    files: Files,
    problems: RefCell<Vec<ProblemAtOffset>>,
    warnings: RefCell<Vec<ProblemAtOffset>>,
}

impl<'a> Document<'a> {
    /// Parses TOML; `file` is its name in messages.
    pub fn parse(file: &'a str, text: &'a str, env: Env<'a>) -> Result<Self, Problems> {
        let (root, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            let (problems, warnings) = <_>::default();
            let files = Files::Any;
            return Ok(Self { file, text, root, env, files, problems, warnings });
        }
        let problems = errors.iter().map(|error| ProblemAtOffset {
            // The full toml error quotes the line.
            offset: error.span().map_or(0, |span| span.start),
            message: format!("is not TOML: {}", error.message()),
            kind: ProblemKind::File,
        });
        Err(Problems::new(file, text, problems.collect()))
    }

    /// Reads only regular files where keys name files, so that a pipe cannot block.
    #[must_use]
    pub fn of_regular_files(self) -> Self {
        Self { files: Files::Regular, ..self }
    }

    /// The top level of the file.
    #[must_use]
    pub fn root(&self) -> Section<'_> {
        Section::new(self, String::new(), 0, Some(self.root.get_ref()))
    }

    /// The warnings so far, by line: settings that are valid but may be a mistake.
    #[must_use]
    pub fn warnings(&self) -> Vec<Problem> {
        let warnings = self.warnings.take();
        Problems::new(self.file, self.text, warnings).list().to_vec()
    }

    /// Returns what was read, unless there are problems.
    pub fn conclude<T>(self, read: Option<T>) -> Result<T, Problems> {
        let mut problems = self.problems.into_inner();
        match read {
            Some(read) if problems.is_empty() => Ok(read),
            _ => {
                if problems.is_empty() {
                    problems.push(ProblemAtOffset {
                        offset: 0,
                        message: "could not be read".to_owned(),
                        kind: ProblemKind::File,
                    });
                }
                Err(Problems::new(self.file, self.text, problems))
            }
        }
    }

    fn warn(&self, offset: usize, path: &str, message: &str) {
        let message = format!("{}: {message}", path.escape_debug());
        let kind = ProblemKind::File;
        self.warnings.borrow_mut().push(ProblemAtOffset { offset, message, kind });
    }

    fn problem(&self, offset: usize, path: &str, message: &str) {
        self.add_problem(offset, path, message, ProblemKind::File);
    }

    fn add_problem(&self, offset: usize, path: &str, message: &str, kind: ProblemKind) {
        let message = format!("{}: {message}", path.escape_debug());
        self.problems.borrow_mut().push(ProblemAtOffset { offset, message, kind });
    }
}

#[cfg(test)]
mod tests;

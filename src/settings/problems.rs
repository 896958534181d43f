//! The problems of a file, by line.

use std::fmt;

/// A problem at a byte offset of the text.
pub(super) struct ProblemAtOffset {
    pub(super) offset: usize,
    pub(super) message: String,
    pub(super) kind: ProblemKind,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The file itself.
    File,
    /// The file is right, but a secret that it locates does not exist.
    MissingSecret,
}

/// One problem of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1; none if it concerns the whole file.
    pub line: Option<usize>,
    /// The key's path and the problem.
    pub message: String,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// All problems of a file, by line; displayed one per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    file: String,
    list: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(file: &str, text: &str, problems: Vec<ProblemAtOffset>) -> Self {
        let list = problems.into_iter().map(|ProblemAtOffset { offset, message, kind }| {
            let before = text.as_bytes().iter().take(offset);
            let line = 1 + before.filter(|byte| **byte == b'\n').count();
            Problem { line: Some(line), message, kind }
        });
        let mut list: Vec<_> = list.collect();
        list.sort_by_key(|problem| problem.line);
        Self { file: file.to_owned(), list }
    }

    /// One problem that concerns all of `file`.
    #[must_use]
    pub fn with_file(file: &str, message: impl Into<String>) -> Self {
        let problem = Problem { line: None, message: message.into(), kind: ProblemKind::File };
        Self { file: file.to_owned(), list: vec![problem] }
    }

    /// The file's name in messages.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The problems, by line; at least one.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.list
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { line, message, .. }) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:", self.file)?;
            if let Some(line) = line {
                write!(f, "{line}:")?;
            }
            write!(f, " {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

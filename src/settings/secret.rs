//! Secrets: the file states where a secret is, never its value.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{Files, KeyFiles, Section, is_readable_by_others, open_regular, text};

/// The warning about a secret in the environment.
const IN_ENVIRONMENT: &str = "other processes of the same user can read the environment, and it \
                              changes only with a restart; prefer a file";

/// More than any secret needs.
const MAX_SECRET_BYTES: usize = 64 * 1024;

/// The keys that locate one secret.
#[derive(Clone, Copy, Debug)]
pub struct SecretKeys {
    /// Names the file that contains it.
    pub file: &'static str,
    /// Names the environment variable that contains it.
    pub env: &'static str,
    /// The key that users write to give the value itself; always refused.
    pub value: &'static str,
}

/// The keys for the public name of a key.
#[derive(Clone, Copy, Debug)]
pub struct NameKeys {
    /// Contains the name.
    pub value: &'static str,
    /// Names the file that contains it.
    pub file: &'static str,
}

/// Where a secret was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretOrigin {
    /// In a file.
    File(PathBuf),
    /// In a variable of the environment.
    Env(String),
}

impl fmt::Display for SecretOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "from file {}", path.display()),
            Self::Env(name) => write!(f, "from environment variable {name}"),
        }
    }
}

impl Section<'_> {
    /// A secret that must be in either a file or an environment variable, and where it was found.
    pub fn secret<T, E: fmt::Display>(
        &mut self,
        keys: SecretKeys,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<(T, SecretOrigin)> {
        let SecretKeys { file, env, value } = keys;
        self.note_settings([file, env]);
        let written = self.refuse(
            value,
            &format!(
                "a secret is never a value in this file: write it into a file of its own and \
                 name that with {file}, or name an environment variable with {env}"
            ),
        );
        match (self.has(file), self.has(env)) {
            (true, true) => {
                self.problem(env, format!("excludes {file}: keep one of them"));
                None
            }
            (true, false) => {
                let path = self.text(file)?;
                let named = named(path, is_path);
                let secret = match self.key_file(path) {
                    Ok(text) => text,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        let message =
                            format!("the file {named}does not exist: write the secret to it");
                        self.missing_secret(file, &message);
                        return None;
                    }
                    Err(error) => {
                        self.problem(file, format!("the file {named}cannot be read: {error}"));
                        return None;
                    }
                };
                if is_readable_by_others(Path::new(path)) {
                    self.warn(
                        file,
                        format!(
                            "the file {named}is readable by every user of this machine: run chmod o-r on it"
                        ),
                    );
                }
                let secret = parse(&secret).map_err(|error| {
                    self.problem(file, format!("the secret in the file {named}{error}"));
                });
                Some((secret.ok()?, SecretOrigin::File(path.into())))
            }
            (false, true) => {
                let name = self.text(env)?;
                let named = named(name, is_variable);
                let Some(text) = self.env(name).map(Zeroizing::new) else {
                    let message = format!(
                        "the environment variable {named}is not set, or is not UTF-8 text: set it \
                         to the secret"
                    );
                    self.missing_secret(env, &message);
                    return None;
                };
                self.warn(env, IN_ENVIRONMENT);
                let secret = parse(&text).map_err(|error| {
                    self.problem(env, format!("the secret in the variable {named}{error}"));
                });
                Some((secret.ok()?, SecretOrigin::Env(name.to_owned())))
            }
            (false, false) => {
                if !written {
                    self.problem(
                        file,
                        format!(
                            "is missing: name the file that the secret is in, or an environment \
                             variable with {env}"
                        ),
                    );
                }
                None
            }
        }
    }
}

impl Section<'_> {
    /// The public name of a key, given either here or in a file of its own. The file changes
    /// together with the secret's.
    pub fn key_name<T, E: fmt::Display>(
        &mut self,
        keys: NameKeys,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let NameKeys { value, file } = keys;
        self.note_settings([value, file]);
        match (self.has(value), self.has(file)) {
            (true, true) => {
                self.problem(file, format!("excludes {value}: keep one of them"));
                None
            }
            (false, true) => {
                let path = self.text(file)?;
                let named = named(path, is_path);
                let read = self.key_file(path).map_err(|error| {
                    self.problem(file, format!("the file {named}cannot be read: {error}"));
                });
                parse(read.ok()?.trim())
                    .map_err(|error| {
                        self.problem(file, format!("the file {named}holds a value that {error}"));
                    })
                    .ok()
            }
            (_, false) => self.required(value, parse),
        }
    }

    /// Where the keys read from this section are.
    #[must_use]
    pub const fn key_files(&self) -> &KeyFiles {
        &self.key_files
    }

    fn key_file(&mut self, path: &str) -> io::Result<Zeroizing<String>> {
        let path = Path::new(path);
        let read = match self.document.files {
            Files::Any => read_secret_bytes(File::open(path)),
            Files::Regular => read_secret_bytes(open_regular(path)),
        };
        let files = &mut self.key_files.files;
        match &read {
            Ok(bytes) => files.add(path, bytes),
            Err(_) => files.add_unreadable(path),
        }
        decode_secret(&read?)
    }

    /// Records that a key changes with these settings.
    pub fn note_settings<const N: usize>(&mut self, keys: [&str; N]) {
        let settings = keys.map(|key| self.path_of(key));
        self.key_files.settings.extend(settings);
    }
}

/// The name for messages, followed by a space; empty if it may be the secret itself, written in the
/// wrong place.
fn named(text: &str, is_name: fn(&str) -> bool) -> String {
    if is_name(text) { format!("{} ", text.escape_debug()) } else { String::new() }
}

fn is_path(text: &str) -> bool {
    ["/", "./", "../"].iter().any(|start| text.starts_with(start))
}

fn is_variable(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The text of a file that contains a secret, without a byte order mark.
pub fn read_secret(path: &Path) -> io::Result<Zeroizing<String>> {
    read_opened_secret(File::open(path)?)
}

/// The same, of a file that is open.
pub fn read_opened_secret(file: File) -> io::Result<Zeroizing<String>> {
    decode_secret(&read_secret_bytes(Ok(file))?)
}

fn read_secret_bytes(opened: io::Result<File>) -> io::Result<Zeroizing<Vec<u8>>> {
    // Allocated at full size, so that growing leaves no copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 1));
    opened?.take(MAX_SECRET_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_SECRET_BYTES {
        return Err(io::Error::other("it is larger than 64 KiB"));
    }
    Ok(bytes)
}

fn decode_secret(bytes: &[u8]) -> io::Result<Zeroizing<String>> {
    let text = text::decode(bytes).map_err(|error| io::Error::other(format!("it {error}")))?;
    Ok(Zeroizing::new(text.to_owned()))
}

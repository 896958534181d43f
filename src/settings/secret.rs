//! Secrets: the file says where one is, never what it is.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{Section, text};

/// More than any secret has.
const MAX_SECRET_BYTES: usize = 64 * 1024;

/// The keys that say where one secret is.
#[derive(Clone, Copy, Debug)]
pub struct SecretKeys {
    /// Names the file that it is in.
    pub file: &'static str,
    /// Names the variable of the environment that it is in.
    pub env: &'static str,
    /// What somebody writes who takes it for a value; always refused.
    pub value: &'static str,
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
    /// A secret that must be in a file or in the environment, just one of them, and where it
    /// was.
    pub fn secret<T, E: fmt::Display>(
        &mut self,
        keys: SecretKeys,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<(T, SecretOrigin)> {
        let SecretKeys { file, env, value } = keys;
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
                let secret = match read_secret(Path::new(path)) {
                    Ok(text) => text,
                    Err(error) => {
                        self.problem(file, format!("the file {named}cannot be read: {error}"));
                        return None;
                    }
                };
                let secret = parse(&secret).map_err(|error| {
                    self.problem(file, format!("the secret in the file {named}{error}"));
                });
                Some((secret.ok()?, SecretOrigin::File(path.into())))
            }
            (false, true) => {
                let name = self.text(env)?;
                let named = named(name, is_variable);
                let Some(text) = self.env(name).map(Zeroizing::new) else {
                    let message =
                        format!("the environment variable {named}is not set, or is not UTF-8 text");
                    self.problem(env, message);
                    return None;
                };
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

/// The name as messages tell it, with a space behind; nothing where it may be the secret
/// itself, written in the wrong place.
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

/// The text of a file that holds a secret, without a byte order mark.
pub fn read_secret(path: &Path) -> io::Result<Zeroizing<String>> {
    // Room for all, so that nothing is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 1));
    File::open(path)?.take(MAX_SECRET_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_SECRET_BYTES {
        return Err(io::Error::other("it is far larger than a secret"));
    }
    let text = text::decode(&bytes).map_err(|why| io::Error::other(format!("it {why}")))?;
    Ok(Zeroizing::new(text.to_owned()))
}

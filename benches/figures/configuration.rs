//! Configurations for `grantmint serve`, with their secrets in the environment.

use std::{cell::RefCell, collections::BTreeMap, fs, iter::repeat_with, path::Path};

use anyhow::Result;
use grantmint::{
    config::Config,
    provider::{KINDS, twilio_live},
};

use crate::signing::key;

/// Characters of a secret. They are hexadecimal digits, since some kinds allow no others.
const SECRET_CHARS: usize = 32;

/// A configuration and its environment variables.
pub(crate) struct Configuration {
    pub(crate) text: String,
    pub(crate) variables: BTreeMap<String, String>,
    /// The kinds of its profiles.
    kinds: Vec<&'static str>,
}

impl Configuration {
    /// A configuration with a random secret in every variable.
    pub(crate) fn new(text: String) -> Result<Self> {
        Self::with(text, &[])
    }

    /// The same, with these keys in these variables.
    pub(crate) fn with(text: String, keys: &[(&str, String)]) -> Result<Self> {
        let keys = keys.iter().map(|(name, key)| ((*name).to_owned(), key.clone()));
        let variables = RefCell::new(keys.collect::<BTreeMap<_, _>>());
        let generated = |name: &str| {
            let digits = repeat_with(|| char::from_digit(fastrand::u32(..16), 16));
            let secret: String = digits.flatten().take(SECRET_CHARS).collect();
            Some(variables.borrow_mut().entry(name.to_owned()).or_insert(secret).clone())
        };
        let config = Config::parse_with("a configuration", &text, &generated)?;
        let kinds = config.profiles.iter().map(|profile| profile.kind).collect();
        Ok(Self { text, variables: variables.into_inner(), kinds })
    }

    /// A profile of each kind, from the examples, and the kinds without a usable example: an
    /// example is usable if its secrets may all be strings or all be private keys. Calls without a
    /// profile use twilio-live's.
    pub(crate) fn of_all_kinds() -> Result<(Self, Vec<&'static str>)> {
        let mut text = format!("default_profile = \"of-{}\"\n", twilio_live::KIND);
        let (mut seen, mut keys) = (Vec::new(), Vec::new());
        let private = [key("rsa_pkcs8")?, key("p384_pkcs8")?];
        for (name, example) in examples()? {
            let text_alone = || Self::new(example.clone()).ok();
            let with_key = || private.iter().find_map(|key| Self::with_all(&example, key).ok());
            let Some(Self { kinds, variables, .. }) = text_alone().or_else(with_key) else {
                continue;
            };
            let Some(kind) = kinds.first().filter(|kind| !seen.contains(*kind)) else { continue };
            keys.extend(variables);
            // Profiles of several kinds have the same name.
            text += &example.replace(&format!("[profiles.{name}"), &format!("[profiles.of-{kind}"));
            seen.push(*kind);
        }
        let missing = KINDS.iter().map(|kind| kind.name()).filter(|name| !seen.contains(name));
        let keys: Vec<_> = keys.iter().map(|(name, key)| (name.as_str(), key.clone())).collect();
        Ok((Self::with(text, &keys)?, missing.collect()))
    }

    /// The same with this secret in every variable.
    fn with_all(text: &str, secret: &str) -> Result<Self> {
        let variables = RefCell::new(BTreeMap::new());
        let same = |name: &str| {
            variables.borrow_mut().insert(name.to_owned(), secret.to_owned());
            Some(secret.to_owned())
        };
        let config = Config::parse_with("a configuration", text, &same)?;
        let kinds = config.profiles.iter().map(|profile| profile.kind).collect();
        Ok(Self { text: text.to_owned(), variables: variables.into_inner(), kinds })
    }
}

/// The profiles of the examples and of the sample, by name, with their secrets in variables.
fn examples() -> Result<Vec<(String, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join("examples/providers"))? {
        files.push(entry?.path());
    }
    files.sort();
    files.push(root.join("grantmint.toml"));
    let mut found: Vec<(String, String)> = Vec::new();
    for file in files {
        let text = fs::read_to_string(file)?.replace("_file =", "_env =");
        // Text before the first profile belongs to none.
        let mut profile = None;
        for line in text.lines() {
            let table = line.strip_prefix("[profiles.").and_then(|rest| rest.strip_suffix(']'));
            if let Some(name) = table.filter(|name| !name.contains('.')) {
                found.extend(profile.replace((name.to_owned(), String::new())));
            }
            if let Some((_, lines)) = &mut profile {
                lines.extend([line, "\n"]);
            }
        }
        found.extend(profile);
    }
    Ok(found)
}

//! Configurations for `grantmint serve`, with their secrets in the environment.

use std::{cell::RefCell, collections::BTreeMap, fs, iter::repeat_with, path::Path};

use anyhow::Result;
use grantmint::{
    config::Config,
    provider::{KINDS, twilio_live},
};

use crate::signing::key;

/// Characters of a secret, hexadecimal digits: some kinds want no others.
const SECRET_CHARS: usize = 32;

/// A configuration, and what its variables hold.
pub(crate) struct Configuration {
    pub(crate) text: String,
    pub(crate) variables: BTreeMap<String, String>,
    /// Of its profiles.
    kinds: Vec<&'static str>,
}

impl Configuration {
    /// Takes a configuration whose secrets are all in variables, and gives it secrets.
    pub(crate) fn new(text: String) -> Result<Self> {
        Self::with(text, &[])
    }

    /// The same, where these variables hold keys.
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

    /// A profile of each kind, out of the examples; and the kinds that none of them is of, as far
    /// as they are good with a secret that is a text or a private key. Calls that name no profile
    /// are for twilio-live's.
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
            // Profiles of several kinds are called alike.
            text += &example.replace(&format!("[profiles.{name}"), &format!("[profiles.of-{kind}"));
            seen.push(*kind);
        }
        let missing = KINDS.iter().map(|kind| kind.name()).filter(|name| !seen.contains(name));
        let keys: Vec<_> = keys.iter().map(|(name, key)| (name.as_str(), key.clone())).collect();
        Ok((Self::with(text, &keys)?, missing.collect()))
    }

    /// The same, where all variables hold this.
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

/// The profiles of the examples and of the sample, each by its name, with their secrets in
/// variables.
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
        // What stands before the first profile is none's.
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

//! Configurations for `grantmint serve`, with their secrets in the environment.

use std::{cell::RefCell, collections::BTreeMap, fs, iter::repeat_with, path::Path};

use anyhow::Result;
use grantmint::{
    config::Config,
    provider::{KINDS, twilio_live},
};

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
        let variables = RefCell::new(BTreeMap::from_iter(keys));
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
    /// as they are good with a secret that is no more than a text. Calls that name no profile are
    /// for twilio-live's.
    pub(crate) fn of_all_kinds() -> Result<(Self, Vec<&'static str>)> {
        let mut text = format!("default_profile = \"of-{}\"\n", twilio_live::KIND);
        let mut seen = Vec::new();
        for (name, example) in examples()? {
            let Ok(Self { kinds, .. }) = Self::new(example.clone()) else { continue };
            let Some(kind) = kinds.first().filter(|kind| !seen.contains(*kind)) else { continue };
            // Profiles of several kinds are called alike.
            text += &example.replace(&format!("[profiles.{name}"), &format!("[profiles.of-{kind}"));
            seen.push(*kind);
        }
        let missing = KINDS.iter().map(|kind| kind.name()).filter(|name| !seen.contains(name));
        Ok((Self::new(text)?, missing.collect()))
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

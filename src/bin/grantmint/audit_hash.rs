//! `grantmint audit-hash`: the hashes of an identity or a resource.

use std::path::PathBuf;

use clap::Args;
use grantmint::{
    app::resource_names,
    audit::IdentityKey,
    config::{Config, Naming},
    name::{Identity, Resource},
    settings::{self, SigningSecret, read_secret},
};
use serde_json::{Value, json};

use crate::{exit::Exit, failure::Failure, output};

/// Print the hash of an identity in the audit log
///
/// Tokens minted for an identity alone, or in a list, are recorded under the hash of the identity.
/// Tokens of a series are recorded under the hash of its prefix. The command prints both: for each
/// possible series the hash of the prefix, and the index to look for among those a record counts.
#[derive(Debug, Args)]
pub(crate) struct AuditHashCommand {
    /// The identity
    #[arg(value_name = "IDENTITY", required_unless_present = "admin")]
    identity: Option<String>,

    /// The configuration file, with the keys in [audit] and [admin]
    #[arg(short, long, value_name = "FILE", env = "GRANTMINT_CONFIG")]
    config: Option<PathBuf>,

    /// The file with the audit log's key, instead of a configuration
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// Print the hash of this resource on the admin pages, for pages that do not name resources
    #[arg(long, value_name = "RESOURCE", requires = "config")]
    admin: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A series that may contain an identity.
#[derive(Debug, PartialEq, Eq)]
struct Series<'a> {
    prefix: &'a str,
    index: i64,
}

impl AuditHashCommand {
    pub(crate) fn run(&self) -> Result<Exit, Failure> {
        let mut found = json!({});
        let mut lines = Vec::new();
        if let Some(identity) = &self.identity {
            let identity = Identity::parse(identity.as_str());
            let identity = identity.map_err(|why| Failure::usage(format!("the identity {why}")))?;
            let key = self.key()?;
            let hash = |text: &str| String::from_utf8_lossy(&key.hash(text)).into_owned();
            let own = hash(identity.as_str());
            lines.push(format!("{own}  the identity"));
            let series = series(identity.as_str());
            lines.extend(series.iter().map(|Series { prefix, index }| {
                format!("{}  the series {prefix:?}, index {index}", hash(prefix))
            }));
            let series = series.iter().map(|Series { prefix, index }| {
                json!({"hash": hash(prefix), "prefix": prefix, "index": index})
            });
            found["identity"] = json!(own);
            found["series"] = series.collect();
        }
        if let Some(resource) = &self.admin {
            let resource = Resource::parse(resource);
            let resource = resource.map_err(|why| Failure::usage(format!("the resource {why}")))?;
            let hash = resource_names(&self.naming()?.admin).write(&resource);
            lines.push(format!("{hash}  the resource, on the admin pages"));
            found["resource"] = Value::String(hash);
        }
        let text = if self.json { found.to_string() } else { lines.join("\n") };
        output::data(&text)?;
        Ok(Exit::Done)
    }

    fn key(&self) -> Result<IdentityKey, Failure> {
        if let Some(path) = &self.key_file {
            let shown = path.display();
            let text = read_secret(path)
                .map_err(|error| Failure::permanent(format!("{shown} cannot be read: {error}")))?;
            let secret = SigningSecret::parse(&text)
                .map_err(|why| Failure::permanent(format!("the secret in {shown} {why}")))?;
            return Ok(IdentityKey::new(&secret));
        }
        self.naming()?.identity_key.ok_or_else(|| {
            Failure::permanent("this configuration's audit log has no identity hashes").next(
                "identities are hashed if [audit] has identity_key_file, and identities is neither \
                 \"none\" nor \"clear\"",
            )
        })
    }

    fn naming(&self) -> Result<Naming, Failure> {
        let path = self
            .config
            .as_ref()
            .ok_or_else(|| Failure::usage("name the key with --config FILE or --key-file FILE"))?;
        Ok(settings::load(path, Config::parse_naming)?)
    }
}

/// The series that may contain an identity: each split of its trailing digits into a prefix and
/// an index without leading zeros.
fn series(identity: &str) -> Vec<Series<'_>> {
    let digits = identity.bytes().rev().take_while(u8::is_ascii_digit).count();
    let splits = (1..=digits).filter_map(|taken| {
        let (prefix, index) = identity.split_at_checked(identity.len() - taken)?;
        let is_canonical = index == "0" || !index.starts_with('0');
        let index = index.parse().ok().filter(|_| is_canonical)?;
        Some(Series { prefix, index })
    });
    splits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_have_an_index_without_leading_zeros() {
        let read = |identity| {
            series(identity).into_iter().map(|it| (it.prefix, it.index)).collect::<Vec<_>>()
        };
        assert_eq!(read("viewer-712"), [("viewer-71", 2), ("viewer-7", 12), ("viewer-", 712)]);
        assert_eq!(read("a10"), [("a1", 0), ("a", 10)]);
        assert_eq!(read("a007"), [("a00", 7)]);
        assert_eq!(read("7"), [("", 7)]);
        assert_eq!(read("ä9"), [("ä", 9)]);
        assert_eq!(read("alice"), []);
        assert_eq!(read(&"9".repeat(256)).len(), 18, "an index is below 10^18");
    }
}

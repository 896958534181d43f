//! Every setting of a configuration, in TOML's tables.

use std::io::{self, Write};

use grantmint::{auth::policy::Policy, config::Config};

use super::{
    callers, issuers,
    keys::{Keys, profile_keys, sections},
};

/// Writes every setting, with its default.
pub(super) fn write(out: &mut impl Write, config: &Config) -> io::Result<()> {
    let (top, sections) = sections(config);
    write_keys(out, &top)?;
    for (name, keys) in &sections {
        write_section(out, name, keys)?;
    }
    for profile in &config.profiles {
        write_section(out, &format!("profiles.{}", profile.name), &profile_keys(profile))?;
    }
    for issuer in &config.issuers {
        write_section(out, &format!("issuers.{}", issuer.name), &issuers::keys(issuer))?;
    }
    if let Policy::Entries(entries) = &config.callers {
        for entry in entries.all() {
            write_section(out, &format!("callers.{}", entry.name), &callers::keys(entry))?;
        }
    }
    Ok(())
}

fn write_section(out: &mut impl Write, name: &str, keys: &Keys) -> io::Result<()> {
    writeln!(out, "\n[{name}]")?;
    write_keys(out, keys)
}

fn write_keys(out: &mut impl Write, keys: &Keys) -> io::Result<()> {
    keys.iter().try_for_each(|(key, value)| writeln!(out, "{key} = {value}"))
}

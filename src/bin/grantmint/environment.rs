//! The environment variables behind flags. An empty variable counts as unset. An error in a
//! variable's value names the variable, not the flag.

use std::{env, ffi::OsString};

use clap::{
    Command, Error,
    builder::Resettable,
    error::{ContextKind, ContextValue, ErrorKind},
};
use grantmint::settings::text;

/// Parses the command line of `command`.
///
/// # Errors
///
/// clap's error, which names the variable if that caused it.
pub(crate) fn parse(command: Command, words: &[OsString]) -> Result<clap::ArgMatches, Error> {
    let command = without(command, &|name| {
        env::var_os(name).is_some_and(|value| value.to_string_lossy().trim().is_empty())
    });
    let error = match command.clone().try_get_matches_from(words) {
        Ok(matches) => return Ok(matches),
        Err(error) => without_credential(error),
    };
    // If the error disappears without a variable, that variable caused it.
    if let Some(variable) = variables(&command).into_iter().find(|name| is_not_utf8(name)) {
        let message = format!("the environment variable {variable} is not UTF-8 text");
        return Err(command.clone().error(ErrorKind::InvalidUtf8, message));
    }
    let blamed = variables(&command).into_iter().find(|variable| {
        let command = without(command.clone(), &|name| name == variable);
        let again = command.try_get_matches_from(words).map_err(without_credential);
        again.err().is_none_or(|again| again.to_string() != error.to_string())
    });
    Err(match blamed {
        Some(variable) => blame(error, &variable),
        None => error,
    })
}

/// Whether a variable's value is not UTF-8.
fn is_not_utf8(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| value.to_str().is_none())
}

/// The variables of the flags of a command and its subcommands.
fn variables(command: &Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str());
    let mut names: Vec<_> = own.map(str::to_owned).collect();
    names.extend(command.get_subcommands().flat_map(variables));
    names.sort();
    names.dedup();
    names
}

/// `command` without the variables that `unset` selects.
fn without(command: Command, unset: &dyn Fn(&str) -> bool) -> Command {
    let command = command.mut_args(|argument| {
        let is_unset = argument.get_env().and_then(|name| name.to_str()).is_some_and(unset);
        // A URL may hold a password, which the help must not show.
        let argument = argument.hide_env_values(true);
        if is_unset { argument.env(Resettable::<clap::builder::OsStr>::Reset) } else { argument }
    });
    command.mut_subcommands(|below| without(below, unset))
}

/// Hides the password that a URL may hold.
fn without_credential(mut error: Error) -> Error {
    let hidden = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => {
            let open = value.split(['?', '#']).next().unwrap_or_default();
            let more = if open.len() < value.len() { "…" } else { "" };
            let credential = if open.contains('@') { "…@" } else { "" };
            let host = open.rsplit('@').next().unwrap_or_default();
            Some(format!("{credential}{host}{more}"))
        }
        _ => None,
    };
    if let Some(hidden) = hidden {
        error.insert(ContextKind::InvalidValue, ContextValue::String(hidden));
    }
    error
}

/// Makes the error name the variable.
fn blame(mut error: Error, variable: &str) -> Error {
    let is_quoted = env::var(variable).is_ok_and(|value| text::is_quoted(value.trim()));
    let quotes = if is_quoted { "; the quotes are part of its value" } else { "" };
    let name = format!("{variable} (an environment variable{quotes})");
    error.insert(ContextKind::InvalidArg, ContextValue::String(name));
    error
}

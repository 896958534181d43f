//! The environment variables behind flags. One that is set to nothing is not set, and an error
//! names the variable where the user wrote that, not a flag that nobody gave.

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
/// As clap has them, about the variable where that is what is wrong.
pub(crate) fn parse(command: Command, words: &[OsString]) -> Result<clap::ArgMatches, Error> {
    let command = without(command, &|name| {
        env::var_os(name).is_some_and(|value| value.to_string_lossy().trim().is_empty())
    });
    let error = match command.clone().try_get_matches_from(words) {
        Ok(matches) => return Ok(matches),
        Err(error) => without_credential(error),
    };
    // Where the error goes away without a variable, it is the variable's.
    if let Some(variable) = variables(&command).into_iter().find(|name| is_no_text(name)) {
        let message = format!("the environment variable {variable} is not UTF-8 text");
        return Err(command.clone().error(ErrorKind::InvalidUtf8, message));
    }
    let blamed = variables(&command).into_iter().find(|variable| {
        let command = without(command.clone(), &|name| name == variable);
        let again = command.try_get_matches_from(words).map_err(without_credential);
        again.err().is_none_or(|again| again.to_string() != error.to_string())
    });
    Err(match blamed {
        Some(variable) => about(error, &variable),
        None => error,
    })
}

/// Whether a variable holds what is no UTF-8.
fn is_no_text(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| value.to_str().is_none())
}

/// The variables that the flags of a command, or of one below it, are read from.
fn variables(command: &Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str());
    let mut names: Vec<_> = own.map(str::to_owned).collect();
    names.extend(command.get_subcommands().flat_map(variables));
    names.sort();
    names.dedup();
    names
}

/// `command` without the variables for which `unset` holds.
fn without(command: Command, unset: &dyn Fn(&str) -> bool) -> Command {
    let command = command.mut_args(|argument| {
        let is_unset = argument.get_env().and_then(|name| name.to_str()).is_some_and(unset);
        // A URL may hold a password, which help must not repeat.
        let argument = argument.hide_env_values(true);
        if is_unset { argument.env(Resettable::<clap::builder::OsStr>::Reset) } else { argument }
    });
    command.mut_subcommands(|below| without(below, unset))
}

/// A URL may hold a password, which an error must not repeat.
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

fn about(mut error: Error, variable: &str) -> Error {
    let is_quoted = env::var(variable).is_ok_and(|value| text::is_quoted(value.trim()));
    let quotes = if is_quoted { "; the quotes are part of its value" } else { "" };
    let name = format!("{variable} (an environment variable{quotes})");
    error.insert(ContextKind::InvalidArg, ContextValue::String(name));
    error
}

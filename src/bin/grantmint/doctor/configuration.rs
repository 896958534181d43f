//! The configuration itself: its problems, or its warnings.

use std::path::Path;

use grantmint::{
    config::Config,
    settings::{Problem, Problems},
};

use super::{
    fix,
    row::{Row, Subject},
};

const GROUP: &str = "configuration";

/// What to do if the file itself cannot be read.
const UNREAD: &str =
    "name the file with --config; to create one: grantmint init KIND > grantmint.toml";

/// The rows of an invalid configuration: each problem in the group of its section.
pub(super) fn invalid(problems: &Problems) -> Vec<Row> {
    let file = problems.file();
    let of_problem = |Problem { line, message, .. }: &Problem| {
        let subject = Subject::new(group_of(message), place(file, *line));
        let fix = match line {
            Some(_) => fix::of_message(message),
            None => UNREAD,
        };
        subject.failed(message.clone(), fix)
    };
    let mut rows: Vec<_> = problems.list().iter().map(of_problem).collect();
    rows.sort_by(|one, other| one.group.cmp(&other.group));
    let rest = "the other checks need a valid configuration";
    rows.push(Subject::new(GROUP, "other checks").skipped(rest));
    rows
}

/// The rows of a valid configuration: its warnings.
pub(super) fn valid(path: &Path, config: &Config) -> Vec<Row> {
    let profiles = match config.profiles.len() {
        1 => "one profile".to_owned(),
        more => format!("{more} profiles"),
    };
    let file = path.display().to_string();
    let mut rows = vec![Subject::new(GROUP, &file).ok(format!("valid: {profiles}"))];
    rows.extend(config.warnings.iter().map(|Problem { line, message, .. }| {
        Subject::new(group_of(message), place(&file, *line))
            .warning(message.clone(), fix::of_message(message))
    }));
    rows
}

fn place(file: &str, line: Option<usize>) -> String {
    match line {
        Some(line) => format!("{file}:{line}"),
        None => file.to_owned(),
    }
}

/// The group of a problem, by the path of its key.
fn group_of(message: &str) -> String {
    let mut path = message.split(':').next().unwrap_or_default().split('.');
    match (path.next(), path.next()) {
        (Some("profiles"), Some(profile)) => format!("profile {profile}"),
        (Some("server"), Some("tls")) => "tls".to_owned(),
        (Some("issuers"), Some(issuer)) => format!("issuer {issuer}"),
        (Some("audit"), _) => "audit".to_owned(),
        _ => GROUP.to_owned(),
    }
}

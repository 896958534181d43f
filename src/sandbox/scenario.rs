//! Scenario files: faults in TOML, each under `[[fault]]`, with the keys of the grammar.

use std::path::Path;

use super::fault::{Draft, FLAGS, Fault, FaultError};
use crate::settings::{self, Document, Problems, Section};

/// Reads and validates the file at `path`, for endpoints with these specific bodies.
pub fn load(path: &Path, own: &[&str]) -> Result<Vec<Fault>, Problems> {
    settings::load(path, |file, text| parse(file, text, own))
}

/// Validates `text`; `file` is its name in messages.
pub fn parse(file: &str, text: &str, own: &[&str]) -> Result<Vec<Fault>, Problems> {
    let document = Document::parse(file, text, &|_| None)?;
    let mut root = document.root();
    let faults: Vec<_> =
        root.tables("fault").into_iter().map(|section| read(section, own)).collect();
    if !root.has("fault") && !root.has_unknown() {
        root.problem("fault", "is missing: a scenario is a list of faults, each under [[fault]]");
    }
    root.finish();
    document.conclude(faults.into_iter().collect())
}

/// Reads a fault, and adds its problems to the document.
fn read(mut section: Section<'_>, own: &[&str]) -> Option<Fault> {
    let mut draft = Draft::of(own);
    let mut good = true;
    for key in Fault::KEYS {
        if !section.has(key) {
            continue;
        }
        let set = if FLAGS.contains(&key) {
            match section.flag(key) {
                Some(true) => Some(draft.set(key, None)),
                Some(false) => Some(Ok(())),
                None => None,
            }
        } else {
            section.text_or_integer(key).map(|text| draft.set(key, Some(&text)))
        };
        match set {
            Some(Ok(())) => {}
            Some(Err(FaultError::Value { problem, .. })) => {
                section.problem(key, problem);
                good = false;
            }
            Some(Err(error)) => {
                section.problem(key, error.to_string());
                good = false;
            }
            // Already reported.
            None => good = false,
        }
    }
    section.finish();
    if !good || section.has_unknown() {
        return None;
    }
    draft.finish().map_err(|error| section.problem_here(error.to_string())).ok()
}

#[cfg(test)]
mod tests;

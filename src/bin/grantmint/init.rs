//! `grantmint init`: prints a commented configuration to start from.

use std::io::{self, Write};

use clap::{
    Args,
    builder::{PossibleValue, PossibleValuesParser},
};
use grantmint::provider::examples::{EXAMPLES, Example};

use crate::{exit::Exit, failure::Failure, output::StdoutError};

/// Print a commented configuration to start from
///
/// Without an argument, lists the kinds of profiles and the presets of the kind forward. Redirect
/// the output to a file, and fill in what its first lines name.
#[derive(Debug, Args)]
pub(crate) struct InitCommand {
    /// Kind of profile, or preset
    #[arg(value_name = "KIND", value_parser = names(), hide_possible_values = true)]
    kind: Option<String>,
}

/// The names of all examples, for completions and suggestions.
fn names() -> PossibleValuesParser {
    let named = |it: &Example| PossibleValue::new(it.name).help(it.title());
    PossibleValuesParser::new(EXAMPLES.iter().map(named))
}

impl InitCommand {
    pub(crate) fn run(&self) -> Result<Exit, Failure> {
        let text = match &self.kind {
            Some(kind) => EXAMPLES.iter().find(|it| it.name == kind).map(|it| it.text.to_owned()),
            None => None,
        };
        let text = text.unwrap_or_else(list);
        io::stdout().write_all(text.as_bytes()).map_err(StdoutError)?;
        Ok(Exit::Done)
    }
}

/// One line for each example.
fn list() -> String {
    let width = EXAMPLES.iter().map(|it| it.name.len()).max().unwrap_or_default();
    let line = |it: &Example| format!("{:width$}  {}\n", it.name, it.title());
    EXAMPLES.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use grantmint::{config::Config, provider};

    use super::*;

    #[test]
    fn every_file_kind_and_preset_has_an_example() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/providers");
        let mut files: Vec<_> =
            fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
        files.sort();
        let stems = files.iter().map(|it| it.file_stem().unwrap().to_str().unwrap());
        assert!(stems.eq(EXAMPLES.iter().map(|it| it.name)), "{files:?}");
        for kind in provider::KINDS {
            let name = kind.name();
            let example = EXAMPLES.iter().find(|it| it.name == name);
            let text = example.map_or_else(|| panic!("{name}"), |it| it.text);
            assert!(text.contains(&format!("kind = \"{name}\"")), "{name}");
            let demos = kind.demos().into_iter().map(|demo| demo.name.to_owned());
            for preset in demos.filter(|_| name == provider::forward::KIND) {
                let example = EXAMPLES.iter().find(|it| it.name == preset);
                let line = format!("preset = \"{preset}\"");
                assert!(example.is_some_and(|it| it.text.contains(&line)), "{preset}");
            }
        }
    }

    #[test]
    fn examples_start_with_three_things_to_fill_in() {
        for example in EXAMPLES {
            let (head, _) = example.text.split_once("\n\n").unwrap();
            let lines: Vec<_> = head.lines().collect();
            assert!(lines.iter().all(|line| line.starts_with('#')), "{example:?}");
            for part in ["# Fill in:", "#   1. ", "#   2. ", "#   3. "] {
                assert!(lines.iter().any(|line| line.starts_with(part)), "{part} {example:?}");
            }
            let doctor = "#     grantmint doctor --config grantmint.toml";
            assert!(lines.contains(&doctor), "{example:?}");
            assert!(
                example.title().len() <= 70 && example.title().ends_with(char::is_alphanumeric)
            );
        }
    }

    #[test]
    fn an_unfilled_example_lacks_only_its_secret_files() {
        for example in EXAMPLES {
            let problems = Config::parse_with("grantmint.toml", example.text, &|_| None);
            let problems = problems.expect_err(example.name);
            for problem in problems.list() {
                let message = &problem.message;
                let is_missing = message.contains("_file: the file /run/secrets/")
                    && message.contains("does not exist");
                assert!(is_missing, "{}: {message}", example.name);
            }
        }
    }
}

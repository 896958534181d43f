//! Every command line on a page is one that this command accepts.

use std::{fs, path::Path};

use clap::{CommandFactory, error::ErrorKind};

use super::Cli;

/// All pages with their text.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = Vec::new();
    for folder in ["", "docs", "examples"] {
        for entry in fs::read_dir(root.join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|it| it == "md") {
                let text = fs::read_to_string(&path).expect("text");
                pages.push((path.display().to_string(), text.replace("\\\n", " ")));
            }
        }
    }
    pages
}

/// The words of the first command on a shell's line, as far as the pages use the shell.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in line.chars() {
        match (letter, quote) {
            (it, Some(end)) if it == end => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (' ', None) => words.extend(word.take()),
            (';' | '|' | '<' | '>' | '&', None) => break,
            ('#', None) if word.is_none() => break,
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// The arguments of a line that runs this command.
fn arguments(line: &str) -> Option<Vec<String>> {
    let line = line.trim_start();
    let line = line.strip_prefix("$ ").unwrap_or(line);
    let starts = ["grantmint ", "cargo run --release -- ", "cargo run -- "];
    let rest = starts.into_iter().find_map(|start| line.strip_prefix(start))?;
    // A line of the command's own output begins with its name too.
    let command = rest.split(' ').next()?;
    let is_one = rest.starts_with("--") || Cli::command().find_subcommand(command).is_some();
    let shown = line.starts_with("cargo") || !["serves", "is"].contains(&command);
    (is_one || shown).then(|| words(rest))
}

fn parsed(arguments: Vec<String>) -> Result<(), ErrorKind> {
    let all = ["grantmint".to_owned()].into_iter().chain(arguments);
    let parsed = Cli::command().try_get_matches_from(all).map_err(|error| error.kind());
    match parsed {
        Err(ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) | Ok(_) => Ok(()),
        Err(kind) => Err(kind),
    }
}

#[test]
fn every_command_line_of_a_page_is_accepted() {
    let mut seen = 0;
    for (page, text) in pages() {
        for block in text.split("```").skip(1).step_by(2) {
            for line in block.lines() {
                // The pages' only variable is a server's address.
                let line = line.replace("$server", "http://127.0.0.1:50051");
                if let Some(arguments) = arguments(&line) {
                    assert_eq!(parsed(arguments), Ok(()), "{page}: {line}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 60, "{seen} command lines were found");
}

/// In prose a command may be named without all of its arguments.
#[test]
fn every_command_named_in_prose_exists() {
    let mut seen = 0;
    for (page, text) in pages() {
        for prose in text.split("```").step_by(2) {
            for code in
                prose.split('`').skip(1).step_by(2).filter(|it| it.starts_with("grantmint "))
            {
                let arguments = arguments(code).unwrap_or_default();
                if arguments.first().is_some_and(|it| it == "COMMAND") {
                    continue;
                }
                let kind = parsed(arguments).err();
                let wrong = [ErrorKind::UnknownArgument, ErrorKind::InvalidSubcommand];
                assert!(kind.is_none_or(|kind| !wrong.contains(&kind)), "{page}: {code}: {kind:?}");
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen} commands were found");
}

#[test]
fn a_line_that_is_not_accepted_is_found() {
    let parse = |line| parsed(arguments(line).expect("a command"));
    assert_eq!(parse("$ grantmint mint alice --ca ca.pem > token.txt"), Ok(()));
    assert_eq!(parse("cargo run --release -- serve --sandbox   # no set-up"), Ok(()));
    assert_eq!(words("mint 'a b' \"c\"d # e"), ["mint", "a b", "cd"]);
    assert_eq!(parse("grantmint mint alice --certs ca.pem"), Err(ErrorKind::UnknownArgument));
    assert_eq!(parse("$ grantmint mnt alice"), Err(ErrorKind::InvalidSubcommand));
    assert_eq!(arguments("grantmint serves gRPC on 127.0.0.1:50051"), None);
}

//! The README's console sessions print what it shows, against the sandbox.

use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
};

use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{BINARY, CommandOutput, Serve, run, run_command, until};

const README: &str = include_str!("../../README.md");

/// What of an output is the same in each run: figures and ids differ.
fn masked(output: &str) -> String {
    let mut masked = String::new();
    for line in output.lines() {
        let line = if line.starts_with("token id ") { "token id" } else { line };
        let mut inside = false;
        for letter in line.chars() {
            let figure = letter.is_ascii_digit() || (inside && letter == '.');
            match (figure, inside) {
                (true, false) => masked.push('#'),
                (true, true) => {}
                (false, _) => masked.push(letter),
            }
            inside = figure;
        }
        masked.push('\n');
    }
    masked
}

/// The command of a line that reads its input in `dir`.
fn command(line: &str, dir: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.env_clear().stdin(Stdio::null()).kill_on_drop(true).current_dir(dir);
    let mut words = line.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "<" => {
                let file = words.next().expect("a file");
                command.stdin(File::open(dir.join(file)).expect("there"));
            }
            _ => {
                command.arg(word);
            }
        }
    }
    command
}

#[tokio::test]
async fn console_sessions_print_what_the_readme_shows() {
    let serve = Serve::start(&["--sandbox"]).await;
    for profile in ["demo", "speech"] {
        let mint = ["mint", "a", "--profile", profile, "--server", &serve.server];
        until("a first grant", async || run(&mint).await.code == Some(0)).await;
    }
    let dir = TempDir::new().expect("a directory");
    let mut seen = 0;
    for block in README.split("```console\n").skip(1) {
        let block = block.split("```").next().expect("its end");
        for session in block.split("$ grantmint ").skip(1) {
            let (line, shown) = session.split_once('\n').expect("an output");
            let (line, file) = line.split_once(" > ").map_or((line, None), |(l, f)| (l, Some(f)));
            let mut command = command(line, dir.path());
            command.env("GRANTMINT_SERVER", &serve.server);
            let CommandOutput { code, mut stdout, stderr } = run_command(command).await;
            assert_eq!(code, Some(0), "{line}: {stderr}");
            if let Some(file) = file {
                fs::write(dir.path().join(file), std::mem::take(&mut stdout)).expect("written");
            }
            assert_eq!(masked(&(stdout + &stderr)), masked(shown), "{line}");
            seen += 1;
        }
    }
    assert_eq!(seen, 5);
}

//! The planted bugs still fit the source and name a test that there is. `make planted` builds
//! each one and shows that its test fails.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The bugs: where each lies, and its text.
fn bugs() -> Vec<(PathBuf, String)> {
    let files = fs::read_dir(root().join("tests/planted")).unwrap();
    let patches = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "patch"));
    patches.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn each_bug_fits_the_source() {
    assert!(bugs().len() >= 12, "{} bugs", bugs().len());
    for (path, _) in bugs() {
        let mut git = Command::new("git");
        git.args(["apply", "--check"]).arg(&path).current_dir(root());
        let applied = git.output().expect("git");
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    }
}

#[test]
fn each_bug_says_what_it_is_and_names_a_test_that_catches_it() {
    let mut said = BTreeSet::new();
    for (path, text) in bugs() {
        let bug = path.display();
        let (words, rest) = text.split_once("\n\nCaught-by: ").expect("a line Caught-by");
        assert!(words.lines().count() == 1 && words.ends_with('.'), "{bug}: {words}");
        assert!(said.insert(words.to_owned()), "{bug} says what another one says");

        let (target, name) = rest.lines().next().unwrap().split_once(' ').expect("a test");
        let (modules, function) = name.rsplit_once("::").expect("a module");
        let modules = modules.replace("::", "/");
        let (file, inline) = match target {
            "lib" => (format!("src/{modules}.rs"), modules.strip_suffix("/tests")),
            "it" => (format!("tests/it/{modules}.rs"), None),
            other => panic!("{bug}: {other} is no target that is run"),
        };
        let files = [Some(file), inline.map(|module| format!("src/{module}.rs"))];
        let found = files.into_iter().flatten().any(|file| {
            let text = fs::read_to_string(root().join(file)).unwrap_or_default();
            text.contains(&format!("fn {function}("))
        });
        assert!(found, "{bug}: there is no test {name}");
    }
}

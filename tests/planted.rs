//! The planted bugs still apply to the source, and each names an existing test. `make planted`
//! builds each bug and shows that its test fails.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The path and text of each patch.
fn bugs() -> Vec<(PathBuf, String)> {
    let files = fs::read_dir(root().join("tests/planted")).unwrap();
    let patches = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "patch"));
    patches.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn each_planted_bug_applies_to_the_source() {
    assert!(bugs().len() >= 12, "{} bugs", bugs().len());
    for (path, _) in bugs() {
        let mut git = Command::new("git");
        git.args(["apply", "--check"]).arg(&path).current_dir(root());
        let applied = git.output().expect("git");
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    }
}

#[test]
fn each_planted_bug_describes_itself_and_names_a_test() {
    let mut descriptions = BTreeSet::new();
    for (path, text) in bugs() {
        let bug = path.display();
        let (description, rest) = text.split_once("\n\nCaught-by: ").expect("a line Caught-by");
        assert!(
            description.lines().count() == 1 && description.ends_with('.'),
            "{bug}: {description}"
        );
        assert!(
            descriptions.insert(description.to_owned()),
            "{bug} has the same description as another bug"
        );

        let (target, name) = rest.lines().next().unwrap().split_once(' ').expect("a test");
        let (modules, function) = name.rsplit_once("::").expect("a module");
        let modules = modules.replace("::", "/");
        let (file, inline) = match target {
            "lib" => (format!("src/{modules}.rs"), modules.strip_suffix("/tests")),
            "it" => (format!("tests/it/{modules}.rs"), None),
            other => panic!("{bug}: unknown target {other}"),
        };
        let files = [Some(file), inline.map(|module| format!("src/{module}.rs"))];
        let found = files.into_iter().flatten().any(|file| {
            let text = fs::read_to_string(root().join(file)).unwrap_or_default();
            text.contains(&format!("fn {function}("))
        });
        assert!(found, "{bug}: test {name} does not exist");
    }
}

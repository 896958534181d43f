//! The configurations that pages show are accepted.

use grantmint::{config::Config, provider, sandbox::scenario};

use super::{fenced, pages, public_secret, read};

/// A profile for snippets that show none.
const ROOM: &str = "\n[profiles.room]\nkind = \"livekit\"\napi_key = \"APIabc\"\n\
                    api_secret_env = \"SECRET\"\nallow_resources = [\"room-*\"]\n";

/// What is wrong with a configuration beside the files that it names, which nobody has here.
fn problems(snippet: &str) -> Vec<String> {
    // A group of this system.
    let mut text = snippet.replace("_file =", "_env =").replace("\"media\" }", "\"0\" }");
    if !text.contains("[profiles.") {
        text.push_str(ROOM);
    }
    let parsed = Config::parse_with("snippet", &text, &|name| Some(public_secret(name)));
    let problems = parsed.err().map(|problems| problems.to_string()).unwrap_or_default();
    let lines = problems.lines().filter(|line| !line.contains("No such file or directory"));
    lines.map(str::to_owned).collect()
}

#[test]
fn every_configuration_on_a_page_is_accepted() {
    let (mut seen, mut refused) = (0, Vec::new());
    for page in pages() {
        let (_, blocks) = fenced(&read(&page));
        for (_, text) in blocks.iter().filter(|(language, _)| language == "toml") {
            if text.contains("[[fault]]") {
                let faults = scenario::parse("snippet", text, &provider::bodies());
                refused.extend(faults.err().map(|problems| format!("{page}: {problems}\n{text}")));
            } else {
                let problems = problems(text);
                refused.extend(problems.iter().map(|problem| format!("{page}: {problem}\n{text}")));
            }
            seen += 1;
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(seen > 15, "{seen} configurations were found");
}

#[test]
fn a_wrong_configuration_is_found() {
    assert_eq!(problems("[limits]\nidentities = 10\n"), Vec::<String>::new());
    for wrong in ["[limits]\nidentity = 10\n", "[server.tls]\ncerts = \"a.pem\"\n"] {
        assert!(!problems(wrong).is_empty(), "{wrong}");
    }
}

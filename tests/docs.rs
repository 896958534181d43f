//! The pages agree with the code: their tables, links and configurations, and the tests that the
//! page of faults names.

#[path = "docs/links.rs"]
mod links;
#[path = "docs/snippets.rs"]
mod snippets;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const README: &str = include_str!("../README.md");
const CONFIGURATION: &str = include_str!("../docs/configuration.md");
const ERRORS: &str = include_str!("../docs/errors.md");
const FAULTS: &str = include_str!("../docs/faults.md");
const OPERATIONS: &str = include_str!("../docs/operations.md");
const SAMPLE: &str = include_str!("../grantmint.toml");
/// The files that define reasons.
const STATUS: &str = concat!(
    include_str!("../src/rpc/status.rs"),
    include_str!("../src/rpc/violation.rs"),
    include_str!("../src/auth/refusal.rs")
);
const PROTOS: [&str; 2] = [
    include_str!("../proto/grantmint/v1/token_service.proto"),
    include_str!("../proto/grantmint/v1/grant_service.proto"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// All pages, by their paths from the root.
fn pages() -> Vec<String> {
    let mut pages = Vec::new();
    for folder in ["", "docs/", "examples/"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "md") {
                let name = path.file_name().unwrap().to_str().unwrap();
                pages.push(format!("{folder}{name}"));
            }
        }
    }
    pages.sort();
    assert!(pages.len() > 12, "{pages:?}");
    pages
}

/// A page's text without its blocks of code, and the blocks with their languages.
fn fenced(page: &str) -> (String, Vec<(String, String)>) {
    let (mut prose, mut blocks) = (String::new(), Vec::new());
    let mut block: Option<(usize, String, String)> = None;
    for line in page.lines() {
        let bare = line.trim_start();
        block = match (block, bare.strip_prefix("```")) {
            (None, Some(language)) => {
                Some((line.len() - bare.len(), language.to_owned(), String::new()))
            }
            (None, None) => {
                prose.extend([line, "\n"]);
                None
            }
            (Some((_, language, text)), Some(_)) => {
                blocks.push((language, text));
                None
            }
            (Some((indent, language, mut text)), None) => {
                text.extend([line.get(indent..).unwrap_or_default(), "\n"]);
                Some((indent, language, text))
            }
        };
    }
    assert!(block.is_none(), "a block of code is not closed");
    (prose, blocks)
}

/// The rows under a page's heading, one string a cell.
fn rows(page: &'static str, heading: &str) -> Vec<Vec<&'static str>> {
    let section = page.split_once(&format!("\n## {heading}\n")).unwrap().1;
    let section = section.split("\n## ").next().unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    lines.skip(1).map(|line| line.split(" | ").map(str::trim).collect()).collect()
}

fn bare(cell: &str) -> &str {
    cell.trim_matches('`')
}

/// The sample's keys. If a line starts with `#` and no space, its value is the default.
fn sample() -> BTreeMap<(String, String), Option<String>> {
    let mut keys = BTreeMap::new();
    let mut table = String::new();
    for line in SAMPLE.lines() {
        let written = line.trim_start_matches('#').trim_start();
        if let Some(name) = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            if let Some(kind) = name.strip_prefix("profiles.live.") {
                // A table in a profile's table is a key of the profile.
                let key = kind.split('.').next().unwrap();
                keys.insert((table.clone(), key.to_owned()), None);
                continue;
            }
            let name = name.replace("profiles.live", "profiles.NAME");
            let name = name.replace("callers.player-api", "callers.NAME");
            let issuers = ["issuers.cluster", "issuers.okta"];
            let name = issuers.iter().fold(name, |name, it| name.replace(it, "issuers.NAME"));
            table = format!("[{name}]");
            continue;
        }
        let Some((key, value)) = written.split_once(" = ") else { continue };
        if !key.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
            || key == "service_sid"
        {
            continue;
        }
        let is_default = line.starts_with('#') && !line.starts_with("# ");
        keys.insert((table.clone(), key.to_owned()), is_default.then(|| value.to_owned()));
    }
    keys
}

/// Keys whose value in the sample is an example, not the default.
const EXAMPLES: [&str; 2] = ["default_profile", "default_resource"];

/// Optional tables, which the sample only describes.
const OPTIONAL_TABLES: [&str; 3] = ["[server.tls]", "[audit]", "[issuers.NAME]"];

#[test]
fn configuration_table_lists_every_key_and_default() {
    let sample = sample();
    let mut reported = BTreeMap::new();
    for row in rows(CONFIGURATION, "Keys") {
        let [table, key, default, _] = row[..] else { panic!("{row:?}") };
        let default = default.starts_with('`').then(|| bare(default).to_owned());
        let table = if table == "at the top" { "" } else { bare(table) };
        reported.insert((table.to_owned(), bare(key).to_owned()), default);
    }
    assert!(reported.len() > 25);
    for ((table, key), default) in &sample {
        let named = reported.remove(&(table.clone(), key.clone()));
        let named = named.unwrap_or_else(|| panic!("{table} {key} is not in the table"));
        if !EXAMPLES.contains(&key.as_str()) && !OPTIONAL_TABLES.contains(&table.as_str()) {
            assert_eq!(&named, default, "{table} {key}");
        }
    }
    assert!(reported.is_empty(), "unknown keys: {reported:?}");
}

/// Every reason in the text, with its own code or that of its section.
fn documented(proto: &str) -> BTreeMap<String, String> {
    let mut code = String::new();
    let mut reasons = BTreeMap::new();
    for line in proto.lines() {
        let Some(text) = line.strip_prefix("// ") else { continue };
        if let Some(entry) = text.strip_prefix("  ") {
            let mut words = entry.split_whitespace();
            let reason = words.next().unwrap_or_default();
            let all_upper = |word: &str| {
                word.len() > 7 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
            };
            if !all_upper(reason) || entry.starts_with(' ') {
                continue;
            }
            let own = words.next().and_then(|word| word.strip_prefix('(')?.strip_suffix(')'));
            reasons.insert(reason.to_owned(), own.unwrap_or(&code).to_owned());
        } else {
            text.split([' ', ':']).next().unwrap().clone_into(&mut code);
        }
    }
    reasons
}

#[test]
fn error_table_lists_every_reason_and_code() {
    let mut proto = BTreeMap::new();
    for text in PROTOS {
        proto.extend(documented(text));
    }
    let reported: BTreeMap<String, String> = rows(ERRORS, "Reasons")
        .into_iter()
        .map(|row| (bare(row[0]).to_owned(), row[1].to_owned()))
        .collect();
    assert_eq!(reported, proto);
    for reason in reported.keys() {
        assert!(STATUS.contains(&format!("\"{reason}\"")), "{reason} is not in the code");
    }
    let made = STATUS.split('"').skip(1).step_by(2).filter(|text| {
        text.len() > 7 && text.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
    });
    for reason in made {
        assert!(reported.contains_key(reason), "{reason} is in no table");
    }
}

/// The quoted reasons in this code, without tests, demo variables and parameter values.
fn fault_reasons(path: &Path, found: &mut BTreeSet<String>) {
    if path.ends_with("tests") {
        return;
    }
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            fault_reasons(&entry.unwrap().path(), found);
        }
    } else if !["tests.rs", "vectors.rs", "demo.rs", "params.rs"]
        .iter()
        .any(|name| path.ends_with(name))
    {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let quoted = code.split('"').skip(1).step_by(2);
        let reasons = quoted.filter(|text| {
            text.contains('_') && text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
        });
        found.extend(reasons.map(str::to_owned));
    }
}

#[test]
fn proto_lists_every_fault_reason() {
    let mut made = BTreeSet::new();
    for module in ["source", "provider", "refresh"] {
        fault_reasons(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(module), &mut made);
    }
    made.insert("TIMEOUT".to_owned());
    let list = PROTOS[1].split_once("// Which failure of that class:\n").unwrap().1;
    let list = list.split_once("string reason").unwrap().0;
    let words = list.split(|letter: char| !letter.is_ascii_uppercase() && letter != '_');
    let listed: BTreeSet<String> =
        words.filter(|word| word.len() > 6 && !word.ends_with('_')).map(str::to_owned).collect();
    assert_eq!(listed, made);
}

/// Whether a test with this path exists in the library or in `tests/it`.
fn is_a_test(path: &str) -> bool {
    let (module, name) = path.rsplit_once("::").unwrap();
    let file = module.replace("::", "/");
    let inline = file.strip_suffix("/tests").unwrap_or(&file);
    let files =
        [format!("tests/it/{file}.rs"), format!("src/{file}.rs"), format!("src/{inline}.rs")];
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).any(|text| {
        let lines: Vec<_> = text.lines().map(str::trim_start).collect();
        lines.windows(2).any(|pair| {
            let declared = pair[1].trim_start_matches("async ").strip_prefix("fn ");
            let named = declared.and_then(|rest| rest.strip_prefix(name));
            named.is_some_and(|rest| rest.starts_with("()"))
                && (pair[0].starts_with("#[tokio::test") || pair[0] == "#[test]")
        })
    })
}

#[test]
fn each_fault_has_a_row_and_existing_tests() {
    let rows: BTreeMap<_, _> = FAULTS
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").collect::<Vec<_>>())
        .filter(|cells| cells.len() == 4 && cells[0].len() < 4)
        .map(|cells| (cells[0].to_owned(), cells))
        .collect();
    let upstream = (1..=23).map(|number| format!("U{number}"));
    let shared = (1..=7).map(|number| format!("S{number}"));
    let host = (1..=19).map(|number| format!("H{number}"));
    let callers = (1..=9).map(|number| format!("C{number}"));
    let all: BTreeSet<_> = upstream.chain(shared).chain(host).chain(callers).collect();
    assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), all);

    let mut without = Vec::new();
    for (fault, cells) in &rows {
        let tests: Vec<_> = cells[3].split('`').skip(1).step_by(2).collect();
        for test in &tests {
            assert!(is_a_test(test), "{fault}: test {test} does not exist");
        }
        if tests.is_empty() {
            assert!(cells[3].starts_with("none"), "{fault}");
            without.push(fault.as_str());
        }
    }
    assert_eq!(without, ["H16", "H4"]);
}

#[test]
fn what_faults_md_quotes_is_in_operations_md() {
    let ticked = FAULTS.split('`').skip(1).step_by(2);
    let seen = ticked.filter(|text| {
        let is_reason = text.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        text.contains(' ') || text.starts_with("grantmint_") || is_reason
    });
    let mut count = 0;
    for text in seen {
        assert!(OPERATIONS.contains(&format!("`{text}`")), "{text}");
        count += 1;
    }
    assert!(count > 25, "{count}");
}

/// A secret of the form that the file or variable of this name must have. All are public, and
/// protect nothing.
fn public_secret(name: &str) -> String {
    const KEY: &str = include_str!("../src/provider/forward/presets/rsa.pem");
    let of = |keys: &str, pointer: &str| {
        let keys: serde_json::Value = serde_json::from_str(keys).unwrap();
        keys.pointer(pointer).unwrap().as_str().unwrap().to_owned()
    };
    let kind_key = |pointer: &str| of(include_str!("vectors/kind_keys.json"), pointer);
    let key = |pointer: &str| of(include_str!("vectors/keys.json"), pointer);
    let account = serde_json::json!({
        "client_email": "a@b.iam.gserviceaccount.com",
        "private_key": KEY,
        "private_key_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    match name {
        "/run/secrets/AuthKey.p8" => key("/p256_pkcs8"),
        "/run/secrets/agora" => kind_key("/agora/app_certificate"),
        "/run/secrets/cloudflare-stream" => kind_key("/cloudflare-stream/pem_base64"),
        "/run/secrets/api"
        | "/run/secrets/github-app"
        | "/run/secrets/jaas"
        | "/run/secrets/mux" => KEY.to_owned(),
        "/run/secrets/ivs" => kind_key("/ivs-playback/private_key_sec1_pem"),
        "/run/secrets/ivs-stage" => kind_key("/ivs-stage/private_key_pkcs8_pem"),
        "/run/secrets/google" => account.to_string(),
        "/run/secrets/vonage-video" => kind_key("/vonage-video/private_key_pkcs8_pem"),
        _ => "q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxC".to_owned(),
    }
}

#[test]
fn every_kind_is_documented_and_every_example_parses() {
    const PROVIDERS: &str = include_str!("../docs/providers.md");
    for kind in grantmint::provider::KINDS {
        let name = kind.name();
        assert!(PROVIDERS.contains(&format!("\n## {name}\n")), "{name} has no section");
        assert!(README.contains(&format!("docs/providers.md#{name}")), "{name} is in no table");
    }
    let below = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/providers");
    let mut seen = 0;
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap().replace("_file =", "_env =");
        let config = grantmint::config::Config::parse_with("example", &text, &|name| {
            Some(public_secret(name))
        });
        assert!(config.is_ok(), "{}: {config:?}", path.display());
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn the_readme_is_short() {
    let words = README.split_whitespace().count();
    assert!(words < 1_500, "{words} words");
}

#[test]
fn every_document_is_in_the_index_and_names_its_reader() {
    let index = README.split_once("\n## Documents\n").unwrap().1;
    let index = index.split("\n## ").next().unwrap();
    for page in pages() {
        let text = read(&page);
        if page == "README.md" {
            continue;
        }
        // Its policy is found by its name, and named at the README's end.
        let is_listed = index.contains(&format!("({page})"));
        assert!(
            is_listed || ["SECURITY.md", "examples/README.md"].contains(&page.as_str()),
            "{page}"
        );
        let head: Vec<_> = text.split("\n\n").take(3).collect();
        let named = head.iter().any(|paragraph| paragraph.trim_start().starts_with("For "));
        assert!(named, "{page} does not begin with its reader: For the …");
    }
}

//! The project's rules as tests: allowed imports, documented modules of limited size, test names, and
//! no sleeping or ignored tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use prost_reflect::ReflectMessage;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(below: &str) -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(&root().join(below), &mut paths);
    paths.sort();
    let named = paths.into_iter().map(|path| {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(&path).unwrap())
    });
    named.collect()
}

/// Every module may import these; they import no other module of the crate.
const BASE: [&str; 7] = ["clock", "drain", "hmac", "listen", "name", "settings", "telemetry"];

/// Base modules that use other base modules.
const WITHIN_BASE: [(&str, &[&str]); 1] = [("telemetry", &["clock", "name"])];

/// The modules that each module may import, in addition to the base.
const IMPORTS: [(&str, &[&str]); 21] = [
    ("grant", &[]),
    ("egress", &[]),
    ("audit", &[]),
    ("auth", &["audit"]),
    ("tls", &["audit", "auth"]),
    ("otlp", &[]),
    ("source", &["egress", "grant"]),
    ("issuers", &["auth", "egress", "grant", "source"]),
    ("token", &["grant"]),
    ("refresh", &["source", "grant"]),
    ("reading", &[]),
    ("provider", &["egress", "source", "token", "grant", "reading", "sandbox"]),
    ("mint", &["audit", "token", "grant"]),
    ("ready", &["grant"]),
    ("rpc", &["audit", "auth", "mint", "grant", "ready", "token"]),
    ("server", &["auth", "rpc", "tls"]),
    ("admin", &["grant", "ready"]),
    ("sandbox", &[]),
    ("systemd", &[]),
    (
        "config",
        &[
            "audit", "auth", "egress", "issuers", "otlp", "provider", "server", "admin", "mint",
            "rpc", "refresh", "source", "tls", "token",
        ],
    ),
    (
        "app",
        &[
            "admin", "audit", "auth", "config", "egress", "grant", "issuers", "mint", "otlp",
            "provider", "ready", "refresh", "rpc", "server", "source", "systemd", "tls", "token",
        ],
    ),
];

fn may_import(module: &str) -> Vec<&'static str> {
    if BASE.contains(&module) {
        let within = WITHIN_BASE.iter().find(|(name, _)| *name == module);
        return within.map_or(Vec::new(), |(_, allowed)| allowed.to_vec());
    }
    let (_, allowed) = IMPORTS
        .iter()
        .find(|(name, _)| *name == module)
        .unwrap_or_else(|| panic!("src/{module} is missing from the import table"));
    allowed.iter().chain(&BASE).copied().collect()
}

/// The `crate::` paths of a file with their lines, groups expanded; test modules count too.
fn crate_paths(text: &str) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    for (at, found) in text.match_indices("crate::") {
        let line = text[..at].lines().count();
        paths.extend(split(&text[at + found.len()..]).into_iter().map(|path| (line, path)));
    }
    paths
}

/// All paths of the use tree at the start of `tree`: `a::{b, c::{d, e}}` gives `a::b`, `a::c::d`
/// and `a::c::e`.
fn split(tree: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut groups = Vec::new();
    let mut item = String::new();
    for character in tree.chars() {
        match character {
            '{' => groups.push(std::mem::take(&mut item)),
            ',' | '}' if !groups.is_empty() => {
                if !item.is_empty() {
                    paths.push(groups.concat() + &std::mem::take(&mut item));
                }
                if character == '}' {
                    groups.pop();
                }
                if groups.is_empty() {
                    break;
                }
            }
            c if c.is_alphanumeric() || matches!(c, '_' | ':' | '*') => item.push(c),
            c if c.is_whitespace() && !groups.is_empty() => {}
            _ => break,
        }
    }
    if !item.is_empty() {
        paths.push(item);
    }
    paths
}

#[test]
fn a_group_is_split_into_its_paths() {
    let text = "use crate::a;\nlet b: crate::b::C<'_>;\nuse crate::{\n    a::{self, b},\n    c,\n};\n\
                use crate::provider::twilio_live::{ids, token::Layout};";
    let paths = [
        (1, "a"),
        (2, "b::C"),
        (3, "a::self"),
        (3, "a::b"),
        (3, "c"),
        (7, "provider::twilio_live::ids"),
        (7, "provider::twilio_live::token::Layout"),
    ];
    assert_eq!(crate_paths(text), paths.map(|(line, path)| (line, path.to_owned())));
}

#[test]
fn modules_import_only_allowed_modules() {
    let mut wrong = Vec::new();
    for (file, text) in rust_files("src") {
        let inside = file.strip_prefix("src/").unwrap();
        let module = inside.split(['/', '.']).next().unwrap();
        if matches!(module, "lib" | "bin") {
            continue;
        }
        let allowed = may_import(module);
        for (line, path) in crate_paths(&text) {
            let own = path == module || path.starts_with(&format!("{module}::"));
            let matches =
                |allowed: &&str| path == **allowed || path.starts_with(&format!("{allowed}::"));
            if !own && !allowed.iter().any(matches) {
                wrong.push(format!("{file}:{line}: {module} must not import crate::{path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_command_sees_only_the_library() {
    for (file, text) in rust_files("src/bin") {
        for (line, path) in crate_paths(&text) {
            let module = path.split("::").next().unwrap();
            let own = root().join(format!("src/bin/grantmint/{module}.rs")).exists();
            assert!(own, "{file}:{line}: crate::{path}");
        }
    }
}

#[test]
fn providers_are_named_only_in_their_folder() {
    for (file, text) in rust_files("src") {
        let knows = file.starts_with("src/provider");
        // Comments may name a provider as an example; code may not.
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        if !knows && !file.contains("/tests") {
            // Unit tests, at the end of a file, configure profiles of real providers.
            for line in code.take_while(|line| *line != "#[cfg(test)]") {
                assert!(!line.to_lowercase().contains("twilio"), "{file}: {line}");
            }
        }
    }
}

#[test]
fn every_file_has_a_module_doc_and_at_most_500_lines() {
    for (file, text) in CHECKED.into_iter().flat_map(rust_files) {
        assert!(text.starts_with("//!"), "{file} has no module doc");
        assert!(text.lines().count() <= 500, "{file} has {} lines", text.lines().count());
        assert!(!file.ends_with("mod.rs"), "{file}: modules are x.rs + x/");
    }
}

#[test]
fn no_test_sleeps_or_is_ignored() {
    let ignored = concat!("#[", "ignore");
    let real_sleep = concat!("thread", "::sleep");
    for (file, text) in CHECKED.into_iter().flat_map(rust_files) {
        assert!(!text.contains(ignored), "{file} ignores a test");
        assert!(!text.contains(real_sleep), "{file} sleeps for real");
    }
}

/// The folders that the checks of tests cover.
const CHECKED: [&str; 3] = ["tests", "src", "client/src"];

const MAX_TEST_NAME: usize = 60;

/// The names of a file's test functions.
fn test_names(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut lines = text.lines().map(str::trim_start);
    while let Some(line) = lines.next() {
        if line == "#[test]" || line.starts_with("#[tokio::test") {
            let functions = lines
                .by_ref()
                .filter_map(|line| line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn "));
            names.extend({ functions }.next().and_then(|rest| rest.split('(').next()));
        }
    }
    names
}

#[test]
fn test_names_are_short() {
    let mut count = 0;
    for (file, text) in CHECKED.into_iter().flat_map(rust_files) {
        for name in test_names(&text) {
            let length = name.len();
            assert!(length <= MAX_TEST_NAME, "{file}: {name} has {length} characters");
            count += 1;
        }
    }
    assert!(count > 500, "only {count} tests were found");
}

#[test]
fn statuses_are_built_in_one_place() {
    let constructors =
        ["Status::new", "Status::internal", "Status::unavailable", "with_error_details"];
    for (file, text) in rust_files("src/rpc") {
        if file != "src/rpc/status.rs" {
            for constructor in constructors {
                assert!(!text.contains(constructor), "{file} calls {constructor}");
            }
        }
    }
}

#[test]
fn redacted_proto_fields_match_the_redacted_messages() {
    let pool =
        prost_reflect::DescriptorPool::decode(grantmint::rpc::proto::DESCRIPTOR_SET).unwrap();
    let mut marked: Vec<String> = Vec::new();
    for message in pool.all_messages().filter(|m| m.package_name().starts_with("grantmint")) {
        let secret = |field: prost_reflect::FieldDescriptor| {
            let options = field.options();
            let redact = options.descriptor().get_field_by_name("debug_redact").unwrap();
            options.get_field(&redact).as_bool() == Some(true)
        };
        if message.fields().any(secret) {
            marked.push(format!(".{}", message.full_name()));
        }
    }
    marked.sort();
    let build = fs::read_to_string(root().join("client/build.rs")).unwrap();
    let list = build.split_once("const REDACTED").unwrap().1.split_once(';').unwrap().1;
    let list = list.split_once("];").unwrap().0;
    let mut redacted: Vec<String> = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    redacted.sort();
    assert_eq!(marked, redacted);
    assert_eq!(marked.len(), 2);
}

/// What a module names by paths from the crate's root. Comments and unit tests do not count.
#[derive(Default)]
struct Module {
    named: Vec<String>,
    /// The names of its `use` declarations among them.
    used: Vec<String>,
}

/// The modules of a crate by their paths from its root.
type Modules = BTreeMap<String, Module>;

fn names(path: &str) -> Vec<&str> {
    path.split("::").filter(|name| !name.is_empty()).collect()
}

impl Module {
    fn read(path: &str, text: &str) -> Self {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines: Vec<_> =
            code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let mut module = Self::default();
        for statement in lines.join("\n").split_inclusive(';') {
            let is_use = statement.trim_start().split_once("use ").is_some_and(|(before, _)| {
                before.is_empty() || (before.starts_with("pub") && !before.contains('\n'))
            });
            let starts = ["crate::", "self::", "super::"].into_iter();
            for (at, _) in starts.flat_map(|start| statement.match_indices(start)) {
                if statement[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c)) {
                    continue;
                }
                let from_root = |relative: String| resolved(path, &relative);
                let found: Vec<_> = split(&statement[at..]).into_iter().map(from_root).collect();
                module.used.extend(found.iter().filter(|_| is_use).cloned());
                module.named.extend(found);
            }
        }
        module
    }
}

/// The path that a module names by `crate::`, `self::` or `super::`, from the crate's root.
fn resolved(module: &str, path: &str) -> String {
    let mut from_root = names(module);
    for name in path.split("::") {
        match name {
            "crate" => from_root.clear(),
            "super" => drop(from_root.pop()),
            "self" => {}
            name => from_root.push(name),
        }
    }
    from_root.join("::")
}

/// The module that a path leads to, also through a name that another module re-exports.
fn module_of<'a>(path: &'a str, modules: &'a Modules) -> &'a str {
    let mut module = path;
    while !module.is_empty() && !modules.contains_key(module) {
        module = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    }
    let used = modules.get(module).map_or(&[][..], |module| &module.used);
    let item = names(&path[module.len()..]).first().copied();
    let origin = used.iter().find(|used| item.is_some() && names(used).last().copied() == item);
    origin.filter(|origin| *origin != path).map_or(module, |origin| module_of(origin, modules))
}

/// Which modules import which of their siblings.
fn sibling_imports(modules: &Modules) -> BTreeMap<String, BTreeSet<String>> {
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, Module { named, .. }) in modules {
        for path in named {
            let (from, to) = (names(module), names(module_of(path, modules)));
            let shared = from.iter().zip(&to).take_while(|(from, to)| from == to).count();
            if shared < from.len().min(to.len()) {
                let sibling = |names: &[&str]| names[..=shared].join("::");
                imports.entry(sibling(&from)).or_default().insert(sibling(&to));
            }
        }
    }
    imports
}

fn circle(mut imports: BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    // Removes what imports nothing, until every module imports another.
    loop {
        let (count, left) = (imports.len(), imports.keys().cloned().collect());
        for imported in imports.values_mut() {
            *imported = &*imported & &left;
        }
        imports.retain(|_, imported| !imported.is_empty());
        if imports.len() == count {
            break;
        }
    }
    let mut way = vec![imports.keys().next()?.clone()];
    loop {
        let next = imports[way.last()?].first()?.clone();
        if let Some(at) = way.iter().position(|module| *module == next) {
            return Some(way.split_off(at));
        }
        way.push(next);
    }
}

/// Sibling modules, the files and folders of one folder, do not import each other in a circle. A file
/// in a module's folder is part of the module. A module and its children may import each other: a
/// parent re-exports its children, and a child uses what its parent defines. What a parent
/// re-exports counts as imported from where it is defined.
#[test]
fn sibling_modules_import_each_other_in_no_circle() {
    let crates = [("src", "lib", 20), ("src/bin/grantmint", "main", 20), ("client/src", "lib", 10)];
    for (folder, root, least) in crates {
        let mut modules = Modules::new();
        for (file, text) in rust_files(folder) {
            let path = file[folder.len() + 1..].trim_end_matches(".rs");
            let is_other_crate = folder == "src" && path.starts_with("bin/");
            if !is_other_crate && !path.split('/').any(|name| name == "tests") {
                let path = if path == root { String::new() } else { path.replace('/', "::") };
                let module = Module::read(&path, &text);
                modules.insert(path, module);
            }
        }
        let imports = sibling_imports(&modules);
        assert!(imports.len() > least, "{folder}: only {imports:?}");
        assert_eq!(circle(imports), None, "{folder}");
    }
}

#[test]
fn circle_through_a_reexport_is_found() {
    let sources = [
        ("a", "pub use self::x::X;\nmod x;"),
        ("a::x", "//! Uses [`super::y::Y`].\nuse std::fmt;\npub struct X;"),
        ("a::y", "use super::X;\n#[cfg(test)]\nmod tests {\n    use crate::a::z::Z;\n}"),
        ("a::z", "use crate::a::{X, y::{self, Y}};\nconst Z: super::y::Y = Y;"),
    ];
    let read = |sources: &[(&str, &str)]| {
        sources.iter().map(|(path, text)| ((*path).to_owned(), Module::read(path, text))).collect()
    };
    assert_eq!(circle(sibling_imports(&read(&sources))), None);
    let mut circular = sources;
    circular[1].1 = "pub(crate) use super::{\n    z::Z,\n};";
    let found = circle(sibling_imports(&read(&circular))).unwrap();
    assert_eq!(found, ["a::x", "a::z"]);
}

//! Every link and every path on every page leads somewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use super::{fenced, pages, read, root};

/// The anchors that GitHub gives a page's headings, and those that the page sets itself.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut anchors = BTreeSet::new();
    let (prose, _) = fenced(page);
    for line in prose.lines() {
        if let Some(heading) = line.strip_prefix('#') {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|it| it.is_alphanumeric() || " -_".contains(*it));
            let slug: String = kept.map(|it| if it == ' ' { '-' } else { it }).collect();
            let times = seen.entry(slug.clone()).or_default();
            anchors.insert(if *times == 0 { slug } else { format!("{slug}-{times}") });
            *times += 1;
        }
        let own = line.split("<a id=\"").skip(1);
        anchors.extend(own.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
    }
    anchors
}

/// The targets of a page's links. Code is no link.
fn targets(page: &str) -> Vec<String> {
    let (prose, _) = fenced(page);
    let parts = prose.split("](").skip(1);
    parts.filter_map(|rest| Some(rest.split_once(')')?.0.trim().to_owned())).collect()
}

/// `path` without `..`, as links have it.
fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts
}

/// Why a link from this page leads nowhere, if it does.
fn broken(page: &str, link: &str) -> Option<String> {
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, it)| (path, Some(it)));
    let folder = Path::new(page).parent().unwrap();
    let target = if path.is_empty() { PathBuf::from(page) } else { normal(&folder.join(path)) };
    let name = target.to_str().unwrap();
    if !root().join(&target).exists() {
        return Some(format!("{page}: {link}: there is no {name}"));
    }
    let anchor = anchor?;
    let is_page = target.extension().is_some_and(|it| it == "md");
    let has = is_page && anchors(&read(name)).contains(anchor);
    (!has).then(|| format!("{page}: {link}: {name} has no such heading"))
}

#[test]
fn every_link_resolves() {
    let mut broken_links = Vec::new();
    let mut count = 0;
    for page in pages() {
        for link in targets(&read(&page)) {
            if !link.contains("://") {
                broken_links.extend(broken(&page, &link));
                count += 1;
            }
        }
    }
    assert!(broken_links.is_empty(), "{}", broken_links.join("\n"));
    assert!(count > 150, "{count} links were found");
}

#[test]
fn broken_links_are_found() {
    assert_eq!(broken("README.md", "docs/errors.md#reasons"), None);
    assert_eq!(broken("docs/errors.md", "../README.md#kinds"), None);
    assert_eq!(broken("docs/errors.md", "#resuming-a-bulk"), None);
    for (page, link) in [
        ("README.md", "docs/nowhere.md"),
        ("README.md", "docs/errors.md#nowhere"),
        ("docs/errors.md", "README.md"),
        ("docs/errors.md", "#nowhere"),
    ] {
        assert!(broken(page, link).is_some(), "{link}");
    }
    assert_eq!(targets("a [link](x.md)\n```\n[no link](y.md)\n```\n"), ["x.md"]);
    let twice = anchors("# `a` b: c\n## a b c\n```\n# no heading\n```\n");
    assert_eq!(twice, ["a-b-c", "a-b-c-1"].map(str::to_owned).into());
}

/// Examples and alert rules point at pages too, by their paths from the root.
#[test]
fn every_page_named_outside_of_pages_exists() {
    let mut files = vec!["grantmint.toml".to_owned(), "scenario.toml".to_owned()];
    for folder in ["examples/providers", "deploy/prometheus"] {
        let entries = std::fs::read_dir(root().join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        files.extend(names.map(|name| format!("{folder}/{name}")));
    }
    let mut count = 0;
    for file in files {
        let text = read(&file);
        for rest in text.split("docs/").skip(1) {
            let in_link = |it: &char| it.is_alphanumeric() || "-_.#".contains(*it);
            let link: String = rest.chars().take_while(in_link).collect();
            let link = format!("docs/{}", link.trim_end_matches('.'));
            assert_eq!(broken("README.md", &link), None, "{file}");
            count += 1;
        }
    }
    assert!(count > 40, "{count} pages were named");
}

/// The pages for developers name files of the source, in code font.
#[test]
fn every_source_file_that_a_page_names_exists() {
    let mut count = 0;
    for page in ["docs/architecture.md", "CONTRIBUTING.md"] {
        let (prose, _) = fenced(&read(page));
        for path in prose.split('`').skip(1).step_by(2) {
            let below = ["src/", "tests/", "proto/", "examples/", "fuzz/"];
            if below.iter().any(|it| path.starts_with(it)) && !path.contains(['…', ' ']) {
                let exists = root().join(path).exists() || path == "src/x.rs" || path == "src/x/";
                assert!(exists, "{page}: {path}");
                count += 1;
            }
        }
    }
    assert!(count > 25, "{count} files were named");
}

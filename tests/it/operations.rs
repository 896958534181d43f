//! `docs/operations.md`, the runbook and the alert rules agree with the code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use grantmint::grant::FaultClass;

use crate::{
    bearer::{cluster::Cluster, signer::Signers},
    page::{Declared, Page},
    support::{Configured, Serve, until},
    tls::pki::Pki,
};

const DOC: &str = include_str!("../../docs/operations.md");
const RUNBOOK: &str = include_str!("../../docs/runbook.md");
const ALERTS: &str = include_str!("../../deploy/prometheus/alerts.yaml");

/// Labels whose values depend on the configuration or come from the API.
const OPEN: [&str; 10] = [
    "profile",
    "what",
    "resource",
    "version",
    "grpc_type",
    "grpc_service",
    "grpc_method",
    "grpc_code",
    "caller",
    "issuer",
];

/// The rows of the tables under a heading, one string a cell.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let section = DOC.split_once(&format!("\n## {heading}\n")).expect("the heading").1;
    let section = section.split("\n## ").next().expect("a section");
    let lines = section.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    lines.map(|line| line.split('|').map(str::trim).collect()).collect()
}

/// The texts between backticks.
fn ticked(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A server whose metrics page has a sample of every metric.
pub(crate) struct Full {
    pub(crate) serve: Serve,
    /// Its files are watched.
    _config: Configured,
    _pki: Pki,
    _cluster: Cluster,
}

impl Full {
    /// With `[server] authorize` in this mode.
    pub(crate) async fn start(mode: &str) -> Self {
        let pki = Pki::new();
        let cluster = Cluster::start(Signers::new("k").jwks(), "own", 200).await;
        let token = pki.path("token");
        fs::write(&token, "own").expect("written");
        let issuer = format!(
            "[issuers.cluster]\nkind = \"kubernetes\"\naudience = \"mint\"\napi_server = \"{}\"\n\
             token_file = \"{}\"\n",
            cluster.url,
            token.display()
        );
        let rest = format!(
            "[server]\nauthorize = \"{mode}\"\n[telemetry]\notlp_endpoint = \"http://127.0.0.1:9\"\n[audit]\nfile = \"{}\"\n[callers.demo]\n\
             match = [\"loopback\"]\nallow = [{{ profiles = [\"*\"] }}]",
            pki.path("audit.jsonl").display()
        );
        let config = pki.configured(&format!("{issuer}{rest}"));
        let serve = Serve::configured(&config, &[]).await;
        let full = Self { serve, _config: config, _pki: pki, _cluster: cluster };
        until("a grant, the clock skew, the certificates and the keys", async || {
            let page = full.page().await;
            let late = [
                "grantmint_grant_end_timestamp_seconds",
                "grantmint_upstream_clock_skew_seconds",
                "grantmint_certificate_end_timestamp_seconds",
                "grantmint_issuer_keys_fetch_timestamp_seconds",
            ];
            late.iter().all(|metric| !page.of(metric, &[]).is_empty())
        })
        .await;
        full
    }

    pub(crate) async fn page(&self) -> Page {
        Page::read(&self.serve.page("/metrics").await.1)
    }
}

/// A metrics page with a sample of every metric.
async fn page() -> Page {
    Full::start("observe").await.page().await
}

#[tokio::test]
async fn metrics_table_matches_the_metrics_page() {
    let page = page().await;
    let mut reported = BTreeMap::new();
    for row in rows("Metrics") {
        let [metric, kind, labels, unit, _] = row[..] else { panic!("{row:?}") };
        let Some(metric) = ticked(metric).next() else { continue };
        let declared = Declared { kind: kind.to_owned(), unit: unit.to_owned() };
        let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for label in labels.split(", ").filter(|label| !label.is_empty()) {
            let mut words = ticked(label).map(str::to_owned);
            values.insert(words.next().expect("a label"), words.collect());
        }
        reported.insert(metric.to_owned(), (declared, values));
    }
    let has = page.declared.iter().map(|(metric, declared)| {
        let mut labels = page.labels(metric);
        for (label, values) in &mut labels {
            if OPEN.contains(&label.as_str()) {
                values.clear();
            }
        }
        (metric.clone(), (declared.clone(), labels))
    });
    assert_eq!(reported, has.collect());
    assert!(reported.len() > 15, "the table was not found");
}

#[tokio::test]
async fn refresh_results_are_the_fault_classes() {
    let mut results = page().await.labels("grantmint_refreshes_total");
    let mut expected: BTreeSet<String> =
        FaultClass::ALL.into_iter().map(|class| class.as_str().to_owned()).collect();
    let classes = rows("Faults").into_iter().filter(|row| row.len() == 2);
    let reported: BTreeSet<String> =
        classes.filter_map(|row| ticked(row[0]).next()).map(str::to_owned).collect();
    assert_eq!(reported, expected);
    expected.extend(["ok", "held", "panicked"].map(str::to_owned));
    assert_eq!(results.remove("result"), Some(expected));
}

/// The code in a folder or file of `src`, without tests and comments.
fn code(below: &str) -> String {
    fn walk(path: &Path, text: &mut String) {
        if path.ends_with("tests") {
            return;
        }
        if path.is_dir() {
            for entry in fs::read_dir(path).expect("a folder") {
                walk(&entry.expect("an entry").path(), text);
            }
        } else if !["tests.rs", "vectors.rs", "demo.rs", "params.rs"]
            .iter()
            .any(|name| path.ends_with(name))
        {
            let file = fs::read_to_string(path).expect("text");
            let file = file.split("#[cfg(test)]\nmod tests {").next().expect("code");
            let lines = file.lines().filter(|line| !line.trim_start().starts_with("//"));
            lines.for_each(|line| text.extend([line, "\n"]));
        }
    }
    let mut text = String::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(below), &mut text);
    text
}

#[test]
fn fault_table_lists_every_reason_and_class() {
    let table: BTreeMap<&str, &str> = rows("Faults")
        .into_iter()
        .filter(|row| row.len() == 4)
        .filter_map(|row| Some((ticked(row[0]).next()?, row[1])))
        .collect();
    let all = ["refresh", "source", "provider"].map(code).concat();
    let is_reason = |text: &&str| {
        text.len() > 6
            && text.starts_with(|first: char| first.is_ascii_uppercase())
            && text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    };
    let literals = all.split('"').skip(1).step_by(2);
    let mut made: BTreeSet<&str> = literals.filter(is_reason).collect();
    assert!(all.contains("\"HTTP_STATUS_{}\""));
    made.insert("HTTP_STATUS_N");
    assert!(all.contains("\"UPSTREAM_CODE_{}\""));
    made.insert("UPSTREAM_CODE_N");
    assert_eq!(table.keys().copied().collect::<BTreeSet<_>>(), made);

    let mut checked = 0;
    for fault in all.split("Fault::new(FaultClass::").skip(1) {
        let (class, rest) = fault.split_once(", ").expect("a reason");
        let reason = rest.strip_prefix('"').and_then(|rest| rest.split('"').next());
        if let Some(reason) = reason {
            assert_eq!(table[reason], class.to_lowercase(), "{reason}");
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked}");
}

/// The text up to the parenthesis that closes a call; literals may contain others.
fn arguments(rest: &str) -> &str {
    let (mut depth, mut quoted) = (1, false);
    for (at, letter) in rest.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &rest[..at];
        }
    }
    panic!("no closing parenthesis: {rest}")
}

/// Level and message of each log line in the code. The message is the last literal.
fn log_lines(code: &str) -> BTreeSet<(String, String)> {
    let mut lines = BTreeSet::new();
    for call in code.split("tracing::").skip(1) {
        let Some((level, rest)) = call.split_once("!(") else { continue };
        if !["error", "warn", "info", "debug", "trace"].contains(&level) {
            continue;
        }
        let message = arguments(rest).rsplit('"').nth(1).expect("a message");
        lines.insert((level.to_uppercase(), message.to_owned()));
    }
    lines
}

#[test]
fn log_table_lists_every_log_line() {
    let reported: BTreeSet<(String, String)> = rows("Log lines")
        .into_iter()
        .filter_map(|row| Some((row[0].to_owned(), ticked(row[1]).next()?.to_owned())))
        .collect();
    let all = code("");
    assert_eq!(reported, log_lines(&all));
    assert!(reported.len() > 15, "the table was not found");
    for import in all.split("use tracing::").skip(1) {
        let list = import.split(';').next().unwrap_or_default();
        let mut words = list.split(|it: char| !it.is_ascii_lowercase());
        let has_macro =
            words.any(|word| ["error", "warn", "info", "debug", "trace"].contains(&word));
        assert!(!has_macro, "write log lines as tracing::level!: {list}");
    }
}

/// The values of a key in the alert rules, which are on one line or in the block below it.
fn of_key(key: &str) -> Vec<String> {
    let mut values = Vec::new();
    let mut lines = ALERTS.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((before, value)) = line.split_once(&format!("{key}: ")) else { continue };
        let mut value = value.to_owned();
        let deep = " ".repeat(before.len() + 2);
        while value.starts_with('|') && lines.peek().is_some_and(|next| next.starts_with(&deep)) {
            value.push_str(lines.next().expect("peeked"));
        }
        values.push(value);
    }
    values
}

#[test]
fn alerts_and_their_sections_match() {
    let alerts = of_key("- alert");
    assert!(alerts.len() > 5, "{alerts:?}");
    let runbooks: Vec<String> =
        alerts.iter().map(|alert| format!("docs/runbook.md#{}", alert.to_lowercase())).collect();
    assert_eq!(of_key("runbook_url"), runbooks);
    let all: BTreeSet<_> = alerts.iter().map(String::as_str).collect();
    let sections = RUNBOOK.lines().filter_map(|line| line.strip_prefix("### "));
    assert_eq!(all, sections.collect());
    let severities: BTreeMap<_, _> =
        alerts.iter().map(String::as_str).zip(of_key("severity")).collect();
    let index = RUNBOOK.lines().filter_map(|line| line.strip_prefix("| [Grantmint"));
    let listed = index.filter_map(|row| {
        let mut cells = row.split(" | ");
        let name = cells.next()?.rsplit('#').next()?.trim_end_matches(')');
        Some((*all.iter().find(|it| it.to_lowercase() == name)?, cells.next()?.to_owned()))
    });
    assert_eq!(severities, listed.collect());
}

#[tokio::test]
async fn every_series_in_an_alert_is_exported() {
    let page = page().await;
    let expressions = of_key("expr");
    assert_eq!(expressions.len(), of_key("- alert").len());
    let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut requested = 0;
    for expression in &expressions {
        for (at, _) in expression.match_indices("gr") {
            let begins = expression[..at].chars().last().is_none_or(|before| !in_name(before));
            let name: String = expression[at..].chars().take_while(|c| in_name(*c)).collect();
            // Words in braces or after `without` are labels.
            if !begins || !["grantmint_", "grpc_server_"].iter().any(|p| name.starts_with(p)) {
                continue;
            }
            let rest = &expression[at + name.len()..];
            let matchers =
                rest.strip_prefix('{').map_or("", |rest| rest.split('}').next().unwrap());
            for matcher in matchers.split(',').filter(|matcher| !matcher.is_empty()) {
                let (label, values) = matcher.split_once('=').expect("a matcher");
                for value in values.trim_matches(['~', '"']).split('|') {
                    let found = page.of(&name, &[(label, value)]);
                    assert!(!found.is_empty(), "no sample {name}{{{label}=\"{value}\"}}");
                }
            }
            assert!(!page.of(&name, &[]).is_empty(), "no metric {name}");
            requested += 1;
        }
    }
    assert!(requested >= expressions.len(), "{requested}");
}

//! The Grafana dashboard: its structure, the series that it names, and each query under a real
//! Prometheus that has scraped the real binary.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::Value;

use super::{alerts::rules_without_delays, server::Prometheus};
use crate::{operations::Full, page::Page};

/// Metrics that no panel needs.
const LEFT_OUT: [&str; 0] = [];

/// Labels that Prometheus adds to each sample.
const ADDED: [&str; 2] = ["job", "instance"];

fn dashboard() -> Value {
    let text = include_str!("../../../deploy/grafana/grantmint.json");
    serde_json::from_str(text).expect("JSON")
}

/// The elements of a list.
fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key}: {value}"))
}

/// A query, and the labels that its legend or its columns show.
struct Query {
    place: String,
    expression: String,
    shown: Vec<String>,
}

/// The labels in braces of a legend.
fn in_braces(legend: &str) -> Vec<String> {
    let labels = legend.split("{{").skip(1).filter_map(|rest| rest.split_once("}}"));
    labels.map(|(label, _)| label.trim().to_owned()).collect()
}

/// All queries of panels and annotations.
fn queries(dashboard: &Value) -> Vec<Query> {
    let mut queries = Vec::new();
    for panel in list(dashboard, "panels") {
        let place = text(panel, "title");
        let columns = list(panel, "transformations").iter();
        let columns = columns.filter_map(|it| it["options"]["renameByName"].as_object());
        let columns: Vec<String> = columns.flat_map(|it| it.keys().cloned()).collect();
        let columns = columns.iter().filter(|it| !it.starts_with("Value #"));
        for target in list(panel, "targets") {
            let mut shown = in_braces(text(target, "legendFormat"));
            shown.extend(columns.clone().cloned());
            let expression = text(target, "expr").to_owned();
            queries.push(Query { place: place.to_owned(), expression, shown });
        }
    }
    for annotation in list(&dashboard["annotations"], "list") {
        if let Some(expression) = annotation["target"]["expr"].as_str() {
            let shown = in_braces(text(annotation, "titleFormat"));
            let place = text(annotation, "name").to_owned();
            queries.push(Query { place, expression: expression.to_owned(), shown });
        }
    }
    queries
}

/// The query with values for the dashboard's variables.
fn filled(expression: &str) -> String {
    let mut filled = expression.replace("$__rate_interval", "20s");
    for variable in ["$job", "$instance", "$profile"] {
        filled = filled.replace(variable, ".*");
    }
    assert!(!filled.contains('$'), "an unknown variable: {expression}");
    filled
}

/// A series of a query: the name, and its matchers as label, operator and value.
type Selector<'a> = (&'a str, Vec<(&'a str, &'a str, &'a str)>);

/// The series that a query selects. Words that are followed by neither a brace, an operator nor the
/// end of an argument are labels or functions.
fn selectors(expression: &str) -> Vec<Selector<'_>> {
    let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut selectors = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find(['{', '"']) {
        assert!(rest[at..].starts_with('{'), "a string outside of braces: {expression}");
        let begin = rest[..at].rfind(|c| !in_name(c)).map_or(0, |before| before + 1);
        let (matchers, after) = rest[at + 1..].split_once('}').expect("a closing brace");
        let parts = matchers.split("\", ").map(|part| part.trim_end_matches('"'));
        let parts = parts.map(|part| {
            let (label, value) = part.split_once('"').expect("a value");
            let name = label.trim_end_matches(['=', '!', '~']);
            (name, &label[name.len()..], value)
        });
        selectors.push((&rest[begin..at], parts.collect()));
        rest = after;
    }
    selectors
}

/// The labels in the `by` and `on` clauses of a query.
fn grouped(expression: &str) -> Vec<&str> {
    let clauses = ["by (", "without (", "on ("].map(|clause| expression.split(clause).skip(1));
    let labels = clauses.into_iter().flatten().filter_map(|rest| rest.split_once(')'));
    labels.flat_map(|(labels, _)| labels.split(", ")).collect()
}

/// The metric of a sample's name, by its type.
fn metric_of<'a>(page: &Page, sample: &'a str) -> Option<&'a str> {
    let mut suffixes = ["_bucket", "_sum", "_count"].into_iter();
    let histogram = suffixes.find_map(|suffix| sample.strip_suffix(suffix));
    let kind = |name: &str| page.declared.get(name).map(|it| it.kind.as_str());
    match (kind(sample), histogram.and_then(|base| Some((base, kind(base)?)))) {
        (Some("counter" | "gauge" | "info"), _) => Some(sample),
        (_, Some((base, "histogram"))) => Some(base),
        _ => None,
    }
}

/// What is wrong with a query.
fn faults(query: &Query, page: &Page) -> Vec<String> {
    let mut faults = Vec::new();
    let mut labels: BTreeSet<String> = ADDED.map(str::to_owned).into();
    for (sample, matchers) in selectors(&query.expression) {
        let Some(metric) = metric_of(page, sample) else {
            faults.push(format!("no sample {sample}"));
            continue;
        };
        let own = page.labels(metric);
        for (label, operator, value) in matchers {
            if ADDED.contains(&label) {
                continue;
            }
            let Some(values) = own.get(label) else {
                faults.push(format!("{metric} has no label {label}"));
                continue;
            };
            let open = value.starts_with('$') || operator.starts_with('!');
            let mut unknown = value.split('|').filter(|it| !open && !values.contains(*it));
            // Codes are on the page once a call has ended with them.
            faults.extend(
                unknown
                    .next()
                    .filter(|_| label != "grpc_code")
                    .map(|value| format!("{metric}: {label} is never {value}")),
            );
        }
        labels.extend(own.into_keys());
        if sample.ends_with("_bucket") {
            labels.insert("le".to_owned());
        }
        let counts = page.declared[metric].kind == "counter" || metric != sample;
        let rated = ["rate(", "increase("]
            .iter()
            .any(|it| query.expression.contains(&format!("{it}{sample}{{")));
        if rated && !counts {
            faults.push(format!("{sample} is a {}", page.declared[metric].kind));
        }
    }
    let shown = query.shown.iter().map(String::as_str).chain(grouped(&query.expression));
    faults.extend(shown.filter(|it| !labels.contains(*it)).map(|it| format!("no label {it}")));
    faults
}

#[tokio::test]
async fn dashboard_queries_match_the_metrics_and_run() {
    let dashboard = dashboard();
    let queries = queries(&dashboard);
    assert!(queries.len() > 40, "{}", queries.len());
    let full = Full::start("observe").await;
    let page = full.page().await;
    let mut used = BTreeSet::new();
    for query in &queries {
        let faults = faults(query, &page);
        assert!(faults.is_empty(), "{}: {faults:?}: {}", query.place, query.expression);
        let samples = selectors(&query.expression);
        used.extend(samples.iter().filter_map(|(sample, _)| metric_of(&page, sample)));
    }
    let documented: BTreeSet<&str> = page.declared.keys().map(String::as_str).collect();
    let unused: Vec<&&str> = documented.difference(&used).collect();
    assert_eq!(unused, LEFT_OUT.iter().collect::<Vec<_>>(), "show or list them");

    let prometheus = Prometheus::start(&full.serve.admin, &rules_without_delays()).await;
    prometheus.scraped(3).await;
    for query in &queries {
        let series = prometheus.query(&filled(&query.expression)).await;
        // Some are empty while nothing is wrong.
        let may_be_empty = query.expression.ends_with("> 0");
        assert!(may_be_empty || !series.is_empty(), "{}: {}", query.place, query.expression);
    }
    for variable in list(&dashboard["templating"], "list") {
        if text(variable, "type") != "query" {
            continue;
        }
        let query = text(&variable["query"], "query");
        let parts = query.strip_prefix("label_values(").and_then(|it| it.strip_suffix(')'));
        let (selector, label) = parts.and_then(|it| it.rsplit_once(", ")).expect("a label");
        let selector = filled(selector);
        let path = format!("label/{label}/values");
        let values = prometheus.api(&path, &[("match[]", &selector)]).await;
        assert!(values.as_array().is_some_and(|it| !it.is_empty()), "{query}: {values}");
    }
    assert_eq!(prometheus.warnings(), Vec::<Value>::new());
}

#[test]
fn dashboard_is_whole() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 39));
    assert_eq!(dashboard["id"], Value::Null, "an imported dashboard gets its id from Grafana");
    let variables: BTreeMap<&str, &str> = list(&dashboard["templating"], "list")
        .iter()
        .map(|it| (text(it, "name"), text(it, "type")))
        .collect();
    assert_eq!(variables["datasource"], "datasource");
    let panels = list(&dashboard, "panels");
    let mut ids = BTreeSet::new();
    let mut titles = BTreeSet::new();
    let mut cells = BTreeSet::new();
    let mut rows = Vec::new();
    for panel in panels {
        let title = text(panel, "title");
        assert!(
            ids.insert(panel["id"].as_u64().expect("an id")) && titles.insert(title),
            "{title}"
        );
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect("a number"));
        assert!(x + w <= 24, "{title} does not fit");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{title} covers another panel");
        }
        if text(panel, "type") == "row" {
            rows.push(title);
            continue;
        }
        assert!(text(panel, "description").ends_with('.'), "{title}");
        let unit = text(&panel["fieldConfig"]["defaults"], "unit");
        assert!(["short", "s", "ops", "reqps", "percentunit"].contains(&unit), "{title}: {unit}");
        for target in list(panel, "targets").iter().chain([panel]) {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    assert_eq!(
        rows,
        [
            "Overview",
            "Grants",
            "Upstream",
            "Calls",
            "Callers",
            "Connections and TLS",
            "Signing pool",
            "Audit",
            "Process"
        ]
    );
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn dashboard_links_resolve() {
    let dashboard = dashboard();
    let linked = list(&dashboard, "panels").iter().chain([&dashboard]);
    let links: Vec<&Value> = linked.flat_map(|panel| list(panel, "links")).collect();
    let mut sections = BTreeSet::new();
    for link in &links {
        let target = text(link, "url").strip_prefix("${docs}/").expect("a page of docs/");
        let (page, section) = target.split_once('#').unwrap_or((target, ""));
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
        let page = fs::read_to_string(page).unwrap_or_else(|error| panic!("{target}: {error}"));
        let mut headings = page.lines().filter(|line| line.starts_with('#'));
        let found = headings.any(|line| anchor(line.trim_start_matches('#').trim()) == section);
        assert!(section.is_empty() || found, "{target}");
        sections.insert(section.to_owned());
    }
    // Each alert's section is one click away.
    let runbook = include_str!("../../../docs/runbook.md");
    let alerts = runbook.lines().filter_map(|line| line.strip_prefix("### "));
    for alert in alerts {
        assert!(sections.contains(&anchor(alert)), "no panel links to {alert}");
    }
}

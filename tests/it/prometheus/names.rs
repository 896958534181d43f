//! Names, units, labels and help of the metrics, by Prometheus' conventions.

use std::collections::BTreeSet;

use crate::operations::Full;

/// The allowed labels. None has a value that a caller chooses.
const LABELS: [&str; 17] = [
    "caller",
    "cause",
    "grpc_code",
    "grpc_method",
    "grpc_service",
    "grpc_type",
    "issuer",
    "le",
    "method",
    "mode",
    "outcome",
    "profile",
    "reason",
    "resource",
    "result",
    "version",
    "what",
];

#[tokio::test]
async fn names_units_and_help_follow_the_conventions() {
    let full = Full::start("observe").await;
    let (_, text) = full.serve.page("/metrics").await;
    let page = full.page().await;
    let mut helps = BTreeSet::new();
    for (name, declared) in &page.declared {
        let prefixed =
            ["grantmint_", "grpc_server_", "process_"].iter().any(|it| name.starts_with(it));
        let plain = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(prefixed && name.chars().all(plain) && !name.contains("__"), "{name}");
        let (kind, unit) = (declared.kind.as_str(), declared.unit.as_str());
        let base = match kind {
            "counter" => name.strip_suffix("_total"),
            "info" => name.strip_suffix("_info"),
            "gauge" | "histogram" => Some(name.as_str()),
            _ => None,
        };
        let base = base.unwrap_or_else(|| panic!("{name} is a {kind}"));
        let words: Vec<&str> = base.split('_').collect();
        let reserved = ["total", "info", "count", "sum", "bucket", "created", kind];
        assert!(!reserved.iter().any(|it| words.ends_with(&[it])), "{name}");
        let scaled =
            ["ms", "milliseconds", "minutes", "hours", "kilobytes", "megabytes", "percent"];
        assert!(!scaled.iter().any(|it| words.contains(it)), "{name} is not in a base unit");
        // A duration, an age or an instant is in seconds; nothing else is.
        assert_eq!(unit == "seconds", words.ends_with(&["seconds"]), "{name}: {unit:?}");
        assert!(unit.is_empty() || unit == "seconds", "{name}: {unit:?}");
        let timed = ["time", "timestamp", "duration", "delay", "age"];
        assert!(unit == "seconds" || !timed.iter().any(|it| words.contains(it)), "{name}");

        let found: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# HELP ")?.strip_prefix(base)?.strip_prefix(' '))
            .collect();
        let [help] = found[..] else { panic!("{name} has {found:?}") };
        let sentence =
            help.strip_prefix('g').filter(|rest| rest.starts_with("RPC ")).unwrap_or(help);
        assert!(sentence.starts_with(|it: char| it.is_ascii_uppercase()), "{name}: {help}");
        assert!(help.ends_with('.') && !help.ends_with(".."), "{name}: {help}");
        assert!((20..=250).contains(&help.len()), "{name}: {help}");
        assert!(helps.insert(help), "two metrics have the help {help:?}");
        let labels = page.labels(name);
        assert!(labels.len() <= 4, "{name}: {labels:?}");
    }
    assert!(helps.len() > 30, "{}", helps.len());

    let mut seen = BTreeSet::new();
    for sample in &page.samples {
        for (label, value) in &sample.labels {
            assert!(LABELS.contains(&label.as_str()), "{}: {label}", sample.name);
            assert!(!value.is_empty(), "{sample:?}");
            assert!(label != "le" || sample.name.ends_with("_bucket"), "{sample:?}");
        }
        let series = format!("{} {:?}", sample.name, sample.labels);
        assert!(seen.insert(series), "twice: {sample:?}");
    }
}

//! The metrics page as a scraper reads it.

use std::collections::{BTreeMap, BTreeSet};

/// A metric's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) kind: String,
    pub(crate) unit: String,
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// The whole page.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// By sample name without a histogram's `_bucket`, `_sum` and `_count`.
    pub(crate) declared: BTreeMap<String, Declared>,
    pub(crate) samples: Vec<Sample>,
}

impl Page {
    pub(crate) fn read(text: &str) -> Self {
        let mut page = Self::default();
        assert!(text.ends_with("# EOF\n"), "{text}");
        let mut unit = BTreeMap::new();
        let mut kinds = BTreeMap::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                let before = kinds.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} is declared twice");
            } else if let Some(rest) = line.strip_prefix("# UNIT ") {
                let (name, its) = rest.split_once(' ').expect("a unit");
                unit.insert(name.to_owned(), its.to_owned());
            } else if !line.starts_with('#') {
                page.samples.push(Sample::read(line));
            }
        }
        for (name, kind) in kinds {
            let suffix = match kind.as_str() {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            let unit = unit.remove(&name).unwrap_or_default();
            page.declared.insert(format!("{name}{suffix}"), Declared { kind, unit });
        }
        page
    }

    /// The samples of this name with at least these labels.
    pub(crate) fn of(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let has = |sample: &&Sample| {
            labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|it| it == value))
        };
        self.samples.iter().filter(|sample| sample.name == name).filter(has).collect()
    }

    /// The value of the only sample of this name with these labels.
    pub(crate) fn figure(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        match self.of(name, labels)[..] {
            [sample] => sample.value,
            ref others => panic!("{name} {labels:?}: {others:?}"),
        }
    }

    /// The sum of all samples of this name with these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).iter().map(|sample| sample.value).sum()
    }

    /// A metric's label names and values, without a histogram's `le`.
    pub(crate) fn labels(&self, metric: &str) -> BTreeMap<String, BTreeSet<String>> {
        let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let histogram = self.declared.get(metric).is_some_and(|it| it.kind == "histogram");
        for sample in &self.samples {
            let suffix = sample.name.strip_prefix(metric);
            let its = match suffix {
                Some("") => true,
                Some("_bucket" | "_sum" | "_count") => histogram,
                _ => false,
            };
            for (key, value) in sample.labels.iter().filter(|(key, _)| its && *key != "le") {
                labels.entry(key.clone()).or_default().insert(value.clone());
            }
        }
        labels
    }
}

impl Sample {
    fn read(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let value = value.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
        let (name, labels) = match series.split_once('{') {
            None => (series, BTreeMap::new()),
            Some((name, labels)) => {
                let labels = labels.strip_suffix('}').expect("closed");
                // No label value of ours has a comma or a quote.
                let pairs = labels.split(',').map(|pair| {
                    let (key, value) = pair.split_once('=').expect("a label");
                    (key.to_owned(), value.trim_matches('"').to_owned())
                });
                (name, pairs.collect())
            }
        };
        Self { name: name.to_owned(), labels, value }
    }
}

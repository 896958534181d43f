//! The formats of the metrics page, both written from one encoding of the registry.

use std::{
    fmt::{self, Write},
    mem,
};

use prometheus_client::{encoding::text::encode, registry::Registry};

/// A format of the metrics page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// Prometheus' text format 0.0.4.
    Text,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
}

impl MetricsFormat {
    /// The content type of a page in this format.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    pub(super) fn render(self, registry: &Registry) -> String {
        let mut page = String::new();
        // Writing to a String does not fail.
        let _ = match self {
            Self::OpenMetrics => encode(&mut page, registry),
            Self::Text => encode(&mut TextFormat::new(&mut page), registry),
        };
        page
    }
}

/// Converts `OpenMetrics` into the text format, line by line. Samples are the same in both.
/// Declarations differ: the text format declares a metric by the name of its samples, and has
/// neither the types `info` and `unknown`, nor units, nor an end mark.
struct TextFormat<'a> {
    page: &'a mut String,
    /// The current line so far.
    line: String,
    /// The last help, kept until the following type determines the name of the samples.
    help: String,
}

impl<'a> TextFormat<'a> {
    fn new(page: &'a mut String) -> Self {
        Self { page, line: String::new(), help: String::new() }
    }

    fn end_line(&mut self) {
        let line = mem::take(&mut self.line);
        if let Some(help) = line.strip_prefix("# HELP ") {
            help.clone_into(&mut self.help);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|declared| declared.split_once(' '))
        {
            self.declare(name, kind);
        } else if !line.starts_with('#') {
            self.page.extend([&line, "\n"]);
        }
    }

    fn declare(&mut self, name: &str, kind: &str) {
        let (suffix, kind) = match kind {
            "counter" => ("_total", kind),
            "info" => ("_info", "gauge"),
            "unknown" => ("", "untyped"),
            _ => ("", kind),
        };
        if let Some((_, help)) = self.help.split_once(' ') {
            self.page.extend(["# HELP ", name, suffix, " ", help, "\n"]);
        }
        self.page.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
    }
}

impl Write for TextFormat<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive('\n') {
            let ends = part.ends_with('\n');
            self.line.push_str(part.trim_end_matches('\n'));
            if ends {
                self.end_line();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{
        metrics::{counter::Counter, family::Family, info::Info},
        registry::Unit,
    };

    use super::*;

    #[test]
    fn text_format_declares_metrics_by_sample_name() {
        let mut registry = Registry::default();
        let counters = Family::<Vec<(&'static str, String)>, Counter>::default();
        registry.register_with_unit("wait", "Time", Unit::Seconds, counters.clone());
        registry.register("build", "What runs", Info::new(vec![("version", "1")]));
        let odd = "# TYPE x \\ \"unknown\"\n";
        counters.get_or_create_owned(&vec![("name", odd.to_owned())]).inc();
        let samples = "wait_seconds_total{name=\"# TYPE x \\\\ \\\"unknown\\\"\\n\"} 1\n";
        assert_eq!(
            MetricsFormat::Text.render(&registry),
            format!(
                "# HELP wait_seconds_total Time.\n# TYPE wait_seconds_total counter\n{samples}\
                 # HELP build_info What runs.\n# TYPE build_info gauge\n\
                 build_info{{version=\"1\"}} 1\n"
            )
        );
        let open = MetricsFormat::OpenMetrics.render(&registry);
        assert!(open.contains(samples) && open.ends_with("# EOF\n"), "{open}");
    }
}

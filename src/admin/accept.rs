//! Selects the metrics format that a request's `Accept` prefers (RFC 9110, 12.5.1).

use std::cmp::Reverse;

use http::{HeaderMap, header};

use crate::telemetry::MetricsFormat;

/// The response format: the text format unless OpenMetrics is preferred. A client that accepts
/// neither gets the text format, which every metrics reader supports.
pub(super) fn metrics_format(headers: &HeaderMap) -> MetricsFormat {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<Range<'_>> =
        values.flat_map(|value| split(value, ',')).filter_map(Range::read).collect();
    let text = preference(&ranges, "text", "plain", &["0.0.4", "1.0.0"]);
    let open = preference(&ranges, "application", "openmetrics-text", &["0.0.1", "1.0.0"]);
    if open.weight > 0 && open > text { MetricsFormat::OpenMetrics } else { MetricsFormat::Text }
}

/// A media range of an `Accept` header.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    version: Option<&'a str>,
    weight: u16,
}

impl<'a> Range<'a> {
    /// Returns `None` for a malformed range.
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = split(text, ';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let mut range = Self { kind, subtype, version: None, weight: FULL };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("q") {
                range.weight = weight(value)?;
            } else if name.eq_ignore_ascii_case("version") {
                range.version = Some(value);
            }
        }
        Some(range)
    }

    /// How specifically the range matches a format with these versions; `None` if it does not
    /// match.
    fn matches(&self, kind: &str, subtype: &str, versions: &[&str]) -> Option<Precision> {
        if self.kind == "*" && self.subtype == "*" {
            return Some(Precision::Any);
        }
        if !self.kind.eq_ignore_ascii_case(kind) {
            return None;
        }
        if self.subtype == "*" {
            return Some(Precision::Type);
        }
        let named = self.subtype.eq_ignore_ascii_case(subtype);
        match self.version {
            None => named.then_some(Precision::Subtype),
            Some(version) => (named && versions.contains(&version)).then_some(Precision::Version),
        }
    }
}

/// How specifically a range matches a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    Any,
    Type,
    Subtype,
    Version,
}

/// How much a format is preferred: by weight, then explicitly named formats, then position.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Preference {
    weight: u16,
    named: bool,
    first: Reverse<usize>,
}

/// The preference for a format with these versions, taken from its most specific range.
fn preference(ranges: &[Range<'_>], kind: &str, subtype: &str, versions: &[&str]) -> Preference {
    let matching = ranges.iter().enumerate().filter_map(|(at, range)| {
        let precision = range.matches(kind, subtype, versions)?;
        let named = precision >= Precision::Subtype;
        Some((precision, Preference { weight: range.weight, named, first: Reverse(at) }))
    });
    let best = matching.max().map(|(_, preference)| preference);
    best.unwrap_or(Preference { weight: 0, named: false, first: Reverse(usize::MAX) })
}

/// The default weight.
const FULL: u16 = 1_000;

/// A weight in thousandths.
fn weight(text: &str) -> Option<u16> {
    let weight: f32 = text.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000")]
    (0.0..=1.0).contains(&weight).then(|| (weight * f32::from(FULL)).round() as u16)
}

/// Splits at separators outside quoted strings.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |letter| {
        if escaped {
            escaped = false;
        } else if quoted && letter == '\\' {
            escaped = true;
        } else if letter == '"' {
            quoted = !quoted;
        }
        letter == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &[&str]) -> MetricsFormat {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, value.parse().unwrap());
        }
        metrics_format(&headers)
    }

    #[test]
    fn open_metrics_is_returned_where_preferred() {
        for accept in [
            // Prometheus from 2.5, from 2.34, from 3.0.
            &[
                "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            ] as &[&str],
            &[
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            ],
            &[
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            ],
            &["application/openmetrics-text"],
            &["Application/OpenMetrics-Text ; VERSION=\"1.0.0\" ; Q=0.5 ,\t*/* ; q=0.4"],
            &["application/*"],
            &["text/plain;q=0.3", "application/openmetrics-text;q=0.7"],
            &["text/plain;q=0.001, application/openmetrics-text;q=0.002"],
            &["text/plain;q=0, */*"],
            &["*/*, application/openmetrics-text"],
            &[
                "application/openmetrics-text;version=2.0.0, application/openmetrics-text;version=1.0.0;q=0.5, text/plain;q=0.4",
            ],
            &["application/openmetrics-text, text/plain"],
            &[
                "x/y;note=\"text/plain, \\\"q\", application/openmetrics-text;q=0.2, text/plain;q=0.1",
            ],
            &["text/plain;q=much, application/openmetrics-text;q=0.1"],
        ] {
            assert_eq!(chosen(accept), MetricsFormat::OpenMetrics, "{accept:?}");
        }
    }

    #[test]
    fn other_clients_get_the_text_format() {
        for accept in [
            &[] as &[&str],
            &[""],
            &["*/*"],
            &["text/*"],
            &["text/plain"],
            &["text/plain;version=0.0.4"],
            &["text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"],
            &["application/json"],
            &[
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
            ],
            &["application/openmetrics-text;q=0"],
            &["application/openmetrics-text;q=0.0, */*"],
            &["application/openmetrics-text;version=2.0.0"],
            &["application/openmetrics-text;q=0.5, text/plain"],
            &["application/openmetrics-text;q=0.5", "text/plain;q=0.6"],
            &["text/plain, application/openmetrics-text"],
            &["application/openmetrics-text;q=0.5, */*"],
            &["application/openmetrics-text;q=nan", "application/openmetrics-text;q=-1"],
            &["application/openmetrics-text;q=2, openmetrics, ;;,,/"],
            &["*/*;q=0"],
            &["application/openmetrics-textual"],
        ] {
            assert_eq!(chosen(accept), MetricsFormat::Text, "{accept:?}");
        }
    }
}

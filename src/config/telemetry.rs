//! `[telemetry]` and `[log]`. The standard variables of OpenTelemetry have precedence over the file.

use std::path::PathBuf;

use crate::{
    egress::ExtraRoots,
    otlp::{self, Endpoint},
    settings::{Document, Problems, Section},
    telemetry::{LogFilter, trace::Sample},
};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const SAMPLE: &str = "OTEL_TRACES_SAMPLER_ARG";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

const NAME: &str = "service.name";

/// A value is invalid, and its problem is reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported;

/// Reads `[telemetry]`, and the variables that override it; none if traces are not exported.
pub(super) fn read_traces(section: &mut Section<'_>) -> Result<Option<otlp::Config>, Reported> {
    let is_on = section.has("otlp_endpoint") || variable(section, ENDPOINT).is_some();
    let of_file = section.parsed("otlp_endpoint", Endpoint::parse);
    let endpoint = match variable(section, ENDPOINT) {
        Some(text) => overridden(section, "otlp_endpoint", ENDPOINT, Endpoint::parse(&text)),
        None => of_file,
    };
    let ca = section.parsed("otlp_ca", |text| match ExtraRoots::load(text) {
        Ok(_) => Ok(PathBuf::from(text)),
        Err(why) => Err(format!("names a file that {why}")),
    });
    if ca.is_some() && endpoint.as_ref().is_some_and(|endpoint| !endpoint.is_https()) {
        section.problem("otlp_ca", "applies to https only, and otlp_endpoint is http");
    }
    let of_file = read_sample(section, "sample");
    let sample = match variable(section, SAMPLE).filter(|_| is_on) {
        Some(text) => {
            let share = text.parse().unwrap_or(f64::NAN);
            overridden(section, "sample", SAMPLE, Sample::new(share))
        }
        None => of_file,
    };
    let attributes = if is_on { attributes(section) } else { Some(Vec::new()) };
    if !is_on && ca.is_some() {
        section.warn("otlp_endpoint", "is missing, so no traces are exported");
    }
    section.finish();
    match (is_on, endpoint, sample, attributes) {
        (false, ..) => Ok(None),
        (true, Some(endpoint), Some(sample), Some(attributes)) => {
            Ok(Some(otlp::Config { endpoint, ca, sample, attributes }))
        }
        _ => Err(Reported),
    }
}

/// A variable that is not empty.
fn variable(section: &Section<'_>, name: &str) -> Option<String> {
    section.env(name).map(|it| it.trim().to_owned()).filter(|it| !it.is_empty())
}

/// The value of a variable that overrides a key.
fn overridden<T, E: std::fmt::Display>(
    section: &Section<'_>,
    key: &str,
    variable: &str,
    value: Result<T, E>,
) -> Option<T> {
    value.map_err(|error| section.problem(key, format!("the variable {variable} {error}"))).ok()
}

fn read_sample(section: &mut Section<'_>, key: &'static str) -> Option<Sample> {
    if !section.has(key) {
        return Some(Sample::default());
    }
    let share = section.number(key)?;
    Sample::new(share).map_err(|error| section.problem(key, error.to_string())).ok()
}

/// The attributes of this process: `KEY=VALUE` pairs with percent-encoded values, separated by
/// commas.
fn attributes(section: &Section<'_>) -> Option<Vec<(String, String)>> {
    let text = variable(section, RESOURCE_ATTRIBUTES).unwrap_or_default();
    let mut attributes = vec![
        (NAME.to_owned(), env!("CARGO_PKG_NAME").to_owned()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ];
    let mut set = |key: &str, value: String| {
        attributes.retain(|(known, _)| known != key);
        attributes.push((key.to_owned(), value));
    };
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        let pair = pair.split_once('=').map(|(key, value)| (key.trim(), decoded(value.trim())));
        let Some((key, Some(value))) = pair.filter(|(key, _)| !key.is_empty()) else {
            let why = "must be KEY=VALUE pairs separated by commas, with percent-encoded values";
            section.problem_here(format!("the variable {RESOURCE_ATTRIBUTES} {why}"));
            return None;
        };
        set(key, value);
    }
    if let Some(name) = variable(section, SERVICE_NAME) {
        set(NAME, name);
    }
    Some(attributes)
}

/// Decodes percent-encoding; none if it is malformed.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Whether a variable is one of OpenTelemetry's.
pub(super) fn is_standard(variable: &str) -> bool {
    variable.starts_with("OTEL_")
}

/// Reads `[log]`; none for the default.
pub(super) fn read_log(section: &mut Section<'_>) -> Option<LogFilter> {
    let filter = section.parsed("filter", str::parse);
    section.finish();
    filter.filter(|it| *it != LogFilter::default())
}

/// Reads `[log]` and nothing else of `text`.
pub fn reread_log(file: &str, text: &str) -> Result<Option<LogFilter>, Problems> {
    let env = |_: &str| None;
    let document = Document::parse(file, text, &env)?;
    let filter = read_log(&mut document.root().section("log"));
    document.conclude(Some(filter))
}

#[cfg(test)]
mod tests;

//! `[telemetry]`, `[log]` and the variables of OpenTelemetry.

use super::*;

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Option<otlp::Config>, String> {
    let env = |name: &str| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    let document = Document::parse("f.toml", text, &env).unwrap();
    let read = read_traces(&mut document.root().section("telemetry")).ok();
    document.conclude(read).map_err(|problems| problems.to_string())
}

fn attributes_of(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let text = "[telemetry]\notlp_endpoint = \"http://a:4317\"";
    read(text, variables).unwrap().unwrap().attributes
}

#[test]
fn traces_are_off_without_an_endpoint() {
    assert_eq!(read("", &[]), Ok(None));
    // Set for every process of a host, perhaps for others.
    assert_eq!(read("", &[(SAMPLE, "half"), (SERVICE_NAME, "x"), (ENDPOINT, " ")]), Ok(None));
    let config = read("telemetry.otlp_endpoint = \"http://a:4317\"", &[]).unwrap().unwrap();
    assert_eq!((config.endpoint.to_string().as_str(), config.ca), ("http://a:4317", None));
    assert!((config.sample.share() - 0.01).abs() < f64::EPSILON);
}

#[test]
fn variables_override_the_file() {
    let text = "[telemetry]\notlp_endpoint = \"http://a:4317\"\nsample = 1";
    let variables = [(ENDPOINT, "https://b:4317"), (SAMPLE, "0.5")];
    let config = read(text, &variables).unwrap().unwrap();
    assert_eq!(config.endpoint.to_string(), "https://b:4317");
    assert!((config.sample.share() - 0.5).abs() < f64::EPSILON);
    assert!(read("", &variables[..1]).unwrap().is_some());
}

#[test]
fn attributes_describe_the_process() {
    let own = |name: &str| (name.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let defaults = [pair("service.name", "grantmint"), own("service.version")];
    assert_eq!(attributes_of(&[]), defaults);
    let given = (RESOURCE_ATTRIBUTES, "a=1%2C2, service.name=ignored,,b.c = x");
    let expected =
        [own("service.version"), pair("a", "1,2"), pair("b.c", "x"), pair("service.name", "mint")];
    assert_eq!(attributes_of(&[given, (SERVICE_NAME, "mint")]), expected);
}

#[test]
fn invalid_values_are_reported_with_their_line_or_variable() {
    for (text, variables, expected) in [
        (
            "[telemetry]\notlp_endpoint = \"a:4317\"",
            &[][..],
            "2: telemetry.otlp_endpoint: is not a URL",
        ),
        (
            "[telemetry]\notlp_endpoint = \"http://a:1\"\nsample = 2",
            &[],
            "3: telemetry.sample: must be",
        ),
        (
            "[telemetry]\notlp_endpoint = \"http://a:1\"\nsample = \"1\"",
            &[],
            "3: telemetry.sample: must be a number without quotes",
        ),
        (
            "[telemetry]\notlp_endpoint = \"http://a:1\"\nsample = nan",
            &[],
            "3: telemetry.sample: is not",
        ),
        ("[telemetry]\nendpoint = \"http://a:1\"", &[], "2: telemetry.endpoint: unknown key"),
        (
            "[telemetry]\notlp_endpoint = \"https://a:1\"\notlp_ca = \"/nowhere\"",
            &[],
            "3: telemetry.otlp_ca: names a file that cannot be read",
        ),
        ("", &[(ENDPOINT, "a:4317")], "the variable OTEL_EXPORTER_OTLP_ENDPOINT is not a URL"),
        (
            "",
            &[(ENDPOINT, "http://a:1"), (SAMPLE, "half")],
            "the variable OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1",
        ),
        (
            "",
            &[(ENDPOINT, "http://a:1"), (RESOURCE_ATTRIBUTES, "a=%zz")],
            "the variable OTEL_RESOURCE_ATTRIBUTES must be KEY=VALUE pairs",
        ),
    ] {
        let problems = read(text, variables).unwrap_err();
        assert!(problems.contains(expected), "{text}: {problems}");
    }
}

#[test]
fn log_filter_is_validated_with_its_line() {
    let good = reread_log("f.toml", "[log]\nfilter = \"info,grantmint=debug\"").unwrap();
    assert_eq!(good.unwrap().to_string(), "info,grantmint=debug");
    assert_eq!(reread_log("f.toml", "").unwrap(), None);
    for filter in ["", "a=b=c", "info,grantmint=loud"] {
        let text = format!("[log]\nfilter = \"{filter}\"");
        let problems = reread_log("f.toml", &text).unwrap_err().to_string();
        assert!(problems.contains("2: log.filter: is not a log filter"), "{problems}");
    }
}

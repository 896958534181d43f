//! Log lines in a trace, reloads in a trace, and the filter of log lines.

use std::fs;

use grantmint::provider::twilio_live::DEMO_API_KEY_SECRET;
use serde_json::Value;

use super::{Collector, PARENT, TRACE, call, serve};
use crate::{
    binary::metrics::page,
    support::{Configured, Serve, mint, run, until},
};

/// The log lines with this message.
fn lines(log: &str, message: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter(|line| line["message"] == message).collect()
}

const OBSERVED: &str = "[server]\nauthorize = \"observe\"\n[callers.demo]\nmatch = [\"loopback\"]\n\
                        allow = [{ profiles = [\"*\"], methods = [\"GetGrant\"] }]\n";

#[tokio::test]
async fn log_lines_carry_the_trace() {
    let collector = Collector::start().await;
    for (top, flags, has_span) in [("", "01", true), ("", "00", false), ("off", "01", false)] {
        let serve = if top == "off" {
            let config = Configured::with_secret(OBSERVED, "", DEMO_API_KEY_SECRET);
            Serve::configured(&config, &[]).await
        } else {
            serve(OBSERVED, &collector.url, "0", &[]).await
        };
        call(&serve, flags, mint("viewer", None)).await.expect("a token");
        serve.signal("INT");
        let (_, log) = serve.ended().await;
        let denied = lines(&log, "the call would be denied; observing only");
        let [line] = &denied[..] else { panic!("{denied:?}") };
        assert_eq!(line["trace_id"], TRACE);
        assert_eq!(line["span_id"].is_string(), has_span, "{line}");
        assert_ne!(line["span_id"], PARENT);
        assert!(lines(&log, "stopped")[0]["trace_id"].is_null());
    }
    let spans = collector.spans();
    assert_eq!(spans.len(), 1, "{spans:?}");
}

#[tokio::test]
async fn refresh_log_lines_carry_its_span() {
    let collector = Collector::start().await;
    let serve = serve("", &collector.url, "1", &[]).await;
    serve.first_token().await;
    serve.signal("INT");
    let (_, log) = serve.ended().await;
    let spans = collector.spans();
    let refresh = spans.iter().find(|span| span.name == "refresh").expect("a refresh");
    let [line] = &lines(&log, "first grant received")[..] else { panic!("{log}") };
    assert_eq!(
        (line["trace_id"].as_str(), line["span_id"].as_str()),
        (Some(&*refresh.trace_id), Some(&*refresh.span_id))
    );
}

const RELOADS: &str = "reload requested; applying changes";

#[tokio::test]
async fn log_filter_changes_at_reload() {
    let collector = Collector::start().await;
    let endpoint = format!("[telemetry]\notlp_endpoint = \"{}\"\n", collector.url);
    let warn = format!("{endpoint}[log]\nfilter = \"warn\"\n");
    let config = Configured::with_secret(&warn, "", DEMO_API_KEY_SECRET);
    let serve = Serve::logging_as_configured(&config).await;
    serve.first_token().await;
    let text = fs::read_to_string(&config.file).expect("text");
    let write = |filter: &str| {
        let text = text.replace("\"warn\"", &format!("\"{filter}\""));
        fs::write(&config.file, text).expect("written");
        serve.signal("HUP");
    };
    let figure = async |name: &str, result: &[(&str, &str)]| {
        let labels = [&[("what", "log")], result].concat();
        page(&serve).await.figure(name, &labels)
    };
    let reloads = async || figure("grantmint_reloads_total", &[("result", "ok")]).await;
    write("info");
    until("a reload", async || reloads().await > 0.5).await;
    write("a=b=c");
    until("a failure", async || figure("grantmint_reload_failing", &[]).await > 0.5).await;
    let check = run(&["check", config.path()]).await;
    assert_eq!(check.code, Some(1));
    let refused = "4: log.filter: is not a log filter";
    assert!(check.stderr.contains(refused), "{}", check.stderr);
    write("error");
    until("another reload", async || reloads().await > 1.5).await;
    serve.signal("INT");
    let (_, log) = serve.ended().await;
    // The first one with "warn" in force, the second with "info", and the third as well.
    assert_eq!(lines(&log, RELOADS).len(), 2, "{log}");
    let [failed] = &lines(&log, "reload failed; keeping the previous version")[..] else {
        panic!("{log}")
    };
    assert!(failed["reason"].as_str().is_some_and(|it| it.contains(refused)), "{failed}");
    assert!(lines(&log, "stopped").is_empty(), "{log}");
    let reloads: Vec<_> = collector.spans();
    let reloads: Vec<_> = reloads.iter().filter(|span| span.name == "reload").collect();
    let errors: Vec<_> = reloads.iter().map(|span| span.is_error).collect();
    assert_eq!((errors.first(), errors.last()), (Some(&false), Some(&false)), "{reloads:?}");
    assert!(errors.contains(&true));
    assert!(reloads.iter().all(|span| span.attributes["grantmint.reload.what"] == "log"));
}

#[tokio::test]
async fn log_flag_has_precedence_over_the_file() {
    let top = "[log]\nfilter = \"info\"\n";
    let config = Configured::with_secret(top, "", DEMO_API_KEY_SECRET);
    let serve = Serve::configured(&config, &["--log", "warn,grantmint::app=info"]).await;
    serve.first_token().await;
    let text = fs::read_to_string(&config.file).expect("text");
    fs::write(&config.file, text.replace("\"info\"", "\"trace\"")).expect("written");
    serve.signal("HUP");
    until("a reload", async || {
        let labels = [("what", "log"), ("result", "ok")];
        page(&serve).await.figure("grantmint_reloads_total", &labels) > 0.5
    })
    .await;
    serve.signal("INT");
    let (_, log) = serve.ended().await;
    let unused = "[log] filter is not used: --log or GRANTMINT_LOG overrides it";
    assert_eq!(lines(&log, unused).len(), 1, "{log}");
    assert!(!log.contains("first grant received") && !log.contains("TRACE"), "{log}");
}

//! The admin pages over HTTP: content negotiation of the metrics, and refused requests.

use std::{fs, path::PathBuf};

use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    prometheus::tool,
    python::{python, succeeds},
    support::{Answer, Serve, answer},
};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The header that Prometheus 3 sends.
const PROMETHEUS: &str = "accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

async fn ask(serve: &Serve, method: &str, path: &str, headers: &[&str]) -> Answer {
    answer(method, &format!("{}{path}", serve.admin), headers, "").await
}

#[tokio::test]
async fn metrics_use_the_requested_format() {
    let serve = Serve::sandboxed(&[]).await;
    for (headers, expected) in [
        (&[] as &[&str], TEXT),
        (&["accept: */*"], TEXT),
        (&["accept: text/plain;version=0.0.4"], TEXT),
        (&["accept: text/html,application/xml;q=0.9,*/*;q=0.8"], TEXT),
        (&["accept: application/openmetrics-text;q=0"], TEXT),
        (&["accept: application/openmetrics-text"], OPEN_METRICS),
        (&["accept: text/plain;q=0.5", "accept: APPLICATION/OpenMetrics-Text;q=0.6"], OPEN_METRICS),
        (&[PROMETHEUS], OPEN_METRICS),
    ] {
        let page = ask(&serve, "GET", "/metrics?name=x", headers).await;
        let reported = (page.status, page.header("content-type"), page.header("vary"));
        assert_eq!(reported, (200, Some(expected), Some("Accept")), "{headers:?}");
        assert_eq!(page.body.ends_with("# EOF\n"), expected == OPEN_METRICS, "{headers:?}");
        let head = ask(&serve, "HEAD", "/metrics", headers).await;
        assert_eq!((head.header("content-type"), head.body.as_str()), (Some(expected), ""));
    }
}

#[tokio::test]
async fn prometheus_parsers_read_both_formats() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let dir = TempDir::new().expect("a directory");
    let mut files = Vec::new();
    for (name, headers) in [("text", &[] as &[&str]), ("open", &[PROMETHEUS])] {
        let file = dir.path().join(name);
        fs::write(&file, ask(&serve, "GET", "/metrics", headers).await.body).expect("written");
        files.push(file);
    }
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut parsers = Command::new(python());
    parsers.arg(root.join("tests/python/metrics.py")).args(&files);
    let names: usize = succeeds(&mut parsers).await.trim().parse().expect("a number");
    assert!(names > 20, "{names}");

    let page = fs::File::open(&files[0]).expect("it was written");
    let linted = succeeds(tool("promtool").args(["check", "metrics"]).stdin(page)).await;
    assert_eq!(linted, "");
}

#[tokio::test]
async fn admin_pages_are_read_only() {
    let serve = Serve::sandboxed(&[]).await;
    for page in ["/", "/status.json", "/events", "/livez", "/readyz", "/metrics"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let refused = ask(&serve, method, page, &[]).await;
            assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")));
        }
    }
    for (method, path) in [("GET", "/status"), ("GET", "/metrics/"), ("POST", "/nothing")] {
        assert_eq!(ask(&serve, method, path, &[]).await.status, 404, "{method} {path}");
    }
}

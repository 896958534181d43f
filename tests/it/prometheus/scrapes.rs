//! Scrapes of a healthy server.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    alerts::{firing, rules_without_delays},
    server::Prometheus,
};
use crate::operations::Full;

#[tokio::test]
async fn prometheus_scrapes_without_a_warning() {
    let full = Full::start("enforce").await;
    let prometheus = Prometheus::start(&full.serve.admin, &rules_without_delays()).await;
    prometheus.scraped(5).await;
    let targets = prometheus.api("targets", &[]).await;
    let target = &targets["activeTargets"][0];
    assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()), "{target}");
    assert_eq!(prometheus.warnings(), Vec::<Value>::new());

    // Prometheus knows each metric by its type and unit, and has a sample of it.
    let page = full.page().await;
    let metadata = prometheus.api("targets/metadata", &[("limit", "1000")]).await;
    let known: BTreeMap<&str, &Value> = metadata
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| (it["metric"].as_str().expect("a name"), it))
        .collect();
    for (name, declared) in &page.declared {
        // The parser knows a metric of OpenMetrics without its suffix.
        let base = name.trim_end_matches("_total").trim_end_matches("_info");
        let kept = known[base];
        assert_eq!(kept["type"], *declared.kind, "{name}");
        assert_eq!(kept["unit"], *declared.unit, "{name}");
        assert!(kept["help"].as_str().is_some_and(|help| help.ends_with('.')), "{kept}");
        let sample =
            if declared.kind == "histogram" { format!("{name}_count") } else { name.clone() };
        assert!(!prometheus.query(&sample).await.is_empty(), "{sample}");
    }
    assert_eq!(firing(&prometheus).await, Vec::<String>::new(), "of a healthy server");
}

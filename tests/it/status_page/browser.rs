//! The page in Chromium. It is driven by `tests/node/status_page.js`.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::{
    kinds::node,
    support::{Configured, PATIENCE, Serve, found},
};

/// Runs a case in Chromium.
async fn in_chromium(mut input: Value) -> Value {
    // Debian's name, and that of the others.
    let names = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let chromium = names.into_iter().find(|name| std::path::Path::new(name).exists());
    input["chromium"] = chromium.expect("Chromium is missing: run make browser-tools").into();
    let mut read = node::in_node_for("status_page.js", &input, 4 * PATIENCE).await;
    read.pop().expect("a result")
}

fn page_of(serve: &Serve) -> String {
    format!("{}/", serve.admin)
}

#[tokio::test]
async fn status_page_follows_refreshes_faults_and_outages() {
    let config = Configured::profile("grant_ttl = \"12s\"");
    let serve = Serve::configured(&config, &[]).await;
    serve.first_token().await;
    let sandbox = serve.sandbox.as_deref().expect("a sandbox").trim_end_matches('/');
    let input = json!({
        "case": "life",
        "url": page_of(&serve),
        "sandbox": format!("{sandbox}/"),
        "pid": serve.pid(),
    });
    let seen = in_chromium(input).await;
    let steps = ["drawn", "refreshed", "faulty", "recovered", "searched", "lost", "back"];
    assert_eq!(seen["steps"], json!(steps));
    for list in ["grave", "errors", "foreign"] {
        assert_eq!(seen[list], json!([]), "{list}");
    }
}

const MANY: usize = 10_000;

/// The resources of a server with many.
fn many_resources() -> String {
    let mut list = String::from("resources = [");
    for index in 0..MANY {
        let _ = write!(list, "\"VJ{index:032x}\", ");
    }
    list.push(']');
    list
}

#[tokio::test]
async fn many_grants_are_drawn_within_a_second() {
    let config = Configured::profile("");
    let text = std::fs::read_to_string(&config.file).expect("a file");
    let kept = text.lines().filter(|line| !line.starts_with("resources"));
    let text: String = kept.flat_map(|line| [line, "\n"]).collect();
    let budget = "budget = { rate = 250, burst = 250, concurrent = 16 }";
    let text = format!("{text}{budget}\n{}\n", many_resources());
    std::fs::write(&config.file, text).expect("written");
    let serve = Serve::configured(&config, &["--log", "error"]).await;
    let find = format!("{:032x}", MANY - 1);
    let seen = in_chromium(json!({"case": "draw", "url": page_of(&serve), "find": find})).await;
    assert_eq!(seen["total"], "10,000");
    assert!(seen["milliseconds"].as_f64().expect("a time") < 1_000.0, "{seen}");
    for list in ["grave", "errors", "foreign"] {
        assert_eq!(seen[list], json!([]), "{list}");
    }
}

#[tokio::test]
async fn status_page_without_details_names_nothing() {
    let config = Configured::with_secret(
        "[admin]\ndetails = false\n[callers.secretive]\nmatch = [\"loopback\"]\n\
         allow = [{ profiles = [\"*\"] }]",
        "grant_ttl = \"12s\"",
        grantmint::provider::twilio_live::DEMO_API_KEY_SECRET,
    );
    let serve = Serve::configured(&config, &[]).await;
    serve.first_token().await;
    serve.set_fault("status=503").await;
    let resource = grantmint::provider::twilio_live::DEMO_RESOURCE;
    let (_, json) = found("a warning with its fields left out", async || {
        let read = serve.page("/status.json?search=retrying").await;
        (read.1.contains("refresh failed; retrying")).then_some(read)
    })
    .await;
    let status: Value = serde_json::from_str(&json).expect("JSON");
    assert!(!status["problems"].as_array().expect("a list").is_empty());
    assert!(status["problems"].as_array().expect("a list").iter().all(|it| it["fields"].is_null()));
    serve.clear_faults().await;
    let seen = in_chromium(json!({"case": "text", "url": page_of(&serve)})).await;
    let shown = seen["text"].as_str().expect("text");
    for text in [json.as_str(), shown] {
        assert!(text.contains("demo"), "{text}");
        assert!(!text.contains(resource) && !text.contains("secretive"), "{text}");
    }
    let (_, json) = serve.page(&format!("/status.json?search={resource}")).await;
    let searched: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(searched["grants"]["matching"], 0, "a search must not confirm a name");
}

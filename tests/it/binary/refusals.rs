//! Configurations and flags that `serve` refuses, and its error messages.

use std::net::TcpListener;

use crate::support::{Configured, run};

#[tokio::test]
async fn serve_without_config_suggests_sandbox_or_config() {
    let ran = run(&["serve"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("--config") && ran.stderr.contains("--sandbox"), "{}", ran.stderr);
}

#[tokio::test]
async fn serve_refuses_a_non_loopback_address() {
    let local = Configured::profile("");
    let everywhere = ["serve", "--sandbox", "--config", local.path(), "--listen", "0.0.0.0:0"];
    let ran = run(&everywhere).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{}", ran.stderr);
    let stderr = ran.stderr.to_lowercase();
    assert!(stderr.contains("0.0.0.0:0") && stderr.contains("loopback"), "{}", ran.stderr);
    let ran = run(&["sandbox", "--listen", "0.0.0.0:0"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("loopback"), "{}", ran.stderr);

    let config = Configured::with_secret(
        "[server]\nlisten = \"[::]:0\"",
        "",
        grantmint::provider::twilio_live::DEMO_API_KEY_SECRET,
    );
    let ran = run(&["serve", "--sandbox", "--config", config.path()]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("loopback"), "{}", ran.stderr);
}

#[tokio::test]
async fn serve_and_check_report_every_problem_with_its_line() {
    let config = Configured::profile("tokn_ttl = \"1h\"\ngrant_ttl = \"5s\"\nmargn = \"0s\"");
    for command in [&["serve", "--config"][..], &["check", "--config"]] {
        let ran = run(&[command, &[config.path()]].concat()).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{}", ran.stderr);
        for expected in ["tokn_ttl", "token_ttl", "grant_ttl", "margin", "grantmint.toml:8"] {
            assert!(ran.stderr.contains(expected), "{expected} is not reported: {}", ran.stderr);
        }
    }
    let ran = run(&["serve", "--config", "/nowhere/grantmint.toml"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("/nowhere/grantmint.toml"), "{}", ran.stderr);
}

#[tokio::test]
async fn serve_names_the_address_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for (flag, other) in [("--listen", "--admin-listen"), ("--admin-listen", "--listen")] {
        let ran = run(&["serve", "--sandbox", flag, &address, other, "127.0.0.1:0"]).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("cannot listen on {address}")), "{}", ran.stderr);
        assert!(ran.stderr.contains(flag), "no next step: {}", ran.stderr);
    }
    let ran = run(&["sandbox", "--listen", &address]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains(&address) && ran.stderr.contains("in use"), "{}", ran.stderr);
}

#[tokio::test]
async fn malformed_flag_is_a_usage_error() {
    for wrong in [
        &["serve", "--sandbox", "--fault", "stauts=503"][..],
        &["serve", "--fault", "hang"],
        &["serve", "--sandbox", "--listen", "localhost"],
        &["serve", "--sandbox", "--log", "=,="],
        &["sandbox", "--fault", "status=99"],
    ] {
        let ran = run(wrong).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{wrong:?}: {}", ran.stderr);
    }
}

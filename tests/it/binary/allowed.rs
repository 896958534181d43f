//! `check --as`: what the configuration allows a caller.

use serde_json::Value;

use crate::support::{Configured, run};
use grantmint::provider::twilio_live::DEMO_API_KEY_SECRET;

const CALLERS: &str = r#"[callers.api]
match = ["spiffe://a.org/ns/media/*", "loopback"]
tokens = { rate = 70, burst = 140 }
allow = [
  { profiles = ["demo"], identities = ["viewer-*"], max_ttl = "10m" },
  { methods = ["GetGrant"], profiles = ["*"] },
]
"#;

#[tokio::test]
async fn check_reports_which_row_allows_or_why_none_does() {
    let config = Configured::with_secret(CALLERS, "", DEMO_API_KEY_SECRET);
    for (arguments, code, expected) in [
        (&["--as", "loopback", "--identity", "viewer-7"][..], 0, "by [callers.api], row 1"),
        (&["--as", "spiffe://a.org/ns/media/x", "--method", "GetGrant"], 0, "row 2"),
        (&["--as", "loopback", "--identity", "viewer-*", "--method", "MintTokens"], 0, "row 1"),
        (&["--as", "loopback", "--identity", "bob"], 1, "IDENTITY_NOT_ALLOWED"),
        (&["--as", "loopback", "--identity", "view*"], 1, "IDENTITY_NOT_ALLOWED"),
        (&["--as", "loopback", "--identity", "viewer-7", "--ttl", "1h"], 1, "a lifetime over 10m"),
        (&["--as", "loopback", "--profile", "other"], 1, "PROFILE_NOT_ALLOWED"),
        (&["--as", "loopback", "--method", "ListGrants"], 1, "METHOD_NOT_ALLOWED"),
        (&["--as", "dns:a.b.c", "--identity", "viewer-7"], 1, "CALLER_UNKNOWN"),
        (&["--as", "spiffe://a.org/ns/web"], 1, "CALLER_UNKNOWN"),
    ] {
        let ran = run(&[&["check", config.path()], arguments].concat()).await;
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains(expected), "{arguments:?}: {}", ran.stdout);
        let ran = run(&[&["check", config.path(), "--json"], arguments].concat()).await;
        let answer: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert_eq!(answer["allowed"], code == 0, "{answer}");
    }
    for wrong in
        [&["--as", "nobody"][..], &["--as", "loopback", "--method", "Mint"], &["--ttl", "1m"]]
    {
        let ran = run(&[&["check", config.path()], wrong].concat()).await;
        assert_eq!(ran.code, Some(2), "{wrong:?}: {}", ran.stderr);
    }
    let shown = run(&["check", config.path()]).await.stdout;
    assert!(shown.contains("  tokens: 70 tokens of demo a second, bursts of 140"), "{shown}");

    // A grant's name is compared literally; only the profile's default applies.
    let named = "resources = [\"VJ0123456789ABCDEF0123456789ABCDE1\"]";
    let named = CALLERS.replace("profiles = [\"*\"]", &format!("profiles = [\"demo\"], {named}"));
    let named = Configured::with_secret(&named, "", DEMO_API_KEY_SECRET);
    for (resource, code) in
        [("VJ0123456789abcdef0123456789abcde1", 0), ("VJ0123456789ABCDEF0123456789ABCDE1", 1)]
    {
        let call = ["--as", "loopback", "--method", "GetGrant", "--resource", resource];
        let ran = run(&[&["check", named.path()], &call[..]].concat()).await;
        assert_eq!(ran.code, Some(code), "{resource}: {}", ran.stdout);
    }

    let observing = format!("[server]\nauthorize = \"observe\"\n{CALLERS}");
    let observing = Configured::with_secret(&observing, "", DEMO_API_KEY_SECRET);
    for (method, served) in [("MintTokens", true), ("ServerReflectionInfo", false)] {
        let call = ["--as", "loopback", "--identity", "bob", "--method", method];
        let ran = run(&[&["check", observing.path()], &call[..]].concat()).await;
        assert_eq!(ran.code, Some(1));
        assert_eq!(ran.stdout.contains("but served"), served, "{}", ran.stdout);
    }

    let open = Configured::profile("");
    let ran = run(&["check", open.path(), "--as", "loopback"]).await;
    assert_eq!(ran.code, Some(0));
    assert!(ran.stdout.contains("without [callers]"), "{}", ran.stdout);
}

//! `[callers]`: valid and invalid entries.

use super::*;
use crate::{
    auth::{
        method::Method,
        name::CallerName,
        policy::{Entries, Limits as CallerLimits},
        quota::Rate,
    },
    config::callers::reread,
};

const SPEECH: &str = r#"[profiles.speech]
kind = "forward"
preset = "deepgram"
api_key_env = "API_SECRET"
shareable = true
"#;

fn with(entries: &str) -> Result<Config, Problems> {
    parse(&format!("{LIVE}{SPEECH}default_resource = \"default\"\n{entries}"))
}

fn entries(config: &Config) -> &Entries {
    match &config.callers {
        Policy::Entries(entries) => entries,
        Policy::Open => panic!("no entries"),
    }
}

#[test]
fn no_table_allows_everything_and_entries_only_their_rows() {
    assert!(matches!(parse(LIVE).unwrap().callers, Policy::Open));
    let config = with(
        r#"[callers.a]
match = ["loopback", "spiffe://a.org/ns/media/*"]
tokens = { rate = 5, burst = 10 }
connections = 7
allow = [{ profiles = ["live"], max_ttl = "10m" }, { methods = ["ServerReflectionInfo"] }]
[server]
authorize = "observe"
"#,
    )
    .unwrap();
    assert_eq!(config.authorize, Mode::Observe);
    let all = entries(&config);
    assert_eq!(all.find([&CallerName::Loopback]).map(|it| it.entry), Ok(0));
    let [entry] = all.all() else { panic!("{all:?}") };
    let tokens = Some(Rate { rate: 5, burst: 10 });
    let limits = CallerLimits { tokens, connections: Some(7), ..CallerLimits::default() };
    assert_eq!(entry.limits, limits);
    assert!(entry.reach_method(Method::ServerReflectionInfo).is_ok());
    assert!(entry.reach_method(Method::GetGrant).is_err());
    let sid = "VJ0123456789abcdef0123456789abcdef";
    let reach = entry.reach(Method::MintTokens, "live", sid).unwrap();
    assert_eq!(reach.first().unwrap().max_ttl, Some(Duration::from_secs(600)));
}

#[test]
fn every_problem_of_entries_is_reported_with_its_line() {
    let reported = with(
        r#"[callers.unknown]
[callers.a]
match = ["loopback", "loopback", "dns:*.svc", "GID:0"]
tokens = { rate = 0 }
steams = 1
allow = [
  { profile = ["live"] },
  { profiles = ["nobody"], methods = ["Mint"], resources = ["a*b"] },
  { profiles = ["live"], max_ttl = "2s" },
  { profiles = ["speech"], max_ttl = "3s" },
]
[callers.b]
match = ["loopback"]
[callers.c]
allow = []
"#,
    )
    .unwrap_err()
    .to_string();
    let lines: Vec<_> = reported.lines().map(|line| line.split_once(": ").unwrap().1).collect();
    for part in [
        "callers.unknown: is reserved for callers without an entry",
        "callers.a.match[1]: is a duplicate",
        "callers.a.match[2]: would match a whole top-level domain",
        "callers.a.match[3]: is not a caller name",
        "callers.a.tokens.burst: is missing",
        "callers.a.tokens.rate: must be from 1 to",
        "callers.a.steams: unknown key; did you mean streams?",
        "callers.a.allow[0].profiles: is missing",
        "callers.a.allow[0].profile: unknown key; did you mean profiles?",
        "callers.a.allow[1].profiles[0]: unknown profile; expected one of live, speech",
        "callers.a.allow[1].methods[0]: is not a method; expected one of MintToken,",
        "callers.a.allow[1].resources[0]: has a * before its end",
        "callers.a.allow[2].max_ttl: must be at least 3s, the minimum lifetime of tokens of profile live",
        "callers.a.allow[3].max_ttl: must be at least",
        "callers.b.match[0]: is also in [callers.a]",
        "callers.b.allow: is missing",
        "callers.c.match: needs at least one caller",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(part)), "{part}\n{reported}");
    }
    assert_eq!(lines.len(), 17, "{reported}");
    assert!(reported.contains("f.toml:15: callers.a.match[1]"), "{reported}");
    let none = with("[callers]\n").unwrap_err().to_string();
    assert!(none.contains("needs at least one entry"), "{none}");
}

#[test]
fn probably_unintended_settings_get_a_warning() {
    let config = with(
        "[callers.a]\nmatch = [\"loopback\"]\n\
         allow = [{ profiles = [\"speech\"], identities = [\"viewer-*\"] }]\n",
    )
    .unwrap();
    let [.., Problem { line: Some(15), message, .. }] = config.warnings.as_slice() else {
        panic!("{:?}", config.warnings)
    };
    assert!(message.contains("tokens of profile speech contain no identity"), "{message}");
}

#[test]
fn reread_entries_keep_rows_of_unloaded_profiles() {
    let config = with("[callers.a]\nmatch = [\"loopback\"]\nallow = []\n").unwrap();
    let again = |text: &str| reread("f.toml", text, &|_| None, &config.profiles, &[]);
    // Problems elsewhere in the file do not matter.
    let (entries, warnings) = again(
        "nonsense = 1\n[callers.b]\nmatch = [\"plaintext\"]\n\
         allow = [{ profiles = [\"later\"] }, { profiles = [\"live\"] }]\n",
    )
    .unwrap();
    assert_eq!(entries.all()[0].name.as_str(), "b");
    assert_eq!(entries.all()[0].rows.len(), 2);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].message.contains("later is not loaded"), "{warnings:?}");
    assert!(again("[callers.b]\nmatch = []\nallow = []\n").is_err());
    let opened = again("").unwrap_err().to_string();
    assert!(opened.contains("opening the server to every client needs a restart"), "{opened}");
}

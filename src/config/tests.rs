//! Valid and invalid configurations.

use std::fmt::Write as _;

use super::*;
use crate::mint::terms::ExpiryPolicy;

mod callers;
mod profiles;
mod sample;
mod secrets;

/// A secret that must never be shown.
const SECRET: &str = "q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxC";

const LIVE: &str = r#"[profiles.live]
kind = "twilio-live"
account_sid = "AC0123456789abcdef0123456789abcdef"
api_key_sid = "SK0123456789abcdef0123456789abcdef"
api_key_secret_env = "API_SECRET"
resources = ["VJ0123456789abcdef0123456789abcdef"]
"#;

fn parse(text: &str) -> Result<Config, Problems> {
    let env = |name: &str| (name == "API_SECRET").then(|| SECRET.to_owned());
    Config::parse_with("f.toml", text, &env)
}

/// The profile of [`LIVE`] with more lines, from line 7.
fn profile(more: &str) -> Profile {
    parse(&format!("{LIVE}{more}")).unwrap().profiles.remove(0)
}

/// The problems of [`LIVE`] with more lines, from line 7.
fn problems(more: &str) -> String {
    parse(&format!("{LIVE}{more}")).unwrap_err().to_string()
}

#[test]
fn omitted_keys_have_defaults() {
    let Config { server, admin, limits, default_profile, profiles, .. } = parse(LIVE).unwrap();
    assert_eq!(server.listen.to_string(), "127.0.0.1:50051");
    assert_eq!(server.drain_delay, Duration::from_secs(3));
    assert_eq!(server.drain_grace, Duration::from_secs(5));
    assert_eq!(admin.listen.to_string(), "127.0.0.1:9464");
    assert_eq!(
        (limits.mint.identities, limits.mint.indices, limits.mint.chunk_tokens),
        (10_000, 1_000_000, 512)
    );
    assert_eq!((limits.rpc.request_bytes, limits.rpc.bulk_request_bytes), (65_536, 4_194_304));
    assert_eq!((limits.mint.waiting_calls, limits.rpc.streaming_calls), (4_096, 1_024));
    assert_eq!(server.limits, server::Limits::default());
    assert!(admin.has_details() && admin.hosts.is_empty() && admin.names_key.is_none());
    assert_eq!(default_profile.unwrap().as_str(), "live");

    let [live] = profiles.as_slice() else { panic!("{profiles:?}") };
    assert_eq!(live.kind, "twilio-live");
    assert_eq!(live.default_resource.as_ref(), live.supply.listed().first());
    let grants = live.grants().unwrap();
    assert_eq!(grants.policy.grant_ttl(), Some(Duration::from_secs(60)));
    assert_eq!(grants.policy.margin, Duration::from_secs(2));
    assert_eq!(grants.policy.usual_point(), Some(Duration::from_secs(50)));
    assert_eq!(live.token_ttl, Duration::from_secs(3_600));
    let Supply::Grants(_, expiry) = live.supply else { panic!("{live:?}") };
    let clamp = Expiry { policy: ExpiryPolicy::ClampToGrant, allow_independent: false };
    assert_eq!(expiry, clamp);
    assert_eq!(grants.budget, budget::Limits::default());
    assert_eq!(live.shortest_validity(), Some(Duration::from_secs(6)));
}

#[test]
fn all_problems_are_reported_by_line() {
    let text = format!(
        r#"default_profile = 1
[server]
listen = "0.0.0.0:50051"
drain_delay = "1h"
[admin]
listen = ":9464"
[limits]
identites = 5
chunk_tokens = 5000
request_bytes = "64KiB"
{LIVE}refresh_aftr = "50s"
token_ttl = 3600
resource = 1
[profiles.Bad]
[profiles.kindless]
grant_ttl = "1s"
[profiles.other]
kind = "twilio"
[profile]
"#
    );
    let names: Vec<_> = KINDS.iter().map(|kind| kind.name()).collect();
    let reported = parse(&text).unwrap_err().to_string().replace(&names.join(", "), "…");
    assert_eq!(
        reported,
        r#"f.toml:1: default_profile: must be a string in quotes, not a whole number
f.toml:3: server.listen: must be on loopback (127.0.0.1 or [::1]) without [server.tls]: others on the network could call and read traffic; behind a mesh that terminates TLS, set plaintext = true
f.toml:4: server.drain_delay: must be from 0s to 10m
f.toml:6: admin.listen: has no address: write 127.0.0.1:9464 or localhost:9464
f.toml:8: limits.identites: unknown key; did you mean identities?
f.toml:9: limits.chunk_tokens: must be from 1 to 4096
f.toml:10: limits.request_bytes: must be a whole number without quotes, not a string
f.toml:17: profiles.live.refresh_aftr: unknown key; did you mean refresh_after?
f.toml:18: profiles.live.token_ttl: must be a duration in quotes with its unit, like "50s", not a whole number
f.toml:19: profiles.live.resource: unknown key; did you mean resources?
f.toml:20: profiles.Bad: is not of the form [a-z][a-z0-9-]{0,62}
f.toml:21: profiles.kindless.kind: is missing
f.toml:24: profiles.other.kind: unknown kind; expected one of …
f.toml:25: profile: unknown key; did you mean profiles?"#
    );
}

#[test]
fn default_profile_is_one_of_the_profiles() {
    let reported = parse(&format!("default_profile = \"vod\"\n{LIVE}")).unwrap_err().to_string();
    assert_eq!(reported, "f.toml:1: default_profile: is not among the profiles");

    let second = LIVE.replace("live]", "second]");
    assert_eq!(parse(&format!("{LIVE}{second}")).unwrap().default_profile, None);
    let named = parse(&format!("default_profile = \"second\"\n{LIVE}{second}")).unwrap();
    assert_eq!(named.default_profile.unwrap().as_str(), "second");
}

#[test]
fn at_least_one_profile_is_required() {
    for none in ["", "\n[profiles]\n"] {
        let reported = parse(none).unwrap_err().to_string();
        assert!(
            reported.ends_with("profiles: needs at least one profile: [profiles.NAME]"),
            "{reported}"
        );
    }
    let reported = parse("profiles = 1").unwrap_err().to_string();
    assert!(
        reported.contains("f.toml:1: profiles: must be a table, not a whole number"),
        "{reported}"
    );
}

#[test]
fn invalid_toml_is_reported_with_its_line() {
    let reported = parse("[server]\nlisten = \n[admin\n").unwrap_err().to_string();
    assert!(reported.starts_with("f.toml:2: is not TOML: "), "{reported}");
    assert!(reported.contains("\nf.toml:3: is not TOML: "), "{reported}");
}

#[test]
fn unreadable_file_is_named() {
    let reported = Config::load(Path::new("/nowhere/f.toml")).unwrap_err().to_string();
    assert!(reported.starts_with("/nowhere/f.toml: cannot be read: "), "{reported}");
}

#[test]
fn listeners_have_different_addresses() {
    let reported = problems("[admin]\nlisten = \"127.0.0.1:50051\"\n");
    assert_eq!(reported, "f.toml:8: admin.listen: must differ from the address of [server]");
    let any = "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n";
    assert!(parse(&format!("{LIVE}{any}")).is_ok());
}

#[test]
fn admin_off_loopback_hides_resources_by_default() {
    let admin = |more: &str| parse(&format!("{LIVE}[admin]\n{more}")).map(|it| it.admin);
    assert!(!admin("listen = \"0.0.0.0:9464\"").unwrap().has_details());
    assert!(admin("listen = \"[::]:9464\"\ndetails = true").unwrap().has_details());
    assert!(!admin("details = false").unwrap().has_details());
    let keyed = admin("names_key_env = \"API_SECRET\"\nhosts = [\"Mint.Example\"]").unwrap();
    assert_eq!((keyed.names_key.is_some(), keyed.hosts), (true, vec!["mint.example".to_owned()]));
    for (more, reported) in [
        (
            "hosts = [\"http://mint\"]",
            "f.toml:8: admin.hosts[0]: is not a host name; expected a name without scheme and port",
        ),
        (
            "names_key = \"q1W2\"",
            "f.toml:8: admin.names_key: a secret must not be a value in this file: name its file",
        ),
    ] {
        assert_eq!(admin(more).unwrap_err().to_string(), reported);
    }
}

#[test]
fn connection_limits_have_bounds() {
    let limits = "[limits]\nconnections = 5\nconnections_per_caller = 2\nhandshakes = 3\n\
                  streams_per_connection = 7\nstall = \"1s\"\nconnection_age = \"1h\"\n";
    let wanted = server::Limits {
        connections: 5,
        connections_per_caller: 2,
        streams_per_connection: 7,
        handshakes: 3,
        stall: Duration::from_secs(1),
        connection_age: Duration::from_secs(3_600),
    };
    assert_eq!(parse(&format!("{LIVE}{limits}")).unwrap().server.limits, wanted);
    let reported = problems("[limits]\nconnections = 0\nstall = \"10ms\"\nstreaming_calls = 0\n");
    assert_eq!(
        reported,
        "f.toml:8: limits.connections: must be from 1 to 100000\n\
         f.toml:9: limits.stall: must be from 1s to 10m\n\
         f.toml:10: limits.streaming_calls: must be from 1 to 100000"
    );
}

#[test]
fn profiles_of_one_account_share_a_budget() {
    let second = LIVE.replace("live]", "second]");
    let differing = format!("{LIVE}{second}budget = {{ rate = 5 }}\n");
    assert_eq!(
        parse(&differing).unwrap_err().to_string(),
        "f.toml:13: profiles.second.budget: must equal the budget of profile live, which has the \
         same account"
    );
    for (one, other) in [
        ("https://Media.Twilio.com/", "HTTPS://media.twilio.com:443"),
        ("http://localhost:80", "http://LOCALHOST/"),
    ] {
        let of = |name: &str, upstream: &str, more: &str| {
            format!("{}upstream = \"{upstream}\"\n{more}", LIVE.replace("live]", name))
        };
        let one = of("live]", one, "");
        let two = of("second]", other, "budget = { rate = 5 }\n");
        let two = two.replace("abcdef\"\napi_key_sid", "ABCDEF\"\napi_key_sid");
        let reported = parse(&format!("{one}{two}")).unwrap_err().to_string();
        assert!(reported.contains("must equal the budget of profile live"), "{other}: {reported}");
    }
    let elsewhere = differing.replacen("AC0", "AC1", 1);
    assert!(parse(&elsewhere).is_ok());
}

#[test]
fn resources_beyond_the_budget_are_refused() {
    let mut list = String::new();
    for index in 0..48 {
        let _ = write!(list, "\"VJ{index:032}\", ");
    }
    let text = LIVE.replace("[\"VJ0123456789abcdef0123456789abcdef\"]", &format!("[{list}]"));
    assert!(parse(&format!("{text}budget.rate = 2\n")).is_ok());
    let reported = parse(&format!("{text}budget.rate = 1\n")).unwrap_err().to_string();
    assert_eq!(
        reported,
        "f.toml:6: profiles.live.resources: are too many for the account: refreshing all \
         their grants takes 61 requests a minute, and its budget is 1 a second"
    );
}

#[test]
fn no_input_panics() {
    let long = "9".repeat(40);
    for value in ["\"584554531y\"", "\"\"", "-1", &long, "nan", "[[1]]", "{ a = 1979-05-27 }"] {
        for key in ["margin", "grant_ttl", "refresh_after", "promise", "token_ttl", "budget"] {
            assert!(parse(&format!("{LIVE}{key} = {value}\n")).is_err(), "{key} = {value}");
        }
    }
}

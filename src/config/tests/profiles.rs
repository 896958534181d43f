//! The rules of one profile.

use super::*;
use crate::mint::terms::ExpiryPolicy;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[track_caller]
fn refuses(more: &str, reported: &str) {
    assert_eq!(problems(more), format!("f.toml:{reported}"), "{more}");
}

/// The point of refresh with these keys.
fn point(more: &str) -> Duration {
    profile(more).grants().unwrap().policy.usual_point().unwrap()
}

fn expiry(profile: &Profile) -> Expiry {
    let Supply::Grants(_, expiry) = profile.supply else { panic!("{profile:?}") };
    expiry
}

#[test]
fn resources_have_the_kinds_form_and_no_duplicates() {
    let with = |list: &str| LIVE.replace("[\"VJ0123456789abcdef0123456789abcdef\"]", list);
    let reported = |list: &str| parse(&with(list)).unwrap_err().to_string();
    assert_eq!(
        reported("[]"),
        "f.toml:6: profiles.live.resources: needs at least one resource, as [\"…\"]"
    );
    assert_eq!(
        reported("[5]"),
        "f.toml:6: profiles.live.resources[0]: must be a string in quotes, not a whole number"
    );
    assert_eq!(
        reported("\"VJ\""),
        "f.toml:6: profiles.live.resources: must be an array of strings, not a string"
    );
    let one = "\"VJ0123456789abcdef0123456789abcdef\"";
    assert_eq!(
        reported(&format!("[\n{one},\n1,\n\"room\",\n{one},\n]")),
        "f.toml:8: profiles.live.resources[1]: must be a string in quotes, not a whole number\n\
         f.toml:9: profiles.live.resources[2]: is not VJ followed by 32 hexadecimal digits\n\
         f.toml:10: profiles.live.resources[3]: is a duplicate"
    );
    let other = "\"VJ0123456789ABCDEF0123456789abcdef\"";
    assert_eq!(
        reported(&format!("[{one}, {other}]")),
        "f.toml:6: profiles.live.resources[1]: is a duplicate"
    );
    assert!(reported(&format!("[{}]", one.replace("VJ", " VJ"))).contains("is not VJ followed by"));
    let without = LIVE.replace("resources", "#");
    let reported = parse(&without).unwrap_err().to_string();
    assert!(
        reported.starts_with("f.toml:1: profiles.live.resources: needs at least one"),
        "{reported}"
    );
}

#[test]
fn default_resource_is_one_of_the_resources() {
    refuses(
        "default_resource = \"VJ00000000000000000000000000000000\"",
        "7: profiles.live.default_resource: is not among the resources",
    );
    let two = LIVE.replace("\"]\n", "\", \"VJ00000000000000000000000000000000\"]\n");
    assert_eq!(parse(&two).unwrap().profiles[0].default_resource, None);
}

#[test]
fn grant_ttl_is_whole_seconds_within_bounds() {
    assert_eq!(point("grant_ttl = \"12s\""), Duration::from_millis(3_500));
    let key = "7: profiles.live.grant_ttl:";
    refuses("grant_ttl = \"61s\"", &format!("{key} must be from 0s to 60s"));
    refuses("grant_ttl = \"20s 500ms\"", &format!("{key} must be whole seconds"));
    refuses("grant_ttl = \"11s\"", &format!("{key} must be at least 12s at a margin of 2s"));
    refuses(
        "grant_ttl = \"soon\"",
        &format!("{key} is not a duration like \"50s\", \"1m 30s\" or \"250ms\""),
    );
    refuses(
        "margin = \"40s\"",
        "7: profiles.live.margin: requires a grant_ttl of at least 62s; it is 60s",
    );
    refuses("margin = \"999ms\"", "7: profiles.live.margin: must be from 1s to 1h");
}

#[test]
fn point_of_refresh_leaves_time_for_three_attempts() {
    assert_eq!(point("refresh_after = \"51s 500ms\""), Duration::from_millis(51_500));
    assert_eq!(point("refresh_after = \"15s\""), secs(15));
    for out in ["51s 501ms", "14s"] {
        refuses(
            &format!("refresh_after = \"{out}\""),
            "7: profiles.live.refresh_after: must be from 15s to 51s 500ms, at a grant_ttl of 60s \
             and a margin of 2s",
        );
    }
}

#[test]
fn promise_sets_the_point_of_refresh() {
    for (promise, at) in [("20s", 34), ("39s", 15)] {
        let more = format!("promise = \"{promise}\"");
        assert_eq!(point(&more), secs(at));
        let kept = profile(&more).shortest_validity();
        assert!(kept >= Some(humantime::parse_duration(promise).unwrap()));
    }
    assert_eq!(point("promise = \"1s\""), Duration::from_millis(51_500));
    refuses(
        "promise = \"40s\"",
        "7: profiles.live.promise: must be at most 39s, at a grant_ttl of 60s and a \
         margin of 2s",
    );
    refuses(
        "promise = \"20s\"\ntoken_ttl = \"10s\"",
        "7: profiles.live.promise: must be at most 8s, the token_ttl less the margin",
    );
    refuses(
        "refresh_after = \"50s\"\npromise = \"20s\"",
        "8: profiles.live.promise: excludes refresh_after: a promise sets the point of refresh",
    );
}

#[test]
fn token_ttl_exceeds_the_margin_and_not_the_kinds_maximum() {
    assert_eq!(profile("token_ttl = \"3s\"").shortest_validity(), Some(secs(1)));
    assert_eq!(profile("token_ttl = \"24h\"").token_ttl, secs(86_400));
    for out in ["2s", "24h 1s"] {
        refuses(
            &format!("token_ttl = \"{out}\""),
            "7: profiles.live.token_ttl: must be from 3s to 1day",
        );
    }
}

#[test]
fn expiry_policy_is_attainable_and_allowed() {
    let full = "expiry_policy = \"require-full-ttl\"";
    let kept = profile(&format!("{full}\ntoken_ttl = \"58s\""));
    assert_eq!(expiry(&kept).policy, ExpiryPolicy::RequireFullTtl);
    let met = "cannot be met: with require-full-ttl, token_ttl must be at most 58s; it is";
    refuses(
        &format!("{full}\ntoken_ttl = \"59s\""),
        &format!("8: profiles.live.token_ttl: {met} 59s"),
    );
    refuses(full, &format!("7: profiles.live.expiry_policy: {met} 1h"));

    let independent = "expiry_policy = \"independent\"";
    refuses(independent, "7: profiles.live.expiry_policy: requires allow_independent = true");
    let allowed = profile(&format!("{independent}\nallow_independent = true"));
    assert!(expiry(&allowed).allow_independent);
    refuses(
        "expiry_policy = \"never\"",
        "7: profiles.live.expiry_policy: unknown policy; expected one of clamp-to-grant, \
         require-full-ttl, independent",
    );
    refuses(
        "allow_independent = \"yes\"",
        "7: profiles.live.allow_independent: must be true or false, without quotes, not a string",
    );
}

#[test]
fn budget_allows_requests() {
    assert_eq!(
        profile("budget = { rate = 3 }").grants().unwrap().budget,
        budget::Limits { rate: 3, ..Default::default() }
    );
    refuses(
        "budget = { rate = 0, burst = -1, concurrent = 1.5, brust = 1 }",
        "7: profiles.live.budget.rate: must be from 1 to 10000\n\
         f.toml:7: profiles.live.budget.burst: must be from 1 to 10000\n\
         f.toml:7: profiles.live.budget.concurrent: must be a whole number without quotes, not a \
         fraction\n\
         f.toml:7: profiles.live.budget.brust: unknown key; did you mean burst?",
    );
}

#[test]
fn keys_of_the_kind_are_validated() {
    let good = "allow_origin = \"https://www.example.com:8443\"\nregion = \"ie1\"\n\
                nbf_backdate = \"30s\"\nupstream = \"http://127.0.0.1:8080/base\"\n";
    assert!(profile(good).shown_tokens().contains(&("nbf_backdate", "30s".into())));
    let at = |key: &str| format!("7: profiles.live.{key}:");
    let origin = r#"is not an origin like "https://www.example.com", nor "*""#;
    for bad in ["www.example.com", "https://a.example/", "https://u@a.example", "ftp://a.example"] {
        let reported = format!("{} {origin}", at("allow_origin"));
        refuses(&format!("allow_origin = \"{bad}\""), &reported);
    }
    let reported = format!("{} is not a region like \"ie1\"", at("region"));
    refuses("region = \"\"", &reported);
    for bad in ["1s 1ms", "61m"] {
        let reported = format!("{} must be whole seconds, at most 1h", at("nbf_backdate"));
        refuses(&format!("nbf_backdate = \"{bad}\""), &reported);
    }
    let reported = format!(
        "{} is plain http to another machine; the credential would be sent unencrypted",
        at("upstream")
    );
    refuses("upstream = \"http://media.example\"", &reported);
    let reported = format!(
        "{} must not hold a user name or password: requests carry the profile's own credential",
        at("upstream")
    );
    refuses(&format!("upstream = \"https://u:{SECRET}@media.example\""), &reported);
    for more in ["?a=b", "#a", "/base?", "/#"] {
        let reported = format!(
            "{} must not have a query or a fragment: request paths are appended to it",
            at("upstream")
        );
        refuses(&format!("upstream = \"https://media.example{more}\""), &reported);
    }
    refuses("account_sid = 1", "7: is not TOML: duplicate key");
    let other = LIVE.replace("\"SK", "\"AC");
    assert_eq!(
        parse(&other).unwrap_err().to_string(),
        "f.toml:4: profiles.live.api_key_sid: is not SK followed by 32 hexadecimal digits"
    );
}

#[test]
fn additional_grants_are_read_and_unknown_ones_refused() {
    let chat = profile("grants.chat.service_sid = \"IS1\"");
    let shown = chat.provider.shown();
    let (_, grants) = shown.iter().find(|(key, _)| *key == "grants").unwrap();
    assert_eq!(grants.to_string(), r#"{"chat":{"service_sid":"IS1"}}"#);
    refuses(
        "[profiles.live.grants.video]\nrom = \"a\"",
        "8: profiles.live.grants: unknown field `rom`, expected `room`",
    );
    for (value, reported) in [
        ("1979-05-27", "date: JSON has none; write it as a string"),
        ("[nan]", "number that is not finite: JSON has none"),
    ] {
        refuses(
            &format!(
                "[profiles.live.grants.voice.outgoing]\napplication_sid = \"AP1\"\n\
                 params = {{ of = {value} }}"
            ),
            &format!("9: profiles.live.grants: must not contain a {reported}"),
        );
    }
    refuses(
        &format!("[profiles.live.grants]\nvoice = {{ incoming = {{ allow = \"{SECRET}\" }} }}"),
        "8: profiles.live.grants: must be a boolean",
    );
}

//! Invalid options and identities, field by field.

use grantmint::rpc::proto::{ExpiryPolicy, MintOptions};
use prost_types::{Duration, Struct, Value};
use tonic::Code::{self, InvalidArgument, NotFound};

use super::harness::{MARKER, TestServer, VJ, assert_refused, profile, reported_error};
use crate::support::soon;

#[expect(clippy::unnecessary_wraps, reason = "as the fields take it")]
fn duration(seconds: i64, nanos: i32) -> Option<Duration> {
    Some(Duration { seconds, nanos })
}

fn options(change: impl FnOnce(&mut MintOptions)) -> MintOptions {
    let mut options = MintOptions::default();
    change(&mut options);
    options
}

type Case = (&'static str, MintOptions, Code, &'static str, &'static [&'static str]);

fn invalid(
    name: &'static str,
    options: MintOptions,
    reason: &'static str,
    fields: &'static [&'static str],
) -> Case {
    (name, options, InvalidArgument, reason, fields)
}

/// Malformed and negative durations in all three fields.
fn bad_durations() -> Vec<Case> {
    let bad = [
        duration(-1, 0),
        duration(0, -1),
        duration(-5, -5),
        duration(5, -1),
        duration(-5, 1),
        duration(5, 1_000_000_000),
        duration(5, i32::MAX),
        duration(5, i32::MIN),
        duration(315_576_000_001, 0),
        duration(i64::MAX, 999_999_999),
        duration(i64::MIN, 0),
    ];
    let mut cases = Vec::new();
    for bad in bad {
        let ttl = options(|options| options.ttl = bad);
        cases.push(invalid("ttl", ttl, "TTL_OUT_OF_RANGE", &["options.ttl"]));
        let least = options(|options| options.min_remaining_validity = bad);
        let field = &["options.min_remaining_validity"];
        cases.push(invalid("min_remaining_validity", least, "OPTION_INVALID", field));
        let wait = options(|options| options.max_wait = bad);
        cases.push(invalid("max_wait", wait, "OPTION_INVALID", &["options.max_wait"]));
    }
    cases
}

fn bad_options() -> Vec<Case> {
    let ttl = |ttl| options(|options| options.ttl = ttl);
    let least = |least| options(|options| options.min_remaining_validity = least);
    let after = |after| options(|options| options.after_generation = after);
    let policy = |policy| options(|options| options.expiry_policy = policy);
    let resource = |text: &str| MintOptions { resource: text.to_owned(), ..<_>::default() };
    let profile = |text: &str| MintOptions { profile: text.to_owned(), ..<_>::default() };
    let full = |seconds| {
        options(|options| {
            options.expiry_policy = ExpiryPolicy::RequireFullTtl.into();
            options.ttl = duration(seconds, 0);
        })
    };
    let (ttl_field, generation): (&[&str], &[&str]) =
        (&["options.ttl"], &["options.after_generation"]);
    let (policy_field, resource_field): (&[&str], &[&str]) =
        (&["options.expiry_policy"], &["options.resource"]);
    let validity: &[&str] = &["options.min_remaining_validity"];
    let unknown = format!("no-such-{MARKER}");
    let ill = format!("UPPER {MARKER}\u{7}");
    let long = format!("{MARKER}{}", "x".repeat(60_000));
    vec![
        invalid("no life", ttl(duration(0, 0)), "TTL_OUT_OF_RANGE", ttl_field),
        invalid("the margin alone", ttl(duration(2, 0)), "TTL_OUT_OF_RANGE", ttl_field),
        invalid("just short", ttl(duration(2, 999_999_999)), "TTL_OUT_OF_RANGE", ttl_field),
        invalid("over a day", ttl(duration(86_400, 1)), "TTL_OUT_OF_RANGE", ttl_field),
        invalid("years", ttl(duration(315_576_000_000, 0)), "TTL_OUT_OF_RANGE", ttl_field),
        invalid("over a whole grant", full(59), "TTL_OUT_OF_RANGE", ttl_field),
        invalid("validity", least(duration(56, 1)), "VALIDITY_UNATTAINABLE", validity),
        invalid(
            "for years",
            least(duration(315_576_000_000, 0)),
            "VALIDITY_UNATTAINABLE",
            validity,
        ),
        invalid("negative", after(-1), "GENERATION_INVALID", generation),
        invalid("least", after(i64::MIN), "GENERATION_INVALID", generation),
        invalid("far future", after(i64::MAX), "GENERATION_INVALID", generation),
        invalid("independent", policy(3), "EXPIRY_POLICY_NOT_ALLOWED", policy_field),
        invalid("unknown enum", policy(4), "OPTION_INVALID", policy_field),
        invalid("negative enum", policy(-1), "OPTION_INVALID", policy_field),
        invalid("least enum", policy(i32::MIN), "OPTION_INVALID", policy_field),
        invalid("ill resource", resource(&ill), "RESOURCE_INVALID", resource_field),
        invalid("long resource", resource(&long), "RESOURCE_INVALID", resource_field),
        invalid("another kind's", resource(DEMO_IS), "RESOURCE_INVALID", resource_field),
        ("unknown resource", resource(VJ[2]), NotFound, "RESOURCE_NOT_FOUND", &[]),
        ("unknown profile", profile(&unknown), NotFound, "PROFILE_NOT_FOUND", &[]),
        ("ill profile", profile(&ill), NotFound, "PROFILE_NOT_FOUND", &[]),
        ("long profile", profile(&long), NotFound, "PROFILE_NOT_FOUND", &[]),
        ("profile in capitals", profile("LIVE"), NotFound, "PROFILE_NOT_FOUND", &[]),
    ]
}

const DEMO_IS: &str = "IS0123456789abcdef0123456789abcdef";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_options_are_refused_by_name_in_both_methods() {
    let server = TestServer::simple().await;
    for (case, options, code, reason, fields) in bad_durations().into_iter().chain(bad_options()) {
        let refused = server.mint(MARKER, options.clone()).await.unwrap_err();
        assert_refused(&format!("{case} {options:?}"), &refused, code, reason, fields);

        let request = super::bulk::series_with(Some(options), MARKER, 5);
        let refused = soon(server.tokens().mint_tokens(request)).await.unwrap_err();
        assert_refused(&format!("{case}, bulk"), &refused, code, reason, fields);
    }
    server.serves(MintOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_identities_are_refused_and_the_longest_valid_is_not() {
    let server = TestServer::simple().await;
    let controls = ["\0", "\t", "\n", "\r", "\u{1b}", "\u{7f}", "\u{80}", "\u{85}", "\u{9f}"];
    let bad = controls.map(|control| format!("{MARKER}{control}{MARKER}"));
    let too_long = ["x".repeat(257), "é".repeat(128) + "x", "𝄞".repeat(64) + "x"];
    for identity in bad.into_iter().chain(too_long).chain([String::new()]) {
        let refused = server.mint(&identity, None).await.unwrap_err();
        let case = format!("{identity:?}");
        assert_refused(&case, &refused, InvalidArgument, "IDENTITY_INVALID", &["identity"]);
    }
    for identity in ["x".repeat(256), "𝄞".repeat(64), "\u{a0}".into(), "\u{202e}x".into()] {
        assert!(server.mint(&identity, None).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_bad_fields_are_listed_under_the_first_reason() {
    let server = TestServer::simple().await;
    let all_bad = MintOptions {
        profile: String::new(),
        resource: format!("{MARKER}\n"),
        ttl: duration(1, 0),
        min_remaining_validity: duration(86_400, 0),
        max_wait: duration(-1, 0),
        expiry_policy: 99,
        after_generation: -1,
        params: Some(Struct { fields: [("flag".to_owned(), Value { kind: None })].into() }),
    };
    let fields = [
        "options.params",
        "options.resource",
        "options.ttl",
        "options.min_remaining_validity",
        "options.max_wait",
        "options.expiry_policy",
        "options.after_generation",
    ];
    let bad = format!("{MARKER}\n");
    let told_of = reported_error(&server.mint(&bad, all_bad.clone()).await.unwrap_err());
    let mut expected: Vec<_> = fields.into_iter().chain(["identity"]).collect();
    let mut seen: Vec<_> = told_of.fields.iter().map(String::as_str).collect();
    assert_eq!((told_of.reason.as_str(), seen[0]), ("RESOURCE_INVALID", "options.resource"));
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);

    let mut request = super::bulk::series_with(Some(all_bad), &bad, 5);
    request.chunk_size = -1;
    request.start_index = -1;
    let told_of = reported_error(&soon(server.tokens().mint_tokens(request)).await.unwrap_err());
    let more = ["identity_series.prefix", "start_index", "chunk_size"];
    let mut expected: Vec<_> = fields.into_iter().chain(more).collect();
    let mut seen: Vec<_> = told_of.fields.iter().map(String::as_str).collect();
    assert_eq!(told_of.reason, "RESOURCE_INVALID");
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsatisfiable_request_names_the_maximum() {
    let server = TestServer::simple().await;
    let full = ExpiryPolicy::RequireFullTtl.into();
    let cases = [
        (duration(59, 0), None, full, "58s"),
        (duration(86_401, 0), None, 0, "86400s"),
        (None, duration(57, 0), 0, "56s"),
        (duration(10, 0), duration(8, 1), 0, "8s"),
        (duration(10, 500_000_000), duration(9, 0), 0, "8.5s"),
    ];
    for (ttl, min_remaining_validity, expiry_policy, most) in cases {
        let options =
            MintOptions { ttl, min_remaining_validity, expiry_policy, ..MintOptions::default() };
        let reported = reported_error(&server.mint("alice", options).await.unwrap_err());
        assert_eq!(
            reported.metadata.get("attainable_max").map(String::as_str),
            Some(most),
            "{reported:?}"
        );
    }
    // The named maximum is satisfiable: no call is refused permanently for it.
    let options = MintOptions {
        min_remaining_validity: duration(8, 0),
        ttl: duration(10, 0),
        ..MintOptions::default()
    };
    assert!(server.mint("alice", options).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_default_profile_and_resource_must_be_named() {
    let tables = profile("live", &VJ[..2], "") + &profile("other", &VJ[2..], "");
    let server = TestServer::of(&tables).await;
    let mint = async |profile: &str, resource: &str| {
        let (profile, resource) = (profile.to_owned(), resource.to_owned());
        server.mint("alice", MintOptions { profile, resource, ..MintOptions::default() }).await
    };
    let refused = mint("", "").await.unwrap_err();
    let field = &["options.profile"];
    assert_refused("no profile", &refused, InvalidArgument, "PROFILE_REQUIRED", field);
    let refused = mint("", VJ[0]).await.unwrap_err();
    assert_refused("no profile", &refused, InvalidArgument, "PROFILE_REQUIRED", field);
    let refused = mint("live", "").await.unwrap_err();
    let field = &["options.resource"];
    assert_refused("no resource", &refused, InvalidArgument, "RESOURCE_REQUIRED", field);
    let refused = mint("live", VJ[2]).await.unwrap_err();
    assert_refused("another profile's", &refused, NotFound, "RESOURCE_NOT_FOUND", &[]);
    let known = format!("profiles/live/grants/{}", VJ[1]);
    let upper = format!("VJ{}", VJ[1][2..].to_uppercase());
    let minted = mint("live", &upper).await.unwrap();
    assert_eq!(minted.validity.unwrap().grant, known, "hexadecimal case matters");
    for (profile, resource) in [("live", VJ[1]), ("other", "")] {
        let minted = mint(profile, resource).await.unwrap();
        assert!(minted.validity.unwrap().grant.starts_with(&format!("profiles/{profile}/grants/")));
    }

    let reported = reported_error(&server.mint("", None).await.unwrap_err());
    assert_eq!(reported.fields, ["options.profile", "identity"]);
}

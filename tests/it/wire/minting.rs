//! Valid options and the tokens that they produce.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use grantmint::{
    provider::twilio_live::DEMO_ACCOUNT_SID,
    rpc::proto::{ExpiryPolicy, MintOptions, Validity},
};
use prost_types::{Duration, Timestamp};
use serde_json::{Value, json};

use super::harness::{TestServer, VJ, profile, reported_error};
use crate::support::{payload, verified};

fn micros(at: &Timestamp) -> i64 {
    at.seconds * 1_000_000 + i64::from(at.nanos) / 1_000
}

/// Checks that the parts of a validity agree; `margin` is in seconds.
pub(crate) fn check_validity(validity: Option<&Validity>, margin: i64) -> &Validity {
    let validity = validity.expect("a validity");
    let [issue, expire, use_by] =
        [&validity.issue_time, &validity.expire_time, &validity.use_by_time]
            .map(|at| at.as_ref().expect("a time"));
    let within = validity.use_within.as_ref().expect("a use_within");
    let within = within.seconds * 1_000_000 + i64::from(within.nanos) / 1_000;
    assert_eq!(expire.nanos, 0, "whole seconds");
    assert!(within > 0);
    assert!((micros(issue) + within - micros(use_by)).abs() <= 1, "{validity:?}");
    // Use-by is computed before rounding down.
    assert!(micros(use_by) + margin * 1_000_000 < micros(expire) + 1_000_000, "{validity:?}");
    let grant_end = validity.generation + 60_000_000;
    assert!(micros(use_by) + margin * 1_000_000 <= grant_end + 5_000, "{validity:?}");
    assert!(validity.generation > 0 && validity.generation <= micros(issue));
    validity
}

fn ttl(seconds: i64, policy: ExpiryPolicy) -> MintOptions {
    MintOptions {
        ttl: Some(Duration { seconds, nanos: 500_000_000 }),
        expiry_policy: policy.into(),
        ..MintOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ttl_is_clamped_to_the_grant_by_default() {
    let server = TestServer::of(&profile("live", &VJ[..1], "allow_independent = true")).await;
    let name = format!("profiles/live/grants/{}", VJ[0]);
    let unset = ExpiryPolicy::Unspecified;
    let cases = [
        (MintOptions::default(), None),
        (ttl(10, unset), Some(10)),
        (ttl(3_600, unset), None),
        (ttl(3_600, ExpiryPolicy::ClampToGrant), None),
        (ttl(20, ExpiryPolicy::RequireFullTtl), Some(20)),
        (ttl(3_600, ExpiryPolicy::Independent), Some(3_600)),
        (ttl(86_399, ExpiryPolicy::Independent), Some(86_399)),
    ];
    for (options, life) in cases {
        let minted = server.mint("alice", options.clone()).await.unwrap();
        let validity = check_validity(minted.validity.as_ref(), 2);
        assert_eq!(validity.grant, name);
        let claims = verified(&minted.token);
        let (issue, expire) = (validity.issue_time.unwrap(), validity.expire_time.unwrap().seconds);
        assert_eq!(claims["exp"].as_i64(), Some(expire));
        assert_eq!(claims["iat"].as_i64(), Some(issue.seconds));
        assert_eq!(claims["jti"].as_str(), Some(minted.token_id.as_str()));
        let expected = match life {
            Some(life) => micros(&issue) + life * 1_000_000 + 500_000,
            None => validity.generation + 60_000_000,
        };
        assert!((expected / 1_000_000 - expire).abs() <= i64::from(life.is_none()), "{options:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_identity_is_preserved() {
    let server = TestServer::simple().await;
    let identities = [
        "alice",
        " ",
        "Zoë 日本語 𝄞 \u{202e}rtl",
        "\"quoted\\\" </script> {}",
        "\u{feff}bom",
        "\u{fffd}\u{10ffff}",
        &"𝄞".repeat(64),
        &"\\\"".repeat(128),
    ];
    for identity in identities {
        let minted = server.mint(identity, None).await.unwrap();
        let claims = verified(&minted.token);
        assert_eq!(claims["grants"]["identity"].as_str(), Some(identity));
        assert_eq!(claims["sub"], DEMO_ACCOUNT_SID);
        assert_eq!(claims["grants"]["player"]["playerStreamerSid"], VJ[0]);
        assert!(payload(&minted.token).is_ascii(), "the identity is not escaped to ASCII");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_s_constants_are_in_every_token() {
    let more = "region = \"ie1\"\nnbf_backdate = \"7s\"\n\
         [profiles.live.grants.chat]\nservice_sid = \"IS0123456789abcdef0123456789abcdef\"\n\
         [profiles.live.grants.video]\nroom = \"lobby\"\n";
    let server = TestServer::of(&profile("live", &VJ[..1], more)).await;
    let minted = server.mint("alice", None).await.unwrap();
    let claims = verified(&minted.token);
    assert_eq!(
        claims["grants"]["chat"],
        json!({"service_sid": "IS0123456789abcdef0123456789abcdef"})
    );
    assert_eq!(claims["grants"]["video"], json!({"room": "lobby"}));
    let iat = claims["iat"].as_i64().unwrap();
    assert_eq!(claims["nbf"].as_i64(), Some(iat - 7));
    let header = minted.token.split('.').next().unwrap();
    let header = BASE64_URL_SAFE_NO_PAD.decode(header).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(header["twr"], "ie1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newer_grant_is_awaited_or_refused_at_once() {
    let server = TestServer::simple().await;
    let first = server.mint("alice", None).await.unwrap().validity.unwrap();
    let newer = |seconds| MintOptions {
        after_generation: first.generation,
        max_wait: Some(Duration { seconds, nanos: 0 }),
        ..MintOptions::default()
    };
    let reported = reported_error(&server.mint("alice", newer(0)).await.unwrap_err());
    assert_eq!(
        (reported.code, reported.reason.as_str()),
        (tonic::Code::Unavailable, "GRANT_NOT_NEWER")
    );
    assert_eq!(reported.metadata["grant"], first.grant);
    // The request pulled the refresh forward, to 5 s after the last attempt.
    let second = server.mint("alice", newer(10)).await.unwrap().validity.unwrap();
    assert!(second.generation > first.generation);
    let older = MintOptions { after_generation: first.generation, ..MintOptions::default() };
    let third = server.mint("alice", older).await.unwrap().validity.unwrap();
    assert_eq!(third.generation, second.generation);
}

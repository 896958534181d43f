//! Many bad tokens: each is refused with its cause, whatever else the call carries.

use std::collections::BTreeMap;

use grantmint::rpc::proto::{
    ListGrantsRequest, WatchGrantsRequest, grant_service_client::GrantServiceClient,
    token_service_client::TokenServiceClient,
};
use serde_json::{Value, json};
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
};

use super::{
    CALLER, ISSUER, bearing, call, carrying, now, refusal, serve_with,
    signer::{Signers, claims, encode, hs256, signed},
};
use crate::{
    support::{Serve, found, mint, series, soon, until},
    tls::{
        connected,
        pki::{CALLER_ID, Pki, uris},
    },
};

const MALFORMED: &str = "malformed";

/// A bad credential: its description, its `authorization` values, and the cause.
type Case = (&'static str, Vec<String>, &'static str);

fn bearer(token: impl AsRef<str>) -> Vec<String> {
    vec![format!("Bearer {}", token.as_ref())]
}

/// Tokens with an invalid form.
fn malformed(signers: &Signers) -> Vec<Case> {
    let good = signers.token(&json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("{good}") };
    let es = |header: &Value| signers.es256(&header.to_string(), &claims(&json!({})).to_string());
    let kid = signers.kid("ec");
    let head = |alg: &str| json!({"alg": alg, "kid": kid});
    let with = |name: &str, value: Value| {
        let mut head = head("ES256");
        head[name] = value;
        es(&head)
    };
    let plain = head("ES256").to_string();
    let raw = |claims: &str| signers.es256(&plain, claims);
    let claimed = |more: Value| signers.token(&more);
    let text = claims(&json!({})).to_string();
    let unsigned = |alg: &str| signed(&head(alg).to_string(), &text, |_| Vec::new());
    let twice = |name: &str, value: &str| raw(&format!("{{\"{name}\":{value},{}", &text[1..]));
    let public = signers.keys()[1]["n"].as_str().expect("text").to_owned();
    let of_rsa = json!({"alg": "HS256", "kid": signers.kid("rsa")}).to_string();
    let tokens = vec![
        ("nothing", String::new()),
        ("no token", "token".to_owned()),
        ("two parts", format!("{header}.{payload}")),
        ("four parts", format!("{good}.{signature}")),
        ("five parts, as an encrypted one", format!("{good}.a.b")),
        ("no signature", format!("{header}.{payload}.")),
        ("no header", format!(".{payload}.{signature}")),
        ("no payload", format!("{header}..{signature}")),
        ("padding", format!("{header}.{payload}.{signature}==")),
        ("a signature in another alphabet", format!("{header}.{payload}.+/{}", &signature[2..])),
        ("a header in another alphabet", format!("{header}+.{payload}.{signature}")),
        ("a space inside", format!("{header}. {payload}.{signature}")),
        ("a space behind", format!("{good} x")),
        ("a header that is no JSON", format!("{}.{payload}.{signature}", encode("alg"))),
        ("a header that is an array", format!("{}.{payload}.{signature}", encode("[]"))),
        ("claims that are no JSON", raw("claims")),
        ("claims that are a text", raw("\"claims\"")),
        (
            "claims that are not UTF-8",
            format!("{header}.{}.{signature}", encode(b"{\"a\":\"\xff\"}")),
        ),
        ("claims with more behind", raw(&format!("{text}{text}"))),
        ("alg none", unsigned("none")),
        ("alg None", unsigned("None")),
        ("alg NONE with a signature", es(&head("NONE"))),
        ("alg none with a signature", es(&head("none"))),
        ("no alg", es(&json!({"kid": kid}))),
        ("an alg that is a number", es(&json!({"alg": 256, "kid": kid}))),
        ("an alg in lower case", es(&head("es256"))),
        ("ES512", es(&head("ES512"))),
        ("an HMAC with the public key", hs256(public.as_bytes(), &of_rsa, &text)),
        ("an HMAC with a symmetric key", hs256(b"secret", &head("HS256").to_string(), &text)),
        ("HS512", hs256(b"secret", &head("HS512").to_string(), &text)),
        (
            "an algorithm that is not allowed",
            signers.ps256(&json!({"alg": "PS256", "kid": signers.kid("rsa")}).to_string(), &text),
        ),
        ("crit", with("crit", json!(["exp"]))),
        ("crit of b64", with("crit", json!(["b64"]))),
        ("an empty crit", with("crit", json!([]))),
        ("a kid that is a number", es(&json!({"alg": "ES256", "kid": 1}))),
        (
            "a header twice",
            raw_header(signers, &format!("{{\"alg\":\"none\",{}", &plain[1..]), &text),
        ),
        ("iss twice", twice("iss", "\"https://other.example.org\"")),
        ("exp twice", twice("exp", "1")),
        ("aud twice, escaped", twice("\\u0061ud", "\"other\"")),
        ("a nested claim twice", raw(&format!("{{\"k\":{{\"a\":1,\"a\":2}},{}", &text[1..]))),
        ("no iss", claimed(json!({"iss": null}))),
        ("an iss that is a list", claimed(json!({"iss": [ISSUER]}))),
        ("no sub", claimed(json!({"sub": null}))),
        ("an empty sub", claimed(json!({"sub": ""}))),
        ("a sub of 257 bytes", claimed(json!({"sub": "a".repeat(257)}))),
        ("a sub with a line break", claimed(json!({"sub": "a\nb"}))),
        ("no exp", claimed(json!({"exp": null}))),
        ("an exp that is a text", claimed(json!({"exp": (now() + 600).to_string()}))),
        ("an exp that is negative", claimed(json!({"exp": -1}))),
        ("an exp that is far too large", claimed(json!({"exp": 1e300}))),
        ("an nbf that is a text", claimed(json!({"nbf": "0"}))),
        ("an iat that is true", claimed(json!({"iat": true}))),
        ("an aud that is a number", claimed(json!({"aud": 1}))),
        ("an aud with a number in it", claimed(json!({"aud": ["mint", 1]}))),
        ("a cnf that is a text", claimed(json!({"cnf": "x"}))),
        ("over 8 KiB", claimed(json!({"more": "a".repeat(6_200)}))),
    ];
    let mut cases: Vec<Case> =
        tokens.into_iter().map(|(what, token)| (what, bearer(token), MALFORMED)).collect();
    cases.extend([
        ("two tokens", [bearer(&good), bearer(&good)].concat(), MALFORMED),
        ("another scheme", vec![format!("Basic {}", encode("a:b"))], MALFORMED),
        ("a token without a scheme", vec![good.clone()], MALFORMED),
        ("a scheme without a token", vec!["Bearer".to_owned()], MALFORMED),
    ]);
    cases
}

fn raw_header(signers: &Signers, header: &str, claims: &str) -> String {
    signers.es256(header, claims)
}

/// Tokens with invalid content or an invalid signature.
fn invalid(signers: &Signers) -> Vec<Case> {
    let stranger = Signers::new("k");
    let text = claims(&json!({})).to_string();
    let head = |alg: &str, sort: &str| json!({"alg": alg, "kid": signers.kid(sort)}).to_string();
    let good = signers.token(&json!({}));
    let (message, _) = good.rsplit_once('.').expect("a token");
    let (header, rest) = good.split_once('.').expect("a token");
    let signature = rest.split_once('.').expect("a token").1;
    let other = encode(claims(&json!({"sub": "system:serviceaccount:media:root"})).to_string());
    let rsa = signers.rs256(&head("RS256", "rsa"), &text);
    let x5t = json!({"cnf": {"x5t#S256": encode([7; 32])}});
    let of = |more: Value| signers.token(&more);
    let unknown = json!({"alg": "ES256", "kid": "unknown"}).to_string();
    let tokens = vec![
        ("of another issuer", of(json!({"iss": "https://other.example.org"})), "unknown_issuer"),
        ("of the issuer with a slash", of(json!({"iss": format!("{ISSUER}/")})), "unknown_issuer"),
        ("of an unknown key", signers.es256(&unknown, &text), "unknown_key"),
        ("of a key for encryption", signers.rs256(&head("RS256", "enc"), &text), "unknown_key"),
        (
            "of a key for other operations",
            signers.rs256(&head("RS256", "ops"), &text),
            "unknown_key",
        ),
        ("of a weak key", signers.rs256(&head("RS256", "weak"), &text), "unknown_key"),
        ("of a stranger's key", stranger.token(&json!({})), "bad_signature"),
        ("with other claims", format!("{header}.{other}.{signature}"), "bad_signature"),
        ("with a byte less", format!("{message}.{}", encode([1; 63])), "bad_signature"),
        ("with zeros for a signature", format!("{message}.{}", encode([0; 64])), "bad_signature"),
        ("with a key of another sort", signers.rs256(&head("RS256", "ec"), &text), "bad_signature"),
        (
            "with an alg of another key type",
            signers.es256(&head("ES256", "rsa"), &text),
            "bad_signature",
        ),
        (
            "signed by Ed25519 as another key",
            signers.eddsa(&head("EdDSA", "ec"), &text),
            "bad_signature",
        ),
        (
            "with another RSA signature",
            format!("{}.{}", rsa.rsplit_once('.').expect("a token").0, encode([1; 256])),
            "bad_signature",
        ),
        ("expired", of(json!({"exp": now() - 60})), "expired"),
        ("expired long ago", of(json!({"exp": 0, "iat": 0})), "expired"),
        ("expired and of a stranger's key", stranger.token(&json!({"exp": now() - 60})), "expired"),
        ("of the future", of(json!({"nbf": now() + 60})), "not_yet_valid"),
        ("for another audience", of(json!({"aud": "other"})), "wrong_audience"),
        ("for an audience that begins so", of(json!({"aud": ["mint2", "min"]})), "wrong_audience"),
        ("for nobody", of(json!({"aud": null})), "wrong_audience"),
        ("for an empty list", of(json!({"aud": []})), "wrong_audience"),
        ("for two days", of(json!({"exp": now() + 172_800})), "too_long_lived"),
        (
            "for two days, without iat",
            of(json!({"exp": now() + 172_800, "iat": null})),
            "too_long_lived",
        ),
        ("for a day, issued yesterday", of(json!({"iat": now() - 86_400})), "too_long_lived"),
        ("bound to a certificate", of(x5t), "not_bound"),
        ("bound to a key", of(json!({"cnf": {"jkt": "x"}})), "not_bound"),
        ("bound to nothing", of(json!({"cnf": {}})), "not_bound"),
    ];
    tokens.into_iter().map(|(what, token, cause)| (what, bearer(token), cause)).collect()
}

fn all(signers: &Signers) -> Vec<Case> {
    [malformed(signers), invalid(signers)].concat()
}

async fn mint_with(channel: &Channel, values: &[String]) -> Result<(), Status> {
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    let mut tokens = TokenServiceClient::new(channel.clone());
    let answer = soon(tokens.mint_token(carrying(mint("alice", None), &values))).await;
    answer.map(drop)
}

fn assert_refused(what: &str, answer: Result<(), Status>, cause: &str) {
    let status = answer.expect_err(what);
    assert_eq!(status.code(), Code::Unauthenticated, "{what}: {status:?}");
    let expected = ("CALLER_UNAUTHENTICATED".to_owned(), Some(cause.to_owned()));
    assert_eq!(refusal(&status), expected, "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bad_token_is_refused_with_its_cause() {
    let signers = Signers::new("k");
    let (serve, _config) = serve_with(&signers, "", "").await;
    let channel = serve.channel().await;
    found("a token", async || call(&channel, &signers.token(&json!({}))).await.ok()).await;
    let text = claims(&json!({"aud": "mint", "nbf": now(), "more": "a".repeat(4_000)})).to_string();
    for (alg, sort) in [("RS256", "rsa"), ("EdDSA", "ed")] {
        let header = json!({"alg": alg, "kid": signers.kid(sort)}).to_string();
        let token = if sort == "rsa" {
            signers.rs256(&header, &text)
        } else {
            signers.eddsa(&header, &text)
        };
        assert!(call(&channel, &token).await.is_ok(), "{alg}");
    }
    let without_kid = signers.es256("{\"alg\":\"ES256\"}", &text);
    assert!(call(&channel, &without_kid).await.is_ok(), "keys of the same type must be tried");

    let cases = all(&signers);
    assert!(cases.len() >= 60, "{}", cases.len());
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (what, values, cause) in &cases {
        // A connection is closed after 16 failures in a row.
        let channel = serve.channel().await;
        assert_refused(what, mint_with(&channel, values).await, cause);
        *counts.entry(cause).or_default() += 1;
    }
    let unknown = signers.token(&json!({"sub": "system:serviceaccount:other:api"}));
    let status = call(&channel, &unknown).await.expect_err("in no entry");
    assert_eq!(refusal(&status).0, "CALLER_UNKNOWN");

    let (_, page) = serve.page("/metrics").await;
    for (cause, count) in &counts {
        let line =
            format!("grantmint_authentication_failures_total{{cause=\"{cause}\"}} {count}\n");
        assert!(page.contains(&line), "{line}{page}");
    }
    serve.signal("INT");
    let log = serve.ended().await.1;
    for (_, values, _) in &cases {
        let token = values[0].trim_start_matches("Bearer ");
        assert!(token.len() < 20 || !log.contains(token), "the log contains a token");
    }
    let line = |cause: &str| {
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut lines = lines.filter(|it| it["message"] == "client authentication failed");
        lines
            .find(|it| it["cause"] == cause)
            .unwrap_or_else(|| panic!("no log line has the cause {cause}"))
    };
    assert_eq!(line("expired")["name"], format!("okta:{CALLER}"));
    assert_eq!(line("unknown_issuer")["name"], "https://other.example.org");
    let count = log.matches("client authentication failed").count();
    assert_eq!(count, counts.len(), "expected one line a minute by address and cause");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_token_is_refused_for_every_method() {
    let signers = Signers::new("k");
    let (serve, _config) = serve_with(&signers, "", "").await;
    let bad = signers.token(&json!({"exp": now() - 60}));
    let channel = serve.channel().await;
    let request = bearing(HealthCheckRequest::default(), &bad);
    let checked = soon(HealthClient::new(channel.clone()).check(request)).await;
    assert_refused("health", checked.map(drop), "expired");
    let plain = soon(HealthClient::new(channel.clone()).check(HealthCheckRequest::default())).await;
    assert!(plain.is_ok(), "health needs no token");
    let request = bearing(HealthCheckRequest::default(), &bad);
    let watched = soon(HealthClient::new(channel.clone()).watch(request)).await;
    assert_refused("health watch", watched.map(drop), "expired");
    let requested = futures_util::stream::iter([ServerReflectionRequest::default()]);
    let mut reflection = ServerReflectionClient::new(channel.clone());
    let reflected = soon(reflection.server_reflection_info(bearing(requested, &bad))).await;
    assert_refused("reflection", reflected.map(drop), "expired");
    let mut grants = GrantServiceClient::new(channel.clone());
    let listed = soon(grants.list_grants(bearing(ListGrantsRequest::default(), &bad))).await;
    assert_refused("a list", listed.map(drop), "expired");
    let watched = soon(grants.watch_grants(bearing(WatchGrantsRequest::default(), &bad))).await;
    assert_refused("a watch", watched.map(drop), "expired");
    let mut tokens = TokenServiceClient::new(channel);
    let bulk = soon(tokens.mint_tokens(bearing(series(0, 1), &bad))).await;
    assert_refused("a bulk", bulk.map(drop), "expired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valid_certificate_does_not_excuse_a_bad_token() {
    let (pki, signers) = (Pki::new(), Signers::new("k"));
    let section = format!(
        "{}[callers.certified]\nmatch = [{CALLER_ID:?}]\nallow = [{{ profiles = [\"*\"] }}]\n",
        pki.section("client_auth = \"optional\"")
    );
    let (serve, _config) = serve_with(&signers, &section, "").await;
    let entity = pki.prod.issue(uris(&[CALLER_ID]));
    let pair = pki.write_pair("caller", &[&entity]);
    let connect = async || connected(&pki, &serve, Some(pair.clone())).await;
    let channel = connect().await;
    until("the certificate serves", async || mint_with(&channel, &[]).await.is_ok()).await;
    for (what, values, cause) in all(&signers) {
        assert_refused(what, mint_with(&connect().await, &values).await, cause);
    }
    let nameless = connected(&pki, &serve, None).await;
    assert_refused("none", mint_with(&nameless, &[]).await, "no_credential");
    assert!(call(&nameless, &signers.token(&json!({}))).await.is_ok());
    // A valid token is checked on its own too.
    let unknown = signers.token(&json!({"sub": "nobody"}));
    assert_eq!(refusal(&call(&channel, &unknown).await.expect_err("refused")).0, "CALLER_UNKNOWN");
    let digest = fingerprint(entity.der());
    let bound = signers.token(&json!({"cnf": {"x5t#S256": digest}}));
    assert!(call(&channel, &bound).await.is_ok(), "bound to this certificate");
}

fn fingerprint(der: &[u8]) -> String {
    use sha2::{Digest, Sha256};

    encode(Sha256::digest(der))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_issuers_tokens_are_refused_or_ignored() {
    let open = Serve::sandboxed(&[]).await;
    open.first_token().await;
    assert!(call(&open.channel().await, "any").await.is_ok());
    let top = "[callers.here]\nmatch = [\"loopback\"]\nallow = [{ profiles = [\"*\"] }]\n";
    let secret = grantmint::provider::twilio_live::DEMO_API_KEY_SECRET;
    let config = crate::support::Configured::with_secret(top, "", secret);
    let closed = Serve::configured(&config, &[]).await;
    closed.first_token().await;
    let answer = call(&closed.channel().await, "any").await;
    assert_refused("any", answer.map(drop), "unknown_issuer");
}

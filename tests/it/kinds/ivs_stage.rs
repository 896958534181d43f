//! Tokens of Amazon IVS for stages: for a participant, and for a connection.

use grantmint::config::Profile;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Map, Value, json};

use super::{
    Inputs, assert_refused, assert_vectors, minted,
    node::{assert_signed_by, in_node},
    parts, serve, test_key,
};
use crate::support::run;

const KEY: &str = "/ivs-stage/private_key_sec1_pem";
const PUBLIC_KEY: &str = "/ivs-stage/public_key_pem";

const STAGE: &str = "arn:aws:ivs:us-west-2:123456789012:stage/oRmLNwuCeMlQ";
const NOW: i64 = 1_700_000_000;

const OWN: &str = "[profiles.stage]\nkind = \"ivs-stage\"\n\
    public_key_arn = \"arn:aws:ivs:us-west-2:123456789012:public-key/e5d8282a-cb72-4970-a34d-f192f769fd21\"\n\
    events_url = \"wss://global.events.live-video.net\"\n";

const WHIP: &str = "whip_url = \"https://453fdfd2ad24df.global-bm.whip.live-video.net\"";

/// A profile with these lines.
fn profile(lines: &str) -> Result<Profile, String> {
    let text = format!("{OWN}private_key_env = \"KEY\"\n{lines}\n");
    super::profile(&text, &test_key(KEY).unwrap())
}

/// Whether IVS accepts it as a participant's id.
fn is_id(text: &str) -> bool {
    let of_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(of_id)
}

#[test]
fn our_tokens_equal_the_guides_tokens() {
    assert_vectors("ivs-stage", 7, &[]);
}

/// The inputs of a participant's token.
#[derive(Clone, Debug)]
struct Case {
    user: String,
    stage: String,
    capabilities: Value,
    attributes: Option<Map<String, Value>>,
    ttl: i64,
}

fn case() -> impl Strategy<Value = Case> {
    let text = "[^\\p{Cc}]{0,20}";
    let capabilities = prop_oneof![
        Just(json!({"allow_publish": true})),
        Just(json!({"allow_subscribe": true})),
        Just(json!({"allow_publish": false, "allow_subscribe": true})),
        Just(json!({"allow_publish": true, "allow_subscribe": true})),
    ];
    let attributes = prop::collection::vec((text, text.prop_map(Value::from)), 0..4);
    let attributes = prop::option::of(attributes.prop_map(Map::from_iter));
    let stage = "[A-Za-z0-9-]{1,40}".prop_map(|id| STAGE.replace("oRmLNwuCeMlQ", &id));
    ("[^\\p{Cc}]{1,32}", stage, capabilities, attributes, 60..=1_209_600_i64).prop_map(
        |(user, stage, capabilities, attributes, ttl)| Case {
            user,
            stage,
            capabilities,
            attributes,
            ttl,
        },
    )
}

#[tokio::test]
async fn web_client_reads_tokens_of_random_inputs() {
    let mut runner = TestRunner::deterministic();
    let cases: Vec<_> = (0..100).map(|_| case().new_tree(&mut runner).unwrap().current()).collect();
    let profile = profile(&format!(
        "{WHIP}\nallow_resources = [\"*\"]\ncaller_params = [\"capabilities\", \"attributes\"]"
    ));
    let profile = profile.unwrap();
    let mut tokens = Vec::new();
    for case in &cases {
        let inputs = Inputs {
            now: NOW,
            ttl_seconds: Some(case.ttl),
            identity: Some(case.user.clone()),
            resource: Some(case.stage.clone()),
        };
        let mut params = vec![("capabilities".to_owned(), case.capabilities.clone())];
        params.extend(case.attributes.clone().map(|it| ("attributes".to_owned(), it.into())));
        let ours = inputs.mint(&profile, &params).unwrap();
        let mut meant = json!({
            "iat": NOW, "exp": NOW + case.ttl, "jti": ours.id, "user_id": case.user,
            "resource": case.stage, "topic": case.stage.rsplit_once('/').unwrap().1,
            "events_url": "wss://global.events.live-video.net",
            "whip_url": "https://453fdfd2ad24df.global-bm.whip.live-video.net",
            "capabilities": case.capabilities, "version": "1.0",
        });
        if let Some(attributes) = &case.attributes {
            meant["attributes"] = attributes.clone().into();
        }
        assert!(ours.id.as_deref().is_some_and(is_id), "{:?}", ours.id);
        assert_eq!(ours.claims, meant);
        tokens.push(ours.token);
    }
    assert_signed_by(PUBLIC_KEY, &tokens).await;
    let read = in_node("ivs.js", &json!({"now": NOW, "stages": tokens})).await;
    assert_eq!(read.len(), cases.len());
    for ((case, token), read) in cases.into_iter().zip(tokens).zip(read) {
        let attributes = Value::from(case.attributes.unwrap_or_default());
        assert_eq!(read["refused"], Value::Null, "{token}");
        assert!(read["late"].as_str().unwrap().contains("Token expired"), "{read}");
        let topic = case.stage.rsplit_once('/').unwrap().1;
        let socket = read["socket"].as_str().unwrap();
        assert!(socket.starts_with("wss://global.events.live-video.net?"), "{socket}");
        assert!(socket.contains(&format!("topic={topic}/")), "{socket}");
        let id = &parts(&token)[1]["jti"];
        let publishes = format!(
            "https://453fdfd2ad24df.global-bm.whip.live-video.net/publish/{}",
            id.as_str().unwrap()
        );
        assert_eq!((&read["participantId"], &read["publishes"]), (id, &json!(publishes)));
        assert_eq!(read["userId"], case.user);
        assert_eq!(read["attributes"], attributes);
        assert_eq!(read["capabilities"], case.capabilities);
    }
}

#[test]
fn profile_requires_stages_with_endpoints() {
    let good = format!("{WHIP}\nresources = [\"{STAGE}\"]");
    let connection = "token_type = \"connection\"";
    for (lines, reported) in [
        (WHIP.to_owned(), "stage.resources: needs at least one resource"),
        (format!("resources = [\"{STAGE}\"]"), "stage.whip_url: is missing"),
        (
            format!("whip_url = \"http://w.example\"\nresources = [\"{STAGE}\"]"),
            "whip_url: must have the form https://host",
        ),
        (format!("{WHIP}\nresources = [\"oRmL\"]"), "is not a stage's ARN, like arn:aws:ivs:"),
        (
            format!("{WHIP}\nresources = [\"{}\"]", STAGE.replace("stage", "channel")),
            "is a channel's ARN, for the kind ivs-playback",
        ),
        (format!("{good}\nmax_ttl = \"15d\""), "max_ttl: must be from 3s to 14days"),
        (format!("{good}\ntoken_type = \"stage\""), "token_type: must be \"participant\""),
        (format!("{good}\naccount_id = \"123456789012\""), "account_id: unknown key"),
        (format!("{good}\nunique = false"), "unique: must be true: each token has its own id"),
        (format!("{good}\nallow_unscoped = true"), "allow_unscoped: unknown key"),
        (format!("{good}\nparams = {{ capabilities = {{}} }}"), "at least one of them true"),
        (
            format!("{good}\nparams = {{ capabilities = {{ publish = true }} }}"),
            "capabilities: must be an object of allow_publish and allow_subscribe",
        ),
        (
            format!("{good}\nparams = {{ capabilities = {{ allow_publish = false }} }}"),
            "at least one of them true",
        ),
        (
            format!("{good}\nparams = {{ attributes = {{ seat = 3 }} }}"),
            "attributes: must be an object of strings, at most 1024 bytes",
        ),
        (format!("{connection}\n{WHIP}"), "whip_url: unknown key"),
        (format!("{connection}\naccount_id = \"1\""), "account_id: is not an account number"),
        (format!("{connection}\nregion = \"US\""), "region: is not a region"),
        (format!("{connection}\nmax_ttl = \"29d\""), "max_ttl: must be from 3s to 28days"),
        (format!("{connection}\nparams = {{}}"), "params: unknown key"),
        (format!("{connection}\nidentity = \"none\""), "identity: unknown key"),
    ] {
        let problem = profile(&lines).unwrap_err();
        assert!(
            problem.contains(reported) && problem.lines().count() == 1,
            "{reported}: {problem}"
        );
    }
    let text = format!("{OWN}private_key_env = \"KEY\"\n{good}\n");
    for (from, to, reported) in [
        ("wss://", "https://", "events_url: must have the form wss://host"),
        (
            "us-west-2:123456789012:public",
            "123456789012:us-west-2:public",
            "region and account swapped",
        ),
        (":public-key/", ":stage/", "public_key_arn: is not a public key's ARN"),
    ] {
        let text = text.replacen(from, to, 1);
        let problem = super::profile(&text, &test_key(KEY).unwrap()).unwrap_err();
        assert!(
            problem.contains(reported) && problem.lines().count() == 1,
            "{reported}: {problem}"
        );
    }
}

#[tokio::test]
async fn web_client_accepts_connection_tokens() {
    let inputs =
        Inputs { now: NOW, ttl_seconds: None, identity: Some("alice".to_owned()), resource: None };
    let profile = profile("token_type = \"connection\"").unwrap();
    let minted = inputs.mint(&profile, &[]).unwrap();
    let claims = &minted.claims;
    let mut names: Vec<_> = claims.as_object().unwrap().keys().collect();
    names.sort_unstable();
    assert_eq!(names, ["account_id", "events_url", "exp", "iat", "jti", "region", "version"]);
    assert_eq!(
        (&claims["account_id"], &claims["region"]),
        (&json!("123456789012"), &json!("us-west-2"))
    );
    assert_eq!(claims["exp"], NOW + 43_200);
    let input = json!({"now": NOW, "connections": [minted.token]});
    let read = in_node("ivs.js", &input).await;
    assert!(read.len() == 1 && read[0]["refused"].is_null(), "{read:?}");
    assert!(read[0]["late"].as_str().unwrap().contains("token expired"), "{read:?}");
}

#[tokio::test]
async fn publishing_requires_an_explicit_setting() {
    let directory = tempfile::tempdir().unwrap();
    let own = OWN.replace("[profiles.stage]", "[profiles.guest]");
    let lines = format!(
        "private_key_file = \"SECRET_FILE\"\n{WHIP}\n\
         allow_resources = [\"arn:aws:ivs:us-west-2:123456789012:stage/*\"]\n"
    );
    let text = format!(
        "{OWN}{lines}caller_params = [\"capabilities\", \"attributes\"]\n{own}{lines}\
         [profiles.shared]\nkind = \"ivs-stage\"\nprivate_key_file = \"SECRET_FILE\"\n\
         token_type = \"connection\"\nevents_url = \"wss://global.events.live-video.net\"\n\
         public_key_arn = \"arn:aws:ivs:us-west-2:123456789012:public-key/e5d8282a\"\n"
    );
    let serve = serve(directory.path(), &text, &test_key(KEY).unwrap()).await;
    let guest = ["alice", "--resource", STAGE, "--profile", "guest"];
    let claims = minted(&serve, &guest).await;
    assert_eq!(claims["capabilities"], json!({"allow_subscribe": true}));
    assert_eq!((&claims["topic"], &claims["user_id"]), (&json!("oRmLNwuCeMlQ"), &json!("alice")));
    let stage = ["alice", "--resource", STAGE, "--profile", "stage"];
    let claims = minted(&serve, &stage).await;
    assert_eq!(claims["capabilities"], json!({"allow_subscribe": true}));
    let publish = "capabilities={\"allow_publish\":true,\"allow_subscribe\":true}";
    let set = ["--param", publish, "--param", "attributes={\"seat\":\"3\"}"];
    let claims = minted(&serve, &[&stage[..], &set].concat()).await;
    assert_eq!(claims["capabilities"], json!({"allow_publish": true, "allow_subscribe": true}));
    assert_eq!(claims["attributes"], json!({"seat": "3"}));

    let long = format!("attributes={{\"a\":\"{}\"}}", "x".repeat(1_024));
    assert_refused(&serve, &[&guest[..], &["--param", publish]].concat(), &["PARAM_NOT_ALLOWED"])
        .await;
    for (more, reported) in [
        (&["--ttl", "1209601s"][..], &["TTL_OUT_OF_RANGE", "at most 1209600s"][..]),
        (&["--param", "capabilities={}"], &["PARAM_INVALID", "options.params.capabilities"]),
        (&["--param", &long], &["PARAM_INVALID", "at most 1024 bytes in total"]),
        (&["--param", "whip_url=https://w.example"], &["PARAM_INVALID", "is not a parameter"]),
    ] {
        assert_refused(&serve, &[&stage[..], more].concat(), reported).await;
    }
    let user = "u".repeat(129);
    let named = [&user, "--resource", STAGE, "--profile", "stage"];
    assert_refused(&serve, &named, &["IDENTITY_INVALID", "128"]).await;
    assert_refused(&serve, &["alice", "--profile", "stage"], &["RESOURCE_REQUIRED"]).await;

    let shared = ["alice", "--profile", "shared"];
    for (ask, reported) in [
        (&guest[..], &["identity    alice", "rights      allow_subscribe", "the stage arn:"][..]),
        (&shared, &["a connection to stages of account 123456789012 in us-west-2"]),
    ] {
        let ask = [&["mint"], ask, &["--server", &serve.server]].concat();
        let token = run(&ask).await.stdout;
        let read = run(&["inspect", token.trim()]).await;
        for line in reported {
            assert!(read.stdout.contains(line), "{line}: {}{}", read.stdout, read.stderr);
        }
        assert_signed_by(PUBLIC_KEY, &[token.trim().to_owned()]).await;
    }
}

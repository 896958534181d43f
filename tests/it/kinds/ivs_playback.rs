//! Tokens of Amazon IVS for playback of a private channel.

use grantmint::config::Profile;
use proptest::{prelude::*, sample::select, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Map, Value, json};

use super::{
    Inputs, assert_refused, assert_vectors, minted, node::assert_signed_by, parts, serve, test_key,
};
use crate::support::run;

const KEY: &str = "/ivs-playback/private_key_sec1_pem";
const PUBLIC_KEY: &str = "/ivs-playback/public_key_pem";

const CHANNEL: &str = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGhIjKl";

const NOBODY: &str = "identity = \"none\"\nunique = false";

/// A profile with these lines.
fn profile(lines: &str) -> Result<Profile, String> {
    let text = format!(
        "[profiles.private]\nkind = \"ivs-playback\"\nprivate_key_env = \"KEY\"\n{lines}\n"
    );
    super::profile(&text, &test_key(KEY).unwrap())
}

#[test]
fn our_tokens_equal_the_guides_tokens() {
    assert_vectors("ivs-playback", 9, &[("no iat, which ours always have", 1)]);
}

/// A viewer, a channel, and the ttl and parameters of a call.
fn case() -> impl Strategy<Value = (String, String, i64, Map<String, Value>)> {
    let origin = prop_oneof![
        "https://[a-z]{1,8}\\.example",
        "https://\\*\\.[a-z]{1,8}\\.example",
        "http://localhost:[1-9][0-9]{1,3}",
    ];
    let origins = prop::collection::vec(origin, 1..8).prop_map(|all| Value::from(all.join(",")));
    let origins = prop_oneof![origins, Just(json!("*"))];
    let version = (0..=i64::MAX).prop_map(|version| Value::from(version.to_string()));
    let resolution = select(vec!["SD", "HD", "FULL_HD"]).prop_map(Value::from);
    let params =
        (prop::option::of(origins), prop::option::of(version), prop::option::of(resolution));
    let params = params.prop_map(|(origins, version, resolution)| {
        let names = ["allow_origin", "viewer_session_version", "maximum_resolution"];
        let values = names.into_iter().zip([origins, version, resolution]);
        values.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    });
    let channel = "[A-Za-z0-9-]{1,40}".prop_map(|id| CHANNEL.replace("AbCdEfGhIjKl", &id));
    ("[^\\p{Cc}]{1,40}", channel, 3..=600_i64, params)
}

#[tokio::test]
async fn random_inputs_become_exactly_their_claims() {
    let open = profile(
        "allow_resources = [\"*\"]\ncaller_params = [\"allow_origin\", \
         \"viewer_session_version\", \"maximum_resolution\"]",
    );
    let open = open.unwrap();
    let mut runner = TestRunner::deterministic();
    let mut tokens = Vec::new();
    for _ in 0..200 {
        let (viewer, channel, ttl, params) = case().new_tree(&mut runner).unwrap().current();
        let mut meant = json!({"aws:channel-arn": channel, "aws:viewer-id": viewer,
            "iat": 1_700_000_000, "exp": 1_700_000_000 + ttl});
        for (name, claim) in [
            ("allow_origin", "aws:access-control-allow-origin"),
            ("maximum_resolution", "aws:maximum-resolution"),
        ] {
            if let Some(value) = params.get(name) {
                meant[claim] = value.clone();
            }
        }
        if let Some(version) = params.get("viewer_session_version") {
            let version: i64 = version.as_str().unwrap().parse().unwrap();
            meant["aws:viewer-session-version"] = version.into();
        }
        let inputs = Inputs {
            now: 1_700_000_000,
            ttl_seconds: Some(ttl),
            identity: Some(viewer),
            resource: Some(channel),
        };
        let params: Vec<_> = params.into_iter().collect();
        let ours = inputs.mint(&open, &params).unwrap();
        assert_eq!(ours.header, json!({"alg": "ES384", "typ": "JWT"}));
        assert_eq!(ours.claims, meant);
        tokens.push(ours.token);
    }
    assert_signed_by(PUBLIC_KEY, &tokens).await;
}

#[test]
fn profile_requires_channels_and_a_ttl_ivs_allows() {
    let good = format!("resources = [\"{CHANNEL}\"]");
    let origins = ["https://a.example"; 6].join(",");
    for (lines, reported) in [
        (String::new(), "private.resources: needs at least one resource"),
        ("resources = [\"AbCdEfGhIjKl\"]".to_owned(), "is not a channel's ARN, like arn:aws:ivs:"),
        (
            format!("resources = [\"{}\"]", CHANNEL.replace("channel", "stage")),
            "is a stage's ARN, for the kind ivs-stage",
        ),
        (
            format!("resources = [\"{}\"]", CHANNEL.replace("channel", "playback-key")),
            "is not a channel's ARN",
        ),
        (format!("{good}\ntoken_ttl = \"601s\""), "token_ttl: must be from 3s to 10m"),
        (format!("{good}\nmax_ttl = \"11m\""), "max_ttl: must be from 3s to 10m"),
        (
            format!(
                "{good}\nidentity = \"none\"\nparams = {{ single_use = true }}\nmax_ttl = \"1h\""
            ),
            "max_ttl: must be from 3s to 10m",
        ),
        (
            format!("{good}\n{NOBODY}\nparams = {{ single_use = true }}"),
            "unique: must be true: each token has its own id",
        ),
        (format!("{good}\nidentity = \"none\""), "unique: must be false"),
        (format!("{good}\nunique = false"), "unique: requires identity = \"none\""),
        (
            format!("{good}\nparams = {{ allow_origin = \"https://a.example/\" }}"),
            "allow_origin: must be * or origins like",
        ),
        (
            format!("{good}\nparams = {{ strict_origin = true }}"),
            "allow_origin: is required; set it here or add it to caller_params",
        ),
        (
            format!("{good}\nparams = {{ strict_origin = true, allow_origin = \"{origins}\" }}"),
            "allow_origin: must be one to five origins",
        ),
        (
            format!("{good}\nparams = {{ strict_origin = true, allow_origin = \"*\" }}"),
            "allow_origin: must be one to five origins",
        ),
        (
            format!("{good}\nparams = {{ single_use = \"yes\" }}"),
            "single_use: must be true or false",
        ),
        (
            format!("{good}\nparams = {{ maximum_resolution = \"4K\" }}"),
            "maximum_resolution: must be one of SD, HD, FULL_HD",
        ),
        (
            format!("{good}\ncaller_params = [\"single_use\"]"),
            "caller_params[0]: can only be set by the profile",
        ),
        (format!("{good}\nallow_unscoped = true"), "allow_unscoped: unknown key"),
    ] {
        let problem = profile(&lines).unwrap_err();
        assert!(
            problem.contains(reported) && problem.lines().count() == 1,
            "{reported}: {problem}"
        );
    }
    for lines in [
        format!("{NOBODY}\ntoken_ttl = \"30d\""),
        format!("params = {{ allow_origin = \"{origins}\" }}"),
        "params = { single_use = false }".to_owned(),
        "params = { strict_origin = true }\ncaller_params = [\"allow_origin\"]".to_owned(),
    ] {
        let problem = profile(&format!("{good}\n{lines}")).err();
        assert_eq!(problem, None, "{lines}");
    }
    let text =
        format!("[profiles.private]\nkind = \"ivs-playback\"\nprivate_key_env = \"KEY\"\n{good}\n");
    let rsa = test_key("/mux/private_key_base64").unwrap();
    let problem = super::profile(&text, &rsa).unwrap_err();
    assert!(problem.contains("an RSA key, and ES384 needs"), "{problem}");
}

#[tokio::test]
async fn binary_mints_within_limits_and_inspects() {
    let directory = tempfile::tempdir().unwrap();
    let text = "[profiles.private]\nkind = \"ivs-playback\"\nprivate_key_file = \"SECRET_FILE\"\n\
                allow_resources = [\"arn:aws:ivs:us-west-2:123456789012:channel/*\"]\n\
                params = { strict_origin = true, allow_origin = \"https://a.example\" }\n\
                caller_params = [\"allow_origin\", \"viewer_session_version\"]\n";
    let serve = serve(directory.path(), text, &test_key(KEY).unwrap()).await;
    let channel = ["alice", "--resource", CHANNEL];
    let plain = minted(&serve, &channel).await;
    assert_eq!(plain["aws:viewer-id"], "alice");
    assert_eq!(plain["aws:channel-arn"], CHANNEL);
    assert_eq!(plain["aws:access-control-allow-origin"], "https://a.example");
    assert_eq!(plain["aws:strict-origin-enforcement"], true);
    assert_eq!(plain["exp"].as_i64().unwrap() - plain["iat"].as_i64().unwrap(), 300);
    let origin = "allow_origin=https://*.b.example";
    // More than a double can hold.
    let version = "viewer_session_version=\"9007199254740993\"";
    let set = ["--param", origin, "--param", version, "--ttl", "10m"];
    let set = minted(&serve, &[&channel[..], &set].concat()).await;
    assert_eq!(set["aws:access-control-allow-origin"], "https://*.b.example");
    assert_eq!(set["aws:viewer-session-version"], json!(9_007_199_254_740_993_i64));

    for (more, reported) in [
        (&["--ttl", "601s"][..], &["TTL_OUT_OF_RANGE", "at most 600s"][..]),
        (&["--param", "allow_origin=*"], &["PARAM_INVALID", "options.params.allow_origin"]),
        (&["--param", "strict_origin=false"], &["PARAM_NOT_ALLOWED"]),
        (&["--param", "single_use=true"], &["PARAM_NOT_ALLOWED"]),
        (&["--param", "viewer_session_version=-1"], &["PARAM_INVALID", "a whole number from 0"]),
    ] {
        assert_refused(&serve, &[&channel[..], more].concat(), reported).await;
    }
    let viewer = "v".repeat(41);
    assert_refused(&serve, &[&viewer, "--resource", CHANNEL], &["IDENTITY_INVALID", "40"]).await;
    assert_refused(&serve, &["alice"], &["RESOURCE_REQUIRED"]).await;
    let other = CHANNEL.replace("us-west-2", "eu-west-1");
    assert_refused(&serve, &["alice", "--resource", &other], &["RESOURCE_NOT_FOUND"]).await;

    let ask = [&["mint"], &channel[..], &["--server", &serve.server]].concat();
    let token = run(&ask).await.stdout;
    let read = run(&["inspect", token.trim()]).await;
    for line in ["identity    alice", "for         the channel arn:aws:ivs", "https://a.example"] {
        assert!(read.stdout.contains(line), "{line}: {}{}", read.stdout, read.stderr);
    }
    assert_signed_by(PUBLIC_KEY, &[token.trim().to_owned()]).await;
}

#[tokio::test]
async fn anonymous_viewers_share_a_signature_per_channel() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "[profiles.lobby]\nkind = \"ivs-playback\"\nprivate_key_file = \"SECRET_FILE\"\n\
         allow_resources = [\"*\"]\n{NOBODY}\nreuse_for = \"1h\"\ntoken_ttl = \"6h\"\n\
         [profiles.once]\nkind = \"ivs-playback\"\nprivate_key_file = \"SECRET_FILE\"\n\
         allow_resources = [\"*\"]\nidentity = \"none\"\nparams = {{ single_use = true }}\n"
    );
    let serve = serve(directory.path(), &text, &test_key(KEY).unwrap()).await;
    let mint = async |viewer: &str, profile: &str, channel: &str| {
        let ask = ["mint", viewer, "--profile", profile, "--resource", channel];
        let minted = run(&[&ask[..], &["--server", &serve.server]].concat()).await;
        assert_eq!(minted.code, Some(0), "{}", minted.stderr);
        let token = minted.stdout.trim().to_owned();
        let claims = parts(&token)[1].clone();
        (token, claims)
    };
    let (alice, claims) = mint("alice", "lobby", CHANNEL).await;
    let (bob, of_bob) = mint("bob", "lobby", CHANNEL).await;
    assert!(claims.get("aws:viewer-id").is_none(), "{claims}");
    assert_eq!(claims["iat"].as_i64().map(|at| at % 3_600), Some(0), "{claims}");
    // Two ES384 signatures always differ. The claims agree unless the hour changed in between.
    assert!(alice == bob || claims["iat"] != of_bob["iat"], "{alice} {bob}");
    let other = CHANNEL.replace("AbCdEfGhIjKl", "other");
    assert_eq!(mint("alice", "lobby", &other).await.1["aws:channel-arn"], other);
    let once = [mint("alice", "once", CHANNEL).await.1, mint("alice", "once", CHANNEL).await.1];
    let [first, second] = once.map(|claims| claims["aws:single-use-uuid"].clone());
    assert!(first != second, "{first} {second}");
    assert_eq!(first.as_str().map(str::len), Some(36), "{first}");
}

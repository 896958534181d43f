//! Tokens of Vonage Video: ours compared with those that Vonage's library made, and the real binary
//! from configuration to token.

use grantmint::{clock::WallTime, config::Profile, provider::read_credential, reading::View};
use serde_json::{Value, json};

use super::{assert_refused, assert_vectors, minted, serve, test_key};

const VECTORS: &str = include_str!("../../vectors/vonage-video.json");

pub(super) const SESSION: &str =
    "2_MX5hYmNkZWYwMS0yMzQ1LTY3ODktYWJjZC1lZjAxMjM0NTY3ODl-fjE3MDAwMDAwMDAwMDB-dGVzdHNlc3Npb25-fg";

pub(super) fn private_key() -> String {
    test_key("/vonage-video/private_key_pkcs8_pem").unwrap()
}

fn own() -> String {
    let id = test_key("/vonage-video/application_id").unwrap();
    format!("[profiles.call]\nkind = \"vonage-video\"\napplication_id = \"{id}\"\n")
}

/// A profile with these lines.
pub(super) fn profile(lines: &str) -> Result<Profile, String> {
    super::profile(&format!("{}private_key_env = \"KEY\"\n{lines}\n", own()), &private_key())
}

#[test]
fn our_tokens_equal_the_librarys_tokens() {
    assert_vectors("vonage-video", 7, &[("OpenTok's own tokens, which are not made here", 3)]);
}

#[test]
fn legacy_opentok_tokens_are_read() {
    let view = View { now: WallTime::from_unix_seconds(1_700_000_000), mask: None };
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    let old: Vec<_> = vectors.iter().filter_map(|vector| vector["token"].as_str()).collect();
    let [old] = old[..] else { panic!("{old:?}") };
    let lines = read_credential(old, view).unwrap().lines;
    let lines: Vec<_> = lines.iter().map(|line| (line.label, line.text.as_str())).collect();
    let session = "the session 1_MX40NTY3ODkwMX5-MTcwMDAwMDAwMDAwMH50ZXN0c2Vzc2lvbn5-";
    let meant = [
        ("what", "an OpenTok token in the old form"),
        ("identity", "none"),
        ("for", session),
        ("role", "publisher"),
        ("key", "45678901"),
    ];
    assert_eq!(lines, meant);
}

#[test]
fn profile_requires_an_applications_sessions() {
    let good = format!("resources = [\"{SESSION}\"]");
    for (lines, reported) in [
        (String::new(), "call.resources: needs at least one resource"),
        ("resources = [\"lobby\"]".to_owned(), "is not a session ID"),
        (format!("{good}\nmax_ttl = \"31days\""), "max_ttl: must be from 3s to 30days"),
        (format!("{good}\nunique = false"), "unique: must be true: each token has its own id"),
        (format!("{good}\nnbf_backdate = \"1s\""), "nbf_backdate: unknown key"),
        (format!("{good}\nallow_unscoped = true"), "allow_unscoped: unknown key"),
        (format!("{good}\nparams = {{ role = \"admin\" }}"), "role: must be one of publisher, "),
        (
            format!("{good}\nparams = {{ initial_layout_class_list = [\"focus\"] }}"),
            "initial_layout_class_list: must be a string of layout classes",
        ),
        (format!("{good}\nparams = {{ connection_data = \"a\" }}"), "unknown key"),
    ] {
        let problem = profile(&lines).unwrap_err();
        assert!(
            problem.contains(reported) && problem.lines().count() == 1,
            "{reported}: {problem}"
        );
    }
    let text = format!("{}private_key_env = \"KEY\"\n{good}\n", own());
    let project = text.replace(&test_key("/vonage-video/application_id").unwrap(), "45678901");
    let problem = super::profile(&project, &private_key()).unwrap_err();
    assert!(problem.contains("application_id: is not an application ID, a UUID"), "{problem}");
    let of_an_api = super::profile(&text, &test_key("/opentok/api_secret").unwrap()).unwrap_err();
    assert!(of_an_api.contains("is not a private key"), "{of_an_api}");
    assert!(!of_an_api.contains("df0467b1"), "{of_an_api}");
    let debug = format!("{:?}", profile(&good).unwrap());
    assert!(private_key().lines().all(|line| line.len() < 20 || !debug.contains(line)), "{debug}");
}

#[tokio::test]
async fn calls_set_open_parameters_within_vonages_limits() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "{}private_key_file = \"SECRET_FILE\"\nallow_resources = [\"2_*\"]\n\
         caller_params = [\"role\"]\n",
        own()
    );
    let serve = serve(directory.path(), &text, &private_key()).await;
    let session = ["zo\u{eb}", "--resource", SESSION];
    let plain = minted(&serve, &session).await;
    assert_eq!(plain["connection_data"], "zo\u{eb}");
    assert_eq!((&plain["session_id"], &plain["role"]), (&json!(SESSION), &json!("publisher")));
    assert_eq!(plain["exp"].as_i64().unwrap() - plain["iat"].as_i64().unwrap(), 3_600);
    assert_eq!(plain["initial_layout_class_list"], "");
    let more = ["--ttl", "30days", "--param", "role=moderator"];
    let set = minted(&serve, &[&session[..], &more].concat()).await;
    assert_eq!(set["role"], "moderator");
    assert_ne!(set["jti"], plain["jti"]);

    for (more, reported) in [
        (&["--ttl", "2592001s"][..], &["TTL_OUT_OF_RANGE", "at most 2592000s"][..]),
        (&["--param", "role=admin"], &["PARAM_INVALID", "options.params.role: must be one of"]),
        (
            &["--param", "initial_layout_class_list=focus"],
            &["PARAM_NOT_ALLOWED", "options.params.initial_layout_class_list"],
        ),
        (&["--param", "scope=x"], &["PARAM_INVALID", "options.params.scope: is not a parameter"]),
    ] {
        assert_refused(&serve, &[&session[..], more].concat(), reported).await;
    }
    assert_refused(&serve, &["alice", "--resource", "a"], &["RESOURCE_INVALID", "session"]).await;
    assert_refused(&serve, &["alice"], &["RESOURCE_REQUIRED"]).await;
}

//! 100ms' app tokens: ours compared with those that 100ms' library made from the same inputs, and
//! the real binary from configuration to token.

use grantmint::config::Profile;
use serde_json::json;

use super::{Inputs, assert_refused, assert_vectors, minted, serve};

const SECRET: &str = "gJxd5VGiEm7k48ZYf3h5VaPH1Q8OB6lVGZEaH2GZkzfZxdK6h9QcMUX8OUzl_-==";

const OWN: &str = "[profiles.peer]\nkind = \"100ms\"\naccess_key = \"e883f095d75618043a557de9\"\n";

/// A profile with these lines.
fn profile(lines: &str) -> Result<Profile, String> {
    super::profile(&format!("{OWN}app_secret_env = \"SECRET\"\n{lines}\n"), SECRET)
}

/// The part of a token that the web client decodes with plain `atob`.
fn payload(token: &str) -> &str {
    token.split('.').nth(1).unwrap()
}

#[test]
fn our_tokens_equal_the_librarys_tokens() {
    let later = "valid only from a later time: no profile can express that";
    assert_vectors("100ms", 6, &[(later, 1)]);
}

#[test]
fn web_client_reads_every_token() {
    let profile = profile("allow_resources = [\"*\"]\ncaller_params = [\"role\"]").unwrap();
    for text in ["~~~", "???", ">>>", "a~b>c?d", "\u{eb}\u{1f3a5}\u{ff}", "-_-_\u{a0}"] {
        let inputs = Inputs {
            now: 1_700_000_000,
            ttl_seconds: Some(600),
            identity: Some(text.to_owned()),
            resource: Some(text.to_owned()),
        };
        let ours = inputs.mint(&profile, &[("role".to_owned(), text.into())]).unwrap();
        assert!(!payload(&ours.token).contains(['-', '_']), "{text}");
        for claim in ["user_id", "room_id", "role"] {
            assert_eq!(ours.claims[claim], text, "{claim}");
        }
    }
}

#[test]
fn each_token_has_a_role_from_profile_or_call() {
    let room = "resources = [\"64f0\"]";
    for (lines, reported) in [
        (room.to_owned(), "peer.params: role: is required"),
        (format!("{room}\nparams = {{ role = \"\" }}"), "params: role: must be a role name"),
        (format!("{room}\nparams = {{ role = 7 }}"), "params: role: must be a role name"),
        ("params = { role = \"guest\" }".to_owned(), "resources: needs at least one resource"),
        (
            format!("{room}\nparams = {{ role = \"guest\" }}\nidentity = \"none\"\nunique = false"),
            "unique: must be true: each token has its own id",
        ),
        (
            format!("{room}\nparams = {{ role = \"guest\" }}\nallow_unscoped = true"),
            "allow_unscoped: unknown key",
        ),
    ] {
        let problem = profile(&lines).unwrap_err();
        assert!(
            problem.contains(reported) && problem.lines().count() == 1,
            "{reported}: {problem}"
        );
    }
    let text = format!("{OWN}app_secret_env = \"SECRET\"\n{room}\nparams = {{ role = \"a\" }}\n");
    assert!(super::profile(&text, "short").unwrap_err().contains("allow_weak_secret = true"));
}

#[tokio::test]
async fn calls_set_the_role_if_the_profile_opens_it() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "{OWN}app_secret_file = \"SECRET_FILE\"\nallow_resources = [\"64*\"]\nmax_ttl = \"24h\"\n\
         caller_params = [\"role\"]\n"
    );
    let serve = serve(directory.path(), &text, SECRET).await;
    let room = ["alice", "--resource", "64f0"];
    let guest = ["--param", "role=guest"];
    let claims = minted(&serve, &[&room[..], &guest].concat()).await;
    assert_eq!((&claims["role"], &claims["user_id"]), (&json!("guest"), &json!("alice")));
    assert_eq!((&claims["type"], &claims["version"]), (&json!("app"), &json!(2)));
    assert_eq!(claims["iat"], claims["nbf"]);
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 24 * 3_600);
    for (arguments, reported) in [
        (&room[..], &["PARAM_REQUIRED", "options.params.role: is required"][..]),
        (&["alice", "--param", "role=guest"], &["RESOURCE_REQUIRED"]),
        (
            &["alice", "--resource", "64f0", "--param", "role=7"],
            &["PARAM_INVALID", "options.params.role: must be a role name"],
        ),
        (
            &["alice", "--resource", "64f0", "--param", "role=guest", "--ttl", "25h"],
            &["TTL_OUT_OF_RANGE", "at most 86400s"],
        ),
        (&[&"u".repeat(257), "--resource", "64f0", "--param", "role=guest"], &["IDENTITY_INVALID"]),
    ] {
        assert_refused(&serve, arguments, reported).await;
    }
}

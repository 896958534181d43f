//! Daily's meeting tokens: ours compared with those made as Daily's guide shows, and the real
//! binary from configuration to token.

use grantmint::config::Profile;
use serde_json::{Value, json};

use super::{assert_refused, assert_vectors, minted, serve};

const SECRET: &str = "bcef71571e2f11d3e798bcf69022b9fe2028587b417421b3bc84f86efdd36729";

const OWN: &str = "[profiles.call]\nkind = \"daily\"\n\
                   domain_id = \"3c475c00-8fa1-4ba0-96f8-4f2ae955cc17\"\n";

/// A profile with these lines.
fn profile(lines: &str) -> Result<Profile, String> {
    super::profile(&format!("{OWN}api_key_env = \"SECRET\"\n{lines}\n"), SECRET)
}

#[test]
fn our_tokens_equal_the_guides_tokens() {
    assert_vectors("daily", 9, &[("no expiry, so valid indefinitely, where ours expires", 1)]);
}

#[test]
fn profile_requires_rooms_and_valid_daily_values() {
    let good = "resources = [\"standup\"]";
    for (lines, reported) in [
        (String::new(), "call.resources: needs at least one resource"),
        (format!("{good}\nunique = false"), "unique: requires identity = \"none\""),
        (format!("{good}\nidentity = \"none\""), "unique: must be false"),
        (format!("{good}\nparams = {{ o = 1 }}"), "params: o: must be true or false"),
        (format!("{good}\nparams = {{ eje = 0 }}"), "params: eje: must be a whole number"),
        (format!("{good}\nparams = {{ p = {{ cs = \"v,x\" }} }}"), "params: p: must be an object"),
        (format!("{good}\nparams = {{ p = {{ canSend = false }} }}"), "params: p: must be an"),
        (format!("{good}\nparams = {{ p = {{ ca = [1] }} }}"), "params: p: must be an object"),
        (format!("{good}\nparams = {{ ud = \"a\" }}"), "params: ud: unknown key"),
    ] {
        let problem = profile(&lines).unwrap_err();
        assert!(
            problem.contains(reported) && problem.lines().count() == 1,
            "{reported}: {problem}"
        );
    }
    let named = OWN.replace("3c475c00-8fa1-4ba0-96f8-4f2ae955cc17", "my-domain");
    let problem =
        super::profile(&format!("{named}api_key_env = \"SECRET\"\n{good}\n"), SECRET).unwrap_err();
    assert!(problem.contains("call.domain_id: is not a domain ID"), "{problem}");
    let problem = super::profile(&format!("{OWN}api_key_env = \"SECRET\"\n{good}\n"), "short");
    assert!(problem.unwrap_err().contains("allow_weak_secret = true"));
}

#[tokio::test]
async fn calls_set_open_parameters_and_never_owner() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "{OWN}api_key_file = \"SECRET_FILE\"\nallow_resources = [\"room-*\"]\nmax_ttl = \"2h\"\n\
         params = {{ ss = false }}\ncaller_params = [\"u\", \"p\", \"eje\"]\n"
    );
    let serve = serve(directory.path(), &text, SECRET).await;
    let room = ["alice", "--resource", "room-1"];
    let plain = minted(&serve, &room).await;
    assert_eq!((&plain["ud"], &plain["r"]), (&json!("alice"), &json!("room-1")));
    assert_eq!((&plain["ss"], &plain["o"]), (&json!(false), &Value::Null));
    assert_eq!(plain["exp"].as_i64().unwrap() - plain["iat"].as_i64().unwrap(), 3_600);
    let set = ["--param", "u=Zo\u{eb}", "--param", r#"p={"hp": false, "cs": "v,a"}"#];
    let set = minted(&serve, &[&room[..], &set].concat()).await;
    assert_eq!((&set["u"], &set["p"]), (&json!("Zo\u{eb}"), &json!({"hp": false, "cs": "v,a"})));

    for (more, reported) in [
        (&["--param", "o=true"][..], &["PARAM_NOT_ALLOWED", "options.params.o"][..]),
        (&["--param", "ss=true"], &["PARAM_NOT_ALLOWED", "options.params.ss"]),
        (&["--param", "ud=bob"], &["PARAM_INVALID", "options.params.ud: is not a parameter"]),
        (&["--param", "r=cellar"], &["PARAM_INVALID", "options.params.r: is not a parameter"]),
        (&["--param", "eje=soon"], &["PARAM_INVALID", "options.params.eje: must be a whole"]),
        (&["--param", "p={\"ca\": 1}"], &["PARAM_INVALID", "options.params.p: must be an object"]),
        (&["--ttl", "3h"], &["TTL_OUT_OF_RANGE", "at most 7200s"]),
    ] {
        assert_refused(&serve, &[&room[..], more].concat(), reported).await;
    }
    let user = "u".repeat(37);
    assert_refused(&serve, &[&user, "--resource", "room-1"], &["IDENTITY_INVALID", "36"]).await;
    assert_refused(&serve, &["alice"], &["RESOURCE_REQUIRED"]).await;
}

//! Tokens of Cloudflare Stream: ours compared with those that Cloudflare's sample made, and the
//! real binary from configuration to token.

use grantmint::config::Profile;
use serde_json::{Value, json};

use super::{assert_refused, assert_vectors, minted, parts, serve, test_key};
use crate::support::run;

const VIDEO: &str = "ea95132c15732412d22c1476fa83f27a";

const KEY_ID: &str = "989f677499176f5c9b7939c68a98dc0f";

fn own() -> String {
    format!(
        "[profiles.video]\nkind = \"cloudflare-stream\"\nkey_id = \"{KEY_ID}\"\nunique = false\n"
    )
}

/// A profile with these lines.
pub(super) fn profile(lines: &str) -> Result<Profile, String> {
    let text = format!("{}private_key_env = \"KEY\"\n{lines}\n", own());
    super::profile(&text, &test_key("/cloudflare-stream/pem_base64").unwrap())
}

#[test]
fn our_tokens_equal_the_samples_tokens() {
    assert_vectors("cloudflare-stream", 8, &[]);
}

#[test]
fn profile_requires_videos_and_shared_signatures() {
    let good = format!("resources = [\"{VIDEO}\"]");
    let upper = VIDEO.to_uppercase();
    for (lines, reported) in [
        (String::new(), "video.resources: needs at least one resource"),
        ("resources = [\"my-video\"]".to_owned(), "is not a video UID"),
        (format!("resources = [\"{upper}\"]"), "is not a video UID"),
        (format!("{good}\nmax_ttl = \"24h 1s\""), "max_ttl: must be from 4s to 1day"),
        (format!("{good}\ntoken_ttl = \"25h\""), "token_ttl: must be from 4s to 1day"),
        (format!("{good}\niat_backdate = \"1s\""), "iat_backdate: unknown key"),
        (format!("{good}\nidentity = \"none\""), "identity: unknown key"),
        (format!("{good}\nallow_unscoped = true"), "allow_unscoped: unknown key"),
        (format!("{good}\nparams = {{ flags = true }}"), "flags: must be an object with original"),
        (format!("{good}\nparams = {{ access_rules = [] }}"), "access_rules: must be a list of 1"),
        (format!("{good}\ncaller_params = [\"flags\"]"), "can only be set by the profile"),
    ] {
        let problem = profile(&lines).unwrap_err();
        assert!(
            problem.contains(reported) && problem.lines().count() == 1,
            "{reported}: {problem}"
        );
    }
    let key = test_key("/cloudflare-stream/pem_base64").unwrap();
    let text = format!("{}private_key_env = \"KEY\"\n{good}\n", own());
    let unique = super::profile(&text.replace("unique = false", ""), &key).unwrap_err();
    assert!(unique.contains("unique: must be false"), "{unique}");
    let no_key = super::profile(&text.replace(KEY_ID, ""), &key).unwrap_err();
    assert!(no_key.contains("key_id: is not a key name"), "{no_key}");

    // No error contains any part of a key, valid or not.
    let piece = &key[80..120];
    assert!(!format!("{:?}", super::profile(&text, &key).unwrap()).contains(piece));
    for (key, reported) in [
        (test_key("/cloudflare-stream/public_key_pem").unwrap(), "is a public key"),
        (key[..400].to_owned(), "private key"),
        (test_key("/ivs-playback/private_key_pkcs8_pem").unwrap(), "RS256 needs an RSA key"),
        (VIDEO.to_owned(), "is not a private key"),
    ] {
        let problem = super::profile(&text, &key).unwrap_err();
        assert!(problem.contains(reported) && problem.contains("private_key_env"), "{problem}");
        assert!(key.lines().all(|line| line.len() < 20 || !problem.contains(line)), "{problem}");
    }
}

#[tokio::test]
async fn calls_set_open_parameters_within_cloudflares_limits() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "{}private_key_file = \"SECRET_FILE\"\nallow_resources = [\"*\"]\n\
         params = {{ flags = {{ original = true }} }}\n\
         caller_params = [\"downloadable\", \"access_rules\"]\n",
        own()
    );
    let serve =
        serve(directory.path(), &text, &test_key("/cloudflare-stream/jwk_base64").unwrap()).await;
    let video = ["alice", "--resource", VIDEO];
    let plain = minted(&serve, &video).await;
    assert_eq!((&plain["sub"], &plain["kid"]), (&json!(VIDEO), &json!(KEY_ID)));
    assert_eq!(plain["flags"], json!({"original": true}));
    let rules = json!([{"type": "ip.src", "action": "allow", "ip": ["10.0.0.0/8"]},
        {"type": "any", "action": "block"}]);
    let set = format!("access_rules={rules}");
    let more = ["--ttl", "24h", "--param", "downloadable=true", "--param", &set];
    let set = minted(&serve, &[&video[..], &more].concat()).await;
    assert_eq!((&set["downloadable"], &set["accessRules"]), (&json!(true), &rules));

    let six =
        format!("access_rules={}", Value::from(vec![json!({"type": "any", "action": "block"}); 6]));
    for (more, reported) in [
        (&["--ttl", "86401s"][..], &["TTL_OUT_OF_RANGE", "at most 86400s"][..]),
        (&["--param", "flags={}"], &["PARAM_NOT_ALLOWED", "options.params.flags"]),
        (&["--param", "downloadable=1"], &["PARAM_INVALID", "options.params.downloadable"]),
        (&["--param", &six], &["PARAM_INVALID", "options.params.access_rules: must be a list"]),
        (&["--param", "sub=x"], &["PARAM_INVALID", "options.params.sub: is not a parameter"]),
    ] {
        assert_refused(&serve, &[&video[..], more].concat(), reported).await;
    }
    assert_refused(&serve, &["alice", "--resource", "lobby"], &["RESOURCE_INVALID", "UID"]).await;
    assert_refused(&serve, &["alice"], &["RESOURCE_REQUIRED"]).await;

    let token = run(&[&["mint"], &video[..], &["--server", &serve.server]].concat()).await.stdout;
    assert_eq!(parts(token.trim())[0], json!({"alg": "RS256", "kid": KEY_ID}));
    let read = run(&["inspect", token.trim()]).await;
    for line in [format!("the video {VIDEO}"), format!("key         {KEY_ID}")] {
        assert!(read.stdout.contains(&line), "{line}: {}{}", read.stdout, read.stderr);
    }
    assert!(!read.stdout.contains("\nodd"), "{}", read.stdout);
}

//! Secrets: read from their file or variable, and never shown.

use std::fs;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Request, header};

use super::*;

const ENV: &str = "api_key_secret_env = \"API_SECRET\"";

fn with(keys: &str) -> Result<Config, Problems> {
    parse(&LIVE.replace(ENV, keys))
}

fn reported(keys: &str) -> String {
    let problems = with(keys).unwrap_err();
    let all = format!("{problems} {problems:?}");
    assert!(!all.contains(SECRET), "{all}");
    problems.to_string()
}

#[test]
fn secret_is_read_from_file_or_variable_and_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("twilio");
    fs::write(&path, format!("{SECRET}\n")).unwrap();
    let path = path.display();
    for (keys, origin) in [
        (format!("api_key_secret_file = \"{path}\""), format!("(set, from file {path})")),
        (ENV.to_owned(), "(set, from environment variable API_SECRET)".to_owned()),
    ] {
        let config = with(&keys).unwrap();
        let shown = config.profiles[0].provider.shown();
        assert!(shown.contains(&("api_key_secret", origin.into())), "{shown:?}");
        let all = format!("{config:?} {config:#?} {shown:?}");
        assert!(!all.contains(SECRET), "{all}");
        let endpoint = config.profiles[0].provider.upstream().unwrap().endpoint();
        let basic = BASE64_STANDARD.encode(format!("SK0123456789abcdef0123456789abcdef:{SECRET}"));
        let request = Request::builder().header(header::AUTHORIZATION, format!("Basic {basic}"));
        let recognized = endpoint.recognize(&request.body(Bytes::new()).unwrap());
        assert_eq!(format!("{:?}", recognized.credential), "Proven");
    }
}

#[test]
fn origin_of_a_secret_must_be_set_exactly_once() {
    assert_eq!(
        reported(""),
        "f.toml:1: profiles.live.api_key_secret_file: is missing: name the file that the secret \
         is in, or an environment variable with api_key_secret_env"
    );
    assert_eq!(
        reported(&format!("{ENV}\napi_key_secret_file = \"/run/x\"")),
        "f.toml:5: profiles.live.api_key_secret_env: excludes api_key_secret_file: keep one of \
         them"
    );
    for more in ["", "\napi_key_secret_env = \"API_SECRET\""] {
        assert_eq!(
            reported(&format!("api_key_secret = \"{SECRET}\"{more}")),
            "f.toml:5: profiles.live.api_key_secret: a secret is never a value in this file: \
             write it into a file of its own and name that with api_key_secret_file, or name an \
             environment variable with api_key_secret_env"
        );
    }
}

#[test]
fn problem_with_a_secret_is_reported_without_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("twilio");
    let key = format!("api_key_secret_file = \"{}\"", path.display());
    let file = format!("f.toml:5: profiles.live.api_key_secret_file: the file {}", path.display());
    assert_eq!(reported(&key), format!("{file} does not exist: write the secret to it"));

    fs::write(&path, &SECRET[..31]).unwrap();
    let short = reported(&key);
    assert!(short.ends_with("twilio is shorter than 32 bytes, the minimum for HS256"), "{short}");
    assert!(!short.contains(&SECRET[..31]), "{short}");

    fs::write(&path, [0xff; 40]).unwrap();
    assert_eq!(
        reported(&key),
        format!("{file} cannot be read: it is not UTF-8 text on line 1: save it as UTF-8")
    );
    fs::write(&path, vec![b'a'; 70_000]).unwrap();
    assert_eq!(reported(&key), format!("{file} cannot be read: it is larger than 64 KiB"));

    assert_eq!(
        reported("api_key_secret_env = \"OTHER\""),
        "f.toml:5: profiles.live.api_key_secret_env: the environment variable OTHER is not set, or is not UTF-8 text: set it to the secret"
    );
}

#[test]
fn misplaced_secret_is_not_repeated() {
    let value = format!("\"{SECRET}\"");
    for key in ["api_key_secret_file", "api_key_secret_env"] {
        reported(&format!("{key} = {value}"));
        reported(&format!("{key} = [{value}]"));
        reported(&format!("{key} = {SECRET}"));
        reported(&format!("{key} = \"{SECRET}"));
    }
    let keys = [
        "kind",
        "account_sid",
        "api_key_sid",
        "resources",
        "default_resource",
        "allow_origin",
        "upstream",
        "grant_ttl",
        "refresh_after",
        "promise",
        "token_ttl",
        "margin",
        "expiry_policy",
        "allow_independent",
        "nbf_backdate",
        "budget",
        "grants",
        "api_secret",
    ];
    for key in keys {
        let kept = LIVE.lines().filter(|line| !line.starts_with(&format!("{key} =")));
        let kept: Vec<_> = kept.collect();
        for value in [value.clone(), format!("[{value}]"), format!("{{ chat = {value} }}")] {
            let text = format!("{}\n{key} = {value}\n", kept.join("\n"));
            let problems = parse(&text).unwrap_err();
            let all = format!("{problems} {problems:?}");
            assert!(!all.contains(SECRET), "{all}");
        }
    }
    let inside = format!("upstream = \"https://user:{SECRET}@media.example\"");
    assert!(
        reported(&format!("{ENV}\n{inside}")).contains("must not hold a user name or password")
    );
}

#[test]
fn names_key_does_not_belong_to_a_profile() {
    let directory = tempfile::tempdir().unwrap();
    let [of_names, of_live] = ["names", "twilio"].map(|name| directory.path().join(name));
    fs::write(&of_names, "k7".repeat(16)).unwrap();
    fs::write(&of_live, SECRET).unwrap();
    let key = format!("api_key_secret_file = {of_live:?}");
    let profile = LIVE.replace("api_key_secret_env = \"API_SECRET\"", &key);
    let alone = parse(&profile).unwrap();
    let both = parse(&format!("{profile}[admin]\nnames_key_file = {of_names:?}\n")).unwrap();
    let files = |config: &Config| format!("{:?}", config.profiles[0].key_files);
    assert!(both.admin.names_key.is_some());
    assert_eq!(files(&both), files(&alone));
}

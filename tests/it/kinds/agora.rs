//! Agora's tokens: ours compared with those that Agora's library made, and the real binary from
//! configuration to token. Tokens are decoded here by code that is independent of the kind.

use std::{collections::HashSet, fs, io::Read};

use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::read::ZlibDecoder;
use grantmint::{
    clock::{Clock, WallTime},
    config::Profile,
    provider::{
        KINDS, check_credential, read_credential,
        vectors::{Case, Vector},
    },
    reading::{Signature, View},
    settings::SigningSecret,
    token::{Call, Times, id::Serial},
};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::{Inputs, assert_refused, assert_vectors, serve, vectors};
use crate::support::run;

const APP_ID: &str = "022f71ff2bfd535fa74d8035bd7f2a82";

pub(super) const CERTIFICATE: &str = "e3b95ecfec768af0a5e7fcc0e1167727";

/// A profile with these lines.
pub(super) fn profile(lines: &str) -> Result<Profile, String> {
    let own = "[profiles.call]\nkind = \"agora\"\napp_certificate_env = \"CERTIFICATE\"\n";
    super::profile(&format!("{own}app_id = \"{APP_ID}\"\n{lines}\n"), CERTIFICATE)
}

fn code(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// A token's fields in the form of the vectors, after verifying its signature.
pub(super) fn fields(token: &str) -> Map<String, Value> {
    let packed = BASE64_STANDARD.decode(token.strip_prefix("007").unwrap()).unwrap();
    let mut unpacked = Vec::new();
    ZlibDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    let mut at = 0;
    let number = |at: &mut usize, bytes: usize| {
        let low_last = unpacked[*at..][..bytes].iter().rev();
        *at += bytes;
        low_last.fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let bytes = |at: &mut usize| {
        let length = usize::try_from(number(at, 2)).unwrap();
        *at += length;
        &unpacked[*at - length..*at]
    };
    let text = |at: &mut usize| String::from_utf8(bytes(at).to_vec()).unwrap();
    let signature = bytes(&mut at);
    let signed = &unpacked[at..];
    let app_id = text(&mut at);
    let [issue, expire, salt] = [(); 3].map(|()| number(&mut at, 4));
    let services = (0..number(&mut at, 2)).map(|_| {
        let kind = number(&mut at, 2);
        let privileges = (0..number(&mut at, 2))
            .map(|_| (number(&mut at, 2).to_string(), number(&mut at, 4).into()));
        let mut service = Map::new();
        service.insert("type".to_owned(), kind.into());
        service.insert("privileges".to_owned(), privileges.collect::<Map<_, _>>().into());
        let names: &[_] = if kind == 1 { &["channel", "uid"] } else { &["user_id"] };
        for name in names {
            service.insert((*name).to_owned(), text(&mut at).into());
        }
        Value::from(service)
    });
    let services: Vec<_> = services.collect();
    assert_eq!(at, unpacked.len(), "{token}");
    let packed = |number: u64| u32::try_from(number).unwrap().to_le_bytes();
    let key = code(&packed(salt), &code(&packed(issue), CERTIFICATE.as_bytes()));
    assert_eq!(code(&key, signed), signature, "{token}");
    let fields = json!({"app_id": app_id, "issue_ts": issue, "expire": expire, "salt": salt,
        "services": services});
    let Value::Object(fields) = fields else { unreachable!() };
    fields
}

#[test]
fn our_tokens_equal_the_librarys_tokens() {
    assert_vectors("agora", 10, &[]);
}

#[test]
fn library_tokens_are_read_and_their_signature_is_verified() {
    let view = View { now: WallTime::from_unix_seconds(1_700_000_010), mask: None };
    let right = SigningSecret::parse(CERTIFICATE).unwrap();
    let wrong = SigningSecret::parse(APP_ID).unwrap();
    for Vector { id, case } in vectors("agora") {
        let Case::Minted { setups, token } = case else { panic!("{id}") };
        let token = token.text;
        let readers = KINDS.iter().filter(|kind| kind.read_credential(&token, view).is_some());
        assert_eq!(readers.map(|kind| kind.name()).collect::<Vec<_>>(), ["agora"], "{id}");
        assert_eq!(check_credential(&token, &right), Some(Signature::Valid), "{id}");
        assert_eq!(check_credential(&token, &wrong), Some(Signature::Invalid), "{id}");
        let warnings = read_credential(&token, view).unwrap().warnings;
        let is_anybodys = setups[0].request.identity.is_none();
        assert_eq!(
            warnings.iter().any(|warning| warning.about == "uid"),
            is_anybodys,
            "{id}: {warnings:?}"
        );
        assert_eq!(warnings.len(), usize::from(is_anybodys), "{id}: {warnings:?}");
    }
    assert_eq!(check_credential("ghs_16C7e42F292c6912", &right), None);
}

#[test]
fn tokens_of_one_call_differ_only_by_salt() {
    let text = "allow_resources = [\"*\"]\nparams = { role = \"publisher\" }";
    let profile = profile(text).unwrap();
    let signer = profile.token_format().prepare(None, Clock::system().now()).unwrap();
    let params = profile.tokens.parameters().for_call(&[]).unwrap();
    let call = Call { resource: "lobby", params: &params };
    let stamped = signer.at(Times { issue: 1_700_000_000, expire: 1_700_000_600 }, &call).unwrap();
    let mut seen = HashSet::new();
    let mut rest = HashSet::new();
    for further in 0..1_000 {
        let token = String::from(stamped.sign("42", Serial::SELF_TEST.plus(further)).unwrap());
        assert_eq!(token.len(), stamped.token_bytes("42"));
        let mut fields = fields(&token);
        let salt = fields.remove("salt").unwrap().as_u64().unwrap();
        assert!((1..=99_999_999).contains(&salt) && seen.insert(salt), "{salt}");
        rest.insert(Value::from(fields).to_string());
    }
    assert_eq!(rest.len(), 1);
    let debug = format!("{profile:?} {signer:?} {stamped:?} {:?}", profile.token_format());
    assert!(!debug.contains(CERTIFICATE), "{debug}");
}

#[test]
fn unsupported_values_are_not_signed() {
    let profile = profile("services = [\"rtm\"]").unwrap();
    let signer = profile.token_format().prepare(None, Clock::system().now()).unwrap();
    for (issue, expire) in [(-1, 60), (100, 50), (i64::from(u32::MAX) + 1, i64::from(u32::MAX) + 9)]
    {
        assert!(signer.at(Times { issue, expire }, &Call::NONE).is_err(), "{issue} {expire}");
    }
}

#[test]
fn profile_requires_service_and_user() {
    let rtc = "resources = [\"lobby\"]\nparams = { role = \"publisher\" }";
    let long = "c".repeat(64);
    for (lines, reported) in [
        (rtc.replace("resources", "#"), "call.resources: needs at least one resource"),
        (rtc.replace("lobby", "caf\u{e9}"), "is not a channel name"),
        (rtc.replace("lobby", "*"), "is not a channel name"),
        (rtc.replace("lobby", &long), "is not a channel name"),
        ("resources = [\"lobby\"]".to_owned(), "params: role: is required"),
        (rtc.replace("publisher", "admin"), "role: must be one of publisher, subscriber"),
        (format!("{rtc}\nservices = [\"rtc\", \"rtc\"]"), "services: names a service twice"),
        (format!("{rtc}\nservices = [\"video\"]"), "must be one of rtc, rtm, chat"),
        (format!("{rtc}\nidentity_type = \"name\""), "identity_type: must be \"uid\" (users"),
        (format!("{rtc}\nidentity = \"none\""), "unique: must be false"),
        (format!("{rtc}\nunique = false"), "unique: requires identity = \"none\""),
        (format!("{rtc}\nmax_ttl = \"25h\""), "max_ttl: must be from 3s to 1day"),
        (format!("{rtc}\nallow_unscoped = true"), "allow_unscoped: unknown key"),
        (format!("{rtc}\nallow_weak_secret = true"), "allow_weak_secret: unknown key"),
        (format!("{rtc}\ncaller_params = [\"privileges\"]"), "can only be set by the profile"),
        (
            format!("{rtc}\nservices = [\"rtc\", \"chat\"]\nidentity = \"none\""),
            "identity: unknown key",
        ),
        ("services = [\"rtm\"]\nidentity_type = \"uid\"".to_owned(), "must be \"account\""),
        ("services = [\"chat\"]\nparams = { role = \"publisher\" }".to_owned(), "params: unknown"),
    ] {
        let problem = profile(&lines).unwrap_err();
        assert!(
            problem.contains(reported) && problem.lines().count() == 1,
            "{reported}: {problem}"
        );
    }
    let instants = rtc.replace("role", "privilege_expire = 1700000600, role");
    let problem = profile(&instants).unwrap_err();
    assert!(
        problem.contains("privilege_expire: must be a whole number from 0 to 86400"),
        "{problem}"
    );

    let text = format!(
        "[profiles.call]\nkind = \"agora\"\napp_certificate_env = \"C\"\napp_id = \"ID\"\n{rtc}\n"
    );
    let good = text.replace("\"ID\"", &format!("\"{APP_ID}\""));
    assert!(super::profile(&good, CERTIFICATE).is_ok());
    for (text, certificate, reported) in [
        (&text, CERTIFICATE, "app_id: is not an app ID"),
        (&good, "tiny", "app_certificate_env: "),
        (&good, "ugVuYHkADn89s61poB22XUaASmhRGVlJjcLnfuGpRFku", "is not an app certificate"),
        (&good, "g3b95ecfec768af0a5e7fcc0e1167727", "is not an app certificate"),
    ] {
        let problem = super::profile(text, certificate).unwrap_err();
        assert!(
            problem.contains(reported) && !problem.contains(certificate),
            "{reported}: {problem}"
        );
    }
}

#[test]
fn backdated_issue_time_starts_the_ttl() {
    let inputs = Inputs {
        now: 1_700_000_000,
        ttl_seconds: Some(600),
        identity: Some("42".to_owned()),
        resource: Some("lobby".to_owned()),
    };
    let profile = profile(
        "resources = [\"lobby\"]\niat_backdate = \"30s\"\n\
         params = { role = \"subscriber\", privilege_expire = 60 }",
    );
    let (token, _) = inputs.token(&profile.unwrap(), &[]).unwrap();
    let fields = fields(&token);
    assert_eq!((&fields["issue_ts"], &fields["expire"]), (&json!(1_699_999_970), &json!(600)));
    assert_eq!(fields["services"][0]["privileges"], json!({"1": 60}));
}

const TWO: &str = "[profiles.call]\nkind = \"agora\"\napp_id = \"022f71ff2bfd535fa74d8035bd7f2a82\"\n\
    app_certificate_file = \"SECRET_FILE\"\nallow_resources = [\"lobby*\"]\n\
    params = { privileges = { video = false } }\ncaller_params = [\"role\", \"privilege_expire\"]\n\
    [profiles.chat]\nkind = \"agora\"\napp_id = \"022f71ff2bfd535fa74d8035bd7f2a82\"\n\
    app_certificate_file = \"SECRET_FILE\"\nservices = [\"chat\", \"rtm\"]\n";

#[tokio::test]
async fn calls_need_an_identity_and_set_only_open_parameters() {
    let directory = tempfile::tempdir().unwrap();
    let serve = serve(directory.path(), TWO, CERTIFICATE).await;
    let reported =
        async |arguments: &[&str]| run(&[arguments, &["--server", &serve.server]].concat()).await;
    let call = ["--profile", "call", "--resource", "lobby 1", "--param", "role=publisher"];
    let mint = async |arguments: &[&str]| {
        let ran = reported(&[&["mint"], arguments].concat()).await;
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
        ran.stdout.trim().to_owned()
    };
    let first = fields(&mint(&[&["4294967295"][..], &call].concat()).await);
    assert_eq!(first["expire"], 3_600);
    let privileges = json!({"1": 0, "2": 0, "4": 0});
    let service = json!({"type": 1, "channel": "lobby 1", "uid": "4294967295",
        "privileges": privileges});
    assert_eq!(first["services"], json!([service]));
    let more = ["--ttl", "24h", "--param", "privilege_expire=60"];
    let token = mint(&[&["42"][..], &call, &more].concat()).await;
    let second = fields(&token);
    assert_eq!(second["services"][0]["privileges"], json!({"1": 60, "2": 60, "4": 60}));
    assert_eq!(second["expire"], 86_400);
    let chat = fields(&mint(&["zoe", "--profile", "chat", "--ttl", "10m"]).await);
    let service = |number: u16| json!({"type": number, "user_id": "zoe", "privileges": {"1": 600}});
    assert_eq!(chat["services"], json!([service(2), service(5)]));

    for (identity, more, reported) in [
        ("0", &call[..], &["IDENTITY_INVALID", "any user"][..]),
        ("alice", &call, &["IDENTITY_INVALID", "is not an Agora uid"]),
        ("4294967296", &call, &["IDENTITY_INVALID", "is not an Agora uid"]),
        ("000", &["--profile", "chat"], &["IDENTITY_INVALID", "zeros"]),
        ("42", &call[..4], &["PARAM_REQUIRED", "options.params.role"]),
        ("42", &[&call[..4], &["--param", "role=admin"]].concat(), &["PARAM_INVALID"]),
        ("42", &[&call[..], &["--param", "privileges={}"]].concat(), &["PARAM_NOT_ALLOWED"]),
        (
            "42",
            &[&call[..], &["--param", "privilege_expire=1700000600"]].concat(),
            &["PARAM_INVALID", "from 0 to 86400"],
        ),
        ("42", &[&call[..], &["--ttl", "86401s"]].concat(), &["TTL_OUT_OF_RANGE", "86400s"]),
        ("42", &[&call[..2], &call[4..]].concat(), &["RESOURCE_REQUIRED"]),
        ("zoe", &["--profile", "chat", "--resource", "lobby"], &["RESOURCE_"]),
    ] {
        assert_refused(&serve, &[&[identity][..], more].concat(), reported).await;
    }

    // A series that starts with 0 would start with a token for any user.
    let bulk = [&["bulk", "--count", "20"][..], &call].concat();
    for (prefix, code) in [("--prefix=", 1), ("--prefix=0", 1), ("--prefix=7", 0)] {
        let ran = reported(&[&bulk[..], &[prefix]].concat()).await;
        assert_eq!(ran.code, Some(code), "{prefix}: {}{}", ran.stdout, ran.stderr);
        if code == 0 {
            let uids = ran.stdout.lines().map(|token| fields(token)["services"][0]["uid"].clone());
            assert_eq!(uids.collect::<HashSet<_>>().len(), 20, "{}", ran.stdout);
        } else {
            assert!(ran.stderr.contains("IDENTITY_INVALID"), "{}", ran.stderr);
        }
    }

    let [secret, other] =
        ["secret", "other"].map(|name| directory.path().join(name).to_str().unwrap().to_owned());
    fs::write(&other, APP_ID).unwrap();
    let read = run(&["inspect", "--key-file", &secret, &token]).await;
    for line in [
        "identity    42",
        "for         the channel lobby 1",
        "rights      join for 60 s, publish audio for 60 s, publish data for 60 s",
        "the right to join",
        "signature   valid",
    ] {
        assert!(read.stdout.contains(line), "{line}: {}{}", read.stdout, read.stderr);
    }
    let wrong = run(&["inspect", "--key-file", &other, "--json", &token]).await;
    assert_eq!(wrong.code, Some(1), "{}", wrong.stdout);
    let read: Value = serde_json::from_str(&wrong.stdout).unwrap();
    assert_eq!(
        (&read["signature"], &read["ends"][0]["what"]),
        (&json!("invalid"), &json!("privilege"))
    );
    assert!(!(wrong.stdout + &wrong.stderr).contains(CERTIFICATE));
}

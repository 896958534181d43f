//! Tokens of Mux: ours compared with those that Mux's library made from the same inputs, fixed and
//! random, and the real binary from configuration to token.

use std::fs;

use grantmint::config::Profile;
use proptest::{
    collection::vec,
    prelude::*,
    sample::{select, subsequence},
    strategy::ValueTree,
    test_runner::TestRunner,
};
use serde_json::{Map, Value, json};

use super::{
    Inputs, assert_refused, assert_vectors, in_toml, minted, node::assert_signed_by, node::in_node,
    serve, test_key,
};
use crate::{markers::Markers, support::run};

const KEY: &str = "/mux/private_key_base64";
const PUBLIC_KEY: &str = "/mux/public_key_pem";

const NOW: i64 = 1_700_000_000;

const OWN: &str = "[profiles.vod]\nkind = \"mux\"\nunique = false\n\
                   signing_key_id = \"cfE3p9wBy86TAhvmbjaCBSiwNBUDnx3guKmIw7aH\"\n";

/// A profile with these lines.
fn profile(lines: &str) -> Result<Profile, String> {
    let text = format!("{OWN}private_key_env = \"KEY\"\n{lines}\n");
    super::profile(&text, &test_key(KEY).unwrap())
}

/// A profile of any id, with these constants.
fn with_params(params: &Map<String, Value>) -> Result<Profile, String> {
    let params = in_toml(&params.clone().into());
    profile(&format!("allow_resources = [\"*\"]\nparams = {params}"))
}

#[test]
fn our_tokens_equal_muxs_tokens() {
    assert_vectors("mux", 10, &[("numbers as strings, where the guide has numbers", 2)]);
}

#[tokio::test]
async fn mux_player_accepts_a_token_until_expiry() {
    let mint = |of: &str| {
        let params = Map::from_iter([("token_type".to_owned(), of.into())]);
        let inputs = Inputs {
            now: NOW,
            ttl_seconds: Some(600),
            identity: None,
            resource: Some("qIJB".to_owned()),
        };
        inputs.mint(&with_params(&params).unwrap(), &[]).unwrap().token
    };
    let (video, drm, thumbnail) = (mint("video"), mint("drm"), mint("thumbnail"));
    let fine = "NETWORK_UNKNOWN_ERROR";
    let cases = [
        (NOW, "qIJB", &video, false, fine),
        (NOW + 600, "qIJB", &video, false, fine),
        (NOW + 601, "qIJB", &video, false, "NETWORK_TOKEN_EXPIRED"),
        (NOW, "other", &video, false, "NETWORK_TOKEN_SUB_MISMATCH"),
        (NOW, "qIJB", &thumbnail, false, "NETWORK_TOKEN_AUD_MISMATCH"),
        (NOW, "qIJB", &drm, true, fine),
        (NOW, "qIJB", &video, true, "NETWORK_TOKEN_AUD_MISMATCH"),
    ];
    let input = cases
        .iter()
        .map(|(at, id, token, drm, _)| json!({"at": at, "id": id, "token": token, "drm": drm}));
    let verdicts = in_node("mux_player.js", &input.collect()).await;
    let meant: Vec<_> = cases.iter().map(|case| json!(case.4)).collect();
    assert_eq!(verdicts, meant);
}

/// The inputs of a call.
#[derive(Clone, Debug)]
struct Case {
    id: String,
    ttl: i64,
    params: Map<String, Value>,
}

fn one_of(name: &'static str, values: &'static [&'static str]) -> BoxedStrategy<(String, Value)> {
    select(values).prop_map(move |value| (name.to_owned(), value.into())).boxed()
}

fn case() -> impl Strategy<Value = Case> {
    const RESOLUTIONS: [&str; 8] =
        ["270p", "360p", "480p", "540p", "720p", "1080p", "1440p", "2160p"];
    let number = |name: &'static str, most: i64| {
        (1..=most).prop_map(move |value| (name.to_owned(), value.into())).boxed()
    };
    let seconds = |name: &'static str| {
        let number = |eighths: u32| match (eighths / 8, eighths % 8) {
            (whole, 0) => Value::from(whole),
            _ => (f64::from(eighths) / 8.0).into(),
        };
        (0..80_000_u32).prop_map(move |it| (name.to_owned(), number(it))).boxed()
    };
    let flag = |name: &'static str| {
        any::<bool>().prop_map(move |value| (name.to_owned(), value.into())).boxed()
    };
    let text = || any::<String>().prop_map(Value::from);
    let custom =
        vec((any::<String>(), prop_oneof![text(), any::<i32>().prop_map(Value::from)]), 0..3)
            .prop_map(|members| ("custom".to_owned(), Map::from_iter(members).into()))
            .boxed();
    let each = vec![
        one_of("fit_mode", &["preserve", "stretch", "crop", "smartcrop", "pad"]),
        one_of("max_resolution", &RESOLUTIONS),
        one_of("min_resolution", &RESOLUTIONS),
        one_of("rendition_order", &["asc", "desc"]),
        one_of("default_subtitles_lang", &["en", "en-US", "zh-Hant"]),
        select(vec![90, 180, 270]).prop_map(|it| ("rotate".to_owned(), it.into())).boxed(),
        number("width", 10_000),
        number("height", 10_000),
        number("fps", 30),
        number("program_time", NOW),
        number("program_start_time", NOW),
        number("program_end_time", NOW),
        seconds("time"),
        seconds("start"),
        seconds("end"),
        seconds("asset_start_time"),
        seconds("asset_end_time"),
        flag("flip_v"),
        flag("flip_h"),
        flag("latest"),
        flag("redundant_streams"),
        flag("roku_trick_play"),
        flag("exclude_pdt"),
        custom,
    ];
    let most = each.len();
    let params = subsequence(each, 0..most).prop_flat_map(|some| some);
    let theirs = select(vec![
        "video",
        "thumbnail",
        "gif",
        "storyboard",
        "drm",
        "stats",
        "asset_stats",
        "live_stream_stats",
        "video_stats",
    ]);
    ("[A-Za-z0-9_-]{1,128}", 60..=31_000_000_i64, theirs, params).prop_map(
        |(id, ttl, theirs, params)| {
            let mut params = Map::from_iter(params);
            params.insert("token_type".to_owned(), theirs.into());
            Case { id, ttl, params }
        },
    )
}

#[tokio::test]
async fn random_inputs_give_the_claims_of_muxs_library() {
    let mut runner = TestRunner::deterministic();
    let cases: Vec<_> =
        (0..1_000).map(|_| case().new_tree(&mut runner).unwrap().current()).collect();
    let input = json!({
        "now": NOW,
        "key_id": test_key("/mux/key_id").unwrap(),
        "key": test_key(KEY).unwrap(),
        "cases": cases.iter().map(|case| {
            let mut claims = case.params.clone();
            let token_type = claims.remove("token_type");
            json!({"id": case.id, "ttl": case.ttl, "type": token_type, "claims": claims})
        }).collect::<Vec<_>>(),
    });
    let theirs = in_node("mux.js", &input).await;
    assert_eq!(theirs.len(), cases.len());
    let open =
        profile(&format!("allow_resources = [\"*\"]\ncaller_params = {:?}", open())).unwrap();
    let mut tokens = Vec::new();
    for (case, theirs) in cases.into_iter().zip(theirs) {
        let inputs = Inputs {
            now: NOW,
            ttl_seconds: Some(case.ttl),
            identity: None,
            resource: Some(case.id),
        };
        let params: Vec<_> = case.params.into_iter().collect();
        let ours = inputs.mint(&open, &params).unwrap();
        assert_eq!(ours.header, theirs["header"]);
        assert_eq!(ours.claims, theirs["claims"]);
        tokens.push(ours.token);
    }
    assert_signed_by(PUBLIC_KEY, &tokens).await;
}

/// The parameters that a profile may open.
fn open() -> Vec<String> {
    let any = profile("allow_resources = [\"*\"]").unwrap();
    let names = any.tokens.declared.into_iter().map(|parameter| parameter.name);
    names.filter(|name| name != "playback_restriction_id").collect()
}

#[test]
fn profile_requires_valid_mux_ids() {
    let good = "resources = [\"qIJB\"]";
    for (lines, reported) in [
        (String::new(), "vod.resources: needs at least one resource"),
        (
            "resources = [\"https://stream.mux.com/qIJB.m3u8\"]".to_owned(),
            "the part of https://stream.mux.com/ID.m3u8",
        ),
        ("resources = [\"qIJB.m3u8\"]".to_owned(), "is not a playback ID: the part of"),
        ("resources = [\"q B\"]".to_owned(), "is neither a playback ID nor an ID for counts"),
        (format!("resources = [\"{}\"]", "q".repeat(129)), "at most 128 ASCII letters"),
        (format!("{good}\nidentity = \"none\""), "identity: unknown key"),
        (format!("{good}\niat_backdate = \"1s\""), "iat_backdate: unknown key"),
        (format!("{good}\nallow_unscoped = true"), "allow_unscoped: unknown key"),
        (format!("{good}\nprivate_key = \"x\""), "a secret is never a value in this file"),
        (
            format!("{good}\nparams = {{ token_type = \"v\" }}"),
            "token_type: must be one of video, thumbnail, gif",
        ),
        (format!("{good}\nparams = {{ width = 0 }}"), "width: must be a whole number from 1"),
        (format!("{good}\nparams = {{ rotate = 45 }}"), "rotate: must be 90, 180 or 270"),
        (format!("{good}\nparams = {{ time = -1 }}"), "time: must be a number of seconds"),
        (format!("{good}\nparams = {{ fit_mode = \"fill\" }}"), "must be one of preserve"),
        (
            format!("{good}\nparams = {{ playback_restriction_id = \"\" }}"),
            "playback_restriction_id: must be an ID",
        ),
        (
            format!("{good}\ncaller_params = [\"playback_restriction_id\"]"),
            "caller_params[0]: can only be set by the profile",
        ),
    ] {
        let problem = profile(&lines).unwrap_err();
        assert!(
            problem.contains(reported) && problem.lines().count() == 1,
            "{reported}: {problem}"
        );
    }
    let shared = OWN.replace("unique = false\n", "");
    let text = format!("{shared}private_key_env = \"KEY\"\n{good}\n");
    let problem = super::profile(&text, &test_key(KEY).unwrap()).unwrap_err();
    assert!(
        problem.contains("unique: must be false: these tokens contain nothing unique"),
        "{problem}"
    );
    let ec = test_key("/ivs-playback/private_key_sec1_pem").unwrap();
    let text = format!("{OWN}private_key_env = \"KEY\"\n{good}\n");
    let problem = super::profile(&text, &ec).unwrap_err();
    assert!(problem.contains("a key on the curve P-384, and RS256 needs"), "{problem}");
    for form in ["private_key_pkcs1_pem", "private_key_base64"] {
        let key = test_key(&format!("/mux/{form}")).unwrap();
        assert!(super::profile(&text, &key).is_ok(), "{form}");
    }
}

#[tokio::test]
async fn binary_mints_every_player_token_and_inspects_it() {
    let directory = tempfile::tempdir().unwrap();
    let key = test_key("/mux/private_key_pkcs1_pem").unwrap();
    let text = format!(
        "{OWN}private_key_file = \"SECRET_FILE\"\nallow_resources = [\"q*\"]\n\
         reuse_for = \"1h\"\nparams = {{ playback_restriction_id = \"JL88\" }}\n\
         caller_params = [\"token_type\", \"width\", \"time\", \"rotate\", \"custom\"]\n"
    );
    let serve = serve(directory.path(), &text, &key).await;
    let id = ["alice", "--resource", "qIJB"];
    let plain = minted(&serve, &id).await;
    assert_eq!((&plain["sub"], &plain["aud"]), (&json!("qIJB"), &json!("v")));
    assert_eq!(plain["playback_restriction_id"], "JL88");
    assert_eq!(plain["kid"], "cfE3p9wBy86TAhvmbjaCBSiwNBUDnx3guKmIw7aH");
    assert!(plain.get("iat").is_none() && plain.get("jti").is_none(), "{plain}");
    for (of, audience) in [("thumbnail", "t"), ("storyboard", "s"), ("drm", "d")] {
        let param = format!("token_type={of}");
        let claims = minted(&serve, &[&id[..], &["--param", &param]].concat()).await;
        assert_eq!(claims["aud"], audience);
    }
    let image = ["--param", "width=640", "--param", "time=2.5", "--param", "rotate=90"];
    let claims = minted(&serve, &[&id[..], &image].concat()).await;
    assert_eq!([&claims["width"], &claims["time"]], [&json!(640), &json!(2.5)]);
    assert_eq!(claims["rotate"], json!(90));
    let custom = ["--param", r#"custom={"session_id":"s-1"}"#];
    let claims = minted(&serve, &[&id[..], &custom].concat()).await;
    assert_eq!(claims["custom"], json!({"session_id": "s-1"}));

    for (more, reported) in [
        (&["--param", "token_type=v"][..], &["PARAM_INVALID", "must be one of video"][..]),
        (&["--param", "width=0.5"], &["PARAM_INVALID", "options.params.width"]),
        (&["--param", "height=9"], &["PARAM_NOT_ALLOWED", "options.params.height"]),
        (&["--param", "playback_restriction_id=a"], &["PARAM_NOT_ALLOWED"]),
        (&["--param", "aud=v"], &["PARAM_INVALID", "options.params.aud: is not a parameter"]),
    ] {
        assert_refused(&serve, &[&id[..], more].concat(), reported).await;
    }
    assert_refused(&serve, &["alice"], &["RESOURCE_REQUIRED"]).await;
    assert_refused(&serve, &["alice", "--resource", "q.m3u8"], &["RESOURCE_INVALID"]).await;

    let ask = [&["mint"], &id[..], &["--server", &serve.server]].concat();
    let token = run(&ask).await.stdout;
    let read = run(&["inspect", token.trim()]).await;
    for line in ["the playback ID qIJB", "type        video", "playback_restriction_id JL88"] {
        assert!(read.stdout.contains(line), "{line}: {}{}", read.stdout, read.stderr);
    }
    let config = directory.path().join("config").to_str().unwrap().to_owned();
    let check = run(&["check", "--verbose", &config]).await;
    assert!(check.stdout.contains("cfE3p9wBy86TAhvmbjaCBSiwNBUDnx3guKmIw7aH"), "{}", check.stderr);
    serve.signal("INT");
    let (status, log) = serve.ended().await;
    assert_eq!(status.code(), Some(0));
    let mut markers = Markers::default();
    key.lines().filter(|line| line.len() == 64).for_each(|line| markers.add(line));
    markers.in_none_of("check, inspect or the log", &(check.stdout + &check.stderr + &log));
    fs::write(directory.path().join("secret"), key.replace("MII", "M%I")).unwrap();
    let check = run(&["check", "--verbose", &config]).await;
    assert_eq!(check.code, Some(1));
    markers.in_none_of("an error", &(check.stdout + &check.stderr));
}

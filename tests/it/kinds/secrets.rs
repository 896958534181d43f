//! Keys, tokens and call values appear only in the response that returns a token.

use std::fs;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};

use super::{
    each::{CALLS, PROFILES},
    serve,
};
use crate::{
    markers::Markers,
    support::{Serve, run},
};

const SECRET: &str = "planted-secret-d4735e3a265e16eee03f59718b9b5d03";

/// Shorter than the recommended 32 bytes.
const WEAK: &str = "planted-d4735e3a265e16";

/// A value belongs to a user and may be a name or even a password.
const VALUE: &str = "planted-value-4b227777d4dd1fc6";

/// A string parameter of each profile, if it has one.
const TEXTS: [(&str, &str); 5] = [
    ("livekit", "name"),
    ("zoom-videosdk", "session_key"),
    ("daily", "u"),
    ("hundred-ms", "role"),
    ("jitsi", "name"),
];

/// Runs a caller's commands, valid and invalid; adds the printed tokens to `markers` and returns
/// standard error.
async fn run_commands(serve: &Serve, markers: &mut Markers) -> String {
    let mut reported = String::new();
    for (profile, call) in CALLS {
        let to = ["--profile", profile, "--server", &serve.server];
        let minted = run(&[&["mint"], call, &to].concat()).await;
        assert_eq!(minted.code, Some(0), "{profile}: {}", minted.stderr);
        markers.add_token(minted.stdout.trim());
        reported += &minted.stderr;
        let bulk =
            run(&[&["bulk", "--count=5", "--prefix=viewer_"], &call[1..], &to].concat()).await;
        assert_eq!(bulk.stdout.lines().count(), 5, "{profile}: {}", bulk.stderr);
        bulk.stdout.lines().for_each(|token| markers.add_token(token));
        reported += &bulk.stderr;
        let text = TEXTS.iter().find(|(its, _)| *its == profile);
        if let Some(param) = text.map(|(_, name)| format!("--param={name}={VALUE}")) {
            let minted = run(&[&["mint"], call, &[&*param], &to].concat()).await;
            assert_eq!(minted.code, Some(0), "{profile}: {}", minted.stderr);
            markers.add_token(minted.stdout.trim());
            reported += &minted.stderr;
        }
        // An unknown parameter, a value of another type, an identity with a control character.
        let long = VALUE.repeat(250);
        for bad in [
            format!("--param=no_parameter={VALUE}"),
            format!("--param=name={{\"{VALUE}\":1}}"),
            format!("--param=incoming={VALUE}"),
            format!("--param=eje={VALUE}"),
            format!("--param={VALUE}=1"),
            format!("--param=name={long}"),
        ] {
            let refused = run(&[&["mint"], call, &[&*bad], &to].concat()).await;
            assert_eq!(refused.code, Some(1), "{profile}: {bad}: {}", refused.stdout);
            reported += &refused.stderr;
        }
        let identity = format!("{VALUE}\u{7}");
        let refused = run(&[&["mint", &identity], &call[1..], &to].concat()).await;
        assert!(refused.stderr.contains("IDENTITY_INVALID"), "{}", refused.stderr);
        reported += &refused.stderr;
    }
    reported
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_output_contains_a_key_token_or_value() {
    let directory = tempfile::tempdir().unwrap();
    let serve = serve(directory.path(), PROFILES, SECRET).await;
    let mut markers = Markers::of(&[SECRET, VALUE]);
    // The complete base64 groups of it, which do not depend on the surrounding bytes.
    for start in 0..3 {
        markers.add(&BASE64_STANDARD_NO_PAD.encode(&SECRET[start..42 + start]));
        markers.add(&BASE64_URL_SAFE_NO_PAD.encode(&SECRET[start..42 + start]));
    }
    let reported = run_commands(&serve, &mut markers).await;
    markers.in_none_of("a command", &reported);
    for page in ["/metrics", "/readyz", "/livez", "/", "/status.json"] {
        let (_, body) = serve.page(page).await;
        markers.in_none_of(page, &body);
    }

    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (config, secret) = (path("config"), path("secret"));
    for arguments in [&["check", "--verbose", &config][..], &["check", "--json", &config]] {
        let check = run(arguments).await;
        assert_eq!(check.code, Some(0), "{}", check.stderr);
        assert!(check.stdout.contains("zoom-videosdk"), "{}", check.stdout);
        markers.in_none_of("check", &(check.stdout + &check.stderr));
    }
    let server = ["--server", &serve.server];
    for (profile, call) in CALLS {
        let ask = [&["mint", "--profile", profile], call, &server].concat();
        let token = run(&ask).await.stdout;
        for more in [&["--json"][..], &[]] {
            let read = ["inspect", token.trim(), "--key-file", &secret];
            let read = run(&[&read[..], more].concat()).await;
            assert_eq!(read.code, Some(0), "{profile}: {}", read.stderr);
            markers.add_token(token.trim());
            markers.in_none_of("inspect", &(read.stdout + &read.stderr));
        }
    }

    serve.signal("INT");
    let (status, log) = serve.ended().await;
    assert_eq!(status.code(), Some(0));
    for witness in ["\"level\":\"TRACE\"", "h2::"] {
        assert!(log.contains(witness), "the log is not at trace level: no {witness}");
    }
    markers.in_none_of("the log", &log);

    // A refused secret is not repeated either.
    fs::write(&secret, WEAK).unwrap();
    let weak = Markers::of(&[WEAK]);
    for command in ["check", "serve"] {
        let refused = run(&[command, "--config", &config]).await;
        assert_eq!(refused.code, Some(1), "{}", refused.stdout);
        let reported = refused.stderr.matches("allow_weak_secret").count();
        assert_eq!(reported, CALLS.len(), "{}", refused.stderr);
        weak.in_none_of(command, &(refused.stdout + &refused.stderr));
    }
}

//! `grantmint init`: configurations to start from.

use std::fs;

use tempfile::TempDir;

use crate::support::run;

#[tokio::test]
async fn init_prints_an_example_that_lacks_only_a_secret() {
    let printed = run(&["init", "livekit"]).await;
    assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""));
    assert_eq!(printed.stdout, include_str!("../../../examples/providers/livekit.toml"));

    let dir = TempDir::new().expect("a directory");
    let (file, secret) = (dir.path().join("grantmint.toml"), dir.path().join("secret"));
    let text = printed.stdout.replace("/run/secrets/livekit", &secret.display().to_string());
    fs::write(&file, text).expect("written");
    let file = file.to_str().expect("UTF-8");
    let unfilled = run(&["check", file]).await;
    assert_eq!(unfilled.code, Some(1));
    let problems: Vec<_> = unfilled.stderr.lines().filter(|it| it.contains(".toml:")).collect();
    assert!(problems.len() == 1 && problems[0].contains("api_secret_file"), "{problems:?}");
    fs::write(secret, "q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxC").expect("written");
    assert_eq!(run(&["check", file]).await.code, Some(0));
}

#[tokio::test]
async fn init_lists_names_and_suggests_the_nearest() {
    let listed = run(&["init"]).await;
    assert_eq!(listed.code, Some(0));
    assert!(
        listed.stdout.contains("\nlivekit            Tokens for participants of LiveKit rooms\n")
    );
    let unknown = run(&["init", "livkit"]).await;
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(2), ""));
    assert!(unknown.stderr.contains("a similar value exists: 'livekit'"), "{}", unknown.stderr);
    let completions = run(&["completions", "bash"]).await;
    let all = listed.stdout.lines().filter_map(|line| line.split(' ').next());
    let all: Vec<_> = all.collect();
    assert!(completions.stdout.contains(&all.join(" ")), "{all:?}");
}

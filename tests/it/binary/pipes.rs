//! Commands in pipes, pasted input, and editor artifacts in files.

use std::{fs, io, process::Stdio};

use grantmint::provider::twilio_live::DEMO_API_KEY_SECRET;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::support::{BINARY, CommandOutput, Configured, Serve, payload, run, soon};

#[tokio::test]
async fn closed_pipe_ends_every_command_silently() {
    let serve = Serve::sandboxed(&[]).await;
    let token = serve.first_token().await.token;
    let config = Configured::profile("");
    let server = ["--server", &serve.server];
    for command in [
        &["mint", "alice"][..],
        &["mint", "alice", "--json"],
        &["bulk", "--count", "10"],
        &["bulk", "--count", "100000"],
        &["bulk", "--count", "100000", "--json"],
        &["grants"],
        &["grants", "--watch", "--json"],
        &["inspect", &token],
        &["check", config.path()],
        &["completions", "bash"],
        &["--help"],
    ] {
        let (reader, pipe) = io::pipe().expect("a pipe");
        drop(reader);
        let talks = ["mint", "bulk", "grants"].contains(&command[0]);
        let mut shell = Command::new(BINARY);
        shell.args(command).args(server.iter().take(if talks { 2 } else { 0 })).env_clear();
        shell.stdin(Stdio::null()).stdout(pipe).stderr(Stdio::piped()).kill_on_drop(true);
        let child = shell.spawn().expect("the binary starts");
        let output = soon(child.wait_with_output()).await.expect("an exit");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*stderr), (Some(0), ""), "{command:?}");
    }
}

#[tokio::test]
async fn unreadable_or_unwritable_file_is_named() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    for (arguments, file) in [
        (&["bulk", "--count", "3", "-o", "/nonexistent/f"][..], "/nonexistent/f"),
        (&["bulk", "--count", "3", "-o", "/dev/full"], "/dev/full"),
        (&["bulk", "--identities", "/nonexistent/names"], "/nonexistent/names"),
    ] {
        let ran = run(&[arguments, &["--server", &serve.server]].concat()).await;
        assert_eq!(ran.code, Some(1), "{arguments:?}");
        assert!(ran.stderr.contains(file), "{arguments:?}: {}", ran.stderr);
    }
    let ran = run(&["inspect", "-", "--key-file", "/nonexistent/key"]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
}

async fn inspect(pasted: &[u8]) -> CommandOutput {
    let mut command = Command::new(BINARY);
    command.args(["inspect", "-"]).env_clear().kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(pasted).await.expect("taken");
    drop(stdin);
    let output = soon(child.wait_with_output()).await.expect("an exit");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    CommandOutput {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

#[tokio::test]
async fn inspect_finds_the_token_in_pasted_text() {
    let serve = Serve::sandboxed(&[]).await;
    let token = serve.first_token().await.token;
    let plain = run(&["inspect", &token]).await.stdout;
    let whose = |shown: &str| shown.lines().next().map(str::to_owned);
    assert!(plain.starts_with("identity    first"), "{plain}");
    for pasted in [
        format!("Bearer {token}"),
        format!("\"{token}\""),
        format!("https://play.example/?token={token}&x=1"),
        format!("{{\"token\":\"{token}\"}}"),
    ] {
        let ran = run(&["inspect", &pasted]).await;
        assert_eq!((ran.code, whose(&ran.stdout)), (Some(0), whose(&plain)), "{}", ran.stderr);
    }
    let wrapped = format!("\u{feff}{}\r\n{}\r\n", &token[..80], &token[80..]);
    assert_eq!(whose(&inspect(wrapped.as_bytes()).await.stdout), whose(&plain));
    let noise = [b"\xff\xfe curl: Bearer ".as_slice(), token.as_bytes(), b"\n"].concat();
    assert_eq!(whose(&inspect(&noise).await.stdout), whose(&plain));

    let cut = token.rsplit_once('.').expect("a signature").0;
    let ran = run(&["inspect", cut]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("its signature is missing"), "{}", ran.stderr);
    let ran = run(&["inspect", &token[..token.len() - 9]]).await;
    assert!(ran.stdout.contains("its last 9 characters are missing"), "{}", ran.stdout);
}

#[tokio::test]
async fn editor_artifacts_are_ignored_or_refused_by_line() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let dir = tempfile::tempdir().expect("a directory");
    let names = dir.path().join("names.txt");
    let bulk = async |text: &[u8]| {
        fs::write(&names, text).expect("written");
        let names = names.to_str().expect("text");
        run(&["bulk", "--identities", names, "--server", &serve.server]).await
    };
    let ran = bulk("\u{feff}alice\r\nbob\r\n".as_bytes()).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let identities: Vec<_> = ran
        .stdout
        .lines()
        .map(|token| {
            let claims: serde_json::Value = serde_json::from_str(&payload(token)).expect("JSON");
            claims["grants"]["identity"].as_str().expect("an identity").to_owned()
        })
        .collect();
    assert_eq!(identities, ["alice", "bob"]);
    for (text, reported) in [
        ("alice\nbob\u{200b}\n".as_bytes(), "line 2 starts or ends with"),
        ("alice\n\u{feff}bob\n".as_bytes(), "line 2 starts or ends with"),
        ("alice \n".as_bytes(), "line 1 starts or ends with whitespace"),
        (b"alice\n\"bob\"\n", "line 2 starts or ends with quotes"),
        (b"\xff\xfea\0\n\0", "is UTF-16 text: save it as UTF-8"),
        (b"alice\nb\xe9b\n", "is not UTF-8 text on line 2"),
    ] {
        let ran = bulk(text).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{reported}");
        assert!(
            ran.stderr.contains(reported) && ran.stderr.contains("names.txt"),
            "{}",
            ran.stderr
        );
    }
}

#[tokio::test]
async fn editor_artifacts_in_secrets_and_config_are_handled() {
    let config = Configured::with_secret("", "", &format!("\u{feff}{DEMO_API_KEY_SECRET}\r\n"));
    let text = fs::read(&config.file).expect("written");
    fs::write(&config.file, [b"\xef\xbb\xbf".as_slice(), &text].concat()).expect("written");
    let serve = Serve::configured(&config, &[]).await;
    let token = serve.first_token().await.token;
    crate::support::verified(&token);

    for (secret, reported) in [
        (format!("\"{DEMO_API_KEY_SECRET}\""), "is in quotes"),
        (format!("TWILIO_API_SECRET={DEMO_API_KEY_SECRET}"), "looks like NAME=value"),
        (format!("{DEMO_API_KEY_SECRET}\u{200b}"), "an invisible character"),
    ] {
        let config = Configured::with_secret("", "", &secret);
        let ran = run(&["check", config.path()]).await;
        assert_eq!(ran.code, Some(1), "{secret}");
        assert!(ran.stderr.contains(reported), "{}", ran.stderr);
        assert!(!ran.stderr.contains(DEMO_API_KEY_SECRET), "{}", ran.stderr);
    }
    let utf_16: Vec<u8> = "\u{feff}[server]".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(&config.file, utf_16).expect("written");
    let scenario = ["serve", "--sandbox", "--scenario", config.path()];
    for arguments in [&scenario[..], &["check", config.path()]] {
        let ran = run(arguments).await;
        assert_eq!(ran.code, Some(1));
        assert!(ran.stderr.contains("is UTF-16 text: save it as UTF-8"), "{}", ran.stderr);
    }
}

//! Machine-readable interfaces: JSON on both streams, exit codes, completions.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::support::{BINARY, Configured, Serve, run, soon};

#[tokio::test]
async fn json_failures_are_one_object_with_the_exit_code() {
    let serve = Serve::sandboxed(&["--fault", "hang"]).await;
    let broken = Configured::profile("tokn_ttl = \"1h\"\ngrant_ttl = \"5s\"");
    let gone = "http://127.0.0.1:9";
    for (line, code, expected) in [
        (&["mint", "alice", "--max-wait", "0s", "--server", &serve.server][..], 3, "GRANT_PENDING"),
        (&["mint", "", "--server", &serve.server], 1, "IDENTITY_INVALID"),
        (&["mint", "alice", "--server", gone], 3, "cannot connect"),
        (&["mint"], 2, "IDENTITY"),
        (&["bulk", "--count", "3", "--patience", "0s", "--server", gone], 3, "cannot connect"),
        (&["bulk", "--identities", "/nowhere", "--server", &serve.server], 1, "/nowhere"),
        (&["grants", "--profile", "nobody", "--server", &serve.server], 1, "PROFILE_NOT_FOUND"),
        (&["grants", "--watch", "--server", gone], 3, "cannot connect"),
        (&["inspect", "nonsense"], 1, "not a JWT"),
        (&["check", broken.path()], 1, "tokn_ttl"),
        (&["check", "/nowhere/grantmint.toml"], 1, "/nowhere/grantmint.toml"),
        (&["serve"], 2, "--sandbox"),
        (&["serve", "--config", broken.path()], 1, "tokn_ttl"),
        (&["sandbox", "--listen", "0.0.0.0:0"], 1, "loopback"),
    ] {
        let ran = run(&[line, &["--json"]].concat()).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{line:?}: {}", ran.stderr);
        // A bulk prints a summary before it.
        let last = ran.stderr.lines().next_back().unwrap_or_default();
        let json: Value = serde_json::from_str(last)
            .unwrap_or_else(|error| panic!("{line:?}: {error}: {}", ran.stderr));
        assert_eq!(json["error"]["exit_code"], code, "{line:?}: {json}");
        assert!(json["error"].to_string().contains(expected), "{line:?}: {json}");
    }
}

#[tokio::test]
async fn json_check_lists_problems_by_line() {
    let config = Configured::profile("tokn_ttl = \"1h\"\ngrant_ttl = \"5s\"");
    let ran = run(&["check", "--json", config.path()]).await;
    let json: Value = serde_json::from_str(&ran.stderr).expect("JSON");
    let details = json["error"]["details"].as_array().expect("a list");
    assert!(details.len() >= 2, "{json}");
    for detail in details {
        assert_eq!(detail["place"], config.path());
        assert!(detail["line"].as_u64() > Some(1) && detail["message"].is_string(), "{detail}");
    }
}

#[tokio::test]
async fn sandbox_json_has_addresses_and_credentials() {
    use tokio::io::{AsyncBufReadExt, BufReader};

    let mut sandbox = Command::new(BINARY)
        .args(["sandbox", "--listen", "127.0.0.1:0", "--json"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(sandbox.stdout.take().expect("piped")).lines();
    let line = soon(lines.next_line()).await.expect("read").expect("a line");
    let json: Value = serde_json::from_str(&line).expect("JSON");
    let counters = format!("{}/counters", json["control"].as_str().expect("a URL"));
    assert_eq!(crate::support::get(&counters).await.0, 200);
    for key in ["upstream", "control", "account_sid", "api_key_sid", "api_key_secret"] {
        assert!(json[key].is_string(), "{key}: {json}");
    }
}

#[tokio::test]
async fn unwritable_output_is_a_failure() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    for command in [&["mint", "alice"][..], &["grants"], &["bulk", "--count", "3"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("a full device");
        let ran = Command::new(BINARY)
            .args(command)
            .args(["--server", &serve.server])
            .stdout(full)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let ran = soon(ran.wait_with_output()).await.expect("an exit");
        let stderr = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{command:?}: {stderr}");
        assert!(stderr.contains("cannot write"), "{command:?}: {stderr}");
    }
}

#[tokio::test]
async fn completions_are_valid_shell_scripts() {
    for (shell, tells) in [
        ("bash", "complete -F _grantmint"),
        ("zsh", "#compdef grantmint"),
        ("fish", "complete -c grantmint"),
    ] {
        let ran = run(&["completions", shell]).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{shell}");
        assert!(ran.stdout.contains(tells), "{shell}: {tells}");
        for reported in ["inspect", "--watch", "bulk"] {
            assert!(
                ran.stdout.contains(reported) || ran.stdout.contains(&reported[2..]),
                "{shell}: {reported}"
            );
        }
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &ran.stdout).expect("written");
        // Checked by the shell if it is installed: in all three, -n only parses.
        let read = Command::new(shell).arg("-n").arg(file.path()).output().await;
        let Ok(read) = read else { continue };
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    }
    assert_eq!(run(&["completions", "tcsh"]).await.code, Some(2));
}

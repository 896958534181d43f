//! Environment variables of flags, and addresses in the forms that people use.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, process::Stdio};

use grantmint::rpc::proto::token_service_client::TokenServiceClient;
use tokio::process::Command;
use tonic::transport::Endpoint;

use crate::support::{BINARY, CommandOutput, Serve, mint, run, run_command, soon};

/// Runs a command with one environment variable.
async fn under(variable: &str, value: impl AsRef<OsStr>, arguments: &[&str]) -> CommandOutput {
    let mut command = Command::new(BINARY);
    command.args(arguments).env_clear().env(variable, value);
    command.stdin(Stdio::null()).kill_on_drop(true);
    run_command(command).await
}

#[tokio::test]
async fn empty_variable_counts_as_unset() {
    // Without the variables, each command fails at its flags.
    for variable in ["LISTEN", "ADMIN_LISTEN", "LOG", "LOG_FORMAT", "CONFIG", "SERVER"] {
        let variable = format!("GRANTMINT_{variable}");
        for nothing in ["", " "] {
            let wrong = ["serve", "--sandbox", "--fault", "no-fault"];
            let ran = under(&variable, nothing, &wrong).await;
            assert!(ran.stderr.contains("--fault"), "{variable}: {}", ran.stderr);
            let ran = under(&variable, nothing, &["check"]).await;
            assert!(ran.code == Some(2) && !ran.stderr.contains("''"), "{}", ran.stderr);
            let ran = under(&variable, nothing, &["serve"]).await;
            assert!(ran.stderr.contains("nothing to serve"), "{variable}: {}", ran.stderr);
        }
    }
}

#[tokio::test]
async fn errors_name_the_variable_or_flag_they_come_from() {
    let serve = ["serve", "--sandbox"];
    for (variable, flag, value) in [
        ("GRANTMINT_LISTEN", "--listen", ":50051"),
        ("GRANTMINT_ADMIN_LISTEN", "--admin-listen", ":9464"),
        ("GRANTMINT_LOG", "--log", "a=b=c"),
        ("GRANTMINT_LOG_FORMAT", "--log-format", "xml"),
    ] {
        let ran = under(variable, value, &serve).await;
        assert_eq!(ran.code, Some(2), "{variable}");
        assert!(ran.stderr.contains(&format!("'{variable} (an environment")), "{}", ran.stderr);
        assert!(!ran.stderr.contains(&format!("'{flag} ")), "{}", ran.stderr);
        let given = [&serve[..], &[flag, value]].concat();
        let ran = under(variable, "", &given).await;
        assert!(ran.stderr.contains(&format!("'{flag} ")), "{}", ran.stderr);
    }
    let ran = under("GRANTMINT_LISTEN", "\"127.0.0.1:0\"", &serve).await;
    assert!(ran.stderr.contains("the quotes are part of its value"), "{}", ran.stderr);
    let ran = under("GRANTMINT_SERVER", "http://user:q1W2e3R4@host:1", &["mint", "alice"]).await;
    assert!(ran.stderr.contains("GRANTMINT_SERVER") && !ran.stderr.contains("q1W2e3R4"));
    let ran = under("GRANTMINT_SERVER", "http://user:q1W2e3R4@host:1", &["mint", "--help"]).await;
    assert!(ran.stdout.contains("GRANTMINT_SERVER") && !ran.stdout.contains("q1W2e3R4"));
    let ran = under("GRANTMINT_SERVER", "host:1?token=q1W2e3R4", &["grants"]).await;
    assert!(ran.stderr.contains("host:1…") && !ran.stderr.contains("q1W2e3R4"), "{}", ran.stderr);
    let no_text = OsStr::from_bytes(b"\xff");
    let ran = under("GRANTMINT_LISTEN", no_text, &serve).await;
    assert!(ran.stderr.contains("GRANTMINT_LISTEN is not UTF-8"), "{}", ran.stderr);
    // A flag takes precedence over its variable, whatever the variable contains.
    let both = ["mint", "alice", "--server", "127.0.0.1:1"];
    let ran = under("GRANTMINT_SERVER", "http://host/path", &both).await;
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
}

#[tokio::test]
async fn localhost_is_served_on_ipv4_and_ipv6() {
    let arguments = ["--sandbox", "--listen", "localhost:0"];
    let serve = Serve::start(&arguments).await;
    let address = serve.server.strip_prefix("http://").expect("a URL");
    let port = address.rsplit_once(':').expect("a port").1;
    serve.first_token().await;
    for host in ["localhost", "127.0.0.1", "dns:///localhost"] {
        let ran = run(&["mint", "alice", "--server", &format!("{host}:{port}")]).await;
        assert_eq!(ran.code, Some(0), "{host}: {}", ran.stderr);
    }
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        let server = format!("http://[::1]:{port}");
        let endpoint = Endpoint::from_shared(server).expect("a URL");
        let channel = soon(endpoint.connect()).await.expect("a connection");
        let mut tokens = TokenServiceClient::new(channel);
        soon(tokens.mint_token(mint("alice", None))).await.expect("a token");
    }
}

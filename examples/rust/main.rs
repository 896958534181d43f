//! Mints a token, then many, prints why a bad request is refused, and sets what a token says.
//!
//! ```text
//! cargo run --example rust 127.0.0.1:50051 1000 room-1
//! ```
//!
//! The server may be a Unix socket, such as `unix:/run/grantmint/api.sock`.
//!
//! With `GRANTMINT_CA`, `GRANTMINT_CERT` and `GRANTMINT_KEY` in the environment, files in PEM
//! form, it connects over TLS and presents that certificate. With `GRANTMINT_TOKEN_FILE` it sends
//! the bearer token in that file.

#![expect(clippy::print_stdout, reason = "tokens are its output")]

use std::{env, error::Error, path::PathBuf, process::ExitCode};

use grantmint_client::{BuildError, Client, Error as CallError, Identities, Options};

/// One client for the life of the process: clones of it share the connection.
fn connect(server: &str) -> Result<Client, BuildError> {
    let file = |name| env::var_os(name).map(PathBuf::from);
    let builder = match file("GRANTMINT_CA") {
        Some(ca) if !server.starts_with("unix:") => {
            Client::builder(format!("https://{server}")).ca_file(ca)
        }
        _ => Client::builder(server),
    };
    let builder = match file("GRANTMINT_CERT").zip(file("GRANTMINT_KEY")) {
        Some((cert, key)) => builder.certificate_files(cert, key),
        None => builder,
    };
    match file("GRANTMINT_TOKEN_FILE") {
        Some(token) => builder.token_file(token).build(),
        None => builder.build(),
    }
}

async fn run(client: &Client, count: usize, room: Option<&str>) -> Result<(), CallError> {
    // Retried while that may help, up to the client's deadline.
    let token = client.mint("alice", &Options::new()).await?;
    println!("alice {}", token.secret());

    // Resumes at the next index after a failure.
    let mut bulk = client
        .bulk(Identities::series("viewer-", count), &Options::new())
        .on_resume(|index, error, _| eprintln!("resuming at {index} after {}", explain(error)));
    while let Some(chunk) = bulk.next().await? {
        for (index, token) in (chunk.first_index..).zip(&chunk.tokens) {
            println!("viewer-{index} {token}");
        }
    }

    if let Err(error) = client.mint("", &Options::new()).await {
        println!("{}", explain(&error));
    }

    if let Some(room) = room {
        let options = Options::new()
            .profile("room")
            .resource(room)
            .param("name", "Alice")
            .param("can_publish", false);
        println!("alice {}", client.mint("alice", &options).await?.secret());
    }
    Ok(())
}

/// Its reason and message, every bad field, and when to retry.
fn explain(error: &CallError) -> String {
    let reason = error.reason().map_or_else(|| format!("{:?}", error.code()), str::to_owned);
    let mut lines = vec![format!("{reason}: {}", error.status().message())];
    for bad in error.field_violations() {
        lines.push(format!("{}: {}", bad.field, bad.description));
    }
    if let Some(delay) = error.retry_after() {
        lines.push(format!("retry in {:.1} s", delay.as_secs_f64()));
    }
    lines.join("; ")
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [server, count, room @ ..] = &arguments[..] else {
        return Err("usage: rust SERVER COUNT [ROOM]".into());
    };
    let client = match connect(server) {
        Ok(client) => client,
        Err(error) => {
            eprintln!("{error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    if let Err(error) = run(&client, count.parse()?, room.first().map(String::as_str)).await {
        eprintln!("{}", explain(&error));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

//! `grantmint inspect`: what a token says, and what of it dies first.

mod decode;
mod moment;
mod report;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    io::{self, Read, Write},
};

use anyhow::{Context, Result, anyhow};
use grantmint::clock::Clock;

use self::{decode::decode, report::Report};

/// Bytes read from standard input at the most: no token is nearly as long.
const MOST_BYTES: u64 = 1024 * 1024;

/// Decode a token and say what of it dies first, and when. Its signature is not verified.
#[derive(clap::Args)]
pub(crate) struct InspectCommand {
    /// The token; - reads it from standard input, where other users' `ps` does not see it
    #[arg(value_name = "TOKEN|-")]
    token: String,

    /// Show the playback URL too: whoever has it can play until it ends
    #[arg(long)]
    show_grant: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl fmt::Debug for InspectCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InspectCommand").finish_non_exhaustive()
    }
}

/// Prints what there is to tell. It fails where the token is no JWT.
pub(crate) fn run(command: &InspectCommand) -> Result<()> {
    let token = if command.token == "-" { read_stdin()? } else { command.token.clone() };
    let token = decode(&token).map_err(|reason| {
        anyhow!(
            "this is no token: {reason}. Give all of one, as `grantmint mint` prints it, or - to \
             read it from standard input"
        )
    })?;
    let now = Clock::system().now().wall.unix_seconds();
    let report = Report::new(&token, now, command.show_grant);

    let mut out = io::stdout().lock();
    if command.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(())
}

fn read_stdin() -> Result<String> {
    let mut bytes = Vec::new();
    io::stdin().take(MOST_BYTES).read_to_end(&mut bytes).context("cannot read standard input")?;
    // What is no UTF-8 is no base64url either, and told as that.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

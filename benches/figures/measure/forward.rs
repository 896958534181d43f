//! Single calls of a profile whose tokens are its grant, compared with the stock echo.

use anyhow::{Result, anyhow};
use grantmint::provider::KINDS;

use super::{Programs, Size, calls::Calls};
use crate::{
    baseline::Baseline,
    configuration::Configuration,
    load::Connection,
    process::Cores,
    report::{Goal, Report, ratios},
};

const FIGURE: &str = "forward_MintToken_vs_echo";

const KIND: &str = "forward";

const PROFILE: &str = r#"
[profiles.speech]
kind = "forward"
preset = "deepgram"
api_key_env = "API_KEY"
shareable = true
"#;

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    if !KINDS.iter().any(|kind| kind.name() == KIND) {
        report.skip(FIGURE.to_owned(), &anyhow!("no kind {KIND}"));
        return Ok(());
    }
    let one = cores.of_server();
    let configuration = Configuration::new(PROFILE.to_owned())?;
    let server = programs.serve_configured(&configuration, &one, cores)?;
    let answer = Connection::open(server.addr).await?.mint().await?.split_off(5).len();
    // Its bulk is not used.
    let stock = Baseline::Stock { answer, chunk: answer, tokens: 1 };
    let stock = programs.baseline(&stock, &one, cores)?;

    let (mut ours, mut echoes) = (Calls::default(), Calls::default());
    for _ in 0..size.rounds {
        ours.measure(&server, size.unary).await?;
        echoes.measure(&stock, size.unary).await?;
    }
    ours.report("forward MintToken", report);
    echoes.report("echo of its size", report);
    report.figure(FIGURE, Goal::AtLeast(1.5), &ratios(&ours.rate, &echoes.rate));
    Ok(())
}

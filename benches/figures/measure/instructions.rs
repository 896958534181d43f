//! Instructions a mint, as valgrind counts them: a noisy machine does not change them.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::value::RawValue;

use super::{Programs, Sample, Size};
use crate::{
    live::Mints,
    process::Cores,
    report::{Goal, Report, ratios},
};

/// Of each grant, all within one second of its clock.
const TOKENS_A_GRANT: u32 = 10;

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let grants = size.counted_grants;
    let grant = Sample::of(&programs.serve(cores, cores)?).await?.grant;
    let tokens = grants * TOKENS_A_GRANT;
    let counted = [1, grants].map(|grants| a_mint(programs, &grant, grants, tokens));
    match counted.into_iter().collect::<Result<Vec<_>>>().as_deref() {
        Ok([one, many]) => {
            report.series("a whole mint, one live grant", "instructions", &[*one]);
            report.series("a whole mint, many live grants", "instructions", &[*many]);
            let name = "mint_with_many_grants_vs_one_by_instructions";
            report.figure(name, Goal::AtMost(1.5), &ratios(&[*many], &[*one]));
        }
        Ok(_) => {}
        Err(why) => report.skip("instructions a mint".to_owned(), why),
    }
    Ok(())
}

/// Instructions a mint of these, less what it takes to start and to publish.
fn a_mint(programs: &Programs, grant: &RawValue, grants: u32, tokens: u32) -> Result<f64> {
    let count = |tokens| counted(programs, &Mints { grant: grant.to_owned(), grants, tokens });
    Ok((count(tokens)? - count(0)?) / f64::from(tokens))
}

/// Instructions of a process that mints these.
fn counted(programs: &Programs, mints: &Mints) -> Result<f64> {
    let mut valgrind = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(&programs.itself)
        .arg("--mints")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("valgrind is needed")?;
    let mut input = valgrind.stdin.take().context("no standard input")?;
    input.write_all(serde_json::to_string(mints)?.as_bytes())?;
    drop(input);
    let ended = valgrind.wait_with_output()?;
    ensure!(ended.status.success(), "valgrind cannot run the mints: {}", ended.status);
    let told = String::from_utf8_lossy(&ended.stderr);
    let collected = told.split("Collected :").nth(1).context("valgrind tells no count")?;
    Ok(collected.split_whitespace().next().context("no count")?.parse()?)
}

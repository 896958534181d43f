//! Instructions per mint, counted by valgrind and therefore independent of the machine's load.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::value::RawValue;

use super::{Programs, Sample, Size};
use crate::{
    livekit::Rooms,
    mints::{Kind, Mints},
    process::Cores,
    report::{Goal, Report, ratios},
};

/// Tokens of each grant, all within one second of its clock.
const TOKENS_A_GRANT: u32 = 10;

/// Enough that work per second or per chunk hardly counts.
const GUARDED_TOKENS: u32 = 10_000;

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let grants = size.counted_grants;
    let grant = Sample::of(&programs.serve(cores, cores)?).await?.grant;
    let tokens = grants * TOKENS_A_GRANT;
    let counted = [1, grants]
        .map(|grants| a_token(programs, &grant, Kind::TwilioLive(grants), false, tokens));
    match counted.into_iter().collect::<Result<Vec<_>>>().as_deref() {
        Ok([one, many]) => {
            report.series("a whole mint, one live grant", "instructions", &[*one]);
            report.series("a whole mint, many live grants", "instructions", &[*many]);
            let name = "mint_with_many_grants_vs_one_by_instructions";
            report.figure(name, Goal::AtMost(1.5), &ratios(&[*many], &[*one]));
        }
        Ok(_) => {}
        Err(reason) => report.skip("instructions a mint".to_owned(), reason),
    }
    Ok(())
}

/// LiveKit's tokens compared with Twilio Live's, and many rooms compared with one.
pub(super) fn livekit(programs: &Programs, report: &mut Report) -> Result<()> {
    let grant: Box<RawValue> = serde_json::from_str(GRANT)?;
    let counted = [
        (Kind::TwilioLive(1), false),
        (Kind::LiveKit(Rooms::OF_A_PATTERN), false),
        (Kind::LiveKit(Rooms::OF_A_PATTERN), true),
        (Kind::LiveKit(Rooms::ONE_OF_THEM), false),
        (Kind::LiveKit(Rooms::LISTED), false),
    ]
    .map(|(kind, bulk)| a_token(programs, &grant, kind, bulk, GUARDED_TOKENS));
    match counted.into_iter().collect::<Result<Vec<_>>>().as_deref() {
        Ok([twilio, mint, bulk, one, many]) => {
            for (name, instructions) in [
                ("a whole mint, twilio-live", twilio),
                ("a whole mint, livekit", mint),
                ("a token of a bulk, livekit", bulk),
                ("a whole mint, one listed room", one),
                ("a whole mint, 10,000 listed rooms", many),
            ] {
                report.series(name, "instructions", &[*instructions]);
            }
            let name = "livekit_mint_vs_twilio_live_by_instructions";
            report.figure(name, Goal::AtMost(1.1), &ratios(&[*mint], &[*twilio]));
            let name = "livekit_10000_rooms_vs_one";
            report.figure(name, Goal::AtMost(1.05), &ratios(&[*many], &[*one]));
        }
        Ok(_) => {}
        Err(reason) => report.skip("instructions of livekit's tokens".to_owned(), reason),
    }
    Ok(())
}

/// Instructions per token, without those of the process itself.
fn a_token(
    programs: &Programs,
    grant: &RawValue,
    kind: Kind,
    bulk: bool,
    tokens: u32,
) -> Result<f64> {
    let mints = |tokens| Mints { kind, grant: grant.to_owned(), tokens, bulk };
    let count = |tokens| counted(programs, &mints(tokens));
    Ok((count(tokens)? - count(0)?) / f64::from(tokens))
}

/// The compiler of the stated numbers.
const COMPILER: &str = "rustc 1.95.";

/// Instructions per token on x86-64 without SHA extensions, which valgrind does not support.
const STATED: [(&str, Kind, bool, f64); 4] = [
    ("a whole mint", Kind::TwilioLive(1), false, 14_650.0),
    ("a token of a bulk", Kind::TwilioLive(1), true, 11_700.0),
    ("a whole mint of livekit", Kind::LiveKit(Rooms::OF_A_PATTERN), false, 16_150.0),
    ("a token of a bulk of livekit", Kind::LiveKit(Rooms::OF_A_PATTERN), true, 11_600.0),
];

/// The allowed excess over the stated number. If glibc cannot use AVX for copies, the excess is 1.4
/// %; allocating and copying a token once more costs 6 %.
const TOLERANCE: f64 = 0.03;

/// A constant grant like the upstream's.
const GRANT: &str = include_str!("grant.json");

/// Fails if a token takes more instructions than stated.
pub(crate) fn guard(programs: &Programs) -> Result<()> {
    let grant: Box<RawValue> = serde_json::from_str(GRANT)?;
    let mut kept = true;
    for (name, kind, bulk, stated) in STATED {
        let counted = a_token(programs, &grant, kind, bulk, GUARDED_TOKENS)?;
        let most = stated * (1.0 + TOLERANCE);
        println!("{name}: {counted:.0} instructions; stated {stated:.0}, at most {most:.0}");
        kept &= counted <= most;
    }
    let compiler = Command::new("rustc").arg("--version").output().context("no rustc")?.stdout;
    if cfg!(target_arch = "x86_64") && compiler.starts_with(COMPILER.as_bytes()) {
        ensure!(kept, "a token takes more instructions than is stated in {}", file!());
    } else {
        println!("stated is what {COMPILER}x makes for x86-64, so nothing fails here");
    }
    Ok(())
}

/// Instructions of a process that mints these tokens.
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
    let sent = input.write_all(serde_json::to_string(mints)?.as_bytes());
    drop(input);
    let ended = valgrind.wait_with_output()?;
    let told = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "valgrind cannot run the mints, {}: {told}", ended.status);
    sent?;
    let collected = told.split("Collected :").nth(1).context("valgrind tells no count")?;
    Ok(collected.split_whitespace().next().context("no count")?.parse()?)
}

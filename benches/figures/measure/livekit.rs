//! Tokens made with a key alone, with a room and a name from the call.

use anyhow::Result;

use super::{Programs, Size, instructions};
use crate::{
    livekit::comparison::Comparison,
    report::{Goal, Report, ratios},
};

pub(super) fn run(programs: &Programs, size: Size, report: &mut Report) -> Result<()> {
    instructions::livekit(programs, report)?;
    let comparison = Comparison::new()?;
    let (mut mint, mut encode) = (Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        mint.push(comparison.mint());
        encode.push(comparison.encode());
    }
    report.series("livekit mint in process", "ns", &mint);
    report.series("jsonwebtoken of its claims", "ns", &encode);
    report.figure("livekit_mint_vs_jsonwebtoken", Goal::AtLeast(8.0), &ratios(&encode, &mint));
    Ok(())
}

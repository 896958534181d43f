//! `make bench`: every documented figure for speed and size, as ratios within one run.
//!
//! Alternatives are measured alternately, in rounds, so that other load on the machine affects
//! both; the median of the rounds' ratios counts. Servers are child processes on one core, the load
//! comes from another.

#![expect(
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "figures for people, on standard output"
)]

mod baseline;
mod configuration;
mod live;
mod livekit;
mod load;
mod measure;
mod mint;
mod mints;
mod peer;
mod process;
mod report;
mod secure;
mod signing;

use std::{env, io, path::PathBuf};

use anyhow::Result;
use clap::{Parser, ValueEnum};

use self::{baseline::Baseline, measure::Part, mints::Mints, process::Cores, report::Report};

/// Measures the documented figures.
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
#[derive(Debug, Parser)]
struct Arguments {
    /// Run fewer and shorter rounds
    #[arg(long)]
    quick: bool,
    /// Write JSON instead of lines
    #[arg(long)]
    json: bool,
    /// Measure only these parts
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// Count the instructions of a token instead, and fail if they exceed the stated number
    #[arg(long)]
    guard: bool,
    /// The command to measure; default: the one built with the bench
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_grantmint"))]
    command: PathBuf,
    /// The static command of the image; left out: the part `image` is skipped
    #[arg(long = "static", value_name = "FILE")]
    static_command: Option<PathBuf>,
    /// Serve the baseline described on standard input; used by the bench itself
    #[arg(long, hide = true)]
    baseline: bool,
    /// Mint as described on standard input; used by the bench itself to count instructions
    #[arg(long, hide = true)]
    mints: bool,
    /// Passed by `cargo bench` to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    if arguments.baseline {
        // Not an argument: it may contain a grant, and arguments are visible to other users.
        let baseline: Baseline = serde_json::from_str(&io::read_to_string(io::stdin())?)?;
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        return runtime.enable_all().build()?.block_on(baseline.serve());
    }
    if arguments.mints {
        let mints: Mints = serde_json::from_str(&io::read_to_string(io::stdin())?)?;
        let runtime = runtime.enable_all().start_paused(true).build()?;
        return runtime.block_on(async { mints.make() });
    }
    let cores = Cores::all()?;
    cores.of_clients().bind()?;
    let programs = measure::Programs {
        grantmint: arguments.command,
        image: arguments.static_command,
        itself: env::current_exe()?,
    };
    if arguments.guard {
        return measure::instructions::guard(&programs);
    }
    let size = if arguments.quick { measure::QUICK } else { measure::FULL };
    let mut report = Report::default();
    let parts = match &arguments.only[..] {
        [] => Part::value_variants(),
        only => only,
    };
    let runtime = runtime.enable_all().build()?;
    for part in parts {
        runtime.block_on(part.measure(&programs, &cores, size, &mut report))?;
    }
    report.print(&cores, arguments.json);
    Ok(())
}

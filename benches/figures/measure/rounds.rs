//! Alternating measurements: signing, single calls, bulk, and a bulk into a file.

use std::{
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, anyhow, ensure};
use tokio::time::Instant;

use super::{Programs, Sample, Size, calls::Calls, memory_dir};
use crate::{
    baseline::Baseline,
    load,
    mint::Comparison,
    process::{Cores, Server, cpu_seconds_of_ended},
    report::{Goal, Report, ratios},
};

/// Tokens of the bulk into a file.
const TO_A_FILE: u32 = 1_000_000;

/// One server's bulk by round.
#[derive(Default)]
struct Bulk {
    rate: Vec<f64>,
    cpu_nanos: Vec<f64>,
}

impl Bulk {
    async fn measure(&mut self, server: &Server, tokens: u32, least: usize) -> Result<()> {
        let before = server.cpu_seconds()?;
        let load = load::bulk(server.addr, tokens).await?;
        let cpu = server.cpu_seconds()? - before;
        ensure!(load.bytes >= tokens as usize * least, "a bulk was short: {} bytes", load.bytes);
        self.rate.push(f64::from(tokens) / load.seconds);
        self.cpu_nanos.push(cpu / f64::from(tokens) * 1e9);
        Ok(())
    }
}

/// `grantmint bulk` into a file, by round.
#[derive(Default)]
struct ToFile {
    rate: Vec<f64>,
    server_cpu: Vec<f64>,
    client_cpu: Vec<f64>,
}

impl ToFile {
    /// Server and client share two cores.
    fn measure(&mut self, programs: &Programs, server: &Server, cores: &Cores) -> Result<()> {
        let file = memory_dir().join(format!("grantmint-bench-{}.txt", std::process::id()));
        let before = (server.cpu_seconds()?, cpu_seconds_of_ended()?);
        cores.two().bind()?;
        let start = Instant::now();
        let status = Command::new(&programs.grantmint)
            .args(["bulk", "--count", &TO_A_FILE.to_string(), "--server"])
            .arg(format!("http://{}", server.addr))
            .arg("-o")
            .arg(&file)
            .stderr(Stdio::null())
            .status();
        let seconds = start.elapsed().as_secs_f64();
        cores.of_clients().bind()?;
        let written = fs::metadata(&file).map_or(0, |file| file.len());
        let _ = fs::remove_file(&file);
        ensure!(status.context("cannot run the bulk")?.success(), "the bulk failed");
        ensure!(written > u64::from(TO_A_FILE) * 1_000, "the bulk was short: {written} bytes");
        let count = f64::from(TO_A_FILE);
        self.rate.push(count / seconds);
        self.server_cpu.push((server.cpu_seconds()? - before.0) / count * 1e9);
        self.client_cpu.push((cpu_seconds_of_ended()? - before.1) / count * 1e9);
        Ok(())
    }
}

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let one = cores.of_server();
    let grantmint = programs.serve(&one, cores)?;
    let sample = Sample::of(&grantmint).await?;
    let stock = programs.baseline(&sample.stock(), &one, cores)?;
    let Sample { chunk, tokens, grant, .. } = sample;
    let comparison = Comparison::new(&grant)?;
    let signing = programs.baseline(&Baseline::Jsonwebtoken { grant, tokens }, &one, cores)?;
    let free = programs.serve(&cores.two(), cores)?;

    let (mut mint, mut encode) = (Vec::new(), Vec::new());
    let (mut ours, mut echoes, mut spread) = (Calls::default(), Calls::default(), Calls::default());
    let (mut bulk, mut constants, mut signed) = (Bulk::default(), Bulk::default(), Bulk::default());
    let mut file = ToFile::default();
    let least = chunk / tokens - 1;
    for _ in 0..size.rounds {
        mint.push(comparison.mint());
        encode.push(comparison.encode());
        ours.measure(&grantmint, size.unary).await?;
        echoes.measure(&stock, size.unary).await?;
        spread.measure(&free, size.unary).await?;
        bulk.measure(&grantmint, size.bulk, least).await?;
        constants.measure(&stock, size.bulk, least).await?;
        signed.measure(&signing, size.signed, least * 9 / 10).await?;
        file.measure(programs, &free, cores)?;
    }

    report.series("mint in process", "ns", &mint);
    report.series("jsonwebtoken in process", "ns", &encode);
    for (calls, what) in
        [(&ours, "MintToken"), (&echoes, "echo"), (&spread, "MintToken on two cores:")]
    {
        calls.report(what, report);
    }
    for (bulk, [rate, cpu]) in [
        (&bulk, ["MintTokens tokens", "MintTokens server CPU"]),
        (&constants, ["constant bytes tokens", "constant bytes server CPU"]),
        (&signed, ["jsonwebtoken server tokens", "jsonwebtoken server CPU"]),
    ] {
        report.series(rate, "a second", &bulk.rate);
        report.series(cpu, "ns a token", &bulk.cpu_nanos);
    }
    report.series("bulk to a file tokens", "a second", &file.rate);
    report.series("bulk to a file server CPU", "ns a token", &file.server_cpu);
    report.series("bulk to a file client CPU", "ns a token", &file.client_cpu);

    report.figure("mint_vs_jsonwebtoken", Goal::AtLeast(9.0), &ratios(&encode, &mint));
    let encoded: Vec<f64> = encode.iter().map(|nanos| 1e9 / nanos).collect();
    let to_file = ratios(&file.rate, &encoded);
    report.figure("bulk_to_file_vs_jsonwebtoken_loop", Goal::AtLeast(2.0), &to_file);
    // The same when other programs use the cores: what both would do alone.
    let both: Vec<f64> =
        file.server_cpu.iter().zip(&file.client_cpu).map(|(of, and)| (of + and) / 2.0).collect();
    report.figure("bulk_to_file_by_cpu", Goal::AtLeast(2.0), &ratios(&encode, &both));
    report.figure("unary_vs_echo", Goal::AtLeast(0.95), &ratios(&ours.rate, &echoes.rate));
    let unary_cpu = ratios(&ours.cpu_micros, &echoes.cpu_micros);
    report.figure("unary_cpu_vs_echo", Goal::AtMost(1.06), &unary_cpu);
    if cores.count() > 1 {
        // The clients use a part of the two cores, so this compares the cost of a call on both.
        let scaling = ratios(&ours.cpu_micros, &spread.cpu_micros);
        let scaling: Vec<f64> = scaling.iter().map(|share| 2.0 * share).collect();
        report.figure("unary_two_cores_vs_one_by_cpu", Goal::AtLeast(1.8), &scaling);
    } else {
        report.skip("two cores".to_owned(), &anyhow!("there is one core"));
    }
    let above: Vec<f64> =
        bulk.cpu_nanos.iter().zip(&constants.cpu_nanos).map(|(ours, limit)| ours - limit).collect();
    report.figure("bulk_cpu_above_constant_vs_mint", Goal::AtMost(1.5), &ratios(&above, &mint));
    report.figure("bulk_vs_constant", Goal::AtLeast(0.55), &ratios(&bulk.rate, &constants.rate));
    let by_cpu = ratios(&constants.cpu_nanos, &bulk.cpu_nanos);
    report.figure("bulk_vs_constant_by_cpu", Goal::AtLeast(0.55), &by_cpu);
    // The share of what constant bytes reach.
    let of_signed = ratios(&bulk.rate, &signed.rate);
    let most = ratios(&constants.rate, &signed.rate);
    report.series("MintTokens ÷ jsonwebtoken server", "ratio", &of_signed);
    report.series("constant bytes ÷ jsonwebtoken server", "ratio", &most);
    let share = ratios(&of_signed, &most);
    report.figure("bulk_vs_jsonwebtoken_server_share", Goal::AtLeast(0.6), &share);
    Ok(())
}

//! The cost of recording every token.

use std::fs;

use anyhow::Result;
use tempfile::TempDir;

use super::{Programs, Size, calls::Calls, memory_dir};
use crate::{
    load,
    process::Cores,
    report::{Goal, Report, ratios},
};

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    // In memory, since a disk would dominate the measurement.
    let dir = TempDir::new_in(memory_dir())?;
    let file = dir.path().join("audit.jsonl");
    let audit =
        format!("[audit]\nfile = \"{}\"\nidentity_key_env = \"AUDIT_KEY\"\n", file.display());
    let off = programs.serve_demo("", cores)?;
    let on = programs.serve_demo(&audit, cores)?;
    let (mut off_calls, mut on_calls) = (Calls::default(), Calls::default());
    let (mut off_series, mut on_series) = (Vec::new(), Vec::new());
    let (mut off_lists, mut on_lists) = (Vec::new(), Vec::new());
    let tokens = f64::from(size.bulk);
    for _ in 0..size.rounds {
        off_calls.measure(&off, size.unary).await?;
        on_calls.measure(&on, size.unary).await?;
        for (server, series, lists) in
            [(&off, &mut off_series, &mut off_lists), (&on, &mut on_series, &mut on_lists)]
        {
            series.push(tokens / load::bulk(server.addr, size.bulk).await?.seconds);
            lists.push(tokens / load::lists(server.addr, size.bulk).await?.seconds);
        }
        // The server continues at the start of the file.
        fs::File::options().write(true).truncate(true).open(&file)?;
    }
    off_calls.report("unrecorded", report);
    on_calls.report("recorded", report);
    for (what, rates) in [
        ("unrecorded series' tokens", &off_series),
        ("recorded series' tokens", &on_series),
        ("unrecorded lists' tokens", &off_lists),
        ("recorded lists' tokens", &on_lists),
    ] {
        report.series(what, "a second", rates);
    }
    for (name, least, recorded, unrecorded) in [
        ("audit_calls_vs_none", 0.8, &on_calls.rate, &off_calls.rate),
        ("audit_series_vs_none", 0.8, &on_series, &off_series),
        ("audit_hashed_lists_vs_none", 0.65, &on_lists, &off_lists),
    ] {
        report.figure(name, Goal::AtLeast(least), &ratios(recorded, unrecorded));
    }
    Ok(())
}

//! The image: its size, the time to its first token, and a static binary beside a dynamic one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow};
use openssl_probe::ProbeResult;
use tempfile::TempDir;
use tokio::time::Instant;

use super::{Programs, Size, alone::MEGABYTE, calls::Calls, serving};
use crate::{
    load::Connection,
    process::{Cores, Server},
    report::{Goal, Report, ratios},
};

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let Some(binary) = &programs.image else {
        report.skip("image".to_owned(), &anyhow!("no --static FILE"));
        return Ok(());
    };
    let image = Image::of(binary)?;
    let bytes = image.bytes()? as f64;
    report.series("the image's files", "MB", &[bytes / MEGABYTE]);
    report.figure("image_mb", Goal::AtMost(20.0), &[bytes / MEGABYTE]);

    let mut milliseconds = Vec::new();
    for _ in 0..size.starts {
        let start = Instant::now();
        let server = image.serve(cores, cores)?;
        Connection::open(server.addr).await?.mint().await?;
        milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
    }
    report.series("start to first token in the image", "ms", &milliseconds);
    report.figure("image_start_to_first_token_ms", Goal::AtMost(200.0), &milliseconds);

    let own = cores.of_server();
    let linked = [image.serve(&own, cores)?, programs.serve(&own, cores)?];
    let mut calls = [Calls::default(), Calls::default()];
    for _ in 0..size.rounds {
        for (server, calls) in linked.iter().zip(&mut calls) {
            calls.measure(server, size.unary).await?;
        }
    }
    let [of_static, of_dynamic] = calls;
    for (calls, what) in [(&of_static, "static"), (&of_dynamic, "dynamic")] {
        calls.report(&format!("{what} binary"), report);
    }
    let ratio = ratios(&of_static.rate, &of_dynamic.rate);
    report.figure("static_calls_vs_dynamic", Goal::AtLeast(0.97), &ratio);
    Ok(())
}

/// The image's files, in a directory of their own.
struct Image(TempDir);

impl Image {
    /// The Dockerfile's last stage, with this binary and this system's roots.
    fn of(binary: &Path) -> Result<Self> {
        let image = Self(TempDir::new()?);
        let copied = fs::copy(binary, image.file("grantmint"));
        copied.with_context(|| format!("cannot copy {}", binary.display()))?;
        let ProbeResult { cert_file, .. } = openssl_probe::probe();
        let roots = cert_file.context("this system has no roots")?;
        let certificates = image.file("etc/ssl/certs");
        fs::create_dir_all(&certificates)?;
        fs::copy(roots, certificates.join("ca-certificates.crt"))?;
        Ok(image)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn bytes(&self) -> Result<u64> {
        let files = ["grantmint", "etc/ssl/certs/ca-certificates.crt"];
        let sizes = files.map(|name| fs::metadata(self.file(name)).map(|file| file.len()));
        Ok(sizes.into_iter().sum::<Result<u64, _>>()?)
    }

    fn serve(&self, on: &Cores, all: &Cores) -> Result<Server> {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--root"]).arg(self.0.path()).arg("/grantmint");
        Server::start(serving(command), "", on, all)
    }
}

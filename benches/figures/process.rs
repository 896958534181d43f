//! Servers as child processes pinned to cores, and their resource usage.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that this process may use.
#[derive(Clone)]
pub(crate) struct Cores(Vec<usize>);

impl Cores {
    /// All available cores.
    pub(crate) fn all() -> Result<Self> {
        let set = sched_getaffinity(None).context("cannot ask for the cores")?;
        Ok(Self((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()))
    }

    /// Their number.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The core of a measured server.
    pub(crate) fn of_server(&self) -> Self {
        Self(self.0[..1].to_vec())
    }

    /// Two cores for a server, if there are two.
    pub(crate) fn two(&self) -> Self {
        Self(self.0[..self.0.len().min(2)].to_vec())
    }

    /// The core of the load, different from the servers' if there are enough.
    pub(crate) fn of_clients(&self) -> Self {
        Self(self.0[self.0.len().min(3) - 1..][..1].to_vec())
    }

    /// Pins this thread, and everything that it starts from now on, to these cores.
    pub(crate) fn bind(&self) -> Result<()> {
        let mut set = CpuSet::new();
        self.0.iter().for_each(|core| set.set(*core));
        sched_setaffinity(None, &set).context("cannot choose the cores")
    }
}

/// A child process, killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running server, killed when dropped.
pub(crate) struct Server {
    running: Running,
    /// Its address.
    pub(crate) addr: SocketAddr,
    /// The URL of its admin listener, if it has one.
    pub(crate) admin: Option<String>,
}

impl Server {
    /// Starts a program that reads `input` and prints its addresses as a line of JSON, on these
    /// cores; this thread returns to the clients' core afterward.
    pub(crate) fn start(
        mut command: Command,
        input: &str,
        on: &Cores,
        all: &Cores,
    ) -> Result<Self> {
        on.bind()?;
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        all.of_clients().bind()?;
        let program = command.get_program().display();
        let mut running = Running(child.with_context(|| format!("cannot start {program}"))?);
        let mut stdin = running.0.stdin.take().context("no standard input")?;
        stdin.write_all(input.as_bytes()).with_context(|| format!("{program} does not read"))?;
        drop(stdin);
        let stdout = running.0.stdout.take().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let told: serde_json::Value =
            serde_json::from_str(&line).with_context(|| format!("no addresses: {line:?}"))?;
        let url = told["server"].as_str().context("no server's address")?;
        let addr = url.rsplit('/').next().unwrap_or(url).parse()?;
        let admin = told["admin"].as_str().map(str::to_owned);
        Ok(Self { running, addr, admin })
    }

    /// Seconds of processor time so far, in user and kernel mode.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds(self.running.0.id())
    }

    /// The same in whole ticks, including threads that have ended.
    pub(crate) fn cpu_seconds_with_ended(&self) -> Result<f64> {
        cpu_ticks(self.running.0.id())
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Result<f64> {
        resident(self.running.0.id())
    }
}

/// A process's resident memory in bytes.
pub(crate) fn resident(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmRSS")?;
    Ok(kilobytes.parse::<f64>()? * 1024.0)
}

/// The scheduler's account in nanoseconds if available, else the one in ticks.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let mut seconds = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(account) = fs::read_to_string(thread?.path().join("sched")) else {
            return cpu_ticks(pid);
        };
        let line = account.lines().find(|line| line.starts_with("se.sum_exec_runtime"));
        let value = line.and_then(|line| line.rsplit(':').next()).context("no run time")?;
        seconds += value.trim().parse::<f64>()? / 1e3;
    }
    Ok(seconds)
}

fn cpu_ticks(pid: u32) -> Result<f64> {
    let ticks = stat_fields(&format!("/proc/{pid}/stat"), 11)?;
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}

/// Processor seconds of finished children.
pub(crate) fn cpu_seconds_of_ended() -> Result<f64> {
    Ok(stat_fields("/proc/self/stat", 13)? / rustix::param::clock_ticks_per_second() as f64)
}

/// The sum of two adjacent fields, counted after the name, which may contain anything.
fn stat_fields(file: &str, first: usize) -> Result<f64> {
    let stat = fs::read_to_string(file)?;
    let (_, fields) = stat.rsplit_once(')').context("a malformed stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    ensure!(fields.len() > first + 1, "a short stat");
    Ok(fields[first].parse::<f64>()? + fields[first + 1].parse::<f64>()?)
}

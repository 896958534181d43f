//! The results as text and as JSON.

use std::fs;

use serde_json::{Value, json};

use crate::process::Cores;

/// The goal of a ratio.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn holds(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(goal) => ratio >= goal,
            Self::AtMost(goal) => ratio <= goal,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(goal) => format!(">={goal}"),
            Self::AtMost(goal) => format!("<={goal}"),
        }
    }
}

/// A ratio with a goal.
struct Figure {
    name: String,
    value: f64,
    goal: Goal,
}

/// A quantity measured once per round.
struct Series {
    name: String,
    unit: &'static str,
    values: Vec<f64>,
}

/// A figure that could not be measured, and why.
struct Skipped {
    name: String,
    reason: String,
}

/// The results of a run.
#[derive(Default)]
pub(crate) struct Report {
    figures: Vec<Figure>,
    series: Vec<Series>,
    skipped: Vec<Skipped>,
}

/// On a quiet machine, a baseline varies less than this between rounds.
const QUIET: f64 = 0.15;

impl Report {
    /// Adds a figure, the median of `values`.
    pub(crate) fn figure(&mut self, name: impl Into<String>, goal: Goal, values: &[f64]) {
        self.figures.push(Figure { name: name.into(), value: median(values), goal });
    }

    /// Adds a quantity that figures are based on.
    pub(crate) fn series(&mut self, name: impl Into<String>, unit: &'static str, values: &[f64]) {
        self.series.push(Series { name: name.into(), unit, values: values.to_vec() });
    }

    /// Adds a figure that was not measured.
    pub(crate) fn skip(&mut self, name: String, reason: &anyhow::Error) {
        self.skipped.push(Skipped { name, reason: format!("{reason:#}") });
    }

    /// The range of `name` between rounds, as a share of its median.
    fn spread(&self, name: &str) -> f64 {
        let values = self.series.iter().find(|series| series.name == name);
        let values = values.map_or(&[][..], |series| &series.values);
        let (least, most) = range(values);
        (most - least) / median(values)
    }

    pub(crate) fn print(&self, cores: &Cores, as_json: bool) {
        let noise = self.spread("echo calls").max(self.spread("jsonwebtoken in process"));
        if as_json {
            println!("{}", self.json(cores, noise));
            return;
        }
        for Figure { name, value, goal } in &self.figures {
            let verdict = if goal.holds(*value) { "met" } else { "missed" };
            println!("{name} {value:.3} {} {verdict}", goal.text());
        }
        for Skipped { name, reason } in &self.skipped {
            println!("{name} skipped: {reason}");
        }
        println!("\n{:34} {:>12} {:>12} {:>12}  unit", "measured", "median", "least", "most");
        for Series { name, unit, values } in &self.series {
            let (least, most) = range(values);
            let middle = median(values);
            println!("{name:34} {middle:>12.3} {least:>12.3} {most:>12.3}  {unit}");
        }
        println!("\n{} cores of {}; SHA extensions: {}", cores.count(), model(), sha_extensions());
        if cores.count() < 2 {
            println!(
                "warning: server and clients share one core, so ratios of rates are meaningless"
            );
        }
        if noise.is_nan() {
            println!("the machine's noise was not measured; the part `rounds` measures it");
        }
        if noise > QUIET {
            println!("warning: the machine is noisy, a baseline moved by {:.0} %", noise * 1e2);
        }
    }

    fn json(&self, cores: &Cores, noise: f64) -> Value {
        let figures = self.figures.iter().map(|Figure { name, value, goal }| {
            let met = goal.holds(*value);
            json!({"name": name, "value": value, "goal": goal.text(), "met": met})
        });
        let series = self.series.iter().map(|Series { name, unit, values }| {
            json!({"name": name, "unit": unit, "median": median(values), "values": values})
        });
        let skipped = self
            .skipped
            .iter()
            .map(|Skipped { name, reason }| json!({"name": name, "why": reason}));
        let sha = sha_extensions();
        json!({
            "machine": {"cores": cores.count(), "model": model(), "sha_extensions": sha},
            "noise": noise,
            "figures": figures.collect::<Vec<_>>(),
            "series": series.collect::<Vec<_>>(),
            "skipped": skipped.collect::<Vec<_>>(),
        })
    }
}

/// The median.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One quantity divided by another, round by round.
pub(crate) fn ratios(of: &[f64], by: &[f64]) -> Vec<f64> {
    of.iter().zip(by).map(|(of, by)| of / by).collect()
}

fn range(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
        (least.min(*value), most.max(*value))
    })
}

fn cpu_line(name: &str) -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn model() -> String {
    cpu_line("model name").unwrap_or_else(|| "an unknown model".to_owned())
}

/// One flag on Intel and AMD; ARM has one for each hash.
fn sha_extensions() -> bool {
    let flags = cpu_line("flags").or_else(|| cpu_line("Features")).unwrap_or_default();
    flags.split(' ').any(|flag| matches!(flag, "sha_ni" | "sha2"))
}

//! The text report of the self-test.

use std::{collections::BTreeMap, iter::once};

use grantmint::app::selftest::Difference;

use super::{rate::Rate, tally::Tally};
use crate::terminal::{Color, Paint};

const COLUMNS: [&str; 6] = ["VECTORS", "SAME", "ALIKE", "REFUSED", "LEFT OUT", "DIFFERENT"];

/// The width of the first column.
const NAME: usize = 18;

pub(super) fn lines(tallies: &[Tally], rates: &[Rate]) -> Vec<String> {
    let mut lines = vec![row("KIND", &COLUMNS.map(str::to_owned))];
    lines.extend(tallies.iter().map(counts));
    for (title, of) in [
        ("alike: the same except for intended differences", (|it| &it.alike) as Reasons),
        ("refused here, but accepted by the vendor's library", |it| &it.refused_here),
        ("left out", |it| &it.left_out),
    ] {
        let reasons: Vec<_> = tallies.iter().flat_map(|tally| reasons(tally, of)).collect();
        if !reasons.is_empty() {
            lines.extend([String::new(), title.to_owned()]);
            lines.extend(reasons);
        }
    }
    lines.push(String::new());
    lines.push(verdict(tallies));
    lines.extend(tallies.iter().flat_map(differences));
    lines.push(String::new());
    lines.push(format!("{:NAME$}{:>14}", "ALGORITHM", "TOKENS/S"));
    lines.extend(rates.iter().map(|Rate { algorithm, tokens_per_second }| {
        format!("{algorithm:NAME$}{tokens_per_second:>14.0}")
    }));
    lines.push("on one core, for one call of many tokens".to_owned());
    lines
}

/// Counts of a kind's vectors, by reason.
type Reasons = fn(&Tally) -> &BTreeMap<&'static str, usize>;

fn row(name: &str, cells: &[String; COLUMNS.len()]) -> String {
    let widths = COLUMNS.map(|column| column.len() + 2);
    let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}"));
    once(format!("{name:NAME$}")).chain(cells).collect()
}

fn counts(tally: &Tally) -> String {
    let all = |counts: &BTreeMap<_, usize>| counts.values().sum::<usize>();
    let counts = [
        tally.vectors,
        tally.same,
        all(&tally.alike),
        tally.refused,
        all(&tally.refused_here) + all(&tally.left_out),
        tally.different(),
    ];
    let cell = |count: usize| if count == 0 { "-".to_owned() } else { count.to_string() };
    row(tally.kind, &counts.map(cell))
}

fn reasons(tally: &Tally, of: Reasons) -> impl Iterator<Item = String> {
    let kind = tally.kind;
    of(tally).iter().map(move |(why, count)| format!("  {kind:NAME$}{count:>3}  {why}"))
}

fn verdict(tallies: &[Tally]) -> String {
    let signatures: usize = tallies.iter().map(|tally| tally.signatures).sum();
    let paint = Paint::stdout();
    if tallies.iter().any(|tally| tally.different() > 0) {
        paint.with(Color::Red, "some tokens differ from the vendors':")
    } else {
        let verdict = paint.with(Color::Green, "no differences");
        format!("{verdict}; {signatures} of our signatures verified")
    }
}

fn differences(tally: &Tally) -> impl Iterator<Item = String> {
    tally.differences.iter().flat_map(move |(vector, differences)| {
        let one = move |Difference { what, theirs, ours }: &Difference| {
            [
                format!("  {} {vector}: {what}", tally.kind),
                format!("    the vendor's  {theirs}"),
                format!("    ours          {ours}"),
            ]
        };
        differences.iter().flat_map(one)
    })
}

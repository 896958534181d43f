//! `grantmint selftest`: compares tokens with those of the vendors' libraries, and measures the
//! signing rate.

mod rate;
mod report;
mod tally;

use std::time::Duration;

use clap::{Args, builder::PossibleValuesParser};
use grantmint::{
    app::selftest,
    provider::{KINDS, vectors::VectorError},
};
use serde_json::json;

use self::{rate::Rate, tally::Tally};
use crate::{exit::Exit, failure::Failure, output};

/// The measuring time per algorithm.
const MEASURED: Duration = Duration::from_millis(30);

/// Compare tokens with those of the vendors' own libraries
///
/// The binary contains the vendors' tokens, made with public test keys, so it needs no
/// configuration, network or secret. Also measures how many tokens one core signs per second. Exits
/// with 1 if a token differs.
#[derive(Debug, Args)]
pub(crate) struct SelftestCommand {
    /// Test only these kinds
    #[arg(value_name = "KIND", value_parser = kinds())]
    kinds: Vec<String>,

    /// Print one JSON object: kinds, rates, different
    #[arg(long)]
    json: bool,
}

/// The names of all kinds.
fn kinds() -> PossibleValuesParser {
    PossibleValuesParser::new(KINDS.iter().map(|kind| kind.name()))
}

impl SelftestCommand {
    pub(crate) fn run(&self) -> Result<Exit, Failure> {
        let mut tallies = Vec::new();
        for kind in KINDS {
            let is_requested = self.kinds.iter().any(|name| name == kind.name());
            if is_requested || self.kinds.is_empty() {
                let tally = Tally::of(*kind).map_err(|error| damaged(&error))?;
                tallies.extend(Some(tally).filter(|it| is_requested || it.has_vectors()));
            }
        }
        let rates = rates()?;
        let different: usize = tallies.iter().map(Tally::different).sum();
        if self.json {
            let kinds: Vec<_> = tallies.iter().map(Tally::to_json).collect();
            let rates = rates.iter().map(|Rate { algorithm, tokens_per_second }| {
                json!({"algorithm": algorithm, "tokens_per_second": tokens_per_second.round()})
            });
            let rates: Vec<_> = rates.collect();
            let whole = json!({"kinds": kinds, "rates": rates, "different": different});
            output::data(&whole.to_string())?;
        } else {
            report::lines(&tallies, &rates).iter().try_for_each(|line| output::data(line))?;
        }
        match different {
            0 => Ok(Exit::Done),
            1 => Err(differs("one vector differs")),
            more => Err(differs(&format!("{more} vectors differ"))),
        }
    }
}

fn rates() -> Result<Vec<Rate>, Failure> {
    let mut rates = Vec::new();
    for kind in KINDS {
        for (algorithm, way) in kind.samples().map_err(|error| damaged(&error))? {
            let rate = selftest::rate(&way, MEASURED);
            let tokens_per_second =
                rate.map_err(|why| Failure::permanent(format!("{algorithm}: {why}")))?;
            rates.push(Rate { algorithm, tokens_per_second });
        }
    }
    Ok(rates)
}

fn damaged(error: &VectorError) -> Failure {
    Failure::permanent(error.to_string()).next("the binary is damaged; install it again")
}

fn differs(what: &str) -> Failure {
    Failure::permanent(format!("{what} from the vendor's"))
        .next("do not use this binary for that kind; check that it is an unmodified release")
}

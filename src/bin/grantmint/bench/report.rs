//! What a bench says in the end.

use std::{fmt, time::Duration};

use serde_json::{Value, json};
use tonic::Code;

use super::{
    call::Ask,
    format::{latency, rate},
    load::Figures,
    plan::Plan,
    tally::{Errors, Sort},
};
use crate::output::seconds;

/// The quantiles that are told.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// What a bench says in the end.
pub(super) struct Report<'a> {
    pub(super) ask: Ask,
    pub(super) plan: &'a Plan,
    pub(super) figures: &'a Figures,
}

impl Report<'_> {
    pub(super) fn to_json(&self) -> Value {
        let Self { ask, plan, figures } = self;
        let tally = &figures.tally;
        let latency = QUANTILES.map(|(name, quantile)| {
            let micros = tally.times.value_at_quantile(quantile);
            (name.to_owned(), json!(Duration::from_micros(micros).as_secs_f64()))
        });
        let latency = serde_json::Map::from_iter(latency);
        let errors = tally.errors.iter().map(|(sort, errors)| {
            let (code, reason) = code_and_reason(sort);
            let message = errors.first.message();
            json!({"code": code, "reason": reason, "message": message, "calls": errors.calls})
        });
        json!({
            "method": ask.method(),
            "loop": if plan.rate.is_some() { "open" } else { "closed" },
            "rate": plan.rate,
            "connections": plan.connections,
            "in_flight": plan.connections * plan.in_flight,
            "warm_up_seconds": plan.warm_up.as_secs_f64(),
            "seconds": figures.measured.as_secs_f64(),
            "interrupted": figures.interrupted,
            "calls": tally.begun,
            "answered": tally.answered,
            "failed": tally.failed(),
            "cut_off": figures.cut_off,
            "waited": tally.waited,
            "not_started": figures.not_started,
            "tokens": tally.tokens,
            "calls_per_second": rate(tally.answered_inside, figures.measured),
            "tokens_per_second": rate(tally.tokens_inside, figures.measured),
            "latency_seconds": Some(latency).filter(|_| !tally.times.is_empty()),
            "errors": errors.collect::<Vec<_>>(),
        })
    }

    fn write_latency(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = &self.figures.tally.times;
        if times.is_empty() {
            return writeln!(f, "latency  none, nothing was answered");
        }
        f.write_str("latency")?;
        for (name, quantile) in QUANTILES {
            write!(f, "  {name} {}", latency(times.value_at_quantile(quantile)))?;
        }
        let from = match self.plan.rate {
            None => "sent: in a closed loop a stall shows in few of them, see --rate",
            Some(_) => "due, sent or not: a stall shows in all that were due in it",
        };
        writeln!(f, "\n         from when each call was {from}")
    }

    fn write_load(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ask, plan, figures } = self;
        match ask {
            Ask::Token => write!(f, "MintToken")?,
            Ask::Tokens(count) => write!(f, "MintTokens of {count}")?,
        }
        match plan.rate {
            None => write!(f, " in a closed loop: ")?,
            Some(rate) => write!(f, " in an open loop: {rate} a second, at most ")?,
        }
        let in_flight = plan.connections * plan.in_flight;
        write!(f, "{in_flight} in flight on {}", count(plan.connections.into(), "connection"))?;
        let early = if figures.interrupted { ", ended early" } else { "" };
        let (measured, warm_up) = (seconds(figures.measured), seconds(plan.warm_up));
        writeln!(f, "; {measured} after {warm_up} of warm-up{early}")
    }

    /// What was not done, and what to do about it.
    fn write_shortfall(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { tally, not_started, cut_off, .. } = self.figures;
        if tally.waited > 0 {
            let waited = count(tally.waited, "call");
            writeln!(f, "waited   {waited} for one in flight to end; --in-flight allows more")?;
        }
        if *not_started > 0 {
            let missing = count(*not_started, "call");
            writeln!(
                f,
                "missing  {missing} never started: the server, or this machine, does not keep up"
            )?;
        }
        if *cut_off > 0 {
            writeln!(f, "cut off  {} under way at the end", count(*cut_off, "call"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Report<'_> {
    /// For people, without the end of the last line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { tally, measured, .. } = self.figures;
        self.write_load(f)?;
        let calls = rate(tally.answered_inside, *measured);
        writeln!(
            f,
            "calls    {} of {} answered, {calls:.0} a second",
            tally.answered, tally.begun
        )?;
        if let Ask::Tokens(_) = self.ask {
            let tokens = rate(tally.tokens_inside, *measured);
            writeln!(f, "tokens   {}, {tokens:.0} a second", tally.tokens)?;
        }
        self.write_latency(f)?;
        self.write_shortfall(f)?;
        if tally.errors.is_empty() {
            return f.write_str("errors   none");
        }
        let errors = tally.errors.iter().map(|(sort, errors)| words(sort, errors));
        write!(f, "errors   {}", errors.collect::<Vec<_>>().join("\n         "))
    }
}

impl Ask {
    const fn method(self) -> &'static str {
        match self {
            Self::Token => "MintToken",
            Self::Tokens(_) => "MintTokens",
        }
    }
}

/// None of both where there was no connection.
fn code_and_reason(sort: &Sort) -> (Option<String>, Option<&str>) {
    match sort {
        Sort::Disconnected => (None, None),
        Sort::Failed(code, reason) => (Some(format!("{:?}", Code::from(*code))), reason.as_deref()),
    }
}

fn words(sort: &Sort, errors: &Errors) -> String {
    let what = match code_and_reason(sort) {
        (Some(code), Some(reason)) => format!("{code} {reason}"),
        (Some(code), None) => code,
        (None, _) => "no connection".to_owned(),
    };
    // What comes after is for those who read of one error.
    let message = errors.first.message().split([';', '\n']).next().unwrap_or_default();
    format!("{} {what}: {message}", errors.calls)
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::{super::tally::Tally, *};

    const PLAN: Plan = Plan {
        connections: 1,
        in_flight: 16,
        rate: Some(100),
        warm_up: Duration::from_secs(1),
        duration: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
    };

    fn figures() -> Figures {
        let mut tally = Tally::new().unwrap();
        for millis in [1, 20, 1_500] {
            tally.end(Duration::from_millis(millis), Ok(()));
        }
        tally.end(Duration::ZERO, Err(Status::unavailable("cannot connect")));
        tally.end(Duration::ZERO, Err(Status::not_found("nobody; ask somebody else")));
        let tally = Tally { begun: 6, waited: 1, tokens: 30, tokens_inside: 40, ..tally };
        let measured = PLAN.duration;
        Figures { tally, measured, not_started: 2, cut_off: 1, interrupted: true }
    }

    #[test]
    fn all_is_told_to_people() {
        let report = Report { ask: Ask::Tokens(10), plan: &PLAN, figures: &figures() };
        assert_eq!(
            report.to_string(),
            "\
MintTokens of 10 in an open loop: 100 a second, at most 16 in flight on 1 connection; 10.0 s \
after 1.0 s of warm-up, ended early
calls    3 of 6 answered, 0 a second
tokens   30, 4 a second
latency  p50 20 ms  p90 1.50 s  p99 1.50 s  p99.9 1.50 s  max 1.50 s
         from when each call was due, sent or not: a stall shows in all that were due in it
waited   1 call for one in flight to end; --in-flight allows more
missing  2 calls never started: the server, or this machine, does not keep up
cut off  1 call under way at the end
errors   1 no connection: cannot connect
         1 NotFound: nobody"
        );
    }

    #[test]
    fn where_nothing_was_answered_there_are_no_times() {
        let tally = Tally::new().unwrap();
        let (measured, not_started, cut_off, interrupted) = (Duration::ZERO, 0, 0, false);
        let figures = Figures { tally, measured, not_started, cut_off, interrupted };
        let report = Report { ask: Ask::Token, plan: &PLAN, figures: &figures };
        assert!(
            report.to_string().contains("\nlatency  none, nothing was answered\nerrors   none")
        );
        let json = report.to_json();
        assert_eq!(
            (&json["latency_seconds"], &json["calls_per_second"]),
            (&Value::Null, &json!(0.0))
        );
    }
}

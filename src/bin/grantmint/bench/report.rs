//! The report of a bench.

use std::{fmt, time::Duration};

use serde_json::{Value, json};
use tonic::Code;

use super::{
    call::Method,
    format::{latency, rate},
    load::Figures,
    plan::Plan,
    tally::{ErrorKind, Errors},
};
use crate::output::seconds;

/// The reported quantiles.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// The report of a bench.
pub(super) struct Report<'a> {
    pub(super) method: Method,
    pub(super) plan: &'a Plan,
    pub(super) figures: &'a Figures,
}

impl Report<'_> {
    pub(super) fn to_json(&self) -> Value {
        let Self { method, plan, figures } = self;
        let tally = &figures.tally;
        let latency = QUANTILES.map(|(name, quantile)| {
            let micros = tally.times.value_at_quantile(quantile);
            (name.to_owned(), json!(Duration::from_micros(micros).as_secs_f64()))
        });
        let latency = serde_json::Map::from_iter(latency);
        let errors = tally.errors.iter().map(|(kind, errors)| {
            let (code, reason) = code_and_reason(kind);
            let message = errors.first.message();
            json!({"code": code, "reason": reason, "message": message, "calls": errors.calls})
        });
        json!({
            "method": method.method(),
            "loop": if plan.rate.is_some() { "open" } else { "closed" },
            "rate": plan.rate,
            "connections": plan.connections,
            "in_flight": plan.connections * plan.in_flight,
            "warm_up_seconds": plan.warm_up.as_secs_f64(),
            "seconds": figures.measured.as_secs_f64(),
            "interrupted": figures.interrupted,
            "calls": tally.started,
            "answered": tally.answered,
            "failed": tally.failed(),
            "cut_off": figures.cut_off,
            "waited": tally.waited,
            "not_started": figures.not_started,
            "tokens": tally.tokens,
            "calls_per_second": rate(tally.answered_in_window, figures.measured),
            "tokens_per_second": rate(tally.tokens_in_window, figures.measured),
            "latency_seconds": Some(latency).filter(|_| !tally.times.is_empty()),
            "errors": errors.collect::<Vec<_>>(),
        })
    }

    fn write_latency(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = &self.figures.tally.times;
        if times.is_empty() {
            return writeln!(f, "latency  none: no call succeeded");
        }
        f.write_str("latency")?;
        for (name, quantile) in QUANTILES {
            write!(f, "  {name} {}", latency(times.value_at_quantile(quantile)))?;
        }
        let from = match self.plan.rate {
            None => "sent; in a closed loop a stall affects few calls, see --rate",
            Some(_) => "due; a stall affects every call due during it",
        };
        writeln!(f, "\n         measured from when each call was {from}")
    }

    fn write_load(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, plan, figures } = self;
        match method {
            Method::MintToken => write!(f, "MintToken")?,
            Method::MintTokens(count) => write!(f, "MintTokens of {count}")?,
        }
        match plan.rate {
            None => write!(f, " in a closed loop: ")?,
            Some(rate) => write!(f, " in an open loop: {rate} a second, up to ")?,
        }
        let in_flight = plan.connections * plan.in_flight;
        write!(f, "{in_flight} in flight on {}", count(plan.connections.into(), "connection"))?;
        let early = if figures.interrupted { ", ended early" } else { "" };
        let (measured, warm_up) = (seconds(figures.measured), seconds(plan.warm_up));
        writeln!(f, "; {measured} after {warm_up} of warm-up{early}")
    }

    /// The calls that were late or not made, and what to do about them.
    fn write_shortfall(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { tally, not_started, cut_off, .. } = self.figures;
        if tally.waited > 0 {
            let waited = count(tally.waited, "call");
            writeln!(f, "waited   {waited} for a call in flight to end; --in-flight allows more")?;
        }
        if *not_started > 0 {
            let missing = count(*not_started, "call");
            writeln!(
                f,
                "missing  {missing} never started: the server or this machine cannot keep up"
            )?;
        }
        if *cut_off > 0 {
            writeln!(f, "cut off  {} still running at the end", count(*cut_off, "call"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Report<'_> {
    /// As text, without the last line break.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { tally, measured, .. } = self.figures;
        self.write_load(f)?;
        let calls = rate(tally.answered_in_window, *measured);
        writeln!(
            f,
            "calls    {} of {} succeeded, {calls:.0} a second",
            tally.answered, tally.started
        )?;
        if let Method::MintTokens(_) = self.method {
            let tokens = rate(tally.tokens_in_window, *measured);
            writeln!(f, "tokens   {}, {tokens:.0} a second", tally.tokens)?;
        }
        self.write_latency(f)?;
        self.write_shortfall(f)?;
        if tally.errors.is_empty() {
            return f.write_str("errors   none");
        }
        let errors = tally.errors.iter().map(|(kind, errors)| error_line(kind, errors));
        write!(f, "errors   {}", errors.collect::<Vec<_>>().join("\n         "))
    }
}

impl Method {
    const fn method(self) -> &'static str {
        match self {
            Self::MintToken => "MintToken",
            Self::MintTokens(_) => "MintTokens",
        }
    }
}

/// Neither exists without a connection.
fn code_and_reason(kind: &ErrorKind) -> (Option<String>, Option<&str>) {
    match kind {
        ErrorKind::Disconnected => (None, None),
        ErrorKind::Failed(code, reason) => {
            (Some(format!("{:?}", Code::from(*code))), reason.as_deref())
        }
    }
}

fn error_line(kind: &ErrorKind, errors: &Errors) -> String {
    let what = match code_and_reason(kind) {
        (Some(code), Some(reason)) => format!("{code} {reason}"),
        (Some(code), None) => code,
        (None, _) => "no connection".to_owned(),
    };
    // The first clause is enough in a list.
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
        tally.end(Duration::ZERO, Err(Status::not_found("no such profile; name another")));
        let tally = Tally { started: 6, waited: 1, tokens: 30, tokens_in_window: 40, ..tally };
        let measured = PLAN.duration;
        Figures { tally, measured, not_started: 2, cut_off: 1, interrupted: true }
    }

    #[test]
    fn text_report_has_every_figure() {
        let report = Report { method: Method::MintTokens(10), plan: &PLAN, figures: &figures() };
        assert_eq!(
            report.to_string(),
            "\
MintTokens of 10 in an open loop: 100 a second, up to 16 in flight on 1 connection; 10.0 s \
after 1.0 s of warm-up, ended early
calls    3 of 6 succeeded, 0 a second
tokens   30, 4 a second
latency  p50 20 ms  p90 1.50 s  p99 1.50 s  p99.9 1.50 s  max 1.50 s
         measured from when each call was due; a stall affects every call due during it
waited   1 call for a call in flight to end; --in-flight allows more
missing  2 calls never started: the server or this machine cannot keep up
cut off  1 call still running at the end
errors   1 no connection: cannot connect
         1 NotFound: no such profile"
        );
    }

    #[test]
    fn report_without_responses_has_no_latency() {
        let tally = Tally::new().unwrap();
        let (measured, not_started, cut_off, interrupted) = (Duration::ZERO, 0, 0, false);
        let figures = Figures { tally, measured, not_started, cut_off, interrupted };
        let report = Report { method: Method::MintToken, plan: &PLAN, figures: &figures };
        assert!(report.to_string().contains("\nlatency  none: no call succeeded\nerrors   none"));
        let json = report.to_json();
        assert_eq!(
            (&json["latency_seconds"], &json["calls_per_second"]),
            (&Value::Null, &json!(0.0))
        );
    }
}

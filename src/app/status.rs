//! What the status page shows of the parts that are built here.

use std::sync::Arc;

use crate::{
    admin::status::{Account, Limits, Sources, Usage},
    clock::Clock,
    config::Config,
    grant::table::Roster,
    name::ProfileName,
    server::Server,
    source::budget::{self, Budget},
    token::Speed,
};

/// The sources of the status page.
pub(super) fn sources(
    config: &Config,
    roster: Roster,
    budgets: Vec<(Vec<ProfileName>, Arc<Budget>)>,
    server: &Server,
    clock: Clock,
) -> Sources {
    let is_slow = config.profiles.iter().any(|it| it.token_format().speed() == Speed::Slow);
    let accounts = budgets.into_iter().map(|(profiles, budget)| {
        let usage = Box::new(move || of_budget(budget.usage()));
        Account { profiles, usage }
    });
    Sources {
        roster,
        clock,
        profiles: config.profiles.iter().map(|it| (it.name.clone(), it.kind)).collect(),
        limits: Limits {
            connections: server.limits().connections,
            waiting_calls: config.limits.mint.waiting_calls,
            signing_threads: is_slow.then_some(config.signing.threads),
            signing_queue: config.signing.queue,
        },
        accounts: accounts.collect(),
    }
}

fn of_budget(usage: budget::Usage) -> Usage {
    let budget::Usage { limits, in_flight, available, hold } = usage;
    let budget::Limits { rate, burst, concurrent } = limits;
    Usage { rate, burst, available, concurrent, in_flight, hold }
}

//! Clients that are not authenticated: counted all, logged once a minute by address and cause.

use std::net::IpAddr;

use super::{cause::Cause, trust::Refused};
use crate::{
    audit::Audit,
    listen::log_limit::LogLimit,
    telemetry::{Counts, Metrics},
};

pub(super) struct Failures {
    counts: Counts,
    log_limit: LogLimit,
    audit: Option<Audit>,
}

impl Failures {
    pub(super) fn new(metrics: &Metrics, audit: Option<Audit>) -> Self {
        let counts = metrics.authentication_failures(&Cause::ALL.map(Cause::as_str));
        Self { counts, log_limit: LogLimit::default(), audit }
    }

    pub(super) fn record(&self, from: IpAddr, refused: &Refused) {
        let Refused { cause, claim } = refused;
        let cause = cause.as_str();
        self.counts.add(cause);
        if let Some(audit) = &self.audit {
            audit.unauthenticated(from.into(), cause);
        }
        if self.log_limit.since_logged(from, cause).is_some() {
            let address = from.to_canonical();
            tracing::warn!(%address, cause, name = claim, "a client is not authenticated");
        }
    }
}

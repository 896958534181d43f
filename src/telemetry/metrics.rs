//! The metrics of one process.
//!
//! Each part of the server has a file. Its [`Families`](minting::Families) define each metric once,
//! with name, help and unit. The part records with handles, which are resolved once.

mod callers;
mod calls;
mod definitions;
mod grants;
mod labels;
mod minting;
mod numbers;
mod process;
mod traces;
mod transport;

use std::{fmt, sync::Arc};

use prometheus_client::{metrics::counter::Counter, registry::Registry};

use self::definitions::Definitions;
pub use self::{
    callers::{AuditMetrics, CallerMetrics},
    calls::{ResetMetrics, RpcMetrics},
    grants::{GrantMetrics, UpstreamMetrics},
    labels::Counts,
    minting::{MintMetrics, PoolMetrics, ProfileMetrics},
    numbers::{CallerNumbers, Numbers},
    process::ReloadMetrics,
    traces::TraceMetrics,
    transport::IssuerMetrics,
};
use super::{format::MetricsFormat, resource_names::ResourceNames};

/// All metrics of one process.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    resource_names: ResourceNames,
    minting: minting::Families,
    callers: callers::Families,
    calls: calls::Families,
    grants: grants::Families,
    transport: transport::Families,
    traces: traces::Families,
    process: process::Families,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::naming(ResourceNames::default())
    }
}

impl Metrics {
    /// Metrics that write resources as `resource_names` does.
    #[must_use]
    pub fn naming(resource_names: ResourceNames) -> Self {
        let upstream_requests = Counter::default();
        // In the order of the page.
        let mut define = Definitions::default();
        let minting = minting::Families::define(&mut define, upstream_requests.clone());
        let callers = callers::Families::define(&mut define);
        let calls = calls::Families::define(&mut define);
        let grants = grants::Families::define(&mut define, upstream_requests);
        let transport = transport::Families::define(&mut define);
        let traces = traces::Families::define(&mut define);
        let process = process::Families::define(&mut define);
        let registry = define.registry();
        Self(Arc::new(Inner {
            registry,
            resource_names,
            minting,
            callers,
            calls,
            grants,
            transport,
            traces,
            process,
        }))
    }

    /// All metrics in this format.
    #[must_use]
    pub fn render(&self, format: MetricsFormat) -> String {
        format.render(&self.0.registry)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

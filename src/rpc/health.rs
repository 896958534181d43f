//! gRPC health, told on changes only.

use std::{collections::HashMap, sync::Arc};

use tonic_health::{ServingStatus, server::HealthReporter};

use super::{GRANT_SERVICE, TOKEN_SERVICE};
use crate::{
    drain::{Drain, Phase},
    ready::Ready,
};

/// Tells health whatever changes, until the drain: then every health watch is ended.
///
/// `""` and both services follow readiness; `profiles/{name}` serves while every resource of
/// the profile has a live grant.
pub async fn report_health(mut reporter: HealthReporter, ready: Arc<Ready>, drain: Drain) {
    let mut told = HashMap::new();
    let mut changes = ready.changes();
    let mut phase = drain.phase();
    while phase < Phase::Draining {
        tell(&reporter, &mut told, &ready).await;
        let next = if phase == Phase::Serving { Phase::Leaving } else { Phase::Draining };
        tokio::select! {
            () = ready.changed(&mut changes) => {}
            () = drain.wait(next) => {}
        }
        phase = drain.phase();
    }
    // A watch ends only when its service is cleared.
    for service in told.keys() {
        reporter.clear_service_status(service).await;
    }
}

/// Tells what has changed since it was last told.
async fn tell(reporter: &HealthReporter, told: &mut HashMap<String, bool>, ready: &Ready) {
    let serving = ready.is_ready();
    let services = ["", TOKEN_SERVICE, GRANT_SERVICE].map(|name| (name.to_owned(), serving));
    let profiles =
        ready.profiles().into_iter().map(|(name, live)| (format!("profiles/{name}"), live));
    for (service, serving) in services.into_iter().chain(profiles) {
        if told.insert(service.clone(), serving) != Some(serving) {
            let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
            reporter.set_service_status(service, status).await;
        }
    }
}

//! gRPC health, reported on changes only. tonic's own service closes the watch of an unknown
//! service, where the protocol lets it wait until the service is known.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use futures_util::{Stream, stream};
use tokio::{sync::watch, time::Instant};
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health,
};

use super::{GRANT_SERVICE, TOKEN_SERVICE, access::Access, layers::Origin, status};
use crate::{
    drain::{Drain, Phase, lifetime::Lifetime},
    ready::Ready,
};

type Statuses = HashMap<String, ServingStatus>;

/// Reports health. All health watches finish when it is dropped.
#[derive(Debug)]
pub struct HealthReporter(watch::Sender<Statuses>);

/// The health service.
#[derive(Clone, Debug)]
pub(super) struct HealthService(watch::Receiver<Statuses>);

/// A health service and its reporter. Initially the server does not serve.
pub(super) fn health() -> (HealthReporter, HealthService) {
    let not_yet = HashMap::from([(String::new(), ServingStatus::NotServing)]);
    let (reporter, statuses) = watch::channel(not_yet);
    (HealthReporter(reporter), HealthService(statuses))
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        mut request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let Origin { access, .. } = Origin::take(&mut request)?;
        let service = &request.get_ref().service;
        match self.0.borrow().get(service) {
            Some(status) if is_shown(&access, service) => {
                Ok(Response::new(HealthCheckResponse { status: (*status).into() }))
            }
            _ => Err(status::unknown_service()),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        mut request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let Origin { deadline, access, lifetime } = Origin::take(&mut request)?;
        let watch = Watch {
            rights: access.changes(),
            access,
            service: request.into_inner().service,
            statuses: self.0.clone(),
            lifetime,
            deadline,
            reported: None,
        };
        Ok(Response::new(Box::pin(stream::try_unfold(watch, Watch::next))))
    }
}

/// One watch of a service.
struct Watch {
    access: Access,
    /// Notifies of changes of callers' rights.
    rights: watch::Receiver<()>,
    service: String,
    statuses: watch::Receiver<Statuses>,
    lifetime: Lifetime,
    deadline: Option<Instant>,
    reported: Option<ServingStatus>,
}

impl Watch {
    /// The service's status once it differs from the last report; none when the server drains.
    async fn next(mut self) -> Result<Option<(HealthCheckResponse, Self)>, Status> {
        let Self { access, rights, service, statuses, lifetime, deadline, reported } = &mut self;
        let known = |all: &Statuses| {
            let known = all.get(service.as_str()).filter(|_| is_shown(access, service));
            known.copied().unwrap_or(ServingStatus::ServiceUnknown)
        };
        let status = loop {
            rights.mark_unchanged();
            tokio::select! {
                changed = statuses.wait_for(|all| Some(known(all)) != *reported) => match changed {
                    Ok(all) => break known(&all),
                    Err(_) => return Ok(None),
                },
                changed = rights.changed() => if changed.is_err() { return Ok(None) },
                () = lifetime.ended() => return Err(status::lifetime_reached(*deadline, None)),
                denied = access.caller().ended() => {
                    return Err(status::denied(&denied, None, *deadline));
                }
            }
        };
        *reported = Some(status);
        Ok(Some((HealthCheckResponse { status: status.into() }, self)))
    }
}

/// Whether the caller may see this health. A profile's health is part of the state of its grants.
fn is_shown(access: &Access, service: &str) -> bool {
    service.strip_prefix("profiles/").is_none_or(|profile| access.shows_health_of(profile))
}

/// Reports readiness changes to health until the server drains, which finishes all watches.
///
/// `""` and both services follow readiness; `profiles/{name}` serves while every resource of
/// the profile has a live grant.
pub async fn report_health(reporter: HealthReporter, ready: Arc<Ready>, drain: Drain) {
    let mut changes = ready.changes();
    let mut phase = drain.phase();
    while phase < Phase::Draining {
        let statuses = statuses(&ready);
        reporter.0.send_if_modified(|reported| {
            let differs = *reported != statuses;
            *reported = statuses;
            differs
        });
        let next = if phase == Phase::Serving { Phase::Leaving } else { Phase::Draining };
        tokio::select! {
            () = ready.changed(&mut changes) => {}
            () = drain.wait(next) => {}
        }
        phase = drain.phase();
    }
}

fn statuses(ready: &Ready) -> Statuses {
    let serving = ready.is_ready();
    let services = ["", TOKEN_SERVICE, GRANT_SERVICE].map(|name| (name.to_owned(), serving));
    let profiles =
        ready.profiles().into_iter().map(|(name, live)| (format!("profiles/{name}"), live));
    let status = |serving| if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    services.into_iter().chain(profiles).map(|(name, serving)| (name, status(serving))).collect()
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    #[tokio::test]
    async fn watch_reports_a_late_service_and_ends_with_health() {
        let (reporter, service) = health();
        let mut request = Request::new(HealthCheckRequest { service: "late".to_owned() });
        request.extensions_mut().insert(Origin {
            deadline: None,
            access: Access::of_anybody(),
            lifetime: Lifetime::default(),
        });
        let mut watch = service.watch(request).await.unwrap().into_inner();
        let mut next = || {
            let change = watch.next().now_or_never()?;
            Some(change.map(|change| change.unwrap().status()))
        };
        assert_eq!(next(), Some(Some(ServingStatus::ServiceUnknown)));
        assert_eq!(next(), None);
        reporter.0.send_modify(|all| all.extend([("other".into(), ServingStatus::Serving)]));
        assert_eq!(next(), None, "another service");
        reporter.0.send_modify(|all| all.extend([("late".into(), ServingStatus::Serving)]));
        assert_eq!(next(), Some(Some(ServingStatus::Serving)));
        drop(reporter);
        assert_eq!(next(), Some(None));
    }
}

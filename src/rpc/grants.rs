//! `GrantService`.

use std::{pin::Pin, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::{Stream, stream};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tonic::{Request, Response, Status};

use super::{
    Parts,
    access::{Access, StreamLimitReached},
    convert,
    layers::Origin,
    proto::{
        self, GetGrantRequest, GetGrantResponse, ListGrantsRequest, ListGrantsResponse,
        RefreshGrantRequest, RefreshGrantResponse, WatchGrantsRequest, WatchGrantsResponse,
        grant_service_server::GrantService, watch_grants_request::Target,
    },
    status,
    streams::{StreamPermit, Streams},
    violation::{GRANT_NAME_INVALID, OPTION_INVALID, PAGE_TOKEN_INVALID, Refusal, Violation},
};
use crate::{
    auth::{method::Method, usage},
    clock::{Anchor, BootTime, Clock},
    drain::{Drain, Phase, lifetime::Lifetime},
    grant::{
        self, Fault, GrantState, Life, RefreshState, cell::View, demand::OrderOutcome,
        table::Roster,
    },
    name::GrantName,
    ready::{collect_changes, next_end_of_life},
};

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1_000;

/// The audit reason if the caller does not wait for the refresh it ordered.
const CANCELLED: &str = "CANCELLED";

#[derive(Clone)]
pub(super) struct Grants {
    roster: Roster,
    clock: Clock,
    drain: Drain,
    streams: Streams,
}

impl Grants {
    pub(super) fn new(parts: &Parts, streams: Streams) -> Self {
        Self {
            roster: parts.roster.clone(),
            clock: parts.clock.clone(),
            drain: parts.drain.clone(),
            streams,
        }
    }

    fn named(&self, name: &str, access: &Access, method: Method) -> Result<View, Refusal> {
        let name = GrantName::parse(name).map_err(|error| {
            Refusal::from(Violation::new("name", GRANT_NAME_INVALID, error.as_str()))
        })?;
        access.reach(method, name.profile.as_str(), name.resource.as_str())?;
        match self.roster.view(&name) {
            Some(view) => Ok(view.clone()),
            None => self.listed(name.profile.as_str()).and(Err(Refusal::ResourceNotFound)),
        }
    }

    fn of_profile(&self, profile: &str) -> Vec<View> {
        let of_it = |view: &&View| view.name().profile.as_str() == profile;
        self.roster.views().iter().filter(of_it).cloned().collect()
    }

    /// All grants of a configured profile, or all grants if the name is empty.
    fn listed(&self, profile: &str) -> Result<Vec<View>, Refusal> {
        if profile.is_empty() {
            return Ok(self.roster.views().to_vec());
        }
        let views = self.of_profile(profile);
        let without_grants =
            || self.roster.without_grants().iter().any(|it| it.as_str() == profile);
        if views.is_empty() && !without_grants() {
            return Err(Refusal::ProfileNotFound);
        }
        Ok(views)
    }

    /// The grants that a watch of this target follows and its caller may see.
    fn watched(&self, target: Option<&Target>, access: &Access) -> Result<Vec<View>, Refusal> {
        match target {
            None => Ok(shown(self.listed("")?, access, Method::WatchGrants)),
            Some(Target::Profile(profile)) => {
                access.reach_profile(Method::WatchGrants, profile)?;
                Ok(shown(self.listed(profile)?, access, Method::WatchGrants))
            }
            Some(Target::Name(name)) => {
                self.named(name, access, Method::WatchGrants).map(|view| vec![view])
            }
        }
    }

    fn page(
        &self,
        request: &ListGrantsRequest,
        access: &Access,
    ) -> Result<ListGrantsResponse, Refusal> {
        if !request.profile.is_empty() {
            access.reach_profile(Method::ListGrants, &request.profile)?;
        }
        let views = shown(self.listed(&request.profile)?, access, Method::ListGrants);
        let mut bad = Vec::new();
        let size = match usize::try_from(request.page_size) {
            Ok(0) => DEFAULT_PAGE,
            Ok(size) => size.min(MAX_PAGE),
            Err(_) => {
                bad.push(Violation::new("page_size", OPTION_INVALID, "is negative"));
                0
            }
        };
        let last = read_page_token(&request.page_token, &request.profile);
        if last.is_none() && !request.page_token.is_empty() {
            let foreign = "is not a page token of this list";
            bad.push(Violation::new("page_token", PAGE_TOKEN_INVALID, foreign));
        }
        if !bad.is_empty() {
            return Err(Refusal::Invalid(bad));
        }
        let from = last.map_or(0, |last| views.partition_point(|view| *view.name() <= last));
        let rest = views.get(from..).unwrap_or_default();
        let page = rest.get(..size).unwrap_or(rest);
        let next_page_token = match page.last() {
            Some(last) if rest.len() > page.len() => {
                BASE64_URL_SAFE_NO_PAD.encode(last.name().to_string())
            }
            _ => String::new(),
        };
        let now = self.clock.now();
        let grants = page.iter().map(|view| convert::grant(view, &view.status(), now)).collect();
        Ok(ListGrantsResponse { grants, next_page_token })
    }
}

/// The grants that a list shows to the caller.
fn shown(mut views: Vec<View>, access: &Access, method: Method) -> Vec<View> {
    views.retain(|view| {
        let name = view.name();
        access.shows(method, name.profile.as_str(), name.resource.as_str())
    });
    views
}

/// A page token is the name of the last grant of the previous page, in the listed profile.
fn read_page_token(token: &str, profile: &str) -> Option<GrantName> {
    let name = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let name = GrantName::parse(&name).ok()?;
    (profile.is_empty() || name.profile.as_str() == profile).then_some(name)
}

#[tonic::async_trait]
impl GrantService for Grants {
    async fn get_grant(
        &self,
        mut request: Request<GetGrantRequest>,
    ) -> Result<Response<GetGrantResponse>, Status> {
        let Origin { access, .. } = Origin::take(&mut request)?;
        let view = self.named(&request.get_ref().name, &access, Method::GetGrant);
        let view = view.map_err(|refusal| access.refuse(refusal))?;
        let grant = convert::grant(&view, &view.status(), self.clock.now());
        Ok(Response::new(GetGrantResponse { grant: Some(grant) }))
    }

    async fn list_grants(
        &self,
        mut request: Request<ListGrantsRequest>,
    ) -> Result<Response<ListGrantsResponse>, Status> {
        let Origin { access, .. } = Origin::take(&mut request)?;
        let page = self.page(request.get_ref(), &access);
        page.map(Response::new).map_err(|refusal| access.refuse(refusal))
    }

    async fn refresh_grant(
        &self,
        mut request: Request<RefreshGrantRequest>,
    ) -> Result<Response<RefreshGrantResponse>, Status> {
        let Origin { deadline, access, .. } = Origin::take(&mut request)?;
        let view = self.named(&request.get_ref().name, &access, Method::RefreshGrant);
        let view = view.map_err(|refusal| access.refuse(refusal))?;
        let name = view.name().to_string();
        let order = Order { access: &access, grant: &name, is_open: true };
        let ordered = tokio::select! {
            ordered = view.refresh() => ordered,
            () = self.drain.wait(Phase::Draining) => None,
        };
        let now = self.clock.now();
        match ordered {
            Some(OrderOutcome::Attempted) => {
                let state = view.status();
                order.end(state.last_fault.as_ref().map(|fault| &*fault.reason));
                let grant = Some(convert::grant(&view, &state, now));
                Ok(Response::new(RefreshGrantResponse { grant }))
            }
            Some(OrderOutcome::Held(until)) => {
                order.refused(status::UPSTREAM_THROTTLED);
                Err(status::refresh_held(name, until.since(now.boot), deadline))
            }
            None => {
                order.end(Some(status::DRAINING));
                Err(status::draining(deadline))
            }
        }
    }

    type WatchGrantsStream =
        Pin<Box<dyn Stream<Item = Result<WatchGrantsResponse, Status>> + Send>>;

    async fn watch_grants(
        &self,
        mut request: Request<WatchGrantsRequest>,
    ) -> Result<Response<Self::WatchGrantsStream>, Status> {
        let Origin { deadline, access, lifetime } = Origin::take(&mut request)?;
        // Subscribe before the entries are checked, so that no change is missed.
        let rights = access.changes();
        let target = request.into_inner().target;
        let views = self.watched(target.as_ref(), &access);
        let views = views.map_err(|refusal| access.refuse(refusal))?;
        let permit = self.streams.open().ok_or_else(|| status::overloaded(deadline, None))?;
        let caller_permit = access.stream().map_err(|StreamLimitReached| {
            status::streams_exceeded(access.entry_name(), deadline, None)
        })?;
        let reported = views.iter().map(|_| None).collect();
        let watch = Watch {
            grants: self.clone(),
            target,
            access,
            rights,
            views,
            changes: self.roster.changes(),
            lifetime,
            deadline,
            reported,
            stage: Stage::Snapshot(0),
            _permits: (permit, caller_permit),
        };
        Ok(Response::new(Box::pin(stream::try_unfold(watch, Watch::next))))
    }
}

/// A refresh ordered by a caller. It is recorded even if the caller leaves, or its deadline passes,
/// after the upstream request started.
struct Order<'a> {
    access: &'a Access,
    grant: &'a str,
    is_open: bool,
}

impl Order<'_> {
    /// Records an attempt, with the reason if it failed.
    fn end(mut self, failed: Option<&str>) {
        self.is_open = false;
        self.access.record_refresh(self.grant, failed);
    }

    /// Records that no attempt was made, and why.
    fn refused(mut self, reason: &'static str) {
        self.is_open = false;
        self.access.record_refusal(reason);
    }
}

impl Drop for Order<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.access.record_refresh(self.grant, Some(CANCELLED));
        }
    }
}

/// One watch of grants.
struct Watch {
    grants: Grants,
    target: Option<Target>,
    access: Access,
    /// Notifies of changes of callers' rights.
    rights: watch::Receiver<()>,
    views: Vec<View>,
    changes: watch::Receiver<()>,
    lifetime: Lifetime,
    deadline: Option<Instant>,
    /// The last report of each view, in the order of the views.
    reported: Vec<Option<Reported>>,
    stage: Stage,
    _permits: (StreamPermit, Option<usage::Permit>),
}

/// The progress of a watch. Each message is built when the transport requests it.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// The snapshot was sent up to this view.
    Snapshot(usize),
    /// The snapshot is complete. The next search for changes starts at this view, so that no grant
    /// is starved by others that change all the time.
    Changes(usize),
}

/// What a change is detected by: everything that is sent, except that times, which move with the
/// clocks, are replaced by what they are computed from.
struct Reported {
    state: GrantState,
    refresh: RefreshState,
    life: Option<Life>,
    next_attempt: Option<BootTime>,
    last_fault: Option<Fault>,
    consecutive_failures: u32,
}

impl Reported {
    fn new(status: &grant::Status, state: GrantState) -> Self {
        Self {
            state,
            refresh: status.refresh,
            life: status.life,
            next_attempt: status.next_attempt,
            last_fault: status.last_fault.clone(),
            consecutive_failures: status.consecutive_failures,
        }
    }

    /// Whether the status is the same. Copies nothing, since most grants have not changed.
    fn is(&self, status: &grant::Status, state: GrantState) -> bool {
        self.state == state
            && self.refresh == status.refresh
            && self.life == status.life
            && self.next_attempt == status.next_attempt
            && self.last_fault == status.last_fault
            && self.consecutive_failures == status.consecutive_failures
    }
}

impl Watch {
    /// Checks the caller's rights again if the entries have changed. The watch may show more
    /// afterward; it fails if it would show less.
    fn recheck_rights(&mut self) -> Result<(), Status> {
        self.rights.mark_unchanged();
        let valid = self.access.caller().is_valid();
        let changed = valid.and_then(|()| self.access.changed(Method::WatchGrants));
        let changed = changed.map_err(|denied| status::denied(&denied, None, None))?;
        let Some(access) = changed else { return Ok(()) };
        let views = self.grants.watched(self.target.as_ref(), &access);
        let views = views.map_err(|refusal| access.refuse(refusal))?;
        let is_shown = |view: &View| views.iter().any(|shown| shown.name() == view.name());
        if !self.views.iter().all(is_shown) {
            let denied = access.deny_narrowed_watch();
            return Err(status::denied(&denied, None, None));
        }
        self.access = access;
        if views.len() > self.views.len() {
            self.reported = views.iter().map(|_| None).collect();
            self.views = views;
            self.stage = Stage::Snapshot(0);
        }
        Ok(())
    }

    async fn next(mut self) -> Result<Option<(WatchGrantsResponse, Self)>, Status> {
        loop {
            let deadline = self.deadline;
            // Checked first, since a watch that always has something to send must stop too.
            if self.grants.drain.reached(Phase::Draining) {
                return Err(status::draining(deadline));
            }
            if self.lifetime.has_ended() {
                return Err(status::lifetime_reached(deadline, None));
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(status::deadline_exceeded(None));
            }
            self.recheck_rights()?;
            self.changes.mark_unchanged();
            let message = match self.stage {
                Stage::Snapshot(from) => Some(self.snapshot(from)),
                Stage::Changes(from) => self.changed(from),
            };
            if let Some(message) = message {
                return Ok(Some((message, self)));
            }
            let next_expiry = next_end_of_life(&self.views, self.grants.clock.now());
            let watched = self.views.len();
            let changed = async {
                let _ = self.changes.changed().await;
                collect_changes(watched).await;
            };
            tokio::select! {
                () = changed => {}
                _ = self.rights.changed() => {}
                () = sleep(next_expiry.unwrap_or(Duration::MAX)) => {}
                () = self.grants.drain.wait(Phase::Draining) => return Err(status::draining(deadline)),
                () = self.lifetime.ended() => {
                    return Err(status::lifetime_reached(deadline, None));
                }
                denied = self.access.caller().ended() => {
                    return Err(status::denied(&denied, None, deadline));
                }
                () = at(deadline) => return Err(status::deadline_exceeded(None)),
            }
        }
    }

    /// The next message of the snapshot.
    fn snapshot(&mut self, from: usize) -> WatchGrantsResponse {
        let now = self.grants.clock.now();
        let end = self.views.len().min(from + MAX_PAGE);
        let grants = (from..end).filter_map(|index| self.report(index, now)).collect();
        let snapshot_complete = end == self.views.len();
        self.stage = if snapshot_complete { Stage::Changes(0) } else { Stage::Snapshot(end) };
        WatchGrantsResponse { grants, snapshot: true, snapshot_complete }
    }

    /// The grants that changed since they were last reported, searched from one view on; none if
    /// nothing changed.
    fn changed(&mut self, from: usize) -> Option<WatchGrantsResponse> {
        let now = self.grants.clock.now();
        let mut grants = Vec::new();
        for index in (from..self.views.len()).chain(0..from) {
            if grants.len() == MAX_PAGE {
                self.stage = Stage::Changes(index);
                break;
            }
            grants.extend(self.report(index, now));
        }
        let message = WatchGrantsResponse { grants, snapshot: false, snapshot_complete: false };
        (!message.grants.is_empty()).then_some(message)
    }

    /// The grant, if it changed since it was last reported.
    fn report(&mut self, index: usize, now: Anchor) -> Option<proto::Grant> {
        let (view, reported) = (self.views.get(index)?, self.reported.get_mut(index)?);
        view.with_status(|status| {
            let state = status.state(now, view.margin());
            if reported.as_ref().is_some_and(|reported| reported.is(status, state)) {
                return None;
            }
            *reported = Some(Reported::new(status, state));
            Some(convert::grant(view, status, now))
        })
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;

//! What a call's caller is allowed to do, and how it is refused.

mod recorded;

use std::{borrow::Borrow, fmt, sync::Arc, time::Duration};

use tokio::sync::watch;
use tonic::Status;

use self::recorded::CallRecord;
use super::{caller::Caller, methods::Rule, status, violation::Refusal};
use crate::{
    audit::{Audit, CallInfo, Full},
    auth::{
        callers::{CallerMatch, Callers},
        method::Method,
        policy::{Mode, NO_ENTRY},
        refusal::{Denied, QUOTA_EXCEEDED, STREAMS_EXCEEDED, UNAUTHENTICATED},
        row::Reach,
        usage::{self, Quota, Use},
    },
    mint::{
        self,
        quota::{QuotaError, Recipients, Record, Taken, Wanted},
    },
    telemetry::CallerMetrics,
};

/// A call's caller at one moment: entries and rows may change while the call lasts.
#[derive(Clone)]
pub(super) struct Access {
    callers: Arc<Callers>,
    caller: Caller,
    matched: CallerMatch,
    /// Whether the call was denied already and continues because denials are only observed.
    is_observed: bool,
    /// None for a method without rows.
    method: Option<Method>,
    /// None if nothing is recorded.
    audit: Option<Audit>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("entry", &self.entry_name()).finish_non_exhaustive()
    }
}

impl Access {
    /// Admits the caller of a method with this rule.
    ///
    /// # Errors
    ///
    /// The caller may not call this method at all.
    pub(super) fn admit(
        callers: &Arc<Callers>,
        caller: Caller,
        rule: Rule,
        audit: Option<&Audit>,
    ) -> Result<Self, Denied> {
        let matched = callers.find(caller.names());
        let callers = Arc::clone(callers);
        let (method, audit) = (rule.method(), audit.cloned());
        let mut access = Self { callers, caller, matched, is_observed: false, method, audit };
        if let Some(method) = method {
            let named = match &access.matched {
                CallerMatch::Anybody => Ok(()),
                CallerMatch::Caller(caller, _) => caller.entry.reach_method(method),
                CallerMatch::Nobody(denied) => Err(denied.clone()),
            };
            let mode = match named {
                Err(Denied::Unauthenticated(_)) => Mode::Enforce,
                _ => access.mode_of(method),
            };
            access.is_observed = access.decide_in(mode, named)?.is_none();
        }
        Ok(access)
    }

    /// A caller that may do everything.
    #[cfg(test)]
    pub(super) fn of_anybody() -> Self {
        use crate::auth::{name::CallerName, peer::Peer, policy::Policy};

        let metrics = crate::telemetry::Metrics::default();
        let callers = Arc::new(Callers::new(Policy::Open, Mode::Enforce, &metrics));
        let from = std::net::IpAddr::from(std::net::Ipv4Addr::LOCALHOST).into();
        let peer = Peer {
            name: Some(CallerName::Loopback),
            other_names: Vec::new(),
            certificate: None,
            from,
        };
        let caller = Caller::Peer(Arc::new(peer));
        let (method, audit) = (Some(Method::MintToken), None);
        Self { callers, caller, matched: CallerMatch::Anybody, is_observed: false, method, audit }
    }

    /// The same, recorded in this log.
    #[cfg(test)]
    pub(super) fn recorded_in(self, audit: &Audit) -> Self {
        Self { audit: Some(audit.clone()), ..self }
    }

    /// Identifies the caller.
    pub(super) const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The same caller with the current entries; none if they have not changed for it.
    pub(super) fn changed(&self, method: Method) -> Result<Option<Self>, Denied> {
        let matched = self.callers.find(self.caller.names());
        let is_same = match (&self.matched, &matched) {
            (CallerMatch::Anybody, CallerMatch::Anybody) => true,
            (CallerMatch::Caller(before, _), CallerMatch::Caller(now, _)) => {
                Arc::ptr_eq(before, now)
            }
            (CallerMatch::Nobody(before), CallerMatch::Nobody(now)) => before == now,
            _ => false,
        };
        if is_same {
            return Ok(None);
        }
        let (caller, rule) = (self.caller.clone(), Rule::Rows(method));
        Self::admit(&self.callers, caller, rule, self.audit.as_ref()).map(Some)
    }

    /// Notifies of changes of the entries from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.callers.changes()
    }

    /// The name of the caller's entry.
    pub(super) fn entry_name(&self) -> &str {
        match &self.matched {
            CallerMatch::Caller(caller, _) => caller.entry.name.as_str(),
            CallerMatch::Anybody | CallerMatch::Nobody(_) => NO_ENTRY,
        }
    }

    /// The caller's metrics.
    pub(super) fn metrics(&self) -> &CallerMetrics {
        match &self.matched {
            CallerMatch::Caller(caller, _) => &caller.metrics,
            CallerMatch::Anybody | CallerMatch::Nobody(_) => self.callers.nobody(),
        }
    }

    /// The rows that allow the call's profile and resource; none if everything is allowed.
    ///
    /// # Errors
    ///
    /// No row allows them.
    pub(super) fn reach<'a>(
        &'a self,
        method: Method,
        profile: &'a str,
        resource: &'a str,
    ) -> Result<Option<Reach<'a>>, Denied> {
        match &self.matched {
            CallerMatch::Caller(caller, _) if !self.is_observed => {
                let reach = caller.entry.reach(method, profile, resource);
                self.decide_in(self.mode_of(method), reach)
            }
            _ => Ok(None),
        }
    }

    /// Checks that a row names the profile.
    ///
    /// # Errors
    ///
    /// No row names it.
    pub(super) fn reach_profile(&self, method: Method, profile: &str) -> Result<(), Denied> {
        match &self.matched {
            CallerMatch::Caller(caller, _) if !self.is_observed => {
                self.decide(caller.entry.reach_profile(method, profile)).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Whether a list shows this grant.
    pub(super) fn shows(&self, method: Method, profile: &str, resource: &str) -> bool {
        match &self.matched {
            CallerMatch::Caller(caller, _) if self.callers.mode() == Mode::Enforce => {
                caller.entry.reach(method, profile, resource).is_ok()
            }
            CallerMatch::Anybody | CallerMatch::Caller(..) => true,
            CallerMatch::Nobody(denied) => self.is_only_observed(denied),
        }
    }

    /// Whether the caller may see the health of a profile, which is part of the state of its
    /// grants.
    pub(super) fn shows_health_of(&self, profile: &str) -> bool {
        let named = match self.callers.find(self.caller.names()) {
            CallerMatch::Anybody => Ok(()),
            CallerMatch::Caller(caller, _) => caller.entry.reach_profile(Method::GetGrant, profile),
            CallerMatch::Nobody(denied) => Err(denied),
        };
        match named {
            Ok(()) => true,
            Err(denied) => self.is_only_observed(&denied),
        }
    }

    /// Whether a denied call is served because denials are only observed. Authentication is always
    /// enforced.
    fn is_only_observed(&self, denied: &Denied) -> bool {
        self.callers.mode() == Mode::Observe && !matches!(denied, Denied::Unauthenticated(_))
    }

    fn mode_of(&self, method: Method) -> Mode {
        if method.is_always_enforced() { Mode::Enforce } else { self.callers.mode() }
    }

    /// Applies a decision: denied is an error if enforced, and none if only observed.
    pub(super) fn decide<T>(&self, decision: Result<T, Denied>) -> Result<Option<T>, Denied> {
        self.decide_in(self.callers.mode(), decision)
    }

    fn decide_in<T>(&self, mode: Mode, decision: Result<T, Denied>) -> Result<Option<T>, Denied> {
        let denied = match decision {
            Ok(allowed) => return Ok(Some(allowed)),
            Err(denied) => denied,
        };
        self.count(denied.reason(), mode);
        match mode {
            Mode::Enforce => Err(denied),
            Mode::Observe => Ok(None),
        }
    }

    fn count(&self, reason: &'static str, mode: Mode) {
        self.metrics().refused(reason, mode.as_str());
        if mode == Mode::Observe && self.is_time_to_log() {
            let caller = self.entry_name();
            tracing::warn!(caller, reason, "the call would be denied; observing only");
        }
        if mode == Mode::Enforce {
            self.record_refusal(reason);
        }
    }

    /// Records that the call is denied for this reason.
    pub(super) fn record_refusal(&self, reason: &'static str) {
        let Some(audit) = &self.audit else { return };
        // A failed authentication was recorded where it was detected.
        if reason != UNAUTHENTICATED {
            audit.refused(&self.who(), reason);
        }
    }

    /// Refuses the call and records a refusal caused by the request itself. Denials of the caller's
    /// rights were recorded when they were decided.
    pub(super) fn refuse(&self, refusal: Refusal) -> Status {
        if let (Some(_), Some(reason)) = (&self.audit, refusal.request_reason()) {
            self.record_refusal(reason);
        }
        status::refused(refusal)
    }

    /// The caller as the audit log identifies it.
    pub(super) fn who(&self) -> CallInfo<'_> {
        let (entry, name) = match &self.matched {
            CallerMatch::Caller(caller, name) => (Some(caller.entry.name.as_str()), *name),
            CallerMatch::Anybody | CallerMatch::Nobody(_) => (None, 0),
        };
        CallInfo {
            caller: self.caller.names().nth(name).map(|name| name as &dyn fmt::Display),
            entry,
            peer: self.caller.peer().from,
            method: self.method.map(Method::as_str),
        }
    }

    /// Records that a grant was refreshed for the caller, or why it was not.
    pub(super) fn record_refresh(&self, grant: &str, failed: Option<&str>) {
        if let Some(audit) = &self.audit {
            audit.refreshed(&self.who(), grant, failed);
        }
    }

    /// Reserves space for the record of these recipients' tokens; none if nothing is recorded.
    fn record(&self, recipients: &Recipients<'_>) -> Result<Option<Box<dyn Record>>, QuotaError> {
        let Some(audit) = &self.audit else { return Ok(None) };
        let reserved = audit.reserve(recipients).map_err(|Full| {
            self.record_refusal(status::AUDIT_UNAVAILABLE);
            QuotaError::Record
        })?;
        Ok(Some(Box::new(CallRecord { reserved, access: self.clone() })))
    }

    fn is_time_to_log(&self) -> bool {
        match &self.matched {
            CallerMatch::Caller(caller, _) => caller.is_time_to_log(),
            CallerMatch::Anybody | CallerMatch::Nobody(_) => self.callers.is_time_to_log(),
        }
    }

    /// Counts a call refused because the caller's quota is exhausted.
    pub(super) fn count_over_quota(&self) {
        self.count(QUOTA_EXCEEDED, Mode::Enforce);
    }

    /// Denies a forwarded grant that lives longer than the caller's tokens may.
    pub(super) fn deny_lifetime(&self, attainable_max: Duration) -> Denied {
        let denied = Denied::Ttl { attainable_max };
        self.count(denied.reason(), Mode::Enforce);
        denied
    }

    /// Denies a watch that may no longer show all the grants it did.
    pub(super) fn deny_narrowed_watch(&self) -> Denied {
        self.count(Denied::Resource.reason(), Mode::Enforce);
        Denied::Resource
    }

    /// A stream permit of the caller's entry; none if its streams are not limited.
    ///
    /// # Errors
    ///
    /// All permits are in use.
    pub(super) fn stream(&self) -> Result<Option<usage::Permit>, StreamLimitReached> {
        let CallerMatch::Caller(caller, _) = &self.matched else { return Ok(None) };
        caller.permit(Use::Stream).map(Some).ok_or_else(|| {
            self.count(STREAMS_EXCEEDED, Mode::Enforce);
            StreamLimitReached
        })
    }

    fn permit(&self, usage: Use) -> Option<mint::quota::WaitPermit> {
        match &self.matched {
            CallerMatch::Caller(caller, _) => Some(Box::new(caller.permit(usage)?)),
            CallerMatch::Anybody | CallerMatch::Nobody(_) => Some(Box::new(())),
        }
    }
}

/// The caller's entry has reached its limit of open streams.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamLimitReached;

/// One of the caller's quotas.
#[derive(Debug)]
pub(super) struct CallerQuota<A> {
    access: A,
    quota: Quota,
}

impl<A: Borrow<Access>> CallerQuota<A> {
    /// The quota of this kind.
    pub(super) const fn new(access: A, quota: Quota) -> Self {
        Self { access, quota }
    }
}

impl<A: Borrow<Access> + fmt::Debug + Send + Sync> mint::quota::Quota for CallerQuota<A> {
    fn take(&self, wanted: &Wanted<'_>) -> Result<Taken, QuotaError> {
        let Wanted { min, max, units_each, recipients } = wanted;
        let (min, max, units_each) = (*min, *max, *units_each);
        let access = self.access.borrow();
        let record = access.record(recipients)?;
        let CallerMatch::Caller(caller, _) = &access.matched else {
            return Ok(Taken { tokens: max, units: 0, record });
        };
        let mode = access.callers.mode();
        let tokens = match caller.take(self.quota, min, max, units_each) {
            Ok(tokens) => tokens,
            Err(_) if mode == Mode::Observe => {
                access.count(QUOTA_EXCEEDED, Mode::Observe);
                None
            }
            Err(refill) => return Err(QuotaError::Units(refill)),
        };
        let units = tokens.map_or(0, |tokens| tokens * u64::from(units_each));
        let tokens = match mode {
            Mode::Enforce => tokens.unwrap_or(max),
            Mode::Observe => max,
        };
        Ok(Taken { tokens, units, record })
    }

    fn give_back(&self, units: u64) {
        if let CallerMatch::Caller(caller, _) = &self.access.borrow().matched {
            caller.give_back(self.quota, units);
        }
    }

    fn wait_for_grant(&self) -> Option<mint::quota::WaitPermit> {
        self.access.borrow().permit(Use::Grant)
    }

    fn wait_for_units(&self) -> Option<mint::quota::WaitPermit> {
        self.access.borrow().permit(Use::Quota)
    }
}

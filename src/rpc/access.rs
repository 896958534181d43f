//! What a call's caller may do, and how it is refused more.

use std::{borrow::Borrow, fmt, sync::Arc, time::Duration};

use tokio::sync::watch;
use tonic::Status;

use super::{caller::Caller, methods::Rule, recorded::Recorded, status, violation::Refusal};
use crate::{
    audit::{Audit, CallInfo, Full},
    auth::{
        callers::{Callers, Standing},
        method::Method,
        policy::{Mode, NO_ENTRY},
        refusal::{Denied, QUOTA_EXCEEDED, STREAMS_EXCEEDED, UNAUTHENTICATED},
        row::Reach,
        usage::{self, Quota, Use},
    },
    mint::{
        self,
        quota::{Recipients, Record, Short, Taken, Wanted},
    },
    telemetry::CallerMetrics,
};

/// A call's caller, as it was known at this moment: entries and rows may change while it lasts.
#[derive(Clone)]
pub(super) struct Access {
    callers: Arc<Callers>,
    caller: Caller,
    standing: Standing,
    /// Whether it was not allowed already, and goes on since that is only observed.
    is_observed: bool,
    /// None of a method without rows.
    method: Option<Method>,
    /// None where nothing is recorded.
    audit: Option<Audit>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("entry", &self.entry_name()).finish_non_exhaustive()
    }
}

impl Access {
    /// The caller of a method with this rule.
    ///
    /// # Errors
    ///
    /// The caller may not call it, whatever for.
    pub(super) fn admit(
        callers: &Arc<Callers>,
        caller: Caller,
        rule: Rule,
        audit: Option<&Audit>,
    ) -> Result<Self, Denied> {
        let standing = callers.standing(caller.names());
        let callers = Arc::clone(callers);
        let (method, audit) = (rule.method(), audit.cloned());
        let mut access = Self { callers, caller, standing, is_observed: false, method, audit };
        if let Some(method) = method {
            let named = match &access.standing {
                Standing::Anybody => Ok(()),
                Standing::Caller(caller, _) => caller.entry.reach_method(method),
                Standing::Nobody(denied) => Err(denied.clone()),
            };
            let mode = match named {
                Err(Denied::Unauthenticated(_)) => Mode::Enforce,
                _ => access.mode_of(method),
            };
            access.is_observed = access.decide_in(mode, named)?.is_none();
        }
        Ok(access)
    }

    /// Anybody, where everybody may do everything.
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
        Self { callers, caller, standing: Standing::Anybody, is_observed: false, method, audit }
    }

    /// The same, recorded in this log.
    #[cfg(test)]
    pub(super) fn recorded_in(self, audit: &Audit) -> Self {
        Self { audit: Some(audit.clone()), ..self }
    }

    /// Who makes the call.
    pub(super) const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The same caller by the entries of this moment; none where they have not changed for it.
    pub(super) fn changed(&self, method: Method) -> Result<Option<Self>, Denied> {
        let standing = self.callers.standing(self.caller.names());
        let is_same = match (&self.standing, &standing) {
            (Standing::Anybody, Standing::Anybody) => true,
            (Standing::Caller(before, _), Standing::Caller(now, _)) => Arc::ptr_eq(before, now),
            (Standing::Nobody(before), Standing::Nobody(now)) => before == now,
            _ => false,
        };
        if is_same {
            return Ok(None);
        }
        let (caller, rule) = (self.caller.clone(), Rule::Rows(method));
        Self::admit(&self.callers, caller, rule, self.audit.as_ref()).map(Some)
    }

    /// Changes of the entries from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.callers.changes()
    }

    /// The name of the caller's entry.
    pub(super) fn entry_name(&self) -> &str {
        match &self.standing {
            Standing::Caller(caller, _) => caller.entry.name.as_str(),
            Standing::Anybody | Standing::Nobody(_) => NO_ENTRY,
        }
    }

    /// What is counted of the caller.
    pub(super) fn metrics(&self) -> &CallerMetrics {
        match &self.standing {
            Standing::Caller(caller, _) => &caller.metrics,
            Standing::Anybody | Standing::Nobody(_) => self.callers.nobody(),
        }
    }

    /// The rows that name what a call is for; none where all is allowed.
    ///
    /// # Errors
    ///
    /// No row does.
    pub(super) fn reach<'a>(
        &'a self,
        method: Method,
        profile: &'a str,
        resource: &'a str,
    ) -> Result<Option<Reach<'a>>, Denied> {
        match &self.standing {
            Standing::Caller(caller, _) if !self.is_observed => {
                let reach = caller.entry.reach(method, profile, resource);
                self.decide_in(self.mode_of(method), reach)
            }
            _ => Ok(None),
        }
    }

    /// Whether rows name the profile.
    ///
    /// # Errors
    ///
    /// No row does.
    pub(super) fn reach_profile(&self, method: Method, profile: &str) -> Result<(), Denied> {
        match &self.standing {
            Standing::Caller(caller, _) if !self.is_observed => {
                self.decide(caller.entry.reach_profile(method, profile)).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Whether a list shows this.
    pub(super) fn shows(&self, method: Method, profile: &str, resource: &str) -> bool {
        match &self.standing {
            Standing::Caller(caller, _) if self.callers.mode() == Mode::Enforce => {
                caller.entry.reach(method, profile, resource).is_ok()
            }
            Standing::Anybody | Standing::Caller(..) => true,
            Standing::Nobody(denied) => self.is_only_observed(denied),
        }
    }

    /// Whether the health of a profile is shown, which is a part of the state of its grants.
    pub(super) fn shows_health_of(&self, profile: &str) -> bool {
        let named = match self.callers.standing(self.caller.names()) {
            Standing::Anybody => Ok(()),
            Standing::Caller(caller, _) => caller.entry.reach_profile(Method::GetGrant, profile),
            Standing::Nobody(denied) => Err(denied),
        };
        match named {
            Ok(()) => true,
            Err(denied) => self.is_only_observed(&denied),
        }
    }

    /// Whether what is not allowed is served all the same. Authentication is always enforced.
    fn is_only_observed(&self, denied: &Denied) -> bool {
        self.callers.mode() == Mode::Observe && !matches!(denied, Denied::Unauthenticated(_))
    }

    fn mode_of(&self, method: Method) -> Mode {
        if method.is_always_enforced() { Mode::Enforce } else { self.callers.mode() }
    }

    /// The result of a judgement: what is not allowed is refused, or else none and observed.
    pub(super) fn decide<T>(&self, judged: Result<T, Denied>) -> Result<Option<T>, Denied> {
        self.decide_in(self.callers.mode(), judged)
    }

    fn decide_in<T>(&self, mode: Mode, judged: Result<T, Denied>) -> Result<Option<T>, Denied> {
        let denied = match judged {
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
            tracing::warn!(caller, reason, "a call would be refused; it is only observed");
        }
        if mode == Mode::Enforce {
            self.record_refusal(reason);
        }
    }

    /// Records that the call is refused for this reason.
    pub(super) fn record_refusal(&self, reason: &'static str) {
        let Some(audit) = &self.audit else { return };
        // What is not authenticated was recorded where that was found out.
        if reason != UNAUTHENTICATED {
            audit.refused(&self.who(), reason);
        }
    }

    /// Refuses the call. A request that must change is recorded; that its caller may not have
    /// something was recorded when that was decided.
    pub(super) fn refuse(&self, refusal: Refusal) -> Status {
        if let (Some(_), Some(reason)) = (&self.audit, refusal.of_request()) {
            self.record_refusal(reason);
        }
        status::refused(refusal)
    }

    /// The caller, for the audit log.
    pub(super) fn who(&self) -> CallInfo<'_> {
        let (entry, name) = match &self.standing {
            Standing::Caller(caller, name) => (Some(caller.entry.name.as_str()), *name),
            Standing::Anybody | Standing::Nobody(_) => (None, 0),
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

    /// What will record the tokens of these recipients; none where nothing is recorded.
    fn record(&self, recipients: &Recipients<'_>) -> Result<Option<Box<dyn Record>>, Short> {
        let Some(audit) = &self.audit else { return Ok(None) };
        let place = audit.reserve(recipients).map_err(|Full| {
            self.record_refusal(status::AUDIT_UNAVAILABLE);
            Short::Record
        })?;
        Ok(Some(Box::new(Recorded { place, access: self.clone() })))
    }

    fn is_time_to_log(&self) -> bool {
        match &self.standing {
            Standing::Caller(caller, _) => caller.is_time_to_log(),
            Standing::Anybody | Standing::Nobody(_) => self.callers.is_time_to_log(),
        }
    }

    /// A call is refused since the caller's quota is used up.
    pub(super) fn over_quota(&self) {
        self.count(QUOTA_EXCEEDED, Mode::Enforce);
    }

    /// The grant, which is the token, lives longer than the caller's tokens may.
    pub(super) fn lives_too_long(&self, attainable_max: Duration) -> Denied {
        let denied = Denied::Ttl { attainable_max };
        self.count(denied.reason(), Mode::Enforce);
        denied
    }

    /// A watch ends, since it would no longer show all that it did.
    pub(super) fn hides(&self) -> Denied {
        self.count(Denied::Resource.reason(), Mode::Enforce);
        Denied::Resource
    }

    /// A place to stream in among those of the caller's entry, where one is free.
    ///
    /// # Errors
    ///
    /// None is.
    pub(super) fn stream(&self) -> Result<Option<usage::Permit>, NoStream> {
        let Standing::Caller(caller, _) = &self.standing else { return Ok(None) };
        caller.permit(Use::Stream).map(Some).ok_or_else(|| {
            self.count(STREAMS_EXCEEDED, Mode::Enforce);
            NoStream
        })
    }

    fn place(&self, taken: Use) -> Option<mint::quota::Place> {
        match &self.standing {
            Standing::Caller(caller, _) => Some(Box::new(caller.permit(taken)?)),
            Standing::Anybody | Standing::Nobody(_) => Some(Box::new(())),
        }
    }
}

/// As many calls of an entry stream as may.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoStream;

/// One of the quotas of a call's caller.
#[derive(Debug)]
pub(super) struct Spending<A> {
    access: A,
    quota: Quota,
}

impl<A: Borrow<Access>> Spending<A> {
    /// Of this quota.
    pub(super) const fn new(access: A, quota: Quota) -> Self {
        Self { access, quota }
    }
}

impl<A: Borrow<Access> + fmt::Debug + Send + Sync> mint::quota::Quota for Spending<A> {
    fn take(&self, wanted: &Wanted<'_>) -> Result<Taken, Short> {
        let Wanted { least, most, each, recipients } = wanted;
        let (least, most, each) = (*least, *most, *each);
        let access = self.access.borrow();
        let record = access.record(recipients)?;
        let Standing::Caller(caller, _) = &access.standing else {
            return Ok(Taken { tokens: most, units: 0, record });
        };
        let mode = access.callers.mode();
        let tokens = match caller.take(self.quota, least, most, each) {
            Ok(tokens) => tokens,
            Err(_) if mode == Mode::Observe => {
                access.count(QUOTA_EXCEEDED, Mode::Observe);
                None
            }
            Err(refill) => return Err(Short::Units(refill)),
        };
        let units = tokens.map_or(0, |tokens| tokens * u64::from(each));
        let tokens = match mode {
            Mode::Enforce => tokens.unwrap_or(most),
            Mode::Observe => most,
        };
        Ok(Taken { tokens, units, record })
    }

    fn give_back(&self, units: u64) {
        if let Standing::Caller(caller, _) = &self.access.borrow().standing {
            caller.give_back(self.quota, units);
        }
    }

    fn wait_for_grant(&self) -> Option<mint::quota::Place> {
        self.access.borrow().place(Use::Grant)
    }

    fn wait_for_units(&self) -> Option<mint::quota::Place> {
        self.access.borrow().place(Use::Quota)
    }
}

//! The script: the active faults, and which of them a request triggers.

use super::fault::{BadBody, Effect, Fault};
use crate::clock::BootTime;

/// The properties of a request that faults match on.
pub(super) struct Target<'a> {
    /// The requested resource.
    pub(super) resource: &'a str,
    /// The bodies specific to its endpoint.
    pub(super) bodies: &'a [&'static str],
}

/// The active faults, in the order in which they were set.
#[derive(Debug)]
pub(super) struct Script(Vec<ActiveFault>);

/// A fault since it was set.
#[derive(Debug)]
struct ActiveFault {
    fault: Fault,
    since: BootTime,
    /// Requests that it matches.
    matched: u64,
    /// Requests that triggered it.
    triggered: u32,
}

impl Script {
    pub(super) fn new(faults: Vec<Fault>, now: BootTime) -> Self {
        let activate = |fault| ActiveFault { fault, since: now, matched: 0, triggered: 0 };
        Self(faults.into_iter().map(activate).collect())
    }

    /// Appends `fault`.
    pub(super) fn add(&mut self, fault: Fault, now: BootTime) {
        self.0.extend(Self::new(vec![fault], now).0);
    }

    /// Replaces the faults for the same resource, or those for all resources.
    pub(super) fn set(&mut self, fault: Fault, now: BootTime) {
        self.0.retain(|active| !same_resource(&active.fault, &fault));
        self.add(fault, now);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault that a request triggers, if any: the first due fault for its resource, or else the
    /// first due fault for all resources.
    pub(super) fn trigger(&mut self, target: &Target<'_>, now: BootTime) -> Option<Fault> {
        for active in self.0.iter_mut().filter(|active| active.matches(target)) {
            active.matched = active.matched.saturating_add(1);
        }
        let is_due = |active: &ActiveFault| active.matches(target) && active.is_due(now);
        let is_own = |active: &ActiveFault| active.fault.resource.is_some() && is_due(active);
        let at = self.0.iter().position(is_own).or_else(|| self.0.iter().position(is_due));
        let triggered = at.and_then(|at| self.0.get_mut(at)).map(ActiveFault::trigger);
        self.0.retain(|active| !active.has_ended(now));
        triggered
    }
}

impl ActiveFault {
    /// Whether it matches a request; the endpoint must have the fault's body.
    fn matches(&self, target: &Target<'_>) -> bool {
        let resource = self.fault.resource.as_ref();
        let possible = match &self.fault.effect {
            Effect::Body(BadBody::Own(body)) => target.bodies.contains(&body.as_str()),
            _ => true,
        };
        possible && resource.is_none_or(|own| is_same(own.as_str(), target.resource))
    }

    /// Whether it applies to the request counted last.
    fn is_due(&self, now: BootTime) -> bool {
        let when = &self.fault.when;
        let numbered = when.requests.as_ref().is_none_or(|numbers| numbers.contains(&self.matched));
        let spent = when.times.is_some_and(|times| self.triggered >= times);
        let time = now.since(self.since);
        numbered && !spent && time >= when.from && when.until.is_none_or(|until| time < until)
    }

    /// Whether it can never apply again.
    fn has_ended(&self, now: BootTime) -> bool {
        let when = &self.fault.when;
        when.until.is_some_and(|until| now.since(self.since) >= until)
            || when.requests.as_ref().is_some_and(|numbers| self.matched >= *numbers.end())
            || when.times.is_some_and(|times| self.triggered >= times)
    }

    /// Counts a trigger and returns the fault.
    fn trigger(&mut self) -> Fault {
        self.triggered = self.triggered.saturating_add(1);
        self.fault.clone()
    }
}

fn same_resource(one: &Fault, other: &Fault) -> bool {
    match (&one.resource, &other.resource) {
        (None, None) => true,
        (Some(one), Some(other)) => is_same(one.as_str(), other.as_str()),
        _ => false,
    }
}

/// Whether two strings name one resource. Some kinds ignore letter case, and no script needs two
/// resources that differ only in case.
fn is_same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;

    const SID: &str = "VJ0123456789abcdef0123456789abcdef";

    fn fault(text: &str) -> Fault {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn target(resource: &str) -> Target<'_> {
        Target { resource, bodies: &["empty"] }
    }

    fn start() -> BootTime {
        Clock::system().now().boot
    }

    /// A script and its start; reports the faults that requests trigger in the grammar.
    struct Play(Script, BootTime);

    impl Play {
        fn of<'a>(faults: impl IntoIterator<Item = &'a str>) -> Self {
            let start = start();
            Self(Script::new(faults.into_iter().map(fault).collect(), start), start)
        }

        /// The fault that a request triggers after this many seconds.
        fn at(&mut self, seconds: u64, resource: &str) -> String {
            let now = self.1 + Duration::from_secs(seconds);
            let triggered = self.0.trigger(&target(resource), now);
            triggered.map_or_else(|| "-".to_owned(), |fault| fault.to_string())
        }

        /// The faults that this many requests trigger at the start.
        fn first(&mut self, requests: usize) -> Vec<String> {
            (0..requests).map(|_| self.at(0, "any")).collect()
        }
    }

    #[test]
    fn faults_apply_in_order_until_spent() {
        let mut play = Play::of(["status=500,times=2", "hang,times=1"]);
        play.0.add(fault(&format!("reset,resource={SID},times=1")), start());
        assert_eq!(play.at(0, &SID.to_uppercase()), format!("reset,resource={SID},times=1"));
        assert_eq!(play.at(0, SID), "status=500,times=2");
        assert_eq!(play.at(0, "VJ other"), "status=500,times=2");
        assert_eq!(play.at(0, SID), "hang,times=1");
        assert_eq!(play.at(0, SID), "-");
        assert!(play.0.0.is_empty(), "ended faults are dropped");
    }

    #[test]
    fn set_replaces_faults_for_the_same_resource() {
        let mut script = Script::new(vec![fault("hang")], start());
        script.set(fault("reset"), start());
        script.set(fault(&format!("status=404,resource={SID}")), start());
        assert_eq!(script.0.len(), 2);
        assert_eq!(script.trigger(&target("other"), start()).unwrap().effect, Effect::Reset);
        script.clear();
        assert!(script.trigger(&target("other"), start()).is_none());
    }

    #[test]
    fn faults_apply_by_time() {
        let mut play = Play::of(["status=503,from=20s,until=80s", "hang,from=70s"]);
        let seen = [0, 19, 20, 79, 80, 1_000].map(|seconds| play.at(seconds, "any"));
        let (outage, hang) = ("status=503,from=20s,until=80s", "hang,from=70s");
        assert_eq!(seen, ["-", "-", outage, outage, hang, hang]);
        assert_eq!(play.0.0.len(), 1, "ended faults are dropped");
    }

    #[test]
    fn faults_apply_by_request_number() {
        let mut play =
            Play::of(["status=500,requests=2", "hang,requests=2-4", "reset,requests=6-"]);
        let (second, some, rest) =
            ("status=500,requests=2", "hang,requests=2-4", "reset,requests=6-");
        assert_eq!(play.first(7), ["-", second, some, some, "-", rest, rest]);
        assert_eq!(play.0.0.len(), 1, "ended faults are dropped");
        let mut both = Play::of(["hang,requests=2-,times=1"]);
        assert_eq!(both.first(3), ["-", "hang,requests=2-,times=1", "-"]);
    }

    #[test]
    fn faults_count_requests_of_their_resource() {
        let own = format!("hang,resource={SID},requests=2");
        let mut play = Play::of([own.as_str(), "reset,requests=4"]);
        let other = "VJ other";
        let seen = [other, SID, other, SID, SID].map(|resource| play.at(0, resource));
        // The fourth request is the second for its resource, whose fault takes precedence.
        assert_eq!(seen, ["-", "-", "-", own.as_str(), "-"]);
    }

    #[test]
    fn body_of_another_endpoint_does_not_match() {
        let mut play = Play::of(["body=other", "body=empty,requests=2"]);
        assert_eq!(play.first(3), ["-", "body=empty,requests=2", "-"]);
    }

    #[test]
    fn fault_set_later_counts_from_then() {
        let mut play = Play::of([]);
        play.first(3);
        play.0.add(fault("hang,from=5s,requests=2"), play.1 + Duration::from_secs(100));
        assert_eq!(play.at(101, "any"), "-");
        assert_eq!(play.at(105, "any"), "hang,from=5s,requests=2");
    }
}

//! The script: the faults that stand, and which of them a request meets.

use super::fault::{BadBody, Effect, Fault};
use crate::clock::BootTime;

/// What a request asks for, as far as faults mind.
pub(super) struct Asked<'a> {
    /// The resource that it asks a grant for.
    pub(super) resource: &'a str,
    /// The bodies that its endpoint has of its own.
    pub(super) bodies: &'a [&'static str],
}

/// The faults that stand, in the order in which they were given.
#[derive(Debug)]
pub(super) struct Script(Vec<Standing>);

/// A fault since it was put.
#[derive(Debug)]
struct Standing {
    fault: Fault,
    since: BootTime,
    /// Requests that it is for.
    seen: u64,
    /// Those of them that met it.
    met: u32,
}

impl Script {
    pub(super) fn new(faults: Vec<Fault>, now: BootTime) -> Self {
        let stand = |fault| Standing { fault, since: now, seen: 0, met: 0 };
        Self(faults.into_iter().map(stand).collect())
    }

    /// Adds `fault` behind those that stand.
    pub(super) fn add(&mut self, fault: Fault, now: BootTime) {
        self.0.extend(Self::new(vec![fault], now).0);
    }

    /// Puts `fault` in the place of those that stand for the same resource, or for all.
    pub(super) fn set(&mut self, fault: Fault, now: BootTime) {
        self.0.retain(|standing| !same_resource(&standing.fault, &fault));
        self.add(fault, now);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault that a request meets, if any: the first that is for its resource and strikes
    /// now, else the first that is for all.
    pub(super) fn meet(&mut self, asked: &Asked<'_>, now: BootTime) -> Option<Fault> {
        for standing in self.0.iter_mut().filter(|standing| standing.is_for(asked)) {
            standing.seen = standing.seen.saturating_add(1);
        }
        let strikes = |standing: &Standing| standing.is_for(asked) && standing.strikes(now);
        let is_own = |standing: &Standing| standing.fault.resource.is_some() && strikes(standing);
        let at = self.0.iter().position(is_own).or_else(|| self.0.iter().position(strikes));
        let met = at.and_then(|at| self.0.get_mut(at)).map(Standing::meet);
        self.0.retain(|standing| !standing.is_over(now));
        met
    }
}

impl Standing {
    /// Whether it is for such requests: a body that their endpoint cannot answer with is not.
    fn is_for(&self, asked: &Asked<'_>) -> bool {
        let resource = self.fault.resource.as_ref();
        let possible = match &self.fault.effect {
            Effect::Body(BadBody::Own(body)) => asked.bodies.contains(&body.as_str()),
            _ => true,
        };
        possible && resource.is_none_or(|own| is_same(own.as_str(), asked.resource))
    }

    /// Whether it strikes the request that was just seen.
    fn strikes(&self, now: BootTime) -> bool {
        let when = &self.fault.when;
        let numbered = when.requests.as_ref().is_none_or(|numbers| numbers.contains(&self.seen));
        let met = when.times.is_some_and(|times| self.met >= times);
        let time = now.since(self.since);
        numbered && !met && time >= when.from && when.until.is_none_or(|until| time < until)
    }

    /// Whether it will never strike again.
    fn is_over(&self, now: BootTime) -> bool {
        let when = &self.fault.when;
        when.until.is_some_and(|until| now.since(self.since) >= until)
            || when.requests.as_ref().is_some_and(|numbers| self.seen >= *numbers.end())
            || when.times.is_some_and(|times| self.met >= times)
    }

    /// The fault, as met once more.
    fn meet(&mut self) -> Fault {
        self.met = self.met.saturating_add(1);
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

/// Whether two texts name one resource. Some kinds take either case for the same, and no
/// script needs two resources that differ in nothing else.
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

    fn asked(resource: &str) -> Asked<'_> {
        Asked { resource, bodies: &["empty"] }
    }

    fn start() -> BootTime {
        Clock::system().now().boot
    }

    /// A script of these faults, and what requests meet of it, in words.
    struct Play(Script, BootTime);

    impl Play {
        fn of<'a>(faults: impl IntoIterator<Item = &'a str>) -> Self {
            let start = start();
            Self(Script::new(faults.into_iter().map(fault).collect(), start), start)
        }

        /// What a request meets after so many seconds.
        fn at(&mut self, seconds: u64, resource: &str) -> String {
            let now = self.1 + Duration::from_secs(seconds);
            let met = self.0.meet(&asked(resource), now);
            met.map_or_else(|| "-".to_owned(), |fault| fault.to_string())
        }

        /// What that many requests at the start meet.
        fn first(&mut self, requests: usize) -> Vec<String> {
            (0..requests).map(|_| self.at(0, "any")).collect()
        }
    }

    #[test]
    fn a_script_goes_from_fault_to_fault() {
        let mut play = Play::of(["status=500,times=2", "hang,times=1"]);
        play.0.add(fault(&format!("reset,resource={SID},times=1")), start());
        assert_eq!(play.at(0, &SID.to_uppercase()), format!("reset,resource={SID},times=1"));
        assert_eq!(play.at(0, SID), "status=500,times=2");
        assert_eq!(play.at(0, "VJ other"), "status=500,times=2");
        assert_eq!(play.at(0, SID), "hang,times=1");
        assert_eq!(play.at(0, SID), "-");
        assert!(play.0.0.is_empty(), "what is over is forgotten");
    }

    #[test]
    fn setting_replaces_what_stands_for_the_same() {
        let mut script = Script::new(vec![fault("hang")], start());
        script.set(fault("reset"), start());
        script.set(fault(&format!("status=404,resource={SID}")), start());
        assert_eq!(script.0.len(), 2);
        assert_eq!(script.meet(&asked("other"), start()).unwrap().effect, Effect::Reset);
        script.clear();
        assert!(script.meet(&asked("other"), start()).is_none());
    }

    #[test]
    fn faults_come_and_go_by_time() {
        let mut play = Play::of(["status=503,from=20s,until=80s", "hang,from=70s"]);
        let seen = [0, 19, 20, 79, 80, 1_000].map(|seconds| play.at(seconds, "any"));
        let (outage, hang) = ("status=503,from=20s,until=80s", "hang,from=70s");
        assert_eq!(seen, ["-", "-", outage, outage, hang, hang]);
        assert_eq!(play.0.0.len(), 1, "what is over is forgotten");
    }

    #[test]
    fn faults_strike_requests_by_number() {
        let mut play =
            Play::of(["status=500,requests=2", "hang,requests=2-4", "reset,requests=6-"]);
        let (second, some, rest) =
            ("status=500,requests=2", "hang,requests=2-4", "reset,requests=6-");
        assert_eq!(play.first(7), ["-", second, some, some, "-", rest, rest]);
        assert_eq!(play.0.0.len(), 1, "what is over is forgotten");
        let mut both = Play::of(["hang,requests=2-,times=1"]);
        assert_eq!(both.first(3), ["-", "hang,requests=2-,times=1", "-"]);
    }

    #[test]
    fn a_resource_counts_its_own_requests() {
        let own = format!("hang,resource={SID},requests=2");
        let mut play = Play::of([own.as_str(), "reset,requests=4"]);
        let other = "VJ other";
        let seen = [other, SID, other, SID, SID].map(|resource| play.at(0, resource));
        // The fourth of all is the second of its own, which comes first.
        assert_eq!(seen, ["-", "-", "-", own.as_str(), "-"]);
    }

    #[test]
    fn a_body_that_the_endpoint_does_not_have_is_not_for_its_requests() {
        let mut play = Play::of(["body=other", "body=empty,requests=2"]);
        assert_eq!(play.first(3), ["-", "body=empty,requests=2", "-"]);
    }

    #[test]
    fn a_fault_put_later_counts_from_then() {
        let mut play = Play::of([]);
        play.first(3);
        play.0.add(fault("hang,from=5s,requests=2"), play.1 + Duration::from_secs(100));
        assert_eq!(play.at(101, "any"), "-");
        assert_eq!(play.at(105, "any"), "hang,from=5s,requests=2");
    }
}

//! Faults, and the script of those that stand.

mod grammar;

use std::time::Duration;

use http::{HeaderValue, StatusCode};

pub use self::grammar::FaultError;
use crate::provider::twilio_live::ids::PlayerStreamerSid;

/// Something that the sandbox does wrong on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub effect: Effect,
    /// How long the answer is held back, whatever it is.
    pub latency: Duration,
    /// The resource it is for; none: all.
    pub resource: Option<PlayerStreamerSid>,
    /// The number of requests it lasts; none: until it is cleared.
    pub times: Option<u32>,
}

/// What goes wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: the answer is the normal one.
    None,
    /// The request is read and never answered.
    Hang,
    /// The connection is reset (TCP RST).
    Reset,
    /// Another status, with its documented body. A success without a body of its own is a
    /// normal grant under that status.
    Status {
        /// The status.
        code: StatusCode,
        /// A Retry-After header, any text.
        retry_after: Option<HeaderValue>,
        /// A body instead of the documented one.
        body: Option<String>,
    },
    /// What would be granted is answered 201 with a body that holds no grant, or another's.
    Body(BadBody),
    /// A grant whose token lives that much shorter than asked for.
    ShorterLife(Duration),
}

/// A 201's body that holds no grant, or another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadBody {
    /// `grant` is null.
    GrantNull,
    /// `grant` is a string, as the upstream's guide prints it.
    GrantString,
    /// There is no `grant`.
    GrantMissing,
    /// `sid` is another resource's.
    WrongSid,
    /// `grant.playerStreamerSid` is another resource's.
    WrongStreamer,
    /// `account_sid` is another account's.
    WrongAccount,
    /// The JSON stops in the middle.
    Truncated,
    /// Any text.
    Text(String),
}

/// The faults that stand, in the order in which they were given.
#[derive(Debug, Default)]
pub(super) struct Script(Vec<Fault>);

impl Script {
    pub(super) fn new(faults: Vec<Fault>) -> Self {
        Self(faults)
    }

    /// Adds `fault` behind those that stand.
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// Puts `fault` in the place of those that stand for the same resource, or for all.
    pub(super) fn set(&mut self, fault: Fault) {
        self.0.retain(|standing| !same_resource(standing, &fault));
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault that a request for `resource` meets, if any: the first that is for it, else
    /// the first that is for all. It counts as met.
    pub(super) fn meet(&mut self, resource: &str) -> Option<Fault> {
        let own = |fault: &Fault| fault.resource.as_ref().is_some_and(|sid| sid.is(resource));
        let at = self
            .0
            .iter()
            .position(own)
            .or_else(|| self.0.iter().position(|fault| fault.resource.is_none()))?;
        let standing = self.0.get_mut(at)?;
        let met = standing.clone();
        if let Some(times) = &mut standing.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.0.remove(at);
            }
        }
        Some(met)
    }
}

fn same_resource(one: &Fault, other: &Fault) -> bool {
    match (&one.resource, &other.resource) {
        (None, None) => true,
        (Some(one), Some(other)) => one.is(other.as_str()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "VJ0123456789abcdef0123456789abcdef";

    fn fault(text: &str) -> Fault {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_script_goes_from_fault_to_fault() {
        let mut script = Script::new(vec![fault("status=500,times=2"), fault("hang,times=1")]);
        script.add(fault(&format!("reset,times=1,resource={SID}")));
        let mut met = |resource: &str| script.meet(resource).map(|fault| fault.effect);
        assert_eq!(met(&SID.to_uppercase()), Some(Effect::Reset));
        assert!(matches!(met(SID), Some(Effect::Status { .. })));
        assert!(matches!(met("VJ other"), Some(Effect::Status { .. })));
        assert_eq!(met(SID), Some(Effect::Hang));
        assert_eq!(met(SID), None);
    }

    #[test]
    fn setting_replaces_what_stands_for_the_same() {
        let mut script = Script::new(vec![fault("hang")]);
        script.set(fault("reset"));
        script.set(fault(&format!("status=404,resource={SID}")));
        assert_eq!(script.0.len(), 2);
        assert_eq!(script.meet("other").unwrap().effect, Effect::Reset);
        script.clear();
        assert!(script.meet("other").is_none());
    }
}

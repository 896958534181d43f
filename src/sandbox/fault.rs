//! Faults: what the sandbox does wrong on purpose, and when.

mod draft;
mod grammar;
mod model;

pub(super) use self::draft::{Draft, FLAGS};
pub use self::{
    draft::FaultError,
    model::{BadBody, Effect, Fault, RetryAfter, When},
};

impl Fault {
    /// The keys of a fault, in the order in which it is written.
    pub const KEYS: [&str; 15] = draft::KEYS;

    /// Whether endpoints that have these bodies of their own can do it.
    pub(super) fn check(&self, own: &[&str]) -> Result<(), FaultError> {
        match &self.effect {
            Effect::Body(BadBody::Own(body)) if !own.contains(&body.as_str()) => {
                Err(draft::unknown_body(own))
            }
            _ => Ok(()),
        }
    }
}

//! Faults: failures that the sandbox produces on request, and when.

mod draft;
mod grammar;
mod model;

pub(super) use self::draft::{Draft, FLAGS};
pub use self::{
    draft::FaultError,
    model::{BadBody, Effect, Fault, RetryAfter, When},
};

impl Fault {
    /// The keys of a fault, in writing order.
    pub const KEYS: [&str; 15] = draft::KEYS;

    /// Checks that endpoints with these specific bodies can produce it.
    pub(super) fn check(&self, own: &[&str]) -> Result<(), FaultError> {
        match &self.effect {
            Effect::Body(BadBody::Own(body)) if !own.contains(&body.as_str()) => {
                Err(draft::unknown_body(own))
            }
            _ => Ok(()),
        }
    }
}

//! What a call may ask for, and every way in which it can ask wrongly.

use std::time::Duration;

use super::terms::ExpiryPolicy;

/// What a call asks for; what is unset is the profile's to say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The profile; empty for the default.
    pub profile: &'a str,
    /// The resource; empty for the profile's default.
    pub resource: &'a str,
    /// Wanted token life.
    pub ttl: Option<Duration>,
    /// Least time that use-by must lie ahead.
    pub min_remaining: Duration,
    /// How long the call may be held for a grant that will do.
    pub max_wait: Option<Duration>,
    /// Where the token would outlive the grant.
    pub policy: Option<ExpiryPolicy>,
    /// Only a grant newer than this.
    pub after_generation: i64,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// An identity.
    Identity,
    /// A ttl below the least or above the most.
    TtlOutOfRange,
    /// No selection, an empty one, or a start outside it.
    Selection,
    /// More than one call may ask for.
    BulkTooLarge,
    /// No profile, and no default.
    ProfileRequired,
    /// No resource, and no default.
    ResourceRequired,
    /// A resource that is not of its kind's form.
    Resource,
    /// A generation that no grant can have.
    Generation,
    /// More remaining validity than any grant gives.
    ValidityUnattainable,
    /// A policy that the profile does not allow.
    PolicyNotAllowed,
    /// Any other bad option.
    Option,
    /// A grant's name.
    GrantName,
    /// A page token.
    PageToken,
}

/// One bad field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its path in the request.
    pub field: String,
    /// What is wrong.
    pub invalid: Invalid,
    /// The same in words, without what the field held.
    pub description: &'static str,
    /// The most that could be asked for, where that is what is wrong.
    pub attainable_max: Option<Duration>,
}

impl Violation {
    /// A bad field.
    pub fn new(field: impl Into<String>, invalid: Invalid, description: &'static str) -> Self {
        Self { field: field.into(), invalid, description, attainable_max: None }
    }

    /// A bad field for which at most `max` could be asked.
    pub fn above(
        field: impl Into<String>,
        invalid: Invalid,
        description: &'static str,
        max: Duration,
    ) -> Self {
        Self { attainable_max: Some(max), ..Self::new(field, invalid, description) }
    }
}

/// Why a call cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its fields are bad; at least one.
    Invalid(Vec<Violation>),
    /// No such profile.
    ProfileNotFound,
    /// No such resource in that profile.
    ResourceNotFound,
}

//! What a call may ask for, and every way in which it can ask wrongly.

use std::{borrow::Cow, time::Duration};

use serde_json::Value as Json;

use super::terms::ExpiryPolicy;
pub use crate::token::params::MAX_EXACT;

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
    /// Values that the kind declares, by name.
    pub params: &'a [(String, Json)],
}

/// A field of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The profile.
    Profile,
    /// The resource.
    Resource,
    /// The wanted token life.
    Ttl,
    /// The least time that use-by must lie ahead.
    MinRemaining,
    /// Where the token would outlive the grant.
    ExpiryPolicy,
    /// The generation that the grant must be newer than.
    AfterGeneration,
    /// The parameter of this name.
    Param(String),
    /// The identity.
    Identity,
    /// The identity of this number in a list.
    ListedIdentity(usize),
    /// What stands before the number of a series' identities.
    SeriesPrefix,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// An identity.
    Identity,
    /// A ttl below the least or above the most.
    TtlOutOfRange,
    /// No profile, and no default.
    ProfileRequired,
    /// No resource, and no default.
    ResourceRequired,
    /// A resource that is not of its kind's form.
    Resource,
    /// A generation that no grant can have.
    Generation,
    /// More remaining validity than any token has.
    ValidityUnattainable,
    /// A policy that the profile does not allow.
    PolicyNotAllowed,
    /// An option that the profile's kind does not take.
    Option,
    /// A parameter that the kind does not declare, or not of its form.
    Param,
    /// A parameter that neither the profile nor the call sets.
    ParamRequired,
    /// A parameter that the profile does not open to calls.
    ParamNotAllowed,
}

/// One bad field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field.
    pub field: Field,
    /// What is wrong.
    pub invalid: Invalid,
    /// The same in words, without what the field held.
    pub description: Cow<'static, str>,
    /// What could be asked for, where that is what is wrong.
    pub attainable: Option<Attainable>,
}

/// What could be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attainable {
    /// No less than this.
    Min(Duration),
    /// No more than this.
    Max(Duration),
}

impl Violation {
    /// A bad field.
    pub fn new(field: Field, invalid: Invalid, description: impl Into<Cow<'static, str>>) -> Self {
        Self { field, invalid, description: description.into(), attainable: None }
    }

    /// A bad field for which this could be asked.
    #[must_use]
    pub fn but(self, attainable: Attainable) -> Self {
        Self { attainable: Some(attainable), ..self }
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

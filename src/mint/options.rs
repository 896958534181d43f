//! The options of a call, and every way in which its fields can be invalid.

use std::{borrow::Cow, time::Duration};

use serde_json::Value as Json;

use super::terms::ExpiryPolicy;
pub use crate::token::params::MAX_EXACT;

/// The options of a call. The profile's values replace unset ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The profile; empty for the default.
    pub profile: &'a str,
    /// The resource; empty for the profile's default.
    pub resource: &'a str,
    /// Requested token lifetime.
    pub ttl: Option<Duration>,
    /// Minimum time until use-by.
    pub min_remaining: Duration,
    /// How long the call may wait for a usable grant.
    pub max_wait: Option<Duration>,
    /// What to do when the token would outlive the grant.
    pub policy: Option<ExpiryPolicy>,
    /// Only a grant newer than this generation.
    pub after_generation: i64,
    /// Values of the kind's parameters, by name.
    pub params: &'a [(String, Json)],
}

/// A field of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The profile.
    Profile,
    /// The resource.
    Resource,
    /// The requested token lifetime.
    Ttl,
    /// The minimum time until use-by.
    MinRemaining,
    /// What to do when the token would outlive the grant.
    ExpiryPolicy,
    /// The generation that the grant must be newer than.
    AfterGeneration,
    /// The parameter of this name.
    Param(String),
    /// The identity.
    Identity,
    /// The identity at this index of a list.
    ListedIdentity(usize),
    /// The prefix of a series.
    SeriesPrefix,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// The identity is malformed.
    Identity,
    /// The ttl is below the minimum or above the maximum.
    TtlOutOfRange,
    /// The call names no profile, and there is no default.
    ProfileRequired,
    /// The call names no resource, and there is no default.
    ResourceRequired,
    /// The resource does not have the form of its kind.
    Resource,
    /// No grant can have this generation.
    Generation,
    /// No token has that much remaining validity.
    ValidityUnattainable,
    /// The profile does not allow the policy.
    PolicyNotAllowed,
    /// The profile's kind does not take the option.
    Option,
    /// The kind does not declare the parameter, or its value is malformed.
    Param,
    /// Neither the profile nor the call sets the parameter.
    ParamRequired,
    /// The profile does not let calls set the parameter.
    ParamNotAllowed,
}

/// One bad field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field.
    pub field: Field,
    /// What is wrong.
    pub invalid: Invalid,
    /// The problem in words, without the field's value.
    pub description: Cow<'static, str>,
    /// The nearest value that would be accepted, where one is known.
    pub attainable: Option<Attainable>,
}

/// The nearest value that would be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attainable {
    /// The minimum.
    Min(Duration),
    /// The maximum.
    Max(Duration),
}

impl Violation {
    /// A bad field.
    pub fn new(field: Field, invalid: Invalid, description: impl Into<Cow<'static, str>>) -> Self {
        Self { field, invalid, description: description.into(), attainable: None }
    }

    /// Adds the nearest value that would be accepted.
    #[must_use]
    pub fn with_attainable(self, attainable: Attainable) -> Self {
        Self { attainable: Some(attainable), ..self }
    }
}

/// Why a call cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Invalid fields; at least one.
    Invalid(Vec<Violation>),
    /// The profile does not exist.
    ProfileNotFound,
    /// The profile has no such resource.
    ResourceNotFound,
}

//! Bad fields of a request, by their path in it and the reason that callers are told.

use std::borrow::Cow;

use crate::{
    auth::refusal::Denied,
    mint::options::{self, Attainable, Field, Invalid},
};

/// One bad field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// Its path in the request.
    pub(super) field: Cow<'static, str>,
    /// The reason in the status.
    pub(super) reason: &'static str,
    /// The same in words, without what the field held.
    pub(super) description: Cow<'static, str>,
    /// What could be asked for, where that is what is wrong.
    pub(super) attainable: Option<Attainable>,
}

/// The field of all parameters.
pub(super) const PARAMS: &str = "options.params";

/// The reason of parameters that are no set of values.
pub(super) const PARAM_INVALID: &str = "PARAM_INVALID";

fn is_name(text: &str) -> bool {
    let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(of_name)
}

/// The reason of any bad option that has no reason of its own.
pub(super) const OPTION_INVALID: &str = "OPTION_INVALID";

/// The reason of a bad ttl, malformed or out of range.
pub(super) const TTL_OUT_OF_RANGE: &str = "TTL_OUT_OF_RANGE";

/// The reason of a bad identity.
pub(super) const IDENTITY_INVALID: &str = "IDENTITY_INVALID";

/// The reason of no selection, an empty one, or a start outside it.
pub(super) const SELECTION_INVALID: &str = "SELECTION_INVALID";

/// The reason of a selection that is more than one call may ask for.
pub(super) const BULK_TOO_LARGE: &str = "BULK_TOO_LARGE";

/// The reason of a profile that there is not.
pub(super) const PROFILE_NOT_FOUND: &str = "PROFILE_NOT_FOUND";

/// The reason of a resource that there is not.
pub(super) const RESOURCE_NOT_FOUND: &str = "RESOURCE_NOT_FOUND";

/// The reason of a text that is no grant's name.
pub(super) const GRANT_NAME_INVALID: &str = "GRANT_NAME_INVALID";

/// The reason of a page token that was not made by the call.
pub(super) const PAGE_TOKEN_INVALID: &str = "PAGE_TOKEN_INVALID";

impl Violation {
    /// A bad field.
    pub(super) const fn new(
        field: &'static str,
        reason: &'static str,
        description: &'static str,
    ) -> Self {
        let description = Cow::Borrowed(description);
        Self { field: Cow::Borrowed(field), reason, description, attainable: None }
    }
}

impl From<options::Violation> for Violation {
    fn from(violation: options::Violation) -> Self {
        let options::Violation { field, invalid, description, attainable } = violation;
        Self { field: path(&field), reason: reason(invalid), description, attainable }
    }
}

/// The path of a parameter; none of what is no name, which could be as long as the request.
pub(super) fn param_path(name: &str) -> Option<String> {
    is_name(name).then(|| format!("{PARAMS}.{name}"))
}

fn path(field: &Field) -> Cow<'static, str> {
    match field {
        Field::Profile => "options.profile".into(),
        Field::Resource => "options.resource".into(),
        Field::Ttl => "options.ttl".into(),
        Field::MinRemaining => "options.min_remaining_validity".into(),
        Field::ExpiryPolicy => "options.expiry_policy".into(),
        Field::AfterGeneration => "options.after_generation".into(),
        Field::Param(name) => param_path(name).map_or(Cow::Borrowed(PARAMS), Cow::Owned),
        Field::Identity => "identity".into(),
        Field::ListedIdentity(index) => format!("identity_list.identities[{index}]").into(),
        Field::SeriesPrefix => "identity_series.prefix".into(),
    }
}

const fn reason(invalid: Invalid) -> &'static str {
    match invalid {
        Invalid::Identity => IDENTITY_INVALID,
        Invalid::TtlOutOfRange => TTL_OUT_OF_RANGE,
        Invalid::ProfileRequired => "PROFILE_REQUIRED",
        Invalid::ResourceRequired => "RESOURCE_REQUIRED",
        Invalid::Resource => "RESOURCE_INVALID",
        Invalid::Generation => "GENERATION_INVALID",
        Invalid::ValidityUnattainable => "VALIDITY_UNATTAINABLE",
        Invalid::PolicyNotAllowed => "EXPIRY_POLICY_NOT_ALLOWED",
        Invalid::Option => OPTION_INVALID,
        Invalid::Param => PARAM_INVALID,
        Invalid::ParamRequired => "PARAM_REQUIRED",
        Invalid::ParamNotAllowed => "PARAM_NOT_ALLOWED",
    }
}

/// Why a request is not served, whatever the state of the grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its fields are bad; at least one.
    Invalid(Vec<Violation>),
    /// No such profile.
    ProfileNotFound,
    /// No such resource in that profile.
    ResourceNotFound,
    /// Its caller may not have that.
    Denied(Denied),
}

impl Refusal {
    /// The reason that callers are told, where it is one of the request and not of its caller.
    pub(super) fn of_request(&self) -> Option<&'static str> {
        match self {
            Self::Invalid(violations) => violations.first().map(|violation| violation.reason),
            Self::ProfileNotFound => Some(PROFILE_NOT_FOUND),
            Self::ResourceNotFound => Some(RESOURCE_NOT_FOUND),
            Self::Denied(_) => None,
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Self {
        Self::Invalid(vec![violation])
    }
}

/// Brings what the mint refused together with what was found bad before and after its own
/// fields. What the call is for comes first.
pub(super) fn together(
    refused: Option<options::Refusal>,
    before: Vec<Violation>,
    after: Vec<Violation>,
) -> Refusal {
    let found = match refused {
        None => Vec::new(),
        Some(options::Refusal::Invalid(found)) => found,
        Some(options::Refusal::ProfileNotFound) => return Refusal::ProfileNotFound,
        Some(options::Refusal::ResourceNotFound) => return Refusal::ResourceNotFound,
    };
    let is_target = |it: &options::Violation| matches!(it.field, Field::Profile | Field::Resource);
    let (target, rest): (Vec<_>, Vec<_>) = found.into_iter().partition(is_target);
    let (target, rest) = (target.into_iter().map(Violation::from), rest.into_iter());
    Refusal::Invalid(target.chain(before).chain(rest.map(Violation::from)).chain(after).collect())
}

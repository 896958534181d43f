//! Invalid fields of a request, with their path and the reason reported to callers.

use std::borrow::Cow;

use crate::{
    auth::refusal::Denied,
    mint::options::{self, Attainable, Field, Invalid},
};

/// One invalid field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// Its path in the request.
    pub(super) field: Cow<'static, str>,
    /// The reason in the status.
    pub(super) reason: &'static str,
    /// The problem in words, without the field's value.
    pub(super) description: Cow<'static, str>,
    /// The nearest value that would be accepted, where one is known.
    pub(super) attainable: Option<Attainable>,
}

/// The path of all parameters.
pub(super) const PARAMS: &str = "options.params";

/// The reason of malformed parameters.
pub(super) const PARAM_INVALID: &str = "PARAM_INVALID";

fn is_name(text: &str) -> bool {
    let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(of_name)
}

/// The reason of an invalid option without a reason of its own.
pub(super) const OPTION_INVALID: &str = "OPTION_INVALID";

/// The reason of a malformed or out-of-range ttl.
pub(super) const TTL_OUT_OF_RANGE: &str = "TTL_OUT_OF_RANGE";

/// The reason of an invalid identity.
pub(super) const IDENTITY_INVALID: &str = "IDENTITY_INVALID";

/// The reason of a missing or empty selection, or a start outside it.
pub(super) const SELECTION_INVALID: &str = "SELECTION_INVALID";

/// The reason of a selection larger than one call may request.
pub(super) const BULK_TOO_LARGE: &str = "BULK_TOO_LARGE";

/// The reason of an unknown profile.
pub(super) const PROFILE_NOT_FOUND: &str = "PROFILE_NOT_FOUND";

/// The reason of an unknown resource.
pub(super) const RESOURCE_NOT_FOUND: &str = "RESOURCE_NOT_FOUND";

/// The reason of a malformed grant name.
pub(super) const GRANT_NAME_INVALID: &str = "GRANT_NAME_INVALID";

/// The reason of a page token that this list did not issue.
pub(super) const PAGE_TOKEN_INVALID: &str = "PAGE_TOKEN_INVALID";

impl Violation {
    /// An invalid field.
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

/// The path of a parameter; none for a malformed name, which could be as long as the request.
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

/// Why a request is refused, whatever the state of the grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Invalid fields; at least one.
    Invalid(Vec<Violation>),
    /// The profile does not exist.
    ProfileNotFound,
    /// The profile has no such resource.
    ResourceNotFound,
    /// The caller is not allowed to do this.
    Denied(Denied),
}

impl Refusal {
    /// The reason reported to callers, if it is a problem of the request rather than of its caller.
    pub(super) fn request_reason(&self) -> Option<&'static str> {
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

/// Combines the violations found by the mint with those before and after its own fields. The
/// profile and the resource come first.
pub(super) fn combine(
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

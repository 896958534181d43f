//! A participant token's parameters. Names and limits: the page "Distribute Tokens", and
//! `CreateParticipantToken` of the API reference.

use serde_json::{Value, json};

use crate::token::params::{Parameter, Shape};

/// The longest attributes in bytes.
pub(super) const MAX_ATTRIBUTES: usize = 1_024;

/// What a participant may do.
pub(super) const CAPABILITIES: [&str; 2] = ["allow_publish", "allow_subscribe"];

/// All parameters. Publishing is never a default, since everyone sees and hears a publisher.
pub(super) fn declared() -> Vec<Parameter> {
    vec![
        Parameter::new("capabilities", "capabilities", SOME).or(json!({"allow_subscribe": true})),
        Parameter::new("attributes", "attributes", Shape::Texts(MAX_ATTRIBUTES)),
    ]
}

const SOME: Shape = Shape::Own {
    wanted: "must be an object of allow_publish and allow_subscribe, each true or false, at least \
             one of them true",
    fits: |value| are_capabilities(value) && is_some_true(value),
};

/// Whether IVS accepts a value as capabilities.
pub(super) fn are_capabilities(value: &Value) -> bool {
    value.as_object().is_some_and(|members| {
        members
            .iter()
            .all(|(name, value)| CAPABILITIES.contains(&name.as_str()) && value.is_boolean())
    })
}

fn is_some_true(value: &Value) -> bool {
    value.as_object().is_some_and(|members| members.values().any(|value| *value == true))
}

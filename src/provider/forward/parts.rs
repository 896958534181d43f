//! What a preset's or a recipe's keys are read into.

use serde_json::Value;

use super::{assertion::Assertion, recipe::Recipe, secret::Secret};
use crate::name::{NameError, Resource};

/// The default refresh point of a preset, as a share of a credential's life.
pub(super) const DEFAULT_REFRESH_AT: f64 = 5.0 / 6.0;

/// What a credential must be valid for, and so how much life a caller needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Covers {
    /// Opening a connection, which may outlive the credential.
    Connect,
    /// The whole session.
    Session,
}

/// The result of reading a preset's or a recipe's keys.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) recipe: Recipe,
    pub(super) secret: Option<Secret>,
    pub(super) assertion: Option<Assertion>,
    /// The owner of the credentials at the upstream; never a secret.
    pub(super) account: String,
    /// The keys for display.
    pub(super) shown: Vec<(&'static str, Value)>,
    pub(super) covers: Option<Covers>,
}

impl Parts {
    /// A recipe without further parts.
    pub(super) const fn new(recipe: Recipe, covers: Covers) -> Self {
        Self {
            recipe,
            secret: None,
            assertion: None,
            account: String::new(),
            shown: Vec::new(),
            covers: Some(covers),
        }
    }
}

/// A resource; steps that could climb in a path are invalid.
pub(super) fn parse_resource(text: &str) -> Result<Resource, NameError> {
    if matches!(text, "." | "..") {
        return Err(NameError::NotOfItsKind("is a path step, not a name"));
    }
    Resource::parse(text)
}

//! A kind's rules for the claims of its tokens, and a profile's settings for them, for all kinds
//! that sign.

use std::time::Duration;

use serde_json::{Map, Value as Json};

use crate::{
    name::IdentityForm,
    token::{
        claims::{Conflict, Table, Time, Value},
        params::{Parameter, Parameters, Setter},
    },
};

/// A kind's rules for the claims of its tokens.
#[derive(Clone, Debug, Default)]
pub struct TokenRules {
    /// The tokens' parameters besides resource, identity and times.
    pub parameters: Vec<Parameter>,
    /// Whether calls may set all parameters, without `caller_params`.
    pub all_open: bool,
    /// The issue time, from which the life is counted.
    pub iat: TimeRule,
    /// The time from which the token is valid.
    pub nbf: TimeRule,
    /// How the resource restricts a token.
    pub scope: Scope,
    /// Whether a token contains an identity.
    pub identity: IdentityRule,
    /// The kind's own rule for identities.
    pub identity_form: Option<IdentityForm>,
    /// Whether each token has an id.
    pub has_id: bool,
}

/// Whether tokens contain a time, and how far it may be backdated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeRule {
    /// They do not, or the profile cannot change it.
    #[default]
    Fixed,
    /// If the profile sets how far it is backdated.
    IfSet,
    /// Always; backdated by this many seconds by default.
    Always(u32),
}

/// How the resource restricts a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// A token is for one resource.
    #[default]
    One,
    /// A token without a resource is for all; requires `allow_unscoped` in the profile.
    OneOrAll,
    /// Tokens have no resource.
    None,
}

/// Whether a token contains an identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentityRule {
    /// Always.
    #[default]
    Always,
    /// Unless the profile sets `identity = "none"`.
    Optional,
    /// Never.
    Never,
}

/// A profile's settings for its tokens' claims.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// The kind's declared parameters.
    pub declared: Vec<Parameter>,
    /// The constant values of parameters in all tokens.
    pub constants: Map<String, Json>,
    /// The parameters that calls may set.
    pub open: Vec<String>,
    /// How many seconds `iat` is backdated; `None` if the profile cannot change it.
    pub iat: Option<u32>,
    /// How many seconds `nbf` is backdated; `None` means no `nbf`.
    pub nbf: Option<u32>,
    /// Whether a token without a resource, for all resources, is allowed.
    pub allow_unscoped: bool,
    /// Whether a token contains an identity.
    pub has_identity: bool,
    /// How long a signature is reused; `None` means that each token has its own.
    pub reuse_for: Option<Duration>,
}

impl Tokens {
    /// Adds `iat`, `nbf` and `exp` as configured.
    ///
    /// # Errors
    ///
    /// The table already has one of them.
    pub fn add_times(&self, table: &mut Table) -> Result<(), Conflict> {
        for (name, back) in [("iat", self.iat), ("nbf", self.nbf)] {
            if let Some(back) = back {
                table.add(&[name], Value::Time(Time::Issue { back }))?;
            }
        }
        table.add(&["exp"], Value::Time(Time::Expire))
    }

    /// Adds the parameters: those that calls may set, and the constants of the others.
    ///
    /// # Errors
    ///
    /// The table already has a claim at the place of a parameter.
    pub fn add_params(&self, table: &mut Table) -> Result<(), Conflict> {
        let (open, closed): (Vec<_>, Vec<_>) =
            self.declared.iter().partition(|parameter| self.is_open(parameter));
        for (number, parameter) in open.into_iter().enumerate() {
            table.add(&parameter.path(), Value::Parameter(number))?;
        }
        for parameter in closed {
            let constant = self.constants.get(&parameter.name);
            let claim = constant.and_then(|value| parameter.shape.claim(value).ok().flatten());
            if let Some(claim) = claim {
                table.add(&parameter.path(), Value::Constant(claim.into_owned()))?;
            }
        }
        Ok(())
    }

    /// The parameters of a call's tokens.
    #[must_use]
    pub fn parameters(&self) -> Parameters {
        Parameters::new(&self.declared, &self.constants, |parameter| self.is_open(parameter))
    }

    /// The value for the place of the resource.
    #[must_use]
    pub const fn resource(&self) -> Value {
        if self.allow_unscoped { Value::ResourceIfAny } else { Value::Resource }
    }

    /// How far the issue time, and so the token's life, is backdated.
    #[must_use]
    pub fn iat_backdate(&self) -> Duration {
        Duration::from_secs(self.iat.unwrap_or(0).into())
    }

    /// How much of a token's life may have passed when it is issued.
    #[must_use]
    pub fn spent(&self) -> Duration {
        self.iat_backdate() + self.reuse_for.unwrap_or_default()
    }

    fn is_open(&self, parameter: &Parameter) -> bool {
        parameter.setter != Setter::Profile && self.open.contains(&parameter.name)
    }
}

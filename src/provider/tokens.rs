//! What a kind prescribes for the claims of its tokens, and what a profile says of them: alike
//! for all kinds that sign.

use std::time::Duration;

use serde_json::{Map, Value as Json};

use crate::{
    name::IdentityForm,
    token::{
        claims::{Conflict, Table, Time, Value},
        params::{Parameter, Parameters, Setter},
    },
};

/// What a kind prescribes for the claims of its tokens.
#[derive(Clone, Debug, Default)]
pub struct TokenRules {
    /// What a token may say beside resource, identity and times.
    pub parameters: Vec<Parameter>,
    /// Whether calls may set all of them, without `caller_params`.
    pub all_open: bool,
    /// The time of issue, from which the life is counted.
    pub iat: TimeRule,
    /// The time from which the token is good.
    pub nbf: TimeRule,
    /// What the resource is to a token.
    pub scope: Scope,
    /// Whether a token names who it is for.
    pub identity: IdentityRule,
    /// The kind's own rule for identities that its tokens name.
    pub identity_form: Option<IdentityForm>,
    /// Whether each token has an id.
    pub has_id: bool,
}

/// Whether tokens say a time, and how far before the issue it may be put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeRule {
    /// They do not, or the profile has no say in it.
    #[default]
    Fixed,
    /// Where the profile says how far back.
    IfSet,
    /// Always; so many seconds back unless the profile says otherwise.
    Always(u32),
}

/// What the resource is to a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// A token is for one.
    #[default]
    One,
    /// A token without one is good for all: only where the profile says `allow_unscoped`.
    OneOrAll,
    /// Tokens are for none.
    None,
}

/// Whether a token names who it is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentityRule {
    /// Always.
    #[default]
    Always,
    /// Unless the profile says `identity = "none"`.
    Optional,
    /// Never.
    Never,
}

/// What a profile says of its tokens' claims.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// What the kind declares.
    pub declared: Vec<Parameter>,
    /// The values that all tokens have, of the declared parameters' shapes.
    pub constants: Map<String, Json>,
    /// The parameters that calls may set.
    pub open: Vec<String>,
    /// How many seconds before the issue `iat` lies; none where the profile has no say in it.
    pub iat: Option<u32>,
    /// How many seconds before the issue `nbf` lies; none for no `nbf`.
    pub nbf: Option<u32>,
    /// Whether a token may be for no resource, and so for all.
    pub allow_unscoped: bool,
    /// Whether a token names who it is for.
    pub has_identity: bool,
    /// How long one signature is used for; none where each token is its own.
    pub reuse_for: Option<Duration>,
}

impl Tokens {
    /// Adds `iat` and `nbf`, as far as the profile says them, and `exp`.
    ///
    /// # Errors
    ///
    /// The table has one of them.
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
    /// The table has a claim in the place of one of them.
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

    /// The resource, at this place: what a token of the profile is for.
    #[must_use]
    pub const fn resource(&self) -> Value {
        if self.allow_unscoped { Value::ResourceIfAny } else { Value::Resource }
    }

    /// How long before their issue the life of tokens is counted from.
    #[must_use]
    pub fn iat_backdate(&self) -> Duration {
        Duration::from_secs(self.iat.unwrap_or(0).into())
    }

    /// How much of a token's life may be over when it is handed out.
    #[must_use]
    pub fn spent(&self) -> Duration {
        self.iat_backdate() + self.reuse_for.unwrap_or_default()
    }

    fn is_open(&self, parameter: &Parameter) -> bool {
        parameter.setter != Setter::Profile && self.open.contains(&parameter.name)
    }
}

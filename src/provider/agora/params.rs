//! A channel token's parameters, and the privileges that they produce.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    MAX_TOKEN_TTL,
    services::{AUDIO, DATA, JOIN, VIDEO},
};
use crate::{
    provider::Tokens,
    token::{
        Call,
        claims::{Conflict, Table, Value as Claim},
        params::{Parameter, Shape},
    },
};

const ROLE: &str = "role";
const PRIVILEGE_EXPIRE: &str = "privilege_expire";
const PRIVILEGES: &str = "privileges";

/// The roles of Agora's builders.
const ROLES: [&str; 2] = ["publisher", "subscriber"];

/// The privileges, by name.
const NAMES: [(&str, u16); 4] =
    [("join", JOIN), ("audio", AUDIO), ("video", VIDEO), ("data", DATA)];

/// The longest duration of a privilege, in seconds from the issue; larger values are timestamps.
const MOST: i64 = MAX_TOKEN_TTL.as_secs().cast_signed();

/// All parameters.
pub(super) fn declared() -> Vec<Parameter> {
    vec![
        Parameter::required(ROLE, ROLE, Shape::Word(&ROLES)),
        Parameter::new(PRIVILEGE_EXPIRE, PRIVILEGE_EXPIRE, Shape::Integer(0, MOST)),
        Parameter::of_profile(PRIVILEGES, PRIVILEGES, LIMITS),
    ]
}

const LIMITS: Shape = Shape::Own {
    wanted: "must be an object with some of join, audio, video and data: seconds from the issue, \
             at most 86400, 0 for the token's whole life, or false for none (except join)",
    fits: |value| {
        value.as_object().is_some_and(|limits| {
            let is_limit = |(name, value): (&String, &Value)| match value {
                Value::Bool(false) => name != "join",
                value => value.as_i64().is_some_and(|seconds| (0..=MOST).contains(&seconds)),
            };
            let is_known = |name: &String| NAMES.iter().any(|(its, _)| its == name);
            !limits.is_empty() && limits.keys().all(is_known) && limits.iter().all(is_limit)
        })
    },
};

/// A profile's settings for the privileges in a channel.
#[derive(Clone, Debug)]
pub(super) struct Privileges {
    role: Source,
    expire: Source,
    /// The limit of each privilege, if the profile sets one.
    limits: [Option<Limit>; NAMES.len()],
}

/// The location of a parameter's value.
#[derive(Clone, Debug, PartialEq)]
enum Source {
    Constant(Value),
    /// Among the call's parameters, at this index.
    Call(usize),
    Nowhere,
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    Never,
    Seconds(u32),
}

impl Privileges {
    /// The settings of a profile.
    ///
    /// # Errors
    ///
    /// Two parameters have the same place.
    pub(super) fn new(tokens: &Tokens) -> Result<Self, Conflict> {
        let mut table = Table::default();
        tokens.add_params(&mut table)?;
        let claims = table.claims();
        let find = |path: &[&str]| match claims.iter().find(|(its, _)| its[..] == *path) {
            Some((_, Claim::Constant(value))) => Source::Constant(value.clone()),
            Some((_, Claim::Parameter(place))) => Source::Call(*place),
            _ => Source::Nowhere,
        };
        let limit = |(name, _): (&str, u16)| match find(&[PRIVILEGES, name]) {
            Source::Constant(Value::Bool(_)) => Some(Limit::Never),
            Source::Constant(value) => Some(Limit::Seconds(seconds(&value))),
            Source::Call(_) | Source::Nowhere => None,
        };
        Ok(Self {
            role: find(&[ROLE]),
            expire: find(&[PRIVILEGE_EXPIRE]),
            limits: NAMES.map(limit),
        })
    }

    /// The privileges of a call's tokens: how many seconds each lasts from the issue.
    pub(super) fn of_call(&self, call: &Call<'_>) -> BTreeMap<u16, u32> {
        let publishes = self.role.of(call).is_some_and(|role| role == ROLES[0]);
        let expire = self.expire.of(call).map_or(0, |value| seconds(&value));
        let each = NAMES.into_iter().zip(self.limits);
        let given = each.filter(|((_, number), _)| publishes || *number == JOIN);
        let lasting = given.filter_map(|((_, number), limit)| match limit {
            Some(Limit::Never) => None,
            Some(Limit::Seconds(seconds)) => Some((number, seconds)),
            None => Some((number, expire)),
        });
        lasting.collect()
    }
}

impl Source {
    fn of(&self, call: &Call<'_>) -> Option<Value> {
        match self {
            Self::Constant(value) => Some(value.clone()),
            Self::Call(place) => {
                let written = call.params.get(*place)?.as_deref()?;
                serde_json::from_str(written).ok()
            }
            Self::Nowhere => None,
        }
    }
}

fn seconds(value: &Value) -> u32 {
    value.as_u64().and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn tokens(constants: Value, open: &[&str]) -> Tokens {
        let Value::Object(constants) = constants else { panic!("{constants}") };
        let open = open.iter().map(|name| (*name).to_owned()).collect();
        Tokens { declared: declared(), constants, open, ..Tokens::default() }
    }

    fn of(tokens: &Tokens, given: &Map<String, Value>) -> Vec<(u16, u32)> {
        let given: Vec<_> = given.iter().map(|(name, it)| (name.clone(), it.clone())).collect();
        let params = tokens.parameters().for_call(&given).unwrap();
        let call = Call { resource: "lobby", params: &params };
        Privileges::new(tokens).unwrap().of_call(&call).into_iter().collect()
    }

    #[test]
    fn role_grants_and_profile_limits_privileges() {
        let all = |expire| vec![(1, expire), (2, expire), (3, expire), (4, expire)];
        let none = Map::new();
        for (constants, expected) in [
            (json!({"role": "publisher"}), all(0)),
            (json!({"role": "publisher", "privilege_expire": 600}), all(600)),
            (json!({"role": "publisher", "privilege_expire": "600"}), all(600)),
            (json!({"role": "subscriber", "privilege_expire": 600}), vec![(1, 600)]),
            (
                json!({"role": "publisher", "privilege_expire": 600,
                       "privileges": {"video": false, "data": 60, "join": 0}}),
                vec![(1, 0), (2, 600), (4, 60)],
            ),
            (json!({"role": "subscriber", "privileges": {"audio": 60}}), vec![(1, 0)]),
        ] {
            assert_eq!(of(&tokens(constants.clone(), &[]), &none), expected, "{constants}");
        }
        let limits = json!({"privileges": {"video": false}});
        let open = tokens(limits, &["role", "privilege_expire"]);
        let set = |given: Value| of(&open, given.as_object().unwrap());
        let publisher = json!({"role": "publisher", "privilege_expire": 60});
        assert_eq!(set(publisher), [(1, 60), (2, 60), (4, 60)]);
        assert_eq!(set(json!({"role": "subscriber"})), [(1, 0)]);
        // Without checked parameters, the fewest privileges.
        let nothing = Privileges::new(&open).unwrap().of_call(&Call::NONE);
        assert_eq!(nothing, BTreeMap::from([(JOIN, 0)]));
    }

    #[test]
    fn limit_is_a_duration_and_never_a_timestamp() {
        for (limits, fits) in [
            (json!({"join": 900, "audio": 0, "video": false}), true),
            (json!({"join": 86_400}), true),
            (json!({"join": 86_401}), false),
            (json!({"join": 1_700_000_600}), false),
            (json!({"join": -1}), false),
            (json!({"join": 1.5}), false),
            (json!({"join": "60"}), false),
            (json!({"join": false}), false),
            (json!({"video": true}), false),
            (json!({"screen": 60}), false),
            (json!({}), false),
            (json!([60]), false),
        ] {
            assert_eq!(LIMITS.write(&limits).is_ok(), fits, "{limits}");
        }
    }
}

//! The rows of an entry, each of which allows calls by itself: what two rows allow half each
//! is not allowed.

use std::time::Duration;

use super::{
    method::{Method, Methods},
    refusal::Denied,
    text::Texts,
};
use crate::name::ProfileName;

/// One row of `allow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The methods.
    pub methods: Methods,
    /// The profiles.
    pub profiles: Profiles,
    /// The resources.
    pub resources: Resources,
    /// The identities.
    pub identities: Texts,
    /// The parameters that a call may set; none for those that the profile opens.
    pub params: Option<Vec<String>>,
    /// The longest life that tokens may have; none for the profile's.
    pub max_ttl: Option<Duration>,
}

/// The profiles of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Profiles {
    /// All.
    Any,
    /// These.
    Named(Vec<ProfileName>),
}

impl Profiles {
    /// Whether it is one of them.
    #[must_use]
    pub fn allow(&self, profile: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Named(names) => names.iter().any(|name| name.as_str() == profile),
        }
    }
}

/// The resources of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// As they are written.
    pub written: Texts,
    /// In the form that a profile's kind knows them by, where that is another one.
    pub known: Vec<(ProfileName, Texts)>,
}

impl Resources {
    fn allow(&self, profile: &str, resource: &str) -> bool {
        let known = self.known.iter().find(|(name, _)| name.as_str() == profile);
        known.map_or(&self.written, |(_, texts)| texts).allow(resource)
    }
}

/// For whom the tokens of a call are.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// This identity.
    One(&'a str),
    /// Identities that are this prefix and a number.
    Series(&'a str),
}

impl Row {
    fn allows_identities(&self, whose: Whose<'_>) -> bool {
        match whose {
            Whose::One(identity) => self.identities.allow(identity),
            Whose::Series(prefix) => self.identities.allow_all_after(prefix),
        }
    }

    fn allows_param(&self, name: &str) -> bool {
        self.params.as_ref().is_none_or(|allowed| allowed.iter().any(|it| it == name))
    }

    fn reaches(&self, method: Method, profile: &str, resource: &str) -> bool {
        self.methods.has(method)
            && self.profiles.allow(profile)
            && self.resources.allow(profile, resource)
    }
}

/// The first of the reasons for which no row reaches what a call names; none where one does.
pub(super) fn unreached(
    rows: &[Row],
    method: Method,
    profile: &str,
    resource: &str,
) -> Option<Denied> {
    let mut denied = Denied::Method;
    for row in rows.iter().filter(|row| row.methods.has(method)) {
        if !row.profiles.allow(profile) {
            if denied == Denied::Method {
                denied = Denied::Profile;
            }
        } else if row.resources.allow(profile, resource) {
            return None;
        } else {
            denied = Denied::Resource;
        }
    }
    Some(denied)
}

/// The rows of an entry that name a call's method, profile and resource: whether one of them
/// allows the rest of it too.
#[derive(Clone, Debug)]
pub struct Reach<'a> {
    pub(super) rows: &'a [Row],
    pub(super) method: Method,
    pub(super) profile: &'a str,
    pub(super) resource: &'a str,
}

/// The first row that allows a call, and the longest life that it allows its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Its place in `allow`.
    pub row: usize,
    /// None for the profile's.
    pub max_ttl: Option<Duration>,
}

impl<'a> Reach<'a> {
    fn rows(&self) -> impl Iterator<Item = (usize, &'a Row)> {
        let reaches =
            |(_, row): &(usize, &Row)| row.reaches(self.method, self.profile, self.resource);
        self.rows.iter().enumerate().filter(reaches)
    }

    /// The first of them, which decides where there is nothing else to allow.
    #[must_use]
    pub fn first(&self) -> Option<Allowed> {
        self.rows().next().map(|(row, it)| Allowed { row, max_ttl: it.max_ttl })
    }

    /// The row that allows a call with these parameters, whose tokens are to live for `ttl`;
    /// none for as long as they may.
    ///
    /// # Errors
    ///
    /// None does: why the row that got furthest does not.
    pub fn judge<'n>(
        &self,
        whose: Whose<'_>,
        params: &(impl Iterator<Item = &'n str> + Clone),
        ttl: Option<Duration>,
    ) -> Result<Allowed, Denied> {
        let rows = self.rows().filter(|(_, row)| row.allows_identities(whose));
        settle(rows, None, params, ttl)
    }

    /// Begins to judge a call for a list of identities.
    #[must_use]
    pub fn sieve(&self) -> Sieve<'a> {
        Sieve { rows: self.rows().collect(), refused: None }
    }
}

/// The rows that have allowed all identities of a list so far.
#[derive(Debug)]
pub struct Sieve<'a> {
    rows: Vec<(usize, &'a Row)>,
    refused: Option<usize>,
}

impl Sieve<'_> {
    /// Keeps the rows that allow this identity too.
    pub fn admit(&mut self, index: usize, identity: &str) {
        if self.rows.is_empty() {
            return;
        }
        self.rows.retain(|(_, row)| row.identities.allow(identity));
        if self.rows.is_empty() {
            self.refused = Some(index);
        }
    }

    /// As [`Reach::judge`], of the rows that are left.
    pub fn judge<'n>(
        self,
        params: &(impl Iterator<Item = &'n str> + Clone),
        ttl: Option<Duration>,
    ) -> Result<Allowed, Denied> {
        settle(self.rows.into_iter(), self.refused, params, ttl)
    }
}

/// The first row that allows parameters and life, of those that allow all else; `index` is that
/// of the identity for which there are none.
fn settle<'r, 'n>(
    rows: impl Iterator<Item = (usize, &'r Row)>,
    index: Option<usize>,
    params: &(impl Iterator<Item = &'n str> + Clone),
    ttl: Option<Duration>,
) -> Result<Allowed, Denied> {
    let mut furthest = Denied::Identity { index };
    for (number, row) in rows {
        let max_ttl = row.max_ttl;
        if let Some(name) = params.clone().find(|name| !row.allows_param(name)) {
            if matches!(furthest, Denied::Identity { .. }) {
                furthest = Denied::Param { name: name.to_owned() };
            }
        } else if let (Some(ttl), Some(max)) = (ttl, max_ttl)
            && ttl > max
        {
            let attainable_max = match furthest {
                Denied::Ttl { attainable_max } => attainable_max.max(max),
                _ => max,
            };
            furthest = Denied::Ttl { attainable_max };
        } else {
            return Ok(Allowed { row: number, max_ttl });
        }
    }
    Err(furthest)
}

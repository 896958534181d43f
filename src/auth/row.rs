//! The rows of an entry. Each row allows calls on its own: rows are never combined to allow one
//! call.

use std::time::Duration;

use super::{
    method::{Method, Methods},
    refusal::Denied,
    string_pattern::StringPatterns,
};
use crate::name::ProfileName;

/// A row of `allow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The allowed methods.
    pub methods: Methods,
    /// The allowed profiles.
    pub profiles: Profiles,
    /// The allowed resources.
    pub resources: Resources,
    /// The allowed identities.
    pub identities: StringPatterns,
    /// The parameters that a call may set; `None`: all that the profile opens.
    pub params: Option<Vec<String>>,
    /// The maximum lifetime of tokens; `None`: the profile's.
    pub max_ttl: Option<Duration>,
}

/// The profiles that a row allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Profiles {
    /// All.
    Any,
    /// These.
    Named(Vec<ProfileName>),
}

impl Profiles {
    /// Whether the profile is allowed.
    #[must_use]
    pub fn allow(&self, profile: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Named(names) => names.iter().any(|name| name.as_str() == profile),
        }
    }
}

/// The resources that a row allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// As configured.
    pub written: StringPatterns,
    /// In the canonical form of a profile's kind, if that differs.
    pub known: Vec<(ProfileName, StringPatterns)>,
}

impl Resources {
    fn allow(&self, profile: &str, resource: &str) -> bool {
        let known = self.known.iter().find(|(name, _)| name.as_str() == profile);
        known.map_or(&self.written, |(_, texts)| texts).allow(resource)
    }
}

/// The identities that a call requests tokens for.
#[derive(Clone, Copy, Debug)]
pub enum RequestedIdentities<'a> {
    /// A single identity.
    One(&'a str),
    /// Identities that consist of this prefix and a number.
    Series(&'a str),
}

impl Row {
    fn allows_identities(&self, identities: RequestedIdentities<'_>) -> bool {
        match identities {
            RequestedIdentities::One(identity) => self.identities.allow(identity),
            RequestedIdentities::Series(prefix) => self.identities.allow_all_after(prefix),
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

/// Why no row matches a call's method, profile and resource; `None` if one does.
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

/// The rows of an entry that match a call's method, profile and resource, for checking the rest of
/// the call.
#[derive(Clone, Debug)]
pub struct Reach<'a> {
    pub(super) rows: &'a [Row],
    pub(super) method: Method,
    pub(super) profile: &'a str,
    pub(super) resource: &'a str,
}

/// The first row that allows a call, and its maximum lifetime for tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The index in `allow`.
    pub row: usize,
    /// `None`: the profile's.
    pub max_ttl: Option<Duration>,
}

impl<'a> Reach<'a> {
    fn rows(&self) -> impl Iterator<Item = (usize, &'a Row)> {
        let reaches =
            |(_, row): &(usize, &Row)| row.reaches(self.method, self.profile, self.resource);
        self.rows.iter().enumerate().filter(reaches)
    }

    /// The first matching row, for calls without anything else to check.
    #[must_use]
    pub fn first(&self) -> Option<Allowed> {
        self.rows().next().map(|(row, it)| Allowed { row, max_ttl: it.max_ttl })
    }

    /// Finds the row that allows a call with these parameters and lifetime. Without a `ttl`, tokens
    /// live as long as allowed.
    ///
    /// # Errors
    ///
    /// No row does; returns the reason of the row that came closest.
    pub fn authorize<'n>(
        &self,
        identities: RequestedIdentities<'_>,
        params: &(impl Iterator<Item = &'n str> + Clone),
        ttl: Option<Duration>,
    ) -> Result<Allowed, Denied> {
        let rows = self.rows().filter(|(_, row)| row.allows_identities(identities));
        settle(rows, None, params, ttl)
    }

    /// Starts checking a list of identities.
    #[must_use]
    pub fn check_list(&self) -> ListCheck<'a> {
        ListCheck { rows: self.rows().collect(), refused: None }
    }
}

/// The rows that have allowed all identities of a list so far.
#[derive(Debug)]
pub struct ListCheck<'a> {
    rows: Vec<(usize, &'a Row)>,
    refused: Option<usize>,
}

impl ListCheck<'_> {
    /// Keeps only the rows that allow this identity too.
    pub fn add(&mut self, index: usize, identity: &str) {
        if self.rows.is_empty() {
            return;
        }
        self.rows.retain(|(_, row)| row.identities.allow(identity));
        if self.rows.is_empty() {
            self.refused = Some(index);
        }
    }

    /// As [`Reach::authorize`], for the remaining rows.
    pub fn finish<'n>(
        self,
        params: &(impl Iterator<Item = &'n str> + Clone),
        ttl: Option<Duration>,
    ) -> Result<Allowed, Denied> {
        settle(self.rows.into_iter(), self.refused, params, ttl)
    }
}

/// The first of these rows that allows the parameters and lifetime. `index` is the index of the
/// identity that no row allows.
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

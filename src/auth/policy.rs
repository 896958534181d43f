//! The entries of `[callers]`, and matching callers to entries.

use std::{collections::HashMap, fmt, sync::Arc};

use super::{
    method::Method,
    name::CallerName,
    pattern::CallerPattern,
    quota::Rate,
    refusal::Denied,
    row::{Reach, Row, unreached},
};

/// The policy for callers.
#[derive(Clone, Debug)]
pub enum Policy {
    /// Any client that can connect may call everything: there is no `[callers]`.
    Open,
    /// Callers in entries may do what the entries' rows allow.
    Entries(Entries),
}

/// What happens to calls that are not allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// They are refused.
    #[default]
    Enforce,
    /// They are counted, logged and served, to test rows. Authentication, reflection and the limits
    /// on connections and streams are still enforced.
    Observe,
}

impl Mode {
    /// The name in the configuration and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }

    /// The outcomes of calls that are not allowed: some rules are enforced in either mode.
    pub(super) const fn outcomes(self) -> &'static [&'static str] {
        match self {
            Self::Enforce => const { &[Self::Enforce.as_str()] },
            Self::Observe => const { &[Self::Enforce.as_str(), Self::Observe.as_str()] },
        }
    }

    /// Parses a mode.
    ///
    /// # Errors
    ///
    /// The mode is unknown.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        [Self::Enforce, Self::Observe]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or(r#"must be "enforce" or "observe""#)
    }
}

/// The name of an entry: `[a-z][a-z0-9-]{0,62}`, except `unknown`, which stands for no entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EntryName(Arc<str>);

/// The entry in metrics of callers without an entry.
pub const NO_ENTRY: &str = "unknown";

impl EntryName {
    /// Parses a name.
    ///
    /// # Errors
    ///
    /// The name is malformed or reserved.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_valid = text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(of_name)
            && text.len() <= 63;
        match text {
            NO_ENTRY => Err("is reserved for callers without an entry"),
            text if is_valid => Ok(Self(text.into())),
            _ => Err("is not of the form [a-z][a-z0-9-]{0,62}"),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An entry: `[callers.NAME]`.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name.
    pub name: EntryName,
    /// The patterns of the callers in the entry.
    pub matches: Vec<CallerPattern>,
    /// The calls that the entry allows.
    pub rows: Vec<Row>,
    /// The limits of the entry.
    pub limits: Limits,
}

/// The limits that all callers of an entry share, per replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Signing units of `MintToken`; `None`: unlimited.
    pub tokens: Option<Rate>,
    /// Signing units of `MintTokens`; `None`: unlimited.
    pub bulk_tokens: Option<Rate>,
    /// Concurrent streaming calls.
    pub streams: usize,
    /// Concurrent calls that wait for a grant or for quota.
    pub waiting: usize,
    /// Concurrent connections; `None`: no limit of its own.
    pub connections: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tokens: None, bulk_tokens: None, streams: 64, waiting: 256, connections: None }
    }
}

impl Entry {
    /// The rows that match a call's method, profile and resource.
    ///
    /// # Errors
    ///
    /// No row matches; returns which of the three is not allowed.
    pub fn reach<'a>(
        &'a self,
        method: Method,
        profile: &'a str,
        resource: &'a str,
    ) -> Result<Reach<'a>, Denied> {
        match unreached(&self.rows, method, profile, resource) {
            None => Ok(Reach { rows: &self.rows, method, profile, resource }),
            Some(denied) => Err(denied),
        }
    }

    /// Checks that a row allows the method.
    ///
    /// # Errors
    ///
    /// No row does.
    pub fn reach_method(&self, method: Method) -> Result<(), Denied> {
        let named = self.rows.iter().any(|row| row.methods.has(method));
        if named { Ok(()) } else { Err(Denied::Method) }
    }

    /// Checks that a row allows the method and the profile, with any resource.
    ///
    /// # Errors
    ///
    /// No row does; returns which of the two is not allowed.
    pub fn reach_profile(&self, method: Method, profile: &str) -> Result<(), Denied> {
        self.reach_method(method)?;
        let mut named = self.rows.iter().filter(|row| row.methods.has(method));
        let named = named.any(|row| row.profiles.allow(profile));
        if named { Ok(()) } else { Err(Denied::Profile) }
    }
}

/// All entries. The configuration refuses a pattern that occurs twice.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    all: Vec<Entry>,
    exact: HashMap<CallerName, usize>,
    /// The patterns with the longest fixed part come first.
    patterns: Vec<(CallerPattern, usize)>,
}

impl Entries {
    /// Creates the index of entries, of which no two share a pattern.
    #[must_use]
    pub fn new(all: Vec<Entry>) -> Self {
        let (mut exact, mut patterns) = (HashMap::new(), Vec::new());
        for (index, entry) in all.iter().enumerate() {
            for pattern in &entry.matches {
                match pattern {
                    CallerPattern::Exact(name) => drop(exact.insert(name.clone(), index)),
                    pattern => patterns.push((pattern.clone(), index)),
                }
            }
        }
        patterns.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.fixed()));
        Self { all, exact, patterns }
    }

    /// All entries in their original order.
    #[must_use]
    pub fn all(&self) -> &[Entry] {
        &self.all
    }

    /// Finds the entry of a caller with these names, and the name with the most specific match. An
    /// exact name is more specific than a pattern, and a longer fixed part than a shorter one. The
    /// first of equally specific names is returned. Names without an entry are ignored.
    ///
    /// # Errors
    ///
    /// No name has an entry, or the names have different entries.
    pub fn find<'n>(
        &self,
        names: impl IntoIterator<Item = &'n CallerName>,
    ) -> Result<Found, Denied> {
        let mut found: Option<(Found, usize)> = None;
        for (name, text) in names.into_iter().enumerate() {
            let Some((entry, fixed)) = self.of(text) else { continue };
            match found {
                Some((before, _)) if before.entry != entry => return Err(Denied::Unknown),
                Some((_, before)) if before >= fixed => {}
                _ => found = Some((Found { entry, name }, fixed)),
            }
        }
        found.map(|(found, _)| found).ok_or(Denied::Unknown)
    }

    /// The entry of a name and the length of the matched pattern's fixed part.
    fn of(&self, name: &CallerName) -> Option<(usize, usize)> {
        let exact = self.exact.get(name).map(|index| (*index, usize::MAX));
        exact.or_else(|| {
            let mut patterns = self.patterns.iter();
            let found = patterns.find(|(pattern, _)| pattern.matches(name));
            found.map(|(pattern, index)| (*index, pattern.fixed()))
        })
    }
}

/// The result of [`Entries::find`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The index of the entry.
    pub entry: usize,
    /// The index of the name among the given ones.
    pub name: usize,
}

#[cfg(test)]
mod tests;

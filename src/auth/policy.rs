//! What `[callers]` says: the entries, and which of them a caller is in.

use std::{collections::HashMap, fmt, sync::Arc};

use super::{
    method::Method,
    name::CallerName,
    pattern::CallerPattern,
    quota::Rate,
    refusal::Denied,
    row::{Reach, Row, unreached},
};

/// Who may call.
#[derive(Clone, Debug)]
pub enum Policy {
    /// Whoever can connect may call everything: there is no `[callers]`.
    Open,
    /// Those in the entries may do what their rows allow.
    Entries(Entries),
}

/// The result of a call that is not allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is refused.
    #[default]
    Enforce,
    /// It is counted and logged, and served: to try rows out. Authentication, reflection and
    /// the limits on connections and streams are enforced all the same.
    Observe,
}

impl Mode {
    /// As the configuration and the metrics have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }

    /// What can come of a call that is not allowed: some things are enforced in either mode.
    pub(super) const fn outcomes(self) -> &'static [&'static str] {
        match self {
            Self::Enforce => const { &[Self::Enforce.as_str()] },
            Self::Observe => const { &[Self::Enforce.as_str(), Self::Observe.as_str()] },
        }
    }

    /// The one of this name.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        [Self::Enforce, Self::Observe]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or(r#"must be "enforce" or "observe""#)
    }
}

/// The name of an entry: `[a-z][a-z0-9-]{0,62}`, but not `unknown`, which stands for no entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EntryName(Arc<str>);

/// Where a metric names the entry of a caller that is in none.
pub const NO_ENTRY: &str = "unknown";

impl EntryName {
    /// Takes a text of the right form.
    ///
    /// # Errors
    ///
    /// It is of another.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fine = text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(of_name)
            && text.len() <= 63;
        match text {
            NO_ENTRY => Err("stands for callers that are in no entry"),
            text if fine => Ok(Self(text.into())),
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

/// One entry: `[callers.NAME]`.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: EntryName,
    /// The callers that are in it.
    pub matches: Vec<CallerPattern>,
    /// What they may do.
    pub rows: Vec<Row>,
    /// How much of it.
    pub limits: Limits,
}

/// How much the callers of an entry may have, all together, of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Signing units of `MintToken`; none for no limit.
    pub tokens: Option<Rate>,
    /// Signing units of `MintTokens`; none for no limit.
    pub bulk_tokens: Option<Rate>,
    /// Calls that stream at the same time.
    pub streams: usize,
    /// Calls that wait, for a grant or for quota, at the same time.
    pub waiting: usize,
    /// Connections at the same time; none for none of its own.
    pub connections: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tokens: None, bulk_tokens: None, streams: 64, waiting: 256, connections: None }
    }
}

impl Entry {
    /// The rows that name what a call is for.
    ///
    /// # Errors
    ///
    /// There are none: the first of the reasons for that.
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

    /// Whether a row names the method.
    ///
    /// # Errors
    ///
    /// None does.
    pub fn reach_method(&self, method: Method) -> Result<(), Denied> {
        let named = self.rows.iter().any(|row| row.methods.has(method));
        if named { Ok(()) } else { Err(Denied::Method) }
    }

    /// Whether a row names the method and the profile, with any resource.
    ///
    /// # Errors
    ///
    /// None does: the first of the reasons for that.
    pub fn reach_profile(&self, method: Method, profile: &str) -> Result<(), Denied> {
        self.reach_method(method)?;
        let mut named = self.rows.iter().filter(|row| row.methods.has(method));
        let named = named.any(|row| row.profiles.allow(profile));
        if named { Ok(()) } else { Err(Denied::Profile) }
    }
}

/// All entries. The configuration refuses a pattern that is in two of them.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    all: Vec<Entry>,
    exact: HashMap<CallerName, usize>,
    /// Those that fix most of a name come first.
    patterns: Vec<(CallerPattern, usize)>,
}

impl Entries {
    /// These, of which no two have the same pattern.
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

    /// All of them, as they came.
    #[must_use]
    pub fn all(&self) -> &[Entry] {
        &self.all
    }

    /// The entry that a caller of these names is in, and the name that leads there most exactly,
    /// the first of equals: an exact name goes before a
    /// pattern, and a pattern that fixes more before one that fixes less. Names that are in no
    /// entry do not count.
    ///
    /// # Errors
    ///
    /// There is none, or the names lead to two.
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

    /// The entry of a name, and how much of the name its pattern fixes.
    fn of(&self, name: &CallerName) -> Option<(usize, usize)> {
        let exact = self.exact.get(name).map(|index| (*index, usize::MAX));
        exact.or_else(|| {
            let mut patterns = self.patterns.iter();
            let found = patterns.find(|(pattern, _)| pattern.matches(name));
            found.map(|(pattern, index)| (*index, pattern.fixed()))
        })
    }
}

/// Where the names of a caller lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The place of the entry.
    pub entry: usize,
    /// The place of the name, among those that were given.
    pub name: usize,
}

#[cfg(test)]
mod tests;

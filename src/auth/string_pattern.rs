//! Patterns of resources and identities in rows.

use std::collections::HashSet;

/// Exact strings and prefixes. An empty list allows nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StringPatterns {
    /// Any string.
    Any,
    /// Only some strings.
    Some {
        /// Exactly these strings.
        exact: HashSet<String>,
        /// Strings that start with one of these.
        prefixes: Vec<String>,
    },
}

/// A pattern in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StringPattern {
    /// `*`: any string.
    Any,
    /// Strings that start with this.
    Prefix(String),
    /// Exactly this string.
    Exact(String),
}

impl StringPattern {
    /// Parses a string, or a prefix with a trailing `*`.
    ///
    /// # Errors
    ///
    /// The string is empty or has a `*` elsewhere.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (prefix, is_prefix) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        if prefix.contains('*') {
            return Err("has a * before its end: only a trailing * is supported");
        }
        Ok(match (prefix, is_prefix) {
            ("", true) => Self::Any,
            ("", false) => return Err("is empty"),
            (prefix, true) => Self::Prefix(prefix.to_owned()),
            (text, false) => Self::Exact(text.to_owned()),
        })
    }
}

impl StringPatterns {
    /// Whether the string is allowed.
    #[must_use]
    pub fn allow(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Some { exact, prefixes } => {
                exact.contains(text) || prefixes.iter().any(|prefix| text.starts_with(prefix))
            }
        }
    }

    /// Whether all strings that start with `beginning` are allowed.
    #[must_use]
    pub fn allow_all_after(&self, beginning: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Some { prefixes, .. } => {
                prefixes.iter().any(|prefix| beginning.starts_with(prefix))
            }
        }
    }
}

impl FromIterator<StringPattern> for StringPatterns {
    fn from_iter<I: IntoIterator<Item = StringPattern>>(texts: I) -> Self {
        let (mut exact, mut prefixes) = (HashSet::new(), Vec::new());
        for text in texts {
            match text {
                StringPattern::Any => return Self::Any,
                StringPattern::Prefix(prefix) => prefixes.push(prefix),
                StringPattern::Exact(text) => {
                    exact.insert(text);
                }
            }
        }
        Self::Some { exact, prefixes }
    }
}

//! The texts that a row allows for resources and identities.

use std::collections::HashSet;

/// Texts, and prefixes of texts. Without any, it allows nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Texts {
    /// Any text.
    Any,
    /// Of these.
    Some {
        /// These texts.
        exact: HashSet<String>,
        /// What begins with one of these.
        prefixes: Vec<String>,
    },
}

/// One of the texts that a row allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// `*`: any.
    Any,
    /// What begins with this.
    Prefix(String),
    /// This.
    Exact(String),
}

impl Text {
    /// Takes a text, or a prefix with `*` at its end.
    ///
    /// # Errors
    ///
    /// It is empty, or has a `*` elsewhere.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (prefix, is_prefix) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        if prefix.contains('*') {
            return Err("has a * that is not its end: a prefix with * is all that is understood");
        }
        Ok(match (prefix, is_prefix) {
            ("", true) => Self::Any,
            ("", false) => return Err("is empty"),
            (prefix, true) => Self::Prefix(prefix.to_owned()),
            (text, false) => Self::Exact(text.to_owned()),
        })
    }
}

impl Texts {
    /// Whether it allows this text.
    #[must_use]
    pub fn allow(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Some { exact, prefixes } => {
                exact.contains(text) || prefixes.iter().any(|prefix| text.starts_with(prefix))
            }
        }
    }

    /// Whether it allows all texts that begin so, whatever follows.
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

impl FromIterator<Text> for Texts {
    fn from_iter<I: IntoIterator<Item = Text>>(texts: I) -> Self {
        let (mut exact, mut prefixes) = (HashSet::new(), Vec::new());
        for text in texts {
            match text {
                Text::Any => return Self::Any,
                Text::Prefix(prefix) => prefixes.push(prefix),
                Text::Exact(text) => {
                    exact.insert(text);
                }
            }
        }
        Self::Some { exact, prefixes }
    }
}

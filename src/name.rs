//! Names, parsed on input: each type holds a well-formed name.

use std::{borrow::Borrow, fmt, sync::Arc};

/// The maximum bytes of an identity or a resource.
pub const MAX_NAME_BYTES: usize = 256;

/// Why a text is not a valid name. Does not contain the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum NameError {
    /// It is empty.
    Empty,
    /// Over the limit of [`MAX_NAME_BYTES`].
    TooLong,
    /// It contains a control character.
    ControlCharacter,
    /// It does not have the form that the profile's kind requires; in the kind's words.
    NotOfItsKind(&'static str),
    /// It is not a valid profile name.
    NotAProfile,
    /// It is not a valid grant name.
    NotAGrantName,
}

impl NameError {
    /// The problem, in words that follow the name of the field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "is empty",
            Self::TooLong => "is longer than 256 bytes",
            Self::ControlCharacter => "contains a control character",
            Self::NotOfItsKind(why) => why,
            Self::NotAProfile => "is not of the form [a-z][a-z0-9-]{0,62}",
            Self::NotAGrantName => "is not of the form profiles/{profile}/grants/{resource}",
        }
    }
}

fn check_text(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong);
    }
    // Most are printable ASCII, which is checked many bytes at once.
    let printable = |byte: u8| (b' '..=b'~').contains(&byte);
    if text.bytes().fold(true, |all, byte| all & printable(byte)) {
        return Ok(());
    }
    if text.chars().any(char::is_control) {
        return Err(NameError::ControlCharacter);
    }
    Ok(())
}

macro_rules! name {
    ($name:ident) => {
        impl $name {
            /// The name as a string.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// A profile's name: `[a-z][a-z0-9-]{0,62}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileName(Arc<str>);

name!(ProfileName);

impl ProfileName {
    /// Parses a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let mut bytes = text.bytes();
        let starts = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
        let continues =
            bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if starts && continues && text.len() <= 63 {
            Ok(Self(text.into()))
        } else {
            Err(NameError::NotAProfile)
        }
    }
}

/// The upstream object that a grant or token is for: 1–256 bytes of UTF-8 without control
/// characters. Each kind has a narrower rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource(Arc<str>);

name!(Resource);

impl Resource {
    /// Parses a resource.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_text(text)?;
        Ok(Self(text.into()))
    }
}

/// A pattern for resources: `*` matches any run of characters, including none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    /// The text before, between and after each `*`; without a `*` it is all in `first`.
    first: String,
    between: Vec<String>,
    last: Option<String>,
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    ///
    /// It is empty, too long, or contains control characters.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_text(text)?;
        let mut pieces = text.split('*').map(str::to_owned);
        let first = pieces.next().unwrap_or_default();
        let last = pieces.next_back();
        Ok(Self { text: text.to_owned(), first, between: pieces.collect(), last })
    }

    /// The pattern as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the pattern matches all of `text`.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let Some(last) = &self.last else { return text == self.first };
        let rest = text.strip_prefix(&*self.first).and_then(|rest| rest.strip_suffix(&**last));
        // Matching each piece as early as possible leaves the most text for the next ones.
        let mut between = self.between.iter();
        rest.is_some_and(|rest| {
            between.try_fold(rest, |rest, piece| Some(rest.split_once(&**piece)?.1)).is_some()
        })
    }
}

/// Who a token is for: 1–256 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(String);

name!(Identity);

impl Identity {
    /// Parses an identity.
    pub fn parse(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        check_text(&text)?;
        Ok(Self(text))
    }
}

/// A kind's rule for its identities, narrower than that of [`Identity`].
#[derive(Clone, Copy, Debug)]
pub struct IdentityForm {
    /// The rule, in words that follow the field's name.
    pub wanted: &'static str,
    /// Whether an identity follows it. A whole series does if its first and last identity do.
    pub fits: fn(&str) -> bool,
}

/// A grant's name: `profiles/{profile}/grants/{resource}`. Everything after `/grants/` is the
/// resource, verbatim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantName {
    /// The profile.
    pub profile: ProfileName,
    /// The resource.
    pub resource: Resource,
}

impl GrantName {
    /// Parses a grant name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let rest = text.strip_prefix("profiles/").ok_or(NameError::NotAGrantName)?;
        let (profile, resource) = rest.split_once("/grants/").ok_or(NameError::NotAGrantName)?;
        let profile = ProfileName::parse(profile).map_err(|_| NameError::NotAGrantName)?;
        let resource = Resource::parse(resource).map_err(|_| NameError::NotAGrantName)?;
        Ok(Self { profile, resource })
    }
}

impl fmt::Display for GrantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "profiles/{}/grants/{}", self.profile, self.resource)
    }
}

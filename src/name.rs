//! Names, parsed at the door: what is here is well-formed.

use std::{borrow::Borrow, fmt, sync::Arc};

/// Bytes that an identity or a resource may have.
pub const MAX_NAME_BYTES: usize = 256;

/// A text that is not a name of the kind asked for. It never holds the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum NameError {
    /// Nothing in it.
    Empty,
    /// Over the limit of [`MAX_NAME_BYTES`].
    TooLong,
    /// Has a control character.
    ControlCharacter,
    /// Not of the form that the profile's kind asks for, in the kind's own words.
    NotOfItsKind(&'static str),
    /// Not of a profile's form.
    NotAProfile,
    /// Not of a grant name's form.
    NotAGrantName,
}

impl NameError {
    /// What is wrong, in words that follow the name of the field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "is empty",
            Self::TooLong => "has more than 256 bytes",
            Self::ControlCharacter => "has a control character",
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
    // Most are printable ASCII, which is seen many bytes at once.
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
            /// The name as text.
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
    /// Takes a text of the right form.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let mut bytes = text.bytes();
        let starts = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
        let goes_on =
            bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if starts && goes_on && text.len() <= 63 {
            Ok(Self(text.into()))
        } else {
            Err(NameError::NotAProfile)
        }
    }
}

/// The upstream thing that a grant or token is for: 1–256 bytes of UTF-8 without control
/// characters. Each kind has a narrower rule of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource(Arc<str>);

name!(Resource);

impl Resource {
    /// Takes a text of the right form.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_text(text)?;
        Ok(Self(text.into()))
    }
}

/// A pattern of resources: `*` stands for any run of characters, also for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    /// What stands before, between and behind the `*`; a text without one is the first.
    first: String,
    between: Vec<String>,
    last: Option<String>,
}

impl Pattern {
    /// Takes a text that a resource can match.
    ///
    /// # Errors
    ///
    /// It is empty, too long, or has control characters.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_text(text)?;
        let mut pieces = text.split('*').map(str::to_owned);
        let first = pieces.next().unwrap_or_default();
        let last = pieces.next_back();
        Ok(Self { text: text.to_owned(), first, between: pieces.collect(), last })
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole of `text` is of this pattern.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let Some(last) = &self.last else { return text == self.first };
        let rest = text.strip_prefix(&*self.first).and_then(|rest| rest.strip_suffix(&**last));
        // The earliest place of each piece leaves the most to those behind it.
        let mut between = self.between.iter();
        rest.is_some_and(|rest| {
            between.try_fold(rest, |rest, piece| Some(rest.split_once(&**piece)?.1)).is_some()
        })
    }
}

/// Whose token it is: 1–256 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(String);

name!(Identity);

impl Identity {
    /// Takes a text of the right form.
    pub fn parse(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        check_text(&text)?;
        Ok(Self(text))
    }
}

/// A rule of a kind for its identities, narrower than that of [`Identity`].
#[derive(Clone, Copy, Debug)]
pub struct IdentityForm {
    /// What an identity should be, in words that follow the field's name.
    pub wanted: &'static str,
    /// Whether it is that. Of a series, all are where the first and the last are.
    pub fits: fn(&str) -> bool,
}

/// A grant's name: `profiles/{profile}/grants/{resource}`; all after `/grants/` is the
/// resource, verbatim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantName {
    /// The profile.
    pub profile: ProfileName,
    /// The resource.
    pub resource: Resource,
}

impl GrantName {
    /// Takes a text of the right form.
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

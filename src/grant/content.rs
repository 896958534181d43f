//! A grant's content, zeroed on drop.

use std::fmt;

use zeroize::Zeroizing;

/// The text that an upstream returned: JSON or a plain credential, depending on the kind. A
/// secret, zeroed on drop. It is shared with the grant; a signer that embeds it in tokens keeps
/// its own encoded copy.
pub struct Content(Zeroizing<String>);

impl Content {
    /// The text, verbatim.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An exact-size copy: reallocation would leave secret bytes behind.
impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Content")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_verbatim_and_does_not_print() {
        for text in ["", r#"{ "a":1.0}"#, "\u{feff} bearer é"] {
            assert_eq!(Content::from(text).as_str(), text);
            assert_eq!(Content::from(text.to_owned()).as_str(), text);
            assert_eq!(format!("{:?}", Content::from(text)), "Content");
        }
    }
}

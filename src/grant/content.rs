//! What a grant holds, as a text that is zeroed when it is dropped.

use std::fmt;

use zeroize::Zeroizing;

/// What an upstream gave, as text: JSON or a plain credential, as its kind says. A secret,
/// zeroed on drop: who shares it shares the grant. A signer that lays it into tokens holds its
/// own encoded copy.
pub struct Content(Zeroizing<String>);

impl Content {
    /// The text, exactly as it came.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A copy of this size and no larger, so that nothing is left behind by growing.
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
    fn content_is_the_text_as_it_came_and_does_not_print() {
        for text in ["", r#"{ "a":1.0}"#, "\u{feff} bearer é"] {
            assert_eq!(Content::from(text).as_str(), text);
            assert_eq!(Content::from(text.to_owned()).as_str(), text);
            assert_eq!(format!("{:?}", Content::from(text)), "Content");
        }
    }
}

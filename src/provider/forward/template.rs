//! Templates: strings with the placeholders `{resource}`, `{grant_ttl}`, `{secret}` and
//! `{assertion}`; `{{` and `}}` are braces.

use std::{borrow::Cow, fmt};

use zeroize::Zeroizing;

/// A placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placeholder {
    /// The requested resource.
    Resource,
    /// The requested life, in whole seconds.
    GrantTtl,
    /// The profile's secret.
    Secret,
    /// A JWT that authenticates the profile, signed for each attempt.
    Assertion,
}

impl Placeholder {
    const ALL: [Self; 4] = [Self::Resource, Self::GrantTtl, Self::Secret, Self::Assertion];

    /// Its name between the braces.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::GrantTtl => "grant_ttl",
            Self::Secret => "secret",
            Self::Assertion => "assertion",
        }
    }

    /// Whether its value authenticates to the upstream.
    pub(super) const fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::Assertion)
    }
}

/// The values of the placeholders in one attempt. Its `Debug` hides them.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) resource: &'a str,
    pub(super) grant_ttl: &'a str,
    pub(super) secret: &'a str,
    pub(super) assertion: &'a str,
}

impl<'a> Values<'a> {
    /// The value of this placeholder.
    pub(super) const fn of(&self, place: Placeholder) -> &'a str {
        match place {
            Placeholder::Resource => self.resource,
            Placeholder::GrantTtl => self.grant_ttl,
            Placeholder::Secret => self.secret,
            Placeholder::Assertion => self.assertion,
        }
    }
}

impl fmt::Debug for Values<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Values")
    }
}

/// Why a string is not a template. It never holds the string, which may contain a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    /// An unmatched brace.
    #[error("has an unmatched brace; write {{{{ or }}}} for a brace")]
    Brace,
    /// An unknown placeholder.
    #[error(
        "has an unknown placeholder; expected one of {{resource}}, {{grant_ttl}}, {{secret}}, \
         {{assertion}}"
    )]
    Unknown,
}

/// A string with placeholders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Placeholder(Placeholder),
}

impl Template {
    /// A literal string; braces have no meaning.
    pub(super) fn literal(text: impl Into<String>) -> Self {
        let text = text.into();
        if text.is_empty() { Self::default() } else { Self(vec![Piece::Text(text)]) }
    }

    /// Parses a template.
    ///
    /// # Errors
    ///
    /// A brace is unmatched, or a placeholder is unknown.
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            literal.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else {
                let inside = from.strip_prefix('{').ok_or(TemplateError::Brace)?;
                let (name, after) = inside.split_once('}').ok_or(TemplateError::Brace)?;
                let place = Placeholder::ALL.into_iter().find(|place| place.name() == name);
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Placeholder(place.ok_or(TemplateError::Unknown)?));
                rest = after;
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self(pieces))
    }

    /// Its placeholders.
    pub(super) fn places(&self) -> impl Iterator<Item = Placeholder> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Placeholder(place) => Some(*place),
        })
    }

    /// The strings between its placeholders.
    pub(super) fn literals(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Placeholder(_) => None,
        })
    }

    /// Whether it consists of this placeholder.
    pub(super) fn is_only(&self, place: Placeholder) -> bool {
        self.0 == [Piece::Placeholder(place)]
    }

    /// The string with these values.
    pub(super) fn filled(&self, values: &Values<'_>) -> Zeroizing<String> {
        self.filled_with(values, |value| value.into())
    }

    /// The same, with each value encoded.
    pub(super) fn filled_with(
        &self,
        values: &Values<'_>,
        encoded: impl Fn(&str) -> Cow<'_, str>,
    ) -> Zeroizing<String> {
        let part = |piece: &Piece| match piece {
            Piece::Text(text) => text.len(),
            // Encoding makes a byte at most three.
            Piece::Placeholder(place) => 3 * values.of(*place).len(),
        };
        // The capacity covers everything, so growing leaves no copies.
        let mut text = Zeroizing::new(String::with_capacity(self.0.iter().map(part).sum()));
        for piece in &self.0 {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Placeholder(place) => text.push_str(&encoded(values.of(*place))),
            }
        }
        text
    }

    /// The values of the placeholders in a string that was made from this template; `None` if it
    /// was not.
    pub(super) fn captured<'t>(&self, text: &'t str) -> Option<Vec<(Placeholder, &'t str)>> {
        let (mut rest, mut found, mut open) = (text, Vec::new(), None);
        for piece in &self.0 {
            match (piece, open.take()) {
                (Piece::Text(literal), None) => rest = rest.strip_prefix(literal.as_str())?,
                (Piece::Text(literal), Some(place)) => {
                    let (value, after) = rest.split_once(literal.as_str())?;
                    found.push((place, value));
                    rest = after;
                }
                (Piece::Placeholder(place), before) => {
                    found.extend(before.map(|before| (before, "")));
                    open = Some(*place);
                }
            }
        }
        match open {
            Some(place) => found.push((place, rest)),
            None if rest.is_empty() => {}
            None => return None,
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values<'_> =
        Values { resource: "a/b", grant_ttl: "60", secret: "s3cret", assertion: "x.y.z" };

    fn parse(text: &str) -> Template {
        Template::parse(text).unwrap()
    }

    #[test]
    fn placeholders_are_filled_and_captured_again() {
        for (text, filled, found) in [
            ("plain", "plain", vec![]),
            ("Token {secret}", "Token s3cret", vec![(Placeholder::Secret, "s3cret")]),
            (
                "{resource}:{grant_ttl}!",
                "a/b:60!",
                vec![(Placeholder::Resource, "a/b"), (Placeholder::GrantTtl, "60")],
            ),
            ("{{{assertion}}}", "{x.y.z}", vec![(Placeholder::Assertion, "x.y.z")]),
            ("", "", vec![]),
        ] {
            let template = parse(text);
            assert_eq!(*template.filled(&VALUES), filled);
            assert_eq!(template.captured(filled), Some(found), "{text}");
            assert_eq!(parse("Bearer {secret}").captured(filled), None, "{text}");
        }
        assert_eq!(parse("plain").captured("plainer"), None);
        assert!(parse("{grant_ttl}").is_only(Placeholder::GrantTtl));
        assert!(!parse("{grant_ttl}s").is_only(Placeholder::GrantTtl));
        assert_eq!(Template::literal("{x}").filled(&VALUES).as_str(), "{x}");
    }

    #[test]
    fn invalid_template_is_refused_without_echo() {
        for text in ["{", "}", "{secret", "a } b", "{{}"] {
            assert_eq!(Template::parse(text), Err(TemplateError::Brace), "{text}");
        }
        for text in ["{}", "{token}", "{ secret }", "{Secret}"] {
            let error = Template::parse(text).unwrap_err();
            assert_eq!(error, TemplateError::Unknown, "{text}");
            assert!(error.to_string().contains("{assertion}"), "{error}");
        }
        assert_eq!(format!("{VALUES:?}"), "Values");
    }
}

//! Reads a token without trusting it: anyone can make a token with the same content.
//!
//! This module covers what all JWTs have in common. Each kind adds what its tokens mean and its own
//! checks.

mod jwt;
mod signature;
mod warnings;
pub mod words;

use std::{fmt, mem};

use serde_json::{Map, Value};

#[cfg(test)]
pub(crate) use self::jwt::tests::unsigned;
pub use self::{
    jwt::{Jwt, Validity, decode_part, whole_seconds},
    signature::{Key, Signature, is_hmac},
};
use crate::clock::WallTime;

/// How a token is displayed.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The current time.
    pub now: WallTime,
    /// The replacement for secrets; none if secrets are shown.
    pub mask: Option<&'a str>,
}

/// The content of a token.
#[derive(Clone, PartialEq)]
pub struct Reading {
    /// What it is for, in display order. Its times are not included.
    pub lines: Vec<Line>,
    /// Its claims, with secrets masked.
    pub claims: Map<String, Value>,
    /// Its validity, as far as it is stated anywhere.
    pub validity: Validity,
    /// The error with which verifiers refuse it before it starts, if known.
    pub early_error: Option<&'static str>,
    /// Whether its verifiers tolerate clock skew.
    pub has_leeway: bool,
    /// Whether tokens of its kind may omit `iat`.
    pub needs_no_iat: bool,
    /// What expires, the earliest first.
    pub ends: Vec<End>,
    /// Problems found in it.
    pub warnings: Vec<Warning>,
}

/// One property of a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    /// The name of the property.
    pub label: &'static str,
    /// Its value, without control characters.
    pub text: String,
}

/// Something in a token that expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The machine-readable name.
    pub name: &'static str,
    /// What it is, and the effect of its expiry.
    pub words: &'static str,
    /// Unix seconds.
    pub at: i64,
}

/// A problem and its effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The header or claim.
    pub about: &'static str,
    /// The problem.
    pub message: String,
}

impl Reading {
    /// The starting point for a kind: the token's own times and expiry, no lines, no problems, and
    /// all claims unmasked.
    #[must_use]
    pub fn of(token: &Jwt) -> Self {
        let validity = token.validity();
        let end = validity.ends.map(|at| End { name: "token", words: "the token", at });
        Self {
            lines: Vec::new(),
            claims: token.claims.clone(),
            validity,
            early_error: None,
            has_leeway: false,
            needs_no_iat: false,
            ends: Vec::from_iter(end),
            warnings: Vec::new(),
        }
    }

    /// The starting point for a credential that is not a JWT: nothing is known of it.
    #[must_use]
    pub fn opaque() -> Self {
        Self {
            lines: Vec::new(),
            claims: Map::new(),
            validity: Validity { issued: None, starts: None, ends: None },
            early_error: None,
            has_leeway: false,
            needs_no_iat: false,
            ends: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The reading of a token of unknown kind.
    #[must_use]
    pub fn of_no_kind(token: &Jwt) -> Self {
        let mut reading = Self::of(token);
        for (label, claim) in [("subject", "sub"), ("issuer", "iss"), ("token id", "jti")] {
            reading.add_claim(label, claim);
        }
        reading.warn("token", "has an unknown kind; only what all JWTs have in common was checked");
        reading
    }

    /// Adds a line.
    pub fn add_line(&mut self, label: &'static str, text: impl Into<String>) {
        self.lines.push(Line { label, text: text.into() });
    }

    /// Adds a line with this claim, if the token has it.
    pub fn add_claim(&mut self, label: &'static str, claim: &str) {
        if let Some(text) = self.claims.get(claim).map(words::plain) {
            self.add_line(label, text);
        }
    }

    /// Adds a problem.
    pub fn warn(&mut self, about: &'static str, message: impl Into<String>) {
        self.warnings.push(Warning { about, message: message.into() });
    }

    /// Adds the problems of JWTs in general, and sorts everything.
    #[must_use]
    pub fn complete(mut self, token: &Jwt, now: WallTime) -> Self {
        let of_its_kind = mem::take(&mut self.warnings);
        warnings::add(token, now.unix_seconds(), &mut self);
        self.warnings.extend(of_its_kind);
        self.warnings.sort_by_key(|warning| warnings::place(warning.about));
        // The sort is stable: the token precedes what expires in the same second.
        self.ends.sort_by_key(|end| end.at);
        self
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading")
            .field("lines", &self.lines)
            .field("ends", &self.ends)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("label", &self.label).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_kind_shows_the_registered_claims() {
        let claims = json!({"sub": "alice\n", "jti": 7, "iat": 1, "exp": 60, "room": "a"});
        let token = unsigned(&json!({"alg": "HS256"}), &claims);
        let reading = Reading::of_no_kind(&token).complete(&token, WallTime::from_unix_seconds(2));
        let lines: Vec<_> = reading.lines.iter().map(|it| (it.label, it.text.as_str())).collect();
        assert_eq!(lines, [("subject", "alice\\n"), ("token id", "7")]);
        assert_eq!(Value::from(reading.claims), claims);
        assert_eq!(reading.ends.iter().map(|end| end.at).collect::<Vec<_>>(), [60]);
        let [kind, signature] = &reading.warnings[..] else { panic!("{:?}", reading.warnings) };
        assert!(kind.message.contains("unknown kind"), "{kind:?}");
        assert_eq!(signature.about, "signature");
    }

    #[test]
    fn expiries_are_sorted_and_the_token_comes_first() {
        let token = unsigned(&json!({"alg": "HS256"}), &json!({"exp": 60}));
        for (at, order) in [(59, ["grant", "token"]), (60, ["token", "grant"])] {
            let mut reading = Reading::of(&token);
            reading.ends.push(End { name: "grant", words: "the grant", at });
            let ends = reading.complete(&token, WallTime::from_unix_seconds(0)).ends;
            assert_eq!(ends.iter().map(|end| end.name).collect::<Vec<_>>(), order);
        }
    }

    #[test]
    fn debug_output_contains_no_secret() {
        let token = unsigned(&json!({"alg": "HS256"}), &json!({"grant": "hush", "sub": "hush"}));
        let all = format!("{token:?} {:?}", Reading::of_no_kind(&token));
        assert!(!all.contains("hush") && !all.contains(&token.signed), "{all}");
    }
}

//! What a token says, read without trust: anybody can make one that says the same.
//!
//! Here is what holds for every JWT. What the tokens of a kind mean, and what is odd about them,
//! their kind adds to it.

mod jwt;
mod oddities;
mod signature;
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

/// How a token is looked at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// What time it is.
    pub now: WallTime,
    /// What stands in the place of a secret; none where secrets are shown.
    pub mask: Option<&'a str>,
}

/// What a token says.
#[derive(Clone, PartialEq)]
pub struct Reading {
    /// What it is for, in the order that it is told in. Its times are not among it.
    pub lines: Vec<Line>,
    /// Its claims, with what is secret in them masked.
    pub claims: Map<String, Value>,
    /// When it is valid, as far as it tells anywhere.
    pub validity: Validity,
    /// The error with which its verifiers refuse it before it starts, where that is known.
    pub early_error: Option<&'static str>,
    /// Whether its verifiers allow for clocks that differ.
    pub has_leeway: bool,
    /// Whether tokens of its kind need no `iat`.
    pub needs_no_iat: bool,
    /// What ends with it, the earliest first.
    pub ends: Vec<End>,
    /// What is odd about it.
    pub oddities: Vec<Oddity>,
}

/// Something that a token says.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    /// What is said.
    pub label: &'static str,
    /// It; no control character is left in it.
    pub text: String,
}

/// Something in a token that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Its name for machines.
    pub name: &'static str,
    /// What it is, and what comes of its end.
    pub words: &'static str,
    /// Unix seconds.
    pub at: i64,
}

/// Something odd, and what comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oddity {
    /// The header or claim.
    pub about: &'static str,
    /// What is odd about it.
    pub message: String,
}

impl Reading {
    /// What a kind begins with: the token's own end and times, nothing that is told or odd, and
    /// all its claims, none of them masked.
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
            oddities: Vec::new(),
        }
    }

    /// What a kind begins with where a credential is no JWT: nothing is known of it.
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
            oddities: Vec::new(),
        }
    }

    /// What is told of a token that is of no known kind.
    #[must_use]
    pub fn of_no_kind(token: &Jwt) -> Self {
        let mut reading = Self::of(token);
        for (label, claim) in [("subject", "sub"), ("issuer", "iss"), ("token id", "jti")] {
            reading.tell_claim(label, claim);
        }
        reading.note(
            "token",
            "is of no kind that is known here; only what every JWT has was looked at",
        );
        reading
    }

    /// Adds a line.
    pub fn tell(&mut self, label: &'static str, text: impl Into<String>) {
        self.lines.push(Line { label, text: text.into() });
    }

    /// Adds a line with this claim, where the token has it.
    pub fn tell_claim(&mut self, label: &'static str, claim: &str) {
        if let Some(text) = self.claims.get(claim).map(words::plain) {
            self.tell(label, text);
        }
    }

    /// Adds something odd.
    pub fn note(&mut self, about: &'static str, message: impl Into<String>) {
        self.oddities.push(Oddity { about, message: message.into() });
    }

    /// Adds what is odd about any JWT, and puts all in order.
    #[must_use]
    pub fn complete(mut self, token: &Jwt, now: WallTime) -> Self {
        let of_its_kind = mem::take(&mut self.oddities);
        oddities::note(token, now.unix_seconds(), &mut self);
        self.oddities.extend(of_its_kind);
        self.oddities.sort_by_key(|odd| oddities::place(odd.about));
        // The token stays before what ends in the same second.
        self.ends.sort_by_key(|end| end.at);
        self
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading")
            .field("lines", &self.lines)
            .field("ends", &self.ends)
            .field("oddities", &self.oddities)
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
    fn of_a_token_of_no_kind_the_registered_claims_are_told() {
        let claims = json!({"sub": "alice\n", "jti": 7, "iat": 1, "exp": 60, "room": "a"});
        let token = unsigned(&json!({"alg": "HS256"}), &claims);
        let reading = Reading::of_no_kind(&token).complete(&token, WallTime::from_unix_seconds(2));
        let lines: Vec<_> = reading.lines.iter().map(|it| (it.label, it.text.as_str())).collect();
        assert_eq!(lines, [("subject", "alice\\n"), ("token id", "7")]);
        assert_eq!(Value::from(reading.claims), claims);
        assert_eq!(reading.ends.iter().map(|end| end.at).collect::<Vec<_>>(), [60]);
        let [kind, signature] = &reading.oddities[..] else { panic!("{:?}", reading.oddities) };
        assert!(kind.message.contains("of no kind"), "{kind:?}");
        assert_eq!(signature.about, "signature");
    }

    #[test]
    fn what_ends_first_is_first_and_the_token_before_what_ends_with_it() {
        let token = unsigned(&json!({"alg": "HS256"}), &json!({"exp": 60}));
        for (at, order) in [(59, ["grant", "token"]), (60, ["token", "grant"])] {
            let mut reading = Reading::of(&token);
            reading.ends.push(End { name: "grant", words: "the grant", at });
            let ends = reading.complete(&token, WallTime::from_unix_seconds(0)).ends;
            assert_eq!(ends.iter().map(|end| end.name).collect::<Vec<_>>(), order);
        }
    }

    #[test]
    fn what_may_be_secret_does_not_print() {
        let token = unsigned(&json!({"alg": "HS256"}), &json!({"grant": "hush", "sub": "hush"}));
        let all = format!("{token:?} {:?}", Reading::of_no_kind(&token));
        assert!(!all.contains("hush") && !all.contains(&token.signed), "{all}");
    }
}

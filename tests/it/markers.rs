//! What was planted and must be seen nowhere.

use std::collections::BTreeSet;

/// Texts that must be seen nowhere.
#[derive(Default)]
pub(crate) struct Markers(BTreeSet<String>);

impl Markers {
    /// These.
    pub(crate) fn of(markers: &[&str]) -> Self {
        let mut all = Self::default();
        for marker in markers {
            all.add(marker);
        }
        all
    }

    pub(crate) fn add(&mut self, marker: &str) {
        assert!(marker.len() >= 20, "too short to be told from chance: {marker}");
        self.0.insert(marker.to_owned());
    }

    /// A token's own part of its payload, and its signature.
    pub(crate) fn add_token(&mut self, token: &str) {
        let parts: Vec<_> = token.split('.').collect();
        let [_, payload, signature] = parts[..] else { panic!("no JWT: {token}") };
        // All payloads of one grant begin alike: the end is the token's own.
        self.add(&payload[payload.len() - 40..]);
        self.add(signature);
    }

    pub(crate) fn in_none_of(&self, what: &str, text: &str) {
        for marker in &self.0 {
            if let Some(at) = text.find(marker.as_str()) {
                let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
                panic!(
                    "{what} tells {marker}: {}",
                    text[line..].lines().next().unwrap_or_default()
                );
            }
        }
    }
}

#[test]
fn a_marker_that_is_there_is_found() {
    let marker = "planted-text-2c26b46b68ffc68f";
    let found = std::panic::catch_unwind(|| {
        Markers::of(&[marker]).in_none_of("a page", &format!("one\ntwo {marker}\n"));
    });
    assert!(found.is_err());
}

//! Planted texts that must not appear in any output.

use std::{collections::BTreeSet, io::BufRead};

/// Bytes searched at a time.
const PIECE: usize = 1 << 20;

/// Texts that must not appear anywhere.
#[derive(Default)]
pub(crate) struct Markers(BTreeSet<String>);

impl Markers {
    /// These texts.
    pub(crate) fn of(markers: &[&str]) -> Self {
        let mut all = Self::default();
        for marker in markers {
            all.add(marker);
        }
        all
    }

    pub(crate) fn add(&mut self, marker: &str) {
        assert!(marker.len() >= 20, "too short to be distinguished from chance: {marker}");
        self.0.insert(marker.to_owned());
    }

    /// The part of a token's payload that only it has, and its signature.
    pub(crate) fn add_token(&mut self, token: &str) {
        let parts: Vec<_> = token.split('.').collect();
        let [_, payload, signature] = parts[..] else { panic!("no JWT: {token}") };
        // All payloads of one grant start alike: only the end is the token's own.
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

    /// The same for text that is too large for memory; returns its length.
    pub(crate) fn in_no_line_of(&self, what: &str, mut text: impl BufRead) -> u64 {
        let (mut piece, mut bytes) = (String::new(), 0);
        loop {
            let read = text.read_line(&mut piece).expect("text");
            bytes += u64::try_from(read).expect("in range");
            if read == 0 || piece.len() >= PIECE {
                self.in_none_of(what, &piece);
                piece.clear();
            }
            if read == 0 {
                return bytes;
            }
        }
    }
}

#[test]
fn planted_marker_is_found() {
    let marker = "planted-text-2c26b46b68ffc68f";
    let found = std::panic::catch_unwind(|| {
        Markers::of(&[marker]).in_none_of("a page", &format!("one\ntwo {marker}\n"));
    });
    assert!(found.is_err());
}

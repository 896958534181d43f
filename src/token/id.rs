//! Token ids: unique across calls, replicas and restarts, without a generator per token.

use std::sync::atomic::{AtomicU64, Ordering};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Characters of a [`Serial`] as text: 11 hold 66 random bits, 8 a counter of 48 bits.
pub const SERIAL_CHARS: usize = 19;

const RANDOM_CHARS: usize = 11;

/// What makes one token's id unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial {
    random: [u8; RANDOM_CHARS],
    count: u64,
}

impl Serial {
    /// The serial of tokens that prove a template and are never handed out.
    pub const SELF_TEST: Self = Self { random: [b'0'; RANDOM_CHARS], count: 0 };

    /// The serial as text, always of the same width.
    #[must_use]
    pub fn as_text(self) -> [u8; SERIAL_CHARS] {
        let mut text = [0; SERIAL_CHARS];
        text[..RANDOM_CHARS].copy_from_slice(&self.random);
        for (at, slot) in text[RANDOM_CHARS..].iter_mut().rev().enumerate() {
            *slot = sixbits(self.count >> (6 * at));
        }
        text
    }

    /// The serial `further` after this one, of the same range.
    #[must_use]
    pub fn plus(self, further: u64) -> Self {
        Self { count: self.count + further, ..self }
    }
}

fn sixbits(value: u64) -> u8 {
    ALPHABET[usize::from((value & 63) as u8)]
}

/// Hands out serials. There is one a process: random bits drawn once, then a counter.
#[derive(Debug)]
pub struct Serials {
    random: [u8; RANDOM_CHARS],
    next: AtomicU64,
}

/// The system gave no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

impl Serials {
    /// Draws the random part: 66 bits from the system.
    pub fn draw() -> Result<Self, NoRandomness> {
        let mut bytes = [0; RANDOM_CHARS];
        getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(Self { random: bytes.map(|byte| sixbits(byte.into())), next: AtomicU64::new(0) })
    }

    /// A serial that nobody else has.
    #[must_use]
    pub fn next(&self) -> Serial {
        self.range(1)
    }

    /// The first of `count` consecutive serials that nobody else has.
    #[must_use]
    pub fn range(&self, count: u64) -> Serial {
        Serial { random: self.random, count: self.next.fetch_add(count, Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn serials_of_one_process_and_of_two_never_meet() {
        let (one, other) = (Serials::draw().unwrap(), Serials::draw().unwrap());
        let mut seen = HashSet::new();
        for _ in 0..1_000 {
            assert!(seen.insert(one.next().as_text()));
            assert!(seen.insert(other.next().as_text()));
        }
        let range = one.range(500);
        for further in 0..500 {
            assert!(seen.insert(range.plus(further).as_text()));
        }
        assert!(seen.insert(one.next().as_text()));
    }

    #[test]
    fn the_counter_fills_its_characters_from_the_right() {
        let random = [b'r'; RANDOM_CHARS];
        let text = |count| String::from_utf8(Serial { random, count }.as_text().to_vec()).unwrap();
        assert_eq!(text(0), "rrrrrrrrrrrAAAAAAAA");
        assert_eq!(text(65), "rrrrrrrrrrrAAAAAABB");
        assert_eq!(text((1 << 48) - 1), "rrrrrrrrrrr________");
    }
}

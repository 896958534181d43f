//! Token ids: unique across calls, replicas and restarts, without a random draw per token.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use ::base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::base64;

/// Characters of a [`fingerprint`] after its prefix.
const FINGERPRINT_CHARS: usize = 22;

/// The prefix of a [`Fingerprint`].
const FINGERPRINT_NAME: &[u8] = b"sha256:";

/// The id of a token that contains none: `sha256:` and 22 characters of its hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; FINGERPRINT_NAME.len() + FINGERPRINT_CHARS]);

impl Fingerprint {
    /// The fingerprint of the token made of these parts.
    pub(super) fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        parts.into_iter().for_each(|part| hash.update(part));
        let hash = URL_SAFE_NO_PAD.encode(hash.finalize());
        let mut text = [0; FINGERPRINT_NAME.len() + FINGERPRINT_CHARS];
        for (to, from) in text.iter_mut().zip(FINGERPRINT_NAME.iter().chain(hash.as_bytes())) {
            *to = *from;
        }
        Self(text)
    }

    /// The fingerprint as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Always ASCII.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The id of a token that contains none.
#[must_use]
pub fn fingerprint(token: &str) -> String {
    Fingerprint::of([token.as_bytes()]).as_str().to_owned()
}

/// Characters of a [`Serial`] as text.
pub const SERIAL_CHARS: usize = 16;

/// Characters of a [`Serial`] as a UUID.
pub const UUID_CHARS: usize = 36;

/// Makes a token's id unique: a 96-bit number. Each process draws its first serial at random and
/// counts from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial(u128);

const BITS: u32 = 96;

impl Serial {
    /// The serial of tokens that verify a template and are never returned.
    pub const SELF_TEST: Self = Self(0);

    const fn of(number: u128) -> Self {
        Self(number & ((1 << BITS) - 1))
    }

    /// The serial in base64url, with a fixed width.
    #[must_use]
    pub fn as_text(self) -> [u8; SERIAL_CHARS] {
        let [_, _, _, _, bytes @ ..]: [u8; 16] = self.0.to_be_bytes();
        let mut text = [0; SERIAL_CHARS];
        base64::put_groups(bytes.as_chunks().0, &mut text);
        text
    }

    /// The serial as a version 4 UUID, which all readers accept; 96 of its bits are the serial.
    #[must_use]
    pub fn as_uuid(self) -> [u8; UUID_CHARS] {
        const LOW: u128 = (1 << 62) - 1;
        let version_and_variant = 0x4000_8000_0000_0000_0000;
        // The serial's last 62 bits follow the variant; the others precede it.
        let bits = (self.0 >> 62) << 80 | version_and_variant | (self.0 & LOW);
        let mut text = [b'-'; UUID_CHARS];
        let mut nibbles = (0..32).rev().map(|place| (bits >> (4 * place) & 15) as usize);
        for (at, character) in text.iter_mut().enumerate() {
            if !matches!(at, 8 | 13 | 18 | 23) {
                *character = nibbles.next().map_or(b'0', |nibble| b"0123456789abcdef"[nibble]);
            }
        }
        text
    }

    /// A number below `limit`, different for each of `limit` consecutive serials.
    #[must_use]
    pub fn number_below(self, limit: u32) -> u32 {
        let low = u64::try_from(self.0 & u128::from(u64::MAX)).unwrap_or_default();
        low.checked_rem(limit.into()).and_then(|it| u32::try_from(it).ok()).unwrap_or_default()
    }

    /// The serial that comes `further` after this one.
    #[must_use]
    pub fn plus(self, further: u64) -> Self {
        Self::of(self.0 + u128::from(further))
    }
}

/// Issues serials, one instance per process: a random first serial, then a counter. Two processes
/// collide only if their random 96-bit first serials are closer together than they count.
#[derive(Debug)]
pub struct Serials {
    first: Serial,
    next: AtomicU64,
}

/// The system provided no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the system provides no random bytes")]
pub struct NoRandomness;

impl Serials {
    /// Draws the first serial from the system's random source.
    pub fn draw() -> Result<Self, NoRandomness> {
        let mut bytes = [0; size_of::<u128>()];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(Self { first: Serial::of(u128::from_ne_bytes(bytes)), next: AtomicU64::new(0) })
    }

    /// A unique serial.
    #[must_use]
    pub fn next(&self) -> Serial {
        self.range(1)
    }

    /// The first of `count` consecutive unique serials.
    #[must_use]
    pub fn range(&self, count: u64) -> Serial {
        self.first.plus(self.next.fetch_add(count, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn serials_are_unique_within_and_across_processes() {
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
    fn first_serials_are_far_apart() {
        // With fewer random or fewer encoded bits, two of a thousand would share a half.
        let mut halves = HashSet::new();
        for _ in 0..1_000 {
            let text = Serials::draw().unwrap().next().as_text();
            let (front, back) = text.split_at(SERIAL_CHARS / 2);
            assert!(halves.insert(front.to_vec()) && halves.insert(back.to_vec()));
        }
    }

    #[test]
    fn different_serials_give_different_uuids() {
        let mut seen = HashSet::new();
        for bit in (0..BITS).map(|bit| 1_u128 << bit).chain([0, (1 << BITS) - 1]) {
            let uuid = String::from_utf8(Serial::of(bit).as_uuid().to_vec()).unwrap();
            assert_eq!(&uuid[14..15], "4", "{uuid}");
            assert!("89ab".contains(&uuid[19..20]), "{uuid}");
            assert_eq!(uuid.matches('-').count(), 4, "{uuid}");
            assert!(seen.insert(uuid));
        }
    }

    #[test]
    fn consecutive_serials_give_different_numbers() {
        let first = Serial::of((1 << 70) + 5);
        let numbers = (0..8).map(|further| first.plus(further).number_below(8));
        assert_eq!(numbers.collect::<Vec<_>>(), [5, 6, 7, 0, 1, 2, 3, 4]);
        assert_eq!(first.number_below(0), 0);
    }

    #[test]
    fn serial_text_is_big_endian_and_wraps() {
        let text = |number| String::from_utf8(Serial::of(number).as_text().to_vec()).unwrap();
        assert_eq!(text(0), "AAAAAAAAAAAAAAAA");
        assert_eq!(text(65), "AAAAAAAAAAAAAABB");
        assert_eq!(text((1 << 96) - 1), "________________");
        assert_eq!(Serial::of(u128::MAX).plus(2), Serial::of(1), "wraps around");
    }
}

//! HMAC-SHA256 (RFC 2104) for messages that share their first blocks.
//!
//! A key is two SHA-256 states, one after the inner and one after the outer padded key. The shared
//! beginning of messages advances the inner state once. The rest of each message is hashed from a
//! copy of that state, in the blocks it was written to.

use sha2::{Digest, Sha256, block_api::compress256};
use zeroize::Zeroizing;

/// Bytes of a SHA-256 block.
pub(crate) const BLOCK: usize = 64;

/// Bytes of a digest.
pub(crate) const DIGEST: usize = 32;

/// Minimum bytes after a message, up to the end of a block: a one bit and the length.
pub(crate) const PADDING: usize = 1 + size_of::<u64>();

/// SHA-256's state before the first block (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

type State = Zeroizing<[u32; 8]>;

/// Signs messages with a key, after a shared beginning.
#[derive(Clone)]
pub(crate) struct Hmac {
    inner: State,
    outer: State,
    /// Bytes already hashed into `inner`.
    taken: usize,
}

impl Hmac {
    /// For messages without a shared beginning.
    pub(crate) fn new(key: &[u8]) -> Self {
        let mut block = Zeroizing::new([0; BLOCK]);
        if key.len() > BLOCK {
            block[..DIGEST]
                .copy_from_slice(&Zeroizing::new(<[u8; DIGEST]>::from(Sha256::digest(key)))[..]);
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        Self { inner: after(&block, 0x36), outer: after(&block, 0x5c), taken: BLOCK }
    }

    /// The authentication code of the message that ends with `rest`.
    pub(crate) fn of(&self, rest: &[u8]) -> [u8; DIGEST] {
        let (blocks, rest) = rest.as_chunks();
        let mut last = [[0; BLOCK]; 2];
        last.as_flattened_mut()[..rest.len()].copy_from_slice(rest);
        self.then(blocks).finish(&mut last, rest.len())
    }

    /// The same key, for messages that continue with these blocks.
    pub(crate) fn then(&self, blocks: &[[u8; BLOCK]]) -> Self {
        let mut longer = self.clone();
        compress256(&mut longer.inner, blocks);
        longer.taken += blocks.len() * BLOCK;
        longer
    }

    /// The authentication code of the message that ends with the first `length` bytes of `blocks`.
    /// They must be followed by [`PADDING`] bytes of zeros, which are overwritten.
    pub(crate) fn finish(&self, blocks: &mut [[u8; BLOCK]], length: usize) -> [u8; DIGEST] {
        let mut block = [[0; BLOCK]];
        block[0][..DIGEST].copy_from_slice(&digest(*self.inner, self.taken, blocks, length));
        digest(*self.outer, BLOCK, &mut block, DIGEST)
    }
}

/// The state after the key's block, each byte of it combined with `pad` by XOR.
fn after(key: &Zeroizing<[u8; BLOCK]>, pad: u8) -> State {
    let mut block = key.clone();
    block.iter_mut().for_each(|byte| *byte ^= pad);
    let mut state = Zeroizing::new(INITIAL);
    compress256(&mut state, std::slice::from_ref(&*block));
    state
}

/// SHA-256 of the `taken` bytes that led to `state`, followed by the first `length` bytes of
/// `blocks`.
fn digest(
    mut state: [u32; 8],
    taken: usize,
    blocks: &mut [[u8; BLOCK]],
    length: usize,
) -> [u8; DIGEST] {
    // FIPS 180-4, 5.1.1: a one, zeros, and the length in bits at the end of a block.
    let blocks = &mut blocks[..(length + PADDING).div_ceil(BLOCK)];
    let bytes = blocks.as_flattened_mut();
    bytes[length] = 0x80;
    let bits = (taken + length) as u64 * 8;
    let end = bytes.len() - size_of_val(&bits);
    bytes[end..].copy_from_slice(&bits.to_be_bytes());
    compress256(&mut state, blocks);

    let mut digest = [0; DIGEST];
    for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

#[cfg(test)]
mod tests {
    use hmac::{KeyInit, Mac};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn expected(key: &[u8], message: &[u8]) -> [u8; DIGEST] {
        let mut hmac = hmac::Hmac::<Sha256>::new_from_slice(key).unwrap();
        hmac.update(message);
        hmac.finalize().into_bytes().into()
    }

    proptest! {
        #[test]
        fn code_equals_the_hmac_crates(
            key in vec(any::<u8>(), 0..150),
            message in vec(any::<u8>(), 0..400),
            begin in 0_usize..7,
        ) {
            let (blocks, _) = message.as_chunks();
            let begin = begin.min(blocks.len());
            let hmac = Hmac::new(&key).then(&blocks[..begin]);
            prop_assert_eq!(hmac.of(&message[begin * BLOCK..]), expected(&key, &message));
        }
    }

    #[test]
    fn messages_of_every_length_are_padded() {
        let message = [b'm'; 2 * BLOCK];
        for length in 0..=message.len() {
            let message = &message[..length];
            assert_eq!(Hmac::new(b"key").of(message), expected(b"key", message), "{length}");
        }
    }

    #[test]
    fn keys_of_every_length_equal_the_hmac_crates() {
        let key = [b'k'; 2 * BLOCK];
        for length in 0..=key.len() {
            let key = &key[..length];
            assert_eq!(Hmac::new(key).of(b"message"), expected(key, b"message"), "{length}");
        }
    }
}
